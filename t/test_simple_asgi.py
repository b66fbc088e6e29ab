"""`AioServer` on ASGI: calls of several tasks at once, where the server allows one `receive` at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.websockets import WebSocket

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


@pytest.mark.parametrize('method', ['send', 'close'])
def test_the_connection_of_starlette_or_fastapi_tells_of_a_client_that_is_gone_as_any_other(method):
    async def main() -> None:
        server = ASGIServer()
        websocket = WebSocket({'type': 'websocket', 'path': '/', 'headers': []}, server.incoming.get, server.send)
        ws = await AioServer.accept(asgi=(websocket.scope, websocket.receive, websocket.send))
        server.text('a')
        assert await ws.receive() == 'a'
        server.text('b')
        server.disconnect(1001)
        if method == 'close':
            await ws.close()  # both sides have closed: no fault of the program
            return
        with pytest.raises(ConnectionClosed, match='1001'):
            await ws.send('x')
        assert await ws.receive() == 'b'

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


class SilentASGIServer(ASGIServer):
    """One whose `send` does not say that the client is gone, as Daphne, hypercorn and Granian."""

    async def send(self, message: dict[str, Any]) -> None:
        if not self.is_gone:
            await super().send(message)


async def send_until_closed(ws: AioServer) -> ConnectionClosed:
    while True:
        try:
            await ws.send('tick')
        except ConnectionClosed as exc:
            return exc
        await asyncio.sleep(0.01)


def test_a_program_that_only_sends_learns_of_the_end_whatever_the_server_says_to_a_send():
    async def main() -> None:
        server = SilentASGIServer()
        ws = await server.accept()
        server.text('a', 'b')
        (sending,) = await started(send_until_closed(ws))
        await asyncio.sleep(0.7)
        server.text('c')
        server.disconnect(1001)
        assert await outcomes([sending]) == [1001]
        assert not ws.connected
        assert [await ws.receive() for _ in 'abc'] == ['a', 'b', 'c']
        with pytest.raises(ConnectionClosed, match='1001'):
            await ws.receive()

    asyncio.run(main())


def test_a_program_that_only_sends_keeps_a_bounded_number_of_messages():
    async def main() -> None:
        server = SilentASGIServer()
        ws = await server.accept()
        texts = [str(i) * 1024 for i in range(10_000)]
        server.text(*texts)
        for _ in range(15):
            await ws.send('tick')
            await asyncio.sleep(0.1)
        assert server.incoming.qsize() > 5_000
        assert [await ws.receive() for _ in texts] == texts

    asyncio.run(main())


def test_a_send_does_not_wait_for_a_task_that_receives():
    async def main() -> None:
        server = SilentASGIServer()
        ws = await server.accept()
        receiving = await started(ws.receive(), ws.receive(30))
        for _ in range(8):
            async with asyncio.timeout(20):
                await ws.send('tick')
            await asyncio.sleep(0.1)
        server.text('a', 'b')
        assert await outcomes(receiving) == ['a', 'b']

    asyncio.run(main())


class DaphneLike(ASGIServer):
    """One that refuses the close codes of RFC 6455 but 1000, as Daphne does."""

    async def send(self, message: dict[str, Any]) -> None:
        if message['type'] == 'websocket.close' and message['code'] in range(1001, 3000):
            raise Exception(f'invalid close code {message["code"]}')
        await super().send(message)


def test_what_a_block_raises_leaves_it_where_the_server_refuses_the_close_code():
    async def main() -> None:
        with pytest.raises(KeyError):
            async with await DaphneLike().accept():
                raise KeyError
        async with asyncio.timeout(20):
            with pytest.raises(TimeoutError):  # not the server's in place of it
                async with asyncio.timeout(0.01), await DaphneLike().accept() as ws:
                    await ws.receive()

    asyncio.run(main())


def test_a_message_that_is_too_large_ends_a_receive_also_where_the_server_refuses_the_close_code():
    async def main() -> None:
        server = DaphneLike()
        scope = {'type': 'websocket', 'path': '/', 'headers': []}
        ws = await AioServer.accept(asgi=(scope, server.incoming.get, server.send), max_message_size=10)
        server.text('x' * 11)
        with pytest.raises(ConnectionClosed, match='1009'):
            await ws.receive()

    asyncio.run(main())
