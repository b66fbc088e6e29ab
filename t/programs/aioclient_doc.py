# simple-websocket's documentation, "Client Example #2: Asynchronous", with its port from the command line.
import asyncio
import sys

from simple_websocket import AioClient, ConnectionClosed


async def main():
    ws = await AioClient.connect(f'ws://localhost:{sys.argv[1]}/echo')
    try:
        while True:
            data = input('> ')
            await ws.send(data)
            data = await ws.receive()
            print(f'< {data}')
    except (KeyboardInterrupt, EOFError, ConnectionClosed):
        await ws.close()

if __name__ == '__main__':
    asyncio.run(main())
