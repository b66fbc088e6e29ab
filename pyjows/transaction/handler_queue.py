"""`HandlerQueue`: the coroutine handlers of one connection, which run one after the other.

Owns their order, how many may wait, and that ``finish`` comes after them. Must not know which events they handle, nor
which loop runs them: one task at a time, spawned by the transaction.

The queue exists only while there is something in it. Reading pauses while `max_queue` coroutines wait, or messages of
more than `high_water_mark` bytes, and goes on when half of that is left: a peer that sends faster than its messages are
handled is slowed down by TCP, and costs no memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any

__all__ = ['PAUSED_BY_HANDLERS', 'HandlerQueue']

# A reason to pause reading, as a bit beside those in `driver.py`.
PAUSED_BY_HANDLERS = 2


class HandlerQueue:
    """The coroutine handlers of a transaction that wait for their turn.

    Args:
        ws: the transaction.
    """

    __slots__ = ('_finish_args', '_is_paused', '_size', '_task', '_waiting', '_ws')

    def __init__(self, ws: Any) -> None:
        self._ws = ws
        self._waiting: deque[tuple[Coroutine[Any, Any, Any], int]] = deque()
        self._size = 0
        self._is_paused = False
        self._task: Any = None
        self._finish_args: tuple[int, str] | None = None

    def add(self, coroutine: Coroutine[Any, Any, Any], size: int) -> None:
        """Run a coroutine, which handles a message of `size` bytes, after those that wait."""
        self._waiting.append((coroutine, size))
        self._size += size
        limits = self._ws.limits
        if not self._is_paused and (len(self._waiting) >= limits.max_queue or self._size > limits.high_water_mark):
            self._is_paused = True
            self._ws.protocol.pause(PAUSED_BY_HANDLERS)

    def start(self) -> None:
        """Begin to run what waits.

        Raises:
            RuntimeError: nothing here runs coroutines now.
        """
        runner = self._run()
        try:
            self._task = self._ws._spawn(runner)
        except BaseException:
            runner.close()
            self._close(None)
            raise
        self._task.add_done_callback(self._close)  # where the task is cancelled before it begins, `_run` is not run

    def finish(self, code: int, reason: str) -> None:
        """The connection is gone: emit ``finish`` when all coroutines in the queue have ended."""
        self._finish_args = (code, reason)

    async def _run(self) -> None:
        """The task: await the coroutines in order, then emit ``finish`` if the connection is gone."""
        ws, waiting = self._ws, self._waiting
        try:
            while True:
                if not waiting:
                    if self._finish_args is None:
                        break
                    finish_args, self._finish_args = self._finish_args, None
                    ws._emit_finish_now(*finish_args)  # its coroutine handlers wait now
                    continue
                coroutine, size = waiting.popleft()
                self._size -= size
                try:
                    self._resume_reading()
                    await coroutine
                except GeneratorExit:  # the loop is gone
                    raise
                except BaseException as exc:
                    if self._task is not None and self._task.cancelling():
                        raise
                    ws._handler_failed(exc)
                finally:
                    coroutine.close()
        finally:
            self._close(None)

    def _resume_reading(self) -> None:
        """Read again, if reading paused and half of what may wait is left."""
        if self._is_paused:
            limits = self._ws.limits
            if len(self._waiting) <= limits.max_queue // 2 and self._size <= limits.high_water_mark // 2:
                self._is_paused = False
                self._ws.protocol.resume(PAUSED_BY_HANDLERS)
                self._ws._emit_resume()

    def _close(self, task: Any) -> None:
        """The task ends. Where it was cancelled, nothing that waits is run any more."""
        ws = self._ws
        ws._queue_ended(self)
        while self._waiting:
            self._waiting.popleft()[0].close()
        self._size = 0
        finish_args, self._finish_args = self._finish_args, None
        if finish_args is not None:
            ws._emit_finish_now(*finish_args)
        self._resume_reading()
