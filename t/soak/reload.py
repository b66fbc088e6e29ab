"""A graceful restart under load: thousands of clients exchange numbered messages, while HUP replaces all workers.

Each client says so many numbers, and hears as many. When its connection is closed with 1001 it connects again at once,
and both sides go on where they were. What must hold: no connection is refused or lost, and each number that `send`
accepted, on either side, has come to the other side once and in order.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyjows

__all__ = ['add_arguments', 'run']

LIMIT = 300.0  # seconds, beyond those of the messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument('--connections', type=int, default=10000, help='clients (10000)')
    parser.add_argument('--messages', type=int, default=100, help='numbers that each says and hears (100)')
    parser.add_argument('--seconds', type=float, default=60, help='over which they are sent (60)')
    parser.add_argument('--workers', type=int, default=2, help='processes of the server (2)')
    parser.add_argument(
        '--graceful', type=float, default=5, help='seconds over which a worker closes its connections (5)'
    )


class Server:
    """The manager and its workers; what they print comes in by threads."""

    def __init__(self, options: argparse.Namespace) -> None:
        pace = options.seconds / options.messages
        arguments = ['ws://127.0.0.1:0', options.workers, options.messages, pace, options.graceful]
        self.process = subprocess.Popen(
            [sys.executable, '-P', str(Path(__file__).with_name('counted.py')), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=os.sep,  # not the checkout: it would hide the installed, compiled package
        )
        self.lines: list[str] = []
        self.log: list[str] = []
        self._readers = [
            threading.Thread(target=lines.extend, args=(stream,), daemon=True)
            for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.log))
        ]
        for reader in self._readers:
            reader.start()

    def logged(self, text: str) -> int:
        """How many lines of the log have a text in them."""
        return sum(text in line for line in list(self.log))

    def end(self) -> int:
        """Stop it; returns the exit status, when all that it printed is here."""
        self.process.terminate()
        status = self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join(LIMIT)
        return status


class Client:
    """Says and hears the numbers, over as many connections as it takes."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.sent = self.received = self.connections = 0
        self.ws: pyjows.WebSocket | None = None  # while it is open
        self.connect()

    def connect(self) -> None:
        self.connections += 1  # one may be closed before anything was said: the next would have its target
        target = f'/{self.number}/{self.connections}/{self.sent}/{self.received}'
        first_sent, first_received = self.sent, self.received
        ws = pyjows.connect(self.crowd.url + target, ioloop=self.crowd.ioloop, simultaneous=True, timeout=LIMIT)

        @ws.on
        def open(ws: pyjows.WebSocket) -> None:
            self.ws = ws
            self.crowd.opened += 1

        @ws.on
        def text(ws: pyjows.WebSocket, message: str) -> None:
            if int(message) != self.received:
                self.crowd.wrong.append(f'{target}: {message} after {self.received - 1}')
            self.received += 1
            self.finish_if_done()

        @ws.on
        def error(ws: pyjows.WebSocket, exc: Exception) -> None:
            self.crowd.refused.append(f'{target}: {exc!r}')

        @ws.on
        def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
            self.ws = None
            self.crowd.codes[code] += 1
            self.crowd.counts[target] = (self.sent - first_sent, self.received - first_received)
            if self.is_done or self.crowd.refused:
                self.crowd.done += 1
            else:
                self.connect()

    @property
    def is_done(self) -> bool:
        return self.sent == self.received == self.crowd.messages

    def say(self) -> None:
        """One number more."""
        if self.ws is None or self.sent == self.crowd.messages:
            return
        try:
            self.ws.send(text=str(self.sent))
        except pyjows.ConnectionClosed:
            return  # it was not accepted; the next connection sends it
        self.sent += 1
        self.finish_if_done()

    def finish_if_done(self) -> None:
        if self.is_done and self.ws is not None and self.crowd.is_replaced:
            self.ws.finish(1000)


class Crowd:
    """All clients, on one loop, and what they noticed."""

    def __init__(self, url: str, messages: int) -> None:
        self.ioloop = pyjows.IOLoop()
        self.url = url
        self.messages = messages
        self.opened = self.done = 0
        self.is_replaced = (
            False  # until then nobody leaves: the workers that stop have connections, however slow they are
        )
        self.counts: dict[str, tuple[int, int]] = {}  # said and heard, by the target of the connection
        self.codes: Counter[int] = Counter()
        self.refused: list[str] = []
        self.wrong: list[str] = []
        self.clients: list[Client] = []

    def say(self, ioloop: pyjows.IOLoop) -> None:
        for client in self.clients:
            client.say()


def run(options: argparse.Namespace) -> int:
    """Run it; returns the exit status."""
    server = Server(options)
    deadline = time.monotonic() + options.seconds + LIMIT
    try:
        while server.logged('is ready') < options.workers:
            assert server.process.poll() is None and time.monotonic() < deadline, server.log
            time.sleep(0.01)
        crowd = Crowd(server.lines[0].split()[1], options.messages)
        crowd.clients = [Client(crowd, number) for number in range(options.connections)]
        status = _talk(server, crowd, options, deadline)
    finally:
        server.process.kill()
        server.process.wait()
    return _judge(server, crowd, options, status)


def _talk(server: Server, crowd: Crowd, options: argparse.Namespace, deadline: float) -> int:
    """Say all numbers, and restart in between; returns the exit status of the server."""
    loop = crowd.ioloop

    def wait_until(done: Callable[[], object]) -> None:
        """Turn the loop until a function is true, or nothing can become of it."""
        while not done() and time.monotonic() < deadline and server.process.poll() is None:
            loop.one_tick()

    loop.recurring(lambda loop: None, 0.05)  # so that a turn does not last longer
    began = time.monotonic()
    wait_until(lambda: crowd.opened >= options.connections or crowd.refused)
    print(f'{crowd.opened} connections opened in {time.monotonic() - began:.1f} s', flush=True)
    began = time.monotonic()
    loop.recurring(crowd.say, options.seconds / options.messages)
    wait_until(lambda: time.monotonic() - began > options.seconds / 5)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: server.logged('has stopped with status 0') >= options.workers)
    crowd.is_replaced = True
    for client in crowd.clients:
        client.finish_if_done()
    print(f'all workers replaced {time.monotonic() - began:.1f} s after the first message', flush=True)
    wait_until(lambda: crowd.done >= options.connections)
    print(f'all messages exchanged after {time.monotonic() - began:.1f} s', flush=True)
    return server.end()


def _judge(server: Server, crowd: Crowd, options: argparse.Namespace, status: int) -> int:
    """Print what was seen; returns 1 if something that must hold did not."""
    ends = [line.split()[1:] for line in server.lines if line.startswith('end ')]
    counted = {target: (int(received), int(sent)) for target, received, sent, _, _ in ends}
    different = [target for target in crowd.counts.keys() | counted if crowd.counts.get(target) != counted.get(target)]
    replaced = server.logged('has stopped with status 0') - options.workers
    said, heard = (sum(column) for column in zip(*crowd.counts.values(), strict=True))
    wanted = options.connections * options.messages
    print(f'{len(crowd.counts)} connections of {options.connections} clients, {said} messages said, {heard} heard')
    print('close codes of the clients:', dict(crowd.codes))
    holds = {
        f'{replaced} workers were replaced': replaced == options.workers,
        f'{crowd.codes[1001]} connections were closed by a worker that was replaced': crowd.codes[1001] > 0,
        'no connection was refused': not crowd.refused,
        'no connection was lost': set(crowd.codes) <= {1000, 1001},
        'each message came in order': not crowd.wrong and all(in_order == 'True' for *_, in_order, _ in ends),
        'what one side has sent, the other has received': not different and len(ends) == len(counted),
        'all messages were exchanged': said == heard == wanted,
        'the server stopped with status 0': status == 0,
    }
    for what, held in holds.items():
        print('ok    ' if held else 'FAILED', what)
    for what in (crowd.refused, crowd.wrong, different):
        for one in what[:3]:
            print('      ', one)
    if status:
        print(''.join(server.log[-20:]))
    return int(not all(holds.values()))
