"""HTTP values of an opening handshake that can be changed before they are sent: `Headers`, `Request`, `Response`.

Owns their shape, which is that of websockets' sans-I/O layer. Must not know what a valid handshake contains
(`handshake/`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from .. import http11

__all__ = [
    'Headers',
    'MultipleValuesError',
    'PendingResponse',
    'Request',
    'Response',
    'changeable_headers',
    'changeable_response',
]


class MultipleValuesError(LookupError):
    """`Headers` has several values under this name; `Headers.get_all` gives them."""

    def __str__(self) -> str:
        return repr(self.args[0]) if len(self.args) == 1 else super().__str__()


class Headers(MutableMapping[str, str]):
    """HTTP header fields that can be changed: case-insensitive, in order, repeats kept.

    Setting a name adds a field, and deleting it removes all of that name. Reading a repeated one raises
    `MultipleValuesError`.

    Args:
        headers: a mapping or pairs.
        fields: more of them.
    """

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), **fields: str) -> None:
        self._pairs: list[tuple[str, str]] = []
        self.update(headers, **fields)

    def copy(self) -> Headers:
        """A copy of its own."""
        return type(self)(self)

    def update(self, headers: Any = (), /, **fields: str) -> None:
        """Add fields, those of another `Headers` with their repeats.

        Args:
            headers: a mapping or pairs; an `http11.Headers` will do.
            fields: more of them.
        """
        if isinstance(headers, http11.Headers):
            headers = changeable_headers(headers)
        super().update(headers.raw_items() if isinstance(headers, Headers) else headers, **fields)

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name, in order."""
        folded = name.lower()
        return [value for key, value in self._pairs if key.lower() == folded]

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """All fields in order, as they were given."""
        return iter(self._pairs)

    def clear(self) -> None:
        """Remove all fields."""
        self._pairs = []

    def serialize(self) -> bytes:
        """The fields as HTTP writes them, and the empty line after them."""
        return b''.join([f'{name}: {value}\r\n'.encode('latin-1') for name, value in self._pairs]) + b'\r\n'

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        if len(values) > 1:
            raise MultipleValuesError(name)
        return values[0]

    def __setitem__(self, name: str, value: str) -> None:
        if isinstance(value, int):
            value = str(value)  # a Content-Length
        http11.Headers([(name, value)])  # raises ValueError for what must not get onto the wire
        self._pairs.append((name, value))

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._pairs = [pair for pair in self._pairs if pair[0].lower() != name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._pairs})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return {name: self.get_all(name) for name in self} == {name: other.get_all(name) for name in other}

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self._pairs!r})'

    def __str__(self) -> str:
        return self.serialize().decode('latin-1')


@dataclasses.dataclass
class Request:
    """The request of an opening handshake.

    Attributes:
        path: as it stands in the request line, with its query.
        headers: the header fields.
        method: ``GET``, in a valid one.
        protocol: ``HTTP/1.1``, in a valid one.
    """

    path: str
    headers: Headers
    method: str = 'GET'
    protocol: str = 'HTTP/1.1'

    def serialize(self) -> bytes:
        """The request as wire bytes."""
        return f'{self.method} {self.path} {self.protocol}\r\n'.encode('ascii') + self.headers.serialize()


@dataclasses.dataclass
class Response:
    """The answer of an opening handshake.

    Attributes:
        status_code: the HTTP status.
        reason_phrase: what it means.
        headers: the header fields.
        body: the whole body.
    """

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes = b''

    def serialize(self) -> bytes:
        """The answer as wire bytes."""
        line = f'HTTP/1.1 {self.status_code} {self.reason_phrase}\r\n'.encode('latin-1')
        return line + self.headers.serialize() + self.body


class PendingResponse:
    """The 101 of a server before it is sent: what a handler adds to its `headers` goes along.

    Attributes:
        status: 101.
        headers: the header fields to add, such as ``Set-Cookie``.
    """

    __slots__ = ('headers',)

    status = 101

    def __init__(self) -> None:
        self.headers = Headers()

    def __repr__(self) -> str:
        return f'PendingResponse({self.headers!r})'


def changeable_headers(headers: http11.Headers) -> Headers:
    """Headers that were read, in the changeable form."""
    copy = Headers()
    copy._pairs = [(name.decode('ascii'), value.decode('latin-1')) for name, value in headers.raw]
    return copy


def changeable_response(answer: http11.Response) -> Response:
    """An answer that was read, in the changeable form."""
    return Response(answer.status, answer.reason, changeable_headers(answer.headers), answer.body)
