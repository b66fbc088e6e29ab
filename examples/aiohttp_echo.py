"""A WebSocket route in an aiohttp application.

pip install aiohttp
python examples/aiohttp_echo.py                 # then: python examples/blocking_client.py
"""

import sys

from pyjows.simple import AioServer, ConnectionError

try:
    from aiohttp import web
except ImportError as exc:
    sys.exit(f'{exc}: pip install aiohttp')


async def echo(request: web.Request) -> web.StreamResponse:
    try:
        ws = await AioServer.accept(aiohttp=request, ping_interval=25)
    except ConnectionError as exc:
        return web.Response(status=exc.status_code or 400, text='this is for WebSockets\n')
    async with ws:
        async for message in ws:  # str or bytes, until the connection is closed
            await ws.send(message)
    print('Closed:', int(ws.close_reason), ws.close_message or '', flush=True)
    return web.Response()


app = web.Application()
app.add_routes([web.get('/echo', echo)])

if __name__ == '__main__':
    try:
        web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
    except (OSError, OverflowError, ValueError) as exc:
        sys.exit(str(exc))
