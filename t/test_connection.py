"""`WSConnection` and `Connection`: a connection as typed events, alone and beside wsproto."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import wsproto
import wsproto.connection
import wsproto.events
import wsproto.extensions
import wsproto.frame_protocol
import wsproto.handshake
import wsproto.utilities
from amounts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, UPGRADE, asked, close, cut, frame, frames, payloads, read, texts

from pyjows import events
from pyjows.connection import (
    CLIENT,
    SERVER,
    CloseReason,
    Connection,
    ConnectionState,
    LocalProtocolError,
    RemoteProtocolError,
    WSConnection,
    client_extensions_handshake,
    server_extensions_handshake,
)
from pyjows.events import (
    AcceptConnection,
    BinaryMessage,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from pyjows.extensions import Extension, PerMessageDeflate
from pyjows.frames import Opcode

CONNECTING, OPEN = ConnectionState.CONNECTING, ConnectionState.OPEN
REMOTE_CLOSING, LOCAL_CLOSING = ConnectionState.REMOTE_CLOSING, ConnectionState.LOCAL_CLOSING
CLOSED, REJECTING = ConnectionState.CLOSED, ConnectionState.REJECTING


@pytest.fixture(params=[SERVER, CLIENT], ids=['server', 'client'])
def side(request):
    return request.param


def received(connection, data):
    connection.receive_data(data)
    return list(connection.events())


def from_peer(side, *args, **kwargs):
    return frame(*args, masked=side is SERVER, **kwargs)


# Events are values


@pytest.mark.parametrize(
    ('event', 'fields'),
    [
        (
            Request('example.com', '/'),
            {'host': 'example.com', 'target': '/', 'extensions': [], 'extra_headers': [], 'subprotocols': []},
        ),
        (AcceptConnection(), {'subprotocol': None, 'extensions': [], 'extra_headers': []}),
        (RejectConnection(), {'status_code': 400, 'headers': [], 'has_body': False}),
        (RejectData(b'no'), {'data': b'no', 'body_finished': True}),
        (Message(b'x'), {'data': b'x', 'frame_finished': True, 'message_finished': True}),
        (TextMessage('x'), {'data': 'x', 'frame_finished': True, 'message_finished': True}),
        (BytesMessage(b'x'), {'data': b'x', 'frame_finished': True, 'message_finished': True}),
        (CloseConnection(1000), {'code': 1000, 'reason': None}),
        (Ping(), {'payload': b''}),
        (Pong(), {'payload': b''}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_is_a_frozen_dataclass(event, fields):
    kind = type(event)
    assert isinstance(event, Event)
    assert dataclasses.is_dataclass(event)
    assert {field.name: getattr(event, field.name) for field in dataclasses.fields(event)} == fields
    assert event == kind(**fields)
    assert event != dataclasses.replace(event, **{next(iter(fields)): 'other'})
    assert event != object()
    assert repr(event) == f'{kind.__name__}({", ".join(f"{name}={value!r}" for name, value in fields.items())})'
    assert kind.__match_args__ == tuple(fields)
    for name in fields:
        with pytest.raises(AttributeError):
            setattr(event, name, None)
    assert getattr(wsproto.events, kind.__name__)(**fields)


@pytest.mark.parametrize('event', [Request('a', '/'), TextMessage('x'), CloseConnection(1000), Ping(b'x')])
def test_an_event_is_shown_in_any_thread(event):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(repr, event).result() == repr(event)


def test_events_of_different_kinds_differ():
    assert Ping(b'x') != Pong(b'x')
    assert TextMessage('x') != BytesMessage('x')
    assert len({Ping(b'x'), Ping(b'x'), Pong(b'x')}) == 2


def test_binary_messages_have_two_names():
    assert BinaryMessage is BytesMessage
    assert issubclass(BytesMessage, Message)
    assert issubclass(TextMessage, Message)


def test_events_match():
    match TextMessage('hi', True, False):
        case TextMessage(text, message_finished=False):
            assert text == 'hi'
        case _:
            pytest.fail('it does not')


@pytest.mark.parametrize('event', [TextMessage('x'), CloseConnection(1000, 'x'), Ping(b'x'), AcceptConnection('chat')])
def test_events_are_pickled(event):
    assert pickle.loads(pickle.dumps(event)) == event


def test_answers():
    assert Ping(b'x').response() == Pong(b'x')
    assert CloseConnection(1001, 'bye').response() == CloseConnection(1001, 'bye')


def test_every_event_has_a_name_in_all():
    assert {name for name in events.__all__ if not issubclass(getattr(events, name), Event)} == set()


def test_close_reasons_are_numbers_with_names():
    assert CloseReason.NORMAL_CLOSURE == 1000
    for reason in wsproto.connection.CloseReason:
        assert getattr(CloseReason, reason.name) == reason


@pytest.mark.parametrize(
    ('theirs', 'ours', 'names'),
    [
        ('wsproto', 'pyjows.connection', ['ConnectionType', 'WSConnection']),
        ('wsproto.connection', 'pyjows.connection', ['CLIENT', 'SERVER', 'Connection', 'ConnectionState']),
        ('wsproto.frame_protocol', 'pyjows.connection', ['CloseReason', 'Opcode']),
        (
            'wsproto.handshake',
            'pyjows.connection',
            ['H11Handshake', 'client_extensions_handshake', 'server_extensions_handshake'],
        ),
        ('wsproto.utilities', 'pyjows.connection', ['LocalProtocolError', 'RemoteProtocolError']),
        ('wsproto.extensions', 'pyjows.extensions', ['SUPPORTED_EXTENSIONS', 'Extension', 'PerMessageDeflate']),
        ('wsproto.events', 'pyjows.events', [name for name in events.__all__ if name != 'BinaryMessage']),
    ],
)
def test_the_names_are_the_ones_of_wsproto(theirs, ours, names):
    before, after = importlib.import_module(theirs), importlib.import_module(ours)
    for name in names:
        assert hasattr(before, name)
        assert hasattr(after, name)


def test_the_opcodes_are_the_ones_of_wsproto():
    for opcode in wsproto.frame_protocol.Opcode:
        assert getattr(Opcode, opcode.name) == opcode


# After the handshake: receiving


def test_a_connection_is_open_from_the_start(side):
    connection = Connection(side)
    assert connection.state is OPEN
    assert connection.client is (side is CLIENT)
    assert list(connection.events()) == []


def test_trailing_data_come_first(side):
    connection = Connection(side, None, from_peer(side, TEXT, b'a'))
    assert received(connection, from_peer(side, TEXT, b'b')) == [TextMessage('a'), TextMessage('b')]


@pytest.mark.parametrize(
    ('wire', 'event'),
    [
        ((TEXT, 'Grüße 👋'.encode()), TextMessage('Grüße 👋')),
        ((TEXT, b''), TextMessage('')),
        ((BINARY, b'\x00\xff'), BytesMessage(b'\x00\xff')),
        ((BINARY, bytes(70000)), BytesMessage(bytes(70000))),
        ((PING, b'?'), Ping(b'?')),
        ((PONG, b'!'), Pong(b'!')),
        ((CLOSE, b''), CloseConnection(1005, '')),
        ((CLOSE, b'\x03\xe8bye'), CloseConnection(1000, 'bye')),
        ((CLOSE, b'\x0f\xa0'), CloseConnection(4000, '')),
    ],
)
def test_a_frame_is_an_event(side, wire, event):
    connection = Connection(side)
    [got] = received(connection, from_peer(side, *wire))
    assert got == event
    assert type(got) is type(event)
    assert list(connection.events()) == []


@pytest.mark.parametrize('data', [bytearray, memoryview])
def test_anything_like_bytes_is_received_and_not_kept(side, data):
    connection = Connection(side)
    memory = bytearray(from_peer(side, TEXT, b'hi'))
    connection.receive_data(data(memory))
    memory[-1] = 0
    assert list(connection.events()) == [TextMessage('hi')]


def test_a_large_frame_comes_as_it_arrives(side):
    connection = Connection(side)
    wire = from_peer(side, BINARY, bytes(range(200)))
    head = len(wire) - 200
    assert received(connection, wire[: head - 1]) == []
    assert received(connection, wire[head - 1 : head]) == []
    assert received(connection, wire[head : head + 50]) == [BytesMessage(bytes(range(50)), False, False)]
    assert received(connection, wire[head + 50 : head + 199]) == [BytesMessage(bytes(range(50, 199)), False, False)]
    assert received(connection, wire[head + 199 :]) == [BytesMessage(b'\xc7', True, True)]


def test_text_is_cut_between_code_points(side):
    connection = Connection(side)
    wire = from_peer(side, TEXT, 'a€b'.encode())
    assert received(connection, wire[:-3]) == [TextMessage('a', False, False)]
    assert received(connection, wire[-3:]) == [TextMessage('€b', True, True)]


def test_fragments_tell_where_frames_and_message_end(side):
    connection = Connection(side)
    first, last = from_peer(side, TEXT, b'ab\xe2', fin=False), from_peer(side, CONT, b'\x82\xaccd')
    assert received(connection, first[:-2]) == [TextMessage('a', False, False)]
    assert received(connection, first[-2:]) == [TextMessage('b', True, False)]
    assert received(connection, from_peer(side, PING)) == [Ping()]
    assert received(connection, last[:-1]) == [TextMessage('€c', False, False)]
    assert received(connection, last[-1:]) == [TextMessage('d', True, True)]


def test_chunks_that_nobody_looked_at_are_one(side):
    connection = Connection(side)
    for byte in from_peer(side, TEXT, b'hello'):
        connection.receive_data(bytes([byte]))
    assert list(connection.events()) == [TextMessage('hello')]


def test_events_wait_for_those_who_stop_in_the_middle(side):
    connection = Connection(side)
    connection.receive_data(from_peer(side, TEXT, b'a') + from_peer(side, TEXT, b'b'))
    assert next(iter(connection.events())) == TextMessage('a')
    connection.receive_data(from_peer(side, TEXT, b'c'))
    assert list(connection.events()) == [TextMessage('b'), TextMessage('c')]


def test_bytes_may_come_while_events_are_taken(side):
    connection = Connection(side)
    connection.receive_data(from_peer(side, TEXT, b'a'))
    seen = []
    for event in connection.events():
        seen.append(event.data)
        if len(seen) < 3:
            connection.receive_data(from_peer(side, TEXT, b'b'))
    assert seen == ['a', 'b', 'b']


def test_nothing_is_kept_of_a_message_that_streams(side):
    connection = Connection(side)
    connection.receive_data(from_peer(side, BINARY, b'', length=b'\x7f' + (1 << 40).to_bytes(8, 'big')))
    for _ in range(100):
        [event] = received(connection, bytes(100000))
        assert len(event.data) == 100000


@pytest.mark.parametrize(
    ('bad', 'code'),
    [
        (lambda side: from_peer(side, 3), 1002),
        (lambda side: from_peer(side, BINARY, rsv=4), 1002),
        (lambda side: frame(TEXT, masked=side is CLIENT), 1002),
        (lambda side: from_peer(side, PING, fin=False), 1002),
        (lambda side: from_peer(side, PING, bytes(126)), 1002),
        (lambda side: from_peer(side, CONT), 1002),
        (lambda side: from_peer(side, TEXT, fin=False) + from_peer(side, TEXT), 1002),
        (lambda side: from_peer(side, CLOSE, b'\3'), 1002),
        (lambda side: from_peer(side, CLOSE, b'\x03\xed'), 1002),
        (lambda side: from_peer(side, CLOSE, b'\3\xe8\xff'), 1007),
        (lambda side: from_peer(side, TEXT, b'\xff'), 1007),
        (lambda side: from_peer(side, TEXT, b'\xc3'), 1007),
        (lambda side: from_peer(side, TEXT, b'\xc3', fin=False) + from_peer(side, CONT, b'('), 1007),
    ],
)
def test_a_fault_is_a_close_to_send_back(side, bad, code):
    connection = Connection(side)
    *_, event = received(connection, bad(side))
    assert isinstance(event, CloseConnection)
    assert event.code == code
    assert event.reason
    assert connection.state is OPEN
    assert received(connection, from_peer(side, PING)) == []
    [(opcode, _, _, payload)] = read(connection.send(event.response()))
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, 'big'))
    assert connection.state is LOCAL_CLOSING


def test_a_byte_that_is_no_utf8_is_a_fault_when_it_comes(side):
    connection = Connection(side)
    wire = from_peer(side, TEXT, b'abc\xff' + bytes(1000))
    assert received(connection, wire[:-1001]) == [TextMessage('abc', False, False)]
    [event] = received(connection, wire[-1001:-1000])
    assert event.code == 1007


def test_a_limit_may_be_given(side):
    connection = Connection(side, max_size=10)
    assert received(connection, from_peer(side, BINARY, bytes(10))) == [BytesMessage(bytes(10))]
    wire = from_peer(side, BINARY, bytes(6), fin=False) + from_peer(side, CONT, bytes(5))
    [first, event] = received(connection, wire)
    assert first == BytesMessage(bytes(6), True, False)
    assert event.code == 1009


# Closing


def test_their_close_is_answered_by_sending_it_back(side):
    connection = Connection(side)
    [event] = received(connection, close(1001, 'bye', masked=side is SERVER))
    assert event == CloseConnection(1001, 'bye')
    assert event.code is CloseReason.GOING_AWAY
    assert connection.state is REMOTE_CLOSING
    assert read(connection.send(event.response())) == [(CLOSE, True, 0, b'\x03\xe9bye')]
    assert connection.state is CLOSED


def test_our_close_is_answered_by_them(side):
    connection = Connection(side)
    assert read(connection.send(CloseConnection(1000, 'bye'))) == [(CLOSE, True, 0, b'\x03\xe8bye')]
    assert connection.state is LOCAL_CLOSING
    assert received(connection, from_peer(side, TEXT, b'late')) == [TextMessage('late')]
    assert received(connection, close(1000, masked=side is SERVER)) == [CloseConnection(1000, '')]
    assert connection.state is CLOSED


def test_a_close_without_code_is_answered_without_code(side):
    connection = Connection(side)
    [event] = received(connection, from_peer(side, CLOSE))
    assert event.code is CloseReason.NO_STATUS_RCVD
    assert read(connection.send(event.response())) == [(CLOSE, True, 0, b'')]


def test_the_state_follows_the_events_that_were_taken(side):
    connection = Connection(side)
    connection.receive_data(from_peer(side, TEXT, b'a') + from_peer(side, CLOSE))
    assert connection.state is OPEN
    for event in connection.events():
        if isinstance(event, TextMessage):
            assert connection.send(TextMessage('still open'))
    assert connection.state is REMOTE_CLOSING


def test_what_comes_after_a_close_is_ignored(side):
    connection = Connection(side)
    assert len(received(connection, from_peer(side, CLOSE) + from_peer(side, TEXT))) == 1
    assert received(connection, from_peer(side, TEXT)) == []


def test_the_end_of_the_stream_is_abnormal(side):
    connection = Connection(side)
    connection.receive_data(from_peer(side, TEXT, b'a') + from_peer(side, TEXT, b'b')[:-1])
    assert received(connection, None) == [TextMessage('a'), CloseConnection(1006)]
    assert connection.state is CLOSED
    with pytest.raises(LocalProtocolError, match='closed'):
        connection.receive_data(b'x')
    with pytest.raises(LocalProtocolError, match='cannot be sent in state'):
        connection.send(CloseConnection(1000))


# Sending


@pytest.mark.parametrize(
    ('event', 'found'),
    [
        (TextMessage('hällo'), (TEXT, True, 0, 'hällo'.encode())),
        (BytesMessage(b'\x00'), (BINARY, True, 0, b'\x00')),
        (BytesMessage(bytearray(b'\x00')), (BINARY, True, 0, b'\x00')),
        (BytesMessage(memoryview(b'\x00')), (BINARY, True, 0, b'\x00')),
        (BytesMessage(bytes(70000)), (BINARY, True, 0, bytes(70000))),
        (Message('x'), (TEXT, True, 0, b'x')),
        (Message(b'x'), (BINARY, True, 0, b'x')),
        (TextMessage('x', message_finished=False), (TEXT, False, 0, b'x')),
        (Ping(b'?'), (PING, True, 0, b'?')),
        (Pong(b'!'), (PONG, True, 0, b'!')),
        (CloseConnection(1000), (CLOSE, True, 0, b'\x03\xe8')),
        (CloseConnection(4999, 'x'), (CLOSE, True, 0, b'\x13\x87x')),
        (CloseConnection(None), (CLOSE, True, 0, b'')),
        (CloseConnection(1005), (CLOSE, True, 0, b'')),
        (CloseConnection(1006), (CLOSE, True, 0, b'\x03\xe8')),
        (CloseConnection(1015, 'x'), (CLOSE, True, 0, b'\x03\xe8x')),
        (CloseConnection(1000, 'ä' * 100), (CLOSE, True, 0, b'\x03\xe8' + 'ä'.encode() * 61)),
    ],
)
def test_an_event_is_a_frame(side, event, found):
    data = Connection(side).send(event)
    assert isinstance(data, bytes)
    assert bool(data[1] & 0x80) == (side is CLIENT)
    assert read(data) == [found]


def test_pieces_of_a_message_are_fragments(side):
    connection = Connection(side)
    a, b, c = (TextMessage(text, message_finished=text == 'c') for text in 'abc')
    pieces = [a, Ping(), b, c]
    wire = b''.join(connection.send(piece) for piece in pieces) + connection.send(BytesMessage(b'd'))
    assert [(opcode, fin) for opcode, fin, _, _ in read(wire)] == [
        (TEXT, False),
        (PING, True),
        (CONT, False),
        (CONT, True),
        (BINARY, True),
    ]


def test_a_message_is_of_one_kind(side):
    connection = Connection(side)
    connection.send(TextMessage('a', message_finished=False))
    with pytest.raises(TypeError, match='all text or all binary'):
        connection.send(BytesMessage(b'b'))
    assert connection.send(TextMessage('b'))


def test_data_are_text_or_bytes(side):
    with pytest.raises(TypeError, match='not int'):
        Connection(side).send(Message(5))


def test_a_control_frame_is_short(side):
    connection = Connection(side)
    for event in (Ping(bytes(126)), Pong(bytes(126))):
        with pytest.raises(LocalProtocolError, match='126'):
            connection.send(event)


@pytest.mark.parametrize('code', [0, 999, 1004, 1016, 2999, 5000, 70000])
def test_a_code_that_may_not_be_sent_is_not(side, code):
    connection = Connection(side)
    with pytest.raises(LocalProtocolError, match=str(code)):
        connection.send(CloseConnection(code))
    assert connection.state is OPEN


def test_a_reason_needs_a_code(side):
    for code in (None, 1005):
        with pytest.raises(TypeError, match='needs a close code'):
            Connection(side).send(CloseConnection(code, 'why'))


ALL_EVENTS = [
    Request('example.com', '/'),
    AcceptConnection(),
    RejectConnection(),
    RejectData(b''),
    TextMessage(''),
    BytesMessage(b''),
    Ping(),
    Pong(),
    CloseConnection(1000),
    Event(),
]


def in_state(side, state):
    connection = Connection(side)
    if state in (REMOTE_CLOSING, CLOSED):
        received(connection, from_peer(side, CLOSE))
    if state in (LOCAL_CLOSING, CLOSED):
        connection.send(CloseConnection(1000))
    assert connection.state is state
    return connection


@pytest.mark.parametrize('event', ALL_EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize('state', [OPEN, REMOTE_CLOSING, LOCAL_CLOSING, CLOSED])
def test_a_state_lets_you_send_its_events_only(side, state, event):
    connection = in_state(side, state)
    allowed = {OPEN: (Message, Ping, Pong, CloseConnection), REMOTE_CLOSING: (CloseConnection,)}.get(state, ())
    if isinstance(event, allowed):
        assert connection.send(event)
        return
    with pytest.raises(LocalProtocolError, match=re.escape(f'{event} cannot be sent in state {state}')):
        connection.send(event)
    assert connection.state is state


# Extensions


def negotiated():
    """A server's and a client's extension, after their handshake."""
    server, client = PerMessageDeflate(), PerMessageDeflate()
    answer = server.accept(f'permessage-deflate; {client.offer()}')
    client.finalize(f'permessage-deflate; {answer}')
    return server, client


def test_messages_are_compressed_and_stream(side):
    server, client = negotiated()
    mine, theirs = (server, client) if side is SERVER else (client, server)
    connection, peer = Connection(side, [mine]), Connection(CLIENT if side is SERVER else SERVER, [theirs])
    text = 'Grüße ' * 1000
    for _ in range(3):
        data = connection.send(TextMessage(text))
        assert len(data) < 200
        assert data[0] == 0xC1
        found = [event for i in range(len(data)) for event in received(peer, data[i : i + 1])]
        assert ''.join(event.data for event in found) == text
        assert [event.message_finished for event in found] == [False] * (len(found) - 1) + [True]
    assert read(connection.send(Ping(b'x' * 50))) == [(PING, True, 0, b'x' * 50)]


def test_an_extension_that_was_not_negotiated_is_left_out(side):
    connection = Connection(side, [PerMessageDeflate()])
    assert read(connection.send(TextMessage('x' * 100))) == [(TEXT, True, 0, b'x' * 100)]


def test_the_limit_holds_for_what_a_message_becomes():
    server, client = negotiated()
    connection = Connection(SERVER, [server], max_size=1000)
    peer = Connection(CLIENT, [client])
    wire = peer.send(BytesMessage(bytes(1000))) + peer.send(BytesMessage(bytes(10000)))
    first, event = received(connection, wire)
    assert len(first.data) == 1000
    assert event.code == 1009


# A handshake that the host does itself


OURS = (
    server_extensions_handshake,
    client_extensions_handshake,
    PerMessageDeflate,
    Connection,
    (SERVER, CLIENT),
    events,
)
THEIRS = (
    wsproto.handshake.server_extensions_handshake,
    wsproto.handshake.client_extensions_handshake,
    wsproto.extensions.PerMessageDeflate,
    wsproto.connection.Connection,
    (wsproto.connection.SERVER, wsproto.connection.CLIENT),
    wsproto.events,
)


@pytest.mark.parametrize('of_server', [OURS, THEIRS], ids=['our server', 'their server'])
@pytest.mark.parametrize('of_client', [OURS, THEIRS], ids=['our client', 'their client'])
def test_extensions_are_agreed_upon_without_http_1(of_server, of_client):
    accept, _, serving, server_kind, (server_side, _), _ = of_server
    _, finalize, asking, client_kind, (_, client_side), sent = of_client
    supported, proposed = [serving()], [asking()]
    answer = accept([f'permessage-deflate; {proposed[0].offer()}', 'x-other; a=1'], supported)
    assert finalize([answer.decode('ascii')], proposed) == proposed
    server, client = server_kind(server_side, supported), client_kind(client_side, proposed)
    wire = client.send(sent.TextMessage('hello ' * 50))
    assert len(wire) < 60
    assert [event.data for event in received(server, wire)] == ['hello ' * 50]


def test_nothing_in_common_is_no_answer():
    assert server_extensions_handshake(['x-other'], [PerMessageDeflate()]) is None
    assert server_extensions_handshake([], [PerMessageDeflate()]) is None
    assert client_extensions_handshake([], [PerMessageDeflate()]) == []


@pytest.mark.parametrize(
    'answer', ['x-other', 'permessage-deflate; server_max_window_bits=99', 'permessage-deflate; =', '']
)
def test_an_answer_that_is_none_to_our_offer_is_the_peers_fault(answer):
    with pytest.raises(RemoteProtocolError) as caught:
        client_extensions_handshake([answer], [PerMessageDeflate()])
    assert caught.value.event_hint == RejectConnection()


def test_offers_that_are_malformed_are_the_peers_fault():
    with pytest.raises(RemoteProtocolError, match='malformed'):
        server_extensions_handshake(['permessage-deflate; ='], [PerMessageDeflate()])


def test_an_extension_with_wsprotos_hooks_is_refused_and_told_what_it_needs():
    class Hooked(wsproto.extensions.Extension):
        name = 'x-hooked'

        def offer(self):
            return True

        def enabled(self):
            return True

    with pytest.raises(TypeError, match='encode and decode'):
        Connection(SERVER, [Hooked()])


class Shout(Extension):
    """An extension of the tests' own: sends in upper case, says so with RSV3."""

    name = 'x-shout'
    rsv = 0x10

    def __init__(self):
        self.on = False

    def enabled(self):
        return self.on

    def offer(self):
        return True

    def accept(self, offer):
        self.on = offer == 'x-shout'
        return self.on

    def finalize(self, answer):
        self.on = True

    def encode(self, frame):
        return frame._replace(data=frame.data.upper(), rsv3=frame.opcode != Opcode.CONT)

    def decode(self, frame, *, max_size=None):
        return frame._replace(rsv3=False)


def test_an_extension_of_your_own_is_negotiated_and_used():
    server, client = connected(extensions=(Shout(), PerMessageDeflate()))
    server.receive_data(client.send(TextMessage('hello', message_finished=False)))
    server.receive_data(client.send(TextMessage(' there')))
    assert [event.data for event in server.events()] == ['HELLO', ' THERE']


# The handshake


def connected(request=None, accept=None, extensions=()):
    """A server and a client after their handshake."""
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    request = request or Request('example.com', '/chat', extensions)
    [seen] = received(server, client.send(request))
    assert isinstance(seen, Request)
    accept = accept or AcceptConnection(extensions=[type(extension)() for extension in extensions])
    [answer] = received(client, server.send(accept))
    assert isinstance(answer, AcceptConnection)
    assert server.state is client.state is OPEN
    return server, client


def test_a_request_is_an_event():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    assert (server.client, client.client) == (False, True)
    wire = client.send(
        Request('example.com:81', '/chat?a=1', [PerMessageDeflate()], [(b'X-Name', b'value')], ['v2', 'v1'])
    )
    assert wire.startswith(b'GET /chat?a=1 HTTP/1.1\r\nHost: example.com:81\r\n')
    [request] = received(server, wire)
    assert request.host == 'example.com:81'
    assert request.target == '/chat?a=1'
    assert request.extensions == ['permessage-deflate; client_max_window_bits=15; server_max_window_bits=15']
    assert request.subprotocols == ['v2', 'v1']
    assert (b'x-name', b'value') in request.extra_headers
    assert {name for name, _ in request.extra_headers} == {
        b'upgrade',
        b'connection',
        b'sec-websocket-key',
        b'sec-websocket-version',
        b'x-name',
    }
    assert server.state is client.state is CONNECTING


def test_a_request_may_come_in_pieces():
    server = WSConnection(SERVER)
    wire = WSConnection(CLIENT).send(Request('example.com', '/'))
    for i in range(len(wire) - 1):
        assert received(server, wire[i : i + 1]) == []
    assert len(received(server, wire[-1:])) == 1


def test_an_acceptance_is_an_event():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/', [PerMessageDeflate()], subprotocols=['v2', 'v1'])))
    wire = server.send(AcceptConnection('v1', [PerMessageDeflate()], [(b'X-Name', b'value')]))
    assert wire.startswith(b'HTTP/1.1 101 ')
    assert server.state is OPEN
    [answer] = received(client, wire)
    assert (answer.subprotocol, answer.extra_headers) == ('v1', [(b'x-name', b'value')])
    assert [extension.name for extension in answer.extensions] == ['permessage-deflate']
    assert answer.extensions[0].enabled()
    assert client.state is OPEN
    assert client.send(TextMessage('x' * 100))[0] == 0xC1


def test_frames_may_follow_the_answer_at_once():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/')))
    wire = server.send(AcceptConnection()) + server.send(TextMessage('hi'))
    assert received(client, wire)[1:] == [TextMessage('hi')]


def test_frames_that_came_before_the_answer_wait_for_it():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/')) + frame(TEXT, b'early'))
    server.send(AcceptConnection())
    assert list(server.events()) == [TextMessage('early')]


def test_events_of_the_handshake_and_of_the_connection_come_in_order():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    server.receive_data(client.send(Request('example.com', '/')) + frame(TEXT, b'early'))
    server.send(AcceptConnection())
    assert [type(event) for event in server.events()] == [Request, TextMessage]


def test_a_subprotocol_that_was_not_offered_is_not_chosen():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/', subprotocols=['v1'])))
    with pytest.raises(LocalProtocolError, match='v2'):
        server.send(AcceptConnection('v2'))
    assert server.send(AcceptConnection('v1'))


def test_a_refusal_without_body():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/')))
    wire = server.send(RejectConnection(403, [(b'X-Why', b'because')]))
    assert server.state is CLOSED
    refusal, data = received(client, wire)
    assert (refusal.status_code, refusal.has_body) == (403, True)
    assert (b'x-why', b'because') in refusal.headers
    assert (b'content-length', b'0') in refusal.headers
    assert data == RejectData(b'', True)
    assert client.state is CLOSED


@pytest.mark.parametrize('headers', [[(b'Content-Length', b'9')], []], ids=['with its length', 'in chunks'])
def test_a_refusal_with_a_body_comes_as_it_arrives(headers):
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/')))
    [refusal] = received(client, server.send(RejectConnection(404, headers, has_body=True)))
    assert (refusal.status_code, refusal.has_body) == (404, True)
    assert server.state is client.state is REJECTING
    assert received(client, server.send(RejectData(b'not ', body_finished=False))) == [RejectData(b'not ', False)]
    assert server.state is client.state is REJECTING
    assert received(client, server.send(RejectData(b'here!'))) == [RejectData(b'here!', False), RejectData(b'', True)]
    assert server.state is client.state is CLOSED


def test_a_body_may_end_with_the_connection():
    client = WSConnection(CLIENT)
    client.send(Request('example.com', '/'))
    assert [type(event) for event in received(client, b'HTTP/1.1 500 No\r\n\r\nsor')] == [RejectConnection, RejectData]
    assert received(client, b'ry') == [RejectData(b'ry', False)]
    assert received(client, None) == [RejectData(b'', True)]
    assert client.state is CLOSED


def test_interim_answers_are_skipped():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/')))
    assert received(client, b'HTTP/1.1 103 Early Hints\r\n\r\n') == []
    assert len(received(client, server.send(AcceptConnection()))) == 1


@pytest.mark.parametrize(
    ('wire', 'hint'),
    [
        (asked('POST / HTTP/1.1'), RejectConnection()),
        (asked(Upgrade=None), RejectConnection()),
        (asked(Upgrade='h2c'), RejectConnection()),
        (asked(Connection=None), RejectConnection()),
        (asked(Host=None), RejectConnection()),
        (asked(Sec_WebSocket_Key=None), RejectConnection()),
        (asked(Sec_WebSocket_Version=None), RejectConnection(400, [(b'Sec-WebSocket-Version', b'13')])),
        (asked(Sec_WebSocket_Version='8'), RejectConnection(426, [(b'Sec-WebSocket-Version', b'13')])),
        (b'\x16\x03\x01\x00\xff\xff\r\n\r\n', RejectConnection()),
    ],
)
def test_a_bad_request_raises_with_the_answer_at_hand(wire, hint):
    server = WSConnection(SERVER)
    with pytest.raises(RemoteProtocolError) as caught:
        server.receive_data(wire)
    assert caught.value.event_hint == hint
    assert server.state is CONNECTING
    answer = server.send(caught.value.event_hint)
    assert answer.startswith(b'HTTP/1.1 %d ' % hint.status_code)
    assert server.state is CLOSED
    with pytest.raises(wsproto.utilities.RemoteProtocolError) as theirs:
        wsproto.WSConnection(wsproto.ConnectionType.SERVER).receive_data(wire)
    assert (theirs.value.event_hint.status_code, theirs.value.event_hint.headers) == (hint.status_code, hint.headers)


def test_a_server_may_read_its_request_elsewhere():
    server = WSConnection(SERVER)
    server.initiate_upgrade_connection([(name.encode(), value.encode()) for name, value in UPGRADE.items()], b'/chat')
    [request] = server.events()
    assert (request.host, request.target) == ('example.com', '/chat')
    answer = server.send(AcceptConnection())
    assert b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in answer
    assert received(server, frame(TEXT, b'hi')) == [TextMessage('hi')]


def test_a_request_read_elsewhere_may_be_wrong():
    with pytest.raises(RemoteProtocolError, match='Upgrade'):
        WSConnection(SERVER).initiate_upgrade_connection([(b'Host', b'example.com')], '/')
    with pytest.raises(LocalProtocolError):
        WSConnection(SERVER).initiate_upgrade_connection([(b'bad name', b'')], '/')
    with pytest.raises(RemoteProtocolError, match='shorter'):
        WSConnection(SERVER).initiate_upgrade_connection([(b'Host', b'x'), (b'Content-Length', b'5')], '/')
    with pytest.raises(LocalProtocolError, match='client'):
        WSConnection(CLIENT).initiate_upgrade_connection([], '/')


@pytest.mark.parametrize(
    'answer',
    [
        b'HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n',
        b'HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n\r\n',
        b'SSH-2.0-OpenSSH_9\r\n\r\n',
    ],
)
def test_a_bad_answer_raises(answer):
    client = WSConnection(CLIENT)
    client.send(Request('example.com', '/'))
    with pytest.raises(RemoteProtocolError) as caught:
        client.receive_data(answer)
    assert caught.value.event_hint == RejectConnection()


def test_an_end_before_the_answer_raises():
    client = WSConnection(CLIENT)
    client.send(Request('example.com', '/'))
    with pytest.raises(RemoteProtocolError, match='closed before'):
        client.receive_data(None)


def test_an_end_before_the_request_is_nothing():
    server = WSConnection(SERVER)
    server.receive_data(None)
    assert list(server.events()) == []


def test_an_end_in_the_middle_of_the_request_raises():
    server = WSConnection(SERVER)
    server.receive_data(b'GET / HT')
    with pytest.raises(RemoteProtocolError, match='middle'):
        server.receive_data(None)


def test_an_answer_that_nobody_asked_for_raises():
    with pytest.raises(RemoteProtocolError, match='before the request'):
        WSConnection(CLIENT).receive_data(b'HTTP/1.1 101 Yes\r\n\r\n')


def test_an_extension_may_be_answered_wrongly():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/', [PerMessageDeflate()])))
    answer = server.send(AcceptConnection())[:-2]
    with pytest.raises(RemoteProtocolError, match='no parameter') as caught:
        client.receive_data(answer + b'Sec-WebSocket-Extensions: permessage-deflate; nonsense\r\n\r\n')
    assert caught.value.event_hint == RejectConnection()


def test_a_handshake_shows_itself():
    assert repr(WSConnection(SERVER).handshake) == 'Handshake(client=False, state=ConnectionState.CONNECTING)'


def test_an_extension_that_was_not_offered_raises():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    received(server, client.send(Request('example.com', '/')))
    answer = server.send(AcceptConnection())[:-2] + b'Sec-WebSocket-Extensions: x-new\r\n\r\n'
    with pytest.raises(RemoteProtocolError, match='x-new'):
        client.receive_data(answer)


@pytest.mark.parametrize('event', ALL_EVENTS, ids=lambda event: type(event).__name__)
def test_before_its_request_a_server_sends_nothing_but_a_refusal(event):
    server = WSConnection(SERVER)
    if isinstance(event, RejectConnection):
        assert server.send(event).startswith(b'HTTP/1.1 400 ')
        return
    with pytest.raises(LocalProtocolError):
        server.send(event)
    assert server.state is CONNECTING


@pytest.mark.parametrize('event', ALL_EVENTS, ids=lambda event: type(event).__name__)
def test_before_its_answer_a_client_sends_nothing_but_its_request(event):
    client = WSConnection(CLIENT)
    if isinstance(event, Request):
        assert client.send(event)
    with pytest.raises(LocalProtocolError):
        client.send(event)
    assert client.state is CONNECTING


def test_a_refusal_is_final():
    server = WSConnection(SERVER)
    received(server, asked())
    server.send(RejectConnection(403, has_body=True))
    for event in (RejectConnection(), AcceptConnection(), TextMessage('')):
        with pytest.raises(LocalProtocolError):
            server.send(event)
    server.send(RejectData(b'no'))
    with pytest.raises(LocalProtocolError, match='CLOSED'):
        server.send(RejectData(b'no'))


def test_a_refusal_is_no_101():
    server = WSConnection(SERVER)
    received(server, asked())
    with pytest.raises(LocalProtocolError, match='101'):
        server.send(RejectConnection(101))


def test_headers_of_the_handshake_are_its_own():
    client = WSConnection(CLIENT)
    with pytest.raises(LocalProtocolError, match='sec-websocket-key'):
        client.send(Request('example.com', '/', extra_headers=[(b'Sec-WebSocket-Key', b'mine')]))
    server = WSConnection(SERVER)
    received(server, asked())
    with pytest.raises(LocalProtocolError, match='upgrade'):
        server.send(AcceptConnection(extra_headers=[(b'Upgrade', b'h2c')]))
    assert server.send(AcceptConnection())


def test_what_was_sent_can_be_fetched_later():
    server, client = WSConnection(SERVER), WSConnection(CLIENT)
    client.send(Request('example.com', '/'))
    server.receive_data(client.bytes_to_send())
    assert client.bytes_to_send() == b''
    server.send(AcceptConnection())
    server.send(TextMessage('a'))
    client.receive_data(server.bytes_to_send())
    assert len(list(client.events())) == 2
    for _ in range(100):
        server.send(TextMessage('a'))
    client.receive_data(server.bytes_to_send())
    assert len(list(client.events())) == 100


def test_what_nobody_fetches_is_not_kept():
    server, _ = connected()
    for _ in range(100):
        server.send(TextMessage('a'))
    assert server.bytes_to_send() == b''


def test_a_whole_connection_from_both_sides():
    server, client = connected()
    server.receive_data(client.send(TextMessage('hello')) + client.send(Ping(b'?')))
    for event in server.events():
        reply = event.response() if isinstance(event, Ping) else event
        client.receive_data(server.send(reply))
    assert list(client.events()) == [TextMessage('hello'), Pong(b'?')]
    server.receive_data(client.send(CloseConnection(1000, 'done')))
    for event in server.events():
        client.receive_data(server.send(event.response()))
    assert list(client.events()) == [CloseConnection(1000, 'done')]
    assert server.state is client.state is CLOSED


# Beside wsproto: the same calls and bytes give the same events, bytes and states.
#
# It is another matter where wsproto does not do what the RFC says:
# - Close code 1014 (registered with IANA, RFC 6455 11.7) is a fault there.
# - It sends any close code. RFC 6455 7.4.2: "Status codes in the range 0-999 are not used.", "Status codes in the range
#   1000-2999 are reserved for definition by this protocol". And it sends 1000 for a plain 1005, but nothing for its
#   own `CloseReason.NO_STATUS_RCVD`.
# - An interim answer (103) is a refusal there. RFC 6455 4.1: "If the status code received from the server is not 101,
#   the client handles the response per HTTP [RFC2616] procedures", which are, RFC 9110 15.2: "A client MUST be able to
#   parse one or more 1xx responses received prior to a final response, even if the client does not expect one."
# - It compresses with its own flushes: compressed fragments differ in bytes, never in what they become.
# - The end of the stream overtakes what came before it and was not looked at yet.
# Beside that, a fault shows in wsproto while a header is still incomplete, and is described in other words; an answer
# other than the 101 has a Date (RFC 9110 6.6.1) in pyjows.


def theirs_for(side, extensions=()):
    kind = wsproto.ConnectionType.SERVER if side is SERVER else wsproto.ConnectionType.CLIENT
    return wsproto.connection.Connection(kind, list(extensions))


def told(event):
    """An event of either library as a value that can be compared; of a fault only its code."""
    fields = dataclasses.asdict(event)
    if 'data' in fields and not isinstance(fields['data'], str):
        fields['data'] = bytes(fields['data'])
    if fields.get('code') in (1002, 1007):
        fields['reason'] = None
    return type(event).__name__, fields


def same(ours, theirs):
    assert [told(event) for event in ours.events()] == [told(event) for event in theirs.events()]
    assert ours.state.name == theirs.state.name


@given(data=st.data())
@settings(max_examples=examples(250), deadline=None)
def test_the_same_bytes_mean_the_same_as_in_wsproto(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    ours, theirs = Connection(side), theirs_for(side)
    for piece in data.draw(frames(side is SERVER)):
        ours.receive_data(piece)
        theirs.receive_data(piece)
        if data.draw(st.booleans()):
            same(ours, theirs)
    same(ours, theirs)
    ours.receive_data(None)
    theirs.receive_data(None)
    same(ours, theirs)


def sendable():
    """What a program may send, right or wrong, as a name and arguments for either library."""
    finished = st.booleans()
    control = st.binary(max_size=5) | st.just(bytes(126))
    codes = st.sampled_from([None, 1000, 1001, 1006, 1011, 1015, 3000, 4999])
    return st.one_of(
        st.tuples(st.just('TextMessage'), texts, st.just(True), finished),
        st.tuples(st.just('BytesMessage'), payloads, st.just(True), finished),
        st.tuples(st.just('Message'), texts | payloads | st.just(5), st.just(True), finished),
        st.tuples(st.just('Ping'), control),
        st.tuples(st.just('Pong'), control),
        st.tuples(st.just('CloseConnection'), codes, st.sampled_from([None, '', 'why', 'ä' * 70])),
        st.tuples(st.just('AcceptConnection')),
        st.tuples(st.just('Request'), st.just('example.com'), st.just('/')),
        st.tuples(st.just('RejectData'), st.just(b'')),
    )


def outcome(connection, module, name, args):
    """What sending an event gives: its frames, or the kind of the exception."""
    try:
        return read(bytes(connection.send(getattr(module, name)(*args))))
    except TypeError:
        return 'TypeError'
    except (LocalProtocolError, wsproto.utilities.LocalProtocolError, ValueError):
        return 'not allowed'


@given(data=st.data())
@settings(max_examples=examples(250), deadline=None)
def test_the_same_calls_do_the_same_as_in_wsproto(data):
    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    ours, theirs = Connection(side), theirs_for(side)
    arriving = [
        frame(TEXT, b'hi', masked=side is SERVER),
        frame(PING, b'?', masked=side is SERVER),
        frame(CLOSE, masked=side is SERVER),
        close(1000, 'bye', masked=side is SERVER),
        frame(CONT, masked=side is SERVER),
    ]
    for step in data.draw(st.lists(sendable() | st.sampled_from([*arriving, None]), max_size=8)):
        if isinstance(step, tuple):
            name, *args = step
            assert outcome(ours, events, name, args) == outcome(theirs, wsproto.events, name, args), step
        else:
            try:
                theirs.receive_data(step)
            except wsproto.utilities.LocalProtocolError:
                with pytest.raises(LocalProtocolError):
                    ours.receive_data(step)
            else:
                ours.receive_data(step)
        same(ours, theirs)


@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_compressed_messages_go_to_wsproto_and_back(data):
    client_forgets, server_forgets = data.draw(st.booleans()), data.draw(st.booleans())
    ours_serves = data.draw(st.booleans())
    mine = PerMessageDeflate(client_forgets, None, server_forgets, None)
    other = wsproto.extensions.PerMessageDeflate(client_forgets, None, server_forgets, None)
    server, client = (mine, other) if ours_serves else (other, mine)
    answer = server.accept(f'permessage-deflate; {client.offer()}')
    client.finalize(f'permessage-deflate; {answer}')
    side = SERVER if ours_serves else CLIENT
    ours, theirs = Connection(side, [mine]), theirs_for(CLIENT if ours_serves else SERVER, [other])
    for payload, pieces in data.draw(st.lists(st.tuples(payloads | texts, st.integers(1, 3)), max_size=5)):
        for sender, receiver, module in ((ours, theirs, events), (theirs, ours, wsproto.events)):
            wire = b''.join(
                bytes(sender.send(module.Message(payload, message_finished=i == pieces - 1))) for i in range(pieces)
            )
            found = []
            for piece in data.draw(cut(wire)):
                receiver.receive_data(piece)
                found += receiver.events()
            assert type(payload)().join(event.data for event in found) == payload * pieces
            assert [event.message_finished for event in found] == [False] * (len(found) - 1) + [True]


hosts = st.sampled_from(['localhost', 'example.com:8080', '[::1]:3000'])
targets = st.sampled_from(['/', '/chat?room=1', '/%20'])
subprotocols = st.lists(st.sampled_from(['v1', 'v2', 'chat']), unique=True)
names = st.sampled_from([b'x-a', b'x-b', b'cookie'])
more = st.lists(st.tuples(names, st.sampled_from([b'', b'1', b'a, b'])), max_size=3)
THEIRS = wsproto.extensions.PerMessageDeflate


@given(data=st.data(), compress=st.booleans())
@settings(max_examples=examples(80), deadline=None)
def test_a_handshake_with_wsproto_says_the_same_on_both_sides(data, compress):
    """Their client and ours ask our server and theirs: four pairs, and the same events come out everywhere."""
    host, target, names, headers = (data.draw(each) for each in (hosts, targets, subprotocols, more))
    chosen = data.draw(st.sampled_from([None, *names]))
    refused = data.draw(st.sampled_from([None, 401, 404]))
    seen = []
    for client_is_ours in (True, False):
        for server_is_ours in (True, False):
            seen.append([])
            client = WSConnection(CLIENT) if client_is_ours else wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
            server = WSConnection(SERVER) if server_is_ours else wsproto.WSConnection(wsproto.ConnectionType.SERVER)
            at_client, at_server = (events if ours else wsproto.events for ours in (client_is_ours, server_is_ours))
            deflate = [PerMessageDeflate if ours else THEIRS for ours in (client_is_ours, server_is_ours)]
            request = at_client.Request(host, target, [deflate[0]()] if compress else [], headers, names)
            server.receive_data(client.send(request))
            [found] = server.events()
            seen[-1].append(shown(found))
            if refused:
                wire = server.send(at_server.RejectConnection(refused, [(b'Content-Length', b'2')], has_body=True))
                wire += server.send(at_server.RejectData(b'no'))
            else:
                wire = server.send(at_server.AcceptConnection(chosen, [deflate[1]()] if compress else [], headers))
            client.receive_data(wire)
            seen[-1] += [shown(event) for event in client.events()]
            seen[-1] += [client.state.name, server.state.name]
            if not refused:
                server.receive_data(bytes(client.send(at_client.TextMessage('hello' * 20))))
                [message] = server.events()
                assert message.data == 'hello' * 20
    assert all(each == seen[0] for each in seen[1:]), seen


def shown(event):
    """An event of a handshake as a value that can be compared: no keys, no dates."""
    name, fields = type(event).__name__, {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    for headers in ('extra_headers', 'headers'):
        if headers in fields:
            fields[headers] = sorted(
                (bytes(name), bytes(value))
                for name, value in fields[headers]
                if name not in (b'sec-websocket-key', b'date', b'connection', b'upgrade')
            )
    if 'extensions' in fields:
        fields['extensions'] = [
            extension if isinstance(extension, str) else extension.name for extension in fields['extensions']
        ]
    return name, fields
