"""`connect()`: dials a server, makes the handshake, and drives the transaction.

Owns the way from a URL to an open connection. Must not know what the handshake says (`handshake.py`) nor what comes
after it (`transaction.py`).
"""

from __future__ import annotations

import ssl
from typing import Any

from .errors import HandshakeError
from .handshake import parse_url
from .ioloop import IOLoop, Stream
from .transaction import WebSocket

__all__ = ['connect']


def connect(
    url: str,
    *,
    ioloop: IOLoop | None = None,
    headers: Any = (),
    origin: str | None = None,
    subprotocols: Any = (),
    tls: ssl.SSLContext | bool = True,
    timeout: float = 10.0,
    ping_interval: float = 20.0,
    **options: Any,
) -> WebSocket:
    """Connect to a server; returns the `WebSocket` at once, which opens on the loop.

    ::

        ws = pyjows.connect('ws://127.0.0.1:3000/chat')

        @ws.on
        def open(ws):
            ws.send(text='hi')

    What is sent before it is open waits. What fails (name, connection, TLS, handshake) arrives as ``error``, then
    ``finish``.

    Args:
        url: ``ws://host:port/path``, ``wss://…``, or ``ws+unix:///path/of/socket:/target``.
        ioloop: the loop; by default the one of this place (`IOLoop.singleton`).
        headers: more headers for the request.
        origin: its ``Origin``, or None.
        subprotocols: to offer, most wanted first.
        tls: for ``wss://``, an `ssl.SSLContext`; True is the default one.
        timeout: seconds until the connection has to be open (10).
        ping_interval: seconds of silence after which the server is pinged, and as many again after which it is given
            up (20; 0 for never).
        **options: those of `WebSocket`: ``max_websocket_size``, ``compression``, ``close_timeout``.

    Raises:
        ValueError: the URL or an option is malformed.
    """
    parsed = parse_url(url)
    ioloop = IOLoop.singleton() if ioloop is None else ioloop
    ws = WebSocket(headers=headers, subprotocols=subprotocols, **options)
    ws.client_handshake(parsed, origin=origin)
    _Dial(ws, ioloop, url, timeout, ping_interval).start(parsed, tls)
    return ws


class _Dial:
    """One transaction on its way to being open, and the timers that watch over it."""

    def __init__(self, ws: WebSocket, ioloop: IOLoop, url: str, timeout: float, ping_interval: float) -> None:
        self.ws = ws
        self.ioloop = ioloop
        self.url = url
        self.timeout = timeout
        self.ping_interval = ping_interval
        self.connection: str | None = None
        self.timer: Any = None

    def start(self, parsed: Any, tls: Any) -> None:
        where: dict[str, Any] = {}
        if parsed.unix_path is not None:
            where['path'] = parsed.unix_path
        else:
            where.update(address=parsed.host, port=parsed.port)
        if parsed.secure:
            where.update(tls=tls, server_hostname=parsed.host)
        self.ws.owner = self
        self.ws.await_loop(self.ioloop)
        self.ioloop.on('finish', self._loop_finishes)
        self.timer = self.ioloop.reactor.timer(self._too_late, self.timeout)
        self.connection = self.ioloop.client(self._connected, timeout=self.timeout, **where)

    def _connected(self, ioloop: IOLoop, err: Exception | None, stream: Stream | None) -> None:
        ws = self.ws
        if err is not None or stream is None:
            ws.dialing_failed(err or OSError(f'could not connect to {self.url}'))
            return
        ws.on('open', self._opened)
        ws.drive(stream, ioloop, self.connection)
        stream.start()

    def _opened(self, ws: WebSocket) -> None:
        ws.unsubscribe('open', self._opened)
        self._forget_timer()
        if self.ping_interval:
            self.timer = self.ioloop.reactor.recurring(self._ping, self.ping_interval)

    def _ping(self, reactor: Any) -> None:
        self.ws.keep_alive()

    def _too_late(self, reactor: Any) -> None:
        self.timer = None
        self.ws.dialing_failed(HandshakeError(f'{self.url} did not open within {self.timeout:g} seconds'))
        if self.connection is not None:
            self.ioloop.remove(self.connection)

    def _loop_finishes(self, ioloop: IOLoop) -> None:
        if self.ws.established:
            self.ws.finish(1001)
        else:
            self.ws.dialing_failed(HandshakeError(f'the loop was stopped before {self.url} opened'))

    def gone(self, ws: WebSocket) -> None:
        """The transaction is closed."""
        self._forget_timer()
        self.ioloop.unsubscribe('finish', self._loop_finishes)

    def _forget_timer(self) -> None:
        if self.timer is not None:
            self.ioloop.reactor.remove(self.timer)
            self.timer = None
