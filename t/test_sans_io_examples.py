"""The programs examples/sans_io_*.py, each as a process of its own."""

from __future__ import annotations

import pytest
from program import ROOT, Program
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

EXAMPLES = ROOT / 'examples'
SERVERS = ['sans_io_events_server.py', 'sans_io_frames_server.py', 'sans_io_asyncio.py', 'sans_io_trio.py']
CLIENTS = ['sans_io_events_client.py', 'sans_io_frames_client.py']


def example(name, *args):
    return Program(EXAMPLES / name, *args)


@pytest.fixture(params=SERVERS)
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
            assert program.end() == 0
            assert program.lines == ['Refused: 404']
