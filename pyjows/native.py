"""The few words that C says differently, as plain Python.

The hot modules are ordinary Python that also compiles. Where they touch raw memory they say ``native.word(…)``:
interpreted, that is a function of this file; compiled, it is the C function of the same name in ``native.pxd``. The
two files are to be read side by side and mean the same. Nothing else belongs here.

A "pointer" is something to index: the bytes-like object itself here, an ``unsigned char *`` in C. A masking key is
a 32-bit integer whose lowest byte masks the first byte of the payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from socket import socket
from typing import TypeVar

__all__ = ['accept', 'blank', 'copied', 'copy', 'copy_masked', 'fill', 'frozen', 'load_key', 'pointer', 'receive',
'rotated', 'transmit', 'transmit_pieces', 'unmasked']

Octets = bytes | bytearray | memoryview
_Octets = TypeVar('_Octets', bound=bytes | bytearray | memoryview)

# From this many bytes on, four translations of every fourth byte beat one operation on a long integer.
_LONG = 1024

# What sendmsg(2) takes at once on every system.
_MOST_PIECES = 512


def pointer(data: _Octets) -> _Octets:
    """`data` as something to index."""
    return data


def load_key(p: Octets, at: int) -> int:
    """The masking key at ``p[at:at + 4]``."""
    return int.from_bytes(p[at : at + 4], 'little')


def rotated(key: int, n: int) -> int:
    """The masking key as it stands `n` bytes further into the payload."""
    n = (n & 3) * 8
    return ((key >> n) | (key << (32 - n))) & 0xFFFFFFFF if n else key


def copied(p: Octets, at: int, n: int) -> bytes:
    """The bytes ``p[at:at + n]``."""
    return bytes(p[at : at + n])


def unmasked(p: Octets, at: int, n: int, key: int) -> bytes:
    """The bytes ``p[at:at + n]`` with the key applied (RFC 6455 5.3)."""
    if n >= _LONG:
        payload = bytearray(p[at : at + n])
        for i in range(4):
            payload[i::4] = payload[i::4].translate(_table(key >> 8 * i & 0xFF))
        return bytes(payload)
    repeated = (key.to_bytes(4, 'little') * (n // 4 + 1))[:n]
    return (int.from_bytes(p[at : at + n], 'little') ^ int.from_bytes(repeated, 'little')).to_bytes(n, 'little')


@cache
def _table(key: int) -> bytes:
    """What one byte of a key makes of every byte."""
    return bytes(byte ^ key for byte in range(256))


def copy(q: bytearray, to: int, data: Octets, n: int) -> None:
    """Copy ``data[:n]`` to ``q[to:to + n]``."""
    q[to : to + n] = data


def copy_masked(q: bytearray, to: int, data: Octets, n: int, key: int) -> None:
    """Copy ``data[:n]`` to ``q[to:to + n]``, with the key applied (RFC 6455 5.3)."""
    q[to : to + n] = unmasked(data, 0, n, key)


def blank(n: int) -> bytearray:
    """Memory for `n` bytes that are still to come; in C it is a bytes object that nobody else has seen yet."""
    return bytearray(n)


def fill(memory: bytearray, to: int, p: Octets, at: int, n: int, key: int) -> None:
    """Put ``p[at:at + n]`` into blank memory, with the key applied (0: as it is)."""
    memory[to : to + n] = unmasked(p, at, n, key) if key else p[at : at + n]


def frozen(memory: bytearray) -> bytes:
    """The filled memory as bytes."""
    return bytes(memory)


def accept(sock: socket, fd: int) -> int:
    """Accept a connection; returns its descriptor, which does not block, or -1 when none waits.

    Raises:
        OSError: there was one and it came to nothing, or the system has no room for it.
    """
    try:
        connection, _ = sock.accept()
    except (BlockingIOError, InterruptedError):
        return -1
    connection.setblocking(False)
    return connection.detach()


def receive(sock: socket, fd: int, buffer: bytearray) -> int:
    """Receive into a buffer; returns how many bytes, 0 at the end of the stream, -1 for nothing at the moment.

    Raises:
        OSError: the connection broke.
    """
    try:
        return sock.recv_into(buffer)
    except (BlockingIOError, InterruptedError):
        return -1


def transmit(sock: socket, fd: int, data: bytearray, n: int) -> int:
    """Send ``data[:n]``; returns how many bytes the kernel took, -1 for none at the moment.

    Raises:
        OSError: the connection broke.
    """
    try:
        return sock.send(memoryview(data)[:n])
    except (BlockingIOError, InterruptedError):
        return -1


def transmit_pieces(sock: socket, fd: int, pieces: Sequence[Octets]) -> int:
    """`transmit` for several pieces at once."""
    try:
        return sock.sendmsg(pieces[:_MOST_PIECES])
    except (BlockingIOError, InterruptedError):
        return -1
