"""`run()`: the default loop until it is done, or until the user or the system has had enough.

Owns what happens on SIGINT and SIGTERM. Must not know servers or clients: they hear of it as the loop's ``finish``.
"""

from __future__ import annotations

import signal
import threading

from .ioloop import IOLoop

__all__ = ['run', 'stop']


def run(ioloop: IOLoop | None = None, *, timeout: float = 10.0) -> None:
    """Run a loop until nothing is left to do, until `stop`, or until SIGINT or SIGTERM.

    A signal stops it gracefully: no new connections, 1001 to the open ones, and at most `timeout` seconds for them to
    be gone. A second signal stops it at once.

    Args:
        ioloop: the loop; by default the one of this place (`IOLoop.singleton`).
        timeout: seconds.

    Raises:
        RuntimeError: it is running already, or it rides on an asyncio loop that runs already: then there is nothing to
        run.
    """
    ioloop = IOLoop.singleton() if ioloop is None else ioloop
    if threading.current_thread() is not threading.main_thread():
        ioloop.start()
        return
    seen: list[int] = []

    def heard(number: int) -> None:
        if seen:
            ioloop.stop()
        else:
            seen.append(number)
            ioloop.stop_gracefully(timeout)

    with ioloop.reactor.signals(heard, signal.SIGINT, signal.SIGTERM):
        ioloop.start()


def stop(ioloop: IOLoop | None = None) -> None:
    """Have `run` return at once; whatever is open stays as it is."""
    (IOLoop.singleton() if ioloop is None else ioloop).stop()
