"""What coroutines may await on a `WebSocket`, on every reactor that runs them, on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from byhand import TEXT, close, frame, log, opened

import pyjows
from pyjows import (
    Close,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    UnexpectedMessage,
)
from pyjows.handshake import ServerHandshake

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def serve(ioloop: Any) -> Callable[..., str]:
    """``serve(websocket, **options)`` serves with a handler, and returns the URL."""

    def serve(websocket: Any, **options: Any) -> str:
        server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, **options)
        server.on('websocket', websocket)
        return server.urls[0]

    return serve


async def echo(server: Any, ws: Any) -> None:
    async for message in ws:
        ws.send(message)


def parrot(server: Any, ws: Any) -> None:
    ws.on('message', lambda ws, message: ws.send(message))


# Where nothing runs coroutines


def test_a_reactor_without_coroutines_names_those_that_run_them(ioloop):
    if ioloop.reactor.can_spawn:
        return
    ws = pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop)
    awaited = [ws, ws.receive(), ws.drain(), ws.wait_closed(), ws.__aenter__()]
    for awaitable in awaited:
        with pytest.raises(RuntimeError, match=r"the asyncio or the uvloop reactor, IOLoop\(reactor='asyncio'\)"):
            awaitable.__await__().send(None)
    with pytest.raises(RuntimeError, match='async for needs a loop that runs coroutines'):
        aiter(ws)
    ws.terminate()


def test_without_a_loop_the_one_that_runs_is_used():
    async def main() -> list[Any]:
        ws = opened(max_queue=2)
        received = asyncio.ensure_future(ws.receive())
        await asyncio.sleep(0)
        for n in range(5):
            ws.server_read(frame(TEXT, b'%d' % n, masked=True))
        assert ws.is_paused
        messages = [await received, *[await ws.receive() for _ in range(4)]]
        ws.server_read(close(1000, masked=True)).server_read(b'').closed()
        assert [message async for message in ws] == []
        return messages

    assert asyncio.run(main()) == list('01234')
    with pytest.raises(RuntimeError, match='asyncio'):
        aiter(opened())


# Opening


def test_await_waits_until_it_is_open(ioloop, run, serve):
    async def main() -> None:
        ws = pyjows.connect(serve(parrot), ioloop=ioloop)
        assert not ws.established
        assert await ws is ws
        assert ws.established
        assert await ws is ws
        ws.finish()

    run(main())


def test_await_raises_what_error_tells_and_nothing_is_logged(ioloop, run, serve, caplog):
    async def main() -> None:
        url = serve(lambda server, ws: ws.reject(401))
        for _ in range(2):
            ws = pyjows.connect(url, ioloop=ioloop)
            errors = log(ws, 'error') if _ else []
            with pytest.raises(HandshakeError) as caught:
                await ws
            assert caught.value.status == 401
            assert errors == [('error', caught.value)] * _
            with pytest.raises(HandshakeError) as again:
                await ws.receive()
            assert again.value is caught.value
        ws = pyjows.connect(serve(lambda server, ws: ws.terminate()), ioloop=ioloop)
        with pytest.raises(HandshakeError, match='closed before the server answered'):
            await ws
        with pytest.raises(ConnectionRefusedError):
            await pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop)
        with pytest.raises(ConnectionRefusedError):
            async with pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop):
                pytest.fail('it is not open')
        with pytest.raises(ConnectionRefusedError):
            async for _message in pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop):
                pytest.fail('it is not open')

    with caplog.at_level(logging.WARNING, 'pyjows'):
        run(main())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_server_with_wrong_extensions_was_never_open(ioloop, run):
    @ioloop.server(port=0)
    def accepted(loop: Any, stream: Any, connection: str) -> None:
        handshake = ServerHandshake()
        answered: list[bool] = []

        @stream.on
        def read(stream: Any, data: bytes) -> None:
            if not answered and handshake.receive(data) is not None:
                answered.append(True)
                answer = handshake.accept()
                stream.write(answer.replace(b'\r\n\r\n', b'\r\nSec-WebSocket-Extensions: x-unheard-of\r\n\r\n'))

    async def main() -> None:
        ws = pyjows.connect(f'ws://127.0.0.1:{ioloop.acceptor(accepted).port}', ioloop=ioloop, close_timeout=0.1)
        for _ in range(2):
            with pytest.raises(HandshakeError, match='x-unheard-of'):
                await ws
        assert (await ws.wait_closed()).code == 1010

    run(main())


def test_what_another_handler_raises_meanwhile_is_still_logged(ioloop, run, serve, caplog):
    async def main() -> None:
        ws = pyjows.connect(serve(parrot), ioloop=ioloop)

        @ws.on
        def connection(ws: Any, connection: str) -> None:
            raise LookupError

        await ws
        ws.finish()

    run(main())
    assert 'LookupError' in caplog.text


def test_a_cancelled_async_with_gives_the_connection_up(ioloop, run, serve):
    async def silent(server: Any, ws: Any) -> None:
        await asyncio.sleep(1)
        ws.reject()

    async def main() -> None:
        ws = pyjows.connect(serve(silent), ioloop=ioloop)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), ws:
                pytest.fail('it is not open')
        assert ws.is_finished

    run(main())


# Messages


@pytest.mark.parametrize('handler', [echo, parrot])
def test_messages_come_in_order_by_receive_and_by_iteration(ioloop, run, serve, handler):
    async def main() -> None:
        async with pyjows.connect(serve(handler), ioloop=ioloop) as ws:
            sent = [str(n) if n % 2 else b'%d' % n for n in range(200)]
            for message in sent:
                ws.send(message)
            received: list[Any] = [await ws.receive() for _ in range(100)]
            async for message in ws:
                received.append(message)
                if len(received) == len(sent):
                    break
            assert received == sent

    run(main())


def test_what_is_sent_with_the_answer_of_the_handshake_is_not_lost(ioloop, run, serve):
    def websocket(server: Any, ws: Any) -> None:
        for n in range(50):
            ws.send(text=str(n))
        ws.finish(1000)

    async def main() -> None:
        async with pyjows.connect(serve(websocket), ioloop=ioloop) as ws:
            await asyncio.sleep(0.05)
            assert [message async for message in ws] == [str(n) for n in range(50)]

    run(main())


def test_receive_takes_what_it_is_asked_for(ioloop, run, serve):
    async def main() -> None:
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            ws.send(json={'a': [1]}).send(binary=b'[2]').send(text='t').send(binary=b'b')
            assert await ws.receive(json=True) == {'a': [1]}
            assert await ws.receive(json=True) == [2]
            assert await ws.receive(text=True) == 't'
            assert await ws.receive(binary=True) == b'b'
            ws.send(text='t').send(binary=b'b').send(text='[')
            with pytest.raises(UnexpectedMessage, match='a text message where binary') as caught:
                await ws.receive(binary=True)
            assert (caught.value.code, caught.value.message) == (1003, 't')
            with pytest.raises(UnexpectedMessage, match='a binary message where text') as caught:
                await ws.receive(text=True)
            assert (caught.value.code, caught.value.message) == (1003, b'b')
            with pytest.raises(UnexpectedMessage, match='not valid JSON') as caught:
                await ws.receive(json=True)
            assert (caught.value.code, caught.value.message) == (1007, '[')
            with pytest.raises(TypeError, match='one of text=True, binary=True and json=True'):
                await ws.receive(text=True, json=True)
            ws.send(text='still open')
            assert await ws.receive() == 'still open'

    run(main())


def test_the_reason_of_an_unexpected_message_is_cut_to_what_a_close_frame_holds(ioloop, run, serve):
    async def websocket(server: Any, ws: Any) -> None:
        async with ws:
            raise UnexpectedMessage('\N{SNAKE}' * 40)

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        close = await ws.wait_closed()
        assert (close.code, close.reason) == (1003, '\N{SNAKE}' * 30)

    run(main())


def test_an_unexpected_message_that_nobody_catches_closes_with_its_code(ioloop, run, serve, caplog):
    caplog.set_level(logging.INFO, 'pyjows')

    async def websocket(server: Any, ws: Any) -> None:
        await ws.receive(json=True)

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        ws.send(text='{')
        close = await ws.wait_closed()
        assert close.code == 1007

        async def client() -> None:
            async with pyjows.connect(serve(parrot_once), ioloop=ioloop) as ws:
                await ws.receive(binary=True)

        with pytest.raises(UnexpectedMessage):
            await client()
        while not closes:
            await asyncio.sleep(0)
        assert closes == [1003]

    closes: list[int] = []

    def parrot_once(server: Any, ws: Any) -> None:
        ws.send(text='text')
        ws.on('finish', lambda ws, code, reason: closes.append(code))

    run(main())
    assert [record.levelname for record in caplog.records if 'failing the connection with 1007' in record.message] == [
        'INFO'
    ]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_handlers_and_iteration_each_get_every_message(ioloop, run, serve):
    async def main() -> None:
        heard: list[Any] = []
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            ws.on('text', lambda ws, message: heard.append(message))
            ws.on('json', lambda ws, value: heard.append(value))
            for n in range(100):
                ws.send(text=str(n))
            assert [await ws.receive() for _ in range(100)] == [str(n) for n in range(100)]
            assert heard == [each for n in range(100) for each in (str(n), n)]

    run(main())


def test_handlers_alone_take_the_messages_of_an_awaited_connection(ioloop, run, serve):
    async def main() -> None:
        heard: list[Any] = []
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            for n in range(100):
                ws.send(text=str(n))
            while not ws.is_paused:
                await asyncio.sleep(0)
            ws.on('text', lambda ws, message: heard.append(message))
            while len(heard) < 84:
                await asyncio.sleep(0)
            assert heard == [str(n) for n in range(16, 100)]  # those before wait for `receive`
            assert not ws.is_paused
            assert [await ws.receive() for _ in range(16)] == [str(n) for n in range(16)]

    run(main())


@pytest.mark.parametrize('side', ['server', 'client'])
def test_who_does_not_receive_slows_the_peer_down_and_nothing_is_lost(ioloop, run, serve, side):
    count, payload = 4000, b'x' * 1000
    go_on = asyncio.Event()
    received: list[Any] = []
    most = 0

    async def slow(ws: Any) -> None:
        nonlocal most
        counter = 0
        ws.on('binary', lambda ws, message: counting())

        def counting() -> None:
            nonlocal counter
            counter += 1

        async for message in ws:
            received.append(message)
            if len(received) == 1:
                await go_on.wait()
            most = max(most, counter - len(received))
            if len(received) == count:
                return

    async def fast(ws: Any) -> None:
        for _ in range(count):
            ws.send(binary=payload)
        await ws.drain()

    async def websocket(server: Any, ws: Any) -> None:
        connected.append(ws)
        await ws.accept()
        await (slow if side == 'server' else fast)(ws)
        await ws.wait_closed()

    connected: list[Any] = []

    async def main() -> None:
        async with pyjows.connect(serve(websocket), ioloop=ioloop) as ws:
            task = asyncio.create_task((fast if side == 'server' else slow)(ws))
            receiver = None
            while receiver is None or not receiver.is_paused:
                await asyncio.sleep(0.001)
                if connected:
                    receiver = connected[0] if side == 'server' else ws
            assert len(received) == 1
            go_on.set()
            await task
            while len(received) < count:
                await asyncio.sleep(0)

    run(main())
    assert most <= 17
    assert len(received) == count


def test_cancelling_receive_loses_no_message(ioloop, run, serve):
    async def main() -> None:
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            received: list[Any] = []
            for n in range(300):
                ws.send(text=str(n))
                if n % 3 == 0:
                    await asyncio.sleep(0.0005)
                try:
                    received.append(await asyncio.wait_for(ws.receive(), 0.0001 * (n % 4)))
                except TimeoutError:
                    pass
                task = asyncio.ensure_future(anext(aiter(ws)))
                if n % 2:
                    await asyncio.sleep(0)
                if not task.done():
                    task.cancel()
                try:
                    received.append(await task)
                except asyncio.CancelledError:
                    pass
            while len(received) < 300:
                received.append(await ws.receive())
            assert received == [str(n) for n in range(300)]

    run(main())


def test_what_was_cancelled_leaves_nothing_behind(ioloop, run, serve):
    def futures() -> int:
        return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())

    async def main() -> None:
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            before = futures()
            for _ in range(50):
                for awaited in (ws.receive(), ws.wait_closed()):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(awaited, 0.0001)
            gc.collect()
            assert futures() < before + 10

    run(main())


def test_several_coroutines_may_receive_from_one_connection(ioloop, run, serve):
    async def main() -> None:
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            received: list[Any] = []

            async def receive() -> None:
                received.append(await ws.receive())

            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(receive())
                for n in range(20):
                    ws.send(text=str(n))
            assert sorted(received, key=int) == [str(n) for n in range(20)]

    run(main())


def test_the_next_message_may_be_awaited_in_every_way_that_a_coroutine_may(ioloop, run, serve):
    async def main() -> None:
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            messages = aiter(ws)

            def sent(text: str) -> Any:
                ws.send(text=text)
                return anext(messages)

            assert await sent('open') == 'open'
            assert await asyncio.create_task(sent('task')) == 'task'
            assert await asyncio.wait_for(sent('timeout'), 5) == 'timeout'
            assert await asyncio.gather(sent('one'), sent('two')) == ['one', 'two']
            ws.send(text='default')
            assert await anext(messages, 'none') == 'default'
            spent = sent('once')
            assert await spent == 'once'
            with pytest.raises(RuntimeError, match='cannot reuse already awaited coroutine'):
                await spent
            del spent
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(messages), 0.01)
            assert await sent('last') == 'last'
            ws.finish(1000)
            assert await anext(messages, 'end') == 'end'

    run(main())


def test_who_awaits_the_next_message_by_hand_may_end_that(ioloop, run, serve):
    async def main() -> None:
        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            messages = aiter(ws)
            ws.send(text='a')
            assert await anext(messages) == 'a'
            for begins in (False, True):
                for end in ('throw', 'throw a type', 'throw three', 'close'):
                    by_hand = messages.__anext__()
                    if begins:
                        assert by_hand.send(None) is not None
                        assert by_hand.send(None) is not None
                    if end == 'throw':
                        with pytest.raises(KeyError, match='now'):
                            by_hand.throw(KeyError('now'))
                    elif end == 'throw a type':
                        with pytest.raises(KeyError):
                            by_hand.throw(KeyError)
                    elif end == 'throw three':
                        with pytest.raises(KeyError, match='now'):
                            by_hand.throw(KeyError, 'now', None)
                    else:
                        by_hand.close()
                    with pytest.raises(RuntimeError, match='cannot reuse already awaited coroutine'):
                        by_hand.send(None)
            ws.send(text='b')
            assert await anext(messages) == 'b'

    run(main())


# Run in the read


def test_who_waits_for_a_message_runs_in_the_read_after_the_handlers(ioloop, run, serve):
    async def main() -> None:
        order: list[str] = []

        def text(ws: Any, message: str) -> None:
            order.append('handled')
            asyncio.get_running_loop().call_soon(order.append, 'next turn')

        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            ws.on('text', text)
            ws.send(text='a')
            order.append(await ws.receive())
            await asyncio.sleep(0)
        assert order == ['handled', 'a', 'next turn']

    run(main())


@pytest.mark.parametrize('receivers', ['one', 'a new one each time', 'two in turn', 'cancelled before each'])
def test_every_message_that_is_waited_for_is_received_in_the_read_that_brings_it(ioloop, run, serve, receivers):
    async def main() -> None:
        order: list[str] = []

        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:

            async def receives(messages: int) -> None:
                for _ in range(messages):
                    order.append(await ws.receive())

            async def talk() -> None:
                ws.send(text='a')
                before = len(order)
                while len(order) < before + 2:
                    await asyncio.sleep(0)

            def text(ws: Any, message: str) -> None:
                asyncio.get_running_loop().call_soon(order.append, 'next turn')

            ws.on('text', text)
            if receivers == 'one':
                tasks = [asyncio.create_task(receives(8))]
            elif receivers == 'two in turn':
                tasks = [asyncio.create_task(receives(4)), asyncio.create_task(receives(4))]
            else:
                tasks = []
            for _ in range(8):
                if receivers == 'cancelled before each':
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.0001):
                            await ws.receive()
                if not tasks or tasks[-1].done():
                    tasks.append(asyncio.create_task(receives(1)))
                await asyncio.sleep(0)
                await talk()
            await asyncio.gather(*tasks)
        assert order == ['a', 'next turn'] * 8

    run(main())


def test_a_coroutine_that_keeps_up_never_has_the_reading_paused(ioloop, run, serve):
    async def main() -> None:
        paused: list[bool] = []
        received: list[Any] = []

        async def receives() -> None:
            async for message in ws:
                received.append(message)

        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            task = asyncio.create_task(receives())
            await asyncio.sleep(0)
            ws.on('text', lambda ws, message: paused.append(ws.is_paused))
            for n in range(200):
                ws.send(text=str(n))
            while len(received) < 200:
                await asyncio.sleep(0)
            task.cancel()
        assert received == [str(n) for n in range(200)]
        assert paused == [False] * 200

    run(main())


def test_a_task_that_feeds_another_connection_goes_on_before_its_receiver(ioloop, run):
    async def main() -> None:
        order: list[str] = []
        ws = opened()

        async def receives() -> None:
            order.append(await ws.receive())

        task = asyncio.create_task(receives())
        await asyncio.sleep(0)
        ws.server_read(frame(TEXT, b'received', masked=True))
        order.append('fed')
        await task
        assert order == ['fed', 'received']

    run(main())


def test_a_coroutine_may_end_the_connection_in_the_middle_of_what_was_read(ioloop, run, serve):
    async def main() -> None:
        for end in (lambda ws: ws.terminate(), lambda ws: ws.finish(1000)):
            received: list[Any] = []
            async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
                for n in range(100):
                    ws.send(text=str(n))
                with contextlib.suppress(ConnectionClosed):
                    async for message in ws:
                        received.append(message)
                        if len(received) == 3:
                            end(ws)
                            break
                assert received == ['0', '1', '2']
            assert ws.is_finished

    run(main())


def test_what_ends_the_program_is_raised_by_the_loop_when_a_received_message_causes_it(ioloop, serve, run_until):
    if not ioloop.reactor.can_spawn:
        return

    async def interrupted(ws: Any) -> None:
        await ws
        ws.send(text='a')
        await ws.receive()
        raise KeyboardInterrupt

    ws = pyjows.connect(serve(parrot), ioloop=ioloop)
    task = ioloop.reactor.loop.create_task(interrupted(ws))
    with pytest.raises(KeyboardInterrupt):
        run_until(ioloop, lambda: False)
    assert isinstance(task.exception(), KeyboardInterrupt)
    with contextlib.suppress(KeyboardInterrupt):
        run_until(ioloop, lambda: ws.finish().is_finished)


def test_a_task_that_waits_can_be_cancelled_with_a_message_and_keeps_its_context(ioloop, run, serve):
    who: contextvars.ContextVar[str] = contextvars.ContextVar('who', default='nobody')

    async def main() -> None:
        async def receives() -> str:
            who.set('me')
            await ws.receive()
            return who.get()

        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            task = asyncio.create_task(receives())
            await asyncio.sleep(0)
            ws.send(text='a')
            assert await task == 'me'
            task = asyncio.create_task(receives())
            await asyncio.sleep(0)
            task.cancel('enough')
            with pytest.raises(asyncio.CancelledError, match='enough'):
                await task
            for timeout in (0, 0.001):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await ws.receive()
            ws.send(text='b')
            assert await ws.receive() == 'b'
        assert who.get() == 'nobody'

    run(main())


def test_a_task_that_has_received_and_ended_is_not_kept(ioloop, run, serve):
    async def main() -> None:
        async def receives(messages: int) -> None:
            for _ in range(messages):
                await ws.receive()

        async with pyjows.connect(serve(parrot), ioloop=ioloop) as ws:
            for messages in (1, 4):
                task = asyncio.create_task(receives(messages))
                for _ in range(messages):
                    await asyncio.sleep(0.001)
                    ws.send(text='a')
                await task
                there = weakref.ref(task)
                del task
                await asyncio.sleep(0)  # asyncio's handle has it too, while this runs
                assert there() is None

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


# The end


@pytest.mark.parametrize('code', [1000, 1001, None])
def test_iteration_ends_at_a_normal_close_and_receive_raises(ioloop, run, serve, code):
    async def websocket(server: Any, ws: Any) -> None:
        ws.send(text='last')
        await ws.accept()
        ws.finish(code)

    async def main() -> None:
        ws = pyjows.connect(serve(websocket), ioloop=ioloop)
        assert [message async for message in ws] == ['last']
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()
        assert await ws.wait_closed() == Close(1005 if code is None else code, '')
        assert [message async for message in ws] == []

    run(main())


def test_iteration_raises_at_another_close_after_what_came_before(ioloop, run, serve):
    async def websocket(server: Any, ws: Any) -> None:
        async for message in ws:
            ws.send(message).finish(4000, 'no more')

    async def main() -> None:
        received = []
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        ws.send(text='one')
        with pytest.raises(ConnectionClosedError) as caught:
            async for message in ws:
                received.append(message)
        assert received == ['one']
        assert (caught.value.code, caught.value.reason) == (4000, 'no more')
        with pytest.raises(ConnectionClosed):
            await ws.drain()
        assert await ws.wait_closed() == Close(4000, 'no more')

    run(main())


def test_a_connection_that_breaks_raises_in_all_that_wait(ioloop, run, serve):
    served: list[Any] = []

    async def main() -> None:
        ws = await pyjows.connect(serve(lambda server, ws: served.append(ws)), ioloop=ioloop)
        tasks = [asyncio.create_task(each) for each in (ws.receive(), ws.receive(), ws.wait_closed())]
        await asyncio.sleep(0)
        served[0].terminate()
        first, second, close = await asyncio.gather(*tasks, return_exceptions=True)
        assert type(first) is type(second) is ConnectionClosedError
        assert close == Close(1006, '')

    run(main())


def test_a_ping_timeout_is_told_with_the_exception(ioloop, run, serve):
    def deaf(server: Any, ws: Any) -> None:
        ws.pause_reading()

    async def main() -> None:
        ws = await pyjows.connect(serve(deaf), ioloop=ioloop, ping_interval=0.05, ping_timeout=0.05)
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert 'ping timeout' in caught.value.__notes__[0]

    run(main())


def test_leaving_async_with_closes_and_waits(ioloop, run, serve):
    ends: list[Any] = []

    def websocket(server: Any, ws: Any) -> None:
        ws.on('finish', lambda ws, code, reason: ends.append(code))
        for n in range(1000):  # more than its inbox holds
            ws.send(text=str(n))

    async def leave(with_exception: BaseException | None) -> None:
        async with pyjows.connect(serve(websocket), ioloop=ioloop) as ws:
            while not ws.is_paused:
                await asyncio.sleep(0)
            if with_exception is not None:
                raise with_exception

    async def main() -> None:
        await leave(None)
        with pytest.raises(LookupError):
            await leave(LookupError())
        with pytest.raises(asyncio.CancelledError):
            await leave(asyncio.CancelledError())
        while len(ends) < 3:
            await asyncio.sleep(0)

    run(main())
    assert ends == [1000, 1011, 1001]


def test_leaving_async_with_waits_no_longer_than_close_timeout(ioloop, run, serve):
    def deaf(server: Any, ws: Any) -> None:
        ws.pause_reading()

    async def main() -> None:
        async with pyjows.connect(serve(deaf), ioloop=ioloop, close_timeout=0.1) as ws:
            pass
        assert ws.is_finished

    run(main())


def test_drain_waits_above_the_high_water_mark_alone(ioloop, run, serve):
    served: list[Any] = []

    def deaf(server: Any, ws: Any) -> None:
        served.append(ws.pause_reading())

    async def main() -> None:
        async with pyjows.connect(serve(deaf), ioloop=ioloop, high_water_mark=100_000) as ws:
            ws.send(binary=bytes(1000))
            await ws.drain()
            assert ws.buffered_amount
            ws.send(binary=bytes(20_000_000))
            drained = asyncio.create_task(ws.drain())
            await asyncio.sleep(0.05)
            assert not drained.done()
            served[0].max_websocket_size = 30_000_000
            served[0].resume_reading()
            await drained
            assert not ws.buffered_amount

    run(main())


# Servers


def test_a_server_s_handler_rejects_before_it_awaits_a_message(ioloop, run, serve):
    async def websocket(server: Any, ws: Any) -> None:
        await asyncio.sleep(0)
        if ws.req.path == '/no':
            ws.reject(403)
            return
        assert not ws.established
        async for message in ws:
            ws.send(message)

    async def main() -> None:
        url = serve(websocket)
        with pytest.raises(HandshakeError) as caught:
            await pyjows.connect(url + '/no', ioloop=ioloop)
        assert caught.value.status == 403
        async with pyjows.connect(url + '/yes', ioloop=ioloop) as ws:
            ws.send(text='hello')
            assert await ws.receive() == 'hello'

    run(main())


def test_messages_that_come_while_a_handler_decides_are_received_after_accept(ioloop, run, serve):
    async def websocket(server: Any, ws: Any) -> None:
        await asyncio.sleep(0.02)
        await ws.accept()
        await asyncio.sleep(0.02)
        received.extend([await ws.receive() for _ in range(50)])
        ws.finish(1000)

    received: list[Any] = []

    async def main() -> None:
        ws = pyjows.connect(serve(websocket), ioloop=ioloop)
        for n in range(50):
            ws.send(text=str(n))
        await ws.wait_closed()

    run(main())
    assert received == [str(n) for n in range(50)]


def test_a_handler_that_has_received_and_returns_closes_with_1000(ioloop, run, serve):
    async def once(server: Any, ws: Any) -> None:
        await ws.receive()

    async def then_handlers(server: Any, ws: Any) -> None:
        await ws.receive()
        ws.on('text', lambda ws, message: ws.send(text=message))

    async def pushes(server: Any, ws: Any) -> None:
        await ws.accept()

    async def main() -> None:
        ws = await pyjows.connect(serve(once), ioloop=ioloop)
        ws.send(text='only one')
        assert await ws.wait_closed() == Close(1000, '')
        for handler in (then_handlers, pushes):
            async with pyjows.connect(serve(handler), ioloop=ioloop) as ws:
                for n in range(100):
                    ws.send(text=str(n))
                if handler is then_handlers:
                    assert [await ws.receive() for _ in range(99)] == [str(n) for n in range(1, 100)]
                else:
                    ws.send(text='').ping(cb=lambda ws, latency: ws.finish(1000))  # all was read
                    assert await ws.wait_closed() == Close(1000, '')

    run(main())


@pytest.mark.parametrize('listens', [True, False])
def test_a_handler_that_raises_while_messages_wait_closes_at_once(ioloop, run, serve, listens):
    errors: list[Any] = []

    async def websocket(server: Any, ws: Any) -> None:
        if listens:
            ws.on('error', lambda ws, exc: errors.append(exc))
        await ws.receive()
        while not ws.is_paused:
            await asyncio.sleep(0)
        raise LookupError

    async def main() -> None:
        async with asyncio.timeout(5):  # and not after `close_timeout`
            ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
            for _ in range(10_000):
                ws.send(text='more than may wait')
            assert (await ws.wait_closed()).code == 1011

    run(main())
    assert len(errors) == listens


def test_a_handler_that_raises_closes_with_1011(ioloop, run, serve, caplog):
    async def websocket(server: Any, ws: Any) -> None:
        async for _ in ws:
            raise LookupError

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        ws.send(text='')
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.code == 1011

    run(main())
    assert 'LookupError' in caplog.text


def test_a_client_that_leaves_abnormally_is_no_error_of_the_server(ioloop, run, serve, caplog):
    ended: list[Any] = []

    async def websocket(server: Any, ws: Any) -> None:
        try:
            async for message in ws:
                ws.send(message)
        finally:
            ended.append(ws)

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        ws.send(text='')
        await ws.receive()
        ws.terminate()
        while not ended:
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, 'pyjows'):
        run(main())
    assert not caplog.records


@pytest.mark.parametrize('nested', [False, True])
def test_what_a_task_group_raises_for_a_client_that_left_is_no_error_of_the_server(ioloop, run, serve, caplog, nested):
    ended: list[Any] = []

    async def receive(ws: Any) -> None:
        if nested:
            async with asyncio.TaskGroup() as group:
                group.create_task(ws.receive())
                group.create_task(ws.receive())
        else:
            await ws.receive()

    async def websocket(server: Any, ws: Any) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(receive(ws))
                group.create_task(receive(ws))
        finally:
            ended.append(ws)

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        ws.terminate()
        while not ended:
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, 'pyjows'):
        run(main())
    assert not caplog.records


@pytest.mark.parametrize('inside', [False, True])
def test_an_unexpected_message_closes_with_its_code_also_out_of_a_task_group(ioloop, run, serve, caplog, inside):
    async def websocket(server: Any, ws: Any) -> None:
        async with ws if inside else contextlib.nullcontext(), asyncio.TaskGroup() as group:
            group.create_task(ws.receive(json=True))
            group.create_task(ws.wait_closed())

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        ws.send(text='{')
        assert (await ws.wait_closed()).code == 1007

    with caplog.at_level(logging.WARNING, 'pyjows'):
        run(main())
    assert not caplog.records


def test_a_task_group_that_raises_something_else_too_closes_with_1011(ioloop, run, serve, caplog):
    async def fail(ws: Any) -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def misunderstand(ws: Any) -> None:
        try:
            await ws.receive(json=True)
        finally:
            raise UnexpectedMessage

    async def websocket(server: Any, ws: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(misunderstand(ws))
            group.create_task(fail(ws))

    async def main() -> None:
        ws = await pyjows.connect(serve(websocket), ioloop=ioloop)
        assert (await ws.wait_closed()).code == 1011

    run(main())
    assert 'LookupError' in caplog.text


def test_what_was_awaited_is_freed_at_the_end_by_reference_counting(ioloop, run, run_until, serve):
    there: list[Any] = []

    async def websocket(server: Any, ws: Any) -> None:
        there.append(weakref.ref(ws))
        await echo(server, ws)

    async def main() -> None:
        url = serve(websocket)
        for _ in range(3):
            async with pyjows.connect(url, ioloop=ioloop) as ws:
                there.append(weakref.ref(ws))
                ws.send(text='x')
                await ws.receive()

    gc.disable()
    try:
        run(main())
        run_until(ioloop, lambda: not any(ref() for ref in there))
    finally:
        gc.enable()
    assert len(there) == 6
