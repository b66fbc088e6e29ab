"""Whatever happens in whatever order, each member has positions without a gap or was told, and presence is right."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from brokers import FaultyLink, RedisServer, needs_redis

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

QUICK = {'timeout': 0.5, 'presence_ttl': 1.5, 'delays': lambda: iter([0.02] * 10_000)}
STEPS = [
    'join',
    'join',
    'leave',
    'publish',
    'publish',
    'burst',
    'kill',
    'cut',
    'drop',
    'back',
    'forget',
    'turn',
    'turn',
]


@pytest.fixture(scope='module')
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp('redis'), data=True)
    yield server
    server.kill()


@pytest.mark.parametrize('seed', [1, 2, 203, 204, 417, 451])
def test_members_of_two_processes_have_every_message_or_are_told(gather, redis, seed):
    link = FaultyLink(redis.port)
    try:
        live(gather, redis, link, Random(seed))
    finally:
        link.close()  # its threads end before `gather` counts them


def live(gather, redis, link, random):
    kept = {'history_size': random.choice([3, 10, 1000])}
    urls = f'redis://127.0.0.1:{link.port}', redis.url
    a, b = both = [gather(url, linger=random.choice([0.05, 30]), **kept) for url in urls]
    here: dict[str, Any] = {}
    gone: list[Any] = []
    all_guests: list[Any] = []
    drops: list[Any] = []
    said, flushed = 0, False
    for i in range(60):
        step, one = random.choice(STEPS), random.choice(both)
        if step == 'join' or (step == 'back' and gone):
            old = gone.pop() if step == 'back' else None
            since = {'since': old.position} if old is not None and old.position else {}
            here[f'n{i}'] = guest = one.guest(numbered=1, name=f'n{i}', **since)
            all_guests.append((guest, since.get('since')))
        elif step == 'leave' and here:
            guest = here.pop(random.choice(list(here)))
            guest.ws.finish()
            gone.append(guest)
        elif step in ('publish', 'burst'):
            for _ in range(1 if step == 'publish' else random.randrange(30)):
                random.choice(both).rooms['lobby'].publish(json=said)
                said += 1
        elif step == 'kill':
            redis.ask('CLIENT', 'KILL', 'TYPE', random.choice(['normal', 'pubsub']))
        elif step == 'cut':
            link.cut()
        elif step == 'drop':
            link.drop = True
            drops.append(a.ioloop.timer(lambda loop: setattr(link, 'drop', False), random.choice([0.1, 1.2])))
        elif step == 'forget':
            forgets = random.choice(['FLUSHALL', 'SCRIPT FLUSH'])
            redis.ask(forgets)
            flushed = flushed or forgets == 'FLUSHALL'
        elif step == 'turn':
            turned: list[int] = []
            a.ioloop.timer(lambda loop, turned=turned: turned.append(1), random.random() / 20)
            a.until(lambda turned=turned: turned)
    for timer in drops:
        a.ioloop.remove(timer)
    link.drop = False
    here['last'] = last = b.guest(numbered=1, name='last')
    all_guests.append((last, None))
    link.cut()
    a.until(lambda: all(guest.heard for guest in here.values()) and not a.rooms.is_lost and not b.rooms.is_lost)
    b.rooms['lobby'].publish(json='end')
    a.until(lambda: all('end' in guest.data for guest in here.values()))
    a.until(lambda: a.names() == b.names() == sorted(here))
    key = 'pyjows:{lobby}:here:'
    local = {each.rooms.process: len(each.rooms['lobby'].local_members) for each in both}
    a.until(lambda: all(redis.ask('HLEN', key + process) == n for process, n in local.items()))
    told: dict[str, Any] = {}
    for guest, position in all_guests:
        assert guest.has_no_gap()
        if guest.recovered[:1] == [True]:
            assert guest.envelopes[0]['position'] == position
        for envelope in guest.envelopes:
            if 'data' in envelope:
                assert told.setdefault(envelope['position'], envelope['data']) == envelope['data']
    if not flushed:  # with the data Redis forgets which publication was the last
        assert len(set(told.values())) == len(told)
    assert not a.errors + b.errors
