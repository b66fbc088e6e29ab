"""Where bytes wait. Owns `WriteBuffer`, and `Receiver`: the interface between what moves bytes and what parses them.

Must not know sockets, frames or HTTP. A connection holds a write buffer only while something waits in it: buffers come
from a pool of the loop and go back to it, so that an idle connection owns none, and a busy loop uses the same hot one
again and again.
"""

from __future__ import annotations

from typing import Any

from . import memory

__all__ = ['BufferPool', 'Receiver', 'WriteBuffer']

#: A payload of this many bytes or more is not copied into the buffer; the kernel takes it from where it is.
BY_REFERENCE = 16384

_INITIAL = 1024

# How many unused buffers a loop keeps: a few large ones, and enough small ones for a broadcast to many connections.
_LARGE, _FEW = 262144, 16
_SMALL, _MANY = 4096, 1024


class WriteBuffer:
    """Bytes on their way out, in order.

    Small pieces are copied one behind the other into one block of memory; a large one is kept as it is, as a part of
    its own behind what came before it, so that one ``sendmsg`` sends all of it.

    Attributes:
        size: how many bytes wait.
    """

    def __init__(self) -> None:
        self.data = bytearray(_INITIAL)
        self.used = 0
        self.size = 0
        self.skipped = 0  # how many bytes of the first part the kernel has taken
        self.parts: list[bytes] | None = None

    def reserve(self, n: int) -> None:
        """Make sure that `n` more bytes fit behind ``data[:used]``."""
        if self.used + n > len(self.data):
            self.data += bytes(max(len(self.data), n))

    def put(self, piece: bytes) -> None:
        """Append bytes."""
        n = len(piece)
        if n >= BY_REFERENCE:
            self.refer(piece)
            return
        self.reserve(n)
        memory.copy(memory.pointer(self.data), self.used, piece, n)
        self.used += n
        self.size += n

    def refer(self, piece: bytes) -> None:
        """Append bytes without a copy; they must not change any more."""
        if self.parts is None:
            self.parts = []
        if self.used:
            self.parts.append(bytes(self.data[: self.used]))
            self.used = 0
        self.parts.append(piece)
        self.size += len(piece)

    def pieces(self) -> list[bytes | memoryview]:
        """All that waits as a list, for ``sendmsg``; valid until the buffer changes."""
        pieces: list[bytes | memoryview] = [] if self.parts is None else [*self.parts]
        if self.skipped:
            pieces[0] = memoryview(pieces[0])[self.skipped :]
        if self.used:
            pieces.append(memoryview(self.data)[: self.used])
        return pieces

    def take(self) -> bytes:
        """All that waits, as bytes; nothing waits afterwards."""
        taken = bytes(self.data[: self.used]) if self.parts is None else b''.join(self.pieces())
        self.clear()
        return taken

    def consume(self, n: int) -> None:
        """Drop the first `n` bytes: the kernel has taken them."""
        if n == self.size:
            self.clear()
            return
        # Rare: the kernel's buffer is full. The rest becomes a part of its own, so that it need not be moved.
        if self.used:
            self.parts = [*(self.parts or ()), bytes(self.data[: self.used])]
            self.used = 0
        parts = self.parts
        assert parts is not None
        self.size -= n
        n += self.skipped
        dropped = 0
        while n >= len(parts[dropped]):
            n -= len(parts[dropped])
            dropped += 1
        del parts[:dropped]
        self.skipped = n

    def clear(self) -> None:
        """Drop all that waits."""
        self.used = 0
        self.size = 0
        self.skipped = 0
        self.parts = None


class BufferPool:
    """The unused write buffers of one loop."""

    def __init__(self) -> None:
        self.free: list[WriteBuffer] = []
        # The one that was used last. Mostly one is in use at a time, and a list would allocate memory for each return.
        self._last: WriteBuffer | None = None

    def acquire(self) -> WriteBuffer:
        """An empty buffer."""
        buffer = self._last
        if buffer is not None:
            self._last = None
            return buffer
        return self.free.pop() if self.free else WriteBuffer()

    def release(self, buffer: WriteBuffer) -> None:
        """Give a buffer back; one that grew large is freed."""
        buffer.clear()
        kept = len(self.free)
        size = len(buffer.data)
        if self._last is None and size <= _LARGE:
            self._last = buffer
        elif (kept < _FEW and size <= _LARGE) or (kept < _MANY and size <= _SMALL):
            self.free.append(buffer)


class Receiver:
    """What a stream feeds: the half of a connection that parses the bytes.

    Attributes:
        out: the buffer in which its bytes wait, None while nothing does. A stream that drives the receiver sets and
        clears it.
        stream: what moves the bytes; None where the caller does it by hand. It has ``acquire() -> WriteBuffer``,
            which is called before the first byte is written.
        awaits_drain: whether `drained` is to be called.
    """

    def __init__(self) -> None:
        self._begin_receiver()

    def _begin_receiver(self) -> None:
        self.out: WriteBuffer | None = None
        self.awaits_drain = False
        self.stream: Any = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """It is neither copied nor pickled: raises TypeError."""
        raise TypeError(f'{type(self).__name__} cannot be copied or pickled: it is the state of one connection')

    def feed(self, data: bytes | bytearray, n: int) -> None:
        """`n` bytes were received: ``data[:n]``, which are valid only during the call."""
        raise NotImplementedError

    def eof(self) -> None:
        """The peer ended its half of the connection."""

    def drained(self) -> None:
        """The kernel has taken all that waited."""

    def lost(self, exc: BaseException | None) -> None:
        """The connection is closed, because of `exc` if it broke; called exactly once."""

    def outgoing(self) -> WriteBuffer:
        """The buffer to write to."""
        if self.out is None:
            self.out = WriteBuffer() if self.stream is None else self.stream.acquire()
        return self.out
