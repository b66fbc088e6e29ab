"""Rooms over a real NATS: the same rooms on an engine that keeps nothing, and says so. On every reactor."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from background import free_port
from brokers import NatsServer, needs_nats
from gathering import gatherings, join_and_leave, lost

import pyjows
from pyjows.rooms import MalformedEntry

pytest.importorskip('nats')
pytestmark = [needs_nats, pytest.mark.wide(later=True)]


@pytest.fixture
def nats(tmp_path: Any) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any, nats: NatsServer) -> Iterator[Any]:
    with gatherings(
        ioloop, run_until, assert_idle, nats.url, timeout=5.0, delays=lambda: iter([0.05] * 1000)
    ) as gather:
        yield gather


def test_members_in_all_processes_hear_each_other(gather):
    a, b = gather(), gather()
    guests = [a.join(), b.join(), b.join(room='lobby.x', numbered=1)]
    a.rooms['lobby'].publish(text='hello')
    b.rooms['lobby'].publish(json={'a': 1})
    a.rooms['lobby'].publish(binary=b'\0')
    b.rooms['lobby.x'].publish(text='dotted')
    a.until(lambda: len(guests[0].heard) == len(guests[1].heard) == 3 and guests[2].data)
    assert sorted(map(str, guests[0].heard)) == sorted(map(str, guests[1].heard))
    assert guests[2].data == ['dotted']


def test_messages_of_one_process_keep_their_order(gather):
    a, b = gather(), gather()
    guests = [a.join(numbered=1), b.join(numbered=1)]
    for i in range(500):
        a.rooms['lobby'].publish(json=i)
    a.until(lambda: all(len(guest.heard) == 501 for guest in guests))
    assert all(guest.data == list(range(500)) and guest.has_no_gap() for guest in guests)


def test_there_is_no_history_and_nothing_is_recovered_and_that_is_said(gather):
    a, b = gather(), gather()
    assert (a.rooms.engine.keeps_history, a.rooms.engine.shares_presence) == (False, False)
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    assert a.rooms['lobby'].history_size == 0
    assert a.rooms['lobby'].history() == []
    late = b.join(numbered=1, since=ann.position, history=5)
    here = a.join(numbered=1, since=ann.envelopes[0]['position'])
    a.until(lambda: late.heard and here.heard)
    assert (late.recovered, here.recovered) == ([False], [False])


def test_a_restart_is_a_gap_that_is_told_and_what_waited_is_sent(gather, nats):
    a, b = gather(), gather()
    guests = [a.join(numbered=1), b.join(numbered=1)]
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: all(guest.data == [1] for guest in guests))
    nats.kill()
    a.until(lambda: a.events == b.events == [('lost',)])
    a.rooms['lobby'].publish(json=2)
    nats.start()
    a.until(lambda: a.events == b.events == [('lost',), ('back',)])
    b.rooms['lobby'].publish(json=3)
    a.until(lambda: all(guest.data[-1] == 3 for guest in guests))
    assert guests[0].data == [1, 2, 3]
    assert all(guest.recovered[:2] == [None, False] and guest.has_no_gap() for guest in guests)


def test_a_message_that_is_too_large_for_nats_is_refused_and_told(gather):
    a = gather(max_payload=2 * 1024 * 1024)
    ann = a.join()
    a.rooms['lobby'].publish(binary=b'x' * (1024 * 1024 + 1))
    a.rooms['lobby'].publish(text='small')
    a.until(lambda: ann.heard and a.errors)
    assert ann.heard == ['small']


def test_a_program_without_a_loop_publishes(gather, nats):
    a = gather()
    ann = a.join()
    with pyjows.rooms(nats.url, ioloop=pyjows.IOLoop('poll'), timeout=1) as rooms:
        rooms['lobby'].publish(text='from a job')
    rooms.ioloop.close()
    a.until(lambda: ann.heard == ['from a job'])


@pytest.mark.parametrize(
    'url', ['nats://', 'nats://127.0.0.1:4222,nats://', 'nats://u:secret@127.0.0.1:0', 'nats://a,http://u:secret@b']
)
def test_a_malformed_url_is_refused(url):
    with pytest.raises(ValueError, match='NATS') as raised:
        pyjows.rooms(url)
    assert 'secret' not in str(raised.value)


def test_a_context_for_tls_is_one():
    with pytest.raises(TypeError, match='SSLContext'):
        pyjows.rooms('tls://127.0.0.1', tls=True)


def test_nobody_stays_deaf_when_the_server_restarts_while_others_publish(gather, nats):
    a, b = gather(), gather()
    guests = [a.join(numbered=1), b.join(numbered=1), a.join(room='other', numbered=1)]
    end = threading.Event()

    def publish(gathering):
        i = 0
        while not end.wait(0.001):
            gathering.rooms['lobby'].publish(json=i)
            i += 1

    threads = [threading.Thread(target=publish, args=(gathering,)) for gathering in (a, b)]
    for thread in threads:
        thread.start()
    for round in (1, 2):
        heard = [len(guest.heard) for guest in guests[:2]]
        a.until(lambda heard=heard: all(len(guest.heard) > n + 20 for guest, n in zip(guests, heard, strict=False)))
        nats.kill()
        a.until(lambda round=round: a.events == b.events == [('lost',), ('back',)] * (round - 1) + [('lost',)])
        nats.start()
        a.until(lambda round=round: a.events == b.events == [('lost',), ('back',)] * round)
    end.set()
    for thread in threads:
        thread.join()
    for gathering, room in ((a, 'lobby'), (b, 'other')):
        gathering.rooms[room].publish(json='last')
    a.until(lambda: all('last' in guest.data for guest in guests))
    assert all(guest.recovered == [None, False, False] and guest.has_no_gap() for guest in guests)


def test_who_makes_up_a_position_costs_the_others_nothing(gather):
    a = gather()
    ann = a.join(numbered=1)
    epoch = ann.position.partition(':')[0]
    guests = []
    for i in range(100):
        a.rooms['lobby'].publish(json=i)
        if i % 5 == 0:
            guests.append(a.guest(numbered=1, since=f'{epoch}:100000'))
    a.until(lambda: len(ann.data) == 100 and all(guest.heard for guest in guests))
    assert ann.recovered == [None]
    assert ann.data == list(range(100))


def test_what_waits_when_the_rooms_are_closed_is_sent(gather):
    a, b = gather(), gather()
    ann, other = a.join(), a.join(room='other')
    b.rooms['other'].publish(text='x')
    a.until(lambda: other.heard)
    for i in range(2000):
        b.rooms['lobby'].publish(json=i)
    b.rooms.close()
    a.until(lambda: len(ann.heard) == 2000)
    assert list(map(json.loads, ann.heard)) == list(range(2000))


def test_what_another_program_publishes_and_cannot_be_read_is_skipped_and_told(gather, nats):
    a = gather()
    ann = a.join(numbered=1)

    async def publish():
        import nats as nats_py

        link = await nats_py.connect(nats.url)
        for data in (b'', b'x', b't\xff', b'j{bad', b'hello', b'tgood'):
            await link.publish('pyjows.lobby', data)
        await link.drain()

    thread = threading.Thread(target=asyncio.run, args=(publish(),))
    thread.start()
    thread.join()
    a.rooms['lobby'].publish(text='next')
    a.until(lambda: len(ann.data) == 2)
    assert ann.data == ['good', 'next']
    assert ann.has_no_gap()
    assert [exc.count for exc in a.errors if isinstance(exc, MalformedEntry)] == [1, 2, 4]
    assert not a.events


@pytest.mark.parametrize('who', ['', 'ann:wrong@'])
def test_a_wrong_password_is_told_and_not_shown(tmp_path, gather, who):
    server = NatsServer(tmp_path, words=['--user', 'ann', '--pass', 'right'])
    text = lost(gather(server.url.replace('//', f'//{who}')))
    server.kill()
    assert 'Authorization Violation' in text
    assert str(server.port) in text
    assert 'wrong' not in text


def test_that_no_server_is_there_is_told_by_its_own_error(gather):
    assert 'connect' in lost(gather(f'nats://127.0.0.1:{free_port()}')).lower()


def test_each_of_several_servers_is_tried(tmp_path, gather, nats):
    (tmp_path / 'second').mkdir()
    second = NatsServer(tmp_path / 'second')
    silent = socket.create_server(('127.0.0.1', 0))
    urls = f'nats://127.0.0.1:{free_port()}', f'nats://127.0.0.1:{silent.getsockname()[1]}', second.url
    try:
        a, b = gather(','.join(urls), timeout=0.5), gather(','.join(reversed(urls)), timeout=0.5)
        guests = [a.join(), b.join()]
        a.rooms['lobby'].publish(text='x')
        a.until(lambda: all(guest.heard for guest in guests))
    finally:
        second.kill()
        silent.close()


def test_a_password_is_not_sent_without_tls_where_the_url_demands_tls(gather):
    listener = socket.create_server(('127.0.0.1', 0))
    told: list[bytes] = []

    def serve():
        link, _ = listener.accept()
        with link:
            link.sendall(b'INFO {"server_id":"x","version":"2.9.0","max_payload":1024,"auth_required":true}\r\n')
            while data := link.recv(4096):
                told.append(data)
                link.sendall(b'PONG\r\n')

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert 'TLS' in lost(gather(f'tls://ann:secret@127.0.0.1:{listener.getsockname()[1]}'))
    finally:
        listener.close()
        thread.join()
    assert not told


@pytest.fixture
def over_tls(tmp_path, authority):
    certificate = authority.issue_cert('127.0.0.1')
    certificate.private_key_pem.write_to_path(tmp_path / 'key.pem')
    certificate.cert_chain_pems[0].write_to_path(tmp_path / 'cert.pem')
    server = NatsServer(tmp_path, words=['--tls', '--tlscert', tmp_path / 'cert.pem', '--tlskey', tmp_path / 'key.pem'])
    yield server
    server.kill()


def test_over_tls(gather, over_tls, client_tls):
    a, b = (gather(over_tls.url.replace('nats', 'tls'), tls=client_tls) for _ in range(2))
    guests = [a.join(), b.join()]
    a.rooms['lobby'].publish(binary=bytes(100_000))
    a.until(lambda: all(guest.heard == [bytes(100_000)] for guest in guests))


def test_over_tls_a_certificate_that_nobody_trusts_is_refused_and_told(gather, over_tls):
    assert 'CERTIFICATE_VERIFY_FAILED' in lost(gather(over_tls.url.replace('nats', 'tls')))


def test_a_subject_that_is_forbidden_is_told_and_leaves_the_other_rooms_alone(tmp_path, gather):
    rules = 'permissions: {publish: {deny: "pyjows.mute"}, subscribe: {deny: "pyjows.deaf"}}'
    (tmp_path / 'nats.conf').write_text(f'authorization: {{users: [{{user: ann, password: right, {rules}}}]}}')
    server = NatsServer(tmp_path, words=['-c', tmp_path / 'nats.conf'])
    try:
        a = gather(server.url.replace('//', '//ann:right@'))
        guests = {room: a.join(room=room) for room in ('lobby', 'mute', 'deaf')}
        for room in guests:
            a.rooms[room].publish(text=room)
        a.until(lambda: guests['lobby'].heard and len(a.errors) == 2)
        assert all('violation' in str(exc).lower() for exc in a.errors)
        assert not a.events
        assert [(exc.room, exc.message and exc.message.data) for exc in a.errors] == [('deaf', None), ('mute', 'mute')]
        assert all(repr(exc.room) in str(exc) for exc in a.errors)
    finally:
        server.kill()


def test_a_subject_that_is_allowed_again_is_heard_again_after_a_gap_that_is_told(tmp_path, gather):
    conf = tmp_path / 'nats.conf'

    def allow(rules):
        conf.write_text(f'authorization: {{users: [{{user: ann, password: right, permissions: {{{rules}}}}}]}}')

    allow('subscribe: {deny: "pyjows.deaf"}')
    server = NatsServer(tmp_path, words=['-c', conf])
    try:
        a = gather(server.url.replace('//', '//ann:right@'), presence_ttl=0.6)
        lobby, deaf = (a.join(room=room, numbered=1) for room in ('lobby', 'deaf'))
        a.until(lambda: len(a.errors) > 1)
        assert {exc.room for exc in a.errors} == {'deaf'}
        for rules, heard in (('publish: ["pyjows.>"]', 'a'), ('subscribe: {deny: "pyjows.lobby"}', 'b')):
            allow(rules)
            server.process.send_signal(signal.SIGHUP)
            sending = a.ioloop.recurring(lambda loop, heard=heard: a.rooms['deaf'].publish(json=heard), 0.05)
            a.until(lambda heard=heard: deaf.data[-1:] == [heard])
            a.ioloop.remove(sending)
        assert deaf.has_no_gap()
        assert False in deaf.recovered
        a.until(lambda: 'lobby' in {exc.room for exc in a.errors})
    finally:
        server.kill()


def test_a_user_who_is_removed_is_away_until_it_is_allowed_again(tmp_path, gather):
    conf = tmp_path / 'nats.conf'
    conf.write_text('authorization: {users: [{user: ann, password: right}]}')
    server = NatsServer(tmp_path, words=['-c', conf])
    try:
        a = gather(server.url.replace('//', '//ann:right@'))
        ann = a.join(numbered=1)
        told: list[str] = []
        a.rooms.on('lost', lambda rooms, exc: told.append(str(exc)))
        conf.write_text('authorization: {users: [{user: bob, password: right}]}')
        server.process.send_signal(signal.SIGHUP)
        a.until(lambda: told)
        assert str(server.port) in told[0]
        conf.write_text('authorization: {users: [{user: ann, password: right}]}')
        server.process.send_signal(signal.SIGHUP)
        a.until(lambda: a.events == [('lost',), ('back',)])
        a.rooms['lobby'].publish(json=1)
        a.until(lambda: ann.data == [1])
        assert ann.recovered == [None, False] and ann.has_no_gap()
    finally:
        server.kill()


def test_a_server_of_a_cluster_that_is_killed_is_replaced_by_another_one(tmp_path, gather):
    routes = [free_port(), free_port()]
    servers = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        words = ['--cluster_name', 'c', '--cluster', f'nats://127.0.0.1:{routes[i]}']
        servers.append(NatsServer(tmp_path / str(i), words=[*words, '--routes', f'nats://127.0.0.1:{routes[1 - i]}']))
    try:
        urls = [server.url for server in servers]
        a, b = gather(','.join(urls)), gather(','.join(reversed(urls)))
        guests = [a.join(numbered=1), b.join(numbered=1)]
        sending = a.ioloop.recurring(lambda loop: a.rooms['lobby'].publish(json='route'), 0.05)
        a.until(lambda: guests[1].data)  # the servers know each other
        servers[0].kill()
        a.until(lambda: a.events == [('lost',), ('back',)])
        a.ioloop.remove(sending)
        a.rooms['lobby'].publish(json='a')
        b.rooms['lobby'].publish(json='b')
        a.until(lambda: all({'a', 'b'} <= set(guest.data) for guest in guests))
        assert guests[0].recovered == [None, False] and guests[1].recovered == [None]
        assert all(guest.has_no_gap() for guest in guests)
        assert not b.events
    finally:
        for server in servers:
            server.kill()


def test_the_other_servers_of_a_cluster_need_not_be_in_the_url(tmp_path, gather):
    routes = [free_port(), free_port()]
    (tmp_path / 'nats.conf').write_text('authorization: {user: ann, password: right}')
    servers = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        words = ['-c', tmp_path / 'nats.conf', '--cluster_name', 'c', '--cluster', f'nats://127.0.0.1:{routes[i]}']
        servers.append(NatsServer(tmp_path / str(i), words=[*words, '--routes', f'nats://127.0.0.1:{routes[1 - i]}']))
    try:
        a, b = (gather(server.url.replace('//', '//ann:right@')) for server in servers)
        guests = [a.join(numbered=1), b.join(numbered=1)]
        sending = a.ioloop.recurring(lambda loop: a.rooms['lobby'].publish(json='route'), 0.05)
        a.until(lambda: guests[1].data)  # the servers know each other
        a.ioloop.remove(sending)
        servers[0].kill()
        a.until(lambda: a.events == [('lost',), ('back',)])
        a.rooms['lobby'].publish(json='a')
        b.rooms['lobby'].publish(json='b')
        a.until(lambda: all({'a', 'b'} <= set(guest.data) for guest in guests))
        assert guests[0].recovered == [None, False] and guests[1].recovered == [None]
        assert 'right' not in repr(a.rooms)
    finally:
        for server in servers:
            server.kill()


@pytest.mark.parametrize('prefix', ['a b', 'a.', '.a', 'a..b', 'a.*', '>', 'a\r\nPUB b', 'a\tb', ''])
def test_a_prefix_that_is_no_subject_is_refused(prefix):
    with pytest.raises(ValueError, match='prefix'):
        pyjows.rooms('nats://127.0.0.1', prefix=prefix)


@pytest.mark.slow
@pytest.mark.parametrize('count', [3000, pytest.param(10_000, marks=pytest.mark.wide)])
def test_of_many_rooms_that_were_left_nothing_remains(tmp_path, gather, count):
    port = free_port()
    server = NatsServer(tmp_path, words=['-m', port])
    try:
        a = gather(server.url, linger=0.05, max_rooms=count + 2, timeout=20.0)

        def subscriptions():
            with urlopen(f'http://127.0.0.1:{port}/connz', timeout=10) as answer:
                return sum(link['subscriptions'] for link in json.load(answer)['connections'])

        left = join_and_leave(a, count, subscriptions)
        assert left[2] - left[1] < 2000
    finally:
        server.kill()
