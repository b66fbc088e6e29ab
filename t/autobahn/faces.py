"""The client under test without a loop: a blocking socket and a face, frames (`pyjows.sansio`) or events.

Each face is one function: it connects, sends back all that comes if it is to echo, and returns the text that came last
when the connection has ended. A server under test needs nothing here: those are in `examples/`.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable

from pyjows.connection import ConnectionState, ConnectionType, WSConnection
from pyjows.events import CloseConnection, Message, Ping, RejectConnection, Request, TextMessage
from pyjows.extensions import PerMessageDeflate
from pyjows.frames import Opcode
from pyjows.protocol import SEND_EOF, State
from pyjows.sansio import ClientPerMessageDeflateFactory, ClientProtocol, Response
from pyjows.url import URL, parse_url
from t.autobahn.peers import MAX_SIZE, PATIENCE

__all__ = ['FACES', 'run']


def run(url: str, face: str) -> int:
    """Go through all cases of the fuzzing server at `url`, and have the reports written; how many cases there were."""
    call = FACES[face]
    cases = int(json.loads(call(f'{url}/getCaseCount', False)))
    for case in range(1, cases + 1):
        call(f'{url}/runCase?case={case}&agent=pyjows', True)
    call(f'{url}/updateReports?agent=pyjows', False)
    return cases


def _frames(url: str, echo: bool) -> bytes:
    protocol = ClientProtocol(
        url,
        extensions=[ClientPerMessageDeflateFactory(client_no_context_takeover=True, compress_settings={'level': 1})],
        max_size=MAX_SIZE,
        defer_close=True,
    )
    protocol.send_request(protocol.connect())
    text = b''
    with _dial(protocol.uri) as sock:
        while protocol.state is not State.CLOSED:
            for data in protocol.data_to_send():
                _write(sock, data)
            if data := _read(sock):
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            for event in protocol.events_received():
                if isinstance(event, Response):
                    continue
                if event.opcode is Opcode.TEXT:
                    text = event.data
                if not echo:
                    continue
                if event.opcode is Opcode.TEXT:
                    protocol.send_text(event.data, event.fin)
                elif event.opcode is Opcode.BINARY:
                    protocol.send_binary(event.data, event.fin)
                elif event.opcode is Opcode.CONT:
                    protocol.send_continuation(event.data, event.fin)
    if protocol.handshake_exc is not None:
        raise protocol.handshake_exc
    return text


def _events(url: str, echo: bool) -> str:
    target = parse_url(url)
    ws = WSConnection(ConnectionType.CLIENT)
    compression = PerMessageDeflate(client_no_context_takeover=True, level=1)
    text = ''
    with _dial(target) as sock:
        _write(sock, ws.send(Request(target.host_header, target.target, [compression])))
        while ws.state is not ConnectionState.CLOSED:
            ws.receive_data(_read(sock) or None)
            for event in ws.events():
                match event:
                    case RejectConnection(status):
                        raise ConnectionError(f'{url} was refused with {status}')
                    case Message(data, _, finished):
                        if isinstance(event, TextMessage):
                            text = data
                        if echo:
                            _write(sock, ws.send(Message(data, message_finished=finished)))
                    case Ping():
                        _write(sock, ws.send(event.response()))
                    case CloseConnection() if ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                        _write(sock, ws.send(event.response()))
        while _read(sock):  # the server ends TCP first
            pass
    return text


FACES: dict[str, Callable[[str, bool], str | bytes]] = {'frames': _frames, 'events': _events}


def _dial(url: URL) -> socket.socket:
    sock = socket.create_connection((url.host, url.port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


# The fuzzing server may drop the connection while something is on its way to it. That is an end, not an error.


def _read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionError:
        return b''


def _write(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        if data == SEND_EOF:
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.sendall(data)
