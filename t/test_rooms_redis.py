"""Rooms over a real Redis: several processes' worth of rooms on one loop. On every reactor."""

from __future__ import annotations

import subprocess
import sys
import threading
from math import inf, nan
from typing import Any

import pytest
from background import free_port, until
from brokers import REDIS, RedisServer, needs_redis
from gathering import Gathering, join_and_leave

import pyjows

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

#: Of `gather`: soon enough for a test.
QUICK = {'timeout': 3.0, 'presence_ttl': 1.5}


def test_members_in_all_processes_hear_each_other_in_one_order(gather):
    a, b, c = gather(), gather(), gather()
    guests = [gathering.join(numbered=1) for gathering in (a, b, c, a, b)]
    for i in range(50):
        for gathering in (a, b, c):
            gathering.rooms['lobby'].publish(json=[i, gathering.rooms.process])
    a.until(lambda: all(len(guest.data) == 150 for guest in guests))
    assert all(guest.envelopes[1:] == guests[0].envelopes[1:] for guest in guests)
    assert guests[0].has_no_gap()
    for gathering in (a, b, c):
        assert [i for i, by in guests[0].data if by == gathering.rooms.process] == list(range(50))


def test_every_kind_of_message_arrives_as_it_was_sent(gather):
    a, b = gather(), gather()
    ann, bob = a.join(), b.join(numbered=1)
    for message in ({'text': 'ä "b"'}, {'json': [1, None]}, {'binary': bytes(range(256))}, {'text': ''}):
        a.rooms['lobby'].publish(**message)
    a.until(lambda: len(ann.heard) == 4 and len(bob.heard) == 5)
    assert ann.heard == ['ä "b"', '[1,null]', bytes(range(256)), '']
    assert [envelope.get('data') for envelope in bob.envelopes[1:]] == ['ä "b"', [1, None], None, '']


def test_history_is_shared_and_found_by_a_process_that_comes_later(gather):
    a = gather()
    for i in range(5):
        a.rooms['lobby'].publish(json=i)
    assert a.rooms.flush(10)
    assert [message.data for message in a.rooms['lobby'].history(2)] == [3, 4]
    a.join()
    a.until(lambda: len(a.rooms['lobby'].history()) == 5)
    b = gather()
    ann = b.join(history=3, numbered=1)
    a.rooms['lobby'].publish(json=5)
    a.until(lambda: len(ann.data) == 4)
    assert ann.data == [2, 3, 4, 5]
    assert ann.has_no_gap()
    assert [message.data for message in b.rooms['lobby'].history()] == [0, 1, 2, 3, 4, 5]
    assert abs(b.rooms['lobby'].history()[0].time - b.rooms['lobby'].history()[5].time) < 60


def test_who_comes_back_to_another_process_goes_on_without_gap_or_double(gather):
    a, b = gather(), gather()
    ann, bob = a.join(numbered=1), b.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data and bob.data)
    ann.ws.finish()
    for i in range(2, 8):
        b.rooms['lobby'].publish(json=i)
    again = b.join(numbered=1, since=ann.position)
    b.rooms['lobby'].publish(json=8)
    a.until(lambda: len(again.data) == 7)
    assert again.data == [2, 3, 4, 5, 6, 7, 8]
    assert again.recovered == [True]
    assert again.has_no_gap()


def test_a_position_ahead_of_the_copy_here_is_asked_for_and_a_made_up_one_is_not_recovered(gather):
    a = gather()
    ann = a.join(numbered=1)
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: ann.data)
    epoch = ann.position.partition(':')[0]
    bob = a.join(numbered=1, since=f'{epoch}:1000')
    a.until(lambda: bob.heard)
    assert bob.recovered == [False]


def test_a_trimmed_history_is_not_recovered(gather):
    a, b = gather(history_size=5), gather(history_size=5)
    ann = a.join(numbered=1)
    for i in range(10):
        a.rooms['lobby'].publish(json=i)
    a.until(lambda: len(ann.data) == 10)
    late, just = b.join(numbered=1, since=ann.positions[3]), b.join(numbered=1, since=ann.positions[4])
    a.until(lambda: late.heard and len(just.data) == 5)
    assert (late.recovered, just.recovered) == ([False], [True])
    assert just.data == [5, 6, 7, 8, 9]


def test_a_history_that_expired_is_not_recovered(gather, redis):
    a = gather(linger=0.05)
    ann = a.join(numbered=1)
    for i in range(3):
        a.rooms['lobby'].publish(json=i)
    a.until(lambda: len(ann.data) == 3)
    ann.ws.finish()
    a.until(lambda: 'lobby' not in a.rooms)
    redis.ask('DEL', 'pyjows:{lobby}:log')
    late, up_to_date = a.join(numbered=1, since=ann.positions[0]), a.join(numbered=1, since=ann.positions[2])
    a.until(lambda: late.heard and up_to_date.heard)
    assert (late.recovered, up_to_date.recovered) == ([False], [True])


def test_presence_is_known_in_every_process(gather):
    a, b = gather(), gather()
    seen: list[Any] = []
    b.rooms['lobby'].on('join', lambda room, member: seen.append(('join', member.info['name'], member.ws is None)))
    b.rooms['lobby'].on('leave', lambda room, member: seen.append(('leave', member.info['name'], member.ws is None)))
    ann = a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    a.join(name='Cid')
    a.until(lambda: b.names() == ['Ann', 'Bob', 'Cid'])
    ann.ws.finish()
    a.until(lambda: a.names() == b.names() == ['Bob', 'Cid'])
    assert sorted(seen) == [
        ('join', 'Ann', True),
        ('join', 'Bob', False),
        ('join', 'Cid', True),
        ('leave', 'Ann', True),
    ]
    assert set(b.rooms['lobby'].members()) == set(a.rooms['lobby'].members())


def test_who_was_elsewhere_before_is_told_when_the_copy_here_is_complete(gather):
    a, b = gather(), gather()
    a.join(name='Ann')
    lobby = b.rooms['lobby']
    seen = []
    lobby.on('join', lambda lobby, member: seen.append((member.info['name'], b.names())))
    b.join(name='Ben')
    assert seen == [('Ann', ['Ann']), ('Ben', ['Ann', 'Ben'])]
    assert not b.errors


def test_presence_outlives_its_time_to_live_while_the_process_does(gather):
    a, b = gather(presence_ttl=2), gather(presence_ttl=2)
    a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: b.names() == ['Ann', 'Bob'])
    gone: list[Any] = []
    b.rooms['lobby'].on('leave', lambda room, member: gone.append(member))
    rested: list[Any] = []
    a.ioloop.timer(lambda loop: rested.append(1), 3.0)
    a.until(lambda: rested)
    assert a.names() == b.names() == ['Ann', 'Bob']
    assert not gone


def test_a_member_elsewhere_that_redis_does_not_have_disappears(gather, redis):
    a, b = gather(), gather()
    a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    # The late join of a connection that is lost, whose trace FLUSHALL has removed.
    redis.ask('PUBLISH', 'pyjows:{lobby}', f'j{a.rooms.process} late {{"name":"Eve"}}')
    b.until(lambda: b.names() == ['Ann', 'Bob', 'Eve'])
    b.until(lambda: b.names() == ['Ann', 'Bob'])
    assert a.events == b.events == []


def test_rooms_that_are_closed_withdraw_their_members(gather):
    a, b = gather(presence_ttl=60), gather(presence_ttl=60)
    a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: b.names() == ['Ann', 'Bob'])
    a.rooms.close()
    a.until(lambda: b.names() == ['Bob'])


def test_an_info_that_changes_while_its_member_waits_keeps_nobody_from_joining(gather):
    a = gather()
    info: dict[str, Any] = {'name': 'Ann'}

    @a.server.on
    def websocket(server, ws):
        a.rooms['slow'].join(ws, info=info)
        info['self'] = object()

    ann = a.guest()
    a.until(lambda: a.rooms['slow'].local_members)
    a.rooms['slow'].publish(text='x')
    a.until(lambda: 'x' in ann.heard)
    assert not a.errors


def test_a_room_that_ceases_to_tell_of_its_members_withdraws_them_as_they_leave(gather):
    a, b = gather(), gather()
    ann = a.join(name='Ann')
    b.join(name='Bob')
    a.until(lambda: b.names() == ['Ann', 'Bob'])
    a.rooms.room('lobby', presence=False)
    ann.ws.finish()
    a.until(lambda: b.names() == ['Bob'])


def test_a_room_without_presence_writes_nothing_about_members(gather, redis):
    a = gather(presence=False)
    a.join(name='Ann')
    a.rooms['lobby'].publish(text='x')
    a.until(lambda: redis.ask('KEYS', '*:log'))
    assert not redis.ask('KEYS', '*:live')
    assert a.names() == ['Ann']


def test_a_room_that_nobody_is_in_is_unsubscribed_from_and_its_keys_expire(gather, redis):
    a = gather(linger=0.05, history_seconds=1)
    ann = a.join(room='passing', name='Ann')
    a.rooms['passing'].publish(text='x')
    a.until(lambda: ann.heard and redis.ask('PUBSUB', 'CHANNELS'))
    ann.ws.finish()
    a.until(lambda: not redis.ask('PUBSUB', 'CHANNELS') and len(a.rooms) == 0)
    a.until(lambda: not redis.ask('KEYS', '*:log'))
    for key in redis.ask('KEYS', '*'):
        assert redis.ask('TTL', key) > 0, key


@pytest.mark.parametrize('count', [3000, pytest.param(10_000, marks=pytest.mark.wide)])
def test_of_many_rooms_that_were_left_nothing_remains(gather, redis, count):
    a = gather(linger=0.05, max_rooms=count + 2, timeout=20.0, presence_ttl=600)  # nothing expires
    left = join_and_leave(a, count, lambda: len(redis.ask('PUBSUB', 'CHANNELS')))
    assert left[2] - left[1] < 2000
    assert len(redis.ask('KEYS', '*:live')) == len(redis.ask('KEYS', '*:here:*')) == 1


def test_a_program_without_a_loop_publishes_and_reads(gather, redis):
    a = gather()
    ann = a.join(name='Ann')
    found: list[Any] = []

    def job():
        with pyjows.rooms(redis.url, ioloop=pyjows.IOLoop('poll'), **QUICK) as rooms:
            for i in range(100):
                rooms['lobby'].publish(json=i)
            assert rooms.flush(10)
            found.append(([message.data for message in rooms['lobby'].history(2)], rooms['lobby'].members()))
        rooms.ioloop.close()
        assert rooms.is_closed

    thread = threading.Thread(target=job)
    thread.start()
    a.until(lambda: len(ann.heard) == 100 and found)
    thread.join()
    assert ann.heard == [str(i) for i in range(100)]
    ((history, members),) = found
    assert history == [98, 99]
    assert [info['name'] for info in members.values()] == ['Ann']


def test_the_loops_thread_does_not_wait_for_the_broker(gather):
    a = gather()
    failures: list[Any] = []

    def ask(loop):
        for question in (a.rooms['lobby'].history, a.rooms['lobby'].members):
            with pytest.raises(RuntimeError, match='follow'):
                failures.append(question())
        failures.append('asked')

    a.ioloop.next_tick(ask)
    a.until(lambda: failures == ['asked'])
    ready: list[Any] = []
    a.rooms['lobby'].follow(lambda room: ready.append((room.history(), room.members())))
    a.until(lambda: ready == [([], {})])


@pytest.mark.parametrize('reactor_name', ['asyncio'])
def test_a_coroutine_waits_until_all_is_sent(gather, redis):
    a = gather()
    done: list[Any] = []

    async def send():
        for i in range(10):
            a.rooms['lobby'].publish(json=i)
        await a.rooms.drained()
        done.append(redis.ask('XLEN', 'pyjows:{lobby}:log'))

    a.ioloop.next_tick(lambda loop: loop.reactor.spawn(send()))
    a.until(lambda: done)
    assert done == [10]


def test_four_publishers_at_once_and_each_member_sees_each_rooms_order(gather):
    a, b = gather(history_size=5000), gather(history_size=5000)
    rooms = ['one', 'two', 'three']
    guests = [gathering.join(room=','.join(rooms), numbered=1) for gathering in (a, b, a, b)]

    def pour(publisher, gathering):
        for i in range(250):
            for name in rooms:
                gathering.rooms[name].publish(json=[publisher, i])

    threads = [threading.Thread(target=pour, args=(n, (a, b)[n % 2])) for n in range(4)]
    for thread in threads:
        thread.start()
    a.until(lambda: all(len(guest.data) == 3000 for guest in guests), 60)
    for thread in threads:
        thread.join()
    for name in rooms:
        heard = [[e for e in guest.envelopes if e['room'] == name and 'data' in e] for guest in guests]
        assert all(each == heard[0] for each in heard)
        offsets = [int(e['position'].partition(':')[2]) for e in heard[0]]
        assert offsets == list(range(1, 1001))
        for publisher in range(4):
            assert [e['data'][1] for e in heard[0] if e['data'][0] == publisher] == list(range(250))


def test_joining_while_messages_pour_in_leaves_no_gap_and_no_double(gather):
    a, b = gather(history_size=20_000), gather(history_size=20_000)
    first = a.join(numbered=1)
    stop = threading.Event()

    def pour():
        i = 0
        while not stop.wait(0.0003):
            b.rooms['lobby'].publish(json=i)
            i += 1

    thread = threading.Thread(target=pour)
    thread.start()
    guests = []
    try:
        for i in range(10):
            a.until(lambda: len(first.data) > 3)
            guests.append((a, b)[i % 2].join(numbered=1, since=first.positions[-3]))
    finally:
        stop.set()
        thread.join()
    a.until(lambda: {guest.position for guest in guests} == {first.position})
    assert all(guest.has_no_gap() and guest.recovered == [True] for guest in guests)


def test_keys_of_a_room_are_in_one_slot_of_a_cluster(tmp_path, ioloop, run_until):
    server = RedisServer(tmp_path, cluster_enabled='yes', cluster_port=free_port())
    try:
        server.ask('CLUSTER', 'ADDSLOTSRANGE', 0, 16383)
        until(lambda: b'cluster_state:ok' in server.ask('CLUSTER', 'INFO'), 'the cluster')
        url = server.url.replace('redis://', 'redis+cluster://')
        a = Gathering(ioloop, run_until, url, **QUICK)
        b = Gathering(ioloop, run_until, url, **QUICK)
        guests = [a.join(room='x,y,z', name='Ann', numbered=1), b.join(room='x,y,z', name='Bob', numbered=1)]
        for i in range(20):
            for name in 'xyz':
                a.rooms[name].publish(json=i)
        a.until(lambda: all(len(guest.data) == 60 for guest in guests))
        a.until(lambda: a.names('y') == b.names('y') == ['Ann', 'Bob'])
        late = b.join(room='z', history=5)
        a.until(lambda: len(late.heard) == 5)
        a.close()
        b.close()
    finally:
        server.kill()


def test_a_cluster_that_was_killed_is_a_gap_that_is_told(tmp_path, ioloop, run_until):
    server = RedisServer(tmp_path, cluster_enabled='yes', cluster_port=free_port())
    try:
        server.ask('CLUSTER', 'ADDSLOTSRANGE', 0, 16383)
        until(lambda: b'cluster_state:ok' in server.ask('CLUSTER', 'INFO'), 'the cluster')
        a = Gathering(ioloop, run_until, server.url.replace('redis://', 'redis+cluster://'), **QUICK)
        ann = a.join(name='Ann', numbered=1)
        a.rooms['lobby'].publish(json=1)
        a.until(lambda: ann.data == [1])
        server.kill()
        a.until(lambda: a.events == [('lost',)])
        a.rooms['lobby'].publish(json=2)
        server.start()
        a.until(lambda: ann.data == [1, 2])
        assert ann.recovered == [None, False]
        assert ann.has_no_gap() and not a.errors
        a.until(lambda: a.names() == ['Ann'])
        a.close()
    finally:
        server.kill()


@pytest.fixture
def sentinel(tmp_path):
    """A master, a replica of it, and a sentinel that makes the replica the master within a second or two."""
    secret = {'requirepass': 'secret', 'masterauth': 'secret', 'repl_diskless_sync_delay': 0}
    master = RedisServer(tmp_path, **secret)
    replica = RedisServer(tmp_path, replicaof=f'127.0.0.1 {master.port}', **secret)
    port = free_port()
    conf = tmp_path / 'sentinel.conf'
    conf.write_text(f"""
port {port}
sentinel monitor main 127.0.0.1 {master.port} 1
sentinel auth-pass main secret
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 3000
""")
    watcher = subprocess.Popen([REDIS, conf, '--sentinel'], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        until(lambda: replica.ask('INFO', 'replication')['master_link_status'] == 'up', 'the replica')
        until(lambda: _known_replicas(port) == 1, 'the sentinel to find the replica')
        yield master, replica, f'redis+sentinel://:secret@127.0.0.1:{port}/main/0'
    finally:
        watcher.kill()
        watcher.wait()
        master.kill()
        replica.kill()


def _known_replicas(port):
    import redis

    try:
        with redis.Redis(port=port, socket_timeout=20) as client:
            return len(client.execute_command('SENTINEL', 'REPLICAS', 'main'))
    except redis.RedisError:
        return 0


def test_a_sentinel_names_the_master_and_then_the_replica_that_took_its_place(sentinel, ioloop, run_until):
    master, replica, url = sentinel
    a, b = Gathering(ioloop, run_until, url, **QUICK), Gathering(ioloop, run_until, url, **QUICK)
    guests = [a.join(name='Ann', numbered=1), b.join(name='Bob', numbered=1)]
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: all(guest.data == [1] for guest in guests))
    assert master.ask('EXISTS', 'pyjows:{lobby}:log') == 1
    master.kill()
    a.until(lambda: a.events == b.events == [('lost',)])
    a.rooms['lobby'].publish(json=2)
    a.until(lambda: all(guest.data[-1] == 2 for guest in guests), 60)
    assert all(guest.recovered == [None, False] and guest.has_no_gap() for guest in guests)
    assert replica.ask('EXISTS', 'pyjows:{lobby}:log') == 1
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    assert not a.errors
    assert 'secret' not in repr(a.rooms)
    a.close()
    b.close()


@pytest.fixture
def over_tls(tmp_path, authority):
    """A Redis that speaks TLS, on the port of `tls_port`; its certificate is signed by a CA of its own, in ca.pem."""
    certificate = authority.issue_cert('127.0.0.1')
    authority.cert_pem.write_to_path(tmp_path / 'ca.pem')
    certificate.private_key_pem.write_to_path(tmp_path / 'key.pem')
    certificate.cert_chain_pems[0].write_to_path(tmp_path / 'cert.pem')
    files = {f'tls_{name}_file': tmp_path / f'{file}.pem' for name, file in (('cert', 'cert'), ('key', 'key'))}
    options = {'tls_ca_cert_file': tmp_path / 'ca.pem', 'tls_auth_clients': 'no', **files}
    server = RedisServer(tmp_path, tls_port=free_port(), **options)
    yield server
    server.kill()


def test_over_tls_the_link_is_made_again_too(over_tls, tmp_path, ioloop, run_until):
    url = f'rediss://127.0.0.1:{over_tls.options["tls_port"]}/0?ssl_ca_certs={tmp_path}/ca.pem'
    a, b = Gathering(ioloop, run_until, url, **QUICK), Gathering(ioloop, run_until, url, **QUICK)
    guests = [a.join(name='Ann', numbered=1), b.join(name='Bob', numbered=1)]
    a.rooms['lobby'].publish(json=1)
    a.until(lambda: all(guest.data == [1] for guest in guests))
    over_tls.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
    b.rooms['lobby'].publish(binary=bytes(100_000))
    b.rooms['lobby'].publish(json=3)
    a.until(lambda: all(len(guest.heard) == 4 for guest in guests))
    assert all(guest.has_no_gap() for guest in guests)
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    a.close()
    b.close()


def test_over_tls_a_certificate_that_nobody_trusts_is_refused_and_told(over_tls, ioloop, run_until):
    a = Gathering(ioloop, run_until, f'rediss://127.0.0.1:{over_tls.options["tls_port"]}', **QUICK)
    told: list[BaseException] = []
    a.rooms.on('lost', lambda rooms, exc: told.append(exc))
    a.rooms['lobby'].publish(text='x')
    a.until(lambda: told)
    assert 'CERTIFICATE_VERIFY_FAILED' in str(told[0])
    assert not over_tls.ask('KEYS', '*')
    a.close()


def test_messages_that_redis_refuses_are_told_and_later_ones_go_on(gather, redis):
    a = gather()
    ann = a.join(numbered=1)
    redis.ask('CONFIG', 'SET', 'maxmemory', 1)
    try:
        a.rooms['lobby'].publish(text='x')
        a.until(lambda: a.errors)
    finally:
        redis.ask('CONFIG', 'SET', 'maxmemory', 0)
    a.rooms['lobby'].publish(text='y')
    a.until(lambda: ann.data)
    assert ann.data == ['y']
    assert ann.has_no_gap()
    assert 'maxmemory' in str(a.errors[-1])
    assert not a.events


@pytest.mark.parametrize(
    'options',
    [
        {'timeout': 0},
        {'timeout': inf},
        {'timeout': 1e300},
        {'presence_ttl': -1},
        {'presence_ttl': inf},
        {'presence_ttl': nan},
        {'max_queue': 0},
        {'max_queue_size': 0},
        {'prefix': 'a{b}'},
        {'prefix': ''},
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        pyjows.rooms('redis://127.0.0.1', **options)


@pytest.mark.parametrize('url', ['redis://127.0.0.1', 'nats://127.0.0.1'])
@pytest.mark.parametrize('prefix', [5, b'app', None])
def test_a_prefix_is_a_str(url, prefix):
    with pytest.raises(TypeError, match='prefix'):
        pyjows.rooms(url, prefix=prefix)


def test_a_password_is_not_shown():
    assert 'secret' not in repr(pyjows.rooms('redis://me:secret@127.0.0.1/1', ioloop=pyjows.IOLoop('poll')))


HISTORY = """
import sys, time
real = time.time
time.time = lambda: real() + float(sys.argv[2])  # the clock of a machine that is not set
import pyjows
found = []
ioloop = pyjows.IOLoop()
rooms = pyjows.rooms(sys.argv[1], ioloop=ioloop, history_seconds=2)
lobby = rooms['lobby']

def publish(i):
    lobby.publish(json=i)
    rooms.flush()

publish(1)
found.append([message.data for message in lobby.history()])
time.sleep(1.2)
publish(2)
time.sleep(1.2)
found.append([message.data for message in lobby.history()])

def followed(lobby):
    found.append([message.data for message in lobby.history()])
    lobby.once('message', lambda lobby, message: ioloop.stop())
    lobby.publish(json=3)

lobby.follow(followed)
ioloop.start()
found.append([message.data for message in lobby.history()])
rooms.close()
print(found)
"""


@pytest.mark.parametrize('seconds', [7200, -7200])
def test_how_old_a_message_is_goes_by_the_clock_of_redis(redis, seconds):
    redis.ask('FLUSHALL')
    done = subprocess.run(
        [sys.executable, '-c', HISTORY, redis.url, str(seconds)], capture_output=True, encoding='utf-8', timeout=60
    )
    assert done.stdout.strip() == '[[1], [2], [2], [2, 3]]', done.stderr


def test_reading_a_history_does_not_make_it_shorter(gather, redis):
    a = gather(history_seconds=30 * 86400)
    a.rooms['lobby'].publish(json=1)
    assert a.rooms.flush(10)
    assert [message.data for message in a.rooms['lobby'].history()] == [1]
    assert [message.data for message in gather(history_seconds=60).rooms['lobby'].history()] == [1]
    assert redis.ask('TTL', 'pyjows:{lobby}:meta') >= redis.ask('TTL', 'pyjows:{lobby}:log') > 29 * 86400


def test_options_that_change_while_a_room_is_followed_are_those_of_the_next_gap(gather, redis):
    a, b = gather(history_size=5, delays=lambda: iter([1.0] * 10)), gather(history_size=100)
    ann = a.join(numbered=1)
    a.rooms.room('lobby', history_size=100)
    b.rooms['lobby'].publish(json=0)
    a.until(lambda: ann.data == [0])
    redis.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
    a.until(lambda: a.events == [('lost',)])
    for i in range(1, 51):
        b.rooms['lobby'].publish(json=i)
    a.until(lambda: len(ann.data) == 51)
    assert ann.recovered == [None]
    assert ann.has_no_gap()


def test_presence_that_begins_and_ends_while_a_room_is_followed(gather):
    a, b = gather(presence=False), gather(presence=False)
    a.join(name='Ann')
    b.join(name='Bob')
    a.rooms.room('lobby', presence=True)
    b.rooms.room('lobby', presence=True)
    a.until(lambda: a.names() == b.names() == ['Ann', 'Bob'])
    left = []
    b.rooms['lobby'].on('leave', lambda room, member: left.append(member.info['name']))
    b.rooms.room('lobby', presence=False)
    b.until(lambda: left == ['Ann'])
    a.join(name='Cid')
    b.join(name='Dora')
    a.until(lambda: a.names() == ['Ann', 'Bob', 'Cid'])
    assert b.names() == ['Bob', 'Dora']
