"""`ASGIChannel`: a connection whose protocol an ASGI server implements.

Owns the translation between ASGI messages and the calls of `AioServer` (ASGI specification 2.4). Must not know frames.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any

from .. import events
from ..frames import CloseCode
from .arguments import checked_timeout, close_frame
from .errors import ConnectionClosed, ConnectionError
from .session import in_origin_form_with_host, typed_request

__all__ = ['ASGI', 'ASGIChannel', 'check_asgi']

# Seconds without a look at what the server has received, after which a `send` looks.
_ROUND = 0.5

# Bytes of messages that are kept so for the program, and what a message costs beside its bytes.
_HIGH_WATER = 1 << 20
_OVERHEAD = 64

Message = MutableMapping[str, Any]

#: scope, receive and send of an ASGI application.
ASGI = tuple[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]]


def check_asgi(asgi: Any) -> None:
    """Raise TypeError or ValueError for what is not the arguments of an ASGI application for a WebSocket."""
    if not isinstance(asgi, tuple | list) or len(asgi) != 3 or not isinstance(asgi[0], Mapping):
        raise TypeError(f'AioServer.accept(): asgi= takes (scope, receive, send), not {asgi!r}')
    kind = asgi[0].get('type')
    if kind != 'websocket':
        raise ValueError(f'AioServer.accept(): asgi= takes a scope of type websocket, not {kind!r}')


class ASGIChannel:
    """A connection whose protocol an ASGI server implements."""

    def __init__(self, asgi: ASGI, max_message_size: int | None) -> None:
        self.scope, self._receive, self._send = asgi
        self._max_message_size = max_message_size
        self._turn = asyncio.Lock()  # held by the call that receives from the server
        self._pending: asyncio.Future[Message] | None = None  # of a receive that was not waited for to its end
        self._kept: deque[str | bytes] = deque()  # messages before the close that a `send` has found
        self._looked = 0.0
        self.connected = False
        self.close_reason: int = CloseCode.NO_STATUS_RCVD
        self.close_message: str | None = None

    async def accept(self, choose_subprotocol: Callable[[events.Request], str | None]) -> str | None:
        message = await self._receive()
        if message['type'] == 'websocket.disconnect':
            raise ConnectionError(None)
        if message['type'] != 'websocket.connect':
            raise ValueError(
                f'expected websocket.connect, not {message["type"]}: asgi= is for a WebSocket scope that nothing has '
                'accepted before, such as `await websocket.accept()` of Starlette'
            )
        subprotocol = choose_subprotocol(_request_of(self.scope))
        await self._send({'type': 'websocket.accept', 'subprotocol': subprotocol})
        self.connected = True
        self._looked = monotonic()
        return subprotocol

    async def send(self, data: Any) -> None:
        if isinstance(data, str):
            message: Message = {'type': 'websocket.send', 'text': data}
        elif isinstance(data, (bytes, bytearray, memoryview)):
            message = {'type': 'websocket.send', 'bytes': bytes(data)}
        else:
            raise TypeError(f'send() takes str or bytes, not {type(data).__name__}')
        if self.connected and monotonic() - self._looked > _ROUND and not self._turn.locked():
            await self._look()
        if not self.connected:
            raise self._closed()
        try:
            await self._send(message)
        except Exception as exc:
            if not _says_gone(exc):
                raise
            await self._find_close()
            raise self._closed() from None

    async def _look(self) -> None:
        """Take what the server has received: a program that only sends learns of the end by this.

        In `send` many servers ignore messages for a client that is gone.
        """
        self._looked = monotonic()
        if sum(len(data) + _OVERHEAD for data in self._kept) < _HIGH_WATER:
            await self._keep(0, _HIGH_WATER)

    async def _keep(self, seconds: float, size: int | None) -> None:
        """Keep the messages that come in this time, at most until they have `size` bytes."""
        kept: list[str | bytes] = []
        until = asyncio.get_running_loop().time() + seconds
        try:
            async with self._turn:
                while (data := await self._next(until)) is not None:
                    kept.append(data)
                    if size is not None and (size := size - len(data) - _OVERHEAD) < 0:
                        break
        except ConnectionClosed:
            pass
        finally:
            self._kept.extend(kept)

    async def receive(self, timeout: float | None) -> str | bytes | None:
        if timeout is None:
            async with self._turn:
                return await self._next(None)
        until = asyncio.get_running_loop().time() + checked_timeout(timeout)
        try:
            async with asyncio.timeout_at(until):
                await self._turn.acquire()
        except TimeoutError:
            return None
        try:
            return await self._next(until)
        finally:
            self._turn.release()

    async def _next(self, until: float | None) -> str | bytes | None:
        """The next message, None after the time `until` of the loop."""
        while not self._kept:
            if not self.connected:
                raise self._closed()
            if self._pending is None and until is None:
                message = await self._receive()
            else:
                if self._pending is None:
                    self._pending = asyncio.ensure_future(self._receive())
                left = None if until is None else max(0, until - asyncio.get_running_loop().time())
                done, _ = await asyncio.wait([self._pending], timeout=left)
                if not self.connected:
                    continue  # closed meanwhile, which cancels what is pending
                if not done:
                    return None
                message, self._pending = self._pending.result(), None
            self._looked = monotonic()
            data = await self._taken(message)
            if data is not None:
                return data
        return self._kept.popleft()

    async def _taken(self, message: Message) -> str | bytes | None:
        """The data of a message; None if it is not a data message."""
        if message['type'] == 'websocket.disconnect':
            self._disconnected(message)
            return None
        data: str | bytes | None = message.get('text')
        if data is None:
            data = message.get('bytes') or b''
        limit = self._max_message_size
        if limit and (len(data) if isinstance(data, bytes) else len(data.encode())) > limit:
            try:
                await self.close(CloseCode.MESSAGE_TOO_BIG, f'a message of more than {limit} bytes', 0)
            except Exception:
                pass  # Daphne sends no such code; it closes when the application ends
            return None
        return data

    def _disconnected(self, message: Message) -> None:
        if self.connected:
            self.connected = False
            self.close_reason = _named(message.get('code', CloseCode.NO_STATUS_RCVD))
            self.close_message = message.get('reason') or ''

    async def _find_close(self) -> None:
        """The server says that the client is gone: find the disconnect message, and keep those before it."""
        try:
            async with asyncio.timeout(1):
                await self._keep(1, None)
        except TimeoutError:
            pass
        if self.connected:
            self.connected = False
            self.close_reason = CloseCode.ABNORMAL_CLOSURE

    async def close(self, reason: int | None, message: str | None, timeout: float) -> None:
        if not self.connected:
            raise self._closed()
        frame = close_frame(reason, message)
        self.connected = False
        self.close_reason, self.close_message = _named(frame.code), frame.reason
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
            await asyncio.wait([pending])
        try:
            await self._send({'type': 'websocket.close', 'code': int(frame.code), 'reason': frame.reason})
        except Exception as exc:
            if not _says_gone(exc):
                raise

    async def leave(self) -> None:
        """Close the connection; the server may wait for the peer."""
        await self.close(CloseCode.GOING_AWAY, None, 0)

    def let_go(self) -> None:
        """The application has dropped the connection; the server closes it when the application ends."""
        pending = self._pending
        if pending is not None and not pending.get_loop().is_closed():
            pending.get_loop().call_soon_threadsafe(pending.cancel)

    def _closed(self) -> ConnectionClosed:
        return ConnectionClosed(self.close_reason, self.close_message)


def _says_gone(exc: Exception) -> bool:
    """Whether `send` says that the client is gone: OSError (ASGI 2.4), in Starlette its own exception."""
    starlette = sys.modules.get('starlette.websockets')
    return isinstance(exc, OSError) or (starlette is not None and isinstance(exc, starlette.WebSocketDisconnect))


def _named(code: int) -> int:
    try:
        return CloseCode(code)
    except ValueError:
        return code


def _request_of(scope: Mapping[str, Any]) -> events.Request:
    headers = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in scope['headers']]
    query = scope.get('query_string', b'').decode('latin-1')
    target = str(scope.get('path', '/')) + (f'?{query}' if query else '')
    with suppress(ValueError):
        target, headers = in_origin_form_with_host(target, headers)  # a server may give the absolute form as it came
    return replace(typed_request(target, headers), subprotocols=list(scope.get('subprotocols', ())))
