"""`Engine`: the interface of what carries the messages of rooms from process to process.

Owns the interface and finding an engine by its URL. Must not know how any engine works.

An engine counts the messages of each room (see `messages.py`) and hands each process that follows a room all of them,
in order, without a gap or a double; where it cannot, it reports a gap. It keeps history where the broker can, and
reports the members in other processes.

Methods of the `Receiver` are called on the thread of its loop; `Receiver.post` takes a call there.

To write an engine for another broker, subclass `Engine`, or `pyjows.rooms.broker.Broker`, which has the thread or task,
the queue, the back-off and the filling of gaps already; then name it in the entry point group ``pyjows.rooms`` under
the scheme of its URLs. It is called with the URL and with the options that `pyjows.rooms` does not know.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import time
from typing import Any, NamedTuple, Protocol

from .messages import Message

__all__ = ['GROUP', 'Engine', 'Keep', 'Receiver', 'open_engine']

#: The entry point group in which other packages register engines.
GROUP = 'pyjows.rooms'

_BUILT_IN = {
    'memory': ('.memory', 'MemoryEngine'),
    'redis': ('.redis', 'RedisEngine'),
    'rediss': ('.redis', 'RedisEngine'),
    'unix': ('.redis', 'RedisEngine'),
    'redis+sentinel': ('.redis', 'RedisEngine'),
    'redis+cluster': ('.redis', 'RedisEngine'),
    'nats': ('.nats', 'NatsEngine'),
    'tls': ('.nats', 'NatsEngine'),
}


class Keep(NamedTuple):
    """What is kept of a room: its last `size` messages, each for `seconds`; and whether members are reported."""

    size: int
    seconds: float
    presence: bool


class Receiver(Protocol):
    """What an engine calls: the `Rooms` that it serves.

    Attributes:
        ioloop: the loop.
        process: the id of this process, a random word.
    """

    ioloop: Any
    process: str

    @property
    def backlog(self) -> int:
        """How many calls the loop has not got to."""

    def is_loop_thread(self) -> bool:
        """Whether this is the loop's thread."""

    def may_run(self) -> bool:
        """Whether this thread may run the loop for a while: nothing runs it, and it is no other thread's."""

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Call something on the loop's thread: at once if this is that thread, else soon, in order."""

    def post_all(self, calls: Sequence[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        """`post` for several calls, each a function and its arguments."""

    def hold(self, room: str) -> None:
        """Follow a room that has no members here: its only history is the copy here."""

    def received(self, message: Message) -> None:
        """The next message of a room; its offset is the one of the last plus 1."""

    def synced(self, room: str, epoch: str, offset: int, messages: Sequence[Message], gap: bool) -> None:
        """A room's copy here is complete up to `offset`: the answer to `Engine.follow` and `Engine.catch_up`.

        Args:
            messages: the last of them, oldest first: all that is kept after `follow`, those that were missed and could
                be read again with `gap`.
            gap: something between the last message received and the first of these is lost.
        """

    def entered(self, room: str, process: str, id: str, info: Any) -> None:
        """A member joined a room in another process."""

    def departed(self, room: str, process: str, id: str) -> None:
        """A member left a room in another process."""

    def roster(self, room: str, process: str, members: dict[str, Any]) -> None:
        """All members of a room in another process, by id; an empty dict when that process is gone."""

    def compare(self, room: str, sizes: dict[str, int]) -> None:
        """How many members other processes have; where the copy keeps having another number, it is read again."""

    def lost(self, exc: BaseException) -> None:
        """The broker cannot be reached; messages wait."""

    def back(self) -> None:
        """The broker is connected again, and what could be recovered was."""

    def ended(self) -> None:
        """The engine was closed, and nothing of it runs any more. One that closes at once need not call it."""

    def failed(self, exc: BaseException) -> None:
        """A message or a command was refused, and is not tried again."""


class Engine(ABC):
    """Carries the messages of rooms.

    Attributes:
        keeps_history: whether messages can be read again after a loss.
        shares_presence: whether the members in other processes are known.
        outlives_process: whether history stays when this process forgets a room.
    """

    keeps_history = True
    shares_presence = True
    outlives_process = True

    def attach(self, receiver: Receiver) -> None:
        """Set the rooms to serve; called once, before everything else."""
        self.receiver = receiver

    def forked(self) -> bool:
        """Called in a forked child; returns whether it was used before, and so can be used in the parent alone."""
        return False

    @abstractmethod
    def publish(self, message: Message, keep: Keep) -> bool:
        """Send a message, which has no position yet, to all processes that follow its room; any thread.

        Returns:
            False if it was refused because too many wait; then `Receiver.failed` is called as well.
        """

    @abstractmethod
    def follow(self, room: str, keep: Keep) -> None:
        """Deliver a room's messages to this process, after `Receiver.synced` with its copy."""

    @abstractmethod
    def unfollow(self, room: str) -> None:
        """Stop delivering a room's messages."""

    @abstractmethod
    def catch_up(self, room: str) -> None:
        """A client has a position ahead of ours: read the history again, then call `Receiver.synced`."""

    def set_keep(self, room: str, keep: Keep) -> None:  # noqa: B027 - an engine may have nothing to do
        """What is kept of a room that is followed has changed."""

    def now(self, room: str) -> float:
        """The time by the clock that sets `Message.time` in a room that is followed, in seconds since 1970."""
        return time()

    @abstractmethod
    def enter(self, room: str, id: str, info: bytes) -> None:
        """A member joined a room here; `info` is JSON."""

    @abstractmethod
    def leave(self, room: str, id: str) -> None:
        """A member left a room here."""

    @abstractmethod
    def fetch_history(self, room: str, n: int, timeout: float, keep: Keep) -> list[Message]:
        """The last `n` messages of a room that is not followed here; blocks, as `fetch_members`."""

    @abstractmethod
    def fetch_members(self, room: str, timeout: float) -> dict[str, Any]:
        """The members of a room that is not followed here; blocks for `timeout` seconds at most: never on the loop."""

    @abstractmethod
    def flush(self, timeout: float) -> bool:
        """Wait `timeout` seconds at most until the broker has everything published; returns whether it has."""

    @abstractmethod
    async def drained(self) -> None:
        """`flush` for coroutines on the loop."""

    @abstractmethod
    def close(self, timeout: float) -> None:
        """Withdraw this process' members, send what waits, and end; blocks for `timeout` seconds at most.

        On the loop's thread it only begins to.
        """

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether nothing of it runs any more."""


def open_engine(url: str | Engine, options: dict[str, Any]) -> Engine:
    """The engine of a URL; raises ValueError where there is none, ImportError where its package is missing."""
    if isinstance(url, Engine):
        if options:
            raise TypeError(f'these options belong to the engine, which was made already: {", ".join(options)}')
        return url
    if not isinstance(url, str):
        raise TypeError(f'rooms() takes the URL of an engine or an Engine, not {type(url).__name__}')
    scheme, mark, _ = url.partition('://')
    make: Any = None
    if mark and scheme in _BUILT_IN:
        module, name = _BUILT_IN[scheme]
        make = getattr(importlib.import_module(module, __package__), name)
    else:
        from importlib.metadata import entry_points  # not for each `import pyjows`: it takes 15 ms

        registered = {point.name: point for point in entry_points(group=GROUP)}
        if mark and scheme in registered:
            make = registered[scheme].load()
    if make is None:
        names = {*_BUILT_IN, *registered}
        raise ValueError(f'{url!r} names no engine of rooms: its scheme has to be one of {", ".join(sorted(names))}')
    engine = make(url, **options)
    if not isinstance(engine, Engine):
        raise TypeError(f'{make!r} made {engine!r}, which is not an Engine')
    return engine
