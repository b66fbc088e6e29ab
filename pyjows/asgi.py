"""WebSockets for an ASGI server: ``uvicorn app:app --ws pyjows.asgi:WebSocketProtocol``.

Owns the way between an asyncio transport and an ASGI application: one coroutine of the application for each connection,
its ``receive`` and ``send``, keep-alive, back pressure both ways. Must not know HTTP or frames: both are the job of
`ServerProtocol`. Of uvicorn it needs only the objects that it is called with.

What makes it fast: what is sent in one turn of the event loop leaves in one write; and reading goes on while the
application works, up to a limit, instead of being stopped and started for every message.

The messages are those of the ASGI specification (HTTP and WebSocket, 2.4), the extension ``websocket.http.response``
included.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from .deflate import PerMessageDeflate
from .frames import CloseCode, Frame, Opcode
from .protocol import State
from .sansio import Headers, Request, Response, ServerProtocol

__all__ = ['ClientDisconnected', 'WebSocketProtocol']

Message = MutableMapping[str, Any]

# Reading stops while more bytes of messages than this wait for the application.
_MAX_QUEUED = 65536

# What is sent in one turn of the loop is written together, but no more bytes than this.
_MAX_CORKED = 65536

# Seconds that a client has for its part of a close.
_CLOSE_TIMEOUT = 10.0


# Those of a 101 that only the server knows (RFC 6455 4.2.2).
_HANDSHAKE_HEADERS = (
    'upgrade',
    'connection',
    'sec-websocket-accept',
    'sec-websocket-protocol',
    'sec-websocket-extensions',
)

# Answers that have no content (RFC 9110 15.3.5, 15.4.5).
_WITHOUT_BODY = frozenset({204, 304})

_BYTES = (bytes, bytearray, memoryview)


class ClientDisconnected(OSError):
    """What `send` raises when the client is gone."""


class WebSocketProtocol(asyncio.Protocol):
    """One WebSocket connection of an ASGI server.

    Args:
        config: the server's configuration, `uvicorn.Config`. Of it, these are used: ``loaded_app``, ``root_path``,
            ``asgi_version``, ``ws_max_size`` (bytes of a message), ``ws_max_queue`` (messages that wait for the
            application), ``ws_ping_interval`` and ``ws_ping_timeout`` (seconds), ``ws_per_message_deflate``.
        server_state: what the connections of the server share: ``connections``, ``tasks``, ``default_headers``.
        app_state: the state of the lifespan, of which each connection gets a copy.
    """

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.app = config.loaded_app
        self.app_state = app_state
        self.server_state = server_state
        self.loop = _loop or asyncio.get_event_loop()
        self.logger = logging.getLogger('uvicorn.error')
        self.transport: Any = None
        self.scope: dict[str, Any] = {}
        self.protocol = ServerProtocol(
            extensions=[PerMessageDeflate()] if config.ws_per_message_deflate else None,
            max_size=config.ws_max_size,
            join_fragments=True,
            logger=logging.getLogger('pyjows.asgi'),
        )
        # From the client to the application
        self._messages: deque[Message] = deque()
        self._queued = 0
        self._max_messages = config.ws_max_queue
        self._reading_paused = False
        self._waiters: list[asyncio.Future[None]] = []
        self._disconnect_message: Message | None = None  # what `receive` returns from now on
        # From the application to the client
        self._request: Request | None = None
        self._response: Response | None = None
        self._refusal: Response | None = None
        self._lost = False
        self._app_closed = False
        self._corked = False
        self._writable: asyncio.Future[None] | None = None  # while the write buffer of the transport is full
        # Time
        self._has_received = False  # since the last check
        self._pinged_at: float | None = None  # the time of a ping that was not answered yet
        self._ping_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        """The connection is made; its request follows by `data_received`."""
        self.transport = transport
        self.server_state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes were received."""
        if self._lost:
            return
        self._has_received = True
        protocol = self.protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if type(event) is Frame:
                self._frame_received(event)
            else:
                self._request_received(event)
        if protocol.eof_sent:
            self._flush()
            self._continue_close()
        elif not self._corked:
            self._flush()

    def eof_received(self) -> bool | None:
        """The client ended its half."""
        self.protocol.receive_eof()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.server_state.connections.discard(self)
        self._lost = True
        self.protocol.receive_eof()
        self._queue_disconnect(CloseCode.ABNORMAL_CLOSURE, '')
        for timer in (self._ping_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The write buffer of the transport is full."""
        self._writable = self.loop.create_future()
        self.transport.pause_reading()  # answers to a client that does not read, such as pongs, must not pile up

    def resume_writing(self) -> None:
        """The write buffer of the transport has room again."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        if not self._reading_paused and not self._lost:
            self._resume_reading()

    def shutdown(self) -> None:
        """The server stops."""
        protocol = self.protocol
        if protocol.state is State.OPEN:
            self._queue_disconnect(CloseCode.SERVICE_RESTART, '')
            protocol.fail(CloseCode.SERVICE_RESTART)
        elif self._awaits_answer() and self._request is not None:
            protocol.send_response(protocol.reject(500, 'Internal Server Error'))
        self._flush()
        self.transport.close()

    # From the client to the application

    def _request_received(self, request: Request) -> None:
        """The upgrade request was received: refuse an invalid one, call the application for a valid one."""
        self._request = request
        response = self._response = self.protocol.accept(request)
        if response.status_code != 101:
            self.protocol.send_response(response)
            return
        raw_path, _, query = request.path.partition('?')
        root_path = self.config.root_path
        self.scope = {
            'type': 'websocket',
            'asgi': {'version': self.config.asgi_version, 'spec_version': '2.4'},
            'http_version': '1.1',
            'scheme': 'wss' if self.transport.get_extra_info('sslcontext') else 'ws',
            'server': _address(self.transport, 'sockname'),
            'client': _address(self.transport, 'peername'),
            'root_path': root_path,
            'path': root_path + unquote(raw_path),
            'raw_path': (root_path + raw_path).encode('ascii'),
            'query_string': query.encode('ascii'),
            'headers': [
                (name.lower().encode('ascii'), value.encode('latin-1')) for name, value in request.headers.raw_items()
            ],
            'subprotocols': self.protocol.offered_subprotocols(request.headers),
            'state': self.app_state.copy(),
            'extensions': {'websocket.http.response': {}},
        }
        self._queue({'type': 'websocket.connect'}, 0)
        task = self.loop.create_task(self._run_application())
        task.add_done_callback(self.server_state.tasks.discard)
        self.server_state.tasks.add(task)

    def _frame_received(self, frame: Frame) -> None:
        """A message or a control frame of the client, for an application that still receives."""
        opcode, data = frame.opcode, frame.data
        if self._disconnect_message is not None:
            return
        if opcode == Opcode.TEXT:
            self._queue({'type': 'websocket.receive', 'text': data.decode()}, len(data))
        elif opcode == Opcode.BINARY:
            self._queue({'type': 'websocket.receive', 'bytes': data}, len(data))
        elif opcode == Opcode.CLOSE:
            close = self.protocol.close_rcvd
            assert close is not None
            self._queue_disconnect(close.code, close.reason)

    def _queue(self, message: Message, size: int) -> None:
        """A message for the application."""
        self._messages.append(message)
        self._queued += size
        if self._waiters:
            self._wake()
        elif (self._queued > _MAX_QUEUED or len(self._messages) > self._max_messages) and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def _queue_disconnect(self, code: int, reason: str) -> None:
        """Queue the message that the connection is closed, behind those that wait; only once."""
        if self._disconnect_message is None:
            self._disconnect_message = {'type': 'websocket.disconnect', 'code': int(code), 'reason': reason}
            self._wake()
            if self._reading_paused:
                # No message is queued any more, and the client's part of the close has to be read.
                self._reading_paused = False
                self._resume_reading()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def receive(self) -> Message:
        """The next message for the application."""
        while not self._messages:
            if self._disconnect_message is not None:
                return self._disconnect_message
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            await waiter
        message = self._messages.popleft()
        if not self._messages:
            self._queued = 0
            if self._reading_paused:
                self._reading_paused = False
                if self._writable is None:
                    self._resume_reading()
        return message

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # From the application to the client

    async def _run_application(self) -> None:
        """The application, from the request to the end."""
        protocol = self.protocol
        try:
            result = await self.app(self.scope, self.receive, self.send)
        except BaseException as exc:
            # Where this client is still there, an application that sends to several has met another that is gone.
            if not (isinstance(exc, ClientDisconnected) and self._is_gone()):
                self.logger.exception('Exception in ASGI application\n')
            if protocol.state is State.OPEN:
                protocol.fail(CloseCode.INTERNAL_ERROR)
        else:
            if self._awaits_answer():
                self._finish_answer()
            elif result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
            if protocol.state is State.OPEN:
                protocol.send_close(CloseCode.NORMAL_CLOSURE if result is None else CloseCode.INTERNAL_ERROR)
        if self._awaits_answer():
            protocol.send_response(protocol.reject(500, 'Internal Server Error'))
        close = protocol.close_sent
        self._queue_disconnect(*((CloseCode.ABNORMAL_CLOSURE, '') if close is None else (close.code, close.reason)))
        self._flush()
        self._continue_close()

    def _finish_answer(self) -> None:
        """The application has returned, and the client has no answer: send the response that it began, if any."""
        if self._refusal is None:
            self.logger.error('ASGI callable returned without completing handshake.')
        else:
            self.logger.error('ASGI callable returned without completing response.')
            self._refuse_body('websocket.http.response.body', {})

    def _awaits_answer(self) -> bool:
        """Whether the client still waits for an answer to its request."""
        return self.protocol.state is State.CONNECTING and not self.protocol.eof_sent and not self._lost

    def _is_gone(self) -> bool:
        """Whether nothing can be sent to the client any more."""
        return self._lost or self.protocol.state in (State.CLOSING, State.CLOSED) or self.protocol.eof_sent

    async def send(self, message: Message) -> None:
        """Take a message of the application.

        Raises:
            ClientDisconnected: the client is gone.
            RuntimeError: the state of the connection does not allow this message.
        """
        while self._writable is not None:
            await asyncio.shield(self._writable)
        protocol = self.protocol
        kind = message['type']
        if kind == 'websocket.send' and protocol.state is State.OPEN and not self._lost:
            data = message.get('bytes')
            if data is not None:
                protocol.send_binary(data)
            else:
                text = message.get('text')
                if not isinstance(text, str):
                    raise TypeError(f"'websocket.send' has a str as 'text' or bytes as 'bytes', not {text!r}")
                protocol.send_text(text.encode())
            if not self._corked:
                self._corked = True
                self.loop.call_soon(self._uncork)
            elif protocol.out.size > _MAX_CORKED:  # type: ignore[union-attr]
                self._flush()
        elif self._app_closed:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close' or a response.")
        elif self._is_gone():
            raise ClientDisconnected('the client is gone')
        elif self._refusal is not None:
            self._refuse_body(kind, message)
        elif protocol.state is State.OPEN:
            if kind != 'websocket.close':
                raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
            code = message.get('code')
            self._close_by_application(1000 if code is None else code, message.get('reason') or '')
        else:
            self._answer_request(kind, message)

    def _answer_request(self, kind: str, message: Message) -> None:
        """The application accepts or refuses the request."""
        if kind == 'websocket.accept':
            self._accept(message.get('subprotocol') or None, message.get('headers') or ())
        elif kind == 'websocket.close':
            self._log_request(403)
            self._queue_disconnect(CloseCode.ABNORMAL_CLOSURE, '')
            self._refuse(self.protocol.reject(403, ''))
        elif kind == 'websocket.http.response.start':
            status = message['status']
            if not isinstance(status, int) or not 200 <= status < 600:
                raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
            self._log_request(status)
            self._refusal = Response(status, _reason_phrase(status), _headers(message.get('headers') or ()))
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'."
            )

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        """Send the 101, with what the application adds to it."""
        response = self._response
        assert response is not None
        if subprotocol is not None and subprotocol not in self.scope['subprotocols']:
            raise RuntimeError(f"The client did not offer the subprotocol '{subprotocol}' (RFC 6455 4.2.2).")
        added = _headers([*self.server_state.default_headers, *headers])
        for name in _HANDSHAKE_HEADERS:
            if name in added:
                raise RuntimeError(
                    f"The header '{name}' belongs to the handshake, which the server answers: leave it out of the "
                    "headers of 'websocket.accept' (a subprotocol goes into its 'subprotocol')."
                )
        del response.headers['Date']  # the server's own is among its default headers, unless it is to have none
        response.headers.update(added)
        if subprotocol is not None:
            response.headers['Sec-WebSocket-Protocol'] = subprotocol
        self._log_request('[accepted]')
        self.protocol.send_response(response)
        self._flush()
        # Frames that came with the request
        self.data_received(b'')
        self._keep_alive()

    def _refuse_body(self, kind: str, message: Message) -> None:
        """A piece of the body of a refusal; with the last one it is sent."""
        response = self._refusal
        assert response is not None
        if kind != 'websocket.http.response.body':
            raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
        response.body += message.get('body') or b''
        if not message.get('more_body', False):
            has_body = response.status_code not in _WITHOUT_BODY
            if not has_body:
                response.body = b''
            for name in ('Content-Length', 'Transfer-Encoding'):
                response.headers.pop(name, None)
            for name, value in self.protocol.reject(200, '').headers.items():
                if name == 'content-length':
                    if has_body:
                        response.headers['Content-Length'] = str(len(response.body))
                elif has_body or name != 'content-type':
                    response.headers.setdefault(name.title(), value)
            self._queue_disconnect(CloseCode.ABNORMAL_CLOSURE, '')
            self._refuse(response)

    def _refuse(self, response: Response) -> None:
        self._app_closed = True
        self.protocol.send_response(response)
        self._flush()
        self._continue_close()

    def _close_by_application(self, code: int, reason: str) -> None:
        """The application closes."""
        if not isinstance(code, int) or not isinstance(reason, str):
            raise TypeError(
                f"'websocket.close' has an int as 'code' and a str as 'reason', not {code!r} and {reason!r}"
            )
        self.protocol.send_close(code, reason)
        self._app_closed = True
        self._queue_disconnect(code, reason)
        self._flush()
        self._continue_close()

    # Writing

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    def _flush(self) -> None:
        """Write all that waits."""
        out = self.protocol.out
        if out is not None and out.size and not self._lost:
            self.transport.write(out.take())

    def _continue_close(self) -> None:
        """Continue a close that began: half-close TCP when it is time, and limit the time of the client's part."""
        protocol = self.protocol
        if self._lost or protocol.state is State.OPEN:
            return
        if protocol.parser_exc is not None and protocol.close_sent is not None:
            self._queue_disconnect(protocol.close_sent.code, protocol.close_sent.reason)
        if b'' in protocol.data_to_send():
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()
        if self._close_timer is None:
            self._close_timer = self.loop.call_later(_CLOSE_TIMEOUT, self.transport.abort)

    # Time

    def _keep_alive(self) -> None:
        """Ping a silent client; close where it does not answer. While reading pauses, no answer can arrive."""
        interval, timeout = self.config.ws_ping_interval, self.config.ws_ping_timeout
        protocol = self.protocol
        if not interval or protocol.state is not State.OPEN:
            return
        now = self.loop.time()
        if self._has_received or self._reading_paused:
            self._has_received = False
            self._pinged_at = None
        elif self._pinged_at is None:
            self._pinged_at = now
            protocol.send_ping(b'')
            self._flush()
        left = interval
        if self._pinged_at is not None and timeout:
            left = self._pinged_at + timeout - now
            if left <= 0:
                protocol.fail(CloseCode.INTERNAL_ERROR, 'keepalive ping timeout')
                self._queue_disconnect(CloseCode.INTERNAL_ERROR, 'keepalive ping timeout')
                self._flush()
                self.transport.close()
                return
        self._ping_timer = self.loop.call_later(min(interval, left), self._keep_alive)

    def _log_request(self, what: object) -> None:
        """Log the answer to the request, in the format of the server's log."""
        scope = self.scope
        client = ':'.join(map(str, scope['client'] or ()))
        query = f'?{scope["query_string"].decode()}' if scope['query_string'] else ''
        self.logger.info('%s - "WebSocket %s" %s', client, quote(scope['path']) + query, what)


def _headers(pairs: Any) -> Headers:
    decoded = []
    for name, value in pairs:
        if not isinstance(name, _BYTES) or not isinstance(value, _BYTES):
            raise TypeError(
                f"headers of ASGI messages are pairs of bytes, such as (b'x-name', b'value'), not {(name, value)!r}"
            )
        decoded.append((bytes(name).decode('latin-1'), bytes(value).decode('latin-1')))
    return Headers(decoded)


def _reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ''


def _address(transport: Any, which: str) -> tuple[str, int | None] | None:
    """One end of the connection in ASGI's form: host and port; path and None for a Unix socket that has one."""
    address = transport.get_extra_info(which)
    if isinstance(address, (tuple, list)):
        return str(address[0]), int(address[1])
    if isinstance(address, str) and address and which == 'sockname':
        return address, None
    return None
