"""What is fuzzed, and what must hold.

Every target is a function of bytes that returns when all is well. No exception but the documented ones may leave the
library, and the way the bytes were cut on their way must make no difference. `SEEDS` has a few good inputs of each.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from pyjows import HandshakeError, PayloadTooBig, PerMessageDeflate, ProtocolError, WebSocket
from pyjows.extensions import format_extensions, negotiate_client, negotiate_server, offer_header, parse_extensions
from pyjows.frames import Frame, build_frame, parse_frame
from pyjows.handshake import ClientHandshake, Request, ServerHandshake, parse_subprotocols
from pyjows.protocol import Protocol, Side, State
from pyjows.url import parse_url

__all__ = ['SEEDS', 'TARGETS']

_LIMIT = 4096


def frames(data: bytes) -> None:
    """One frame: read like a naive reader of RFC 6455 5.2 reads it, and written as it was read."""
    expected = _naive(data)
    try:
        frame = parse_frame(data, _LIMIT)
    except PayloadTooBig:
        assert isinstance(expected, int) and expected > _LIMIT, expected
        return
    except ProtocolError:
        assert expected == 'error', expected
        return
    buffer = bytearray(data)
    assert parse_frame(buffer, _LIMIT) == frame
    if frame is None:
        assert expected is None, expected
        assert buffer == data
        return
    assert isinstance(expected, tuple), expected
    used, values = expected
    assert tuple(frame) == values
    assert buffer == data[used:]
    for cut in {0, 1, 2, 3, used // 2, used - 1}:
        assert parse_frame(data[: max(0, min(cut, used - 1))]) is None
    for masked in (False, True):
        written = build_frame(*frame, masked=masked)
        assert parse_frame(written) == frame
        assert (written[1] & 0x80 != 0) == masked
    assert Frame(frame.opcode, frame.data, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) == frame


def _naive(data: bytes) -> Any:
    """(size, values) of the first frame; its length if over the limit; 'error'; None if it is not whole."""
    if len(data) < 2:
        return None
    n, at = data[1] & 0x7F, 2
    if n > 125:
        width, least = (2, 126) if n == 126 else (8, 65536)
        if len(data) < 2 + width:
            return None
        n, at = int.from_bytes(data[2 : 2 + width], 'big'), 2 + width
        if n < least or n >> 63:
            return 'error'
    key = bytes(4)
    if data[1] & 0x80:
        if len(data) < at + 4:
            return None
        key, at = data[at : at + 4], at + 4
    if n > _LIMIT:
        return n
    if len(data) < at + n:
        return None
    payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(data[at : at + n]))
    bits = tuple(bool(data[0] & bit) for bit in (0x80, 0x40, 0x20, 0x10))
    return at + n, (*bits, data[0] & 15, payload)


def protocol(data: bytes) -> None:
    """A connection after its handshake: the same bytes, whole and in pieces, mean and are answered the same."""
    if len(data) < 2:
        return
    settings, seed, wire = data[0], data[1], data[2:]
    whole = _converse(settings, [wire])
    assert _converse(settings, list(_pieces(wire, seed))) == whole
    assert _collect(settings, list(_pieces(wire, seed))) == _collect(settings, [wire])


def _converse(settings: int, pieces: list[bytes]) -> Any:
    """What a transaction tells of these bytes, and what it answers (unmasked, close reasons left out)."""
    masked = bool(settings & 1)
    compression = bool(settings & 2) and PerMessageDeflate(
        server_no_context_takeover=bool(settings & 4), client_no_context_takeover=bool(settings & 4)
    )
    ws = WebSocket(established=True, masked=masked, compression=compression, max_websocket_size=_LIMIT)
    seen: list[Any] = []
    for event in ('text', 'binary', 'json'):
        ws.on(event, lambda ws, value, event=event: seen.append((event, repr(value))))
    ws.on('error', lambda ws, exc: seen.append(('error', type(exc))))
    ws.on('finish', lambda ws, code, reason: seen.append(('finish', code)))
    if settings & 8:
        ws.on('text', lambda ws, text: ws.send(text=text) if ws.protocol.state is State.OPEN else None)
    if settings & 16:
        ws.on('binary', lambda ws, message: ws.finish(4000))
    if settings & 32:
        ws.on('frame', lambda ws, frame: None)
    out = b''
    for piece in pieces:
        ws.server_read(piece)
        out += ws.server_write()
    ws.server_read(b'')
    out += ws.server_write()
    ws.closed()
    assert [event[0] for event in seen].count('finish') == 1
    assert seen[-1][0] == 'finish'
    sent = []
    while out:
        used, values = _naive_all(out)
        out = out[used:]
        *bits, opcode, payload = values
        sent.append((bits, opcode, payload[:2] if opcode == 8 else payload))
    return seen, sent


def _naive_all(data: bytes) -> Any:
    found = _naive(data) if len(data) < _LIMIT else None
    if not isinstance(found, tuple):  # longer than the limit of what is received: echoes may be
        frame = parse_frame(buffer := bytearray(data))
        assert frame is not None, 'what is sent is whole frames'
        return len(data) - len(buffer), tuple(frame)
    return found


def _collect(settings: int, pieces: list[bytes]) -> Any:
    """The frames that the bare state machine collects, and how it ends; where the close waits, all can be answered."""
    defers = bool(settings & 2)
    machine = Protocol(Side.CLIENT if settings & 1 else Side.SERVER, max_size=_LIMIT, defer_close=defers)
    events: list[Any] = []
    for piece in pieces:
        machine.receive_data(piece)
        came = machine.events_received()
        events += came
        for event in came:
            if defers and event.opcode < 8:
                machine.send_binary(event.data)
        machine.data_to_send()
    machine.receive_eof()
    events += machine.events_received()
    machine.data_to_send()
    assert machine.state is State.CLOSED
    return [tuple(event) for event in events], machine.close_code, machine.close_sent and machine.close_sent.code


def _pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut some bytes, deterministically."""
    at = 0
    while at < len(data):
        seed = (seed * 181 + 97) & 0xFFFF
        size = 1 + (seed >> 3) % (3, 7, 40, 500)[seed & 3]
        yield data[at : at + size]
        at += size


def handshake(data: bytes) -> None:
    """Both ends of the opening handshake, and all that parses a header or a URL."""
    if len(data) < 2:
        return
    kind, seed, wire = data[0], data[1], data[2:]
    if kind % 3 == 0:
        whole, cut = _serve([wire]), _serve(list(_pieces(wire, seed)))
        assert whole == cut, (whole, cut)
    elif kind % 3 == 1:
        whole, cut = _dial([wire]), _dial(list(_pieces(wire, seed)))
        assert whole == cut, (whole, cut)
    else:
        _headers(wire.decode('latin-1'))


def _serve(pieces: list[bytes]) -> Any:
    """What a server makes of these bytes: the requests, and the first answer that it has to give by itself."""
    server = ServerHandshake(max_header_size=2048, max_body_size=2048)
    requests: list[Any] = []
    try:
        for piece in pieces:
            request = server.receive(piece)
            if request is not None:
                requests.append((request.method, request.target, request.headers.raw, request.body))
                refusal = server.check(request)
                if refusal is None:
                    assert server.accept().startswith(b'HTTP/1.1 101 ')
                    return requests, 101
                assert 400 <= refusal.status < 600
                server.respond(refusal)
                return requests, refusal.status
            server.interim()
        server.eof()
    except HandshakeError as exc:
        assert exc.response is not None and 400 <= exc.response.status < 600
        assert server.respond(exc.response).startswith(b'HTTP/1.1 ')
        return requests, exc.response.status
    return requests, None


def _dial(pieces: list[bytes]) -> Any:
    """What a client makes of these bytes."""
    client = ClientHandshake('ws://example.com/', subprotocols=['a', 'b'], max_header_size=2048, max_body_size=2048)
    client.send()
    try:
        for piece in pieces:
            response = client.receive(piece)
            if response is not None:
                return 'open'
        client.eof()
    except HandshakeError as exc:
        return 'failed', exc.status
    return 'waiting'


def _headers(text: str) -> None:
    for parse in (parse_url, parse_subprotocols):
        try:
            parse(text)
        except ValueError:
            pass
    try:
        extensions = parse_extensions(text)
    except ValueError:
        pass
    else:
        assert parse_extensions(format_extensions(extensions)) == extensions
    deflate_ = PerMessageDeflate(client_max_window_bits=12)
    for negotiate in (negotiate_client, negotiate_server):
        try:
            negotiate([deflate_], text)
        except ValueError:
            pass
    try:
        request = Request('GET', '/', {'Host': 'a', 'Sec-WebSocket-Protocol': text, 'Cookie': text})
    except ValueError:
        return
    try:
        assert request.subprotocols is not None and request.cookies is not None
    except ValueError:
        pass


def deflate(data: bytes) -> None:
    """Decompressing anything, within the limit; and whatever is compressed comes back, in any fragments."""
    if len(data) < 3:
        return
    settings, seed, body = data[0], data[1], data[2:]
    options: dict[str, Any] = {
        'server_no_context_takeover': bool(settings & 1),
        'client_no_context_takeover': bool(settings & 2),
        'server_max_window_bits': 9 + settings % 7 if settings & 4 else None,
        'threshold': 16 if settings & 8 else 0,
    }
    offer = PerMessageDeflate(**options)
    answer, (theirs,) = negotiate_server([PerMessageDeflate()], offer_header([offer]))
    (ours,) = negotiate_client([offer], answer)
    # Whatever comes.
    receiver: Any = negotiate_client([offer], answer)[0]
    total = 0
    try:
        pieces = list(_pieces(body, seed))
        for i, piece in enumerate(pieces):
            frame = Frame(0 if i else 1, piece, i == len(pieces) - 1, not i)
            total += len(receiver.decode(frame, max_size=_LIMIT - total).data)
            assert total <= _LIMIT
    except ProtocolError as exc:
        assert exc.code in (1002, 1007, 1009)
    # Whatever goes.
    for sender, reader in ((ours, theirs), (theirs, ours)):
        for message in (body, body[::-1], body[:20]):
            pieces = list(_pieces(message, seed)) or [b'']
            received = b''
            for i, piece in enumerate(pieces):
                sent = sender.encode(Frame(0 if i else 2, piece, i == len(pieces) - 1))
                received += reader.decode(sent, max_size=len(message)).data
            assert received == message


#: By name.
TARGETS: dict[str, Callable[[bytes], None]] = {
    'frames': frames,
    'protocol': protocol,
    'handshake': handshake,
    'deflate': deflate,
}


def _seed_frame(head: int, payload: bytes, key: bytes = b'\1\2\3\4') -> bytes:
    n = len(payload)
    size = struct.pack('!B', 0x80 | n) if n < 126 else struct.pack('!BH', 0xFE, n)
    return bytes([head]) + size + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def _deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


_UPGRADE = (
    b'GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://a\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, b\r\n'
    b'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Version: 13\r\n\r\n'
)

_SWITCH = (
    b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n'
)

#: Where to begin.
SEEDS: dict[str, list[bytes]] = {
    'frames': [
        b'\x81\x05Hello',
        b'\x81\x857\xfa!=\x7f\x9fMQX',
        b'\x82\x7e\x01\x00' + bytes(256),
        b'\x82\x7f' + (65536).to_bytes(8, 'big'),
        b'\x88\x02\x03\xe8',
    ],
    'protocol': [
        b'\x08\x00' + _seed_frame(0x81, 'grüß €'.encode()) + _seed_frame(0x89, b'ping'),
        b'\x00\x01' + _seed_frame(0x01, b'{"a":') + _seed_frame(0x8A, b'') + _seed_frame(0x80, b'1}'),
        b'\x10\x02' + _seed_frame(0x82, bytes(200)) + _seed_frame(0x88, b'\x03\xe8bye'),
        b'\x02\x03' + _seed_frame(0xC1, _deflated(b'hello hello hello')) * 2 + _seed_frame(0x81, b'plain'),
        b'\x06\x03' + _seed_frame(0x42, _deflated(bytes(500))[:5]) + _seed_frame(0x80, _deflated(bytes(500))[5:]),
        b'\x01\x04\x81\x03abc\x02\x01x\x80\x01y\x88\x00',
        b'\x20\x05' + _seed_frame(0x81, b'\xed\xa0\x80') + _seed_frame(0x88, b'\x03\xed'),
    ],
    'handshake': [
        b'\0\0' + _UPGRADE,
        b'\0\1POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
        b'\1\0' + _SWITCH,
        b'\1\1HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!',
        b'\2\0wss://user:pw@example.com:8443/path?x=1',
        b'\2\0ws+unix:///run/a.sock:/target',
        b'\2\0permessage-deflate; client_max_window_bits="10"; server_no_context_takeover, x-other; a=b',
    ],
    'deflate': [b'\0\0' + _deflated(b'hello ' * 20), b'\x0f\1' + bytes(300), b'\4\2' + bytes(range(256))],
}
