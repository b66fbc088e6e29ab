"""`FrameDecoder`: bytes to frames. The base class of `Protocol`.

Owns what is needed to get whole frames out of bytes that arrive in any portions: the frame that is cut by the end of a
portion, the limits of its size, the checks of its header, and the check of its text while it arrives. Must not know
what a frame does to a connection (states, answers, closing: `protocol.py`), nor how a header is laid out (`frames.py`).

`feed` is called with the bytes. What it finds goes to methods that `Protocol` overrides: `_frame_received` (a whole
frame), `_part_received` (a part of a data frame, where parts are wanted), `_check_sequence` (whether a data frame is
allowed now), `_fail_violation` (the peer broke a rule), `_fail_internally` (an extension failed, or memory ran out),
`_turn_is_over` (many frames were delivered at once) and `_input_processed` (all bytes at hand are). Bytes that are fed
within one of these methods, such as by a handler, are parsed behind those that are being parsed.

A frame that is whole in the bytes of one `feed` is unmasked straight out of them: no buffer, no copy but the payload.
A frame that is cut is collected in memory of its own, and its text is checked as it arrives, so that an invalid byte
fails the connection at once. That memory is taken in steps: a header that claims a large payload costs nothing.
"""

from __future__ import annotations

import codecs
import operator
import sys
from typing import Any

from . import memory
from ._signature import ConstructorSignature
from .buffers import Receiver
from .errors import CloseCode, PayloadTooBig, ProtocolError
from .frames import FrameHeader, Opcode

__all__ = ['AT_REST', 'FrameDecoder', 'decode_text']

# Compiled, these are C integers.
_TEXT, _BINARY, _CLOSE, _PONG = Opcode.TEXT.value, Opcode.BINARY.value, Opcode.CLOSE.value, Opcode.PONG.value

# The memory for the payload of a cut frame is taken in steps of this many bytes.
_STEP = 1 << 20

# Frames that are delivered before other connections have their turn; one that was inflated counts as several.
_TURN = 2048

#: Instead of what is left of a turn: nothing is being processed.
AT_REST = _TURN + 1
_AT_REST = AT_REST

_UTF8 = codecs.getincrementaldecoder('utf-8')


class FrameDecoder(Receiver):
    """Finds the frames in the bytes of a peer, and checks each frame by itself (RFC 6455 5.2, 5.5).

    Args:
        masks: whether this side masks its frames: a client does, and its peer must not (RFC 6455 5.3).
        max_size: the largest message in bytes, after decompression; None for no limit; or a pair of the largest
            message and the largest frame.
    """

    __signature__ = ConstructorSignature()

    def _begin_decoder(self, masks: bool, max_size: int | tuple[int | None, int | None] | None) -> None:
        """Set the initial state; a method, because compiled subclasses call it with their own arguments."""
        self._begin_receiver()
        # What frames have to be like. Reserved bits are allowed where an extension claims them (a mask of 0x70).
        self._masks = masks
        self._claimed_bits = 0
        self._extends_control = False  # also on control frames
        self.max_size = max_size
        # How they are delivered: as they are, with no rules but masking and size (`_raw`); data frames in parts
        # (`_in_parts`); or not at all any more (`_discarding`). `_paused`, a set of reasons as bits, keeps what follows
        # for later, in `_unread`.
        self._raw = False
        self._in_parts = False
        self._discarding = False
        self._paused = 0
        self._unread: bytes | None = None
        self._turn = _AT_REST  # what is left of it
        # The frame that is cut by the end of the bytes received so far: an incomplete header; or the last header parsed
        # and its payload: full steps of memory, and the one that is being filled.
        self._header = FrameHeader()
        self._cut_header: bytearray | None = None
        self._chunks: list[bytes] | None = None
        self._chunk: Any = None
        self._filled = 0
        self._remaining = 0
        # The message whose fragments arrive: its opcode (0: none has begun), its bytes so far, and its text decoder,
        # and whether that has checked the payload of the cut frame already. `Protocol` updates them.
        self._opcode = 0
        self._size = 0
        self._text_decoder: Any = None
        self._text_checked = False

    @property
    def max_size(self) -> int | tuple[int | None, int | None] | None:
        """The largest message in bytes, after decompression; None for no limit; or (message, frame)."""
        message = self._max_message if self._max_message >= 0 else None
        return message if self._max_frame < 0 else (message, self._max_frame)

    @max_size.setter
    def max_size(self, max_size: int | tuple[int | None, int | None] | None) -> None:
        message, frame = max_size if isinstance(max_size, tuple) else (max_size, None)
        self._max_message = _limit(message)
        self._max_frame = _limit(frame)

    # What it finds, for `Protocol`

    def _frame_received(self, head: int, payload: bytes) -> None:
        """A whole frame was received: its first byte, its payload unmasked."""

    def _part_received(self, head: int, part: bytes, whole: bool) -> None:
        """A part of a data frame was received, the last one if `whole`.

        The first part bears the opcode and the reserved bits of the frame, those after it bear CONT and none.
        """

    def _check_sequence(self, opcode: int, reserved: int) -> None:
        """Raise ProtocolError if a data frame with this opcode and these reserved bits is not allowed now."""

    def _turn_is_over(self) -> None:
        """Many frames of one chunk were delivered: other connections are to be served first."""

    def _fail_violation(self, exc: ProtocolError) -> None:
        """The peer broke a rule."""

    def _fail_internally(self, exc: BaseException) -> None:
        """An extension raised, or memory ran out: the frame is lost."""

    def _input_processed(self) -> None:
        """All frames of the bytes at hand are delivered."""

    # Reading

    def feed(self, data: bytes | bytearray, n: int) -> None:
        """`n` bytes were received, ``data[:n]``; they are valid only during the call, and must not change in it."""
        if self._discarding:
            return
        p = memory.pointer(data)
        if self._paused or self._turn != _AT_REST:
            if self._header is None:  # compiled, not made: the turn is 0 then
                raise AttributeError(f'{type(self).__name__}.__init__() was not called')
            self._keep_unread(p, 0, n)
            return
        header = self._header
        while True:
            at = 0
            self._turn = _TURN
            try:
                if self._remaining or self._cut_header is not None:
                    at = self._continue_frame(p, n)
                while at < n and not self._discarding:
                    if self._paused:
                        self._keep_rest(p, at, n - at)
                        break
                    size = header.parse(p, at, n)
                    if size == 0:
                        self._cut_header = bytearray(memory.copied(p, at, n - at))
                        break
                    at += size
                    head, length = header.head, header.length
                    # A whole text or binary message (0x81, 0x82) within the limits is the rule; others are checked in
                    # full.
                    if (
                        (head != 0x82 and head != 0x81)
                        or self._opcode
                        or header.masked == self._masks
                        or length > self._max_message
                        or self._max_frame >= 0
                    ):
                        self._check_header(head, header.masked, length)
                    if n - at < length:
                        self._begin_frame(p, at, n)
                        break
                    payload = (
                        memory.unmasked(p, at, length, header.key) if header.masked else memory.copied(p, at, length)
                    )
                    at += length
                    self._frame_received(head, payload)
                    self._turn -= 1
                    if self._turn <= 0:
                        self._turn_is_over()
            except ProtocolError as exc:
                self._fail_violation(exc)
            except BaseException as exc:
                self._fail_internally(exc)
            finally:
                self._turn = _AT_REST
                self._input_processed()
            if self._unread is None or self._paused:
                return
            # A loop: two connections that feed each other in their handlers may go on like this for long.
            data, self._unread = self._unread, None
            p, n = memory.pointer(data), len(data)

    def _keep_unread(self, p: Any, at: int, n: int) -> None:
        """Keep `n` bytes until `_resume_input`, or until those before them are parsed."""
        unread = memory.copied(p, at, n)
        self._unread = unread if self._unread is None else self._unread + unread

    def _keep_rest(self, p: Any, at: int, n: int) -> None:
        """Keep `n` bytes until `_resume_input`, in front of those that came in a handler."""
        rest = memory.copied(p, at, n)
        self._unread = rest if self._unread is None else rest + self._unread

    def _pause_input(self, reasons: int) -> None:
        """Deliver no more frames for these reasons (bits), not even those of the bytes that are being parsed."""
        self._paused |= reasons

    def _resume_input(self, reasons: int) -> None:
        """Clear these reasons; if none is left, deliver the frames that were kept. A handler may pause again."""
        self._paused &= ~reasons
        if self._paused:
            return
        unread, self._unread = self._unread, None
        if unread is not None:
            self.feed(unread, len(unread))

    def _continue_frame(self, p: Any, n: int) -> int:
        """Continue the frame that the bytes before ended in; returns how many of the new ones belonged to it."""
        at = 0
        header = self._header
        if self._cut_header is not None:
            cut = self._cut_header
            size = 0
            while size == 0:
                if at == n:
                    return n
                cut.append(p[at])
                at += 1
                size = header.parse(memory.pointer(cut), 0, len(cut))
            self._cut_header = None
            self._check_header(header.head, header.masked, header.length)
            if header.length == 0:
                self._frame_received(header.head, b'')
                return at
            self._begin_frame(p, at, at)
        have = n - at
        if have > self._remaining:
            have = self._remaining
        self._collect_payload(p, at, have)
        return at + have

    def _begin_frame(self, p: Any, at: int, n: int) -> None:
        """The payload is cut: collect the part of it that is here."""
        self._remaining = self._header.length
        self._collect_payload(p, at, n - at)

    def _collect_payload(self, p: Any, at: int, n: int) -> None:
        """Copy `n` more bytes of the payload of the cut frame."""
        header = self._header
        if self._in_parts and not header.head & 0x08:
            if n:
                self._deliver_part(p, at, n)
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
            self._check_arriving_text(self._filled, take)
            self._filled += take
            self._remaining -= take
            at += take
            n -= take
            if self._filled == len(self._chunk):
                self._finish_chunk()

    def _deliver_part(self, p: Any, at: int, n: int) -> None:
        """Deliver `n` more bytes of the payload at once."""
        header = self._header
        head = header.head
        if header.masked:
            part = memory.unmasked(p, at, n, header.key)
            header.key = memory.rotated(header.key, n)
        else:
            part = memory.copied(p, at, n)
        self._remaining -= n
        header.head = head & 0x80  # the parts after the first continue it
        self._part_received(head, part, self._remaining == 0)

    def _finish_chunk(self) -> None:
        """The current step of memory is full: the frame is whole, or needs another one."""
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
        self._frame_received(self._header.head, chunk)

    def _discard_input(self) -> None:
        """From now on, ignore all that is received, and keep nothing of it."""
        self._discarding = True
        self._unread = None
        self._cut_header = None
        self._chunk = None
        self._chunks = None
        self._text_decoder = None
        self._remaining = 0

    # Checking

    def _check_header(self, head: int, masked: bool, length: int) -> None:
        """Raise ProtocolError if the header is not allowed (RFC 6455 5.1, 5.2, 5.5), or not allowed now (5.4)."""
        if masked == self._masks:
            raise ProtocolError(
                'a masked frame from the server (RFC 6455 5.1 forbids it)'
                if masked
                else 'an unmasked frame from the client (RFC 6455 5.1 requires masking)'
            )
        if self._raw:
            self._check_size(length, 0)
        else:
            self._check_frame(head, length)

    def _check_frame(self, head: int, length: int) -> None:
        """`_check_header` without the mask."""
        opcode = head & 0x0F
        if head & 0x70 & ~self._claimed_bits:
            raise ProtocolError(f'reserved bits {head >> 4 & 7:03b} with no extension that claims them (RFC 6455 5.2)')
        if opcode >= _CLOSE:
            if opcode > _PONG:
                raise ProtocolError(f'unknown opcode {opcode:#x} (RFC 6455 5.2)')
            if not head & 0x80:
                raise ProtocolError('a fragmented control frame (RFC 6455 5.5)')
            if length > 125:
                raise ProtocolError(f'a control frame of {length} bytes; at most 125 are allowed (RFC 6455 5.5)')
            if head & 0x70 and not self._extends_control:
                raise ProtocolError('reserved bits on a control frame; no extension claims them there')
            return
        if opcode > _BINARY:
            raise ProtocolError(f'unknown opcode {opcode:#x} (RFC 6455 5.2)')
        self._check_sequence(opcode, head & 0x70)
        if self._claimed_bits and (head & 0x70 or not opcode):
            # Data that cannot be compressed grow: by 4 % with zlib's smallest tables, by 14 % at most (deflateBound).
            # What they were before is checked when they are decompressed.
            length -= (length >> 3) + 64
        self._check_size(length, self._size)

    def _check_size(self, length: int, before: int) -> None:
        """Raise PayloadTooBig if a frame of `length` bytes, after `before` bytes of the same message, is too large."""
        # Not `before + length`: in C that overflows for a length that claims to be almost 2 to the 63.
        if self._max_message >= 0 and length > self._max_message - before:
            size = f'{before} and {length}' if before else f'{length}'
            raise PayloadTooBig(f'a message of {size} bytes or more; the limit is {self._max_message}')
        if self._max_frame >= 0 and length > self._max_frame:
            raise PayloadTooBig(f'a frame of {length} bytes; the limit is {self._max_frame}')

    def _check_arriving_text(self, at: int, n: int) -> None:
        """Check ``chunk[at:at + n]``, just received, if it is text. Compressed text cannot be checked yet."""
        head = self._header.head
        opcode = self._opcode if head & 0x0F == 0 else head & 0x0F
        if opcode != _TEXT or self._claimed_bits or self._raw:
            return
        self._text_checked = True
        self._decode_part(memory.copied(memory.pointer(self._chunk), at, n), False)

    def _decode_part(self, part: bytes, final: bool) -> str:
        """The next part of a text, the last one if `final`, up to its last complete character (RFC 6455 8.1)."""
        if self._text_decoder is None:
            self._text_decoder = _UTF8()
        try:
            text: str = self._text_decoder.decode(part, final)
            # The first two bytes of an encoded surrogate are invalid already; Python's decoder waits for the third.
            last = part[-1:]
            if last >= b'\xa0' and self._text_decoder.getstate()[0] == b'\xed' + last:
                self._text_decoder.decode(b'', True)
            return text
        except UnicodeDecodeError as exc:
            raise _invalid_text(exc) from exc


def _limit(size: int | None) -> int:
    """A limit as a C integer, -1 for none."""
    if size is None:
        return -1
    limit = operator.index(size)
    if limit < 0:
        raise ValueError(f'a limit of {limit} bytes; it takes 0 or more, or None for no limit')
    return min(limit, sys.maxsize)


def decode_text(payload: bytes) -> str:
    """The text of a whole message; raises ProtocolError (1007) if it is not valid UTF-8 (RFC 6455 8.1)."""
    try:
        return payload.decode('utf-8')
    except UnicodeDecodeError as exc:
        raise _invalid_text(exc) from exc


def _invalid_text(exc: UnicodeDecodeError) -> ProtocolError:
    return ProtocolError(f'invalid UTF-8 in a text message: {exc.reason} at byte {exc.start}', CloseCode.INVALID_DATA)
