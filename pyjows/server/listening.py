"""Where one server listens: at its URLs, and on the sockets that it was given.

Owns the acceptors of a server, and which of them speak TLS with which certificate. Must not know connections.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from .._options import instance
from ..ioloop import IOLoop
from ..ioloop.listener import Listener, listen
from ..ioloop.loop import ServerCall
from ..tls import TLS, ServerTLS
from ..url import URL, checked_url, format_authority, redact

__all__ = ['Listening', 'server_tls']

_server_tls = instance(
    (TLS, ssl.SSLContext), 'an ssl.SSLContext with your certificate, a TLS(cert, key), or None', optional=True
)


def server_tls(caller: str, name: str, value: Any) -> TLS | ssl.SSLContext | None:
    """The option ``tls`` of a server; raises TypeError or ValueError for what no server can use."""
    tls: TLS | ssl.SSLContext | None = _server_tls(caller, name, value)
    if isinstance(tls, ssl.SSLContext) and tls.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(
            f"{caller}: {name}={value!r} is a client's: a server needs ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)"
        )
    return tls


class Listening:
    """The listening sockets of one server.

    Args:
        ioloop: the loop.
        accept: called with each connection.
        tls: the certificate of ``wss://`` URLs without one, and of given sockets.
        unix_mode: permissions of the sockets of ``ws+unix://`` URLs.
        reuse_port: whether several processes may listen to the port of a URL.
        **options: of `IOLoop.server`, for all.

    Attributes:
        urls: where it listens, with the real ports.
        ports: the TCP ports.
    """

    def __init__(
        self,
        ioloop: IOLoop,
        accept: ServerCall,
        *,
        tls: TLS | ssl.SSLContext | None,
        unix_mode: int | None,
        reuse_port: bool,
        **options: Any,
    ) -> None:
        self.urls: list[str] = []
        self.ports: list[int] = []
        self._ioloop = ioloop
        self._accept = accept
        self._given_tls = tls
        self._unix_mode = unix_mode
        self._reuse_port = reuse_port
        self._options = options
        self._acceptors: list[str] = []
        self._tls: ServerTLS | None = None  # of the option
        self._tls_of_urls: list[ServerTLS] = []

    def at(self, url: str, given: socket.socket | int | None = None) -> None:
        """Listen where a URL says; on the given socket, if another has opened it: its path stays when it is closed."""
        parsed = checked_url('serve()', url)
        if parsed.path != '/':
            raise ValueError(
                f'serve(): {redact(url)} has a path, but a server listens on a host and a port, for all paths; '
                "ws.req.path is the one that was asked for, and @server.websocket('/chat') handles one alone"
            )
        context = self._tls_for(url, parsed)
        if given is not None:
            port = self._accept_on(given, context).port
        elif parsed.unix_path is not None:
            # The mode is set before the socket listens, so that no client connects before that.
            opened = listen(path=parsed.unix_path, mode=self._unix_mode, backlog=self._options['backlog'])
            port = self._accept_from(context, socket=opened).port
        else:
            port = self._accept_from(context, address=parsed.host, port=parsed.port, reuse_port=self._reuse_port).port
        if (port is None) is (parsed.unix_path is None):
            raise ValueError(f'serve(): the socket that was given for {redact(url)} is of another kind')
        if port is None:
            self.urls.append(url.partition('?')[0])
        else:
            self.urls.append(f'{"wss" if parsed.secure else "ws"}://{format_authority(parsed.host, port)}')

    def on(self, given: socket.socket | int) -> None:
        """Listen on a socket that another has opened, over TLS if there is the option."""
        context = self._tls_of_option()
        listener = self._accept_on(given, context)
        scheme = 'ws' if context is None else 'wss'
        if listener.port is not None:
            self.urls.append(f'{scheme}://{format_authority(listener.address or "", listener.port)}')
        else:
            self.urls.append(f'{scheme}+unix://{listener.path}')

    def close(self) -> None:
        """Listen no more."""
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            self._ioloop.remove(acceptor)

    def reload_tls(self, tls: TLS | ssl.SSLContext | None) -> None:
        """Replace the certificates, all or none; see `Server.reload_tls`."""
        server_tls('reload_tls()', 'tls', tls)
        if self._tls is None and (tls is not None or not self._tls_of_urls):
            raise ValueError('reload_tls(): the server has no tls=')
        changed = [] if self._tls is None else [(self._tls, tls)]
        if tls is None:
            changed += [(each, None) for each in self._tls_of_urls]
        ready = [(each, each.prepare(given)) for each, given in changed]
        for each, prepared in ready:
            each.adopt(prepared)

    def _tls_for(self, url: str, parsed: URL) -> ServerTLS | None:
        """The certificate of a URL: the files that its query names, or the option ``tls``."""
        tls = self._given_tls
        if parsed.query and (not parsed.secure or tls is not None):
            why = 'tls= has the certificate already' if parsed.secure else 'only the certificate of wss:// goes there'
            raise ValueError(f'serve(): {redact(url)} has a query: {why}')
        if not parsed.secure:
            return None
        if parsed.query:
            self._tls_of_urls.append(ServerTLS(TLS.of_query('serve()', url, parsed.query)))
            return self._tls_of_urls[-1]
        if tls is None:
            raise ValueError(
                f'serve(): {redact(url)} needs TLS: pass your certificate, as tls=TLS(cert, key) or an ssl.SSLContext'
            )
        return self._tls_of_option()

    def _tls_of_option(self) -> ServerTLS | None:
        """The certificate of the option ``tls``, one object for all sockets that use it."""
        if self._tls is None and self._given_tls is not None:
            self._tls = ServerTLS(self._given_tls)
        return self._tls

    def _accept_on(self, given: socket.socket | int, context: ServerTLS | None) -> Listener:
        """Accept connections from a socket that another has opened."""
        where: dict[str, Any] = {'fd': given} if isinstance(given, int) else {'socket': given}
        listener = self._accept_from(context, **where)
        listener.keep_path()
        return listener

    def _accept_from(self, context: ServerTLS | None, **where: Any) -> Listener:
        """Accept connections there: an address or a socket, as `IOLoop.server` takes them."""
        acceptor = self._ioloop.server(self._accept, tls=context, **where, **self._options)
        self._acceptors.append(acceptor)
        listener: Listener | None = self._ioloop.acceptor(acceptor)
        assert listener is not None
        if listener.port is not None:
            self.ports.append(listener.port)
        return listener
