"""The socket under a blocking connection: reads and writes that return at once, shutdown and close.

Owns the difference between plain sockets, green ones and TLS. Must not know what the bytes mean.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from ..buffers import WriteBuffer
from .waiting import raw_socket

__all__ = ['Link', 'link_for']

# Where a system has no such flag (Windows), sockets are set to not block at all.
_DONTWAIT = getattr(socket, 'MSG_DONTWAIT', 0)

_DISCARDED = 65536

# How many pieces one sendmsg(2) takes.
_PIECES = 64


class Link:
    """A plain socket.

    Args:
        sock: the socket that the host or the client has.
        owned: whether it is to be closed at the end; a host closes its own.
    """

    def __init__(self, sock: Any, owned: bool) -> None:
        self.sock = sock
        self._owned = owned
        if not _DONTWAIT:
            sock.setblocking(False)

    def read(self, n: int) -> bytes:
        """Up to `n` bytes, b'' at the end; it may wait for them, or raise BlockingIOError."""
        data: bytes = self.sock.recv(n)
        return data

    def read_now(self, n: int) -> bytes:
        """Up to `n` bytes, b'' at the end; BlockingIOError where none are there."""
        data: bytes = self.sock.recv(n, _DONTWAIT)
        return data

    def write(self, out: WriteBuffer) -> int:
        """Write as much of `out` as the kernel takes; BlockingIOError where it takes nothing."""
        pieces = out.pieces()
        if len(pieces) == 1:
            n: int = self.sock.send(pieces[0], _DONTWAIT)
        else:
            n = self.sock.sendmsg(pieces[:_PIECES], (), _DONTWAIT)
        del pieces  # the buffer may grow again
        out.consume(n)
        return n

    def end_writing(self) -> None:
        """Half-close: the peer reads EOF."""
        self._shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        """Shut down both directions; a thread that waits for the socket is woken."""
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        try:
            self.sock.shutdown(how)
        except OSError:
            pass  # it is gone already

    def close(self) -> None:
        """End the connection, and drop unread bytes: a host must not take frames after the close for HTTP."""
        self.shutdown()
        try:
            while self.sock.recv(_DISCARDED):
                pass  # bytes from before the shutdown
        except (OSError, ValueError):
            pass
        if self._owned:
            self.sock.close()


class _GreenLink(Link):
    """A green socket, or one with a timeout of its own: read and written through a duplicate that never waits.

    Where it may wait the green socket itself is read: it keeps its place in the hub from one wait to the next.
    """

    def __init__(self, sock: Any, owned: bool) -> None:
        super().__init__(raw_socket(sock), True)
        self._green = sock
        self._green_owned = owned
        self._waits = type(sock).__module__ != 'socket' and sock.gettimeout() is None

    def read(self, n: int) -> bytes:
        data: bytes = self._green.recv(n) if self._waits else self.sock.recv(n)
        return data

    def close(self) -> None:
        super().close()
        if self._green_owned:
            self._green.close()


class _TLSLink(Link):
    """A TLS socket. OpenSSL allows one call at a time, so the connection's lock is held during each."""

    def __init__(self, sock: Any, owned: bool, lock: Any) -> None:
        self.sock = sock
        self._owned = owned
        self._lock = lock
        self._timeout = sock.gettimeout()
        sock.settimeout(0)

    def read(self, n: int) -> bytes:
        return self.read_now(n)

    def read_now(self, n: int) -> bytes:
        with self._lock:
            try:
                data: bytes = self.sock.recv(n)
                return data
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise BlockingIOError from None

    def write(self, out: WriteBuffer) -> int:
        piece = out.pieces()[0]
        try:
            n: int = self.sock.send(piece)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        del piece
        out.consume(n)
        return n

    def end_writing(self) -> None:
        with self._lock:
            try:
                self.sock.unwrap()  # sends close_notify; the peer's is not waited for
            except (OSError, ValueError):
                pass

    def close(self) -> None:
        super().close()
        try:
            self.sock.settimeout(self._timeout)
        except OSError:
            pass  # it was ours


def link_for(sock: Any, owned: bool, lock: Any) -> Link:
    """The link for a socket, by its kind."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a message must not wait for the ACK of another
    except OSError:
        pass  # a Unix socket
    if hasattr(sock, 'unwrap'):
        return _TLSLink(sock, owned, lock)
    if isinstance(sock, socket.socket) and type(sock).__module__ == 'socket' and sock.gettimeout() is None:
        return Link(sock, owned)
    return _GreenLink(sock, owned)
