"""Server and client in a program that runs on asyncio (or uvloop): they ride on its loop, and handlers may be `async`.

    python examples/inside_asyncio.py

Each question waits its own time for its answer, and none of them waits for another.
"""

import asyncio

import pyjows


async def main():
    server = pyjows.serve('ws://127.0.0.1:0')

    @server.on
    def websocket(server, ws):

        @ws.on
        async def json(ws, order):
            await asyncio.sleep(order['minutes'] / 100)
            ws.send(text=f'{order["dish"]} is ready')

    dishes = asyncio.Queue()
    ws = pyjows.connect(server.urls[0])

    @ws.on
    def open(ws):
        for dish, minutes in ('soup', 30), ('bread', 5), ('salad', 15):
            ws.send(json={'dish': dish, 'minutes': minutes})

    @ws.on
    def text(ws, message):
        dishes.put_nowait(message)

    for _ in range(3):
        print(await dishes.get())

    ws.finish(1000)
    server.stop()


asyncio.run(main())
