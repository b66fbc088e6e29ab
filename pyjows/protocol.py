"""`Protocol`: the one state machine of a WebSocket connection after its handshake (RFC 6455 sections 5 to 7).

Owns the rules: which frame is allowed in which state, what is answered, what either side may send, how fragments make a
message, how a connection closes and fails. Everything that changes the state of a connection is in this file. Must not
know sockets, events or handlers, nor how frames are found in bytes (`frame_decoder.py`) and laid out in them
(`frames.py`). The transaction, the typed events and the classes of `sansio/` are faces of this class.

Bytes come in through `receive_data`, or without a copy through `feed`. Bytes to send wait in `out`, and leave through
`data_to_send`, or through the stream that owns that buffer. What was received goes to hooks. A face fills in those that
it needs; here they collect frames for `events_received`:

    ===================== ================================================================================
    `_message_received`   a whole message: in one frame, or joined of its fragments where `_joins`
    `_piece_received`     a piece of a message as it arrives, text decoded; instead, where `_in_parts`
    `_control_received`   a control frame, after it was answered
    `_frame_seen`         every frame before anything is done with it, where `_shows_frames`
    `_close_began`        the close began, or the connection failed; called at least once before the end
    ===================== ================================================================================

The states (RFC 6455 4.1, 7.1.3, 7.1.4), and what moves a connection from one to the next:

    =========== ========================== ================================= ==============================
    state       sends a close frame        receives a close frame            receives EOF
    =========== ========================== ================================= ==============================
    CONNECTING  –                          –                                 CLOSED
    OPEN        CLOSING                    answers it, CLOSING; from then    CLOSED, abnormally (1006)
                                           on all that comes is discarded
    CLOSING     –                          from then on all that comes is    CLOSED
                                           discarded
    CLOSED      –                          –                                 –
    =========== ========================== ================================= ==============================

The server ends TCP first (7.1.1): it sends EOF as soon as both close frames were seen, or the connection failed; the
client does when it receives EOF. Failing a connection (7.1.7) is sending a close frame that says why, and discarding
all that comes.

Bytes are parsed when they come, so a close frame or a fault behind a message in the same bytes has closed the
connection before a program that asks `events_received` sees the message. For a program that has to answer that message
all the same, `defer_close` delays the close, and the connection stays OPEN, until it asks for the answers to send:
`data_to_send`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .adapted_extension import AdaptedExtension
from .errors import (
    OK_CLOSE_CODES,
    Close,
    CloseCode,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidState,
    PayloadTooBig,
    ProtocolError,
)
from .frame_decoder import AT_REST, decode_text
from .frame_log import FrameLog
from .frames import Opcode, as_bytes, head_byte, make_frame, write_frame

if TYPE_CHECKING:
    from .extensions import Extension

__all__ = ['SEND_EOF', 'Protocol', 'Side', 'State']


class Side(enum.IntEnum):
    """Which end of the connection this is."""

    SERVER, CLIENT = range(2)


class State(enum.IntEnum):
    """Where a connection stands (RFC 6455 4.1, 7.1.3, 7.1.4)."""

    CONNECTING, OPEN, CLOSING, CLOSED = range(4)


#: Among the data to send: half-close the TCP connection.
SEND_EOF = b''

_STATES = tuple(State)

# Compiled, these are C integers.
_SERVER, _CLIENT = Side.SERVER.value, Side.CLIENT.value
_CONNECTING, _OPEN, _CLOSING, _CLOSED = [state.value for state in State]
_CONT, _TEXT, _BINARY = Opcode.CONT.value, Opcode.TEXT.value, Opcode.BINARY.value
_CLOSE, _PING, _PONG = Opcode.CLOSE.value, Opcode.PING.value, Opcode.PONG.value
_AT_REST = AT_REST

#: The largest number of frames of one message, unless another is given.
MAX_FRAGMENTS = 131072

# While more bytes than this wait to be written, pings are not answered one by one.
_MAX_BEFORE_PONG = 65536

# A peer that sends so many pings and takes nothing that is sent to it is not read meanwhile.
_MAX_UNANSWERED = 64

# Which of the two close frames came first.
_UNKNOWN, _RECEIVED_FIRST, _SENT_FIRST = range(3)

# The largest C integer.
_MAX_INT = 2**31 - 1


class Protocol(FrameLog):
    """A WebSocket connection without I/O, frame by frame.

    Synopsis::

        protocol = Protocol(Side.SERVER)
        protocol.receive_data(sock.recv(65536))
        for frame in protocol.events_received():
            if frame.opcode is Opcode.TEXT:
                protocol.send_text(frame.data)
        for data in protocol.data_to_send():
            sock.sendall(data) if data else sock.shutdown(socket.SHUT_WR)

    It answers pings and close frames. A peer that breaks RFC 6455 ends the connection with the close code that the RFC
    names: 1002 for the protocol, 1007 for text that is not valid UTF-8, 1009 for what is larger than `max_size`.

    Args:
        side: `Side.SERVER` or `Side.CLIENT`.
        state: where it stands; the handshake was before.
        max_size: the largest message, in bytes, after decompression; None for no limit; or a pair of the largest
            message and the largest fragment.
        defer_close: whether a close that the peer causes, by its close frame or by a fault, waits for the next
            `data_to_send` or `receive_eof`: until then the connection is open, and what is sent goes first. By default
            `receive_data` closes it, and the frames that came before in the same bytes cannot be answered any more.
        max_fragments: the largest number of frames that one message may come in; None for no limit.
        join_fragments: whether the fragments of a message are joined, so that each message is one frame in
            `events_received`. By default each fragment is a frame there.
        logger: for log records of the connection; the logger ``pyjows.server`` or ``pyjows.client`` by default.

    Raises:
        ValueError: a limit that is not a number in its range, a side or a state that there is not.
        TypeError: a limit in bytes that is not a whole number.
    """

    def __init__(
        self,
        side: Side,
        *,
        state: State = State.OPEN,
        max_size: int | tuple[int | None, int | None] | None = 1048576,
        defer_close: bool = False,
        max_fragments: int | None = MAX_FRAGMENTS,
        join_fragments: bool = False,
        logger: Any = None,
    ) -> None:
        if max_fragments is not None and (not isinstance(max_fragments, int) or max_fragments < 1):
            raise ValueError(f'max_fragments={max_fragments!r}, but it takes 1 or more frames, or None for no limit')
        self._begin_protocol(Side(side), State(state), max_size, max_fragments, logger)
        # `bool`, as everywhere in Python: compiled, these are C integers, which take no None.
        self._joins = bool(join_fragments)
        self._defers_close = bool(defer_close)

    def _begin_protocol(self, side: Side, state: State, max_size: Any, max_fragments: int | None, logger: Any) -> None:
        """Set the initial state; a method, because compiled subclasses call it with their own arguments."""
        self._begin_frames(side, max_size, logger)
        self._state: int = state
        # What was negotiated: applied in this order to what is sent, in reverse to what is received.
        self._extensions: Sequence[Any] = ()
        # How what is received is delivered: `_joins` fragments, shows every frame first, answers nothing by itself.
        self._joins = False
        self._fragments: bytearray | None = None
        self._fragment_count = 0
        self._max_fragments = -1 if max_fragments is None else min(max_fragments, _MAX_INT)
        self._answers_nothing = False
        self._events: list[Any] | None = None
        # The latest ping that was not answered, because too much waits to be written, and how many were not.
        self._unanswered_ping: bytes | None = None
        self._unanswered_pings = 0
        # A fragmented message was begun by us, and its next fragment is to be sent.
        self._sending = False
        # The close: the frames seen so far and their order, what broke the rules, and what `defer_close` delays (the
        # payload of the peer's close frame, or the fault).
        self.close_rcvd: Close | None = None
        self.close_sent: Close | None = None
        self._close_order = _UNKNOWN
        self.parser_exc: BaseException | None = None
        self._defers_close = False
        self._deferred_close: ProtocolError | bytes | None = None
        # The end of TCP in both directions, and whether `data_to_send` has returned ours.
        self._eof_sent = False
        self._eof_received = False
        self._eof_returned = False
        if state == _OPEN:
            self._begin_log()

    # State

    @property
    def side(self) -> Side:
        """Which end of the connection this is."""
        return Side(self._side)

    @property
    def state(self) -> State:
        """The state of the connection (RFC 6455 4.1, 7.1.3, 7.1.4)."""
        return _STATES[self._state]

    @property
    def extensions(self) -> Sequence[Extension]:
        """The negotiated extensions, in the order in which they are applied to what is sent."""
        if not self._extends_control:
            return self._extensions
        return [one.inner if isinstance(one, AdaptedExtension) else one for one in self._extensions]

    @extensions.setter
    def extensions(self, extensions: Sequence[Extension]) -> None:
        used: list[Any] = [one if hasattr(one, 'rsv') else AdaptedExtension(one) for one in extensions]
        self._extends_control = any(map(_extends_control_frames, used))
        self._extensions = used if self._extends_control else extensions
        self._claimed_bits = 0
        for extension in used:
            self._claimed_bits |= extension.rsv

    @property
    def eof_sent(self) -> bool:
        """Whether this side ended its half of the connection."""
        return bool(self._eof_sent)

    @property
    def eof_received(self) -> bool:
        """Whether the peer ended its half of the connection."""
        return bool(self._eof_received)

    @property
    def close_rcvd_then_sent(self) -> bool | None:
        """Whether the peer closed first; None unless both close frames were seen."""
        return None if self._close_order == _UNKNOWN else self._close_order == _RECEIVED_FIRST

    @property
    def close_code(self) -> int | None:
        """The peer's close code (RFC 6455 7.1.5), 1006 without a close frame; None before the connection is closed."""
        if self._state != _CLOSED:
            return None
        return CloseCode.ABNORMAL_CLOSURE if self.close_rcvd is None else self.close_rcvd.code

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason (RFC 6455 7.1.6); None before the connection is closed."""
        if self._state != _CLOSED:
            return None
        return '' if self.close_rcvd is None else self.close_rcvd.reason

    @property
    def close_exc(self) -> ConnectionClosed:
        """What to raise where the closed connection is used; AssertionError before it is closed."""
        if self._state != _CLOSED:
            raise AssertionError("connection isn't closed yet")
        rcvd, sent = self.close_rcvd, self.close_sent
        ok = rcvd is not None and sent is not None and rcvd.code in OK_CLOSE_CODES and sent.code in OK_CLOSE_CODES
        exc = (ConnectionClosedOK if ok else ConnectionClosedError)(rcvd, sent, self.close_rcvd_then_sent)
        exc.__cause__ = self.parser_exc
        return exc

    def _set_state(self, state: Any) -> None:
        """For `sansio/`, whose hosts may set CLOSED when TCP is gone, as with websockets."""
        self._state = State(state).value

    def close_expected(self) -> bool:
        """Whether TCP is about to be closed: if the peer does not do it soon, do it yourself."""
        return (
            self._state == _CLOSING
            or self._deferred_close is not None
            or (self._state == _CONNECTING and bool(self._eof_sent))
        )

    # Receiving

    def open(self, extensions: Sequence[Extension] = ()) -> None:
        """The opening handshake is done: from here on, frames are received and sent through these extensions.

        Raises:
            InvalidState: the connection was opened before, or is closed.
        """
        if self._state != _CONNECTING:
            raise InvalidState(f'a connection is opened once; this one is {self.state.name.lower()}')
        if extensions:
            self.extensions = extensions
        self._state = _OPEN
        self._begin_log()

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the network; `events_received` and `data_to_send` are to be called then.

        Raises:
            EOFError: the end was received before.
        """
        if self._eof_received:
            raise EOFError('stream ended')
        if data:
            # A copy of what may change: an extension or another thread could resize a bytearray while it is parsed.
            data = as_bytes(data)
            self.feed(data, len(data))

    def receive_eof(self) -> None:
        """The peer ended its half of the connection; a second call does nothing."""
        if self._eof_received:
            return
        while self._unread is not None and self._turn == _AT_REST:
            self._resume_input(0xFF)  # it was received before the end; a handler may pause after each message
        self._eof_received = True
        if self._deferred_close is not None:
            self._send_deferred_close()
        if not self._discarding:
            self.parser_exc = EOFError('unexpected end of stream')
            self.fail(CloseCode.ABNORMAL_CLOSURE, 'unexpected end of stream')
        if self._side == _CLIENT and self._state != _CONNECTING:
            self._send_eof()
        self._state = _CLOSED

    def events_received(self) -> list[Any]:
        """The frames that came since the last call."""
        events, self._events = self._events, None
        return [] if events is None else events

    # What the decoder found

    def _frame_received(self, head: int, payload: bytes) -> None:
        """A whole frame was received, and its header is allowed."""
        if not self._shows_frames or self._look_at_frame(head, payload):
            self._process_frame(head, payload)

    def _process_frame(self, head: int, payload: bytes) -> None:
        """Process a frame as RFC 6455 says."""
        opcode = head & 0x0F
        if opcode > 7:
            if self._extends_control:
                payload = self._through_extensions(head, payload)
                _check_control(payload)
            self._receive_control(opcode, payload)
            return
        if self._in_parts:
            self._part_received(head, payload, True)
            return
        if self._claimed_bits:
            payload = self._through_extensions(head, payload)
        if opcode and head & 0x80:
            self._text_decoder = None
            self._text_checked = False
            self._message_received(opcode, payload)
        else:
            self._receive_fragment(opcode, (head & 0x80) != 0, payload)

    def _through_extensions(self, head: int, payload: bytes) -> bytes:
        """The payload of a frame, or of a part of a data frame, as the extensions give it; the last goes first."""
        limit = self._max_message - self._size if self._max_message >= 0 else None
        if self._max_frame >= 0 and (limit is None or self._max_frame < limit):
            limit = self._max_frame
        frame = make_frame(head, payload)
        for extension in reversed(self._extensions):
            if not head & 0x08 or _extends_control_frames(extension):
                frame = extension.decode(frame, max_size=limit)
        if frame[1] or frame[2] or frame[3]:
            raise ProtocolError('reserved bits that no extension has cleared (RFC 6455 5.2)')
        payload = as_bytes(frame.data)
        if not head & 0x08:
            self._check_size(len(payload), self._size)
        self._turn -= len(payload) >> 9  # a turn inflates about a megabyte
        if self._logs_frames and not self._raw:
            self._log_frame('<', head & 0x8F, payload)
        return payload

    def _check_sequence(self, opcode: int, reserved: int) -> None:
        """Raise ProtocolError for a data frame that is not the next one of its message (RFC 6455 5.4)."""
        if opcode == _CONT:
            if not self._opcode:
                raise ProtocolError('a continuation frame with nothing to continue (RFC 6455 5.4)')
            if reserved:
                raise ProtocolError('reserved bits on a continuation frame (RFC 7692 6.1)')
        elif self._opcode:
            raise ProtocolError('a new message before the last one was complete (RFC 6455 5.4)')

    def _receive_fragment(self, opcode: int, fin: bool, payload: bytes) -> None:
        """A fragment of a message (RFC 6455 5.4): check its text, then deliver it, or join the message."""
        if opcode:
            self._opcode = opcode
        self._size += len(payload)
        self._count_fragment()
        if self._opcode == _TEXT:
            # The payload of a cut frame was checked as it came.
            self._decode_part(b'' if self._text_checked else payload, fin)
            self._text_checked = False
        if not self._joins:
            self._collect(make_frame((0x80 if fin else 0) | opcode, payload))
            if fin:
                self._end_message()
            return
        if self._fragments is None:
            self._fragments = bytearray()
        self._fragments += payload
        if fin:
            message, opcode = bytes(self._fragments), self._opcode
            self._end_message()
            self._message_received(opcode, message)

    def _part_received(self, head: int, part: bytes, whole: bool) -> None:
        """A part of a data frame was received: deliver it as a piece of its message."""
        fin = whole and (head & 0x80) != 0
        if self._claimed_bits:
            part = self._through_extensions(head if whole else head & 0x7F, part)
        opcode = head & 0x0F
        if opcode:
            self._opcode = opcode
        piece: Any = part
        if self._opcode == _TEXT:
            piece = decode_text(part) if opcode and fin else self._decode_part(part, fin)
        opcode = self._opcode
        if fin:
            self._end_message()
        else:
            self._size += len(part)
        self._piece_received(opcode, piece, whole, fin)

    def _count_fragment(self) -> None:
        """Raise PayloadTooBig for a message in too many frames: empty ones have no size that would end it."""
        self._fragment_count += 1
        if self._fragment_count > self._max_fragments >= 0:
            raise PayloadTooBig(f'a message in more than {self._max_fragments} frames')

    def _end_message(self) -> None:
        """The last fragment of a message was received."""
        self._fragment_count = 0
        self._opcode = 0
        self._size = 0
        self._text_decoder = None
        self._fragments = None

    def _receive_control(self, opcode: int, payload: bytes) -> None:
        """A control frame (RFC 6455 5.5)."""
        if opcode == _PING:
            if not self._answers_nothing:
                self._answer_ping(payload)
        elif opcode == _CLOSE:
            self._receive_close(payload)
        self._control_received(opcode, payload)

    def _answer_ping(self, payload: bytes) -> None:
        """Send a pong; while much waits to be written, only to the latest ping, and later (RFC 6455 5.5.3)."""
        if self.out is None or self.out.size <= _MAX_BEFORE_PONG:
            self._send(0x80 | _PONG, payload)
        else:
            self._unanswered_ping = payload
            self._unanswered_pings += 1
            self.awaits_drain = True
            if self._unanswered_pings > _MAX_UNANSWERED and self.stream is not None:
                self.stream.pause_until_drained()

    def _send_late_pong(self) -> None:
        """Answer the latest ping, now that what waited is written."""
        payload, self._unanswered_ping, self._unanswered_pings = self._unanswered_ping, None, 0
        if payload is not None and self._state == _OPEN:
            self._send(0x80 | _PONG, payload)

    def _receive_close(self, payload: bytes) -> None:
        """A close frame (RFC 6455 5.5.1, 7.1.5)."""
        try:
            self.close_rcvd = Close.parse(payload)
        except UnicodeDecodeError as exc:
            raise ProtocolError('invalid UTF-8 in a close reason', CloseCode.INVALID_DATA) from exc
        if self._state in (_OPEN, _CLOSING):
            self._close_order = _RECEIVED_FIRST if self._state == _OPEN else _SENT_FIRST
        if self._defers_close:
            self._deferred_close = payload
        elif not self._answers_nothing:
            self._answer_close(payload)
        self._discard_input()

    def _answer_close(self, payload: bytes) -> None:
        """Send the peer's close frame back, unless ours was sent before."""
        if self._state == _OPEN:
            self._send(0x80 | _CLOSE, payload)
            self.close_sent = self.close_rcvd
            self._state = _CLOSING
        if self._side == _SERVER:
            self._send_eof()

    def _send_deferred_close(self) -> None:
        """Answer the peer's close frame, or fail for its fault, which `defer_close` has delayed."""
        deferred, self._deferred_close = self._deferred_close, None
        if isinstance(deferred, ProtocolError):
            self.fail(deferred.code, str(deferred))
        elif deferred is not None:
            self._answer_close(deferred)

    def _fail_violation(self, exc: ProtocolError) -> None:
        """The peer broke a rule: fail the connection with the code of the exception, now or after `defer_close`."""
        self.parser_exc = exc
        if self._answers_nothing:
            self._discard_input()
            return
        self.logger.info('failing the connection with %d: %s', exc.code, exc)
        if self._defers_close:
            self._deferred_close = exc
            self._discard_input()
        else:
            self.fail(exc.code, str(exc))

    def _fail_internally(self, exc: BaseException) -> None:
        """An extension failed, or memory ran out: fail with 1011; KeyboardInterrupt and its like are raised again."""
        self.logger.error('%s while a frame was received', type(exc).__name__, exc_info=exc)
        if self._extends_control:
            self._claimed_bits = 0  # the close frame is sent past the extensions, of which one may have failed
        self._fail_violation(ProtocolError('internal error', CloseCode.INTERNAL_ERROR))
        self.parser_exc = exc
        if not isinstance(exc, Exception):
            raise exc

    # The hooks of a face

    def _message_received(self, opcode: int, payload: bytes) -> None:
        """A whole message was received."""
        if opcode == _TEXT and not payload.isascii():
            decode_text(payload)
        self._collect(make_frame(0x80 | opcode, payload))

    def _piece_received(self, opcode: int, piece: Any, frame_finished: bool, message_finished: bool) -> None:
        """A piece of a message was received: a `str` of text, or bytes. `opcode` is that of the message."""

    def _control_received(self, opcode: int, payload: bytes) -> None:
        """A control frame was received, and answered where RFC 6455 wants an answer."""
        self._collect(make_frame(0x80 | opcode, payload))

    def _close_began(self) -> None:
        """The close began: a close frame was sent or received, or the connection failed."""

    def _collect(self, event: Any) -> None:
        if self._events is None:
            self._events = []
        self._events.append(event)

    # Sending

    def send_continuation(self, data: bytes, fin: bool) -> None:
        """Send a further frame of a fragmented message, the last one if `fin`.

        Raises:
            ProtocolError: no fragmented message was begun.
            InvalidState: the connection is not open.
        """
        if not self._sending:
            raise ProtocolError('unexpected continuation frame: no fragmented message was begun')
        self._send_data(_CONT, data, fin)

    def send_text(self, data: bytes, fin: bool = True) -> None:
        """Send a text message (UTF-8), or without `fin` the first frame of one.

        Raises:
            ProtocolError: a fragmented message was begun, and its next frame has to come first.
            InvalidState: the connection is not open.
        """
        self._send_message(_TEXT, data, fin)

    def send_binary(self, data: bytes, fin: bool = True) -> None:
        """Send a binary message, or without `fin` the first frame of one; raises like `send_text`."""
        self._send_message(_BINARY, data, fin)

    def _send_message(self, opcode: int, data: bytes, fin: bool) -> None:
        if self._sending:
            raise ProtocolError('expected a continuation frame: a fragmented message was begun')
        self._send_data(opcode, data, fin)

    def _send_data(self, opcode: int, data: bytes, fin: bool) -> None:
        """Send a data frame, and remember whether a fragment has to follow."""
        if self._state != _OPEN:
            raise InvalidState(f'connection is {self.state.name.lower()}')
        payload = as_bytes(data)
        self._sending = not fin
        self._send((0x80 if fin else 0) | opcode, payload)

    def send_ping(self, data: bytes = b'') -> None:
        """Send a ping of up to 125 bytes.

        Raises:
            ProtocolError: it is longer.
            InvalidState: the connection is neither open nor closing.
        """
        self._send_control(_PING, data)

    def send_pong(self, data: bytes = b'') -> None:
        """Send a pong; raises like `send_ping`."""
        self._send_control(_PONG, data)

    def _send_control(self, opcode: int, data: bytes) -> None:
        """Send a ping or a pong."""
        if self._state != _OPEN and self._state != _CLOSING:
            raise InvalidState(f'connection is {self.state.name.lower()}')
        payload = as_bytes(data)
        _check_control(payload)
        self._send(0x80 | opcode, payload)

    def send_close(self, code: int | None = None, reason: str = '') -> None:
        """Begin the closing handshake.

        Raises:
            ProtocolError: the code may not be sent, the reason is longer than 123 bytes or has no code.
            InvalidState: the connection is not open.
        """
        if self._state != _OPEN:
            raise InvalidState(f'connection is {self.state.name.lower()}')
        if code is None:
            if reason:
                raise ProtocolError('a close reason needs a close code before it (RFC 6455 5.5.1)')
            close, payload = Close(CloseCode.NO_STATUS_RCVD, ''), b''
        else:
            close = Close(code, reason)
            payload = close.serialize()
        self._send(0x80 | _CLOSE, payload)
        self.close_sent = close
        self._state = _CLOSING
        self._close_began()

    def fail(self, code: int, reason: str = '') -> None:
        """Fail the connection (RFC 6455 7.1.7): send a close frame that says why, and ignore all that is received.

        Code 1006 sends nothing: the network failed. A reason that is too long for a close frame is cut.

        Raises:
            ProtocolError: the code may not be sent.
        """
        if self._state == _OPEN and code != CloseCode.ABNORMAL_CLOSURE:
            close = Close.truncated(code, reason)
            self._send(0x80 | _CLOSE, close.serialize())
            self.close_sent = close
            if self.close_rcvd is not None:
                self._close_order = _RECEIVED_FIRST
            self._state = _CLOSING
        if self._side == _SERVER:
            self._send_eof()
        self._discard_input()

    def data_to_send(self) -> list[bytes]:
        """What to write to the network now; `SEND_EOF`, last, asks to half-close the connection."""
        if self._deferred_close is not None:
            self._send_deferred_close()
        if self._unanswered_ping is not None:
            self._send_late_pong()
        writes = []
        if self.out is not None and self.out.size:
            writes.append(self.out.take())
        if self._eof_sent and not self._eof_returned:
            self._eof_returned = True
            writes.append(SEND_EOF)
        return writes

    def _send(self, head: int, payload: bytes) -> None:
        """Put one frame into the outgoing buffer, through the extensions if they are for frames of its kind."""
        if self._logs_frames:
            self._log_frame('>', head, payload)
        if self._claimed_bits and (not head & 0x08 or self._extends_control):
            frame = make_frame(head, payload)
            for extension in self._extensions:
                if not head & 0x08 or _extends_control_frames(extension):
                    frame = extension.encode(frame)
            fin, rsv1, rsv2, rsv3, opcode, payload = frame
            if head & 0x08:
                _check_control(payload)
            head = head_byte(fin, rsv1, rsv2, rsv3, opcode)
        write_frame(self.out if self.out is not None else self.outgoing(), head, payload, self._masks)

    # The end

    def _send_eof(self) -> None:
        """Half-close TCP, after all that waits to be written."""
        if not self._eof_sent:
            self._eof_sent = True
            if self.stream is not None:
                self.stream.shutdown()

    def _discard_input(self) -> None:
        FrameLog._discard_input(self)
        self._fragments = None
        self._close_began()


def _extends_control_frames(extension: Any) -> bool:
    return getattr(extension, 'control_frames', False)


def _check_control(payload: bytes) -> None:
    """Raise ProtocolError for a control frame that is too long (RFC 6455 5.5)."""
    if len(payload) > 125:
        raise ProtocolError(f'a control frame of {len(payload)} bytes; at most 125 are allowed (RFC 6455 5.5)')
