"""DEBUG logging: the handshake, each frame in one readable line, the close; nothing of it where DEBUG is off."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from byhand import REQUEST, frame, opened, pair

import pyjows
from pyjows import WebSocket


@pytest.fixture
def debug(caplog):
    """The lines that were logged, by logger: ``('server', '7 > TEXT …')``."""
    caplog.set_level(logging.DEBUG, logger='pyjows')
    return lambda: [
        (record.name.removeprefix('pyjows.'), record.getMessage())
        for record in caplog.records
        if record.levelno == logging.DEBUG
    ]


def test_a_connection_is_logged_from_its_handshake_to_its_close(ioloop, run_until, debug):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, subprotocols=['chat'])
    server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text.upper())))
    ws = pyjows.connect(f'{server.urls[0]}/room?x=1', ioloop=ioloop, subprotocols=['chat'])
    ws.on('open', lambda ws: ws.send('hello').ping(b'\x01\x02').finish(1000, 'bye'))
    run_until(ioloop, lambda: ws.is_finished and not server.connections)
    client_id = ws.connection
    lines = debug()
    [server_id] = {line.split()[0] for logger, line in lines if logger == 'server'}
    port = server.ports[0]
    theirs = re.escape(next(line for logger, line in lines if logger == 'server'))
    assert re.match(r"\d+ upgrade request: GET '/room\?x=1' from 127\.0\.0\.1 port \d+$", theirs.replace('\\', ''))
    assert [line.removeprefix(f'{server_id} ') for logger, line in lines if logger == 'server'][1:] == [
        'open, subprotocol chat, extensions: none',
        "< TEXT 'hello' [5 bytes]",
        "> TEXT 'HELLO' [5 bytes]",
        '< PING 01 02 [2 bytes]',
        '> PONG 01 02 [2 bytes]',
        "< CLOSE 1000 'bye' [5 bytes]",
        "> CLOSE 1000 'bye' [5 bytes]",
        "closed with 1000 'bye'",
    ]
    assert [line for logger, line in lines if logger == 'client'] == [
        f'{client_id} connected to 127.0.0.1 port {port}',
        f'{client_id} open, subprotocol chat, extensions: none',
        f"{client_id} > TEXT 'hello' [5 bytes]",
        f'{client_id} > PING 01 02 [2 bytes]',
        f"{client_id} > CLOSE 1000 'bye' [5 bytes]",
        f"{client_id} < TEXT 'HELLO' [5 bytes]",
        f'{client_id} < PONG 01 02 [2 bytes]',
        f"{client_id} < CLOSE 1000 'bye' [5 bytes]",
        f"{client_id} closed with 1000 'bye'",
    ]
    server.stop()


def test_a_refusal_is_logged(ioloop, server, run_until, debug):
    server.on('websocket', lambda server, ws: ws.reject(403))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    ws.on('error', lambda ws, exc: None)
    run_until(ioloop, lambda: ws.is_finished)
    lines = [line.partition(' ')[2] for _, line in debug()]
    assert 'refused with 403' in lines
    assert 'failed: the server answered 403 Forbidden instead of 101 Switching Protocols' in lines


@pytest.mark.parametrize(
    ('send', 'line'),
    [
        (lambda ws: ws.send(''), 'TEXT [0 bytes]'),
        (lambda ws: ws.send('ä'), "TEXT 'ä' [2 bytes]"),
        (lambda ws: ws.send('a\nb'), r"TEXT 'a\nb' [3 bytes]"),
        (lambda ws: ws.send('€' * 60_000), f"TEXT '{'€' * 75}'... [180000 bytes]"),
        (lambda ws: ws.send(b'\0'), 'BINARY 00 [1 byte]'),
        (lambda ws: ws.send(bytes(100_000)), f'BINARY {"00 " * 24}... [100000 bytes]'),
        (lambda ws: ws.send(json=[1]), "TEXT '[1]' [3 bytes]"),
        (lambda ws: ws.send(frame=(0, 0, 0, 0, 1, b'a')), "TEXT, not the last, 'a' [1 byte]"),
        (lambda ws: ws.finish(), 'CLOSE [0 bytes]'),
        (lambda ws: ws.finish(4000), 'CLOSE 4000 [2 bytes]'),
        (lambda ws: ws.finish(4000, 'x' * 123), f"CLOSE 4000 '{'x' * 123}' [125 bytes]"),
        (lambda ws: pyjows.broadcast([ws], text='all'), "TEXT 'all' [3 bytes]"),
    ],
)
@pytest.mark.parametrize('side', ['server', 'client'])
def test_each_frame_is_one_short_line_both_ways(debug, side, send, line):
    ours, theirs = opened(side), opened('client' if side == 'server' else 'server')
    send(ours)
    [(logger, sent)] = debug()
    assert logger == side
    assert sent.split(' ', 1)[1] == f'> {line}'
    theirs.server_read(ours.server_write())
    [received] = [text for logger, text in debug() if logger != side and ' < ' in text]
    assert received.split(' ', 1)[1] == f'< {line}'
    assert len(received) < 250


def test_fragments_are_a_line_each(debug):
    ws = opened()
    ws.server_read(frame(1, b'a', fin=False, masked=True) + frame(0, b'b', masked=True))
    assert [text.split(' ', 1)[1] for _, text in debug()] == [
        "< TEXT, not the last, 'a' [1 byte]",
        '< CONT 62 [1 byte]',
    ]


def test_what_was_sent_before_the_connection_was_open_is_logged_too(debug):
    ws = WebSocket()
    ws.send('early').send(frame=(1, 0, 0, 0, 2, b'raw'))
    ws.server_read(REQUEST + b'\r\n')
    lines = [line.partition(' ')[2] for _, line in debug()]
    assert lines[-2:] == ["> TEXT 'early' [5 bytes]", '> BINARY 72 61 77 [3 bytes]']


def test_compressed_messages_are_logged_as_they_were_before(debug):
    ours, theirs = pair({'compression': True}, {'compression': True})
    ours.send('x' * 1000)
    theirs.server_read(ours.client_write())
    line = f"TEXT '{'x' * 75}'... [1000 bytes]"
    assert [text.split(' ', 1)[1] for _, text in debug()][-2:] == [f'> {line}', f'< {line}']


def test_logging_and_handlers_of_frame_do_not_disturb_each_other(debug):
    ws = opened()
    seen = []
    see = lambda ws, frame: seen.append(frame.data)  # noqa: E731
    ws.on('frame', see)
    ws.server_read(frame(1, b'a', masked=True))
    ws.unsubscribe('frame', see)
    ws.server_read(frame(1, b'b', masked=True))
    assert seen == [b'a']
    assert [text.split(' ', 1)[1] for _, text in debug()] == ["< TEXT 'a' [1 byte]", "< TEXT 'b' [1 byte]"]


@pytest.mark.parametrize('level', [logging.INFO, logging.WARNING])
def test_without_debug_nothing_is_logged_and_no_line_is_made(caplog, level):
    caplog.set_level(level, logger='pyjows')
    ws = opened()
    ws.on('text', lambda ws, text: ws.send(text))
    ws.server_read(frame(1, b'a', masked=True))
    ws.finish(1000)
    ws.closed()
    assert caplog.records == []


def test_whether_frames_are_logged_is_decided_when_the_connection_is_open(caplog):
    caplog.set_level(logging.INFO, logger='pyjows')
    before = opened()
    caplog.set_level(logging.DEBUG, logger='pyjows')
    before.send('a')
    assert caplog.records == []
    opened().send('a')
    assert len(caplog.records) == 1


@pytest.mark.parametrize(('value', 'is_shown'), [('1', True), ('0', False), ('', False)])
def test_pyjows_debug_shows_it_on_stderr(value, is_shown):
    source = "import pyjows; pyjows.WebSocket(established=True).send('hello')"
    run = subprocess.run(
        [sys.executable, '-c', source],
        env={**os.environ, 'PYJOWS_DEBUG': value, 'PYTHONPATH': os.pathsep.join(sys.path)},
        cwd=Path(__file__).parent,
        capture_output=True,
        encoding='utf-8',
    )
    assert run.returncode == 0
    shown = re.search(
        r"^[\d-]+ [\d:,]+ DEBUG pyjows\.server: [0-9a-f]{8} > TEXT 'hello' \[5 bytes\]$", run.stderr, re.M
    )
    assert bool(shown) is is_shown, run.stderr
