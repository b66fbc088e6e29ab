"""`server.websocket`, `server.route` and `server.static`, on every reactor: paths, methods, files, ranges."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import pytest
from descriptors import no_descriptor_left
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import asked, close

import pyjows
from pyjows import Request, Response
from pyjows.server.static import StaticFiles

pytestmark = pytest.mark.wide(later=True)


def get(path: str = '/', method: str = 'GET', **headers: str) -> bytes:
    fields = ''.join(f'{name.replace("_", "-")}: {value}\r\n' for name, value in headers.items())
    return f'{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n'.encode()


class Answer:
    """An answer in parts."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b'\r\n\r\n')
        line, *fields = head.decode('latin-1').split('\r\n')
        self.status = int(line.split()[1])
        self.headers = pyjows.Headers([tuple(field.split(': ', 1)) for field in fields])


@pytest.fixture
def say(ask, server):
    """``say(data)``: the server's answer to these bytes."""
    return lambda data: Answer(ask(server, data))


# Routes


def test_a_route_of_a_websocket_gets_what_its_path_says(server, say, ioloop, run_until):
    seen = []

    @server.websocket('/rooms/<name>/<int:number>')
    def room(server, ws, name, number):
        seen.append((name, number))
        ws.finish(1000)

    def upgrade(path):
        return say(asked(f'GET {path} HTTP/1.1') + close(1000)).status

    assert [upgrade(f'/rooms/{name}/7') for name in ('lobby', 'a%20b', '%C3%A4')] == [101, 101, 101]
    assert seen == [('lobby', 7), ('a b', 7), ('ä', 7)]
    assert [upgrade(path) for path in ('/', '/rooms/lobby', '/rooms/lobby/x')] == [404, 404, 404]
    run_until(ioloop, lambda: server.statistics().refused == {'404': 3})


def test_where_no_rule_fits_the_event_follows(server, say):
    seen = []
    server.websocket('/rooms')(lambda server, ws: (seen.append('route'), ws.finish(1000)))
    server.on('websocket', lambda server, ws: (seen.append('event'), ws.finish(1000)))
    assert say(asked('GET /rooms HTTP/1.1') + close(1000)).status == 101
    assert say(asked('GET /else HTTP/1.1') + close(1000)).status == 101
    assert seen == ['route', 'event']


def test_routes_of_requests_alone_change_nothing_for_websockets(server, say):
    server.route('/health')(lambda server, req: Response.text('well'))
    server.on('websocket', lambda server, ws: ws.finish(1000))
    assert say(asked('GET /health HTTP/1.1') + close(1000)).status == 101


def test_a_route_answers_and_other_methods_get_405(server, say):
    @server.route('/users/<int:number>', methods=['GET', 'DELETE'])
    def user(server, req, number):
        return Response.json({req.method: number})

    assert say(get('/users/7')).body == b'{"GET":7}'
    assert say(get('/users/7', 'DELETE')).body == b'{"DELETE":7}'
    head = say(get('/users/7', 'HEAD'))
    assert (head.status, head.body, head.headers['content-length']) == (200, b'', '10')
    refused = say(get('/users/7', 'PUT'))
    assert (refused.status, refused.headers['allow']) == (405, 'DELETE, GET, HEAD')
    assert say(get('/users/x')).status == 404


def test_a_missing_slash_is_a_redirect_on_the_same_host(server, say):
    server.route('/list/')(lambda server, req: Response.text('list'))
    found = say(get('/list?a=1&b=%20'))
    assert (found.status, found.headers['location']) == (308, '/list/?a=1&b=%20')
    for path in ('//evil.example', '//list', '/\\evil.example/'):
        location = say(get(path)).headers.get('location', '/')
        assert re.match(r'/(?![/\\])', location + ' '), location


def test_a_request_for_a_websocket_route_without_upgrade_is_426(server, say):
    server.websocket('/rooms')(lambda server, ws: None)
    found = say(get('/rooms'))
    assert (found.status, found.headers['upgrade']) == (426, 'websocket')
    server.route('/health')(lambda server, req: Response.text('well'))
    assert say(asked('GET /health HTTP/1.1')).status == 400


def test_a_route_that_returns_nothing_is_a_404_and_one_that_raises_a_500(server, say):
    failures = []
    server.on('error', lambda server, exc: failures.append(repr(exc)))
    server.route('/none')(lambda server, req: None)
    server.route('/raises')(lambda server, req: 1 / 0)
    server.websocket('/ws')(lambda server, ws: 1 / 0)
    assert [say(get('/none')).status, say(get('/raises')).status] == [404, 500]
    assert say(asked('GET /ws HTTP/1.1')).status == 500


def test_routes_may_be_coroutine_functions(server, say, coroutines):
    @server.route('/<name>')
    async def later(server, req, name):
        await asyncio.sleep(0)
        return Response.text(name)

    @server.websocket('/ws/<int:status>')
    async def refuse(server, ws, status):
        await asyncio.sleep(0)
        ws.reject(status)

    assert say(get('/ann')).body == b'ann'
    assert say(asked('GET /ws/418 HTTP/1.1')).status == 418


def test_a_coroutine_function_needs_a_loop_that_runs_coroutines():
    loop = pyjows.IOLoop('poll')
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)
    with pytest.raises(RuntimeError, match='needs a loop that runs coroutines'):

        @server.route('/')
        async def nothing(server, req): ...

    loop.close()


def test_a_malformed_rule_is_refused_at_once(server):
    for rule in ('no-slash', '/<', '/<unknown:x>', '/<int:a>/<int:a>'):
        with pytest.raises(ValueError, match='not a valid rule'):
            server.route(rule)(lambda server, req, **values: None)
    with pytest.raises(TypeError, match='must be callable'):
        server.route('/')(5)


# Files


@pytest.fixture
def folder(tmp_path, server):
    """A folder whose files are served, with a secret beside it."""
    folder = tmp_path / 'public'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'index.html').write_text('<p>home')
    (folder / 'sub' / 'index.html').write_text('<p>sub')
    (folder / 'app.js').write_text('0123456789')
    (folder / 'data.bin').write_bytes(bytes(range(256)))
    (folder / 'empty').write_bytes(b'')
    (folder / 'ä ö.txt').write_text('umlaut')
    (folder / '.secret').write_text('SECRET')
    (folder / '.well-known').mkdir()
    (folder / '.well-known' / 'ok').write_text('known')
    (tmp_path / 'secret').write_text('SECRET')
    (folder / 'out').symlink_to(tmp_path / 'secret')
    (folder / 'away').symlink_to(tmp_path)
    (folder / 'inside').symlink_to(folder / 'app.js')
    (folder / 'loop').symlink_to(folder / 'loop')
    os.mkfifo(folder / 'pipe')
    server.static('/', folder)
    return folder


@pytest.mark.parametrize(
    ('path', 'body', 'kind'),
    [
        ('/', b'<p>home', 'text/html; charset=utf-8'),
        ('/index.html?v=2', b'<p>home', 'text/html; charset=utf-8'),
        ('/sub/', b'<p>sub', 'text/html; charset=utf-8'),
        ('/app.js', b'0123456789', 'text/javascript; charset=utf-8'),
        ('/inside', b'0123456789', 'text/javascript; charset=utf-8'),
        ('/data.bin', bytes(range(256)), 'application/octet-stream'),
        ('/empty', b'', 'application/octet-stream'),
        ('/%C3%A4%20%C3%B6.txt', b'umlaut', 'text/plain; charset=utf-8'),
        ('/.well-known/ok', b'known', 'application/octet-stream'),
    ],
)
def test_a_file_is_sent_with_its_type(folder, say, path, body, kind):
    found = say(get(path))
    assert (found.status, found.body, found.headers['content-type']) == (200, body, kind)
    assert found.headers['content-length'] == str(len(body))
    assert found.headers['x-content-type-options'] == 'nosniff'
    head = say(get(path, 'HEAD'))
    assert (head.status, head.body) == (200, b'')
    assert {**head.headers, 'date': ''} == {**found.headers, 'date': ''}


@pytest.mark.parametrize(
    'path',
    [
        '/nothing',
        '/.secret',
        '/out',
        '/away/secret',
        '/../secret',
        '/%2e%2e/secret',
        '/sub/%2e%2e/%2e%2e/secret',
        '/..%2fsecret',
        '//secret',
        '/sub//index.html',
        '/app.js/',
        '/app.js%00.html',
        '/loop',
        '/pipe',
        '/' + 'x' * 3000,
        '/away/',
    ],
)
def test_what_is_no_file_of_the_folder_is_not_found(folder, say, path):
    found = say(get(path))
    assert found.status == 404
    assert b'SECRET' not in found.body


def test_a_folder_without_slash_is_a_redirect(folder, say):
    found = say(get('/sub?a=1'))
    assert (found.status, found.headers['location']) == (308, '/sub/?a=1')


def test_other_methods_are_405_and_what_is_not_there_is_left_to_others(folder, server, say):
    found = say(get('/app.js', 'POST'))
    assert (found.status, found.headers['allow']) == (405, 'GET, HEAD')
    server.on('request', lambda server, req: Response.text('by the event'))
    server.route('/app.js')(lambda server, req: Response.text('by the route'))
    assert (say(get('/nothing')).body, say(get('/app.js')).body) == (b'by the event', b'by the route')


@pytest.mark.parametrize(
    ('wanted', 'status', 'body', 'content_range'),
    [
        ('bytes=0-3', 206, b'0123', 'bytes 0-3/10'),
        ('bytes=8-', 206, b'89', 'bytes 8-9/10'),
        ('bytes=-3', 206, b'789', 'bytes 7-9/10'),
        ('bytes=5-100', 206, b'56789', 'bytes 5-9/10'),
        ('bytes=-100', 206, b'0123456789', 'bytes 0-9/10'),
        ('bytes=10-', 416, b'', 'bytes */10'),
        ('bytes=-0', 416, b'', 'bytes */10'),
        ('bytes=3-1', 200, b'0123456789', None),
        ('bytes=0-1,3-4', 200, b'0123456789', None),
        ('lines=1-2', 200, b'0123456789', None),
        ('bytes=-', 200, b'0123456789', None),
        ('bytes=' + '9' * 30 + '-', 200, b'0123456789', None),
    ],
)
def test_a_range_is_sent_alone(folder, say, wanted, status, body, content_range):
    found = say(get('/app.js', Range=wanted))
    assert (found.status, found.body, found.headers.get('content-range')) == (status, body, content_range)


def test_what_the_client_has_is_not_sent_again(folder, server, say):
    first = say(get('/app.js'))
    tag, modified = first.headers['etag'], first.headers['last-modified']
    for fields in (
        {'If_None_Match': tag},
        {'If_None_Match': f'"x", W/{tag}'},
        {'If_None_Match': '*'},
        {'If_Modified_Since': modified},
    ):
        again = say(get('/app.js', **fields))
        assert (again.status, again.body, again.headers['etag']) == (304, b'', tag)
    for fields in (
        {'If_None_Match': '"x"', 'If_Modified_Since': modified},
        {'If_Modified_Since': formatdate(0)},
        {'If_Modified_Since': 'nonsense'},
    ):
        assert say(get('/app.js', **fields)).status == 200
    assert say(get('/app.js', Range='bytes=0-0', If_Range=tag)).status == 206
    assert say(get('/app.js', Range='bytes=0-0', If_Range='"x"')).status == 200
    (folder / 'app.js').write_text('changed')
    assert say(get('/app.js', If_None_Match=tag)).body == b'changed'


def test_a_large_file_is_sent_in_pieces_as_fast_as_it_is_taken(folder, ioloop, server, run_until, open_files):
    body = os.urandom(20_000_000)
    (folder / 'large').write_bytes(body)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(('127.0.0.1', server.ports[0]))
        sock.setblocking(False)
        sock.sendall(b'GET /large HTTP/1.1\r\nHost: a\r\n\r\n' + get('/app.js'))
        most = 0
        received = bytearray()

        def read(loop):
            nonlocal most
            most = max([most, *(stream.buffered_amount for stream in ioloop.connections.values())])
            try:
                while data := sock.recv(1 << 20):
                    received.extend(data)
            except BlockingIOError:
                pass

        timer = ioloop.recurring(read, 0.002)
        run_until(ioloop, lambda: received.endswith(b'0123456789'))
        ioloop.remove(timer)
    head, _, rest = bytes(received).partition(b'\r\n\r\n')
    assert b'Content-Length: 20000000' in head
    assert rest[: len(body)] == body
    assert most < 1_000_000
    run_until(ioloop, lambda: not ioloop.connections)
    assert not [name for name in open_files().values() if name.endswith('/large')]


def test_a_client_that_leaves_in_the_middle_leaves_no_open_file(folder, ioloop, server, run_until, open_files):
    (folder / 'large').write_bytes(bytes(20_000_000))
    with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
        sock.sendall(get('/large'))
        run_until(ioloop, lambda: any(stream.buffered_amount for stream in ioloop.connections.values()))
    run_until(ioloop, lambda: not ioloop.connections)
    assert not [name for name in open_files().values() if name.endswith('/large')]


def test_a_file_that_becomes_shorter_cuts_the_connection(folder, ioloop, server, run_until):
    (folder / 'large').write_bytes(bytes(20_000_000))
    with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
        sock.sendall(get('/large'))
        run_until(ioloop, lambda: any(stream.buffered_amount for stream in ioloop.connections.values()))
        os.truncate(folder / 'large', 1000)
        sock.setblocking(False)
        received = bytearray()

        def closed():
            try:
                received.extend(data := sock.recv(1 << 20))
                return not data
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

        run_until(ioloop, closed)
    assert len(received) < 20_000_000


def test_several_folders_and_their_options(server, tmp_path, say):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / f'{name}.txt').write_text(name)
    server.static('/files/', tmp_path / 'a', max_age=60)
    server.static('/files/', str(tmp_path / 'b'), index=None)
    first = say(get('/files/a.txt'))
    assert (first.body, first.headers['cache-control']) == (b'a', 'max-age=60')
    assert say(get('/files/b.txt')).body == b'b'
    assert [say(get(path)).status for path in ('/a.txt', '/files/', '/files')] == [404, 404, 404]
    for prefix, place, says in (
        ('files/', 'a', 'begin and end'),
        ('/files', 'a', 'begin and end'),
        ('/', 'c', 'no folder'),
    ):
        with pytest.raises(ValueError, match=says):
            server.static(prefix, tmp_path / place)


segments = st.sampled_from(
    ['..', '.', '', 'sub', 'away', 'out', 'secret', '.secret', 'app.js', 'inside', '\\', '\0', 'a b']
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(segments | st.text(max_size=5), max_size=6), st.booleans())
def test_no_path_leads_out_of_the_folder(tmp_path, paths, encode):
    folder = tmp_path / 'public'
    if not folder.exists():
        (folder / 'sub').mkdir(parents=True)
        (folder / 'sub' / 'index.html').write_text('inside')
        (folder / 'app.js').write_text('inside')
        (tmp_path / 'secret').write_text('SECRET')
        (folder / 'out').symlink_to(tmp_path / 'secret')
        (folder / 'away').symlink_to(tmp_path)
        (folder / 'inside').symlink_to(folder / 'app.js')
    safe = '' if encode else '/\\'
    target = '/' + '/'.join(quote(segment.encode('utf-8', 'replace'), safe=safe) for segment in paths)
    response: Any = StaticFiles('/', str(folder)).respond(Request('GET', target))
    if response is None:
        return
    if response.status == 308:
        assert re.match(r'/[^/\\]', response.headers['location'])
        return
    assert response.read(100) == b'inside'
    response.close()


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such limit')
def test_a_file_that_cannot_be_opened_for_lack_of_descriptors_is_not_said_to_be_missing(tmp_path, caplog):
    (tmp_path / 'a.txt').write_text('here')
    files = StaticFiles('/', str(tmp_path))
    with no_descriptor_left():
        response = files.respond(Request('GET', '/a.txt'))
    assert response is not None and response.status == 503
    assert 'Too many open files' in caplog.text
