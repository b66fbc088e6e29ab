"""When a worker that has crashed is started again.

Owns the delays, and when they begin anew. Must not know processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ['Restarts', 'restart_delays']

_FIRST, _LONGEST = 0.5, 30.0


def restart_delays() -> Iterator[float]:
    """The seconds to wait before each start of a worker after a crash, without end: 0, 0.5, 1, 2, 4 … up to 30."""
    yield 0.0
    delay = _FIRST
    while True:
        yield delay
        delay = min(2 * delay, _LONGEST)


class Restarts:
    """The delays of one manager's workers.

    Args:
        delays: gives the delays; when they end, the last one stays.
        stable_after: they begin anew after the crash of a worker that had run for this many seconds.
    """

    def __init__(self, delays: Callable[[], Iterator[float]], stable_after: float) -> None:
        self._delays = delays
        self._stable_after = stable_after
        self._iterator = delays()
        self._last = 0.0

    def delay(self, lived: float) -> float:
        """The seconds to wait after the crash of a worker that had run for `lived` seconds."""
        if lived >= self._stable_after:
            self._iterator = self._delays()
        self._last = max(0.0, next(self._iterator, self._last))
        return self._last
