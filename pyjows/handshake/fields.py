"""Header fields of the handshake that both sides use: keys, subprotocols, and the names that are reserved for it."""

from __future__ import annotations

import hashlib
import os
import re
from binascii import b2a_base64
from collections.abc import Collection, Iterable

import h11

from ..http11 import Headers, HeadersLike, parsed_headers

__all__ = [
    'accept_key',
    'accept_value',
    'extra_headers',
    'generate_key',
    'is_key',
    'read_headers',
    'select_subprotocol',
]

_GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

is_key = re.compile(r'[A-Za-z0-9+/]{22}==').fullmatch

_RESERVED = frozenset({'upgrade', 'connection', 'content-length', 'transfer-encoding'})


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2, item 5.4).

    ::

        accept_key('dGhlIHNhbXBsZSBub25jZQ==')      # 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return accept_value(key.encode('ascii')).decode('ascii')


def accept_value(key: bytes) -> bytes:
    """`accept_key` in bytes."""
    return b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def generate_key() -> str:
    """A fresh ``Sec-WebSocket-Key``: 16 random bytes in base64 (RFC 6455 section 4.1, item 7)."""
    return b2a_base64(os.urandom(16), newline=False).decode('ascii')


def select_subprotocol(available: Iterable[str], offered: Collection[str]) -> str | None:
    """The subprotocol of a connection: the first of the server's that the client offers; None if there is none."""
    return next((name for name in available if name in offered), None)


def extra_headers(headers: HeadersLike, alternatives: str) -> Headers:
    """Headers that a user adds; ValueError, which names the `alternatives`, for one that the handshake itself sets."""
    headers = Headers(headers)
    for name in headers:
        if name in _RESERVED or name.startswith('sec-websocket-'):
            raise ValueError(f"header {name!r} is set by the handshake and can't be given; use {alternatives}")
    return headers


def read_headers(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    """The headers that h11 has read."""
    return parsed_headers(b'\n%b\n' % b'\n'.join([b':'.join(pair) for pair in event.headers.raw_items()]))
