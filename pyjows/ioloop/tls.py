"""TLS: negotiating it on a connected socket, and the stream that speaks it afterwards.

Owns what TLS makes different from a bare socket: that reading may have to wait for writing and the other way round,
and that saying goodbye (``close_notify``) is a message of its own. Must not know certificates: they are the business
of the `ssl.SSLContext` that comes in ready.
"""

from __future__ import annotations

import socket as _socket
import ssl
from collections.abc import Callable
from typing import Any

from ..buffers import WriteBuffer
from ..reactor import Handle, Reactor
from .stream import Shared, Stream, StreamCore

__all__ = ['TLSNegotiation', 'TLSStream']

# The most that one TLS record carries (RFC 8446 5.1): with room for that, nothing stays behind in the TLS library.
_RECORD = 16384


class TLSNegotiation(Handle):
    """A TLS handshake under way.

    Args:
        reactor: what waits.
        socket: a connected socket that does not block; it belongs to the negotiation from now on.
        context: what to speak.
        done: called once, ``done(exc, socket)``: with an OSError (as `ssl.SSLError` is) and None, or with None and the
            `ssl.SSLSocket`. Not after `cancel`.
        server_side: whether we are the server.
        server_hostname: whose certificate a client wants to see.
        timeout: seconds for all of it; 0 for as long as it takes.
    """

    def __init__(
        self,
        reactor: Reactor,
        socket: _socket.socket,
        context: ssl.SSLContext,
        done: Callable[[OSError | None, ssl.SSLSocket | None], object],
        *,
        server_side: bool,
        server_hostname: str | None = None,
        timeout: float = 0,
    ) -> None:
        Handle.__init__(self)
        self._reactor = reactor
        self._done: Callable[[OSError | None, ssl.SSLSocket | None], object] | None = done
        self._timeout = timeout
        self._timer = reactor.timer(self._timed_out, timeout) if timeout else None
        self._socket: _socket.socket = socket
        self._fd = socket.fileno()
        self._context = context
        self._side = (server_side, server_hostname)
        reactor.io(self._fd, self)
        reactor.next_tick(self._begin)

    def cancel(self) -> None:
        """Give up, quietly."""
        self._done = None
        self._clean()
        self._socket.close()

    def ready(self, readable: bool, writable: bool) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._reactor.watch(self._fd, True, False)
        except ssl.SSLWantWriteError:
            self._reactor.watch(self._fd, False, True)
        except (OSError, ValueError) as exc:
            self._end(exc)
        else:
            self._end(None)

    def _begin(self, reactor: Reactor) -> None:
        if self._done is None:
            return
        server_side, server_hostname = self._side
        try:
            self._socket = self._context.wrap_socket(
                self._socket,
                server_side=server_side,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
            )
        except (OSError, ValueError) as exc:
            self._end(exc)
        else:
            self.ready(False, False)

    def _timed_out(self, reactor: Reactor) -> None:
        self._end(TimeoutError(f'the TLS handshake was not done within {self._timeout:g} s'))

    def _end(self, exc: OSError | ValueError | None) -> None:
        self._clean()
        done, self._done = self._done, None
        if exc is not None:
            self._socket.close()
            if not isinstance(exc, OSError):
                exc = ssl.SSLError(str(exc))
            if done is not None:
                done(exc, None)
        elif done is not None:
            assert isinstance(self._socket, ssl.SSLSocket)
            done(None, self._socket)

    def _clean(self) -> None:
        self._reactor.remove(self._fd)
        if self._timer is not None:
            self._reactor.remove(self._timer)
            self._timer = None


class TLSStreamCore(StreamCore):
    """The behaviour of `TLSStream`."""

    def __init__(self, socket: ssl.SSLSocket, shared: Shared) -> None:
        StreamCore.__init__(self, socket, shared)
        self._read_waits_for_writing = False
        self._write_waits_for_reading = False
        self._late: OSError | None = None
        self._over = False

    def dispatch(self, readable: bool, writable: bool) -> None:
        """The socket is ready, perhaps for the half that was asked for only because of the other one."""
        crossed = self._read_waits_for_writing or self._write_waits_for_reading
        if crossed:
            readable, writable = (
                writable if self._read_waits_for_writing else readable,
                readable if self._write_waits_for_reading else writable,
            )
            if readable:
                self._read_waits_for_writing = False
            if writable:
                self._write_waits_for_reading = False
        StreamCore.dispatch(self, readable, writable)
        if crossed or self._read_waits_for_writing or self._write_waits_for_reading:
            self._watch()

    def _receive(self, buffer: bytearray) -> int:
        """As many records as there are and fit whole: what does not fit stays with the kernel, which tells again."""
        if self._late is not None:
            raise self._late
        if self._over:
            return 0
        n = 0
        room = memoryview(buffer)
        while len(buffer) - n >= _RECORD:
            try:
                got = self.socket.recv_into(room[n:])
            except ssl.SSLWantReadError:
                return n or -1
            except ssl.SSLWantWriteError:
                self._read_waits_for_writing = True
                return n or -1
            except OSError as exc:
                if not n:
                    raise
                # What came before the fault is handed on first.
                self._late = exc
                self.shared.reactor.next_tick(self._read_again)
                return n
            if not got:
                if n:
                    self.shared.reactor.next_tick(self._read_again)
                self._over = True
                return n
            n += got
        return n

    def _read_again(self, reactor: Any) -> None:
        self.dispatch(True, False)

    def _transmit(self, out: WriteBuffer) -> int:
        try:
            return int(self.socket.send(out.pieces()[0]))
        except ssl.SSLWantWriteError:
            return -1
        except ssl.SSLWantReadError:
            self._write_waits_for_reading = True
            return -1

    def _shut(self) -> None:
        """Say goodbye, which ends our half of the connection and leaves the peer's open."""
        self._say_goodbye()
        # Not SSLSocket's: that would go on without TLS.
        _socket.socket.shutdown(self.socket, _socket.SHUT_WR)

    def _close_socket(self) -> None:
        self._say_goodbye()
        self.socket.close()

    def _say_goodbye(self) -> None:
        try:
            self.socket.unwrap()
            self._over = True  # the peer said it too: what may still come is not encrypted, and nobody's business
        except (OSError, ValueError):
            pass  # said, and the answer is not here yet; or there is nobody to say it to

    def _watch(self) -> None:
        """Tell the reactor what is wanted now."""
        if self._closed:
            return
        reactor = self.shared.reactor
        if not self._watched:
            self._watched = True
            reactor.io(self.fd, self)
        reads = self._reading and not self._held
        reactor.watch(
            self.fd,
            (reads and not self._read_waits_for_writing) or (self._blocked and self._write_waits_for_reading),
            (self._blocked and not self._write_waits_for_reading) or (reads and self._read_waits_for_writing),
        )


class TLSStream(TLSStreamCore, Stream):  # type: ignore[misc]
    """A `Stream` that speaks TLS; `socket` is an `ssl.SSLSocket` that has its handshake behind it."""

    def __init__(self, socket: ssl.SSLSocket, shared: Shared) -> None:
        TLSStreamCore.__init__(self, socket, shared)
