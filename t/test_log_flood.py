"""What a peer can have logged: its faults at INFO, once a connection at most; its coming and going not above DEBUG."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import struct
import subprocess
import threading
from collections import Counter

import pytest
from background import Service, until
from wire import BINARY, CLOSE, CONT, PING, TEXT, asked, close, frame

import pyjows

N = 20
MEBIBYTE = 1 << 20


@pytest.fixture
def levels(caplog):
    """Counts of the log records by level, without DEBUG and the access log, which is a logger of its own."""
    caplog.set_level(logging.INFO, logger='pyjows')

    def levels():
        records = (record for record in caplog.records if record.name != 'pyjows.access')
        return Counter(record.levelname for record in records if record.levelno > logging.DEBUG)

    return levels


@pytest.fixture
def serving(reactor_name):
    """``serving(handler, **options)`` is a `Service`, stopped after the test."""
    services = []

    def start(handler=None, **options):
        services.append(Service(reactor_name, handler, **options))
        return services[-1]

    yield start
    for service in services:
        service.stop()


def upgraded(service):
    """A raw socket with the handshake behind it."""
    sock = socket.create_connection(('127.0.0.1', service.port), timeout=20)
    sock.sendall(asked())
    head = b''
    while b'\r\n\r\n' not in head:
        head += sock.recv(4096)
    return sock


def reset(sock):
    """Hang up with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def read_to_end(sock):
    with contextlib.suppress(OSError), sock:
        while sock.recv(65536):
            pass


# Each plays its part with a socket whose handshake is done, and closes it.
LEAVING = {
    'at once': lambda sock: sock.close(),
    'by a reset': reset,
    'with a close frame': lambda sock: (sock.sendall(close(1000)), read_to_end(sock)),
    'with a close frame and a reset': lambda sock: (sock.sendall(close(1001)), reset(sock)),
    'in the middle of a frame': lambda sock: (sock.sendall(frame(TEXT, b'x' * 100)[:50]), sock.close()),
    'in the middle of a message': lambda sock: (sock.sendall(frame(TEXT, b'x', fin=False)), sock.close()),
    'with answers unread': lambda sock: (sock.sendall(frame(TEXT, b'x' * 50) * 1000), reset(sock)),
    'after many pings': lambda sock: (sock.sendall(frame(PING, b'x' * 100) * 1000), sock.close()),
}

FAULTS = {
    'a reserved opcode': frame(3, b'x'),
    'no mask': frame(TEXT, b'x', masked=False),
    'invalid UTF-8': frame(TEXT, b'\xff\xff'),
    'a continuation of nothing': frame(CONT, b'x'),
    'a reserved bit': frame(BINARY, b'x', rsv=4),
    'a close code that is not allowed': close(1005),
    'a close reason that is not UTF-8': frame(CLOSE, b'\x03\xe8\xff'),
    'too large a message': frame(BINARY, b'', length=b'\x7f' + MEBIBYTE.to_bytes(8, 'big')),
    'several faults at once': frame(TEXT, b'\xff\xff') + frame(3, b'x') + close(1005),
}


@pytest.mark.wide(later=True)
@pytest.mark.parametrize('how', LEAVING)
def test_clients_that_leave_are_not_logged(serving, levels, how):
    service = serving()
    for _ in range(N):
        with contextlib.suppress(ConnectionError):
            LEAVING[how](upgraded(service))
    service.finish(N)
    assert levels() == {}


@pytest.mark.wide(later=True)
@pytest.mark.parametrize('data', [b'', b'GET / HT', asked()[:-2], asked()], ids=['nothing', 'a line', 'almost', 'all'])
def test_clients_that_leave_before_they_are_answered_are_not_logged(serving, levels, data):
    service = serving()
    for hang_up in (socket.socket.close, reset) * (N // 2):
        sock = socket.create_connection(('127.0.0.1', service.port), timeout=20)
        sock.sendall(data)
        hang_up(sock)
    upgraded(service).close()  # the others are accepted before this one
    until(lambda: service.opened and not service.loop.connections, 'their end')
    assert levels() == {}


@pytest.mark.wide(later=True)
@pytest.mark.parametrize('name', FAULTS)
def test_a_fault_is_logged_once_a_connection_at_info(serving, levels, name):
    service = serving()
    for _ in range(N):
        sock = upgraded(service)
        sock.sendall(FAULTS[name])
        sock.sendall(frame(TEXT, b'more') * 100)
        read_to_end(sock)
    service.finish(N)
    assert levels() == {'INFO': N}


@pytest.mark.wide(later=True)
def test_json_that_is_not_valid_is_logged_once_a_connection_at_info(serving, levels):
    service = serving(lambda server, ws: ws.on('json', lambda ws, value: ws.send(json=value)))
    for _ in range(N):
        sock = upgraded(service)
        sock.sendall(frame(TEXT, b'{') * 100)
        read_to_end(sock)
    service.finish(N)
    assert levels() == {'INFO': N}


@pytest.mark.wide(later=True)
@pytest.mark.parametrize('data', [b'\x16\x03\x01\x02\x00\x01\x00', b'BOGUS\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n' * 100])
def test_a_bad_request_is_logged_once_a_connection_at_info(serving, levels, data):
    service = serving()
    for _ in range(N):
        sock = socket.create_connection(('127.0.0.1', service.port), timeout=20)
        with contextlib.suppress(ConnectionError):
            sock.sendall(data + b'\r\n\r\n')
        read_to_end(sock)
    until(lambda: not service.loop.connections, 'their end')
    assert levels() == {'INFO': N}


@pytest.mark.wide(later=True)
def test_a_slow_consumer_is_logged_once_at_info(serving, levels):
    def flood(server, ws):
        ws.on('open', lambda ws: [ws.send(bytes(MEBIBYTE)) for _ in range(40) if ws.state is pyjows.State.OPEN])

    service = serving(flood, max_backlog=2 * MEBIBYTE, close_timeout=0.1)
    socks = [upgraded(service) for _ in range(5)]
    service.finish(5)
    for sock in socks:
        sock.close()
    assert levels() == {'INFO': 5}


@pytest.mark.wide(later=True)
def test_a_peer_that_answers_no_ping_is_logged_once_at_info(serving, levels):
    service = serving(ping_interval=0.1, ping_timeout=0.1)
    socks = [upgraded(service) for _ in range(5)]
    service.finish(5)
    for sock in socks:
        sock.close()
    assert levels() == {'INFO': 5}


@pytest.mark.wide(later=True)
def test_a_tls_handshake_that_fails_is_logged_once_at_info(reactor_name, levels, tmp_path):
    files = ['-keyout', tmp_path / 'key.pem', '-out', tmp_path / 'cert.pem']
    command = ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost']
    subprocess.run([*command, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / 'cert.pem', tmp_path / 'key.pem')
    loop = pyjows.IOLoop(reactor_name)
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=loop, tls=context)
    thread = threading.Thread(target=loop.start)
    thread.start()
    for hang_up in (read_to_end, socket.socket.close, reset):
        for _ in range(N):
            sock = socket.create_connection(('127.0.0.1', server.ports[0]), timeout=20)
            with contextlib.suppress(ConnectionError):
                sock.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
            hang_up(sock)
    sock = socket.create_connection(('127.0.0.1', server.ports[0]), timeout=20)
    sock.close()
    until(lambda: loop.statistics()['accepts'] == 3 * N + 1, 'the last one')
    loop.call_threadsafe(lambda loop: server.stop())
    thread.join(20)
    loop.close()
    assert set(levels()) == {'INFO'}
    assert levels()['INFO'] <= 3 * N + 1


@pytest.mark.parametrize('is_coroutine', [False, True], ids=['functions', 'coroutines'])
def test_sending_to_those_who_have_gone_is_not_logged(serving, levels, is_coroutine, reactor_name):
    if is_coroutine and reactor_name not in ('asyncio', 'uvloop'):
        pytest.skip('this reactor runs no coroutines')
    everybody = []

    def chat(server, ws):
        everybody.append(ws)

        def tell(ws, message):
            for other in everybody:
                other.send(message)

        async def tell_later(ws, message):
            tell(ws, message)

        ws.on('text', tell_later if is_coroutine else tell)
        ws.on('finish', lambda ws, code, reason: tell(ws, 'bye'))

    service = serving(chat)
    socks = [upgraded(service) for _ in range(N)]
    for i, sock in enumerate(socks):
        with contextlib.suppress(ConnectionError):
            sock.sendall(frame(TEXT, b'hello') * 10)
        sock.close() if i % 2 else reset(sock)
    service.finish(N)
    assert levels() == {}


@pytest.mark.wide(later=True)
def test_a_graceful_stop_with_many_clients_logs_no_traceback(reactor_name, levels):
    loop = pyjows.IOLoop(reactor_name)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)

    @server.on
    def websocket(server, ws):
        ws.on('text', lambda ws, message: ws.send(message))
        # Each that goes tells all others, of whom most are closing.
        ws.on('finish', lambda ws, code, reason: [other.send('gone') for other in server.connections])

    talking = []

    def talk(ws, message):
        ws.send(message)
        if len(talking) == 300:
            loop.stop_gracefully(10)
        talking.append(ws)

    for _ in range(300):
        ws = pyjows.connect(server.urls[0], ioloop=loop, simultaneous=True)
        ws.on('open', lambda ws: ws.send('hello'))
        ws.on('text', talk)
    loop.start()
    loop.close()
    assert len(talking) > 300
    assert set(levels()) <= {'INFO'}  # what the stop waits for
    assert levels()['INFO'] <= 1


def _recurring(loop, send):
    timer = loop.recurring(0.001, lambda loop: (loop.remove(timer), send()))


def _coroutine(loop, send):
    async def later(loop):
        send()

    loop.timer(0, later)


def _stream(loop, send):
    def accepted(loop, stream, id):
        loop.remove(listener)
        stream.on('read', send)
        stream.on('close', send)

    listener = loop.server(accepted, address='127.0.0.1')
    with socket.create_connection(('127.0.0.1', loop.acceptor(listener).port)) as sock:
        sock.sendall(b'x')


def _room(event):
    def subscribe(loop, send):
        rooms = pyjows.rooms(ioloop=loop)
        rooms['lobby'].on(event, send)
        rooms['lobby'].publish(text='hello')
        loop.timer(0.05, lambda loop: rooms.close())

    return subscribe


def _error_handler(loop, send):
    ws = pyjows.connect('ws://127.0.0.1:1', ioloop=loop)
    ws.on('error', send)
    ws.on('finish', send)


def _failed_connection(loop, send):
    ws = pyjows.connect('ws://127.0.0.1:1', ioloop=loop)
    ws.on('error', lambda ws, exc: None)
    ws.once('finish', lambda ws, code, reason: loop.timer(0, lambda loop: ws.send('too late')))
    ws.once('finish', lambda ws, code, reason: loop.timer(0, send))


def _server_finish(loop, send):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)
    server.on('finish', send)
    server.stop()


# Where a program may send, with no connection at hand whose handler it is.
PLACES = {
    'a timer': lambda loop, send: loop.timer(0, send),
    'a recurring timer': _recurring,
    'a next tick': lambda loop, send: loop.next_tick(send),
    'a call from a thread': lambda loop, send: threading.Thread(target=loop.call_threadsafe, args=(send,)).start(),
    'a timer of the reactor': lambda loop, send: loop.reactor.timer(send, 0),
    'a coroutine of a timer': _coroutine,
    'a stream': _stream,
    'a message of a room': _room('message'),
    'an error handler, and a finish handler, of a connection that failed': _error_handler,
    'a timer after a failed connection': _failed_connection,
    'a finish handler of a server': _server_finish,
}


@pytest.mark.parametrize('place', PLACES)
def test_sending_into_a_close_is_not_logged_wherever_it_happens(ioloop, run_until, levels, place, reactor_name):
    if 'coroutine' in place and reactor_name not in ('asyncio', 'uvloop'):
        pytest.skip('this reactor runs no coroutines')
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    gone = pyjows.connect(server.urls[0], ioloop=ioloop)
    gone.on('open', lambda ws: ws.finish())
    run_until(ioloop, lambda: gone.is_finished)
    tried = []

    def send(*args):
        tried.append(args)
        gone.send('too late')

    PLACES[place](ioloop, send)
    run_until(ioloop, lambda: tried)
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections and not ioloop.acceptors)
    ioloop.timer(0.02, tried.append)  # what a task raised is known when its callback was called
    run_until(ioloop, lambda: ioloop in tried)
    assert levels() == {}
