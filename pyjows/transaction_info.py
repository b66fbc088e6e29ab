"""`TransactionInfo`: what a user can ask a transaction.

Owns the attributes of a connection that are computed: from its state machine, its opening, its stream. Must not know
how any of it changes (`transaction.py`).
"""

from __future__ import annotations

from typing import Any

from .driver import TransactionProtocol
from .extensions import as_factories
from .handlers import MessageHandlers
from .handshake import ClientHandshake, ServerHandshake
from .http11 import Request, Response

__all__ = ['TransactionInfo']


class TransactionInfo(MessageHandlers):
    """The attributes of `WebSocket`."""

    _protocol: TransactionProtocol

    def __init__(self) -> None:
        MessageHandlers.__init__(self)
        self._compression: Any = None
        self.handshake: ServerHandshake | ClientHandshake | None = None
        self.req: Request | None = None
        self.res: Response | None = None
        self.subprotocol: str | None = None

    @property
    def protocol(self) -> TransactionProtocol:
        """The state machine under the transaction."""
        return self._protocol

    @property
    def masked(self) -> bool:
        """Whether frames are masked: a client's are (RFC 6455 5.3)."""
        return bool(self._protocol._masks)

    @masked.setter
    def masked(self, masked: bool) -> None:
        self._protocol._masks = bool(masked)
        self._protocol._side = int(masked)

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
        self._protocol.max_size = size

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
        return self._protocol.is_finished

    @property
    def is_writing(self) -> bool:
        """Whether something waits to be written."""
        opening = self._protocol.opening
        return self.buffered_amount > 0 or (opening is not None and opening.early is not None)

    @property
    def buffered_amount(self) -> int:
        """How many bytes wait to be written."""
        out = self._protocol.receiver().out
        return 0 if out is None else out.size

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
        """The peer's address."""
        return self._protocol.addresses[2]

    @property
    def remote_port(self) -> int | None:
        """The peer's port."""
        return self._protocol.addresses[3]

    def __repr__(self) -> str:
        target = f' {self.req.target}' if self.req is not None else ''
        return f'<WebSocket {self._protocol.state.name}{target}{" " + self.connection if self.connection else ""}>'
