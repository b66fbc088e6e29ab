"""`EventEmitter`: Mojo's manners on pyee's interface."""

from __future__ import annotations

import asyncio
import functools
import threading

import pyee
import pytest

from pyjows import EventEmitter


@pytest.fixture
def cat() -> EventEmitter:
    return EventEmitter()


# Subscribing


def test_all_four_ways_to_subscribe_are_the_same(cat):
    heard = []

    @cat.on
    def meow(cat, times):
        heard.append(('@on', cat, times))

    @cat.on('meow')
    def second(cat, times):
        heard.append(("@on('meow')", cat, times))

    cat.on('meow', lambda cat, times: heard.append(("on('meow', f)", cat, times)))
    cat.on(lambda cat, times: heard.append(("on(f, 'meow')", cat, times)), 'meow')
    assert cat.emit('meow', 3) is True
    assert heard == [(how, cat, 3) for how in ('@on', "@on('meow')", "on('meow', f)", "on(f, 'meow')")]


def test_all_four_ways_to_subscribe_once_are_the_same(cat):
    heard = []

    @cat.once
    def meow(cat):
        heard.append(1)

    @cat.once('meow')
    def second(cat):
        heard.append(2)

    cat.once('meow', lambda cat: heard.append(3))
    cat.once(lambda cat: heard.append(4), 'meow')
    assert cat.emit('meow') is True
    assert cat.emit('meow') is False
    assert heard == [1, 2, 3, 4]


def test_the_handler_comes_back_so_that_a_decorated_name_stays_a_function(cat):
    def meow(cat):
        pass

    assert cat.on(meow) is meow
    assert cat.on('meow')(meow) is meow
    assert cat.on('meow', meow) is meow
    assert cat.once(meow, 'meow') is meow
    assert cat.catch(meow) is meow
    assert cat.subscribers('error') == [meow]


def test_any_callable_is_a_handler(cat):
    heard = []

    class Ear:
        def __call__(self, cat, word):
            heard.append(word)

        def method(self, cat, word):
            heard.append(word)

    cat.on('say', Ear())
    cat.on('say', Ear().method)
    cat.on('say', functools.partial(lambda prefix, cat, word: heard.append(prefix + word), '>'))
    cat.on('say', lambda cat, *words: heard.extend(words))
    cat.emit('say', 'a')
    assert heard == ['a', 'a', '>a', 'a']


def test_the_same_handler_may_subscribe_twice(cat):
    heard = []
    f = heard.append
    cat.on('meow', f)
    cat.on('meow', f)
    cat.emit('meow')
    assert heard == [cat, cat]
    cat.unsubscribe('meow', f)
    cat.emit('meow')
    assert heard == [cat] * 3


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [(('meow', 5), 'handler'), ((lambda cat: None,), 'name'), ((5, len), 'str'), ((functools.partial(print),), 'name')],
)
def test_what_cannot_be_subscribed_is_refused(cat, arguments, says):
    with pytest.raises(TypeError, match=says):
        cat.on(*arguments)
    assert cat.event_names() == set()


def test_a_decorator_that_is_given_nothing_to_call_says_so(cat):
    with pytest.raises(TypeError):
        cat.on('meow')(5)


# Emitting


def test_handlers_are_called_in_the_order_of_subscription_with_all_arguments(cat):
    heard = []
    for i in range(5):
        cat.on('e', lambda cat, *args, i=i, **named: heard.append((i, args, named)))
    cat.emit('e', 1, 2, three=3)
    assert heard == [(i, (1, 2), {'three': 3}) for i in range(5)]


def test_an_event_that_nobody_wants_is_false(cat):
    assert cat.emit('nothing', 1, 2) is False


def test_what_a_handler_raises_leaves_at_once(cat):
    heard = []
    cat.on('e', lambda cat: 1 / 0)
    cat.on('e', heard.append)
    with pytest.raises(ZeroDivisionError):
        cat.emit('e')
    assert heard == []


def test_an_error_that_nobody_wants_is_raised(cat):
    with pytest.raises(LookupError, match='this'):
        cat.emit('error', LookupError('this'))
    with pytest.raises(pyee.PyeeError):
        cat.emit('error', 'no exception')
    with pytest.raises(pyee.PyeeError):
        cat.emit('error')


def test_an_error_that_somebody_catches_is_an_event_like_any_other(cat):
    caught = []
    cat.catch(lambda cat, exc: caught.append(exc))
    exc = LookupError()
    assert cat.emit('error', exc) is True
    assert caught == [exc]


def test_those_who_come_during_an_emit_are_called_from_the_next_one_on(cat):
    heard = []

    @cat.on
    def e(cat):
        heard.append('first')
        cat.on('e', lambda cat: heard.append('late'))

    cat.emit('e')
    assert heard == ['first']
    cat.emit('e')
    assert heard == ['first', 'first', 'late']


def test_those_who_leave_during_an_emit_are_still_called_in_it(cat):
    heard = []

    def second(cat):
        heard.append('second')

    cat.on('e', lambda cat: cat.unsubscribe('e', second))
    cat.on('e', second)
    cat.emit('e')
    cat.emit('e')
    assert heard == ['second']


def test_once_in_an_emit_within_the_emit_is_called_once(cat):
    heard = []

    @cat.on
    def e(cat):
        if len(heard) == 0:
            heard.append('nested')
            cat.emit('e')

    cat.once('e', lambda cat: heard.append('once'))
    cat.emit('e')
    assert heard == ['nested', 'once']


def test_once_is_gone_when_it_is_called_even_if_it_raises(cat):
    @cat.once
    def e(cat):
        assert not cat.has_subscribers('e')
        raise LookupError

    with pytest.raises(LookupError):
        cat.emit('e')
    assert cat.emit('e') is False


# Leaving and looking


def test_unsubscribe_removes_one_or_all_and_returns_the_emitter(cat):
    def one(cat):
        pass

    def two(cat):
        pass

    for f in (one, two):
        cat.on('e', f)
    cat.once('e', two)
    assert cat.unsubscribe('e', one) is cat
    assert cat.subscribers('e') == [two, two]
    assert cat.unsubscribe(two, 'e').subscribers('e') == [two]
    assert cat.unsubscribe('e').subscribers('e') == []
    assert not cat.has_subscribers('e')


def test_unsubscribing_what_is_not_there_does_nothing(cat):
    assert cat.unsubscribe('e').unsubscribe('e', len) is cat


def test_a_bound_method_can_be_unsubscribed(cat):
    class Ear:
        def hear(self, cat):
            raise AssertionError

    ear = Ear()
    cat.on('e', ear.hear)
    cat.once('e', ear.hear)
    cat.unsubscribe('e', ear.hear).unsubscribe('e', ear.hear)
    assert cat.emit('e') is False


def test_subscribers_are_the_functions_that_were_given(cat):
    def f(cat):
        pass

    cat.on('e', f)
    cat.once('e', f)
    assert cat.subscribers('e') == cat.listeners('e') == [f, f]
    cat.subscribers('e').clear()
    assert cat.has_subscribers('e')


# pyee's names


def test_an_emitter_is_pyee_s_and_its_names_work(cat):
    heard = []
    assert isinstance(cat, pyee.EventEmitter)

    def f(cat, word='x'):
        heard.append(word)

    cat.add_listener('e', f)

    @cat.listens_to('e')
    def g(cat, word='x'):
        heard.append(word.upper())

    assert cat.event_names() == {'e'}
    cat.emit('e', 'a')
    assert heard == ['a', 'A']
    cat.remove_listener('e', f)
    with pytest.raises(KeyError):
        cat.remove_listener('e', f)
    assert cat.listeners('e') == [g]
    cat.on('other', f)
    cat.remove_all_listeners('e')
    assert cat.event_names() == {'other'}
    cat.remove_all_listeners()
    assert cat.event_names() == set()


def test_new_listener_is_told_before_the_handler_is_there(cat):
    told = []
    cat.on('new_listener', lambda cat, event, f: told.append((event, f, cat.has_subscribers('e'))))

    def f(cat):
        pass

    cat.on('e', f)
    assert told == [('e', f, False)]


# Coroutines and threads


def test_a_coroutine_handler_is_refused_where_nothing_runs_it(cat):
    async def meow(cat):
        pass

    with pytest.raises(RuntimeError, match=r"meow.*IOLoop\(reactor='asyncio'\)"):
        cat.on(meow)
    with pytest.raises(RuntimeError):
        cat.once('x', meow)
    assert cat.event_names() == set()


def test_a_coroutine_handler_runs_on_the_running_asyncio_loop():
    async def main():
        cat = EventEmitter()
        done = asyncio.Event()
        heard = []

        @cat.on
        async def meow(cat, times):
            await asyncio.sleep(0)
            heard.append(times)
            done.set()

        @cat.once
        async def purr(cat):
            heard.append('purr')

        cat.emit('purr')
        cat.emit('meow', 3)
        assert heard == []
        await asyncio.wait_for(done.wait(), 20)
        return heard

    assert asyncio.run(main()) == ['purr', 3]


def test_what_a_coroutine_handler_raises_is_emitted_as_error():
    async def main():
        cat = EventEmitter()
        caught = asyncio.get_running_loop().create_future()
        cat.catch(lambda cat, exc: caught.set_result(exc))

        @cat.on
        async def meow(cat):
            raise LookupError('lost')

        cat.emit('meow')
        return await asyncio.wait_for(caught, 20)

    assert str(asyncio.run(main())) == 'lost'


def test_a_handler_that_returns_a_coroutine_has_it_run():
    async def main():
        cat = EventEmitter()
        done = asyncio.Event()

        async def later():
            done.set()

        cat.on('e', lambda cat: later())
        cat.emit('e')
        await asyncio.wait_for(done.wait(), 20)

    asyncio.run(main())


def test_threads_may_subscribe_and_leave_at_the_same_time(cat):
    def work():
        for _ in range(500):
            f = cat.on('e', lambda cat: None)
            cat.emit('e')
            cat.unsubscribe('e', f)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not cat.has_subscribers('e')


def test_once_is_called_once_even_if_threads_emit_together(cat):
    heard = []
    for _ in range(100):
        cat.once('e', lambda cat: heard.append(1))
        barrier = threading.Barrier(3)
        threads = [threading.Thread(target=lambda b=barrier: (b.wait(20), cat.emit('e'))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(heard) == 100


def test_an_emitter_that_nobody_listens_to_is_small(cat):
    assert cat.event_names() == set()
    assert '_lock' not in vars(cat)
