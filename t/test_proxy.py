"""Proxies: which one is taken, what is said to it, and `connect()` through real ones, on every reactor."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from background import accepts, until
from byhand import log
from program import Program

import pyjows
from pyjows import HandshakeError, IOLoop
from pyjows.client.proxy import Tunnel, choose_proxy, parse_proxy
from pyjows.url import parse_url

pytestmark = pytest.mark.wide(later=True)

# Which proxy


@pytest.mark.parametrize(
    ('proxy', 'host', 'port', 'authorization'),
    [
        ('http://proxy.example:3128', 'proxy.example', 3128, None),
        ('http://proxy.example', 'proxy.example', 80, None),
        ('HTTP://proxy.example:8080/', 'proxy.example', 8080, None),
        ('proxy.example:8080', 'proxy.example', 8080, None),
        ('socks5://proxy.example', 'proxy.example', 1080, None),
        ('SOCKS5h://proxy.example:80', 'proxy.example', 80, None),
        ('socks4://proxy.example', 'proxy.example', 1080, None),
        ('Socks4a://proxy.example:443', 'proxy.example', 443, None),
        ('https://proxy.example', 'proxy.example', 443, None),
        ('https://proxy.example:3128', 'proxy.example', 3128, None),
        ('http://[::1]:8080', '::1', 8080, None),
        ('http://Aladdin:open%20sesame@proxy.example', 'proxy.example', 80, 'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=='),
    ],
)
def test_a_proxy_is_given_by_its_url(proxy, host, port, authorization):
    found = parse_proxy(proxy)
    assert (found.host, found.port, found.authorization) == (host, port, authorization)


@pytest.mark.parametrize(
    ('proxy', 'reason'),
    [
        ('socks6://a:1080', 'SOCKS'),
        ('socks4a://ann:secret@a:1080', 'no passwords'),
        ('socks5://a:0', '0 is not a valid port'),
        ('socks5://ann:secret@a/path', "'/path'"),
        ('https://a:3128/path', "'/path'"),
        ('ftp://a', 'http://host:port'),
        ('http://', 'no host'),
        ('http://a:99999', 'malformed'),
        ('http://a:0', '0 is not a valid port'),
        ('http://a/path', "'/path'"),
        ('http://ann:secret@a b', 'malformed'),
    ],
)
def test_what_is_no_proxy_is_refused_with_the_reason_and_without_the_password(proxy, reason):
    with pytest.raises(ValueError) as caught:
        parse_proxy(proxy)
    assert reason in str(caught.value)
    assert 'secret' not in str(caught.value)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no proxies, to be changed."""
    for scheme in ('ws', 'wss', 'http', 'https', 'all', 'no', 'socks', 'ftp'):
        monkeypatch.delenv(f'{scheme}_proxy', raising=False)
        monkeypatch.delenv(f'{scheme.upper()}_PROXY', raising=False)
    monkeypatch.delenv('REQUEST_METHOD', raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ('variables', 'url', 'host'),
    [
        ({}, 'ws://a.example/', None),
        ({'HTTPS_PROXY': 'http://p:1'}, 'wss://a.example/', 'p'),
        ({'https_proxy': 'http://p:1'}, 'ws://a.example/', 'p'),
        ({'http_proxy': 'http://p:1'}, 'wss://a.example/', None),
        ({'http_proxy': 'http://p:1'}, 'ws://a.example/', 'p'),
        ({'http_proxy': 'http://p:1', 'https_proxy': 'http://q:1'}, 'ws://a.example/', 'q'),
        ({'ws_proxy': 'http://w:1', 'https_proxy': 'http://q:1'}, 'ws://a.example/', 'w'),
        ({'wss_proxy': 'w:1', 'https_proxy': 'http://q:1'}, 'wss://a.example/', 'w'),
        ({'ALL_PROXY': 'http://p:1'}, 'wss://a.example/', 'p'),
        ({'https_proxy': 'http://p:1', 'no_proxy': 'a.example'}, 'wss://a.example/', None),
        ({'https_proxy': 'http://p:1', 'no_proxy': 'b.example,.example'}, 'wss://a.example/', None),
        ({'https_proxy': 'http://p:1', 'no_proxy': 'a.example:444'}, 'wss://a.example/', 'p'),
        ({'https_proxy': 'http://p:1', 'no_proxy': '*'}, 'wss://a.example/', None),
        ({'https_proxy': 'http://p:1'}, 'ws://localhost:3000/', None),
        ({'https_proxy': 'http://p:1'}, 'ws://127.3.2.1/', None),
        ({'https_proxy': 'http://p:1'}, 'ws://[::1]/', None),
        ({'https_proxy': 'http://p:1'}, 'ws+unix:///tmp/sock', None),
    ],
)
@pytest.mark.skipif(sys.platform in ('darwin', 'win32'), reason='there the system has settings, too')
def test_the_environment_names_a_proxy(environment, variables, url, host):
    for name, value in variables.items():
        environment.setenv(name, value)
    found = choose_proxy(True, parse_url(url))
    assert (None if found is None else found.host) == host
    assert choose_proxy(None, parse_url(url)) is choose_proxy(False, parse_url(url)) is None


def test_a_proxy_of_the_environment_that_cannot_be_used_is_an_error_with_the_way_out(environment):
    environment.setenv('ALL_PROXY', 'socks6://127.0.0.1:1080')
    with pytest.raises(ValueError, match=r'SOCKS.*proxy=None'):
        pyjows.connect('ws://a.example/')


def test_no_proxy_leads_to_a_unix_socket():
    with pytest.raises(ValueError, match='Unix socket'):
        pyjows.connect('ws+unix:///tmp/sock', proxy='http://127.0.0.1:3128')


def test_a_proxy_is_a_url():
    with pytest.raises(TypeError, match=r'connect\(\): proxy takes the URL'):
        pyjows.connect('ws://127.0.0.1/', proxy=3128)


# What is said to it


def tunnel(url: str = 'ws://example.com/chat', proxy: str = 'http://127.0.0.1:3128', **options: Any) -> Tunnel:
    return Tunnel(parse_proxy(proxy), parse_url(url), **options)


@pytest.mark.parametrize(
    ('url', 'target'),
    [
        ('ws://example.com/chat', b'example.com:80'),
        ('wss://example.com/', b'example.com:443'),
        ('ws://[::1]:3000/', b'[::1]:3000'),
    ],
)
def test_the_request_is_a_connect_to_host_and_port(url, target):
    request = tunnel(url).send()
    assert request.startswith(b'CONNECT %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: Python' % (target, target))
    assert request.endswith(b'\r\n\r\n')
    assert b'Proxy-Authorization' not in request


def test_the_request_has_the_user_name_and_password_of_the_proxy_and_not_those_of_the_url():
    request = tunnel('ws://bob:other@example.com/', 'http://Aladdin:open%20sesame@127.0.0.1').send()
    assert b'\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n' in request
    assert b'\r\nAuthorization' not in request


@pytest.mark.parametrize('size', [1, 7, 1000])
@pytest.mark.parametrize(
    'answer',
    [
        b'HTTP/1.1 200 Connection established\r\n\r\n',
        b'HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n',
        b'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
        b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200\r\n\r\n',
    ],
)
def test_any_2xx_opens_the_way(answer, size):
    way = tunnel()
    way.send()
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    assert [way.receive(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize(
    ('answer', 'status', 'reason'),
    [
        (b'HTTP/1.1 403 Not For You\r\n\r\n', 403, '403 Not For You'),
        (b'HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n', 407, 'user:password@127.0.0.1:3128'),
        (b'HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n', 302, '302 Found'),
        (b'HTTP/1.1 503\r\n\r\n', 503, 'answered 503 to CONNECT example.com:80'),
        (b'HTTP/1.1 200 OK\r\n\r\nmore', None, 'after its answer to CONNECT'),
        (b'HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\nmore', 407, 'user:password@127.0.0.1:3128'),
        (b'HTTP/1.1 101 Switching Protocols\r\n\r\n', None, 'HTTP/1.1'),
        (b'SSH-2.0-OpenSSH\r\n\r\n', None, 'HTTP/1.1'),
        (b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 20000, None, '16384 bytes'),
        (b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 20000 + b'\r\n\r\n', None, '16384 bytes'),
        (b'HTTP/1.1 103 Hints\r\n\r\n' * 1000, None, '16384 bytes'),
        (b'HTTP/1.1 200', None, 'closed the connection'),
        (b'', None, 'closed the connection'),
    ],
)
def test_any_other_answer_is_an_error_that_says_why(answer, status, reason):
    way = tunnel()
    way.send()
    with pytest.raises(HandshakeError, match='127.0.0.1:3128') as caught:
        assert not way.receive(answer) if answer else True
        way.receive(b'')
    assert caught.value.status == status
    assert reason in str(caught.value)
    assert not way.receive(b''), 'the end of the stream comes after a failure, too'


# Real ones


class Proxy(Program):
    """proxy.py, as a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port_file = folder / 'port'
        super().__init__(
            '-m', 'proxy', '--hostname', '127.0.0.1', '--port', '0', '--port-file', self.port_file,
            '--num-workers', '1', '--num-acceptors', '1', *options,
            '--data-dir', folder / 'data', '--cache-dir', folder / 'cache',  # by default in the home directory
        )  # fmt: skip

    def __exit__(self, *why: Any) -> None:
        self.stop()  # not by SIGKILL: its own processes would stay
        super().__exit__(*why)

    @property
    def port(self) -> int:
        text = until(lambda: self.port_file.exists() and self.port_file.read_text(), 'the port of the proxy')
        port = int(text.split()[0])
        until(lambda: accepts(port), 'the proxy to listen')
        return port


@pytest.fixture(scope='module')
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a proxy that lets everybody through."""
    with Proxy(tmp_path_factory.mktemp('proxy')) as running:
        yield f'http://127.0.0.1:{running.port}'


@pytest.fixture(scope='module')
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The ``host:port`` of a proxy that wants a user name and password."""
    with Proxy(tmp_path_factory.mktemp('guarded'), '--basic-auth', 'ann:open sesame') as running:
        yield f'127.0.0.1:{running.port}'


@pytest.fixture
def server(ioloop: IOLoop, run_until: Any, assert_idle: Any) -> Iterator[Any]:
    """An echo server, stopped after the test, which may leave nothing on the loop."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('websocket', lambda server, ws: ws.on('message', lambda ws, message: ws.send(message)))
    yield server
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def echoes(ioloop: IOLoop, run_until: Any, ws: Any) -> None:
    """The way there and back is open."""
    seen = log(ws, 'text', 'error', 'finish')
    ws.send(text='hi').send(text='x' * 100_000)
    run_until(ioloop, lambda: len(seen) == 2)
    assert seen == [('text', 'hi'), ('text', 'x' * 100_000)]
    ws.finish(1000)
    run_until(ioloop, lambda: ws.is_finished)
    assert seen[2] == ('finish', 1000, '')


def refusal(ioloop: IOLoop, run_until: Any, url: str, **options: Any) -> BaseException:
    """The error that a connection ends with."""
    ws = pyjows.connect(url, ioloop=ioloop, **options)
    seen = log(ws, 'open', 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished and not ioloop.statistics()['dialed'])
    (_, exc), (_, code, _) = seen
    assert code == 1006
    assert not len(ioloop.dial_queue)
    return exc


def test_a_websocket_goes_through_a_proxy(ioloop, server, proxy, run_until):
    seen = []
    server.on('websocket', lambda server, ws: seen.append(ws.req))
    ws = pyjows.connect(f'{server.urls[0]}/chat', ioloop=ioloop, proxy=proxy)
    echoes(ioloop, run_until, ws)
    assert seen[0].target == '/chat'
    assert seen[0].headers['host'] == server.urls[0].removeprefix('ws://')


def test_tls_goes_through_a_proxy(ioloop, server, proxy, run_until):
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert('localhost').configure_cert(theirs)
    authority.configure_trust(ours)
    secure = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=theirs)
    secure.on('websocket', lambda server, ws: ws.on('message', lambda ws, message: ws.send(message)))
    ws = pyjows.connect(f'wss://localhost:{secure.ports[0]}', ioloop=ioloop, proxy=proxy, tls=ours)
    echoes(ioloop, run_until, ws)
    exc = refusal(ioloop, run_until, f'wss://localhost:{secure.ports[0]}', proxy=proxy)
    assert isinstance(exc, OSError)
    assert 'localhost' in str(exc)
    assert 'certificate' in str(exc)
    secure.stop()
    run_until(ioloop, lambda: not ioloop.statistics()['tls_handshakes'])


def test_a_proxy_gets_the_user_name_and_password_that_it_wants(ioloop, server, guarded, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, proxy=f'http://ann:open%20sesame@{guarded}')
    echoes(ioloop, run_until, ws)


@pytest.mark.parametrize(('who', 'hint'), [('', 'wants a user name and password, them'), ('bob:guess@', 'others')])
def test_a_proxy_that_does_not_let_us_in_says_407(ioloop, server, guarded, run_until, who, hint):
    exc = refusal(ioloop, run_until, server.urls[0], proxy=f'http://{who}{guarded}')
    assert isinstance(exc, HandshakeError)
    assert exc.status == 407
    assert 'proxy-authenticate' in exc.headers
    assert hint in str(exc)
    assert 'guess' not in str(exc)


def test_a_host_that_the_proxy_cannot_reach_is_an_error(ioloop, proxy, run_until):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        exc = refusal(ioloop, run_until, f'ws://127.0.0.1:{probe.getsockname()[1]}', proxy=proxy)
    assert isinstance(exc, HandshakeError)
    assert exc.status is None or exc.status >= 500
    assert proxy.removeprefix('http://') in str(exc)


def test_a_proxy_that_is_not_there_is_an_error_that_says_so(ioloop, run_until):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        place = f'127.0.0.1:{probe.getsockname()[1]}'
        exc = refusal(ioloop, run_until, 'ws://example.com/', proxy=f'http://{place}')
    assert isinstance(exc, ConnectionRefusedError)
    assert 'proxy' in str(exc)
    assert place in str(exc)


def test_a_proxy_that_never_answers_is_given_up_after_the_timeout(ioloop, run_until, assert_idle):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        place = f'http://127.0.0.1:{listening.getsockname()[1]}'
        exc = refusal(ioloop, run_until, 'ws://example.com/', proxy=place, timeout=0.1)
    assert '0.1 s' in str(exc)  # of an answer, or on a busy machine of a connection
    assert_idle(ioloop)


def test_a_proxy_that_hangs_up_is_an_error(ioloop, run_until, assert_idle):
    @ioloop.server(address='127.0.0.1')
    def rude(loop, stream, id):
        stream.on('read', lambda stream, data: stream.close())

    exc = refusal(ioloop, run_until, 'ws://example.com/', proxy=f'http://127.0.0.1:{ioloop.acceptor(rude).port}')
    assert 'closed the connection' in str(exc)
    ioloop.remove(rude)


@pytest.mark.parametrize(
    ('answer', 'says'),
    [
        (b'HTTP/1.1 200 OK\r\n\r\nmore', 'sent data after its answer to CONNECT'),
        (b'HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\nmore', 'answered 407 Auth'),
    ],
)
def test_a_proxy_that_sends_more_than_its_answer_is_an_error(ioloop, run_until, assert_idle, answer, says):
    @ioloop.server(address='127.0.0.1')
    def talkative(loop, stream, id):
        stream.on('read', lambda stream, data: stream.write(answer))

    exc = refusal(ioloop, run_until, 'ws://example.com/', proxy=f'http://127.0.0.1:{ioloop.acceptor(talkative).port}')
    assert says in str(exc)
    ioloop.remove(talkative)


class Relay:
    """A proxy on the loop itself, that leads everybody to one server. `targets` has where they wanted to go."""

    def __init__(self, ioloop: IOLoop, port: int) -> None:
        self.ioloop = ioloop
        self.targets: list[str] = []
        self.held: list[Any] = []
        self.holds = False
        self._to = port
        self.id = ioloop.server(self._accepted, address='127.0.0.1')
        self.url = f'http://127.0.0.1:{ioloop.acceptor(self.id).port}'

    def _accepted(self, loop: IOLoop, stream: Any, id: str) -> None:
        stream.once('read', self._asked)

    def _asked(self, stream: Any, request: bytes) -> None:
        self.targets.append(request.split()[1].decode())
        if self.holds:
            self.held.append(stream)
        else:
            self.lead(stream)

    def lead(self, stream: Any) -> None:
        def connected(loop: IOLoop, err: Any, other: Any) -> None:
            assert err is None
            for one, two in ((stream, other), (other, stream)):
                one.on('read', lambda one, data, two=two: two.write(data))
                one.on('close', lambda one, two=two: two.close_gracefully())
            stream.write(b'HTTP/1.1 200 OK\r\n\r\n')

        self.ioloop.client(connected, port=self._to)


@pytest.fixture
def relay(ioloop: IOLoop, server: Any) -> Iterator[Relay]:
    relay = Relay(ioloop, server.ports[0])
    yield relay
    ioloop.remove(relay.id)


def test_the_proxy_of_the_environment_is_taken_and_the_host_name_left_to_it(ioloop, relay, run_until, environment):
    environment.setenv('https_proxy', relay.url)
    echoes(ioloop, run_until, pyjows.connect('ws://no-such-host.invalid/', ioloop=ioloop))
    assert relay.targets == ['no-such-host.invalid:80']


def test_this_machine_is_reached_without_the_proxy_of_the_environment(ioloop, relay, server, run_until, environment):
    environment.setenv('https_proxy', relay.url)
    echoes(ioloop, run_until, pyjows.connect(server.urls[0], ioloop=ioloop))
    assert relay.targets == []


def test_behind_a_proxy_one_connection_is_made_at_a_time_to_one_host_name(ioloop, relay, run_until):
    relay.holds = True
    clients = [
        pyjows.connect(f'ws://{host}/', ioloop=ioloop, proxy=relay.url) for host in ('a.test', 'a.test', 'b.test')
    ]
    run_until(ioloop, lambda: len(relay.held) == 2)
    over = []
    ioloop.timer(lambda loop: over.append(True), 0.1)
    run_until(ioloop, lambda: over)
    assert relay.targets == ['a.test:80', 'b.test:80']
    relay.holds = False
    for stream in relay.held:
        relay.lead(stream)
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    assert relay.targets[2:] == ['a.test:80']
    for ws in clients:
        ws.finish()
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))


def test_behind_a_proxy_16_connections_are_made_at_a_time(ioloop, relay, run_until):
    relay.holds = True
    clients = [pyjows.connect(f'ws://{n}.test/', ioloop=ioloop, proxy=relay.url) for n in range(20)]
    run_until(ioloop, lambda: len(relay.held) == 16)
    over = []
    ioloop.timer(lambda loop: over.append(True), 0.1)
    run_until(ioloop, lambda: over)
    assert len(relay.held) == 16
    relay.holds = False
    for stream in relay.held:
        relay.lead(stream)
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    for ws in clients:
        ws.finish()
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))


def test_a_redirect_goes_through_the_proxy_too(ioloop, relay, server, run_until):
    asked = []

    @server.on
    def websocket(server, ws):
        asked.append(ws.req.host)
        if len(asked) == 1:
            ws.reject(302, headers={'Location': 'http://b.test:81/'})

    echoes(ioloop, run_until, pyjows.connect('ws://a.test/', ioloop=ioloop, proxy=relay.url))
    assert relay.targets == ['a.test:80', 'b.test:81']
    assert asked == ['a.test', 'b.test:81']
