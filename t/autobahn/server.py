"""The server under test: it echoes, and ends with its standard input.

Its first line names the package that it runs, in its second stands the URL where it listens.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyjows
from t.autobahn.peers import MAX_SIZE, compression, echo, options, require

_EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'


def main() -> None:
    """Listen on a free port and echo until standard input ends."""
    arguments = options('The echo server that the Autobahn test suite talks to.').parse_args()
    require(arguments.reactor, arguments.build)
    print(pyjows.__file__, flush=True)
    if arguments.face == 'transaction':
        _transaction(arguments.reactor)
    else:
        _example(_EXAMPLES / f'sans_io_{arguments.face}_server.py')


def _transaction(reactor: str) -> None:
    loop = pyjows.IOLoop(reactor=reactor)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop, max_websocket_size=MAX_SIZE, compression=compression())

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        echo(ws)

    print(f'Echo: {server.urls[0]}', flush=True)
    _at_the_end(lambda: loop.call_threadsafe(lambda loop: loop.stop()))
    loop.start()


def _example(path: Path) -> None:
    _at_the_end(lambda: os._exit(0))  # it accepts connections for ever
    sys.argv = [str(path), '0']
    runpy.run_path(str(path), run_name='__main__')


def _at_the_end(stop: Callable[[], Any]) -> None:
    """Have `stop` called, in a thread of its own, when standard input ends."""

    def wait() -> None:
        sys.stdin.read()
        stop()

    threading.Thread(target=wait, daemon=True).start()


if __name__ == '__main__':
    main()
