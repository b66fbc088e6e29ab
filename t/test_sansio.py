"""`ServerProtocol` and `ClientProtocol`: the handshake in front of a `Protocol`, alone and beside websockets."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import re

import pytest
import websockets.client
import websockets.datastructures
import websockets.exceptions
import websockets.extensions.permessage_deflate
import websockets.frames
import websockets.http11
import websockets.protocol
import websockets.server
import websockets.uri
from amounts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import BINARY, PING, TEXT, UPGRADE, asked, cut, frame

import pyjows.errors
from pyjows import http11
from pyjows.deflate import PerMessageDeflate
from pyjows.errors import (
    ConnectionClosed,
    DuplicateParameter,
    HandshakeError,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidParameterName,
    InvalidParameterValue,
    InvalidProtocol,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
    WebSocketException,
)
from pyjows.frames import OK_CLOSE_CODES, Close, CloseCode, Frame, Opcode
from pyjows.protocol import Protocol, Side, State
from pyjows.sansio import (
    SEND_EOF,
    ClientExtensionFactory,
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Extension,
    Headers,
    MultipleValuesError,
    Request,
    Response,
    ServerExtensionFactory,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    WebSocketURI,
    enable_client_permessage_deflate,
    enable_server_permessage_deflate,
    parse_uri,
)
from pyjows.url import parse_url


def request_to(server, wire):
    server.receive_data(wire)
    [request] = server.events_received()
    return request


def answered(server, wire):
    """What the server accepts or refuses with."""
    return server.accept(request_to(server, wire))


def connected(server=None, client=None):
    """A server and a client after their handshake, and the answer."""
    server, client = server or ServerProtocol(), client or ClientProtocol('ws://example.com/chat')
    client.send_request(client.connect())
    response = answered(server, b''.join(client.data_to_send()))
    server.send_response(response)
    client.receive_data(b''.join(server.data_to_send()))
    assert client.events_received() == [response]
    return server, client, response


@pytest.mark.parametrize(
    ('theirs', 'ours', 'names'),
    [
        ('websockets.protocol', 'pyjows.protocol', ['Protocol', 'SEND_EOF', 'Side', 'State']),
        ('websockets.server', 'pyjows.sansio', ['ServerProtocol']),
        ('websockets.client', 'pyjows.sansio', ['ClientProtocol']),
        ('websockets.http11', 'pyjows.sansio', ['Request', 'Response']),
        ('websockets.datastructures', 'pyjows.sansio', ['Headers', 'MultipleValuesError']),
        ('websockets.uri', 'pyjows.sansio', ['WebSocketURI', 'parse_uri']),
        ('websockets.frames', 'pyjows.frames', ['OK_CLOSE_CODES', 'Close', 'CloseCode', 'Frame', 'Opcode']),
        (
            'websockets.exceptions',
            'pyjows.errors',
            [
                'ConnectionClosed',
                'ConnectionClosedError',
                'ConnectionClosedOK',
                'InvalidHandshake',
                'InvalidHeader',
                'InvalidMessage',
                'InvalidOrigin',
                'InvalidState',
                'InvalidStatus',
                'InvalidUpgrade',
                'NegotiationError',
                'PayloadTooBig',
                'ProtocolError',
                'WebSocketException',
            ],
        ),
    ],
)
def test_the_names_are_the_ones_of_websockets(theirs, ours, names):
    before, after = importlib.import_module(theirs), importlib.import_module(ours)
    for name in names:
        assert hasattr(before, name)
        assert hasattr(after, name)


@pytest.mark.parametrize('kind', ['ServerProtocol', 'ClientProtocol'])
def test_all_that_theirs_have_ours_have(kind):
    before = getattr(websockets.server if kind == 'ServerProtocol' else websockets.client, kind)
    after = ServerProtocol if kind == 'ServerProtocol' else ClientProtocol
    inner = {'discard', 'parse', 'recv_frame', 'send_eof', 'send_frame', 'process_request', 'process_response'}
    public = {name for name in dir(before) if not name.startswith('_')} - inner
    if kind == 'ClientProtocol':
        public -= {'process_extensions', 'process_subprotocol'}
    assert {name for name in public if not hasattr(after, name)} == set()


def test_a_url_has_the_parts_that_theirs_has():
    url = parse_uri('wss://me:secret@example.com:3000/chat/room?x=1')
    other = websockets.uri.parse_uri('wss://me:secret@example.com:3000/chat/room?x=1')
    assert isinstance(url, WebSocketURI)
    assert dataclasses.asdict(url) == dataclasses.asdict(other)
    assert dataclasses.astuple(url) == dataclasses.astuple(other)
    assert (url.resource_name, url.user_info) == (other.resource_name, other.user_info)
    assert 'secret' not in repr(url)


@pytest.mark.parametrize(
    'text',
    ['ws://Example.com', 'ws://example.com?a=1', 'wss://h:1/', 'ws://[::1]/', 'ws://h/ä?ö', 'ws://bücher.example/'],
)
def test_a_url_is_taken_apart_as_theirs(text):
    url, other = parse_uri(text), websockets.uri.parse_uri(text)
    assert dataclasses.astuple(url) == dataclasses.astuple(other)
    assert (url.resource_name, url.user_info) == (other.resource_name, other.user_info) == (other.resource_name, None)


@pytest.mark.parametrize('text', ['http://example.com/', 'ws://', 'ws://h/#a', 'ws://me@h/', 'ws+unix:///x:/', 'h/'])
def test_a_url_that_is_not_theirs_is_refused(text):
    with pytest.raises(websockets.exceptions.InvalidURI):
        websockets.uri.parse_uri(text)
    with pytest.raises(InvalidURI) as caught:
        parse_uri(text)
    assert isinstance(caught.value, ValueError)
    assert caught.value.uri == text.replace('me@', '***@')


def test_a_url_that_is_refused_shows_no_password():
    with pytest.raises(InvalidURI) as caught:
        parse_uri('http://me:secret@h/')
    assert 'secret' not in str(caught.value)


def test_a_client_takes_a_url_in_either_shape():
    uri = WebSocketURI(True, 'example.com', 8080, '', 'a=1', 'me', 'secret')
    for one in (uri, parse_url('wss://me:secret@example.com:8080/?a=1'), 'wss://me:secret@example.com:8080/?a=1'):
        client = ClientProtocol(one)
        request = client.connect()
        assert (request.path, request.headers['Host']) == ('/?a=1', 'example.com:8080')
        assert request.headers['Authorization'] == 'Basic bWU6c2VjcmV0'
        assert client.uri == one or str(client.uri) == 'wss://example.com:8080/?a=1'


def test_a_closed_connection_tells_the_code_and_the_reason_of_its_peer():
    exc = ConnectionClosed(Close(3000, 'tea'), None)
    assert (exc.code, exc.reason) == (3000, 'tea')
    exc = ConnectionClosed(None, Close(1000, 'done'))
    assert (exc.code, exc.reason) == (CloseCode.ABNORMAL_CLOSURE, '')


def test_the_codes_of_a_good_end_are_theirs():
    assert OK_CLOSE_CODES == websockets.frames.OK_CLOSE_CODES


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('InvalidHeader', ('Name',)),
        ('InvalidHeader', ('Name', '')),
        ('InvalidHeader', ('Name', 'Value')),
        ('InvalidHeaderValue', ('Name', 'Value')),
        ('InvalidHeaderFormat', ('Name', 'expected token', 'header', 3)),
        ('InvalidUpgrade', ('Upgrade', 'h2c')),
        ('InvalidOrigin', (None,)),
        ('InvalidOrigin', ('https://example.com',)),
        ('InvalidMethod', ('POST',)),
        ('InvalidProtocol', ('HTTP/1.0',)),
        ('InvalidMessage', ('did not receive a valid HTTP request',)),
        ('InvalidURI', ('ws://', 'hostname is not provided')),
        ('NegotiationError', ('no',)),
        ('DuplicateParameter', ('a',)),
        ('InvalidParameterName', ('a',)),
        ('InvalidParameterValue', ('a', None)),
        ('InvalidParameterValue', ('a', '')),
        ('InvalidParameterValue', ('a', 'b')),
        ('PayloadTooBig', (8, 4)),
        ('PayloadTooBig', (None, 4)),
        ('PayloadTooBig', (8, 4, 2)),
        ('ProtocolError', ('no',)),
        ('InvalidState', ('no',)),
        ('ConnectionClosedError', (None, None)),
    ],
)
def test_exceptions_are_made_and_read_as_theirs(name, arguments):
    theirs = getattr(websockets.exceptions, name)(*arguments)
    ours = getattr(pyjows.errors, name)(*arguments)
    assert str(ours) == str(theirs)
    for attribute, value in vars(theirs).items():
        assert attribute == 'message' or getattr(ours, attribute) == value
    same = pickle.loads(pickle.dumps(ours))
    assert (type(same), str(same), vars(same)) == (type(ours), str(ours), vars(ours))


def test_the_exception_for_a_status_has_the_answer():
    response = Response(404, 'Not Found', Headers({'A': '1'}), b'nothing')
    theirs, ours = websockets.exceptions.InvalidStatus(response), InvalidStatus(response)
    assert ours.response is theirs.response is response
    assert str(ours) == str(theirs)
    assert (ours.status, ours.headers, ours.body) == (404, response.headers, b'nothing')


def test_the_size_of_a_message_so_far_may_be_told_later():
    theirs, ours = websockets.exceptions.PayloadTooBig(8, 4), PayloadTooBig(8, 4)
    for exc in (theirs, ours):
        exc.set_current_size(None)
        exc.set_current_size(3)
    assert (str(ours), ours.max_size, ours.current_size) == (str(theirs), 7, 3)
    assert ours.code == 1009


# Headers that can be changed


def test_a_number_may_be_a_header_value():
    headers = Headers({'Content-Length': 6})
    headers['Age'] = 0
    assert headers.serialize() == b'Content-Length: 6\r\nAge: 0\r\n\r\n'


def test_an_exception_for_several_values_names_the_header_as_a_key_error_does():
    assert str(MultipleValuesError('Set-Cookie')) == str(KeyError('Set-Cookie'))


def test_headers_find_names_in_any_case():
    headers = Headers({'Host': 'example.com'}, Accept='text/html')
    assert headers['host'] == headers['HOST'] == 'example.com'
    assert headers.get('accept') == 'text/html'
    assert headers.get('cookie') is None
    assert 'ACCEPT' in headers
    assert 1 not in headers
    assert list(headers) == ['host', 'accept']
    assert len(headers) == 2
    with pytest.raises(KeyError):
        headers['cookie']


def test_headers_keep_repeats_and_order():
    headers = Headers([('Set-Cookie', 'a=1'), ('Date', 'today')])
    headers['set-cookie'] = 'b=2'
    assert headers.get_all('Set-Cookie') == ['a=1', 'b=2']
    assert list(headers.raw_items()) == [('Set-Cookie', 'a=1'), ('Date', 'today'), ('set-cookie', 'b=2')]
    with pytest.raises(MultipleValuesError):
        headers['Set-Cookie']
    assert headers.serialize() == b'Set-Cookie: a=1\r\nDate: today\r\nset-cookie: b=2\r\n\r\n'
    assert str(headers) == headers.serialize().decode()


@pytest.mark.parametrize(
    'added',
    [
        Headers([('a', '2'), ('A', '3'), ('B', '4')]),
        http11.Headers([('a', '2'), ('A', '3'), ('B', '4')]),
        [('a', '2'), ('A', '3'), ('B', '4')],
    ],
)
def test_headers_that_are_added_keep_their_repeats(added):
    headers = Headers(A='1')
    headers.update(added, C='5')
    assert list(headers.raw_items()) == [('A', '1'), ('a', '2'), ('A', '3'), ('B', '4'), ('C', '5')]


def test_headers_are_removed_and_copied():
    headers = Headers([('A', '1'), ('B', '2'), ('a', '3')])
    copy = headers.copy()
    del headers['a']
    assert headers == Headers(B='2')
    assert copy.get_all('a') == ['1', '3']
    with pytest.raises(KeyError):
        del headers['a']
    headers.clear()
    assert len(headers) == 0
    assert headers != copy
    assert headers != {}
    assert repr(Headers(B='2')) == "Headers([('B', '2')])"


@pytest.mark.parametrize(('name', 'value'), [('bad name', ''), ('Good', 'a\r\nb'), ('Good', '\0')])
def test_headers_let_nothing_bad_in(name, value):
    with pytest.raises(ValueError):
        Headers()[name] = value


# A server


def test_a_server_waits_for_its_request():
    server = ServerProtocol()
    assert server.side is Side.SERVER
    assert server.state is State.CONNECTING
    assert server.close_expected() is False
    for byte in asked()[:-1]:
        server.receive_data(bytes([byte]))
        assert server.events_received() == []
    request = request_to(server, b'\n')
    assert (request.path, request.method, request.protocol) == ('/chat', 'GET', 'HTTP/1.1')
    assert request.headers['Host'] == 'example.com'
    assert server.data_to_send() == []


def test_a_server_accepts():
    server = ServerProtocol()
    response = answered(server, asked(Origin='http://example.com'))
    assert (response.status_code, response.reason_phrase, response.body) == (101, 'Switching Protocols', b'')
    assert response.headers['Sec-WebSocket-Accept'] == 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    assert 'Sec-WebSocket-Protocol' not in response.headers
    assert 'Sec-WebSocket-Extensions' not in response.headers
    assert server.state is State.CONNECTING
    response.headers['Set-Cookie'] = 'a=1'
    server.send_response(response)
    [wire] = server.data_to_send()
    assert wire.startswith(b'HTTP/1.1 101 Switching Protocols\r\nDate: ')
    assert wire.endswith(b'\r\nSet-Cookie: a=1\r\n\r\n')
    assert server.state is State.OPEN
    assert server.handshake_exc is None
    assert server.origin == 'http://example.com'


def test_frames_that_come_early_wait_for_the_answer():
    server = ServerProtocol()
    request = request_to(server, asked() + frame(TEXT, b'early'))
    server.receive_data(frame(TEXT, b'bird'))
    assert server.events_received() == []
    server.send_response(server.accept(request))
    assert [event.data for event in server.events_received()] == [b'early', b'bird']


def test_a_server_refuses():
    server = ServerProtocol()
    request_to(server, asked())
    response = server.reject(404, 'Not here.\n')
    assert (response.status_code, response.reason_phrase, response.body) == (404, 'Not Found', b'Not here.\n')
    assert response.headers['Content-Type'] == 'text/plain; charset=utf-8'
    server.send_response(response)
    wire, end = server.data_to_send()
    assert wire.startswith(b'HTTP/1.1 404 Not Found\r\n')
    assert wire.endswith(b'\r\nContent-Length: 10\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nNot here.\n')
    assert end is SEND_EOF
    assert server.state is State.CONNECTING
    assert server.close_expected() is True
    server.receive_data(b'whatever')
    server.receive_eof()
    assert server.state is State.CLOSED
    assert server.events_received() == []
    assert server.data_to_send() == []


def test_an_unknown_status_is_an_error():
    with pytest.raises(ValueError):
        ServerProtocol().reject(799, '')


@pytest.mark.parametrize(
    ('wire', 'status', 'headers'),
    [
        (asked('POST /chat HTTP/1.1'), 405, {'Allow': 'GET'}),
        (asked('GET /chat HTTP/1.0'), 400, {}),
        (asked(Upgrade=None), 426, {'Upgrade': 'websocket'}),
        (asked(Upgrade='h2c'), 426, {'Upgrade': 'websocket'}),
        (asked(Connection='close'), 400, {}),
        (asked(Sec_WebSocket_Key=None), 400, {}),
        (asked(Sec_WebSocket_Key='short'), 400, {}),
        (asked(Sec_WebSocket_Version=None), 426, {'Sec-WebSocket-Version': '13'}),
        (asked(Sec_WebSocket_Version='8'), 426, {'Sec-WebSocket-Version': '13'}),
        (asked(Sec_WebSocket_Extensions='=;'), 400, {}),
        (asked(Sec_WebSocket_Protocol='a b'), 400, {}),
    ],
)
def test_a_bad_request_is_refused(wire, status, headers):
    server = ServerProtocol()
    response = answered(server, wire)
    assert response.status_code == status
    for name, value in headers.items():
        assert response.headers[name] == value
    assert response.body.startswith(b'Failed to open a WebSocket connection: ')
    assert isinstance(server.handshake_exc, HandshakeError)
    assert str(server.handshake_exc) in response.body.decode()
    server.send_response(response)
    assert server.data_to_send()[-1] is SEND_EOF


@pytest.mark.parametrize(
    ('wire', 'status'),
    [
        (b'\x16\x03\x01\r\n\r\n', 400),
        (b'GET /\r\n\r\n', 400),
        (asked(Host=None), 400),
        (b'GET / HTTP/1.1\r\nX: ' + b'x' * 20000, 431),
        (b'GET / HTTP/2.0\r\nHost: x\r\n\r\n', 505),
    ],
)
def test_what_is_no_request_is_answered_at_once(wire, status):
    server = ServerProtocol()
    server.receive_data(wire)
    assert server.events_received() == []
    assert isinstance(server.handshake_exc, HandshakeError)
    answer, end = server.data_to_send()
    assert answer.startswith(b'HTTP/1.1 %d ' % status)
    assert end is SEND_EOF
    assert server.close_expected() is True
    server.receive_data(wire)
    server.receive_eof()
    assert server.state is State.CLOSED


def test_an_end_before_the_request_is_complete():
    server = ServerProtocol()
    server.receive_data(asked()[:20])
    server.receive_eof()
    assert server.data_to_send() == [SEND_EOF]
    assert server.state is State.CLOSED
    assert isinstance(server.handshake_exc, HandshakeError)
    with pytest.raises(EOFError):
        server.receive_data(b'x')


def test_an_end_before_the_answer():
    server = ServerProtocol()
    request = request_to(server, asked())
    server.receive_eof()
    assert server.data_to_send() == [SEND_EOF]
    assert server.state is State.CLOSED
    with pytest.raises(InvalidState, match='closed'):
        server.send_response(server.accept(request))


def test_a_request_is_answered_once():
    server = ServerProtocol()
    response = answered(server, asked())
    server.send_response(response)
    with pytest.raises(InvalidState, match='open'):
        server.send_response(response)
    server = ServerProtocol()
    request_to(server, asked())
    server.send_response(server.reject(404, ''))
    with pytest.raises(InvalidState):
        server.send_response(server.reject(404, ''))


def test_there_has_to_be_a_request():
    with pytest.raises(InvalidState, match='no request'):
        ServerProtocol().send_response(Response(101, 'Switching Protocols', Headers()))


def test_a_server_may_begin_after_the_handshake():
    server = ServerProtocol(state=State.OPEN, max_size=10)
    assert server.max_size == 10
    server.receive_data(frame(TEXT, b'hi'))
    assert server.events_received() == [Frame(Opcode.TEXT, b'hi')]


@pytest.mark.parametrize(
    ('origins', 'origin', 'fine'),
    [
        (None, 'http://evil.example', True),
        (['http://good.example'], 'http://good.example', True),
        (['http://good.example'], 'http://evil.example', False),
        (['http://good.example'], None, False),
        ([None], None, True),
        ([re.compile(r'http://\w+\.example')], 'http://any.example', True),
        ([re.compile(r'http://\w+\.example')], 'http://any.example.evil', False),
        ([re.compile('.*')], None, False),
    ],
)
def test_only_some_origins_may_be_let_in(origins, origin, fine):
    server = ServerProtocol(origins=origins)
    response = answered(server, asked(Origin=origin))
    assert response.status_code == (101 if fine else 403)
    assert server.origin == (origin if fine else None)
    other = websockets.server.ServerProtocol(origins=origins)
    assert answered(other, asked(Origin=origin)).status_code == response.status_code


def test_two_origins_are_none():
    server = ServerProtocol()
    assert answered(server, asked()[:-2] + b'Origin: a\r\nOrigin: b\r\n\r\n').status_code == 400


@pytest.mark.parametrize(
    ('spoken', 'offered', 'chosen'),
    [
        (None, 'v1', None),
        (None, None, None),
        (['v2', 'v1'], 'v1, v2', 'v2'),
        (['v2', 'v1'], 'v1', 'v1'),
        (['v2'], 'v1', NegotiationError),
        (['v2'], None, NegotiationError),
    ],
)
def test_a_subprotocol_is_chosen_by_the_server(spoken, offered, chosen):
    server = ServerProtocol(subprotocols=spoken)
    assert server.available_subprotocols == spoken
    response = answered(server, asked(Sec_WebSocket_Protocol=offered))
    other = websockets.server.ServerProtocol(subprotocols=spoken)
    assert answered(other, asked(Sec_WebSocket_Protocol=offered)).status_code == response.status_code
    if chosen is NegotiationError:
        assert response.status_code == 400
        assert isinstance(server.handshake_exc, NegotiationError)
        return
    assert response.headers.get('Sec-WebSocket-Protocol') == server.subprotocol == chosen


def test_a_subprotocol_may_be_chosen_in_another_way():
    def last(protocol, offered):
        assert isinstance(protocol, ServerProtocol)
        return offered[-1] if offered else None

    server = ServerProtocol(subprotocols=['v1'], select_subprotocol=last)
    assert answered(server, asked(Sec_WebSocket_Protocol='v1, v7')).headers['Sec-WebSocket-Protocol'] == 'v7'


def test_choosing_may_refuse_or_fail(caplog):
    def refuse(protocol, offered):
        raise NegotiationError('not with me')

    def fail(protocol, offered):
        raise RuntimeError('secret')

    response = answered(ServerProtocol(select_subprotocol=refuse), asked())
    assert response.status_code == 400
    assert b'not with me' in response.body
    server = ServerProtocol(select_subprotocol=fail)
    response = answered(server, asked())
    assert response.status_code == 500
    assert b'secret' not in response.body
    assert isinstance(server.handshake_exc, RuntimeError)
    assert 'secret' in caplog.text


@pytest.mark.parametrize('factory', [PerMessageDeflate, ServerPerMessageDeflateFactory])
def test_compression_is_negotiated(factory):
    server = ServerProtocol(extensions=[factory()])
    response = answered(server, asked(Sec_WebSocket_Extensions='x-new, permessage-deflate; client_max_window_bits'))
    assert response.headers['Sec-WebSocket-Extensions'].startswith('permessage-deflate')
    assert [extension.name for extension in server.extensions] == ['permessage-deflate']
    assert answered(ServerProtocol(extensions=[factory()]), asked()).headers.get('Sec-WebSocket-Extensions') is None


def test_a_request_of_your_own_may_be_accepted():
    server = ServerProtocol()
    request_to(server, asked())
    assert server.accept(Request('/', Headers(UPGRADE))).status_code == 101
    assert server.accept(Request('/', Headers(UPGRADE), 'PUT')).status_code == 405
    assert server.accept(Request('', Headers(UPGRADE))).status_code == 400


# A client


def test_a_client_asks():
    client = ClientProtocol(parse_uri('ws://user:pass@example.com:81/chat?a=1'), origin='http://x', subprotocols=['v1'])
    assert client.side is Side.CLIENT
    assert (client.uri.host, client.uri.port, client.uri.secure) == ('example.com', 81, False)
    request = client.connect()
    assert (request.path, request.method, request.protocol) == ('/chat?a=1', 'GET', 'HTTP/1.1')
    assert dict(request.headers) == {
        'host': 'example.com:81',
        'upgrade': 'websocket',
        'connection': 'Upgrade',
        'sec-websocket-key': client.key,
        'sec-websocket-version': '13',
        'sec-websocket-protocol': 'v1',
        'origin': 'http://x',
        'authorization': 'Basic dXNlcjpwYXNz',
    }
    request.headers['X-Name'] = 'value'
    client.send_request(request)
    [wire] = client.data_to_send()
    assert wire.startswith(b'GET /chat?a=1 HTTP/1.1\r\nHost: example.com:81\r\n')
    assert wire.endswith(b'\r\nX-Name: value\r\n\r\n')
    assert client.state is State.CONNECTING
    with pytest.raises(InvalidState, match='already'):
        client.send_request(request)


def test_a_handshake_opens_both_ends():
    server, client, response = connected(
        ServerProtocol(subprotocols=['v1'], extensions=[ServerPerMessageDeflateFactory()]),
        ClientProtocol('ws://example.com/', subprotocols=['v2', 'v1'], extensions=[ClientPerMessageDeflateFactory()]),
    )
    assert server.state is client.state is State.OPEN
    assert server.subprotocol == client.subprotocol == 'v1'
    assert response.status_code == 101
    assert len(server.extensions) == len(client.extensions) == 1
    for sender, receiver in ((client, server), (server, client)):
        sender.send_text(b'hello ' * 50)
        [wire] = sender.data_to_send()
        assert len(wire) < 60
        receiver.receive_data(wire)
        assert receiver.events_received() == [Frame(Opcode.TEXT, b'hello ' * 50)]


def test_frames_may_follow_the_answer_at_once():
    server, client = ServerProtocol(), ClientProtocol('ws://example.com/')
    client.send_request(client.connect())
    server.send_response(answered(server, b''.join(client.data_to_send())))
    server.send_text(b'hi')
    for byte in b''.join(server.data_to_send()):
        client.receive_data(bytes([byte]))
    response, message = client.events_received()
    assert response.status_code == 101
    assert message == Frame(Opcode.TEXT, b'hi')


@pytest.mark.parametrize('of_client', [False, True], ids=['server', 'client'])
def test_a_close_may_wait_for_the_answers_on_either_side(of_client):
    server, client, _ = connected(ServerProtocol(defer_close=True), ClientProtocol('ws://x/', defer_close=True))
    protocol, peer = (client, server) if of_client else (server, client)
    peer.send_text(b'hi')
    peer.send_close(1000)
    protocol.receive_data(b''.join(peer.data_to_send()))
    assert [event.opcode for event in protocol.events_received()] == [Opcode.TEXT, Opcode.CLOSE]
    protocol.send_text(b'hi')
    peer.receive_data(protocol.data_to_send()[0])
    assert [event.opcode for event in peer.events_received()] == [Opcode.TEXT, Opcode.CLOSE]


def test_what_comes_with_the_handshake_can_be_answered_too():
    server, client = ServerProtocol(defer_close=True), ClientProtocol('ws://example.com/', defer_close=True)
    client.send_request(client.connect())
    early = frame(TEXT, b'early') + frame(TEXT, b'bird', masked=False)  # a fault
    server.send_response(answered(server, b''.join(client.data_to_send()) + early))
    assert server.events_received() == [Frame(Opcode.TEXT, b'early')]
    server.send_text(b'answer')
    client.receive_data(b''.join(server.data_to_send()))
    response, message, close = client.events_received()
    assert (response.status_code, message.data, close.data[:2]) == (101, b'answer', b'\x03\xea')
    assert client.state is State.OPEN
    client.send_text(b'one more')
    [data] = client.data_to_send()
    assert data.startswith(b'\x81\x88')


def test_a_whole_connection_from_both_sides():
    server, client, _ = connected()
    server.send_close(1000, 'done')
    client.receive_data(b''.join(server.data_to_send()))
    server.receive_data(b''.join(client.data_to_send()))
    assert server.data_to_send() == [SEND_EOF]
    client.receive_eof()
    assert client.data_to_send() == [SEND_EOF]
    server.receive_eof()
    assert (server.state, client.state) == (State.CLOSED, State.CLOSED)
    assert (server.close_code, client.close_code) == (1000, 1000)


def refused(client, wire, eof=False):
    """What the client makes of an answer that is not what it has to be."""
    client.send_request(client.connect())
    client.data_to_send()
    client.receive_data(wire)
    if eof:
        client.receive_eof()
    assert isinstance(client.handshake_exc, HandshakeError)
    assert client.data_to_send() == [SEND_EOF]
    assert client.state is (State.CLOSED if eof else State.CONNECTING)
    assert client.close_expected() is not eof
    events = client.events_received()
    client.receive_data(b'whatever') if not eof else None
    client.receive_eof()
    assert client.state is State.CLOSED
    assert client.data_to_send() == []
    return events


def test_a_refusal_is_an_event_and_an_exception():
    client = ClientProtocol('ws://example.com/')
    [response] = refused(client, b'HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nX-Why: so\r\n\r\nnot here!')
    assert (response.status_code, response.reason_phrase, response.body) == (404, 'Not Found', b'not here!')
    assert response.headers['X-Why'] == 'so'
    assert client.handshake_exc.status == 404
    assert client.handshake_exc.response is response
    assert client.handshake_exc.body == b'not here!'


def test_a_refusal_may_end_with_the_connection():
    client = ClientProtocol('ws://example.com/')
    [response] = refused(client, b'HTTP/1.1 500 Oops\r\n\r\nsorry', eof=True)
    assert (response.status_code, response.body) == (500, b'sorry')


@pytest.mark.parametrize(
    ('wire', 'eof'),
    [(b'SSH-2.0-OpenSSH\r\n\r\n', False), (b'HTTP/1.1 101', True), (b'', True)],
)
def test_what_is_no_answer_is_only_an_exception(wire, eof):
    assert refused(ClientProtocol('ws://example.com/'), wire, eof) == []


SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: '


@pytest.mark.parametrize(
    ('headers', 'words'),
    [
        ('no\r\n', 'Sec-WebSocket-Accept'),
        ('{}\r\nSec-WebSocket-Protocol: v2\r\n', 'v2'),
        ('{}\r\nSec-WebSocket-Extensions: x-new\r\n', 'x-new'),
        ('{}\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\n', 'server_max_window_bits'),
        ('{}\r\nSec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n', 'twice'),
    ],
)
def test_a_bad_acceptance_is_an_event_and_an_exception(headers, words):
    client = ClientProtocol('ws://example.com/', subprotocols=['v1'], extensions=[ClientPerMessageDeflateFactory()])
    from pyjows.handshake import accept_key

    [response] = refused(client, (SWITCH + headers.format(accept_key(client.key)) + '\r\n').encode())
    assert response.status_code == 101
    assert words in str(client.handshake_exc)


def test_a_client_may_be_told_its_state():
    client = ClientProtocol('ws://example.com/', state=State.OPEN, max_size=(100, 10))
    assert client.max_size == (100, 10)
    client.receive_data(frame(TEXT, b'hi', masked=False))
    assert client.events_received() == [Frame(Opcode.TEXT, b'hi')]


def test_a_bad_url_is_an_error():
    with pytest.raises(ValueError, match='ws://'):
        ClientProtocol('ftp://example.com/')


# permessage-deflate as websockets configures it


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'server_no_context_takeover': True},
        {'client_no_context_takeover': True},
        {'server_max_window_bits': 10},
        {'client_max_window_bits': 9},
        {'server_max_window_bits': 9, 'client_max_window_bits': 15, 'compress_settings': {'level': 1, 'memLevel': 4}},
    ],
)
def test_factories_take_what_those_of_websockets_take(options):
    """Every pair of their factories and ours agrees, whoever asks, and messages go both ways."""
    theirs = websockets.extensions.permessage_deflate
    for of_server in (ServerPerMessageDeflateFactory, theirs.ServerPerMessageDeflateFactory):
        for of_client in (ClientPerMessageDeflateFactory, theirs.ClientPerMessageDeflateFactory):
            if of_server is ServerPerMessageDeflateFactory:
                server = ServerProtocol(extensions=[of_server(**options)])
            else:
                server = websockets.server.ServerProtocol(extensions=[of_server(**options)])
            if of_client is ClientPerMessageDeflateFactory:
                client = ClientProtocol('ws://x/', extensions=[of_client(**options)])
            else:
                uri = websockets.uri.parse_uri('ws://x/')
                client = websockets.client.ClientProtocol(uri, extensions=[of_client(**options)])
            client.send_request(client.connect())
            server.receive_data(b''.join(client.data_to_send()))
            server.send_response(server.accept(server.events_received()[0]))
            client.receive_data(b''.join(server.data_to_send()))
            client.events_received()
            for sender, receiver in ((client, server), (server, client)):
                for _ in range(2):
                    sender.send_text(b'hello ' * 50)
                    receiver.receive_data(b''.join(sender.data_to_send()))
                    [event] = receiver.events_received()
                    assert bytes(event.data) == b'hello ' * 50


def test_a_server_may_require_that_windows_are_limited():
    factory = ServerPerMessageDeflateFactory(client_max_window_bits=10, require_client_max_window_bits=True)
    assert factory.answer([[]]) is None
    assert factory.answer([[], [('client_max_window_bits', None)]]) is not None


def test_other_settings_of_zlib_are_an_error():
    with pytest.raises(ValueError, match='strategy'):
        ServerPerMessageDeflateFactory(compress_settings={'strategy': 1})


# A request that the host has read, an answer to a request that it has written


def test_a_request_that_the_host_has_read_is_accepted():
    server = ServerProtocol(subprotocols=['chat'])
    response = server.accept(Request('/chat', Headers({**UPGRADE, 'Sec-WebSocket-Protocol': 'chat'})))
    assert response.status_code == 101
    server.send_response(response)
    assert server.state is State.OPEN
    [wire] = server.data_to_send()
    assert wire.startswith(b'HTTP/1.1 101 ')
    server.receive_data(frame(TEXT, b'hi'))
    assert server.events_received() == [Frame(Opcode.TEXT, b'hi')]


def test_a_request_that_the_host_has_read_may_be_refused():
    server = ServerProtocol()
    response = server.accept(Request('/chat', Headers({'Host': 'example.com'})))
    assert response.status_code == 426
    server.send_response(response)
    assert server.state is State.CONNECTING


def test_a_client_understands_the_answer_to_a_request_that_the_host_has_written():
    server, client = ServerProtocol(), ClientProtocol('ws://example.com/chat')
    server.send_response(server.accept(request_to(server, client.connect().serialize())))
    client.receive_data(b''.join(server.data_to_send()))
    assert client.handshake_exc is None
    assert client.state is State.OPEN
    assert client.data_to_send() == []


# What kind of failure it was


@pytest.mark.parametrize(
    ('changes', 'kind', 'status'),
    [
        ({'Upgrade': None}, InvalidUpgrade, 426),
        ({'Sec_WebSocket_Version': '12'}, InvalidUpgrade, 426),
        ({'Sec_WebSocket_Key': None}, InvalidHeader, 400),
        ({'Host': None}, InvalidHeader, 400),
        ({'Origin': 'https://elsewhere.example'}, InvalidOrigin, 403),
    ],
)
def test_a_server_names_what_is_wrong_with_a_request_by_its_exception(changes, kind, status):
    fields = {**UPGRADE, **{name.replace('_', '-'): value for name, value in changes.items()}}
    headers = Headers({name: value for name, value in fields.items() if value is not None})
    server = ServerProtocol(origins=[None])
    assert server.accept(Request('/chat', headers)).status_code == status
    assert type(server.handshake_exc) is kind
    assert server.handshake_exc.status == status


def test_another_method_or_version_of_http_is_the_fault_of_no_header():
    for name, value, kind in (('method', 'POST', InvalidMethod), ('protocol', 'HTTP/1.0', InvalidProtocol)):
        server = ServerProtocol()
        server.accept(Request('/chat', Headers(UPGRADE), **{name: value}))
        assert type(server.handshake_exc) is kind
        assert getattr(server.handshake_exc, name) == value


@pytest.mark.parametrize('side', [Side.SERVER, Side.CLIENT])
def test_a_message_that_ends_too_early_is_caused_by_the_end(side):
    protocol = ServerProtocol() if side is Side.SERVER else ClientProtocol('ws://example.com/')
    protocol.receive_data(b'GET / HTTP/1.1\r\n' if side is Side.SERVER else b'HTTP/1.1 101 Switching')
    protocol.receive_eof()
    assert type(protocol.handshake_exc) is InvalidMessage
    assert isinstance(protocol.handshake_exc.__cause__, EOFError)


@pytest.mark.parametrize(
    ('wire', 'kind'),
    [
        (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno', InvalidStatus),
        (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n', InvalidUpgrade),
        (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n', InvalidUpgrade),
        (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n', InvalidHeader),
        (b'SSH-2.0-OpenSSH\r\n\r\n', InvalidMessage),
    ],
)
def test_a_client_names_what_is_wrong_with_an_answer_by_its_exception(wire, kind):
    client = ClientProtocol('ws://example.com/')
    client.send_request(client.connect())
    client.receive_data(wire)
    assert type(client.handshake_exc) is kind
    assert isinstance(client.handshake_exc, InvalidHandshake)
    assert isinstance(client.handshake_exc, WebSocketException)
    if kind is InvalidStatus:
        assert client.handshake_exc.response.status_code == 403
        assert client.handshake_exc.response.body == b'no'


# An extension in websockets' shape


class Doubling(Extension):
    """Sends every byte twice, says so with RSV2, and does not say which bits it claims."""

    name = 'x-double'

    def encode(self, frame):
        return dataclasses.replace(frame, data=b''.join(bytes([byte]) * 2 for byte in frame.data), rsv2=True)

    def decode(self, frame, *, max_size=None):
        return dataclasses.replace(frame, data=bytes(frame.data)[::2], rsv2=False)


class DoublingOfServer(ServerExtensionFactory):
    name = 'x-double'

    def process_request_params(self, params, accepted_extensions):
        if params != [('times', '2')]:
            raise NegotiationError('twice, or not at all')
        return [('times', '2')], Doubling()


class DoublingOfClient(ClientExtensionFactory):
    name = 'x-double'

    def __init__(self, times):
        self.times = times

    def get_request_params(self):
        return [('times', self.times)]

    def process_response_params(self, params, accepted_extensions):
        return Doubling()


def test_an_extension_made_for_websockets_is_negotiated_and_applied():
    server, client, response = connected(
        ServerProtocol(extensions=[DoublingOfServer(), PerMessageDeflate()]),
        ClientProtocol('ws://example.com/chat', extensions=[PerMessageDeflate(threshold=0), DoublingOfClient('2')]),
    )
    assert response.headers['Sec-WebSocket-Extensions'].endswith(', x-double; times=2')
    assert type(server.extensions[1]) is type(client.extensions[1]) is Doubling
    for sender, receiver in ((client, server), (server, client)):
        sender.send_text(b'hello')
        receiver.receive_data(b''.join(sender.data_to_send()))
        assert receiver.events_received() == [Frame(Opcode.TEXT, b'hello')]


def test_control_frames_go_through_an_extension_made_for_websockets():
    server, client, _ = connected(
        ServerProtocol(extensions=[DoublingOfServer()]),
        ClientProtocol('ws://example.com/chat', extensions=[DoublingOfClient('2')]),
    )
    client.send_ping(b'ab')
    [wire] = client.data_to_send()
    assert wire[0] == 0x80 | 0x20 | PING and len(wire) == 10
    server.receive_data(wire)
    assert server.events_received() == [Frame(Opcode.PING, b'ab')]
    client.receive_data(b''.join(server.data_to_send()))
    assert client.events_received() == [Frame(Opcode.PONG, b'ab')]
    with pytest.raises(ProtocolError, match='126 bytes'):
        client.send_ping(bytes(63))
    client.send_close(1001, 'away')
    server.receive_data(b''.join(client.data_to_send()))
    assert server.close_rcvd == Close(1001, 'away')


PERMESSAGE_DEFLATE = websockets.extensions.permessage_deflate


@pytest.mark.parametrize('whose', [0, 1, 2], ids=['both', 'client', 'server'])
@pytest.mark.parametrize('forgets', [False, True])
def test_the_factories_of_websockets_itself_compress(whose, forgets):
    options = {'client_no_context_takeover': forgets, 'server_no_context_takeover': forgets}
    servers, clients = (
        [getattr(PERMESSAGE_DEFLATE, f'{side}PerMessageDeflateFactory')(**options), PerMessageDeflate(threshold=0)]
        for side in ('Server', 'Client')
    )
    server, client, _ = connected(
        ServerProtocol(extensions=[servers[whose == 1]], join_fragments=True),
        ClientProtocol('ws://example.com/chat', extensions=[clients[whose == 2]], join_fragments=True),
    )
    theirs = [type(one.extensions[0]) is PERMESSAGE_DEFLATE.PerMessageDeflate for one in (server, client)]
    assert theirs == [whose != 1, whose != 2]
    for sender, receiver in ((client, server), (server, client)) * 2:
        sender.send_text(b'hello ' * 1000, fin=False)
        sender.send_ping(b'ping')
        sender.send_continuation(b'world', fin=True)
        sender.send_binary(bytes(range(256)) * 40)
        wire = b''.join(sender.data_to_send())
        assert wire[0] & 0x40 and len(wire) < 2000
        receiver.receive_data(wire)
        ping, text, binary = receiver.events_received()
        assert (ping, text.data) == (Frame(Opcode.PING, b'ping'), b'hello ' * 1000 + b'world')
        assert binary == Frame(Opcode.BINARY, bytes(range(256)) * 40)
        sender.receive_data(b''.join(receiver.data_to_send()))
        assert sender.events_received() == [Frame(Opcode.PONG, b'ping')]


@pytest.mark.parametrize(
    ('change', 'code'),
    [({'payload': b'\xff\xff\xff'}, 1002), ({'max_size': 100}, 1009)],
)
def test_what_an_extension_of_websockets_raises_closes_as_it_does_there(change, code):
    for kind, factory in (
        (ServerProtocol, PERMESSAGE_DEFLATE.ServerPerMessageDeflateFactory),
        (websockets.server.ServerProtocol, PERMESSAGE_DEFLATE.ServerPerMessageDeflateFactory),
    ):
        server = kind(extensions=[factory()], max_size=change.get('max_size'))
        client = ClientProtocol('ws://example.com/chat', extensions=[PerMessageDeflate(threshold=0)])
        client.send_request(client.connect())
        server.receive_data(b''.join(client.data_to_send()))
        [request] = server.events_received()
        server.send_response(server.accept(request))
        client.receive_data(b''.join(server.data_to_send()))
        client.send_binary(bytes(1000))
        [wire] = client.data_to_send()
        server.receive_data(frame(BINARY, change['payload'], rsv=4, masked=True) if 'payload' in change else wire)
        assert server.close_sent.code == code
        assert server.state is State.CLOSING or server.state.name == 'CLOSING'


class Failing(Extension):
    name = 'x-fail'

    def decode(self, frame, *, max_size=None):
        raise LookupError('a bug')


class FailingToReceive(Failing):
    def encode(self, frame):
        return frame


@pytest.mark.parametrize('opcode', [TEXT, PING])
def test_an_extension_that_fails_closes_with_1011(opcode):
    theirs = websockets.server.ServerProtocol(state=websockets.protocol.State.OPEN)
    for protocol, extension in (
        (theirs, FailingToReceive()),
        (Protocol(Side.SERVER), FailingToReceive()),
        (Protocol(Side.SERVER), Failing()),
    ):
        protocol.extensions = [extension]
        assert protocol.extensions == [extension]
        protocol.receive_data(frame(opcode, b'a', masked=True))
        assert protocol.state == State.CLOSING
        assert protocol.close_sent.code == CloseCode.INTERNAL_ERROR
        assert isinstance(protocol.parser_exc, LookupError)


# permessage-deflate as websockets configures it


def test_the_factories_are_used_by_hand_as_theirs():
    client, server = ClientPerMessageDeflateFactory(server_max_window_bits=10), ServerPerMessageDeflateFactory()
    theirs = PERMESSAGE_DEFLATE.ClientPerMessageDeflateFactory(server_max_window_bits=10)
    assert sorted(client.get_request_params()) == sorted(theirs.get_request_params())
    answer, inner = server.process_request_params(client.get_request_params(), [])
    outer = client.process_response_params(answer, [])
    assert outer.decode(inner.encode(Frame(Opcode.TEXT, b'hello'))) == Frame(Opcode.TEXT, b'hello')
    assert theirs.process_response_params(answer, []).remote_max_window_bits == 10
    for call in (
        lambda: ServerPerMessageDeflateFactory(
            client_max_window_bits=9, require_client_max_window_bits=True
        ).process_request_params([], []),
        lambda: server.process_request_params([], [inner]),
        lambda: client.process_response_params([], []),
        lambda: client.process_response_params(answer, [outer]),
    ):
        with pytest.raises(NegotiationError):
            call()
    assert (client.compress_settings, server.compress_settings) == (None, None)
    with pytest.raises(ValueError, match='not configured'):
        ServerPerMessageDeflateFactory(require_client_max_window_bits=True)


@pytest.mark.parametrize(
    ('params', 'kind'),
    [
        ([('nonsense', None)], InvalidParameterName),
        ([('server_max_window_bits', '7')], InvalidParameterValue),
        ([('server_no_context_takeover', None)] * 2, DuplicateParameter),
    ],
)
def test_the_exception_says_what_is_wrong_with_a_parameter(params, kind):
    theirs = getattr(websockets.exceptions, kind.__name__)
    for factory, expected in (
        (ServerPerMessageDeflateFactory(), kind),
        (PERMESSAGE_DEFLATE.ServerPerMessageDeflateFactory(), theirs),
    ):
        with pytest.raises(expected) as caught:
            factory.process_request_params(params, [])
        assert caught.value.name == params[0][0]
    with pytest.raises(kind):
        ClientPerMessageDeflateFactory().process_response_params(params, [])


def test_a_client_that_leaves_its_window_out_does_not_offer_it():
    ours, theirs = (
        kind(client_max_window_bits=None)
        for kind in (ClientPerMessageDeflateFactory, PERMESSAGE_DEFLATE.ClientPerMessageDeflateFactory)
    )
    assert ours.get_request_params() == theirs.get_request_params() == []
    request = ClientProtocol('ws://example.com/', extensions=[ours]).connect()
    assert request.headers['Sec-WebSocket-Extensions'] == 'permessage-deflate'
    with pytest.raises(NegotiationError, match='not offered'):
        ours.process_response_params([('client_max_window_bits', '10')], [])
    assert ours.process_response_params([], []).name == 'permessage-deflate'


@pytest.mark.parametrize('given', [None, True, 10, 15])
@pytest.mark.parametrize('answer', [[], [('client_max_window_bits', '9')]])
def test_a_client_compresses_with_the_window_that_theirs_uses(given, answer):
    if given is None:
        answer = []
    ours, theirs = (
        kind(client_max_window_bits=given).process_response_params(answer, [])
        for kind in (ClientPerMessageDeflateFactory, PERMESSAGE_DEFLATE.ClientPerMessageDeflateFactory)
    )
    assert ours.local_max_window_bits == theirs.local_max_window_bits
    assert ours.remote_max_window_bits == theirs.remote_max_window_bits


@pytest.mark.parametrize('side', ['client', 'server'])
def test_permessage_deflate_is_enabled_where_it_is_not(side):
    ours = {'client': enable_client_permessage_deflate, 'server': enable_server_permessage_deflate}[side]
    theirs = getattr(PERMESSAGE_DEFLATE, f'enable_{side}_permessage_deflate')
    [factory] = ours(None)
    [other] = theirs([])
    assert (factory.server_max_window_bits, factory.mem_level) == (other.server_max_window_bits, 5)
    given = [DoublingOfClient('2'), factory]
    assert ours(given) is given
    assert [one.name for one in ours(given[:1])] == ['x-double', 'permessage-deflate']


def test_an_extension_made_for_websockets_may_decline():
    server, client, response = connected(
        ServerProtocol(extensions=[DoublingOfServer()]),
        ClientProtocol('ws://example.com/chat', extensions=[DoublingOfClient('3')]),
    )
    assert 'Sec-WebSocket-Extensions' not in response.headers
    assert server.extensions == client.extensions == []


def test_a_reserved_bit_that_no_extension_clears_fails_the_connection():
    server = connected(
        ServerProtocol(extensions=[DoublingOfServer()]),
        ClientProtocol('ws://example.com/chat', extensions=[DoublingOfClient('2')]),
    )[0]
    server.receive_data(frame(TEXT, b'hhii', rsv=1))
    assert isinstance(server.parser_exc, ProtocolError)
    assert server.close_sent.code == CloseCode.PROTOCOL_ERROR
    assert server.events_received() == []


# Beside websockets: the same calls and bytes give the same events, answers and states.
#
# It is another matter where websockets does not do what the RFC says:
# - Another version than 13 is answered with 400. RFC 6455 4.2.2: "If this version does not match a version understood
#   by the server, the server MUST abort the WebSocket handshake described in this section and instead send an
#   appropriate HTTP error code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field".
# - A request without Host is accepted. RFC 6455 4.2.1: "A |Host| header field containing the server's authority."
# - What is no request gets no answer. RFC 6455 4.2.1: "the server MUST stop processing the client's handshake and
#   return an HTTP response with an appropriate error code (such as 400 Bad Request)."
# - An interim answer (103) is a refusal. RFC 9110 15.2: "A client MUST be able to parse one or more 1xx responses
#   received prior to a final response, even if the client does not expect one."
# - Frames that come before the 101 are taken for frames at once. RFC 6455 4.1: "Once the client's opening
#   handshake has been sent, the client MUST wait for a response from the server before sending any further data."
# Where the RFC leaves it open: for HTTP/1.0 it is 505 there, 400 here; for a Connection without Upgrade 426 there,
# 400 here. The exceptions are of one class, `HandshakeError`, with a status and the answer.


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_server_answers_as_the_one_of_websockets(data):
    subprotocols = data.draw(st.sampled_from([None, ['v1'], ['v2', 'v1']]))
    origins = data.draw(st.sampled_from([None, ['http://a', None], ['http://a']]))
    origin = data.draw(st.sampled_from([None, 'http://a', 'http://b']))
    wire = asked(
        data.draw(st.sampled_from(['GET / HTTP/1.1', 'GET /chat?a=1 HTTP/1.1', 'POST / HTTP/1.1'])),
        Upgrade=data.draw(st.sampled_from(['websocket', 'WebSocket', None, 'h2c'])),
        Connection=data.draw(st.sampled_from(['Upgrade', 'keep-alive, upgrade'])),
        Sec_WebSocket_Key=data.draw(st.sampled_from([UPGRADE['Sec-WebSocket-Key'], None, 'x', '='])),
        Sec_WebSocket_Protocol=data.draw(st.sampled_from([None, 'v1', 'v1, v2', 'v3', 'a b'])),
        Origin=origin,
        X_Latin=data.draw(st.sampled_from([None, 'Grüße'])),
    )
    ours = ServerProtocol(subprotocols=subprotocols, origins=origins)
    theirs = websockets.server.ServerProtocol(subprotocols=subprotocols, origins=origins)
    for piece in data.draw(cut(wire)):
        ours.receive_data(piece)
        theirs.receive_data(piece)
    [request], [other] = ours.events_received(), theirs.events_received()
    assert (request.path, request.method, request.protocol) == (other.path, other.method, other.protocol)
    assert list(request.headers.raw_items()) == list(other.headers.raw_items())
    mine, its = ours.accept(request), theirs.accept(other)
    wrong = [
        not wire.startswith(b'GET'),
        b'ebsocket\r\n' not in wire.lower(),
        b'==' not in wire,
        b'a b' in wire,
        origins is not None and origin not in origins,
    ]
    if sum(wrong) < 2:  # which of two faults is named first is a matter of taste
        assert mine.status_code == its.status_code
    assert (ours.handshake_exc is None) == (theirs.handshake_exc is None)
    if mine.status_code == 101:
        hidden = ('date',)
        assert {k: v for k, v in mine.headers.items() if k not in hidden} == {
            k: v for k, v in its.headers.items() if k not in hidden
        }
        assert (ours.subprotocol, ours.origin) == (theirs.subprotocol, theirs.origin)
    ours.send_response(mine)
    theirs.send_response(its)
    assert ours.state == theirs.state
    assert ours.close_expected() == theirs.close_expected()
    assert (b'' in ours.data_to_send()) == (b'' in theirs.data_to_send())
    ours.receive_eof()
    theirs.receive_eof()
    assert ours.state == theirs.state
    assert ours.data_to_send() == theirs.data_to_send()


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_client_takes_answers_as_the_one_of_websockets(data):
    subprotocols = data.draw(st.sampled_from([None, ['v1'], ['v2', 'v1']]))
    ours = ClientProtocol('ws://example.com/chat', subprotocols=subprotocols)
    uri = websockets.uri.parse_uri('ws://example.com/chat')
    theirs = websockets.client.ClientProtocol(uri, subprotocols=subprotocols)
    mine, its = ours.connect(), theirs.connect()
    hidden = ('sec-websocket-key',)
    assert {k: v for k, v in mine.headers.items() if k not in hidden} == {
        k: v for k, v in its.headers.items() if k not in hidden
    }
    assert (mine.path, mine.method, mine.protocol) == (its.path, its.method, its.protocol)
    ours.send_request(mine)
    theirs.send_request(its)
    ours.data_to_send(), theirs.data_to_send()
    status = data.draw(st.sampled_from(['101 Switching Protocols', '101 Yes', '200 OK', '401 Unauthorized', 'x']))
    upgrade = data.draw(st.sampled_from(['websocket', 'WebSocket', 'h2c', None]))
    connection = data.draw(st.sampled_from(['Upgrade', 'keep-alive, Upgrade', 'close', None]))
    protocol = data.draw(st.sampled_from([None, 'v1', 'v3']))
    body = data.draw(st.sampled_from([b'', b'no', None]))
    right = data.draw(st.booleans())
    places = data.draw(st.lists(st.integers(0, 200), max_size=3))
    for side in (ours, theirs):
        accept = websockets.utils.accept_key(side.key) if right else 'no'
        fields = {'Upgrade': upgrade, 'Connection': connection, 'Sec-WebSocket-Accept': accept}
        fields['Sec-WebSocket-Protocol'] = protocol
        fields['Content-Length'] = None if body is None or status.startswith('101') else str(len(body))
        head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items() if value is not None)
        wire = f'HTTP/1.1 {status}\r\n{head}\r\n'.encode()
        wire += (body or b'') if not status.startswith('101') else frame(TEXT, b'hi', masked=False)
        at = 0
        for place in sorted(places):
            side.receive_data(wire[at:place])
            at = place if place > at else at
        side.receive_data(wire[at:])
    for _ in range(2):
        mine, its = ours.events_received(), theirs.events_received()
        assert [type(event).__name__ for event in mine] == [type(event).__name__ for event in its]
        for event, other in zip(mine, its, strict=True):
            if isinstance(event, Response):
                assert (event.status_code, event.reason_phrase) == (other.status_code, other.reason_phrase)
                assert event.body == other.body
            else:
                assert event.data == other.data
        assert ours.state == theirs.state
        assert (ours.handshake_exc is None) == (theirs.handshake_exc is None)
        assert ours.subprotocol == theirs.subprotocol
        assert ours.close_expected() == theirs.close_expected()
        assert ours.data_to_send() == theirs.data_to_send()
        ours.receive_eof()
        theirs.receive_eof()


@pytest.mark.parametrize('server_is_ours', [True, False])
def test_each_speaks_with_the_other(server_is_ours):
    if server_is_ours:
        server = ServerProtocol(subprotocols=['chat'])
        client = websockets.client.ClientProtocol(websockets.uri.parse_uri('ws://x/'), subprotocols=['chat'])
    else:
        server = websockets.server.ServerProtocol(subprotocols=['chat'])
        client = ClientProtocol('ws://x/', subprotocols=['chat'])
    client.send_request(client.connect())
    server.receive_data(b''.join(client.data_to_send()))
    [request] = server.events_received()
    server.send_response(server.accept(request))
    client.receive_data(b''.join(server.data_to_send()))
    [response] = client.events_received()
    assert response.status_code == 101
    assert server.subprotocol == client.subprotocol == 'chat'
    client.send_text(b'hello')
    server.receive_data(b''.join(client.data_to_send()))
    assert [bytes(event.data) for event in server.events_received()] == [b'hello']
