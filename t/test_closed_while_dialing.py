"""A loop that is closed or reset: clients that are still connecting finish, as all others do."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pyjows
from pyjows.ioloop import IOLoop

ENDS = ['close', 'reset']


@pytest.fixture
def silent(ioloop: IOLoop) -> Iterator[tuple[int, list[Any]]]:
    """The port of a server that accepts and answers nothing, and its connections."""
    streams: list[Any] = []
    id = ioloop.server(lambda loop, stream, id: streams.append(stream), address='127.0.0.1')
    acceptor = ioloop.acceptor(id)
    assert acceptor is not None and acceptor.port is not None
    yield acceptor.port, streams


def seen_of(emitter: Any) -> list[str]:
    seen: list[str] = []
    for event in ('error', 'finish'):
        emitter.on(event, lambda emitter, *args, event=event: seen.append(event))
    return seen


def just_begun(ioloop: IOLoop, port: int) -> list[Any]:
    return [pyjows.connect(f'ws://127.0.0.1:{port}', ioloop=ioloop)]


def waits_for_the_name(ioloop: IOLoop, port: int) -> list[Any]:
    return [pyjows.connect(f'ws://localhost:{port}', ioloop=ioloop)]


def waits_for_its_turn(ioloop: IOLoop, port: int) -> list[Any]:
    return [pyjows.connect(f'ws://127.0.0.1:{port}', ioloop=ioloop) for _ in range(3)]


def makes_the_tls_handshake(ioloop: IOLoop, port: int) -> list[Any]:
    return [pyjows.connect(f'wss://127.0.0.1:{port}', ioloop=ioloop)]


def waits_for_the_proxy(ioloop: IOLoop, port: int) -> list[Any]:
    proxy = f'http://127.0.0.1:{port}'
    return [pyjows.connect('ws://example.invalid:80', proxy=proxy, ioloop=ioloop) for _ in range(3)]


def was_given_up(ioloop: IOLoop, port: int) -> list[Any]:
    clients = waits_for_the_proxy(ioloop, port)
    clients[-1].finish()
    return clients


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('has_run', [False, True])
@pytest.mark.parametrize(
    'begin',
    [
        just_begun,
        waits_for_the_name,
        waits_for_its_turn,
        makes_the_tls_handshake,
        waits_for_the_proxy,
        was_given_up,
    ],
)
def test_a_client_that_is_connecting_finishes_with_the_loop(
    ioloop: IOLoop,
    silent: tuple[int, list[Any]],
    run_until: Callable[..., None],
    begin: Callable[[IOLoop, int], list[Any]],
    has_run: bool,
    end: str,
) -> None:
    port, streams = silent
    clients = begin(ioloop, port)
    seen = [seen_of(ws) for ws in clients]
    if has_run:
        run_until(ioloop, lambda: streams)
    getattr(ioloop, end)()
    for ws, events in zip(clients, seen, strict=True):
        assert ws.is_finished
        assert events[-1:] == ['finish']
        assert events.count('finish') == 1
        assert events.count('error') <= 1
    assert not ioloop.connections
    assert not len(ioloop.dial_queue)


@pytest.mark.parametrize('end', ENDS)
def test_the_callback_of_a_client_is_told_that_the_loop_has_stopped(ioloop: IOLoop, end: str) -> None:
    errors: list[Any] = []
    ioloop.client(lambda loop, err, stream: errors.append(err), address='127.0.0.1', port=9)
    getattr(ioloop, end)()
    assert [err.errno for err in errors] == [errno.ECANCELED]
    assert 'the loop was stopped' in str(errors[0])


@pytest.mark.parametrize('end', ENDS)
def test_who_connects_again_while_the_loop_closes_is_told_that_it_cannot(
    ioloop: IOLoop, silent: tuple[int, list[Any]], assert_idle: Any, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[str] = []

    def dial(*args: Any) -> None:
        try:
            pyjows.connect(f'ws://127.0.0.1:{silent[0]}', ioloop=ioloop).on('finish', dial)
        except RuntimeError as exc:
            raised.append(str(exc))
            raise

    dial()
    ioloop.on('reset', dial)
    ioloop.client(dial, address='127.0.0.1', port=9)
    other = seen_of(pyjows.connect(f'ws://127.0.0.1:{silent[0]}', ioloop=ioloop))
    getattr(ioloop, end)()
    assert len(raised) == 3
    assert 'being closed or reset' in raised[0]
    assert other == ['error', 'finish'], 'what one callback raises keeps no other client from being told'
    if end == 'reset':
        assert_idle(ioloop)
        ioloop.unsubscribe('reset', dial)
        dial()  # afterwards the loop is as new
        ioloop.unsubscribe('reset')
        ioloop.reset()


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('is_refused', [False, True])
def test_a_client_that_connects_again_and_again_finishes_with_the_loop(
    ioloop: IOLoop,
    silent: tuple[int, list[Any]],
    run_until: Callable[..., None],
    assert_idle: Any,
    is_refused: bool,
    end: str,
) -> None:
    client = pyjows.reconnect(f'ws://127.0.0.1:{9 if is_refused else silent[0]}', ioloop=ioloop)
    seen = seen_of(client)
    waiting: list[float] = []
    client.on('waiting', lambda client, seconds: waiting.append(seconds))
    if is_refused:
        run_until(ioloop, lambda: waiting)
    getattr(ioloop, end)()
    assert seen == ['finish']
    assert client.is_finished
    if end == 'reset':
        assert_idle(ioloop)


@pytest.mark.parametrize('end', ENDS)
def test_an_attempt_that_has_just_ended_finishes_with_the_loop(
    ioloop: IOLoop, silent: tuple[int, list[Any]], run_until: Callable[..., None], end: str
) -> None:
    client = pyjows.reconnect('ws://127.0.0.1:9', ioloop=ioloop)
    seen = seen_of(client)
    ended: list[bool] = []

    @client.on
    def websocket(client: Any, ws: Any) -> None:
        @ws.on
        def finish(ws: Any, code: int, reason: str) -> None:
            getattr(ioloop, end)()
            ended.append(True)

    run_until(ioloop, lambda: ended) if end == 'reset' else ioloop.start()
    assert seen == ['finish']


@pytest.mark.parametrize('end', ENDS)
def test_a_client_that_awaits_its_url_finishes_with_the_loop(
    ioloop: IOLoop, coroutines: None, run_until: Callable[..., None], end: str
) -> None:
    asked: list[bool] = []

    async def url() -> str:
        asked.append(True)
        await asyncio.sleep(60)
        return 'ws://127.0.0.1:9'

    client = pyjows.reconnect(url, ioloop=ioloop)
    seen = seen_of(client)
    run_until(ioloop, lambda: asked)
    getattr(ioloop, end)()
    assert seen == ['finish']


def test_a_client_that_dials_after_the_graceful_stop_began_finishes(
    ioloop: IOLoop, silent: tuple[int, list[Any]]
) -> None:
    seen: list[list[str]] = []

    def dial_late(loop: IOLoop) -> None:
        seen.extend(seen_of(pyjows.connect(f'wss://127.0.0.1:{silent[0]}', ioloop=loop)) for _ in range(2))
        loop.stop_gracefully(timeout=0.1)
        seen.extend(seen_of(pyjows.connect(f'ws://localhost:{silent[0]}', ioloop=loop)) for _ in range(2))

    ioloop.next_tick(dial_late)
    ioloop.start()
    assert seen == [['error', 'finish']] * 4
