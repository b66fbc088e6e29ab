"""Timers: what is to be called when.

Owns the heap of deadlines that every reactor shares. Must not know file descriptors, nor how a reactor waits; it is
asked for the next deadline and for what is due, and reads the clock only to set a deadline.

Every connection may carry an inactivity timer that is set back with each message, so setting back is what must be
cheap: `Timers.again` writes the new deadline into the `Timer` and leaves the heap alone. The heap entry keeps the old
time; when it comes up, the entry of a timer that was set back meanwhile goes back into the heap with its present
deadline. That is one heap operation an interval, however many messages there were. Cancelling is as cheap: the entry
stays and is dropped when it comes up, or, when more than half of the heap is such entries, all of them at once.

An entry is ``(when, number, timer)``. It is the timer's own only while ``timer.entry == number``; 0 means that the
timer has none. ``when`` is never later than the deadline of a live timer.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from time import monotonic
from typing import Any

from .._signature import ConstructorSignature

__all__ = ['Timer', 'Timers']

# Below this many dead entries a sweep costs more than it gives back.
_SWEEP = 64


class Timer:
    """One timer, opaque to those who set it: pass it to `Reactor.again` and `Reactor.remove`.

    Attributes:
        callback: called ``callback(reactor)``.
        after: seconds from being set (or set back) to being due.
        recurring: whether it is set again when it is due.
        deadline: when it is due, in seconds of ``time.monotonic()``.
        is_active: False once it was removed or, not recurring, has expired.
    """

    __signature__ = ConstructorSignature()

    __slots__ = ('after', 'callback', 'deadline', 'entry', 'is_active', 'recurring', 'when')

    def __init__(self, callback: Callable[[Any], object], after: float, recurring: bool) -> None:
        self.callback = callback
        self.after = after
        self.recurring = recurring
        self.deadline = 0.0
        self.when = 0.0
        self.entry = 0
        self.is_active = True

    def __repr__(self) -> str:
        state = 'active' if self.is_active else 'over'
        return f'<Timer {state} after={self.after:g} recurring={self.recurring} callback={self.callback!r}>'


class Timers:
    """The timers of one reactor; ``len()`` counts the active ones."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Timer]] = []
        self.active = 0
        self.dead = 0
        self.number = 0

    def __len__(self) -> int:
        return self.active

    def add(self, callback: Callable[[Any], object], after: float, recurring: bool) -> Timer:
        """Set a timer.

        Raises:
            TypeError: the callback cannot be called, or `after` is not a number.
            ValueError: `after` is negative, infinite or NaN.
        """
        if not callable(callback):
            raise TypeError(f'a timer calls a function, not {callback!r}')
        timer = Timer(callback, seconds(after), recurring)
        timer.deadline = monotonic() + timer.after
        self.active += 1
        self.push(timer)
        return timer

    def again(self, timer: Timer, after: float | None = None) -> None:
        """Set a timer back: it is due `after` seconds from now (by default as many as before).

        Raises:
            ValueError: the timer has expired or was removed, or `after` is negative, infinite or NaN.
        """
        if not timer.is_active:
            raise ValueError(f'{timer!r} has expired or was removed and cannot be set back: set a new one with timer()')
        if after is not None:
            timer.after = seconds(after)
        timer.deadline = monotonic() + timer.after
        if timer.deadline < timer.when or not timer.entry:
            self.abandon(timer)
            self.push(timer)

    def cancel(self, timer: Timer) -> bool:
        """Remove a timer; returns whether it was active."""
        if not timer.is_active:
            return False
        timer.is_active = False
        timer.callback = _removed  # its entry may stay for long: what the callback holds must not
        self.active -= 1
        self.abandon(timer)
        return True

    def clear(self) -> None:
        """Remove all timers."""
        for _, number, timer in self.heap:
            if timer.entry == number:
                timer.is_active = False
                timer.entry = 0
        self.heap.clear()
        self.active = self.dead = 0

    def next(self) -> float:
        """When to look again, by ``time.monotonic()``: not later than the next deadline; infinite without timers."""
        heap = self.heap
        while heap:
            when, number, timer = heap[0]
            if timer.entry == number:
                return when
            heappop(heap)
            self.dead -= 1
        return math.inf

    def due(self, now: float, limit: int) -> Timer | None:
        """Take one timer that is due at `now` and has an entry not younger than number `limit`; None if there is none.

        A recurring one is set again already when it is returned; another is over. A caller that runs all that is due
        passes the `number` that was the last when it began: what the callbacks set meanwhile then waits for the next
        turn.
        """
        heap = self.heap
        while heap:
            when, number, timer = heap[0]
            if when > now or number > limit:
                break
            if timer.entry != number:
                heappop(heap)
                self.dead -= 1
            elif timer.deadline > when:  # even if it is due: one with an earlier deadline goes first
                timer.when = timer.deadline
                heapreplace(heap, (timer.deadline, number, timer))
            else:
                heappop(heap)
                timer.entry = 0
                if timer.recurring:
                    timer.deadline = now + timer.after
                    self.push(timer)
                else:
                    timer.is_active = False
                    self.active -= 1
                return timer
        return None

    def push(self, timer: Timer) -> None:
        """Give a timer an entry."""
        self.number += 1
        timer.entry = self.number
        timer.when = timer.deadline
        heappush(self.heap, (timer.when, timer.entry, timer))

    def abandon(self, timer: Timer) -> None:
        """Leave a timer's entry in the heap as a dead one, and drop all dead ones when they are the larger part."""
        if not timer.entry:
            return
        timer.entry = 0
        self.dead += 1
        if self.dead > _SWEEP and self.dead * 2 > len(self.heap):
            alive = []
            for when, number, other in self.heap:
                if other.entry == number:
                    alive.append((when, number, other))
            heapify(alive)
            # In place, because a method further down the call stack may hold the list in a local name.
            self.heap[:] = alive
            self.dead = 0


def _removed(reactor: Any) -> None:
    """The callback of a timer that was removed."""


def seconds(after: float) -> float:
    """`after` as a float; raises ValueError if it is negative, infinite or NaN."""
    if not 0 <= after <= sys.float_info.max:
        raise ValueError(f'{after!r} is not a valid time to wait: give seconds, 0 or more')
    return float(after)
