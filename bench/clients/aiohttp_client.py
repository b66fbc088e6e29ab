"""aiohttp's client on uvloop."""

import asyncio

from aiohttp import ClientSession

from bench.clients.common import MAX_SIZE, Tally, options, tls_context, url
from bench.servers.common import run_uvloop

OPTIONS = options()
TALLY = Tally(OPTIONS)
TLS = tls_context(OPTIONS) or True


async def talk(session: ClientSession) -> None:
    async with session.ws_connect(url(OPTIONS), ssl=TLS, max_msg_size=MAX_SIZE) as ws:
        begin = asyncio.Event()
        TALLY.opened(begin.set)
        await begin.wait()
        await ws.send_bytes(bytes(OPTIONS.size))
        async for message in ws:
            TALLY.count += 1
            await ws.send_bytes(message.data)


async def main() -> None:
    async with ClientSession() as session:
        await asyncio.gather(*(talk(session) for _ in range(OPTIONS.connections)))


if __name__ == '__main__':
    run_uvloop(main)
