"""`connect()`, on every reactor, over real sockets: dialing, what waits until it is open, failing, ending."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from byhand import log

import pyjows
from pyjows import HandshakeError, InvalidState, IOLoop


@pytest.fixture
def server(ioloop: IOLoop, run_until: Any, assert_idle: Any) -> Iterator[Any]:
    """An echo server, stopped after the test, which may leave nothing on the loop."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('websocket', lambda server, ws: ws.on('message', lambda ws, message: ws.send(message)))
    yield server
    stopped = log(server, 'finish')
    server.stop()
    run_until(ioloop, lambda: stopped and not ioloop.connections)
    assert_idle(ioloop)


@pytest.fixture
def nobody() -> str:
    """The URL of a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return f'ws://127.0.0.1:{probe.getsockname()[1]}'


def test_connect_returns_at_once_and_opens_on_the_loop(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'open', 'text', 'finish')
    assert not ws.established and not ws.is_finished
    ws.on('open', lambda ws: ws.send(text='hi'))
    ws.on('text', lambda ws, text: ws.finish(1000, 'that is all'))
    run_until(ioloop, lambda: ws.is_finished)
    assert seen == [('open',), ('text', 'hi'), ('finish', 1000, 'that is all')]


def test_what_is_sent_before_it_is_open_arrives_first_and_in_order(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'message')
    ws.send('one').send(b'two').send(json={'three': 3})
    ws.on('open', lambda ws: ws.send('four'))
    run_until(ioloop, lambda: len(seen) == 4)
    assert [message for _, message in seen] == ['one', b'two', '{"three":3}', 'four']
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


def test_a_finish_before_it_is_open_closes_when_it_is(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'open', 'message', 'finish')
    ws.send('one').finish(1000)
    run_until(ioloop, lambda: ws.is_finished)
    assert seen in ([('open',), ('finish', 1000, '')], [('open',), ('message', 'one'), ('finish', 1000, '')])


def test_the_request_is_what_was_asked_for(ioloop, server, run_until):
    seen = []
    server.on('websocket', lambda server, ws: seen.append(ws.req))
    ws = pyjows.connect(
        f'{server.urls[0]}/chat?room=1',
        ioloop=ioloop,
        headers={'Cookie': 'a=b', 'Authorization': 'Bearer t'},
        origin='https://example.com',
        subprotocols=['x', 'y'],
    )
    run_until(ioloop, lambda: ws.established)
    (request,) = seen
    assert request.target == '/chat?room=1'
    assert request.headers['cookie'] == 'a=b'
    assert request.headers['authorization'] == 'Bearer t'
    assert request.headers['origin'] == 'https://example.com'
    assert request.headers['host'] == f'127.0.0.1:{server.ports[0]}'
    assert list(request.subprotocols) == ['x', 'y']
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


def test_compression_is_offered_when_it_is_asked_for(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.with_compression())
    plain, compressed = (pyjows.connect(server.urls[0], ioloop=ioloop, compression=on) for on in (False, True))
    seen = log(compressed, 'text')
    compressed.send(text='echo ' * 1000)
    run_until(ioloop, lambda: plain.established and seen)
    assert (plain.compressed, compressed.compressed) == (False, True)
    assert seen == [('text', 'echo ' * 1000)]
    for ws in (plain, compressed):
        ws.finish()
    run_until(ioloop, lambda: plain.is_finished and compressed.is_finished)


def test_the_message_limit_holds_for_a_client_too(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, max_websocket_size=10)
    seen = log(ws, 'message', 'finish')
    ws.send('1234567890').send('1234567890x')
    run_until(ioloop, lambda: ws.is_finished)
    assert seen[0] == ('message', '1234567890')
    assert seen[1][:2] == ('finish', 1009)


# What fails


def test_where_nobody_listens_there_is_an_error_and_a_finish(ioloop, nobody, run_until, assert_idle):
    ws = pyjows.connect(nobody, ioloop=ioloop)
    ws.send('never')
    seen = log(ws, 'open', 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished)
    (_, exc), finish = seen
    assert isinstance(exc, OSError)
    assert nobody.removeprefix('ws://') in str(exc)
    assert finish == ('finish', 1006, '')
    assert_idle(ioloop)


def test_a_name_that_does_not_exist_is_an_error_and_a_finish(ioloop, run_until, assert_idle):
    ws = pyjows.connect('ws://no-such-host.invalid/', ioloop=ioloop)
    seen = log(ws, 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished)
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert 'no-such-host.invalid' in str(seen[0][1])
    assert_idle(ioloop)


def test_a_refusal_brings_status_headers_and_body(ioloop, server, run_until):
    server.on(
        'websocket', lambda server, ws: ws.reject(401, headers={'WWW-Authenticate': 'Basic'}, body='who are you?')
    )
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'open', 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished)
    (_, exc), finish = seen
    assert isinstance(exc, HandshakeError)
    assert (exc.status, exc.headers['www-authenticate'], exc.body) == (401, 'Basic', b'who are you?')
    assert finish[:2] == ('finish', 1006)


def test_a_server_that_accepts_but_never_answers_is_given_up_after_the_timeout(ioloop, run_until, assert_idle):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        ws = pyjows.connect(f'ws://127.0.0.1:{listening.getsockname()[1]}', ioloop=ioloop, timeout=0.05)
        seen = log(ws, 'error', 'finish')
        run_until(ioloop, lambda: ws.is_finished and not ioloop.connections)
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert '0.05 seconds' in str(seen[0][1])
    assert_idle(ioloop)


def test_a_server_that_hangs_up_before_its_answer_is_an_error(ioloop, run_until, assert_idle):
    @ioloop.server(address='127.0.0.1')
    def rude(loop, stream, id):
        stream.on('read', lambda stream, data: stream.close())

    ws = pyjows.connect(f'ws://127.0.0.1:{ioloop.acceptor(rude).port}', ioloop=ioloop)
    seen = log(ws, 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished and not ioloop.connections)
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert isinstance(seen[0][1], HandshakeError)
    ioloop.remove(rude)
    assert_idle(ioloop)


@pytest.mark.parametrize('url', ['ftp://a/', 'a.b', 'ws://', 'ws://a:99999/', 'ws://a/#b', 5])
def test_a_malformed_url_raises_at_the_call(ioloop, url):
    with pytest.raises((ValueError, TypeError)):
        pyjows.connect(url, ioloop=ioloop)
    ioloop.start()


def test_a_malformed_option_raises_at_the_call(ioloop):
    for options in ({'subprotocols': ['a b']}, {'headers': {'Upgrade': 'x'}}, {'max_size': 1}, {'origin': 'a\r\nb'}):
        with pytest.raises((ValueError, TypeError)):
            pyjows.connect('ws://127.0.0.1/', ioloop=ioloop, **options)
    ioloop.start()


def test_tls_with_an_untrusted_certificate_is_an_error(ioloop, run_until, assert_idle):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert('127.0.0.1').configure_cert(theirs)
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=theirs)
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished)
    assert isinstance(seen[0][1], OSError)
    assert 'certificate' in str(seen[0][1])
    assert seen[1] == ('finish', 1006, '')
    server.stop()
    run_until(ioloop, lambda: not ioloop._negotiations)
    assert_idle(ioloop)


def test_tls_names_the_host_that_is_wanted(ioloop, run_until, assert_idle):
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost').configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    named = []
    theirs.sni_callback = lambda connection, name, context: named.append(name)
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=theirs)
    ws = pyjows.connect(f'wss://localhost:{server.ports[0]}/', ioloop=ioloop, tls=ours)
    run_until(ioloop, lambda: ws.established)
    assert named == ['localhost']
    server.stop()
    run_until(ioloop, lambda: ws.is_finished and not ioloop.connections)
    assert_idle(ioloop)


# Ending


def test_a_client_that_ends_leaves_the_loop_nothing_to_do(ioloop, nobody):
    ws = pyjows.connect(nobody, ioloop=ioloop)
    seen = log(ws, 'error', 'finish')
    ioloop.start()
    assert len(seen) == 2


def test_a_server_that_vanishes_is_1006(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    seen = log(ws, 'finish')
    server.on('websocket', lambda server, ws: ioloop.timer(0.01)(lambda loop: loop.stream(ws.connection).close()))
    run_until(ioloop, lambda: seen)
    assert seen == [('finish', 1006, '')]


def test_when_both_finish_at_once_both_hear_of_it_once(ioloop, server, run_until):
    theirs = []
    server.on('websocket', lambda server, ws: theirs.append((ws, log(ws, 'finish'))))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    ours = log(ws, 'finish')
    run_until(ioloop, lambda: ws.established)
    ws.finish(4001, 'client')
    theirs[0][0].finish(4002, 'server')
    run_until(ioloop, lambda: ours and theirs[0][1])
    assert ours == [('finish', 4002, 'server')]
    assert theirs[0][1] == [('finish', 4001, 'client')]


def test_a_server_that_does_not_answer_the_close_is_given_up_after_the_close_timeout(ioloop, server, run_until):
    theirs = []
    server.on('websocket', lambda server, ws: theirs.append(ws))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, close_timeout=0.05)
    seen = log(ws, 'finish')
    run_until(ioloop, lambda: ws.established)
    ioloop.stream(theirs[0].connection).stop()
    ws.finish(1000, 'bye')
    run_until(ioloop, lambda: seen)
    assert seen == [('finish', 1000, 'bye')]
    ioloop.stream(theirs[0].connection).close()


def test_a_graceful_stop_of_the_loop_says_1001(ioloop, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    theirs = []
    server.on('websocket', lambda server, ws: ws.on('finish', lambda ws, *why: theirs.append(why)))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    ours = log(ws, 'open', 'finish')
    ws.on('open', lambda ws: ioloop.stop_gracefully(20))
    ioloop.start()
    assert ours == [('open',), ('finish', 1001, '')]
    assert theirs == [(1001, '')]
    assert_idle(ioloop)


def test_a_graceful_stop_of_the_loop_gives_up_a_client_that_is_not_open(ioloop, assert_idle):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        ws = pyjows.connect(f'ws://127.0.0.1:{listening.getsockname()[1]}', ioloop=ioloop)
        seen = log(ws, 'error', 'finish')
        ioloop.timer(0.05)(lambda loop: loop.stop_gracefully())
        ioloop.start()
    assert [event for event, *_ in seen] == ['error', 'finish']
    assert_idle(ioloop)


def test_a_finished_client_is_held_by_nothing(ioloop, server, run_until):
    held = [pyjows.connect(server.urls[0], ioloop=ioloop)]
    run_until(ioloop, lambda: held[0].established)
    held[0].finish(1000)
    run_until(ioloop, lambda: held[0].is_finished)
    ref = weakref.ref(held.pop())
    gc.collect()
    assert ref() is None


def test_only_a_server_can_reject(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    with pytest.raises(InvalidState):
        ws.reject()
    run_until(ioloop, lambda: ws.established)
    with pytest.raises(InvalidState):
        ws.reject()
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


def test_inside_asyncio_client_and_server_ride_on_the_running_loop(no_leaks):
    async def main():
        server = pyjows.serve('ws://127.0.0.1:0')
        server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text=text.upper())))
        ws = pyjows.connect(server.urls[0])
        done = asyncio.get_running_loop().create_future()

        @ws.on
        async def open(ws):
            ws.send(text='hi')

        ws.on('text', lambda ws, text: done.set_result(text))
        answer = await asyncio.wait_for(done, 20)
        over = asyncio.Event()
        ws.on('finish', lambda ws, code, reason: over.set())
        server.on('finish', lambda server: None)
        server.stop()
        await asyncio.wait_for(over.wait(), 20)
        while server.connections or server.ioloop.connections:
            await asyncio.sleep(0.01)
        server.ioloop.close()
        return answer

    assert asyncio.run(main()) == 'HI'
