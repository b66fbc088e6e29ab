"""Handlers that raise, close, subscribe and leave at random, and threads that send, for as long as you like.

Server and clients are two processes whose handlers do the same mischief. What must hold: no crash, ``finish`` exactly
once for each connection on both sides, no memory that grows after the first fifth, and no descriptor left.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyjows
from pyjows.reactor import available

__all__ = ['add_arguments', 'run']

CONCURRENT = 100
THREADS = 4
GROWTH = 8 << 20  # bytes
PATIENCE = 30  # seconds that the server has for the ends of its last connections


class Mischief(Exception):
    """What the handlers raise."""


class Side:
    """What both processes do to their connections, and count."""

    def __init__(self, ioloop: pyjows.IOLoop, rng: random.Random) -> None:
        self.ioloop = ioloop
        self.rng = rng
        self.seen = 0
        self.ended = 0
        self.wrong: Counter[str] = Counter()
        self.live: dict[int, pyjows.WebSocket] = {}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.meddle, args=(rng.random(),), daemon=True) for _ in range(THREADS)]

    def watch(self, ws: pyjows.WebSocket) -> None:
        """Count the ends of a connection, and subscribe the mischief."""
        self.seen += 1
        number = self.seen
        self.live[number] = ws
        ends = 0

        @ws.on
        def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
            nonlocal ends
            ends += 1
            self.ended += ends == 1
            self.live.pop(number, None)
            if ends > 1:
                self.wrong['finish came twice'] += 1
            if self.rng.random() < 0.1:
                raise Mischief('finish')

        ws.on('text', self.text)
        if self.rng.random() < 0.2:
            ws.on('json', lambda ws, value: None)
        if self.rng.random() < 0.2:
            ws.on('drain', self.drain)
        if self.rng.random() < 0.5:
            ws.on('error', lambda ws, exc: None)

    def text(self, ws: pyjows.WebSocket, message: str) -> None:
        """Do anything at all."""
        match self.rng.randrange(14):
            case 0:
                raise Mischief('text')
            case 1:
                ws.finish(1000, 'enough')
            case 2:
                ws.finish(4000)
                ws.send(text='too late')
            case 3:
                ws.unsubscribe('text', self.text)
            case 4:
                ws.on('text', self.text)
            case 5:
                ws.terminate()
            case 6:
                ws.pause_reading()
                self.ioloop.timer(lambda ioloop: ws.resume_reading(), 0.02)
            case 7:
                ws.send(binary=bytes(100_000))
            case 8:
                ws.send(text='flushed').flush()
            case 9:
                ws.ping(b'are you there')
            case 10:
                pyjows.broadcast(self.rng.sample(list(self.live.values()), min(5, len(self.live))), text='hear, hear')
            case 11:
                ws.send(lambda ws: ws.finish())
            case _:
                ws.send(text=message)

    def drain(self, ws: pyjows.WebSocket) -> None:
        """Fail now and then."""
        if self.rng.random() < 0.1:
            raise Mischief('drain')

    def meddle(self, seed: float) -> None:
        """A thread that sends to whatever connection it finds."""
        rng = random.Random(seed)
        while not self.stopping.wait(0.002):
            some = list(self.live.copy().values())[:50]
            if not some:
                continue
            ws = rng.choice(some)
            try:
                match rng.randrange(10):
                    case 0:
                        ws.finish(1001)
                    case 1:
                        pyjows.broadcast(some, text='from a thread, to many')
                    case _:
                        ws.send(text='from a thread')
            except pyjows.ConnectionClosed:
                pass
            except Exception as exc:
                self.wrong[f'a thread: {exc!r}'] += 1


class Serving(Side):
    """The server's process."""

    def __init__(self, ioloop: pyjows.IOLoop) -> None:
        super().__init__(ioloop, random.Random(1))
        self.server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, compression=True)
        self.server.on('websocket', self.websocket)
        self.server.on('request', self.request)
        self.server.on('error', lambda server, exc: None)

    def websocket(self, server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        """Let it in, mostly."""
        self.watch(ws)
        chance = self.rng.random()
        if chance < 0.03:
            raise Mischief('websocket')
        if chance < 0.06:
            ws.reject(401)

    def request(self, server: pyjows.Server, req: pyjows.Request) -> pyjows.Response:
        """The figures as JSON, memory included."""
        gc.collect()
        pages = int(Path('/proc/self/statm').read_text('ascii').split()[1])
        return pyjows.Response.json(
            {
                'seen': self.seen,
                'ended': self.ended,
                'wrong': self.wrong,
                'live': len(self.live),
                'connections': len(server.connections),
                'resident': pages * os.sysconf('SC_PAGESIZE'),
                'descriptors': len(os.listdir('/proc/self/fd')),
            }
        )


class Calling(Side):
    """The clients' process: so many connections at a time, until there were enough."""

    def __init__(self, ioloop: pyjows.IOLoop, url: str, until: int, seconds: float) -> None:
        super().__init__(ioloop, random.Random(2))
        self.url = url
        self.until = until
        self.deadline = time.monotonic() + seconds
        for _ in range(CONCURRENT):
            self.call()

    def call(self) -> None:
        """One more connection, and another when it has ended."""
        ws = pyjows.connect(self.url, ioloop=self.ioloop, simultaneous=True, compression=self.rng.random() < 0.5)
        self.watch(ws)
        ws.on('open', self.opened)
        ws.on('finish', self.gone)

    def opened(self, ws: pyjows.WebSocket) -> None:
        """Say something, or fall silent and leave."""
        for n in range(self.rng.randrange(1, 5)):
            ws.send(text=f'message {n}')
        self.ioloop.timer(lambda ioloop: ws.finish(), self.rng.random() / 5)
        if self.rng.random() < 0.05:
            raise Mischief('open')

    def gone(self, ws: pyjows.WebSocket, code: int, reason: str) -> None:
        """Go on, until there were enough and the time is over."""
        if self.ended < self.until or time.monotonic() < self.deadline:
            self.ioloop.timer(lambda ioloop: self.call(), 0.001)
        elif not self.live:
            self.ioloop.stop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument('--seconds', type=float, default=600, help='at least (600)')
    parser.add_argument('--connections', type=int, default=100_000, help='at least (100000)')
    parser.add_argument('--reactor', default=available()[0], help='of both sides (the best there is)')


def run(options: argparse.Namespace) -> int:
    """Run it; returns the exit status."""
    logging.getLogger('pyjows').setLevel(logging.CRITICAL + 1)
    with subprocess.Popen(
        [sys.executable, '-P', __file__, options.reactor], stdout=subprocess.PIPE, text=True, cwd=os.sep
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            return _call(options, port)
        finally:
            process.kill()


def _call(options: argparse.Namespace, port: int) -> int:
    """Make the connections; returns 1 if something that must hold did not."""
    ioloop = pyjows.IOLoop(options.reactor)
    side = Calling(ioloop, f'ws://127.0.0.1:{port}/', options.connections, options.seconds)
    early: dict[str, Any] = {}
    looking = threading.Thread(target=lambda: early.update(_figures(port)))

    @ioloop.recurring(0.1)
    def look(ioloop: pyjows.IOLoop) -> None:
        if looking.ident is None and side.ended * 5 > options.connections:
            looking.start()

    for thread in side.threads:
        thread.start()
    ioloop.start()
    side.stopping.set()
    ioloop.close()
    if looking.ident is None:  # the run was shorter than the look
        looking.start()
    looking.join()
    late = _figures(port)
    deadline = time.monotonic() + PATIENCE
    while (late['connections'] or late['live']) and time.monotonic() < deadline:
        time.sleep(0.2)
        late = _figures(port)
    print('clients', side.seen, 'ended', side.ended, dict(side.wrong))
    print('early  ', json.dumps(early))
    print('late   ', json.dumps(late))
    growth = late['resident'] - early['resident']
    holds = {
        f'{side.seen} connections of the client, finish once for each': side.seen == side.ended and not side.wrong,
        f'{late["seen"]} connections of the server, finish once for each': (
            late['seen'] == late['ended'] and not late['wrong']
        ),
        'no connection is left': late['connections'] == late['live'] == 0,
        f'memory grew by {growth / 2**20:.1f} MiB since the first fifth, at most {GROWTH >> 20}': growth < GROWTH,
        'no descriptor is left': late['descriptors'] <= early['descriptors'],
    }
    for what, held in holds.items():
        print('ok    ' if held else 'FAILED', what)
    return int(not all(holds.values()))


def _figures(port: int) -> dict[str, Any]:
    from urllib.request import urlopen

    with urlopen(f'http://127.0.0.1:{port}/', timeout=60) as answer:
        figures: dict[str, Any] = json.load(answer)
        return figures


def _serve(reactor: str) -> None:
    logging.getLogger('pyjows').setLevel(logging.CRITICAL + 1)
    side = Serving(pyjows.IOLoop(reactor))
    for thread in side.threads:
        thread.start()
    print(side.server.ports[0], flush=True)
    pyjows.run(side.ioloop)


if __name__ == '__main__':
    _serve(sys.argv[1])
