"""The opening handshake: HTTP/1.1 Upgrade, both sides (RFC 6455 sections 4, 9.1 and 11.3).

This file owns everything between the first byte of a connection and its first frame: which request asks for a
WebSocket, which answer grants it, what is said to those who asked wrongly, and the plain HTTP requests that share the
port. It knows no frame and no socket: bytes go in, a `Request` or a `Response` comes out, and the answer is bytes
again. What an extension means, and how its header is read, is known to `extensions.py`, what a URL says to `url.py`.

HTTP is h11's work: requests, bodies and answers, content length, HEAD, chunks and keep-alive are its rules to know.
Two messages go past it, because every connection needs them and h11 would be half of what a connection costs the
server. The 101 has a fixed shape, which a format string makes. And an upgrade request that came whole, in the shape in
which it is always written, is recognised at sight: by one pattern that is narrower than h11's grammar, so that what it
takes h11 would take too, and read the same. Whatever it does not know at sight goes to h11, which alone says what is
wrong with a request; and so does a recognised one that is answered with anything but the 101.

What a connection keeps for the rest of its life is the `Request`, whose headers are one `bytes` object, searched where
it lies (`Headers`).

Two rules hold for both sides:

- **Memory is bounded.** Heads end at `max_header_size`, bodies at `max_body_size`, and what comes after an unanswered
  request may not be longer than both. None of it waits for a peer's good will.
- **A wrong peer is an answer, not a crash.** The server's `receive()` raises `HandshakeError` with a `response` to
  send; the client's raises it with the status, headers and body that the server sent.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar, overload
from urllib.parse import parse_qs, unquote

import h11

from . import _json
from .errors import (
    HandshakeError,
    InvalidHeader,
    InvalidMessage,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
)
from .extensions import ExtensionList, format_extensions, parse_extensions
from .url import URL, parse_url

__all__ = [
    'USER_AGENT',
    'ClientHandshake',
    'ExtensionList',
    'Headers',
    'HeadersLike',
    'Request',
    'Response',
    'ServerHandshake',
    'accept_key',
    'format_extensions',
    'generate_key',
    'parse_extensions',
    'parse_subprotocols',
]

HeadersLike = Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str | bytes, str | bytes]]
"""What headers can be made of: a `Headers`, a mapping, or pairs (which may repeat a name)."""

USER_AGENT = f'Python/{sys.version_info[0]}.{sys.version_info[1]} pyjows'
"""The ``User-Agent`` of a client that names no other."""

_T = TypeVar('_T')

_GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_token = re.compile(_TOKEN).fullmatch
_field_name = re.compile(_TOKEN.encode()).fullmatch
_field_value = re.compile(rb'[^\x00\n\r\x0b\x0c]*').fullmatch  # no line ends, nothing that a reader takes for one
_target = re.compile(r'[\x21-\x7e]+').fullmatch
_reason = re.compile(r'[^\x00\n\r\x0b\x0c\u0100-\U0010ffff]*').fullmatch
_key = re.compile(r'[A-Za-z0-9+/]{22}==').fullmatch
_host = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]+)(?::[0-9]*)?").fullmatch


# Headers, requests, responses


class Headers(Mapping[str, str]):
    """HTTP header fields: case-insensitive, in order, repeats kept; immutable and small.

    ::

        headers = Headers({'Host': 'example.com', 'Accept': 'text/html'})
        headers['host']                     # 'example.com'
        headers.get('origin')               # None
        dict(headers)                       # {'host': 'example.com', 'accept': 'text/html'}
        Headers([('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')]).get_all('set-cookie')   # ['a=1', 'b=2']

    As a mapping it goes from lower-case names to values, those of a repeated name joined with ``', '`` (RFC 9110
    section 5.3); `get_all` and `raw` have them apart. Values are ISO 8859-1, which loses no byte. Two are equal if they
    hold the same values under the same names.

    Args:
        headers: a mapping or pairs, of `str` or `bytes`.

    Raises:
        ValueError: a name is no token, or a value holds a line end, NUL, or a character beyond ISO 8859-1.
        TypeError: a name or value is neither `str` nor `bytes`.
    """

    # All of it is one bytes object, b'\nHost:example.com\nAccept: text/html\n', the blanks around a value as they came.
    # A value can hold no line feed, so b'\nhost:' in the lower-cased block can only be a field of that name: a search
    # in C instead of a dict for every open connection.
    __slots__ = ('_block',)

    _block: bytes

    def __init__(self, headers: HeadersLike = ()) -> None:
        if isinstance(headers, Headers):
            self._block = headers._block
            return
        pairs: Iterable[tuple[str | bytes, str | bytes]]
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._block = b'\n%b' % b''.join([_field(name, value) for name, value in pairs])

    @classmethod
    def _parsed(cls, block: bytes) -> Headers:
        """Headers of a block that was checked already."""
        headers = cls.__new__(cls)
        headers._block = block
        return headers

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name, in order; an empty list if there is none."""
        block = self._block
        folded = block.lower()
        wanted = b'\n%b:' % name.encode('ascii', 'replace').lower()
        found: list[str] = []
        at = folded.find(wanted)
        while at >= 0 and ':' not in name:
            at += len(wanted)
            found.append(block[at : block.index(b'\n', at)].decode('latin-1').strip(' \t'))
            at = folded.find(wanted, at)
        return found

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str) -> str: ...
    @overload
    def get(self, name: str, /, default: _T) -> str | _T: ...
    def get(self, name: str, /, default: object = None) -> object:
        """The value of that name (repeated ones joined with ``', '``), else `default`."""
        values = self.get_all(name)
        if not values:
            return default
        return values[0] if len(values) == 1 else ', '.join(values)

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """All fields in order, as ``(name, value)`` in bytes, names in the case they were given in."""
        pairs = [line.partition(b':') for line in self._block[1:-1].split(b'\n')]
        return [(name, value.strip(b' \t')) for name, colon, value in pairs if colon]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode('ascii').lower() for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.raw})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._block == other._block or dict(self.items()) == dict(other.items())
        if isinstance(other, Mapping):
            return dict(self.items()) == {str(name).lower(): value for name, value in other.items()}
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f'Headers({[(name.decode("ascii"), value.decode("latin-1")) for name, value in self.raw]!r})'


def _field(name: str | bytes, value: str | bytes) -> bytes:
    """One field as it stands in the block, checked: what h11 would refuse, or a reader split, never gets in."""
    if not isinstance(name, (str, bytes)) or not isinstance(value, (str, bytes)):
        raise TypeError(f'header names and values are str or bytes, not {name!r}: {value!r}')
    raw_name = name.encode('ascii', 'replace') if isinstance(name, str) else name
    if not _field_name(raw_name):
        raise ValueError(
            f"{name!r} is no header name: it may hold letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.6.2)"
        )
    try:
        raw_value = (value.encode('latin-1') if isinstance(value, str) else value).strip(b' \t')
    except UnicodeEncodeError:
        raise ValueError(
            f'the value of header {name!r} has characters beyond ISO 8859-1: {value!r}; percent-encode or base64 them'
        ) from None
    if not _field_value(raw_value):
        raise ValueError(f'the value of header {name!r} has a line end or NUL in it: {value!r}')
    return b'%b:%b\n' % (raw_name, raw_value)


def _block(event: h11.Request | h11.Response | h11.InformationalResponse) -> bytes:
    """The block of the headers that h11 has read."""
    return b'\n%b\n' % b'\n'.join([b':'.join(pair) for pair in event.headers.raw_items()])


def _values(block: bytes) -> dict[str, list[str]]:
    """A block as a dict of lower-case names: one pass, for those who look at many fields."""
    values: dict[str, list[str]] = {}
    for line in block.decode('latin-1').split('\n'):
        name, _, value = line.partition(':')
        values.setdefault(name.lower(), []).append(value.strip(' \t'))
    return values


def _wire(headers: Headers) -> bytes:
    """The fields as HTTP writes them."""
    return b''.join([b'%b: %b\r\n' % pair for pair in headers.raw])


@dataclass(frozen=True, slots=True, init=False)
class Request:
    """An HTTP request. What can be derived from it is computed when asked for, so that it stays small.

    Attributes:
        method: ``'GET'`` and the like, in the case it was sent in.
        target: as it stands in the request line: ``'/chat?room=1'``.
        headers: the header fields.
        body: the whole body.
        http_version: ``'1.1'`` or ``'1.0'``.

    Raises:
        ValueError: the method is no token, the target is empty or holds anything but visible ASCII, or a header is bad.
    """

    method: str
    target: str
    headers: Headers
    body: bytes = field(repr=False)
    http_version: str

    def __init__(
        self, method: str, target: str, headers: HeadersLike = (), body: bytes = b'', http_version: str = '1.1'
    ) -> None:
        if not _token(method):
            raise ValueError(f"{method!r} is no HTTP method: it may hold letters, digits and !#$%&'*+-.^_`|~")
        if not _target(target):
            raise ValueError(f'{target!r} is no request target: it needs visible ASCII only, the rest percent-encoded')
        init = object.__setattr__
        init(self, 'method', method)
        init(self, 'target', target)
        init(self, 'headers', headers if isinstance(headers, Headers) else Headers(headers))
        init(self, 'body', body)
        init(self, 'http_version', http_version)

    @property
    def path(self) -> str:
        """The path of the target, percent-decoded as UTF-8: ``'/chat'``. `target` has it as it was sent."""
        return unquote(self._split()[1])

    @property
    def query(self) -> str:
        """The query of the target, as it was sent, without its question mark; ``''`` if there is none."""
        return self._split()[2]

    @property
    def query_params(self) -> dict[str, list[str]]:
        """The query as form fields, decoded: ``{'room': ['1']}``."""
        return parse_qs(self.query, keep_blank_values=True)

    @property
    def host(self) -> str | None:
        """The authority asked for, ``'example.com:3000'``: that of an absolute target, else the ``Host`` header."""
        return self._split()[0] or self.headers.get('host')

    @property
    def origin(self) -> str | None:
        """The ``Origin`` header: the page that a browser sends this request for (RFC 6454)."""
        return self.headers.get('origin')

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, most wanted first. ValueError if the header is malformed."""
        header = self.headers.get('sec-websocket-protocol')
        return () if header is None else tuple(parse_subprotocols(header))

    @property
    def extensions(self) -> ExtensionList:
        """The extensions that the client offers, most wanted first. ValueError if the header is malformed."""
        header = self.headers.get('sec-websocket-extensions')
        return [] if header is None else parse_extensions(header)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, values as they were sent but for enclosing quotes; of a repeated name the first (RFC 6265)."""
        cookies: dict[str, str] = {}
        for pair in ';'.join(self.headers.get_all('cookie')).split(';'):
            name, equals, value = pair.partition('=')
            if equals:
                value = value.strip()
                quoted = len(value) > 1 and value[0] == value[-1] == '"'
                cookies.setdefault(name.strip(), value[1:-1] if quoted else value)
        return cookies

    @property
    def is_upgrade(self) -> bool:
        """Whether the client asks for a WebSocket, however badly: its ``Upgrade`` names ``websocket``."""
        return _has_token(self.headers.get('upgrade'), 'websocket')

    def _split(self) -> tuple[str, str, str]:
        """Authority, path and query. A server has to take the absolute form as well (RFC 9112 section 3.2.2)."""
        target = self.target
        authority = ''
        if target[0] != '/' and '://' in target:
            rest = target.partition('://')[2]
            end = min(at for at in (rest.find('/'), rest.find('?'), len(rest)) if at >= 0)
            authority = rest[:end].rpartition('@')[2]
            target = rest[end:]
        path, _, query = target.partition('?')
        return authority, path or '/', query


@dataclass(frozen=True, slots=True, init=False)
class Response:
    """An HTTP response: what a ``request`` handler returns, and what a client was answered.

    ::

        Response(204)
        Response.text('all is well\\n')
        Response.html('<h1>Chat</h1>')
        Response.json({'connections': 3})
        Response(302, {'Location': '/chat'})
        Response(200, {'Content-Type': 'image/png'}, png)

    Content-Length, Connection and Date are added where the response is sent.

    Args:
        status: 100 to 999; a `http.HTTPStatus` will do.
        headers: a mapping or pairs.
        body: `bytes`, or a `str` that is sent as UTF-8 (as ``text/plain; charset=utf-8`` if `headers` names no type).
        reason: the reason phrase; None for the usual one.

    Raises:
        ValueError: a bad status, header or reason.
        TypeError: the body is neither `bytes` nor `str`.
    """

    status: int
    headers: Headers
    body: bytes = field(repr=False)
    reason: str

    def __init__(
        self, status: int = 200, headers: HeadersLike = (), body: bytes | str = b'', reason: str | None = None
    ) -> None:
        if not isinstance(status, int) or not 100 <= status <= 999:
            raise ValueError(f'{status!r} is no HTTP status: it has to be an int from 100 to 999')
        if reason is None:
            reason = _PHRASES.get(status, '')
        elif not _reason(reason):
            raise ValueError(
                f'{reason!r} is no reason phrase: it may hold no line end, NUL or character beyond ISO 8859-1'
            )
        headers = headers if isinstance(headers, Headers) else Headers(headers)
        if isinstance(body, str):
            body = body.encode('utf-8')
            if 'content-type' not in headers:
                headers = Headers([*headers.raw, (b'Content-Type', b'text/plain; charset=utf-8')])
        elif isinstance(body, (bytearray, memoryview)):
            body = bytes(body)
        elif not isinstance(body, bytes):
            raise TypeError(f'a body is str or bytes, not {type(body).__name__}; Response.json() takes other values')
        init = object.__setattr__
        init(self, 'status', int(status))
        init(self, 'headers', headers)
        init(self, 'body', body)
        init(self, 'reason', reason)

    @classmethod
    def text(cls, body: str, status: int = 200, headers: HeadersLike = ()) -> Response:
        """Plain text."""
        return cls._typed(b'text/plain; charset=utf-8', body.encode('utf-8'), status, headers)

    @classmethod
    def html(cls, body: str, status: int = 200, headers: HeadersLike = ()) -> Response:
        """A page."""
        return cls._typed(b'text/html; charset=utf-8', body.encode('utf-8'), status, headers)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: HeadersLike = ()) -> Response:
        """A value as JSON. TypeError (or ValueError) if it can't be encoded."""
        return cls._typed(b'application/json', _json.dumps(value), status, headers)

    @classmethod
    def _typed(cls, content_type: bytes, body: bytes, status: int, headers: HeadersLike) -> Response:
        headers = Headers(headers)
        if 'content-type' not in headers:
            headers = Headers([*headers.raw, (b'Content-Type', content_type)])
        return cls(status, headers, body)


_PHRASES = {int(status): status.phrase for status in HTTPStatus}


# The handshake's own fields


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2, item 5.4).

    ::

        accept_key('dGhlIHNhbXBsZSBub25jZQ==')      # 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return _accept(key.encode('ascii')).decode('ascii')


def _accept(key: bytes) -> bytes:
    return b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def generate_key() -> str:
    """A fresh ``Sec-WebSocket-Key``: 16 random bytes in base64 (RFC 6455 section 4.1, item 7)."""
    return b2a_base64(os.urandom(16), newline=False).decode('ascii')


def parse_subprotocols(header: str) -> list[str]:
    """The names in a ``Sec-WebSocket-Protocol`` header (RFC 6455 section 11.3.4), in order, each once.

    Raises:
        ValueError: a name is no token, or there is none.
    """
    names = [name for part in header.split(',') if (name := part.strip(' \t'))]
    for name in names:
        if not _token(name):
            raise ValueError(
                f'{name!r} is no subprotocol name: Sec-WebSocket-Protocol is a comma-separated list of tokens'
            )
    if not names:
        raise ValueError('Sec-WebSocket-Protocol is empty: it has to name a subprotocol, or be left out')
    return list(dict.fromkeys(names))


def _checked_token(text: str, what: str) -> str:
    if not _token(text):
        raise ValueError(f"{text!r} is no {what}: it may hold letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.6.2)")
    return text


def _has_token(header: str | None, wanted: str) -> bool:
    """Whether a comma-separated header names `wanted` (lower case), in whatever case."""
    if header is None:
        return False
    header = header.lower()
    return header == wanted or wanted in [part.strip(' \t') for part in header.split(',')]


def _shorten(text: object) -> str:
    """`text` in quotes, as it is shown in a message: a peer may have sent 16 KiB of it."""
    return _clip(repr(text), 80)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f'{text[: limit - 3]}...'


def _http_date() -> bytes:
    """Now, as HTTP writes it (RFC 9110 section 5.6.7). `time.strftime` would write the days in the user's language."""
    now = time.gmtime()
    day = ('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')[now.tm_wday]
    months = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')
    month = months[now.tm_mon - 1]
    return (
        f'{day}, {now.tm_mday:02} {month} {now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT'.encode()
    )


# Server

_upgrade_request = re.compile(
    rb'GET ([\x21-\x7e]++) HTTP/1\.1\r\n((?:%b:[^\x00\n\r\x0b\x0c]*+\r\n)++)\r\n' % _TOKEN.encode()
).match
_speaks_of_a_body = re.compile(rb'\n(?:content-length|transfer-encoding):').search

_SWITCHING = (
    b'HTTP/1.1 101 Switching Protocols\r\n'
    b'Upgrade: websocket\r\n'
    b'Connection: Upgrade\r\n'
    b'Sec-WebSocket-Accept: %b\r\n'
)  # fmt: skip


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
                send(handshake.accept(subprotocol='chat'))  # frames from here on: handshake.trailing_data
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
    """

    __slots__ = (
        '_answered',
        '_body',
        '_failed',
        '_head',
        '_http',
        '_key',
        '_max_body_size',
        '_max_header_size',
        '_method',
        '_received',
        '_server',
        '_sighted',
        '_trailing',
        'request',
    )

    request: Request | None

    def __init__(
        self, *, max_header_size: int = 16384, max_body_size: int = 262144, server_header: str | None = None
    ) -> None:
        self.request = None
        self._http: h11.Connection | None = None  # until something comes that it has to look at
        self._sighted = b''  # a request that it has not looked at
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._server = b'' if server_header is None else _wire(Headers({'Server': server_header}))
        self._head: Request | None = None  # the request while its body is still coming
        self._method = b''  # its method, known even when nothing else of it is any good
        self._body: bytearray | None = None
        self._received = 0  # bytes since the current request began
        self._key = b''  # its Sec-WebSocket-Key, once check() found nothing wrong with it
        self._answered = False
        self._failed = False  # what came is no HTTP, or too much: nothing more is read
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
        """Takes bytes as they come from the socket.

        Returns:
            The request, once it is here with its body; None as long as more is needed. What follows it is kept: as the
            next request of the connection, or as `trailing_data`.

        Raises:
            HandshakeError: this is no HTTP/1.x request (400, 505), asks for a coding that nobody here knows (501), or
                is too large (413, 431). Send ``respond(error.response)`` and close.
            InvalidState: the connection speaks WebSocket already: after `accept` its bytes are the protocol's.
        """
        if self._http is None and self.request is None and self._recognise(data):
            return self.request
        http = self._open()
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
        """Takes a request that somebody else, such as a host framework, has read from the socket already.

        Raises:
            HandshakeError: as `receive` does.
        """
        version = request.http_version.encode('ascii')
        line = b'%b %b HTTP/%b\r\n' % (request.method.encode(), request.target.encode(), version)
        found = self.receive(b'%b%b\r\n%b' % (line, _wire(request.headers), request.body))
        if found is None:
            self._fail(400, 'the request is not complete: its body is shorter than its Content-Length')
        return found

    def eof(self) -> None:
        """Takes the end of what the client sends.

        Raises:
            HandshakeError: it came in the middle of a request. The client may still read an answer.
        """
        if self._http is not None and not self._failed:
            self._http.receive_data(b'')
            if self.request is None:
                self._read(self._http)

    def interim(self) -> bytes:
        """What to send while `receive` wants more: the ``100 Continue`` that the client waits for, or nothing."""
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
        if request is None:
            request = self.request
        if request is None:
            raise InvalidState('there is no request to check yet: receive() returns it')
        checked = _check(request)
        if isinstance(checked, Response):
            return checked
        if request is self.request:
            self._key = checked
        return None

    def accept(
        self, *, headers: HeadersLike = (), subprotocol: str | None = None, extensions: str | None = None
    ) -> bytes:
        """The 101 that makes the connection a WebSocket (RFC 6455 section 4.2.2); `trailing_data` are its frames.

        Args:
            headers: more headers for it, such as ``Set-Cookie``.
            subprotocol: one of those that the client offered, or None.
            extensions: the ``Sec-WebSocket-Extensions`` value, of extensions that the client offered, or None.

        Raises:
            HandshakeError: the request is no valid handshake; `response` is what `check` says.
            ValueError: a header is malformed or the handshake's own; the subprotocol or an extension was not offered.
            InvalidState: there is no request, or it has been answered.
        """
        request = self._unanswered()
        if not self._key and (refusal := self.check(request)) is not None:
            raise HandshakeError(refusal.body.decode().rstrip(), status=refusal.status, response=refusal)
        answer = _SWITCHING % _accept(self._key)
        if subprotocol is not None:
            if subprotocol not in request.subprotocols:
                raise ValueError(
                    f'the client did not offer subprotocol {subprotocol!r}: it offered {list(request.subprotocols)!r}, '
                    f'and no other may be chosen (RFC 6455 4.2.2)'
                )
            answer += b'Sec-WebSocket-Protocol: %b\r\n' % subprotocol.encode('ascii')
        if extensions is not None:
            offered = {name for name, _ in request.extensions}
            for name, _ in parse_extensions(extensions):
                if name not in offered:
                    raise ValueError(
                        f"the client did not offer extension {name!r}: it can't be accepted (RFC 6455 9.1)"
                    )
            answer += b'Sec-WebSocket-Extensions: %b\r\n' % extensions.encode('ascii')
        if headers:
            answer += _wire(_own_headers(headers, 'subprotocol= and extensions='))
        self._trailing = self.trailing_data
        self._http = self._head = self._body = None  # an open connection keeps the request and nothing else
        self._key = self._sighted = b''
        self._answered = True
        return b'%b%b\r\n' % (answer, self._server)

    def respond(self, response: Response, *, more: bool = False) -> bytes:
        """Any answer but the 101, whole: Content-Length, Connection and Date are put right, HEAD gets no body.

        Without a request, or after `receive` raised, it also says that the connection will be closed.

        Args:
            response: its status has to be 200 or more.
            more: the body goes on, see `respond_more`. Without a Content-Length it is sent in chunks then.

        Raises:
            ValueError: the status is below 200, or a header contradicts the body.
            InvalidState: the request has been answered.
        """
        http = self._open()
        if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise InvalidState('this request has been answered; next() begins the next one of the connection')
        if response.status < 200:
            raise ValueError(f'{response.status} is no final answer: accept() makes the 101, interim() the 100')
        if self.request is not None and http.their_state is h11.SEND_BODY:
            http.next_event()  # the end of a request that has no body, which nobody needed to see before
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
            fields.append((b'Date', _http_date()))
        if self._server and 'server' not in headers:
            fields.append((b'Server', self._server[8:-2]))
        if self._failed or self.request is None:
            fields = [pair for pair in fields if pair[0].lower() != b'connection'] + [(b'Connection', b'close')]
        try:
            reason = response.reason.encode('latin-1')
            answer = http.send(h11.Response(status_code=response.status, headers=fields, reason=reason))
        except h11.LocalProtocolError as exc:
            raise ValueError(f"this response can't be sent: {exc}") from exc
        self._answered = True
        return answer + self.respond_more(b'' if bodiless else response.body, more=more)

    def respond_more(self, data: bytes, *, more: bool = False) -> bytes:
        """The next piece of a body that `respond` or this began with ``more=True``; the last one without.

        Raises:
            ValueError: the pieces do not add up to the Content-Length.
            InvalidState: no answer is under way.
        """
        http = self._open()
        if http.our_state is not h11.SEND_BODY:
            raise InvalidState('no body is under way: respond(response, more=True) begins one')
        try:
            sent = http.send(h11.Data(data=data)) if data else b''
            end = b'' if more else http.send(h11.EndOfMessage())
        except h11.LocalProtocolError as exc:
            raise ValueError(f"this body can't be sent: {exc}") from exc
        return sent + end

    def next(self) -> Request | None:
        """Begins the next request of the connection, and returns it if it is here already: clients may pipeline.

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
        self._key = b''
        self._answered = False
        self._received = len(http.trailing_data[0])
        return self._read(http)

    def _recognise(self, data: bytes) -> bool:
        """Whether these first bytes are an upgrade request that needs no h11 to be read; then it is `request`."""
        match = _upgrade_request(data)
        if match is None or match.end() > self._max_header_size:
            return False
        target, fields = match.groups()
        block = b'\n%b' % fields.replace(b'\r\n', b'\n')
        folded = block.lower()
        if folded.count(b'\nhost:') != 1 or b'\nupgrade:' not in folded or _speaks_of_a_body(folded):
            return False
        self.request = Request('GET', target.decode('ascii'), Headers._parsed(block))
        self._method = b'GET'
        self._received = len(data)
        self._sighted = data
        self._trailing = data[match.end() :]
        return True

    def _read(self, http: h11.Connection) -> Request | None:
        """Reads on from what is buffered, up to the end of the current request."""
        try:
            if self._head is None:
                event = http.next_event()
                if not isinstance(event, h11.Request):
                    return None  # more is needed, or the client went after its last request
                self._begin_message(event, http)
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
            self._fail_by(exc)
        head = self._head
        if head is not None and self._body:
            head = Request(head.method, head.target, head.headers, bytes(self._body), head.http_version)
        self.request = head
        self._body = None
        return head

    def _begin_message(self, event: h11.Request, http: h11.Connection) -> None:
        """A head is here: sees whether it is one that can be served, and whether a body follows."""
        self._method = event.method
        version = event.http_version
        headers = Headers._parsed(_block(event))
        if self._received > self._max_header_size:
            size = self._received - len(http.trailing_data[0])
            if size > self._max_header_size:
                self._fail(431, f'request line and headers have {size} bytes; {self._max_header_size} are allowed')
        if version[:1] != b'1':
            self._fail(505, f'this is HTTP/{version.decode()}; HTTP/1.1 is spoken here')
        folded = headers._block.lower()  # most requests have neither field: two searches tell
        length = headers['content-length'] if b'\ncontent-length:' in folded else None
        if b'\ntransfer-encoding:' in folded:
            if length is not None:
                # A proxy may have believed the other one: whose request the rest is, nobody can tell (RFC 9112 6.3).
                self._fail(
                    400, 'the request has both Content-Length and Transfer-Encoding: only one may say where it ends'
                )
            self._body = bytearray()
        elif length is not None and length != '0':
            if int(length) > self._max_body_size:
                self._fail(413, f'the body has {length} bytes; {self._max_body_size} are allowed')
            self._body = bytearray()
        method = sys.intern(event.method.decode('ascii'))
        self._head = Request(
            method, event.target.decode('ascii'), headers, b'', '1.1' if version == b'1.1' else version.decode()
        )

    def _fail_by(self, exc: h11.RemoteProtocolError) -> NoReturn:
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
        self._fail(status, f'this is no HTTP/1.1 request: {_clip(str(exc), 160)}')

    def _fail(self, status: int, message: str) -> NoReturn:
        self._failed = True
        response = _refusal(status, message)
        raise InvalidMessage(message, status=status, headers=response.headers, body=response.body, response=response)

    def _open(self) -> h11.Connection:
        http = self._http
        if http is None:
            if self._answered:
                raise InvalidState('the handshake is over: this connection speaks WebSocket now')
            http = self._http = h11.Connection(h11.SERVER, self._max_header_size)
            if self._sighted:
                http.receive_data(self._sighted)
                http.next_event()
                self._sighted = b''
        return http

    def _unanswered(self) -> Request:
        if self._answered:
            raise InvalidState('this request has been answered already')
        if self.request is None:
            raise InvalidState('there is no request to answer yet: receive() returns it')
        return self.request


def _refusal(status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    return Response.text(f'{message}\n', status, headers)


def _check(request: Request) -> Response | bytes:
    """RFC 6455 section 4.2.1, item by item: the key of a valid request, else the answer to it."""
    if request.method != 'GET':
        return _refusal(405, f'a WebSocket is asked for with GET, not {_shorten(request.method)}', [('Allow', 'GET')])
    if request.http_version < '1.1':
        return _refusal(400, f'a WebSocket needs HTTP/1.1 or higher, this is HTTP/{request.http_version}')
    values = _values(request.headers._block)
    hosts = values.get('host', ())
    if len(hosts) != 1:
        return _refusal(400, 'the Host header is missing' if not hosts else 'there is more than one Host header')
    if not _host(hosts[0]):
        return _refusal(400, f'the Host header is no host name or address: {_shorten(hosts[0])}')
    upgrade = _joined(values, 'upgrade')
    if not _has_token(upgrade, 'websocket'):
        wrong = 'the Upgrade header is missing' if upgrade is None else f'the Upgrade header is {_shorten(upgrade)}'
        return _refusal(426, f'{wrong}; here it has to be "websocket"', _UPGRADE)
    connection = _joined(values, 'connection')
    if not _has_token(connection, 'upgrade'):
        wrong = 'is missing' if connection is None else f'is {_shorten(connection)}'
        return _refusal(400, f'the Connection header {wrong}; it has to name "Upgrade"')
    keys = values.get('sec-websocket-key', ())
    if len(keys) != 1:
        wrong = (
            'the Sec-WebSocket-Key header is missing' if not keys else 'there is more than one Sec-WebSocket-Key header'
        )
        return _refusal(400, wrong)
    if not _key(keys[0]):
        return _refusal(400, f'the Sec-WebSocket-Key is not 16 bytes in base64: {_shorten(keys[0])}')
    versions = _joined(values, 'sec-websocket-version')
    if versions != '13':
        wrong = (
            'the Sec-WebSocket-Version header is missing'
            if versions is None
            else f'version {_shorten(versions)} is not known'
        )
        return _refusal(426, f'{wrong}; here it has to be 13', [*_UPGRADE, ('Sec-WebSocket-Version', '13')])
    try:
        for header, parse in _LISTS:
            if (value := _joined(values, header)) is not None:
                parse(value)
    except ValueError as exc:
        return _refusal(400, str(exc))
    return keys[0].encode('ascii')


def _joined(values: dict[str, list[str]], name: str) -> str | None:
    found = values.get(name)
    return None if found is None else ', '.join(found)


_LISTS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ('sec-websocket-protocol', parse_subprotocols),
    ('sec-websocket-extensions', parse_extensions),
)

_UPGRADE = (('Upgrade', 'websocket'), ('Connection', 'Upgrade'))

_HANDSHAKE_FIELDS = frozenset({'upgrade', 'connection', 'content-length', 'transfer-encoding'})


def _own_headers(headers: HeadersLike, way_out: str) -> Headers:
    """A user's headers, which must not touch the handshake's."""
    headers = Headers(headers)
    for name in headers:
        if name in _HANDSHAKE_FIELDS or name.startswith('sec-websocket-'):
            raise ValueError(
                f"header {name!r} is the handshake's own and can't be given; {way_out} say what goes into it"
            )
    return headers


# Client


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
        headers: more headers. Host, Origin, User-Agent and Authorization replace those that would be sent else.
        subprotocols: names to offer, most wanted first.
        extensions: the ``Sec-WebSocket-Extensions`` value to offer, or None.
        origin: the ``Origin`` header, or None.
        user_agent: the ``User-Agent`` header, or None.
        key: the ``Sec-WebSocket-Key``; by default a fresh random one.
        max_header_size: bytes of the answer's status line and headers, 16 KiB by default.
        max_body_size: bytes of its body, if it is no 101, that are kept: 256 KiB by default.

    Attributes:
        request: the request as it is sent.
        response: the server's 101; None before.
        subprotocol: the one that the server chose, or None.
        extensions: those that the server accepted, parsed.
        trailing_data: what came after the 101: the first frames.

    Raises:
        ValueError: an argument is malformed, or a header is the handshake's own.
        TypeError: `subprotocols` is a single `str`.
    """

    __slots__ = (
        '_body',
        '_head',
        '_http',
        '_max_body_size',
        '_max_header_size',
        '_offered',
        '_unread',
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
    trailing_data: bytes

    def __init__(
        self,
        url: str | URL | tuple[str, str],
        *,
        headers: HeadersLike = (),
        subprotocols: Sequence[str] = (),
        extensions: str | None = None,
        origin: str | None = None,
        user_agent: str | None = USER_AGENT,
        key: str | None = None,
        max_header_size: int = 16384,
        max_body_size: int = 262144,
    ) -> None:
        authorization = None
        if isinstance(url, tuple):
            host, target = url
        else:
            url = parse_url(url) if isinstance(url, str) else url
            host, target, authorization = url.host_header, url.target, url.authorization
        if key is None:
            key = generate_key()
        elif not _key(key):
            raise ValueError(
                f'{key!r} is no Sec-WebSocket-Key: it has to be 16 bytes in base64, as generate_key() makes'
            )
        if isinstance(subprotocols, str):
            raise TypeError(f'subprotocols is a list of names, not the str {subprotocols!r}: write [{subprotocols!r}]')
        own = _own_headers(headers, 'subprotocols=, extensions= and key=')
        fields: list[tuple[str | bytes, str | bytes | None]] = [
            ('Host', host),
            ('Upgrade', 'websocket'),
            ('Connection', 'Upgrade'),
            ('Sec-WebSocket-Key', key),
            ('Sec-WebSocket-Version', '13'),
            ('Sec-WebSocket-Protocol', _offer_subprotocols(subprotocols)),
            ('Sec-WebSocket-Extensions', extensions or None),
            ('Origin', origin),
            ('User-Agent', user_agent),
            ('Authorization', authorization),
        ]
        self._offered = frozenset(name for name, _ in parse_extensions(extensions)) if extensions else frozenset()
        wanted = [(name, value) for name, value in fields if value is not None and name not in own]
        self.request = Request('GET', target, Headers([*wanted, *own.raw]))
        self.response = None
        self.subprotocol = None
        self.extensions = []
        self.trailing_data = b''
        self._http: h11.Connection | None = h11.Connection(h11.CLIENT, max_header_size)
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._head: Response | None = None  # an answer that is no 101, while its body is still coming
        self._body = bytearray()
        self._unread = 0

    @property
    def refusal(self) -> Response | None:
        """An answer that is no 101, with as much of its body as has come; None before its head is here."""
        head = self._head
        return None if head is None else Response(head.status, head.headers, bytes(self._body), head.reason)

    def send(self) -> bytes:
        """The request as bytes. InvalidState the second time."""
        http = self._http
        if http is None or http.our_state is not h11.IDLE:
            raise InvalidState('the request has been sent already: one handshake makes one request')
        request = self.request
        event = h11.Request(method=request.method, target=request.target, headers=request.headers.raw)
        return http.send(event) + http.send(h11.EndOfMessage())

    def receive(self, data: bytes) -> Response | None:
        """Takes bytes as they come from the socket.

        Returns:
            The 101, once it is here and everything in it is as RFC 6455 section 4.1 wants it; None as long as more is
            needed. Informational answers ahead of it are skipped.

        Raises:
            HandshakeError: any other answer (after its body has come, or `max_body_size` of it), with `status`,
                `headers` and `body`; a redirect is one too, its target is ``error.headers['location']``. Or an answer
                that is no HTTP (`status` None), or a 101 that breaks the rules.
            InvalidState: the handshake has succeeded: further bytes are the protocol's.
        """
        if self.response is not None:
            raise InvalidState('the handshake is over: this connection speaks WebSocket now')
        http = self._http
        if not data or http is None:
            return None
        http.receive_data(data)
        self._unread += len(data)
        return self._read(http)

    def eof(self) -> None:
        """Takes the end of what the server sends, which may also end an answer's body.

        Raises:
            HandshakeError: unless the handshake was over; with the answer, as far as it came.
        """
        http = self._http
        if http is None:
            return
        http.receive_data(b'')
        self._read(http)
        self._fail('the connection was closed before the server answered the handshake')

    def _read(self, http: h11.Connection) -> Response | None:
        try:
            while True:
                event = http.next_event()
                if isinstance(event, (h11.InformationalResponse, h11.Response)):
                    unread = len(http.trailing_data[0])
                    size, self._unread = self._unread - unread, unread
                    if size > self._max_header_size:
                        self._fail(f"the answer's headers have {size} bytes; {self._max_header_size} are allowed")
                    reason = event.reason.decode('latin-1')
                    head = Response(event.status_code, Headers._parsed(_block(event)), b'', reason)
                    if head.status == 101:
                        if event.http_version < b'1.1':
                            version = event.http_version.decode()
                            self._fail(f'the server answered 101 in HTTP/{version}, which has no such answer', head)
                        self._check(head)
                        self.trailing_data = bytes(http.trailing_data[0])
                        self._http = None
                        self.response = head
                        return head
                    if head.status >= 200:
                        self._head = head
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) >= self._max_body_size:
                        del self._body[self._max_body_size :]
                        self._fail_with_answer()
                elif isinstance(event, h11.EndOfMessage):
                    self._fail_with_answer()
                else:
                    return None
        except h11.RemoteProtocolError as exc:
            if self._head is not None:
                self._fail_with_answer()  # its body broke off, but the answer is clear
            if http.trailing_data[1]:
                self._fail('the connection was closed before the server answered the handshake')
            if exc.error_status_hint == 431:
                self._fail(f"the answer's status line or headers are longer than {self._max_header_size} bytes")
            self._fail(f'the server did not answer in HTTP/1.1: {_clip(str(exc), 160)}')

    def _check(self, answer: Response) -> None:
        """RFC 6455 section 4.1, what the client must check in a 101."""
        headers = answer.headers
        upgrade = headers.get('upgrade')
        if upgrade is None or upgrade.lower() != 'websocket':
            wrong = f'the server\'s Upgrade header has to be "websocket", it is {_shorten(upgrade)}'
            self._fail(wrong, answer, InvalidUpgrade)
        connection = headers.get('connection')
        if not _has_token(connection, 'upgrade'):
            wrong = f'the server\'s Connection header has to name "Upgrade", it is {_shorten(connection)}'
            self._fail(wrong, answer, InvalidUpgrade)
        wanted = accept_key(self.request.headers['sec-websocket-key'])
        if headers.get_all('sec-websocket-accept') != [wanted]:
            got = _shorten(headers.get('sec-websocket-accept'))
            self._fail(
                f"the server's Sec-WebSocket-Accept does not answer our key: it has to be {wanted!r}, it is {got}",
                answer,
                InvalidHeader,
            )
        chosen = headers.get('sec-websocket-protocol')
        if chosen is not None and chosen not in self.request.subprotocols:
            offered = list(self.request.subprotocols)
            self._fail(
                f'the server chose subprotocol {_shorten(chosen)}, which is none of those offered: {offered!r}', answer
            )
        accepted = headers.get('sec-websocket-extensions')
        extensions: ExtensionList = []
        if accepted is not None:
            try:
                extensions = parse_extensions(accepted)
            except NegotiationError as exc:
                self._fail(f"the server's Sec-WebSocket-Extensions header is malformed: {exc}", answer, cause=exc)
            for name, _ in extensions:
                if name not in self._offered:
                    message = f'the server accepted extension {_shorten(name)}, which was not offered'
                    self._fail(message, answer, cause=NegotiationError(message))
        self.subprotocol = chosen
        self.extensions = extensions

    def _fail_with_answer(self) -> NoReturn:
        head = self._head
        assert head is not None
        phrase = f' {head.reason}' if head.reason else ''
        where = f' (to {_shorten(head.headers["location"])})' if 'location' in head.headers else ''
        message = f'the server answered {head.status}{phrase}{where} instead of 101 Switching Protocols'
        self._fail(message, Response(head.status, head.headers, bytes(self._body), head.reason))

    def _fail(
        self,
        message: str,
        answer: Response | None = None,
        kind: type[HandshakeError] = HandshakeError,
        cause: NegotiationError | None = None,
    ) -> NoReturn:
        self._http = None
        if answer is None:
            raise InvalidMessage(message)
        if answer.status != 101:
            kind = InvalidStatus
        raise kind(message, status=answer.status, headers=answer.headers, body=answer.body, response=answer) from cause


def _offer_subprotocols(names: Sequence[str]) -> str | None:
    for name in names:
        _checked_token(name, 'subprotocol name')
    if len(set(names)) != len(names):
        raise ValueError(f'a subprotocol may be offered only once: {list(names)!r} (RFC 6455 4.1)')
    return ', '.join(names) or None
