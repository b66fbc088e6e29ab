"""An ASGI application under uvicorn, on a free port that is printed."""

import socket
from typing import Any

__all__ = ['run']


def run(app: Any, ws: str = 'websockets') -> None:
    """Serve for ever."""
    import uvicorn

    listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
    print(f'port={listener.getsockname()[1]}', flush=True)
    config = uvicorn.Config(
        app, loop='uvloop', ws=ws, ws_ping_interval=None, ws_per_message_deflate=False, log_level='critical'
    )
    uvicorn.Server(config).run(sockets=[listener])
