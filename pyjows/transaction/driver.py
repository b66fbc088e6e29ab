"""`TransactionProtocol`: the state machine under a transaction, and what a loop does to it.

Owns the way of whole messages from `Protocol` to the handlers, and what a connection has when a loop drives it: the
stream, the owner that is called at its end, the close timer, signs of life, the limits of time and of what waits to be
written, the addresses. Must not know how handlers are called (`handlers.py`), what a user calls (`transaction.py`), the
opening handshake (`opening.py`), nor sockets: a stream is an object with the few methods that are used here.

There is no driver object beside the protocol: a connection needs both for its whole life, and one object less is a
hundred bytes less for each idle connection.
"""

from __future__ import annotations

import logging
import typing
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..buffers import Receiver, WriteBuffer
from ..errors import Close, CloseCode, InvalidState, ProtocolError
from ..frame_decoder import AT_REST
from ..frames import Frame, Opcode, as_bytes, head_byte, make_frame
from ..limits import Limits
from ..loop_thread import LoopThread
from ..protocol import Protocol, Side, State
from ..safe_logger import SafeLogger
from ..statistics import Traffic
from .handlers import MessageHandlers

__all__ = ['PAUSED_BY_PROGRAM', 'PAUSED_FOR_OTHERS', 'Connector', 'Owner', 'TransactionProtocol']

# Why reading pauses, as bits; two more are in `handler_queue.py` and `inbox.py`. `WebSocket.pause_reading` was called;
# or so many frames came at once that the rest waits for the loop's next turn, when other connections were served.
PAUSED_BY_PROGRAM = 1
PAUSED_FOR_OTHERS = 8
_PAUSED_FOR_OTHERS = PAUSED_FOR_OTHERS

# Compiled, these are C integers.
_AT_REST = AT_REST
_CONNECTING, _OPEN = State.CONNECTING.value, State.OPEN.value
_PING, _PONG, _CLOSE = Opcode.PING.value, Opcode.PONG.value, Opcode.CLOSE.value

_BEGINNING = State.CONNECTING  # looked up once

# Pings that may wait for their answer: of more, the oldest is forgotten.
_MAX_PINGS = 64

# Counts for connections whose owner does not count.
_TRAFFIC = Traffic()

_LOGGERS = SafeLogger('pyjows.server'), SafeLogger('pyjows.client')

Addresses = tuple[str | None, int | None, str | None, int | None]


class Owner(typing.Protocol):
    """What made a transaction, and is called when it ends: a server."""

    def gone(self, ws: Any) -> None:
        """The connection is closed."""


class Connector(Owner, typing.Protocol):
    """The owner of a client's transaction, which is also called when the opening handshake ends."""

    def answered(self, ws: Any) -> None:
        """The server has accepted the handshake."""

    def refused(self, ws: Any, exc: Any) -> bool:
        """The handshake failed; returns whether the connector goes on by itself: it follows a redirect."""

    def given_up(self, ws: Any) -> None:
        """`finish` was called before the transaction was open, and nothing waits to be sent."""


class TransactionProtocol(Protocol):
    """The state machine under a transaction: a `Protocol` that gives it whole messages, and that a loop can drive."""

    def __init__(self, ws: MessageHandlers, side: Side, limits: Limits) -> None:
        self._begin_protocol(side, _BEGINNING, limits.max_websocket_size, limits.max_fragments, None)
        self._joins = True
        # What it may cost, and where its messages are counted.
        self.limits = limits
        self.traffic = _TRAFFIC
        # The transaction, until its end; and what is fed instead of this one while the connection is not open.
        self.ws: MessageHandlers | None = ws
        self.opening: Any = None
        # What made the connection; its loop, the loop's thread, and its id there.
        self.owner: Owner | Connector | None = None
        self.ioloop: Any = None
        self.thread: LoopThread | None = None
        self.connection: str | None = None
        self.kept_alive = False
        # Whether the stream is TLS; and the `ClientAddress` of a server's client behind a reverse proxy.
        self.is_encrypted = False
        self.client: Any = None
        # The end: why it came where this side caused it, the code and the reason of ``finish`` where no close frame has
        # them, and whether the connection is gone.
        self.cause: str | None = None
        self.end: tuple[int, str] | None = None
        self.finish_code = 0
        self._close_timer: Any = None
        self.is_finished = False
        # Handlers of one event are being called; and ``finish`` waits for the last of them.
        self.is_emitting = False
        self.finish_pending = False
        # Read once, because the socket does not know them after the end.
        self._addresses: Addresses | None = None
        # Signs of life, as times of the heartbeat (single floats when compiled): of the last one (0: not checked yet),
        # of the heartbeat's unanswered ping (0: none), since when more than the high water mark waits and the peer
        # takes nothing (0: it does not), of the last message. Beside them: the bytes that the peer had acknowledged at
        # the last check. `slot` is the heartbeat's.
        self._alive_at = 0.0
        self._pinged_at = 0.0
        self._stuck_since = 0.0
        self._acknowledged = 0
        self._message_at = 0.0
        self._had_message = False
        self.slot = 0
        # Pings that were not answered yet: payload, when it was sent, callback. And the seconds that the last took.
        self._pings: list[tuple[bytes, float, Any]] | None = None
        self._ping_number = 0
        self.latency = -1.0
        # Bytes were queued without a stream: ``resume`` is to be emitted, once.
        self.resume_pending = False

    # What servers and clients call

    def await_loop(self, ioloop: Any) -> None:
        """This loop is about to drive the connection; it belongs to the loop's thread from now on."""
        self.ioloop = ioloop
        self.thread = ioloop.reactor.thread

    def drive(self, stream: Any, ioloop: Any, connection: str | None = None) -> None:
        """Have a stream move the bytes from now on; ``connection`` is emitted with its id."""
        ws, receiver = self.ws, self.receiver()
        self.await_loop(ioloop)
        self.connection = connection
        out, receiver.out = receiver.out, None
        self.stream = receiver.stream = stream
        self.is_encrypted = stream.is_encrypted
        stream.receiver = receiver
        stream.paces_reading = True
        stream.high_water_mark = self.limits.high_water_mark
        if out is not None and out.size:
            stream.write(out.take())
        if self._side and self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug('%s connected to %s port %s', self._log_id(), *self.addresses[2:])
        if ws is not None:
            ws._emit_safely('connection', connection)

    def request_received(
        self,
        handshake: Any,
        request: Any,
        announce: Callable[[Any, list[Any]], object] | None = None,
        timeout: float = 0.0,
    ) -> None:
        """A server has read the upgrade request: call the handlers, then answer it; see `Opening.request_received`."""
        opening = self.opening
        opening.request_received(handshake, request, announce, timeout)

    def connect_failed(self, exc: BaseException | None) -> None:
        """There is no connection (client): emit ``error``, except for None (it was cancelled), then ``finish``."""
        ws = self.ws
        if ws is not None and not self.is_finished:
            opening = self.opening
            if exc is not None and opening is not None:
                opening.failed(exc)
            else:
                self._discard_input()
            ws.closed()

    def restart(self) -> Any:
        """Detach the stream and forget the handshake, to begin again on another stream (client); returns it."""
        opening = self.opening
        return opening.restart()

    # What a stream calls

    def eof(self) -> None:
        """The peer ended its half of the connection."""
        self.receive_eof()
        if self.stream is not None:
            self.stream.close_gracefully()

    def drained(self) -> None:
        """The kernel has taken all that waited."""
        if self._unanswered_ping is not None:
            self._send_late_pong()
        ws = self.ws
        if ws is not None:
            ws._emit_drain()

    def lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        if self._paused & ~(PAUSED_BY_PROGRAM | _PAUSED_FOR_OTHERS):
            # A full queue does not grow at the end: what it had no room for is lost as what is in the kernel's buffers.
            self._unread = None
        ws = self.ws
        if ws is not None:
            ws.closed()

    def outgoing(self) -> WriteBuffer:
        """The buffer to write to. Without a stream, ``resume`` is emitted for what is written."""
        self.resume_pending = self.stream is None
        return Receiver.outgoing(self)

    def _log_id(self) -> str:
        return Protocol._log_id(self) if self.connection is None else self.connection

    @property
    def logger(self) -> SafeLogger:
        """Where the log records of the connection go."""
        return _LOGGERS[self._side]

    # What the opening calls

    def receiver(self) -> Receiver:
        """What the stream feeds now: the opening, or after it the protocol."""
        opening: Receiver | None = self.opening
        return self if opening is None else opening

    def take_over(self, receiver: Receiver) -> None:
        """Receive from the stream, and write to it, instead of this receiver, which had it for the handshake."""
        self.out, receiver.out = receiver.out, None
        if self.stream is not None:
            self.stream.receiver = self
            receiver.stream = None
        self.opening = None

    def release_stream(self) -> Any:
        """Detach the stream, to begin again on another one (client); returns it."""
        stream = self.stream
        stream.receiver = self.stream = self.out = None
        self.connection = self._addresses = None
        return stream

    # What the state machine calls

    def _frame_seen(self, head: int, payload: bytes) -> bool:
        """Emit ``frame``, where more than the built-in handler subscribed to it."""
        ws = self.ws
        if ws is None:
            return False
        if ws._on_frame is not None:
            ws._emit_frame(ws._on_frame, make_frame(head, payload))
        return not self._raw and not self._discarding

    def process(self, frame: Frame) -> None:
        """Process a frame as if the peer had sent it: one that is not allowed now fails the connection.

        Raises:
            InvalidState: the connection is not open yet.
            ValueError, TypeError: it is not a frame.
        """
        fin, rsv1, rsv2, rsv3, opcode, payload = frame
        head, payload = head_byte(fin, rsv1, rsv2, rsv3, opcode), as_bytes(payload)
        if self._state == _CONNECTING:
            raise InvalidState('a frame can be processed when the connection is open; this one is connecting')
        if self._discarding or self.ws is None:
            return
        is_nested = self._turn != _AT_REST
        if not is_nested:
            self._turn = _AT_REST - 1  # a frame is being processed
        try:
            self._check_frame(head, len(payload))
            self._process_frame(head, payload)
        except ProtocolError as exc:
            self._fail_violation(exc)
        except BaseException as exc:
            self._fail_internally(exc)
        finally:
            if not is_nested:
                self._turn = _AT_REST
                self._input_processed()
                self._resume_input(0)  # what a handler fed

    def _message_received(self, opcode: int, payload: bytes) -> None:
        ws = self.ws
        if ws is not None:
            self._had_message = True
            self.traffic.messages_received += 1
            self.traffic.bytes_received += len(payload)
            ws._message_received(opcode, payload)

    def _input_processed(self) -> None:
        """All that is at hand was delivered: run the coroutines that wait for a message."""
        if self.is_finished:
            ws = self.ws
            if ws is not None:
                ws._finish_late()
        elif self.ws._inbox is not None:  # type: ignore[union-attr]  # it is there until `is_finished`
            ws = self.ws
            ws._inbox.hand_out()  # type: ignore[union-attr]

    def _message_sent(self, size: int) -> None:
        """A message was queued, whose payload has `size` bytes."""
        self._had_message = True
        self.traffic.messages_sent += 1
        self.traffic.bytes_sent += size
        out = self.out
        if out is not None and out.size > self.limits.high_water_mark:
            self._check_backlog(size)

    def _frame_sent(self, size: int) -> None:
        """A frame that is not a message was queued, whose payload has `size` bytes."""
        out = self.out
        if out is not None and out.size > self.limits.high_water_mark:
            self._check_backlog(size)

    def _control_received(self, opcode: int, payload: bytes) -> None:
        ws = self.ws
        if ws is not None and opcode != _CLOSE:
            answered = self._pong_received(payload) if opcode == _PONG else ()
            ws._control_received('ping' if opcode == _PING else 'pong', payload, answered)

    # The end

    def calls_handlers(self) -> bool:
        """Whether handlers of one event or message are being called."""
        return self._turn != _AT_REST or bool(self.is_emitting)

    @property
    def close_timeout(self) -> float:
        """Seconds that the peer has for its part of the close."""
        return self.limits.close_timeout

    @close_timeout.setter
    def close_timeout(self, seconds: float) -> None:
        self.limits = self.limits.replaced(close_timeout=seconds)

    def _close_began(self) -> None:
        """The close began: the peer has `close_timeout` seconds to do its part."""
        if self.stream is not None and self._close_timer is None and not self.is_finished:
            self._keep_addresses()  # once both sides have ended TCP, the system forgets the peer's
            self._close_timer = self.ioloop.reactor.timer(self._close_overdue, self.limits.close_timeout)

    def _close_overdue(self, reactor: Any) -> None:
        """The peer did not do its part of the close in time."""
        self._close_timer = None
        if self.stream is not None:
            self.cause = self.cause or 'close timeout'
            self.stream.close()

    def drop(self, cause: str, code: int, reason: str) -> None:
        """Close TCP at once; ``finish`` has this code and reason, unless the peer has sent a close frame."""
        self.cause = cause
        self.end = (code, reason)
        self._discard_input()
        if self.stream is not None:
            self.stream.close()

    def end_driving(self) -> None:
        """The connection is gone: no timer is left behind, and the addresses stay known."""
        self._keep_addresses()
        if self._close_timer is not None:
            self.ioloop.reactor.remove(self._close_timer)
            self._close_timer = None

    # What waits to be written

    def _check_backlog(self, size: int) -> None:
        """A message of `size` bytes was queued behind others: a peer that lets too much wait is a slow consumer."""
        out = self.out
        if out is None or self._state != _OPEN or self.stream is None:
            return
        waiting = out.size
        # What waits may be one message alone, however large; its header has 14 bytes at most.
        if waiting > self.limits.max_backlog and waiting - size > 14:
            self.stream.flush()  # it may only have waited for the end of the loop's turn
            if self._state == _OPEN and self.out is not None and self.out.size > self.limits.max_backlog:
                close = self._slow_consumer_close(self.out.size)
                self.fail(close.code, close.reason)

    def _slow_consumer_close(self, waiting: int) -> Close:
        """The close of a peer that lets more than `max_backlog` wait; it is logged."""
        self.cause = 'slow consumer'
        reason = f'slow consumer: {waiting} bytes wait, max_backlog is {self.limits.max_backlog}'
        close = Close(CloseCode.POLICY_VIOLATION, reason)
        self.logger.info('%s of %s', close, self.connection)
        return close

    # What waits to be handled

    def pause(self, reasons: int) -> None:
        """Deliver no more messages, and read no more, for these reasons (bits) beside others that there may be."""
        self._pause_input(reasons)
        if self.stream is not None:
            self.stream.stop()

    def resume(self, reasons: int) -> None:
        """These reasons are over: where no other is left, deliver messages again, first those that waited."""
        if self._paused & reasons:
            self._resume_input(reasons)
            if self.stream is not None and not self._paused and not self._eof_received:
                self.stream.start()

    def _turn_is_over(self) -> None:
        """Pause until the loop's next turn, so that other connections are served."""
        if self.stream is not None and not self._paused:
            self.pause(_PAUSED_FOR_OTHERS)
            self.ioloop.reactor.next_tick(self._next_turn)

    def _next_turn(self, reactor: Any) -> None:
        self.resume(_PAUSED_FOR_OTHERS)

    @property
    def is_paused(self) -> bool:
        """Whether messages wait for something else than the loop's next turn."""
        return bool(self._paused & ~_PAUSED_FOR_OTHERS)

    # Signs of life

    def check(self, now: float) -> None:
        """Check for signs of life and for progress; called every few seconds by the heartbeat.

        Bytes received and bytes taken by the kernel are signs of life; while bytes wait to be written, only the latter:
        a peer that reads nothing is dropped, even if it sends. While reading is paused, there is nothing to check.
        """
        stream = self.stream
        if self._state != _OPEN or stream is None:
            return
        limits = self.limits
        waiting = 0 if self.out is None else self.out.size
        took = False
        if waiting:
            acknowledged = stream.acknowledged
            took = acknowledged > self._acknowledged
            self._acknowledged = acknowledged
        received = stream.has_received
        stream.has_received = False
        if not self._alive_at:
            self._alive_at = self._message_at = now
        if self._had_message:
            self._had_message = False
            self._message_at = now
        if took or (received and not waiting):
            self._alive_at = now
            self._pinged_at = 0.0
        if self._is_stuck(now, waiting, took):
            reason = f'slow consumer: of {waiting} bytes none was taken for {limits.backlog_timeout:g} s'
            self.logger.info('1008 %s of %s', reason, self.connection)
            self.drop('slow consumer', CloseCode.POLICY_VIOLATION, reason)
        elif limits.idle_timeout and now - self._message_at >= limits.idle_timeout:
            self.cause = 'idle timeout'
            self.send_close(CloseCode.GOING_AWAY, f'idle timeout: no message for {limits.idle_timeout:g} s')
        elif waiting or stream.is_readable:
            self._ping_or_drop(now, waiting)
        else:
            self._pinged_at = 0.0

    def _is_stuck(self, now: float, waiting: int, took: bool) -> bool:
        """Whether more than the high water mark waits, and the peer has taken nothing for `backlog_timeout`."""
        limits = self.limits
        if waiting <= limits.high_water_mark:
            self._stuck_since = 0.0
        elif took or not self._stuck_since:
            self._stuck_since = now
        else:
            return bool(limits.backlog_timeout and now - self._stuck_since >= limits.backlog_timeout)
        return False

    def _ping_or_drop(self, now: float, waiting: int) -> None:
        """Ping a peer without a sign of life for `ping_interval`; drop one that then has none for `ping_timeout`."""
        limits = self.limits
        if self._pinged_at:
            if limits.ping_timeout and now - self._pinged_at >= limits.ping_timeout:
                reason = f'ping timeout: no sign of life for {now - self._alive_at:.0f} s'
                self.logger.info('1006 %s of %s', reason, self.connection)
                self.drop('ping timeout', CloseCode.ABNORMAL_CLOSURE, reason)
        elif limits.ping_interval and now - self._alive_at >= limits.ping_interval:
            self._pinged_at = now
            if not waiting:
                self.ping(None, None)

    def ping(self, data: bytes | None, cb: Any) -> None:
        """Send a ping; ``cb(ws, latency)`` is called when it, or a later one, is answered (RFC 6455 5.5.3).

        Raises:
            ProtocolError: it is longer than 125 bytes.
            InvalidState: the connection is not open.
        """
        if self._state != _OPEN:
            raise InvalidState(f'a ping is sent while the connection is open; this one is {self.state.name.lower()}')
        if data is None:
            self._ping_number += 1
            data = self._ping_number.to_bytes(4, 'big')
        self.send_ping(data)
        self._frame_sent(len(data))
        if self._pings is None:
            self._pings = []
        elif len(self._pings) >= _MAX_PINGS:
            del self._pings[0]
        self._pings.append((bytes(data), monotonic(), cb))

    def _pong_received(self, payload: bytes) -> list[tuple[Any, float]]:
        """Set the latency; returns the callbacks to call, each with the seconds that its ping took."""
        pings = self._pings
        if pings is None:
            return []
        for i in range(len(pings)):
            if pings[i][0] == payload:
                now = monotonic()
                self.latency = now - pings[i][1]
                answered = pings[: i + 1]
                self._pings = pings[i + 1 :] or None
                return [(cb, now - sent) for _, sent, cb in answered if cb is not None]
        return []

    # Addresses

    @property
    def addresses(self) -> Addresses:
        """Local address and port, remote address and port; an address is a path for a Unix socket; else None."""
        self._keep_addresses()
        return (None, None, None, None) if self._addresses is None else self._addresses

    def _keep_addresses(self) -> None:
        if self._addresses is None and self.stream is not None:
            socket = self.stream.socket
            self._addresses = (*_address(socket.getsockname), *_address(socket.getpeername))


def _address(name: Any) -> tuple[str | None, int | None]:
    """The address and the port that one of a socket's two methods gives."""
    try:
        address = name()
    except OSError:
        return None, None
    return (address[0], address[1]) if isinstance(address, tuple) else (address or None, None)
