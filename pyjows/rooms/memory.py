"""The engine of one process: it counts the messages and hands them on.

Owns what little is left to do for an engine without a broker. Must not know members. The history is the copy that each
`Room` has.
"""

from __future__ import annotations

from typing import Any

from .delivery import Counter
from .engine import Engine, Keep
from .messages import Message

__all__ = ['MemoryEngine']


class MemoryEngine(Counter, Engine):
    """Rooms in one process, and no broker: what `pyjows.rooms` uses without a URL.

    Raises:
        ValueError: the URL is another than ``memory://``.
    """

    shares_presence = False
    outlives_process = False

    def __init__(self, url: str = 'memory://') -> None:
        if url != 'memory://':
            raise ValueError(f"{url!r}: the memory engine connects to nothing; its URL is 'memory://'")
        Counter.__init__(self)

    def __repr__(self) -> str:
        return '<MemoryEngine>'

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

    def fetch_history(self, room: str, n: int, timeout: float, keep: Keep) -> list[Message]:
        return []

    def fetch_members(self, room: str, timeout: float) -> dict[str, Any]:
        return {}

    def flush(self, timeout: float) -> bool:
        return True

    async def drained(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        self._is_closed = True

    @property
    def is_closed(self) -> bool:
        return bool(self._is_closed)
