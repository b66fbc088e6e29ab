"""`connect()`, on every reactor, over real sockets: dialing, what waits until it is open, failing, ending."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from background import free_port
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
    return f'ws://127.0.0.1:{free_port()}'


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
    assert '0.05 s' in str(seen[0][1])  # of an answer, or on a busy machine of a connection
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


@pytest.mark.parametrize('ends', ['not at all', 'with a reset'])
def test_a_refusal_whose_body_does_not_end_is_reported_with_its_status(ioloop, run_until, assert_idle, ends):
    @ioloop.server(address='127.0.0.1')
    def slow(loop, stream, id):
        def refuse(stream, data):
            stream.write(b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 100\r\n\r\nwho')
            if ends == 'with a reset':
                loop.timer(lambda loop: reset(stream.detach()), 0.05)

        stream.on('read', refuse)

    def reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()

    timeout = 0.2 if ends == 'not at all' else 10
    ws = pyjows.connect(f'ws://127.0.0.1:{ioloop.acceptor(slow).port}', ioloop=ioloop, timeout=timeout)
    seen = log(ws, 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished and not ioloop.connections)
    [(_, exc), _] = seen
    assert isinstance(exc, HandshakeError)
    assert (exc.status, exc.headers['www-authenticate'], exc.body) == (401, 'Basic', b'who')
    ioloop.remove(slow)
    assert_idle(ioloop)


@pytest.mark.parametrize('url', ['ftp://a/', 'a.b', 'ws://', 'ws://a:99999/', 'ws://a/#b', 5])
def test_a_malformed_url_raises_at_the_call(ioloop, url):
    with pytest.raises((ValueError, TypeError)):
        pyjows.connect(url, ioloop=ioloop)
    ioloop.start()


@pytest.mark.parametrize('proxy', [None, 'http://127.0.0.1:9', 'socks5://127.0.0.1:9'])
def test_port_0_is_refused_at_the_call(ioloop, assert_idle, proxy):
    with pytest.raises(ValueError, match='give one from 1 to 65535'):
        pyjows.connect('ws://127.0.0.1:0/', ioloop=ioloop, proxy=proxy)
    assert_idle(ioloop)


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
    run_until(ioloop, lambda: not ioloop.statistics()['tls_handshakes'])
    assert_idle(ioloop)


@pytest.mark.parametrize('name', ['.example.com', 'a..b', 'a' * 64, 'a\0b', '\ud800'])
def test_a_name_that_no_certificate_can_have_is_refused_at_the_call(ioloop, assert_idle, name):
    with pytest.raises(ValueError, match='is not the name of a host'):
        pyjows.connect('wss://127.0.0.1/', ioloop=ioloop, server_hostname=name)
    assert_idle(ioloop)


def test_tls_for_a_host_that_no_certificate_can_have_fails_at_once(ioloop, server, run_until, assert_idle):
    sock = socket.create_connection(('127.0.0.1', server.ports[0]))
    ws = pyjows.connect('wss://a..b/', ioloop=ioloop, sock=sock)
    seen = log(ws, 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished)
    assert isinstance(seen[0][1], ssl.SSLError)
    assert str(seen[0][1]).startswith('could not connect to a..b: the TLS handshake failed: ')
    assert 'label empty' in str(seen[0][1])
    assert not str(seen[0][1]).endswith(',)')


@pytest.mark.parametrize('host', ['localhost.', '[::1%25lo]'])
def test_a_certificate_is_checked_for_the_host_without_zone_and_final_dot(
    ioloop, run_until, authority, client_tls, host
):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost', '::1').configure_cert(theirs)
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=theirs)
    sock = socket.create_connection(('127.0.0.1', server.ports[0]))
    ws = pyjows.connect(f'wss://{host}/', ioloop=ioloop, tls=client_tls, sock=sock)
    seen = log(ws, 'error')
    run_until(ioloop, lambda: ws.established or seen)
    assert not seen
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)
    server.stop()


@pytest.mark.parametrize('off', [False, None])
def test_tls_cannot_be_switched_off_where_the_url_asks_for_it(ioloop, server, run_until, assert_idle, off):
    with pytest.raises(ValueError, match=r'tls=(False|None) with wss://127\.0\.0\.1/: wss:// is always encrypted'):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls=off)
    with pytest.raises(ValueError, match='always encrypted'):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls=off, proxy='http://127.0.0.1:9')
    assert not ioloop.connections
    redirect(server, (302, 'wss://127.0.0.1/'))
    exc = refusal(ioloop, run_until, server.urls[0], tls=off)
    assert 'which is not followed: ' in str(exc)
    assert 'always encrypted' in str(exc)


def test_tls_is_a_context_or_true(ioloop):
    with pytest.raises(TypeError, match='tls takes an ssl.SSLContext, or True'):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls='ca.pem')


def test_the_default_tls_context_is_made_once(ioloop, nobody, run_until, monkeypatch):
    made = []
    real = ssl.create_default_context
    monkeypatch.setattr(ssl, 'create_default_context', lambda *args: made.append(1) or real(*args))
    clients = [pyjows.connect(nobody.replace('ws:', 'wss:'), ioloop=ioloop) for _ in range(3)]
    for ws in clients:
        ws.on('error', lambda ws, exc: None)
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))
    assert len(made) <= 1


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


# One at a time (RFC 6455 4.1)


class Slow:
    """A server that answers upgrades when it is told to. `streams` has its connections, in order."""

    def __init__(self, ioloop: IOLoop, run_until: Callable[..., None], **where: Any) -> None:
        self.ioloop = ioloop
        self.run_until = run_until
        self.streams: list[Any] = []
        self.received: list[bytearray] = []
        self.id = ioloop.server(self._accepted, **(where or {'address': '127.0.0.1'}))
        self.port = ioloop.acceptor(self.id).port
        self.url = f'ws://127.0.0.1:{self.port}/'

    def _accepted(self, loop: IOLoop, stream: Any, id: str) -> None:
        received = bytearray()
        self.streams.append(stream)
        self.received.append(received)
        stream.on('read', lambda stream, data: received.extend(data))

    def answer(self, number: int) -> None:
        """Accept the upgrade of connection `number`, when it is here."""
        self.run_until(self.ioloop, lambda: len(self.received) > number and b'\r\n\r\n' in self.received[number])
        head, _, rest = bytes(self.received[number]).partition(b'\r\n\r\n')
        ws = pyjows.WebSocket()

        def read(stream: Any, data: bytes) -> None:
            stream.write(ws.server_read(data).server_write())
            if ws.protocol.eof_sent:
                stream.close_gracefully()

        self.streams[number].unsubscribe('read').on('read', read)
        self.streams[number].write(ws.server_read(head + b'\r\n\r\n' + rest).server_write())

    def a_while(self) -> None:
        """Turn the loop for long enough that what is to come would have come."""
        over: list[bool] = []
        self.ioloop.timer(lambda loop: over.append(True), 0.1)
        self.run_until(self.ioloop, lambda: over)

    def stop(self, *clients: Any) -> None:
        """Close everything, which has to leave nothing on the loop."""
        for ws in clients:
            ws.finish()
        self.ioloop.remove(self.id)
        for stream in self.streams:
            stream.close()
        self.run_until(self.ioloop, lambda: all(ws.is_finished for ws in clients) and not self.ioloop.connections)


@pytest.fixture
def slow(ioloop: IOLoop, run_until: Any, assert_idle: Any) -> Iterator[Slow]:
    slow = Slow(ioloop, run_until)
    yield slow
    slow.stop()
    assert_idle(ioloop)
    assert not len(ioloop.dial_queue)


def test_connections_to_one_address_are_made_one_after_the_other(ioloop, slow, run_until):
    clients = [pyjows.connect(slow.url, ioloop=ioloop) for _ in range(4)]
    for n, ws in enumerate(clients):
        run_until(ioloop, lambda: len(slow.streams) > n)  # noqa: B023
        slow.a_while()
        assert [ws.established for ws in clients].count(True) == n
        assert len(slow.streams) == n + 1, 'the next one waits until this one is open'
        slow.answer(n)
        run_until(ioloop, lambda: ws.established)  # noqa: B023
    slow.stop(*clients)


def test_a_host_by_another_name_is_the_same_host(ioloop, slow, run_until):
    first = pyjows.connect(slow.url, ioloop=ioloop)
    second = pyjows.connect(slow.url.replace('127.0.0.1', 'localhost'), ioloop=ioloop)
    run_until(ioloop, lambda: slow.streams)
    slow.a_while()
    assert len(slow.streams) == 1
    slow.answer(0)
    slow.answer(1)
    run_until(ioloop, lambda: first.established and second.established)
    slow.stop(first, second)


def test_other_ports_of_an_address_wait_as_well(ioloop, slow, server, run_until):
    first, second = pyjows.connect(slow.url, ioloop=ioloop), pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: slow.streams)
    slow.a_while()
    assert not second.established
    slow.answer(0)
    run_until(ioloop, lambda: second.established)
    second.finish()
    slow.stop(first)


def test_another_address_need_not_wait(ioloop, slow, run_until):
    elsewhere = pyjows.serve('ws://127.0.0.2:0', ioloop=ioloop)
    first, second = pyjows.connect(slow.url, ioloop=ioloop), pyjows.connect(elsewhere.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: second.established)
    assert not first.established
    elsewhere.stop()
    slow.answer(0)
    slow.stop(first, second)


def test_another_loop_need_not_wait(ioloop, slow, reactor_name, run_until):
    other = IOLoop(reactor_name)
    first, second = pyjows.connect(slow.url, ioloop=ioloop), pyjows.connect(slow.url, ioloop=other)
    seen = log(second, 'open')
    thread = threading.Thread(target=other.start)
    thread.start()
    run_until(ioloop, lambda: len(slow.streams) == 2)
    for n in (0, 1):
        slow.answer(n)
    run_until(ioloop, lambda: first.established)
    while not seen:
        slow.a_while()
    slow.stop(first)
    thread.join(30)
    assert second.is_finished
    other.close()


def test_a_unix_socket_has_no_address_to_wait_for(ioloop, run_until, socket_folder, assert_idle):
    slow = Slow(ioloop, run_until, path=socket_folder / 'slow')
    clients = [pyjows.connect(f'ws+unix://{socket_folder}/slow', ioloop=ioloop) for _ in range(2)]
    run_until(ioloop, lambda: len(slow.streams) == 2)
    for n in (0, 1):
        slow.answer(n)
    slow.stop(*clients)
    assert_idle(ioloop)


def test_those_that_ask_for_it_are_made_simultaneously(ioloop, slow, run_until):
    clients = [pyjows.connect(slow.url, ioloop=ioloop, simultaneous=True) for _ in range(3)]
    run_until(ioloop, lambda: len(slow.streams) == 3)
    for n in range(3):
        slow.answer(n)
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    slow.stop(*clients)


def test_a_dead_peer_delays_the_others_by_its_own_timeout_at_most(ioloop, slow, run_until):
    dead = pyjows.connect(slow.url, ioloop=ioloop, timeout=0.05)
    errors = log(dead, 'error')
    others = [pyjows.connect(f'{slow.url}alive', ioloop=ioloop) for _ in range(2)]
    run_until(ioloop, lambda: dead.is_finished)
    assert '0.05 s' in str(errors[0][1])  # of an answer, or on a busy machine of a connection

    def alive() -> list[int]:
        return [n for n, data in enumerate(slow.received) if data.startswith(b'GET /alive')]

    for n in (1, 2):
        run_until(ioloop, lambda n=n: len(alive()) == n)
        slow.answer(alive()[-1])
    run_until(ioloop, lambda: all(ws.established for ws in others))
    slow.stop(*others)


def test_the_timeout_includes_the_wait_for_a_slot(ioloop, slow, server, run_until):
    first, second = pyjows.connect(slow.url, ioloop=ioloop), pyjows.connect(server.urls[0], ioloop=ioloop, timeout=0.2)
    seen = log(second, 'open', 'error', 'finish')
    run_until(ioloop, lambda: second.is_finished)
    assert not first.is_finished, 'which is still being made'
    [(_, exc), (_, code, _)] = seen
    assert isinstance(exc, TimeoutError)
    assert f'{server.urls[0]}/ within 0.2 seconds: other connections to the same address' in str(exc)
    assert 'simultaneous=True' in str(exc)
    assert code == 1006
    slow.answer(0)
    run_until(ioloop, lambda: first.established)
    slow.stop(first)


def test_one_that_is_given_up_leaves_the_queue(ioloop, slow, run_until):
    first, second, third = (pyjows.connect(slow.url, ioloop=ioloop) for _ in range(3))
    seen = log(second, 'open', 'error', 'finish')
    run_until(ioloop, lambda: slow.streams)
    second.finish(1000)
    assert not seen, 'not within the call'
    run_until(ioloop, lambda: second.is_finished)
    assert seen == [('finish', 1006, '')]
    for n in (0, 1):
        slow.answer(n)
    run_until(ioloop, lambda: third.established)
    slow.a_while()
    assert len(slow.streams) == 2
    slow.stop(first, third)


def test_one_that_is_given_up_before_it_stands_in_the_queue_does_not_wait_either(ioloop, slow, run_until):
    first, second = pyjows.connect(slow.url, ioloop=ioloop), pyjows.connect(slow.url, ioloop=ioloop).finish(1000)
    seen = log(second, 'open', 'error', 'finish')
    run_until(ioloop, lambda: second.is_finished)
    assert seen == [('finish', 1006, '')]
    assert not first.established
    slow.answer(0)
    slow.stop(first)


def test_one_that_has_something_to_say_before_it_finishes_waits_to_say_it(ioloop, slow, run_until):
    first = pyjows.connect(slow.url, ioloop=ioloop)
    second = pyjows.connect(slow.url, ioloop=ioloop).send(text='something').finish(1000)
    seen = log(second, 'finish')
    for n in (0, 1):
        slow.answer(n)
    run_until(ioloop, lambda: second.is_finished)
    assert seen == [('finish', 1000, '')]
    slow.stop(first)


def test_a_stop_of_the_loop_ends_those_that_wait(ioloop, slow, assert_idle):
    clients = [pyjows.connect(slow.url, ioloop=ioloop) for _ in range(3)]
    seen = [log(ws, 'error', 'finish') for ws in clients]
    ioloop.timer(lambda loop: loop.stop_gracefully(0.1), 0.05)
    ioloop.start()
    assert [[event for event, *_ in events] for events in seen] == [['error', 'finish']] * 3
    assert not len(ioloop.dial_queue)


def test_a_reset_of_the_loop_forgets_those_that_wait(ioloop, slow, run_until, assert_idle):
    for _ in range(3):
        pyjows.connect(slow.url, ioloop=ioloop)
    run_until(ioloop, lambda: slow.streams)
    ioloop.reset()
    assert not len(ioloop.dial_queue)
    again = Slow(ioloop, run_until)
    ws = pyjows.connect(again.url, ioloop=ioloop)
    again.answer(0)
    run_until(ioloop, lambda: ws.established)
    again.stop(ws)


@pytest.mark.wide(later=True)
def test_many_connections_are_made_in_a_row(ioloop, server, run_until):
    clients = [pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(300)]
    run_until(ioloop, lambda: all(ws.established for ws in clients))
    for ws in clients:
        ws.finish()
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))


@pytest.mark.wide(later=True)
def test_many_connections_fail_in_a_row(ioloop, nobody, run_until, assert_idle):
    clients = [pyjows.connect(nobody, ioloop=ioloop) for _ in range(1500)]
    for ws in clients:
        ws.on('error', lambda ws, exc: None)
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))
    assert_idle(ioloop)


@pytest.mark.slow
@pytest.mark.wide(later=True)
def test_the_next_one_is_made_though_an_open_handler_raises(ioloop, server, run_until):
    first, second = (pyjows.connect(server.urls[0], ioloop=ioloop, timeout=1.5) for _ in range(2))
    first.on('open', lambda ws: 1 / 0)
    errors = log(first, 'error')
    run_until(ioloop, lambda: second.established)
    over = []
    ioloop.timer(lambda loop: over.append(True), 1.7)
    run_until(ioloop, lambda: over)
    assert [type(exc) for _, exc in errors] == [ZeroDivisionError], 'it is open: there is nothing left to be late for'
    for ws in (first, second):
        ws.finish()
    run_until(ioloop, lambda: first.is_finished and second.is_finished)


# Names


@pytest.fixture
def dead_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], threading.Event]]:
    """Names that end in dead.test are not resolved before the event; gives those looked up, and the event."""
    looked_up: list[str] = []
    over = threading.Event()
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        if 'flags' not in options and str(host).endswith('dead.test'):
            looked_up.append(host)
            over.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, 'no name server')
        return real(host, *args, **options)

    monkeypatch.setattr(socket, 'getaddrinfo', resolve)
    yield looked_up, over
    over.set()


def test_names_that_are_not_resolved_delay_no_other_name(ioloop, server, run_until, dead_names):
    dead = [pyjows.connect(f'ws://{n}.dead.test', ioloop=ioloop, proxy=None) for n in range(50)]
    ws = pyjows.connect(server.urls[0].replace('127.0.0.1', 'localhost'), ioloop=ioloop, timeout=5)
    run_until(ioloop, lambda: ws.established)
    assert not any(other.is_finished for other in dead)
    for other in dead:
        other.on('error', lambda ws, exc: None)
    dead_names[1].set()
    ws.finish()
    run_until(ioloop, lambda: all(other.is_finished for other in (ws, *dead)))


def test_a_name_is_looked_up_once_for_all_that_ask_at_a_time(ioloop, reactor_name, run_until, dead_names):
    name = f'{reactor_name}.dead.test'  # another one for each test: the resolver may still be busy with the last one
    clients = [pyjows.connect(f'ws://{name}', ioloop=ioloop, proxy=None, timeout=0.3) for _ in range(20)]
    errors = [log(ws, 'error') for ws in clients]
    run_until(ioloop, lambda: all(ws.is_finished for ws in clients))
    assert dead_names[0] == [name]
    for [(_, exc)] in errors:
        assert isinstance(exc, TimeoutError)
        assert 'the name was not resolved within 0.' in str(exc)


# Redirects


def redirect(server: Any, *answers: tuple[int, str] | None) -> list[Any]:
    """Have a server answer its first requests with status and Location, later ones with 101; what was requested."""
    seen: list[Any] = []

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        seen.append(ws.req)
        answer = answers[len(seen) - 1] if len(seen) <= len(answers) else None
        if answer is not None:
            ws.reject(answer[0], headers={'Location': answer[1]}, body='elsewhere')

    return seen


@pytest.fixture
def another(ioloop: IOLoop, run_until: Any) -> Iterator[Any]:
    """A second server, on another port: another origin."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    yield server
    server.stop()
    run_until(ioloop, lambda: not server.connections)


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(ioloop, server, run_until, status):
    requests = redirect(server, (status, '/there?room=1'))
    ws = pyjows.connect(f'{server.urls[0]}/here', ioloop=ioloop, subprotocols=['v1'])
    seen = log(ws, 'open', 'text', 'error', 'finish')
    ws.send(text='waited')
    run_until(ioloop, lambda: ('text', 'waited') in seen)
    assert [request.target for request in requests] == ['/here', '/there?room=1']
    assert requests[1].subprotocols == ('v1',)
    assert requests[0].headers['sec-websocket-key'] != requests[1].headers['sec-websocket-key']
    assert ws.req.target == '/there?room=1'
    ws.finish(1000)
    run_until(ioloop, lambda: ws.is_finished)
    assert seen == [('open',), ('text', 'waited'), ('finish', 1000, '')]


def test_a_redirect_to_the_same_origin_keeps_all_headers(ioloop, server, run_until):
    requests = redirect(server, (307, '/there'))
    ws = pyjows.connect(
        server.urls[0].replace('//', '//ann:secret@'),
        ioloop=ioloop,
        headers=iter([('Cookie', 'a=b')]),
        origin='https://a',
    )
    run_until(ioloop, lambda: ws.established)
    for name in ('authorization', 'cookie', 'origin', 'host'):
        assert requests[0].headers[name] == requests[1].headers[name]
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


def test_a_redirect_to_another_origin_leaves_secrets_behind(ioloop, server, another, run_until):
    redirect(server, (302, another.urls[0].replace('ws:', 'http:') + '/there'))
    requests = redirect(another, (302, '/farther'))
    ws = pyjows.connect(
        server.urls[0].replace('//', '//ann:secret@'),
        ioloop=ioloop,
        headers={'Authorization': 'Bearer t', 'Cookie': 'a=b', 'Host': 'a.example', 'X-Other': 'yes'},
    )
    run_until(ioloop, lambda: ws.established)
    assert [request.target for request in requests] == ['/there', '/farther']
    for request in requests:
        assert 'authorization' not in request.headers
        assert 'cookie' not in request.headers
        assert request.headers['host'] == f'127.0.0.1:{another.ports[0]}'
        assert request.headers['x-other'] == 'yes'
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)


def refusal(ioloop: IOLoop, run_until: Any, url: str, **options: Any) -> HandshakeError:
    """The error that a connection ends with."""
    ws = pyjows.connect(url, ioloop=ioloop, **options)
    seen = log(ws, 'open', 'error', 'finish')
    run_until(ioloop, lambda: ws.is_finished and not ioloop.connections)
    (_, exc), (_, code, _) = seen
    assert code == 1006
    assert isinstance(exc, HandshakeError)
    return exc


def test_with_max_redirects_0_a_redirect_is_an_error(ioloop, server, run_until):
    requests = redirect(server, (302, '/there'))
    exc = refusal(ioloop, run_until, server.urls[0], max_redirects=0)
    assert (exc.status, exc.headers['location'], exc.body) == (302, '/there', b'elsewhere')
    assert len(requests) == 1


def test_redirects_are_limited(ioloop, server, run_until):
    requests = redirect(server, *((302, f'/{n}') for n in range(20)))
    exc = refusal(ioloop, run_until, server.urls[0], max_redirects=3)
    assert 'max_redirects=3' in str(exc)
    assert len(requests) == 4


def test_redirects_that_go_in_a_circle_are_an_error(ioloop, server, another, run_until):
    redirect(server, (302, f'{another.urls[0]}/there'))
    redirect(another, (302, f'{server.urls[0]}/here'))
    exc = refusal(ioloop, run_until, f'{server.urls[0]}/here')
    assert 'circle' in str(exc)


def test_a_redirect_with_two_locations_is_not_followed(ioloop, run_until):
    @ioloop.server(address='127.0.0.1')
    def torn(loop, stream, id):
        answer = b'HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n'
        stream.on('read', lambda stream, data: stream.write(answer))

    exc = refusal(ioloop, run_until, f'ws://127.0.0.1:{ioloop.acceptor(torn).port}')
    assert 'which is not followed: it has 2 Location headers' in str(exc)
    ioloop.remove(torn)


def test_a_circle_of_long_redirects_is_named_in_few_words(ioloop, server, run_until):
    path = '/' + 'x' * 5000
    redirect(server, (302, path), (302, path))
    exc = refusal(ioloop, run_until, f'{server.urls[0]}/here')
    assert 'circle' in str(exc)
    assert len(str(exc)) < 1000


@pytest.mark.parametrize(
    'location', ['ftp://example.com/', 'http://', 'ws+unix:///tmp/x', '//[', 'ws://127.0.0.1:0/'], ids=str
)
def test_a_location_that_leads_nowhere_is_an_error_with_the_answer(ioloop, server, run_until, location):
    redirect(server, (302, location))
    exc = refusal(ioloop, run_until, server.urls[0])
    assert exc.status == 302
    assert 'not followed' in str(exc)


def test_a_redirect_through_a_proxy_that_needs_an_extra_is_an_error(ioloop, server, run_until, monkeypatch):
    monkeypatch.setitem(sys.modules, 'python_socks._protocols', None)
    monkeypatch.setenv('ALL_PROXY', 'socks5://127.0.0.1:9')
    redirect(server, (302, 'ws://a.test/'))
    exc = refusal(ioloop, run_until, server.urls[0])
    assert exc.status == 302
    assert 'pip install pyjows[socks]' in str(exc)


def test_no_redirect_leads_from_tls_to_no_tls_but_one_may_lead_to_it(ioloop, server, run_until):
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert('127.0.0.1').configure_cert(theirs)
    authority.configure_trust(ours)
    secure = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=theirs)

    redirect(server, (301, secure.urls[0]))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop, tls=ours)
    run_until(ioloop, lambda: ws.established)
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)

    requests = redirect(secure, (301, f'{server.urls[0]}/plain'))
    exc = refusal(ioloop, run_until, secure.urls[0], tls=ours)
    assert 'TLS' in str(exc)
    assert len(requests) == 1
    secure.stop()


def test_a_unix_socket_is_connected_to_as_mojolicious_writes_it(ioloop, run_until, socket_folder):
    path = str(socket_folder / 'a b.sock')
    server = pyjows.serve(f'ws+unix://{quote(path, safe="")}', ioloop=ioloop)
    asked, opened = [], []
    server.on('websocket', lambda server, ws: asked.append(ws.req.target))
    for target in ('/echo?to=a:b', '', '?x'):
        ws = pyjows.connect(f'ws+unix://{quote(path, safe="")}{target}', ioloop=ioloop)
        ws.on('open', lambda ws: opened.append(ws.finish()))
    run_until(ioloop, lambda: len(opened) == 3)
    assert sorted(asked) == ['/', '/?x', '/echo?to=a:b']
    server.stop()


def test_a_redirect_of_a_unix_socket_stays_there(ioloop, run_until, socket_folder):
    server = pyjows.serve(f'ws+unix://{socket_folder}/sock', ioloop=ioloop)
    requests = redirect(server, (302, '/there'), None, (302, 'ws://127.0.0.1:9/'))
    ws = pyjows.connect(f'ws+unix://{socket_folder}/sock:/here', ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    assert [request.target for request in requests] == ['/here', '/there']
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)
    assert 'Unix socket' in str(refusal(ioloop, run_until, f'ws+unix://{socket_folder}/sock:/here'))
    server.stop()


def test_a_redirect_without_end_of_its_body_but_that_of_the_connection_is_followed(ioloop, server, run_until):
    @ioloop.server(address='127.0.0.1')
    def old(loop, stream, id):
        answer = f'HTTP/1.0 302 Found\r\nLocation: {server.urls[0]}\r\n\r\nelsewhere'
        stream.on('read', lambda stream, data: stream.write(answer.encode()).close_gracefully())

    ws = pyjows.connect(f'ws://127.0.0.1:{ioloop.acceptor(old).port}', ioloop=ioloop)
    seen = log(ws, 'text')
    ws.send(text='hi')
    run_until(ioloop, lambda: seen)
    ws.finish()
    run_until(ioloop, lambda: ws.is_finished)
    ioloop.remove(old)


def test_the_timeout_is_one_for_all_redirects(ioloop, slow, server, run_until):
    redirect(server, (302, slow.url))
    exc = refusal(ioloop, run_until, server.urls[0], timeout=0.2)
    assert slow.url in str(exc)
    assert '0.2 s' in str(exc)  # of an answer, or on a busy machine of a connection
    slow.stop()


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
