"""`Server` and `Client`: a connection whose calls block, in the thread that makes them.

Owns which thread reads and writes, and the locks. Must not know the protocol (`session.py`), kinds of sockets
(`links.py`) or of threads (`waiting.py`), nor the servers (`hosts.py`).

No thread belongs to a connection. The thread that calls `receive` reads the socket itself, the one that calls `send`
writes it. Two locks make that safe from any number of threads:

- the *reader*: held by the thread that reads the socket, also while it waits for bytes;
- the *lock*: held while the session is used and the socket written, never while something waits.

The reader is taken first. What the kernel does not take at once stays in the session's buffer, in order; each sender
waits until its own message is written, and reads meanwhile if no other thread does, so that two peers that both send
cannot block each other for ever. Between the program's calls, the watcher's thread calls `tend`.

The end of a connection is one method, `_finish`, called with the reader held.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self

from .. import events
from ..errors import InvalidState
from ..frames import CloseCode
from . import dial, hosts
from .arguments import (
    check_arguments,
    checked_context,
    checked_timeout,
    listed,
    parsed_url,
    request_headers,
)
from .errors import ConnectionClosed
from .links import Link, link_for
from .session import Session, client_session, first_common, read_response, server_session
from .waiting import Waiting, waiting_for
from .watcher import Watcher, unwatch, watch

__all__ = ['Base', 'Client', 'Server']

# Bytes that one read takes at most where the one before it was full; an idle connection holds no such memory.
_MANY = 65536

# Seconds that the end of TCP is waited for.
_LINGER = 1.0

# Seconds that a sender reads before it lets another thread read.
_TURN = 0.05

# poll(2) takes no more than 24 days; the callers look at their deadline and wait on.
_LONGEST_WAIT = 3600.0

# Seconds without a read after which `connected` looks at the socket.
_FRESH = 0.05


class Base:
    """What `Server` and `Client` have in common.

    Attributes:
        subprotocol: the one in use, or None.
        close_reason, close_message: how the connection ended, see `ConnectionClosed`.
        close_timeout: seconds that `close` waits for the peer's part of the closing handshake (3).
        receive_bytes, ping_interval, max_message_size, sock: as given.
    """

    is_server = False
    close_timeout: float = 3.0
    _caller = 'Base()'

    def __init__(
        self,
        receive_bytes: int,
        ping_interval: float | None,
        max_message_size: int | None,
        thread_class: Any,
        event_class: Any,
        selector_class: Any,
    ) -> None:
        check_arguments(
            self._caller,
            receive_bytes=receive_bytes,
            ping_interval=ping_interval,
            max_message_size=max_message_size,
            thread_class=thread_class,
            event_class=event_class,
            selector_class=selector_class,
        )
        self.subprotocol: str | None = None
        self.receive_bytes = receive_bytes
        self.ping_interval = ping_interval
        self.max_message_size = max_message_size
        self.thread_class = thread_class
        self.event_class = event_class
        self.selector_class = selector_class
        self._busy = False  # the last read was full
        self._contended = False  # a receiver waits for the reader
        self._received_lately = False
        self._looked = 0.0
        self._written = 0  # bytes, ever
        self._closing = False
        self._broken = False
        self._finished = False

    def _start(self, sock: Any, session: Session, deadline: float | None) -> None:
        """Complete the handshake on a socket; this side's part of it waits in the session."""
        self.sock = sock
        self._session = session
        self._pid = os.getpid()
        self._waiting: Waiting = waiting_for(sock)
        self._lock = self._waiting.lock()
        self._reader = self._waiting.lock()
        self._link: Link = link_for(sock, not self.is_server, self._lock)
        try:
            self._write_all(deadline)
            while not self.is_server and not read_response(session, self._read_some(deadline)):
                pass
        except BaseException:
            self._finished = True
            self._link.close()
            raise
        self.subprotocol = session.protocol.subprotocol
        self._looked = now = monotonic()
        session.start_pings(now)
        self._watcher: Watcher = watch(self, self._waiting, self.thread_class, self.event_class)
        if session.ended:  # a close frame came with the answer
            with self._reader:
                self._finish(None)

    # What a program calls

    def send(self, data: Any) -> None:
        """Send one message; returns when the kernel has all of it. Any number of threads may call it.

        Args:
            data: a `str` for a text message, bytes for a binary one.

        Raises:
            TypeError: it is neither.
            ConnectionClosed: the connection is closed.
        """
        session = self._session
        with self._lock:
            try:
                session.put(data)
            except InvalidState:
                raise session.closed() from None
            if self._flush():
                return
            target = self._written + self._unsent()
        self._send_rest(target)

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message: a `str` for text, `bytes` for binary.

        Messages that came before a close are returned first.

        Args:
            timeout: seconds to wait; None for ever, 0 not at all. Without a message by then it returns None.

        Raises:
            ConnectionClosed: the connection is closed, and there are no more messages.
        """
        deadline = None
        if timeout is not None:
            timeout = checked_timeout(timeout)
            deadline = monotonic() + timeout
        reader = self._reader
        if not reader.acquire(False) and not self._acquire_reader(timeout):
            return None
        try:
            self._received_lately = True
            session = self._session
            while not session.messages:
                if session.ended:
                    raise session.closed()
                if not self._read(deadline):
                    return None
            return session.pop()
        finally:
            reader.release()

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Close the connection, and wait up to `close_timeout` seconds for the peer to do the same.

        Args:
            reason: the close code (1000).
            message: the close reason; 123 bytes of it are sent.

        Raises:
            ConnectionClosed: it is closed already.
            TypeError: `reason` is not a number, or `message` not a `str`.
            ProtocolError: a code that may not be sent.
        """
        session = self._session
        with self._lock:
            if session.ended or self._closing:
                raise session.closed()
            session.close(reason, message)
            self._closing = True
            self._flush()
        deadline = monotonic() + self.close_timeout
        if not self._reader.acquire(True, self.close_timeout):
            self._link.shutdown()  # wakes the thread that reads, which finishes
            return
        try:
            while not session.ended and self._read(deadline):
                session.drop_surplus()
            self._end_session()
        finally:
            self._reader.release()

    @property
    def connected(self) -> bool:
        """Whether messages can be sent. It reads the socket, so that a close is noticed without a `receive`."""
        session = self._session
        if session.ended or self._closing:
            return False
        if monotonic() - self._looked > _FRESH and self._reader.acquire(False):
            try:
                self._read_what_is_there()
            finally:
                self._reader.release()
        return not session.ended

    @property
    def close_reason(self) -> int:
        """The close code; 1005 while the connection is open."""
        return self._session.close_reason

    @property
    def close_message(self) -> str | None:
        """The close reason."""
        return self._session.close_message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            failed = exc is not None and not isinstance(exc, ConnectionClosed)
            self.close(CloseCode.INTERNAL_ERROR if failed else None)
        except ConnectionClosed:
            pass

    def __iter__(self) -> Iterator[str | bytes]:
        """The messages, until the connection is closed."""
        try:
            while True:
                message = self.receive()
                assert message is not None
                yield message
        except ConnectionClosed:
            pass

    def __del__(self) -> None:
        # The program dropped its last reference to an open connection: send a close frame, without waiting.
        # A forked child has a copy, but the connection is the parent's.
        link = getattr(self, '_link', None)
        if link is None or self._finished:
            return
        try:
            if os.getpid() != self._pid:
                return
            self._session.close(CloseCode.GOING_AWAY, None)
            self._flush()
            link.end_writing()
            link.close()
        except Exception:
            pass  # the interpreter may be shutting down

    # Reading; the reader is held

    def _read_some(self, deadline: float | None) -> bytes:
        """Bytes of the handshake."""
        while True:
            try:
                return self._link.read_now(self.receive_bytes)
            except BlockingIOError:
                self._wait(True, False, _left(deadline))

    def _acquire_reader(self, timeout: float | None) -> bool:
        """Another thread reads: wait for it."""
        if timeout is not None and timeout <= 0:
            return False
        self._contended = True
        try:
            got: bool = self._reader.acquire() if timeout is None else self._reader.acquire(True, timeout)
            return got
        finally:
            self._contended = False

    def _read(self, deadline: float | None) -> bool:
        """Read once, and process the bytes; False if none came by the deadline."""
        link = self._link
        while True:
            unsent = self._unsent() > 0
            try:
                if self._busy:
                    data = link.read_now(_MANY)
                elif deadline is None and not unsent:
                    data = link.read(self.receive_bytes)
                else:
                    data = link.read_now(self.receive_bytes)
            except BlockingIOError:
                if self._busy:
                    self._busy = False
                    continue
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._wait(True, unsent, left)
                if unsent:
                    with self._lock:
                        self._flush()
                continue
            except OSError:
                data = b''
            self._take(data, deadline)
            return True

    def _read_what_is_there(self) -> None:
        """Read without waiting, until nothing is left or the program has too many messages to take."""
        now = monotonic()
        session = self._session
        while not session.ended and not session.full and self._read(now):
            pass
        self._looked = now

    def _take(self, data: bytes, deadline: float | None) -> None:
        """Process received bytes, b'' for EOF."""
        session = self._session
        with self._lock:
            session.feed(data)
            self._flush()
        self._busy = len(data) >= (_MANY if self._busy else self.receive_bytes)
        if session.ended:
            self._finish(deadline)

    def _end_session(self) -> None:
        """Nothing more is to be received."""
        with self._lock:
            self._session.end()
        self._finish(monotonic())

    def _finish(self, deadline: float | None) -> None:
        """The closing handshake is over, or the connection failed: end TCP."""
        if self._finished:
            return
        self._finished = True
        with self._lock:
            self._flush()
        if self.is_server:
            self._link.end_writing()
        self._linger(deadline)
        if not self.is_server:
            self._link.end_writing()
        self._link.close()
        unwatch(self, self._watcher)

    def _linger(self, deadline: float | None) -> None:
        """Wait for EOF: the server ends TCP first (RFC 6455 7.1.1), and a peer may still have to read our close frame.

        A socket that is closed with bytes unread resets the connection, and the peer would lose that frame.
        """
        protocol = self._session.protocol
        if protocol.eof_received or self._broken or (self.is_server and protocol.close_rcvd is not None):
            return
        until = monotonic() + _LINGER
        if deadline is not None and deadline < until:
            until = deadline
        try:
            while True:
                try:
                    if not self._link.read_now(_MANY):
                        return
                except BlockingIOError:
                    left = until - monotonic()
                    if left <= 0:
                        return
                    self._wait(True, False, left)
        except OSError:
            pass

    # Writing

    def _unsent(self) -> int:
        """How many bytes wait to be written."""
        out = self._session.protocol.out
        return 0 if out is None else out.size

    def _flush(self) -> bool:
        """Write what the kernel takes; returns whether nothing is left. The lock is held."""
        out = self._session.protocol.out
        if out is None:
            return True
        try:
            while out.size:
                self._written += self._link.write(out)
        except BlockingIOError:
            return False
        except OSError:
            self._broken = True
            out.clear()
            return False
        return True

    def _write_all(self, deadline: float | None) -> None:
        """Write all that waits; part of the handshake, before any other thread knows the connection."""
        while not self._flush():
            if self._broken:
                raise BrokenPipeError('the connection was closed during the opening handshake')
            self._wait(False, True, _left(deadline))

    def _send_rest(self, target: int) -> None:
        """The kernel's buffer is full, or the connection broken: wait until `target` bytes are written."""
        session = self._session
        with self._lock:
            session.sending += 1
        try:
            if self._wait_until_written(target):
                return
        finally:
            with self._lock:
                session.sending -= 1
        # The peer's last bytes, such as a close frame, may still be unread.
        if self._reader.acquire(True, 1.0):
            try:
                while not session.ended and self._read(monotonic()):
                    pass
                self._end_session()
            finally:
                self._reader.release()
        else:  # the thread that reads has not noticed
            with self._lock:
                session.end()
        raise session.closed()

    def _wait_until_written(self, target: int) -> bool:
        """Wait until `target` bytes were written in all; returns False if the connection broke."""
        session = self._session
        while not self._broken:
            reads = not self._contended and not session.full and self._reader.acquire(False)
            try:
                readable, _ = self._wait(reads, True, _TURN)
                if readable:
                    self._read_what_is_there()
            finally:
                if reads:
                    self._reader.release()
            with self._lock:
                self._flush()
                if self._written >= target:
                    return True
            if session.ended:
                raise session.closed()
        return False

    def _wait(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        """Wait for the socket, an hour at most.

        If another thread has closed it, return at once: the next call on it raises.
        """
        if timeout is not None and timeout > _LONGEST_WAIT:
            timeout = _LONGEST_WAIT
        try:
            return self._waiting.until_ready(self._link.sock, read, write, timeout, self.selector_class)
        except (OSError, ValueError):
            return read, write

    # What the watcher calls

    def tend(self, now: float) -> None:
        """A round of the watcher: keep-alive, and reading if the program has not since the last round."""
        session = self._session
        with self._lock:
            session.keep_alive(now)
            self._flush()
        if session.ended:
            if not self._reader.acquire(False):
                self._link.shutdown()  # wakes the thread that reads, which finishes
                return
            try:
                self._finish(now)
            finally:
                self._reader.release()
            return
        if self._received_lately:
            self._received_lately = False
        elif self._reader.acquire(False):
            try:
                self._read_what_is_there()
            finally:
                self._reader.release()


class Server(Base):
    """The server's side of a connection, inside a WSGI application.

    ::

        @app.route('/echo', websocket=True)             # Flask
        def echo():
            with Server.accept(request.environ) as ws:
                for message in ws:
                    ws.send(message)
            return ''

    Args:
        environ: the WSGI environment of the upgrade request.
        subprotocols: those that the server speaks: a name, or a list of them.
        receive_bytes: how many bytes an idle connection reads at once; a busy one reads more.
        ping_interval: seconds between pings; a peer that has sent nothing from one to the next is closed with 1008.
            None for no pings.
        max_message_size: bytes; a larger message closes with 1009. None or 0 for no limit.
        thread_class, event_class: of the process' background thread, where this connection has to begin it.
        selector_class: what waits for the socket; by default ``poll``.

    Attributes:
        mode: ``'werkzeug'``, ``'gunicorn'``, ``'gevent'``, ``'eventlet'``, or ``'custom'``.

    Raises:
        RuntimeError: this web server cannot hand the connection over.
        ConnectionError: the request is not a valid upgrade; its `status_code` is what to answer.
    """

    is_server = True
    _caller = 'Server.accept()'

    def __init__(
        self,
        environ: Mapping[str, Any],
        subprotocols: str | Sequence[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        thread_class: Any = None,
        event_class: Any = None,
        selector_class: Any = None,
    ) -> None:
        super().__init__(receive_bytes, ping_interval, max_message_size, thread_class, event_class, selector_class)
        self.environ = environ
        self.subprotocols = listed(self._caller, subprotocols)
        sock, self.mode = hosts.find_socket(environ)
        session = server_session(
            hosts.request_headers(environ),
            self.choose_subprotocol,
            max_message_size,
            ping_interval,
            str(environ.get('REQUEST_METHOD', 'GET')),
            hosts.request_target(environ),
            hosts.request_version(environ),
        )
        self._start(sock, session, None)

    @classmethod
    def accept(
        cls,
        environ: Mapping[str, Any],
        subprotocols: str | Sequence[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        thread_class: Any = None,
        event_class: Any = None,
        selector_class: Any = None,
    ) -> Self:
        """Accept the upgrade request; the arguments are those of the class."""
        return cls(
            environ,
            subprotocols=subprotocols,
            receive_bytes=receive_bytes,
            ping_interval=ping_interval,
            max_message_size=max_message_size,
            thread_class=thread_class,
            event_class=event_class,
            selector_class=selector_class,
        )

    def choose_subprotocol(self, request: events.Request) -> str | None:
        """The subprotocol to use, or None: the first that the client offers and the server speaks. To be overridden.

        Args:
            request: with ``host``, ``target``, ``subprotocols``, ``extensions``, ``extra_headers``.
        """
        return first_common(request.subprotocols, self.subprotocols)


class Client(Base):
    """The client's side of a connection.

    ::

        with Client.connect('ws://127.0.0.1:3000/echo') as ws:
            ws.send('hello')
            print(ws.receive(timeout=5))

    Args:
        url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket:/target``.
        subprotocols: to offer: a name, or a list of them.
        headers: more headers for the request: a mapping, or pairs.
        receive_bytes, ping_interval, max_message_size, thread_class, event_class: as for `Server`.
        ssl_context: for ``wss://``; by default the server's certificate is verified against the system's authorities.

    Attributes:
        connect_timeout: seconds until the connection has to be open (10); None for no limit.
        proxy: as for `pyjows.connect`: True for that of the environment, a URL, or None to connect directly.
        proxy_ssl_context: for an ``https://`` proxy, as `ssl_context` is for the server.
        host, port, path: of the URL.

    Raises:
        ConnectionError: the server, or a proxy, refused; with the HTTP status.
        OSError: there is no connection: the name, the address, a timeout, TLS.
        TypeError, ValueError: an argument is not valid, or the URL malformed.
    """

    is_server = False
    connect_timeout: float | None = 10.0
    proxy: str | bool | None = True
    proxy_ssl_context: ssl.SSLContext | None = None
    _caller = 'Client.connect()'

    def __init__(
        self,
        url: str,
        subprotocols: str | Sequence[str] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        thread_class: Any = None,
        event_class: Any = None,
    ) -> None:
        super().__init__(receive_bytes, ping_interval, max_message_size, thread_class, event_class, None)
        parsed = parsed_url(self._caller, url)
        self.host, self.port, self.path = parsed.host, parsed.port, parsed.target
        self.subprotocols = listed(self._caller, subprotocols)
        pairs = request_headers(self._caller, headers)
        context = checked_context(self._caller, 'ssl_context', ssl_context)
        session = client_session(parsed, self.subprotocols, pairs, max_message_size, ping_interval)
        deadline = None if self.connect_timeout is None else monotonic() + self.connect_timeout
        with dial.naming_the_url(url, parsed, self.proxy, self.connect_timeout):
            sock = dial.dial(parsed, self.proxy, context, self.proxy_ssl_context, deadline)
            self._start(sock, session, deadline)

    @classmethod
    def connect(
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
        """Connect; the arguments are those of the class."""
        return cls(
            url,
            subprotocols=subprotocols,
            headers=headers,
            receive_bytes=receive_bytes,
            ping_interval=ping_interval,
            max_message_size=max_message_size,
            ssl_context=ssl_context,
            thread_class=thread_class,
            event_class=event_class,
        )


def _left(deadline: float | None) -> float | None:
    """Seconds until a deadline; raises TimeoutError where it has passed."""
    if deadline is None:
        return None
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError('the connection did not open in time')
    return left
