"""How `connect()` gets there: SOCKS5 proxies (microsocks), addresses, sockets, cookies; on every reactor."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme
from background import accepts, free_port, until
from hypothesis import given
from hypothesis import strategies as st
from wire import cut

import pyjows
from pyjows import HandshakeError
from pyjows.client.proxy import parse_proxy
from pyjows.client.socks import SocksTunnel
from pyjows.url import parse_url

needs_microsocks = pytest.mark.skipif(not shutil.which('microsocks'), reason='no microsocks here (Debian: apt install)')


@contextmanager
def microsocks(*options: str) -> Iterator[str]:
    """microsocks on a free port; its host and port."""
    port = free_port()
    with subprocess.Popen(
        ['microsocks', '-i', '127.0.0.1', '-p', str(port), *options], stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: accepts(port), 'microsocks')
            yield f'127.0.0.1:{port}'
        finally:
            process.kill()


@pytest.fixture(scope='module')
def proxy() -> Iterator[str]:
    with microsocks() as place:
        yield place


@pytest.fixture(scope='module')
def guarded() -> Iterator[str]:
    with microsocks('-u', 'ann', '-P', 'wonder') as place:
        yield place


def outcome(ioloop: Any, run_until: Any, url: str, **options: Any) -> Any:
    """What an attempt ends with: the echo of a message, or the error."""
    found: list[Any] = []
    ws = pyjows.connect(url, ioloop=ioloop, **options)
    ws.on('error', lambda ws, exc: found.append(exc))
    ws.on('open', lambda ws: ws.send(text='hi'))
    ws.on('text', lambda ws, text: (found.append(text), ws.finish(1000)))
    run_until(ioloop, lambda: found and ws.is_finished)
    return found[0]


@pytest.fixture
def echo(server):
    """The server of the test, which also tells where its clients come from."""
    server.seen = []

    @server.on
    def websocket(server, ws):
        server.seen.append(ws.remote_address)
        ws.on('text', lambda ws, text: ws.send(text=text * 2))

    return server


@needs_microsocks
@pytest.mark.parametrize('scheme', ['socks5', 'socks5h', 'socks'])
def test_a_websocket_goes_through_a_socks_proxy(ioloop, run_until, echo, proxy, scheme):
    for host in ('127.0.0.1', 'localhost'):
        url = f'ws://{host}:{echo.ports[0]}'
        assert outcome(ioloop, run_until, url, proxy=f'{scheme}://{proxy}') == 'hihi'


@needs_microsocks
def test_tls_goes_through_a_socks_proxy(ioloop, run_until, proxy):
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('127.0.0.1').configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=server_context)
    server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text=text * 2)))
    assert outcome(ioloop, run_until, server.urls[0], proxy=f'socks5://{proxy}', tls=client_context) == 'hihi'
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


@needs_microsocks
def test_a_socks_proxy_gets_user_name_and_password(ioloop, run_until, echo, guarded):
    url = echo.urls[0]
    assert outcome(ioloop, run_until, url, proxy=f'socks5://ann:wonder@{guarded}') == 'hihi'
    for who in ('', 'ann:wrong@'):
        refused = outcome(ioloop, run_until, url, proxy=f'socks5://{who}{guarded}')
        assert isinstance(refused, HandshakeError)
        assert 'the SOCKS proxy' in str(refused) and 'wrong' not in str(refused)


@needs_microsocks
def test_a_host_that_a_socks_proxy_cannot_reach_is_an_error(ioloop, run_until, proxy):
    refused = outcome(ioloop, run_until, 'ws://127.0.0.1:1', proxy=f'socks5://{proxy}')
    assert isinstance(refused, HandshakeError)
    assert f'the SOCKS proxy {proxy} refuses: ' in str(refused) and '127.0.0.1:1' in str(refused)


@needs_microsocks
def test_the_socks_proxy_of_the_environment_is_taken(ioloop, run_until, proxy, monkeypatch):
    for name in ('ws', 'http', 'https', 'socks', 'no'):
        monkeypatch.delenv(f'{name}_proxy', raising=False)
        monkeypatch.delenv(f'{name.upper()}_PROXY', raising=False)
    monkeypatch.setenv('all_proxy', f'socks5h://{proxy}')
    refused = outcome(ioloop, run_until, 'ws://host.invalid')
    assert 'the SOCKS proxy' in str(refused)


def test_a_proxy_that_speaks_no_socks_is_an_error(ioloop, run_until, echo):
    refused = outcome(ioloop, run_until, 'ws://a.example', proxy=f'socks5://127.0.0.1:{echo.ports[0]}')
    assert isinstance(refused, HandshakeError)


def tunnel(proxy: str = 'socks5://127.0.0.1', url: str = 'ws://example.com/') -> SocksTunnel:
    return SocksTunnel(parse_proxy(proxy), parse_url(url))


OK = b'\x05\x00\x00'


@given(st.data())
def test_the_answers_of_a_socks_proxy_may_come_in_pieces(data):
    bound = data.draw(st.sampled_from([b'\x01' + bytes(4), b'\x04' + bytes(16), b'\x03\x03abc'])) + b'\0\x50'
    one = tunnel()
    assert one.send() == b'\x05\x01\x00'
    pieces = [*data.draw(cut(b'\x05\x00')), *data.draw(cut(OK + bound))]
    sent, is_open = b'', False
    for piece in filter(None, pieces):
        is_open = one.receive(piece)
        sent += one.send()
    assert is_open
    assert sent == b'\x05\x01\x00\x03\x0bexample.com\x00\x50'


@given(st.binary(min_size=1, max_size=40) | st.binary(max_size=20).map(lambda end: b'\x05\x00\x05' + end))
def test_any_answer_of_a_socks_proxy_is_understood_or_is_an_error(answer):
    one = tunnel()
    try:
        one.receive(answer)
        one.receive(b'')
    except HandshakeError as exc:
        assert 'the SOCKS proxy 127.0.0.1:1080' in str(exc)


@pytest.mark.parametrize(
    ('user', 'host', 'says'),
    [
        ('u:' + 'p' * 256, 'a.test', '1 to 255 ASCII characters'),
        ('u' * 256 + ':p', 'a.test', '1 to 255 ASCII characters'),
        ('b%C3%BC:p', 'a.test', '1 to 255 ASCII characters'),
        ('u:b%C3%BC', 'a.test', '1 to 255 ASCII characters'),
        ('u', 'a.test', 'write socks5://user:password@127.0.0.1:1080, or neither'),
        (':p', 'a.test', 'write socks5://user:password@127.0.0.1:1080, or neither'),
        ('u:p', 'a.' * 127 + 'ab', 'a host name of 256 characters'),
    ],
)
def test_what_socks5_cannot_say_is_refused_at_the_call(ioloop, assert_idle, user, host, says):
    with pytest.raises(ValueError, match=says) as refused:
        pyjows.connect(f'ws://{host}/', ioloop=ioloop, proxy=f'socks5://{user}@127.0.0.1')
    assert 'pppp' not in str(refused.value)
    assert_idle(ioloop)


def test_without_python_socks_the_error_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'python_socks._protocols', None)
    with pytest.raises(ImportError, match=r'pyjows\[socks\]'):
        tunnel()


# Where a connection comes from


def test_a_connection_comes_from_the_local_address(ioloop, run_until, echo):
    assert outcome(ioloop, run_until, echo.urls[0], local_address='127.0.0.2') == 'hihi'
    assert echo.seen == ['127.0.0.2']


# Given sockets, cookies, credentials


def test_a_connected_socket_is_used(ioloop, run_until, echo):
    sock = socket.create_connection(('127.0.0.1', echo.ports[0]))
    assert outcome(ioloop, run_until, 'ws://host.invalid/', sock=sock, proxy='http://127.0.0.1:1') == 'hihi'
    run_until(ioloop, lambda: sock.fileno() == -1)
    ours, peers = socket.socketpair()
    peers.close()
    assert isinstance(outcome(ioloop, run_until, 'ws://host.invalid/', sock=ours), (OSError, HandshakeError))


def test_a_wrong_socket_is_refused(ioloop):
    for options, kind in (
        ({'sock': 3}, TypeError),
        ({'sock': socket.socket(), 'local_address': '127.0.0.1'}, ValueError),
    ):
        with pytest.raises(kind, match=r'connect\(\): sock'):
            pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop, **options)
        if kind is ValueError:
            options['sock'].close()
    with pytest.raises(TypeError, match='no option sock'):
        pyjows.reconnect('ws://127.0.0.1:1', ioloop=ioloop, sock=None)


def test_cookies_are_sent(ioloop, run_until, server):
    seen = []
    server.on(
        'websocket', lambda server, ws: (seen.append(ws.req.cookies), ws.on('text', lambda ws, text: ws.send(text)))
    )
    assert outcome(ioloop, run_until, server.urls[0], cookies={'session': 'abc', 'a': 'b%20c'}) == 'hi'
    assert seen == [{'session': 'abc', 'a': 'b%20c'}]


@pytest.mark.parametrize('elsewhere', [True, False], ids=['another origin', 'the same origin'])
def test_credentials_stay_behind_on_a_redirect_to_another_origin(ioloop, run_until, server, elsewhere):
    other = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    seen = []
    for one in (server, other):

        @one.on
        def websocket(server, ws):
            if ws.req.path == '/':
                ws.reject(307, headers={'Location': f'{(other if elsewhere else server).urls[0]}/there'})
            else:
                seen.append({name: ws.req.headers.get(name) for name in ('x-api-key', 'cookie', 'x-other')})
                ws.on('text', lambda ws, text: ws.send(text))

    options = {
        'headers': {'X-Api-Key': 'secret', 'X-Other': 'o'},
        'private_headers': ['x-API-key'],
        'cookies': {'a': 'b'},
    }
    assert outcome(ioloop, run_until, server.urls[0], **options) == 'hi'
    kept = {'x-api-key': 'secret', 'cookie': 'a=b', 'x-other': 'o'}
    assert seen == [{**kept, 'x-api-key': None, 'cookie': None} if elsewhere else kept]
    other.stop()
    run_until(ioloop, lambda: not other.connections)


def test_a_client_gives_up_after_as_many_attempts_as_there_are_delays(ioloop, run_until):
    port = free_port()
    failures, ends = [], []
    client = pyjows.reconnect(f'ws://127.0.0.1:{port}', ioloop=ioloop, delays=lambda: iter([0.01] * 3))
    client.on('websocket', lambda client, ws: ws.on('error', lambda ws, exc: failures.append(exc)))
    client.on('finish', lambda client, *_: ends.append(client))
    run_until(ioloop, lambda: ends)
    assert len(failures) == 4
