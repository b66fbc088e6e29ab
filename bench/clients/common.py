"""What every client script shares: its options, and a count that is read by a signal, not by the code measured."""

import argparse
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable
from types import FrameType

__all__ = ['MAX_SIZE', 'Tally', 'options', 'tls_context', 'url']

MAX_SIZE = 16 * 2**20  # bytes


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--connections', type=int, default=1)
    parser.add_argument('--size', type=int, default=256, help='bytes of a message')
    parser.add_argument('--seconds', type=float, default=2)
    parser.add_argument('--warmup', type=float, default=0.2, help='seconds that do not count')
    parser.add_argument('--tls', metavar='FOLDER', help='speak TLS, and trust the ca.pem in this folder')
    return parser.parse_args()


def url(options: argparse.Namespace) -> str:
    """Where to connect to."""
    return f'{"wss" if options.tls else "ws"}://127.0.0.1:{options.port}/'


def tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """The context that `--tls` asks for, the same for every client."""
    return ssl.create_default_context(cafile=f'{options.tls}/ca.pem') if options.tls else None


class Tally:
    """Counts messages: add to `count` for every one that came back, and call `opened` for every connection.

    When all are open, each is told to begin: before that, traffic would slow down the handshakes of the others. Then a
    timer signal looks at the count, once after the warm-up and once at the end, where it prints the figures as JSON and
    ends the process. So what is measured does not look at the clock.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.count = 0
        self._missing: int = options.connections
        self._begin: list[Callable[[], object]] = []
        self._options = options
        self._started: tuple[int, float, float] | None = None

    def opened(self, begin: Callable[[], object]) -> None:
        """One more connection is open; with the last of them all begin, and the clock starts."""
        self._begin.append(begin)
        self._missing -= 1
        if not self._missing:
            for each in self._begin:
                each()
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, self._options.warmup)

    def _look(self, signum: int, frame: FrameType | None) -> None:
        now = self.count, time.perf_counter(), time.process_time()
        if self._started is None:
            self._started = now
            signal.setitimer(signal.ITIMER_REAL, self._options.seconds)
            return
        count, elapsed, cpu = (b - a for a, b in zip(self._started, now, strict=True))
        if not count:
            print('no message came back', file=sys.stderr, flush=True)
            os._exit(1)
        figures = {'rate': count / elapsed, 'cpu_us': cpu / count * 1e6}
        print(json.dumps(figures), flush=True)
        os._exit(0)
