"""A WSGI-like server of a few lines, one thread for each connection, for tests of `pyjows.simple` within a process."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from wire import UPGRADE, asked

__all__ = ['Peer', 'Threaded', 'environ_of', 'reset', 'upgrade_environ']


def environ_of(head: bytes, sock: Any) -> dict[str, Any]:
    """The WSGI environment of a request."""
    line, *fields = head.decode('latin-1').split('\r\n\r\n')[0].split('\r\n')
    method, target, version = line.split()
    environ: dict[str, Any] = {'REQUEST_METHOD': method, 'RAW_URI': target, 'SERVER_PROTOCOL': version}
    for field in fields:
        name, _, value = field.partition(':')
        environ['HTTP_' + name.upper().replace('-', '_')] = value.strip()
    environ['pyjows.socket'] = sock
    return environ


def upgrade_environ(sock: Any = None, **changes: str | None) -> dict[str, Any]:
    """The environment of a valid upgrade request, with some header fields changed or left out."""
    environ: dict[str, Any] = {f'HTTP_{name.upper().replace("-", "_")}': value for name, value in UPGRADE.items()}
    environ['REQUEST_METHOD'] = 'GET'
    if sock is not None:
        environ['pyjows.socket'] = sock
    for name, value in changes.items():
        environ[f'HTTP_{name}'] = value
    return {name: value for name, value in environ.items() if value is not None}


def reset(environ: dict[str, Any]) -> None:
    """A handler that has the connection reset."""
    environ['pyjows.socket'].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


class Threaded:
    """Listens while its `with` block runs; `handler(environ)` is called in a thread for each request.

    What a handler returns, bytes, is written as the answer. What it raises is in `failures`.
    """

    def __init__(
        self,
        handler: Callable[[dict[str, Any]], Any],
        context: ssl.SSLContext | None = None,
        unix_path: str | None = None,
    ) -> None:
        self._handler = handler
        self._context = context
        self.failures: list[BaseException] = []
        if unix_path is None:
            self._listener = socket.create_server(('127.0.0.1', 0))
            self.port = self._listener.getsockname()[1]
            self.url = f'{"ws" if context is None else "wss"}://127.0.0.1:{self.port}'
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(unix_path)
            self._listener.listen()
            self.url = f'ws+unix://{unix_path}:'
        self._threads = [threading.Thread(target=self._accept, name='listener', daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name='handler', daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            head = b''
            while b'\r\n\r\n' not in head:
                data = sock.recv(4096)
                if not data:
                    return
                head += data
            answer = self._handler(environ_of(head, sock))
            if answer:
                sock.sendall(answer)
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            sock.close()

    def __enter__(self) -> Threaded:
        return self

    def __exit__(self, kind: type | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive() or kind is not None, 'a handler does not end'


class Peer:
    """The client of a connection by hand: it writes bytes, and reads frames."""

    def __init__(self) -> None:
        self.sock, self.served = socket.socketpair()
        self.sock.settimeout(20)
        self.served_environ = environ_of(asked(), self.served)

    def read_head(self) -> bytes:
        """The answer to the upgrade."""
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            byte = self.sock.recv(1)
            assert byte, head
            head += byte
        return head

    def exactly(self, n: int) -> bytes:
        data = b''
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            assert piece, f'EOF after {data!r}'
            data += piece
        return data

    def read_frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, second = self.exactly(2)
        assert second < 0x80, 'a server does not mask'
        n = second
        if n > 125:
            n = int.from_bytes(self.exactly(2 if n == 126 else 8), 'big')
        return first & 0x0F, self.exactly(n)

    def close(self) -> None:
        self.sock.close()
        self.served.close()
