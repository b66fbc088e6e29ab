"""Real brokers for tests: redis-server and nats-server as processes on a free port, and a TCP proxy that can fail."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from background import TIMEOUT, free_port, until

__all__ = ['REDIS', 'FaultyLink', 'NatsServer', 'RedisServer', 'needs_nats', 'needs_redis']

# PYJOWS_REDIS names another program, such as Valkey's.
REDIS = os.environ.get('PYJOWS_REDIS') or shutil.which('redis-server') or shutil.which('valkey-server')
NATS = shutil.which('nats-server') or (shutil.which('nats-server', path='/usr/sbin'))

needs_redis = pytest.mark.skipif(REDIS is None, reason='no redis-server here (Debian: apt install redis-server)')
needs_nats = pytest.mark.skipif(NATS is None, reason='no nats-server here (Debian: apt install nats-server)')


class _Server:
    """A server process on a port of its own, in a folder of its own."""

    scheme = ''

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f'{self.scheme}://127.0.0.1:{self.port}'

    def start(self) -> None:
        """Start it, on the same port and in the same folder as before."""
        self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=subprocess.DEVNULL)
        until(self.answers, f'{self.url} to answer')

    def answers(self) -> bool:
        try:
            with socket.create_connection(('127.0.0.1', self.port), 1) as link:
                link.sendall(b'PING\r\n')
                return bool(link.recv(100))
        except OSError:
            return False

    def kill(self) -> None:
        """End it at once: it saves nothing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class RedisServer(_Server):
    """`redis-server`; with ``data=True`` it keeps an append-only file and has its data after a kill.

    Other options are Redis' own, with ``_`` for ``-``; `ask` knows ``requirepass``.
    """

    scheme = 'redis'

    def command(self) -> list[str]:
        options = {'port': self.port, 'bind': '127.0.0.1', 'save': '', 'dir': str(self.folder), **self.options}
        if options.pop('data', False):
            options.update(appendonly='yes', appendfsync='always')
        words = [word for name, value in options.items() for word in (f'--{name.replace("_", "-")}', str(value))]
        return [str(REDIS), *words]

    def ask(self, *words: str | int) -> Any:
        """Send a command, and return the answer as redis-py has it."""
        import redis

        password = self.options.get('requirepass')
        with redis.Redis(port=self.port, password=password, socket_timeout=TIMEOUT) as client:
            return client.execute_command(*words)

    def answers(self) -> bool:
        try:
            return bool(self.ask('PING'))
        except Exception:
            return False


class NatsServer(_Server):
    """`nats-server`; ``words`` are more words of its command line."""

    scheme = 'nats'

    def command(self) -> list[str]:
        return [str(NATS), '-a', '127.0.0.1', '-p', str(self.port), *map(str, self.options.get('words', ()))]

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self.answers, f'{self.url} to answer')


class FaultyLink:
    """A TCP proxy: what comes on its port goes to another one, unless it is told to drop or to delay it.

    `drop` is a half-open link: both ends believe that they are connected, and nothing arrives.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.drop = False
        self.delay = 0.0
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(('127.0.0.1', self.target), 5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            self._links += [client, server]
            for one, other in ((client, server), (server, client)):
                thread = threading.Thread(target=self._carry, args=(one, other), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if self.delay:
                    time.sleep(self.delay)
                if not self.drop:
                    other.sendall(data)
            if not self.drop:
                other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self) -> None:
        """End the connections that are there."""
        links, self._links = self._links, []
        for link in links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            link.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(TIMEOUT)
