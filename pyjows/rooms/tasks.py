"""Time limits that bear a process that stands still, and tasks that are cancelled until they have ended.

Owns the cancelling of tasks that may swallow it. Must not know what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from time import monotonic
from types import TracebackType
from typing import Any

from .messages import BrokerLost

__all__ = ['Limit', 'cancel', 'within']

# A limit is counted in so many parts. One that ends late by more than its length is not counted.
_PARTS = 4


class Limit:
    """`asyncio.timeout` for answers of a broker: ``async with Limit(seconds, broker):``.

    While the process stands still (SIGSTOP, a blocked loop, a machine that sleeps) no answer can be read. When it
    goes on, timers are due at once, and the answer may be in the socket already. So that time is not counted.

    Raises:
        BrokerLost: the time is over; the text names it.
    """

    def __init__(self, seconds: float, broker: object) -> None:
        self._seconds = seconds
        self._broker = broker
        self._left = _PARTS
        self._was_late = False
        self._is_over = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._begin_part()

    def _begin_part(self) -> None:
        seconds = self._seconds / _PARTS
        self._due = monotonic() + seconds
        self._timer = self._loop.call_later(seconds, self._end_part)

    def _end_part(self) -> None:
        is_late = monotonic() - self._due > self._seconds / _PARTS
        if self._was_late or not is_late:  # on a machine that is always late it ends too
            self._left -= 1
        self._was_late = is_late
        if self._left:
            self._begin_part()
        else:
            self._is_over = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise BrokerLost(f'{self._broker!r}: no answer within {self._seconds:g} s') from exc


async def within(seconds: float, coroutine: Coroutine[Any, Any, None], broker: object) -> None:
    """Run a coroutine for so long at most, also one that does not end at its first cancellation.

    Raises:
        BrokerLost: it has not ended; see `Limit`.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        async with Limit(seconds, broker):
            await asyncio.wait([task])
        task.result()
    finally:
        await cancel([task])


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: `asyncio.wait_for` may swallow a cancellation (Python 3.11)."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=0.05)
        for task in done:
            if not task.cancelled():
                task.exception()  # so that asyncio does not log it as never retrieved
