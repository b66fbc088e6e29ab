"""The access log of a server, on every reactor."""

from __future__ import annotations

import logging
import re

import pytest
from wire import TEXT, asked, close, frame

import pyjows

pytestmark = pytest.mark.wide(later=True)


@pytest.fixture
def lines(caplog):
    """The lines of the access log."""
    caplog.set_level(logging.INFO, 'pyjows.access')
    return lambda: [record.getMessage() for record in caplog.records if record.name == 'pyjows.access']


def test_the_access_log_has_a_line_for_the_answer_and_one_for_the_close(ioloop, ask, lines, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, access_log=True)
    server.on('websocket', lambda server, ws: setattr(ws, 'user', 'ann'))
    ask(server, asked(Origin='https://chat.example', User_Agent='curl "8"') + close(1000, 'bye\n'))
    run_until(ioloop, lambda: len(lines()) == 2)
    opened, closed = lines()
    assert opened == """127.0.0.1 'ann' "GET /chat" 101 'https://chat.example' 'curl "8"'"""
    assert re.fullmatch(r"127\.0\.0\.1 'ann' \"GET /chat\" closed 1000 'bye\\n' \d+\.\d{3} s", closed)
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


def test_the_access_log_tells_of_refusals(ioloop, ask, lines, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, origins=['https://chat.example'], access_log=True)
    ask(server, asked(Origin='https://evil.example'))
    run_until(ioloop, lambda: lines())
    assert lines() == ["""127.0.0.1 - "GET /chat" 403 'https://evil.example' -"""]
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


def test_a_quote_in_a_target_does_not_end_its_field_of_the_access_log(ioloop, servers, ask, lines, run_until):
    servers.append(pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, access_log=True))
    ask(servers[0], asked('GET /a"101"b HTTP/1.1') + close(1000))
    run_until(ioloop, lambda: len(lines()) == 2)
    assert lines()[0] == """127.0.0.1 - "GET /a%22101%22b" 101 - -"""


def test_without_the_option_or_the_level_nobody_is_watched(ioloop, server, ask, lines, run_until):
    seen = []
    quiet = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, access_log=True)
    for one in (server, quiet):
        one.on('websocket', lambda server, ws: seen.append((ws.has_subscribers('open'), ws.has_subscribers('finish'))))
    ask(server, asked() + close(1000))
    logging.getLogger('pyjows.access').setLevel(logging.WARNING)
    ask(quiet, asked() + close(1000))
    assert seen == [(False, False)] * 2
    assert lines() == []
    quiet.stop()
    run_until(ioloop, lambda: not ioloop.connections)


class Unprintable:
    """An identity of a program, whose `__str__` has a fault."""

    def __str__(self) -> str:
        raise RuntimeError('the database is away')

    __repr__ = __str__


def test_an_identity_that_cannot_be_printed_ends_no_connection(ioloop, servers, ask, lines, run_until):
    received = []
    servers.append(server := pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, access_log=True))

    @server.on
    def websocket(server, ws):
        ws.user = Unprintable()
        ws.on('text', lambda ws, text: received.append(text))

    ask(server, asked() + frame(TEXT, b'hello') + close(1000))
    run_until(ioloop, lambda: len(lines()) == 2)
    assert received == ['hello']
    assert lines()[0] == """127.0.0.1 '<unprintable Unprintable object>' "GET /chat" 101 - -"""
    assert 'closed 1000' in lines()[1]
