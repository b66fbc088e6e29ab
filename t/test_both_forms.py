"""What a program can do with the public classes, the same in the compiled and in the interpreted form.

The whole suite runs in both forms. Here are the things that C classes do differently unless they are told not to.
`test_differential` compares what the two do on random input.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import weakref
from functools import partial

import pytest
from byhand import BINARY, CONT, close, frame

import pyjows
from pyjows import EventEmitter, WebSocket
from pyjows.connection import CLIENT, SERVER, Connection, ConnectionState, WSConnection
from pyjows.deflate import PerMessageDeflate
from pyjows.errors import Close, CloseCode, ConnectionClosedError
from pyjows.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from pyjows.frames import Frame, Opcode
from pyjows.http11 import Headers, Request, Response
from pyjows.protocol import Protocol, Side, State
from pyjows.sansio import ClientProtocol, ServerProtocol
from pyjows.url import parse_url

# Objects that stand for a connection.
CONNECTIONS = {
    'WebSocket': lambda: WebSocket(established=True),
    'EventEmitter': EventEmitter,
    'IOLoop': lambda: pyjows.IOLoop(reactor='poll'),
    'Protocol': lambda: Protocol(Side.SERVER),
    'ServerProtocol': ServerProtocol,
    'ClientProtocol': lambda: ClientProtocol('ws://example.com/'),
    'Connection': lambda: Connection(SERVER),
    'WSConnection': lambda: WSConnection(CLIENT),
}

VALUES = [
    Frame(Opcode.TEXT, b'a', False, True),
    Close(1001, 'away'),
    CloseCode.GOING_AWAY,
    State.OPEN,
    ConnectionState.OPEN,
    TextMessage('a', False, True),
    BytesMessage(b'a'),
    CloseConnection(1000, 'ok'),
    Ping(b'a'),
    Pong(b'a'),
    Headers([('A', '1'), ('a', '2')]),
    Request('GET', '/', {'Host': 'a'}),
    Response(404, {'A': '1'}, b'body'),
    parse_url('wss://u:p@example.com:1/a?b'),
]  # fmt: skip


@pytest.fixture
def made(request):
    return CONNECTIONS[request.param]()


@pytest.mark.parametrize('made', CONNECTIONS, indirect=True)
@pytest.mark.parametrize('how', [copy.copy, copy.deepcopy, pickle.dumps], ids=['copy', 'deepcopy', 'pickle'])
def test_what_stands_for_a_connection_is_neither_copied_nor_pickled(made, how):
    with pytest.raises(TypeError, match=f'{type(made).__name__} cannot be copied or pickled'):
        how(made)


@pytest.mark.parametrize('value', VALUES, ids=lambda value: type(value).__name__)
def test_values_are_copied_and_pickled(value):
    for same in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert (type(same), same) == (type(value), value)


def test_an_exception_that_ended_a_connection_can_be_pickled():
    exc = ConnectionClosedError(Close(1002, 'why'), None)
    same = pickle.loads(pickle.dumps(exc))
    assert (type(same), same.rcvd, same.sent, str(same)) == (type(exc), exc.rcvd, None, str(exc))


@pytest.mark.parametrize('made', [name for name in CONNECTIONS if name != 'Protocol'], indirect=True)
def test_what_stands_for_a_connection_can_be_referred_to_weakly(made):
    assert weakref.ref(made)() is made


@pytest.mark.parametrize(
    'base',
    [WebSocket, EventEmitter, Protocol, ServerProtocol, ClientProtocol, Connection, WSConnection, Event, Message,
     TextMessage, Ping, Frame, PerMessageDeflate],
)  # fmt: skip
def test_a_public_class_can_be_subclassed_and_its_instances_have_attributes(base):
    class Mine(base):
        def more(self):
            return self.what

    one = {
        Protocol: lambda: Mine(Side.CLIENT),
        ClientProtocol: lambda: Mine('ws://example.com/'),
        Connection: lambda: Mine(CLIENT),
        WSConnection: lambda: Mine(CLIENT),
        Message: lambda: Mine('a'),
        TextMessage: lambda: Mine('a'),
        Frame: lambda: Mine(1, b'a'),
    }.get(base, Mine)()
    assert isinstance(one, base)
    object.__setattr__(one, 'what', 'something')
    assert one.more() == 'something'
    if not isinstance(one, Frame):
        assert weakref.ref(one)() is one


def test_methods_that_a_subclass_overrides_are_called():
    called = []

    class Server(ServerProtocol):
        def process_origin(self, headers):
            called.append('process_origin')
            return super().process_origin(headers)

        def process_extensions(self, headers):
            called.append('process_extensions')
            return super().process_extensions(headers)

        def process_subprotocol(self, headers):
            called.append('process_subprotocol')
            return super().process_subprotocol(headers)

        def select_subprotocol(self, offered):
            called.append('select_subprotocol')
            return super().select_subprotocol(offered)

        def fail(self, code, reason=''):
            called.append(f'fail {code}')
            super().fail(code, reason)

    server, client = Server(subprotocols=['a']), ClientProtocol('ws://example.com/', subprotocols=['a'])
    client.send_request(client.connect())
    server.receive_data(b''.join(client.data_to_send()))
    [request] = server.events_received()
    server.send_response(server.accept(request))
    server.receive_data(b'\xf0\x00')
    assert called == ['process_origin', 'process_extensions', 'process_subprotocol', 'select_subprotocol', 'fail 1002']


@pytest.mark.parametrize('made', ['Protocol', 'ServerProtocol', 'WebSocket'], indirect=True)
def test_a_limit_is_a_number_however_large(made):
    name = 'max_websocket_size' if isinstance(made, WebSocket) else 'max_size'
    with pytest.raises(TypeError):
        setattr(made, name, 'many')
    setattr(made, name, 2**80)
    assert getattr(made, name) == sys.maxsize
    setattr(made, name, 5)
    assert getattr(made, name) == 5


@pytest.mark.parametrize('made', ['Protocol', 'ServerProtocol', 'WebSocket'], indirect=True)
def test_a_limit_is_not_negative(made):
    name = 'max_websocket_size' if isinstance(made, WebSocket) else 'max_size'
    before = getattr(made, name)
    with pytest.raises(ValueError, match='-1.* of 0 or more|a limit of -1 bytes; it takes 0 or more'):
        setattr(made, name, -1)
    assert getattr(made, name) == before


@pytest.mark.parametrize(
    'options',
    [{'max_size': -1}, {'max_size': (5, -2**70)}, {'max_fragments': 0}, {'max_fragments': -1},
     {'max_fragments': float('nan')}, {'max_fragments': 'x'}, {'state': 'x'}, {'state': None}, {'state': 4},
     {'side': 2}, {'side': -1}, {'side': None}],
    ids=str,
)  # fmt: skip
def test_what_a_protocol_cannot_be_made_of_is_refused_at_once(options):
    [value] = options.values()
    with pytest.raises(ValueError, match='a limit of -' if 'max_size' in options else re.escape(str(value))):
        Protocol(**{'side': Side.SERVER, **options})


@pytest.mark.parametrize(
    'take',
    [Protocol(Side.SERVER).receive_data, ServerProtocol().receive_data, ClientProtocol('ws://example.com/').receive_data,
     Connection(SERVER).receive_data, WebSocket().server_read, WebSocket(established=True).client_read],
    ids=lambda take: take.__qualname__ + type(take.__self__).__name__,
)  # fmt: skip
@pytest.mark.parametrize('data', [5, [1, 2], 'text', 2**31], ids=str)
def test_what_is_received_is_bytes_and_not_a_number_of_them(take, data):
    with pytest.raises(TypeError, match='bytes'):
        take(data)


@pytest.mark.parametrize('number', [2**63, 2**64, 10**400])
def test_limits_may_be_larger_than_what_a_machine_counts(number):
    names = 'max_websocket_size', 'max_fragments', 'max_queue', 'max_backlog', 'high_water_mark'
    limits = WebSocket(**dict.fromkeys(names, number)).limits
    assert {getattr(limits, name) for name in names} == {sys.maxsize}


@pytest.mark.parametrize('name', ['backlog_timeout', 'ping_interval', 'ping_timeout', 'idle_timeout', 'close_timeout'])
def test_a_time_that_no_float_can_hold_is_refused(name):
    with pytest.raises(ValueError, match=f'{name}=1000.* takes a number of 0 or more'):
        WebSocket(**{name: 10**400})


def test_a_callback_of_a_ping_that_cannot_be_called_is_refused_at_once():
    ws = WebSocket(established=True)
    with pytest.raises(TypeError, match='not 5'):
        ws.ping(b'', 5)
    assert ws.server_write() == b''


@pytest.mark.parametrize('kind', [Connection, WSConnection])
@pytest.mark.parametrize('side', [None, 'client', 1, Side.CLIENT], ids=str)
def test_a_connection_of_events_is_not_a_server_s_by_mistake(kind, side):
    with pytest.raises(TypeError, match=f'{kind.__name__}.* takes ConnectionType.CLIENT or ConnectionType.SERVER'):
        kind(side)


@pytest.mark.parametrize('size', [-1, 'x', float('nan'), 1.5], ids=str)
def test_a_limit_of_a_connection_of_events_is_checked_before_its_handshake(size):
    with pytest.raises((TypeError, ValueError), match='max_size'):
        WSConnection(SERVER, max_size=size)


@pytest.mark.parametrize('flag', [None, '', 'yes', 256, -1, 2.5, []], ids=repr)
@pytest.mark.parametrize('make', [partial(Protocol, Side.SERVER), ServerProtocol])
def test_an_option_that_is_yes_or_no_takes_what_is_true_or_false(make, flag):
    protocol = make(defer_close=flag, join_fragments=flag, state=State.OPEN)
    protocol.receive_data(frame(BINARY, b'a', fin=False, masked=True) + frame(CONT, b'b', masked=True))
    protocol.receive_data(close(1000, masked=True))
    assert [one.data for one in protocol.events_received()][:-1] == ([b'ab'] if flag else [b'a', b'b'])
    assert (protocol.state is State.OPEN) == bool(flag)


@pytest.mark.parametrize('masked', [2, -1, 'yes', 0.5, None, ''], ids=repr)
def test_masked_takes_what_is_true_or_false(masked):
    ws = WebSocket(established=True)
    ws.masked = masked
    assert ws.protocol.side is (Side.CLIENT if masked else Side.SERVER)
    assert ws.masked is bool(masked)


# Each public class without its `__init__`, and all that can be called and read of it.
NOT_MADE = """
import faulthandler, inspect, logging, pyjows
from pyjows import connection, events, protocol, sansio, ioloop, reactor
faulthandler.enable()
logging.disable()
kinds = {thing for module in (pyjows, connection, protocol, sansio, ioloop, reactor)
         for name in module.__all__ if inspect.isclass(thing := getattr(module, name))}
blocking = ('run', 'start', 'one_tick')
for kind in sorted(kinds, key=str):
    for name in dir(kind):
        if name.startswith('_') or name in blocking:
            continue
        for args in ((), (b'x',), ('x',), (1,), (None,), ('x', print), (b'x', 1), (None, None)):
            try:
                one = kind.__new__(kind)
                what = getattr(one, name)
                if callable(what):
                    what(*args)
            except Exception:
                pass
            except AssertionError:
                pass
print('whole', len(kinds))
"""


@pytest.mark.parametrize('pure', ['0', '1'])
def test_what_was_not_made_raises_and_does_not_crash(pure):
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'PYJOWS_PURE': pure}
    ran = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', NOT_MADE], env=env, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0 and ran.stdout.startswith('whole'), ran.stderr


@pytest.mark.parametrize('base', [WebSocket, Protocol, ServerProtocol, ClientProtocol, pyjows.Stream])
def test_a_subclass_that_forgets_to_call_init_gets_an_attribute_error(base):
    class Mine(base):
        def __init__(self):
            pass

    with pytest.raises(AttributeError):
        {
            WebSocket: lambda one: one.send('hello'),
            pyjows.Stream: lambda one: one.write(b'hello'),
        }.get(base, lambda one: one.receive_data(b'\x81\x00'))(Mine())


def test_a_value_keeps_its_fields():
    for event, field in ((Ping(b'a'), 'payload'), (TextMessage('a'), 'data'), (CloseConnection(1000), 'code')):
        with pytest.raises(AttributeError):
            setattr(event, field, None)


SIGNATURES = """
import inspect, json, re, pyjows
from pyjows import connection, events, frames, protocol, sansio
found = {'compiled': pyjows.__compiled__}
for module in (pyjows, connection, events, frames, protocol, sansio):
    for name in module.__all__:
        thing = getattr(module, name)
        methods = [(name, thing)] if callable(thing) else []
        if inspect.isclass(thing):
            methods += [(f'{name}.{m}', getattr(thing, m)) for m in dir(thing) if not m.startswith('_')]
        for path, f in methods:
            if callable(f):
                try:
                    parameters = inspect.signature(f).parameters.values()
                except ValueError:
                    found[f'{module.__name__}.{path}'] = 'unknown'
                    continue
                bare = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
                found[f'{module.__name__}.{path}'] = re.sub('0x[0-9a-f]+', '', ', '.join(map(str, bare)))
print(json.dumps(found))
"""

# What is called from C alone, and what the C compiler has no signature for.
_IN_C = ('dispatch', 'FrameHeader', 'parse')


def test_public_names_and_their_parameters_are_the_same_in_both_forms():
    forms = []
    for pure in ('0', '1'):
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'PYJOWS_PURE': pure}
        ran = subprocess.run(
            [sys.executable, '-c', SIGNATURES], env=env, check=True, stdout=subprocess.PIPE, timeout=60
        )
        found = json.loads(ran.stdout)
        found.pop('compiled')
        forms.append({name: text for name, text in found.items() if not set(name.split('.')) & set(_IN_C)})
    assert len(forms[0]) > 200
    differ = {name for name in {*forms[0], *forms[1]} if forms[0].get(name) != forms[1].get(name)}
    assert differ == set()
