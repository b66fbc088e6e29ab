"""wsproto's names: ``from pyjows.compat.wsproto import WSConnection, Request, PerMessageDeflate``.

Whatever module of wsproto a name is in, it is in this one. docs/sans-io.md says which names are missing, and what
behaves differently.
"""

from __future__ import annotations

from collections.abc import Iterable

from .. import extensions
from ..connection import (
    CLIENT,
    SERVER,
    CloseReason,
    Connection,
    ConnectionState,
    ConnectionType,
    H11Handshake,
    WSConnection,
    client_extensions_handshake,
    server_extensions_handshake,
)
from ..errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from ..events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from ..extensions import SUPPORTED_EXTENSIONS, PerMessageDeflate
from ..frames import Opcode
from ..handshake import accept_key, generate_key

__all__ = [
    'CLIENT',
    'SERVER',
    'SUPPORTED_EXTENSIONS',
    'WEBSOCKET_VERSION',
    'AcceptConnection',
    'BytesMessage',
    'CloseConnection',
    'CloseReason',
    'Connection',
    'ConnectionState',
    'ConnectionType',
    'Event',
    'Extension',
    'H11Handshake',
    'Headers',
    'LocalProtocolError',
    'Message',
    'Opcode',
    'PerMessageDeflate',
    'Ping',
    'Pong',
    'ProtocolError',
    'RejectConnection',
    'RejectData',
    'RemoteProtocolError',
    'Request',
    'TextMessage',
    'WSConnection',
    'client_extensions_handshake',
    'generate_accept_token',
    'generate_nonce',
    'normed_header_dict',
    'server_extensions_handshake',
    'split_comma_header',
]

#: The version of the protocol (RFC 6455 4.1), as it stands in a header.
WEBSOCKET_VERSION = b'13'

Headers = list[tuple[bytes, bytes]]


class Extension(extensions.Extension):
    """Base class of extensions that negotiate: `offer` is to be overridden, the rest as needed.

    Frames go through `encode` and `decode` (`pyjows.extensions.Extension`), not through wsproto's four hooks.
    """

    rsv = 0

    def enabled(self) -> bool:
        """Whether it was negotiated."""
        return False

    def offer(self) -> bool | str:
        """The parameters that a client offers, True for none; False offers nothing."""
        raise NotImplementedError

    def accept(self, offer: str) -> bool | str | None:
        """A server's answer to an offer: the parameters, True for none; None or False declines."""
        return None

    def finalize(self, offer: str) -> None:
        """Take the server's answer; raises NegotiationError where it is not one to our offer."""


def generate_accept_token(token: bytes) -> bytes:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key`` (RFC 6455 4.2.2)."""
    return accept_key(token.decode('ascii')).encode('ascii')


def generate_nonce() -> bytes:
    """A fresh ``Sec-WebSocket-Key`` (RFC 6455 4.1)."""
    return generate_key().encode('ascii')


def normed_header_dict(h11_headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers as a dictionary, the values of a repeated name joined by commas."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in h11_headers:
        values.setdefault(name, []).append(value)
    return {name: b', '.join(found) for name, found in values.items()}


def split_comma_header(value: bytes) -> list[str]:
    """The elements of a list header without quoted strings, such as ``Sec-WebSocket-Protocol``."""
    return [piece.decode('ascii').strip() for piece in value.split(b',')]
