"""HTTP/1.1 values: header fields, requests and responses.

Owns what may stand in a header, a request line and a status line, and what can be read out of them. Nothing that was
checked here can split a message in two on the wire. Must not know who sends a message, nor what an upgrade is: that is
`handshake/`, and h11 under it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar, overload
from urllib.parse import parse_qs, unquote

from . import _json
from ._text import HOST, TOKEN, is_token, shown
from .extensions import ExtensionList, parse_extensions

__all__ = [
    'USER_AGENT',
    'Headers',
    'HeadersLike',
    'Request',
    'Response',
    'has_token',
    'header_block',
    'http_date',
    'in_origin_form',
    'in_origin_form_with_host',
    'is_authority',
    'parse_subprotocols',
    'parsed_headers',
    'parsed_request',
    'serialized_headers',
]

HeadersLike = Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str | bytes, str | bytes]]
"""What headers can be made of: a `Headers`, a mapping, or pairs (which may repeat a name)."""

USER_AGENT = f'Python/{sys.version_info[0]}.{sys.version_info[1]} pyjows'
"""The ``User-Agent`` of a client that names no other."""

_T = TypeVar('_T')

_field_name = re.compile(TOKEN.encode()).fullmatch
_field_value = re.compile(rb'[^\x00\n\r\x0b\x0c]*').fullmatch  # no line end, and nothing that some parsers take for one
is_authority = re.compile(rf'{HOST}(?::[0-9]*)?').fullmatch

_absolute_form = re.compile(r'(?:http|ws)s?://([^/?#]*)(.*)', re.IGNORECASE | re.DOTALL).fullmatch
_target = re.compile(r'[\x21-\x7e]+').fullmatch
_reason = re.compile(r'[^\x00\n\r\x0b\x0c\u0100-\U0010ffff]*').fullmatch


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
        ValueError: a name is not a valid token, or a value has a line end, NUL, or a character beyond ISO 8859-1.
        TypeError: it is neither a mapping nor pairs, or a name or value is neither `str` nor `bytes`.
    """

    # The "block": b'\nHost:example.com\nAccept: text/html\n', the white space around a value as it came. A value has no
    # line feed, so b'\nhost:' in the lower-cased block can only be a field of that name. A search in C takes the place
    # of a dict for every open connection.
    __slots__ = ('_block',)

    _block: bytes

    def __init__(self, headers: HeadersLike = ()) -> None:
        if isinstance(headers, Headers):
            self._block = headers._block
            return
        self._block = b'\n%b' % b''.join([_field_line(name, value) for name, value in _pairs(headers)])

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


def _pairs(headers: HeadersLike) -> Iterable[tuple[str | bytes, str | bytes]]:
    """Names and values of a mapping or of pairs; TypeError for anything else, such as ``['Host: a']``."""
    if isinstance(headers, Mapping):
        return headers.items()
    if isinstance(headers, Iterable) and not isinstance(headers, (str, bytes)):
        pairs = list(headers)
        if not any(isinstance(pair, (str, bytes)) for pair in pairs):
            try:
                return [(name, value) for name, value in pairs]
            except (TypeError, ValueError):
                pass
    raise TypeError(f'{shown(headers)} is neither a mapping of headers nor pairs of names and values')


def _field_line(name: str | bytes, value: str | bytes) -> bytes:
    """One field as a line of the block; raises ValueError for a value that could end the line or that h11 refuses."""
    if not isinstance(name, (str, bytes)) or not isinstance(value, (str, bytes)):
        raise TypeError(f'header names and values are str or bytes, not {shown(name)}: {shown(value)}')
    raw_name = name.encode('ascii', 'replace') if isinstance(name, str) else name
    if not _field_name(raw_name):
        raise ValueError(
            f"{shown(name)} is not a valid header name: it may hold letters, digits and !#$%&'*+-.^_`|~ "
            '(RFC 9110 5.6.2)'
        )
    try:
        raw_value = (value.encode('latin-1') if isinstance(value, str) else value).strip(b' \t')
    except UnicodeEncodeError:
        raise ValueError(
            f'the value of header {name!r} has characters beyond ISO 8859-1: {shown(value)}; '
            'percent-encode or base64 them'
        ) from None
    if not _field_value(raw_value):
        raise ValueError(f'the value of header {name!r} has a line end or NUL in it: {shown(value)}')
    return b'%b:%b\n' % (raw_name, raw_value)


def parsed_headers(block: bytes) -> Headers:
    """`Headers` of a block that a parser has checked already."""
    headers = Headers.__new__(Headers)
    headers._block = block
    return headers


def header_block(headers: Headers) -> bytes:
    """The fields as they are stored, ``b'\\nHost:example.com\\n'``: for several searches in a row."""
    return headers._block


def serialized_headers(headers: Headers) -> bytes:
    """The fields as HTTP writes them, without the empty line after them."""
    return b''.join([b'%b: %b\r\n' % pair for pair in headers.raw])


# Requests and responses


@dataclass(frozen=True, slots=True, init=False)
class Request:
    """An HTTP request. Properties such as `path` are computed at each access, so that an open connection stays small.

    Attributes:
        method: ``'GET'`` and the like, in the case it was sent in.
        target: as it stands in the request line: ``'/chat?room=1'``. A server gives a request with a target in absolute
            form, ``'http://example.com/chat'``, as RFC 9112 section 3.2.2 has it: the rest of the target here, and its
            authority in the place of the ``Host`` header.
        headers: the header fields.
        body: the whole body.
        http_version: ``'1.1'`` or ``'1.0'``.

    Raises:
        ValueError: the method is not a valid token, the target is empty or has other characters than visible ASCII, or
            a header is malformed.
    """

    method: str
    target: str
    headers: Headers
    body: bytes = field(repr=False)
    http_version: str

    def __init__(
        self, method: str, target: str, headers: HeadersLike = (), body: bytes = b'', http_version: str = '1.1'
    ) -> None:
        if not is_token(method):
            raise ValueError(
                f"{shown(method)} is not a valid HTTP method: it may hold letters, digits and !#$%&'*+-.^_`|~"
            )
        if not _target(target):
            raise ValueError(
                f'{shown(target)} is not a valid request target: it has visible ASCII only, the rest percent-encoded'
            )
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
        """Whether its ``Upgrade`` names ``websocket``; the rest of the request may still be invalid."""
        return has_token(self.headers.get('upgrade'), 'websocket')

    def _split(self) -> tuple[str, str, str]:
        """Authority, path and query. Only a request that a program has made may be in absolute form here."""
        target = self.target
        authority = ''
        if target[0] != '/' and (match := _absolute_form(target)) is not None:
            authority, target = match.groups()
        path, _, query = target.partition('?')
        return authority.rpartition('@')[2], path or '/', query


def in_origin_form(target: str) -> tuple[str | None, str]:
    """The authority of a target in absolute form, else None, and the target in origin form (RFC 9112 section 3.2).

    Raises:
        ValueError: it neither begins with ``/`` nor is a URL with a valid authority.
    """
    if target[:1] == '/' or target == '*':
        return None, target
    match = _absolute_form(target)
    if match is None:
        raise ValueError(f'{shown(target)} is not a valid request target: it begins with / or http:// (RFC 9112 3.2)')
    authority, rest = match.groups()
    if not is_authority(authority):
        raise ValueError(f'the authority of the request target {shown(target)} is not a valid host and port')
    return authority, rest if rest[:1] == '/' else f'/{rest}'


def in_origin_form_with_host(method: str, target: str, headers: Headers) -> tuple[str, Headers]:
    """The target of a request in origin form, and its headers with the authority that counts as ``Host``.

    Raises:
        ValueError: the target or the ``Host`` header is not valid.
    """
    if target == '*' and method != 'OPTIONS':
        raise ValueError('the request target * is for OPTIONS alone (RFC 9112 3.2.4)')
    authority, target = in_origin_form(target)
    if authority is None:
        return target, headers
    host = headers.get('host')
    if host and not is_authority(host):
        raise ValueError(f'the Host header is not a valid host and port: {shown(host)}')
    others = [pair for pair in headers.raw if pair[0].lower() != b'host']
    return target, Headers([(b'Host', authority.encode('ascii')), *others])


def parsed_request(target: str, headers: Headers) -> Request:
    """A GET `Request` without a body, of what a parser has checked already."""
    request = object.__new__(Request)
    init = object.__setattr__
    init(request, 'method', 'GET')
    init(request, 'target', target)
    init(request, 'headers', headers)
    init(request, 'body', b'')
    init(request, 'http_version', '1.1')
    return request


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
            raise ValueError(f'{status!r} is not a valid HTTP status: it has to be an int from 100 to 999')
        if reason is None:
            reason = _PHRASES.get(status, '')
        elif not _reason(reason):
            raise ValueError(
                f'{shown(reason)} is not a valid reason phrase: it may not have a line end, NUL or a character '
                'beyond ISO 8859-1'
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
        return cls._of_type(b'text/plain; charset=utf-8', body.encode('utf-8'), status, headers)

    @classmethod
    def html(cls, body: str, status: int = 200, headers: HeadersLike = ()) -> Response:
        """A page."""
        return cls._of_type(b'text/html; charset=utf-8', body.encode('utf-8'), status, headers)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: HeadersLike = ()) -> Response:
        """A value as JSON. TypeError (or ValueError) if it can't be encoded."""
        return cls._of_type(b'application/json', _json.dumps(value), status, headers)

    @classmethod
    def _of_type(cls, content_type: bytes, body: bytes, status: int, headers: HeadersLike) -> Response:
        headers = Headers(headers)
        if 'content-type' not in headers:
            headers = Headers([*headers.raw, (b'Content-Type', content_type)])
        return cls(status, headers, body)


_PHRASES = {int(status): status.phrase for status in HTTPStatus}


# Fields of particular names


def parse_subprotocols(header: str) -> list[str]:
    """The names in a ``Sec-WebSocket-Protocol`` header (RFC 6455 section 11.3.4), in order, each once.

    Raises:
        ValueError: a name is not a valid token, or there is none.
    """
    names = [name for part in header.split(',') if (name := part.strip(' \t'))]
    for name in names:
        if not is_token(name):
            raise ValueError(
                f'{shown(name)} is not a valid subprotocol name: Sec-WebSocket-Protocol is a comma-separated list of '
                'tokens'
            )
    if not names:
        raise ValueError('Sec-WebSocket-Protocol is empty: it has to name a subprotocol, or be left out')
    return list(dict.fromkeys(names))


def has_token(header: str | None, wanted: str) -> bool:
    """Whether a comma-separated header names `wanted` (lower case), in whatever case."""
    if header is None:
        return False
    header = header.lower()
    return header == wanted or wanted in [part.strip(' \t') for part in header.split(',')]


def http_date() -> bytes:
    """Now, as HTTP writes it (RFC 9110 section 5.6.7). `time.strftime` would write the day in the user's language."""
    now = time.gmtime()
    day = ('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')[now.tm_wday]
    months = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')
    month = months[now.tm_mon - 1]
    return (
        f'{day}, {now.tm_mday:02} {month} {now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT'.encode()
    )
