"""`WSConnection`: a connection without I/O as typed events, wsproto's way.

Owns the view of such a program: which event may be sent in which state, when a state is left, and how a message is
streamed. Must not know how a frame is laid out or which may come when (`protocol.py`), nor what a handshake has to
contain (`handshake/`): it is a face of those two.

Bytes are parsed when their events are asked for, not when they come, and the state follows the events that were taken:
a program that has not yet seen the peer's close frame may still send. Nothing is answered by itself. The states:

    =============== ================================ ================================
    state           left by sending                  left by receiving
    =============== ================================ ================================
    CONNECTING      `AcceptConnection`: OPEN;        `AcceptConnection`: OPEN;
                    `RejectConnection`: REJECTING,   `RejectConnection`: REJECTING
                    CLOSED where it has no body
    REJECTING       the last `RejectData`: CLOSED    the last `RejectData`: CLOSED
    OPEN            `CloseConnection`:               `CloseConnection`:
                    LOCAL_CLOSING                    REMOTE_CLOSING
    REMOTE_CLOSING  `CloseConnection`: CLOSED        –
    LOCAL_CLOSING   –                                `CloseConnection`: CLOSED
    =============== ================================ ================================

A peer that breaks the rules shows as a `CloseConnection` with the code that the RFC names, to be sent back by
``response()``; the state is still OPEN then, and all that comes after it is ignored. The end of the stream
(``receive_data(None)``) is a `CloseConnection` with code 1006, and CLOSED.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from . import http11
from ._signature import ConstructorSignature
from .buffers import BufferPool
from .connection_extensions import (
    adapted_factories,
    applied_extensions,
    client_extensions_handshake,
    server_extensions_handshake,
)
from .errors import (
    HandshakeError,
    InvalidState,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)
from .events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from .extensions import format_extensions
from .frames import Close, CloseCode, Opcode, as_bytes
from .handshake import ClientHandshake, ServerHandshake
from .limits import checked_number
from .protocol import Protocol, Side

__all__ = [
    'CLIENT',
    'SERVER',
    'CloseReason',
    'Connection',
    'ConnectionState',
    'ConnectionType',
    'H11Handshake',
    'Handshake',
    'LocalProtocolError',
    'Opcode',
    'RemoteProtocolError',
    'WSConnection',
    'client_extensions_handshake',
    'server_extensions_handshake',
]

#: wsproto's name for the close codes.
CloseReason = CloseCode


class ConnectionType(enum.Enum):
    """Which end of the connection this is."""

    CLIENT = 1
    SERVER = 2


class ConnectionState(enum.Enum):
    """The state of a connection."""

    CONNECTING = 0
    OPEN = 1
    REMOTE_CLOSING = 2
    LOCAL_CLOSING = 3
    CLOSED = 4
    REJECTING = 5


CLIENT = ConnectionType.CLIENT
SERVER = ConnectionType.SERVER

_CONNECTING = ConnectionState.CONNECTING
_OPEN = ConnectionState.OPEN
_REMOTE_CLOSING = ConnectionState.REMOTE_CLOSING
_LOCAL_CLOSING = ConnectionState.LOCAL_CLOSING
_CLOSED = ConnectionState.CLOSED
_REJECTING = ConnectionState.REJECTING

# Compiled, these are C integers.
_TEXT, _BINARY = Opcode.TEXT.value, Opcode.BINARY.value
_CLOSE, _PING, _PONG = Opcode.CLOSE.value, Opcode.PING.value, Opcode.PONG.value

# Codes that never stand in a close frame (RFC 6455 7.4.1): 1000 is sent instead.
_LOCAL_ONLY = (CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE)

# A program that called `send` this often without calling `bytes_to_send` does not use it.
_MAX_UNFETCHED = 16

_POOL = BufferPool()


class EventProtocol(Protocol):
    """The state machine under a connection: a `Protocol` that collects typed events, and answers nothing by itself."""

    def __init__(self, side: Side, max_size: int | None) -> None:
        Protocol.__init__(self, side, max_size=max_size)
        self._in_parts = True
        self._answers_nothing = True
        # The events that were not taken yet, and among them the one for the peer's close frame.
        self.waiting: list[Event] = []
        self._close_event: Event | None = None
        # The opcode of the message that is being sent in parts, 0 for none.
        self._sent_opcode = 0

    # What the state machine calls

    def _piece_received(self, opcode: int, piece: Any, frame_finished: bool, message_finished: bool) -> None:
        if opcode == _TEXT:
            self._collect(TextMessage(piece, frame_finished, message_finished))
        else:
            self._collect(BytesMessage(piece, frame_finished, message_finished))

    def _control_received(self, opcode: int, payload: bytes) -> None:
        """A control frame becomes an event."""
        if opcode == _PING:
            self._collect(Ping(payload))
        elif opcode == _PONG:
            self._collect(Pong(payload))
        else:
            close = self.close_rcvd
            assert close is not None
            self._close_event = CloseConnection(_close_code(close.code), close.reason)
            self._collect(self._close_event)

    def _fail_violation(self, exc: ProtocolError) -> None:
        Protocol._fail_violation(self, exc)
        self._collect(CloseConnection(_close_code(exc.code), str(exc)))

    def _collect(self, event: Any) -> None:
        self.waiting.append(event)

    # What a connection calls

    def encode_message_part(self, data: Any, fin: bool) -> bytes:
        """A frame with a part of a message, the last one if `fin`, as wire bytes."""
        if isinstance(data, str):
            opcode, payload = _TEXT, data.encode('utf-8')
        elif isinstance(data, (bytes, bytearray, memoryview)):
            opcode, payload = _BINARY, as_bytes(data)
        else:
            raise TypeError(f'the data of a message must be str or bytes, not {type(data).__name__}')
        if self._sent_opcode and self._sent_opcode != opcode:
            raise TypeError('a message is all text or all binary: the parts sent before are of the other kind')
        head = 0 if self._sent_opcode else opcode
        self._sent_opcode = 0 if fin else opcode
        return self.encode_frame(head | 0x80 if fin else head, payload)

    def encode_control(self, opcode: int, payload: Any) -> bytes:
        """A control frame as wire bytes."""
        payload = as_bytes(payload)
        if len(payload) > 125:
            raise LocalProtocolError(f'a control frame of {len(payload)} bytes; at most 125 are allowed (RFC 6455 5.5)')
        return self.encode_frame(0x80 | opcode, payload)

    def encode_close(self, code: int | None, reason: str | None) -> bytes:
        """A close frame as wire bytes; a reason that is too long is cut."""
        if code == CloseCode.NO_STATUS_RCVD:
            code = None
        if code is None:
            if reason:
                raise TypeError('a close reason needs a close code before it (RFC 6455 5.5.1)')
            return self.encode_frame(0x80 | _CLOSE, b'')
        sent = CloseCode.NORMAL_CLOSURE if code in _LOCAL_ONLY else code
        try:
            payload = Close.truncated(sent, reason or '').serialize()
        except ProtocolError as exc:
            raise LocalProtocolError(str(exc)) from exc
        return self.encode_frame(0x80 | _CLOSE, payload)

    def encode_frame(self, head: int, payload: bytes) -> bytes:
        """A frame as wire bytes, through the extensions if it is a data frame."""
        out = self.out = _POOL.acquire()
        try:
            self._send(head, payload)
            return out.take()
        finally:
            self.out = None
            _POOL.release(out)


def _close_code(code: int) -> int:
    """A close code, as a `CloseCode` where it has a name."""
    return CloseCode._value2member_map_.get(code, code)  # type: ignore[return-value]


def _is_client(caller: str, connection_type: Any) -> bool:
    """Whether this is the client's end; raises TypeError for what is not a `ConnectionType`."""
    if not isinstance(connection_type, ConnectionType):
        raise TypeError(
            f'{caller} takes ConnectionType.CLIENT or ConnectionType.SERVER of pyjows, not {connection_type!r}'
        )
    return connection_type is CLIENT


class Connection:
    """A WebSocket connection after its handshake, as events.

    Synopsis::

        connection = Connection(ConnectionType.SERVER)
        connection.receive_data(sock.recv(65536))
        for event in connection.events():
            if isinstance(event, Ping):
                sock.sendall(connection.send(event.response()))

    Args:
        connection_type: `ConnectionType.SERVER` or `ConnectionType.CLIENT`.
        extensions: the negotiated ones; one whose ``enabled()`` is false is left out.
        trailing_data: what came after the handshake already.
        max_size: the largest message, in bytes, after decompression; None for no limit: pieces are delivered as they
            come, and only the current one is kept.

    Attributes:
        client: whether this is the client's end.
        state: a `ConnectionState`.
    """

    __signature__ = ConstructorSignature()

    def __init__(
        self,
        connection_type: ConnectionType,
        extensions: Sequence[Any] | None = None,
        trailing_data: bytes = b'',
        *,
        max_size: int | None = None,
    ) -> None:
        self.client = _is_client('Connection()', connection_type)
        self._protocol = EventProtocol(Side.CLIENT if self.client else Side.SERVER, max_size)
        self._state = _OPEN
        self._unread: list[bytes] = []
        self._taken = 0
        if extensions:
            self._protocol.extensions = applied_extensions(extensions)
        self.receive_data(trailing_data)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """It is neither copied nor pickled: raises TypeError."""
        raise TypeError(f'{type(self).__name__} cannot be copied or pickled: it is the state of one connection')

    @property
    def state(self) -> ConnectionState:
        """The state of the connection, after all events that were taken."""
        return self._state

    def send(self, event: Event) -> bytes:
        """The bytes to write for an event: a message, a ping, a pong or a close.

        Raises:
            LocalProtocolError: the state does not allow it, or the RFC does not: a control frame of more than 125
                bytes, a close code that may not be sent.
            TypeError: data that are neither text nor bytes, or of another kind than the message that was begun; a close
                reason without a code.
        """
        protocol = self._protocol
        state = self._state
        if state is _OPEN:
            if isinstance(event, Message):
                return protocol.encode_message_part(event.data, event.message_finished)
            if isinstance(event, Ping):
                return protocol.encode_control(_PING, event.payload)
            if isinstance(event, Pong):
                return protocol.encode_control(_PONG, event.payload)
        if isinstance(event, CloseConnection) and (state is _OPEN or state is _REMOTE_CLOSING):
            data = protocol.encode_close(event.code, event.reason)
            self._state = _LOCAL_CLOSING if state is _OPEN else _CLOSED
            return data
        raise LocalProtocolError(f'{event} cannot be sent in state {state}')

    def receive_data(self, data: bytes | None) -> None:
        """Take bytes from the network, None for EOF; `events` is to be called then.

        Raises:
            LocalProtocolError: the connection is closed.
            TypeError: it is not bytes-like.
        """
        if data is None:
            self._parse_received()
            self._protocol._collect(CloseConnection(CloseCode.ABNORMAL_CLOSURE))
            self._state = _CLOSED
        elif self._state is _OPEN or self._state is _LOCAL_CLOSING:
            if data:
                self._unread.append(as_bytes(data))
        elif self._state is _CLOSED:
            raise LocalProtocolError('the connection is closed')

    def events(self) -> Iterator[Event]:
        """The events that were not taken yet, one after the other."""
        event: Event
        protocol = self._protocol
        while True:
            waiting = protocol.waiting
            if self._taken < len(waiting):
                event = waiting[self._taken]
                self._taken += 1
                if event is protocol._close_event:
                    self._close_delivered()
                yield event
            elif self._unread:
                self._parse_received()
            else:
                if waiting:
                    self._taken = 0
                    protocol.waiting = []
                return

    def _parse_received(self) -> None:
        """Parse what was received into events."""
        unread = self._unread
        if unread:
            self._unread = []
            if self._taken == len(self._protocol.waiting):
                self._protocol.waiting = []
                self._taken = 0
            data = unread[0] if len(unread) == 1 else b''.join(unread)
            self._protocol.feed(data, len(data))

    def _close_delivered(self) -> None:
        """The program was given the peer's close frame."""
        if self._state is _OPEN:
            self._state = _REMOTE_CLOSING
        elif self._state is _LOCAL_CLOSING:
            self._state = _CLOSED


class WSConnection:
    """A WebSocket connection without I/O, from its handshake on: bytes in, typed events out, and back.

    Synopsis::

        ws = WSConnection(ConnectionType.SERVER)
        while ws.state is not ConnectionState.CLOSED:
            ws.receive_data(sock.recv(65536) or None)
            for event in ws.events():
                if isinstance(event, Request):
                    sock.sendall(ws.send(AcceptConnection()))
                elif isinstance(event, (Ping, CloseConnection)):
                    sock.sendall(ws.send(event.response()))
                elif isinstance(event, TextMessage):
                    print(event.data)

    Args:
        connection_type: `ConnectionType.SERVER` or `ConnectionType.CLIENT`.
        max_size: the largest message, in bytes, after decompression; None for no limit.

    Attributes:
        client: whether this is the client's end.
        handshake: the `Handshake`.
        connection: the `Connection` after it; None before.
        state: a `ConnectionState`.
    """

    __signature__ = ConstructorSignature()

    def __init__(self, connection_type: ConnectionType, *, max_size: int | None = None) -> None:
        self.client = _is_client('WSConnection()', connection_type)
        if max_size is not None:
            checked_number('WSConnection()', 'max_size', max_size, 0, 'bytes', whole=True)
        self.handshake = Handshake(connection_type, max_size=max_size)
        self.connection: Connection | None = None
        self._unfetched: list[bytes] | None = []
        self._uses_bytes_to_send = False

    def __reduce_ex__(self, protocol: Any) -> Any:
        """It is neither copied nor pickled: raises TypeError."""
        raise TypeError(f'{type(self).__name__} cannot be copied or pickled: it is the state of one connection')

    @property
    def state(self) -> ConnectionState:
        """The state of the connection, after all events that were taken."""
        return self.handshake.state if self.connection is None else self.connection._state

    def initiate_upgrade_connection(self, headers: Iterable[tuple[bytes, bytes]], path: bytes | str) -> None:
        """Take an upgrade request that the host has read from the socket already (server).

        Raises:
            RemoteProtocolError: as `receive_data` does.
            LocalProtocolError: this is a client, or the path or a header is malformed.
        """
        self.handshake.initiate_upgrade_connection(headers, path)

    def send(self, event: Event) -> bytes:
        """The bytes to write for an event; raises like `Connection.send`."""
        if self.connection is not None:
            data = self.connection.send(event)
        else:
            data = self.handshake.send(event)
            self.connection = self.handshake.connection
        if self._unfetched is not None:
            self._keep_unfetched(data)
        return data

    def bytes_to_send(self) -> bytes:
        """All that `send` returned since the last call, for programs that write later; those use it from the start."""
        self._uses_bytes_to_send = True
        data, self._unfetched = b''.join(self._unfetched or ()), []
        return data

    def receive_data(self, data: bytes | None) -> None:
        """Take bytes from the network, None for EOF; `events` is to be called then.

        Raises:
            RemoteProtocolError: the handshake is not valid; a server sends its `event_hint` in answer.
            LocalProtocolError: the connection is closed.
        """
        if self._unfetched and not self._uses_bytes_to_send:
            self._unfetched = None
        if self.connection is not None:
            self.connection.receive_data(data)
        else:
            self.handshake.receive_data(data)
            self.connection = self.handshake.connection

    def events(self) -> Iterator[Event]:
        """The events that were not taken yet, one after the other."""
        if self.connection is not None and not self.handshake.waiting:
            return self.connection.events()
        return self._all_events()

    def _all_events(self) -> Iterator[Event]:
        yield from self.handshake.events()
        if self.connection is not None:
            yield from self.connection.events()

    def _keep_unfetched(self, data: bytes) -> None:
        """Keep what `send` returned for `bytes_to_send`, unless the program does not use it."""
        if self._unfetched is not None:
            self._unfetched.append(data)
            if len(self._unfetched) > _MAX_UNFETCHED and not self._uses_bytes_to_send:
                self._unfetched = None


class Handshake:
    """The opening handshake as events, the part of `WSConnection` before there is a `Connection`.

    Attributes:
        client: whether this is the client's end.
        state: CONNECTING, OPEN, REJECTING or CLOSED.
        connection: the `Connection`, once the request is accepted.
        waiting: the events that were not taken yet.
    """

    __signature__ = ConstructorSignature()

    def __init__(self, connection_type: ConnectionType, *, max_size: int | None = None) -> None:
        self.client = connection_type is CLIENT
        self.state = _CONNECTING
        self.connection: Connection | None = None
        self.waiting: list[Event] = []
        self._max_size = max_size
        self._server: ServerHandshake | None = None if self.client else ServerHandshake()
        self._client: ClientHandshake | None = None
        self._body_delivered = 0  # how many bytes of a refusal's body were delivered

    def __repr__(self) -> str:
        return f'{type(self).__name__}(client={self.client}, state={self.state})'

    def initiate_upgrade_connection(self, headers: Iterable[tuple[bytes, bytes]], path: bytes | str) -> None:
        """Take a request that was read already; raises as `WSConnection.initiate_upgrade_connection`."""
        if self._server is None:
            raise LocalProtocolError('a client has no upgrade request to take: it sends one, a Request')
        try:
            request = http11.Request('GET', path if isinstance(path, str) else path.decode('ascii'), list(headers))
        except (TypeError, ValueError) as exc:
            raise LocalProtocolError(str(exc)) from exc
        try:
            self._request_received(self._server, self._server.begin(request))
        except HandshakeError as exc:
            raise _bad_request(exc) from exc

    def send(self, event: Event) -> bytes:
        """The bytes to write for an event of the handshake; raises LocalProtocolError where it does not fit."""
        try:
            if isinstance(event, Request):
                return self._send_request(event)
            if isinstance(event, AcceptConnection):
                return self._accept(event)
            if isinstance(event, RejectConnection):
                return self._reject(event)
            if isinstance(event, RejectData):
                return self._reject_data(event)
        except LocalProtocolError:
            raise
        except (HandshakeError, InvalidState, TypeError, ValueError) as exc:
            raise LocalProtocolError(str(exc)) from exc
        raise LocalProtocolError(f'{event} cannot be sent during the handshake')

    def receive_data(self, data: bytes | None) -> None:
        """Take bytes from the network, None for EOF; raises as `WSConnection.receive_data`."""
        data = bytes(data or b'')
        if self._server is not None:
            try:
                request = self._server.receive(data)
                if not data:
                    self._server.eof()
            except HandshakeError as exc:
                raise _bad_request(exc) from exc
            if request is not None:
                self._request_received(self._server, request)
        elif self._client is None:
            raise RemoteProtocolError('the server sent something before the request', RejectConnection())
        else:
            try:
                response = self._client.receive(data)
                if not data:
                    self._client.eof()
            except HandshakeError as exc:
                if exc.status is None or exc.status == 101:
                    raise RemoteProtocolError(str(exc), RejectConnection()) from exc
                self._reject_received(self._client, True)
            else:
                if response is None:
                    self._reject_received(self._client, False)
                else:
                    self._accept_received(self._client, response)

    def events(self) -> Iterator[Event]:
        """The events that were not taken yet, one after the other."""
        while self.waiting:
            yield self.waiting.pop(0)

    # Server

    def _request_received(self, handshake: ServerHandshake, request: http11.Request) -> None:
        """Check an upgrade request, which becomes an event."""
        headers = request.headers
        try:
            handshake.verify(request)
        except HandshakeError as exc:
            version = headers.get('sec-websocket-version')
            hint = RejectConnection()
            if version != '13':
                hint = RejectConnection(426 if version else 400, [(b'Sec-WebSocket-Version', b'13')])
            raise RemoteProtocolError(str(exc), hint) from exc
        self.waiting.append(
            Request(
                host=_from_idna(headers['host']),
                target=request.target,
                extensions=[format_extensions([offer]) for offer in request.extensions],
                extra_headers=_extra_headers(headers, _REQUEST_FIELDS),
                subprotocols=list(request.subprotocols),
            )
        )

    def _accept(self, event: AcceptConnection) -> bytes:
        """The 101; from then on there is a `Connection`."""
        handshake = self._pending_handshake('accepted')
        if handshake.request is None:
            raise LocalProtocolError('there is no request to accept yet: it comes as an event')
        data = handshake.accept(
            headers=event.extra_headers, subprotocol=event.subprotocol, extensions=adapted_factories(event.extensions)
        )
        self._open(handshake.agreed_extensions, handshake.trailing_data)
        return data

    def _reject(self, event: RejectConnection) -> bytes:
        handshake = self._pending_handshake('rejected')
        data = handshake.respond(http11.Response(event.status_code, event.headers), more=event.has_body)
        self.state = _REJECTING if event.has_body else _CLOSED
        return data

    def _reject_data(self, event: RejectData) -> bytes:
        """A piece of the body of a refusal."""
        if self.state is not _REJECTING or self._server is None:
            raise LocalProtocolError(f'the body of a refusal cannot be sent in state {self.state}')
        data = self._server.respond_more(event.data, more=not event.body_finished)
        if event.body_finished:
            self.state = _CLOSED
        return data

    def _pending_handshake(self, how: str) -> ServerHandshake:
        """The handshake of a server that has not answered yet; raises LocalProtocolError otherwise."""
        if self._server is None:
            raise LocalProtocolError(f'a connection cannot be {how} by a client')
        if self.state is not _CONNECTING:
            raise LocalProtocolError(f'a connection cannot be {how} in state {self.state}')
        return self._server

    # Client

    def _send_request(self, event: Request) -> bytes:
        """The request of a client."""
        if not self.client:
            raise LocalProtocolError('a server sends no Request: it receives one')
        if self._client is not None:
            raise LocalProtocolError('the Request was sent already: one connection makes one')
        self._client = ClientHandshake(
            (event.host.encode('idna').decode('ascii'), event.target),
            headers=event.extra_headers,
            subprotocols=event.subprotocols,
            extensions=adapted_factories(event.extensions),
            user_agent=None,
        )
        return self._client.send()

    def _accept_received(self, handshake: ClientHandshake, response: http11.Response) -> None:
        extensions = handshake.agreed_extensions
        self._open(extensions, handshake.trailing_data)
        headers = _extra_headers(response.headers, _RESPONSE_FIELDS)
        self.waiting.append(AcceptConnection(handshake.subprotocol, list(extensions), headers))

    def _reject_received(self, handshake: ClientHandshake, whole: bool) -> None:
        """Deliver as much of a refusal as was received and is new."""
        head = handshake.refusal
        if head is None:
            return
        if self.state is _CONNECTING:
            self.state = _REJECTING
            self.waiting.append(RejectConnection(head.status, _extra_headers(head.headers, ()), True))
        if self._body_delivered < len(head.body):
            self.waiting.append(RejectData(head.body[self._body_delivered :], False))
            self._body_delivered = len(head.body)
        if whole:
            self.state = _CLOSED
            self.waiting.append(RejectData(b'', True))

    # Both

    def _open(self, extensions: Sequence[Any], trailing: bytes) -> None:
        self.state = _OPEN
        side = CLIENT if self.client else SERVER
        self.connection = Connection(side, extensions, trailing, max_size=self._max_size)


#: wsproto's name for it.
H11Handshake = Handshake


# Headers that are fields of the event, and not among its extra headers.
_REQUEST_FIELDS = (b'host', b'sec-websocket-extensions', b'sec-websocket-protocol')
_RESPONSE_FIELDS = (
    b'connection',
    b'sec-websocket-accept',
    b'sec-websocket-extensions',
    b'sec-websocket-protocol',
    b'upgrade',
)


def _extra_headers(headers: http11.Headers, shown: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """All headers but those in `shown`, names in lower case."""
    return [(name.lower(), value) for name, value in headers.raw if name.lower() not in shown]


def _from_idna(host: str) -> str:
    try:
        return host.encode('ascii').decode('idna')
    except UnicodeError:
        return host


def _bad_request(exc: HandshakeError) -> RemoteProtocolError:
    return RemoteProtocolError(str(exc), RejectConnection(exc.status or 400))
