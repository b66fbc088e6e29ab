"""From a URL to a connected socket, blocking: Unix sockets, the proxy, TLS.

Owns the order of these steps, and the message of one that failed. Must not know the opening handshake, nor the requests
to a proxy (`client/proxy.py`).
"""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from ..client.proxy import choose_proxy, open_tunnel
from ..errors import HandshakeError
from ..tls_in_tls import TLSInTLS
from ..url import URL, format_authority, redact
from .errors import ConnectionError

__all__ = ['default_context', 'dial', 'naming_the_url']


def dial(
    url: URL,
    proxy: str | bool | None,
    context: ssl.SSLContext | None,
    proxy_context: ssl.SSLContext | None,
    deadline: float | None,
) -> Any:
    """A socket connected to a URL; with TLS an `ssl.SSLSocket`, or a `TLSInTLS` through an https:// proxy.

    Raises:
        ConnectionError: the proxy refused.
        OSError: there is no connection.
        ValueError: the proxy is malformed.
        ImportError: the proxy is a SOCKS proxy, and python-socks is not installed.
    """
    via = choose_proxy(proxy, url)
    end = url if via is None else via
    tunnel = None if via is None else open_tunnel(via, url)
    sock: Any
    if end.unix_path is not None:
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = _connected(end.host, end.port, deadline)
    try:
        if end.unix_path is not None:
            sock.settimeout(_left(deadline))
            sock.connect(end.unix_path)
        if via is not None:
            if via.secure:
                sock = _secured(sock, proxy_context, via.server_name, deadline)
            _open(tunnel, sock, deadline)
        if url.secure:
            sock = _secured(sock, context, url.server_name, deadline)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def naming_the_url(given: str, url: URL, proxy: str | bool | None, seconds: float | None) -> Iterator[None]:
    """The message of an `OSError` says what could not be connected to; its type, errno and attributes stay.

    Args:
        given: the URL as it was given; `url` is the same, parsed.
        seconds: `connect_timeout`, for the message of a `TimeoutError` that is not the kernel's.
    """
    try:
        try:
            yield
        except UnicodeError as exc:  # a host name with an empty or too long label
            raise socket.gaierror(socket.EAI_NONAME, f'no such host: {exc}') from None
    except OSError as exc:
        if exc.errno is None and isinstance(exc, TimeoutError):
            if seconds is None:
                raise
            raise TimeoutError(
                f'{redact(given)} did not open within {seconds:g} seconds (connect_timeout, an attribute of the class)'
            ) from exc.__cause__
        via = choose_proxy(proxy, url)
        through = '' if via is None else f' through its proxy {format_authority(via.host, via.port)}'
        exc.strerror = f'could not connect to {url}{through}: {exc.strerror or exc}'
        exc.args = (exc.strerror,) if exc.errno is None else (exc.errno, exc.strerror)
        raise


def _connected(host: str, port: int, deadline: float | None) -> socket.socket:
    """A socket connected to one of the addresses of a host; each may take an equal part of the time that is left."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for i, (family, kind, proto, _, address) in enumerate(found, 1):
        left = _left(deadline)
        try:
            sock = socket.socket(family, kind, proto)
            try:
                sock.settimeout(None if left is None else left / (len(found) - i + 1))
                sock.connect(address)
            except BaseException:
                sock.close()
                raise
        except OSError:
            if i == len(found):
                raise
        else:
            return sock
    raise socket.gaierror(socket.EAI_NONAME, 'no address')


def _secured(sock: Any, context: ssl.SSLContext | None, name: str, deadline: float | None) -> Any:
    """TLS on a socket, which may be TLS already."""
    context = context or default_context()
    sock.settimeout(_left(deadline))
    if not isinstance(sock, ssl.SSLSocket):
        return context.wrap_socket(sock, server_hostname=name)
    layered = TLSInTLS(sock, context, server_hostname=name)
    layered.do_handshake()
    return layered


def _open(tunnel: Any, sock: Any, deadline: float | None) -> None:
    """Open the tunnel through the proxy."""
    try:
        while True:
            sock.settimeout(_left(deadline))
            if data := tunnel.send():
                sock.sendall(data)
            if tunnel.receive(sock.recv(4096)):
                return
    except HandshakeError as exc:
        raise ConnectionError(exc.status) from exc


@functools.cache
def default_context() -> ssl.SSLContext:
    """The context that verifies the server against the system's authorities; making it takes milliseconds."""
    return ssl.create_default_context()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.001, deadline - monotonic())
