"""uvicorn with a WebSocket implementation of one's choice (`--ws`): the same ASGI application on each."""

from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from bench.servers.common import HOST, MAX_SIZE, announce, options

OPTIONS = options('--ws')

Message = dict[str, Any]


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[..., Awaitable[None]]) -> None:
    """Send every text message back."""
    if scope['type'] != 'websocket':
        return
    while (event := await receive())['type'] != 'websocket.disconnect':
        if event['type'] == 'websocket.connect':
            await send({'type': 'websocket.accept'})
        else:
            await send({'type': 'websocket.send', 'text': event['text']})


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        announce(self.servers[0].sockets[0].getsockname()[1])


if __name__ == '__main__':
    Server(
        uvicorn.Config(
            app,
            host=HOST,
            port=0,
            loop='uvloop',
            ws=OPTIONS.ws,
            ws_max_size=MAX_SIZE,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan='off',
            log_level='error',
            access_log=False,
        )
    ).run()
