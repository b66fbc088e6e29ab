"""Tokens, and how a peer's text and the system's errors are shown in a message.

Owns the rules that messages share: what a token is (RFC 9110 section 5.6.2), what a host is, how much of what a peer
sent is repeated in an error, and what the system's error is called. Must not know any header.
"""

from __future__ import annotations

import re

__all__ = ['HOST', 'TOKEN', 'as_text', 'cause_of', 'checked_token', 'cut', 'escaped', 'is_token', 'printable', 'shown']

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""The pattern of a token, as part of larger ones. It is possessive: the matching never backtracks."""

HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]+)"
"""The pattern of a host, an IPv6 address in brackets (RFC 3986 section 3.2.2), as part of larger ones."""

is_token = re.compile(TOKEN).fullmatch


def checked_token(text: str, what: str) -> str:
    """Return `text` if it is a token, else raise ValueError; `what` is its name in the message."""
    if not is_token(text):
        raise ValueError(
            f"{shown(text)} is not a valid {what}: it may hold letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.6.2)"
        )
    return text


def shown(value: object, limit: int = 80) -> str:
    """The `repr` of what a peer or a user gave, cut to `limit` characters: a peer may have sent 16 KiB."""
    return cut(repr(value), limit)


def as_text(value: object) -> str:
    """The `str` of an object of the program for a log line, also where its `__str__` raises."""
    try:
        return str(value)
    except Exception:
        return f'<unprintable {type(value).__name__} object>'


def escaped(text: str) -> str:
    """`text` of a peer without quotes, its control characters escaped: it must not begin a line of a log."""
    return text if text.isprintable() else repr(text)[1:-1]


def printable(text: str, limit: int = 200) -> str:
    """`text` of a peer as part of a message: `escaped`, and cut."""
    return cut(escaped(text), limit)


def cut(text: str, limit: int) -> str:
    """`text`, of at most `limit` characters; an ellipsis says that some are missing."""
    return text if len(text) <= limit else f'{text[: limit - 3]}...'


def cause_of(exc: BaseException) -> str:
    """What went wrong, in the system's words, without the number."""
    text = getattr(exc, 'strerror', None) or str(exc) or type(exc).__name__
    if text == 'AF_UNIX path too long':  # Python's own words: no system call was made, so there is no number either
        return (
            'the path of a Unix socket may have 107 bytes (103 on macOS and BSD): give a shorter one, or a relative one'
        )
    return str(text)
