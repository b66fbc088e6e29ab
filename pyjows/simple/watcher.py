"""The one background thread of a process that has blocking connections (with greenlets: one greenlet of a hub).

Owns when a connection is tended between the program's calls: keep-alive pings, and reading for connections on which no
`receive` was called lately, so that pings are answered and a close is noticed. It begins with the first connection and
ends with the last. Must not know the protocol: `Base.tend` does the work.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable
from time import monotonic
from typing import Any, Protocol

from ..safe_logger import SafeLogger
from .waiting import Waiting

__all__ = ['Watched', 'unwatch', 'watch']

_log = SafeLogger('pyjows.simple')

# Seconds between two rounds, where no ping is due earlier.
_ROUND = 0.5


class Watched(Protocol):
    """What is tended."""

    ping_interval: float | None

    def tend(self, now: float) -> None:
        """A round: do what is due, without blocking."""


class Watcher:
    """One background thread, and those that it tends; it keeps none of them alive."""

    def __init__(self, place: Hashable, waiting: Waiting, thread_class: Any, event_class: Any) -> None:
        self.place = place
        self.connections: dict[int, weakref.ref[Watched]] = {}
        self.event = waiting.event() if event_class is None else event_class()
        self.thread = waiting.thread(self.run) if thread_class is None else thread_class(target=self.run)
        self.round = _ROUND
        self.stopped = False
        self.ident: int | None = None

    def add(self, connection: Watched) -> None:
        self.connections[id(connection)] = weakref.ref(connection)
        if _round_of(connection) < self.round:
            self.round = _round_of(connection)
            self.event.set()

    def run(self) -> None:
        self.ident = threading.get_ident()
        while not self.stopped:
            self.event.wait(self.round)
            self.event.clear()
            if self.stopped:
                return
            self.round = min([_ROUND, *[self.tend(ref) for ref in list(self.connections.values())]])
            self.forget_dead()

    def tend(self, ref: weakref.ref[Watched]) -> float:
        """Tend one; returns after how many seconds again."""
        connection = ref()
        if connection is None:
            return _ROUND
        try:
            connection.tend(monotonic())
        except Exception:
            _log.exception('a connection could not be tended')
        return _round_of(connection)

    def forget_dead(self) -> None:
        with _guard:
            for key, ref in list(self.connections.items()):
                if ref() is None:
                    del self.connections[key]
            self.end_if_idle()

    def end_if_idle(self) -> bool:
        """Stop if no connection is left; called with the guard held."""
        if not self.connections and not self.stopped:
            self.stopped = True
            if _watchers.get(self.place) is self:
                del _watchers[self.place]
        return self.stopped

    def join(self) -> None:
        self.event.set()
        if self.ident != threading.get_ident() and self.ident is not None:
            self.thread.join(1.0)


# Never held while something waits.
_guard = threading.Lock()
_watchers: dict[Hashable, Watcher] = {}


def _begin_anew() -> None:
    """After a fork: the child has the caller's thread alone, and another may have held the lock."""
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    _watchers.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_begin_anew)


def watch(connection: Watched, waiting: Waiting, thread_class: Any, event_class: Any) -> Watcher:
    """Have a connection tended. The classes are those of the thread and its event, if they have to be made."""
    place = waiting.place()
    with _guard:
        watcher = _watchers.get(place)
        begins = watcher is None
        if watcher is None:
            watcher = _watchers[place] = Watcher(place, waiting, thread_class, event_class)
        watcher.add(connection)
    if begins:
        watcher.thread.daemon = True
        watcher.thread.start()
    return watcher


def unwatch(connection: Watched, watcher: Watcher) -> None:
    """Stop tending it; if it was the last, its thread has ended when this returns."""
    with _guard:
        watcher.connections.pop(id(connection), None)
        ends = not watcher.stopped and watcher.end_if_idle()
    if ends:
        watcher.join()


def _round_of(connection: Watched) -> float:
    interval = connection.ping_interval
    return min(_ROUND, max(0.01, interval / 4)) if interval else _ROUND
