"""A server behind reverse proxies: who is believed, what they write, and the real nginx and haproxy in front."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from background import accepts, free_port, until
from hypothesis import given
from hypothesis import strategies as st
from program import ROOT, Program
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from wire import asked, close, cut

import pyjows
from pyjows import Headers
from pyjows.client_address import ClientAddress, ProxyHeaderError, TrustedProxies, forwarded, proxy_header, x_forwarded

pytestmark = pytest.mark.wide(later=True)

LOCAL = ['127.0.0.1']
V2 = b'\r\n\r\n\0\r\nQUIT\n'


def v2(command: int, family: int, body: bytes) -> bytes:
    return V2 + struct.pack('!BBH', 0x20 | command, family, len(body)) + body


def v2_tcp4(address: str, port: int, parameters: bytes = b'') -> bytes:
    body = socket.inet_aton(address) + socket.inet_aton('10.0.0.1') + struct.pack('!HH', port, 443)
    return v2(1, 0x11, body + parameters)


def ssl_parameter(uses_tls: bool) -> bytes:
    return b'\x20' + struct.pack('!HBI', 5, int(uses_tls), 0)


@pytest.fixture
def serve(ioloop, servers):
    """``serve(**options)``: a server that notes where its clients are, and closes them; stopped after the test."""

    def serve(url: str = 'ws://127.0.0.1:0', **options: Any) -> Any:
        server = pyjows.serve(url, ioloop=ioloop, **options)
        servers.append(server)
        server.seen, server.ended = [], []

        @server.on
        def websocket(server, ws):
            ws.finish(1000)
            server.seen.append((ws.remote_address, ws.remote_port, ws.scheme, ws.host))
            ws.on('finish', lambda ws, *_: server.ended.append((ws.remote_address, ws.remote_port, ws.scheme, ws.host)))

        return server

    return serve


@pytest.fixture
def seen(ask, ioloop, run_until):
    """``seen(server, before, **headers)``: what a server sees of a client whose request follows these bytes."""

    def seen(server: Any, before: bytes = b'', **headers: Any) -> tuple[Any, ...]:
        answer = ask(server, before + asked(**headers) + close(1000))
        assert answer.startswith(b'HTTP/1.1 101 '), answer
        run_until(ioloop, lambda: server.ended)
        assert server.ended.pop() == server.seen[-1]
        return server.seen.pop()

    return seen


# Who is believed


@pytest.mark.parametrize(
    ('trusted', 'headers', 'address', 'scheme'),
    [
        (LOCAL, {}, '127.0.0.1', 'ws'),
        (LOCAL, {'X_Forwarded_For': '192.0.2.1'}, '192.0.2.1', 'ws'),
        (LOCAL, {'X_Forwarded_For': '192.0.2.1', 'X_Forwarded_Proto': 'https'}, '192.0.2.1', 'wss'),
        (LOCAL, {'X_Forwarded_Proto': 'https'}, '127.0.0.1', 'wss'),
        (LOCAL, {'X_Forwarded_For': '6.6.6.6, 192.0.2.1'}, '192.0.2.1', 'ws'),
        ([*LOCAL, '10.0.0.0/8'], {'X_Forwarded_For': '6.6.6.6, 192.0.2.1, 10.1.2.3'}, '192.0.2.1', 'ws'),
        ([*LOCAL, '10.0.0.0/8'], {'X_Forwarded_For': '10.9.9.9, 10.1.2.3'}, '10.9.9.9', 'ws'),
        (LOCAL, {'X_Forwarded_For': '2001:db8::1'}, '2001:db8::1', 'ws'),
        (LOCAL, {'X_Forwarded_For': '6.6.6.6, nonsense'}, '127.0.0.1', 'ws'),
        (['10.0.0.0/8'], {'X_Forwarded_For': '192.0.2.1', 'X_Forwarded_Proto': 'https'}, '127.0.0.1', 'ws'),
        ([], {'X_Forwarded_For': '192.0.2.1'}, '127.0.0.1', 'ws'),
        (None, {'X_Forwarded_For': '192.0.2.1'}, '127.0.0.1', 'ws'),
        (LOCAL, {'Forwarded': 'for=192.0.2.1'}, '127.0.0.1', 'ws'),
    ],
)
def test_only_what_a_trusted_proxy_has_added_is_believed(serve, seen, trusted, headers, address, scheme):
    server = serve(trusted_proxies=trusted)
    found = seen(server, **headers)
    assert (found[0], found[2], found[3]) == (address, scheme, 'example.com')


@pytest.mark.parametrize(
    ('header', 'expected'),
    [
        ('for=192.0.2.1', ('192.0.2.1', None, 'ws', 'example.com')),
        ('For="[2001:db8::1]:4711";Proto=https;Host="chat.example"', ('2001:db8::1', 4711, 'wss', 'chat.example')),
        ('for=6.6.6.6, for="192.0.2.1:80";proto=http', ('192.0.2.1', 80, 'ws', 'example.com')),
        ('for=192.0.2.1;host=a, for=10.0.0.2;host=b', ('192.0.2.1', None, 'ws', 'a')),
        ('for=6.6.6.6, for=_hidden;proto=https', ('127.0.0.1', None, 'wss', 'example.com')),
        ('for=6.6.6.6, for=unknown', ('127.0.0.1', 'any', 'ws', 'example.com')),
        ('for="192.0.2.1', ('127.0.0.1', 'any', 'ws', 'example.com')),
        ('for=192.0.2.1;for=192.0.2.2', ('127.0.0.1', 'any', 'ws', 'example.com')),
        ('for=192.0.2.1;host="a b"', ('192.0.2.1', None, 'ws', 'example.com')),
    ],
)
def test_forwarded_is_read_as_its_rfc_says(serve, seen, header, expected):
    server = serve(trusted_proxies=[*LOCAL, '10.0.0.0/8'], forwarding='forwarded')
    found = seen(server, Forwarded=header, X_Forwarded_For='6.6.6.6')
    assert found == (expected if expected[1] != 'any' else (expected[0], found[1], *expected[2:]))


@pytest.mark.parametrize(
    ('header', 'expected'),
    [
        (b'PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n', ('192.0.2.1', 4711, 'ws', 'example.com')),
        (b'PROXY TCP6 2001:db8::1 ::1 4711 443\r\n', ('2001:db8::1', 4711, 'ws', 'example.com')),
        (b'PROXY UNKNOWN\r\n', ('127.0.0.1', 'any', 'ws', 'example.com')),
        (b'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n', ('127.0.0.1', 'any', 'ws', 'example.com')),
        (v2_tcp4('192.0.2.1', 4711), ('192.0.2.1', 4711, 'ws', 'example.com')),
        (v2_tcp4('192.0.2.1', 4711, ssl_parameter(True)), ('192.0.2.1', 4711, 'wss', 'example.com')),
        (v2_tcp4('192.0.2.1', 4711, b'\x04\0\3abc' + ssl_parameter(False)), ('192.0.2.1', 4711, 'ws', 'example.com')),
        (v2(0, 0, b''), ('127.0.0.1', 'any', 'ws', 'example.com')),
        (v2(1, 0, b''), ('127.0.0.1', 'any', 'ws', 'example.com')),
        (v2(1, 0x31, b'/run/app'.ljust(108, b'\0') * 2), ('/run/app', None, 'ws', 'example.com')),
    ],
)
def test_the_proxy_protocol_tells_the_client(serve, seen, header, expected):
    server = serve(trusted_proxies=LOCAL, forwarding='proxy-protocol')
    found = seen(server, header, X_Forwarded_For='6.6.6.6')
    assert found == (expected if expected[1] != 'any' else (expected[0], found[1], *expected[2:]))


@pytest.mark.parametrize('header', [b'PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n', v2_tcp4('192.0.2.1', 4711)])
def test_a_proxy_header_may_come_a_byte_at_a_time(ioloop, serve, run_until, header):
    server = serve(trusted_proxies=LOCAL, forwarding='proxy-protocol')
    with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces = [*(header[at : at + 1] for at in range(len(header))), asked() + close(1000)]
        timer = ioloop.recurring(lambda loop: pieces and sock.send(pieces.pop(0)), 0.0005)
        run_until(ioloop, lambda: server.seen)
        ioloop.remove(timer)
    assert server.seen == [('192.0.2.1', 4711, 'ws', 'example.com')]


@pytest.mark.parametrize(
    'data',
    [
        asked(),
        b'PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n',
        b'PROXY TCP4 2001:db8::1 ::1 4711 443\r\n',
        b'PROXY TCP4 192.0.2.1 10.0.0.1 70000 443\r\n',
        b'PROXY ' + b'x' * 200,
        V2 + b'\x31\x11\0\0',
        V2 + b'\x21\x11\0\x04abcd',
        V2 + b'\x21\x11\xff\xff',
        v2_tcp4('192.0.2.1', 1, b'\x20\0\xffx'),
    ],
)
def test_a_connection_without_a_valid_proxy_header_is_closed(serve, ask, ioloop, run_until, data):
    server = serve(trusted_proxies=LOCAL, forwarding='proxy-protocol')
    assert ask(server, data) == b''
    assert server.statistics().refused == {'PROXY header': 1}
    assert server.seen == []


def test_a_proxy_header_has_the_time_of_a_request(serve, ask):
    server = serve(trusted_proxies=LOCAL, forwarding='proxy-protocol', handshake_timeout=0.05)
    assert ask(server, b'PROXY TCP4') == b''
    assert server.statistics().refused == {'PROXY header': 1}


def test_who_is_no_proxy_may_not_send_a_proxy_header(serve, ask, seen):
    server = serve(trusted_proxies=['10.0.0.0/8'], forwarding='proxy-protocol')
    assert ask(server, b'PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n' + asked()).startswith(b'HTTP/1.1 400 ')
    assert seen(server)[0] == '127.0.0.1'


def test_pending_proxy_headers_end_with_the_server(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, trusted_proxies=LOCAL, forwarding='proxy-protocol')
    with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
        sock.send(b'PROXY')
        run_until(ioloop, lambda: ioloop.statistics()['tls_handshakes'])
        server.stop()
        ioloop.reset()
        assert_idle(ioloop)


def test_a_proxy_on_a_unix_socket_is_believed_by_its_name(ioloop, serve, run_until, socket_folder):
    path = f'{socket_folder}/s'
    server = serve(f'ws+unix://{path}', trusted_proxies=['unix'])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.send(asked(X_Forwarded_For='192.0.2.1') + close(1000))
        run_until(ioloop, lambda: server.seen)
    assert server.seen[0][0] == '192.0.2.1'


def test_the_proxy_header_comes_before_tls(ioloop, serve, run_until):
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('localhost').configure_cert(server_context)
    server = serve('wss://127.0.0.1:0', tls=server_context, trusted_proxies=LOCAL, forwarding='proxy-protocol')
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)

    def talk():
        with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
            sock.sendall(v2_tcp4('192.0.2.1', 4711))
            with client_context.wrap_socket(sock, server_hostname='localhost') as secured:
                secured.sendall(asked() + close(1000))
                while secured.recv(4096):
                    pass

    thread = threading.Thread(target=talk)
    thread.start()
    run_until(ioloop, lambda: server.seen)
    run_until(ioloop, lambda: not thread.is_alive())
    assert server.seen == [('192.0.2.1', 4711, 'wss', 'example.com')]


# The limit of connections for each address


@pytest.mark.parametrize('forwarding', ['x-forwarded', 'proxy-protocol'])
def test_the_limit_for_each_address_counts_the_clients(ioloop, run_until, forwarding):
    server = pyjows.serve(
        'ws://127.0.0.1:0',
        ioloop=ioloop,
        trusted_proxies=LOCAL,
        forwarding=forwarding,
        max_connections_per_address=2,
    )
    with ExitStack() as stack:

        def ask(address: str) -> tuple[socket.socket, bytes]:
            sock = stack.enter_context(socket.create_connection(('127.0.0.1', server.ports[0])))
            sock.setblocking(False)
            header = f'PROXY TCP4 {address} 10.0.0.1 1 2\r\n'.encode() if forwarding == 'proxy-protocol' else b''
            sock.send(header + asked(X_Forwarded_For=address))
            answer = bytearray()

            def answered():
                with suppress_blocking():
                    answer.extend(sock.recv(4096))
                return b'\r\n\r\n' in answer

            run_until(ioloop, answered)
            return sock, bytes(answer.split()[1])

        first, status = ask('192.0.2.1')
        assert status == b'101'
        assert ask('192.0.2.1')[1] == b'101'
        refused, status = ask('192.0.2.1')
        assert status == b'429'
        refused.close()
        assert ask('192.0.2.2')[1] == b'101'
        run_until(ioloop, lambda: server.statistics().refused == {'too many connections': 1})
        first.close()
        run_until(ioloop, lambda: len(server.connections) == 2)
        assert ask('192.0.2.1')[1] == b'101'
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


@contextmanager
def suppress_blocking() -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        pass


# Bad options


@pytest.mark.parametrize(
    ('options', 'kind', 'says'),
    [
        ({'trusted_proxies': '127.0.0.1'}, TypeError, 'trusted_proxies takes a list'),
        ({'trusted_proxies': ['localhost']}, ValueError, "'localhost' does not appear to be"),
        ({'trusted_proxies': ['10.0.0.1/8']}, ValueError, 'has host bits set'),
        ({'trusted_proxies': [None]}, ValueError, 'trusted_proxies takes IP addresses'),
        ({'trusted_proxies': [5]}, ValueError, 'trusted_proxies takes IP addresses'),
        ({'forwarding': 'x'}, ValueError, "forwarding='x', but it takes one of 'x-forwarded'"),
        ({'forwarding': 'forwarded'}, ValueError, 'without trusted_proxies'),
    ],
)
def test_a_wrong_option_is_refused_at_the_call(ioloop, assert_idle, options, kind, says):
    with pytest.raises(kind, match=says):
        pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options)
    assert_idle(ioloop)


def test_a_network_of_mapped_addresses_is_that_of_the_ipv4_addresses():
    for networks in (['::ffff:10.0.0.0/104'], ['10.0.0.0/8']):
        proxies = TrustedProxies(networks)
        assert [each in proxies for each in ('10.1.1.1', '::ffff:10.1.1.1', '11.0.0.1', '::a01:101')] == [True] * 2 + [
            False
        ] * 2
    assert '10.1.1.1' in TrustedProxies(['::ffff:10.1.1.1'])
    assert '10.1.1.1' not in TrustedProxies(['::/0'])


# The grammars, over all input

ADDRESSES = st.ip_addresses()
PORTS = st.integers(0, 65535)
ANY = TrustedProxies(['0.0.0.0/0', '::/0'])
PROXY = TrustedProxies(['203.0.113.0/24'])


@given(st.data(), ADDRESSES, PORTS, st.binary(max_size=30))
def test_a_proxy_header_ends_where_it_ends_however_it_is_cut(data, address, port, rest):
    if data.draw(st.booleans()):
        header = f'PROXY TCP{address.version} {address} {address} {port} 1\r\n'.encode()
    else:
        body = address.packed * 2 + struct.pack('!HH', port, 1) + data.draw(st.sampled_from([b'', ssl_parameter(True)]))
        header = v2(1, 0x11 if address.version == 4 else 0x21, body)
    have = b''
    for piece in data.draw(cut(header)):
        have += piece
        if len(have) < len(header):
            assert proxy_header(have) == (0, None)
    size, client = proxy_header(header + rest)
    plain = getattr(address, 'ipv4_mapped', None) or address
    assert (size, client.address, client.port) == (len(header), str(plain), port)


@given(st.binary(max_size=60) | st.binary(max_size=200).map(lambda body: V2 + body) | st.binary(max_size=120).map(
    lambda body: b'PROXY ' + body
))  # fmt: skip
def test_any_bytes_are_a_proxy_header_or_are_refused(data):
    try:
        size, client = proxy_header(data)
    except ProxyHeaderError:
        return
    assert 0 <= size <= len(data)
    assert client is None or isinstance(client, ClientAddress)


headers_text = st.text(st.characters(codec='latin-1', exclude_characters='\r\n\0\x0b\x0c'), max_size=60)
forwarded_like = st.lists(
    st.sampled_from(['for=', 'proto=', 'host=', '"', '\\', ',', ';', '192.0.2.1', '[::1]', ':80', 'https', ' ', 'x'])
).map(''.join)


@given(headers_text | forwarded_like, headers_text | forwarded_like)
def test_any_header_of_a_proxy_is_read(one, other):
    headers = Headers(
        [('Forwarded', one), ('Forwarded', other), ('X-Forwarded-For', one), ('X-Forwarded-Proto', other)]
    )
    for read in (forwarded, x_forwarded):
        assert read(PROXY, '192.0.2.1', headers) is None
        client = read(ANY, '203.0.113.1', headers)
        assert client is None or client.scheme in (None, 'ws', 'wss')


@given(ADDRESSES, st.lists(headers_text | forwarded_like, max_size=3))
def test_what_a_client_writes_itself_does_not_change_what_is_found(address, forged):
    """A client may send any header; the proxy appends the address that it sees."""
    believed = str(getattr(address, 'ipv4_mapped', None) or address)
    if believed in PROXY:
        return
    written = ', '.join([*forged, str(address)])
    assert x_forwarded(PROXY, '203.0.113.1', Headers({'X-Forwarded-For': written})).address == believed
    element = f'for="[{address}]"' if address.version == 6 else f'for={address}'
    written = ', '.join([*forged, element])
    assert forwarded(PROXY, '203.0.113.1', Headers({'Forwarded': written})).address == believed


# nginx and haproxy

needs_proxies = pytest.mark.skipif(
    not shutil.which('nginx') or not shutil.which('haproxy'), reason='no nginx and haproxy here (Debian: apt install)'
)


@pytest.fixture
def tls_files(tmp_path):
    """The folder of a proxy's configuration, with its certificate; and a client's context that trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert('localhost', '127.0.0.1')
    pem = tmp_path / 'server.pem'
    certificate.private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    # websockets' blocking client reads in one thread while it writes in another; OpenSSL allows no such thing.
    # With TLS 1.3 the server's tickets arrive while the request is sent, and once in 500 times it is never sent.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return tmp_path, context


@contextmanager
def proxy(command: list[str], config: Path, folder: Path, app: int, port: int, tls_port: int, **changes: str):
    """A reverse proxy with the configuration of an example, on other ports."""
    text = config.read_text()
    for old, new in {':3000': f':{app}', ':8080': f':{port}', ':8443': f':{tls_port}', **changes}.items():
        assert old in text
        text = text.replace(old, new)
    (folder / config.name).write_text(text)
    (folder / 'temp').mkdir(exist_ok=True)
    folder.chmod(0o755)
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:

            def is_up():
                assert process.poll() is None, process.stderr.read()
                return accepts(tls_port)

            until(is_up, 'the proxy')
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)


NGINX = (['nginx', '-p', '.', '-c', 'nginx.conf', '-e', 'stderr'], ROOT / 'examples' / 'nginx' / 'nginx.conf')
# -n: with the 1,000 connections of its file, haproxy refuses to start where a process may open 1,024 files.
HAPROXY = (['haproxy', '-n', '100', '-f', 'haproxy.cfg'], ROOT / 'examples' / 'haproxy' / 'haproxy.cfg')


@needs_proxies
@pytest.mark.slow
@pytest.mark.parametrize(
    ('command', 'config', 'forwarding', 'changes'),
    [
        (*NGINX, 'x-forwarded', {}),
        (*HAPROXY, 'proxy-protocol', {}),
        (*HAPROXY, 'proxy-protocol', {'send-proxy-v2-ssl': 'send-proxy'}),
    ],
    ids=['nginx', 'haproxy-v2', 'haproxy-v1'],
)
def test_the_examples_with_a_real_proxy_tell_who_the_client_is(tls_files, command, config, forwarding, changes):
    folder, context = tls_files
    port, tls_port = free_port(), free_port()
    with Program(ROOT / 'examples' / 'behind_proxy.py', forwarding, 'ws://127.0.0.1:0') as app:
        app_port = int(app.find(r'ws://127.0.0.1:(\d+)'))
        with proxy(command, config, folder, app_port, port, tls_port, **changes):
            forged = {'X-Forwarded-For': '6.6.6.6', 'X-Forwarded-Proto': 'https', 'Forwarded': 'for=6.6.6.6'}
            for url, scheme in ((f'ws://127.0.0.1:{port}', 'ws'), (f'wss://127.0.0.1:{tls_port}', 'wss')):
                # A loopback address of its own, so that it is not that of the proxy.
                with connect(
                    url,
                    ssl=context if scheme == 'wss' else None,
                    additional_headers=forged,
                    source_address=('127.0.0.2', 0),
                ) as ws:
                    told = json.loads(ws.recv(timeout=30))
                    knows_scheme = 'send-proxy' not in changes.values()
                    assert told == {
                        'address': '127.0.0.2',
                        'scheme': scheme if knows_scheme else 'ws',
                        'host': url.partition('://')[2],
                    }
                    for message in ('hi', 'x' * 200_000):
                        ws.send(message)
                        assert ws.recv(timeout=30) == message
        assert app.stop() == 0


def children(process: subprocess.Popen) -> set[str]:
    return set(Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split())


@needs_proxies
@pytest.mark.slow
@pytest.mark.parametrize(
    ('command', 'config', 'forwarding', 'number'),
    [
        (*NGINX, 'x-forwarded', signal.SIGHUP),
        ([*HAPROXY[0], '-W'], HAPROXY[1], 'proxy-protocol', signal.SIGUSR2),
    ],
    ids=['nginx', 'haproxy'],
)
def test_connections_survive_a_reload_of_a_proxy(tls_files, command, config, forwarding, number):
    folder, context = tls_files
    port, tls_port = free_port(), free_port()
    with Program(ROOT / 'examples' / 'behind_proxy.py', forwarding, 'ws://127.0.0.1:0') as app, ExitStack() as stack:
        app_port = int(app.find(r'ws://127.0.0.1:(\d+)'))
        process = stack.enter_context(proxy(command, config, folder, app_port, port, tls_port))

        def join(tls):
            url = f'wss://127.0.0.1:{tls_port}' if tls else f'ws://127.0.0.1:{port}'
            ws = stack.enter_context(connect(url, ssl=context if tls else None))
            ws.recv(timeout=30)
            return ws

        def talk(turn):
            for name, ws in enumerate(clients):
                ws.send(f'{turn} {name}')
            for name, ws in enumerate(clients):
                assert ws.recv(timeout=30) == f'{turn} {name}'
            clients.append(join(tls=turn % 2))

        clients = [join(tls=name % 2) for name in range(20)]
        turns = itertools.count()
        talk(next(turns))
        before = children(process)
        process.send_signal(number)
        until(lambda: talk(next(turns)) or children(process) - before, 'a new process of the proxy')
        for _ in range(5):
            talk(next(turns))
        for ws in clients:
            ws.close()


@needs_proxies
@pytest.mark.slow
def test_the_limit_for_each_address_holds_behind_nginx(tls_files):
    folder, _ = tls_files
    port, tls_port = free_port(), free_port()
    command, config = NGINX
    with Program(ROOT / 'examples' / 'behind_proxy.py', 'x-forwarded', 'ws://127.0.0.1:0') as app, ExitStack() as stack:
        app_port = int(app.find(r'ws://127.0.0.1:(\d+)'))
        stack.enter_context(proxy(command, config, folder, app_port, port, tls_port))
        url = f'ws://127.0.0.1:{port}'
        for _ in range(100):
            stack.enter_context(connect(url, source_address=('127.0.0.2', 0)))
        with pytest.raises(InvalidStatus, match='429'):
            connect(url, source_address=('127.0.0.2', 0))
        stack.enter_context(connect(url, source_address=('127.0.0.3', 0)))
