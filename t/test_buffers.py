"""Where bytes wait: order and count, whatever is put, referred to, taken or consumed in between."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyjows.buffers import BufferPool, Receiver, WriteBuffer

#: From here on payloads are not copied (a name that only C has where it is compiled).
BY_REFERENCE = 16384


def test_what_is_put_is_taken_in_order():
    buffer = WriteBuffer()
    for piece in (b'a', b'', b'bc', b'd' * 5000):
        buffer.put(piece)
    assert buffer.size == 5003
    assert buffer.take() == b'abc' + b'd' * 5000
    assert (buffer.size, buffer.take()) == (0, b'')


def test_a_large_piece_is_not_copied():
    buffer = WriteBuffer()
    large = bytes(BY_REFERENCE)
    before = sys.getrefcount(large)
    buffer.put(b'head')
    buffer.put(large)
    buffer.put(b'tail')
    assert sys.getrefcount(large) == before + 1
    pieces = buffer.pieces()
    assert pieces[1] is large
    assert [bytes(piece) for piece in pieces] == [b'head', large, b'tail']
    del pieces
    buffer.clear()
    assert sys.getrefcount(large) == before


def test_what_can_be_sent_in_one_piece_is_one_piece():
    buffer = WriteBuffer()
    for _ in range(100):
        buffer.put(b'small')
    assert len(buffer.pieces()) == 1


@pytest.mark.parametrize('n', [1, 4, 5, 4 + BY_REFERENCE, 5 + BY_REFERENCE, 8 + BY_REFERENCE])
def test_what_the_kernel_took_is_dropped_and_the_rest_stays(n):
    buffer = WriteBuffer()
    whole = b'head' + b'x' * BY_REFERENCE + b'tail!'
    buffer.put(b'head')
    buffer.put(b'x' * BY_REFERENCE)
    buffer.put(b'tail!')
    buffer.consume(n)
    assert buffer.size == len(whole) - n
    buffer.put(b' and more')
    assert buffer.take() == whole[n:] + b' and more'


def test_all_consumed_is_empty():
    buffer = WriteBuffer()
    buffer.put(b'x' * BY_REFERENCE)
    buffer.consume(BY_REFERENCE)
    assert buffer.size == 0
    assert buffer.pieces() == []


STEPS = st.one_of(
    st.tuples(st.just('put'), st.binary(max_size=2000)),
    st.tuples(st.just('put'), st.integers(BY_REFERENCE - 1, BY_REFERENCE + 1).map(bytes)),
    st.tuples(st.just('refer'), st.binary(min_size=1, max_size=50)),
    st.tuples(st.just('consume'), st.floats(0, 1)),
    st.tuples(st.just('take'), st.none()),
    st.tuples(st.just('look'), st.none()),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_it_behaves_as_a_plain_bytearray_would(steps):
    buffer, model = WriteBuffer(), bytearray()
    for step, argument in steps:
        if step == 'put':
            buffer.put(argument)
            model += argument
        elif step == 'refer':
            buffer.refer(argument)
            model += argument
        elif step == 'consume':
            n = int(len(model) * argument)
            if n:
                buffer.consume(n)
                del model[:n]
        elif step == 'take':
            assert buffer.take() == model
            model.clear()
        else:
            assert b''.join(buffer.pieces()) == model
        assert buffer.size == len(model)
    assert buffer.take() == model


def test_a_pool_gives_an_empty_buffer_again_and_again():
    pool = BufferPool()
    one = pool.acquire()
    one.put(b'left behind')
    pool.release(one)
    again = pool.acquire()
    assert again is one
    assert again.size == 0
    assert pool.acquire() is not one


def test_a_pool_lets_a_buffer_go_that_grew_too_large():
    pool = BufferPool()
    huge = pool.acquire()
    for _ in range(40):
        huge.put(bytes(BY_REFERENCE - 1))
    pool.release(huge)
    assert pool.acquire() is not huge


def test_a_pool_keeps_only_so_many():
    pool = BufferPool()
    buffers = [pool.acquire() for _ in range(5000)]
    for buffer in buffers:
        pool.release(buffer)
    known = {id(buffer) for buffer in buffers}
    again = [pool.acquire() for _ in range(5000)]
    kept = sum(id(buffer) in known for buffer in again)
    assert 0 < kept < 5000


def test_a_receiver_asks_its_stream_for_a_buffer_when_the_first_byte_is_about_to_wait():
    class Stream:
        asked = 0

        def acquire(self) -> WriteBuffer:
            self.asked += 1
            return WriteBuffer()

    receiver: Any = Receiver()
    assert isinstance(receiver.outgoing(), WriteBuffer)
    other: Any = Receiver()
    other.stream = Stream()
    assert other.out is None
    assert other.outgoing() is other.outgoing() is other.out
    assert other.stream.asked == 1


def test_a_receiver_that_overrides_nothing_ignores_the_end():
    receiver = Receiver()
    receiver.eof()
    receiver.drained()
    receiver.lost(None)
    with pytest.raises(NotImplementedError):
        receiver.feed(b'', 0)
