"""`serve()`, on every reactor, over real sockets: listening, plain HTTP, upgrading, broadcasting, stopping."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import weakref
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from byhand import log

import pyjows
from pyjows import ConnectionClosed, Response


def get(path: str = '/', *headers: str, keep: bool = False) -> bytes:
    lines = [f'GET {path} HTTP/1.1', 'Host: a', *headers, *([] if keep else ['Connection: close'])]
    return '\r\n'.join([*lines, '', '']).encode()


# Connections


def test_a_server_and_its_clients_talk(ioloop, server, run_until):
    @server.on
    def websocket(server, ws):
        ws.on('message', lambda ws, message: ws.send(message))

    seen = []
    for i in range(10):
        ws = pyjows.connect(server.urls[0], ioloop=ioloop)
        ws.send(text=f'hello {i}')
        ws.on('text', lambda ws, text: (seen.append(text), ws.finish(1000)))
    run_until(ioloop, lambda: len(seen) == 10 and not server.connections)
    assert sorted(seen) == [f'hello {i}' for i in range(10)]


def test_a_websocket_handler_acts_before_the_101(ioloop, server, run_until):
    order = []

    @server.on
    def websocket(server, ws):
        order.append(('websocket', ws.req.target, ws.established))
        ws.on('open', lambda ws: order.append('open'))
        ws.with_protocols('b', 'a')
        ws.send(text='welcome')

    ws = pyjows.connect(f'{server.urls[0]}/room?n=1', ioloop=ioloop, subprotocols=['a', 'b'])
    seen = log(ws, 'open', 'text')
    run_until(ioloop, lambda: len(seen) == 2)
    assert order == [('websocket', '/room?n=1', False), 'open']
    assert seen == [('open',), ('text', 'welcome')]
    assert ws.subprotocol == 'b'
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


def test_connections_are_those_that_are_there_now(ioloop, server, run_until):
    seen = []
    server.on('websocket', lambda server, ws: seen.append(ws))
    assert server.connections == frozenset()
    clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(3)]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    assert server.connections == frozenset(seen)
    clients[0].finish(1000)
    run_until(ioloop, lambda: len(server.connections) == 2 and clients[0].is_finished)
    for ws in clients:
        ws.finish(1000)
    run_until(ioloop, lambda: not server.connections and all(ws.is_finished for ws in clients))


def test_a_connection_knows_its_addresses_also_when_it_is_gone(ioloop, server, run_until):
    theirs = []
    server.on('websocket', lambda server, ws: theirs.append(ws))
    ours = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ours.established)
    for _ in range(2):
        assert theirs[0].local_address == theirs[0].remote_address == '127.0.0.1'
        assert theirs[0].local_port == ours.remote_port == server.ports[0]
        assert theirs[0].remote_port == ours.local_port
        ours.finish(1000)
        run_until(ioloop, lambda: ours.is_finished and theirs[0].is_finished)


def test_a_connection_has_the_id_of_its_stream(ioloop, server, run_until):
    theirs = []
    server.on('websocket', lambda server, ws: theirs.append(ws))
    ours = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ours, 'connection')
    run_until(ioloop, lambda: ours.established)
    assert seen == [('connection', ours.connection)]
    assert {ours.connection, theirs[0].connection} == set(ioloop.connections)
    ours.finish()
    run_until(ioloop, lambda: not server.connections and ours.is_finished)


def test_a_finished_connection_is_held_by_nothing(ioloop, server, run_until):
    theirs = []
    server.on('websocket', lambda server, ws: theirs.append(weakref.ref(ws)))
    ours = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ours.established)
    ours.finish(1000)
    run_until(ioloop, lambda: not server.connections and ours.is_finished and not ioloop.connections)
    gc.collect()
    assert theirs[0]() is None


def test_options_of_the_transaction_go_to_every_connection(ioloop, run_until):
    server = pyjows.serve(
        'ws://127.0.0.1:0',
        ioloop=ioloop,
        max_websocket_size=100,
        compression=True,
        subprotocols=['v2', 'v1'],
        headers={'X-Served-By': 'pyjows'},
    )
    theirs = []
    server.on('websocket', lambda server, ws: theirs.append(ws))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, subprotocols=['v1', 'v2'], compression=True)
    run_until(ioloop, lambda: ws.established)
    assert theirs[0].max_websocket_size == 100
    assert theirs[0].compressed and ws.compressed
    assert ws.subprotocol == 'v2'
    assert ws.res.headers['x-served-by'] == 'pyjows'
    seen = log(ws, 'finish')
    ws.send(text='x' * 101)
    run_until(ioloop, lambda: seen and not server.connections)
    assert seen[0][1] == 1009
    server.stop()


def test_a_peer_that_sends_a_frame_with_its_request_is_served_in_order(ioloop, server, ask):
    @server.on
    def websocket(server, ws):
        ws.on('text', lambda ws, text: ws.send(text=text.upper()).finish(1000))

    request = get('/', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: ' + 'A' * 22 + '==',
                  'Sec-WebSocket-Version: 13', keep=True)  # fmt: skip
    answer = ask(server, request + b'\x81\x82\0\0\0\0hi' + b'\x88\x82\0\0\0\0\x03\xe8')
    head, _, rest = answer.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 101 ')
    assert rest == b'\x81\x02HI\x88\x02\x03\xe8'


def test_the_connection_of_a_request_that_is_rejected_ends(ioloop, server, ask):
    server.on('websocket', lambda server, ws: ws.reject(403, body='no'))
    request = get('/', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: ' + 'A' * 22 + '==',
                  'Sec-WebSocket-Version: 13', keep=True)  # fmt: skip
    answer = ask(server, request)
    assert answer.startswith(b'HTTP/1.1 403 ')
    assert answer.endswith(b'\r\n\r\nno')


# Plain HTTP


def test_without_a_subscriber_plain_http_is_404(server, ask):
    assert ask(server, get()).startswith(b'HTTP/1.1 404 ')


def test_a_request_handler_answers_plain_http(server, ask):
    @server.on
    def request(server, req):
        return Response(200, {'X-Path': req.path, 'Content-Type': 'text/html'}, f'<p>{req.headers["x-who"]}')

    answer = ask(server, get('/page?x=1', 'X-Who: me'))
    head, _, body = answer.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 200 ')
    assert b'x-path: /page' in head.lower()
    assert body == b'<p>me'


def test_the_first_handler_that_answers_wins(server, ask):
    called = []
    server.on('request', lambda server, req: called.append('none'))
    server.on('request', lambda server, req: Response(200, body='second'))
    server.on('request', lambda server, req: called.append('never'))
    assert ask(server, get()).endswith(b'\r\n\r\nsecond')
    assert called == ['none']


def test_requests_on_one_connection_are_answered_in_order_and_the_last_may_upgrade(ioloop, server, ask):
    kept = []
    server.on('request', lambda server, req: Response(200, body=req.path))

    @server.on
    def websocket(server, ws):
        kept.append(ws.kept_alive)
        ws.finish(1000)

    upgrade = get('/', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: ' + 'A' * 22 + '==',
                  'Sec-WebSocket-Version: 13', keep=True)  # fmt: skip
    answer = ask(server, get('/1', keep=True) + get('/2', keep=True) + upgrade + b'\x88\x82\0\0\0\0\x03\xe8')
    assert answer.index(b'\r\n\r\n/1') < answer.index(b'\r\n\r\n/2') < answer.index(b'101 Switching')
    assert answer.endswith(b'\x88\x02\x03\xe8')
    assert kept == [True]


@pytest.mark.wide(later=True)
def test_thousands_of_requests_sent_at_once_are_answered_one_after_the_other(server, ask):
    server.on('request', lambda server, req: Response(200, body=f'<{req.path}>'))
    answer = ask(server, b''.join(get(f'/{i}', keep=True) for i in range(3000)) + get('/last'))
    assert answer.count(b'HTTP/1.1 200 ') == 3001
    assert answer.index(b'</0>') < answer.index(b'</1500>') < answer.index(b'</2999>') < answer.index(b'</last>')


def test_a_request_handler_that_raises_is_an_error_and_500(server, ask):
    seen = log(server, 'error')
    server.on('request', lambda server, req: 1 / 0)
    assert ask(server, get()).startswith(b'HTTP/1.1 500 ')
    assert [type(exc) for _, exc in seen] == [ZeroDivisionError]


def test_a_request_handler_that_raises_is_logged_where_nobody_listens(server, ask, caplog):
    server.on('request', lambda server, req: 1 / 0)
    with caplog.at_level(logging.ERROR, 'pyjows'):
        assert ask(server, get()).startswith(b'HTTP/1.1 500 ')
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_plain_request_handler_that_returns_a_coroutine_needs_a_loop_that_runs_coroutines(server, ask):
    errors = []
    server.on('error', lambda server, exc: errors.append(exc))

    async def answer():
        return pyjows.Response.text('hello')

    server.on('request', lambda server, req: answer())
    got = ask(server, b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    if server.ioloop.reactor.can_spawn:
        assert got.startswith(b'HTTP/1.1 200 ')
    else:
        assert got.startswith(b'HTTP/1.1 500 ')
        assert 'runs no coroutines' in str(errors[0])


def test_a_request_handler_that_returns_something_else_is_an_error_and_500(server, ask):
    seen = log(server, 'error')
    server.on('request', lambda server, req: 'page')
    assert ask(server, get()).startswith(b'HTTP/1.1 500 ')
    ((_, exc),) = seen
    assert isinstance(exc, TypeError)
    assert 'Response' in str(exc)


def test_a_coroutine_answers_where_the_reactor_can_run_it(ioloop, server, ask):
    async def request(server, req):
        return Response(200, body='later')

    if not ioloop.reactor.can_spawn:
        with pytest.raises(RuntimeError, match='asyncio'):
            server.on(request)
        return
    server.on(request)
    assert ask(server, get()).endswith(b'\r\n\r\nlater')


def test_requests_wait_for_the_coroutine_that_answers_the_one_before(ioloop, server, ask, coroutines):
    order = []

    @server.on
    async def request(server, req):
        order.append(('begins', req.path))
        await asyncio.sleep(0.01)
        order.append(('ends', req.path))
        return Response(200, body=f'<{req.path}>')

    @server.on
    def websocket(server, ws):
        order.append(('upgrades', ws.req.path))
        ws.finish(1000)

    upgrade = get('/ws', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: ' + 'A' * 22 + '==',
                  'Sec-WebSocket-Version: 13', keep=True)  # fmt: skip
    answer = ask(server, get('/1', keep=True) + get('/2', keep=True) + upgrade + b'\x88\x82\0\0\0\0\x03\xe8')
    assert order == [('begins', '/1'), ('ends', '/1'), ('begins', '/2'), ('ends', '/2'), ('upgrades', '/ws')]
    assert answer.index(b'</1>') < answer.index(b'</2>') < answer.index(b'101 Switching')


def test_a_coroutine_that_answers_a_client_that_has_gone_disturbs_nobody(ioloop, server, run_until, coroutines):
    seen = log(server, 'error')
    asked, answered = [], []

    @server.on
    async def request(server, req):
        asked.append(req)
        while ioloop.connections:
            await asyncio.sleep(0.001)
        answered.append(req)
        return Response(200, body='nobody reads this')

    @ioloop.client(port=server.ports[0])
    def client(loop, err, stream):
        stream.write(get(keep=True))

    run_until(ioloop, lambda: asked)
    for stream in ioloop.connections.values():
        stream.close()
    run_until(ioloop, lambda: answered)
    assert seen == []


@pytest.mark.parametrize('status', [99, 101, 'x'])
def test_a_response_that_cannot_be_sent_is_an_error_and_500(server, ask, status):
    seen = log(server, 'error')
    server.on('request', lambda server, req: Response(status))
    assert ask(server, get()).startswith(b'HTTP/1.1 500 ')
    assert len(seen) == 1


def test_a_coroutine_handles_messages_where_the_reactor_can_run_it(ioloop, server, run_until):
    refused = []

    @server.on
    def websocket(server, ws):
        async def text(ws, message):
            ws.send(text=message[::-1])

        try:
            ws.on(text)
        except RuntimeError as exc:
            refused.append(str(exc))
            ws.send(text='refused')

    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    ws.send(text='abc')
    seen = log(ws, 'text')
    run_until(ioloop, lambda: seen)
    if ioloop.reactor.can_spawn:
        assert seen == [('text', 'cba')]
    else:
        assert seen == [('text', 'refused')]
        assert 'asyncio' in refused[0]
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished and not server.connections)


# Where it listens


def test_a_server_listens_on_several_urls(ioloop, run_until, assert_idle, socket_folder):
    path = socket_folder / 'ws.sock'
    urls = ['ws://127.0.0.1:0', f'ws+unix://{path}', 'ws://localhost:0']
    server = pyjows.serve(*urls, ioloop=ioloop)
    assert len(server.urls) == 3
    assert len(server.ports) == 2
    assert all(port > 0 for port in server.ports)
    assert server.urls[0] == f'ws://127.0.0.1:{server.ports[0]}'
    assert server.urls[1] == f'ws+unix://{path}'
    assert repr(server) == f'<Server {" ".join(server.urls)} connections=0>'
    clients = [pyjows.connect(url, ioloop=ioloop) for url in server.urls]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    assert len(server.connections) == 3
    server.stop()
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients) and not server.connections)
    assert not path.exists()
    assert_idle(ioloop)


@pytest.mark.usefixtures('ipv6')
def test_a_server_listens_on_ipv6(ioloop, run_until):
    server = pyjows.serve('ws://[::1]:0', ioloop=ioloop)
    assert server.urls[0] == f'ws://[::1]:{server.ports[0]}'
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    assert ws.remote_address == '::1'
    server.stop()
    run_until(ioloop, lambda: ws.is_finished and not server.connections)


def test_a_server_speaks_tls(ioloop, run_until, assert_idle):
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost', '127.0.0.1').configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=theirs)
    server.on('websocket', lambda server, ws: ws.on('message', lambda ws, message: ws.send(message)))
    assert server.urls[0].startswith('wss://')
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, tls=ours)
    seen = log(ws, 'binary', 'error')
    ws.send(b'x' * 200_000).send(b'y')
    run_until(ioloop, lambda: len(seen) == 2)
    assert seen == [('binary', b'x' * 200_000), ('binary', b'y')]
    server.stop()
    run_until(ioloop, lambda: ws.is_finished and not server.connections and not ioloop.connections)
    assert_idle(ioloop)


@pytest.mark.parametrize(
    ('urls', 'options', 'says'),
    [
        ((), {}, 'at least one URL'),
        (('127.0.0.1:3000',), {}, '127.0.0.1:3000'),
        (('wss://127.0.0.1:0',), {}, 'tls='),
        (('ws://127.0.0.1:99999',), {}, '99999'),
        (('ws://127.0.0.1:0',), {'max_size': 5}, 'max_size'),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(ioloop, urls, options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        pyjows.serve(*urls, ioloop=ioloop, **options)
    assert not ioloop.acceptors


def test_a_port_in_use_is_an_oserror_and_leaves_nothing_behind(ioloop):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    with pytest.raises(OSError, match=str(server.ports[0])):
        pyjows.serve('ws://127.0.0.1:0', server.urls[0], ioloop=ioloop)
    assert len(ioloop.acceptors) == 1
    server.stop()


# Broadcast


def test_a_broadcast_reaches_every_connection(ioloop, server, run_until):
    clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(5)]
    seen = [log(ws, 'text') for ws in clients]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    assert server.broadcast(text='all') == (5, [])
    some = list(server.connections)[:2]
    assert server.broadcast(json=['some'], to=some) == (2, [])
    run_until(ioloop, lambda: sum(map(len, seen)) == 7)
    assert all(events[0] == ('text', 'all') for events in seen)
    assert sum(events[1:] == [('text', '["some"]')] for events in seen) == 2


def test_a_broadcast_skips_a_receiver_that_is_too_far_behind(ioloop, server, run_until):
    theirs = {}
    server.on('websocket', lambda server, ws: theirs.setdefault(ws.req.path, ws))
    fast, slow = (pyjows.connect(f'{server.urls[0]}/{name}', ioloop=ioloop) for name in ('fast', 'slow'))
    run_until(ioloop, lambda: fast.established and slow.established)
    ioloop.stream(slow.connection).stop()
    theirs['/slow'].send(binary=b'x' * 30_000_000)
    theirs['/slow'].flush()
    assert theirs['/slow'].buffered_amount > ioloop.stream(theirs['/slow'].connection).high_water_mark
    seen = log(fast, 'text')
    assert server.broadcast(text='news') == (1, [theirs['/slow']])
    run_until(ioloop, lambda: seen)
    ioloop.stream(slow.connection).close()
    run_until(ioloop, lambda: len(server.connections) == 1)


def test_a_broadcast_skips_and_reports_the_closing(ioloop, server, run_until):
    clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(2)]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    closing = next(iter(server.connections)).finish(1000)
    with pytest.raises(ConnectionClosed):
        closing.send(text='x')
    assert server.broadcast(text='x') == (1, [closing])


# Stopping


def test_a_stopped_server_says_1001_and_finishes_when_all_are_gone(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(3)]
    seen = [log(ws, 'finish') for ws in clients]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    order = []
    server.on('finish', lambda server: order.append(len(server.connections)))
    assert server.stop() is server
    assert order == []
    server.stop()
    run_until(ioloop, lambda: order and all(seen))
    assert order == [0]
    assert seen == [[('finish', 1001, '')]] * 3
    late = pyjows.connect(server.urls[0], ioloop=ioloop)
    failed = log(late, 'error', 'finish')
    run_until(ioloop, lambda: len(failed) == 2)
    assert failed[1][1] == 1006
    assert_idle(ioloop)


def test_a_server_may_stop_with_a_code_and_reason_of_its_own(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'finish')
    run_until(ioloop, lambda: ws.established)
    server.stop(1012, 'back soon')
    run_until(ioloop, lambda: seen and not server.connections)
    assert seen == [('finish', 1012, 'back soon')]


def test_a_bad_code_stops_nothing(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    for why in ((1006,), (999,), (1000, 'x' * 124)):
        with pytest.raises(ValueError):
            server.stop(*why)
    assert len(server.connections) == 1
    assert len(ioloop.acceptors) == 1


@pytest.mark.parametrize('listens', [True, False])
def test_a_finish_handler_that_raises_keeps_nothing_open(ioloop, run_until, assert_idle, caplog, listens):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('finish', lambda server: 1 / 0)
    seen = log(server, 'error') if listens else caplog.records
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    server.stop()
    run_until(ioloop, lambda: ws.is_finished and seen and not ioloop.connections)
    assert len(seen) == 1
    assert_idle(ioloop)


def test_an_idle_server_stops_at_once(ioloop, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    seen = log(server, 'finish')
    server.stop()
    assert seen == [('finish',)]
    assert_idle(ioloop)


@pytest.mark.slow
def test_a_server_that_stops_does_not_wait_for_an_idle_client_that_keeps_its_end_open(ioloop, run_until, assert_idle):
    """As browsers do: they look at their idle connections when they want one."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('request', lambda server, req: pyjows.Response.text('hello'))
    finished = log(server, 'finish')
    with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
        sock.sendall(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        sock.setblocking(False)
        answer = bytearray()

        def answered():
            with suppress(BlockingIOError):
                answer.extend(sock.recv(4096))
            return answer.endswith(b'hello')

        run_until(ioloop, answered)
        server.stop()
        run_until(ioloop, lambda: finished, 6)  # and not after the handshake_timeout of 10 seconds
        assert sock.recv(100) == b''
    assert_idle(ioloop)


def test_a_server_that_stops_ends_those_that_speak_http(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    seen = log(server, 'finish')
    closed = []

    @ioloop.client(port=server.ports[0])
    def client(loop, err, stream):
        stream.on('close', closed.append)
        stream.write(b'GET / HTTP/1.1\r\n')
        loop.timer(0.05)(lambda loop: server.stop())

    run_until(ioloop, lambda: closed and seen and not ioloop.connections)
    assert_idle(ioloop)


def test_a_peer_that_ignores_the_close_is_let_go_after_the_close_timeout(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, close_timeout=0.05)
    seen = []
    server.on('websocket', lambda server, ws: ws.on('finish', lambda ws, *why: seen.append(why)))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    ioloop.stream(ws.connection).stop()
    server.stop()
    run_until(ioloop, lambda: seen)
    assert seen == [(1001, '')]
    ioloop.stream(ws.connection).close()
    run_until(ioloop, lambda: ws.is_finished and not ioloop.connections)
    assert_idle(ioloop)


def test_a_silent_peer_is_pinged_and_one_that_answers_stays(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, ping_interval=0.02, ping_timeout=0.2)
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    pings = []
    ws.on('frame', lambda ws, frame: pings.append(frame.opcode))
    run_until(ioloop, lambda: len(pings) >= 5)
    assert set(pings) == {pyjows.Opcode.PING}
    assert len(server.connections) == 1
    ws.finish(1000)
    run_until(ioloop, lambda: ws.is_finished and not server.connections)
    server.stop()
    assert_idle(ioloop)


def test_a_silent_peer_that_answers_no_ping_is_given_up(ioloop, run_until, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, ping_interval=0.02, ping_timeout=0.2)
    seen = []
    server.on('websocket', lambda server, ws: ws.on('finish', lambda ws, *why: seen.append(why)))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    ioloop.stream(ws.connection).stop()
    run_until(ioloop, lambda: seen)
    [(code, reason)] = seen
    assert (code, reason[:12]) == (1006, 'ping timeout')
    assert server.statistics().causes == {'ping timeout': 1}
    ioloop.stream(ws.connection).close()
    run_until(ioloop, lambda: ws.is_finished)
    server.stop()
    assert_idle(ioloop)


def test_two_servers_share_a_loop_and_stop_apart(ioloop, run_until):
    one, two = (pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop) for _ in range(2))
    clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for server in (one, two)]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    one.stop()
    run_until(ioloop, lambda: clients[0].is_finished and not one.connections)
    assert clients[1].established and not clients[1].is_finished
    two.stop()
    run_until(ioloop, lambda: clients[1].is_finished and not two.connections)


def test_the_port_of_a_stopped_server_can_be_taken_again(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    server.stop()
    run_until(ioloop, lambda: ws.is_finished and not server.connections)
    again = pyjows.serve(server.urls[0], ioloop=ioloop)
    assert again.ports == server.ports
    again.stop()


def test_a_unix_server_cleans_up_its_path(ioloop, socket_folder: Path):
    path = socket_folder / 'chat.sock'
    server = pyjows.serve(f'ws+unix://{path}', ioloop=ioloop)
    assert path.is_socket()
    assert server.ports == []
    server.stop()
    assert not path.exists()
