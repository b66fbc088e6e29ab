"""Litestar's channels, with its backend over Redis' pub/sub or the one in memory, under uvicorn."""

import sys

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from redis.asyncio import Redis

from bench.rooms_servers.common import run

# It publishes and subscribes in many tasks at once, and redis-py allows 100 connections by default.
backend = (
    RedisChannelsPubSubBackend(redis=Redis.from_url(sys.argv[1], max_connections=10_000))
    if sys.argv[1]
    else MemoryChannelsBackend()
)
# Subscribed to at the start. Several first subscriptions at once each make a connection to Redis, and Litestar reads
# only the last one: rooms that were subscribed to on the others would get nothing.
channels = ChannelsPlugin(backend=backend, channels=['first'], arbitrary_channels_allowed=True)


@websocket('/')
async def handler(socket: WebSocket) -> None:
    """One connection."""
    await socket.accept()
    room = (await socket.receive_text()).removeprefix('join ')
    async with (
        channels.start_subscription(['room' + room]) as subscriber,
        subscriber.run_in_background(socket.send_text),
    ):
        while True:
            channels.publish(await socket.receive_text(), 'room' + room)


run(Litestar([handler], plugins=[channels]))
