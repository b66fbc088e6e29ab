"""pyjows' client in coroutines, on asyncio or on uvloop (`PYJOWS_REACTOR`)."""

import asyncio
import os

from bench.clients.common import MAX_SIZE, Tally, options, tls_context, url
from bench.servers.common import run_asyncio, run_uvloop

REACTOR = os.environ.pop('PYJOWS_REACTOR', 'asyncio')  # it rides on the asyncio loop that is running

import pyjows  # noqa: E402

OPTIONS = options()
TALLY = Tally(OPTIONS)
TLS = tls_context(OPTIONS) or True


async def talk() -> None:
    async with pyjows.connect(url(OPTIONS), tls=TLS, max_websocket_size=MAX_SIZE) as ws:
        begin = asyncio.Event()
        TALLY.opened(begin.set)
        await begin.wait()
        ws.send(binary=bytes(OPTIONS.size))
        async for message in ws:
            TALLY.count += 1
            ws.send(message)


async def main() -> None:
    await asyncio.gather(*(talk() for _ in range(OPTIONS.connections)))


if __name__ == '__main__':
    (run_uvloop if REACTOR == 'uvloop' else run_asyncio)(main)
