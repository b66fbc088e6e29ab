"""The words that C says differently: the stand-ins against a naive reading, and both forms against the same tables."""

from __future__ import annotations

import pytest
from byhand import BINARY, frames, log, opened
from hypothesis import given
from hypothesis import strategies as st

from pyjows import memory
from pyjows.frames import build_frame, parse_frame

KEYS = st.integers(0, 2**32 - 1)


def naive(data: bytes, key: int) -> bytes:
    """The masking of RFC 6455 5.3, octet by octet."""
    octets = key.to_bytes(4, 'little')
    return bytes(byte ^ octets[i % 4] for i, byte in enumerate(data))


@given(st.binary(max_size=100), st.integers(0, 20), st.integers(0, 100), KEYS)
def test_unmasking_is_the_rfc_s(data, at, n, key):
    n = max(0, min(n, len(data) - at))
    assert memory.unmasked(data, at, n, key) == naive(data[at : at + n], key)


@given(st.binary(min_size=4, max_size=20))
def test_the_key_s_lowest_byte_is_its_first(data):
    assert memory.load_key(data, 0) == int.from_bytes(data[:4], 'little')
    assert memory.load_key(data, len(data) - 4) == int.from_bytes(data[-4:], 'little')


@given(st.binary(max_size=50), st.integers(0, 50), KEYS)
def test_a_rotated_key_goes_on_where_the_first_part_ended(data, cut, key):
    cut = min(cut, len(data))
    rest = memory.unmasked(data, cut, len(data) - cut, memory.rotated(key, cut))
    assert naive(data[:cut], key) + rest == naive(data, key)


@given(st.binary(max_size=50), st.integers(0, 10), KEYS)
def test_copies_go_to_their_place_and_nowhere_else(data, to, key):
    for write in (
        lambda q: memory.copy(q, to, data, len(data)),
        lambda q: memory.copy_masked(q, to, naive(data, key), len(data), key),
        lambda q: memory.fill(q, to, b'--' + naive(data, key) + b'--', 2, len(data), key),
        lambda q: memory.fill(q, to, b'--' + data + b'--', 2, len(data), 0),
    ):
        space = memory.blank(to + len(data) + 3)
        write(space)
        assert memory.frozen(space) == bytes(to) + data + bytes(3)


def test_the_stand_ins_are_the_stand_ins():
    data = b'abc'
    assert memory.pointer(data) is data
    assert memory.copied(b'abcdef', 2, 3) == b'cde'


# What the modules make of these words, compiled or not


@pytest.mark.parametrize('length', [*range(70), 255, 256, 257, 1000, 16385])
def test_masks_are_right_at_every_length(length):
    payload = bytes(i * 13 & 0xFF for i in range(length))
    wire = build_frame(True, False, False, False, BINARY, payload, masked=True)
    assert frames(wire) == [(0x82, payload)]
    assert parse_frame(wire).data == payload


@pytest.mark.parametrize('offset', range(9))
def test_masks_are_right_at_every_alignment(offset):
    payload = bytes(i * 7 & 0xFF for i in range(61))
    ws = opened()
    seen = log(ws, 'binary')
    lead = build_frame(True, False, False, False, BINARY, bytes(offset), masked=True)
    ws.server_read(lead + build_frame(True, False, False, False, BINARY, payload, masked=True))
    assert seen == [('binary', bytes(offset)), ('binary', payload)]


@pytest.mark.parametrize('step', range(1, 12))
def test_masks_are_right_however_the_payload_arrives(step):
    payload = bytes(i * 7 & 0xFF for i in range(61))
    wire = build_frame(True, False, False, False, BINARY, payload, masked=True)
    ws = opened()
    seen = log(ws, 'binary')
    for at in range(0, len(wire), step):
        ws.server_read(wire[at : at + step])
    assert seen == [('binary', payload)]
