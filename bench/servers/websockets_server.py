"""websockets on asyncio or uvloop (`--loop`): its asyncio server, a coroutine for each connection."""

import asyncio

import orjson
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.servers.common import HOST, MAX_SIZE, announce, options, run_asyncio, run_uvloop, tls_context

OPTIONS = options('--loop')


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def json(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(orjson.dumps(orjson.loads(message)), text=True)


async def to_all(ws: ServerConnection) -> None:
    async for message in ws:
        broadcast(ws.server.connections, message)


async def main() -> None:
    handler = {'json': json, 'broadcast': to_all}.get(OPTIONS.mode, echo)
    compression = 'deflate' if OPTIONS.mode == 'deflate' else None
    tls = tls_context(OPTIONS)
    async with serve(handler, HOST, 0, ssl=tls, compression=compression, max_size=MAX_SIZE) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.Event().wait()


if __name__ == '__main__':
    (run_uvloop if OPTIONS.loop == 'uvloop' else run_asyncio)(main)
