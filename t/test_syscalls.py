"""The system calls on sockets, in the form that is interpreted."""

from __future__ import annotations

import errno
import socket

import pytest

from pyjows.ioloop import syscalls


def test_receiving_tells_bytes_from_nothing_from_the_end_from_a_fault():
    one, two = socket.socketpair()
    one.setblocking(False)
    buffer = bytearray(10)
    assert syscalls.receive(one, one.fileno(), buffer) == -1
    two.send(b'abc')
    assert syscalls.receive(one, one.fileno(), buffer) == 3
    assert buffer[:3] == b'abc'
    two.close()
    assert syscalls.receive(one, one.fileno(), buffer) == 0
    one.close()
    with pytest.raises(OSError) as caught:
        syscalls.receive(one, -1, buffer)
    assert caught.value.errno == errno.EBADF


def test_transmitting_tells_how_much_was_taken_from_nothing_from_a_fault():
    one, two = socket.socketpair()
    one.setblocking(False)
    assert syscalls.transmit(one, one.fileno(), bytearray(b'abcdef'), 3) == 3
    assert syscalls.transmit_pieces(one, one.fileno(), [b'd', memoryview(b'ef')]) == 3
    assert two.recv(10) == b'abcdef'
    much = bytearray(1 << 20)
    while syscalls.transmit(one, one.fileno(), much, len(much)) != -1:
        pass
    assert syscalls.transmit_pieces(one, one.fileno(), [bytes(much)]) == -1
    two.close()
    with pytest.raises(OSError):
        syscalls.transmit(one, one.fileno(), bytearray(b'x'), 1)
    one.close()
