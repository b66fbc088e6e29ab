"""Rooms that are closed while they are used, and used when they are closed: nothing hangs, and each misuse is named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from brokers import needs_nats, needs_redis
from gathering import gatherings

import pyjows

pytest.importorskip('redis')
pytest.importorskip('nats')
pytestmark = [needs_redis, needs_nats, pytest.mark.wide(later=True)]


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any, url: str) -> Iterator[Any]:
    with gatherings(ioloop, run_until, assert_idle, url) as gather:
        yield gather


def uses(rooms, old):
    """What needs rooms that are open, with a room object that is older than their end, and with a new one."""
    return [
        lambda: old.publish(text='x'),
        lambda: rooms['new'].publish(text='x'),
        lambda: old.follow(),
        lambda: rooms['other'].follow(),
    ]


def refuses(rooms, old):
    for use in uses(rooms, old):
        with pytest.raises(RuntimeError, match='these rooms are closed') as raised:
            use()
        assert repr(rooms.engine) in str(raised.value)


def test_rooms_closed_by_a_handler_leave_their_members_and_refuse_what_comes_then(gather):
    a = gather()
    ann = a.join(name='Ann')
    lobby, left, used = a.rooms['lobby'], [], []
    lobby.on('leave', lambda room, member: left.append((member.info['name'], len(room.members()))))

    @lobby.on
    def message(lobby, message):
        a.rooms.close()
        a.rooms.close()
        refuses(a.rooms, lobby)
        with pytest.raises(RuntimeError, match='closed'):
            lobby.join(a.members[0].ws)
        assert not lobby.leave(a.members[0].ws)
        lobby.unfollow()
        assert lobby.broadcast(text='nobody') == 0
        used.append(message.data)

    lobby.publish(json=1)
    a.until(lambda: used and a.rooms.is_closed)
    assert left == [('Ann', 0)]
    assert a.rooms.flush(1)
    a.until(lambda: ann.heard == ['1'])
    assert ann.code is None
    refuses(a.rooms, lobby)
    assert not a.errors


def test_rooms_closed_by_other_threads_are_closed_when_those_go_on(gather):
    a = gather()
    a.join(name='Ann')
    left: list[Any] = []
    a.rooms['lobby'].on('leave', lambda room, member: left.append(room.publish(text='bye')))
    closed: list[bool] = []

    def close():
        a.rooms.close(10)
        closed.append(a.rooms.is_closed)

    threads = [threading.Thread(target=close) for _ in range(3)]
    for thread in threads:
        a.ioloop.next_tick(lambda loop, thread=thread: thread.start())
    a.until(lambda: len(closed) == 3)
    for thread in threads:
        thread.join()
    assert closed == [True] * 3
    assert left == [True]
    refuses(a.rooms, a.rooms['lobby'])
    assert not a.errors


def test_rooms_closed_at_once_send_what_was_published_before(url, reactor_name, gather):
    if url == 'memory://':
        return
    a = gather()
    ann = a.join()
    ioloop = pyjows.IOLoop(reactor_name)
    rooms = pyjows.rooms(url, ioloop=ioloop)
    rooms['lobby'].publish(text='the last one')
    thread = threading.Thread(target=rooms.close, args=(10,))
    if reactor_name == 'asyncio':  # what drives it is this thread
        rooms.close(10)
    else:
        thread.start()
        thread.join()
    assert rooms.is_closed
    ioloop.close()
    a.until(lambda: ann.heard == ['the last one'])


def test_who_asks_the_broker_of_closed_rooms_is_told_so_at_once(url):
    rooms = pyjows.rooms(url, ioloop=pyjows.IOLoop('poll'))
    used = pyjows.rooms(url, ioloop=pyjows.IOLoop('poll'))
    used['lobby'].publish(text='x')
    for each in (rooms, used):
        each.close(10)
        assert each.is_closed
        began = monotonic()
        if url != 'memory://':
            for ask in (each['lobby'].history, each['new'].members):
                with pytest.raises(RuntimeError, match='these rooms are closed'):
                    ask()
        refuses(each, each['lobby'])
        each.close()
        assert monotonic() - began < 2
        each.ioloop.close()


def test_a_thread_that_asks_when_the_rooms_are_closed_goes_on_at_once(gather, url):
    a = gather()
    a.join()
    told: set[str] = set()
    asked: list[int] = []

    def ask():
        while True:
            try:
                a.rooms['asked'].history()
                a.rooms['asked'].members()
                a.rooms['asked'].publish(text='x')
            except RuntimeError as exc:
                told.add(str(exc))
                return
            asked.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    a.until(lambda: len(asked) > 20)
    began = monotonic()
    a.ioloop.next_tick(lambda loop: a.rooms.close())
    a.until(lambda: not any(thread.is_alive() for thread in threads))
    assert monotonic() - began < 3
    assert told == {f'these rooms are closed: {a.rooms.engine!r}'}


def test_rooms_made_outside_of_asyncio_are_named_where_a_member_would_wait_for_ever(redis):
    rooms = pyjows.rooms(redis.url, ioloop=pyjows.IOLoop('poll'))

    async def main():
        server = pyjows.serve('ws://127.0.0.1:0')
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        @server.on
        def websocket(server, ws):
            try:
                rooms['lobby'].join(ws)
            except RuntimeError as exc:
                told.set_result(str(exc))

        ws = pyjows.connect(server.urls[0])
        try:
            assert 'asyncio' in await asyncio.wait_for(told, 20)
            assert rooms.rooms_of(ws) == []
            with pytest.raises(RuntimeError, match='ioloop='):
                rooms['lobby'].follow()
        finally:
            ws.finish()
            server.stop()

    asyncio.run(main())
    rooms.close(5)
    rooms.ioloop.close()
