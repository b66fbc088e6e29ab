"""`Stream`: one non-blocking socket on a loop. Owns the reading and writing of its bytes; must not know what they mean.

Reading: the reactor calls `ready`, one ``recv`` fills the loop's read buffer, and the `Receiver` is fed straight from
there. One ``recv`` a turn, however much more waits: no connection can starve the others.

Writing is corked. What is written waits in a buffer from the loop's pool. What is written while a read is handled is
sent in one system call when that read is done; what is written at any other time (by a timer, for another connection's
message) is sent at the end of the loop's turn, by a next tick; `flush` sends at once. Where the kernel takes only a
part, the rest waits until the socket is writable, and ``drain`` is emitted when the kernel has taken everything.

`LoopData` is what all streams of one loop share: the read buffer, the pool, and the list of streams to flush. A stream
without half a message or unsent bytes owns no buffer at all.
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Callable
from typing import Any

from .._signature import ConstructorSignature
from ..buffers import BufferPool, Receiver, WriteBuffer
from ..emitter import EventEmitter
from ..reactor.base import Handle
from ..safe_logger import SafeLogger
from . import syscalls

__all__ = ['LoopData', 'Stream', 'StreamCore']

_log = SafeLogger('pyjows')

# As much as one recv(2) may bring: what Linux keeps for a TCP socket by default is about this.
_READ_SIZE = 262144

# The states of the writing half. A pending one takes effect when all that waits is written.
_NOT_ENDING, _SHUTDOWN_PENDING, _CLOSE_PENDING, _WRITE_SHUT_DOWN = range(4)


class LoopData:
    """What the streams of one loop share.

    Attributes:
        reactor: the reactor that calls them.
        pool: write buffers that are not in use.
        read_buffer: what a ``recv`` fills; None while a read is being handled.
        on_closed: called ``on_closed(stream)`` when a stream was closed or detached.
        tls: what its TLS streams share, where OpenSSL is called from C.
        thread: the thread that the loop belongs to.
    """

    __signature__ = ConstructorSignature()

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.thread = reactor.thread
        self.pool = BufferPool()
        self.read_buffer: bytearray | None = bytearray(_READ_SIZE)
        self.unflushed: list[StreamCore] = []
        self.on_closed: Callable[[Any], object] | None = None
        self.tls: Any = None

    def flush_later(self, stream: StreamCore) -> None:
        """Flush a stream at the end of the turn."""
        if not self.unflushed:
            self.reactor.next_tick(self.flush)
        self.unflushed.append(stream)

    def flush(self, reactor: Any = None) -> None:
        """Flush all streams of `flush_later`."""
        unflushed, self.unflushed = self.unflushed, []
        for stream in unflushed:
            try:
                stream._flush()
            except BaseException as exc:  # a receiver raised: the other streams must be flushed all the same
                self.reactor.report(exc)


class StreamCore(Handle):
    """The behaviour of `Stream`."""

    def __init__(self, socket: _socket.socket, loop_data: LoopData) -> None:
        Handle.__init__(self)
        self.socket: Any = socket
        self.fd = socket.fileno()
        self.loop_data = loop_data
        self.receiver: Receiver | None = None
        self.out: WriteBuffer | None = None
        self.high_water_mark = 1048576
        self.paces_reading = False
        self.has_received = True
        self.client: Any = None  # a `ClientAddress`, where a PROXY header told of one
        self._timeout = 0.0
        self._timer: Any = None
        self._callbacks: list[Callable[[Any], object]] | None = None
        self._reading = False
        self._read_paused = False
        self._corked = False
        self._write_blocked = False
        self._ending = _NOT_ENDING
        self._closed = False
        self._transmitted = 0
        self.written = 0
        self._is_registered = False
        self._write_watched = False

    # Reading

    def start(self) -> None:
        """Begin to read, or resume reading."""
        self._check_thread('Stream.start()')
        if not self._closed and not self._reading:
            self._reading = True
            self._update_watch()

    def stop(self) -> None:
        """Stop reading: what comes stays in the kernel's buffer, which slows the sender down when it is full."""
        self._check_thread('Stream.stop()')
        if not self._closed and self._reading:
            self._reading = False
            self._update_watch()

    def ready(self, readable: bool, writable: bool) -> None:
        """The socket is ready."""
        self.dispatch(readable, writable)

    def dispatch(self, readable: bool, writable: bool) -> None:
        """The socket is ready."""
        if writable and not self._closed:
            self._write_blocked = False
            self._flush()
        if readable and self._reading and not self._closed:
            if self._corked:
                # A handler of what is being read runs a nested loop: the next bytes have to wait until it returns.
                self._read_paused = True
                self._update_watch()
            else:
                self._read()

    def _read(self) -> None:
        """Make one recv(2), feed the receiver, and send what its handlers have written."""
        loop_data = self.loop_data
        buffer = loop_data.read_buffer
        if buffer is None:
            # A handler runs a nested loop, and what it is being fed lies in the shared buffer.
            buffer = bytearray(_READ_SIZE)
        try:
            n = self._receive(buffer)
        except OSError as exc:
            self._connection_broke(exc)
            return
        if n == 0:
            self._eof()
        elif n > 0:
            self.has_received = True
            if self._timer is not None:
                loop_data.reactor.again(self._timer)
            loop_data.read_buffer = None
            self._corked = True
            # Compiled, the local name keeps the receiver alive if `self.receiver` is cleared during the call.
            receiver = self.receiver
            try:
                if receiver is not None:
                    receiver.feed(buffer, n)
                else:
                    self._emit_safely('read', bytes(buffer[:n]))
            finally:
                self._corked = False
                loop_data.read_buffer = buffer
                if self._read_paused and not self._write_blocked:
                    self._read_paused = False
                    self._update_watch()
            if self.out is not None:
                self._flush()

    def _receive(self, buffer: bytearray) -> int:
        """Receive into `buffer`; returns how many bytes, 0 at the end of the stream, -1 if none are there now."""
        return syscalls.receive(self.socket, self.fd, buffer)

    def _eof(self) -> None:
        """The peer has ended its half of the connection."""
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
        """The buffer for what is to be written."""
        out = self.out
        if out is None:
            if self._closed or self._ending == _WRITE_SHUT_DOWN:
                return WriteBuffer()  # discarded: nothing can be written any more
            out = self.out = self.loop_data.pool.acquire()
            if self.receiver is not None:
                self.receiver.out = out
            if not self._corked:
                self.loop_data.flush_later(self)
        return out

    def write(self, data: bytes | bytearray | memoryview, cb: Callable[[Any], object] | None = None) -> Any:
        """Write bytes; ``cb(stream)`` is called once, when the kernel has taken all that waits; returns the stream.

        On a stream that is closed or shut down, the bytes are discarded, and the callback is not called.

        Raises:
            TypeError: it is not bytes, or the callback cannot be called.
        """
        self._check_thread('Stream.write()')
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f'Stream.write() takes bytes, bytearray or memoryview, not {type(data).__name__}')
        if cb is not None and not callable(cb):
            raise TypeError(f'Stream.write() takes a function to call when all is written, not {cb!r}')
        self.acquire().put(bytes(data))
        if cb is not None:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(cb)
        return self

    def flush(self) -> None:
        """Write what waits now, as much of it as the kernel takes."""
        self._check_thread('Stream.flush()')
        self._flush()

    def _flush(self) -> None:
        """Send what waits; if the kernel does not take all of it, wait until the socket is writable."""
        out = self.out
        if out is None or self._closed:
            return
        if self._write_blocked:
            self._pause_above_mark()
            return
        try:
            while out.size:
                n = self._transmit(out)
                if n < 0:
                    self._await_writable()
                    return
                self._transmitted += n
                self.written += n
                out.consume(n)
        except OSError as exc:
            self._connection_broke(exc)
            return
        if self._timer is not None:
            self.loop_data.reactor.again(self._timer)
        self._release()
        self._drained()

    def _transmit(self, out: WriteBuffer) -> int:
        """Send from `out`; returns how many bytes the kernel took, -1 for none."""
        if out.parts is None:
            return syscalls.transmit(self.socket, self.fd, out.data, out.used)
        return syscalls.transmit_pieces(self.socket, self.fd, out.pieces())

    def _await_writable(self) -> None:
        """The kernel's buffer is full: wait until the socket is writable."""
        self._write_blocked = True
        self._pause_above_mark()
        self._update_watch()

    def _pause_above_mark(self) -> None:
        """Pause reading above the high water mark: answers to a peer that does not read would grow without limit."""
        out = self.out
        if self.paces_reading and not self._read_paused and out is not None and out.size > self.high_water_mark:
            self._read_paused = True
            self._update_watch()

    def pause_until_drained(self) -> None:
        """Read no more until all that waits is written, if the kernel's buffer is full."""
        if self._write_blocked and not self._read_paused:
            self._read_paused = True
            self._update_watch()

    def _release(self) -> None:
        """Give the empty buffer back."""
        out = self.out
        self.out = None
        if self.receiver is not None:
            self.receiver.out = None
        if out is not None:
            self.loop_data.pool.release(out)

    def _drained(self) -> None:
        """All that waited is written."""
        if self._write_watched:
            self._read_paused = False
            self._update_watch()
        if self._ending:
            self._end_now()
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            self._call_each(callbacks, ())
        receiver = self.receiver
        if receiver is not None:
            if receiver.awaits_drain:
                receiver.drained()
        elif self._events:
            self._emit_safely('drain')

    # Ending

    def shutdown(self) -> None:
        """Half-close: when all that waits is written, shut down the writing half."""
        self._check_thread('Stream.shutdown()')
        self._end_after_flush(_SHUTDOWN_PENDING)

    def close_gracefully(self) -> None:
        """Close when all that waits is written."""
        self._check_thread('Stream.close_gracefully()')
        self._end_after_flush(_CLOSE_PENDING)

    def _end_after_flush(self, how: int) -> None:
        """Half-close or close as soon as nothing waits to be written."""
        if self._closed or (self._ending == _WRITE_SHUT_DOWN and how == _SHUTDOWN_PENDING):
            return
        self._ending = how
        if self.out is None:
            self._end_now()

    def _end_now(self) -> None:
        if self._ending == _CLOSE_PENDING:
            self._close(None)
        elif self._ending == _SHUTDOWN_PENDING:
            self._ending = _WRITE_SHUT_DOWN
            try:
                self._shutdown_write()
            except OSError as exc:
                self._connection_broke(exc)

    def _shutdown_write(self) -> None:
        """Shut down the writing half."""
        self.socket.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        """Close at once; what still waits is lost. Doing it again does nothing."""
        self._check_thread('Stream.close()')
        self._close(None)

    def _connection_broke(self, exc: OSError) -> None:
        """The connection broke."""
        if self._closed:
            return
        self._emit_safely('error', exc)
        self._close(exc)

    def _close(self, exc: BaseException | None) -> None:
        """Close the socket, and tell the receiver, the loop and the subscribers of ``close``."""
        if self._closed:
            return
        self._closed = True
        self.loop_data.reactor.remove(self.fd)
        if self._timer is not None:
            self.loop_data.reactor.remove(self._timer)
            self._timer = None
        self._callbacks = None
        self._release()
        receiver, self.receiver = self.receiver, None
        try:
            if receiver is not None:
                receiver.lost(exc)  # before the socket is closed: it may be asked for its addresses
                receiver.stream = None
        finally:
            self._close_socket()
            self._notify_loop()
        if self._events:
            self._emit_safely('close')

    def _notify_loop(self) -> None:
        if self.loop_data.on_closed is not None:
            self.loop_data.on_closed(self)

    def _close_socket(self) -> None:
        self.socket.close()

    def detach(self) -> Any:
        """Give up the socket without closing it, and return it; the stream reads and writes no more."""
        self._check_thread('Stream.detach()')
        self._flush()
        self._reading = False
        self.loop_data.reactor.remove(self.fd)
        self.receiver = None
        self._closed = True
        self._notify_loop()
        return self.socket

    # Properties

    @property
    def is_encrypted(self) -> bool:
        """Whether it is TLS."""
        return False

    def fileno(self) -> int:
        """The file descriptor."""
        return self.fd

    @property
    def is_closed(self) -> bool:
        """Whether it is closed."""
        return bool(self._closed)

    @property
    def is_readable(self) -> bool:
        """Whether it is being read."""
        return bool(self._reading)

    @property
    def is_paused(self) -> bool:
        """Whether reading pauses because more than `high_water_mark` bytes wait to be written."""
        return bool(self._read_paused)

    @property
    def is_writing(self) -> bool:
        """Whether something waits to be written."""
        return self.out is not None

    @property
    def buffered_amount(self) -> int:
        """How many bytes wait to be written."""
        return 0 if self.out is None else self.out.size

    @property
    def acknowledged(self) -> int:
        """How many bytes the peer's kernel has acknowledged so far: it grows while the peer takes any."""
        return int(self._transmitted - syscalls.unsent(self.socket))

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
        self._check_thread('Stream.timeout')
        self._timeout = seconds
        if self._timer is not None:
            self.loop_data.reactor.remove(self._timer)
            self._timer = None
        if seconds and not self._closed:
            self._timer = self.loop_data.reactor.timer(self._timed_out, seconds)

    def _timed_out(self, reactor: Any) -> None:
        self._timer = None
        self._emit_safely('timeout')
        self.close()

    # Watching

    def _update_watch(self) -> None:
        """Tell the reactor which readiness is wanted now."""
        if self._closed:
            return
        try:
            if not self._is_registered:
                self.loop_data.reactor.io(self.fd, self)
                self._is_registered = True
            self._write_watched = self._write_blocked
            self._watch(self._reading and not self._read_paused, self._write_blocked)
        except OSError as exc:
            self.cannot_be_watched(exc)

    def cannot_be_watched(self, exc: OSError) -> None:
        """The system refuses to watch the socket: the connection breaks, when the current callbacks are done."""
        _log.warning(
            'a connection is closed: the system cannot watch it: %s (Linux has a limit, fs.epoll.max_user_watches)', exc
        )
        self.loop_data.reactor.next_tick(lambda reactor: self._connection_broke(exc))

    def _watch(self, reads: bool, writes: bool) -> None:
        """Watch for the readiness that reading and writing need."""
        self.loop_data.reactor.watch(self.fd, reads, writes)

    # As an emitter, and in other threads

    def _set(self, event: str, handlers: tuple[Callable[..., Any], ...]) -> None:
        """Replace the subscribers of an event."""
        self._check_thread('Stream.on() and unsubscribe()')
        Handle._set(self, event, handlers)

    def _check_thread(self, method: str) -> None:
        """Raise RuntimeError where another thread runs the loop."""
        loop_data = self.loop_data
        if loop_data.thread.is_foreign() and loop_data.reactor.is_running:
            loop_data.thread.check(method)

    def _spawner(self) -> Any:
        return self.loop_data.reactor

    def _handler_failed(self, exc: BaseException) -> None:
        self.loop_data.reactor.report(exc)


class Stream(StreamCore, EventEmitter):  # type: ignore[misc]
    """A non-blocking socket on a loop.

    Synopsis::

        @loop.client(port=3000)
        def client(loop, err, stream):
            @stream.on
            def read(stream, data):
                stream.write(data)

    Events:
        ``read`` ``(stream, data)``: bytes came; not emitted while there is a `receiver`.
        ``drain`` ``(stream)``: all that waited is written.
        ``timeout`` ``(stream)``: nothing was read or written for `timeout` seconds; it closes.
        ``error`` ``(stream, exc)``: the connection broke (OSError); it closes.
        ``close`` ``(stream)``: it is closed.

    Attributes:
        receiver: the `Receiver` that is fed, or None.
        socket: the socket.
        high_water_mark: the bytes unflushed above which `can_write` is false (1048576).
        paces_reading: whether reading pauses while more than that waits.
        has_received: whether bytes were received since it was last set to False: a sign of life.

    Properties: `timeout`, `is_closed`, `is_readable`, `is_writing`, `buffered_amount`, `can_write`.

    Methods: `start`, `stop`, `write`, `flush`, `shutdown`, `close`, `close_gracefully`, `detach`, `fileno`.

    A stream belongs to the thread that runs its loop: its methods raise RuntimeError in another one.
    """

    _own_events = frozenset(('read', 'drain', 'timeout', 'error', 'close', 'new_listener'))

    def __init__(self, socket: _socket.socket, loop_data: LoopData) -> None:
        StreamCore.__init__(self, socket, loop_data)
