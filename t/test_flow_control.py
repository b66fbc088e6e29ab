"""Flow control in both directions: reading that pauses, pongs that do not pile up, messages in too many frames."""

from __future__ import annotations

from typing import Any

import pytest
from byhand import BINARY, CONT, PING, PONG, TEXT, close, frame, frames, log, opened

import pyjows
from pyjows import Opcode, Protocol, Side


def told(ws: Any) -> list[str]:
    """The texts that a transaction delivers, as they come."""
    texts: list[str] = []
    ws.on('text', lambda ws, text: texts.append(text))
    return texts


def said(*texts: str) -> bytes:
    return b''.join(frame(TEXT, text.encode(), masked=True) for text in texts)


def test_pausing_holds_back_even_what_came_in_the_same_bytes():
    ws = opened()
    texts = told(ws)
    ws.once('text', lambda ws, text: ws.pause_reading())
    ws.server_read(said('1', '2', '3'))
    assert texts == ['1']
    ws.server_read(said('4'))
    assert texts == ['1']
    ws.resume_reading()
    assert texts == ['1', '2', '3', '4']
    ws.server_read(said('5'))
    assert texts[4:] == ['5']


def test_a_handler_may_pause_after_every_message():
    ws = opened()
    texts = told(ws)
    ws.on('text', lambda ws, text: ws.pause_reading())
    ws.server_read(said(*'abc'))
    for n in range(1, 4):
        assert texts == list('abc')[:n]
        ws.resume_reading()


def test_a_frame_that_was_cut_when_reading_paused_is_put_together(step=3):
    ws = opened()
    texts = told(ws)
    wire = said('first', 'second')
    ws.pause_reading()
    for at in range(0, len(wire), step):
        ws.server_read(wire[at : at + step])
        if at == 4 * step:
            ws.resume_reading().pause_reading()
    ws.resume_reading()
    assert texts == ['first', 'second']


def test_what_was_held_back_is_delivered_before_the_end():
    ws = opened()
    seen = log(ws, 'text', 'finish')
    ws.pause_reading()
    ws.server_read(said('1', '2') + close(4000, masked=True)).server_read(b'').closed()
    assert seen == [('text', '1'), ('text', '2'), ('finish', 4000, '')]


@pytest.mark.wide(later=True)
def test_reading_that_pauses_slows_the_sender_down_and_loses_nothing(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    here: list[Any] = []
    texts: list[int] = []

    @server.on
    def websocket(server, ws):
        here.append(ws)
        ws.pause_reading()
        ws.on('json', lambda ws, n: texts.append(n))

    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: client.established)
    sent = 0
    while client.buffered_amount < 100_000:
        client.send(json=sent).flush()
        sent += 1
    ticks: list[int] = []
    ioloop.recurring(lambda loop: ticks.append(1), 0.01)
    run_until(ioloop, lambda: len(ticks) > 10)
    assert texts == []
    assert client.buffered_amount > 0
    here[0].resume_reading()
    run_until(ioloop, lambda: len(texts) == sent)
    assert texts == list(range(sent))


def test_pings_are_answered_one_by_one_while_little_waits():
    ws = opened()
    ws.server_read(b''.join(frame(PING, b'%d' % n, masked=True) for n in range(10)))
    assert frames(ws.server_write()) == [(0x80 | PONG, b'%d' % n) for n in range(10)]


@pytest.mark.parametrize('side', ['server', 'client'])
def test_while_much_waits_only_the_latest_ping_is_answered(side):
    ws = opened(side)
    ws.send(binary=bytes(100_000))
    masked = side == 'server'
    for n in range(1000):
        ws.server_read(frame(PING, b'%d' % n, masked=masked))
    assert [head for head, _ in frames(ws.server_write())] == [0x80 | BINARY, 0x80 | PONG]
    ws.server_read(frame(PING, b'again', masked=masked))
    assert frames(ws.server_write()) == [(0x80 | PONG, b'again')]


def test_a_late_pong_answers_the_latest_and_never_follows_a_close():
    protocol = Protocol(Side.SERVER)
    protocol.send_binary(bytes(100_000))
    for payload in (b'first', b'last'):
        protocol.receive_data(frame(PING, payload, masked=True))
    assert frames(b''.join(protocol.data_to_send()))[1:] == [(0x80 | PONG, b'last')]
    protocol.send_binary(bytes(100_000))
    protocol.receive_data(frame(PING, masked=True) + close(1000, masked=True))
    assert [head & 0x0F for head, _ in frames(b''.join(protocol.data_to_send()))] == [BINARY, Opcode.CLOSE]


@pytest.mark.parametrize('fragments', [3, 4])
def test_a_message_comes_in_so_many_frames_at_most(fragments):
    protocol = Protocol(Side.SERVER, max_fragments=3, join_fragments=True)
    protocol.receive_data(frame(TEXT, fin=False, masked=True))
    for _ in range(fragments - 2):
        protocol.receive_data(frame(CONT, fin=False, masked=True))
    protocol.receive_data(frame(CONT, b'end', masked=True))
    if fragments == 3:
        assert [event.data for event in protocol.events_received()] == [b'end']
        protocol.receive_data(frame(TEXT, b'a', fin=False, masked=True) + frame(CONT, masked=True))
        assert len(protocol.events_received()) == 1
    else:
        assert protocol.close_sent.code == 1009
        assert 'more than 3 frames' in protocol.close_sent.reason


def test_sending_into_a_close_that_has_begun_is_quiet(caplog):
    ws, other = opened(), opened()
    ws.on('text', lambda ws, text: ws.send(text=text))
    ws.on('text', lambda ws, text: other.send(text=text))
    other.finish(1001)
    with caplog.at_level('INFO', logger='pyjows'):
        ws.server_read(said('one'))
        ws.finish(1001)
        ws.server_read(said('two'))
    assert caplog.records == []
    assert frames(ws.server_write()) == [(0x80 | TEXT, b'one'), (0x88, (1001).to_bytes(2, 'big'))]


def test_a_peer_s_wrong_json_is_no_error_in_the_log(caplog):
    ws = opened()
    ws.on('json', lambda ws, value: None)
    with caplog.at_level('INFO', logger='pyjows'):
        ws.server_read(said('{') * 1000)
    assert [record.levelname for record in caplog.records] == ['INFO']
    assert frames(ws.server_write())[0][1][:2] == (1007).to_bytes(2, 'big')


def test_endless_empty_fragments_end_by_default():
    ws = opened()
    ws.server_read(frame(TEXT, fin=False, masked=True))
    ws.server_read(frame(CONT, fin=False, masked=True) * 131072)
    [(head, payload)] = frames(ws.server_write())
    assert payload[:2] == (1009).to_bytes(2, 'big')
