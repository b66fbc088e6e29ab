"""`AioServer` and `AioClient`: a connection whose calls are awaited, on the running event loop.

Owns the calls of a program, and where a transport comes from: aiohttp, a socket, connecting. Must not know the protocol
(`session.py`), nor how a transport is used (`wire.py`).

A connection has one of two channels: a `Wire`, an asyncio protocol with a session in it, or an `ASGIChannel`, where the
ASGI server implements the protocol. No task belongs to a connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from .. import events
from ..client.proxy import choose_proxy, open_tunnel
from ..frames import CloseCode
from ..url import URL
from .arguments import check_arguments, checked_context, header_pairs, listed, parsed_url, request_headers
from .asgi import ASGI, ASGIChannel, check_asgi
from .dial import default_context, naming_the_url
from .errors import ConnectionClosed, ConnectionError
from .session import Session, client_session, first_common, server_session
from .wire import Wire

__all__ = ['AioBase', 'AioClient', 'AioServer']


class AioBase:
    """What `AioServer` and `AioClient` have in common.

    Attributes:
        subprotocol: the one in use, or None.
        close_timeout: seconds that `close` waits for the peer's part of the closing handshake (3).
        receive_bytes, ping_interval, max_message_size: as given.
    """

    is_server = False
    close_timeout: float = 3.0
    _caller = 'AioBase()'

    def __init__(self, receive_bytes: int, ping_interval: float | None, max_message_size: int | None) -> None:
        check_arguments(
            self._caller,
            receive_bytes=receive_bytes,
            ping_interval=ping_interval,
            max_message_size=max_message_size,
        )
        self.subprotocol: str | None = None
        self.receive_bytes = receive_bytes
        self.ping_interval = ping_interval
        self.max_message_size = max_message_size
        self._channel: Any = _NotConnected()  # then a Wire or an ASGIChannel

    async def send(self, data: Any) -> None:
        """Send one message; waits while the peer has not taken enough of those before it.

        Args:
            data: a `str` for a text message, bytes for a binary one.

        Raises:
            TypeError: it is neither.
            ConnectionClosed: the connection is closed.
        """
        await self._channel.send(data)

    async def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message: a `str` for text, `bytes` for binary. Cancelling it loses none.

        Messages that came before a close are returned first.

        Args:
            timeout: seconds to wait; None for ever, 0 not at all. Without a message by then it returns None.

        Raises:
            ConnectionClosed: the connection is closed, and there are no more messages.
        """
        message: str | bytes | None = await self._channel.receive(timeout)
        return message

    async def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Close the connection, and wait up to `close_timeout` seconds for the peer to do the same.

        Args:
            reason: the close code (1000).
            message: the close reason; 123 bytes of it are sent.

        Raises:
            ConnectionClosed: it is closed already.
            TypeError: `reason` is not a number, or `message` not a `str`.
            ProtocolError: a code that may not be sent.
        """
        await self._channel.close(reason, message, self.close_timeout)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return bool(self._channel.connected)

    @property
    def close_reason(self) -> int:
        """The close code; 1005 while the connection is open."""
        reason: int = self._channel.close_reason
        return reason

    @property
    def close_message(self) -> str | None:
        """The close reason."""
        message: str | None = self._channel.close_message
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000, after an exception with 1011; with 1001 when cancelled, without waiting for the peer."""
        try:
            if isinstance(exc, asyncio.CancelledError):
                await self._channel.leave()
                return
            failed = exc is not None and not isinstance(exc, ConnectionClosed)
            await self.close(CloseCode.INTERNAL_ERROR if failed else None)
        except ConnectionClosed:
            pass
        except Exception:  # of an ASGI server; what the block has raised counts
            if exc is None:
                raise

    def __del__(self) -> None:
        # The program dropped its last reference to an open connection: send a close frame, without waiting.
        channel = getattr(self, '_channel', None)
        if channel is not None:
            channel.let_go()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The messages, until the connection is closed."""
        try:
            while True:
                message = await self.receive()
                assert message is not None
                yield message
        except ConnectionClosed:
            pass


class _NotConnected:
    """The channel of an object that was made without `accept` or `connect`."""

    connected = False
    close_reason = CloseCode.NO_STATUS_RCVD
    close_message = None

    def _refuse(self, *arguments: Any) -> Any:
        raise RuntimeError('not connected: use `await AioClient.connect(url)`, or `await AioServer.accept(…)`')

    send = receive = close = leave = _refuse

    def let_go(self) -> None:
        """There is nothing to close."""


class AioServer(AioBase):
    """The server's side of a connection, inside an asyncio application.

    ::

        async def echo(request):                                # aiohttp
            async with await AioServer.accept(aiohttp=request) as ws:
                async for message in ws:
                    await ws.send(message)
            return web.Response()

    Use `accept`.

    Attributes:
        mode: ``'aiohttp'``, ``'asgi'`` or ``'custom'``.
        headers: of the request.
    """

    is_server = True
    _caller = 'AioServer.accept()'

    def __init__(
        self,
        request: Mapping[str, Any],
        subprotocols: str | Sequence[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
    ) -> None:
        super().__init__(receive_bytes, ping_interval, max_message_size)
        self.request = request
        self.headers: Any = {}
        self.subprotocols = listed(self._caller, subprotocols)
        self.mode = 'unknown'

    @classmethod
    async def accept(
        cls,
        aiohttp: Any = None,
        asgi: ASGI | None = None,
        sock: socket.socket | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        subprotocols: str | Sequence[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
    ) -> Self:
        """Accept an upgrade request: that of aiohttp, of ASGI, or one that was read from a socket.

        Args:
            aiohttp: the `aiohttp.web.Request`.
            asgi: ``(scope, receive, send)``. The ASGI server speaks the protocol then: pings, compression and the
                size of what it reads are its options.
            sock: a connected socket from which the request was read; it belongs to the connection from now on.
            headers: the request's headers, with `sock`.
            subprotocols: those that the server speaks: a name, or a list of them.
            receive_bytes: of no effect; the event loop decides.
            ping_interval: seconds between pings; a peer that has sent nothing from one to the next is closed with
                1008. None for no pings.
            max_message_size: bytes; a larger message closes with 1009. None or 0 for no limit.

        Raises:
            TypeError: an argument is of another type.
            ValueError: an argument is out of range, or there is not exactly one of `aiohttp`, `asgi`, and `sock` with
                `headers`.
            ConnectionError: the request is not a valid upgrade; its `status_code` is what to answer.
        """
        given = [name for name, value in (('aiohttp', aiohttp), ('asgi', asgi), ('sock', sock)) if value is not None]
        if len(given) != 1:
            raise ValueError(
                f'accept() takes one of aiohttp=, asgi=, and sock= with headers=, not {" and ".join(given) or "none"}'
            )
        if (sock is None) != (headers is None):
            raise ValueError('sock= and headers= are given together: headers are those of the request that was read')
        ws = cls(
            {'aiohttp': aiohttp, 'sock': sock, 'headers': headers},
            subprotocols=subprotocols,
            receive_bytes=receive_bytes,
            ping_interval=ping_interval,
            max_message_size=max_message_size,
        )
        if asgi is not None:
            await ws._accept_asgi(asgi)
        elif aiohttp is not None:
            ws._accept_aiohttp(aiohttp)
        else:
            await ws._accept_socket(sock, headers)
        return ws

    def choose_subprotocol(self, request: events.Request) -> str | None:
        """The subprotocol to use, or None: the first that the client offers and the server speaks. To be overridden.

        Args:
            request: with ``host``, ``target``, ``subprotocols``, ``extensions``, ``extra_headers``.
        """
        return first_common(request.subprotocols, self.subprotocols)

    async def _accept_asgi(self, asgi: ASGI) -> None:
        self.mode = 'asgi'
        check_asgi(asgi)
        self.headers = {name.decode('latin-1'): value.decode('latin-1') for name, value in asgi[0]['headers']}
        channel = self._channel = ASGIChannel(asgi, self.max_message_size)
        self.subprotocol = await channel.accept(self.choose_subprotocol)

    def _accept_aiohttp(self, request: Any) -> None:
        self.mode = 'aiohttp'
        try:
            self.headers, transport = request.headers, request.transport
        except AttributeError:
            raise TypeError(
                f'AioServer.accept(): aiohttp= takes the aiohttp.web.Request of a handler, not {request!r}'
            ) from None
        if transport is None or transport.is_closing():
            raise ConnectionError(None)
        session = self._session(request.headers, request.method, request.raw_path, request.version)
        host = transport.get_protocol()
        wire = Wire(session, asyncio.get_running_loop(), host)
        transport.set_protocol(wire)
        host.transport = _HostTransport(transport, wire)
        self._begin(wire, transport)

    async def _accept_socket(self, sock: Any, headers: Any) -> None:
        self.mode = 'custom'
        if not isinstance(sock, socket.socket):
            raise TypeError(f'AioServer.accept(): sock= takes a connected socket.socket, not {sock!r}')
        self.headers = headers
        loop = asyncio.get_running_loop()
        wire = Wire(self._session(headers, 'GET', '/', (1, 1)), loop)
        transport, _ = await loop.connect_accepted_socket(lambda: wire, sock)
        self._begin(wire, transport)

    def _session(self, headers: Any, method: str, target: str, version: tuple[int, int]) -> Session:
        return server_session(
            header_pairs(self._caller, headers),
            self.choose_subprotocol,
            self.max_message_size,
            self.ping_interval,
            method,
            target,
            f'HTTP/{version[0]}.{version[1]}',
        )

    def _begin(self, wire: Wire, transport: Any) -> None:
        self._channel = wire
        self.subprotocol = wire.subprotocol
        wire.begin(transport)


class _HostTransport:
    """The transport of a connection as aiohttp has it from now on: what it writes is not for a WebSocket.

    When a handler has returned or raised, aiohttp writes an HTTP response. A connection that is open then is closed.
    """

    def __init__(self, transport: Any, wire: Wire) -> None:
        self._transport = transport
        self._wire = wire

    def write(self, data: Any) -> None:
        """Drop a response; after a failure (status 500 and above) the close code is 1011."""
        failed = bytes(data[:10]).startswith((b'HTTP/1.1 5', b'HTTP/1.0 5'))
        self._wire.go_away(CloseCode.INTERNAL_ERROR if failed else CloseCode.GOING_AWAY)

    def writelines(self, pieces: Iterable[Any]) -> None:
        """As `write`."""
        self.write(b''.join(pieces))

    def close(self) -> None:
        """End the connection, as aiohttp does when it shuts down: an open one is closed with 1001."""
        self._wire.go_away()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class AioClient(AioBase):
    """The client's side of a connection.

    ::

        async with await AioClient.connect('ws://127.0.0.1:3000/echo') as ws:
            await ws.send('hello')
            print(await ws.receive(timeout=5))

    Use `connect`.

    Attributes:
        connect_timeout: seconds until the connection has to be open (10); None for no limit.
        proxy: as for `pyjows.connect`: True for that of the environment, a URL, or None to connect directly.
        proxy_ssl_context: for an ``https://`` proxy, as `ssl_context` is for the server.
        host, port, path: of the URL.
    """

    connect_timeout: float | None = 10.0
    proxy: str | bool | None = True
    proxy_ssl_context: ssl.SSLContext | None = None
    _caller = 'AioClient.connect()'

    def __init__(
        self,
        url: str,
        subprotocols: str | Sequence[str] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(receive_bytes, ping_interval, max_message_size)
        self.url = url
        self.ssl_context = checked_context(self._caller, 'ssl_context', ssl_context)
        self._parsed = parsed_url(self._caller, url)
        self.host, self.port, self.path = self._parsed.host, self._parsed.port, self._parsed.target
        self.subprotocols = listed(self._caller, subprotocols)
        self._headers = request_headers(self._caller, headers)

    @classmethod
    async def connect(
        cls,
        url: str,
        subprotocols: str | Sequence[str] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        thread_class: Any = None,
        event_class: Any = None,
    ) -> Self:
        """Connect.

        Args:
            url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket:/target``.
            subprotocols: to offer: a name, or a list of them.
            headers: more headers for the request: a mapping, or pairs.
            receive_bytes: of no effect; the event loop decides.
            ping_interval, max_message_size: as for `AioServer.accept`.
            ssl_context: for ``wss://``; by default the server's certificate is verified against the system's
                authorities.
            thread_class, event_class: of no effect; there is no thread.

        Raises:
            ConnectionError: the server, or a proxy, refused; with the HTTP status.
            OSError: there is no connection: the name, the address, a timeout, TLS.
            TypeError, ValueError: an argument is not valid, or the URL malformed.
        """
        ws = cls(
            url,
            subprotocols=subprotocols,
            headers=headers,
            receive_bytes=receive_bytes,
            ping_interval=ping_interval,
            max_message_size=max_message_size,
            ssl_context=ssl_context,
        )
        await ws._connect()
        return ws

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        url = self._parsed
        session = client_session(url, self.subprotocols, self._headers, self.max_message_size, self.ping_interval)
        wire = Wire(session, loop)
        try:
            with naming_the_url(self.url, url, self.proxy, self.connect_timeout):
                async with asyncio.timeout(self.connect_timeout):
                    transport = await self._dial(loop, wire, url)
                    wire.begin(transport)
                    await wire.opened()
        except BaseException:
            wire.abandon()
            raise
        self._channel = wire
        self.subprotocol = session.protocol.subprotocol

    async def _dial(self, loop: asyncio.AbstractEventLoop, wire: Wire, url: URL) -> Any:
        """The transport to a URL."""
        context = (self.ssl_context or default_context()) if url.secure else None
        via = choose_proxy(self.proxy, url)
        name = url.server_name if context is not None else None
        if url.unix_path is not None:
            transport, _ = await loop.create_unix_connection(
                lambda: wire, url.unix_path, ssl=context, server_hostname=name
            )
            return transport
        if via is None:
            direct, _ = await loop.create_connection(
                lambda: wire, url.host, url.port, ssl=context, server_hostname=name
            )
            return direct
        tunnel = open_tunnel(via, url)
        tunnelled, _ = await loop.create_connection(
            lambda: wire,
            via.host,
            via.port,
            ssl=(self.proxy_ssl_context or default_context()) if via.secure else None,
            server_hostname=via.server_name if via.secure else None,
        )
        await wire.tunnel(tunnel, tunnelled)
        if context is None:
            return tunnelled
        return await loop.start_tls(tunnelled, wire, context, server_hostname=name)
