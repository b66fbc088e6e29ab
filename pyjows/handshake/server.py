"""The server's side of the opening handshake: reads requests, checks them, writes the answers (RFC 6455 section 4.2).

Owns which request may become a WebSocket, what is agreed on with it, and the bytes of every answer, of plain HTTP
requests on the same port too. Must not know where the bytes go.

HTTP is h11's work: bodies, content length, HEAD, chunks and keep-alive follow its rules. Two messages do not pass
through it, because every connection needs them and h11 would be half of what a connection costs the server:

- The 101 has a fixed shape, which a format string writes.
- An upgrade request that came whole, in its usual form, is read by one regular expression (`_match_upgrade_request`).
  That is narrower than h11's grammar: what it matches, h11 would read with the same result. Everything else goes to
  h11, which alone says what is wrong with a request; so does a matched request whose answer is not the 101.

An open connection keeps the `Request`, whose headers are one `bytes` object, and nothing else from here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import h11

from .._text import TOKEN, cut, shown
from ..errors import (
    HandshakeError,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidMethod,
    InvalidProtocol,
    InvalidState,
    InvalidUpgrade,
    NegotiationError,
)
from ..extensions import (
    Extension,
    ExtensionFactory,
    ExtensionList,
    answer_server,
    format_extensions,
    parse_extensions,
)
from ..http11 import (
    Headers,
    HeadersLike,
    Request,
    Response,
    has_token,
    header_block,
    http_date,
    in_origin_form_with_host,
    is_authority,
    parse_subprotocols,
    parsed_headers,
    parsed_request,
    serialized_headers,
)
from .fields import accept_value, extra_headers, is_key, read_headers

__all__ = ['ServerHandshake', 'accepted_handshake', 'refusal_for', 'switching_protocols']

_upgrade_request = re.compile(
    rb'GET (/[\x21-\x7e]*+) HTTP/1\.1\r\n((?:%b:[^\x00\n\r\x0b\x0c]*+\r\n)++)\r\n' % TOKEN.encode()
).match

_SWITCHING = b'HTTP/1.1 101 Switching Protocols\r\n%b%b%b\r\n'
_UPGRADE_FIELDS = b'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n'

# All values of a request's header fields by lower-case name.
_Values = dict[str, list[str]]

# What a valid request says: its key, the subprotocols and the extensions that it offers.
_Offer = tuple[str, Sequence[str], ExtensionList]


class ServerHandshake:
    """The server's side: reads requests, checks those that ask for a WebSocket, writes the answers.

    ::

        handshake = ServerHandshake()
        try:
            request = handshake.receive(data)               # None: not all here yet
        except HandshakeError as error:
            send(handshake.respond(error.response))         # then close
        if request is not None and request.is_upgrade:
            refusal = handshake.check(request)
            if refusal is None:
                send(handshake.accept(extensions=[PerMessageDeflate()]))
                # frames from here on, the first in handshake.trailing_data; handshake.agreed_extensions apply to them
            else:
                send(handshake.respond(refusal))
        elif request is not None:
            send(handshake.respond(Response.text('hello')))
        if handshake.keep_alive:
            request = handshake.next()                      # the client may have sent it already

    Args:
        max_header_size: bytes of request line and headers, 16 KiB by default.
        max_body_size: bytes of a request's body, 256 KiB by default.
        server_header: the ``Server`` header of all answers; none by default.

    Attributes:
        request: the request that is to be answered or was answered last; None before it is complete.
        agreed_extensions: the `Extension` objects of this connection, after `accept` negotiated them.
    """

    __slots__ = (
        '_answered',
        '_body',
        '_failed',
        '_head',
        '_http',
        '_max_body_size',
        '_max_header_size',
        '_method',
        '_offer',
        '_raw_request',
        '_received',
        '_server_field',
        '_trailing',
        '_values',
        'agreed_extensions',
        'request',
    )

    request: Request | None
    agreed_extensions: Sequence[Extension]

    def __init__(
        self, *, max_header_size: int = 16384, max_body_size: int = 262144, server_header: str | None = None
    ) -> None:
        self.request = None
        self.agreed_extensions = ()
        self._http: h11.Connection | None = None  # made when something comes that h11 has to read
        self._raw_request = b''  # a request that was read without h11
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._server_field = b'' if server_header is None else serialized_headers(Headers({'Server': server_header}))
        self._head: Request | None = None  # the request while its body is still coming
        self._method = b''  # its method, also where the rest of the head is invalid
        self._body: bytearray | None = None
        self._received = 0  # bytes since the current request began
        self._values: _Values | None = None  # the header fields of `request`, once they were looked at
        self._offer: _Offer | None = None  # what it offers, once verify() has found it valid
        self._answered = False
        self._failed = False  # what came is not valid HTTP, or too large: nothing more is read
        self._trailing = b''

    @property
    def trailing_data(self) -> bytes:
        """What came after the request: after `accept`, the first frames; else the beginning of the next request."""
        return self._trailing if self._http is None else bytes(self._http.trailing_data[0])

    @property
    def keep_alive(self) -> bool:
        """Whether the request has been answered and the connection may carry another one: see `next`."""
        http = self._http
        return http is not None and http.our_state is h11.DONE and http.their_state is h11.DONE

    def receive(self, data: bytes) -> Request | None:
        """Take bytes as they come from the socket.

        Returns:
            The request, once it is here with its body; None as long as more is needed. What follows it is kept: as the
            next request of the connection, or as `trailing_data`.

        Raises:
            HandshakeError: this is not a valid HTTP/1.x request (400, 505), it is a CONNECT or uses an unknown transfer
                coding (501), or it is too large (413, 431). Send ``respond(error.response)`` and close.
            InvalidState: after `accept`, where what comes are frames.
        """
        if self._http is None and self.request is None and self._match_upgrade_request(data):
            return self.request
        http = self._parser()
        if not data or self._failed:
            return None
        http.receive_data(data)
        self._received += len(data)
        if self.request is None:
            return self._read(http)
        if self._received > self._max_header_size + self._max_body_size:
            waiting = len(self.trailing_data)
            if waiting > self._max_header_size + self._max_body_size:
                self._fail(
                    413, f'{waiting} bytes came before the request ahead of them was answered: wait for the answer'
                )
        return None

    def begin(self, request: Request) -> Request:
        """Take a request that a host framework has read from the socket already.

        Raises:
            HandshakeError: as `receive` does.
        """
        version = request.http_version.encode('ascii')
        line = b'%b %b HTTP/%b\r\n' % (request.method.encode(), request.target.encode(), version)
        found = self.receive(b'%b%b\r\n%b' % (line, serialized_headers(request.headers), request.body))
        if found is None:
            self._fail(400, 'the request is not complete: its body is shorter than its Content-Length')
        return found

    def eof(self) -> None:
        """The client ended its half of the connection.

        Raises:
            HandshakeError: it came in the middle of a request. The client may still read an answer.
        """
        if self._http is not None and not self._failed:
            self._http.receive_data(b'')
            if self.request is None:
                self._read(self._http)

    def asks_for_websocket(self) -> bool:
        """Whether the received request asks for a WebSocket; `check` tells whether it is valid."""
        request = self.request
        if request is None:
            return False
        values = self._field_values(request)
        return (
            'sec-websocket-key' in values
            or 'sec-websocket-version' in values
            or has_token(_joined(values, 'upgrade'), 'websocket')
        )

    def interim(self) -> bytes:
        """What to send while `receive` needs more: the ``100 Continue`` that the client waits for, or nothing."""
        http = self._http
        if http is None or self._head is None or self.request is not None or not http.they_are_waiting_for_100_continue:
            return b''
        return http.send(h11.InformationalResponse(status_code=100, headers=[], reason=b'Continue'))

    def check(self, request: Request | None = None) -> Response | None:
        """Whether the request is a valid opening handshake: every MUST of RFC 6455 section 4.2.1.

        Args:
            request: by default the one that was received.

        Returns:
            None if it may be accepted; else the answer for `respond`, with one line of plain text that says what is
            wrong: 405 for the method, 426 for a missing upgrade or another version of the protocol, 400 for the rest.
        """
        try:
            self.verify(request)
        except HandshakeError as exc:
            return refusal_for(exc)
        return None

    def verify(self, request: Request | None = None) -> None:
        """`check` that raises instead of returning the answer.

        Raises:
            HandshakeError: the request may not be accepted; `response` is the answer that says why. InvalidUpgrade and
                InvalidHeader where it is a header.
            InvalidState: there is no request yet.
        """
        if request is None:
            request = self.request
        if request is None:
            raise InvalidState('there is no request to check yet: receive() returns it')
        if request is self.request:
            self._offer = _verified(request, self._field_values(request))
        else:
            _verified(request, _values_of(header_block(request.headers)))

    def accept(
        self,
        *,
        headers: HeadersLike = (),
        subprotocol: str | None = None,
        extensions: Sequence[ExtensionFactory] | str | None = None,
    ) -> bytes:
        """The 101 that makes the connection a WebSocket (RFC 6455 section 4.2.2).

        The first frames are then in `trailing_data`, what they go through in `agreed_extensions`.

        Args:
            headers: more headers for it, such as ``Set-Cookie``.
            subprotocol: one of those that the client offered, or None; see `select_subprotocol`.
            extensions: the `ExtensionFactory` objects that the server is willing to use, the best first; or, for a
                caller who has negotiated, a ``Sec-WebSocket-Extensions`` value.

        Raises:
            HandshakeError: the request is not a valid handshake; as `verify`.
            ValueError: a header is malformed or one that the handshake sets; the subprotocol or an extension was not
                offered.
            InvalidState: there is no request, or it has been answered.
        """
        return self._accept(headers, subprotocol, extensions)

    def _accept(
        self, headers: HeadersLike, subprotocol: str | None, extensions: Sequence[ExtensionFactory] | str | None
    ) -> bytes:
        """`accept` without keywords, which take their time."""
        request = self._pending_request()
        if self._offer is None:
            self.verify(request)
        assert self._offer is not None
        key, subprotocols, offered = self._offer
        if subprotocol is not None and subprotocol not in subprotocols:
            raise ValueError(
                f'the client did not offer subprotocol {subprotocol!r}: it offered {list(subprotocols)!r}, '
                f'and no other may be chosen (RFC 6455 4.2.2)'
            )
        agreed: Sequence[Extension] = ()
        if isinstance(extensions, str):
            _check_offered(extensions, offered)
        elif extensions and offered:
            accepted, agreed = answer_server(extensions, offered)
            extensions = format_extensions(accepted)
        else:
            extensions = None
        extra = b''
        if headers:
            extra = serialized_headers(extra_headers(headers, 'subprotocol= or extensions='))
        answer = _SWITCHING % (_switching_fields(key, subprotocol, extensions), extra, self._server_field)
        self.agreed_extensions = agreed
        self._trailing = self.trailing_data
        # An open connection keeps the request alone.
        self._http = self._head = self._body = self._offer = self._values = None
        self._raw_request = b''
        self._answered = True
        return answer

    def respond(self, response: Response, *, more: bool = False, close: bool = False) -> bytes:
        """Any answer but the 101, whole. Content-Length, Connection and Date are set; an answer to HEAD has no body.

        Without a request, or after `receive` raised, it has ``Connection: close``.

        Args:
            response: its status has to be 200 or more.
            more: the body goes on, see `respond_more`. Without a Content-Length it is sent in chunks then.
            close: the connection ends with this answer, which says so.

        Raises:
            ValueError: the status is below 200, or a header contradicts the body.
            InvalidState: the request has been answered.
        """
        http = self._parser()
        if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise InvalidState('this request has been answered; next() begins the next one of the connection')
        if response.status < 200:
            raise ValueError(f'{response.status} is not a final answer: accept() makes the 101, interim() the 100')
        if self.request is not None and http.their_state is h11.SEND_BODY:
            http.next_event()  # the end of a request without body: h11 has to see it before it sends the answer
        bodiless = response.status in (204, 304) or self._method == b'HEAD'
        headers = response.headers
        fields = headers.raw
        if not more and 'transfer-encoding' not in headers:
            fields = [pair for pair in fields if pair[0].lower() != b'content-length']
            if response.status not in (204, 304):
                length = headers.get('content-length') if bodiless and not response.body else None
                fields.append((b'Content-Length', (length or str(len(response.body))).encode('latin-1')))
        if response.body and 'content-type' not in headers:
            fields.append((b'Content-Type', b'application/octet-stream'))
        if 'date' not in headers:
            fields.append((b'Date', http_date()))
        if self._server_field and 'server' not in headers:
            fields.append((b'Server', self._server_field[8:-2]))
        if (close or self._failed or self.request is None) and not has_token(headers.get('connection'), 'close'):
            fields.append((b'Connection', b'close'))
        try:
            reason = response.reason.encode('latin-1')
            answer = http.send(h11.Response(status_code=response.status, headers=fields, reason=reason))
        except h11.LocalProtocolError as exc:
            raise ValueError(f"this response can't be sent: {exc}") from exc
        self._answered = True
        return answer + self.respond_more(b'' if bodiless else response.body, more=more)

    def respond_more(self, data: bytes, *, more: bool = False) -> bytes:
        """The next part of a body that `respond` began with ``more=True``; the last part without it.

        Raises:
            ValueError: the parts do not add up to the Content-Length.
            InvalidState: no answer has been begun.
        """
        http = self._parser()
        if http.our_state is not h11.SEND_BODY:
            raise InvalidState('no body has been begun: respond(response, more=True) begins one')
        try:
            sent = http.send(h11.Data(data=data)) if data else b''
            end = b'' if more else http.send(h11.EndOfMessage())
        except h11.LocalProtocolError as exc:
            raise ValueError(f"this body can't be sent: {exc}") from exc
        return sent + end

    def next(self) -> Request | None:
        """Begin the next request of the connection, and return it if it is here already: clients may pipeline.

        Raises:
            HandshakeError: as `receive` does.
            InvalidState: not while `keep_alive` is False.
        """
        http = self._http
        if http is None or not self.keep_alive:
            raise InvalidState('this connection carries no further request: see keep_alive')
        http.start_next_cycle()
        self.request = self._head = self._body = None
        self._method = b''
        self._offer = self._values = None
        self._answered = False
        self._received = len(http.trailing_data[0])
        return self._read(http)

    def _match_upgrade_request(self, data: bytes) -> bool:
        """Read an upgrade request in its usual form without h11; returns whether `data` is one."""
        match = _upgrade_request(data)
        if match is None:
            return False
        end = match.end()
        if end > self._max_header_size:
            return False
        target, fields = match.groups()
        block = b'\n%b' % fields.replace(b'\r\n', b'\n')
        values = _values_of(block)
        if len(values.get('host', ())) != 1 or 'upgrade' not in values:
            return False
        if 'content-length' in values or 'transfer-encoding' in values:
            return False
        self.request = parsed_request(target.decode('ascii'), parsed_headers(block))
        self._values = values
        self._method = b'GET'
        self._received = len(data)
        self._raw_request = data
        self._trailing = data[end:]
        return True

    def _read(self, http: h11.Connection) -> Request | None:
        """Read what is buffered, up to the end of the current request."""
        try:
            if self._head is None:
                event = http.next_event()
                if not isinstance(event, h11.Request):
                    return None  # more is needed, or the client closed after its last request
                self._read_head(event, http)
            if self._body is not None:
                while True:
                    event = http.next_event()
                    if isinstance(event, h11.Data):
                        self._body += event.data
                        if len(self._body) > self._max_body_size:
                            self._fail(413, f'the body is larger than {self._max_body_size} bytes')
                    elif isinstance(event, h11.EndOfMessage):
                        break
                    else:
                        return None
        except h11.RemoteProtocolError as exc:
            self._fail_parsing(exc)
        head = self._head
        if head is not None and self._body:
            head = Request(head.method, head.target, head.headers, bytes(self._body), head.http_version)
        self.request = head
        self._body = None
        return head

    def _read_head(self, event: h11.Request, http: h11.Connection) -> None:
        """Check a request's head, and whether a body follows."""
        self._method = event.method
        version = event.http_version
        headers = read_headers(event)
        if self._received > self._max_header_size:
            size = self._received - len(http.trailing_data[0])
            if size > self._max_header_size:
                self._fail(431, f'request line and headers have {size} bytes; {self._max_header_size} are allowed')
        if version[:1] != b'1':
            self._fail(505, f'this is HTTP/{version.decode()}; this server speaks HTTP/1.1')
        if event.method == b'CONNECT':  # after a 2xx, the connection would no longer speak HTTP (RFC 9110 9.3.6)
            self._fail(501, 'CONNECT asks for a tunnel, and this server is not a proxy')
        folded = header_block(headers).lower()  # most requests have neither field: two searches tell
        length = headers['content-length'] if b'\ncontent-length:' in folded else None
        if b'\ntransfer-encoding:' in folded:
            if length is not None:
                # Request smuggling: a proxy may have used the other field to find the end (RFC 9112 6.3).
                self._fail(
                    400, 'the request has both Content-Length and Transfer-Encoding: only one may say where it ends'
                )
            self._body = bytearray()
        elif length is not None and length != '0':
            if int(length) > self._max_body_size:
                self._fail(413, f'the body has {length} bytes; {self._max_body_size} are allowed')
            self._body = bytearray()
        method = sys.intern(event.method.decode('ascii'))
        target = event.target.decode('ascii')
        if target[0] != '/':
            try:
                target, headers = in_origin_form_with_host(method, target, headers)
            except ValueError as exc:
                self._fail(400, str(exc))
        self._head = Request(method, target, headers, b'', '1.1' if version == b'1.1' else version.decode())

    def _fail_parsing(self, exc: h11.RemoteProtocolError) -> NoReturn:
        http = self._http
        status = exc.error_status_hint
        if status == 431:
            self._fail(431, f'request line or headers are longer than {self._max_header_size} bytes')
        if http is not None and http.trailing_data[0][:2] == b'\x16\x03':
            self._fail(
                400, 'this is TLS, on a port that speaks plain HTTP: use ws:// here, or give the server a certificate'
            )
        if http is not None and http.trailing_data[1]:
            self._fail(400, 'the connection ended in the middle of the request')
        self._fail(status, f'this is not a valid HTTP/1.1 request: {cut(str(exc), 160)}')

    def _fail(self, status: int, message: str) -> NoReturn:
        self._failed = True
        raise _invalid(status, message, InvalidMessage, ())

    def _parser(self) -> h11.Connection:
        """h11's connection, which has seen all that came."""
        http = self._http
        if http is None:
            if self._answered:
                raise InvalidState('the handshake is over: what comes now are frames')
            http = self._http = h11.Connection(h11.SERVER, self._max_header_size)
            if self._raw_request:
                http.receive_data(self._raw_request)
                http.next_event()
                self._raw_request = b''
        return http

    def _field_values(self, request: Request) -> _Values:
        """The header fields of `request`, which is the current one."""
        if self._values is None:
            self._values = _values_of(header_block(request.headers))
        return self._values

    def _pending_request(self) -> Request:
        if self._answered:
            raise InvalidState('this request has been answered already')
        if self.request is None:
            raise InvalidState('there is no request to answer yet: receive() returns it')
        return self.request


def accepted_handshake(request: Request, extensions: Sequence[Extension]) -> ServerHandshake:
    """The handshake of a connection that is open, as `accept` leaves it."""
    handshake = ServerHandshake()
    handshake.request = request
    handshake.agreed_extensions = extensions
    handshake._answered = True
    return handshake


# Answers


def switching_protocols(request: Request, *, subprotocol: str | None = None, extensions: str | None = None) -> Response:
    """The 101 as a value, for a caller who changes it before it is sent.

    Args:
        request: a request that `ServerHandshake.check` has found valid.
        subprotocol: the one chosen, or None.
        extensions: the ``Sec-WebSocket-Extensions`` value, or None.
    """
    fields = _switching_fields(request.headers['sec-websocket-key'], subprotocol, extensions)
    return Response(101, parsed_headers(b'\n%b' % fields.replace(b'\r\n', b'\n')))


def _switching_fields(key: str, subprotocol: str | None, extensions: str | None) -> bytes:
    """The header fields of a 101 that the handshake sets (RFC 6455 section 4.2.2, item 5)."""
    fields = _UPGRADE_FIELDS % accept_value(key.encode('ascii'))
    if subprotocol is not None:
        fields += b'Sec-WebSocket-Protocol: %b\r\n' % subprotocol.encode('ascii')
    if extensions:
        fields += b'Sec-WebSocket-Extensions: %b\r\n' % extensions.encode('ascii')
    return fields


def refusal_for(exc: Exception) -> Response:
    """The answer to a request whose handshake failed: the one that `exc` carries, 400 for a NegotiationError, else 500.

    An exception that is not the peer's mistake says nothing in the answer: it may name things of the program.
    """
    if isinstance(exc, HandshakeError) and exc.response is not None:
        refusal: Response = exc.response
        return refusal
    if isinstance(exc, HandshakeError):
        own = [(name, value) for name, value in exc.headers.items() if name.lower() not in _BODY_FIELDS]
        return _refusal(exc.status or 400, str(exc), own)
    if isinstance(exc, NegotiationError):
        return _refusal(400, str(exc))
    return _refusal(500, 'internal error')


def _refusal(status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    return Response.text(f'{message}\n', status, headers)


def _check_offered(extensions: str, offered: ExtensionList) -> None:
    names = {name for name, _ in offered}
    for name, _ in parse_extensions(extensions):
        if name not in names:
            raise ValueError(f"the client did not offer extension {name!r}: it can't be accepted (RFC 6455 9.1)")


# Checking a request


def _values_of(block: bytes) -> _Values:
    """All values of a block of header fields by lower-case name. One pass, for a reader of many fields."""
    values: _Values = {}
    fields = block.decode('latin-1')
    folded = fields.lower()  # no character of ISO 8859-1 becomes two
    at, end = 1, len(fields)
    while at < end:
        colon = fields.find(':', at)
        line_end = fields.find('\n', at)
        name = folded[at:colon]
        value = fields[colon + 1 : line_end].strip(' \t')
        known = values.get(name)
        if known is None:
            values[name] = [value]
        else:
            known.append(value)
        at = line_end + 1
    return values


def _verified(request: Request, values: _Values) -> _Offer:
    """RFC 6455 section 4.2.1, item by item; raises HandshakeError."""
    if request.method != 'GET':
        message = f'a WebSocket is requested with GET, not {shown(request.method)}'
        raise _invalid(405, message, InvalidMethod, [('Allow', 'GET')], request.method)
    if request.http_version < '1.1':
        message = f'a WebSocket needs HTTP/1.1 or higher, this is HTTP/{request.http_version}'
        raise _invalid(400, message, InvalidProtocol, (), f'HTTP/{request.http_version}')
    hosts = values.get('host', ())
    if len(hosts) != 1:
        wrong = 'the Host header is missing' if not hosts else 'there is more than one Host header'
        raise _invalid(400, wrong, InvalidHeader, (), 'Host', ', '.join(hosts) or None)
    if not is_authority(hosts[0]):
        wrong = f'the Host header is not a valid host and port: {shown(hosts[0])}'
        raise _invalid(400, wrong, InvalidHeaderValue, (), 'Host', hosts[0])
    upgrade = _joined(values, 'upgrade')
    if upgrade != 'websocket' and not has_token(upgrade, 'websocket'):
        wrong = 'the Upgrade header is missing' if upgrade is None else f'the Upgrade header is {shown(upgrade)}'
        raise _invalid(426, f'{wrong}; here it has to be "websocket"', InvalidUpgrade, _UPGRADE, 'Upgrade', upgrade)
    connection = _joined(values, 'connection')
    if connection != 'Upgrade' and not has_token(connection, 'upgrade'):
        wrong = 'is missing' if connection is None else f'is {shown(connection)}'
        message = f'the Connection header {wrong}; it has to name "Upgrade"'
        raise _invalid(400, message, InvalidUpgrade, (), 'Connection', connection)
    keys = values.get('sec-websocket-key', ())
    if len(keys) != 1:
        wrong = (
            'the Sec-WebSocket-Key header is missing' if not keys else 'there is more than one Sec-WebSocket-Key header'
        )
        raise _invalid(400, wrong, InvalidHeader, (), 'Sec-WebSocket-Key', ', '.join(keys) or None)
    if not is_key(keys[0]):
        wrong = f'the Sec-WebSocket-Key is not 16 bytes in base64: {shown(keys[0])}'
        raise _invalid(400, wrong, InvalidHeaderValue, (), 'Sec-WebSocket-Key', keys[0])
    versions = _joined(values, 'sec-websocket-version')
    if versions != '13':
        wrong = 'header is missing' if versions is None else f'{shown(versions)} is not supported'
        message = f'the Sec-WebSocket-Version {wrong}; here it has to be 13'
        headers = [*_UPGRADE, ('Sec-WebSocket-Version', '13')]
        raise _invalid(426, message, InvalidUpgrade, headers, 'Sec-WebSocket-Version', versions)
    try:
        subprotocols = _joined(values, 'sec-websocket-protocol')
        extensions = _joined(values, 'sec-websocket-extensions')
        return (
            keys[0],
            () if subprotocols is None else parse_subprotocols(subprotocols),
            [] if extensions is None else parse_extensions(extensions),
        )
    except ValueError as exc:
        name = 'Sec-WebSocket-Extensions' if isinstance(exc, NegotiationError) else 'Sec-WebSocket-Protocol'
        raise _invalid(400, str(exc), InvalidHeader, (), name, _joined(values, name.lower())) from exc


def _invalid(
    status: int, message: str, kind: Callable[..., HandshakeError], headers: Sequence[tuple[str, str]], *about: Any
) -> HandshakeError:
    """The exception for a request that is not valid, with its answer; `about` is what the kind is made of."""
    response = _refusal(status, message, headers)
    answer = {'headers': response.headers, 'body': response.body, 'response': response}
    made: HandshakeError = kind(*about, message=message, status=status, **answer)
    return made


def _joined(values: _Values, name: str) -> str | None:
    found = values.get(name)
    if found is None:
        return None
    return found[0] if len(found) == 1 else ', '.join(found)


_UPGRADE = (('Upgrade', 'websocket'), ('Connection', 'Upgrade'))
_BODY_FIELDS = ('content-type', 'content-length')
