"""The server under test: it echoes. Its first line says, as JSON, where it listens; it ends with its standard input."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pyjows
from compliance.peers import MAX_SIZE, compression, echo, options, require


def main() -> None:
    """Listen on a free port and echo until standard input ends."""
    arguments = options('The echo server that the Autobahn test suite talks to.').parse_args()
    require(arguments.reactor, arguments.build)
    loop = pyjows.IOLoop(reactor=arguments.reactor)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop, max_websocket_size=MAX_SIZE, compression=compression())

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        echo(ws)

    print(json.dumps({'url': server.urls[0], 'pyjows': pyjows.__file__}), flush=True)

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_threadsafe(lambda loop: loop.stop())

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    loop.start()


if __name__ == '__main__':
    main()
