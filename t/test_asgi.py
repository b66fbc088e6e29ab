"""`pyjows.asgi` under a real uvicorn, with a Starlette application and real clients."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn
from background import until
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close
from websockets.sync.client import connect, unix_connect
from wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, asked, frame, read

from pyjows.asgi import ClientDisconnected, WebSocketProtocol

SEEN = []


async def home(request):
    return PlainTextResponse('hello')


async def echo(ws: WebSocket):
    """Send everything back, text or binary."""
    await ws.accept()
    while (message := await ws.receive())['type'] == 'websocket.receive':
        await ws.send({**message, 'type': 'websocket.send'})
    SEEN.append(message)


async def echo_json(ws: WebSocket):
    await ws.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await ws.send_json({'echo': await ws.receive_json()})


async def scope(ws: WebSocket):
    """Tell what the application is told."""
    await ws.accept()
    found = {name: ws.scope[name] for name in ('type', 'http_version', 'scheme', 'path', 'root_path', 'subprotocols')}
    found['raw_path'], found['query'] = ws.scope['raw_path'].decode(), ws.scope['query_string'].decode()
    found['headers'] = {name.decode(): value.decode('latin-1') for name, value in ws.scope['headers']}
    found['client'], found['server'] = list(ws.scope['client']), list(ws.scope['server'])
    found['asgi'], found['extensions'], found['state'] = ws.scope['asgi'], ws.scope['extensions'], ws.scope['state']
    await ws.send_json(found)
    await ws.receive()


async def where(ws: WebSocket):
    """Tell between which addresses."""
    await ws.accept()
    await ws.send_json({'client': ws.scope['client'], 'server': ws.scope['server']})


async def chooses(ws: WebSocket):
    await ws.accept(subprotocol='v2', headers=[(b'x-name', b'value'), (b'set-cookie', b'a=1')])
    await ws.close(4001, 'chosen')


async def chooses_wrong(ws: WebSocket):
    try:
        await ws.accept(subprotocol='nobody')
    except RuntimeError as exc:
        SEEN.append(str(exc))
        raise


async def naps(ws: WebSocket):
    """Receive nothing until the test says so."""
    await ws.accept()
    while not GO.is_set():
        await asyncio.sleep(0.01)
    while 'text' not in await ws.receive():
        pass
    await ws.send_text('awake')


async def refuses(ws: WebSocket):
    await ws.close()
    SEEN.append(await ws.receive())


async def refuses_with_a_body(ws: WebSocket):
    body = PlainTextResponse('not here', 404, {'X-Why': 'because'})
    await ws.send_denial_response(body)


async def refuses_in_pieces(ws: WebSocket):
    await ws.send({'type': 'websocket.http.response.start', 'status': 429, 'headers': [(b'retry-after', b'5')]})
    await ws.send({'type': 'websocket.http.response.body', 'body': b'not ', 'more_body': True})
    await ws.send({'type': 'websocket.http.response.body', 'body': b'now'})
    with pytest.raises(RuntimeError, match='Unexpected'):
        await ws._send({'type': 'websocket.http.response.body', 'body': b'!'})
    SEEN.append(await ws._receive())
    SEEN.append(await ws._receive())


async def forgets(ws: WebSocket):
    """Return without an answer."""


async def raises_before(ws: WebSocket):
    raise ValueError('before')


async def raises_after(ws: WebSocket):
    await ws.accept()
    raise ValueError('after')


async def returns(ws: WebSocket):
    await ws.accept()
    await ws.send_text('bye')


async def floods(ws: WebSocket):
    """Send more than a connection can hold, until nobody is there any more."""
    await ws.accept()
    try:
        while True:
            await ws._send({'type': 'websocket.send', 'bytes': bytes(100_000)})
            await asyncio.sleep(0)
    except OSError as exc:
        SEEN.append(type(exc).__name__)


async def waits(ws: WebSocket):
    """Listen to nothing for a while, then count."""
    await ws.accept()
    await asyncio.get_running_loop().run_in_executor(None, GO.wait, 20)
    for _ in range(1000):
        await ws.receive_bytes()
    await ws.send_text('all')


async def misuses(ws: WebSocket):
    """Send what does not belong here, and tell what comes of it."""
    found = []
    for kind in ('websocket.send', 'websocket.nonsense'):
        with pytest.raises(RuntimeError) as caught:
            await ws._send({'type': kind, 'text': ''})
        found.append(str(caught.value))
    await ws.accept()
    for kind in ('websocket.accept', 'websocket.nonsense'):
        with pytest.raises(RuntimeError) as caught:
            await ws._send({'type': kind})
        found.append(str(caught.value))
    await ws.send_json(found)
    await ws.close()
    with pytest.raises(RuntimeError) as caught:
        await ws._send({'type': 'websocket.send', 'text': ''})
    SEEN.append(str(caught.value))


async def pours(ws: WebSocket):
    """Send more in one turn of the loop than is collected for one write."""
    await ws.accept()
    for i in range(100):
        await ws._send({'type': 'websocket.send', 'text': f'{i}' * 1000})


async def refuses_badly(ws: WebSocket):
    with pytest.raises(RuntimeError) as caught:
        await ws._send({'type': 'websocket.http.response.start', 'status': 101})
    SEEN.append(str(caught.value))
    await ws._send({'type': 'websocket.http.response.start', 'status': 599, 'headers': []})
    with pytest.raises(RuntimeError) as caught:
        await ws._send({'type': 'websocket.accept'})
    SEEN.append(str(caught.value))


async def closes_in_a_flood(ws: WebSocket):
    """Close while so much waits that reading has stopped."""
    await ws.accept()
    await asyncio.get_running_loop().run_in_executor(None, GO.wait, 20)
    await ws.close(1008)


async def returns_in_a_flood(ws: WebSocket):
    """Return while so much waits that reading has stopped."""
    await ws.accept()
    await asyncio.get_running_loop().run_in_executor(None, GO.wait, 20)


async def raises_in_a_flood(ws: WebSocket):
    await returns_in_a_flood(ws)
    raise ValueError('flooded')


async def relays(ws: WebSocket):
    """Send to another client, which is gone."""
    await ws.accept()
    raise ClientDisconnected('another client')


async def relays_before(ws: WebSocket):
    raise ClientDisconnected('another client')


async def refuses_nobody(ws: WebSocket):
    """Begin a refusal, and go on when the client is gone."""
    await ws._send({'type': 'websocket.http.response.start', 'status': 404})
    SEEN.append('begun')
    await ws._receive()
    SEEN.append((await ws._receive())['code'])
    for more_body in (True, False):
        try:
            await ws._send({'type': 'websocket.http.response.body', 'body': b'x', 'more_body': more_body})
        except OSError as exc:
            SEEN.append(type(exc).__name__)


async def hesitates(ws: WebSocket):
    """Give no answer before the client is gone, or the server."""
    SEEN.append('asked')
    await ws._receive()
    SEEN.append(await ws._receive())


async def gathers(ws: WebSocket):
    """Wait for a message in three places at a time, and give up one of them."""
    await ws.accept()
    tasks = [asyncio.create_task(ws._receive()) for _ in range(3)]
    await ws.send_text('ready')
    tasks.pop(0).cancel()
    await ws.send_json(sorted([message['text'] for message in await asyncio.gather(*tasks)]))


async def sets_two_cookies(ws: WebSocket):
    await ws.accept(headers=[(b'set-cookie', b'a=1'), (b'Set-Cookie', b'b=2')])


async def refuses_without_a_body(ws: WebSocket):
    headers = [(b'X-Why', b'because'), (b'X-Why', b'so')]
    await ws._send({'type': 'websocket.http.response.start', 'status': 404, 'headers': headers})


async def raises_while_it_refuses(ws: WebSocket):
    await ws._send({'type': 'websocket.http.response.start', 'status': 404})
    raise ValueError('refused')


async def refuses_as_told(ws: WebSocket):
    """Refuse with a status of the query, and with framing of its own."""
    headers = [(b'Transfer-Encoding', b'chunked'), (b'content-length', b'99')]
    status = int(ws.scope['query_string'])
    await ws._send({'type': 'websocket.http.response.start', 'status': status, 'headers': headers})
    await ws._send({'type': 'websocket.http.response.body', 'body': None, 'more_body': True})
    await ws._send({'type': 'websocket.http.response.body', 'body': b'because'})


# Before and after it has accepted.
MISTAKES = (
    [
        ({'type': 'websocket.accept', 'headers': [('x-name', 'value')]}, 'pairs of bytes'),
        ({'type': 'websocket.accept', 'headers': [(b'x-name', 5)]}, 'pairs of bytes'),
        ({'type': 'websocket.accept', 'headers': [(b'Upgrade', b'x')]}, "'upgrade' belongs to the handshake"),
        ({'type': 'websocket.accept', 'headers': [(b'sec-websocket-protocol', b'x')]}, "goes into its 'subprotocol'"),
        ({'type': 'websocket.accept', 'headers': [(b'x-name', b'a\r\nb: c')]}, 'has a line end'),
        ({'type': 'websocket.http.response.start', 'status': '403'}, "status code '403'"),
    ],
    [
        ({'type': 'websocket.send'}, "a str as 'text' or bytes as 'bytes', not None"),
        ({'type': 'websocket.send', 'text': None, 'bytes': None}, "a str as 'text' or bytes as 'bytes', not None"),
        ({'type': 'websocket.send', 'text': b'x'}, "a str as 'text' or bytes as 'bytes', not b'x'"),
        ({'type': 'websocket.send', 'bytes': 'x'}, 'bytes, bytearray or memoryview, not str'),
        ({'type': 'websocket.close', 'code': 'x'}, "an int as 'code' and a str as 'reason', not 'x'"),
        ({'type': 'websocket.close', 'reason': b'x'}, "not 1000 and b'x'"),
        ({'type': 'websocket.close', 'code': 1005}, '1005 may not be sent as a close code'),
    ],
)


async def errs(ws: WebSocket):
    """Make each mistake, then go on."""
    for mistakes, then in zip(
        MISTAKES,
        (
            {'type': 'websocket.accept', 'headers': None, 'subprotocol': ''},
            {'type': 'websocket.close', 'code': None, 'reason': None},
        ),
        strict=True,
    ):
        for message, says in mistakes:
            try:
                await ws._send(message)
            except Exception as exc:
                SEEN.append((says, str(exc)))
        await ws._send(then)


async def returns_a_value(scope, receive, send):
    await send({'type': 'websocket.accept'})
    return 123


GO = threading.Event()

ENDPOINTS = (
    echo,
    echo_json,
    scope,
    chooses,
    chooses_wrong,
    naps,
    refuses,
    refuses_with_a_body,
    refuses_in_pieces,
    forgets,
    raises_before,
    raises_after,
    returns,
    floods,
    waits,
    misuses,
    pours,
    refuses_badly,
    closes_in_a_flood,
    returns_in_a_flood,
    raises_in_a_flood,
    relays,
    relays_before,
    refuses_nobody,
    hesitates,
    where,
    gathers,
    sets_two_cookies,
    refuses_without_a_body,
    raises_while_it_refuses,
    refuses_as_told,
    errs,
)


@contextlib.contextmanager
def serving(**options):
    """uvicorn in a thread, on a port of its own."""
    routed = Starlette(routes=[Route('/', home), *(WebSocketRoute(f'/{f.__name__}', f) for f in ENDPOINTS)])

    async def app(scope, receive, send):  # Starlette drops what its endpoints return
        return await (returns_a_value if scope.get('path') == '/returns_a_value' else routed)(scope, receive, send)

    options = {'ws': 'pyjows.asgi:WebSocketProtocol', 'host': '127.0.0.1', 'port': 0, 'log_config': None, **options}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, 'uvicorn')
    name = server.servers[0].sockets[0].getsockname()
    port = name if isinstance(name, str) else name[1]
    try:
        yield Server(server, port, thread)
    finally:
        GO.set()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Server:
    def __init__(self, server, port, thread):
        self.server, self.port, self.thread = server, port, thread

    def url(self, path):
        return f'ws://127.0.0.1:{self.port}/{path}'

    def connect(self, path, **options):
        return connect(self.url(path), max_size=None, **options)

    def asking(self, path):
        """A socket over which an upgrade request was sent."""
        sock = socket.create_connection(('127.0.0.1', self.port), 20)
        sock.sendall(asked(f'GET /{path} HTTP/1.1'))
        return sock

    def raw(self, path):
        """A socket over which a WebSocket was opened."""
        sock = self.asking(path)
        answer = b''
        while b'\r\n\r\n' not in answer:
            answer += sock.recv(1) or b'\r\n\r\n'
        assert answer.startswith(b'HTTP/1.1 101 ')
        return sock


@pytest.fixture(scope='module', params=['asyncio', 'uvloop'])
def server(request):
    pytest.importorskip(request.param)
    with serving(loop=request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def clean():
    SEEN.clear()
    GO.clear()


def last_seen(number=1):
    until(lambda: len(SEEN) >= number, f'{number} things seen by the application')
    return SEEN[number - 1]


def reading_is_paused(server):
    """Whether a connection of the server has told its transport to read no further."""
    return any(not connection.transport.is_reading() for connection in server.server.server_state.connections)


def has_settled(measure, seen):
    """Whether `measure()` has not changed since the last look, and was not 0; `seen` has what was measured."""
    time.sleep(0.1)
    seen.append(measure())
    return seen[-2] == seen[-1] > 0


def rest(sock):
    """All that comes until the server ends its half."""
    data = b''
    while more := sock.recv(65536):
        data += more
    return data


def test_text_and_binary_come_back(server):
    with server.connect('echo') as ws:
        for message in ('Hello', '', 'Grüße 👋', b'\x00\xff', b'', 'x' * 200_000, bytes(1_000_000)):
            ws.send(message)
            assert ws.recv() == message


def test_fragments_are_one_message(server):
    with server.connect('echo') as ws:
        ws.send(['a', 'ä', 'b'])
        assert ws.recv() == 'aäb'
        ws.send([b'1', b'2'])
        assert ws.recv() == b'12'


def test_json_comes_back(server):
    with server.connect('echo_json') as ws:
        for value in ({'a': [1, None, 'ä']}, 'x', 7):
            ws.send(json.dumps(value))
            assert json.loads(ws.recv()) == {'echo': value}


def test_messages_are_compressed_where_the_client_likes_it(server):
    with server.connect('echo') as ws:
        assert [extension.name for extension in ws.protocol.extensions] == ['permessage-deflate']
        ws.send('hello ' * 1000)
        assert ws.recv() == 'hello ' * 1000
    with server.connect('echo', compression=None) as ws:
        assert ws.protocol.extensions == []
        ws.send('hello ' * 1000)
        assert ws.recv() == 'hello ' * 1000


def test_a_burst_is_answered_in_order(server):
    sock = server.raw('echo')
    sock.sendall(b''.join(frame(TEXT, b'%d' % i) for i in range(500)))
    data = b''
    while not data.endswith(b'499'):
        more = sock.recv(65536)
        assert more, 'the server closed'
        data += more
    assert [payload for _, _, _, payload in read(data)] == [b'%d' % i for i in range(500)]
    sock.close()


def test_a_hundred_connections_at_a_time(server):
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: stack.enter_context(server.connect('echo')), range(100)))
        for turn in range(3):
            for i, ws in enumerate(clients):
                ws.send(f'{turn} {i}')
            for i, ws in enumerate(clients):
                assert ws.recv(20) == f'{turn} {i}'
        list(pool.map(lambda ws: ws.close(), clients))
    until(lambda: not server.server.server_state.connections, 'all connections to end')
    until(lambda: not server.server.server_state.tasks, 'all tasks to end')


def test_the_application_is_told_about_the_request(server):
    with server.connect('scope?room=%C3%A4', subprotocols=['v2', 'v1'], additional_headers={'X-Name': 'ä'}) as ws:
        found = json.loads(ws.recv())
        assert ws.local_address == tuple(found['client'])
        assert ws.remote_address == tuple(found['server'])
    assert found['type'] == 'websocket'
    assert (found['http_version'], found['scheme']) == ('1.1', 'ws')
    assert (found['path'], found['raw_path'], found['query']) == ('/scope', '/scope', 'room=%C3%A4')
    assert found['subprotocols'] == ['v2', 'v1']
    assert found['headers']['x-name'] in ('ä', 'Ã¤')
    assert found['headers']['upgrade'] == 'websocket'
    assert found['asgi']['spec_version'] == '2.4'
    assert found['extensions'] == {'websocket.http.response': {}}


def test_the_application_chooses_subprotocol_headers_and_code(server):
    with server.connect('chooses', subprotocols=['v1', 'v2']) as ws:
        assert ws.subprotocol == 'v2'
        assert ws.response.headers['X-Name'] == 'value'
        assert ws.response.headers['Set-Cookie'] == 'a=1'
        assert ws.response.headers['Server'] == 'uvicorn'
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.protocol.close_rcvd == Close(4001, 'chosen')


def test_a_subprotocol_that_was_not_offered_is_the_applications_fault(server):
    with pytest.raises(InvalidStatus) as caught:
        server.connect('chooses_wrong', subprotocols=['v1'])
    assert caught.value.response.status_code == 500
    assert 'nobody' in last_seen()


@pytest.mark.parametrize(
    ('code', 'reason', 'told'),
    [(1000, '', 1000), (1001, 'bye', 1001), (4999, 'ä', 4999), (None, '', 1005)],
)
def test_the_application_is_told_the_clients_code(server, code, reason, told):
    sock = server.raw('echo')
    payload = b'' if code is None else code.to_bytes(2, 'big') + reason.encode()
    sock.sendall(frame(CLOSE, payload))
    assert read(rest(sock)) == [(CLOSE, True, 0, payload)]
    sock.close()
    assert last_seen() == {'type': 'websocket.disconnect', 'code': told, 'reason': reason}


def test_what_comes_after_the_end_is_ignored(server):
    with server.connect('echo') as ws:
        ws.send('hello')
        assert ws.recv() == 'hello'
        connections = server.server.server_state.connections
        [connection] = [one for one in connections if isinstance(one, WebSocketProtocol)]
    until(lambda: connection not in connections, 'the end of the connection')
    connection.data_received(frame(PONG, masked=True))


def test_a_client_that_vanishes_is_1006(server):
    sock = server.raw('echo')
    sock.close()
    assert last_seen() == {'type': 'websocket.disconnect', 'code': 1006, 'reason': ''}


def test_a_client_that_breaks_the_rules_is_told_so(server):
    for bad, code in ((frame(TEXT, b'\xff'), 1007), (frame(CONT), 1002), (frame(TEXT, masked=False), 1002)):
        SEEN.clear()
        sock = server.raw('echo')
        sock.sendall(bad)
        [(opcode, _, _, payload)] = read(rest(sock))
        assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, 'big'))
        sock.close()
        assert last_seen()['code'] == code


def test_pings_are_answered(server):
    sock = server.raw('echo')
    sock.sendall(frame(PING, b'there?'))
    assert read(sock.recv(100)) == [(PONG, True, 0, b'there?')]
    sock.close()


def test_a_message_of_endless_empty_fragments_ends_with_1009(server):
    sock = server.raw('echo')
    sock.sendall(frame(BINARY, b'', fin=False) + frame(CONT, b'', fin=False) * 131_072)
    [(opcode, _, _, payload)] = read(rest(sock))
    assert (opcode, payload[:2]) == (CLOSE, (1009).to_bytes(2, 'big'))
    sock.close()


def test_a_client_that_pings_and_reads_nothing_is_not_read_for_ever(server):
    pings = frame(PING, bytes(125)) * 1000
    sent = 0
    with server.raw('echo') as sock:
        sock.settimeout(1)
        with pytest.raises(TimeoutError):  # the kernel's buffers are full: no more is read
            while sent < 200_000_000:
                sent += sock.send(pings[sent % len(pings) :])


def test_a_refusal_is_a_403(server):
    with pytest.raises(InvalidStatus) as caught:
        server.connect('refuses')
    assert caught.value.response.status_code == 403


def test_a_refusal_may_have_a_body(server):
    with pytest.raises(InvalidStatus) as caught:
        server.connect('refuses_with_a_body')
    response = caught.value.response
    assert (response.status_code, response.body) == (404, b'not here')
    assert response.headers['X-Why'] == 'because'
    assert response.headers['Content-Type'].startswith('text/plain')


def test_a_refusal_may_come_in_pieces(server):
    with pytest.raises(InvalidStatus) as caught:
        server.connect('refuses_in_pieces')
    response = caught.value.response
    assert (response.status_code, response.body) == (429, b'not now')
    assert response.headers['Retry-After'] == '5'
    assert last_seen(2)['type'] == 'websocket.disconnect'


def test_a_refusal_that_was_begun_is_sent_without_a_body_when_the_application_returns(server):
    with pytest.raises(InvalidStatus) as caught:
        server.connect('refuses_without_a_body')
    response = caught.value.response
    assert (response.status_code, response.body) == (404, b'')
    assert response.headers.get_all('X-Why') == ['because', 'so']
    assert response.headers['Content-Length'] == '0'


@pytest.mark.parametrize(('status', 'body'), [(403, b'because'), (204, b''), (304, b'')])
def test_a_refusal_has_the_length_that_is_sent_and_no_body_where_its_status_has_none(server, status, body):
    with server.asking(f'refuses_as_told?{status}') as sock:
        head, _, sent = rest(sock).partition(b'\r\n\r\n')
    assert sent == body
    assert b'transfer-encoding' not in head.lower()
    assert head.lower().count(b'content-length') == bool(body)
    assert (f'Content-Length: {len(body)}'.encode() in head) == bool(body)


def test_a_message_with_a_wrong_value_raises_what_to_write_and_the_connection_goes_on(server):
    with server.connect('errs') as ws, pytest.raises(ConnectionClosed):
        ws.recv()
    assert ws.protocol.close_rcvd == Close(1000, '')
    mistakes = [says for some in MISTAKES for _, says in some]
    last_seen(len(mistakes))
    assert [says for says, told in SEEN if says in told] == mistakes


def test_two_headers_of_one_name_are_sent_when_the_application_accepts(server):
    with server.connect('sets_two_cookies') as ws:
        assert ws.response.headers.get_all('Set-Cookie') == ['a=1', 'b=2']


@pytest.mark.parametrize('path', ['forgets', 'raises_before', 'raises_while_it_refuses'])
def test_an_application_that_gives_no_answer_is_a_500(server, path):
    with pytest.raises(InvalidStatus) as caught:
        server.connect(path)
    assert caught.value.response.status_code == 500


@pytest.mark.parametrize('path', ['raises_after', 'returns_a_value'])
def test_an_application_that_raises_or_returns_a_value_closes_with_1011(server, path):
    with server.connect(path) as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.protocol.close_rcvd.code == 1011


def test_an_application_that_returns_closes_with_1000(server):
    with server.connect('returns') as ws:
        assert ws.recv() == 'bye'
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.protocol.close_rcvd.code == 1000


def test_a_bad_request_never_gets_to_the_application(server):
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)
    connection.request('GET', '/echo', headers={'Upgrade': 'websocket', 'Connection': 'Upgrade'})
    response = connection.getresponse()
    assert response.status == 400
    assert b'Sec-WebSocket-Key' in response.read()
    connection.close()


def test_plain_requests_share_the_port(server):
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)
    connection.request('GET', '/')
    assert connection.getresponse().read() == b'hello'
    connection.close()


def test_a_message_that_does_not_belong_here_is_an_error(server):
    with server.connect('misuses') as ws:
        found = json.loads(ws.recv())
    assert ["'websocket.accept'" in text for text in found] == [True, True, True, False]
    assert all('but got' in text for text in found)
    assert "after sending 'websocket.close'" in last_seen()


def test_an_application_may_listen_in_several_places(server):
    with server.connect('gathers') as ws:
        assert ws.recv() == 'ready'
        ws.send('a')
        ws.send('b')
        assert json.loads(ws.recv()) == ['a', 'b']


def test_a_lot_in_one_turn_comes_in_order(server):
    with server.connect('pours') as ws:
        assert [ws.recv() for _ in range(100)] == [f'{i}' * 1000 for i in range(100)]


def test_a_refusal_has_a_status_and_a_body(server):
    with pytest.raises(InvalidStatus) as caught:
        server.connect('refuses_badly')
    assert caught.value.response.status_code == 599
    assert "'101'" in last_seen(1)
    assert 'websocket.http.response.body' in last_seen(2)


@pytest.mark.parametrize(
    ('path', 'payload'),
    [
        ('closes_in_a_flood', b'\x03\xf0'),
        ('returns_in_a_flood', b'\x03\xe8'),
        ('raises_in_a_flood', b'\x03\xf3'),
    ],
)
def test_a_close_gets_through_a_flood(server, path, payload):
    with server.raw(path) as sock:
        sender = threading.Thread(target=sock.sendall, args=(frame(BINARY, bytes(60000)) * 50 + frame(CLOSE),))
        sender.start()
        until(lambda: reading_is_paused(server), 'back pressure')
        GO.set()
        assert read(rest(sock)) == [(CLOSE, True, 0, payload)]
        sender.join(30)


def test_an_application_that_fails_because_another_client_is_gone_closes_with_1011(server, caplog):
    with server.connect('relays') as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv(20)
        assert ws.protocol.close_rcvd.code == 1011
    with pytest.raises(InvalidStatus) as caught:
        server.connect('relays_before')
    assert caught.value.response.status_code == 500
    assert caplog.text.count('Exception in ASGI application') == 2


def test_the_body_of_a_refusal_that_nobody_waits_for_is_for_a_client_that_is_gone(server):
    with server.asking('refuses_nobody'):
        assert last_seen() == 'begun'
    last_seen(4)
    assert SEEN == ['begun', 1006, 'ClientDisconnected', 'ClientDisconnected']


def test_a_client_may_leave_before_the_answer(server):
    with server.asking('hesitates'):
        assert last_seen() == 'asked'
    assert last_seen(2) == {'type': 'websocket.disconnect', 'code': 1006, 'reason': ''}


def test_a_client_that_does_not_read_stops_the_application(server):
    sock = server.raw('floods')
    [task] = server.server.server_state.tasks
    [connection] = [each for each in server.server.server_state.connections if hasattr(each, 'transport')]
    sizes = [-1]
    until(lambda: has_settled(connection.transport.get_write_buffer_size, sizes), 'back pressure')
    assert sizes[-1] < 1_000_000
    assert not task.done()
    sock.close()
    assert last_seen() == 'ClientDisconnected'


def test_an_application_that_does_not_read_stops_the_client(server):
    with server.raw('waits') as sock:
        sender = threading.Thread(target=sock.sendall, args=(frame(BINARY, bytes(60000)) * 1000,))
        sender.start()
        until(lambda: reading_is_paused(server), 'back pressure')
        GO.set()
        sender.join(30)
        answer = b''
        while len(answer) < len(b'..all'):
            answer += sock.recv(65536)
        sock.sendall(frame(CLOSE, b'\x03\xe8'))
        assert read(answer + rest(sock)) == [(TEXT, True, 0, b'all'), (CLOSE, True, 0, b'\x03\xe8')]


def test_the_limit_of_a_message_is_the_servers():
    with serving(ws_max_size=1000) as server:
        with server.connect('echo') as ws:
            ws.send('x' * 1000)
            assert ws.recv() == 'x' * 1000
            ws.send('x' * 1001)
            with pytest.raises(ConnectionClosed):
                ws.recv()
            assert ws.protocol.close_rcvd.code == 1009
        assert last_seen()['code'] == 1009


@pytest.mark.parametrize(('date', 'count'), [(True, 1), (False, 0)])
def test_the_answer_has_a_date_where_the_server_is_to_send_one(date, count):
    with serving(date_header=date) as server, server.connect('echo') as ws:
        assert len(ws.response.headers.get_all('Date')) == count


def test_compression_can_be_switched_off():
    with serving(ws_per_message_deflate=False) as server, server.connect('echo') as ws:
        assert ws.protocol.extensions == []


def test_a_client_that_is_silent_is_pinged_and_given_up():
    with serving(ws_ping_interval=0.05, ws_ping_timeout=0.05) as server:
        sock = server.raw('echo')
        found = read(rest(sock))
        assert found[0] == (PING, True, 0, b'')
        assert found[-1] == (CLOSE, True, 0, b'\x03\xf3keepalive ping timeout')
        sock.close()
        assert last_seen() == {'type': 'websocket.disconnect', 'code': 1011, 'reason': 'keepalive ping timeout'}


def test_a_client_that_answers_pings_is_kept():
    with serving(ws_ping_interval=0.05, ws_ping_timeout=20) as server:
        sock = server.raw('echo')
        for _ in range(3):
            assert read(sock.recv(2)) == [(PING, True, 0, b'')]
            sock.sendall(frame(PONG))
        sock.close()


def test_the_fault_of_an_application_that_does_not_receive_is_not_the_clients():
    flood = frame(BINARY, bytes(1 << 20)) * 8 + frame(TEXT, b'z')
    with serving(ws_ping_interval=0.05, ws_ping_timeout=20) as server:
        sock = server.raw('naps')
        sender = threading.Thread(target=sock.sendall, args=[flood])
        sender.start()
        until(lambda: reading_is_paused(server), 'reading to pause')
        server.server.config.ws_ping_timeout = 0.05  # from now on, when no answer of the client is read
        time.sleep(0.5)
        GO.set()
        data = bytearray()
        while b'awake' not in data:
            assert (piece := sock.recv(1000)), bytes(data)
            data += piece
        sender.join(30)
        sock.close()


def test_a_server_that_stops_says_so():
    with serving() as server:
        with server.connect('echo') as ws:
            server.server.should_exit = True
            with pytest.raises(ConnectionClosed):
                ws.recv()
            assert ws.protocol.close_rcvd.code == 1012
    assert last_seen()['code'] == 1012


def test_a_server_that_stops_answers_who_waits():
    with ThreadPoolExecutor(1) as pool, serving() as server:
        waiting = pool.submit(server.connect, 'hesitates')
        assert last_seen() == 'asked'
        server.server.should_exit = True
        with pytest.raises(InvalidStatus) as caught:
            waiting.result(20)
        assert caught.value.response.status_code == 500


def test_a_connection_may_be_encrypted(tmp_path):
    trustme = pytest.importorskip('trustme')
    authority = trustme.CA()
    certificate = authority.issue_cert('localhost')
    certificate.private_key_pem.write_to_path(tmp_path / 'key.pem')
    certificate.cert_chain_pems[0].write_to_path(tmp_path / 'cert.pem')
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # for the blocking client: see tls_files in test_proxied.py
    with serving(ssl_keyfile=str(tmp_path / 'key.pem'), ssl_certfile=str(tmp_path / 'cert.pem')) as server:
        with connect(f'wss://localhost:{server.port}/scope', ssl=context) as ws:
            assert json.loads(ws.recv())['scheme'] == 'wss'
        with connect(f'wss://localhost:{server.port}/chooses', ssl=context, subprotocols=['v2']) as ws:
            with pytest.raises(ConnectionClosed):
                ws.recv()
            assert ws.protocol.close_rcvd.code == 4001


def test_a_connection_may_come_over_a_unix_socket(socket_folder):
    path = str(socket_folder / 'uvicorn.sock')
    with serving(uds=path), unix_connect(path, 'ws://localhost/where') as ws:
        assert json.loads(ws.recv()) == {'client': None, 'server': [path, None]}


def test_openings_are_logged(caplog):
    with caplog.at_level(logging.INFO, 'uvicorn.error'), serving() as server:
        with server.connect('echo?a=1'):
            pass
        with contextlib.suppress(InvalidStatus):
            server.connect('refuses')
    assert '"WebSocket /echo?a=1" [accepted]' in caplog.text
    assert '"WebSocket /refuses" 403' in caplog.text
