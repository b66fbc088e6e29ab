"""`pyjows.simple` beside simple-websocket, in the same program under the same host.

    python -m bench.simple [--host werkzeug|gunicorn|gevent|aiohttp|uvloop|client|asyncio-client] [--bare]
                           [--seconds 0.12] [--pairs 15] [--no-memory] [--two-cores]

The server is one echo program that imports simple_websocket; ``pyjows.simple.install()`` before the import is the only
difference. ``uvloop`` is aiohttp on uvloop. With ``--bare`` the same host also runs a program without a library, which
answers the same number of bytes and does nothing with frames: the host cannot be faster than that.

With ``client`` and ``asyncio-client`` the program is a client that answers what it receives.

The peer is a few lines over a raw socket, whose frames are made beforehand and which is the same for both libraries.

- round trip: one connection, one message under way; microseconds from sending to the answer.
- throughput: 16 connections, eight messages under way on each; messages a second.
- burst: one connection, 1,000 messages in one write, then their answers; messages a second.
- memory: of 1,000 connections that idle, bytes for each beyond the server's own, and its threads.

How it is measured. The programs of both libraries run all the time, with their connections open. They take turns of a
tenth of a second, and each pair of turns gives a ratio: what else the machine does, its clock and where the kernel
places the processes change more slowly than that. The order alternates. The table has the median of the turns, and
below them the median of the pairs' ratios and its quartiles.

For round trips and bursts the program and the peer share one core: one mostly waits for the other anyway. On two cores
each message wakes a core that idles, which costs 20 to 60 microseconds in a virtual machine, by chance and with any
library, some of it as CPU time of the process that sends. In a burst the peer does not preempt the program
(SCHED_BATCH), or each answer would switch to the peer and back. ``--two-cores`` leaves both to the kernel.

Beside each rate stands the server's CPU time for a message, and the peer's. Only the first is the library's and the
host's, so the ratio of the rates of round trips is lower than that of the CPU times.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import resource
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pyjows.handshake import accept_key
from pyjows.simple.hosts import find_socket

LIBRARIES = ('simple-websocket', 'pyjows.simple')
BARE = 'bare'
HOSTS = ('werkzeug', 'gunicorn', 'gevent', 'aiohttp', 'uvloop')
CLIENTS = ('client', 'asyncio-client')

# Messages under way on each of many connections.
UNDER_WAY = 8

# Seconds after which a server that does not answer is said to stall.
PATIENCE = 5

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
        else:
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
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
            return _ready(_accept(sock))
        sock.sendall(REQUEST)
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += sock.recv(1)
        return _ready(sock)

    @property
    def pids(self) -> list[int]:
        """The server and its children."""
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
        return [self.process.pid, *map(int, children)]

    def pin(self, cores: set[int]) -> None:
        """Run all its threads on these cores, also those that they start."""
        for task in [task for pid in self.pids for task in Path(f'/proc/{pid}/task').iterdir()]:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(task.name), cores)

    def status(self) -> tuple[int, int]:
        """Resident bytes and threads of the server and its children."""
        every = [_status(Path(f'/proc/{pid}/status')) for pid in self.pids]
        return sum(int(one['VmRSS'].split()[0]) * 1024 for one in every), sum(int(one['Threads']) for one in every)

    def cpu(self) -> float:
        """Seconds of CPU time of the server and its children, ended threads included."""
        return sum(_cpu_of(pid) for pid in self.pids)


def _cpu_of(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)  # CLOCK_PROCESS_CPUTIME_ID of another process: clock_getcpuclockid(3)


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
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += sock.recv(1)
    key = re.search(rb'(?i)sec-websocket-key: *(\S+)', head)
    assert key is not None
    sock.sendall(SWITCHING.replace(ACCEPT, accept_key(key[1].decode()).encode()))
    time.sleep(0.01)  # simple-websocket drops a message that comes with the answer
    return sock


def _ready(sock: socket.socket) -> socket.socket:
    """The connection, with a timeout for which Python does not call poll(2) before each read."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', PATIENCE, 0))
    return sock


def one_at_a_time(socks: Sequence[socket.socket], frames: bytes, answers: int, seconds: float) -> tuple[float, int]:
    """Write frames to one connection and read their answers, over and over; seconds that it took, and how often."""
    [sock] = socks
    turns = 0
    begun = time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds:
        sock.sendall(frames)
        _receive(sock, answers)
        turns += 1
    return now - begun, turns


def all_at_once(socks: Sequence[socket.socket], frames: bytes, answers: int, seconds: float) -> tuple[float, int]:
    """The same on many connections; each gets more frames as soon as some are answered."""
    size, answer = len(frames) // UNDER_WAY, answers // UNDER_WAY
    answered = 0
    with selectors.DefaultSelector() as selector:
        begun = time.perf_counter()
        left = dict.fromkeys(socks, answers)  # bytes of answers under way
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(frames)
        more = True
        while left:
            more = more and time.perf_counter() - begun < seconds
            ready = selector.select(PATIENCE)
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                sock = key.fileobj
                n = len(sock.recv(65536))
                complete = -(-left[sock] // answer) - -(-(left[sock] - n) // answer)
                answered += complete
                left[sock] -= n
                if more:
                    sock.sendall(frames[: complete * size])
                    left[sock] += complete * answer
                elif not left[sock]:
                    del left[sock]
    return time.perf_counter() - begun, answered / UNDER_WAY


def _receive(sock: socket.socket, n: int) -> None:
    while n:
        try:
            data = sock.recv(n)
        except BlockingIOError:
            raise TimeoutError from None
        assert data, 'EOF'
        n -= len(data)


class Scenario(NamedTuple):
    name: str
    connections: int
    messages: int  # under way on each
    run: Callable[[Sequence[socket.socket], bytes, int, float], tuple[float, float]]
    one_core: bool
    policy: int = os.SCHED_OTHER  # of the peer


SCENARIOS = (
    Scenario('round trip', 1, 1, one_at_a_time, True),
    Scenario('throughput', 16, UNDER_WAY, all_at_once, False),
    Scenario('burst', 1, 1000, one_at_a_time, True, os.SCHED_BATCH),
)


class Figures(NamedTuple):
    """Of one turn: a message's microseconds by the clock, and of the CPU time of server and peer."""

    wall: float
    server: float
    peer: float


@contextlib.contextmanager
def on_one_core(servers: Sequence[Server], policy: int) -> Iterator[None]:
    """Run the servers and this process on one core, this process with that scheduling policy."""
    cores = os.sched_getaffinity(0)
    try:
        _place(servers, {max(cores)}, policy)
        yield
    finally:
        _place(servers, cores, os.SCHED_OTHER)


def _place(servers: Sequence[Server], cores: set[int], policy: int) -> None:
    os.sched_setscheduler(0, policy, os.sched_param(0))
    os.sched_setaffinity(0, cores)
    for server in servers:
        server.pin(cores)


def measured(servers: Sequence[Server], scenario: Scenario, seconds: float, pairs: int) -> list[list[Figures] | None]:
    """The turns of each server; None for one that does not go on."""
    turns: list[list[Figures] | None] = [[] for _ in servers]
    socks = [[server.connect() for _ in range(scenario.connections)] for server in servers]
    order = list(range(len(servers)))
    for number in range(pairs + 1):
        for i in order if number % 2 else reversed(order):
            if turns[i] is None:
                continue
            try:
                figures = _turn(servers[i], socks[i], scenario, seconds)
            except TimeoutError:
                turns[i] = None
                continue
            if number:  # the first warms up
                turns[i].append(figures)
    for sock in itertools.chain.from_iterable(socks):
        sock.close()
    return turns


def _turn(server: Server, socks: Sequence[socket.socket], scenario: Scenario, seconds: float) -> Figures:
    server_cpu, peer_cpu = server.cpu(), time.process_time()
    frames, answers = server.frame * scenario.messages, server.answer * scenario.messages
    took, turns = scenario.run(socks, frames, answers, seconds)
    spent = took, server.cpu() - server_cpu, time.process_time() - peer_cpu
    return Figures(*(one * 1e6 / (turns * scenario.messages) for one in spent))


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


def main() -> None:
    """Measure, and print a table for each host."""
    parser = argparse.ArgumentParser(prog='python -m bench.simple')
    parser.add_argument('--serve', nargs=2, help=argparse.SUPPRESS)
    parser.add_argument('--host', choices=HOSTS + CLIENTS, action='append')
    parser.add_argument('--bare', action='store_true', help='also a program without a library')
    parser.add_argument('--seconds', type=float, default=0.12, help='of a turn')
    parser.add_argument('--pairs', type=int, default=15, help='turns of each library')
    parser.add_argument('--no-memory', action='store_true', help='leave out the 1,000 connections')
    parser.add_argument('--two-cores', action='store_true', help='round trips and bursts where the kernel places them')
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    if options.serve:
        serve(*options.serve)
        return
    from bench.measure import unwind_on_signals  # not in a server, whose memory is measured

    unwind_on_signals()
    for host in options.host or HOSTS + CLIENTS:
        libraries = [*LIBRARIES, BARE] if options.bare and host in HOSTS else LIBRARIES
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(Server(host, library)) for library in libraries]
            compare(host, libraries, servers, options)
        if not options.no_memory:
            compare_memory(host, libraries)


def compare(host: str, libraries: Sequence[str], servers: Sequence[Server], options: argparse.Namespace) -> None:
    """The libraries under one host, as a table."""
    print(f'\n{host:17}{"":11}{"by the clock":>16}{"server CPU":>16}{"peer CPU":>12}')
    for scenario in SCENARIOS:
        alone = scenario.one_core and not options.two_cores
        with on_one_core(servers, scenario.policy) if alone else contextlib.nullcontext():
            turns = measured(servers, scenario, options.seconds, options.pairs)
        for library, own in zip(libraries, turns, strict=True):
            if own is None:
                print(f'{library:17}{scenario.name:11}{"stalls":>16}')
                continue
            wall, server, peer = (statistics.median(column) for column in zip(*own, strict=True))
            clock = f'{wall:.1f} µs' if scenario.messages == 1 else f'{1e6 / wall:,.0f} /s'
            print(f'{library:17}{scenario.name:11}{clock:>16}{server:13.2f} µs{peer:9.2f} µs')
        theirs, ours = turns[:2]
        if theirs and ours:
            found = [_quartiles([a[i] / b[i] for a, b in zip(theirs, ours, strict=True)]) for i in range(2)]
            print(f'{"times as good":17}{scenario.name:11}{found[0]:>16}{found[1]:>16}', flush=True)


def _quartiles(ratios: list[float]) -> str:
    low, median, high = statistics.quantiles(ratios, n=4)
    return f'{median:.1f} ({low:.1f}-{high:.1f})'


def compare_memory(host: str, libraries: Sequence[str]) -> None:
    for library in libraries:
        with Server(host, library) as server:
            cost, threads = memory(server)
        print(f'{library:17}{"memory":11}{cost / 1024:10.1f} KiB{threads:6} threads', flush=True)


if __name__ == '__main__':
    main()
