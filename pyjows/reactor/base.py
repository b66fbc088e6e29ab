"""`Reactor`: waits for file descriptors and for time, and calls back.

Owns what all reactors share: the watchers, the timers, the next ticks, the order of callbacks in a turn, and the
handling of exceptions. Must not know streams or what a descriptor carries, nor how the waiting is done: that is one
small subclass a file (`poll`, `epoll`, `aio`).

One turn of the loop is

1. wait, until a file descriptor is ready or a timer is due (not at all while ticks wait),
2. the callbacks of the ready file descriptors,
3. the timers that are due,
4. the ticks queued so far; those queued by them belong to the next turn.

What a callback raises never leaves the loop, except KeyboardInterrupt and SystemExit: it is emitted as ``error``, or
logged where ``error`` has no subscriber, and the loop goes on.

A `Watcher` is the registration of one file descriptor. It goes dead (it wants neither reading nor writing) at the
moment of removal. Readiness that the kernel had reported before is delivered to the watcher, never to a bare
descriptor number, so that it cannot reach a later watcher of a descriptor that got the same number in the same turn.
A native reactor may leave bare pointers to watchers with the kernel. It keeps the watchers that are removed (`_drop`,
`_shut`) alive until the wait that may still refer to them has returned.

To write a reactor, subclass `Reactor` and override `_wait`, `_add`, `_modify` and `_drop`; override `_open` and
`_shut` when there is something to open. Name it in the entry point group ``pyjows.reactors`` to have it chosen by
name.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any, ClassVar, NoReturn, Self

from ..emitter import EmitterCore, EventEmitter
from ..errors import ConnectionClosed
from ..loop_thread import LoopThread
from ..safe_logger import SafeLogger
from .timers import Timer, Timers

__all__ = ['Handle', 'Reactor', 'Watcher']

_log = SafeLogger('pyjows')

# What ends the program, and is never swallowed.
_ENDING = (KeyboardInterrupt, SystemExit)

# Kernels take the time to wait in 32 bits of milliseconds; waking up once an hour is cheap.
_MAX_WAIT = 3600.0


class Handle(EmitterCore):
    """What a reactor calls when its file descriptor is ready; subclass it and override `ready`."""

    def ready(self, readable: bool, writable: bool) -> None:
        """The file descriptor is ready for what the flags say, and it was wanted (`Reactor.watch`).

        At most one call a turn. An error or hang-up counts as readiness for all that is wanted: the next system call
        reports it.
        """
        raise NotImplementedError

    def dispatch(self, readable: bool, writable: bool) -> None:
        """What a native reactor calls: a compiled handle overrides it to be called as a C method."""
        self.ready(readable, writable)


class Callback(Handle):
    """A plain function as a handle."""

    def __init__(self, reactor: Reactor, f: Callable[[Any, bool], object]) -> None:
        Handle.__init__(self)
        self.reactor = reactor
        self.f = f
        self.watcher: Watcher | None = None

    def ready(self, readable: bool, writable: bool) -> None:
        if readable:
            self.f(self.reactor, False)
        # The first call may have removed the watcher, or its interest in writing.
        if writable and self.watcher is not None and self.watcher.write:
            self.f(self.reactor, True)


class Watcher:
    """The registration of one file descriptor.

    Attributes:
        fd: the file descriptor.
        handle: what is called.
        read, write: which readiness is wanted; both False once it is removed.
        data: for the reactor's own use.
    """

    __slots__ = ('data', 'fd', 'handle', 'read', 'write')

    def __init__(self, fd: int, handle: Handle, read: bool, write: bool) -> None:
        self.fd = fd
        self.handle = handle
        self.read = read
        self.write = write
        self.data: Any = None


class Waker(Handle):
    """A socket pair: a byte written to one end (by a thread or a signal) wakes a reactor that waits for the other."""

    def __init__(self) -> None:
        Handle.__init__(self)
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.writer.setblocking(False)

    def ready(self, readable: bool, writable: bool) -> None:
        try:
            while len(self.reader.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def wake(self) -> None:
        try:
            self.writer.send(b'\0')
        except BlockingIOError:
            pass  # full: the reader is readable already

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


class Reactor(EventEmitter):
    """Waits for file descriptors and for time, and calls back.

    Synopsis::

        reactor = PollReactor()

        def hello(reactor):
            print('hello')

        reactor.recurring(hello, after=1)
        reactor.start()

    Events:
        ``error`` ``(reactor, exc)``: a callback raised; without a subscriber it is logged with its traceback, on the
            logger ``pyjows``.

    Attributes:
        name: the name by which it is chosen.
        can_spawn: whether it runs coroutines.
        is_running: whether it is inside `start` or `one_tick`.
        is_closed: whether it was closed.
        thread: the thread that it belongs to (`LoopThread`).
        tasks: the coroutines that it runs (`spawn`), as tasks of asyncio.
        task_gate: for the waiters of the coroutines that it runs (`TaskGate`); None where it runs none.

    Methods: `io`, `watch`, `remove`, `timer`, `recurring`, `again`, `next_tick`, `raise_later`, `report`,
    `call_threadsafe`, `spawn`, `one_tick`, `start`, `stop`, `wakeup`, `reset`, `close`, `statistics`.

    A reactor belongs to the thread that runs it: from others, and from signal handlers, call nothing but
    `call_threadsafe`, `wakeup` and `stop`.
    """

    _own_events = frozenset(('error', 'new_listener'))

    name: ClassVar[str] = ''
    can_spawn: ClassVar[bool] = False
    task_gate: Any = None

    def __init__(self) -> None:
        EventEmitter.__init__(self)
        self._watchers: dict[int, Watcher] = {}
        self._timers = Timers()
        self._ticks: deque[Callable[[Any], object]] = deque()
        self._running = False
        self._closed = False
        self.thread = LoopThread(self.call_threadsafe)
        self._waker: Waker | None = None
        self._waker_watcher: Watcher | None = None
        # Reentrant: a signal handler may call `wakeup` in the thread that holds it.
        self._waker_lock = threading.RLock()
        self._waker_process = os.getpid()
        self._open()

    def __repr__(self) -> str:
        return (
            f'<{type(self).__name__} {"running" if self.is_running else "idle"} '
            f'descriptors={len(self._watchers)} timers={len(self._timers)}>'
        )

    @property
    def is_running(self) -> bool:
        """Whether it is inside `start` or `one_tick`."""
        return self._running

    def statistics(self) -> dict[str, float]:
        """Numbers of ``descriptors`` and ``timers`` that it waits for, and ``next_timer``, the seconds after which it
        looks at its timers again (infinite without one).
        """
        return {
            'descriptors': len(self._watchers),
            'timers': len(self._timers),
            'next_timer': max(0.0, self._timers.next() - monotonic()),
        }

    # File descriptors

    def io(self, fd: int, cb: Handle | Callable[[Any, bool], object]) -> Self:
        """Watch a file descriptor, for reading at first. It replaces an earlier watch of the same descriptor.

        Args:
            fd: the file descriptor; it must stay open until `remove`.
            cb: a `Handle`, or a function that is called ``cb(reactor, writable)``: with False when there is something
                to read, with True when something can be written.

        Raises:
            TypeError: the callback cannot be called.
            OSError: the system cannot watch this descriptor.
        """
        if not isinstance(cb, Handle):
            if not callable(cb):
                raise TypeError(f'io() takes a Handle or a function to call, not {cb!r}')
            cb = Callback(self, cb)
        if fd in self._watchers:
            # The descriptor may have been closed and its number reused meanwhile: register it with the kernel again.
            self.remove(fd)
        watcher = Watcher(fd, cb, True, False)
        if isinstance(cb, Callback):
            cb.watcher = watcher
        self._add(watcher)
        self._watchers[fd] = watcher
        return self

    def watch(self, fd: int, read: bool, write: bool) -> Self:
        """Set which readiness of a file descriptor is wanted; with neither, it stays registered and is not watched.

        Raises:
            ValueError: `io` was not called for it.
            OSError: the system cannot watch this descriptor; it is watched as before.
        """
        watcher = self._watchers.get(fd)
        if watcher is None:
            raise ValueError(f'file descriptor {fd} is not watched: call io({fd}, …) first')
        if watcher.read != read or watcher.write != write:
            was_read, was_write = watcher.read, watcher.write
            watcher.read, watcher.write = bool(read), bool(write)
            try:
                self._modify(watcher, was_read, was_write)
            except OSError:
                watcher.read, watcher.write = was_read, was_write
                raise
        return self

    def remove(self, what: int | Timer) -> bool:
        """Remove a file descriptor (before it is closed) or a timer; returns whether it was there."""
        if isinstance(what, Timer):
            return self._timers.cancel(what)
        watcher = self._watchers.pop(what, None)
        if watcher is None:
            return False
        was_read, was_write = watcher.read, watcher.write
        watcher.read = watcher.write = False
        self._drop(watcher, was_read, was_write)
        return True

    # Time

    def timer(self, cb: Callable[[Any], object], after: float) -> Timer:
        """Call ``cb(reactor)`` once, `after` seconds from now.

        Raises:
            TypeError, ValueError: the callback cannot be called, or `after` is not 0 or a positive number.
        """
        return self._timers.add(cb, after, False)

    def recurring(self, cb: Callable[[Any], object], after: float) -> Timer:
        """Call ``cb(reactor)`` every `after` seconds; raises as `timer` does."""
        return self._timers.add(cb, after, True)

    def again(self, timer: Timer, after: float | None = None) -> None:
        """Set a timer back, to be due `after` seconds from now (by default as many as before); costs next to nothing.

        Raises:
            ValueError: it has expired or was removed.
        """
        self._timers.again(timer, after)

    def next_tick(self, cb: Callable[[Any], object]) -> None:
        """Call ``cb(reactor)`` when the current callbacks are done, before the next wait."""
        self._ticks.append(cb)

    def raise_later(self, exc: BaseException) -> None:
        """Raise KeyboardInterrupt or SystemExit from `start` on the next tick, once the current callbacks are done.

        For code that must not be left halfway by what a handler raised. Any other exception was reported before, and is
        not raised again.
        """
        if isinstance(exc, _ENDING):

            def raise_now(reactor: Any) -> None:
                raise exc

            self.next_tick(raise_now)

    def report(self, exc: BaseException) -> None:
        """Emit ``error`` for what a handler raised, or log it; KeyboardInterrupt and SystemExit are raised later."""
        if isinstance(exc, _ENDING):
            self.raise_later(exc)
        else:
            self._failed(exc)

    # Other threads, coroutines

    def check_thread(self, method: str) -> None:
        """Raise RuntimeError if another thread than the current one runs the reactor."""
        if self.is_running:
            self.thread.check(method)

    def call_threadsafe(self, cb: Callable[[Any], object]) -> None:
        """`next_tick` for other threads and for signal handlers."""
        self._ticks.append(cb)
        self.wakeup()

    def wakeup(self) -> None:
        """End a wait that is under way, or the next one, at once; for other threads and for signal handlers."""
        with self._waker_lock:
            if self._waker is not None:
                self._waker.wake()

    @contextmanager
    def signals(self, cb: Callable[[int], object], *numbers: int) -> Iterator[None]:
        """While the context lasts, ``cb(number)`` is called for each of these signals.

        It is called as `signal.signal` calls its handlers: in the main thread, in the middle of whatever runs there.
        What it raises is raised there. `call_threadsafe` defers a call to the loop.

        While no Python code runs, a signal only sets a flag in the interpreter, which a reactor that is about to wait
        would not see. The signal therefore also wakes the reactor (`signal.set_wakeup_fd`).

        Raises:
            ValueError: this is not the main thread, the only one in which Python runs signal handlers.
        """
        with ExitStack() as stack:
            for number in numbers:
                stack.callback(signal.signal, number, signal.signal(number, lambda number, frame: cb(number)))
            self._open_waker()
            assert self._waker is not None
            fd = self._waker.writer.fileno()
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(fd, warn_on_full_buffer=False))
            yield

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine beside everything else, and return its task; what it raises is emitted as ``error``.

        Raises:
            RuntimeError: this reactor runs no coroutines.
        """
        coroutine.close()
        raise RuntimeError(
            f'the {self.name} reactor runs no coroutines: use a plain function, '
            "or a loop on asyncio: IOLoop(reactor='asyncio'), or PYJOWS_REACTOR=asyncio"
        )

    @property
    def tasks(self) -> frozenset[Any]:
        """The tasks of the coroutines that it runs; none where it runs none."""
        return frozenset()

    # Running

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def one_tick(self) -> None:
        """Run until at least one event was handled, or there is nothing left to wait for.

        It may be called from a callback: a loop within the loop. `stop` then ends both.
        """
        if self._running:
            self._run_until_event()
            return
        self._running = True
        self.thread.enter()
        try:
            self._run_until_event()
        finally:
            self._running = False

    def start(self) -> None:
        """Run until `stop`, or until there is nothing left to wait for.

        Raises:
            RuntimeError: it is running already.
        """
        if self._running:
            raise RuntimeError('the reactor is running already; to wait inside a callback, call one_tick()')
        self._running = True
        self.thread.enter()
        try:
            while self._running and self._has_work():
                self._turn()
        finally:
            self._running = False

    def stop(self) -> None:
        """Have `start` (or `one_tick`) return when the current turn is done; does nothing while it is not running."""
        if self._running:
            self._running = False
            self.wakeup()

    def reset(self) -> None:
        """Remove all file descriptors, timers and ticks.

        In a forked child this must come before anything else, so that nothing is shared with the parent.
        """
        if self._waker_process != os.getpid():
            # A forked child: the thread that held the lock, if one did, is the parent's.
            self._waker_lock = threading.RLock()
            self._waker_process = os.getpid()
        # Not by `remove`: a child shares the kernel's object with its parent, and must leave it as it is.
        for watcher in self._watchers.values():
            watcher.read = watcher.write = False
        self._shut()
        self._watchers.clear()
        self._timers.clear()
        self._ticks.clear()
        self._close_waker()
        self._open()

    def close(self) -> None:
        """`reset`, and close what the reactor itself has open; it cannot be used any more."""
        self._closed = True
        self.stop()
        self.reset()
        self._shut()

    # One turn

    def _turn(self) -> int:
        """One turn; returns how many events were handled."""
        if self._waker is None:
            self._open_waker()
            return 0  # `stop` may have been called before there was a waker: look at `_running` again
        if self._ticks:
            timeout = 0.0
        else:
            timeout = self._timers.next()
            if timeout != math.inf:
                timeout = max(0.0, timeout - monotonic())
        handled = self._wait(min(timeout, _MAX_WAIT))
        if self._timers.active:
            handled += self._run_timers()
        if self._ticks:
            handled += self._run_ticks()
        return handled

    def _run_until_event(self) -> None:
        while self._running and self._has_work() and not self._turn():
            pass

    def _has_work(self) -> bool:
        """Whether there is anything to wait for: a descriptor, a tick or a timer."""
        return bool(self._watchers or self._ticks or self._timers.active)

    def _run_timers(self) -> int:
        """Call the timers that are due; returns how many."""
        handled = 0
        timers = self._timers
        # The time and the number are taken once, so that a turn ends even if each timer sets another one.
        now = monotonic()
        limit = timers.number
        while (timer := timers.due(now, limit)) is not None:
            handled += 1
            try:
                timer.callback(self)
            except BaseException as exc:
                self._failed(exc)
        return handled

    def _run_ticks(self) -> int:
        """Call the ticks that were queued before; returns how many."""
        ticks = self._ticks
        handled = 0
        for _ in range(len(ticks)):
            if not ticks:
                break  # a tick called `reset`
            handled += 1
            try:
                ticks.popleft()(self)
            except BaseException as exc:
                self._failed(exc)
        return handled

    def _failed(self, exc: BaseException) -> None:
        """A callback raised: emit ``error``, or log it."""
        if isinstance(exc, _ENDING):
            raise exc
        if self._is_late_use(exc):
            return
        if self.has_subscribers('error'):
            try:
                self.emit('error', exc)
                return
            except ConnectionClosed as another:
                self._log_late_use(another)
            except Exception as another:
                _log.error("an 'error' handler of the %s reactor raised", self.name, exc_info=another)
        _log.error('a callback of the %s reactor raised %s', self.name, type(exc).__name__, exc_info=exc)

    def _open_waker(self) -> None:
        with self._waker_lock:
            if self._waker is None:
                waker = Waker()
                self._waker_watcher = Watcher(waker.reader.fileno(), waker, True, False)
                self._add(self._waker_watcher)
                self._waker = waker

    def _close_waker(self) -> None:
        with self._waker_lock:
            if self._waker is not None and self._waker_watcher is not None:
                self._waker_watcher.read = False
                self._waker.close()
                self._waker = self._waker_watcher = None

    # Overrides of EmitterCore

    def _spawner(self) -> Self:
        return self

    def _handler_failed(self, exc: BaseException) -> None:
        self._failed(exc)

    # What a reactor overrides

    def _open(self) -> None:
        """Open the system's poller."""

    def _shut(self) -> None:
        """Close the system's poller, with all watchers in it; called twice when the reactor is closed."""

    def _wait(self, timeout: float) -> int:
        """Wait at most `timeout` seconds and call the handles that are ready; returns how many of `_watchers` were.

        Each is called through its watcher, for no more than the watcher wants at that moment, inside a ``try`` that
        ends in `_failed`. The waker has a watcher too, which is not among `_watchers` and does not count.
        """
        self._missing('_wait')

    def _fileno(self) -> int:
        """The file descriptor that is readable when `_wait` would find something; for a host loop to watch."""
        self._missing('_fileno')

    def _add(self, watcher: Watcher) -> None:
        """Begin to watch, for reading."""
        self._missing('_add')

    def _modify(self, watcher: Watcher, was_read: bool, was_write: bool) -> None:
        """The watcher's `read` and `write` have changed from what they were."""
        self._missing('_modify')

    def _drop(self, watcher: Watcher, was_read: bool, was_write: bool) -> None:
        """Stop watching; the descriptor may be closed already, and its number reused for something else."""
        self._missing('_drop')

    def _missing(self, method: str) -> NoReturn:
        raise NotImplementedError(f'{type(self).__name__} lacks {method}()')
