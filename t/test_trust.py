"""What holds whatever a peer does: signs of life, what may wait for it, and that one failure has no second victim."""

from __future__ import annotations

import inspect
import re
import socket
from time import monotonic
from typing import Any

import pytest
from byhand import opened
from program import ROOT
from wire import CLOSE, PING, PONG, TEXT, accepted, asked, close, frame, read

import pyjows
from pyjows import State
from pyjows.limits import LIMITS

pytestmark = pytest.mark.wide(later=True)


@pytest.fixture
def serve(ioloop, run_until):
    """``serve(**options)``: a server, its connections and their ends; stopped after the test."""
    servers = []

    def serve(**options: Any) -> tuple[Any, list[Any], list[tuple[int, str]]]:
        urls = [] if 'sockets' in options else ['ws://127.0.0.1:0']
        server = pyjows.serve(*urls, ioloop=ioloop, **{'close_timeout': 0.1, **options})
        connections: list[Any] = []
        ends: list[tuple[int, str]] = []

        @server.on
        def websocket(server, ws):
            connections.append(ws)
            ws.on('finish', lambda ws, code, reason: ends.append((code, reason)))

        servers.append(server)
        return server, connections, ends

    yield serve
    for server in servers:
        server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


def upgraded(server: Any, receive_buffer: int = 0) -> socket.socket:
    """A client by hand that has asked for the upgrade, and reads nothing by itself."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(('127.0.0.1', server.ports[0]))
    sock.sendall(asked())
    sock.setblocking(False)
    return sock


def taken(sock: socket.socket) -> bytes:
    """What has come, the HTTP head left out."""
    data = b''
    try:
        while piece := sock.recv(65536):
            data += piece
    except (BlockingIOError, ConnectionError):
        pass
    return data.partition(b'\r\n\r\n')[2] if data.startswith(b'HTTP/') else data


# Signs of life


def test_the_pings_of_many_connections_are_spread_over_the_interval(ioloop, serve, run_until):
    server, connections, _ = serve(ping_interval=0.4, ping_timeout=20)
    socks = [upgraded(server) for _ in range(80)]
    run_until(ioloop, lambda: len(connections) == 80)
    at: list[float] = []
    numbers: list[int] = []

    def look(loop: Any) -> None:
        pinged = sum(any(opcode == PING for opcode, *_ in read(taken(sock))) for sock in socks)
        if pinged:
            at.append(monotonic())
            numbers.append(pinged)

    timer = ioloop.recurring(look, 0.005)
    run_until(ioloop, lambda: sum(numbers) >= 80)
    ioloop.remove(timer)
    assert len(numbers) >= 4  # as many moments, however busy the machine is
    for sock in socks:
        sock.close()


def test_a_peer_that_only_pings_and_takes_nothing_of_what_waits_is_given_up(ioloop, serve, run_until):
    listening = socket.create_server(('127.0.0.1', 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else what waits may still move into the kernel's
    server, connections, ends = serve(sockets=[listening], ping_interval=0.1, ping_timeout=0.3)
    with upgraded(server, 8192) as sock:
        run_until(ioloop, lambda: connections and connections[0].established)
        while connections[0].buffered_amount < 200_000:  # less than the high water mark
            connections[0].send(bytes(100_000)).flush()
        assert connections[0].can_write

        def ping(loop: Any) -> None:
            try:
                sock.send(frame(PING, b'I am alive'))
            except OSError:
                pass

        timer = ioloop.recurring(ping, 0.02)
        run_until(ioloop, lambda: ends)
        ioloop.remove(timer)
    [(code, reason)] = ends
    assert code == 1006
    assert reason.startswith('ping timeout: no sign of life for')
    assert server.statistics().causes == {'ping timeout': 1}


def test_a_client_holds_little_for_a_server_that_pings_and_reads_nothing(ioloop, run_until):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        ws = pyjows.connect(f'ws://127.0.0.1:{listener.getsockname()[1]}', ioloop=ioloop, ping_interval=0)
        sock: Any = None
        listener.setblocking(False)
        sent, most = 0, 0
        pings = frame(PING, bytes(125), masked=False) * 500

        def flood(loop: Any) -> None:
            nonlocal sock, sent, most
            most = max(most, ws.buffered_amount)
            try:
                if sock is None:
                    sock = listener.accept()[0]
                    sock.setblocking(False)
                elif not ws.established:
                    sock.send(accepted(sock.recv(65536)))
                else:
                    for _ in range(20):
                        sent += sock.send(pings[sent % len(pings) :])
            except BlockingIOError:
                pass

        timer = ioloop.recurring(flood, 0.001)
        began = monotonic()
        run_until(ioloop, lambda: ws.established and (sent > 20_000_000 or monotonic() > began + 3))
        ioloop.remove(timer)
        assert most < 200_000
        ws.terminate()
        run_until(ioloop, lambda: ws.is_finished)
        sock.close()


# States, and what is counted


def test_the_state_is_told_from_connecting_to_closed():
    ws = pyjows.WebSocket()
    assert ws.state is State.CONNECTING
    ws = opened()
    assert ws.state is State.OPEN
    ws.finish(1000)
    assert ws.state is State.CLOSING
    ws.server_read(close(1000))
    ws.closed()
    assert ws.state is State.CLOSED
    assert ws.is_finished


def test_what_waits_and_what_is_paused_is_counted_now(ioloop, serve, run_until):
    server, connections, _ = serve(high_water_mark=10_000, ping_interval=0)
    with upgraded(server, 8192):
        run_until(ioloop, lambda: connections and connections[0].established)
        ws = connections[0]
        assert (server.statistics().paused, server.statistics().bytes_waiting) == (0, 0)
        ws.pause_reading()
        assert server.statistics().paused == 1
        ws.resume_reading()
        ws.send(bytes(10_000_000)).flush()
        now = server.statistics()
        assert now.bytes_waiting == ws.buffered_amount > 10_000
        ws.terminate()
        run_until(ioloop, lambda: not server.connections)
    after = server.statistics()
    assert (after.bytes_waiting, after.paused, after.causes) == (0, 0, {'terminated': 1})


def test_a_compressed_transaction_can_be_made_by_hand():
    ws = pyjows.WebSocket(compressed=True)
    assert ws.compressed
    assert repr(ws) == '<WebSocket CONNECTING>'


# One failure has no second victim


@pytest.mark.parametrize('event', ['open', 'message', 'text', 'drain', 'ping', 'finish'])
def test_a_handler_that_raises_keeps_no_handler_of_the_same_event_from_being_called(ioloop, serve, run_until, event):
    server, connections, ends = serve()
    heard: list[str] = []

    def fail(*args: Any) -> None:
        raise LookupError(event)

    @server.on
    def websocket(server, ws):
        ws.on('error', lambda ws, exc: heard.append(str(exc)))
        ws.on(event, fail)
        ws.on(event, lambda *args: heard.append('next'))

    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    client.on('open', lambda ws: ws.send('a').ping())
    run_until(ioloop, lambda: connections and connections[0].established)
    connections[0].send('drains')
    client.on('text', lambda ws, text: ws.finish(1000))
    run_until(ioloop, lambda: ends and 'next' in heard)
    assert heard[:2] == [event, 'next']
    assert ends == [(1000, '')]


def test_a_pong_that_nobody_waits_for_and_a_second_close_change_nothing():
    ws = opened()
    ends: list[int] = []
    ws.on('finish', lambda ws, code, reason: ends.append(code))
    ws.server_read(frame(PONG, b'?') + close(1000) + close(4000))
    assert [opcode for opcode, *_ in read(ws.server_write())] == [CLOSE]
    ws.closed()
    assert ends == [1000]


# The page of limits


def rows() -> dict[str, list[str]]:
    """The rows of docs/limits.md, by option."""
    text = (ROOT / 'docs' / 'limits.md').read_text()
    cells = [
        [cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('| `')
    ]
    return {row[0].strip('`'): row[1:] for row in cells}


def test_every_limit_has_a_row_with_its_default_and_smallest_value():
    table = rows()
    for name, (default, smallest, _, _) in LIMITS.items():
        shown_default, shown_range = table[name][:2]
        expected = 262144 if default is None else default
        if name != 'max_backlog':  # its smallest value is another limit
            assert re.match(rf'{smallest:g}\b', shown_range), (name, shown_range)
        assert float(re.match(r'[\d,.]+', shown_default)[0].replace(',', '')) == expected, name


def test_the_limits_of_a_server_have_a_row_with_their_default_too():
    table = rows()
    parameters = inspect.signature(pyjows.Server.__init__).parameters
    names = ('max_header_size', 'max_body_size', 'handshake_timeout', 'request_timeout', 'max_connections_per_address')
    for name in (*names, 'backlog'):
        shown = float(re.match(r'[\d,.]+', table[name][0])[0].replace(',', ''))
        assert shown == parameters[name].default, name
    assert float(re.match(r'[\d,]+', table['max_connections'][0])[0].replace(',', '')) == 65536


def test_a_program_is_told_at_once_that_an_unexpected_message_cannot_close_with_its_code():
    for code in (9999, 1005, 0):
        with pytest.raises(ValueError, match='may not be sent as a close code'):
            pyjows.errors.UnexpectedMessage('not what I expect', code)


def test_a_reason_that_is_not_valid_unicode_closes_with_its_code_all_the_same():
    ws = pyjows.WebSocket(established=True)

    @ws.on
    def text(ws, message):
        raise pyjows.errors.UnexpectedMessage('no file \ud800 here', 4000)

    ws.server_read(frame(TEXT, b'?'))
    assert read(ws.server_write()) == [(CLOSE, True, 0, (4000).to_bytes(2, 'big') + b'no file ? here')]


def test_an_exception_that_cannot_be_printed_ends_no_more_than_its_connection(ioloop, servers, run_until):
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError('this one neither')

        __repr__ = __str__

    servers.append(server := pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))
    closed: list[int] = []
    echoed: list[str] = []

    @server.on
    def websocket(server, ws):
        @ws.on
        def text(ws, message):
            if message == 'fail':
                raise Unprintable
            ws.send(message)

    def fail(ioloop):
        raise Unprintable

    ioloop.timer(fail, 0)
    ioloop.next_tick(fail)
    failing, other = (pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(2))
    failing.on('finish', lambda ws, code, reason: closed.append(code))
    failing.send('fail')
    run_until(ioloop, lambda: closed)
    other.on('text', lambda ws, message: echoed.append(message))
    other.send('hello')
    run_until(ioloop, lambda: echoed)
    assert closed == [1011]
    other.finish()
    run_until(ioloop, lambda: not ioloop.connections)
