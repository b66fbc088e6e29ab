"""`Protocol`: a connection without I/O, frame by frame, alone and beside the one that it has its shape from."""

from __future__ import annotations

import logging
import random
import uuid

import pytest
import websockets.extensions.permessage_deflate
import websockets.protocol
from amounts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, cut, frame, frames, read

from pyjows.deflate import PerMessageDeflate
from pyjows.errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidState,
    PayloadTooBig,
    ProtocolError,
)
from pyjows.extensions import Extension, negotiate_client, negotiate_server, offer_header
from pyjows.frames import Close, CloseCode, Frame, Opcode
from pyjows.protocol import SEND_EOF, Protocol, Side, State

SERVER, CLIENT = Side.SERVER, Side.CLIENT


@pytest.fixture(params=[SERVER, CLIENT], ids=['server', 'client'])
def side(request):
    return request.param


def peer_frame(side, *args, **kwargs):
    """A frame as the peer of `side` sends it."""
    return frame(*args, masked=side is SERVER, **kwargs)


def peer_close(side, *args):
    return close(*args, masked=side is SERVER)


def sent(protocol):
    """What waits to be sent: frames, and 'EOF'."""
    found = []
    for data in protocol.data_to_send():
        found += ['EOF'] if data == b'' else [(opcode, payload) for opcode, _, _, payload in read(data)]
    return found


def sent_whole(protocol):
    return [found for data in protocol.data_to_send() for found in read(data)]


# What is known


def test_a_protocol_is_open_from_the_start(side):
    protocol = Protocol(side)
    assert protocol.side is side
    assert protocol.state is State.OPEN
    assert protocol.data_to_send() == []
    assert protocol.events_received() == []
    assert protocol.close_expected() is False
    assert protocol.close_rcvd is None
    assert protocol.close_sent is None
    assert protocol.close_rcvd_then_sent is None
    assert protocol.parser_exc is None
    assert protocol.eof_sent is False


def test_it_may_begin_in_another_state(side):
    assert Protocol(side, state=State.CONNECTING).state is State.CONNECTING


def test_every_protocol_has_an_id_of_its_own(side):
    one, other = Protocol(side), Protocol(side)
    assert isinstance(one.id, uuid.UUID)
    assert one.id == one.id
    assert one.id != other.id


def test_the_logger_is_named_after_the_side():
    assert Protocol(SERVER).logger is logging.getLogger('pyjows.server')
    assert Protocol(CLIENT).logger is logging.getLogger('pyjows.client')
    mine = logging.getLogger('mine')
    assert Protocol(SERVER, logger=mine).logger is mine


def test_the_limit_is_a_mebibyte_where_none_is_given(side):
    assert Protocol(side).max_size == 1048576
    assert Protocol(side, max_size=None).max_size is None
    assert Protocol(side, max_size=10).max_size == 10
    assert Protocol(side, max_size=(None, 10)).max_size == (None, 10)


def test_the_names_are_the_ones_of_the_rfc():
    assert list(Side) == [0, 1]
    assert [state.name for state in State] == ['CONNECTING', 'OPEN', 'CLOSING', 'CLOSED']
    assert SEND_EOF == b''


def test_a_close_that_did_not_happen_has_no_code_and_no_exception(side):
    protocol = Protocol(side)
    assert protocol.close_code is None
    assert protocol.close_reason is None
    with pytest.raises(AssertionError, match='closed yet'):
        protocol.close_exc


# Receiving


@pytest.mark.parametrize(
    ('opcode', 'payload'),
    [
        (TEXT, 'Grüße 👋'.encode()),
        (TEXT, b''),
        (BINARY, b'\x00\xff'),
        (BINARY, bytes(range(126))),
        (BINARY, bytes(65535)),
        (BINARY, bytes(65536)),
        (PONG, b'!'),
    ],
)
def test_a_frame_is_an_event(side, opcode, payload):
    protocol = Protocol(side)
    protocol.receive_data(peer_frame(side, opcode, payload))
    assert protocol.events_received() == [Frame(opcode, payload)]
    assert protocol.events_received() == []
    assert protocol.data_to_send() == []


def test_the_opcode_of_an_event_has_its_name(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_frame(side, TEXT, b'hi'))
    [event] = protocol.events_received()
    assert event.opcode is Opcode.TEXT
    assert (event.data, event.fin, event.rsv1, event.rsv2, event.rsv3) == (b'hi', True, False, False, False)


def test_fragments_come_one_by_one_with_control_frames_in_between(side):
    protocol = Protocol(side)
    protocol.receive_data(
        peer_frame(side, TEXT, b'\xc3', fin=False)
        + peer_frame(side, PONG)
        + peer_frame(side, CONT, b'\xa4', fin=False)
        + peer_frame(side, CONT)
    )
    assert protocol.events_received() == [
        Frame(Opcode.TEXT, b'\xc3', fin=False),
        Frame(Opcode.PONG, b''),
        Frame(Opcode.CONT, b'\xa4', fin=False),
        Frame(Opcode.CONT, b''),
    ]
    assert protocol.state is State.OPEN


def test_bytearrays_are_welcome(side):
    protocol = Protocol(side)
    protocol.receive_data(bytearray(peer_frame(side, TEXT, b'hi')))
    assert protocol.events_received() == [Frame(Opcode.TEXT, b'hi')]


def test_nothing_is_nothing(side):
    protocol = Protocol(side)
    protocol.receive_data(b'')
    assert protocol.events_received() == []
    assert protocol.state is State.OPEN


def test_a_ping_is_answered_with_its_payload(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_frame(side, PING, b'there?'))
    assert protocol.events_received() == [Frame(Opcode.PING, b'there?')]
    assert sent(protocol) == [(PONG, b'there?')]


def test_a_ping_behind_a_close_is_not_answered(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_close(side, 1000) + peer_frame(side, PING, b'?'))
    protocol.receive_data(peer_frame(side, PING, b'?'))
    assert [found for found in sent(protocol) if found != 'EOF'] == [(CLOSE, b'\x03\xe8')]


def test_a_ping_is_answered_while_we_close(side):
    protocol = Protocol(side)
    protocol.send_close()
    protocol.receive_data(peer_frame(side, PING, b'?'))
    assert sent(protocol) == [(CLOSE, b''), (PONG, b'?')]


@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_arbitrary_cuts_change_nothing(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    wire = b''.join(data.draw(frames(side is SERVER)))
    whole, cut_up = Protocol(side, max_size=256), Protocol(side, max_size=256)
    whole.receive_data(wire)
    for piece in data.draw(cut(wire)):
        cut_up.receive_data(piece)
    assert cut_up.events_received() == whole.events_received()
    assert sent(cut_up) == sent(whole)
    assert cut_up.state is whole.state


# Closing, in all its orders


def test_a_close_is_answered_with_the_same(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_close(side, 1001, 'bye'))
    assert protocol.events_received() == [Frame(Opcode.CLOSE, b'\x03\xe9bye')]
    assert sent(protocol) == [(CLOSE, b'\x03\xe9bye')] + ['EOF'] * (side is SERVER)
    assert protocol.state is State.CLOSING
    assert protocol.close_expected() is True
    assert protocol.close_rcvd == protocol.close_sent == Close(1001, 'bye')
    assert protocol.close_rcvd_then_sent is True
    protocol.receive_eof()
    assert sent(protocol) == ['EOF'] * (side is CLIENT)
    assert protocol.state is State.CLOSED
    assert protocol.close_expected() is False
    assert (protocol.close_code, protocol.close_reason) == (1001, 'bye')
    assert isinstance(protocol.close_exc, ConnectionClosedOK)


def test_a_close_without_code_is_answered_without_code(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_frame(side, CLOSE))
    assert sent(protocol)[0] == (CLOSE, b'')
    protocol.receive_eof()
    assert (protocol.close_code, protocol.close_reason) == (1005, '')
    assert isinstance(protocol.close_exc, ConnectionClosedOK)


def test_our_close_waits_for_theirs(side):
    protocol = Protocol(side)
    protocol.send_close(1000, 'done')
    assert sent(protocol) == [(CLOSE, b'\x03\xe8done')]
    assert protocol.state is State.CLOSING
    assert protocol.close_expected() is True
    protocol.receive_data(peer_close(side, 1000, 'done'))
    assert sent(protocol) == ['EOF'] * (side is SERVER)
    assert protocol.close_rcvd_then_sent is False
    protocol.receive_eof()
    assert sent(protocol) == ['EOF'] * (side is CLIENT)
    assert str(protocol.close_exc) == 'sent 1000 (OK) done; then received 1000 (OK) done'


def test_closes_that_cross_are_one_close():
    server, client = Protocol(SERVER), Protocol(CLIENT)
    server.send_close(1001)
    client.send_close(1000)
    to_client, to_server = b''.join(server.data_to_send()), b''.join(client.data_to_send())
    server.receive_data(to_server)
    client.receive_data(to_client)
    assert server.data_to_send() == [SEND_EOF]
    assert client.data_to_send() == []
    client.receive_eof()
    assert client.data_to_send() == [SEND_EOF]
    server.receive_eof()
    assert (server.state, client.state) == (State.CLOSED, State.CLOSED)
    assert (server.close_code, client.close_code) == (1000, 1001)


def test_what_comes_after_a_close_is_discarded(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_close(side, 1000) + peer_frame(side, TEXT, b'late') + b'\xff' * 20)
    protocol.receive_data(peer_frame(side, PING))
    assert [event.opcode for event in protocol.events_received()] == [Opcode.CLOSE]
    assert sent(protocol) == [(CLOSE, b'\x03\xe8')] + ['EOF'] * (side is SERVER)
    assert protocol.parser_exc is None


def test_data_that_come_while_we_close_are_still_events(side):
    protocol = Protocol(side)
    protocol.send_close()
    protocol.receive_data(peer_frame(side, TEXT, b'one more'))
    assert protocol.events_received() == [Frame(Opcode.TEXT, b'one more')]


def test_a_close_in_the_middle_of_a_message_is_a_close(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_frame(side, TEXT, b'half', fin=False) + peer_close(side, 1000))
    assert sent(protocol)[0] == (CLOSE, b'\x03\xe8')
    assert protocol.parser_exc is None


def test_an_end_without_a_close_is_abnormal(side):
    protocol = Protocol(side)
    protocol.receive_eof()
    assert sent(protocol) == ['EOF']
    assert protocol.state is State.CLOSED
    assert (protocol.close_code, protocol.close_reason) == (1006, '')
    assert isinstance(protocol.parser_exc, EOFError)
    exc = protocol.close_exc
    assert isinstance(exc, ConnectionClosedError)
    assert exc.__cause__ is protocol.parser_exc
    assert str(exc) == 'no close frame received or sent'


def test_an_end_in_the_middle_of_a_frame_is_abnormal(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_frame(side, TEXT, b'hello')[:-2])
    protocol.receive_eof()
    assert protocol.events_received() == []
    assert protocol.close_code == 1006


def test_an_end_after_our_close_alone_is_abnormal(side):
    protocol = Protocol(side)
    protocol.send_close(1000)
    protocol.receive_eof()
    assert protocol.close_code == 1006
    assert str(protocol.close_exc) == 'sent 1000 (OK); no close frame received'


def test_a_second_end_is_nothing_new(side):
    protocol = Protocol(side)
    protocol.receive_eof()
    protocol.data_to_send()
    protocol.receive_eof()
    assert protocol.data_to_send() == []


def test_data_after_the_end_are_an_error(side):
    protocol = Protocol(side)
    protocol.receive_eof()
    with pytest.raises(EOFError, match='stream ended'):
        protocol.receive_data(b'x')


def test_another_code_than_1000_is_a_close_by_error(side):
    protocol = Protocol(side)
    protocol.receive_data(peer_close(side, 1011, 'oops'))
    protocol.receive_eof()
    exc = protocol.close_exc
    assert isinstance(exc, ConnectionClosedError)
    assert isinstance(exc, ConnectionClosed)
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (Close(1011, 'oops'), Close(1011, 'oops'), True)


# Peers that break the rules


@pytest.mark.parametrize(
    ('bad', 'code', 'words'),
    [
        (lambda side: peer_frame(side, 3), 1002, 'opcode'),
        (lambda side: peer_frame(side, 11), 1002, 'opcode'),
        (lambda side: peer_frame(side, BINARY, rsv=4), 1002, 'reserved bits'),
        (lambda side: peer_frame(side, PING, rsv=1), 1002, 'reserved bits'),
        (lambda side: frame(TEXT, masked=side is CLIENT), 1002, 'mask'),
        (lambda side: peer_frame(side, PING, fin=False), 1002, 'fragmented control'),
        (lambda side: peer_frame(side, PING, bytes(126)), 1002, '125'),
        (lambda side: peer_frame(side, CONT), 1002, 'nothing to continue'),
        (lambda side: peer_frame(side, TEXT, fin=False) + peer_frame(side, TEXT), 1002, 'before the last one'),
        (lambda side: peer_frame(side, TEXT, b'x', length=b'\x7e\0\1'), 1002, 'shortest'),
        (lambda side: peer_frame(side, TEXT, b'x', length=b'\x7f' + b'\0' * 7 + b'\1'), 1002, 'shortest'),
        (lambda side: peer_frame(side, TEXT, b'', length=b'\x7f\x80' + b'\0' * 7), 1002, 'top bit'),
        (lambda side: peer_frame(side, CLOSE, b'\3'), 1002, '1 byte'),
        (lambda side: peer_close(side, 1005), 1002, '1005'),
        (lambda side: peer_close(side, 2000), 1002, '2000'),
        (lambda side: peer_frame(side, CLOSE, b'\3\xe8\xff'), 1007, 'UTF-8'),
        (lambda side: peer_frame(side, TEXT, b'\xff'), 1007, 'UTF-8'),
        (lambda side: peer_frame(side, TEXT, b'\xc3'), 1007, 'UTF-8'),
        (lambda side: peer_frame(side, TEXT, b'\xc3', fin=False) + peer_frame(side, CONT, b'('), 1007, 'UTF-8'),
        (lambda side: peer_frame(side, TEXT, b'\xed\xa0\x80'), 1007, 'UTF-8'),
        (lambda side: peer_frame(side, BINARY, bytes(101)), 1009, '101'),
        (lambda side: peer_frame(side, TEXT, bytes(60), fin=False) + peer_frame(side, CONT, bytes(60)), 1009, 'is 100'),
    ],
)
def test_a_fault_fails_the_connection_with_the_code_of_the_rfc(side, bad, code, words):
    protocol = Protocol(side, max_size=100)
    protocol.receive_data(bad(side))
    [(opcode, payload), *rest] = sent(protocol)
    assert opcode == CLOSE
    assert payload[:2] == code.to_bytes(2, 'big')
    assert words in payload[2:].decode()
    assert rest == ['EOF'] * (side is SERVER)
    assert protocol.state is State.CLOSING
    assert protocol.close_sent.code == code
    assert isinstance(protocol.parser_exc, ProtocolError)
    assert isinstance(protocol.parser_exc, PayloadTooBig) == (code == 1009)
    protocol.receive_data(peer_frame(side, PING))
    assert protocol.data_to_send() == []
    protocol.receive_eof()
    assert protocol.state is State.CLOSED
    assert protocol.close_exc.__cause__ is protocol.parser_exc


def test_text_that_is_no_utf8_fails_where_it_stops_to_be(side):
    protocol = Protocol(side)
    wire = peer_frame(side, TEXT, b'abc\xff' + bytes(1000))
    protocol.receive_data(wire[:-1001])
    assert protocol.state is State.OPEN
    protocol.receive_data(wire[-1001:-900])
    assert protocol.close_sent.code == 1007


@pytest.mark.parametrize('bad', ['80', 'c0', 'f5', 'e09f', 'eda0', 'edbf', 'f08f', 'f490'])
@pytest.mark.parametrize('fragments', [True, False], ids=['in fragments', 'in one frame'])
def test_the_first_byte_that_no_text_can_have_there_is_the_fault(side, bad, fragments):
    protocol = Protocol(side)
    text = 'ä\ud7ff€'.encode() + bytes.fromhex(bad)
    if fragments:
        pieces = [peer_frame(side, CONT if i else TEXT, text[i : i + 1], fin=False) for i in range(len(text))]
    else:
        wire = peer_frame(side, TEXT, text + b'more')
        begin = len(wire) - len(text) - 4
        pieces = [wire[:begin], *(wire[i : i + 1] for i in range(begin, begin + len(text)))]
    for piece in pieces[:-1]:
        protocol.receive_data(piece)
        assert protocol.parser_exc is None
    protocol.receive_data(pieces[-1])
    assert protocol.close_sent.code == 1007


def test_a_claim_in_a_header_takes_no_memory(side):
    protocol = Protocol(side, max_size=None)
    protocol.receive_data(peer_frame(side, BINARY, b'', length=b'\x7f' + (1 << 40).to_bytes(8, 'big')) + b'x')
    assert protocol.state is State.OPEN


def test_a_frame_of_several_mebibytes_may_come_in_pieces(side):
    protocol = Protocol(side, max_size=None)
    payload = bytes(range(256)) * 10_000
    wire = peer_frame(side, BINARY, payload)
    for at in range(0, len(wire), 700_001):
        protocol.receive_data(wire[at : at + 700_001])
    [event] = protocol.events_received()
    assert event.data == payload


def test_a_fragment_may_have_a_limit_of_its_own(side):
    protocol = Protocol(side, max_size=(None, 10))
    protocol.receive_data(peer_frame(side, BINARY, bytes(10), fin=False) * 1 + peer_frame(side, CONT, bytes(10)))
    assert len(protocol.events_received()) == 2
    protocol.receive_data(peer_frame(side, BINARY, bytes(11)))
    assert protocol.close_sent.code == 1009


# A close that waits for the last answers (defer_close)


def bad_frame(side):
    return peer_frame(side, BINARY, rsv=4)


def good_bye(side):
    return peer_close(side, 1000)


#: What a peer ends a connection with, and the code of the close frame that it gets for it.
ends = pytest.mark.parametrize(('end', 'code'), [(good_bye, 1000), (bad_frame, 1002)], ids=['close', 'fault'])


def ended(side, end, defer_close=True):
    """A protocol whose peer sent a message, and with it what ends the connection."""
    protocol = Protocol(side, defer_close=defer_close)
    protocol.receive_data(peer_frame(side, TEXT, b'hi') + end(side))
    return protocol


@ends
def test_a_message_before_the_end_can_still_be_answered(side, end, code):
    protocol = ended(side, end)
    assert protocol.state is State.OPEN
    assert protocol.events_received()[0] == Frame(Opcode.TEXT, b'hi')
    protocol.send_text(b'hi', fin=False)
    protocol.send_continuation(b'!', fin=True)
    answer, rest, (opcode, payload), *eof = sent(protocol)
    assert (answer, rest) == ((TEXT, b'hi'), (CONT, b'!'))
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, 'big'))
    assert eof == ['EOF'] * (side is SERVER)
    assert protocol.state is State.CLOSING
    assert protocol.close_sent.code == code
    assert protocol.data_to_send() == []


@ends
def test_without_being_asked_to_wait_a_close_does_not(side, end, code):
    protocol = ended(side, end, defer_close=False)
    assert protocol.state is State.CLOSING
    assert protocol.close_sent.code == code
    with pytest.raises(InvalidState):
        protocol.send_text(b'hi')


@ends
def test_a_close_waits_for_no_longer_than_until_something_is_to_be_sent(side, end, code):
    protocol = ended(side, end)
    assert sent(protocol)[0][1][:2] == code.to_bytes(2, 'big')
    assert protocol.state is State.CLOSING
    assert protocol.events_received()[0] == Frame(Opcode.TEXT, b'hi')
    with pytest.raises(InvalidState):
        protocol.send_text(b'late')


@ends
def test_a_close_that_waits_is_expected(side, end, code):
    protocol = ended(side, end)
    assert protocol.close_expected() is True
    protocol.data_to_send()
    assert protocol.close_expected() is True
    protocol.receive_eof()
    assert protocol.close_expected() is False


@ends
def test_what_comes_behind_a_close_that_waits_is_discarded(side, end, code):
    protocol = ended(side, end)
    protocol.receive_data(peer_frame(side, PING) + peer_frame(side, TEXT, b'more') + bad_frame(side))
    assert [event.data for event in protocol.events_received() if event.opcode != CLOSE] == [b'hi']
    protocol.send_text(b'hi')
    assert [found[0] for found in sent(protocol) if found != 'EOF'] == [TEXT, CLOSE]


@ends
def test_an_end_of_the_stream_lets_no_close_wait(side, end, code):
    protocol = ended(side, end)
    protocol.receive_eof()
    assert protocol.state is State.CLOSED
    [(opcode, payload), eof] = sent(protocol)
    assert (opcode, payload[:2], eof) == (CLOSE, code.to_bytes(2, 'big'), 'EOF')
    assert protocol.close_code == (1000 if end is good_bye else 1006)
    assert isinstance(protocol.close_exc, ConnectionClosedOK if end is good_bye else ConnectionClosedError)
    assert protocol.data_to_send() == []


def test_a_close_of_the_peer_that_waits_is_known_and_an_event(side):
    protocol = ended(side, good_bye)
    assert [event.opcode for event in protocol.events_received()] == [Opcode.TEXT, Opcode.CLOSE]
    assert protocol.close_rcvd == Close(1000, '')
    assert protocol.close_sent is None
    protocol.data_to_send()
    assert protocol.close_sent == Close(1000, '')
    assert protocol.close_rcvd_then_sent is True


def test_a_fault_that_waits_is_known(side):
    protocol = ended(side, bad_frame)
    assert isinstance(protocol.parser_exc, ProtocolError)
    protocol.data_to_send()
    protocol.receive_eof()
    assert protocol.close_exc.__cause__ is protocol.parser_exc
    assert 'reserved bits' in str(protocol.parser_exc)


@pytest.mark.parametrize('method', ['send_close', 'fail'])
@ends
def test_a_program_may_close_by_itself_while_a_close_waits(side, end, code, method):
    protocol = ended(side, end)
    getattr(protocol, method)(4000, 'mine')
    assert sent(protocol) == [(CLOSE, b'\x0f\xa0mine')] + ['EOF'] * (side is SERVER)
    assert protocol.close_rcvd_then_sent is (True if end is good_bye else None)
    assert protocol.state is State.CLOSING


@ends
def test_behind_our_own_close_there_is_nothing_to_wait_for(side, end, code):
    protocol = Protocol(side, defer_close=True)
    protocol.send_close(1001)
    protocol.receive_data(end(side))
    assert sent(protocol) == [(CLOSE, b'\x03\xe9')] + ['EOF'] * (side is SERVER)
    assert protocol.close_rcvd_then_sent is (False if end is good_bye else None)


@given(data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_every_frame_can_be_answered_before_the_close_and_nothing_else_changes(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    default, deferring = Protocol(side, max_size=256), Protocol(side, max_size=256, defer_close=True)
    for piece in data.draw(cut(b''.join(data.draw(frames(side is SERVER))))):
        default.receive_data(piece)
        deferring.receive_data(piece)
        events = deferring.events_received()
        assert events == default.events_received()
        answers = [event.data for event in events if event.opcode in (TEXT, BINARY, CONT)]
        for payload in answers:
            deferring.send_binary(payload)
        found = sent(deferring)
        opcodes = [what[0] for what in found]
        assert [what[1] for what in found if what[0] == BINARY] == answers
        assert [what for what in found if what[0] != BINARY] == sent(default)
        assert CLOSE not in opcodes or BINARY not in opcodes[opcodes.index(CLOSE) :]
        assert deferring.state is default.state
        assert deferring.close_expected() == default.close_expected()
    default.receive_eof()
    deferring.receive_eof()
    same(deferring, default)


# Sending


@pytest.mark.parametrize(
    ('send', 'opcode', 'payload'),
    [
        (lambda protocol: protocol.send_text(b'hi'), TEXT, b'hi'),
        (lambda protocol: protocol.send_binary(b'hi', fin=True), BINARY, b'hi'),
        (lambda protocol: protocol.send_ping(b'hi'), PING, b'hi'),
        (lambda protocol: protocol.send_pong(b''), PONG, b''),
        (lambda protocol: protocol.send_close(1000, 'hi'), CLOSE, b'\x03\xe8hi'),
        (lambda protocol: protocol.receive_data(peer_frame(protocol.side, PING, b'hi')), PONG, b'hi'),
        (lambda protocol: protocol.receive_data(peer_close(protocol.side, 1000)), CLOSE, b'\x03\xe8'),
        (lambda protocol: protocol.fail(1011), CLOSE, b'\x03\xf3'),
    ],
)
def test_what_is_sent_is_a_frame_masked_by_the_client_only(side, send, opcode, payload):
    protocol = Protocol(side)
    send(protocol)
    data = protocol.data_to_send()[0]
    assert bool(data[1] & 0x80) == (side is CLIENT)
    assert read(data) == [(opcode, True, 0, payload)]


@pytest.mark.parametrize('data', [b'x', bytearray(b'x'), memoryview(b'x')])
def test_data_are_anything_like_bytes(side, data):
    protocol = Protocol(side)
    protocol.send_binary(data)
    assert sent(protocol) == [(BINARY, b'x')]


def test_text_is_sent_as_bytes_too(side):
    with pytest.raises(TypeError, match='not str'):
        Protocol(side).send_text('hi')


def test_fragments_are_sent_one_by_one(side):
    protocol = Protocol(side)
    protocol.send_text(b'a', fin=False)
    protocol.send_ping(b'')
    protocol.send_continuation(b'b', fin=False)
    protocol.send_continuation(b'c', fin=True)
    protocol.send_binary(b'd')
    assert sent_whole(protocol) == [
        (TEXT, False, 0, b'a'),
        (PING, True, 0, b''),
        (CONT, False, 0, b'b'),
        (CONT, True, 0, b'c'),
        (BINARY, True, 0, b'd'),
    ]


def test_a_continuation_needs_something_to_continue(side):
    protocol = Protocol(side)
    with pytest.raises(ProtocolError, match='unexpected continuation'):
        protocol.send_continuation(b'', fin=True)


@pytest.mark.parametrize('method', ['send_text', 'send_binary'])
def test_a_message_waits_for_the_end_of_the_last_one(side, method):
    protocol = Protocol(side)
    protocol.send_binary(b'', fin=False)
    with pytest.raises(ProtocolError, match='expected a continuation'):
        getattr(protocol, method)(b'')


@pytest.mark.parametrize(('method', 'opcode'), [('send_ping', PING), ('send_pong', PONG)])
def test_control_frames_are_sent_while_open_and_closing(side, method, opcode):
    protocol = Protocol(side)
    getattr(protocol, method)(b'1')
    protocol.send_close()
    getattr(protocol, method)(b'2')
    assert sent(protocol) == [(opcode, b'1'), (CLOSE, b''), (opcode, b'2')]
    with pytest.raises(ProtocolError, match='126'):
        getattr(protocol, method)(bytes(126))


@pytest.mark.parametrize('state', [State.CONNECTING, State.CLOSING, State.CLOSED])
@pytest.mark.parametrize('call', [('send_text', b''), ('send_binary', b''), ('send_close',)])
def test_messages_and_closes_are_sent_while_open_only(side, state, call):
    protocol = Protocol(side, state=state)
    method, *args = call
    with pytest.raises(InvalidState, match=f'connection is {state.name.lower()}'):
        getattr(protocol, method)(*args)
    assert protocol.data_to_send() == []


@pytest.mark.parametrize('state', [State.CONNECTING, State.CLOSED])
@pytest.mark.parametrize('method', ['send_ping', 'send_pong'])
def test_control_frames_are_not_sent_before_and_after(side, state, method):
    protocol = Protocol(side, state=state)
    with pytest.raises(InvalidState, match=f'connection is {state.name.lower()}'):
        getattr(protocol, method)(b'')


def test_a_continuation_does_not_outlive_the_close(side):
    protocol = Protocol(side)
    protocol.send_text(b'', fin=False)
    protocol.send_close()
    with pytest.raises(InvalidState):
        protocol.send_continuation(b'', fin=True)


@pytest.mark.parametrize('code', [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_every_code_that_may_be_sent_is_sent(side, code):
    protocol = Protocol(side)
    protocol.send_close(code, 'why')
    assert sent(protocol) == [(CLOSE, code.to_bytes(2, 'big') + b'why')]


@pytest.mark.parametrize('code', [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_no_other_code_is(side, code):
    protocol = Protocol(side)
    with pytest.raises(ProtocolError, match=str(code)):
        protocol.send_close(code)
    assert protocol.state is State.OPEN


def test_a_reason_needs_a_code_and_fits_into_a_frame(side):
    protocol = Protocol(side)
    with pytest.raises(ProtocolError, match='needs a close code'):
        protocol.send_close(None, 'why')
    with pytest.raises(ProtocolError, match='123'):
        protocol.send_close(1000, 'ä' * 62)
    assert protocol.data_to_send() == []
    assert protocol.state is State.OPEN


# Failing on purpose


def test_fail_says_why_and_listens_no_more(side):
    protocol = Protocol(side)
    protocol.fail(1011, 'internal error')
    assert sent(protocol) == [(CLOSE, b'\x03\xf3internal error')] + ['EOF'] * (side is SERVER)
    assert protocol.state is State.CLOSING
    protocol.receive_data(peer_frame(side, TEXT, b'?') + peer_close(side, 1000))
    assert protocol.events_received() == []
    assert protocol.close_rcvd is None


def test_fail_with_1006_says_nothing(side):
    protocol = Protocol(side)
    protocol.fail(CloseCode.ABNORMAL_CLOSURE)
    assert sent(protocol) == ['EOF'] * (side is SERVER)
    assert protocol.close_sent is None


def test_fail_after_our_close_sends_no_second_one(side):
    protocol = Protocol(side)
    protocol.send_close(1000)
    protocol.fail(1011)
    assert [found for found in sent(protocol) if found != 'EOF'] == [(CLOSE, b'\x03\xe8')]


def test_fail_cuts_a_reason_that_is_too_long(side):
    protocol = Protocol(side)
    protocol.fail(1011, 'ä' * 100)
    assert sent(protocol)[0] == (CLOSE, b'\x03\xf3' + 'ä'.encode() * 61)


def test_fail_with_a_code_that_may_not_be_sent_is_an_error(side):
    protocol = Protocol(side)
    with pytest.raises(ProtocolError, match='1005'):
        protocol.fail(1005)
    assert protocol.state is State.OPEN


# Extensions


class Rot13(Extension):
    """An extension of the tests' own: letters go round the alphabet, RSV2 says so."""

    name = 'x-rot13'
    rsv = 0x20

    def encode(self, frame):
        return frame._replace(data=self._rotated(frame.data), rsv2=frame.opcode != Opcode.CONT)

    def decode(self, frame, *, max_size=None):
        if max_size is not None and len(frame.data) > max_size:
            raise PayloadTooBig('too big')
        return frame._replace(data=self._rotated(frame.data), rsv2=False)

    def _rotated(self, data):
        return bytes((byte - 97 + 13) % 26 + 97 if 97 <= byte <= 122 else byte for byte in data)


def deflates(**options):
    """A server's and a client's extension, as they agree on them."""
    factory = PerMessageDeflate(threshold=0, **options)
    answer, server = negotiate_server([factory], offer_header([factory]))
    return server, negotiate_client([factory], answer)


class Noted:
    """An extension in websockets' shape, which notes what it sees."""

    name = 'x-noted'

    def __init__(self):
        self.seen = []

    def encode(self, frame):
        self.seen.append(('encode', frame.opcode))
        return frame

    def decode(self, frame, *, max_size=None):
        self.seen.append(('decode', frame.opcode))
        return frame


def test_an_extension_sees_data_frames_only_also_beside_one_that_sees_all(side):
    protocol = Protocol(side)
    noted = Noted()
    protocol.extensions = [noted, Rot13()]
    protocol.send_text(b'hello')
    protocol.send_ping(b'hello')
    assert sent_whole(protocol) == [(TEXT, True, 2, b'uryyb'), (PING, True, 0, b'hello')]
    protocol.receive_data(peer_frame(side, TEXT, b'uryyb', rsv=2) + peer_frame(side, PONG, b'hello'))
    assert protocol.events_received() == [Frame(Opcode.TEXT, b'hello'), Frame(Opcode.PONG, b'hello')]
    assert noted.seen == [('encode', TEXT), ('encode', PING), ('decode', TEXT), ('decode', PONG)]


def test_an_extension_sees_data_frames_only(side):
    protocol = Protocol(side)
    protocol.extensions = [Rot13()]
    protocol.send_text(b'hello')
    protocol.send_ping(b'hello')
    assert sent_whole(protocol) == [(TEXT, True, 2, b'uryyb'), (PING, True, 0, b'hello')]
    protocol.receive_data(peer_frame(side, TEXT, b'uryyb', rsv=2) + peer_frame(side, PONG, b'uryyb'))
    assert protocol.events_received() == [Frame(Opcode.TEXT, b'hello'), Frame(Opcode.PONG, b'uryyb')]


def test_a_bit_that_no_extension_claims_is_a_fault(side):
    protocol = Protocol(side)
    protocol.extensions = [Rot13()]
    protocol.receive_data(peer_frame(side, TEXT, b'uryyb', rsv=4))
    assert protocol.close_sent.code == 1002


def test_a_bit_has_its_place_on_the_first_frame_of_a_message_only(side):
    for wire in (
        peer_frame(side, PING, rsv=2),
        peer_frame(side, TEXT, fin=False, rsv=2) + peer_frame(side, CONT, rsv=2),
    ):
        protocol = Protocol(side)
        protocol.extensions = [Rot13()]
        protocol.receive_data(wire)
        assert protocol.close_sent.code == 1002


def test_several_extensions_are_applied_in_order_and_taken_off_in_reverse(side):
    mine, theirs = deflates() if side is SERVER else reversed(deflates())
    protocol, peer = Protocol(side), Protocol(1 - side)
    protocol.extensions, peer.extensions = [Rot13(), *mine], [Rot13(), *theirs]
    protocol.send_text(b'hello')
    peer.receive_data(b''.join(protocol.data_to_send()))
    assert peer.events_received() == [Frame(Opcode.TEXT, b'hello')]


def test_compressed_messages_and_fragments_come_out_as_they_went_in(side):
    mine, theirs = deflates() if side is SERVER else reversed(deflates())
    protocol, peer = Protocol(side), Protocol(1 - side)
    protocol.extensions, peer.extensions = mine, theirs
    for _ in range(3):
        protocol.send_text(b'hello ' * 100)
        protocol.send_binary(b'a' * 50, fin=False)
        protocol.send_continuation(b'', fin=False)
        protocol.send_continuation(b'b' * 50, fin=True)
    wire = b''.join(protocol.data_to_send())
    assert len(wire) < 500
    for i in range(len(wire)):
        peer.receive_data(wire[i : i + 1])
    assert [(event.opcode, event.data, event.fin) for event in peer.events_received()] == [
        (Opcode.TEXT, b'hello ' * 100, True),
        (Opcode.BINARY, b'a' * 50, False),
        (Opcode.CONT, b'', False),
        (Opcode.CONT, b'b' * 50, True),
    ] * 3


def test_the_limit_holds_for_what_a_message_becomes(side):
    mine, theirs = deflates() if side is SERVER else reversed(deflates())
    protocol, peer = Protocol(side), Protocol(1 - side, max_size=1000)
    protocol.extensions, peer.extensions = mine, theirs
    protocol.send_binary(bytes(1000))
    protocol.send_binary(bytes(1001))
    peer.receive_data(b''.join(protocol.data_to_send()))
    assert len(peer.events_received()) == 1
    assert peer.close_sent.code == 1009


@pytest.mark.parametrize('size', [100, 65536])
@pytest.mark.parametrize('mem_level', [1, 5, 9])
@pytest.mark.parametrize('cut_at', [None, 0, 50], ids=['whole', 'all in the second fragment', 'in two fragments'])
def test_a_message_of_the_limit_may_grow_when_it_is_compressed(side, size, mem_level, cut_at):
    data = random.Random(size).randbytes(size + 1)
    for length, expected in ((size, None), (size + 1, 1009)):
        mine, theirs = deflates(mem_level=mem_level)
        protocol, peer = Protocol(side), Protocol(1 - side, max_size=size, join_fragments=True)
        protocol.extensions, peer.extensions = (mine, theirs) if side is SERVER else (theirs, mine)
        if cut_at is None:
            protocol.send_binary(data[:length])
        else:
            protocol.send_binary(data[:cut_at], fin=False)
            protocol.send_continuation(data[cut_at:length], fin=True)
        wire = b''.join(protocol.data_to_send())
        assert len(wire) > length
        peer.receive_data(wire)
        assert [event.data for event in peer.events_received()] == ([] if expected else [data[:length]])
        assert (peer.close_sent and peer.close_sent.code) == expected


def test_a_continuation_that_is_not_compressed_keeps_to_the_limit_where_others_are(side):
    peer = Protocol(side, max_size=100, join_fragments=True)
    peer.extensions = deflates()[0]
    peer.receive_data(peer_frame(side, BINARY, bytes(50), fin=False) + peer_frame(side, CONT, bytes(51)))
    assert peer.events_received() == []
    assert peer.close_sent.code == 1009


def test_the_limit_of_a_fragment_holds_for_what_it_becomes(side):
    mine, theirs = deflates() if side is SERVER else reversed(deflates())
    protocol, peer = Protocol(side), Protocol(1 - side, max_size=(2000, 500))
    protocol.extensions, peer.extensions = mine, theirs
    protocol.send_binary(bytes(500), fin=False)
    protocol.send_continuation(bytes(500), fin=True)
    protocol.send_binary(bytes(501))
    peer.receive_data(b''.join(protocol.data_to_send()))
    assert [len(event.data) for event in peer.events_received()] == [500, 500]
    assert peer.close_sent.code == 1009


def test_compressed_text_is_checked_too(side):
    mine, theirs = deflates() if side is SERVER else reversed(deflates())
    protocol, peer = Protocol(side), Protocol(1 - side)
    protocol.extensions, peer.extensions = mine, theirs
    protocol.send_text(b'\xff')
    peer.receive_data(b''.join(protocol.data_to_send()))
    assert peer.close_sent.code == 1007


# Beside websockets: the same calls and bytes give the same events, bytes and states.
#
# It is another matter where websockets does not do what the RFC says:
# - Text that is no UTF-8 is an event of its own there. RFC 6455 8.1: "When an endpoint is to interpret a byte stream as
#   UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
#   Connection_."
# - A close frame in the middle of a message is a fault there. RFC 6455 5.4: "Control frames (see Section 5.5) MAY be
#   injected in the middle of a fragmented message."
# - A length in more bytes than it needs is fine there, and a negative one just too large. RFC 6455 5.2: "Note that in
#   all cases, the minimal number of bytes MUST be used to encode the length", and "the most significant bit MUST be 0".
# - A ping in the middle of a message counts as a part of it there, where its size is limited. RFC 6455 5.4: "Note that
#   if control frames could not be interjected, the latency of a ping, for example, would be very long if behind a large
#   message. Hence, the requirement of handling control frames in the middle of a fragmented message."
# - A reason that is too long for the close frame of `fail` raises there, and the connection stays as it was. RFC 6455
#   7.1.7: "Certain algorithms and specifications require an endpoint to _Fail the WebSocket Connection_. To do so, the
#   client MUST _Close the WebSocket Connection_".
# Beside that, websockets looks at reserved bits and control frames' lengths when the whole frame has come, pyjows when
# its header has; and what is wrong is said in other words.


def their(side, **options):
    return websockets.protocol.Protocol(websockets.protocol.Side(side), **options)


def same(ours, theirs):
    """Compare everything that a program can see."""
    assert [tuple(event) for event in ours.events_received()] == [
        (event.fin, event.rsv1, event.rsv2, event.rsv3, event.opcode, bytes(event.data))
        for event in theirs.events_received()
    ]
    assert written(ours) == written(theirs)
    assert ours.state == theirs.state
    assert ours.close_expected() == theirs.close_expected()
    assert ours.eof_sent == theirs.eof_sent
    assert ours.close_code == theirs.close_code
    assert ours.close_reason == theirs.close_reason
    assert ours.close_rcvd_then_sent == theirs.close_rcvd_then_sent
    assert (ours.close_sent and ours.close_sent.code) == (theirs.close_sent and theirs.close_sent.code)
    if ours.state is State.CLOSED:
        assert type(ours.close_exc).__name__ == type(theirs.close_exc).__name__


def written(protocol):
    """What waits to be sent, the reasons of our own failures left out."""
    writes = protocol.data_to_send()
    assert b'' not in writes[:-1]
    found = read(b''.join(writes))
    if protocol.parser_exc is not None:
        found = [(opcode, fin, rsv, data[:2] if opcode == CLOSE else data) for opcode, fin, rsv, data in found]
    return found, b'' in writes


@given(data=st.data())
@settings(max_examples=examples(250), deadline=None)
def test_the_same_bytes_mean_the_same_as_in_websockets(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    limit = data.draw(st.sampled_from([1048576, None, 100, (None, 50), (100, 50)]))
    ours, theirs = Protocol(side, max_size=limit), their(side, max_size=limit)
    for piece in data.draw(frames(side is SERVER, pings=limit in (1048576, None))):
        ours.receive_data(piece)
        theirs.receive_data(piece)
    same(ours, theirs)
    ours.receive_eof()
    theirs.receive_eof()
    same(ours, theirs)


def calls(side):
    """What a program may do, right or wrong: the same call for either library."""
    small = st.binary(max_size=5) | st.just(bytes(126))
    fin = st.booleans()
    code = st.sampled_from([None, 999, 1000, 1001, 1005, 1006, 1011, 2000, 3000, 4999, 5000])
    masked = side is SERVER
    return st.one_of(
        st.tuples(st.just('send_text'), st.text(max_size=3).map(str.encode), fin),
        st.tuples(st.just('send_binary'), small, fin),
        st.tuples(st.just('send_continuation'), small, fin),
        st.tuples(st.just('send_ping'), small),
        st.tuples(st.just('send_pong'), small),
        st.tuples(st.just('send_close'), code, st.sampled_from(['', 'why', 'x' * 124])),
        st.tuples(st.just('fail'), code.filter(bool), st.sampled_from(['', 'why'])),
        st.tuples(st.just('receive_eof')),
        st.tuples(
            st.just('receive_data'),
            st.sampled_from(
                [
                    frame(TEXT, b'hi', masked=masked),
                    frame(BINARY, b'a', fin=False, masked=masked) + frame(CONT, b'b', masked=masked),
                    frame(PING, b'?', masked=masked),
                    frame(PONG, b'!', masked=masked),
                    frame(CLOSE, masked=masked),
                    close(1000, 'bye', masked=masked),
                    frame(TEXT, b'x', masked=not masked),
                    frame(CONT, masked=masked),
                ]
            ),
        ),
    )


def outcome(protocol, name, *args):
    try:
        getattr(protocol, name)(*args)
    except Exception as exc:
        return type(exc).__name__
    return None


@given(data=st.data())
@settings(max_examples=examples(250), deadline=None)
def test_the_same_calls_do_the_same_as_in_websockets(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    ours, theirs = Protocol(side), their(side)
    for call in data.draw(st.lists(calls(side), max_size=8)):
        answer = outcome(theirs, *call)
        if answer == 'AssertionError':
            return  # it did not think of that
        assert outcome(ours, *call) == answer, call
        same(ours, theirs)


@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_compressed_messages_go_to_websockets_and_back(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    forgets = data.draw(st.booleans())
    ours, theirs = Protocol(side), their(1 - side)
    factory = PerMessageDeflate(threshold=0, server_no_context_takeover=forgets, client_no_context_takeover=forgets)
    server, client = negotiate_server([factory], offer_header([factory]))
    agreed = client if side is SERVER else negotiate_client([factory], server)
    ours.extensions = agreed
    theirs.extensions = [
        websockets.extensions.permessage_deflate.PerMessageDeflate(
            remote_no_context_takeover=forgets,
            local_no_context_takeover=forgets,
            remote_max_window_bits=agreed[0].local_max_window_bits,
            local_max_window_bits=agreed[0].remote_max_window_bits,
        )
    ]
    for payload, pieces in data.draw(st.lists(st.tuples(st.binary(max_size=200), st.integers(1, 3)), max_size=5)):
        for sender, receiver in ((ours, theirs), (theirs, ours)):
            for i in range(pieces):
                fin = i == pieces - 1
                sender.send_binary(payload, fin) if i == 0 else sender.send_continuation(payload, fin)
            wire = b''.join(sender.data_to_send())
            for piece in data.draw(cut(wire)):
                receiver.receive_data(piece)
            events = receiver.events_received()
            assert [bytes(event.data) for event in events] == [payload] * pieces
            assert [event.fin for event in events] == [False] * (pieces - 1) + [True]


@pytest.mark.parametrize(
    ('wire', 'ours', 'theirs'),
    [
        (frame(TEXT, b'\xff'), 1007, None),
        (frame(TEXT, b'x', fin=False) + close(1000), 1000, 1002),
        (frame(TEXT, b'x', length=b'\x7e\0\1'), 1002, None),
        (frame(TEXT, b'', length=b'\x7f\x80' + b'\0' * 7), 1002, 1009),
    ],
    ids=['no UTF-8', 'a close between fragments', 'a length that is too long', 'a length that is negative'],
)
def test_where_websockets_does_not_do_what_the_rfc_says(wire, ours, theirs):
    protocol, other = Protocol(SERVER), their(SERVER)
    protocol.receive_data(wire)
    other.receive_data(wire)
    assert protocol.close_sent.code == ours
    assert (other.close_sent and other.close_sent.code) == theirs


# Joining, opening, failing from within


def test_fragments_are_joined_on_demand(side):
    protocol = Protocol(side, join_fragments=True)
    data = peer_frame(side, TEXT, b'a', fin=False) + peer_frame(side, PING, b'p') + peer_frame(side, CONT, fin=False)
    protocol.receive_data(data + peer_frame(side, CONT, 'é'.encode()) + peer_frame(side, BINARY, b'whole'))
    assert protocol.events_received() == [
        Frame(Opcode.PING, b'p'),
        Frame(Opcode.TEXT, 'aé'.encode()),
        Frame(Opcode.BINARY, b'whole'),
    ]
    assert sent(protocol) == [(PONG, b'p')]


def test_joined_fragments_keep_to_the_limit_of_a_message(side):
    protocol = Protocol(side, join_fragments=True, max_size=10)
    protocol.receive_data(peer_frame(side, BINARY, bytes(6), fin=False) + peer_frame(side, CONT, bytes(5)))
    assert protocol.events_received() == []
    assert protocol.close_sent.code == 1009


def test_joined_text_is_checked_as_it_comes(side):
    protocol = Protocol(side, join_fragments=True)
    protocol.receive_data(peer_frame(side, TEXT, b'\xff', fin=False))
    assert protocol.close_sent.code == 1007


def test_a_connection_is_opened_once_with_its_extensions(side):
    protocol = Protocol(side, state=State.CONNECTING)
    extension = Broken(ValueError())
    protocol.open([extension])
    assert protocol.state is State.OPEN
    assert list(protocol.extensions) == [extension]
    with pytest.raises(InvalidState, match='opened once; this one is open'):
        protocol.open()


def test_the_state_is_changed_by_the_protocol_alone(side):
    protocol = Protocol(side)
    with pytest.raises(AttributeError):
        protocol.state = State.CLOSED


class Broken(Extension):
    rsv = 0x40

    def __init__(self, exc):
        self.exc = exc

    def decode(self, frame, *, max_size=None):
        raise self.exc


@pytest.mark.parametrize('exc', [MemoryError('no more'), RuntimeError('a bug')], ids=repr)
def test_an_extension_that_fails_ends_the_connection_with_1011(side, exc, caplog):
    protocol = Protocol(side)
    protocol.extensions = [Broken(exc)]
    protocol.receive_data(peer_frame(side, BINARY, b'a') + peer_frame(side, BINARY, b'b'))
    assert protocol.close_sent == Close(1011, 'internal error')
    assert protocol.parser_exc is exc
    assert type(exc).__name__ in caplog.text
    protocol.receive_data(peer_frame(side, BINARY, b'c'))
    assert protocol.events_received() == []


def test_an_interrupt_inside_of_an_extension_is_raised_when_the_state_is_consistent(side):
    protocol = Protocol(side)
    protocol.extensions = [Broken(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        protocol.receive_data(peer_frame(side, BINARY, b'a'))
    assert protocol.state is State.CLOSING
    assert protocol.close_sent.code == 1011


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_any_bytes_like_object_is_received(side, kind):
    protocol = Protocol(side)
    protocol.receive_data(kind(peer_frame(side, BINARY, b'a')))
    assert protocol.events_received() == [Frame(Opcode.BINARY, b'a')]


def test_bytes_that_are_freed_while_they_are_parsed_are_not_read_again(side):
    data = bytearray(peer_frame(side, BINARY, b'x' * 4096) * 3)

    class Freeing(Extension):
        def decode(self, frame, *, max_size=None):
            data.clear()
            return frame

    protocol = Protocol(side, max_size=None)
    protocol.extensions = [Freeing()]
    protocol.receive_data(data)
    assert [frame.data for frame in protocol.events_received()] == [b'x' * 4096] * 3
