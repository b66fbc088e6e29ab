"""`Waiter`: what a task of asyncio awaits until something happens.

Owns the wake-up of one task, at once or on the loop's next turn. Must not know what is waited for, nor import asyncio:
a reactor that runs coroutines gives what is needed of it.

It has the interface by which tasks wait for futures (`asyncio.isfuture`). An asyncio future wakes its task by
``call_soon``, so that each message costs a turn of the loop. `Waiter.wake_now` runs the task inside the call, as a
handler is run: what the task sends leaves with what handlers send. That is possible only where no other task is
running, as in a reactor's callback, which a `TaskGate` tells. Everywhere else `wake_now` is `wake`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ['TaskGate', 'Waiter']

_PENDING, _WOKEN, _CANCELLED = range(3)


class TaskGate:
    """Whether the tasks of a loop may be run inside the current call.

    Attributes:
        loop: the asyncio loop.
        cancelled_error: asyncio's CancelledError.
        is_open: no task of the loop is running, and the loop is.
    """

    def __init__(self, loop: Any, cancelled_error: type[BaseException]) -> None:
        self.loop = loop
        self.cancelled_error = cancelled_error
        self.is_open = False


class Waiter:
    """A future without a result that one task awaits.

    Args:
        gate: that of the loop which runs the task.
    """

    def __init__(self, gate: TaskGate) -> None:
        self._gate = gate
        self._state = _PENDING
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancel_message: Any = None
        # By this a task knows a future that is awaited.
        self._asyncio_future_blocking = False

    # What happens

    def wake(self) -> None:
        """The task runs on, on the next turn of the loop."""
        if self._state == _PENDING:
            self._state = _WOKEN
            self._call_soon()

    def wake_now(self) -> None:
        """The task runs on inside this call if the gate is open, else as `wake` does.

        Raises:
            BaseException: KeyboardInterrupt or SystemExit, which the task raised.
        """
        if self._state != _PENDING:
            return
        self._state = _WOKEN
        gate = self._gate
        context = self._context
        if not gate.is_open or context is None:
            self._call_soon()
            return
        callback, self._callback = self._callback, None
        gate.is_open = False
        try:
            context.run(callback, self)  # type: ignore[arg-type]
        except RuntimeError:  # of asyncio: a loop inside a loop, as some programs make them; the task did not run
            self._callback = callback
            self._call_soon()
        finally:
            gate.is_open = True

    def _call_soon(self) -> None:
        callback, self._callback = self._callback, None
        loop = self._gate.loop
        if callback is not None and not loop.is_closed():
            loop.call_soon(callback, self, context=self._context)

    # What a coroutine calls

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Waiter:
        return self

    def __next__(self) -> Waiter:
        if self._state == _PENDING:
            self._asyncio_future_blocking = True
            return self
        if self._state == _CANCELLED:
            self.result()
        raise StopIteration

    # What a task calls

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call ``callback(waiter)`` when the wait is over."""
        self._callback, self._context = callback, context
        if self._state != _PENDING:
            self._call_soon()

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Do not call it; returns how many were removed."""
        if self._callback is None or self._callback != callback:
            return 0
        self._callback = None
        return 1

    def cancel(self, msg: Any = None) -> bool:
        """Have the task raise CancelledError; returns whether it was waiting."""
        if self._state != _PENDING:
            return False
        self._state = _CANCELLED
        self._cancel_message = msg
        self._call_soon()
        return True

    def cancelled(self) -> bool:
        """Whether `cancel` ended the wait."""
        return bool(self._state == _CANCELLED)

    def done(self) -> bool:
        """Whether the wait is over."""
        return bool(self._state != _PENDING)

    def result(self) -> None:
        """Raise CancelledError if it was cancelled."""
        if self._state == _CANCELLED:
            message = self._cancel_message
            raise self._gate.cancelled_error(*(() if message is None else (message,)))

    def exception(self) -> None:
        """As `result`."""
        self.result()

    def get_loop(self) -> Any:
        """The loop that runs the task."""
        return self._gate.loop
