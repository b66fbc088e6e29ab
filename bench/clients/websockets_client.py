"""websockets' asyncio client on uvloop."""

from websockets.asyncio.client import connect

from bench.clients.common import MAX_SIZE, Tally, options
from bench.servers.common import run_uvloop

OPTIONS = options()
TALLY = Tally()


async def main() -> None:
    async with connect(f'ws://127.0.0.1:{OPTIONS.port}/', compression=None, max_size=MAX_SIZE, proxy=None) as ws:
        TALLY.begin(OPTIONS.seconds, OPTIONS.warmup)
        await ws.send(bytes(OPTIONS.size))
        async for message in ws:
            TALLY.count += 1
            await ws.send(message)


if __name__ == '__main__':
    run_uvloop(main)
