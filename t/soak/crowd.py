"""A thousand clients that behave: each says a numbered message once a second, and counts what the others say.

Commands come on standard input, a line each: ``phase NAME`` begins a new measurement, ``end`` prints all as JSON.
A phase has the latencies of the clients' own messages (said until heard, in seconds) and what was lost or doubled.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from time import monotonic
from typing import Any

import pyjows

ROOM = 10  # members


class Crowd:
    """The clients, and what they noticed."""

    def __init__(self, ioloop: pyjows.IOLoop, url: str, size: int) -> None:
        self.ioloop = ioloop
        self.latencies: list[float] = []
        self.phases: dict[str, dict[str, Any]] = {}
        self.name = ''
        self.wrong = 0
        self.ended: list[str] = []
        self.open = 0
        self.size = size
        for number in range(size):
            self.add(number, f'{url}/room/{number // ROOM}')

    def add(self, number: int, url: str) -> None:
        """One more client."""
        ws = pyjows.connect(url, ioloop=self.ioloop, simultaneous=True, timeout=60)
        heard: dict[str, int] = {}
        said = 0

        @ws.on('open')
        def opened(ws: pyjows.WebSocket) -> None:
            self.open += 1
            self.ioloop.timer(speak, random.random())
            if self.open == self.size:
                print('open', flush=True)

        def speak(ioloop: pyjows.IOLoop) -> None:
            nonlocal said
            if ws.is_finished:
                return
            said += 1
            ws.send(text=f'{number} {said} {monotonic()}')
            ioloop.timer(speak, 1.0)

        @ws.on('text')
        def text(ws: pyjows.WebSocket, message: str) -> None:
            who, count, when = message.split()
            n = int(count)
            if heard.setdefault(who, n - 1) != n - 1:
                self.wrong += 1
            heard[who] = n
            if int(who) == number:
                self.latencies.append(monotonic() - float(when))

        @ws.on('finish')
        def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
            self.ended.append(f'{code} {reason}')

        @ws.on('error')
        def error(ws: pyjows.WebSocket, exc: Exception) -> None:
            self.ended.append(repr(exc))

    def phase(self, name: str) -> None:
        """Write down the current phase, and begin another."""
        if self.name:
            latencies = sorted(self.latencies) or [float('nan')]
            self.phases[self.name] = {
                'messages': len(self.latencies),
                'p50': latencies[len(latencies) // 2],
                'p99': latencies[len(latencies) * 99 // 100],
                'max': latencies[-1],
                'lost or doubled': self.wrong,
                'ended': self.ended[:5],
            }
        self.name, self.latencies, self.wrong, self.ended = name, [], 0, []

    def command(self, line: str) -> None:
        """Do what a line asks for."""
        word, _, rest = line.strip().partition(' ')
        self.phase(rest if word == 'phase' else '')
        if word == 'end':
            print(json.dumps(self.phases), flush=True)
            self.ioloop.stop()


def main() -> None:
    """Run until told to end."""
    ioloop = pyjows.IOLoop()
    crowd = Crowd(ioloop, sys.argv[1], int(sys.argv[2]))

    def read() -> None:
        for line in sys.stdin:
            ioloop.call_threadsafe(lambda ioloop, line=line: crowd.command(line))  # type: ignore[misc]

    threading.Thread(target=read, daemon=True).start()
    ioloop.start()


if __name__ == '__main__':
    main()
