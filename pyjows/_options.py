"""Options: the values that `serve`, `connect`, `reconnect` and `WebSocket` take, checked when they are given.

Owns the rules and their messages, each of which names the function, the value and the rule. Must not know what an
option does. The rules of a function's options are a table beside it, with which `check_options` compares what is given.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from ._text import is_token
from .extensions import as_factories
from .handshake.fields import extra_headers
from .http11 import Headers, HeadersLike
from .limits import LIMITS, Limits, checked_number

__all__ = [
    'CONNECTION',
    'LIMIT_RULES',
    'WEBSOCKET',
    'ConnectionOptions',
    'LimitOptions',
    'Rule',
    'WebSocketOptions',
    'check_options',
    'cookies',
    'flag',
    'function',
    'header_names',
    'headers',
    'instance',
    'ip_address',
    'number',
    'optional_function',
    'server_name',
    'subprotocols',
    'text',
    'unix_mode',
]

# What other libraries call them; of several, the first that a function takes.
_ELSEWHERE = {
    'additional_headers': ('headers',),
    'extra_headers': ('headers',),
    'heartbeat': ('ping_interval',),
    'max_message_size': ('max_websocket_size',),
    'max_msg_size': ('max_websocket_size',),
    'max_payload': ('max_websocket_size',),
    'max_size': ('max_websocket_size',),
    'open_timeout': ('timeout', 'handshake_timeout'),
    'ssl': ('tls',),
    'ssl_context': ('tls',),
    'sslopt': ('tls',),
    'write_limit': ('high_water_mark',),
}

_is_cookie_value = re.compile(r'[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*').fullmatch

Rule = Callable[[str, str, Any], Any]
"""``rule(caller, name, value)`` is the value to use; it raises TypeError or ValueError for one that is not valid."""


# The same names for type checkers, which refuse an unknown option before the program runs.


class LimitOptions(TypedDict, total=False):
    """The limits of a connection (`LIMITS`)."""

    max_websocket_size: int | None
    max_fragments: int | None
    max_queue: int | None
    high_water_mark: int | None
    max_backlog: int | None
    backlog_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    idle_timeout: float | None
    close_timeout: float | None


class ConnectionOptions(LimitOptions, total=False):
    """What `serve` takes for its connections."""

    compression: Any
    subprotocols: Any
    headers: HeadersLike


class WebSocketOptions(ConnectionOptions, total=False):
    """What `WebSocket` takes."""

    established: bool
    masked: bool
    compressed: bool
    limits: Limits | None


def check_options(caller: str, options: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The options, each checked, iterators made into what can be used more than once.

    Raises:
        TypeError: there is no such option, or the value is of another type.
        ValueError: the value is out of range.
    """
    checked = {}
    for name, value in options.items():
        rule = rules.get(name)
        if rule is None:
            known = [other for other in _ELSEWHERE.get(name, ()) if other in rules]
            similar = known or difflib.get_close_matches(name, rules, 1)
            hint = f'; did you mean {similar[0]!r}?' if similar else ''
            raise TypeError(f'{caller} has no option {name!r}{hint}')
        checked[name] = rule(caller, name, value)
    return checked


def number(
    smallest: float,
    unit: str,
    *,
    whole: bool = False,
    above: bool = False,
    optional: bool = False,
    largest: float = math.inf,
) -> Rule:
    """A number from `smallest`, or above it (`above`), to `largest`; None too, where it is `optional`."""

    def rule(caller: str, name: str, value: Any) -> Any:
        if value is None and optional:
            return None
        return checked_number(caller, name, value, smallest, unit, whole=whole, above=above, largest=largest)

    return rule


def instance(types: type | tuple[type, ...], described: str, *, optional: bool = False) -> Rule:
    """An object of one of these types; None too, where it is `optional`."""

    def rule(caller: str, name: str, value: Any) -> Any:
        if not isinstance(value, types) and not (optional and value is None):
            raise TypeError(f'{caller}: {name} takes {described}, not {value!r}')
        return value

    return rule


def function(caller: str, name: str, value: Any) -> Any:
    """Something to call."""
    if not callable(value):
        raise TypeError(f'{caller}: {name} takes a function, not {value!r}')
    return value


def optional_function(caller: str, name: str, value: Any) -> Any:
    """Something to call, or None."""
    return None if value is None else function(caller, name, value)


def headers(caller: str, name: str, value: Any) -> Headers:
    """Headers to send along with the handshake."""
    try:
        return extra_headers(value, 'the options that are meant for it')
    except (TypeError, ValueError) as exc:
        raise type(exc)(f'{caller}: {name}: {exc}') from None


def subprotocols(caller: str, name: str, value: Any) -> list[str]:
    """Names of subprotocols, each once."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{caller}: {name} takes a list of names, such as ['chat'], not {value!r}")
    names = list(value)
    for one in names:
        if not isinstance(one, str) or not is_token(one):
            raise ValueError(
                f"{caller}: {name} has {one!r}, but a name has only letters, digits and !#$%&'*+-.^_`|~ (RFC 6455 4.1)"
            )
    if len(set(names)) != len(names):
        raise ValueError(f'{caller}: {name} has a name twice: {names!r} (RFC 6455 4.1)')
    return names


def compression(caller: str, name: str, value: Any) -> Any:
    """Extensions, or whether to compress: the factories, which all connections of a server share."""
    try:
        return as_factories(value)
    except TypeError as exc:
        raise TypeError(f'{caller}: {exc}') from None


def server_name(caller: str, name: str, value: Any) -> str | None:
    """A name in a certificate, or None."""
    if text(caller, name, value) is None:
        return None
    try:
        if '\0' in value.encode('idna').decode('ascii'):
            raise UnicodeError('it has a NUL in it')
    except UnicodeError as exc:
        why = exc.__cause__ or exc
        raise ValueError(
            f'{caller}: {name}={value!r} is not the name of a host: {why}; it has labels of 1 to 63 characters with '
            'dots between them, or is an IP address'
        ) from None
    return str(value)


def ip_address(caller: str, name: str, value: Any) -> str | None:
    """An IP address, or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f'{caller}: {name} takes an IP address as str, not {value!r}')
    try:
        ipaddress.ip_address(value)
    except ValueError as exc:
        raise ValueError(f'{caller}: {name}: {exc}') from None
    return value


def cookies(caller: str, name: str, value: Any) -> str:
    """Cookies by name, as the value of a ``Cookie`` header (RFC 6265 4.2.1); empty for none."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{caller}: {name} takes a mapping, such as {{'session': 'abc'}}, not {type(value).__name__}")
    pairs = []
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f'{caller}: {name} has names and values of type str only')
        if not is_token(key) or not _is_cookie_value(text):
            raise ValueError(
                f'{caller}: {name}: the cookie {key!r} has characters that are not allowed in it: quote them, '
                'as urllib.parse.quote does (RFC 6265 4.1.1)'
            )
        pairs.append(f'{key}={text}')
    return '; '.join(pairs)


def header_names(caller: str, name: str, value: Any) -> frozenset[bytes]:
    """Names of headers, in lower case."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{caller}: {name} takes a list of names, such as ['X-Api-Key'], not {value!r}")
    names = list(value)
    for one in names:
        if not isinstance(one, str) or not is_token(one):
            raise ValueError(f'{caller}: {name} has {one!r}, which is not a valid header name (RFC 9110 5.6.2)')
    return frozenset(one.lower().encode() for one in names)


def unix_mode(caller: str, name: str, value: Any) -> int | None:
    """Permissions of a Unix socket, or None."""
    if value is None:
        return None
    mode = int(checked_number(caller, name, value, 0, 'permission bits, such as 0o660', whole=True))
    if mode > 0o777:
        raise ValueError(f'{caller}: {name}={value!r}, but permissions are 0o777 at most')
    return mode


flag = instance(bool, 'True or False')
text = instance(str, 'a str or None', optional=True)

CONNECTION: dict[str, Rule] = {
    'compression': compression,
    'subprotocols': subprotocols,
    'headers': headers,
}
"""The options of every connection but its limits: `serve`, `connect` and `WebSocket` take them."""

LIMIT_RULES: dict[str, Rule] = {
    name: number(smallest, unit, whole=whole, optional=True) for name, (_, smallest, unit, whole) in LIMITS.items()
}
"""The limits of every connection."""

WEBSOCKET: dict[str, Rule] = {
    'established': flag,
    'masked': flag,
    'compressed': flag,
    'limits': instance(Limits, 'the Limits of a server or client', optional=True),
    **CONNECTION,
    **LIMIT_RULES,
}
"""The options of `WebSocket`."""
