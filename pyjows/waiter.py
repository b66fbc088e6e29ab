"""`Waiter`: what a task of asyncio awaits until something happens.

Owns the wake-up of one task, at once or on the loop's next turn. Must not know what is waited for, nor import asyncio:
a reactor that runs coroutines gives what is needed of it.

It has the interface by which tasks wait for futures (`asyncio.isfuture`). An asyncio future wakes its task by
``call_soon``, so that each message costs a turn of the loop. `Waiter.wake_now` runs the task inside the call, as a
handler is run: what the task sends leaves with what handlers send. That is possible only where no other task is
running, as in a reactor's callback, which a `TaskGate` tells. Everywhere else `wake_now` is `wake`.

A task that is woken takes the result of what it awaited, sends to its coroutine, and registers with what that awaits
next. Where a coroutine awaits the same `Waiter` again and again, only the sending is needed. A reactor therefore gives
its tasks a `DirectCoroutine` to run: `wake_now` sends to it without the task, which stays registered, and wakes the
task only where the coroutine awaits something else or ends.

Other tasks register with an asyncio future in C, with anything else by Python calls. A `Waiter` that has seen a task
register therefore has it wait for a future next time. This future never has a result: `wake_now` takes the task's
callback away from it, and calls that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from types import SimpleNamespace
from typing import Any

from . import coroutine_step

__all__ = ['CurrentTask', 'DirectCoroutine', 'TaskGate', 'Waiter']

_PENDING, _WOKEN, _CANCELLED = range(3)


class TaskGate:
    """Whether the tasks of a loop may be run inside the current call.

    Attributes:
        loop: the asyncio loop.
        cancelled_error: asyncio's CancelledError.
        woken: a future that is done. A task whose wait is over is given this one: it reads the result of a future in C,
            and would call a method of a `Waiter` for it.
        current: tells the current task; None where that is not known.
        is_open: no task of the loop is running, and the loop is.
        task: the one that a `Waiter` runs now.
    """

    def __init__(self, loop: Any, cancelled_error: type[BaseException], current: CurrentTask | None = None) -> None:
        self.loop = loop
        self.cancelled_error = cancelled_error
        self.current = current
        self.woken = loop.create_future()
        self.woken.set_result(None)
        self.is_open = False
        self.task: Any = None


class CurrentTask:
    """Tells asyncio which task of a loop is the current one, and asks it.

    Args:
        loop: the asyncio loop.
        enter_task, leave_task: asyncio's functions for that.
        running: asyncio's dictionary of the current task of each loop, where it has one. It is changed in place of
            calling the functions, which would take a sixth of what it takes to run a coroutine on.
    """

    def __init__(
        self,
        loop: Any,
        enter_task: Callable[[Any, Any], object],
        leave_task: Callable[[Any, Any], object],
        running: dict[Any, Any] | None,
    ) -> None:
        self._loop = loop
        self._enter_task = enter_task
        self._leave_task = leave_task
        self._running = running

    def task(self) -> Any:
        """The task that runs; None where none does, or that is not known."""
        running = self._running
        return None if running is None else running.get(self._loop)

    def enter(self, task: Any) -> None:
        """This task runs; it waited until now.

        Raises:
            RuntimeError: another task is running.
        """
        running = self._running
        if running is None:
            self._enter_task(self._loop, task)
        elif (other := running.setdefault(self._loop, task)) is not task:
            raise RuntimeError(f'cannot run {task!r} while {other!r} is running')

    def leave(self, task: Any) -> None:
        """This task runs no longer."""
        running = self._running
        if running is None:
            self._leave_task(self._loop, task)
        else:
            del running[self._loop]


class DirectCoroutine:
    """A coroutine for a task to run, which a `Waiter` can run on without the task. It has the attributes of the other.

    Args:
        coroutine: the coroutine.
        current: tells asyncio the current task.

    Attributes:
        task: the task that runs it; None before that is known, and when the coroutine has ended.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], current: CurrentTask) -> None:
        self.task: Any = None
        self._coroutine = coroutine
        self._current = current
        # The outcome of a step without the task, until the task asks for it: what is awaited, or what was raised.
        self._has_outcome = False
        self._awaited: Any = None
        self._raised: BaseException | None = None

    # What a waiter calls

    def __call__(self, waiter: Waiter) -> bool:
        """`run_on`, for `Context.run` to call."""
        return self.run_on(waiter)

    def run_on(self, waiter: Waiter) -> bool:
        """Run to what is awaited next; returns whether it is this waiter again. If not, the task has to be woken.

        Raises:
            RuntimeError: another task is running; the coroutine did not run.
        """
        task = self.task
        self._current.enter(task)
        try:
            awaited = coroutine_step.send(self._coroutine)
            if awaited is waiter and waiter.is_renewed():
                return True
            self._awaited = awaited
        except BaseException as exc:
            self._raised = exc
        finally:
            self._current.leave(task)
        self._has_outcome = True
        return False

    # What a task calls

    def send(self, value: Any) -> Any:
        """Run to what is awaited next, and return it."""
        try:
            awaited = self._outcome() if self._has_outcome else self._coroutine.send(value)
        except BaseException:
            self.task = None
            raise
        return self._attached(awaited)

    def throw(self, *exc: Any) -> Any:
        """Raise an exception in the coroutine, and run to what is awaited next."""
        try:
            if self._has_outcome:
                # The coroutine had cancelled its own task before that. A task would cancel what is awaited, or itself.
                cancelled = exc[0] if len(exc) == 1 else exc[1]
                if isinstance(self._raised, StopIteration):
                    self._has_outcome, self._raised = False, None
                    raise cancelled
                awaited = self._outcome()
                if hasattr(awaited, 'cancel') and awaited.cancel(*cancelled.args):
                    return self._attached(awaited)
            awaited = self._coroutine.throw(*exc)
        except BaseException:
            self.task = None
            raise
        return self._attached(awaited)

    def close(self) -> None:
        """End the coroutine."""
        self.task = None
        self._coroutine.close()

    def _outcome(self) -> Any:
        """The outcome of the step without the task."""
        awaited, self._awaited = self._awaited, None
        raised, self._raised = self._raised, None
        self._has_outcome = False
        if raised is not None:
            raise raised
        return awaited

    def _attached(self, awaited: Any) -> Any:
        """What is awaited; if that is a waiter, it runs this coroutine on."""
        if isinstance(awaited, Waiter):
            waiter = awaited
            waiter.attach(self)
        return awaited

    # What coroutines have

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> DirectCoroutine:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    @property
    def cr_frame(self) -> Any:
        """The frame of the coroutine; None when it has ended.

        A compiled coroutine has no line number on CPython 3.11, and `asyncio.Task.print_stack` would raise TypeError:
        then this has the attributes of a frame at the coroutine's first line.
        """
        coroutine: Any = self._coroutine
        frame = coroutine.cr_frame
        if frame is None or frame.f_lineno is not None:
            return frame
        if self.task is None:
            return None
        code = frame.f_code
        return SimpleNamespace(
            f_code=code, f_lineno=code.co_firstlineno, f_lasti=0, f_back=None, f_globals=frame.f_globals, f_locals={}
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)


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
        self._is_cancel_refused = False  # a task was to be cancelled after its wait
        self._coroutine: DirectCoroutine | None = None  # which awaits it in the task that has registered
        # What a task waits for in place of this; the task, and what it registers with, as it did here once.
        self._future: Any = None
        self._waits_for_future = False
        self._task: Any = None
        self._wakeup: Callable[[Any], object] | None = None
        # By this a task knows a future that is awaited.
        self._asyncio_future_blocking = False

    # What happens

    def wake(self) -> None:
        """The task runs on, on the next turn of the loop."""
        if self._state == _PENDING:
            self._state = _WOKEN
            if self._waits_for_future:
                self._resolve()
            else:
                self._task = self._wakeup = None
                self._call_soon()

    def wake_now(self) -> None:
        """The task runs on inside this call if the gate is open, else as `wake` does.

        Raises:
            BaseException: KeyboardInterrupt or SystemExit, which the task raised.
        """
        gate = self._gate
        if self._state != _PENDING or not gate.is_open:
            self.wake()
            return
        self._state = _WOKEN
        if self._waits_for_future and not self._take_back():
            return
        context = self._context
        if self._callback is None or context is None:
            self._call_soon()
            return
        callback, self._callback = self._callback, None
        coroutine, self._coroutine = self._coroutine, None
        self._is_cancel_refused = False
        gate.is_open = False
        try:
            if coroutine is None:
                self._run(callback, context)
            elif coroutine.task is not None and self._run_on(coroutine, context):
                self._callback, self._coroutine = callback, coroutine
            else:
                context.run(callback, gate.woken)
        except RuntimeError:  # of asyncio: a loop inside a loop, as some programs make them; the task did not run
            self._callback = callback
            self._call_soon()
        finally:
            gate.is_open = True
            gate.task = None
            if self._state != _PENDING:  # the task waits here no longer: it must not be kept
                self._task = self._wakeup = None

    def _run(self, callback: Callable[[Any], object], context: Context) -> None:
        """Run a task on in its context."""
        gate = self._gate
        gate.task = self._task
        if not coroutine_step.enter(context):
            context.run(callback, gate.woken)
            return
        try:
            callback(gate.woken)
        finally:
            coroutine_step.leave(context)

    def _run_on(self, coroutine: DirectCoroutine, context: Context) -> bool:
        """Run a coroutine on in its context; see `DirectCoroutine.run_on`."""
        if not coroutine_step.enter(context):
            return bool(context.run(coroutine, self))
        try:
            return coroutine.run_on(self)
        finally:
            coroutine_step.leave(context)

    def _call_soon(self) -> None:
        callback, self._callback = self._callback, None
        self._coroutine = None
        gate = self._gate
        if callback is not None and not gate.loop.is_closed():
            outcome = gate.woken if self._state == _WOKEN else self
            gate.loop.call_soon(callback, outcome, context=self._context)

    def _take_back(self) -> bool:
        """Take the callback of the task away from the future that it waits for; returns whether it was there."""
        self._waits_for_future = False
        if self._future.remove_done_callback(self._wakeup) == 1:
            self._callback = self._wakeup
            return True
        self._resolve()  # it was cancelled, or the task registers otherwise than before
        return False

    def _resolve(self) -> None:
        """Wake the task that waits for the future, as asyncio does, unless it was cancelled."""
        self._waits_for_future = False
        self._task = self._wakeup = None
        future, self._future = self._future, None
        if not future.done():
            future.set_result(None)

    # What uses it again

    def renew(self) -> None:
        """Wait once more, after a wait that `wake` or `wake_now` has ended."""
        self._state = _PENDING

    def is_renewed(self) -> bool:
        """Whether a wait goes on for which no task has registered yet."""
        return self._state == _PENDING and self._callback is None and not self._is_cancel_refused

    def attach(self, coroutine: DirectCoroutine) -> None:
        """The task that registers next runs this coroutine."""
        self._coroutine = coroutine

    # What a coroutine calls

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Waiter:
        return self

    def __next__(self) -> Any:
        awaited = self.awaited()
        if awaited is None:
            raise StopIteration
        return awaited

    def awaited(self) -> Any:
        """What a coroutine that waits gives its task; None when the wait is over.

        Raises:
            CancelledError: it was cancelled.
        """
        if self._state == _PENDING:
            task = self._task
            if task is not None and (self._gate.task is task or self._is_current(task)):
                return self._awaited_future()
            self._asyncio_future_blocking = True
            return self
        if self._state == _CANCELLED:
            self.result()
        return None

    def _is_current(self, task: Any) -> bool:
        """Whether this task is running."""
        current = self._gate.current
        return current is not None and current.task() is task

    def _awaited_future(self) -> Any:
        """What the task that is known waits for."""
        future = self._future
        if future is None:
            future = self._future = self._gate.loop.create_future()
        self._waits_for_future = True
        future._asyncio_future_blocking = True
        return future

    # What a task calls

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call ``callback(waiter)`` when the wait is over."""
        self._callback, self._context = callback, context
        current = self._gate.current
        if self._coroutine is None and current is not None:
            self._task, self._wakeup = current.task(), callback
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
            self._is_cancel_refused = True
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
