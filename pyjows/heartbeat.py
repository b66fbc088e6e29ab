"""`Heartbeat`: checks the connections of one server or client periodically, spread over time.

Owns when a connection is checked. Must not know what is checked, nor what happens to a peer that is silent, slow or
idle: that is `TransactionProtocol.check` (`transaction/driver.py`).

The connections are distributed over a few slots, and each tick of one timer checks those of one slot. So each is
checked once a round, at the cost of a few comparisons, and no tick has to ping all of them at once.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from .limits import Limits
from .transaction.driver import TransactionProtocol

__all__ = ['Heartbeat']

# A round takes a quarter of the shortest time that is watched, and not longer than this, in seconds.
_LONGEST_ROUND = 5.0


class Heartbeat:
    """The heartbeat of some connections with the same limits.

    Args:
        reactor: what has the timer. There is one only while there are connections.
        limits: theirs.
        slots: into how many parts they are divided.
    """

    def __init__(self, reactor: Any, limits: Limits, slots: int = 8) -> None:
        watched = [
            seconds
            for seconds in (limits.ping_interval, limits.ping_timeout, limits.idle_timeout, limits.backlog_timeout)
            if seconds
        ]
        quarter = min(watched, default=0.0) / 4
        self._reactor = reactor
        self._tick_after = min(_LONGEST_ROUND, quarter) / slots
        self._slots: list[dict[TransactionProtocol, None]] = [{} for _ in range(slots)]
        self._next_slot = 0
        self._size = 0
        self._timer: Any = None
        # Times begin at 1 here: small numbers, which a single float can hold, and none is 0.
        self._zero = monotonic() - 1.0

    def add(self, protocol: TransactionProtocol) -> None:
        """Check this connection from now on."""
        protocol.slot = self._next_slot
        self._slots[self._next_slot][protocol] = None
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        self._size += 1
        if self._timer is None and self._tick_after:
            self._timer = self._reactor.recurring(self._tick, self._tick_after)

    def remove(self, protocol: TransactionProtocol) -> None:
        """Stop checking this connection."""
        slot = self._slots[protocol.slot]
        if protocol in slot:
            del slot[protocol]
            self._size -= 1
            if not self._size and self._timer is not None:
                self._reactor.remove(self._timer)
                self._timer = None

    def _tick(self, reactor: Any) -> None:
        now = monotonic() - self._zero
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        for protocol in list(self._slots[self._next_slot]):
            protocol.check(now)
