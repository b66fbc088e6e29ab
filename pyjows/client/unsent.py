"""`Unsent`: which messages of a connection were sent, and never written.

Owns the record of one connection, whose `send` it wraps: each message, and the offset of its last byte in the stream.
Must not know what is done with the messages (`reconnect.py`).
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any

from .. import _json
from ..messages import MISSING
from ..transaction import WebSocket

__all__ = ['Unsent']


class _Record:
    """One message, and the offset in the stream at which it ends: infinite while that is not known."""

    __slots__ = ('end', 'message')

    def __init__(self, message: str | bytes) -> None:
        self.message = message
        self.end = inf


class Unsent:
    """The messages of one connection that the kernel has not taken as a whole.

    Args:
        ws: a connection that was just made. Its `send` is recorded from now on, until `end`.
    """

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        self._send = ws.send
        self._messages: deque[_Record] = deque()
        # Those from before the connection was open; they are queued first when it opens.
        self._early: list[_Record] = []
        self._stream: Any = None
        ws.send = self.send  # type: ignore[method-assign]
        ws.on('open', self._opened)

    def send(
        self,
        message: Any = None,
        *,
        text: Any = None,
        binary: Any = None,
        json: Any = MISSING,
        frame: Any = None,
        compress: bool = True,
    ) -> WebSocket:
        """`WebSocket.send` that records the message; raw frames, and a callback alone, are not recorded."""
        given = next((one for one in (message, text, binary) if one is not None and not callable(one)), None)
        if json is not MISSING and given is None and frame is None:
            given = text = _json.dumps(json).decode()
            json = MISSING
        options = {'text': text, 'binary': binary, 'json': json, 'frame': frame, 'compress': compress}
        if frame is not None or not isinstance(given, (str, bytes, bytearray, memoryview)):
            return self._send(message, **options)
        record = _Record(given if isinstance(given, str) else bytes(given))
        self._messages.append(record)
        try:
            self._send(message, **options)
        except BaseException:
            self._messages.remove(record)
            raise
        thread = self._ws.protocol.thread
        if thread is not None and thread.is_foreign():
            thread.hand_over(self._queued, record)  # behind the message itself
        else:
            self._queued(record)
        return self._ws

    def end(self) -> list[str | bytes]:
        """The connection is gone: the messages that were never written, in order."""
        del self._ws.send
        written = 0 if self._stream is None else self._stream.written
        return [record.message for record in self._messages if record.end > written]

    def _opened(self, ws: WebSocket) -> None:
        self._stream = ws.protocol.stream
        for record in self._early:
            self._queued(record)
        self._early.clear()

    def _queued(self, record: _Record) -> None:
        """A message is in the write buffer now, or waits until the connection is open."""
        stream = self._stream
        if stream is None:
            self._early.append(record)
            return
        record.end = stream.written + stream.buffered_amount
        messages = self._messages
        while messages and messages[0].end <= stream.written:
            messages.popleft()
