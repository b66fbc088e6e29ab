"""Proxies: which one leads to a URL, and the CONNECT that opens the way (RFC 6455 4.1 step 3, RFC 9110 9.3.6).

Owns the choice (given, from the environment, none) and the conversation with the proxy, as bytes in and bytes out;
reading HTTP is h11's work. Must not know sockets, nor what is said through the tunnel.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NoReturn
from urllib.request import getproxies, proxy_bypass

import h11

from .errors import HandshakeError
from .handshake import USER_AGENT, Headers, Response
from .url import URL, parse_url

__all__ = ['Tunnel', 'choose_proxy', 'parse_proxy']

# Where to look for a proxy in the environment, WSS_PROXY and so on. RFC 6455 4.1 would rather have the one for https
# than the one for http: it is the one that can be expected to know CONNECT.
_FROM_ENVIRONMENT = {True: ('wss', 'https', 'all'), False: ('ws', 'https', 'http', 'all')}


def choose_proxy(proxy: str | bool | None, url: URL) -> URL | None:
    """The proxy that leads to a URL, None for the direct way.

    Args:
        proxy: ``'http://user:password@host:port'``; True for what the environment says (``WSS_PROXY``, ``HTTPS_PROXY``,
            ``ALL_PROXY``; for ``ws://`` also ``WS_PROXY`` and ``HTTP_PROXY``; not for what ``NO_PROXY`` names; on
            macOS and Windows the system's settings); None or False for the direct way. What the environment says is not
            meant for this machine itself: ``localhost`` and loopback addresses are always reached directly.
        url: where to. A Unix socket has no proxy.

    Raises:
        ValueError: the proxy is malformed, or of a kind that is not spoken here.
    """
    if not proxy:
        return None
    if isinstance(proxy, str):
        if url.unix_path is not None:
            raise ValueError(f'proxy={_shown(proxy)}: a Unix socket is on this machine, no proxy leads to it')
        return parse_proxy(proxy)
    if proxy is not True:
        raise TypeError(f'proxy is the URL of one, True (from the environment) or None (direct), not {proxy!r}')
    if url.unix_path is not None or _is_loopback(url.host):
        return None
    proxies = getproxies()
    found = next((proxies[scheme] for scheme in _FROM_ENVIRONMENT[url.secure] if proxies.get(scheme)), None)
    if found is None or proxy_bypass(_authority(url)):
        return None
    try:
        return parse_proxy(found)
    except ValueError as exc:
        raise ValueError(f'{exc} (from the environment; proxy=None goes without)') from None


def parse_proxy(proxy: str) -> URL:
    """A proxy's URL, ``http://user:password@host:port``; without a scheme it is http, without a port it is 80.

    Raises:
        ValueError: another scheme, or it is malformed.
    """
    scheme, separator, rest = proxy.partition('://')
    if not separator:
        scheme, rest = 'http', proxy
    if scheme.lower() != 'http':
        raise ValueError(
            f'the proxy {_shown(proxy)} is none that pyjows can speak to: it has to be an HTTP proxy with CONNECT, '
            'http://host:port (SOCKS, and TLS to the proxy itself, are not there)'
        )
    try:
        found = parse_url(f'http://{rest}')
        if found.target != '/':
            raise ValueError(f'there is something behind host and port: {found.target!r}')
        if not found.port:
            raise ValueError('0 is no port to connect to')
        return found
    except ValueError as exc:
        raise ValueError(f'the proxy {_shown(proxy)} is malformed, it has to be http://host:port: {exc}') from None


class Tunnel:
    """The way through a proxy to one host and port.

    ::

        tunnel = Tunnel(parse_proxy('http://127.0.0.1:3128'), parse_url('wss://example.com/'))
        send(tunnel.send())
        if tunnel.receive(data):                # False: not all here yet
            ...                                 # what is sent now reaches the host

    Args:
        proxy: whom one talks to, with the user name and password that it wants.
        url: where to.
        max_header_size: bytes of the answer's status line and headers, 16 KiB by default.
    """

    def __init__(self, proxy: URL, url: URL, *, max_header_size: int = 16384) -> None:
        self._proxy = _authority(proxy)
        self._target = _authority(url)
        self._authorization = proxy.authorization
        self._http = h11.Connection(h11.CLIENT, max_header_size)
        self._max_header_size = max_header_size
        self._size = 0

    def send(self) -> bytes:
        """The request as bytes."""
        headers = [('Host', self._target), ('User-Agent', USER_AGENT)]
        if self._authorization is not None:
            headers.append(('Proxy-Authorization', self._authorization))
        request = h11.Request(method='CONNECT', target=self._target, headers=headers)
        return self._http.send(request) + self._http.send(h11.EndOfMessage())

    def receive(self, data: bytes) -> bool:
        """Takes bytes as they come from the proxy, b'' for the end; tells whether the way is open.

        Raises:
            HandshakeError: the proxy refuses (with `status`, `headers` and `response`, without the body), hangs up, or
                does not speak HTTP.
        """
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
                        self._fail('sent something before it was asked, behind its answer to CONNECT')
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
        reason = event.reason.decode('latin-1')
        status = f'{event.status_code} {reason}'.rstrip()
        hint = ''
        if event.status_code == 407:
            what = 'others than those given' if self._authorization else 'them'
            hint = f': it wants a user name and password, {what}; proxy="http://user:password@{self._proxy}" says which'
        answer = Response(event.status_code, Headers(event.headers.raw_items()), b'', reason)
        message = f'the proxy {self._proxy} answered {status} to CONNECT {self._target}{hint}'
        raise HandshakeError(message, status=answer.status, headers=answer.headers, response=answer)

    def _fail(self, what: str) -> NoReturn:
        raise HandshakeError(f'the proxy {self._proxy} {what} (on the way to {self._target})')


def _authority(url: URL) -> str:
    """Host and port, both always there: what CONNECT asks for."""
    host = f'[{url.host.partition("%")[0]}]' if ':' in url.host else url.host
    return f'{host}:{url.port}'


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost' or host.endswith('.localhost')


def _shown(proxy: str) -> str:
    """A proxy as it is shown in a message: without a password."""
    return repr(re.sub('(//|^)[^/]*@', r'\1***@', proxy))
