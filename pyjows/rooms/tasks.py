"""Coroutines with a time limit, and tasks that are cancelled until they have ended.

Owns the cancelling of tasks that may swallow it. Must not know what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from .messages import BrokerLost

__all__ = ['cancel', 'within']


async def within(seconds: float, coroutine: Coroutine[Any, Any, None], name: str) -> None:
    """Run a coroutine for so long at most, also one that does not end at its first cancellation.

    Raises:
        BrokerLost: it has not ended; the text names the broker, `name`.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            raise BrokerLost(f'{name}: no answer within {seconds:g} s')
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
