"""How a blocking connection waits: with threads, or with the greenlets of gevent or Eventlet.

Owns the difference between the three: locks, events, background threads, and waiting until a socket is ready. The class
of its socket says which one a connection needs. Must not know connections.

gevent and Eventlet are used through their own modules, so that a server of theirs works whether or not the standard
library was monkey-patched.
"""

from __future__ import annotations

import _socket
import select
import selectors
import threading
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ['Waiting', 'raw_socket', 'waiting_for']


class Waiting:
    """With threads."""

    def __init__(self) -> None:
        self._select: Any = select
        self._threading: Any = threading

    def lock(self) -> Any:
        """A lock, ``threading.Lock``."""
        return self._threading.Lock()

    def event(self) -> Any:
        """An event, ``threading.Event``."""
        return self._threading.Event()

    def thread(self, target: Callable[[], None]) -> Any:
        """A background thread that is not started yet."""
        return self._threading.Thread(target=target, name='pyjows.simple', daemon=True)

    def place(self) -> Hashable:
        """A key: connections with the same one share one background thread (a process, or a hub of greenlets)."""
        return self

    def until_ready(
        self, sock: Any, read: bool, write: bool, timeout: float | None, selector_class: Any = None
    ) -> tuple[bool, bool]:
        """Wait until a socket is readable or writable; returns which, neither after `timeout` seconds."""
        if selector_class is not None:
            with selector_class() as selector:
                selector.register(sock, (selectors.EVENT_READ * read) | (selectors.EVENT_WRITE * write))
                ready = selector.select(timeout)
            what = ready[0][1] if ready else 0
            return bool(what & selectors.EVENT_READ), bool(what & selectors.EVENT_WRITE)
        if not hasattr(self._select, 'poll'):
            return self._by_select(sock, read, write, timeout)
        poll = self._select.poll()
        poll.register(sock, (self._select.POLLIN if read else 0) | (self._select.POLLOUT if write else 0))
        ready = poll.poll(None if timeout is None else max(0, timeout) * 1000)
        if not ready:
            return False, False
        what = ready[0][1]
        if what & ~(self._select.POLLIN | self._select.POLLOUT):
            return read, write  # POLLHUP or POLLERR: the next call on the socket raises or returns EOF
        return bool(what & self._select.POLLIN), bool(what & self._select.POLLOUT)

    def _by_select(self, sock: Any, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        wanted = [sock] if read else [], [sock] if write else []
        readable, writable, _ = self._select.select(*wanted, [], None if timeout is None else max(0, timeout))
        return bool(readable), bool(writable)


class _Gevent(Waiting):
    """With gevent's greenlets."""

    def __init__(self) -> None:
        import gevent
        import gevent.event
        import gevent.select
        import gevent.thread

        self._gevent: Any = gevent
        self._select = gevent.select

    def lock(self) -> Any:
        return self._gevent.thread.allocate_lock()

    def event(self) -> Any:
        return self._gevent.event.Event()

    def thread(self, target: Callable[[], None]) -> Any:
        return self._gevent.Greenlet(target)

    def place(self) -> Hashable:
        hub: Hashable = self._gevent.get_hub()
        return hub


class _Eventlet(Waiting):
    """With Eventlet's greenlets."""

    def __init__(self) -> None:
        import eventlet
        import eventlet.green.select
        import eventlet.green.threading
        import eventlet.hubs

        self._eventlet: Any = eventlet
        self._select = eventlet.green.select
        self._threading = eventlet.green.threading
        self._hubs: Any = eventlet.hubs

    def thread(self, target: Callable[[], None]) -> Any:
        return _Greenlet(self._eventlet.spawn, target)

    def place(self) -> Hashable:
        hub: Hashable = self._hubs.get_hub()
        return hub


class _Greenlet:
    """One of Eventlet's green threads, with the methods of a thread: its own class keeps an entry for each caller."""

    def __init__(self, spawn: Callable[[Callable[[], None]], object], target: Callable[[], None]) -> None:
        self._spawn = spawn
        self._target = target

    def start(self) -> None:
        self._spawn(self._target)

    def join(self, timeout: float | None = None) -> None:
        """Return at once: it ends on its next turn."""


_kinds: dict[str, type[Waiting]] = {'gevent': _Gevent, 'eventlet': _Eventlet}
_made: dict[str, Waiting] = {}


def waiting_for(sock: Any) -> Waiting:
    """How to wait for this socket."""
    name = type(sock).__module__.partition('.')[0]
    if name not in _made:
        _made[name] = _kinds.get(name, Waiting)()
    return _made[name]


def raw_socket(sock: Any) -> Any:
    """A socket whose calls return at once where those of a green socket would switch to another greenlet.

    It is a duplicate: it has to be closed.
    """
    return _socket.socket(fileno=_socket.dup(sock.fileno()))
