"""`HostTurn`: what an asyncio loop calls when the poller of a reactor is readable.

Owns one turn of the reactor inside a turn of its host: it is made for each, also where only one connection is ready,
so it is compiled. Must not know asyncio.
"""

from __future__ import annotations

from typing import Any

__all__ = ['HostTurn']


class HostTurn:
    """Handles what is ready, and does not wait.

    Args:
        reactor: an `AsyncioReactor`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._thread = reactor.thread
        self._gate = reactor.task_gate

    def __call__(self) -> None:
        gate = self._gate
        self._thread.enter()
        gate.is_open = True  # the asyncio loop has called this, so no task is running
        try:
            handled = self._reactor._wait(0.0)
        finally:
            gate.is_open = False
        if self._reactor._running:
            self._reactor._stop_if_done(handled)
