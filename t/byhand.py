"""Two transactions talk with no loop and no socket, and what they say is written down: for tests of what needs neither.

`frame` and `frames` are a second, naive codec, so that a test does not ask the library whether the library is right.
"""

from __future__ import annotations

import struct
from typing import Any

from pyjows import WebSocket

__all__ = [
    'BINARY', 'CLOSE', 'CONT', 'PING', 'PONG', 'REQUEST', 'TEXT', 'close', 'frame', 'frames', 'log', 'opened', 'pair',
    'pump',
]  # fmt: skip

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: An upgrade request, the RFC's own.
REQUEST = (
    b'GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n'
)


def frame(opcode: int, payload: bytes = b'', *, fin: bool = True, rsv: int = 0, masked: bool = False) -> bytes:
    """A frame on the wire; `rsv` has RSV1 as its highest bit (4)."""
    n = len(payload)
    size = bytes([n]) if n < 126 else b'\x7e' + struct.pack('!H', n) if n < 65536 else b'\x7f' + struct.pack('!Q', n)
    head = bytes([fin << 7 | rsv << 4 | opcode, size[0] | masked << 7]) + size[1:]
    if not masked:
        return head + payload
    key = b'\xa1\xb2\xc3\xd4'
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def close(code: int | None = None, reason: str = '', *, masked: bool = False) -> bytes:
    """A close frame on the wire."""
    payload = b'' if code is None else struct.pack('!H', code) + reason.encode()
    return frame(CLOSE, payload, masked=masked)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames in some bytes, as (first byte, payload); fails when the last one is not whole."""
    found = []
    at = 0
    while at < len(data):
        head, second = data[at], data[at + 1]
        n, at = second & 0x7F, at + 2
        if n > 125:
            width = 2 if n == 126 else 8
            n, at = int.from_bytes(data[at : at + width], 'big'), at + width
        key = b'\0\0\0\0'
        if second & 0x80:
            key, at = data[at : at + 4], at + 4
        assert at + n <= len(data), 'the last frame is cut'
        found.append((head, bytes(byte ^ key[i % 4] for i, byte in enumerate(data[at : at + n]))))
        at += n
    return found


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
