"""`Broker`: an engine whose messages go through a server of any kind.

Owns the life of the connection: where it runs, its loss and the next attempt, and in what order things are sent. Must
not know the server's protocol: that is a subclass (`redis.py`, `nats.py`); nor what waits to be sent (`outgoing.py`).

It is written once, as coroutines. On an asyncio reactor they run as a task of that loop; on the other reactors in one
thread with an asyncio loop of its own. Calls from the rooms come in through two queues; reports to them go out through
`Receiver.post`. Both work from thread to thread and on one.

A **session** is the time between a connection and its loss. Three tasks serve it: `listen` reads what the server
sends, `_work` writes (subscriptions first, then what was missed, then what was published, in order), `_watch` pings the
server when it is silent, and refreshes the presence. The first of them that fails ends the session; the next one begins
after a delay (`backoff`).

**No gaps.** What a session missed is read from the history before anything else is handed over (`follower.py`).

**Presence.** The server has one entry for each room and process, with a time to live; it is refreshed three times
in that time, and written again in each session. Joins and leaves are published as they happen.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from time import monotonic, sleep, time
from typing import Any, ClassVar

from .._options import Rule, check_options, function, number
from ..client import backoff
from .engine import Keep
from .follower import BATCH, Feed, Follower, Snapshot
from .messages import BrokerLost, Message, QueueFull, RoomRefused, closed, forked, lost
from .outgoing import Entry, Outgoing, Publication
from .tasks import cancel, within

__all__ = ['Broker', 'BrokerLost', 'Entry', 'Feed', 'Publication', 'Snapshot']

_log = logging.getLogger('pyjows')

# Calls that wait for the rooms' loop, and bytes of their messages; above it `listen` pauses, and with it TCP.
_BACKLOG = 10_000
_BACKLOG_SIZE = 16 * 1024 * 1024

# Seconds after which an asyncio loop whose tasks were cancelled is not one that ends.
_RESUME_AFTER = 1.0

_RULES: dict[str, Rule] = {
    'timeout': number(0, 'seconds: a day at most', above=True, largest=86400),
    'presence_ttl': number(0, 'seconds: a day at most', above=True, largest=86400),
    'max_queue': number(1, 'messages', whole=True),
    'max_queue_size': number(1, 'bytes', whole=True),
    'delays': function,
}


class Broker(Follower):
    """An engine over a server; subclass it for a kind of server.

    A subclass overrides `connect`, `disconnect`, `listen`, `ping`, `subscribe`, `unsubscribe` and `perform`, with
    history `load`, with presence `declare`, `rosters` and `refresh`. All are coroutines in tasks of one loop; what they
    raise ends the session. `listen` calls `mark_alive`, `wait_for_rooms`, `confirmed`, `denied`, `arrived`, `entered`,
    `left` and `renewed`.

    Args:
        timeout: seconds that the server has for each answer, and of silence after which it is pinged (5).
        max_queue: messages that wait while the server is away or slow (10000).
        max_queue_size: bytes of them (16 MiB).
        presence_ttl: seconds within which the members of a killed process disappear (30).
        delays: makes the seconds to wait before each try to connect again (`pyjows.backoff(0.2, 5)`).
    """

    #: Whether a batch whose answer was lost may be sent again: the server detects what it has done already.
    can_repeat: ClassVar[bool] = True

    def __init__(
        self,
        *,
        timeout: float = 5.0,
        max_queue: int = 10_000,
        max_queue_size: int = 16 * 1024 * 1024,
        presence_ttl: float = 30.0,
        delays: Callable[[], Iterator[float]] = lambda: backoff(0.2, 5.0),
    ) -> None:
        super().__init__()
        sizes = {'max_queue': max_queue, 'max_queue_size': max_queue_size}
        check_options('rooms()', {'timeout': timeout, 'presence_ttl': presence_ttl, 'delays': delays, **sizes}, _RULES)
        self.timeout = timeout
        self.max_queue = max_queue
        self.max_queue_size = max_queue_size
        self.presence_ttl = presence_ttl
        self._delays = delays
        # What other threads use too.
        self._outgoing = Outgoing(max_queue, max_queue_size, self._check_open)
        self._lock = self._outgoing.lock  # for beginning and ending too
        self._changes: deque[tuple[str, str, Keep | None]] = deque()
        self._awake = False
        self._questions: set[Future[Any]] = set()
        # Where it runs.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._native = False
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._pid = 0
        self._closing = False
        self._closed = False
        # What only its own loop uses.
        self._is_lost = False
        self._alive_at = 0.0
        self._reports: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._arrived_size = 0  # bytes of messages since the loop was seen to have handled all

    # What a subclass does

    @abstractmethod
    async def connect(self) -> None:
        """Connect to the server."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close all connections; also after half a `connect`."""

    @abstractmethod
    async def listen(self) -> None:
        """Read what the server sends, until the connection is lost."""

    @abstractmethod
    async def ping(self) -> None:
        """Have the server answer on every connection; on the one of `listen`, that calls `mark_alive`."""

    @abstractmethod
    async def subscribe(self, rooms: Sequence[str]) -> None:
        """Have the messages of rooms sent; `confirmed` or `denied` is called for each."""

    @abstractmethod
    async def unsubscribe(self, rooms: Sequence[str]) -> None:
        """Stop them from being sent."""

    @abstractmethod
    async def perform(self, batch: Sequence[Publication | Entry]) -> Sequence[Exception | None]:
        """Do what is in a batch, in this order; for each None, or why the server refused it."""

    async def declare(self, rooms: dict[str, dict[str, bytes]]) -> None:
        """Replace the server's entries of the members here in these rooms, and have the other processes read them."""

    async def refresh(self, rooms: dict[str, int]) -> Sequence[tuple[bool, dict[str, int]] | None]:
        """Extend the time to live of this process' entries in rooms, by the number of members here: -1 for some.

        Returns:
            For each room whether that entry was still there with so many members, and the processes that have one, with
            the number of their members; None where the server does not tell.
        """
        return [(True, {}) for _ in rooms]

    # What the rooms call

    def publish(self, message: Message, keep: Keep) -> bool:
        try:
            self._outgoing.publish(message, keep)
        except QueueFull as exc:
            self.receiver.post(self.receiver.failed, exc)
            return False
        self._wake_up()
        return True

    def follow(self, room: str, keep: Keep) -> None:
        self._changes.append(('follow', room, keep))
        self._wake_up()

    def forked(self) -> bool:
        self._outgoing.forked()
        self._lock = self._outgoing.lock
        return self._loop is not None

    def _is_parents(self) -> bool:
        return self._loop is not None and self._pid != os.getpid()

    def unfollow(self, room: str) -> None:
        if self._is_parents():
            return
        self._changes.append(('unfollow', room, None))
        self._wake_up()

    def catch_up(self, room: str) -> None:
        self._changes.append(('catch_up', room, None))
        self._wake_up()

    def set_keep(self, room: str, keep: Keep) -> None:
        self._changes.append(('keep', room, keep))
        self._wake_up()

    def enter(self, room: str, id: str, info: bytes) -> None:
        if self.shares_presence:
            self._outgoing.enter(room, id, info)
            self._wake_up()

    def leave(self, room: str, id: str) -> None:
        if self._outgoing.leave(room, id) and not self._is_parents():
            self._wake_up()

    def fetch_history(self, room: str, n: int, timeout: float, keep: Keep) -> list[Message]:
        async def fetch() -> list[Message]:
            if not self.keeps_history:
                return []
            (snapshot,) = await self.load([Feed(room, keep._replace(size=n))])
            oldest = (time() if snapshot.now is None else snapshot.now) - keep.seconds
            return [message for message in snapshot.messages if message.time > oldest]

        found: list[Message] = self._ask(fetch, timeout, f'history() of room {room!r}')
        return found

    def fetch_members(self, room: str, timeout: float) -> dict[str, Any]:
        async def fetch() -> dict[str, Any]:
            (processes,) = await self.rosters([room])
            return {id: info for members in processes.values() for id, info in members.items()}

        found: dict[str, Any] = self._ask(fetch, timeout, f'members() of room {room!r}')
        return found

    def _ask(self, fetch: Callable[[], Any], timeout: float, what: str) -> Any:
        """Have a coroutine run in a session, and wait for its result."""

        async def in_session() -> Any:
            async with asyncio.timeout(timeout):
                while not self._outgoing.is_up:
                    self._check_open()
                    await asyncio.sleep(0.01)
                try:
                    return await fetch()
                except Exception as exc:
                    self._check_open()  # the end of the rooms ends the links that the question is on
                    if isinstance(exc, OSError):
                        raise
                    raise BrokerLost(str(exc)) from exc

        try:
            return self._result(in_session, timeout)
        except TimeoutError as exc:
            raise TimeoutError(f'{self!r} did not answer {what} within {timeout:g} s') from exc

    def _result(self, in_session: Callable[[], Any], timeout: float) -> Any:
        self._check_open()
        self._wake_up()
        assert self._loop is not None
        if self._native and self.receiver.may_run():
            return self._loop.run_until_complete(in_session())
        with self._lock:
            self._check_open()  # from now on `_main` ends it
            future = asyncio.run_coroutine_threadsafe(in_session(), self._loop)
            self._questions.add(future)
        try:
            return future.result(timeout + self.timeout)
        except CancelledError:
            raise closed(self) from None
        finally:
            self._questions.discard(future)

    def flush(self, timeout: float) -> bool:
        if self._loop is None or self._closed:
            return not self._outgoing
        if self._native and self.receiver.may_run():
            with suppress(asyncio.TimeoutError):
                self._loop.run_until_complete(asyncio.wait_for(self.drained(), timeout))
            return not self._outgoing
        if self._native and self.receiver.is_loop_thread():
            raise RuntimeError('flush() would wait for its own loop: await rooms.drained()')
        until = monotonic() + timeout
        while self._outgoing and monotonic() < until and not self._closed:
            sleep(0.002)
        return not self._outgoing

    async def drained(self) -> None:
        while self._outgoing and not self._closed:
            await asyncio.sleep(0.002)

    def close(self, timeout: float) -> None:
        with self._lock:
            self._closing = True
        if self._loop is None or self._is_parents():
            self._closed = True
            return
        if self._is_interrupted():
            if self._outgoing.waiting and self._loop.is_running():
                self._start_task()
            else:
                self._end()
        self._poke()
        self._join(timeout)

    @property
    def is_closed(self) -> bool:
        return self._closed

    # Reporting to the rooms

    def _report(self, call: Callable[..., object], *args: Any) -> None:
        """`Receiver.post`; from a thread, one for all calls of a turn, so that the rooms' loop is woken once."""
        if self._native:
            self.receiver.post(call, *args)
            return
        self._reports.append((call, args))
        if len(self._reports) == 1:
            assert self._loop is not None
            self._loop.call_soon(self._post_reports)

    def _post_reports(self) -> None:
        if self._reports:
            reports, self._reports = self._reports, []
            self.receiver.post_all(reports)

    # Where it runs

    def _check_open(self) -> None:
        if self._closing:
            raise closed(self)

    def _wake_up(self) -> None:
        """There is something to do."""
        if self._is_parents():
            raise forked(self)
        if self._loop is None:
            if self._closing:
                return
            self._start()
        if not self._awake:
            self._awake = True
            self._poke()

    def _poke(self) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._wake.set)

    def _start(self) -> None:
        """Start `_main`, as a task of the asyncio loop of the rooms, or in a thread with a loop of its own."""
        with self._lock:
            if self._loop is not None:
                return
            self._pid = os.getpid()
            host = getattr(self.receiver.ioloop.reactor, 'loop', None)
            self._native = isinstance(host, asyncio.AbstractEventLoop)
            self._wake = asyncio.Event()
            self._loop = host if self._native and host is not None else asyncio.new_event_loop()
        atexit.register(self._at_exit)
        if self._native:
            self._loop.call_soon_threadsafe(self._start_task)
        else:
            self._thread = threading.Thread(target=self._run, name='pyjows.rooms', daemon=True)
            self._thread.start()

    def _start_task(self) -> None:
        assert self._loop is not None
        if self._task is None or self._is_interrupted():
            self._task = self._loop.create_task(self._main())

    def _is_interrupted(self) -> bool:
        """Whether the host of an asyncio loop has cancelled the task: `asyncio.run` does that at first when it ends."""
        return self._task is not None and self._task.done() and not self._closed

    def _resume(self) -> None:
        """The task was cancelled some time ago, and the loop goes on."""
        if self._is_interrupted() and not self._closing:
            self._start_task()

    def _run(self) -> None:
        assert self._loop is not None
        try:
            self._loop.run_until_complete(self._main())
            if left := asyncio.all_tasks(self._loop):  # nats-py does not wait for those of its subscriptions
                for task in left:
                    task.cancel()
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._post_reports()
        finally:
            self._loop.close()
            with suppress(RuntimeError):  # the rooms' loop is closed
                self.receiver.post(self.receiver.ended)
            self._closed = True

    def _join(self, timeout: float) -> None:
        """Wait for the end; not on the thread of the running loop, which it needs."""
        if self._closed:
            return
        if self._thread is not None:
            if timeout > 0:
                self._thread.join(timeout)
        elif self._loop is not None and not self._loop.is_closed() and self.receiver.may_run():
            self._start_task()
            assert self._task is not None
            if timeout > 0:
                self._loop.run_until_complete(asyncio.wait([self._task], timeout=timeout))

    def _at_exit(self) -> None:
        """The process ends: send what was published last."""
        if self._pid == os.getpid() and not self._closed:
            self.close(2.0)

    # Sessions

    async def _main(self) -> None:
        """The coroutine of the engine: connect, serve a session, and again after a delay, until it is closed.

        If messages wait then, there is one more session for them.
        """
        delays = self._delays()
        is_last = False
        try:
            while not is_last:
                is_last = self._closing
                if is_last and not self._outgoing.waiting:
                    break
                began = monotonic()
                exc: BaseException | None
                try:
                    await within(self.timeout, self.connect(), self)
                    exc = await self._session()
                except Exception as failure:
                    exc = failure
                finally:
                    await self._end_session()
                if exc is None:
                    break
                if not self._is_lost:
                    self._is_lost = True
                    self._report(self.receiver.lost, lost(self, exc))
                if monotonic() - began > 10 * self.timeout:
                    delays = self._delays()
                await self._pause(next(delays, 5.0))
        finally:
            for future in list(self._questions):
                future.cancel()
            if self._closing:
                self._end()
            else:
                asyncio.get_running_loop().call_later(_RESUME_AFTER, self._resume)

    def _end(self) -> None:
        if waiting := self._outgoing.waiting:
            _log.error('%r was closed before %d messages could be sent', self, waiting)
        atexit.unregister(self._at_exit)
        if self._native:  # in a thread, when its loop is closed too
            self._closed = True
            self.receiver.post(self.receiver.ended)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not when `close` was called."""
        until = monotonic() + seconds
        while not self._closing and (left := until - monotonic()) > 0:
            self._awake = True  # so that `_wake_up` does not wake it: without a connection there is nothing to do
            self._wake.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left)

    async def _session(self) -> BaseException | None:
        """Serve a connection until it is lost; returns why, None when it is closed on purpose."""
        self._alive_at = monotonic()
        self._settled = monotonic() + (self.presence_ttl if self._is_lost else 0)
        for feed in self._feeds.values():
            feed.begin_aside()  # without that of the session before
            feed.subscribed = False  # when it is, the feed is stale
        self._stale.clear()
        self._denied.clear()
        self._loading = set(self._feeds)
        tasks = [asyncio.ensure_future(task) for task in (self.listen(), self._watch(), self._work())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (exc := task.exception()) is not None:
                    return exc
            return None if tasks[2] in done else BrokerLost('the broker ended the connection')
        except asyncio.CancelledError:  # the host ends its loop, and this with it
            tasks[2].cancel()
            with suppress(Exception):
                await asyncio.wait_for(self._send_and_withdraw(), 1.0)
            raise
        finally:
            await cancel(tasks)

    async def _end_session(self) -> None:
        self._outgoing.end_session()
        with suppress(Exception):
            await within(1.0, self.disconnect(), self)

    async def _work(self) -> None:
        """Write what the rooms have queued, in a session."""
        await self._declare_all()
        await self._subscribe([feed.room for feed in self._feeds.values()])
        while True:
            self._awake = False
            self._wake.clear()
            more = True
            while more:
                await self._change()
                await self._fill()
                more = await self._send() or bool(self._changes or self._stale)
            if self._closing:
                self._loading.clear()
                await self._send_and_withdraw()
                return
            if self._is_lost and all(feed.subscribed and feed.aside is None for feed in self._feeds.values()):
                self._is_lost = False
                self._report(self.receiver.back)
            await self._wake.wait()

    async def _declare_all(self) -> None:
        rooms = self._outgoing.begin_session()
        if rooms and self.shares_presence:
            await self.declare(rooms)
        self._outgoing.declared()  # not if that failed: the next session declares them

    async def _send_and_withdraw(self) -> None:
        """Send what waits, and remove the entries of the members of this process."""
        while await self._send():
            pass
        rooms = self._outgoing.withdrawn(self._closing)
        if rooms and self.shares_presence:
            await self.declare(rooms)

    async def _change(self) -> None:
        """Follow and unfollow rooms."""
        wanted: dict[str, bool] = {}
        while self._changes:
            what, room, keep = self._changes.popleft()
            feed = self._feeds.get(room)
            if what == 'follow' and keep is not None:
                if feed is not None:
                    feed.epoch, feed.offset, feed.keep = '', 0, keep
                    feed.processes.clear()
                    feed.doubtful.clear()
                    self._make_stale(feed)
                else:
                    self._feeds[room] = Feed(room, keep)
                    self._loading.add(room)
                    wanted[room] = True
            elif what == 'keep' and feed is not None and keep is not None:
                self._set_keep(feed, keep)
            elif what == 'unfollow' and feed is not None:
                wanted[room] = False
                del self._feeds[room]
                self._stale.discard(room)
                self._loading.discard(room)
            elif what == 'ask again' and feed is not None:
                feed.subscribed = False  # when the server has answered, the feed is stale
                wanted[room] = True
            elif what == 'catch_up' and feed is not None:
                feed.recheck = True
                self._make_stale(feed)
        await self._subscribe([room for room, follow in wanted.items() if follow])
        gone = [room for room, follow in wanted.items() if not follow]
        for i in range(0, len(gone), BATCH):
            await self.unsubscribe(gone[i : i + BATCH])

    async def _subscribe(self, rooms: list[str]) -> None:
        for i in range(0, len(rooms), BATCH):
            await self.subscribe(rooms[i : i + BATCH])

    async def _send(self) -> bool:
        """Send the next batch of publications, joins and leaves; returns whether there was one."""
        batch = self._outgoing.batch(BATCH, self._loading)
        if not batch:
            return False
        try:
            refusals = await self.perform(batch)
        except BaseException as exc:
            if not self.can_repeat:
                reason = exc if isinstance(exc, OSError) else BrokerLost(str(exc) or 'the connection ended')
                self._done(batch, [reason] * len(batch))
            raise
        self._done(batch, refusals)
        return True

    def _done(self, batch: Sequence[Publication | Entry], refusals: Sequence[BaseException | None]) -> None:
        self._outgoing.done(batch)
        for command, refusal in zip(batch, refusals, strict=True):
            if isinstance(refusal, OSError):
                self._report(self.receiver.failed, refusal)
            elif isinstance(refusal, Exception):
                if isinstance(command, Publication):
                    exc = RoomRefused(command.message.room, 'publish', refusal, command.message)
                    self._report(self.receiver.failed, exc)
                else:
                    self.refused(command.room, 'tell who joins and leaves', refusal)

    # What `listen` calls

    def mark_alive(self) -> None:
        """Bytes came on the connection that `listen` reads: a sign of life."""
        self._alive_at = monotonic()

    def arrived(self, message: Message) -> None:
        self._arrived_size += len(message.payload)
        super().arrived(message)

    @property
    def is_wait_due(self) -> bool:
        """Whether so many bytes have arrived that `listen` has to call `wait_for_rooms` now."""
        return self._arrived_size > _BACKLOG_SIZE

    async def wait_for_rooms(self) -> None:
        """Wait while too much waits for the rooms' loop; `listen` calls it every 256 messages or when `is_wait_due`."""
        limit = _BACKLOG
        if self._arrived_size > _BACKLOG_SIZE:  # as nothing says how much of it was handled, all of it has to be
            self._arrived_size = limit = 0
            await asyncio.sleep(0)  # `_post_reports`
        while self.receiver.backlog > limit:
            await asyncio.sleep(0.005)
            self.mark_alive()  # the server is not silent: nothing is read

    # Signs of life

    async def _watch(self) -> None:
        """Ping the server when it is silent, and refresh the presence; raises BrokerLost if it does not answer."""
        pinged, refreshed = self._alive_at, monotonic()
        step = min(self.timeout, self.presence_ttl / 3) / 2
        while True:
            now = monotonic()
            await asyncio.sleep(step)
            late, now = monotonic() - now - step, monotonic()
            if late > step:  # the process stood still: what the server has sent may not be read yet
                pinged, self._alive_at = pinged + late, min(self._alive_at + late, now)
            if now - self._alive_at > self.timeout and pinged > self._alive_at and now - pinged > self.timeout:
                raise BrokerLost(f'the broker was silent for {now - self._alive_at:.1f} s')
            if now - pinged > self.timeout:
                pinged = now
                await within(self.timeout, self.ping(), self)
            if now - refreshed > self.presence_ttl / 3 - 0.01:
                refreshed = now
                for room in self._denied:
                    self._changes.append(('ask again', room, None))
                if self._denied:
                    self._denied.clear()
                    self._wake_up()
                if self.shares_presence:
                    await self._refresh()

    async def _refresh(self) -> None:
        """Refresh the entries of this process, and read which other processes have one."""
        here = self._outgoing.counts()
        wanted = {feed.room for feed in self._feeds.values() if feed.keep.presence and feed.epoch}
        rooms = sorted(here.keys() | wanted)
        for i in range(0, len(rooms), BATCH):
            some = {room: here.get(room, 0) for room in rooms[i : i + BATCH]}
            found = await self.refresh(some)
            for (room, mine), entry in zip(some.items(), found, strict=True):
                if entry is None:
                    continue
                was_there, living = entry
                if mine and not was_there:
                    await self.declare({room: self._outgoing.members_of(room)})
                if (feed := self._feeds.get(room)) is not None:
                    self._check_living(feed, living)
