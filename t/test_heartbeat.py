"""Signs of life and slow consumers: pings, their latency, what waits too long, and what is counted."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from wire import accepted, asked, frame, read

import pyjows
from pyjows import State

pytestmark = pytest.mark.wide(later=True)


def served(ioloop: Any, **options: Any) -> tuple[Any, list[Any], list[tuple[int, str]]]:
    """A server, the connections that it gets, and how they end."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options)
    connections: list[Any] = []
    ends: list[tuple[int, str]] = []

    @server.on
    def websocket(server, ws):
        connections.append(ws)
        ws.on('finish', lambda ws, code, reason: ends.append((code, reason)))

    return server, connections, ends


def deaf(server: Any) -> socket.socket:
    """A client that has upgraded, and reads nothing from then on."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(('127.0.0.1', server.ports[0]))
    sock.sendall(asked())
    return sock


def test_a_ping_is_answered_and_its_latency_known(ioloop, run_until):
    server, connections, _ = served(ioloop)
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: client.established)
    assert client.latency is None
    called: list[Any] = []
    client.on('pong', lambda ws, data: called.append(('pong', data)))
    connections[0].on('ping', lambda ws, data: called.append(('ping', data)))
    client.ping(b'hello', lambda ws, latency: called.append(('cb', latency)))
    run_until(ioloop, lambda: len(called) == 3)
    assert [called[0], called[2]] == [('ping', b'hello'), ('pong', b'hello')]
    assert called[1] == ('cb', client.latency)
    assert 0 <= client.latency < 20


def test_a_pong_answers_the_pings_before_it_too():
    ws = pyjows.WebSocket(established=True)
    called: list[bytes] = []
    for data in (b'a', b'b', b'c'):
        ws.ping(data, lambda ws, latency, data=data: called.append(data))
    assert [payload for _, _, _, payload in read(ws.server_write())] == [b'a', b'b', b'c']
    ws.server_read(frame(10, b'b'))
    assert called == [b'a', b'b']
    ws.server_read(frame(10, b'never sent')).server_read(frame(10, b'c'))
    assert called == [b'a', b'b', b'c']


def test_pings_that_are_never_answered_do_not_pile_up():
    ws = pyjows.WebSocket(established=True)
    called: list[int] = []
    for n in range(1000):
        ws.ping(b'%d' % n, lambda ws, latency, n=n: called.append(n))
    ws.server_read(frame(10, b'999'))
    assert called == list(range(936, 1000))


def test_a_reader_that_takes_nothing_is_a_slow_consumer(ioloop, run_until):
    server, connections, ends = served(
        ioloop, high_water_mark=100_000, max_backlog=50_000_000, backlog_timeout=0.3, ping_interval=0
    )
    with deaf(server):
        run_until(ioloop, lambda: connections and connections[0].established)
        connections[0].send(binary=bytes(20_000_000))
        assert not connections[0].can_write
        run_until(ioloop, lambda: ends)
    [(code, reason)] = ends
    assert code == 1008
    assert reason.startswith('slow consumer: of ')
    statistics = server.statistics()
    assert statistics.slow_consumers == 1
    assert statistics.closed == {1008: 1}
    assert statistics.bytes_waiting == 0


def test_a_reader_that_lets_too_much_wait_is_closed_and_the_sender_goes_on(ioloop, run_until):
    server, connections, ends = served(ioloop, high_water_mark=65536, max_backlog=1_000_000, close_timeout=0.2)
    with deaf(server):
        run_until(ioloop, lambda: connections and connections[0].established)
        ws = connections[0]
        with pytest.raises(pyjows.ConnectionClosed, match='max_backlog is 1000000'):
            for _ in range(2000):
                ws.send(binary=bytes(10_000))
        assert ws.state is State.CLOSING
        assert ws.buffered_amount < 1_100_000
        run_until(ioloop, lambda: ends)
    assert ends[0][0] == 1008
    assert server.statistics().slow_consumers == 1


def test_a_client_that_lets_too_much_wait_before_it_is_open_is_closed_as_afterwards(ioloop, run_until):
    server, _, ends = served(ioloop)
    client = pyjows.connect(server.urls[0], ioloop=ioloop, high_water_mark=1000, max_backlog=100_000)
    closed: list[Any] = []
    client.on('finish', lambda ws, code, reason: closed.append((code, reason)))
    received: list[bytes] = []
    server.on('websocket', lambda server, ws: ws.on('binary', lambda ws, message: received.append(message)))
    with pytest.raises(pyjows.ConnectionClosed, match='max_backlog is 100000'):
        for _ in range(1000):
            assert client.can_write == (client.buffered_amount <= 1000)
            client.send(binary=bytes(1000))
    assert client.buffered_amount < 102_000
    client.finish(1000)  # the close waits already
    run_until(ioloop, lambda: closed and ends)
    [(code, reason)] = ends
    assert code == 1008
    assert reason.startswith('slow consumer: ')
    assert closed == ends
    assert received == [bytes(1000)] * 99  # as much as was queued before the close


def test_a_handler_that_queues_too_much_before_it_accepts_is_closed_as_afterwards(ioloop, run_until):
    server, connections, ends = served(ioloop, high_water_mark=1000, max_backlog=10_000)
    caught: list[BaseException] = []

    @server.on
    def websocket(server, ws):
        try:
            for _ in range(1_000_000):
                ws.send(text='')  # the headers count, too
        except pyjows.ConnectionClosed as exc:
            caught.append(exc)

    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    closed: list[Any] = []
    client.on('finish', lambda ws, code, reason: closed.append((code, reason)))
    run_until(ioloop, lambda: closed and ends)
    assert 'max_backlog is 10000' in str(caught[0])
    assert closed[0][0] == ends[0][0] == 1008
    assert server.statistics().slow_consumers == 1


def test_one_early_message_may_be_larger_than_the_backlog(ioloop, run_until):
    server, _, _ = served(ioloop, max_websocket_size=10_000_000)
    received: list[int] = []
    server.on('websocket', lambda server, ws: ws.on('binary', lambda ws, message: received.append(len(message))))
    client = pyjows.connect(server.urls[0], ioloop=ioloop, high_water_mark=1000, max_backlog=10_000)
    client.send(binary=bytes(5_000_000)).finish(1000)
    run_until(ioloop, lambda: client.is_finished)
    assert received == [5_000_000]


@pytest.mark.parametrize(
    'queue', [lambda ws: ws.send(frame=(0, 0, 0, 0, 2, bytes(100))), lambda ws: ws.ping(b'p' * 100)]
)
def test_fragments_and_pings_count_as_what_waits_for_a_slow_consumer(ioloop, run_until, queue):
    server, connections, ends = served(ioloop, high_water_mark=65536, max_backlog=1_000_000, close_timeout=0.2)
    with deaf(server):
        run_until(ioloop, lambda: connections and connections[0].established)
        ws = connections[0]
        with pytest.raises(pyjows.InvalidState):
            for _ in range(200_000):
                queue(ws)
        assert ws.state is State.CLOSING
        assert ws.buffered_amount < 1_100_000
        run_until(ioloop, lambda: ends)
    assert ends[0][0] == 1008
    assert server.statistics().slow_consumers == 1


def test_one_message_may_be_larger_than_the_backlog(ioloop, run_until):
    server, connections, ends = served(ioloop, high_water_mark=1000, max_backlog=10_000)
    client = pyjows.connect(server.urls[0], ioloop=ioloop, max_websocket_size=10_000_000)
    received: list[bytes] = []
    client.on('binary', lambda ws, data: received.append(data))
    run_until(ioloop, lambda: client.established)
    connections[0].send(binary=bytes(5_000_000))
    run_until(ioloop, lambda: received)
    assert len(received[0]) == 5_000_000
    assert not ends


@pytest.mark.slow
def test_a_slow_reader_that_makes_progress_lives(ioloop, run_until):
    server, connections, ends = served(ioloop, ping_interval=0.1, ping_timeout=0.4, backlog_timeout=0.5)
    with deaf(server) as sock:
        run_until(ioloop, lambda: connections and connections[0].established)
        connections[0].send(binary=bytes(20_000_000))
        reads: list[int] = []

        def read_a_little(loop: Any) -> None:
            reads.append(len(sock.recv(200_000)))

        ioloop.recurring(read_a_little, 0.05)
        run_until(ioloop, lambda: len(reads) > 30)  # longer than all the timeouts
        assert ends == []


def test_a_connection_without_messages_is_closed_where_that_is_wanted(ioloop, run_until):
    server, _, ends = served(ioloop, idle_timeout=0.2, ping_interval=0.05)
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen: list[Any] = []
    client.on('finish', lambda ws, code, reason: seen.append((code, reason)))
    run_until(ioloop, lambda: seen and ends)
    assert seen == [(1001, 'idle timeout: no message for 0.2 s')]
    assert server.statistics().causes == {'idle timeout': 1}


def test_a_client_gives_up_a_server_that_shows_no_life(ioloop, run_until):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        url = f'ws://127.0.0.1:{listener.getsockname()[1]}'
        client = pyjows.connect(url, ioloop=ioloop, ping_interval=0.05, ping_timeout=0.2)
        seen: list[Any] = []
        client.on('finish', lambda ws, code, reason: seen.append((code, reason)))

        def accept() -> None:
            """Answer the handshake, and nothing from then on."""
            with listener.accept()[0] as sock:
                sock.sendall(accepted(sock.recv(65536)))
                given_up.wait(20)

        given_up = threading.Event()
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            run_until(ioloop, lambda: seen)
        finally:
            given_up.set()
            thread.join(20)
    assert seen[0][0] == 1006
    assert seen[0][1].startswith('ping timeout')


def test_terminate_drops_the_connection_at_once(ioloop, run_until):
    server, connections, ends = served(ioloop)
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen: list[Any] = []
    client.on('finish', lambda ws, *why: seen.append(why))
    run_until(ioloop, lambda: client.established)
    assert connections[0].send(text='lost').terminate() is connections[0]
    run_until(ioloop, lambda: ends and seen)
    assert ends == [(1006, 'terminated')]
    assert seen == [(1006, '')]


def test_what_waits_counts_before_the_connection_is_open(ioloop):
    ws = pyjows.connect('ws://127.0.0.1:9', ioloop=ioloop)
    ws.on('error', lambda ws, exc: None)
    before = ws.buffered_amount
    ws.send(text='x' * 1000)
    assert ws.buffered_amount == before + 1000
    assert ws.state is State.CONNECTING
    ws.terminate()


def test_messages_and_refusals_are_counted(ioloop, run_until):
    server, connections, ends = served(ioloop)
    server.on('websocket', lambda server, ws: ws.reject(401) if ws.req.path == '/no' else ws.send(text='early'))
    clients = [pyjows.connect(server.urls[0] + path, ioloop=ioloop) for path in ('/', '/no')]
    for client in clients:
        client.on('error', lambda ws, exc: None)
    run_until(ioloop, lambda: clients[0].established and clients[1].is_finished)
    clients[0].send(text='12345')
    connections[0].send(binary=b'123')
    received: list[Any] = []
    connections[0].on('text', lambda ws, text: received.append(text))
    run_until(ioloop, lambda: received)
    now = server.statistics()
    assert (now.connections, now.connections_total, now.pending) == (1, 1, 0)
    assert now.refused == {'401': 1}
    assert (now.messages_received, now.bytes_received) == (1, 5)
    assert (now.messages_sent, now.bytes_sent) == (2, 8)
    clients[0].finish(4000)
    run_until(ioloop, lambda: len(ends) == 2)
    after = server.statistics()
    assert after.closed == {4000: 1}
    assert after.connections == 0
    assert after.as_dict()['slow_consumers'] == 0


def test_a_broadcast_tells_slow_from_closing_and_may_wait_for_the_slow(ioloop, run_until):
    server, connections, _ = served(ioloop, high_water_mark=1000, close_timeout=0.1)
    with deaf(server):
        run_until(ioloop, lambda: connections and connections[0].established)
        ws = connections[0]
        ws.send(binary=bytes(10_000_000))
        result = server.broadcast(text='news')
        assert result == (0, [ws])
        assert result.slow == [ws]
        waiting = ws.buffered_amount
        assert server.broadcast(text='news', skip_slow=False) == (1, [])
        assert ws.buffered_amount == waiting + 6
        ws.finish()
        assert server.broadcast(text='news').slow == []


@pytest.mark.parametrize(
    ('option', 'value', 'kind'),
    [
        ('ping_interval', -1, ValueError),
        ('ping_timeout', '20', TypeError),
        ('max_websocket_size', -1, ValueError),
        ('max_backlog', 10, ValueError),
        ('max_fragments', 0, ValueError),
        ('idle_timeout', float('nan'), ValueError),
        ('backlog_timeout', float('inf'), ValueError),
        ('max_fragments', 1.5, TypeError),
        ('high_water_mark', True, TypeError),
    ],
)
def test_limits_are_checked_where_they_are_given(ioloop, option, value, kind):
    for function, call in (
        ('serve', lambda **options: pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options)),
        ('connect', lambda **options: pyjows.connect('ws://127.0.0.1:9', ioloop=ioloop, **options)),
        ('WebSocket', pyjows.WebSocket),
    ):
        with pytest.raises(kind, match=rf'{function}\(\): {option}'):
            call(**{option: value})


def test_a_transaction_whose_options_were_refused_can_be_shown():
    made = pyjows.WebSocket.__new__(pyjows.WebSocket)
    with pytest.raises(ValueError, match='max_websocket_size'):
        made.__init__(max_websocket_size=-1)
    assert repr(made) == '<WebSocket, not made>'


def test_a_message_that_is_built_leaves_the_compression_of_the_connection_alone():
    ours = pyjows.WebSocket(established=True, compressed=True)
    theirs = pyjows.WebSocket(established=True, masked=True, compressed=True)
    received: list[str] = []
    theirs.on('text', lambda ws, text: received.append(text))
    text = 'a text that is long enough to be compressed, and compressed, and compressed ' * 5
    ours.send(text=text)
    theirs.client_read(ours.server_write())
    ours.build_message(text='never sent: ' + text)
    ours.send(text=text)
    theirs.client_read(ours.server_write())
    theirs.client_read(ours.build_message(text='built: ' + text))
    ours.send(text=text)
    theirs.client_read(ours.server_write())
    assert received == [text, text, 'built: ' + text, text]
