"""A process that stood still for longer than `timeout` reads the answers that wait for it, and keeps its broker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from time import sleep

import pytest
from brokers import FaultyLink, RedisServer, needs_redis
from program import Program

import pyjows

pytest.importorskip('redis')
pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.wide(later=True)]

#: Of `gather`: a stand-still is longer than the first, and much shorter than the second.
QUICK = {'timeout': 0.5, 'presence_ttl': 30}


@pytest.fixture
def link(redis: RedisServer, no_leaks: None) -> Iterator[FaultyLink]:
    link = FaultyLink(redis.port)
    yield link
    link.close()


def stand_still(gathering, after):
    """Block the loop for longer than the timeout, some seconds from now."""
    stood: list[int] = []

    def stand(loop):
        sleep(0.8)
        stood.append(1)

    gathering.ioloop.timer(stand, after)
    gathering.until(lambda: stood)


def test_a_loop_that_is_blocked_while_redis_answers_a_publication_keeps_its_link(gather, link, coroutines):
    a = gather(f'redis://127.0.0.1:{link.port}')
    ann = a.join(numbered=1)
    link.delay = 0.05  # the answer comes while the loop is blocked
    for i in range(2):
        a.rooms['lobby'].publish(json=i)
        stand_still(a, 0.03)
        a.until(lambda i=i: i in ann.data)
    assert a.events == []


def test_a_loop_that_is_blocked_again_and_again_while_nothing_is_said_keeps_its_link(gather, link, coroutines):
    a = gather(f'redis://127.0.0.1:{link.port}')
    ann = a.join(numbered=1)
    link.delay = 0.15  # longer than the loop runs: a ping is on its way while it is blocked
    for _ in range(4):
        stand_still(a, 0.23)
    a.rooms['lobby'].publish(json='end')
    a.until(lambda: ann.data == ['end'])
    assert a.events == []


PROGRAM = """
import sys
import pyjows

rooms = pyjows.rooms(sys.argv[1], timeout=0.5, presence_ttl=30)
rooms.on('lost', lambda rooms, exc: print('lost', exc, flush=True))
ioloop = rooms.ioloop
ioloop.recurring(lambda loop: rooms['lobby'].publish(text='x'), 0.3)
rooms['lobby'].follow(lambda room: print('follows', flush=True))
room = rooms['lobby']
room.on('message', lambda room, message: print('hears', flush=True))
pyjows.run()
"""


def test_a_process_that_is_stopped_and_goes_on_keeps_its_link(redis, link, tmp_path):
    script = tmp_path / 'program.py'
    script.write_text(PROGRAM)
    with Program(script, f'redis://127.0.0.1:{link.port}') as program:
        program.find('follows')
        link.delay = 0.15  # an answer is always on its way
        for _ in range(6):
            program.process.send_signal(signal.SIGSTOP)
            sleep(0.8)
            program.process.send_signal(signal.SIGCONT)
            sleep(0.27)
        heard = program.lines.count('hears')
        for _ in range(200):
            if program.lines.count('hears') > heard + 2:
                break
            sleep(0.05)
        assert program.lines.count('hears') > heard + 2
        assert not [line for line in program.lines if line.startswith('lost')]


def test_a_loop_that_stands_still_while_more_waits_for_it_than_is_read_keeps_its_broker(gather, redis):
    a, heard = gather(), []
    a.rooms['lobby'].on('message', lambda room, message: heard.append(message.data[:2]))
    a.rooms['lobby'].follow()
    a.until(lambda: a.rooms['lobby'].is_ready)
    with pyjows.rooms(redis.url, ioloop=pyjows.IOLoop('poll')) as worker:
        for i in range(24):
            assert worker['lobby'].publish(text=f'{i:02}' + 'x' * 1_000_000)
            assert i % 8 != 7 or worker.flush(30)
    worker.ioloop.close()
    sleep(2.5)  # nothing runs the loop of `a` meanwhile
    a.until(lambda: len(heard) == 24)
    assert heard == [f'{i:02}' for i in range(24)]
    assert a.events == []
