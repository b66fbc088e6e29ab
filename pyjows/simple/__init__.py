"""The simple faces: a connection whose calls block, or are awaited, in simple-websocket's shape.

`Server` takes over the connection of a WSGI request, `AioServer` that of an aiohttp or ASGI request, and `Client` and
`AioClient` connect. All four have ``send``, ``receive`` and ``close``::

    with Client.connect('ws://127.0.0.1:3000/echo') as ws:
        ws.send('hello')
        print(ws.receive())

Owns the public names alone.
"""

from .aio import AioClient, AioServer
from .alias import install
from .blocking import Client, Server
from .errors import ConnectionClosed, ConnectionError

__all__ = ['AioClient', 'AioServer', 'Client', 'ConnectionClosed', 'ConnectionError', 'Server', 'install']
