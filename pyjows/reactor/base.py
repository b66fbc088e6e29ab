"""`Reactor`: the plug between pyjows and whatever waits for file descriptors and time.

Owns the shared half of every reactor: who watches which file descriptor, the timers, the next ticks, the order of
things in a turn, and what becomes of an exception. Must not know sockets or streams, nor how the waiting is done:
that is one small subclass a file (`poll`, `epoll`, `asyncio`).

One turn of the loop is

1. wait, until a file descriptor is ready or a timer is due (not at all while ticks wait),
2. the callbacks of the ready file descriptors,
3. the timers that are due,
4. the ticks queued so far; those queued by them belong to the next turn.

What a callback raises never leaves the loop, except KeyboardInterrupt and SystemExit: it is emitted as ``error``, or
logged where nobody listens, and the loop goes on.

A `Watcher` is the registration of one file descriptor. It goes dead (it wants neither reading nor writing) at the
moment of removal. Readiness that the kernel had reported before is delivered to the watcher, never to a bare
descriptor number, so that it cannot reach a later watcher of a descriptor that got the same number in the same turn.
Watchers stay alive as long as something of a turn under way may refer to them: a native reactor may leave bare pointers
with the kernel. It keeps those that are dropped one by one; `reset` buries the others.

To write a reactor, subclass `Reactor` and override `_wait`, `_add`, `_modify` and `_drop`; override `_open` and
`_shut` when there is something to open. Name it in the entry point group ``pyjows.reactors`` to have it chosen by
name.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any, ClassVar, NoReturn, Self

from ..emitter import EmitterCore, EventEmitter
from .timers import Timer, Timers

__all__ = ['Handle', 'Reactor', 'Watcher']

_log = logging.getLogger('pyjows')

# Kernels take the time to wait in 32 bits of milliseconds; waking once an hour for nothing is cheap.
_LONGEST = 3600.0


class Handle(EmitterCore):
    """What a reactor calls when its file descriptor is ready; subclass it and override `ready`."""

    def ready(self, readable: bool, writable: bool) -> None:
        """The file descriptor is ready for what the flags say, and it was wanted (`Reactor.watch`).

        At most one call a turn, except where the host tells of reading and writing apart (asyncio). An error or hang-up
        counts as readiness for whatever is wanted: the next system call tells.
        """
        raise NotImplementedError

    def dispatch(self, readable: bool, writable: bool) -> None:
        """`ready` for a native reactor: compiled, a handle overrides this one to be called as C."""
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
        # The first call may have ended the watch, or its interest in writing.
        if writable and self.watcher is not None and self.watcher.write:
            self.f(self.reactor, True)


class Watcher:
    """One watched file descriptor: what is wanted of it, and whom to call.

    Attributes:
        fd: the file descriptor.
        handle: what is called.
        read, write: which readiness is wanted; both False once it is removed.
        data: the reactor's own.
    """

    __slots__ = ('data', 'fd', 'handle', 'read', 'write')

    def __init__(self, fd: int, handle: Handle, read: bool, write: bool) -> None:
        self.fd = fd
        self.handle = handle
        self.read = read
        self.write = write
        self.data: Any = None


class Waker(Handle):
    """A pair of sockets: what another thread or a signal writes to one end wakes a reactor that waits for the other."""

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
            pass  # full: as awake as it can be

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
        ``error`` ``(reactor, exc)``: a callback raised; with nobody subscribed it is logged with its traceback, on the
            logger ``pyjows``.

    Attributes:
        name: by which it is chosen.
        can_spawn: whether it runs coroutines.
        is_running: whether it is inside `start` or `one_tick`.

    Methods: `io`, `watch`, `remove`, `timer`, `recurring`, `again`, `next_tick`, `call_threadsafe`, `spawn`,
    `one_tick`, `start`, `stop`, `wakeup`, `reset`, `close`.

    A reactor belongs to the thread that runs it: from others, and from signal handlers, call nothing but
    `call_threadsafe`, `wakeup` and `stop`.
    """

    name: ClassVar[str] = ''
    can_spawn: ClassVar[bool] = False

    def __init__(self) -> None:
        EventEmitter.__init__(self)
        self._watchers: dict[int, Watcher] = {}
        self._timers = Timers()
        self._ticks: deque[Callable[[Any], object]] = deque()
        self._running = False
        self._depth = 0
        self._buried: list[Watcher] = []
        self._waker: Waker | None = None
        self._waker_watcher: Watcher | None = None
        # Reentrant: a signal handler may want to wake the very thread that holds it.
        self._waker_lock = threading.RLock()
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

    # File descriptors

    def io(self, fd: int, cb: Handle | Callable[[Any, bool], object]) -> Self:
        """Watch a file descriptor, for reading at first; what watched it before is forgotten.

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
            # The number may have been closed and given out anew behind our back: the kernel is to be told again.
            self.remove(fd)
        watcher = Watcher(fd, cb, True, False)
        if isinstance(cb, Callback):
            cb.watcher = watcher
        self._add(watcher)
        self._watchers[fd] = watcher
        return self

    def watch(self, fd: int, read: bool, write: bool) -> Self:
        """Say which readiness of a file descriptor is wanted; with neither, it is kept but sleeps.

        Raises:
            ValueError: `io` was not called for it.
        """
        watcher = self._watchers.get(fd)
        if watcher is None:
            raise ValueError(f'file descriptor {fd} is not watched: call io({fd}, …) first')
        if watcher.read != read or watcher.write != write:
            was_read, was_write = watcher.read, watcher.write
            watcher.read, watcher.write = bool(read), bool(write)
            self._modify(watcher, was_read, was_write)
        return self

    def remove(self, what: int | Timer) -> bool:
        """Forget a file descriptor (before it is closed) or a timer; tells whether it was there."""
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
            ValueError: it has come or was removed.
        """
        self._timers.again(timer, after)

    def next_tick(self, cb: Callable[[Any], object]) -> None:
        """Call ``cb(reactor)`` when the current callbacks are done, before the next wait."""
        self._ticks.append(cb)

    # Other threads, coroutines

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
        """While the context lasts, ``cb(number)`` is called on the loop for each of these signals.

        One that arrives while no Python code runs only raises a flag of the interpreter's, which a reactor that goes to
        sleep in the next moment would not see: so it also writes to what wakes the reactor.

        Raises:
            ValueError: this is not the main thread, the only one that Python tells of signals.
        """
        with ExitStack() as stack:
            for number in numbers:
                before = signal.signal(number, lambda number, frame: self.call_threadsafe(lambda reactor: cb(number)))
                stack.callback(signal.signal, number, before)
            self._open_waker()
            assert self._waker is not None
            fd = self._waker.writer.fileno()
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(fd, warn_on_full_buffer=False))
            yield

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside everything else; what it raises is emitted as ``error``.

        Raises:
            RuntimeError: this reactor runs no coroutines.
        """
        coroutine.close()
        raise RuntimeError(
            f'the {self.name} reactor runs no coroutines: use a plain function, '
            "or a loop that rides on asyncio: IOLoop(reactor='asyncio'), or PYJOWS_REACTOR=asyncio"
        )

    # Running

    def one_tick(self) -> None:
        """Run until at least one event was handled, or there is nothing left to wait for.

        It may be called from a callback: a loop within the loop. `stop` then ends both.
        """
        if self._running:
            self._until_event()
            return
        self._running = True
        try:
            self._until_event()
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
        """Forget all file descriptors, timers and ticks.

        In a forked child this must come before anything else, so that nothing is shared with the parent.
        """
        # Not by `remove`: a child must leave the kernel's object, which it shares with its parent, as it is.
        for watcher in self._watchers.values():
            watcher.read = watcher.write = False
        self._buried.extend(self._watchers.values())
        self._watchers.clear()
        self._timers.clear()
        self._ticks.clear()
        self._close_waker()
        self._shut()
        self._open()

    def close(self) -> None:
        """`reset`, and give back what the reactor itself has open; it cannot be used any more."""
        self.stop()
        self.reset()
        self._shut()

    # What the subclasses are made of

    def _turn(self) -> int:
        """One turn; returns how many events were handled."""
        if self._waker is None:
            self._open_waker()
            return 0  # whoever said stop meanwhile could not wake us: have it looked at
        if self._ticks:
            timeout = 0.0
        else:
            timeout = self._timers.next()
            if timeout != math.inf:
                timeout = max(0.0, timeout - monotonic())
        if self._buried and not self._depth:
            self._buried.clear()
        self._depth += 1
        try:
            handled = self._wait(min(timeout, _LONGEST))
            if self._timers.active:
                handled += self._run_timers()
            if self._ticks:
                handled += self._run_ticks()
        finally:
            self._depth -= 1
        return handled

    def _until_event(self) -> None:
        while self._running and self._has_work() and not self._turn():
            pass

    def _has_work(self) -> bool:
        """Whether there is anything that could make an event."""
        return bool(self._watchers or self._ticks or self._timers.active)

    def _run_timers(self) -> int:
        handled = 0
        timers = self._timers
        # Neither the time nor the number moves while the timers run, so that a turn ends whatever they set.
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
        ticks = self._ticks
        handled = 0
        for _ in range(len(ticks)):
            if not ticks:
                break  # `reset` came in between
            handled += 1
            try:
                ticks.popleft()(self)
            except BaseException as exc:
                self._failed(exc)
        return handled

    def _failed(self, exc: BaseException) -> None:
        """A callback raised: the one place where that ends."""
        if isinstance(exc, (KeyboardInterrupt, SystemExit)):
            raise exc
        if self.has_subscribers('error'):
            try:
                self.emit('error', exc)
                return
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
                self._buried.append(self._waker_watcher)
                self._waker.close()
                self._waker = self._waker_watcher = None

    # What an emitter asks to run coroutine handlers

    def _spawner(self) -> Self:
        return self

    def _handler_failed(self, exc: BaseException) -> None:
        self._failed(exc)

    # What a reactor overrides

    def _open(self) -> None:
        """Make what waits."""

    def _shut(self) -> None:
        """Give back what `_open` made; called twice when the reactor is closed."""

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
        """Watch no more; the descriptor may be closed already, and its number be in use for something else."""
        self._missing('_drop')

    def _missing(self, method: str) -> NoReturn:
        raise NotImplementedError(f'{type(self).__name__} lacks {method}()')
