"""Plain HTTP on the port of a server, on every reactor: pipelining, slow clients, and the end of each connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pyjows
from pyjows import Response

pytestmark = pytest.mark.wide(later=True)


def get(path: str = '/', *, close: bool = False) -> bytes:
    return f'GET {path} HTTP/1.1\r\nHost: a\r\n{"Connection: close" + chr(13) + chr(10) if close else ""}\r\n'.encode()


@contextmanager
def tcp(server: Any, *, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A client's socket that does not block; nothing is read from it unless the test does."""
    with socket.socket() as sock:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(('127.0.0.1', server.ports[0]))
        sock.setblocking(False)
        yield sock


def received(sock: socket.socket, most: int = 1 << 20) -> bytes | None:
    """What has come; None for nothing at the moment, b'' at the end."""
    try:
        return sock.recv(most)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b''


@pytest.fixture
def serve(ioloop, servers):
    """``serve(**options)``: a server that is stopped after the test, and may leave nothing on the loop."""

    def serve(**options: Any) -> Any:
        servers.append(pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options))
        return servers[-1]

    return serve


# Pipelining


def test_pipelined_requests_are_not_answered_while_answers_wait(ioloop, serve, run_until):
    handled = []
    body = b'x' * 100_000
    server = serve()

    @server.on
    def request(server, req):
        handled.append(req.path)
        return Response(200, body=body)

    number = 400
    with tcp(server, receive_buffer=65536) as sock:
        sock.setblocking(True)
        sock.sendall(b''.join(get(f'/{n}') for n in range(number)))
        sock.setblocking(False)
        run_until(ioloop, lambda: handled)
        ticks = []
        timer = ioloop.recurring(lambda loop: ticks.append(len(handled)), 0.02)
        run_until(ioloop, lambda: len(ticks) > 5 and ticks[-1] == ticks[-5])
        ioloop.remove(timer)
        # The high water mark is a mebibyte; the rest is what the kernel takes.
        assert len(handled) < number / 4
        first, total = b'', 0

        def read():
            nonlocal first, total
            while data := received(sock):
                first = first or data
                total += len(data)
            return total >= number * (first.index(b'\r\n\r\n') + 4 + len(body))

        run_until(ioloop, read)
    assert handled == [f'/{n}' for n in range(number)]
    run_until(ioloop, lambda: not ioloop.connections)


def test_others_are_served_between_pipelined_requests(ioloop, serve, run_until):
    handled = []
    server = serve()

    @server.on
    def request(server, req):
        handled.append(req.path)
        return Response(200)

    number = 500
    with tcp(server) as greedy, tcp(server) as modest:
        run_until(ioloop, lambda: len(ioloop.connections) == 2)
        greedy.send(b''.join(get(f'/{n}') for n in range(number)))
        modest.send(get('/modest'))
        run_until(ioloop, lambda: len(handled) == number + 1)
        assert handled.index('/modest') < number / 4
        handled.remove('/modest')
        assert handled == [f'/{n}' for n in range(number)]
    run_until(ioloop, lambda: not ioloop.connections)


def test_the_last_of_many_pipelined_requests_may_upgrade(ioloop, serve, run_until):
    server = serve()
    server.on('request', lambda server, req: Response(204))

    @server.on
    def websocket(server, ws):
        ws.on('text', lambda ws, text: (ws.send(text=text), ws.finish(1000)))

    upgrade = (
        b'GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
    )
    answer = bytearray()
    with tcp(server) as sock:
        sock.send(get() * 100 + upgrade + b'\x81\x82\0\0\0\0hi' + b'\x88\x82\0\0\0\0\x03\xe8')

        def closed():
            data = received(sock)
            answer.extend(data or b'')
            return data == b''

        run_until(ioloop, closed)
    assert answer.count(b'HTTP/1.1 204 ') == 100
    assert answer.endswith(b'\x81\x02hi\x88\x02\x03\xe8')


# Slow clients


@pytest.mark.slow
@pytest.mark.parametrize('close', [True, False], ids=['close', 'keep-alive'])
def test_an_answer_that_is_taken_slowly_is_not_cut(ioloop, serve, run_until, close):
    server = serve(handshake_timeout=0.25)
    body = b'x' * 8_000_000
    server.on('request', lambda server, req: Response(200, body=body))
    answer = bytearray()
    times = 0

    def read(loop):
        nonlocal times
        times += 1
        answer.extend(received(sock, 400_000) or b'')

    with tcp(server, receive_buffer=65536) as sock:
        sock.send(get(close=close))
        timer = ioloop.recurring(read, 0.02)
        run_until(ioloop, lambda: answer.endswith(body[-1000:]) and len(answer) > len(body))
        ioloop.remove(timer)
    assert times * 0.02 > 2 * 0.25
    run_until(ioloop, lambda: not ioloop.connections)


@pytest.mark.parametrize('close', [True, False], ids=['close', 'keep-alive'])
def test_a_client_that_takes_nothing_of_its_answer_is_closed(ioloop, serve, run_until, close):
    server = serve(handshake_timeout=0.2)
    server.on('request', lambda server, req: Response(200, body=b'x' * 20_000_000))
    with tcp(server, receive_buffer=65536) as sock:
        sock.send(get(close=close))
        run_until(ioloop, lambda: ioloop.connections)
        run_until(ioloop, lambda: not ioloop.connections)


@pytest.mark.parametrize('close', [True, False], ids=['close', 'keep-alive'])
def test_a_client_that_stays_after_the_answer_of_a_coroutine_is_closed(ioloop, serve, run_until, coroutines, close):
    server = serve(handshake_timeout=0.1)
    answer = bytearray()

    @server.on
    async def request(server, req):
        await asyncio.sleep(0.15)
        return Response(200, body='later')

    with tcp(server) as sock:
        sock.send(get(close=close))
        run_until(ioloop, lambda: ioloop.connections)
        run_until(ioloop, lambda: not ioloop.connections)
        while data := received(sock):
            answer.extend(data)
    assert answer.endswith(b'\r\n\r\nlater')


def test_connect_reaches_no_handler(server, ask, caplog):
    handled = []

    @server.on
    def request(server, req):
        handled.append(req)
        return Response(200)

    answer = ask(server, b'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n' + get())
    assert answer.startswith(b'HTTP/1.1 501 ') and answer.count(b'HTTP/1.1') == 1
    assert b'\r\nConnection: close\r\n' in answer
    assert not handled and server.statistics().refused == {'501': 1}
    assert not [record for record in caplog.records if record.levelname == 'ERROR']


# Handlers that take too long


def answer_of(ioloop, run_until, sock) -> bytes:
    answer = bytearray()

    def closed():
        data = received(sock)
        answer.extend(data or b'')
        return data == b''

    run_until(ioloop, closed)
    return bytes(answer)


def test_a_coroutine_that_never_answers_is_cancelled_and_the_client_gets_503(
    ioloop, serve, run_until, coroutines, caplog
):
    server = serve(request_timeout=0.1)
    ended = []

    @server.on
    async def request(server, req):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(req.path)

    with tcp(server) as sock:
        sock.send(get('/never') + get('/next'))
        answer = answer_of(ioloop, run_until, sock)
    run_until(ioloop, lambda: ended and not ioloop.connections)
    assert answer.startswith(b'HTTP/1.1 503 ') and answer.count(b'HTTP/1.1') == 1
    assert b'\r\nConnection: close\r\n' in answer
    assert ended == ['/never']
    assert server.statistics().refused == {'503': 1}
    (record,) = [record for record in caplog.records if record.name == 'pyjows']
    assert record.getMessage() == (
        "GET '/never': its handler did not answer in time, the request is refused with 503; request_timeout=0.1 seconds"
    )


def test_an_answer_after_the_limit_is_dropped(ioloop, serve, run_until, coroutines):
    server = serve(request_timeout=0.1)
    ended = []

    @server.on
    async def request(server, req):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(req.path)
            return Response(200, body='late')

    with tcp(server) as sock:
        sock.send(get())
        answer = answer_of(ioloop, run_until, sock)
    assert ended and answer.startswith(b'HTTP/1.1 503 ') and answer.count(b'HTTP/1.1') == 1


def test_a_coroutine_whose_client_has_left_keeps_its_limit(ioloop, serve, run_until, coroutines):
    server = serve(request_timeout=0.2)
    begun, ended = [], []

    @server.on
    async def request(server, req):
        begun.append(req)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(req.path)

    with tcp(server) as sock:
        sock.send(get())
        run_until(ioloop, lambda: begun)
    run_until(ioloop, lambda: not ioloop.connections)
    assert not ended
    run_until(ioloop, lambda: ended)


def test_a_coroutine_that_answers_after_its_client_has_left_leaves_no_timer(
    ioloop, serve, run_until, coroutines, assert_idle
):
    server = serve()
    begun, goes_on = [], asyncio.Event()

    @server.on
    async def request(server, req):
        begun.append(req)
        await goes_on.wait()
        begun.clear()
        return Response(200)

    with tcp(server) as sock:
        sock.send(get())
        run_until(ioloop, lambda: begun)
    run_until(ioloop, lambda: not ioloop.connections)
    goes_on.set()
    run_until(ioloop, lambda: not begun)
    assert not ioloop.reactor.statistics()['timers']


def test_without_a_limit_a_coroutine_may_take_any_time(ioloop, serve, run_until, coroutines):
    server = serve(request_timeout=0, handshake_timeout=0.05)

    @server.on
    async def request(server, req):
        await asyncio.sleep(0.2)
        return Response(200, body='done')

    with tcp(server) as sock:
        sock.send(get(close=True))
        assert answer_of(ioloop, run_until, sock).endswith(b'done')


# Stopping


def test_a_server_that_stops_waits_for_the_answers_of_coroutines(ioloop, run_until, assert_idle, coroutines):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    goes_on = asyncio.Event()
    handled, finished, answer = [], [], bytearray()
    server.on('finish', finished.append)

    @server.on
    async def request(server, req):
        handled.append(req)
        await goes_on.wait()
        return Response(200, body='the answer')

    with tcp(server) as sock:
        sock.send(get())
        run_until(ioloop, lambda: handled)
        server.stop()
        assert not finished
        goes_on.set()

        def closed():
            data = received(sock)
            answer.extend(data or b'')
            return data == b''

        run_until(ioloop, closed)
    run_until(ioloop, lambda: finished and not ioloop.connections)
    assert answer.endswith(b'the answer')
    assert b'\r\nConnection: close\r\n' in answer
    assert_idle(ioloop)


def test_a_server_that_stops_does_not_wait_for_ever(ioloop, run_until, assert_idle, coroutines):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=0.1)
    goes_on = asyncio.Event()
    handled, ended, finished = [], [], []
    server.on('finish', finished.append)

    @server.on
    async def request(server, req):
        handled.append(req)
        await goes_on.wait()
        ended.append(req)

    with tcp(server) as sock:
        sock.send(get())
        run_until(ioloop, lambda: handled)
        server.stop()
        run_until(ioloop, lambda: finished and not ioloop.connections)
    goes_on.set()
    run_until(ioloop, lambda: ended)
    assert_idle(ioloop)
