"""The engine over NATS, by nats-py (``pip install 'pyjows[nats]'``): messages only, at most once.

Owns the subjects. Must not know what is done with a message afterwards (`broker.py`).

Core NATS keeps nothing. So there is no history: `Room.history` is empty, and ``join(since=…)`` recovers only a
connection to the same process that missed nothing. Messages that are published while a process is not connected are
lost for its members, which is reported as a gap. Each process counts the messages that it receives, so positions are
its own. The members in other processes are not known. A message in flight when the connection is lost is not sent
again; it is reported as failed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Sequence
from time import time
from typing import Any
from urllib.parse import urlsplit

from .._options import Rule, check_options, instance
from .broker import Broker, BrokerLost, Entry, Feed, Publication, Snapshot
from .messages import Message, check_payload, new_epoch
from .tasks import Limit

try:
    import nats.aio.client
    import nats.errors
except ImportError as exc:
    raise ImportError("rooms over NATS need the package nats-py: pip install 'pyjows[nats]'") from exc

__all__ = ['NatsEngine']

# Bytes of a room that wait in nats-py; beyond it messages are dropped, and a gap is reported.
_PENDING = 32 * 1024 * 1024

# Seconds, the time limit that nats-py demands: `Limit` has the one that holds.
_PATIENCE = 86400

# What the permissions of a user forbid, as nats-py tells it: in small letters.
_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')

_IP = re.compile(r'[0-9.]+|[0-9a-f:.]+:[0-9a-f:.]+', re.IGNORECASE)

_RULES: dict[str, Rule] = {
    'tls': instance(ssl.SSLContext, 'an ssl.SSLContext or None', optional=True),
    'prefix': instance(str, 'the beginning of a NATS subject, such as app.rooms'),
}


class _Client(nats.aio.client.Client):
    """A client that sends no password to a server without TLS where the URL demands TLS: nats-py would."""

    may_tell = False

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == 'tls' and not self._server_info.get('tls_required'):
            raise BrokerLost('the URL demands TLS, and the NATS server does not require it')
        self.may_tell = True
        command: bytes = super()._connect_command()
        return command


class NatsEngine(Broker):
    """Rooms over NATS.

    Args:
        url: ``nats://user:password@host:port``, or ``tls://…``, which tells a server without TLS nothing; several
            servers of a cluster separated by commas: each is tried in turn, and then those that they have told of.
        tls: an `ssl.SSLContext`, where the default one does not trust the server.
        prefix: what all subjects begin with (``pyjows``).
        **options: those of `Broker`: ``timeout``, ``max_queue``, ``max_queue_size``, ``delays``.

    Raises:
        ValueError: a URL names no NATS server, or an option is out of range.
        TypeError: an option is of another type.
    """

    keeps_history = False
    shares_presence = False
    can_repeat = False

    def __init__(
        self,
        url: str = 'nats://127.0.0.1:4222',
        *,
        prefix: str = 'pyjows',
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_options('rooms()', {'tls': tls, 'prefix': prefix}, _RULES)
        if not prefix or re.search(r'[\s*>]', prefix) or '' in prefix.split('.'):
            raise ValueError(f'prefix={prefix!r}: give the beginning of a NATS subject, such as app.rooms')
        self._urls = deque(url.split(','))
        for each in self._urls:
            parts = urlsplit(each)
            if parts.scheme not in ('nats', 'tls') or not parts.hostname or parts.port == 0:
                raise ValueError(f'{each.rpartition("@")[2]!r} names no NATS server: nats://host:port')
        self._named = tuple(self._urls)
        self._hostnames: dict[str, str] = {}  # of servers that were not named, which certificate they show
        self._tls = tls
        self._prefix = prefix
        self._client: Any = None
        self._subscriptions: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        # Subjects that `_asks_to` publish or subscribe to, and why the server refused that; and rooms without a
        # subscription for that reason.
        self._asks_to = ''
        self._violations: dict[str, Exception] = {}
        self._forbidden: set[str] = set()
        self._epoch = ''
        self._server = ''
        self._over: asyncio.Future[BaseException] | None = None

    def __repr__(self) -> str:
        return f'<NatsEngine {",".join(urlsplit(url).netloc.rpartition("@")[2] for url in self._named)}>'

    async def connect(self) -> None:
        self._epoch = new_epoch()
        self._counts.clear()
        self._subscriptions.clear()
        self._forbidden.clear()
        for left in range(len(self._urls) - 1, -1, -1):
            url = self._server = self._urls[0]
            self._urls.rotate(-1)  # the next attempt begins with the next server, also when this one never answers
            try:
                await self._connect(url)
                return
            except Exception as exc:
                reason = str(exc).removeprefix('nats: ').strip("'") or type(exc).__name__
                if not left:
                    raise BrokerLost(f'{self!r}: {reason}') from exc
                await self.disconnect()

    async def _connect(self, url: str) -> None:
        """Connect to one server; raises what goes wrong first."""
        over: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._over = over

        def end(exc: BaseException) -> None:
            if not over.done():
                over.set_result(exc)

        async def failed(exc: Exception) -> None:
            found = _VIOLATION.match(str(exc).removeprefix('nats: '))
            if found and self._client is client and client.is_connected and found[1] == self._asks_to:
                self._violations[found[2]] = exc  # of one room; the connection goes on
            else:
                end(exc)  # a slow consumer, a permission withdrawn: messages are lost, a gap like any other

        async def closed() -> None:
            end(BrokerLost('NATS ended the connection'))

        client = self._client = _Client()
        options: dict[str, Any] = {'connect_timeout': self.timeout, 'tls_hostname': self._hostnames.get(url)}
        if self._tls is not None:
            options['tls'] = self._tls
        connecting = asyncio.ensure_future(
            client.connect(
                servers=[url],
                allow_reconnect=False,
                max_reconnect_attempts=0,
                error_cb=failed,
                disconnected_cb=closed,
                closed_cb=closed,
                **options,
            )
        )
        try:
            await asyncio.wait((connecting, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():  # nats-py would try again and again
                raise over.result()
            connecting.result()
        finally:
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait((connecting,))
            elif not connecting.cancelled():
                connecting.exception()  # so that asyncio does not log it as never retrieved
        if not client.may_tell:
            raise BrokerLost('this nats-py does not ask whether it may send a password')

    async def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._discover([address.netloc for address in client.discovered_servers])
            await client.close()

    def _discover(self, addresses: Sequence[str]) -> None:
        """Remember the other servers of the cluster, as the last one has told them: they are tried too."""
        if not addresses:
            return  # it was not connected
        parts = urlsplit(self._server)
        hostname = self._hostnames.get(self._server) or parts.hostname or ''
        user, at, _ = parts.netloc.rpartition('@')
        named = {urlsplit(url).netloc.rpartition('@')[2] for url in self._named}
        others = [f'{parts.scheme}://{user}{at}{address}' for address in addresses if address not in named]
        self._hostnames = {url: hostname for url in others if _IP.fullmatch(urlsplit(url).hostname or '')}
        known = {*self._named, *others}
        self._urls = deque(url for url in self._urls if url in known)
        self._urls += (url for url in others if url not in self._urls)

    async def listen(self) -> None:
        assert self._over is not None
        exc = await self._over
        raise BrokerLost(f'{self!r}: {str(exc).removeprefix("nats: ")}') from exc

    async def ping(self) -> None:
        await self._client.flush(_PATIENCE)
        self.mark_alive()

    def _subject(self, room: str) -> str:
        return f'{self._prefix}.{room.replace(".", "%2E")}'

    def _violation(self, room: str) -> Exception | None:
        return self._violations.get(self._subject(room).lower())

    async def subscribe(self, rooms: Sequence[str]) -> None:
        self._asks_to, self._violations = 'subscription', {}
        for room in rooms:
            if room not in self._subscriptions:
                self._subscriptions[room] = await self._client.subscribe(
                    self._subject(room), cb=self._callback(room), pending_bytes_limit=_PENDING
                )
        await self._flush()
        for room in rooms:
            if (exc := self._violation(room)) is not None:
                await self._subscriptions.pop(room).unsubscribe()
                self._forbidden.add(room)
                self.denied(room, exc)
            else:
                if room in self._forbidden:
                    self._forbidden.discard(room)
                    self._counts[room] = self._counts.get(room, 0) + 1  # what came meanwhile is a gap
                self.confirmed(room)

    def _callback(self, room: str) -> Any:
        async def received(message: Any) -> None:
            self.mark_alive()
            kind, payload = message.data[:1], message.data[1:]
            try:
                check_payload(kind, payload)
            except ValueError as exc:  # any program may publish here
                self.malformed(room, exc)
                return
            offset = self._counts[room] = self._counts.get(room, 0) + 1
            self.arrived(Message(room, self._epoch, offset, time(), kind, payload))
            await self.wait_for_rooms()

        return received

    async def unsubscribe(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            if (subscription := self._subscriptions.pop(room, None)) is not None:
                await subscription.unsubscribe()
            self._counts.pop(room, None)
            self._forbidden.discard(room)

    async def perform(self, batch: Sequence[Publication | Entry]) -> Sequence[Exception | None]:
        self._asks_to, self._violations = 'publish', {}
        refusals: dict[int, Exception] = {}
        messages = [command.message for command in batch if isinstance(command, Publication)]  # nothing else is queued
        for i, message in enumerate(messages):
            try:
                await self._client.publish(self._subject(message.room), message.kind + message.payload)
            except nats.errors.MaxPayloadError as exc:
                refusals[i] = exc
        await self._flush()
        return [refusals.get(i) or self._violation(message.room) for i, message in enumerate(messages)]

    async def _flush(self) -> None:
        """Return when the server has read all that was written.

        nats-py writes the PING of a flush at once, and what waits in its buffer a moment later. So the first answer
        says only that the buffer has been written, and the second that the server has read it.
        """
        async with Limit(self.timeout, self):
            await self._client.flush(_PATIENCE)
            await self._client.flush(_PATIENCE)

    async def load(self, feeds: Sequence[Feed]) -> Sequence[Snapshot]:
        return [Snapshot(self._epoch, self._offset(feed), ()) for feed in feeds]

    def _offset(self, feed: Feed) -> int:
        """What was received before the messages that were put aside: there is no history that has these."""
        for message in feed.aside or ():
            if isinstance(message, Message):
                return message.offset - 1
        return self._counts.get(feed.room, 0)
