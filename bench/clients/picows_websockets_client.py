"""picows' client with websockets' interface, on uvloop."""

import asyncio

from picows.websockets.asyncio.client import connect

from bench.clients.common import MAX_SIZE, Tally, options, tls_context, url
from bench.servers.common import run_uvloop

OPTIONS = options()
TALLY = Tally(OPTIONS)
TLS = tls_context(OPTIONS)


async def talk() -> None:
    async with connect(url(OPTIONS), ssl=TLS, compression=None, max_size=MAX_SIZE, proxy=None) as ws:
        begin = asyncio.Event()
        TALLY.opened(begin.set)
        await begin.wait()
        await ws.send(bytes(OPTIONS.size))
        async for message in ws:
            TALLY.count += 1
            await ws.send(message)


async def main() -> None:
    await asyncio.gather(*(talk() for _ in range(OPTIONS.connections)))


if __name__ == '__main__':
    run_uvloop(main)
