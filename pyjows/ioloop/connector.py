"""`Connector`: makes one connection of a client: a connected socket, TLS on it if asked for, and the stream.

Owns what a client may be given, and the words of what fails. Must not know ids, nor how a socket is connected
(`dialer.py`) and secured (`tls.py`).
"""

from __future__ import annotations

import os
import socket as _socket
import ssl
from collections.abc import Callable

from .._text import cut
from ..reactor import Reactor
from ..tls import TLS
from ..url import format_authority, server_name
from .dialer import Admit, Dialer
from .stream import LoopData, Stream
from .tls import TLSNegotiation, TLSSocket, default_context, secured_stream
from .tls_errors import explained

__all__ = ['Connector']

# Seconds.
_TIMEOUT = 10.0

# How much of a host is shown in a message: a redirect may name one of 16 KiB.
_NAMEABLE = 270


class Connector:
    """One connection of a client while it is being made.

    Args:
        reactor, loop_data: of the loop that will drive the stream.
        done: called ``done(exc, stream)`` once, one of the two being None; not after `cancel`.
        address, port, path, socket, local_address, timeout, tls, server_hostname, admit: see `IOLoop.client`.

    Raises:
        ValueError, TypeError: an argument is not valid.
    """

    def __init__(
        self,
        reactor: Reactor,
        loop_data: LoopData,
        done: Callable[[OSError | None, Stream | None], object],
        *,
        address: str = '127.0.0.1',
        port: int | None = None,
        path: str | os.PathLike[str] | None = None,
        socket: _socket.socket | None = None,
        local_address: str | None = None,
        timeout: float = _TIMEOUT,
        tls: TLS | ssl.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        admit: Admit | None = None,
    ) -> None:
        if sum(what is not None for what in (port, path, socket)) != 1:
            raise ValueError('a client connects to one of these: port (and address), path, socket')
        if port is not None and not 0 < port < 65536:
            raise ValueError(f'{port!r} is not a valid TCP port to connect to: give one from 1 to 65535')
        if not timeout > 0:
            raise ValueError(f'timeout={timeout!r}: give the seconds that connecting may take, more than 0')
        if tls is True:
            tls = default_context()
        elif isinstance(tls, TLS):
            tls = tls.client_context()
        if tls and server_hostname is None and port is not None:
            server_hostname = server_name(address)
        if tls and tls.check_hostname and not server_hostname:
            raise ValueError('TLS needs server_hostname=, the name that the certificate is to be checked for')
        if port is not None:
            self._where = cut(format_authority(address, port), _NAMEABLE)
        else:
            self._where = os.fsdecode(path) if path is not None else server_hostname or 'the peer of the given socket'
        self._reactor = reactor
        self._loop_data = loop_data
        self._done = done
        self._address = address
        self._port = port
        self._path = path
        self._socket = socket
        self._tls = tls or None
        self._server_hostname = server_hostname
        self._dialer = Dialer(
            reactor, self._connected, where=self._where, timeout=timeout, local_address=local_address, admit=admit
        )
        self._negotiation: TLSNegotiation | None = None

    def start(self) -> None:
        """Begin to connect."""
        if self._port is not None:
            self._dialer.start(self._address, self._port)
        elif self._path is not None:
            self._dialer.start_unix(os.fsdecode(self._path))
        elif self._socket is not None:
            self._dialer.start_connected(self._socket)

    def cancel(self) -> None:
        """Give up; `done` is not called."""
        (self._negotiation or self._dialer).cancel()

    def abort(self) -> None:
        """Give up, and call `done` with ECANCELED."""
        (self._negotiation or self._dialer).abort()

    def _connected(self, exc: OSError | None, socket: _socket.socket | None) -> None:
        if isinstance(socket, ssl.SSLSocket) and not self._tls:
            self._secured(None, socket)
        elif socket is None or not self._tls:
            self._done(exc, Stream(socket, self._loop_data) if socket is not None else None)
        else:
            self._negotiation = TLSNegotiation(
                self._reactor,
                socket,
                self._tls,
                self._secured,
                server_side=False,
                server_hostname=self._server_hostname,
                timeout=self._dialer.time_left,
            )

    def _secured(self, exc: OSError | None, socket: TLSSocket | None) -> None:
        if exc is not None:
            cause = explained(exc)
            error = type(exc)(exc.errno, f'could not connect to {self._where}: the TLS handshake failed: {cause}')
            error.__cause__, exc = exc, error
        self._done(exc, secured_stream(socket, self._loop_data) if socket is not None else None)
