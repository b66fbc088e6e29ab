"""python-socketio with its Redis manager, or the one in memory, under uvicorn; clients speak Socket.IO."""

import sys

import socketio

from bench.rooms_servers.common import run

manager = socketio.AsyncRedisManager(sys.argv[1]) if sys.argv[1] else None
server = socketio.AsyncServer(
    async_mode='asgi',
    client_manager=manager,
    transports=['websocket'],
    ping_interval=600,  # the load tool answers none
)
joined = {}


@server.on('join')
async def join(sid, room):
    joined[sid] = room
    await server.enter_room(sid, room)


@server.on('say')
async def say(sid, text):
    await server.emit('said', text, room=joined[sid])


run(socketio.ASGIApp(server))
