"""Request targets in absolute form (RFC 9112 3.2.2): the authority of the target counts, `Host` does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from threaded import Peer
from wire import asked

import pyjows
from pyjows import events
from pyjows.asgi import WebSocketProtocol
from pyjows.connection import ConnectionType, WSConnection
from pyjows.handshake import ServerHandshake
from pyjows.simple import AioServer, ConnectionClosed, Server

ABSOLUTE = 'GET http://real.example:8080/chat?room=1 HTTP/1.1'
BAD_TARGETS = [
    'http:///chat',
    'http://ann@real.example/chat',
    'http://two words.example/chat'.replace(' ', '\\'),
    'ftp://real.example/chat',
    'chat',
    'chat?next=http://real.example/',
    '*',
]


def seen(request: Any) -> tuple[Any, ...]:
    return request.target, request.path, request.query, request.host, request.headers['host']


def test_the_handshake_gives_the_origin_form_and_the_authority_as_host():
    request = ServerHandshake().receive(asked(ABSOLUTE, Host='other.example'))
    assert seen(request) == ('/chat?room=1', '/chat', 'room=1', 'real.example:8080', 'real.example:8080')
    assert len(request.headers.get_all('host')) == 1


@pytest.mark.parametrize(
    ('target', 'origin_form'),
    [('http://a', '/'), ('HTTPS://a?x=/y', '/?x=/y'), ('ws://[::1]:80/', '/'), ('/http://a/b', '/http://a/b')],
)
def test_each_absolute_form_has_its_origin_form(target, origin_form):
    handshake = ServerHandshake()
    assert handshake.receive(asked(f'GET {target} HTTP/1.1')).target == origin_form
    assert handshake.check() is None


def test_a_request_that_comes_in_parts_or_without_an_upgrade_is_the_same():
    handshake = ServerHandshake()
    data = asked(ABSOLUTE, Upgrade=None, Connection=None)
    for i in range(len(data) - 1):
        assert handshake.receive(data[i : i + 1]) is None
    assert seen(handshake.receive(data[-1:]))[:2] == ('/chat?room=1', '/chat')


@pytest.mark.parametrize('target', BAD_TARGETS)
def test_a_target_without_a_valid_authority_is_refused(target):
    with pytest.raises(pyjows.HandshakeError) as caught:
        ServerHandshake().receive(asked(f'GET {target} HTTP/1.1'))
    assert caught.value.status == 400


def test_a_malformed_host_is_refused_although_it_does_not_count():
    with pytest.raises(pyjows.HandshakeError, match='Host') as caught:
        ServerHandshake().receive(asked(ABSOLUTE, Host='not a host'))
    assert caught.value.status == 400


def test_options_may_ask_for_the_server_itself():
    request = ServerHandshake().receive(asked('OPTIONS * HTTP/1.1', Upgrade=None, Connection=None))
    assert request.target == '*'


def test_servers_routes_and_files_agree(ioloop, servers, ask, tmp_path: Path):
    (tmp_path / 'page.txt').write_text('a page')
    servers.append(server := pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))
    server.static('/files/', tmp_path)
    hosts: list[Any] = []

    @server.websocket('/chat')
    def chat(server: Any, ws: Any) -> None:
        hosts.append((ws.host, ws.req.path))
        ws.reject(403)

    @server.route('/hello')
    def hello(server: Any, request: Any) -> Any:
        return pyjows.Response.text(f'{request.host} {request.target}')

    plain: dict[str, Any] = dict.fromkeys(('Upgrade', 'Sec_WebSocket_Key', 'Sec_WebSocket_Version'))
    plain['Connection'] = 'close'
    assert ask(server, asked(ABSOLUTE)).startswith(b'HTTP/1.1 403 ')
    assert hosts == [('real.example:8080', '/chat')]
    assert ask(server, asked('GET http://real.example/files/page.txt HTTP/1.1', **plain)).endswith(b'a page')
    assert ask(server, asked('GET http://real.example/hello?x HTTP/1.1', **plain)).endswith(b'real.example /hello?x')
    assert ask(server, asked('GET http://x@real.example/hello HTTP/1.1', **plain)).startswith(b'HTTP/1.1 400 ')


def test_the_faces_without_io_agree():
    typed = WSConnection(ConnectionType.SERVER)
    typed.receive_data(asked(ABSOLUTE, Host='other.example'))
    [request] = typed.events()
    assert isinstance(request, events.Request)
    assert (request.host, request.target) == ('real.example:8080', '/chat?room=1')

    protocol = pyjows.ServerProtocol()
    protocol.receive_data(asked(ABSOLUTE, Host='other.example'))
    [event] = protocol.events_received()
    assert (event.headers['Host'], event.path) == ('real.example:8080', '/chat?room=1')


def test_simple_agrees_with_a_host_that_gives_the_target_as_it_was_sent():
    asked_for: list[tuple[str, str]] = []

    class Asked(Server):
        def choose_subprotocol(self, request: Any) -> None:
            asked_for.append((request.host, request.target))

    peer = Peer()
    ws = Asked.accept({**peer.served_environ, 'RAW_URI': 'http://real.example:8080/chat?room=1'})
    peer.sock.close()
    with pytest.raises(ConnectionClosed):
        ws.receive(timeout=20)
    assert asked_for == [('real.example:8080', '/chat?room=1')]


@pytest.mark.parametrize('path', ['/chat', 'http://real.example:8080/chat'])
def test_simple_agrees_with_an_asgi_server_that_does_not(path: str):
    asked_for: list[tuple[str, str]] = []

    class Asked(AioServer):
        def choose_subprotocol(self, request: Any) -> None:
            asked_for.append((request.host, request.target))

    async def main() -> None:
        headers = [(b'host', b'real.example:8080' if path[0] == '/' else b'other.example')]
        scope = {'type': 'websocket', 'path': path, 'query_string': b'room=1', 'headers': headers, 'subprotocols': []}
        messages = [{'type': 'websocket.connect'}, {'type': 'websocket.disconnect', 'code': 1000}]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            pass

        ws = await Asked.accept(asgi=(scope, receive, send))
        with pytest.raises(ConnectionClosed):
            await ws.receive()

    asyncio.run(main())
    assert asked_for == [('real.example:8080', '/chat?room=1')]


def test_asgi_agrees():
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    asyncio.run(asgi_request(app))
    [scope] = scopes
    assert (scope['path'], scope['raw_path'], scope['query_string']) == ('/chat', b'/chat', b'room=1')
    assert dict(scope['headers'])[b'host'] == b'real.example:8080'


async def asgi_request(app: Any) -> None:
    """One request in absolute form to the class for uvicorn, without a socket."""
    config = uvicorn.Config(app, lifespan='off', ws_ping_interval=None)
    state = uvicorn.server.ServerState()

    class Transport(asyncio.Transport):
        def write(self, data: Any) -> None:
            pass

        def close(self) -> None:
            pass

        abort = close

        def can_write_eof(self) -> bool:
            return False

        def is_closing(self) -> bool:
            return False

    protocol = WebSocketProtocol(config, state, {})
    protocol.connection_made(Transport())
    protocol.data_received(asked(ABSOLUTE, Host='other.example'))
    await asyncio.gather(*state.tasks)
    protocol.connection_lost(None)
