"""The loop, on every reactor, with real sockets: servers, clients, streams, TLS, limits, and coming to an end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import re
import resource
import socket
import ssl
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
from background import free_port, silent_port

from pyjows.buffers import Receiver
from pyjows.ioloop import IOLoop, Stream, TLSStream
from pyjows.ioloop import dialer as dialing
from pyjows.ioloop.listener import listen
from pyjows.reactor import Timer

Until = Callable[..., None]


@pytest.fixture
def echo() -> Callable[..., str]:
    """``echo(loop, **options)`` starts a server that sends back what it gets; returns its id."""

    def start(loop: IOLoop, **options: Any) -> str:
        @loop.server(**options)
        def server(loop: IOLoop, stream: Stream, id: str) -> None:
            @stream.on
            def read(stream: Stream, data: bytes) -> None:
                stream.write(data)

        return server

    return start


@pytest.fixture
def dial(run_until: Until) -> Callable[..., Any]:
    """``dial(loop, **options)`` opens a connection and waits for it; returns the stream or the error."""

    def connect(loop: IOLoop, **options: Any) -> Any:
        got: list[Any] = []

        @loop.client(**options)
        def client(loop: IOLoop, err: OSError | None, stream: Stream) -> None:
            got.append(err or stream)

        run_until(loop, lambda: got)
        return got[0]

    return connect


def collect(stream: Stream) -> bytearray:
    """Everything that a stream reads, from now on."""
    got = bytearray()
    stream.on('read', lambda stream, data: got.extend(data))
    return got


@pytest.fixture
def peers(ioloop: IOLoop, dial: Callable[..., Any], run_until: Until) -> tuple[Stream, Stream]:
    """The two ends of one connection: the dialing and the accepted one."""
    accepted: list[Stream] = []
    server = ioloop.server(lambda loop, stream, id: accepted.append(stream), address='127.0.0.1')
    client = dial(ioloop, port=ioloop.ports[0])
    run_until(ioloop, lambda: accepted)
    ioloop.remove(server)
    return client, accepted[0]


# Servers and clients


def test_a_client_and_a_server_talk(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, assert_idle: Any) -> None:
    server = echo(ioloop, address='127.0.0.1')
    stream = dial(ioloop, port=ioloop.acceptor(server).port)  # type: ignore[union-attr]
    got = collect(stream)
    stream.write(b'hello ').write(b'world')
    run_until(ioloop, lambda: got == b'hello world')
    stream.close()
    run_until(ioloop, lambda: not ioloop.connections)
    ioloop.remove(server)
    assert_idle(ioloop)


def test_one_loop_serves_many_connections(ioloop: IOLoop, echo: Any, run_until: Until, assert_idle: Any) -> None:
    echo(ioloop, address='127.0.0.1')
    streams: list[Stream] = []
    got: dict[Stream, bytearray] = {}

    def connected(loop: IOLoop, err: OSError | None, stream: Stream) -> None:
        assert err is None
        got[stream] = collect(stream)
        stream.write(b'%d' % len(streams))
        streams.append(stream)

    for _ in range(100):
        ioloop.client(connected, port=ioloop.ports[0])
    run_until(ioloop, lambda: len(streams) == 100 and all(got[s] == b'%d' % i for i, s in enumerate(streams)))
    assert len(ioloop.connections) == 200
    ioloop.stop_gracefully()
    for stream in streams:
        stream.close()
    ioloop.start()
    assert_idle(ioloop)


@pytest.mark.usefixtures('ipv6')
def test_talks_over_ipv6(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until) -> None:
    server = ioloop.acceptor(echo(ioloop, address='::1'))
    assert server is not None and server.address == '::1'
    stream = dial(ioloop, address='::1', port=server.port)
    got = collect(stream)
    stream.write(b'six')
    run_until(ioloop, lambda: got == b'six')


@pytest.mark.usefixtures('ipv6')
def test_an_ipv6_server_leaves_the_port_of_ipv4_free(ioloop: IOLoop, echo: Any) -> None:
    echo(ioloop, address='::', port=0)
    echo(ioloop, address='0.0.0.0', port=ioloop.ports[0])
    assert ioloop.ports[0] == ioloop.ports[1]


def test_a_name_is_looked_up_without_blocking_the_loop(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    turning = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *args: Any, **options: Any) -> Any:
        if host == 'localhost' and 'flags' not in options:
            assert turning.wait(20), 'the loop stood still'
        return real(host, *args, **options)

    echo(ioloop, address='127.0.0.1')
    monkeypatch.setattr(socket, 'getaddrinfo', slow)
    ticker = ioloop.recurring(lambda loop: turning.set(), 0.001)
    stream = dial(ioloop, address='localhost', port=ioloop.ports[0])
    ioloop.remove(ticker)
    got = collect(stream)
    stream.write(b'by name')
    run_until(ioloop, lambda: got == b'by name')


def test_the_next_address_of_a_name_is_tried_when_one_refuses(
    ioloop: IOLoop, echo: Any, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(ioloop, address='127.0.0.1')
    port = ioloop.ports[0]
    real = socket.getaddrinfo

    def two(host: str, *args: Any, **options: Any) -> Any:
        if host != 'two.test':
            return real(host, *args, **options)
        return real('127.0.0.9', port, type=socket.SOCK_STREAM) + real('127.0.0.1', port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, 'getaddrinfo', two)
    stream = dial(ioloop, address='two.test', port=port)
    assert stream.socket.getpeername() == ('127.0.0.1', port)


def test_a_slow_address_is_overtaken_by_the_next(
    ioloop: IOLoop, echo: Any, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(ioloop, address='127.0.0.1')
    port = ioloop.ports[0]
    with silent_port() as silent:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', silent)),
            (socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port)),
        ]
        monkeypatch.setattr(socket, 'getaddrinfo', lambda *args, **options: found)
        stream = dial(ioloop, address='slow.test', port=port)
        assert stream.socket.getpeername() == ('127.0.0.1', port)


def test_address_families_alternate() -> None:
    six, four = (socket.AF_INET6, socket.SOCK_STREAM, 0, ''), (socket.AF_INET, socket.SOCK_STREAM, 0, '')
    found: Any = [(*six, 'a'), (*six, 'b'), (*six, 'c'), (*four, 'd')]
    assert [info[4] for info in dialing.interleave(found)] == ['a', 'd', 'b', 'c']


@pytest.mark.skipif(sys.platform == 'win32', reason='no Unix sockets')
def test_talks_over_a_unix_socket(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, socket_folder: Path, assert_idle: Any
) -> None:
    path = socket_folder / 'socket'
    server = echo(ioloop, path=path)
    assert ioloop.acceptor(server).path == str(path)  # type: ignore[union-attr]
    assert ioloop.ports == []
    stream = dial(ioloop, path=path)
    got = collect(stream)
    stream.write(b'unix')
    run_until(ioloop, lambda: got == b'unix')
    stream.close()
    ioloop.remove(server)
    run_until(ioloop, lambda: not ioloop.connections)
    assert not path.exists()
    assert_idle(ioloop)


@pytest.mark.skipif(sys.platform != 'linux', reason='no abstract names')
def test_talks_over_an_abstract_unix_socket(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until) -> None:
    name = f'\0pyjows-test-{os.getpid()}-{ioloop.reactor.name}'
    echo(ioloop, path=name)
    stream = dial(ioloop, path=name)
    got = collect(stream)
    stream.write(b'abstract')
    run_until(ioloop, lambda: got == b'abstract')


def test_a_unix_socket_that_nobody_listens_to_is_replaced(
    ioloop: IOLoop, echo: Any, dial: Any, socket_folder: Path
) -> None:
    path = socket_folder / 'socket'
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    echo(ioloop, path=path)
    assert isinstance(dial(ioloop, path=path), Stream)


@pytest.mark.skipif(sys.platform == 'win32', reason='no Unix sockets')
def test_of_servers_that_replace_a_stale_unix_socket_at_once_one_does(socket_folder: Path) -> None:
    path = str(socket_folder / 's')
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        start = threading.Barrier(4)
        opened: list[socket.socket] = []
        failed: list[OSError] = []

        def begin(start: threading.Barrier = start, opened: Any = opened, failed: Any = failed) -> None:
            start.wait()
            try:
                opened.append(listen(path=path, mode=0o600))
            except OSError as why:
                failed.append(why)

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [type(exc) for exc in failed] == [OSError] * 3
        assert all('another socket listens there' in str(exc) for exc in failed)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)  # the path leads to the one
        opened[0].close()
        os.unlink(path)
    assert not list(socket_folder.iterdir())


@pytest.mark.skipif(sys.platform == 'win32', reason='no Unix sockets')
def test_a_unix_socket_between_bind_and_listen_is_not_taken_for_stale(socket_folder: Path) -> None:
    path = socket_folder / 's'
    folder = os.open(socket_folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(folder, fcntl.LOCK_EX)  # as a server does, from before its bind(2) until it listens
        other.bind(str(path))
        found = pool.submit(listen, path=path)
        time.sleep(0.1)
        other.listen()
        os.close(folder)
        with pytest.raises(OSError, match='another socket listens there'):
            found.result()
        assert path.exists()


@pytest.mark.skipif(sys.platform == 'win32', reason='no Unix sockets')
def test_a_folder_that_another_keeps_locked_delays_a_unix_socket_only(socket_folder: Path) -> None:
    folder = os.open(socket_folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    listen(path=socket_folder / 's').close()
    os.close(folder)


@pytest.mark.skipif(sys.platform == 'win32', reason='no Unix sockets')
def test_a_unix_socket_that_cannot_be_removed_is_logged(
    ioloop: IOLoop, echo: Any, socket_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = socket_folder / 's'
    id = echo(ioloop, path=path)

    def unlink(path: str) -> None:
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(os, 'unlink', unlink)
    assert ioloop.remove(id)
    monkeypatch.undo()
    assert f'cannot remove the Unix socket {str(path)!r}: Permission denied' in caplog.text
    with socket.socket(socket.AF_UNIX) as client:
        assert client.connect_ex(str(path)) == errno.ECONNREFUSED


@pytest.mark.skipif(sys.platform != 'linux', reason='a zone given as a number')
@pytest.mark.usefixtures('ipv6')
def test_a_zone_is_no_part_of_the_name_in_the_certificate(
    ioloop: IOLoop, dial: Any, authority: trustme.CA, client_tls: ssl.SSLContext, run_until: Until
) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('::1').configure_cert(theirs)
    ioloop.server(lambda loop, stream, id: stream.on('read', lambda stream, data: stream.write(data)),
                  address='::1', tls=theirs)  # fmt: skip
    stream = dial(ioloop, address='::1%1', port=ioloop.ports[0], local_address='::1%1', tls=client_tls)
    heard: list[bytes] = []
    stream.on('read', lambda stream, data: heard.append(data))
    stream.write(b'x')
    run_until(ioloop, lambda: heard)
    stream.close()


def test_a_unix_socket_in_use_is_left_alone(ioloop: IOLoop, echo: Any, dial: Any, socket_folder: Path) -> None:
    path = socket_folder / 'socket'
    echo(ioloop, path=path)
    with pytest.raises(OSError, match=f"cannot listen to '{path}': another socket listens there"):
        echo(ioloop, path=path)
    assert isinstance(dial(ioloop, path=path), Stream)


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(ioloop: IOLoop, echo: Any, socket_folder: Path) -> None:
    path = socket_folder / 'precious'
    path.write_text('data')
    with pytest.raises(OSError, match='the path exists and is not a socket'):
        echo(ioloop, path=path)
    assert path.read_text() == 'data'


def test_the_path_of_somebody_who_came_later_is_left_alone(ioloop: IOLoop, echo: Any, socket_folder: Path) -> None:
    path = socket_folder / 'socket'
    server = echo(ioloop, path=path)
    path.rename(socket_folder / 'old')
    later = echo(ioloop, path=path)
    ioloop.remove(server)
    assert path.exists()
    ioloop.remove(later)
    assert not path.exists()


def test_an_open_socket_can_be_listened_to(ioloop: IOLoop, echo: Any, dial: Any) -> None:
    given = socket.create_server(('127.0.0.1', 0))
    echo(ioloop, socket=given)
    echo(ioloop, fd=socket.create_server(('127.0.0.1', 0)).detach())
    assert ioloop.ports[0] == given.getsockname()[1]
    for port in ioloop.ports:
        assert isinstance(dial(ioloop, port=port), Stream)


@pytest.mark.skipif(not hasattr(socket, 'SO_REUSEPORT'), reason='no SO_REUSEPORT')
def test_several_servers_can_share_a_port(ioloop: IOLoop, echo: Any) -> None:
    echo(ioloop, address='127.0.0.1', reuse_port=True)
    echo(ioloop, address='127.0.0.1', reuse_port=True, port=ioloop.ports[0])
    assert ioloop.ports[0] == ioloop.ports[1]


def test_a_port_in_use_is_named_in_the_error(ioloop: IOLoop, echo: Any) -> None:
    echo(ioloop, address='127.0.0.1')
    port = ioloop.ports[0]
    with pytest.raises(OSError, match=rf'cannot listen to 127\.0\.0\.1 port {port}: Address already in use') as caught:
        echo(ioloop, address='127.0.0.1', port=port)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'port': 65536}, 'not a valid TCP port'),
        ({'port': 1, 'path': 'x'}, 'one of these'),
        ({'fd': 1, 'path': 'x'}, 'one of these'),
    ],
)
def test_a_server_with_contradictory_options_is_refused(
    ioloop: IOLoop, echo: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        echo(ioloop, **options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({}, 'one of these'),
        ({'port': 0}, 'not a valid TCP port'),
        ({'port': 80, 'path': 'x'}, 'one of these'),
        ({'port': 80, 'timeout': 0}, 'more than 0'),
        ({'path': 'x', 'tls': True}, 'server_hostname'),
    ],
)
def test_a_client_with_contradictory_options_is_refused(
    ioloop: IOLoop, dial: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dial(ioloop, **options)


def test_tcp_sockets_do_not_wait_to_fill_a_packet(peers: tuple[Stream, Stream]) -> None:
    for stream in peers:
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_client_can_say_which_address_to_connect_from(ioloop: IOLoop, echo: Any, dial: Any) -> None:
    echo(ioloop, address='127.0.0.1')
    stream = dial(ioloop, port=ioloop.ports[0], local_address='127.0.0.7')
    assert stream.socket.getsockname()[0] == '127.0.0.7'
    err = dial(ioloop, port=ioloop.ports[0], local_address='::1')
    assert 'no address of the family of ::1' in str(err)


def test_a_connected_socket_can_be_taken_on(ioloop: IOLoop, dial: Any, run_until: Until) -> None:
    ours, theirs = socket.socketpair()
    stream = dial(ioloop, socket=ours)
    got = collect(stream)
    theirs.send(b'given')
    run_until(ioloop, lambda: got == b'given')
    theirs.close()


# What goes wrong when dialing


def test_a_refused_connection_names_place_and_cause(ioloop: IOLoop, dial: Any, assert_idle: Any) -> None:
    port = free_port()
    err = dial(ioloop, port=port)
    assert isinstance(err, ConnectionRefusedError)
    assert f'could not connect to 127.0.0.1:{port}: Connection refused' in str(err)
    assert_idle(ioloop)


def test_an_unknown_host_is_named(ioloop: IOLoop, dial: Any, assert_idle: Any) -> None:
    err = dial(ioloop, address='nobody.invalid', port=80)
    assert isinstance(err, socket.gaierror)
    assert 'could not connect to nobody.invalid:80: no such host' in str(err)
    assert_idle(ioloop)


@pytest.mark.parametrize('address', ['x' * 70 + '.test', 'a..b', ''])
def test_a_host_that_cannot_be_a_name_is_an_error_too(ioloop: IOLoop, dial: Any, address: str) -> None:
    assert isinstance(dial(ioloop, address=address, port=9), OSError)


def test_a_missing_unix_socket_is_named(ioloop: IOLoop, dial: Any, socket_folder: Path, assert_idle: Any) -> None:
    err = dial(ioloop, path=socket_folder / 'nothing')
    assert isinstance(err, FileNotFoundError)
    assert f'could not connect to {socket_folder}/nothing' in str(err)
    assert_idle(ioloop)


def test_a_path_too_long_for_a_unix_socket_is_explained(
    ioloop: IOLoop, echo: Any, dial: Any, socket_folder: Path
) -> None:
    path = socket_folder / ('x' * 120)
    with pytest.raises(OSError, match=f'{path.name}.*may have 107 bytes'):
        echo(ioloop, path=path)
    err = dial(ioloop, path=path)
    assert f'could not connect to {path}: the path of a Unix socket may have 107 bytes' in str(err)


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems answer when the backlog is full')
def test_no_answer_ends_after_the_timeout(ioloop: IOLoop, dial: Any, assert_idle: Any) -> None:
    with silent_port() as port:
        err = dial(ioloop, port=port, timeout=0.1)
    assert isinstance(err, TimeoutError)
    assert f'could not connect to 127.0.0.1:{port}: no answer within 0.1 s; timeout= sets the limit' in str(err)
    assert_idle(ioloop)


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems refuse when the backlog is full')
def test_a_unix_socket_with_a_full_backlog_is_tried_again(
    ioloop: IOLoop, run_until: Until, socket_folder: Path
) -> None:
    path = str(socket_folder / 'socket')
    got: list[Any] = []
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as filler:
        server.bind(path)
        server.listen(0)
        filler.connect(path)
        ioloop.client(lambda loop, err, stream: got.append(err or stream), path=path)
        ticks: list[int] = []
        ioloop.recurring(lambda loop: ticks.append(1), 0.02)
        run_until(ioloop, lambda: len(ticks) == 5)
        assert got == []
        server.accept()[0].close()
        run_until(ioloop, lambda: got)
        assert isinstance(got[0], Stream)


def test_a_client_that_was_removed_is_not_called(ioloop: IOLoop, echo: Any, run_until: Until, assert_idle: Any) -> None:
    server = echo(ioloop, address='127.0.0.1')
    got: list[Any] = []
    options: list[dict[str, Any]] = [{'port': ioloop.ports[0]}, {'address': 'localhost', 'port': ioloop.ports[0]}]
    for option in options:
        client = ioloop.client(lambda loop, err, stream: got.append(err or stream), **option)
        assert ioloop.remove(client)
        assert not ioloop.remove(client)
    later: list[int] = []
    ioloop.timer(lambda loop: later.append(1), 0.1)
    run_until(ioloop, lambda: later)
    assert got == []
    ioloop.remove(server)
    assert_idle(ioloop)


# Connections


def test_connections_have_ids(ioloop: IOLoop, peers: tuple[Stream, Stream]) -> None:
    for stream in peers:
        id = ioloop.stream(stream)
        assert isinstance(id, str)
        assert ioloop.stream(id) is stream
        assert ioloop.connections[id] is stream
    assert ioloop.stream('nobody') is None


def test_the_id_of_a_client_is_the_id_of_its_connection(ioloop: IOLoop, echo: Any, run_until: Until) -> None:
    echo(ioloop, address='127.0.0.1')
    got: list[Stream] = []

    @ioloop.client(port=ioloop.ports[0])
    def client(loop: IOLoop, err: OSError | None, stream: Stream) -> None:
        got.append(stream)

    run_until(ioloop, lambda: got)
    assert ioloop.stream(client) is got[0]


def test_a_removed_connection_writes_all_that_waits_first(
    ioloop: IOLoop, peers: tuple[Stream, Stream], run_until: Until
) -> None:
    client, server = peers
    got = collect(client)
    closed: list[Stream] = []
    client.on('close', closed.append)
    server.write(bytes(5_000_000))
    assert ioloop.remove(ioloop.stream(server))
    run_until(ioloop, lambda: closed)
    assert len(got) == 5_000_000


def test_the_peers_closing_is_noticed(ioloop: IOLoop, peers: tuple[Stream, Stream], run_until: Until) -> None:
    client, server = peers
    closed: list[Stream] = []
    server.on('close', closed.append)
    client.close()
    run_until(ioloop, lambda: closed)
    assert closed == [server]
    assert not ioloop.connections


def test_a_stream_made_by_hand_can_be_taken_on(ioloop: IOLoop, run_until: Until) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, ioloop.loop_data)
    got = collect(stream)
    id = ioloop.stream(stream)
    assert ioloop.stream(id) is stream
    assert ioloop.stream(stream) == id
    theirs.send(b'by hand')
    run_until(ioloop, lambda: got == b'by hand')
    theirs.close()
    run_until(ioloop, lambda: not ioloop.connections)


def test_a_detached_stream_gives_its_socket_away(
    ioloop: IOLoop, peers: tuple[Stream, Stream], run_until: Until
) -> None:
    client, server = peers
    got = collect(server)
    id = ioloop.stream(client)
    sock = client.detach()
    ioloop.remove(id)
    assert ioloop.stream(id) is None
    sock.send(b'still open')
    run_until(ioloop, lambda: got == b'still open')
    sock.close()


def test_a_receiver_is_fed(ioloop: IOLoop, peers: tuple[Stream, Stream], run_until: Until) -> None:
    class Recording(Receiver):
        def __init__(self) -> None:
            super().__init__()
            self.got: list[Any] = []

        def feed(self, data: bytes | bytearray, n: int) -> None:
            self.got.append(bytes(data[:n]))

        def eof(self) -> None:
            self.got.append('eof')

    client, server = peers
    receiver = server.receiver = Recording()
    client.write(b'hello')
    run_until(ioloop, lambda: receiver.got == [b'hello'])
    client.shutdown()
    run_until(ioloop, lambda: receiver.got == [b'hello', 'eof'])


def test_a_server_callback_that_raises_costs_only_its_connection(ioloop: IOLoop, dial: Any, run_until: Until) -> None:
    errors: list[BaseException] = []
    ioloop.reactor.on('error', lambda reactor, exc: errors.append(exc))

    @ioloop.server(address='127.0.0.1')
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        raise RuntimeError('oops')

    for _ in range(2):
        dial(ioloop, port=ioloop.ports[0])
    run_until(ioloop, lambda: not ioloop.connections)
    assert [str(exc) for exc in errors] == ['oops', 'oops']


# Limits


def test_accepting_pauses_at_max_connections(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until) -> None:
    accepted: list[Stream] = []
    ioloop.server(lambda loop, stream, id: accepted.append(stream), address='127.0.0.1')
    ioloop.max_connections = 2
    clients = [dial(ioloop, port=ioloop.ports[0]) for _ in range(4)]
    ticks: list[int] = []
    ioloop.recurring(lambda loop: ticks.append(1), 0.01)
    run_until(ioloop, lambda: len(ticks) >= 10)
    assert len(accepted) == 2
    clients[0].close()
    run_until(ioloop, lambda: len(accepted) == 3)
    ioloop.max_connections = 10
    run_until(ioloop, lambda: len(accepted) == 4)


@pytest.mark.parametrize(
    ('limit', 'error'), [(-1, ValueError), (2.5, TypeError), ('many', TypeError), (None, TypeError)]
)
def test_the_limit_of_connections_is_a_whole_number(ioloop: IOLoop, limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match='IOLoop: max_connections'):
        ioloop.max_connections = limit
    assert ioloop.max_connections == 65536


def test_a_full_loop_does_not_spin(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until) -> None:
    echo(ioloop, address='127.0.0.1')
    ioloop.max_connections = 1
    for _ in range(3):
        dial(ioloop, port=ioloop.ports[0])
    ticks: list[int] = []
    ioloop.recurring(lambda loop: ticks.append(1), 0.005)
    turns = 0
    while len(ticks) < 20:
        ioloop.one_tick()
        turns += 1
    assert turns < 100, 'connections that wait for room keep no loop awake'


def test_after_max_accepts_the_loop_stops_gracefully(ioloop: IOLoop, echo: Any, assert_idle: Any) -> None:
    echo(ioloop, address='127.0.0.1')
    ioloop.max_accepts = 3
    got: list[bytes] = []

    def connected(loop: IOLoop, err: OSError | None, stream: Stream) -> None:
        assert err is None

        def read(stream: Stream, data: bytes) -> None:
            got.append(data)
            stream.close()

        stream.on('read', read)
        stream.write(b'x')

    for _ in range(3):
        ioloop.client(connected, port=ioloop.ports[0])
    ioloop.start()
    assert got == [b'x'] * 3
    assert_idle(ioloop)


def test_a_connection_storm_is_accepted_in_portions(ioloop: IOLoop, dial: Any, run_until: Until) -> None:
    accepted: list[int] = []
    turn = 0

    def tick(loop: IOLoop) -> None:
        nonlocal turn
        turn += 1
        loop.next_tick(tick)

    ioloop.server(lambda loop, stream, id: accepted.append(turn), address='127.0.0.1')
    ioloop.multi_accept = 3
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(('127.0.0.1', ioloop.ports[0])))
        ioloop.next_tick(tick)
        run_until(ioloop, lambda: len(accepted) == 10)
    assert max(accepted.count(number) for number in accepted) <= 3


@pytest.mark.skipif(sys.platform != 'linux', reason='counts descriptors the Linux way')
def test_running_out_of_descriptors_is_survived(
    ioloop: IOLoop, echo: Any, run_until: Until, caplog: pytest.LogCaptureFixture, open_files: Any
) -> None:
    echo(ioloop, address='127.0.0.1')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients: list[socket.socket] = []
    fillers: list[int] = []
    ticks: list[int] = []

    @ioloop.next_tick
    def exhaust(loop: IOLoop) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 8, hard))
        clients.extend(socket.create_connection(('127.0.0.1', loop.ports[0])) for _ in range(3))
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))

    @ioloop.recurring(0.01)
    def look(loop: IOLoop) -> None:
        if 'cannot accept' in caplog.text:
            ticks.append(len(loop.connections))
        if len(ticks) == 100:
            release()
        if len(loop.connections) == 3:
            loop.stop()

    def release() -> None:
        for fd in fillers:
            os.close(fd)
        fillers.clear()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    try:
        ioloop.start()
    finally:
        release()
    assert max(ticks[:100]) == 0
    assert [r.levelno for r in caplog.records if r.name == 'pyjows'] == [logging.WARNING]
    assert 'Too many open files' in caplog.text and 'ulimit -n' in caplog.text
    for client in clients:
        client.close()


# Ending


def test_start_returns_when_everything_has_gone(ioloop: IOLoop, peers: tuple[Stream, Stream], assert_idle: Any) -> None:
    client, server = peers
    ioloop.next_tick(lambda loop: client.close())
    ioloop.start()
    assert server.is_closed
    assert_idle(ioloop)


def test_a_graceful_stop_waits_for_the_connections(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, assert_idle: Any
) -> None:
    echo(ioloop, address='127.0.0.1')
    port = ioloop.ports[0]
    stream = dial(ioloop, port=port)
    got = collect(stream)
    events: list[str] = []

    @ioloop.on
    def finish(loop: IOLoop) -> None:
        events.append('finish')
        assert loop.connections and not loop.acceptors
        stream.write(b'last words')

    stream.on('close', lambda stream: events.append('close'))
    stream.on('read', lambda stream, data: stream.close())
    run_until(ioloop, lambda: len(ioloop.connections) == 2)
    ioloop.next_tick(lambda loop: loop.stop_gracefully())
    ioloop.start()
    assert got == b'last words'
    assert events == ['finish', 'close']
    assert isinstance(dial(ioloop, port=port), ConnectionRefusedError)
    assert_idle(ioloop)


def test_a_graceful_stop_has_an_end(ioloop: IOLoop, peers: tuple[Stream, Stream], assert_idle: Any) -> None:
    ioloop.next_tick(lambda loop: loop.stop_gracefully(timeout=0.05))
    ioloop.start()
    assert all(stream.is_closed for stream in peers)
    assert_idle(ioloop)


def test_a_graceful_stop_with_no_connection_stops_at_once(ioloop: IOLoop, echo: Any, assert_idle: Any) -> None:
    echo(ioloop, address='127.0.0.1')
    finished: list[IOLoop] = []
    ioloop.on('finish', finished.append)
    ioloop.next_tick(lambda loop: loop.stop_gracefully())
    ioloop.start()
    assert finished == [ioloop]
    assert_idle(ioloop)


def test_stop_is_emitted_when_all_connections_are_closed(
    ioloop: IOLoop, peers: tuple[Stream, Stream], assert_idle: Any
) -> None:
    events: list[Any] = []
    client, server = peers
    server.on('close', lambda stream: events.append('close'))
    ioloop.on('finish', lambda loop: events.append('finish'))
    ioloop.on('stop', lambda loop: events.append(('stop', len(loop.connections), loop.is_running)))
    ioloop.timer(lambda loop: client.close(), 0.05)
    ioloop.next_tick(lambda loop: loop.stop_gracefully())
    ioloop.start()
    assert events == ['finish', 'close', ('stop', 0, True)]
    assert_idle(ioloop)


def test_stop_is_emitted_by_close_and_not_by_reset(ioloop: IOLoop) -> None:
    events: list[Any] = []
    ioloop.on('stop', events.append)
    ioloop.reset()
    ioloop.next_tick(lambda loop: loop.stop())
    ioloop.start()
    assert events == []
    ioloop.close()
    ioloop.close()
    assert events == [ioloop]


@pytest.mark.parametrize(('after', 'seconds'), [(0.1, 10), (10, 0.1)])
def test_a_handler_of_stop_delays_it(ioloop: IOLoop, assert_idle: Any, after: float, seconds: float) -> None:
    began = monotonic()

    @ioloop.on('stop')
    def wait(loop: IOLoop) -> None:
        loop.delay_stop(lambda: True, 10)
        loop.delay_stop(lambda: monotonic() - began > after, seconds)

    ioloop.next_tick(lambda loop: loop.stop_gracefully())
    ioloop.start()
    assert 0.1 <= monotonic() - began < 5
    assert_idle(ioloop)


@pytest.mark.parametrize('seconds', [0.05, 3600])
def test_a_graceful_stop_gives_coroutines_a_second(ioloop: IOLoop, coroutines: None, seconds: float) -> None:
    ended: list[float] = []

    async def work(loop: IOLoop) -> None:
        loop.stop_gracefully()
        await asyncio.sleep(seconds)
        ended.append(seconds)

    ioloop.next_tick(work)
    began = monotonic()
    ioloop.start()
    assert monotonic() - began < 4
    assert ended == ([] if seconds > 1 else [seconds])


def test_reset_removes_everything(ioloop: IOLoop, echo: Any, peers: tuple[Stream, Stream], assert_idle: Any) -> None:
    echo(ioloop, address='127.0.0.1')
    ioloop.client(lambda loop, err, stream: None, port=ioloop.ports[0])
    ioloop.timer(lambda loop: None, 60)
    closed: list[Stream] = []
    for stream in peers:
        stream.on('close', closed.append)
    ioloop.reset()
    assert set(closed) == set(peers)
    assert_idle(ioloop)
    ioloop.start()


def test_a_reset_loop_works_again(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until) -> None:
    echo(ioloop, address='127.0.0.1')
    dial(ioloop, port=ioloop.ports[0])
    ioloop.reset()
    echo(ioloop, address='127.0.0.1')
    stream = dial(ioloop, port=ioloop.ports[0])
    got = collect(stream)
    stream.write(b'again')
    run_until(ioloop, lambda: got == b'again')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_a_child_that_resets_does_not_disturb_its_parent(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, socket_folder: Path
) -> None:
    path = socket_folder / 'socket'
    echo(ioloop, path=path)
    stream = dial(ioloop, path=path)
    child = os.fork()
    if not child:
        ioloop.reset()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    got = collect(stream)
    stream.write(b'undisturbed')
    run_until(ioloop, lambda: got == b'undisturbed')
    assert path.exists()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
@pytest.mark.filterwarnings('ignore:.*multi-threaded:DeprecationWarning')
@pytest.mark.parametrize('end', ['reset', 'close'])
def test_a_child_of_another_thread_resets_the_loop_that_its_parent_runs(ioloop: IOLoop, echo: Any, end: str) -> None:
    echo(ioloop, address='127.0.0.1')
    running = threading.Event()
    ioloop.next_tick(lambda loop: running.set())
    thread = threading.Thread(target=ioloop.start)
    thread.start()
    assert running.wait(10)
    child = os.fork()
    if not child:
        try:
            getattr(ioloop, end)()
            os._exit(0)
        finally:
            os._exit(1)
    try:
        assert os.waitpid(child, 0)[1] == 0
        with socket.create_connection(('127.0.0.1', ioloop.ports[0]), timeout=10) as client:
            client.sendall(b'undisturbed')
            assert client.recv(100) == b'undisturbed'
    finally:
        ioloop.call_threadsafe(lambda loop: loop.stop())
        thread.join()


def test_a_closed_loop_is_held_by_nothing(reactor_name: str, echo: Any, dial: Any, no_leaks: None) -> None:
    loop = IOLoop(reactor_name)
    echo(loop, address='127.0.0.1')
    dial(loop, address='localhost', port=loop.ports[0])
    loop.timer(lambda loop: None, 60)
    loop.close()
    held = weakref.ref(loop)
    del loop
    for _ in range(200):
        gc.collect()
        if held() is None:
            break
        time.sleep(0.05)  # a thread is still looking the name up
    assert held() is None


# Timers, ticks, decorators


def test_callbacks_get_the_loop(ioloop: IOLoop) -> None:
    got: list[IOLoop] = []
    ioloop.timer(got.append, 0)
    ioloop.next_tick(got.append)
    ioloop.call_threadsafe(got.append)
    ioloop.start()
    assert got == [ioloop] * 3


def test_a_timer_takes_its_arguments_in_either_order(ioloop: IOLoop) -> None:
    got: list[str] = []
    ioloop.timer(lambda loop: got.append('a'), 0)
    ioloop.timer(0.001, lambda loop: got.append('b'))
    ioloop.timer(after=0.02)(lambda loop: got.append('c'))
    ioloop.start()
    assert got == ['a', 'b', 'c']


def test_every_method_with_a_callback_is_a_decorator(ioloop: IOLoop) -> None:
    got: list[str] = []

    @ioloop.timer(0)
    def once(loop: IOLoop) -> None:
        got.append('once')

    @ioloop.recurring(0.001)
    def again(loop: IOLoop) -> None:
        if got.count('again') == 2:
            loop.remove(again)
            loop.remove(server)
        else:
            got.append('again')

    @ioloop.next_tick
    def tick(loop: IOLoop) -> None:
        got.append('tick')

    @ioloop.call_threadsafe
    def safe(loop: IOLoop) -> None:
        got.append('safe')

    @ioloop.server(address='127.0.0.1')
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        stream.write(b'x').close_gracefully()

    @ioloop.client(port=ioloop.ports[0])
    def client(loop: IOLoop, err: OSError | None, stream: Stream) -> None:
        stream.on('read', lambda stream, data: got.append('read'))

    assert isinstance(once, Timer) and isinstance(again, Timer)
    assert isinstance(server, str) and isinstance(client, str)
    ioloop.start()
    assert sorted(got) == ['again', 'again', 'once', 'read', 'safe', 'tick']


def test_a_timer_without_a_time_or_a_callback_is_refused(ioloop: IOLoop) -> None:
    with pytest.raises(TypeError, match='how many seconds'):
        ioloop.timer(lambda loop: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match='must be callable'):
        ioloop.timer('x', 1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match='must be callable'):
        ioloop.next_tick('x')  # type: ignore[type-var]


def test_remove_tells_whether_it_was_there(ioloop: IOLoop) -> None:
    timer = ioloop.timer(lambda loop: None, 60)
    assert ioloop.remove(timer)
    assert not ioloop.remove(timer)
    assert not ioloop.remove('nobody')


def test_another_thread_can_hand_over_a_call(ioloop: IOLoop, peers: tuple[Stream, Stream]) -> None:
    got: list[int] = []

    def called(loop: IOLoop) -> None:
        got.append(threading.get_ident())
        loop.stop()

    thread = threading.Timer(0.05, ioloop.call_threadsafe, [called])
    thread.start()
    ioloop.start()
    thread.join()
    assert got == [threading.get_ident()]


# Coroutines and asyncio


def test_coroutine_callbacks_run_where_they_can_and_are_refused_elsewhere(
    ioloop: IOLoop, dial: Any, run_until: Until
) -> None:
    got: list[str] = []

    async def later(loop: IOLoop) -> None:
        await asyncio.sleep(0)
        got.append('timer')

    async def serve(loop: IOLoop, stream: Stream, id: str) -> None:
        await asyncio.sleep(0)
        got.append('server')
        stream.close()

    if not ioloop.reactor.can_spawn:
        with pytest.raises(RuntimeError, match=r"'later'.* runs no coroutines; .*IOLoop\(reactor='asyncio'\)"):
            ioloop.timer(later, 0)
        with pytest.raises(RuntimeError, match="'serve'"):
            ioloop.server(serve)
        return
    ioloop.timer(later, 0)
    ioloop.server(serve, address='127.0.0.1')
    dial(ioloop, port=ioloop.ports[0])
    run_until(ioloop, lambda: sorted(got) == ['server', 'timer'])


def test_inside_asyncio_the_singleton_rides_on_the_running_loop(no_leaks: None) -> None:
    async def main() -> bytes:
        loop = IOLoop.singleton()
        assert loop is IOLoop.singleton()
        assert loop.is_running
        assert loop.reactor.name == 'asyncio'

        @loop.server(address='127.0.0.1')
        def server(loop: IOLoop, stream: Stream, id: str) -> None:
            @stream.on
            async def read(stream: Stream, data: bytes) -> None:
                await asyncio.sleep(0)
                stream.write(data.upper())

        reader, writer = await asyncio.open_connection('127.0.0.1', loop.ports[0])
        writer.write(b'hello')
        answer = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        with pytest.raises(RuntimeError, match='cannot run it'):
            loop.start()
        loop.close()
        return answer

    assert asyncio.run(main()) == b'HELLO'


def test_two_asyncio_programs_have_two_loops(no_leaks: None) -> None:
    async def main() -> IOLoop:
        return IOLoop.singleton()

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first is not second


def test_outside_of_asyncio_the_singleton_is_one_for_the_process() -> None:
    loop = IOLoop.singleton()
    assert loop is IOLoop.singleton()
    assert loop.reactor.name != 'asyncio' or os.environ.get('PYJOWS_REACTOR') == 'asyncio'


def test_every_handler_of_finish_is_called_though_one_raises(ioloop: IOLoop, caplog: pytest.LogCaptureFixture) -> None:
    called: list[object] = []
    ioloop.on('finish', lambda loop: called.append(1))
    ioloop.on('finish', lambda loop: 1 / 0)
    ioloop.on('finish', lambda loop: called.append(2))
    ioloop.stop_gracefully()
    ioloop.start()
    assert called == [1, 2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_graceful_stop_logs_what_it_waits_for(
    ioloop: IOLoop, dial: Any, run_until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'pyjows')
    ioloop.server(lambda loop, stream, id: None, address='127.0.0.1')
    dial(ioloop, port=ioloop.ports[0])
    run_until(ioloop, lambda: len(ioloop.connections) == 2)
    ioloop.stop_gracefully(0.05)
    ioloop.start()
    assert [record.levelname for record in caplog.records] == ['INFO', 'WARNING']
    assert re.fullmatch(r'stopping: waiting for 2 open connections, for 0\.[01] s at most', caplog.messages[0])
    assert caplog.messages[1] == 'stopping: the time is over, 2 open connections are closed now'


# TLS


def test_talks_tls(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, assert_idle: Any,
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext,
) -> None:  # fmt: skip
    server = echo(ioloop, address='127.0.0.1', tls=server_tls)
    stream = dial(ioloop, port=ioloop.ports[0], tls=client_tls)
    assert isinstance(stream, TLSStream) and isinstance(stream, Stream)
    assert stream.socket.version().startswith('TLS')
    got = collect(stream)
    stream.write(b'secret')
    run_until(ioloop, lambda: got == b'secret')
    stream.close()
    ioloop.remove(server)
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def test_large_messages_pass_through_tls_both_ways(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    echo(ioloop, address='127.0.0.1', tls=server_tls)
    stream = dial(ioloop, port=ioloop.ports[0], tls=client_tls)
    got = collect(stream)
    data = os.urandom(3_000_000)
    for start in range(0, len(data), 70_001):
        stream.write(data[start : start + 70_001])
        stream.write(b'')
    run_until(ioloop, lambda: len(got) >= len(data))
    assert got == data


@pytest.mark.parametrize('size', [1_000_000, 3_000_000])  # below and above the high water mark
def test_a_tls_stream_reads_on_and_rests_after_a_blocked_write(
    ioloop: IOLoop, dial: Any, run_until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, size: int
) -> None:
    accepted: list[Stream] = []
    heard = bytearray()

    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        accepted.append(stream)
        stream.paces_reading = True
        stream.on('read', lambda stream, data: heard.extend(data))

    client = dial(ioloop, port=ioloop.ports[0], tls=client_tls)
    run_until(ioloop, lambda: accepted)
    for end in (client, accepted[0]):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.socket.setsockopt(socket.SOL_SOCKET, option, 65536)
    client.stop()
    accepted[0].write(bytes(size)).flush()
    assert accepted[0].is_writing
    client.write(b'while it is blocked ')
    for _ in range(20):
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()
    assert bool(heard) == (size < accepted[0].high_water_mark)
    got = collect(client)
    client.start()
    run_until(ioloop, lambda: len(got) == size and not accepted[0].is_writing)
    client.write(b'and afterwards')
    run_until(ioloop, lambda: heard == b'while it is blocked and afterwards')

    events = 0
    late: list[IOLoop] = []
    ioloop.timer(late.append, 0.3)
    while not late:
        ioloop.one_tick()  # ends with the first event
        events += 1
    assert events < 10, 'it woke up again and again with nothing to do'


def test_a_blocking_tls_client_is_served(
    ioloop: IOLoop, echo: Any, run_until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    echo(ioloop, address='127.0.0.1', tls=server_tls)
    port = ioloop.ports[0]
    got: list[bytes] = []

    def client() -> None:
        raw = socket.create_connection(('127.0.0.1', port), timeout=20)
        with client_tls.wrap_socket(raw, server_hostname='localhost') as secured:
            for size in (1, 16384, 16385, 300_000):
                secured.sendall(bytes([size % 251]) * size)
                answer = b''
                while len(answer) < size:
                    answer += secured.recv(size - len(answer))
                got.append(answer)
            secured.unwrap().close()  # waits for the server's goodbye
            ioloop.call_threadsafe(lambda loop: got.append(b'goodbye'))

    thread = threading.Thread(target=client)
    thread.start()
    run_until(ioloop, lambda: len(got) == 5)
    thread.join()
    assert [len(answer) for answer in got[:4]] == [1, 16384, 16385, 300_000]


def test_an_untrusted_certificate_is_refused_and_named(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, server_tls: ssl.SSLContext, assert_idle: Any
) -> None:
    server = echo(ioloop, address='127.0.0.1', tls=server_tls)
    err = dial(ioloop, port=ioloop.ports[0], tls=True)
    assert isinstance(err, ssl.SSLCertVerificationError)
    assert f'could not connect to 127.0.0.1:{ioloop.ports[0]}: the TLS handshake failed: ' in str(err)
    assert 'certificate verify failed' in str(err)
    ioloop.remove(server)
    run_until(ioloop, lambda: not ioloop.statistics()['tls_handshakes'])
    assert_idle(ioloop)


def test_a_certificate_for_another_name_is_refused(
    ioloop: IOLoop, echo: Any, dial: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    echo(ioloop, address='127.0.0.1', tls=server_tls)
    err = dial(ioloop, port=ioloop.ports[0], tls=client_tls, server_hostname='example.org')
    assert isinstance(err, ssl.SSLCertVerificationError)
    assert 'example.org' in str(err)


def test_a_server_without_tls_is_an_error_for_a_tls_client(
    ioloop: IOLoop, dial: Any, client_tls: ssl.SSLContext
) -> None:
    ioloop.server(lambda loop, stream, id: stream.write(b'HTTP/1.1 400 Bad Request\r\n\r\n'), address='127.0.0.1')
    err = dial(ioloop, port=ioloop.ports[0], tls=client_tls)
    assert isinstance(err, ssl.SSLError)
    assert 'the TLS handshake failed' in str(err)


def test_a_peer_that_hangs_up_in_the_tls_handshake_is_an_error(
    ioloop: IOLoop, dial: Any, client_tls: ssl.SSLContext
) -> None:
    ioloop.server(lambda loop, stream, id: stream.close(), address='127.0.0.1')
    assert isinstance(dial(ioloop, port=ioloop.ports[0], tls=client_tls), OSError)


def test_a_silent_peer_ends_the_tls_handshake_of_a_client(
    ioloop: IOLoop, dial: Any, client_tls: ssl.SSLContext
) -> None:
    ioloop.server(lambda loop, stream, id: None, address='127.0.0.1')
    err = dial(ioloop, port=ioloop.ports[0], tls=client_tls, timeout=0.2)
    assert isinstance(err, TimeoutError)


@pytest.mark.parametrize('says', [b'', b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01'])
def test_a_client_that_does_not_speak_tls_is_let_go(
    ioloop: IOLoop, run_until: Until, server_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture,
    says: bytes, assert_idle: Any,
) -> None:  # fmt: skip
    accepted: list[Stream] = []
    server = ioloop.server(
        lambda loop, stream, id: accepted.append(stream), address='127.0.0.1', tls=server_tls, tls_timeout=0.2
    )
    with socket.create_connection(('127.0.0.1', ioloop.ports[0])) as client:
        client.sendall(says)
        run_until(ioloop, lambda: ioloop.statistics()['accepts'] and not ioloop.statistics()['tls_handshakes'])
    assert accepted == []
    assert not [r for r in caplog.records if r.name == 'pyjows' and r.levelno > logging.INFO]
    ioloop.remove(server)
    assert_idle(ioloop)


def test_tls_handshakes_under_way_count_as_connections(
    ioloop: IOLoop, run_until: Until, server_tls: ssl.SSLContext
) -> None:
    ioloop.server(lambda loop, stream, id: None, address='127.0.0.1', tls=server_tls)
    ioloop.max_connections = 2
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(socket.create_connection(('127.0.0.1', ioloop.ports[0])))
        ticks: list[int] = []
        ioloop.recurring(lambda loop: ticks.append(1), 0.01)
        run_until(ioloop, lambda: len(ticks) > 10)
        assert ioloop.statistics()['tls_handshakes'] == 2


def test_a_graceful_stop_waits_for_tls_handshakes(
    ioloop: IOLoop, run_until: Until, server_tls: ssl.SSLContext, assert_idle: Any
) -> None:
    ioloop.server(lambda loop, stream, id: None, address='127.0.0.1', tls=server_tls, tls_timeout=0.2)
    with socket.create_connection(('127.0.0.1', ioloop.ports[0])):
        run_until(ioloop, lambda: ioloop.statistics()['tls_handshakes'])
        ioloop.stop_gracefully()
        ioloop.start()
    assert not ioloop.statistics()['tls_handshakes']
    assert_idle(ioloop)


def test_half_closing_says_goodbye_and_still_reads(
    ioloop: IOLoop, dial: Any, run_until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    class Late(Receiver):
        """Answers when the peer has ended its half."""

        def feed(self, data: bytes | bytearray, n: int) -> None:
            got.extend(data[:n])

        def eof(self) -> None:
            accepted[0].write(b'answer')
            accepted[0].close_gracefully()

    got = bytearray()
    accepted: list[Stream] = []

    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        accepted.append(stream)
        stream.receiver = Late()

    stream = dial(ioloop, port=ioloop.ports[0], tls=client_tls)
    answer = collect(stream)
    stream.write(b'question').shutdown()
    run_until(ioloop, lambda: answer == b'answer' and not ioloop.connections)
    assert got == b'question'


def test_tls_can_begin_on_a_connection_that_is_there(
    ioloop: IOLoop, echo: Any, dial: Any, run_until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    echo(ioloop, address='127.0.0.1', tls=server_tls)
    plain = dial(ioloop, port=ioloop.ports[0])
    id = ioloop.stream(plain)
    raw = plain.detach()
    ioloop.remove(id)
    stream = dial(ioloop, socket=raw, tls=client_tls, server_hostname='localhost')
    got = collect(stream)
    stream.write(b'upgraded')
    run_until(ioloop, lambda: got == b'upgraded')


def test_a_tls_stream_closes_when_the_line_is_cut(
    ioloop: IOLoop, dial: Any, run_until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    accepted: list[Stream] = []
    ioloop.server(lambda loop, stream, id: accepted.append(stream), address='127.0.0.1', tls=server_tls)
    stream = dial(ioloop, port=ioloop.ports[0], tls=client_tls)
    run_until(ioloop, lambda: accepted)
    closed: list[Stream] = []
    accepted[0].on('close', closed.append)
    id = ioloop.stream(stream)
    cut = stream.detach()
    ioloop.remove(id)
    cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # a reset, and no goodbye
    cut.close()
    run_until(ioloop, lambda: closed)


def test_only_a_context_can_be_a_servers_tls(ioloop: IOLoop) -> None:
    with pytest.raises(TypeError, match=r'takes an ssl\.SSLContext with a certificate, not True'):
        ioloop.server(lambda loop, stream, id: None, tls=True)


def test_statistics_tell_what_a_loop_is_busy_with(ioloop: IOLoop, echo: Any, dial: Any, run_until: Until) -> None:
    assert not any(ioloop.statistics().values())
    echo(ioloop, address='127.0.0.1')
    dial(ioloop, port=ioloop.ports[0])
    run_until(ioloop, lambda: ioloop.statistics()['accepted'])
    assert ioloop.statistics() == {
        'acceptors': 1, 'accepted': 1, 'dialed': 1, 'dialers': 0, 'tls_handshakes': 0, 'accepts': 1
    }  # fmt: skip


def test_a_time_that_no_float_can_hold_is_refused(reactor_name):
    loop = IOLoop(reactor=reactor_name)
    with pytest.raises(ValueError, match='000 is not a valid time to wait: give seconds, 0 or more'):
        loop.timer(lambda loop: None, 10**400)
