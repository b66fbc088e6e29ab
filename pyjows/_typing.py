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
_M = TypeVar('_M')  # what a handler gets beside the emitter

_TakesNothing = Callable[[_E], object]
_Takes = Callable[[_E, _M], object]
_TakesClose = Callable[[_E, int, str], object]
_Decorator = Callable[[_F], _F]

_Alone = Literal['request', 'open', 'drain', 'resume']
_Bytes = Literal['binary', 'ping', 'pong']


class WebSocketSubscribe(Protocol[_E]):
    """`WebSocket.on` and `WebSocket.once`."""

    @overload
    def __call__(self, event: _Alone) -> _Decorator[_TakesNothing[_E]]: ...
    @overload
    def __call__(self, event: _Alone, f: _TakesNothing[_E]) -> _TakesNothing[_E]: ...
    @overload
    def __call__(self, event: Literal['text']) -> _Decorator[_Takes[_E, str]]: ...
    @overload
    def __call__(self, event: Literal['text'], f: _Takes[_E, str]) -> _Takes[_E, str]: ...
    @overload
    def __call__(self, event: _Bytes) -> _Decorator[_Takes[_E, bytes]]: ...
    @overload
    def __call__(self, event: _Bytes, f: _Takes[_E, bytes]) -> _Takes[_E, bytes]: ...
    @overload
    def __call__(self, event: Literal['message']) -> _Decorator[_Takes[_E, str | bytes]]: ...
    @overload
    def __call__(self, event: Literal['message'], f: _Takes[_E, str | bytes]) -> _Takes[_E, str | bytes]: ...
    @overload
    def __call__(self, event: Literal['json']) -> _Decorator[_Takes[_E, Any]]: ...
    @overload
    def __call__(self, event: Literal['json'], f: _Takes[_E, Any]) -> _Takes[_E, Any]: ...
    @overload
    def __call__(self, event: Literal['frame']) -> _Decorator[_Takes[_E, Frame]]: ...
    @overload
    def __call__(self, event: Literal['frame'], f: _Takes[_E, Frame]) -> _Takes[_E, Frame]: ...
    @overload
    def __call__(self, event: Literal['finish']) -> _Decorator[_TakesClose[_E]]: ...
    @overload
    def __call__(self, event: Literal['finish'], f: _TakesClose[_E]) -> _TakesClose[_E]: ...
    @overload
    def __call__(self, event: Literal['error']) -> _Decorator[_Takes[_E, BaseException]]: ...
    @overload
    def __call__(self, event: Literal['error'], f: _Takes[_E, BaseException]) -> _Takes[_E, BaseException]: ...
    @overload
    def __call__(self, event: _F) -> _F: ...
    @overload
    def __call__(self, event: _F, f: str) -> _F: ...
    @overload
    def __call__(self, event: str) -> Callable[[_F], _F]: ...


class ServerSubscribe(Protocol[_E, _W]):
    """`Server.on` and `Server.once`."""

    @overload
    def __call__(self, event: Literal['websocket']) -> _Decorator[_Takes[_E, _W]]: ...
    @overload
    def __call__(self, event: Literal['websocket'], f: _Takes[_E, _W]) -> _Takes[_E, _W]: ...
    @overload
    def __call__(self, event: Literal['request']) -> _Decorator[_Takes[_E, Request]]: ...
    @overload
    def __call__(self, event: Literal['request'], f: _Takes[_E, Request]) -> _Takes[_E, Request]: ...
    @overload
    def __call__(self, event: Literal['error']) -> _Decorator[_Takes[_E, BaseException]]: ...
    @overload
    def __call__(self, event: Literal['error'], f: _Takes[_E, BaseException]) -> _Takes[_E, BaseException]: ...
    @overload
    def __call__(self, event: Literal['finish']) -> _Decorator[_TakesNothing[_E]]: ...
    @overload
    def __call__(self, event: Literal['finish'], f: _TakesNothing[_E]) -> _TakesNothing[_E]: ...
    @overload
    def __call__(self, event: _F) -> _F: ...
    @overload
    def __call__(self, event: _F, f: str) -> _F: ...
    @overload
    def __call__(self, event: str) -> Callable[[_F], _F]: ...
