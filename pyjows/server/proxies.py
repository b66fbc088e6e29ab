"""`Proxies`: the reverse proxies in front of a server, and the client that they name.

Owns the options, and who the client of a connection is. Must not know what proxies write (`client_address.py`), nor how
connections are counted.
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Callable, Iterable
from typing import Any

from ..client_address import ClientAddress, TrustedProxies, forwarded, x_forwarded
from ..http11 import Request
from ..ioloop import ProxyProtocol, Stream
from ..safe_logger import SafeLogger

__all__ = ['FORWARDING', 'Proxies', 'checked_forwarding', 'checked_proxies']

_log = SafeLogger('pyjows')

FORWARDING = ('x-forwarded', 'forwarded', 'proxy-protocol')
"""How a proxy tells the client's address."""


def checked_proxies(caller: str, name: str, value: Any) -> TrustedProxies | None:
    """A list of addresses and networks, or None."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{caller}: {name} takes a list, such as ['127.0.0.1', '10.0.0.0/8'], not {value!r}")
    try:
        return TrustedProxies(value)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{caller}: {name} takes IP addresses, networks and 'unix': {exc}") from None


def checked_forwarding(caller: str, name: str, value: Any) -> str:
    """One of `FORWARDING`."""
    if value not in FORWARDING:
        raise ValueError(f'{caller}: {name}={value!r}, but it takes one of {", ".join(map(repr, FORWARDING))}')
    return str(value)


class Proxies:
    """The reverse proxies of a server.

    Args:
        trusted: the proxies whose headers are used.
        forwarding: one of `FORWARDING`.
    """

    def __init__(self, trusted: TrustedProxies, forwarding: str) -> None:
        self.trusted = trusted
        self.forwarding = forwarding

    def protocol(self, timeout: float, failed: Callable[[Exception], object]) -> ProxyProtocol | None:
        """What a listening socket has to know: None if no connection begins with a PROXY header."""
        return ProxyProtocol(self.is_proxy, timeout, failed) if self.forwarding == 'proxy-protocol' else None

    def is_proxy(self, socket: _socket.socket) -> bool:
        """Whether a connection comes from a trusted proxy."""
        try:
            return _peer(socket) in self.trusted
        except OSError:
            return False  # it is gone already

    def client(self, stream: Stream, request: Request) -> ClientAddress | None:
        """The client that has sent a request; None if it did not come through a proxy, or the proxy does not say."""
        if self.forwarding == 'proxy-protocol':
            client: ClientAddress | None = stream.client
            return client
        read = x_forwarded if self.forwarding == 'x-forwarded' else forwarded
        try:
            return read(self.trusted, _peer(stream.socket), request.headers)
        except OSError:
            return None


def _peer(socket: _socket.socket) -> str | None:
    """The IP address of the other end; None for a Unix socket."""
    name = socket.getpeername()
    return str(name[0]) if isinstance(name, tuple) else None
