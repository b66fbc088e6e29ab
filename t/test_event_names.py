"""A mistyped event is a warning with the right name; an event of the program's own is silent."""

from __future__ import annotations

import functools
import inspect
import re
import socket
import warnings

import pytest
from byhand import opened

import pyjows
from pyjows.ioloop import Stream
from pyjows.reactor.aio import AsyncioReactor

pytestmark = pytest.mark.wide(later=True)


@pytest.fixture
def emitters(ioloop):
    """One emitter of each kind, by the name of its class."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    rooms = pyjows.rooms(ioloop=ioloop)
    client = pyjows.reconnect(server.urls[0], ioloop=ioloop)
    yield {
        'WebSocket': opened(),
        'Server': server,
        'Reconnector': client,
        'IOLoop': ioloop,
        'Rooms': rooms,
        'Room': rooms['lobby'],
        'reactor': ioloop.reactor,
    }
    rooms.close()


@pytest.mark.parametrize(
    ('kind', 'typed', 'meant'),
    [
        ('WebSocket', 'mesage', 'message'),
        ('WebSocket', 'messages', 'message'),
        ('WebSocket', 'close', 'finish'),
        ('WebSocket', 'on_open', 'open'),
        ('WebSocket', 'onmessage', 'message'),
        ('WebSocket', 'jsno', 'json'),
        ('WebSocket', 'Text', 'text'),
        ('WebSocket', 'binarry', 'binary'),
        ('WebSocket', 'disconnect', 'finish'),
        ('Server', 'connection', 'websocket'),
        ('Server', 'web_socket', 'websocket'),
        ('Server', 'requets', 'request'),
        ('Server', 'close', 'finish'),
        ('Reconnector', 'connect', 'websocket'),
        ('Reconnector', 'wating', 'waiting'),
        ('IOLoop', 'finsh', 'finish'),
        ('Rooms', 'losst', 'lost'),
        ('Room', 'on_join', 'join'),
        ('Room', 'leaves', 'leave'),
        ('reactor', 'eror', 'error'),
    ],
)
def test_a_mistyped_event_warns_with_the_right_name(emitters, kind, typed, meant):
    emitter = emitters[kind]
    for subscribe in (emitter.on, emitter.once):
        with pytest.warns(UserWarning, match=rf"on\('{typed}'\).*did you mean '{meant}'\?") as caught:
            subscribe(typed, print)
        assert caught[0].filename == __file__  # the line to mend is named, compiled and interpreted
    assert emitter.has_subscribers(typed)  # it is subscribed all the same


@pytest.mark.parametrize(
    'own', ['typing', 'test', 'next', 'chat', 'tick', 'score', 'online', 'presence', 'train', 'ring', 'x', 'ready']
)
def test_an_event_of_the_program_s_own_is_silent(emitters, own):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for emitter in emitters.values():
            emitter.on(own, print)
        pyjows.EventEmitter().on('mesage', print)  # it has no events but the program's


def test_every_event_that_a_docstring_lists_is_known(emitters, ioloop):
    ours, theirs = socket.socketpair()
    stream = Stream(ours, ioloop.loop_data)
    asyncio_reactor = AsyncioReactor()
    for emitter in [*emitters.values(), stream, asyncio_reactor]:
        docs = [type(emitter).__doc__, pyjows.Reactor.__doc__ if isinstance(emitter, pyjows.Reactor) else None]
        doc = '\n'.join(inspect.cleandoc(doc or '') for doc in docs)  # Python 3.13 strips the indentation itself
        listed = re.findall(r'^    .*?``([a-z]+)`` ``\(', doc, re.M)
        assert listed, emitter
        for event in listed:
            # With its second letter doubled it resembles the event, which has to be known for that.
            with pytest.warns(UserWarning, match=f"did you mean '{event}'"):
                emitter.on(event[:2] + event[1:], print)
    stream.close()
    theirs.close()
    asyncio_reactor.close()


@pytest.mark.parametrize(
    ('mistake', 'says'),
    [
        (lambda ws: ws.on('text', None), r"on\('text'\): a handler must be callable, not None"),
        (lambda ws: ws.once('text', None), r"once\('text'\): a handler must be callable, not None"),
        (lambda ws: ws.on(3), r'on\(3\): the name of an event is a str'),
        (lambda ws: ws.on(None), r'on\(None\): the name of an event is a str'),
        (lambda ws: ws.on(3, print), r'on\(3\): the name of an event is a str'),
        (lambda ws: ws.on('text', 'print'), r"on\('text'\): a handler must be callable, not 'print'"),
        (lambda ws: ws.on('text')(None), r"on\('text'\): a handler must be callable, not None"),
        (lambda ws: ws.catch(None), r'catch\(\): a handler must be callable, not None'),
        (lambda ws: ws.add_listener('text', None), r'add_listener\(\): a handler must be callable, not None'),
        (lambda ws: ws.on(functools.partial(print)), r"on\(.*it has no name that could be the event's; use on\("),
    ],
)
def test_what_cannot_be_subscribed_raises_with_function_value_and_rule(mistake, says):
    ws = opened()
    before = ws.event_names()
    with pytest.raises(TypeError, match=says):
        mistake(ws)
    assert ws.event_names() == before
