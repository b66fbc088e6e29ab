"""Listening sockets: opening one, and accepting connections.

Owns the options of a listening socket, the rate of accepting, and the path of a Unix socket. Must not know streams or
TLS: each accepted socket is handed to the loop as it is.

Accepting is level triggered and bounded: a limited number of connections a turn, so that many new ones do not starve
the others. It pauses while the loop has `max_connections`, and for half a second when the system has no descriptor
left; new connections wait in the kernel's backlog meanwhile.
"""

from __future__ import annotations

import errno
import os
import socket as _socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from .._signature import ConstructorSignature
from .._text import cause_of
from ..reactor import Reactor, Timer
from ..reactor.base import Handle
from ..safe_logger import SafeLogger
from . import syscalls

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ['Listener', 'SocketFile', 'listen', 'listening_sockets']

_log = SafeLogger('pyjows')

_BACKLOG = 4096

# Seconds until the next accept(2) after one that failed for lack of descriptors or memory.
_RETRY_DELAY = 0.5

# Seconds to wait for other processes that open a Unix socket in the same folder, and between two tries.
_LOCK_TIMEOUT, _LOCK_RETRY = 1.0, 0.005

# Errors of one connection, not of the listening socket (accept(2), "Error handling").
_TRANSIENT = {
    getattr(errno, name)
    for name in (
        'ECONNABORTED', 'EHOSTDOWN', 'EHOSTUNREACH', 'EINTR', 'ENETDOWN', 'ENETUNREACH', 'ENONET', 'ENOPROTOOPT',
        'EOPNOTSUPP', 'EPERM', 'EPROTO',
    )
    if hasattr(errno, name)
}  # fmt: skip


class Listener(Handle):
    """A listening socket on a loop.

    Attributes:
        socket: the socket.
        address: the IP address it is bound to; None for a Unix socket.
        port: the TCP port, also where 0 was asked for; None for a Unix socket.
        path: the path of a Unix socket, else None.

    Methods: `close`, `fileno`.
    """

    __signature__ = ConstructorSignature()

    def __init__(
        self,
        reactor: Reactor,
        socket: _socket.socket,
        accepted: Callable[[_socket.socket], object],
        room: Callable[[], int],
        paused: Callable[[bool], object],
    ) -> None:
        Handle.__init__(self)
        self.socket = socket
        self.address: str | None = None
        self.port: int | None = None
        self.path: str | None = None
        name = socket.getsockname()
        if socket.family in (_socket.AF_INET, _socket.AF_INET6):
            self.address, self.port = name[0], name[1]
        else:
            self.path = os.fsdecode(name)
        self._family = int(socket.family)
        self._type = int(socket.type) | getattr(_socket, 'SOCK_NONBLOCK', 0)
        self._is_tcp = self.port is not None
        self._reactor = reactor
        self._fd = socket.fileno()
        self._on_accepted = accepted
        self._room = room
        self._on_paused = paused
        self._retry_timer: Timer | None = None
        self._is_exhausted = False
        self._file = SocketFile(self.path) if self.path else None
        reactor.io(self._fd, self)

    def __repr__(self) -> str:
        return f'<Listener {self.path if self.port is None else f"{self.address} port {self.port}"}>'

    def fileno(self) -> int:
        """The file descriptor."""
        return self._fd

    def ready(self, readable: bool, writable: bool) -> None:
        """Accept connections, as many as there is room for."""
        room = self._room()
        if room <= 0:
            self.pause()
            self._on_paused(True)
        for _ in range(room):
            if self._fd < 0:
                break  # the callback of the last one closed this listener
            try:
                fd = syscalls.accept(self.socket, self._fd)
            except OSError as exc:
                if exc.errno in _TRANSIENT:
                    continue
                self._pause_and_retry(exc)
                break
            if fd < 0:
                break
            self._is_exhausted = False
            socket = _socket.socket(self._family, self._type, 0, fd)
            if sys.platform != 'linux':  # on Linux it inherits both from the listening socket and accept4(2)
                socket.setblocking(False)
                if self._is_tcp:
                    socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            self._on_accepted(socket)

    def pause(self) -> None:
        """Stop accepting for now."""
        if self._fd >= 0:
            self._reactor.watch(self._fd, False, False)

    def resume(self) -> None:
        """Accept again, if there is room."""
        if self._fd >= 0 and self._retry_timer is None and self._room() > 0:
            try:
                self._reactor.watch(self._fd, True, False)
            except OSError as exc:
                self._pause_and_retry(exc)

    def close(self) -> None:
        """Stop listening; a Unix socket's path is removed if it still leads here. Calling it again does nothing."""
        self._reactor.check_thread('Listener.close()')
        if self._fd < 0:
            return
        self._reactor.remove(self._fd)
        if self._retry_timer is not None:
            self._reactor.remove(self._retry_timer)
            self._retry_timer = None
        self._fd = -1
        if self._file is not None:
            self._file.remove()  # while it listens: no other process takes the path for a stale one
        self.socket.close()

    def keep_path(self) -> None:
        """Another owns the socket: a Unix socket's path stays when it is closed."""
        self._file = None

    def _pause_and_retry(self, exc: OSError) -> None:
        """The system lacks descriptors or memory: pause, and try again later."""
        if not self._is_exhausted:
            self._is_exhausted = True
            _log.warning(
                '%r cannot accept: %s; trying again every %g s. Raise the limit of open files (ulimit -n), '
                'or lower max_connections below it',
                self, exc, _RETRY_DELAY,
            )  # fmt: skip
        self.pause()
        self._on_paused(False)
        self._retry_timer = self._reactor.timer(self._accept_again, _RETRY_DELAY)

    def _accept_again(self, reactor: Reactor) -> None:
        self._retry_timer = None
        self.resume()


class SocketFile:
    """The file of a Unix socket, which the process that bound it removes at the end; an abstract name has none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode = _socket_inode(path)
        self._owner = os.getpid()

    def remove(self) -> None:
        """Remove the file if the path still leads to it; in a forked child this does nothing."""
        if self._inode is not None and self._owner == os.getpid() and _socket_inode(self._path) == self._inode:
            try:
                os.unlink(self._path)
            except OSError as exc:  # such as a process that has given up its rights since
                _log.warning(
                    'cannot remove the Unix socket %r: %s; the next server there replaces it, if it has the rights',
                    self._path, cause_of(exc),
                )  # fmt: skip


def listen(
    *,
    address: str | None = None,
    port: int = 0,
    path: str | os.PathLike[str] | None = None,
    fd: int | None = None,
    socket: _socket.socket | None = None,
    backlog: int = _BACKLOG,
    reuse_port: bool = False,
    mode: int | None = None,
) -> _socket.socket:
    """Open a listening socket that does not block.

    Args:
        address: an IP address (an IPv6 one takes IPv6 only), or a name that has one; by default all of IPv4.
        port: 0 for one that is free.
        path: of a Unix socket, instead. A socket file without a listener is replaced. A path that begins with a zero
            byte is an abstract name (Linux).
        fd: of an open socket, instead; it is closed with the listener.
        socket: the same as an object.
        backlog: how many connections may wait to be accepted; the system may limit it further.
        mode: permissions of the Unix socket; by default, the umask decides.
        reuse_port: let several processes listen to one port; the kernel distributes the connections.

    Raises:
        OSError: the system refuses; the message names the address.
        ValueError: the arguments contradict each other.
    """
    if sum([what is not None for what in (path, fd, socket)]) + (address is not None or port != 0) > 1:
        raise ValueError('a server listens to one of these: address and port, path, fd, socket')
    where: Any = f'{address} port {port}' if path is None else path
    if fd is not None:
        try:
            socket = _socket.socket(fileno=fd)
        except OSError as exc:
            raise OSError(exc.errno, f'cannot listen to descriptor {fd}: {exc.strerror}') from exc
    if socket is not None:
        if socket.type != _socket.SOCK_STREAM:
            raise ValueError(f'cannot listen to {socket}: it is not a stream socket')
        where = socket
    elif path is not None:
        with _locked_folder(os.fsdecode(path)):
            return _listen_on(_bind_unix(os.fsdecode(path), mode), where, backlog)
    else:
        socket = _bind_tcp(address or '0.0.0.0', port, reuse_port)
    return _listen_on(socket, where, backlog)


def _listen_on(socket: _socket.socket, where: Any, backlog: int) -> _socket.socket:
    """Have a bound socket listen; raises OSError as `listen` does."""
    try:
        if socket.family in (_socket.AF_INET, _socket.AF_INET6):
            socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        socket.setblocking(False)
        socket.listen(backlog)
    except OSError as exc:
        where = str(where)  # before it is closed
        socket.close()
        raise OSError(exc.errno, f'cannot listen to {where}: {exc.strerror}') from exc
    return socket


def listening_sockets(caller: str, name: str, value: Any) -> list[tuple[str | None, _socket.socket | int]]:
    """Listening sockets, or their descriptors, each with its URL if that is given: of a list, or of a dict."""
    if isinstance(value, Mapping):
        found = list(value.items())
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        found = [(None, one) for one in value]
    else:
        raise TypeError(f'{caller}: {name} takes a list of listening sockets or their descriptors, not {value!r}')
    for _, one in found:
        if not isinstance(one, (_socket.socket, int)) or isinstance(one, bool) or (isinstance(one, int) and one < 0):
            raise TypeError(f'{caller}: {name} has {one!r}, but it takes listening sockets or their descriptors')
    return found


def _bind_tcp(address: str, port: int, reuse_port: bool) -> _socket.socket:
    """A socket bound to an address and port; raises ValueError or OSError as `listen` does."""
    if not 0 <= port <= 65535:
        raise ValueError(f'{port!r} is not a valid TCP port: give one from 0 (any that is free) to 65535')
    try:
        found = _socket.getaddrinfo(address, port, type=_socket.SOCK_STREAM, flags=_socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:
        raise OSError(
            getattr(exc, 'errno', None), f'cannot listen to {address!r}: no such address: {cause_of(exc)}'
        ) from exc
    # One socket, one address: a name with addresses of both families stands for its IPv4 address.
    family, kind, proto, _, place = min(found, key=lambda info: info[0] != _socket.AF_INET)
    socket = _new_socket(f'{address} port {port}', family, kind, proto)
    try:
        if os.name == 'posix':
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if reuse_port:
            if not hasattr(_socket, 'SO_REUSEPORT'):
                raise ValueError('reuse_port: this system has no SO_REUSEPORT')
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if family == _socket.AF_INET6:
            socket.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        socket.bind(place)
    except OSError as exc:
        socket.close()
        raise OSError(exc.errno, f'cannot listen to {address} port {port}: {exc.strerror}') from exc
    except BaseException:
        socket.close()
        raise
    return socket


def _new_socket(where: str, *kind: int) -> _socket.socket:
    try:
        return _socket.socket(*kind)
    except OSError as exc:  # no descriptor is left, or the address family is not supported
        raise OSError(exc.errno, f'cannot listen to {where}: {exc.strerror}') from exc


@contextmanager
def _locked_folder(path: str) -> Iterator[None]:
    """Lock the folder of a Unix socket, from before its bind(2) until it listens, without a lock file.

    Between the two it refuses connections, as a stale one does: another process that starts at the same time would
    replace it. Where the folder cannot be locked, or another keeps the lock, the socket is opened all the same.
    """
    if fcntl is None or path.startswith('\0'):
        yield
        return
    try:
        fd = os.open(os.path.dirname(path) or '.', os.O_RDONLY)
    except (OSError, ValueError):
        yield
        return
    try:
        until = monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                if exc.errno == errno.EWOULDBLOCK and monotonic() < until:
                    sleep(_LOCK_RETRY)
                    continue
            break
        yield
    finally:
        os.close(fd)


def _bind_unix(path: str, mode: int | None = None) -> _socket.socket:
    """A socket bound to a path; a socket file without a listener is replaced."""
    if not hasattr(_socket, 'AF_UNIX'):
        raise ValueError(f'cannot listen to {path!r}: this system has no Unix sockets')
    socket = _new_socket(repr(path), _socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        try:
            socket.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            os.unlink(path)
            socket.bind(path)
        if mode is not None and not path.startswith('\0'):
            os.chmod(path, mode)
    except OSError as exc:
        socket.close()
        cause = cause_of(exc)
        if exc.errno == errno.EADDRINUSE:
            cause = 'another socket listens there' if _socket_inode(path) else 'the path exists and is not a socket'
        raise OSError(exc.errno, f'cannot listen to {path!r}: {cause}') from exc
    return socket


def _is_stale(path: str) -> bool:
    """Whether a path is a socket without a listener."""
    if _socket_inode(path) is None:
        return False
    with _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _socket_inode(path: str) -> tuple[int, int] | None:
    """Device and inode of the socket file at a path; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # an abstract name has a zero byte
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None
