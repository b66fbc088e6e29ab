"""`pyjows.simple` beside simple-websocket, in the same program under the same host.

    python -m bench.simple [--host werkzeug|gunicorn|gevent|aiohttp|uvloop|client|asyncio-client] [--bare]
                           [--seconds 2] [--repeat 3]

The server is one echo program that imports simple_websocket; ``pyjows.simple.install()`` before the import is the only
difference. ``uvloop`` is aiohttp on uvloop. With ``--bare`` the same host also runs a program without a library, which
answers the same number of bytes and does nothing with frames: the host cannot be faster than that.

With ``client`` and ``asyncio-client`` the program is a client that answers what it receives.

The peer is a few lines over a raw socket, whose frames are made beforehand, so that what is measured is the program.
The libraries take turns. For each its best repetition is shown, and below them the median of the ratios of one turn:

- round trip: one connection, one message under way; microseconds from sending to the answer.
- throughput: 16 connections, eight messages under way on each; messages a second.
- burst: one connection, 1,000 messages in one write, then their answers; messages a second.
- memory: of 1,000 connections that idle, bytes for each beyond the server's own, and its threads.

Beside each rate stands what a message costs the server in CPU time, which other load on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyjows.handshake import accept_key
from pyjows.simple.hosts import find_socket

LIBRARIES = ('simple-websocket', 'pyjows.simple')
BARE = 'bare'
HOSTS = ('werkzeug', 'gunicorn', 'gevent', 'aiohttp', 'uvloop')
CLIENTS = ('client', 'asyncio-client')

PAYLOAD = b'x' * 100
KEY = b'\x37\xfa\x21\x3d'
MASKED = b'\x81' + bytes([0x80 | len(PAYLOAD)]) + KEY + bytes(byte ^ KEY[i % 4] for i, byte in enumerate(PAYLOAD))
PLAIN = b'\x81' + bytes([len(PAYLOAD)]) + PAYLOAD
REQUEST = (
    b'GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
)
ACCEPT = b's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
SWITCHING = (
    b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Accept: ' + ACCEPT + b'\r\n\r\n'
)


# The server


def serve(host: str, library: str) -> None:
    """Serve echoes; prints the port."""
    if host == 'gevent':
        from gevent import monkey

        monkey.patch_all()
    if library == 'pyjows.simple':
        from pyjows.simple import install

        install()
    import simple_websocket

    def application(environ, start_response):
        if library == BARE:
            echo_bare(environ)
            return []
        ws = simple_websocket.Server.accept(environ)
        try:
            while True:
                ws.send(ws.receive())
        except simple_websocket.ConnectionClosed:
            pass
        if host == 'gunicorn':
            raise StopIteration
        start_response('200 OK', [])
        return []

    sock = socket.create_server(('127.0.0.1', 0), backlog=1024)
    print(sock.getsockname()[1], flush=True)
    if host == 'client':
        serve_clients(sock, simple_websocket)
    elif host == 'asyncio-client':
        asyncio.run(serve_asyncio_clients(sock, simple_websocket))
    elif host == 'werkzeug':
        import logging

        from werkzeug.serving import make_server

        logging.getLogger('werkzeug').setLevel(logging.ERROR)
        make_server('127.0.0.1', 0, application, threaded=True, fd=sock.fileno()).serve_forever()
    elif host == 'gevent':
        from gevent.pywsgi import WSGIServer
        from gevent.socket import socket as green

        WSGIServer(green(fileno=sock.detach()), application, log=None).serve_forever()
    elif host == 'gunicorn':
        from gunicorn.app.base import BaseApplication

        class Application(BaseApplication):
            def load_config(self):
                self.cfg.set('bind', [f'fd://{os.dup(sock.fileno())}'])
                self.cfg.set('worker_class', 'gthread')
                self.cfg.set('threads', 1100)
                self.cfg.set('worker_connections', 4000)
                self.cfg.set('loglevel', 'error')
                if 'control_socket_disable' in self.cfg.settings:
                    self.cfg.set('control_socket_disable', True)

            def load(self):
                return application

        Application().run()
    else:
        from aiohttp import web

        async def echo(request):
            if library == BARE:
                await BareEcho(request.transport).closed
            ws = await simple_websocket.AioServer.accept(aiohttp=request)
            try:
                while True:
                    await ws.send(await ws.receive())
            except simple_websocket.ConnectionClosed:
                pass
            return web.Response()

        app = web.Application()
        app.router.add_get('/echo', echo)
        if host == 'uvloop':
            import uvloop

            uvloop.install()
        web.run_app(app, sock=sock, print=None)


def serve_clients(sock: socket.socket, library) -> None:
    """Clients that echo: one for each port that is sent to the socket."""

    def echo(control):
        ws = library.Client.connect(control.makefile().readline().strip())
        try:
            while True:
                ws.send(ws.receive())
        except library.ConnectionClosed:
            pass

    while True:
        control, _ = sock.accept()
        threading.Thread(target=echo, args=[control], daemon=True).start()


async def serve_asyncio_clients(sock: socket.socket, library) -> None:
    """The same with asyncio."""
    tasks = set()

    async def echo(reader, writer):
        tasks.add(asyncio.current_task())  # nothing else holds it, with simple-websocket
        ws = await library.AioClient.connect((await reader.readline()).decode().strip())
        try:
            while True:
                await ws.send(await ws.receive())
        except library.ConnectionClosed:
            pass
        writer.close()

    async with await asyncio.start_server(echo, sock=sock) as server:
        await server.serve_forever()


def echo_bare(environ) -> None:
    """What takes the place of a library in a blocking host."""
    sock, _ = find_socket(environ)
    sock.sendall(SWITCHING)
    came = 0
    while data := sock.recv(65536):
        answers, came = divmod(came + len(data), len(MASKED))
        sock.sendall(PLAIN * answers)
    sock.shutdown(socket.SHUT_RDWR)


class BareEcho(asyncio.BufferedProtocol):
    """What takes the place of a library in aiohttp; `closed` is a future."""

    buffer = memoryview(bytearray(65536))

    def __init__(self, transport) -> None:
        self.came = 0
        self.transport = transport
        self.host = transport.get_protocol()
        self.closed = asyncio.get_running_loop().create_future()
        transport.set_protocol(self)
        transport.write(SWITCHING)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, n):
        answers, self.came = divmod(self.came + n, len(MASKED))
        self.transport.write(PLAIN * answers)

    def connection_lost(self, exc):
        self.host.connection_lost(exc)
        self.closed.cancel()


class Server:
    """The server in a process of its own."""

    def __init__(self, host: str, library: str) -> None:
        self.connects = host in CLIENTS
        self.frame, self.answer = (PLAIN, len(MASKED)) if self.connects else (MASKED, len(PLAIN))
        command = [sys.executable, '-m', 'bench.simple', '--serve', host, library]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *why) -> None:
        self.process.terminate()
        self.process.wait()

    def connect(self) -> socket.socket:
        deadline = time.monotonic() + 20
        while True:
            try:
                sock = socket.create_connection(('127.0.0.1', self.port), timeout=10)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        if self.connects:
            return _accept(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(REQUEST)
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += sock.recv(1)
        return sock

    def status(self) -> tuple[int, int]:
        """Resident bytes and threads of the server and its children."""
        pids = {self.process.pid}
        for status in Path('/proc').glob('[0-9]*/status'):
            fields = _status(status)
            if fields.get('PPid') == str(self.process.pid):
                pids.add(int(fields['Pid']))
        every = [_status(Path(f'/proc/{pid}/status')) for pid in pids]
        return sum(int(one['VmRSS'].split()[0]) * 1024 for one in every), sum(int(one['Threads']) for one in every)

    def cpu(self) -> float:
        """Seconds of CPU time of the server and its children."""
        ticks = 0
        for path in Path('/proc').glob('[0-9]*/stat'):
            try:
                pid, _, rest = path.read_text().partition(' (')
            except OSError:
                continue
            fields = rest.rpartition(')')[2].split()
            if str(self.process.pid) in (pid, fields[1]):
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')


def _status(path: Path) -> dict[str, str]:
    try:
        return {name: value.strip() for name, _, value in (line.partition(':') for line in path.open())}
    except OSError:
        return {}


# The peer


def _accept(control: socket.socket) -> socket.socket:
    """The connection of a client, which is told where to connect to."""
    with control, socket.create_server(('127.0.0.1', 0)) as listener:
        listener.settimeout(10)
        control.sendall(b'ws://127.0.0.1:%d/echo\n' % listener.getsockname()[1])
        sock, _ = listener.accept()
    sock.settimeout(10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += sock.recv(1)
    key = re.search(rb'(?i)sec-websocket-key: *(\S+)', head)
    assert key is not None
    sock.sendall(SWITCHING.replace(ACCEPT, accept_key(key[1].decode()).encode()))
    time.sleep(0.01)  # simple-websocket drops a message that comes with the answer
    return sock


def round_trip(server: Server, seconds: float) -> tuple[float, int]:
    """Seconds that it took, and messages."""
    sock = server.connect()
    turns = 0
    begun = time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds:
        for _ in range(100):
            sock.sendall(server.frame)
            _receive(sock, server.answer)
        turns += 100
    sock.close()
    return now - begun, turns


def throughput(server: Server, seconds: float) -> tuple[float, int]:
    """Seconds that it took, and messages."""
    with selectors.DefaultSelector() as selector:
        socks = [server.connect() for _ in range(16)]
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(server.frame * 8)
        turns = 0
        came = dict.fromkeys(socks, 0)
        begun = time.perf_counter()
        while (now := time.perf_counter()) - begun < seconds:
            ready = selector.select(10)
            if not ready:
                raise TimeoutError('no answers')
            for key, _ in ready:
                sock = key.fileobj
                answers, came[sock] = divmod(came[sock] + len(sock.recv(65536)), server.answer)
                sock.sendall(server.frame * answers)
                turns += answers
        for sock in socks:
            sock.close()
    return now - begun, turns


def burst(server: Server, seconds: float) -> tuple[float, int]:
    """Seconds that it took, and messages."""
    sock = server.connect()
    many = server.frame * 1000
    turns = 0
    begun = time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds:
        sock.sendall(many)
        _receive(sock, server.answer * 1000)
        turns += 1000
    sock.close()
    return now - begun, turns


def measured(server: Server, scenario: Callable[[Server, float], tuple[float, int]], seconds: float) -> list[float]:
    """Messages a second, and messages for each second of the server's CPU; 0 where the server does not go on."""
    before = server.cpu()
    try:
        took, turns = scenario(server, seconds)
    except TimeoutError:
        return [0.0, 0.0]
    return [turns / took, turns / max(server.cpu() - before, 0.01)]


def memory(server: Server) -> tuple[float, int]:
    """Bytes for each of 1,000 idle connections, and how many threads there are for them."""
    warm = server.connect()
    warm.sendall(server.frame)
    _receive(warm, server.answer)
    before, threads = server.status()
    socks = [server.connect() for _ in range(1000)]
    for sock in socks:
        sock.sendall(server.frame)
        _receive(sock, server.answer)
    time.sleep(1)
    after, more = server.status()
    for sock in socks:
        sock.close()
    return (after - before) / 1000, more - threads


def _receive(sock: socket.socket, n: int) -> None:
    while n:
        data = sock.recv(n)
        assert data, 'EOF'
        n -= len(data)


SCENARIOS = (round_trip, throughput, burst)


def main() -> None:
    """Measure, and print a table for each host."""
    parser = argparse.ArgumentParser(prog='python -m bench.simple')
    parser.add_argument('--serve', nargs=2, help=argparse.SUPPRESS)
    parser.add_argument('--host', choices=HOSTS + CLIENTS, action='append')
    parser.add_argument('--bare', action='store_true', help='also a program without a library')
    parser.add_argument('--seconds', type=float, default=2.0)
    parser.add_argument('--repeat', type=int, default=3)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    if options.serve:
        serve(*options.serve)
        return
    for host in options.host or HOSTS + CLIENTS:
        compare(
            host, [*LIBRARIES, BARE] if options.bare and host in HOSTS else LIBRARIES, options.seconds, options.repeat
        )


def compare(host: str, libraries: Sequence[str], seconds: float, repeat: int) -> None:
    """The libraries under one host, as a table."""
    found: dict[str, list[list[float]]] = {library: [] for library in libraries}
    for _ in range(repeat):
        for library in libraries:
            with Server(host, library) as server:
                found[library].append([one for scenario in SCENARIOS for one in measured(server, scenario, seconds)])
    best = {library: [max(column) for column in zip(*rows, strict=True)] for library, rows in found.items()}
    print(f'\n{host:17}{"round trip":>22}{"throughput":>24}{"burst":>24}{"memory":>14}{"threads":>9}')
    costs = {}
    for library in libraries:
        with Server(host, library) as server:
            costs[library], threads = memory(server)
        a, cpu_a, b, cpu_b, c, cpu_c = [one or float('nan') for one in best[library]]
        print(
            f'{library:17}{1e6 / a:9.1f} µs {1e6 / cpu_a:6.1f} µs{b:13,.0f} /s {1e6 / cpu_b:6.1f} µs'
            f'{c:13,.0f} /s {1e6 / cpu_c:6.1f} µs{costs[library] / 1024:10.1f} KiB{threads:9}'
        )
    pairs = zip(*(found[library] for library in LIBRARIES), strict=True)
    ratios_of_each = [[b / a if a else float('nan') for a, b in zip(*pair, strict=True)] for pair in pairs]
    ratios = [statistics.median(column) for column in zip(*ratios_of_each, strict=True)]
    a, cpu_a, b, cpu_b, c, cpu_c = ratios
    print(
        f'{"times as good":17}{a:9.1f} × {cpu_a:8.1f} ×{b:14.1f} × {cpu_b:8.1f} ×{c:14.1f} × {cpu_c:8.1f} ×'
        f'{costs[LIBRARIES[0]] / costs[LIBRARIES[1]]:12.1f} ×',
        flush=True,
    )


if __name__ == '__main__':
    main()
