"""The exceptions. Knows nothing of how a connection works: each class says what went wrong and carries the evidence.

A peer's faults never raise through the loop; they close the connection and arrive as ``finish``. The exceptions here
reach the one whose own call made the mistake (`ConnectionClosed`, `InvalidState`, `LocalProtocolError`), or come as
the argument of ``error`` (`HandshakeError`), or as ``parser_exc`` and the like for those who drive the protocol
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .frames import Close

__all__ = [
    'ConnectionClosed',
    'ConnectionClosedError',
    'ConnectionClosedOK',
    'HandshakeError',
    'InvalidHandshake',
    'InvalidHeader',
    'InvalidMessage',
    'InvalidOrigin',
    'InvalidState',
    'InvalidStatus',
    'InvalidUpgrade',
    'LocalProtocolError',
    'NegotiationError',
    'PayloadTooBig',
    'ProtocolError',
    'RemoteProtocolError',
    'WebSocketError',
    'WebSocketException',
]


class WebSocketError(Exception):
    """Base of all exceptions that pyjows raises itself."""


class ProtocolError(WebSocketError, ValueError):
    """Something breaks RFC 6455; `code` is the close code that it asks for (section 7.4.1)."""

    code = 1002

    def __init__(self, message: str = '', code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class PayloadTooBig(ProtocolError):
    """A frame or message is larger than the limit: close code 1009."""

    def __init__(self, message: str = '', code: int = 1009) -> None:
        super().__init__(message, code)


class NegotiationError(ProtocolError):
    """The server's answer to an extension offer breaks the extension's rules: close code 1010."""

    def __init__(self, message: str = '', code: int = 1010) -> None:
        super().__init__(message, code)


class InvalidState(WebSocketError):
    """The connection is in a state in which this cannot be done."""


class ConnectionClosed(InvalidState):
    """The connection is closed, or its closing began.

    Attributes:
        rcvd: the close frame received (`Close`), or None.
        sent: the close frame sent (`Close`), or None.
        rcvd_then_sent: whether the peer closed first; None unless both frames were seen.
    """

    def __init__(
        self,
        rcvd: Close | None = None,
        sent: Close | None = None,
        rcvd_then_sent: bool | None = None,
    ) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    @property
    def code(self) -> int:
        """The peer's close code; 1006 where there was no close frame (RFC 6455 7.1.5)."""
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The peer's close reason (RFC 6455 7.1.6)."""
        return '' if self.rcvd is None else self.rcvd.reason

    def __str__(self) -> str:
        if self.rcvd is None:
            return f'sent {self.sent}; no close frame received' if self.sent else 'no close frame received or sent'
        if self.sent is None:
            return f'received {self.rcvd}; no close frame sent'
        if self.rcvd_then_sent:
            return f'received {self.rcvd}; then sent {self.sent}'
        return f'sent {self.sent}; then received {self.rcvd}'


class ConnectionClosedOK(ConnectionClosed):
    """Closed in good order: both sides sent 1000, 1001 or no code."""


class ConnectionClosedError(ConnectionClosed):
    """Closed with another code, or without a closing handshake."""


class HandshakeError(WebSocketError):
    """The opening handshake failed.

    Attributes:
        status: the HTTP status, answered (client) or to be answered (server); None where there was none.
        headers: the headers of the answer.
        body: the body of the answer, as far as it came.
        response: the answer, the server's own ready-made one too, or None.
    """

    def __init__(
        self,
        message: str = '',
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b'',
        response: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.body = body
        self.response = response


class InvalidMessage(HandshakeError):
    """What came is no HTTP, too long, or not all of the message."""


class InvalidHeader(HandshakeError):
    """A header of the handshake is missing, or not what it has to be."""


class InvalidUpgrade(InvalidHeader):
    """No upgrade to this protocol: the ``Upgrade`` or ``Connection`` header, or the client's version, is another."""


class InvalidOrigin(InvalidHeader):
    """The client's ``Origin`` is not one of those allowed."""


class InvalidStatus(HandshakeError):
    """The server answered the handshake, but not with a 101: `response` is its answer."""


#: websockets' names for two of them.
InvalidHandshake = HandshakeError
WebSocketException = WebSocketError


class LocalProtocolError(ProtocolError):
    """We tried what the state or the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; `event_hint` is the event to send in answer, or None."""

    def __init__(self, message: str = '', event_hint: Any = None) -> None:
        super().__init__(message)
        self.event_hint = event_hint
