"""The programs examples/sans_io_*.py, each as a process of its own."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from background import TIMEOUT
from program import ROOT, Program
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire import BINARY, CLOSE, TEXT, accepted, asked, close, frame, read

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / 'examples'
SERVERS = ['sans_io_events_server.py', 'sans_io_frames_server.py', 'sans_io_asyncio.py', 'sans_io_trio.py']
CLIENTS = ['sans_io_events_client.py', 'sans_io_frames_client.py']


def example(name, *args):
    return Program(EXAMPLES / name, *args)


@pytest.fixture(scope='module', params=SERVERS)
def server(request):
    if 'trio' in request.param:
        pytest.importorskip('trio')
    with example(request.param, '0') as program:
        program.url = program.find(r'ws://\S+')
        yield program
        assert program.process.poll() is None
        assert not program.errors


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob('sans_io_*.py')} == {*SERVERS, *CLIENTS}


def test_messages_come_back(server):
    with connect(server.url, max_size=None) as ws:
        for message in ('Hello', '', 'Grüße 👋', b'\x00\xff', 'x' * 200_000, ['a', 'ä', 'b']):
            ws.send(message)
            assert ws.recv() == (''.join(message) if isinstance(message, list) else message)
        assert ws.ping().wait(20)
        ws.close(1001, 'bye')
    assert ws.protocol.close_rcvd.code == 1001


def test_a_peer_that_breaks_the_rules_is_told_so(server):
    with connect(server.url) as ws:
        ws.socket.sendall(b'\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0')
        with pytest.raises(ConnectionClosed):
            ws.recv(20)
        assert ws.protocol.close_rcvd.code == 1002


def exchanged(url, wire):
    """What a server sends to one who sends its request and `wire` at once: the frames, and that it ends TCP."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT) as sock:
        sock.sendall(asked('GET / HTTP/1.1') + wire)
        data = b''
        while piece := sock.recv(65536):
            data += piece
    head, _, rest = data.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 101 ')
    return [(opcode, payload) for opcode, _, _, payload in read(rest)]


@pytest.mark.parametrize(('end', 'code'), [(close(1001), 1001), (frame(BINARY, rsv=4), 1002)], ids=['close', 'fault'])
def test_what_comes_with_the_end_is_answered_before_it(server, end, code):
    first, second, (opcode, payload) = exchanged(server.url, frame(TEXT, b'hello') + frame(BINARY, b'you') + end)
    assert (first, second) == ((TEXT, b'hello'), (BINARY, b'you'))
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, 'big'))


def test_several_clients_are_served_at_a_time(server):
    with connect(server.url) as one, connect(server.url) as other:
        other.send('2')
        one.send('1')
        assert (one.recv(), other.recv()) == ('1', '2')


@pytest.mark.parametrize('name', SERVERS[:2])
def test_there_is_nothing_elsewhere(name):
    with example(name, '0') as program, pytest.raises(InvalidStatus) as caught:
        connect(program.find(r'ws://\S+') + 'elsewhere')
    assert caught.value.response.status_code == 404


@pytest.mark.parametrize('client', CLIENTS)
def test_a_client_sends_its_words_prints_the_answer_and_closes(server, client):
    with example(client, server.url, 'good', 'morning') as program:
        assert program.end() == 0
        assert program.lines == ['good', 'morning', 'Closed: 1000']
        assert not program.errors


@pytest.mark.parametrize('client', CLIENTS)
def test_a_client_says_that_it_was_refused(client):
    with example(SERVERS[0], '0') as server:
        with example(client, server.find(r'ws://\S+') + 'elsewhere', 'hello') as program:
            assert program.end() == 1
            assert program.lines == ['Refused: 404']


@pytest.mark.parametrize('name', CLIENTS)
def test_a_client_answers_what_comes_with_the_close(name):
    """The server's 101, its messages and its close are one segment: all of it can be answered."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        with example(name, f'ws://127.0.0.1:{listener.getsockname()[1]}/', 'good', 'morning') as program:
            listener.settimeout(TIMEOUT)
            sock = listener.accept()[0]
            sock.settimeout(TIMEOUT)
            with sock:
                request = b''
                while not request.endswith(b'\r\n\r\n'):
                    request += sock.recv(65536)
                sock.sendall(
                    accepted(request)
                    + b''.join(frame(TEXT, word, masked=False) for word in (b'one', b'two'))
                    + close(1001, masked=False)
                )
                sock.shutdown(socket.SHUT_WR)
                data = b''
                while piece := sock.recv(65536):
                    data += piece
            assert program.end() == 0
            assert program.lines == ['one', 'two', 'Closed: 1001']
            assert not program.errors
    assert [(opcode, payload) for opcode, _, _, payload in read(data)] == [
        (TEXT, b'good'),
        (TEXT, b'morning'),
        (CLOSE, b'\x03\xe8done'),
    ]
