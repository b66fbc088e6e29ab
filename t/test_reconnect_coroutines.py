"""`async for ws in reconnect(…)`, and a URL and headers that are asked for anew, where coroutines run."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator
from itertools import repeat
from typing import Any

import pytest
from byhand import log

import pyjows
from pyjows import ConnectionClosed, HandshakeError

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def again(ioloop: Any, server: Any, run_until: Any) -> Iterator[Callable[..., pyjows.Reconnector]]:
    """``again(url, **options)`` reconnects without waiting long; after the test each client has to be finished."""
    clients: list[pyjows.Reconnector] = []

    def again(url: Any, **options: Any) -> pyjows.Reconnector:
        clients.append(pyjows.reconnect(url, **{'ioloop': ioloop, 'delays': lambda: repeat(0.001), **options}))
        return clients[-1]

    yield again
    run_until(ioloop, lambda: all(client.is_finished for client in clients))


def test_a_reactor_without_coroutines_says_so_at_once(ioloop, again):
    if ioloop.reactor.can_spawn:
        return
    client = again('ws://127.0.0.1:1')
    with pytest.raises(RuntimeError, match=r"IOLoop\(reactor='asyncio'\)"):
        aiter(client)
    client.finish()


def test_each_connection_in_turn_with_all_of_its_messages(ioloop, run, server, again):
    numbers = iter(range(1000))

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        if len(server.connections) > 1 or next(numbers) == 2:
            ws.reject(503)
            return
        for n in range(40):
            ws.send(text=str(n))
        ws.finish(1012)

    async def main() -> None:
        seen = []
        async for ws in again(server.urls[0]):
            received = []
            try:
                async for message in ws:
                    received.append(message)
            except ConnectionClosed as exc:
                assert exc.code == 1012
            assert received == [str(n) for n in range(40)]
            seen.append(ws)
            if len(seen) == 4:
                break
        assert len(set(seen)) == 4

    run(main())


def test_the_next_attempt_waits_for_the_end_of_the_block(ioloop, run, server, again):
    server.on('websocket', lambda server, ws: ws.finish(1012))

    async def main() -> None:
        count = 0
        client = again(server.urls[0])
        attempts = log(client, 'websocket')
        async for ws in client:
            count += 1
            await ws.wait_closed()
            await asyncio.sleep(0.05)
            assert len(attempts) == count
            if count == 3:
                break

    run(main())


def test_a_block_that_ends_closes_the_connection_and_gets_the_next(ioloop, run, run_until, server, again):
    codes: list[int] = []
    server.on('websocket', lambda server, ws: ws.on('finish', lambda ws, code, reason: codes.append(code)))

    async def main() -> None:
        count = 0
        async for ws in again(server.urls[0]):
            assert ws.established
            count += 1
            if count == 3:
                break

    run(main())
    run_until(ioloop, lambda: len(codes) == 3)
    assert codes == [1000, 1000, 1000]


def test_a_normal_close_of_the_server_ends_the_iteration(ioloop, run, server, again):
    server.on('websocket', lambda server, ws: ws.send(text='bye').finish(1000))

    async def main() -> list[Any]:
        client = again(server.urls[0])
        return [message async for ws in client async for message in ws]

    assert run(main()) == ['bye']


def test_a_refusal_that_would_be_repeated_is_raised(ioloop, run, server, again, caplog):
    server.on('websocket', lambda server, ws: ws.reject(401))

    async def main() -> None:
        with pytest.raises(HandshakeError) as caught:
            async for _ws in again(server.urls[0]):
                pytest.fail('it is not open')
        assert caught.value.status == 401

    with caplog.at_level(logging.ERROR, 'pyjows'):
        run(main())
    assert not caplog.records


def test_what_leaves_the_block_finishes_the_client(run, server, again):
    async def main() -> None:
        async for _ws in again(server.urls[0]):
            raise LookupError

    with pytest.raises(LookupError):
        run(main())


@pytest.mark.parametrize('kind', ['plain', 'async'])
def test_the_url_and_the_headers_are_asked_for_anew(ioloop, run, server, again, kind):
    asked: list[Any] = []

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        asked.append((ws.req.target, ws.req.headers['authorization']))
        ws.finish(1012)

    def url() -> str:
        return f'{server.urls[0]}/?n={len(asked)}'

    def headers() -> dict[str, str]:
        return {'Authorization': f'Bearer {len(asked)}'}

    async def url_later() -> str:
        await asyncio.sleep(0.001)
        return url()

    async def headers_later() -> dict[str, str]:
        await asyncio.sleep(0.001)
        return headers()

    async def main() -> None:
        given = (url, headers) if kind == 'plain' else (url_later, headers_later)
        async for ws in again(given[0], headers=given[1]):
            await ws.wait_closed()
            if len(asked) == 3:
                break

    run(main())
    assert asked == [(f'/?n={n}', f'Bearer {n}') for n in range(3)]


def test_functions_for_url_and_headers_need_no_coroutines(ioloop, run_until, server, again):
    asked: list[str] = []

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        asked.append(ws.req.headers['x-n'])
        ws.finish(1012)

    client = again(lambda: server.urls[0], headers=lambda: {'X-N': str(len(asked))})
    run_until(ioloop, lambda: len(asked) >= 3)
    client.finish()
    run_until(ioloop, lambda: client.is_finished)
    assert asked[:3] == ['0', '1', '2']


def test_a_function_that_fails_is_an_attempt_that_fails(ioloop, run, server, again):
    answers: list[Any] = [OSError('the token server is down'), server.urls[0], LookupError('no token')]

    async def url() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async def main() -> None:
        opened = 0
        with pytest.raises(LookupError, match='no token'):
            async for _ws in again(url):
                opened += 1
        assert opened == 1

    run(main())


def test_finish_while_the_url_is_awaited_ends_it(ioloop, run, run_until, again):
    cancelled = []

    async def url() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return ''

    async def main() -> None:
        client = again(url)
        await asyncio.sleep(0.01)
        client.finish()
        while not client.is_finished:
            await asyncio.sleep(0)

    run(main())
    assert cancelled


def test_a_url_that_is_neither_text_nor_a_function_is_refused(again):
    with pytest.raises(TypeError, match="url takes a URL, such as 'ws://127.0.0.1:3000', or a function, not 3"):
        again(3)
    with pytest.raises(TypeError, match='headers'):
        again('ws://127.0.0.1:1', headers=3)


@pytest.mark.parametrize('which', ['url', 'headers'])
def test_a_function_that_takes_too_long_is_an_attempt_that_fails(run, server, again, which):
    calls: list[int] = []

    async def slow() -> Any:
        calls.append(1)
        if len(calls) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return 'ws://127.0.0.1:1/never'  # too late: it is not connected to
        return server.urls[0] if which == 'url' else {'X-N': '2'}

    async def main() -> list[Any]:
        given = {'url': slow} if which == 'url' else {'url': server.urls[0], 'headers': slow}
        client = again(given.pop('url'), timeout=0.05, retry=lambda code, exc: not failed.append(exc), **given)
        async for _ws in client:
            break
        return failed

    failed: list[Any] = []
    (exc,) = run(main())
    assert isinstance(exc, TimeoutError)
    assert 'gave no URL and headers within 0.05 seconds; timeout= sets the limit' in str(exc)
    assert len(calls) == 2


def test_a_url_that_is_awaited_and_not_valid_is_an_attempt_that_fails(run, again):
    async def url() -> str:
        return 'gopher://example.com'

    async def main() -> None:
        with pytest.raises(ValueError, match='gopher'):
            async for _ws in again(url):
                pytest.fail('it is not open')

    run(main())


@pytest.mark.filterwarnings('error')
def test_of_two_functions_one_that_fails_leaves_no_coroutine_behind(run, again):
    async def url() -> str:
        raise LookupError('no URL')

    async def headers() -> dict[str, str]:
        return {}

    async def main() -> None:
        with pytest.raises(LookupError, match='no URL'):
            async for _ws in again(url, headers=headers):
                pytest.fail('it is not open')

    run(main())
    gc.collect()


@pytest.mark.parametrize(('timeout', 'error'), [(0, ValueError), (-1, ValueError), ('5', TypeError), (None, TypeError)])
def test_the_time_limit_is_checked_at_once(again, timeout, error):
    with pytest.raises(error, match=r'reconnect\(\): timeout'):
        again('ws://127.0.0.1:1', timeout=timeout)
