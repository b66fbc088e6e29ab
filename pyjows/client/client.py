"""`connect()`: dials a server, makes the handshake, and drives the transaction.

Owns all steps from a URL to an open connection: the slot in the dial queue, the proxy, TLS, redirects, and the timeout
for all of them. Must not know the content of the handshake (`handshake/`, `proxy.py`) nor what comes after it
(`transaction/`).

The steps of one connection are a chain of callbacks that reads straight down `_Connector`: `begin`, then either
`_admit` and `_connected`, or `_dial_proxy`, `_proxy_connected`, `_proxy_read` and `_connected`. From there on the
stream drives the transaction, which calls back: `answered` (it is open), `refused` (a redirect begins again), `gone`.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import Any, Unpack

from .._options import (
    CONNECTION,
    LIMIT_RULES,
    LimitOptions,
    Rule,
    check_options,
    cookies,
    flag,
    header_names,
    instance,
    ip_address,
    number,
    server_name,
    text,
)
from .._text import cut
from ..errors import HandshakeError
from ..heartbeat import Heartbeat
from ..http11 import Headers, HeadersLike
from ..ioloop import IOLoop, Stream
from ..ioloop.tls_errors import explained
from ..limits import LIMITS, Limits
from ..tls import TLS
from ..transaction import WebSocket, new_websocket
from ..url import URL, checked_url, format_authority, redirected_url
from .proxy import Tunnel, choose_proxy, open_tunnel
from .socks import SocksTunnel

__all__ = ['connect']

# Seconds until a connection has to be open.
TIMEOUT = 10.0

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# Headers for one server alone: they are not sent to the one that it redirects to.
_PRIVATE = frozenset({b'authorization', b'cookie', b'host', b'proxy-authorization'})

# How much of a URL is shown in a message: it may come from a redirect.
_NAMEABLE = 200

# How many connections through proxies are dialed at a time (RFC 6455 4.1: "a reasonably low number").
_PROXIED = 16


_client_tls = instance(
    (TLS, ssl.SSLContext, bool), 'an ssl.SSLContext, or True for the default one, or a TLS', optional=True
)


def client_tls(caller: str, name: str, value: Any) -> TLS | ssl.SSLContext | bool | None:
    """The option ``tls`` or ``proxy_tls`` of a client; raises TypeError or ValueError for what no client can use."""
    tls: TLS | ssl.SSLContext | bool | None = _client_tls(caller, name, value)
    if isinstance(tls, ssl.SSLContext) and tls.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ValueError(
            f"{caller}: {name}={value!r} is a server's: a client needs ssl.create_default_context() or "
            'ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)'
        )
    return tls


RULES: dict[str, Rule] = {
    'url': instance(str, "a URL, such as 'ws://127.0.0.1:3000'"),
    'ioloop': instance(IOLoop, 'an IOLoop or None', optional=True),
    'origin': text,
    'tls': client_tls,
    'server_hostname': server_name,
    'proxy': instance((str, bool), 'the URL of a proxy, True (from the environment) or None', optional=True),
    'proxy_tls': client_tls,
    'local_address': ip_address,
    'sock': instance(socket.socket, 'a connected socket or None', optional=True),
    'cookies': cookies,
    'private_headers': header_names,
    'max_redirects': number(0, 'redirects to follow, 0 for none', whole=True),
    'simultaneous': flag,
    'timeout': number(0, 'seconds', above=True),
    **CONNECTION,
    **LIMIT_RULES,
}


class MoreOptions(LimitOptions, total=False):
    """What `connect` takes beside the options that it names."""

    compression: Any


class DialOptions(MoreOptions, total=False):
    """What `connect` and `reconnect` take beside the URL, the loop and the headers."""

    origin: str | None
    subprotocols: Any
    tls: TLS | ssl.SSLContext | bool | None
    server_hostname: str | None
    proxy: str | bool | None
    proxy_tls: TLS | ssl.SSLContext | bool | None
    local_address: str | None
    cookies: Mapping[str, str]
    private_headers: Iterable[str]
    max_redirects: int
    simultaneous: bool
    timeout: float


class ConnectOptions(DialOptions, total=False):
    """All that `connect` takes beside the URL and the loop."""

    headers: HeadersLike
    sock: socket.socket | None


def connect(
    url: str,
    *,
    ioloop: IOLoop | None = None,
    headers: HeadersLike = (),
    origin: str | None = None,
    subprotocols: Any = (),
    tls: TLS | ssl.SSLContext | bool | None = True,
    server_hostname: str | None = None,
    proxy: str | bool | None = True,
    proxy_tls: TLS | ssl.SSLContext | bool | None = True,
    local_address: str | None = None,
    sock: socket.socket | None = None,
    cookies: Mapping[str, str] = MappingProxyType({}),
    private_headers: Iterable[str] = (),
    max_redirects: int = 10,
    simultaneous: bool = False,
    timeout: float = TIMEOUT,
    **options: Unpack[MoreOptions],
) -> WebSocket:
    """Connect to a server; returns the `WebSocket` at once, which opens on the loop.

    ::

        ws = pyjows.connect('ws://127.0.0.1:3000/chat')

        @ws.on
        def open(ws):
            ws.send(text='hi')

    Messages that are sent before it is open wait. A failure (of name resolution, connection, proxy, TLS or handshake)
    is emitted as ``error``, then ``finish``.

    A loop dials one connection at a time to one IP address (RFC 6455 4.1): the next one waits for a slot until that one
    is open or has failed. Through a proxy, where the address is not known, it is one at a time to one host name, and 16
    in all. A connection that is finished (`WebSocket.finish`) while it waits for its slot, and has nothing to send, is
    never made: ``finish`` comes with 1006.

    Args:
        url: ``ws://host:port/path``, ``wss://…``, or ``ws+unix:///path/of/socket:/target``.
        ioloop: the loop; by default the current one (`IOLoop.singleton`).
        headers: more headers for the request.
        origin: its ``Origin``, or None.
        subprotocols: to offer, the preferred one first.
        tls: for ``wss://``, a `TLS` or an `ssl.SSLContext`; True for the default one, which verifies the server's
            certificate and is made once for the process (`ssl.create_default_context`). Without effect on ``ws://``.
        server_hostname: the name that the server's certificate is checked for, if it is not the URL's host.
        proxy: an HTTP proxy with CONNECT, ``'http://user:password@host:port'``, or ``'https://…'`` for TLS to the
            proxy; or a SOCKS proxy, ``'socks5://…'`` or ``'socks4://…'`` (extra ``socks``). All of them resolve the
            names of hosts. True (the default) for the one in the environment (``HTTPS_PROXY`` and so on), except for
            ``localhost`` and loopback addresses; None for a direct connection.
        proxy_tls: for an ``https://`` proxy, as `tls` is for the server: whose certificate of the proxy is trusted.
        local_address: the IP address to connect from; by default the system chooses.
        sock: a connected stream socket, in place of connecting: no proxy is used, and no redirect is followed. It is
            closed with the connection. In an `ssl.SSLSocket`, ``wss://`` is a second layer of TLS.
        cookies: names and values for a ``Cookie`` header.
        private_headers: names of those in `headers` that are credentials for this server, such as ``'X-Api-Key'``: as
            ``Authorization`` and ``Cookie``, they are not sent to another that it redirects to.
        max_redirects: how many redirects (301, 302, 303, 307, 308) are followed, one after the other (10); 0 for
            none. ``Authorization``, ``Cookie`` and `private_headers` are not sent on where the scheme, host or port
            changes, and a redirect from ``wss://`` to ``ws://`` is an error.
        simultaneous: do not wait for a slot. For load generators, and for gateways: where a server answers an upgrade
            only after it has itself connected to the host that the upgrade came from, on the same loop, each of the two
            would wait for the other until the timeout. And where several servers share an address: one that does not
            answer holds its slot until its timeout.
        timeout: seconds until the connection has to be open (10), including name resolution, the wait for a slot, the
            proxy, TLS and redirects.
        **options: those of `WebSocket`: ``compression``, and the limits of a connection, such as
            ``max_websocket_size``, ``max_backlog`` and ``ping_interval``.

    Raises:
        ValueError: the URL, the proxy or an option is not valid, such as ``tls=False`` with ``wss://``.
        TypeError: an option is of the wrong type.
    """
    given = {
        'url': url,
        'ioloop': ioloop,
        'headers': headers,
        'origin': origin,
        'subprotocols': subprotocols,
        'tls': tls,
        'server_hostname': server_hostname,
        'proxy': proxy,
        'proxy_tls': proxy_tls,
        'local_address': local_address,
        'sock': sock,
        'cookies': cookies,
        'private_headers': private_headers,
        'max_redirects': max_redirects,
        'simultaneous': simultaneous,
        'timeout': timeout,
    }
    checked = check_options('connect()', {**given, **options}, RULES)
    if checked['cookies']:
        if 'cookie' in checked['headers']:
            raise ValueError('connect(): cookies= and a Cookie header in headers= are both given: use one of them')
        checked['headers'] = Headers([*checked['headers'].raw, (b'Cookie', checked['cookies'].encode())])
    parsed = checked_url('connect()', url)
    ioloop = IOLoop.singleton() if ioloop is None else ioloop
    ioloop.check_can_dial('connect()')
    if sock is not None and local_address is not None:
        raise ValueError('connect(): sock= is connected already: local_address= has no effect on it')
    limits = Limits('connect()', **{name: value for name, value in checked.items() if name in LIMITS})
    ws = new_websocket({'limits': limits, **{name: checked[name] for name in CONNECTION if name in checked}})
    ws.client_handshake(parsed, origin=origin)
    connector = _Connector(
        ws,
        ioloop,
        parsed,
        headers=checked['headers'],
        origin=origin,
        tls=tls,
        server_hostname=server_hostname,
        proxy=proxy,
        proxy_tls=proxy_tls,
        local_address=local_address,
        sock=sock,
        private=_PRIVATE | checked['private_headers'],
        max_redirects=max_redirects if sock is None else 0,
        simultaneous=simultaneous,
        timeout=timeout,
    )
    connector.start()
    return ws


class _Connector:
    """Connects one transaction, and owns its timers until it is closed."""

    def __init__(
        self,
        ws: WebSocket,
        ioloop: IOLoop,
        url: URL,
        *,
        headers: Headers,
        origin: str | None,
        tls: TLS | ssl.SSLContext | bool | None,
        server_hostname: str | None,
        proxy: str | bool | None,
        proxy_tls: TLS | ssl.SSLContext | bool | None,
        local_address: str | None,
        sock: socket.socket | None,
        private: frozenset[bytes],
        max_redirects: int,
        simultaneous: bool,
        timeout: float,
    ) -> None:
        self.ws = ws
        self.ioloop = ioloop
        self.url = url
        self.headers = headers
        self.origin = origin
        self.tls = tls
        self.server_hostname = server_hostname
        self.proxy = proxy
        self.proxy_tls = proxy_tls
        self.via: URL | None = None
        self.local_address = local_address
        self.sock = sock
        self.private = private
        self.max_redirects = max_redirects
        self.simultaneous = simultaneous
        self.timeout = timeout
        self.heartbeat: Heartbeat | None = None
        self.visited = [str(url)]
        self.connection: str | None = None
        self.slot: Any = None
        self.tunnel: Tunnel | SocksTunnel | None = None
        self.timer: Any = None
        self.deadline = monotonic() + timeout
        self.is_cancelled = False
        self.is_open = False

    def start(self) -> None:
        self.ws.protocol.await_loop(self.ioloop)
        self.begin()
        self.timer = self.ioloop.reactor.timer(self._timed_out, self.timeout)
        self.ws.protocol.owner = self
        self.clients = _Clients.of(self.ioloop)
        self.clients.connectors.add(self)

    def begin(self) -> None:
        """Connect to `url`; raises ValueError for a bad port or proxy, and calls nothing back before it returns."""
        url = self.url
        self.connection = None
        tls = self._tls()
        if not url.port and self.sock is None:
            raise ValueError(f'{self._name()} has port 0, to which nothing can be connected: give one from 1 to 65535')
        self.via = via = choose_proxy(self.proxy, url) if self.sock is None else None
        if self.sock is not None:
            self.connection = self.ioloop.client(self._connected, socket=self.sock, timeout=self._time_left(), **tls)
        elif via is not None:
            self._check_proxy_tls(via)
            self.tunnel = open_tunnel(via, url)
            self._acquire_slot({url.host: 1, 'proxied connections': _PROXIED}, partial(self._dial_proxy, via))
        else:
            where: dict[str, Any] = {'path': url.unix_path}
            if url.unix_path is None:
                where = {'address': url.host, 'port': url.port, 'local_address': self.local_address}
            if not self.simultaneous:
                where['admit'] = self._admit
            self.connection = self.ioloop.client(self._connected, timeout=self._time_left(), **where, **tls)

    # The slot

    def _admit(self, addresses: list[str], begin: Callable[[], object]) -> None:
        """The host's addresses are known: wait until no other connection to one of them is being made."""
        self._acquire_slot(dict.fromkeys(addresses, 1), begin)

    def _acquire_slot(self, limits: Mapping[Hashable, int], go_on: Callable[[], object]) -> None:
        self.slot = self.ioloop.dial_queue.acquire({} if self.simultaneous else limits, go_on)
        if self.is_cancelled:
            self.given_up(self.ws)

    def _release_slot(self) -> None:
        if self.slot is not None:
            self.slot.release()
            self.slot = None

    def _waits_for_slot(self) -> bool:
        return self.slot is not None and not self.slot.is_acquired

    def _slot_error(self) -> TimeoutError:
        return TimeoutError(
            errno.ETIMEDOUT,
            f'could not connect to {self._name()} within {self.timeout:g} seconds: other connections to the same '
            'address were being made, one at a time (RFC 6455 4.1); simultaneous=True does not wait for them',
        )

    def given_up(self, ws: WebSocket) -> None:
        """`WebSocket.finish` was called with nothing waiting to be sent: stop waiting for a slot."""
        self.is_cancelled = True
        if self._waits_for_slot():
            self._release_slot()
            self.ioloop.reactor.next_tick(lambda reactor: ws.protocol.connect_failed(None))

    # Through a proxy

    def _check_proxy_tls(self, via: URL) -> None:
        if via.secure and not self.proxy_tls:
            raise ValueError(
                f'proxy_tls={self.proxy_tls!r} with the proxy https://{via.host}: https:// is always encrypted; leave '
                'out proxy_tls=, or pass an ssl.SSLContext (use an http:// URL for a proxy without TLS)'
            )

    def _dial_proxy(self, via: URL) -> None:
        self.connection = self.ioloop.client(
            self._proxy_connected,
            address=via.host,
            port=via.port,
            timeout=self._time_left(),
            local_address=self.local_address,
            tls=self.proxy_tls if via.secure else None,
            server_hostname=via.server_name if via.secure else None,
        )

    def _proxy_connected(self, ioloop: IOLoop, err: OSError | None, stream: Stream | None) -> None:
        """The connection to the proxy is open, or failed: send the request for the tunnel."""
        if err is not None:
            assert self.via is not None
            why = err.strerror
            if isinstance(err.__cause__, ssl.SSLError):
                why = f'TLS with {self.via.host}: {explained(err.__cause__, of_proxy=True)}'
            failure = type(err)(err.errno, f'could not connect to {self._name()} through its proxy: {why}')
            failure.__cause__ = err
            self.ws.protocol.connect_failed(failure)
            return
        assert stream is not None and self.tunnel is not None
        stream.on('read', self._proxy_read)
        stream.on('close', self._proxy_gone)
        stream.write(self.tunnel.send())

    def _proxy_read(self, stream: Stream, data: bytes) -> None:
        """Take a part of the proxy's answer."""
        assert self.tunnel is not None
        try:
            if not self.tunnel.receive(data):
                if more := self.tunnel.send():
                    stream.write(more)
                return
        except HandshakeError as exc:
            self.ws.protocol.connect_failed(exc)
            return
        stream.unsubscribe('read', self._proxy_read).unsubscribe('close', self._proxy_gone)
        if not self.url.secure:
            self._connected(self.ioloop, None, stream)
            return
        self.connection = self.ioloop.client(
            self._connected, socket=stream.detach(), timeout=self._time_left(), **self._tls()
        )

    def _proxy_gone(self, stream: Stream) -> None:
        assert self.tunnel is not None
        try:
            self.tunnel.receive(b'')
        except HandshakeError as exc:
            self.ws.protocol.connect_failed(exc)

    # The handshake

    def _tls(self) -> dict[str, Any]:
        """The TLS options of `IOLoop.client`; raises ValueError where TLS is switched off for a URL that needs it."""
        if self.url.secure and not self.tls:
            raise ValueError(
                f'tls={self.tls!r} with {self._name()}: wss:// is always encrypted; leave out tls=, or pass an '
                'ssl.SSLContext (use a ws:// URL for a connection without TLS)'
            )
        if not self.url.secure:
            return {}
        return {'tls': self.tls, 'server_hostname': self.server_hostname or self.url.server_name}

    def _connected(self, ioloop: IOLoop, err: Exception | None, stream: Stream | None) -> None:
        if stream is None:
            if self._waits_for_slot() and isinstance(err, TimeoutError):
                err = self._slot_error()
            self.ws.protocol.connect_failed(err or OSError(f'could not connect to {self._name()}'))
            return
        self.ws.protocol.drive(stream, ioloop, self.connection)
        if self.via is not None and not self.url.secure:
            self.ws.protocol.is_encrypted = False  # TLS to the proxy ends there
        stream.start()

    def answered(self, ws: WebSocket) -> None:
        """The server has accepted the handshake; ``open`` is about to be emitted."""
        self.is_open = True
        self._stop_timer()
        self._release_slot()
        self.heartbeat = Heartbeat(self.ioloop.reactor, self.ws.limits, slots=1)
        self.heartbeat.add(ws.protocol)

    def refused(self, ws: WebSocket, exc: HandshakeError) -> bool:
        """The server did not accept; returns whether it was a redirect, which is followed or reported here."""
        if exc.status not in _REDIRECTS or 'location' not in exc.headers or not self.max_redirects:
            return False
        try:
            headers: Any = exc.headers
            locations = headers.get_all('location')
            if len(locations) > 1:
                raise ValueError(f'it has {len(locations)} Location headers, and one is allowed (RFC 9110 10.2.2)')
            self._follow(locations[0])
        except (ImportError, ValueError) as why:
            exc.args = (f'{exc}, which is not followed: {why}',)
            ws.protocol.connect_failed(exc)
        return True

    def _follow(self, location: str) -> None:
        """Follow a redirect; raises ValueError if it is not allowed, ImportError if its proxy needs an extra."""
        url = redirected_url(self.url, location)
        if str(url) in self.visited:
            way = ' to '.join(cut(one, _NAMEABLE) for one in self.visited)
            raise ValueError(f'the redirects go in a circle, {way} and back')
        if len(self.visited) > self.max_redirects:
            raise ValueError(f'there are more than max_redirects={self.max_redirects}')
        self.visited.append(str(url))
        if url.host != self.url.host:
            self.server_hostname = None  # it was for the other host
        if url.origin != self.url.origin:
            self.headers = Headers([pair for pair in self.headers.raw if pair[0].lower() not in self.private])
        self.url = url
        self.ws.protocol.restart().close()
        self._release_slot()
        self.ws.client_handshake(url, headers=self.headers, origin=self.origin)
        self.begin()

    # Timers, and the end

    def _name(self) -> str:
        """The URL in messages; a server that redirects chooses it."""
        return cut(str(self.url), _NAMEABLE)

    def _time_left(self) -> float:
        return max(0.001, self.deadline - monotonic())

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.ioloop.reactor.remove(self.timer)
            self.timer = None

    def _timed_out(self, reactor: Any) -> None:
        self.timer = None
        protocol = self.ws.protocol
        if self._waits_for_slot():
            protocol.connect_failed(self._slot_error())
        else:
            message = f'{self._name()} did not open within {self.timeout:g} seconds: {self._waits_for()}'
            late = HandshakeError(f'{message}; timeout= sets the limit')
            protocol.connect_failed(protocol.opening.refusal() or late)

    def _waits_for(self) -> str:
        """What has not come when the time is over."""
        if self.ws.protocol.stream is not None:
            return 'the connection was made, and its upgrade request not answered'
        if self.via is not None:
            proxy = format_authority(self.via.host, self.via.port)
            return f'there was no connection through the proxy {proxy}'
        return 'there was no connection'

    def loop_finishes(self) -> None:
        """The loop stops gracefully."""
        if self.ws.established:
            self.ws.finish(1001)
        else:
            self.ws.protocol.connect_failed(self._stopped_error())

    def loop_resets(self) -> None:
        """The loop removes everything. Where it has a socket of this connection, it closes that, which ends it."""
        if self.connection is None:  # it waits for a slot, or was given up
            self.ws.protocol.connect_failed(None if self.is_cancelled else self._stopped_error())

    def _stopped_error(self) -> HandshakeError:
        return HandshakeError(f'the loop was stopped before {self._name()} was open')

    def gone(self, ws: WebSocket) -> None:
        """The transaction is closed."""
        if self.heartbeat is not None:
            self.heartbeat.remove(ws.protocol)
        self._stop_timer()
        self._release_slot()
        self.clients.remove(self)
        if not self.is_open and self.connection is not None:
            stream = self.ioloop.stream(self.connection)
            if stream is not None:
                stream.close()
            else:
                self.ioloop.remove(self.connection)  # still being dialed


class _Clients:
    """The connections of a loop that are not closed, with one subscriber for all of them to each event of the loop."""

    def __init__(self) -> None:
        self.connectors: set[_Connector] = set()

    @classmethod
    def of(cls, ioloop: IOLoop) -> _Clients:
        """The set of a loop; it is made with the first connection and removed with the last."""
        for handler in ioloop.subscribers('finish'):
            clients = getattr(handler, '__self__', None)
            if isinstance(clients, cls):
                return clients
        clients = cls()
        ioloop.on('finish', clients.loop_finishes)
        ioloop.on('reset', clients.loop_resets)
        return clients

    def remove(self, connector: _Connector) -> None:
        self.connectors.discard(connector)
        if not self.connectors:
            connector.ioloop.unsubscribe('finish', self.loop_finishes).unsubscribe('reset', self.loop_resets)

    def loop_finishes(self, ioloop: IOLoop) -> None:
        for connector in list(self.connectors):
            connector.loop_finishes()

    def loop_resets(self, ioloop: IOLoop) -> None:
        for connector in list(self.connectors):
            connector.loop_resets()
