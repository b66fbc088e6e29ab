"""`serve()`: what listens, answers HTTP and upgrades.

Owns everything that only a server does, one file for each job. The opening handshake itself is in `handshake/`, what a
connection does afterwards in the transaction, sockets in `ioloop/`.

- `server.py`: `Server` and `serve()`, options, events and the life of a server.
- `listening.py`: where it listens.
- `http_connection.py`: one accepted connection until it is a WebSocket.
- `admission.py`: who may come in (`origins`, `authenticate`).
- `proxies.py`: where a request came from, when a trusted proxy says it.
- `routes.py`, `static.py`: where a path leads, and the files beside the socket.
- `slow_close.py`: connections closed over a while, not all at once.
- `systemd.py`: sockets that the system has opened.
- `access_log.py`: a line for each answered upgrade and each close.
"""

from .server import ServeOptions, Server, serve
from .systemd import systemd_sockets

__all__ = ['ServeOptions', 'Server', 'serve', 'systemd_sockets']
