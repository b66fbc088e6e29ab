"""System calls on sockets, as plain Python: the few that the compiled build makes in C.

Interpreted, ``syscalls.receive(…)`` is a function of this file; compiled, it is the C function of the same name in
``syscalls.pxd``. Read the two files side by side: they mean the same. Must not know streams or frames.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from socket import socket

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # not on this system
    ioctl = None  # type: ignore[assignment]

__all__ = ['accept', 'receive', 'transmit', 'transmit_pieces', 'unsent']

# sendmsg(2) takes at least this many pieces at once on every system.
_MAX_PIECES = 512


def accept(sock: socket, fd: int) -> int:
    """Accept a connection; returns its descriptor, which does not block, or -1 when none waits.

    Raises:
        OSError: the connection was lost before it was accepted, or the system lacks descriptors or memory.
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


def transmit_pieces(sock: socket, fd: int, pieces: Sequence[bytes | bytearray | memoryview]) -> int:
    """`transmit` for several pieces at once."""
    try:
        return sock.sendmsg(pieces[:_MAX_PIECES])
    except (BlockingIOError, InterruptedError):
        return -1


def unsent(sock: socket) -> int:
    """How many bytes the kernel has taken and the peer has not acknowledged; 0 where the system does not tell.

    Not in the compiled form: it is called rarely.
    """
    if ioctl is None:
        return 0
    try:
        amount: int = struct.unpack('i', ioctl(sock.fileno(), TIOCOUTQ, bytes(4)))[0]
    except OSError:  # closed, or not a kind of socket that knows it
        return 0
    return amount
