"""`pyjows.prefork`: text messages that hold JSON are read, cost some work, and are sent back.

python -m bench.servers.pyjows_prefork WORKERS WORK     prints a line for each worker: port=N, and its process
"""

import hashlib
import json
import os
import sys
from typing import Any

import pyjows

WORKERS, WORK = map(int, sys.argv[1:])


def app(sockets: Any) -> None:
    """Called in each worker."""
    server = pyjows.serve(sockets=sockets)

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        ws.on('text', work if WORK else echo)

    # One write, so that the lines of two workers do not mix.
    os.write(1, f'port={server.ports[0]} pid={os.getpid()}\n'.encode())


def echo(ws: pyjows.WebSocket, message: str) -> None:
    json.loads(message)
    ws.send(text=message)


def work(ws: pyjows.WebSocket, message: str) -> None:
    value = json.loads(message)
    hashlib.pbkdf2_hmac('sha256', value['text'].encode(), b'salt', WORK)
    ws.send(text=message)


if __name__ == '__main__':
    pyjows.prefork(app, 'ws://127.0.0.1:0', workers=WORKERS, timeout=1)
