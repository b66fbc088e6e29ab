"""Two transactions talk with no loop and no socket, and what they say is written down: for tests of what needs neither.

`frame` and `frames` are those of `wire`, a naive codec, so that a test does not ask the library whether it is right.
"""

from __future__ import annotations

import struct
from typing import Any

import wire
from wire import BINARY, CLOSE, CONT, PING, PONG, TEXT

from pyjows import WebSocket

__all__ = [
    'BINARY', 'CLOSE', 'CONT', 'PING', 'PONG', 'REQUEST', 'TEXT', 'close', 'frame', 'frames', 'log', 'opened', 'pair',
    'pump',
]  # fmt: skip

#: An upgrade request, the RFC's own.
REQUEST = (
    b'GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n'
)


def frame(opcode: int, payload: bytes = b'', *, fin: bool = True, rsv: int = 0, masked: bool = False) -> bytes:
    """A frame on the wire; `rsv` has RSV1 as its highest bit (4)."""
    return wire.frame(opcode, payload, fin=fin, rsv=rsv, masked=masked)


def close(code: int | None = None, reason: str = '', *, masked: bool = False) -> bytes:
    """A close frame on the wire."""
    payload = b'' if code is None else struct.pack('!H', code) + reason.encode()
    return frame(CLOSE, payload, masked=masked)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames in some bytes, as (first byte, payload); fails when the last one is not whole."""
    return [(fin << 7 | rsv << 4 | opcode, payload) for opcode, fin, rsv, payload in wire.read(data)]


def log(ws: Any, *events: str) -> list[tuple[Any, ...]]:
    """Write down events as they come: ``(name, *arguments)``."""
    seen: list[tuple[Any, ...]] = []

    def listen(name: str) -> None:
        ws.on(name, lambda ws, *args: seen.append((name, *args)))

    for name in events:
        listen(name)
    return seen


def pump(client: WebSocket, server: WebSocket, step: int | None = None) -> None:
    """Carry bytes between the two, until neither has anything to say; `step` bytes at a time."""
    while True:
        there, back = client.client_write(), server.server_write()
        if not there and not back:
            return
        for data, read in ((there, server.server_read), (back, client.client_read)):
            for at in range(0, len(data), step or len(data) or 1):
                read(data[at : at + (step or len(data))])


def pair(client: dict[str, Any] | None = None, server: dict[str, Any] | None = None) -> tuple[WebSocket, WebSocket]:
    """A client and a server with the handshake behind them, of these options."""
    ours, theirs = WebSocket(**(client or {})), WebSocket(**(server or {}))
    ours.client_handshake('ws://example.com/')
    pump(ours, theirs)
    assert ours.established and theirs.established
    return ours, theirs


def opened(side: str = 'server', **options: Any) -> WebSocket:
    """One transaction whose handshake somebody else made."""
    return WebSocket(established=True, masked=side == 'client', **options)
