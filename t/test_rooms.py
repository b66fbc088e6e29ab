"""Rooms in one process: who hears what, in which order, and what is kept. On every reactor, over real sockets."""

from __future__ import annotations

import gc
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from itertools import pairwise, repeat
from math import inf, nan
from typing import Any
from urllib.parse import urlencode

import pytest
from background import until
from gathering import Gathering, Guest, gatherings

import pyjows
from pyjows.deflate import Deflate
from pyjows.rooms import Message, PayloadTooLarge, RoomLimit
from pyjows.rooms.memory import MemoryEngine

pytestmark = pytest.mark.wide(later=True)


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any) -> Iterator[Any]:
    with gatherings(ioloop, run_until, assert_idle) as gather:
        yield gather


@pytest.fixture
def one(gather: Any) -> Gathering:
    gathering: Gathering = gather()
    return gathering


# Messages


def test_every_member_of_a_room_hears_what_is_published_and_nobody_else(one):
    ann, bob, eve = one.join(), one.join(), one.join(room='other')
    one.rooms['lobby'].publish(text='hello')
    one.rooms['lobby'].publish(binary=b'\0\1')
    one.rooms['lobby'].publish(json={'a': [1, None]})
    one.rooms['other'].publish(text='bye')
    one.until(lambda: len(ann.heard) == len(bob.heard) == 3 and eve.heard)
    assert ann.heard == bob.heard == ['hello', b'\0\1', '{"a":[1,null]}']
    assert eve.heard == ['bye']


def test_a_message_is_framed_and_compressed_once_for_all_members_of_a_kind(gather, monkeypatch):
    one = gather(compression=True)
    compressed: list[bytes] = []
    compress = Deflate.compress_shared

    def counted(extension: Any, payload: bytes) -> bytes | None:
        compressed.append(payload)
        return compress(extension, payload)

    monkeypatch.setattr(Deflate, 'compress_shared', counted)
    words = 'hello ' * 1000
    guests = [one.join() for _ in range(4)] + [one.join(numbered=1) for _ in range(3)]
    one.rooms['lobby'].publish(text=words)
    one.until(lambda: all(guest.heard and words in guest.heard[-1] for guest in guests))
    assert [payload.startswith(b'hello') for payload in compressed] == [True, False]


def test_a_numbered_member_gets_room_position_and_data(one):
    ann, bob = one.join(numbered=1), one.join()
    for message in ({'text': 'a "quoted" ä'}, {'json': {'b': 1}}, {'binary': b'\xff'}):
        one.rooms['lobby'].publish(**message)
    one.until(lambda: len(ann.heard) == 4 and len(bob.heard) == 3)
    notice, text, value, binary = ann.envelopes
    epoch = notice['position'].partition(':')[0]
    assert notice == {'room': 'lobby', 'position': f'{epoch}:0', 'recovered': None}
    assert text == {'room': 'lobby', 'position': f'{epoch}:1', 'data': 'a "quoted" ä'}
    assert value == {'room': 'lobby', 'position': f'{epoch}:2', 'data': {'b': 1}}
    assert binary == {'room': 'lobby', 'position': f'{epoch}:3', 'binary': '/w=='}
    assert bob.heard == ['a "quoted" ä', '{"b":1}', b'\xff']


def test_a_handler_publishes_and_everybody_hears_it_in_order(one):
    lobby = one.rooms['lobby']

    @lobby.on
    def message(lobby, message):
        if message.data < 3:
            lobby.publish(json=message.data + 1)

    seen: list[Any] = []
    lobby.on('message', lambda lobby, message: seen.append(message.data))
    ann = one.join()
    lobby.publish(json=1)
    one.until(lambda: len(ann.heard) == 3)
    assert ann.heard == ['1', '2', '3']
    assert seen == [1, 2, 3]


def test_other_threads_publish_and_the_order_of_each_is_kept(one):
    ann = one.join(numbered=1)

    def publish(name):
        for i in range(200):
            one.rooms['lobby'].publish(json=[name, i])

    threads = [threading.Thread(target=publish, args=(name,)) for name in 'abcd']
    for thread in threads:
        thread.start()
    one.until(lambda: len(ann.data) == 800)
    for thread in threads:
        thread.join()
    for name in 'abcd':
        assert [i for by, i in ann.data if by == name] == list(range(200))
    assert ann.has_no_gap()


def test_a_member_that_is_slow_misses_nothing(one):
    ann, bob = one.join(numbered=1), one.join(numbered=1)
    payload = 'x' * 100_000
    for i in range(60):  # beyond a high water mark of 1 MiB, before anybody could read
        one.rooms['lobby'].publish(json=[i, payload])
    one.until(lambda: len(ann.data) == len(bob.data) == 60)
    assert ann.has_no_gap()
    assert [i for i, _ in bob.data] == list(range(60))


def test_a_message_before_the_handshake_is_answered_waits_for_it(ioloop, one, run_until):
    ann = one.guest()
    one.server.on('websocket', lambda server, ws: one.rooms['lobby'].publish(text='early'))
    one.until(lambda: ann.heard)
    assert ann.heard == ['early']


def test_a_broadcast_reaches_the_members_here_and_is_kept_nowhere(one):
    ann = one.join()
    assert one.rooms['lobby'].broadcast(json={'type': 'note'}) == 1
    one.until(lambda: ann.heard)
    assert ann.heard == ['{"type":"note"}']
    assert one.rooms['lobby'].history() == []


# Members


def test_a_member_leaves_with_its_connection_or_when_it_is_told_to(one):
    lobby = one.rooms['lobby']
    seen: list[Any] = []
    lobby.on('join', lambda lobby, member: seen.append(('join', member.info['name'])))
    lobby.on('leave', lambda lobby, member: seen.append(('leave', member.info['name'])))
    ann, bob = one.join(name='Ann'), one.join(name='Bob')
    assert sorted(info['name'] for info in lobby.members().values()) == ['Ann', 'Bob']
    assert [member.info['name'] for member in lobby.local_members] == ['Ann', 'Bob']
    ann.ws.finish(1000)
    one.until(lambda: ('leave', 'Ann') in seen)
    assert one.names() == ['Bob']
    assert lobby.leave(one.members[1].ws) is True
    assert lobby.leave(one.members[1].ws) is False
    lobby.publish(text='nobody hears this')
    bob.ws.finish()
    one.until(lambda: bob.code is not None)
    assert seen == [('join', 'Ann'), ('join', 'Bob'), ('leave', 'Ann'), ('leave', 'Bob')]
    assert bob.heard == []
    assert lobby.members() == {}


def test_a_connection_is_in_several_rooms_and_leaves_them_all(one):
    ann = one.join(room='a,b,c')
    ws = one.members[0].ws
    assert [room.name for room in one.rooms.rooms_of(ws)] == ['a', 'b', 'c']
    one.rooms.leave(ws)
    assert one.rooms.rooms_of(ws) == []
    assert all(one.rooms[name].members() == {} for name in 'abc')
    assert ann.code is None


def test_who_joins_twice_is_the_member_it_was(one):
    one.join(name='Ann')
    member = one.members[0]
    assert one.rooms['lobby'].join(member.ws, info='other') is member
    assert len(one.rooms['lobby'].members()) == 1


def test_who_has_gone_cannot_join(one):
    ann = one.join()
    ws = one.members[0].ws
    ann.ws.finish()
    one.until(lambda: ws.is_finished)
    with pytest.raises(pyjows.ConnectionClosed):
        one.rooms['lobby'].join(ws)
    assert one.rooms.rooms_of(ws) == []


@pytest.mark.parametrize('wrong', [{'since': 5}, {'since': [b'x:1']}, {'history': '5'}])
def test_a_join_with_a_wrong_argument_leaves_nothing_behind(one, wrong):
    one.join(room='other')
    ws = one.members[0].ws
    with pytest.raises(TypeError, match=next(iter(wrong))):
        one.rooms['lobby'].join(ws, **wrong)
    assert [room.name for room in one.rooms.rooms_of(ws)] == ['other']
    assert one.rooms['lobby'].join(ws).joined


def test_a_connection_whose_close_was_sent_cannot_join(one):
    one.join(room='lobby')
    ws = one.members[0].ws
    assert one.rooms['lobby'].leave(ws)
    ws.finish(1001)
    with pytest.raises(pyjows.ConnectionClosed):
        one.rooms['lobby'].join(ws)
    one.rooms.close()  # as a server that stops ends them: what comes on such a connection then is not a misuse
    with pytest.raises(pyjows.ConnectionClosed):
        one.rooms['lobby'].join(ws)
    assert not one.errors


def test_nobody_joins_rooms_that_are_closed(one):
    one.join()
    one.rooms.close()
    with pytest.raises(RuntimeError, match='closed'):
        one.rooms['lobby'].join(one.members[0].ws)
    assert one.rooms.rooms_of(one.members[0].ws) == []


def test_a_connection_of_a_loop_in_another_thread_is_refused_each_time_and_leaves_nothing_behind(one):
    loop = pyjows.IOLoop('poll')
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)
    theirs: list[Any] = []
    server.on('websocket', lambda server, ws: theirs.append(ws))
    thread = threading.Thread(target=loop.start)
    thread.start()
    guest = Guest(server.urls[0], one.ioloop)
    one.until(lambda: guest.ws.established)
    try:
        for _ in range(2):
            with pytest.raises(RuntimeError, match='thread'):
                one.rooms['lobby'].join(theirs[0])
        assert one.rooms.rooms_of(theirs[0]) == []
        assert one.rooms['lobby'].local_members == []
    finally:
        guest.ws.finish()
        one.until(lambda: guest.code is not None)
        loop.call_threadsafe(lambda loop: loop.stop_gracefully(5))
        thread.join(20)
        loop.close()
    assert not thread.is_alive()


def test_a_handler_of_join_welcomes_before_anything_else_is_heard(one):
    lobby = one.rooms['lobby']
    lobby.on('join', lambda lobby, member: member.ws.send(json={'here': len(lobby.members())}))
    ann, bob = one.join(), one.join()
    lobby.publish(text='x')
    one.until(lambda: len(ann.heard) == len(bob.heard) == 2)
    assert (ann.heard, bob.heard) == (['{"here":1}', 'x'], ['{"here":2}', 'x'])


def test_a_handler_that_raises_ends_in_error_and_keeps_nobody_from_hearing(one):
    lobby = one.rooms['lobby']
    failures: list[Any] = []
    lobby.on('error', lambda lobby, exc: failures.append(exc))
    lobby.on('message', lambda lobby, message: 1 / 0)
    ann = one.join()
    lobby.publish(text='a')
    lobby.publish(text='b')
    one.until(lambda: len(ann.heard) == 2)
    assert [type(exc) for exc in failures] == [ZeroDivisionError] * 2


# History and positions


def test_a_new_member_gets_the_last_messages(one):
    one.join()
    for i in range(5):
        one.rooms['lobby'].publish(json=i)
    bob, cid, dan = one.join(history=2), one.join(numbered=1, history=3), one.join(history=99)
    one.rooms['lobby'].publish(json=5)
    one.until(lambda: len(dan.heard) == 6 and len(cid.data) == 4 and len(bob.heard) == 3)
    assert bob.heard == ['3', '4', '5']
    assert cid.data == [2, 3, 4, 5]
    assert cid.has_no_gap()
    assert dan.heard == ['0', '1', '2', '3', '4', '5']
    assert [message.data for message in one.rooms['lobby'].history()] == [0, 1, 2, 3, 4, 5]
    assert [message.data for message in one.rooms['lobby'].history(2)] == [4, 5]
    assert one.rooms['lobby'].history(0) == []


def test_who_comes_back_gets_what_it_missed_and_goes_on_without_gap_or_double(one):
    lobby = one.rooms['lobby']
    ann = one.join(numbered=1)
    lobby.publish(json=1)
    one.until(lambda: ann.data == [1])
    ann.ws.finish()
    one.until(lambda: not one.server.connections)
    for i in range(2, 5):
        lobby.publish(json=i)
    again = one.join(numbered=1, since=ann.position)
    lobby.publish(json=5)
    one.until(lambda: len(again.data) == 4)
    assert again.data == [2, 3, 4, 5]
    assert again.recovered == [True]
    assert again.has_no_gap()
    assert one.members[-1].recovered is True


def test_who_missed_nothing_is_told_so(one):
    ann = one.join(numbered=1)
    one.rooms['lobby'].publish(json=1)
    one.until(lambda: ann.data)
    again = one.join(numbered=1, since=ann.position)
    one.until(lambda: again.heard)
    assert again.envelopes == [{'room': 'lobby', 'position': ann.position, 'recovered': True}]


def test_a_history_that_was_trimmed_is_not_recovered(gather):
    one = gather(history_size=3)
    ann = one.join(numbered=1)
    for i in range(6):
        one.rooms['lobby'].publish(json=i)
    one.until(lambda: len(ann.data) == 6)
    late = one.join(numbered=1, since=ann.positions[1], history=2)
    just = one.join(numbered=1, since=ann.positions[2])
    one.until(lambda: late.data and len(just.data) == 3)
    assert (late.recovered, late.data) == ([False], [4, 5])
    assert late.has_no_gap()
    assert (just.recovered, just.data) == ([True], [3, 4, 5])


@pytest.mark.parametrize('since', ['0123456789ab:1', 'nonsense', '1', 'x:y', 'ffff:99999999999999999999'])
def test_a_position_of_another_epoch_or_none_at_all_is_not_recovered(one, since):
    ann = one.join(numbered=1, since=since)
    one.until(lambda: ann.heard)
    assert ann.recovered == [False]


def test_a_position_that_is_ahead_is_not_recovered(one):
    ann = one.join(numbered=1)
    one.until(lambda: ann.heard)
    bob = one.join(numbered=1, since=ann.position.replace(':0', ':5'))
    one.until(lambda: bob.heard)
    assert bob.recovered == [False]


def test_one_since_has_the_positions_of_several_rooms(one):
    ann = one.join(room='a,b', numbered=1)
    one.rooms['a'].publish(json='a1')
    one.rooms['b'].publish(json='b1')
    one.until(lambda: len(ann.data) == 2)
    at = {envelope['room']: envelope['position'] for envelope in ann.envelopes}
    one.rooms['b'].publish(json='b2')
    bob = one.join(room='a,b,c', numbered=1, since=','.join(f'{room}@{position}' for room, position in at.items()))
    one.until(lambda: len(bob.heard) == 4)
    assert bob.data == ['b2']
    assert bob.recovered == [True, True, None]


def test_messages_older_than_history_seconds_are_not_kept(gather):
    one = gather(history_seconds=0.2)
    ann = one.join(numbered=1)
    one.rooms['lobby'].publish(json=1)
    one.until(lambda: ann.data == [1])
    one.until(lambda: not one.rooms['lobby'].history())
    late = one.join(numbered=1, since=ann.envelopes[0]['position'], history=5)
    one.until(lambda: late.heard)
    assert (late.recovered, late.data) == ([False], [])


def test_joining_while_messages_pour_in_leaves_no_gap_and_no_double(gather):
    one = gather(history_size=5000)
    lobby = one.rooms['lobby']
    stop = threading.Event()

    def pour():
        for i in range(3000):
            lobby.publish(json=i)
            if stop.wait(0.0002):
                break

    first = one.join(numbered=1)
    thread = threading.Thread(target=pour)
    thread.start()
    guests: list[Guest] = []
    for _ in range(20):
        one.until(lambda: len(first.data) > 3)
        guests.append(one.join(numbered=1, since=first.positions[-3]))
    stop.set()
    thread.join()
    one.until(lambda: all(guest.position == first.position for guest in guests))
    for guest in [first, *guests]:
        assert guest.has_no_gap()
    assert all(guest.recovered == [True] for guest in guests)
    offsets = [int(position.partition(':')[2]) for position in first.positions]
    assert all(b == a + 1 for a, b in pairwise(offsets))


# Clients that come back


def test_a_reconnecting_client_resumes_where_it_was(one):
    heard: list[Any] = []
    url = f'{one.server.urls[0]}/?{urlencode({"room": "a,b", "numbered": 1})}'
    client = pyjows.reconnect(url, ioloop=one.ioloop, delays=lambda: repeat(0.01), resume=True)
    client.on('websocket', lambda client, ws: ws.on('json', lambda ws, message: heard.append(message)))
    one.until(lambda: len(heard) == 2)
    one.rooms['a'].publish(json=1)
    one.rooms['b'].publish(text='x')
    one.until(lambda: len(heard) == 4)
    assert client.positions == {message['room']: message['position'] for message in heard}
    one.members[0].ws.finish(1012)
    one.until(lambda: not one.server.connections)
    one.rooms['a'].publish(json=2)
    one.rooms['b'].publish(text='y')
    one.rooms['b'].publish(binary=b'\x00\xff')
    one.until(lambda: len(heard) == 9)
    assert sorted(str(message['data']) for message in heard if 'data' in message) == ['1', '2', 'x', 'y']
    assert [b64decode(message['binary']) for message in heard if 'binary' in message] == [b'\x00\xff']
    assert [message['recovered'] for message in heard if 'recovered' in message] == [None, None, True, True]
    client.finish()
    one.until(lambda: client.is_finished)


@pytest.mark.parametrize(
    'message',
    [
        'text',
        '{"room":',
        '{"room":5,"position":"a:1"}',
        '{"room":"lobby","position":"a:1&x=y"}',
        '{"room":"lobby&x=y","position":"a:1"}',
        '{"room":"lobby","data":1}',
    ],
)
def test_what_is_no_envelope_is_not_remembered(one, message):
    one.server.on('websocket', lambda server, ws: ws.send(text=message))
    client = pyjows.reconnect(one.server.urls[0], ioloop=one.ioloop, resume=True)
    heard: list[Any] = []
    client.on('websocket', lambda client, ws: ws.on('text', lambda ws, text: heard.append(text)))
    one.until(lambda: heard == [message])
    assert client.positions == {}
    client.finish()
    one.until(lambda: client.is_finished)


@pytest.mark.parametrize('long', [1, 100])
def test_a_client_of_many_rooms_recovers_all_or_is_told_which_it_did_not(one, long):
    rooms = [f'{number}/{"x" * long}' for number in range(150)]

    def come_in(server, ws):
        for room in rooms:
            one.rooms[room].join(ws, since=ws.req.query_params.get('since'), numbered=True)

    one.server.on('websocket', come_in)
    heard: list[Any] = []
    client = pyjows.reconnect(one.server.urls[0], ioloop=one.ioloop, delays=lambda: repeat(0.01), resume=True)
    client.on('websocket', lambda client, ws: ws.on('json', lambda ws, message: heard.append(message)))
    one.until(lambda: len(heard) == 150)
    for room in rooms:
        one.rooms[room].publish(json=1)
    one.until(lambda: len(heard) == 300)
    heard.clear()
    one.members[0].ws.finish(1012)
    one.until(lambda: len(heard) == 150)
    told = {message['room']: message['recovered'] for message in heard}
    assert None not in told.values()
    if long == 1:
        assert all(told.values())
    else:
        assert 30 < list(told.values()).count(True) < 150
        assert told[rooms[-1]], 'the most recent ones are sent'
    client.finish()
    one.until(lambda: client.is_finished)


def test_a_position_that_was_received_counts_before_one_in_the_url(one):
    ann = one.join(room='a,b', numbered=1)
    for room in 'abab':
        one.rooms[room].publish(json=room)
    one.until(lambda: len(ann.data) == 4)
    since = f'a@{ann.positions[0]},b@{ann.positions[1]}'
    heard: list[Any] = []
    url = f'{one.server.urls[0]}/?{urlencode({"room": "a,b", "numbered": 1, "since": since})}'
    client = pyjows.reconnect(url, ioloop=one.ioloop, delays=lambda: repeat(0.01), resume=True)
    client.on('websocket', lambda client, ws: ws.on('json', lambda ws, message: heard.append(message)))
    one.until(lambda: len(heard) == 4)
    assert [message['data'] for message in heard if 'data' in message] == ['a', 'b']
    one.members[-1].ws.finish(1012)
    one.until(lambda: len(heard) >= 6)
    one.rooms['b'].publish(json='last')
    one.until(lambda: heard[-1].get('data') == 'last')
    assert [message.get('recovered', message.get('data')) for message in heard[4:]] == [True, True, 'last']
    client.finish()
    one.until(lambda: client.is_finished)


# Rooms


@pytest.mark.parametrize('name', ['', 'a b', 'ä', 'x' * 129, 'a{b}', 'a*', 'a@b', 'a,b', '\n'])
def test_a_bad_name_is_refused(one, name):
    with pytest.raises(ValueError, match='1 to 128'):
        one.rooms[name]


@pytest.mark.parametrize('name', ['a', 'news:sport/2026_10.x-y', 'x' * 128])
def test_a_good_name_is_taken(one, name):
    assert one.rooms[name].name == name
    assert one.rooms.room(name) is one.rooms[name]
    assert name in one.rooms


def test_a_name_is_a_str(one):
    with pytest.raises(TypeError, match='str, not int'):
        one.rooms[5]


def test_a_room_has_options_of_its_own(one):
    room = one.rooms.room('small', history_size=2, history_seconds=5, presence=False)
    assert (room.history_size, room.history_seconds, room.presence) == (2, 5, False)
    for i in range(4):
        room.publish(json=i)
    assert [message.data for message in room.history()] == [2, 3]
    assert one.rooms['other'].history_size == 100
    with pytest.raises(TypeError, match='colour'):
        one.rooms.room('x', colour='red')
    with pytest.raises(TypeError, match='history_size'):
        one.rooms.room('x', history_sise=5)
    for wrong in ({'history_size': -1}, {'history_size': 2.5}, {'history_size': True}, {'history_seconds': 0}):
        with pytest.raises((ValueError, TypeError), match='history_'):
            one.rooms.room('x', **wrong)


def test_limits_are_named_where_they_are_hit(gather):
    one = gather(max_rooms=2, max_members=2, max_payload=100)
    one.join(room='a,b')
    ws = one.members[0].ws
    with pytest.raises(RoomLimit, match='max_rooms=2'):
        one.rooms['c'].join(ws)
    one.join(room='a')
    one.join(room='c')
    with pytest.raises(RoomLimit, match='max_members=2'):
        one.rooms['a'].join(one.members[-1].ws)
    with pytest.raises(PayloadTooLarge, match='101 bytes'):
        one.rooms['a'].publish(binary=b'x' * 101)
    with pytest.raises(ValueError, match='4096'):
        one.rooms['b'].join(one.members[-1].ws, info='x' * 5000)
    assert one.rooms['a'].publish(binary=b'x' * 100)
    assert [len(one.rooms[name].members()) for name in 'abc'] == [2, 1, 1]


@pytest.mark.parametrize(
    'options',
    [
        {'max_payload': 0},
        {'max_payload': 1 << 30},
        {'max_rooms': 0},
        {'max_members': 0},
        {'linger': -1},
        {'linger': inf},
        {'history_size': -1},
        {'history_size': 100_001},
        {'history_seconds': 0},
        {'history_seconds': inf},
        {'history_seconds': nan},
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        pyjows.rooms(**options)


@pytest.mark.parametrize(
    ('message', 'error'),
    [
        ({}, TypeError),
        ({'text': 'a', 'json': 1}, TypeError),
        ({'text': 5}, TypeError),
        ({'binary': 'x'}, TypeError),
        ({'json': object()}, TypeError),
        ({'text': '\ud800'}, ValueError),
    ],
)
def test_what_cannot_be_published_raises_and_counts_for_nothing(one, message, error):
    with pytest.raises(error):
        one.rooms['lobby'].publish(**message)
    assert one.rooms['lobby'].history() == []


def test_joining_belongs_to_the_thread_of_the_loop(one):
    one.join()
    failures: list[Any] = []

    def elsewhere():
        for call in (one.rooms['lobby'].join, one.rooms['lobby'].leave, one.rooms.leave):
            try:
                call(one.members[0].ws)
            except RuntimeError as exc:
                failures.append(str(exc))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(failures) == 3
    assert all('call_threadsafe' in text for text in failures)


def test_a_room_that_nobody_needs_any_more_is_forgotten(gather):
    one = gather(linger=0.05, history_seconds=0.1)
    kept = one.rooms['kept']
    kept.on('message', lambda kept, message: None)
    for i in range(50):
        one.rooms[f'room{i}'].publish(text='x')
    assert len(one.rooms) == 51  # the loop has not turned since
    ann = one.join(room='busy')
    one.until(lambda: len(one.rooms) == 2)
    assert {room.name for room in one.rooms} == {'busy', 'kept'}
    ann.ws.finish()
    one.until(lambda: len(one.rooms) == 1)


def test_a_room_that_somebody_refers_to_stays_the_same(gather):
    one = gather(linger=0.05, history_seconds=0.1)
    room = one.rooms['lobby']
    one.until(lambda: 'lobby' not in one.rooms)
    assert one.rooms['lobby'] is room
    ann = one.join()
    room.publish(text='still here')
    one.until(lambda: ann.heard)


def test_members_and_rooms_leave_nothing_behind(gather):
    one = gather(linger=0.05, history_seconds=0.1)
    for _ in range(3):
        guests = [one.guest(room=f'room{i}', numbered=1) for i in range(20)]
        one.until(lambda guests=guests: all(guest.heard for guest in guests))
        while guests:
            guests.pop().ws.finish()
        one.until(lambda: len(one.rooms) == 0)
    one.members.clear()
    gc.collect()
    kept = [thing for thing in gc.get_objects() if isinstance(thing, (pyjows.Room, Message))]
    assert not [thing for thing in kept if getattr(thing, 'rooms', one.rooms) is one.rooms and 'room' in repr(thing)]


def test_a_room_is_followed_by_who_has_no_members(one):
    seen: list[Any] = []
    one.rooms['log'].on('message', lambda room, message: seen.append(message.data))
    one.rooms['log'].follow(lambda room: seen.append(room.is_ready))
    one.until(lambda: seen == [True])
    one.rooms['log'].publish(json=1)
    one.until(lambda: seen == [True, 1])
    one.rooms['log'].unfollow()


def test_a_program_without_a_loop_may_use_rooms():
    with pyjows.rooms(ioloop=pyjows.IOLoop('poll')) as rooms:
        rooms['lobby'].publish(json=[1])
        assert [message.data for message in rooms['lobby'].history()] == [[1]]
        assert json.dumps(rooms['lobby'].members()) == '{}'
    assert rooms.is_closed
    rooms.ioloop.close()


def test_the_end_of_a_with_block_raises_where_messages_could_not_be_sent():
    class Away(MemoryEngine):
        def flush(self, timeout: float) -> bool:
            return False

    rooms = pyjows.rooms(Away(), ioloop=pyjows.IOLoop('poll'))
    with pytest.raises(TimeoutError, match='sent'), rooms:
        rooms['lobby'].publish(text='x')
    assert rooms.is_closed
    rooms.ioloop.close()


def test_an_unknown_engine_is_named():
    for url in ('amqp://localhost', 'lobby', 'memory://elsewhere'):
        with pytest.raises(ValueError, match='engine'):
            pyjows.rooms(url)
    with pytest.raises(TypeError):
        pyjows.rooms(5)
    with pytest.raises(TypeError):
        pyjows.rooms('memory://', colour='red')


def test_another_package_brings_an_engine_by_its_entry_point(tmp_path, monkeypatch, ioloop):
    (tmp_path / 'their_rooms.py').write_text(
        'from pyjows.rooms.memory import MemoryEngine\n\n\n'
        'class TheirEngine(MemoryEngine):\n'
        '    def __init__(self, url, colour):\n'
        '        super().__init__()\n'
        '        self.url, self.colour = url, colour\n'
    )
    (tmp_path / 'their_rooms-1.dist-info').mkdir()
    (tmp_path / 'their_rooms-1.dist-info' / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: their-rooms\nVersion: 1\n'
    )
    (tmp_path / 'their_rooms-1.dist-info' / 'entry_points.txt').write_text(
        '[pyjows.rooms]\ntheirs = their_rooms:TheirEngine\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    rooms = pyjows.rooms('theirs://somewhere', ioloop=ioloop, colour='red')
    assert (rooms.engine.url, rooms.engine.colour) == ('theirs://somewhere', 'red')
    assert pyjows.rooms(MemoryEngine(), ioloop=ioloop)['lobby'].publish(text='x')


def test_a_stopped_loop_ends_the_rooms_on_it(reactor_name):
    loop = pyjows.IOLoop(reactor_name)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)
    rooms = pyjows.rooms(ioloop=loop)
    server.on('websocket', lambda server, ws: rooms['lobby'].join(ws))
    guest = Guest(server.urls[0], loop)
    thread = threading.Thread(target=loop.start)
    thread.start()
    # The server has a member before the 101 has reached the client.
    until(lambda: guest.ws.established and rooms['lobby'].local_members, 'the guest')
    loop.call_threadsafe(lambda loop: loop.stop_gracefully(5))
    thread.join(20)
    assert not thread.is_alive()
    assert rooms.is_closed
    assert guest.code == 1001
    loop.close()


@pytest.mark.parametrize(
    'options',
    [
        {'history_seconds': '5'},
        {'history_size': True},
        {'history_size': 2.5},
        {'presence': 'no'},
        {'max_rooms': '5'},
        {'max_rooms': True},
        {'max_members': None},
        {'max_payload': 1.5},
        {'linger': 'x'},
    ],
    ids=str,
)
def test_an_option_of_a_wrong_type_is_named(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        pyjows.rooms(**options)


@pytest.mark.parametrize(
    'options',
    [{'timeout': 'x'}, {'presence_ttl': None}, {'presence_ttl': True}, {'max_queue': 1.5}, {'delays': 5}],
    ids=str,
)
def test_an_option_of_a_broker_of_a_wrong_type_is_named(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        pyjows.rooms('nats://127.0.0.1', **options)
