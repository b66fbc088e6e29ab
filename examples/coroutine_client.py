"""Asks for numbers and adds them up, in one coroutine; connects again when the connection is lost.

python examples/coroutine_client.py                               # to examples/coroutine_server.py
python examples/coroutine_client.py ws://127.0.0.1:4000 1000
"""

import asyncio
import sys
from contextlib import suppress

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'
last = int(sys.argv[2]) if len(sys.argv) > 2 else 100


async def total(ws: pyjows.WebSocket) -> int:
    ws.send(text=str(last))
    async with asyncio.timeout(10):
        return sum([await ws.receive(json=True) for _ in range(last)])


async def main() -> None:
    async for ws in pyjows.reconnect(url):
        try:
            print(f'The numbers up to {last} are {await total(ws)} together', flush=True)
            break
        except pyjows.ConnectionClosed as exc:
            print(exc, file=sys.stderr, flush=True)  # lost: the loop goes on with the next connection


with suppress(KeyboardInterrupt):
    asyncio.run(main())
