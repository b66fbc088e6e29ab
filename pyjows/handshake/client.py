"""The client's side of the opening handshake: writes the request, checks the answer (RFC 6455 section 4.1).

Owns what a client asks for, which 101 it accepts, extensions included, and the error for every other answer. Must not
know where the bytes go.

As on the server's side, h11 reads what is not usual: every answer but a 101 that came whole, which one regular
expression reads. That is narrower than h11's grammar: what it matches, h11 would read with the same result. The request
is a format string, of headers that were checked when they were given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import h11

from .._text import TOKEN, cause_of, checked_token, cut, printable, shown
from ..errors import (
    HandshakeError,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
)
from ..extensions import (
    Extension,
    ExtensionFactory,
    ExtensionList,
    agree_client,
    offer_header,
    parse_extensions,
)
from ..http11 import (
    USER_AGENT,
    Headers,
    HeadersLike,
    Request,
    Response,
    has_token,
    parsed_headers,
    serialized_headers,
)
from ..url import URL, parse_url
from .fields import accept_key, extra_headers, generate_key, is_key, read_headers

__all__ = ['ClientHandshake', 'negotiation_close']

_HTTP = b'HTTP/'

_REQUEST = b'GET %b HTTP/1.1\r\n%b\r\n'
_switching = re.compile(
    rb'HTTP/1\.1 101 ([^\x00\n\r\x0b\x0c]*+)\r\n((?:%b:[^\x00\n\r\x0b\x0c]*+\r\n)++)\r\n' % TOKEN.encode()
).match

# The first byte of a TLS record: an alert, or a part of a handshake (RFC 8446 section 5.1).
_TLS_RECORDS = (0x15, 0x16)

# Bytes of an answer that is not HTTP which the error shows.
_MAX_SHOWN = 40


class ClientHandshake:
    """The client's side: writes the request, checks the answer.

    ::

        handshake = ClientHandshake('ws://example.com/chat', subprotocols=['v2', 'v1'])
        send(handshake.send())
        response = handshake.receive(data)                  # None: not all here yet
        if response is not None:                            # 101: frames from here on
            print(handshake.subprotocol, handshake.trailing_data)

    Args:
        url: where to; a `str`, a `URL`, or ``(host, target)`` as they are to stand in the request.
        headers: more headers. Host, Origin, User-Agent and Authorization replace those that would be sent otherwise.
        subprotocols: names to offer, most wanted first.
        extensions: the `ExtensionFactory` objects whose extensions are offered, most wanted first; or, for a caller who
            negotiates, a ``Sec-WebSocket-Extensions`` value.
        origin: the ``Origin`` header, or None.
        user_agent: the ``User-Agent`` header, or None.
        key: the ``Sec-WebSocket-Key``; by default a fresh random one.
        max_header_size: bytes of the answer's status line and headers, 16 KiB by default.
        max_body_size: bytes of its body that are kept if it is not a 101, 256 KiB by default.

    Attributes:
        request: the request as it is sent.
        response: the server's 101; None before.
        subprotocol: the one that the server chose, or None.
        extensions: those that the server accepted, parsed.
        agreed_extensions: the `Extension` objects of this connection that come of them; none where `extensions` was
            given as a header value.
        trailing_data: what came after the 101: the first frames.
        cause: the exception that broke the connection before the answer, if the caller sets it; a part of the error.

    Raises:
        ValueError: an argument is malformed, or a header is one that the handshake sets.
        TypeError: `subprotocols` is a single `str`.
    """

    __slots__ = (
        '_body',
        '_factories',
        '_first',
        '_head',
        '_http',
        '_is_over',
        '_is_secure',
        '_is_sent',
        '_max_body_size',
        '_max_header_size',
        '_offered',
        '_unread',
        'agreed_extensions',
        'cause',
        'extensions',
        'request',
        'response',
        'subprotocol',
        'trailing_data',
    )

    request: Request
    response: Response | None
    subprotocol: str | None
    extensions: ExtensionList
    agreed_extensions: list[Extension]
    trailing_data: bytes
    cause: BaseException | None

    def __init__(
        self,
        url: str | URL | tuple[str, str],
        *,
        headers: HeadersLike = (),
        subprotocols: Sequence[str] = (),
        extensions: Sequence[ExtensionFactory] | str | None = None,
        origin: str | None = None,
        user_agent: str | None = USER_AGENT,
        key: str | None = None,
        max_header_size: int = 16384,
        max_body_size: int = 262144,
    ) -> None:
        self.cause = None
        authorization = None
        if isinstance(url, tuple):
            host, target = url
        else:
            url = parse_url(url) if isinstance(url, str) else url
            host, target, authorization = url.host_header, url.target, url.authorization
        extra = extra_headers(headers, 'subprotocols=, extensions= or key=')
        self._factories: Sequence[ExtensionFactory] | None = None
        if extensions is not None and not isinstance(extensions, str):
            self._factories = extensions
            extensions = offer_header(extensions)
        fields: list[tuple[str | bytes, str | bytes | None]] = [
            ('Host', host),
            ('Upgrade', 'websocket'),
            ('Connection', 'Upgrade'),
            ('Sec-WebSocket-Key', generate_key() if key is None else _checked_key(key)),
            ('Sec-WebSocket-Version', '13'),
            ('Sec-WebSocket-Protocol', _offer_subprotocols(subprotocols)),
            ('Sec-WebSocket-Extensions', extensions or None),
            ('Origin', origin),
            ('User-Agent', user_agent),
            ('Authorization', authorization),
        ]
        self._offered = frozenset(name for name, _ in parse_extensions(extensions)) if extensions else frozenset()
        wanted = [(name, value) for name, value in fields if value is not None and name not in extra]
        self.request = Request('GET', target, Headers([*wanted, *extra.raw]))
        self._is_secure = isinstance(url, URL) and url.secure
        # What the answer says, once it is here and valid.
        self.response = None
        self.subprotocol = None
        self.extensions = []
        self.agreed_extensions = []
        self.trailing_data = b''
        # How far the handshake is, and what was read of the answer.
        self._http: h11.Connection | None = None  # made when an answer comes that h11 has to read
        self._is_sent = False
        self._is_over = False
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._head: Response | None = None  # an answer other than 101, while its body is still coming
        self._body = bytearray()
        self._unread = 0
        self._first = b''  # what the answer begins with

    @property
    def refusal(self) -> Response | None:
        """An answer other than 101, with as much of its body as has come; None before its head has come."""
        head = self._head
        return None if head is None else Response(head.status, head.headers, bytes(self._body), head.reason)

    def send(self) -> bytes:
        """The request as bytes. InvalidState the second time."""
        if self._is_over or self._is_sent:
            raise InvalidState('the request has been sent already: one handshake makes one request')
        request = self.request
        fields = serialized_headers(request.headers)
        # h11 puts the Host header first, wherever it stands, and refuses a second one.
        is_usual = self._http is None and fields.startswith(b'Host:')
        sent = _REQUEST % (request.target.encode('ascii'), fields) if is_usual else self._send_by_h11()
        self._is_sent = True
        return sent

    def receive(self, data: bytes) -> Response | None:
        """Take bytes as they come from the socket.

        Returns:
            The 101, once it has come whole and passes every check of RFC 6455 section 4.1; None as long as more is
            needed. Informational answers ahead of it are skipped.

        Raises:
            HandshakeError: any other answer (after its body has come, or `max_body_size` of it), with `status`,
                `headers` and `body`; a redirect is one too, its target is ``error.headers['location']``. Or an answer
                that is not valid HTTP (`status` None), or a 101 that breaks the rules; where it is the extensions that
                could not be agreed on, its cause is a `NegotiationError`.
            InvalidState: the handshake has succeeded: further bytes are frames.
        """
        if self.response is not None:
            raise InvalidState('the handshake is over: what comes now are frames')
        if not data or self._is_over:
            return None
        if not self._first and self._is_sent and (answer := self._match_switching(data)) is not None:
            return answer
        if len(self._first) < _MAX_SHOWN:
            self._first += data[: _MAX_SHOWN - len(self._first)]
            self._check_protocol()
        http = self._parser()
        http.receive_data(data)
        self._unread += len(data)
        return self._read(http)

    def eof(self) -> None:
        """The server ended its half of the connection, which may also end an answer's body.

        Raises:
            HandshakeError: the handshake was not over; with the answer, as far as it came.
        """
        if self._is_over:
            return
        http = self._parser()
        http.receive_data(b'')
        self._read(http)
        raise self.unanswered()

    def unanswered(self) -> HandshakeError:
        """The error for a connection that is over before the server's answer, or before the end of its body."""
        if self._head is not None:
            return self._unexpected_status()
        self._end_handshake()
        message = 'the connection was closed before the server answered the handshake'
        is_by_server = self.cause is None or isinstance(self.cause, ConnectionError)
        if is_by_server and not self._first and not self._is_secure:
            message += '; a server that expects TLS does that, then wss:// is right instead of ws://'
        if self.cause is not None:
            message += f': {cause_of(self.cause)}'
        error = InvalidMessage(message)
        error.__cause__ = self.cause
        return error

    def _send_by_h11(self) -> bytes:
        """Tell h11 of the request; returns it as bytes."""
        request = self.request
        http = self._http
        if http is None:
            http = self._http = h11.Connection(h11.CLIENT, self._max_header_size)
        event = h11.Request(method=request.method, target=request.target, headers=request.headers.raw)
        return http.send(event) + http.send(h11.EndOfMessage())

    def _parser(self) -> h11.Connection:
        """h11's connection, which knows the request if it was sent."""
        http = self._http
        if http is None:
            http = self._http = h11.Connection(h11.CLIENT, self._max_header_size)
            if self._is_sent:
                self._send_by_h11()
        return http

    def _match_switching(self, data: bytes) -> Response | None:
        """Read a 101 in its usual form, whole, without h11; None if `data` is anything else."""
        match = _switching(data)
        if match is None or match.end() > self._max_header_size:
            return None
        reason, fields = match.groups()
        headers = parsed_headers(b'\n%b' % fields.replace(b'\r\n', b'\n'))
        if 'content-length' in headers or 'transfer-encoding' in headers:
            return None
        return self._accept(Response(101, headers, b'', reason.decode('latin-1')), data[match.end() :])

    def _accept(self, answer: Response, trailing_data: bytes) -> Response:
        """Check a 101, which ends the handshake."""
        self._check(answer)
        self._end_handshake()
        self.trailing_data = trailing_data
        self.response = answer
        return answer

    def _end_handshake(self) -> None:
        self._http = None
        self._is_over = True

    def _read(self, http: h11.Connection) -> Response | None:
        """Read what h11 has: the 101, once it is complete; raises HandshakeError for every other answer."""
        try:
            while True:
                event = http.next_event()
                if isinstance(event, (h11.InformationalResponse, h11.Response)):
                    unread = len(http.trailing_data[0])
                    size, self._unread = self._unread - unread, unread
                    if size > self._max_header_size:
                        self._fail(f"the answer's headers have {size} bytes; {self._max_header_size} are allowed")
                    reason = event.reason.decode('latin-1')
                    head = Response(event.status_code, read_headers(event), b'', reason)
                    if head.status == 101:
                        if event.http_version < b'1.1':
                            version = event.http_version.decode()
                            self._fail(f'the server answered 101 in HTTP/{version}; that status needs HTTP/1.1', head)
                        return self._accept(head, bytes(http.trailing_data[0]))
                    if head.status >= 200:
                        self._head = head
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) >= self._max_body_size:
                        del self._body[self._max_body_size :]
                        raise self._unexpected_status()
                elif isinstance(event, h11.EndOfMessage):
                    raise self._unexpected_status()
                else:
                    return None
        except h11.RemoteProtocolError as exc:
            if self._head is not None:
                raise self._unexpected_status() from None  # the body is incomplete, but status and headers are there
            if http.trailing_data[1]:
                raise self.unanswered() from None
            if exc.error_status_hint == 431:
                self._fail(f"the answer's status line or headers are longer than {self._max_header_size} bytes")
            self._fail(f'the server did not answer in HTTP/1.1: {cut(str(exc), 160)}')

    def _check_protocol(self) -> None:
        """Name what is not HTTP by its first bytes; h11 would wait for the end of a line, and call it illegal."""
        first = self._first
        if first.startswith(_HTTP) or _HTTP.startswith(first):
            return
        if first[0] in _TLS_RECORDS and first[1:2] in (b'', b'\x03'):
            self._fail(f'the server sent {first!r}, which is TLS and not HTTP: connect with wss:// instead of ws://')
        self._fail(f'the server sent {first!r}, not HTTP')

    def _check(self, answer: Response) -> None:
        """RFC 6455 section 4.1, what the client must check in a 101."""
        headers = answer.headers
        upgrade = headers.get('upgrade')
        if upgrade is None or upgrade.lower() != 'websocket':
            wrong = f'the server\'s Upgrade header has to be "websocket", it is {shown(upgrade)}'
            self._fail(wrong, answer, InvalidUpgrade, 'Upgrade', upgrade)
        connection = headers.get('connection')
        if not has_token(connection, 'upgrade'):
            wrong = f'the server\'s Connection header has to name "Upgrade", it is {shown(connection)}'
            self._fail(wrong, answer, InvalidUpgrade, 'Connection', connection)
        wanted = accept_key(self.request.headers['sec-websocket-key'])
        if headers.get_all('sec-websocket-accept') != [wanted]:
            got = headers.get('sec-websocket-accept')
            wrong = f'it has to be {wanted!r}, it is {shown(got)}'
            wrong = f"the server's Sec-WebSocket-Accept does not answer our key: {wrong}"
            kind = InvalidHeader if got is None else InvalidHeaderValue
            self._fail(wrong, answer, kind, 'Sec-WebSocket-Accept', got)
        chosen = headers.get('sec-websocket-protocol')
        if chosen is not None and chosen not in self.request.subprotocols:
            offered = list(self.request.subprotocols)
            self._fail(
                f'the server chose subprotocol {shown(chosen)}, which was not offered; offered: {offered!r}', answer
            )
        self._check_extensions(answer, headers.get('sec-websocket-extensions'))
        self.subprotocol = chosen

    def _check_extensions(self, answer: Response, header: str | None) -> None:
        """The extensions that the server accepted (RFC 6455 section 9.1)."""
        try:
            accepted = [] if header is None else parse_extensions(header)
            if self._factories is not None:
                self.agreed_extensions = agree_client(self._factories, accepted)
            else:
                for name, _ in accepted:
                    if name not in self._offered:
                        raise NegotiationError(f'the server accepted extension {shown(name)}, which was not offered')
        except NegotiationError as exc:
            self._fail(str(exc), answer, cause=exc)
        self.extensions = accepted

    def _unexpected_status(self) -> InvalidStatus:
        """The error for an answer other than 101, with as much of its body as has come."""
        self._end_handshake()
        head = self._head
        assert head is not None
        phrase = f' {printable(head.reason)}' if head.reason else ''
        where = f' (to {shown(head.headers["location"])})' if 'location' in head.headers else ''
        message = f'the server answered {head.status}{phrase}{where} instead of 101 Switching Protocols'
        if head.status == 400 and b'HTTPS' in self._body:
            message += ': it speaks TLS there, connect with wss:// instead of ws://'
        elif head.status == 401:
            what = 'others than those given' if 'authorization' in self.request.headers else 'credentials'
            message += f": it wants {what}, user:password@ in the URL or headers={{'Authorization': …}}"
        elif head.status == 426 and 'sec-websocket-version' in head.headers:
            versions = shown(head.headers['sec-websocket-version'])
            message += f': it speaks versions {versions} of the protocol, and pyjows speaks 13 (RFC 6455)'
        return InvalidStatus(Response(head.status, head.headers, bytes(self._body), head.reason), message=message)

    def _fail(
        self,
        message: str,
        answer: Response | None = None,
        kind: Callable[..., HandshakeError] = HandshakeError,
        *about: Any,
        cause: NegotiationError | None = None,
    ) -> NoReturn:
        self._end_handshake()
        if answer is None:
            raise InvalidMessage(message)
        known = {'status': answer.status, 'headers': answer.headers, 'body': answer.body, 'response': answer}
        raise kind(*about, message=message, **known) from cause


def negotiation_close(exc: BaseException, request: Request | None) -> tuple[int, str] | None:
    """The close frame with which a client refuses a server's 101 (RFC 6455 sections 7.1.7 and 7.4.1).

    Args:
        exc: why the handshake failed.
        request: the request of the client.

    Returns:
        The code and the reason of the close frame: 1010, with the extensions that were offered, where the extensions
        could not be agreed on. None for all other failures, where the connection is closed without a frame.
    """
    cause = exc.__cause__
    if not isinstance(cause, NegotiationError):
        return None
    offered = dict.fromkeys(name for name, _ in request.extensions) if request is not None else ()
    return cause.code, f'needed: {", ".join(offered)}; {cause}' if offered else str(cause)


def _checked_key(key: str) -> str:
    if not is_key(key):
        raise ValueError(
            f'{shown(key)} is not a valid Sec-WebSocket-Key: it has to be 16 bytes in base64, as generate_key() returns'
        )
    return key


def _offer_subprotocols(names: Sequence[str]) -> str | None:
    """The ``Sec-WebSocket-Protocol`` that offers these names; None for none."""
    if isinstance(names, str):
        raise TypeError(f'subprotocols is a list of names, not the str {names!r}: write [{names!r}]')
    for name in names:
        checked_token(name, 'subprotocol name')
    if len(set(names)) != len(names):
        raise ValueError(f'a subprotocol may be offered only once: {list(names)!r} (RFC 6455 4.1)')
    return ', '.join(names) or None
