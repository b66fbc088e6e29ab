"""`Outgoing`: what a process has to tell a broker: messages to publish, and who joins and leaves here.

Owns the queue, its limits, and the members of this process as they are to be declared. Must not know when and how it is
sent: a session of `broker.py` takes batches, and says which were done.

Any thread may put something in; the lock is for that. While there is no session, joins and leaves are not queued: the
next one declares all members first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import NamedTuple

from .engine import Keep
from .messages import Message, QueueFull

__all__ = ['Entry', 'Outgoing', 'Publication']

# Bytes of one batch.
_BATCH_SIZE = 4 * 1024 * 1024


class Publication(NamedTuple):
    """A message to publish. `number` grows by one with each of this process, so that a server can detect a repeat."""

    number: int
    message: Message
    keep: Keep


class Entry(NamedTuple):
    """A member joined (`info` is JSON) or left (`info` is None) a room here."""

    room: str
    id: str
    info: bytes | None


class Outgoing:
    """What waits to be sent.

    Args:
        max_queue, max_queue_size: messages that may wait, and bytes of them.
        check_open: raises where nothing more may be published; called with the lock held.

    Attributes:
        waiting: how many messages wait.
        is_up: whether a session has taken the members over, so that joins and leaves are queued.
    """

    def __init__(self, max_queue: int, max_queue_size: int, check_open: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.waiting = 0
        self.is_up = False
        self._max_queue = max_queue
        self._max_queue_size = max_queue_size
        self._check_open = check_open
        self._commands: deque[Publication | Entry] = deque()
        self._size = 0
        self._numbers = count(1)
        self._here: dict[str, dict[str, bytes]] = {}
        self._undeclared: set[str] = set()  # rooms whose entry of the last session may be out of date

    def forked(self) -> None:
        """In a forked child, a thread that is not there may hold the lock."""
        self.lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._commands)

    # What the rooms put in

    def publish(self, message: Message, keep: Keep) -> None:
        """Queue a message; raises QueueFull if too many wait. One that is larger than all may be waits alone."""
        with self.lock:
            self._check_open()
            size = len(message.payload)
            waiting, waiting_size = self.waiting, self._size
            if not waiting or (waiting < self._max_queue and waiting_size + size <= self._max_queue_size):
                self.waiting += 1
                self._size += size
                self._commands.append(Publication(next(self._numbers), message, keep))
                return
        raise QueueFull(
            f'{waiting} messages ({waiting_size} bytes) wait for the broker: one for room {message.room!r} is refused; '
            f'max_queue={self._max_queue}, max_queue_size={self._max_queue_size}',
            message,
        )

    def enter(self, room: str, id: str, info: bytes) -> None:
        """A member joined."""
        with self.lock:
            self._here.setdefault(room, {})[id] = info
            self._queue(Entry(room, id, info))

    def leave(self, room: str, id: str) -> bool:
        """A member left; returns whether it was there."""
        with self.lock:
            members = self._here.get(room)
            if members is None or members.pop(id, None) is None:
                return False
            if not members:
                del self._here[room]
            self._queue(Entry(room, id, None))
        return True

    def _queue(self, entry: Entry) -> None:
        if self.is_up:
            self._commands.append(entry)
        else:
            self._undeclared.add(entry.room)

    # What a session takes out

    def begin_session(self) -> dict[str, dict[str, bytes]]:
        """From now on joins and leaves are queued; returns the members to declare before them, by room."""
        with self.lock:
            rooms = self.members()
            rooms.update((room, {}) for room in self._undeclared if room not in rooms)
            self.is_up = True
        return rooms

    def declared(self) -> None:
        """What `begin_session` returned was declared."""
        self._undeclared.clear()

    def end_session(self) -> None:
        """The next session declares all members: the single joins and leaves need not be sent."""
        with self.lock:
            self.is_up = False
            entries = [command for command in self._commands if isinstance(command, Entry)]
            if entries:
                self._undeclared.update(entry.room for entry in entries)
                self._commands = deque(command for command in self._commands if isinstance(command, Publication))

    def batch(self, limit: int, loading: Collection[str]) -> list[Publication | Entry]:
        """What is to be sent next, at most so many; no message of a room that is being loaded, and nothing after it."""
        batch: list[Publication | Entry] = []
        size = 0
        with self.lock:
            for command in self._commands:
                if len(batch) == limit or size > _BATCH_SIZE:
                    break
                if isinstance(command, Publication):
                    if command.message.room in loading:
                        break  # the members that wait for the copy of that room are to get it
                    size += len(command.message.payload)
                batch.append(command)
        return batch

    def done(self, batch: Sequence[Publication | Entry]) -> None:
        """A batch was sent, or refused."""
        with self.lock:
            for command in batch:
                if self._commands and self._commands[0] is command:
                    self._commands.popleft()
                    if isinstance(command, Publication):
                        self.waiting -= 1
                        self._size -= len(command.message.payload)

    # The members here

    def members(self) -> dict[str, dict[str, bytes]]:
        """A copy of the members here, by room and id; with the lock held."""
        return {room: dict(members) for room, members in self._here.items()}

    def members_of(self, room: str) -> dict[str, bytes]:
        """A copy of the members of a room."""
        with self.lock:
            return dict(self._here.get(room, ()))

    def counts(self) -> dict[str, int]:
        """By room, how many members there are; -1 where that is about to change at the broker."""
        with self.lock:
            here = {room: len(members) for room, members in self._here.items()}
            here.update(
                (command.room, -1) for command in self._commands if isinstance(command, Entry) and command.room in here
            )
        return here

    def withdrawn(self, is_last: bool) -> dict[str, dict[str, bytes]]:
        """What to declare where the members here are to disappear: no members in each of their rooms.

        Args:
            is_last: whether they are gone for good, so that they are forgotten here.
        """
        with self.lock:
            rooms: dict[str, dict[str, bytes]] = {room: {} for room in self._here}
            if is_last:
                self._here.clear()
        return rooms
