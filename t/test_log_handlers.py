"""A program's own handler of `logging` that raises: the loop and the other connections go on."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import pyjows
from pyjows.reactor import Reactor

pytestmark = pytest.mark.wide(later=True)


class Broken(logging.Handler):
    """A handler that does not catch what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        record.getMessage()
        raise ValueError('the disk is full')


@pytest.fixture(params=[logging.ERROR, logging.DEBUG], ids=logging.getLevelName)
def broken(request: Any) -> Iterator[Broken]:
    logger = logging.getLogger('pyjows')
    handler = Broken()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(request.param)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError('no text')


@pytest.mark.parametrize('exc', [ZeroDivisionError, Unprintable])
def test_a_log_handler_that_raises_breaks_no_connection(
    server: Any, ioloop: Any, run_until: Any, broken: Broken, exc: type[Exception], capfd: pytest.CaptureFixture[str]
) -> None:
    @server.on
    def websocket(server: Any, ws: Any) -> None:
        @ws.on
        def text(ws: Any, message: str) -> None:
            if message == 'raise':
                raise exc
            ws.send(message)

    one, other = (pyjows.connect(server.urls[0], ioloop=ioloop) for _ in range(2))
    got: list[str] = []
    other.on('text', lambda ws, message: got.append(message))
    run_until(ioloop, lambda: one.established and other.established)
    one.send(text='raise')
    other.send(text='one')
    run_until(ioloop, lambda: one.is_finished and got == ['one'])
    with socket.create_connection(('127.0.0.1', server.ports[0])) as garbage:
        garbage.sendall(b'garbage\r\n\r\n')
        other.send(text='two')
        run_until(ioloop, lambda: got == ['one', 'two'])
        garbage.settimeout(10)
        assert garbage.recv(100).startswith(b'HTTP/1.1 400')
    other.finish()
    run_until(ioloop, lambda: other.is_finished)
    assert broken.records
    err = capfd.readouterr().err
    assert 'Logging error' in err
    assert 'the disk is full' in err


def test_a_callback_that_raises_ends_no_reactor(reactor: Reactor, broken: Broken) -> None:
    called: list[str] = []

    def fail(reactor: Reactor) -> None:
        raise ZeroDivisionError

    reactor.next_tick(fail)
    reactor.next_tick(lambda reactor: called.append('tick'))
    reactor.timer(fail, 0)
    reactor.timer(lambda reactor: called.append('timer'), 0.01)
    reactor.start()
    assert called == ['tick', 'timer']
    assert len([record for record in broken.records if record.levelno == logging.ERROR]) == 2


def test_the_failure_of_a_log_handler_is_not_printed_where_logging_is_told_so(
    reactor: Reactor, broken: Broken, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, 'raiseExceptions', False)

    def fail(reactor: Reactor) -> None:
        raise ZeroDivisionError

    reactor.next_tick(fail)
    reactor.start()
    assert broken.records
    assert 'the disk is full' not in capfd.readouterr().err
