"""Rooms in forked children, questions that nobody answers, and arguments that cannot be used."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from background import free_port
from brokers import needs_redis

import pyjows

pytestmark = needs_redis


def in_a_child(work: Any) -> str:
    """Run something in a forked child; what it returns, or the exception that it raises, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs, so that the test fails
        try:
            answer = str(work())
        except BaseException as exc:
            answer = repr(exc)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def test_connections_of_the_parent_leave_silently_in_a_forked_child(ioloop, run_until, servers, redis, caplog):
    rooms = pyjows.rooms(redis.url, ioloop=ioloop)
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    servers.append(server)
    server.on('websocket', lambda server, ws: rooms['lobby'].join(ws))
    client = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: client.established and rooms['lobby'].local_members)

    def child():
        caplog.clear()
        ioloop.reset()
        left = rooms['lobby'].local_members
        rooms.close(10)
        return (
            left,
            rooms.is_closed,
            [record.getMessage() for record in caplog.records if 'RuntimeError' in record.getMessage()],
        )

    assert in_a_child(child) == '([], True, [])'
    client.finish()
    run_until(ioloop, lambda: not rooms['lobby'].local_members and client.state.name == 'CLOSED')
    rooms.close()
    run_until(ioloop, lambda: rooms.is_closed)


def test_rooms_of_the_parent_are_refused_in_a_forked_child_each_time(redis):
    rooms = pyjows.rooms(redis.url, ioloop=pyjows.IOLoop('poll'))
    rooms['lobby'].publish(text='x')
    assert rooms.flush(10)

    def child():
        told = []
        for use in (rooms['lobby'].follow, rooms['lobby'].follow, lambda: rooms['new'].publish(text='x')):
            try:
                told.append(use())
            except RuntimeError as exc:
                told.append('before this process forked' in str(exc) and repr(rooms.engine) in str(exc))
        return told

    assert in_a_child(child) == '[True, True, True]'
    rooms.close(10)
    rooms.ioloop.close()


def test_threads_of_a_forked_child_publish_though_the_parent_had_calls_waiting():
    ioloop = pyjows.IOLoop('poll')
    rooms = pyjows.rooms(ioloop=ioloop)

    def publish(text: str) -> None:
        thread = threading.Thread(target=rooms['lobby'].publish, kwargs={'text': text})
        thread.start()
        thread.join()

    heard: list[str] = []
    rooms['lobby'].on('message', lambda room, message: heard.append(message.data))
    rooms['lobby'].follow()
    publish('of the parent')  # waits for the loop

    def child():
        ioloop.reset()
        publish('of the child')
        ioloop.timer(lambda ioloop: ioloop.stop(), 0.2)
        ioloop.start()
        return heard

    assert in_a_child(child) == "['of the child']"
    ioloop.timer(lambda ioloop: ioloop.stop(), 0.1)
    ioloop.start()
    assert heard == ['of the parent']
    ioloop.close()


def test_a_question_without_an_answer_names_what_was_asked():
    rooms = pyjows.rooms(f'redis://127.0.0.1:{free_port()}', ioloop=pyjows.IOLoop('poll'))
    with pytest.raises(TimeoutError, match=r"RedisEngine.*history\(\) of room 'lobby' within 0\.3 s"):
        rooms['lobby'].history(timeout=0.3)
    with pytest.raises(TimeoutError, match=r"RedisEngine.*members\(\) of room 'lobby' within 0\.3 s"):
        rooms['lobby'].members(timeout=0.3)
    rooms.close(5)
    rooms.ioloop.close()


def test_arguments_that_cannot_be_used_are_named(ioloop):
    rooms = pyjows.rooms(ioloop=ioloop)
    for n in ('3', 2.5):
        with pytest.raises(TypeError, match=f'history.* is the number of messages.*{n!r}'):
            rooms['lobby'].history(n)
    with pytest.raises(TypeError, match=r'follow\(\) takes a function.*, not 5'):
        rooms['lobby'].follow(5)
    with pytest.raises(TypeError, match="a room's name is a str, not list"):
        rooms[[]]
    rooms.close()
