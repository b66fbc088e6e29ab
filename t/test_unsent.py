"""What `reconnect()` says of messages that were sent and never written, on every reactor, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest
from byhand import log

import pyjows
from pyjows import reconnect

pytestmark = pytest.mark.wide(later=True)

SIZE = 100_000


def soon() -> Iterator[float]:
    return repeat(0.01)


def numbered(n: int) -> list[bytes]:
    return [number.to_bytes(4, 'big') * (SIZE // 4) for number in range(n)]


@pytest.fixture(params=['ws', 'wss'])
def slow(request: Any, ioloop: Any, servers: Any, server_tls: Any) -> Any:
    """A server whose first connection reads nothing; the others are read. `connections`, and what came: `received`."""
    server = pyjows.serve(f'{request.param}://127.0.0.1:0', ioloop=ioloop, tls=server_tls)
    servers.append(server)
    server.accepted, server.received = [], []

    @server.on
    def websocket(server, ws):
        server.accepted.append(ws)
        ws.on('message', lambda ws, message: server.received.append(message))
        if len(server.accepted) == 1:
            ws.on('open', lambda ws: ws.pause_reading())

    server.at = server.urls[0].replace('127.0.0.1', 'localhost')
    return server


def test_what_was_never_written_is_reported_and_can_be_sent_again(ioloop, run_until, slow, client_tls):
    client = reconnect(slow.at, ioloop=ioloop, delays=soon, tls=client_tls, max_backlog=2**30)
    reported = log(client, 'unsent')
    messages = numbered(200)  # more than the kernel takes

    @client.on
    def websocket(client, ws):
        if not reported:
            ws.on('open', lambda ws: [ws.send(binary=message) for message in messages])
        else:
            for message in reported[0][1]:
                ws.send(message)
            ws.send(text='end')

    run_until(ioloop, lambda: client.ws and client.ws.buffered_amount and slow.accepted)
    until_quiet(ioloop, run_until, client)
    slow.accepted[0].terminate()
    run_until(ioloop, lambda: 'end' in slow.received)
    ((_, unsent),) = reported
    assert 0 < len(unsent) < len(messages)
    assert unsent == messages[-len(unsent) :]
    assert slow.received == [*unsent, 'end']
    assert not client.unsent
    client.finish()
    run_until(ioloop, lambda: client.is_finished)
    assert len(reported) == 1


def until_quiet(ioloop: Any, run_until: Any, client: Any) -> None:
    """Until the kernel takes no more."""
    amounts: list[int] = []
    timer = ioloop.recurring(lambda loop: amounts.append(client.ws.buffered_amount), 0.05)
    run_until(ioloop, lambda: len(amounts) > 4 and len(set(amounts[-4:])) == 1)
    ioloop.remove(timer)


def test_what_was_written_is_not_reported(ioloop, run_until, slow, client_tls):
    client = reconnect(slow.at, ioloop=ioloop, delays=soon, tls=client_tls)
    seen = log(client, 'unsent', 'waiting')
    slow.on('websocket', lambda server, ws: ws.resume_reading())

    @client.on
    def websocket(client, ws):
        ws.send(text='early')
        ws.on('open', lambda ws: ws.send(json=[1]).send(b'x' * SIZE, compress=False))
        ws.on('open', lambda ws: ws.send(lambda ws: None).ping())

    slow.on('websocket', lambda server, ws: ws.on('open', lambda ws: ws.resume_reading()))
    run_until(ioloop, lambda: len(slow.received) == 3)
    slow.accepted[0].terminate()
    run_until(ioloop, lambda: len(slow.accepted) == 2)
    assert seen == [('waiting', 0.01)]
    client.finish()
    run_until(ioloop, lambda: client.is_finished)
    assert seen == [('waiting', 0.01)]


def test_what_was_sent_to_nobody_is_reported_after_each_attempt(ioloop, run_until, assert_idle):
    client = reconnect('ws://127.0.0.1:1', ioloop=ioloop, delays=lambda: iter([0.01, 0.01]))
    seen = log(client, 'unsent', 'waiting', 'finish', 'error')
    again = ['one']

    @client.on
    def websocket(client, ws):
        for message in [*again, b'two']:
            ws.send(message)
        ws.send(json={'three': 3})
        with pytest.raises(TypeError):
            ws.send(5)
        with pytest.raises(TypeError):
            ws.send(text='a', json='b')
        with pytest.raises(TypeError):
            ws.send()

    run_until(ioloop, lambda: client.is_finished)
    unsent = ('unsent', ['one', b'two', '{"three":3}'])
    assert [what for what in seen if what[0] != 'error'] == [
        unsent, ('waiting', 0.01), unsent, ('waiting', 0.01), unsent, ('finish', 1006, ''),
    ]  # fmt: skip
    assert_idle(ioloop)


def test_each_message_is_reported_once_whatever_it_is_sent_with(ioloop, run_until):
    client = reconnect('ws://127.0.0.1:1', ioloop=ioloop, delays=lambda: iter([]))
    seen = log(client, 'unsent', 'error')

    @client.on
    def websocket(client, ws):
        ws.send(lambda ws: None, text='one')
        ws.send(lambda ws: None, json=[2])
        ws.send(lambda ws: None, text='three', compress=False)
        ws.send(text=None, binary=None, json='four')
        ws.send(frame=(True, False, False, False, 1, b'a frame'))
        for message in (10**15, {}):
            with pytest.raises(TypeError, match='a message is a str or bytes-like'):
                ws.send(message)

    run_until(ioloop, lambda: client.is_finished)
    assert seen[0] == ('unsent', ['one', '[2]', 'three', '"four"'])


def test_a_message_that_was_not_taken_is_not_mistaken_for_an_equal_one_that_was(ioloop, run_until, slow, client_tls):
    client = reconnect(slow.at, ioloop=ioloop, delays=soon, tls=client_tls)
    seen = log(client, 'unsent')
    slow.on('websocket', lambda server, ws: ws.on('open', lambda ws: ws.resume_reading()))

    @client.on
    def websocket(client, ws):
        ws.send(text='same').finish()
        with pytest.raises(pyjows.ConnectionClosed):
            ws.send(text='same')

    run_until(ioloop, lambda: client.is_finished)
    assert slow.received == ['same']
    assert not seen


def test_messages_of_other_threads_are_reported_too(ioloop, run_until, slow, client_tls):
    client = reconnect(slow.at, ioloop=ioloop, delays=soon, tls=client_tls, max_backlog=2**30)
    reported = log(client, 'unsent')
    messages = numbered(200)
    run_until(ioloop, lambda: client.ws and client.ws.established)
    ws = client.ws
    thread = threading.Thread(target=lambda: [ws.send(message) for message in messages])
    thread.start()
    thread.join()
    run_until(ioloop, lambda: ws.buffered_amount)
    until_quiet(ioloop, run_until, client)
    slow.accepted[0].terminate()
    run_until(ioloop, lambda: reported)
    unsent = reported[0][1]
    assert 0 < len(unsent) < len(messages)
    assert unsent == messages[-len(unsent) :]
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


def test_without_a_handler_they_wait_in_the_client_and_a_warning_says_so(ioloop, run_until, slow, client_tls, caplog):
    client = reconnect(slow.at, ioloop=ioloop, delays=soon, tls=client_tls, max_backlog=2**30)
    messages = numbered(200)
    run_until(ioloop, lambda: client.ws and client.ws.established)
    for message in messages:
        client.ws.send(message)
    until_quiet(ioloop, run_until, client)
    with caplog.at_level(logging.WARNING, 'pyjows'):
        slow.accepted[0].terminate()
        run_until(ioloop, lambda: len(slow.accepted) == 2 and client.ws and client.ws.established)
    assert 'never written; client.unsent has them' in caplog.text
    left = list(client.unsent)
    assert left and left == messages[-len(left) :]
    with caplog.at_level(logging.WARNING, 'pyjows'):
        slow.accepted[1].terminate()
        run_until(ioloop, lambda: len(slow.accepted) == 3)
    assert f'{len(left)} messages in client.unsent were not sent again' in caplog.text
    assert not client.unsent
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


def test_iterating_finds_them_in_the_client(run, slow, client_tls):
    messages = numbered(200)

    async def main() -> None:
        client = reconnect(slow.at, ioloop=slow.ioloop, delays=soon, tls=client_tls, max_backlog=2**30)
        async for ws in client:
            if len(slow.accepted) == 1:
                for message in messages:
                    ws.send(message)
                slow.ioloop.timer(lambda loop: slow.accepted[0].terminate(), 0.3)
                await ws.wait_closed()
                continue
            again = list(client.unsent)
            while client.unsent:
                ws.send(client.unsent.popleft())
            await ws.drain()
            ws.send(text='end')
            while 'end' not in slow.received:
                await asyncio.sleep(0.01)
            assert again and again == messages[-len(again) :]
            assert slow.received == [*again, 'end']
            break

    run(main())
