"""`Admission`: who may open a WebSocket on a server.

Owns the order of the checks (origin, then identity) and what each result means. Must not know what a user's
`authenticate` looks at, nor how an upgrade is accepted or refused (`transaction/opening.py`).

It fails closed: an exception propagates to `Opening`, which answers 500, and a value that is neither an identity nor a
refusal raises one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .._text import shown
from ..auth import is_rejection
from ..errors import HandshakeError
from ..handshake import refusal_for
from ..http11 import Request, Response
from ..origins import Origins, acceptable_origin
from ..safe_logger import SafeLogger
from ..statistics import ORIGIN_REFUSED

__all__ = ['Admission', 'Announce', 'Authenticate']

Announce = Callable[[Any, list[Any]], object]
"""``announce(ws, coroutines)`` calls the handlers of ``websocket``, and appends the coroutines that they return."""

Authenticate = Callable[[Request], Any]
"""``authenticate(request)`` returns an identity, or a `Response` that refuses; a coroutine function may."""

_log = SafeLogger('pyjows')


class Admission:
    """What a server asks about an upgrade request before its handlers see it.

    Args:
        origins: the acceptable origins; None for all.
        authenticate: returns who sent a request; None to admit all.
    """

    def __init__(self, origins: Origins | None, authenticate: Authenticate | None) -> None:
        self.origins = origins
        self.authenticate = authenticate

    def admit(self, ws: Any, coroutines: list[Any], announce: Announce) -> None:
        """Refuse the request of a transaction, or announce it.

        Args:
            ws: the transaction, which has its request.
            coroutines: what has to end before the request is accepted is appended here.
            announce: calls the handlers.
        """
        opening = ws.protocol.opening
        request: Request = ws.req
        try:
            acceptable_origin(self.origins, request.headers.get_all('origin'))
        except HandshakeError as exc:
            _log.info('an upgrade request is refused: %s', exc)
            ws.protocol.cause = ORIGIN_REFUSED
            opening.refuse(refusal_for(exc))
            return
        if self.authenticate is None:
            announce(ws, coroutines)
            return
        verdict = self.authenticate(request)
        if inspect.isawaitable(verdict):
            coroutines.append(self._admit_later(ws, verdict, announce))
        elif _is_admitted(ws, opening, verdict):
            announce(ws, coroutines)

    async def _admit_later(self, ws: Any, verdict: Any, announce: Announce) -> None:
        """Await the identity; then refuse or announce, unless the request was answered or the client gone by then."""
        opening = ws.protocol.opening
        identity = await verdict
        if not opening.awaits_answer() or not _is_admitted(ws, opening, identity):
            return
        coroutines: list[Any] = []
        try:
            announce(ws, coroutines)
            if opening.awaits_answer():
                ws._call_for_coroutines('request', coroutines)
            for coroutine in coroutines:
                await coroutine
        finally:
            for coroutine in coroutines:
                coroutine.close()


def _is_admitted(ws: Any, opening: Any, verdict: Any) -> bool:
    """Keep the identity as ``ws.user``, or refuse the request; TypeError for a value that may be meant as a refusal."""
    if is_rejection(verdict):
        verdict = Response.text('forbidden\n', 403)
    if isinstance(verdict, Response):
        _log.info('an upgrade request for %s is refused with %d by authenticate', shown(ws.req.target), verdict.status)
        opening.refuse(verdict)
        return False
    if isinstance(verdict, BaseException) or (hasattr(verdict, 'headers') and _STATUS & set(dir(verdict))):
        raise TypeError(
            f'authenticate returns an identity, or a pyjows.Response to refuse, not {type(verdict).__name__}'
        )
    ws.user = verdict
    return True


# An object with one of these and `headers` is the response of another library, not an identity.
_STATUS = {'status', 'status_code'}
