"""`ProxyHeader`: reads the header of the PROXY protocol from an accepted connection, and not one byte more.

Owns reading it within a time. Must not know its grammar (`client_address.py`) nor what follows it, TLS or HTTP: that
stays with the kernel.
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..client_address import MAX_V1, V1, ClientAddress, ProxyHeaderError, proxy_header
from ..reactor import Reactor
from ..reactor.base import Handle
from .limit import ConnectionLimit

__all__ = ['ProxyHeader', 'ProxyProtocol']


@dataclass(frozen=True)
class ProxyProtocol:
    """Which connections of a listening socket begin with a header of the PROXY protocol.

    Attributes:
        is_proxy: ``is_proxy(socket)`` returns whether a connection comes from a proxy.
        timeout: seconds that the header may take.
        failed: called ``failed(exc)`` for each connection that is closed because it has no valid header.
    """

    is_proxy: Callable[[_socket.socket], bool]
    timeout: float
    failed: Callable[[Exception], object]

    def accept(
        self,
        reactor: Reactor,
        pending: dict[Any, Any],
        limit: ConnectionLimit | None,
        ended: Callable[[], object],
        accept: Callable[..., object],
        socket: _socket.socket,
    ) -> None:
        """Accept a connection, after its header has been read where it has one.

        Args:
            reactor: what waits.
            pending: what may have to be cancelled, with what is to be called then.
            limit: counts the connection meanwhile.
            ended: called when it is closed because of its header.
            accept: called ``accept(socket, client=client)``.
            socket: the connection.
        """
        if not self.is_proxy(socket):
            accept(socket)
            return

        def done(exc: Exception | None, client: ClientAddress | None) -> None:
            release = pending.pop(header)
            if release is not None:
                release()
            if exc is None:
                accept(socket, client=client)
            else:
                self.failed(exc)
                ended()

        try:
            header = ProxyHeader(reactor, socket, self.timeout, done)
        except OSError as exc:  # the system cannot watch it
            socket.close()
            self.failed(exc)
            return
        pending[header] = None if limit is None else limit.reserve()


class ProxyHeader(Handle):
    """A header that is being read.

    Args:
        reactor: what waits.
        socket: an accepted non-blocking socket; it is closed if it has no valid header.
        timeout: seconds.
        done: called once, ``done(exc, client)``: with an exception and None, or with None and what the header says. Not
            after `cancel`.
    """

    def __init__(
        self,
        reactor: Reactor,
        socket: _socket.socket,
        timeout: float,
        done: Callable[[Exception | None, ClientAddress | None], object],
    ) -> None:
        Handle.__init__(self)
        self._reactor = reactor
        self._socket = socket
        self._fd = socket.fileno()
        self._done = done
        self._data = b''
        reactor.io(self._fd, self)
        self._timer = reactor.timer(self._timed_out, timeout)

    def cancel(self) -> None:
        """Give up, and close the socket; `done` is not called."""
        self._unregister()
        self._socket.close()

    def ready(self, readable: bool, writable: bool) -> None:
        """Read what belongs to the header."""
        try:
            while self._read():
                size, client = proxy_header(self._data)
                if size:
                    self._unregister()
                    self._done(None, client)
                    return
        except (OSError, ProxyHeaderError) as exc:
            self._fail(exc)

    def _read(self) -> bool:
        """Read a part of the header; returns whether there was one."""
        have = len(self._data)
        try:
            if have < 15:
                wanted = 15 - have  # the shortest header that there is
            elif self._data.startswith(V1):
                line = self._socket.recv(MAX_V1 - have, _socket.MSG_PEEK)
                wanted = line.find(b'\n') + 1 or len(line)
            else:
                wanted = 16 - have if have < 16 else 16 + int.from_bytes(self._data[14:16], 'big') - have
            data = self._socket.recv(wanted or 1)
        except BlockingIOError:
            return False
        if not data:
            raise ProxyHeaderError('the connection ended in the middle of the PROXY header')
        self._data += data
        return True

    def _timed_out(self, reactor: Reactor) -> None:
        self._fail(TimeoutError('no PROXY header came in time'))

    def _fail(self, exc: Exception) -> None:
        self.cancel()
        self._done(exc, None)

    def _unregister(self) -> None:
        self._reactor.remove(self._fd)
        self._reactor.remove(self._timer)
