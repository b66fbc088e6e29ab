"""The engine over Redis, or Valkey, by redis-py (``pip install 'pyjows[redis]'``).

Owns the keys in Redis; `redis_scripts.py` has the scripts that change them. Must not know what is done with a message
afterwards (`broker.py`).

For a room ``lobby`` there are, all in one slot of a cluster by the braces:

========================================  ==============================================================================
``pyjows:{lobby}``                        the channel: messages, joins and leaves
``pyjows:{lobby}:log``                    a stream, the history: one entry a message, ``offset-0`` its id
``pyjows:{lobby}:meta``                   a hash: ``epoch``, ``offset`` of the last message, the ``server`` that counted
``pyjows:{lobby}:from:PROCESS``           the number of the last publication of a process, for five minutes
``pyjows:{lobby}:here:PROCESS``           a hash, the members in a process: id → info; it expires unless refreshed
``pyjows:{lobby}:live``                   a sorted set of the processes that have one, by the time it expires
========================================  ==============================================================================

Publishing is one script: it counts, appends to the stream, trims it, and publishes. So the order of the stream is the
order of the channel. A batch whose answer was lost is sent again; the number of the last publication tells the script
which of it were done.

An epoch ends when the count cannot be continued: the hash is gone; or a server without an append-only file was started
again, or another one took its place, and may have lost the last messages.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .._options import instance
from .broker import Broker, BrokerLost, Entry, Feed, Publication, Snapshot
from .messages import Message, RoomRefused, new_epoch
from .redis_entries import read_channel, read_members, read_stream, read_word
from .redis_scripts import SCRIPTS, SHA
from .tasks import Limit

try:
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.connection
    import redis.asyncio.retry
    import redis.asyncio.sentinel
    import redis.backoff
    import redis.exceptions
except ImportError as exc:
    raise ImportError("rooms over Redis need the package redis: pip install 'pyjows[redis]'") from exc

__all__ = ['RedisEngine']

# Messages of one script at most: Redis serves no other client meanwhile (about 10 µs for each).
_BATCH = 100

# Answers of a server whose state may pass: the command may succeed later, or on another server.
_AWAY = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterError,
    redis.exceptions.AskError,  # and MovedError: redirected again and again, while a slot moves
    redis.exceptions.TryAgainError,
)
# For these redis-py has no class. The last is about a room of which some keys are in another node, as its slot moves.
_AWAY_WORDS = ('BUSY ', 'UNBLOCKED', 'NOREPLICAS', 'Script attempted to access a non local key')


class RedisEngine(Broker):
    """Rooms over Redis.

    Args:
        url: ``redis://user:password@host:port/db``, ``rediss://…`` (TLS) and ``unix://…``, with the options in the
            query that redis-py takes; ``redis+cluster://host:port``;
            ``redis+sentinel://host:port,host:port/service/db``.
        prefix: what all keys and channels begin with (``pyjows``).
        **options: those of `Broker`: ``timeout``, ``max_queue``, ``max_queue_size``, ``presence_ttl``, ``delays``.

    Raises:
        ValueError: the URL or the prefix is malformed, or an option is out of range.
        TypeError: an option is of another type.
    """

    def __init__(self, url: str = 'redis://127.0.0.1', *, prefix: str = 'pyjows', **options: Any) -> None:
        super().__init__(**options)
        instance(str, 'what all keys begin with, such as app')('rooms()', 'prefix', prefix)
        if not prefix or re.search(r'[{}\s]', prefix):
            raise ValueError(f'prefix={prefix!r}: give one without braces and spaces, such as app')
        self._url = url
        self._prefix = prefix
        self._scheme = url.partition('://')[0]
        self._ttl = max(1, int(self.presence_ttl * 2000 / 3))
        self._server = ''
        self._client: Any = None
        self._sentinels: list[Any] = []
        self._attempts = 0
        self._nodes: list[tuple[str, int]] = []  # those of a cluster, as the last session found them
        self._subscriber: Any = None
        # Connections of the subscriber.
        self._connection: Any = None
        self._subscribing: deque[str] = deque()  # rooms of SUBSCRIBE commands that were not answered yet
        self._publisher: Any = None  # None in a cluster
        self._make()  # raises for a malformed URL
        self._channel_start = f'{prefix}:{{'.encode()

    def __repr__(self) -> str:
        parts = urlsplit(self._url)
        return f'<RedisEngine {self._scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}>'

    # Connections

    def _make(self) -> Any:
        """A client that neither retries nor reconnects by itself, so that a loss is noticed; `Limit` has the time."""
        options: dict[str, Any] = {
            'socket_timeout': None,
            'socket_connect_timeout': self.timeout,
            'retry': redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
            'protocol': 2,
        }
        if self._scheme == 'redis+cluster':
            options['retry'] = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 1)  # slots move: ask once more
            return redis.asyncio.cluster.RedisCluster(**{**options, **self._parsed_url()})
        if self._scheme != 'redis+sentinel':
            return redis.asyncio.Redis.from_url(self._url, **options)
        parts = urlsplit(self._url)
        auth, _, hosts = parts.netloc.rpartition('@')
        service, _, db = parts.path.lstrip('/').partition('/')
        if not service:
            raise ValueError(f'{self!r} names no service: redis+sentinel://host:port,host:port/service/db')
        user, _, password = auth.partition(':')
        options.update(parse_qsl(parts.query))
        if password:
            options.update(username=unquote(user) or None, password=unquote(password))
        make: Any = redis.asyncio.sentinel.Sentinel
        pairs = (address.rpartition(':') for address in hosts.split(','))
        addresses = deque((host, int(port or 26379)) for host, _, port in pairs)
        addresses.rotate(-self._attempts)  # the next attempt begins with the next sentinel: this one may never answer
        asking = {'socket_timeout': self.timeout, 'socket_connect_timeout': self.timeout, 'retry': options['retry']}
        sentinel = make(list(addresses), sentinel_kwargs=asking)
        self._sentinels += sentinel.sentinels
        return sentinel.master_for(service, db=int(db or 0), **options)

    def _parsed_url(self) -> dict[str, Any]:
        """The options of a cluster's URL; at every other attempt with the address of another node."""
        found: dict[str, Any] = {**redis.asyncio.connection.parse_url(self._url.replace('redis+cluster', 'redis', 1))}
        found.pop('connection_class', None)
        if self._nodes and self._attempts % 2:
            found['host'], found['port'] = self._nodes[self._attempts // 2 % len(self._nodes)]
        return found

    async def connect(self) -> None:
        self._attempts += 1
        self._client = self._make()
        self._subscribing.clear()
        try:
            if self._scheme == 'redis+cluster':
                await self._client.initialize()
                self._nodes = [(node.host, node.port) for node in self._client.get_nodes()]
                node = self._client.get_random_node()
                options = {**self._parsed_url(), 'host': node.host, 'port': node.port}
                options.update(socket_timeout=None, protocol=2)
                self._subscriber = redis.asyncio.Redis(**options)
            else:
                self._subscriber = self._make()
            for script in SCRIPTS.values():
                await self._client.script_load(script)
            await self._find_server()
            self._connection = await self._subscriber.connection_pool.get_connection()
            if self._scheme != 'redis+cluster':
                self._publisher = await self._subscriber.connection_pool.get_connection()
        except redis.exceptions.RedisError as exc:
            raise BrokerLost(f'{self!r}: {exc}') from exc

    async def _find_server(self) -> None:
        """Set the identity of the server that counts: its run, and whether its append-only file outlives that.

        Raises:
            BrokerLost: the server is a node of a cluster, and the URL is not.
        """
        self._server = ''
        if self._scheme in ('redis', 'rediss', 'unix'):
            try:
                found = {**await self._client.info('server'), **await self._client.info('persistence')}
            except redis.exceptions.ResponseError:
                self._server = 'unknown'  # INFO is forbidden here
                return
            if found.get('redis_mode') == 'cluster':
                raise BrokerLost(f'{self!r} is a node of a cluster: its URL is redis+cluster://host:port')
            run = str(found.get('run_id', 'unknown'))
            self._server = f'aof:{run}' if found.get('aof_enabled') else run

    async def disconnect(self) -> None:
        client, subscriber, connections = self._client, self._subscriber, (self._connection, self._publisher)
        self._client = self._subscriber = self._connection = self._publisher = None
        for connection in connections:
            if connection is not None:
                await connection.disconnect(nowait=True)
        sentinels, self._sentinels = self._sentinels, []
        for each in (subscriber, client, *sentinels):
            if each is not None:
                await each.aclose()

    async def ping(self) -> None:
        await self._connection.send_command('PING', check_health=False)
        await self._client.ping()

    # Listening

    async def subscribe(self, rooms: Sequence[str]) -> None:
        self._subscribing += rooms
        commands = [_packed(b'SUBSCRIBE', self._channel(room).encode()) for room in rooms]  # it is refused as a whole
        await self._connection.send_packed_command(b''.join(commands), check_health=False)

    async def unsubscribe(self, rooms: Sequence[str]) -> None:
        await self._connection.send_command('UNSUBSCRIBE', *map(self._channel, rooms), check_health=False)

    async def listen(self) -> None:
        connection = self._connection
        start = len(self._channel_start)
        turns = 0
        while True:
            # Its socket_timeout is None: `_watch` detects silence.
            try:
                reply = await connection.read_response(disable_decoding=True)
            except redis.exceptions.ResponseError as exc:
                if not self._subscribing:
                    raise
                self.denied(self._subscribing.popleft(), exc)
                continue
            self.mark_alive()
            if type(reply) is not list:
                continue  # the answer to a PING, before anything is subscribed to
            if reply[0] == b'message':
                self._channel_message(reply[1][start:-1].decode(), reply[2])
            elif reply[0] == b'subscribe':
                self.confirmed(self._subscribing.popleft())
            turns += 1
            if turns % 256 == 0 or self.is_wait_due:
                await asyncio.sleep(0)
                await self.wait_for_rooms()

    def _channel_message(self, room: str, data: bytes) -> None:
        """A message of a room's channel: ``m`` published, ``j`` joined, ``l`` left, ``h`` entry of members replaced."""
        try:
            found = read_channel(room, data)
        except ValueError as exc:
            self.malformed(room, exc)
            return
        if isinstance(found, Message):
            self.arrived(found)
            return
        kind, process, id, info = found
        if kind == b'j':
            self.entered(room, process, id, info)
        elif kind == b'l':
            self.left(room, process, id)
        else:
            self.renewed(room, process)

    # Keys

    def _channel(self, room: str) -> str:
        return f'{self._prefix}:{{{room}}}'

    def _presence_keys(self, room: str) -> tuple[str, str]:
        channel = self._channel(room)
        return f'{channel}:here:{self.process}', f'{channel}:live'

    # Commands

    async def _call(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run scripts, each ``(name, number of keys, keys and arguments)``, in one go."""
        options = {} if self._scheme == 'redis+cluster' else {'transaction': False}
        pipeline = self._client.pipeline(**options)
        for name, *rest in calls:
            pipeline.execute_command('EVALSHA', SHA[name], *rest)
        async with Limit(self.timeout, self):
            results: list[Any] = await pipeline.execute(raise_on_error=False)
        self._refusals(results)
        return results

    async def _evaluate(self, what: str, rooms: Iterable[str], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`_call` for one room each, to do `what`.

        What Redis refuses of a room that is followed is reported, and None here: the other rooms go on. It is raised
        for any other room, which a program has asked for.
        """
        results = await self._call(calls)
        for i, (room, result) in enumerate(zip(rooms, results, strict=True)):
            if isinstance(result, Exception):
                if not self.follows(room):
                    raise RoomRefused(room, what, result)
                self.refused(room, what, result)
                results[i] = None
        return results

    async def perform(self, batch: Sequence[Publication | Entry]) -> Sequence[Exception | None]:
        refusals: list[Any] = []
        for kind, run in groupby(batch, key=type):
            commands: list[Any] = list(run)
            refusals += await (self._publish(commands) if kind is Publication else self._announce(commands))
        return refusals

    async def _publish(self, publications: Sequence[Publication]) -> Sequence[Exception | None]:
        """Publish messages; for each None, or why it was refused."""
        if self._publisher is None:
            return await self._publish_in_cluster(publications)
        refusals: list[Exception | None] = []
        for i in range(0, len(publications), _BATCH):
            command = _packed(b'EVALSHA', SHA['publish'].encode(), *self._publish_words(publications[i : i + _BATCH]))
            try:
                async with Limit(self.timeout, self):
                    await self._publisher.send_packed_command(command, check_health=False)
                    results = await self._publisher.read_response(disable_decoding=True)
            except redis.exceptions.ResponseError as exc:
                results = [exc] * len(publications[i : i + _BATCH])
            refusals += self._refusals(results)
        return refusals

    async def _publish_in_cluster(self, publications: Sequence[Publication]) -> Sequence[Exception | None]:
        """`_publish` where rooms are on different servers: a script for each room."""
        rooms: dict[str, list[Publication]] = {}
        for publication in publications:
            rooms.setdefault(publication.message.room, []).append(publication)
        calls = [('publish', *self._publish_words(theirs)) for theirs in rooms.values()]
        refused: dict[int, Exception | None] = {}
        for theirs, reply in zip(rooms.values(), await self._call(calls), strict=True):
            results = [reply] * len(theirs) if isinstance(reply, Exception) else reply
            for publication, refusal in zip(theirs, self._refusals(results), strict=True):
                refused[publication.number] = refusal
        return [refused[publication.number] for publication in publications]

    def _publish_words(self, publications: Sequence[Publication]) -> list[bytes]:
        """The number of keys, the keys and the arguments of the script."""
        keys: list[bytes] = []
        words: list[bytes] = []
        start, end = self._channel_start, f'}}:from:{self.process}'.encode()
        for number, message, keep in publications:
            room = start + message.room.encode()
            keys += (room + b'}:log', room + b'}:meta', room + end)
            words += (b'%d' % keep.size, b'%d' % max(1, keep.seconds), b'%d' % number, message.kind + message.payload)
        return [b'%d' % len(keys), *keys, new_epoch().encode(), self._server.encode(), *words]

    async def _announce(self, entries: Sequence[Entry]) -> Sequence[Exception | None]:
        """Publish joins and leaves; for each None, or why it was refused."""
        calls: list[tuple[Any, ...]] = []
        for room, id, info in entries:
            known = *self._presence_keys(room), self.process, self._ttl, self._channel(room), id
            calls.append(('leave', 2, *known) if info is None else ('enter', 2, *known, info))
        return self._refusals(await self._call(calls))

    def _refusals(self, results: Sequence[Any]) -> list[Exception | None]:
        """Which results are errors of the command; raises BrokerLost for one of the server."""
        found = [result if isinstance(result, Exception) else None for result in results]
        for exc in found:
            if isinstance(exc, redis.exceptions.NoScriptError):
                raise BrokerLost('Redis has forgotten the scripts')  # the next session loads them
            if exc is not None and _is_away(exc):
                raise BrokerLost(f'{self!r}: {exc}') from exc
        return found

    async def load(self, feeds: Sequence[Feed]) -> Sequence[Snapshot]:
        calls = []
        for feed in feeds:
            channel = self._channel(feed.room)
            time = -1 if feed.time is None else round(feed.time * 1000)
            known = feed.epoch, feed.offset, feed.keep.size, max(1, int(feed.keep.seconds)), time
            calls.append(('load', 2, f'{channel}:log', f'{channel}:meta', new_epoch(), self._server, *known))
        found = []
        for feed, result in zip(
            feeds, await self._evaluate('read the history', [feed.room for feed in feeds], calls), strict=True
        ):
            if result is None:  # a room of which nothing is known; its next message has it loaded again
                found.append(Snapshot(new_epoch(), 0, ()))
                continue
            epoch, offset, entries, (seconds, microseconds) = result
            messages = []
            for id, fields in reversed(entries):
                try:
                    messages.append(read_stream(feed.room, epoch.decode(), id, fields))
                except ValueError as exc:
                    self.malformed(feed.room, exc)
            now = int(seconds) + int(microseconds) / 1e6
            found.append(Snapshot(epoch.decode(), int(offset), messages, now))
        return found

    # Presence

    async def declare(self, rooms: dict[str, dict[str, bytes]]) -> None:
        calls: list[tuple[Any, ...]] = []
        for room, members in rooms.items():
            known = self.process, self._ttl, self._channel(room)
            calls.append(('declare', 2, *self._presence_keys(room), *known, *_flat(members.items())))
        names = list(rooms)
        for i in range(0, len(calls), 100):
            results = await self._call(calls[i : i + 100])
            for room, result in zip(names[i : i + 100], results, strict=True):
                if isinstance(result, Exception):
                    self.refused(room, 'tell who is here', result)

    async def rosters(self, rooms: Sequence[str]) -> Sequence[dict[str, dict[str, Any]]]:
        calls = [('roster', 1, f'{self._channel(room)}:live', f'{self._channel(room)}:here:') for room in rooms]
        rosters: list[dict[str, dict[str, Any]]] = []
        for room, found in zip(rooms, await self._evaluate('tell who is there', rooms, calls), strict=True):
            roster = {}
            malformed = partial(self.malformed, room)
            for process, flat in found or ():
                try:
                    word = read_word(process)
                except ValueError as exc:
                    malformed(exc)
                    continue
                if members := read_members(flat, malformed):
                    roster[word] = members
            rosters.append(roster)
        return rosters

    async def refresh(self, rooms: dict[str, int]) -> Sequence[tuple[bool, dict[str, int]] | None]:
        calls: list[tuple[Any, ...]] = []
        for room, here in rooms.items():
            known = self.process, self._ttl, here, f'{self._channel(room)}:here:'
            calls.append(('refresh', 2, *self._presence_keys(room), *known))
        found: list[tuple[bool, dict[str, int]] | None] = []
        for result in await self._evaluate('tell who is there', rooms, calls):
            if result is None:
                found.append(None)
            else:  # what is not the id of a process has no entry either, and is reported with it
                sizes = {process.decode('ascii', 'replace'): size for process, size in result[1]}
                found.append((bool(result[0]), sizes))
        return found


def _flat(pairs: Iterable[tuple[str, bytes]]) -> list[str | bytes]:
    return [each for pair in pairs for each in pair]


def _is_away(exc: Exception) -> bool:
    """Whether an error comes from the server's state, which may pass, and not from the command.

    What is no answer of the server comes from redis-py: a node of a cluster that it does not know yet.
    """
    refused = isinstance(exc, redis.exceptions.ResponseError) and not isinstance(exc, _AWAY)
    return not refused or str(exc).startswith(_AWAY_WORDS)


def _packed(*words: bytes) -> bytes:
    """A command as Redis reads it; redis-py takes five times as long for it."""
    return b'*%d\r\n' % len(words) + b''.join([b'$%d\r\n%b\r\n' % (len(word), word) for word in words])
