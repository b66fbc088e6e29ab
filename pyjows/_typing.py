"""Types of `on` and `once`, for type checkers: which arguments the handler of each event takes.

``@ws.on('text')`` and ``ws.on('text', f)`` are checked; ``@ws.on`` takes the event from the function's name, which no
type checker knows. Events of your own, and names in variables, have ``@ws.on(name)`` and ``ws.add_listener(name, f)``.
Nothing here exists for the running program.
"""

# A literal and a callable overlap for mypy, because a subclass of `str` could be callable.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, overload

from .frames import Frame
from .http11 import Request

__all__ = ['ServerSubscribe', 'WebSocketSubscribe']

_F = TypeVar('_F', bound=Callable[..., Any])
_E = TypeVar('_E')  # the emitter, which each handler gets first
_W = TypeVar('_W')  # the transaction of a server's event

_Alone = Literal['request', 'open', 'drain', 'resume']
_Bytes = Literal['binary', 'ping', 'pong']


class WebSocketSubscribe(Protocol[_E]):
    """`WebSocket.on` and `WebSocket.once`."""

    @overload
    def __call__(self, event: _Alone) -> Callable[[Callable[[_E], object]], Callable[[_E], object]]: ...
    @overload
    def __call__(self, event: _Alone, f: Callable[[_E], object]) -> Callable[[_E], object]: ...
    @overload
    def __call__(
        self, event: Literal['text']
    ) -> Callable[[Callable[[_E, str], object]], Callable[[_E, str], object]]: ...
    @overload
    def __call__(self, event: Literal['text'], f: Callable[[_E, str], object]) -> Callable[[_E, str], object]: ...
    @overload
    def __call__(self, event: _Bytes) -> Callable[[Callable[[_E, bytes], object]], Callable[[_E, bytes], object]]: ...
    @overload
    def __call__(self, event: _Bytes, f: Callable[[_E, bytes], object]) -> Callable[[_E, bytes], object]: ...
    @overload
    def __call__(
        self, event: Literal['message']
    ) -> Callable[[Callable[[_E, str | bytes], object]], Callable[[_E, str | bytes], object]]: ...
    @overload
    def __call__(
        self, event: Literal['message'], f: Callable[[_E, str | bytes], object]
    ) -> Callable[[_E, str | bytes], object]: ...
    @overload
    def __call__(
        self, event: Literal['json']
    ) -> Callable[[Callable[[_E, Any], object]], Callable[[_E, Any], object]]: ...
    @overload
    def __call__(self, event: Literal['json'], f: Callable[[_E, Any], object]) -> Callable[[_E, Any], object]: ...
    @overload
    def __call__(
        self, event: Literal['frame']
    ) -> Callable[[Callable[[_E, Frame], object]], Callable[[_E, Frame], object]]: ...
    @overload
    def __call__(self, event: Literal['frame'], f: Callable[[_E, Frame], object]) -> Callable[[_E, Frame], object]: ...
    @overload
    def __call__(
        self, event: Literal['finish']
    ) -> Callable[[Callable[[_E, int, str], object]], Callable[[_E, int, str], object]]: ...
    @overload
    def __call__(
        self, event: Literal['finish'], f: Callable[[_E, int, str], object]
    ) -> Callable[[_E, int, str], object]: ...
    @overload
    def __call__(
        self, event: Literal['error']
    ) -> Callable[[Callable[[_E, BaseException], object]], Callable[[_E, BaseException], object]]: ...
    @overload
    def __call__(
        self, event: Literal['error'], f: Callable[[_E, BaseException], object]
    ) -> Callable[[_E, BaseException], object]: ...
    @overload
    def __call__(self, event: _F) -> _F: ...
    @overload
    def __call__(self, event: _F, f: str) -> _F: ...
    @overload
    def __call__(self, event: str) -> Callable[[_F], _F]: ...


class ServerSubscribe(Protocol[_E, _W]):
    """`Server.on` and `Server.once`."""

    @overload
    def __call__(
        self, event: Literal['websocket']
    ) -> Callable[[Callable[[_E, _W], object]], Callable[[_E, _W], object]]: ...
    @overload
    def __call__(self, event: Literal['websocket'], f: Callable[[_E, _W], object]) -> Callable[[_E, _W], object]: ...
    @overload
    def __call__(
        self, event: Literal['request']
    ) -> Callable[[Callable[[_E, Request], object]], Callable[[_E, Request], object]]: ...
    @overload
    def __call__(
        self, event: Literal['request'], f: Callable[[_E, Request], object]
    ) -> Callable[[_E, Request], object]: ...
    @overload
    def __call__(
        self, event: Literal['error']
    ) -> Callable[[Callable[[_E, BaseException], object]], Callable[[_E, BaseException], object]]: ...
    @overload
    def __call__(
        self, event: Literal['error'], f: Callable[[_E, BaseException], object]
    ) -> Callable[[_E, BaseException], object]: ...
    @overload
    def __call__(self, event: Literal['finish']) -> Callable[[Callable[[_E], object]], Callable[[_E], object]]: ...
    @overload
    def __call__(self, event: Literal['finish'], f: Callable[[_E], object]) -> Callable[[_E], object]: ...
    @overload
    def __call__(self, event: _F) -> _F: ...
    @overload
    def __call__(self, event: _F, f: str) -> _F: ...
    @overload
    def __call__(self, event: str) -> Callable[[_F], _F]: ...
