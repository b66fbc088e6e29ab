"""`TransactionProtocol`: the state machine under a transaction, and what a loop does to it.

Owns the way of whole messages from `Protocol` to the handlers, and what a connection has when a loop drives it: the
stream, the owner, the close timer, keep-alive, the addresses. Must not know how handlers are
called (`handlers.py`), what a user calls (`transaction.py`), the opening handshake (`opening.py`), nor sockets: a
stream is an object with the few methods that are used here.

There is no driver object beside the protocol: a connection needs both for its whole life, and one object less is a
hundred bytes less for each idle connection.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from .buffers import Receiver, WriteBuffer
from .frames import Frame, as_bytes, head_byte, make_frame
from .handlers import MessageHandlers
from .loop_thread import LoopThread
from .protocol import Protocol, Side, State

__all__ = ['Connector', 'Owner', 'TransactionProtocol']

# Compiled, this is a C integer.
_OPEN = State.OPEN.value

Addresses = tuple[str | None, int | None, str | None, int | None]


class Owner(typing.Protocol):
    """What made a transaction, and is called when it ends: a server."""

    def gone(self, ws: Any) -> None:
        """The connection is closed."""


class Connector(Owner, typing.Protocol):
    """The owner of a client's transaction, which is also called when the opening handshake ends."""

    def answered(self, ws: Any) -> None:
        """The server has accepted the handshake."""

    def refused(self, ws: Any, exc: Any) -> bool:
        """The handshake failed; returns whether the connector goes on by itself: it follows a redirect."""

    def given_up(self, ws: Any) -> None:
        """`finish` was called before the transaction was open, and nothing waits to be sent."""


class TransactionProtocol(Protocol):
    """The state machine under a transaction: a `Protocol` that gives it whole messages, and that a loop can drive."""

    def __init__(self, ws: MessageHandlers, side: Side, max_size: int, close_timeout: float) -> None:
        Protocol.__init__(self, side, state=State.CONNECTING, max_size=max_size, join_fragments=True)
        # The transaction, until its end; and what is fed instead of this one while the connection is not open.
        self.ws: MessageHandlers | None = ws
        self.opening: Any = None
        # What made the connection; its loop, the loop's thread, and its id there.
        self.owner: Owner | Connector | None = None
        self.ioloop: Any = None
        self.thread: LoopThread | None = None
        self.connection: str | None = None
        self.kept_alive = False
        # The end: how long the peer has for its part of the close, and whether the connection is gone.
        self.close_timeout = close_timeout
        self._close_timer: Any = None
        self.is_finished = False
        # Read once, because the socket does not know them after the end.
        self._addresses: Addresses | None = None
        # Keep-alive: a ping was sent, and nothing was received since.
        self._pinged = False
        # Bytes were queued without a stream: ``resume`` is to be emitted, once.
        self.resume_pending = False

    # What servers and clients call

    def await_loop(self, ioloop: Any) -> None:
        """This loop is about to drive the connection; it belongs to the loop's thread from now on."""
        self.ioloop = ioloop
        self.thread = ioloop.reactor.thread

    def drive(self, stream: Any, ioloop: Any, connection: str | None = None) -> None:
        """Have a stream move the bytes from now on; ``connection`` is emitted with its id."""
        ws, receiver = self.ws, self.receiver()
        self.await_loop(ioloop)
        self.connection = connection
        out, receiver.out = receiver.out, None
        self.stream = receiver.stream = stream
        stream.receiver = receiver
        if out is not None and out.size:
            stream.write(out.take())
        if ws is not None:
            ws._emit_safely('connection', connection)

    def request_received(
        self,
        handshake: Any,
        request: Any,
        announce: Callable[[Any, list[Any]], object] | None = None,
        timeout: float = 0.0,
    ) -> None:
        """A server has read the upgrade request: call the handlers, then answer it; see `Opening.request_received`."""
        opening = self.opening
        opening.request_received(handshake, request, announce, timeout)

    def connect_failed(self, exc: BaseException | None) -> None:
        """There is no connection (client): ``error`` (not for None: it was given up), then ``finish``."""
        ws = self.ws
        if ws is not None and not self.is_finished:
            opening = self.opening
            if exc is not None and opening is not None:
                opening.failed(exc)
            else:
                self._discard_input()
            ws.closed()

    def restart(self) -> Any:
        """Detach the stream and forget the handshake, to begin again on another stream (client); returns it."""
        opening = self.opening
        return opening.restart()

    # What a stream calls

    def eof(self) -> None:
        """The peer ended its half of the connection."""
        self.receive_eof()
        if self.stream is not None:
            self.stream.close_gracefully()

    def drained(self) -> None:
        """The kernel has taken all that waited."""
        if self._unanswered_ping is not None:
            self._send_late_pong()
        ws = self.ws
        if ws is not None:
            ws._emit_drain()

    def lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        ws = self.ws
        if ws is not None:
            ws.closed()

    def outgoing(self) -> WriteBuffer:
        """The buffer to write to. Without a stream, ``resume`` is emitted for what is written."""
        self.resume_pending = self.stream is None
        return Receiver.outgoing(self)

    # What the opening calls

    def receiver(self) -> Receiver:
        """What is fed now: the opening, then the protocol."""
        opening: Receiver | None = self.opening
        return self if opening is None else opening

    def take_over(self, receiver: Receiver) -> None:
        """Receive from the stream, and write to it, instead of this receiver, which had it for the handshake."""
        self.out, receiver.out = receiver.out, None
        if self.stream is not None:
            self.stream.receiver = self
            receiver.stream = None
        self.opening = None

    def release_stream(self) -> Any:
        """Detach the stream, to begin again on another one (client); returns it."""
        stream = self.stream
        stream.receiver = self.stream = self.out = None
        self.connection = self._addresses = None
        return stream

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
        """Process a frame as RFC 6455 says, wherever it came from."""
        fin, rsv1, rsv2, rsv3, opcode, payload = frame
        self._process_frame(head_byte(fin, rsv1, rsv2, rsv3, opcode), as_bytes(payload))

    def _message_received(self, opcode: int, payload: bytes) -> None:
        ws = self.ws
        if ws is not None:
            ws._message_received(opcode, payload)

    def _control_received(self, opcode: int, payload: bytes) -> None:
        pass

    # The end

    def _close_began(self) -> None:
        """The close began: the peer has `close_timeout` seconds to do its part."""
        if self.stream is not None and self._close_timer is None and not self.is_finished:
            self._keep_addresses()  # once both sides have ended TCP, the system forgets the peer's
            self._close_timer = self.ioloop.reactor.timer(self._close_overdue, self.close_timeout)

    def _close_overdue(self, reactor: Any) -> None:
        """The peer did not do its part of the close in time."""
        self._close_timer = None
        if self.stream is not None:
            self.stream.close()

    def end_driving(self) -> None:
        """The connection is gone: no timer is left behind, and the addresses stay known."""
        self._keep_addresses()
        if self._close_timer is not None:
            self.ioloop.reactor.remove(self._close_timer)
            self._close_timer = None

    # Keep-alive

    def keep_alive(self) -> None:
        """An interval has passed: ping a silent peer; close where one has not even answered the last ping."""
        stream = self.stream
        if self._state != _OPEN or self._paused or stream is None:  # nothing is received from a peer that is not read
            return
        silent = not stream.has_received
        if silent and self._pinged:
            stream.close()
            return
        self._pinged = silent
        stream.has_received = False
        if silent:
            self.send_ping()

    # Addresses

    @property
    def addresses(self) -> Addresses:
        """Local address and port, remote address and port; an address is a path for a Unix socket; else None."""
        self._keep_addresses()
        return (None, None, None, None) if self._addresses is None else self._addresses

    def _keep_addresses(self) -> None:
        if self._addresses is None and self.stream is not None:
            socket = self.stream.socket
            self._addresses = (*_address(socket.getsockname), *_address(socket.getpeername))


def _address(name: Any) -> tuple[str | None, int | None]:
    """The address and the port that one of a socket's two methods gives."""
    try:
        address = name()
    except OSError:
        return None, None
    return (address[0], address[1]) if isinstance(address, tuple) else (address or None, None)
