"""An ASGI application whose WebSockets have the same calls as everywhere else.

    pip install uvicorn                             # or hypercorn
    python examples/asgi_echo.py                    # then: python examples/blocking_client.py
    hypercorn --bind 127.0.0.1:3000 examples/asgi_echo.py

The ASGI server implements the protocol; with `uvicorn --ws pyjows.asgi:WebSocketProtocol` pyjows does that as well.
"""

import sys
from typing import Any

from pyjows.simple import AioServer


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope['type'] != 'websocket':
        return
    async with await AioServer.accept(asgi=(scope, receive, send)) as ws:
        async for message in ws:  # str or bytes, until the connection is closed
            await ws.send(message)
    print('Closed:', int(ws.close_reason), ws.close_message or '', flush=True)


if __name__ == '__main__':
    try:
        import uvicorn

        port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
        uvicorn.run(app, port=port, ws='pyjows.asgi:WebSocketProtocol', lifespan='off')
    except ImportError as exc:
        sys.exit(f'{exc}: pip install uvicorn')
    except (OverflowError, ValueError) as exc:
        sys.exit(str(exc))
