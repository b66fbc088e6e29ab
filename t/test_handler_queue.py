"""The coroutine handlers of one connection: one after the other, in order, and not more of them than may wait."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from byhand import TEXT, frame, log, opened

import pyjows
from pyjows import ConnectionClosed

pytestmark = pytest.mark.usefixtures('coroutines')


@pytest.fixture(params=['server', 'client'])
def joined(request: pytest.FixtureRequest, ioloop: Any, run_until: Any) -> Callable[..., tuple[Any, Any]]:
    """``joined(**options)`` connects two transactions; the first is that of the side named, and has the options."""

    def joined(**options: Any) -> tuple[Any, Any]:
        here, there = (options, {}) if request.param == 'server' else ({}, options)
        server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **here)
        client = pyjows.connect(server.urls[0], ioloop=ioloop, **there)
        run_until(ioloop, lambda: client.established)
        [served] = server.connections
        return (served, client) if request.param == 'server' else (client, served)

    return joined


def tasks(ioloop: Any) -> int:
    return len(asyncio.all_tasks(ioloop.reactor.loop))


def test_coroutine_handlers_of_one_connection_run_one_after_the_other_in_order(ioloop, joined, run_until):
    ws, peer = joined()
    seen: list[Any] = []
    running = 0

    async def handle(ws: Any, message: Any) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(random.uniform(0, 0.002))
        seen.append(message)
        running -= 1

    for event in ('text', 'binary'):
        ws.on(event, handle)

    @ws.on
    async def finish(ws: Any, code: int, reason: str) -> None:
        await handle(ws, code)

    for n in range(100):
        peer.send(text=str(n)) if n % 3 else peer.send(binary=b'%d' % n)
    peer.finish(4000)
    run_until(ioloop, lambda: 4000 in seen)
    assert seen == [*(str(n) if n % 3 else b'%d' % n for n in range(100)), 4000]


def test_connections_do_not_wait_for_each_other(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    seen: list[str] = []
    held = None

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        @ws.on
        async def text(ws: Any, message: str) -> None:
            nonlocal held
            if message == 'slow':
                held = ioloop.reactor.loop.create_future()
                await held
            seen.append(message)

    slow, fast = (pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(2))
    slow.send(text='slow')
    run_until(ioloop, lambda: held is not None)
    fast.send(text='fast')
    run_until(ioloop, lambda: seen)
    assert seen == ['fast']
    held.set_result(None)
    run_until(ioloop, lambda: len(seen) == 2)


@pytest.mark.parametrize('by', ['number', 'size'])
def test_a_slow_coroutine_handler_slows_the_peer_down_and_nothing_is_lost(ioloop, joined, run_until, by):
    count, options = (4000, {'max_queue': 16}) if by == 'number' else (60, {'high_water_mark': 100_000})
    payload = b'x' * (1000 if by == 'number' else 50_000)
    ws, peer = joined(**options)
    calls: list[int] = []
    done: list[int] = []
    go_on = asyncio.Event()
    before = tasks(ioloop)
    running = []

    def binary(ws: Any, message: bytes) -> Any:
        calls.append(len(calls))
        return slowly(calls[-1])

    async def slowly(n: int) -> None:
        await go_on.wait()
        done.append(n)
        running.append(tasks(ioloop) - before)
        if n % 100 == 0:
            await asyncio.sleep(0)

    ws.on('binary', binary)
    finished = log(ws, 'finish')
    for _ in range(count):
        peer.send(binary=payload)
    peer.finish(1000)
    ticks: list[int] = []
    timer = ioloop.recurring(lambda loop: ticks.append(1), 0.01)
    run_until(ioloop, lambda: ws.is_paused and len(ticks) > 10)
    # One runs, and the others wait.
    assert len(calls) <= (17 if by == 'number' else 4)
    assert tasks(ioloop) - before == 1
    assert not finished
    ioloop.remove(timer)
    go_on.set()
    run_until(ioloop, lambda: finished)
    assert done == list(range(count))
    assert finished == [('finish', 1000, '')]
    assert max(running) == 1
    run_until(ioloop, lambda: tasks(ioloop) == before)


def test_the_limit_is_that_of_the_connection(ioloop, joined, run_until):
    ws, peer = joined(max_queue=1)
    held = asyncio.Event()
    calls = log(ws, 'text')

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await held.wait()

    for n in range(10):
        peer.send(text=str(n))
    run_until(ioloop, lambda: len(calls) == 2)
    assert ws.is_paused
    held.set()
    run_until(ioloop, lambda: len(calls) == 10)
    run_until(ioloop, lambda: not ws.is_paused)


def test_who_pauses_reading_resumes_it(ioloop, joined, run_until):
    ws, peer = joined(max_queue=1)
    held = asyncio.Event()
    calls = log(ws, 'text')

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await held.wait()

    for n in range(10):
        peer.send(text=str(n))
    run_until(ioloop, lambda: len(calls) == 2)
    ws.pause_reading()
    ws.resume_reading()  # what the queue has paused goes on when the queue says so
    assert len(calls) == 2
    assert ws.is_paused
    ws.pause_reading()
    held.set()
    ticks: list[int] = []
    timer = ioloop.recurring(lambda loop: ticks.append(1), 0.01)
    run_until(ioloop, lambda: len(ticks) > 5)
    ioloop.remove(timer)
    assert len(calls) == 2
    ws.resume_reading()
    run_until(ioloop, lambda: len(calls) == 10)


def test_finish_comes_after_the_coroutine_handlers_that_wait(ioloop, joined, run_until):
    ws, peer = joined()
    seen: list[Any] = []

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await asyncio.sleep(0.001)
        seen.append(message)

    ws.on('finish', lambda ws, code, reason: seen.append((code, reason)))
    for n in range(10):
        peer.send(text=str(n))
    peer.finish(4001, 'enough')
    run_until(ioloop, lambda: len(seen) == 11)
    assert seen == [*map(str, range(10)), (4001, 'enough')]


@pytest.mark.parametrize('how', ['terminate', 'reset'])
def test_a_connection_that_breaks_while_the_queue_is_full_ends_with_finish(ioloop, joined, run_until, how):
    ws, peer = joined(max_queue=4)
    held = asyncio.Event()
    done: list[str] = []

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await held.wait()
        done.append(message)

    finished = log(ws, 'finish')
    for n in range(100):
        peer.send(text=str(n))
    run_until(ioloop, lambda: ws.is_paused)
    if how == 'terminate':
        ws.terminate()
    else:
        peer.terminate()
        ws.send(binary=bytes(10_000_000))  # what notices the end: nothing is read
    run_until(ioloop, lambda: ws.is_finished)
    assert not finished
    held.set()
    run_until(ioloop, lambda: finished)
    assert len(finished) == 1
    assert finished[0][1] == 1006
    assert done == [str(n) for n in range(len(done))]
    assert 4 <= len(done) <= 6  # those that were called before it broke


def test_what_a_coroutine_handler_raises_is_an_error_and_the_rest_goes_on(ioloop, joined, run_until):
    ws, peer = joined()
    seen = log(ws, 'error', 'finish')

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await asyncio.sleep(0)
        if message == '1':
            raise LookupError(message)
        if message == '2':
            raise asyncio.CancelledError
        seen.append(('text', message))

    for n in range(4):
        peer.send(text=str(n))
    run_until(ioloop, lambda: ('text', '3') in seen)
    assert seen[0] == ('text', '0')
    assert [type(exc) for _, exc in seen[1:3]] == [LookupError, asyncio.CancelledError]
    assert seen[3:] == [('text', '3')]


def test_without_error_what_a_coroutine_handler_raises_closes_with_1011(ioloop, joined, run_until, caplog):
    ws, peer = joined()
    seen = log(peer, 'finish')

    @ws.on
    async def text(ws: Any, message: str) -> None:
        raise LookupError(message)

    with caplog.at_level(logging.ERROR, 'pyjows'):
        peer.send(text='a')
        run_until(ioloop, lambda: seen)
    assert seen == [('finish', 1011, 'internal error')]
    assert [record.exc_info[0] for record in caplog.records] == [LookupError]


def test_keyboard_interrupt_leaves_a_coroutine_handler_through_the_loop_and_the_rest_goes_on(ioloop, joined, run_until):
    ws, peer = joined()
    seen = log(ws, 'error')

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await asyncio.sleep(0)
        if message == 'stop':
            raise KeyboardInterrupt
        seen.append(message)

    peer.send(text='stop')
    peer.send(text='next')
    with pytest.raises(KeyboardInterrupt):
        run_until(ioloop, lambda: 'next' in seen and False)
    run_until(ioloop, lambda: 'next' in seen)


def test_what_waits_is_dropped_when_the_tasks_of_the_loop_are_cancelled_and_finish_still_comes(
    ioloop, joined, run_until
):
    ws, peer = joined()
    started: list[str] = []

    @ws.on
    async def text(ws: Any, message: str) -> None:
        started.append(message)
        await asyncio.sleep(60)

    finished = log(ws, 'finish')
    for n in range(100):
        peer.send(text=str(n))
    peer.finish(1000)
    run_until(ioloop, lambda: ws.is_paused)
    before = len(started)
    for task in asyncio.all_tasks(ioloop.reactor.loop):
        task.cancel()
    run_until(ioloop, lambda: len(started) > before)  # reading goes on, and with it the handlers
    ws.terminate()
    for task in asyncio.all_tasks(ioloop.reactor.loop):
        task.cancel()
    run_until(ioloop, lambda: finished)
    assert len(finished) == 1


def test_without_a_loop_of_ours_the_running_one_runs_the_handlers_in_order():
    seen: list[str] = []

    async def main() -> None:
        ws = opened(max_queue=2)

        @ws.on
        async def text(ws: Any, message: str) -> None:
            await asyncio.sleep(0)
            ws.send(text=message)
            seen.append(message)

        for n in range(10):
            ws.server_read(frame(TEXT, b'%d' % n, masked=True))
        assert ws.is_paused
        while len(seen) < 10:
            await asyncio.sleep(0)
        assert not ws.is_paused
        assert len(ws.server_write()) == 30

    asyncio.run(main())
    assert seen == [str(n) for n in range(10)]


def test_a_plain_handler_is_called_at_once_while_coroutine_handlers_wait(ioloop, joined, run_until):
    ws, peer = joined()
    held = asyncio.Event()
    seen: list[Any] = []
    ws.on('message', lambda ws, message: seen.append(message))

    @ws.on
    async def text(ws: Any, message: str) -> None:
        await held.wait()
        seen.append(('later', message))

    peer.send(text='a')
    peer.send(text='b')
    run_until(ioloop, lambda: len(seen) == 2)
    assert seen == ['a', 'b']
    held.set()
    run_until(ioloop, lambda: len(seen) == 4)
    assert seen[2:] == [('later', 'a'), ('later', 'b')]


# Before the connection is open


def test_a_websocket_handler_that_takes_too_long_is_cancelled(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=0.05)
    ended: list[str] = []

    @server.on
    async def websocket(server: Any, ws: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append('cancelled')
            raise

    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(client, 'error', 'finish')
    run_until(ioloop, lambda: ended and client.is_finished)
    assert seen[0][1].status == 503
    assert ended == ['cancelled']
    run_until(ioloop, lambda: tasks(ioloop) == 0)


def test_a_cancelled_websocket_handler_may_still_fail(ioloop, run_until, caplog):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=0.05)

    @server.on
    async def websocket(server: Any, ws: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with pytest.raises((ConnectionClosed, pyjows.InvalidState)):
                ws.accept()
            raise LookupError

    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(client, 'error', 'finish')
    with caplog.at_level(logging.ERROR, 'pyjows'):
        run_until(ioloop, lambda: len(seen) == 2 and caplog.records)
    assert seen[0][1].status == 503


@pytest.mark.parametrize(
    ('value', 'exception'), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ('16', TypeError)]
)
def test_max_queue_is_checked_at_the_call(value, exception):
    with pytest.raises(exception, match='max_queue'):
        pyjows.WebSocket(max_queue=value)
