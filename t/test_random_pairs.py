"""A client and a server in memory, driven at random, against a model that is a list of messages for each direction.

Hypothesis chooses the options, what is sent and in which form, in which pieces the bytes arrive, who pauses, who
closes, and what handlers do. What must hold is small: each side receives what the other one has sent, whole and in that
order; each connection finishes once, with the codes that were sent; and nothing of this breaks a connection.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyjows import ConnectionClosed, PerMessageDeflate, WebSocket, broadcast
from pyjows.protocol import State

SIZES = st.sampled_from([0, 1, 2, 124, 125, 126, 127, 128, 1000, 16383, 65534, 65535, 65536, 65537])
TEXTS = st.one_of(
    st.text(max_size=30), SIZES.map(lambda n: 'a' * n), SIZES.map(lambda n: 'é' * (n // 2)), st.just('\U0001f600' * 300)
)
BINARIES = st.one_of(st.binary(max_size=30), SIZES.map(bytes), SIZES.map(lambda n: bytes(range(256)) * (n // 256)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
COMPRESSIONS = st.sampled_from(
    [
        False,
        True,
        {'level': 1, 'threshold': 0},
        {'server_max_window_bits': 9, 'client_max_window_bits': 9, 'threshold': 0},
        {'server_no_context_takeover': True, 'client_no_context_takeover': True, 'threshold': 0},
        {'server_max_window_bits': 15, 'client_no_context_takeover': True, 'mem_level': 1, 'threshold': 0},
    ]
)
REACTIONS = st.sampled_from(['none', 'none', 'answer', 'twice', 'raise', 'leave', 'pause', 'ping', 'write', 'close'])


class End:
    """One end of the pair: the transaction, and what the model knows of it."""

    def __init__(self, name: str, compression: Any) -> None:
        configured = PerMessageDeflate(**compression) if isinstance(compression, dict) else compression
        self.ws = WebSocket(compression=configured, max_queue=1000)
        self.name = name
        self.sent: list[Any] = []  # what it has sent, in the order of the calls
        self.received: list[Any] = []
        self.way = bytearray()  # bytes on their way to the other end
        self.pings: list[bytes] = []  # that it has received
        self.finishes: list[tuple[int, str]] = []
        self.errors: list[BaseException] = []
        self.reactions: list[str] = []  # to the next messages
        self.expected_errors = 0
        self.drains = 0
        self.ws.on('text', self._text)
        self.ws.on('binary', self._binary)
        self.ws.on('ping', lambda ws, data: self.pings.append(data))
        self.ws.on('finish', lambda ws, code, reason: self.finishes.append((code, reason)))
        self.ws.on('error', lambda ws, exc: self.errors.append(exc))
        self.ws.on('drain', self._drain)

    def _drain(self, ws: Any) -> None:
        self.drains += 1
        assert not ws.is_writing and ws.buffered_amount == 0

    def _text(self, ws: Any, message: str) -> None:
        assert isinstance(message, str)
        self._received(message)

    def _binary(self, ws: Any, message: bytes) -> None:
        assert isinstance(message, bytes)
        self._received(message)

    def _received(self, message: Any) -> None:
        self.received.append(message)
        reaction = self.reactions.pop(0) if self.reactions else 'none'
        if reaction in ('answer', 'twice'):
            for _ in range(1 + (reaction == 'twice')):
                self.send({'text': f'answer {len(self.received)}'}, f'answer {len(self.received)}')
        elif reaction == 'raise':
            self.expected_errors += 1
            raise LookupError(reaction)
        elif reaction == 'leave':
            leaves = self.ws.once('text', lambda ws, message: None)
            self.ws.unsubscribe('text', leaves)
        elif reaction == 'pause':
            self.ws.pause_reading()
        elif reaction == 'ping' and self.ws.state is State.OPEN:
            self.ws.ping(b'from a handler')
        elif reaction == 'write':
            self.write()
        elif reaction == 'close':
            self.ws.finish(4000, 'from a handler')

    def send(self, named: dict[str, Any], message: Any, **how: Any) -> None:
        """Send one message, which the peer has to receive unless the close began."""
        try:
            self.ws.send(**named, **how)
        except ConnectionClosed:
            assert self.ws.state is not State.OPEN or self.ws.is_finished
        else:
            self.sent.append(message)

    def write(self) -> None:
        """Put what waits on its way."""
        self.way += self.ws.client_write() if self.name == 'client' else self.ws.server_write()


class RandomPair(RuleBasedStateMachine):
    """The pair, and what may happen to it."""

    @initialize(ours=COMPRESSIONS, theirs=COMPRESSIONS, early=st.lists(TEXTS, max_size=2))
    def begin(self, ours: Any, theirs: Any, early: list[str]) -> None:
        self.client, self.server = End('client', ours), End('server', theirs)
        self.client.ws.client_handshake('ws://example.com/')
        for text in early:
            self.client.send({'text': text}, text)
        self.cut = False

    def ends(self, which: bool) -> tuple[End, End]:
        return (self.client, self.server) if which else (self.server, self.client)

    @rule(which=st.booleans(), text=TEXTS, compress=st.booleans())
    def send_text(self, which: bool, text: str, compress: bool) -> None:
        self.ends(which)[0].send({'text': text}, text, compress=compress)

    @rule(which=st.booleans(), data=BINARIES, kind=st.sampled_from([bytes, bytearray, memoryview, 'strided', 'wide']))
    def send_binary(self, which: bool, data: bytes, kind: Any) -> None:
        if kind == 'strided':
            given: Any = memoryview(bytes(byte for byte in data for _ in range(2)))[::2]
        elif kind == 'wide':
            data = data[: len(data) // 4 * 4]
            given = memoryview(data).cast('I')
        else:
            given = kind(data)
        self.ends(which)[0].send({'binary': given}, data)
        if isinstance(given, bytearray):
            given[:] = b'changed after it was sent'

    @rule(which=st.booleans(), value=VALUES)
    def send_json(self, which: bool, value: Any) -> None:
        end = self.ends(which)[0]
        end.send({'json': value}, ('json', value))

    @rule(which=st.booleans(), pieces=st.lists(BINARIES, min_size=1, max_size=4), ping=st.booleans())
    def send_fragments(self, which: bool, pieces: list[bytes], ping: bool) -> None:
        """A fragmented message as raw frames, perhaps with a ping in the midst."""
        end = self.ends(which)[0]
        if end.ws.state is not State.OPEN:
            return
        for i, piece in enumerate(pieces):
            end.ws.send(frame=(i == len(pieces) - 1, False, False, False, 0 if i else 2, piece))
            if ping:
                end.ws.ping(b'in the midst')
        end.sent.append(b''.join(pieces))

    @rule(text=TEXTS)
    def broadcast_text(self, text: str) -> None:
        both = [self.client, self.server]
        is_open = [end.ws.state is State.OPEN for end in both]
        broadcast([end.ws for end in both], text=text)
        for end, was_open in zip(both, is_open, strict=True):
            if was_open:
                end.sent.append(text)

    @rule(which=st.booleans(), data=st.binary(max_size=125))
    def ping(self, which: bool, data: bytes) -> None:
        end = self.ends(which)[0]
        if end.ws.state is State.OPEN:
            end.ws.ping(data)

    @rule(which=st.booleans())
    def write(self, which: bool) -> None:
        self.ends(which)[0].write()

    @rule(which=st.booleans(), n=st.one_of(st.integers(1, 20), st.integers(1, 70_000)), step=st.integers(1, 5000))
    def read(self, which: bool, n: int, step: int) -> None:
        """Some of the bytes on their way arrive."""
        end, peer = self.ends(which)
        if end.ws.is_finished:
            return
        data = bytes(peer.way[:n])
        del peer.way[:n]
        for at in range(0, len(data), step):
            (end.ws.client_read if which else end.ws.server_read)(data[at : at + step])

    @rule(which=st.booleans(), reactions=st.lists(REACTIONS, max_size=4))
    def react(self, which: bool, reactions: list[str]) -> None:
        self.ends(which)[0].reactions += reactions

    @rule(which=st.booleans())
    def pause(self, which: bool) -> None:
        self.ends(which)[0].ws.pause_reading()

    @rule(which=st.booleans())
    def resume(self, which: bool) -> None:
        self.ends(which)[0].ws.resume_reading()

    @rule(which=st.booleans(), code=st.sampled_from([None, 1000, 1001, 3000, 4999]))
    @precondition(lambda self: len(self.client.received) > 3)
    def finish(self, which: bool, code: int | None) -> None:
        self.ends(which)[0].ws.finish(code)

    @rule(which=st.booleans(), named=st.sampled_from([
        {'text': '\ud800'}, {'text': b''}, {'binary': 'x'}, {'json': {1, 2}}, {}, {'text': '', 'binary': b''},
        {'frame': (1, 0, 0, 0, 16, b'')}, {'frame': (True, False, False, False, 9, bytes(126))}, {'message': 5},
    ]))  # fmt: skip
    def misuse(self, which: bool, named: dict[str, Any]) -> None:
        """A call that is refused changes nothing."""
        ws = self.ends(which)[0].ws
        before = ws.buffered_amount, ws.state
        with pytest.raises((TypeError, ValueError, ConnectionClosed)):
            ws.send(**named)
        assert (ws.buffered_amount, ws.state) == before

    @invariant()
    def what_arrived_is_what_was_sent(self) -> None:
        if not hasattr(self, 'client'):
            return
        for end, peer in ((self.client, self.server), (self.server, self.client)):
            same(end.received, peer.sent[: len(end.received)])
            assert len(end.errors) == end.expected_errors, end.errors
            assert len(end.finishes) <= 1

    def teardown(self) -> None:
        if not hasattr(self, 'client'):
            return
        ends = self.client, self.server
        for _ in range(400):
            for end in ends:
                end.reactions = [reaction for reaction in end.reactions if reaction not in ('close', 'pause')]
                end.ws.resume_reading()
                end.write()
            if not any(end.way for end in ends):
                break
            for which in (True, False):
                self.read(which, 1 << 30, 1 << 30)
        self.what_arrived_is_what_was_sent()
        if not any(end.ws.protocol.close_sent for end in ends):
            for end, peer in (ends, ends[::-1]):
                same(end.received, peer.sent)
        for end in ends:
            assert end.ws.protocol.parser_exc is None
            end.ws.closed()
            end.ws.closed()
            assert len(end.finishes) == 1
        closes = [(end.ws.protocol.close_sent, end.ws.protocol.close_rcvd) for end in ends]
        assert closes[0] == closes[1][::-1]


def same(received: list[Any], sent: list[Any]) -> None:
    """The messages of both lists are the same."""
    assert len(received) == len(sent)
    for one, other in zip(received, sent, strict=True):
        if isinstance(other, tuple):
            assert json.loads(one) == other[1]
        else:
            assert type(one) is type(other) and one == other


TestRandomPair = RandomPair.TestCase
TestRandomPair.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
