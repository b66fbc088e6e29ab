"""A connection that is gone is freed by reference counting: without the cyclic garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pyjows


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def closures(ws: Any) -> None:
    """Handlers that refer to their transaction."""
    for event in (
        'open',
        'text',
        'message',
        'binary',
        'json',
        'frame',
        'ping',
        'pong',
        'drain',
        'finish',
        'connection',
    ):
        ws.on(event, lambda *args: ws.state)


ENDS: dict[str, Callable[[Any, Any], object]] = {
    'the client finishes': lambda client, server: client.finish(1000),
    'the server finishes': lambda client, server: server.finish(1000),
    'the client terminates': lambda client, server: client.terminate(),
    'the server terminates': lambda client, server: server.terminate(),
}


@pytest.mark.wide(options=[{'compression': True}, {'tls': True}])
@pytest.mark.parametrize('end', ENDS.values(), ids=list(ENDS))
@pytest.mark.parametrize('options', [{}, {'compression': True}, {'tls': True}], ids=str)
def test_both_ends_are_freed(
    ioloop, servers, run_until, server_tls, client_tls, without_collector, end: Any, options: dict[str, Any]
):
    tls = 'tls' in options
    theirs, ours = ({'tls': server_tls}, {'tls': client_tls}) if tls else (options, options)
    servers.append(server := pyjows.serve(f'ws{"s" if tls else ""}://127.0.0.1:0', ioloop=ioloop, **theirs))
    alive: list[Any] = []
    received: list[str] = []

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        alive.append(weakref.ref(ws))
        closures(ws)
        ws.on('text', lambda ws, text: received.append(text))

    client = pyjows.connect(server.urls[0], ioloop=ioloop, **ours)
    alive.append(weakref.ref(client))
    closures(client)
    client.send('hello' * 100)
    run_until(ioloop, lambda: received)
    end(client, next(ref() for ref in alive if ref() is not client))
    del client
    run_until(ioloop, lambda: not any(ref() for ref in alive))


def test_a_transaction_without_a_loop_is_freed(without_collector):
    ws = pyjows.WebSocket(established=True, compression=True)
    closures(ws)
    alive = weakref.ref(ws)
    ws.closed()
    del ws
    assert alive() is None


def test_coroutines_leave_nothing(without_collector):
    alive: list[Any] = []

    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0')

        @server.on
        async def websocket(server: Any, ws: Any) -> None:
            alive.append(weakref.ref(ws))
            async for message in ws:
                ws.send(message)

        async def talk() -> None:
            async with pyjows.connect(server.urls[0]) as ws:
                alive.append(weakref.ref(ws))
                assert await ws.send('hello').receive() == 'hello'

        async with asyncio.timeout(20):
            await talk()
            while any(ref() for ref in alive):
                await asyncio.sleep(0.01)
        server.stop()

    asyncio.run(main())
    assert len(alive) == 2


def test_a_client_whose_host_is_not_found_is_freed(ioloop, run_until, without_collector):
    client = pyjows.connect('ws://not.a.host.invalid', ioloop=ioloop)
    closures(client)
    alive = weakref.ref(client)
    failed: list[type] = []
    client.on('error', lambda ws, exc: failed.append(type(exc)))
    run_until(ioloop, lambda: failed)
    del client
    run_until(ioloop, lambda: alive() is None)


FAILED_HANDSHAKES = {
    'refused': b'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops',
    'no HTTP': b'SSH-2.0-OpenSSH_9.6\r\n',
    'a wrong accept': b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    'nothing': b'',
}


@pytest.mark.parametrize('answer', FAILED_HANDSHAKES.values(), ids=list(FAILED_HANDSHAKES))
def test_a_client_whose_handshake_failed_is_freed(ioloop, run_until, without_collector, answer):
    def accepted(loop: Any, stream: Any, id: str) -> None:
        stream.on('read', lambda stream, data: stream.write(answer).close_gracefully())

    id = ioloop.server(accepted, address='127.0.0.1')
    client = pyjows.connect(f'ws://127.0.0.1:{ioloop.acceptor(id).port}', ioloop=ioloop)
    alive = weakref.ref(client)
    finished: list[int] = []
    closures(client)
    client.on('finish', lambda ws, code, reason: finished.append(code))
    client.on('error', lambda ws, exc: None)
    del client
    run_until(ioloop, lambda: finished and not ioloop.connections)
    run_until(ioloop, lambda: alive() is None, 2)


def test_what_a_program_has_subscribed_to_is_known_until_finish_and_its_own_events_afterwards():
    ws = pyjows.WebSocket(established=True)
    seen: list[bool] = []
    ws.on('text', print)
    ws.on('of my own', print)
    ws.on('error', print)
    ws.on('finish', lambda ws, code, reason: seen.append(ws.has_subscribers('text')))
    ws.closed()
    assert seen == [True]
    assert ws.event_names() == {'frame', 'of my own', 'error'}
