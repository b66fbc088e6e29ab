"""What other programs write into the keys and channels of rooms is skipped and told, and the rest goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from brokers import needs_redis

from pyjows.rooms import MalformedEntry

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

#: Of `gather`: soon enough for a test.
QUICK = {'timeout': 3.0, 'presence_ttl': 1.5}

META, LOG = 'pyjows:{lobby}:meta', 'pyjows:{lobby}:log'
CHANNEL, LIVE = 'pyjows:{lobby}', 'pyjows:{lobby}:live'


def malformed(gathering):
    return [exc for exc in gathering.errors if isinstance(exc, MalformedEntry)]


# What takes the place of entry 2 of a stream that has 1 to 3.
ENTRIES = [
    ('m', b'1700000000000 t\xff'),
    ('m', b'1700000000000 j{bad'),
    ('m', b'1700000000000 x1'),
    ('m', b'1700000000000 '),
    ('m', b'1700000000000'),
    ('m', b''),
    ('m', b't hello'),
    ('m', b'-5 thello'),
    ('m', b'9' * 400 + b' thello'),
    ('other', b'1700000000000 t1'),
    ('m', b'1700000000000 t1', 'm', b'1700000000000 t1'),
]


@pytest.mark.parametrize('fields', ENTRIES, ids=[str(i) for i in range(len(ENTRIES))])
def test_an_entry_of_the_history_that_cannot_be_read_keeps_nobody_from_joining(gather, redis, fields):
    redis.ask('HSET', META, 'epoch', 'abc', 'offset', 3, 'server', server_of(gather, redis))
    for offset in (1, 2, 3):
        said = fields if offset == 2 else ('m', b'%d tgood' % now(redis))
        redis.ask('XADD', LOG, f'{offset}-0', *said)
    a = gather()
    ann, bob = a.join(numbered=1, history=10), a.join(history=10)
    late, just = a.join(numbered=1, since='abc:1'), a.join(numbered=1, since='abc:2')
    a.rooms['lobby'].publish(text='next')
    a.until(lambda: all('next' in str(guest.heard) for guest in (ann, bob, late, just)))
    assert ann.data == just.data == bob.heard == ['good', 'next']
    assert (late.recovered, just.recovered) == ([False], [True])
    assert ann.positions == ['abc:3', 'abc:4']
    assert ann.has_no_gap()
    assert [exc.room for exc in malformed(a)] == ['lobby']
    assert not a.events


def now(redis):
    return int(redis.ask('TIME')[0]) * 1000


def server_of(gather, redis):
    """What a server without an append-only file is called in the counts of rooms."""
    return redis.ask('INFO', 'server')['run_id']


PUBLISHED = [
    b'',
    b'm',
    b'm ',
    b'hello',
    b'mabc:1 ',
    b'mabc:x 1700000000000 t1',
    b'mabc:-1 1700000000000 t1',
    b'mabc:' + b'9' * 30 + b' 1700000000000 t1',
    b'm\xff:1 1700000000000 t1',
    b'mabc 1700000000000 t1',
    b'j',
    b'jprocess',
    b'jprocess id',
    b'jprocess id {bad',
    b'jprocess id "\xff"',
    b'j\xff id {}',
    b'jprocess \xff {}',
    b'l',
    b'lprocess',
    b'l\xff id',
    b'h',
    b'h\xff',
    b'\xff\xfe',
]


def test_what_is_published_on_the_channel_and_cannot_be_read_ends_nothing(gather, redis):
    a = gather()
    ann = a.join(numbered=1)
    epoch = ann.position.partition(':')[0]
    forged = [f'm{epoch}:1 1700000000000 '.encode() + said for said in (b't\xff', b'j{bad', b'x', b'')]
    for data in PUBLISHED + forged:
        redis.ask('PUBLISH', CHANNEL, data)
    a.rooms['lobby'].publish(text='next')
    a.until(lambda: ann.data == ['next'])
    assert ann.has_no_gap()
    assert ann.recovered == [None]
    assert not a.events
    # The first is told at once, then ever fewer.
    assert [exc.count for exc in malformed(a)] == [1, 2, 4, 8, 16]


def test_entries_of_members_that_cannot_be_read_are_skipped(gather, redis):
    redis.ask('ZADD', LIVE, 9e15, 'stranger', 9e15, b'\xff', 9e15, 'text')
    redis.ask('HSET', 'pyjows:{lobby}:here:stranger', 'good', '{"name": "Eve"}', 'bad', '{bad', b'\xff', '{}')
    redis.ask('HSET', b'pyjows:{lobby}:here:\xff', 'x', '{}')
    redis.ask('SET', 'pyjows:{lobby}:here:text', 'x')
    a, b = gather(), gather()
    a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob', 'Eve'])
    assert malformed(a)
    assert not a.events
    with_others = gather().rooms['lobby'].members()
    assert sorted(info['name'] for info in with_others.values()) == ['Ann', 'Bob', 'Eve']


def test_an_entry_of_members_that_cannot_be_read_is_not_read_again_and_again(gather, redis):
    redis.ask('HSET', f'{CHANNEL}:here:other', 'one', '{"name":"Cid"}', 'two', '{bad')
    redis.ask('ZADD', LIVE, now(redis) + 60_000, 'other')
    a = gather()
    a.join(name='Ann')
    a.until(lambda: len(malformed(a)) == 2 and a.names() == ['Ann', 'Cid'])  # its size is not that of the copy
    rested: list[Any] = []
    a.ioloop.timer(lambda loop: rested.append(1), 3)
    a.until(lambda: rested)
    assert [exc.count for exc in malformed(a)] == [1, 2]  # the fourth would be reported


@pytest.mark.parametrize('key', [META, LOG, LIVE])
@pytest.mark.parametrize('when', ['before', 'while'])
def test_a_key_that_another_program_has_taken_is_taken_back(gather, redis, key, when):
    a, b = gather(), gather()

    def spoil():
        redis.ask('DEL', key)
        redis.ask('SET', key, 'something')

    if when == 'before':
        spoil()
    ann, bob, other = a.join(numbered=1, name='Ann'), b.join(numbered=1, name='Bob'), a.join(room='other')
    if when == 'while':
        a.rooms['lobby'].publish(text='first')
        a.until(lambda: ann.data == bob.data == ['first'])
        spoil()
    for text in ('x', 'y'):
        b.rooms['lobby'].publish(text=text)
        a.rooms['other'].publish(text=text)
    a.until(lambda: ann.data[-2:] == bob.data[-2:] == other.heard == ['x', 'y'])
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    assert ann.has_no_gap()
    assert not a.events + b.events
    late = b.join(numbered=1, history=2)
    a.until(lambda: late.data == ['x', 'y'])


@pytest.mark.parametrize(
    'fields',
    [
        {'offset': 'many'},
        {'offset': ''},
        {'offset': '-3'},
        {'offset': '9' * 30},
        {'epoch': b'\xff'},
        {'epoch': ''},
        {'epoch': 'a:b'},
        {'epoch': 'a' * 50},
    ],
    ids=str,
)
def test_a_count_that_is_not_one_begins_anew_and_that_is_told(gather, redis, fields):
    a = gather()
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(text='first')
    a.until(lambda: ann.data == ['first'])
    for name, value in fields.items():
        redis.ask('HSET', META, name, value)
    a.rooms['lobby'].publish(text='x')
    a.rooms['lobby'].publish(text='y')
    a.until(lambda: ann.data == ['first', 'x', 'y'])
    assert ann.recovered == [None, False]
    assert ann.has_no_gap()
    assert not a.events


@pytest.mark.parametrize('many', [3, 1500])
def test_entries_that_another_program_appends_to_the_stream_are_removed(gather, redis, many):
    a = gather()
    ann = a.join(numbered=1)
    for text in ('1', '2'):
        a.rooms['lobby'].publish(text=text)
    a.until(lambda: ann.data == ['1', '2'])
    redis.ask('EVAL', "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'from', '?') end", '1', LOG, str(many))
    guests = [ann, gather().join(numbered=1, history=5)]
    for text in ('3', '4'):
        a.rooms['lobby'].publish(text=text)
    a.until(lambda: all(guest.data[-2:] == ['3', '4'] for guest in guests))
    assert ann.data == ['1', '2', '3', '4']
    late = gather().join(numbered=1, since=ann.positions[0])
    a.until(lambda: late.heard)
    if many < 1000:
        a.until(lambda: late.data == ['2', '3', '4'])
        assert guests[1].data == ['1', '2', '3', '4']
    assert not a.events
    assert not a.errors


def test_a_number_of_a_publication_that_is_not_one_is_written_again(gather, redis):
    a = gather()
    ann = a.join()
    key = f'pyjows:{{lobby}}:from:{a.rooms.process}'
    for spoil in (['SET', key, 'x'], ['RPUSH', key, 'x']):
        redis.ask('DEL', key)
        redis.ask(*spoil)
        a.rooms['lobby'].publish(json=spoil)
    a.until(lambda: len(ann.heard) == 2)
    assert [json.loads(said)[0] for said in ann.heard] == ['SET', 'RPUSH']
    assert not a.errors


def test_one_room_that_redis_refuses_leaves_the_others_alone(gather, redis):
    a = gather()
    ann = a.join(numbered=1)
    redis.ask('ACL', 'SETUSER', 'default', 'resetkeys', '~pyjows:{lobby}*')
    try:
        bob = a.join(room='new', numbered=1)
        a.rooms['new'].publish(text='refused')
        a.until(lambda: len(a.errors) > 4)
        a.rooms['lobby'].publish(text='on')
        a.until(lambda: ann.data == ['on'])
        assert len(a.errors) < 12
        for ask in (gather().rooms['asked'].history, gather().rooms['asked'].members):
            with pytest.raises(OSError, match='permission'):
                ask()
    finally:
        redis.ask('ACL', 'SETUSER', 'default', 'allkeys')
    a.until(lambda: redis.ask('KEYS', 'pyjows:{new}:here:*'))  # what was refused is written later
    for text in ('not kept', 'again'):
        a.rooms['new'].publish(text=text)
    a.until(lambda: bob.data[-1:] == ['again'])
    assert bob.has_no_gap()
    assert not a.events
