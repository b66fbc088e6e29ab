"""`pyjows.prefork()` with real processes, on every reactor: a manager, its workers, and what happens to the clients."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from background import TIMEOUT, accepts, until
from program import Program

import pyjows
from pyjows import IOLoop
from pyjows import reactor as reactors
from pyjows.prefork import restart_delays

pytestmark = [pytest.mark.slow, pytest.mark.wide(later=True)]

# Each connection is greeted with the worker's number and the program's version. What it sends is counted; each message
# is answered with a number, until the server has said that it closes. At the end the worker prints both counts.
APP = """
import asyncio, os, time
import pyjows

VERSION = 'one'

def say(*words):
    os.write(1, (' '.join(map(str, words)) + '\\n').encode())  # at once, where others write, too

def app(sockets):
    server = pyjows.serve(sockets=sockets)
    say('serves', *server.urls)
    server.on('websocket', connected)

def connected(server, ws):
    received, sent = [], []
    ws.send(text=f'{os.getpid()} {VERSION}')

    @ws.on
    def text(ws, message):
        if message == 'exit':
            os._exit(3)
        if message == 'hang':
            say('hangs')
            time.sleep(1000)
        if message.isdecimal():
            received.append(int(message))
        try:
            ws.send(text=str(len(sent)))
            sent.append(message)
        except pyjows.ConnectionClosed:
            pass

    @ws.on
    def finish(ws, code, reason):
        in_order = received == list(range(len(received)))
        say('end', ws.req.target, len(received), len(sent), in_order, code)
"""

PROGRAM = """
import logging
import pyjows

logging.basicConfig(level=logging.INFO, format='%(levelname)s %(message)s')
pyjows.prefork('app:app', {where}{options})
"""


class Server(Program):
    """A manager with its workers."""

    @property
    def workers(self) -> list[int]:
        """All that became ready, in that order."""
        return [int(pid) for pid in re.findall(r'worker (\d+) is ready$', '\n'.join(list(self.errors)), re.M)]

    @property
    def url(self) -> str:
        return self.find(r'^serves (\S+)')

    @property
    def ends(self) -> dict[str, list[str]]:
        """What the workers have counted, by the target of the connection."""
        return {line.split()[1]: line.split()[2:] for line in list(self.lines) if line.startswith('end ')}

    def log(self, pattern: str, number: int = 1) -> list[str]:
        """Wait until so many lines of the log have the pattern in them; its groups, or the lines."""

        def found() -> list[str]:
            text = '\n'.join(list(self.errors))
            matches = re.findall(pattern, text, re.M)
            return matches if len(matches) >= number else []

        matches: list[str] = until(found, f'{pattern!r}, {number} times, in the log of {self}')
        return matches

    def run_until_logged(self, loop: IOLoop, text: str, number: int) -> None:
        """Turn the clients' loop until so many lines of the log have the text in them."""
        deadline = time.monotonic() + 2 * TIMEOUT
        pulse = loop.recurring(lambda loop: None, 0.05)
        while sum(text in line for line in list(self.errors)) < number:
            assert time.monotonic() < deadline, f'waited for {text!r}, {number} times, in the log of {self}'
            loop.one_tick()
        loop.remove(pulse)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@pytest.fixture
def serve(tmp_path: Path, reactor_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """``serve(workers, options)``: a manager whose workers are ready, on the reactor of the test."""
    monkeypatch.setenv('PYJOWS_REACTOR', reactor_name)
    monkeypatch.setenv('PYTHONDONTWRITEBYTECODE', '1')
    running: list[Server] = []

    def serve(
        workers: int = 2,
        options: str = '',
        *,
        app: str = APP,
        where: str = "'ws://127.0.0.1:0'",
        starts: bool = True,
    ) -> Server:
        (tmp_path / 'app.py').write_text(app)
        script = tmp_path / 'served.py'
        script.write_text(PROGRAM.format(where=where, options=f', workers={workers}{options and ", "}{options}'))
        server = Server(script)
        running.append(server)
        if starts:
            server.log('is ready', workers)
        return server

    yield serve
    for server in running:
        if server.process.poll() is None:
            server.signal(signal.SIGQUIT)
            server.end()
        server.__exit__(None, None, None)


@pytest.fixture
def loop() -> Iterator[IOLoop]:
    """The clients' loop, in this process."""
    loop = IOLoop('poll')
    yield loop
    loop.close()


class Client:
    """One connection: its greeting, and how it ended."""

    def __init__(self, url: str, loop: IOLoop) -> None:
        self.messages: list[str] = []
        self.errors: list[BaseException] = []
        self.code: int | None = None
        self.ws = pyjows.connect(url, ioloop=loop, simultaneous=True)
        self.ws.on('text', lambda ws, text: self.messages.append(text))
        self.ws.on('error', lambda ws, exc: self.errors.append(exc))
        self.ws.on('finish', self.finished)

    def finished(self, ws: Any, code: int, reason: str) -> None:
        self.code = code

    @property
    def worker(self) -> int:
        return int(self.messages[0].split()[0])

    @property
    def version(self) -> str:
        return self.messages[0].split()[1]


@pytest.fixture
def connect(loop: IOLoop, run_until: Any) -> Callable[[Server], Client]:
    """``connect(server)``: a client that was greeted."""

    def connect(server: Server) -> Client:
        client = Client(server.url, loop)
        run_until(loop, lambda: client.messages or client.errors)
        assert not client.errors
        return client

    return connect


@pytest.fixture
def tell(loop: IOLoop, run_until: Any) -> Callable[[Client, str], None]:
    """``tell(client, text)``: the text is sent."""

    def tell(client: Client, text: str) -> None:
        client.ws.send(text=text)
        run_until(loop, lambda: client.ws.buffered_amount == 0)

    return tell


@pytest.fixture
def stop(loop: IOLoop, run_until: Any) -> Callable[[Server], int]:
    """``stop(server)``: sends it SIGTERM; the clients answer their closes; the exit status."""

    def stop(server: Server) -> int:
        server.signal(signal.SIGTERM)
        run_until(loop, lambda: server.process.poll() is not None)
        return server.end()

    return stop


@pytest.fixture
def one_of_each(connect: Any) -> Callable[..., dict[int, Client]]:
    """``one_of_each(server)``: a client of each worker."""

    def one_of_each(server: Server, number: int = 2) -> dict[int, Client]:
        clients: dict[int, Client] = {}

        def found() -> bool:
            client = connect(server)
            clients.setdefault(client.worker, client)
            return len(clients) == number

        until(found, f'clients of {number} workers: {server}')
        return clients

    return one_of_each


# Replacing workers


class Talker:
    """Connects again and again, `messages` numbered messages each; compares what both sides have counted at the end."""

    def __init__(self, name: int, url: str, loop: IOLoop, messages: int) -> None:
        self.worker: int | None = None  # of the current connection, when it has told
        self.name = name
        self.url = url
        self.loop = loop
        self.messages = messages
        self.counts: dict[str, list[str]] = {}
        self.errors: list[Any] = []
        self.stops = False
        self.is_done = False
        self.connect()

    def connect(self) -> None:
        target = f'/{self.name}/{len(self.counts)}'
        sent = 0
        heard: list[str] = []
        self.worker = None
        ws = pyjows.connect(self.url + target, ioloop=self.loop, simultaneous=True, timeout=30)

        def send() -> None:
            nonlocal sent
            ws.send(text=str(sent))
            sent += 1

        @ws.on
        def open(ws: Any) -> None:
            for _ in range(3):
                send()

        @ws.on
        def text(ws: Any, message: str) -> None:
            heard.append(message)
            if len(heard) == 1:
                self.worker = int(message.split(maxsplit=1)[0])
            if len(heard) > 1 and heard[-1] != str(len(heard) - 2):
                self.errors.append(heard)
            if sent < self.messages:
                send()
            elif len(heard) == self.messages + 1:
                ws.finish(1000)

        @ws.on
        def error(ws: Any, exc: BaseException) -> None:
            self.errors.append(exc)

        @ws.on
        def finish(ws: Any, code: int, reason: str) -> None:
            self.counts[target] = [str(sent), str(max(0, len(heard) - 1)), 'True']
            if code not in (1000, 1001):
                self.errors.append((code, reason))
            if self.stops or self.errors:
                self.is_done = True
            else:
                self.connect()


@pytest.mark.parametrize('graceful', [0, 0.5])
def test_nothing_is_lost_while_workers_are_replaced(serve, loop, run_until, graceful, stop):
    server = serve(2, f'graceful={graceful}')
    first = set(server.workers)
    talkers = [Talker(number, server.url, loop, 100) for number in range(30)]
    for round in (1, 2):
        server.signal(signal.SIGHUP)
        server.run_until_logged(loop, 'has stopped with status 0', 2 * round)
    for talker in talkers:
        talker.stops = True
    run_until(loop, lambda: all(talker.is_done for talker in talkers), 60)
    assert [talker.errors for talker in talkers if talker.errors] == []
    assert stop(server) == 0
    counted = {target: counts for talker in talkers for target, counts in talker.counts.items()}
    assert {target: counts[:3] for target, counts in server.ends.items()} == counted
    codes = {counts[3] for counts in server.ends.values()}
    assert codes == {'1000', '1001'} or (graceful and codes == {'1000'})  # then they may have gone by themselves
    assert len(server.workers) == 6 and not set(server.workers[2:]) & first


def test_hup_loads_new_code(serve, connect, loop, tmp_path):
    server = serve(2)
    assert connect(server).version == 'one'
    old = server.workers
    (tmp_path / 'app.py').write_text(APP.replace("'one'", "'two'"))
    server.signal(signal.SIGHUP)
    server.run_until_logged(loop, 'has stopped with status 0', 2)
    assert not set(old) & set(server.workers[2:])
    assert {connect(server).version for _ in range(10)} == {'two'}
    assert len(server.workers) == 4


@pytest.mark.wide(later=True)
@pytest.mark.parametrize('fault', ['1 / 0', 'import sys; sys.exit("no")', 'this is no Python'])
def test_new_code_that_cannot_start_replaces_nothing(serve, connect, loop, tmp_path, fault):
    server = serve(2)
    client = connect(server)
    (tmp_path / 'app.py').write_text(fault)
    server.signal(signal.SIGHUP)
    server.log('before it was ready: the other ones are not replaced')
    assert connect(server).worker in server.workers
    assert len(server.workers) == 2
    (tmp_path / 'app.py').write_text(APP.replace("'one'", "'three'"))
    server.signal(signal.SIGHUP)
    server.run_until_logged(loop, 'has stopped with status 0', 2)
    assert client.code == 1001
    assert connect(server).version == 'three'


STUCK = """
import asyncio, os

async def app(sockets):
    os.write(1, b'stuck\\n')
    await asyncio.sleep(1000)
"""


def test_a_reload_gives_up_the_one_that_is_under_way(serve, connect, loop, tmp_path):
    server = serve(2)
    (tmp_path / 'app.py').write_text('import os, time; os.write(1, b"stuck\\n"); time.sleep(1000)')
    server.signal(signal.SIGHUP)
    server.find('stuck')
    (tmp_path / 'app.py').write_text(APP.replace("'one'", "'two'"))
    server.signal(signal.SIGHUP)
    server.run_until_logged(loop, 'has stopped with status 0', 2)
    assert connect(server).version == 'two'
    assert len(server.workers) == 4


@pytest.mark.wide(later=True)
def test_a_worker_has_so_long_to_become_ready(serve, connect, tmp_path, monkeypatch):
    monkeypatch.setenv('PYJOWS_REACTOR', 'asyncio')
    server = serve(1, 'heartbeat_timeout=1')
    (tmp_path / 'app.py').write_text(STUCK)
    server.signal(signal.SIGHUP)
    server.log(r'worker \d+ is killed: it was not ready within 1 s')
    server.log('before it was ready: the other ones are not replaced')
    assert connect(server).worker == server.workers[0]


@pytest.mark.skipif(not hasattr(resource, 'prlimit'), reason='Linux alone sets the limits of another process')
def test_a_manager_without_free_descriptors_starts_workers_later(serve, connect, one_of_each):
    server = serve(2)
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(server.workers[0], signal.SIGKILL)
    server.log('a worker cannot be started: .*Too many open files')
    assert connect(server).worker == server.workers[1]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    server.log('is ready', 3)
    assert set(one_of_each(server)) == set(server.workers[1:])


# The system's poller refuses the second link, as it does where fs.epoll.max_user_watches is reached.
REFUSING = """
import errno, os, selectors

MANAGER = os.getpid()

class Selector(selectors.DefaultSelector):
    registered = 0

    def register(self, *args):
        Selector.registered += os.getpid() == MANAGER
        if Selector.registered == 3 and os.getpid() == MANAGER:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return super().register(*args)

selectors.DefaultSelector = Selector
"""


def test_a_manager_that_cannot_watch_a_worker_starts_it_later(serve, one_of_each, tmp_path, monkeypatch, stop):
    (tmp_path / 'refusing.py').write_text(REFUSING)
    monkeypatch.setitem(globals(), 'PROGRAM', f'import refusing\n{PROGRAM}')
    server = serve(2)
    server.log('a worker cannot be started: .*No space left on device')
    assert set(one_of_each(server)) == set(server.workers)
    assert len(server.workers) == 2
    assert stop(server) == 0


@pytest.mark.wide(later=True)
def test_workers_become_more_and_fewer(serve, connect):
    server = serve(1)
    server.signal(signal.SIGTTIN)
    until(lambda: len(server.workers) == 2, f'a second worker: {server}')
    server.log('is ready', 2)
    server.signal(signal.SIGTTOU)
    server.log(f'worker {server.workers[0]} has stopped with status 0')
    server.signal(signal.SIGTTOU)  # one stays
    server.signal(signal.SIGHUP)
    server.log(f'worker {server.workers[1]} has stopped with status 0')
    assert connect(server).worker == server.workers[2]
    assert len(server.workers) == 3


# Workers that fail


def test_a_worker_that_is_killed_is_replaced_and_the_others_are_unharmed(serve, one_of_each, connect, run_until, loop):
    server = serve(2)
    clients = one_of_each(server)
    (killed, lost), (other, kept) = clients.items()
    talkers = [Talker(number, server.url, loop, 20) for number in range(30)]
    run_until(loop, lambda: all(talker.counts for talker in talkers))
    os.kill(killed, signal.SIGKILL)
    run_until(loop, lambda: lost.code is not None and len(server.workers) == 3)
    assert lost.code == 1006
    counts = {talker: len(talker.counts) for talker in talkers}
    run_until(loop, lambda: all(talker.errors or len(talker.counts) > counts[talker] + 2 for talker in talkers))
    assert not all(talker.errors for talker in talkers)
    assert {talker.worker for talker in talkers if talker.errors} <= {killed, None}  # None: it had not greeted yet
    server.log(f'worker {killed} ended by SIGKILL .* another one is started now')
    for number in range(5):
        kept.ws.send(text=str(number))
    run_until(loop, lambda: len(kept.messages) == 6)
    assert kept.code is None
    assert set(one_of_each(server)) == {other, server.workers[2]}


@pytest.mark.wide(later=True)
def test_a_worker_that_crashes_again_and_again_waits_longer_each_time(serve, connect, tell, stop):
    server = serve(1, 'delays=lambda: iter([0, 0.05, 0.1]), stable_after=1000')
    for number in range(4):
        server.log('is ready', number + 1)
        tell(connect(server), 'exit')
        server_log = server.log(r'ended with status 3 after .* another one is started (now|in [0-9.]+ s)', number + 1)
    assert server_log == ['now', 'in 0.05 s', 'in 0.1 s', 'in 0.1 s']
    assert stop(server) == 0


@pytest.mark.wide(later=True)
def test_the_delays_begin_anew_after_a_worker_that_was_stable(serve, connect, tell):
    server = serve(1, 'delays=lambda: iter([0, 1000]), stable_after=0')
    for number in range(3):
        server.log('is ready', number + 1)
        tell(connect(server), 'exit')
        server.log('another one is started now', number + 1)


@pytest.mark.wide(later=True)
def test_a_manager_that_waits_to_start_a_worker_stops_at_once(serve, connect, tell, stop):
    server = serve(1, 'delays=lambda: iter([1000])')
    tell(connect(server), 'exit')
    server.log('another one is started in 1000 s')
    assert stop(server) == 0


def test_the_delays_double_up_to_a_limit():
    assert list(islice(restart_delays(), 10)) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_worker_whose_loop_hangs_is_replaced(serve, connect, tell):
    server = serve(1, 'heartbeat_timeout=1')
    tell(connect(server), 'hang')
    server.log(f'worker {server.workers[0]} is killed: its loop has not turned for 1 s')
    until(lambda: len(server.workers) == 2, f'another worker: {server}')
    assert connect(server).worker == server.workers[1]


@pytest.mark.wide(later=True)
@pytest.mark.parametrize(
    ('app', 'says'),
    [
        ('def app(sockets):\n    raise LookupError("no such thing")', 'LookupError: no such thing'),
        ('', "module 'app' has no attribute 'app'"),
        ('app = 3', 'app:app is not a function'),
        ('import os\nos._exit(7)', 'ended with status 7'),
    ],
)
def test_a_program_that_cannot_start_ends_the_manager(serve, app, says):
    server = serve(2, app=app, starts=False)
    assert server.end() == 1
    assert any(says in line for line in server.errors), server
    assert server.errors[-1] == 'RuntimeError: prefork(): no worker could start, the log says why'


# The end


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_workers_gracefully(serve, one_of_each, run_until, loop, number):
    server = serve(2)
    clients = one_of_each(server)
    server.signal(number)
    run_until(loop, lambda: all(client.code == 1001 for client in clients.values()))
    run_until(loop, lambda: not loop.connections)  # further clients of a worker
    assert server.end() == 0
    assert all(line.startswith('INFO') for line in server.errors), '\n'.join(server.errors)
    assert not accepts(int(server.url.rpartition(':')[2]))


@pytest.mark.parametrize('numbers', [(signal.SIGTERM, signal.SIGINT), (signal.SIGQUIT,)], ids=['the second', 'QUIT'])
def test_it_can_be_stopped_at_once(serve, connect, run_until, loop, numbers, stop):
    server = serve(2, 'timeout=1000')
    client = connect(server)
    stream = loop.stream(client.ws.connection)
    stream.stop()  # it would answer the close
    for number in numbers:
        server.signal(number)
        if number == signal.SIGTERM:
            server.log('stops')
    assert server.end() == 128 + numbers[-1]
    stream.close()


def test_a_worker_that_does_not_stop_is_killed(serve, connect, tell):
    server = serve(1, 'timeout=0.1')
    tell(connect(server), 'hang')
    server.find('hangs')
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    assert any('did not stop in time and is killed' in line for line in server.errors), server


def test_workers_stop_when_their_manager_is_gone(serve, one_of_each, run_until, loop):
    server = serve(2)
    clients = one_of_each(server)
    server.process.kill()
    run_until(loop, lambda: all(client.code == 1001 for client in clients.values()))
    run_until(loop, lambda: not loop.connections)
    assert server.end() == -signal.SIGKILL  # and nothing has its output open any more
    assert len([line for line in server.errors if line.endswith('its manager is gone')]) == 2


# Where it listens


def test_it_listens_on_unix_sockets(serve, connect, socket_folder, stop):
    path = socket_folder / 's'
    server = serve(2, 'unix_mode=0o600', where=f"'ws+unix://{path}'")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.signal(signal.SIGHUP)
    server.log('has stopped', 2)
    assert connect(server).worker in server.workers[2:]
    assert stop(server) == 0
    assert not path.exists()


@pytest.mark.wide(later=True)
def test_the_command_takes_the_sockets_of_systemd(tmp_path, reactor_name, monkeypatch, connect, stop):
    monkeypatch.setenv('PYJOWS_REACTOR', reactor_name)
    (tmp_path / 'app.py').write_text(APP)
    code = (
        'import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1"); '
        'os.chdir(sys.argv[2]); '
        'os.execv(sys.executable, [sys.executable, "-m", "pyjows.prefork", "app:app", "--workers", "2"])'
    )
    with socket.create_server(('127.0.0.1', 0)) as listening:
        os.set_inheritable(listening.fileno(), True)
        with Server('-c', code, str(listening.fileno()), tmp_path, inherits=[listening.fileno()]) as server:
            assert server.url == f'ws://127.0.0.1:{listening.getsockname()[1]}'
            assert connect(server).version == 'one'
            assert stop(server) == 0


def test_hup_while_the_command_begins_or_ends_does_nothing(tmp_path, reactor_name, monkeypatch, stop):
    monkeypatch.setenv('PYJOWS_REACTOR', reactor_name)
    (tmp_path / 'app.py').write_text(APP)
    code = (
        'import atexit, os, runpy, signal, sys; os.chdir(sys.argv.pop()); sys.path.insert(0, ""); '
        'atexit.register(os.kill, os.getpid(), signal.SIGHUP); '
        'runpy.run_module("pyjows.prefork", run_name="__main__", alter_sys=True)'
    )
    with Server('-c', code, 'app:app', 'ws://127.0.0.1:0', '--workers', '1', tmp_path) as server:
        server.log('is ready')
        assert stop(server) == 0


def test_the_command_says_what_is_wrong(tmp_path):
    with Server('-m', 'pyjows.prefork', 'app', 'ws://127.0.0.1:0') as server:
        assert server.end() == 1
        assert server.errors == ["prefork(): 'app' does not say where a function is: 'module:function'"]


def test_the_function_may_be_a_coroutine_function(serve, connect, reactor_name, stop):
    app = APP.replace('def app(sockets):', 'async def app(sockets):\n    await asyncio.sleep(0)')
    with closing(reactors.choose(reactor_name)) as reactor:
        if not reactor.can_spawn:
            server = serve(1, app=app, starts=False)
            assert server.end() == 1
            assert 'runs no coroutines' in str(server.errors)
            return
    server = serve(1, app=app)
    assert connect(server).version == 'one'
    assert stop(server) == 0


@pytest.mark.wide(later=True)
def test_a_function_of_the_program_itself_is_called(
    tmp_path, reactor_name, monkeypatch, connect, run_until, loop, stop
):
    monkeypatch.setenv('PYJOWS_REACTOR', reactor_name)
    script = tmp_path / 'whole.py'
    script.write_text(
        APP + PROGRAM.format(where="'ws://127.0.0.1:0'", options=', workers=1').replace("'app:app'", 'app')
    )
    with Server(script) as server:
        client = connect(server)
        server.signal(signal.SIGHUP)
        run_until(loop, lambda: client.code == 1001)
        server.log('HUP loads no new code')
        server.log('is ready', 2)
        assert connect(server).worker == server.workers[1]
        assert stop(server) == 0


@pytest.mark.parametrize(
    ('args', 'options', 'kind', 'says'),
    [
        (('chat', 'ws://127.0.0.1:0'), {}, ValueError, "'chat' does not say where a function is"),
        ((3, 'ws://127.0.0.1:0'), {}, TypeError, "takes a function, or 'module:function', not 3"),
        ((print,), {}, ValueError, 'at least one URL'),
        ((print, 'ws://127.0.0.1:0'), {'sockets': [3]}, ValueError, 'at least one URL'),
        ((print, 'ws://127.0.0.1:0', 'ws://127.0.0.1:0'), {}, ValueError, 'is there twice'),
        ((print, 'http://127.0.0.1:0'), {}, ValueError, 'http://127.0.0.1:0'),
        ((print, 'ws://127.0.0.1:0'), {'workers': 0}, ValueError, 'workers=0'),
        ((print, 'ws://127.0.0.1:0'), {'workers': '2'}, TypeError, 'workers takes a whole number'),
        ((print, 'ws://127.0.0.1:0'), {'timeout': -1}, ValueError, 'timeout=-1'),
        ((print, 'ws://127.0.0.1:0'), {'delays': 3}, TypeError, 'delays takes a function'),
    ],
)
def test_wrong_arguments_are_refused(no_leaks, args, options, kind, says):
    with pytest.raises(kind, match=re.escape(says)):
        pyjows.prefork(*args, **options)


REGISTERS = """
import atexit, os
import pyjows

def app(sockets):
    server = pyjows.serve(sockets=sockets)
    atexit.register(lambda: os.write(1, b'the end of a worker\\n'))

if __name__ == '__main__':
    atexit.register(lambda: os.write(1, b'the end of the manager\\n'))
    pyjows.prefork(app, 'ws://127.0.0.1:0', workers=2)
"""


def test_each_process_calls_the_exit_functions_that_it_registered_itself(tmp_path):
    script = tmp_path / 'registers.py'
    script.write_text('import logging; logging.basicConfig(level=logging.INFO)\n' + REGISTERS)
    with Server(script) as server:
        server.log('is ready', 2)
        assert server.stop() == 0
        assert server.lines == ['the end of a worker'] * 2 + ['the end of the manager']
