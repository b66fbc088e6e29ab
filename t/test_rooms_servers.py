"""What is done to a Redis, its sentinels and its cluster while rooms use them: nobody stays silently deaf."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from background import free_port, until
from brokers import REDIS, FaultyLink, RedisServer, needs_redis
from gathering import gatherings

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

QUICK = {'timeout': 2.0, 'presence_ttl': 3.0, 'delays': lambda: iter([0.05] * 1000)}


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any, redis: RedisServer) -> Iterator[Any]:
    with gatherings(ioloop, run_until, assert_idle, redis.url, **QUICK) as gather:
        yield gather


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own for each test: its configuration is changed."""
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def test_an_append_only_file_that_is_turned_on_while_rooms_are_in_use_is_no_gap(gather, redis):
    a = gather()
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    redis.ask('CONFIG', 'SET', 'appendonly', 'yes')
    b = gather()  # a process that was connected after that, and one that was connected before
    bob = b.join(since=ann.position, numbered=1)
    for i in range(2, 8, 2):
        b.rooms['lobby'].publish(json=i)
        a.until(lambda i=i: ann.data[-1] == i)
        a.rooms['lobby'].publish(json=i + 1)
        a.until(lambda i=i: ann.data[-1] == i + 1 and bob.data[-1:] == [i + 1])
    assert ann.data == [1, *bob.data] == [1, 2, 3, 4, 5, 6, 7]
    assert ann.recovered == [None] and bob.recovered == [True]


@pytest.mark.parametrize('how_many', [1, 4])
def test_a_count_that_goes_back_is_a_gap_that_is_told(gather, redis, how_many):
    """As after a change to a replica that lags behind, and back: no connection is lost."""
    link = FaultyLink(redis.port)
    try:
        a, b = gather(f'redis://127.0.0.1:{link.port}'), gather()
        ann = a.join(numbered=1)
        b.rooms['lobby'].publish(json=1)
        a.until(lambda: ann.data == [1])
        kept = {key: redis_dump(redis, key) for key in ('log', 'meta')}
        for i in (2, 3, 4):
            b.rooms['lobby'].publish(json=i)
        a.until(lambda: ann.data == [1, 2, 3, 4])
        link.drop = how_many > 1  # the count is ahead again before the link is back
        for key, data in kept.items():
            redis_restore(redis, key, data)
        for i in range(how_many):
            assert b.rooms['lobby'].publish(json=f'again {i}')
        assert b.rooms.flush(10)
        link.drop = False
        if how_many > 1:
            link.cut()
        a.until(lambda: ann.recovered == [None, False])
        b.rooms['lobby'].publish(json='on')
        a.until(lambda: ann.data[-1] == 'on')
        assert ann.has_no_gap()
        assert not a.errors
    finally:
        for gathering in (a, b):
            gathering.rooms.close()
        a.until(lambda: a.rooms.is_closed and b.rooms.is_closed)
        link.close()


def redis_dump(redis: RedisServer, key: str) -> bytes:
    data: bytes = redis.ask('DUMP', f'pyjows:{{lobby}}:{key}')
    return data


def redis_restore(redis: RedisServer, key: str, data: bytes) -> None:
    redis.ask('RESTORE', f'pyjows:{{lobby}}:{key}', 0, data, 'REPLACE')


def test_a_number_that_another_program_has_written_keeps_no_message_from_being_published(gather, redis):
    a = gather()
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    (key,) = redis.ask('KEYS', 'pyjows:{lobby}:from:*')
    redis.ask('SET', key, 10**12)
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: ann.data == [1, 2])
    assert not a.errors and not a.events


def test_a_batch_that_a_connection_delivers_late_is_not_published_twice(gather, redis):
    """As after a link that lost what was sent: the kernel repeats it also when the connection was given up."""
    a = gather()
    ann = a.join(numbered=1)
    redis.ask('CONFIG', 'SET', 'slowlog-log-slower-than', 0)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    late = next(words for _, _, _, words, *_ in redis.ask('SLOWLOG', 'GET', 50) if words[-1] == b'j1')
    redis.ask('CONFIG', 'SET', 'slowlog-log-slower-than', -1)
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: ann.data == [1, 2])
    assert redis.ask(*late) == [0]
    a.rooms['lobby'].publish(json=3)
    a.until(lambda: ann.data[-1] == 3)
    assert ann.data == [1, 2, 3] and ann.has_no_gap()


def test_a_loss_is_told_with_the_name_of_the_broker(gather, redis):
    a = gather()
    a.join()
    told: list[str] = []
    a.rooms.on('lost', lambda rooms, exc: told.append(str(exc)))
    redis.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
    a.until(lambda: a.events == [('lost',), ('back',)])
    assert len(told) == 1
    assert f'<RedisEngine {redis.url}>: ' in told[0]


def test_a_sentinel_that_is_gone_or_never_answers_does_not_keep_rooms_from_the_others(gather, redis, tmp_path):
    port = free_port()
    conf = tmp_path / 'sentinel.conf'
    conf.write_text(f'port {port}\nsentinel monitor main 127.0.0.1 {redis.port} 1\n')
    watcher = subprocess.Popen([str(REDIS), conf, '--sentinel'], cwd=tmp_path, stdout=subprocess.DEVNULL)
    mute = FaultyLink(port)
    mute.drop = True
    try:
        for first in (free_port(), mute.port):
            a = gather(f'redis+sentinel://127.0.0.1:{first},127.0.0.1:{port}/main')
            ann = a.join(numbered=1)
            a.rooms['lobby'].publish(json=first)
            a.until(lambda ann=ann, first=first: ann.data == [first])
            a.close()
    finally:
        mute.close()
        watcher.kill()
        watcher.wait()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """A cluster of two nodes; the first has all slots."""
    found = []
    for i in range(2):
        (tmp_path / f'node{i}').mkdir()
        found.append(RedisServer(tmp_path / f'node{i}', cluster_enabled='yes', cluster_port=free_port()))
    try:
        for i, node in enumerate(found):
            node.ask('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)  # else they may disagree about who has a slot that moves
        found[0].ask('CLUSTER', 'ADDSLOTSRANGE', 0, 16383)
        found[1].ask('CLUSTER', 'MEET', '127.0.0.1', found[0].port, found[0].options['cluster_port'])
        for node in found:
            until(lambda node=node: _is_whole(node.ask('CLUSTER', 'INFO')), 'the cluster')
        yield found
    finally:
        for node in found:
            node.kill()


def _is_whole(info: Any) -> bool:
    return b'cluster_state:ok' in info and b'cluster_known_nodes:2' in info


def cluster(node: RedisServer) -> str:
    return node.url.replace('redis://', 'redis+cluster://')


def test_messages_wait_while_the_slot_of_their_room_moves_to_another_node(gather, nodes):
    a, b = gather(cluster(nodes[0])), gather(cluster(nodes[0]))
    guests = [a.join(name='Ann', numbered=1), b.join(name='Bob', numbered=1)]
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: all(guest.data == [1] for guest in guests))
    slot = nodes[0].ask('CLUSTER', 'KEYSLOT', 'lobby')
    old, new = (str(node.ask('CLUSTER', 'MYID'), 'ascii') for node in nodes)
    nodes[1].ask('CLUSTER', 'SETSLOT', slot, 'IMPORTING', old)
    nodes[0].ask('CLUSTER', 'SETSLOT', slot, 'MIGRATING', new)
    nodes[0].ask('MIGRATE', '127.0.0.1', nodes[1].port, 'pyjows:{lobby}:meta', 0, 5000)
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: a.events == [('lost',)] or a.errors)
    a.rooms['lobby'].publish(json=3)
    while keys := nodes[0].ask('CLUSTER', 'GETKEYSINSLOT', slot, 10):
        for key in keys:
            nodes[0].ask('MIGRATE', '127.0.0.1', nodes[1].port, key, 0, 5000)
    for node in reversed(nodes):
        node.ask('CLUSTER', 'SETSLOT', slot, 'NODE', new)
    a.until(lambda: all(guest.data[-1] == 3 for guest in guests))
    assert all(guest.data == [1, 2, 3] and guest.has_no_gap() for guest in guests)
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    a.until(lambda: a.events == [('lost',), ('back',)] and not b.rooms.is_lost)
    assert not a.errors and not b.errors


def test_a_node_that_the_url_names_may_be_gone_later(gather, nodes):
    a = gather(cluster(nodes[1]))
    ann = a.join(numbered=1)
    nodes[1].kill()
    nodes[0].ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
    a.until(lambda: a.events[:1] == [('lost',)])
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    a.until(lambda: not a.rooms.is_lost)
    assert ann.has_no_gap() and not a.errors
