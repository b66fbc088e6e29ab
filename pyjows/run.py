"""`run()`: runs a loop until it has nothing left to do, or until SIGINT or SIGTERM.

Owns the handling of these signals. Must not know servers or clients: they subscribe to the loop's ``finish``.
"""

from __future__ import annotations

import signal
import threading

from .ioloop import IOLoop

__all__ = ['run', 'stop']


def run(ioloop: IOLoop | None = None, *, timeout: float = 10.0, graceful: float = 0.0) -> None:
    """Run a loop until nothing is left to do, until `stop`, or until SIGINT or SIGTERM.

    A signal stops it gracefully: no new connections, 1001 to the open ones, which have at most `timeout` seconds to
    close. What it waits for is logged. A second signal raises KeyboardInterrupt (SIGINT) or SystemExit (SIGTERM) at
    once, in the loop or in a handler that does not return.

    Args:
        ioloop: the loop; by default the current one (`IOLoop.singleton`).
        timeout: seconds.
        graceful: seconds over which servers close their connections, one after the other, before the `timeout` begins.

    Raises:
        KeyboardInterrupt, SystemExit: a second signal came.
        RuntimeError: it is running already, or its asyncio loop is.
    """
    ioloop = IOLoop.singleton() if ioloop is None else ioloop
    if threading.current_thread() is not threading.main_thread():
        ioloop.start()
        return
    is_first = True

    def on_signal(number: int) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            ioloop.call_threadsafe(lambda ioloop: ioloop.stop_gracefully(graceful + timeout, graceful=graceful))
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)  # the exit status of a program that the signal ends

    with ioloop.reactor.signals(on_signal, signal.SIGINT, signal.SIGTERM):
        ioloop.start()


def stop(ioloop: IOLoop | None = None) -> None:
    """Have `run` return at once; nothing is closed."""
    (IOLoop.singleton() if ioloop is None else ioloop).stop()
