"""The reactors, each through the same tests: descriptors, timers, ticks, threads, exceptions."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyjows import reactor as reactors
from pyjows.reactor import Handle, Reactor
from pyjows.reactor.aio import AsyncioReactor
from pyjows.reactor.poll import PollReactor
from pyjows.reactor.timers import Timers

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair(no_leaks: None) -> Iterator[Pair]:
    """Two connected sockets that do not block."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


class Recorder(Handle):
    """A handle that notes what it was told."""

    def __init__(self, read_from: socket.socket | None = None) -> None:
        super().__init__()
        self.calls: list[tuple[bool, bool]] = []
        self.read_from = read_from

    def ready(self, readable: bool, writable: bool) -> None:
        self.calls.append((readable, writable))
        if readable and self.read_from is not None:
            self.read_from.recv(65536)


# File descriptors


def test_calls_back_when_something_can_be_read(reactor: Reactor, pair: Pair) -> None:
    got: list[tuple[bytes, bool]] = []
    reactor.io(pair[0].fileno(), lambda r, writable: got.append((pair[0].recv(10), writable)))
    pair[1].send(b'hello')
    reactor.one_tick()
    assert got == [(b'hello', False)]
    reactor.remove(pair[0].fileno())


def test_gives_the_callback_the_reactor(reactor: Reactor, pair: Pair) -> None:
    got: list[Reactor] = []
    reactor.io(pair[0].fileno(), lambda r, writable: got.append(r))
    pair[1].send(b'hello')
    reactor.one_tick()
    assert set(got) == {reactor}


def test_calls_a_handle_by_its_ready(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    reactor.io(pair[0].fileno(), handle)
    pair[1].send(b'hello')
    reactor.one_tick()
    assert handle.calls == [(True, False)]


def test_does_not_ask_for_writing_unless_told(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder()
    reactor.io(pair[0].fileno(), handle)
    reactor.timer(lambda r: None, 0)
    reactor.one_tick()
    assert handle.calls == []


def test_calls_back_when_something_can_be_written(reactor: Reactor, pair: Pair) -> None:
    got: list[bool] = []
    fd = pair[0].fileno()
    reactor.io(fd, lambda r, writable: got.append(writable)).watch(fd, False, True)
    reactor.one_tick()
    assert set(got) == {True}


def test_tells_reading_and_writing_when_both_are_wanted(reactor: Reactor, pair: Pair, run_until: Any) -> None:
    got: set[bool] = set()
    fd = pair[0].fileno()
    reactor.io(fd, lambda r, writable: got.add(writable)).watch(fd, True, True)
    pair[1].send(b'hello')
    run_until(reactor, lambda: got == {True, False})


def test_a_callback_that_ends_the_watch_is_not_called_for_the_other_half(reactor: Reactor, pair: Pair) -> None:
    got: list[bool] = []
    fd = pair[0].fileno()

    def once(r: Reactor, writable: bool) -> None:
        got.append(writable)
        r.remove(fd)

    reactor.io(fd, once).watch(fd, True, True)
    pair[1].send(b'hello')
    reactor.start()
    assert len(got) == 1


def test_watching_for_nothing_lets_a_descriptor_sleep(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    fd = pair[0].fileno()
    reactor.io(fd, handle).watch(fd, False, False)
    pair[1].send(b'hello')
    pair[1].shutdown(socket.SHUT_WR)
    reactor.timer(lambda r: None, 0)
    reactor.one_tick()
    assert handle.calls == []
    reactor.watch(fd, True, False)
    reactor.one_tick()
    assert set(handle.calls) == {(True, False)}


def test_what_is_left_unread_is_told_again(reactor: Reactor, pair: Pair) -> None:
    got: list[bytes] = []
    reactor.io(pair[0].fileno(), lambda r, writable: got.append(pair[0].recv(1)))
    pair[1].send(b'abc')
    while len(got) < 3:
        reactor.one_tick()
    assert got == [b'a', b'b', b'c']


def test_the_end_of_the_stream_can_be_read(reactor: Reactor, pair: Pair) -> None:
    got: list[bytes] = []
    reactor.io(pair[0].fileno(), lambda r, writable: got.append(pair[0].recv(1)))
    pair[1].close()
    reactor.one_tick()
    assert set(got) == {b''}


def test_a_removed_descriptor_is_silent(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    reactor.io(pair[0].fileno(), handle)
    assert reactor.remove(pair[0].fileno()) is True
    assert reactor.remove(pair[0].fileno()) is False
    pair[1].send(b'hello')
    reactor.timer(lambda r: None, 0)
    reactor.one_tick()
    assert handle.calls == []


def test_a_descriptor_removed_by_another_callback_gets_no_stale_event(reactor: Reactor) -> None:
    first, second = socket.socketpair(), socket.socketpair()
    ends = {first[0].fileno(): first[0], second[0].fileno(): second[0]}
    called: list[int] = []

    def remover(fd: int) -> Callable[[Reactor, bool], None]:
        def ready(r: Reactor, writable: bool) -> None:
            called.append(fd)
            for other in ends:
                r.remove(other)

        return ready

    for fd in ends:
        reactor.io(fd, remover(fd))
    first[1].send(b'x')
    second[1].send(b'x')
    reactor.start()
    assert len(called) == 1
    for end in (*first, *second):
        end.close()


def test_a_reused_descriptor_number_gets_no_event_of_the_old_one(reactor: Reactor) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    fresh: list[socket.socket] = []
    stale: list[bool] = []

    def replace(mine: int, other: int) -> Callable[[Reactor, bool], None]:
        def ready(r: Reactor, writable: bool) -> None:
            for pair in pairs:
                r.remove(pair[0].fileno())
            number = pairs[other][0].fileno()
            pairs[other][0].close()
            fresh.extend(socket.socketpair())
            if number not in [end.fileno() for end in fresh]:
                os.dup2(fresh[0].fileno(), number)
                fresh.append(socket.socket(fileno=number))
            r.io(number, lambda r, writable: stale.append(writable))

        return ready

    reactor.io(pairs[0][0].fileno(), replace(0, 1))
    reactor.io(pairs[1][0].fileno(), replace(1, 0))
    for pair in pairs:
        pair[1].send(b'x')
    reactor.one_tick()
    reactor.timer(lambda r: None, 0)
    reactor.one_tick()
    assert stale == []
    reactor.reset()
    for end in (*pairs[0], *pairs[1], *fresh):
        end.close()


def test_io_once_more_replaces_the_callback(reactor: Reactor, pair: Pair) -> None:
    old, new = Recorder(), Recorder(pair[0])
    reactor.io(pair[0].fileno(), old).io(pair[0].fileno(), new)
    pair[1].send(b'x')
    reactor.one_tick()
    assert (old.calls, new.calls) == ([], [(True, False)])


def test_a_descriptor_that_was_closed_before_its_time_can_still_be_removed(reactor: Reactor) -> None:
    ends = socket.socketpair()
    fd = ends[0].fileno()
    reactor.io(fd, Recorder()).watch(fd, True, True)
    for end in ends:
        end.close()
    assert reactor.remove(fd)
    reactor.start()


def test_a_descriptor_that_was_closed_before_its_time_does_no_harm_while_a_copy_is_open(reactor: Reactor) -> None:
    """As a forked child has one: the kernel goes on to report what comes there."""
    ends = socket.socketpair()
    copy = ends[0].dup()
    fd = ends[0].fileno()
    calls = Recorder()
    reactor.io(fd, calls)
    ends[0].close()
    assert reactor.remove(fd)
    ends[1].send(b'x')
    for _ in range(3):
        reactor.timer(lambda r: None, 0)
        reactor.one_tick()
        memory = [Recorder() for _ in range(1000)]  # it may lie where what was removed has been
    assert calls.calls == [] and memory
    for end in (ends[1], copy):
        end.close()


def test_watching_an_unknown_descriptor_is_refused(reactor: Reactor) -> None:
    with pytest.raises(ValueError, match=r'call io\(99, …\) first'):
        reactor.watch(99, True, True)


def test_only_something_to_call_can_be_a_callback(reactor: Reactor, pair: Pair) -> None:
    with pytest.raises(TypeError, match='io'):
        reactor.io(pair[0].fileno(), 'no function')  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='timer'):
        reactor.timer('no function', 1)  # type: ignore[arg-type]


# Timers


def test_timers_come_in_the_order_of_their_deadlines(reactor: Reactor) -> None:
    got: list[str] = []
    reactor.timer(lambda r: got.append('late'), 0.4)
    reactor.timer(lambda r: got.append('early'), 0.2)
    reactor.timer(lambda r: got.append('first'), 0)
    reactor.timer(lambda r: got.append('second'), 0)
    reactor.start()
    assert got == ['first', 'second', 'early', 'late']


def test_a_timer_comes_once_and_a_recurring_one_until_it_is_removed(reactor: Reactor) -> None:
    got: list[str] = []

    def again_and_again(r: Reactor) -> None:
        got.append('recurring')
        if len(got) == 4:
            r.remove(recurring)

    reactor.timer(lambda r: got.append('once'), 0)
    recurring = reactor.recurring(again_and_again, 0.001)
    reactor.start()
    assert got == ['once', 'recurring', 'recurring', 'recurring']
    assert not recurring.is_active


def test_a_recurring_timer_of_no_time_does_not_keep_the_turn(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    reactor.io(pair[0].fileno(), handle)
    reactor.recurring(lambda r: None, 0)
    pair[1].send(b'x')
    while not handle.calls:
        reactor.one_tick()


def test_a_removed_timer_never_comes(reactor: Reactor) -> None:
    got: list[str] = []
    timer = reactor.timer(lambda r: got.append('removed'), 0.001)
    reactor.timer(lambda r: got.append('other'), 0.002)
    assert reactor.remove(timer) is True
    assert reactor.remove(timer) is False
    reactor.start()
    assert got == ['other']


def test_a_timer_can_remove_another_that_is_due(reactor: Reactor) -> None:
    got: list[str] = []
    reactor.timer(lambda r: r.remove(second), 0)
    second = reactor.timer(lambda r: got.append('second'), 0)
    reactor.start()
    assert got == []


@pytest.mark.parametrize('late', [0, 0.05])
def test_a_timer_set_back_comes_later(reactor: Reactor, late: float) -> None:
    got: list[str] = []
    first = reactor.timer(lambda r: got.append('set back'), 0.001)
    reactor.timer(lambda r: got.append('other'), 0.02)
    reactor.again(first, 0.04)
    time.sleep(late)  # then both are due at once
    reactor.start()
    assert got == ['other', 'set back']


def test_a_timer_set_forward_comes_earlier(reactor: Reactor) -> None:
    other = reactor.timer(lambda r: None, 60)
    hurried = reactor.timer(lambda r: r.stop(), 120)
    reactor.again(hurried, 0.001)
    reactor.start()
    assert other.is_active and not hurried.is_active


def test_a_timer_that_has_come_cannot_be_set_back(reactor: Reactor) -> None:
    timer = reactor.timer(lambda r: None, 0)
    reactor.start()
    with pytest.raises(ValueError, match=r'set a new one with timer\(\)'):
        reactor.again(timer)


@pytest.mark.parametrize('after', [-1, float('nan'), float('inf')])
def test_a_time_that_cannot_pass_is_refused(reactor: Reactor, after: float) -> None:
    with pytest.raises(ValueError, match='not a valid time to wait'):
        reactor.timer(lambda r: None, after)


def test_a_timer_set_by_a_timer_comes_after_it(reactor: Reactor) -> None:
    got: list[str] = []

    def outer(r: Reactor) -> None:
        r.timer(lambda r: got.append('inner'), 0)
        got.append('outer')

    reactor.timer(outer, 0)
    reactor.start()
    assert got == ['outer', 'inner']


def test_setting_a_timer_back_does_not_touch_the_heap() -> None:
    timers = Timers()
    timer = timers.add(lambda r: None, 10, False)
    before = list(timers.heap)
    for _ in range(1000):
        timers.again(timer)
    assert timers.heap == before
    assert timers.due(timers.next(), timers.number) is None, 'the entry came up, but the timer had been set back'
    assert timers.next() == timer.deadline


def test_removed_timers_do_not_pile_up() -> None:
    timers = Timers()
    kept = timers.add(lambda r: None, 10, False)
    for _ in range(10_000):
        timers.cancel(timers.add(lambda r: None, 60, False))
    assert len(timers) == 1
    assert len(timers.heap) < 200
    assert timers.next() == kept.deadline


def test_timers_set_forward_do_not_pile_up() -> None:
    timers = Timers()
    timer = timers.add(lambda r: None, 100_000, False)
    for after in range(50_000, 0, -1):
        timers.again(timer, after)
    assert len(timers.heap) < 200
    assert timers.next() == timer.deadline


# Ticks


def test_a_tick_comes_before_a_timer_that_is_not_due(reactor: Reactor) -> None:
    got: list[str] = []
    reactor.timer(lambda r: got.append('timer'), 60)
    reactor.next_tick(lambda r: got.append('tick'))
    reactor.one_tick()
    assert got == ['tick']


def test_ticks_come_in_order_and_those_they_set_in_the_next_turn(reactor: Reactor) -> None:
    got: list[int] = []

    def first(r: Reactor) -> None:
        got.append(1)
        r.next_tick(lambda r: got.append(4))
        r.timer(lambda r: got.append(3), 0)

    reactor.next_tick(first)
    reactor.next_tick(lambda r: got.append(2))
    reactor.start()
    assert got[:2] == [1, 2]
    assert set(got) == {1, 2, 3, 4}


def test_ticks_that_set_ticks_do_not_starve_the_descriptors(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])

    def forever(r: Reactor) -> None:
        r.next_tick(forever)

    reactor.io(pair[0].fileno(), handle)
    reactor.next_tick(forever)
    pair[1].send(b'x')
    while not handle.calls:
        reactor.one_tick()


# Exceptions


@pytest.fixture(params=['descriptor', 'handle', 'timer', 'tick'])
def raising(request: pytest.FixtureRequest, reactor: Reactor, pair: Pair) -> Callable[[BaseException], None]:
    """Has a callback of each kind raise an exception."""

    def arrange(exc: BaseException) -> None:
        def cb(*args: object) -> None:
            reactor.remove(pair[0].fileno())
            raise exc

        class Raising(Handle):
            def ready(self, readable: bool, writable: bool) -> None:
                cb()

        pair[1].send(b'x')
        match request.param:
            case 'descriptor':
                reactor.io(pair[0].fileno(), cb)
            case 'handle':
                reactor.io(pair[0].fileno(), Raising())
            case 'timer':
                reactor.timer(cb, 0)
            case 'tick':
                reactor.next_tick(cb)

    return arrange


def test_what_a_callback_raises_is_emitted_as_error(reactor: Reactor, raising: Callable[..., None]) -> None:
    got: list[object] = []

    @reactor.on
    def error(r: Reactor, exc: BaseException) -> None:
        got.extend((r, exc))
        r.timer(lambda r: got.append('the loop goes on'), 0)

    exc = RuntimeError('oops')
    raising(exc)
    reactor.start()
    assert got == [reactor, exc, 'the loop goes on']


def test_an_error_with_no_subscriber_is_logged_with_its_traceback(
    reactor: Reactor, raising: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    got: list[str] = []
    raising(RuntimeError('oops'))
    reactor.timer(lambda r: got.append('the loop goes on'), 0.01)
    reactor.start()
    assert got == ['the loop goes on']
    assert [r.levelno for r in caplog.records if r.name == 'pyjows'] == [logging.ERROR]
    assert 'RuntimeError: oops' in caplog.text
    assert 'def cb' not in caplog.text and 'raise exc' in caplog.text


def test_an_error_handler_that_raises_is_logged_too(reactor: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    def worse(r: Reactor, exc: BaseException) -> None:
        raise ValueError('worse')

    def bad(r: Reactor) -> None:
        raise RuntimeError('bad')

    reactor.on('error', worse)
    reactor.next_tick(bad)
    reactor.start()
    assert 'ValueError: worse' in caplog.text
    assert 'RuntimeError: bad' in caplog.text


@pytest.mark.parametrize('leaving', [KeyboardInterrupt, SystemExit])
def test_the_exceptions_that_end_a_program_leave_the_loop(
    reactor: Reactor, raising: Callable[..., None], leaving: type[BaseException]
) -> None:
    raising(leaving())
    with pytest.raises(leaving):
        reactor.start()
    assert not reactor.is_running


def test_a_timer_behind_one_that_left_the_loop_still_comes(reactor: Reactor) -> None:
    got: list[str] = []

    def leave(r: Reactor) -> None:
        raise KeyboardInterrupt

    reactor.timer(leave, 0)
    reactor.timer(lambda r: got.append('second'), 0)
    with pytest.raises(KeyboardInterrupt):
        reactor.start()
    reactor.start()
    assert got == ['second']


# Running


def test_start_returns_when_there_is_nothing_left(reactor: Reactor, pair: Pair) -> None:
    reactor.start()
    reactor.one_tick()
    reactor.io(pair[0].fileno(), lambda r, writable: r.remove(pair[0].fileno()))
    pair[1].send(b'x')
    reactor.start()
    assert not reactor.is_running


def test_stop_ends_start_and_it_can_start_again(reactor: Reactor) -> None:
    got: list[str] = []

    def tick(r: Reactor) -> None:
        assert r.is_running
        got.append('tick')
        r.stop()

    reactor.recurring(tick, 0.001)
    reactor.start()
    reactor.start()
    assert got == ['tick', 'tick']


def test_stop_before_start_does_nothing(reactor: Reactor) -> None:
    got: list[str] = []
    reactor.stop()
    reactor.timer(lambda r: got.append('timer'), 0)
    reactor.start()
    assert got == ['timer']


def test_a_running_reactor_cannot_be_started(reactor: Reactor) -> None:
    got: list[BaseException] = []
    reactor.on('error', lambda r, exc: got.append(exc))
    reactor.next_tick(lambda r: r.start())
    reactor.start()
    assert [type(exc) for exc in got] == [RuntimeError]
    assert 'running already' in str(got[0])


def test_one_tick_waits_until_something_happened(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    reactor.io(pair[0].fileno(), handle)
    thread = threading.Timer(0.05, lambda: pair[1].send(b'x'))
    thread.start()
    reactor.one_tick()
    assert handle.calls == [(True, False)]
    thread.join()


def test_one_tick_inside_a_callback_waits_there(no_leaks: None, pair: Pair) -> None:
    reactor = PollReactor()
    got: list[str] = []

    def outer(r: Reactor) -> None:
        r.timer(lambda r: got.append('inner'), 0)
        r.one_tick()
        got.append('outer')

    reactor.next_tick(outer)
    reactor.start()
    assert got == ['inner', 'outer']
    reactor.close()


def test_reset_forgets_everything(reactor: Reactor, pair: Pair, assert_idle: Any) -> None:
    got: list[str] = []
    reactor.io(pair[0].fileno(), lambda r, writable: got.append('io'))
    reactor.timer(lambda r: got.append('timer'), 0)
    reactor.next_tick(lambda r: got.append('tick'))
    pair[1].send(b'x')
    reactor.reset()
    reactor.start()
    assert got == []
    assert_idle(reactor)


def test_reset_inside_a_callback_ends_the_loop(reactor: Reactor, pair: Pair) -> None:
    got: list[str] = []
    reactor.io(pair[0].fileno(), lambda r, writable: got.append('io'))
    reactor.next_tick(lambda r: r.reset())
    reactor.next_tick(lambda r: got.append('tick'))
    reactor.start()
    assert got == []


def test_reset_while_other_descriptors_are_ready_silences_them(reactor: Reactor) -> None:
    pairs = [socket.socketpair() for _ in range(10)]
    got: list[int] = []

    def reset(r: Reactor, writable: bool) -> None:
        got.append(1)
        r.reset()

    for ours, theirs in pairs:
        reactor.io(ours.fileno(), reset)
        theirs.send(b'x')
    reactor.start()
    assert got == [1]
    for end in (end for pair in pairs for end in pair):
        end.close()


def test_a_reset_reactor_works_again(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    reactor.timer(lambda r: None, 0)
    reactor.start()
    reactor.reset()
    reactor.io(pair[0].fileno(), handle)
    reactor.timer(lambda r: r.stop(), 60)
    pair[1].send(b'x')
    reactor.one_tick()
    assert handle.calls == [(True, False)]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_a_child_that_resets_does_not_disturb_its_parent(reactor: Reactor, pair: Pair) -> None:
    handle = Recorder(pair[0])
    reactor.io(pair[0].fileno(), handle)
    reactor.timer(lambda r: None, 0)
    reactor.one_tick()
    child = os.fork()
    if not child:
        reactor.reset()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    pair[1].send(b'x')
    reactor.one_tick()
    assert handle.calls == [(True, False)]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_a_child_that_is_forked_while_another_thread_wakes_the_loop_can_reset_it(reactor: Reactor) -> None:
    reactor.timer(lambda r: None, 0)
    reactor.one_tick()
    enough = threading.Event()

    def wake() -> None:
        while not enough.is_set():
            reactor.wakeup()

    thread = threading.Thread(target=wake)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)
                reactor.reset()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        enough.set()
        thread.join()


# Threads and signals


def test_another_thread_can_hand_over_a_call(reactor: Reactor, pair: Pair) -> None:
    got: list[int] = []

    def called(r: Reactor) -> None:
        got.append(threading.get_ident())
        r.stop()

    reactor.io(pair[0].fileno(), lambda r, writable: None)
    thread = threading.Timer(0.05, reactor.call_threadsafe, [called])
    thread.start()
    reactor.start()
    thread.join()
    assert got == [threading.get_ident()]


def test_many_threads_can_hand_over_calls(reactor: Reactor, pair: Pair, run_until: Any) -> None:
    got: list[int] = []
    reactor.io(pair[0].fileno(), lambda r, writable: None)

    def work(number: int) -> None:
        for i in range(100):
            reactor.call_threadsafe(lambda r, i=i: got.append(number * 100 + i))

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    run_until(reactor, lambda: len(got) == 800)
    for thread in threads:
        thread.join()


def test_another_thread_can_stop_it(reactor: Reactor, pair: Pair) -> None:
    reactor.io(pair[0].fileno(), lambda r, writable: None)
    thread = threading.Timer(0.05, reactor.stop)
    thread.start()
    reactor.start()
    thread.join()
    assert not reactor.is_running


@pytest.mark.skipif(sys.platform == 'win32', reason='no such signals')
def test_a_signal_handler_can_hand_over_a_call(reactor: Reactor, pair: Pair) -> None:
    got: list[str] = []

    def called(r: Reactor) -> None:
        got.append('called')
        r.stop()

    before = signal.signal(signal.SIGUSR1, lambda number, frame: reactor.call_threadsafe(called))
    try:
        reactor.io(pair[0].fileno(), lambda r, writable: None)
        thread = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
        thread.start()
        reactor.start()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == ['called']


# Coroutines


def test_a_reactor_that_runs_no_coroutines_says_which_does(no_leaks: None) -> None:
    reactor = PollReactor()

    async def work() -> None: ...

    with pytest.raises(RuntimeError, match=r"IOLoop\(reactor='asyncio'\)"):
        reactor.spawn(work())
    with pytest.raises(RuntimeError, match='asyncio'):
        reactor.on('error', work)
    reactor.close()


def test_runs_coroutines_where_it_can(reactor: Reactor, coroutines: None) -> None:
    got: list[object] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        got.append('worked')

    async def fail() -> None:
        raise RuntimeError('oops')

    reactor.on('error', lambda r, exc: got.append(str(exc)))
    reactor.spawn(fail())
    reactor.spawn(work())
    reactor.start()
    assert got == ['oops', 'worked']


def test_a_coroutine_may_listen_to_error(reactor: Reactor, coroutines: None) -> None:
    got: list[str] = []

    @reactor.on
    async def error(r: Reactor, exc: BaseException) -> None:
        await asyncio.sleep(0)
        got.append(str(exc))

    def fail(r: Reactor) -> None:
        raise RuntimeError('oops')

    reactor.next_tick(fail)
    reactor.start()
    assert got == ['oops']


# Inside asyncio


def hosts() -> list[Any]:
    """What makes the asyncio loops that may run us."""
    made = [asyncio.new_event_loop]
    if 'uvloop' in reactors.available():
        import uvloop

        made.append(uvloop.new_event_loop)
    return made


@pytest.fixture(params=hosts(), ids=lambda factory: factory.__module__.partition('.')[0])
def host(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """An asyncio program."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


def test_rides_on_the_loop_that_is_running(host: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        reactor = reactors.choose()
        assert isinstance(reactor, AsyncioReactor)
        assert reactor.loop is asyncio.get_running_loop()
        assert reactor.is_running
        got: list[str] = []
        done = asyncio.Event()
        reactor.io(pair[0].fileno(), lambda r, writable: got.append(pair[0].recv(9).decode()))
        reactor.timer(lambda r: done.set(), 0.05)
        reactor.next_tick(lambda r: got.append('tick'))
        pair[1].send(b'read')
        await done.wait()
        assert sorted(got) == ['read', 'tick']
        reactor.close()

    host.run(main())


def test_says_that_the_host_runs_the_loop(host: asyncio.Runner) -> None:
    async def main() -> None:
        reactor = reactors.choose('asyncio')
        with pytest.raises(RuntimeError, match=r'start\(\) cannot run it'):
            reactor.start()
        with pytest.raises(RuntimeError, match='await what you wait for'):
            reactor.one_tick()
        reactor.stop()  # not ours to stop: goes on
        await asyncio.sleep(0)
        reactor.close()

    host.run(main())


def test_rides_on_a_given_loop_and_leaves_it_open(no_leaks: None) -> None:
    loop = asyncio.new_event_loop()
    reactor = AsyncioReactor(loop)
    got: list[str] = []
    reactor.timer(lambda r: got.append('timer'), 0)
    reactor.start()
    reactor.close()
    assert got == ['timer']
    assert not loop.is_closed()
    loop.close()
    reactor.close()


def test_serves_in_a_loop_that_somebody_else_runs_later(no_leaks: None) -> None:
    loop = asyncio.new_event_loop()
    reactor = AsyncioReactor(loop)
    got: list[str] = []
    reactor.timer(lambda r: got.append('timer'), 0)
    loop.run_until_complete(asyncio.sleep(0.05))
    assert got == ['timer']
    loop.close()


def test_closing_a_loop_of_its_own_ends_the_tasks_that_others_have_left(
    reactor_name: str, coroutines: None, no_leaks: None
) -> None:
    reactor = reactors.choose(reactor_name)
    ended: list[str] = []

    async def left() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append('left')

    async def leaves() -> None:
        task = asyncio.get_running_loop().create_task(left())
        task.add_done_callback(lambda task: ended.append(str(task.cancelled())))
        await asyncio.sleep(0)

    reactor.spawn(leaves())
    reactor.start()
    reactor.close()
    assert ended == ['left', 'True']


# Choosing


def test_every_available_reactor_can_be_chosen_by_its_name(reactor_name: str, no_leaks: None) -> None:
    reactor = reactors.choose(reactor_name)
    assert reactor.name == reactor_name
    assert reactors.choose(reactor) is reactor
    reactor.close()
    again = reactors.choose(type(reactor))
    assert type(again) is type(reactor)
    again.close()


def test_the_environment_chooses(reactor_name: str, monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> None:
    monkeypatch.setenv('PYJOWS_REACTOR', reactor_name)
    reactor = reactors.choose()
    assert reactor.name == reactor_name
    reactor.close()


def test_the_best_is_chosen_outside_of_asyncio(monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> None:
    monkeypatch.delenv('PYJOWS_REACTOR', raising=False)
    reactor = reactors.choose()
    assert reactor.name == reactors.available()[0]
    assert reactor.name in ('epoll', 'poll')
    reactor.close()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no reactor 'perl' here: choose one of .*poll, asyncio"):
        reactors.choose('perl')
    with pytest.raises(TypeError, match='not 42'):
        reactors.choose(42)  # type: ignore[arg-type]


def test_a_package_can_add_a_reactor_by_entry_point(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    (tmp_path / 'their_reactor.py').write_text(
        'from pyjows.reactor.poll import PollReactor\nclass TheirReactor(PollReactor):\n    name = "theirs"\n'
    )
    info = tmp_path / 'their_reactor-1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: their-reactor\nVersion: 1\n')
    (info / 'entry_points.txt').write_text('[pyjows.reactors]\ntheirs = their_reactor:TheirReactor\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert 'theirs' in reactors.available()
    reactor = reactors.choose('theirs')
    got: list[str] = []
    reactor.timer(lambda r: got.append(r.name), 0)
    reactor.start()
    assert got == ['theirs']
    reactor.close()


def test_statistics_tell_what_a_reactor_waits_for(reactor):
    assert reactor.statistics() == {'descriptors': 0, 'timers': 0, 'next_timer': math.inf}
    one, other = socket.socketpair()
    reactor.io(one.fileno(), lambda reactor, writable: None)
    timer = reactor.timer(lambda reactor: None, 100)
    found = reactor.statistics()
    assert 99 < found.pop('next_timer') <= 100
    assert found == {'descriptors': 1, 'timers': 1}
    reactor.remove(one.fileno())
    reactor.remove(timer)
    assert (reactor.statistics()['descriptors'], reactor.statistics()['timers']) == (0, 0)
    one.close()
    other.close()
