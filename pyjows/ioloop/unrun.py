"""Loops that never ran: a program that listens or connects, and forgets to run the loop, is told on stderr.

Owns which loops have something to do and have not run yet. Must not know servers or clients.

It is told when the program ends; and at once where the loop of the process waits while an asyncio program begins to use
pyjows, which has a loop of its own.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from typing import Any

__all__ = ['note_unrun', 'tell_unrun']

_LOOPS: weakref.WeakSet[Any] = weakref.WeakSet()


def note_unrun(ioloop: Any) -> None:
    """A loop is about to listen or to connect."""
    if not ioloop.reactor.thread.has_run:
        _LOOPS.add(ioloop)


def tell_unrun(ioloop: Any) -> None:
    """Tell on stderr, once, that a loop has something to do and never ran, if that is so."""
    if ioloop not in _LOOPS:
        return
    _LOOPS.discard(ioloop)
    statistics = ioloop.statistics()
    if ioloop.reactor.thread.has_run or sys.stderr is None:
        return
    if statistics['acceptors']:
        places = ', '.join(str(acceptor).strip('<>') for acceptor in ioloop.acceptors.values())
        what, function = f'nobody was served ({places})', 'serve()'
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
def _report_all() -> None:
    # A program that ends with a traceback has been told enough; Ctrl-C is how many servers end.
    last = getattr(sys, 'last_type', None)
    if last is None or issubclass(last, KeyboardInterrupt):
        for ioloop in list(_LOOPS):
            tell_unrun(ioloop)
