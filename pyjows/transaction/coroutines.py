"""`Coroutines`: what coroutines may await on a `WebSocket`.

Owns the awaited calls: open, receive, iterate, drain, close, each built on what the events are built on. Must not know
how messages wait (`inbox.py`), nor how a connection opens, sends or closes (`transaction.py`).

A transaction has an `Inbox` from the first time that it is awaited. The inbox keeps messages from then on, so that none
is lost between ``await ws`` and the first ``receive``. Where the program has
handlers of messages and does not receive, nothing is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator
from types import TracebackType
from typing import Any, Literal, Self, overload

from .. import _json
from ..errors import Close, CloseCode, ConnectionClosed, UnexpectedMessage, ungrouped
from ..handshake import ClientHandshake
from .inbox import Inbox

__all__ = ['Coroutines']

_NO_COROUTINES = (
    '{what} needs a loop that runs coroutines, and this one runs none: use the asyncio or the uvloop reactor, '
    "IOLoop(reactor='asyncio') or PYJOWS_REACTOR=asyncio, or connect and serve inside asyncio.run()"
)


class Coroutines:
    """The part of `WebSocket` that coroutines await."""

    def __await__(self) -> Generator[Any, None, Self]:
        """Wait until the connection is open; a server's request is accepted."""
        return _opened(self, 'await ws').__await__()

    async def __aenter__(self) -> Self:
        """Wait until the connection is open; if that is cancelled, the connection is terminated."""
        ws: Any = self
        try:
            await _opened(ws, 'async with ws')
        except BaseException:
            if not ws.is_finished:
                ws.terminate()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close and wait for the end; messages that wait are dropped.

        The code is 1000; for an exception 1011, or its own for an `UnexpectedMessage`; 1001 when cancelled.
        """
        ws: Any = self
        unexpected = None if exc is None else ungrouped(exc)
        if exc is None:
            ws.finish(CloseCode.NORMAL_CLOSURE)
        elif isinstance(unexpected, UnexpectedMessage):
            ws.finish(unexpected.code, Close.truncated(unexpected.code, str(unexpected)).reason)
        else:
            ws.finish(CloseCode.INTERNAL_ERROR if isinstance(exc, Exception) else CloseCode.GOING_AWAY)
        inbox = _inbox_of(ws, 'async with ws')
        inbox.discard()
        inbox.resume_reading()
        await self.wait_closed()

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages; ends when the connection is closed normally (1000, 1001 or no code).

        Raises:
            ConnectionClosed: in the iteration: it was closed otherwise.
        """
        return _claimed(self, 'async for')

    @overload
    async def receive(self) -> str | bytes: ...
    @overload
    async def receive(self, *, text: Literal[True]) -> str: ...
    @overload
    async def receive(self, *, binary: Literal[True]) -> bytes: ...
    @overload
    async def receive(self, *, json: Literal[True]) -> Any: ...
    async def receive(self, *, text: bool = False, binary: bool = False, json: bool = False) -> Any:
        """The next message: `str` for text, `bytes` for binary. A server's request is accepted.

        Between two calls messages wait, and reading pauses when `max_queue` of them do. Handlers get each message too.
        Cancelling it loses no message.

        Args:
            text: it has to be text.
            binary: it has to be binary.
            json: decode it, whichever it is.

        Raises:
            ConnectionClosed: the connection is closed, and no message is left.
            UnexpectedMessage: it is not of the kind asked for. If a handler or an ``async with`` block does not catch
                it, the connection closes with 1003, or with 1007 for JSON.
            HandshakeError, OSError: the connection could not be opened.
        """
        if text + binary + json > 1:
            raise TypeError('receive() takes one of text=True, binary=True and json=True')
        try:
            message = await anext(_claimed(self, 'receive()'))
        except StopAsyncIteration:
            raise self.protocol.close_exc from None  # type: ignore[attr-defined]
        if json:
            try:
                return _json.loads(message.encode() if isinstance(message, str) else message)
            except (ValueError, RecursionError) as exc:
                raise UnexpectedMessage(
                    f'a message that is not valid JSON: {exc}', CloseCode.INVALID_DATA, message
                ) from None
        if text and not isinstance(message, str):
            raise UnexpectedMessage('a binary message where text is expected', CloseCode.UNSUPPORTED_DATA, message)
        if binary and isinstance(message, str):
            raise UnexpectedMessage('a text message where binary is expected', CloseCode.UNSUPPORTED_DATA, message)
        return message

    async def drain(self) -> None:
        """Wait until all is written, if more than `high_water_mark` bytes wait; otherwise return at once.

        Raises:
            ConnectionClosed: the connection is closed.
        """
        ws: Any = self
        inbox = _inbox_of(ws, 'drain()')
        if not ws.can_write:
            while ws.is_writing and not ws.is_finished:
                ws.protocol.awaits_drain = True
                await inbox.change()
        if ws.is_finished:
            raise ws.protocol.close_exc

    async def wait_closed(self) -> Close:
        """Wait until the connection is gone; returns the code and the reason that ``finish`` has."""
        ws: Any = self
        inbox = _inbox_of(ws, 'wait_closed()')
        while not ws.is_finished:
            await inbox.change()
        return Close(*ws.protocol.end)

    def _keep_messages(self) -> None:
        """A coroutine awaits the transaction: keep messages for it, where it can be woken."""
        ws: Any = self
        if ws._can_spawn():
            _inbox_of(ws, 'await ws.accept()')

    def _handlers_returned(self, code: int) -> None:
        """The coroutine handlers of a server have ended: what waits is for the handlers of messages.

        Where there are none, the connection closes with this code if the coroutines have received messages.
        """
        ws: Any = self
        inbox: Inbox | None = ws._inbox
        if inbox is None or inbox.is_awaited:
            return
        if inbox.is_claimed and not any(map(ws.has_subscribers, ('message', 'text', 'binary', 'json'))):
            ws.finish(code)
        inbox.is_claimed = False
        was_finished = ws.is_finished
        for message in inbox.discard():
            if ws.is_finished and not was_finished:
                break  # a handler has terminated it
            ws._deliver(message)
        inbox.resume_reading()


def _inbox_of(ws: Any, what: str) -> Inbox:
    """The inbox of a transaction, made where there is none.

    Raises:
        RuntimeError: nothing here runs coroutines, or this is not the loop's thread.
    """
    inbox: Inbox | None = ws._inbox
    if inbox is None:
        if not ws._can_spawn():
            raise RuntimeError(_NO_COROUTINES.format(what=what))
        protocol = ws.protocol
        if protocol.ioloop is not None:
            protocol.ioloop.reactor.check_thread(what)
        inbox = ws._inbox = Inbox(protocol, _opened)
        if protocol.is_finished:
            inbox.end()
    return inbox


def _claimed(ws: Any, what: str) -> Inbox:
    """The inbox of a transaction from which the program receives."""
    inbox = _inbox_of(ws, what)
    inbox.claim()
    return inbox


def _opened(ws: Any, what: str = 'await ws') -> Awaitable[Any]:
    return _wait_until_open(ws, _inbox_of(ws, what))


async def _wait_until_open(ws: Any, inbox: Inbox) -> Any:
    """Wait until a connection is open; raise the exception of ``error`` where it fails."""
    opening = ws.protocol.opening
    if opening is not None and opening.awaits_answer():
        ws.accept()
    if not ws.established and not ws.is_finished:
        # An error before it is open is raised here, and not logged.
        ws.on('error', _raised_by_await)
        try:
            while not ws.established and not ws.is_finished:
                await inbox.change()
        finally:
            ws.unsubscribe('error', _raised_by_await)
    # A client whose server's extensions are wrong closes with 1010, as an open one would, but it never was open.
    if not ws.established or (isinstance(ws.handshake, ClientHandshake) and ws.res is None):
        raise ws.protocol.parser_exc or ConnectionClosed()
    return ws


def _raised_by_await(ws: Any, exc: BaseException) -> None:
    """The handler of ``error`` while the opening is awaited; what it raises is logged."""
    if exc is not ws.protocol.parser_exc:
        raise exc
