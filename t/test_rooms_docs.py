"""The programs of docs/rooms.md run, and do what the text says."""

import json
import re
import time

import pytest
from background import accepts, free_port, until
from brokers import RedisServer, needs_redis
from program import ROOT, Program
from websockets.sync.client import connect

TEXT = (ROOT / 'docs' / 'rooms.md').read_text('utf-8')
SNIPPETS = re.findall(r'^```python\n(.*?)^```', TEXT, re.M | re.S)
PROGRAMS = [snippet for snippet in SNIPPETS if 'import pyjows\n' in snippet]
(PREFORK,) = (program for program in PROGRAMS if 'pyjows.prefork(' in program)
(JOIN,) = (snippet for snippet in SNIPPETS if snippet not in PROGRAMS)
SERVERS = [snippet for snippet in PROGRAMS if "pyjows.serve('" in snippet]


@pytest.fixture
def redis(tmp_path):
    pytest.importorskip('redis')
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def run(tmp_path, program, port, redis_port=None):
    path = tmp_path / f'program{len(list(tmp_path.iterdir()))}.py'
    path.write_text(program.replace('3000', str(port)).replace("//127.0.0.1'", f"//127.0.0.1:{redis_port}'"), 'utf-8')
    return Program(path)


def test_one_process(tmp_path):
    port = free_port()
    with run(tmp_path, SERVERS[0], port) as program:
        until(lambda: accepts(port), 'the server')
        with connect(f'ws://127.0.0.1:{port}') as ann, connect(f'ws://127.0.0.1:{port}') as bob:
            bob.send('hello')
            assert ann.recv(timeout=30) == bob.recv(timeout=30) == 'hello'
        assert program.stop() == 0


def test_who_comes_back_misses_nothing(tmp_path):
    port = free_port()
    with run(tmp_path, SERVERS[1], port) as program:
        until(lambda: accepts(port), 'the server')
        with connect(f'ws://127.0.0.1:{port}') as bob:
            with connect(f'ws://127.0.0.1:{port}') as ann:
                position = json.loads(ann.recv(timeout=30))['position']
            bob.send('missed')
            assert json.loads(bob.recv(timeout=30))['recovered'] is None
            assert json.loads(bob.recv(timeout=30))['data'] == 'missed'
            with connect(f'ws://127.0.0.1:{port}/?since={position}') as ann:
                assert json.loads(ann.recv(timeout=30))['recovered'] is True
                assert json.loads(ann.recv(timeout=30))['data'] == 'missed'
        assert program.stop() == 0


@needs_redis
def test_two_processes_and_a_program_without_connections(tmp_path, redis):
    port = free_port()
    one = run(tmp_path, SERVERS[2], port, redis.port)
    two = run(tmp_path, SERVERS[2], port, redis.port)
    with one, two:
        until(lambda: accepts(port), 'a server')
        people = [connect(f'ws://127.0.0.1:{port}').__enter__() for _ in range(8)]
        for person in people:
            assert json.loads(person.recv(timeout=30))['recovered'] is None
        people[0].send('to all')
        for person in people:
            assert json.loads(person.recv(timeout=30))['data'] == 'to all'
            person.close()
        with run(tmp_path, next(each for each in PROGRAMS if 'with pyjows.rooms' in each), port, redis.port) as job:
            assert job.end() == 0
            assert job.lines == ['{}']
            assert not job.errors
        assert redis.ask('XLEN', 'pyjows:{news}:log') == 1
        assert one.stop() == two.stop() == 0


@needs_redis
def test_a_handler_of_join_tells_the_member_who_is_there(tmp_path, redis):
    port = free_port()
    with run(tmp_path, SERVERS[2].replace('pyjows.run()', f'{JOIN}\n\npyjows.run()'), port, redis.port) as program:
        until(lambda: accepts(port), 'the server')
        with connect(f'ws://127.0.0.1:{port}') as ann:
            assert json.loads(ann.recv(timeout=30))['recovered'] is None
            assert json.loads(ann.recv(timeout=30)) == {'here': [None]}
        assert program.stop() == 0


@needs_redis
def test_workers_of_prefork_share_the_rooms(tmp_path, redis):
    port = free_port()
    with run(tmp_path, PREFORK, port, redis.port) as program:
        until(lambda: accepts(port), 'the workers')
        people = [connect(f'ws://127.0.0.1:{port}').__enter__()]
        while len(redis.ask('KEYS', '*:here:*')) < 2:  # until both workers have members
            people.append(connect(f'ws://127.0.0.1:{port}').__enter__())
            assert len(people) < 100
            time.sleep(0.01)
        people[0].send('to all')
        for person in people:
            assert person.recv(timeout=30) == 'to all'
            person.close()
        assert program.stop() == 0
        assert not program.errors
    assert not redis.ask('KEYS', '*:here:*')
