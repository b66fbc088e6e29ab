"""What a broken, hostile or vanished peer can do, and what a user can get wrong: over real sockets, on every reactor.

Each test ends with `Service.stop` or `Client.stop`, which fail when a connection, a timer or a file descriptor is left.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import inspect
import logging
import os
import random
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from background import TIMEOUT, Service, echo, free_port, open_files, until
from wire import BINARY, CLOSE, CONT, PING, TEXT, UPGRADE, asked, frame

import pyjows

pytestmark = pytest.mark.wide(later=True)

KIB = 1024


def request(method: str = 'GET', version: str = 'HTTP/1.1', **changes: str | None) -> bytes:
    """An upgrade request, with headers changed (`Sec_WebSocket_Key='x'`) or left out (`Host=None`)."""
    return asked(f'{method} / {version}', **changes)


class Raw:
    """A TCP connection that says exactly what it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self.buffer = b''

    @classmethod
    def connect(cls, service: Service) -> Raw:
        raw = cls(socket.create_connection(('127.0.0.1', service.port), timeout=TIMEOUT))
        service.clients.append(raw)
        return raw

    @classmethod
    def upgraded(cls, service: Service, **changes: str | None) -> Raw:
        """A connection with its opening handshake behind it."""
        raw = cls.connect(service)
        raw.send(request(**changes))
        status, _, _ = raw.response()
        assert status == 101
        return raw

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def try_send(self, data: bytes) -> None:
        """Send to a peer that may be gone already."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read(self) -> bytes:
        """What comes next; empty at the end."""
        try:
            return self.sock.recv(65536)
        except ConnectionResetError:
            return b''

    def read_all(self) -> bytes:
        """Everything until the peer ends the connection."""
        while data := self.read():
            self.buffer += data
        data, self.buffer = self.buffer, b''
        return data

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.read()
            assert data, f'the connection ended after {self.buffer!r}'
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def head(self) -> bytes:
        """A header block."""
        while b'\r\n\r\n' not in self.buffer:
            data = self.read()
            assert data, f'the connection ended after {self.buffer!r}'
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b'\r\n\r\n')
        return head

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """An HTTP response: status, headers (names in lower case), body."""
        lines = self.head().decode('latin-1').split('\r\n')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines[1:])}
        return int(lines[0].split()[1]), headers, self.take(int(headers.get('content-length', 0)))

    def frame(self) -> tuple[int, bytes]:
        """The next whole frame: opcode, payload (unmasked)."""
        first, second = self.take(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(self.take(2 if size == 126 else 8), 'big')
        key = self.take(4) if second & 128 else b'\0\0\0\0'
        payload = self.take(size)
        return first & 15, bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))

    def closed_with(self) -> tuple[int, str]:
        """The code and reason of the close frame, which must be the last there is."""
        opcode, payload = self.frame()
        while opcode != CLOSE:
            opcode, payload = self.frame()
        return int.from_bytes(payload[:2], 'big'), payload[2:].decode()

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()


class Client:
    """`pyjows.connect` to a server made of bytes, which `script(raw)` is; run to its end in the main thread."""

    def __init__(self, reactor_name: str, script: Callable[[Raw], object], **options: Any) -> None:
        gc.collect()
        files = open_files()
        self.errors: list[Exception] = []
        self.messages: list[str | bytes] = []
        self.finished: list[tuple[int, str]] = []
        self.opened = 0
        script_failed: list[BaseException] = []

        listening = socket.create_server(('127.0.0.1', 0))

        def serve() -> None:
            try:
                listening.settimeout(TIMEOUT)
                raw = Raw(listening.accept()[0])
                try:
                    script(raw)
                finally:
                    raw.close()
            except BaseException as exc:
                script_failed.append(exc)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        loop = pyjows.IOLoop(reactor=reactor_name)
        ws = pyjows.connect(f'ws://127.0.0.1:{listening.getsockname()[1]}/', ioloop=loop, **options)
        ws.on('error', lambda ws, exc: self.errors.append(exc))
        ws.on('message', lambda ws, message: self.messages.append(message))
        ws.on('open', lambda ws: setattr(self, 'opened', self.opened + 1))

        def finish(ws: Any, code: int, reason: str) -> None:
            self.finished.append((code, reason))
            loop.next_tick(lambda loop: loop.stop())

        ws.on('finish', finish)
        watchdog = loop.timer(lambda loop: loop.stop(), TIMEOUT)
        loop.start()
        loop.remove(watchdog)
        thread.join(TIMEOUT)
        listening.close()
        assert not loop.connections, f'connections left: {loop.connections}'
        assert not loop.reactor.statistics()['timers'], f'timers left: {loop.reactor}'
        loop.close()
        del ws
        if script_failed:
            raise script_failed[0]
        assert len(self.finished) == 1, f'finish must come exactly once: {self.finished}'
        until(lambda: gc.collect() >= 0 and open_files() <= files, 'the file descriptors to be closed')

    @property
    def end(self) -> tuple[int, str]:
        return self.finished[0]


def accept_of(head: bytes) -> str:
    """The `Sec-WebSocket-Accept` that answers the request in `head`."""
    key = head[head.lower().index(b'sec-websocket-key:') + 18 :].split(b'\r\n')[0].strip()
    return base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()).decode()


def switch(raw: Raw, *headers: str, accept: str | None = None) -> None:
    """Answer a client's request with 101."""
    accept = accept or accept_of(raw.head())
    lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', *headers]
    raw.send('\r\n'.join([*lines, f'Sec-WebSocket-Accept: {accept}', '', '']).encode())


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A peer's fault is none of the server's: nothing above `info` may be logged."""
    caplog.set_level(logging.INFO)
    yield
    loud = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert not loud, loud


@pytest.fixture
def service(reactor_name: str) -> Iterator[Callable[..., Service]]:
    """Starts services; stops them, and looks at what is left, when the test is over."""
    services: list[Service] = []

    def start(handler: Callable[[Any, Any], object] | None = None, **options: Any) -> Service:
        services.append(Service(reactor_name, handler, **options))
        return services[-1]

    yield start
    for running in services:
        running.stop()


@contextmanager
def bounded_memory(limit: int) -> Iterator[None]:
    """No more than `limit` bytes more than before are allocated at any time in the block."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit, f'{peak - before} bytes held at once, {limit} are allowed'


# No HTTP at all, or too much of it


NO_HTTP = {
    'TLS': (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(range(200)) + b'\r\n\r\n', 400),
    'prose': (b'hello there\r\n\r\n', 400),
    'half a request line': (b'GET\r\n\r\n', 400),
    'empty lines': (b'\r\n\r\n\r\n\r\n', 400),
    'a header without colon': (b'GET / HTTP/1.1\r\nno colon here\r\n\r\n', 400),
    'a header without name': (b'GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n', 400),
    'NUL in a name': (b'GET / HTTP/1.1\r\nHo\x00st: a\r\n\r\n', 400),
    'HTTP/9.9': (b'GET / HTTP/9.9\r\nHost: a\r\n\r\n', 505),
    '0xff': (b'\xff' * 64 + b'\r\n\r\n', 400),
}


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', NO_HTTP)
def test_bytes_that_are_no_http_request_are_answered_with_400(service: Any, name: str) -> None:
    garbage, status = NO_HTTP[name]
    server = service()
    raw = Raw.connect(server)
    raw.send(garbage)
    answer = raw.read_all()
    assert answer.startswith(b'HTTP/1.1 %d ' % status), answer
    assert server.opened == 0


@pytest.mark.usefixtures('quiet')
def test_random_bytes_never_upset_the_server(service: Any) -> None:
    server = service(handshake_timeout=0.2)
    noise = random.Random(6455)
    for size in (1, 10, 100, 1000, 10_000, 100_000):
        raw = Raw.connect(server)
        raw.try_send(noise.randbytes(size))
        raw.read_all()
        raw.close()
    assert server.opened == 0
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, b'still here') + frame(CLOSE, struct.pack('!H', 1000)))
    assert raw.frame() == (TEXT, b'still here')
    raw.close()


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('what', ['request line', 'one header', 'many headers', 'no end'])
def test_more_than_16_kib_of_request_are_refused(service: Any, what: str) -> None:
    many = b''.join(b'X-%d: %s\r\n' % (number, b'x' * 100) for number in range(400))
    data = {
        'request line': b'GET /' + b'x' * (20 * KIB) + b' HTTP/1.1\r\nHost: a\r\n\r\n',
        'one header': request().replace(b'\r\n\r\n', b'\r\nX-Long: ' + b'x' * (20 * KIB) + b'\r\n\r\n'),
        'many headers': request().replace(b'\r\n\r\n', b'\r\n' + many + b'\r\n'),
        'no end': b'x' * (20 * KIB),
    }[what]
    server = service()
    raw = Raw.connect(server)
    raw.try_send(data)
    answer = raw.read_all()
    raw.close()
    assert answer.startswith(b'HTTP/1.1 431 '), answer
    assert b'16384' in answer, 'the answer names the limit'
    assert server.opened == 0


@pytest.mark.usefixtures('quiet')
def test_a_request_of_almost_16_kib_is_answered(service: Any) -> None:
    server = service()
    raw = Raw.upgraded(server, X_Long='x' * (15 * KIB))
    raw.send(frame(TEXT, b'hi'))
    assert raw.frame() == (TEXT, b'hi')
    raw.close()


@pytest.mark.usefixtures('quiet')
def test_headers_that_never_end_hold_no_more_memory_than_the_limit(service: Any) -> None:
    server = service()
    raw = Raw.connect(server)
    with bounded_memory(1024 * KIB):
        raw.try_send(b'GET / HTTP/1.1\r\n')
        line = b'X-More: ' + b'x' * 1000 + b'\r\n'
        for _ in range(4000):
            raw.try_send(line)
        raw.read_all()
    raw.close()


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize(
    'data', [b'', b'GET / HT', b'GET / HTTP/1.1\r\nHost: a\r\n'], ids=['nothing', 'a word', 'half']
)
def test_a_request_that_does_not_come_is_waited_for_no_longer_than_the_timeout(service: Any, data: bytes) -> None:
    server = service(handshake_timeout=0.3)
    raw = Raw.connect(server)
    raw.send(data)
    answer = raw.read_all()
    raw.close()
    assert answer == b''
    assert server.opened == 0


def test_a_client_has_ten_seconds_to_ask_if_nobody_says_otherwise() -> None:
    assert inspect.signature(pyjows.Server).parameters['handshake_timeout'].default == 10


@pytest.mark.usefixtures('quiet')
def test_a_request_that_comes_in_drops_cannot_outlive_the_timeout(service: Any) -> None:
    server = service(handshake_timeout=0.5)
    raw = Raw.connect(server)
    raw.sock.settimeout(0.05)
    started = time.monotonic()
    for byte in request(X_Slow='x' * 4000):
        try:
            raw.sock.send(bytes([byte]))
            if raw.sock.recv(100) == b'':
                break
        except TimeoutError:
            continue
        except OSError:
            break
    else:
        pytest.fail('a request of 4000 bytes, one every 50 ms, was waited for')
    assert time.monotonic() - started < TIMEOUT
    raw.close()


@pytest.mark.usefixtures('quiet')
def test_a_connection_that_ends_before_its_request_leaves_nothing(service: Any) -> None:
    server = service()
    for data in (b'', b'GET / HTTP/1.1\r\n', request()[:-2]):
        raw = Raw.connect(server)
        raw.send(data)
        raw.close()
        raw = Raw.connect(server)
        raw.send(data)
        raw.reset()
    assert server.opened == 0


# HTTP, but no upgrade that RFC 6455 4.2.1 allows


KEY_AGAIN = f'\r\nSec-WebSocket-Key: {UPGRADE["Sec-WebSocket-Key"]}\r\n\r\n'.encode()
WRONG_REQUESTS = {
    'nothing of an upgrade': (b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 404),
    'no Upgrade': (request(Upgrade=None), 426),
    'POST': (request(method='POST', Content_Length='0'), 405),
    'HEAD': (request(method='HEAD'), 405),
    'HTTP/1.0': (request(version='HTTP/1.0'), 400),
    'no host': (request(Host=None), 400),
    'Connection without Upgrade': (request(Connection='keep-alive'), 400),
    'no Connection': (request(Connection=None), 400),
    'another Upgrade': (request(Upgrade='h2c'), 426),
    'no key': (request(Sec_WebSocket_Key=None), 400),
    'a short key': (request(Sec_WebSocket_Key='short'), 400),
    'a key of 15 bytes': (request(Sec_WebSocket_Key=base64.b64encode(bytes(15)).decode()), 400),
    'a key of 17 bytes': (request(Sec_WebSocket_Key=base64.b64encode(bytes(17)).decode()), 400),
    'a key that is no base64': (request(Sec_WebSocket_Key='*' * 24), 400),
    'two keys': (
        request().replace(b'\r\n\r\n', KEY_AGAIN),
        400,
    ),
    'version 12': (request(Sec_WebSocket_Version='12'), 426),
    'version 8': (request(Sec_WebSocket_Version='8'), 426),
    'version in words': (request(Sec_WebSocket_Version='thirteen'), 426),
    'no version': (request(Sec_WebSocket_Version=None), 426),
}


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', WRONG_REQUESTS)
def test_a_wrong_request_is_answered_with_its_status_and_a_line_that_says_why(service: Any, name: str) -> None:
    data, expected = WRONG_REQUESTS[name]
    server = service()
    raw = Raw.connect(server)
    raw.send(data)
    answer = raw.read_all()
    raw.close()
    head, _, body = answer.partition(b'\r\n\r\n')
    status = int(head.split()[1])
    assert status == expected, answer
    if not data.startswith(b'HEAD'):
        assert body.strip(), 'the body says what is wrong'
        assert len(body.strip().splitlines()) == 1
        assert b'text/plain' in head.lower()
    if name.startswith(('version', 'no version')):
        assert b'sec-websocket-version: 13' in head.lower()
    assert server.opened == 0


# A client whose server is no WebSocket server


@pytest.mark.parametrize('status', [200, 301, 401, 403, 404, 426, 500, 503])
def test_a_client_tells_the_status_headers_and_body_of_a_refusal(reactor_name: str, status: int) -> None:
    def refuse(raw: Raw) -> None:
        raw.head()
        raw.send(b'HTTP/1.1 %d No\r\nContent-Length: 9\r\nX-Why: because\r\n\r\ngo away\r\n' % status)
        raw.read_all()

    client = Client(reactor_name, refuse)
    assert client.end[0] == 1006
    [exc] = client.errors
    assert isinstance(exc, pyjows.HandshakeError)
    assert exc.status == status
    assert dict(exc.headers)['X-Why' if 'X-Why' in dict(exc.headers) else 'x-why'] == 'because'
    assert exc.body == b'go away\r\n'
    assert str(status) in str(exc)
    assert not client.opened


@pytest.mark.parametrize(
    'answer',
    [
        b'SSH-2.0-OpenSSH_9.2p1\r\n',
        b'\x15\x03\x01\x00\x02\x02\x16',
        b'HTTP/1.1 101\r\nno colon\r\n\r\n',
        b'HTTP/1.1 abc No\r\n\r\n',
        b'x' * (64 * KIB),
        b'HTTP/1.1 200 OK\r\n' + b'X: y\r\n' * 10_000,
        b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n',
        b'',
    ],
    ids=['SSH', 'TLS', 'no colon', 'no status', 'noise', 'too many headers', 'half an answer', 'nothing'],
)
def test_a_client_whose_server_does_not_speak_http_says_so(reactor_name: str, answer: bytes) -> None:
    def talk(raw: Raw) -> None:
        raw.head()
        raw.try_send(answer)
        with suppress(OSError):  # the client has had enough of a long answer
            raw.sock.shutdown(socket.SHUT_WR)
        raw.read_all()

    client = Client(reactor_name, talk)
    assert client.end[0] == 1006
    assert [isinstance(exc, pyjows.HandshakeError) for exc in client.errors] == [True]
    assert not client.opened


@pytest.mark.parametrize(
    'headers',
    [
        ['Sec-WebSocket-Extensions: permessage-deflate'],
        ['Sec-WebSocket-Extensions: x-unheard-of'],
        ['Sec-WebSocket-Protocol: chat'],
    ],
    ids=['compression', 'unknown extension', 'subprotocol'],
)
def test_a_client_refuses_what_it_did_not_offer(reactor_name: str, headers: list[str]) -> None:
    client = Client(reactor_name, lambda raw: (switch(raw, *headers), raw.read()))
    assert client.end[0] == (1010 if 'Extensions' in headers[0] else 1006)
    [exc] = client.errors
    assert isinstance(exc, pyjows.HandshakeError)
    assert exc.status == 101
    assert headers[0].split(': ')[1] in str(exc)
    assert not client.opened


def test_a_server_hears_which_extensions_a_client_needs_when_it_fails_because_of_them(reactor_name: str) -> None:
    heard = []
    client = Client(
        reactor_name,
        lambda raw: (switch(raw, 'Sec-WebSocket-Extensions: permessage-deflate; x=1'), heard.append(raw.frame())),
        compression=True,
    )
    [(opcode, payload)] = heard
    assert opcode == CLOSE
    assert payload[:2] == (1010).to_bytes(2, 'big')
    assert payload[2:].startswith(b'needed: permessage-deflate; ')
    assert client.end == (1010, payload[2:].decode())
    assert not client.opened


@pytest.mark.parametrize(
    'answer',
    [
        b'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n',
        b'Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
        b'Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n',
        b'Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n',
        b'Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n',
    ],
    ids=['wrong accept key', 'no accept key', 'no Upgrade', 'no Connection', 'another Upgrade'],
)
def test_a_client_refuses_an_answer_that_is_no_switch_to_websocket(reactor_name: str, answer: bytes) -> None:
    def talk(raw: Raw) -> None:
        accept = accept_of(raw.head()).encode()
        raw.send(b'HTTP/1.1 101 Switching Protocols\r\n' + answer.replace(b'%s', accept))
        raw.read_all()

    client = Client(reactor_name, talk)
    assert client.end[0] == 1006
    assert [isinstance(exc, pyjows.HandshakeError) for exc in client.errors] == [True]
    assert not client.opened


def test_a_client_of_a_port_where_nobody_listens_gets_an_error_and_a_finish(reactor_name: str) -> None:
    port = free_port()
    loop = pyjows.IOLoop(reactor=reactor_name)
    ws = pyjows.connect(f'ws://127.0.0.1:{port}/', ioloop=loop)
    heard: list[Any] = []
    ws.on('error', lambda ws, exc: heard.append(exc))
    ws.on('finish', lambda ws, code, reason: (heard.append(code), loop.next_tick(lambda loop: loop.stop())))
    loop.start()
    loop.close()
    assert isinstance(heard[0], OSError)
    assert heard[1:] == [1006]


def test_a_client_waits_for_an_answer_no_longer_than_its_timeout(reactor_name: str) -> None:
    client = Client(reactor_name, lambda raw: (raw.head(), raw.read_all()), timeout=0.3)
    assert client.end[0] == 1006
    assert len(client.errors) == 1


# Frames that break RFC 6455


def broken(masked: bool) -> dict[str, bytes]:
    """Bytes that must end in 1002, as a client (masked) or as a server sends them."""

    def f(opcode: int, payload: bytes = b'', **options: Any) -> bytes:
        return frame(opcode, payload, **{'masked': masked, **options})

    return {
        'RSV1': f(TEXT, b'x', rsv=4),
        'RSV2': f(TEXT, b'x', rsv=2),
        'RSV3': f(BINARY, b'x', rsv=1),
        'RSV on a ping': f(PING, rsv=4),
        **{f'opcode {opcode}': f(opcode, b'x') for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
        'the wrong masking': f(TEXT, b'x', masked=not masked),
        'the wrong masking, empty': f(PING, masked=not masked),
        'fragmented ping': f(PING, b'x', fin=False),
        'fragmented close': f(CLOSE, b'\x03\xe8', fin=False),
        'ping of 126 bytes': f(PING, bytes(126)),
        'close of 126 bytes': f(CLOSE, b'\x03\xe8' + b'x' * 124),
        'close of 1 byte': f(CLOSE, b'\x03'),
        'close with code 1005': f(CLOSE, struct.pack('!H', 1005)),
        'close with code 999': f(CLOSE, struct.pack('!H', 999)),
        'continuation of nothing': f(CONT, b'x'),
        'final continuation of nothing': f(CONT, b'x', fin=False),
        'message within a message': f(TEXT, b'x', fin=False) + f(TEXT, b'y'),
        'continuation after the end': f(TEXT, b'x', fin=False) + f(CONT, b'y') + f(CONT, b'z'),
        'length with the top bit': f(BINARY, b'', length=b'\x7f' + struct.pack('!Q', 1 << 63 | 5)),
        'length 5 in 16 bits': f(BINARY, b'12345', length=b'\x7e\0\x05'),
        'length 125 in 16 bits': f(BINARY, bytes(125), length=b'\x7e\0\x7d'),
        'length 5 in 64 bits': f(BINARY, b'12345', length=b'\x7f' + struct.pack('!Q', 5)),
        'length 65535 in 64 bits': f(BINARY, b'', length=b'\x7f' + struct.pack('!Q', 65535)),
    }


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', broken(True))
def test_a_server_ends_a_broken_connection_with_1002_and_a_reason(service: Any, name: str) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.send(broken(True)[name])
    code, reason = raw.closed_with()
    assert code == 1002
    assert reason
    assert raw.read_all() == b'', 'the close frame is the last, and the server ends TCP'
    raw.close()
    assert server.finish() == (1002, reason)


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', broken(False))
def test_a_client_ends_a_broken_connection_with_1002_and_a_reason(reactor_name: str, name: str) -> None:
    answered: list[tuple[int, str]] = []

    def talk(raw: Raw) -> None:
        switch(raw)
        raw.send(broken(False)[name])
        answered.append(raw.closed_with())

    client = Client(reactor_name, talk)
    assert client.end[0] == 1002
    assert answered == [client.end]
    assert client.end[1]
    assert client.opened == 1
    assert not client.errors


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', ['RSV1', 'the wrong masking', 'ping of 126 bytes', 'message within a message'])
def test_a_broken_frame_is_found_byte_by_byte_too(service: Any, name: str) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in broken(True)[name]:
        raw.try_send(bytes([byte]))
    assert raw.closed_with()[0] == 1002
    raw.close()
    assert server.finish()[0] == 1002


@pytest.mark.usefixtures('quiet')
def test_what_came_before_the_broken_frame_is_delivered(service: Any) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, b'fine') + frame(TEXT, b'x', rsv=2) + frame(TEXT, b'too late'))
    assert raw.frame() == (TEXT, b'fine')
    assert raw.closed_with()[0] == 1002
    assert raw.read_all() == b''
    raw.close()
    assert server.finish()[0] == 1002


# Text that is none


NOT_UTF8 = {
    'a lone continuation byte': b'ok \x80',
    'overlong': b'\xc0\xaf',
    'a surrogate': b'\xed\xa0\x80',
    'above U+10FFFF': b'\xf4\x90\x80\x80',
    'cut short': 'κόσμε'.encode()[:-1],
    'Latin-1': 'für'.encode('latin-1'),
}


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', NOT_UTF8)
def test_text_that_is_no_utf8_ends_with_1007(service: Any, name: str) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, NOT_UTF8[name]))
    code, reason = raw.closed_with()
    assert code == 1007
    raw.close()
    assert server.finish() == (1007, reason)
    assert reason


@pytest.mark.usefixtures('quiet')
def test_text_that_is_no_utf8_in_a_later_fragment_ends_with_1007_before_the_message_does(service: Any) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, 'fine so far κ'.encode()[:-1], fin=False))
    raw.send(frame(CONT, b'no second half', fin=False))
    assert raw.closed_with()[0] == 1007
    raw.close()
    assert server.finish()[0] == 1007


@pytest.mark.usefixtures('quiet')
def test_text_that_is_no_utf8_ends_with_1007_in_the_middle_of_its_frame(service: Any) -> None:
    server = service()
    raw = Raw.upgraded(server)
    whole = frame(TEXT, b'x' * 1000 + b'\xff' + b'x' * 100_000)
    raw.send(whole[:2000])
    assert raw.closed_with()[0] == 1007
    raw.close()
    assert server.finish()[0] == 1007


@pytest.mark.usefixtures('quiet')
def test_a_close_reason_that_is_no_utf8_ends_with_1007(service: Any) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.send(frame(CLOSE, struct.pack('!H', 1000) + b'\xff\xfe'))
    assert raw.closed_with()[0] == 1007
    raw.close()
    assert server.finish()[0] == 1007


@pytest.mark.usefixtures('quiet')
def test_a_client_ends_with_1007_too(reactor_name: str) -> None:
    latin = frame(TEXT, b'\xff', masked=False)
    client = Client(reactor_name, lambda raw: (switch(raw), raw.send(latin), raw.closed_with()))
    assert client.end[0] == 1007


# Too much


LIMIT = 64 * KIB


@pytest.mark.usefixtures('quiet')
def test_a_message_over_the_limit_ends_with_1009_when_its_length_is_known(service: Any) -> None:
    server = service(max_websocket_size=LIMIT)
    raw = Raw.upgraded(server)
    with bounded_memory(1024 * KIB):
        raw.send(frame(BINARY, b'', length=b'\x7f' + struct.pack('!Q', 1 << 40)))
        code, reason = raw.closed_with()
    assert code == 1009
    assert str(LIMIT) in reason
    raw.close()
    assert server.finish() == (1009, reason)


@pytest.mark.usefixtures('quiet')
def test_a_message_of_exactly_the_limit_is_fine_and_one_byte_more_is_not(service: Any) -> None:
    server = service(max_websocket_size=LIMIT)
    raw = Raw.upgraded(server)
    raw.send(frame(BINARY, bytes(LIMIT)))
    assert raw.frame() == (BINARY, bytes(LIMIT))
    raw.try_send(frame(BINARY, bytes(LIMIT + 1)))
    assert raw.closed_with()[0] == 1009
    raw.close()
    assert server.finish()[0] == 1009


@pytest.mark.usefixtures('quiet')
def test_fragments_that_add_up_to_more_than_the_limit_end_with_1009(service: Any) -> None:
    server = service(max_websocket_size=LIMIT)
    raw = Raw.upgraded(server)
    raw.send(frame(BINARY, bytes(1000), fin=False))
    part = frame(CONT, bytes(1000), fin=False)
    with bounded_memory(1024 * KIB):
        for _ in range(2000):
            raw.try_send(part)
        assert raw.closed_with()[0] == 1009
    raw.close()
    assert server.finish()[0] == 1009


@pytest.mark.usefixtures('quiet')
def test_empty_fragments_without_end_hold_no_memory(service: Any) -> None:
    server = service(max_websocket_size=LIMIT)
    raw = Raw.upgraded(server)
    part = frame(CONT, fin=False) * 1000
    with bounded_memory(2048 * KIB):
        raw.send(frame(BINARY, fin=False))
        for _ in range(100):
            raw.send(part)
        raw.send(frame(CONT) + frame(CLOSE))
        assert raw.frame() == (BINARY, b'')
    raw.close()
    assert server.finish()[0] == 1005


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('fragments', [1, 3])
def test_a_decompression_bomb_ends_with_1009_at_the_limit(service: Any, fragments: int) -> None:
    server = service(max_websocket_size=LIMIT, compression=True)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(bytes(64 * 1024 * KIB)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    bomb = bomb[:-4]
    raw = Raw.upgraded(server, Sec_WebSocket_Extensions='permessage-deflate')
    size = -(-len(bomb) // fragments)
    pieces = [bomb[i : i + size] for i in range(0, len(bomb), size)]
    data = b''.join(
        frame(CONT if i else BINARY, piece, fin=i == len(pieces) - 1, rsv=0 if i else 4)
        for i, piece in enumerate(pieces)
    )
    with bounded_memory(1024 * KIB):
        raw.try_send(data)
        assert raw.closed_with()[0] == 1009
    raw.close()
    assert server.finish()[0] == 1009


@pytest.mark.usefixtures('quiet')
def test_compressed_data_that_is_no_deflate_ends_the_connection(service: Any) -> None:
    server = service(compression=True)
    raw = Raw.upgraded(server, Sec_WebSocket_Extensions='permessage-deflate')
    raw.send(frame(BINARY, b'\xff' * 100, rsv=4))
    code, reason = raw.closed_with()
    assert code in (1002, 1007)
    assert reason
    raw.close()
    assert server.finish() == (code, reason)


@pytest.mark.usefixtures('quiet')
def test_a_client_ends_with_1009_too(reactor_name: str) -> None:
    huge = frame(BINARY, b'', masked=False, length=b'\x7f' + struct.pack('!Q', 1 << 40))
    script = lambda raw: (switch(raw), raw.send(huge), raw.closed_with())  # noqa: E731
    client = Client(reactor_name, script, max_websocket_size=LIMIT)
    assert client.end[0] == 1009


# JSON


def test_json_that_does_not_decode_is_an_error_and_the_connection_goes_on(service: Any) -> None:
    heard: list[Any] = []

    def handler(server: Any, ws: Any) -> None:
        ws.on('json', lambda ws, value: ws.send(json=value))
        ws.on('text', lambda ws, message: heard.append(message))
        ws.on('message', lambda ws, message: heard.append(message))
        ws.on('error', lambda ws, exc: heard.append(exc))

    server = service(handler)
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, b'{"half": ') + frame(TEXT, b'[1,2]'))
    assert raw.frame() == (TEXT, b'[1,2]')
    raw.send(frame(CLOSE))
    raw.close()
    assert server.finish()[0] == 1005
    assert heard.count('{"half": ') == 2
    assert heard.count('[1,2]') == 2
    [exc] = [entry for entry in heard if not isinstance(entry, str)]
    assert isinstance(exc, ValueError)


def test_json_that_does_not_decode_ends_with_1007_where_nobody_listens_to_errors(service: Any) -> None:
    heard: list[str] = []

    def handler(server: Any, ws: Any) -> None:
        ws.on('text', lambda ws, message: heard.append(message))
        ws.on('json', lambda ws, value: heard.append(value))

    server = service(handler)
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, b'nonsense'))
    assert raw.closed_with()[0] == 1007
    raw.close()
    assert server.finish()[0] == 1007
    assert heard == ['nonsense']


# Handlers that raise


def test_a_handler_that_raises_is_logged_and_ends_its_connection_with_1011(
    service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(server: Any, ws: Any) -> None:
        def text(ws: Any, message: str) -> None:
            if message == 'fail':
                raise LookupError('the handler is broken')
            ws.send(text=message)

        ws.on('text', text)

    server = service(handler)
    other = Raw.upgraded(server)
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, b'fail'))
    assert raw.closed_with()[0] == 1011
    raw.close()
    assert server.finish()[0] == 1011
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.name.partition('.')[0] == 'pyjows'
    assert 'the handler is broken' in str(record.exc_info[1] if record.exc_info else '')

    other.send(frame(TEXT, b'fine'))
    assert other.frame() == (TEXT, b'fine')
    other.send(frame(CLOSE, struct.pack('!H', 1000)))
    other.close()
    assert server.finish(2)[0] == 1000


@pytest.mark.usefixtures('quiet')
def test_a_handler_that_raises_is_an_error_event_where_somebody_listens(service: Any) -> None:
    heard: list[Exception] = []

    def handler(server: Any, ws: Any) -> None:
        ws.on('text', lambda ws, message: ws.send(text=str(1 // len(message))))
        ws.on('error', lambda ws, exc: heard.append(exc))

    server = service(handler)
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT) + frame(TEXT, b'1'))
    assert raw.frame() == (TEXT, b'1')
    raw.send(frame(CLOSE))
    raw.close()
    server.finish()
    assert [type(exc) for exc in heard] == [ZeroDivisionError]


def test_a_server_whose_websocket_handler_raises_answers_500_and_lives(service: Any) -> None:
    def handler(server: Any, ws: Any) -> None:
        if ws.req.headers.get('X-Fail'):
            raise LookupError('no')

    server = service(handler)
    raw = Raw.connect(server)
    raw.send(request(X_Fail='yes'))
    answer = raw.read_all()
    assert answer.startswith(b'HTTP/1.1 500 '), answer
    raw.close()
    assert server.finish(1)[0] == 1006
    raw = Raw.upgraded(server)
    raw.close()
    assert server.finish(2)[0] == 1006


# Peers that vanish


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize(
    'before',
    [b'', frame(TEXT, b'x' * 100)[:50], frame(TEXT, b'x', fin=False)],
    ids=['after nothing', 'in a frame', 'between fragments'],
)
@pytest.mark.parametrize('how', ['close', 'reset', 'shutdown'])
def test_a_peer_that_vanishes_ends_with_1006(service: Any, how: str, before: bytes) -> None:
    server = service()
    raw = Raw.upgraded(server)
    raw.send(before)
    if how == 'shutdown':
        raw.sock.shutdown(socket.SHUT_WR)
        raw.read_all()
        raw.close()
    else:
        getattr(raw, how)()
    assert server.finish()[0] == 1006


@pytest.mark.usefixtures('quiet')
def test_a_client_whose_server_vanishes_ends_with_1006(reactor_name: str) -> None:
    client = Client(reactor_name, lambda raw: (switch(raw), raw.reset()))
    assert client.end[0] == 1006
    assert client.opened <= 1


@pytest.mark.usefixtures('quiet')
def test_a_reset_while_writing_ends_with_1006(service: Any) -> None:
    def handler(server: Any, ws: Any) -> None:
        ws.on('text', lambda ws, message: ws.send(binary=bytes(32 * 1024 * KIB)))

    server = service(handler)
    raw = Raw.upgraded(server)
    raw.send(frame(TEXT, b'more'))
    raw.take(100_000)
    raw.reset()
    assert server.finish()[0] == 1006


@pytest.mark.usefixtures('quiet')
def test_a_peer_that_answers_no_ping_is_given_up(service: Any) -> None:
    server = service(ping_interval=0.2, ping_timeout=0.2)
    raw = Raw.upgraded(server)
    assert raw.frame()[0] == PING
    assert raw.read_all() == b''
    assert server.finish()[0] == 1006
    raw.close()


@pytest.mark.usefixtures('quiet')
def test_a_peer_that_does_not_answer_a_close_is_given_up_after_the_close_timeout(service: Any) -> None:
    server = service(lambda server, ws: ws.on('open', lambda ws: ws.finish(1000, 'done')), close_timeout=0.3)
    raw = Raw.upgraded(server)
    assert raw.closed_with() == (1000, 'done')
    assert raw.read_all() == b''
    raw.close()
    assert server.finish()[0] in (1000, 1006)


# Peers that talk and do not listen


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('opcode', [PING, BINARY], ids=['pings', 'messages'])
def test_a_peer_that_never_reads_its_answers_is_not_read_any_further(service: Any, opcode: int) -> None:
    transactions: list[Any] = []

    def handler(server: Any, ws: Any) -> None:
        transactions.append(ws)
        echo(server, ws)

    server = service(handler)
    raw = Raw.upgraded(server)
    batch = frame(opcode, bytes(125)) * 1000
    raw.sock.setblocking(False)
    sent = 0

    def blocked() -> bool:
        """Send until the kernel takes no more; tells whether that has stayed so for a while."""
        nonlocal sent
        before = sent
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                sent += raw.sock.send(batch[sent % len(batch) :])
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 256 * 1024 * KIB, 'it reads on and on'
        return sent == before

    with bounded_memory(8 * 1024 * KIB):
        until(blocked, 'the server to stop reading')
        assert transactions[0].buffered_amount < 4 * 1024 * KIB
    raw.reset()
    assert server.finish()[0] == 1006


# What users get wrong


class Mistakes:
    """Makes each mistake in an `open` handler and keeps what it raised."""

    def __init__(self, *mistakes: Callable[[Any], object]) -> None:
        self.mistakes = mistakes
        self.raised: list[BaseException | None] = []

    def __call__(self, server: Any, ws: Any) -> None:
        ws.on('open', self.make)

    def make(self, ws: Any) -> None:
        for mistake in self.mistakes:
            try:
                mistake(ws)
                self.raised.append(None)
            except Exception as exc:
                self.raised.append(exc)
        ws.send(text='made')


MISTAKES: dict[str, Callable[[Any], object]] = {
    'finish(999)': lambda ws: ws.finish(999),
    'finish(1004)': lambda ws: ws.finish(1004),
    'finish(1005)': lambda ws: ws.finish(1005),
    'finish(1006)': lambda ws: ws.finish(1006),
    'finish(1015)': lambda ws: ws.finish(1015),
    'finish(5000)': lambda ws: ws.finish(5000),
    "finish('1000')": lambda ws: ws.finish('1000'),
    'a reason of 124 bytes': lambda ws: ws.finish(1000, 'x' * 124),
    'a reason of 62 characters, 124 bytes': lambda ws: ws.finish(1000, 'é' * 62),
    'a reason that is no str': lambda ws: ws.finish(1000, b'bytes'),
    'a reason that is no UTF-8': lambda ws: ws.finish(1000, '\ud800'),
    'text of bytes': lambda ws: ws.send(text=b'bytes'),
    'text of None': lambda ws: ws.send(text=None),
    'text with a lone surrogate': lambda ws: ws.send(text='\ud800'),
    'binary of str': lambda ws: ws.send(binary='str'),
    'binary of int': lambda ws: ws.send(binary=5),
    'JSON of a set': lambda ws: ws.send(json={1, 2}),
    'send(42)': lambda ws: ws.send(42),
    'send()': lambda ws: ws.send(),
    'text and binary': lambda ws: ws.send(text='a', binary=b'b'),
    'opcode 16': lambda ws: ws.send(frame=(1, 0, 0, 0, 16, b'')),
    'a ping of 126 bytes': lambda ws: ws.send(frame=(1, 0, 0, 0, 9, bytes(126))),
    'half a frame': lambda ws: ws.send(frame=(1, 0, 0)),
}


@pytest.mark.usefixtures('quiet')
@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_raises_at_the_call_and_the_connection_goes_on(service: Any, name: str) -> None:
    made = Mistakes(MISTAKES[name])
    server = service(made)
    raw = Raw.upgraded(server)
    assert raw.frame() == (TEXT, b'made')
    raw.send(frame(CLOSE, struct.pack('!H', 1000)))
    raw.close()
    assert server.finish()[0] == 1000
    [exc] = made.raised
    assert isinstance(exc, (ValueError, TypeError))
    assert str(exc)


@pytest.mark.usefixtures('quiet')
def test_sending_after_the_close_raises(service: Any) -> None:
    raised: list[Exception] = []

    def handler(server: Any, ws: Any) -> None:
        def open(ws: Any) -> None:
            ws.finish(4000, 'enough')
            for late in (lambda: ws.send(text='late'), lambda: ws.send(binary=b'late')):
                try:
                    late()
                except pyjows.ConnectionClosed as exc:
                    raised.append(exc)

        ws.on('open', open)

    server = service(handler)
    raw = Raw.upgraded(server)
    assert raw.closed_with() == (4000, 'enough')
    raw.send(frame(CLOSE, struct.pack('!H', 4000)))
    assert raw.read_all() == b''
    raw.close()
    assert server.finish()[0] == 4000
    assert len(raised) == 2


def test_a_url_that_cannot_be_served_or_dialed_raises_at_once() -> None:
    for url in ('ftp://127.0.0.1:1', 'ws://', '127.0.0.1:3000', 'ws://127.0.0.1:99999', 'ws://127.0.0.1:x'):
        with pytest.raises(ValueError, match=r'URL|no host|port'):
            pyjows.serve(url)
        with pytest.raises(ValueError, match=r'URL|no host|port'):
            pyjows.connect(url)


def test_many_broken_connections_at_once_leave_a_healthy_one_alone(service: Any) -> None:
    server = service(handshake_timeout=5)
    healthy = Raw.upgraded(server)
    noise = random.Random(7692)
    raws = []
    for _ in range(50):
        raw = Raw.upgraded(server)
        raw.try_send(noise.randbytes(noise.randrange(1, 500)))
        raws.append(raw)
        healthy.send(frame(TEXT, b'ping me'))
        assert healthy.frame() == (TEXT, b'ping me')
    for raw in raws:
        raw.close()
    healthy.send(frame(CLOSE))
    healthy.close()
    until(lambda: len(server.finished) == 51, '51 finish events')


if os.name == 'nt':  # pragma: no cover
    pytest.skip('raw sockets here are POSIX', allow_module_level=True)
