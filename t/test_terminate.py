"""`WebSocket.terminate`, and other ends within a handler: who is called then, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from wire import BINARY, PING, PONG, TEXT, frame

import pyjows

EVENTS = [
    ('text', TEXT, ['text', 'other text', 'message', 'json']),
    ('message', TEXT, ['text', 'message', 'other message', 'json']),
    ('json', TEXT, ['text', 'message', 'json', 'other json']),
    ('binary', BINARY, ['binary', 'other binary', 'message', 'json']),
    ('ping', PING, ['ping', 'other ping']),
    ('pong', PONG, ['pong', 'other pong']),
    ('frame', TEXT, ['frame', 'other frame']),
]


def heard_by(ws: Any, event: str) -> list[Any]:
    """What the handlers of a transaction are called with, of which the first of an event terminates it."""
    heard: list[Any] = []

    def note(name: str) -> Any:
        return lambda ws, *args: heard.append(name)

    def last_words(ws: Any, *args: Any) -> None:
        heard.append(event)
        ws.terminate()
        with pytest.raises(pyjows.ConnectionClosed):
            ws.send('more')

    for name in ('text', 'binary', 'message', 'json'):
        ws.on(name, last_words if name == event else note(name))
    if event not in ('text', 'binary', 'message', 'json'):
        ws.on(event, last_words)
    ws.on(event, note(f'other {event}'))
    ws.on('finish', lambda ws, code, reason: heard.append(code))
    return heard


@pytest.mark.parametrize(('event', 'opcode', 'called'), EVENTS)
def test_all_handlers_of_the_last_message_are_called_and_finish_comes_after_them(event, opcode, called):
    ws = pyjows.WebSocket(established=True)
    heard = heard_by(ws, event)
    ws.server_read(frame(opcode, b'1') + frame(opcode, b'2') + frame(TEXT, b'3'))
    ws.server_read(frame(opcode, b'4'))
    assert heard == [*called, 1006]
    assert ws.is_finished


@pytest.mark.parametrize(('event', 'opcode', 'called'), EVENTS)
def test_the_same_on_a_loop(ioloop, run_until, event, opcode, called):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, ping_interval=0)
    heard: list[list[Any]] = []
    server.on('websocket', lambda server, ws: heard.append(heard_by(ws, event)))
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    for payload in (b'1', b'2', b'3'):
        client.send(frame=(1, 0, 0, 0, opcode, payload))
    run_until(ioloop, lambda: client.is_finished and heard and 1006 in heard[0])
    assert heard == [[*called, 1006]]


def test_a_message_that_is_cut_and_its_successors_are_treated_alike():
    ws = pyjows.WebSocket(established=True)
    heard = heard_by(ws, 'text')
    data = frame(TEXT, b'1') + frame(TEXT, b'2')
    for i in range(len(data)):
        ws.server_read(data[i : i + 1])
    assert heard == ['text', 'other text', 'message', 'json', 1006]


def test_the_joined_fragments_of_a_message_are_the_last_message():
    ws = pyjows.WebSocket(established=True)
    heard = heard_by(ws, 'text')
    ws.server_read(frame(TEXT, b'1', fin=False) + frame(0, b'2') + frame(TEXT, b'3'))
    assert heard == ['text', 'other text', 'message', 'json', 1006]


@pytest.mark.parametrize('event', ['open', 'connection', 'drain', 'error'])
def test_the_other_handlers_of_any_event_are_called_before_finish(ioloop, run_until, event):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    heard: list[Any] = []
    client.on(event, lambda ws, *args: ws.terminate())
    client.on(event, lambda ws, *args: heard.append(event))
    client.on('finish', lambda ws, code, reason: heard.append(code))
    if event == 'error':
        client.on('open', lambda ws: 1 / 0)
    client.send('hello')
    run_until(ioloop, lambda: 1006 in heard)
    assert heard == [event, 1006]


def test_a_request_that_a_handler_terminates_is_not_announced_further(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    heard: list[Any] = []

    @server.on
    def websocket(server, ws):
        ws.on('request', lambda ws: heard.append('request'))
        ws.on('finish', lambda ws, code, reason: heard.append(code))
        ws.terminate()

    server.on('websocket', lambda server, ws: heard.append('other'))
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    client.on('error', lambda ws, exc: None)
    run_until(ioloop, lambda: client.is_finished and 1006 in heard)
    assert heard == ['other', 1006]


def test_a_coroutine_receives_nothing_that_waited_when_it_terminated():
    async def main() -> None:
        received: list[Any] = []
        ended = asyncio.Event()
        async with asyncio.timeout(10):
            server = pyjows.serve('ws://127.0.0.1:0')

            @server.on
            async def websocket(server, ws):
                try:
                    async for message in ws:
                        received.append(message)
                        ws.terminate()
                except pyjows.ConnectionClosed as exc:
                    received.append(type(exc))
                finally:
                    ended.set()

            async with pyjows.connect(server.urls[0]) as client:
                for i in range(5):
                    client.send(str(i))
                await ended.wait()
            server.stop()
        assert received == ['0', pyjows.ConnectionClosed] or received == ['0', pyjows.errors.ConnectionClosedError]

    asyncio.run(main())


def test_messages_that_waited_for_handlers_end_with_the_one_that_terminates():
    async def main() -> None:
        heard: list[Any] = []
        async with asyncio.timeout(10):
            server = pyjows.serve('ws://127.0.0.1:0')

            @server.on
            async def websocket(server, ws):
                await ws.accept()
                await asyncio.sleep(0.1)  # the messages come

                def message(ws: Any, message: str) -> None:
                    heard.append(message)
                    ws.terminate()

                ws.on('message', message)
                ws.on('text', lambda ws, text: heard.append('text'))
                ws.on('message', lambda ws, message: heard.append('other'))
                ws.on('finish', lambda ws, code, reason: heard.append(code))

            client = pyjows.connect(server.urls[0])
            for i in range(5):
                client.send(str(i))
            await client.wait_closed()
            while 1006 not in heard:
                await asyncio.sleep(0.01)
            server.stop()
        assert heard == ['text', '0', 'other', 1006]

    asyncio.run(main())
