"""The client's side of the opening handshake, byte for byte: no socket, no loop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import ACCEPT, KEY, read, switching

from pyjows.errors import HandshakeError, InvalidState
from pyjows.handshake import (
    ClientHandshake,
    Headers,
    ServerHandshake,
)


def connecting(**options: object) -> ClientHandshake:
    handshake = ClientHandshake('ws://example.com/chat', key=KEY, **options)  # type: ignore[arg-type]
    handshake.send()
    return handshake


def failure(handshake: ClientHandshake, answer: bytes) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        handshake.receive(answer)
    return caught.value


# The client asks


def test_the_request_is_the_rfcs() -> None:
    handshake = ClientHandshake('ws://example.com/chat?room=1', key=KEY, user_agent=None)
    assert handshake.send() == (
        b'GET /chat?room=1 HTTP/1.1\r\n'
        b'Host: example.com\r\n'
        b'Upgrade: websocket\r\n'
        b'Connection: Upgrade\r\n'
        b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
        b'Sec-WebSocket-Version: 13\r\n'
        b'\r\n'
    )


def test_the_request_carries_what_it_is_given() -> None:
    handshake = ClientHandshake(
        'wss://user:pa%20ss@example.com:444',
        headers=[('X-A', '1'), ('X-A', '2'), ('user-agent', 'me')],
        subprotocols=['v2', 'v1'],
        extensions='x; y=1',
        origin='https://example.com',
    )
    request = read(handshake.send())
    assert request == handshake.request
    assert request.target == '/'
    assert request.host == 'example.com:444'
    assert request.headers.get_all('x-a') == ['1', '2']
    assert request.headers.get_all('user-agent') == ['me']
    assert request.subprotocols == ('v2', 'v1')
    assert request.extensions == [('x', [('y', '1')])]
    assert request.origin == 'https://example.com'
    assert request.headers['authorization'] == 'Basic dXNlcjpwYSBzcw=='
    assert ServerHandshake().check(request) is None


def test_the_request_may_be_given_as_host_and_target() -> None:
    request = ClientHandshake(('a:1', '/x?y')).request
    assert (request.host, request.target) == ('a:1', '/x?y')
    assert request.headers['user-agent'].endswith(' pyjows')


def test_each_request_has_a_key_of_its_own() -> None:
    keys = {ClientHandshake('ws://a/').request.headers['sec-websocket-key'] for _ in range(10)}
    assert len(keys) == 10


def test_the_request_is_sent_once() -> None:
    with pytest.raises(InvalidState, match='already'):
        connecting().send()


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'key': 'short'}, 'short'),
        ({'subprotocols': ['a b']}, 'a b'),
        ({'subprotocols': ['a', 'a']}, 'only once'),
        ({'extensions': 'a;;'}, 'Sec-WebSocket-Extensions'),
        ({'headers': {'X': 'a\nb'}}, 'X'),
        ({'origin': 'a\r\nb'}, 'Origin'),
    ],
)
def test_a_request_that_breaks_the_rules_cannot_be_made(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ClientHandshake('ws://a/', **options)  # type: ignore[arg-type]


def test_one_string_is_no_list_of_subprotocols() -> None:
    with pytest.raises(TypeError, match=r"\['chat'\]"):
        ClientHandshake('ws://a/', subprotocols='chat')


# The client reads


def test_a_valid_101_opens_the_connection() -> None:
    handshake = connecting()
    data = switching('X-A: b') + b'\x81\x02hi'
    assert handshake.receive(data[:40]) is None
    assert handshake.receive(b'') is None
    response = handshake.receive(data[40:])
    assert response is not None
    assert response is handshake.response
    assert (response.status, response.reason, response.headers['x-a']) == (101, 'Switching Protocols', 'b')
    assert handshake.trailing_data == b'\x81\x02hi'
    assert (handshake.subprotocol, handshake.extensions) == (None, [])
    handshake.eof()
    with pytest.raises(InvalidState, match='over'):
        handshake.receive(b'x')


def test_the_client_knows_what_the_server_chose() -> None:
    handshake = connecting(subprotocols=['a', 'b'], extensions='x; y, z')
    handshake.receive(switching('Sec-WebSocket-Protocol: b', 'Sec-WebSocket-Extensions: x; y=1'))
    assert handshake.subprotocol == 'b'
    assert handshake.extensions == [('x', [('y', '1')])]


@pytest.mark.parametrize(
    'answer',
    [
        switching('upgrade: WEBSOCKET', without='Upgrade'),
        switching('Connection: foo, upgrade', without='Connection'),
        switching(f'Sec-WebSocket-Accept: \t {ACCEPT}  ', without='Sec-WebSocket-Accept'),
        switching(line='HTTP/1.1 101 '),
        switching(line='HTTP/1.1 101 Web Socket Protocol Handshake'),
        b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' + switching(),
    ],
)
def test_every_answer_that_the_rfc_allows_is_taken(answer: bytes) -> None:
    response = connecting().receive(answer)
    assert response is not None
    assert response.status == 101


@pytest.mark.parametrize(
    ('answer', 'says'),
    [
        (switching(line='HTTP/1.0 101 Switching Protocols'), 'HTTP/1.0'),
        (switching(without='Upgrade'), 'Upgrade'),
        (switching('Upgrade: h2c', without='Upgrade'), 'h2c'),
        (switching('Upgrade: h2c'), 'h2c'),
        (switching(without='Connection'), 'Connection'),
        (switching('Connection: close', without='Connection'), 'close'),
        (switching(without='Sec-WebSocket-Accept'), 'Sec-WebSocket-Accept'),
        (switching('Sec-WebSocket-Accept: AAAA', without='Sec-WebSocket-Accept'), 'AAAA'),
        (switching(f'Sec-WebSocket-Accept: {ACCEPT.lower()}', without='Sec-WebSocket-Accept'), 'our key'),
        (switching(f'Sec-WebSocket-Accept: {ACCEPT}'), 'Sec-WebSocket-Accept'),
        (switching('Sec-WebSocket-Protocol: c'), "'c'.*'a', 'b'"),
        (switching('Sec-WebSocket-Protocol: a', 'Sec-WebSocket-Protocol: b'), "'a, b'"),
        (switching('Sec-WebSocket-Protocol:'), "''"),
        (switching('Sec-WebSocket-Extensions: z'), "'z'"),
        (switching('Sec-WebSocket-Extensions: x, z'), "'z'"),
        (switching('Sec-WebSocket-Extensions: x;;'), 'malformed'),
    ],
)
def test_a_101_that_breaks_the_rules_fails_the_handshake(answer: bytes, says: str) -> None:
    handshake = connecting(subprotocols=['a', 'b'], extensions='x, y')
    with pytest.raises(HandshakeError, match=says) as caught:
        handshake.receive(answer)
    assert caught.value.status == 101
    assert Headers(caught.value.headers) == caught.value.response.headers
    assert handshake.response is None
    assert handshake.receive(b'more') is None


def test_what_was_not_asked_for_may_not_be_chosen() -> None:
    assert 'a' in str(failure(connecting(), switching('Sec-WebSocket-Protocol: a')))
    assert 'permessage-deflate' in str(failure(connecting(), switching('Sec-WebSocket-Extensions: permessage-deflate')))


def test_another_answer_comes_with_status_headers_and_body() -> None:
    handshake = connecting()
    assert handshake.receive(b'HTTP/1.1 403 Forbidden\r\nX-A: b\r\nContent-Length: 5\r\n\r\nno') is None
    error = failure(handshake, b'pe!')
    assert (error.status, error.body) == (403, b'nope!')
    assert Headers(error.headers)['x-a'] == 'b'
    assert '403 Forbidden' in str(error)


def test_a_redirect_says_where_to() -> None:
    error = failure(connecting(), b'HTTP/1.1 302 Found\r\nLocation: wss://b/\r\nContent-Length: 0\r\n\r\n')
    assert error.status == 302
    assert Headers(error.headers)['location'] == 'wss://b/'
    assert 'wss://b/' in str(error)


def test_a_chunked_body_comes_whole() -> None:
    answer = b'HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'
    assert failure(connecting(), answer).body == b'abcde'


@pytest.mark.parametrize('length', ['', 'Content-Length: 100\r\n'], ids=['open end', 'too short'])
def test_a_body_may_end_with_the_connection(length: str) -> None:
    handshake = connecting()
    assert handshake.receive(f'HTTP/1.1 404 Not Found\r\n{length}\r\nabc'.encode()) is None
    with pytest.raises(HandshakeError) as caught:
        handshake.eof()
    assert (caught.value.status, caught.value.body) == (404, b'abc')


@pytest.mark.parametrize('framing', ['Content-Length: 1000000', 'X: y', 'Transfer-Encoding: chunked'])
def test_no_more_of_a_body_is_kept_than_allowed(framing: str) -> None:
    handshake = connecting(max_body_size=10)
    body = b'ff\r\n' * framing.endswith('chunked') + b'a' * 100
    error = failure(handshake, f'HTTP/1.1 200 OK\r\n{framing}\r\n\r\n'.encode() + body)
    assert (error.status, error.body) == (200, b'a' * 10)


@pytest.mark.parametrize(
    'data', [b'hello\r\n\r\n', b'\0\0\0', b'HTTP/1.1 abc\r\n\r\n', b'HTTP/1.1 200 OK\r\nbad\r\n\r\n']
)
def test_an_answer_that_is_no_http_has_no_status(data: bytes) -> None:
    error = failure(connecting(), data)
    assert error.status is None
    assert 'HTTP' in str(error)


def test_headers_that_do_not_end_fail_the_handshake() -> None:
    assert '1000' in str(failure(connecting(max_header_size=1000), b'HTTP/1.1 101 x\r\nX: ' + b'a' * 1000))
    assert '1000' in str(failure(connecting(max_header_size=1000), switching('X: ' + 'a' * 1000)))


def test_informational_answers_do_not_add_up_to_a_head_that_is_too_large() -> None:
    hints = b'HTTP/1.1 103 Early Hints\r\nLink: ' + b'a' * 600 + b'\r\n\r\n'
    handshake = connecting(max_header_size=1000)
    for _ in range(5):
        assert handshake.receive(hints) is None
    assert handshake.receive(hints * 5 + switching()) is not None


@pytest.mark.parametrize('data', [b'', b'HTTP/1.1 101 Swi', b'HTTP/1.1 100 Continue\r\n\r\n'])
def test_a_connection_that_ends_before_the_answer_fails_the_handshake(data: bytes) -> None:
    handshake = connecting()
    handshake.receive(data)
    with pytest.raises(HandshakeError, match='closed before'):
        handshake.eof()
    handshake.eof()


@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([switching()[:50], switching()[50:], b'HTTP/1.1 200 \xff\r\n\r\n'])
    )
)
def test_whatever_the_server_sends_opens_the_connection_or_fails_the_handshake(chunks: list[bytes]) -> None:
    handshake = connecting()
    try:
        for chunk in chunks:
            if handshake.receive(chunk) is not None:
                assert chunks[:2] == [switching()[:50], switching()[50:]] or b''.join(chunks).count(ACCEPT.encode())
                return
        handshake.eof()
    except HandshakeError as exc:
        assert str(exc)
    else:
        pytest.fail('the end of the connection was taken for an answer')


# What comes whole is read without h11


def outcome(answer: bytes, step: int, **options: object) -> tuple[object, ...]:
    """What a client makes of an answer that comes in pieces of `step` bytes."""
    handshake = connecting(**options)
    response = None
    try:
        for at in range(0, len(answer), step):
            if response is None:
                response = handshake.receive(answer[at : at + step])
            else:
                return ('101', response, handshake.subprotocol, handshake.trailing_data + answer[at:])
    except HandshakeError as exc:
        return (type(exc), str(exc), exc.status)
    return ('101', response, handshake.subprotocol, handshake.trailing_data)


ODD_ANSWERS = [
    switching(),
    switching() + b'\x81\x02hi',
    switching('Set-Cookie: a=1 ', 'X-Empty:'),
    switching('Sec-WebSocket-Protocol: v1'),
    switching('Sec-WebSocket-Protocol: other'),
    switching('Upgrade: h2c', without='Upgrade'),
    switching('Content-Length: 5'),
    switching('Content-Length: 0'),
    switching('Content-Length: x'),
    switching('Transfer-Encoding: chunked'),
    switching('Transfer-Encoding: gzip'),
    switching().replace(b' Switching Protocols', b''),
    switching().replace(b' Switching Protocols', b' '),
    switching().replace(b'Switching', b'T\xfcr\t'),
    switching().replace(b'Switching', b'\x00'),
    switching().replace(b'HTTP/1.1', b'HTTP/1.0'),
    switching().replace(b'HTTP/1.1', b'HTTP/1.2'),
    switching().replace(b'Upgrade: ', b'Upgrade : '),
    switching().replace(b'Upgrade: websocket', b'Upgrade:\r\n websocket'),
    switching().replace(b'Upgrade: websocket', b'Upgrade: \x01websocket'),
    switching().replace(b'\r\n', b'\n'),
    b'HTTP/1.1 100 Continue\r\n\r\n' + switching(),
    b'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
]


@pytest.mark.parametrize('answer', ODD_ANSWERS, ids=range(len(ODD_ANSWERS)))
def test_an_answer_means_the_same_whole_and_in_pieces(answer: bytes) -> None:
    assert outcome(answer, len(answer), subprotocols=['v1']) == outcome(answer, 40, subprotocols=['v1'])


def test_a_host_header_of_the_caller_is_sent_first() -> None:
    request = connecting().request
    own = ClientHandshake('ws://example.com/chat', key=KEY, headers={'X-A': '1', 'Host': 'other:1'})
    assert request.host == 'example.com'
    assert own.send().startswith(b'GET /chat HTTP/1.1\r\nHost: other:1\r\n')
