"""KeyboardInterrupt and SystemExit out of any callback: raised by `start`, once; the loop goes on and can be closed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from wire import TEXT, asked, frame

import pyjows

Raise = Callable[..., Any]


def in_a_handler(server: Any, stop: Raise) -> None:
    server.on('websocket', lambda server, ws: ws.on('text', stop))


def in_a_handler_of_error(server: Any, stop: Raise) -> None:
    @server.on
    def websocket(server: Any, ws: Any) -> None:
        ws.on('text', lambda ws, text: 1 / 0)
        ws.on('error', stop)


def on_the_websocket_event(server: Any, stop: Raise) -> None:
    server.on('websocket', stop)


def on_open(server: Any, stop: Raise) -> None:
    server.on('websocket', lambda server, ws: ws.on('open', stop))


def when_all_is_written(server: Any, stop: Raise) -> None:
    server.on('websocket', lambda server, ws: ws.send(stop, text='hello'))


def in_a_frame_handler(server: Any, stop: Raise) -> None:
    server.on('websocket', lambda server, ws: ws.on('frame', stop))


def in_a_timer(server: Any, stop: Raise) -> None:
    server.ioloop.timer(stop, 0.01)


def in_a_tick(server: Any, stop: Raise) -> None:
    server.ioloop.next_tick(stop)


def in_a_call_of_a_thread(server: Any, stop: Raise) -> None:
    thread = threading.Thread(target=server.ioloop.call_threadsafe, args=(stop,))
    thread.start()
    thread.join()


def in_an_error_handler_of_the_reactor(server: Any, stop: Raise) -> None:
    server.ioloop.reactor.once('error', stop)
    server.ioloop.timer(lambda ioloop: 1 / 0, 0.01)


PLACES = [
    in_a_handler,
    in_a_handler_of_error,
    on_the_websocket_event,
    on_open,
    when_all_is_written,
    in_a_frame_handler,
    in_a_timer,
    in_a_tick,
    in_a_call_of_a_thread,
    in_an_error_handler_of_the_reactor,
]


def leaves_start_once(ioloop: Any, run_until: Any, kind: type[BaseException], server: Any, client: Any) -> None:
    """The loop raises it once, and serves another client when it is started again."""
    guard = ioloop.timer(lambda ioloop: ioloop.stop(), 20)
    with pytest.raises(kind, match='now'):
        ioloop.start()
    ioloop.remove(guard)
    server.remove_all_listeners('websocket')
    other = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: other.established)  # it is not raised a second time
    other.finish()
    client.finish()
    run_until(ioloop, lambda: other.is_finished and client.is_finished)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
def test_it_leaves_start_once_and_the_loop_goes_on(
    ioloop, servers, run_until, place: Callable[[Any, Raise], None], kind: type[BaseException]
):
    servers.append(server := pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))

    def stop(*args: Any) -> None:
        raise kind('now')

    place(server, stop)
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    client.send('hello')
    client.on('error', lambda ws, exc: None)
    leaves_start_once(ioloop, run_until, kind, server, client)


def test_the_other_handlers_of_the_message_and_the_ticks_behind_are_served(ioloop, servers, run_until):
    servers.append(server := pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))
    heard: list[str] = []

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    @server.on
    def websocket(server: Any, ws: Any) -> None:
        ws.on('text', stop)
        ws.on('text', lambda ws, text: heard.append(text))

    with socket.create_connection(('127.0.0.1', server.ports[0])) as sock:
        sock.sendall(asked() + frame(TEXT, b'hello'))
        with pytest.raises(KeyboardInterrupt):
            ioloop.start()
        assert heard == ['hello']
    ioloop.next_tick(stop)
    ioloop.next_tick(lambda ioloop: heard.append('tick'))
    with pytest.raises(KeyboardInterrupt):
        ioloop.start()
    run_until(ioloop, lambda: heard == ['hello', 'tick'])


@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize('place', ['websocket', 'text', 'receive'])
def test_out_of_a_coroutine_it_is_raised_once_too(ioloop, servers, run_until, kind: type[BaseException], place: str):
    servers.append(server := pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))

    async def stop(*args: Any) -> None:
        raise kind('now')

    async def receive(server: Any, ws: Any) -> None:
        await ws.receive()
        raise kind('now')

    if not ioloop.reactor.can_spawn:
        with pytest.raises(RuntimeError, match='no asyncio loop'):
            server.on('websocket', stop)
        return
    if place == 'text':
        server.on('websocket', lambda server, ws: ws.on('text', stop))
    else:
        server.on('websocket', receive if place == 'receive' else stop)
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    client.on('error', lambda ws, exc: None)
    client.send('hello')
    leaves_start_once(ioloop, run_until, kind, server, client)
