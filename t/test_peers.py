"""pyjows with everybody else: the WebSocket libraries that people have on the other end, both ways, on every reactor.

Our server is called by the `websockets` and `aiohttp` clients, `websocket-client` and Node's `ws`; our client calls
`websockets` and `aiohttp` servers. A class for each makes them look alike, so that one list of tests is for all.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import aiohttp.web
import pytest
import websocket
import websockets.asyncio.server
import websockets.exceptions
import websockets.sync.client
from background import TIMEOUT, Service, until

import pyjows

MIB = 1024 * 1024
ROOM = 16 * MIB
WS_CLIENT = Path(__file__).parent / 'peers' / 'ws_client.js'

#: Clients that are slow to start or to mask: on the first reactor, and on all of them in the gate.
pytestmark = [pytest.mark.slow, pytest.mark.wide(later=True)]

Message = str | bytes


def text_of(size: int) -> str:
    """`size` bytes of text, with characters of every length that fits."""
    text = ('aé€😀' * (size // 10 + 1)).encode()[:size].decode(errors='ignore')
    return text + 'z' * (size - len(text.encode()))


def bytes_of(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


# Other people's clients


class WebsocketsClient:
    """`websockets`, its threaded client."""

    can_fragment = True
    can_compress = True

    def __init__(self, url: str, protocols: Sequence[str], headers: dict[str, str], compression: bool) -> None:
        calling = websockets.sync.client.connect(
            url,
            subprotocols=[websockets.Subprotocol(name) for name in protocols] or None,
            additional_headers=headers,
            compression='deflate' if compression else None,
            max_size=ROOM,
            open_timeout=TIMEOUT,
            close_timeout=TIMEOUT,
        )
        self.stack = contextlib.ExitStack()
        self.ws = self.stack.enter_context(calling)
        self.protocol = self.ws.subprotocol
        self.compressed = bool(self.ws.protocol.extensions)
        assert self.ws.response is not None
        self.headers = {name.lower(): value for name, value in self.ws.response.headers.raw_items()}

    def send(self, message: Message) -> None:
        self.ws.send(message)

    def send_fragments(self, parts: Sequence[Message]) -> None:
        self.ws.send(iter(parts))  # type: ignore[arg-type]

    def receive(self) -> Message:
        return self.ws.recv(TIMEOUT)

    def ping(self, data: bytes) -> None:
        assert self.ws.ping(data).wait(TIMEOUT), 'no pong'

    def close(self, code: int, reason: str) -> None:
        self.ws.close(code, reason)

    def closed(self) -> tuple[int, str]:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            while True:
                self.ws.recv(TIMEOUT)
        close = caught.value.rcvd
        return (close.code, close.reason) if close else (1006, '')

    def release(self) -> None:
        self.stack.close()


class AiohttpClient:
    """`aiohttp`'s client, on an asyncio loop of its own."""

    can_fragment = False  # it has no way to send one
    can_compress = True

    def __init__(self, url: str, protocols: Sequence[str], headers: dict[str, str], compression: bool) -> None:
        self.runner = asyncio.Runner()
        self.run = self.runner.run

        async def connect() -> None:
            self.session = aiohttp.ClientSession()
            self.ws = await self.session.ws_connect(
                url,
                protocols=protocols,
                headers=headers,
                compress=15 if compression else 0,
                max_msg_size=ROOM,
                autoping=False,
            )

        self.run(connect())
        self.protocol = self.ws.protocol
        self.compressed = bool(self.ws.compress)
        self.headers = {name.lower(): value for name, value in self.ws._response.headers.items()}

    def send(self, message: Message) -> None:
        self.run(self.ws.send_str(message) if isinstance(message, str) else self.ws.send_bytes(message))

    async def _next(self) -> aiohttp.WSMessage:
        while True:
            message = await self.ws.receive(TIMEOUT)
            if message.type != aiohttp.WSMsgType.PING:
                return message
            await self.ws.pong(message.data)

    def receive(self) -> Message:
        message = self.run(self._next())
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    def ping(self, data: bytes) -> None:
        self.run(self.ws.ping(data))
        message = self.run(self._next())
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, data)

    def close(self, code: int, reason: str) -> None:
        self.run(self.ws.close(code=code, message=reason.encode()))

    def closed(self) -> tuple[int, str]:
        message = self.run(self._next())
        assert message.type == aiohttp.WSMsgType.CLOSE, message
        return message.data, message.extra

    def release(self) -> None:
        self.run(self.session.close())
        self.runner.close()


class WebSocketClient:
    """`websocket-client`, which blocks."""

    can_fragment = True
    can_compress = False  # it knows no extension

    def __init__(self, url: str, protocols: Sequence[str], headers: dict[str, str], compression: bool) -> None:
        self.ws = websocket.create_connection(url, timeout=TIMEOUT, subprotocols=protocols or None, header=headers)
        self.protocol = self.ws.getsubprotocol()
        self.compressed = False
        self.headers = self.ws.getheaders()

    def send(self, message: Message) -> None:
        self.ws.send(message) if isinstance(message, str) else self.ws.send_binary(message)

    def send_fragments(self, parts: Sequence[Message]) -> None:
        opcode = websocket.ABNF.OPCODE_TEXT if isinstance(parts[0], str) else websocket.ABNF.OPCODE_BINARY
        for number, part in enumerate(parts):
            fin = int(number == len(parts) - 1)
            data = part.encode() if isinstance(part, str) else part
            self.ws.send_frame(websocket.ABNF.create_frame(data, 0 if number else opcode, fin))

    def receive(self) -> Message:
        return self.ws.recv()

    def ping(self, data: bytes) -> None:
        self.ws.ping(data)
        assert self._until(websocket.ABNF.OPCODE_PONG) == data

    def close(self, code: int, reason: str) -> None:
        self.ws.close(code, reason.encode(), timeout=int(TIMEOUT))

    def closed(self) -> tuple[int, str]:
        payload = self._until(websocket.ABNF.OPCODE_CLOSE)
        return int.from_bytes(payload[:2], 'big'), payload[2:].decode()

    def _until(self, opcode: int) -> bytes:
        while True:
            seen, frame = self.ws.recv_data_frame(control_frame=True)
            if seen == opcode:
                return frame.data

    def release(self) -> None:
        self.ws.shutdown()  # `close` leaves the socket open once a close frame was answered


class NodeClient:
    """Node's `ws`, in a process that `ws_client.js` makes a puppet of."""

    can_fragment = True
    can_compress = True
    modules: ClassVar[str] = ''

    def __init__(self, url: str, protocols: Sequence[str], headers: dict[str, str], compression: bool) -> None:
        options = {'protocols': list(protocols), 'headers': headers, 'compression': compression}
        self.node = subprocess.Popen(
            ['node', str(WS_CLIENT), url, json.dumps(options)],
            env={**os.environ, 'NODE_PATH': self.modules},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            self.headers = self._until('upgrade')['headers']
            opened = self._until('open')
        except BaseException:
            self.release()
            raise
        self.protocol = opened['protocol'] or None
        self.compressed = 'permessage-deflate' in opened['extensions']

    def _read(self) -> None:
        assert self.node.stdout
        for line in self.node.stdout:
            self.events.put(json.loads(line))

    def _until(self, name: str) -> dict[str, Any]:
        while True:
            event = self.events.get(timeout=TIMEOUT)
            assert event['event'] != 'error', event
            if event['event'] == name:
                return event

    def _do(self, what: str, **arguments: Any) -> None:
        assert self.node.stdin
        self.node.stdin.write(json.dumps({'do': what, **arguments}).encode() + b'\n')
        self.node.stdin.flush()

    def _send(self, message: Message, fin: bool) -> None:
        data = message.encode() if isinstance(message, str) else message
        self._do('send', data=base64.b64encode(data).decode(), binary=isinstance(message, bytes), fin=fin)

    def send(self, message: Message) -> None:
        self._send(message, True)

    def send_fragments(self, parts: Sequence[Message]) -> None:
        for number, part in enumerate(parts):
            self._send(part, number == len(parts) - 1)

    def receive(self) -> Message:
        event = self._until('message')
        data = base64.b64decode(event['data'])
        return data if event['binary'] else data.decode()

    def ping(self, data: bytes) -> None:
        self._do('ping', data=base64.b64encode(data).decode())
        assert base64.b64decode(self._until('pong')['data']) == data

    def close(self, code: int, reason: str) -> None:
        self._do('close', code=code, reason=reason)

    def closed(self) -> tuple[int, str]:
        event = self._until('close')
        return event['code'], event['reason']

    def release(self) -> None:
        assert self.node.stdin
        assert self.node.stdout
        self.node.stdin.close()
        try:
            self.node.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.node.kill()
            self.node.wait()
        self.reader.join(TIMEOUT)
        self.node.stdout.close()


CLIENTS: dict[str, type[Any]] = {
    'websockets': WebsocketsClient,
    'aiohttp': AiohttpClient,
    'websocket-client': WebSocketClient,
    'node': NodeClient,
}


def able_to(what: str) -> list[str]:
    """The names of the clients that can `fragment` or `compress`."""
    return [name for name, kind in CLIENTS.items() if getattr(kind, f'can_{what}')]


@pytest.fixture(scope='session')
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with Node's `ws` in it: where `NODE_PATH` says, else in the user's cache, where it is installed once."""

    def give_up(reason: str) -> None:
        pytest.skip(f'no peer from Node: {reason}')

    if not shutil.which('node'):
        give_up('there is no `node` on the PATH')
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'pyjows' / 'node'
    folders = [*filter(None, os.environ.get('NODE_PATH', '').split(os.pathsep)), str(cache / 'node_modules')]
    for folder in folders:
        if (Path(folder) / 'ws' / 'package.json').exists():
            return folder
    if not shutil.which('npm'):
        give_up('there is no `npm` on the PATH to install `ws` with, and NODE_PATH has none')
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:  # several test processes may do this at a time
        command = ['npm', 'install', '--prefix', folder, '--no-audit', '--no-fund', '--silent', 'ws@8']
        npm = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if npm.returncode:
            give_up(f'npm cannot install ws: {npm.stderr.strip() or npm.stdout.strip()}')
        with contextlib.suppress(OSError):
            Path(folder, 'node_modules').rename(cache / 'node_modules')
    return str(cache / 'node_modules')


Connect = Callable[..., Any]


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest, service: Any) -> Iterator[Connect]:
    """Connects somebody else's client; it is released when the test is over, before the service is."""
    kind = CLIENTS[request.param]
    if kind is NodeClient:
        NodeClient.modules = request.getfixturevalue('node_modules')
    clients: list[Any] = []

    def connect(url: str, *, protocols: Sequence[str] = (), headers: Any = None, compression: bool = False) -> Any:
        clients.append(kind(url, protocols, headers or {}, compression))
        return clients[-1]

    yield connect
    for client in clients:
        client.release()


@pytest.fixture
def service(reactor_name: str) -> Iterator[Callable[..., Service]]:
    """Starts our server; when the test is over, it must have nothing left."""
    services: list[Service] = []

    def start(handler: Callable[[Any, Any], object] = obey, **options: Any) -> Service:
        services.append(Service(reactor_name, handler, **{'max_websocket_size': ROOM, **options}))
        return services[-1]

    yield start
    for running in services:
        running.stop()


def obey(server: Any, ws: Any) -> None:
    """Echo, but do what a text that begins with `!` says."""

    def text(ws: Any, message: str) -> None:
        command, _, rest = message.partition(' ')
        if command == '!fragments':
            for number, part in enumerate(parts := rest.split('|')):
                ws.send(frame=(number == len(parts) - 1, 0, 0, 0, 0 if number else 1, part.encode()))
        elif command == '!ping':
            ws.send(frame=(1, 0, 0, 0, 9, rest.encode()))
        elif command == '!close':
            code, _, reason = rest.partition(' ')
            ws.finish(int(code), reason)
        else:
            ws.send(text=message)

    def frame(ws: Any, frame: pyjows.Frame) -> None:
        if frame.opcode == 10:
            ws.send(text=f'pong {bytes(frame.data).decode()}')

    ws.on('text', text)
    ws.on('binary', lambda ws, message: ws.send(binary=message))
    ws.on('frame', frame)


# Our server


def test_our_server_echoes_messages_of_every_length_class(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    for size in (1, 2, 125, 126, 127, 65_535, 65_536, 65_537, MIB):
        client.send(bytes_of(size))
        assert client.receive() == bytes_of(size)
        client.send(text_of(size))
        assert client.receive() == text_of(size)


def test_our_server_echoes_10_mib(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    client.send(bytes_of(10 * MIB))
    assert client.receive() == bytes_of(10 * MIB)
    client.send(text_of(10 * MIB))
    assert client.receive() == text_of(10 * MIB)


def test_our_server_keeps_the_order_of_many_messages(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    for number in range(500):
        client.send(f'message {number}')
    assert [client.receive() for _ in range(500)] == [f'message {number}' for number in range(500)]


def test_our_server_speaks_json(service: Any, connect: Connect) -> None:
    def handler(server: Any, ws: Any) -> None:
        ws.on('json', lambda ws, value: ws.send(json={'echo': value}))

    client = connect(service(handler).url)
    value = {'naïve': ['☃', 1, 2.5, None, True], 'nested': {'empty': {}}}
    client.send(json.dumps(value))
    assert json.loads(client.receive()) == {'echo': value}
    client.send(b'[1, 2]')
    assert json.loads(client.receive()) == {'echo': [1, 2]}


@pytest.mark.parametrize('connect', able_to('fragment'), indirect=True)
def test_our_server_joins_fragments(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    client.send_fragments(['frag', '', 'ménts ', 'of text'])
    assert client.receive() == 'fragménts of text'
    client.send_fragments([b'\0' * 70_000, b'\1', b'\2' * 200])
    assert client.receive() == b'\0' * 70_000 + b'\1' + b'\2' * 200


def test_our_server_sends_fragments(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    client.send('!fragments one|two||three')
    assert client.receive() == 'onetwothree'


@pytest.mark.parametrize('no_context_takeover', [False, True], ids=['context takeover', 'no context takeover'])
@pytest.mark.parametrize('connect', able_to('compress'), indirect=True)
def test_our_server_compresses(service: Any, connect: Connect, no_context_takeover: bool) -> None:
    compression = pyjows.PerMessageDeflate(
        server_no_context_takeover=no_context_takeover, client_no_context_takeover=no_context_takeover
    )
    client = connect(service(compression=compression).url, compression=True)
    assert client.compressed
    assert ('client_no_context_takeover' in client.headers['sec-websocket-extensions']) is no_context_takeover
    for _ in range(3):
        for message in ('squeeze me ' * 1000, bytes_of(100_000), 'x', os.urandom(70_000), '€' * 1000):
            client.send(message)
            assert client.receive() == message


@pytest.mark.parametrize('connect', able_to('compress'), indirect=True)
def test_our_server_does_without_compression_when_it_is_switched_off(service: Any, connect: Connect) -> None:
    client = connect(service(compression=False).url, compression=True)
    assert not client.compressed
    client.send('as it is' * 100)
    assert client.receive() == 'as it is' * 100


def test_our_server_chooses_a_subprotocol(service: Any, connect: Connect) -> None:
    def handler(server: Any, ws: Any) -> None:
        ws.with_protocols('v2.chat', 'v1.chat')
        obey(server, ws)

    url = service(handler).url
    assert connect(url, protocols=['v1.chat', 'v2.chat']).protocol == 'v2.chat'
    assert connect(url, protocols=['v1.chat']).protocol == 'v1.chat'
    assert connect(url).protocol is None


def test_headers_travel_both_ways(service: Any, connect: Connect) -> None:
    def handler(server: Any, ws: Any) -> None:
        asked_by = ws.req.headers['x-asked-by']
        ws.on('open', lambda ws: ws.send(text=asked_by))

    client = connect(service(handler, headers={'X-Served-By': 'pyjows'}).url, headers={'X-Asked-By': 'a peer'})
    assert client.headers['x-served-by'] == 'pyjows'
    assert client.receive() == 'a peer'


def test_our_server_is_closed_with_code_and_reason(service: Any, connect: Connect) -> None:
    server = service()
    client = connect(server.url)
    client.close(4001, 'that is all, thänks')
    assert server.finish() == (4001, 'that is all, thänks')


def test_our_server_closes_with_code_and_reason(service: Any, connect: Connect) -> None:
    server = service(close_timeout=1)  # websocket-client answers, but leaves its end open
    client = connect(server.url)
    client.send('!close 4002 go awäy')
    assert client.closed() == (4002, 'go awäy')
    # RFC 6455 5.5.1 has the answer repeat the code, typically: some answer 1000 whatever they were told.
    assert server.finish()[0] in (4002, 1000)


def test_our_server_answers_pings(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    client.ping(b'are you there?')
    client.send('yes')
    assert client.receive() == 'yes'


def test_our_server_gets_its_pings_answered(service: Any, connect: Connect) -> None:
    client = connect(service().url)
    client.send('!ping hello')
    assert client.receive() == 'pong hello'


@pytest.mark.parametrize('connect', ['node'], indirect=True)
def test_our_server_finishes_with_1006_when_the_peer_is_killed(service: Any, connect: Connect) -> None:
    server = service()
    client = connect(server.url)
    client.node.kill()
    assert server.finish()[0] == 1006


# Other people's servers


class Peer:
    """Somebody else's server on an asyncio loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.closed: list[tuple[int | None, str]] = []
        self.asked: list[dict[str, str]] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.port: int = self.call(self.start())
        self.url = f'ws://127.0.0.1:{self.port}/'

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT)

    async def start(self) -> int:
        raise NotImplementedError

    async def end(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.call(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT)


class WebsocketsServer(Peer):
    async def start(self) -> int:
        self.server = await websockets.asyncio.server.serve(
            self.handle,
            '127.0.0.1',
            0,
            max_size=ROOM,
            # With `subprotocols=` it would refuse a client that offers none.
            select_subprotocol=lambda ws, offered: next((name for name in offered if name == 'v2.chat'), None),
            process_response=lambda ws, request, response: response.headers.update({'X-Served-By': 'a peer'}),
        )
        return self.server.sockets[0].getsockname()[1]

    async def handle(self, ws: Any) -> None:
        self.asked.append({name.lower(): value for name, value in ws.request.headers.raw_items()})
        try:
            async for message in ws:
                command, _, rest = message.partition(' ') if isinstance(message, str) else ('', '', '')
                if command == '!fragments':
                    await ws.send(rest.split('|'))
                elif command == '!ping':
                    await (await ws.ping(rest))
                    await ws.send(f'pong {rest}')
                elif command == '!close':
                    code, _, reason = rest.partition(' ')
                    await ws.close(int(code), reason)
                elif command == '!vanish':
                    ws.transport.abort()
                else:
                    await ws.send(message)
        except websockets.exceptions.ConnectionClosed:
            pass
        self.closed.append((ws.close_code, ws.close_reason))

    async def end(self) -> None:
        self.server.close()
        await self.server.wait_closed()


class AiohttpServer(Peer):
    async def start(self) -> int:
        app = aiohttp.web.Application()
        app.router.add_get('/', self.handle)
        self.runner = aiohttp.web.AppRunner(app, shutdown_timeout=1)
        await self.runner.setup()
        await aiohttp.web.TCPSite(self.runner, '127.0.0.1', 0).start()
        return self.runner.addresses[0][1]

    async def handle(self, request: aiohttp.web.Request) -> Any:
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        ws = aiohttp.web.WebSocketResponse(max_msg_size=ROOM, protocols=['v2.chat'], autoping=False)
        ws.headers['X-Served-By'] = 'a peer'
        await ws.prepare(request)
        reason = ''
        while True:
            message = await ws.receive()
            if message.type == aiohttp.WSMsgType.PING:
                await ws.pong(message.data)
            elif message.type == aiohttp.WSMsgType.PONG:
                await ws.send_str(f'pong {bytes(message.data).decode()}')
            elif message.type == aiohttp.WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            elif message.type == aiohttp.WSMsgType.TEXT:
                command, _, rest = message.data.partition(' ')
                if command == '!ping':
                    await ws.ping(rest.encode())
                elif command == '!close':
                    code, _, why = rest.partition(' ')
                    await ws.close(code=int(code), message=why.encode())
                    break
                elif command == '!vanish':
                    assert request.transport
                    request.transport.abort()
                    break
                else:
                    await ws.send_str(message.data)
            else:
                reason = message.extra or ''
                break
        self.closed.append((ws.close_code, reason))
        return ws

    async def end(self) -> None:
        await self.runner.cleanup()


SERVERS: dict[str, type[Peer]] = {'websockets': WebsocketsServer, 'aiohttp': AiohttpServer}


@pytest.fixture(params=SERVERS)
def peer(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Somebody else's server, for one test."""
    running = SERVERS[request.param]()
    yield running
    running.stop()


class Caller:
    """Our client, on a loop in this thread that turns while `receive`, `closed` and `until` wait."""

    def __init__(self, reactor_name: str, url: str, **options: Any) -> None:
        self.loop = pyjows.IOLoop(reactor=reactor_name)
        self.messages: list[Message] = []
        self.finished: list[tuple[int, str]] = []
        self.errors: list[Exception] = []
        self.ws = pyjows.connect(url, ioloop=self.loop, **{'max_websocket_size': ROOM, **options})
        self.ws.on('message', lambda ws, message: self.messages.append(message))
        self.ws.on('finish', lambda ws, code, reason: self.finished.append((code, reason)))
        self.ws.on('error', lambda ws, exc: self.errors.append(exc))
        self.until(lambda: self.ws.established or self.finished, 'the connection')
        assert not self.errors

    def until(self, condition: Callable[[], Any], what: str) -> None:
        alarm = self.loop.recurring(lambda loop: None, 0.05)  # so that a turn always ends
        until(lambda: condition() or self.loop.one_tick(), what)
        self.loop.remove(alarm)
        assert condition(), what

    def receive(self) -> Message:
        self.until(lambda: self.messages or self.finished, 'a message')
        return self.messages.pop(0)

    def closed(self) -> tuple[int, str]:
        self.until(lambda: self.finished, 'the end')
        assert len(self.finished) == 1
        return self.finished[0]

    def release(self) -> None:
        if not self.finished:
            self.ws.finish(1000)
            self.closed()
        assert not self.loop.connections, f'connections left: {self.loop.connections}'
        self.loop.close()


@pytest.fixture
def call(reactor_name: str, peer: Peer) -> Iterator[Callable[..., Caller]]:
    """Connects our client to the peer; the client is released when the test is over."""
    callers: list[Caller] = []

    def call(**options: Any) -> Caller:
        callers.append(Caller(reactor_name, peer.url, **options))
        return callers[-1]

    yield call
    for caller in callers:
        caller.release()


def test_our_client_sends_and_gets_messages_of_every_length_class(call: Any) -> None:
    caller = call()
    for size in (1, 2, 125, 126, 127, 65_535, 65_536, 65_537, MIB):
        caller.ws.send(binary=bytes_of(size))
        assert caller.receive() == bytes_of(size)
        caller.ws.send(text=text_of(size))
        assert caller.receive() == text_of(size)


def test_our_client_sends_and_gets_10_mib(call: Any) -> None:
    caller = call()
    caller.ws.send(binary=bytes_of(10 * MIB))
    assert caller.receive() == bytes_of(10 * MIB)
    caller.ws.send(text=text_of(10 * MIB))
    assert caller.receive() == text_of(10 * MIB)


def test_our_client_keeps_the_order_of_many_messages(call: Any) -> None:
    caller = call()
    for number in range(500):
        caller.ws.send(text=f'message {number}')
    assert [caller.receive() for _ in range(500)] == [f'message {number}' for number in range(500)]


def test_our_client_speaks_json(call: Any) -> None:
    caller = call()
    values: list[Any] = []
    caller.ws.on('json', lambda ws, value: values.append(value))
    value = {'naïve': ['☃', 1, 2.5, None, True], 'nested': {'empty': {}}}
    caller.ws.send(json=value)
    caller.until(lambda: values, 'the value')
    assert values == [value]


def test_our_client_sends_fragments(call: Any) -> None:
    caller = call()
    for number, (fin, part) in enumerate([(0, b'one'), (0, b''), (0, 'twö'.encode()), (1, b'three')]):
        caller.ws.send(frame=(fin, 0, 0, 0, 0 if number else 1, part))
    assert caller.receive() == 'onetwöthree'


@pytest.mark.parametrize('peer', ['websockets'], indirect=True)  # aiohttp has no way to send one
def test_our_client_joins_fragments(call: Any) -> None:
    caller = call()
    caller.ws.send(text='!fragments one|twö||three')
    assert caller.receive() == 'onetwöthree'


@pytest.mark.parametrize('no_context_takeover', [False, True], ids=['context takeover', 'no context takeover'])
def test_our_client_compresses(call: Any, no_context_takeover: bool) -> None:
    compression = pyjows.PerMessageDeflate(
        server_no_context_takeover=no_context_takeover, client_no_context_takeover=no_context_takeover
    )
    caller = call(compression=compression)
    assert caller.ws.compressed
    for _ in range(3):
        for message in ('squeeze me ' * 1000, bytes_of(100_000), 'x', os.urandom(70_000), '€' * 1000):
            caller.ws.send(message)
            assert caller.receive() == message


def test_our_client_does_without_compression_when_it_does_not_offer_it(call: Any) -> None:
    caller = call(compression=False)
    assert not caller.ws.compressed
    caller.ws.send(text='as it is' * 100)
    assert caller.receive() == 'as it is' * 100


def test_our_client_gets_a_subprotocol(call: Any) -> None:
    assert call(subprotocols=['v1.chat', 'v2.chat']).ws.res.headers['sec-websocket-protocol'] == 'v2.chat'
    assert 'sec-websocket-protocol' not in call().ws.res.headers


def test_our_clients_headers_arrive_and_the_answers_are_seen(call: Any, peer: Any) -> None:
    caller = call(headers={'X-Asked-By': 'pyjows'})
    assert caller.ws.res.headers['x-served-by'] == 'a peer'
    assert peer.asked[0]['x-asked-by'] == 'pyjows'


def test_our_client_closes_with_code_and_reason(call: Any, peer: Any) -> None:
    caller = call()
    caller.ws.finish(4001, 'that is all, thänks')
    assert caller.closed()[0] in (4001, 1000)  # aiohttp's answer is 1000 whatever it was told
    until(lambda: peer.closed, 'the peer to see the close')
    assert peer.closed == [(4001, 'that is all, thänks')]


def test_our_client_is_closed_with_code_and_reason(call: Any) -> None:
    caller = call()
    caller.ws.send(text='!close 4002 go awäy')
    assert caller.closed() == (4002, 'go awäy')


def test_our_client_finishes_with_1006_when_the_server_vanishes(call: Any) -> None:
    caller = call()
    caller.ws.send(text='!vanish')
    assert caller.closed()[0] == 1006


def test_our_client_answers_pings(call: Any) -> None:
    caller = call()
    caller.ws.send(text='!ping hello')
    assert caller.receive() == 'pong hello'


def test_our_client_gets_its_pings_answered(call: Any) -> None:
    caller = call()
    pongs: list[bytes] = []
    caller.ws.on('frame', lambda ws, frame: pongs.append(bytes(frame.data)) if frame.opcode == 10 else None)
    for data in (b'', b'x' * 125):
        caller.ws.send(frame=(1, 0, 0, 0, 9, data))
    caller.until(lambda: len(pongs) == 2, 'two pongs')
    assert pongs == [b'', b'x' * 125]


def test_our_client_agrees_with_a_server_that_insists_on_a_window(reactor_name: str, node_modules: str) -> None:
    """Node's ws with `clientMaxWindowBits` refuses an offer of less with 400; it takes the second one."""
    node = subprocess.Popen(
        ['node', str(WS_CLIENT.with_name('echo_server.js'))],
        env={**os.environ, 'NODE_PATH': node_modules, 'DEFLATE': '{"clientMaxWindowBits": 12}'},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert node.stdout is not None
    try:
        compression = pyjows.PerMessageDeflate(client_max_window_bits=10, threshold=0)
        caller = Caller(reactor_name, node.stdout.readline().strip(), compression=compression)
        assert caller.ws.res.headers['sec-websocket-extensions'] == 'permessage-deflate; client_max_window_bits=12'
        caller.ws.send(text=text_of(65_536))
        assert caller.receive() == text_of(65_536)
        caller.release()
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
