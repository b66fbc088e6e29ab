# cython: auto_pickle=True
"""The frame codec (RFC 6455 section 5). Owns how a frame is laid out in bytes; no other file knows it.

Must not know what a frame means to a connection: which opcodes may follow each other, who must mask, how large is too
large. That is the job of `frame_decoder.py` and `protocol.py`.

Reading is `FrameHeader.parse`, which parses one header in a buffer that may hold any number of frames, whole or cut;
writing is `write_frame`, which puts one frame into a `WriteBuffer`. `build_frame` and `parse_frame` do the same for
callers that have plain bytes.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import os
from operator import itemgetter
from typing import Any, SupportsIndex

from . import buffers, memory
from .errors import OK_CLOSE_CODES, Close, CloseCode, PayloadTooBig, ProtocolError

__all__ = [
    'OK_CLOSE_CODES',
    'Close',
    'CloseCode',
    'Frame',
    'FrameHeader',
    'Opcode',
    'build_frame',
    'parse_frame',
    'write_frame',
]


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455 5.2)."""

    CONT, TEXT, BINARY = 0x00, 0x01, 0x02
    CLOSE, PING, PONG = 0x08, 0x09, 0x0A
    # wsproto's name for CONT.
    CONTINUATION = 0x00


_OPCODES: tuple[int, ...] = tuple([Opcode(n) if n in (0x00, 0x01, 0x02, 0x08, 0x09, 0x0A) else n for n in range(16)])


@dataclasses.dataclass
class _Fields:
    """The fields of a frame, as `dataclasses` knows them."""

    opcode: int
    data: bytes
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False


class Frame(tuple[bool, bool, bool, bool, int, bytes]):
    """One frame, an immutable value.

    It is built as ``Frame(opcode, data, fin=True, rsv1=False, rsv2=False, rsv3=False)``, and unpacks and indexes in
    Mojolicious' order ``(fin, rsv1, rsv2, rsv3, opcode, data)``. For `dataclasses` it is one of theirs:
    ``dataclasses.replace(frame, data=b'other')``.

    Attributes:
        opcode (Opcode | int): the kind of frame (RFC 6455 5.2); a plain int where the RFC defines none.
        data (bytes): the payload, unmasked; `payload` is the same.
        fin, rsv1, rsv2, rsv3 (bool): the bits.
    """

    __slots__ = ()

    def __new__(
        cls,
        opcode: int,
        data: bytes,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> Frame:
        return tuple.__new__(cls, (fin, rsv1, rsv2, rsv3, opcode, data))

    fin = property(itemgetter(0))
    rsv1 = property(itemgetter(1))
    rsv2 = property(itemgetter(2))
    rsv3 = property(itemgetter(3))
    opcode = property(itemgetter(4))
    data = property(itemgetter(5))
    payload = property(itemgetter(5))

    __dataclass_fields__ = vars(_Fields)['__dataclass_fields__']
    __dataclass_params__ = vars(_Fields)['__dataclass_params__']
    __match_args__ = _Fields.__match_args__

    def __getnewargs__(self) -> Any:
        fin, rsv1, rsv2, rsv3, opcode, data = self
        return opcode, data, fin, rsv1, rsv2, rsv3

    def _replace(self, **changes: Any) -> Frame:
        """A copy with some attributes changed, as of a named tuple."""
        fin, rsv1, rsv2, rsv3, opcode, data = self
        values = {'opcode': opcode, 'data': data, 'fin': fin, 'rsv1': rsv1, 'rsv2': rsv2, 'rsv3': rsv3}
        return Frame(**{**values, **changes})

    __replace__ = _replace

    def __repr__(self) -> str:
        name = self.opcode.name if isinstance(self.opcode, Opcode) else f'{self.opcode:#x}'
        data = bytes(self.data)
        shown = repr(data) if len(data) <= 48 else f'{data[:32]!r}… {len(data)} bytes'
        bits = ''.join([f', {bit}=True' for bit in ('rsv1', 'rsv2', 'rsv3') if getattr(self, bit)])
        return f'Frame({name}, {shown}, fin={bool(self.fin)}{bits})'


class FrameHeader:
    """The header of one frame, parsed from a buffer (RFC 6455 5.2).

    Attributes:
        head: the first byte: FIN, RSV1 to RSV3 and the opcode.
        masked: whether the payload is masked, with `key`.
        length: of the payload, in bytes.
    """

    def __init__(self) -> None:
        self.head = 0
        self.masked = False
        self.key = 0
        self.length = 0

    def parse(self, p: Any, at: int, end: int) -> int:
        """Read the header that begins at ``p[at]``; the bytes end before ``p[end]``.

        Returns:
            The header's size in bytes, 0 while it is incomplete.

        Raises:
            ProtocolError: the length is not in its shortest form, or is negative.
        """
        if end - at < 2:
            return 0
        second = p[at + 1]
        length = second & 0x7F
        size = 2
        if length == 126:
            if end - at < 4:
                return 0
            length = p[at + 2] << 8 | p[at + 3]
            if length < 126:
                raise ProtocolError(f'a length of {length} in 16 bits; RFC 6455 5.2 requires the shortest form')
            size = 4
        elif length == 127:
            if end - at < 10:
                return 0
            if p[at + 2] & 0x80:
                raise ProtocolError('a 64-bit length with the top bit set; RFC 6455 5.2 requires it to be 0')
            length = 0
            for i in range(2, 10):
                length = length << 8 | p[at + i]
            if length < 65536:
                raise ProtocolError(f'a length of {length} in 64 bits; RFC 6455 5.2 requires the shortest form')
            size = 10
        if second & 0x80:
            if end - at < size + 4:
                return 0
            self.key = memory.load_key(p, at + size)
            self.masked = True
            size += 4
        else:
            self.masked = False
        self.head = p[at]
        self.length = length
        return size


class _Keys:
    """Masking keys from the operating system's CSPRNG (RFC 6455 5.3, 10.3), fetched a thousand at a time."""

    def __init__(self) -> None:
        self.pool = b''
        self.at = 0

    def next(self) -> int:
        """A fresh key, used only once."""
        at = self.at
        if at >= len(self.pool):
            self.pool = os.urandom(4096)
            at = 0
        self.at = at + 4
        return memory.load_key(memory.pointer(self.pool), at)

    def forget(self) -> None:
        """Drop the keys that a forked child would share with its parent."""
        self.pool = b''
        self.at = 0


_KEYS = _Keys()

if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_KEYS.forget)


def write_frame(out: buffers.WriteBuffer, head: int, payload: bytes, masked: bool) -> None:
    """Append one frame to a buffer: its first byte, its payload, masked with a fresh key or not."""
    n = len(payload)
    out.reserve(14 if n >= buffers.BY_REFERENCE and not masked else 14 + n)
    q = memory.pointer(out.data)
    at = out.used
    bit = 0x80 if masked else 0
    q[at] = head
    if n < 126:
        q[at + 1] = bit | n
        at += 2
    elif n < 65536:
        q[at + 1] = bit | 126
        q[at + 2] = n >> 8
        q[at + 3] = n & 0xFF
        at += 4
    else:
        q[at + 1] = bit | 127
        for i in range(8):
            q[at + 2 + i] = (n >> (56 - 8 * i)) & 0xFF
        at += 10
    if masked:
        key = _KEYS.next()
        for i in range(4):
            q[at + i] = (key >> (8 * i)) & 0xFF
        at += 4
        memory.copy_masked(q, at, payload, n, key)
        at += n
    elif n < buffers.BY_REFERENCE:
        memory.copy(q, at, payload, n)
        at += n
    out.size += at - out.used
    out.used = at
    if n >= buffers.BY_REFERENCE and not masked:
        out.refer(payload)


def make_frame(head: int, payload: bytes) -> Frame:
    """The frame whose first byte is `head`."""
    return tuple.__new__(
        Frame,
        (
            (head & 0x80) != 0,
            (head & 0x40) != 0,
            (head & 0x20) != 0,
            (head & 0x10) != 0,
            _OPCODES[head & 0x0F],
            payload,
        ),
    )


def build_frame(
    fin: bool,
    rsv1: bool,
    rsv2: bool,
    rsv3: bool,
    opcode: SupportsIndex,
    payload: bytes,
    *,
    masked: bool = False,
) -> bytes:
    """One frame as wire bytes, masked with a fresh random key if `masked`.

    Raises:
        ValueError: an opcode that does not fit into its 4 bits.
        TypeError: the payload is not bytes-like.
    """
    return frame_bytes(head_byte(fin, rsv1, rsv2, rsv3, opcode), as_bytes(payload), masked)


def frame_bytes(head: int, payload: bytes, masked: bool) -> bytes:
    """One frame as wire bytes: its first byte, its payload, masked with a fresh key or not."""
    n = len(payload)
    if masked or n >= 65536:
        out = buffers.WriteBuffer()
        write_frame(out, head, payload, masked)
        return out.take()
    at = 2 if n < 126 else 4
    frame = memory.blank(at + n)
    q = memory.pointer(frame)
    q[0] = head
    if n < 126:
        q[1] = n
    else:
        q[1] = 126
        q[2] = n >> 8
        q[3] = n & 0xFF
    memory.fill(frame, at, memory.pointer(payload), 0, n, 0)
    return memory.frozen(frame)


def head_byte(fin: Any, rsv1: Any, rsv2: Any, rsv3: Any, opcode: SupportsIndex) -> int:
    """The first byte of a frame, from its parts; raises ValueError for an opcode outside 0 to 15."""
    code = operator.index(opcode)
    if not 0 <= code <= 15:
        raise ValueError(f'{opcode!r} is not a valid opcode; it is a number from 0 to 15 (RFC 6455 5.2)')
    return (0x80 if fin else 0) | (0x40 if rsv1 else 0) | (0x20 if rsv2 else 0) | (0x10 if rsv3 else 0) | code


def as_bytes(payload: Any) -> bytes:
    """A payload as bytes; raises TypeError for what is not bytes-like."""
    if type(payload) is bytes:
        return payload
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise TypeError(f'a payload is bytes, bytearray or memoryview, not {type(payload).__name__}')


def parse_frame(buffer: bytes | bytearray, max_size: int | None = None) -> Frame | None:
    """Take one whole frame off the front of a bytearray, its payload unmasked; given bytes, only parse.

    Returns:
        The frame; None while it is incomplete, and then `buffer` is unchanged.

    Raises:
        ProtocolError: the length is not in its shortest form, or is negative.
        PayloadTooBig: the payload is larger than `max_size` bytes.
    """
    header = FrameHeader()
    p = memory.pointer(buffer)
    end = len(buffer)
    size = header.parse(p, 0, end)
    if size and max_size is not None and header.length > max_size:
        raise PayloadTooBig(f'a payload of {header.length} bytes; the limit is {max_size}')
    if not size or end - size < header.length:
        return None
    n = header.length
    payload = memory.unmasked(p, size, n, header.key) if header.masked else memory.copied(p, size, n)
    if isinstance(buffer, bytearray):
        del buffer[: size + n]
    return make_frame(header.head, payload)
