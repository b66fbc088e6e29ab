"""`WebSocket`: one connection as one object with events, Mojolicious' way.

Owns the handlers and what they are told: whole messages, the order of events, what happens when a handler raises. Must
not know how a frame looks, which may come when (`protocol.py`), or what an upgrade request has to contain
(`handshake/`): it is a face of those two, and works with no loop and no socket.

Two objects make a connection. `TransactionCore` is what the user holds. Its `TransactionProtocol` is the state machine
under it: what a stream (or `server_read`, `client_read`) feeds, a `Protocol` that gives whole messages to its
transaction instead of collecting frames. The way of a message reads straight down:

    Stream._read → TransactionProtocol.feed → _frame → _message → TransactionCore._message_received → your handler
    ws.send → Protocol._send → frames.write_frame → WriteBuffer → Stream.flush

The two refer to each other until the end, when the protocol lets go. A method that calls the other half therefore
takes it by a local name first: compiled, that is what keeps it alive during the call.

Before the handshake is done the same bytes go to `handshake/` instead, and what is sent waits in `_early`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Self

from . import _json
from .buffers import Receiver, WriteBuffer
from .emitter import EmitterCore, EventEmitter
from .errors import ConnectionClosed, HandshakeError, InvalidState, ProtocolError
from .extensions import as_factories
from .frames import Close, CloseCode, Frame, as_bytes, build_frame, head_byte, make_frame, parse_frame, write_frame
from .handshake import (
    ClientHandshake,
    ServerHandshake,
    negotiation_close,
    select_subprotocol,
)
from .http11 import Request, Response
from .loop_thread import LoopThread
from .protocol import Protocol, Side, State

__all__ = ['MISSING', 'TransactionCore', 'TransactionProtocol', 'WebSocket', 'encoded_message']

_log = logging.getLogger('pyjows')

_DEFAULT_SIZE = 262144

# The same numbers as in protocol.py and frames.py; compiled, these are C integers.
_OPEN = 1
_TEXT, _BINARY = 0x81, 0x82

# Beside a first byte: a frame that is sent as it is, past the extensions.
_RAW = 0x100

_ONE_MESSAGE = 'send() takes exactly one of text=, binary=, json= and frame=, or a str or bytes'

MISSING = object()  # no value: None is one
_MISSING = MISSING  # compiled, a C variable


def _max_size() -> int:
    """The limit of a message in bytes that holds where none is given."""
    return int(os.environ.get('PYJO_MAX_WEBSOCKET_SIZE') or _DEFAULT_SIZE)


def assemble(ws: TransactionCore, frame: Frame) -> None:
    """The built-in subscriber of ``frame``: answers what is to be answered, and makes messages of the rest."""
    ws._protocol.process(frame)


_BUILT_IN = (assemble,)

# The subscribers of an event, None where there are none.
_Handlers = tuple[Callable[..., Any], ...] | None


class TransactionProtocol(Protocol):
    """The state machine under a transaction: a `Protocol` that gives whole messages away."""

    def __init__(self, ws: TransactionCore, side: Side, max_size: int) -> None:
        Protocol.__init__(self, side, state=State.CONNECTING, max_size=max_size, join_fragments=True)
        self.ws: TransactionCore | None = ws
        self.heard = True
        self.resume_pending = False

    # What a stream calls

    def feed(self, data: bytes | bytearray, n: int) -> None:
        """`n` bytes came, ``data[:n]``."""
        self.heard = True
        ws = self.ws
        if ws is None:
            return
        if ws._handshaking:
            ws._receive_handshake(bytes(data[:n]))
        else:
            Protocol.feed(self, data, n)

    def eof(self) -> None:
        """The peer will send no more."""
        ws = self.ws
        if ws is not None and ws._handshaking:
            handshake = ws.handshake
            ws._receive_handshake(b'')
            if handshake is not None and ws.handshake is not handshake:
                return  # a redirect is followed: what ended is no connection of ours any more
        self.receive_eof()
        if self.stream is not None:
            self.stream.close_gracefully()

    def drained(self) -> None:
        """The kernel has taken all that waited."""
        if self._unanswered_ping is not None:
            self._send_late_pong()
        ws = self.ws
        if ws is not None:
            ws._drained()

    def lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        ws = self.ws
        if ws is not None:
            ws.closed()

    def outgoing(self) -> WriteBuffer:
        """The buffer to write to. Without a stream, ``resume`` is emitted for what is written (`_emit_resume`)."""
        self.resume_pending = self.stream is None
        return Receiver.outgoing(self)

    # What the state machine calls

    def _frame_seen(self, head: int, payload: bytes) -> bool:
        """Emit ``frame``, where more than the built-in handler subscribed to it."""
        ws = self.ws
        if ws is None:
            return False
        if ws._on_frame is not None:
            ws._emit_frame(ws._on_frame, make_frame(head, payload))
        return not self._raw and not self._discarding

    def process(self, frame: Frame) -> None:
        """Do with a frame what the RFC says, wherever it came from."""
        fin, rsv1, rsv2, rsv3, opcode, payload = frame
        self._process_frame(head_byte(fin, rsv1, rsv2, rsv3, opcode), as_bytes(payload))

    def _message_received(self, opcode: int, payload: bytes) -> None:
        ws = self.ws
        if ws is not None:
            ws._message_received(opcode, payload)

    def _control_received(self, opcode: int, payload: bytes) -> None:
        pass

    def _close_began(self) -> None:
        ws = self.ws
        if ws is not None:
            ws._close_began()


class TransactionCore(EmitterCore):
    """The behaviour of `WebSocket`."""

    def __init__(
        self,
        *,
        established: bool = False,
        masked: bool = False,
        compression: Any = False,
        subprotocols: Sequence[str] = (),
        headers: Any = (),
        max_websocket_size: int | None = None,
        close_timeout: float = 10.0,
    ) -> None:
        self._events = {'frame': _BUILT_IN}
        self._on_frame: _Handlers = _BUILT_IN
        self._on_message: _Handlers = None
        self._on_text: _Handlers = None
        self._on_binary: _Handlers = None
        self._on_json: _Handlers = None
        size = _max_size() if max_websocket_size is None else max_websocket_size
        self._protocol = TransactionProtocol(self, Side.CLIENT if masked else Side.SERVER, size)
        self._compression = compression
        self._subprotocols = subprotocols
        self._headers = headers
        self._early: list[tuple[int, Any]] | None = None
        self._callbacks: list[Callable[[Any], object]] | None = None
        self._handshaking = not established
        self._answered = established
        self._finished = False
        self.owner: Any = None
        self._ioloop: Any = None
        self._thread: LoopThread | None = None
        self._addresses: Any = None
        self._timer: Any = None
        self._pinged = False
        self._interrupt: BaseException | None = None
        self.close_timeout = close_timeout
        self.connection: str | None = None
        self.kept_alive = False
        self.handshake: ServerHandshake | ClientHandshake | None = None
        self.req: Request | None = None
        self.res: Response | None = None
        self.subprotocol: str | None = None
        if established:
            self._protocol.open()
            if compression:
                self.compressed = True

    # Sending

    def send(
        self,
        message: Any = None,
        *,
        text: str | None = None,
        binary: bytes | bytearray | memoryview | None = None,
        json: Any = _MISSING,
        frame: Any = None,
    ) -> Self:
        """Queue one message or raw frame; returns the transaction.

        Args:
            message: a `str` or bytes to send, or ``cb(ws)``, which is called once, when all data has been written.
            text: a text message.
            binary: a binary message (bytes-like).
            json: a value to send as JSON, in a text message.
            frame: a raw frame, ``(fin, rsv1, rsv2, rsv3, opcode, payload)`` or a `Frame`.

        Raises:
            TypeError: there is not exactly one message, or it is of the wrong type.
            ValueError: JSON cannot say it, or the opcode is none.
            ConnectionClosed: the close began.

        Any thread may call it. Another one than the loop's hands the message over to the loop, which keeps the order of
        that thread's calls; it is dropped if the connection closes before the loop gets to it.
        """
        if self._thread is not None and self._thread.is_foreign():
            self._send_from_thread(message, text, binary, json, frame)
            return self
        if message is not None:
            if callable(message):
                self._notify(message)
                if text is None and binary is None and json is _MISSING and frame is None:
                    return self
                try:
                    return self.send(text=text, binary=binary, json=json, frame=frame)
                except BaseException:
                    if self._callbacks is not None:
                        self._callbacks.remove(message)  # what was not sent is never written
                    raise
            elif isinstance(message, str):
                text = message
            else:
                binary = message
        if binary is not None:
            if text is None and json is _MISSING and frame is None:
                self._send(_BINARY, binary if type(binary) is bytes else as_bytes(binary))
                return self
        elif text is not None:
            if json is _MISSING and frame is None:
                self._send(_TEXT, encoded(text))
                return self
        elif json is not _MISSING:
            if frame is None:
                self._send(_TEXT, _json.dumps(json))
                return self
        elif frame is not None:
            fin, rsv1, rsv2, rsv3, opcode, payload = frame
            self._send_raw(head_byte(fin, rsv1, rsv2, rsv3, opcode), as_bytes(payload))
            return self
        raise TypeError(_ONE_MESSAGE)

    def _send_from_thread(self, message: Any, text: Any, binary: Any, json: Any, frame: Any) -> None:
        """`send` in another thread than the loop's: encode here, queue there."""
        cb = None
        if callable(message):
            cb = message
        elif isinstance(message, str):
            text = message
        elif message is not None:
            binary = message
        given = sum((text is not None, binary is not None, json is not _MISSING, frame is not None))
        if given > 1 or (given == 0 and cb is None):
            raise TypeError(_ONE_MESSAGE)
        head, payload = 0, b''
        if frame is not None:
            fin, rsv1, rsv2, rsv3, opcode, payload = frame
            head, payload = _RAW | head_byte(fin, rsv1, rsv2, rsv3, opcode), as_bytes(payload)
            _check_raw(head, payload)
        elif given:
            head, payload = encoded_message('send', text, binary, json)
        if self._protocol.state > State.OPEN or self._finished:
            raise self._closed_error()
        assert self._thread is not None
        self._thread.hand_over(self._send_handed_over, cb, head, payload)

    def _send_handed_over(self, cb: Any, head: int, payload: bytes) -> None:
        """Queue what another thread has encoded."""
        try:
            if cb is not None:
                self._notify(cb)
            if head & _RAW:
                self._send_raw(head & 0xFF, payload)
            elif head:
                self._send(head, payload)
        except ConnectionClosed as exc:
            _log.debug('%r: %d bytes that another thread sent are dropped: %s', self, len(payload), exc)

    def _send(self, head: int, payload: bytes) -> None:
        """Queue one whole message."""
        if self._protocol._state == _OPEN:
            self._protocol._send(head, payload)
            if self._protocol.resume_pending:
                self._emit_resume()
        else:
            self._send_early(head, payload)

    def _send_raw(self, head: int, payload: bytes) -> None:
        """Queue one frame as it is, past the extensions."""
        _check_raw(head, payload)
        protocol = self._protocol
        if protocol._state != _OPEN:
            self._send_early(head | _RAW, payload)
            return
        write_frame(protocol.outgoing(), head, payload, protocol._masks)
        self._emit_resume()

    def _send_early(self, head: int, payload: Any) -> None:
        """What is sent waits for the handshake; or the connection is closing, and nothing can be sent."""
        protocol = self._protocol
        if protocol.state != State.CONNECTING or self._finished:
            raise self._closed_error()
        if self._ends_early():
            raise ConnectionClosed()
        self._wait(head, payload)

    def _closed_error(self) -> ConnectionClosed:
        protocol = self._protocol
        return ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)

    def _wait(self, head: int, payload: Any) -> None:
        if self._early is None:
            self._early = []
        self._early.append((head, payload))

    def _ends_early(self) -> bool:
        """Whether what waits for the handshake ends with a close."""
        return self._early is not None and self._early[-1][0] == 0

    def _notify(self, cb: Callable[[Any], object]) -> None:
        self._protocol.awaits_drain = True
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(cb)

    def build_message(
        self,
        *,
        text: str | None = None,
        binary: bytes | bytearray | memoryview | None = None,
        json: Any = _MISSING,
    ) -> bytes:
        """One message as wire bytes, compressed if `compressed`, masked if `masked`; raises like `send`."""
        head, payload = encoded_message('build_message', text, binary, json)
        protocol = self._protocol
        out, protocol.out = protocol.out, WriteBuffer()
        try:
            protocol._send(head, payload)
            return protocol.out.take()
        finally:
            protocol.out = out

    def build_frame(self, fin: bool, rsv1: bool, rsv2: bool, rsv3: bool, op: int, payload: bytes) -> bytes:
        """One frame as wire bytes, masked with a fresh random key if `masked`; raises ValueError, TypeError."""
        return build_frame(fin, rsv1, rsv2, rsv3, op, payload, masked=self.masked)

    def parse_frame(self, buffer: bytes | bytearray) -> Frame | None:
        """Take one whole frame off the front of a bytearray, unmasked; given bytes, only parse.

        Returns None while the frame is not all there; also when it breaks the rules or is larger than
        `max_websocket_size`, and then the connection closes with 1002 or 1009.
        """
        try:
            return parse_frame(buffer, self.max_websocket_size)
        except ProtocolError as exc:
            self._protocol.fail(exc.code, str(exc))
            return None

    def finish(self, code: int | None = None, reason: str | None = None) -> Self:
        """Close gracefully; returns the transaction. When the close has begun already, this does nothing.

        Any thread may call it.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 7.4); none by default.
            reason: at most 123 bytes of UTF-8; it needs a code.

        Raises:
            ValueError: a bad code or reason.
        """
        protocol = self._protocol
        if not isinstance(reason, (str, NoneType)):
            raise TypeError(f'a close reason is a str, not {type(reason).__name__}')
        if code is None and reason:
            raise ValueError(
                f'the close reason {reason!r} needs a code before it (RFC 6455 5.5.1): finish(1000, {reason!r})'
            )
        if code is not None:
            Close(code, reason or '').serialize()
        if self._thread is not None and self._thread.is_foreign():
            self._thread.hand_over(self.finish, code, reason)
            return self
        if protocol._state == _OPEN:
            protocol.send_close(code, reason or '')
        elif protocol.state == State.CONNECTING and not self._finished and not self._ends_early():
            nothing_else = self._early is None
            self._wait(0, (code, reason or ''))
            if nothing_else and self.owner is not None and isinstance(self.handshake, ClientHandshake):
                self.owner.given_up(self)
        self._emit_resume()
        return self

    def _emit_resume(self) -> None:
        """Without a loop: emit ``resume``, once for all that was written since the last time."""
        if self._protocol.resume_pending:
            self._protocol.resume_pending = False
            self._emit_safely('resume')

    def _check_thread(self, method: str) -> None:
        """Raise RuntimeError where another thread runs the loop."""
        if self._thread is not None and self._thread.is_foreign() and self._ioloop.reactor.is_running:
            self._thread.check(method)

    def flush(self) -> Self:
        """Write what waits now, instead of at the end of the read or of the loop's turn; returns the transaction."""
        self._check_thread('WebSocket.flush()')
        if self._protocol.stream is not None:
            self._protocol.stream.flush()
        return self

    # Receiving

    def pause_reading(self) -> Self:
        """Deliver no more messages for now, not even those that came with the current one; returns the transaction.

        What the peer sends stays in the kernel's buffers, and slows the peer down when these are full. A peer that is
        not read is not taken for dead: pings wait until reading goes on.
        """
        self._check_thread('WebSocket.pause_reading()')
        protocol = self._protocol
        protocol._pause_input()
        if protocol.stream is not None:
            protocol.stream.stop()
        return self

    def resume_reading(self) -> Self:
        """Deliver messages again, first those that waited; returns the transaction."""
        self._check_thread('WebSocket.resume_reading()')
        protocol = self._protocol
        if protocol._paused:
            protocol._resume_input()
            self._emit_resume()
            if protocol.stream is not None and not protocol._paused and not protocol.eof_received:
                protocol.stream.start()
        return self

    def _message_received(self, opcode: int, payload: bytes) -> None:
        """A whole message: tell those who want to know, each in the form that it wants."""
        if opcode == 1:
            if self._on_text is not None or self._on_message is not None:
                decoded = self._protocol._decode_text(payload)
                self._call_handlers(self._on_text, decoded)
                self._call_handlers(self._on_message, decoded)
            elif not payload.isascii():
                self._protocol._decode_text(payload)
        else:
            self._call_handlers(self._on_binary, payload)
            self._call_handlers(self._on_message, payload)
        if self._on_json is not None:
            self._emit_json(self._on_json, payload)

    def _call_handlers(self, handlers: _Handlers, arg: Any) -> None:
        """Call the handlers of an event, if there are any; what one raises does not keep the next from being called."""
        if handlers is not None:
            for handler in handlers:
                try:
                    result = handler(self, arg)
                    if result is not None:
                        self._returned(result)
                except BaseException as exc:
                    self._handler_failed(exc)

    def _emit_json(self, handlers: tuple[Callable[..., Any], ...], payload: bytes) -> None:
        """Emit ``json`` with the decoded message; one that cannot be decoded is an ``error``, or closes with 1007."""
        try:
            value = _json.loads(payload)
        except (ValueError, RecursionError) as exc:
            if not self._emit_error(exc):
                self._protocol.fail(CloseCode.INVALID_DATA, f'a message that is not valid JSON: {exc}')
            return
        self._call_handlers(handlers, value)

    def _emit_frame(self, handlers: tuple[Callable[..., Any], ...], frame: Frame) -> None:
        """Emit ``frame`` to all but the built-in handler: the frame is processed after all others have seen it."""
        for handler in handlers:
            if handler is not assemble:
                try:
                    self._returned(handler(self, frame))
                except BaseException as exc:
                    self._handler_failed(exc)

    def _drained(self) -> None:
        """All data has been written."""
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for cb in callbacks:
                try:
                    self._returned(cb(self))
                except BaseException as exc:
                    self._handler_failed(exc)
        if 'drain' in self._events:
            self._emit_safely('drain')

    # Failing

    def _handler_failed(self, exc: BaseException) -> None:
        """A handler raised: emit ``error``, or close with 1011. What is not an `Exception` is raised again later."""
        if not isinstance(exc, Exception):
            self._raise_later(exc)
        if self._emit_error(exc):
            return
        if self._protocol.state == State.OPEN:
            self._protocol.fail(CloseCode.INTERNAL_ERROR, 'internal error')
            self._emit_resume()
        elif self._can_reject():
            self.reject(500)

    def _can_reject(self) -> bool:
        """Whether there is an upgrade request that was not answered."""
        return (
            not self._answered
            and not self._finished
            and isinstance(self.handshake, ServerHandshake)
            and self.req is not None
        )

    def _raise_later(self, exc: BaseException) -> None:
        """Raise when all that was received is processed: from the loop, or from the `server_read` that is under way."""
        if self._ioloop is not None:
            self._ioloop.reactor.raise_later(exc)
        else:
            self._interrupt = exc

    def _raise_interrupt(self) -> None:
        """Raise what a handler raised that is not an `Exception`."""
        exc, self._interrupt = self._interrupt, None
        if exc is not None:
            raise exc

    # The handshake

    def client_handshake(self, url: Any, **options: Any) -> Self:
        """Begin a client's handshake: the request waits to be written; returns the transaction.

        Args:
            url: where to, ``ws://host/path``; or a `URL`, or ``(host, target)``.
            **options: those of `ClientHandshake`: ``headers``, ``subprotocols``, ``origin``, ``user_agent`` …

        Raises:
            ValueError: the URL or an option is malformed.
            InvalidState: a handshake was begun before.
        """
        if self.handshake is not None or not self._handshaking:
            raise InvalidState('this transaction has begun its handshake; a new connection is a new WebSocket()')
        self.masked = True
        options = {'headers': self._headers, 'subprotocols': self._subprotocols, **options}
        if self._compression:
            options.setdefault('extensions', as_factories(self._compression))
        handshake = ClientHandshake(url, **options)
        self.handshake = handshake
        self.req = handshake.request
        self._protocol.outgoing().put(handshake.send())
        self._emit_resume()
        return self

    def _receive_handshake(self, data: bytes) -> None:
        """Bytes of the handshake came; none of them means that no more will."""
        try:
            if isinstance(self.handshake, ClientHandshake):
                if not data:
                    self.handshake.eof()
                elif (response := self.handshake.receive(data)) is not None:
                    self._handshake_accepted(self.handshake, response)
            else:
                if self.handshake is None:
                    self.handshake = ServerHandshake()
                request = self.handshake.receive(data)
                if request is not None:
                    self.requested(self.handshake, request)
        except HandshakeError as exc:
            if isinstance(self.handshake, ServerHandshake):
                self._refuse(exc.response)
            elif self.owner is None or not self.owner.refused(self, exc):
                self._handshake_failed(exc)

    def requested(
        self, handshake: ServerHandshake, request: Request, announce: Callable[[Any], object] | None = None
    ) -> None:
        """The upgrade request is here: ask the handlers (`announce` first), then accept it, unless they rejected it."""
        self.handshake = handshake
        self.req = request
        refusal = handshake.check(request)
        if refusal is not None:
            self._refuse(refusal)
            return
        if announce is not None:
            try:
                announce(self)
            except Exception as exc:
                self._handler_failed(exc)
        if not self._answered:
            self._emit_safely('request')
        if not self._answered:
            self.accept()

    def accept(self) -> None:
        """Answer 101, then all that was sent before it (server)."""
        handshake, request = self.handshake, self.req
        assert isinstance(handshake, ServerHandshake) and request is not None
        try:
            if self.subprotocol is None and self._subprotocols:
                self.with_protocols(*self._subprotocols)
            head = handshake.accept(
                headers=self._headers, subprotocol=self.subprotocol, extensions=as_factories(self._compression)
            )
        except ValueError as exc:
            self._handler_failed(exc)
            if not self._answered:
                self.reject(500)
            return
        self._answered = True
        self._protocol.outgoing().put(head)
        self._establish(handshake.agreed_extensions, handshake.trailing_data)

    def _handshake_accepted(self, handshake: ClientHandshake, response: Response) -> None:
        """The server accepted (client)."""
        self.res = response
        self.subprotocol = handshake.subprotocol
        if self.owner is not None:
            self.owner.answered(self)
        self._establish(handshake.agreed_extensions, handshake.trailing_data)

    def _establish(self, extensions: Sequence[Any], trailing: bytes) -> None:
        """The handshake is done."""
        protocol = self._protocol
        self._handshaking = False
        protocol.open(extensions)
        early, self._early = self._early, None
        if early is not None:
            for head, payload in early:
                if head == 0:
                    self.finish(*payload)
                elif head & _RAW:
                    self._send_raw(head & 0xFF, payload)
                else:
                    self._send(head, payload)
        self._emit_safely('open')
        if trailing:
            protocol.feed(trailing, len(trailing))

    def reject(self, status: int = 403, headers: Any = (), body: Any = b'') -> Self:
        """Refuse the upgrade (server, before the 101); returns the transaction.

        Args:
            status: of the answer, 200 or more.
            headers: more headers for it.
            body: its body, `str` or bytes.

        Raises:
            InvalidState: it was answered already, or there is no request.
        """
        self._check_thread('WebSocket.reject()')
        if self._answered or not isinstance(self.handshake, ServerHandshake) or self.req is None:
            raise InvalidState('only an unanswered request can be rejected: in the request or websocket event')
        self._refuse(Response(status, headers, body))
        return self

    def _refuse(self, response: Response) -> None:
        """Answer, and end the connection (server)."""
        assert isinstance(self.handshake, ServerHandshake)
        self._answered = True
        self.res = response
        protocol = self._protocol
        protocol.outgoing().put(self.handshake.respond(response))
        protocol._send_eof()
        protocol._discard_input()

    def _handshake_failed(self, exc: BaseException) -> None:
        """The server's answer is not what it has to be (client)."""
        self._emit_error(exc)
        protocol = self._protocol
        close = negotiation_close(exc, self.req)
        if close is not None and not self._finished:
            # The server takes the connection for open, and is told why it is closed (RFC 6455 7.1.7).
            self._handshaking = False
            self._early = None
            if self.owner is not None:
                self.owner.answered(self)
            protocol.open()
            protocol.fail(*close)
            self._emit_resume()
            return
        protocol._discard_input()
        if protocol.stream is not None:
            protocol.stream.close()

    def with_protocols(self, *names: str) -> str | None:
        """Choose the first of these subprotocols that the client offered (server, before the 101), or None."""
        self._check_thread('WebSocket.with_protocols()')
        self.subprotocol = select_subprotocol(names, self._pending_request().subprotocols)
        return self.subprotocol

    def with_compression(self, compression: Any = True) -> Self:
        """Use permessage-deflate if it is offered, or do not (server, before the 101); returns the transaction."""
        self._check_thread('WebSocket.with_compression()')
        self._pending_request()
        self._compression = compression
        return self

    def _pending_request(self) -> Request:
        if self.req is None or self._answered or not isinstance(self.handshake, ServerHandshake):
            raise InvalidState('this is negotiated in the request or websocket event, before the 101 is answered')
        return self.req

    # With no loop

    def server_read(self, chunk: bytes | bytearray | memoryview) -> Self:
        """Take bytes of the client; ``b''`` means that it will send no more. Returns the transaction.

        What a handler raises becomes ``error``. KeyboardInterrupt and its like, which are not an `Exception`, are also
        raised again when all of the bytes are processed.
        """
        if chunk:
            # A copy of what may change: a handler could resize a bytearray while it is parsed.
            chunk = as_bytes(chunk)
            self._protocol.feed(chunk, len(chunk))
        else:
            self._protocol.eof()
        self._emit_resume()
        if self._interrupt is not None:
            self._raise_interrupt()
        return self

    def client_read(self, chunk: bytes | bytearray | memoryview) -> Self:
        """Take bytes of the server; as `server_read` otherwise."""
        return self.server_read(chunk)

    def server_write(self) -> bytes:
        """All that waits to be written to the client."""
        protocol = self._protocol
        if protocol.out is None:
            return b''
        if protocol._unanswered_ping is not None:
            protocol._send_late_pong()
        data = protocol.out.take()
        protocol.out = None
        if data:
            self._drained()
            if self._interrupt is not None:
                self._raise_interrupt()
        return data

    def client_write(self) -> bytes:
        """All that waits to be written to the server."""
        return self.server_write()

    def closed(self) -> Self:
        """The connection is gone: ``finish`` is emitted, once. Returns the transaction."""
        if self._finished:
            return self
        self._finished = True
        protocol = self._protocol
        if self._handshaking and isinstance(self.handshake, ClientHandshake) and not protocol._discarding:
            self._emit_error(HandshakeError('the connection was closed before the server answered the handshake'))
        protocol.receive_eof()
        self._forget_timer()
        self._early = self._callbacks = None
        close = protocol.close_rcvd or protocol.close_sent or Close(CloseCode.ABNORMAL_CLOSURE, '')
        self._emit_safely('finish', int(close.code), close.reason)
        protocol.ws = None
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.gone(self)
        if self._interrupt is not None:
            self._raise_interrupt()
        return self

    # With a loop

    def await_loop(self, ioloop: Any) -> None:
        """This loop is about to drive the transaction."""
        self._ioloop = ioloop
        self._thread = ioloop.reactor.thread

    def dialing_failed(self, exc: BaseException | None) -> None:
        """The connection did not come to be (client): ``error`` (not for None: it was not wanted), then ``finish``."""
        if not self._finished:
            if exc is None:
                self._protocol._discard_input()
            else:
                self._handshake_failed(exc)
            self.closed()

    def drive(self, stream: Any, ioloop: Any, connection: str | None = None) -> None:
        """Have a stream move the bytes from now on; ``connection`` is emitted with its id."""
        protocol = self._protocol
        out, protocol.out = protocol.out, None
        protocol.stream = stream
        stream.receiver = protocol
        self._ioloop = ioloop
        self._thread = ioloop.reactor.thread
        self.connection = connection
        if out is not None and out.size:
            stream.write(out.take())
        self._call_handlers(self._events.get('connection'), connection)

    def forget(self) -> Any:
        """Let go of the stream and of the handshake, to begin again elsewhere (client); returns the stream."""
        protocol = self._protocol
        stream = protocol.stream
        stream.receiver = protocol.stream = protocol.out = None
        self.handshake = self.connection = self._addresses = None
        return stream

    def _close_began(self) -> None:
        """The close began: the peer has `close_timeout` seconds to do its part."""
        stream = self._protocol.stream
        if stream is not None and self._timer is None and not self._finished:
            self._remember_addresses()  # when both sides have ended TCP, the system forgets the peer's
            self._timer = self._ioloop.reactor.timer(self._overdue, self.close_timeout)

    def _overdue(self, reactor: Any) -> None:
        """The peer did not do its part."""
        self._timer = None
        if self._protocol.stream is not None:
            self._protocol.stream.close()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._ioloop.reactor.remove(self._timer)
            self._timer = None
        self._remember_addresses()

    def _remember_addresses(self) -> None:
        stream = self._protocol.stream
        if self._addresses is None and stream is not None:
            self._addresses = _addresses(stream)

    def keep_alive(self) -> None:
        """A while has passed: ping a peer that was silent, and close on one that did not even answer that."""
        protocol = self._protocol
        if protocol._state != _OPEN:
            return
        if not protocol.heard and self._pinged:
            protocol.stream.close()
            return
        self._pinged = not protocol.heard
        if self._pinged:
            protocol.send_ping()
        protocol.heard = False

    # What is known

    @property
    def protocol(self) -> TransactionProtocol:
        """The state machine under the transaction."""
        return self._protocol

    @property
    def masked(self) -> bool:
        """Whether frames are masked: a client's are (RFC 6455 5.3)."""
        return bool(self._protocol._masks)

    @masked.setter
    def masked(self, masked: bool) -> None:
        self._protocol._masks = bool(masked)
        self._protocol._side = int(masked)

    @property
    def compressed(self) -> bool:
        """Whether messages are compressed with permessage-deflate."""
        return bool(self._protocol.extensions)

    @compressed.setter
    def compressed(self, compressed: bool) -> None:
        if bool(compressed) != self.compressed:
            # As the server of an offer without parameters: what comes of it asks nothing of the peer.
            agreed = as_factories(self._compression or True)[0].answer([[]]) if compressed else None
            self._protocol.extensions = () if agreed is None else [agreed[1]]

    @property
    def max_websocket_size(self) -> int:
        """The largest message, in bytes."""
        return self._protocol._max_message

    @max_websocket_size.setter
    def max_websocket_size(self, size: int) -> None:
        self._protocol.max_size = size

    @property
    def established(self) -> bool:
        """Whether the handshake is done."""
        return not self._handshaking

    @property
    def is_websocket(self) -> bool:
        """True: this is a WebSocket, and not a plain HTTP transaction."""
        return True

    @property
    def is_finished(self) -> bool:
        """Whether the connection is gone."""
        return self._finished

    @property
    def is_writing(self) -> bool:
        """Whether something waits to be written."""
        return self.buffered_amount > 0 or bool(self._early)

    @property
    def buffered_amount(self) -> int:
        """How many bytes wait to be written."""
        out = self._protocol.out
        return 0 if out is None else out.size

    @property
    def local_address(self) -> str | None:
        """Our address; a path for a Unix socket; None without a connection."""
        address: str | None = self._address(0)[0]
        return address

    @property
    def local_port(self) -> int | None:
        """Our port, None for a Unix socket or without a connection."""
        port: int | None = self._address(0)[1]
        return port

    @property
    def remote_address(self) -> str | None:
        """The peer's address."""
        address: str | None = self._address(1)[0]
        return address

    @property
    def remote_port(self) -> int | None:
        """The peer's port."""
        port: int | None = self._address(1)[1]
        return port

    def _address(self, which: int) -> Any:
        self._remember_addresses()
        return (None, None) if self._addresses is None else self._addresses[which]

    def __repr__(self) -> str:
        target = f' {self.req.target}' if self.req is not None else ''
        return f'<WebSocket {self._protocol.state.name}{target}{" " + self.connection if self.connection else ""}>'

    # What an emitter asks

    def _set(self, event: str, handlers: tuple[Callable[..., Any], ...]) -> None:
        """Replace the subscribers of an event. Those of messages are at hand, with no dictionary to ask for each."""
        self._check_thread('WebSocket.on() and unsubscribe()')
        EmitterCore._set(self, event, handlers)
        subscribers = handlers or None
        if event == 'frame':
            self._on_frame = subscribers
            self._protocol._raw = assemble not in handlers
            self._protocol._shows_frames = handlers != _BUILT_IN
        elif event == 'message':
            self._on_message = subscribers
        elif event == 'text':
            self._on_text = subscribers
        elif event == 'binary':
            self._on_binary = subscribers
        elif event == 'json':
            self._on_json = subscribers
        elif event == 'drain':
            self._protocol.awaits_drain = True

    def _spawner(self) -> Any:
        return EmitterCore._spawner(self) if self._ioloop is None else self._ioloop.reactor


class WebSocket(TransactionCore, EventEmitter):  # type: ignore[misc]
    """A WebSocket connection: one object with events.

    Synopsis::

        @ws.on
        def json(ws, message):
            ws.send(json={'echo': message})

        @ws.on
        def finish(ws, code, reason):
            print('closed with', code)

    Events:
        ``request`` ``(ws)``: server: the upgrade request is here as ``ws.req``, nothing is answered yet.
        ``open`` ``(ws)``: the handshake is done.
        ``message`` ``(ws, message)``: a whole message: `str` for text, `bytes` for binary.
        ``text`` ``(ws, str)``, ``binary`` ``(ws, bytes)``: a whole text or binary message.
        ``json`` ``(ws, value)``: a whole message of either kind, decoded.
        ``frame`` ``(ws, Frame)``: every frame, before anything else is done with it. ``ws.unsubscribe('frame')``
            removes the built-in subscriber: from then on nothing is assembled, answered or closed for you.
        ``drain`` ``(ws)``: all data has been written.
        ``finish`` ``(ws, code, reason)``: closed; exactly once.
        ``error`` ``(ws, exc)``: a handler raised, JSON did not decode, the handshake failed. With nobody subscribed it
            is logged on the logger ``pyjows``, and the connection closes (1011, or 1007 for JSON).
        ``connection`` ``(ws, id)``: a loop drives the transaction now.
        ``resume`` ``(ws)``: with no loop: there is something to write.

    Args:
        established: the handshake was done by somebody else; frames at once.
        masked: this is the client's side; only needed with `established`.
        compression: False, True or a configured `PerMessageDeflate`.
        subprotocols: a client offers these; a server chooses the first of them that is offered.
        headers: to send along with the handshake.
        max_websocket_size: the largest message in bytes; by default the environment variable PYJO_MAX_WEBSOCKET_SIZE,
        or 262144.
        close_timeout: seconds that the peer has for its part of the close.

    Attributes:
        req, res: the request and the answer of the handshake.
        subprotocol: the one in use, or None.
        masked, compressed, max_websocket_size, close_timeout, handshake, protocol, established, connection, kept_alive,
        local_address, local_port, remote_address, remote_port, is_websocket, is_finished, is_writing, buffered_amount.

    Methods: `send`, `build_message`, `build_frame`, `parse_frame`, `finish`, `flush`, `reject`, `with_compression`,
    `with_protocols`, `client_handshake`, `server_read`, `server_write`, `client_read`, `client_write`, `closed`, and
    those of `EventEmitter`.
    """

    def __init__(self, **options: Any) -> None:
        TransactionCore.__init__(self, **options)


def encoded_message(method: str, text: Any, binary: Any, json: Any) -> tuple[int, bytes]:
    """The first byte and the payload of the frame that carries a message."""
    if binary is not None:
        return _BINARY, as_bytes(binary)
    if text is not None:
        return _TEXT, encoded(text)
    if json is not _MISSING:
        return _TEXT, _json.dumps(json)
    raise TypeError(f'{method}() takes one of text=, binary= and json=')


def _check_raw(head: int, payload: bytes) -> None:
    """Raise ValueError for a control frame that may not be sent."""
    if head & 0x08 and (len(payload) > 125 or not head & 0x80):
        raise ValueError(
            f'a control frame of {len(payload)} bytes{"" if head & 0x80 else " without fin"}; it has fin and at '
            'most 125 bytes (RFC 6455 5.5)'
        )


def encoded(text: Any) -> bytes:
    """A text message's payload; raises TypeError for what is no `str`, ValueError for one that UTF-8 cannot say."""
    if not isinstance(text, str):
        raise TypeError(f'text is a str, not {type(text).__name__}; use binary= for bytes and json= for values')
    return text.encode('utf-8')


def _addresses(stream: Any) -> Any:
    """The (address, port) of both ends of a stream."""
    ends = []
    for name in ('getsockname', 'getpeername'):
        try:
            address = getattr(stream.socket, name)()
        except OSError:
            address = None
        ends.append(address[:2] if isinstance(address, tuple) else (address or None, None))
    return tuple(ends)
