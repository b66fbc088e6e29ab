"""Why a connection ends: the close codes, what a close frame says, and the exceptions.

Owns the names of what can go wrong. Must not know how a connection works, nor how a frame looks: each class says what
went wrong and carries the evidence.

A peer's mistakes never raise through the loop; they close the connection and arrive as ``finish``. The exceptions here
are raised by the call that made the mistake (`ConnectionClosed`, `InvalidState`, `LocalProtocolError`), or are the
argument of ``error`` (`HandshakeError`), or are found as ``parser_exc`` by programs that drive the protocol themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from ._text import escaped

__all__ = [
    'OK_CLOSE_CODES',
    'Close',
    'CloseCode',
    'ConnectionClosed',
    'ConnectionClosedError',
    'ConnectionClosedOK',
    'DuplicateParameter',
    'HandshakeError',
    'InvalidHandshake',
    'InvalidHeader',
    'InvalidHeaderFormat',
    'InvalidHeaderValue',
    'InvalidMessage',
    'InvalidMethod',
    'InvalidOrigin',
    'InvalidParameterName',
    'InvalidParameterValue',
    'InvalidProtocol',
    'InvalidState',
    'InvalidStatus',
    'InvalidURI',
    'InvalidUpgrade',
    'LocalProtocolError',
    'NegotiationError',
    'PayloadTooBig',
    'ProtocolError',
    'RemoteProtocolError',
    'UnexpectedMessage',
    'WebSocketError',
    'WebSocketException',
    'ungrouped',
]


class CloseCode(enum.IntEnum):
    """Why a connection closes (RFC 6455 7.4.1, and the registry of section 11.7)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    # 1004 is reserved
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015
    # wsproto's names for three of them.
    INVALID_FRAME_PAYLOAD_DATA = 1007
    MANDATORY_EXT = 1010
    TLS_HANDSHAKE_FAILED = 1015


#: A connection that closed with these on both sides closed in good order.
OK_CLOSE_CODES = frozenset((CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD))

# Codes that a program may see, but that never stand in a close frame (RFC 6455 7.4.1).
_NOT_SENT = (CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE)

_EXPLAINED = {
    CloseCode.NORMAL_CLOSURE: 'OK',
    CloseCode.UNSUPPORTED_DATA: 'unsupported data',
    CloseCode.NO_STATUS_RCVD: 'no status code received [internal]',
    CloseCode.ABNORMAL_CLOSURE: 'abnormal closure [internal]',
    CloseCode.INVALID_DATA: 'invalid frame payload data',
    CloseCode.MESSAGE_TOO_BIG: 'message too big',
    CloseCode.TLS_HANDSHAKE: 'TLS handshake failure [internal]',
}

# A control frame holds 125 bytes (RFC 6455 5.5), and the close code takes two of them.
_MAX_REASON = 123


class WebSocketError(Exception):
    """Base of all exceptions that pyjows raises itself."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)

    def __reduce__(self) -> Any:
        # What `__init__` is given differs from what `args` holds: the message.
        return _restored, (type(self), self.args), self.__dict__


def _restored(cls: type[WebSocketError], args: tuple[Any, ...]) -> WebSocketError:
    """An exception that was pickled; its attributes follow."""
    exc = cls.__new__(cls, *args)
    exc.args = args
    return exc


class ProtocolError(WebSocketError, ValueError):
    """A violation of RFC 6455; `code` is the close code for it (section 7.4.1)."""

    code: int = CloseCode.PROTOCOL_ERROR

    def __init__(self, message: str = '', code: int = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


class PayloadTooBig(ProtocolError):
    """A frame or message is larger than the limit: close code 1009.

    Args:
        size_or_message: the message; or, as in websockets, the size of the frame in bytes, None if unknown.
        max_size: the limit in bytes, where `size_or_message` is a size.
        current_size: bytes of the same message in earlier frames; `max_size` is what they have left of the limit.
    """

    def __init__(
        self, size_or_message: str | int | None = '', max_size: int | None = None, current_size: int | None = None
    ) -> None:
        message, size = (size_or_message, None) if isinstance(size_or_message, str) else ('', size_or_message)
        super().__init__(message, CloseCode.MESSAGE_TOO_BIG)
        self.size = size
        self.max_size = max_size
        self.current_size: int | None = None
        self.set_current_size(current_size)

    def set_current_size(self, current_size: int | None) -> None:
        """Set the bytes of the earlier frames, and count them into `max_size`, which is without them so far."""
        if current_size is not None and self.max_size is not None:
            self.max_size += current_size
            self.current_size = current_size

    def __str__(self) -> str:
        if self.max_size is None:
            return super().__str__()
        size = '' if self.size is None else f' with {self.size} bytes'
        before = '' if self.current_size is None else f' after reading {self.current_size} bytes'
        return f'frame{size}{before} exceeds limit of {self.max_size} bytes'


class NegotiationError(ProtocolError):
    """The server's answer to an extension offer breaks the extension's rules: close code 1010."""

    def __init__(self, message: str = '', code: int = CloseCode.MANDATORY_EXTENSION) -> None:
        super().__init__(message, code)


class DuplicateParameter(NegotiationError):
    """A parameter of an extension is given twice; `name` is its name."""

    def __init__(self, name: str, *, message: str | None = None) -> None:
        super().__init__(f'duplicate parameter: {name}' if message is None else message)
        self.name = name


class InvalidParameterName(NegotiationError):
    """An extension has no parameter of this `name`."""

    def __init__(self, name: str, *, message: str | None = None) -> None:
        super().__init__(f'invalid parameter name: {name}' if message is None else message)
        self.name = name


class InvalidParameterValue(NegotiationError):
    """The parameter `name` of an extension may not have this `value`, None for none."""

    def __init__(self, name: str, value: str | None, *, message: str | None = None) -> None:
        super().__init__(_wrong(f'value for parameter {name}', value) if message is None else message)
        self.name = name
        self.value = value


class UnexpectedMessage(ProtocolError):
    """The peer's message is not what `WebSocket.receive` was asked for: close code 1003, or 1007 for bad JSON.

    A handler may raise it, too: the connection closes with its code and its text.

    Attributes:
        message: the message, `str` or bytes.

    Raises:
        ValueError: the code may not be sent in a close frame.
        TypeError: the code is not a whole number, or the text not a `str`.
    """

    def __init__(self, message: str = '', code: int = CloseCode.UNSUPPORTED_DATA, received: Any = None) -> None:
        if not isinstance(message, str) or not isinstance(code, int):
            raise TypeError(f'UnexpectedMessage({message!r}, {code!r}): it takes a str and a close code')
        try:
            Close(code, '').check()
        except ProtocolError as exc:
            raise ValueError(f'UnexpectedMessage({message!r}): {exc}') from None
        super().__init__(message, code)
        self.message = received


def ungrouped(exc: BaseException) -> BaseException:
    """What an exception says about the connection.

    `asyncio.TaskGroup` raises what its tasks raise as an exception group. If all exceptions in it are
    `ConnectionClosed` or `UnexpectedMessage`, one of them is returned, rather the latter; else the group itself.
    """
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    found = [ungrouped(one) for one in exc.exceptions]
    if not all(isinstance(one, ConnectionClosed | UnexpectedMessage) for one in found):
        return exc
    return next((one for one in found if isinstance(one, UnexpectedMessage)), found[0])


class Close:
    """The payload of a close frame: a code and a reason (RFC 6455 5.5.1)."""

    __slots__ = ('code', 'reason')

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    @classmethod
    def parse(cls, data: bytes) -> Close:
        """Parse the payload of a close frame; an empty one reads as code 1005.

        Raises:
            ProtocolError: the payload is one byte long, or the code is not allowed in a close frame.
            UnicodeDecodeError: the reason is not valid UTF-8.
        """
        if not data:
            return cls(CloseCode.NO_STATUS_RCVD, '')
        if len(data) == 1:
            raise ProtocolError('a close frame with a payload of 1 byte; it is empty or begins with a 2-byte code')
        close = cls(int.from_bytes(data[:2], 'big'), str(data[2:], 'utf-8'))
        close.check()
        return close

    @classmethod
    def truncated(cls, code: int, reason: str) -> Close:
        """A close whose reason is cut, at a character, to the 123 bytes of UTF-8 that fit into a close frame.

        A lone surrogate in it, which UTF-8 cannot say, becomes a question mark.
        """
        return cls(code, reason.encode('utf-8', 'replace')[:_MAX_REASON].decode('utf-8', 'ignore'))

    def serialize(self) -> bytes:
        """The payload of the close frame.

        Raises:
            ProtocolError: the code is not allowed in a close frame, or the reason is longer than 123 bytes.
        """
        self.check()
        reason = self.reason.encode()
        if len(reason) > _MAX_REASON:
            raise ProtocolError(
                f'the close reason has {len(reason)} bytes in UTF-8; at most {_MAX_REASON} fit into a close frame'
            )
        return int(self.code).to_bytes(2, 'big') + reason

    def check(self) -> None:
        """Raise ProtocolError if the code is not allowed in a close frame (RFC 6455 7.4)."""
        code = self.code
        if not ((1000 <= code <= 1014 and code != 1004 and code not in _NOT_SENT) or 3000 <= code <= 4999):
            raise ProtocolError(
                f'{int(code)} may not be sent as a close code; use 1000 to 1003, 1007 to 1014, or 3000 to 4999'
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Close):
            return NotImplemented
        return (self.code, self.reason) == (other.code, other.reason)

    def __hash__(self) -> int:
        return hash((self.code, self.reason))

    def __repr__(self) -> str:
        return f'Close(code={int(self.code)}, reason={self.reason!r})'

    def __str__(self) -> str:
        if 3000 <= self.code < 4000:
            explanation = 'registered'
        elif 4000 <= self.code < 5000:
            explanation = 'private use'
        elif self.code in _EXPLAINED:
            explanation = _EXPLAINED[CloseCode(self.code)]
        elif self.code in CloseCode._value2member_map_:
            explanation = CloseCode(self.code).name.lower().replace('_', ' ')
        else:
            explanation = 'unknown'
        reason = escaped(self.reason)  # a peer chooses it, and it goes into logs
        return f'{int(self.code)} ({explanation})' + (f' {reason}' if reason else '')


class InvalidState(WebSocketError):
    """The state of the connection does not allow this call."""


class ConnectionClosed(InvalidState):
    """The connection is closed, or its closing began.

    Attributes:
        rcvd: the close frame received (`Close`), or None.
        sent: the close frame sent (`Close`), or None.
        rcvd_then_sent: whether the peer closed first; None unless both frames were seen.
    """

    def __init__(
        self,
        rcvd: Close | None = None,
        sent: Close | None = None,
        rcvd_then_sent: bool | None = None,
    ) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    @property
    def code(self) -> int:
        """The peer's close code; 1006 where there was no close frame (RFC 6455 7.1.5)."""
        return CloseCode.ABNORMAL_CLOSURE if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The peer's close reason (RFC 6455 7.1.6)."""
        return '' if self.rcvd is None else self.rcvd.reason

    def __str__(self) -> str:
        if self.rcvd is None:
            return f'sent {self.sent}; no close frame received' if self.sent else 'no close frame received or sent'
        if self.sent is None:
            return f'received {self.rcvd}; no close frame sent'
        if self.rcvd_then_sent:
            return f'received {self.rcvd}; then sent {self.sent}'
        return f'sent {self.sent}; then received {self.rcvd}'


class ConnectionClosedOK(ConnectionClosed):
    """Closed normally: both sides sent 1000, 1001 or no code."""


class ConnectionClosedError(ConnectionClosed):
    """Closed with another code, or without a closing handshake."""


class HandshakeError(WebSocketError):
    """The opening handshake failed.

    Attributes:
        status: the HTTP status received (client) or to be sent (server); None where there is no response.
        headers: the headers of the response.
        body: the body of the response, as much of it as was received.
        response: the response, received or ready to be sent, or None.
    """

    def __init__(
        self,
        message: str = '',
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b'',
        response: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.body = body
        self.response = response


class InvalidMessage(HandshakeError):
    """The peer's message is not valid HTTP, too long, or incomplete."""


class InvalidMethod(HandshakeError):
    """A WebSocket is requested with another method than GET: `method`."""

    def __init__(self, method: str, *, message: str | None = None, **answer: Any) -> None:
        super().__init__(f'unsupported HTTP method: {method}' if message is None else message, **answer)
        self.method = method


class InvalidProtocol(HandshakeError):
    """A WebSocket is requested in another version of HTTP than 1.1: `protocol`."""

    def __init__(self, protocol: str, *, message: str | None = None, **answer: Any) -> None:
        super().__init__(f'unsupported HTTP version: {protocol}' if message is None else message, **answer)
        self.protocol = protocol


class InvalidHeader(HandshakeError):
    """A header of the handshake is missing or has a wrong value.

    Args:
        name: the name of the header.
        value: its value, None where it is missing.
        message: the message; by default made of these two.
        answer: ``status``, ``headers``, ``body`` and ``response``, as in `HandshakeError`.
    """

    def __init__(self, name: str = '', value: str | None = None, *, message: str | None = None, **answer: Any) -> None:
        super().__init__(_wrong(f'{name} header', value) if message is None else message, **answer)
        self.name = name
        self.value = value


class InvalidHeaderFormat(InvalidHeader):
    """A header does not follow its grammar: `error` at the position `pos` of `header`."""

    def __init__(self, name: str, error: str, header: str, pos: int, **answer: Any) -> None:
        super().__init__(name, f'{error} at {pos} in {header}', **answer)


class InvalidHeaderValue(InvalidHeader):
    """A header follows its grammar, and has a value that is not acceptable."""


class InvalidUpgrade(InvalidHeader):
    """Not an upgrade to this protocol: ``Upgrade``, ``Connection`` or the client's version is missing or different."""


class InvalidOrigin(InvalidHeader):
    """The client's ``Origin`` is not allowed; `origin` is its value, None if there was none."""

    def __init__(self, origin: str | None = None, *, message: str | None = None, **answer: Any) -> None:
        super().__init__('Origin', origin, message=message, **answer)


class InvalidStatus(HandshakeError):
    """The server answered the handshake with another status than 101.

    Args:
        response: its answer.
        message: the message; by default made of its status.
        answer: ``status``, ``headers`` and ``body``, by default those of the answer.
    """

    def __init__(self, response: Any = None, *, message: str | None = None, **answer: Any) -> None:
        status = getattr(response, 'status', None) or getattr(response, 'status_code', None)
        known = {
            'status': status,
            'headers': getattr(response, 'headers', None),
            'body': getattr(response, 'body', b''),
        }
        if message is None:
            message = f'server rejected WebSocket connection: HTTP {status}'
        super().__init__(message, response=response, **{**known, **answer})


def _wrong(what: str, value: str | None) -> str:
    return f'missing {what}' if value is None else f'invalid {what}: {value}' if value else f'empty {what}'


class InvalidURI(WebSocketError, ValueError):
    """Not a WebSocket URL: `uri`, and `msg` says why."""

    def __init__(self, uri: str, msg: str) -> None:
        super().__init__(f"{uri} isn't a valid URI: {msg}")
        self.uri = uri
        self.msg = msg


#: websockets' names for two of these.
InvalidHandshake = HandshakeError
WebSocketException = WebSocketError


class LocalProtocolError(ProtocolError):
    """This program called what the state of the connection or the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; `event_hint` is the event to send in reply, or None."""

    def __init__(self, message: str = '', event_hint: Any = None) -> None:
        super().__init__(message)
        self.event_hint = event_hint
