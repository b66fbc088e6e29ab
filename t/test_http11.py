"""HTTP/1.1 values: headers, requests, responses."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import TOKEN, read, upgrade

from pyjows.handshake import (
    Headers,
    Request,
    Response,
    parse_subprotocols,
)

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
def test_a_name_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match='not a valid header name'):
        Headers({name: 'x'})


def test_a_value_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match='Content-Length'):
        Headers({'Content-Length': 5})  # type: ignore[dict-item]


@pytest.mark.parametrize('wrong', ['text', b'Host: a', ['Host: a'], None, 5, [('a', 'b', 'c')], ['ab']])
def test_what_is_neither_a_mapping_nor_pairs_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match='is neither a mapping of headers nor pairs of names and values'):
        Headers(wrong)
    with pytest.raises(TypeError, match='is neither a mapping of headers nor pairs of names and values'):
        Response(200, wrong)


def test_headers_show_what_is_in_them() -> None:
    assert repr(Headers({'Host': 'a'})) == "Headers([('Host', 'a')])"


def test_a_browsers_headers_stay_small_in_memory() -> None:
    request = read(upgrade('User-Agent: ' + 'x' * 100))
    head = len(upgrade('User-Agent: ' + 'x' * 100))
    values = [value for value in gc.get_referents(request.headers) if isinstance(value, bytes)]
    assert len(values) == 1
    assert sys.getsizeof(request.headers) + sys.getsizeof(values[0]) < head + 100


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
    with pytest.raises(ValueError, match='is not a valid'):
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
    with pytest.raises(ValueError, match='not a valid HTTP status'):
        Response(status)  # type: ignore[arg-type]


def test_a_reason_with_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match='not a valid reason phrase'):
        Response(200, reason='OK\r\nSet-Cookie: a=b')


def test_a_body_of_another_type_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match='Response.json'):
        Response(200, body={'a': 1})  # type: ignore[arg-type]


# Subprotocols


def test_subprotocols_are_read_as_a_list_of_tokens() -> None:
    assert parse_subprotocols('v2') == ['v2']
    assert parse_subprotocols(' v2 ,\tv1,, v2') == ['v2', 'v1']


@pytest.mark.parametrize('header', ['', ' , ', 'a b', 'a;b', '"a"', 'é'])
def test_malformed_subprotocols_are_refused(header: str) -> None:
    with pytest.raises(ValueError, match='Sec-WebSocket-Protocol'):
        parse_subprotocols(header)
