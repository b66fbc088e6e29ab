"""`Opening`: a transaction before it is open. The stream feeds it until then; afterwards it is freed.

Owns the order of an opening: the handlers are called, the answer is written, what was sent early follows it, and the
first frames may be here already. Must not know what a valid handshake contains (`handshake/`), how a frame looks, nor
how events are emitted (`transaction.py`).

One object serves both sides. A server's goes from `feed` to `request_received` (where a server with a loop begins) and
ends in `accept` or `refuse`; a client's begins with `send_request`, and ends in `_accepted` or `failed`, unless its
connector follows a redirect: then it begins again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .._text import cut, shown
from ..buffers import Receiver, WriteBuffer
from ..errors import Close, CloseCode, ConnectionClosed, HandshakeError, InvalidState
from ..extensions import as_factories
from ..frames import Opcode, write_frame
from ..handshake import ClientHandshake, negotiation_close, select_subprotocol
from ..handshake.server import ServerHandshake
from ..http11 import Headers, Request, Response
from ..protocol import State
from ..safe_logger import SafeLogger
from ..sansio.http import PendingResponse
from .driver import PAUSED_FOR_OTHERS, TransactionProtocol

__all__ = ['Accepted', 'Opening']

# What is sent early is kept as the first byte of its frame and its payload. Beside the first byte: the frame is sent as
# it is, past the extensions. In its place: the close, its payload a code and a reason.
RAW = 0x100
_CLOSE = 0

_MAX_HEADER = 14  # bytes of a frame's header

# Compiled, these are C integers: these two, and the first bytes of frames with a whole message.
_RAW = RAW
_PAUSED_FOR_OTHERS = PAUSED_FOR_OTHERS
_TEXT, _BINARY = 0x80 | Opcode.TEXT.value, 0x80 | Opcode.BINARY.value

_log = SafeLogger('pyjows')


class Opening(Receiver):
    """The opening of one transaction.

    Args:
        ws: the transaction.
        protocol: its protocol.
        compression, subprotocols, headers: its options.
    """

    ws: Any  # a `TransactionInfo`, the base class of the transaction

    def __init__(
        self, ws: Any, protocol: TransactionProtocol, compression: Any, subprotocols: Sequence[str], headers: Any
    ) -> None:
        self._begin_receiver()
        self.awaits_drain = True
        self.ws = ws
        self.protocol = protocol
        self.compression = compression
        self.subprotocols = subprotocols
        self.headers = headers
        self.is_answered = False
        self.pending: PendingResponse | None = None  # what handlers add to the answer
        self.early: list[tuple[int, Any]] | None = None
        self.early_size = 0  # bytes of payload
        # While coroutine handlers hold the answer back: their task; nothing is read, and a timer bounds it.
        self._task: Any = None
        self._timer: Any = None
        self._reading_stopped = False

    # What a stream calls

    def feed(self, data: bytes | bytearray, n: int) -> None:
        """`n` bytes of the handshake were received, ``data[:n]``."""
        if self.ws is not None and not self.protocol._discarding:
            self._receive(bytes(data[:n]))

    def eof(self) -> None:
        """The peer ended its half of the connection in the middle of the handshake."""
        ws, protocol = self.ws, self.protocol
        if ws is not None and not protocol._discarding:
            handshake = ws._handshake
            self._receive(b'')
            if handshake is not None and ws._handshake is not handshake:
                return  # a redirect is followed: this is the EOF of the connection before
        protocol.eof()
        ws = None  # as in `_receive`

    def drained(self) -> None:
        """The kernel has taken all that waited; that is a drain only if no early message waits."""
        if self.ws is not None and self.early is None and self.protocol.awaits_drain:
            self.ws._emit_drain()

    def lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        if self.ws is not None:
            if exc is not None and isinstance(self.ws._handshake, ClientHandshake):
                self.ws._handshake.cause = exc
            self.ws.closed()
        self.protocol.stream = None

    def outgoing(self) -> WriteBuffer:
        """The buffer to write to. Without a stream, ``resume`` is emitted for what is written."""
        self.protocol.resume_pending = self.stream is None
        return Receiver.outgoing(self)

    def _receive(self, data: bytes) -> None:
        """Bytes of the handshake were received; ``b''`` means that no more will come."""
        ws = self.ws
        connector: Any = None
        handshake = ws._handshake
        try:
            if isinstance(handshake, ClientHandshake):
                if not data:
                    handshake.eof()
                elif (response := handshake.receive(data)) is not None:
                    self._accepted(handshake, response)
            else:
                if handshake is None:
                    handshake = ws._handshake = ServerHandshake()
                request = handshake.receive(data)
                if request is not None:
                    self.request_received(handshake, request, None, 0.0)
        except HandshakeError as exc:
            if isinstance(handshake, ServerHandshake):
                self.refuse(exc.response)
            else:
                connector = self.protocol.owner
                if connector is None or not connector.refused(ws, exc):
                    self.failed(exc)
        finally:
            ws = connector = (
                None  # interpreted, this frame is in the traceback of the exception, which the transaction keeps
            )

    # Early messages

    def queue(self, head: int, payload: Any) -> None:
        """Keep a message, a raw frame (`RAW` in `head`) or the close until the connection is open.

        What waits is bounded as it is afterwards (`TransactionProtocol._check_backlog`): behind a message too many, the
        close waits.

        Raises:
            ConnectionClosed: it is closed or refused, or the close waits already.
        """
        protocol = self.protocol
        if protocol.state is not State.CONNECTING or protocol._discarding or protocol.is_finished:
            raise ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)
        if self.early is None:
            self.early = []
        elif self.early[-1][0] == _CLOSE:
            code, reason = self.early[-1][1]
            raise ConnectionClosed(None, None if code is None else Close(code, reason))
        self.early.append((head, payload))
        if head != _CLOSE:
            self.early_size += len(payload)
            if self.early_size + len(self.early) * _MAX_HEADER > protocol.limits.max_backlog and len(self.early) > 1:
                close = protocol._slow_consumer_close(self.early_size)
                self.early.append((_CLOSE, (close.code, close.reason)))

    def queue_close(self, code: int | None, reason: str) -> None:
        """Keep the close until the connection is open; a second one does nothing."""
        nothing_to_send = self.early is None
        try:
            self.queue(_CLOSE, (code, reason))
        except ConnectionClosed:
            return
        connector: Any = self.protocol.owner
        if nothing_to_send and connector is not None and isinstance(self.ws._handshake, ClientHandshake):
            connector.given_up(self.ws)

    def _forget_early(self) -> None:
        self.early = None
        self.early_size = 0

    def _send_early(self) -> None:
        """Send what waited for the handshake."""
        protocol = self.protocol
        early = self.early
        self._forget_early()
        if early is not None:
            for head, payload in early:
                if head == _CLOSE:
                    protocol.send_close(*payload)
                elif head & _RAW:
                    if protocol._logs_frames:
                        protocol._log_frame('>', head & 0xFF, payload)
                    write_frame(protocol.outgoing(), head & 0xFF, payload, protocol._masks)
                else:
                    protocol._send(head, payload)
                if head & ~_RAW in (_TEXT, _BINARY):
                    protocol.traffic.messages_sent += 1
                    protocol.traffic.bytes_sent += len(payload)

    # Server

    def request_received(
        self,
        handshake: ServerHandshake,
        request: Request,
        announce: Callable[[Any, list[Any]], object] | None,
        timeout: float,
    ) -> None:
        """The upgrade request is complete: call the handlers, then accept it, unless they have answered it.

        Args:
            handshake: what has read it.
            request: the request.
            announce: ``announce(ws, coroutines)`` calls the handlers of a server, before those of ``request``, and
                appends the coroutines that they return.
            timeout: seconds that coroutines may hold the answer back; 0 for no limit.
        """
        ws = self.ws
        ws._handshake = handshake
        ws.req = request
        logger = self.protocol.logger
        if logger.isEnabledFor(logging.DEBUG):
            place = self.protocol.addresses
            asked = f'{cut(request.method, 32)} {shown(request.target)} from {place[2]} port {place[3]}'
            logger.debug('%s upgrade request: %s', self.protocol._log_id(), asked)
        refusal = handshake.check(request)
        if refusal is not None:
            self.refuse(refusal)
            return
        coroutines: list[Any] = []
        protocol = self.protocol
        try:
            protocol.is_emitting = True
            try:
                if announce is not None:
                    announce(ws, coroutines)
                if not self.is_answered and not protocol.is_finished:
                    ws._call_for_coroutines('request', coroutines)
            finally:
                ws._end_emitting(False)
            if coroutines:
                self._run(coroutines, timeout)
            elif self.awaits_answer():
                self._accept_or_refuse(ws)
        except BaseException as exc:
            _close_all(coroutines)
            self._handler_failed(ws, exc)

    def _run(self, coroutines: list[Any], timeout: float) -> None:
        """Run the coroutines of the handlers; until they have ended or answered the request, nothing more is read."""
        runner = self._answer_after(self.ws, coroutines)
        try:
            self._task = self.ws._spawn(runner)
        except BaseException:
            runner.close()
            raise
        if self.awaits_answer():
            self._stop_reading()
            if timeout:
                self._timer = self.protocol.ioloop.reactor.timer(self._timed_out, timeout)

    async def _answer_after(self, ws: Any, coroutines: list[Any]) -> None:
        """Await the coroutines, one after the other; then accept the request, unless they have answered it."""
        try:
            for coroutine in coroutines:
                await coroutine
        except Exception as exc:
            self._handler_failed(ws, exc)
            ws._handlers_returned(CloseCode.INTERNAL_ERROR)
        except BaseException:  # the task was cancelled
            if self.awaits_answer():
                self.refuse(Response(500))
            raise
        else:
            if self.awaits_answer():
                self._accept_or_refuse(ws)
            ws._handlers_returned(CloseCode.NORMAL_CLOSURE)
        finally:
            _close_all(coroutines)
            ws._emit_resume()

    def _timed_out(self, reactor: Any) -> None:
        """The coroutines have not answered in time: refuse with 503."""
        self._timer = None
        if self.awaits_answer():
            _log.warning('%r: its handlers did not answer in time, the upgrade is refused with 503', self.ws)
            task = self._task
            self.refuse(Response(503))
            if task is not None:
                task.cancel()

    def _handler_failed(self, ws: Any, exc: BaseException) -> None:
        """A handler of the request raised: the upgrade is refused, also where ``error`` has a subscriber."""
        if not self.awaits_answer():
            ws._handler_failed(exc)
            return
        if not isinstance(exc, Exception):
            ws._raise_later(exc)
        ws._emit_error(exc)
        if self.awaits_answer():
            self.refuse(Response(500))

    def _accept_or_refuse(self, ws: Any) -> None:
        try:
            self.accept(False)
        except Exception as exc:
            self._handler_failed(ws, exc)

    def accept(self, is_early: bool) -> None:
        """Answer 101, then send what was sent before.

        Args:
            is_early: a handler accepts. With a loop, the first frames are then fed on the next turn, so that it can
                register handlers of messages after it.

        Raises:
            InvalidState: no request waits for its answer.
            ValueError: a header or the subprotocol of the answer is not valid.
        """
        request = self.pending_request()
        ws = self.ws
        handshake = ws._handshake
        if ws.subprotocol is None and self.subprotocols:
            ws.subprotocol = select_subprotocol(self.subprotocols, request.subprotocols)
        headers = self.with_pending(self.headers)
        factories = as_factories(self.compression) if self.compression else ()
        head = handshake._accept(headers, ws.subprotocol, factories)
        self.is_answered = True
        ws.res = self.pending
        ws._handshake = None  # from now on, the request is enough
        self._cancel_timer()
        self.outgoing().put(head)
        if is_early and self.stream is not None:
            self._stop_reading()
            self.protocol.ioloop.reactor.next_tick(self._resume_reading)
            self._open(handshake)
        else:
            self._open(handshake)
            self._resume_reading(None)

    def refuse(self, response: Response) -> None:
        """Answer the request, and end the connection."""
        ws, protocol = self.ws, self.protocol
        answer = ws._handshake.respond(response, close=True)
        self.is_answered = True
        self._cancel_timer()
        if protocol.logger.isEnabledFor(logging.DEBUG):
            protocol.logger.debug('%s refused with %d', protocol._log_id(), response.status)
        ws.res = response
        self.outgoing().put(answer)
        protocol._send_eof()
        protocol._discard_input()
        self._resume_reading(None)

    def _stop_reading(self) -> None:
        stream = self.protocol.stream
        if stream is not None and not self._reading_stopped:
            self._reading_stopped = True
            stream.stop()

    def _resume_reading(self, reactor: Any) -> None:
        """Deliver the frames that came with the handshake, and read again if reading was stopped."""
        protocol = self.protocol
        protocol.resume(_PAUSED_FOR_OTHERS)
        if self._reading_stopped:
            self._reading_stopped = False
            if protocol.stream is not None and not protocol._paused:
                protocol.stream.start()

    def _cancel_timer(self) -> None:
        self._task = None
        if self._timer is not None:
            self.protocol.ioloop.reactor.remove(self._timer)
            self._timer = None

    def pending_response(self) -> PendingResponse | None:
        """What handlers may add headers to; None where no request waits for its answer."""
        if self.pending is None and self.awaits_answer():
            self.pending = PendingResponse()
        return self.pending

    def with_pending(self, headers: Any) -> Any:
        """These headers, and those that handlers have added."""
        return headers if self.pending is None else [*Headers(headers).raw, *self.pending.headers.raw_items()]

    def awaits_answer(self) -> bool:
        """Whether a request waits for its answer."""
        ws = self.ws
        if ws is None or ws.req is None or self.is_answered or self.protocol._eof_received:
            return False
        return isinstance(ws._handshake, ServerHandshake)

    def pending_request(self) -> Request:
        """The request that waits for its answer; raises InvalidState where there is none."""
        if not self.awaits_answer():
            raise InvalidState('this is for the request or websocket event, before the request is answered')
        request: Request = self.ws.req
        return request

    # Client

    def send_request(self, url: Any, options: dict[str, Any]) -> None:
        """Begin the handshake of a client: the request waits to be written."""
        options = {'headers': self.headers, 'subprotocols': self.subprotocols, **options}
        if self.compression:
            options.setdefault('extensions', as_factories(self.compression))
        handshake = ClientHandshake(url, **options)
        self.ws._handshake = handshake
        self.ws.req = handshake.request
        self.outgoing().put(handshake.send())

    def _accepted(self, handshake: ClientHandshake, response: Response) -> None:
        """The server has accepted."""
        ws = self.ws
        ws.res = response
        ws.subprotocol = handshake.subprotocol
        connector: Any = self.protocol.owner
        if connector is not None:
            connector.answered(ws)
        self._open(handshake)
        self._resume_reading(None)

    def failed(self, exc: BaseException) -> None:
        """There is no connection, or the server's answer is not a valid one."""
        ws, protocol = self.ws, self.protocol
        protocol.parser_exc = exc
        if protocol.logger.isEnabledFor(logging.DEBUG):
            protocol.logger.debug('%s failed: %s', protocol._log_id(), exc)
        ws._emit_error(exc)
        close = negotiation_close(exc, ws.req)
        if close is not None and not protocol.is_finished:
            # For the server the connection is open: a close frame says why it fails (RFC 6455 7.1.7).
            connector: Any = protocol.owner
            if connector is not None:
                connector.answered(ws)
            self._forget_early()
            self._hand_over(())
            protocol.fail(*close)
            ws._emit_resume()
            return
        protocol._discard_input()
        if protocol.stream is not None:
            protocol.stream.close()

    def refusal(self) -> HandshakeError | None:
        """The error for a refusal whose body is still coming (client); None where there is none."""
        handshake = None if self.ws is None else self.ws._handshake
        if isinstance(handshake, ClientHandshake) and handshake.refusal is not None:
            return handshake.unanswered()
        return None

    def restart(self) -> Any:
        """Detach the stream and forget the handshake, to begin again on another stream; returns the old one."""
        stream = self.protocol.release_stream()
        self.stream = self.out = None
        self.ws._handshake = None
        return stream

    # Both

    def _open(self, handshake: ServerHandshake | ClientHandshake) -> None:
        """The handshake is done: send what waited for it, and emit ``open``. Frames wait for `_resume_reading`."""
        ws, protocol = self.ws, self.protocol
        extensions, trailing = handshake.agreed_extensions, handshake.trailing_data
        self._hand_over(extensions)
        protocol._pause_input(_PAUSED_FOR_OTHERS)
        if trailing:
            protocol.feed(trailing, len(trailing))
        if self.protocol._logs_frames:
            names = ', '.join(extension.name for extension in extensions)
            opened = f'open, subprotocol {ws.subprotocol}, extensions: {names or "none"}'
            self.protocol.logger.debug('%s %s', self.protocol._log_id(), opened)
        self._send_early()
        ws._emit_safely('open')
        if ws._inbox is not None:
            ws._inbox.wake()

    def _hand_over(self, extensions: Sequence[Any]) -> None:
        """From now on the stream feeds the protocol."""
        protocol = self.protocol
        protocol.take_over(self)
        protocol.open(extensions)
        self.ws = None

    def close(self) -> None:
        """The connection is gone before it was open."""
        self._cancel_timer()
        self._forget_early()
        self.ws = None


class Accepted:
    """What `WebSocket.accept` returns: a coroutine may await it, and gets the transaction."""

    __slots__ = ('_ws',)

    def __init__(self, ws: Any) -> None:
        self._ws = ws

    def __await__(self) -> Any:
        self._ws._keep_messages()
        yield from ()  # it waits for nothing
        return self._ws


def _close_all(coroutines: list[Any]) -> None:
    """Close the coroutines that nothing awaits."""
    for coroutine in coroutines:
        coroutine.close()
