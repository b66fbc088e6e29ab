"""No peer takes more than its turn: a flood that arrives in one read is handled in parts, the others between."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from wire import CONT, PING, TEXT, asked, close, frame

import pyjows

pytestmark = pytest.mark.wide(later=True)

# Frames of one connection in one turn, and bytes of what it inflates to: what the loop's documentation says.
FRAMES = 2048
INFLATED = 1 << 20


def bomb(size: int) -> bytes:
    """A compressed frame of so many letters, without the context of those before it."""
    deflate = zlib.compressobj(9, wbits=-15)
    return frame(TEXT, (deflate.compress(b'x' * size) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)


BOMB = 250_000

#: What floods: the wire, the events that it makes, and how many of them may be in one turn.
FLOODS = {
    'small messages': (frame(TEXT, b'x') * 12_000, 24_000, 2 * FRAMES),
    'pings': (frame(PING, b'') * 12_000, 12_000, FRAMES),
    'fragments': (frame(TEXT, b'', fin=False) + frame(CONT, b'', fin=False) * 12_000, 12_001, FRAMES),
    'compressed messages': (bomb(BOMB) * 100, 200, 2 * (INFLATED // BOMB + 1)),
}


@pytest.fixture
def peers(ioloop, run_until, servers) -> Iterator[Any]:
    """``peers(server, n)``: raw sockets whose handshake is done."""
    with ExitStack() as stack:

        def peers(server: Any, n: int) -> list[socket.socket]:
            made = []
            for _ in range(n):
                sock = stack.enter_context(socket.create_connection(('127.0.0.1', server.ports[0])))
                sock.sendall(asked(Sec_WebSocket_Extensions='permessage-deflate; client_no_context_takeover'))
                run_until(ioloop, lambda: len(server.connections) == len(made) + 1)
                answer = b''
                while not answer.endswith(b'\r\n\r\n'):
                    answer += sock.recv(1)
                made.append(sock)
            return made

        yield peers


@pytest.mark.parametrize('flood', FLOODS)
def test_others_are_served_between_the_parts_of_a_flood(ioloop, run_until, servers, peers, flood):
    wire, number, at_once = FLOODS[flood]
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, compression=True)
    servers.append(server)
    heard: list[Any] = []

    @server.on
    def websocket(server, ws):
        ws.on('frame', lambda ws, frame: heard.append(frame.opcode))
        ws.on('text', lambda ws, text: heard.append(text[:9]))

    before, other, behind = peers(server, 3)  # reactors differ in whom they serve first
    before.sendall(wire)
    other.sendall(frame(TEXT, b'here'))
    behind.sendall(wire)
    run_until(ioloop, lambda: 'here' in heard)
    assert heard.index('here') <= 2 * at_once + 1
    run_until(ioloop, lambda: len(heard) == 2 * number + 2)
    assert not any(ws.is_paused for ws in server.connections)


def test_what_waits_for_its_turn_comes_in_order_before_the_end(ioloop, run_until, servers, peers):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    servers.append(server)
    heard: list[Any] = []
    ended: list[Any] = []

    @server.on
    def websocket(server, ws):
        ws.on('text', lambda ws, text: heard.append(int(text)))
        ws.on('finish', lambda ws, code, reason: ended.append((len(heard), code)))

    for end in (close(1000), b''):
        [peer] = peers(server, 1)
        peer.sendall(b''.join(frame(TEXT, b'%d' % n) for n in range(9000)) + end)
        peer.shutdown(socket.SHUT_WR)
        run_until(ioloop, lambda: ended)
        assert heard == list(range(9000))
        assert ended == [(9000, 1000 if end else 1006)]
        heard.clear()
        ended.clear()


def test_a_handler_that_pauses_in_its_turn_stays_paused(ioloop, run_until, servers, peers):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    servers.append(server)
    heard: list[Any] = []

    @server.on
    def websocket(server, ws):
        @ws.on
        def text(ws, text):
            heard.append(text)
            if len(heard) in (FRAMES - 1, FRAMES, FRAMES + 1, 2 * FRAMES):
                assert ws.pause_reading().is_paused
                ioloop.timer(0.02, resume)
                waits.append(len(heard))

        def resume(loop):
            assert len(heard) == waits.pop()
            ws.resume_reading()

    waits: list[int] = []
    [peer] = peers(server, 1)
    peer.sendall(frame(TEXT, b'x') * 3 * FRAMES)
    run_until(ioloop, lambda: len(heard) == 3 * FRAMES)
    assert not waits


def test_a_client_serves_others_between_the_parts_of_a_flood(ioloop, run_until, servers):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    servers.append(server)
    heard: list[Any] = []

    @server.on
    def websocket(server, ws):
        ws.on('open', lambda ws: [ws.send('x') for _ in range(20_000)])

    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    turns = ioloop.recurring(0.0, lambda loop: heard.append('turn'))
    client.on('text', lambda ws, text: heard.append(text))
    run_until(ioloop, lambda: heard.count('x') == 20_000)
    longest = max(len(part) for part in ''.join('|' if what == 'turn' else what for what in heard).split('|'))
    assert longest <= 2 * FRAMES
    ioloop.remove(turns)
    client.finish()
