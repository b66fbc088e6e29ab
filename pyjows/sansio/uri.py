"""`parse_uri`: a WebSocket URL in websockets' shape.

Owns that shape only. Must not know which URLs are valid: that is `url.py`.
"""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

from ..errors import InvalidURI
from ..url import URL, parse_url, redact

__all__ = ['WebSocketURI', 'parse_uri', 'url_of']


@dataclasses.dataclass
class WebSocketURI:
    """A parsed ``ws://`` or ``wss://`` URL.

    Attributes:
        secure: whether it is TLS.
        host: lower-case, without brackets.
        port: 80, or 443 with TLS, by default.
        path: may be empty.
        query: may be empty.
        username, password: decoded; None where the URL has none.
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)

    @property
    def resource_name(self) -> str:
        """What stands in the request line (RFC 6455 3)."""
        return (self.path or '/') + (f'?{self.query}' if self.query else '')

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User name and password; None where the URL has none."""
        return None if self.username is None else (self.username, self.password or '')


def parse_uri(uri: str) -> WebSocketURI:
    """A URL in its parts.

    Raises:
        InvalidURI: it is not a valid ``ws://`` or ``wss://`` URL, has a fragment, or a user name without a password.
    """
    if urlsplit(uri).scheme not in ('ws', 'wss'):
        raise _invalid(uri, "scheme isn't ws or wss")
    try:
        url = parse_url(uri)
    except ValueError as exc:
        raise _invalid(uri, str(exc)) from exc
    if url.username is not None and url.password is None:
        raise _invalid(uri, 'username provided without password')
    path = url.path if urlsplit(uri).path else ''
    return WebSocketURI(url.secure, url.host, url.port, path, url.query, url.username, url.password)


def url_of(uri: WebSocketURI | URL | str) -> URL:
    """The same as a `URL`; raises ValueError for a `str` that is not valid."""
    if isinstance(uri, str):
        return parse_url(uri)
    if isinstance(uri, URL):
        return uri
    scheme = 'wss' if uri.secure else 'ws'
    return URL(scheme, uri.host, uri.port, uri.resource_name, None, uri.username, uri.password)


def _invalid(uri: str, msg: str) -> InvalidURI:
    return InvalidURI(redact(uri)[1:-1] if '@' in uri else uri, msg)
