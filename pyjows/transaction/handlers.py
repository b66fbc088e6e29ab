"""`MessageHandlers`: the handlers of a transaction, and what they are called with.

Owns which handlers a message goes to and in which form, the order of events, and that a handler that raises keeps
neither the next handler nor the next message from being served. Must not know how a message was received, nor how a
connection closes (`transaction.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import CoroutineType
from typing import Any

from .. import _json
from ..emitter import EmitterCore
from ..frame_decoder import decode_text
from ..frames import Frame, Opcode
from .handler_queue import HandlerQueue
from .inbox import Inbox

__all__ = ['BUILT_IN', 'MessageHandlers', 'assemble']

# Compiled, these are C integers.
_TEXT, _BINARY = Opcode.TEXT.value, Opcode.BINARY.value


def assemble(ws: Any, frame: Frame) -> None:
    """The built-in handler of ``frame``: control frames are answered, and the others become messages."""
    ws.protocol.process(frame)
    ws._emit_resume()


BUILT_IN = (assemble,)

# The events that a connection that is gone emits no more: it lets go of their handlers.
_ENDED = frozenset(('request', 'open', 'frame', 'ping', 'pong', 'drain', 'finish', 'connection', 'resume'))
_MESSAGES = frozenset(('message', 'text', 'binary', 'json'))

_BUILT_IN = BUILT_IN  # compiled, a C variable

# The events of a new transaction. One dictionary for all, which is copied before it is changed.
_NEW: dict[str, tuple[Callable[..., Any], ...]] = {'frame': BUILT_IN}

# The handlers of an event, None where there are none.
_Handlers = tuple[Callable[..., Any], ...] | None


class MessageHandlers(EmitterCore):
    """An emitter of whole messages, and of what else happens to a connection."""

    _own_events = frozenset(
        (
            *('request', 'open', 'message', 'text', 'binary', 'json', 'frame', 'ping', 'pong', 'drain', 'finish'),
            *('error', 'connection', 'resume', 'new_listener'),
        )
    )

    def _begin_handlers(self) -> None:
        """Set the initial state: the built-in handler of ``frame``, and no others."""
        self._events = _NEW
        # The handlers of messages once more, so that no dictionary is searched for each message.
        self._on_frame: _Handlers = BUILT_IN
        self._on_message: _Handlers = None
        self._on_text: _Handlers = None
        self._on_binary: _Handlers = None
        self._on_json: _Handlers = None
        # Called once, when all data has been written.
        self._callbacks: list[Callable[[Any], object]] | None = None
        # The coroutine handlers that wait for their turn; None where there are none.
        self._queue: HandlerQueue | None = None
        # The code and the reason of ``finish``, once it was emitted: for handlers that come too late.
        self._finished_with: tuple[int, str] | None = None
        # The messages that wait for coroutines; None where none has awaited the connection.
        self._inbox: Inbox | None = None
        # What a handler raised that is not an `Exception`, to be raised again when all that was received is processed.
        self._interrupt: BaseException | None = None

    def _set(self, event: str, handlers: tuple[Callable[..., Any], ...]) -> None:
        """Replace the handlers of an event."""
        if self._events is _NEW:
            self._events = _NEW.copy()
        EmitterCore._set(self, event, handlers)
        subscribers = handlers or None
        if event == 'frame':
            self._on_frame = subscribers
        elif event == 'message':
            self._on_message = subscribers
        elif event == 'text':
            self._on_text = subscribers
        elif event == 'binary':
            self._on_binary = subscribers
        elif event == 'json':
            self._on_json = subscribers
        if self._inbox is not None and self._handles_messages():
            self._inbox.handlers_added()

    def _handles_messages(self) -> bool:
        """Whether there is a handler of messages."""
        return (
            self._on_message is not None
            or self._on_text is not None
            or self._on_binary is not None
            or self._on_json is not None
        )

    def _keep_message(self, inbox: Inbox, opcode: int, payload: bytes) -> bool:
        """Keep a message for coroutines if one receives, or there is no handler that it could go to."""
        is_handled = self._handles_messages()
        keeps = inbox.is_claimed or not is_handled
        if keeps:
            inbox.put(decode_text(payload) if opcode == _TEXT else payload, is_handled)
        return keeps

    def _deliver(self, message: str | bytes) -> None:
        """Call the handlers for a message that no coroutine has received."""
        if isinstance(message, str):
            self._message_received(_TEXT, message.encode())
        else:
            self._message_received(_BINARY, message)

    def _message_received(self, opcode: int, payload: bytes) -> None:
        """Call the handlers for a whole message, each with the form that it subscribed to."""
        inbox = self._inbox
        is_kept = inbox is not None and self._keep_message(inbox, opcode, payload)
        if opcode == _TEXT:
            if self._on_text is not None or self._on_message is not None:
                decoded = decode_text(payload)
                self._call_handlers(self._on_text, decoded, len(payload))
                self._call_handlers(self._on_message, decoded, len(payload))
            elif not payload.isascii():
                decode_text(payload)
        else:
            self._call_handlers(self._on_binary, payload, len(payload))
            self._call_handlers(self._on_message, payload, len(payload))
        if self._on_json is not None:
            self._emit_json(self._on_json, payload)
        if is_kept:
            inbox.pause_if_full()  # type: ignore[union-attr]  # last: it may run coroutines, which may add handlers

    def _control_received(self, event: str, payload: bytes, answered: Iterable[tuple[Any, float]]) -> None:
        """Call the callbacks of the pings that a pong answers, then emit ``ping`` or ``pong``."""
        for cb, latency in answered:
            self._call_each((cb,), (latency,))
        if event in self._events:
            self._emit_safely(event, payload)

    def _call_handlers(self, handlers: _Handlers, arg: Any, size: int) -> None:
        """Call the handlers of a message of `size` bytes, if there are any; each is called, whatever others raise."""
        if handlers is not None:
            for handler in handlers:
                try:
                    result = handler(self, arg)
                    if result is not None:
                        self._queue_if_coroutine(result, size)
                except BaseException as exc:
                    self._handler_failed(exc)

    def _call_late(self, event: str, handler: Any, args: tuple[Any, ...]) -> None:
        """Call a handler that was subscribed after its event was emitted, unless it was unsubscribed since."""
        if handler in self._events.get(event, ()):
            self._call_each((handler,), args)

    def _emit_json(self, handlers: tuple[Callable[..., Any], ...], payload: bytes) -> None:
        """Emit ``json`` with the decoded message; one that cannot be decoded is an ``error``, or closes with 1007."""
        try:
            value = _json.loads(payload)
        except (ValueError, RecursionError) as exc:
            # The peer's fault: without a handler of `error`, it is logged as INFO only.
            if 'error' not in self._events or not self._emit_error(exc):
                self._fail_json(exc)
            return
        self._call_handlers(handlers, value, len(payload))

    def _emit_frame(self, handlers: tuple[Callable[..., Any], ...], frame: Frame) -> None:
        """Emit ``frame`` to all but the built-in handler: the frame is processed after all others have seen it."""
        for handler in handlers:
            if handler is not assemble:
                try:
                    self._queue_if_coroutine(handler(self, frame), len(frame.data))
                except BaseException as exc:
                    self._handler_failed(exc)

    def _emit_drain(self) -> None:
        """All data has been written: call the callbacks, then emit ``drain``."""
        self._call_callbacks()
        if 'drain' in self._events and self._finished_with is None:
            self._emit_safely('drain')
        if self._inbox is not None:
            self._inbox.wake()

    def _emit_finish(self, code: int, reason: str) -> None:
        """Emit ``finish``, when the coroutine handlers that wait have ended."""
        if self._queue is not None:
            self._queue.finish(code, reason)
        else:
            self._emit_finish_now(code, reason)

    def _emit_finish_now(self, code: int, reason: str) -> None:
        self._finished_with = (code, reason)
        called = self._events.get('finish', ())
        self._call_each(called, (code, reason))
        self._release_handlers(called)

    def _release_handlers(self, called: tuple[Callable[..., Any], ...]) -> None:
        """Drop the handlers that are not called any more: as closures they refer to the transaction, which would wait
        for the cyclic garbage collector otherwise. Messages that waited for a coroutine may still go to handlers, and
        those of ``finish`` that were not `called` are about to be.
        """
        late = tuple([handler for handler in self._events.get('finish', ()) if handler not in called])
        ended = _ENDED if self._inbox is not None else _ENDED | _MESSAGES
        self._events = {event: handlers for event, handlers in self._events.items() if event not in ended}
        if late:
            self._events['finish'] = late
        if self._on_frame is not None:
            self._on_frame = self._events['frame'] = BUILT_IN
        if self._inbox is None:
            self._on_message = self._on_text = self._on_binary = self._on_json = None

    def _spawn_if_coroutine(self, result: Any) -> None:
        self._queue_if_coroutine(result, 0)

    def _queue_if_coroutine(self, result: Any, size: int) -> None:
        """Run what a handler returned if it is a coroutine, after those of the events before."""
        if isinstance(result, CoroutineType):
            queue = self._queue
            if queue is None:
                queue = self._queue = HandlerQueue(self)
                queue.add(result, size)
                queue.start()
            else:
                queue.add(result, size)

    def _queue_ended(self, queue: HandlerQueue) -> None:
        """No coroutine handler waits in this queue any more."""
        if self._queue is queue:
            self._queue = None

    def _call_callbacks(self) -> None:
        """Call what was to be called once, when all data has been written."""
        if self._callbacks is not None:
            callbacks, self._callbacks = self._callbacks, None
            self._call_each(callbacks, ())

    def _add_callback(self, cb: Callable[[Any], object]) -> None:
        """Call ``cb(ws)`` once, when all data has been written."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(cb)

    def _raise_interrupt(self) -> None:
        """Raise what a handler raised that is not an `Exception`."""
        exc, self._interrupt = self._interrupt, None
        if exc is not None:
            raise exc

    # What a transaction overrides

    def _finish_late(self) -> None:
        """Emit ``finish`` if it waited until all handlers of one event or message were called."""

    def _fail_json(self, exc: Exception) -> None:
        """A message is not valid JSON, and ``error`` has no handler."""

    def closed(self) -> Any:
        """The connection is gone."""
