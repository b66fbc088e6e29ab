"""`Inbox`: the messages of one connection that wait for coroutines, and the coroutines that wait for it.

Owns the order of those messages, how many may wait, and waking who awaits something. Must not know what is awaited
(`coroutines.py`), nor handlers.

A connection has one from the first time that it is awaited. Reading pauses while `max_queue` messages wait, or more
than `high_water_mark` characters or bytes of them, and goes on when half of that is left. A message leaves the inbox
only when the coroutine that gets it runs on: cancelling one that waits loses nothing.

Whoever waits is woken by every change (a message, open, drain, the end), and looks again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..errors import ConnectionClosedOK

__all__ = ['PAUSED_BY_INBOX', 'Inbox', 'NextMessage']

# A reason to pause reading, as a bit beside those in `driver.py`.
PAUSED_BY_INBOX = 4


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
        self._messages: deque[Any] = deque()
        self._size = 0
        self._max_messages = protocol.limits.max_queue
        self._max_size = protocol.limits.high_water_mark
        self._is_paused = False
        self._is_discarding = False
        self._unheard = 0  # how many of them, the first ones, came when there was no handler of messages
        self._receivers = 0
        self._waiting: list[Any] = []
        self._make_future: Any = None

    # What the connection does

    def put(self, message: Any, is_heard: bool) -> None:
        """A message was received, which has handlers if `is_heard`."""
        if self._is_discarding:
            return
        if not is_heard and self._unheard == len(self._messages):
            self._unheard += 1
        self._messages.append(message)
        self._size += len(message)
        if not self._is_paused and (len(self._messages) >= self._max_messages or self._size > self._max_size):
            self._is_paused = True
            self._protocol.pause(PAUSED_BY_INBOX)
        if self._waiting:
            self.wake()

    def wake(self) -> None:
        """Something has changed."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """The connection is gone."""
        self.is_ended = True
        self.wake()

    def has_handlers(self) -> None:
        """Handlers take the messages from now on: unless the program receives too, it holds nothing back."""
        ioloop = self._protocol.ioloop
        if self._is_paused and not self.is_claimed:
            if ioloop is None:
                self.read_on()
            else:
                ioloop.reactor.next_tick(self._read_on_unless_claimed)  # when more handlers are there

    def _read_on_unless_claimed(self, reactor: Any) -> None:
        if not self.is_claimed:
            self.read_on()

    def read_on(self) -> None:
        """Hold the reading back no more."""
        if self._is_paused:
            self._is_paused = False
            self._protocol.resume(PAUSED_BY_INBOX)

    def discard(self) -> list[Any]:
        """Keep no more messages, and drop those that wait; returns those of them that no handler has heard."""
        self._is_discarding = True
        unheard = list(self._messages)[: self._unheard]
        self._messages.clear()
        self._size = self._unheard = 0
        return unheard

    # What coroutines do

    def claim(self) -> None:
        """The program receives: keep all messages from now on, whichever have handlers."""
        self.is_claimed = True
        self._is_discarding = False

    @property
    def is_awaited(self) -> bool:
        """Whether a coroutine waits for a message."""
        return self._receivers > 0

    async def change(self) -> None:
        """Wait for the next change."""
        future = self.new_future()
        try:
            await future
        finally:
            self.forget(future)

    def new_future(self) -> Any:
        """A future that is done with the next change."""
        if self._make_future is None:
            self._make_future = self._protocol.ws._spawner().future
        future = self._make_future()
        self._waiting.append(future)
        return future

    def forget(self, future: Any) -> None:
        """Nobody waits for this future any more."""
        if future in self._waiting:
            self._waiting.remove(future)

    def __aiter__(self) -> Inbox:
        return self

    def __anext__(self) -> NextMessage:
        return NextMessage(self, True)

    def receive(self) -> NextMessage:
        """The next message, to be awaited; raises ConnectionClosed where `__anext__` ends an iteration."""
        return NextMessage(self, False)

    def take(self) -> Any:
        """Take the first message."""
        message = self._messages.popleft()
        self._size -= len(message)
        if self._unheard:
            self._unheard -= 1
        if self._is_paused and len(self._messages) <= self._max_messages >> 1 and self._size <= self._max_size >> 1:
            self.read_on()
            ws = self._protocol.ws
            if ws is not None:
                ws._emit_resume()
        return message

    async def wait(self, iterates: bool) -> Any:
        """Take the next message, when there is one."""
        protocol = self._protocol
        self.claim()
        self._receivers += 1
        try:
            while not self._messages:
                if self.is_ended:
                    raise self._end_of(iterates)
                if protocol.opening is not None:
                    await self._before_waiting(protocol.ws)
                else:
                    await self.change()
            return self.take()
        finally:
            self._receivers -= 1

    def _end_of(self, iterates: bool) -> BaseException:
        """What to raise at the end."""
        protocol = self._protocol
        if protocol.opening is not None and protocol.parser_exc is not None:
            exc: BaseException = protocol.parser_exc
            return exc
        closed: BaseException = protocol.close_exc
        if isinstance(closed, ConnectionClosedOK):
            return StopAsyncIteration() if iterates else closed
        if protocol.close_rcvd is None and protocol.end[1]:
            closed.add_note(protocol.end[1])  # such as a ping timeout
        return closed


class NextMessage:
    """The next message of an inbox, to be awaited: at once where one waits.

    It waits by itself while the connection is open, which is the rule; everything else is in `Inbox.wait`.
    """

    def __init__(self, inbox: Inbox, iterates: bool) -> None:
        self._inbox = inbox
        self._iterates = iterates
        self._is_waiting = False  # and counts among the receivers
        self._future: Any = None
        self._waits: Any = None  # what it waits for, as an iterator: the future, or `Inbox.wait`
        self._is_last = False  # it gives the message

    def __await__(self) -> NextMessage:
        return self

    def __iter__(self) -> NextMessage:
        return self

    def __next__(self) -> Any:
        inbox = self._inbox
        while True:
            if self._waits is not None:
                if self._is_last:
                    return self._waits.send(None)
                try:
                    return next(self._waits)  # the future itself, until it is done
                except StopIteration:
                    self._waits = None
            if inbox._messages:
                self._stop_waiting()
                raise StopIteration(inbox.take())
            if inbox.is_ended or inbox._protocol.opening is not None:
                self._stop_waiting()
                self._is_last = True
                self._waits = inbox.wait(self._iterates)
            else:
                if not self._is_waiting:
                    inbox.claim()
                    self._is_waiting = True
                    inbox._receivers += 1
                self._future = inbox.new_future()
                self._waits = self._future.__await__()

    def send(self, value: Any) -> Any:
        """As a coroutine's."""
        return self.__next__()

    def throw(self, *exc: Any) -> Any:
        """As a coroutine's."""
        self._stop_waiting()
        if not self._is_last:
            self._is_last = True
            self._waits = self._inbox.wait(self._iterates)
        return self._waits.throw(*exc)

    def close(self) -> None:
        """As a coroutine's."""
        self._stop_waiting()
        if self._is_last:
            self._waits.close()

    def _stop_waiting(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._inbox._receivers -= 1
            self._inbox.forget(self._future)
            self._future = None
