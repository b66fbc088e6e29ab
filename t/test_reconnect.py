"""`reconnect()`, on every reactor, over real sockets: when it tries again, how long it waits, and when it is over."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, islice, pairwise, repeat
from typing import Any

import pytest
from background import free_port
from byhand import log

import pyjows
from pyjows import HandshakeError, IOLoop, backoff, reconnect
from pyjows.client.reconnect import is_temporary

pytestmark = pytest.mark.wide(later=True)

# How long


def test_the_first_delay_is_somewhere_from_0_to_5_seconds():
    delays = [next(backoff()) for _ in range(500)]
    assert min(delays) >= 0
    assert max(delays) <= 5
    assert max(delays) - min(delays) > 2, 'the clients of one server come back one by one'


def test_later_delays_grow_up_to_a_minute():
    for _ in range(100):
        delays = list(islice(backoff(), 1, 12))
        assert all(0 < one <= 2 * other for one, other in pairwise(delays))
        for delay, top in zip(delays, chain([10, 20, 40], repeat(60)), strict=False):
            assert top / 2 <= delay <= top


def test_delays_can_be_others():
    assert all(delay <= 0.5 for delay in islice(backoff(0.1, 0.5), 100))
    for first, longest in ((0, 1), (-1, 1), (2, 1), (float('nan'), 1)):
        with pytest.raises(ValueError, match='backoff'):
            backoff(first, longest)


# Whether


@pytest.mark.parametrize(
    ('code', 'exc', 'temporary'),
    [
        (1000, None, False),
        (1005, None, False),
        (1001, None, True),
        (1006, None, True),
        (1011, None, True),
        (1012, None, True),
        (4000, None, True),
        (1006, ConnectionRefusedError(), True),
        (1006, TimeoutError(), True),
        (1006, socket.gaierror(), True),
        (1006, ssl.SSLError(), True),
        (1006, ssl.SSLCertVerificationError(), False),
        (1006, HandshakeError('did not open within 10 seconds'), True),
        (1006, HandshakeError('', status=503), True),
        (1006, HandshakeError('', status=429), True),
        (1006, HandshakeError('', status=403), False),
        (1006, HandshakeError('', status=302), False),
        (1006, HandshakeError('', status=101), False),
        (1006, ZeroDivisionError(), False),
    ],
)
def test_what_will_not_change_is_not_tried_again(code, exc, temporary):
    assert is_temporary(code, exc) is temporary


# With a server


@pytest.fixture
def server(ioloop: IOLoop, run_until: Any, assert_idle: Any) -> Iterator[Any]:
    """A server, stopped after the test, which may leave nothing on the loop."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    yield server
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def soon() -> Iterator[float]:
    """Delays for the impatient."""
    return repeat(0.01)


def test_each_connection_is_a_new_one_with_handlers_of_its_own(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.finish(1012, text)))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    seen = log(client, 'waiting', 'finish')
    codes = []

    @client.on
    def websocket(client, ws):
        assert client.ws is ws
        ws.on('open', lambda ws: ws.send(text=str(len(codes))))

        @ws.on
        def finish(ws, code, reason):
            codes.append((code, reason))
            if len(codes) == 3:
                client.finish()

    run_until(ioloop, lambda: client.is_finished)
    assert codes == [(1012, '0'), (1012, '1'), (1012, '2')]
    assert seen == [('waiting', 0.01), ('waiting', 0.01), ('finish', 1012, '2')]
    assert client.ws is None


def test_it_waits_for_a_server_that_is_not_there_yet(ioloop, run_until, assert_idle):
    port = free_port()
    client = reconnect(f'ws://127.0.0.1:{port}', ioloop=ioloop, delays=soon)
    seen = log(client, 'waiting', 'error', 'finish')
    run_until(ioloop, lambda: len(seen) == 3)
    server = pyjows.serve(f'ws://127.0.0.1:{port}', ioloop=ioloop)
    run_until(ioloop, lambda: client.ws is not None and client.ws.established)
    client.finish(1000, 'enough')
    run_until(ioloop, lambda: client.is_finished)
    assert seen[-1] == ('finish', 1000, 'enough')
    assert {event for event, *_ in seen[:-1]} == {'waiting'}
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)


def test_the_delays_begin_anew_when_a_connection_was_stable(ioloop, server, run_until):
    made = []

    def delays():
        made.append(True)
        return iter([0.01, 0.02])

    statuses = iter([503, None, 503])
    server.on('websocket', lambda server, ws: ws.reject(status) if (status := next(statuses)) else ws.finish(1011))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=delays, stable_after=0)
    seen = log(client, 'waiting')
    run_until(ioloop, lambda: len(seen) == 3)
    assert [seconds for _, seconds in seen] == [0.01, 0.01, 0.02]
    assert len(made) == 2
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


def test_the_delays_go_on_when_a_connection_was_open_for_a_moment(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.on('open', lambda ws: ws.finish(1013)))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=lambda: iter([0.01, 0.02, 0.03]))
    seen = log(client, 'waiting', 'finish')
    run_until(ioloop, lambda: client.is_finished)
    assert seen == [('waiting', 0.01), ('waiting', 0.02), ('waiting', 0.03), ('finish', 1013, '')]


DATE = 'Sat, 21 Nov 2026 23:59:30 GMT'


@pytest.mark.parametrize(
    ('headers', 'seconds'),
    [
        ({'Retry-After': '120'}, 120),
        ({'Retry-After': '0'}, 0.5),
        ({'Retry-After': '9' * 30}, 86400),
        ({'Retry-After': 'Sun, 22 Nov 2026 00:01:00 GMT', 'Date': DATE}, 90),
        ({'Retry-After': 'Sat, 21 Nov 2026 23:00:00 GMT', 'Date': DATE}, 0.5),
        ({'Retry-After': format_datetime(datetime.now(UTC) + timedelta(days=2), usegmt=True)}, 86400),
        ({'Retry-After': 'soon'}, 0.5),
        ({'Retry-After': '-5'}, 0.5),
        ({'Retry-After': 'Sun, 99 Nov 99999999999 00:01:00 GMT'}, 0.5),
        ({}, 0.5),
    ],
)
def test_it_waits_as_long_as_a_refusal_asks_for(ioloop, server, run_until, headers, seconds):
    server.on('websocket', lambda server, ws: ws.reject(503, headers=headers))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=lambda: repeat(0.5))
    seen = log(client, 'waiting', 'error', 'finish')
    run_until(ioloop, lambda: seen)
    client.finish()
    run_until(ioloop, lambda: client.is_finished)
    assert seen[0] == ('waiting', seconds)


def test_it_warns_of_each_loss_and_says_when_it_tries_again(ioloop, server, run_until, caplog):
    server.on('websocket', lambda server, ws: ws.on('open', lambda ws: ws.finish(1012, 'an update')))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=lambda: iter([0.04]))
    run_until(ioloop, lambda: client.is_finished)
    [record] = caplog.records
    assert record.levelname == 'WARNING'
    assert record.message == f'{server.urls[0]}/: closed with 1012 an update; connecting again in 0.0 s'


def test_a_normal_close_is_the_end(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.finish(1000, 'bye'))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    seen = log(client, 'waiting', 'error', 'finish')
    run_until(ioloop, lambda: client.is_finished)
    assert seen == [('finish', 1000, 'bye')]


def test_a_refusal_is_the_end_and_says_why(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.reject(403))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    seen = log(client, 'waiting', 'error', 'finish')
    run_until(ioloop, lambda: client.is_finished)
    (_, exc), finish = seen
    assert isinstance(exc, HandshakeError)
    assert exc.status == 403
    assert finish == ('finish', 1006, '')


def test_it_tries_again_after_anything_when_it_is_asked_to(ioloop, server, run_until):
    answers = iter([403, 1000])

    @server.on
    def websocket(server, ws):
        answer = next(answers, None)
        if answer is not None:
            ws.reject(answer) if answer < 1000 else ws.finish(answer)

    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon, retry=lambda code, exc: True)
    seen = log(client, 'waiting')
    run_until(ioloop, lambda: len(seen) == 2 and client.ws is not None and client.ws.established)
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


@pytest.mark.parametrize('delay', ['soon', float('nan'), float('inf')])
def test_a_delay_that_is_not_a_time_is_the_end_and_an_error(ioloop, run_until, assert_idle, delay):
    client = pyjows.reconnect('ws://127.0.0.1:1/', ioloop=ioloop, delays=lambda: iter([delay]))
    seen = log(client, 'waiting', 'error', 'finish')
    run_until(ioloop, lambda: client.is_finished)
    (_, exc), finish = seen
    assert str(exc) == f'reconnect(): delays gave {delay!r}, but it has to give numbers of seconds'
    assert finish == ('finish', 1006, '')
    assert_idle(ioloop)


def test_delays_that_end_are_the_end(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.reject(503))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=lambda: iter([0.01, 0.01]))
    seen = log(client, 'waiting', 'error', 'finish')
    run_until(ioloop, lambda: client.is_finished)
    assert [event for event, *_ in seen] == ['waiting', 'waiting', 'error', 'finish']
    assert seen[2][1].status == 503


def test_finish_while_it_waits_is_the_end(ioloop, server, run_until, assert_idle):
    server.on('websocket', lambda server, ws: ws.reject(503))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=lambda: repeat(1000))
    seen = log(client, 'finish')
    run_until(ioloop, lambda: client.ws is None)
    client.finish(1000)
    assert not seen, 'not within the call'
    run_until(ioloop, lambda: client.is_finished)
    assert seen == [('finish', 1006, '')]
    client.finish(1000)
    assert len(seen) == 1


def test_a_stop_of_the_loop_is_the_end(ioloop, assert_idle):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('websocket', lambda server, ws: ws.reject(503) if ws.req.path == '/no' else None)
    waiting = reconnect(f'{server.urls[0]}/no', ioloop=ioloop, delays=lambda: repeat(1000))
    connected = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    seen = [log(client, 'finish') for client in (waiting, connected)]
    connected.on('websocket', lambda client, ws: ws.on('open', lambda ws: ioloop.stop_gracefully(20)))
    ioloop.start()
    assert waiting.is_finished
    assert connected.is_finished
    assert seen == [[('finish', 1006, '')], [('finish', 1001, '')]]
    assert_idle(ioloop)


def test_a_loop_that_stops_has_a_connection_in_the_making_tell_of_its_end(ioloop, assert_idle):
    with socket.create_server(('127.0.0.1', 0)) as deaf:
        client = reconnect(f'ws://127.0.0.1:{deaf.getsockname()[1]}', ioloop=ioloop, delays=soon)
        seen = log(client, 'waiting', 'finish')
        ioloop.timer(lambda loop: loop.next_tick(lambda loop: loop.stop_gracefully()), 0.1)
        ioloop.start()
    assert seen == [('finish', 1006, '')]
    assert_idle(ioloop)


def test_what_a_handler_of_a_connection_raises_is_that_connection_s_business(ioloop, server, run_until, caplog):
    server.on('websocket', lambda server, ws: ws.send(text='hi'))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    codes = []

    @client.on
    def websocket(client, ws):
        ws.on('text', lambda ws, text: 1 / 0)
        ws.on('finish', lambda ws, code, reason: codes.append(code) or client.finish())

    run_until(ioloop, lambda: client.is_finished)
    assert codes == [1011]
    assert 'ZeroDivisionError' in caplog.text


def test_what_a_finish_handler_raises_does_not_end_it(ioloop, server, run_until, caplog):
    server.on('websocket', lambda server, ws: ws.reject(503))
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    client.on('websocket', lambda client, ws: ws.on('finish', lambda ws, code, reason: 1 / 0))
    seen = log(client, 'waiting', 'error')
    run_until(ioloop, lambda: len(seen) == 2)
    assert {event for event, *_ in seen} == {'waiting'}
    assert 'ZeroDivisionError' in caplog.text
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


def test_what_a_handler_raises_before_it_is_open_is_told(ioloop, server, run_until):
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    client.on('websocket', lambda client, ws: ws.on('connection', lambda ws, id: 1 / 0))
    seen = log(client, 'error')
    run_until(ioloop, lambda: seen)
    assert isinstance(seen[0][1], ZeroDivisionError)
    assert client.ws.established
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


def test_what_a_handler_of_the_client_raises_is_its_error(ioloop, server, run_until):
    client = reconnect(server.urls[0], ioloop=ioloop, delays=soon)
    client.on('websocket', lambda client, ws: 1 / 0)
    seen = log(client, 'error')
    run_until(ioloop, lambda: seen)
    assert isinstance(seen[0][1], ZeroDivisionError)
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


def test_every_attempt_has_the_headers_and_subprotocols_of_an_iterator(ioloop, server, run_until):
    seen: list[Any] = []
    server.on(
        'websocket',
        lambda server, ws: seen.append((ws.req.headers.get('x-a'), ws.req.headers.get('sec-websocket-protocol'))),
    )
    server.on('websocket', lambda server, ws: ws.reject(503))
    client = reconnect(
        server.urls[0], ioloop=ioloop, delays=soon, headers=iter([('X-A', '1')]), subprotocols=iter(['a', 'b'])
    )
    run_until(ioloop, lambda: len(seen) == 3)
    client.finish()
    assert seen == [('1', 'a, b')] * 3
    run_until(ioloop, lambda: client.is_finished)


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'resume': 'yes'}, "reconnect(): resume takes True or False, not 'yes'"),
        ({'resum': True}, "reconnect() has no option 'resum'; did you mean 'resume'?"),
        ({'max_redirect': 1}, "reconnect() has no option 'max_redirect'; did you mean 'max_redirects'?"),
        ({'delay': 5, 'headers': dict}, "reconnect() has no option 'delay'; did you mean 'delays'?"),
    ],
)
def test_a_wrong_option_is_named_as_one_of_reconnect(ioloop, options, says):
    with pytest.raises(TypeError, match=re.escape(says)):
        reconnect('ws://a/', ioloop=ioloop, **options)
    ioloop.start()


def test_what_is_malformed_raises_at_the_call(ioloop):
    for url, options in (('ftp://a/', {}), ('ws://a/', {'nonsense': 1}), ('ws://a/', {'subprotocols': ['a b']})):
        with pytest.raises((ValueError, TypeError)):
            reconnect(url, ioloop=ioloop, **options)
    ioloop.start()
