"""Programs written for simple-websocket run unchanged with `pyjows.simple` in its place; its test suite is tried."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import socketio
from background import accepts, free_port, until
from program import ROOT, Program
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / 'programs'


class Server:
    """A program that serves a port, run by ``python -m pyjows.simple``."""

    def __init__(self, *command: str, program: str) -> None:
        self.port = free_port()
        arguments = [argument.format(port=self.port) for argument in command] or [
            str(PROGRAMS / program),
            str(self.port),
        ]
        self.program = Program('-m', 'pyjows.simple', *arguments)
        self.url = f'ws://localhost:{self.port}'

    def __enter__(self) -> Server:
        self.program.__enter__()
        until(lambda: accepts(self.port) or self.program.process.poll() is not None, f'{self.program} to listen')
        return self

    def __exit__(self, *why) -> None:
        self.program.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.program.process.wait(5)
        self.program.__exit__(*why)
        assert why[0] or not any('Traceback' in line for line in self.program.errors), self.program.errors


@pytest.mark.parametrize('program', ['flask_doc.py', 'aiohttp_doc.py', 'asgi_doc.py'])
def test_the_servers_of_its_documentation_echo(program):
    with Server(program=program) as server:
        for _ in range(2):
            with connect(f'{server.url}/echo', proxy=None) as ws:
                for message in ('hello', b'\x00\xff', 'x' * 100_000):
                    ws.send(message)
                    assert ws.recv(20) == message


@pytest.mark.parametrize('program', ['client_doc.py', 'aioclient_doc.py'])
def test_the_clients_of_its_documentation_talk_and_close(program):
    with Server(program='flask_doc.py') as server:
        client = Program('-m', 'pyjows.simple', PROGRAMS / program, server.port)
        with client:
            client.type('good morning\n')
            client.find('< good morning')
            client.process.stdin.close()
            assert client.end() == 0
            assert not client.errors


HOSTS = {
    'werkzeug': (),
    'gunicorn': (
        '-m', 'gunicorn', '--threads', '20', '--no-control-socket', '-b', '127.0.0.1:{port}',
        '--chdir', str(PROGRAMS), 'sock_app:app',
    ),
    'gevent': (str(PROGRAMS / 'sock_app.py'), '{port}', 'gevent'),
}  # fmt: skip


@pytest.fixture(scope='module', params=HOSTS)
def flask_sock(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(*HOSTS[request.param], program='sock_app.py') as server:
        yield server


def test_flask_socks_echo(flask_sock):
    for _ in range(3):
        with connect(f'{flask_sock.url}/echo', subprotocols=['chat'], proxy=None) as ws:
            assert ws.subprotocol == 'chat'
            ws.send('hello')
            assert ws.recv(20) == 'hello'
            ws.send('close')
            with pytest.raises(ConnectionClosed):
                ws.recv(20)
            assert ws.close_code == 1000


def test_flask_socks_chat(flask_sock):
    def url(name: str) -> str:
        return f'{flask_sock.url}/chat/{name}'

    with connect(url('ann'), proxy=None) as ann:
        ann.send('first')
        assert ann.recv(20) == 'ann: first'
        with connect(url('bob'), proxy=None) as bob:
            bob.send('hi')
            assert (ann.recv(20), bob.recv(20)) == ('bob: hi', 'bob: hi')
            ann.send('hello bob')
            assert (ann.recv(20), bob.recv(20)) == ('ann: hello bob', 'ann: hello bob')


def test_flask_socks_clock_sends_until_it_is_stopped(flask_sock):
    with connect(f'{flask_sock.url}/clock', proxy=None) as ws:
        assert [ws.recv(20) for _ in range(5)] == ['1', '2', '3', '4', '5']
        ws.send('stop')
        with pytest.raises(ConnectionClosed):
            while True:
                ws.recv(20)
        assert (ws.close_code, ws.close_reason) == (4000, 'stopped')


@pytest.mark.parametrize('transports', [['websocket'], None], ids=['websocket', 'upgraded'])
def test_socketio_in_threading_mode(transports):
    told: list[object] = []
    welcomed = threading.Event()
    with Server(program='socketio_server.py') as server:
        client = socketio.Client()
        client.on('told', told.append)
        client.on('welcome', lambda data: welcomed.set())
        client.connect(f'http://localhost:{server.port}', transports=transports)
        assert welcomed.wait(20)
        until(lambda: client.transport() == 'websocket', 'the upgrade')
        assert client.call('add', [1, 2, 39]) == 42
        client.emit('tell', {'text': 'x' * 100_000, 'binary': b'\x00\xff'})
        until(lambda: told, 'the event')
        assert told == [{'text': 'x' * 100_000, 'binary': b'\x00\xff'}]
        client.disconnect()
        server.program.find('gone: (client disconnect|transport close)')  # what the client sends is first
        assert not any('code 400' in line for line in server.program.errors)


# install()


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        cwd=PROGRAMS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_install_gives_its_names_under_all_of_its_modules():
    assert (
        run("""
import pyjows.simple
pyjows.simple.install()
pyjows.simple.install()
import simple_websocket, simple_websocket.ws, simple_websocket.aiows, simple_websocket.errors
from simple_websocket import AioClient, AioServer, Client, ConnectionClosed, ConnectionError, Server
assert Server is simple_websocket.ws.Server is pyjows.simple.Server
assert AioClient is simple_websocket.aiows.AioClient is pyjows.simple.AioClient
assert ConnectionClosed is simple_websocket.errors.ConnectionClosed
assert issubclass(ConnectionError, simple_websocket.errors.SimpleWebsocketError)
assert issubclass(ConnectionError, RuntimeError)
print('yes')
""")
        == 'yes'
    )


def test_install_after_an_import_says_that_it_is_too_late():
    pytest.importorskip('simple_websocket')
    assert run("""
import simple_websocket, pyjows.simple
try:
    pyjows.simple.install()
except RuntimeError as exc:
    print(exc)
""").startswith('simple_websocket is imported already')


def test_the_module_says_how_it_is_called_without_a_program():
    done = subprocess.run(
        [sys.executable, '-m', 'pyjows.simple'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        cwd=PROGRAMS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert 'python -m pyjows.simple app.py' in done.stderr


@pytest.mark.wide
def test_of_its_own_suite_only_tests_of_internals_fail(tmp_path):
    """All that replace the wsproto connection inside it fail, and no others. Its sdist comes from the package index."""
    subprocess.run(
        [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '--no-binary', ':all:', 'simple-websocket==1.1.0'],
        cwd=tmp_path,
        check=True,
    )
    [archive] = tmp_path.glob('*.tar.gz')
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter='data')
    folder = tmp_path / archive.name.removesuffix('.tar.gz')
    (tmp_path / 'alias_simple.py').write_text('from pyjows.simple import install\ninstall()\n')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'alias_simple', '-p', 'no:cacheprovider', '--tb=line', 'tests'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path]), 'PYTEST_ADDOPTS': ''},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    failed = len(re.findall('^FAILED', done.stdout, re.M))
    internals = sum(
        len(re.findall(r"patch\('simple_websocket\.\w+\.WSConnection'\)", path.read_text()))
        for path in folder.glob('tests/test_*.py')
    )
    assert failed == internals == 45, done.stdout
    assert '2 passed' in done.stdout


# The examples


@pytest.mark.parametrize('program', ['flask_echo.py', 'aiohttp_echo.py', 'asgi_echo.py'])
def test_the_echo_examples_serve_the_blocking_client(program):
    port = free_port()
    with Program(ROOT / 'examples' / program, port) as server:
        until(lambda: accepts(port) or server.process.poll() is not None, f'{server} to listen')
        with Program(ROOT / 'examples' / 'blocking_client.py', f'ws://127.0.0.1:{port}/echo', 'good', 'day') as client:
            assert client.end() == 0
            assert client.lines == ['good day', 'Closed: 1000']
            assert not client.errors
        server.find('Closed: 1000')
        with Program(ROOT / 'examples' / 'blocking_client.py', f'ws://127.0.0.1:{port}/echo') as client:
            for line in ('one', 'two'):
                client.type(f'{line}\n')
                client.find(f'^{line}$')
            client.process.stdin.close()
            assert client.end() == 0
