"""The ``Origin`` of a request: which pages may open a connection (RFC 6455 section 10.2).

Owns what a list of origins means, and what may stand in one. Must not know who asks, nor how a refusal is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from ._text import shown
from .errors import InvalidHeader, InvalidOrigin

__all__ = ['Origins', 'acceptable_origin', 'checked_origins']

Origins = Sequence[str | re.Pattern[str] | None]
"""Acceptable origins: each a `str`, a compiled pattern that matches all of it, or None for a request without one."""

_DEFAULT_PORTS = {'http': ':80', 'https': ':443'}


def acceptable_origin(origins: Origins | None, values: Sequence[str]) -> str | None:
    """The origin of a request, None if it has none.

    Args:
        origins: the acceptable ones; None for all.
        values: those of its ``Origin`` headers.

    Raises:
        InvalidOrigin: it is not one of `origins` (status 403).
        InvalidHeader: there are several (RFC 6454 7.3).
    """
    if len(values) > 1:
        raise InvalidHeader('Origin', ', '.join(values), message='there is more than one Origin header', status=400)
    origin = values[0] if values else None
    if origins is None:
        return origin
    for allowed in origins:
        if allowed == origin:
            return origin
        if isinstance(allowed, re.Pattern) and origin is not None and allowed.fullmatch(origin):
            return origin
    wrong = 'the Origin header is missing' if origin is None else f'the origin {shown(origin)} is not allowed'
    raise InvalidOrigin(origin, message=wrong, status=403)


def checked_origins(caller: str, name: str, value: Any) -> Origins | None:
    """A list of origins as browsers write them: lower case, without the default port.

    Raises:
        TypeError: it is not a list of `str`, compiled patterns and None.
        ValueError: a `str` is not an origin: scheme, host and port, and nothing else, or ``'null'``.
    """
    if value is None:
        return None
    if isinstance(value, (str, bytes, re.Pattern)) or not isinstance(value, Iterable):
        raise TypeError(f"{caller}: {name} takes a list, such as ['https://chat.example'], not {value!r}")
    return [_checked(f'{caller}: {name}', origin) for origin in value]


def _checked(where: str, origin: Any) -> str | re.Pattern[str] | None:
    """One entry of a list of origins, in lower case and without the default port."""
    if origin is None:
        return None
    if isinstance(origin, re.Pattern) and isinstance(origin.pattern, str):
        return origin
    if not isinstance(origin, str):
        raise TypeError(f'{where} has {origin!r}, but an origin is a str, a compiled pattern of str, or None')
    if origin == '*':
        raise ValueError(f'{where} has {origin!r}: leave the list out to accept all origins')
    origin = origin.lower()
    if origin == 'null':
        return 'null'
    try:
        parts = urlsplit(origin)
        plain = f'{parts.scheme}://{parts.netloc}'
        valid = bool(parts.scheme and parts.hostname) and plain == origin and '@' not in origin and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not origin.isascii() or ' ' in origin:
        raise ValueError(
            f"{where} has {origin!r}, but an origin is scheme, host and port alone: 'https://chat.example', "
            "'http://localhost:3000' (RFC 6454 6.1)"
        )
    return str(origin.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ' ')))
