"""aiohttp's client on uvloop."""

from aiohttp import ClientSession

from bench.clients.common import MAX_SIZE, Tally, options
from bench.servers.common import run_uvloop

OPTIONS = options()
TALLY = Tally()


async def main() -> None:
    url = f'http://127.0.0.1:{OPTIONS.port}/'
    async with ClientSession() as session, session.ws_connect(url, max_msg_size=MAX_SIZE) as ws:
        TALLY.begin(OPTIONS.seconds, OPTIONS.warmup)
        await ws.send_bytes(bytes(OPTIONS.size))
        async for message in ws:
            TALLY.count += 1
            await ws.send_bytes(message.data)


if __name__ == '__main__':
    run_uvloop(main)
