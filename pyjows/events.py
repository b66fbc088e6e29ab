# cython: auto_pickle=True
"""The typed events of a connection: frozen values, which `connection.py` gives out and takes in.

Owns their fields. Must not know connections. Names, fields, defaults and equality are those of wsproto; like all
dataclasses they compare by class and fields, match positionally in a ``match`` statement, and `dataclasses.replace`
copies them with a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ._signature import ConstructorSignature

__all__ = [
    'AcceptConnection',
    'BinaryMessage',
    'BytesMessage',
    'CloseConnection',
    'Event',
    'Message',
    'Ping',
    'Pong',
    'RejectConnection',
    'RejectData',
    'Request',
    'TextMessage',
]

HeaderList = list[tuple[bytes, bytes]]


class Event:
    """The base of all events."""

    __signature__ = ConstructorSignature()

    def __repr__(self) -> str:
        # The one that Cython generates works only in the thread that has imported this module.
        names = getattr(self, '__dataclass_fields__', ())
        values = ', '.join([f'{name}={getattr(self, name)!r}' for name in names])
        return f'{type(self).__qualname__}({values})'


@dataclass(frozen=True, repr=False)
class Request(Event):
    """The upgrade request (RFC 6455 4.1): a client sends it, a server receives it.

    Attributes:
        host: the ``Host`` header.
        target: path and query.
        extensions: a client gives `Extension` objects to offer; a server gets the offers as strings.
        extra_headers: further headers, names in lower case where they were received.
        subprotocols: those offered, in order of preference.
    """

    host: str
    target: str
    extensions: Sequence[Any] = field(default_factory=list)
    extra_headers: HeaderList = field(default_factory=list)
    subprotocols: list[str] = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class AcceptConnection(Event):
    """The request is accepted, with a 101: a server sends it, a client receives it.

    Attributes:
        subprotocol: the chosen one, or None.
        extensions: a server gives those that it is willing to use; a client gets those that were accepted.
        extra_headers: further headers of the answer.
    """

    subprotocol: str | None = None
    extensions: list[Any] = field(default_factory=list)
    extra_headers: HeaderList = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class RejectConnection(Event):
    """The request is refused, with another answer than a 101: a server sends it, a client receives it.

    Attributes:
        status_code: the HTTP status.
        headers: of the answer.
        has_body: whether `RejectData` follows; a client always gets at least one.
    """

    status_code: int = 400
    headers: HeaderList = field(default_factory=list)
    has_body: bool = False


@dataclass(frozen=True, repr=False)
class RejectData(Event):
    """A piece of the body of a refusal.

    Attributes:
        data: the piece.
        body_finished: whether it is the last one.
    """

    data: bytes
    body_finished: bool = True


@dataclass(frozen=True, repr=False)
class Message(Event):
    """A piece of a message (RFC 6455 5.6). Sent, its kind is that of its data: `str` is text, bytes are binary.

    Attributes:
        data: the piece; of text it is cut between code points.
        frame_finished: whether the frame ends with it. What is sent is always one frame.
        message_finished: whether the message ends with it.
    """

    data: Any
    frame_finished: bool = True
    message_finished: bool = True


@dataclass(frozen=True, repr=False)
class TextMessage(Message):
    """A piece of a text message; `data` is a `str`."""


@dataclass(frozen=True, repr=False)
class BytesMessage(Message):
    """A piece of a binary message; `data` is bytes."""


#: The same class under the RFC's name for such a message.
BinaryMessage = BytesMessage


@dataclass(frozen=True, repr=False)
class CloseConnection(Event):
    """A close frame (RFC 6455 5.5.1), or the end without one (code 1006). It is not answered for you: send `response`.

    Attributes:
        code: the close code (RFC 6455 7.4); 1005 where the frame had none.
        reason: its reason.
    """

    code: int | None
    reason: str | None = None

    def response(self) -> CloseConnection:
        """What to send in answer."""
        return CloseConnection(self.code, self.reason)


@dataclass(frozen=True, repr=False)
class Ping(Event):
    """A ping (RFC 6455 5.5.2). It is not answered for you: send `response`.

    Attributes:
        payload: up to 125 bytes.
    """

    payload: bytes = b''

    def response(self) -> Pong:
        """What to send in answer."""
        return Pong(self.payload)


@dataclass(frozen=True, repr=False)
class Pong(Event):
    """A pong (RFC 6455 5.5.3).

    Attributes:
        payload: up to 125 bytes.
    """

    payload: bytes = b''
