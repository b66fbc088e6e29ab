"""Sends every message back to where it came from.

    python examples/echo_server.py
    python examples/echo_server.py 'ws://[::1]:4000'
    python examples/echo_server.py ws+unix:///tmp/echo.sock

Ctrl-C stops it: open connections get a close frame with the code 1001.
"""

import sys

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
try:
    server = pyjows.serve(url)
    print(f'Echo: {server.urls[0]}', flush=True)
except (OSError, ValueError) as exc:
    sys.exit(str(exc))


def echo(ws: pyjows.WebSocket, message: str | bytes) -> None:
    ws.send(message)  # str as text, bytes as binary


@server.on
def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    ws.on('message', echo)


pyjows.run()
