"""Django Channels with channels_redis, or its layer in memory, under uvicorn."""

import sys

from django.conf import settings

url = sys.argv[1]
LAYER = (
    {
        'BACKEND': 'channels_redis.pubsub.RedisPubSubChannelLayer',
        'CONFIG': {'hosts': [url], 'capacity': 100_000},
    }
    if url
    else {'BACKEND': 'channels.layers.InMemoryChannelLayer', 'CONFIG': {'capacity': 100_000}}
)
settings.configure(CHANNEL_LAYERS={'default': LAYER}, SECRET_KEY='bench')

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402

from bench.rooms_servers.common import run  # noqa: E402


class Consumer(AsyncWebsocketConsumer):
    """One connection."""

    room = ''

    async def connect(self):
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if not self.room:
            self.room = 'room' + text_data.removeprefix('join ')
            await self.channel_layer.group_add(self.room, self.channel_name)
        else:
            await self.channel_layer.group_send(self.room, {'type': 'said', 'text': text_data})

    async def said(self, event):
        await self.send(text_data=event['text'])


run(Consumer.as_asgi())
