"""WebSocket URLs: parsing, formatting, and resolving redirects (RFC 6455 section 3).

Owns schemes, hosts, ports and targets, of TCP and of Unix sockets. Must not know how to connect to them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from binascii import b2a_base64
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urljoin, urlsplit

__all__ = ['URL', 'checked_url', 'format_authority', 'parse_url', 'redact', 'redirected_url', 'server_name']

# A path with encoded slashes, and the target behind it.
_encoded_path = re.compile(r'(?=[^/:?]*%2[Ff])([^/:?]*+)([/?].*|)', re.DOTALL).fullmatch
_is_host_name = re.compile(r'[A-Za-z0-9\-._~*]+').fullmatch
_is_bracketed = re.compile(r'\[[^\[\]]*\](:.*)?', re.DOTALL).fullmatch

# User info; or what has no valid port behind its colon, such as a password with a slash that is not percent-encoded.
_user_info = re.compile(r'([^/?@]*+/++|)([^/?]*@|[^/?@\[:]*+:(?!\d*+(?:[/?]|$))[^@]*+@)').match

_SCHEMES = {
    'ws': 'ws',
    'wss': 'wss',
    'http': 'ws',
    'https': 'wss',
    'ws+unix': 'ws+unix',
    'wss+unix': 'wss+unix',
    'http+unix': 'ws+unix',
    'https+unix': 'wss+unix',
}


@dataclass(frozen=True, slots=True)
class URL:
    """A parsed WebSocket URL. `parse_url` makes it.

    Attributes:
        scheme: ``'ws'``, ``'wss'``, ``'ws+unix'`` or ``'wss+unix'``.
        host: lower-case, IDNA-encoded, IPv6 addresses without brackets; ``'localhost'`` for a Unix socket.
        port: 80 or 443 by default.
        target: path and query as written in the request line, at least ``'/'``.
        unix_path: the path of the Unix socket, else None.
        username, password: decoded; None where the URL has none.
    """

    scheme: str
    host: str
    port: int
    target: str = '/'
    unix_path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def secure(self) -> bool:
        """Whether it is TLS."""
        return self.scheme.startswith('wss')

    @property
    def has_default_port(self) -> bool:
        """Whether the port is the scheme's: 80, or 443 with TLS."""
        return self.port == (443 if self.secure else 80)

    @property
    def origin(self) -> tuple[str, str, int, str | None]:
        """What identifies the server: credentials for a URL may be sent to another URL with the same origin."""
        return self.scheme, self.host, self.port, self.unix_path

    @property
    def server_name(self) -> str:
        """The name or address that the server's certificate is checked for: the host without zone and final dot."""
        return server_name(self.host)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition('?')[0]

    @property
    def query(self) -> str:
        """What follows the question mark in the target; empty without one."""
        return self.target.partition('?')[2]

    @property
    def resource_name(self) -> str:
        """The target, under its name in RFC 6455 section 3."""
        return self.target

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User name and password; None where the URL has none."""
        return None if self.username is None else (self.username, self.password or '')

    @property
    def host_header(self) -> str:
        """The ``Host`` header: IPv6 addresses in brackets and without zone, the port unless it is the default one."""
        return format_authority(self.host.partition('%')[0], None if self.has_default_port else self.port)

    @property
    def authorization(self) -> str | None:
        """The ``Authorization`` header for the user info, as HTTP Basic (RFC 7617); None without."""
        if self.username is None:
            return None
        credentials = f'{self.username}:{self.password or ""}'.encode()
        return 'Basic ' + b2a_base64(credentials, newline=False).decode('ascii')

    def __str__(self) -> str:
        """The URL, without its user info."""
        if self.unix_path is not None:
            return f'{self.scheme}://{quote(os.fsencode(self.unix_path))}:{self.target}'
        authority = format_authority(self.host.replace('%', '%25'), None if self.has_default_port else self.port)
        return f'{self.scheme}://{authority}{self.target}'


def server_name(host: str) -> str:
    """The name in a certificate for a host: without the zone of an IPv6 address, and without a final dot."""
    return host.partition('%')[0].removesuffix('.')


def format_authority(host: str, port: int | None) -> str:
    """``host:port`` with an IPv6 address in brackets; without the port for None (RFC 3986 3.2)."""
    if ':' in host:
        host = f'[{host}]'
    return host if port is None else f'{host}:{port}'


def redact(url: str) -> str:
    """The repr of a URL, without its user info, for messages."""
    match = _user_info(url)
    return repr(url if match is None else f'{match[1]}***@{url[match.end() :]}')


def parse_url(url: str) -> URL:
    """Parse a WebSocket URL (RFC 6455 section 3).

    ::

        parse_url('ws://example.com/chat?room=1')           # port 80, target '/chat?room=1'
        parse_url('wss://user:secret@[::1]:3000')           # Authorization, IPv6, target '/'
        parse_url('ws+unix:///run/chat.sock:/chat')         # a Unix socket; its target follows the colon, '/' without
        parse_url('ws+unix://%2Frun%2Fchat.sock/chat')      # the same as Mojolicious writes it

    ``http`` and ``https`` are taken for ``ws`` and ``wss``. What is not ASCII is encoded: IDNA in the host,
    percent-encoded UTF-8 in the target.

    Raises:
        ValueError: another scheme, no host, a bad port, a fragment, white space or control characters.
    """
    _check_characters(url)
    given, colon, rest = url.partition(':')
    scheme = _SCHEMES.get(given.lower())
    if not colon or scheme is None:
        raise ValueError(
            f'{redact(url)} is not a valid WebSocket URL: it has to begin with ws://, wss://, ws+unix:// or wss+unix://'
        )
    if scheme.endswith('+unix'):
        return _parse_unix_url(url, scheme, rest)
    if not rest.startswith('//'):
        raise ValueError(f'{redact(url)} is not a valid WebSocket URL: after {given}: come two slashes and the host')
    try:
        parts = urlsplit(f'{scheme}:{rest}')
    except ValueError as exc:
        raise ValueError(f'{redact(url)} is not a valid URL: {exc}') from None
    try:
        port = parts.port
    except ValueError:
        raise ValueError(
            f'{redact(url)} has a port that is not a number from 0 to 65535 '
            '(in a password, a / is written %2F, a ? %3F)'
        ) from None
    place = parts.netloc.rpartition('@')[2]
    if '[' in place and not _is_bracketed(place):
        raise ValueError(f'{redact(url)} has something other than a port beside the brackets of its IPv6 address')
    username, password = _parse_user_info(url, parts)
    return URL(
        scheme,
        _parse_host(url, parts.hostname or '', '[' in parts.netloc),
        port if port is not None else 443 if scheme == 'wss' else 80,
        _quote_target((parts.path or '/') + (f'?{parts.query}' if parts.query else '')),
        None,
        username,
        password,
    )


def checked_url(function: str, url: object) -> URL:
    """`parse_url` for what a user gives to a function: ``ws``, not ``http``, and a `str`.

    Raises:
        TypeError: it is not a `str`.
        ValueError: it is not a valid URL.
    """
    if not isinstance(url, str):
        raise TypeError(f"{function}: a URL is a str, such as 'ws://127.0.0.1:3000', not {url!r}")
    try:
        parsed = parse_url(url)
    except ValueError as exc:
        raise ValueError(f'{function}: {exc}') from None
    if url[:4].lower() == 'http':
        raise ValueError(f'{function}: {redact(url)} is a URL of HTTP; for a WebSocket write {parsed.scheme}://')
    return parsed


def redirected_url(url: URL, location: str) -> URL:
    """The URL that the ``Location`` of a redirect leads to (RFC 9110 section 10.2.2).

    ::

        redirected_url(parse_url('ws://example.com/chat'), '/rooms/1')          # ws://example.com/rooms/1
        redirected_url(parse_url('ws://example.com/'), 'https://example.com/')  # wss://example.com/

    A fragment is dropped. On the same host, port and scheme a user name and password are kept.

    Raises:
        ValueError: it is malformed, or not allowed: it leads from TLS to no TLS, to a Unix socket, or away from one.
    """
    scheme = 'wss' if url.secure else 'ws'
    base = f'{scheme}://localhost{url.target}' if url.unix_path is not None else str(url)
    # As bytes: they are usually UTF-8, but need not be.
    location = _quote_target(location.encode('latin-1')).partition('#')[0]
    found = parse_url(urljoin(base, location))
    if found.unix_path is not None:
        raise ValueError(f'{redact(location)} is a Unix socket: a redirect may not lead to one')
    if url.secure and not found.secure:
        raise ValueError(f'{redact(location)} is without TLS: a redirect may not lead from wss:// to ws://')
    if url.unix_path is not None:
        if (found.scheme, found.host_header) != (scheme, 'localhost'):
            raise ValueError(f'{redact(location)} leads away from the Unix socket {url.unix_path}')
        return replace(url, target=found.target)
    if found.origin == url.origin and found.username is None:
        return replace(found, username=url.username, password=url.password)
    return found


def _check_characters(url: str) -> None:
    """Raise ValueError for characters that no part of a WebSocket URL may have."""
    if not _is_encodable(url):
        raise ValueError(f'{redact(url)} has a lone surrogate in it: percent-encode the bytes that are not UTF-8')
    if any(char <= ' ' or char == '\x7f' for char in url):
        raise ValueError(
            f'{redact(url)} has white space or control characters in it: percent-encode them (a blank is %20)'
        )
    if '#' in url:
        raise ValueError(
            f'{redact(url)} has a fragment: WebSocket URLs have none, and a # in them is written %23 (RFC 6455 3)'
        )


def _parse_user_info(url: str, parts: SplitResult) -> tuple[str | None, str | None]:
    """User name and password of a URL; None for what it does not have."""
    if '\\' in parts.netloc.rpartition('@')[0]:
        raise ValueError(f'{redact(url)} has a backslash in its user name or password: write %5C')
    username, password = _decode_user_info(url, parts.username), _decode_user_info(url, parts.password)
    if username is not None and ':' in username:
        raise ValueError(f'{redact(url)} has a colon in its user name: HTTP Basic does not allow it (RFC 7617)')
    return username, password


def _decode_user_info(url: str, text: str | None) -> str | None:
    """A user name or password of a URL, percent-decoded; None for none."""
    if text is None:
        return None
    try:
        decoded = unquote(text, errors='strict')
    except UnicodeDecodeError:
        raise ValueError(f'{redact(url)} has a user name or password that is not UTF-8') from None
    if any(char < ' ' or char == '\x7f' for char in decoded):
        raise ValueError(f'{redact(url)} has control characters in its user name or password (RFC 7617 2)')
    return decoded


def _is_encodable(url: str) -> bool:
    try:
        url.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_host(url: str, host: str, bracketed: bool) -> str:
    """A host in lower case and IDNA-encoded; raises ValueError if it is not valid."""
    if not host:
        raise ValueError(
            f'{redact(url)} has no host: write one between // and the port or path, such as ws://127.0.0.1:3000/'
        )
    if bracketed:
        host = host.replace('%25', '%', 1)  # the zone of a link-local address (RFC 6874)
        try:
            ipaddress.IPv6Address(host)
        except ValueError as exc:
            raise ValueError(f'{redact(url)} has something other than an IPv6 address in its brackets: {exc}') from None
        return host
    if not host.isascii():
        try:
            host = host.encode('idna').decode('ascii')
        except UnicodeError as exc:
            raise ValueError(f"{redact(url)} has a host name that IDNA can't encode: {exc}") from None
    if not _is_host_name(host):
        raise ValueError(f'{redact(url)} has a host name with characters that are not allowed there: {host!r}')
    return host


def _parse_unix_url(url: str, scheme: str, rest: str) -> URL:
    """The path of the socket ends at the first colon, or where a query begins; the rest is the target.

    Mojolicious writes it as a host, with its slashes encoded: there it ends at the first slash.
    """
    rest = rest.removeprefix('//')
    encoded = _encoded_path(rest)
    path, colon, target = (encoded[1], ':', encoded[2]) if encoded else rest.partition(':')
    if not colon:
        path, mark, query = rest.partition('?')
        target = mark + query
    if not path:
        raise ValueError(f'{redact(url)} names no socket: write its path, such as {scheme}:///run/chat.sock:/chat')
    path = os.fsdecode(unquote_to_bytes(path))
    if '\0' in path[1:]:
        raise ValueError(f'{redact(url)} has a NUL in the path of its socket: it may only begin with one (Linux)')
    if not target.startswith('/'):
        if target and not target.startswith('?'):
            raise ValueError(
                f'{redact(url)} has a target that begins without slash: {target!r}; a colon in the path is written %3A'
            )
        target = '/' + target
    return URL(
        scheme,
        'localhost',
        443 if scheme == 'wss+unix' else 80,
        _quote_target(target),
        path,
    )


def _quote_target(target: str | bytes) -> str:
    """Percent-encodes what is not ASCII, and leaves ASCII as it is, percent signs included."""
    if isinstance(target, str) and target.isascii():
        return target
    return quote(target, safe='!"#$%&\'()*+,/:;<=>?@[\\]^`{|}~')
