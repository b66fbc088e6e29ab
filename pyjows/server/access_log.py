"""The access log of a server: a line for each answered upgrade, and one for each close (logger ``pyjows.access``).

Owns the two lines. Must not know servers. A connection is only watched while the logger takes INFO.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from .._text import as_text, cut, shown
from ..safe_logger import SafeLogger

__all__ = ['watch']

_log = SafeLogger('pyjows.access')

# How many characters of the method and the target of a request are logged: a client may send 16 KiB.
_METHOD, _TARGET = 32, 1024


def watch(ws: Any) -> None:
    """Log the answer to a transaction's upgrade request, and its end."""
    if _log.isEnabledFor(logging.INFO):
        line = _Line()
        ws.on('open', line.opened)
        ws.on('finish', line.finished)


class _Line:
    """What is logged about one connection."""

    __slots__ = ('_began', '_is_open')

    def __init__(self) -> None:
        self._began = monotonic()
        self._is_open = False

    def opened(self, ws: Any) -> None:
        """It was accepted."""
        self._is_open = True
        _log.info('%s 101 %s', _address_of(ws), _agents(ws))

    def finished(self, ws: Any, code: int, reason: str) -> None:
        """It is closed, or was refused."""
        if self._is_open:
            _log.info('%s closed %d %s %.3f s', _address_of(ws), code, shown(reason), monotonic() - self._began)
        elif ws.res is not None:
            _log.info('%s %d %s', _address_of(ws), ws.res.status, _agents(ws))
        else:
            _log.info('%s lost before the answer', _address_of(ws))


def _address_of(ws: Any) -> str:
    """Address, user and request: all that a client chooses is quoted, so that a line stays a line."""
    user = '-' if ws.user is None else shown(as_text(ws.user))
    method, target = cut(ws.req.method, _METHOD), cut(ws.req.target, _TARGET).replace('"', '%22')
    return f'{ws.remote_address or "unix"} {user} "{method} {target}"'


def _agents(ws: Any) -> str:
    headers = ws.req.headers
    return ' '.join(shown(headers[name]) if name in headers else '-' for name in ('origin', 'user-agent'))
