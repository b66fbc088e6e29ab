"""The readers of what brokers have of rooms, on any bytes: a value or a ValueError, never anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjows.rooms import Message
from pyjows.rooms.messages import check_payload
from pyjows.rooms.redis_entries import read_channel, read_members, read_stream

words = st.sampled_from(
    [b'm', b'j', b'l', b'h', b't', b'b', b'abc', b'1', b'-1', b'9' * 30, b':', b' ', b'\xff', b'{}']
)
almost = st.lists(words | st.binary(max_size=4), max_size=8).map(b''.join)
anything = st.binary(max_size=60) | almost
position = st.builds(b'mabc:%d %d '.__mod__, st.tuples(st.integers(1, 10**15 - 1), st.integers(0, 10**14)))


def check(message):
    """A message that was taken can be sent to every kind of member."""
    assert 0 < message.offset < 2**63
    assert message.data is not NotImplemented
    assert message.bare()
    envelope = json.loads(message.envelope())
    assert envelope['position'] == message.position
    if message.kind != b'b':
        assert ('data' in envelope) and json.loads(json.dumps(envelope)) == envelope


@given(anything | st.tuples(position, almost).map(b''.join))
def test_on_a_channel(data):
    try:
        found = read_channel('lobby', data)
    except ValueError:
        return
    if isinstance(found, Message):
        check(found)
    else:
        assert found[0] in (b'j', b'l', b'h')
        assert isinstance(found[1], str) and isinstance(found[2], str)


@given(
    st.one_of(anything, st.builds(b'%d-%d'.__mod__, st.tuples(st.integers(0, 10**20), st.integers(0, 2)))),
    st.lists(st.just(b'm') | anything, max_size=4)
    | anything.map(lambda rest: [b'm', b'1700000000000 ' + rest])
    | st.sampled_from([b't', b'j', b'b']).flatmap(
        lambda kind: st.binary(max_size=9).map(lambda rest: [b'm', b'17 ' + kind + rest])
    ),
)
def test_in_a_stream(id, fields):
    try:
        message = read_stream('lobby', 'abc', id, fields)
    except ValueError:
        return
    check(message)


@given(st.lists(st.tuples(anything, anything | st.just(b'{"a": 1}')), max_size=5))
def test_in_the_entry_of_members(pairs):
    malformed = []
    found = read_members([each for pair in pairs for each in pair], malformed.append)
    assert len(found) + len(malformed) <= len(pairs)
    assert all(isinstance(exc, ValueError) for exc in malformed)
    json.dumps(found)


@given(st.sampled_from([b't', b'b', b'j', b'', b'x']), st.binary(max_size=20) | st.text(max_size=9).map(str.encode))
def test_on_a_subject_of_nats(kind, payload):
    try:
        check_payload(kind, payload)
    except ValueError:
        return
    check(Message('lobby', 'abc', 1, 0.0, kind, payload))


@pytest.mark.parametrize('kind', [b't', b'j', b'b'])
@given(st.one_of(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.none()))
def test_what_was_published_is_read_again(kind, value):
    payload = json.dumps(value).encode() if kind == b'j' else str(value).encode()
    check_payload(kind, payload)
    found = read_channel('lobby', b'mabc:7 1700000000123 ' + kind + payload)
    assert (found.room, found.position, found.time) == ('lobby', 'abc:7', 1700000000.123)
    assert (found.kind, found.payload) == (kind, payload)
    assert read_stream('lobby', 'abc', b'7-0', [b'm', b'1700000000123 ' + kind + payload]).payload == payload
