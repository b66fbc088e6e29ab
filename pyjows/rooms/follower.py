"""`Follower`: the rooms that a process follows through a broker, and the filling of gaps.

Owns what was handed over of each room last, and what has to wait until the history was read. Must not know how the
broker is spoken to, nor when it is there (`broker.py`).

For each room that is followed, a `Feed` knows the position of the last message that was handed over. The next one is
the one with the next offset. Another one, a new subscription and a new session all make the feed *stale*: what comes is
put aside, the history is read from the last position, and then comes what was put aside. What the broker has forgotten
by then is a gap, and is reported as one. News of members wait with the messages, so that a list of all members is never
older than the news that were told before it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from .. import _json
from .engine import Engine, Keep
from .messages import Message

__all__ = ['BATCH', 'Feed', 'Follower', 'Snapshot']

#: Rooms or commands of one request.
BATCH = 500

# Messages put aside for one stale feed; beyond that they are dropped, and read from the history once more.
_ASIDE = 10_000


class Snapshot(NamedTuple):
    """What a broker has of a room: the position of the last message, and messages before it, oldest first."""

    epoch: str
    offset: int
    messages: Sequence[Message]


class Feed:
    """A room that is followed: what was handed over last.

    Attributes:
        room, keep: which room, and how much of it is kept.
        epoch, offset: the position of the last message handed over; an empty epoch before the first copy.
        aside: what came while the feed is stale, messages and news of members, else None.
        subscribed: whether the server has confirmed it in this session.
        processes: the other processes whose members were told.
        recheck: whether to tell the rooms although nothing was missed: `Engine.catch_up`.
    """

    __slots__ = ('aside', 'epoch', 'keep', 'offset', 'processes', 'recheck', 'room', 'subscribed')

    def __init__(self, room: str, keep: Keep) -> None:
        self.room = room
        self.keep = keep
        self.epoch = ''
        self.offset = 0
        self.aside: list[Message | Callable[[], None]] | None = []
        self.subscribed = False
        self.processes: set[str] = set()
        self.recheck = False


class Follower(Engine):
    """The half of `Broker` that hears."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._stale: set[str] = set()
        self._loading: set[str] = set()
        self._settled = 0.0

    @abstractmethod
    def _wake_up(self) -> None:
        """There is something to do."""

    @abstractmethod
    def _tell(self, call: Callable[..., object], *args: Any) -> None:
        """`Receiver.post`, for what happens on this engine's own loop."""

    async def load(self, feeds: Sequence[Feed]) -> Sequence[Snapshot]:
        """What the server has of rooms, after the positions of their feeds."""
        raise NotImplementedError

    async def rosters(self, rooms: Sequence[str]) -> Sequence[dict[str, dict[str, Any]]]:
        """For each room who is in it in which process."""
        return [{} for _ in rooms]

    # Reading what was missed

    def _make_stale(self, feed: Feed) -> None:
        """A feed's next messages wait until the history was read."""
        if feed.aside is None:
            feed.aside = []
        if feed.subscribed:
            self._stale.add(feed.room)
            self._wake_up()

    async def _fill(self) -> None:
        """Read what stale feeds have missed."""
        feeds = []
        for room in [*self._stale][:BATCH]:
            self._stale.discard(room)
            if (feed := self._feeds.get(room)) is not None:
                feed.aside = []  # what came before is in the history that is read now
                feeds.append(feed)
        if not feeds:
            return
        snapshots = await self.load(feeds)
        present = [feed for feed in feeds if feed.keep.presence and self.shares_presence]
        rosters = await self.rosters([feed.room for feed in present]) if present else ()
        found = dict(zip([feed.room for feed in present], rosters, strict=True))
        for feed, snapshot in zip(feeds, snapshots, strict=True):
            if self._feeds.get(feed.room) is feed:
                if feed.room in found:
                    self._saw(feed, found[feed.room])  # first: who waits to join is to find them
                self._filled(feed, snapshot)
                aside, feed.aside = feed.aside or (), None
                for what in aside:
                    if isinstance(what, Message):
                        self.arrived(what)
                    else:
                        what()

    def _filled(self, feed: Feed, snapshot: Snapshot) -> None:
        """Hand over what was missed."""
        epoch, offset, messages = snapshot
        tell, receiver = self._tell, self.receiver
        messages = _suffix(messages, offset)
        if not feed.epoch:
            tell(receiver.synced, feed.room, epoch, offset, messages, False)
        else:
            if epoch == feed.epoch:
                messages = [message for message in messages if message.offset > feed.offset]
            known = epoch == feed.epoch and feed.offset + len(messages) == offset
            if known:
                for message in messages:
                    tell(receiver.received, message)
            if feed.recheck or not known:
                tell(receiver.synced, feed.room, epoch, offset, () if known else messages, not known)
        feed.recheck = False
        feed.epoch, feed.offset = epoch, offset
        self._loading.discard(feed.room)

    def _saw(self, feed: Feed, roster: dict[str, dict[str, Any]]) -> None:
        """The members in all other processes."""
        for process, members in roster.items():
            if process != self.process:
                feed.processes.add(process)
                self._tell(self.receiver.roster, feed.room, process, members)
        self._check_gone(feed, set(roster))

    def _check_gone(self, feed: Feed, living: set[str]) -> None:
        """Processes without an entry are gone; but soon after a loss, they may not have written theirs again yet."""
        if monotonic() > self._settled:
            for process in feed.processes - living:
                feed.processes.discard(process)
                self._tell(self.receiver.roster, feed.room, process, {})

    @property
    def process(self) -> str:
        """The word for this process in presence entries."""
        name: str = self.receiver.process
        return name

    # What a subclass calls from `listen`

    def confirmed(self, room: str) -> None:
        """From now on a room's messages come."""
        feed = self._feeds.get(room)
        if feed is not None and not feed.subscribed:
            feed.subscribed = True
            self._make_stale(feed)

    def arrived(self, message: Message) -> None:
        """A message of a room."""
        feed = self._feeds.get(message.room)
        if feed is None:
            return
        if feed.aside is not None:
            self._put_aside(feed, message)
        elif message.epoch == feed.epoch and message.offset == feed.offset + 1:
            feed.offset += 1
            self._tell(self.receiver.received, message)
        elif message.epoch != feed.epoch or message.offset > feed.offset:
            self._make_stale(feed)

    def entered(self, room: str, process: str, id: str, info: bytes) -> None:
        """Somebody joined in another process."""
        feed = self._feeds.get(room)
        if feed is None or process == self.process:
            return
        if feed.aside is not None:
            self._put_aside(feed, partial(self.entered, room, process, id, info))
        else:
            feed.processes.add(process)
            self._tell(self.receiver.entered, room, process, id, _json.loads(info))

    def left(self, room: str, process: str, id: str) -> None:
        """Somebody left in another process."""
        feed = self._feeds.get(room)
        if feed is None or process == self.process:
            return
        if feed.aside is not None:
            self._put_aside(feed, partial(self.left, room, process, id))
        else:
            self._tell(self.receiver.departed, room, process, id)

    def _put_aside(self, feed: Feed, what: Message | Callable[[], None]) -> None:
        """Keep something for when the history was read; not without end."""
        if feed.aside is not None:
            feed.aside.append(what)
            if len(feed.aside) > _ASIDE:
                feed.aside.clear()
                self._make_stale(feed)

    def renewed(self, room: str, process: str) -> None:
        """Another process has replaced its entry of members."""
        if process != self.process and (feed := self._feeds.get(room)) is not None:
            self._make_stale(feed)


def _suffix(messages: Iterable[Message], offset: int) -> list[Message]:
    """The last of some messages that follow one another up to an offset."""
    found = list(messages)
    for i in range(len(found) - 1, -1, -1):
        if found[i].offset != offset - (len(found) - 1 - i):
            return found[i + 1 :]
    return found
