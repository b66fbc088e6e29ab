"""`pyjows.simple` inside real web servers, each a process of its own, with real clients over loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from amounts import EVERYTHING
from background import until
from program import Program
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire import CLOSE, PING, TEXT, asked, close, frame, read

pytestmark = pytest.mark.slow

HOSTS = {
    'werkzeug': 'flask',
    'gunicorn-gthread': 'gunicorn',
    'gunicorn-gevent': 'gunicorn',
    'gevent': 'gevent',
    'gevent-unpatched': 'gevent',
    'eventlet': 'eventlet',
    'aiohttp': 'aiohttp',
    'uvicorn': 'uvicorn',
    'hypercorn': 'hypercorn',
    'bare': 'asyncio',
}

# The server of these speaks the protocol, and has its own pings, limits and refusals.
ASGI = ('uvicorn', 'hypercorn')

where_pyjows_speaks = pytest.mark.parametrize('host', [name for name in HOSTS if name not in ASGI], indirect=True)

MANY = 200 if EVERYTHING else 40


class Host:
    """A host that runs."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.program = program
        self.http = program.find(r'http://\S+')
        self.url = self.http.replace('http', 'ws')

    def tell(self, path: str):
        with urllib.request.urlopen(self.http + path, timeout=30) as answer:
            return json.load(answer)

    def how_it_ended(self) -> list:
        """Code and reason of the connection that ended last."""
        return until(lambda: self.tell('/closed'), 'a connection to end')[-1]


@pytest.fixture(scope='module', params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    if importlib.util.find_spec(HOSTS[request.param]) is None:
        pytest.skip(f'{HOSTS[request.param]} is not installed')
    with Program(Path(__file__).with_name('simple_hosts.py'), request.param) as program:
        yield Host(request.param, program)
        program.process.terminate()
        program.process.wait(10)
        tracebacks = sum('Traceback' in line for line in program.errors)
        faults = sum(line.strip().endswith('Fault') for line in program.errors)  # of /raises
        assert tracebacks <= faults, program.errors


def test_text_and_binary_messages_of_all_sizes_come_back(host):
    with connect(f'{host.url}/echo', max_size=None, proxy=None) as ws:
        for message in ('Grüße 👋', b'\x00\xff', '', b'', 'x' * 70_000, os.urandom(1 << 20), 'ä' * (1 << 19)):
            ws.send(message)
            assert ws.recv(20) == message


def test_messages_come_without_compression_too(host):
    with connect(f'{host.url}/echo', compression=None, max_size=None, proxy=None) as ws:
        for message in ('text', os.urandom(1 << 20)):
            ws.send(message)
            assert ws.recv(20) == message


def test_a_fragmented_message_arrives_whole(host):
    with connect(f'{host.url}/echo', proxy=None) as ws:
        ws.send(['frag', 'men', 'ted'])
        assert ws.recv(20) == 'fragmented'


def test_a_subprotocol_is_chosen_in_the_clients_order(host):
    with connect(f'{host.url}/echo', subprotocols=['none', 'superchat', 'chat'], proxy=None) as ws:
        assert ws.subprotocol == 'superchat'
    with connect(f'{host.url}/echo', subprotocols=['none'], proxy=None) as ws:
        assert ws.subprotocol is None


def test_the_clients_close_code_and_reason_reach_the_server(host):
    with connect(f'{host.url}/echo', proxy=None) as ws:
        ws.close(4002, 'enough')
    assert (ws.close_code, ws.close_reason) == (4002, 'enough')
    told = [[1000, ''], [1006, '']] if host.name == 'hypercorn' else [[4002, 'enough']]  # it does not pass them on
    until(lambda: host.tell('/closed')[-1:] and host.tell('/closed')[-1] in told, 'the server to be told')


def test_the_servers_close_code_and_reason_reach_the_client(host):
    with connect(f'{host.url}/close?code=4001&reason=bye', proxy=None) as ws, pytest.raises(ConnectionClosed):
        ws.recv(20)
    assert (ws.close_code, ws.close_reason) == (4001, 'bye')


def test_a_reset_ends_receive_with_1006(host):
    with connect(f'{host.url}/wait', proxy=None) as ws:
        ws.socket.shutdown(2)
    until(lambda: host.tell('/closed')[-1:] and host.tell('/closed')[-1][0] in (1005, 1006), 'the server to notice')


@where_pyjows_speaks
def test_a_peer_that_does_not_answer_pings_is_closed_with_1008(host):
    port = int(host.http.rpartition(':')[2])
    with socket.create_connection(('127.0.0.1', port), timeout=20) as sock:
        sock.sendall(asked('GET /wait?ping=0.2 HTTP/1.1'))
        data = b''
        while piece := sock.recv(4096):
            data += piece
    head, _, frames = data.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 101')
    assert [opcode for opcode, *_ in read(frames[: frames.index(b'timeout') + 7])] == [PING, CLOSE]
    assert frames.endswith(close(1008, 'Ping/Pong timeout', masked=False))
    until(lambda: host.tell('/closed')[-1:] == [[1008, 'Ping/Pong timeout']], 'the server to be told')


def test_a_message_that_is_too_large_is_closed_with_1009(host):
    with connect(f'{host.url}/echo?limit=1000', proxy=None) as ws:
        ws.send('x' * 1000)
        assert ws.recv(20) == 'x' * 1000
        ws.send('x' * 1001)
        with pytest.raises(ConnectionClosed):
            ws.recv(20)
        assert ws.close_code == 1009


def test_fifty_connections_at_once_each_get_their_own(host):
    failures: list[BaseException] = []

    def talk(number: int) -> None:
        try:
            with connect(f'{host.url}/echo', proxy=None, open_timeout=30) as ws:
                opened.wait(30)
                for turn in range(5):
                    ws.send(f'{number}-{turn}')
                    assert ws.recv(20) == f'{number}-{turn}'
        except BaseException as exc:
            failures.append(exc)
            opened.abort()

    opened = threading.Barrier(50)
    threads = [threading.Thread(target=talk, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# Flask does not route such a request to the handler.
@pytest.mark.parametrize('host', [name for name in HOSTS if name not in (*ASGI, 'werkzeug')], indirect=True)
def test_a_request_that_is_no_upgrade_is_answered_by_the_application(host):
    with pytest.raises(urllib.error.HTTPError) as refused:
        host.tell('/echo')
    assert refused.value.code in (400, 426)


@where_pyjows_speaks
def test_a_version_that_is_not_spoken_is_refused(host):
    with pytest.raises(InvalidStatus) as refused:
        connect(f'{host.url}/echo', additional_headers={'Sec-WebSocket-Version': '12'}, proxy=None)
    assert refused.value.response.status_code in (400, 426)


@pytest.mark.parametrize('path', ['/returns', '/raises'])
def test_a_handler_that_ends_without_a_close_ends_the_connection(host, path):
    with socket.create_connection(('127.0.0.1', int(host.http.rsplit(':', 1)[1])), timeout=20) as sock:
        sock.sendall(asked(f'GET {path} HTTP/1.1'))
        received = b''
        while not received.endswith(b'\r\n\r\n'):
            received += sock.recv(1)
        sock.sendall(frame(TEXT, b'hi'))
        received = b''
        while data := sock.recv(65536):
            received += data
    assert received[:4] == b'\x81\x02hi'
    if host.name == 'aiohttp':
        code = 1001 if path == '/returns' else 1011
        assert received[4:] == close(code, masked=False), 'nothing that is for HTTP'
    until(lambda: host.tell('/left')['connections'] == 0, 'the connection to end')


def test_many_connects_and_closes_leave_nothing_behind(host):
    def there() -> dict:
        return host.tell('/left')

    def is_back() -> bool:
        now = there()
        return all(now[what] <= before[what] for what in before)

    def turn(number: int) -> None:
        with connect(f'{host.url}/echo', proxy=None) as ws:
            ws.send('x')
            assert ws.recv(20) == 'x'
            if number % 3 == 0:
                ws.socket.shutdown(2)

    for number in range(10):
        turn(number)
    until(lambda: there()['connections'] == 0, 'all connections to end')
    before = there()
    for number in range(MANY):
        turn(number)
    until(is_back, f'{there()} to go back to {before}', 20)
