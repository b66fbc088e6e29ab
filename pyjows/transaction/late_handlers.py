"""Handlers of ``open`` and ``finish`` that are subscribed after the event: they are called on the loop's next tick.

Owns the decision whether a handler is too late. Must not know how handlers are called (`handlers.py`).

A program may connect in one place and subscribe in another, after the loop has run: a notebook, for one.
"""

from __future__ import annotations

from typing import Any

from ..protocol import State

__all__ = ['call_if_late']


def call_if_late(ws: Any, event: str, handler: Any) -> None:
    """Have a handler of ``open`` or ``finish`` called on the next tick, if it comes too late for the event itself.

    For ``open`` the connection has to be open still. Without a loop there is no tick, and nothing is done.
    """
    protocol = ws.protocol
    if protocol.ioloop is None:
        return
    if event == 'finish':
        is_late = ws._finished_with is not None
    else:
        # `handshake` is None where it was made elsewhere: such a connection emits no ``open``.
        is_late = protocol.state is State.OPEN and ws.established and ws.handshake is not None

    def call(reactor: Any) -> None:
        if event == 'finish':
            ws._call_late(event, handler, ws._finished_with)
        elif protocol.state is State.OPEN:
            ws._call_late(event, handler, ())

    if is_late:
        protocol.ioloop.reactor.next_tick(call)
