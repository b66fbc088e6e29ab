"""One connection as whole messages, without I/O: what the blocking and the asyncio faces share.

Owns the messages that were received and wait for the program, how many bytes of them may wait, how the connection
ended, and the keep-alive rule. Must not know sockets, threads or event loops, nor what a frame or a handshake means:
that is `ServerProtocol`'s and `ClientProtocol`'s work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import events
from ..deflate import PerMessageDeflate
from ..errors import HandshakeError
from ..frames import CloseCode
from ..http11 import in_origin_form
from ..protocol import State
from ..sansio import ClientProtocol, Headers, Request, Response, ServerProtocol
from ..url import URL
from .arguments import HeaderPairs, close_frame
from .errors import ConnectionClosed, ConnectionError

__all__ = [
    'Session',
    'client_session',
    'first_common',
    'in_origin_form_with_host',
    'read_response',
    'server_session',
    'typed_request',
]

# Seconds; a check for signs of life that comes later than that (or than `ping_interval`) says nothing about the peer.
_LATE = 1.0

# Bytes of received messages that may wait for the program; above it the connection is not read.
_HIGH_WATER = 1 << 20

# The same while a `send` waits for the peer: if both only sent, neither would read, and both would wait for ever.
_MAX_BACKLOG = 16 << 20

# What a message costs beside its bytes, so that empty messages are bounded too.
_OVERHEAD = 64

_TEXT, _BINARY = 0x01, 0x02

ChooseSubprotocol = Callable[[events.Request], str | None]


class Session:
    """One connection without I/O.

    Attributes:
        protocol: the state machine; bytes to send wait in its ``out``.
        messages: those received, oldest first; taken by `pop`.
        ended: nothing more will be received: a close frame, a violation, a ping time-out or EOF.
        close_reason, close_message: how it ended (`ConnectionClosed`).
        sending: how many calls wait for the peer to take what they send.
    """

    def __init__(self, protocol: ServerProtocol | ClientProtocol, ping_interval: float | None) -> None:
        self.protocol = protocol
        self.messages: deque[str | bytes] = deque()
        self.ended = False
        self.close_reason: int = CloseCode.NO_STATUS_RCVD
        self.close_message: str | None = None
        self.ping_interval = ping_interval
        self.ping_due = 0.0
        self.sending = 0
        self._has_received = True
        self._waiting = 0

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done, and neither side has begun to close."""
        return self.protocol.state is State.OPEN

    # Receiving

    def feed(self, data: bytes | memoryview) -> None:
        """Process received bytes, b'' for EOF."""
        protocol = self.protocol
        if self.ended:
            return
        if data:
            self._has_received = True
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        self.take_frames(protocol.events_received())

    def take_frames(self, frames: Iterable[Any]) -> None:
        """Keep the messages among received frames."""
        for _, _, _, _, opcode, payload in frames:
            if opcode == _TEXT:
                self.messages.append(payload.decode())
            elif opcode == _BINARY:
                self.messages.append(payload)
            else:
                continue
            self._waiting += len(payload) + _OVERHEAD
        protocol = self.protocol
        if protocol.close_rcvd is not None or protocol.parser_exc is not None:
            self.end()

    @property
    def full(self) -> bool:
        """Whether too many bytes wait for the program, so that reading pauses."""
        return self._waiting > (_MAX_BACKLOG if self.sending else _HIGH_WATER)

    def pop(self) -> str | bytes:
        """The oldest message; IndexError where there is none."""
        message = self.messages.popleft()
        self._waiting -= len(message) + _OVERHEAD
        if not self.messages:
            self._waiting = 0  # a str may have had more bytes than it has characters
        return message

    def drop_surplus(self) -> None:
        """Drop the oldest messages while too many bytes wait; for those that come during our close."""
        while self.full:
            self.pop()

    # Sending

    def put(self, data: Any) -> None:
        """Queue one message, a `str` as text and bytes as binary; raises TypeError for anything else."""
        if isinstance(data, str):
            self.protocol.send_text(data.encode())
        elif isinstance(data, (bytes, bytearray, memoryview)):
            self.protocol.send_binary(bytes(data))
        else:
            raise TypeError(f'send() takes str or bytes, not {type(data).__name__}')

    def close(self, reason: int | None, message: str | None) -> None:
        """Queue a close frame (1000 by default), its message cut to the 123 bytes that fit.

        Raises:
            TypeError: the code is not a number, or the message not a `str`.
            ProtocolError: the code may not be sent (RFC 6455 7.4).
        """
        close = close_frame(reason, message)
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(close.code, close.reason)
        self._note_close()

    def fail(self, reason: int, message: str) -> None:
        """Fail the connection: send a close frame with this code and reason."""
        if not self.ended:
            self.protocol.fail(reason, message)
            self.end()

    def end(self) -> None:
        """Nothing more will be received."""
        if not self.ended:
            self.ended = True
            self._note_close()

    def _note_close(self) -> None:
        close = self.protocol.close_rcvd or self.protocol.close_sent
        if close is None:
            self.close_reason = CloseCode.ABNORMAL_CLOSURE
            return
        try:
            self.close_reason = CloseCode(close.code)
        except ValueError:
            self.close_reason = close.code  # an application's own
        self.close_message = close.reason

    def closed(self) -> ConnectionClosed:
        """The exception for a call on the closed connection."""
        return ConnectionClosed(self.close_reason, self.close_message)

    # Keep-alive

    def start_pings(self, now: float) -> None:
        """The connection is open."""
        if self.ping_interval:
            self.ping_due = now + self.ping_interval

    def keep_alive(self, now: float) -> None:
        """When a ping is due: ping the peer, or fail the connection (1008) if it sent nothing since the last ping.

        While reading pauses because the program does not take its messages, a silent peer is not failed. Nor is it when
        this call comes late, because the process stood still: what the peer has sent may not be read yet.
        """
        if not self.ping_interval or now < self.ping_due or self.ended or self.protocol.state is not State.OPEN:
            return
        late = now - self.ping_due
        self.ping_due = now + self.ping_interval
        if self._has_received or self.full:
            self._has_received = self.full
            self.protocol.send_ping()
        elif late < min(self.ping_interval, _LATE):
            self.fail(CloseCode.POLICY_VIOLATION, 'Ping/Pong timeout')


# The opening


def server_session(
    headers: HeaderPairs,
    choose_subprotocol: ChooseSubprotocol,
    max_message_size: int | None,
    ping_interval: float | None,
    method: str = 'GET',
    target: str = '/',
    version: str = 'HTTP/1.1',
) -> Session:
    """A server's session for a request that the host has read; its 101 waits to be sent.

    Raises:
        ConnectionError: the request is not a valid upgrade; `status_code` is what to answer.
    """
    # Emptied below: the protocol lives longer, and must not keep the program's object alive.
    asked: list[tuple[ChooseSubprotocol, events.Request]] = []

    def select(protocol: ServerProtocol, offered: Sequence[str]) -> str | None:
        choose, typed = asked[0]
        return choose(typed)

    protocol = ServerProtocol(
        extensions=[PerMessageDeflate()],
        select_subprotocol=select,
        max_size=max_message_size or None,
        join_fragments=True,
    )
    try:
        target, headers = in_origin_form_with_host(target, headers)
        request = Request(target, Headers(headers), method, version)
    except ValueError as exc:
        raise ConnectionError(400) from exc
    asked.append((choose_subprotocol, typed_request(target, headers)))
    response = protocol.accept(request)
    asked.clear()
    if response.status_code != 101:
        cause = protocol.handshake_exc
        if response.status_code == 500 and cause is not None:
            raise cause  # from choose_subprotocol
        raise ConnectionError(response.status_code) from cause
    protocol.send_response(response)
    return Session(protocol, ping_interval)


def client_session(
    url: URL,
    subprotocols: Sequence[str],
    headers: HeaderPairs,
    max_message_size: int | None,
    ping_interval: float | None,
) -> Session:
    """A client's session; its request waits to be sent, and `read_response` takes the answer."""
    protocol = ClientProtocol(
        url,
        subprotocols=subprotocols,
        extensions=[PerMessageDeflate()],
        max_size=max_message_size or None,
        join_fragments=True,
    )
    request = protocol.connect()
    for name, value in headers:
        if name.lower() in ('host', 'user-agent', 'origin', 'authorization') and name in request.headers:
            del request.headers[name]
        request.headers[name] = value
    protocol.send_request(request)
    return Session(protocol, ping_interval)


def read_response(session: Session, data: bytes) -> bool:
    """Process bytes of the server's answer, b'' for EOF; returns whether the connection is open.

    Raises:
        ConnectionError: the server refused, or its answer is not valid.
    """
    protocol = session.protocol
    if data:
        protocol.receive_data(data)
    else:
        protocol.receive_eof()
    failure = protocol.handshake_exc
    if failure is not None:
        raise ConnectionError(failure.status if isinstance(failure, HandshakeError) else None) from failure
    if protocol.state is State.CONNECTING:
        return False
    # What came behind the answer are frames already.
    frames = [event for event in protocol.events_received() if not isinstance(event, Response)]
    session.take_frames(frames)
    return True


def in_origin_form_with_host(target: str, headers: HeaderPairs) -> tuple[str, HeaderPairs]:
    """The target in origin form, and the headers; the authority of an absolute one is ``Host`` (RFC 9112 3.2.2).

    Raises:
        ValueError: the target is not valid.
    """
    authority, target = in_origin_form(target)
    if authority is not None:
        headers = [('Host', authority), *(pair for pair in headers if pair[0].lower() != 'host')]
    return target, headers


def typed_request(target: str, headers: HeaderPairs) -> events.Request:
    """A request as the typed event that `choose_subprotocol` gets."""
    extra = []
    offered: dict[str, list[str]] = {'sec-websocket-protocol': [], 'sec-websocket-extensions': []}
    host = ''
    for name, value in headers:
        folded = name.lower()
        if folded == 'host':
            host = value
        elif folded in offered:
            offered[folded] += [one.strip() for one in value.split(',') if one.strip()]
        elif folded not in ('connection', 'upgrade', 'sec-websocket-key', 'sec-websocket-version'):
            extra.append((folded.encode(), value.encode('latin-1')))
    return events.Request(
        host=host,
        target=target,
        extensions=offered['sec-websocket-extensions'],
        extra_headers=extra,
        subprotocols=offered['sec-websocket-protocol'],
    )


def first_common(offered: Iterable[str], supported: Sequence[str]) -> str | None:
    """The first subprotocol that the client offers and the server supports."""
    common = [name for name in offered if name in supported]
    return common[0] if common else None
