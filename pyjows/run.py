"""`run()`: the default loop until it is done, or until the user or the system has had enough.

Owns what happens on SIGINT and SIGTERM. Must not know servers or clients: they hear of it as the loop's ``finish``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

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

    def begin(_: Any) -> None:
        ioloop.stop_gracefully(timeout)

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.enter_context(_Handler(number, begin, ioloop))
        ioloop.start()


def stop(ioloop: IOLoop | None = None) -> None:
    """Have `run` return at once; whatever is open stays as it is."""
    (IOLoop.singleton() if ioloop is None else ioloop).stop()


class _Handler:
    """A signal's handler for as long as the loop runs."""

    def __init__(self, number: int, begin: Callable[[Any], None], ioloop: IOLoop) -> None:
        self.number = number
        self.begin = begin
        self.ioloop = ioloop
        self.before: Any = None
        self.seen = False

    def __enter__(self) -> None:
        self.before = signal.signal(self.number, self)

    def __exit__(self, *_: object) -> None:
        signal.signal(self.number, self.before)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            self.ioloop.stop()
        self.seen = True
        self.ioloop.call_threadsafe(self.begin)
