"""What a peer chooses, in log lines and messages: no control characters, and not much of it.

A newline would begin a line of the log that the peer has written, an escape sequence would reach the terminal of who
reads it, and a lone surrogate could not be written at all.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from wire import TEXT, asked, close, frame

import pyjows
from pyjows.errors import Close, ConnectionClosedError

pytestmark = pytest.mark.wide(later=True)

LONG = 'A' * 15000

#: A log line has less than this, whatever a peer sends.
MAX_LINE = 1500

HOSTILE = ['a\n\x1b[31mb', '\0' * 100, '\u2028\x85\x9b', '\u202eabc']

# Headers are ISO 8859-1: \x9b is CSI, an escape sequence of one byte.
HEADERS = [b'\x9b31m\x85evil', b'a\tb', LONG.encode()]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """The log lines of a test, which all have to be harmless."""
    caplog.set_level(logging.DEBUG, 'pyjows')
    caplog.set_level(logging.DEBUG, 'pyjows.access')

    def lines() -> list[str]:
        records = [record for record in caplog.get_records('call') if record.name.startswith('pyjows')]
        found = [record.getMessage() for record in records]
        causes = [str(record.exc_info[1]) for record in records if record.exc_info]
        return found + causes

    yield lines
    assert lines()
    for line in lines():
        harmless(line)


def harmless(text: str) -> None:
    assert text.isprintable(), repr(text)
    assert len(text) < MAX_LINE, f'{len(text)} characters: {text[:100]}'


def upgrade(name: str, value: bytes) -> bytes:
    return asked()[:-2] + name.encode() + b': ' + value + b'\r\n\r\n'


@pytest.mark.parametrize('verdict', ['ann\n\x1b\udcff', False], ids=['a user', 'refused'])
def test_what_a_request_has(ioloop, servers, ask, lines, verdict):
    servers.append(
        pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, access_log=True, authenticate=lambda request: verdict)
    )

    @servers[0].on
    def websocket(server: Any, ws: Any) -> None:
        ws.on('text', lambda ws, text: 1 / 0)

    for line in ('GET /a%0a%1b[31mx%00y HTTP/1.1', f'GET /{LONG} HTTP/1.1', f'{LONG[:9000]} / HTTP/1.1'):
        ask(servers[0], asked(line) + frame(TEXT, b'x') + close(1000))
    for name in ('Origin', 'User-Agent', 'Host', 'Sec-WebSocket-Protocol', 'Sec-WebSocket-Extensions', 'Upgrade'):
        for value in HEADERS:
            ask(servers[0], upgrade(name, value) + close(1000))


@pytest.mark.parametrize('reason', HOSTILE, ids=ascii)
def test_the_reason_of_a_close(ioloop, servers, ask, run_until, lines, reason):
    servers.append(pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, access_log=True))
    late: list[Any] = []

    @servers[0].on
    def websocket(server: Any, ws: Any) -> None:
        def finish(ws: Any, code: int, reason: str) -> None:
            late.append(reason)
            ws.send(text='too late')

        ws.on('finish', finish)

    ask(servers[0], asked() + close(3000, reason))
    run_until(ioloop, lambda: late)
    assert late == [reason]  # the program gets it as it is


@pytest.mark.parametrize('reason', [*HOSTILE, '\udcff'], ids=ascii)
def test_an_exception_about_a_close(reason):
    harmless(str(Close(3000, reason)))
    harmless(str(ConnectionClosedError(Close(3000, reason), Close(3000, reason), True)))
    assert str(Close(3000, "it's")) == "3000 (registered) it's"


@pytest.mark.parametrize('path', [b'/run/\x1b[31m\nx', b'\xff\xfe\xc2\x9b', b'z' * 108], ids=ascii)
def test_the_path_of_a_unix_socket_in_a_proxy_header(ioloop, servers, run_until, lines, path):
    servers.append(
        pyjows.serve(
            'ws://127.0.0.1:0',
            ioloop=ioloop,
            access_log=True,
            trusted_proxies=['127.0.0.1'],
            forwarding='proxy-protocol',
            max_connections_per_address=1,
        )
    )
    opened: list[str] = []
    servers[0].on('websocket', lambda server, ws: opened.append(ws.remote_address))
    body = path.ljust(108, b'\0') + bytes(108)
    header = b'\r\n\r\n\0\r\nQUIT\n\x21\x31' + struct.pack('>H', len(body)) + body
    with (
        socket.create_connection(('127.0.0.1', servers[0].ports[0])) as first,
        socket.create_connection(('127.0.0.1', servers[0].ports[0])) as second,
    ):
        first.sendall(header + asked())
        second.sendall(header + asked())
        run_until(ioloop, lambda: opened and servers[0].statistics().refused)
    harmless(opened[0])


ANSWERS = {
    'reason phrase': b'HTTP/1.1 403 \x9b31m\x85evil\r\nContent-Length: 0\r\n\r\n',
    'tab': b'HTTP/1.1 403 a\tb\r\nContent-Length: 0\r\n\r\n',
    'long': b'HTTP/1.1 403 ' + LONG.encode() + b'\r\nContent-Length: 0\r\n\r\n',
    'not HTTP': b'\x1b[31m\n\n',
    **{
        f'to {where[:20]!r}': b'HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ' + where + b'\r\n\r\n'
        for where in (
            b'\x9b',
            b'//\x9b',
            b'http://u:\x9b@h/',
            b'gopher://\x9b',
            b'ws://' + LONG.encode(),
            LONG.encode(),
        )
    },
}


@pytest.mark.parametrize('answer', ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize('through', ['connect', 'reconnect', 'a proxy'])
def test_what_a_server_answers(ioloop, run_until, lines, answer, through):
    def accept(loop: Any, stream: Any, id: str) -> None:
        stream.on('read', lambda stream, data: stream.write(answer).shutdown())

    ioloop.server(accept, address='127.0.0.1')
    where = f'ws://127.0.0.1:{ioloop.ports[0]}'
    ws: Any
    if through == 'connect':
        ws = pyjows.connect(where, ioloop=ioloop)
    elif through == 'reconnect':
        ws = pyjows.reconnect(where, ioloop=ioloop, delays=lambda: iter([0.01]))
    else:
        ws = pyjows.connect('ws://example.invalid', ioloop=ioloop, proxy=where.replace('ws', 'http'))
    errors: list[str] = []
    finished: list[int] = []
    ws.on('error', lambda ws, exc: errors.append(str(exc)))
    ws.on('finish', lambda ws, code, reason: finished.append(code))
    run_until(ioloop, lambda: finished)
    assert errors
    for error in errors:
        harmless(error)


def test_the_reason_for_which_a_client_connects_again(ioloop, servers, run_until, lines):
    servers.append(pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop))
    servers[0].on('websocket', lambda server, ws: ws.finish(3000, HOSTILE[0]))
    client = pyjows.reconnect(servers[0].urls[0], ioloop=ioloop, delays=lambda: iter([0.01]))
    finished: list[Any] = []
    client.on('finish', lambda client, code, reason: finished.append(reason))
    run_until(ioloop, lambda: finished)
    assert finished == [HOSTILE[0]]
    assert any('closed with 3000 a\\n' in line for line in lines())
