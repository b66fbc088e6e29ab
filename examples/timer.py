"""The server sends the time to all connections, once a second.

    python examples/timer.py
    python examples/timer.py ws://127.0.0.1:4000 0.1        # ten times a second

Watch it with `python examples/echo_client.py`.
"""

import sys
import time

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
loop = pyjows.IOLoop.singleton()


def tick(loop: pyjows.IOLoop) -> None:
    server.broadcast(text=time.strftime('%H:%M:%S'))


try:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    loop.recurring(tick, seconds)
    server = pyjows.serve(url, ioloop=loop)
    print(f'Time: {server.urls[0]}', flush=True)
except (OSError, ValueError) as exc:
    sys.exit(str(exc))


@server.on
def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    ws.send(text=f'Here is the time, every {seconds:g} s.')  # waits until the connection is open, and goes first


pyjows.run()
