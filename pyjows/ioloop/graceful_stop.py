"""`GracefulStop`: from the moment a loop takes no new connections until it can stop.

Owns the time limits, the check whether everything is closed, and what is logged while something is not. Must not know
connections: the loop tells what is open, and closes what is left when the time is over.

A graceful stop waits for the connections first, without a limit of its own; then for the coroutine handlers, which may
have more to do when their connection is closed; then, after the loop's event ``stop``, for what the handlers of that
event have begun (`IOLoop.delay_stop`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from time import monotonic

from ..reactor import Reactor, Timer
from ..safe_logger import SafeLogger

__all__ = ['GracefulStop', 'becomes_true']

_log = SafeLogger('pyjows')

# Seconds that the coroutine handlers have to end; and how often it looks whether they, or the last things, have ended.
_COROUTINES_TIMEOUT = 1.0
# Seconds for each of both when the time limit of the stop is over: `prefork` kills a worker a second later.
_LATE_TIMEOUT = 0.4
_INTERVAL = 0.01


class GracefulStop:
    """The graceful stop of one loop; it can begin again after it has ended.

    Args:
        reactor: the reactor of the loop.
        open_things: returns what the stop waits for, names and numbers.
        close_all: closes all of it, when the time is over.
        all_closed: called once all is closed, and the coroutine handlers have ended or their time is over.
        stopped: called when what was begun then has ended too.

    Attributes:
        is_begun: whether the loop is stopping.
    """

    def __init__(
        self,
        reactor: Reactor,
        open_things: Callable[[], Mapping[str, int]],
        close_all: Callable[[], object],
        all_closed: Callable[[], object],
        stopped: Callable[[], object],
    ) -> None:
        self.is_begun = False
        self._reactor = reactor
        self._open_things = open_things
        self._close_all = close_all
        self._all_closed = all_closed
        self._stopped = stopped
        self._has_told = False  # whether `all_closed` was called
        self._last: list[tuple[Callable[[], object], float]] = []  # what was begun then, and until when to wait for it
        self._is_late = False  # whether the time limit is over
        self._coroutines_until = math.inf
        self._look_timer: Timer | None = None
        self._deadline = math.inf
        self._deadline_timer: Timer | None = None
        self._report_timer: Timer | None = None

    def begin(self, timeout: float | None) -> None:
        """Begin to wait; `timeout` is in seconds, None for no limit."""
        self.is_begun = True
        if timeout is not None:
            self._deadline_timer = self._reactor.timer(self._timed_out, timeout)
            self._deadline = monotonic() + timeout

    def check_later(self) -> None:
        """Check whether everything is closed, at the end of this turn of the loop."""
        # After the callbacks that run now and their ticks: one may be making a connection, another may have to emit
        # the end of one.
        self._reactor.next_tick(self._check)

    def delay(self, is_done: Callable[[], object], seconds: float) -> None:
        """Wait until ``is_done()`` is true, for so long at most; `all_closed` may call this."""
        self._last.append((is_done, monotonic() + (min(seconds, _LATE_TIMEOUT) if self._is_late else seconds)))

    def cancel(self) -> None:
        """Wait no more; `stopped` is not called."""
        self.is_begun = self._has_told = self._is_late = False
        self._last.clear()
        self._coroutines_until = math.inf
        self._remove_timers()
        if self._look_timer is not None:
            self._reactor.remove(self._look_timer)
            self._look_timer = None

    def _check(self, reactor: Reactor) -> None:
        if not self.is_begun:
            return
        if any(self._open_things().values()):
            if self._report_timer is None:
                _log.info('stopping: %s', self._waiting_for())
                self._report_later(1.0)
        elif self._waits_for_last() if self._has_told else self._waits_for_coroutines():
            if self._look_timer is None:
                self._look_timer = self._reactor.recurring(self._check, _INTERVAL)
        elif self._has_told:
            self.cancel()
            self._stopped()
        else:
            self._has_told = True
            self._all_closed()
            self.check_later()

    def _waits_for_coroutines(self) -> bool:
        """Whether coroutine handlers run that may have more to do."""
        if not (running := self._reactor.tasks):
            return False
        now = monotonic()
        seconds = _LATE_TIMEOUT if self._is_late else _COROUTINES_TIMEOUT
        self._coroutines_until = min(self._coroutines_until, now + seconds)
        if now < self._coroutines_until:
            return True
        _log.warning('stopping: %d coroutines of handlers have not ended within %g s', len(running), seconds)
        return False

    def _waits_for_last(self) -> bool:
        """Whether something is under way that handlers of ``stop`` have begun."""
        now = monotonic()
        return any(now < until and not is_done() for is_done, until in self._last)

    def _report_later(self, seconds: float) -> None:
        def report(reactor: Reactor) -> None:
            if self._open_in_words():  # else the check of the last one follows in this turn
                _log.warning('still stopping: %s', self._waiting_for())
            self._report_later(2 * seconds)

        self._report_timer = self._reactor.timer(report, seconds)

    def _waiting_for(self) -> str:
        """What the stop waits for, in words."""
        left = max(0.0, self._deadline - monotonic())
        limit = 'without a time limit' if left == math.inf else f'for {left:.1f} s at most'
        return f'waiting for {self._open_in_words()}, {limit}'

    def _open_in_words(self) -> str:
        return ', '.join(f'{n} {what}' for what, n in self._open_things().items() if n)

    def _remove_timers(self) -> None:
        for timer in (self._deadline_timer, self._report_timer):
            if timer is not None:
                self._reactor.remove(timer)
        self._deadline_timer = self._report_timer = None
        self._deadline = math.inf

    def _timed_out(self, reactor: Reactor) -> None:
        """The time is over: close what is left."""
        if left := self._open_in_words():
            _log.warning('stopping: the time is over, %s are closed now', left)
        self._remove_timers()
        self._is_late = True
        self._close_all()
        self.check_later()


async def becomes_true(is_done: Callable[[], object], seconds: float) -> None:
    """Wait until ``is_done()`` is true, for so long at most."""
    until = monotonic() + seconds
    while not is_done() and monotonic() < until:
        await asyncio.sleep(_INTERVAL)
