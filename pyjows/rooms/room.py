"""`Room`: its members in this process, its copy of the history, and the members in other processes.

Owns the order in which a member gets messages: first those that it missed, then new ones. Must not know how messages
travel between processes (`engine.py`), nor which other rooms a connection is in (`hub.py`).

The copy makes joining exact. An engine hands over every message of a followed room in order. The room keeps the last of
them, and `join(since=…)` reads from there, on the loop's thread, in the same call that adds the member: no message can
arrive in between. While the copy is not complete, because the broker has not answered yet, new members wait in
`_waiting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from time import monotonic
from typing import Any, Protocol

from .. import _json
from ..errors import ConnectionClosed
from ..ioloop import LoopEmitter
from ..protocol import State
from ..transaction import TransactionCore
from .delivery import RoomCore, send_to_members
from .engine import Engine, Keep
from .messages import TEXT, Message, Position, RoomLimit, find_position

__all__ = ['Host', 'Member', 'Room']

# Bytes of a member's `info` as JSON: every process has a copy of it.
_MAX_INFO = 4096


class Host(Protocol):
    """What a room needs of the `Rooms` that it belongs to."""

    engine: Engine
    ioloop: Any
    max_members: int
    max_payload: int

    def is_loop_thread(self) -> bool: ...
    def check_thread(self, method: str) -> None: ...
    def check_open(self, method: str) -> None: ...
    def post(self, call: Callable[..., object], *args: Any) -> None: ...
    def new_id(self) -> str: ...
    def add_membership(self, ws: TransactionCore, room: Room) -> None: ...
    def remove_membership(self, ws: TransactionCore, room: Room) -> None: ...
    def retain(self, room: Room) -> None: ...
    def sweep_soon(self) -> None: ...


class Member:
    """A member of a room.

    Attributes:
        id: unique in the room, in all processes.
        info: what `Room.join` was given.
        ws: the connection; None for a member in another process.
        room: the room's name.
        numbered: whether its messages come in envelopes, with their positions.
        recovered: whether everything after `since` was sent: True or False; None if there was no `since`, or while the
            member waits for the broker.
        joined: whether the join is complete: the `join` event was emitted.
    """

    __slots__ = (
        '_checked',
        '_encoded',
        '_entered',
        '_history',
        '_since',
        'id',
        'info',
        'joined',
        'numbered',
        'recovered',
        'room',
        'ws',
    )

    def __init__(self, room: str, id: str, info: Any, ws: Any = None, numbered: bool = False) -> None:
        self.room = room
        self.id = id
        self.info = info
        self.ws = ws
        self.numbered = numbered
        self.recovered: bool | None = None
        self.joined = ws is None
        self._since: tuple[bool, Position | None] = (False, None)
        self._history = 0
        self._checked = False
        self._encoded = b''
        self._entered = False

    def __repr__(self) -> str:
        return f'<Member {self.id} of {self.room}{"" if self.ws is not None else " elsewhere"} {self.info!r}>'


class Room(RoomCore, LoopEmitter):  # type: ignore[misc]
    """The connections that get the same messages; `Rooms` makes it: ``rooms['lobby']``.

    Synopsis::

        lobby = rooms['lobby']
        lobby.join(ws, info={'name': 'Ann'}, history=20)
        lobby.publish(json={'says': 'hello'})

        @lobby.on
        def leave(lobby, member):
            print(member.info['name'], 'is gone')

    Its events are emitted in each process that follows the room: one that has members in it, or has called `follow`.

    Events:
        ``message`` ``(room, message)``: a `Message` was published; it was sent to the members here just before.
        ``join`` ``(room, member)``: a `Member` has joined, here or (``member.ws`` is None) in another process. One
            that joined here was sent what it missed, and nothing else yet: the place to send a welcome.
        ``leave`` ``(room, member)``: it left, its connection ended, or its process did.
        ``gap`` ``(room)``: messages are lost for the members here. Numbered ones were sent a notice.
        ``error`` ``(room, exc)``: a handler raised; logged if there is no subscriber.

    Attributes:
        name, rooms, ioloop: its name, the `Rooms` that it is one of, and their loop.
        history_size: how many messages are kept (0: none).
        history_seconds: for how long after they were published.
        presence: whether processes report their members to each other.
        is_ready: whether the copy here is complete.
        local_members: the `Member` objects of this process, in the order in which they joined.

    Methods: `join`, `leave`, `publish`, `broadcast`, `members`, `history`, `follow`, `unfollow`, and those of
    `EventEmitter`.

    `publish` may be called on any thread. `members` and `history` may too; for a room that is not followed here they
    ask the broker, which blocks, and so is refused on the loop's thread. Everything else belongs to the loop's thread.
    """

    _own_events = frozenset(('message', 'join', 'leave', 'gap', 'error', 'new_listener'))

    rooms: Host

    def __repr__(self) -> str:
        return f'<Room {self.name} members={len(self._members)}{"" if self._is_ready else " not ready"}>'

    @property
    def history_size(self) -> int:
        """How many messages are kept."""
        return self._keep.size

    @property
    def history_seconds(self) -> float:
        """For how many seconds after it was published a message is kept."""
        return self._keep.seconds

    @property
    def presence(self) -> bool:
        """Whether processes report their members to each other."""
        return self._keep.presence

    @property
    def is_ready(self) -> bool:
        """Whether the copy here is complete, so that `join` ends before it returns."""
        return self._is_ready

    @property
    def local_members(self) -> list[Member]:
        """The members of this process, in the order in which they joined."""
        return list(self._members.values())

    # Members

    def join(
        self,
        ws: TransactionCore,
        info: Any = None,
        since: str | Iterable[str] | None = None,
        history: int = 0,
        *,
        numbered: bool = False,
    ) -> Member:
        """Make a connection a member; it leaves when it ends.

        What it missed is sent first. With a memory engine, and in a room that has members here, the member has joined
        when this returns; else when the broker has answered, which the `join` event reports.

        Args:
            ws: the connection, open or opening.
            info: about the member, for `members`: a JSON value of at most 4096 bytes.
            since: the last position that the client has, ``epoch:offset`` or ``room@epoch:offset, …``, or a list of
                such, as ``ws.req.query_params.get('since')`` has it. Everything after it is sent; if that is not kept
                any more, `recovered` is False and the member gets `history` as if it were new.
            history: how many of the last messages to send to a new member.
            numbered: whether the connection gets messages as ``{"room", "position", "data"}`` (``"binary"``, in base64,
                for bytes), after a first ``{"room", "position", "recovered"}``; else as they were published.

        Returns:
            The member; the one it is already, if the connection is in the room.

        Raises:
            RoomLimit: the room or the connection has as many as it may.
            ConnectionClosed: the connection ended already, or its close was sent.
            TypeError, ValueError: `info` is not a JSON value, or too large.
            RuntimeError: this is not the loop's thread; the rooms are closed; or they are on a loop that does not run.
        """
        self.rooms.check_thread('join()')
        member: Member | None = self._members.get(ws) or self._waiting.get(ws)
        if member is not None:
            return member
        if ws.state in (State.CLOSING, State.CLOSED):
            raise ConnectionClosed()
        self.rooms.check_open('join()')
        encoded = _json.dumps_to_keep(info)
        if len(encoded) > _MAX_INFO:
            raise ValueError(f'info is {len(encoded)} bytes as JSON; every process keeps it: at most {_MAX_INFO}')
        if len(self._members) + len(self._waiting) >= self.rooms.max_members:
            raise RoomLimit(f'room {self.name!r} is full here: rooms(max_members={self.rooms.max_members})')
        position = find_position(since, self.name)
        if not isinstance(history, int):
            raise TypeError(f'history is the number of messages to send, not {history!r}')
        self.rooms.add_membership(ws, self)
        member = Member(self.name, self.rooms.new_id(), info, ws, numbered)
        member._since = position
        member._history = history
        member._encoded = encoded
        self._need()
        self._waiting[ws] = member
        if self._is_ready:
            self._admit(member)
        return member

    def _admit(self, member: Member) -> None:
        """Send a member what it missed, and add it; if its position is ahead of the copy, ask the broker first."""
        asked, position = member._since
        missed: Iterable[Message] | None = None
        if position is not None and position.epoch == self._epoch:
            if position.offset > self._offset and not member._checked:
                member._checked = True
                self.rooms.engine.catch_up(self.name)
                return
            missed = self._after(position.offset)
        if asked:
            member.recovered = missed is not None
        if missed is None:
            missed = self.history(member._history) if member._history > 0 else ()
        missed = list(missed)
        ws = member.ws
        del self._waiting[ws]
        try:
            if member.numbered:
                ws.send(text=self._notice(missed[0].offset - 1 if missed else self._offset, member.recovered))
                for message in missed:
                    ws.send(text=message.envelope())
            else:
                for message in missed:
                    ws.send(**message.bare())
        except Exception as exc:
            self.rooms.remove_membership(ws, self)
            self._check_idle()
            if isinstance(exc, ConnectionClosed):
                return
            raise
        member.joined = True
        self._members[ws] = member
        self._forget_lists()
        if self._keep.presence:
            self._report(member)
        self._emit_safely('join', member)

    def _report(self, member: Member) -> None:
        """Have the other processes know of a member here."""
        if not member._entered:
            member._entered = True
            self.rooms.engine.enter(self.name, member.id, member._encoded)

    def _after(self, offset: int) -> list[Message] | None:
        """The messages after an offset; None if the copy does not have all of them."""
        self._expire()
        missing = self._offset - offset
        if not 0 <= missing <= len(self._log):
            return None
        return list(islice(self._log, len(self._log) - missing, None))

    def _notice(self, offset: int, recovered: bool | None) -> str:
        """What a numbered member gets first, and at a gap."""
        value = {'room': self.name, 'position': f'{self._epoch}:{offset}', 'recovered': recovered}
        return _json.dumps(value).decode()

    def leave(self, ws: TransactionCore) -> bool:
        """Remove a connection from the room; returns whether it was in it.

        Raises:
            RuntimeError: this is not the loop's thread.
        """
        self.rooms.check_thread('leave()')
        if not self._drop(ws):
            return False
        self.rooms.remove_membership(ws, self)
        return True

    def _drop(self, ws: TransactionCore) -> bool:
        member = self._members.pop(ws, None)
        if member is not None:
            self._forget_lists()
            if member._entered:
                self.rooms.engine.leave(self.name, member.id)
            self._emit_safely('leave', member)
        elif self._waiting.pop(ws, None) is None:
            return False
        self._check_idle()
        return True

    def members(self, timeout: float = 5.0) -> dict[str, Any]:
        """The members in all processes: id → info.

        Args:
            timeout: seconds that the broker has to answer, where it is asked.

        Raises:
            RuntimeError: the room is not followed here, or its copy is not complete, and this is the loop's thread.
            TimeoutError, OSError: the broker does not answer.
        """
        if not self._has_copy('members()'):
            return self.rooms.engine.fetch_members(self.name, timeout)
        found = {member.id: member.info for member in list(self._members.values())}
        if self._elsewhere is not None:
            for others in list(self._elsewhere.values()):
                found.update((member.id, member.info) for member in list(others.values()))
        return found

    def history(self, n: int | None = None, timeout: float = 5.0) -> list[Message]:
        """The last `n` messages (by default all that are kept), newest last; raises as `members` does."""
        if n is not None and not isinstance(n, int):
            raise TypeError(f'history(n): n is the number of messages, not {n!r}')
        if n is not None and n <= 0:
            return []
        if not self._has_copy('history()'):
            return self.rooms.engine.fetch_history(self.name, self._keep.size if n is None else n, timeout, self._keep)
        oldest = self.rooms.engine.now(self.name) - self._keep.seconds
        messages = [message for message in list(self._log) if message.time > oldest]
        return messages if n is None else messages[-n:]

    def _has_copy(self, method: str) -> bool:
        """Whether the copy here is complete; if not, the broker has to be asked: RuntimeError on the loop's thread."""
        if self._is_ready:
            return True
        engine = self.rooms.engine
        if not engine.outlives_process and not self._is_followed:
            return True  # there is no other copy: the room is new
        if self.ioloop.is_running and self.rooms.is_loop_thread():
            raise RuntimeError(
                f"{method}: the copy of room {self.name!r} is not complete, and the loop's thread does not wait for a "
                'broker: use the join event, join(history=…), or follow(cb), which calls back when it is'
            )
        return False

    # Messages

    def _forget_lists(self) -> None:
        self._bare = self._numbered = None

    def _synced(self, epoch: str, offset: int, messages: Sequence[Message], gap: bool) -> None:
        """The copy is complete."""
        if not self._is_followed:
            return  # it was unfollowed meanwhile
        if not self._is_ready:
            self._epoch, self._offset = epoch, offset
            self._log.extend(messages)
            self._is_ready = True
            for member in [one for members in (self._elsewhere or {}).values() for one in members.values()]:
                self._emit_safely('join', member)
        elif gap:
            self._log.clear()
            self._epoch, self._offset = epoch, messages[0].offset - 1 if messages else offset
            notice = self._notice(self._offset, False)
            numbered = [member.ws for member in self._members.values() if member.numbered]
            send_to_members(numbered, TEXT, notice.encode())
            self._emit_safely('gap')
            for message in messages:
                self._received(message)
        for member in list(self._waiting.values()):
            if member.ws in self._waiting:
                try:
                    self._admit(member)
                except Exception as exc:
                    self._handler_failed(exc)  # the others are to join
        if self._loaded is not None:
            calls, self._loaded = self._loaded, None
            for call in calls:
                try:
                    call(self)
                except Exception as exc:
                    self._handler_failed(exc)

    # Members elsewhere

    def _entered(self, process: str, id: str, info: Any) -> None:
        if self._elsewhere is None:
            self._elsewhere = {}
        others = self._elsewhere.setdefault(process, {})
        if id not in others:
            member = others[id] = Member(self.name, id, info)
            if self._is_ready:  # else when it is: a handler may ask for members and history
                self._emit_safely('join', member)

    def _departed(self, process: str, id: str) -> None:
        others = (self._elsewhere or {}).get(process)
        if others is not None and (member := others.pop(id, None)) is not None:
            if not others and self._elsewhere is not None:
                del self._elsewhere[process]
            if self._is_ready:
                self._emit_safely('leave', member)

    def _roster(self, process: str, members: dict[str, Any]) -> None:
        """Take the whole list of members in another process; emit the differences."""
        for id in [id for id in (self._elsewhere or {}).get(process, ()) if id not in members]:
            self._departed(process, id)
        for id, info in members.items():
            self._entered(process, id, info)

    def _compare(self, sizes: dict[str, int]) -> None:
        """Read the members again where their number differs twice in the same way.

        Once may be a join or a leave that is on its way. More often it is not done for one difference: an entry in the
        broker that cannot be read stays one.
        """
        if not self._is_ready:
            return
        before, differs = self._differs or {}, {}
        for process, size in sizes.items():
            if difference := size - len((self._elsewhere or {}).get(process, ())):
                last, times = before.get(process, (0, 0))
                differs[process] = difference, times + 1 if difference == last else 1
        self._differs = differs or None
        if any(times == 2 for _, times in differs.values()):
            self.rooms.engine.catch_up(self.name)

    # Following

    def follow(self, cb: Callable[[Room], object] | None = None) -> Room:
        """Have the room's messages and events in this process, members or not, until `unfollow`.

        Args:
            cb: called ``cb(room)`` on the loop when the copy here is complete: `history` and `members` return then.

        Raises:
            RuntimeError: the rooms are closed, or on a loop that does not run.
        """
        if cb is not None and not callable(cb):
            raise TypeError(f'follow() takes a function to call, not {cb!r}')
        self.rooms.check_open('follow()')
        self.rooms.post(self._follow, cb)
        return self

    def _follow(self, cb: Callable[[Room], object] | None) -> None:
        self._pinned = True
        if cb is not None:
            if self._loaded is None:
                self._loaded = []
            self._loaded.append(cb)
        self._need()
        if self._is_ready and self._loaded is not None:
            self._synced(self._epoch, self._offset, (), False)

    def unfollow(self) -> None:
        """End what `follow` began; with no members here, the copy is given up after a while."""
        self.rooms.post(self._unfollow)

    def _unfollow(self) -> None:
        self._pinned = False
        self._check_idle()

    def _need(self) -> None:
        """Follow the room, if it is not followed yet."""
        if not self._is_followed:
            self._is_followed = True
            self.rooms.retain(self)
            self.rooms.engine.follow(self.name, self._keep)

    @property
    def _is_idle(self) -> bool:
        return not (self._members or self._waiting or self._pinned)

    def _check_idle(self) -> None:
        if self._is_idle:
            self._idle_since = monotonic()
            self.rooms.sweep_soon()

    def _give_up(self) -> None:
        """Unfollow the room, and drop the copy."""
        if self._is_followed:
            self._is_followed = self._is_ready = False
            self.rooms.engine.unfollow(self.name)
        self._log.clear()
        self._elsewhere = None
        self._epoch, self._offset = '', 0

    def _expire(self) -> None:
        """Drop what is older than it may be."""
        oldest = self.rooms.engine.now(self.name) - self._keep.seconds
        log = self._log
        while log and log[0].time <= oldest:
            log.popleft()

    def _set_keep(self, keep: Keep) -> None:
        if keep == self._keep:
            return
        if keep.size != self._keep.size:
            self._log = deque(self._log, maxlen=keep.size)
        self._keep = keep
        if self._is_followed:
            self.rooms.engine.set_keep(self.name, keep)
        if keep.presence:
            for member in self._members.values():
                self._report(member)
