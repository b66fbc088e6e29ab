"""Compiled and interpreted are one library: the same scripts, cut and mixed at random, give the same transcript.

Two processes play each script, one with the extension modules and one with ``PYJOWS_PURE=1``. Where nothing is compiled
there is nothing to compare, and that is what the skip says.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amounts import examples
from byhand import BINARY, CLOSE, CONT, PING, PONG, REQUEST, TEXT, frame
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

PLAYER = Path(__file__).with_name('differential.py')
EVENTS = ('open', 'message', 'text', 'binary', 'json', 'frame', 'drain', 'finish', 'error', 'request', 'resume')


class Player:
    """One form of the library, in a process of its own."""

    def __init__(self, pure: bool) -> None:
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'PYJOWS_PURE': '1' if pure else '0'}
        self.process = subprocess.Popen(
            [sys.executable, str(PLAYER)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.compiled = self._read()

    def play(self, script: Any) -> Any:
        data = pickle.dumps(script)
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack('!I', len(data)) + data)
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        head = self.process.stdout.read(4)
        assert len(head) == 4, f'the process ended: {self.process.poll()}'
        return pickle.loads(self.process.stdout.read(struct.unpack('!I', head)[0]))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture(scope='module')
def both() -> Iterator[tuple[Player, Player]]:
    """The compiled and the interpreted form."""
    compiled = Player(pure=False)
    if not compiled.compiled:
        compiled.close()
        pytest.skip('nothing is compiled here: there is only one form')
    interpreted = Player(pure=True)
    assert not interpreted.compiled
    yield compiled, interpreted
    compiled.close()
    interpreted.close()


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b'', b'{"a": [1, 2]}', b'null', b'{', b'\xff', b'\xed\xa0\x80', '€'.encode()[:2]]),
    st.sampled_from([b'\x03\xe8', b'\x03\xe8why', b'\x03\xed']),
    st.integers(120, 131).map(bytes),
    st.sampled_from([1000, 1001, 16383, 16384, 65535, 65536, 70_000]).map(bytes),
    st.binary(max_size=200).map(deflated),
    st.integers(0, 100_000).map(lambda n: deflated(bytes(n))),
)  # fmt: skip


@st.composite
def wire(draw: Any, masked: bool) -> bytes:
    """Frames as a peer sends them, mostly good ones."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 9))
        payload = draw(PAYLOADS)
        if kind < 4:
            parts.append(frame(draw(st.sampled_from([TEXT, BINARY])), payload, masked=masked))
        elif kind < 6:
            cut = draw(st.integers(0, len(payload)))
            parts.append(frame(draw(st.sampled_from([TEXT, BINARY])), payload[:cut], fin=False, masked=masked))
            parts.append(frame(CONT, payload[cut:], masked=masked))
        elif kind == 6:
            parts.append(frame(draw(st.sampled_from([PING, PONG, CLOSE])), payload[:125], masked=masked))
        elif kind == 7:
            parts.append(frame(draw(st.sampled_from([TEXT, BINARY])), payload, rsv=4, masked=masked))
        elif kind == 8:
            opcode, rsv, fin = draw(st.integers(0, 15)), draw(st.sampled_from([0, 0, 1, 4])), draw(st.booleans())
            parts.append(
                frame(opcode, payload, fin=fin, rsv=rsv, masked=masked ^ draw(st.integers(0, 9).map(lambda n: n == 0)))
            )
        else:
            parts.append(draw(st.binary(max_size=20)))
    return b''.join(parts)


@st.composite
def reads(draw: Any, data: bytes) -> list[tuple[Any, ...]]:
    """Some bytes in random pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [('read', piece) for piece in pieces if piece]


MESSAGES = st.one_of(
    st.fixed_dictionaries({'text': st.text(max_size=20)}),
    st.fixed_dictionaries({'binary': PAYLOADS}),
    st.fixed_dictionaries({'json': st.sampled_from([None, 1, 'ä', [1, {'a': 2.5}], {'k': 'v'}, {1, 2}])}),
    st.fixed_dictionaries({'message': st.one_of(st.text(max_size=5), st.binary(max_size=5), st.none(), st.just(5))}),
    st.sampled_from(
        [{}, {'text': 5}, {'text': b'x'}, {'binary': 'x'}, {'text': '\ud800'}, {'text': 'a', 'binary': b'b'}]
    ),
)
RAW = st.tuples(
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.one_of(st.integers(0, 15), st.sampled_from([16, -1, 'x'])),
    st.one_of(st.binary(max_size=130), st.just('text')),
).map(lambda frame: {'frame': frame})  # fmt: skip
CALLS = st.one_of(
    st.just(('write',)),
    MESSAGES.map(lambda named: ('send', named)),
    RAW.map(lambda named: ('send', named)),
    MESSAGES.map(lambda named: ('build', named)),
    MESSAGES.map(lambda named: ('broadcast', named)),
    st.tuples(
        st.just('finish'),
        st.sampled_from([None, 1000, 1001, 1005, 1006, 3000, 4999, 5000]),
        st.sampled_from([None, '', 'why', 'ü' * 62]),
    ),
    st.integers(0, 70_000).map(lambda n: ('limit', n)),
    st.booleans().map(lambda on: ('compressed', on)),
    st.just(('raw',)),
    st.just(('read', b'')),
    st.just(('closed',)),
    st.just(('connect',)),
    st.binary(max_size=30).map(lambda data: ('parse', data)),
)


@st.composite
def scripts(draw: Any) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """A transaction, its handlers, and what happens to it."""
    masked = draw(st.booleans())
    shakes = not masked and draw(st.integers(0, 4)) == 0
    options: dict[str, Any] = {'max_websocket_size': draw(st.sampled_from([10, 1000, 66_000, 262_144]))}
    if not shakes:
        options |= {'established': True, 'masked': masked}
    if draw(st.booleans()):
        options['compression'] = True
    reactions = st.sampled_from([None] * 6 + ['raise', 'echo', 'finish', 'leave', 'write'])
    handlers = draw(st.lists(st.tuples(st.sampled_from(EVENTS), reactions), max_size=6))
    # What is not told apart by both forms in the same words is no handler's business.
    handlers = [(event, None if event in ('error', 'finish', 'resume') else what) for event, what in handlers]
    data = draw(wire(not masked))
    if shakes:
        extensions = draw(st.sampled_from([b'', b'Sec-WebSocket-Extensions: permessage-deflate\r\n']))
        data = REQUEST + extensions + b'\r\n' + data
    steps = draw(reads(data))
    for call in draw(st.lists(CALLS, max_size=6)):
        steps.insert(draw(st.integers(0, len(steps))), call)
    return {'options': options, 'handlers': handlers}, steps


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=int(os.environ.get('PYJOWS_TEST_EXAMPLES', examples(300))),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(script=scripts())
@example(
    script=(
        {'options': {'established': True}, 'handlers': [('text', 'echo')]},
        [('read', frame(TEXT, b'x', masked=True)), ('write',)],
    )
)
@example(
    script=(
        {'options': {'established': True}, 'handlers': []},
        [('read', b'\x02\x81\0\0\0\0a\x80\xff\x7f' + b'\xff' * 7 + bytes(9))],
    )
)
def test_both_forms_tell_the_same_story(both, script):
    compiled, interpreted = both
    assert compiled.play(script) == interpreted.play(script)
