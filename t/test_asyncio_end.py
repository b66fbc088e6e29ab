"""What becomes of connections when the asyncio loop under them ends: `asyncio.run` closes it without asking."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from byhand import log

import pyjows
from pyjows import IOLoop

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=['asyncio', 'uvloop'])
def run(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[Run]:
    """`asyncio.run`, on asyncio's own loop and on uvloop's."""
    if request.param == 'asyncio':
        yield asyncio.run
        return
    uvloop = pytest.importorskip('uvloop')

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)

    yield run


async def opened(server: pyjows.Server, **options: Any) -> pyjows.WebSocket:
    """A client of the server, when it is open on both sides."""
    ws = pyjows.connect(server.urls[0], **options)
    done = asyncio.get_running_loop().create_future()
    ws.on('open', lambda ws: done.set_result(None))
    await asyncio.wait_for(done, 10)
    while not all(other.established for other in server.connections):
        await asyncio.sleep(0.001)
    return ws


def test_every_connection_finishes_when_asyncio_run_ends(run: Run) -> None:
    seen: list[Any] = []

    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0')
        server.on('finish', lambda server: seen.append('server'))
        server.on('websocket', lambda server, ws: ws.on('finish', lambda ws, *args: seen.append(('accepted', *args))))
        for _ in range(3):
            ws = await opened(server)
            ws.on('finish', lambda ws, *args: seen.append(('dialed', *args)))

    run(main())
    assert seen.count(('accepted', 1001, '')) == 3
    assert seen.count(('dialed', 1001, '')) == 3
    assert seen.count('server') == 1
    assert len(seen) == 7


def test_coroutine_handlers_of_finish_run_to_their_end(run: Run) -> None:
    seen: list[Any] = []

    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0')
        ws = await opened(server)

        @ws.on
        async def finish(ws: Any, code: int, reason: str) -> None:
            await asyncio.sleep(0.05)
            seen.append(code)

    run(main())
    assert seen == [1001]


def test_one_that_is_being_made_fails_when_asyncio_run_ends(run: Run) -> None:
    seen: list[Any] = []

    async def main() -> None:
        with socket.create_server(('127.0.0.1', 0)) as silent:
            ws = pyjows.connect(f'ws://127.0.0.1:{silent.getsockname()[1]}')
            seen.append(log(ws, 'error', 'finish'))
            client = pyjows.reconnect(f'ws://127.0.0.1:{silent.getsockname()[1]}')
            seen.append(log(client, 'finish'))
            await asyncio.sleep(0.05)

    run(main())
    assert [event for event, *_ in seen[0]] == ['error', 'finish']
    assert [event for event, *_ in seen[1]] == ['finish']


def test_a_port_is_free_again_when_asyncio_run_has_ended(run: Run) -> None:
    port = 0

    async def main() -> int:
        return pyjows.serve(f'ws://127.0.0.1:{port}').ports[0]

    for _ in range(4):
        port = run(main())


def test_the_sockets_of_a_loop_that_was_closed_are_closed_by_the_next() -> None:
    port, loops, seen = 0, [], []

    async def main() -> int:
        server = pyjows.serve(f'ws://127.0.0.1:{port}')
        ws = await opened(server)
        ws.on('finish', lambda ws, *args: seen.append(args))
        return server.ports[0]

    for n in range(4):
        loop = asyncio.new_event_loop()
        loops.append(loop)  # not garbage
        port = loop.run_until_complete(main())
        loop.close()  # without shutdown_asyncgens
        assert len(seen) == n

    async def end() -> None:
        IOLoop.singleton()

    asyncio.run(end())
    assert len(seen) == 4


def test_a_loop_that_was_closed_before_ends_quietly(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0')
        ws = await opened(server)
        IOLoop.singleton().close()
        assert ws.is_finished
        again = IOLoop('asyncio')
        again.close()

    run(main())
    assert not caplog.records
