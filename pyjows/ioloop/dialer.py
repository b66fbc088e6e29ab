"""Dialing: from a host name to a connected socket, without blocking the loop.

Owns name resolution (in threads of its own, because `getaddrinfo` blocks) and the race between the addresses that are
found (RFC 8305, "Happy Eyeballs"): IPv6 and IPv4 addresses are tried alternately; where one has not answered within a
quarter of a second, the next is tried beside it; the first that connects wins. Between the two steps, the caller may
hold the connection back (`admit`). Must not know streams or TLS.
"""

from __future__ import annotations

import errno
import os
import socket as _socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from time import monotonic
from typing import Any

from .._text import cause_of
from ..reactor import Handle, Reactor, Timer

__all__ = ['Admit', 'Dialer', 'Resolver', 'interleave']

AddressInfo = tuple[int, int, int, str, Any]
Found = Sequence[AddressInfo] | BaseException

Admit = Callable[[list[str], Callable[[], object]], object]
"""``admit(addresses, begin)``: called with the IP addresses to be dialed; ``begin()`` lets the dial go on."""

# Seconds (RFC 8305 5: "Connection Attempt Delay").
_STAGGER = 0.25

# Seconds until the next try at a Unix socket whose backlog is full.
_BACKLOG_FULL = 0.02

# Names being resolved at a time. Each thread takes about 100 KiB, for as long as the system's resolver takes.
_MAX_THREADS = 256


Lookup = tuple[str, int, Callable[[Found], object]]
"""A host name, a port, and what to call with the result."""


class Resolver:
    """Resolves host names, each in a thread of its own: a name that is not answered delays no other one.

    Concurrent lookups of the same name and port share one thread. At most `_MAX_THREADS` run at a time. The threads are
    daemons: a name server that does not answer does not keep a program from ending.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The callers waiting for each host and port. Those in `_queue` have no thread yet.
        self._lookups: dict[tuple[str, int], list[Lookup]] = {}
        self._queue: deque[tuple[str, int]] = deque()
        self._threads = 0

    def lookup(self, host: str, port: int, done: Callable[[Found], object]) -> Lookup:
        """Call ``done``, in a thread, with the addresses of a host or with the exception."""
        lookup = (host, port, done)
        with self._lock:
            waiting = self._lookups.get((host, port))
            if waiting is not None:
                waiting.append(lookup)
                return lookup
            self._lookups[host, port] = [lookup]
            self._queue.append((host, port))
            if self._threads < _MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name='pyjows-resolver', daemon=True).start()
        return lookup

    def cancel(self, lookup: Lookup) -> None:
        """Forget a lookup. One that has begun goes on in its thread."""
        name = lookup[:2]
        with self._lock:
            waiting = self._lookups.get(name)
            if waiting is not None and lookup in waiting:
                waiting.remove(lookup)
                if not waiting and name in self._queue:
                    self._queue.remove(name)
                    del self._lookups[name]

    def _work(self) -> None:
        """The body of a thread: resolve names until the queue is empty."""
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                name = self._queue.popleft()
            self._resolve(*name)

    def _resolve(self, host: str, port: int) -> None:
        """Look a host up, and call those that wait for it. Apart from `_work`: the next lookup holds nothing of it."""
        found: Found
        try:
            found = _socket.getaddrinfo(host, port, type=_socket.SOCK_STREAM)
        except Exception as exc:
            found = exc.with_traceback(None)  # it would refer to this frame, and this frame to it
        with self._lock:
            waiting = self._lookups.pop((host, port))
        for _, _, done in waiting:
            try:
                done(found)
            except RuntimeError:
                pass  # the loop of the caller is closed


_resolver = Resolver()
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_resolver.__init__)  # type: ignore[misc]  # the threads stay with the parent


class Attempt(Handle):
    """One socket that is connecting to one address."""

    def __init__(self, dialer: Dialer, info: AddressInfo) -> None:
        Handle.__init__(self)
        self.dialer = dialer
        self.info = info
        self.socket = _socket.socket(*info[:3])
        self.fd = self.socket.fileno()
        self.timer: Timer | None = None

    def begin(self) -> None:
        """Call connect(2); raises OSError if that fails at once."""
        family, place = self.info[0], self.info[4]
        self.socket.setblocking(False)
        if family in (_socket.AF_INET, _socket.AF_INET6):
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            if self.dialer.local_address is not None:
                self.socket.bind(_bindable(self.dialer.local_address))
        code = self.socket.connect_ex(place)
        reactor = self.dialer.reactor
        if code == errno.EAGAIN and family not in (_socket.AF_INET, _socket.AF_INET6):
            # A Unix socket connects at once, or not at all: the backlog is full, and it does not become writable.
            self.timer = reactor.timer(self.retry, _BACKLOG_FULL)
        elif code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            reactor.io(self.fd, self).watch(self.fd, False, True)
        else:
            raise OSError(code, os.strerror(code))

    def retry(self, reactor: Reactor) -> None:
        try:
            self.begin()
        except OSError as exc:
            self.dialer.failed(self, exc)

    def ready(self, readable: bool, writable: bool) -> None:
        code = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if not code and self._is_self_connect():
            code = errno.ECONNREFUSED
        if code:
            self.dialer.failed(self, OSError(code, os.strerror(code)))
        else:
            self.dialer.reactor.remove(self.fd)
            self.dialer.connected(self)

    def _is_self_connect(self) -> bool:
        """TCP self-connect: the ephemeral source port equals the destination."""
        try:
            return bool(self.socket.getsockname() == self.socket.getpeername() != '')
        except OSError:
            return False

    def close(self) -> None:
        self.dialer.reactor.remove(self.fd)
        if self.timer is not None:
            self.dialer.reactor.remove(self.timer)
        self.socket.close()


class Dialer:
    """One connection to be made.

    Args:
        reactor: what waits.
        done: called once, ``done(exc, socket)``: with an OSError and None, or with None and a connected socket that
            does not block. Never before `start` returned, and not after `cancel`.
        where: the destination, for messages.
        timeout: seconds for all of it, the time that `admit` takes included.
        local_address: the IP address to dial from.
        admit: called when the addresses of a host are known, before the first is dialed.
    """

    def __init__(
        self,
        reactor: Reactor,
        done: Callable[[OSError | None, _socket.socket | None], object],
        *,
        where: str,
        timeout: float,
        local_address: str | None = None,
        admit: Admit | None = None,
    ) -> None:
        self.reactor = reactor
        self.where = where
        self.local_address = local_address
        self._admit = admit
        self._deadline_at = monotonic() + timeout
        self._deadline_timer = reactor.timer(self._timed_out, timeout)
        self._done: Callable[[OSError | None, _socket.socket | None], object] | None = done
        self._timeout = timeout
        self._untried: deque[AddressInfo] = deque()
        self._attempts: list[Attempt] = []
        self._lookup: Lookup | None = None
        self._stagger_timer: Timer | None = None
        self._connected_socket: _socket.socket | None = None
        self._failures: list[tuple[str, OSError]] = []

    def start(self, host: str, port: int) -> None:
        """Dial a host, given by name or address."""
        reactor = self.reactor
        try:
            found = _socket.getaddrinfo(host, port, type=_socket.SOCK_STREAM, flags=_socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._lookup = _resolver.lookup(
                host, port, lambda found: reactor.call_threadsafe(lambda reactor: self._resolved(found))
            )
        else:  # an IP address: no lookup
            reactor.next_tick(lambda reactor: self._resolved(found))

    def start_unix(self, path: str) -> None:
        """Dial a Unix socket."""
        found: list[AddressInfo] = [(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, '', path)]
        self.reactor.next_tick(lambda reactor: self._resolved(found))

    def start_connected(self, socket: _socket.socket) -> None:
        """Report a socket that is connected already."""
        socket.setblocking(False)
        self._connected_socket = socket
        self.reactor.next_tick(lambda reactor: self._report(None, socket))

    @property
    def time_left(self) -> float:
        """The seconds of the timeout that are left, at least a millisecond."""
        return max(0.001, self._deadline_at - monotonic())

    def cancel(self) -> None:
        """Give up; `done` is not called."""
        if self._connected_socket is not None and self._done is not None:
            self._connected_socket.close()
        self._done = None
        self._cancel_attempts()

    def abort(self) -> None:
        """Give up; `done` is called with ECANCELED."""
        if self._connected_socket is not None and self._done is not None:
            self._connected_socket.close()
        self._report(OSError(errno.ECANCELED, f'{self._prefix()}: the loop was stopped'), None)

    def _resolved(self, found: Found) -> None:
        """The addresses of the host are known, or the lookup failed: ask `admit`, then try the first."""
        self._lookup = None
        if self._done is None:
            return
        if isinstance(found, BaseException):
            code = found.errno if isinstance(found, OSError) else _socket.EAI_NONAME
            self._report(_socket.gaierror(code, f'{self._prefix()}: no such host: {cause_of(found)}'), None)
            return
        self._untried.extend(self._order_addresses(found))
        if self._admit is None or not self._untried or self._untried[0][0] not in (_socket.AF_INET, _socket.AF_INET6):
            self._try_next()
            return

        def begin() -> None:
            if self._done is not None:
                self._try_next()

        self._admit(list(dict.fromkeys(map(_host_of, self._untried))), begin)

    def _order_addresses(self, found: Sequence[AddressInfo]) -> list[AddressInfo]:
        """The addresses that can be dialed from `local_address`, in the order to try them."""
        if self.local_address is not None:
            kind = _socket.AF_INET6 if ':' in self.local_address else _socket.AF_INET
            found = [info for info in found if info[0] == kind]
            if not found:
                cause = f'it has no address of the family of {self.local_address}'
                self._failures.append(('', OSError(errno.EADDRNOTAVAIL, cause)))
        return interleave(found)

    def _try_next(self, reactor: Reactor | None = None) -> None:
        """Try the next address; report the failure when none is left and no attempt is under way."""
        if self._stagger_timer is not None:
            self.reactor.remove(self._stagger_timer)
            self._stagger_timer = None
        while self._untried:
            info = self._untried.popleft()
            try:
                attempt = Attempt(self, info)
            except OSError as exc:  # no descriptor left, or the address family is not supported
                self._failures.append((_host_of(info), exc))
                continue
            self._attempts.append(attempt)
            try:
                attempt.begin()
            except OSError as exc:
                self._attempt_failed(attempt, exc)
                continue
            if self._untried:
                self._stagger_timer = self.reactor.timer(self._try_next, _STAGGER)
            return
        if not self._attempts:
            self._report(self._combined_error(), None)

    def failed(self, attempt: Attempt, exc: OSError) -> None:
        """An attempt failed."""
        self._attempt_failed(attempt, exc)
        self._try_next()

    def connected(self, attempt: Attempt) -> None:
        """An attempt connected."""
        self._attempts.remove(attempt)
        self._report(None, attempt.socket)

    def _attempt_failed(self, attempt: Attempt, exc: OSError) -> None:
        self._attempts.remove(attempt)
        attempt.close()
        self._failures.append((_host_of(attempt.info), exc))

    def _timed_out(self, reactor: Reactor) -> None:
        what = 'no answer' if self._lookup is None else 'the name was not resolved'
        message = f'{self._prefix()}: {what} within {round(self._timeout, 3):g} s; timeout= sets the limit'
        self._report(TimeoutError(errno.ETIMEDOUT, message), None)

    def _prefix(self) -> str:
        return f'could not connect to {self.where}'

    def _combined_error(self) -> OSError:
        """One error for all failed attempts: the errno of the first, the messages of all."""
        code = self._failures[0][1].errno
        if len(self._failures) == 1:
            return OSError(code, f'{self._prefix()}: {cause_of(self._failures[0][1])}')
        causes = '; '.join(f'{place}: {cause_of(exc)}' for place, exc in self._failures)
        return OSError(code, f'{self._prefix()}: {causes}')

    def _report(self, exc: OSError | None, socket: _socket.socket | None) -> None:
        done, self._done = self._done, None
        self._cancel_attempts()
        if done is not None:
            done(exc, socket)

    def _cancel_attempts(self) -> None:
        for attempt in self._attempts:
            attempt.close()
        self._attempts.clear()
        self._untried.clear()
        if self._lookup is not None:
            _resolver.cancel(self._lookup)
            self._lookup = None
        self.reactor.remove(self._deadline_timer)
        if self._stagger_timer is not None:
            self.reactor.remove(self._stagger_timer)


def interleave(found: Sequence[AddressInfo]) -> list[AddressInfo]:
    """Addresses in the order to try them: families alternate, beginning with the system's first choice (RFC 8305 4)."""
    first = [info for info in found if info[0] == found[0][0]]
    others = [info for info in found if info[0] != found[0][0]]
    return [info for info in chain.from_iterable(zip_longest(first, others)) if info is not None]


def _bindable(address: str) -> Any:
    """The socket address of an IP address, and any port; the zone of an IPv6 address is a number in it."""
    return _socket.getaddrinfo(address, 0, type=_socket.SOCK_STREAM, flags=_socket.AI_NUMERICHOST)[0][4]


def _host_of(info: AddressInfo) -> str:
    return str(info[4][0] if isinstance(info[4], tuple) else info[4])
