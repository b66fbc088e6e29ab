"""The client under test: asks the fuzzing server for the number of cases, calls it once for each, echoes what comes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pyjows
from t.autobahn import faces
from t.autobahn.peers import MAX_SIZE, PATIENCE, compression, echo, options, require


class Client:
    """One run of transactions through all cases of the fuzzing server at `url`, one connection after the other."""

    def __init__(self, url: str, loop: pyjows.IOLoop) -> None:
        self.url = url
        self.loop = loop
        self.cases = 0
        self.case = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Ask for the number of cases, go through them, have the reports written; raises what was wrong with a call."""
        ws = self._connect('getCaseCount')

        @ws.on
        def text(ws: Any, message: str) -> None:
            self.cases = json.loads(message)

        ws.on('finish', self._next)
        self.loop.start()
        if self.error:
            raise self.error

    def _connect(self, path: str) -> Any:
        ws = pyjows.connect(
            f'{self.url}/{path}',
            ioloop=self.loop,
            max_websocket_size=MAX_SIZE,
            compression=compression(),
            timeout=PATIENCE,
        )
        ws.on('error', self._failed)
        return ws

    def _failed(self, ws: Any, exc: Exception) -> None:
        # A peer's faults come as `finish`. This is a dial or a handshake that failed, or a fault in a handler: ours.
        self.error = exc

    def _next(self, ws: Any, code: int, reason: str) -> None:
        if self.error:
            self.loop.stop()
        elif self.case < self.cases:
            self.case += 1
            ws = self._connect(f'runCase?case={self.case}&agent=pyjows')
            echo(ws)
            ws.on('finish', self._next)
        else:
            self._connect('updateReports?agent=pyjows').on('finish', lambda ws, code, reason: self.loop.stop())


def main() -> None:
    """Run all cases that the fuzzing server has."""
    parser = options('The client that the Autobahn test suite talks to.')
    parser.add_argument('url', help='the fuzzing server, such as ws://127.0.0.1:9001')
    arguments = parser.parse_args()
    require(arguments.reactor, arguments.build)
    if arguments.face == 'transaction':
        client = Client(arguments.url, pyjows.IOLoop(reactor=arguments.reactor))
        client.run()
        cases = client.case
    else:
        cases = faces.run(arguments.url, arguments.face)
    print(f'{cases} cases')
    if not cases:
        sys.exit('the fuzzing server has no cases')


if __name__ == '__main__':
    main()
