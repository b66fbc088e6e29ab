"""`LoopThread`: the thread that a loop belongs to, and the calls that other threads hand over to it.

Owns the comparison of thread ids, and the queue of calls. Must not know loops, connections or what is called: how a
loop is woken is a function that it is given.

Nothing of a loop is locked, so everything of a connection has to happen in one thread. A method that other threads may
call asks `is_foreign` first, which compiled is a comparison of two integers, and hands itself over where it is true.
The calls of one thread are made in their order, at the end of the loop's turn; the loop is woken once for all that
wait.

The queue has no limit, as that of asyncio's `call_soon_threadsafe` has none. One that blocks could wait for a loop that
waits for this thread, and one that raises would lose messages of a program that does nothing wrong. Limits count what
the loop has taken.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import memory

__all__ = ['LoopThread']


class LoopThread:
    """The thread of one loop: the one that runs it, or ran it last, or at first the one that made it.

    Args:
        wake: called ``wake(f)`` from any thread; it has the loop call ``f(reactor)`` in its own thread.

    Attributes:
        id: of the thread.
        has_run: whether the loop has run.
    """

    def __init__(self, wake: Callable[[Callable[[Any], object]], object]) -> None:
        self.id = memory.thread_id()
        self.has_run = False
        self._wake = wake
        self._lock = threading.Lock()
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        _threads.add(self)

    def begin_anew(self) -> None:
        """In a forked child: its only thread is this one, and another may have held the lock."""
        self.id = memory.thread_id()
        self._lock = threading.Lock()
        self._calls.clear()

    def enter(self) -> None:
        """The loop runs in this thread from now on."""
        self.id = memory.thread_id()
        self.has_run = True

    def is_foreign(self) -> bool:
        """Whether the current thread is another one than the loop's."""
        return self.id != memory.thread_id()

    def check(self, method: str) -> None:
        """Raise RuntimeError in another thread than the loop's."""
        if self.is_foreign():
            raise RuntimeError(
                f"{method} belongs to the loop's thread, and this is another one: "
                'wrap it in ioloop.call_threadsafe(lambda ioloop: …); send, finish and broadcast need no wrapping'
            )

    def hand_over(self, f: Callable[..., object], *args: Any) -> None:
        """Have the loop call ``f(*args)``; the loop reports what that raises. For all threads."""
        with self._lock:
            self._calls.append((f, args))
            is_first = len(self._calls) == 1
        if is_first:
            self._wake(self._run)

    def _run(self, reactor: Any) -> None:
        """Make the calls that wait now; calls that are added meanwhile wait for the next turn."""
        with self._lock:
            calls, self._calls = self._calls, deque()
        while calls:
            f, args = calls.popleft()
            try:
                f(*args)
            except BaseException:
                if calls:
                    # The others must not wait for calls that may never come.
                    with self._lock:
                        calls.extend(self._calls)
                        self._calls = calls
                    self._wake(self._run)
                raise


_threads: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _begin_anew() -> None:
    for thread in list(_threads):
        thread.begin_anew()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_begin_anew)
