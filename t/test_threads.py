"""Threads and connections: what any thread may do to a driven transaction, and what only the loop's may."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from background import Service, free_port, until
from websockets.sync.client import ClientConnection, connect
from wire import asked

import pyjows

MEBIBYTE = 1 << 20


@pytest.fixture
def service(reactor_name: str) -> Iterator[Service]:
    """A server on a loop in a thread of its own, which echoes; `service.connections` has its transactions."""
    service = Service(reactor_name, lambda server, ws: service.connections.append(ws))
    service.connections = []
    yield service
    service.stop()


@pytest.fixture
def client(service: Service) -> Iterator[ClientConnection]:
    """A client of another library, connected to the service."""
    with connect(service.url, compression=None, max_size=None) as client:
        until(lambda: service.connections and service.connections[0].established, 'the connection')
        yield client


def together(*functions: Callable[[], Any]) -> None:
    """Call functions at the same time, each in a thread of its own."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(functions))

    def run(f: Callable[[], Any]) -> None:
        start.wait()
        try:
            f()
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed, failed


def test_two_threads_and_the_loop_send_at_once_and_each_keeps_its_order(service, client):
    ws = service.connections[0]
    count = 5000

    def sender(name: str) -> Callable[[], None]:
        def send() -> None:
            for n in range(count):
                ws.send(text=f'{name} {n}')

        return send

    def read() -> None:
        for _ in range(3 * count):
            name, n = client.recv(timeout=60).split()
            assert int(n) == heard[name], 'out of order, or lost'
            heard[name] += 1

    heard = {'a': 0, 'b': 0, 'loop': 0}
    service.loop.call_threadsafe(lambda loop: sender('loop')())
    together(sender('a'), sender('b'), read)
    assert heard == {'a': count, 'b': count, 'loop': count}


@pytest.mark.parametrize(
    'message',
    [
        {'text': 'grüße'},
        {'binary': bytearray(b'abc')},
        {'json': {'a': [1, None]}},
        {'frame': (True, False, False, False, 1, b'raw')},
    ],
    ids=['text', 'binary', 'json', 'frame'],
)
def test_a_message_from_another_thread_wakes_the_loop(service, client, message):
    assert service.connections[0].send(**message) is service.connections[0]
    expected = {'text': 'grüße', 'binary': b'abc', 'json': '{"a":[1,null]}', 'frame': 'raw'}[next(iter(message))]
    assert client.recv(timeout=30) == expected


def test_what_is_sent_from_another_thread_is_what_it_was_at_the_call(service, client):
    ws = service.connections[0]
    value, data = {'n': 1}, bytearray(b'one')
    held = threading.Event()
    service.loop.call_threadsafe(lambda loop: held.wait(30))
    ws.send(json=value).send(binary=data)
    value['n'], data[:] = 2, b'two'
    held.set()
    assert client.recv(timeout=30) == '{"n":1}'
    assert client.recv(timeout=30) == b'one'


def test_a_callback_of_another_thread_s_send_is_called_in_the_loop_s(service, client):
    called: list[int] = []
    service.connections[0].send(lambda ws: called.append(threading.get_ident()), text='x')
    until(lambda: called, 'the callback')
    assert called != [threading.get_ident()]
    assert client.recv(timeout=30) == 'x'


def test_another_thread_closes(service, client):
    service.connections[0].finish(4000, 'from elsewhere')
    with pytest.raises(Exception, match='from elsewhere'):
        client.recv(timeout=30)
    assert service.finish() == (4000, 'from elsewhere')


def test_another_thread_broadcasts_in_the_order_of_its_messages(service):
    expected = [message for n in range(100) for message in (str(n), 'all')]
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(service.url, compression=None)) for _ in range(3)]
        until(lambda: len(service.connections) == 3 and all(ws.established for ws in service.connections), 'all')
        for n in range(100):
            assert pyjows.broadcast(service.connections, json=n).sent == 3
            service.server.broadcast(text='all')
        for client in clients:
            assert [client.recv(timeout=30) for _ in range(200)] == expected


def test_threads_that_finish_and_send_while_the_client_leaves_get_connection_closed_at_most(service, client):
    ws = service.connections[0]

    def send() -> None:
        try:
            for _ in range(20000):
                ws.send(text='x')
        except pyjows.ConnectionClosed:
            pass

    together(send, send, client.close, lambda: ws.finish(1001))
    service.finish()
    with pytest.raises(pyjows.ConnectionClosed):
        ws.send(text='too late')


def test_a_wrong_message_raises_in_the_thread_that_sends_it(service, client):
    ws = service.connections[0]
    for wrong in ({}, {'text': 'a', 'binary': b'b'}, {'text': b'bytes'}, {'json': object()}):
        with pytest.raises(TypeError):
            ws.send(**wrong)
    for message, more in (('a', {'text': 'b'}), (b'a', {'binary': b'b'}), ('a', {'json': 1})):
        with pytest.raises(TypeError, match='exactly one'):
            ws.send(message, **more)
    with pytest.raises(ValueError, match='125'):
        ws.send(frame=(True, False, False, False, 9, bytes(126)))
    with pytest.raises(ValueError, match='1005'):
        ws.finish(1005)
    ws.send(text='still open')
    assert client.recv(timeout=30) == 'still open'


@pytest.mark.parametrize(
    'touch',
    [
        lambda ws: ws.flush(),
        lambda ws: ws.on('text', print),
        lambda ws: ws.unsubscribe('text'),
        lambda ws: ws.reject(403),
        lambda ws: ws.with_protocols('a'),
        lambda ws: ws.with_compression(),
    ],
)
def test_everything_else_belongs_to_the_loop_s_thread(service, client, touch):
    with pytest.raises(RuntimeError, match='call_threadsafe'):
        touch(service.connections[0])


@pytest.mark.parametrize(
    'touch',
    [
        lambda loop: loop.timer(print, 1),
        lambda loop: loop.next_tick(print),
        lambda loop: loop.remove('1'),
        lambda loop: loop.server(print),
        lambda loop: loop.client(print, port=9),
        lambda loop: loop.stop_gracefully(),
        lambda loop: pyjows.connect('ws://127.0.0.1:9', ioloop=loop),
        lambda loop: pyjows.connect('ws://a.example', proxy='http://127.0.0.1:9', ioloop=loop),
        lambda loop: pyjows.reconnect('ws://127.0.0.1:9', ioloop=loop),
        lambda loop: pyjows.serve('ws://127.0.0.1:0', ioloop=loop),
        lambda loop: loop.one_tick(),
        lambda loop: loop.reset(),
        lambda loop: loop.close(),
        lambda loop: setattr(loop, 'max_connections', 1),
        lambda loop: next(iter(loop.acceptors.values())).close(),
    ],
)
def test_so_does_a_running_loop(service, touch):
    with pytest.raises(RuntimeError, match='call_threadsafe'):
        touch(service.loop)


@pytest.mark.parametrize(
    'touch',
    [
        lambda stream: stream.write(b'x'),
        lambda stream: stream.flush(),
        lambda stream: stream.start(),
        lambda stream: stream.stop(),
        lambda stream: stream.shutdown(),
        lambda stream: stream.close_gracefully(),
        lambda stream: stream.close(),
        lambda stream: stream.detach(),
        lambda stream: stream.on('close', print),
        lambda stream: stream.unsubscribe('close'),
        lambda stream: setattr(stream, 'timeout', 1),
    ],
)
def test_so_does_a_stream(service, client, touch):
    ((_, stream),) = service.loop.connections.items()
    with pytest.raises(RuntimeError, match=r'Stream\..* belongs to the loop.*call_threadsafe'):
        touch(stream)
    client.send('still there')
    service.connections[0].send(text='untouched')
    assert client.recv(timeout=30) == 'untouched'


def test_a_server_that_another_thread_makes_leaves_no_socket_behind(service, socket_folder):
    with pytest.raises(RuntimeError, match='call_threadsafe'):
        pyjows.serve(f'ws+unix://{socket_folder}/s', ioloop=service.loop)
    assert not list(socket_folder.iterdir())


def test_a_server_that_another_thread_stops_goes_on(service, client):
    for graceful in (0, 5):
        with pytest.raises(RuntimeError, match=r'Server\.stop\(\) belongs to the loop.*call_threadsafe'):
            service.server.stop(graceful=graceful)
    service.connections[0].send(text='still there')
    assert client.recv(timeout=30) == 'still there'
    with connect(service.url) as second:
        until(lambda: len(service.connections) == 2, 'another connection')
        service.connections[1].send(text='still accepting')
        assert second.recv(timeout=30) == 'still accepting'


@pytest.mark.parametrize('is_there', [True, False], ids=['connected', 'waiting'])
def test_another_thread_finishes_a_client_that_reconnects(service, is_there):
    seen: list[str] = []

    def dial(loop: Any) -> None:
        url = service.url if is_there else f'ws://127.0.0.1:{free_port()}'
        client = pyjows.reconnect(url, ioloop=loop, delays=lambda: iter([1000]))
        client.on('websocket' if is_there else 'waiting', lambda *args: clients.append(client))
        client.on('finish', lambda client, code, reason: seen.append(threading.current_thread().name))

    clients: list[Any] = []
    service.loop.call_threadsafe(dial)
    until(lambda: clients, 'the client')
    assert clients[0].finish(1000) is clients[0]
    until(lambda: seen, 'the end')
    assert seen[0] != threading.current_thread().name
    with pytest.raises(ValueError, match='1005'):
        clients[0].finish(1005)


def test_a_client_of_a_loop_in_another_thread_is_sent_to_before_it_is_open(service, reactor_name):
    clients: list[Any] = []

    def dial(loop: Any) -> None:
        clients.append(pyjows.connect(service.url, ioloop=loop))

    heard: list[str] = []
    service.loop.call_threadsafe(dial)
    until(lambda: clients, 'the client')
    clients[0].send(text='early')
    until(lambda: service.connections, 'the connection')
    service.loop.call_threadsafe(lambda loop: service.connections[0].on('text', lambda ws, text: heard.append(text)))
    clients[0].send(text='and then')
    until(lambda: heard and heard[-1] == 'and then', 'the messages')
    clients[0].finish()
    until(lambda: clients[0].is_finished, 'the end')


def test_what_a_thread_sends_while_the_loop_stands_still_counts_for_the_backlog_once_it_turns(reactor_name):
    connections: list[Any] = []
    service = Service(
        reactor_name,
        lambda server, ws: connections.append(ws),
        high_water_mark=MEBIBYTE,
        max_backlog=2 * MEBIBYTE,
        close_timeout=0.1,
    )
    standing, goes_on = threading.Event(), threading.Event()

    def stand_still(loop: Any) -> None:
        standing.set()
        goes_on.wait(30)

    try:
        with socket.create_connection(('127.0.0.1', service.port)) as reads_nothing:
            reads_nothing.sendall(asked())
            until(lambda: connections and connections[0].established, 'the connection')
            service.loop.call_threadsafe(stand_still)
            assert standing.wait(30)
            for _ in range(64):
                connections[0].send(binary=bytes(MEBIBYTE))  # none blocks, and none raises
            goes_on.set()
            until(lambda: service.finished, 'the end')
        assert service.finished[0][0] == 1008
    finally:
        goes_on.set()
        service.stop()


def test_a_thread_that_waits_until_its_messages_are_written_sends_no_faster_than_the_client_takes(service, client):
    ws = service.connections[0]
    written = threading.Event()

    def send() -> None:
        for n in range(100):
            ws.send(text=str(n))
            if n % 10 == 9:
                ws.send(lambda ws: written.set())
                assert written.wait(30)
                written.clear()

    thread = threading.Thread(target=send)
    thread.start()
    assert [client.recv(timeout=30) for _ in range(100)] == [str(n) for n in range(100)]
    thread.join()
