"""The transaction: one WebSocket connection as one object that emits events.

Owns what a connection means to a program: handlers, messages, coroutines, and what a loop does to it. The rules of
RFC 6455 are the state machine's (`protocol.py`), the opening handshake is in `handshake/`, and sockets in `ioloop/`.

- `transaction.py`: `WebSocket`, what a user calls.
- `info.py`: what can be asked of it, its base class.
- `opening.py`: what comes before it is open.
- `driver.py`: what a loop or a host does to it.
- `handlers.py`: which handlers a message is for; `late_handlers.py`: those that come after their event.
- `handler_queue.py`: handlers that are coroutines, one after the other.
- `coroutines.py`, `inbox.py`: what a program awaits, and the messages that wait for it.
"""

from .transaction import TransactionCore, WebSocket, new_websocket

__all__ = ['TransactionCore', 'WebSocket', 'new_websocket']
