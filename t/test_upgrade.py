"""What the handlers of an upgrade request may do, on every reactor: accept, reject, raise, and take their time."""

from __future__ import annotations

import asyncio
import logging

import pytest
from byhand import REQUEST, TEXT, frame, log

import pyjows
from pyjows import ConnectionClosed, InvalidState

UPGRADE = REQUEST + b'\r\n'
CLOSE = b'\x88\x82\0\0\0\0\x03\xe8'


def hello(text: bytes = b'hello') -> bytes:
    return frame(TEXT, text, masked=True)


# Handlers that raise


@pytest.mark.parametrize('event', ['websocket', 'request'])
@pytest.mark.parametrize('listens', [True, False])
def test_a_handler_that_raises_refuses_the_upgrade_also_where_error_has_a_subscriber(
    ioloop, server, ask, caplog, event, listens
):
    errors = []

    def fail(*args):
        raise LookupError('who is this?')

    @server.on
    def websocket(server, ws):
        if listens:
            ws.on('error', lambda ws, exc: errors.append(exc))
        if event == 'request':
            ws.on('request', fail)

    if event == 'websocket':
        server.on('websocket', fail)
    with caplog.at_level(logging.ERROR, 'pyjows'):
        assert ask(server, UPGRADE + hello()).startswith(b'HTTP/1.1 500 ')
    assert [type(exc) for exc in errors] == [LookupError] * listens
    assert ('LookupError' in caplog.text) is not listens


def test_an_error_handler_may_choose_the_answer(ioloop, server, ask):
    @server.on
    def websocket(server, ws):
        ws.on('error', lambda ws, exc: ws.reject(401))
        raise LookupError

    assert ask(server, UPGRADE).startswith(b'HTTP/1.1 401 ')


def test_a_handler_that_raises_after_it_accepted_closes_the_connection(ioloop, server, ask):
    @server.on
    def websocket(server, ws):
        ws.accept()
        raise LookupError

    answer = ask(server, UPGRADE + CLOSE)
    assert answer.startswith(b'HTTP/1.1 101 ')
    assert b'\x03\xf3' in answer  # 1011


def test_a_coroutine_that_raises_refuses_the_upgrade(ioloop, server, ask, coroutines):
    errors = []

    @server.on
    async def websocket(server, ws):
        ws.on('error', lambda ws, exc: errors.append(exc))
        await asyncio.sleep(0.01)
        raise LookupError('who is this?')

    assert ask(server, UPGRADE + hello()).startswith(b'HTTP/1.1 500 ')
    assert [str(exc) for exc in errors] == ['who is this?']


def test_a_refusal_says_that_the_connection_ends(ioloop, server, ask):
    server.on('websocket', lambda server, ws: ws.reject(403))
    assert b'\r\nConnection: close\r\n' in ask(server, UPGRADE)
    answer = ask(server, UPGRADE.replace(b'Version: 13', b'Version: 7'))
    assert answer.startswith(b'HTTP/1.1 426 ')
    assert b'\r\nConnection: close\r\n' in answer
    assert b'\r\nConnection: Upgrade\r\n' in answer


# Handlers that accept or reject


def test_a_handler_may_accept_before_it_returns(ioloop, server, ask):
    seen = []

    @server.on
    def websocket(server, ws):
        seen.append(ws.established)
        ws.accept()
        seen.append(ws.established)
        with pytest.raises(InvalidState, match='before the request is answered'):
            ws.accept()
        with pytest.raises(InvalidState, match='before the request is answered'):
            ws.reject()
        ws.on('text', lambda ws, text: (seen.append(text), ws.finish(1000)))

    assert ask(server, UPGRADE + hello() + CLOSE).startswith(b'HTTP/1.1 101 ')
    assert seen == [False, True, 'hello']


def test_an_answer_that_is_not_valid_raises_where_it_is_accepted_and_refuses_the_upgrade(ioloop, server, ask):
    seen = []

    @server.on
    def websocket(server, ws):
        ws.subprotocol = 'not offered'
        try:
            ws.accept()
        except ValueError as exc:
            seen.append(str(exc))
            ws.reject(400)

    assert ask(server, UPGRADE).startswith(b'HTTP/1.1 400 ')
    assert 'did not offer' in seen[0]


def test_the_101_waits_for_the_coroutine(ioloop, server, run_until, coroutines):
    order = []

    @server.on
    async def websocket(server, ws):
        order.append('begins')
        await asyncio.sleep(0.05)
        order.append('ends')
        ws.on('open', lambda ws: order.append('open'))
        ws.on('text', lambda ws, text: (order.append(text), ws.finish(1000)))

    @ioloop.client(port=server.ports[0])
    def client(loop, err, stream):
        stream.on('read', lambda stream, data: order.append(data[:12]))
        stream.on('close', lambda stream: order.append('close'))
        stream.write(UPGRADE + hello(b'early') + CLOSE)

    run_until(ioloop, lambda: 'close' in order)
    assert order[:2] == ['begins', 'ends']
    assert order.index('open') < order.index('early')
    assert order.index('ends') < order.index(b'HTTP/1.1 101')


def test_coroutines_of_one_request_run_one_after_the_other(ioloop, server, ask, coroutines):
    order = []

    def slowly(name):
        async def websocket(server, ws):
            order.append(f'{name} begins')
            await asyncio.sleep(0.01)
            order.append(f'{name} ends')
            if name == 'second':
                ws.finish(1000)

        return websocket

    server.on('websocket', slowly('first'))
    server.on('websocket', slowly('second'))
    assert ask(server, UPGRADE + CLOSE).startswith(b'HTTP/1.1 101 ')
    assert order == ['first begins', 'first ends', 'second begins', 'second ends']


def test_a_coroutine_may_reject(ioloop, server, ask, coroutines):
    @server.on
    async def websocket(server, ws):
        await asyncio.sleep(0.01)
        ws.reject(401, {'WWW-Authenticate': 'Basic'})
        with pytest.raises(InvalidState):
            await ws.accept()

    answer = ask(server, UPGRADE + hello())
    assert answer.startswith(b'HTTP/1.1 401 ')
    assert b'\r\nWWW-Authenticate: Basic\r\n' in answer


def test_a_coroutine_may_accept_and_go_on(ioloop, server, run_until, coroutines):
    order = []
    goes_on = asyncio.Event()

    @server.on
    async def websocket(server, ws):
        await asyncio.sleep(0.01)
        assert await ws.accept() is ws
        ws.on('text', lambda ws, text: order.append(text))
        await goes_on.wait()
        order.append('goes on')
        ws.finish(1000)

    @ioloop.client(port=server.ports[0])
    def client(loop, err, stream):
        stream.on('read', lambda stream, data: order.append(data[:12]))
        stream.on('close', lambda stream: order.append('close'))
        stream.write(UPGRADE + hello(b'early') + hello(b'soon'))

    run_until(ioloop, lambda: len(order) == 3)
    assert set(order) == {b'HTTP/1.1 101', 'early', 'soon'}
    assert order.index('early') < order.index('soon')
    goes_on.set()
    run_until(ioloop, lambda: 'goes on' in order)
    for stream in list(ioloop.connections.values()):
        stream.close()


def test_many_messages_that_come_while_the_coroutine_works_are_not_lost(ioloop, server, run_until, coroutines):
    seen = []

    @server.on
    async def websocket(server, ws):
        await asyncio.sleep(0.05)
        ws.on('binary', lambda ws, data: seen.append(data))

    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    messages = [bytes([n]) * 100_000 for n in range(20)]
    for message in messages:
        ws.send(binary=message)
    run_until(ioloop, lambda: len(seen) == len(messages))
    assert seen == messages
    ws.finish(1000)
    run_until(ioloop, lambda: not server.connections)


def test_a_coroutine_that_takes_too_long_is_answered_for_with_503(ioloop, run_until, assert_idle, coroutines, caplog):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, handshake_timeout=0.05)
    forever = asyncio.Event()
    refused = []

    @server.on
    async def websocket(server, ws):
        try:
            await forever.wait()
        except asyncio.CancelledError:
            try:
                await ws.accept()
            except InvalidState as exc:
                refused.append(exc)
            raise

    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    errors = log(ws, 'error')
    finished = log(ws, 'finish')
    with caplog.at_level(logging.WARNING, 'pyjows'):
        run_until(ioloop, lambda: finished and not server.connections)
    assert errors[0][1].status == 503
    assert '503' in caplog.text
    run_until(ioloop, lambda: refused)
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def test_a_coroutine_learns_that_the_client_has_gone(ioloop, server, run_until, coroutines):
    seen = []
    goes_on = asyncio.Event()

    @server.on
    async def websocket(server, ws):
        seen.append(ws)
        await goes_on.wait()
        with pytest.raises(ConnectionClosed):
            await ws.accept()
        seen.append('told')

    @ioloop.client(port=server.ports[0])
    def client(loop, err, stream):
        stream.write(UPGRADE)

    run_until(ioloop, lambda: seen)
    for stream in list(ioloop.connections.values()):
        stream.close()
    goes_on.set()
    run_until(ioloop, lambda: len(seen) == 2)
    assert seen[1] == 'told'


# Without a loop


def test_without_a_loop_the_101_waits_for_the_coroutine_too():
    async def main():
        ws = pyjows.WebSocket()
        order = []

        @ws.on
        async def request(ws):
            await asyncio.sleep(0)
            order.append('ends')
            ws.on('text', lambda ws, text: order.append(text))

        ready = asyncio.Event()
        ws.on('resume', lambda ws: ready.set())
        ws.server_read(UPGRADE)
        ws.server_read(hello(b'early'))
        assert ws.server_write() == b''
        assert not ws.established
        await ready.wait()
        assert ws.server_write().startswith(b'HTTP/1.1 101 ')
        assert order == ['ends', 'early']

    asyncio.run(main())


def test_without_a_loop_a_coroutine_may_reject():
    async def main():
        ws = pyjows.WebSocket()
        ready = asyncio.Event()

        @ws.on
        async def request(ws):
            ws.reject(401)

        ws.on('resume', lambda ws: ready.set())
        ws.server_read(UPGRADE)
        await ready.wait()
        assert ws.server_write().startswith(b'HTTP/1.1 401 ')

    asyncio.run(main())


@pytest.mark.parametrize('accepts', [True, False])
def test_without_a_loop_a_client_that_ends_before_the_answer_gets_none(accepts, caplog):
    async def main():
        ws = pyjows.WebSocket()
        seen = log(ws, 'open', 'error', 'finish')
        ended = asyncio.Event()

        @ws.on
        async def request(ws):
            try:
                await asyncio.sleep(0)
                if accepts:
                    with pytest.raises(ConnectionClosed):
                        ws.accept()
            finally:
                ended.set()

        ws.server_read(UPGRADE)
        ws.server_read(b'')
        await ended.wait()
        await asyncio.sleep(0)
        assert ws.server_write() == b''
        ws.closed()
        assert seen == [('finish', 1006, '')]

    asyncio.run(main())
