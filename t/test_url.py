"""WebSocket URLs, taken apart and followed."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyjows.handshake import ClientHandshake, ServerHandshake
from pyjows.url import URL, parse_url, redirected_url


@pytest.mark.parametrize(
    ('url', 'location', 'found'),
    [
        ('ws://a.example/chat?room=1', '/there', 'ws://a.example/there'),
        ('ws://a.example/chat/here', 'there?room=2', 'ws://a.example/chat/there?room=2'),
        ('ws://a.example/chat?room=1', '?room=2', 'ws://a.example/chat?room=2'),
        ('ws://a.example:3000/', '//b.example/there', 'ws://b.example/there'),
        ('ws://a.example/', 'http://b.example:81/', 'ws://b.example:81/'),
        ('ws://a.example/', 'https://a.example/', 'wss://a.example/'),
        ('ws://a.example/', 'wss://[::1]:3000/x', 'wss://[::1]:3000/x'),
        ('wss://a.example/', '/there#fragment', 'wss://a.example/there'),
        ('ws://a.example/', '/with a blank', 'ws://a.example/with%20a%20blank'),
        ('ws://a.example/', 'Straße'.encode().decode('latin-1'), 'ws://a.example/Stra%C3%9Fe'),
        ('ws+unix:///run/sock:/chat/here', 'there', 'ws+unix:///run/sock:/chat/there'),
    ],
)
def test_a_redirect_leads_to_its_location(url, location, found):
    assert str(redirected_url(parse_url(url), location)) == found


@pytest.mark.parametrize(
    ('url', 'location', 'reason'),
    [
        ('wss://a.example/', 'ws://a.example/', 'TLS'),
        ('wss://a.example/', 'http://b.example/', 'TLS'),
        ('ws://a.example/', 'ws+unix:///run/sock', 'Unix socket'),
        ('ws+unix:///run/sock', 'ws://b.example/', 'Unix socket'),
        ('ws+unix:///run/sock', '//localhost:81/', 'Unix socket'),
        ('ws://a.example/', 'mailto:ann@a.example', 'not a valid WebSocket URL'),
    ],
)
def test_a_redirect_does_not_lead_where_a_server_may_not_send_a_client(url, location, reason):
    with pytest.raises(ValueError, match=reason):
        redirected_url(parse_url(url), location)


def test_a_redirect_keeps_a_user_name_and_password_where_they_belong():
    url = parse_url('ws://ann:secret@a.example/')
    assert redirected_url(url, '/there').authorization == url.authorization
    assert redirected_url(url, 'http://A.example:80/').authorization == url.authorization
    assert redirected_url(url, 'ws://a.example:81/').authorization is None
    assert redirected_url(url, 'wss://a.example/').authorization is None
    assert redirected_url(url, 'ws://bob:other@a.example/').username == 'bob'


@pytest.mark.parametrize(
    ('url', 'parsed', 'host_header'),
    [
        ('ws://example.com', URL('ws', 'example.com', 80), 'example.com'),
        ('wss://example.com', URL('wss', 'example.com', 443), 'example.com'),
        ('WS://Example.COM:3000/Chat?Room=1', URL('ws', 'example.com', 3000, '/Chat?Room=1'), 'example.com:3000'),
        ('http://example.com:80/', URL('ws', 'example.com', 80), 'example.com'),
        ('https://example.com:80/', URL('wss', 'example.com', 80), 'example.com:80'),
        ('ws://127.0.0.1:0', URL('ws', '127.0.0.1', 0), '127.0.0.1:0'),
        ('ws://*:3000', URL('ws', '*', 3000), '*:3000'),
        ('ws://[::1]:3000', URL('ws', '::1', 3000), '[::1]:3000'),
        ('wss://[2001:DB8::1]', URL('wss', '2001:db8::1', 443), '[2001:db8::1]'),
        ('ws://[fe80::1%25eth0]', URL('ws', 'fe80::1%eth0', 80), '[fe80::1]'),
        ('ws://a?b', URL('ws', 'a', 80, '/?b'), 'a'),
        ('ws://a/?b=c/d?e', URL('ws', 'a', 80, '/?b=c/d?e'), 'a'),
        ('ws://a//b;c/%23', URL('ws', 'a', 80, '//b;c/%23'), 'a'),
        (
            'ws://bücher.example/é?ü=%C3%BC',
            URL('ws', 'xn--bcher-kva.example', 80, '/%C3%A9?%C3%BC=%C3%BC'),
            'xn--bcher-kva.example',
        ),
        ('ws://us%40er:p%3Aw@a/', URL('ws', 'a', 80, '/', None, 'us@er', 'p:w'), 'a'),
        ('ws://user@a/', URL('ws', 'a', 80, '/', None, 'user'), 'a'),
        ('ws+unix:///run/x.sock', URL('ws+unix', 'localhost', 80, '/', '/run/x.sock'), 'localhost'),
        (
            'ws+unix:///run/x.sock:/chat?x=1:2',
            URL('ws+unix', 'localhost', 80, '/chat?x=1:2', '/run/x.sock'),
            'localhost',
        ),
        ('ws+unix:///run/x.sock?x=1', URL('ws+unix', 'localhost', 80, '/?x=1', '/run/x.sock'), 'localhost'),
        ('ws+unix:/run/a%20b%3A', URL('ws+unix', 'localhost', 80, '/', '/run/a b:'), 'localhost'),
        ('wss+unix://x.sock:/', URL('wss+unix', 'localhost', 443, '/', 'x.sock'), 'localhost'),
        ('ws+unix://%2Frun%2Fx.sock/echo', URL('ws+unix', 'localhost', 80, '/echo', '/run/x.sock'), 'localhost'),
        ('ws+unix://%2frun%2fx.sock', URL('ws+unix', 'localhost', 80, '/', '/run/x.sock'), 'localhost'),
        ('ws+unix://a%2Fb%3A?c=d:e', URL('ws+unix', 'localhost', 80, '/?c=d:e', 'a/b:'), 'localhost'),
        ('ws+unix://%2Frun%2Fx.sock:/a/b', URL('ws+unix', 'localhost', 80, '/a/b', '/run/x.sock'), 'localhost'),
        ('http+unix://%2Fx/a?b=c/d:e', URL('ws+unix', 'localhost', 80, '/a?b=c/d:e', '/x'), 'localhost'),
        ('ws+unix:///a%2Fb/c', URL('ws+unix', 'localhost', 80, '/', '/a/b/c'), 'localhost'),
        ('ws+unix:///a%80:/', URL('ws+unix', 'localhost', 80, '/', '/a\udc80'), 'localhost'),
        ('ws+unix://%00name:/', URL('ws+unix', 'localhost', 80, '/', '\0name'), 'localhost'),
    ],
)
def test_urls_are_taken_apart(url: str, parsed: URL, host_header: str) -> None:
    assert parse_url(url) == parsed
    assert parsed.host_header == host_header
    assert parsed.secure is parsed.scheme.startswith('wss')
    without_user = URL(parsed.scheme, parsed.host, parsed.port, parsed.target, parsed.unix_path)
    assert parse_url(str(parsed)) == without_user


@pytest.mark.parametrize(
    ('url', 'says'),
    [
        ('', 'begin with'),
        ('example.com', 'begin with'),
        ('ftp://example.com', 'begin with'),
        ('//example.com', 'begin with'),
        ('ws:example.com', 'two slashes'),
        ('ws://', 'no host'),
        ('ws:///chat', 'no host'),
        ('ws://:3000', 'no host'),
        ('ws://a#b', 'fragment'),
        ('ws://a/#', 'fragment'),
        ('ws://a/b c', 'white space'),
        ('ws://a/\r\nX: y', 'white space'),
        ('ws://a\t', 'white space'),
        ('ws://a:b', '[Pp]ort'),
        ('ws://a:65536', '[Pp]ort'),
        ('ws://a:-1', '[Pp]ort'),
        ('ws://[::1', 'IPv6'),
        ('ws://[::g]', '::g'),
        ('ws://[127.0.0.1]', 'IPv6|IPv4'),
        ('ws://a\\b', 'host name'),
        ('ws://a"b', 'host name'),
        ('ws://' + 'ü' * 100, 'IDNA'),
        ('ws://a:b@c:d@e:5\x7f', 'white space'),
        ('ws://x%3Ay:secret@a', 'colon'),
        ('ws+unix://', 'no socket'),
        ('ws+unix://:/chat', 'no socket'),
        ('ws+unix:///x:chat', 'slash'),
        ('ws+unix:///x%00y:/', 'NUL'),
        ('ws+unix:///\udc80:/', 'lone surrogate'),
        ('ws://a/\ud800', 'lone surrogate'),
        ('ws://\ud800:secret@a/', 'lone surrogate'),
        ('ws://x[::1]/', 'beside the brackets'),
        ('ws://[::1]x/', 'beside the brackets'),
        ('ws://[::1][::2]/', 'port|brackets'),
        ('ws://a\\@b/', 'backslash'),
        ('ws://a:secret\\@b/', 'backslash'),
        ('ws://%ff:secret@a/', 'not UTF-8'),
        ('ws://x:secret%ff@a/', 'not UTF-8'),
        ('ws://x:secret%00@a/', 'control characters'),
        ('ws://x%0a:secret@a/', 'control characters'),
        ('ws://x:secret/y@a/', 'port .*in a password, a / is written %2F'),
        ('ws://x:secret?y@a/', 'port .*in a password, a / is written %2F'),
    ],
)
def test_what_is_no_websocket_url_is_refused_with_the_reason(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_url(url)
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize(
    ('url', 'name'),
    [
        ('wss://example.com', 'example.com'),
        ('wss://example.com.', 'example.com'),
        ('wss://[fe80::1%25eth0]', 'fe80::1'),
        ('wss+unix:///x', 'localhost'),
    ],
)
def test_a_certificate_is_for_the_host_without_zone_and_final_dot(url: str, name: str) -> None:
    assert parse_url(url).server_name == name


def test_a_password_is_not_shown() -> None:
    url = parse_url('ws://user:secret@a/')
    assert url.authorization == 'Basic dXNlcjpzZWNyZXQ='
    assert 'secret' not in repr(url)
    assert 'secret' not in str(url)
    with pytest.raises(ValueError) as caught:
        parse_url('ws://user:secret@a/#b')
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize(
    'url',
    ['ws://' + ':x' * 50000 + '#', '//a:x' * 20000, 'ws://' + 'a' * 10**5 + ':x#', 'ws+unix://' + '%2F' * 20000 + ':x'],
)
def test_a_long_malformed_url_is_refused_without_delay(url: str) -> None:
    began = process_time()
    with pytest.raises(ValueError, match='has|begin'):
        parse_url(url)
    assert process_time() - began < 1


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    for url in (text, f'ws://{text}', f'ws://a/{text}', f'ws+unix://{text}'):
        try:
            parsed = parse_url(url)
        except ValueError:
            continue
        assert parsed.target.startswith('/')
        request = ServerHandshake().receive(ClientHandshake(parsed).send())
        assert request is not None and request.target == parsed.target
