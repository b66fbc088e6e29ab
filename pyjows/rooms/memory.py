"""The engine of one process: it counts the messages and hands them on.

Owns the counters. Must not know members. The history is the copy that each `Room` has.
"""

from __future__ import annotations

from time import time
from typing import Any

from .engine import Engine, Keep
from .messages import Message, new_epoch

__all__ = ['MemoryEngine']


class MemoryEngine(Engine):
    """Rooms in one process, and no broker: what `pyjows.rooms` uses without a URL."""

    shares_presence = False
    outlives_process = False

    def __init__(self, url: str = 'memory://') -> None:
        if url != 'memory://':
            raise ValueError(f"{url!r}: the memory engine connects to nothing; its URL is 'memory://'")
        self._counts: dict[str, list[Any]] = {}
        self._closed = False

    def publish(self, message: Message, keep: Keep) -> bool:
        self.receiver.post(self._count, message)
        return True

    def _count(self, message: Message) -> None:
        if message.room not in self._counts:
            self.receiver.hold(message.room)
        count = self._count_of(message.room)
        count[1] += 1
        message.epoch, message.offset = count
        message.time = time()
        self.receiver.received(message)

    def _count_of(self, room: str) -> list[Any]:
        count = self._counts.get(room)
        if count is None:
            count = self._counts[room] = [new_epoch(), 0]
        return count

    def follow(self, room: str, keep: Keep) -> None:
        epoch, offset = self._count_of(room)
        self.receiver.synced(room, epoch, offset, (), False)

    def unfollow(self, room: str) -> None:
        self._counts.pop(room, None)

    def catch_up(self, room: str) -> None:
        self.follow(room, Keep(0, 0, False))

    def enter(self, room: str, id: str, info: bytes) -> None:
        pass

    def leave(self, room: str, id: str) -> None:
        pass

    def fetch_history(self, room: str, n: int, timeout: float) -> list[Message]:
        return []

    def fetch_members(self, room: str, timeout: float) -> dict[str, Any]:
        return {}

    def flush(self, timeout: float) -> bool:
        return True

    async def drained(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        self._closed = True

    @property
    def is_closed(self) -> bool:
        return self._closed
