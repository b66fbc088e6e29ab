"""`HTTPConnection`: a server's connection before its upgrade.

Owns the order of requests and answers on one connection, and how long each may take. Must not know which answer a
request gets (`server.py`), how HTTP is read and written (`handshake/`), nor what a WebSocket is: the request for one is
handed to the server together with the stream.
"""

from __future__ import annotations

import inspect
from typing import Any

from .._text import cut, shown
from ..buffers import Receiver
from ..errors import HandshakeError
from ..handshake.server import ServerHandshake
from ..http11 import Request, Response
from ..ioloop import Stream
from ..ioloop.syscalls import unsent
from ..safe_logger import SafeLogger
from .static import FileResponse

__all__ = ['HTTPConnection']

_log = SafeLogger('pyjows')

# Answers to pipelined requests in one turn of the loop, after which other connections get their turn.
_ANSWERS_A_TURN = 16

# Bytes of a file that are read at a time, and that may wait to be written.
_PIECE, _FILE_BUFFER = 65536, 262144

# Seconds that an idle client has to close its end too, when the server stops.
_LINGER = 1.0


class HTTPConnection(Receiver):
    """A connection before its upgrade: plain HTTP requests and their answers, one after the other.

    One timer bounds every phase. It gives a client `handshake_timeout` seconds for a request, and as many without any
    progress for taking an answer. A coroutine handler has `request_timeout` seconds for its answer, also when the
    client is gone.

    Of pipelined requests, a few are answered in one turn, and none while more than the stream's `high_water_mark` bytes
    of answers wait. Until the rest is answered, nothing more is read.
    """

    def __init__(self, server: Any, stream: Stream, connection: str) -> None:
        self._begin_receiver()
        self.server = server
        self.connection = connection
        self.kept_alive = False
        self.handshake = ServerHandshake(max_header_size=server._max_header_size, max_body_size=server._max_body_size)
        self._ending = False
        self._is_idle = False  # a request was answered, and nothing of the next one is here
        self._is_handled = False  # a handler works on an answer
        self._task: Any = None  # of the coroutine handler that does
        self._file: FileResponse | None = None  # the answer that is being sent piece by piece
        self._written = 0
        self._taken = -1  # how much of that the client had taken when the timer last expired
        self._reactor = server.ioloop.reactor
        self._timer: Any = None
        self._set_timer()

    # Requests

    def feed(self, data: bytes | bytearray, n: int) -> None:
        """Take bytes of a request."""
        if self._ending:
            return  # read and discarded: unread bytes would make the close a reset, which can destroy the answer
        self._is_idle = False
        try:
            request = self.handshake.receive(bytes(data[:n]))
        except HandshakeError as exc:
            self._refuse(exc)
        else:
            self._serve(request)

    def _serve(self, request: Request | None) -> None:
        """Answer a request, and those after it that are here already."""
        answered = 0
        while request is not None:
            if self.handshake.asks_for_websocket():
                self._cancel_timer()
                self.server._upgrade(self, request)
                return
            self._is_handled = True
            if not self._handle(request):
                return
            answered += 1
            if self.handshake.trailing_data and (answered == _ANSWERS_A_TURN or not self.stream.can_write):
                self._pause()
                return
            request = self._next_request()
        if not self._ending and (interim := self.handshake.interim()):
            self._write(interim)

    def _next_request(self) -> Request | None:
        """The next request of the connection, if it is here already."""
        try:
            return self.handshake.next()
        except HandshakeError as exc:
            self._refuse(exc)
            return None

    def _pause(self) -> None:
        """Read and answer no more until the answers are written, and other connections had their turn."""
        self.stream.stop()
        if self.stream.can_write:
            self._reactor.next_tick(self._resume)
        else:
            self.awaits_drain = True

    def drained(self) -> None:
        """The kernel has taken all answers."""
        self.awaits_drain = False
        self._reactor.next_tick(self._resume if self._file is None else self._send_file)

    def _resume(self, reactor: Any) -> None:
        if self.stream is not None:
            self.stream.start()
            if not self._ending:
                self._serve(self._next_request())

    # Answers

    def _handle(self, request: Request) -> bool:
        """Have the handlers answer a request; returns whether the next one may follow at once."""
        try:
            response = self.server._respond(request)
            if not inspect.isawaitable(response):
                return self._answer(response)
        except BaseException as exc:
            return self._failed(exc)
        self._cancel_timer()
        if self.server._request_timeout:
            self._set_timer(self.server._request_timeout)
        try:
            task = self.server._spawn(self._answer_later(response))
        except RuntimeError as exc:  # the loop runs no coroutines
            if inspect.iscoroutine(response):
                response.close()
            return self._failed(exc)
        if not task.done():  # it may have run already (`asyncio.eager_task_factory`)
            self._task = task
        return False

    async def _answer_later(self, response: Any) -> None:
        """Answer with what a coroutine handler returns, then serve the next request."""
        try:
            goes_on = self._answer(await response)
        except Exception as exc:
            goes_on = self._failed(exc)
        except BaseException:  # the task was cancelled
            self._answer(_internal_error())
            raise
        if goes_on:
            self._serve(self._next_request())

    def _failed(self, exc: BaseException) -> bool:
        if self.server._is_late_use(exc):
            _log.error('500: a request handler used a closed connection: %s', exc)
        else:
            self.server._handler_failed(exc)
        return self._answer(_internal_error())

    def _refuse(self, exc: HandshakeError) -> None:
        _log.info('a bad request: %s', exc)
        self.server._tally.refused[str(exc.status)] += 1
        self._is_handled = True
        self._answer(exc.response)

    def _answer(self, response: Any) -> bool:
        """Write an answer; returns whether the connection can carry another request."""
        if self.stream is None or not self._is_handled:  # the client is gone, or has its answer: it took too long
            if isinstance(response, FileResponse):
                response.close()
            self._task = None
            if self.stream is None:
                self._cancel_timer()
            return False
        if response is None:
            response = Response.text('not found\n', 404)
        elif not isinstance(response, Response):
            raise TypeError(f'a request handler returns a Response or None, not {type(response).__name__}')
        if isinstance(response, FileResponse):
            self._file = response
            self._set_timer()
            self._write(self.handshake.respond(response, more=True, close=self.server._stopping))
            self._send_file()
            return False
        self._write(self.handshake.respond(response, close=self.server._stopping))
        return self._answered()

    def _send_file(self, reactor: Any = None) -> None:
        """Write the next pieces of a file, as many as may wait; the rest when these are written."""
        response = self._file
        if response is None or self.stream is None:
            return
        while response.left and self.stream.buffered_amount < _FILE_BUFFER:
            try:
                data = response.read(_PIECE)
            except OSError as exc:
                _log.warning('a file could not be read to its end: %s', exc)
                data = b''
            if not data:  # the file has become shorter: the client has to see that its answer is cut
                self.stream.close()
                return
            self._write(self.handshake.respond_more(data, more=response.left > 0))
        if response.left:
            self.awaits_drain = True
            return
        self._close_file()
        if self._answered() and not self.server._stopping:
            self._serve(self._next_request())
        elif self.server._stopping:
            self._half_close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _answered(self) -> bool:
        """The answer is written; returns whether the connection can carry another request."""
        self._is_handled = False
        self._task = None
        self._set_timer()
        if not self.handshake.keep_alive:
            self._half_close()
            return False
        self.kept_alive = True
        self._is_idle = not self.handshake.trailing_data
        return True

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        self.stream.write(data)

    # The end

    def stop(self, seconds: float) -> None:
        """The server stops: end the connection, after the answer if a handler works on one or a request is to come.

        Args:
            seconds: how long to wait for a request, if `handshake_timeout` is not shorter.
        """
        if self._task is not None:
            limit = self.server._handshake_timeout
            self._set_timer(min(limit, self.server._request_timeout or limit))
        elif self._is_handled:
            if self._timer is None:
                self._set_timer()
        elif self._is_idle:
            self._half_close()
            self._set_timer(_LINGER)
        elif self._ending:
            self._half_close()
        elif seconds < self.server._handshake_timeout:
            self._set_timer(seconds)

    def _half_close(self) -> None:
        """Half-close when all answers are written."""
        self._ending = True
        if self.stream is not None:
            self.stream.shutdown()

    def eof(self) -> None:
        """The client will send no more."""
        if self.stream is not None:
            self.stream.close_gracefully()

    def lost(self, exc: BaseException | None) -> None:
        """The connection is gone; a coroutine handler keeps its time limit."""
        if self._task is None or self.server._stopping:
            self._cancel_timer()
        self._close_file()
        self.server._lost(self)

    # Time

    def _set_timer(self, seconds: float | None = None) -> None:
        self._cancel_timer()
        if seconds is None:
            seconds = self.server._handshake_timeout
        self._timer = self._reactor.timer(self._timed_out, seconds)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._reactor.remove(self._timer)
            self._timer = None

    def _timed_out(self, reactor: Any) -> None:
        """Close a connection without a complete request, or whose client takes nothing of an answer."""
        self._timer = None
        if self._task is not None:
            self._answer_overdue()
            return
        stream = self.stream
        if stream is None:
            return
        if stream.buffered_amount:
            taken = self._written - stream.buffered_amount - unsent(stream.socket)
            if taken > self._taken:  # slow, but it makes progress
                self._taken = taken
                self._set_timer()
                return
        elif self._file is not None:  # the next piece is about to be written
            self._set_timer()
            return
        elif not self._is_handled and not self.kept_alive and not self.server._stopping:
            self.server._tally.refused['handshake timeout'] += 1
        stream.close()

    def _answer_overdue(self) -> None:
        """A coroutine handler took too long: answer 503, and cancel it, unless the server stops."""
        task, self._task = self._task, None
        request = self.handshake.request
        assert request is not None
        _log.warning(
            '%s %s: its handler did not answer in time, the request is refused with 503%s',
            cut(request.method, 32),
            shown(request.target),
            '' if self.server._stopping else f'; request_timeout={self.server._request_timeout:g} seconds',
        )
        if self.stream is not None:
            self.server._tally.refused['503'] += 1
            self._write(self.handshake.respond(Response.text('service unavailable\n', 503), close=True))
            self._answered()
        if not self.server._stopping:
            task.cancel()


def _internal_error() -> Response:
    return Response.text('internal error\n', 500)
