"""pyjows' client. `PYJOWS_REACTOR` names the loop: epoll, poll, asyncio or uvloop."""

import asyncio
import os

from bench.clients.common import MAX_SIZE, Tally, options, tls_context, url
from bench.servers.common import run_uvloop

REACTOR = os.environ.get('PYJOWS_REACTOR')
if REACTOR == 'uvloop':
    os.environ['PYJOWS_REACTOR'] = 'asyncio'  # it rides on whatever asyncio loop is running

import pyjows  # noqa: E402

OPTIONS = options()
TALLY = Tally(OPTIONS)
TLS = tls_context(OPTIONS) or True


def talk() -> pyjows.WebSocket:
    ws = pyjows.connect(url(OPTIONS), tls=TLS, max_websocket_size=MAX_SIZE)

    @ws.on
    def open(ws: pyjows.WebSocket) -> None:
        TALLY.opened(lambda: ws.send(binary=bytes(OPTIONS.size)))

    @ws.on
    def binary(ws: pyjows.WebSocket, data: bytes) -> None:
        TALLY.count += 1
        ws.send(binary=data)

    return ws


async def main() -> None:
    connections = [talk() for _ in range(OPTIONS.connections)]
    await asyncio.Event().wait()
    del connections


if __name__ == '__main__':
    if REACTOR == 'uvloop':
        run_uvloop(main)
    else:
        connections = [talk() for _ in range(OPTIONS.connections)]
        pyjows.run()
