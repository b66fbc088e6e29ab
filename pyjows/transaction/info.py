"""`TransactionInfo`: what a user can ask a transaction.

Owns the attributes of a connection that are computed: from its state machine, its opening, its stream; and what most
methods of a transaction begin and end with: the check of the thread, and ``resume``. Must not know how any of it
changes (`upgrade.py`, `transaction.py`).
"""

from __future__ import annotations

from typing import Any

from .._text import cut
from ..extensions import as_factories
from ..handshake import ClientHandshake, ServerHandshake
from ..handshake.server import accepted_handshake
from ..http11 import Request, Response
from ..limits import Limits, checked_number
from ..protocol import Side, State
from ..sansio.http import PendingResponse
from .driver import TransactionProtocol
from .handlers import MessageHandlers

__all__ = ['TransactionInfo']


class TransactionInfo(MessageHandlers):
    """The attributes of `WebSocket`."""

    _protocol: TransactionProtocol

    def _begin_info(self) -> None:
        self._begin_handlers()
        self._compression: Any = None
        self._handshake: ServerHandshake | ClientHandshake | None = None
        self.req: Request | None = None
        self._res: Response | PendingResponse | None = None
        self.subprotocol: str | None = None
        self.user: Any = None

    @property
    def protocol(self) -> TransactionProtocol:
        """The state machine under the transaction."""
        return self._protocol

    @property
    def handshake(self) -> ServerHandshake | ClientHandshake | None:
        """The opening handshake; None where it was done elsewhere, or has not begun.

        An open connection of a server keeps its request alone. The object is made again when it is asked for.
        """
        if self._handshake is None and self.req is not None and self.established:
            self._handshake = accepted_handshake(self.req, self._protocol.extensions)
        return self._handshake

    @property
    def res(self) -> Response | PendingResponse | None:
        """The answer of the handshake; None before it is here.

        In a server, before the 101 is sent, a `PendingResponse`: what is added to its `headers` goes along.
        """
        opening = self._protocol.opening
        if self._res is None and opening is not None:
            pending: PendingResponse | None = opening.pending_response()
            return pending
        return self._res

    @res.setter
    def res(self, response: Response | PendingResponse | None) -> None:
        self._res = response

    @property
    def masked(self) -> bool:
        """Whether frames are masked: a client's are (RFC 6455 5.3)."""
        return bool(self._protocol._masks)

    @masked.setter
    def masked(self, masked: bool) -> None:
        self._protocol._masks = bool(masked)
        self._protocol._side = Side.CLIENT if masked else Side.SERVER

    @property
    def compressed(self) -> bool:
        """Whether messages are compressed with permessage-deflate."""
        return bool(self._protocol.extensions)

    @compressed.setter
    def compressed(self, compressed: bool) -> None:
        if bool(compressed) != self.compressed:
            # As a server answers an offer without parameters: that needs no agreement of the peer.
            agreed = as_factories(self._compression or True)[0].answer([[]]) if compressed else None
            self._protocol.extensions = () if agreed is None else [agreed[1]]

    @property
    def max_websocket_size(self) -> int:
        """The largest message, in bytes."""
        return self._protocol._max_message

    @max_websocket_size.setter
    def max_websocket_size(self, size: int) -> None:
        self._protocol.max_size = checked_number('WebSocket', 'max_websocket_size', size, 0, 'bytes', whole=True)

    @property
    def established(self) -> bool:
        """Whether the handshake is done."""
        return self._protocol.opening is None

    @property
    def is_websocket(self) -> bool:
        """True: this is a WebSocket, and not a plain HTTP transaction."""
        return True

    @property
    def is_finished(self) -> bool:
        """Whether the connection is gone."""
        return bool(self._protocol.is_finished)

    @property
    def is_writing(self) -> bool:
        """Whether something waits to be written."""
        opening = self._protocol.opening
        return self.buffered_amount > 0 or (opening is not None and opening.early is not None)

    @property
    def buffered_amount(self) -> int:
        """How many bytes wait to be written; before the connection is open, with those of early messages."""
        opening = self._protocol.opening
        out = self._protocol.receiver().out
        return (0 if out is None else out.size) + (0 if opening is None else opening.early_size)

    @property
    def can_write(self) -> bool:
        """Whether no more than `high_water_mark` bytes wait to be written; ``drain`` tells when none do."""
        return bool(self.buffered_amount <= self._protocol.limits.high_water_mark)

    @property
    def is_paused(self) -> bool:
        """Whether the peer is not read now: by `pause_reading`, or because more than `high_water_mark` waits for it."""
        stream = self._protocol.stream
        return self._protocol.is_paused or (stream is not None and bool(stream.is_paused))

    @property
    def state(self) -> State:
        """Where the connection stands (RFC 6455 4.1, 7.1.3, 7.1.4)."""
        return self._protocol.state

    @property
    def latency(self) -> float | None:
        """The seconds that the last answered ping took; None before the first pong."""
        latency = self._protocol.latency
        return None if latency < 0 else latency

    @property
    def limits(self) -> Limits:
        """The limits of the connection."""
        return self._protocol.limits

    @property
    def close_timeout(self) -> float:
        """Seconds that the peer has for its part of the close."""
        return self._protocol.close_timeout

    @close_timeout.setter
    def close_timeout(self, seconds: float) -> None:
        self._protocol.close_timeout = seconds

    @property
    def connection(self) -> str | None:
        """The id that the loop gave the connection; None without a loop."""
        return self._protocol.connection

    @property
    def kept_alive(self) -> bool:
        """Whether the upgrade request was not the first request of its connection (server)."""
        return bool(self._protocol.kept_alive)

    @property
    def local_address(self) -> str | None:
        """Our address; a path for a Unix socket; None without a connection."""
        return self._protocol.addresses[0]

    @property
    def local_port(self) -> int | None:
        """Our port, None for a Unix socket or without a connection."""
        return self._protocol.addresses[1]

    @property
    def remote_address(self) -> str | None:
        """The peer's address; behind a trusted proxy, that of the client (`serve`: ``trusted_proxies``)."""
        client = self._protocol.client
        return self._protocol.addresses[2] if client is None else client.address or None

    @property
    def remote_port(self) -> int | None:
        """The peer's port; behind a trusted proxy, that of the client, None where the proxy does not tell it."""
        client = self._protocol.client
        return self._protocol.addresses[3] if client is None else client.port

    @property
    def scheme(self) -> str:
        """``'wss'`` with TLS, else ``'ws'``; behind a trusted proxy, as the client connected to it."""
        client = self._protocol.client
        own = 'wss' if self._protocol.is_encrypted else 'ws'
        return own if client is None else client.scheme or own

    @property
    def host(self) -> str | None:
        """The host that was asked for, ``'example.com:3000'``; behind a trusted proxy, that of the client's request."""
        client = self._protocol.client
        if client is not None and client.host is not None:
            return str(client.host)
        return None if self.req is None else self.req.host

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The peer's certificate, if it was verified, as `ssl.SSLSocket.getpeercert` has it.

        None without TLS, without a certificate, and once the connection is gone.
        """
        stream = self._protocol.stream if self._protocol.is_encrypted else None
        certificate = getattr(stream.socket, 'getpeercert', None) if stream is not None else None
        return (certificate() or None) if certificate is not None else None

    def _emit_resume(self) -> None:
        """Without a loop: emit ``resume``, once for all that was written since the last time."""
        if self._protocol.resume_pending:
            self._protocol.resume_pending = False
            self._emit_safely('resume')

    def _check_thread(self, method: str) -> None:
        """Raise RuntimeError where another thread runs the loop."""
        protocol = self._protocol
        if protocol.thread is not None and protocol.thread.is_foreign() and protocol.ioloop.reactor.is_running:
            protocol.thread.check(method)

    def __repr__(self) -> str:
        try:
            protocol: Any = self._protocol
        except AttributeError:
            protocol = None
        if protocol is None:
            return '<WebSocket, not made>'  # its options were refused
        target = f' {cut(self.req.target, 80)}' if self.req is not None else ''
        return f'<WebSocket {protocol.state.name}{target}{" " + self.connection if self.connection else ""}>'
