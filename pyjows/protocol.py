"""`Protocol`: the one state machine of a WebSocket connection after its handshake (RFC 6455 sections 5 to 7).

Owns the rules: which frame may come when, what is answered, who may send what, how a connection closes and fails. Must
not know sockets, events or handlers, nor how a frame looks on the wire (`frames.py`). The transaction, the typed
events and everything else on this floor or above are faces of this class.

Bytes come in through `receive_data`, or without a copy through `feed`; what they mean goes to four hooks, which a face
overrides: `_frame` (every frame, before anything is done with it), `_message` (a whole message in one frame),
`_fragment` (a frame of a fragmented message) and `_control` (a control frame, after it was dealt with). Here they
collect the frames for `events_received`. Bytes to send wait in `out`, and leave through `data_to_send`, or through the
stream that owns that buffer.

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

Bytes are understood when they come, so a close frame or a fault behind a message in the same bytes has closed the
connection before a program that asks `events_received` sees the message. Where it is to answer that message all the
same, `defer_close` has the close wait, and the connection OPEN, until its answers are asked for: `data_to_send`.

A frame that is whole in the bytes at hand is unmasked straight out of them. One that is cut is collected in memory of
its own, and its text is checked as it comes, so that a byte that is no UTF-8 ends the connection when it arrives.
"""

from __future__ import annotations

import codecs
import enum
import logging
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import memory
from .buffers import Receiver
from .errors import ConnectionClosedError, ConnectionClosedOK, InvalidState, PayloadTooBig, ProtocolError
from .frames import OK_CLOSE_CODES, Close, CloseCode, FrameHeader, head_byte, make_frame, octets, write_frame

if TYPE_CHECKING:
    from .errors import ConnectionClosed
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

# The same numbers without their names: compiled, these are C integers.
_SERVER, _CLIENT = 0, 1
_CONNECTING, _OPEN, _CLOSING, _CLOSED = 0, 1, 2, 3
_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x00, 0x01, 0x02, 0x08, 0x09, 0x0A

# The memory for a frame that is still arriving is taken in steps of this many bytes: a claim in a header costs nothing.
_STEP = 1 << 20

_UTF8 = codecs.getincrementaldecoder('utf-8')


class Protocol(Receiver):
    """A WebSocket connection without I/O, frame by frame.

    Synopsis::

        protocol = Protocol(Side.SERVER)
        protocol.receive_data(sock.recv(65536))
        for frame in protocol.events_received():
            if frame.opcode is Opcode.TEXT:
                protocol.send_text(frame.data)
        for data in protocol.data_to_send():
            sock.sendall(data) if data else sock.shutdown(socket.SHUT_WR)

    Pings and close frames are answered by it. A peer that breaks RFC 6455 ends the connection with the close code that
    the RFC names: 1002 for the protocol, 1007 for text that is no UTF-8, 1009 for what is larger than `max_size`.

    Args:
        side: `Side.SERVER` or `Side.CLIENT`.
        state: where it stands; the handshake was before.
        max_size: the largest message, in bytes, after decompression; None for no limit; or a pair of the largest
            message and the largest fragment.
        defer_close: whether a close that the peer causes, by its close frame or by a fault, waits for the next
            `data_to_send` or `receive_eof`: until then the connection is open, and what is sent goes first. By default
            `receive_data` closes it, and the frames that came before in the same bytes cannot be answered any more.
        logger: for what the connection has to say; the logger ``pyjows.server`` or ``pyjows.client`` by default.
    """

    def __init__(
        self,
        side: Side,
        *,
        state: State = State.OPEN,
        max_size: int | tuple[int | None, int | None] | None = 1048576,
        defer_close: bool = False,
        logger: Any = None,
    ) -> None:
        Receiver.__init__(self)
        self._side: int = side
        self._masks = side == _CLIENT
        self._state: int = state
        self.max_size = max_size
        self._defers = defer_close
        self._due: ProtocolError | bytes | None = None
        self._logger = logger
        self._id: uuid.UUID | None = None
        self._header = FrameHeader()
        self._stash: bytearray | None = None
        self._chunk: Any = None
        self._chunks: list[bytes] | None = None
        self._filled = 0
        self._remaining = 0
        self._opcode = 0
        self._size = 0
        self._check: Any = None
        self._checked = False
        self._sending = False
        self._discarding = False
        self._raw = False
        self._streams = False
        self._extensions: Sequence[Extension] = ()
        self._claimed = 0
        self._events: list[Any] | None = None
        self.close_rcvd: Close | None = None
        self.close_sent: Close | None = None
        self.close_rcvd_then_sent: bool | None = None
        self.eof_sent = False
        self.eof_received = False
        self._eof_told = False
        self.parser_exc: Exception | None = None

    # What is known

    @property
    def side(self) -> Side:
        """Which end of the connection this is."""
        return Side(self._side)

    @property
    def state(self) -> State:
        """Where the connection stands (RFC 6455 4.1, 7.1.3, 7.1.4)."""
        return _STATES[self._state]

    @state.setter
    def state(self, state: State) -> None:
        self._state = state

    @property
    def id(self) -> uuid.UUID:
        """A unique name for the logs."""
        if self._id is None:
            self._id = uuid.uuid4()
        return self._id

    @property
    def logger(self) -> Any:
        """Where the connection says what it has to say."""
        if self._logger is None:
            self._logger = logging.getLogger(f'pyjows.{self.side.name.lower()}')
        return self._logger

    @property
    def max_size(self) -> int | tuple[int | None, int | None] | None:
        """The largest message in bytes, after decompression; None for no limit; or (message, fragment)."""
        message = self._max_message if self._max_message >= 0 else None
        return message if self._max_fragment < 0 else (message, self._max_fragment)

    @max_size.setter
    def max_size(self, max_size: int | tuple[int | None, int | None] | None) -> None:
        message, fragment = max_size if isinstance(max_size, tuple) else (max_size, None)
        self._max_message = -1 if message is None else message
        self._max_fragment = -1 if fragment is None else fragment

    @property
    def extensions(self) -> Sequence[Extension]:
        """The negotiated extensions, in the order in which they are applied to what is sent."""
        return self._extensions

    @extensions.setter
    def extensions(self, extensions: Sequence[Extension]) -> None:
        self._extensions = extensions
        self._claimed = 0
        for extension in extensions:
            self._claimed |= getattr(extension, 'rsv', 0x70)

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
        """What to raise for one who uses the closed connection; AssertionError before it is closed."""
        if self._state != _CLOSED:
            raise AssertionError("connection isn't closed yet")
        rcvd, sent = self.close_rcvd, self.close_sent
        fine = rcvd is not None and sent is not None and rcvd.code in OK_CLOSE_CODES and sent.code in OK_CLOSE_CODES
        exc = (ConnectionClosedOK if fine else ConnectionClosedError)(rcvd, sent, self.close_rcvd_then_sent)
        exc.__cause__ = self.parser_exc
        return exc

    def close_expected(self) -> bool:
        """Whether TCP is about to be closed: if the peer does not do it soon, do it yourself."""
        return self._state == _CLOSING or self._due is not None or (self._state == _CONNECTING and self.eof_sent)

    # Receiving

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes came from the network; then see to `data_to_send` and `events_received`.

        Raises:
            EOFError: the end was received before.
        """
        if self.eof_received:
            raise EOFError('stream ended')
        if data:
            self.feed(data, len(data))

    def receive_eof(self) -> None:
        """The peer ended its half of the connection; once more is nothing new."""
        if self.eof_received:
            return
        self.eof_received = True
        if self._due is not None:
            self._conclude()
        if not self._discarding:
            self.parser_exc = EOFError('unexpected end of stream')
            self.fail(CloseCode.ABNORMAL_CLOSURE, 'unexpected end of stream')
        if self._side == _CLIENT and self._state != _CONNECTING:
            self._end()
        self._state = _CLOSED

    def events_received(self) -> list[Any]:
        """The frames that came since the last call."""
        events, self._events = self._events, None
        return [] if events is None else events

    def feed(self, data: bytes | bytearray, n: int) -> None:
        """`n` bytes came, ``data[:n]``; they are valid only during the call."""
        if self._discarding:
            return
        p = memory.pointer(data)
        header = self._header
        at = 0
        try:
            if self._remaining or self._stash is not None:
                at = self._resume(p, n)
            while at < n and not self._discarding:
                size = header.parse(p, at, n)
                if size == 0:
                    self._stash = bytearray(memory.copied(p, at, n - at))
                    return
                at += size
                head, length = header.head, header.length
                # A whole message of the expected kind is the rule; everything else is looked at more closely.
                if (
                    (head != 0x82 and head != 0x81)
                    or self._opcode
                    or header.masked == self._masks
                    or length > self._max_message
                    or self._max_fragment >= 0
                ):
                    self._check_header(head, header.masked, length)
                if n - at < length:
                    self._begin(p, at, n)
                    return
                payload = memory.unmasked(p, at, length, header.key) if header.masked else memory.copied(p, at, length)
                at += length
                self._frame(head, payload)
        except ProtocolError as exc:
            self._violated(exc)

    def _resume(self, p: Any, n: int) -> int:
        """Go on with the frame that the last bytes ended in; tells how many of the new ones belonged to it."""
        at = 0
        header = self._header
        if self._stash is not None:
            stash = self._stash
            size = 0
            while size == 0:
                if at == n:
                    return n
                stash.append(p[at])
                at += 1
                size = header.parse(memory.pointer(stash), 0, len(stash))
            self._stash = None
            self._check_header(header.head, header.masked, header.length)
            if header.length == 0:
                self._frame(header.head, b'')
                return at
            self._begin(p, at, at)
        have = n - at
        if have > self._remaining:
            have = self._remaining
        self._fill(p, at, have)
        return at + have

    def _begin(self, p: Any, at: int, n: int) -> None:
        """The payload of the frame is not whole: collect what is there."""
        self._remaining = self._header.length
        self._fill(p, at, n - at)

    def _fill(self, p: Any, at: int, n: int) -> None:
        """`n` more bytes of the payload that is being collected."""
        header = self._header
        if self._streams and not header.head & 0x08:
            if n:
                self._pass_on(p, at, n)
            return
        while n:
            if self._chunk is None:
                self._chunk = memory.blank(self._remaining if self._remaining < _STEP else _STEP)
                self._filled = 0
            take = len(self._chunk) - self._filled
            if take > n:
                take = n
            memory.fill(self._chunk, self._filled, p, at, take, header.key if header.masked else 0)
            if header.masked:
                header.key = memory.rotated(header.key, take)
            self._arrived(self._filled, take)
            self._filled += take
            self._remaining -= take
            at += take
            n -= take
            if self._filled == len(self._chunk):
                self._step()

    def _pass_on(self, p: Any, at: int, n: int) -> None:
        """`n` more bytes of the payload, for a face that takes them as they come."""
        header = self._header
        head = header.head
        if header.masked:
            piece = memory.unmasked(p, at, n, header.key)
            header.key = memory.rotated(header.key, n)
        else:
            piece = memory.copied(p, at, n)
        self._remaining -= n
        header.head = head & 0x80  # what is still to come continues this
        self._part(head, piece, self._remaining == 0)

    def _arrived(self, at: int, n: int) -> None:
        """``chunk[at:at + n]`` came just now; text is checked here and now."""
        head = self._header.head
        opcode = self._opcode if head & 0x0F == 0 else head & 0x0F
        if opcode != _TEXT or self._claimed or self._raw:
            return
        self._checked = True
        self._validate(memory.copied(memory.pointer(self._chunk), at, n), False)

    def _step(self) -> None:
        """The memory at hand is full: the frame is whole, or wants more."""
        chunk = memory.frozen(self._chunk)
        self._chunk = None
        if self._remaining:
            if self._chunks is None:
                self._chunks = []
            self._chunks.append(chunk)
            return
        if self._chunks is not None:
            self._chunks.append(chunk)
            chunk = b''.join(self._chunks)
            self._chunks = None
        self._frame(self._header.head, chunk)

    def _check_header(self, head: int, masked: bool, length: int) -> None:
        """Raise ProtocolError if the header tells that the frame may not come now (RFC 6455 5.1, 5.2, 5.4, 5.5)."""
        if masked == self._masks:
            raise ProtocolError(
                'a masked frame from the server; RFC 6455 5.1 forbids it'
                if masked
                else 'an unmasked frame from the client; RFC 6455 5.1 wants every one masked'
            )
        if self._raw:
            self._check_size(length, 0)
            return
        opcode = head & 0x0F
        if head & 0x70 & ~self._claimed:
            raise ProtocolError(f'reserved bits {head >> 4 & 7:03b} with no extension that claims them (RFC 6455 5.2)')
        if opcode >= _CLOSE:
            if opcode > _PONG:
                raise ProtocolError(f'unknown opcode {opcode:#x} (RFC 6455 5.2)')
            if not head & 0x80:
                raise ProtocolError('a fragmented control frame (RFC 6455 5.5)')
            if length > 125:
                raise ProtocolError(f'a control frame of {length} bytes; at most 125 are allowed (RFC 6455 5.5)')
            if head & 0x70:
                raise ProtocolError('reserved bits on a control frame; no extension claims them there')
            return
        if opcode > _BINARY:
            raise ProtocolError(f'unknown opcode {opcode:#x} (RFC 6455 5.2)')
        if opcode == _CONT:
            if not self._opcode:
                raise ProtocolError('a continuation frame with nothing to continue (RFC 6455 5.4)')
            if head & 0x70:
                raise ProtocolError('reserved bits on a continuation frame (RFC 7692 6.1)')
        elif self._opcode:
            raise ProtocolError('a new message before the last one was complete (RFC 6455 5.4)')
        # Compressed, what hardly can be is a little longer than it was; the extension keeps to the real limit.
        self._check_size(length - (length >> 10) - 64 if head & 0x70 else length, self._size)

    def _check_size(self, length: int, before: int) -> None:
        """Raise PayloadTooBig if a frame of `length` bytes, after `before` bytes of the same message, is too large."""
        # Not `before + length`: that overflows in C for a length that claims to be almost 2 to the 63.
        if self._max_message >= 0 and length > self._max_message - before:
            size = f'{before} and {length}' if before else f'{length}'
            raise PayloadTooBig(f'a message of {size} bytes or more; the limit is {self._max_message}')
        if self._max_fragment >= 0 and length > self._max_fragment:
            raise PayloadTooBig(f'a frame of {length} bytes; the limit is {self._max_fragment}')

    def _frame(self, head: int, payload: bytes) -> None:
        """A whole frame came, its header found allowed."""
        if self._claimed and not head & 0x08:
            self._dispatch(head & 0x8F, self._inflated(head, payload))
        else:
            self._dispatch(head, payload)

    def _inflated(self, head: int, payload: bytes) -> bytes:
        """The payload of a data frame, or of a part of one, as the extensions give it; the last applied goes first."""
        limit = self._max_message if self._max_message >= 0 else None
        if limit is not None:
            limit -= self._size
        frame = make_frame(head, payload)
        for extension in reversed(self._extensions):
            frame = extension.decode(frame, max_size=limit)
        if frame[1] or frame[2] or frame[3]:
            raise ProtocolError('reserved bits that no extension has cleared (RFC 6455 5.2)')
        return octets(frame.data)

    def _dispatch(self, head: int, payload: bytes) -> None:
        """Do with a frame what the RFC says."""
        opcode = head & 0x0F
        if opcode > 7:
            self._answer(opcode, payload)
        elif opcode and head & 0x80:
            self._check = None
            self._checked = False
            self._message(opcode, payload)
        else:
            self._continue(opcode, (head & 0x80) != 0, payload)

    def _continue(self, opcode: int, fin: bool, payload: bytes) -> None:
        """A frame of a fragmented message (RFC 6455 5.4)."""
        if opcode:
            self._opcode = opcode
        self._size += len(payload)
        if self._opcode == _TEXT:
            # What was cut was checked as it came.
            self._validate(b'' if self._checked else payload, fin)
            self._checked = False
        if fin:
            self._opcode = 0
            self._size = 0
            self._check = None
        self._fragment(opcode, fin, payload)

    def _answer(self, opcode: int, payload: bytes) -> None:
        """Deal with a control frame (RFC 6455 5.5)."""
        if opcode == _PING:
            self._send(0x80 | _PONG, payload)
        elif opcode == _CLOSE:
            self._closing(payload)
        self._control(opcode, payload)

    def _closing(self, payload: bytes) -> None:
        """A close frame came (RFC 6455 5.5.1, 7.1.5)."""
        self.close_rcvd = self._read_close(payload)
        if self._state in (_OPEN, _CLOSING):
            self.close_rcvd_then_sent = self._state == _OPEN
        if self._defers:
            self._due = payload
        else:
            self._answer_close(payload)
        self._discard()

    def _answer_close(self, payload: bytes) -> None:
        """Send the peer's close frame back, unless ours was sent before."""
        if self._state == _OPEN:
            self._send(0x80 | _CLOSE, payload)
            self.close_sent = self.close_rcvd
            self._state = _CLOSING
        if self._side == _SERVER:
            self._end()

    def _read_close(self, payload: bytes) -> Close:
        """What the peer's close frame says."""
        try:
            return Close.parse(payload)
        except UnicodeDecodeError as exc:
            raise ProtocolError('a close reason that is no UTF-8', CloseCode.INVALID_DATA) from exc

    def _violated(self, exc: ProtocolError) -> None:
        """The peer broke the rules."""
        self.parser_exc = exc
        self.logger.info('failing the connection with %d: %s', exc.code, exc)
        if self._defers:
            self._due = exc
            self._discard()
        else:
            self.fail(exc.code, str(exc))

    def _conclude(self) -> None:
        """Close, now that what came before is answered: the peer's close frame or fault has waited for it."""
        due, self._due = self._due, None
        if isinstance(due, ProtocolError):
            self.fail(due.code, str(due))
        elif due is not None:
            self._answer_close(due)

    # The hooks of a face

    def _message(self, opcode: int, payload: bytes) -> None:
        """A whole message came in one frame."""
        if opcode == _TEXT and not payload.isascii():
            self.decoded(payload)
        self._collect(make_frame(0x80 | opcode, payload))

    def _fragment(self, opcode: int, fin: bool, payload: bytes) -> None:
        """A frame of a fragmented message came."""
        self._collect(make_frame((0x80 if fin else 0) | opcode, payload))

    def _control(self, opcode: int, payload: bytes) -> None:
        """A control frame came, and was dealt with."""
        self._collect(make_frame(0x80 | opcode, payload))

    def _part(self, head: int, piece: bytes, whole: bool) -> None:
        """A piece of a data frame came; with `whole` it was the last. The first bears the frame's opcode and reserved
        bits, those after it bear CONT and none. Called instead of collecting them where `_streams` is set."""

    def _collect(self, event: Any) -> None:
        if self._events is None:
            self._events = []
        self._events.append(event)

    def decoded(self, payload: bytes) -> str:
        """The text of a message; raises ProtocolError (1007) if it is no UTF-8 (RFC 6455 8.1)."""
        try:
            return payload.decode('utf-8')
        except UnicodeDecodeError as exc:
            raise ProtocolError(_no_utf8(exc), CloseCode.INVALID_DATA) from exc

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
            ProtocolError: a fragmented message was begun, and its next frame is due.
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
        if self._state != _OPEN:
            raise InvalidState(f'connection is {self.state.name.lower()}')
        payload = octets(data)
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
        if self._state != _OPEN and self._state != _CLOSING:
            raise InvalidState(f'connection is {self.state.name.lower()}')
        payload = octets(data)
        if len(payload) > 125:
            raise ProtocolError(f'a control frame of {len(payload)} bytes; at most 125 are allowed (RFC 6455 5.5)')
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

    def fail(self, code: int, reason: str = '') -> None:
        """Fail the connection (RFC 6455 7.1.7): say why, and listen no more.

        Code 1006 says nothing: the network is at fault. A reason that is too long for a close frame is cut.

        Raises:
            ProtocolError: the code may not be sent.
        """
        if self._state == _OPEN and code != CloseCode.ABNORMAL_CLOSURE:
            close = Close.truncated(code, reason)
            self._send(0x80 | _CLOSE, close.serialize())
            self.close_sent = close
            if self.close_rcvd is not None:
                self.close_rcvd_then_sent = True
            self._state = _CLOSING
        if self._side == _SERVER:
            self._end()
        self._discard()

    def data_to_send(self) -> list[bytes]:
        """What to write to the network now; `SEND_EOF`, last, asks to half-close the connection."""
        if self._due is not None:
            self._conclude()
        writes = []
        if self.out is not None and self.out.size:
            writes.append(self.out.take())
        if self.eof_sent and not self._eof_told:
            self._eof_told = True
            writes.append(SEND_EOF)
        return writes

    def _send(self, head: int, payload: bytes) -> None:
        """Put one frame into the outgoing buffer, through the extensions if it is a data frame."""
        if self._claimed and not head & 0x08:
            frame = make_frame(head, payload)
            for extension in self._extensions:
                frame = extension.encode(frame)
            fin, rsv1, rsv2, rsv3, opcode, payload = frame
            head = head_byte(fin, rsv1, rsv2, rsv3, opcode)
        write_frame(self.out if self.out is not None else self.outgoing(), head, payload, self._masks)

    # The end

    def _end(self) -> None:
        """Half-close TCP, after all that waits."""
        self.eof_sent = True

    def _discard(self) -> None:
        """From now on nothing that comes is looked at, and nothing of it is kept."""
        self._discarding = True
        self._stash = None
        self._chunk = None
        self._chunks = None
        self._check = None
        self._remaining = 0

    # Text that comes in pieces

    def _validate(self, piece: bytes, final: bool) -> str:
        """Check the next piece of a text, the last one if `final`; what it says, up to the last whole code point."""
        if self._check is None:
            self._check = _UTF8()
        try:
            text: str = self._check.decode(piece, final)
            # Half a surrogate is no half of a character: Python's decoder would wait for the third byte to say so.
            last = piece[-1:]
            if last >= b'\xa0' and self._check.getstate()[0] == b'\xed' + last:
                self._check.decode(b'', True)
            return text
        except UnicodeDecodeError as exc:
            raise ProtocolError(_no_utf8(exc), CloseCode.INVALID_DATA) from exc


def _no_utf8(exc: UnicodeDecodeError) -> str:
    return f'text that is no UTF-8: {exc.reason} at byte {exc.start}'
