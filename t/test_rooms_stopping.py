"""Rooms of a loop that stops: they are usable until its connections are gone, and then send what was published."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from background import accepts, free_port
from background import until as wait_until
from brokers import RedisServer, needs_nats, needs_redis
from gathering import Guest, gatherings
from program import Program

import pyjows

pytestmark = [needs_redis, needs_nats, pytest.mark.wide(later=True)]


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any, url: str) -> Iterator[Any]:
    with gatherings(ioloop, run_until, assert_idle, url) as gather:
        yield gather


def until(condition: Any, what: str) -> None:
    wait_until(condition, what, 10)


class Elsewhere:
    """Another process: a loop and rooms in a thread, which follow the lobby."""

    def __init__(self, url: str) -> None:
        self.heard: list[str] = []
        self.ioloop = pyjows.IOLoop('poll')
        self.rooms = pyjows.rooms(url, ioloop=self.ioloop)
        self.rooms.on('error', lambda rooms, exc: self.heard.append(str(exc)))
        self.rooms['lobby'].on('message', lambda room, message: self.heard.append(message.data))
        self.is_ready = threading.Event()
        self.rooms['lobby'].follow(lambda room: self.is_ready.set())
        self.ioloop.recurring(lambda ioloop: None, 10)
        self.thread = threading.Thread(target=self.ioloop.start, daemon=True)
        self.thread.start()
        assert self.is_ready.wait(20)

    @property
    def names(self) -> list[str]:
        return [info['name'] for info in self.rooms['lobby'].members().values()]

    def close(self) -> None:
        self.rooms.close(10)
        self.ioloop.call_threadsafe(lambda ioloop: ioloop.stop())
        self.thread.join()
        self.ioloop.close()


@pytest.fixture
def elsewhere(url: str) -> Iterator[Elsewhere | None]:
    """Another process with the same rooms; None for an engine of one process."""
    other = None if url == 'memory://' else Elsewhere(url)
    yield other
    if other is not None:
        other.close()


def record(a: Any) -> list[Any]:
    """What is used of a lobby by those who go, and what it answers; and its events."""
    seen: list[Any] = []
    lobby = a.rooms['lobby']
    lobby.on('message', lambda room, message: seen.append(message.data))
    lobby.on('leave', lambda room, member: seen.append(('left', member.info['name'])))
    return seen


def stop(ioloop: Any, *args: Any, **options: Any) -> None:
    """Stop a loop gracefully, and run it to its end."""
    ioloop.next_tick(lambda ioloop: ioloop.stop_gracefully(*args, **options))
    ioloop.start()


def is_gone(other: Elsewhere) -> bool:
    return not other.rooms.engine.shares_presence or not other.names


def test_handlers_of_finish_use_rooms_while_the_loop_stops(gather, elsewhere):
    a = gather()
    guest = a.join(name='Ann')
    seen = record(a)
    lobby = a.rooms['lobby']
    used: list[Any] = []

    @a.members[0].ws.on
    def finish(ws, code, reason):
        used.append((lobby.publish(text='bye'), len(lobby.members()), len(lobby.history()), code))
        a.rooms['other'].follow()

    if elsewhere is not None:
        until(lambda: is_gone(elsewhere) or elsewhere.names == ['Ann'], 'Ann to be known elsewhere')
    stop(a.ioloop, 10)
    assert guest.code == 1001
    assert [(published, code) for published, *_, code in used] == [(True, 1001)]
    assert ('left', 'Ann') in seen
    assert not a.errors
    if elsewhere is None:
        assert sorted(seen, key=str) == [('left', 'Ann'), 'bye']
    else:
        until(lambda: elsewhere.heard == ['bye'], f'what was published last: {elsewhere.heard}')
        until(lambda: is_gone(elsewhere), 'Ann to be gone elsewhere')
    until(lambda: a.rooms.is_closed, 'the rooms to be closed')
    with pytest.raises(RuntimeError, match='these rooms are closed'):
        lobby.publish(text='x')


def test_a_message_that_comes_while_connections_are_closed_one_by_one_is_published(gather, elsewhere, url, run_until):
    a = gather()
    seen = record(a)
    a.server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: a.rooms['lobby'].publish(text=text)))
    ioloop = pyjows.IOLoop('poll')  # of the clients, which do not stop
    guests = [Guest(f'{a.server.urls[0]}/?name={name}', ioloop) for name in ('Ann', 'Bob')]
    a.ioloop.next_tick(lambda loop: thread.start())
    thread = threading.Thread(target=run_until, args=(ioloop, lambda: all(g.code for g in guests), 20), daemon=True)
    a.until(lambda: len(a.members) == 2 and all(member.joined for member in a.members))
    a.until(lambda: all(guest.ws.established for guest in guests))

    @a.ioloop.on
    def finish(ioloop):
        for guest in guests:
            guest.ws.send(text='still here')

    stop(a.ioloop, 10, graceful=1.5)
    thread.join()
    heard = seen if elsewhere is None else elsewhere.heard
    until(lambda: heard.count('still here') == 2, f'both messages: {heard}')
    assert sorted(one for one in seen if one != 'still here') == [('left', 'Ann'), ('left', 'Bob')]
    if elsewhere is not None:
        until(lambda: is_gone(elsewhere), 'all to be gone elsewhere')
    assert not a.errors
    ioloop.close()


def test_a_connection_that_opens_while_the_loop_stops_joins_or_is_closed(gather):
    a = gather()
    a.join(name='Ann')
    raised: list[Any] = []

    @a.ioloop.on
    def finish(ioloop):
        ws = a.members[0].ws
        for join in (a.rooms['second'].join, a.rooms['third'].join):
            try:
                join(ws)
            except pyjows.ConnectionClosed as exc:
                raised.append(exc)

    stop(a.ioloop, 10)
    assert len(raised) in (0, 2)
    assert not a.errors
    assert not list(a.rooms.rooms_of(a.members[0].ws))


def test_coroutine_handlers_end_before_the_rooms_close(gather, elsewhere, coroutines):
    a = gather()
    seen = record(a)

    @a.server.on
    async def websocket(server, ws):
        try:
            async for _ in ws:
                pass
        finally:
            await asyncio.sleep(0.1)
            a.rooms['lobby'].publish(text='bye')

    a.join(name='Ann')
    stop(a.ioloop, 10)
    heard = seen if elsewhere is None else elsewhere.heard
    until(lambda: 'bye' in heard, f'the bye: {heard}')
    assert ('left', 'Ann') in seen
    assert not a.errors
    assert a.rooms.is_closed


def test_a_coroutine_without_an_end_does_not_keep_rooms_open(gather, coroutines):
    a = gather()
    running: list[Any] = []

    async def endless(ws, text):
        running.append(ws)
        await asyncio.sleep(3600)

    a.server.on('websocket', lambda server, ws: ws.on('text', endless))
    a.join(name='Ann').ws.send(text='wait')
    a.until(lambda: running)
    began = monotonic()
    stop(a.ioloop, 10)
    assert monotonic() - began < 6
    assert a.rooms.is_closed
    a.ioloop.reset()  # cancels it


@pytest.mark.parametrize('loop', ['asyncio', 'uvloop'])
def test_what_is_published_while_asyncio_run_ends_is_sent(loop, url, elsewhere, no_leaks):
    seen: list[Any] = []
    made: list[Any] = []

    async def main():
        server = pyjows.serve('ws://127.0.0.1:0')
        rooms = pyjows.rooms(url)
        made.append(rooms)
        rooms.on('error', lambda rooms, exc: seen.append(exc))
        rooms['lobby'].on('leave', lambda room, member: seen.append(('left', member.info['name'])))
        rooms['lobby'].on('message', lambda room, message: seen.append(message.data))

        @server.on
        def websocket(server, ws):
            rooms['lobby'].join(ws, info={'name': 'Ann'})

            @ws.on
            def finish(ws, code, reason):
                rooms['lobby'].publish(text='bye')

            @ws.on('finish')
            async def later(ws, code, reason):
                await asyncio.sleep(0.05)
                rooms['lobby'].publish(text='bye again')

        pyjows.connect(server.urls[0])
        while not rooms['lobby'].local_members:
            await asyncio.sleep(0.01)

    uvloop = pytest.importorskip('uvloop') if loop == 'uvloop' else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(main())
    heard = elsewhere.heard if elsewhere is not None else [one for one in seen if isinstance(one, str)]
    until(lambda: heard == ['bye', 'bye again'], f'the last words: {heard}')
    assert ('left', 'Ann') in seen
    assert not [one for one in seen if isinstance(one, Exception)]
    if elsewhere is not None:
        until(lambda: is_gone(elsewhere), 'Ann to be gone elsewhere')
    assert made[0].is_closed


def test_rooms_of_a_loop_that_is_closed_are_closed(ioloop, url, elsewhere):
    threads = set(threading.enumerate())
    rooms = pyjows.rooms(url, ioloop=ioloop)
    rooms['lobby'].publish(text='last')
    ioloop.close()
    with pytest.raises(RuntimeError, match='these rooms are closed'):
        rooms['lobby'].publish(text='x')
    until(lambda: rooms.is_closed, 'the rooms to be closed')
    if elsewhere is not None:
        until(lambda: elsewhere.heard == ['last'], f'what was published: {elsewhere.heard}')
    until(lambda: not set(threading.enumerate()) - threads, 'the thread to end')


def test_rooms_stay_open_where_the_loop_is_stopped_or_reset(gather):
    a = gather()
    a.join(name='Ann')
    seen = record(a)
    a.ioloop.next_tick(lambda loop: loop.stop())
    a.ioloop.start()
    a.rooms['lobby'].publish(text='stopped')
    a.until(lambda: 'stopped' in seen)
    a.ioloop.reset()
    assert ('left', 'Ann') in seen
    a.rooms['lobby'].follow().publish(text='reset')
    a.until(lambda: 'reset' in seen)
    assert not a.errors


@pytest.mark.parametrize('when', ['before', 'at finish', 'after'])
def test_rooms_that_the_program_closes_are_closed_once(gather, when):
    a = gather()
    a.join(name='Ann')
    seen = record(a)
    if when == 'before':
        a.ioloop.next_tick(lambda loop: a.rooms.close())
    elif when == 'at finish':
        a.ioloop.on('finish', lambda loop: a.rooms.close())
    stop(a.ioloop, 10)
    if when == 'after':
        a.rooms.close(10)
    assert seen == [('left', 'Ann')]
    until(lambda: a.rooms.is_closed, 'the rooms to be closed')
    assert not a.errors


def test_a_stop_whose_time_is_over_sends_what_was_published(gather, elsewhere, ioloop):
    a = gather()
    client = pyjows.IOLoop('poll')
    guest = Guest(f'{a.server.urls[0]}/?name=Ann', client)  # its loop stands still: it does not answer a close
    a.until(lambda: (client.one_tick() if not guest.ws.established else None, a.members)[1] and a.members[0].joined)
    seen = record(a)
    a.members[0].ws.on('finish', lambda ws, code, reason: a.rooms['lobby'].publish(text='bye'))
    stop(a.ioloop, 0.3)
    heard = seen if elsewhere is None else elsewhere.heard
    until(lambda: 'bye' in heard, f'the bye: {heard}')
    assert ('left', 'Ann') in seen
    assert not a.errors
    client.close()


def test_a_stop_does_not_wait_long_for_a_broker_that_is_away(ioloop, tmp_path, caplog):
    redis = RedisServer(tmp_path)
    rooms = pyjows.rooms(redis.url, ioloop=ioloop)
    ioloop.timer(lambda loop: loop.stop(), 0.3)
    rooms['lobby'].publish(text='first')
    ioloop.start()
    redis.kill()
    rooms['lobby'].publish(text='second')
    began = monotonic()
    stop(ioloop, 10)
    assert monotonic() - began < 3
    began = monotonic()
    ioloop.close()
    assert monotonic() - began < 3
    wait_until(lambda: rooms.is_closed, 'the rooms to be closed')
    assert 'closed before 1 messages could be sent' in caplog.text


@pytest.mark.parametrize('way', ['stop', 'stop_gracefully'])
def test_what_is_published_after_the_loop_has_stopped_is_sent(gather, way):
    a = gather()
    a.rooms['lobby'].publish(text='first')
    a.ioloop.next_tick(lambda loop: getattr(loop, way)())
    a.ioloop.start()
    if way == 'stop_gracefully':
        with pytest.raises(RuntimeError, match='these rooms are closed'):
            a.rooms['lobby'].publish(text='second')
    else:
        a.rooms['lobby'].publish(text='second')
    assert a.rooms.flush(5)


def test_rooms_go_on_where_asyncio_goes_on_after_its_tasks_were_cancelled(url, elsewhere):
    if elsewhere is None:
        return
    heard: list[Any] = []

    async def main():
        rooms = pyjows.rooms(url)
        rooms['lobby'].on('message', lambda room, message: heard.append(message.data))
        ready = asyncio.Event()
        rooms['lobby'].follow(lambda room: ready.set())
        await ready.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        async with asyncio.timeout(10):
            while 'again' not in heard:
                await asyncio.sleep(0.05)
                elsewhere.rooms['lobby'].publish(text='again')
        rooms['lobby'].publish(text='here')
        await rooms.drained()

    asyncio.run(main())
    until(lambda: 'here' in elsewhere.heard, 'what was published')


WORKER = """
import pyjows

def app(sockets):
    rooms = pyjows.rooms({url!r})
    server = pyjows.serve(sockets=sockets)

    @server.on
    def websocket(server, ws):
        rooms['lobby'].join(ws, info={{'name': 'Ann'}})
        ws.on('finish', lambda ws, code, reason: rooms['lobby'].publish(text='bye'))

if __name__ == '__main__':
    pyjows.prefork(app, 'ws://127.0.0.1:{port}', workers=2)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_workers_that_end_send_what_their_handlers_publish(
    redis, reactor_name, monkeypatch, tmp_path, number, run_until
):
    redis.ask('FLUSHALL')
    other = Elsewhere(redis.url)
    monkeypatch.setenv('PYJOWS_REACTOR', reactor_name)
    port = free_port()
    path = tmp_path / 'workers.py'
    path.write_text(WORKER.format(url=redis.url, port=port))
    ioloop = pyjows.IOLoop('poll')
    try:
        with Program(path) as program:
            until(lambda: accepts(port), 'the workers to listen')
            guests = [Guest(f'ws://127.0.0.1:{port}', ioloop) for _ in range(4)]
            run_until(ioloop, lambda: all(guest.ws.established for guest in guests) and other.names == ['Ann'] * 4)
            program.process.send_signal(number)
            run_until(ioloop, lambda: all(guest.code for guest in guests))
            until(lambda: other.heard == ['bye'] * 4, f'the byes: {other.heard} {program.errors}')
            until(lambda: not other.names, 'all to be gone')
            assert [guest.code for guest in guests] == [1001] * 4
            program.process.send_signal(signal.SIGTERM)
            program.process.wait(20)
    finally:
        other.close()
        ioloop.close()
