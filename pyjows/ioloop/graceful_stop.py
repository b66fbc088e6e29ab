"""`GracefulStop`: from the moment a loop takes no new connections until all are closed.

Owns the time limit, the check whether everything is closed, and what is logged while something is not. Must not know
connections: the loop tells what is open, and closes what is left when the time is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import monotonic

from ..reactor import Reactor, Timer
from ..safe_logger import SafeLogger

__all__ = ['GracefulStop']

_log = SafeLogger('pyjows')


class GracefulStop:
    """The graceful stop of one loop; it can begin again after it has ended.

    Args:
        reactor: the reactor of the loop.
        open_things: returns what the stop waits for, names and numbers.
        close_all: closes all of it, when the time is over.
        stopped: called once all is closed.

    Attributes:
        is_begun: whether the loop is stopping.
    """

    def __init__(
        self,
        reactor: Reactor,
        open_things: Callable[[], Mapping[str, int]],
        close_all: Callable[[], object],
        stopped: Callable[[], object],
    ) -> None:
        self.is_begun = False
        self._reactor = reactor
        self._open_things = open_things
        self._close_all = close_all
        self._stopped = stopped
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

    def cancel(self) -> None:
        """Wait no more; `stopped` is not called."""
        self.is_begun = False
        self._remove_timers()

    def _check(self, reactor: Reactor) -> None:
        if not self.is_begun:
            return
        if not any(self._open_things().values()):
            self.cancel()
            self._stopped()
        elif self._report_timer is None:
            _log.info('stopping: %s', self._waiting_for())
            self._report_later(1.0)

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
        self._close_all()
        self.check_later()
