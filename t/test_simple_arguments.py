"""What `pyjows.simple` says to arguments that are not valid: a message that names the value and the rule."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from threaded import upgrade_environ
from wire import UPGRADE

from pyjows.errors import ProtocolError
from pyjows.simple import AioClient, AioServer, Client, ConnectionClosed, Server


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


COMMON = [
    ({'receive_bytes': 0}, ValueError, 'receive_bytes=0, but it takes a whole number of 1 or more'),
    ({'receive_bytes': 1.5}, TypeError, 'receive_bytes takes a whole number .bytes., not 1.5'),
    ({'ping_interval': -1}, ValueError, 'ping_interval=-1, but it takes a number of 0 or more'),
    ({'ping_interval': math.nan}, ValueError, 'ping_interval=nan'),
    ({'ping_interval': '25'}, TypeError, "ping_interval takes a number .*, not '25'"),
    ({'max_message_size': -1}, ValueError, 'max_message_size=-1, but it takes a whole number of 0 or more'),
    ({'max_message_size': '1 MiB'}, TypeError, "max_message_size takes a whole number .*, not '1 MiB'"),
    ({'subprotocols': 5}, TypeError, 'subprotocols takes a list of names'),
    ({'subprotocols': ['a b']}, ValueError, "subprotocols has 'a b'"),
    ({'subprotocols': ['a', 'a']}, ValueError, 'subprotocols has a name twice'),
]

OF_THREADS = [
    ({'thread_class': 5}, TypeError, 'thread_class takes a function, not 5'),
    ({'event_class': 5}, TypeError, 'event_class takes a function, not 5'),
]

OF_CLIENTS = [
    ({'headers': 5}, TypeError, 'headers takes a mapping'),
    ({'headers': ['X-Token: abc']}, TypeError, 'headers takes a mapping'),
    ({'headers': {'X-Count': 5}}, TypeError, "headers has names and values of type str, not 'X-Count': 5"),
    ({'headers': {5: 'x'}}, TypeError, "not 5: 'x'"),
    ({'headers': {'Connection': 'close'}}, ValueError, "header 'connection' is set by the handshake"),
    ({'headers': [('Content-Length', '5')]}, ValueError, "header 'content-length' is set by the handshake"),
    ({'headers': {'Sec-WebSocket-Key': 'abc'}}, ValueError, "header 'sec-websocket-key' is set by the handshake"),
    ({'headers': {'Sec-WebSocket-Protocol': 'chat'}}, ValueError, 'use subprotocols='),
    ({'ssl_context': True}, TypeError, 'ssl_context takes an ssl.SSLContext or None, not True'),
]


@pytest.mark.parametrize(
    ('given', 'kind', 'says'), [*COMMON, *OF_THREADS, ({'selector_class': 5}, TypeError, 'selector_class')]
)
def test_a_servers_arguments_are_checked(pair, given, kind, says):
    with pytest.raises(kind, match=rf'^Server\.accept\(\): {says}' if 'selector' not in says else says):
        Server.accept(upgrade_environ(pair[0]), **given)
    assert pair[0].fileno() > 0  # it is still the application's


@pytest.mark.parametrize(('given', 'kind', 'says'), [*COMMON, *OF_THREADS, *OF_CLIENTS])
def test_a_clients_arguments_are_checked_before_it_connects(given, kind, says):
    with pytest.raises(kind, match=says):
        Client.connect('ws://127.0.0.1:1/', **given)


@pytest.mark.parametrize(('given', 'kind', 'says'), COMMON)
def test_an_asyncio_servers_arguments_are_checked(pair, given, kind, says):
    with pytest.raises(kind, match=rf'^AioServer\.accept\(\): {says}'):
        asyncio.run(AioServer.accept(sock=pair[0], headers=UPGRADE, **given))
    assert pair[0].fileno() > 0


@pytest.mark.parametrize(('given', 'kind', 'says'), [*COMMON, *OF_CLIENTS])
def test_an_asyncio_clients_arguments_are_checked_before_it_connects(given, kind, says):
    with pytest.raises(kind, match=says):
        asyncio.run(AioClient.connect('ws://127.0.0.1:1/', **given))


@pytest.mark.parametrize('url', [None, 5, b'ws://127.0.0.1/'])
def test_a_url_is_a_str(url):
    with pytest.raises(TypeError, match='a URL is a str'):
        Client.connect(url)
    with pytest.raises(TypeError, match='a URL is a str'):
        asyncio.run(AioClient.connect(url))


@pytest.mark.parametrize('environ', [None, 5, object()])
def test_what_is_not_an_environment_is_a_type_error(environ):
    with pytest.raises(TypeError, match=r'in Flask request\.environ'):
        Server.accept(environ)


@pytest.mark.parametrize('sock', [None, 5])
def test_what_is_not_a_socket_is_a_type_error(sock):
    with pytest.raises(TypeError, match=r'has to be a connected socket, not'):
        Server.accept({**upgrade_environ(), 'pyjows.socket': sock})


@pytest.mark.parametrize(
    ('given', 'kind', 'says'),
    [
        ({'asgi': 5}, TypeError, r'asgi= takes \(scope, receive, send\), not 5'),
        ({'asgi': ({'type': 'websocket'},)}, TypeError, r'asgi= takes \(scope, receive, send\)'),
        ({'asgi': ({'type': 'http'}, None, None)}, ValueError, "a scope of type websocket, not 'http'"),
        ({'aiohttp': 5}, TypeError, r'aiohttp= takes the aiohttp\.web\.Request'),
        ({'sock': 5, 'headers': UPGRADE}, TypeError, r'sock= takes a connected socket\.socket, not 5'),
    ],
)
def test_what_an_asyncio_server_accepts_is_checked(given, kind, says):
    with pytest.raises(kind, match=says):
        asyncio.run(AioServer.accept(**given))


HUGE = [1e300, math.inf, 10**400]
TIMEOUTS = [('5', TypeError), (math.nan, ValueError)]
CLOSES = [
    (('bye',), TypeError, "reason is a close code, such as 1000, not 'bye'; its text goes to message="),
    ((True,), TypeError, 'reason is a close code'),
    ((1000, b'bye'), TypeError, 'message is a str'),
    ((5,), ProtocolError, '5 may not be sent'),
]


def test_a_bad_call_leaves_the_connection_open(pair):
    ws = Server.accept(upgrade_environ(pair[0]))
    for timeout, kind in TIMEOUTS:
        with pytest.raises(kind, match=r'receive\(\): timeout'):
            ws.receive(timeout)
    for arguments, kind, says in CLOSES:
        with pytest.raises(kind, match=says):
            ws.close(*arguments)
    assert ws.connected
    assert ws.receive(-1) is None
    pair[1].close()
    for timeout in HUGE:
        with pytest.raises(ConnectionClosed):
            ws.receive(timeout)


def test_a_bad_call_leaves_an_awaited_connection_open(pair):
    async def main() -> None:
        ws = await AioServer.accept(sock=pair[0], headers=UPGRADE)
        await misuse(ws)
        assert await ws.receive(-1) is None
        pair[1].close()
        for timeout in HUGE:
            with pytest.raises(ConnectionClosed):
                await ws.receive(timeout)

    asyncio.run(main())


async def misuse(ws: AioServer) -> None:
    for timeout, kind in TIMEOUTS:
        with pytest.raises(kind, match=r'receive\(\): timeout'):
            await ws.receive(timeout)
    for arguments, kind, says in CLOSES:
        with pytest.raises(kind, match=says):
            await ws.close(*arguments)
    assert ws.connected


def test_a_bad_call_leaves_a_connection_of_asgi_open():
    sent = []

    async def receive() -> dict:
        return {'type': 'websocket.connect'}

    async def send(message: dict) -> None:
        sent.append(message)

    async def main() -> None:
        ws = await AioServer.accept(asgi=({'type': 'websocket', 'headers': []}, receive, send))
        await misuse(ws)
        await ws.close(4000, 'é' * 100)
        assert sent[-1] == {'type': 'websocket.close', 'code': 4000, 'reason': 'é' * 61}  # 123 bytes fit

    asyncio.run(main())


def test_a_connection_that_was_not_opened_says_what_to_call():
    ws = AioClient('ws://127.0.0.1:1/')
    assert not ws.connected
    assert (ws.close_reason, ws.close_message) == (1005, None)
    for call in (ws.receive, ws.close):
        with pytest.raises(RuntimeError, match=r'AioClient\.connect\(url\)'):
            asyncio.run(call())


def test_a_time_out_names_the_url_and_the_seconds_and_no_password(monkeypatch):
    for kind in (Client, AioClient):
        monkeypatch.setattr(kind, 'connect_timeout', 0.1)
    with closing(socket.create_server(('127.0.0.1', 0))) as silent:
        port = silent.getsockname()[1]
        for scheme in ('ws', 'wss'):
            url = f'{scheme}://user:secret@127.0.0.1:{port}/'
            says = rf"'{scheme}://\*\*\*@127\.0\.0\.1:{port}/' did not open within 0\.1 seconds \(connect_timeout"
            with pytest.raises(TimeoutError, match=says):
                Client.connect(url)
            with pytest.raises(TimeoutError, match=says):
                asyncio.run(AioClient.connect(url))


def test_without_a_time_out_a_client_waits_for_its_server(monkeypatch):
    for kind in (Client, AioClient):
        monkeypatch.setattr(kind, 'connect_timeout', None)
    for connect in (Client.connect, lambda url: asyncio.run(AioClient.connect(url))):
        with pytest.raises(ConnectionRefusedError):
            connect('ws://127.0.0.1:1/')


def test_a_largest_message_of_0_bytes_is_no_limit(pair):
    ws = Server.accept(upgrade_environ(pair[0]), max_message_size=0)
    pair[1].sendall(b'\x81\x85' + bytes(4) + b'hello')
    assert ws.receive(10) == 'hello'
