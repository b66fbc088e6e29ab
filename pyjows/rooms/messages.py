# cython: auto_pickle=True
"""The values of rooms: names, positions, messages, and the envelope of numbered members.

Owns how each of them is written as text and bytes. Must not know connections or brokers.

A position is ``epoch:offset``. The offset grows by one with each message of a room. The epoch is a random word that
changes whenever the count starts again at 0: a memory engine that was started again, a broker that lost its data.
Positions of different epochs cannot be compared, and nothing is recovered across them.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

from .. import _json
from .._signature import ConstructorSignature
from ..messages import MISSING

__all__ = [
    'BINARY',
    'JSON',
    'TEXT',
    'BrokerLost',
    'MalformedEntry',
    'Message',
    'PayloadTooLarge',
    'Position',
    'QueueFull',
    'RoomLimit',
    'RoomRefused',
    'check_name',
    'check_payload',
    'closed',
    'encode',
    'find_position',
    'forked',
    'lost',
    'new_epoch',
    'unsent',
]

#: What a payload is, as brokers keep it in front of the payload.
TEXT, BINARY, JSON = b't', b'b', b'j'

# Compiled, these are C variables.
_TEXT, _BINARY, _JSON, _MISSING = TEXT, BINARY, JSON, MISSING

_NAME = re.compile(r'[A-Za-z0-9_.:/-]{1,128}', re.ASCII)
_POSITION = re.compile(r'([0-9a-f]{1,32}):([0-9]{1,16})', re.ASCII)


class RoomLimit(RuntimeError):
    """A limit of rooms is reached; the message names it and the option that sets it."""


class PayloadTooLarge(ValueError):
    """A message is larger than ``max_payload``."""


class BrokerLost(OSError):
    """The connection to the broker is lost or cannot be made."""


class QueueFull(RuntimeError):
    """A message was not queued, because too many wait for the broker already.

    Attributes:
        room: the room's name.
        message: the `Message` that was refused; it has no position.
    """

    def __init__(self, text: str, message: Message) -> None:
        super().__init__(text)
        self.room = message.room
        self.message = message


class MalformedEntry(ValueError):
    """Something that another program wrote into the broker's data of a room cannot be read; it was skipped.

    Attributes:
        room: the room's name.
        count: how many were skipped in this room since it is followed here: reported are the 1st, 2nd, 4th, 8th …
    """

    def __init__(self, room: str, count: int, reason: Exception) -> None:
        super().__init__(f'room {room!r}: skipped what cannot be read ({count} so far): {reason}')
        self.room = room
        self.count = count


class RoomRefused(OSError):
    """The broker refused something about one room; the other rooms go on. The cause is the broker's own error.

    Attributes:
        room: the room's name.
        message: the `Message` that was refused; None where it was something else.
    """

    def __init__(self, room: str, what: str, reason: BaseException, message: Message | None = None) -> None:
        super().__init__(f'room {room!r}: the broker refused to {what}: {reason}')
        self.room = room
        self.message = message
        self.__cause__ = reason


class Position(NamedTuple):
    """Where a message stands in its room."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f'{self.epoch}:{self.offset}'


class Message:
    """One message of a room.

    Attributes:
        room: the room's name.
        epoch, offset: its position in parts; an offset of 0 says that it has none yet.
        time: when it was published, in seconds since 1970 by the engine's clock.
        kind: ``b't'``, ``b'b'`` or ``b'j'``: text, binary, JSON.
        payload: the bytes that were published: UTF-8 for text and JSON.
        position, data: see there.
    """

    __slots__ = ('epoch', 'kind', 'offset', 'payload', 'room', 'time')
    __signature__ = ConstructorSignature()

    def __init__(self, room: str, epoch: str, offset: int, time: float, kind: bytes, payload: bytes) -> None:
        self.room = room
        self.epoch = epoch
        self.offset = offset
        self.time = time
        self.kind = kind
        self.payload = payload

    def __repr__(self) -> str:
        return f'<Message {self.room} {self.position} {self.payload[:40]!r}>'

    @property
    def position(self) -> str:
        """``epoch:offset``."""
        return f'{self.epoch}:{self.offset}'

    @property
    def data(self) -> Any:
        """What was published: a str, bytes, or the decoded JSON value."""
        if self.kind == _TEXT:
            return self.payload.decode()
        return _json.loads(self.payload) if self.kind == _JSON else self.payload

    def bare(self) -> dict[str, Any]:
        """The arguments of `WebSocket.send` that send the message as it was published."""
        return {'binary': self.payload} if self.kind == _BINARY else {'text': self.payload.decode()}

    def envelope(self) -> str:
        """The JSON object for numbered members: ``room``, ``position``, ``data`` (for bytes ``binary``, in base64)."""
        if self.kind == _JSON:
            value = '"data":' + self.payload.decode()
        elif self.kind == _TEXT:
            value = '"data":' + _json.dumps(self.payload.decode()).decode()
        else:
            value = f'"binary":"{base64.b64encode(self.payload).decode()}"'
        # A name and a position need no escapes.
        return f'{{"room":"{self.room}","position":"{self.epoch}:{self.offset}",{value}}}'


def check_name(name: Any) -> str:
    """A room's name; raises TypeError or ValueError if it is not valid."""
    if not isinstance(name, str):
        raise TypeError(f"a room's name is a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a room's name: 1 to 128 of the characters A-Z, a-z, 0-9, '_', '.', ':', '/' and '-'"
        )
    return name


def encode(method: str, text: Any, binary: Any, json: Any) -> tuple[bytes, bytes]:
    """The kind and the payload of what is published; raises TypeError or ValueError as `WebSocket.send` does."""
    if type(text) is str and binary is None and json is _MISSING:
        string: str = text  # compiled, its methods are called directly
        return _TEXT, string.encode('utf-8')
    if (text is not None) + (binary is not None) + (json is not _MISSING) != 1:
        raise TypeError(f'{method}() takes exactly one of text=, binary= and json=')
    if json is not _MISSING:
        return _JSON, _json.dumps_to_keep(json)
    if text is not None:
        if not isinstance(text, str):
            raise TypeError(f'text is a str, not {type(text).__name__}; use binary= for bytes and json= for values')
        return _TEXT, text.encode('utf-8')
    if not isinstance(binary, (bytes, bytearray, memoryview)):
        raise TypeError(f'binary is bytes-like, not {type(binary).__name__}; use text= for a str')
    return _BINARY, bytes(binary)


def check_payload(kind: bytes, payload: bytes) -> None:
    """Raise ValueError for a kind that there is not, and for a payload that is not of its kind."""
    if kind == _TEXT:
        if not payload.isascii():
            payload.decode('utf-8')
    elif kind == _JSON:
        _json.loads(payload)
    elif kind != _BINARY:
        raise ValueError(f'a message is text, binary or JSON (t, b, j), not {kind!r}')


def unsent(room: str, kind: bytes, payload: bytes) -> Message:
    """A message that has no position yet."""
    message = Message.__new__(Message)  # with C's speed: a call of the class goes through a tuple of arguments
    message.room = room
    message.epoch = ''
    message.offset = 0
    message.time = 0.0
    message.kind = kind
    message.payload = payload
    return message


def find_position(since: str | Iterable[str] | None, room: str) -> tuple[bool, Position | None]:
    """The position in a room that a client sends: whether it sends one, and the position, None if it is not valid.

    Args:
        since: ``epoch:offset``, or ``room@epoch:offset`` for several rooms, separated by commas; or a list of such
            strings, as ``ws.req.query_params.get('since')`` has it; None for a client that sends nothing. Of two
            positions in a room the first counts. A word that is no position means that not all were
            sent.
        room: whose position is looked for.
    """
    if since is None:
        return False, None
    asked = False
    texts = (since,) if isinstance(since, str) or not isinstance(since, Iterable) else since
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f'since is a str or a list of them, not {since!r}')
        for part in text.split(','):
            name, at, position = part.strip().rpartition('@')
            if (at and name != room) or not (at or position):
                continue
            asked = True
            if found := _POSITION.fullmatch(position):
                return True, Position(found[1], int(found[2]))
    return asked, None


def closed(engine: object) -> RuntimeError:
    """What is raised where rooms that were closed are used."""
    return RuntimeError(f'these rooms are closed: {engine!r}')


def forked(engine: object) -> RuntimeError:
    """What is raised in a forked child where rooms are used that the parent has used before."""
    return RuntimeError(
        f'these rooms were used before this process forked, and belong to its parent: {engine!r}; '
        'make others in the child, or use them in the child alone'
    )


def lost(engine: object, exc: BaseException) -> BrokerLost:
    """A loss, with a text that names the engine."""
    if isinstance(exc, BrokerLost) and str(exc).startswith(repr(engine)):
        return exc
    named = BrokerLost(f'{engine!r}: {exc}')
    named.__cause__ = exc
    return named


def new_epoch() -> str:
    """A random word for a count that starts at 0."""
    return secrets.token_hex(6)
