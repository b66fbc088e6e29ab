"""The server's side of the opening handshake, byte for byte: no socket, no loop."""

from __future__ import annotations

import time
from itertools import pairwise

import h11
import pytest
from amounts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import ACCEPT, KEY, TOKEN, read, upgrade

from pyjows.errors import HandshakeError, InvalidState
from pyjows.handshake import (
    ClientHandshake,
    Headers,
    Request,
    Response,
    ServerHandshake,
)


def refusal(request: bytes) -> Response:
    """How the server turns an opening handshake down, whether at reading or at checking it."""
    handshake = ServerHandshake()
    try:
        found = handshake.receive(request)
    except HandshakeError as exc:
        assert isinstance(exc.response, Response)
        return exc.response
    assert found is not None
    answer = handshake.check(found)
    assert answer is not None
    return answer


def answered(wire: bytes, method: bytes = b'GET', *, closed: bool = False) -> tuple[int, Headers, bytes]:
    """An answer as an HTTP client of somebody else's understands it: status, headers, body. It fails if it can't."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target='/', headers=[('Host', 'x'), ('Upgrade', 'websocket')]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    if closed:
        client.receive_data(b'')
    head = client.next_event()
    body = b''
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert isinstance(head, h11.Response)
    assert client.trailing_data[0] == b''
    return head.status_code, Headers(head.headers.raw_items()), body


# The server reads


def test_a_request_comes_when_its_head_is_whole() -> None:
    handshake = ServerHandshake()
    data = upgrade()
    assert handshake.receive(data[:30]) is None
    assert handshake.receive(b'') is None
    assert handshake.receive(data[30:-1]) is None
    request = handshake.receive(data[-1:])
    assert request is not None
    assert request is handshake.request
    assert (request.method, request.target, request.http_version) == ('GET', '/chat?room=1', '1.1')
    assert request.headers['host'] == 'example.com'
    assert request.is_upgrade


@settings(deadline=None)
@given(st.lists(st.integers(0, 400)), st.booleans())
def test_a_request_is_the_same_wherever_it_is_cut(cuts: list[int], chunked: bool) -> None:
    body = (
        'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'
        if chunked
        else 'Content-Length: 5\r\n\r\nabcde'
    )
    data = f'POST /x HTTP/1.1\r\nHost: a\r\n{body}'.encode() + b'GET /next HTTP/1.1\r\nHost: a\r\n\r\n'
    handshake = ServerHandshake()
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    found = [handshake.receive(data[start:end]) for start, end in pairwise(edges)]
    requests = [request for request in found if request is not None]
    assert [(request.target, request.body) for request in requests] == [('/x', b'abcde')]
    handshake.respond(Response(204))
    following = handshake.next()
    assert following is not None
    assert following.target == '/next'


def test_what_follows_the_upgrade_request_stays_for_the_protocol() -> None:
    handshake = ServerHandshake()
    assert handshake.receive(upgrade() + b'\x81\x80') is not None
    assert handshake.receive(b'abcd') is None
    assert handshake.trailing_data == b'\x81\x80abcd'
    handshake.accept()
    assert handshake.trailing_data == b'\x81\x80abcd'


def test_a_plain_request_comes_with_its_body() -> None:
    request = read(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc')
    assert request.body == b'abc'
    assert not request.is_upgrade


@pytest.mark.parametrize(
    'data',
    [
        b'\x16\x03\x01\x02\x00\x01\x00',
        b'\0' * 50,
        b'hello\r\n\r\n',
        b'GET /\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
        b'GET / HTTP/1.1\r\n\r\n',
        b'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    ],
)
def test_what_is_no_http_is_answered_with_400_and_closed(data: bytes) -> None:
    handshake = ServerHandshake()
    with pytest.raises(HandshakeError) as caught:
        handshake.receive(data)
    assert caught.value.status == 400
    status, headers, body = answered(handshake.respond(caught.value.response))
    assert (status, headers['connection']) == (400, 'close')
    assert body == caught.value.body == f'{caught.value}\n'.encode()
    assert not handshake.keep_alive
    assert handshake.receive(b'anything more') is None


def test_tls_on_a_plain_port_is_named() -> None:
    assert b'TLS' in refusal(b'\x16\x03\x01\x02\x00\x01\x00').body


@pytest.mark.parametrize('version', ['2.0', '0.9', '3.0'])
def test_another_major_version_of_http_is_505(version: str) -> None:
    assert refusal(upgrade(line=f'GET / HTTP/{version}')).status == 505


@pytest.mark.parametrize('target', ['a.example:443', '/', 'http://a.example/'])
def test_connect_is_501(target: str) -> None:
    response = refusal(f'CONNECT {target} HTTP/1.1\r\nHost: a.example\r\n\r\n'.encode())
    assert response.status == 501
    assert response.body == b'CONNECT asks for a tunnel, and this server is not a proxy\n'


def test_an_unknown_transfer_coding_is_501() -> None:
    assert refusal(b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n').status == 501


@pytest.mark.parametrize(
    'start',
    [b'GET /', b'GET / HTTP/1.1\r\nX: ', b'GET / HTTP/1.1\r\nHost: a\r\nX: '],
    ids=['target', 'first', 'second'],
)
def test_a_head_that_does_not_end_is_431_and_not_kept(start: bytes) -> None:
    handshake = ServerHandshake(max_header_size=1000)
    handshake.receive(start)
    with pytest.raises(HandshakeError) as caught:
        for _ in range(1001):
            handshake.receive(b'a')
    assert caught.value.status == 431
    assert '1000' in str(caught.value)
    status, headers, _ = answered(handshake.respond(caught.value.response))
    assert (status, headers['connection']) == (431, 'close')
    handshake.receive(b'a' * 100_000)
    assert len(handshake.trailing_data) < 2000


def test_a_head_over_the_limit_is_431_even_if_it_comes_whole() -> None:
    head = upgrade('X: ' + 'a' * 16384)
    with pytest.raises(HandshakeError, match='16384 are allowed') as caught:
        ServerHandshake().receive(head)
    assert caught.value.status == 431
    assert read(head, max_header_size=len(head)).is_upgrade


def test_a_large_read_behind_a_small_head_is_no_large_head() -> None:
    handshake = ServerHandshake()
    assert handshake.receive(upgrade() + b'x' * 100_000) is not None
    assert len(handshake.trailing_data) == 100_000


@pytest.mark.parametrize(
    'head', ['Content-Length: 11\r\n\r\n', 'Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n']
)
def test_a_body_over_the_limit_is_413(head: str) -> None:
    handshake = ServerHandshake(max_body_size=10)
    with pytest.raises(HandshakeError, match='10') as caught:
        handshake.receive(f'POST / HTTP/1.1\r\nHost: a\r\n{head}'.encode())
    assert caught.value.status == 413
    assert answered(handshake.respond(caught.value.response))[0] == 413


def test_what_waits_behind_an_unanswered_request_is_bounded() -> None:
    handshake = ServerHandshake(max_header_size=1000, max_body_size=1000)
    handshake.receive(upgrade())
    with pytest.raises(HandshakeError, match='before the request ahead of them was answered'):
        for _ in range(30):
            handshake.receive(b'x' * 100)
    assert len(handshake.trailing_data) < 2200


def test_an_end_between_requests_is_fine() -> None:
    handshake = ServerHandshake()
    handshake.eof()
    handshake = ServerHandshake()
    handshake.receive(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    handshake.eof()
    assert answered(handshake.respond(Response.text('bye')))[2] == b'bye'


@pytest.mark.parametrize('data', [b'GET / HT', b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc'])
def test_an_end_in_the_middle_of_a_request_is_an_error(data: bytes) -> None:
    handshake = ServerHandshake()
    handshake.receive(data)
    with pytest.raises(HandshakeError, match='ended in the middle'):
        handshake.eof()


AWKWARD = [
    *('Host: b', 'hOST: b', 'Upgrade: h2c', 'Connection: close', 'Expect: 100-continue'),
    *('Content-Length: 0', 'content-length:3', 'Content-Length: x', 'Transfer-Encoding: chunked'),
    *('Transfer-Encoding: gzip', 'A b: c', ': c', 'A :c', 'A', 'A:', 'A:\t \t', ' folded', '\tfolded'),
    *('A: \x85\xa0\xe9\xff', 'A: \x01\x7f', 'A: b\x00', 'A: b\x0bc', 'A: b\x0cc', 'A: b\x0b', 'A: b\x0c'),
    *('A: b\nC: d', 'A: b\rC: d', 'A: b\n', 'A: b\r', f'A: {"b" * 150}'),
]
FIELD = st.tuples(TOKEN, st.sampled_from([':', ': ', ':\t ']), st.text('ab \t:,"\x85', max_size=8)).map(''.join)
LINES = ['GET / HTTP/1.1'] * 6 + ['GET /\xe9 HTTP/1.1', 'GET  / HTTP/1.1', 'get / HTTP/1.1', 'GET / HTTP/1.0']


@settings(deadline=None, max_examples=examples(600))
@given(
    line=st.sampled_from(LINES),
    more=st.lists(st.sampled_from(AWKWARD) | FIELD, max_size=2),
    rest=st.sampled_from([b'', b'\x81\x80mask', b'GET / HTTP/1.1\r\nHost: b\r\n\r\n']),
    data=st.data(),
)
def test_an_upgrade_request_known_at_sight_is_the_one_that_h11_reads(
    line: str, more: list[str], rest: bytes, data: st.DataObject
) -> None:
    fields = ['Host: a', 'Upgrade: websocket', f'Sec-WebSocket-Key:{KEY} \t', 'X: y', *more]
    lines = [line, *data.draw(st.permutations(fields)), '', '']
    wire = '\r\n'.join(lines).encode('latin-1') + rest
    # Cut before the end of the head, it is h11 that reads it.
    cut = data.draw(st.integers(1, len(line)))
    assert told([wire]) == told([wire[:cut], wire[cut:]])


def told(chunks: list[bytes]) -> list[object]:
    """All that a server tells of a request: what it is, what follows, the answers to it, and the request after it."""
    handshake = ServerHandshake(max_header_size=200)
    story: list[object] = []
    try:
        for chunk in chunks:
            request = handshake.receive(chunk)
        if request is None:
            return ['more is needed']
        headers = request.headers
        story += [request, headers.raw, list(headers.items()), handshake.trailing_data, handshake.check(request)]
        other = ServerHandshake()
        for chunk in chunks:
            other.receive(chunk)
        if story[-1] is None:
            story += [other.accept(), other.trailing_data]
        story.append(handshake.respond(Response(403, {'Date': 'today'}, 'no')))
        story.append(handshake.keep_alive)
        if handshake.keep_alive:
            story.append(handshake.next())
    except HandshakeError as exc:
        story += [exc.status, str(exc), handshake.respond(Response(exc.status or 0, {'Date': 'today'}))]
    return story


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([upgrade()[:70], upgrade()[70:], b'\r\n', b'GET / HTTP/1.1'])))
def test_whatever_comes_ends_in_a_request_or_in_an_answer(chunks: list[bytes]) -> None:
    handshake = ServerHandshake()
    try:
        for chunk in chunks:
            if (request := handshake.receive(chunk)) is not None:
                answer = handshake.check(request)
                wire = handshake.accept() if answer is None else handshake.respond(answer)
                assert wire.startswith(b'HTTP/1.1 ')
                return
        handshake.eof()
    except HandshakeError as exc:
        assert answered(handshake.respond(exc.response))[0] == exc.status


# The server checks


@pytest.mark.parametrize(
    'rest', [b'Content-Length: 99999999\r\n\r\n', b'Transfer-Encoding: chunked\r\n\r\n8\r\nabc\r\n0\r\n\r\n']
)
def test_a_bad_head_request_is_answered_without_a_body(rest: bytes) -> None:
    server = ServerHandshake()
    with pytest.raises(HandshakeError) as caught:
        server.receive(b'HEAD / HTTP/1.1\r\nHost: a\r\n' + rest)
        server.eof()
    assert server.respond(caught.value.response).endswith(b'\r\n\r\n')


def test_a_valid_handshake_has_nothing_to_refuse() -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade())
    assert handshake.check() is None
    assert ServerHandshake().check(read(upgrade())) is None


@pytest.mark.parametrize(
    'request_',
    [
        upgrade('Upgrade: WebSocket', without='Upgrade'),
        upgrade('Upgrade: h2c,websocket', without='Upgrade'),
        upgrade('Upgrade: h2c'),
        upgrade('Connection: keep-alive, upgrade', without='Connection'),
        upgrade('Connection: keep-alive'),
        upgrade('connection: UPGRADE', without='Connection'),
        upgrade('Host: [::1]:3000', without='Host'),
        upgrade('Host: 127.0.0.1:', without='Host'),
        upgrade(line='GET http://example.com/chat HTTP/1.1'),
        upgrade('X-Unheard-Of: \xff'),
        upgrade('Sec-WebSocket-Protocol: a', 'Sec-WebSocket-Protocol: b'),
        upgrade('Sec-WebSocket-Extensions: a', 'Sec-WebSocket-Extensions: b;c="d"'),
    ],
)
def test_every_spelling_that_the_rfc_allows_is_accepted(request_: bytes) -> None:
    handshake = ServerHandshake()
    assert handshake.check(handshake.receive(request_)) is None
    assert handshake.accept().startswith(b'HTTP/1.1 101 ')


@pytest.mark.parametrize(
    ('request_', 'status', 'says'),
    [
        (upgrade(line='POST / HTTP/1.1'), 405, 'POST'),
        (upgrade(line='get / HTTP/1.1'), 405, 'get'),
        (upgrade(line='GET / HTTP/1.0'), 400, 'HTTP/1.0'),
        (upgrade(without='Host', line='GET / HTTP/1.0'), 400, 'HTTP/1.0'),
        (upgrade(without='Host'), 400, 'Host'),
        (upgrade(without='Host', line='GET / HTTP/1.2'), 400, 'Host header is missing'),
        (upgrade('Host: b'), 400, 'Host'),
        (upgrade('Host:', without='Host'), 400, 'Host'),
        (upgrade('Host: a/b', without='Host'), 400, "'a/b'"),
        (upgrade('Host: a b', without='Host'), 400, "'a b'"),
        (upgrade('Host: a:b', without='Host'), 400, "'a:b'"),
        (upgrade(without='Upgrade'), 426, 'Upgrade header is missing'),
        (upgrade('Upgrade: h2c', without='Upgrade'), 426, "'h2c'"),
        (upgrade('Upgrade: websockets', without='Upgrade'), 426, "'websockets'"),
        (upgrade(without='Connection'), 400, 'Connection header is missing'),
        (upgrade('Connection: keep-alive', without='Connection'), 400, "'keep-alive'"),
        (upgrade('Connection: upgraded', without='Connection'), 400, "'upgraded'"),
        (upgrade(without='Sec-WebSocket-Key'), 400, 'Sec-WebSocket-Key header is missing'),
        (upgrade('Sec-WebSocket-Extensions: ' + 'a,' * 5000), 400, 'more than 256 names'),
        (upgrade(f'Sec-WebSocket-Key: {KEY}'), 400, 'more than one Sec-WebSocket-Key'),
        (upgrade('Sec-WebSocket-Key:', without='Sec-WebSocket-Key'), 400, 'not 16 bytes'),
        (upgrade('Sec-WebSocket-Key: YWJj', without='Sec-WebSocket-Key'), 400, "'YWJj'"),
        (upgrade('Sec-WebSocket-Key: ' + 'A' * 23 + '=', without='Sec-WebSocket-Key'), 400, 'not 16 bytes'),
        (upgrade('Sec-WebSocket-Key: ' + '*' * 22 + '==', without='Sec-WebSocket-Key'), 400, 'not 16 bytes'),
        (upgrade('Sec-WebSocket-Key: ' + 'A' * 5000, without='Sec-WebSocket-Key'), 400, 'not 16 bytes'),
        (upgrade(without='Sec-WebSocket-Version'), 426, 'Sec-WebSocket-Version header is missing'),
        (upgrade('Sec-WebSocket-Version: 8', without='Sec-WebSocket-Version'), 426, "'8'"),
        (upgrade('Sec-WebSocket-Version: 13'), 426, "'13, 13'"),
        (upgrade('Sec-WebSocket-Version: 013', without='Sec-WebSocket-Version'), 426, "'013'"),
        (upgrade('Sec-WebSocket-Protocol: a b'), 400, "'a b'"),
        (upgrade('Sec-WebSocket-Protocol: \xff'), 400, "'\xff'"),
        (upgrade('Host: \xff', without='Host'), 400, "'\xff'"),
        (upgrade(line='GET /\xff HTTP/1.1'), 400, 'illegal request line'),
        (upgrade('Sec-WebSocket-Protocol:'), 400, 'Sec-WebSocket-Protocol is empty'),
        (upgrade('Sec-WebSocket-Extensions: a;;'), 400, 'Sec-WebSocket-Extensions'),
        (upgrade('Sec-WebSocket-Extensions: a; b="c d"'), 400, 'b="c d"'),
    ],
)
def test_every_must_of_the_rfc_is_checked_and_named(request_: bytes, status: int, says: str) -> None:
    response = refusal(request_)
    assert response.status == status
    assert says in response.body.decode()
    assert response.body.endswith(b'\n')
    assert response.body.count(b'\n') == 1
    assert len(response.body) < 300
    assert response.headers['content-type'] == 'text/plain; charset=utf-8'


def test_405_names_the_method_that_is_allowed() -> None:
    assert refusal(upgrade(line='POST / HTTP/1.1')).headers['allow'] == 'GET'


def test_426_names_the_version_and_the_protocol() -> None:
    handshake = ServerHandshake()
    answer = handshake.check(handshake.receive(upgrade(without='Sec-WebSocket-Version')))
    assert answer is not None
    status, headers, _ = answered(handshake.respond(answer))
    assert status == 426
    assert headers['sec-websocket-version'] == '13'
    assert headers['upgrade'] == 'websocket'
    assert headers['connection'] == 'Upgrade'


def test_a_client_may_try_again_on_the_connection_on_which_it_was_refused() -> None:
    handshake = ServerHandshake()
    answer = handshake.check(handshake.receive(upgrade('Sec-WebSocket-Version: 8', without='Sec-WebSocket-Version')))
    assert answer is not None
    handshake.respond(answer)
    assert handshake.keep_alive
    assert handshake.next() is None
    assert handshake.check(handshake.receive(upgrade())) is None
    assert handshake.accept().startswith(b'HTTP/1.1 101 ')


def test_there_is_nothing_to_check_or_accept_before_the_request() -> None:
    handshake = ServerHandshake()
    with pytest.raises(InvalidState, match='receive'):
        handshake.check()
    with pytest.raises(InvalidState, match='receive'):
        handshake.accept()


# The server accepts


def test_the_101_is_the_rfcs() -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade())
    assert handshake.accept() == (
        b'HTTP/1.1 101 Switching Protocols\r\n'
        b'Upgrade: websocket\r\n'
        b'Connection: Upgrade\r\n'
        b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n'
        b'\r\n'
    )


def test_the_101_carries_what_was_chosen_and_what_was_added() -> None:
    handshake = ServerHandshake(server_header='pyjows')
    handshake.receive(upgrade('Sec-WebSocket-Protocol: a, b', 'Sec-WebSocket-Extensions: x, y; z'))
    wire = handshake.accept(headers=[('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')], subprotocol='b', extensions='y; z')
    assert wire.endswith(
        b'Sec-WebSocket-Protocol: b\r\n'
        b'Sec-WebSocket-Extensions: y; z\r\n'
        b'Set-Cookie: a=1\r\n'
        b'Set-Cookie: b=2\r\n'
        b'Server: pyjows\r\n'
        b'\r\n'
    )


def test_what_was_not_offered_cannot_be_chosen() -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade('Sec-WebSocket-Protocol: a', 'Sec-WebSocket-Extensions: x'))
    with pytest.raises(ValueError, match="did not offer subprotocol 'c'"):
        handshake.accept(subprotocol='c')
    with pytest.raises(ValueError, match="did not offer extension 'z'"):
        handshake.accept(extensions='x, z')
    assert handshake.accept(subprotocol='a', extensions='x').startswith(b'HTTP/1.1 101 ')


@pytest.mark.parametrize(
    'name', ['Upgrade', 'connection', 'Sec-WebSocket-Accept', 'SEC-WEBSOCKET-PROTOCOL', 'Content-Length']
)
def test_the_handshakes_own_headers_cannot_be_given(name: str) -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade())
    with pytest.raises(ValueError, match=name.lower()):
        handshake.accept(headers={name: 'x'})
    with pytest.raises(ValueError, match=name.lower()):
        ClientHandshake('ws://a/', headers={name: 'x'})


def test_headers_cannot_smuggle_a_line_into_the_101() -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade())
    with pytest.raises(ValueError, match='X-Name'):
        handshake.accept(headers={'X-Name': 'a\r\nSet-Cookie: b=c'})


def test_an_invalid_request_cannot_be_accepted() -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade(without='Sec-WebSocket-Key'))
    with pytest.raises(HandshakeError, match='Sec-WebSocket-Key') as caught:
        handshake.accept()
    assert caught.value.status == 400
    assert answered(handshake.respond(caught.value.response))[0] == 400


def test_after_the_101_the_handshake_is_over() -> None:
    handshake = ServerHandshake()
    handshake.receive(upgrade())
    handshake.accept()
    assert not handshake.keep_alive
    handshake.eof()
    for call in (
        handshake.accept,
        handshake.next,
        lambda: handshake.receive(b'x'),
        lambda: handshake.respond(Response()),
    ):
        with pytest.raises(InvalidState):
            call()


def test_a_request_that_a_host_framework_has_read_can_be_accepted() -> None:
    handshake = ServerHandshake()
    headers = Headers([(b'host', b'a'), (b'upgrade', b'websocket'), (b'connection', b'upgrade')])
    headers = Headers([*headers.raw, (b'sec-websocket-key', KEY.encode()), (b'sec-websocket-version', b'13')])
    request = handshake.begin(Request('GET', '/x', headers))
    assert request.target == '/x'
    assert handshake.check(request) is None
    assert ACCEPT.encode() in handshake.accept()


def test_a_request_of_a_host_framework_may_have_a_body_but_not_half_of_one() -> None:
    request = Request('POST', '/x', {'Host': 'a', 'Content-Length': '3'}, b'abc')
    assert ServerHandshake().begin(request) == request
    with pytest.raises(HandshakeError, match='shorter'):
        ServerHandshake().begin(Request('POST', '/x', {'Host': 'a', 'Content-Length': '3'}, b'a'))


# The server answers


def ask(data: bytes, response: Response, **options: str) -> bytes:
    handshake = ServerHandshake(**options)  # type: ignore[arg-type]
    assert handshake.receive(data) is not None
    return handshake.respond(response)


GET = b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'


def test_an_answer_has_length_type_and_date() -> None:
    status, headers, body = answered(ask(GET, Response.text('hello'), server_header='me'))
    assert (status, body) == (200, b'hello')
    assert headers['content-length'] == '5'
    assert headers['content-type'] == 'text/plain; charset=utf-8'
    assert time.strptime(headers['date'], '%a, %d %b %Y %H:%M:%S GMT')
    assert headers['server'] == 'me'
    assert 'connection' not in headers
    assert answered(ask(GET, Response(body=b'\0')))[1]['content-type'] == 'application/octet-stream'


def test_headers_of_the_users_own_are_kept() -> None:
    _, headers, _ = answered(
        ask(GET, Response(302, {'Location': '/x', 'Date': 'D', 'Server': 'S'}), server_header='me')
    )
    assert (headers['location'], headers['date'], headers['server']) == ('/x', 'D', 'S')


def test_a_wrong_content_length_is_put_right() -> None:
    assert answered(ask(GET, Response(200, {'Content-Length': '3'}, b'hello')))[1].get_all('content-length') == ['5']


def test_the_reason_is_sent() -> None:
    assert ask(GET, Response(404)).startswith(b'HTTP/1.1 404 Not Found\r\n')


def test_head_gets_the_headers_of_the_body_but_not_the_body() -> None:
    wire = ask(b'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n', Response.text('hello'))
    status, headers, body = answered(wire, b'HEAD')
    assert (status, headers['content-length'], body) == (200, '5', b'')
    wire = ask(b'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n', Response(200, {'Content-Length': '7'}))
    assert answered(wire, b'HEAD')[1]['content-length'] == '7'


@pytest.mark.parametrize('status', [204, 304])
def test_answers_without_body_have_neither_body_nor_length(status: int) -> None:
    wire = ask(GET, Response(status, body=b'ignored'))
    assert wire.endswith(b'\r\n\r\n')
    assert 'content-length' not in answered(wire)[1]


def test_several_requests_go_over_one_connection() -> None:
    handshake = ServerHandshake()
    for number in range(3):
        request = handshake.receive(f'GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n'.encode())
        assert request is not None
        assert not handshake.keep_alive
        assert answered(handshake.respond(Response.text(request.path)))[2] == f'/{number}'.encode()
        assert handshake.keep_alive
        assert handshake.next() is None


def test_requests_sent_ahead_are_answered_in_order_and_the_last_may_upgrade() -> None:
    handshake = ServerHandshake()
    request = handshake.receive(
        GET + b'POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi' + upgrade() + b'frames'
    )
    paths = []
    while request is not None and not request.is_upgrade:
        paths.append((request.path, request.body))
        handshake.respond(Response(204))
        request = handshake.next()
    assert paths == [('/', b''), ('/b', b'hi')]
    assert handshake.check() is None
    handshake.accept()
    assert handshake.trailing_data == b'frames'


@pytest.mark.parametrize(
    'data', [b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', b'GET / HTTP/1.0\r\n\r\n'], ids=['close', '1.0']
)
def test_a_client_that_wants_no_further_request_gets_a_close(data: bytes) -> None:
    handshake = ServerHandshake()
    handshake.receive(data)
    assert answered(handshake.respond(Response.text('x')))[1]['connection'] == 'close'
    assert not handshake.keep_alive
    with pytest.raises(InvalidState, match='keep_alive'):
        handshake.next()


def test_a_server_may_close_of_its_own_accord() -> None:
    handshake = ServerHandshake()
    handshake.receive(GET)
    handshake.respond(Response(200, {'Connection': 'close'}))
    assert not handshake.keep_alive


@pytest.mark.parametrize('data', [b'', b'GET / HT', b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc'])
def test_a_server_that_waited_long_enough_may_answer_before_the_request_is_here(data: bytes) -> None:
    handshake = ServerHandshake()
    handshake.receive(data)
    status, headers, _ = answered(handshake.respond(Response.text('too slow\n', 408)))
    assert (status, headers['connection']) == (408, 'close')
    assert not handshake.keep_alive


def test_a_request_is_answered_once() -> None:
    handshake = ServerHandshake()
    handshake.receive(GET)
    handshake.respond(Response(204))
    with pytest.raises(InvalidState, match='next'):
        handshake.respond(Response(204))
    with pytest.raises(InvalidState, match='answered'):
        handshake.accept()


def test_an_answer_that_cannot_be_sent_leaves_room_for_one_that_can() -> None:
    handshake = ServerHandshake()
    handshake.receive(GET)
    with pytest.raises(ValueError, match='101'):
        handshake.respond(Response(101))
    with pytest.raises(ValueError, match='chunked'):
        handshake.respond(Response(200, {'Transfer-Encoding': 'gzip'}))
    assert answered(handshake.respond(Response(500)))[0] == 500


def test_a_body_may_go_out_in_pieces() -> None:
    handshake = ServerHandshake()
    handshake.receive(GET)
    wire = handshake.respond(Response(200, body=b'a'), more=True)
    wire += handshake.respond_more(b'', more=True)
    wire += handshake.respond_more(b'b', more=True)
    assert not handshake.keep_alive
    wire += handshake.respond_more(b'c')
    status, headers, body = answered(wire)
    assert (status, headers['transfer-encoding'], body) == (200, 'chunked', b'abc')
    assert handshake.keep_alive
    with pytest.raises(InvalidState, match='more=True'):
        handshake.respond_more(b'd')


def test_pieces_have_to_add_up_to_the_content_length() -> None:
    handshake = ServerHandshake()
    handshake.receive(GET)
    handshake.respond(Response(200, {'Content-Length': '2'}, b'a'), more=True)
    with pytest.raises(ValueError, match='Content-Length'):
        handshake.respond_more(b'bc')


def test_a_client_that_waits_for_100_continue_gets_it_once() -> None:
    handshake = ServerHandshake()
    assert handshake.interim() == b''
    assert handshake.receive(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n') is None
    assert handshake.interim() == b'HTTP/1.1 100 Continue\r\n\r\n'
    assert handshake.interim() == b''
    request = handshake.receive(b'abc')
    assert request is not None
    assert answered(handshake.respond(Response.text('ok')))[0] == 200
