"""The hot path of a message through this process: published, counted, kept, and written to the members.

Owns only what is done for every message, and is compiled (`delivery.pxd`). Must not know how rooms are made,
joined and left (`room.py`, `hub.py`), nor how messages travel between processes (`engine.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from ..broadcasting import send_to_all
from ..emitter import EmitterCore
from ..errors import ConnectionClosed
from ..loop_thread import LoopThread
from ..messages import MISSING
from ..transaction import TransactionCore
from .engine import Engine, Keep
from .messages import BINARY, TEXT, Message, PayloadTooLarge, closed, encode, new_epoch, unsent

__all__ = ['Counter', 'RoomCore', 'RoomsCore']

# Compiled, these are C variables: no value, and the first bytes of the frames of whole messages.
_MISSING, _KIND_TEXT, _KIND_BINARY = MISSING, TEXT, BINARY
_TEXT_FRAME, _BINARY_FRAME = 0x81, 0x82


class RoomCore(EmitterCore):
    """The part of `Room` that every message goes through, and a room's attributes, which are C fields when compiled."""

    def __init__(self, rooms: RoomsCore, name: str, keep: Keep) -> None:
        EmitterCore.__init__(self)
        self.name = name
        self.rooms: Any = rooms
        self.ioloop: Any = rooms.ioloop
        self._keep = keep
        self._epoch = ''
        self._offset = 0
        self._log: deque[Message] = deque(maxlen=keep.size)
        self._is_followed = False
        self._is_ready = False
        self._pinned = False
        self._idle_since = monotonic()
        self._members: dict[TransactionCore, Any] = {}
        self._bare: list[TransactionCore] | None = None  # rebuilt when a message comes
        self._numbered: list[TransactionCore] | None = None
        self._waiting: dict[TransactionCore, Any] = {}
        self._elsewhere: dict[str, dict[str, Any]] | None = None
        self._differs: dict[str, tuple[int, int]] | None = None  # by process: how its number of members does, how often
        self._loaded: list[Callable[[Any], object]] | None = None

    def publish(
        self,
        *,
        text: str | None = None,
        binary: bytes | bytearray | memoryview | None = None,
        json: Any = _MISSING,
    ) -> bool:
        """Send a message to every member in every process; any thread.

        While the broker is away messages wait, in order.

        Returns:
            False if the message was refused because too many wait already; then ``error`` is emitted on `Rooms` too,
            with a `QueueFull`.

        Raises:
            TypeError, ValueError: as `WebSocket.send`; a `PayloadTooLarge` where it is larger than ``max_payload``.
        """
        kind, payload = encode('publish', text, binary, json)
        if len(payload) > self.rooms.max_payload:
            raise PayloadTooLarge(
                f'a message of {len(payload)} bytes for room {self.name!r}; rooms(max_payload={self.rooms.max_payload})'
            )
        return bool(self.rooms.engine.publish(unsent(self.name, kind, payload), self._keep))

    def broadcast(
        self,
        *,
        text: str | None = None,
        binary: bytes | bytearray | memoryview | None = None,
        json: Any = _MISSING,
    ) -> int:
        """Send a message as it is to the members in this process, without history; returns to how many.

        For what every process learns by itself, such as that a member joined.

        Raises:
            RuntimeError: this is not the loop's thread.
            TypeError, ValueError: as `WebSocket.send`.
        """
        self.rooms.check_thread('broadcast()')
        kind, payload = encode('broadcast', text, binary, json)
        return send_to_members(list(self._members), kind, payload)

    def _received(self, message: Message) -> None:
        """Take the next message of the room, and send it to the members here."""
        self._epoch = message.epoch
        self._offset = message.offset
        self._log.append(message)
        if self._bare is None or self._numbered is None:
            self._sort_members()
        if self._bare:
            send_to_members(self._bare, message.kind, message.payload)
        if self._numbered:
            send_to_members(self._numbered, _KIND_TEXT, message.envelope().encode('utf-8'))
        if 'message' in self._events:
            self._emit_safely('message', message)

    def _sort_members(self) -> None:
        """Make the lists of bare and numbered members anew: a broadcast may be iterating over the old ones."""
        bare: list[TransactionCore] = []
        numbered: list[TransactionCore] = []
        for member in self._members.values():
            (numbered if member.numbered else bare).append(member.ws)
        self._bare, self._numbered = bare, numbered


def send_to_members(receivers: list[TransactionCore], kind: bytes, payload: bytes) -> int:
    """Send to all of them; returns to how many.

    Those that are not open yet get it when they are. How much may wait for a connection is that connection's limit: a
    member never misses a message silently.
    """
    if kind == _KIND_BINARY:
        head = _BINARY_FRAME
    else:
        head = _TEXT_FRAME
        if not payload.isascii():
            payload.decode('utf-8')  # raises for invalid UTF-8 from a broker
    skipped: list[TransactionCore] = []
    sent = send_to_all(receivers, head, payload, False, skipped)
    for ws in skipped:
        try:
            if head == _BINARY_FRAME:
                ws.send(binary=payload)
            else:
                ws.send(text=payload.decode('utf-8'))
            sent += 1
        except ConnectionClosed:
            pass  # its `finish` makes it leave
    return sent


class RoomsCore(EmitterCore):
    """The part of `Rooms` that every message goes through."""

    def __init__(self, engine: Engine, ioloop: Any, max_payload: int) -> None:
        EmitterCore.__init__(self)
        self.engine = engine
        self.ioloop: Any = ioloop
        self.max_payload = max_payload
        self._thread: LoopThread = ioloop.reactor.thread
        self._held: dict[str, Any] = {}
        self._messages: deque[Message] = deque()
        self._delivering = False

    def is_loop_thread(self) -> bool:
        """Whether this is the thread of the loop."""
        return not self._thread.is_foreign()

    def check_thread(self, method: str) -> None:
        """Raise RuntimeError on another thread than the loop's."""
        self._thread.check(method)

    def received(self, message: Message) -> None:
        """The next message of a room. One that a handler publishes is delivered after the one that it handles."""
        if self._delivering:
            self._messages.append(message)
            return
        self._delivering = True
        try:
            if self._messages:  # from a call that ended with an exception
                self._messages.append(message)
            else:
                self._deliver(message)
            while self._messages:
                self._deliver(self._messages.popleft())
        finally:
            self._delivering = False

    def _deliver(self, message: Message) -> None:
        room = self._held.get(message.room)
        if room is not None and room._is_ready:
            room._received(message)


class Counter:
    """The part of `MemoryEngine` that every message goes through."""

    receiver: Any

    def __init__(self) -> None:
        self._counts: dict[str, list[Any]] = {}
        self._is_closed = False

    def publish(self, message: Message, keep: Any) -> bool:
        """Count a message and hand it on."""
        if self._is_closed:
            raise closed(self)
        receiver = self.receiver
        if receiver.is_loop_thread():
            self._count(message)
        else:
            receiver.post(self._count, message)
        return True

    def _count(self, message: Message) -> None:
        count = self._counts.get(message.room)
        if count is None:
            self.receiver.hold(message.room)
            count = self._count_of(message.room)
        count[1] += 1
        message.epoch = count[0]
        message.offset = count[1]
        message.time = time()
        self.receiver.received(message)

    def _count_of(self, room: str) -> list[Any]:
        count = self._counts.get(room)
        if count is None:
            count = self._counts[room] = [new_epoch(), 0]
        return count
