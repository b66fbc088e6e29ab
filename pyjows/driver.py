"""`DrivenProtocol`: what a loop does to a transaction.

Owns what a connection has when a loop drives it, besides its bytes: the stream, the owner that is told of its end, the
close timer, keep-alive, the addresses. Must not know messages and handlers (`transaction.py`), the opening handshake
(`opening.py`), nor sockets: a stream is an object with the few methods that are used here.

It is a class between `Protocol` and the transaction's own, and not an object beside them: a connection needs it for its
whole life, and one object less is a hundred bytes less for each idle connection.
"""

from __future__ import annotations

import typing
from typing import Any

from .buffers import Receiver, WriteBuffer
from .loop_thread import LoopThread
from .protocol import Protocol, Side, State

__all__ = ['Connector', 'DrivenProtocol', 'Owner']

# Compiled, this is a C integer.
_OPEN = State.OPEN.value

Addresses = tuple[str | None, int | None, str | None, int | None]


class Owner(typing.Protocol):
    """What made a transaction and is told of its end: a server."""

    def gone(self, ws: Any) -> None:
        """The connection is closed."""


class Connector(Owner, typing.Protocol):
    """The owner of a client's transaction, which is also told how the opening handshake ends."""

    def answered(self, ws: Any) -> None:
        """The server has accepted the handshake."""

    def refused(self, ws: Any, exc: Any) -> bool:
        """The handshake failed; tells whether the connector goes on by itself: it follows a redirect."""

    def given_up(self, ws: Any) -> None:
        """The transaction was told to finish before it was open, and has nothing to send."""


class DrivenProtocol(Protocol):
    """A `Protocol` that joins fragments, and that a loop can drive through a stream."""

    def __init__(self, side: Side, max_size: int, close_timeout: float) -> None:
        Protocol.__init__(self, side, state=State.CONNECTING, max_size=max_size, join_fragments=True)
        # Whose connection it is, and what its loop calls it.
        self.owner: Owner | Connector | None = None
        self.ioloop: Any = None
        self.thread: LoopThread | None = None
        self.connection: str | None = None
        self.kept_alive = False
        # The end: how long the peer has for its part of the close, and whether the connection is gone.
        self.close_timeout = close_timeout
        self._close_timer: Any = None
        self.is_finished = False
        # Kept for after the end: while the stream is there, it is asked.
        self._addresses: Addresses | None = None
        # Keep-alive: a ping was sent, and nothing was received since.
        self._pinged = False
        # Bytes were queued without a stream: ``resume`` is to be emitted, once.
        self.resume_pending = False

    # The stream

    def await_loop(self, ioloop: Any) -> None:
        """This loop is about to drive the connection; it belongs to the loop's thread from now on."""
        self.ioloop = ioloop
        self.thread = ioloop.reactor.thread

    def attach(self, receiver: Receiver, stream: Any, ioloop: Any, connection: str | None) -> None:
        """Have a stream move the bytes from now on, and feed `receiver`: this one, or that of the handshake."""
        self.await_loop(ioloop)
        self.connection = connection
        out, receiver.out = receiver.out, None
        self.stream = receiver.stream = stream
        stream.receiver = receiver
        if out is not None and out.size:
            stream.write(out.take())

    def take_over(self, receiver: Receiver) -> None:
        """Receive from the stream, and write to it, instead of this receiver, which had it for the handshake."""
        self.out, receiver.out = receiver.out, None
        if self.stream is not None:
            self.stream.receiver = self
            receiver.stream = None

    def release_stream(self) -> Any:
        """Let go of the stream, to begin again on another one (client); returns it."""
        stream = self.stream
        stream.receiver = self.stream = self.out = None
        self.connection = self._addresses = None
        return stream

    def outgoing(self) -> WriteBuffer:
        """The buffer to write to. Without a stream, ``resume`` is emitted for what is written."""
        self.resume_pending = self.stream is None
        return Receiver.outgoing(self)

    def eof(self) -> None:
        """The peer ended its half of the connection."""
        self.receive_eof()
        if self.stream is not None:
            self.stream.close_gracefully()

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
        if self._state != _OPEN or self._paused or stream is None:  # a peer that is not read cannot be heard
            return
        silent = not stream.heard
        if silent and self._pinged:
            stream.close()
            return
        self._pinged = silent
        stream.heard = False
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
