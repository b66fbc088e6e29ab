"""What goes wrong between rooms and Redis: nobody stays silently deaf, and what is lost is told.

After each fault every numbered member either has positions without a gap, or was told ``recovered: false``.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import sleep
from typing import Any

import pytest
from background import free_port
from brokers import FaultyLink, RedisServer, needs_redis
from gathering import gatherings
from program import Program
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import pyjows
from pyjows.rooms import QueueFull

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

QUICK = {'timeout': 1.0, 'presence_ttl': 2.0, 'delays': lambda: iter([0.05] * 1000)}


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any) -> Iterator[Any]:
    with gatherings(ioloop, run_until, assert_idle, **QUICK) as gather:
        yield gather


@pytest.fixture
def redis(tmp_path: Any) -> Iterator[RedisServer]:
    """A Redis that forgets everything when it is killed."""
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def lasting(tmp_path: Any) -> Iterator[RedisServer]:
    """A Redis that has its data after it was killed."""
    server = RedisServer(tmp_path, data=True)
    yield server
    server.kill()


@pytest.fixture
def link(redis: RedisServer, no_leaks: None) -> Iterator[FaultyLink]:
    link = FaultyLink(redis.port)
    yield link
    link.close()


def all_have(guests, data):
    return all(guest.data == data for guest in guests)


def test_redis_killed_and_started_with_its_data_loses_nothing(gather, lasting):
    a, b = gather(lasting.url), gather(lasting.url)
    guests = [a.join(numbered=1, name='Ann'), b.join(numbered=1, name='Bob')]
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: all_have(guests, [1]))
    lasting.kill()
    a.until(lambda: a.events == b.events == [('lost',)])
    assert a.rooms.is_lost
    for i in range(2, 6):
        a.rooms['lobby'].publish(json=i)
    lasting.start()
    a.until(lambda: all_have(guests, [1, 2, 3, 4, 5]))
    a.until(lambda: a.events == b.events == [('lost',), ('back',)])
    assert not a.rooms.is_lost
    assert all(guest.has_no_gap() and guest.recovered == [None] for guest in guests)
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    again = b.join(numbered=1, since=guests[0].positions[1])
    a.until(lambda: again.data == [3, 4, 5])
    assert again.recovered == [True]


def test_redis_killed_and_started_without_its_data_is_a_gap_that_is_told(gather, redis):
    a, b = gather(redis.url), gather(redis.url)
    guests = [a.join(numbered=1, name='Ann'), b.join(numbered=1, name='Bob')]
    gaps: list[Any] = []
    b.rooms['lobby'].on('gap', lambda room: gaps.append(room.name))
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: all_have(guests, [1]))
    left: list[Any] = []
    b.rooms['lobby'].on('leave', lambda room, member: left.append(member))
    redis.kill()
    a.until(lambda: a.events == b.events == [('lost',)])
    a.rooms['lobby'].publish(json=2)
    redis.start()
    a.until(lambda: all_have(guests, [1, 2]))
    assert all(guest.recovered == [None, False] and guest.has_no_gap() for guest in guests)
    assert gaps == ['lobby']
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    assert not left
    late = b.join(numbered=1, since=guests[0].positions[0], history=10)
    a.until(lambda: late.data == [2])
    assert late.recovered == [False]


def test_redis_started_from_an_old_snapshot_begins_every_room_anew(gather, redis):
    a, b = gather(redis.url), gather(redis.url)
    guests = [a.join(numbered=1), b.join(numbered=1)]
    for i in (1, 2):
        a.rooms['lobby'].publish(json=i)
    a.until(lambda: all_have(guests, [1, 2]))
    redis.ask('SAVE')
    a.rooms['lobby'].publish(json=3)
    a.until(lambda: all_have(guests, [1, 2, 3]))
    redis.kill()
    a.until(lambda: a.events == b.events == [('lost',)])
    a.rooms['lobby'].publish(json=4)
    redis.start()
    a.until(lambda: all_have(guests, [1, 2, 3, 4]))
    assert all(guest.recovered == [None, False] and guest.has_no_gap() for guest in guests)
    late = b.join(numbered=1, since=guests[0].positions[2], history=10)
    a.until(lambda: late.data == [4])
    assert late.recovered == [False]


def test_who_joins_while_redis_is_away_hears_everything_once_it_is_back(gather, lasting):
    a = gather(lasting.url)
    first = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: first.data)
    lasting.kill()
    a.until(lambda: a.events == [('lost',)])
    here, new = a.guest(numbered=1), a.guest(room='new', numbered=1)
    a.until(lambda: here.heard and new.ws.established)
    a.rooms['new'].publish(json='n')
    a.rooms['lobby'].publish(json=2)
    assert not new.heard
    lasting.start()
    a.until(lambda: new.data == ['n'] and here.data == [2] and first.data == [1, 2])
    assert here.has_no_gap() and first.has_no_gap() and new.has_no_gap()


def test_rooms_that_begin_while_there_is_no_redis_wait_for_it(gather, redis):
    redis.kill()
    a = gather(redis.url)
    ann = a.guest(numbered=1)
    a.until(lambda: a.events == [('lost',)])
    a.rooms['lobby'].publish(json=1)
    redis.start()
    a.until(lambda: ann.heard and a.events == [('lost',), ('back',)])
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: ann.data and ann.data[-1] == 2)


def test_rooms_closed_while_there_is_no_redis_say_what_was_not_sent(caplog):
    rooms = pyjows.rooms(f'redis://127.0.0.1:{free_port()}', ioloop=pyjows.IOLoop('poll'), **QUICK)
    rooms['x'].publish(text='a')
    rooms['x'].publish(text='b')
    rooms.close(10)
    assert rooms.is_closed
    with pytest.raises(RuntimeError, match='closed'):
        rooms['x'].publish(text='c')
    assert [r.getMessage() for r in caplog.records if 'before 2 messages' in r.getMessage()]
    rooms.ioloop.close()


def test_messages_wait_in_order_in_a_bounded_queue_and_then_are_refused(gather, lasting):
    a = gather(lasting.url, max_queue=5)
    ann = a.join(numbered=1)
    lasting.kill()
    a.until(lambda: a.events == [('lost',)])
    assert [a.rooms['lobby'].publish(json=i) for i in range(8)] == [True] * 5 + [False] * 3
    a.until(lambda: len(a.errors) == 3)
    assert all(isinstance(exc, QueueFull) for exc in a.errors)
    assert [(exc.room, exc.message.data) for exc in a.errors] == [('lobby', 5), ('lobby', 6), ('lobby', 7)]
    assert 'max_queue=5' in str(a.errors[0])
    lasting.start()
    a.until(lambda: ann.data == [0, 1, 2, 3, 4])
    assert a.rooms.flush(10)
    assert a.rooms['lobby'].publish(json=8)
    a.until(lambda: ann.data[-1] == 8)
    assert ann.has_no_gap()


def test_the_queue_is_bounded_in_bytes_too(gather, redis):
    a = gather(redis.url, max_queue_size=1000)
    redis.kill()
    assert [a.rooms['lobby'].publish(text='x' * 400) for _ in range(4)] == [True, True, False, False]
    a.until(lambda: len(a.errors) == 2)
    redis.start()


def test_a_killed_subscriber_reads_what_it_missed_from_the_history(gather, redis):
    a, b = gather(redis.url), gather(redis.url)
    guests = [a.join(numbered=1), b.join(numbered=1)]
    for i in range(60):
        (a, b)[i % 2].rooms['lobby'].publish(json=i)
        if i % 20 == 10:
            redis.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
        a.until(lambda: True)
    a.until(lambda: all(len(guest.data) == 60 for guest in guests))
    assert guests[0].data == guests[1].data
    assert sorted(guests[0].data) == list(range(60))
    assert all(guest.has_no_gap() and guest.recovered == [None] for guest in guests)


def test_killing_every_connection_again_and_again_neither_loses_nor_doubles(gather, redis):
    a, b = gather(redis.url, history_size=20_000), gather(redis.url, history_size=20_000)
    guests = [a.join(numbered=1), b.join(numbered=1)]
    stop = threading.Event()
    sent = [0, 0]

    def pour(n, rooms):
        while not stop.wait(0.001):
            rooms['lobby'].publish(json=[n, sent[n]])
            sent[n] += 1

    threads = [threading.Thread(target=pour, args=(n, each.rooms)) for n, each in enumerate((a, b))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            before = len(guests[0].heard)
            a.until(lambda before=before: len(guests[0].heard) > before + 50)
            redis.ask('CLIENT', 'KILL', 'TYPE', 'normal')
            redis.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    a.until(lambda: all(len(guest.heard) == sum(sent) + 1 for guest in guests), 40)
    for guest in guests:
        assert guest.has_no_gap() and guest.recovered == [None]
        for n in (0, 1):
            assert [i for by, i in guest.data if by == n] == list(range(sent[n]))


def test_a_half_open_link_is_noticed_and_replaced(gather, redis, link):
    a, b = gather(f'redis://127.0.0.1:{link.port}'), gather(redis.url)
    guests = [a.join(numbered=1, name='Ann'), b.join(numbered=1, name='Bob')]
    b.rooms['lobby'].publish(json=1)
    a.until(lambda: all_have(guests, [1]))
    reasons: list[str] = []
    a.rooms.on('lost', lambda rooms, exc: reasons.append(str(exc)))
    link.drop = True  # no packet arrives, and no end is told
    b.rooms['lobby'].publish(json=2)
    a.until(lambda: a.events == [('lost',)])
    assert all(reasons), reasons  # whichever time-out came first
    a.rooms['lobby'].publish(json=3)
    b.until(lambda: b.names() == ['Bob'])  # within the time to live
    link.drop = False
    a.until(lambda: all_have(guests, [1, 2, 3]))
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    assert all(guest.has_no_gap() and guest.recovered == [None] for guest in guests)
    assert b.events == []


def test_an_idle_link_lives_however_long_nothing_is_said(gather, redis):
    a = gather(redis.url)
    ann = a.join(numbered=1)
    rested: list[Any] = []
    a.ioloop.timer(lambda loop: rested.append(1), 2.5)
    a.until(lambda: rested)
    assert a.events == []
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])


def test_a_link_that_only_publishes_lives_too(gather, redis):
    a = gather(redis.url)
    a.rooms['lobby'].publish(json=1)
    rested: list[Any] = []
    a.ioloop.timer(lambda loop: rested.append(1), 2.5)
    a.until(lambda: rested)
    assert a.events == []


def test_a_slow_link_delays_and_loses_nothing(gather, redis, link):
    a, b = gather(f'redis://127.0.0.1:{link.port}', timeout=3), gather(redis.url)
    guests = [a.join(numbered=1), b.join(numbered=1)]
    link.delay = 0.1
    for i in range(40):
        (a, b)[i % 2].rooms['lobby'].publish(json=i)
    a.until(lambda: all(len(guest.data) == 40 for guest in guests))
    assert guests[0].data == guests[1].data
    assert all(guest.has_no_gap() for guest in guests)
    assert a.events == []


def test_a_subscriber_beyond_its_output_buffer_is_cut_off_and_catches_up(gather, redis, link):
    redis.ask('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 1mb 1mb 1')
    a = gather(f'redis://127.0.0.1:{link.port}', timeout=20, history_size=5000)
    b = gather(redis.url, history_size=5000)
    guests = [a.join(numbered=1), b.join(numbered=1)]
    link.delay = 0.3  # too slow for what comes now
    text = 'x' * 20_000
    for i in range(600):
        b.rooms['lobby'].publish(json=[i, text])
    a.until(lambda: redis.ask('CLIENT', 'LIST', 'TYPE', 'pubsub').count(b'\n') < 2)
    redis.ask('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 0 0 0')  # once is enough
    link.delay = 0
    a.until(lambda: all(len(guest.heard) == 601 for guest in guests), 60)
    assert ('lost',) in a.events
    for guest in guests:
        assert guest.has_no_gap() and guest.recovered == [None]
        assert [i for i, _ in guest.data] == list(range(600))


def test_a_loss_longer_than_the_history_is_a_gap_that_is_told(gather, redis, link):
    a, b = gather(f'redis://127.0.0.1:{link.port}', history_size=5), gather(redis.url, history_size=5)
    ann, bob = a.join(numbered=1), b.join(numbered=1)
    b.rooms['lobby'].publish(json=0)
    a.until(lambda: all_have([ann, bob], [0]))
    link.drop = True
    a.until(lambda: a.events == [('lost',)])
    for i in range(1, 21):
        b.rooms['lobby'].publish(json=i)
    a.until(lambda: len(bob.data) == 21)
    link.drop = False
    a.until(lambda: ann.data == [0, 16, 17, 18, 19, 20])
    assert ann.recovered == [None, False]
    assert ann.has_no_gap()
    assert bob.recovered == [None]


def test_scripts_that_redis_forgot_are_loaded_again(gather, redis):
    a = gather(redis.url)
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    redis.ask('SCRIPT', 'FLUSH')
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: ann.data == [1, 2])
    assert ann.has_no_gap()


def test_messages_wait_while_the_server_is_a_replica(gather, redis):
    a = gather(redis.url)
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    redis.ask('REPLICAOF', '127.0.0.1', free_port())  # as in a failover: it refuses to write
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: a.events == [('lost',)] or a.errors)
    a.rooms['lobby'].publish(json=3)
    redis.ask('REPLICAOF', 'NO', 'ONE')
    a.until(lambda: ann.data == [1, 2, 3])
    assert not a.errors
    assert ann.has_no_gap()


def test_who_leaves_while_no_session_begins_is_gone_when_one_does(gather, redis):
    a, b = gather(redis.url, presence_ttl=60), gather(redis.url, presence_ttl=60)
    ann, _ = a.join(name='Ann'), b.join(name='Bob')
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    redis.ask('REPLICAOF', '127.0.0.1', free_port())  # it can be connected to, and refuses what is written first
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: a.events == [('lost',)])
    ann.ws.finish()
    a.until(lambda: not a.rooms['lobby'].local_members)
    tried = redis.ask('INFO', 'stats')['total_connections_received']
    a.until(lambda: redis.ask('INFO', 'stats')['total_connections_received'] > tried + 30)
    redis.ask('REPLICAOF', 'NO', 'ONE')
    a.until(lambda: a.events == [('lost',), ('back',)] and not b.rooms.is_lost)
    a.join(name='Cid')
    a.until(lambda: a.names() == b.names() == ['Bob', 'Cid'])


def test_who_leaves_while_another_process_is_away_is_gone_there_whoever_joins_next(gather, redis, link):
    a, b = gather(redis.url, presence_ttl=6), gather(f'redis://127.0.0.1:{link.port}', presence_ttl=6)
    ann = a.join(name='Ann')
    b.join(name='Bob')
    b.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    link.drop = True
    link.cut()
    b.until(lambda: b.rooms.is_lost)
    ann.ws.finish()
    a.until(lambda: a.names() == ['Bob'])
    link.drop = False
    b.until(lambda: not b.rooms.is_lost)
    a.join(name='Cat')  # before those of a process without an entry are taken for gone
    b.until(lambda: b.names() == ['Bob', 'Cat'])


@pytest.mark.parametrize('what', ['forgets the members', 'has a member that left'])
def test_an_entry_of_members_that_is_not_right_is_written_again(gather, redis, what):
    a, b = gather(redis.url), gather(redis.url)
    a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    key = f'pyjows:{{lobby}}:here:{a.rooms.process}'
    if what == 'forgets the members':
        redis.ask('DEL', key)
        a.join(name='Cid')
        a.until(lambda: redis.ask('HLEN', key))
    else:
        redis.ask('HSET', key, 'gone', '{"name":"Eve"}')
        a.join(name='Cid')
    everyone = ['Ann', 'Bob', 'Cid']
    a.until(lambda: redis.ask('HLEN', key) == 2 and b.names() == everyone)
    late = gather(redis.url)
    late.rooms['lobby'].follow()
    a.until(lambda: late.rooms['lobby'].is_ready and late.names() == everyone)


def test_memory_returns_after_many_losses(gather, redis):
    a = gather(redis.url)
    ann = a.join(numbered=1)
    for times in range(1, 6):
        redis.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
        a.until(lambda times=times: a.events.count(('back',)) == times)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data == [1])
    a.until(lambda: redis.ask('INFO', 'clients')['connected_clients'] <= 5)
    assert redis.ask('PUBSUB', 'NUMSUB', 'pyjows:{lobby}')[1] == 1


# Processes


WORKER = """
import sys
import pyjows

rooms = pyjows.rooms(sys.argv[1], presence_ttl=1.5, history_size=20000)
server = pyjows.serve('ws://127.0.0.1:0')

@server.on
def websocket(server, ws):
    lobby = rooms['lobby']
    lobby.join(ws, info={'name': ws.req.path[1:]}, since=ws.req.query_params.get('since'), numbered=True)

    @ws.on
    def json(ws, message):
        if message == 'members':
            ws.send(json={'members': sorted(info['name'] for info in lobby.members().values())})
        else:
            lobby.publish(json=message)

print('at', server.urls[0], flush=True)
pyjows.run()
"""


class Person:
    """Somebody who is connected to a worker."""

    def __init__(self, worker, name, since=''):
        self.ws = connect(f'{worker.find("ws://[0-9.:]+")}/{name}?since={since}').__enter__()
        self.position = json.loads(self.ws.recv(timeout=30))['position']
        self.offsets = []

    def say(self, message):
        self.ws.send(json.dumps(message))

    def hears(self):
        envelope = json.loads(self.ws.recv(timeout=30))
        assert 'data' in envelope, envelope
        self.position = envelope['position']
        self.offsets.append(int(self.position.partition(':')[2]))
        return envelope['data']

    def sees(self, *names):
        for _ in range(400):
            self.say('members')
            answer = json.loads(self.ws.recv(timeout=30))
            if answer.get('members') == list(names):
                return
            threading.Event().wait(0.02)
        raise AssertionError(f'{answer} is not {names}')


@pytest.fixture
def run_worker(tmp_path):
    script = tmp_path / 'worker.py'
    script.write_text(WORKER)
    return lambda redis: Program(script, redis.url)


def test_the_members_of_a_worker_killed_with_9_disappear_within_the_time_to_live(redis, run_worker):
    with run_worker(redis) as one, run_worker(redis) as two, run_worker(redis) as three:
        ann, bob, cid = Person(one, 'Ann'), Person(two, 'Bob'), Person(three, 'Cid')
        for person in (ann, bob, cid):
            person.sees('Ann', 'Bob', 'Cid')
        two.process.kill()
        for person in (ann, cid):
            person.sees('Ann', 'Cid')
        ann.say('still here')
        assert ann.hears() == cid.hears() == 'still here'
        again = Person(three, 'Bob', since=bob.position)
        assert again.hears() == 'still here'
        for person in (ann, cid, again):
            person.ws.close()


def test_a_worker_that_is_told_to_end_sends_what_waits_and_its_members_leave_at_once(redis, tmp_path):
    script = tmp_path / 'worker.py'
    end = """
        elif message == 'end':
            for i in range(1000):
                lobby.publish(json=i)
            os.kill(os.getpid(), signal.SIGTERM)
        else:"""
    script.write_text(
        'import os, signal' + WORKER.replace('presence_ttl=1.5', 'presence_ttl=600').replace('\n        else:', end)
    )
    with Program(script, redis.url) as one, Program(script, redis.url) as two:
        ann, bob = Person(one, 'Ann'), Person(two, 'Bob')
        ann.sees('Ann', 'Bob')
        bob.sees('Ann', 'Bob')
        ann.say('end')
        assert [bob.hears() for _ in range(1000)] == list(range(1000))
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(1001):
                ann.ws.recv(timeout=30)
        assert closed.value.rcvd.code == 1001
        bob.sees('Bob')
        again = Person(two, 'Ann', since=ann.position)
        assert [again.hears() for _ in range(1000)] == list(range(1000))
        assert one.end() == 0
        for person in (bob, again):
            person.ws.close()


def test_three_processes_four_publishers_and_one_order(redis, run_worker):
    with run_worker(redis) as one, run_worker(redis) as two, run_worker(redis) as three:
        people = [Person(worker, name) for worker, name in ((one, 'a'), (two, 'b'), (three, 'c'), (one, 'd'))]
        for person in people:
            person.sees('a', 'b', 'c', 'd')

        def pour(person, n):
            for i in range(200):
                person.say([n, i])

        threads = [threading.Thread(target=pour, args=(person, n)) for n, person in enumerate(people)]
        for thread in threads:
            thread.start()
        heard = [[person.hears() for _ in range(800)] for person in people]
        for thread in threads:
            thread.join()
        assert all(each == heard[0] for each in heard)
        assert all(person.offsets == list(range(1, 801)) for person in people)
        for n in range(4):
            assert [i for by, i in heard[0] if by == n] == list(range(200))
        for person in people:
            person.ws.close()
        assert [worker.stop() for worker in (one, two, three)] == [0, 0, 0]
        assert not redis.ask('KEYS', '*:here:*')


class Listener:
    """A numbered member of a worker that remembers only the order in which it heard."""

    def __init__(self, url, ioloop):
        self.heard = []
        self.offsets = []
        self.sees = 0
        self.ws = pyjows.connect(url, ioloop=ioloop)
        self.ws.on('json', self._hears)

    def _hears(self, ws, envelope):
        if 'data' in envelope:
            self.heard.append(tuple(envelope['data']))
            self.offsets.append(int(envelope['position'].partition(':')[2]))
        elif 'members' in envelope:
            self.sees = len(envelope['members'])


@pytest.mark.wide
@pytest.mark.parametrize('workers', [2, 3])
def test_5000_members_in_processes_hear_four_publishers_in_one_order(workers, redis, run_worker, run_until, file_limit):
    count = min(5000, (file_limit - 300) // 250 * 250)
    ioloop = pyjows.IOLoop()
    with ExitStack() as stack:
        urls = [stack.enter_context(run_worker(redis)).find('ws://[0-9.:]+') for _ in range(workers)]
        members = []
        for i in range(0, count, 250):
            some = [Listener(f'{urls[n % workers]}/{n}', ioloop) for n in range(i, i + 250)]
            run_until(ioloop, lambda some=some: all(each.ws.established for each in some), 60)
            members += some
        publishers = members[:4]
        for i in range(5):
            for n, publisher in enumerate(publishers):
                publisher.ws.send(json=[n, i])
        run_until(ioloop, lambda: all(len(each.heard) == 20 for each in members), 120)
        assert all(each.heard == members[0].heard for each in members)
        assert all(each.offsets == list(range(1, 21)) for each in members)
        for n in range(4):
            assert [i for by, i in members[0].heard if by == n] == list(range(5))
        for member in members[:workers]:  # one of each worker
            member.ws.send(json='members')
        run_until(ioloop, lambda: all(member.sees == count for member in members[:workers]))
        for each in members:
            each.ws.finish()
        run_until(ioloop, lambda: not ioloop.connections, 60)
    ioloop.close()


INSIDE_ASYNCIO = """
import asyncio, sys
import pyjows

async def main():
    rooms = pyjows.rooms(sys.argv[1], presence_ttl=60)
    server = pyjows.serve('ws://127.0.0.1:0')
    server.on('websocket', lambda server, ws: rooms['lobby'].join(ws, info={'name': 'Ann'}))
    joined = asyncio.Event()
    rooms['lobby'].on('join', lambda room, member: joined.set())
    ws = pyjows.connect(server.urls[0])
    heard = asyncio.Event()
    ws.on('text', lambda ws, text: heard.set())
    await joined.wait()
    rooms['lobby'].publish(text='hello')
    await heard.wait()
    rooms['lobby'].publish(text='the last one')

asyncio.run(main())
print('done')
"""


def test_inside_asyncio_run_the_end_is_clean_and_the_last_message_is_sent(redis, tmp_path):
    script = tmp_path / 'inside.py'
    script.write_text(INSIDE_ASYNCIO)
    with Program(script, redis.url) as program:
        assert program.end() == 0
        assert program.lines == ['done']
        assert not program.errors
    assert redis.ask('XLEN', 'pyjows:{lobby}:log') == 2
    assert not redis.ask('KEYS', '*:here:*')


def test_children_that_share_rooms_made_before_the_fork_are_processes_of_their_own(redis):
    rooms = pyjows.rooms(redis.url, ioloop=pyjows.IOLoop('poll'))
    words = {rooms.process}
    for i in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, rooms.process.encode())
                rooms['x'].publish(json=i)
                rooms.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        words.add(os.read(reader, 100).decode())
        os.close(reader)
        os.close(writer)
    assert len(words) == 3
    with rooms:
        assert [message.data for message in rooms['x'].history()] == [0, 1]
    rooms.ioloop.close()


def test_rooms_made_before_a_fork_are_used_in_the_child_alone():
    rooms = pyjows.rooms('redis://127.0.0.1:1', ioloop=pyjows.IOLoop('poll'))
    rooms['x'].publish(text='now it runs')
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            rooms['x'].publish(text='x')
        except RuntimeError as exc:
            os.write(writer, str(exc).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert b'forked' in os.read(reader, 1000)
    os.close(reader)
    rooms.close(0.5)


def test_what_waits_for_a_loop_that_stands_still_is_bounded_in_bytes(gather, redis):
    a, heard = gather(redis.url, timeout=30), []
    a.rooms['lobby'].on('message', lambda room, message: heard.append(message.data[:2]))
    a.rooms['lobby'].follow()
    a.until(lambda: a.rooms['lobby'].is_ready)
    with pyjows.rooms(redis.url, ioloop=pyjows.IOLoop('poll')) as worker:
        for i in range(24):  # below the 32 MB that Redis keeps for one subscriber, whatever the sockets hold
            assert worker['lobby'].publish(text=f'{i:02}' + 'x' * 1_000_000)
            assert i % 8 != 7 or worker.flush(30)
    worker.ioloop.close()
    sleep(0.5)  # nothing runs the loop of `a` meanwhile
    assert a.rooms.backlog < 20
    a.until(lambda: len(heard) == 24)
    assert heard == [f'{i:02}' for i in range(24)]
    assert a.events == []
