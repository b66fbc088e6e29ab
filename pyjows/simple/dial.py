"""From a URL to a connected socket, blocking: Unix sockets, the proxy, TLS.

Owns the order of these steps. Must not know the opening handshake, nor what a proxy is told (`proxy.py`).
"""

from __future__ import annotations

import functools
import socket
import ssl
from time import monotonic
from typing import Any

from ..errors import HandshakeError
from ..proxy import Tunnel, choose_proxy
from ..url import URL
from .errors import ConnectionError

__all__ = ['default_context', 'dial']


def dial(url: URL, proxy: str | bool | None, context: ssl.SSLContext | None, deadline: float) -> socket.socket:
    """A socket connected to a URL.

    Raises:
        ConnectionError: the proxy refused.
        OSError: there is no connection.
        ValueError: the proxy is malformed.
    """
    via = choose_proxy(proxy, url)
    end = url if via is None else via
    if end.unix_path is not None:
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.create_connection((end.host, end.port), timeout=_left(deadline))
    try:
        if end.unix_path is not None:
            sock.settimeout(_left(deadline))
            sock.connect(end.unix_path)
        if via is not None:
            _tunnel(sock, via, url, deadline)
        if url.secure:
            sock.settimeout(_left(deadline))
            sock = (context or default_context()).wrap_socket(sock, server_hostname=url.host)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def _tunnel(sock: Any, via: URL, url: URL, deadline: float) -> None:
    """Have the proxy open the way."""
    tunnel = Tunnel(via, url)
    sock.settimeout(_left(deadline))
    sock.sendall(tunnel.send())
    try:
        while True:
            sock.settimeout(_left(deadline))
            if tunnel.receive(sock.recv(4096)):
                return
    except HandshakeError as exc:
        raise ConnectionError(exc.status) from exc


@functools.cache
def default_context() -> ssl.SSLContext:
    """The context that verifies the server against the system's authorities; making it takes milliseconds."""
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    return max(0.001, deadline - monotonic())
