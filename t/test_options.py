"""Every option of `serve`, `connect`, `reconnect` and `WebSocket` is checked where it is given."""

from __future__ import annotations

import math

import pytest

import pyjows
from pyjows import IOLoop, WebSocket

pytestmark = pytest.mark.wide(later=True)

URL = 'ws://127.0.0.1:0'

# What every connection takes: a value, the exception, and what the message says.
CONNECTION = [
    ({'max_websocket_size': -1}, ValueError, 'max_websocket_size=-1, but it takes a whole number of 0 or more'),
    ({'max_websocket_size': 1.5}, TypeError, 'max_websocket_size takes a whole number'),
    ({'max_websocket_size': True}, TypeError, 'max_websocket_size takes a whole number'),
    ({'close_timeout': -0.1}, ValueError, 'close_timeout=-0.1, but it takes a number of 0 or more .seconds'),
    ({'close_timeout': math.nan}, ValueError, 'close_timeout=nan'),
    ({'close_timeout': math.inf}, ValueError, 'close_timeout=inf'),
    ({'close_timeout': '10'}, TypeError, "close_timeout takes a number .seconds., not '10'"),
    ({'compression': 'yes'}, TypeError, "compression is 'yes'"),
    ({'subprotocols': 'chat'}, TypeError, r"subprotocols takes a list of names, such as \['chat'\], not 'chat'"),
    ({'subprotocols': 5}, TypeError, 'subprotocols takes a list'),
    ({'subprotocols': ['a b']}, ValueError, "subprotocols has 'a b'"),
    ({'subprotocols': ['a', 'a']}, ValueError, 'subprotocols has a name twice'),
    ({'headers': {'X-A': 'a\nb'}}, ValueError, "headers: the value of header 'X-A' has a line end"),
    (
        {'headers': {'Sec-WebSocket-Key': 'a'}},
        ValueError,
        "headers: header 'sec-websocket-key' is set by",
    ),
    ({'headers': {'X-A': 5}}, TypeError, 'headers: header names and values are str or bytes'),
]

SERVE = [
    ({'handshake_timeout': 0}, ValueError, 'handshake_timeout=0, but it takes a number of more than 0'),
    ({'request_timeout': -1}, ValueError, 'request_timeout=-1, but it takes a number of 0 or more'),
    ({'request_timeout': '5'}, TypeError, 'request_timeout takes a number'),
    ({'handshake_timeout': None}, TypeError, 'handshake_timeout takes a number'),
    ({'ping_interval': -1}, ValueError, 'ping_interval=-1, but it takes a number of 0 or more .seconds'),
    ({'max_header_size': 0}, ValueError, 'max_header_size=0'),
    ({'max_body_size': -1}, ValueError, 'max_body_size=-1'),
    ({'max_connections': 0}, ValueError, 'max_connections=0'),
    ({'max_connections_per_address': -1}, ValueError, 'max_connections_per_address=-1'),
    ({'backlog': 0}, ValueError, 'backlog=0, but it takes a whole number of 1 or more'),
    ({'access_log': 1}, TypeError, 'access_log takes True or False'),
    ({'reuse_port': 1}, TypeError, 'reuse_port takes True or False, not 1'),
    ({'tls': 'cert.pem'}, TypeError, 'tls takes an ssl.SSLContext'),
    ({'ioloop': 'epoll'}, TypeError, 'ioloop takes an IOLoop'),
    ({'handshake_timout': 3}, TypeError, "no option 'handshake_timout'; did you mean 'handshake_timeout'"),
    ({'masked': True}, TypeError, "no option 'masked'"),
    ({'max_size': 1}, TypeError, "no option 'max_size'; did you mean 'max_websocket_size'"),
    ({'max_msg_size': 1}, TypeError, "no option 'max_msg_size'; did you mean 'max_websocket_size'"),
    ({'heartbeat': 1}, TypeError, "no option 'heartbeat'; did you mean 'ping_interval'"),
    ({'ssl': None}, TypeError, "no option 'ssl'; did you mean 'tls'"),
    ({'open_timeout': 1}, TypeError, "no option 'open_timeout'; did you mean 'handshake_timeout'"),
]

CONNECT = [
    ({'timeout': 0}, ValueError, 'timeout=0, but it takes a number of more than 0'),
    ({'timeout': '3'}, TypeError, 'timeout takes a number'),
    ({'ping_interval': -1}, ValueError, 'ping_interval=-1'),
    ({'max_redirects': -1}, ValueError, 'max_redirects=-1, but it takes a whole number of 0 or more'),
    ({'simultaneous': 'yes'}, TypeError, 'simultaneous takes True or False'),
    ({'origin': 5}, TypeError, 'origin takes a str'),
    ({'tls': 'ca.pem'}, TypeError, 'tls takes an ssl.SSLContext'),
    ({'proxy': 3128}, TypeError, 'proxy takes the URL'),
    ({'local_address': 5}, TypeError, 'local_address takes an IP address'),
    ({'cookies': 'a=b'}, TypeError, 'cookies takes a mapping'),
    ({'cookies': {'a': 5}}, TypeError, 'cookies has names and values of type str'),
    ({'cookies': {'a': 'b;c'}}, ValueError, "cookies: the cookie 'a' has characters"),
    ({'cookies': {'a b': 'c'}}, ValueError, "cookies: the cookie 'a b' has characters"),
    ({'cookies': {'a': 'b'}, 'headers': {'Cookie': 'c=d'}}, ValueError, 'cookies= and a Cookie header'),
    ({'private_headers': 'X-A'}, TypeError, 'private_headers takes a list'),
    ({'private_headers': ['X A']}, ValueError, "private_headers has 'X A'"),
    ({'local_address': 'localhost'}, ValueError, 'local_address: .localhost. does not appear'),
    ({'ioloop': 5}, TypeError, 'ioloop takes an IOLoop'),
    ({'timout': 3}, TypeError, "no option 'timout'; did you mean 'timeout'"),
    ({'additional_headers': {}}, TypeError, "no option 'additional_headers'; did you mean 'headers'"),
    ({'open_timeout': 1}, TypeError, "no option 'open_timeout'; did you mean 'timeout'"),
    ({'headers': 'X-A: 1'}, TypeError, "headers: 'X-A: 1' is neither a mapping of headers nor pairs"),
    ({'headers': ['X-A: 1']}, TypeError, r"headers: \['X-A: 1'\] is neither a mapping of headers nor pairs"),
]

RECONNECT = [
    ({'delays': [1, 2]}, TypeError, 'delays takes a function'),
    ({'delays': lambda: [1, 2]}, TypeError, 'delays has to return an iterator'),
    ({'retry': True}, TypeError, 'retry takes a function'),
    ({'stable_after': -1}, ValueError, 'stable_after=-1'),
    ({'ioloop': 5}, TypeError, 'ioloop takes an IOLoop'),
]

WEBSOCKET = [
    ({'established': 'yes'}, TypeError, 'established takes True or False'),
    ({'masked': 1}, TypeError, 'masked takes True or False'),
    ({'compress': True}, TypeError, "no option 'compress'; did you mean 'compress"),
]


def refused(call, caller, kind, says):
    with pytest.raises(kind, match=says) as caught:
        call()
    assert str(caught.value).startswith(caller)


@pytest.mark.parametrize(('options', 'kind', 'says'), [*CONNECTION, *WEBSOCKET])
def test_a_wrong_option_of_a_websocket_is_refused(options, kind, says):
    refused(lambda: WebSocket(**options), 'WebSocket()', kind, says)


@pytest.mark.parametrize(('options', 'kind', 'says'), [*CONNECTION, *SERVE])
def test_a_wrong_option_of_serve_is_refused_and_nothing_is_listened_on(ioloop, assert_idle, options, kind, says):
    refused(lambda: pyjows.serve(URL, **{'ioloop': ioloop, **options}), 'serve()', kind, says)
    assert_idle(ioloop)


@pytest.mark.parametrize(('options', 'kind', 'says'), [*CONNECTION, *CONNECT])
def test_a_wrong_option_of_connect_is_refused_and_nothing_is_dialed(ioloop, assert_idle, options, kind, says):
    refused(lambda: pyjows.connect('ws://127.0.0.1:1', **{'ioloop': ioloop, **options}), 'connect()', kind, says)
    assert_idle(ioloop)


@pytest.mark.parametrize(('options', 'kind', 'says'), RECONNECT)
def test_a_wrong_option_of_reconnect_is_refused(ioloop, options, kind, says):
    call = lambda: pyjows.reconnect('ws://127.0.0.1:1', **{'ioloop': ioloop, **options})  # noqa: E731
    refused(call, 'reconnect()', kind, says)


@pytest.mark.parametrize(('options', 'kind', 'says'), [*CONNECTION, *CONNECT])
def test_reconnect_takes_the_options_of_connect(ioloop, assert_idle, options, kind, says):
    with pytest.raises(kind, match=says):
        pyjows.reconnect('ws://127.0.0.1:1', **{'ioloop': ioloop, **options})


def test_a_url_is_a_str(ioloop):
    for call, caller in ((pyjows.serve, 'serve()'), (pyjows.connect, 'connect()'), (pyjows.reconnect, 'reconnect()')):
        for url in (None, 3000, b'ws://127.0.0.1:3000'):
            refused(lambda call=call, url=url: call(url, ioloop=ioloop), caller, TypeError, 'ws://127.0.0.1:3000')


def test_an_iterator_of_headers_or_subprotocols_serves_every_connection(ioloop, run_until):
    server = pyjows.serve(URL, ioloop=ioloop, headers=iter([('X-A', 'b')]), subprotocols=iter(['v2', 'v1']))
    for _ in range(2):
        ws = pyjows.connect(server.urls[0], ioloop=ioloop, headers=iter([('X-B', 'c')]), subprotocols=iter(['v1']))
        run_until(ioloop, lambda ws=ws: ws.established)
        assert (ws.res.headers['x-a'], ws.subprotocol, ws.req.headers['x-b']) == ('b', 'v1', 'c')
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)


def test_the_limits_of_options_are_taken(ioloop, assert_idle):
    options = {'ping_interval': 0, 'max_body_size': 0, 'max_websocket_size': 0, 'close_timeout': 0, 'backlog': 1}
    server = pyjows.serve(URL, ioloop=ioloop, **options)
    server.stop()
    assert_idle(ioloop)
    assert isinstance(server.ioloop, IOLoop)
