"""The opening handshake, both sides, byte for byte: no socket, no loop."""

from __future__ import annotations

import ast
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import h11
import pytest
import websockets.client
import websockets.protocol
import websockets.server
import websockets.uri
import wsproto
import wsproto.events
from hypothesis import given, settings
from hypothesis import strategies as st

import pyjows.handshake
from pyjows.errors import HandshakeError, InvalidState
from pyjows.handshake import (
    ClientHandshake,
    Headers,
    Request,
    Response,
    ServerHandshake,
    accept_key,
    format_extensions,
    generate_key,
    parse_subprotocols,
)

KEY = 'dGhlIHNhbXBsZSBub25jZQ=='  # the RFC's own example, section 1.3
ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=12)


def upgrade(*extra: str, without: str = '', line: str = 'GET /chat?room=1 HTTP/1.1') -> bytes:
    """An opening handshake as a browser sends it, with headers added and left out."""
    fields = [
        'Host: example.com',
        'Upgrade: websocket',
        'Connection: Upgrade',
        f'Sec-WebSocket-Key: {KEY}',
        'Sec-WebSocket-Version: 13',
    ]
    kept = [field for field in fields if not without or not field.startswith(without + ':')]
    return '\r\n'.join([line, *kept, *extra, '', '']).encode('latin-1')


def switching(*extra: str, without: str = '', line: str = 'HTTP/1.1 101 Switching Protocols') -> bytes:
    """The answer to it."""
    fields = ['Upgrade: websocket', 'Connection: Upgrade', f'Sec-WebSocket-Accept: {ACCEPT}']
    kept = [field for field in fields if not without or not field.startswith(without + ':')]
    return '\r\n'.join([line, *kept, *extra, '', '']).encode('latin-1')


def read(request: bytes, **options: int) -> Request:
    found = ServerHandshake(**options).receive(request)
    assert found is not None
    return found


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


def connecting(**options: object) -> ClientHandshake:
    handshake = ClientHandshake('ws://example.com/chat', key=KEY, **options)  # type: ignore[arg-type]
    handshake.send()
    return handshake


def failure(handshake: ClientHandshake, answer: bytes) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        handshake.receive(answer)
    return caught.value


# Headers


def test_headers_are_found_in_any_case() -> None:
    headers = Headers({'Content-Type': 'text/plain'})
    assert headers['content-type'] == headers['CONTENT-TYPE'] == headers.get('Content-type') == 'text/plain'
    assert 'content-TYPE' in headers


def test_a_missing_header_is_a_key_error_or_the_default() -> None:
    headers = Headers({'Host': 'a'})
    with pytest.raises(KeyError, match='origin'):
        headers['origin']
    assert headers.get('origin') is None
    assert headers.get('origin', 'none') == 'none'
    assert 'origin' not in headers
    assert 5 not in headers


def test_a_repeated_header_is_joined_and_can_be_had_apart() -> None:
    headers = Headers([('Accept', 'a'), ('Host', 'x'), ('ACCEPT', 'b')])
    assert headers['accept'] == 'a, b'
    assert headers.get_all('accept') == ['a', 'b']
    assert headers.get_all('origin') == []
    assert len(headers) == 2
    assert list(headers) == ['accept', 'host']
    assert list(headers.items()) == [('accept', 'a, b'), ('host', 'x')]


def test_raw_headers_keep_order_repeats_and_case() -> None:
    pairs = [(b'Accept', b'a'), (b'Host', b'x'), (b'ACCEPT', b'b')]
    assert Headers(pairs).raw == pairs
    assert Headers(Headers(pairs)).raw == pairs
    assert Headers().raw == []


def test_a_name_is_not_found_inside_a_value_or_another_name() -> None:
    headers = Headers({'X-Host': 'host:1', 'Host': 'example.com:80'})
    assert headers.get_all('host') == ['example.com:80']
    assert headers.get('host:example.com') is None
    assert headers.get('1') is None
    assert headers.get('') is None


def test_headers_are_equal_whatever_the_case_and_order_of_names() -> None:
    assert Headers({'A': '1', 'B': '2'}) == Headers({'b': '2', 'a': '1'})
    assert hash(Headers({'A': '1', 'B': '2'})) == hash(Headers({'b': '2', 'a': '1'}))
    assert Headers({'A': '1'}) == {'a': '1'}
    assert Headers({'A': '1'}) != Headers({'A': '2'})
    assert Headers({'A': '1'}) != 'A: 1'


def test_an_empty_value_is_there() -> None:
    headers = Headers({'A': '', 'B': ' \t'})
    assert headers['a'] == headers['b'] == ''
    assert headers.raw == [(b'A', b''), (b'B', b'')]


def test_values_go_through_as_latin_1() -> None:
    assert Headers([(b'a', bytes(range(0xA0, 0x100)))])['a'].encode('latin-1') == bytes(range(0xA0, 0x100))
    assert Headers({'a': 'é'}).raw == [(b'a', b'\xe9')]


@pytest.mark.parametrize('value', ['a\r\nSet-Cookie: x', 'a\nb', 'a\rb', 'a\0b', 'a\x0bb', '\n', '☃'])
def test_a_value_that_would_split_the_header_is_refused_with_its_name(value: str) -> None:
    with pytest.raises(ValueError, match='X-Name'):
        Headers({'X-Name': value})


@pytest.mark.parametrize('name', ['', 'a b', 'a:', 'a\n', 'é', '(a)', 'a\0'])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match='no header name'):
        Headers({name: 'x'})


def test_a_value_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match='Content-Length'):
        Headers({'Content-Length': 5})  # type: ignore[dict-item]


def test_headers_show_what_is_in_them() -> None:
    assert repr(Headers({'Host': 'a'})) == "Headers([('Host', 'a')])"


def test_a_browsers_headers_stay_small_in_memory() -> None:
    request = read(upgrade('User-Agent: ' + 'x' * 100))
    head = len(upgrade('User-Agent: ' + 'x' * 100))
    assert sys.getsizeof(request.headers) + sys.getsizeof(request.headers._block) < head + 100


@settings(deadline=None)
@given(st.lists(st.tuples(TOKEN, st.text('abc: ,=;\xe9', max_size=10))))
def test_headers_behave_as_a_plain_list_of_pairs_would(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    for name, _ in pairs:
        expected = [value.strip(' ') for other, value in pairs if other.lower() == name.lower()]
        assert headers.get_all(name) == expected
        assert headers[name.upper()] == ', '.join(expected)
    assert list(headers) == list(dict.fromkeys(name.lower() for name, _ in pairs))
    assert [(name.decode(), value.decode('latin-1')) for name, value in headers.raw] == [
        (name, value.strip(' ')) for name, value in pairs
    ]


# Request and Response


def test_a_request_knows_path_and_query() -> None:
    request = Request('GET', '/caf%C3%A9/x?room=1&room=2&name=&q=a%20b', {'Host': 'example.com:3000'})
    assert request.path == '/café/x'
    assert request.query == 'room=1&room=2&name=&q=a%20b'
    assert request.query_params == {'room': ['1', '2'], 'name': [''], 'q': ['a b']}
    assert request.host == 'example.com:3000'
    assert request.origin is None


@pytest.mark.parametrize(
    ('target', 'host', 'path', 'query'),
    [
        ('/', 'h', '/', ''),
        ('//x/y?z', 'h', '//x/y', 'z'),
        ('/a?b=http://c/d', 'h', '/a', 'b=http://c/d'),
        ('http://other:80/a/b?c', 'other:80', '/a/b', 'c'),
        ('http://user@other', 'other', '/', ''),
        ('http://other?c=/', 'other', '/', 'c=/'),
        ('*', 'h', '*', ''),
    ],
)
def test_a_target_may_have_every_form_that_http_knows(target: str, host: str, path: str, query: str) -> None:
    request = Request('GET', target, {'Host': 'h'})
    assert (request.host, request.path, request.query) == (host, path, query)


def test_a_request_knows_what_is_offered() -> None:
    request = read(
        upgrade(
            'Sec-WebSocket-Protocol: v2, v1',
            'Sec-WebSocket-Protocol: v0',
            'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x',
            'Origin: https://example.com',
        )
    )
    assert request.subprotocols == ('v2', 'v1', 'v0')
    assert request.extensions == [('permessage-deflate', [('client_max_window_bits', None)]), ('x', [])]
    assert request.origin == 'https://example.com'


def test_a_request_that_offers_nothing_has_nothing() -> None:
    request = read(upgrade())
    assert request.subprotocols == ()
    assert request.extensions == []
    assert request.cookies == {}


def test_a_request_knows_its_cookies() -> None:
    request = Request('GET', '/', {'Cookie': 'a=1; b="x y"; a=2; c=d=e;; bad; path=/'})
    assert request.cookies == {'a': '1', 'b': 'x y', 'c': 'd=e', 'path': '/'}


@pytest.mark.parametrize(
    ('value', 'asks'), [('websocket', True), ('h2c, WebSocket', True), ('h2c', False), ('', False)]
)
def test_a_request_asks_for_a_websocket_if_its_upgrade_says_so(value: str, asks: bool) -> None:
    assert Request('GET', '/', {'Upgrade': value}).is_upgrade is asks
    assert Request('GET', '/').is_upgrade is False


@pytest.mark.parametrize(('method', 'target'), [('', '/'), ('G T', '/'), ('GET', ''), ('GET', '/a b'), ('GET', '/é')])
def test_a_request_that_cannot_be_sent_cannot_be_made(method: str, target: str) -> None:
    with pytest.raises(ValueError, match='is no'):
        Request(method, target)


def test_requests_and_responses_are_values() -> None:
    assert Request('GET', '/', {'A': 'b'}) == Request('GET', '/', {'a': 'b'})
    assert len({Response(204), Response(204), Response(205)}) == 2
    with pytest.raises(AttributeError):
        Response(204).status = 200  # type: ignore[misc]


def test_responses_of_each_kind_say_what_they_are() -> None:
    assert Response.text('hé').body == 'hé'.encode()
    assert Response.text('x').headers['content-type'] == 'text/plain; charset=utf-8'
    assert Response.html('x', 404).headers['content-type'] == 'text/html; charset=utf-8'
    assert Response.html('x', 404).status == 404
    assert json.loads(Response.json({'a': ['é', None]}).body) == {'a': ['é', None]}
    assert Response.json(1, headers={'X-A': 'b'}).headers == {'content-type': 'application/json', 'x-a': 'b'}
    assert (
        Response.json(1, headers={'Content-Type': 'application/ld+json'}).headers['content-type']
        == 'application/ld+json'
    )
    assert Response(body='x').headers['content-type'] == 'text/plain; charset=utf-8'


def test_a_response_has_the_usual_reason_unless_it_is_given_one() -> None:
    assert Response(404).reason == 'Not Found'
    assert Response(299).reason == ''
    assert Response(404, reason='Nothing here').reason == 'Nothing here'


@pytest.mark.parametrize('status', [99, 1000, 0, '200', None])
def test_a_status_outside_http_is_refused(status: object) -> None:
    with pytest.raises(ValueError, match='no HTTP status'):
        Response(status)  # type: ignore[arg-type]


def test_a_reason_with_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match='no reason phrase'):
        Response(200, reason='OK\r\nSet-Cookie: a=b')


def test_a_body_of_another_type_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match='Response.json'):
        Response(200, body={'a': 1})  # type: ignore[arg-type]


# The fields of the handshake


def test_the_accept_key_is_the_rfcs() -> None:
    assert accept_key(KEY) == ACCEPT


def test_keys_are_random_and_as_the_rfc_wants_them() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        request = upgrade(f'Sec-WebSocket-Key: {key}', without='Sec-WebSocket-Key')
        assert ServerHandshake().check(read(request)) is None


def test_subprotocols_are_read_as_a_list_of_tokens() -> None:
    assert parse_subprotocols('v2') == ['v2']
    assert parse_subprotocols(' v2 ,\tv1,, v2') == ['v2', 'v1']


@pytest.mark.parametrize('header', ['', ' , ', 'a b', 'a;b', '"a"', 'é'])
def test_malformed_subprotocols_are_refused(header: str) -> None:
    with pytest.raises(ValueError, match='Sec-WebSocket-Protocol'):
        parse_subprotocols(header)


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


@settings(deadline=None, max_examples=600)
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


# Both sides, and others' sides


@settings(deadline=None)
@given(
    st.lists(TOKEN, unique=True, max_size=3),
    st.lists(st.tuples(TOKEN, st.lists(st.tuples(TOKEN, st.none() | TOKEN), max_size=2)), max_size=2),
    st.data(),
)
def test_both_sides_agree_on_what_was_chosen(
    subprotocols: list[str], extensions: list[tuple[str, list[tuple[str, str | None]]]], data: st.DataObject
) -> None:
    client = ClientHandshake('ws://a/x', subprotocols=subprotocols, extensions=format_extensions(extensions) or None)
    server = ServerHandshake()
    request = server.receive(client.send())
    assert request is not None
    assert list(request.subprotocols) == subprotocols
    assert request.extensions == extensions
    assert server.check(request) is None
    subprotocol = data.draw(st.sampled_from([None, *subprotocols]))
    accepted = data.draw(st.sampled_from([[], *([extension] for extension in extensions)]))
    wire = server.accept(subprotocol=subprotocol, extensions=format_extensions(accepted) or None)
    assert client.receive(wire) is not None
    assert (client.subprotocol, client.extensions) == (subprotocol, accepted)


def test_the_server_accepts_wsproto_and_websockets() -> None:
    theirs = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    data = theirs.send(wsproto.events.Request(host='a', target='/x', subprotocols=['v1']))
    ours = ServerHandshake()
    assert ours.check(ours.receive(data)) is None
    theirs.receive_data(ours.accept(subprotocol='v1'))
    assert [(type(event), event.subprotocol) for event in theirs.events()] == [(wsproto.events.AcceptConnection, 'v1')]

    client = websockets.client.ClientProtocol(websockets.uri.parse_uri('ws://a/x'))
    client.send_request(client.connect())
    ours = ServerHandshake()
    assert ours.check(ours.receive(b''.join(client.data_to_send()))) is None
    client.receive_data(ours.accept())
    assert client.state is websockets.protocol.State.OPEN


def test_wsproto_and_websockets_accept_the_client() -> None:
    theirs = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    ours = ClientHandshake('ws://a/x', subprotocols=['v1'])
    theirs.receive_data(ours.send())
    ours.receive(theirs.send(wsproto.events.AcceptConnection(subprotocol='v1')))
    assert ours.subprotocol == 'v1'

    server = websockets.server.ServerProtocol()
    ours = ClientHandshake('ws://a/x')
    server.receive_data(ours.send())
    (request,) = server.events_received()
    server.send_response(server.accept(request))
    assert ours.receive(b''.join(server.data_to_send())) is not None


# The house


def test_the_handshake_does_no_io_of_its_own() -> None:
    source = Path(pyjows.handshake.__file__ or '').with_suffix('.py').read_text(encoding='utf-8')
    imported = {
        name.split('.')[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ''] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {'socket', 'selectors', 'asyncio', 'ssl', 'threading', 'email'}
