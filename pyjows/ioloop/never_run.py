"""Loops that never ran: a message on stderr for a program that listens or connects, and does not run the loop.

Owns which loops have something to do and have not run yet. Must not know servers or clients.

The message is written when the program ends; or at once where `serve` or `connect` was called before `asyncio.run`, on
the loop of the process, and then something inside it uses asyncio's loop.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from typing import Any

__all__ = ['expect_run', 'warn_if_never_run']

_LOOPS: weakref.WeakSet[Any] = weakref.WeakSet()


def expect_run(ioloop: Any) -> None:
    """A loop is about to listen or to connect: it has to be run before the program ends."""
    if not ioloop.reactor.thread.has_run:
        _LOOPS.add(ioloop)


def warn_if_never_run(ioloop: Any) -> None:
    """Write to stderr, once, if a loop has something to do and never ran."""
    if ioloop not in _LOOPS:
        return
    _LOOPS.discard(ioloop)
    statistics = ioloop.statistics()
    if ioloop.reactor.thread.has_run or sys.stderr is None:
        return
    if statistics['acceptors']:
        places = ', '.join(str(acceptor).strip('<>') for acceptor in ioloop.acceptors.values())
        what, function = f'nothing was served ({places})', 'serve()'
    elif statistics['dialers']:
        what, function = 'nothing was connected', 'connect()'
    else:
        return
    print(
        f'pyjows: {what}, because the loop has not run. Call pyjows.run() after {function}; in an asyncio program, '
        f'call {function} in the coroutine that asyncio.run() runs',
        file=sys.stderr,
    )


@atexit.register
def _warn_at_exit() -> None:
    # Not after a traceback, which says more; but after Ctrl-C, with which many servers are stopped.
    last = getattr(sys, 'last_type', None)
    if last is None or issubclass(last, KeyboardInterrupt):
        for ioloop in list(_LOOPS):
            warn_if_never_run(ioloop)
