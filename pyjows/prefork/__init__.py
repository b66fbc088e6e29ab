"""`prefork()`: several processes that serve the same sockets, watched and replaced by a manager.

`manager.py` starts, watches and replaces the workers; `worker.py` is what happens in one of them; `delays.py` says when
a worker that crashed is started again. `python -m pyjows.prefork` is the command.

The manager opens the listening sockets, and the workers inherit them. All of them accept from one queue of the kernel,
which exists as long as the manager does. A connection that waits in it is accepted by the first worker that has time,
so none is lost when a worker stops, crashes or is killed. With SO_REUSEPORT each worker would have a queue of its own,
and what waits there is reset when it ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .._options import Rule, check_options, flag, function, number, unix_mode
from ..ioloop.listener import SocketFile, listen, listening_sockets
from ..safe_logger import SafeLogger
from ..url import checked_url, redact
from .delays import restart_delays
from .manager import Manager

__all__ = ['Sockets', 'prefork', 'restart_delays']

Sockets = Mapping[str, socket.socket] | list[socket.socket | int]
"""What the function of a program is called with, for `pyjows.serve`: sockets by their URLs, or as they were given."""

_log = SafeLogger('pyjows.prefork')

_RULES: dict[str, Rule] = {
    'workers': number(1, 'workers', whole=True, optional=True),
    'sockets': listening_sockets,
    'backlog': number(1, 'connections', whole=True),
    'reuse_port': flag,
    'unix_mode': unix_mode,
    'timeout': number(0, 'seconds'),
    'graceful': number(0, 'seconds'),
    'heartbeat_timeout': number(0, 'seconds, 0 for no limit'),
    'delays': function,
    'stable_after': number(0, 'seconds'),
}


def prefork(
    app: str | Callable[[Any], object],
    *urls: str,
    workers: int | None = None,
    sockets: Iterable[socket.socket | int] | Mapping[str, socket.socket | int] = (),
    backlog: int = 1024,
    reuse_port: bool = False,
    unix_mode: int | None = None,
    timeout: float = 10.0,
    graceful: float = 0.0,
    heartbeat_timeout: float = 60.0,
    delays: Callable[[], Iterator[float]] = restart_delays,
    stable_after: float = 10.0,
) -> None:
    """Serve with several processes; returns when they have stopped, after SIGTERM or SIGINT.

    ::

        # chat.py
        import pyjows

        def app(sockets):
            server = pyjows.serve(sockets=sockets)

            @server.on
            def websocket(server, ws):
                ...

        if __name__ == '__main__':
            pyjows.prefork('chat:app', 'ws://127.0.0.1:3000', workers=4)

    The process that calls it becomes the manager: it listens, starts the workers and watches them. Each calls `app`,
    and runs the current loop (`IOLoop.singleton`). A worker that ends or hangs is replaced; one that crashes again and
    again waits longer each time. Workers stop when the manager is gone.

    Signals, sent to the manager:

    - HUP: replace the workers, one after the other, by new ones, which import the program again. Each new one has to be
      ready before an old one is stopped; if it cannot start, the old ones stay. Another HUP begins again: a new worker
      that is not ready yet is stopped.
    - TERM, INT: stop gracefully; a second one stops at once.
    - QUIT: stop at once.
    - TTIN, TTOU: one worker more, one less.

    When it returns, the program's handlers are back: without one of its own, HUP ends it then. The command
    ``python -m pyjows.prefork`` ignores HUP until its end.

    Args:
        app: called ``app(sockets)`` in each worker, with what `serve` takes as ``sockets``; plain or ``async``. Or its
            name, ``'module:function'``: then each worker imports it, and HUP loads new code, except of modules that the
            manager itself has imported.
        *urls: where to listen, as for `serve`.
        workers: how many processes; by default as many as there are CPUs for this one.
        sockets: listening sockets or their descriptors, in place of URLs: those of `systemd_sockets`; or a dict of them
            by URL.
        backlog, reuse_port, unix_mode: as for `serve`.
        timeout: seconds that the connections of a stopping worker have to close.
        graceful: seconds over which a stopping worker closes its connections, before the `timeout` begins.
        heartbeat_timeout: a worker whose loop does not turn for this many seconds is killed, and so is a new one that
            is not ready by then, its coroutine `app` included; 0 for no limit.
        delays: what gives the seconds to wait before each start of a worker after a crash.
        stable_after: after the crash of a worker that had run for this many seconds, `delays` begin anew.

    Raises:
        RuntimeError: no worker could start (the log says why); or it is not called in the main thread, or inside
            asyncio, or the system has no fork(2).
        OSError: the system refuses to listen; the message names the address.
        TypeError, ValueError: an argument is not valid.
        SystemExit: it was stopped by a second signal, or by QUIT.
    """
    options = check_options(
        'prefork()',
        {
            'workers': workers,
            'sockets': sockets,
            'backlog': backlog,
            'reuse_port': reuse_port,
            'unix_mode': unix_mode,
            'timeout': timeout,
            'graceful': graceful,
            'heartbeat_timeout': heartbeat_timeout,
            'delays': delays,
            'stable_after': stable_after,
        },
        _RULES,
    )
    if isinstance(app, str):
        module, _, name = app.partition(':')
        if not module or not name:
            raise ValueError(f"prefork(): {app!r} does not say where a function is: 'module:function'")
    elif not callable(app):
        raise TypeError(f"prefork() takes a function, or 'module:function', not {app!r}")
    given = options['sockets']
    if bool(urls) == bool(given):
        raise ValueError("prefork() takes at least one URL, 'ws://127.0.0.1:3000', or sockets=")
    if not hasattr(os, 'fork'):
        raise RuntimeError('prefork(): this system cannot fork processes')
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError('prefork() works in the main thread only, where signals arrive')
    if _runs_asyncio():
        raise RuntimeError('prefork() cannot be called inside asyncio: the workers run loops of their own')
    if threading.active_count() > 1:
        _log.warning('the manager has %d threads: forked workers do not have them', threading.active_count())
    listening = _Listening()
    try:
        for url in urls:
            listening.open(url, backlog, reuse_port, unix_mode)
        for given_url, one in given:
            listening.add(given_url, one if isinstance(one, socket.socket) else socket.socket(fileno=one))
        Manager(
            app,
            listening.by_url or listening.sockets,
            unlisten=listening.close,
            workers=_cpus() if workers is None else workers,
            timeout=timeout,
            graceful=graceful,
            heartbeat_timeout=heartbeat_timeout,
            delays=delays,
            stable_after=stable_after,
        ).run()
    finally:
        listening.close()


class _Listening:
    """The manager's listening sockets, and the files of those that have one."""

    def __init__(self) -> None:
        self.by_url: dict[str, socket.socket] = {}
        self.sockets: list[socket.socket] = []
        self._files: list[SocketFile] = []

    def open(self, url: str, backlog: int, reuse_port: bool, mode: int | None) -> None:
        parsed = checked_url('prefork()', url)
        if url in self.by_url:
            raise ValueError(f'prefork(): {redact(url)} is there twice')
        path = parsed.unix_path
        if path is None:
            opened = listen(address=parsed.host, port=parsed.port, reuse_port=reuse_port, backlog=backlog)
        else:
            opened = listen(path=path, mode=mode, backlog=backlog)
            self._files.append(SocketFile(path))
        self.add(url, opened)

    def add(self, url: str | None, opened: socket.socket) -> None:
        if url is not None:
            self.by_url[url] = opened
        self.sockets.append(opened)

    def close(self) -> None:
        """Listen no more."""
        while self.sockets:
            self.sockets.pop().close()
        while self._files:
            self._files.pop().remove()


def _runs_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
