"""Proxies: choosing one for a URL, and the CONNECT request to HTTP proxies (RFC 6455 4.1 step 3, RFC 9110 9.3.6).

Owns the choice (given, from the environment, none) and the exchange with the proxy, as bytes in and bytes out, with h11
for HTTP. Must not know sockets, nor what goes through the tunnel.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import NoReturn
from urllib.parse import urlsplit

import h11

from .._text import printable
from ..errors import HandshakeError
from ..http11 import USER_AGENT, Headers, Response
from ..url import URL, format_authority, parse_url, redact
from .socks import SocksTunnel

__all__ = ['Tunnel', 'choose_proxy', 'open_tunnel', 'parse_proxy']

# The proxies that can be used. The proxy always resolves the name of the host.
_SCHEMES = {
    'http': 'http',
    'https': 'https',
    'socks': 'socks5',
    'socks4': 'socks4',
    'socks4a': 'socks4',
    'socks5': 'socks5',
    'socks5h': 'socks5',
}

# The environment variables of proxies, WSS_PROXY and so on. RFC 6455 4.1 prefers the one for https to the one for http,
# because it is expected to support CONNECT.
_FROM_ENVIRONMENT = {True: ('wss', 'https', 'socks', 'all'), False: ('ws', 'https', 'http', 'socks', 'all')}


def choose_proxy(proxy: str | bool | None, url: URL) -> URL | None:
    """The proxy for a URL, None for a direct connection.

    Args:
        proxy: ``'http://user:password@host:port'``, ``'https://…'`` (TLS to the proxy), ``'socks5://…'`` or
            ``'socks4://…'``; True for the one in the environment (``WSS_PROXY``, ``HTTPS_PROXY``, ``SOCKS_PROXY``,
            ``ALL_PROXY``; for ``ws://`` also ``WS_PROXY`` and ``HTTP_PROXY``; not for hosts in ``NO_PROXY``; on macOS
            and Windows the system's settings); None or False for a direct connection.
            ``localhost`` and loopback addresses never go through a proxy of the environment.
        url: the destination. A Unix socket has no proxy.

    Raises:
        ValueError: the proxy is malformed, or of a kind that is not supported.
    """
    if not proxy:
        return None
    if isinstance(proxy, str):
        if url.unix_path is not None:
            raise ValueError(f'proxy={redact(proxy)}: a Unix socket cannot be reached through a proxy')
        return parse_proxy(proxy)
    if proxy is not True:
        raise TypeError(f'proxy is the URL of one, True (from the environment) or None (direct), not {proxy!r}')
    if url.unix_path is not None or _is_loopback(url.host):
        return None
    from urllib.request import getproxies, proxy_bypass  # not for each `import pyjows`: it takes 20 ms

    proxies = getproxies()
    found = next((proxies[scheme] for scheme in _FROM_ENVIRONMENT[url.secure] if proxies.get(scheme)), None)
    if found is None or proxy_bypass(_authority(url)):
        return None
    try:
        return parse_proxy(found)
    except ValueError as exc:
        raise ValueError(f'{exc} (from the environment; proxy=None connects directly)') from None


def parse_proxy(proxy: str) -> URL:
    """A proxy's URL: ``http://user:password@host:port``, ``https://…``, ``socks5://…`` or ``socks4://…``.

    Without a scheme it is http. The port is 80 by default, 443 for https, 1080 for SOCKS.

    Raises:
        ValueError: another scheme, or it is malformed.
    """
    given, separator, rest = proxy.partition('://')
    if not separator:
        given, rest = 'http', proxy
    scheme = _SCHEMES.get(given.lower(), '')
    if not scheme:
        raise ValueError(
            f'the proxy {redact(proxy)} is not supported: it has to be an HTTP proxy with CONNECT, http://host:port or '
            'https://host:port (TLS to the proxy), or a SOCKS proxy, socks5://host:port or socks4://host:port'
        )
    try:
        found = parse_url(f'{"https" if scheme == "https" else "http"}://{rest}')
        if found.target != '/':
            raise ValueError(f'nothing may follow host and port: {found.target!r}')
        if not found.port:
            raise ValueError('0 is not a valid port to connect to')
        if scheme == 'socks4' and found.password:
            raise ValueError('SOCKS4 has user names and no passwords; use socks5://')
        if not scheme.startswith('socks'):
            return found
        has_port = urlsplit(f'//{rest}').port is not None
        return replace(found, scheme=scheme, port=found.port if has_port else 1080)
    except ValueError as exc:
        raise ValueError(f'the proxy {redact(proxy)} is malformed, it has to be {scheme}://host:port: {exc}') from None


def open_tunnel(proxy: URL, url: URL) -> Tunnel | SocksTunnel:
    """The tunnel through a proxy to a URL.

    Raises:
        ImportError: SOCKS needs python-socks, which is not installed.
        ValueError: SOCKS4 cannot carry the address or the user name.
    """
    return SocksTunnel(proxy, url) if proxy.scheme.startswith('socks') else Tunnel(proxy, url)


class Tunnel:
    """The tunnel through a proxy to one host and port.

    ::

        tunnel = Tunnel(parse_proxy('http://127.0.0.1:3128'), parse_url('wss://example.com/'))
        send(tunnel.send())
        if tunnel.receive(data):                # False: the answer is incomplete
            ...                                 # what is sent now reaches the host

    Args:
        proxy: the proxy, with user name and password if it needs them.
        url: the destination.
        max_header_size: bytes of the answer's status line and headers, 16 KiB by default.
    """

    def __init__(self, proxy: URL, url: URL, *, max_header_size: int = 16384) -> None:
        self._proxy = _authority(proxy)
        self._scheme = 'https' if proxy.secure else 'http'
        self._target = _authority(url)
        self._authorization = proxy.authorization
        self._http = h11.Connection(h11.CLIENT, max_header_size)
        self._max_header_size = max_header_size
        self._size = 0
        self._is_sent = False
        self._is_over = False

    def send(self) -> bytes:
        """The request as bytes, once; then b''."""
        if self._is_sent:
            return b''
        self._is_sent = True
        headers = [('Host', self._target), ('User-Agent', USER_AGENT)]
        if self._authorization is not None:
            headers.append(('Proxy-Authorization', self._authorization))
        request = h11.Request(method='CONNECT', target=self._target, headers=headers)
        return self._http.send(request) + self._http.send(h11.EndOfMessage())

    def receive(self, data: bytes) -> bool:
        """Take bytes from the proxy, b'' for EOF; returns whether the tunnel is open.

        What comes after a failure, such as the end of the stream, is ignored.

        Raises:
            HandshakeError: the proxy refuses (with `status`, `headers` and `response`, without the body), hangs up, or
                does not speak HTTP.
        """
        if self._is_over:
            return False
        http = self._http
        self._size += len(data)
        try:
            http.receive_data(data)
            while True:
                event = http.next_event()
                if isinstance(event, h11.Response):
                    self._check_size(len(http.trailing_data[0]))
                    if not 200 <= event.status_code < 300:
                        self._refused(event)
                    if http.trailing_data[0]:
                        self._fail('sent data after its answer to CONNECT, before the client sent anything')
                    self._is_over = True
                    return True
                if event is h11.NEED_DATA:
                    self._check_size(0)
                    return False
                if isinstance(event, h11.ConnectionClosed):
                    self._fail('closed the connection before it answered CONNECT')
        except h11.RemoteProtocolError as exc:
            if not data:
                self._fail('closed the connection before it answered CONNECT')
            self._check_size(0)
            self._fail(f'does not answer CONNECT in HTTP/1.1: {str(exc)[:160]}')

    def _check_size(self, unread: int) -> None:
        if self._size - unread > self._max_header_size:
            self._fail(f'answers CONNECT with more than {self._max_header_size} bytes of headers')

    def _refused(self, event: h11.Response) -> NoReturn:
        self._is_over = True
        reason = event.reason.decode('latin-1')
        status = f'{event.status_code} {printable(reason)}'.rstrip()
        hint = ''
        if event.status_code == 407:
            what = 'others than those given' if self._authorization else 'them'
            url = f'{self._scheme}://user:password@{self._proxy}'
            hint = f': it wants a user name and password, {what}; proxy="{url}" says which'
        answer = Response(event.status_code, Headers(event.headers.raw_items()), b'', reason)
        message = f'the proxy {self._proxy} answered {status} to CONNECT {self._target}{hint}'
        raise HandshakeError(message, status=answer.status, headers=answer.headers, response=answer)

    def _fail(self, what: str) -> NoReturn:
        self._is_over = True
        raise HandshakeError(f'the proxy {self._proxy} {what} (on the way to {self._target})')


def _authority(url: URL) -> str:
    """Host and port, the port always included, as CONNECT needs it."""
    return format_authority(url.host.partition('%')[0], url.port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost' or host.endswith('.localhost')
