"""Requests and frames as they are on the wire, made here without the library, right and wrong, and cut up."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import Any

from hypothesis import strategies as st

__all__ = [
    'BINARY',
    'CLOSE',
    'CONT',
    'PING',
    'PONG',
    'TEXT',
    'UPGRADE',
    'accepted',
    'asked',
    'close',
    'cut',
    'faults',
    'frame',
    'frames',
    'messages',
    'payloads',
    'read',
    'texts',
]

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b'\x37\xfa\x21\x3d'

#: The headers of a valid upgrade request, with the key of RFC 6455 1.3.
UPGRADE = {
    'Host': 'example.com',
    'Upgrade': 'websocket',
    'Connection': 'Upgrade',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
}


def asked(line: str = 'GET /chat HTTP/1.1', **changes: str | None) -> bytes:
    """An upgrade request, with some headers (`Sec_WebSocket_Key='…'`) added, changed, or with None left out."""
    fields = {**UPGRADE, **{name.replace('_', '-'): value for name, value in changes.items()}}
    head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items() if value is not None)
    return f'{line}\r\n{head}\r\n'.encode('latin-1')


def accepted(request: bytes, **headers: str) -> bytes:
    """The 101 that accepts an upgrade request, with these headers too."""
    key = re.search(rb'(?i)\r\nSec-WebSocket-Key: *(\S+)', request)
    assert key is not None, request
    accept = b64encode(sha1(key[1] + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()).decode()
    fields = {'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Accept': accept}
    fields |= {name.replace('_', '-'): value for name, value in headers.items()}
    head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items())
    return f'HTTP/1.1 101 Switching Protocols\r\n{head}\r\n'.encode('latin-1')


def frame(
    opcode: int,
    payload: bytes = b'',
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """One frame (RFC 6455 5.2); `length` puts other length bytes into it than the right ones."""
    n = len(payload)
    if length is None:
        long = b'\x7e' + n.to_bytes(2, 'big') if n < 65536 else b'\x7f' + n.to_bytes(8, 'big')
        length = bytes([n]) if n < 126 else long
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if masked else 0) | length[0]]) + length[1:]
    if not masked:
        return head + payload
    return head + KEY + bytes(byte ^ KEY[i % 4] for i, byte in enumerate(payload))


def close(code: int, reason: str = '', *, masked: bool = True) -> bytes:
    """A close frame."""
    return frame(CLOSE, code.to_bytes(2, 'big') + reason.encode(), masked=masked)


def read(data: bytes) -> list[tuple[int, bool, int, bytes]]:
    """The frames in `data`, all of them whole: (opcode, fin, rsv, payload), unmasked."""
    found = []
    at = 0
    while at < len(data):
        head, second = data[at], data[at + 1]
        n, at = second & 0x7F, at + 2
        if n > 125:
            width = 2 if n == 126 else 8
            n, at = int.from_bytes(data[at : at + width], 'big'), at + width
        key = bytes(4)
        if second & 0x80:
            key, at = data[at : at + 4], at + 4
        payload = data[at : at + n]
        if any(key):
            payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        assert len(payload) == n, 'a frame that is cut'
        found.append((head & 0x0F, head >= 0x80, head >> 4 & 7, payload))
        at += n
    return found


@st.composite
def cut(draw: Any, data: bytes) -> list[bytes]:
    """`data` in pieces, cut anywhere."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


payloads = st.binary(max_size=40) | st.integers(0, 300).map(lambda n: bytes(i & 0xFF for i in range(n)))
texts = st.text(max_size=20) | st.sampled_from(['ä€😀' * 40, 'x' * 130])


@st.composite
def controls(draw: Any, masked: bool) -> bytes:
    """A ping or pong, or none."""
    opcode = draw(st.sampled_from([None, None, PING, PONG]))
    return b'' if opcode is None else frame(opcode, draw(st.binary(max_size=125)), masked=masked)


@st.composite
def messages(draw: Any, masked: bool, pings: bool = True) -> bytes:
    """A message, in one frame or several, with control frames in between if `pings`."""
    text = draw(st.booleans())
    payload = draw(texts).encode() if text else draw(payloads)
    pieces = draw(cut(payload)) if draw(st.booleans()) else [payload]
    wire = b''
    for i, piece in enumerate(pieces):
        wire += draw(controls(masked)) if pings else b''
        wire += frame((TEXT if text else BINARY) if i == 0 else CONT, piece, fin=i == len(pieces) - 1, masked=masked)
    return wire


@st.composite
def faults(draw: Any, masked: bool) -> bytes:
    """A frame that breaks a rule which all libraries know; each names the same close code for it."""
    payload = draw(st.binary(max_size=20))
    return draw(
        st.sampled_from(
            [
                frame(draw(st.sampled_from([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])), payload, masked=masked),
                frame(BINARY, payload, masked=not masked),
                frame(BINARY, payload, rsv=draw(st.integers(1, 7)), masked=masked),
                frame(PING, payload, rsv=draw(st.integers(1, 7)), masked=masked),
                frame(draw(st.sampled_from([CLOSE, PING, PONG])), payload, fin=False, masked=masked),
                frame(CONT, payload, fin=draw(st.booleans()), masked=masked),
                frame(BINARY, payload, fin=False, masked=masked) + frame(TEXT, b'', masked=masked),
                frame(CLOSE, b'\x03', masked=masked),
                close(draw(st.sampled_from([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])), masked=masked),
                frame(CLOSE, b'\x03\xe8\xff', masked=masked),
            ]
        )
    )


@st.composite
def frames(draw: Any, masked: bool, pings: bool = True) -> list[bytes]:
    """All that a peer sends, in pieces: messages, cut anywhere; then perhaps a close or a fault, not cut.

    At the very end are zeros, so that nobody waits for the rest of a header.
    """
    pieces = draw(cut(b''.join(draw(st.lists(messages(masked, pings), max_size=4)))))
    wire = b''
    end = draw(st.sampled_from(['close', 'code', 'fault', 'nothing']))
    if end == 'close':
        wire = frame(CLOSE, masked=masked)
    elif end == 'code':
        code = draw(st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4999]))
        wire = close(code, draw(st.text(max_size=20)), masked=masked)
    elif end == 'fault':
        wire = draw(faults(masked))
    return [*pieces, wire + bytes(14)]
