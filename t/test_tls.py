"""TLS: the way of the bytes, by OpenSSL called from C and by the `ssl` module, with real sockets and other programs."""

from __future__ import annotations

import os
import random
import socket
import ssl
import subprocess
from collections.abc import Callable

import pytest

from pyjows.ioloop import IOLoop, Stream

Until = Callable[..., None]


@pytest.fixture(params=['OpenSSL', 'ssl'])
def through(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What en- and decrypts: OpenSSL called from C where that is possible, and the `ssl` module."""
    if request.param == 'ssl':
        monkeypatch.setenv('PYJOWS_OPENSSL', '0')
    return str(request.param)


@pytest.fixture
def pair(
    ioloop: IOLoop, run_until: Until, through: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> tuple[Stream, Stream]:
    """The two ends of a connection: the dialing and the accepted one."""
    ends: list[Stream] = []
    accepted: list[Stream] = []
    server = ioloop.server(lambda loop, stream, id: accepted.append(stream), address='127.0.0.1', tls=server_tls)
    ioloop.client(lambda loop, err, stream: ends.append(stream), port=ioloop.ports[0], tls=client_tls)
    run_until(ioloop, lambda: ends and accepted)
    ioloop.remove(server)
    return ends[0], accepted[0]


def collect(stream: Stream) -> bytearray:
    """Everything that a stream reads, from now on."""
    got = bytearray()
    stream.on('read', lambda stream, data: got.extend(data))
    return got


def records(data: bytes) -> list[int]:
    """The lengths of the TLS records in a capture."""
    found = []
    while data:
        found.append(int.from_bytes(data[3:5], 'big'))
        data = data[5 + found[-1] :]
    return found


class Peer:
    """A client made of the `ssl` module's parts, which sees what is on the wire."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=20)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname='localhost')

    def push(self) -> None:
        """Send what waits."""
        self.socket.sendall(self.outgoing.read())

    def pull(self) -> bytes:
        """Receive what is there, or wait for it; returns it encrypted."""
        data = self.socket.recv(1 << 20)
        self.incoming.write(data)
        return data


def shake_hands(ioloop: IOLoop, peer: Peer) -> None:
    """Make the handshake between a peer and a server on the loop."""
    peer.socket.setblocking(False)
    while True:
        try:
            peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            peer.push()
            ioloop.next_tick(lambda loop: None)
            ioloop.one_tick()
            try:
                peer.pull()
            except BlockingIOError:
                pass
        else:
            peer.push()
            return


@pytest.mark.wide(through=['ssl'])
def test_both_directions_carry_everything_through_full_buffers(
    ioloop: IOLoop, run_until: Until, pair: tuple[Stream, Stream]
) -> None:
    chance = random.Random(7)
    sent, got = [], []
    for end in pair:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.socket.setsockopt(socket.SOL_SOCKET, option, 65536)
        got.append(collect(end))
        sizes = [chance.choice([0, 1, 100, 4000, 16383, 16384, 16385, 40_000, 200_000]) for _ in range(30)]
        sent.append([chance.randbytes(size) for size in sizes])
    for first, second in zip(*sent, strict=True):
        pair[0].write(first)
        pair[1].write(second)
        if chance.random() < 0.3:
            pair[0].flush()
            ioloop.next_tick(lambda loop: None)
            ioloop.one_tick()
    run_until(ioloop, lambda: not pair[0].is_writing and not pair[1].is_writing)
    run_until(ioloop, lambda: len(got[1]) >= len(b''.join(sent[0])) and len(got[0]) >= len(b''.join(sent[1])))
    assert got[1] == b''.join(sent[0])
    assert got[0] == b''.join(sent[1])
    drained: list[Stream] = []
    pair[0].write(b'and on', drained.append)
    run_until(ioloop, lambda: got[1].endswith(b'and on') and drained)
    assert pair[0].buffered_amount == 0


@pytest.mark.wide(through=['ssl'])
def test_what_waits_counts_until_the_kernel_has_taken_it(
    ioloop: IOLoop, run_until: Until, pair: tuple[Stream, Stream]
) -> None:
    sender, receiver = pair
    receiver.stop()
    for end, option in ((sender, socket.SO_SNDBUF), (receiver, socket.SO_RCVBUF)):
        end.socket.setsockopt(socket.SOL_SOCKET, option, 65536)
    sender.write(bytes(8_000_000)).flush()
    for _ in range(20):
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()
    before = sender.acknowledged
    assert sender.is_writing and not sender.can_write
    assert 0 < sender.buffered_amount <= 8_000_000
    got = collect(receiver)
    receiver.start()
    run_until(ioloop, lambda: len(got) == 8_000_000 and not sender.is_writing)
    run_until(ioloop, lambda: sender.acknowledged >= 8_000_000 > before)


@pytest.mark.wide(through=['ssl'])
def test_what_is_written_together_leaves_in_one_record(
    ioloop: IOLoop, run_until: Until, through: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        @stream.on
        def read(stream: Stream, data: bytes) -> None:
            stream.write(b'a').write(b'b' * 100).write(b'c' * 1000)
            if data == b'large':
                stream.write(b'd' * 20_000)

    peer = Peer(ioloop.ports[0], client_tls)
    shake_hands(ioloop, peer)

    def ask(question: bytes, size: int) -> list[int]:
        """What comes on the wire for an answer of so many bytes."""
        peer.tls.write(question)
        peer.push()
        answer, wire = b'', b''

        def is_there() -> bool:
            nonlocal answer, wire
            try:
                wire += peer.pull()
                while True:
                    answer += peer.tls.read(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                return len(answer) == size

        run_until(ioloop, is_there)
        return records(wire)

    ask(b'first', 1101)  # with the session tickets in front
    assert len(ask(b'small', 1101)) == 1
    if through == 'OpenSSL':
        assert len(ask(b'large', 21_101)) <= 3
    peer.socket.close()


@pytest.mark.wide(through=['ssl'])
def test_a_damaged_record_ends_the_connection_after_what_came_before_it(
    ioloop: IOLoop, run_until: Until, through: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    got, errors, closed = bytearray(), [], []

    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        stream.on('read', lambda stream, data: got.extend(data))
        stream.on('error', lambda stream, exc: errors.append(exc))
        stream.on('close', closed.append)

    peer = Peer(ioloop.ports[0], client_tls)
    shake_hands(ioloop, peer)
    peer.tls.write(b'whole')
    whole = peer.outgoing.read()
    peer.tls.write(b'damaged')
    damaged = bytearray(peer.outgoing.read())
    damaged[-1] ^= 1
    peer.socket.sendall(whole + damaged)
    run_until(ioloop, lambda: closed)
    assert got == b'whole'
    assert [type(exc) for exc in errors] == [ssl.SSLError]
    assert 'BAD_RECORD_MAC' in str(errors[0]).upper().replace(' ', '_')
    peer.socket.close()


@pytest.mark.wide(through=['ssl'])
def test_a_record_may_come_byte_by_byte(
    ioloop: IOLoop, run_until: Until, through: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    got = bytearray()
    closed: list[Stream] = []

    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        stream.on('read', lambda stream, data: got.extend(data))
        stream.on('close', closed.append)

    peer = Peer(ioloop.ports[0], client_tls)
    shake_hands(ioloop, peer)
    peer.tls.write(b'a message in pieces')
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()  # close_notify
    for byte in peer.outgoing.read():
        peer.socket.sendall(bytes([byte]))
        ioloop.next_tick(lambda loop: None)
        ioloop.one_tick()
    run_until(ioloop, lambda: closed)
    assert got == b'a message in pieces'
    while peer.pull():
        pass
    peer.tls.unwrap()  # the server has said goodbye too
    peer.socket.close()


@pytest.mark.wide(through=['ssl'])
def test_a_detached_socket_goes_on_by_itself(ioloop: IOLoop, run_until: Until, pair: tuple[Stream, Stream]) -> None:
    client, server = pair
    got = collect(server)
    client.write(b'on the loop, ')
    run_until(ioloop, lambda: got == b'on the loop, ')
    raw = client.detach()
    assert isinstance(raw, ssl.SSLSocket)
    raw.setblocking(True)
    raw.settimeout(20)
    raw.sendall(b'and beside it')
    run_until(ioloop, lambda: got == b'on the loop, and beside it')
    server.write(b'answer').flush()
    assert raw.recv(100) == b'answer'
    raw.close()
    run_until(ioloop, lambda: server.is_closed)


@pytest.mark.wide(through=['ssl'])
@pytest.mark.parametrize('version', ['tls1_2', 'tls1_3'])
def test_openssl_changes_its_keys_amid_a_connection(
    ioloop: IOLoop, run_until: Until, through: str, server_tls: ssl.SSLContext, version: str
) -> None:
    got = bytearray()

    @ioloop.server(address='127.0.0.1', tls=server_tls)
    def server(loop: IOLoop, stream: Stream, id: str) -> None:
        @stream.on
        def read(stream: Stream, data: bytes) -> None:
            got.extend(data)
            stream.write(b'seen: ' + data)

    with subprocess.Popen(
        ['openssl', 's_client', f'-{version}', '-connect', f'127.0.0.1:{ioloop.ports[0]}'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        assert client.stdin and client.stdout
        os.set_blocking(client.stdout.fileno(), False)
        said = bytearray()

        def answer() -> bytes:
            said.extend(client.stdout.read() or b'')  # type: ignore[union-attr]
            return bytes(said)

        def say(line: bytes) -> None:
            client.stdin.write(line)  # type: ignore[union-attr]
            client.stdin.flush()  # type: ignore[union-attr]

        say(b'before\n')
        run_until(ioloop, lambda: b'seen: before' in answer())
        if version == 'tls1_3':
            say(b'K\n')  # new keys for both directions, a line of its own
            run_until(ioloop, lambda: b'KEYUPDATE' in answer())
        say(b'after\n')
        run_until(ioloop, lambda: b'seen: after' in answer())
        say(b'Q\n')
        run_until(ioloop, lambda: not ioloop.connections)
    assert got == b'before\nafter\n'


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork(2)')
def test_a_forked_child_says_no_goodbye_for_its_parent(
    ioloop: IOLoop, run_until: Until, through: str, pair: tuple[Stream, Stream], reactor_name: str
) -> None:
    if reactor_name in ('asyncio', 'uvloop'):
        pair[0].close()
        return  # asyncio loops are not for children
    child = os.fork()
    if child == 0:
        try:
            ioloop.reset()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    got = collect(pair[1])
    pair[0].write(b'undisturbed')
    run_until(ioloop, lambda: got == b'undisturbed' or pair[1].is_closed)
    assert got == b'undisturbed'
