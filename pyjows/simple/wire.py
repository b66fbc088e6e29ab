"""`Wire`: a session on an asyncio transport.

Owns when bytes are read and written, waking tasks, and the end of TCP. Must not know the protocol (`session.py`), nor
where the transport comes from (`aio.py`). Bytes are parsed in the loop's callback, and tasks that wait for a message
are resumed there too: their answers leave in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from ..client.proxy import Tunnel
from ..client.socks import SocksTunnel
from ..errors import HandshakeError, InvalidState
from ..frames import CloseCode
from ..protocol import Side
from ..waiter import TaskGate, Waiter
from .arguments import checked_timeout
from .errors import ConnectionError
from .session import Session, read_response

__all__ = ['Wire']

# Seconds that the peer has to end TCP, and the transport to write what it has.
_LINGER = 1.0

# Bytes that one read takes at most. All connections of a loop share one read buffer: it is parsed in the same call.
_READ_SIZE = 65536

# So many bytes are collected in one turn of the loop before they are written.
_MOST_CORKED = 65536

# So many messages in a row are received before the rest of the loop has its turn.
_TURN = 64


class Waiters:
    """The tasks that wait for a condition; all are woken, and check it themselves.

    Args:
        gate: that of the loop which runs them.
    """

    def __init__(self, gate: TaskGate) -> None:
        self._gate = gate
        self._waiting: list[Waiter] = []

    def wake(self) -> None:
        """Resume the tasks in the next turn of the loop."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.wake()

    def run(self) -> None:
        """Resume the tasks inside this call; only where the event loop itself is the caller."""
        waiting, self._waiting = self._waiting, []
        gate = self._gate
        gate.is_open = asyncio.current_task(gate.loop) is None
        try:
            while waiting:
                waiter = waiting.pop(0)
                waiter.wake_now()
        finally:
            gate.is_open = False
            self._waiting += waiting  # KeyboardInterrupt or SystemExit, which ends the loop

    def add(self) -> Waiter:
        """A waiter for the running task to await until `wake` or `run`; then it calls `forget`."""
        waiter = Waiter(self._gate)
        self._waiting.append(waiter)
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """The wait is over: remove the waiter if it is still there."""
        if self._waiting and waiter in self._waiting:
            self._waiting.remove(waiter)  # it was cancelled

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until `wake` or `run`, at most `timeout` seconds."""
        waiter = self.add()
        timer = None if timeout is None else self._gate.loop.call_later(timeout, _wake, waiter)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self.forget(waiter)


def _wake(waiter: Waiter) -> None:
    waiter.wake()


class WireCore:
    """`Wire` without its asyncio base class, which a compiled class cannot have.

    Args:
        session: what understands the bytes.
        host: the protocol that had the transport before (aiohttp's); its callbacks for writing and the end are called
            too.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, host: Any = None) -> None:
        self._session = session
        self._loop = loop
        self._host = host
        self._transport: Any = None
        gate = TaskGate(loop, asyncio.CancelledError)
        self._received = Waiters(gate)
        self._writable = Waiters(gate)
        self._ended = Waiters(gate)
        self._buffer = _buffer_of(loop)
        self._tunnel: Tunnel | SocksTunnel | None = None
        self._opening = not session.is_open
        self._failure: BaseException | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._lingering = False
        self._over = False  # nothing more will be received
        self._gone = False
        self._corked = False
        self._delivering = False  # what is sent meanwhile is written at the end of it
        self._in_a_row = 0  # messages received without waiting
        self._timer: asyncio.TimerHandle | None = None  # of the next ping; then of the end

    # The opening

    def begin(self, transport: Any) -> None:
        """Begin on a transport; this side's part of the handshake waits in the session."""
        self._transport = transport
        self._flush()
        if self._session.is_open:
            self._opened()

    def _opened(self) -> None:
        self._opening = False
        self._session.start_pings(monotonic())
        if self._session.ping_interval:
            self._timer = self._loop.call_later(self._session.ping_interval, self._keep_alive)
        if self._session.ended:
            self._finish()

    async def tunnel(self, tunnel: Tunnel | SocksTunnel, transport: Any) -> None:
        """Open the tunnel through a proxy."""
        self._tunnel = tunnel
        transport.write(tunnel.send())
        await self._until(lambda: self._tunnel is None)

    async def opened(self) -> None:
        """Wait until the connection is open."""
        await self._until(lambda: not self._opening)

    async def _until(self, done: Callable[[], bool]) -> None:
        while self._failure is None and not done():
            await self._received.wait()
        if self._failure is not None:
            raise self._failure

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        """The transport is connected."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for the next read (`asyncio.BufferedProtocol`)."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Process `nbytes` bytes that were read into the buffer."""
        if self._tunnel is not None or self._opening:
            self._open_with(bytes(self._buffer[:nbytes]))
            return
        session = self._session
        session.feed(self._buffer[:nbytes])
        if session.messages:
            self._delivering = True
            try:
                self._received.run()
            finally:
                self._delivering = False
            if session.full and not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()
        self._flush()
        if session.ended:
            self._finish()

    def _open_with(self, data: bytes) -> None:
        """Process bytes of the answer of a proxy or of the server, b'' for EOF."""
        try:
            if self._tunnel is not None:
                if self._tunnel.receive(data):
                    self._tunnel = None
                elif more := self._tunnel.send():
                    self._transport.write(more)
            elif read_response(self._session, data):
                self._opened()
        except HandshakeError as exc:
            self._failure = ConnectionError(exc.status)
            self._failure.__cause__ = exc
        except ConnectionError as exc:
            self._failure = exc
        self._received.wake()

    def eof_received(self) -> bool | None:
        """The peer ended its half of the connection."""
        self._at_end()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed."""
        self._gone = True
        if self._opening and self._failure is None:
            self._failure = exc  # such as a reset
            self._received.wake()
        self._at_end()
        self._forget_timer()
        self._ended.wake()
        if self._host is not None:
            self._host.connection_lost(exc)

    def _at_end(self) -> None:
        if self._tunnel is not None or self._opening:
            if self._failure is None:
                self._open_with(b'')
            return
        self._session.feed(b'')
        self._session.end()
        self._end_tcp()

    def pause_writing(self) -> None:
        """The write buffer of the transport is full."""
        self._writing_paused = True
        if self._host is not None:
            self._host.pause_writing()

    def resume_writing(self) -> None:
        """The write buffer of the transport has room again."""
        self._writing_paused = False
        self._writable.wake()
        if self._host is not None:
            self._host.resume_writing()

    # What the program calls

    async def send(self, data: Any) -> None:
        session = self._session
        if self._writing_paused:
            await self._wait_until_writable()
        try:
            session.put(data)
        except InvalidState:
            raise session.closed() from None
        if (self._delivering or session.messages) and session.protocol.out.size < _MOST_CORKED:  # type: ignore[union-attr]
            # The program has more to answer in this turn of the loop: all of it leaves in one write.
            if not self._corked and not self._delivering:
                self._corked = True
                self._loop.call_soon(self._uncork)
        else:
            self._flush()

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    async def _wait_until_writable(self) -> None:
        session = self._session
        session.sending += 1
        try:
            while self._writing_paused and not self._over:
                if self._reading_paused and not session.full:
                    self._resume_reading()
                await self._writable.wait()
        finally:
            session.sending -= 1

    async def receive(self, timeout: float | None) -> str | bytes | None:
        session = self._session
        if self._in_a_row >= _TURN:
            self._in_a_row = 0
            await asyncio.sleep(0)
        if not session.messages:
            self._in_a_row = 0
            if timeout is None:
                received = self._received
                while not session.messages:
                    if self._over:
                        raise session.closed()
                    waiter = received.add()
                    try:
                        await waiter
                    finally:
                        received.forget(waiter)
            elif not await self._receivable(checked_timeout(timeout)):
                return None
        self._in_a_row += 1
        message = session.pop()
        if self._reading_paused and not session.full:
            self._resume_reading()
        return message

    async def _receivable(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a message; returns whether there is one."""
        session = self._session
        until = monotonic() + timeout
        if timeout <= 0:
            await asyncio.sleep(0)  # a program that polls must not keep the loop from reading
        while not session.messages:
            if self._over:
                raise session.closed()
            left = until - monotonic()
            if left <= 0:
                return False
            await self._received.wait(left)
        return True

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    async def close(self, reason: int | None, message: str | None, timeout: float) -> None:
        session = self._session
        if not self.connected:
            raise session.closed()
        session.close(reason, message)
        self._flush()
        if self._reading_paused:
            self._resume_reading()
        until = monotonic() + timeout
        try:
            while not self._over and until > monotonic():
                await self._ended.wait(until - monotonic())
                session.drop_surplus()
        except BaseException:  # cancelled
            self._end_later()
            raise
        session.end()
        self._end_tcp()
        while not self._gone and until > monotonic():
            await self._ended.wait(until - monotonic())
        if not self._gone:
            self._transport.abort()
            await self._ended.wait(1.0)

    @property
    def subprotocol(self) -> str | None:
        return self._session.protocol.subprotocol

    @property
    def connected(self) -> bool:
        return self._session.is_open

    @property
    def close_reason(self) -> int:
        return self._session.close_reason

    @property
    def close_message(self) -> str | None:
        return self._session.close_message

    # Time, and the end

    def let_go(self) -> None:
        """The program has dropped an open connection: close it, without waiting; called in any thread."""
        if not self._session.is_open or self._loop.is_closed():
            return
        try:
            is_in_task = asyncio.current_task() is not None and asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_in_task = False
        if is_in_task:  # a handler that returns: its messages leave before the host's answer
            self.go_away()
        else:
            self._loop.call_soon_threadsafe(self.go_away)

    async def leave(self) -> None:
        """Close the connection as `go_away` does."""
        self.go_away()

    def go_away(self, reason: int = CloseCode.GOING_AWAY) -> None:
        """Close the connection, without waiting."""
        session = self._session
        if session.is_open:
            session.close(reason, None)
            self._flush()
            self._end_later()

    def _end_later(self) -> None:
        """A close frame was sent, and nothing waits for the peer's: end TCP soon, whatever the peer does."""
        if self._over:
            return
        if self._reading_paused:
            self._resume_reading()
        self._forget_timer()
        self._timer = self._loop.call_later(_LINGER, self._end_tcp)

    def abandon(self) -> None:
        """The connection did not open."""
        if self._transport is not None:
            self._transport.abort()

    def _keep_alive(self) -> None:
        session = self._session
        session.keep_alive(monotonic())
        self._flush()
        if session.ended:
            self._end_tcp()
        else:
            self._timer = self._loop.call_later(max(0.001, session.ping_due - monotonic()), self._keep_alive)

    def _flush(self) -> None:
        out = self._session.protocol.out
        if out is None or not out.size:
            return
        if self._gone or self._transport.is_closing():
            out.clear()
        else:
            self._transport.write(out.take())

    def _finish(self) -> None:
        """The closing handshake is over, or the connection failed.

        The server ends TCP first (RFC 6455 7.1.1). A peer that may still have to read our close frame is waited for:
        a socket that is closed with bytes unread resets the connection.
        """
        if self._lingering:
            return
        self._lingering = True
        protocol = self._session.protocol
        if protocol.eof_received or (protocol.side is Side.SERVER and protocol.close_rcvd is not None):
            self._end_tcp()
            return
        self._forget_timer()
        if self._reading_paused:
            self._resume_reading()
        self._timer = self._loop.call_later(_LINGER, self._end_tcp)

    def _end_tcp(self) -> None:
        """Close the transport; what it cannot write soon is dropped."""
        if self._over:
            return
        self._over = True
        self._forget_timer()
        if self._transport is not None and not self._gone:
            self._flush()
            self._transport.close()
            self._timer = self._loop.call_later(_LINGER, self._transport.abort)
        self._received.wake()
        self._writable.wake()
        self._ended.wake()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Wire(WireCore, asyncio.BufferedProtocol):
    """A session on an asyncio transport.

    It has a buffer of its own for what is read: otherwise asyncio allocates 256 KiB for each read, which costs more
    than all the rest of a message.
    """


_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _buffer_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The buffer for what the connections of a loop read."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(_READ_SIZE))
    return buffer
