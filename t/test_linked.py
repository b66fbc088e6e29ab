"""Two transactions without a loop, linked by ``resume``: what one writes is read by the other at once.

Both happen in their handlers too. Bytes that are read while handlers are called belong behind those that are being
read, and bytes that are written while handlers are called behind those that are being written.
"""

from __future__ import annotations

import pytest
from byhand import TEXT, frame, frames, log, opened, pair

from pyjows import Side, WebSocket
from pyjows.extensions import Extension
from pyjows.frames import Frame
from pyjows.protocol import Protocol


def link(client: WebSocket, server: WebSocket) -> None:
    """Carry what either writes to the other one, at once."""
    client.on('resume', lambda ws: server.server_read(data) if (data := client.client_write()) else None)
    server.on('resume', lambda ws: client.client_read(data) if (data := server.server_write()) else None)


def test_what_is_read_in_a_handler_comes_behind_what_is_being_read():
    client, server = opened('client'), opened()
    client.send('one').send('two')
    both = client.client_write()
    link(client, server)
    server.on('message', lambda ws, message: ws.send(f'answer to {message}'))
    client.on('message', lambda ws, message: ws.send('three') if message == 'answer to one' else None)
    received = log(server, 'message')
    server.server_read(both)
    assert received == [('message', 'one'), ('message', 'two'), ('message', 'three')]


@pytest.mark.parametrize('cut', range(1, 14))
def test_a_frame_that_is_cut_is_not_mixed_with_what_a_handler_reads(cut):
    server = opened()
    received = log(server, 'message', 'finish')
    first, second, third = (frame(TEXT, text, masked=True) for text in (b'first', b'the second', b'third'))
    more = [second[cut:] + third]
    server.on('message', lambda ws, message: ws.server_read(more.pop()) if more else None)
    server.server_read(first + second[:cut])
    assert received == [('message', 'first'), ('message', 'the second'), ('message', 'third')]
    assert server.protocol.close_sent is None


@pytest.mark.parametrize('pauses_first', [True, False])
def test_what_is_read_in_a_handler_that_pauses_waits_behind_what_is_being_read(pauses_first):
    server = opened()
    received = log(server, 'message')
    first, second, third = (frame(TEXT, text, masked=True) for text in (b'1', b'2', b'3'))

    def pause(ws, message):
        if message == '1':
            if pauses_first:
                ws.pause_reading()
            ws.server_read(third)
            ws.pause_reading()

    server.on('message', pause)
    server.server_read(first + second)
    assert received == [('message', '1')]
    server.resume_reading()
    assert received == [('message', '1'), ('message', '2'), ('message', '3')]


def test_a_connection_that_is_closed_in_a_handler_reads_nothing_more():
    server = opened()
    received = log(server, 'message', 'finish')
    server.on('message', lambda ws, message: ws.server_read(frame(TEXT, b'2', masked=True)).closed())
    server.server_read(frame(TEXT, b'1', masked=True))
    assert received == [('message', '1'), ('finish', 1006, '')]


def test_an_endless_exchange_needs_no_stack():
    client, server = opened('client'), opened()
    link(client, server)
    counted = [0]

    def again(ws, message):
        counted[0] += 1
        if counted[0] < 20_000:
            ws.send(message)

    client.on('message', again)
    server.on('message', again)
    client.send('ball')
    assert counted == [20_000]
    assert client.protocol.close_sent is server.protocol.close_sent is None


def test_what_a_handler_of_drain_sends_is_written_behind_what_was_drained():
    client, server = pair({'compression': True}, {'compression': True})
    received = log(server, 'message', 'finish')
    client.once('drain', lambda ws: ws.send('second ' * 10))
    client.send('first ' * 10)
    link(client, server)
    server.server_read(client.client_write())
    assert received == [('message', 'first ' * 10), ('message', 'second ' * 10)]


def test_a_handler_of_drain_that_writes_gets_what_was_drained_too():
    client = opened('client')
    written = []
    client.once('drain', lambda ws: written.append(ws.send('second').client_write()))
    client.send('first')
    assert client.client_write() == b''
    assert [payload for _, payload in frames(written[0])] == [b'first', b'second']
    assert client.client_write() == b''


def test_messages_that_came_with_the_101_are_received_before_those_that_come_while_open_is_handled():
    client, server = WebSocket(), WebSocket()
    received = log(client, 'message')
    server.on('open', lambda ws: ws.send('with the 101'))
    server.on('message', lambda ws, message: ws.send(f'answer to {message}'))
    client.client_handshake('ws://example.com/')
    server.server_read(client.client_write())
    answer = server.server_write()
    link(client, server)
    client.on('open', lambda ws: ws.send('early'))
    client.client_read(answer)
    assert received == [('message', 'with the 101'), ('message', 'answer to early')]


def test_messages_that_came_with_the_request_are_received_before_those_that_come_while_open_is_handled():
    client, server = WebSocket(), WebSocket()
    client.client_handshake('ws://example.com/')
    request = client.client_write()
    received = log(server, 'message')
    server.on('open', lambda ws: ws.server_read(frame(TEXT, b'later', masked=True)))
    server.server_read(request + frame(TEXT, b'at once', masked=True))
    assert received == [('message', 'at once'), ('message', 'later')]


def test_an_extension_that_reads_does_not_change_the_order_either():
    protocol = Protocol(Side.SERVER)
    more = [frame(TEXT, b'2', masked=True) + frame(TEXT, b'3', masked=True)[:3]]

    class Reads(Extension):
        name = 'x-reads'
        rsv = 0x40

        def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
            if more:
                protocol.receive_data(more.pop())
            return frame._replace(rsv1=False)

    protocol.extensions = [Reads()]
    protocol.receive_data(frame(TEXT, b'0', rsv=4, masked=True) + frame(TEXT, b'1', masked=True))
    protocol.receive_data(frame(TEXT, b'3', masked=True)[3:])
    assert [one.data for one in protocol.events_received()] == [b'0', b'1', b'2', b'3']


def test_a_frame_handler_that_processes_frames_itself_reads_in_order_too():
    server = opened()
    received = log(server, 'message', 'finish')
    server.unsubscribe('frame')
    more = [frame(TEXT, b'3', masked=True)]

    def handle(ws, one):
        ws.protocol.process(one)
        if more:
            ws.server_read(more.pop())

    server.on('frame', handle)
    server.server_read(frame(TEXT, b'1', masked=True) + frame(TEXT, b'2', masked=True))
    assert received == [('message', '1'), ('message', '2'), ('message', '3')]
