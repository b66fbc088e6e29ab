"""`Rooms`: all rooms of a process, over one engine.

Owns which rooms there are, which of them a connection is in, the limits, and passing on what the engine reports. Must
not know what happens in a room (`room.py`) nor how messages travel (`engine.py`).

Everything of a room happens on one thread, that of the loop. Calls from other threads come through `post`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from time import monotonic, sleep
from typing import Any, Self
from weakref import WeakSet, WeakValueDictionary

from .._options import Rule, check_options, flag, number
from ..ioloop import IOLoop, LoopEmitter
from ..transaction import TransactionCore
from .delivery import RoomsCore
from .engine import Engine, Keep, open_engine
from .messages import Message, RoomLimit, check_name, closed, forked
from .room import Room

__all__ = ['Rooms', 'rooms']

_log = logging.getLogger('pyjows')

# Redis disconnects a subscriber for which more than 32 MiB wait: a few messages of this size have to fit.
_LARGEST_PAYLOAD = 8 * 1024 * 1024

# Seconds that the broker has for what waits when the loop stops.
_LAST_TIMEOUT = 2.0

# What `Rooms.room` takes: what becomes a `Keep`.
_KEEP: dict[str, Rule] = {
    'history_size': number(0, 'messages', whole=True, largest=100_000),
    'history_seconds': number(0, 'seconds: 30 days at most', above=True, largest=30 * 86400),
    'presence': flag,
}
_RULES: dict[str, Rule] = {
    'max_rooms': number(1, 'rooms a connection', whole=True),
    'max_members': number(1, 'members a room', whole=True),
    'max_payload': number(1, 'bytes', whole=True, largest=_LARGEST_PAYLOAD),
    'linger': number(0, 'seconds'),
    **_KEEP,
}


# All of this process: after a fork they are those of another one.
_ALL: WeakSet[Rooms] = WeakSet()


def _forked() -> None:
    for each in list(_ALL):
        each.begin_anew()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forked)


def runs_asyncio() -> bool:
    """Whether asyncio runs a loop in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def rooms(url: str | Engine = 'memory://', **options: Any) -> Rooms:
    """Rooms for this process, or over a broker for several; returns the `Rooms`.

    ::

        rooms = pyjows.rooms()                              # this process
        rooms = pyjows.rooms('redis://127.0.0.1')           # all that use the same Redis

    Raises:
        ValueError, TypeError: the URL or an option is malformed.
        ImportError: the engine needs a package that is not installed.
    """
    return Rooms(url, **options)


class Rooms(RoomsCore, LoopEmitter):  # type: ignore[misc]
    """All rooms of a process.

    Synopsis::

        rooms = Rooms('redis://127.0.0.1')

        @server.on
        def websocket(server, ws):
            rooms['lobby'].join(ws)

        @rooms.on
        def lost(rooms, exc):
            print('no broker; messages wait:', exc)

    Events:
        ``lost`` ``(rooms, exc)``: the broker cannot be reached. Published messages wait, and so does `join` in rooms
            that are not followed here yet.
        ``back`` ``(rooms)``: it is connected again; missed messages were read, those that waited are being sent.
        ``error`` ``(rooms, exc)``: a message was refused (`QueueFull`), or the broker refused something of a room
            (`RoomRefused`), or has what cannot be read (`MalformedEntry`). Logged if there is no subscriber.

    Args:
        url: of the engine: ``memory://``, ``redis://host:port/db``, ``rediss://`` …; or an `Engine`.
        ioloop: the loop of the connections; by default the current one (`IOLoop.singleton`).
        history_size: how many messages a room keeps (100).
        history_seconds: for how long after each (3600).
        presence: whether processes report their members to each other (True).
        max_rooms: rooms that a connection may be in (256).
        max_members: members of a room in this process (100000).
        max_payload: bytes of a message (1 MiB; at most 8 MiB, so that a broker's output buffer holds a few).
        linger: seconds for which a room without members stays followed (30), so that joining it again needs no broker.
        **options: the engine's.

    Attributes:
        engine, ioloop, max_rooms, max_members, max_payload, linger: as above.
        is_lost: whether the connection to the broker is lost.

    Methods: `room`, `rooms_of`, `leave`, `flush`, `drained`, `close`, ``rooms[name]``, ``name in rooms``,
    ``len(rooms)``, iteration, and those of `EventEmitter`.

    It connects when it is first used, so that it can be made before a process forks. It closes with its loop: when a
    graceful stop has closed all connections (`IOLoop`, event ``stop``), and what waits has 2 seconds to be sent.
    """

    _own_events = frozenset(('lost', 'back', 'error', 'new_listener'))

    def __init__(
        self,
        url: str | Engine = 'memory://',
        *,
        ioloop: IOLoop | None = None,
        history_size: int = 100,
        history_seconds: float = 3600.0,
        presence: bool = True,
        max_rooms: int = 256,
        max_members: int = 100_000,
        max_payload: int = 1024 * 1024,
        linger: float = 30.0,
        **options: Any,
    ) -> None:
        kept = {'history_size': history_size, 'history_seconds': history_seconds, 'presence': presence}
        limits = {'max_rooms': max_rooms, 'max_members': max_members, 'max_payload': max_payload, 'linger': linger}
        check_options('rooms()', {**kept, **limits}, _RULES)
        RoomsCore.__init__(
            self, open_engine(url, options), IOLoop.singleton() if ioloop is None else ioloop, max_payload
        )
        self._keep = self._kept(Keep(history_size, history_seconds, presence))
        self.max_rooms = max_rooms
        self.max_members = max_members
        self.linger = linger
        self.is_lost = False
        self.process = secrets.token_hex(6)
        self._is_closing = False
        self._is_parents = False
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._known: WeakValueDictionary[str, Room] = WeakValueDictionary()
        self._of: dict[TransactionCore, dict[Room, None]] = {}
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._posted = False
        self._sweeper: Any = None
        self.ioloop.on('stop', self._loop_stops)
        self.engine.attach(self)
        _ALL.add(self)

    def __repr__(self) -> str:
        return f'<Rooms {self.engine!r} rooms={len(self._held)} connections={len(self._of)}>'

    def begin_anew(self) -> None:
        """In a forked child: be a process of its own; what waits, and who may hold a lock, is the parent's."""
        self.process = secrets.token_hex(6)
        self._lock = threading.Lock()
        self._calls.clear()
        self._posted = False
        self._is_parents = self.engine.forked()

    # Rooms

    def room(self, name: str, **options: Any) -> Room:
        """The room of a name, made if it is not there; any thread.

        Args:
            name: 1 to 128 of A-Z, a-z, 0-9, ``_``, ``.``, ``:``, ``/``, ``-``.
            **options: ``history_size``, ``history_seconds``, ``presence`` for this room; the same in all processes. A
                room that is neither used nor referred to is dropped, and its options with it.

        Raises:
            TypeError, ValueError: the name or an option is malformed.
        """
        with self._lock:
            room = self._known.get(name) if isinstance(name, str) else None
            if room is None:
                room = Room(self, check_name(name), self._changed(self._keep, options))
                self._known[name] = self._held[name] = room
                made = True
            else:
                self._held.setdefault(name, room)
                made = False
        if made:
            self.post(room._check_idle)
        elif options:
            self.post(room._set_keep, self._changed(room._keep, options))
        return room

    def _changed(self, keep: Keep, options: dict[str, Any]) -> Keep:
        checked = check_options('room()', options, _KEEP)
        return self._kept(keep._replace(**{name.removeprefix('history_'): value for name, value in checked.items()}))

    def _kept(self, keep: Keep) -> Keep:
        return keep if self.engine.keeps_history else keep._replace(size=0)

    def __getitem__(self, name: str) -> Room:
        room = self._held.get(name) if isinstance(name, str) else None
        return self.room(name) if room is None else room

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def rooms_of(self, ws: TransactionCore) -> list[Room]:
        """The rooms that a connection is in, or waits to be in."""
        return list(self._of.get(ws, ()))

    def leave(self, ws: TransactionCore) -> None:
        """Have a connection leave all its rooms; RuntimeError on another thread than the loop's."""
        self.check_thread('leave()')
        self._finished(ws)

    # What rooms call

    def retain(self, room: Room) -> None:
        """A room is in use: keep it, and pass its messages on."""
        with self._lock:
            self._known[room.name] = self._held[room.name] = room

    def check_open(self, method: str) -> None:
        """Raise RuntimeError if the rooms are closed, a parent's, or of a loop that asyncio keeps from running."""
        if self._is_closing:
            raise closed(self.engine)
        if self._is_parents:
            raise forked(self.engine)
        if self.engine.outlives_process and not self.ioloop.is_running and runs_asyncio():
            raise RuntimeError(
                f'{method} inside of asyncio, and these rooms wait for {self.ioloop!r}, which does not run: '
                'make them inside of asyncio.run() too, or give them its loop: rooms(ioloop=…)'
            )

    def add_membership(self, ws: TransactionCore, room: Room) -> None:
        """A connection joins a room."""
        joined = self._of.get(ws)
        if joined is None:
            ws.on('finish', self._finished)  # raises for a connection of another thread's loop
            joined = self._of[ws] = {}
        elif len(joined) >= self.max_rooms:
            raise RoomLimit(f'{ws!r} is in {len(joined)} rooms: rooms(max_rooms={self.max_rooms})')
        joined[room] = None

    def remove_membership(self, ws: TransactionCore, room: Room) -> None:
        """A connection left a room."""
        joined = self._of.get(ws)
        if joined is not None:
            joined.pop(room, None)
            if not joined:
                del self._of[ws]
                ws.unsubscribe('finish', self._finished)

    def _finished(self, ws: TransactionCore, *how: Any) -> None:
        """A connection ended."""
        joined = self._of.pop(ws, None)
        if joined is not None:
            ws.unsubscribe('finish', self._finished)
            for room in joined:
                room._drop(ws)

    def new_id(self) -> str:
        """A member's id."""
        return f'{self.process}-{next(self._numbers)}'

    # Threads

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Call something on the loop's thread: at once if this is that thread, else soon, in order."""
        if not self._thread.is_foreign():
            call(*args)
            return
        self.post_all([(call, args)])

    def post_all(self, calls: Sequence[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        """Call functions, each with its arguments, on the loop's thread soon, in order; for other threads."""
        self._calls.extend(calls)
        if not self._posted:
            self._posted = True
            self._thread.hand_over(self._run_posted)

    def may_run(self) -> bool:
        """Whether this thread may run the loop for a while: nothing runs it, and it is no other thread's."""
        return not self.ioloop.is_running and (self.is_loop_thread() or not self._thread.has_run)

    @property
    def backlog(self) -> int:
        """How many calls of other threads the loop has not got to."""
        return len(self._calls)

    def _run_posted(self) -> None:
        self._posted = False  # before looking: what is appended from now on comes with a call of its own
        calls = self._calls
        for _ in range(len(calls)):
            call, args = calls.popleft()
            try:
                call(*args)
            except Exception as exc:
                self._handler_failed(exc)

    # What the engine calls

    def hold(self, room: str) -> None:
        """Follow a room that has no members here."""
        self.room(room)._need()

    def synced(self, room: str, epoch: str, offset: int, messages: Sequence[Message], gap: bool) -> None:
        """A room's copy is complete."""
        if (there := self._held.get(room)) is not None:
            there._synced(epoch, offset, messages, gap)

    def entered(self, room: str, process: str, id: str, info: Any) -> None:
        """A member joined in another process."""
        if (there := self._held.get(room)) is not None:
            there._entered(process, id, info)

    def departed(self, room: str, process: str, id: str) -> None:
        """A member left in another process."""
        if (there := self._held.get(room)) is not None:
            there._departed(process, id)

    def roster(self, room: str, process: str, members: dict[str, Any]) -> None:
        """All members of a room in another process."""
        if (there := self._held.get(room)) is not None:
            there._roster(process, members)

    def compare(self, room: str, sizes: dict[str, int]) -> None:
        """How many members a room has in other processes."""
        if (there := self._held.get(room)) is not None:
            there._compare(sizes)

    def lost(self, exc: BaseException) -> None:
        """The connection to the broker is lost."""
        self.is_lost = True
        _log.warning('%r: the broker is away: %s', self, exc)
        self._emit_safely('lost', exc)

    def back(self) -> None:
        """The broker is connected again."""
        self.is_lost = False
        _log.info('%r: the broker is back', self)
        self._emit_safely('back')

    def ended(self) -> None:
        """Nothing of the engine runs any more."""
        self.ioloop.unsubscribe('stop', self._loop_stops)

    def failed(self, exc: BaseException) -> None:
        """A message or a command was refused."""
        self._handler_failed(exc)

    # Unused rooms

    def sweep_soon(self) -> None:
        """Look for unused rooms after `linger` seconds."""
        if self._sweeper is None and not self._is_closing:
            self._sweeper = self.ioloop.timer(self._sweep, max(self.linger, 0.05))

    def _sweep(self, ioloop: IOLoop) -> None:
        """Drop the rooms that were unused for `linger` seconds; look again later if others will be."""
        self._sweeper = None
        latest = monotonic() - self.linger
        waits = False
        for name, room in list(self._held.items()):
            if not room._is_idle:
                continue
            room._expire()
            if room._idle_since > latest or (room._log and not self.engine.outlives_process):
                waits = True
                continue
            room._give_up()
            if not room.event_names():
                with self._lock:
                    self._held.pop(name, None)  # while the program refers to it, `_known` still has it
        if waits:
            self.sweep_soon()

    # The end

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until the broker has everything published; returns whether it has. For threads, and without a loop.

        Args:
            timeout: seconds to wait at most.

        Raises:
            RuntimeError: the loop's thread would wait for itself; coroutines have ``await rooms.drained()``.
        """
        return self.engine.flush(timeout)

    async def drained(self) -> None:
        """Wait until the broker has everything published (coroutines)."""
        await self.engine.drained()

    def close(self, timeout: float = 2.0) -> None:
        """Leave all rooms, send what waits, and end; the connections stay.

        Args:
            timeout: seconds for the broker. On the thread of a running loop this returns at once, and it ends later;
                other threads wait for it.
        """
        if not self.ioloop.is_running:
            self._close(timeout)
            return
        self.post(self._close, 0.0)
        until = monotonic() + timeout
        while not self.is_loop_thread() and not self.is_closed and monotonic() < until:
            sleep(0.005)

    def _close(self, timeout: float) -> None:
        self._is_closing = True
        self.post(self._leave_all)
        self.engine.close(timeout)
        if self.is_closed:
            self.ended()

    def _leave_all(self) -> None:
        if self._sweeper is not None:
            self.ioloop.remove(self._sweeper)
            self._sweeper = None
        for ws in list(self._of):
            self._finished(ws)
        if self._sweeper is not None:
            self.ioloop.remove(self._sweeper)
            self._sweeper = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing runs any more."""
        return self.engine.is_closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object = None, *exc: object) -> None:
        sent = self.flush()
        self.close()
        if not sent and kind is None:
            raise TimeoutError(f'{self.engine!r}: messages that were published could not be sent in time')

    def _loop_stops(self, ioloop: IOLoop) -> None:
        """The loop's connections are closed: send what was published until now, and end."""
        self._close(0 if ioloop.is_running else _LAST_TIMEOUT)
        ioloop.delay_stop(lambda: self.is_closed, _LAST_TIMEOUT)
