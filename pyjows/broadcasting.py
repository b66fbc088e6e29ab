"""`broadcast`: one message to many transactions.

Owns what is done once for all receivers, encoding, framing and compressing, and which of them are skipped. Must not
know how the receivers are chosen, nor how a connection writes (`transaction/`, `ioloop/stream.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .frames import frame_bytes
from .loop_thread import LoopThread
from .messages import MISSING, encoded_message
from .protocol import State
from .transaction.driver import TransactionProtocol
from .transaction.transaction import TransactionCore

__all__ = ['Broadcast', 'broadcast', 'send_to_all']

# Compiled, this is a C integer.
_OPEN = State.OPEN.value


class Broadcast(NamedTuple):
    """The result of a broadcast.

    Attributes:
        sent: how many transactions it was queued for.
        skipped: those that it was not queued for: closing, closed, not open yet, or slow.
        slow: the skipped ones that are open: more than their high water mark waits for them.
    """

    sent: int
    skipped: list[Any]

    @property
    def slow(self) -> list[Any]:
        """The skipped ones that are open: more than their high water mark waits for them."""
        return [ws for ws in self.skipped if ws.state is State.OPEN]


def broadcast(
    transactions: Iterable[TransactionCore],
    *,
    text: str | None = None,
    binary: bytes | bytearray | memoryview | None = None,
    json: Any = MISSING,
    skip_slow: bool = True,
) -> Broadcast:
    """Send one message to many; it is encoded, framed and, where their contexts allow, compressed only once.

    A receiver that is slow (more than its `high_water_mark` waits), closing or closed is skipped and reported; it
    neither delays the others nor raises. With ``skip_slow=False`` a slow one misses nothing: it is sent to until more
    than its `max_backlog` waits, and closed then (1008).

    Any thread may call it. A message to a connection of another thread's loop is handed over to that loop, and counts
    as sent.

    Raises:
        TypeError, ValueError: as `WebSocket.send` does, before anything is sent.
    """
    head, payload = encoded_message('broadcast', text, binary, json)
    skipped: list[TransactionCore] = []
    # A copy: sending may find that a connection is gone, and its handlers take it out of the set it is in.
    return Broadcast(send_to_all(list(transactions), head, payload, skip_slow, skipped), skipped)


def send_to_all(
    transactions: Iterable[TransactionCore],
    head: int,
    payload: bytes,
    skip_slow: bool,
    skipped: list[TransactionCore],
) -> int:
    """Queue an encoded message for the connections of this thread, and hand it over to the threads of the others.

    Returns:
        How many got it; the others are appended to `skipped`.
    """
    size = len(payload)
    plain = frame_bytes(head, payload, False)
    compressed: dict[Any, bytes] | None = None
    elsewhere: dict[LoopThread, list[TransactionCore]] | None = None
    sent = 0
    for ws in transactions:
        protocol = ws._protocol
        if protocol.thread is not None and protocol.thread.is_foreign():
            if elsewhere is None:
                elsewhere = {}
            elsewhere.setdefault(protocol.thread, []).append(ws)
            continue
        out = protocol.out
        if protocol._state != _OPEN or (skip_slow and out is not None and out.size > protocol.limits.high_water_mark):
            skipped.append(ws)
            continue
        sent += 1
        if protocol._masks or protocol._logs_frames:
            protocol._send(head, payload)
        elif not protocol._claimed_bits:
            protocol.outgoing().put(plain)
        else:
            if compressed is None:
                compressed = {}
            _send_shared(protocol, head, payload, compressed)
        protocol._message_sent(size)
        if protocol.resume_pending:
            ws._emit_resume()
    if elsewhere is not None:
        for thread, theirs in elsewhere.items():
            thread.hand_over(send_to_all, theirs, head, payload, skip_slow, [])
            sent += len(theirs)
    return sent


def _send_shared(protocol: TransactionProtocol, head: int, payload: bytes, compressed: dict[Any, bytes]) -> None:
    """Send a message compressed; the same bytes serve all receivers whose contexts allow it."""
    extensions = protocol.extensions
    extension: Any = extensions[0]
    if len(extensions) > 1 or not hasattr(extension, 'compress_shared'):
        protocol._send(head, payload)
        return
    frame = compressed.get(extension.share_key)
    if frame is None:
        smaller = extension.compress_shared(payload)
        frame = frame_bytes(head, payload, False) if smaller is None else frame_bytes(head | 0x40, smaller, False)
        compressed[extension.share_key] = frame
    if frame[0] & 0x40:
        extension.forget()  # the peer's window no longer matches the context of what was sent to it alone
    protocol.outgoing().put(frame)
