"""The opening handshake, both sides against each other and against those of other libraries."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import websockets.client
import websockets.protocol
import websockets.server
import websockets.uri
import wsproto
import wsproto.events
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import ACCEPT, KEY, TOKEN, read, upgrade

import pyjows.handshake
from pyjows.handshake import (
    ClientHandshake,
    ServerHandshake,
    accept_key,
    format_extensions,
    generate_key,
)

# The fields of the handshake


def test_the_accept_key_is_the_rfcs() -> None:
    assert accept_key(KEY) == ACCEPT


def test_keys_are_random_and_as_the_rfc_wants_them() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        request = upgrade(f'Sec-WebSocket-Key: {key}', without='Sec-WebSocket-Key')
        assert ServerHandshake().check(read(request)) is None


# Both sides, and others' sides


@settings(deadline=None)
@given(
    st.lists(TOKEN, unique=True, max_size=3),
    st.lists(st.tuples(TOKEN, st.lists(st.tuples(TOKEN, st.none() | TOKEN), max_size=2)), max_size=2),
    st.data(),
)
def test_both_sides_agree_on_what_was_chosen(
    subprotocols: list[str], extensions: list[tuple[str, list[tuple[str, str | None]]]], data: st.DataObject
) -> None:
    client = ClientHandshake('ws://a/x', subprotocols=subprotocols, extensions=format_extensions(extensions) or None)
    server = ServerHandshake()
    request = server.receive(client.send())
    assert request is not None
    assert list(request.subprotocols) == subprotocols
    assert request.extensions == extensions
    assert server.check(request) is None
    subprotocol = data.draw(st.sampled_from([None, *subprotocols]))
    accepted = data.draw(st.sampled_from([[], *([extension] for extension in extensions)]))
    wire = server.accept(subprotocol=subprotocol, extensions=format_extensions(accepted) or None)
    assert client.receive(wire) is not None
    assert (client.subprotocol, client.extensions) == (subprotocol, accepted)


def test_the_server_accepts_wsproto_and_websockets() -> None:
    theirs = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    data = theirs.send(wsproto.events.Request(host='a', target='/x', subprotocols=['v1']))
    ours = ServerHandshake()
    assert ours.check(ours.receive(data)) is None
    theirs.receive_data(ours.accept(subprotocol='v1'))
    assert [(type(event), event.subprotocol) for event in theirs.events()] == [(wsproto.events.AcceptConnection, 'v1')]

    client = websockets.client.ClientProtocol(websockets.uri.parse_uri('ws://a/x'))
    client.send_request(client.connect())
    ours = ServerHandshake()
    assert ours.check(ours.receive(b''.join(client.data_to_send()))) is None
    client.receive_data(ours.accept())
    assert client.state is websockets.protocol.State.OPEN


def test_wsproto_and_websockets_accept_the_client() -> None:
    theirs = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    ours = ClientHandshake('ws://a/x', subprotocols=['v1'])
    theirs.receive_data(ours.send())
    ours.receive(theirs.send(wsproto.events.AcceptConnection(subprotocol='v1')))
    assert ours.subprotocol == 'v1'

    server = websockets.server.ServerProtocol()
    ours = ClientHandshake('ws://a/x')
    server.receive_data(ours.send())
    (request,) = server.events_received()
    server.send_response(server.accept(request))
    assert ours.receive(b''.join(server.data_to_send())) is not None


# The house


PACKAGE = Path(pyjows.handshake.__file__ or '').parent


@pytest.mark.parametrize(
    'file', [*sorted(PACKAGE.glob('*.py')), PACKAGE.parent / 'http11.py'], ids=lambda file: file.name
)
def test_the_handshake_does_no_io_of_its_own(file: Path) -> None:
    imported = {
        name.split('.')[0]
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8')))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ''] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {'socket', 'selectors', 'asyncio', 'ssl', 'threading', 'email'}
