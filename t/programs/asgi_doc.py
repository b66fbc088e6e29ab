# simple-websocket's documentation, "Server Example #3: ASGI"; below it the usual way to run it.
from simple_websocket import AioServer, ConnectionClosed


async def echo(scope, receive, send):
    ws = await AioServer.accept(asgi=(scope, receive, send))
    try:
        while True:
            data = await ws.receive()
            await ws.send(data)
    except ConnectionClosed:
        pass


if __name__ == '__main__':
    import sys

    import uvicorn
    uvicorn.run(echo, port=int(sys.argv[1]), lifespan='off')
