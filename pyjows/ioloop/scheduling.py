"""`Scheduling`: what an `IOLoop` calls later.

Owns timers, next ticks and calls from other threads, as users write them. Must not know connections, nor how a reactor
waits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any, TypeVar, overload

from ..emitter import EventEmitter
from ..reactor import Reactor, Timer

__all__ = ['Scheduling']

Call = Callable[[Any], object]
AnyCall = TypeVar('AnyCall', bound=Callable[..., object])


class Scheduling(EventEmitter):
    """The part of `IOLoop` that calls functions later."""

    reactor: Reactor
    _is_resetting: bool

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self.reactor.is_closed

    @overload
    def timer(self, cb: Call, after: float) -> Timer: ...
    @overload
    def timer(self, cb: float, after: Call) -> Timer: ...
    @overload
    def timer(self, cb: float) -> Callable[[Call], Timer]: ...
    @overload
    def timer(self, *, after: float) -> Callable[[Call], Timer]: ...
    def timer(self, cb: Any = None, after: Any = None) -> Any:
        """Call ``cb(loop)`` once, `after` seconds from now; arguments in either order, or ``@loop.timer(3)``.

        Returns:
            The `Timer`, for `remove`.

        Raises:
            TypeError, ValueError: there is no callback, or `after` is not 0 or a positive number.
        """
        return self._add_timer(self.reactor.timer, cb, after)

    @overload
    def recurring(self, cb: Call, after: float) -> Timer: ...
    @overload
    def recurring(self, cb: float, after: Call) -> Timer: ...
    @overload
    def recurring(self, cb: float) -> Callable[[Call], Timer]: ...
    @overload
    def recurring(self, *, after: float) -> Callable[[Call], Timer]: ...
    def recurring(self, cb: Any = None, after: Any = None) -> Any:
        """Call ``cb(loop)`` every `after` seconds; otherwise as `timer`."""
        return self._add_timer(self.reactor.recurring, cb, after)

    def _add_timer(self, method: Callable[[Callable[[Any], object], float], Timer], cb: Any, after: Any) -> Any:
        if callable(after) or (after is None and not callable(cb)):
            cb, after = after, cb
        if after is None:
            raise TypeError(f'after how many seconds is {cb!r} to be called?')
        if cb is None:
            return partial(self._add_timer, method, after=after)
        cb = self._check_callback(cb)
        self.check_usable('a timer')
        return method(lambda reactor: self._call(cb), after)

    def next_tick(self, cb: AnyCall) -> AnyCall:
        """Call ``cb(loop)`` when the current callbacks are done, before the loop waits again; returns the callback.

        Raises:
            TypeError: `cb` cannot be called.
            RuntimeError: the loop is closed, or another thread runs it.
        """
        self._check_callback(cb)
        self.check_usable('IOLoop.next_tick()')
        self.reactor.next_tick(lambda reactor: self._call(cb))
        return cb

    def call_threadsafe(self, cb: AnyCall) -> AnyCall:
        """`next_tick` for other threads and for signal handlers; it is the only method that they may call."""
        self._check_callback(cb)
        self.reactor.call_threadsafe(lambda reactor: self._call(cb))
        return cb

    def check_usable(self, method: str) -> None:
        """Raise RuntimeError if the loop is closed, or if another thread runs it; `method` is named in the message."""
        self.reactor.check_thread(method)
        if self.is_closed:
            raise RuntimeError(f'{method}: the loop is closed, and cannot be used any more: make another one, IOLoop()')

    def check_can_dial(self, method: str) -> None:
        """`check_usable`; raise RuntimeError too if the loop is removing everything."""
        self.check_usable(method)
        if self._is_resetting:
            raise RuntimeError(f'{method}: the loop is being closed or reset, so no connection can be made now')

    # Callbacks

    def _check_callback(self, cb: AnyCall) -> AnyCall:
        if not callable(cb):
            raise TypeError(f'a callback must be callable, not {cb!r}')
        if inspect.iscoroutinefunction(cb) and not self.reactor.can_spawn:
            raise RuntimeError(
                f'cannot call the coroutine function {getattr(cb, "__name__", cb)!r}: the {self.reactor.name} reactor '
                "runs no coroutines; use a plain function, or IOLoop(reactor='asyncio')"
            )
        return cb

    def _call(self, cb: Callable[..., object], *args: Any) -> None:
        result = cb(self, *args)
        if isinstance(result, CoroutineType):
            self.reactor.spawn(result)

    def _spawner(self) -> Reactor:
        return self.reactor

    def _handler_failed(self, exc: BaseException) -> None:
        self.reactor.report(exc)
