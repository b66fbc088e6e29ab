"""Dialing: from a host name to a connected socket, without blocking the loop.

Owns looking names up (in a few threads of its own, because `getaddrinfo` blocks) and the race of the addresses that are
found, in the manner of RFC 8305 ("happy eyeballs"): the kinds of address take turns, and where one has not answered
within a quarter of a second, the next is tried beside it; the first that connects wins. Who wants to hold a connection
back until something else is done is asked between the two (`admit`). Must not know streams or TLS.
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

from ..reactor import Handle, Reactor, Timer

__all__ = ['Admit', 'Dialer', 'Resolver']

AddressInfo = tuple[int, int, int, str, Any]
Found = Sequence[AddressInfo] | BaseException

Admit = Callable[[list[str], Callable[[], object]], object]
"""``admit(addresses, begin)``: told the IP addresses that are about to be dialed, it calls `begin` when they may be."""

# Seconds (RFC 8305 5: "Connection Attempt Delay").
_STAGGER = 0.25

# Seconds until the next try at a Unix socket whose backlog is full.
_BACKLOG_FULL = 0.02

_THREADS = 4


class Resolver:
    """Looks names up, in at most four threads at a time; they end when there is nothing left to look up.

    The threads are daemons: a name server that does not answer must not keep a program from ending.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: deque[tuple[str, int, Callable[[Found], object]]] = deque()
        self._threads = 0

    def lookup(self, host: str, port: int, done: Callable[[Found], object]) -> None:
        """Call ``done``, in a thread, with the addresses of a host or with the exception."""
        with self._lock:
            self._wanted.append((host, port, done))
            if self._threads < _THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name='pyjows-resolver', daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._threads -= 1
                    return
                host, port, done = self._wanted.popleft()
            found: Found
            try:
                found = _socket.getaddrinfo(host, port, type=_socket.SOCK_STREAM)
            except Exception as exc:
                found = exc
            try:
                done(found)
            except RuntimeError:
                pass  # the loop that asked is closed


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
        """Begin to connect; raises OSError when that fails at once."""
        family, place = self.info[0], self.info[4]
        self.socket.setblocking(False)
        if family in (_socket.AF_INET, _socket.AF_INET6):
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            if self.dialer.local_address is not None:
                self.socket.bind((self.dialer.local_address, 0))
        code = self.socket.connect_ex(place)
        reactor = self.dialer.reactor
        if code == errno.EAGAIN and family not in (_socket.AF_INET, _socket.AF_INET6):
            # Unix sockets do not connect in the background: it works at once, or the backlog is full.
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
        if not code and self._met_itself():
            code = errno.ECONNREFUSED
        if code:
            self.dialer.failed(self, OSError(code, os.strerror(code)))
        else:
            self.dialer.reactor.remove(self.fd)
            self.dialer.connected(self)

    def _met_itself(self) -> bool:
        """Whether the system gave us the very port that we dial: on one machine, that connects with nobody there."""
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
        where: what is dialed, for messages.
        timeout: seconds for all of it.
        local_address: the IP address to dial from.
        admit: asked, when the addresses of a host are known, before the first is dialed; the time until it lets them
            through is not counted. All of them are tried for one connection.
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
        self._until = monotonic() + timeout
        self._deadline = reactor.timer(self._timed_out, timeout)
        self._done: Callable[[OSError | None, _socket.socket | None], object] | None = done
        self._timeout = timeout
        self._waiting: deque[AddressInfo] = deque()
        self._attempts: list[Attempt] = []
        self._stagger: Timer | None = None
        self._given: _socket.socket | None = None
        self._causes: list[tuple[str, OSError]] = []

    def start(self, host: str, port: int) -> None:
        """Dial a host, given by name or address."""
        reactor = self.reactor
        try:
            found = _socket.getaddrinfo(host, port, type=_socket.SOCK_STREAM, flags=_socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            _resolver.lookup(host, port, lambda found: reactor.call_threadsafe(lambda reactor: self._looked_up(found)))
        else:  # it is an address: nobody needs to be asked
            reactor.next_tick(lambda reactor: self._looked_up(found))

    def start_unix(self, path: str) -> None:
        """Dial a Unix socket."""
        found: list[AddressInfo] = [(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, '', path)]
        self.reactor.next_tick(lambda reactor: self._looked_up(found))

    def start_connected(self, socket: _socket.socket) -> None:
        """Nothing is left to dial: the socket is connected."""
        socket.setblocking(False)
        self._given = socket
        self.reactor.next_tick(lambda reactor: self._end(None, socket))

    @property
    def time_left(self) -> float:
        """The seconds of the timeout that are left, at least a millisecond."""
        return max(0.001, self._until - monotonic())

    def cancel(self) -> None:
        """Give up, quietly."""
        if self._given is not None and self._done is not None:
            self._given.close()
        self._done = None
        self._clean()

    def _looked_up(self, found: Found) -> None:
        if self._done is None:
            return
        if isinstance(found, BaseException):
            code = found.errno if isinstance(found, OSError) else None
            self._end(_socket.gaierror(code, f'{self._failure()}: no such host: {_cause(found)}'), None)
            return
        self._waiting.extend(self._in_turn(found))
        if self._admit is None or not self._waiting or self._waiting[0][0] not in (_socket.AF_INET, _socket.AF_INET6):
            self._next()
            return
        time_left = self.time_left
        self.reactor.remove(self._deadline)

        def begin() -> None:
            if self._done is not None:
                self._until = monotonic() + time_left
                self._deadline = self.reactor.timer(self._timed_out, time_left)
                self._next()

        self._admit(list(dict.fromkeys(map(_place, self._waiting))), begin)

    def _in_turn(self, found: Sequence[AddressInfo]) -> list[AddressInfo]:
        """In the order to try them: the kinds of address take turns, first comes the system's choice (RFC 8305 4)."""
        if self.local_address is not None:
            kind = _socket.AF_INET6 if ':' in self.local_address else _socket.AF_INET
            found = [info for info in found if info[0] == kind]
            if not found:
                cause = f'it has no address of the kind of {self.local_address}'
                self._causes.append(('', OSError(errno.EADDRNOTAVAIL, cause)))
        first = [info for info in found if info[0] == found[0][0]]
        others = [info for info in found if info[0] != found[0][0]]
        return [info for info in chain.from_iterable(zip_longest(first, others)) if info is not None]

    def _next(self, reactor: Reactor | None = None) -> None:
        """Begin with the next address, and when there is none and nothing is under way, end."""
        if self._stagger is not None:
            self.reactor.remove(self._stagger)
            self._stagger = None
        while self._waiting:
            info = self._waiting.popleft()
            try:
                attempt = Attempt(self, info)
            except OSError as exc:  # no descriptor left, or no such kind of address here
                self._causes.append((_place(info), exc))
                continue
            self._attempts.append(attempt)
            try:
                attempt.begin()
            except OSError as exc:
                self._dropped(attempt, exc)
                continue
            if self._waiting:
                self._stagger = self.reactor.timer(self._next, _STAGGER)
            return
        if not self._attempts:
            self._end(self._verdict(), None)

    def failed(self, attempt: Attempt, exc: OSError) -> None:
        """An attempt came to nothing."""
        self._dropped(attempt, exc)
        self._next()

    def connected(self, attempt: Attempt) -> None:
        """An attempt made it."""
        self._attempts.remove(attempt)
        self._end(None, attempt.socket)

    def _dropped(self, attempt: Attempt, exc: OSError) -> None:
        self._attempts.remove(attempt)
        attempt.close()
        self._causes.append((_place(attempt.info), exc))

    def _timed_out(self, reactor: Reactor) -> None:
        self._end(
            TimeoutError(
                errno.ETIMEDOUT, f'{self._failure()}: no answer within {self._timeout:g} s; timeout= sets the limit'
            ),
            None,
        )

    def _failure(self) -> str:
        return f'could not connect to {self.where}'

    def _verdict(self) -> OSError:
        """What all the failed attempts amount to: the first one's kind of error, every one's cause."""
        code = self._causes[0][1].errno
        if len(self._causes) == 1:
            return OSError(code, f'{self._failure()}: {_cause(self._causes[0][1])}')
        causes = '; '.join(f'{place}: {_cause(exc)}' for place, exc in self._causes)
        return OSError(code, f'{self._failure()}: {causes}')

    def _end(self, exc: OSError | None, socket: _socket.socket | None) -> None:
        done, self._done = self._done, None
        self._clean()
        if done is not None:
            done(exc, socket)

    def _clean(self) -> None:
        for attempt in self._attempts:
            attempt.close()
        self._attempts.clear()
        self._waiting.clear()
        self.reactor.remove(self._deadline)
        if self._stagger is not None:
            self.reactor.remove(self._stagger)


def _cause(exc: BaseException) -> str:
    return getattr(exc, 'strerror', None) or str(exc) or type(exc).__name__


def _place(info: AddressInfo) -> str:
    return str(info[4][0] if isinstance(info[4], tuple) else info[4])
