"""`broadcast`: one message to many, with no loop."""

from __future__ import annotations

import pytest
from byhand import frames, log, opened, pair, pump

from pyjows import PerMessageDeflate, WebSocket, broadcast


def test_a_broadcast_reaches_all_and_counts_them():
    pairs = [pair() for _ in range(5)]
    seen = [log(client, 'message') for client, _ in pairs]
    assert broadcast((server for _, server in pairs), text='hello') == (5, [])
    assert broadcast((server for _, server in pairs), binary=b'x' * 70_000).sent == 5
    assert broadcast((server for _, server in pairs), json={'a': 1}).sent == 5
    for client, server in pairs:
        pump(client, server)
    assert seen == [[('message', 'hello'), ('message', b'x' * 70_000), ('message', '{"a":1}')]] * 5


def test_a_broadcast_skips_and_reports_those_that_cannot_get_it():
    (_, server), closing, gone, early = pair(), opened().finish(1000), opened().closed(), WebSocket()
    result = broadcast([closing, server, gone, early], text='x')
    assert result.sent == 1
    assert result.skipped == [closing, gone, early]


def test_who_is_found_to_be_gone_while_it_is_sent_to_may_leave_the_set_of_receivers():
    everyone = {opened(), opened(), opened()}
    for ws in everyone:
        ws.on('resume', lambda ws: ws.closed())
        ws.on('finish', lambda ws, code, reason: everyone.discard(ws))
    assert broadcast(everyone, text='x') == (3, [])
    assert everyone == set()


def test_a_broadcast_by_clients_masks_each_with_a_key_of_its_own():
    clients = [opened('client') for _ in range(3)]
    broadcast(clients, binary=b'\0' * 16)
    written = [client.client_write() for client in clients]
    assert len(set(written)) == 3
    assert all(frames(data) == [(0x82, b'\0' * 16)] for data in written)


@pytest.mark.parametrize('takeover', [True, False])
def test_a_broadcast_to_compressed_and_plain_receivers_is_right_for_each(takeover):
    configured = PerMessageDeflate(server_no_context_takeover=not takeover)
    pairs = [pair({'compression': configured}, {'compression': configured}) for _ in range(3)] + [pair()]
    seen = [log(client, 'text') for client, _ in pairs]
    text = 'again and again ' * 40
    for i, (_, server) in enumerate(pairs):
        server.send(text=f'{i} {text}')
    assert broadcast([server for _, server in pairs], text=text).sent == 4
    for i, (_, server) in enumerate(pairs):
        server.send(text=f'{text} {i}')
    for client, server in pairs:
        pump(client, server)
    assert seen == [[('text', f'{i} {text}'), ('text', text), ('text', f'{text} {i}')] for i in range(4)]


def test_a_broadcast_that_cannot_be_sent_to_anybody_raises_before_anything_is_sent():
    ws = opened()
    for mistake in ({}, {'text': 5}, {'binary': 'x'}, {'json': object()}, {'text': '\ud800'}):
        with pytest.raises((TypeError, ValueError)):
            broadcast([ws], **mistake)
    assert not ws.is_writing


def test_a_broadcast_compresses_once_for_all_receivers_with_the_same_settings(monkeypatch):
    pairs = [pair({'compression': True}, {'compression': True}) for _ in range(3)]
    broadcast([server for _, server in pairs], text='same ' * 100)
    written = {server.server_write() for _, server in pairs}
    assert len(written) == 1
    assert written.pop()[0] == 0xC1
