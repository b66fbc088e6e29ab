"""Rooms over a real NATS: the same rooms on an engine that keeps nothing, and says so. On every reactor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from brokers import NatsServer, needs_nats
from gathering import Gathering

import pyjows

pytest.importorskip('nats')
pytestmark = needs_nats


@pytest.fixture
def nats(tmp_path: Any) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def gather(ioloop: Any, run_until: Any, assert_idle: Any, nats: NatsServer) -> Iterator[Any]:
    made: list[Gathering] = []
    threads = threading.active_count()

    def gather(**options: Any) -> Gathering:
        options = {'timeout': 5.0, 'delays': lambda: iter([0.05] * 1000), **options}
        made.append(Gathering(ioloop, run_until, nats.url, **options))
        return made[-1]

    yield gather
    for gathering in made:
        gathering.close()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)
    assert threading.active_count() == threads


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


@pytest.mark.parametrize('url', ['nats://', 'nats://127.0.0.1:4222,nats://'])
def test_a_malformed_url_is_refused(url):
    with pytest.raises(ValueError, match='NATS'):
        pyjows.rooms(url)
