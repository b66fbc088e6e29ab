"""`WebSocket`: one connection as one object with events, Mojolicious' way.

Owns what a user calls: sending, finishing, the way without a loop; and what happens to the connection when a handler
raises. Must not know how a frame is laid out, which may come when (`protocol.py`), or what an upgrade request has to
contain (`handshake/`): it is a face of those two, and works without a loop and a socket.

Two objects make a connection. `TransactionCore` is what the user holds. Its `TransactionProtocol` is the state machine
under it: what a stream (or `server_read`, `client_read`) feeds, and what a loop drives (`driver.py`). The way of a
message reads straight down (`docs/architecture.md` has all of it):

    Stream._read → FrameDecoder.feed → Protocol._frame_received → TransactionProtocol._message_received
        → MessageHandlers._message_received → your handler
    ws.send → Protocol._send → frames.write_frame → WriteBuffer → Stream._flush

The two refer to each other until the end, when the protocol drops its reference. A method that calls the other half
therefore assigns it to a local name first: compiled, that is what keeps it alive during the call.

Before the connection is open, an `Opening` (`opening.py`) is fed in place of the protocol, and keeps what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack

from .. import _json
from .._options import WEBSOCKET, WebSocketOptions, check_options
from ..buffers import WriteBuffer
from ..emitter import EmitterCore, EventEmitter
from ..errors import ConnectionClosed, ProtocolError, UnexpectedMessage, ungrouped
from ..frames import (
    Close,
    CloseCode,
    Frame,
    Opcode,
    as_bytes,
    build_frame,
    frame_bytes,
    head_byte,
    parse_frame,
    write_frame,
)
from ..handshake import ClientHandshake
from ..http11 import Response
from ..limits import Limits
from ..messages import MISSING, check_close, check_raw_frame, encode_binary, encode_text, encoded_message, plain_frame
from ..protocol import Side, State
from ..safe_logger import SafeLogger
from .coroutines import Coroutines
from .driver import PAUSED_BY_PROGRAM, TransactionProtocol
from .handlers import BUILT_IN, assemble
from .late_handlers import call_if_late
from .opening import RAW, Opening
from .upgrade import TransactionUpgrade

if TYPE_CHECKING:
    from .._typing import WebSocketSubscribe

__all__ = ['TransactionCore', 'WebSocket', 'new_websocket']

_log = SafeLogger('pyjows')

# Compiled, these are C integers: the state, and the first bytes of frames with a whole message.
_OPEN = State.OPEN.value
_TEXT, _BINARY = 0x80 | Opcode.TEXT.value, 0x80 | Opcode.BINARY.value
_RAW = RAW
_MISSING = MISSING  # a C variable

_ONE_MESSAGE = 'send() takes exactly one of text=, binary=, json= and frame=, or a str or bytes'


class TransactionCore(TransactionUpgrade):
    """The behaviour of `WebSocket`."""

    def __init__(
        self,
        *,
        established: bool = False,
        masked: bool = False,
        compression: Any = False,
        subprotocols: Sequence[str] = (),
        headers: Any = (),
        compressed: bool = False,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        if limits is None or options:
            limits = Limits('WebSocket()', **options)
        self._begin(Side.CLIENT if masked else Side.SERVER, limits, compression, subprotocols, headers)
        if established:
            self._protocol.opening = None
            self._protocol.open()
        if compressed or (established and compression):
            self.compressed = True

    def _begin(self, side: Side, limits: Limits, compression: Any, subprotocols: Sequence[str], headers: Any) -> None:
        self._begin_info()
        self._protocol = TransactionProtocol(self, side, limits)
        self._compression = compression
        self._written = b''  # what `server_write` is about to return, while handlers of ``drain`` are called
        self._protocol.opening = Opening(self, self._protocol, compression, subprotocols, headers)

    # Sending

    def send(
        self,
        message: Any = None,
        *,
        text: str | None = None,
        binary: bytes | bytearray | memoryview | None = None,
        json: Any = _MISSING,
        frame: Any = None,
        compress: bool = True,
    ) -> Self:
        """Queue one message or raw frame; returns the transaction.

        Args:
            message: a `str` or bytes to send, or ``cb(ws)``, which is called once, when all data has been written: on
                the next tick if nothing waits, or without a loop by the next `server_write` or `client_write`.
            text, binary: a text message; a binary one (bytes-like).
            json: a value to send as JSON, in a text message.
            frame: a raw frame, ``(fin, rsv1, rsv2, rsv3, opcode, payload)`` or a `Frame`.
            compress: False for what is small or compressed already: it is sent past the extensions.

        Raises:
            TypeError: there is not exactly one message, or it is of the wrong type.
            ValueError: the value cannot be encoded as JSON, or the opcode is not valid.
            ConnectionClosed: the close began.

        Any thread may call it. Another one than the loop's hands the message over to the loop, which keeps the order of
        that thread's calls; it is dropped if the connection closes before the loop gets to it.
        """
        if not compress and frame is None:
            frame = plain_frame(message, text, binary, json)
            TransactionCore.send(self, message if callable(message) else None, frame=frame)
            return self
        if self._protocol.thread is not None and self._protocol.thread.is_foreign():
            self._send_from_thread(message, text, binary, json, frame)
            return self
        if message is not None:
            if callable(message):
                self._add_callback(message)
                if text is None and binary is None and json is _MISSING and frame is None:
                    self._callback_alone()
                    return self
                try:
                    # Not `self.send`: one that a program has put in its place sees each message once.
                    TransactionCore.send(self, text=text, binary=binary, json=json, frame=frame)
                except BaseException:
                    if self._callbacks is not None:
                        self._callbacks.remove(message)  # what was not sent is never written
                    raise
                return self
            elif text is not None or binary is not None:
                raise TypeError(_ONE_MESSAGE)
            elif isinstance(message, str):
                text = message
            else:
                binary = message
        if binary is not None:
            if text is None and json is _MISSING and frame is None:
                self._send(_BINARY, binary if type(binary) is bytes else encode_binary('send', binary))
                return self
        elif text is not None:
            if json is _MISSING and frame is None:
                self._send(_TEXT, encode_text('send', text))
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
        elif message is not None and (text is not None or binary is not None):
            raise TypeError(_ONE_MESSAGE)
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
            check_raw_frame(head, payload)
        elif given:
            head, payload = encoded_message('send', text, binary, json)
        protocol = self._protocol
        if protocol.state > State.OPEN or protocol.is_finished:
            raise ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)
        assert protocol.thread is not None
        protocol.thread.hand_over(self._send_handed_over, cb, head, payload)

    def _send_handed_over(self, cb: Any, head: int, payload: bytes) -> None:
        """Queue what another thread has encoded."""
        try:
            if cb is not None:
                self._add_callback(cb)
            if head & _RAW:
                self._send_raw(head & 0xFF, payload)
            elif head:
                self._send(head, payload)
            else:
                self._callback_alone()
        except ConnectionClosed as exc:
            _log.debug('%r: %d bytes that another thread sent are dropped: %s', self, len(payload), exc)

    def _send(self, head: int, payload: bytes) -> None:
        """Queue one whole message."""
        protocol = self._protocol
        if protocol._state == _OPEN:
            protocol._send(head, payload)
            protocol._message_sent(len(payload))
            if protocol.resume_pending:
                self._emit_resume()
        else:
            self._send_early(head, payload)

    def _send_raw(self, head: int, payload: bytes) -> None:
        """Queue one frame as it is, past the extensions."""
        check_raw_frame(head, payload)
        protocol = self._protocol
        if protocol._state != _OPEN:
            self._send_early(head | _RAW, payload)
            return
        if protocol._logs_frames:
            protocol._log_frame('>', head, payload)
        write_frame(protocol.outgoing(), head, payload, protocol._masks)
        if head in (_TEXT, _BINARY):
            protocol._message_sent(len(payload))
        else:
            protocol._frame_sent(len(payload))
        self._emit_resume()

    def _send_early(self, head: int, payload: Any) -> None:
        """Keep what is sent until the connection is open; raises ConnectionClosed if it is closed."""
        protocol = self._protocol
        opening = protocol.opening
        if opening is None:
            raise ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)
        opening.queue(head, payload)

    def ping(self, data: bytes | None = None, cb: Callable[[Any, float], object] | None = None) -> Self:
        """Send a ping; returns the transaction.

        Args:
            data: at most 125 bytes; by default a number that grows.
            cb: called ``cb(ws, latency)`` when the ping, or a later one, is answered; `latency` is in seconds.

        Raises:
            ProtocolError: the data are longer.
            InvalidState: the connection is not open.
            TypeError: the data are not bytes-like, or `cb` cannot be called.
        """
        self._check_thread('WebSocket.ping()')
        if cb is not None and not callable(cb):
            raise TypeError(f'ping() takes a function to call when it is answered, cb(ws, latency), not {cb!r}')
        self._protocol.ping(data, cb)
        self._emit_resume()
        return self

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
        extensions: Any = protocol.extensions
        if len(extensions) == 1 and hasattr(extensions[0], 'compress_shared'):
            # Without the context of what was sent: it is not known whether and when these bytes are sent.
            smaller = extensions[0].compress_shared(payload)
            if smaller is not None:
                extensions[0].forget()
                head, payload = head | 0x40, smaller
            return frame_bytes(head, payload, protocol._masks)
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

        Returns None while the frame is incomplete; also when it breaks the rules or is larger than
        `max_websocket_size`, and then the connection closes with 1002 or 1009.
        """
        try:
            return parse_frame(buffer, self.max_websocket_size)
        except ProtocolError as exc:
            self._protocol.fail(exc.code, str(exc))
            self._emit_resume()
            return None

    def finish(self, code: int | None = None, reason: str | None = None) -> Self:
        """Close gracefully; returns the transaction. When the close has begun already, this does nothing.

        Any thread may call it.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 7.4); none by default.
            reason: at most 123 bytes of UTF-8; it needs a code.

        Raises:
            ValueError: a bad code or reason.
            TypeError: the code is not a whole number, or the reason not a `str`.
        """
        protocol = self._protocol
        check_close('finish()', code, reason)
        if protocol.thread is not None and protocol.thread.is_foreign():
            protocol.thread.hand_over(self.finish, code, reason)
            return self
        if protocol._state == _OPEN:
            protocol.send_close(code, reason or '')
        elif protocol.opening is not None:
            protocol.opening.queue_close(code, reason or '')
        self._emit_resume()
        return self

    def terminate(self) -> Self:
        """Drop the connection at once, without a closing handshake; what waits is lost. Returns the transaction.

        No further message is delivered. Within a handler, the other handlers of the same event are still called, then
        ``finish`` with code 1006. `finish()` is the graceful way.
        """
        self._check_thread('WebSocket.terminate()')
        protocol = self._protocol
        if not protocol.is_finished:
            protocol.drop('terminated', CloseCode.ABNORMAL_CLOSURE, 'terminated')
            if self._inbox is not None:
                self._inbox.discard()
            if protocol.stream is None:
                self.closed()
        return self

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
        self._protocol.pause(PAUSED_BY_PROGRAM)
        return self

    def resume_reading(self) -> Self:
        """Deliver messages again, first those that waited; returns the transaction."""
        self._check_thread('WebSocket.resume_reading()')
        self._protocol.resume(PAUSED_BY_PROGRAM)
        self._emit_resume()
        return self

    def _add_callback(self, cb: Callable[[Any], object]) -> None:
        self._protocol.awaits_drain = True
        TransactionUpgrade._add_callback(self, cb)

    def _callback_alone(self) -> None:
        """A callback was given without a message: if nothing waits to be written, no drain will call it."""
        protocol = self._protocol
        if protocol.is_finished:
            self._callbacks = None
            raise ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)
        if self.is_writing:
            return
        if protocol.ioloop is not None:
            protocol.ioloop.reactor.next_tick(self._callbacks_due)
        else:
            protocol.resume_pending = True
            self._emit_resume()  # `server_write` calls it

    def _callbacks_due(self, reactor: Any) -> None:
        if not self.is_writing:
            self._call_callbacks()

    # Failing

    def _fail_json(self, exc: Exception) -> None:
        _log.info('%r: failing the connection with 1007: a message that is not valid JSON: %s', self, exc)
        self._protocol.fail(CloseCode.INVALID_DATA, f'a message that is not valid JSON: {exc}')

    def _handler_failed(self, exc: BaseException) -> None:
        """A handler raised: emit ``error``, or close with 1011. What is not an `Exception` is raised again later.

        ConnectionClosed from a handler that used a connection whose close had begun is not logged as an error, unless
        ``error`` has a handler: the handler could not know.
        """
        opening = self._protocol.opening
        if (opening is None or not opening.awaits_answer()) and self._is_late_use(exc):
            return
        unexpected = ungrouped(exc)
        if isinstance(unexpected, UnexpectedMessage) and 'error' not in self._events:
            _log.info('%r: failing the connection with %d: %s', self, unexpected.code, unexpected)
            self._protocol.fail(unexpected.code, str(unexpected))
            self._emit_resume()
            return
        if not isinstance(exc, Exception):
            self._raise_later(exc)
        if self._emit_error(exc):
            return
        if self._protocol.state == State.OPEN:
            self._protocol.fail(CloseCode.INTERNAL_ERROR, 'internal error')
            self._emit_resume()
        elif opening is not None and opening.awaits_answer():
            opening.refuse(Response(500))

    def _raise_later(self, exc: BaseException) -> None:
        """Raise when all that was received is processed: from the loop, or from the `server_read` that is under way."""
        ioloop = self._protocol.ioloop
        if ioloop is not None:
            ioloop.reactor.raise_later(exc)
        else:
            self._interrupt = exc

    # Without a loop

    def server_read(self, chunk: bytes | bytearray | memoryview) -> Self:
        """Take bytes of the client; ``b''`` for EOF. Returns the transaction.

        What a handler raises becomes ``error``. KeyboardInterrupt and others that are not an `Exception` are also
        raised again when all of the bytes are processed.
        """
        receiver = self._protocol.receiver()
        if chunk:
            # A copy of what may change: a handler could resize a bytearray while it is parsed.
            chunk = as_bytes(chunk)
            receiver.feed(chunk, len(chunk))
        else:
            receiver.eof()
        self._emit_resume()
        if self._interrupt is not None:
            self._raise_interrupt()
        return self

    def client_read(self, chunk: bytes | bytearray | memoryview) -> Self:
        """Take bytes of the server; as `server_read` otherwise."""
        return self.server_read(chunk)

    def server_write(self) -> bytes:
        """All that waits to be written to the client.

        Where it is called by a handler of ``drain``, or by one of ``resume`` for what that handler has sent, this is
        all that the call that emits ``drain`` has not returned yet, and then what was sent; the outer call returns
        nothing.
        """
        receiver = self._protocol.receiver()
        if receiver.out is None:
            if not self.is_writing:
                self._call_callbacks()
            data, self._written = self._written, b''
            return data
        protocol = self._protocol
        if protocol._unanswered_ping is not None:
            protocol._send_late_pong()
        data = receiver.out.take()
        receiver.out = None
        if self._written:
            data = self._written + data
        if data:
            if receiver.awaits_drain:
                self._written = data
                receiver.drained()
                data, self._written = self._written, b''
            if self._interrupt is not None:
                self._written = data  # for the next call
                self._raise_interrupt()
        return data

    def client_write(self) -> bytes:
        """All that waits to be written to the server."""
        return self.server_write()

    def closed(self) -> Self:
        """The connection is gone: ``finish`` is emitted, once. Returns the transaction."""
        protocol = self._protocol
        opening = protocol.opening
        if protocol.is_finished:
            return self
        protocol.is_finished = True
        if opening is not None and isinstance(self._handshake, ClientHandshake) and not protocol._discarding:
            protocol._discard_input()  # so that `receive_eof` reports no second error
            protocol.parser_exc = self._handshake.unanswered()
            self._emit_error(protocol.parser_exc)
        protocol.receive_eof()
        protocol.end_driving()
        if opening is not None:
            opening.close()
        self._callbacks = None
        close = protocol.close_rcvd or protocol.close_sent or Close(CloseCode.ABNORMAL_CLOSURE, '')
        code, reason = int(close.code), close.reason
        if protocol.end is not None and protocol.close_rcvd is None:
            code, reason = protocol.end
        protocol.finish_code = code = int(code)
        protocol.end = (code, reason)
        if self._inbox is not None:
            self._inbox.end()
        if protocol._logs_frames:
            protocol.logger.debug('%s closed with %d %r', protocol._log_id(), code, reason)
        protocol.finish_pending = True
        self._finish_late()
        owner, protocol.owner = protocol.owner, None
        if owner is not None:
            owner.gone(self)
        if self._interrupt is not None:
            self._raise_interrupt()
        return self

    def _finish_late(self) -> None:
        """Emit ``finish``, unless handlers of an event or a message are being called: then after the last of them."""
        protocol = self._protocol
        if protocol.finish_pending and not protocol.calls_handlers():
            protocol.finish_pending = False
            assert protocol.end is not None
            code, reason = protocol.end
            self._emit_finish(code, reason)
            protocol.ws = None

    # As an emitter

    def _call_each(self, handlers: Iterable[Callable[..., Any]], args: tuple[Any, ...]) -> None:
        protocol = self._protocol
        was_emitting, protocol.is_emitting = protocol.is_emitting, True
        try:
            TransactionUpgrade._call_each(self, handlers, args)
        finally:
            self._end_emitting(was_emitting)

    def _emit_error(self, exc: BaseException) -> bool:
        protocol = self._protocol
        was_emitting, protocol.is_emitting = protocol.is_emitting, True
        try:
            return TransactionUpgrade._emit_error(self, exc)
        finally:
            self._end_emitting(was_emitting)

    def _deliver(self, message: str | bytes) -> None:
        protocol = self._protocol
        was_emitting, protocol.is_emitting = protocol.is_emitting, True
        try:
            TransactionUpgrade._deliver(self, message)
        finally:
            self._end_emitting(was_emitting)

    def _end_emitting(self, was_emitting: bool) -> None:
        """The handlers of an event were called."""
        self._protocol.is_emitting = was_emitting
        if self._protocol.finish_pending:
            self._finish_late()

    def _set(self, event: str, handlers: tuple[Callable[..., Any], ...]) -> None:
        """Replace the subscribers of an event."""
        self._check_thread('WebSocket.on() and unsubscribe()')
        TransactionUpgrade._set(self, event, handlers)
        protocol = self._protocol
        if event == 'frame':
            protocol._raw = assemble not in handlers
            protocol._show_frames(handlers != BUILT_IN)
        elif event == 'drain':
            protocol.awaits_drain = True

    def _subscribed(self, event: str, handler: Any) -> None:
        if event == 'open' or (event == 'finish' and self._finished_with is not None):
            call_if_late(self, event, handler)

    def _spawner(self) -> Any:
        return EmitterCore._spawner(self) if self._protocol.ioloop is None else self._protocol.ioloop.reactor


class WebSocket(TransactionCore, Coroutines, EventEmitter):  # type: ignore[misc]
    """A WebSocket connection: one object with events, which coroutines may await.

    Synopsis::

        @ws.on
        def json(ws, message):
            ws.send(json={'echo': message})

        @ws.on
        def finish(ws, code, reason):
            print('closed with', code)

        async with pyjows.connect('ws://127.0.0.1:3000') as ws:     # the same in coroutines
            async for message in ws:
                ws.send(message)

    Events:
        ``request`` ``(ws)``: server: the upgrade request is here as ``ws.req``, nothing is answered yet. It is accepted
            when all handlers have returned, coroutines included; one that raises refuses it with 500.
        ``open`` ``(ws)``: the handshake is done. A handler that is subscribed later is called on the loop's next tick.
        ``message`` ``(ws, message)``: a whole message: `str` for text, `bytes` for binary.
        ``text`` ``(ws, str)``, ``binary`` ``(ws, bytes)``: a whole text or binary message.
        ``json`` ``(ws, value)``: a whole message of either kind, decoded.
        ``frame`` ``(ws, Frame)``: every frame, before anything else is done with it. ``ws.unsubscribe('frame')``
            removes the built-in subscriber: from then on nothing is assembled, answered or closed for you.
        ``drain`` ``(ws)``: all data has been written.
        ``finish`` ``(ws, code, reason)``: closed; exactly once, a handler that is subscribed later included.
        ``error`` ``(ws, exc)``: a handler raised, JSON did not decode, the handshake failed. Without a subscriber it is
            logged on the logger ``pyjows``, and the connection closes (1011, or 1007 for JSON).
        ``ping`` ``(ws, data)``: a ping was received; it is answered automatically.
        ``pong`` ``(ws, data)``: a pong was received.
        ``connection`` ``(ws, id)``: a loop drives the transaction now.
        ``resume`` ``(ws)``: without a loop: bytes wait to be written.

    Args:
        established: the handshake was done elsewhere; the connection is open.
        masked: this is the client's side; only needed with `established`.
        compression: False, True or a configured `PerMessageDeflate`.
        subprotocols: a client offers these; a server chooses the first of them that is offered.
        headers: to send along with the handshake.
        compressed: messages are compressed; only needed with `established`.
        **options: limits, of which each may be left out: ``max_websocket_size`` (262144 bytes, or the environment
            variable PYJO_MAX_WEBSOCKET_SIZE), ``max_fragments`` (131072 frames a message),
            ``max_queue`` (16 messages), ``high_water_mark`` (1048576 bytes), ``max_backlog`` (16777216 bytes),
            ``backlog_timeout`` (30 seconds), ``ping_interval`` (20), ``ping_timeout`` (20), ``idle_timeout`` (0: off),
            ``close_timeout`` (10). docs/limits.md says what happens at each.

    Attributes:
        req, res: the request and the answer of the handshake. A handler of the request may add headers to the 101:
            ``ws.res.headers['Set-Cookie'] = 'a=1'``.
        subprotocol: the one in use, or None.
        user: who it is, as a server's ``authenticate`` says; None without. You may set it.

    Properties: `masked`, `compressed`, `max_websocket_size`, `close_timeout`, `handshake`, `protocol`, `established`,
    `connection`, `kept_alive`, `local_address`, `local_port`, `remote_address`, `remote_port`, `peer_certificate`,
    `scheme`, `host`, `is_websocket`, `is_finished`, `is_writing`, `buffered_amount`, `can_write`, `is_paused`, `state`,
    `latency`, `limits`.

    Methods: `send`, `build_message`, `build_frame`, `parse_frame`, `finish`, `terminate`, `ping`, `flush`,
    `pause_reading`, `resume_reading`, `accept`, `reject`, `with_compression`, `with_protocols`, `client_handshake`,
    `server_read`, `server_write`, `client_read`, `client_write`, `closed`, and those of `EventEmitter`. Any thread may
    call `send` and `finish`; the others that act on the connection raise RuntimeError on another than the loop's.

    Coroutines: ``await ws`` (it is open, or raises why not), `receive`, ``async for message in ws``, `drain`,
    `wait_closed`, and ``async with``, which closes at the end.
    """

    if TYPE_CHECKING:

        @property
        def on(self) -> WebSocketSubscribe[Self]: ...  # type: ignore[override]
        @property
        def once(self) -> WebSocketSubscribe[Self]: ...  # type: ignore[override]

    def __init__(self, **options: Unpack[WebSocketOptions]) -> None:
        TransactionCore.__init__(self, **check_options('WebSocket()', options, WEBSOCKET))


def new_websocket(options: dict[str, Any]) -> WebSocket:
    """A `WebSocket` with options that are checked already."""
    ws: WebSocket = WebSocket.__new__(WebSocket)
    given = options.get
    compression, subprotocols, headers = given('compression', False), given('subprotocols', ()), given('headers', ())
    ws._begin(Side.SERVER, options['limits'], compression, subprotocols, headers)
    return ws
