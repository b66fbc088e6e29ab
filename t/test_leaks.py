"""Nothing is kept: not of messages that were read, sent or broadcast, not of connections that ended."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from byhand import BINARY, CONT, PING, TEXT, frame, opened, pair

import pyjows
from pyjows import Stream, WebSocket, broadcast


def grown(act: Callable[[], Any], times: int) -> int:
    """How many bytes more there are after doing something often than after doing it half as often."""
    for _ in range(times):
        act()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(times // 10):
            act()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            act()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('compression', [False, True])
def test_messages_leave_nothing_behind(compression):
    client, server = pair({'compression': compression}, {'compression': compression})
    server.on('message', lambda ws, message: ws.send(message))
    got = []
    client.on('json', lambda ws, value: got.append(value))

    def act() -> None:
        client.send(json={'a': [1, 2, 3], 'text': 'x' * 100})
        server.server_read(client.client_write())
        client.client_read(server.server_write())
        got.clear()

    assert grown(act, 500) < 20_000


def test_fragments_and_control_frames_leave_nothing_behind():
    ws = opened()
    seen = []
    ws.on('binary', lambda ws, message: seen.append(message))
    wire = frame(BINARY, bytes(500), fin=False, masked=True) + frame(PING, b'ping', masked=True)
    wire += frame(CONT, bytes(500), masked=True)

    def act() -> None:
        for at in range(0, len(wire), 100):
            ws.server_read(wire[at : at + 100])
        ws.server_write()
        seen.clear()

    assert grown(act, 300) < 20_000


def test_broadcasts_leave_nothing_behind():
    receivers = [opened() for _ in range(20)]

    def act() -> None:
        broadcast(receivers, text='news ' * 50)
        for ws in receivers:
            ws.server_write()

    assert grown(act, 200) < 20_000


def test_handlers_that_come_and_go_leave_nothing_behind():
    ws = opened()

    def act() -> None:
        ws.once('text', lambda ws, text: None)
        ws.unsubscribe('binary', ws.on('binary', lambda ws, message: None))
        ws.send(lambda ws: None, text='x')
        ws.server_read(frame(TEXT, b'x', masked=True))
        ws.server_write()

    assert grown(act, 300) < 20_000


def test_a_transaction_that_ended_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        for finish in (lambda ws: ws.closed(), lambda ws: ws.finish(1000).closed()):
            ws = opened()
            ws.on('text', lambda ws, text: ws.send(text=text))
            ws.server_read(frame(TEXT, b'x', masked=True))
            finish(ws)
            ref = weakref.ref(ws)
            del ws
            assert ref() is None
    finally:
        gc.enable()


def test_connections_leave_nothing_behind(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text=text)))
    for _ in range(20):
        clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(10)]
        for ws in clients:
            ws.send(text='x')
            ws.on('text', lambda ws, text: ws.finish(1000))
        run_until(ioloop, lambda: all(ws.is_finished for ws in clients) and not server.connections)  # noqa: B023
    run_until(ioloop, lambda: not ioloop.connections)
    server.stop()
    assert_idle(ioloop)
    ioloop.next_tick(lambda loop: None)
    ioloop.one_tick()  # a native reactor keeps what ended in a turn until the next one
    clients.clear()
    ws = None
    gc.collect()
    left = [thing for thing in gc.get_objects() if isinstance(thing, (WebSocket, Stream)) and _belongs(thing, ioloop)]
    assert not left


def _belongs(thing: Any, ioloop: Any) -> bool:
    return getattr(thing, 'loop_data', None) is ioloop.loop_data or getattr(thing, '_ioloop', None) is ioloop


@pytest.mark.parametrize('length', [1 << 20, 1 << 30, 1 << 40])
def test_a_length_in_a_header_takes_no_memory_until_the_bytes_are_there(length):
    ws = opened(max_websocket_size=1 << 50)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        ws.server_read(b'\x82\xff' + length.to_bytes(8, 'big') + b'\0\0\0\0' + bytes(1000))
        assert tracemalloc.get_traced_memory()[1] - before < 3_000_000
    finally:
        tracemalloc.stop()


def test_what_a_room_keeps_takes_little_more_memory_than_its_bytes():
    loop = pyjows.IOLoop()
    with pyjows.rooms(ioloop=loop) as rooms:
        room = rooms.room('lobby', history_size=10_000)
        room.follow()
        sizes = iter(range(10_000))
        assert grown(lambda: room.publish(json={'number': next(sizes), 'text': 'x' * 20}), 1000) / 1000 < 500
        people = iter([WebSocket(established=True) for _ in range(2100)])
        assert grown(lambda: room.join(next(people), info={'name': 'Ann'}), 1000) / 1000 < 2500
    loop.close()


def test_a_large_json_message_that_waits_takes_little_more_memory_than_its_bytes():
    ws = WebSocket(established=True)
    value = ['x' * 20] * 5000
    assert grown(lambda: ws.send(json=value), 20) / 20 < 150_000
