"""`Stream`: one non-blocking socket on a loop. Owns the reading and writing of its bytes; must not know what they mean.

The way in: the reactor calls `ready`, one ``recv`` fills the loop's read buffer, and the `Receiver` is fed straight
from there. One ``recv`` a turn, however much more waits: no connection can starve the others.

The way out is corked. What is written waits in a buffer from the loop's pool. What is written while a read is handled
leaves in one system call when that read is done; what is written at any other time (by a timer, for another
connection's message) leaves at the end of the loop's turn, as a next tick; `flush` does not wait. Where the kernel
takes only a part, the rest waits until the socket is writable, and ``drain`` comes when the kernel has taken
everything.

`Shared` is what all streams of one loop have together: that read buffer, the pool, and the list of those with
something to flush. A stream without half a message or unsent bytes owns no buffer at all.
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Callable
from typing import Any

from ..buffers import BufferPool, Receiver, WriteBuffer
from ..emitter import EventEmitter
from ..reactor.base import Handle
from . import syscalls

__all__ = ['Shared', 'Stream', 'StreamCore']

# As much as one recv(2) may bring: what Linux keeps for a TCP socket by default is about this.
_READ_SIZE = 262144


class Shared:
    """What the streams of one loop share.

    Attributes:
        reactor: who calls them.
        pool: the write buffers that nobody uses.
        read_buffer: what a ``recv`` fills; None while a read is being handled.
        gone: called ``gone(stream)`` when a stream was closed or detached.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.pool = BufferPool()
        self.read_buffer: bytearray | None = bytearray(_READ_SIZE)
        self.waiting: list[StreamCore] = []
        self.gone: Callable[[Any], object] | None = None

    def later(self, stream: StreamCore) -> None:
        """Flush a stream at the end of the turn."""
        if not self.waiting:
            self.reactor.next_tick(self.flush)
        self.waiting.append(stream)

    def flush(self, reactor: Any = None) -> None:
        """Flush all that have something to flush."""
        waiting, self.waiting = self.waiting, []
        for stream in waiting:
            stream._flush()


class StreamCore(Handle):
    """The behaviour of `Stream`."""

    def __init__(self, socket: _socket.socket, shared: Shared) -> None:
        Handle.__init__(self)
        self.socket: Any = socket
        self.fd = socket.fileno()
        self.shared = shared
        self.receiver: Receiver | None = None
        self.out: WriteBuffer | None = None
        self.high_water_mark = 1048576
        self.paces_reading = False
        self._timeout = 0.0
        self._timer: Any = None
        self._callbacks: list[Callable[[Any], object]] | None = None
        self._reading = False
        self._held = False
        self._corked = False
        self._blocked = False
        self._ending = 0
        self._closed = False
        self._watched = False
        self._awaited = False

    # Reading

    def start(self) -> None:
        """Begin to read, or go on."""
        if not self._closed and not self._reading:
            self._reading = True
            self._watch()

    def stop(self) -> None:
        """Read no more for now: what comes stays with the kernel, and slows the sender down in the end."""
        if not self._closed and self._reading:
            self._reading = False
            self._watch()

    def ready(self, readable: bool, writable: bool) -> None:
        """The socket is ready."""
        self.dispatch(readable, writable)

    def dispatch(self, readable: bool, writable: bool) -> None:
        """The socket is ready."""
        if writable and not self._closed:
            self._blocked = False
            self._flush()
        if readable and self._reading and not self._closed:
            if self._corked:
                # A handler of what is being read runs a loop inside the loop: what comes after that has to wait.
                self._held = True
                self._watch()
            else:
                self._read()

    def _read(self) -> None:
        shared = self.shared
        buffer = shared.read_buffer
        if buffer is None:
            # A handler runs a loop inside the loop, and what it is being fed lies in the shared buffer.
            buffer = bytearray(_READ_SIZE)
        try:
            n = self._receive(buffer)
        except OSError as exc:
            self._fault(exc)
            return
        if n == 0:
            self._eof()
        elif n > 0:
            if self._timer is not None:
                shared.reactor.again(self._timer)
            shared.read_buffer = None
            self._corked = True
            # A local name: compiled, it is what keeps the receiver alive when it is let go of during the call.
            receiver = self.receiver
            try:
                if receiver is not None:
                    receiver.feed(buffer, n)
                else:
                    self.emit('read', bytes(buffer[:n]))
            finally:
                self._corked = False
                shared.read_buffer = buffer
                if self._held and not self._blocked:
                    self._held = False
                    self._watch()
            if self.out is not None:
                self._flush()

    def _receive(self, buffer: bytearray) -> int:
        """How many bytes came into `buffer`: 0 at the end of the stream, -1 for nothing at the moment."""
        return syscalls.receive(self.socket, self.fd, buffer)

    def _eof(self) -> None:
        """The peer will send no more."""
        if self._closed:
            return
        self.stop()
        receiver = self.receiver
        if receiver is not None:
            receiver.eof()
        else:
            self.close_gracefully()

    # Writing

    def acquire(self) -> WriteBuffer:
        """The buffer in which what is written waits."""
        out = self.out
        if out is None:
            if self._closed or self._ending == 3:
                return WriteBuffer()  # nobody will ever read it
            out = self.out = self.shared.pool.acquire()
            if self.receiver is not None:
                self.receiver.out = out
            if not self._corked:
                self.shared.later(self)
        return out

    def write(self, data: bytes | bytearray | memoryview, cb: Callable[[Any], object] | None = None) -> Any:
        """Write bytes; ``cb(stream)`` is called once, when the kernel has taken all that waits; returns the stream."""
        self.acquire().put(bytes(data))
        if cb is not None:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(cb)
        return self

    def flush(self) -> None:
        """Write what waits now, as far as the kernel takes it."""
        self._flush()

    def _flush(self) -> None:
        out = self.out
        if out is None or self._closed:
            return
        if self._blocked:
            self._hold()
            return
        try:
            while out.size:
                n = self._transmit(out)
                if n < 0:
                    self._block()
                    return
                out.consume(n)
        except OSError as exc:
            self._fault(exc)
            return
        if self._timer is not None:
            self.shared.reactor.again(self._timer)
        self._release()
        self._drained()

    def _transmit(self, out: WriteBuffer) -> int:
        """How many bytes of `out` the kernel took now; -1 for none."""
        if out.parts is None:
            return syscalls.transmit(self.socket, self.fd, out.data, out.used)
        return syscalls.transmit_pieces(self.socket, self.fd, out.pieces())

    def _block(self) -> None:
        """The kernel takes no more: wait until the socket is writable."""
        self._blocked = True
        self._hold()
        self._watch()

    def _hold(self) -> None:
        """Do not read from a peer that does not read: what waits for it would grow without end."""
        if self.paces_reading and not self._held and self.out is not None and self.out.size > self.high_water_mark:
            self._held = True
            self._watch()

    def _release(self) -> None:
        """Give the empty buffer back."""
        out = self.out
        self.out = None
        if self.receiver is not None:
            self.receiver.out = None
        if out is not None:
            self.shared.pool.release(out)

    def _drained(self) -> None:
        """All that waited is written."""
        if self._awaited:
            self._held = False
            self._watch()
        if self._ending:
            self._finish_ending()
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            for cb in callbacks:
                cb(self)
        receiver = self.receiver
        if receiver is not None:
            if receiver.awaits_drain:
                receiver.drained()
        elif self._events:
            self.emit('drain')

    # Ending

    def shutdown(self) -> None:
        """Half-close: the peer is told that no more comes, when all that waits is written."""
        self._end(1)

    def close_gracefully(self) -> None:
        """Close when all that waits is written."""
        self._end(2)

    def _end(self, how: int) -> None:
        if self._closed or (self._ending == 3 and how == 1):
            return
        self._ending = how
        if self.out is None:
            self._finish_ending()

    def _finish_ending(self) -> None:
        if self._ending == 2:
            self.close()
        elif self._ending == 1:
            self._ending = 3
            try:
                self._shut()
            except OSError as exc:
                self._fault(exc)

    def _shut(self) -> None:
        """Tell the peer that no more comes."""
        self.socket.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        """Close at once; what still waits is lost. Doing it again does nothing."""
        self._lose(None)

    def _fault(self, exc: OSError) -> None:
        """The connection broke."""
        if self._closed:
            return
        if self.has_subscribers('error'):
            self.emit('error', exc)
        self._lose(exc)

    def _lose(self, exc: BaseException | None) -> None:
        if self._closed:
            return
        self._closed = True
        self.shared.reactor.remove(self.fd)
        if self._timer is not None:
            self.shared.reactor.remove(self._timer)
            self._timer = None
        self._callbacks = None
        self._release()
        receiver, self.receiver = self.receiver, None
        try:
            if receiver is not None:
                receiver.lost(exc)  # while the socket is there to be asked for its addresses
                receiver.stream = None
        finally:
            self._close_socket()
            self._leave()
        if self._events:
            self.emit('close')

    def _leave(self) -> None:
        if self.shared.gone is not None:
            self.shared.gone(self)

    def _close_socket(self) -> None:
        self.socket.close()

    def detach(self) -> Any:
        """Let go of the socket, open, and return it; nothing is read or written here any more."""
        self._flush()
        self._reading = False
        self.shared.reactor.remove(self.fd)
        self.receiver = None
        self._closed = True
        self._leave()
        return self.socket

    # What is known

    def fileno(self) -> int:
        """The file descriptor."""
        return self.fd

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def is_readable(self) -> bool:
        """Whether it is being read."""
        return self._reading

    @property
    def is_writing(self) -> bool:
        """Whether something waits to be written."""
        return self.out is not None

    @property
    def buffered_amount(self) -> int:
        """How many bytes wait to be written."""
        return 0 if self.out is None else self.out.size

    @property
    def can_write(self) -> bool:
        """Whether less than `high_water_mark` bytes wait."""
        return self.buffered_amount < self.high_water_mark

    @property
    def timeout(self) -> float:
        """Seconds without a byte read or written after which it closes; 0 for never."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._timeout = seconds
        if self._timer is not None:
            self.shared.reactor.remove(self._timer)
            self._timer = None
        if seconds and not self._closed:
            self._timer = self.shared.reactor.timer(self._timed_out, seconds)

    def _timed_out(self, reactor: Any) -> None:
        self._timer = None
        self.emit('timeout')
        self.close()

    # Watching

    def _watch(self) -> None:
        """Tell the reactor what is wanted now."""
        if self._closed:
            return
        reactor = self.shared.reactor
        if not self._watched:
            self._watched = True
            reactor.io(self.fd, self)
        self._awaited = self._blocked
        reactor.watch(self.fd, self._reading and not self._held, self._blocked)

    def _spawner(self) -> Any:
        return self.shared.reactor


class Stream(StreamCore, EventEmitter):  # type: ignore[misc]
    """A non-blocking socket on a loop.

    Synopsis::

        @loop.client(port=3000)
        def client(loop, err, stream):
            @stream.on
            def read(stream, data):
                stream.write(data)

    Events:
        ``read`` ``(stream, data)``: bytes came; not emitted while a `receiver` takes them.
        ``drain`` ``(stream)``: all that waited is written.
        ``timeout`` ``(stream)``: nothing was read or written for `timeout` seconds; it closes.
        ``error`` ``(stream, exc)``: the connection broke (OSError); it closes.
        ``close`` ``(stream)``: it is closed.

    Attributes:
        receiver: the `Receiver` that is fed, or None.
        socket: the socket.
        high_water_mark: the bytes waiting above which `can_write` is false (1048576).
        paces_reading: whether reading pauses while more than that waits.
        timeout, is_closed, is_readable, is_writing, buffered_amount, can_write.

    Methods: `start`, `stop`, `write`, `flush`, `shutdown`, `close`, `close_gracefully`, `detach`, `fileno`.
    """

    def __init__(self, socket: _socket.socket, shared: Shared) -> None:
        StreamCore.__init__(self, socket, shared)
