"""Server and client in a program that runs on asyncio (or uvloop): they ride on its loop, and handlers may be `async`.

    python examples/inside_asyncio.py

Each question waits its own time for its answer, and none of them waits for another.
"""

import asyncio
from typing import Any

import pyjows


async def main() -> None:
    server = pyjows.serve('ws://127.0.0.1:0')

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:

        @ws.on
        async def json(ws: pyjows.WebSocket, order: dict[str, Any]) -> None:
            await asyncio.sleep(order['minutes'] / 100)
            ws.send(text=f'{order["dish"]} is ready')

    dishes = asyncio.Queue[str]()
    ws = pyjows.connect(server.urls[0])

    @ws.on
    def open(ws: pyjows.WebSocket) -> None:
        for dish, minutes in ('soup', 30), ('bread', 5), ('salad', 15):
            ws.send(json={'dish': dish, 'minutes': minutes})

    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        dishes.put_nowait(message)

    for _ in range(3):
        print(await dishes.get())

    ws.finish(1000)
    server.stop()


asyncio.run(main())
