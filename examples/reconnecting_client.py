"""Prints what it receives; when the connection is lost, connects again after a delay.

    python examples/reconnecting_client.py                              # for example to examples/timer.py
    python examples/reconnecting_client.py ws://127.0.0.1:4000/ 0.5     # waits half a second at most the first time

Start it before the server, stop the server, start the server again. Leave with Ctrl-C.
"""

import sys

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
first = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0

client = pyjows.reconnect(url, delays=lambda: pyjows.backoff(first))


@client.on
def websocket(client: pyjows.Reconnector, ws: pyjows.WebSocket) -> None:

    @ws.on
    def open(ws: pyjows.WebSocket) -> None:
        print(f'Connected to {url}.', flush=True)

    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        print(message, flush=True)


@client.on
def waiting(client: pyjows.Reconnector, seconds: float) -> None:
    print(f'Not connected; trying again in {seconds:.1f} s.', flush=True)


@client.on
def error(client: pyjows.Reconnector, exc: BaseException) -> None:  # there is no further attempt, such as after a 404
    print(exc, file=sys.stderr)


@client.on
def finish(client: pyjows.Reconnector, code: int, reason: str) -> None:
    print(f'Closed: {code} {reason}'.rstrip(), flush=True)


pyjows.run()
