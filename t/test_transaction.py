"""`WebSocket` with no loop: every member and event, the order of things, and each side's own mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import struct
from typing import Any

import pyee
import pytest
from amounts import examples
from byhand import BINARY, CLOSE, CONT, PING, REQUEST, TEXT, close, frame, frames, log, opened, pair, pump
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import accepted

import pyjows
from pyjows import (
    CloseCode,
    ConnectionClosed,
    Frame,
    InvalidState,
    Opcode,
    PerMessageDeflate,
    ProtocolError,
    State,
    WebSocket,
    broadcast,
    connect,
    serve,
)
from pyjows.deflate import Deflate

SIDES = ('server', 'client')


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Which end of the connection a test looks at."""
    return str(request.param)


def from_peer(side: str, opcode: int, payload: bytes = b'', **bits: Any) -> bytes:
    """A frame as the peer of this side sends it."""
    return frame(opcode, payload, masked=side == 'server', **bits)


# The handshake


def test_a_client_and_a_server_shake_hands_and_talk():
    client, server = WebSocket(), WebSocket()
    at_client, at_server = log(client, 'open', 'text', 'finish'), log(server, 'request', 'open', 'text', 'finish')
    server.on('text', lambda ws, text: ws.send(text=text.upper()))
    client.on('open', lambda ws: ws.send(text='hi'))

    client.client_handshake('ws://example.com/chat?room=1')
    pump(client, server)

    assert at_server == [('request',), ('open',), ('text', 'hi')]
    assert at_client == [('open',), ('text', 'HI')]
    assert server.req.target == client.req.target == '/chat?room=1'
    assert client.res.status == 101


def test_the_handshake_and_the_talk_are_the_same_byte_by_byte():
    client, server = WebSocket(), WebSocket()
    at_client, at_server = log(client, 'open', 'message', 'finish'), log(server, 'open', 'message', 'finish')
    client.send(text='früh').send(b'\0\1')
    server.on('message', lambda ws, message: ws.send(message))

    client.client_handshake('ws://example.com/')
    pump(client, server, step=1)
    client.finish(1000, 'genug')
    pump(client, server, step=1)
    client.closed()
    server.closed()

    assert at_server == [('open',), ('message', 'früh'), ('message', b'\0\1'), ('finish', 1000, 'genug')]
    assert at_client == [('open',), ('message', 'früh'), ('message', b'\0\1'), ('finish', 1000, 'genug')]


def test_the_handshake_of_an_open_connection_says_what_was_agreed_and_answers_no_more():
    client, server = WebSocket(compression=True), WebSocket(compression=True)
    assert server.handshake is None
    client.client_handshake('ws://example.com/')
    pump(client, server)

    assert server.handshake is server.handshake
    assert server.handshake.request is server.req
    for ws in (client, server):
        assert [extension.name for extension in ws.handshake.agreed_extensions] == ['permessage-deflate']
    with pytest.raises(InvalidState):
        server.handshake.accept()
    assert WebSocket(established=True).handshake is None


def test_frames_right_behind_the_upgrade_request_are_read_after_open():
    server = WebSocket()
    seen = log(server, 'request', 'open', 'text')
    server.server_read(REQUEST + b'\r\n' + frame(TEXT, b'eager', masked=True))
    assert seen == [('request',), ('open',), ('text', 'eager')]


def test_frames_right_behind_the_101_are_read_after_open():
    client, server = WebSocket(), WebSocket()
    seen = log(client, 'open', 'text')
    server.on('request', lambda ws: ws.send(text='first').send(text='second'))
    client.client_handshake('ws://example.com/')
    server.server_read(client.client_write())
    client.client_read(server.server_write())
    assert seen == [('open',), ('text', 'first'), ('text', 'second')]


def test_what_a_request_handler_does_takes_effect_in_order():
    server = WebSocket()

    @server.on
    def request(ws):
        ws.on('text', lambda ws, text: ws.send(text=f'you said {text}'))
        ws.send(text='one').send(binary=b'two').send(frame=(1, 0, 0, 0, PING, b'three')).send(json=[4])

    server.server_read(REQUEST + b'\r\n' + frame(TEXT, b'hello', masked=True))
    head, _, rest = server.server_write().partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 101 ')
    assert frames(rest) == [
        (0x81, b'one'), (0x82, b'two'), (0x89, b'three'), (0x81, b'[4]'), (0x81, b'you said hello'),
    ]  # fmt: skip


def test_a_finish_before_the_101_follows_what_was_sent_before_it():
    server = WebSocket()

    @server.on
    def request(ws):
        ws.send(text='bye').finish(4000, 'not now')
        with pytest.raises(ConnectionClosed):
            ws.send(text='after that')

    server.server_read(REQUEST + b'\r\n')
    rest = server.server_write().partition(b'\r\n\r\n')[2]
    assert frames(rest) == [(0x81, b'bye'), (0x88, b'\x0f\xa0not now')]


def test_what_a_client_sends_early_waits_for_the_answer():
    client, server = WebSocket(), WebSocket()
    seen = log(server, 'open', 'message')
    client.send(text='before').client_handshake('ws://example.com/')
    client.send(binary=b'while')
    assert client.is_writing and not client.established
    client.on('open', lambda ws: ws.send(text='after'))
    assert b'before' not in (request := client.client_write())
    server.server_read(request)
    pump(client, server)
    assert seen == [('open',), ('message', 'before'), ('message', b'while'), ('message', 'after')]


@pytest.mark.parametrize('status', [400, 401, 403, 404, 503])
def test_a_server_may_reject_the_upgrade(status):
    client, server = WebSocket(), WebSocket()
    at_client, at_server = log(client, 'open', 'error', 'finish'), log(server, 'open', 'finish')
    server.on('request', lambda ws: ws.reject(status, headers={'X-Why': 'because'}, body='not you'))
    client.client_handshake('ws://example.com/')
    pump(client, server)
    client.closed()
    server.closed()

    (_, exc), finish = at_client
    assert isinstance(exc, pyjows.HandshakeError)
    assert (exc.status, exc.headers['x-why'], exc.body) == (status, 'because', b'not you')
    assert finish[:2] == ('finish', 1006)
    assert server.res.status == status
    assert [event for event, *_ in at_server] == ['finish']


def test_after_a_rejection_nothing_is_sent_or_accepted():
    server = WebSocket()

    @server.on
    def request(ws):
        ws.reject()
        for again in (ws.reject, ws.with_compression, lambda: ws.with_protocols('chat')):
            with pytest.raises(InvalidState):
                again()
        for message in ({'text': 'x'}, {'frame': Frame(Opcode.TEXT, b'x')}):
            with pytest.raises(ConnectionClosed):
                ws.send(**message)
        ws.finish()

    server.server_read(REQUEST + b'\r\n' + frame(TEXT, b'no', masked=True))
    answer = server.server_write()
    assert answer.startswith(b'HTTP/1.1 403 ')
    assert b'101' not in answer
    assert server.server_write() == b''
    assert not server.is_writing


def test_a_handler_of_the_request_sets_headers_on_the_101():
    client, server = WebSocket(), WebSocket(headers={'X-Always': 'yes'})

    def request(ws):
        assert ws.res.status == 101
        ws.res.headers['Set-Cookie'] = 'a=1'
        ws.res.headers['Set-Cookie'] = 'b=2'

    server.on('request', request)
    server.on('request', lambda ws: ws.res.headers.update({'X-Also': ws.res.headers.get_all('set-cookie')[0]}))
    client.client_handshake('ws://example.com/')
    pump(client, server)
    assert client.res.headers.get_all('set-cookie') == ['a=1', 'b=2']
    assert (client.res.headers['x-always'], client.res.headers['x-also']) == ('yes', 'a=1')
    assert server.res.headers.get_all('Set-Cookie') == ['a=1', 'b=2']


def test_there_is_an_answer_to_change_only_while_the_request_waits_for_it():
    client, server = WebSocket(), WebSocket()
    assert client.res is server.res is opened().res is None
    client.client_handshake('ws://example.com/')
    assert client.res is None
    pump(client, server)
    assert server.res is None
    assert client.res.status == 101


@pytest.mark.parametrize('name', ['Connection', 'Sec-WebSocket-Accept', 'Content-Length'])
def test_a_header_of_the_handshake_is_not_set_by_a_handler(name):
    server = WebSocket()
    errors = log(server, 'error')
    server.on('request', lambda ws: ws.res.headers.update({name: '1'}))
    server.server_read(REQUEST + b'\r\n')
    assert server.server_write().startswith(b'HTTP/1.1 500 ')
    assert name.lower() in str(errors[0][1])
    assert server.res.status == 500


def test_a_rejection_has_a_reason_and_the_headers_that_were_set_before():
    server = WebSocket()

    def request(ws):
        ws.res.headers['Set-Cookie'] = 'a=1'
        ws.reject(403, {'X-Why': 'because'}, reason='Not Here')

    server.on('request', request)
    server.server_read(REQUEST + b'\r\n')
    head = server.server_write().split(b'\r\n')
    assert head[0] == b'HTTP/1.1 403 Not Here'
    assert b'Set-Cookie: a=1' in head and b'X-Why: because' in head


def test_a_reason_that_would_split_the_answer_is_refused():
    server = WebSocket()
    errors = log(server, 'error')
    server.on('request', lambda ws: ws.reject(reason='a\r\nb'))
    server.server_read(REQUEST + b'\r\n')
    assert server.server_write().startswith(b'HTTP/1.1 500 ')
    assert isinstance(errors[0][1], ValueError)


@pytest.mark.parametrize(
    'call', [lambda ws: ws.reject(), lambda ws: ws.with_compression(), lambda ws: ws.with_protocols('a')]
)
def test_only_an_unanswered_request_can_be_negotiated(call):
    for ws in (WebSocket(), opened(), pair()[1], pair()[0]):
        with pytest.raises(InvalidState):
            call(ws)


def test_a_server_chooses_a_subprotocol_in_its_own_order_of_preference():
    client, server = WebSocket(subprotocols=['v1', 'v2', 'v3']), WebSocket()
    chosen = []
    server.on('request', lambda ws: chosen.append(ws.with_protocols('v4', 'v3', 'v1')))
    client.client_handshake('ws://example.com/')
    pump(client, server)
    assert chosen == ['v3']
    assert client.subprotocol == server.subprotocol == 'v3'


def test_a_server_s_subprotocols_option_chooses_for_it():
    client, server = pair({'subprotocols': ['v1', 'v2']}, {'subprotocols': ['v2', 'v1']})
    assert client.subprotocol == server.subprotocol == 'v2'


def test_no_common_subprotocol_is_none():
    client, server = pair({'subprotocols': ['v1']}, {'subprotocols': ['v2']})
    assert client.subprotocol is server.subprotocol is None


def test_headers_go_along_with_the_handshake_both_ways():
    client, server = pair({'headers': {'X-Client': 'c'}}, {'headers': {'X-Server': 's'}})
    assert server.req.headers['x-client'] == 'c'
    assert client.res.headers['x-server'] == 's'


def test_with_compression_accepts_what_the_client_offers():
    client, server = WebSocket(compression=True), WebSocket()
    server.on('request', lambda ws: ws.with_compression())
    client.client_handshake('ws://example.com/')
    pump(client, server)
    assert client.compressed and server.compressed


def test_with_compression_false_declines_for_one_connection():
    client, server = WebSocket(compression=True), WebSocket(compression=True)
    server.on('request', lambda ws: ws.with_compression(False))
    client.client_handshake('ws://example.com/')
    pump(client, server)
    assert not client.compressed and not server.compressed


def test_with_compression_does_nothing_for_a_client_that_offers_none():
    client, server = WebSocket(), WebSocket()
    server.on('request', lambda ws: ws.with_compression())
    client.client_handshake('ws://example.com/')
    pump(client, server)
    assert not client.compressed and not server.compressed


def answered(client: WebSocket, extensions: str) -> None:
    """A server accepts with these extensions."""
    client.client_read(accepted(client.client_write(), Sec_WebSocket_Extensions=extensions))


def test_an_extension_that_was_not_offered_fails_the_client():
    client = WebSocket()
    seen = log(client, 'open', 'error', 'finish')
    client.client_handshake('ws://example.com/')
    answered(client, 'permessage-deflate')
    client.closed()
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert isinstance(seen[0][1], pyjows.HandshakeError)
    assert seen[1][1] == 1010


@pytest.mark.parametrize(
    ('offered', 'accepted', 'reason'),
    [
        (True, 'permessage-deflate; x=1', "needed: permessage-deflate; permessage-deflate has no parameter 'x'"),
        (True, 'x-unheard-of', "needed: permessage-deflate; the server accepted extension 'x-unheard-of', which"),
        (True, ';', 'needed: permessage-deflate; Sec-WebSocket-Extensions is malformed'),
        (False, 'x-unheard-of', "the server accepted extension 'x-unheard-of', which was not offered"),
    ],
)
def test_a_client_that_fails_because_of_extensions_names_those_it_needs_in_its_1010(offered, accepted, reason):
    client = WebSocket(compression=offered)
    seen = log(client, 'open', 'error', 'text', 'finish')
    client.client_handshake('ws://example.com/')
    client.send(text='never')
    answered(client, accepted)
    [(head, payload)] = frames(client.client_write())
    assert (head, payload[:2]) == (0x88, (1010).to_bytes(2, 'big'))
    assert payload[2:].decode().startswith(reason)
    client.client_read(frame(TEXT, b'not heard')).client_read(close(1010)).closed()
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert seen[1][1] == 1010


def test_the_reason_of_a_1010_fits_into_a_close_frame():
    client = WebSocket()
    client.client_handshake('ws://example.com/')
    answered(client, 'x' * 1000)
    [(_, payload)] = frames(client.client_write())
    assert len(payload) <= 125


def test_a_client_hears_when_the_connection_closes_before_the_answer():
    client = WebSocket()
    seen = log(client, 'open', 'error', 'finish')
    client.client_handshake('ws://example.com/').client_write()
    client.closed()
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert isinstance(seen[0][1], pyjows.HandshakeError)
    assert seen[1][1:] == (1006, '')


def test_a_handshake_can_begin_only_once():
    client = WebSocket().client_handshake('ws://example.com/')
    with pytest.raises(InvalidState, match='new WebSocket'):
        client.client_handshake('ws://example.com/')
    with pytest.raises(InvalidState):
        opened().client_handshake('ws://example.com/')


@pytest.mark.parametrize('url', ['ftp://example.com/', 'ws://', 'example.com', 'ws://example.com/#part', 'ws://a b/'])
def test_a_malformed_url_is_refused_at_the_call(url):
    with pytest.raises(ValueError):
        WebSocket().client_handshake(url)


@pytest.mark.parametrize(
    'option', [{'subprotocols': ['a b']}, {'headers': {'X-Bad': 'a\r\nb'}}, {'headers': {'Upgrade': 'x'}}]
)
def test_malformed_options_of_a_client_are_refused_at_the_call(option):
    with pytest.raises(ValueError):
        WebSocket(**option).client_handshake('ws://example.com/')


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError):
        WebSocket(max_size=5)


def test_a_request_handler_that_raises_answers_500(caplog):
    server = WebSocket()

    @server.on
    def request(ws):
        raise LookupError('no such room')

    with caplog.at_level(logging.ERROR, 'pyjows'):
        server.server_read(REQUEST + b'\r\n')
    assert server.server_write().startswith(b'HTTP/1.1 500 ')
    assert 'no such room' in caplog.text


@pytest.mark.parametrize(
    ('request_', 'status'),
    [
        (b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', b'426'),
        (REQUEST.replace(b'13\r\n', b'8\r\n') + b'\r\n', b'426'),
        (REQUEST.replace(b'GET', b'POST') + b'Content-Length: 0\r\n\r\n', b'405'),
        (REQUEST.replace(b'dGhlIHNhbXBsZSBub25jZQ==', b'short') + b'\r\n', b'400'),
        (b'hello\r\n\r\n', b'400'),
    ],
)
def test_a_wrong_request_is_answered_and_never_becomes_a_websocket(request_, status):
    server = WebSocket()
    seen = log(server, 'request', 'open', 'finish')
    server.server_read(request_)
    assert server.server_write().startswith(b'HTTP/1.1 ' + status + b' ')
    server.closed()
    assert seen == [('finish', 1006, '')]


# Messages out


@pytest.mark.parametrize(
    ('send', 'expected'),
    [
        (lambda ws: ws.send('grüß'), (0x81, 'grüß'.encode())),
        (lambda ws: ws.send(text='grüß'), (0x81, 'grüß'.encode())),
        (lambda ws: ws.send(''), (0x81, b'')),
        (lambda ws: ws.send(b'\0\xff'), (0x82, b'\0\xff')),
        (lambda ws: ws.send(b''), (0x82, b'')),
        (lambda ws: ws.send(binary=b'\0\xff'), (0x82, b'\0\xff')),
        (lambda ws: ws.send(binary=bytearray(b'ab')), (0x82, b'ab')),
        (lambda ws: ws.send(bytearray(b'ab')), (0x82, b'ab')),
        (lambda ws: ws.send(memoryview(b'ab')), (0x82, b'ab')),
        (lambda ws: ws.send(json={'a': [1, None, True]}), (0x81, b'{"a":[1,null,true]}')),
        (lambda ws: ws.send(json=None), (0x81, b'null')),
        (lambda ws: ws.send(json='é'), (0x81, '"é"'.encode())),
        (lambda ws: ws.send(frame=(1, 0, 0, 0, PING, b'?')), (0x89, b'?')),
        (lambda ws: ws.send(frame=(False, True, True, True, 3, b'!')), (0x73, b'!')),
        (lambda ws: ws.send(frame=Frame(Opcode.TEXT, b'part', fin=False)), (0x01, b'part')),
    ],
)
def test_send_queues_one_message_or_frame_and_returns_the_transaction(side, send, expected):
    ws = opened(side)
    assert send(ws) is ws
    assert frames(ws.server_write()) == [expected]


@pytest.mark.parametrize('size', [0, 1, 125, 126, 127, 65535, 65536, 65537, 200_000])
def test_messages_of_every_length_class_arrive(size):
    client, server = pair()
    to_client, to_server = log(client, 'binary'), log(server, 'binary')
    message = bytes(i * 7 & 0xFF for i in range(size))
    client.send(binary=message)
    server.send(binary=message)
    pump(client, server)
    assert to_client == to_server == [('binary', message)]


def test_clients_mask_with_a_fresh_key_each_time_and_servers_never():
    client, server = opened('client'), opened('server')
    keys = set()
    for _ in range(50):
        data = client.send(binary=b'\0' * 8).client_write()
        assert data[1] == 0x88
        assert data[6:] == data[2:6] * 2
        keys.add(data[2:6])
    assert len(keys) == 50
    assert server.send(binary=b'\0' * 8).server_write() == b'\x82\x08' + b'\0' * 8


@pytest.mark.parametrize(
    'mistake',
    [
        lambda ws: ws.send(),
        lambda ws: ws.send(None),
        lambda ws: ws.send(5),
        lambda ws: ws.send(text=b'bytes'),
        lambda ws: ws.send(text=5),
        lambda ws: ws.send(binary='text'),
        lambda ws: ws.send(binary=5),
        lambda ws: ws.send(json=object()),
        lambda ws: ws.send(json={1, 2}),
        lambda ws: ws.send(frame=(1, 0, 0, 0, 'x', b'')),
        lambda ws: ws.send(frame=(1, 0, 0, 0, 1, 'text')),
        lambda ws: ws.build_message(),
        lambda ws: ws.build_message(text=b'bytes'),
        lambda ws: ws.build_frame(1, 0, 0, 0, 1, 'text'),
    ],
)
def test_a_wrong_type_is_a_type_error_at_the_call_and_nothing_is_sent(side, mistake):
    ws = opened(side)
    with pytest.raises(TypeError):
        mistake(ws)
    assert not ws.is_writing
    assert ws.send('still fine').server_write()


@pytest.mark.parametrize(
    'mistake',
    [
        lambda ws: ws.send(text='\ud800'),
        lambda ws: ws.send(frame=(1, 0, 0, 0, 16, b'')),
        lambda ws: ws.send(frame=(1, 0, 0, 0, -1, b'')),
        lambda ws: ws.send(frame=(0, 0, 0, 0, PING, b'')),
        lambda ws: ws.send(frame=(1, 0, 0, 0, PING, bytes(126))),
        lambda ws: ws.build_frame(1, 0, 0, 0, 16, b''),
        lambda ws: ws.finish(999),
        lambda ws: ws.finish(1004),
        lambda ws: ws.finish(1005),
        lambda ws: ws.finish(1006),
        lambda ws: ws.finish(1015),
        lambda ws: ws.finish(2999),
        lambda ws: ws.finish(5000),
        lambda ws: ws.finish(1000, 'ü' * 62),
        lambda ws: ws.finish(reason='no code'),
        lambda ws: ws.finish(1000, '\ud800'),
    ],
)
def test_a_wrong_value_is_a_value_error_at_the_call_and_nothing_is_sent(side, mistake):
    ws = opened(side)
    with pytest.raises(ValueError):
        mistake(ws)
    assert not ws.is_writing
    assert ws.send('still fine').server_write()


@pytest.mark.parametrize('early', [False, True])
def test_the_mistakes_are_told_before_the_handshake_too(early):
    ws = WebSocket() if early else opened()
    for mistake in (lambda: ws.send(text=5), lambda: ws.send(), lambda: ws.finish(1006)):
        with pytest.raises((TypeError, ValueError)):
            mistake()


@pytest.mark.parametrize('message', ['a', b'a'])
@pytest.mark.parametrize('more', [{'text': 'b'}, {'binary': b'b'}, {'json': 1}, {'frame': Frame(Opcode.TEXT, b'b')}])
def test_a_send_takes_one_message_and_no_second_one(message, more):
    ws = WebSocket(established=True)
    with pytest.raises(TypeError, match='exactly one'):
        ws.send(message, **more)
    assert ws.server_write() == b''


def test_a_send_that_a_class_overrides_sees_each_message_once():
    seen = []

    class Recorded(WebSocket):
        def send(self, *args, **options):
            seen.append(options)
            return super().send(*args, **options)

    ws = Recorded(established=True)
    assert ws.send(lambda ws: None, text='a') is ws
    assert ws.send(text='b', compress=False) is ws
    assert seen == [{'text': 'a'}, {'text': 'b', 'compress': False}]
    assert ws.server_write() == b'\x81\x01a\x81\x01b'


def test_a_send_that_raises_forgets_its_callback():
    ws = opened()
    called = []
    with pytest.raises(TypeError):
        ws.send(called.append, text=5)
    ws.send('fine').server_write()
    assert called == []


def test_the_messages_of_exceptions_name_the_value_and_the_way_out():
    ws = opened()
    with pytest.raises(TypeError, match=r'not bytes; use binary='):
        ws.send(text=b'x')
    with pytest.raises(ValueError, match=r'1006 may not be sent.*3000 to 4999'):
        ws.finish(1006)
    with pytest.raises(ValueError, match=r'124 bytes.*123'):
        ws.finish(1000, 'x' * 124)
    with pytest.raises(ValueError, match=r'16 is not a valid opcode'):
        ws.send(frame=(1, 0, 0, 0, 16, b''))


# Building and parsing


def test_build_frame_and_parse_frame_need_no_handshake():
    ws = WebSocket()
    data = ws.build_frame(True, False, False, False, TEXT, b'Hello')
    assert data == b'\x81\x05Hello'
    assert ws.parse_frame(data) == (True, False, False, False, Opcode.TEXT, b'Hello')
    assert ws.build_message(text='Hello') == data


def test_build_frame_masks_where_the_transaction_does():
    ws = WebSocket()
    ws.masked = True
    data = ws.build_frame(True, False, False, False, TEXT, b'Hello')
    assert data[:2] == b'\x81\x85'
    assert frames(data) == [(0x81, b'Hello')]


def test_build_message_speaks_all_three_kinds(side):
    ws = opened(side)
    assert frames(ws.build_message(text='é')) == [(0x81, 'é'.encode())]
    assert frames(ws.build_message(binary=b'\0')) == [(0x82, b'\0')]
    assert frames(ws.build_message(json={'a': 1})) == [(0x81, b'{"a":1}')]
    assert not ws.is_writing


def test_build_message_leaves_what_waits_alone(side):
    ws = opened(side)
    ws.send('waits')
    ws.build_message(text='built')
    assert frames(ws.server_write()) == [(0x81, b'waits')]


def test_build_message_compresses_where_the_transaction_does():
    ws = opened()
    ws.compressed = True
    message = 'again and again ' * 50
    data = ws.build_message(text=message)
    assert data[0] == 0xC1
    assert len(data) < 100
    receiver = opened('client', compression=True)
    seen = log(receiver, 'text')
    receiver.client_read(data)
    assert seen == [('text', message)]


def test_a_ping_is_for_an_open_connection(side):
    early, closing, gone = WebSocket(), opened(side).finish(1000), opened(side).closed()
    written = closing.server_write()
    for ws in (early, closing, gone):
        with pytest.raises(InvalidState, match='while the connection is open'):
            ws.ping()
    assert written
    assert closing.server_write() == b''


def test_parse_frame_takes_whole_frames_off_a_bytearray_and_leaves_the_rest():
    ws = WebSocket()
    buffer = bytearray(frame(TEXT, b'one', masked=True) + frame(BINARY, b'two') + frame(PING, b'three')[:-1])
    assert ws.parse_frame(buffer).data == b'one'
    assert ws.parse_frame(buffer).data == b'two'
    rest = bytes(buffer)
    assert ws.parse_frame(buffer) is None
    assert bytes(buffer) == rest == frame(PING, b'three')[:-1]


def test_parse_frame_closes_on_a_frame_over_the_limit():
    ws = opened(max_websocket_size=10)
    seen = log(ws, 'resume')
    assert ws.parse_frame(frame(BINARY, b'x' * 11)) is None
    assert seen == [('resume',)]
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', 1009)


# Messages in


def test_a_text_message_is_told_as_text_and_message(side):
    ws = opened(side)
    seen = log(ws, 'text', 'binary', 'message')
    ws.server_read(from_peer(side, TEXT, 'é€😀'.encode()))
    assert seen == [('text', 'é€😀'), ('message', 'é€😀')]


def test_a_binary_message_is_told_as_binary_and_message(side):
    ws = opened(side)
    seen = log(ws, 'text', 'binary', 'message')
    ws.server_read(from_peer(side, BINARY, b'\0\xff'))
    assert seen == [('binary', b'\0\xff'), ('message', b'\0\xff')]
    assert all(type(message) is bytes for _, message in seen)


@pytest.mark.parametrize('opcode', [TEXT, BINARY])
def test_json_is_decoded_from_either_kind(side, opcode):
    ws = opened(side)
    seen = log(ws, 'json')
    ws.server_read(from_peer(side, opcode, '{"ä": [1, 2.5, null]}'.encode()))
    assert seen == [('json', {'ä': [1, 2.5, None]})]


def test_json_null_is_a_message_too(side):
    ws = opened(side)
    seen = log(ws, 'json')
    ws.server_read(from_peer(side, TEXT, b'null'))
    assert seen == [('json', None)]


def test_json_is_decoded_only_for_those_who_want_it(side):
    ws = opened(side)
    seen = log(ws, 'text', 'error', 'finish')
    ws.server_read(from_peer(side, TEXT, b'{no json'))
    assert seen == [('text', '{no json')]
    assert not ws.is_writing


def test_json_that_does_not_decode_is_an_error_and_the_other_events_still_happen(side):
    ws = opened(side)
    seen = log(ws, 'text', 'message', 'json', 'error')
    ws.server_read(from_peer(side, TEXT, b'{no json') + from_peer(side, TEXT, b'1'))
    assert [event for event, *_ in seen] == ['text', 'message', 'error', 'text', 'message', 'json']
    assert isinstance(seen[2][1], ValueError)
    assert not ws.is_writing


def test_json_that_does_not_decode_closes_with_1007_where_nobody_listens_to_errors(side, caplog):
    ws = opened(side)
    seen = log(ws, 'text', 'json')
    with caplog.at_level(logging.INFO, 'pyjows'):
        ws.server_read(from_peer(side, TEXT, b'{no json') + from_peer(side, TEXT, b'1'))
    assert seen == [('text', '{no json')]
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', 1007)
    assert [record.levelname for record in caplog.records] == ['INFO'], "it is the peer's fault"


@pytest.mark.parametrize('cuts', [1, 2, 3, 7])
def test_fragments_become_one_message_whatever_control_frames_come_between(side, cuts):
    ws = opened(side)
    seen = log(ws, 'text', 'frame')
    payload = 'fünf Stücke, zerschnitten'.encode()
    pieces = [payload[at : at + cuts] for at in range(0, len(payload), cuts)]
    for i, piece in enumerate(pieces):
        ws.server_read(from_peer(side, CONT if i else TEXT, piece, fin=i == len(pieces) - 1))
        if i < len(pieces) - 1:
            ws.server_read(from_peer(side, PING, b'%d' % i))
    assert [event for event in seen if event[0] == 'text'] == [('text', payload.decode())]
    assert frames(ws.server_write()) == [(0x8A, b'%d' % i) for i in range(len(pieces) - 1)]


def test_empty_fragments_are_fine(side):
    ws = opened(side)
    seen = log(ws, 'message')
    ws.server_read(from_peer(side, BINARY, b'', fin=False))
    ws.server_read(from_peer(side, CONT, b'', fin=False) + from_peer(side, CONT, b''))
    ws.server_read(from_peer(side, TEXT, b'', fin=False) + from_peer(side, CONT, b'a') + from_peer(side, TEXT, b''))
    assert seen == [('message', b''), ('message', 'a'), ('message', '')]


def test_several_messages_in_one_read_come_in_order(side):
    ws = opened(side)
    seen = log(ws, 'message')
    ws.server_read(b''.join(from_peer(side, TEXT, b'%d' % i) for i in range(100)))
    assert seen == [('message', str(i)) for i in range(100)]


@settings(deadline=None, max_examples=examples(60))
@given(st.data())
def test_the_events_do_not_depend_on_how_the_bytes_are_cut(data):
    messages = data.draw(st.lists(st.one_of(st.text(max_size=200), st.binary(max_size=300)), max_size=6))
    wire = b''
    for message in messages:
        payload = message.encode() if isinstance(message, str) else message
        at = data.draw(st.integers(0, len(payload)))
        kind = TEXT if isinstance(message, str) else BINARY
        wire += frame(kind, payload[:at], fin=False, masked=True) + frame(PING, b'p', masked=True)
        wire += frame(CONT, payload[at:], masked=True)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    ws = opened()
    seen = log(ws, 'message', 'error', 'finish')
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        if start < end:
            ws.server_read(wire[start:end])
    assert seen == [('message', message) for message in messages]
    assert frames(ws.server_write()) == [(0x8A, b'p')] * len(messages)


# Frames


def test_every_frame_is_told_before_anything_is_done_with_it(side):
    ws = opened(side)
    seen = log(ws, 'frame', 'text')
    ws.on('frame', lambda ws, frame: seen.append(('waits', ws.is_writing)))
    ws.server_read(from_peer(side, PING, b'p') + from_peer(side, TEXT, b'a', fin=False) + from_peer(side, CONT, b'b'))
    assert seen == [
        ('frame', Frame(Opcode.PING, b'p')), ('waits', False),
        ('frame', Frame(Opcode.TEXT, b'a', fin=False)), ('waits', True),
        ('frame', Frame(Opcode.CONT, b'b')), ('waits', True),
        ('text', 'ab'),
    ]  # fmt: skip


def built_in(ws):
    """What processes the frames, unless it is unsubscribed."""
    [subscriber] = ws.subscribers('frame')
    return subscriber


def emitted(ws, frame):
    ws.emit('frame', frame)


def subscriber_called(ws, frame):
    built_in(ws)(ws, frame)


@pytest.mark.parametrize('give', [emitted, subscriber_called])
def test_a_frame_that_a_program_makes_is_processed_as_if_the_peer_had_sent_it(side, give):
    ws = opened(side)
    seen = log(ws, 'message', 'ping', 'resume')
    for one in (Frame(TEXT, b'a'), Frame(BINARY, b'b', False), Frame(PING, b'p'), Frame(CONT, bytearray(b'c'))):
        give(ws, one)
    assert seen == [('message', 'a'), ('ping', b'p'), ('resume',), ('message', b'bc')]
    assert frames(ws.server_write()) == [(0x8A, b'p')]
    give(ws, Frame(CLOSE, b'\x03\xe9'))
    assert frames(ws.server_write()) == [(0x88, b'\x03\xe9')]
    give(ws, Frame(TEXT, b'late'))
    ws.closed()
    give(ws, Frame(TEXT, b'later'))
    assert [message for name, *message in seen if name == 'message'] == [['a'], [b'bc']]


@pytest.mark.parametrize('give', [emitted, subscriber_called])
@pytest.mark.parametrize(
    ('bad', 'code'),
    [
        (Frame(CONT, b'a'), 1002),
        (Frame(TEXT, b'a', rsv1=True), 1002),
        (Frame(3, b'a'), 1002),
        (Frame(PING, bytes(126)), 1002),
        (Frame(PING, b'', fin=False), 1002),
        (Frame(TEXT, b'\xff'), 1007),
        (Frame(BINARY, bytes(101)), 1009),
    ],
)
def test_a_frame_that_a_program_makes_must_keep_the_rules_too(side, give, bad, code):
    ws = opened(side, max_websocket_size=100)
    give(ws, bad)
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', code)


def test_a_program_that_looks_at_the_frames_itself_can_hand_some_on(side):
    ws = opened(side)
    seen = log(ws, 'message')
    process = built_in(ws)
    ws.unsubscribe('frame')
    ws.on('frame', lambda ws, frame: process(ws, frame) if frame.opcode != PING else None)
    ws.server_read(from_peer(side, TEXT, b'a', fin=False) + from_peer(side, PING) + from_peer(side, CONT, b'b'))
    assert seen == [('message', 'ab')]
    assert ws.server_write() == b''
    ws.server_read(from_peer(side, CONT, b'c'))
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', 1002)


def test_frames_are_processed_when_the_connection_is_open():
    ws = WebSocket()
    with pytest.raises(InvalidState, match='connecting'):
        built_in(ws)(ws, Frame(TEXT, b'a'))
    for wrong in (Frame(16, b''), (1, 2)):
        with pytest.raises(ValueError):
            built_in(ws)(ws, wrong)


def test_a_frame_unpacks_in_mojo_s_order(side):
    ws = opened(side)
    unpacked = []
    ws.on('frame', lambda ws, frame: unpacked.extend(frame))
    ws.server_read(from_peer(side, BINARY, b'x'))
    assert unpacked == [True, False, False, False, 2, b'x']


def test_the_close_frame_is_a_frame_too(side):
    ws = opened(side)
    seen = log(ws, 'frame')
    ws.server_read(from_peer(side, CLOSE, b'\x03\xe8ok'))
    assert seen == [('frame', Frame(Opcode.CLOSE, b'\x03\xe8ok'))]


def test_without_the_built_in_subscriber_frames_are_all_yours(side):
    ws = opened(side)
    assert ws.unsubscribe('frame') is ws
    seen = log(ws, 'frame', 'message', 'text', 'finish')
    ws.server_read(
        from_peer(side, PING, b'p')
        + from_peer(side, TEXT, b'\xff')
        + from_peer(side, CONT, b'stray')
        + from_peer(side, 3, b'?', rsv=7)
        + from_peer(side, CLOSE, b'x')
    )
    assert [(frame.opcode, frame.data) for _, frame in seen] == [
        (PING, b'p'), (TEXT, b'\xff'), (CONT, b'stray'), (3, b'?'), (CLOSE, b'x'),
    ]  # fmt: skip
    assert (seen[3][1].rsv1, seen[3][1].rsv2, seen[3][1].rsv3) == (True, True, True)
    assert not ws.is_writing


def test_in_raw_mode_a_server_still_insists_on_masks_and_on_the_limit(side):
    for broken, code in ((frame(TEXT, b'x', masked=side == 'client'), 1002), (from_peer(side, TEXT, b'x' * 11), 1009)):
        ws = opened(side, max_websocket_size=10)
        ws.unsubscribe('frame')
        ws.on('frame', lambda ws, frame: None)
        ws.server_read(broken)
        assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', code)


def test_with_nobody_at_all_for_frames_they_are_dropped(side):
    ws = opened(side)
    ws.unsubscribe('frame')
    seen = log(ws, 'message')
    ws.server_read(from_peer(side, TEXT, b'gone') + from_peer(side, PING, b''))
    assert seen == []
    assert not ws.is_writing


def test_raw_mode_may_begin_in_a_handler_and_holds_for_the_next_frame(side):
    ws = opened(side)
    seen = log(ws, 'text')
    ws.on('text', lambda ws, text: ws.unsubscribe('frame').on('frame', lambda ws, frame: seen.append(frame.data)))
    ws.server_read(from_peer(side, TEXT, b'one') + from_peer(side, TEXT, b'two') + from_peer(side, PING, b'three'))
    assert seen == [('text', 'one'), b'two', b'three']


def test_a_raw_frame_is_sent_past_the_compression():
    ws = opened()
    ws.compressed = True
    ws.send(frame=(1, 0, 0, 0, TEXT, b'plain ' * 50))
    assert frames(ws.server_write()) == [(0x81, b'plain ' * 50)]


def test_a_fragmented_message_can_be_sent_frame_by_frame():
    client, server = pair()
    seen = log(server, 'text', 'frame')
    client.send(frame=(0, 0, 0, 0, TEXT, b'Hel')).send(frame=(1, 0, 0, 0, PING, b'')).send(
        frame=(1, 0, 0, 0, CONT, b'lo')
    )
    pump(client, server)
    assert ('text', 'Hello') in seen
    assert len(seen) == 4


# Drain


def test_drain_comes_when_all_data_has_been_written(side):
    ws = opened(side)
    seen = log(ws, 'drain')
    ws.send('a').send('b')
    assert seen == []
    ws.server_write()
    assert seen == [('drain',)]
    ws.server_write()
    assert seen == [('drain',)]


def test_a_send_callback_runs_once_when_all_data_has_been_written(side):
    ws = opened(side)
    called = []
    ws.send(lambda ws: called.append(('first', ws)), text='a')
    ws.send(lambda ws: called.append(('second', ws)), json=1)
    ws.send(lambda ws: called.append(('alone', ws)))
    assert called == []
    assert frames(ws.server_write()) == [(0x81, b'a'), (0x81, b'1')]
    assert called == [('first', ws), ('second', ws), ('alone', ws)]
    ws.send('more').server_write()
    assert len(called) == 3


@pytest.mark.parametrize('side', ['server', 'client'])
def test_a_callback_with_nothing_to_write_is_called_by_the_next_write(side):
    ws = opened(side)
    called = []
    seen = log(ws, 'resume', 'drain')
    assert ws.send(called.append) is ws
    assert called == []
    assert seen == [('resume',)]
    assert ws.server_write() == b''
    assert called == [ws]
    assert ws.server_write() == b''
    assert called == [ws]
    assert seen == [('resume',)], 'nothing was written'


def test_a_callback_of_a_connection_that_is_gone_raises():
    ws = opened().closed()
    with pytest.raises(ConnectionClosed):
        ws.send(lambda ws: None)


def test_a_drain_handler_may_send_the_next_piece():
    ws = opened()
    pieces = iter([b'one', b'two', b'three'])

    @ws.on
    def drain(ws):
        if (piece := next(pieces, None)) is not None:
            ws.send(binary=piece)

    ws.send(binary=b'zero')
    sent = []
    while data := ws.server_write():
        sent += frames(data)
    assert [payload for _, payload in sent] == [b'zero', b'one', b'two', b'three']


def test_resume_says_that_there_is_something_to_write(side):
    ws = opened(side)
    seen = log(ws, 'resume')
    ws.send('a').send('b')
    assert seen == [('resume',)]
    ws.server_write()
    ws.server_read(from_peer(side, PING))
    assert seen == [('resume',)] * 2


def test_a_resume_handler_may_write_at_once(side):
    client, server = WebSocket(), WebSocket()
    client.on('resume', lambda ws: server.server_read(ws.client_write()))
    server.on('resume', lambda ws: client.client_read(ws.server_write()))
    at_client, at_server = log(client, 'open', 'message', 'finish'), log(server, 'open', 'message', 'finish')
    client.client_handshake('ws://example.com/')
    written = []
    client.send('a').send(written.append, binary=b'b')
    assert written == [client]
    server.send(frame=(1, 0, 0, 0, PING, b''))
    broadcast([server], text='c')
    (client if side == 'client' else server).finish(1000)
    client.closed()
    server.closed()
    assert at_server == [('open',), ('message', 'a'), ('message', b'b'), ('finish', 1000, '')]
    assert at_client == [('open',), ('message', 'c'), ('finish', 1000, '')]


def test_buffered_amount_counts_the_bytes_that_wait():
    ws = opened()
    assert (ws.buffered_amount, ws.is_writing) == (0, False)
    ws.send(b'x' * 10).send(b'y' * 100_000)
    assert (ws.buffered_amount, ws.is_writing) == (12 + 100_010, True)
    assert len(ws.server_write()) == 12 + 100_010
    assert (ws.buffered_amount, ws.is_writing) == (0, False)


# The close


@pytest.mark.parametrize(
    ('arguments', 'payload', 'told'),
    [
        ((), b'', (1005, '')),
        ((1000,), b'\x03\xe8', (1000, '')),
        ((1000, 'tschüß'), b'\x03\xe8' + 'tschüß'.encode(), (1000, 'tschüß')),
        ((4999, 'x' * 123), b'\x13\x87' + b'x' * 123, (4999, 'x' * 123)),
        ((CloseCode.GOING_AWAY,), b'\x03\xe9', (1001, '')),
    ],
)
@pytest.mark.parametrize('who', SIDES)
def test_finish_closes_with_code_and_reason_on_both_sides(who, arguments, payload, told):
    client, server = pair()
    at_client, at_server = log(client, 'finish'), log(server, 'finish')
    one, other = (client, server) if who == 'client' else (server, client)
    assert one.finish(*arguments) is one
    data = one.server_write()
    assert frames(data) == [(0x88, payload)]
    other.server_read(data)
    echoed = other.server_write()
    assert frames(echoed) == [(0x88, payload)]
    one.server_read(echoed)
    assert one.server_write() == b''
    client.closed()
    server.closed()
    assert at_client == at_server == [('finish', *told)]
    assert client.is_finished and server.is_finished


def test_finish_twice_is_finish_once(side):
    ws = opened(side)
    ws.finish(1000).finish(1001).finish()
    assert frames(ws.server_write()) == [(0x88, b'\x03\xe8')]


def test_after_the_close_began_nothing_can_be_sent(side):
    for ws in (opened(side).finish(1000), opened(side).server_read(from_peer(side, CLOSE)), opened(side).closed()):
        for send in ({'text': 'x'}, {'binary': b'x'}, {'json': 1}, {'frame': (1, 0, 0, 0, PING, b'')}):
            with pytest.raises(ConnectionClosed):
                ws.send(**send)


def test_connection_closed_tells_both_close_frames(side):
    ws = opened(side).finish(4001, 'mine')
    with pytest.raises(ConnectionClosed) as caught:
        ws.send('x')
    assert (caught.value.rcvd, caught.value.sent.code, caught.value.sent.reason) == (None, 4001, 'mine')
    ws.server_read(from_peer(side, CLOSE, b'\x0f\xa2theirs'))
    with pytest.raises(ConnectionClosed) as caught:
        ws.send('x')
    assert (caught.value.rcvd.code, caught.value.sent.code, caught.value.rcvd_then_sent) == (4002, 4001, False)


def test_when_both_close_at_once_each_is_told_the_other_s_code():
    client, server = pair()
    at_client, at_server = log(client, 'finish'), log(server, 'finish')
    client.finish(4001, 'client')
    server.finish(4002, 'server')
    there, back = client.client_write(), server.server_write()
    server.server_read(there)
    client.client_read(back)
    assert client.client_write() == server.server_write() == b''
    client.closed()
    server.closed()
    assert at_client == [('finish', 4002, 'server')]
    assert at_server == [('finish', 4001, 'client')]


def test_data_behind_the_peer_s_close_is_not_looked_at(side):
    ws = opened(side)
    seen = log(ws, 'message', 'frame', 'finish')
    ws.server_read(from_peer(side, CLOSE, b'\x03\xe8') + from_peer(side, TEXT, b'late') + b'\xff\xff\xff')
    ws.server_read(b'garbage')
    ws.closed()
    assert [event for event, *_ in seen] == ['frame', 'finish']
    assert seen[-1] == ('finish', 1000, '')


def test_messages_that_cross_our_close_still_arrive(side):
    ws = opened(side)
    seen = log(ws, 'text', 'finish')
    ws.finish(1000)
    ws.server_read(from_peer(side, TEXT, b'crossed') + from_peer(side, CLOSE, b'\x03\xe8'))
    ws.closed()
    assert seen == [('text', 'crossed'), ('finish', 1000, '')]


def test_a_close_in_the_middle_of_a_fragmented_message_drops_the_fragments(side):
    ws = opened(side)
    seen = log(ws, 'message', 'finish')
    ws.server_read(from_peer(side, TEXT, b'half', fin=False) + from_peer(side, CLOSE, b'\x03\xe9'))
    ws.closed()
    assert seen == [('finish', 1001, '')]
    assert frames(ws.server_write()) == [(0x88, b'\x03\xe9')]


@pytest.mark.parametrize('before', ['nothing', 'half a frame', 'a fragment'])
def test_an_end_without_a_close_frame_is_1006(side, before):
    ws = opened(side)
    seen = log(ws, 'message', 'finish')
    data = {
        'nothing': b'',
        'half a frame': from_peer(side, TEXT, b'whole')[:-1],
        'a fragment': from_peer(side, TEXT, b'part', fin=False),
    }[before]
    if data:
        ws.server_read(data)
    ws.server_read(b'')
    ws.closed()
    assert seen == [('finish', 1006, '')]


def test_an_end_during_the_closing_handshake_tells_our_own_code(side):
    ws = opened(side)
    seen = log(ws, 'finish')
    ws.finish(4000, 'mine')
    ws.server_write()
    ws.server_read(b'')
    ws.closed()
    assert seen == [('finish', 4000, 'mine')]


def test_an_end_after_the_closing_handshake_changes_nothing(side):
    ws = opened(side)
    seen = log(ws, 'finish')
    ws.server_read(from_peer(side, CLOSE, b'\x03\xe8done'))
    ws.server_read(b'')
    ws.closed()
    assert seen == [('finish', 1000, 'done')]


def test_finish_is_emitted_exactly_once(side):
    ws = opened(side)
    seen = log(ws, 'finish')
    ws.closed().closed()
    ws.server_read(from_peer(side, CLOSE, b'\x03\xe8')).server_read(b'')
    ws.closed()
    assert seen == [('finish', 1006, '')]


def test_the_server_ends_tcp_first():
    client, server = pair()
    client.finish(1000)
    server.server_read(client.client_write())
    assert server.protocol.eof_sent
    client.client_read(server.server_write())
    assert not client.protocol.eof_sent
    client.client_read(b'')
    assert client.protocol.eof_sent


@pytest.mark.parametrize(
    ('broken', 'code'),
    [
        ({'opcode': 3}, 1002),
        ({'opcode': 11}, 1002),
        ({'opcode': TEXT, 'rsv': 1}, 1002),
        ({'opcode': TEXT, 'rsv': 2}, 1002),
        ({'opcode': TEXT, 'rsv': 4}, 1002),
        ({'opcode': PING, 'fin': False}, 1002),
        ({'opcode': PING, 'payload': b'x' * 126}, 1002),
        ({'opcode': CONT, 'payload': b'x'}, 1002),
        ({'opcode': CLOSE, 'payload': b'x'}, 1002),
        ({'opcode': CLOSE, 'payload': b'\x03\xed'}, 1002),
        ({'opcode': CLOSE, 'payload': b'\x03\xe8\xff'}, 1007),
        ({'opcode': TEXT, 'payload': b'\xff'}, 1007),
        ({'opcode': TEXT, 'payload': b'\xed\xa0\x80'}, 1007),
        ({'opcode': BINARY, 'payload': b'x' * 1001}, 1009),
    ],
)
def test_a_peer_that_breaks_the_rules_is_told_why_and_so_is_finish(side, broken, code):
    ws = opened(side, max_websocket_size=1000)
    seen = log(ws, 'message', 'error', 'finish')
    ws.server_read(from_peer(side, **broken) + from_peer(side, TEXT, b'not looked at'))
    ((head, payload),) = frames(ws.server_write())
    assert (head, payload[:2]) == (0x88, struct.pack('!H', code))
    assert payload[2:], 'a reason belongs to it'
    ws.closed()
    assert seen == [('finish', code, payload[2:].decode())]
    assert ws.protocol.close_code == 1006, "the RFC's: no close frame was received"


def test_a_failed_connection_is_logged_but_not_above_info(side, caplog):
    ws = opened(side)
    with caplog.at_level(logging.DEBUG, 'pyjows'):
        ws.server_read(from_peer(side, 3))
    ((name, level, message),) = caplog.record_tuples
    assert (name, level) == (f'pyjows.{side}', logging.INFO)
    assert '1002' in message and 'opcode' in message


@pytest.mark.parametrize('broken', [b'\x81\x7e\x00\x05', b'\x81\x7f' + bytes(7) + b'\x05', b'\x81\x7f\x80' + bytes(7)])
def test_a_length_that_is_not_the_shortest_is_1002(side, broken):
    ws = opened(side)
    seen = log(ws, 'finish')
    ws.server_read(bytes([broken[0], broken[1] | (0x80 if side == 'server' else 0)]) + broken[2:] + bytes(20))
    ws.closed()
    assert seen[0][1] == 1002


def test_a_mask_on_the_wrong_side_is_1002(side):
    ws = opened(side)
    seen = log(ws, 'finish', 'text')
    ws.server_read(frame(TEXT, b'x', masked=side == 'client'))
    ws.closed()
    assert [event[:2] for event in seen] == [('finish', 1002)]


def test_a_new_message_within_a_fragmented_one_is_1002(side):
    ws = opened(side)
    seen = log(ws, 'message', 'finish')
    ws.server_read(from_peer(side, TEXT, b'a', fin=False) + from_peer(side, TEXT, b'b'))
    ws.closed()
    assert [event[:2] for event in seen] == [('finish', 1002)]


def test_text_that_is_no_utf8_ends_the_connection_when_the_byte_arrives(side):
    ws = opened(side)
    whole = from_peer(side, TEXT, b'abc\xff' + b'x' * 1000)
    ws.server_read(whole[:-1000])
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', 1007)


def test_a_character_may_be_cut_by_fragments_but_not_by_the_end(side):
    euro = '€'.encode()
    ws = opened(side)
    seen = log(ws, 'text', 'finish')
    ws.server_read(from_peer(side, TEXT, euro[:1], fin=False) + from_peer(side, CONT, euro[1:]))
    ws.server_read(from_peer(side, TEXT, euro[:1], fin=False) + from_peer(side, CONT, euro[1:2]))
    ws.closed()
    assert [event[:2] for event in seen] == [('text', '€'), ('finish', 1007)]


def test_the_limit_is_taken_from_the_environment(monkeypatch):
    monkeypatch.delenv('PYJO_MAX_WEBSOCKET_SIZE', raising=False)
    assert WebSocket().max_websocket_size == 262144
    monkeypatch.setenv('PYJO_MAX_WEBSOCKET_SIZE', '1000')
    assert WebSocket().max_websocket_size == 1000
    assert WebSocket(max_websocket_size=5).max_websocket_size == 5


def test_the_limit_holds_for_the_sum_of_all_fragments(side):
    ws = opened(side, max_websocket_size=10)
    seen = log(ws, 'message', 'finish')
    for _ in range(3):
        ws.server_read(from_peer(side, BINARY, b'12345', fin=False) + from_peer(side, CONT, b'67890'))
    ws.server_read(from_peer(side, BINARY, b'12345', fin=False) + from_peer(side, CONT, b'678901'))
    ws.closed()
    assert [event[:2] for event in seen] == [('message', b'1234567890')] * 3 + [('finish', 1009)]


@pytest.mark.parametrize('length', [2**31, 2**32, 2**62, 2**63 - 1])
def test_the_limit_holds_for_the_largest_length_there_is_too(side, length):
    head = b'\xff' if side == 'server' else b'\x7f'
    for before in (b'', b'hello'):
        ws = opened(side, max_websocket_size=1000)
        seen = log(ws, 'message', 'finish')
        if before:
            ws.server_read(from_peer(side, BINARY, before, fin=False))
        first = b'\x80' if before else b'\x82'
        ws.server_read(first + head + length.to_bytes(8, 'big') + bytes(2000))
        ws.closed()
        assert [event[:2] for event in seen] == [('finish', 1009)]


def test_the_limit_can_be_changed_while_the_connection_is_open(side):
    ws = opened(side, max_websocket_size=10)
    ws.max_websocket_size = 20
    seen = log(ws, 'binary')
    ws.server_read(from_peer(side, BINARY, b'x' * 20))
    assert seen == [('binary', b'x' * 20)]


# Handlers that raise


@pytest.mark.parametrize('event', ['text', 'message', 'json', 'frame'])
def test_what_a_handler_raises_is_an_error_event_and_the_connection_goes_on(side, event):
    ws = opened(side)
    seen = log(ws, 'error')
    said = []

    def broken(ws, arg):
        said.append(arg)
        raise LookupError('oops')

    ws.on(event, broken)
    ws.server_read(from_peer(side, TEXT, b'1') + from_peer(side, TEXT, b'2'))
    assert len(said) == 2
    assert [str(exc) for _, exc in seen] == ['oops', 'oops']
    assert not ws.is_writing


@pytest.mark.parametrize('event', ['text', 'message', 'json', 'frame'])
def test_what_a_handler_raises_is_logged_and_closes_with_1011_where_nobody_listens(side, event, caplog):
    ws = opened(side)
    seen = log(ws, 'finish')

    @ws.on(event)
    def broken(ws, arg):
        raise LookupError('oops')

    with caplog.at_level(logging.ERROR, 'pyjows'):
        ws.server_read(from_peer(side, TEXT, b'1') + from_peer(side, TEXT, b'2'))
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', 1011)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info[0] is LookupError
    ws.closed()
    assert seen[0][1] == 1011


@pytest.mark.parametrize('event', ['open', 'drain', 'finish'])
def test_what_other_handlers_raise_is_an_error_event_too(event):
    client, server = WebSocket(), WebSocket()
    seen = log(server, 'error')

    @server.on(event)
    def broken(ws, *args):
        raise LookupError(event)

    client.client_handshake('ws://example.com/')
    pump(client, server)
    server.send('something')
    pump(client, server)
    server.closed()
    assert all(str(exc) == event for _, exc in seen)
    assert seen


def test_what_a_send_callback_raises_is_an_error_event():
    ws = opened()
    seen = log(ws, 'error')
    ws.send(lambda ws: 1 / 0, text='x').server_write()
    assert [type(exc) for _, exc in seen] == [ZeroDivisionError]


def test_an_error_handler_that_raises_is_logged(caplog):
    ws = opened()

    @ws.on
    def error(ws, exc):
        raise RuntimeError('worse')

    ws.on('text', lambda ws, text: 1 / 0)
    with caplog.at_level(logging.ERROR, 'pyjows'):
        ws.server_read(frame(TEXT, b'x', masked=True))
    assert 'worse' in caplog.text


def test_a_user_s_mistake_inside_a_handler_is_an_error_like_any_other(caplog):
    ws = opened()
    seen = log(ws, 'error')
    ws.on('text', lambda ws, text: ws.finish(1000).send('too late'))
    ws.server_read(frame(TEXT, b'x', masked=True))
    assert [type(exc) for _, exc in seen] == [ConnectionClosed]


# Compression


@pytest.mark.parametrize(
    'configured', [True, PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True)]
)
def test_compressed_messages_arrive_both_ways(configured):
    client, server = pair({'compression': configured}, {'compression': configured})
    assert client.compressed and server.compressed
    to_client, to_server = log(client, 'message'), log(server, 'message')
    messages = ['wieder und wieder ' * 100, b'\0' * 5000, '', b'', 'short'] * 3
    for message in messages:
        client.send(message)
        server.send(message)
    assert client.buffered_amount < 2000
    pump(client, server, step=17)
    assert to_client == to_server == [('message', message) for message in messages]


def test_compressed_can_be_switched_on_by_a_host_that_did_the_upgrade():
    client, server = opened('client', compression=True), opened('server')
    server.compressed = True
    assert client.compressed and server.compressed
    seen = log(server, 'text')
    client.send(text='abc' * 1000)
    server.server_read(client.client_write())
    assert seen == [('text', 'abc' * 1000)]
    server.compressed = False
    assert not server.compressed


def test_a_bomb_ends_at_the_limit_with_1009():
    client, server = pair({'compression': True}, {'compression': True, 'max_websocket_size': 10_000})
    seen = log(server, 'message', 'finish')
    client.send(binary=b'\0' * 10_000_000)
    pump(client, server)
    server.closed()
    assert [event[:2] for event in seen] == [('finish', 1009)]


def test_frames_show_the_wire_even_when_it_is_compressed():
    client, server = pair({'compression': True}, {'compression': True})
    seen = log(server, 'frame', 'text')
    client.send(text='x' * 1000)
    pump(client, server)
    (_, shown), (_, text) = seen
    assert shown.rsv1 and len(shown.data) < 100
    assert text == 'x' * 1000


# What is known


def test_a_new_transaction_knows_what_it_is():
    ws = WebSocket()
    assert ws.is_websocket
    assert not (ws.established or ws.is_finished or ws.is_writing or ws.masked or ws.compressed or ws.kept_alive)
    assert ws.req is ws.res is ws.handshake is ws.connection is ws.subprotocol is None
    assert ws.local_address is ws.local_port is ws.remote_address is ws.remote_port is None
    assert ws.buffered_amount == 0
    assert ws.server_write() == ws.client_write() == b''


def test_a_transaction_is_a_pyee_emitter_and_can_be_a_dictionary_key():
    ws = WebSocket()
    assert isinstance(ws, pyee.EventEmitter)
    assert isinstance(ws, pyjows.EventEmitter)
    assert {ws: 1}[ws] == 1
    assert ws in {ws} and WebSocket() not in {ws}


def test_a_transaction_shows_its_state_and_target():
    client, server = pair()
    assert repr(WebSocket()) == '<WebSocket CONNECTING>'
    assert repr(server) == '<WebSocket OPEN />'
    server.finish()
    assert 'CLOSING' in repr(server)
    server.closed()
    assert 'CLOSED' in repr(server)


def test_the_state_machine_and_the_handshake_can_be_looked_at():
    client, server = pair()
    assert client.protocol.side.name == 'CLIENT' and server.protocol.side.name == 'SERVER'
    assert client.protocol.state.name == 'OPEN'
    assert isinstance(pair({'compression': True}, {'compression': True})[0].protocol.extensions[0], Deflate)
    assert client.handshake is not None and server.handshake is not None


def test_subscribing_in_all_ways_is_the_same():
    ws = opened()
    seen = []

    @ws.on
    def text(ws, message):
        seen.append('on')

    @ws.on('text')
    def second(ws, message):
        seen.append("on('text')")

    ws.on('text', lambda ws, message: seen.append("on('text', f)"))
    ws.on(lambda ws, message: seen.append("on(f, 'text')"), 'text')
    ws.once('text', lambda ws, message: seen.append('once'))
    for _ in range(2):
        ws.server_read(frame(TEXT, b'x', masked=True))
    every = ['on', "on('text')", "on('text', f)", "on(f, 'text')"]
    assert seen == [*every, 'once', *every]


def test_a_coroutine_handler_needs_something_that_runs_it():
    async def text(ws, message):
        pass

    with pytest.raises(RuntimeError, match='asyncio'):
        WebSocket().on(text)


def test_a_coroutine_handler_runs_on_the_asyncio_loop_that_is_there():
    async def main():
        ws = opened()
        done = asyncio.Event()

        @ws.on
        async def text(ws, message):
            await asyncio.sleep(0)
            ws.send(text=message[::-1])
            done.set()

        ws.server_read(frame(TEXT, b'abc', masked=True))
        await asyncio.wait_for(done.wait(), 20)
        return frames(ws.server_write())

    assert asyncio.run(main()) == [(0x81, b'cba')]


def test_what_a_coroutine_handler_raises_is_an_error_event():
    async def main():
        ws = opened()
        failed = asyncio.Event()
        seen = log(ws, 'error')
        ws.on('error', lambda ws, exc: failed.set())

        @ws.on
        async def text(ws, message):
            raise LookupError('later')

        ws.server_read(frame(TEXT, b'abc', masked=True))
        await asyncio.wait_for(failed.wait(), 20)
        return seen

    ((_, exc),) = asyncio.run(main())
    assert str(exc) == 'later'


def test_flush_without_a_loop_does_nothing():
    ws = opened()
    assert ws.send('x').flush() is ws
    assert frames(ws.server_write()) == [(0x81, b'x')]


# Calls from within handlers


def test_a_handler_may_feed_and_drain_its_own_transaction():
    ws = opened()
    seen = log(ws, 'text')
    written = []
    ws.on('text', lambda ws, text: written.append(ws.send(text=text).server_write()))
    ws.server_read(frame(TEXT, b'a', masked=True) + frame(TEXT, b'b', masked=True))
    assert seen == [('text', 'a'), ('text', 'b')]
    assert frames(b''.join(written)) == [(0x81, b'a'), (0x81, b'b')]


def test_closed_within_a_handler_ends_the_events(side):
    ws = opened(side)
    seen = log(ws, 'text', 'finish')
    ws.on('text', lambda ws, text: ws.closed())
    ws.server_read(from_peer(side, TEXT, b'last') + from_peer(side, TEXT, b'never'))
    assert seen == [('text', 'last'), ('finish', 1006, '')]


def test_finish_within_a_handler_lets_the_rest_of_the_read_arrive(side):
    ws = opened(side)
    seen = log(ws, 'text')
    ws.once('text', lambda ws, text: ws.finish(1000))
    ws.server_read(from_peer(side, TEXT, b'a') + from_peer(side, TEXT, b'b'))
    assert seen == [('text', 'a'), ('text', 'b')]


def test_a_finish_handler_sees_the_transaction_finished(side):
    ws = opened(side)
    states = []
    ws.on('finish', lambda ws, code, reason: states.append((ws.is_finished, ws.is_writing)))
    ws.closed()
    assert states == [(True, False)]


# What a handler raises

INTERRUPTS = [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), GeneratorExit()]
FAILURES = [MemoryError('none left'), RecursionError('too deep'), ProtocolError('of a handler'), *INTERRUPTS]


def raising(exc):
    def handler(ws, *args):
        raise exc

    return handler


def read_all(ws, data):
    """Feed all of it; what is no `Exception` comes out again."""
    try:
        ws.server_read(data)
    except BaseException as exc:
        return exc
    return None


@pytest.mark.parametrize('event', ['text', 'message', 'binary', 'frame', 'json'])
@pytest.mark.parametrize('exc', FAILURES, ids=repr)
def test_what_a_handler_raises_keeps_nothing_else_from_being_processed(event, exc):
    ws = opened()
    seen = log(ws, 'error')
    ws.on(event, raising(exc))
    got = []
    ws.on('message', lambda ws, message: got.append(message))
    one, two = frame(TEXT, b'1', masked=True), frame(BINARY, b'2', masked=True)
    raised = read_all(ws, one + two + two[:3])
    assert raised is (None if isinstance(exc, Exception) else exc)
    assert read_all(ws, two[3:] + one) in (None, exc)
    assert got == ['1', b'2', b'2', '1']
    assert seen and all(args == ('error', exc) for args in seen)
    assert ws.protocol.state is State.OPEN


@pytest.mark.parametrize('exc', FAILURES, ids=repr)
def test_a_handler_that_raises_does_not_keep_the_next_one_from_being_called(exc):
    ws = opened()
    seen = log(ws, 'error')
    got = []
    for event in ('text', 'drain', 'finish'):
        ws.on(event, raising(exc))
        ws.on(event, lambda ws, *args, event=event: got.append(event))
    read_all(ws, frame(TEXT, b'1', masked=True))
    ws.send('x')
    with contextlib.suppress(BaseException):
        ws.server_write()
    with contextlib.suppress(BaseException):
        ws.closed()
    assert got == ['text', 'drain', 'finish']
    assert seen == [('error', exc)] * 3
    assert ws.is_finished


@pytest.mark.parametrize('exc', FAILURES, ids=repr)
def test_what_a_handler_raises_closes_with_1011_where_nobody_subscribed_to_error(exc, caplog):
    ws = opened()
    ws.on('text', raising(exc))
    got = []
    ws.on('binary', lambda ws, message: got.append(message))
    read_all(ws, frame(TEXT, b'1', masked=True) + frame(BINARY, b'2', masked=True))
    assert frames(ws.server_write()) == [(0x88, struct.pack('!H', 1011) + b'internal error')]
    assert got == []
    assert type(exc).__name__ in caplog.text


def test_an_error_handler_that_raises_does_not_keep_the_next_one_from_being_called(caplog):
    ws = opened()
    got = []
    ws.on('error', raising(ValueError('first')))
    ws.on('error', lambda ws, exc: got.append(exc))
    ws.on('text', raising(exc := RuntimeError('a bug')))
    ws.server_read(frame(TEXT, b'1', masked=True))
    assert got == [exc]
    assert 'ValueError' in caplog.text


def test_json_that_is_too_deep_is_not_valid_json():
    ws = opened()
    got = log(ws, 'json', 'text')
    deep = b'[' * 100_000 + b']' * 100_000
    ws.server_read(frame(TEXT, deep, masked=True) + frame(TEXT, b'1', masked=True))
    assert frames(ws.server_write())[0][1][:2] == struct.pack('!H', 1007)
    assert got == [('text', deep.decode())]


def test_deep_json_is_an_error_and_the_next_message_is_processed():
    ws = opened()
    seen = log(ws, 'json', 'error')
    deep = b'[' * 100_000 + b']' * 100_000
    ws.server_read(frame(TEXT, deep, masked=True) + frame(TEXT, b'1', masked=True))
    assert [event for event, _ in seen] == ['error', 'json']
    assert ws.protocol.state is State.OPEN


@pytest.mark.parametrize('interrupt', [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_handler_ends_the_loop_when_the_rest_is_processed(ioloop, interrupt):
    server, got = serve('ws://127.0.0.1:0', ioloop=ioloop), []

    @server.on
    def websocket(server, ws):
        ws.on('error', lambda ws, exc: got.append(type(exc)))

        @ws.on
        def text(ws, message):
            ws.send(message)
            if message == '1':
                raise interrupt

    client = connect(f'ws://127.0.0.1:{server.ports[0]}', ioloop=ioloop)
    client.on('text', lambda ws, message: got.append(message))
    client.send('1').send('2')
    with pytest.raises(interrupt):
        ioloop.start()
    client.once('text', lambda ws, message: ioloop.stop() if len(got) == 3 else None)
    while len(got) < 3:
        ioloop.one_tick()
    assert sorted(map(str, got)) == sorted(map(str, [interrupt, '1', '2']))


def test_a_cancelled_future_in_a_handler_does_not_end_the_loop(ioloop, run_until, caplog):
    server, got = serve('ws://127.0.0.1:0', ioloop=ioloop), []

    @server.on
    def websocket(server, ws):
        ws.on('error', lambda ws, exc: ws.send(type(exc).__name__))
        ws.on('text', raising(asyncio.CancelledError()))

    client = connect(f'ws://127.0.0.1:{server.ports[0]}', ioloop=ioloop)
    client.on('text', lambda ws, message: got.append(message))
    client.send('1').send('2')
    run_until(ioloop, lambda: got == ['CancelledError'] * 2)


def test_a_bytearray_that_a_handler_empties_is_not_read_again():
    data = bytearray(frame(BINARY, b'x' * 4096, masked=True) * 3)
    ws = opened()
    got = []

    @ws.on
    def binary(ws, message):
        got.append(message)
        data.clear()

    ws.server_read(data)
    assert got == [b'x' * 4096] * 3


# What users see


def test_a_transaction_shows_what_its_docstring_lists_and_nothing_else():
    public = {name for name in dir(WebSocket) if not name.startswith('_')} - set(dir(pyjows.EventEmitter))
    page = WebSocket.__doc__ or ''
    listed = page[page.index('Attributes:') :]
    assert public == set(re.findall(r'\b[a-z_]+\b', listed)) & public
