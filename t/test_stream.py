"""`Stream`, on every reactor: what leaves when and in how many system calls, back pressure, fairness, ending.

A SOCK_SEQPACKET pair keeps the bounds of each ``send``: what one system call wrote, one ``recv`` of the peer returns.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from byhand import BINARY, CLOSE, PING, TEXT, frame, frames, log, opened

import pyjows
from pyjows import IOLoop, Stream, WebSocket, broadcast

PACKETS = getattr(socket, 'SOCK_SEQPACKET', None)
needs_packets = pytest.mark.skipif(
    PACKETS is None or not sys.platform.startswith('linux'), reason='no SOCK_SEQPACKET over Unix sockets here'
)


class Line:
    """A transaction on a stream of the loop, and the bare socket that is its peer."""

    def __init__(self, ioloop: IOLoop, kind: int, side: str = 'server', **options: Any) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, kind)
        self.peer.setblocking(False)
        ours.setblocking(False)
        self.stream = Stream(ours, ioloop.loop_data)
        ioloop.stream(self.stream)
        self.ws = WebSocket(established=True, masked=side == 'client', **options)
        self.ws.protocol.drive(self.stream, ioloop, 'line')

    def packets(self) -> list[bytes]:
        """What each system call wrote."""
        found = []
        while True:
            try:
                packet = self.peer.recv(1 << 20)
            except BlockingIOError:
                return found
            if not packet:
                return found
            found.append(packet)

    def payloads(self) -> list[list[bytes]]:
        """The payloads of the frames in each packet."""
        return [[payload for _, payload in frames(packet)] for packet in self.packets()]


@pytest.fixture
def line(ioloop: IOLoop) -> Iterator[Callable[..., Line]]:
    """``line()`` opens a connection that keeps the bounds of writes; ``line(socket.SOCK_STREAM)`` one that does not."""
    lines = []

    def connect(kind: int | None = PACKETS, **options: Any) -> Line:
        assert kind is not None
        lines.append(Line(ioloop, kind, **options))
        return lines[-1]

    yield connect
    for each in lines:
        each.stream.close()
        each.peer.close()


def due(ioloop: IOLoop) -> float:
    """When the loop's first timer is due, by the monotonic clock."""
    return time.monotonic() + ioloop.reactor.statistics()['next_timer']


def turns(ioloop: IOLoop, n: int = 3) -> None:
    """A few turns of the loop, whatever there is to do."""
    for _ in range(n):
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()


def test_a_drain_handler_that_raises_does_not_stall_the_other_streams(ioloop, line, run_until, caplog):
    ends = [line(socket.SOCK_STREAM) for _ in range(5)]
    drained = []
    for end in ends:
        end.stream.receiver = None
        end.stream.on('drain', lambda stream: 1 / 0)
        end.stream.on('drain', drained.append)
        end.stream.write(b'x', lambda stream: 1 / 0)
        end.stream.write(b'y', drained.append)
    turns(ioloop)
    assert [end.peer.recv(10) for end in ends] == [b'xy'] * 5
    assert len(drained) == 10
    assert len([record for record in caplog.records if 'ZeroDivisionError' in record.message]) == 10


@pytest.mark.parametrize('side', ['server', 'client'])
def test_a_callback_with_nothing_to_write_is_called_on_the_next_tick(ioloop, line, side):
    end = line(socket.SOCK_STREAM, side=side)
    called = []
    end.ws.send(lambda ws: called.append('first'))
    assert called == []
    turns(ioloop, 1)
    assert called == ['first']
    end.ws.send(lambda ws: called.append('second')).send('text')
    assert called == ['first']
    turns(ioloop)
    assert called == ['first', 'second']
    thread = threading.Thread(target=end.ws.send, args=[lambda ws: called.append('third')])
    thread.start()
    thread.join()
    turns(ioloop)
    assert called == ['first', 'second', 'third']


# Corking


@needs_packets
def test_what_is_sent_while_one_read_is_handled_leaves_in_one_system_call(ioloop, line, run_until):
    end = line()
    end.ws.on('text', lambda ws, text: ws.send(text=text))
    end.peer.send(b''.join(frame(TEXT, b'%d' % i, masked=True) for i in range(100)))
    got = []
    run_until(ioloop, lambda: got.extend(end.payloads()) or got)
    turns(ioloop)
    assert got + end.payloads() == [[b'%d' % i for i in range(100)]]


@needs_packets
def test_every_read_has_a_send_of_its_own(ioloop, line, run_until):
    end = line()
    end.ws.on('text', lambda ws, text: ws.send(text=text))
    got = []
    for i in range(3):
        end.peer.send(frame(TEXT, b'%d' % i, masked=True) * 2)
        run_until(ioloop, lambda i=i: got.extend(end.payloads()) or len(got) > i)
    assert got == [[b'0', b'0'], [b'1', b'1'], [b'2', b'2']]


@needs_packets
def test_answers_to_pings_and_messages_leave_together_and_in_order(ioloop, line, run_until):
    end = line()
    end.ws.on('text', lambda ws, text: ws.send(text=text))
    end.peer.send(
        frame(PING, b'1', masked=True) + frame(TEXT, b'2', masked=True) + frame(CLOSE, b'\x03\xe8', masked=True)
    )
    got = []
    run_until(ioloop, lambda: got.extend(end.packets()) or got)
    assert [frames(packet) for packet in got] == [[(0x8A, b'1'), (0x81, b'2'), (0x88, b'\x03\xe8')]]


@needs_packets
def test_flush_does_not_wait(ioloop, line, run_until):
    end = line()
    seen = []

    @end.ws.on
    def text(ws, message):
        ws.send('a').send('b').flush().send('c')
        seen.extend(end.payloads())

    end.peer.send(frame(TEXT, b'go', masked=True))
    run_until(ioloop, lambda: seen)
    assert seen == [[b'a', b'b']]
    turns(ioloop)
    assert end.payloads() == [[b'c']]


@needs_packets
def test_what_a_timer_sends_leaves_at_the_end_of_the_turn(ioloop, line, run_until):
    end = line()
    seen = []

    def several(loop):
        end.ws.send('a').send('b')
        seen.extend(end.payloads())
        end.ws.send('c')

    ioloop.timer(several, 0)
    run_until(ioloop, lambda: end.ws.buffered_amount == 0 and (seen.extend(end.payloads()) or seen))
    assert seen == [[b'a', b'b', b'c']]


@needs_packets
def test_what_several_timers_of_a_turn_send_leaves_together(ioloop, line, run_until):
    end = line()
    for i in range(5):
        ioloop.timer(lambda loop, i=i: end.ws.send(f'{i}'), 0)
    time.sleep(0.01)  # all are due now
    seen = []
    run_until(ioloop, lambda: seen.extend(end.payloads()) or seen)
    assert seen == [[b'%d' % i for i in range(5)]]


@needs_packets
def test_what_next_ticks_send_leaves_together(ioloop, line, run_until):
    end = line()
    for i in range(5):
        ioloop.next_tick(lambda loop, i=i: end.ws.send(f'{i}'))
    seen = []
    run_until(ioloop, lambda: seen.extend(end.payloads()) or seen)
    assert seen == [[b'%d' % i for i in range(5)]]


@needs_packets
def test_what_is_sent_outside_of_the_loop_leaves_when_it_turns(ioloop, line):
    end = line()
    end.ws.send('a').send('b')
    assert end.packets() == []
    assert end.ws.is_writing
    turns(ioloop)
    assert end.payloads() == [[b'a', b'b']]
    assert not end.ws.is_writing


@needs_packets
def test_what_is_sent_to_another_connection_leaves_at_the_end_of_the_turn(ioloop, line, run_until):
    one, two, other = line(), line(), line()
    for end in (one, two):
        end.ws.on('text', lambda ws, text: other.ws.send(text=text))
        end.peer.send(frame(TEXT, b'x', masked=True) * 3)
    seen = []
    run_until(ioloop, lambda: seen.extend(other.payloads()) or sum(map(len, seen)) == 6)
    assert len(seen) == 1


@needs_packets
def test_several_broadcasts_of_one_read_are_one_send_for_each_receiver(ioloop, line, run_until):
    ends = [line() for _ in range(4)]

    @ends[0].ws.on
    def text(ws, message):
        assert broadcast((end.ws for end in ends), text=message).sent == 4

    ends[0].peer.send(frame(TEXT, b'a', masked=True) + frame(TEXT, b'b', masked=True))
    seen = [[] for _ in ends]
    run_until(
        ioloop, lambda: [packets.extend(end.payloads()) for packets, end in zip(seen, ends, strict=True)] and all(seen)
    )
    assert seen == [[[b'a', b'b']]] * 4


@needs_packets
def test_a_large_payload_leaves_with_its_header_in_one_system_call_and_without_a_copy(ioloop, line):
    end = line()
    payload = bytes(20_000)
    references = sys.getrefcount(payload)
    end.ws.send('before').send(binary=payload).send('after')
    assert sys.getrefcount(payload) > references, 'it is kept as it is'
    turns(ioloop)
    assert end.payloads() == [[b'before', payload, b'after']]
    assert sys.getrefcount(payload) == references


@needs_packets
def test_a_client_masks_into_the_buffer_and_leaves_the_message_alone(ioloop, line):
    end = line(side='client')
    payload = b'\x55' * 20_000
    end.ws.send(binary=payload)
    turns(ioloop)
    assert payload == b'\x55' * 20_000
    assert end.payloads() == [[payload]]


@needs_packets
def test_a_stream_of_ones_own_is_corked_too(ioloop, line, run_until):
    ours, peer = socket.socketpair(socket.AF_UNIX, PACKETS)
    ours.setblocking(False)
    stream = Stream(ours, ioloop.loop_data)
    ioloop.stream(stream)
    stream.on('read', lambda stream, data: stream.write(data).write(b'!'))
    peer.send(b'hello')
    run_until(ioloop, lambda: not stream.is_writing and stream.is_readable and _waits(peer))
    assert peer.recv(100) == b'hello!'
    stream.close()
    peer.close()


def _waits(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


# Order


def test_order_is_kept_whatever_is_sent_when(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    end.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    sent = []

    def send(size: int) -> None:
        payload = len(sent).to_bytes(4, 'big') + bytes(size)
        sent.append(payload)
        end.ws.send(binary=payload)

    def some(loop):
        for size in (0, 100, 16_384, 1, 70_000, 16_379, 3):
            send(size)
        if len(sent) % 2:
            end.ws.flush()
        if len(sent) < 200:
            (loop.next_tick if len(sent) % 3 else lambda f: loop.timer(f, 0))(some)

    ioloop.next_tick(some)
    received = bytearray()

    def take() -> bool:
        for packet in end.packets()[:3]:
            received.extend(packet)
        return len(sent) >= 200 and not end.ws.is_writing

    run_until(ioloop, lambda: turns(ioloop, 1) or take())
    received.extend(b''.join(end.packets()))
    assert [payload for _, payload in frames(bytes(received))] == sent


def test_thousands_of_large_messages_at_once_keep_their_order(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    payloads = [i.to_bytes(4, 'big') * 4100 for i in range(1000)]  # no more than max_backlog
    for payload in payloads:
        end.ws.send(binary=payload)
    received = bytearray()
    run_until(ioloop, lambda: turns(ioloop, 1) or received.extend(b''.join(end.packets())) or not end.ws.is_writing)
    received.extend(b''.join(end.packets()))
    assert [payload for _, payload in frames(bytes(received))] == payloads


# Drain and back pressure


def test_drain_comes_when_the_kernel_has_taken_everything_and_not_before(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    seen = log(end.ws, 'drain')
    called = []
    end.ws.send(called.append, binary=bytes(5_000_000))
    turns(ioloop, 10)
    assert (seen, called) == ([], [])
    assert 0 < end.ws.buffered_amount < 5_000_010
    received = 0

    def take() -> bool:
        nonlocal received
        received += sum(map(len, end.packets()))
        assert bool(seen) == (end.ws.buffered_amount == 0)
        return bool(seen)

    run_until(ioloop, take)
    received += sum(map(len, end.packets()))
    assert received == 5_000_010
    assert (seen, called) == ([('drain',)], [end.ws])


@needs_packets
def test_drain_comes_once_for_all_that_one_read_sent(ioloop, line, run_until):
    end = line()
    seen = log(end.ws, 'drain')
    end.ws.on('text', lambda ws, text: ws.send(text=text))
    end.peer.send(frame(TEXT, b'x', masked=True) * 10)
    run_until(ioloop, lambda: seen)
    turns(ioloop)
    assert seen == [('drain',)]


def test_a_drain_handler_that_sends_the_next_piece_sends_all_of_it(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    pieces = iter([b'%d' % i * 30_000 for i in range(50)])

    @end.ws.on
    def drain(ws):
        if (piece := next(pieces, None)) is not None:
            ws.send(binary=piece)

    end.ws.send(binary=b'first')
    received = bytearray()
    run_until(ioloop, lambda: received.extend(b''.join(end.packets())) or received.endswith(b'49' * 30_000))
    assert [len(payload) for _, payload in frames(bytes(received))][:3] == [5, 30_000, 30_000]


def test_above_the_high_water_mark_the_stream_says_so_and_below_it_no_more(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    end.stream.high_water_mark = 100_000
    assert end.stream.can_write
    end.ws.send(binary=bytes(3_000_000))
    end.ws.flush()
    assert not end.stream.can_write
    assert broadcast([end.ws], text='x') == (0, [end.ws])
    run_until(ioloop, lambda: end.packets() and end.stream.can_write)
    assert broadcast([end.ws], text='x') == (1, [])


def test_a_peer_that_sends_but_does_not_read_is_not_read_from(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    end.stream.paces_reading = True
    end.stream.high_water_mark = 100_000
    received = []
    end.ws.on('binary', lambda ws, message: (received.append(len(message)), ws.send(binary=message)))
    message = frame(BINARY, bytes(50_000), masked=True)
    sent = 0
    for _ in range(400):  # 20 MB, if it would take them
        try:
            while sent < 400:
                part = end.peer.send(message[sent % len(message) :])
                sent += part
        except BlockingIOError:
            pass
        turns(ioloop, 1)
    assert end.ws.buffered_amount < 1_000_000
    before = len(received)

    def move() -> bool:
        end.packets()
        turns(ioloop, 1)
        return not end.ws.is_writing and len(received) > 0

    run_until(ioloop, move)
    assert len(received) >= before
    assert end.stream.is_readable


def test_a_paused_stream_is_not_read_and_goes_on_where_it_was(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    seen = log(end.ws, 'text')
    end.stream.stop()
    assert not end.stream.is_readable
    end.peer.send(frame(TEXT, b'a', masked=True))
    turns(ioloop, 5)
    assert seen == []
    end.stream.start()
    run_until(ioloop, lambda: seen)
    assert seen == [('text', 'a')]


# Fairness


@contextmanager
def flooding(line: Callable[..., Line]) -> Iterator[Line]:
    """A peer that sends without end, from a thread of its own."""
    flooded = line(socket.SOCK_STREAM)
    flooded.peer.setblocking(True)
    over = threading.Event()
    data = frame(BINARY, bytes(1000), masked=True) * 500

    def flood() -> None:
        try:
            while not over.is_set():
                flooded.peer.sendall(data)
        except OSError:
            pass

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        yield flooded
        assert thread.is_alive()
    finally:
        over.set()
        flooded.stream.close()
        thread.join(20)


def test_a_connection_that_floods_does_not_starve_the_others(ioloop, line, run_until):
    with flooding(line) as flooded:
        received = log(flooded.ws, 'binary')
        run_until(ioloop, lambda: received)
        polite = line(socket.SOCK_STREAM)
        polite.ws.on('text', lambda ws, text: ws.send(text=text))
        answers = []
        for i in range(20):
            polite.peer.send(frame(TEXT, b'%d' % i, masked=True))
            run_until(ioloop, lambda i=i: answers.extend(polite.packets()) or len(answers) > i)
        assert [frames(answer)[0][1] for answer in answers] == [b'%d' % i for i in range(20)]


def test_a_connection_that_floods_does_not_starve_the_timers(ioloop, line, run_until):
    with flooding(line):
        rang = []
        timer = ioloop.recurring(rang.append, 0.001)
        run_until(ioloop, lambda: len(rang) >= 20)
        ioloop.remove(timer)


# Handlers that do unusual things


def test_a_loop_within_a_handler_leaves_what_is_being_read_alone(reactor_name, ioloop, line, run_until):
    if ioloop.reactor.can_spawn:
        pytest.skip('asyncio has no loop within a loop')
    one, two = line(socket.SOCK_STREAM), line(socket.SOCK_STREAM)
    seen = log(two.ws, 'binary')
    outer = []

    @one.ws.on
    def binary(ws, message):
        if not outer:
            two.peer.send(frame(BINARY, b'\xff' * 50_000, masked=True))
            while not seen:
                ioloop.one_tick()
        outer.append(message)

    one.peer.send(frame(BINARY, b'\x11' * 5000, masked=True) + frame(BINARY, b'\x22' * 5000, masked=True))
    run_until(ioloop, lambda: len(outer) == 2)
    assert outer == [b'\x11' * 5000, b'\x22' * 5000]
    assert seen == [('binary', b'\xff' * 50_000)]


def test_a_loop_within_a_handler_does_not_read_what_comes_after_what_is_being_read(ioloop, line, run_until):
    if ioloop.reactor.can_spawn:
        pytest.skip('asyncio has no loop within a loop')
    end = line(socket.SOCK_STREAM)
    seen = log(end.ws, 'text', 'finish')
    third = frame(TEXT, b'three', masked=True)
    rang = []

    @end.ws.on
    def text(ws, message):
        if not rang:
            end.peer.send(third[4:] + frame(TEXT, b'four', masked=True))
            ioloop.timer(rang.append, 0.02)
            while not rang:
                ioloop.one_tick()

    end.peer.send(frame(TEXT, b'one', masked=True) + frame(TEXT, b'two', masked=True) + third[:4])
    run_until(ioloop, lambda: len(seen) == 4)
    assert [what for _, what in seen] == ['one', 'two', 'three', 'four']
    assert end.stream.is_readable


@pytest.mark.parametrize('how', ['close', 'close_gracefully', 'shutdown', 'detach'])
def test_a_handler_may_end_its_own_stream(ioloop, line, run_until, how):
    end = line(socket.SOCK_STREAM)
    seen = log(end.ws, 'text', 'finish')
    sockets = []
    end.ws.on('text', lambda ws, text: sockets.append(getattr(end.stream, how)()))
    end.peer.send(frame(TEXT, b'a', masked=True))
    run_until(ioloop, lambda: sockets)
    end.peer.close()
    run_until(ioloop, lambda: end.stream.is_closed)
    assert seen[0] == ('text', 'a')
    if how == 'detach':
        sockets[0].close()
        ioloop.remove(ioloop.stream(end.stream))
    else:
        assert seen[1:] == [('finish', 1006, '')]


def test_a_handler_may_end_another_stream_that_is_ready_in_the_same_turn(ioloop, line, run_until):
    ends = [line(socket.SOCK_STREAM) for _ in range(10)]
    heard = []

    def end_the_others(ws, text):
        heard.append(ws)
        for end in ends:
            if end.ws is not ws:
                end.stream.close()

    for end in ends:
        end.ws.on('text', end_the_others)
        end.peer.send(frame(TEXT, b'x', masked=True))
    run_until(ioloop, lambda: heard)
    turns(ioloop)
    assert len(heard) == 1
    assert sum(end.ws.is_finished for end in ends) == 9


def test_a_read_handler_that_raises_leaves_the_stream_as_it_was(ioloop, run_until):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, ioloop.loop_data)
    ioloop.stream(stream)
    failed = log(ioloop.reactor, 'error')
    got = []

    @stream.on
    def read(stream, data):
        stream.write(data)
        got.append(data)
        if len(got) == 1:
            raise LookupError('oops')

    peer.send(b'a')
    run_until(ioloop, lambda: failed)
    peer.send(b'b')
    run_until(ioloop, lambda: len(got) == 2 and not stream.is_writing)
    assert peer.recv(100) == b'ab'
    stream.close()
    peer.close()


# Ending


def test_close_gracefully_delivers_all_that_waits_to_a_slow_peer(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    end.ws.send(binary=bytes(3_000_000))
    end.stream.close_gracefully()
    turns(ioloop, 5)
    assert not end.stream.is_closed
    received = []
    run_until(ioloop, lambda: received.extend(end.packets()) or end.stream.is_closed)
    received.extend(end.packets())
    assert sum(map(len, received)) == 3_000_010
    assert end.peer.recv(1) == b''


def test_a_shutdown_half_closes_after_all_that_waits(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    seen = log(end.ws, 'text')
    end.ws.send('last')
    end.stream.shutdown()
    received = []
    run_until(ioloop, lambda: received.extend(end.packets()) or received)
    assert frames(b''.join(received)) == [(0x81, b'last')]
    turns(ioloop)
    assert end.peer.recv(1) == b''
    end.peer.send(frame(TEXT, b'still heard', masked=True))
    run_until(ioloop, lambda: seen)
    assert seen == [('text', 'still heard')]


def test_close_loses_what_waits_and_ends_once(ioloop, line):
    end = line(socket.SOCK_STREAM)
    ended = log(end.stream, 'close')
    finished = log(end.ws, 'finish', 'drain')
    end.ws.send(binary=bytes(3_000_000))
    end.stream.close()
    end.stream.close()
    assert ended == [('close',)]
    assert finished == [('finish', 1006, '')]
    assert not end.ws.is_writing


def test_a_peer_that_vanishes_while_much_waits_is_1006(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    finished = log(end.ws, 'finish', 'drain')
    end.ws.send(binary=bytes(3_000_000))
    turns(ioloop, 2)
    end.peer.close()
    run_until(ioloop, lambda: finished)
    assert finished == [('finish', 1006, '')]
    assert end.stream.is_closed


def test_an_inactive_stream_times_out_and_closes(ioloop, run_until, assert_idle):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, ioloop.loop_data)
    ioloop.stream(stream)
    seen = log(stream, 'timeout', 'close')
    stream.timeout = 0.05
    assert stream.timeout == 0.05
    run_until(ioloop, lambda: stream.is_closed)
    assert seen == [('timeout',), ('close',)]
    peer.close()
    assert_idle(ioloop)


def test_what_is_read_or_written_sets_the_inactivity_timeout_back(ioloop, run_until):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, ioloop.loop_data)
    ioloop.stream(stream)
    deadlines = []
    stream.on('read', lambda stream, data: None)
    stream.timeout = 100
    for act in (lambda: peer.send(b'x'), lambda: stream.write(b'y')):
        before = due(ioloop)
        act()
        time.sleep(0.002)
        turns(ioloop, 3)
        stream.timeout = stream.timeout  # setting it anew shows when it would be due
        deadlines.append(due(ioloop) - before)
    assert all(later > 0 for later in deadlines)
    stream.timeout = 0
    assert not ioloop.reactor.statistics()['timers']
    stream.close()
    peer.close()


def test_a_stream_without_a_receiver_half_closes_as_the_peer_does(ioloop, run_until):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, ioloop.loop_data)
    ioloop.stream(stream)
    stream.on('read', lambda stream, data: stream.write(data * 100_000))
    peer.send(b'0123456789')
    peer.shutdown(socket.SHUT_WR)
    received = bytearray()
    thread = threading.Thread(target=lambda: [received.extend(data) for data in iter(lambda: peer.recv(65536), b'')])
    thread.start()
    run_until(ioloop, lambda: stream.is_closed)
    thread.join(20)
    assert bytes(received) == b'0123456789' * 100_000
    peer.close()


def test_a_thousand_idle_connections_hold_no_buffer(ioloop, line, run_until):
    ends = [line(socket.SOCK_STREAM) for _ in range(100)]
    for end in ends:
        end.ws.on('text', lambda ws, text: ws.send(text=text))
        end.peer.send(frame(TEXT, b'x', masked=True))
    answered = set()
    run_until(ioloop, lambda: answered.update(i for i, end in enumerate(ends) if end.packets()) or len(answered) == 100)
    assert all(end.stream.buffered_amount == 0 and not end.stream.is_writing for end in ends)
    assert all(end.ws.protocol.out is None for end in ends)


def test_the_other_side_of_a_stream_may_be_a_transaction_by_hand(ioloop, line, run_until):
    end = line(socket.SOCK_STREAM)
    client = opened('client')
    end.ws.on('message', lambda ws, message: ws.send(message))
    seen = log(client, 'message')
    client.send('text').send(b'binary' * 10_000)
    end.peer.sendall(client.client_write())
    run_until(
        ioloop, lambda: ([client.client_read(packet) for packet in end.packets()] and len(seen) == 2) or len(seen) == 2
    )
    assert seen == [('message', 'text'), ('message', b'binary' * 10_000)]


def test_streams_show_what_they_know(ioloop, line):
    end = line(socket.SOCK_STREAM)
    assert isinstance(end.stream, pyjows.EventEmitter)
    assert end.stream.fileno() == end.stream.socket.fileno()
    assert end.stream.is_readable and not end.stream.is_writing and not end.stream.is_closed
    assert end.stream.buffered_amount == 0 and end.stream.can_write


@pytest.mark.parametrize('data', ['text', 5, None, [1, 2]])
def test_what_is_written_has_to_be_bytes(line, data):
    end = line(socket.SOCK_STREAM)
    with pytest.raises(TypeError, match=rf'Stream\.write\(\) takes bytes.*not {type(data).__name__}'):
        end.stream.write(data)
    assert end.stream.buffered_amount == 0


def test_the_callback_of_a_write_has_to_be_one(line):
    end = line(socket.SOCK_STREAM)
    with pytest.raises(TypeError, match=r'Stream\.write\(\) takes a function'):
        end.stream.write(b'x', 5)
    assert end.stream.buffered_amount == 0
