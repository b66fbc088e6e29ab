"""Server and client in a program that runs on asyncio (or uvloop): they use its loop, and handlers may be `async`.

    python examples/inside_asyncio.py

The coroutine handlers of one connection run one after the other. Work that need not wait for the handler before it gets
a task of its own: here each dish is ready in its own time.
"""

import asyncio
from contextlib import suppress
from typing import Any

import pyjows


async def cook(ws: pyjows.WebSocket, order: dict[str, Any]) -> None:
    await asyncio.sleep(order['minutes'] / 100)
    ws.send(text=f'{order["dish"]} is ready')


async def main() -> None:
    tasks = set[asyncio.Task[None]]()
    server = pyjows.serve('ws://127.0.0.1:0')

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:

        @ws.on
        def json(ws: pyjows.WebSocket, order: dict[str, Any]) -> None:
            task = asyncio.create_task(cook(ws, order))
            tasks.add(task)  # asyncio itself holds only a weak reference
            task.add_done_callback(tasks.discard)

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


with suppress(BrokenPipeError, KeyboardInterrupt):
    asyncio.run(main())
