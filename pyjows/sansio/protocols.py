"""`ServerProtocol` and `ClientProtocol`: a `Protocol` with the opening handshake in front, frame by frame.

Owns the order of an opening: what is read, decided and written before the first frame, and what becomes of a connection
whose opening fails. Must not know what a valid handshake contains (`handshake/`), nor how frames work
(`protocol.py`).

The shape is that of websockets' sans-I/O layer, with its mutable `Request`, `Response` and `Headers`: an answer is
made, may be changed, and is sent then. Bytes that come before the server has answered wait for the 101. An opening that
fails sets `handshake_exc` and half-closes TCP; the state stays CONNECTING until the peer's EOF makes it CLOSED.
"""

from __future__ import annotations

import http
import re
from collections.abc import Callable, Sequence
from typing import Any

from .. import http11
from ..errors import (
    HandshakeError,
    InvalidMessage,
    InvalidState,
    NegotiationError,
)
from ..extensions import ExtensionFactory, negotiate_server
from ..frames import as_bytes
from ..handshake import (
    ClientHandshake,
    ServerHandshake,
    parse_subprotocols,
    refusal_for,
    select_subprotocol,
    switching_protocols,
)
from ..origins import acceptable_origin
from ..protocol import Protocol, Side, State
from ..url import URL
from .extensions import adapted_factories
from .http import Headers, Request, Response, changeable_headers, changeable_response
from .uri import WebSocketURI, url_of

__all__ = ['ClientProtocol', 'OpeningProtocol', 'ServerProtocol']

_STATES = tuple(State)

# Compiled, this is a C integer.
_CONNECTING = State.CONNECTING.value


class OpeningProtocol(Protocol):
    """What both sides have in common.

    Attributes:
        handshake_exc: why the opening failed, a `HandshakeError`; None as long as it did not.
        origin: the ``Origin`` of the request, None without one.
        subprotocol: the one in use, or None.
        available_extensions, available_subprotocols: those that this side is willing to use.
    """

    def __init__(
        self, side: Side, state: State, max_size: Any, defer_close: bool, join_fragments: bool, logger: Any
    ) -> None:
        Protocol.__init__(
            self,
            side,
            state=state,
            max_size=max_size,
            defer_close=defer_close,
            join_fragments=join_fragments,
            logger=logger,
        )
        self.handshake_exc: Exception | None = None
        self.origin: str | None = None
        self.subprotocol: str | None = None
        self.available_extensions: Any = None
        self.available_subprotocols: Sequence[str] | None = None

    @property
    def state(self) -> State:
        """The state of the connection (RFC 6455 4.1, 7.1.3, 7.1.4); a host that closes TCP itself may set CLOSED."""
        return _STATES[self._state]

    @state.setter
    def state(self, state: State) -> None:
        self._set_state(state)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the network; `events_received` and `data_to_send` are to be called then.

        Raises:
            EOFError: the end was received before.
        """
        if self._state == _CONNECTING and not self._discarding and not self._eof_received:
            self._receive_handshake(as_bytes(data))
        else:
            Protocol.receive_data(self, data)

    def receive_eof(self) -> None:
        """The peer ended its half of the connection; a second call does nothing."""
        if self._state == _CONNECTING and not self._discarding and not self._eof_received:
            self._receive_handshake_eof()
        Protocol.receive_eof(self)

    def _receive_handshake(self, data: bytes) -> None:
        """Take bytes of the handshake."""

    def _receive_handshake_eof(self) -> None:
        """The peer ended its half in the middle of the handshake."""

    def _fail_handshake(self, exc: Exception) -> None:
        """The opening failed: half-close TCP, and drop what still comes."""
        self.handshake_exc = exc
        self._send_eof()
        self._discard_input()

    def _opened(self, trailing: bytes) -> None:
        """Frames from here on; the first of them may be here already."""
        self.open(self.extensions)
        if trailing:
            self.feed(trailing, len(trailing))


class ServerProtocol(OpeningProtocol):
    """The server's end of a connection, from its handshake on.

    Synopsis::

        protocol = ServerProtocol(subprotocols=['chat'])
        protocol.receive_data(sock.recv(65536))
        for event in protocol.events_received():
            if isinstance(event, Request):
                response = protocol.accept(event)       # or protocol.reject(403, 'Not here.\\n')
                response.headers['Set-Cookie'] = 'a=1'
                protocol.send_response(response)
            elif event.opcode is Opcode.TEXT:
                protocol.send_text(event.data)
        for data in protocol.data_to_send():
            sock.sendall(data) if data else sock.shutdown(socket.SHUT_WR)

    Args:
        origins: the acceptable values of ``Origin``, each a `str`, a compiled regular expression that matches all of
            it, or None for a request without one; by default all are.
        extensions: factories such as `PerMessageDeflate`, the best first.
        subprotocols: those that the server speaks, the best first. A client that offers none of them is refused.
        select_subprotocol: ``f(protocol, offered)``, which chooses instead; it may raise `NegotiationError` to refuse.
        state: where the connection stands.
        max_size: the largest message, in bytes; None for no limit; or (message, fragment).
        defer_close: whether a close that the peer causes waits for `data_to_send`; see `Protocol`.
        join_fragments: whether each message is one event, its fragments joined; see `Protocol`.
        logger: the logger ``pyjows.server`` by default.
    """

    def __init__(
        self,
        *,
        origins: Sequence[str | re.Pattern[str] | None] | None = None,
        extensions: Sequence[ExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: Callable[[Any, Sequence[str]], str | None] | None = None,
        state: State = State.CONNECTING,
        max_size: int | tuple[int | None, int | None] | None = 1048576,
        defer_close: bool = False,
        join_fragments: bool = False,
        logger: Any = None,
    ) -> None:
        OpeningProtocol.__init__(self, Side.SERVER, state, max_size, defer_close, join_fragments, logger)
        self.origins = origins
        self.available_extensions = extensions
        self.available_subprotocols = subprotocols
        self._select = select_subprotocol
        self._accepted = False
        self._handshake = ServerHandshake()

    def accept(self, request: Request) -> Response:
        """The answer to a request: a 101, or a refusal if the request is not valid; see `send_response`."""
        headers = request.headers
        try:
            requested = self._verified(request)
            self.origin = self.process_origin(headers)
            accepted, self.extensions = self.process_extensions(headers)
            self.subprotocol = self.process_subprotocol(headers)
            answer = switching_protocols(requested, subprotocol=self.subprotocol, extensions=accepted)
        except Exception as exc:
            return self._refusal(exc)
        self._accepted = True
        date = ('Date', _date())
        return Response(answer.status, answer.reason, Headers([date, *changeable_headers(answer.headers).raw_items()]))

    def _verified(self, request: Request) -> http11.Request:
        """The request as a value that is a valid opening handshake; raises HandshakeError."""
        try:
            version = request.protocol.removeprefix('HTTP/')
            pairs = list(request.headers.raw_items())
            requested = http11.Request(request.method, request.path, pairs, b'', version)
        except ValueError as exc:
            raise HandshakeError(str(exc), status=400) from exc
        self._handshake.verify(requested)
        return requested

    def process_origin(self, headers: Headers) -> str | None:
        """The ``Origin`` of a request.

        Raises:
            InvalidOrigin: it is not one of `origins` (status 403).
            InvalidHeader: there are several (RFC 6454 7.3).
        """
        return acceptable_origin(self.origins, headers.get_all('Origin'))

    def process_extensions(self, headers: Headers) -> tuple[str | None, list[Any]]:
        """The header that answers the offered extensions, or None, and the agreed ones; raises NegotiationError."""
        offers = headers.get_all('Sec-WebSocket-Extensions')
        return negotiate_server(adapted_factories(self.available_extensions), ', '.join(offers) if offers else None)

    def process_subprotocol(self, headers: Headers) -> str | None:
        """The subprotocol to use; raises NegotiationError."""
        offered = self.offered_subprotocols(headers)
        return self.select_subprotocol(offered) if self._select is None else self._select(self, offered)

    @staticmethod
    def offered_subprotocols(headers: Headers) -> list[str]:
        """The subprotocols that a request offers, the most wanted first; raises ValueError for a malformed list."""
        offers = headers.get_all('Sec-WebSocket-Protocol')
        return parse_subprotocols(', '.join(offers)) if offers else []

    def select_subprotocol(self, subprotocols: Sequence[str]) -> str | None:
        """The first of the server's subprotocols that the client offers; None where the server has none.

        Raises:
            NegotiationError: they have none in common.
        """
        if not self.available_subprotocols:
            return None
        selected = select_subprotocol(self.available_subprotocols, subprotocols)
        if selected is None:
            raise NegotiationError(
                f'no subprotocol in common: this server speaks {", ".join(self.available_subprotocols)}, '
                f'the client {", ".join(subprotocols) or "none"}'
            )
        return selected

    def reject(self, status: int, text: str) -> Response:
        """An answer that refuses, with a body of plain text; see `send_response`.

        Raises:
            ValueError: an unknown status.
        """
        known = http.HTTPStatus(status)
        body = text.encode()
        headers = Headers()
        headers['Date'] = _date()
        headers['Connection'] = 'close'
        headers['Content-Length'] = str(len(body))
        headers['Content-Type'] = 'text/plain; charset=utf-8'
        return Response(known.value, known.phrase, headers, body)

    def _refusal(self, exc: Exception) -> Response:
        """The answer to a request whose handshake failed."""
        self.handshake_exc = exc
        refusal = refusal_for(exc)
        text = f'Failed to open a WebSocket connection: {exc}.\n'
        if not isinstance(exc, (HandshakeError, NegotiationError)):
            self.logger.error('opening handshake failed', exc_info=True)
            text = 'Failed to open a WebSocket connection.\nSee server log for more information.\n'
        response = self.reject(refusal.status, text)
        for name, value in refusal.headers.items():
            if name == 'connection':
                del response.headers['Connection']
                response.headers['Connection'] = f'{value}, close'
            elif name not in response.headers:
                response.headers[name.title()] = value
        return response

    def send_response(self, response: Response) -> None:
        """Answer the request; anything but a 101 ends the connection.

        Raises:
            InvalidState: the request was answered already, or the connection is gone; a 101 also where there is no
                request.
        """
        if self._state != _CONNECTING or self._eof_sent:
            raise InvalidState(f'the request cannot be answered any more: connection is {self.state.name.lower()}')
        if response.status_code == 101:
            if self._handshake.request is None and not self._accepted:
                raise InvalidState('there is no request to accept yet: it comes as an event')
            self.outgoing().put(response.serialize())
            self.logger.info('connection open')
            self._opened(self._handshake.trailing_data)
            return
        self.outgoing().put(response.serialize())
        self.logger.info('connection rejected (%d %s)', response.status_code, response.reason_phrase)
        self._send_eof()
        self._discard_input()

    def _receive_handshake(self, data: bytes) -> None:
        try:
            request = self._handshake.receive(data)
        except HandshakeError as exc:
            self.outgoing().put(self._handshake.respond(exc.response))
            self._fail_handshake(exc)
            return
        if request is not None:
            headers = changeable_headers(request.headers)
            self._collect(Request(request.target, headers, request.method, f'HTTP/{request.http_version}'))

    def _receive_handshake_eof(self) -> None:
        if self._handshake.request is None:
            failure = InvalidMessage('the connection was closed before the request was complete')
            failure.__cause__ = EOFError('stream ended')
            self._fail_handshake(failure)


class ClientProtocol(OpeningProtocol):
    """The client's end of a connection, from its handshake on.

    Synopsis::

        protocol = ClientProtocol(parse_uri('ws://127.0.0.1:3000/chat'))
        protocol.send_request(protocol.connect())
        for data in protocol.data_to_send():
            sock.sendall(data)
        protocol.receive_data(sock.recv(65536))
        [response] = protocol.events_received()
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc

    Args:
        uri: where to, from `parse_uri`; a `URL` or a `str` will do.
        origin: the ``Origin`` header, or None.
        extensions: factories such as `PerMessageDeflate`, the best first.
        subprotocols: those to offer, the best first.
        state: where the connection stands.
        max_size: the largest message, in bytes; None for no limit; or (message, fragment).
        defer_close: whether a close that the peer causes waits for `data_to_send`; see `Protocol`.
        join_fragments: whether each message is one event, its fragments joined; see `Protocol`.
        logger: the logger ``pyjows.client`` by default.

    Attributes:
        uri: the one given; of a `str`, the `URL`.
        key: the ``Sec-WebSocket-Key``.
    """

    def __init__(
        self,
        uri: WebSocketURI | URL | str,
        *,
        origin: str | None = None,
        extensions: Sequence[ExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        state: State = State.CONNECTING,
        max_size: int | tuple[int | None, int | None] | None = 1048576,
        defer_close: bool = False,
        join_fragments: bool = False,
        logger: Any = None,
    ) -> None:
        OpeningProtocol.__init__(self, Side.CLIENT, state, max_size, defer_close, join_fragments, logger)
        url = url_of(uri)
        self.uri = url if isinstance(uri, str) else uri
        self.origin = origin
        self.available_extensions = extensions
        self.available_subprotocols = subprotocols
        self._asked = False
        self._handshake = ClientHandshake(
            url,
            subprotocols=subprotocols or (),
            extensions=adapted_factories(extensions),
            origin=origin,
            user_agent=None,
        )
        self.key = self._handshake.request.headers['sec-websocket-key']

    def connect(self) -> Request:
        """The request of the handshake, to which headers may be added; see `send_request`."""
        request = self._handshake.request
        return Request(request.target, changeable_headers(request.headers))

    def send_request(self, request: Request) -> None:
        """Send the request of the handshake.

        Raises:
            InvalidState: it was sent already.
        """
        self._handshake.send()
        self._asked = True
        self.outgoing().put(request.serialize())

    def _receive_handshake(self, data: bytes) -> None:
        if not self._asked:  # the program has written the request itself
            self._asked = True
            self._handshake.send()
        try:
            answer = self._handshake.receive(data)
        except HandshakeError as exc:
            self._refused(exc)
            return
        if answer is not None:
            self.extensions = self._handshake.agreed_extensions
            self.subprotocol = self._handshake.subprotocol
            self._collect(changeable_response(answer))
            self._opened(self._handshake.trailing_data)

    def _receive_handshake_eof(self) -> None:
        try:
            self._handshake.eof()
        except HandshakeError as exc:
            if exc.response is None:
                exc.__cause__ = EOFError('stream ended')
            self._refused(exc)

    def _refused(self, exc: HandshakeError) -> None:
        if exc.response is not None:
            exc.response = changeable_response(exc.response)
            self._collect(exc.response)
        self._fail_handshake(exc)


def _date() -> str:
    """The value of a ``Date`` header, now."""
    from email.utils import formatdate  # not for each `import pyjows`: it takes 10 ms

    return formatdate(usegmt=True)
