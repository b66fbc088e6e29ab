"""websockets' asyncio client on uvloop, or another library's that has its interface (`run(connect)`)."""

import asyncio
from typing import Any

from bench.clients.common import MAX_SIZE, Tally, options, tls_context, url
from bench.servers.common import run_uvloop

OPTIONS = options()
TALLY = Tally(OPTIONS)
TLS = tls_context(OPTIONS)


async def talk(connect: Any) -> None:
    async with connect(url(OPTIONS), ssl=TLS, compression=None, max_size=MAX_SIZE, proxy=None) as ws:
        begin = asyncio.Event()
        TALLY.opened(begin.set)
        await begin.wait()
        await ws.send(bytes(OPTIONS.size))
        async for message in ws:
            TALLY.count += 1
            await ws.send(message)


def run(connect: Any) -> None:
    """Make the connections with this `connect`, and echo on them for ever."""

    async def main() -> None:
        await asyncio.gather(*(talk(connect) for _ in range(OPTIONS.connections)))

    run_uvloop(main)


if __name__ == '__main__':
    from websockets.asyncio.client import connect

    run(connect)
