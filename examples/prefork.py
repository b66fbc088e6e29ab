"""Serves with several processes, and tells each client which one it talks to.

    python examples/prefork.py                      # as many workers as there are CPUs
    python examples/prefork.py ws://127.0.0.1:3000 4

`kill -HUP` of the manager replaces the workers one by one, with the code that is in this file then. Ctrl-C stops all.
As a command: python -m pyjows.prefork prefork:app ws://127.0.0.1:3000 --workers 4
"""

import os
import sys
from contextlib import suppress
from typing import Any

import pyjows


def app(sockets: Any) -> None:
    """Called in each worker."""
    server = pyjows.serve(sockets=sockets)

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        ws.on('text', lambda ws, message: ws.send(text=f'{os.getpid()}: {message}'))

    with suppress(BrokenPipeError):  # nobody reads the output any more: the worker serves all the same
        print(f'Worker {os.getpid()}: {server.urls[0]}', flush=True)


if __name__ == '__main__':
    url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
    try:
        pyjows.prefork('prefork:app', url, workers=int(sys.argv[2]) if len(sys.argv) > 2 else None)
    except (OSError, RuntimeError, ValueError) as exc:  # RuntimeError: no worker could start
        sys.exit(str(exc))
