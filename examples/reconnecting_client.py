"""Prints what it receives; when the connection is lost, connects again after a delay.

    python examples/reconnecting_client.py                              # for example to examples/timer.py
    python examples/reconnecting_client.py ws://127.0.0.1:4000/ 0.5     # waits half a second at most the first time

Start it before the server, stop the server, start the server again. Leave with Ctrl-C.
"""

import sys

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
status = 0

try:
    first = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    client = pyjows.reconnect(url, delays=lambda: pyjows.backoff(first))
except ValueError as exc:
    sys.exit(str(exc))


def show(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        client.finish()  # nobody reads the output any more, as after `| head`


@client.on
def websocket(client: pyjows.Reconnector, ws: pyjows.WebSocket) -> None:

    @ws.on
    def open(ws: pyjows.WebSocket) -> None:
        show(f'Connected to {url}.')

    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        show(message)


@client.on
def waiting(client: pyjows.Reconnector, seconds: float) -> None:
    show(f'Not connected; trying again in {seconds:.1f} s.')


@client.on
def error(client: pyjows.Reconnector, exc: BaseException) -> None:  # there is no further attempt, such as after a 404
    global status
    print(exc, file=sys.stderr)
    status = 1


@client.on
def finish(client: pyjows.Reconnector, code: int, reason: str) -> None:
    show(f'Closed: {code} {reason}'.rstrip())


pyjows.run()
sys.exit(status)
