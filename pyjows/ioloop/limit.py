"""`ConnectionLimit`: how many connections a server may have at a time, in all and from one IP address.

Owns the counts. Must not know streams, nor how a connection is refused: the loop asks before it accepts (`room`), takes
a place for each accepted socket (`acquire`), and gives it back when the connection is closed (`release`).
"""

from __future__ import annotations

import socket as _socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..limits import checked_number
from ..safe_logger import SafeLogger

__all__ = ['ConnectionLimit']

_log = SafeLogger('pyjows')


class ConnectionLimit:
    """The limit of one server; its listening sockets share it.

    Args:
        total: connections at a time, None for as many as the loop takes; further ones wait in the kernel's backlog.
        per_address: connections from one IP address at a time, 0 for no limit. Unix sockets have no address.
        is_proxy: returns whether a socket comes from a reverse proxy, whose address does not count.
        refuse: called ``refuse(loop, stream)`` with a connection that is one too many from its address, to answer and
            close it; without it, and before a TLS handshake, it is closed at once.
        dropped: called for each that is closed at once.

    Attributes:
        count: connections now, refused ones that are not closed yet included.
        refused: how many were refused so far.

    Raises:
        TypeError, ValueError: a limit is not a whole number, or out of range.
    """

    def __init__(
        self,
        total: int | None,
        per_address: int = 0,
        refuse: Callable[[Any, Any], object] | None = None,
        is_proxy: Callable[[_socket.socket], bool] | None = None,
        dropped: Callable[[], object] = lambda: None,
    ) -> None:
        if total is not None:
            checked_number('ConnectionLimit()', 'total', total, 1, 'connections', whole=True)
        checked_number('ConnectionLimit()', 'per_address', per_address, 0, 'connections, 0 for no limit', whole=True)
        self.total = total
        self.per_address = per_address
        self.refuse = refuse
        self.is_proxy = is_proxy
        self.dropped = dropped
        self.count = 0
        self.refused = 0
        self._addresses: Counter[str] = Counter()
        self._logged: set[str] = set()

    def room(self, most: int) -> int:
        """How many of `most` connections may be accepted now."""
        return most if self.total is None else min(most, self.total - self.count)

    def reserve(self) -> Callable[[], None]:
        """Count a connection whose address is not known yet; returns what takes that back."""
        self.count += 1
        return self._unreserve

    def _unreserve(self) -> None:
        self.count -= 1

    def acquire(self, socket: _socket.socket, client: str | None = None) -> str | None:
        """Count an accepted connection; returns what `release` takes, or None if its address has too many already.

        Args:
            socket: the connection.
            client: the address of a client behind a proxy, which counts in place of the socket's.
        """
        self.count += 1
        return self.acquire_address(self._address(socket) if client is None else client)

    def acquire_address(self, address: str) -> str | None:
        """Count one connection more from an address; returns as `acquire` does."""
        if not address or not self.per_address:
            return ''
        if self._addresses[address] < self.per_address:
            self._addresses[address] += 1
            return address
        self.refused += 1
        if address not in self._logged:
            self._logged.add(address)
            _log.info('%s has %d connections, more are refused', address, self.per_address)
        return None

    def release(self, address: str | None) -> None:
        """A connection is closed."""
        self.count -= 1
        self.release_address(address)

    def release_address(self, address: str | None) -> None:
        """A connection that `acquire_address` has counted is closed."""
        if address:
            self._addresses[address] -= 1
            self._logged.discard(address)
            if not self._addresses[address]:
                del self._addresses[address]

    def _address(self, socket: _socket.socket) -> str:
        if not self.per_address or socket.family not in (_socket.AF_INET, _socket.AF_INET6):
            return ''
        if self.is_proxy is not None and self.is_proxy(socket):
            return ''
        try:
            return str(socket.getpeername()[0])
        except OSError:
            return ''  # it is gone already
