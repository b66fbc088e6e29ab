"""`AioServer` on ASGI: calls of several tasks at once, where the server allows one `receive` at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyjows.simple import AioServer, ConnectionClosed


class ASGIServer:
    """One connection of an ASGI server; after a close the application is told once that the client is gone."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({'type': 'websocket.connect'})
        self.is_gone = False

    async def send(self, message: dict[str, Any]) -> None:
        if self.is_gone:
            raise OSError
        if message['type'] == 'websocket.close':
            self.disconnect(message['code'])

    def text(self, *texts: str) -> None:
        for text in texts:
            self.incoming.put_nowait({'type': 'websocket.receive', 'text': text})

    def disconnect(self, code: int) -> None:
        self.is_gone = True
        self.incoming.put_nowait({'type': 'websocket.disconnect', 'code': code})

    async def accept(self) -> AioServer:
        scope = {'type': 'websocket', 'path': '/', 'headers': []}
        return await AioServer.accept(asgi=(scope, self.incoming.get, self.send))


async def started(*coroutines: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    async with asyncio.timeout(20):
        return [getattr(one, 'reason', one) for one in await asyncio.gather(*tasks, return_exceptions=True)]


@pytest.mark.parametrize('timeouts', [(None,), (30,), (None, None), (30, 30), (None, 30), (30, None)])
def test_a_close_ends_the_receives_that_wait(timeouts):
    async def main() -> None:
        ws = await ASGIServer().accept()
        tasks = await started(*map(ws.receive, timeouts))
        await ws.close(4000)
        assert await outcomes(tasks) == [4000] * len(timeouts)

    asyncio.run(main())


@pytest.mark.parametrize('timeouts', [(None, None, None), (30, 30, 30), (30, None, 30)])
def test_receives_at_once_share_the_messages_and_learn_of_the_end(timeouts):
    async def main() -> None:
        server = ASGIServer()
        ws = await server.accept()
        tasks = await started(*map(ws.receive, timeouts))
        server.text('a', 'b', 'c')
        assert await outcomes(tasks) == ['a', 'b', 'c']
        tasks = await started(*map(ws.receive, timeouts))
        server.disconnect(1001)
        assert await outcomes(tasks) == [1001] * 3

    asyncio.run(main())


def test_a_receive_whose_time_is_over_does_not_wait_for_another():
    async def main() -> None:
        ws = await ASGIServer().accept()
        tasks = await started(ws.receive())
        assert await ws.receive(0) is None
        assert await ws.receive(0.01) is None
        await ws.close()
        assert await outcomes(tasks) == [1000]

    asyncio.run(main())


def test_a_cancelled_receive_loses_no_message():
    async def main() -> None:
        server = ASGIServer()
        ws = await server.accept()
        for timeout in (None, 30):
            waiting, behind = await started(ws.receive(timeout), ws.receive(timeout))
            waiting.cancel()
            server.text('a', 'b')
            assert await outcomes([behind]) == ['a']
            assert await ws.receive(30) == 'b'

    asyncio.run(main())


def test_messages_before_a_close_that_a_send_has_found_come_first():
    async def main() -> None:
        server = ASGIServer()
        ws = await server.accept()
        server.text('a', 'b')
        server.disconnect(1001)
        with pytest.raises(ConnectionClosed, match='1001'):
            await ws.send('x')
        assert [await ws.receive(), await ws.receive(30)] == ['a', 'b']
        with pytest.raises(ConnectionClosed, match='1001'):
            await ws.receive()

    asyncio.run(main())


def test_an_application_that_ends_without_a_close_leaves_no_task():
    async def main() -> None:
        ws = await ASGIServer().accept()
        assert await ws.receive(0.01) is None
        del ws
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
