"""A pyjows server on a loop in a thread of its own, for tests whose other side blocks in the main thread."""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyjows

__all__ = ['TIMEOUT', 'Service', 'accepts', 'echo', 'free_port', 'open_files', 'silent_port', 'until']

TIMEOUT = 30.0


def until(condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
    """Wait for `condition` to become true and return what it returned; fails the test with `what` if it never does."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f'waited {timeout:.0f} s for {what}'
        time.sleep(0.005)
    return result


def free_port() -> int:
    """A port that nothing listens on, and that the system will not give to anybody who asks for any.

    Another test would be given it before the program that it is for listens on it; and one that tries to connect to it
    meanwhile could be given it as its own, and be connected to itself.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32000)  # Hypothesis seeds the other one
        with suppress(OSError), socket.create_server(('127.0.0.1', port)):
            return port


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as sock:
        return sock.connect_ex(('127.0.0.1', port)) == 0


def open_files() -> int:
    """How many file descriptors this process has open (Linux and macOS)."""
    folder = Path('/proc/self/fd') if Path('/proc/self/fd').exists() else Path('/dev/fd')
    return len(os.listdir(folder))


class Service:
    """`pyjows.serve` in the background.

    `handler(server, ws)` is its `websocket` event; without one every message is echoed. `finished` has `(code, reason)`
    of each connection that has ended, in that order. `stop` closes the `clients` that registered, and fails when
    anything is left: a connection, a timer, a file descriptor.
    """

    def __init__(self, reactor_name: str, handler: Callable[[Any, Any], object] | None = None, **options: Any) -> None:
        gc.collect()
        self._files_before = open_files()
        self.finished: list[tuple[int, str]] = []
        self.opened = 0
        self.clients: list[Any] = []
        self._reactor_name = reactor_name
        self._handler = handler or echo
        self._options = options
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(TIMEOUT), 'the loop does not turn'
        if self._failure:
            raise self._failure
        self.port: int = self.server.ports[0]
        self.url = f'ws://127.0.0.1:{self.port}'

    def _run(self) -> None:
        try:
            self.loop = pyjows.IOLoop(reactor=self._reactor_name)
            self.server = pyjows.serve('ws://127.0.0.1:0', ioloop=self.loop, **self._options)
            self.server.on('websocket', self._websocket)
            self.loop.next_tick(lambda loop: self._ready.set())
            self.loop.start()
        except BaseException as exc:
            self._failure = exc
            self._ready.set()

    def _websocket(self, server: Any, ws: Any) -> None:
        self.opened += 1
        ws.on('finish', lambda ws, code, reason: self.finished.append((code, reason)))
        self._handler(server, ws)

    def finish(self, number: int = 1) -> tuple[int, str]:
        """Wait until `number` connections have ended; how the last of them did."""
        until(lambda: len(self.finished) >= number, f'{number} finish events')
        assert len(self.finished) == number, f'finish must come once: {self.finished}'
        return self.finished[-1]

    def stop(self) -> None:
        """Stop the server and the loop; nothing may be left of them."""
        for client in self.clients:
            client.close()
        until(lambda: not self.server.connections and not self.loop.connections, 'the last connection to be released')
        self.server.on('finish', lambda server: self.loop.stop())
        self.loop.call_threadsafe(lambda loop: self.server.stop())
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), 'the loop does not stop'
        if self._failure:
            raise self._failure
        reactor = self.loop.reactor
        assert not self.loop.acceptors, f'listening sockets left: {self.loop.acceptors}'
        assert not reactor.statistics()['timers'], f'timers left: {reactor}'
        assert not reactor.statistics()['descriptors'], f'descriptors still watched: {reactor}'
        self.loop.close()
        del self.server, self.loop, reactor
        until(lambda: gc.collect() >= 0 and open_files() <= self._files_before, 'the file descriptors to be closed')


def echo(server: Any, ws: Any) -> None:
    """Answer text with text and bytes with bytes."""
    ws.on('text', lambda ws, message: ws.send(text=message))
    ws.on('binary', lambda ws, message: ws.send(binary=message))


@contextmanager
def silent_port() -> Iterator[int]:
    """A port whose backlog is full: connecting gets no answer at all."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(('127.0.0.1', 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]
