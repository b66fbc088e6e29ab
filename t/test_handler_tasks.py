"""A server's handler that receives messages runs inside the reads that bring them, and is a task in every respect."""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import pyjows

Handler = Callable[[Any], Coroutine[Any, Any, Any]]

WHO: contextvars.ContextVar[str] = contextvars.ContextVar('who', default='nobody')


@pytest.fixture(params=['of the server', 'of the program'])
def talk(ioloop: Any, run: Any, servers: list[Any], request: Any) -> Callable[..., list[Any]]:
    """``talk(handler, *messages)`` sends each message when the last one was answered; returns answers and close code.

    Two more messages, which are echoed, come before: from then on the handler is run by the reads. It runs in the
    server's task, or in one that the program has made.
    """

    def talk(handler: Handler, *messages: str, factory: Any = None) -> list[Any]:
        async def main() -> list[Any]:
            asyncio.get_running_loop().set_task_factory(factory)
            server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
            servers.append(server)

            async def begin(ws: Any) -> None:
                for _ in range(2):
                    ws.send(await ws.receive())
                await handler(ws)

            @server.on
            async def websocket(server: Any, ws: Any) -> None:
                if request.param == 'of the server':
                    await begin(ws)
                    return
                task = asyncio.create_task(begin(ws))
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()

            answers: list[Any] = []
            async with pyjows.connect(server.urls[0], ioloop=ioloop) as ws:
                for message in ('one', 'two', *messages):
                    ws.send(text=message)
                    try:
                        answers.append(await ws.receive())
                    except pyjows.ConnectionClosed:
                        break
                ws.finish(1000)
                answers.append((await ws.wait_closed()).code)
            assert answers[:2] == ['one', 'two']
            return answers[2:]

        result: list[Any] = run(main())
        return result

    return talk


async def echo(ws: Any) -> None:
    async for message in ws:
        ws.send(message)


def wrapping(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory, as some tracing tools install it."""

    async def wrapper() -> Any:
        return await coroutine

    return asyncio.Task(wrapper(), loop=loop, **options)


def in_python(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory whose tasks are asyncio's own in Python."""
    task: asyncio.Task[Any] = vars(asyncio.tasks)['_PyTask'](coroutine, loop=loop, **options)
    return task


def eager(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory whose tasks run before they are returned."""
    return asyncio.Task(coroutine, loop=loop, **(options | {'eager_start': True}))


FACTORIES = [wrapping, in_python]
if sys.version_info >= (3, 12):
    FACTORIES.append(eager)


def test_each_message_is_handled_in_the_same_task_and_context(talk):
    tasks: list[Any] = []

    async def handler(ws: Any) -> None:
        WHO.set('handler')
        async for message in ws:
            tasks.append(asyncio.current_task())
            ws.send(f'{message} {WHO.get()}')

    assert talk(handler, 'a', 'b', 'c') == ['a handler', 'b handler', 'c handler', 1000]
    assert len(set(tasks)) == 1
    assert isinstance(tasks[0], asyncio.Task)
    assert WHO.get() == 'nobody'


def test_a_plain_handler_runs_in_no_task_and_another_connection_s_in_its_own(ioloop, run, servers):
    tasks: dict[Any, set[Any]] = {}
    plain: set[Any] = set()

    async def websocket(server: Any, ws: Any) -> None:
        ws.on('text', lambda ws, message: plain.add(asyncio.current_task()))
        async for message in ws:
            tasks.setdefault(ws, set()).add(asyncio.current_task())
            ws.send(message)

    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
        servers.append(server)
        server.on('websocket', websocket)
        async with (
            pyjows.connect(server.urls[0], ioloop=ioloop) as one,
            pyjows.connect(server.urls[0], ioloop=ioloop) as other,
        ):
            for _ in range(3):
                for ws in (one, other):
                    ws.send(text='a')
                for ws in (one, other):
                    assert await ws.receive() == 'a'

    run(main())
    assert plain == {None}
    assert [len(found) for found in tasks.values()] == [1, 1]
    assert len(set.union(*tasks.values()) - {None}) == 2


def test_the_task_shows_where_it_is(talk):
    shown: list[str] = []

    async def handler(ws: Any) -> None:
        async for message in ws:
            task = asyncio.current_task()
            assert task is not None
            assert task in asyncio.all_tasks()
            shown.extend((repr(task), *(frame.f_code.co_filename for frame in task.get_stack())))
            ws.send(message)

    talk(handler, 'a')
    assert 'running at' in shown[0]
    assert len(shown) > 1


def test_it_may_await_anything_between_two_messages(talk):
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def handler(ws: Any) -> None:
        loop = asyncio.get_running_loop()
        async for message in ws:
            if message == 'turn':
                await asyncio.sleep(0)
            elif message == 'time':
                await asyncio.sleep(0.001)
            elif message == 'future':
                future = loop.create_future()
                loop.call_soon(future.set_result, message)
                assert await future == message
            elif message == 'thread':
                assert await asyncio.to_thread(str.upper, message) == 'THREAD'
            elif message == 'task':
                await asyncio.create_task(asyncio.sleep(0))
            elif message == 'error':
                with pytest.raises(LookupError):
                    await asyncio.gather(fails(), asyncio.sleep(0))
            elif message == 'drain':
                await ws.drain()
            ws.send(message)

    messages = ['turn', 'x', 'time', 'x', 'future', 'thread', 'x', 'x', 'task', 'error', 'x', 'drain', 'x']
    assert talk(handler, *messages) == [*messages, 1000]


@pytest.mark.parametrize('factory', FACTORIES)
def test_it_may_be_a_task_of_another_factory(talk, factory):
    async def handler(ws: Any) -> None:
        async for message in ws:
            if message == 'turn':
                await asyncio.sleep(0)
            ws.send(message)

    assert talk(handler, 'a', 'turn', 'b', 'c', factory=factory) == ['a', 'turn', 'b', 'c', 1000]


def test_it_may_relay_to_another_connection_and_wait_for_its_answers(ioloop, servers, talk):
    async def handler(ws: Any) -> None:
        upstream = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
        servers.append(upstream)
        upstream.on('websocket', lambda server, ws: ws.on('text', lambda ws, message: ws.send(text=message.upper())))
        async with pyjows.connect(upstream.urls[0], ioloop=ioloop) as other:
            async for message in ws:
                other.send(text=message)
                ws.send(text=await other.receive())

    assert talk(handler, 'a', 'b', 'c', 'd') == ['A', 'B', 'C', 'D', 1000]


def test_a_timeout_ends_its_wait_for_a_message_and_loses_none(talk):
    async def handler(ws: Any) -> None:
        message = await ws.receive()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await ws.receive()
        ws.send(message)
        await echo(ws)

    assert talk(handler, 'a', 'b', 'c') == ['a', 'b', 'c', 1000]


def test_a_second_task_may_receive_beside_it(talk):
    received: list[list[str]] = [[], []]

    async def receives(ws: Any, n: int) -> None:
        async for message in ws:
            received[n].append(message)
            ws.send(message)

    async def handler(ws: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(receives(ws, 1))
            await receives(ws, 0)

    messages = [str(n) for n in range(10)]
    assert talk(handler, *messages) == [*messages, 1000]
    assert sorted(received[0] + received[1], key=int) == messages


def test_where_one_of_several_receivers_is_cancelled_the_others_receive(ioloop, run, servers):
    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
        servers.append(server)
        server.on('websocket', lambda server, ws: ws.on('text', lambda ws, message: ws.send(message)))
        for cancelled in range(3):
            async with pyjows.connect(server.urls[0], ioloop=ioloop) as ws:
                tasks = [asyncio.ensure_future(ws.receive()) for _ in range(3)]
                await asyncio.sleep(0)
                tasks.pop(cancelled).cancel()
                await asyncio.sleep(0)
                for message in ('a', 'b'):
                    ws.send(text=message)
                assert sorted(await asyncio.gather(*tasks)) == ['a', 'b']

    run(main())


@pytest.mark.parametrize('then', ['receive', 'sleep', 'turn', 'task', 'future', 'sleep twice'])
def test_where_it_cancels_its_own_task_its_next_await_raises(talk, then):
    log: list[Any] = []

    async def handler(ws: Any) -> None:
        message = await ws.receive()
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        inner = loop.create_task(asyncio.sleep(60))
        future = loop.create_future()
        task.cancel('enough')
        log.append(task.cancelling())
        try:
            if then == 'receive':
                await ws.receive()
            elif then == 'turn':
                await asyncio.sleep(0)
            elif then == 'task':
                await inner
            elif then == 'future':
                await future
            else:
                await asyncio.sleep(60)
        except asyncio.CancelledError as exc:
            log.append(exc.args[0] if exc.args else None)
            task.uncancel()
        log.append(inner.cancelled())
        log.append(future.cancelled())
        inner.cancel()
        if then == 'sleep twice':
            await asyncio.sleep(0)
        ws.send(message)
        await echo(ws)

    assert talk(handler, 'a', 'b') == ['a', 'b', 1000]
    assert log == [1, 'enough', then == 'task', then == 'future']


@pytest.mark.parametrize('end', ['returns', 'raises'])
def test_where_it_cancels_its_own_task_and_ends_the_connection_is_closed(talk, end, caplog):
    tasks: list[Any] = []

    async def handler(ws: Any) -> None:
        await ws.receive()
        tasks.append(asyncio.current_task())
        tasks[0].cancel()
        if end == 'raises':
            raise LookupError('on purpose')

    assert talk(handler, 'a') == [1000 if end == 'returns' else 1011]
    assert ['on purpose' in record.exc_text for record in caplog.records if record.exc_text] == [True] * (
        end == 'raises'
    )
    assert tasks[0].done()


def test_a_task_that_another_handler_cancels_ends(ioloop, run, servers):
    waiting: list[asyncio.Task[Any]] = []

    async def websocket(server: Any, ws: Any) -> None:
        async for message in ws:
            if message == 'wait':
                task = asyncio.current_task()
                assert task is not None
                waiting.append(task)
            elif message == 'cancel':
                waiting[0].cancel()
            ws.send(message)

    async def main() -> None:
        server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
        servers.append(server)
        server.on('websocket', websocket)
        async with (
            pyjows.connect(server.urls[0], ioloop=ioloop) as one,
            pyjows.connect(server.urls[0], ioloop=ioloop) as other,
        ):
            for ws, message in ((one, 'a'), (one, 'wait'), (one, 'b'), (other, 'c'), (other, 'cancel'), (other, 'd')):
                ws.send(text=message)
                assert await ws.receive() == message
            assert waiting[0].done()
            other.send(text='e')
            assert await other.receive() == 'e'

    run(main())


def test_what_it_raises_closes_with_1011_and_is_logged_with_its_place(talk, caplog):
    async def handler(ws: Any) -> None:
        async for message in ws:
            if message == 'b':
                raise LookupError('on purpose')
            ws.send(message)

    assert talk(handler, 'a', 'b') == ['a', 1011]
    texts = [record.exc_text or '' for record in caplog.records]
    assert len(texts) == 1
    assert 'in handler' in texts[0]
    assert texts[0].endswith('LookupError: on purpose')


def test_the_stack_and_the_line_of_a_task_can_be_printed(talk: Any) -> None:
    printed: list[str] = []
    tasks: list[Any] = []

    async def describe(ws: Any) -> None:
        ws.send(await ws.receive())
        for task in asyncio.all_tasks():
            tasks.append(task)
            file = io.StringIO()
            task.print_stack(file=file)
            printed.extend((repr(task), file.getvalue()))
            printed.extend(f'{frame.f_code.co_name}:{frame.f_lineno}' for frame in task.get_stack())
        await ws.receive()

    assert talk(describe, 'hello') == ['hello', 1000]
    text = '\n'.join(printed)
    assert ' running at ' in text
    assert 'Stack for <Task' in text
    assert ':None' not in text
    assert ':-1' not in text
    assert not any(':None' in repr(task) for task in tasks), 'nor when they have ended'
