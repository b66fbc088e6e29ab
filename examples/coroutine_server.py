"""Counts: each client names a number and gets all from 1 to it, in a coroutine that runs as long as the connection.

    python examples/coroutine_server.py                          # on ws://127.0.0.1:3000
    python examples/coroutine_server.py ws://127.0.0.1:4000

Leave with Ctrl-C.
"""

import asyncio
import signal
import sys

import pyjows

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000'


async def count(ws: pyjows.WebSocket, last: int) -> None:
    for n in range(1, last + 1):
        ws.send(json=n)
        await ws.drain()  # waits for a client that is slower than this loop


async def main() -> None:
    server = pyjows.serve(url)

    @server.on
    async def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        async with ws:  # accepts; closes at the end, with 1011 for an exception
            async for message in ws:
                if not message.isdigit() or len(message) > 6:
                    ws.finish(4000, 'a number, please')
                    return
                await count(ws, int(message))

    print(f'Counting on {server.urls[0]}', flush=True)
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await end.wait()
    stopped = asyncio.Event()
    server.on('finish', lambda server: stopped.set())
    server.stop()
    await stopped.wait()


try:
    asyncio.run(main())
except (OSError, ValueError) as exc:
    sys.exit(str(exc))
