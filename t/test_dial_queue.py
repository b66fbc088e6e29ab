"""`DialQueue` on every reactor; and the dialer that asks before it dials."""

from __future__ import annotations

from typing import Any

import pytest

from pyjows.ioloop.dial_queue import DialQueue

pytestmark = pytest.mark.wide(later=True)


@pytest.fixture
def dial_queue(reactor: Any) -> DialQueue:
    return DialQueue(reactor)


@pytest.fixture
def wait(dial_queue: DialQueue, reactor: Any, run_until: Any) -> Any:
    """``wait(name, queue=limit)`` asks for a slot; ``wait.settle()`` gives the names of those that were granted."""

    def wait(name: str, **limits: int) -> Any:
        return dial_queue.acquire(limits, lambda: acquired.append(name))

    def settle() -> list[str]:
        over: list[bool] = []
        reactor.timer(lambda reactor: over.append(True), 0.01)
        run_until(reactor, lambda: over)
        return acquired

    acquired: list[str] = []
    wait.settle = settle  # type: ignore[attr-defined]
    return wait


def test_a_slot_is_granted_from_the_loop_and_the_next_when_it_is_released(wait, dial_queue):
    first, second, third = wait('1', a=1), wait('2', a=1), wait('3', a=1)
    assert first.is_acquired
    assert not second.is_acquired
    assert wait.settle() == ['1']
    first.release()
    first.release()
    assert wait.settle() == ['1', '2']
    second.release()
    third.release()
    assert wait.settle() == ['1', '2'], 'the third was released before its callback'
    assert len(dial_queue) == 0


def test_other_queues_need_not_wait(wait):
    wait('1', a=1)
    wait('2', b=1)
    wait('3')
    assert sorted(wait.settle()) == ['1', '2', '3']


def test_slots_in_several_queues_are_granted_when_first_in_all(wait):
    first, second = wait('1', a=1), wait('2', b=1)
    wait('3', a=1, b=1)
    fourth = wait('4', a=1)
    assert wait.settle() == ['1', '2']
    second.release()
    assert wait.settle() == ['1', '2']
    first.release()
    assert wait.settle() == ['1', '2', '3']
    assert not fourth.is_acquired, 'it joined later'


def test_a_queue_may_grant_several_slots_at_a_time(wait):
    first, *_ = [wait(str(n), a=3) for n in range(5)]
    assert wait.settle() == ['0', '1', '2']
    first.release()
    assert wait.settle() == ['0', '1', '2', '3']


def test_a_slot_released_in_the_middle_of_a_queue_is_passed_over(wait):
    first, second, _ = wait('1', a=1), wait('2', a=1), wait('3', a=1)
    second.release()
    first.release()
    assert wait.settle() == ['3']


def test_thousands_of_slots_released_as_they_are_granted_do_not_nest(dial_queue, reactor, run_until):
    left = []

    def dial() -> None:
        def on_acquired() -> None:
            left.append(True)
            slot.release()

        slot = dial_queue.acquire({'a': 1}, on_acquired)

    for _ in range(5000):
        dial()
    run_until(reactor, lambda: len(left) == 5000)
    assert len(dial_queue) == 0


def test_a_cleared_slot_may_still_be_released(wait, dial_queue):
    first, second = wait('1', a=1), wait('2', a=1)
    dial_queue.clear()
    first.release()
    second.release()
    wait('3', a=1)
    assert wait.settle() == ['3']


def test_a_client_is_asked_before_it_dials(ioloop, run_until, assert_idle):
    accepted, asked, connected = [], [], []
    server = ioloop.server(lambda loop, stream, id: accepted.append(stream), address='127.0.0.1')
    ioloop.client(
        lambda loop, err, stream: connected.append((err, stream)),
        port=ioloop.acceptor(server).port,
        admit=lambda addresses, begin: asked.append((addresses, begin)),
    )
    over = []
    ioloop.timer(lambda loop: over.append(True), 0.1)
    run_until(ioloop, lambda: over)
    [(addresses, begin)] = asked
    assert addresses == ['127.0.0.1']
    assert not accepted
    assert not connected
    begin()
    run_until(ioloop, lambda: accepted and connected)
    assert connected[0][0] is None
    for stream in (*accepted, connected[0][1]):
        stream.close()
    ioloop.remove(server)
    assert_idle(ioloop)


def test_the_timeout_includes_the_time_until_it_may_dial(ioloop, run_until, assert_idle):
    connected = []
    ioloop.client(
        lambda loop, err, stream: connected.append(err), port=9, timeout=0.05, admit=lambda addresses, begin: None
    )
    run_until(ioloop, lambda: connected)
    assert isinstance(connected[0], TimeoutError)
    assert_idle(ioloop)


def test_a_client_that_was_removed_while_it_was_asked_does_not_dial(ioloop, assert_idle, run_until):
    asked = []
    id = ioloop.client(
        lambda loop, err, stream: pytest.fail('called back'),
        port=9,
        admit=lambda addresses, begin: asked.append(begin),
    )
    run_until(ioloop, lambda: asked)
    ioloop.remove(id)
    asked[0]()
    assert_idle(ioloop)
