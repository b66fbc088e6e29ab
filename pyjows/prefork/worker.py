"""A worker: a forked process that runs the program's function and then the loop, until it is told to stop.

Owns the worker's signals and its half of the link to the manager. Must not know the other workers.

The link is a socket pair. The worker sends `READY` once, when the program listens, and `ALIVE` again and again, from
its loop. The manager sends nothing; its end of the link closes when it dies, and then the worker stops gracefully.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from ..ioloop import IOLoop
from ..safe_logger import SafeLogger

__all__ = ['ALIVE', 'READY', 'Worker']

_log = SafeLogger('pyjows.prefork')

READY, ALIVE = b'r', b'.'

# Seconds between two signs of life; less where the manager expects more of them.
_ALIVE_INTERVAL = 5.0


class Worker:
    """What happens in the process of a worker.

    Args:
        app: the program's function, or ``'module:function'``.
        sockets: its argument.
        link: the worker's end of the link.
        timeout, graceful, heartbeat_timeout: as for `prefork`.
    """

    def __init__(
        self,
        app: str | Callable[[Any], object],
        sockets: Any,
        link: socket.socket,
        *,
        timeout: float,
        graceful: float,
        heartbeat_timeout: float,
    ) -> None:
        self._app = app
        self._sockets = sockets
        self._link = link
        self._timeout = timeout
        self._graceful = graceful
        self._interval = min(_ALIVE_INTERVAL, heartbeat_timeout / 4 or _ALIVE_INTERVAL)
        self._is_stopping = False
        self._has_failed = False

    def run(self) -> int:
        """Run until it is told to stop; returns the exit status."""
        IOLoop._singleton = None  # one that the manager has made stays there
        try:
            ioloop = self._ioloop = IOLoop.singleton()
            ioloop.multi_accept = 1  # one at a time, so that connections go to the workers that have time for them
            self._link.setblocking(False)
            ioloop.reactor.io(self._link.fileno(), self._link_readable)
            ioloop.recurring(self._send_alive, self._interval)
            result = _found(self._app)(self._sockets)
            if inspect.iscoroutine(result):
                ioloop.reactor.spawn(self._ready_after(result))
            else:
                ioloop.next_tick(self._send_ready)
        except Exception:
            _log.exception('worker %d cannot start', os.getpid())
            return 1
        with ioloop.reactor.signals(self._on_signal, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            ioloop.start()
        return 1 if self._has_failed else 0

    async def _ready_after(self, starting: Any) -> None:
        try:
            await starting
        except Exception:
            _log.exception('worker %d cannot start', os.getpid())
            self._has_failed = True
            self._ioloop.stop()
        else:
            self._send_ready(self._ioloop)

    # The link

    def _send_ready(self, ioloop: IOLoop) -> None:
        self._send(READY)

    def _send_alive(self, ioloop: IOLoop) -> None:
        self._send(ALIVE)

    def _send(self, what: bytes) -> None:
        try:
            self._link.send(what)
        except OSError:
            pass  # the manager is slow to read, or gone

    def _link_readable(self, reactor: Any, writable: bool) -> None:
        try:
            if self._link.recv(64):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        reactor.remove(self._link.fileno())
        _log.warning('worker %d stops: its manager is gone', os.getpid())
        self._stop(self._ioloop)

    # Signals

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGQUIT or (number == signal.SIGTERM and self._is_stopping):
            raise SystemExit(128 + number)
        if number == signal.SIGTERM:  # INT and HUP are the manager's, although a terminal sends them to all
            self._is_stopping = True
            self._ioloop.call_threadsafe(self._stop)

    def _stop(self, ioloop: IOLoop) -> None:
        self._is_stopping = True
        ioloop.stop_gracefully(self._graceful + self._timeout, graceful=self._graceful)


def _found(app: str | Callable[[Any], object]) -> Callable[[Any], object]:
    """The function itself; imported if it is given as ``'module:function'``."""
    if not isinstance(app, str):
        return app
    module, _, name = app.partition(':')
    found: Any = importlib.import_module(module)
    for part in name.split('.'):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f'{app} is not a function, but {found!r}')
    function: Callable[[Any], object] = found
    return function
