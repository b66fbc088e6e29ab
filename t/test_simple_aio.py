"""`pyjows.simple`, awaiting: what `AioServer` and `AioClient` promise, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any

import pytest
import trustme
from aiohttp import web
from background import free_port
from threaded import Threaded, reset
from wire import BINARY, CLOSE, PING, PONG, TEXT, UPGRADE, close, frame

from pyjows.simple import AioClient, AioServer, ConnectionClosed, ConnectionError, Server

try:
    import uvloop

    LOOPS = [None, uvloop.new_event_loop]
except ImportError:
    LOOPS = [None]


@pytest.fixture(params=LOOPS, ids=['asyncio', 'uvloop'][: len(LOOPS)])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine as a test, on each kind of loop; it may leave no task."""

    @wraps(test)
    def wrapper(runner: asyncio.Runner, **fixtures: Any) -> None:
        async def whole() -> None:
            async with asyncio.timeout(40):
                await test(**fixtures)
            for _ in range(200):
                left = asyncio.all_tasks() - {asyncio.current_task()}
                if not left:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f'tasks left: {left}')

        runner.run(whole())

    wrapper.__signature__ = __import__('inspect').Signature(  # type: ignore[attr-defined]
        [
            *__import__('inspect').signature(test).parameters.values(),
            __import__('inspect').Parameter('runner', __import__('inspect').Parameter.POSITIONAL_OR_KEYWORD),
        ]
    )
    return wrapper


class Hand:
    """The other end, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, *data: bytes) -> None:
        self.writer.write(b''.join(data))

    async def read_frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        n = second & 0x7F
        if n > 125:
            n = int.from_bytes(await self.reader.readexactly(2 if n == 126 else 8), 'big')
        return first & 0x0F, await self.reader.readexactly(n)

    async def eof(self) -> bool:
        return await self.reader.read(1) == b''


@asynccontextmanager
async def served(**options: Any):
    """An `AioServer` on a bare socket, and its client by hand."""
    here, there = socket.socketpair()
    ws = await AioServer.accept(sock=here, headers=UPGRADE, **options)
    hand = Hand(*await asyncio.open_connection(sock=there))
    assert (await hand.reader.readuntil(b'\r\n\r\n')).startswith(b'HTTP/1.1 101 ')
    try:
        yield ws, hand
    finally:
        hand.writer.close()
        ws.close_timeout = 0.2
        with suppress(ConnectionClosed):
            await ws.close()


@asynccontextmanager
async def serving(handler: Callable[[AioServer], Awaitable[None]], context: ssl.SSLContext | None = None):
    """A server of a few lines, that reads the request and hands socket and headers over; gives its URL."""
    listener = socket.create_server(('127.0.0.1', 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(sock: socket.socket) -> None:
        head = b''
        while b'\r\n\r\n' not in head:
            head += await loop.sock_recv(sock, 4096)
        fields = head.decode().split('\r\n\r\n')[0].split('\r\n')[1:]
        headers = [(name, value.strip()) for name, _, value in (field.partition(':') for field in fields)]
        async with await AioServer.accept(sock=sock, headers=headers, subprotocols=['chat']) as ws:
            await handler(ws)

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            tasks.add(asyncio.create_task(serve(sock)))

    acceptor = asyncio.create_task(accept())
    try:
        yield f'ws://127.0.0.1:{listener.getsockname()[1]}'
        await asyncio.gather(*tasks)
    finally:
        acceptor.cancel()
        with suppress(asyncio.CancelledError):
            await acceptor
        listener.close()


async def echo(ws: Any) -> None:
    async for message in ws:
        await ws.send(message)


@on_a_loop
async def test_messages_come_and_go_by_their_type():
    async with served() as (ws, hand):
        hand.write(frame(TEXT, 'ä'.encode()), frame(BINARY, b'\xff'), frame(TEXT, b'a', fin=False), frame(0, b'b'))
        assert [await ws.receive() for _ in range(3)] == ['ä', b'\xff', 'ab']
        await ws.send('ö')
        await ws.send(b'\x00')
        assert await hand.read_frame() == (TEXT, 'ö'.encode())
        assert await hand.read_frame() == (BINARY, b'\x00')
        with pytest.raises(TypeError, match='str or bytes'):
            await ws.send(1)


@on_a_loop
async def test_receive_returns_none_when_the_time_is_over():
    async with served() as (ws, hand):
        assert await ws.receive(timeout=0) is None
        assert await ws.receive(timeout=0.05) is None
        asyncio.get_running_loop().call_later(0.05, hand.write, frame(TEXT, b'late'))
        assert await ws.receive(timeout=10) == 'late'


@on_a_loop
async def test_a_program_that_polls_lets_the_loop_read():
    async with served() as (ws, hand):
        hand.write(frame(TEXT, b'x'))
        while (message := await ws.receive(timeout=0)) is None:
            pass
        assert message == 'x'


@on_a_loop
async def test_a_long_row_of_messages_lets_the_loop_turn_and_is_answered_in_order():
    async with served() as (ws, hand):
        hand.write(*[frame(TEXT, b'%d' % number) for number in range(1000)])
        turned = 0

        async def turn() -> None:
            nonlocal turned
            while True:
                await asyncio.sleep(0)
                turned += 1

        turning = asyncio.create_task(turn())
        assert await ws.receive() == '0'
        before = turned
        for number in range(1, 1000):
            await ws.send(str(number))
            assert await ws.receive() == str(number)
        turning.cancel()
        assert turned >= before + 10
        assert [await hand.read_frame() for _ in range(999)] == [(TEXT, b'%d' % n) for n in range(1, 1000)]


@on_a_loop
async def test_receives_at_once_share_the_messages():
    async with served() as (ws, hand):
        waiting = [asyncio.create_task(ws.receive(timeout=10)) for _ in range(100)]
        hand.write(*[frame(TEXT, b'%d' % number) for number in range(100)])
        assert {int(await task) for task in waiting} == set(range(100))


@on_a_loop
async def test_a_cancelled_receive_loses_no_message():
    async with served() as (ws, hand):
        for number in range(20):
            waiting = asyncio.create_task(ws.receive())
            await asyncio.sleep(0)
            hand.write(frame(TEXT, b'%d' % number))
            if number % 2:
                await asyncio.sleep(0.001)
            waiting.cancel()
            try:
                got = await waiting
            except asyncio.CancelledError:
                got = await ws.receive(timeout=5)
            assert got == f'{number}'


@on_a_loop
async def test_messages_before_the_close_come_first():
    async with served() as (ws, hand):
        hand.write(frame(TEXT, b'one'), frame(TEXT, b'two'), close(1001, 'bye'))
        assert [message async for message in ws] == ['one', 'two']
        assert (ws.close_reason, ws.close_message, ws.connected) == (1001, 'bye', False)
        for call in (ws.receive, ws.close, lambda: ws.send('x')):
            with pytest.raises(ConnectionClosed, match='1001 bye'):
                await call()
        assert await hand.read_frame() == (CLOSE, b'\x03\xe9bye')
        assert await hand.eof()


@on_a_loop
async def test_eof_is_1006():
    async with served() as (ws, hand):
        asyncio.get_running_loop().call_later(0.02, hand.writer.close)
        with pytest.raises(ConnectionClosed) as closed:
            await ws.receive()
        assert (closed.value.reason, closed.value.message) == (1006, None)


@on_a_loop
async def test_close_waits_for_the_answer():
    async with served() as (ws, hand):
        closing = asyncio.create_task(ws.close(4000, 'done'))
        assert await hand.read_frame() == (CLOSE, b'\x0f\xa0done')
        assert not closing.done()
        assert not ws.connected
        hand.write(close(4000, 'done'))
        await closing
        assert await hand.eof()


@on_a_loop
async def test_a_peer_that_does_not_answer_a_close_is_not_waited_for_for_ever():
    async with served() as (ws, hand):
        ws.close_timeout = 0.05
        await ws.close()
        assert await hand.read_frame() == (CLOSE, b'\x03\xe8')
        assert await hand.eof()


@on_a_loop
@pytest.mark.parametrize('answers', [True, False])
async def test_a_connection_that_is_let_go_of_goes_away(answers):
    here, there = socket.socketpair()
    ws = await AioServer.accept(sock=here, headers=UPGRADE)
    hand = Hand(*await asyncio.open_connection(sock=there))
    await hand.reader.readuntil(b'\r\n\r\n')
    hand.write(frame(TEXT, b'unread'))
    await ws.send('the last')
    del ws
    gc.collect()  # where objects are not counted
    assert await hand.read_frame() == (TEXT, b'the last')
    assert await hand.read_frame() == (CLOSE, b'\x03\xe9')
    if answers:
        hand.write(close(1001))
    assert await hand.eof()
    hand.writer.close()


@on_a_loop
async def test_a_cancelled_program_does_not_wait_for_its_peer():
    here, there = socket.socketpair()
    hand = Hand(*await asyncio.open_connection(sock=there))
    inside = asyncio.Event()

    async def program() -> None:
        async with await AioServer.accept(sock=here, headers=UPGRADE) as ws:
            ws.close_timeout = 30
            inside.set()
            await ws.receive()

    task = asyncio.create_task(program())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    await hand.reader.readuntil(b'\r\n\r\n')
    assert await hand.read_frame() == (CLOSE, b'\x03\xe9')
    async with asyncio.timeout(10):
        assert await hand.eof()
    hand.writer.close()


@on_a_loop
async def test_a_cancelled_close_ends_tcp_all_the_same():
    async with served() as (ws, hand):
        ws.close_timeout = 30
        closing = asyncio.create_task(ws.close(4000))
        assert await hand.read_frame() == (CLOSE, b'\x0f\xa0')
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        async with asyncio.timeout(10):
            assert await hand.eof()
        assert not ws.connected


@on_a_loop
async def test_a_close_ends_a_receive_that_waits():
    async with served() as (ws, hand):
        waiting = asyncio.create_task(ws.receive())
        await asyncio.sleep(0.01)
        ws.close_timeout = 0.05
        await ws.close(4001)
        with pytest.raises(ConnectionClosed, match='4001'):
            await waiting


@on_a_loop
async def test_a_peer_that_does_not_answer_pings_is_closed_with_1008():
    async with served(ping_interval=0.05) as (ws, hand):
        for _ in range(3):
            opcode, payload = await hand.read_frame()
            assert opcode == PING
            hand.write(frame(PONG, payload))
        with pytest.raises(ConnectionClosed, match='1008 Ping/Pong timeout'):
            await ws.receive()
        assert (await hand.read_frame())[0] == PING
        assert await hand.read_frame() == (CLOSE, b'\x03\xf0Ping/Pong timeout')


@on_a_loop
async def test_a_loop_that_stood_still_does_not_blame_its_peer():
    async with served(ping_interval=0.3) as (ws, hand):
        for _ in range(3):
            time.sleep(1)  # longer than two intervals
            opcode, payload = await hand.read_frame()
            assert opcode == PING
            await asyncio.sleep(0.1)
            hand.write(frame(PONG, payload))
        assert ws.connected


@pytest.mark.parametrize(
    ('data', 'code'), [(frame(3), 1002), (frame(TEXT, b'\xff'), 1007), (frame(BINARY, bytes(1001)), 1009)]
)
@on_a_loop
async def test_a_violation_is_answered_with_its_close_code(data, code):
    async with served(max_message_size=1000) as (ws, hand):
        hand.write(frame(TEXT, b'fine'), data)
        assert await ws.receive() == 'fine'
        opcode, payload = await hand.read_frame()
        assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, 'big'))
        hand.writer.close()
        with pytest.raises(ConnectionClosed, match=str(code)):
            await ws.receive()


@on_a_loop
async def test_a_program_that_does_not_receive_stops_the_reading():
    async with served() as (ws, hand):
        message = frame(BINARY, bytes(65536))
        sent = 0
        with suppress(TimeoutError):
            while sent < 1000:
                hand.write(message)
                sent += 1
                async with asyncio.timeout(0.5):
                    await hand.writer.drain()
        assert 16 <= sent < 60
        for _ in range(sent):
            assert await ws.receive(timeout=10) == bytes(65536)


@on_a_loop
async def test_a_program_that_sends_waits_for_the_peer_to_read():
    async with served() as (ws, hand):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 1000:
                await ws.send(bytes(65536))
                sent += 1

        task = asyncio.create_task(flood())
        await asyncio.sleep(0.2)
        assert 1 <= sent < 60
        for _ in range(1000):
            assert await hand.read_frame() == (BINARY, bytes(65536))
        await task


@on_a_loop
async def test_both_faces_talk_to_each_other():
    async with serving(echo) as url:
        async with await AioClient.connect(f'{url}/a?b=c', subprotocols=['x', 'chat']) as ws:
            assert (ws.subprotocol, ws.path) == ('chat', '/a?b=c')
            for message in ('x' * 70_000, os.urandom(1 << 20), ''):
                await ws.send(message)
                assert await ws.receive(timeout=20) == message


@on_a_loop
async def test_programs_that_both_send_before_they_receive_do_not_block_each_other():
    message = os.urandom(1 << 20)

    async def both(ws: Any) -> None:
        for _ in range(12):
            await ws.send(message)
        for _ in range(12):
            assert await ws.receive(timeout=20) == message

    async with serving(both) as url, await AioClient.connect(url) as ws:
        await both(ws)


@on_a_loop
async def test_fifty_at_once():
    async def talk(number: int) -> None:
        async with await AioClient.connect(url) as ws:
            for turn in range(5):
                await ws.send(f'{number} {turn}')
                assert await ws.receive(timeout=20) == f'{number} {turn}'

    async with serving(echo) as url:
        await asyncio.gather(*[talk(number) for number in range(50)])


def threaded_echo(environ: Any) -> None:
    with Server.accept(environ) as ws:
        for message in ws:
            ws.send(message)


@on_a_loop
async def test_tls_with_a_private_ca():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Threaded(threaded_echo, context) as server:
        async with await AioClient.connect(server.url, ssl_context=trusting) as ws:
            message = os.urandom(1 << 20)
            await ws.send(message)
            assert await ws.receive(timeout=20) == message
        with pytest.raises(ssl.SSLCertVerificationError):
            await AioClient.connect(server.url)
        while not server.failures:  # uvloop needs another turn to hang up
            await asyncio.sleep(0.01)


@on_a_loop
async def test_what_an_aiohttp_handler_sent_leaves_before_aiohttps_own_answer():
    async def websocket(request: web.Request) -> web.Response:
        ws = await AioServer.accept(aiohttp=request)
        await ws.send(f'hello {await ws.receive()}')
        return web.Response(text='not for a WebSocket')

    app = web.Application()
    app.router.add_get('/', websocket)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0).start()
    try:
        hand = Hand(*await asyncio.open_connection(*runner.addresses[0][:2]))
        hand.write(
            b'GET / HTTP/1.1\r\n', *(f'{name}: {value}\r\n'.encode() for name, value in UPGRADE.items()), b'\r\n'
        )
        await hand.reader.readuntil(b'\r\n\r\n')
        hand.write(frame(TEXT, b'you'))
        assert await hand.read_frame() == (TEXT, b'hello you')
        assert await hand.read_frame() == (CLOSE, b'\x03\xe9')
        hand.writer.close()
    finally:
        await runner.cleanup()


@on_a_loop
@pytest.mark.parametrize('managed', [True, False])
async def test_the_end_of_an_aiohttp_server_closes_its_connections_with_1001(managed):
    async def websocket(request: web.Request) -> web.Response:
        ws = await AioServer.accept(aiohttp=request)
        if managed:
            async with ws:
                await ws.receive()
        else:
            await ws.receive()
        return web.Response()

    app = web.Application()
    app.router.add_get('/', websocket)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0).start()
    ws = await AioClient.connect(f'ws://127.0.0.1:{runner.addresses[0][1]}/')
    receiving = asyncio.ensure_future(ws.receive())
    await runner.cleanup()
    with pytest.raises(ConnectionClosed, match='1001'):
        await receiving


@on_a_loop
async def test_an_aiohttp_request_over_tls_is_accepted():
    async def websocket(request: web.Request) -> web.Response:
        async with await AioServer.accept(aiohttp=request) as ws:
            await echo(ws)
        return web.Response()

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    app = web.Application()
    app.router.add_get('/', websocket)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0, ssl_context=context).start()
    async with await AioClient.connect(f'wss://127.0.0.1:{runner.addresses[0][1]}/', ssl_context=trusting) as ws:
        for message in (os.urandom(1 << 20), 'hello'):
            await ws.send(message)
            assert await ws.receive(timeout=20) == message
    await runner.cleanup()


@on_a_loop
async def test_a_unix_socket_is_connected_to(socket_folder):
    with Threaded(threaded_echo, unix_path=f'{socket_folder}/s') as server:
        async with await AioClient.connect(f'{server.url}/') as ws:
            await ws.send('hello')
            assert await ws.receive(timeout=20) == 'hello'


@on_a_loop
async def test_a_refusal_is_a_connection_error_with_its_status():
    with Threaded(lambda environ: b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n') as server:
        with pytest.raises(ConnectionError) as refused:
            await AioClient.connect(server.url)
    assert refused.value.status_code == 403


@on_a_loop
async def test_a_server_that_hangs_up_or_says_nothing_is_an_error():
    class Impatient(AioClient):
        connect_timeout = 0.1

    with Threaded(lambda environ: None) as server, pytest.raises(ConnectionError) as refused:
        await AioClient.connect(server.url)
    assert refused.value.status_code is None
    with socket.create_server(('127.0.0.1', 0)) as silent, pytest.raises(TimeoutError):
        await Impatient.connect(f'ws://127.0.0.1:{silent.getsockname()[1]}')
    url = f'ws://127.0.0.1:{free_port()}/room'
    with pytest.raises(ConnectionRefusedError, match=f'could not connect to {url}: '):
        await AioClient.connect(url)
    with pytest.raises(socket.gaierror, match=r'could not connect to ws://a\.\.b/: .*label'):
        await AioClient.connect('ws://a..b')


@on_a_loop
async def test_a_server_that_resets_is_a_connection_reset_error_with_the_url():
    with Threaded(reset) as server:
        with pytest.raises(ConnectionResetError, match=f'could not connect to {server.url}/'):
            await AioClient.connect(server.url)


@on_a_loop
async def test_a_wrong_combination_is_a_value_error():
    here, there = socket.socketpair()
    with here, there:
        for wrong in (
            {},
            {'sock': here},
            {'headers': {}},
            {'sock': here, 'headers': {}, 'aiohttp': object()},
            {'aiohttp': object(), 'asgi': ({}, None, None)},
            {'asgi': ({}, None, None), 'headers': {}},
        ):
            with pytest.raises(ValueError):
                await AioServer.accept(**wrong)


@on_a_loop
async def test_a_request_that_is_no_upgrade_is_a_connection_error():
    here, there = socket.socketpair()
    with here, there:
        with pytest.raises(ConnectionError) as refused:
            await AioServer.accept(sock=here, headers={'Host': 'example.com'})
        assert refused.value.status_code in (400, 426)


@on_a_loop
async def test_an_asgi_servers_messages_become_those_of_the_face():
    class Channel:
        def __init__(self, *incoming: dict[str, Any]) -> None:
            self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            for message in ({'type': 'websocket.connect'}, *incoming):
                self.incoming.put_nowait(message)
            self.sent: list[dict[str, Any]] = []

        async def send(self, message: dict[str, Any]) -> None:
            if self.sent and self.sent[-1]['type'] == 'gone':
                raise OSError
            self.sent.append(message)

        async def accept(self, **options: Any) -> AioServer:
            scope = {'type': 'websocket', 'path': '/x', 'query_string': b'', 'headers': [], 'subprotocols': ['b', 'a']}
            return await AioServer.accept(asgi=(scope, self.incoming.get, self.send), **options)

    channel = Channel(
        {'type': 'websocket.receive', 'text': 'ä', 'bytes': None},
        {'type': 'websocket.receive', 'bytes': b'\x00'},
    )
    ws = await channel.accept(subprotocols=['a', 'b'])
    assert (ws.mode, ws.subprotocol, ws.connected) == ('asgi', 'b', True)
    assert [await ws.receive(), await ws.receive(5)] == ['ä', b'\x00']
    assert await ws.receive(0.01) is None  # what is waited for in vain is not lost
    channel.incoming.put_nowait({'type': 'websocket.receive', 'text': 'later'})
    assert await ws.receive() == 'later'
    await ws.send('t')
    await ws.send(b'b')
    assert await ws.receive(0) is None
    channel.incoming.put_nowait({'type': 'websocket.disconnect', 'code': 4001, 'reason': 'bye'})
    with pytest.raises(ConnectionClosed) as closed:
        await ws.receive()
    assert (closed.value.reason, closed.value.message, ws.connected) == (4001, 'bye', False)
    assert channel.sent == [
        {'type': 'websocket.accept', 'subprotocol': 'b'},
        {'type': 'websocket.send', 'text': 't'},
        {'type': 'websocket.send', 'bytes': b'b'},
    ]

    channel = Channel({'type': 'websocket.receive', 'text': 'x' * 11})
    ws = await channel.accept(max_message_size=10)
    with pytest.raises(ConnectionClosed, match='1009'):
        await ws.receive()
    assert channel.sent[-1]['code'] == 1009

    channel = Channel()
    ws = await channel.accept()
    channel.sent.append({'type': 'gone'})
    channel.incoming.put_nowait({'type': 'websocket.disconnect', 'code': 1001})
    with pytest.raises(ConnectionClosed, match='1001'):
        await ws.send('x')
