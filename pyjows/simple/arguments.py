"""The arguments of `pyjows.simple`, checked when they are given.

Owns their rules and messages, and the forms in which headers and subprotocols may be given. Must not know what an
argument does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from .._options import Rule, check_options, number, optional_function
from .._options import subprotocols as subprotocols_rule
from ..frames import Close, CloseCode
from ..handshake.fields import extra_headers
from ..url import URL, parse_url

__all__ = [
    'HeaderPairs',
    'check_arguments',
    'checked_context',
    'checked_timeout',
    'close_frame',
    'header_pairs',
    'listed',
    'parsed_url',
    'request_headers',
]

HeaderPairs = list[tuple[str, str]]

_LONGEST_TIMEOUT = threading.TIMEOUT_MAX / 2

_RULES: dict[str, Rule] = {
    'receive_bytes': number(1, 'bytes', whole=True),
    'ping_interval': number(0, 'seconds, 0 for no pings', optional=True),
    'max_message_size': number(0, 'bytes, 0 for no limit', whole=True, optional=True),
    'thread_class': optional_function,
    'event_class': optional_function,
    'selector_class': optional_function,
}


def check_arguments(caller: str, **given: Any) -> None:
    """Raise TypeError or ValueError for one that is not valid."""
    check_options(caller, given, _RULES)


def checked_timeout(timeout: Any) -> float:
    """The seconds that a `receive` waits, at most as long as a lock may be waited for."""
    if not isinstance(timeout, (int, float, Real)):
        raise TypeError(f'receive(): timeout takes seconds, or None to wait for ever, not {timeout!r}')
    if not isinstance(timeout, int) and math.isnan(timeout):
        raise ValueError(f'receive(): timeout={timeout!r}, but it takes seconds, or None to wait for ever')
    return float(min(max(timeout, 0), _LONGEST_TIMEOUT))


def close_frame(reason: Any, message: Any) -> Close:
    """What `close` sends: 1000 by default, and the message cut to the 123 bytes that fit.

    Raises:
        TypeError: the code is not a number, or the message not a `str`.
        ProtocolError: the code may not be sent (RFC 6455 7.4).
    """
    if reason is not None and (not isinstance(reason, int) or isinstance(reason, bool)):
        raise TypeError(f'close(): reason is a close code, such as 1000, not {reason!r}; its text goes to message=')
    if message is not None and not isinstance(message, str):
        raise TypeError(f'close(): message is a str, not {message!r}')
    close = Close.truncated(reason or CloseCode.NORMAL_CLOSURE, message or '')
    close.serialize()
    return close


def listed(caller: str, subprotocols: str | Sequence[str] | None) -> list[str]:
    """Subprotocols as a list: one name may be given as a `str`.

    Raises:
        TypeError: it is neither.
        ValueError: a name is not a token, or there twice.
    """
    given = [subprotocols] if isinstance(subprotocols, str) else subprotocols or ()
    names: list[str] = subprotocols_rule(caller, 'subprotocols', given)
    return names


def header_pairs(caller: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> HeaderPairs:
    """Headers as pairs; they may be given as a mapping.

    Raises:
        TypeError: they are neither, or a name or value is not a `str`.
    """
    given = [] if headers is None else headers.items() if isinstance(headers, Mapping) else headers
    try:
        pairs = [(name, value) for name, value in given]
    except (TypeError, ValueError):
        raise TypeError(
            f"{caller}: headers takes a mapping, such as {{'X-Token': 'abc'}}, or a list of pairs, not {headers!r}"
        ) from None
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f'{caller}: headers has names and values of type str, not {name!r}: {value!r}')
    return pairs


def request_headers(caller: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> HeaderPairs:
    """More headers of a client's request, as `header_pairs`; ValueError for one that the handshake itself sets."""
    pairs = header_pairs(caller, headers)
    try:
        extra_headers(pairs, 'subprotocols= for the names of subprotocols')
    except ValueError as exc:
        raise ValueError(f'{caller}: {exc}') from None
    return pairs


def parsed_url(caller: str, url: Any) -> URL:
    """The parts of a URL; raises TypeError for what is not a `str`, ValueError for what is malformed."""
    if not isinstance(url, str):
        raise TypeError(f"{caller}: a URL is a str, such as 'ws://127.0.0.1:3000', not {type(url).__name__}")
    return parse_url(url)


def checked_context(caller: str, name: str, context: Any) -> Any:
    """An `ssl.SSLContext` or None; a class of its own in place of it has to have its methods."""
    if context is not None and not hasattr(context, 'wrap_socket'):
        raise TypeError(f'{caller}: {name} takes an ssl.SSLContext or None, not {context!r}')
    return context
