"""picows with websockets' interface, on uvloop: a coroutine for each connection."""

import asyncio

from picows.websockets.asyncio.server import ServerConnection, serve

from bench.servers.common import HOST, MAX_SIZE, announce, options, run_uvloop, tls_context

OPTIONS = options()


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with serve(echo, HOST, 0, ssl=tls_context(OPTIONS), compression=None, max_size=MAX_SIZE) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.Event().wait()


if __name__ == '__main__':
    run_uvloop(main)
