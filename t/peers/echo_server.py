"""An echo server of some library, which closes as it is told, as a program of its own.

python echo_server.py websockets|aiohttp|pyjows [CERTIFICATE KEY]         prints its URL
"""

import asyncio
import ssl
import sys

PROTOCOLS = ['chat', 'superchat']
CLOSE = (4005, 'as you wish')


def tell(port: int) -> None:
    print(f'{"wss" if context else "ws"}://127.0.0.1:{port}', flush=True)


async def with_websockets() -> None:
    from websockets.asyncio.server import serve

    async def echo(ws) -> None:
        async for message in ws:
            if message == 'close':
                await ws.close(*CLOSE)
            else:
                await ws.send(message)

    def select(ws, offered) -> str | None:
        return next((name for name in offered if name in PROTOCOLS), None)

    async with serve(echo, '127.0.0.1', 0, ssl=context, max_size=None, select_subprotocol=select) as server:
        tell(server.sockets[0].getsockname()[1])
        await asyncio.Future()


async def with_aiohttp() -> None:
    from aiohttp import WSMsgType, web

    async def echo(request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            if message.data == 'close':
                await ws.close(code=CLOSE[0], message=CLOSE[1].encode())
            elif message.type == WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get('/{path:.*}', echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0, ssl_context=context)
    await site.start()
    tell(runner.addresses[0][1])
    await asyncio.Future()


def with_pyjows() -> None:
    import pyjows

    server = pyjows.serve(
        f'{"wss" if context else "ws"}://127.0.0.1:0',
        max_websocket_size=1 << 24,
        compression=True,
        **({'tls': context} if context else {}),
    )

    @server.on
    def websocket(server, ws) -> None:
        offered = ws.req.subprotocols
        ws.with_protocols(*[name for name in offered if name in PROTOCOLS])

        @ws.on
        def message(ws, message) -> None:
            if message == 'close':
                ws.finish(*CLOSE)
            else:
                ws.send(message)

    tell(server.ports[0])
    pyjows.run()


context: ssl.SSLContext | None = None
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
if sys.argv[1] == 'pyjows':
    with_pyjows()
else:
    asyncio.run(with_aiohttp() if sys.argv[1] == 'aiohttp' else with_websockets())
