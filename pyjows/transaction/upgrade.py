"""`TransactionUpgrade`: the calls of a user before the connection is open.

Owns those that begin a client's handshake, and those that answer an upgrade request: accepting, refusing, choosing the
subprotocol and the compression. Must not know how that is done: the `Opening` (`opening.py`) does it.
"""

from __future__ import annotations

from typing import Any, Self

from ..errors import ConnectionClosed, InvalidState
from ..handshake import select_subprotocol
from ..http11 import Response
from .info import TransactionInfo
from .opening import Accepted, Opening

__all__ = ['TransactionUpgrade']


class TransactionUpgrade(TransactionInfo):
    """The opening handshake of `WebSocket`."""

    def client_handshake(self, url: Any, **options: Any) -> Self:
        """Begin a client's handshake: the request waits to be written; returns the transaction.

        Args:
            url: where to, ``ws://host/path``; or a `URL`, or ``(host, target)``.
            **options: those of `ClientHandshake`: ``headers``, ``subprotocols``, ``origin``, ``user_agent`` …

        Raises:
            ValueError: the URL or an option is malformed.
            InvalidState: a handshake was begun before.
        """
        opening = self._protocol.opening
        if self._handshake is not None or opening is None:
            raise InvalidState('this transaction has begun its handshake; a new connection is a new WebSocket()')
        self.masked = True
        opening.send_request(url, options)
        self._emit_resume()
        return self

    def accept(self) -> Accepted:
        """Accept the upgrade now, before the handlers of the request have ended (server).

        In a coroutine handler ``await ws.accept()``. On a loop, messages that the client has sent already are received
        on its next turn, so that their handlers may be registered afterwards.

        Raises:
            InvalidState: it was answered already, or there is no request.
            ConnectionClosed: the client is gone.
            ValueError: a header or the subprotocol of the answer is not valid; the request is not answered then.
        """
        self._check_thread('WebSocket.accept()')
        protocol = self._protocol
        if protocol.is_finished or (protocol.opening is not None and protocol.eof_received):
            raise ConnectionClosed()
        self._pending_opening().accept(True)
        self._emit_resume()
        return Accepted(self)

    def reject(self, status: int = 403, headers: Any = (), body: Any = b'', reason: str | None = None) -> Self:
        """Refuse the upgrade (server, before the 101); returns the transaction.

        Args:
            status: of the answer, 200 or more.
            headers: more headers for it, besides those of `res`.
            body: its body, `str` or bytes.
            reason: its reason phrase, None for the usual one.

        Raises:
            InvalidState: it was answered already, or there is no request.
        """
        self._check_thread('WebSocket.reject()')
        opening = self._pending_opening()
        opening.refuse(Response(status, opening.with_pending(headers), body, reason))
        self._emit_resume()
        return self

    def with_protocols(self, *names: str) -> str | None:
        """Choose the first of these subprotocols that the client offered (server, before the 101), or None.

        Raises:
            InvalidState: it was answered already, or there is no request.
        """
        self._check_thread('WebSocket.with_protocols()')
        self.subprotocol = select_subprotocol(names, self._pending_opening().pending_request().subprotocols)
        return self.subprotocol

    def with_compression(self, compression: Any = True) -> Self:
        """Use permessage-deflate if it is offered, or do not (server, before the 101); returns the transaction.

        Args:
            compression: False, True or a configured `PerMessageDeflate` (RFC 7692).

        Raises:
            InvalidState: it was answered already, or there is no request.
        """
        self._check_thread('WebSocket.with_compression()')
        self._pending_opening().compression = self._compression = compression
        return self

    def _pending_opening(self) -> Opening:
        """The opening, where a request waits for its answer; raises InvalidState otherwise."""
        opening: Opening | None = self._protocol.opening
        if opening is None or not opening.awaits_answer():
            raise InvalidState('this is for the request or websocket event, before the request is answered')
        return opening
