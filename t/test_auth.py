"""Who may open a WebSocket: `origins` and `authenticate` of `serve`, and the schemes of `pyjows.auth`."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import ROOT, Program
from websockets.sync.client import connect as websockets_connect
from wire import asked, close

import pyjows
from pyjows import Request, Response
from pyjows.auth import basic, basic_credentials, bearer, bearer_token, find_secret, same_secret

pytestmark = pytest.mark.wide(later=True)

CHAT = 'https://chat.example'


@pytest.fixture
def serve(ioloop, servers):
    """``serve(**options)``: a server that greets its users, and is stopped after the test."""

    def serve(**options: Any) -> Any:
        server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options)
        servers.append(server)
        server.seen = []

        @server.on
        def websocket(server, ws):
            server.seen.append(ws.user)
            ws.finish(1000)

        return server

    return serve


@pytest.fixture
def status(ask):
    """``status(server, **headers)``: the status line's number in answer to an upgrade request."""

    def status(server: Any, **headers: Any) -> int:
        # The close frame is only read where the request is accepted.
        return int(ask(server, asked(**headers) + close(1000)).split()[1])

    return status


# Origins


@pytest.mark.parametrize(
    ('origins', 'origin', 'expected'),
    [
        ([CHAT], CHAT, 101),
        (['HTTPS://Chat.Example:443'], CHAT, 101),
        ([CHAT], 'https://chat.example.evil.example', 403),
        ([CHAT], 'https://evil.example', 403),
        ([CHAT], 'http://chat.example', 403),
        ([CHAT], 'https://chat.example:8443', 403),
        ([CHAT], 'null', 403),
        (['null'], 'null', 101),
        ([CHAT], None, 403),
        ([CHAT, None], None, 101),
        ([None], CHAT, 403),
        ([], CHAT, 403),
        ([re.compile(r'https://[a-z]+\.example')], 'https://a.example', 101),
        ([re.compile(r'https://[a-z]+\.example')], 'https://a.example.evil', 403),
        ([re.compile(r'https://[a-z]+\.example')], 'xhttps://a.example', 403),
        (None, 'https://evil.example', 101),
    ],
)
def test_only_pages_of_these_origins_may_open_a_websocket(serve, status, run_until, ioloop, origins, origin, expected):
    server = serve(origins=origins)
    assert status(server, Origin=origin) == expected
    run_until(ioloop, lambda: not server.connections)
    assert server.seen == ([None] if expected == 101 else [])
    assert server.statistics().refused == ({} if expected == 101 else {'origin not allowed': 1})


def test_two_origin_headers_are_refused(serve, ask):
    server = serve(origins=[re.compile('.*')])
    twice = asked().replace(b'\r\nHost', b'\r\nOrigin: https://a.example\r\nOrigin: https://b.example\r\nHost', 1)
    answer = ask(server, twice.replace(b'Host: ', b'Origin: https://a.example\r\nOrigin: https://b.example\r\nHost: '))
    assert answer.startswith(b'HTTP/1.1 400 ')
    assert server.seen == []


@pytest.mark.parametrize(
    ('origins', 'kind', 'says'),
    [
        (CHAT, TypeError, 'origins takes a list'),
        ([b'https://chat.example'], TypeError, "origins has b'https"),
        ([re.compile(b'.*')], TypeError, 'origins has re.compile'),
        ([5], TypeError, 'origins has 5'),
        (['*'], ValueError, 'leave the list out'),
        (['chat.example'], ValueError, 'scheme, host and port alone'),
        (['https://chat.example/'], ValueError, 'scheme, host and port alone'),
        (['https://ann@chat.example'], ValueError, 'scheme, host and port alone'),
        (['https://chat.example:x'], ValueError, 'scheme, host and port alone'),
        (['https://'], ValueError, 'scheme, host and port alone'),
    ],
)
def test_a_wrong_list_of_origins_is_refused_at_the_call(ioloop, assert_idle, origins, kind, says):
    with pytest.raises(kind, match=re.escape(says)):
        pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, origins=origins)
    assert_idle(ioloop)


# authenticate


def test_the_identity_is_the_user_of_the_websocket(serve, status):
    asked_for = []

    def authenticate(request):
        asked_for.append(request.target)
        return {'name': 'Ann'}

    server = serve(authenticate=authenticate)
    assert status(server) == 101
    assert server.seen == [{'name': 'Ann'}]
    assert asked_for == ['/chat']


@pytest.mark.parametrize(
    ('answer', 'expected'),
    [
        (Response(401, {'WWW-Authenticate': 'Bearer'}), 401),
        (Response(302, {'Location': '/login'}), 302),
        (Response.text('busy', 503), 503),
        (None, 403),
        (False, 403),
        ('', 403),
        (b'', 403),
        ({}, 403),
        ([], 403),
        (Response(101), 500),
        (PermissionError('no'), 500),
    ],
    ids=[
        '401',
        '302',
        '503',
        'None',
        'False',
        'empty str',
        'empty bytes',
        'empty dict',
        'empty list',
        '101',
        'an exception as value',
    ],
)
def test_what_is_no_identity_refuses(serve, status, run_until, ioloop, answer, expected, caplog):
    server = serve(authenticate=lambda request: answer)
    assert status(server) == expected
    run_until(ioloop, lambda: not server.connections)
    assert server.seen == []
    assert server.statistics().refused == {str(expected): 1}
    caplog.clear()


def test_the_response_of_another_library_is_no_identity(serve, status):
    from pyjows.sansio.http import Headers as OtherHeaders
    from pyjows.sansio.http import Response as OtherResponse

    server = serve(authenticate=lambda request: OtherResponse(401, 'Unauthorized', OtherHeaders()))
    assert status(server) == 500
    assert server.seen == []


@pytest.mark.parametrize('exc', [ValueError('boom'), KeyError('user')], ids=repr)
def test_an_exception_refuses_also_where_error_has_a_subscriber(serve, status, exc):
    failures = []

    def authenticate(request):
        raise exc

    server = serve(authenticate=authenticate)
    server.on('error', lambda server, exc: failures.append(exc))
    assert status(server) == 500
    assert server.seen == []


def test_the_origin_is_looked_at_first(serve, status):
    asked_for = []
    server = serve(origins=[CHAT], authenticate=asked_for.append)
    assert status(server, Origin='https://evil.example') == 403
    assert asked_for == []


def test_plain_requests_are_not_asked(serve, ask):
    server = serve(origins=[CHAT], authenticate=lambda request: None)
    server.on('request', lambda server, req: Response.text('open to all'))
    assert ask(server, b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n').endswith(b'open to all')


def test_an_invalid_upgrade_is_not_asked(serve, status):
    asked_for = []
    server = serve(authenticate=asked_for.append)
    assert status(server, Sec_WebSocket_Key='short') == 400
    assert asked_for == []


def test_an_async_authenticate_holds_the_answer_back(serve, status, coroutines):
    async def authenticate(request):
        await asyncio.sleep(0.01)
        return request.path

    server = serve(authenticate=authenticate)
    assert status(server) == 101
    assert server.seen == ['/chat']


def test_coroutine_handlers_come_after_an_async_authenticate(ioloop, ask, coroutines, run_until):
    async def authenticate(request):
        await asyncio.sleep(0)
        return 'ann'

    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, authenticate=authenticate)
    order = []
    server.on('websocket', lambda server, ws: ws.on('request', lambda ws: order.append('request')))

    @server.on
    async def websocket(server, ws):
        order.append(ws.user)
        await asyncio.sleep(0.01)
        order.append(ws.established)
        ws.reject(418)

    assert ask(server, asked()).startswith(b'HTTP/1.1 418 ')
    assert order == ['request', 'ann', False]
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


@pytest.mark.parametrize('exc', [ValueError('boom'), asyncio.CancelledError()], ids=repr)
def test_an_exception_in_an_async_authenticate_refuses(serve, status, coroutines, exc):
    async def authenticate(request):
        await asyncio.sleep(0)
        raise exc

    server = serve(authenticate=authenticate)
    assert status(server) == 500
    assert server.seen == []


def test_an_async_authenticate_that_takes_too_long_is_a_503_and_lets_nobody_in(
    serve, status, coroutines, run_until, ioloop
):
    ended = []

    async def authenticate(request):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:  # it goes on all the same
            await asyncio.sleep(0.01)
        ended.append(request)
        return 'ann'

    server = serve(authenticate=authenticate, handshake_timeout=0.05)
    assert status(server) == 503
    run_until(ioloop, lambda: ended)
    later: list[Any] = []
    ioloop.timer(later.append, 0.02)
    run_until(ioloop, lambda: later)
    assert server.seen == []


def test_an_async_authenticate_needs_a_loop_that_runs_coroutines(assert_idle):
    async def authenticate(request):
        return 'ann'

    loop = pyjows.IOLoop('poll')
    with pytest.raises(RuntimeError, match='async authenticate needs a loop'):
        pyjows.serve('ws://127.0.0.1:0', ioloop=loop, authenticate=authenticate)
    assert_idle(loop)
    loop.close()


# Basic and Bearer


def basic_header(name: str, password: str) -> str:
    return 'Basic ' + b64encode(f'{name}:{password}'.encode()).decode()


@pytest.mark.parametrize(
    ('authorization', 'expected'),
    [
        (basic_header('ann', 'wonder:land'), 101),
        (basic_header('ann', 'wonder:land').replace('Basic', 'bASIC'), 101),
        (basic_header('ann', 'wonder'), 401),
        (basic_header('bob', 'wonder:land'), 401),
        (basic_header('bob', ''), 401),
        ('Basic', 401),
        ('Basic ????', 401),
        ('Basic ' + b64encode(b'no colon').decode(), 401),
        ('Basic ' + b64encode(b'ann:\xff').decode(), 401),
        ('Bearer wonder', 401),
        (None, 401),
    ],
)
def test_basic_lets_in_who_knows_the_password(serve, ask, authorization, expected):
    server = serve(authenticate=basic({'ann': 'wonder:land'}, realm='the "club"'))
    answer = ask(server, asked(Authorization=authorization) + close(1000))
    assert int(answer.split()[1]) == expected
    assert server.seen == (['ann'] if expected == 101 else [])
    if expected == 401:
        assert b'\r\nWWW-Authenticate: Basic realm="the \\"club\\"", charset="UTF-8"\r\n' in answer


@pytest.mark.parametrize(
    ('authorization', 'expected'),
    [('Bearer t0k-en', 101), ('bearer t0k-en', 101), ('Bearer t0k', 401), ('Bearer a b', 401), (None, 401)],
)
def test_bearer_lets_in_who_has_a_token(serve, ask, authorization, expected):
    server = serve(authenticate=bearer({'t0k-en': 7, 'other': 8}))
    answer = ask(server, asked(Authorization=authorization) + close(1000))
    assert int(answer.split()[1]) == expected
    assert server.seen == ([7] if expected == 101 else [])
    assert (b'\r\nWWW-Authenticate: Bearer realm="WebSocket"' in answer) == (expected == 401)
    assert (b'error="invalid_token"' in answer) == (authorization == 'Bearer t0k')


@pytest.mark.parametrize(
    ('found', 'expected'), [(True, ['ann']), ('Ann', ['Ann']), (0, [0]), (None, []), (False, []), ('', []), ({}, [])]
)
def test_a_function_checks_the_password(serve, status, found, expected):
    server = serve(authenticate=basic(lambda name, password: found))
    assert status(server, Authorization=basic_header('ann', 'x')) == (101 if expected else 401)
    assert server.seen == expected


@pytest.mark.parametrize(('found', 'expected'), [('Ann', ['Ann']), (0, [0]), (None, []), ('', [])])
def test_a_coroutine_checks_the_token(serve, status, coroutines, found, expected):
    async def check(token):
        await asyncio.sleep(0)
        return found

    server = serve(authenticate=bearer(check))
    assert status(server, Authorization='Bearer x') == (101 if expected else 401)
    assert server.seen == expected


def test_two_authorization_headers_are_none():
    request = Request('GET', '/', [('Authorization', 'Bearer a'), ('Authorization', 'Bearer a')])
    assert bearer_token(request) is None


def test_bad_arguments_of_the_schemes_are_refused():
    for scheme in (basic, bearer):
        with pytest.raises(TypeError, match='takes a mapping'):
            scheme(5)
        with pytest.raises(ValueError, match='not a valid realm'):
            scheme({}, realm='a\r\nb')


@given(st.text(), st.text())
def test_basic_credentials_come_back_as_they_were_sent(name, password):
    request = Request('GET', '/', {'Authorization': basic_header(name, password)})
    sent = None if any(ord(c) < 32 or ord(c) == 127 for c in name + password) else f'{name}:{password}'
    found = basic_credentials(request)
    assert (found and ':'.join(found)) == sent


@given(st.text().filter(lambda text: not set(text) & set('\r\n\0\x0b\x0c') and text.isascii()))
def test_any_authorization_header_is_read_or_refused(value):
    request = Request('GET', '/', {'Authorization': value})
    for read in (basic_credentials, bearer_token, basic({}), bearer({})):
        assert read(request) is None or isinstance(read(request), (str, tuple, Response))


@given(st.text(), st.text())
def test_secrets_are_the_same_if_they_are_equal(a, b):
    assert same_secret(a, a)
    assert same_secret(a, b) == (a == b)
    assert find_secret(a, {b: 1, a: 2}) == 2


def test_a_secret_that_is_not_valid_unicode_equals_itself_alone():
    secret = b'\xff\xfe'.decode('utf-8', 'surrogateescape')  # as os.environ gives what is not UTF-8
    assert same_secret(secret, secret)
    assert not same_secret(secret, '??')


# The example


@pytest.mark.slow
def test_the_example_lets_in_by_cookie_query_subprotocol_and_header():
    with Program(ROOT / 'examples' / 'authenticated.py', 'ws://127.0.0.1:0') as program:
        url = program.find(r'http://\S+')
        with pytest.raises(urllib.error.HTTPError, match='401'):
            urllib.request.urlopen(url, timeout=30)
        page = urllib.request.Request(url, headers={'Authorization': basic_header('ann', 'wonder')})
        with urllib.request.urlopen(page, timeout=30) as response:
            cookie = response.headers['Set-Cookie'].partition(';')[0]
        ws_url = url.replace('http', 'ws')
        for suffix, options, user in (
            ('', {'additional_headers': {'Cookie': cookie}}, 'ann'),
            ('?token=robot-token', {}, 'robot'),
            ('', {'subprotocols': ['chat', 'token.robot-token']}, 'robot'),
            ('', {'additional_headers': {'Authorization': 'Bearer robot-token'}}, 'robot'),
        ):
            with websockets_connect(ws_url + suffix, **options) as ws:
                assert ws.recv(timeout=30) == f'Hello, {user}'
                assert ws.subprotocol == ('chat' if 'subprotocols' in options else None)
        for options in ({}, {'additional_headers': {'Cookie': cookie}, 'origin': 'https://evil.example'}):
            with pytest.raises(Exception, match='403'):
                websockets_connect(ws_url, **options)
        assert program.stop() == 0
