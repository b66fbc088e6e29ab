"""`Routes`: which handler a path leads to, by werkzeug's rules (extra ``routing``).

Owns which answer each result of werkzeug means. Must not know connections: it takes a request and returns a handler or
a `Response`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from ..http11 import Request, Response

__all__ = ['Routes']

Handler = Callable[..., Any]


class Routes:
    """The routes of a server.

    Raises:
        ImportError: werkzeug is not installed.
    """

    def __init__(self) -> None:
        try:
            from werkzeug.routing import Map
        except ImportError as exc:
            raise ImportError('routes need werkzeug: pip install pyjows[routing]') from exc
        self._map = Map()
        self.has_websockets = False

    def add(self, rule: str, handler: Handler, *, methods: Iterable[str] | None, websocket: bool) -> None:
        """Add a rule; raises ValueError if it is malformed."""
        from werkzeug.routing import Rule

        try:
            self._map.add(Rule(rule, endpoint=handler, methods=methods, websocket=websocket))
        except (LookupError, SyntaxError, TypeError, ValueError) as exc:
            raise ValueError(f'{rule!r} is not a valid rule of a route: {exc}') from None
        self.has_websockets = self.has_websockets or websocket

    def find(self, request: Request, *, websocket: bool) -> tuple[Handler, dict[str, Any]] | Response | None:
        """The handler of a request and its arguments; an answer to give instead; None if no rule fits the path."""
        from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
        from werkzeug.routing import RequestRedirect, WebsocketMismatch

        adapter = self._map.bind('localhost', '/', url_scheme='ws' if websocket else 'http')
        try:
            handler, values = adapter.match(
                request.path, request.method, query_args=request.query or None, websocket=websocket
            )
        except RequestRedirect as exc:
            return Response(exc.code, {'Location': _same_origin(exc.new_url)})
        except NotFound:
            return None
        except MethodNotAllowed as exc:
            allowed = ', '.join(sorted(exc.valid_methods or ()))
            return Response.text('method not allowed\n', 405, {'Allow': allowed})
        except WebsocketMismatch:
            if websocket:
                return Response.text('there is no WebSocket here\n', 400)
            upgrade = {'Upgrade': 'websocket', 'Connection': 'Upgrade'}
            return Response.text('there is only a WebSocket here\n', 426, upgrade)
        except HTTPException as exc:
            return Response.text(f'{exc.name}\n', exc.code or 500)
        return handler, dict(values)


def _same_origin(url: str) -> str:
    """The path and the query of a URL: a redirect stays on the host that was asked, whatever its scheme is."""
    parts = urlsplit(url)
    return '/' + parts.path.lstrip('/') + (f'?{parts.query}' if parts.query else '')
