"""Sends what you type, prints what comes back.

    python examples/echo_client.py                              # to examples/echo_server.py
    python examples/echo_client.py ws://127.0.0.1:4000/ hello   # sends hello, prints the answer, leaves

Leave with Ctrl-D (or Ctrl-C).
"""

import os
import sys
import threading
from contextlib import suppress

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
words = ' '.join(sys.argv[2:])
status = 0

try:
    ws = pyjows.connect(url)
except ValueError as exc:
    sys.exit(str(exc))


def show(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        ws.finish()  # nobody reads the output any more, as after `| head`


@ws.on
def open(ws: pyjows.WebSocket) -> None:
    if words:
        ws.send(text=words)
    else:
        show(f'Connected to {url}. What you type is sent.')
        threading.Thread(target=read_lines, daemon=True).start()


@ws.on
def text(ws: pyjows.WebSocket, message: str) -> None:
    show(message)
    if words:
        ws.finish(1000)


@ws.on
def error(ws: pyjows.WebSocket, exc: BaseException) -> None:
    print(exc, file=sys.stderr)


@ws.on
def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
    global status
    status = 1 if code == 1006 else 0  # it did not open, or was lost
    show(f'Closed: {code} {reason}'.rstrip())


def read_lines() -> None:
    """In a thread of its own, because reading blocks; any thread may call `send` and `finish`."""
    with suppress(pyjows.ConnectionClosed):
        for line in os.fdopen(0, closefd=False):  # not sys.stdin: Python could not close it while a thread waits in it
            ws.send(text=line.rstrip('\n'))
    ws.finish(1000)


pyjows.run()  # until the connection, the only thing on the loop, is gone
sys.exit(status)
