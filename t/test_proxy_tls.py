"""TLS to a proxy, TLS inside that TLS, and SOCKS4: `connect()` and the clients of `pyjows.simple`, on every reactor."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import trustme
from background import accepts, free_port, until
from byhand import log
from hypothesis import given
from hypothesis import strategies as st
from test_connecting import microsocks, needs_microsocks
from test_proxy import Proxy, Relay, echoes, refusal
from wire import cut

import pyjows
from pyjows import HandshakeError
from pyjows.client.proxy import open_tunnel, parse_proxy
from pyjows.simple import AioClient, Client, ConnectionError
from pyjows.url import parse_url

pytestmark = pytest.mark.wide(later=True)

needs_haproxy = pytest.mark.skipif(not shutil.which('haproxy'), reason='no haproxy here (Debian: apt install)')

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend tls
    bind 127.0.0.1:{port} ssl crt {folder}/proxy.pem
    default_backend connect
backend connect
    server proxy 127.0.0.1:{proxy}
"""


@pytest.fixture(scope='module')
def proxy_authority() -> trustme.CA:
    """Who signs the proxy's certificate: not who signs the server's."""
    return trustme.CA()


@pytest.fixture(scope='module')
def proxy(tmp_path_factory: pytest.TempPathFactory, proxy_authority: trustme.CA) -> Iterator[str]:
    """``localhost:port`` of haproxy, which ends TLS, with a CONNECT proxy behind it."""
    folder = tmp_path_factory.mktemp('haproxy')
    proxy_authority.issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(folder / 'proxy.pem')
    with Proxy(tmp_path_factory.mktemp('proxy'), '--basic-auth', 'ann:secret') as behind:
        port = free_port()
        (folder / 'haproxy.cfg').write_text(HAPROXY.format(port=port, folder=folder, proxy=behind.port))
        with subprocess.Popen(['haproxy', '-f', folder / 'haproxy.cfg'], stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: accepts(port), 'haproxy')
                yield f'localhost:{port}'
            finally:
                process.terminate()


@pytest.fixture
def proxy_tls(proxy_authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the proxy, and not the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy_authority.configure_trust(context)
    return context


@pytest.fixture
def echo(ioloop: Any, servers: list[Any], server_tls: ssl.SSLContext) -> Any:
    """An echo server with TLS and without."""
    server = pyjows.serve(
        'ws://127.0.0.1:0', 'wss://127.0.0.1:0', ioloop=ioloop, tls=server_tls, max_websocket_size=2**23
    )
    servers.append(server)
    server.on('websocket', lambda server, ws: ws.on('message', lambda ws, message: ws.send(message)))
    return server


@needs_haproxy
def test_a_websocket_goes_through_a_proxy_with_tls(ioloop, run_until, echo, proxy, proxy_tls):
    url = f'ws://127.0.0.1:{echo.ports[0]}/chat'
    ws = pyjows.connect(url, ioloop=ioloop, proxy=f'https://ann:secret@{proxy}', proxy_tls=proxy_tls)
    ws.on('open', lambda ws: seen.append((ws.scheme, ws.peer_certificate)))
    seen: list[Any] = []
    echoes(ioloop, run_until, ws)
    assert seen == [('ws', None)]  # the certificate is the proxy's


@needs_haproxy
def test_tls_goes_through_a_proxy_with_tls(ioloop, run_until, echo, proxy, proxy_tls, client_tls):
    url = f'wss://localhost:{echo.ports[1]}/chat'
    ws = pyjows.connect(url, ioloop=ioloop, proxy=f'https://ann:secret@{proxy}', proxy_tls=proxy_tls, tls=client_tls)
    ws.on('open', lambda ws: seen.append((ws.scheme, ws.peer_certificate['subjectAltName'])))
    seen: list[Any] = []
    echoes(ioloop, run_until, ws)
    assert seen == [('wss', (('DNS', 'localhost'), ('IP Address', '127.0.0.1')))]  # not those of the proxy's


@needs_haproxy
@pytest.mark.parametrize('pauses', [False, True])
def test_much_goes_both_ways_at_once_through_tls_in_tls(ioloop, run_until, echo, proxy, proxy_tls, client_tls, pauses):
    ws = pyjows.connect(
        f'wss://localhost:{echo.ports[1]}', ioloop=ioloop, proxy=f'https://ann:secret@{proxy}', proxy_tls=proxy_tls,
        tls=client_tls, max_websocket_size=2**23,
    )  # fmt: skip
    sent = [bytes([n % 251]) * size for n, size in enumerate([2_000_000, 0, 1, 16_000, 16_384, 70_000, *[100] * 3000])]
    received: list[Any] = []

    @ws.on
    def binary(ws, message):
        received.append(message)
        if pauses and len(received) in (1, 5, 1000):
            ws.pause_reading()
            ioloop.timer(lambda loop: ws.resume_reading(), 0.02)

    for message in sent:
        ws.send(binary=message)
    run_until(ioloop, lambda: len(received) == len(sent))
    assert received == sent
    seen = log(ws, 'finish')
    ws.finish(1000)
    run_until(ioloop, lambda: seen)
    assert seen == [('finish', 1000, '')]


@needs_haproxy
def test_the_proxy_of_the_environment_may_have_tls(ioloop, run_until, echo, proxy, proxy_tls, monkeypatch):
    for name in ('ws', 'wss', 'http', 'socks', 'all', 'no'):
        monkeypatch.delenv(f'{name}_proxy', raising=False)
        monkeypatch.delenv(f'{name}_PROXY'.upper(), raising=False)
    monkeypatch.setenv('all_proxy', f'https://ann:secret@{proxy}')
    monkeypatch.delenv('https_proxy', raising=False)
    monkeypatch.delenv('HTTPS_PROXY', raising=False)
    exc = refusal(ioloop, run_until, 'ws://no-such-host.invalid/', proxy_tls=proxy_tls)
    assert f'the proxy {proxy}' in str(exc)
    assert 'no-such-host.invalid:80' in str(exc)


@needs_haproxy
def test_a_server_that_vanishes_ends_tls_in_tls_once(
    ioloop, run_until, servers, proxy, proxy_tls, server_tls, client_tls
):
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=server_tls)
    servers.append(server)
    server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.terminate()))
    ws = pyjows.connect(
        f'wss://localhost:{server.ports[0]}', ioloop=ioloop, proxy=f'https://ann:secret@{proxy}', proxy_tls=proxy_tls,
        tls=client_tls,
    )  # fmt: skip
    ws.on('open', lambda ws: ws.send(text='go'))
    seen = log(ws, 'finish')
    run_until(ioloop, lambda: seen)
    assert seen[0][1] == 1006


# What goes wrong


@needs_haproxy
def test_a_proxy_whose_certificate_is_not_trusted_is_an_error_with_the_way_out(ioloop, run_until, proxy, client_tls):
    for context in (True, client_tls):  # that the server is trusted does not say that the proxy is
        exc = refusal(ioloop, run_until, 'wss://a.test', proxy=f'https://{proxy}', proxy_tls=context, tls=client_tls)
        assert isinstance(exc, ssl.SSLCertVerificationError)
        assert 'wss://a.test/ through its proxy: TLS with localhost' in str(exc)
        assert "proxy_tls=TLS(ca='ca.pem')" in str(exc)


@needs_haproxy
def test_a_proxy_under_another_name_than_its_certificates_is_an_error(ioloop, run_until, proxy, proxy_tls):
    place = proxy.replace('localhost', '127.0.0.1')
    exc = refusal(ioloop, run_until, 'ws://a.test', proxy=f'https://{place}', proxy_tls=proxy_tls)
    assert isinstance(exc, ssl.SSLCertVerificationError)
    assert 'Give the proxy by a name that its certificate has' in str(exc)


@needs_haproxy
def test_a_server_whose_certificate_is_not_trusted_is_an_error_of_the_server(ioloop, run_until, echo, proxy, proxy_tls):
    url = f'wss://localhost:{echo.ports[1]}'
    exc = refusal(ioloop, run_until, url, proxy=f'https://ann:secret@{proxy}', proxy_tls=proxy_tls, tls=proxy_tls)
    assert isinstance(exc, ssl.SSLCertVerificationError)
    assert 'proxy' not in str(exc)
    assert "pass tls=TLS(ca='ca.pem')" in str(exc)
    run_until(ioloop, lambda: not ioloop.statistics()['tls_handshakes'])


@needs_haproxy
def test_a_proxy_with_tls_that_wants_a_password_says_407_and_how_to_give_one(ioloop, run_until, proxy, proxy_tls):
    exc = refusal(ioloop, run_until, 'ws://a.test', proxy=f'https://{proxy}', proxy_tls=proxy_tls)
    assert isinstance(exc, HandshakeError)
    assert exc.status == 407
    assert f'proxy="https://user:password@{proxy}"' in str(exc)


def test_a_proxy_without_tls_under_https_is_an_error_with_the_way_out(ioloop, run_until, server, proxy_tls):
    place = f'127.0.0.1:{server.ports[0]}'
    exc = refusal(ioloop, run_until, 'ws://a.test', proxy=f'https://{place}', proxy_tls=proxy_tls)
    assert isinstance(exc, ssl.SSLError)
    assert 'use http:// in its URL' in str(exc)


def test_a_proxy_with_tls_that_does_not_speak_http_is_an_error(ioloop, run_until, server_tls, client_tls):
    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def rude(loop, stream, id):
        stream.on('read', lambda stream, data: stream.write(b'SSH-2.0-OpenSSH\r\n\r\n'))

    place = f'localhost:{ioloop.acceptor(rude).port}'
    exc = refusal(ioloop, run_until, 'ws://a.test', proxy=f'https://{place}', proxy_tls=client_tls)
    assert f'the proxy {place} does not answer CONNECT in HTTP/1.1' in str(exc)
    ioloop.remove(rude)


@pytest.mark.parametrize('answers', [False, True], ids=['TLS', 'CONNECT'])
def test_a_proxy_with_tls_that_never_answers_is_given_up(
    ioloop, run_until, assert_idle, server_tls, client_tls, answers
):
    if answers:
        held = []
        silent = ioloop.server(lambda loop, stream, id: held.append(stream), address='127.0.0.1', tls=server_tls)
        place = f'https://localhost:{ioloop.acceptor(silent).port}'
        exc = refusal(ioloop, run_until, 'wss://a.test', proxy=place, proxy_tls=client_tls, timeout=0.2)
        ioloop.remove(silent)
        run_until(ioloop, lambda: not ioloop.connections)
    else:
        with socket.create_server(('127.0.0.1', 0)) as listening:
            place = f'https://127.0.0.1:{listening.getsockname()[1]}'
            exc = refusal(ioloop, run_until, 'wss://a.test', proxy=place, timeout=0.2)
    assert 'within' in str(exc)
    assert_idle(ioloop)


def test_a_proxy_that_says_nothing_of_the_servers_tls_is_given_up(
    ioloop, run_until, assert_idle, server_tls, client_tls
):
    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def mute(loop, stream, id):
        stream.once('read', lambda stream, data: stream.write(b'HTTP/1.1 200 OK\r\n\r\n'))

    place = f'https://localhost:{ioloop.acceptor(mute).port}'
    exc = refusal(ioloop, run_until, 'wss://a.test', proxy=place, proxy_tls=client_tls, timeout=0.2)
    assert 'within' in str(exc)
    ioloop.remove(mute)
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


@pytest.mark.parametrize(
    ('options', 'kind', 'says'),
    [
        ({'proxy': 'https://a', 'proxy_tls': False}, ValueError, r'proxy_tls=False .* always encrypted'),
        ({'proxy': 'https://a', 'proxy_tls': 'ca.pem'}, TypeError, r'connect\(\): proxy_tls takes an ssl.SSLContext'),
        ({'proxy': 'socks4://ann:secret@a'}, ValueError, 'SOCKS4 has user names and no passwords'),
        ({'proxy': 'socks6://a'}, ValueError, 'socks5://host:port or socks4://host:port'),
    ],
)
def test_a_wrong_option_is_refused_at_the_call(ioloop, assert_idle, options, kind, says):
    with pytest.raises(kind, match=says) as caught:
        pyjows.connect('ws://a.test', ioloop=ioloop, **options)
    assert 'secret' not in str(caught.value)


def test_a_socket_that_has_tls_already_is_driven_as_it_is(ioloop, run_until, echo, client_tls):
    with ThreadPoolExecutor(1) as executor, socket.create_connection(('127.0.0.1', echo.ports[1])) as sock:
        handshake = executor.submit(client_tls.wrap_socket, sock, server_hostname='localhost')
        run_until(ioloop, handshake.done)
        echoes(ioloop, run_until, pyjows.connect('ws://localhost/', ioloop=ioloop, sock=handshake.result()))


# The clients without events


@contextmanager
def echoing(scheme: str, tls: ssl.SSLContext) -> Iterator[tuple[str, Any]]:
    """The URL of an echo server on a loop in a thread, and a SOCKS4 proxy to it."""
    loop = pyjows.IOLoop('poll')
    server = pyjows.serve(f'{scheme}://127.0.0.1:0', ioloop=loop, tls=tls, max_websocket_size=2**23)
    server.on('websocket', lambda server, ws: ws.on('message', lambda ws, message: ws.send(message)))
    socks4 = Socks4(loop, server.ports[0])
    thread = threading.Thread(target=loop.start)
    thread.start()
    try:
        yield f'{scheme}://localhost:{server.ports[0]}', socks4
    finally:
        loop.call_threadsafe(lambda loop: (server.stop(), loop.remove(socks4.id)))
        thread.join(30)
        assert not thread.is_alive()
        loop.close()


class Proxied(Client):
    pass


class AioProxied(AioClient):
    pass


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets an attribute of both clients for the test."""

    def proxied(**attributes: Any) -> None:
        for name, value in attributes.items():
            monkeypatch.setattr(Proxied, name, value)
            monkeypatch.setattr(AioProxied, name, value)

    return proxied


def both_echo(url: str, context: ssl.SSLContext) -> None:
    """The blocking client and the awaited one have their messages answered."""
    messages = ('hi', 'x' * 1_000_000, b'bye')
    with Proxied.connect(url, ssl_context=context) as ws:
        for message in messages:
            ws.send(message)
            assert ws.receive(timeout=30) == message

    async def talk() -> None:
        async with await AioProxied.connect(url, ssl_context=context) as ws:
            for message in messages:
                await ws.send(message)
                assert await ws.receive(timeout=30) == message

    asyncio.run(talk())


def both_fail(url: str, context: ssl.SSLContext, kind: type[Exception]) -> list[Any]:
    """What the two clients raise."""
    with pytest.raises(kind) as blocking:
        Proxied.connect(url, ssl_context=context)
    with pytest.raises(kind) as awaited:
        asyncio.run(AioProxied.connect(url, ssl_context=context))
    return [blocking.value, awaited.value]


@needs_haproxy
@pytest.mark.parametrize('scheme', ['ws', 'wss'])
def test_the_clients_without_events_go_through_a_proxy_with_tls(
    proxied, proxy, proxy_tls, client_tls, server_tls, scheme
):
    with echoing(scheme, server_tls) as (url, _):
        proxied(proxy=f'https://ann:secret@{proxy}', proxy_ssl_context=proxy_tls)
        both_echo(url, client_tls)
        proxied(proxy=f'https://{proxy}')
        assert [exc.status_code for exc in both_fail(url, client_tls, ConnectionError)] == [407, 407]
        proxied(proxy_ssl_context=None)
        both_fail(url, client_tls, ssl.SSLCertVerificationError)


# SOCKS4


class Socks4(Relay):
    """A SOCKS4 proxy on the loop itself, that leads everybody to one server; `targets` has what was asked."""

    answer = b'\0\x5a' + bytes(6)

    def __init__(self, ioloop: Any, port: int) -> None:
        super().__init__(ioloop, port)
        self.to = port
        self.url = self.url.removeprefix('http://')

    def _asked(self, stream: Any, request: bytes) -> None:
        self.targets.append(request)
        if self.answer[1] != 0x5A:
            stream.write(self.answer)
            return
        self.lead(stream)

    def lead(self, stream: Any) -> None:
        def connected(loop: Any, err: Any, other: Any) -> None:
            assert err is None
            for one, two in ((stream, other), (other, stream)):
                one.on('read', lambda one, data, two=two: two.write(data))
                one.on('close', lambda one, two=two: two.close_gracefully())
            stream.write(self.answer)

        self.ioloop.client(connected, port=self.to)


@pytest.fixture
def socks4(ioloop: Any, echo: Any) -> Iterator[Socks4]:
    relay = Socks4(ioloop, echo.ports[0])
    yield relay
    ioloop.remove(relay.id)


@pytest.mark.parametrize(
    ('proxy', 'host', 'request_'),
    [
        ('socks4://', '192.0.2.1', b'\x04\x01\x00\x50\xc0\x00\x02\x01\x00'),
        ('socks4a://', 'a.test', b'\x04\x01\x00\x50\x00\x00\x00\x01\x00a.test\x00'),
        ('socks4://ann@', 'a.test', b'\x04\x01\x00\x50\x00\x00\x00\x01ann\x00a.test\x00'),
    ],
)
def test_a_websocket_goes_through_a_socks4_proxy(ioloop, run_until, socks4, proxy, host, request_):
    echoes(ioloop, run_until, pyjows.connect(f'ws://{host}', ioloop=ioloop, proxy=f'{proxy}{socks4.url}'))
    assert socks4.targets == [request_]


def test_tls_goes_through_a_socks4_proxy_of_the_environment(ioloop, run_until, echo, socks4, client_tls, monkeypatch):
    for name in ('ws', 'wss', 'http', 'https', 'socks', 'no'):
        monkeypatch.delenv(f'{name}_proxy', raising=False)
        monkeypatch.delenv(f'{name}_PROXY'.upper(), raising=False)
    monkeypatch.setenv('ALL_PROXY', f'socks4a://{socks4.url}')
    socks4.to = echo.ports[1]
    ws = pyjows.connect('wss://a.test', ioloop=ioloop, tls=client_tls, server_hostname='localhost')
    echoes(ioloop, run_until, ws)


@pytest.mark.parametrize(
    ('code', 'why'), [(0x5B, 'Request rejected or failed'), (0x5D, 'different user-ids'), (0x99, 'Invalid reply code')]
)
def test_a_socks4_proxy_that_refuses_is_an_error_that_says_why(ioloop, run_until, socks4, code, why):
    socks4.answer = bytes((0, code)) + bytes(6)
    exc = refusal(ioloop, run_until, 'ws://a.test', proxy=f'socks4://{socks4.url}')
    assert isinstance(exc, HandshakeError)
    assert f'the SOCKS proxy {socks4.url} refuses' in str(exc)
    assert why in str(exc)
    assert 'a.test:80' in str(exc)


@pytest.mark.parametrize(('name', 'url', 'says'), [
    ('', 'ws://[2001:db8::1]', 'SOCKS4 has no IPv6 addresses; use socks5://'),
    ('%C3%A4nn@', 'ws://a.test', 'is not ASCII'),
])  # fmt: skip
def test_what_socks4_cannot_say_is_refused_at_the_call(ioloop, assert_idle, name, url, says):
    with pytest.raises(ValueError, match=says):
        pyjows.connect(url, ioloop=ioloop, proxy=f'socks4://{name}127.0.0.1')
    assert_idle(ioloop)


@given(st.data())
def test_the_answer_of_a_socks4_proxy_may_come_in_pieces(data):
    tunnel = open_tunnel(parse_proxy('socks4://127.0.0.1'), parse_url('ws://a.test/'))
    assert tunnel.send().startswith(b'\x04\x01')
    pieces = [piece for piece in data.draw(cut(b'\0\x5a' + bytes(6))) if piece]
    assert [tunnel.receive(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@given(st.binary(max_size=20))
def test_any_answer_of_a_socks4_proxy_is_understood_or_is_an_error(answer):
    tunnel = open_tunnel(parse_proxy('socks4://127.0.0.1'), parse_url('ws://a.test/'))
    try:
        assert not tunnel.receive(answer) or answer[:2] == b'\0\x5a'
        tunnel.receive(b'')
    except HandshakeError as exc:
        assert 'the SOCKS proxy 127.0.0.1:1080' in str(exc)


@pytest.mark.parametrize('scheme', ['ws', 'wss'])
def test_the_clients_without_events_go_through_a_socks4_proxy(proxied, client_tls, server_tls, scheme):
    with echoing(scheme, server_tls) as (url, socks4):
        proxied(proxy=f'socks4://{socks4.url}')
        both_echo(url, client_tls)
        assert len(socks4.targets) == 2
        socks4.answer = b'\0\x5b' + bytes(6)
        assert [exc.status_code for exc in both_fail(url, client_tls, ConnectionError)] == [None, None]


@needs_microsocks
def test_the_clients_without_events_go_through_a_socks5_proxy(proxied, client_tls, server_tls):
    with microsocks() as place, echoing('wss', server_tls) as (url, _):
        proxied(proxy=f'socks5://{place}')
        both_echo(url, client_tls)
