"""The limits of a server's connections, on every reactor: in all, from one address, and when descriptors run out."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from byhand import log
from descriptors import no_descriptor_left

import pyjows
from pyjows import HandshakeError, IOLoop
from pyjows.ioloop import ConnectionLimit

pytestmark = pytest.mark.wide(later=True)

Serve = Callable[..., pyjows.Server]


@pytest.fixture
def serve(ioloop: IOLoop, run_until: Any, assert_idle: Any) -> Iterator[Serve]:
    """`pyjows.serve` on this loop; what it serves is stopped after the test, and may leave nothing on the loop."""
    servers: list[pyjows.Server] = []

    def serve(*urls: str, **options: Any) -> pyjows.Server:
        servers.append(pyjows.serve(*(urls or ['ws://127.0.0.1:0']), ioloop=ioloop, **options))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def connect(ioloop: IOLoop, server: pyjows.Server, number: int = 0) -> pyjows.WebSocket:
    return pyjows.connect(server.urls[number], ioloop=ioloop, simultaneous=True)


def a_while(ioloop: IOLoop, run_until: Any) -> None:
    """Run the loop for long enough that what is to happen would have happened."""
    over: list[IOLoop] = []
    ioloop.timer(over.append, 0.1)
    run_until(ioloop, lambda: over)


def test_connections_above_max_connections_wait_until_one_closes(ioloop, serve, run_until):
    server = serve('ws://127.0.0.1:0', 'ws://127.0.0.1:0', max_connections=2)
    other = serve()
    clients = [connect(ioloop, server, number % 2) for number in range(4)]
    run_until(ioloop, lambda: len(server.connections) == 2)
    a_while(ioloop, run_until)
    assert [ws.established for ws in clients].count(True) == 2
    elsewhere = connect(ioloop, other)
    run_until(ioloop, lambda: elsewhere.established)
    for n in (3, 4):
        next(ws for ws in clients if ws.established and not ws.is_finished).finish()
        run_until(ioloop, lambda: [ws.established for ws in clients].count(True) == n)  # noqa: B023
    for ws in (*clients, elsewhere):
        ws.finish()
    run_until(ioloop, lambda: all(ws.is_finished for ws in (*clients, elsewhere)))


def test_how_often_connections_had_to_wait_is_counted_and_logged_once(ioloop, serve, run_until, caplog):
    server = serve(max_connections=1)
    assert server.statistics().accepting_paused == 0
    first = connect(ioloop, server)
    run_until(ioloop, lambda: first.established)
    a_while(ioloop, run_until)
    assert server.statistics().accepting_paused == 0  # it is full, and nothing waits
    others = [connect(ioloop, server) for _ in range(2)]
    run_until(ioloop, lambda: server.statistics().accepting_paused == 1)
    a_while(ioloop, run_until)
    assert server.statistics().as_dict()['accepting_paused'] == 1
    first.finish()
    run_until(ioloop, lambda: server.statistics().accepting_paused == 2)  # one came in, one waits
    for ws in others:
        ws.terminate()
    run_until(ioloop, lambda: all(ws.is_finished for ws in others) and not server.connections)
    (record,) = [record for record in caplog.records if 'max_connections' in record.message]
    assert record.levelname == 'WARNING'
    assert ' has 1 connections, and accepts no more until one is closed' in record.message


def test_plain_http_and_tls_handshakes_count_as_well(ioloop, serve, run_until):
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority = trustme.CA()
    authority.configure_trust(ours)
    authority.issue_cert('127.0.0.1').configure_cert(theirs)
    server = serve('ws://127.0.0.1:0', 'wss://127.0.0.1:0', max_connections=2, tls=theirs)
    with (
        socket.create_connection(('127.0.0.1', server.ports[0])) as http,
        socket.create_connection(('127.0.0.1', server.ports[1])) as handshake,
    ):
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] == 2)
        ws = pyjows.connect(server.urls[1], ioloop=ioloop, tls=ours)
        a_while(ioloop, run_until)
        assert not ws.established
        http.close()
        run_until(ioloop, lambda: ws.established)
        handshake.close()
        ws.finish()
        run_until(ioloop, lambda: ws.is_finished and not ioloop.statistics()['tls_handshakes'])


def test_one_address_may_have_so_many_connections(ioloop, serve, run_until, caplog):
    caplog.set_level(logging.INFO, 'pyjows')
    server = serve(max_connections_per_address=2)
    clients = [connect(ioloop, server) for _ in range(2)]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    for _ in range(3):
        refused = connect(ioloop, server)
        seen = log(refused, 'open', 'error', 'finish')
        run_until(ioloop, lambda: refused.is_finished)  # noqa: B023
        [(_, exc), (_, code, _)] = seen
        assert isinstance(exc, HandshakeError)
        assert exc.status == 429
        assert exc.body == b'too many connections from your address\n'
        assert code == 1006
    assert [record.message for record in caplog.records if record.name == 'pyjows'] == [
        '127.0.0.1 has 2 connections, more are refused'
    ]
    with socket.create_connection(('127.0.0.1', server.ports[0]), source_address=('127.0.0.2', 0)) as elsewhere:
        elsewhere.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        elsewhere.setblocking(False)
        got = bytearray()
        run_until(ioloop, lambda: received(elsewhere, got))
        assert got.startswith(b'HTTP/1.1 404')
    clients[0].finish()
    run_until(ioloop, lambda: len(server.connections) == 1 and clients[0].is_finished)
    again = connect(ioloop, server)
    run_until(ioloop, lambda: again.established)
    for ws in (again, clients[1]):
        ws.finish()
    run_until(ioloop, lambda: again.is_finished and clients[1].is_finished)


def received(peer: socket.socket, got: bytearray) -> bool:
    with contextlib.suppress(BlockingIOError):
        got += peer.recv(65536)
    return bool(got)


def test_a_refused_connection_is_closed_whatever_it_sends(ioloop, serve, run_until):
    server = serve(max_connections_per_address=1, handshake_timeout=1000)
    with contextlib.ExitStack() as stack:
        stubborn = [stack.enter_context(socket.create_connection(('127.0.0.1', server.ports[0]))) for _ in range(3)]
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] == 3)
        feeder = ioloop.recurring(lambda loop: [feed(peer) for peer in stubborn[1:]], 0.05)
        run_until(ioloop, lambda: ioloop.statistics()['accepted'] == 1)
        ioloop.remove(feeder)
        assert stubborn[1].recv(65536).startswith(b'HTTP/1.1 429 Too Many Requests\r\n')


def feed(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.send(b'x', socket.MSG_DONTWAIT)


def test_with_tls_one_too_many_is_closed_before_the_handshake(ioloop, serve, run_until):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = serve('wss://127.0.0.1:0', max_connections_per_address=1, tls=theirs)
    with (
        socket.create_connection(('127.0.0.1', server.ports[0])),
        socket.create_connection(('127.0.0.1', server.ports[0])) as refused,
    ):
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] and not received_nothing(refused))
        assert ioloop.statistics()['tls_handshakes'] == 1
        assert server.statistics().refused == {'too many connections': 1}
    run_until(ioloop, lambda: not ioloop.statistics()['tls_handshakes'])


def test_one_too_many_from_an_address_behind_a_proxy_leaves_its_place_to_others(ioloop, serve, run_until, server_tls):
    options = {'trusted_proxies': ['127.0.0.1'], 'forwarding': 'proxy-protocol', 'tls': server_tls}
    server = serve('wss://127.0.0.1:0', max_connections=2, max_connections_per_address=1, **options)
    with contextlib.ExitStack() as stack:

        def begin(header: bytes) -> socket.socket:
            peer = stack.enter_context(socket.create_connection(('127.0.0.1', server.ports[0])))
            peer.sendall(header)
            return peer

        header = b'PROXY TCP4 192.0.2.%d 192.0.2.9 1 2\r\n'
        begin(header % 1)
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] == 1)
        refused = begin(b'')
        run_until(ioloop, lambda: ioloop.statistics()['tls_handshakes'] == 2)
        begin(header % 2)
        a_while(ioloop, run_until)  # there is no place: accepting pauses
        refused.sendall(header % 1)
        run_until(ioloop, lambda: server.statistics().refused)
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] == 3)
        assert server.statistics().refused == {'too many connections': 1}
    run_until(ioloop, lambda: not ioloop.statistics()['tls_handshakes'])


def test_a_tls_handshake_has_the_time_of_a_request_and_is_counted_when_it_fails(ioloop, serve, run_until, server_tls):
    server = serve('wss://127.0.0.1:0', handshake_timeout=0.2, tls=server_tls)
    with socket.create_connection(('127.0.0.1', server.ports[0])) as silent:
        run_until(ioloop, lambda: not received_nothing(silent))
    assert server.statistics().refused == {'handshake timeout': 1}
    with socket.create_connection(('127.0.0.1', server.ports[0])) as other:
        other.sendall(b'GET / HTTP/1.1\r\n\r\n')
        run_until(ioloop, lambda: len(server.statistics().refused) == 2)
    assert server.statistics().refused == {'handshake timeout': 1, 'TLS handshake': 1}


def received_nothing(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return peer.recv(1) != b''
    except BlockingIOError:
        return True


def test_a_unix_socket_has_no_address_to_count(ioloop, serve, run_until, socket_folder):
    server = serve(f'ws+unix://{socket_folder}/socket', max_connections_per_address=1)
    clients = [connect(ioloop, server) for _ in range(3)]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    for ws in clients:
        ws.finish()
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))


def test_a_limit_above_that_of_the_loop_raises_the_loop_s(ioloop, serve):
    serve(max_connections=100_000)
    assert ioloop.max_connections == 100_000
    serve(max_connections=10)
    assert ioloop.max_connections == 100_000


@pytest.mark.parametrize(
    ('options', 'exception', 'says'),
    [
        ({'max_connections': 0}, ValueError, 'max_connections=0, but it takes a whole number of 1 or more'),
        ({'max_connections': '10'}, TypeError, "max_connections takes a whole number .*, not '10'"),
        ({'max_connections': True}, TypeError, 'max_connections takes a whole number .*, not True'),
        ({'max_connections_per_address': -1}, ValueError, 'max_connections_per_address=-1, but it takes .* 0 or more'),
        ({'max_connections_per_address': 1.5}, TypeError, 'per_address takes a whole number .*, not 1.5'),
    ],
)
def test_limits_are_checked_at_the_call(ioloop, options, exception, says):
    with pytest.raises(exception, match=says):
        pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options)
    assert not ioloop.acceptors


# Descriptors


@pytest.mark.skipif(sys.platform != 'linux', reason='counts descriptors the Linux way')
def test_when_descriptors_run_out_open_connections_go_on_and_new_ones_wait(ioloop, serve, run_until, open_files):
    import resource

    server = serve()
    server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text=text)))
    ws = connect(ioloop, server)
    seen = log(ws, 'text')
    run_until(ioloop, lambda: ws.established)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = socket.socket()
    fillers: list[int] = []
    failed: list[Any] = []

    @ioloop.next_tick
    def exhaust(loop: IOLoop) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 8, hard))
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        waiting.connect(('127.0.0.1', server.ports[0]))  # it waits in the backlog
        waiting.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        dialed = connect(loop, server)
        dialed.on('error', lambda ws, exc: failed.append(exc))
        dialed.on('finish', lambda dialed, code, reason: ws.send(text='still here'))
        ws.on('text', lambda ws, text: loop.stop())

    try:
        ioloop.start()
        assert 'Too many open files' in str(failed[0])
        assert seen == [('text', 'still here')]
    finally:
        for fd in fillers:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    got = bytearray()
    waiting.setblocking(False)
    run_until(ioloop, lambda: received(waiting, got))
    assert got.startswith(b'HTTP/1.1 404')
    waiting.close()
    again = connect(ioloop, server)
    run_until(ioloop, lambda: again.established)
    for each in (ws, again):
        each.finish()
    run_until(ioloop, lambda: ws.is_finished and again.is_finished)


# The clock


def test_a_clock_that_is_set_back_and_forth_changes_no_timeout(ioloop, serve, run_until, monkeypatch):
    jumps = iter(range(10**6))

    def erratic() -> float:
        return (-1) ** next(jumps) * 1e9

    monkeypatch.setattr('time.time', erratic)
    server, strict = serve(ping_interval=0.05), serve(handshake_timeout=0.2)
    pings = []
    ws = connect(ioloop, server)
    ws.on('frame', lambda ws, frame: pings.append(frame))
    with socket.create_connection(('127.0.0.1', strict.ports[0])) as silent:
        run_until(ioloop, lambda: len(pings) >= 2)
        assert ws.established
        run_until(ioloop, lambda: not received_nothing(silent))
    with socket.create_server(('127.0.0.2', 0), backlog=1) as deaf:
        late = pyjows.connect(f'ws://127.0.0.2:{deaf.getsockname()[1]}', ioloop=ioloop, timeout=0.1)
        errors = log(late, 'error')
        run_until(ioloop, lambda: late.is_finished)
        assert '0.1 s' in str(errors[0][1])  # of an answer, or on a busy machine of a connection
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


@pytest.mark.parametrize(
    ('arguments', 'exception', 'says'),
    [
        ((0,), ValueError, r'^ConnectionLimit\(\): total=0, but it takes a whole number of 1 or more'),
        (('10',), TypeError, r"^ConnectionLimit\(\): total takes a whole number .*, not '10'"),
        ((1, True), TypeError, r'^ConnectionLimit\(\): per_address takes a whole number .*, not True'),
        ((None, -1), ValueError, r'^ConnectionLimit\(\): per_address=-1, but it takes a whole number of 0 or more'),
    ],
)
def test_a_connection_limit_checks_its_numbers(arguments, exception, says):
    with pytest.raises(exception, match=says):
        ConnectionLimit(*arguments)
    assert ConnectionLimit(None, 0).count == 0


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such limit')
@pytest.mark.parametrize('url', ['ws://127.0.0.1:0', 'ws+unix:///nowhere/chat.sock'])
def test_when_descriptors_run_out_serve_says_where_it_cannot_listen(ioloop, url):
    with no_descriptor_left():
        with pytest.raises(OSError, match=r'cannot listen to .*(127\.0\.0\.1|chat\.sock).*Too many open files'):
            pyjows.serve(url, ioloop=ioloop)
