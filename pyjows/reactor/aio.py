"""The reactor on an asyncio loop: asyncio's own, uvloop's, or any other with ``add_reader``.

Owns the translation. All file descriptors are registered with the system's poller (epoll, kqueue), as in the reactor
without asyncio, and the asyncio loop watches that poller's own descriptor: one callback of the host's a turn, however
many connections are ready. (It also makes connection resets visible: uvloop drops a reader silently when one comes.)
The earliest deadline becomes one ``call_later``, ticks become one ``call_soon``. The heap of timers stays ours, so that
setting a timer back costs no more here than elsewhere.

A loop that is running when the reactor is made belongs to a host, which runs and closes it: `start` and `one_tick`
raise RuntimeError. A loop that the reactor made itself is run and closed by the reactor.

`asyncio.run` closes its loop with no notice to what uses it, except to asynchronous generators: it finalizes them first
(`shutdown_asyncgens`), while the loop still runs. The reactor on a host's loop therefore starts one, which emits
``shutdown`` then, gives handlers a moment to end, emits ``end``, gives what that began a moment too, and closes the
reactor.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, cast

from ..waiter import CurrentTask, DirectCoroutine, TaskGate
from .base import Watcher
from .host_turn import HostTurn
from .timers import Timer

if TYPE_CHECKING:
    from .poll import PollReactor as PollingReactor
else:
    try:
        from .epoll import EpollReactor as PollingReactor
    except ImportError:  # not compiled
        from .poll import PollReactor as PollingReactor

__all__ = ['AsyncioReactor', 'UvloopReactor']

_HOST_RUNS = (
    'the asyncio loop is running already, so {method} cannot run it. '
    'Inside a coroutine, await what you wait for: the loop serves pyjows meanwhile'
)

_ENTER_TASK: Any = asyncio._enter_task
_LEAVE_TASK: Any = asyncio._leave_task


def _running_tasks() -> dict[Any, Any] | None:
    """asyncio's dictionary of the current task of each loop; None where a trial does not find it (CPython 3.14)."""
    running = getattr(asyncio.tasks, '_current_tasks', None)
    probe = object()
    try:
        _ENTER_TASK(probe, probe)
    except RuntimeError:
        return None
    try:
        return running if type(running) is dict and running.get(probe) is probe else None
    finally:
        _LEAVE_TASK(probe, probe)


_RUNNING_TASKS = _running_tasks()

# Seconds that coroutine handlers have to end when the host shuts its loop down, and what is spawned at its end.
_SHUTDOWN_TIMEOUT = 1.0
_END_TIMEOUT = 3.0


class AsyncioReactor(PollingReactor):
    """A `Reactor` on an asyncio loop; it runs coroutines.

    Args:
        loop: the asyncio loop; by default the one that is running, else a new one.

    Events:
        ``shutdown`` ``(reactor)``: the host is about to close its loop, which still runs.
        ``end`` ``(reactor)``: then, when the coroutine handlers have ended, or their time is over; coroutines that are
            spawned now have a moment to end.
        ``close`` ``(reactor)``: nothing can run any more.

    Attributes:
        loop: the asyncio loop.
    """

    _own_events = frozenset(('error', 'shutdown', 'end', 'close', 'new_listener'))

    name = 'asyncio'
    can_spawn = True
    task_gate: TaskGate

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._own_loop = False
        self._owner = os.getpid()
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                loop = self._new_loop()
                self._own_loop = True
        self.loop = loop
        self._current_task = CurrentTask(loop, _ENTER_TASK, _LEAVE_TASK, _RUNNING_TASKS)
        self.task_gate = TaskGate(loop, asyncio.CancelledError, self._current_task)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._stop_call: asyncio.Handle | None = None
        self._alarm_at = math.inf
        self._ticks_scheduled = False
        self._until_event = False
        self._host_watch: AsyncGeneratorType[None, None] | None = None
        super().__init__()
        if not self._own_loop and loop.is_running():
            self._host_watch = cast('AsyncGeneratorType[None, None]', self._watch_host())
            _run_to_yield(self._host_watch.__anext__())

    async def _watch_host(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            if self._host_watch is not None:  # it was not closed before
                self._emit_safely('shutdown')
                await asyncio.sleep(0)  # the ticks
                await self._wait_for_tasks(frozenset(), _SHUTDOWN_TIMEOUT)
                left = self.tasks
                self._emit_safely('end')
                await self._wait_for_tasks(left, _END_TIMEOUT)
                self._host_watch = None
                self._emit_safely('close')
                self.close()

    async def _wait_for_tasks(self, without: frozenset[asyncio.Task[Any]], seconds: float) -> None:
        until = monotonic() + seconds
        while (left := self.tasks - without) and (seconds := until - monotonic()) > 0:
            await asyncio.wait(left, timeout=seconds)

    @property
    def is_closed(self) -> bool:
        """Whether the asyncio loop is closed."""
        return self.loop.is_closed()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        # Windows' default loop (a proactor) has no add_reader.
        return asyncio.SelectorEventLoop() if sys.platform == 'win32' else asyncio.new_event_loop()

    @property
    def is_running(self) -> bool:
        """Whether the asyncio loop is running, run by the reactor or by a host."""
        return self.loop.is_running()

    # File descriptors

    def _open(self) -> None:
        # The poller is open only while there is something to watch.
        self._is_attached = False

    def _add(self, watcher: Watcher) -> None:
        if not self._is_attached:
            super()._open()
            try:
                self.loop.add_reader(self._fileno(), HostTurn(self))
            except BaseException:
                super()._shut()
                raise
            self._is_attached = True
        super()._add(watcher)

    def _drop(self, watcher: Watcher, was_read: bool, was_write: bool) -> None:
        super()._drop(watcher, was_read, was_write)
        if not self._watchers:
            self._shut()

    def _shut(self) -> None:
        if self._is_attached:
            self._is_attached = False
            if not self.loop.is_closed() and self._owner == os.getpid():
                self.loop.remove_reader(self._fileno())
            super()._shut()

    def remove(self, what: int | Timer) -> bool:
        removed = super().remove(what)
        self._stop_if_done(0)
        return removed

    # Time

    def timer(self, cb: Callable[[Any], object], after: float) -> Timer:
        timer = super().timer(cb, after)
        self._set_alarm(timer.deadline)
        return timer

    def recurring(self, cb: Callable[[Any], object], after: float) -> Timer:
        timer = super().recurring(cb, after)
        self._set_alarm(timer.deadline)
        return timer

    def again(self, timer: Timer, after: float | None = None) -> None:
        self._timers.again(timer, after)
        if timer.deadline < self._alarm_at:
            self._set_alarm(timer.deadline)

    def _set_alarm(self, deadline: float) -> None:
        if deadline < self._alarm_at and not self.loop.is_closed():
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = deadline
            self._alarm = self.loop.call_later(max(0.0, deadline - monotonic()), self._on_alarm)

    def _on_alarm(self) -> None:
        self.thread.enter()
        self._alarm = None
        self._alarm_at = math.inf
        try:
            handled = self._run_timers()
        finally:
            self._set_alarm(self._timers.next())
        self._stop_if_done(handled)

    def next_tick(self, cb: Callable[[Any], object]) -> None:
        self._ticks.append(cb)
        self._schedule_ticks()

    def _schedule_ticks(self) -> None:
        if not self._ticks_scheduled and not self.loop.is_closed():
            self._ticks_scheduled = True
            self.loop.call_soon(self._on_ticks)

    def _on_ticks(self) -> None:
        self.thread.enter()
        self._ticks_scheduled = False
        self.task_gate.is_open = True
        try:
            handled = self._run_ticks()
        except BaseException:  # KeyboardInterrupt, SystemExit
            if self._ticks:  # they are called when the loop runs again
                self._schedule_ticks()
            raise
        finally:
            self.task_gate.is_open = False
        self._stop_if_done(handled)

    # Other threads, coroutines

    def wakeup(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._on_ticks)

    @contextmanager
    def signals(self, cb: Callable[[int], object], *numbers: int) -> Iterator[None]:
        """While the context lasts, ``cb(number)`` is called for each of these signals, as in `Reactor.signals`."""
        with ExitStack() as stack:
            for number in numbers:
                before = signal.getsignal(number)
                # The asyncio loop's own handler is called from the loop alone; it is kept for waking the loop up.
                self.loop.add_signal_handler(number, int)
                stack.callback(signal.signal, number, before)
                stack.callback(self.loop.remove_signal_handler, number)
                signal.signal(number, lambda number, frame: cb(number))
            yield

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside everything else, and return its task; what it raises is emitted as ``error``."""
        direct = DirectCoroutine(coroutine, self._current_task)
        task: asyncio.Task[Any] = self.loop.create_task(direct)
        if not task.done():  # it may have run already (`asyncio.eager_task_factory`)
            direct.task = task
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks of the coroutines that it runs."""
        return frozenset(self._tasks)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, (KeyboardInterrupt, SystemExit)):  # these asyncio has raised already
            self._failed(exc)
        self._stop_if_done(1)

    # Running

    def one_tick(self) -> None:
        """Run until at least one event was handled, or there is nothing left to wait for.

        Raises:
            RuntimeError: the asyncio loop is running already.
        """
        self._check_host('one_tick()')
        self._until_event = True
        try:
            self._run()
        finally:
            self._until_event = False

    def start(self) -> None:
        """Run until `stop`, or until there is nothing left to wait for.

        Raises:
            RuntimeError: the asyncio loop is running already.
        """
        self._check_host('start()')
        self._run()

    def stop(self) -> None:
        """Have `start` return when the current turn is done. A loop that a host runs goes on."""
        if self._running:
            self._running = False
            self._stop_call = self.loop.call_soon_threadsafe(self.loop.stop)

    def reset(self) -> None:
        # Not by `remove`: a forked child shares the kernel's objects with its parent, and must leave them as they are.
        for watcher in self._watchers.values():
            watcher.read = watcher.write = False
        self._shut()
        self._watchers.clear()
        self._timers.clear()
        self._ticks.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._alarm_at = math.inf
        if not self.loop.is_closed():
            for task in self._tasks:
                task.cancel()
        self._stop_if_done(0)

    def close(self) -> None:
        """`reset`, and close the asyncio loop if the reactor made it."""
        if self._host_watch is not None:
            host_watch, self._host_watch = self._host_watch, None
            if not host_watch.ag_running:
                _run_to_yield(host_watch.aclose())
        self.stop()
        self.reset()
        is_own = self._own_loop and self._owner == os.getpid()
        if is_own and not self.loop.is_running() and not self.loop.is_closed():
            if left := asyncio.all_tasks(self.loop):
                for task in left - self._tasks:  # a library has left them; `reset` has cancelled ours
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(left))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
        self._shut()

    def _check_host(self, method: str) -> None:
        if self.loop.is_running():
            raise RuntimeError(_HOST_RUNS.format(method=method))

    def _run(self) -> None:
        self._running = True
        self.thread.enter()
        try:
            while self._running and self._has_work():
                self.loop.run_forever()
        finally:
            self._running = False
            if self._stop_call is not None:
                self._stop_call.cancel()  # where the loop had stopped before it, it would end the next run of the loop
                self._stop_call = None

    def _has_work(self) -> bool:
        return bool(self._tasks) or super()._has_work()

    def _stop_if_done(self, handled: int) -> None:
        """Callbacks ran: end `one_tick` if one was handled, and `start` if nothing is left to wait for."""
        if self._running:
            if self._until_event and handled:
                self._running = False
                self.loop.stop()
            elif not self._watchers and not self._has_work():
                self.loop.stop()  # `_run` checks again: there may be work by the end of this turn


def _run_to_yield(awaitable: Any) -> None:
    """Run an asynchronous generator that awaits nothing to its next ``yield`` or its end, with no task."""
    try:
        awaitable.send(None)
    except StopIteration:
        pass


class UvloopReactor(AsyncioReactor):
    """An `AsyncioReactor` whose own loop is uvloop's."""

    name = 'uvloop'

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        try:
            import uvloop
        except ImportError as exc:
            raise ImportError(
                "the uvloop reactor needs the package uvloop, which is not installed: pip install 'pyjows[uvloop]'"
            ) from exc
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
