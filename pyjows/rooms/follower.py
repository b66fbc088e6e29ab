"""`Follower`: the rooms that a process follows through a broker, and the filling of gaps.

Owns the last position handed over of each room, and what has to wait until the history was read. Must not know the
broker's protocol, nor its connection (`broker.py`).

For each room that is followed, a `Feed` has the position of the last message that was handed over. The next one has to
have the next offset. Any other offset, a new subscription and a new session all make the feed *stale*: new messages are
put aside, the history is read from the last position, and then those that were put aside follow. Messages that the
broker no longer has are a gap, and are reported as one. Joins and leaves wait with the messages, so that a list of all
members is never older than the joins and leaves that were reported before it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic, time
from typing import Any, NamedTuple

from .. import _json
from .engine import Engine, Keep
from .messages import MalformedEntry, Message, RoomRefused

__all__ = ['BATCH', 'Feed', 'Follower', 'Snapshot']

#: Rooms or commands of one request.
BATCH = 500

# What is put aside for one stale feed, and bytes of it; beyond that it is dropped, and read from the history once more.
_ASIDE = 10_000
_ASIDE_SIZE = 16 * 1024 * 1024

# An offset that no count reaches: what is read next is no continuation of it.
_NOWHERE = 10**15


class Snapshot(NamedTuple):
    """A room as the broker has it.

    Attributes:
        epoch, offset: the position of the last message.
        messages: messages up to it, oldest first.
        now: the time by the clock that gave them theirs, in seconds since 1970; None if that is the clock here.
    """

    epoch: str
    offset: int
    messages: Sequence[Message]
    now: float | None = None


class Feed:
    """A room that is followed, and how far it was handed over.

    Attributes:
        room, keep: which room, and how much of it is kept.
        epoch, offset: the position of the last message handed over; an empty epoch before the first copy.
        time: that of this message, `Message.time`; None while it is not known.
        aside: messages, joins and leaves that came while the feed is stale, else None.
        aside_size: bytes of the messages among them.
        subscribed: whether the server has confirmed it in this session.
        processes: the other processes whose members were reported.
        doubtful: those of them that had no entry soon after a loss: what was reported may be out of date.
        malformed, refused: how many entries of it were skipped, and how many commands the server refused.
        ahead: the server's clock less `monotonic` here; None while that is not known.
        recheck: whether to call `Receiver.synced` although nothing was missed: `Engine.catch_up`.
    """

    __slots__ = (
        'ahead',
        'aside',
        'aside_size',
        'doubtful',
        'epoch',
        'keep',
        'malformed',
        'offset',
        'processes',
        'recheck',
        'refused',
        'room',
        'subscribed',
        'time',
    )

    def __init__(self, room: str, keep: Keep) -> None:
        self.room = room
        self.keep = keep
        self.epoch = ''
        self.offset = 0
        self.time: float | None = None
        self.begin_aside()
        self.subscribed = False
        self.processes: set[str] = set()
        self.doubtful: set[str] = set()
        self.malformed = 0
        self.refused = 0
        self.ahead: float | None = None
        self.recheck = False

    def begin_aside(self) -> None:
        """Put aside what comes from now on."""
        self.aside: list[Message | Callable[[], None]] | None = []
        self.aside_size = 0


class Follower(Engine):
    """The receiving half of `Broker`."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._stale: set[str] = set()
        self._loading: set[str] = set()
        self._denied: set[str] = set()
        self._settled = 0.0

    @abstractmethod
    def _wake_up(self) -> None:
        """There is something to do."""

    @abstractmethod
    def _report(self, call: Callable[..., object], *args: Any) -> None:
        """`Receiver.post`, for what happens on this engine's own loop."""

    async def load(self, feeds: Sequence[Feed]) -> Sequence[Snapshot]:
        """What the server has of rooms, after the positions of their feeds."""
        raise NotImplementedError

    async def rosters(self, rooms: Sequence[str]) -> Sequence[dict[str, dict[str, Any]]]:
        """For each room its members, by process and id."""
        return [{} for _ in rooms]

    def now(self, room: str) -> float:
        feed = self._feeds.get(room)
        return time() if feed is None or (ahead := feed.ahead) is None else monotonic() + ahead

    # Reading what was missed

    def _make_stale(self, feed: Feed) -> None:
        """A feed's next messages wait until the history was read."""
        if feed.aside is None:
            feed.begin_aside()
        if feed.subscribed:
            self._stale.add(feed.room)
            self._wake_up()

    async def _fill(self) -> None:
        """Read what stale feeds have missed."""
        feeds = []
        for room in [*self._stale][:BATCH]:
            self._stale.discard(room)
            if (feed := self._feeds.get(room)) is not None:
                if self.keeps_history or feed.aside is None:
                    feed.begin_aside()  # what came before is in the history that is read now
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
                    self._roster_read(feed, found[feed.room])  # first, so that a handler of `join` finds them
                self._filled(feed, snapshot)
                aside, feed.aside = feed.aside or (), None
                for what in aside:
                    if isinstance(what, Message):
                        self.arrived(what)
                    else:
                        what()

    def _filled(self, feed: Feed, snapshot: Snapshot) -> None:
        """Hand over what was missed."""
        epoch, offset, messages, now = snapshot
        feed.ahead = None if now is None else now - monotonic()
        report, receiver = self._report, self.receiver
        messages = _suffix(messages, offset)
        if not feed.epoch:
            report(receiver.synced, feed.room, epoch, offset, messages, False)
        else:
            if epoch == feed.epoch:
                messages = [message for message in messages if message.offset > feed.offset]
            known = epoch == feed.epoch and feed.offset + len(messages) == offset
            if known:
                for message in messages:
                    report(receiver.received, message)
            if feed.recheck or not known:
                report(receiver.synced, feed.room, epoch, offset, () if known else messages, not known)
        feed.recheck = False
        if messages:
            feed.time = messages[-1].time
        elif (epoch, offset) != (feed.epoch, feed.offset):
            feed.time = None
        feed.epoch, feed.offset = epoch, offset
        self._loading.discard(feed.room)

    def _roster_read(self, feed: Feed, roster: dict[str, dict[str, Any]]) -> None:
        """Report the members in all other processes."""
        feed.doubtful -= roster.keys()
        for process, members in roster.items():
            if process != self.process:
                feed.processes.add(process)
                self._report(self.receiver.roster, feed.room, process, members)
        self._check_gone(feed, set(roster))

    def _check_living(self, feed: Feed, living: dict[str, int]) -> None:
        """Compare which processes have an entry with those that were reported; read the roster again if need be."""
        others = living.keys() - {self.process}
        if others - feed.processes or others & feed.doubtful:
            self._make_stale(feed)
        elif others and feed.aside is None:
            sizes = {process: living[process] for process in others}
            self._report(self.receiver.compare, feed.room, sizes)
        self._check_gone(feed, set(living))

    def _check_gone(self, feed: Feed, living: set[str]) -> None:
        """Report processes without an entry as gone.

        Not soon after a loss: theirs may not be written again yet. Until then they are doubtful: members that left
        during the loss are reported when that process has an entry again.
        """
        absent = feed.processes - living
        if monotonic() <= self._settled:
            feed.doubtful |= absent
            return
        feed.processes -= absent
        feed.doubtful -= absent
        for process in absent:
            self._report(self.receiver.roster, feed.room, process, {})

    def _set_keep(self, feed: Feed, keep: Keep) -> None:
        """What is kept of a room has changed."""
        before, feed.keep = feed.keep, keep
        if keep.presence and not before.presence:
            self._make_stale(feed)  # reads who is there
        elif not keep.presence:
            for process in feed.processes:  # no message would say when they are gone
                self._report(self.receiver.roster, feed.room, process, {})
            feed.processes.clear()
            feed.doubtful.clear()

    @property
    def process(self) -> str:
        """The id of this process in presence entries."""
        name: str = self.receiver.process
        return name

    # What a subclass calls from `listen`

    def confirmed(self, room: str) -> None:
        """The server has confirmed the subscription to a room."""
        feed = self._feeds.get(room)
        if feed is not None and not feed.subscribed:
            feed.subscribed = True
            self._make_stale(feed)

    def denied(self, room: str, exc: Exception) -> None:
        """The server refused the subscription to a room; it is asked again whenever the presence is refreshed.

        Members join nevertheless. What is published they get when it is read from the history: each time it is asked.
        """
        self._denied.add(room)
        self.refused(room, 'subscribe', exc)
        self.confirmed(room)

    def arrived(self, message: Message) -> None:
        """A message of a room was received."""
        feed = self._feeds.get(message.room)
        if feed is None:
            return
        if feed.aside is not None:
            self._put_aside(feed, message)
        elif message.epoch == feed.epoch and message.offset == feed.offset + 1:
            feed.offset += 1
            feed.time = message.time
            self._report(self.receiver.received, message)
        elif message.epoch != feed.epoch or message.offset > feed.offset:
            self._make_stale(feed)
        elif feed.time is not None and message.time > feed.time:  # no double: the count has gone back
            feed.offset = _NOWHERE
            self._make_stale(feed)

    def entered(self, room: str, process: str, id: str, info: bytes) -> None:
        """A member joined in another process."""
        feed = self._feeds.get(room)
        if feed is None or process == self.process or not feed.keep.presence:
            return
        try:
            value = _json.loads(info)
        except ValueError as exc:
            self.malformed(room, exc)
            return
        if feed.aside is not None:
            self._put_aside(feed, partial(self._has_entered, feed, process, id, value))
        else:
            self._has_entered(feed, process, id, value)

    def _has_entered(self, feed: Feed, process: str, id: str, info: Any) -> None:
        if feed.keep.presence:
            feed.processes.add(process)
            self._report(self.receiver.entered, feed.room, process, id, info)

    def left(self, room: str, process: str, id: str) -> None:
        """A member left in another process."""
        feed = self._feeds.get(room)
        if feed is None or process == self.process:
            return
        if feed.aside is not None:
            self._put_aside(feed, partial(self.left, room, process, id))
        else:
            self._report(self.receiver.departed, room, process, id)

    def _put_aside(self, feed: Feed, what: Message | Callable[[], None]) -> None:
        """Keep something until the history was read; if that is too much, drop all of it and read the history again."""
        if feed.aside is not None:
            feed.aside.append(what)
            if isinstance(what, Message):
                feed.aside_size += len(what.payload)
            if len(feed.aside) > _ASIDE or feed.aside_size > _ASIDE_SIZE:
                feed.begin_aside()
                self._make_stale(feed)

    def malformed(self, room: str, exc: Exception) -> None:
        """Something of a room was skipped, since no engine of this kind wrote it: `MalformedEntry`.

        That may be much, or be read again and again. So of a room that is followed the 1st, 2nd, 4th, 8th … is
        reported.
        """
        count = self._count(room, 'malformed')
        if _is_reported(count):
            self._report(self.receiver.failed, MalformedEntry(room, count, exc))

    def follows(self, room: str) -> bool:
        """Whether a room is followed."""
        return room in self._feeds

    def refused(self, room: str, what: str, exc: Exception) -> None:
        """The server refused to do something about a room; reported as rarely as `malformed`."""
        if _is_reported(self._count(room, 'refused')):
            self._report(self.receiver.failed, RoomRefused(room, what, exc))

    def _count(self, room: str, what: str) -> int:
        """Add one to a counter of a feed, and return it; 1 for a room that is not followed."""
        feed = self._feeds.get(room)
        if feed is None:
            return 1
        count: int = getattr(feed, what) + 1
        setattr(feed, what, count)
        return count

    def renewed(self, room: str, process: str) -> None:
        """Another process has replaced its entry of members."""
        if process != self.process and (feed := self._feeds.get(room)) is not None:
            self._make_stale(feed)


def _is_reported(count: int) -> bool:
    """Whether a count is 1, 2, 4, 8 …: what may happen again and again is reported more and more rarely."""
    return count & (count - 1) == 0


def _suffix(messages: Iterable[Message], offset: int) -> list[Message]:
    """The last of some messages that follow one another up to an offset."""
    found = list(messages)
    for i in range(len(found) - 1, -1, -1):
        if found[i].offset != offset - (len(found) - 1 - i):
            return found[i + 1 :]
    return found
