"""`Inbox`: the messages of one connection that wait for coroutines, and the coroutines that wait for it.

Owns the order of those messages, how many may wait, and waking the coroutines. Must not know what they await
(`coroutines.py`), nor handlers.

A connection has one from the first time that it is awaited. Reading pauses while `max_queue` messages wait, or more
than `high_water_mark` characters or bytes of them, and goes on when half of that is left. A message leaves the inbox
only when the coroutine that gets it is resumed: cancelling one that waits loses nothing.

A coroutine that waits for a message is resumed when the bytes at hand are processed, or earlier where too many messages
wait, and before the stream sends: its answers leave with what handlers send. A coroutine that waits for something else
(open, drain, the end) is woken by every such change, and checks its condition again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .. import coroutine_step
from ..errors import ConnectionClosedOK
from ..waiter import TaskGate, Waiter

__all__ = ['PAUSED_BY_INBOX', 'Inbox', 'NextMessage']

# A reason to pause reading, as a bit beside those in `driver.py`.
PAUSED_BY_INBOX = 4

# Compiled, C variables: a call of them takes half as long as to find the method by its name for each message.
_append, _popleft = deque.append, deque.popleft


class Inbox:
    """The messages of a connection that wait for coroutines; iterating over it gives them.

    Args:
        protocol: the state machine of the connection.
        before_waiting: ``await before_waiting(ws)`` where there is no message: it opens the connection.

    Attributes:
        is_claimed: whether a program receives from it. Until then, messages that have handlers are not kept.
        is_ended: whether the connection is gone.
    """

    def __init__(self, protocol: Any, before_waiting: Any) -> None:
        self._protocol = protocol
        self._before_waiting = before_waiting
        self.is_claimed = False
        self.is_ended = False
        self._is_open = False  # whether there is nothing to wait for before the first message
        # The messages: the first one, and the others. Mostly there are none, and one comes.
        self._first: Any = None
        self._others: deque[Any] = deque()
        self._count = 0
        self._size = 0
        self._max_messages: int = protocol.limits.max_queue
        self._max_size: int = protocol.limits.high_water_mark
        self._is_paused = False
        self._is_discarding = False
        self._unhandled = 0  # how many of them, the first ones, came when there was no handler of messages
        self._receivers = 0  # how many coroutines wait for a message, also while it is opened
        # What the coroutine awaits that waits for a message, and what others await; and one that is not in use.
        self._waiter: Waiter | None = None
        self._waiting: list[Waiter] = []
        self._spare: Waiter | None = None
        self._watching: list[Waiter] = []  # for another change
        self._next: NextMessage | None = None  # what was awaited last
        self._gate: TaskGate | None = None

    # What the connection does

    def put(self, message: Any, is_handled: bool) -> None:
        """Keep a message; `is_handled` says whether it has handlers too."""
        if self._is_discarding:
            return
        if not is_handled and self._unhandled == self._count:
            self._unhandled += 1
        if self._count:
            _append(self._others, message)
        else:
            self._first = message
        self._count += 1
        self._size += len(message)

    def pause_if_full(self) -> None:
        """Where too many messages wait, run the coroutines that wait for one; if too many are left, pause reading."""
        if not self._is_paused and self._is_full():
            self.hand_out()
            if self._is_full():
                self._is_paused = True
                self._protocol.pause(PAUSED_BY_INBOX)

    def _is_full(self) -> bool:
        return self._count >= self._max_messages or self._size > self._max_size

    def hand_out(self) -> None:
        """Run the coroutines that wait for a message, if there is one."""
        first = self._waiter
        if first is not None and self._count:
            self._waiter = None
            if not self._waiting:
                self._run(first)
            else:
                waiting, self._waiting = self._waiting, []
                self._run(first)
                for waiter in waiting:
                    self._run(waiter)

    def _run(self, waiter: Waiter) -> None:
        """Run a coroutine that waits."""
        try:
            waiter.wake_now()
        except BaseException as exc:  # KeyboardInterrupt or SystemExit
            self._protocol.ws._raise_later(exc)

    def wake(self) -> None:
        """Wake the coroutines that wait for a change: the connection is open, all is written, or it is gone."""
        watching, self._watching = self._watching, []
        for waiter in watching:
            waiter.wake()

    def end(self) -> None:
        """The connection is gone."""
        self.is_ended = True
        if self._waiter is not None:
            self._watching.append(self._waiter)
        self._watching += self._waiting
        self._waiter, self._waiting = None, []
        self._next = self._spare = None  # they know the task
        self.wake()

    def handlers_added(self) -> None:
        """There are handlers of messages now: unless the program receives too, reading need not pause."""
        ioloop = self._protocol.ioloop
        if self._is_paused and not self.is_claimed:
            if ioloop is None:
                self.resume_reading()
            else:
                ioloop.reactor.next_tick(self._resume_unless_claimed)  # when more handlers are there

    def _resume_unless_claimed(self, reactor: Any) -> None:
        if not self.is_claimed:
            self.resume_reading()

    def resume_reading(self) -> None:
        """End the pause that `pause_if_full` began."""
        if self._is_paused:
            self._is_paused = False
            self._protocol.resume(PAUSED_BY_INBOX)

    def discard(self) -> list[Any]:
        """Keep no more messages, and drop those that wait; returns those of them that no handler was called with."""
        self._is_discarding = True
        unhandled = [self._first, *self._others][: self._unhandled]
        self._first = None
        self._others.clear()
        self._count = self._size = self._unhandled = 0
        return unhandled

    # What coroutines do

    def claim(self) -> None:
        """The program receives: keep all messages from now on, also those that have handlers."""
        self.is_claimed = True
        self._is_discarding = False

    @property
    def is_awaited(self) -> bool:
        """Whether a coroutine waits for a message."""
        return self._receivers > 0

    async def change(self) -> None:
        """Wait for the next change that is not a message."""
        waiter = self._new_waiter()
        self._watching.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in self._watching:
                self._watching.remove(waiter)
            raise

    def __aiter__(self) -> Inbox:
        return self

    def __anext__(self) -> Any:
        """The next message, to be awaited; a normal close ends the iteration.

        Raises:
            ConnectionClosed: when awaited: it was closed otherwise.
        """
        if not self._is_open:
            return self._first_message()
        again = self._next
        if again is not None and coroutine_step.is_unshared(again) and again.begin_again():
            return again
        self._next = again = NextMessage(self)
        return again

    async def _first_message(self) -> Any:
        """The next message, where the connection may have to be opened before."""
        self.claim()
        while not self._count and not self.is_ended and self._protocol.opening is not None:
            self._receivers += 1
            try:
                await self._before_waiting(self._protocol.ws)
            finally:
                self._receivers -= 1
        self._is_open = self._protocol.opening is None
        return await NextMessage(self)

    def _wait(self) -> Waiter:
        """A waiter for a coroutine that waits for a message."""
        self._receivers += 1
        waiter = self._spare
        if waiter is None:
            waiter = self._new_waiter()
        else:
            self._spare = None
            waiter.renew()
        if self._waiter is None:
            self._waiter = waiter
        else:
            self._waiting.append(waiter)
        return waiter

    def _new_waiter(self) -> Waiter:
        """A new waiter, for a coroutine to await."""
        if self._gate is None:
            self._gate = self._protocol.ws._spawner().task_gate
        return Waiter(self._gate)

    def _waited(self, waiter: Waiter) -> None:
        """The wait for a message is over."""
        self._receivers -= 1
        if not self.is_ended:
            self._spare = waiter

    def _forget(self, waiter: Waiter) -> None:
        """A coroutine that waited for a message was cancelled."""
        self._receivers -= 1
        if self._waiter is waiter:
            self._waiter = self._waiting.pop(0) if self._waiting else None
        elif waiter in self._waiting:
            self._waiting.remove(waiter)

    def _take(self) -> Any:
        """Take the first message."""
        message = self._first
        self._count -= 1
        self._first = _popleft(self._others) if self._count else None
        self._size -= len(message)
        if self._unhandled:
            self._unhandled -= 1
        if self._is_paused and self._count <= self._max_messages >> 1 and self._size <= self._max_size >> 1:
            self.resume_reading()
            ws = self._protocol.ws
            if ws is not None:
                ws._emit_resume()
        return message

    def _closed_error(self) -> BaseException:
        """The exception for the end: StopAsyncIteration after a normal close."""
        protocol = self._protocol
        if protocol.opening is not None and protocol.parser_exc is not None:
            exc: BaseException = protocol.parser_exc
            return exc
        closed: BaseException = protocol.close_exc
        if isinstance(closed, ConnectionClosedOK):
            return StopAsyncIteration()
        if protocol.close_rcvd is None and protocol.end[1]:
            closed.add_note(protocol.end[1])  # such as a ping timeout
        return closed


class NextMessage:
    """What awaits the next message of an inbox: a coroutine without a frame, since one is awaited for each message.

    Args:
        inbox: the inbox; its connection is open.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._waiter: Waiter | None = None  # what it awaits
        self._is_done = False

    def begin_again(self) -> bool:
        """Await one more message, if the one before is there; nothing else has a reference to this coroutine."""
        is_done, self._is_done = self._is_done, False
        return is_done

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> NextMessage:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Go on; returns what it awaits, or ends with the message.

        Raises:
            StopIteration: the message.
            StopAsyncIteration: the connection was closed normally.
            ConnectionClosed: it was closed otherwise.
        """
        awaited = _awaited(self)
        if awaited is None:
            raise StopIteration(_message(self))
        return awaited

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """End with an exception; no message is lost."""
        self.close()
        if value is None:
            value = kind
        elif not isinstance(value, BaseException):
            value = kind(value)
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self) -> None:
        """End."""
        self._is_done = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._inbox._forget(waiter)


def _awaited(next_message: Any) -> Any:
    """Go on with a `NextMessage`; returns what it awaits, None if there is a message."""
    this: NextMessage = next_message
    inbox, waiter = this._inbox, this._waiter
    if waiter is not None:
        awaited = waiter.awaited()
        if awaited is not None:
            return awaited
        this._waiter = None
        inbox._waited(waiter)
    elif this._is_done:
        raise RuntimeError('cannot reuse already awaited coroutine')
    else:
        inbox.claim()
    if inbox._count:
        this._is_done = True
        return None
    if inbox.is_ended:
        this._is_done = True
        raise inbox._closed_error()
    waiter = this._waiter = inbox._wait()
    return waiter.awaited()


def _message(next_message: Any) -> Any:
    """The message of a `NextMessage` whose wait is over."""
    this: NextMessage = next_message
    return this._inbox._take()


coroutine_step.send_by(NextMessage, _awaited, _message)
