"""`IOLoop`: servers, clients, connections and timers on one reactor.

Owns the ids of everything on the loop, and the limit of connections. Must not know what the connections carry, how a
graceful stop waits for them (`graceful_stop.py`), how a client makes one (`connector.py`), nor how a reactor waits.
"""

from __future__ import annotations

import asyncio
import os
import socket as _socket
import ssl
import threading
import weakref
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, ClassVar, TypeVar, overload

from ..limits import checked_number
from ..reactor import Reactor, Timer, choose
from ..safe_logger import SafeLogger
from ..tls import TLS, ServerTLS
from .connector import Connector
from .dial_queue import DialQueue
from .graceful_stop import GracefulStop, becomes_true
from .limit import ConnectionLimit
from .listener import Listener, listen
from .never_run import expect_run, warn_if_never_run
from .proxy_header import ProxyHeader, ProxyProtocol
from .scheduling import Scheduling
from .stream import LoopData, Stream
from .tls import TLSNegotiation, TLSSocket, secured_stream

__all__ = ['IOLoop']

_log = SafeLogger('pyjows')

Call = Callable[['IOLoop'], object]
ServerCall = Callable[['IOLoop', Stream, str], object]
ClientCall = Callable[['IOLoop', OSError | None, Any], object]
Release = Callable[[], object]
AnyCall = TypeVar('AnyCall', bound=Callable[..., object])

# Seconds.
_TLS_TIMEOUT = 10.0

_MAX_CONNECTIONS = 65536

# Connections accepted from one listening socket in one turn.
_MULTI_ACCEPT = 64

# The attribute of an asyncio loop that refers to its IOLoop: both have the same lifetime.
_IOLOOP_ATTRIBUTE = '_pyjows_ioloop'

# The IOLoops of asyncio loops that a host runs.
_HOSTED: weakref.WeakSet[IOLoop] = weakref.WeakSet()


class IOLoop(Scheduling):
    """A loop with servers, clients, connections and timers on it.

    Synopsis::

        loop = IOLoop()

        @loop.server(port=3000)
        def echo(loop, stream, id):
            @stream.on
            def read(stream, data):
                stream.write(data)

        @loop.timer(60)
        def bye(loop):
            loop.remove(echo)       # the decorated name is the id
            loop.stop_gracefully()

        loop.start()

    Args:
        reactor: a name, a class, an instance, or None for the best one available (`pyjows.reactor.choose`).

    Events:
        ``finish`` ``(loop)``: a graceful stop began: no new connections are accepted, and the loop waits until all
            connections are closed. Handlers should close theirs.
        ``stop`` ``(loop)``: a graceful stop has closed all connections, and coroutine handlers have ended or had a
            second for it; or `close` was called. `stop` and `reset` do not emit it. See `delay_stop`.
        ``reset`` ``(loop)``: `reset` was called, nothing is removed yet.

    Attributes:
        reactor: the reactor. What a callback raises is emitted there as ``error``, or logged.
        loop_data: what the streams share (`LoopData`).
        dial_queue: limits concurrent dials per host (`DialQueue`).
        max_accepts: the total number of connections to accept before the loop stops gracefully; 0 (the default) for no
            limit.
        max_connections: how many accepted connections there may be at a time (65536). At the limit accepting pauses:
            further ones wait in the kernel's backlog until one closes.
        multi_accept: how many connections are accepted in one turn of the loop from one socket (64).
        stops_over: in handlers of ``finish``: the seconds over which connections should be closed.
        connections, acceptors, ports, is_running, is_closed: see there.

    Methods: `server`, `client`, `stream`, `acceptor`, `timer`, `recurring`, `next_tick`, `call_threadsafe`, `remove`,
    `start`, `stop`, `stop_gracefully`, `delay_stop`, `one_tick`, `reset`, `close`, `statistics`, `singleton`.

    Each that takes a callback also works as a decorator, and the decorated name then stands for what the method
    returns: the id of a server or client, the `Timer`. ``async def`` callbacks need a reactor that runs coroutines.

    While the loop runs, methods that change it raise RuntimeError on another thread; `call_threadsafe` is for those.
    """

    _own_events = frozenset(('finish', 'stop', 'reset', 'new_listener'))

    _singleton: ClassVar[IOLoop | None] = None
    _singleton_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, reactor: str | type[Reactor] | Reactor | None = None) -> None:
        super().__init__()
        self.reactor = choose(reactor)
        self.loop_data = LoopData(self.reactor)
        self.dial_queue = DialQueue(self.reactor)
        self.max_accepts = 0
        self.multi_accept = _MULTI_ACCEPT
        self._max_connections = _MAX_CONNECTIONS
        self._accepts = 0
        self._numbers = count(1)
        self._acceptors: dict[str, Listener] = {}
        self._accepted: dict[str, Stream] = {}
        self._dialed: dict[str, Stream] = {}
        self._connectors: dict[str, Connector] = {}
        # PROXY headers and TLS handshakes of clients, each with what is to be called if it is cancelled.
        self._negotiations: dict[TLSNegotiation | ProxyHeader, Release | None] = {}
        # The accepted connections that count for a `ConnectionLimit`.
        self._releases: dict[Stream, Release] = {}
        self._ids: dict[Stream, str] = {}
        self._is_accepting_paused = False
        self._closed = self._is_resetting = False
        self._stopping = GracefulStop(
            self.reactor, self._open_things, self._close_all, self._all_closed, self._stopped_gracefully
        )
        self.stops_over = 0.0
        self.loop_data.on_closed = self._stream_closed
        self.reactor.on('shutdown', self._host_shuts_down)
        self.reactor.on('end', self._all_closed)
        self.reactor.on('close', self._host_closes)

    def __repr__(self) -> str:
        return (
            f'<IOLoop {self.reactor.name} {"running" if self.is_running else "idle"} '
            f'acceptors={len(self._acceptors)} connections={len(self._ids)}>'
        )

    @classmethod
    def singleton(cls) -> IOLoop:
        """The default loop: one for each running asyncio loop; outside of asyncio, one for the process.

        One that was closed is replaced.
        """
        try:
            host = asyncio.get_running_loop()
        except RuntimeError:
            with cls._singleton_lock:
                if IOLoop._singleton is None or IOLoop._singleton.is_closed:
                    IOLoop._singleton = cls()
                return IOLoop._singleton
        ioloop = getattr(host, _IOLOOP_ATTRIBUTE, None)
        if not isinstance(ioloop, IOLoop) or ioloop.is_closed:
            if IOLoop._singleton is not None:
                warn_if_never_run(IOLoop._singleton)
            for other in list(_HOSTED):
                if other.reactor.is_closed:
                    other.close()  # its sockets would stay open until garbage collection
            ioloop = cls('asyncio')
            setattr(host, _IOLOOP_ATTRIBUTE, ioloop)
            _HOSTED.add(ioloop)
        return ioloop

    # State

    @property
    def is_running(self) -> bool:
        """Whether the loop is running."""
        return self.reactor.is_running

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed or self.reactor.is_closed

    @property
    def connections(self) -> dict[str, Stream]:
        """The streams of all connections, accepted and dialed, by id."""
        return {**self._accepted, **self._dialed}

    @property
    def acceptors(self) -> dict[str, Listener]:
        """The listening sockets, by id, in the order in which they were opened."""
        return dict(self._acceptors)

    def statistics(self) -> dict[str, int]:
        """Numbers of ``acceptors``, ``accepted`` and ``dialed`` connections, and of ``dialers`` and ``tls_handshakes``
        under way; ``accepts`` counts all connections that were ever accepted.
        """
        return {
            'acceptors': len(self._acceptors),
            'accepted': len(self._accepted),
            'dialed': len(self._dialed),
            'dialers': len(self._connectors),
            'tls_handshakes': len(self._negotiations),
            'accepts': self._accepts,
        }

    @property
    def ports(self) -> list[int]:
        """The TCP ports that are listened to, in the order in which they were opened."""
        return [acceptor.port for acceptor in self._acceptors.values() if acceptor.port is not None]

    def acceptor(self, id: str) -> Listener | None:
        """The listening socket of a server, with its `port`, `address` and `path`."""
        return self._acceptors.get(id)

    @property
    def max_connections(self) -> int:
        """How many accepted connections there may be at a time; further ones wait in the kernel's backlog."""
        return self._max_connections

    @max_connections.setter
    def max_connections(self, limit: int) -> None:
        self.reactor.check_thread('IOLoop.max_connections')
        self._max_connections = checked_number(
            'IOLoop', 'max_connections', limit, 0, 'connections, 0 to accept none', whole=True
        )
        self._resume_accepting()

    # Servers

    @overload
    def server(self, cb: ServerCall, /, **options: Any) -> str: ...
    @overload
    def server(self, /, **options: Any) -> Callable[[ServerCall], str]: ...
    def server(self, cb: Any = None, /, **options: Any) -> Any:
        """Accept connections: ``cb(loop, stream, id)`` for each.

        Args:
            cb: without it, this is a decorator.
            address: an IP address to listen to, or a name for one; by default all of IPv4. An IPv6 address takes IPv6
                only.
            port: the TCP port; 0 (the default) for a free one: `ports` and `acceptor` tell which.
            path: of a Unix socket, instead.
            fd, socket: an open stream socket, instead; the loop will close it.
            backlog: how many connections may wait to be accepted (4096, if the system allows).
            reuse_port: whether several processes may listen to the port.
            tls: for TLS, an `ssl.SSLContext` or a `pyjows.TLS`; a `ServerTLS` can be replaced later.
            tls_timeout: seconds that a TLS handshake may take (10).
            tls_failed: called ``tls_failed(exc)`` for each TLS handshake that fails.
            paused: called ``paused(is_full)`` each time that accepting pauses while connections wait: with True at the
                limit of connections, with False for lack of descriptors or memory.
            limit: a `ConnectionLimit` for these connections, beside that of the loop.
            proxy_protocol: a `ProxyProtocol`: which connections begin with a PROXY header; its `ClientAddress` is then
                `Stream.client`.

        Returns:
            The id of the server, for `remove` and `acceptor`.

        Raises:
            OSError: the system refuses; the message names the address.
            ValueError, TypeError: an argument is not valid.
        """
        if cb is None:
            return partial(self.server, **options)
        return self._listen(self._check_callback(cb), **options)

    def _listen(
        self,
        cb: ServerCall,
        *,
        address: str | None = None,
        port: int = 0,
        path: str | os.PathLike[str] | None = None,
        fd: int | None = None,
        socket: _socket.socket | None = None,
        backlog: int = 4096,
        reuse_port: bool = False,
        tls: TLS | ServerTLS | ssl.SSLContext | None = None,
        tls_timeout: float = _TLS_TIMEOUT,
        tls_failed: Callable[[Any], object] = lambda exc: None,
        paused: Callable[[bool], object] = lambda is_full: None,
        limit: ConnectionLimit | None = None,
        proxy_protocol: ProxyProtocol | None = None,
    ) -> str:
        self.check_usable('IOLoop.server()')
        if not isinstance(tls, TLS | ServerTLS | ssl.SSLContext | None):
            raise TypeError(f'tls takes an ssl.SSLContext with a certificate, not {tls!r}; or a TLS(cert, key)')
        if isinstance(tls, TLS | ssl.SSLContext):
            tls = ServerTLS(tls)
        expect_run(self)
        opened = listen(
            address=address, port=port, path=path, fd=fd, socket=socket, backlog=backlog, reuse_port=reuse_port
        )
        accept = (
            partial(self._accept, cb) if tls is None else partial(self._accept_tls, cb, tls, tls_timeout, tls_failed)
        )
        if limit is not None:
            accept = partial(self._accept_limited, accept, limit, tls is not None)
        if proxy_protocol is not None:
            accept = partial(
                proxy_protocol.accept, self.reactor, self._negotiations, limit, self._connection_ended, accept
            )
        try:
            listener = Listener(self.reactor, opened, accept, partial(self._room, limit), paused)
        except OSError:  # the system cannot watch it
            opened.close()
            raise
        id = self._new_id()
        self._acceptors[id] = listener
        return id

    def _room(self, limit: ConnectionLimit | None) -> int:
        """How many connections may be accepted now."""
        room = self._max_connections - len(self._accepted) - len(self._negotiations)
        if self.max_accepts:
            room = min(room, self.max_accepts - self._accepts)
        if limit is not None:
            room = limit.room(room)
        if room <= 0:
            self._is_accepting_paused = True
        return min(room, self.multi_accept)

    def _accept(
        self, cb: ServerCall, socket: _socket.socket, release: Release | None = None, client: Any = None
    ) -> None:
        self._count_accept()
        self._call_server(cb, Stream(socket, self.loop_data), release, client)

    def _accept_tls(
        self,
        cb: ServerCall,
        tls: ServerTLS,
        timeout: float,
        failed: Callable[[Any], object],
        socket: _socket.socket,
        release: Release | None = None,
        client: Any = None,
    ) -> None:
        def done(exc: OSError | None, secured: TLSSocket | None) -> None:
            self._negotiations.pop(negotiation, None)
            if secured is not None:
                self._call_server(cb, secured_stream(secured, self.loop_data), release, client)
            else:
                _log.info('a TLS handshake with a client failed: %s', exc)
                failed(exc)
                if release is not None:
                    release()
                self._connection_ended()

        self._count_accept()
        negotiation = TLSNegotiation(self.reactor, socket, tls.context, done, server_side=True, timeout=timeout)
        self._negotiations[negotiation] = release

    def _accept_limited(
        self,
        accept: Callable[..., None],
        limit: ConnectionLimit,
        is_tls: bool,
        socket: _socket.socket,
        client: Any = None,
    ) -> None:
        address = limit.acquire(socket, None if client is None else client.address)
        release = partial(limit.release, address)
        if address is not None:
            accept(socket, release, client)
            return
        self._count_accept()
        if is_tls or limit.refuse is None:
            socket.close()
            release()
            limit.dropped()
            self._connection_ended()
        else:
            stream = Stream(socket, self.loop_data)
            self._releases[stream] = release
            self._register(stream, self._accepted, self._new_id())
            self._call(limit.refuse, stream)

    def _count_accept(self) -> None:
        self._accepts += 1
        if self.max_accepts and self._accepts >= self.max_accepts:
            self.reactor.next_tick(lambda reactor: self.stop_gracefully())

    def _call_server(self, cb: ServerCall, stream: Stream, release: Release | None, client: Any) -> None:
        stream.client = client
        if release is not None:
            self._releases[stream] = release
        id = self._register(stream, self._accepted, self._new_id())
        try:
            self._call(cb, stream, id)
        except BaseException:
            stream.close()  # the callback did not take charge of it
            raise

    # Clients

    @overload
    def client(self, cb: ClientCall, /, **options: Any) -> str: ...
    @overload
    def client(self, /, **options: Any) -> Callable[[ClientCall], str]: ...
    def client(self, cb: Any = None, /, **options: Any) -> Any:
        """Open a connection: ``cb(loop, err, stream)`` once, with an OSError or with a `Stream`, the other being None.

        Args:
            cb: without it, this is a decorator.
            address: a host name or IP address (``127.0.0.1``). All addresses of a name are tried, staggered (RFC 8305).
            port: the TCP port.
            path: of a Unix socket, instead.
            socket: a connected socket, instead: for TLS on it (TLS in TLS, if it is an `ssl.SSLSocket`), or to drive it
                by this loop.
            local_address: the IP address to connect from.
            timeout: seconds for connecting, TLS included (10).
            tls: an `ssl.SSLContext`, a `pyjows.TLS`, or True for the default one (`ssl.create_default_context`, once a
                process).
            server_hostname: the name that the certificate is checked for (`address`, without the zone of an IPv6 one).
            admit: called ``admit(addresses, begin)`` with the IP addresses that were found, before the first is dialed:
                dialing goes on when it calls ``begin()``. The time until then counts.

        Returns:
            The id of the connection; `remove` cancels one that is still being made, then the callback is not called.
            Where the loop closes all, `err` is ECANCELED.

        Raises:
            ValueError, TypeError: an argument is not valid. Later failures arrive as ``err``, whose message names the
                address and the cause.
        """
        if cb is None:
            return partial(self.client, **options)
        return self._dial(self._check_callback(cb), **options)

    def _dial(self, cb: ClientCall, **options: Any) -> str:
        self.check_can_dial('IOLoop.client()')
        id = self._new_id()
        connector = Connector(self.reactor, self.loop_data, partial(self._dial_done, id, cb), **options)
        expect_run(self)
        self._connectors[id] = connector
        connector.start()
        return id

    def _dial_done(self, id: str, cb: ClientCall, exc: OSError | None, stream: Stream | None) -> None:
        self._connectors.pop(id, None)
        if stream is None:
            try:
                self._call(cb, exc, None)
            finally:
                self._connection_ended()
            return
        self._register(stream, self._dialed, id)
        try:
            self._call(cb, None, stream)
        except BaseException:
            stream.close()  # the callback did not take charge of it
            raise

    # Connections

    @overload
    def stream(self, what: Stream) -> str: ...
    @overload
    def stream(self, what: str) -> Stream | None: ...
    def stream(self, what: Stream | str) -> str | Stream | None:
        """The stream of an id, or None; given a stream, let this loop drive it and return its id. Else TypeError."""
        if isinstance(what, str):
            return self._accepted.get(what) or self._dialed.get(what)
        self.check_usable('IOLoop.stream(stream)')
        if not isinstance(what, Stream):
            raise TypeError(f'stream() takes an id or a Stream, not {what!r}')
        return self._ids.get(what) or self._register(what, self._dialed, self._new_id())

    def _register(self, stream: Stream, where: dict[str, Stream], id: str) -> str:
        where[id] = stream
        self._ids[stream] = id
        stream.start()
        return id

    def _stream_closed(self, stream: Stream) -> None:
        id = self._ids.pop(stream, None)
        if id is not None:
            self._accepted.pop(id, None)
            self._dialed.pop(id, None)
            if self._releases and (release := self._releases.pop(stream, None)) is not None:
                release()
            self._connection_ended()

    def _connection_ended(self) -> None:
        """A connection is closed, or an attempt to make one has ended."""
        if self._is_accepting_paused:
            self._resume_accepting()
        if self._stopping.is_begun:
            self._stopping.check_later()

    def _resume_accepting(self) -> None:
        """Accept again, if there is room now."""
        self._is_accepting_paused = False
        for acceptor in self._acceptors.values():
            acceptor.resume()

    # Removing

    def remove(self, what: str | Timer) -> bool:
        """Remove the object of an id, or a timer; returns whether it was there.

        A server stops listening (its connections stay), a client that is not connected yet gives up, a connection
        closes when it has written all that waits.
        """
        self.reactor.check_thread('IOLoop.remove()')
        if isinstance(what, Timer):
            return self.reactor.remove(what)
        if (acceptor := self._acceptors.pop(what, None)) is not None:
            acceptor.close()
        elif (connector := self._connectors.pop(what, None)) is not None:
            connector.cancel()
            self._connection_ended()
        elif (stream := self.stream(what)) is not None:
            stream.close_gracefully()
        else:
            return False
        return True

    # Running

    def start(self) -> None:
        """Run until `stop`, or until there is nothing left to wait for.

        Raises:
            RuntimeError: it is running already or closed, or a host runs the asyncio loop.
        """
        if self.is_closed:
            self.check_usable('IOLoop.start()')
        self.reactor.start()

    def one_tick(self) -> None:
        """Run until at least one event was handled, or there is nothing left to wait for.

        Raises:
            RuntimeError: it is closed, or a host runs the asyncio loop.
        """
        self.check_usable('IOLoop.one_tick()')
        self.reactor.one_tick()

    def stop(self) -> None:
        """Have `start` return at the end of this turn; nothing is closed, and `start` can be called again.

        On an asyncio loop that a host runs, this does nothing.
        """
        self.reactor.stop()

    def stop_gracefully(self, timeout: float | None = None, *, graceful: float = 0.0) -> None:
        """Accept no new connections, emit ``finish``, and stop when all connections are closed.

        What the loop waits for is logged: as INFO at first, as WARNING after 1, 3, 7, 15 … seconds.

        Args:
            timeout: seconds after which open connections are closed; by default the loop waits for them.
            graceful: seconds over which servers close their connections, one after the other (`Server.stop`).
        """
        self.reactor.check_thread('IOLoop.stop_gracefully()')
        if not self._stopping.is_begun:
            self.stops_over = graceful
            for id in list(self._acceptors):
                self.remove(id)
            self._stopping.begin(timeout)
            self._emit_safely('finish')
            self._stopping.check_later()

    def delay_stop(self, is_done: Callable[[], object], seconds: float) -> None:
        """In a handler of ``stop``: have the graceful stop wait until ``is_done()`` is true, for so long at most.

        Where `close` was called, nothing waits.
        """
        if self._stopping.is_begun:
            self._stopping.delay(is_done, seconds)
        elif self.is_running and self.reactor.can_spawn:
            self.reactor.spawn(becomes_true(is_done, seconds))  # the host waits for it

    def _open_things(self) -> dict[str, int]:
        """What a graceful stop waits for."""
        return {
            'open connections': len(self._ids),
            'connections being made': len(self._connectors),
            'TLS handshakes': len(self._negotiations),
        }

    def _all_closed(self, reactor: Reactor | None = None) -> None:
        self._emit_safely('stop')

    def _stopped_gracefully(self) -> None:
        self._accepts = 0
        self.stop()

    def reset(self) -> None:
        """Remove everything at once, and stop. A forked child calls it first, to share nothing with its parent.

        Clients that are not connected yet fail. What is called meanwhile cannot begin another one (RuntimeError).
        """
        self.reactor.check_thread('IOLoop.reset()')
        was_resetting, self._is_resetting = self._is_resetting, True
        try:
            self._emit_safely('reset')
            # The reactor first: a forked child must not remove the parent's descriptors from the kernel object that
            # they share.
            self.reactor.reset()
            self._close_all()
        finally:
            self._is_resetting = was_resetting
        self.loop_data.flush()  # its tick was removed
        self._stopping.cancel()
        self._accepts = 0
        self.stop()

    def close(self) -> None:
        """`reset`, and close what the loop itself has open; it cannot be used any more."""
        self.reset()
        if not self._closed:
            self._emit_safely('stop')
        self._end()

    def _end(self) -> None:
        self._closed = True
        self.reactor.close()

    def _host_shuts_down(self, reactor: Reactor) -> None:
        """`asyncio.run` is about to end: close everything, so that all connections emit ``finish``."""
        self._emit_safely('finish')
        self.loop_data.flush()  # the close frames
        self._close_all()

    def _host_closes(self, reactor: Reactor) -> None:
        self.reset()
        self._end()

    def _close_all(self) -> None:
        self.dial_queue.clear()
        for id in list(self._acceptors):
            self.remove(id)
        for connector in list(self._connectors.values()):
            try:
                connector.abort()
            except Exception as exc:  # of the callback
                self.reactor.report(exc)
        negotiations, self._negotiations = self._negotiations, {}
        for negotiation, release in negotiations.items():
            negotiation.cancel()
            if release is not None:
                release()
        for stream in list(self._ids):
            stream.close()

    def _new_id(self) -> str:
        return str(next(self._numbers))
