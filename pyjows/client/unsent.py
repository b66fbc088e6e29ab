"""`Unsent`: which messages of a connection were sent, and never written.

Owns the record of one connection, whose `send` it wraps: each message, and the offset of its last byte in the stream.
Must not know what is done with the messages (`reconnect.py`).
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any

from .. import _json
from ..transaction import WebSocket

__all__ = ['Unsent']


class Unsent:
    """The messages of one connection that the kernel has not taken as a whole.

    Args:
        ws: a connection that was just made. Its `send` is recorded from now on, until `end`.
    """

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        self._send = ws.send
        # Each message, and the offset in the stream at which it ends: infinite while it is not known.
        self._messages: deque[list[Any]] = deque()
        # Those from before the connection was open; they are queued first when it opens.
        self._early: list[list[Any]] = []
        self._stream: Any = None
        ws.send = self.send  # type: ignore[method-assign]
        ws.on('open', self._opened)

    def send(self, message: Any = None, **options: Any) -> WebSocket:
        """`WebSocket.send` that records the message; raw frames, and a callback alone, are not recorded."""
        if 'json' in options and not options.keys() & {'text', 'binary', 'frame'}:
            options['text'] = _json.dumps(options.pop('json')).decode()
        given = message if message is not None and not callable(message) else options.get('text')
        if given is None:
            given = options.get('binary')
        if given is None or options.get('frame') is not None:
            return self._send(message, **options)
        entry = [given if isinstance(given, str) else bytes(given), inf]
        self._messages.append(entry)
        try:
            self._send(message, **options)
        except BaseException:
            self._messages.remove(entry)
            raise
        thread = self._ws.protocol.thread
        if thread is not None and thread.is_foreign():
            thread.hand_over(self._queued, entry)  # behind the message itself
        else:
            self._queued(entry)
        return self._ws

    def end(self) -> list[str | bytes]:
        """The connection is gone: the messages that were never written, in order."""
        del self._ws.send
        written = 0 if self._stream is None else self._stream.written
        return [message for message, end in self._messages if end > written]

    def _opened(self, ws: WebSocket) -> None:
        self._stream = ws.protocol.stream
        for entry in self._early:
            self._queued(entry)
        self._early.clear()

    def _queued(self, entry: list[Any]) -> None:
        """A message is in the write buffer now, or waits until the connection is open."""
        stream = self._stream
        if stream is None:
            self._early.append(entry)
            return
        entry[1] = stream.written + stream.buffered_amount
        messages = self._messages
        while messages and messages[0][1] <= stream.written:
            messages.popleft()
