"""`Statistics`: what a server has counted.

Owns the counters and the names of the causes. Must not know servers.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

__all__ = ['ADDRESS_REFUSED', 'ORIGIN_REFUSED', 'Statistics', 'Tally', 'Traffic']

# Causes to refuse an upgrade, which are counted in place of the status.
ORIGIN_REFUSED, ADDRESS_REFUSED = 'origin not allowed', 'too many connections'


# Why this side ended a connection, by the close code that it sent.
_CAUSES = {
    1002: 'protocol error',
    1007: 'invalid data',
    1009: 'message too big',
    1011: 'internal error',
}


class Traffic:
    """Messages and their payloads in bytes, in both directions; the connections of one server share one."""

    def __init__(self) -> None:
        self.messages_received = 0
        self.bytes_received = 0
        self.messages_sent = 0
        self.bytes_sent = 0


class Tally:
    """What a server counts as it happens."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.opened = 0
        self.accepting_paused = 0
        self.refused: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()
        self.causes: Counter[str] = Counter()

    def connection_closed(self, ws: Any) -> None:
        """A connection is gone; where its upgrade was refused, that is what counts."""
        protocol, answer = ws.protocol, ws.res
        if answer is not None and answer.status != 101:
            cause = protocol.cause
            self.refused[cause if cause in (ORIGIN_REFUSED, ADDRESS_REFUSED) else str(answer.status)] += 1
            return
        if protocol.opening is not None:
            self.refused['lost before the answer'] += 1
            return
        self.opened += 1
        self.closed[protocol.finish_code] += 1
        sent = protocol.close_sent
        cause = protocol.cause
        if cause is None and sent is not None and not protocol.close_rcvd_then_sent:
            cause = _CAUSES.get(sent.code)
        if cause is not None:
            self.causes[cause] += 1

    def statistics(self, websockets: Iterable[Any], pending: int) -> Statistics:
        """A snapshot, with the numbers of the current connections."""
        traffic = self.traffic
        current = list(websockets)
        return Statistics(
            connections=len(current),
            connections_total=self.opened + sum([ws.established for ws in current]),
            pending=pending,
            refused=dict(self.refused),
            closed=dict(self.closed),
            causes=dict(self.causes),
            messages_received=traffic.messages_received,
            messages_sent=traffic.messages_sent,
            bytes_received=traffic.bytes_received,
            bytes_sent=traffic.bytes_sent,
            bytes_waiting=sum([ws.buffered_amount for ws in current]),
            paused=sum([ws.is_paused for ws in current]),
            accepting_paused=self.accepting_paused,
        )


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What a server has counted so far; a snapshot.

    Attributes:
        connections: WebSockets that are open, opening or closing now.
        connections_total: how many were opened in all.
        pending: connections that are in the middle of an HTTP request or answer.
        refused: how many requests and connections were refused, by status (``'403'``) or by cause (``'handshake
            timeout'``, ``'origin not allowed'``).
        closed: how many connections were closed, by the code of their ``finish``.
        causes: how many of them this side ended, by cause: ``'slow consumer'``, ``'ping timeout'``, ``'idle timeout'``,
            ``'close timeout'``, ``'terminated'``, ``'protocol error'``, ``'invalid data'``, ``'message too big'``,
            ``'internal error'``.
        messages_received, messages_sent: whole messages.
        bytes_received, bytes_sent: their payloads, in bytes, before compression.
        bytes_waiting: how many bytes wait to be written now, in all connections together.
        paused: connections that are not read now, because too much waits for them or by `WebSocket.pause_reading`.
        accepting_paused: how many times accepting paused while more connections came, at ``max_connections`` or for
            lack of descriptors: they waited in the kernel's backlog, or were refused by the kernel.
    """

    connections: int
    connections_total: int
    pending: int
    refused: dict[str, int]
    closed: dict[int, int]
    causes: dict[str, int]
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    bytes_waiting: int
    paused: int
    accepting_paused: int

    @property
    def slow_consumers(self) -> int:
        """How many connections were closed because they let too much wait."""
        return self.causes.get('slow consumer', 0)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {**dataclasses.asdict(self), 'slow_consumers': self.slow_consumers}
