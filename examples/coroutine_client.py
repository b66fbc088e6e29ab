"""Asks for numbers and adds them up, in one coroutine; connects again when the connection is lost.

python examples/coroutine_client.py                               # to examples/coroutine_server.py
python examples/coroutine_client.py ws://127.0.0.1:4000 1000
"""

import asyncio
import sys

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'


async def total(ws: pyjows.WebSocket, last: int) -> int:
    ws.send(text=str(last))
    async with asyncio.timeout(10):
        return sum([await ws.receive(json=True) for _ in range(last)])


async def main() -> None:
    last = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    async for ws in pyjows.reconnect(url):
        try:
            print(f'The numbers up to {last} are {await total(ws, last)} together', flush=True)
            break
        except pyjows.ConnectionClosed as exc:
            if exc.code == 4000:
                raise  # the server refuses this number
            print(exc, file=sys.stderr, flush=True)  # lost: the loop goes on with the next connection


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
except (pyjows.WebSocketError, OSError, ValueError) as exc:  # it does not try again, such as after a 404
    sys.exit(f'{type(exc).__name__}: {exc}')
