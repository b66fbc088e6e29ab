"""The server under load: rooms of chatting members, a firehose, and its own figures as JSON.

GET /figures        resident memory, seconds of processor time, descriptors, connections, statistics()
ws  /room/NAME      what one member says goes to all members of the room
ws  /firehose       gets a kilobyte, 200 times a second
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyjows

KILOBYTE = 'x' * 1024


def figures(server: pyjows.Server) -> dict[str, Any]:
    """What the server looks like now."""
    gc.collect()
    pages = int(Path('/proc/self/statm').read_text('ascii').split()[1])
    return {
        'resident': pages * os.sysconf('SC_PAGESIZE'),
        'processor': time.process_time(),
        'descriptors': len(os.listdir('/proc/self/fd')),
        'connections': len(server.connections),
        'statistics': server.statistics().as_dict(),
    }


def main() -> None:
    """Serve until SIGTERM; prints the port."""
    options = json.loads(sys.argv[2])
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=pyjows.IOLoop(sys.argv[1]), compression=True, **options)
    rooms: defaultdict[str, dict[pyjows.WebSocket, None]] = defaultdict(dict)

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        assert ws.req is not None
        members = rooms[ws.req.path]
        members[ws] = None

        @ws.on
        def text(ws: pyjows.WebSocket, message: str) -> None:
            pyjows.broadcast(members, text=message)

        @ws.on
        def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
            members.pop(ws, None)

    @server.on
    def request(server: pyjows.Server, req: pyjows.Request) -> pyjows.Response | None:
        return pyjows.Response.json(figures(server)) if req.path == '/figures' else None

    @server.ioloop.recurring(0.005)
    def spray(ioloop: pyjows.IOLoop) -> None:
        pyjows.broadcast(rooms['/firehose'], text=KILOBYTE)

    print(server.ports[0], flush=True)
    pyjows.run(server.ioloop)


if __name__ == '__main__':
    main()
