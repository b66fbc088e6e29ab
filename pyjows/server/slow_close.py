"""`SlowClose`: closes many connections spread over a time, so that their clients do not all come back at once.

Owns when each is closed. Must not know how a connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

__all__ = ['SlowClose']

# Seconds between two closes, or rounds of closes.
_INTERVAL = 0.05


class SlowClose:
    """A close of many connections that is under way.

    Args:
        reactor: has `recurring` and `remove`.
        connections: what is closed, in this order.
        seconds: when the last is due.
        close: closes one.
    """

    def __init__(
        self, reactor: Any, connections: Iterable[Any], seconds: float, close: Callable[[Any], object]
    ) -> None:
        self._reactor = reactor
        self._left = list(connections)[::-1]
        self._number = len(self._left)
        self._seconds = seconds
        self._close = close
        self._began = monotonic()
        self._timer = reactor.recurring(self._close_due, min(_INTERVAL, seconds / max(1, self._number)))

    def hurry(self) -> None:
        """Close all that are left now."""
        self.cancel()
        while self._left:
            self._close(self._left.pop())

    def cancel(self) -> None:
        """Close no more."""
        if self._timer is not None:
            self._reactor.remove(self._timer)
            self._timer = None

    def _close_due(self, reactor: Any) -> None:
        share = min(1.0, (monotonic() - self._began) / self._seconds)
        keep = self._number - round(self._number * share)
        while len(self._left) > keep:
            self._close(self._left.pop())
        if not self._left:
            self.cancel()
