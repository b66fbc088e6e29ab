"""The exceptions of the simple faces, with simple-websocket's names and attributes."""

from __future__ import annotations

from ..errors import WebSocketError
from ..frames import CloseCode

__all__ = ['ConnectionClosed', 'ConnectionError', 'SimpleWebsocketError']


class SimpleWebsocketError(WebSocketError, RuntimeError):
    """Base of both."""


class ConnectionError(SimpleWebsocketError):
    """The connection did not open.

    Attributes:
        status_code: client: the HTTP status that the server answered with; server: the one to answer with. None where
            there was no answer.
    """

    def __init__(self, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(f'Connection error: {status_code}')


class ConnectionClosed(SimpleWebsocketError):
    """The connection is closed.

    Attributes:
        reason: the close code, a `CloseCode` or an int; 1006 if the connection ended without a close frame.
        message: the close reason, a `str`; None without a close frame.
    """

    def __init__(self, reason: int = CloseCode.NO_STATUS_RCVD, message: str | None = None) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f'Connection closed: {int(reason)} {message or ""}')
