"""`serve()`: listens, reads HTTP, answers or upgrades it, and drives the transactions.

Owns the connections of one server from their first byte to their last, and which handlers each request goes to. Must
not know where it listens (`listening.py`), the content of an upgrade request (`handshake/`), the order of plain HTTP
requests (`http_connection.py`), nor the WebSocket protocol (`transaction/`).

A connection begins as `HTTPConnection`: HTTP requests, answered through the server's ``request`` event, until one of
them asks for a WebSocket. Then the same stream feeds a `WebSocket`, and the `HTTPConnection` is forgotten.
"""

from __future__ import annotations

import inspect
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from .._options import (
    CONNECTION,
    LIMIT_RULES,
    ConnectionOptions,
    Rule,
    check_options,
    flag,
    instance,
    number,
    optional_function,
    unix_mode,
)
from ..broadcasting import Broadcast, broadcast
from ..handshake import ServerHandshake
from ..heartbeat import Heartbeat
from ..http11 import Request, Response
from ..ioloop import ConnectionLimit, IOLoop, LoopEmitter, Stream
from ..ioloop.listener import listening_sockets
from ..limits import LIMITS, Limits, checked_number
from ..messages import check_close
from ..origins import Origins, checked_origins
from ..safe_logger import SafeLogger
from ..statistics import ADDRESS_REFUSED, Statistics, Tally
from ..tls import TLS
from ..transaction import WebSocket, new_websocket
from .access_log import watch
from .admission import Admission, Authenticate
from .http_connection import HTTPConnection
from .listening import Listening, server_tls
from .proxies import Proxies, checked_forwarding, checked_proxies
from .routes import Routes
from .slow_close import SlowClose
from .static import StaticFiles

if TYPE_CHECKING:
    from .._typing import ServerSubscribe

__all__ = ['Server', 'serve']

_log = SafeLogger('pyjows')

_Handler = TypeVar('_Handler', bound=Callable[..., Any])

# Seconds that a connection over the limit of its address has to read its refusal.
_REFUSAL_TIMEOUT = 1.0

# Seconds that a stopped server waits, at least, for the request of a connection that it has accepted.
_REQUEST_GRACE = 1.0

_RULES: dict[str, Rule] = {
    'ioloop': instance(IOLoop, 'an IOLoop or None', optional=True),
    'origins': checked_origins,
    'authenticate': optional_function,
    'tls': server_tls,
    'trusted_proxies': checked_proxies,
    'forwarding': checked_forwarding,
    'handshake_timeout': number(0, 'seconds', above=True),
    'request_timeout': number(0, 'seconds, 0 for no limit'),
    'max_header_size': number(1, 'bytes', whole=True),
    'max_body_size': number(0, 'bytes', whole=True),
    'max_connections': number(1, 'connections', whole=True, optional=True),
    'max_connections_per_address': number(0, 'connections, 0 for no limit', whole=True),
    'backlog': number(1, 'connections', whole=True),
    'reuse_port': flag,
    'unix_mode': unix_mode,
    'access_log': flag,
    'sockets': listening_sockets,
    **CONNECTION,
    **LIMIT_RULES,
}


class ServeOptions(ConnectionOptions, total=False):
    """What `serve` takes beside URLs."""

    ioloop: IOLoop | None
    tls: TLS | ssl.SSLContext | None
    origins: Origins | None
    authenticate: Authenticate | None
    trusted_proxies: Sequence[str] | None
    forwarding: str
    handshake_timeout: float
    request_timeout: float
    max_header_size: int
    max_body_size: int
    max_connections: int | None
    max_connections_per_address: int
    backlog: int
    reuse_port: bool
    unix_mode: int | None
    access_log: bool
    sockets: Iterable[socket.socket | int] | Mapping[str, socket.socket | int]


def serve(*urls: str, **options: Unpack[ServeOptions]) -> Server:
    """Listen on one or more URLs; returns the `Server`, which works on the loop.

    ::

        server = pyjows.serve('ws://127.0.0.1:3000')

        @server.on
        def websocket(server, ws):
            ...

    Args:
        *urls: where to listen, as for `Server`.
        **options: those of `Server`.

    Raises:
        ValueError: a URL or an option is not valid, or there is nowhere to listen.
        TypeError: there is no such option, or it is of another type.
        OSError: the system refuses; the message names the address.
        RuntimeError: the loop is closed, or runs no coroutines and `authenticate` is one.
    """
    return Server(*urls, **options)


class Server(LoopEmitter):
    """Listens for WebSockets, and for plain HTTP beside them.

    Synopsis::

        server = Server('ws://127.0.0.1:3000', 'ws://[::1]:3000', 'ws+unix:///run/chat.sock')

        @server.on
        def websocket(server, ws):
            @ws.on
            def text(ws, message):
                ws.send(text=message)

        @server.on
        def request(server, req):
            return pyjows.Response(200, {'Content-Type': 'text/html'}, PAGE)

    Events:
        ``websocket`` ``(server, ws)``: an upgrade request: look at ``ws.req``, register handlers, choose a subprotocol,
            send, or ``ws.reject(403)``. It is accepted when all handlers have returned, coroutines included, or before
            that by ``ws.accept()``. A handler that raises refuses it with 500.
        ``request`` ``(server, req)``: a plain HTTP request. The first `Response` that a handler returns is the answer;
            404 if none does. A coroutine handler has `request_timeout` seconds.
        ``error`` ``(server, exc)``: a ``request`` handler raised (the client gets 500). Logged if there is no
            subscriber.
        ``finish`` ``(server)``: it was stopped, and the last connection is closed.

    Args:
        *urls: ``ws://host:port`` (port 0: any free one), ``ws://[::1]:3000``, ``ws+unix:///path``, or ``wss://`` with
            `tls`.
        ioloop: the loop; by default the current one (`IOLoop.singleton`).
        tls: for ``wss://``, a `TLS` with the certificate or an `ssl.SSLContext`. Or the URL names the files:
            ``wss://0.0.0.0:443?cert=chain.pem&key=key.pem``, also ``ca`` and ``verify``.
        origins: the pages that may open a WebSocket, by their ``Origin`` header: a list of `str`, of compiled patterns
            that match all of it, and None if a request without the header (not from a browser) is accepted too. Others
            get 403. By default all are accepted.
        authenticate: called ``authenticate(request)`` with each upgrade request, before the ``websocket`` event; it may
            be ``async``. What it returns is kept as ``ws.user``; a `Response` refuses the request with it, None,
            False or an empty string or collection with 403, an exception with 500. See `pyjows.auth`.
        trusted_proxies: addresses and networks of the reverse proxies in front (``['127.0.0.1', '10.0.0.0/8']``;
            ``'unix'`` for those that connect to a Unix socket). What they forward of the client is used
            for ``ws.remote_address``, ``ws.remote_port``, ``ws.scheme``, ``ws.host`` and the limit for each address.
        forwarding: how they tell it: ``'x-forwarded'`` (``X-Forwarded-For`` and ``X-Forwarded-Proto``, the default),
            ``'forwarded'`` (RFC 7239), or ``'proxy-protocol'`` (each connection from them begins with a header of the
            PROXY protocol, version 1 or 2). The proxy has to set it in each request, and the others are ignored.
        handshake_timeout: seconds that a client has for its TLS handshake, and then to send a request; that coroutine
            handlers may hold back the answer to an upgrade (503 after that); and that a client may take nothing of an
            HTTP answer (10).
        request_timeout: seconds that a coroutine handler may take for the answer to a plain HTTP request (60; 0 for no
            limit): then the client gets 503, and the coroutine is cancelled.
        max_header_size, max_body_size: of requests, in bytes (16384, 262144).
        max_connections: how many connections the server may have at a time; further ones wait in the kernel's backlog
            until one closes. By default the limit of the loop holds (65536 for all its servers).
        max_connections_per_address: how many connections one IP address may have at a time (0: no limit). Further ones
            get 429 and are closed; with TLS they are closed before the handshake. Behind a reverse proxy, see
            `trusted_proxies`.
        backlog: connections that the system queues before they are accepted (1024).
        reuse_port: let several processes listen on one port.
        unix_mode: permissions of the sockets of ``ws+unix://`` URLs, such as ``0o660``; by default, the umask decides.
        access_log: log a line for each answered upgrade and each close, at INFO (logger ``pyjows.access``).
        sockets: listening sockets, or their descriptors, beside the URLs or in place of them: those of
            `systemd_sockets`, or of a parent process. They speak TLS if `tls` is given; a dict has a URL for each,
            which says that. The server closes them.
        **options: those of every `WebSocket`: ``compression``, ``subprotocols``, ``headers``, and the limits of a
            connection, such as ``max_websocket_size``, ``max_backlog`` and ``ping_interval``.

    Attributes:
        connections, ports, urls: what there is now; and where it listens.
        ioloop: the loop.

    Methods: `websocket`, `route`, `static`, `broadcast`, `statistics`, `reload_tls`, `stop`, and those of
    `EventEmitter`.
    """

    if TYPE_CHECKING:

        @property
        def on(self) -> ServerSubscribe[Self, WebSocket]: ...  # type: ignore[override]
        @property
        def once(self) -> ServerSubscribe[Self, WebSocket]: ...  # type: ignore[override]

    _own_events = frozenset(('websocket', 'request', 'error', 'finish', 'new_listener'))

    def __init__(
        self,
        *urls: str,
        ioloop: IOLoop | None = None,
        tls: TLS | ssl.SSLContext | None = None,
        origins: Origins | None = None,
        authenticate: Authenticate | None = None,
        trusted_proxies: Sequence[str] | None = None,
        forwarding: str = 'x-forwarded',
        handshake_timeout: float = 10.0,
        request_timeout: float = 60.0,
        max_header_size: int = 16384,
        max_body_size: int = 262144,
        max_connections: int | None = None,
        max_connections_per_address: int = 0,
        backlog: int = 1024,
        reuse_port: bool = False,
        unix_mode: int | None = None,
        access_log: bool = False,
        sockets: Iterable[socket.socket | int] | Mapping[str, socket.socket | int] = (),
        **options: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__()
        given = {
            'ioloop': ioloop,
            'tls': tls,
            'origins': origins,
            'authenticate': authenticate,
            'trusted_proxies': trusted_proxies,
            'forwarding': forwarding,
            'handshake_timeout': handshake_timeout,
            'request_timeout': request_timeout,
            'max_header_size': max_header_size,
            'max_body_size': max_body_size,
            'max_connections': max_connections,
            'max_connections_per_address': max_connections_per_address,
            'backlog': backlog,
            'reuse_port': reuse_port,
            'unix_mode': unix_mode,
            'access_log': access_log,
            'sockets': sockets,
        }
        checked = check_options('serve()', {**given, **options}, _RULES)
        self._limits = Limits('serve()', **{name: value for name, value in checked.items() if name in LIMITS})
        if not urls and not checked['sockets']:
            raise ValueError("serve() takes at least one URL: serve('ws://127.0.0.1:3000')")
        self.ioloop = IOLoop.singleton() if ioloop is None else ioloop
        self.ioloop.check_usable('serve()')
        self._options = {'limits': self._limits, **{name: checked[name] for name in CONNECTION if name in checked}}
        if inspect.iscoroutinefunction(authenticate) and not self._can_spawn():
            raise RuntimeError('serve(): an async authenticate needs a loop that runs coroutines: IOLoop("asyncio")')
        self._admission: Admission | None = None
        if origins is not None or authenticate is not None:
            self._admission = Admission(checked['origins'], authenticate)
        self._handshake_timeout = handshake_timeout
        self._request_timeout = request_timeout
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._proxies: Proxies | None = None
        if checked['trusted_proxies'] is not None:
            self._proxies = Proxies(checked['trusted_proxies'], forwarding)
        elif forwarding != 'x-forwarded':
            raise ValueError(f'serve(): forwarding={forwarding!r} without trusted_proxies=: name the proxies to trust')
        self._limit: ConnectionLimit | None = None
        if max_connections is not None or max_connections_per_address != 0:
            is_proxy = None if self._proxies is None else self._proxies.is_proxy
            self._limit = ConnectionLimit(
                max_connections,
                max_connections_per_address,
                self._refuse_connection,
                is_proxy,
                self._connection_dropped,
            )
            self.ioloop.max_connections = max(self.ioloop.max_connections, max_connections or 0)
        # A dict, not a set: a broadcast iterates in the order of creation, for the sake of the CPU's caches.
        # The values: the address of a client behind a proxy that the limit has counted.
        self._websockets: dict[WebSocket, str | None] = {}
        self._incoming: set[HTTPConnection] = set()
        self._refused: set[Stream] = set()
        self._routes: Routes | None = None
        self._files: list[StaticFiles] = []
        self._heartbeat = Heartbeat(self.ioloop.reactor, self._limits)
        self._tally = Tally()
        self._was_full = False
        self._logs_access = access_log
        self._stopping = False
        self._is_finished = False
        self._stop_close = (1001, '')
        self._slow_close: SlowClose | None = None
        proxy_protocol = None
        if self._proxies is not None:
            proxy_protocol = self._proxies.protocol(handshake_timeout, self._bad_proxy_header)
        self._listening = Listening(
            self.ioloop,
            self._accepted,
            tls=tls,
            unix_mode=unix_mode,
            reuse_port=reuse_port,
            backlog=backlog,
            limit=self._limit,
            paused=self._accepting_paused,
            tls_timeout=handshake_timeout,
            tls_failed=self._tls_failed,
            proxy_protocol=proxy_protocol,
        )
        try:
            for url in urls:
                self._listening.at(url)
            for its_url, opened in checked['sockets']:
                if its_url is None:
                    self._listening.on(opened)
                else:
                    self._listening.at(its_url, opened)
        except BaseException:
            self._listening.close()
            raise
        self.ioloop.on('finish', self._loop_finishes)

    def __repr__(self) -> str:
        return f'<Server {" ".join(self._listening.urls)} connections={len(self._websockets)}>'

    @property
    def connections(self) -> frozenset[WebSocket]:
        """The current WebSockets."""
        return frozenset(self._websockets)

    @property
    def ports(self) -> list[int]:
        """The TCP ports listened on, in the order of the URLs."""
        return list(self._listening.ports)

    @property
    def urls(self) -> list[str]:
        """The URLs listened on, with their real ports."""
        return list(self._listening.urls)

    def broadcast(self, *, to: Iterable[WebSocket] | None = None, **message: Any) -> Broadcast:
        """Send one message, ``text=``, ``binary=`` or ``json=``, to all connections, or to those in `to`.

        It is encoded and framed once, and compressed once where the connections' settings are the same.

        Returns:
            How many it was queued for, and a list of those that were skipped: closing, closed, not open yet, or too
            far behind.

        Raises:
            TypeError, ValueError: the message is not valid.
        """
        return broadcast(self._websockets if to is None else to, **message)

    def websocket(self, rule: str) -> Callable[[_Handler], _Handler]:
        """Handle the WebSockets at a path: a decorator for ``handler(server, ws, **values)``, plain or ``async``.

        ::

            @server.websocket('/rooms/<name>')
            def room(server, ws, name):
                ...

        It is called as a handler of the ``websocket`` event is, and instead of those. Where no rule fits, the event is
        emitted if it has subscribers; otherwise the upgrade is refused with 404.

        Args:
            rule: as werkzeug.routing has them: ``'/rooms/<name>'``, ``'/users/<int:id>'``, ``'/files/<path:name>'``.

        Raises:
            ValueError: it is not a valid rule.
            ImportError: werkzeug is not installed (extra ``routing``).
        """
        return self._route(rule, None, True)

    def route(self, rule: str, *, methods: Iterable[str] = ('GET',)) -> Callable[[_Handler], _Handler]:
        """Answer plain HTTP requests at a path: a decorator for ``handler(server, req, **values)``, plain or async.

        It returns a `Response`, or None for 404. Another method gets 405, a path that lacks the rule's slash at the end
        a redirect. Where no rule fits, static files and the ``request`` event follow.

        Args:
            rule: as for `websocket`.
            methods: the methods of HTTP; with GET comes HEAD.

        Raises:
            ValueError: it is not a valid rule.
            ImportError: werkzeug is not installed (extra ``routing``).
        """
        return self._route(rule, methods, False)

    def _route(self, rule: str, methods: Iterable[str] | None, websocket: bool) -> Callable[[_Handler], _Handler]:
        """A decorator that adds a route; `methods` is None for WebSockets."""
        function = 'websocket()' if websocket else 'route()'
        if not isinstance(rule, str):
            event = 'websocket' if websocket else 'request'
            raise TypeError(
                f"{function}: a rule is a str, such as '/chat', not {rule!r}; "
                f'for all paths: @server.on, with a function whose name is {event}'
            )
        routes = self._routes = self._routes or Routes()

        def decorator(handler: _Handler) -> _Handler:
            if not callable(handler):
                raise TypeError(f'{function}: a handler must be callable, not {handler!r}')
            if inspect.iscoroutinefunction(handler) and not self._can_spawn():
                raise RuntimeError(f'the coroutine function of {rule!r} needs a loop that runs coroutines')
            routes.add(rule, handler, methods=methods, websocket=websocket)
            return handler

        return decorator

    def static(
        self,
        prefix: str,
        folder: str | os.PathLike[str],
        *,
        index: str | None = 'index.html',
        max_age: int | None = None,
    ) -> None:
        """Answer GET and HEAD requests with the files of a folder, below a path.

        Ranges, ``If-None-Match``, ``If-Modified-Since`` and ``If-Range`` are understood. Files are sent in pieces, as
        fast as the client takes them. Names that begin with a dot (but ``.well-known``) and symbolic links that lead
        out of the folder are not found.

        Args:
            prefix: ``'/'`` or ``'/assets/'``. Of several, the first that has the file answers.
            folder: the folder.
            index: the file that stands for a folder; None for none.
            max_age: seconds for ``Cache-Control: max-age``; None to send none.

        Raises:
            ValueError: the prefix does not begin and end with a slash, or there is no such folder.
        """
        self._files.append(StaticFiles(prefix, os.fspath(folder), index, max_age))

    def statistics(self) -> Statistics:
        """The counters so far, as a snapshot; goes through all connections."""
        return self._tally.statistics(self._websockets, len(self._incoming))

    def stop(self, code: int = 1001, reason: str = '', *, graceful: float = 0.0) -> Server:
        """Stop gracefully: no new connections, and a close frame to the open ones; ``finish`` when all are closed.

        A connection whose peer does not answer is closed after `close_timeout`. One that was accepted, and whose
        request is still to come, has `graceful` seconds for it (1 at least, `handshake_timeout` at most). The request
        is answered; a WebSocket is opened and closed at once. Idle HTTP connections are closed within a second. Calling
        it again closes those that still wait for their turn at once.

        Args:
            code, reason: of the close frames.
            graceful: seconds over which the connections are closed, one after the other, so that their clients do not
                all come back at once. Those that wait for their turn go on as before.

        Raises:
            ValueError: a bad code, reason or number of seconds.
            RuntimeError: the loop runs in another thread: ``ioloop.call_threadsafe(lambda ioloop: server.stop())``.
        """
        self.ioloop.reactor.check_thread('Server.stop()')
        if self._stopping:
            if self._slow_close is not None:
                self._slow_close.hurry()
            return self
        check_close('stop()', code, reason)
        seconds = checked_number('stop()', 'graceful', graceful, 0, 'seconds')
        self._stopping = True
        self._stop_close = (code, reason)
        self._listening.close()
        for incoming in list(self._incoming):
            incoming.stop(max(seconds, _REQUEST_GRACE))
        for stream in list(self._refused):
            stream.close()
        if seconds:
            reactor = self.ioloop.reactor
            self._slow_close = SlowClose(reactor, self._websockets, seconds, lambda ws: ws.finish(code, reason))
        else:
            for ws in list(self._websockets):
                ws.finish(code, reason)
        self._check_finished()
        return self

    def reload_tls(self, tls: TLS | ssl.SSLContext | None = None) -> Server:
        """Read the files of the certificates again: new connections get the new ones, open connections go on.

        Args:
            tls: something else for the option ``tls`` of `serve`; it is needed where that was an `ssl.SSLContext`.

        Raises:
            ValueError: the server has no TLS, there are no files to be read again, or one is not a valid PEM file.
            OSError: a file cannot be read. In all cases, everything stays as it was.
        """
        self._listening.reload_tls(tls)
        return self

    def _loop_finishes(self, ioloop: IOLoop) -> None:
        self.stop(graceful=ioloop.stops_over)

    # Connections

    def _accepted(self, ioloop: IOLoop, stream: Stream, connection: str) -> None:
        incoming = HTTPConnection(self, stream, connection)
        self._incoming.add(incoming)
        stream.receiver = incoming
        incoming.stream = stream
        stream.paces_reading = True
        stream.start()
        if self._stopping:  # its TLS handshake took until now
            incoming.stop(_REQUEST_GRACE)

    def _bad_proxy_header(self, exc: Exception) -> None:
        _log.info('a connection of a trusted proxy is closed: %s', exc)
        self._tally.refused['PROXY header'] += 1

    def _tls_failed(self, exc: OSError) -> None:
        self._tally.refused['handshake timeout' if isinstance(exc, TimeoutError) else 'TLS handshake'] += 1

    def _accepting_paused(self, is_full: bool) -> None:
        if is_full and not self._was_full:
            self._was_full = True
            _log.warning(
                '%r has %d connections, and accepts no more until one is closed: more wait in the backlog '
                '(max_connections; statistics().accepting_paused counts, this is logged once)',
                self, len(self._websockets) + len(self._incoming),
            )  # fmt: skip
        self._tally.accepting_paused += 1

    def _connection_dropped(self) -> None:
        self._tally.refused[ADDRESS_REFUSED] += 1

    def _refuse_connection(self, ioloop: IOLoop, stream: Stream) -> None:
        """One connection too many from its address: send 429 without reading a request, and close it soon."""
        self._tally.refused[ADDRESS_REFUSED] += 1
        stream.write(ServerHandshake().respond(_too_many_connections())).shutdown()
        timer = ioloop.reactor.timer(lambda reactor: stream.close(), _REFUSAL_TIMEOUT)
        self._refused.add(stream)

        def closed(stream: Stream) -> None:
            self._refused.discard(stream)
            ioloop.reactor.remove(timer)

        stream.on('close', closed)

    def _upgrade(self, incoming: HTTPConnection, request: Request) -> None:
        """An HTTP connection asks for a WebSocket."""
        self._incoming.discard(incoming)
        ws = new_websocket(self._options)
        protocol = ws.protocol
        protocol.kept_alive = incoming.kept_alive
        protocol.owner = self
        protocol.traffic = self._tally.traffic
        self._websockets[ws] = None
        self._heartbeat.add(protocol)
        protocol.drive(incoming.stream, self.ioloop, incoming.connection)
        protocol.request_received(incoming.handshake, request, self._announce, self._handshake_timeout)
        if self._stopping:
            ws.finish(*self._stop_close)

    def _announce(self, ws: WebSocket, coroutines: list[Any]) -> None:
        if self._logs_access:
            watch(ws)
        if self._proxies is not None and not self._is_client_counted(ws, self._proxies):
            return
        if self._admission is None:
            self._announce_admitted(ws, coroutines)
        else:
            self._admission.admit(ws, coroutines, self._announce_admitted)

    def _is_client_counted(self, ws: WebSocket, proxies: Proxies) -> bool:
        """Determine the client behind a proxy, and count its address; False if it has too many and was refused."""
        assert ws.req is not None
        client = ws.protocol.client = proxies.client(ws.protocol.stream, ws.req)
        if client is None or self._limit is None or proxies.forwarding == 'proxy-protocol':
            return True
        address = self._websockets[ws] = self._limit.acquire_address(client.address)
        if address is None:
            ws.protocol.cause = ADDRESS_REFUSED
            ws.protocol.opening.refuse(_too_many_connections())
        return address is not None

    def _announce_admitted(self, ws: WebSocket, coroutines: list[Any]) -> None:
        """Call the handler of the route of an admitted request, or those of ``websocket``."""
        if self._routes is not None and self._routes.has_websockets:
            assert ws.req is not None
            found = self._routes.find(ws.req, websocket=True)
            if found is None and not self.has_subscribers('websocket'):
                found = Response.text('not found\n', 404)
            if isinstance(found, Response):
                ws.protocol.opening.refuse(found)
                return
            if found is not None:
                handler, values = found
                result = handler(self, ws, **values)
                if inspect.iscoroutine(result):
                    coroutines.append(result)
                return
        self._call_for_coroutines('websocket', coroutines, ws)

    def _respond(self, request: Request) -> Any:
        """The answer to a plain HTTP request; a coroutine where a handler is one."""
        found = None if self._routes is None else self._routes.find(request, websocket=False)
        if isinstance(found, Response):
            return found
        if found is not None:
            handler, values = found
            return handler(self, request, **values)
        for files in self._files:
            response = files.respond(request)
            if response is not None:
                return response
        for handler in self.subscribers('request'):
            response = handler(self, request)
            if response is not None:
                return response
        return None

    def gone(self, ws: WebSocket) -> None:
        """A transaction is closed."""
        address = self._websockets.pop(ws, None)
        if address is not None and self._limit is not None:
            self._limit.release_address(address)
        self._heartbeat.remove(ws.protocol)
        self._tally.connection_closed(ws)
        self._check_finished()

    def _lost(self, incoming: HTTPConnection) -> None:
        self._incoming.discard(incoming)
        self._check_finished()

    def _check_finished(self) -> None:
        if self._websockets:
            return
        if self._stopping and not self._incoming and not self._is_finished:
            self._is_finished = True
            self.ioloop.unsubscribe('finish', self._loop_finishes)
            if self._slow_close is not None:
                self._slow_close.cancel()
            self._emit_safely('finish')


def _too_many_connections() -> Response:
    return Response.text('too many connections from your address\n', 429)
