"""Handlers of `open` and `finish` that are subscribed too late are called all the same: a notebook connects in one cell
and subscribes in the next."""

from __future__ import annotations

import asyncio

import pytest

import pyjows
from pyjows import reactor as reactors


def test_a_late_open_handler_is_called_on_the_next_tick(ioloop, server, run_until):
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    heard = []
    ws.on('open', heard.append)
    ws.once('open', heard.append)
    assert heard == []  # not within the call
    run_until(ioloop, lambda: heard == [ws, ws])
    assert len(ws.subscribers('open')) == 1


def test_a_late_finish_handler_is_called_on_the_next_tick_with_code_and_reason(ioloop, server, run_until):
    server.on('websocket', lambda server, ws: ws.finish(4001, 'enough'))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.is_finished)
    heard = []

    @ws.on
    def finish(ws, code, reason):
        heard.append((code, reason))

    @ws.once('finish')
    def again(ws, code, reason):
        heard.append((code, reason))

    assert heard == []
    run_until(ioloop, lambda: heard == [(4001, 'enough')] * 2)


def test_a_late_handler_of_a_failed_connection_hears_that_it_is_over(ioloop, run_until):
    ws = pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop)
    ws.on('error', lambda ws, exc: None)
    run_until(ioloop, lambda: ws.is_finished)
    heard = []
    ws.on('open', lambda ws: heard.append('open'))
    ws.on('finish', lambda ws, code, reason: heard.append(code))
    run_until(ioloop, lambda: heard)
    assert heard == [1006]


def test_a_server_s_connection_has_late_handlers_too(ioloop, server, run_until):
    heard = []
    theirs = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: theirs.established and len(server.connections) == 1)
    [ws] = server.connections
    ws.on('open', lambda ws: heard.append('open'))
    run_until(ioloop, lambda: heard)
    theirs.finish()
    run_until(ioloop, lambda: ws.is_finished)
    ws.on('finish', lambda ws, code, reason: heard.append(code))
    run_until(ioloop, lambda: heard == ['open', 1005])


def test_each_handler_is_called_once_whenever_it_was_subscribed(ioloop, server, run_until):
    heard = []
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    ws.on('open', lambda ws: heard.append('early'))
    ws.on('open', lambda ws: ws.on('open', lambda ws: heard.append('within')))
    ws.on('finish', lambda ws, code, reason: heard.append('gone'))
    ws.on('finish', lambda ws, code, reason: ws.on('finish', lambda ws, code, reason: heard.append('gone within')))
    run_until(ioloop, lambda: 'within' in heard)
    ws.finish()
    run_until(ioloop, lambda: 'gone within' in heard)
    for _ in range(3):
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()
    assert heard == ['early', 'within', 'gone', 'gone within']


def test_an_error_handler_that_subscribes_to_finish_hears_of_it_once(ioloop, run_until):
    heard = []
    ws = pyjows.connect('ws://127.0.0.1:1', ioloop=ioloop)
    ws.on('error', lambda ws, exc: ws.on('finish', lambda ws, code, reason: heard.append(code)))
    run_until(ioloop, lambda: heard)
    for _ in range(3):
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()
    assert heard == [1006]


def test_one_that_leaves_before_the_tick_is_not_called(ioloop, server, run_until):
    heard = []
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    ws.on('open', heard.append)
    ws.unsubscribe('open', heard.append)
    ticked = []
    ioloop.next_tick(ticked.append)
    run_until(ioloop, lambda: ticked)
    assert heard == []


def test_what_a_late_handler_raises_is_an_error_event(ioloop, server, run_until):
    errors = []
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    ws.on('error', lambda ws, exc: errors.append(exc))
    run_until(ioloop, lambda: ws.established)
    ws.on('open', lambda ws: 1 / 0)
    run_until(ioloop, lambda: errors)
    assert isinstance(errors[0], ZeroDivisionError)


@pytest.mark.parametrize('name', sorted({'asyncio', 'uvloop'} & set(reactors.available())))
def test_while_coroutine_handlers_hold_finish_back_a_handler_is_not_late(name, run_until):
    ioloop = pyjows.IOLoop(name)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    server.on('websocket', lambda server, ws: ws.send('a').finish(4000))
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    heard = []
    go_on = asyncio.Event()

    @ws.on
    async def text(ws, message):
        await go_on.wait()

    run_until(ioloop, lambda: ws.is_finished)
    ws.on('finish', lambda ws, code, reason: heard.append(code))
    for _ in range(3):
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()
    assert heard == []
    go_on.set()
    run_until(ioloop, lambda: heard)
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
    assert heard == [4000]
    ioloop.close()
