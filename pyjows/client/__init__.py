"""`connect()` and `reconnect()`: from a URL to an open connection, and again after a loss.

Owns everything that only a client does, one file for each job. The opening handshake itself is in `handshake/`, what a
connection does afterwards in `transaction/`, names and sockets in `ioloop/`.

- `client.py`: `connect()`, its options, redirects.
- `reconnect.py`: `reconnect()`, back-off.
- `unsent.py`: the messages of a lost connection that were never written.
- `resume.py`: the positions of rooms' messages, for the next request.
- `proxy.py`, `socks.py`: which proxy, and the way through it.
"""

from .client import ConnectOptions, connect
from .reconnect import Reconnector, backoff, reconnect

__all__ = ['ConnectOptions', 'Reconnector', 'backoff', 'connect', 'reconnect']
