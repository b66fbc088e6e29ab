"""aiohttp on uvloop: `web.WebSocketResponse` in an ordinary application."""

import asyncio
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from bench.servers.common import HOST, MAX_SIZE, announce, options, run_uvloop, tls_context

OPTIONS = options()
EVERYBODY: set[web.WebSocketResponse] = set()


async def answer(ws: web.WebSocketResponse, data: Any) -> None:
    match OPTIONS.mode:
        case 'echo':
            await ws.send_bytes(data)
        case 'json':
            await ws.send_str(orjson.dumps(orjson.loads(data)).decode())
        case 'broadcast':
            for each in EVERYBODY:
                await each.send_bytes(data)
        case _:
            await ws.send_str(data)


async def handle(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(compress=OPTIONS.mode == 'deflate', max_msg_size=MAX_SIZE)
    await ws.prepare(request)
    EVERYBODY.add(ws)
    async for message in ws:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            await answer(ws, message.data)
    EVERYBODY.discard(ws)
    return ws


async def main() -> None:
    app = web.Application()
    app.router.add_get('/', handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=tls_context(OPTIONS)).start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == '__main__':
    run_uvloop(main)
