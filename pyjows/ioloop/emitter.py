"""`LoopEmitter`: an emitter with a loop, and where coroutine handlers run.

Owns running coroutine handlers on the right loop, and handling what a handler raises. Must not know what events mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..emitter import EventEmitter, set_default_spawner
from ..waiter import TaskGate

__all__ = ['LoopEmitter']


class LoopEmitter(EventEmitter):
    """An emitter with an `IOLoop`.

    Attributes:
        ioloop: the loop.
    """

    ioloop: Any

    def _spawner(self) -> Any:
        return self.ioloop.reactor

    def _handler_failed(self, exc: BaseException) -> None:
        if self._is_late_use(exc):
            return
        self._emit_error(exc)
        if not isinstance(exc, Exception):
            self._raise_later(exc)

    def _raise_later(self, exc: BaseException) -> None:
        self.ioloop.reactor.raise_later(exc)


class _RunningLoop:
    """Runs the coroutine handlers of emitters without a loop of their own, on the asyncio loop that is running."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()  # asyncio holds only weak references to tasks

    @property
    def can_spawn(self) -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    @property
    def task_gate(self) -> TaskGate:
        return TaskGate(asyncio.get_running_loop(), asyncio.CancelledError)


set_default_spawner(_RunningLoop())
