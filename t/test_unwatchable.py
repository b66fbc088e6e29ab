"""The system may refuse to watch a descriptor (on Linux, fs.epoll.max_user_watches): one connection ends, nothing else.

Here it refuses because the descriptor is that of a regular file: epoll_ctl(2) fails with EPERM.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trustme

import pyjows
from pyjows.ioloop.limit import ConnectionLimit
from pyjows.ioloop.proxy_header import ProxyProtocol

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='other systems can watch regular files')


@pytest.fixture
def accepts_files(ioloop: Any) -> Callable[..., int]:
    """Starts a server on the loop whose first accepted connection cannot be watched; returns its port."""

    def start(**options: Any) -> int:
        replaced: list[Any] = []

        def replace(socket: socket.socket) -> bool:
            if not replaced:
                replaced.append(True)
                _make_unwatchable(socket)
            return 'proxy_protocol' in options

        if 'proxy_protocol' in options:
            options['proxy_protocol'] = ProxyProtocol(replace, 5, options['proxy_protocol'])
        else:
            options['limit'] = ConnectionLimit(5, per_address=5, is_proxy=replace)

        @ioloop.server(address='127.0.0.1', **options)
        def server(loop: Any, stream: Any, id: str) -> None:
            stream.on('read', lambda stream, data: stream.write(data))

        return int(ioloop.acceptor(server).port)

    return start


def _make_unwatchable(socket: socket.socket) -> None:
    with open(os.path.abspath(__file__), 'rb') as file:
        os.dup2(file.fileno(), socket.fileno(), inheritable=False)


class _Unwatchable(ssl.SSLContext):
    """A context whose first socket cannot be watched."""

    is_used = False

    def wrap_socket(self, *args: Any, **options: Any) -> Any:
        wrapped = super().wrap_socket(*args, **options)
        if not self.is_used:
            self.is_used = True
            _make_unwatchable(wrapped)
        return wrapped


def _echoed(ioloop: Any, run_until: Any, port: int, first: bytes = b'', **options: Any) -> bytes:
    """What a further connection gets back for ``hello``."""
    got = bytearray()

    @ioloop.client(address='127.0.0.1', port=port, **options)
    def client(loop: Any, err: Any, stream: Any) -> None:
        assert err is None
        stream.on('read', lambda stream, data: got.extend(data))
        stream.write(first + b'hello')

    run_until(ioloop, lambda: len(got) >= 5)
    ioloop.stream(client).close()
    return bytes(got)


def test_an_accepted_connection_that_cannot_be_watched_is_closed(
    ioloop: Any, run_until: Any, accepts_files: Any, caplog: pytest.LogCaptureFixture
) -> None:
    port = accepts_files()
    with socket.create_connection(('127.0.0.1', port)):
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] == 1 and not ioloop.connections)
    assert 'the system cannot watch it' in caplog.text and 'max_user_watches' in caplog.text
    assert _echoed(ioloop, run_until, port) == b'hello'


def test_an_accepted_connection_that_cannot_be_watched_is_closed_before_tls(
    ioloop: Any, run_until: Any, authority: trustme.CA, client_tls: ssl.SSLContext
) -> None:
    failures: list[Any] = []
    context = _Unwatchable(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(context)

    @ioloop.server(address='127.0.0.1', tls=context, tls_failed=failures.append)
    def server(loop: Any, stream: Any, id: str) -> None:
        stream.on('read', lambda stream, data: stream.write(data))

    port = ioloop.acceptor(server).port
    with socket.create_connection(('127.0.0.1', port)):
        run_until(ioloop, lambda: failures)
    assert isinstance(failures[0], PermissionError)
    assert ioloop.statistics()['tls_handshakes'] == 0
    assert _echoed(ioloop, run_until, port, tls=client_tls) == b'hello'


def test_an_accepted_connection_that_cannot_be_watched_is_closed_before_its_proxy_header(
    ioloop: Any, run_until: Any, accepts_files: Any
) -> None:
    failures: list[Any] = []
    port = accepts_files(proxy_protocol=failures.append)
    with socket.create_connection(('127.0.0.1', port)):
        run_until(ioloop, lambda: failures)
    assert isinstance(failures[0], PermissionError)
    assert ioloop.statistics()['tls_handshakes'] == 0
    assert _echoed(ioloop, run_until, port, first=b'PROXY UNKNOWN\r\n') == b'hello'


def test_a_connected_socket_that_cannot_be_watched_is_closed(ioloop: Any, run_until: Any) -> None:
    ours, theirs = socket.socketpair()
    _make_unwatchable(ours)
    got: list[Any] = []

    @ioloop.client(socket=ours)
    def client(loop: Any, err: Any, stream: Any) -> None:
        stream.on('error', lambda stream, exc: got.append(exc))
        stream.on('close', lambda stream: got.append('closed'))

    with theirs:
        run_until(ioloop, lambda: len(got) == 2)
    assert isinstance(got[0], PermissionError)
    assert got[1] == 'closed'
    assert not ioloop.connections


def test_a_websocket_whose_socket_cannot_be_watched_tells_why_and_blames_no_tls(ioloop: Any, run_until: Any) -> None:
    ours, theirs = socket.socketpair()
    _make_unwatchable(ours)
    errors: list[Any] = []
    with theirs:
        ws = pyjows.connect('ws://localhost', sock=ours, ioloop=ioloop)
        ws.on('error', lambda ws, exc: errors.append(exc))
        run_until(ioloop, lambda: ws.is_finished)
    assert 'Operation not permitted' in str(errors[0])
    assert 'TLS' not in str(errors[0])


def test_a_tls_client_whose_socket_cannot_be_watched_is_told(ioloop: Any, run_until: Any) -> None:
    ours, theirs = socket.socketpair()
    got: list[Any] = []

    def client(loop: Any, err: Any, stream: Any) -> None:
        got.append((type(err), stream))

    with theirs:
        tls = _Unwatchable(ssl.PROTOCOL_TLS_CLIENT)
        ioloop.client(client, socket=ours, tls=tls, server_hostname='localhost', timeout=5)
        run_until(ioloop, lambda: got)
    assert got == [(PermissionError, None)]


def test_a_listening_socket_that_cannot_be_watched_again_is_tried_again(
    ioloop: Any, run_until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[bool] = []

    @ioloop.server(address='127.0.0.1', paused=pauses.append)
    def server(loop: Any, stream: Any, id: str) -> None:
        pass

    listener = ioloop.acceptor(server)
    ioloop.max_connections = 1
    with socket.create_connection(('127.0.0.1', listener.port)) as first:
        run_until(ioloop, lambda: ioloop.connections)
        with socket.create_connection(('127.0.0.1', listener.port)):
            run_until(ioloop, lambda: pauses)
            kept = os.dup(listener.fileno())
            _make_unwatchable(listener.socket)
            first.close()
            run_until(ioloop, lambda: 'trying again' in caplog.text)
            os.dup2(kept, listener.fileno(), inheritable=False)
            os.close(kept)
            run_until(ioloop, lambda: ioloop.statistics()['accepts'] == 2)
