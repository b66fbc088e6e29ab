"""`Turns`: lines in which one waits for another, on every reactor; and the dialer that asks before it dials."""

from __future__ import annotations

from typing import Any

import pytest

from pyjows.ioloop.turns import Turns


@pytest.fixture
def turns(reactor: Any) -> Turns:
    return Turns(reactor)


@pytest.fixture
def wait(turns: Turns, reactor: Any, run_until: Any) -> Any:
    """``wait(name, lines)`` stands in lines; the names of those whose turn has come are in ``wait.came``."""

    def wait(name: str, **lines: int) -> Any:
        return turns.wait(lines, lambda: came.append(name))

    def settle() -> list[str]:
        over: list[bool] = []
        reactor.timer(lambda reactor: over.append(True), 0.01)
        run_until(reactor, lambda: over)
        return came

    came: list[str] = []
    wait.settle = settle  # type: ignore[attr-defined]
    return wait


def test_a_turn_comes_from_the_loop_and_the_next_when_it_is_over(wait, turns):
    first, second, third = wait('1', a=1), wait('2', a=1), wait('3', a=1)
    assert first.has_come
    assert not second.has_come
    assert wait.settle() == ['1']
    first.leave()
    first.leave()
    assert wait.settle() == ['1', '2']
    second.leave()
    third.leave()
    assert wait.settle() == ['1', '2'], 'the third left before it was told'
    assert len(turns) == 0


def test_other_lines_need_not_wait(wait):
    wait('1', a=1)
    wait('2', b=1)
    wait('3')
    assert sorted(wait.settle()) == ['1', '2', '3']


def test_a_turn_in_several_lines_comes_when_it_is_first_in_all(wait):
    first, second = wait('1', a=1), wait('2', b=1)
    wait('3', a=1, b=1)
    fourth = wait('4', a=1)
    assert wait.settle() == ['1', '2']
    second.leave()
    assert wait.settle() == ['1', '2']
    first.leave()
    assert wait.settle() == ['1', '2', '3']
    assert not fourth.has_come, 'it came later'


def test_a_line_may_have_several_turns_at_a_time(wait):
    first, *_ = [wait(str(n), a=3) for n in range(5)]
    assert wait.settle() == ['0', '1', '2']
    first.leave()
    assert wait.settle() == ['0', '1', '2', '3']


def test_who_leaves_the_middle_of_a_line_is_passed_over(wait):
    first, second, _ = wait('1', a=1), wait('2', a=1), wait('3', a=1)
    second.leave()
    first.leave()
    assert wait.settle() == ['3']


def test_thousands_of_turns_that_end_as_they_come_do_not_pile_up(turns, reactor, run_until):
    left = []

    def stand() -> None:
        def came() -> None:
            left.append(True)
            turn.leave()

        turn = turns.wait({'a': 1}, came)

    for _ in range(5000):
        stand()
    run_until(reactor, lambda: len(left) == 5000)
    assert len(turns) == 0


def test_what_is_cleared_may_still_leave(wait, turns):
    first, second = wait('1', a=1), wait('2', a=1)
    turns.clear()
    first.leave()
    second.leave()
    wait('3', a=1)
    assert wait.settle() == ['3']


def test_a_client_is_asked_before_it_dials_and_its_time_stands_still(ioloop, run_until, assert_idle):
    accepted, asked, connected = [], [], []
    server = ioloop.server(lambda loop, stream, id: accepted.append(stream), address='127.0.0.1')
    ioloop.client(
        lambda loop, err, stream: connected.append((err, stream)),
        port=ioloop.acceptor(server).port,
        timeout=1,
        admit=lambda addresses, begin: asked.append((addresses, begin)),
    )
    over = []
    ioloop.timer(lambda loop: over.append(True), 1.2)
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
