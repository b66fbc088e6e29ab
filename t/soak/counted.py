"""The server of `reload.py`: several processes; each connection is sent numbers, and its numbers are counted.

A client asks for ``/CLIENT/CONNECTION/RECEIVED/SENT``: which of its connections it is, and how far they are in both
directions, as it has said and heard on its earlier ones. At the end of each connection a worker prints the target, how
many numbers it received and sent, whether what it received was in order, and the code:
``end /7/2/20/19 12 13 True 1001``.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pyjows

URL, WORKERS, MESSAGES, PACE, GRACEFUL = sys.argv[1:]


def app(sockets: Any) -> None:
    """Called in each worker."""
    server = pyjows.serve(sockets=sockets, backlog=4096, handshake_timeout=120, max_connections=20000)
    counts: dict[pyjows.WebSocket, int] = {}  # the next number for each

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        assert ws.req is not None
        target = ws.req.target
        first_received, first_sent = map(int, target.split('/')[3:])
        received, in_order = 0, True

        @ws.on
        def open(ws: pyjows.WebSocket) -> None:
            counts[ws] = first_sent

        @ws.on
        def text(ws: pyjows.WebSocket, message: str) -> None:
            nonlocal received, in_order
            in_order &= int(message) == first_received + received
            received += 1

        @ws.on
        def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
            sent = counts.pop(ws, first_sent) - first_sent
            # One write, so that the lines of two workers do not mix.
            os.write(1, f'end {target} {received} {sent} {in_order} {code}\n'.encode())

    @server.ioloop.recurring(float(PACE))
    def send(ioloop: pyjows.IOLoop) -> None:
        for ws, number in list(counts.items()):
            if number < int(MESSAGES):
                try:
                    ws.send(text=str(number))
                except pyjows.ConnectionClosed:
                    continue  # it was not accepted; the next connection sends it
                counts[ws] = number + 1

    os.write(1, f'serves {server.urls[0]}\n'.encode())


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    sys.path.insert(0, str(Path(__file__).parent))
    pyjows.prefork(
        'counted:app',
        URL,
        workers=int(WORKERS),
        backlog=4096,
        graceful=float(GRACEFUL),
        timeout=60,
        heartbeat_timeout=0,
    )
