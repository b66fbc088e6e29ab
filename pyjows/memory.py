"""Raw memory, and the id of the current thread, as plain Python: the few operations that the compiled build does in C.

The hot modules are ordinary Python that also compiles. They access raw memory through ``memory.function(…)``:
interpreted, that is a function of this file; compiled, it is the C function of the same name in ``memory.pxd``. Read
the two files side by side: they mean the same. `ioloop/syscalls.py` does the same for system calls. Must not know
what the bytes mean.

A "pointer" is something to index: the bytes-like object itself here, an ``unsigned char *`` in C. A masking key is
a 32-bit integer whose lowest byte masks the first byte of the payload.
"""

from __future__ import annotations

from functools import cache
from threading import get_ident
from typing import TypeVar

__all__ = [
    'blank',
    'copied',
    'copy',
    'copy_masked',
    'fill',
    'frozen',
    'load_key',
    'pointer',
    'rotated',
    'thread_id',
    'unmasked',
]

Octets = bytes | bytearray | memoryview
_Octets = TypeVar('_Octets', bound=bytes | bytearray | memoryview)

# From this many bytes on, four translations of every fourth byte beat one operation on a long integer.
_LONG = 1024


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
    """The XOR of each byte with one byte of a key, as a table for `bytes.translate`."""
    return bytes(byte ^ key for byte in range(256))


def copy(q: bytearray, to: int, data: Octets, n: int) -> None:
    """Copy ``data[:n]`` to ``q[to:to + n]``."""
    q[to : to + n] = data


def copy_masked(q: bytearray, to: int, data: Octets, n: int, key: int) -> None:
    """Copy ``data[:n]`` to ``q[to:to + n]``, with the key applied (RFC 6455 5.3)."""
    q[to : to + n] = unmasked(data, 0, n, key)


def blank(n: int) -> bytearray:
    """Memory for `n` bytes that `fill` writes; in C a bytes object, which `frozen` returns without a copy."""
    return bytearray(n)


def fill(memory: bytearray, to: int, p: Octets, at: int, n: int, key: int) -> None:
    """Put ``p[at:at + n]`` into blank memory, with the key applied (0: as it is)."""
    memory[to : to + n] = unmasked(p, at, n, key) if key else p[at : at + n]


def frozen(memory: bytearray) -> bytes:
    """The filled memory as bytes."""
    return bytes(memory)


def thread_id() -> int:
    """The id of the current thread, as `threading.get_ident` has it."""
    return get_ident()
