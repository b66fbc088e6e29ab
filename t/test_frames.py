"""The frame codec against the RFC's examples, a naive second codec, and other libraries' way of writing a frame."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import pprint
import subprocess
import sys

import pytest
import websockets.frames
from byhand import BINARY, CLOSE, CONT, PING, TEXT, frame, frames
from hypothesis import given
from hypothesis import strategies as st

from pyjows import Close, CloseCode, Frame, Opcode, PayloadTooBig, ProtocolError
from pyjows.frames import build_frame, parse_frame

LENGTHS = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    100,
    124,
    125,
    126,
    127,
    128,
    1000,
    16383,
    16384,
    16385,
    65534,
    65535,
    65536,
    65537,
    200_000,
]
BITS = st.booleans()


# The examples of RFC 6455 5.7


def test_dataclasses_knows_a_frame():
    frame = Frame(Opcode.TEXT, b'a', rsv1=True)
    assert dataclasses.replace(frame, data=b'b', fin=False) == Frame(Opcode.TEXT, b'b', False, True)
    assert dataclasses.asdict(frame) == dataclasses.asdict(websockets.frames.Frame(Opcode.TEXT, b'a', rsv1=True))
    assert pprint.pformat(frame) == repr(frame)
    match frame:
        case Frame(Opcode.TEXT, data, fin, rsv1):
            assert (data, fin, rsv1) == (b'a', True, True)
        case _:
            pytest.fail('it does not match')


def test_a_single_frame_unmasked_text_message():
    assert build_frame(True, False, False, False, TEXT, b'Hello') == bytes.fromhex('810548656c6c6f')
    assert parse_frame(bytes.fromhex('810548656c6c6f')) == Frame(Opcode.TEXT, b'Hello')


def test_a_single_frame_masked_text_message():
    assert parse_frame(bytes.fromhex('818537fa213d7f9f4d5158')) == Frame(Opcode.TEXT, b'Hello')


def test_a_fragmented_unmasked_text_message():
    assert build_frame(False, False, False, False, TEXT, b'Hel') == bytes.fromhex('010348656c')
    assert build_frame(True, False, False, False, CONT, b'lo') == bytes.fromhex('80026c6f')
    buffer = bytearray.fromhex('010348656c80026c6f')
    assert parse_frame(buffer) == Frame(Opcode.TEXT, b'Hel', fin=False)
    assert parse_frame(buffer) == Frame(Opcode.CONT, b'lo')
    assert buffer == b''


def test_an_unmasked_ping_and_a_masked_pong():
    assert parse_frame(bytes.fromhex('890548656c6c6f')) == Frame(Opcode.PING, b'Hello')
    assert parse_frame(bytes.fromhex('8a8537fa213d7f9f4d5158')) == Frame(Opcode.PONG, b'Hello')


def test_256_bytes_binary_message():
    data = bytes(range(256))
    assert build_frame(True, False, False, False, BINARY, data) == bytes.fromhex('827e0100') + data
    assert parse_frame(bytes.fromhex('827e0100') + data) == Frame(Opcode.BINARY, data)


def test_64_kib_binary_message():
    data = bytes(range(256)) * 256
    assert build_frame(True, False, False, False, BINARY, data) == bytes.fromhex('827f0000000000010000') + data
    assert parse_frame(bytes.fromhex('827f0000000000010000') + data) == Frame(Opcode.BINARY, data)


# Both ways


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('length', LENGTHS)
def test_payloads_of_every_length_class_are_written_and_read(length, masked):
    payload = bytes(i * 31 & 0xFF for i in range(length))
    wire = build_frame(True, False, False, False, BINARY, payload, masked=masked)
    assert frames(wire) == [(0x82, payload)]
    assert parse_frame(wire) == Frame(Opcode.BINARY, payload)
    assert parse_frame(frame(BINARY, payload, masked=masked)) == Frame(Opcode.BINARY, payload)


@given(BITS, BITS, BITS, BITS, st.integers(0, 15), st.binary(max_size=300), st.booleans())
def test_what_is_written_reads_the_same(fin, rsv1, rsv2, rsv3, opcode, payload, masked):
    wire = build_frame(fin, rsv1, rsv2, rsv3, opcode, payload, masked=masked)
    assert parse_frame(wire) == (fin, rsv1, rsv2, rsv3, opcode, payload)
    assert wire[1] >> 7 == masked


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_half_a_frame_or_an_error(data):
    buffer = bytearray(data)
    try:
        found = parse_frame(buffer)
    except ProtocolError:
        assert data[1] & 0x7F in (126, 127)
        return
    if found is None:
        assert buffer == data
    else:
        used = len(data) - len(buffer)
        assert buffer == data[used:]
        assert frames(data[:used]) == [(data[0], found.data)]


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('length', [0, 5, 126, 65536])
def test_a_frame_that_is_not_whole_is_none_and_left_alone(length, masked):
    wire = frame(BINARY, bytes(length), masked=masked)
    for cut in {*range(min(len(wire), 20)), len(wire) - 1}:
        buffer = bytearray(wire[:cut])
        assert parse_frame(buffer) is None
        assert buffer == wire[:cut]


def test_what_follows_a_frame_stays():
    buffer = bytearray(frame(TEXT, b'one') + b'\x82')
    assert parse_frame(buffer).data == b'one'
    assert buffer == b'\x82'
    whole = frame(TEXT, b'one') + b'\x82'
    assert parse_frame(whole).data == b'one'


@pytest.mark.parametrize(
    'head', ['827e0000', '827e007d', '827f000000000000ffff', '827f0000000000000000', '827f8000000000000000']
)
def test_a_length_that_is_not_in_its_shortest_form_is_an_error(head):
    with pytest.raises(ProtocolError) as caught:
        parse_frame(bytes.fromhex(head) + bytes(70_000))
    assert caught.value.code == 1002


def test_a_payload_over_the_limit_is_an_error_before_it_is_here():
    with pytest.raises(PayloadTooBig) as caught:
        parse_frame(b'\x82\x7f' + (1 << 40).to_bytes(8, 'big'), max_size=1000)
    assert caught.value.code == 1009
    assert '1000' in str(caught.value)
    assert parse_frame(frame(BINARY, bytes(1000)), max_size=1000) is not None


def test_masking_keys_are_fresh_each_time():
    keys = {build_frame(True, False, False, False, TEXT, b'', masked=True)[2:] for _ in range(3000)}
    assert len(keys) > 2990  # 4 random bytes: two may be the same by chance


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_a_forked_child_does_not_mask_with_its_parent_s_keys():
    code = (
        'import os, sys\n'
        'from pyjows.frames import build_frame\n'
        'key = lambda: build_frame(1, 0, 0, 0, 2, b"", masked=True)[2:].hex()\n'
        'key()\n'
        'r, w = os.pipe()\n'
        'if not os.fork():\n'
        '    os.write(w, " ".join(key() for _ in range(10)).encode())\n'
        '    os._exit(0)\n'
        'os.wait()\n'
        'child = os.read(r, 1000).decode().split()\n'
        'assert len(child) == 10 and not set(child) & {key() for _ in range(10)}\n'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_payloads_are_taken_in_any_bytes_like_form(kind):
    assert build_frame(True, False, False, False, BINARY, kind(b'abc')) == b'\x82\x03abc'


@pytest.mark.parametrize('payload', ['text', None, 5, [1]])
def test_a_payload_that_is_not_bytes_like_is_a_type_error(payload):
    with pytest.raises(TypeError, match=type(payload).__name__):
        build_frame(True, False, False, False, BINARY, payload)


@pytest.mark.parametrize('opcode', [-1, 16, 256])
def test_an_opcode_outside_its_4_bits_is_a_value_error(opcode):
    with pytest.raises(ValueError, match=str(opcode)):
        build_frame(True, False, False, False, opcode, b'')


def test_the_payload_of_a_read_frame_is_bytes_of_its_own():
    buffer = bytearray(frame(BINARY, b'abc') + frame(BINARY, b'def', masked=True))
    one, two = parse_frame(buffer), parse_frame(buffer)
    buffer[:] = b''
    assert (one.data, two.data) == (b'abc', b'def')
    assert type(one.data) is type(two.data) is bytes


# Frame


def test_a_frame_has_its_parts_by_name_and_in_mojo_s_order():
    value = Frame(Opcode.TEXT, b'x', fin=False, rsv2=True)
    assert (value.opcode, value.data, value.payload) == (Opcode.TEXT, b'x', b'x')
    assert (value.fin, value.rsv1, value.rsv2, value.rsv3) == (False, False, True, False)
    assert list(value) == [False, False, True, False, Opcode.TEXT, b'x']
    assert value[4] is Opcode.TEXT
    assert len(value) == 6


def test_a_frame_is_a_value():
    value = Frame(Opcode.TEXT, b'x')
    assert value == Frame(1, b'x') == (True, False, False, False, 1, b'x')
    assert value != Frame(2, b'x')
    assert len({value, Frame(Opcode.TEXT, b'x')}) == 1
    for copied in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert copied == value
        assert type(copied) is Frame
    with pytest.raises(AttributeError):
        value.data = b'y'
    assert value._replace(data=b'y', fin=False) == Frame(Opcode.TEXT, b'y', fin=False)


def test_a_frame_shows_itself():
    assert repr(Frame(Opcode.TEXT, b'x')) == "Frame(TEXT, b'x', fin=True)"
    assert repr(Frame(3, b'', fin=False, rsv1=True)) == "Frame(0x3, b'', fin=False, rsv1=True)"
    assert '1000 bytes' in repr(Frame(Opcode.BINARY, bytes(1000)))


def test_known_opcodes_are_read_by_name_and_others_as_numbers():
    assert isinstance(parse_frame(frame(PING)).opcode, Opcode)
    assert parse_frame(frame(3)).opcode == 3
    assert not isinstance(parse_frame(frame(3)).opcode, Opcode)


# Close


@pytest.mark.parametrize(
    'code', [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_close_codes_that_may_travel(code):
    wire = Close(code, 'gründlich').serialize()
    assert wire == code.to_bytes(2, 'big') + 'gründlich'.encode()
    assert Close.parse(wire) == Close(code, 'gründlich')


@pytest.mark.parametrize('code', [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_codes_that_may_not(code):
    with pytest.raises(ProtocolError, match=str(code)):
        Close(code, '').serialize()
    with pytest.raises(ProtocolError, match=str(code)):
        Close.parse(code.to_bytes(2, 'big'))


def test_an_empty_close_payload_is_1005():
    assert Close.parse(b'') == Close(CloseCode.NO_STATUS_RCVD, '')


def test_a_close_payload_of_one_byte_is_an_error():
    with pytest.raises(ProtocolError):
        Close.parse(b'\x03')


def test_a_close_reason_that_is_no_utf8_is_an_error():
    with pytest.raises(UnicodeDecodeError):
        Close.parse(b'\x03\xe8\xff')


def test_a_close_reason_has_at_most_123_bytes():
    assert len(Close(1000, 'x' * 123).serialize()) == 125
    assert len(Close(1000, 'ü' * 61).serialize()) == 124
    with pytest.raises(ProtocolError, match='124 bytes'):
        Close(1000, 'ü' * 62).serialize()


def test_closes_are_values_and_show_what_the_code_means():
    assert Close(1000, 'a') == Close(1000, 'a') != Close(1000, 'b')
    assert len({Close(1000, 'a'), Close(1000, 'a')}) == 1
    assert str(Close(1000, '')) == '1000 (OK)'
    assert str(Close(1001, 'bye')) == '1001 (going away) bye'
    assert str(Close(3500, '')) == '3500 (registered)'
    assert str(Close(4500, '')) == '4500 (private use)'
    assert str(Close(2000, '')) == '2000 (unknown)'
    assert repr(Close(CloseCode.GOING_AWAY, 'x')) == "Close(code=1001, reason='x')"


def test_close_is_told_apart_from_other_opcodes():
    assert parse_frame(frame(CLOSE, b'\x03\xe8')).opcode is Opcode.CLOSE
