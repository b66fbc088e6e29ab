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
from collections.abc import Sequence
from time import time
from typing import Any
from urllib.parse import urlsplit

from .broker import Broker, BrokerLost, Entry, Feed, Publication, Snapshot
from .messages import Message, check_payload, new_epoch

try:
    import nats.aio.client
    import nats.errors
except ImportError as exc:
    raise ImportError("rooms over NATS need the package nats-py: pip install 'pyjows[nats]'") from exc

__all__ = ['NatsEngine']


class NatsEngine(Broker):
    """Rooms over NATS.

    Args:
        url: ``nats://user:password@host:port`` or ``tls://…``; several servers of a cluster separated by commas.
        prefix: what all subjects begin with (``pyjows``).
        **options: those of `Broker`: ``timeout``, ``max_queue``, ``max_queue_size``, ``delays``.
    """

    keeps_history = False
    shares_presence = False
    can_repeat = False

    def __init__(self, url: str = 'nats://127.0.0.1:4222', *, prefix: str = 'pyjows', **options: Any) -> None:
        super().__init__(**options)
        if not prefix or set(prefix) & set(' *>') or '' in prefix.split('.'):
            raise ValueError(f'prefix={prefix!r}: give the beginning of a NATS subject, such as app.rooms')
        self._urls = url.split(',')
        for each in self._urls:
            if not urlsplit(each).hostname:
                raise ValueError(f'{each!r} names no NATS server: nats://host:port')
        self._prefix = prefix
        self._client: Any = None
        self._subscriptions: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._epoch = ''
        self._over: asyncio.Future[BaseException] | None = None

    def __repr__(self) -> str:
        return f'<NatsEngine {",".join(urlsplit(url).netloc.rpartition("@")[2] for url in self._urls)}>'

    async def connect(self) -> None:
        over: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._over = over
        self._epoch = new_epoch()
        self._counts.clear()
        self._subscriptions.clear()

        def end(exc: BaseException) -> None:
            if not over.done():
                over.set_result(exc)

        async def failed(exc: Exception) -> None:
            end(exc)  # a slow consumer has lost messages: that is a gap like any other

        async def closed() -> None:
            end(BrokerLost('NATS ended the connection'))

        self._client = nats.aio.client.Client()
        await self._client.connect(
            servers=self._urls,
            connect_timeout=self.timeout,
            allow_reconnect=False,
            max_reconnect_attempts=0,
            error_cb=failed,
            disconnected_cb=closed,
            closed_cb=closed,
        )

    async def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def listen(self) -> None:
        assert self._over is not None
        raise await self._over

    async def ping(self) -> None:
        await self._client.flush(self.timeout)
        self.mark_alive()

    def _subject(self, room: str) -> str:
        return f'{self._prefix}.{room.replace(".", "%2E")}'

    async def subscribe(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            if room not in self._subscriptions:
                self._subscriptions[room] = await self._client.subscribe(self._subject(room), cb=self._callback(room))
        await self._flush()
        for room in rooms:
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

    async def perform(self, batch: Sequence[Publication | Entry]) -> Sequence[Exception | None]:
        refusals: list[Exception | None] = []
        for command in batch:
            refusal = None
            if isinstance(command, Publication):
                message = command.message
                try:
                    await self._client.publish(self._subject(message.room), message.kind + message.payload)
                except nats.errors.MaxPayloadError as exc:
                    refusal = exc
            refusals.append(refusal)
        await self._flush()
        return refusals

    async def _flush(self) -> None:
        """Return when the server has read all that was written.

        nats-py writes the PING of a flush at once, and what waits in its buffer a moment later. So the first answer
        says only that the buffer has been written, and the second that the server has read it.
        """
        await self._client.flush(self.timeout)
        await self._client.flush(self.timeout)

    async def load(self, feeds: Sequence[Feed]) -> Sequence[Snapshot]:
        return [Snapshot(self._epoch, self._counts.get(feed.room, 0), ()) for feed in feeds]
