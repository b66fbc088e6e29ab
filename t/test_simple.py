"""`pyjows.simple`, blocking: what `send`, `receive` and `close` promise, over real sockets."""

from __future__ import annotations

import errno
import gc
import os
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trustme
from background import free_port, silent_port, until
from threaded import Peer, Threaded, reset, upgrade_environ
from wire import BINARY, CLOSE, PING, PONG, TEXT, close, frame

from pyjows.simple import Client, ConnectionClosed, ConnectionError, Server


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """No test leaves a thread behind."""
    before = threading.active_count()
    yield
    gc.collect()
    until(lambda: threading.active_count() <= before, f'{threading.enumerate()} to be {before}')


@pytest.fixture
def peer(no_threads_left) -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.sock.close()
    while _served:
        ws = _served.pop()()
        if ws is not None and ws.connected:
            list(ws)
    peer.close()


_served: list[weakref.ref[Server]] = []


def served(peer: Peer, **options) -> Server:
    ws = Server.accept(peer.served_environ, **options)
    _served.append(weakref.ref(ws))
    assert peer.read_head().startswith(b'HTTP/1.1 101 ')
    return ws


def echo(environ) -> None:
    with Server.accept(environ, subprotocols=['chat', 'superchat']) as ws:
        for message in ws:
            ws.send(message)


def after(seconds: float, what) -> threading.Timer:
    timer = threading.Timer(seconds, what)
    timer.start()
    return timer


# Messages


def test_text_is_received_as_str_and_binary_as_bytes(peer):
    ws = served(peer)
    peer.sock.sendall(frame(TEXT, 'Grüße 👋'.encode()) + frame(BINARY, b'\x00\xff') + frame(TEXT) + frame(BINARY))
    assert [ws.receive() for _ in range(4)] == ['Grüße 👋', b'\x00\xff', '', b'']


def test_str_is_sent_as_text_and_bytes_as_binary(peer):
    ws = served(peer)
    for data in ('ä', b'\xff', bytearray(b'ba'), memoryview(b'mv')):
        ws.send(data)
    assert [peer.read_frame() for _ in range(4)] == [
        (TEXT, 'ä'.encode()),
        (BINARY, b'\xff'),
        (BINARY, b'ba'),
        (BINARY, b'mv'),
    ]


@pytest.mark.parametrize('data', [None, 1, {'a': 1}, ['x']])
def test_what_is_neither_str_nor_bytes_is_a_type_error(peer, data):
    ws = served(peer)
    with pytest.raises(TypeError, match='str or bytes'):
        ws.send(data)
    ws.send('still open')
    assert peer.read_frame() == (TEXT, b'still open')


def test_fragments_are_received_as_one_message(peer):
    ws = served(peer)
    peer.sock.sendall(frame(TEXT, b'\xc3', fin=False) + frame(PING, b'!') + frame(0, b'\xa4', fin=False) + frame(0))
    assert ws.receive() == 'ä'
    assert peer.read_frame() == (PONG, b'!')


@pytest.mark.parametrize('receive_bytes', [1, 7, 4096, 65536, 1 << 20])
def test_messages_arrive_whole_whatever_one_read_gives(peer, receive_bytes):
    ws = served(peer, receive_bytes=receive_bytes)
    messages = ['x' * n for n in (0, 1, 125, 126, 3000, 70000)]
    sender = threading.Thread(target=lambda: peer.sock.sendall(b''.join(frame(TEXT, m.encode()) for m in messages)))
    sender.start()
    assert [ws.receive() for _ in messages] == messages
    sender.join()
    assert ws.receive(timeout=0) is None


def test_receive_returns_none_when_the_time_is_over(peer):
    ws = served(peer)
    begun = time.monotonic()
    assert ws.receive(timeout=0) is None
    assert time.monotonic() - begun < 5
    assert ws.receive(timeout=0.1) is None
    assert time.monotonic() - begun >= 0.1
    peer.sock.sendall(frame(TEXT, b'now'))
    assert ws.receive(timeout=5) == 'now'


def test_receive_with_a_timeout_gets_what_comes_meanwhile(peer):
    ws = served(peer)
    timer = after(0.05, lambda: peer.sock.sendall(frame(TEXT, b'late')))
    assert ws.receive(timeout=10) == 'late'
    timer.join()


def test_compressed_messages_are_negotiated_and_understood():
    with Threaded(echo) as server, Client.connect(server.url) as ws:
        for message in ('a' * 5000, os.urandom(5000), b'b' * 100000):
            ws.send(message)
            assert ws.receive(timeout=10) == message
    assert not server.failures


def test_receivers_in_several_threads_share_the_messages(peer):
    ws = served(peer)
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(ws.receive(timeout=10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        peer.sock.sendall(frame(TEXT, b'%d' % number))
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert sorted(got) == ['0', '1', '2', '3']


def test_messages_of_several_threads_do_not_mix():
    def collect(environ) -> None:
        with Server.accept(environ) as ws:
            for message in ws:
                received.append(message)

    def say(name: str) -> None:
        for number in range(50):
            ws.send(name * (number * 500))

    received: list[str] = []
    with Threaded(collect) as server:
        with Client.connect(server.url) as ws:
            threads = [threading.Thread(target=say, args=(name,)) for name in 'abcd']
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        until(lambda: len(received) == 200, 'all messages')
    for name in 'abcd':
        assert [len(message) for message in received if message[:1] == name] == [n * 500 for n in range(1, 50)]
    assert all(len(set(message)) <= 1 for message in received)


def test_a_large_message_is_written_whole_to_a_slow_reader(peer):
    ws = served(peer)
    data = os.urandom(8 << 20)
    sender = threading.Thread(target=ws.send, args=(data,))
    sender.start()
    time.sleep(0.05)
    assert peer.read_frame() == (BINARY, data)
    sender.join()


@pytest.mark.slow
def test_two_programs_that_both_send_before_they_receive_do_not_block_each_other():
    message = os.urandom(1 << 20)

    def both(ws) -> None:
        for _ in range(12):
            ws.send(message)
        for _ in range(12):
            assert ws.receive(timeout=20) == message

    def serve(environ) -> None:
        both(Server.accept(environ))

    with Threaded(serve) as server, Client.connect(server.url) as ws:
        both(ws)
    assert not server.failures


@pytest.mark.slow
def test_a_program_that_does_not_receive_stops_the_reading(peer):
    ws = served(peer)
    peer.sock.settimeout(2)  # it is read in the background until there is enough
    message = frame(BINARY, bytes(65536))
    sent = 0
    with suppress(TimeoutError):
        while sent < 1000:
            peer.sock.sendall(message)
            sent += 1
    assert 16 <= sent < 40
    assert ws.connected
    for _ in range(sent):
        assert ws.receive(timeout=10) == bytes(65536)


# Meanwhile, nobody receives


def test_pings_are_answered_while_nobody_receives(peer):
    ws = served(peer)
    peer.sock.sendall(frame(PING, b'are you there'))
    assert peer.read_frame() == (PONG, b'are you there')
    assert ws.connected


def test_a_close_is_noticed_while_nobody_receives(peer):
    ws = served(peer)
    assert ws.connected
    peer.sock.sendall(close(1001, 'gone'))
    until(lambda: not ws.connected, 'the close to be noticed')
    with pytest.raises(ConnectionClosed) as closed:
        ws.send('too late')
    assert (closed.value.reason, closed.value.message) == (1001, 'gone')


def test_a_program_that_only_sends_learns_that_the_peer_closed(peer):
    ws = served(peer)
    peer.sock.sendall(close(4000, 'no more'))
    with pytest.raises(ConnectionClosed) as closed:
        for _ in range(1000):
            ws.send('tick')
            time.sleep(0.01)
    assert (closed.value.reason, closed.value.message) == (4000, 'no more')


# The close


def test_messages_before_the_close_come_first(peer):
    ws = served(peer)
    peer.sock.sendall(frame(TEXT, b'one') + frame(TEXT, b'two') + close(1001, 'bye'))
    assert ws.receive() == 'one'
    assert ws.receive() == 'two'
    for _ in range(2):
        with pytest.raises(ConnectionClosed, match='1001 bye') as closed:
            ws.receive()
        assert (closed.value.reason, closed.value.message) == (1001, 'bye')
    assert (ws.close_reason, ws.close_message, ws.connected) == (1001, 'bye', False)
    assert peer.read_frame() == (CLOSE, b'\x03\xe9bye')
    assert peer.sock.recv(1) == b''


def test_a_close_without_a_code_is_1005(peer):
    ws = served(peer)
    peer.sock.sendall(frame(CLOSE))
    with pytest.raises(ConnectionClosed) as closed:
        ws.receive()
    assert (closed.value.reason, closed.value.message) == (1005, '')


def test_eof_is_1006(peer):
    ws = served(peer)
    timer = after(0.05, peer.sock.close)
    with pytest.raises(ConnectionClosed) as closed:
        ws.receive()
    timer.join()
    assert (closed.value.reason, closed.value.message) == (1006, None)
    with pytest.raises(ConnectionClosed):
        ws.send('x')
    with pytest.raises(ConnectionClosed):
        ws.close()


def test_a_reset_is_1006():
    def reset(environ) -> None:
        sock = environ['pyjows.socket']
        Server.accept(environ)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

    with Threaded(reset) as server:
        ws = Client.connect(server.url)
        with pytest.raises(ConnectionClosed) as closed:
            ws.receive()
    assert closed.value.reason in (1001, 1006)


def test_close_sends_code_and_message_and_waits_for_the_answer(peer):
    ws = served(peer)
    seen = []

    def answer() -> None:
        seen.append(peer.read_frame())
        time.sleep(0.05)
        peer.sock.sendall(close(4000, 'done'))

    thread = threading.Thread(target=answer)
    thread.start()
    ws.close(4000, 'done')
    assert seen == [(CLOSE, b'\x0f\xa0done')]
    assert not ws.connected
    assert peer.sock.recv(1) == b''
    thread.join()
    with pytest.raises(ConnectionClosed, match='4000 done'):
        ws.receive()
    with pytest.raises(ConnectionClosed):
        ws.close()


def test_close_is_1000_by_default(peer):
    ws = served(peer)
    timer = after(0.02, lambda: peer.sock.sendall(close(1000)))
    ws.close()
    timer.join()
    assert peer.read_frame() == (CLOSE, b'\x03\xe8')


def test_a_peer_that_does_not_answer_a_close_is_not_waited_for_for_ever(peer):
    ws = served(peer)
    ws.close_timeout = 0.1
    begun = time.monotonic()
    ws.close()
    assert 0.1 <= time.monotonic() - begun < 2
    assert peer.read_frame() == (CLOSE, b'\x03\xe8')
    with pytest.raises(ConnectionClosed):
        ws.receive()


def test_what_comes_during_a_close_does_not_keep_it_from_ending(peer):
    ws = served(peer)
    ws.close_timeout = 20

    def chatter() -> None:
        assert peer.read_frame()[0] == CLOSE
        for _ in range(100):
            peer.sock.sendall(frame(BINARY, bytes(65536)))
        peer.sock.sendall(close(1000))

    thread = threading.Thread(target=chatter)
    thread.start()
    ws.close()
    thread.join()
    assert ws.close_reason == 1000


def test_a_long_close_message_is_cut_to_what_fits(peer):
    ws = served(peer)
    timer = after(0.02, lambda: peer.sock.sendall(close(1000)))
    ws.close(1000, 'ä' * 100)
    timer.join()
    assert peer.read_frame() == (CLOSE, b'\x03\xe8' + 'ä'.encode() * 61)


def test_a_code_that_may_not_be_sent_is_a_value_error(peer):
    ws = served(peer)
    with pytest.raises(ValueError, match='1006'):
        ws.close(1006)
    assert ws.connected


def test_close_in_one_thread_ends_receive_in_another(peer):
    ws = served(peer)
    errors: list[BaseException] = []

    def receive() -> None:
        try:
            ws.receive()
        except ConnectionClosed as exc:
            errors.append(exc)

    receiver = threading.Thread(target=receive)
    receiver.start()
    time.sleep(0.05)
    ws.close_timeout = 0.2
    ws.close(4001, 'over')
    receiver.join(5)
    assert not receiver.is_alive()
    assert [(exc.reason, exc.message) for exc in errors] == [(4001, 'over')]


def test_a_socket_that_the_application_closed_is_1006_while_another_thread_still_reads_it(peer):
    ws = served(peer)
    receiver = threading.Thread(target=list, args=[ws])
    receiver.start()
    time.sleep(0.05)
    peer.served.close()  # close(2) does not wake a thread that reads
    with pytest.raises(ConnectionClosed) as closed:
        ws.send('x')
    assert closed.value.reason == 1006
    assert not ws.connected
    peer.sock.close()
    receiver.join(5)
    assert not receiver.is_alive()


def test_a_close_ends_a_send_that_waits_for_the_peer(peer):
    ws = served(peer)
    ended: list[object] = []

    def flood() -> None:
        try:
            while True:
                ws.send(bytes(1 << 20))
        except ConnectionClosed as exc:
            ended.append(exc.reason)

    sender = threading.Thread(target=flood)
    sender.start()
    time.sleep(0.05)
    ws.close_timeout = 0.1
    ws.close(4003)
    sender.join(10)
    assert ended == [4003]


def test_a_with_block_closes_with_1000_and_with_1011_after_an_exception():
    codes = []

    def wait(environ) -> None:
        ws = Server.accept(environ)
        assert list(ws) == []
        codes.append(ws.close_reason)

    with Threaded(wait) as server:
        with Client.connect(server.url):
            pass
        until(lambda: codes == [1000], 'the first close')
        with pytest.raises(KeyError), Client.connect(server.url):
            raise KeyError('x')
        until(lambda: codes == [1000, 1011], 'the second close')


def test_iteration_ends_at_a_close_of_any_kind(peer):
    ws = served(peer)
    peer.sock.sendall(frame(TEXT, b'a') + frame(TEXT, b'b') + close(1011, 'sorry'))
    assert list(ws) == ['a', 'b']
    assert ws.close_reason == 1011


def test_a_connection_that_is_let_go_of_says_that_it_goes_away(peer):
    ws = served(peer)
    del ws
    gc.collect()
    assert peer.read_frame() == (CLOSE, b'\x03\xe9')
    assert peer.sock.recv(1) == b''


# What the peer does wrong


@pytest.mark.parametrize(
    ('data', 'code'),
    [
        (frame(3, b'x'), 1002),
        (frame(TEXT, b'x', masked=False), 1002),
        (frame(TEXT, b'\xff'), 1007),
        (frame(BINARY, bytes(1001)), 1009),
        (frame(BINARY, bytes(600), fin=False) + frame(0, bytes(401)), 1009),
    ],
)
def test_a_violation_is_answered_with_its_close_code_after_the_messages_before_it(peer, data, code):
    ws = served(peer, max_message_size=1000)
    peer.sock.sendall(frame(TEXT, b'fine') + data)
    timer = after(0.05, lambda: peer.sock.shutdown(socket.SHUT_WR))
    assert ws.receive() == 'fine'
    with pytest.raises(ConnectionClosed) as closed:
        ws.receive()
    timer.join()
    assert closed.value.reason == code
    opcode, payload = peer.read_frame()
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, 'big'))
    assert peer.sock.recv(1) == b''


def test_a_message_that_is_too_large_is_refused_before_it_is_there(peer):
    ws = served(peer, max_message_size=1000)
    peer.sock.sendall(b'\x82\xff' + (1 << 62).to_bytes(8, 'big') + bytes(4))
    with pytest.raises(ConnectionClosed, match='1009'):
        ws.receive()


def test_the_close_frame_of_a_violation_reaches_a_peer_that_is_still_sending():
    def limited(environ) -> None:
        with Server.accept(environ, max_message_size=1000) as ws, suppress(ConnectionClosed):
            ws.receive()

    with Threaded(limited) as server:
        ws = Client.connect(server.url)
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(100):
                ws.send(os.urandom(100_000))
            ws.receive()
        assert closed.value.reason == 1009


# Keep-alive


def test_pings_are_sent_and_a_peer_that_answers_lives(peer):
    ws = served(peer, ping_interval=1)  # as long as it may take until the peer is run
    for _ in range(2):
        opcode, payload = peer.read_frame()
        assert opcode == PING
        peer.sock.sendall(frame(PONG, payload))
    assert ws.connected


@pytest.mark.parametrize('seconds', [0.1, 0.0], ids=['answered later', 'answered meanwhile'])
def test_a_process_that_stood_still_does_not_blame_its_peer(peer, seconds):
    stalls = [1.0, 1.0]

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            """The background thread runs late twice, as after a suspend."""
            if stalls:
                time.sleep(stalls.pop())
                return False
            return super().wait(timeout)

    ws = served(peer, ping_interval=0.3, event_class=Event)
    for _ in range(3):
        opcode, payload = peer.read_frame()
        assert opcode == PING
        time.sleep(seconds)
        peer.sock.sendall(frame(PONG, payload))
    assert not stalls
    assert ws.connected


@pytest.mark.parametrize('timeout', [None, 20])
def test_a_peer_that_does_not_answer_is_closed_with_1008(peer, timeout):
    ws = served(peer, ping_interval=0.05)
    with pytest.raises(ConnectionClosed) as closed:
        ws.receive(timeout)
    assert (closed.value.reason, closed.value.message) == (1008, 'Ping/Pong timeout')
    assert peer.read_frame()[0] == PING
    assert peer.read_frame() == (CLOSE, b'\x03\xf0Ping/Pong timeout')
    assert peer.sock.recv(1) == b''


def test_it_is_closed_also_while_nobody_receives(peer):
    ws = served(peer, ping_interval=0.05)
    until(lambda: not ws.connected, 'the ping time-out')
    with pytest.raises(ConnectionClosed, match='1008'):
        ws.send('x')


def test_the_fault_of_a_program_that_does_not_receive_is_not_the_peers(peer):
    ws = served(peer, ping_interval=0.05)
    message = frame(BINARY, bytes(20_000))
    for _ in range(54):
        peer.sock.sendall(message)
    time.sleep(0.4)
    assert all(ws.receive(timeout=10) == bytes(20_000) for _ in range(54))
    assert ws.connected


# The opening


def test_the_first_offered_subprotocol_that_is_supported_is_chosen():
    with Threaded(echo) as server:
        for offered, chosen in ((['x', 'superchat', 'chat'], 'superchat'), ('chat', 'chat'), ('x', None), (None, None)):
            with Client.connect(server.url, subprotocols=offered) as ws:
                assert ws.subprotocol == chosen


def test_choose_subprotocol_can_be_overridden(peer):
    class Picky(Server):
        def choose_subprotocol(self, request):
            seen.append(request)
            return request.subprotocols[-1]

    seen = []
    environ = {**peer.served_environ, 'HTTP_SEC_WEBSOCKET_PROTOCOL': 'a, b,c', 'HTTP_X_EXTRA': 'yes'}
    ws = Picky.accept(environ)
    assert ws.subprotocol == 'c'
    assert b'Sec-WebSocket-Protocol: c\r\n' in peer.read_head()
    [request] = seen
    assert (request.host, request.target, request.subprotocols) == ('example.com', '/chat', ['a', 'b', 'c'])
    assert (b'x-extra', b'yes') in request.extra_headers


def test_what_choose_subprotocol_raises_reaches_the_program(peer):
    class Broken(Server):
        def choose_subprotocol(self, request):
            raise LookupError('mine')

    with pytest.raises(LookupError, match='mine'):
        Broken.accept(peer.served_environ)


@pytest.mark.parametrize(
    ('change', 'status'),
    [
        ({'UPGRADE': None}, 426),
        ({'SEC_WEBSOCKET_VERSION': '8'}, 426),
        ({'SEC_WEBSOCKET_KEY': 'short'}, 400),
        ({'SEC_WEBSOCKET_KEY': None}, 400),
    ],
)
def test_a_request_that_is_no_upgrade_is_a_connection_error_and_nothing_is_written(peer, change, status):
    with pytest.raises(ConnectionError) as refused:
        Server.accept(upgrade_environ(peer.served, **change))
    assert refused.value.status_code == status
    peer.served.close()
    assert peer.sock.recv(1) == b''


@pytest.mark.parametrize(
    'environ',
    [{}, {'SERVER_SOFTWARE': 'waitress'}, {'gunicorn.socket': object(), 'wsgi.multithread': False}],
    ids=['nothing', 'waitress', 'gunicorn-sync'],
)
def test_a_host_that_cannot_is_a_runtime_error_that_names_those_that_can(environ):
    with pytest.raises(RuntimeError, match='gevent'):
        Server.accept({**upgrade_environ(), **environ})


def test_the_servers_refusal_is_a_connection_error_with_its_status():
    with Threaded(lambda environ: b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno') as server:
        with pytest.raises(ConnectionError) as refused:
            Client.connect(server.url)
    assert refused.value.status_code == 403
    assert str(refused.value) == 'Connection error: 403'


def test_a_server_that_hangs_up_is_a_connection_error_without_status():
    with Threaded(lambda environ: None) as server, pytest.raises(ConnectionError) as refused:
        Client.connect(server.url)
    assert refused.value.status_code is None


def test_a_server_that_resets_is_a_connection_reset_error_with_the_url():
    with Threaded(reset) as server, pytest.raises(ConnectionResetError, match=f'could not connect to {server.url}/'):
        Client.connect(server.url)


def test_a_server_that_says_nothing_is_given_up():
    class Impatient(Client):
        connect_timeout = 0.2

    with socket.create_server(('127.0.0.1', 0)) as silent, pytest.raises(TimeoutError):
        Impatient.connect(f'ws://127.0.0.1:{silent.getsockname()[1]}')


def addresses(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Have a name mean these ports of this host."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port)) for port in ports]
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *args, **options: found)


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems answer when the backlog is full')
def test_the_time_to_connect_is_that_of_all_addresses_of_a_host_together(monkeypatch):
    class Impatient(Client):
        connect_timeout = 0.4

    with silent_port() as silent:
        addresses(monkeypatch, *[silent] * 20)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match='did not open within 0.4 seconds'):
            Impatient.connect('ws://silent.test')
    assert time.monotonic() - began < 4


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems answer when the backlog is full')
def test_the_next_address_is_tried_where_one_is_silent_or_refuses(monkeypatch):
    with silent_port() as silent, Threaded(echo) as server:
        addresses(monkeypatch, silent, free_port(), server.port)
        began = time.monotonic()
        with Client.connect('ws://several.test') as ws:
            ws.send('x')
            assert ws.receive() == 'x'
        assert time.monotonic() - began < Client.connect_timeout


def test_what_could_not_be_connected_to_is_named(socket_folder):
    url = f'ws://127.0.0.1:{free_port()}/room'
    with pytest.raises(ConnectionRefusedError) as refused:
        Client.connect(url.replace('//', '//ann:secret@'))
    assert refused.value.errno == errno.ECONNREFUSED
    assert f'could not connect to {url}: Connection refused' in str(refused.value)
    with pytest.raises(FileNotFoundError, match='could not connect to .*/nothing:/: No such file'):
        Client.connect(f'ws+unix://{socket_folder}/nothing')
    with pytest.raises(socket.gaierror, match=r'could not connect to ws://nobody\.invalid/: '):
        Client.connect('ws://nobody.invalid')
    with pytest.raises(socket.gaierror, match=r'could not connect to ws://a\.\.b/: .*label'):
        Client.connect('ws://a..b')


def test_the_proxy_that_could_not_be_connected_to_is_named():
    class Proxied(Client):
        proxy = f'http://127.0.0.1:{free_port()}'

    place = Proxied.proxy.removeprefix('http://')
    with pytest.raises(ConnectionRefusedError, match=f'could not connect to ws://a.test/ through its proxy {place}: '):
        Proxied.connect('ws://a.test')


@pytest.mark.parametrize('headers', [{'X-Token': 'abc', 'Cookie': 'a=1'}, [('X-Token', 'abc'), ('Cookie', 'a=1')]])
def test_headers_and_query_reach_the_server(headers):
    seen = {}

    def look(environ) -> None:
        seen.update(environ)
        echo(environ)

    with Threaded(look) as server, Client.connect(f'{server.url}/path?a=1', headers=headers) as ws:
        assert (ws.host, ws.port, ws.path) == ('127.0.0.1', server.port, '/path?a=1')
    assert (seen['RAW_URI'], seen['HTTP_X_TOKEN'], seen['HTTP_COOKIE']) == ('/path?a=1', 'abc', 'a=1')


def test_what_the_server_sends_with_its_answer_is_received():
    def hasty(environ) -> None:
        ws = Server.accept(environ)
        ws.send('first')
        ws.close(4004, 'that was all')

    with Threaded(hasty) as server:
        ws = Client.connect(server.url)
        assert list(ws) == ['first']
        assert (ws.close_reason, ws.close_message) == (4004, 'that was all')


def test_a_unix_socket_is_connected_to(socket_folder):
    with Threaded(echo, unix_path=f'{socket_folder}/s') as server, Client.connect(f'{server.url}/echo') as ws:
        ws.send('through the file system')
        assert ws.receive(timeout=10) == 'through the file system'


def test_tls_with_a_private_ca():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost', '127.0.0.1').configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Threaded(echo, context) as server:
        with Client.connect(server.url, ssl_context=trusting) as ws:
            for message in ('hello', os.urandom(1 << 20), 'x' * 300_000):
                ws.send(message)
                assert ws.receive(timeout=20) == message
            assert ws.receive(timeout=0.01) is None
            threads = [threading.Thread(target=lambda: [ws.send(b'y' * 50_000) for _ in range(20)]) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert all(ws.receive(timeout=20) == b'y' * 50_000 for _ in range(60))
            for thread in threads:
                thread.join()
        with pytest.raises(ssl.SSLCertVerificationError):
            Client.connect(server.url)
    assert [type(exc) for exc in server.failures] == [ssl.SSLError]


# Classes, threads, what is left


def test_the_classes_that_are_given_are_used(peer):
    made = []

    class Thread(threading.Thread):
        def __init__(self, **options) -> None:
            super().__init__(**options)
            made.append('thread')

    class Selector(selectors.SelectSelector):
        def __init__(self) -> None:
            super().__init__()
            made.append('selector')

    def event():
        made.append('event')
        return threading.Event()

    ws = served(peer, thread_class=Thread, event_class=event, selector_class=Selector)
    assert ws.receive(timeout=0.01) is None
    assert set(made) == {'thread', 'event', 'selector'}


def test_hundreds_of_connections_share_one_thread():
    before = threading.active_count()
    peers = [Peer() for _ in range(200)]
    connections = [Server.accept(peer.served_environ, ping_interval=25) for peer in peers]
    assert threading.active_count() == before + 1
    for ws, peer in zip(connections, peers, strict=True):
        peer.sock.sendall(close(1000))
        assert list(ws) == []
        peer.close()
    assert threading.active_count() == before


def run_program(code: str) -> None:
    """Run a program of its own, which has the modules of the tests; it has to end with status 0."""
    folder = os.path.dirname(__file__)
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([folder, *sys.path])},
        check=True,
        timeout=60,
    )


FORKING = """
import os, signal, socket, threading
from pyjows.simple import Server
from threaded import upgrade_environ

is_begun, may_end = threading.Event(), threading.Event()


def slow_event():
    is_begun.set()
    may_end.wait()
    return threading.Event()


def accept(**options):
    ours, theirs = socket.socketpair()
    return Server.accept(upgrade_environ(ours), **options), theirs


threading.Thread(target=accept, kwargs={'event_class': slow_event}).start()
is_begun.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    ws, peer = accept()
    peer.close()
    os._exit(0 if not list(ws) else 1)
may_end.set()
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
def test_a_fork_while_another_thread_begins_a_connection_has_its_own():
    run_program(FORKING)


DROPPED_IN_A_CHILD = """
import os, signal, sys
from threaded import Peer
from wire import TEXT, frame
from pyjows.simple import Server

peer = Peer()
ws = Server.accept(peer.served_environ)
peer.read_head()
child = os.fork()
if not child:
    signal.alarm(20)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
peer.sock.sendall(frame(TEXT, b'still open'))
assert ws.receive(timeout=20) == 'still open'
ws.send('yes')
assert peer.read_frame() == (TEXT, b'yes')
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
def test_the_end_of_a_forked_child_does_not_end_its_parents_connection():
    run_program(DROPPED_IN_A_CHILD)


def test_two_hundred_connects_and_closes_leave_no_descriptor(no_leaks):
    with Threaded(echo) as server:
        for number in range(200):
            ws = Client.connect(server.url)
            ws.send('x')
            assert ws.receive(timeout=10) == 'x'
            if number % 2:
                ws.close()
            else:
                del ws
    assert not server.failures
