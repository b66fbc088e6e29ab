"""pyjows.rooms."""

import sys

import pyjows

server = pyjows.serve('ws://127.0.0.1:0', ping_interval=0)
rooms = pyjows.rooms(sys.argv[1] or 'memory://', timeout=30) if sys.argv[1] else pyjows.rooms()


@server.on
def websocket(server, ws):
    room = None

    @ws.on
    def text(ws, message):
        nonlocal room
        if room is None:
            room = rooms[message.removeprefix('join ')]
            room.join(ws)
        else:
            room.publish(text=message)


print(f'port={server.ports[0]}', flush=True)
pyjows.run()
