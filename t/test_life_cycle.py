"""How a server begins and ends: given sockets, permissions, a slow stop; and messages that are not compressed."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import wire
from background import accepts, until

import pyjows
from pyjows import PerMessageDeflate


@pytest.fixture
def connected(ioloop, run_until):
    """``connected(server, number)``: open clients, which note when and how they were closed."""

    def connected(server: Any, number: int) -> list[Any]:
        ends: list[Any] = []
        clients = [pyjows.connect(server.urls[0], ioloop=ioloop, simultaneous=True) for _ in range(number)]
        for ws in clients:
            ws.on('finish', lambda ws, code, reason: ends.append((time.monotonic(), code, reason)))
        run_until(ioloop, lambda: all(ws.established for ws in clients))
        return ends

    return connected


# A stop that takes its time


def test_a_graceful_stop_spreads_the_closes_over_its_time(ioloop, run_until, assert_idle, connected):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ends = connected(server, 20)
    finished: list[Any] = []
    server.on('finish', lambda server: finished.append(time.monotonic()))
    began = time.monotonic()
    server.stop(reason='new version', graceful=0.6)
    assert not accepts(int(server.urls[0].rpartition(':')[2]))
    run_until(ioloop, lambda: finished and len(ends) == 20)
    assert {(code, reason) for _, code, reason in ends} == {(1001, 'new version')}
    assert finished[0] - began >= 0.5
    assert len([at for at, *_ in ends if at - began < 0.3]) < 18
    assert_idle(ioloop)


def test_a_second_stop_closes_the_rest_at_once(ioloop, run_until, assert_idle, connected):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ends = connected(server, 5)
    server.stop(graceful=3600)
    server.stop()
    run_until(ioloop, lambda: len(ends) == 5 and not ioloop.connections)
    assert_idle(ioloop)


def test_a_graceful_stop_ends_early_when_the_clients_go_by_themselves(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: server.connections and ws.established)
    finished: list[Any] = []
    server.on('finish', finished.append)
    server.stop(graceful=3600)
    ws.finish(1000)
    run_until(ioloop, lambda: finished and not ioloop.connections)
    assert_idle(ioloop)


def test_a_loop_that_stops_hurries_a_graceful_stop(ioloop, connected):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ends = connected(server, 3)
    server.stop(graceful=3600)
    ioloop.next_tick(lambda loop: loop.stop_gracefully())
    ioloop.start()
    assert [code for _, code, _ in ends] == [1001] * 3


@pytest.mark.parametrize(('graceful', 'kind'), [(-1, ValueError), ('1', TypeError), (float('nan'), ValueError)])
def test_wrong_seconds_are_refused(server, graceful, kind):
    with pytest.raises(kind, match='graceful'):
        server.stop(graceful=graceful)
    assert server.ports


# Requests that are on their way when the server stops


def dialed(server: Any) -> socket.socket:
    """A connection over which nothing was sent yet."""
    sock = socket.create_connection(('127.0.0.1', server.ports[0]))
    sock.setblocking(False)
    return sock


def answer_of(run_until: Any, ioloop: Any, sock: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    got = bytearray()

    def ended() -> bool:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return False
        got.extend(data)
        return not data

    run_until(ioloop, ended)
    return bytes(got)


UPGRADE = wire.asked()


@pytest.mark.parametrize('first', [0, 20], ids=['nothing of it', 'the first bytes of it'])
def test_a_websocket_whose_request_comes_after_the_stop_is_opened_and_closed_with_1001(
    ioloop, run_until, assert_idle, first
):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=1000)
    heard, finished = [], []
    server.on('finish', finished.append)

    @server.on
    def websocket(server, ws):
        ws.on('text', lambda ws, text: heard.append(text))
        ws.on('finish', lambda ws, code, reason: heard.append((code, reason)))

    with dialed(server) as sock:
        sock.send(UPGRADE[:first])
        run_until(ioloop, lambda: server.statistics().pending == 1)
        turns: list[None] = []
        run_until(ioloop, lambda: turns.append(None) or len(turns) > 5)
        server.stop(1012, 'new version')
        assert not finished
        sock.send(UPGRADE[first:] + wire.frame(wire.TEXT, b'early'))
        run_until(ioloop, lambda: heard)
        sock.send(wire.close(1012, 'bye'))
        head, _, frames = answer_of(run_until, ioloop, sock).partition(b'\r\n\r\n')
    run_until(ioloop, lambda: finished and not ioloop.connections)
    assert head.startswith(b'HTTP/1.1 101 ')
    assert frames == wire.close(1012, 'new version', masked=False)
    assert heard == ['early', (1012, 'bye')]
    assert len(finished) == 1
    assert_idle(ioloop)


def test_an_http_request_that_comes_after_the_stop_is_answered(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=1000)
    server.on('request', lambda server, req: pyjows.Response.text('here'))
    with dialed(server) as sock:
        run_until(ioloop, lambda: server.statistics().pending == 1)
        server.stop()
        sock.send(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        answer = answer_of(run_until, ioloop, sock)
    run_until(ioloop, lambda: not ioloop.connections)
    assert answer.startswith(b'HTTP/1.1 200 ') and answer.endswith(b'\r\n\r\nhere')
    assert b'\r\nConnection: close\r\n' in answer
    assert_idle(ioloop)


def test_a_tls_handshake_that_is_under_way_when_the_server_stops_is_completed(
    ioloop, run_until, assert_idle, server_tls, client_tls
):
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=server_tls)
    sock = socket.create_connection(('127.0.0.1', server.ports[0]))
    run_until(ioloop, lambda: ioloop.statistics()['tls_handshakes'] == 1)
    server.stop()
    ended: list[Any] = []
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, sock=sock, tls=client_tls)
    ws.on('open', lambda ws: ended.append('open'))
    ws.on('finish', lambda ws, code, reason: ended.append(code))
    run_until(ioloop, lambda: len(ended) == 2 and not ioloop.connections)
    assert ended == ['open', 1001]
    assert_idle(ioloop)


def test_a_proxy_header_that_is_under_way_when_the_server_stops_is_read(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, trusted_proxies=['127.0.0.1'], forwarding='proxy-protocol')
    clients = []
    server.on('websocket', lambda server, ws: clients.append(ws.remote_address))
    with dialed(server) as sock:
        sock.send(b'PROXY TCP4 192.0.2.1 ')
        run_until(ioloop, lambda: ioloop.statistics()['tls_handshakes'] == 1)
        server.stop()
        sock.send(b'10.0.0.1 4711 443\r\n' + UPGRADE + wire.close(1001))
        head, _, frames = answer_of(run_until, ioloop, sock).partition(b'\r\n\r\n')
    run_until(ioloop, lambda: not ioloop.connections)
    assert head.startswith(b'HTTP/1.1 101 ') and frames == wire.close(1001, masked=False)
    assert clients == ['192.0.2.1']
    assert_idle(ioloop)


def test_a_server_that_stops_does_not_wait_for_http_connections_that_are_idle(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=1000)
    server.on('request', lambda server, req: pyjows.Response.text('here'))
    with dialed(server) as sock:
        sock.send(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        run_until(ioloop, lambda: select.select([sock], [], [], 0)[0])
        server.stop(graceful=1000)
        assert answer_of(run_until, ioloop, sock).endswith(b'\r\n\r\nhere')
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


@pytest.mark.parametrize(
    ('handshake_timeout', 'graceful'), [(1000, 0), (0.05, 1000)], ids=['a second', 'handshake_timeout']
)
def test_a_server_that_stops_does_not_wait_long_for_a_request_that_does_not_come(
    ioloop, run_until, assert_idle, handshake_timeout, graceful
):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=handshake_timeout)
    finished: list[Any] = []
    server.on('finish', finished.append)
    with dialed(server) as sock:
        run_until(ioloop, lambda: server.statistics().pending == 1)
        server.stop(graceful=graceful)
        assert answer_of(run_until, ioloop, sock) == b''
    run_until(ioloop, lambda: finished and not ioloop.connections)
    assert_idle(ioloop)


# Sockets


def test_the_mode_of_a_unix_socket_is_as_asked(ioloop, run_until, assert_idle, socket_folder):
    path = f'{socket_folder}/s'
    for mode in (0o600, 0o666):
        server = pyjows.serve(f'ws+unix://{path}', ioloop=ioloop, unix_mode=mode)
        assert stat.S_IMODE(os.stat(path).st_mode) == mode
        server.stop()
        assert not os.path.exists(path)
    # The file of a server that was killed is replaced.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    server = pyjows.serve(f'ws+unix://{path}', ioloop=ioloop)
    server.stop()
    assert_idle(ioloop)


@pytest.mark.parametrize('as_number', [False, True], ids=['socket', 'fd'])
def test_a_server_listens_on_a_given_socket(ioloop, run_until, assert_idle, as_number):
    listening = socket.create_server(('127.0.0.1', 0))
    port = listening.getsockname()[1]
    server = pyjows.serve(ioloop=ioloop, sockets=[listening.detach() if as_number else listening])
    assert (server.ports, server.urls) == ([port], [f'ws://127.0.0.1:{port}'])
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def test_the_url_of_a_given_socket_says_how_it_is_served(ioloop, run_until, assert_idle, socket_folder):
    path = f'{socket_folder}/s'
    plain, unix = socket.create_server(('127.0.0.1', 0)), socket.socket(socket.AF_UNIX)
    unix.bind(path)
    port = plain.getsockname()[1]
    server = pyjows.serve(ioloop=ioloop, sockets={'ws://127.0.0.1:0': plain, f'ws+unix://{path}': unix.detach()})
    assert (server.ports, server.urls) == ([port], [f'ws://127.0.0.1:{port}', f'ws+unix://{path}'])
    clients = [pyjows.connect(url, ioloop=ioloop) for url in server.urls]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert os.path.exists(path)
    assert_idle(ioloop)


def test_the_url_of_a_given_socket_may_ask_for_tls(ioloop, run_until, authority, client_tls, tmp_path):
    issued = authority.issue_cert('127.0.0.1')
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / 'both.pem'))
    url = f'wss://127.0.0.1:0?cert={tmp_path}/both.pem'
    server = pyjows.serve(ioloop=ioloop, sockets={url: socket.create_server(('127.0.0.1', 0))})
    assert server.urls == [f'wss://127.0.0.1:{server.ports[0]}']
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, tls=client_tls)
    run_until(ioloop, lambda: ws.established)
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


@pytest.mark.parametrize('family', [socket.AF_INET, socket.AF_UNIX])
def test_the_url_of_a_given_socket_has_to_fit_it(ioloop, assert_idle, family, socket_folder):
    opened = socket.socket(family)
    if family == socket.AF_INET:
        opened.bind(('127.0.0.1', 0))
        url = f'ws+unix://{socket_folder}/s'
    else:
        opened.bind(f'{socket_folder}/s')
        url = 'ws://127.0.0.1:0'
    with pytest.raises(ValueError, match='is of another kind'):
        pyjows.serve(ioloop=ioloop, sockets={url: opened})
    assert_idle(ioloop)


def test_the_path_of_a_given_unix_socket_stays(ioloop, socket_folder):
    path = f'{socket_folder}/s'
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    server = pyjows.serve(ioloop=ioloop, sockets=[listening])
    assert server.urls == [f'ws+unix://{path}']
    server.stop()
    assert os.path.exists(path)


@pytest.mark.parametrize(
    ('options', 'kind', 'says'),
    [
        ({'sockets': 3}, TypeError, 'sockets takes a list'),
        ({'sockets': ['x']}, TypeError, "sockets has 'x'"),
        ({'sockets': [-1]}, TypeError, 'sockets has -1'),
        ({'sockets': []}, ValueError, 'at least one URL'),
        ({'sockets': {}}, ValueError, 'at least one URL'),
        ({'sockets': {'ws://127.0.0.1:0': 'x'}}, TypeError, "sockets has 'x'"),
        ({'unix_mode': 'rw'}, TypeError, 'unix_mode takes a whole number'),
        ({'unix_mode': -1}, ValueError, 'unix_mode=-1'),
        ({'unix_mode': 0o7777}, ValueError, 'unix_mode=4095'),
    ],
)
def test_wrong_sockets_are_refused(ioloop, assert_idle, options, kind, says):
    urls = ('ws://127.0.0.1:0',) if 'unix_mode' in options else ()
    with pytest.raises(kind, match=says):
        pyjows.serve(*urls, ioloop=ioloop, **options)
    assert_idle(ioloop)


def test_a_socket_that_cannot_listen_is_named(ioloop, servers):
    servers.append(pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))
    connected = socket.create_connection(('127.0.0.1', servers[0].ports[0]))
    with pytest.raises(
        OSError, match=rf'cannot listen to <socket\.socket fd={connected.fileno()},.*: Invalid argument'
    ):
        pyjows.serve(ioloop=ioloop, sockets=[connected])
    with open(os.devnull) as no_socket:
        for fd in (no_socket.fileno(), 9999):
            with pytest.raises(OSError, match=f'cannot listen to descriptor {fd}: (Bad file|Socket operation on non)'):
                pyjows.serve(ioloop=ioloop, sockets=[fd])


ACTIVATED = """
import os, pyjows
server = pyjows.serve(sockets=pyjows.systemd_sockets())
server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text=text.upper())))
assert pyjows.systemd_sockets() == [] and 'LISTEN_FDS' not in os.environ
print(*server.urls, flush=True)
pyjows.run()
"""


# Descriptor 3 is the socket, and LISTEN_PID the program's own.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])
"""


@pytest.mark.slow
def test_a_program_is_activated_by_its_sockets(tmp_path):
    """As systemd does it: connections wait in the socket until the program is there."""
    from websockets.sync.client import connect

    with socket.create_server(('127.0.0.1', 0)) as listening:
        port = listening.getsockname()[1]
        answers: list[Any] = []

        def client() -> None:
            with connect(f'ws://127.0.0.1:{port}', open_timeout=30) as ws:
                ws.send('early')
                answers.append(ws.recv(timeout=30))

        thread = threading.Thread(target=client)
        thread.start()
        process = subprocess.Popen(
            [sys.executable, '-c', ACTIVATE, str(listening.fileno()), ACTIVATED],
            pass_fds=[listening.fileno()],
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        try:
            assert process.stdout.readline().split() == [f'ws://127.0.0.1:{port}']
            until(lambda: answers == ['EARLY'], 'the answer')
            thread.join()
        finally:
            process.terminate()
            assert process.wait(30) == 0
            process.stdout.close()


def test_without_systemd_there_are_no_sockets(monkeypatch):
    assert pyjows.systemd_sockets() == []
    monkeypatch.setenv('LISTEN_FDS', '1')
    monkeypatch.setenv('LISTEN_PID', str(os.getpid() + 1))
    assert pyjows.systemd_sockets() == []
    monkeypatch.setenv('LISTEN_PID', 'x')
    with pytest.raises(ValueError, match='have to be numbers'):
        pyjows.systemd_sockets()


def test_a_descriptor_that_systemd_did_not_hand_over_is_named() -> None:
    """In a process of its own, where descriptor 3 is a socket and descriptor 4 a file."""
    program = (
        'import os, socket, pyjows\n'
        'ours = socket.socket()\n'
        'os.dup2(ours.fileno(), 3)\n'
        'os.dup2(os.open(os.devnull, os.O_RDONLY), 4)\n'
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')\n"
        'try:\n'
        '    pyjows.systemd_sockets()\n'
        'except OSError as exc:\n'
        '    print(exc)\n'
    )
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True, timeout=60, env=env
    )
    assert 'LISTEN_FDS=2, but descriptor 4 is not a socket: ' in done.stdout


# Compression of single messages


@pytest.mark.parametrize(
    'message',
    [{'text': 'again ' * 100}, {'binary': b'again ' * 100}, {'json': ['again'] * 100}],
)
def test_a_message_may_be_sent_without_compression(ioloop, run_until, message):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, compression=PerMessageDeflate())
    sent, got, sizes = [], [], []

    def later(ws):
        until(lambda: ws.established, 'the connection')
        ws.send(**message, compress=False)

    @server.on
    def websocket(server, ws):
        ws.send(**message, compress=False)  # before it is open
        ws.on('open', lambda ws: ws.send(lambda ws: sent.append(ws), **message, compress=False).send(**message))
        threading.Thread(target=later, args=(ws,)).start()

    ws = pyjows.connect(server.urls[0], ioloop=ioloop, compression=True)
    ws.on('frame', lambda ws, frame: sizes.append((frame.rsv1, len(frame.payload))))
    ws.on('message', lambda ws, message: got.append(message))
    run_until(ioloop, lambda: len(got) == 4)
    assert len(set(got)) == 1
    assert sorted(rsv1 for rsv1, _ in sizes) == [False, False, False, True]
    assert all(size >= 600 for rsv1, size in sizes if not rsv1)
    assert len(sent) == 1
    assert server.statistics().messages_sent == 4
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


def test_compress_false_takes_exactly_one_message():
    ws = pyjows.WebSocket(established=True)
    for wrong in ({}, {'text': 'a', 'binary': b'b'}):
        with pytest.raises(TypeError, match='exactly one'):
            ws.send(**wrong, compress=False)
    for wrong in ({'text': 'b', 'binary': b'c'}, {'text': 'b'}, {'binary': b'b'}, {'json': 1}):
        for message in ('a', b'a'):
            with pytest.raises(TypeError, match='exactly one'):
                ws.send(message, **wrong, compress=False)
    assert ws.send(text='hi', compress=False).server_write() == b'\x81\x02hi'


@pytest.mark.parametrize(
    ('use', 'name'),
    [
        (lambda loop: pyjows.serve('ws://127.0.0.1:0', ioloop=loop), r'serve\(\)'),
        (lambda loop: pyjows.connect('ws://127.0.0.1:9', ioloop=loop), r'connect\(\)'),
        (lambda loop: pyjows.connect('ws://a.example', proxy='http://127.0.0.1:9', ioloop=loop), r'connect\(\)'),
        (lambda loop: pyjows.reconnect('ws://127.0.0.1:9', ioloop=loop), r'reconnect\(\)'),
        (lambda loop: loop.server(print), r'IOLoop.server\(\)'),
        (lambda loop: loop.client(print, port=9), r'IOLoop.client\(\)'),
        (lambda loop: loop.timer(print, 0), 'a timer'),
        (lambda loop: loop.next_tick(print), r'IOLoop.next_tick\(\)'),
        (lambda loop: loop.one_tick(), r'IOLoop.one_tick\(\)'),
        (lambda loop: loop.start(), r'IOLoop.start\(\)'),
    ],
)
def test_a_closed_loop_says_so(reactor_name, no_leaks, use, name):
    loop = pyjows.IOLoop(reactor_name)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)
    loop.close()
    with pytest.raises(RuntimeError, match=f'{name}: the loop is closed, and cannot be used any more: make another'):
        use(loop)
    server.stop()  # nothing is left to do
    loop.stop()
    loop.close()


def test_a_default_loop_that_was_closed_is_replaced():
    first = pyjows.IOLoop.singleton()
    assert pyjows.IOLoop.singleton() is first
    first.close()
    second = pyjows.IOLoop.singleton()
    assert first.is_closed and not second.is_closed
    second.close()


def test_so_is_that_of_an_asyncio_loop():
    async def main() -> None:
        first = pyjows.IOLoop.singleton()
        assert pyjows.IOLoop.singleton() is first
        first.close()
        server = pyjows.serve('ws://127.0.0.1:0')
        assert server.ioloop is not first
        async with pyjows.connect(server.urls[0]):
            pass
        server.stop()

    asyncio.run(main())
