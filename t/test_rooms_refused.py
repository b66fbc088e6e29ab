"""What a broker refuses of one room is told with the name of the room, and leaves the other rooms alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import sleep

import pytest
from background import free_port, until
from brokers import RedisServer, needs_redis
from gathering import lost

from pyjows.rooms import RoomRefused

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

QUICK = {'timeout': 1.0, 'presence_ttl': 1.5, 'delays': lambda: iter([0.05] * 1000)}


@pytest.fixture
def limited(redis: RedisServer) -> Iterator[str]:
    """The URL for a user who may use the channel of the room ``lobby`` alone, and every key."""
    rules = '>secret', 'on', 'allkeys', 'allcommands', 'resetchannels', '&pyjows:{lobby}'
    redis.ask('ACL', 'SETUSER', 'ann', *rules)
    yield redis.url.replace('//', '//ann:secret@')
    redis.ask('ACL', 'DELUSER', 'ann')


def refused(gathering, room):
    return [exc for exc in gathering.errors if isinstance(exc, RoomRefused) and exc.room == room]


@pytest.mark.parametrize('first', ['lobby', 'secret'])
def test_a_channel_that_is_forbidden_leaves_the_other_rooms_alone_and_is_told(gather, redis, limited, first):
    a, b = gather(limited), gather()
    guests = {
        room: a.join(room=room, numbered=1) for room in sorted(['lobby', 'secret'], key=lambda room: room != first)
    }
    elsewhere = b.join(room='lobby,secret')
    a.until(lambda: refused(a, 'secret'))
    assert 'channel' in str(refused(a, 'secret')[0])
    assert "room 'secret'" in str(refused(a, 'secret')[0])
    b.rooms['lobby'].publish(text='on')
    a.until(lambda: guests['lobby'].data == ['on'])
    a.rooms['lobby'].publish(text='and on')
    a.until(lambda: guests['lobby'].data == ['on', 'and on'] and len(elsewhere.heard) == 2)
    a.errors.clear()
    assert a.rooms['secret'].publish(text='refused')
    a.until(lambda: any(exc.message is not None for exc in refused(a, 'secret')))
    (exc,) = [exc for exc in refused(a, 'secret') if exc.message is not None]
    assert exc.message.data == 'refused'
    assert not refused(a, 'lobby')
    assert not a.events


def test_a_channel_that_is_allowed_again_is_followed_again_without_a_gap(gather, redis, limited):
    a, b = gather(limited), gather()
    ann = a.join(room='secret', numbered=1)
    a.until(lambda: refused(a, 'secret'))
    for i in range(5):
        b.rooms['secret'].publish(json=i)
    redis.ask('ACL', 'SETUSER', 'ann', '&pyjows:{secret}')
    a.until(lambda: ann.data == [0, 1, 2, 3, 4])
    a.until(lambda: redis.ask('PUBSUB', 'NUMSUB', 'pyjows:{secret}')[1] == 1)
    b.rooms['secret'].publish(json=5)
    a.until(lambda: ann.data == [0, 1, 2, 3, 4, 5])
    assert ann.has_no_gap() and ann.recovered == [None]
    assert not a.events


def test_many_rooms_that_are_forbidden_keep_none_from_being_followed(gather, redis, limited):
    a, b = gather(limited, max_rooms=2000), gather()
    names = [f'secret-{i}' for i in range(600)]
    names.insert(300, 'lobby')
    guest = a.guest(room=','.join(names))
    a.until(lambda: len(a.members) == 601 and all(member.joined for member in a.members))
    b.rooms['lobby'].publish(text='on')
    a.until(lambda: guest.heard == ['on'])
    assert not a.events


def test_a_server_that_runs_the_script_of_another_program_is_away_and_nothing_is_lost(gather, redis):
    redis.ask('CONFIG', 'SET', 'busy-reply-threshold', 50)
    a = gather()
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])

    def run():
        with pytest.raises(Exception, match='killed'):
            redis.ask('EVAL', 'while true do end', 0)

    thread = threading.Thread(target=run)
    thread.start()
    sleep(0.3)
    try:
        a.rooms['lobby'].publish(json=2)
        a.until(lambda: a.events == [('lost',)] or a.errors)
    finally:
        redis.ask('SCRIPT', 'KILL')
        thread.join()
    a.until(lambda: ann.data == [1, 2])
    a.until(lambda: a.events == [('lost',), ('back',)])
    assert not a.errors
    assert ann.has_no_gap()


def test_who_joins_while_redis_has_no_memory_left_joins_and_that_is_told(gather, redis):
    a = gather()
    redis.ask('CONFIG', 'SET', 'maxmemory', 1)
    try:
        ann = a.join(numbered=1, name='Ann')
        a.until(lambda: refused(a, 'lobby'))
    finally:
        redis.ask('CONFIG', 'SET', 'maxmemory', 0)
    assert 'maxmemory' in str(refused(a, 'lobby')[0])
    b = gather()
    b.rooms['lobby'].publish(text='x')
    b.rooms['lobby'].publish(text='y')
    a.until(lambda: ann.data[-1:] == ['y'])
    assert ann.has_no_gap()
    b.join(name='Bob')
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    assert not a.events


def test_a_node_of_a_cluster_is_named_as_one(tmp_path, gather):
    server = RedisServer(tmp_path, cluster_enabled='yes', cluster_port=free_port())
    try:
        a = gather(server.url)
        assert 'redis+cluster://' in lost(a)
    finally:
        server.kill()


def test_a_server_that_is_no_cluster_is_named_as_none(gather, redis):
    assert 'cluster' in lost(gather(redis.url.replace('redis', 'redis+cluster'))).lower()


def test_a_wrong_password_is_told_and_not_shown(tmp_path, gather):
    server = RedisServer(tmp_path, requirepass='right')
    try:
        for who in ('', 'ann:wrong@', ':wrong@'):
            text = lost(gather(server.url.replace('//', f'//{who}')))
            assert 'wrong@' not in text
            assert 'uthenticat' in text or 'password' in text
            assert str(server.port) in text
    finally:
        server.kill()


def test_a_server_with_too_many_clients_is_tried_again(gather, redis):
    redis.ask('CONFIG', 'SET', 'maxclients', 2)
    try:
        a = gather()
        lost(a)
    finally:
        until(lambda: allow(redis, 1000), 'a place for one more client')
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(text='x')
    a.until(lambda: ann.data == ['x'])


def allow(redis, clients):
    try:
        return redis.ask('CONFIG', 'SET', 'maxclients', clients)
    except Exception:
        return False
