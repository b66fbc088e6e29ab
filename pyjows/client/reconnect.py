"""`reconnect()`: connects, and connects again after a delay when the connection is lost.

Owns the decision to try again and the delay before it (RFC 6455 7.2.3). Must not know how a connection is made
(`client.py`): each attempt is a `connect` of its own, with a `WebSocket` of its own.
"""

from __future__ import annotations

import errno
import inspect
import random
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from math import inf, isfinite
from typing import Any, Unpack

from .._options import Rule, check_options, flag, function, instance, number
from .._text import as_text, printable
from ..errors import HandshakeError
from ..frames import CloseCode
from ..http11 import HeadersLike
from ..ioloop import IOLoop, LoopEmitter
from ..messages import check_close
from ..protocol import State
from ..safe_logger import SafeLogger
from ..transaction import WebSocket
from ..url import checked_url
from ..waiter import Waiter
from .client import RULES, TIMEOUT, DialOptions, connect
from .resume import Positions
from .unsent import Unsent

__all__ = ['Reconnector', 'backoff', 'is_temporary', 'reconnect', 'retry_after']

_log = SafeLogger('pyjows')


def _text_or_function(caller: str, name: str, value: Any) -> Any:
    if not isinstance(value, str) and not callable(value):
        raise TypeError(f"{caller}: {name} takes a URL, such as 'ws://127.0.0.1:3000', or a function, not {value!r}")
    return value


class ReconnectOptions(DialOptions, total=False):
    """What `reconnect` passes on to `connect`."""

    headers: HeadersLike | Callable[[], HeadersLike | Awaitable[HeadersLike]]


_RULES: dict[str, Rule] = {
    'url': _text_or_function,
    'ioloop': instance(IOLoop, 'an IOLoop or None', optional=True),
    'delays': function,
    'retry': function,
    'stable_after': number(0, 'seconds'),
    'resume': flag,
    'timeout': number(0, 'seconds', above=True),
}

# Seconds.
_MAX_RETRY_AFTER = 86400.0

# The statuses below 500 that allow another attempt: Request Timeout, Too Early, Too Many Requests.
_RETRY_STATUSES = frozenset({408, 425, 429})


def backoff(first: float = 5.0, longest: float = 60.0) -> Iterator[float]:
    """The seconds to wait before each attempt, without end (RFC 6455 section 7.2.3).

    The first is random, from 0 to `first`, so that the clients of a server that went down do not all come back at once.
    The next ones double each time, up to `longest`, and are shortened by up to a half at random.

    ::

        [round(delay) for _, delay in zip(range(6), backoff())]     # such as [3, 8, 14, 31, 57, 42]

    Raises:
        ValueError: not 0 < `first` <= `longest`.
    """
    if not 0 < first <= longest:
        raise ValueError(f'backoff({first!r}, {longest!r}): give seconds, 0 < first <= longest')
    return _backoff(first, longest)


def _backoff(first: float, longest: float) -> Iterator[float]:
    yield random.uniform(0, first)
    delay = first
    while True:
        delay = min(2 * delay, longest)
        yield random.uniform(delay / 2, delay)


def is_temporary(code: int, exc: BaseException | None) -> bool:
    """Whether to connect again after a connection that ended like this: the default of `reconnect`.

    False after a normal close (1000, or a close without a code) and after a refusal that would be repeated: a status of
    3xx or 4xx (except 408, 425 and 429), an answer that breaks the protocol, a certificate that is not valid.

    Args:
        code: of ``finish``.
        exc: of the ``error`` before it, if the connection never opened; else None.
    """
    if isinstance(exc, HandshakeError):
        return exc.status is None or exc.status >= 500 or exc.status in _RETRY_STATUSES
    if exc is not None:
        return isinstance(exc, OSError) and not isinstance(exc, ssl.SSLCertVerificationError)
    return code not in (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD)


def retry_after(exc: BaseException | None) -> float:
    """The seconds that the ``Retry-After`` header of a refusal asks for (RFC 9110 section 10.2.3); 0 without one.

    A date counts from the ``Date`` of the same answer, so that the clocks need not agree, or from now. At most a day.
    """
    if not isinstance(exc, HandshakeError):
        return 0.0
    value = exc.headers.get('retry-after', '').strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        from email.utils import parsedate_to_datetime  # not for each `import pyjows`: it takes 10 ms

        try:
            at = parsedate_to_datetime(value).timestamp()
            date = exc.headers.get('date')
            seconds = at - (parsedate_to_datetime(date).timestamp() if date else time.time())
        except (ValueError, OverflowError):
            return 0.0  # neither a number nor a date
    return min(max(0.0, seconds), _MAX_RETRY_AFTER)


def reconnect(
    url: str | Callable[[], str | Awaitable[str]],
    *,
    ioloop: IOLoop | None = None,
    delays: Callable[[], Iterator[float]] = backoff,
    retry: Callable[[int, BaseException | None], bool] = is_temporary,
    stable_after: float = 10.0,
    resume: bool = False,
    **options: Unpack[ReconnectOptions],
) -> Reconnector:
    """Connect to a server, and again after each loss; returns the `Reconnector` at once, which begins on the loop.

    ::

        client = pyjows.reconnect('ws://127.0.0.1:3000/chat')

        @client.on
        def websocket(client, ws):          # each new connection: register its handlers

            @ws.on
            def open(ws):
                ws.send(text='here I am again')

    Args:
        url: as `connect` takes it; or a function that returns it, or a coroutine function, called for each attempt.
        ioloop: the loop; by default the current one (`IOLoop.singleton`).
        delays: returns an iterator of the seconds to wait before each attempt; called again after a connection that was
            open for `stable_after`. A finite one, such as ``lambda: iter([1, 2, 4])``, limits the number of attempts in
            a row. The wait is longer where a refusal has a ``Retry-After`` header that says so.
        retry: ``retry(code, exc)``, whether to try again; ``lambda code, exc: True`` always does.
        stable_after: seconds that a connection has to be open for the delays to start anew (10). The delays go on
            growing for a server that accepts connections and closes them at once.
        resume: remember the positions of numbered messages (`pyjows.rooms`), and send the last one of each room with
            each further attempt, as ``since`` in the query: the server sends what was missed first.
        **options: those of `connect`; ``headers`` may be such a function as well: signed tokens expire. A coroutine
            function has ``timeout`` seconds, and the connection as many again; taking longer is a failed attempt.

    In a coroutine, ``async for ws in pyjows.reconnect(url)`` gives each connection when it is open; see `Reconnector`.

    Raises:
        ValueError, TypeError: the URL or an option is not valid.
    """
    return Reconnector(
        url, ioloop=ioloop, delays=delays, retry=retry, stable_after=stable_after, resume=resume, **options
    )


class Reconnector(LoopEmitter):
    """A client that connects again when the connection is lost; `reconnect` makes it.

    Synopsis::

        @client.on
        def websocket(client, ws):
            ws.on('text', lambda ws, message: print(message))

        @client.on
        def waiting(client, seconds):
            print(f'lost; again in {seconds:.0f} s')

        client.finish(1000)                 # close, and do not connect again

        async for ws in pyjows.reconnect(url):      # in a coroutine
            try:
                async for message in ws:
                    print(message)
            except pyjows.ConnectionClosed:
                continue

    Iterating gives each connection in turn, when it is open. At the end of the block it is closed (1000), and the next
    attempt is made, unless the peer has closed it so that `retry` says no. Attempts that fail are not seen; where there
    is no further attempt, the iteration ends, or raises the exception of ``error``. Leaving it finishes the client.

    Events:
        ``websocket`` ``(client, ws)``: a connection is about to be made: register the handlers of `ws`.
        ``waiting`` ``(client, seconds)``: the connection ended, or failed; the next attempt follows in that time.
        ``unsent`` ``(client, messages)``: the connection ended, or failed, with messages that were sent and never
            written: they are in the list, text as `str`, also what was JSON. Before ``waiting`` and ``finish``.
        ``finish`` ``(client, code, reason)``: there is no further attempt; exactly once, with the code and reason
            of the last connection.
        ``error`` ``(client, exc)``: why there is no further attempt, or what a handler raised. Logged if there is no
            subscriber.

    Attributes:
        ws: the current connection, open or being made; None while waiting.
        is_finished: whether there is no further attempt.
        unsent: those messages, where ``unsent`` has no subscriber: take them out (``popleft``) and send them again.
        positions: with ``resume=True``, the last position of each room: room → ``epoch:offset``.

    Methods: `finish`, and those of `EventEmitter`.
    """

    _own_events = frozenset(('websocket', 'waiting', 'unsent', 'finish', 'error', 'new_listener'))

    def __init__(
        self,
        url: str | Callable[[], str | Awaitable[str]],
        *,
        ioloop: IOLoop | None,
        delays: Callable[[], Iterator[float]],
        retry: Callable[[int, BaseException | None], bool],
        stable_after: float,
        resume: bool = False,
        **options: Unpack[ReconnectOptions],
    ) -> None:
        super().__init__()
        self._timeout = options.get('timeout', TIMEOUT)
        given = {'url': url, 'ioloop': ioloop, 'delays': delays, 'retry': retry, 'stable_after': stable_after}
        check_options('reconnect()', {**given, 'resume': resume, 'timeout': self._timeout}, _RULES)
        if 'sock' in options:
            raise TypeError('reconnect() has no option sock: a socket is connected once')
        # The values of the other options are checked by each `connect`.
        others = {name: value for name, value in options.items() if name not in RULES}
        check_options('reconnect()', others, {**RULES, **_RULES})
        self.ioloop = IOLoop.singleton() if ioloop is None else ioloop
        self.ioloop.check_usable('reconnect()')
        self.ws: WebSocket | None = None
        self.is_finished = False
        self.unsent: deque[str | bytes] = deque()
        self._recorded: Unsent | None = None
        self._url = url
        self._name = (
            str(checked_url('reconnect()', url)) if isinstance(url, str) else '(not known yet)'
        )  # without a password
        # An iterator serves one attempt.
        self._options: Any = {
            name: list(value) if isinstance(value, Iterator) else value for name, value in options.items()
        }
        self._new_delays = delays
        self._delays = delays()
        if not isinstance(self._delays, Iterator):
            raise TypeError(f'reconnect(): delays has to return an iterator of seconds, not {self._delays!r}')
        self._retry = retry
        self._stable_after = stable_after
        self._opened_at = inf
        self._resume = resume
        self.positions = Positions()
        self._ending = False
        self._is_reset = False  # the loop was reset, which drops its ticks
        self._task: Any = None  # awaits the URL or the headers of the next attempt
        self._task_timer: Any = None
        self._announced: WebSocket | None = None
        # Iterating: the program works with a connection, so that the next attempt waits; the attempt is overdue; the
        # iteration has closed the connection, and wants the next; the exception that ends the iteration.
        self._is_held = False
        self._is_overdue = False
        self._wants_next = False
        self._failure: BaseException | None = None
        self._timer: Any = None
        self._exc: BaseException | None = None
        self._last_close = (int(CloseCode.ABNORMAL_CLOSURE), '')
        # The first attempt begins here, so that a malformed option raises here; handlers can subscribe only afterwards.
        self.ioloop.reactor.next_tick(self._announce)
        self._dial()
        self.ioloop.on('finish', self._loop_finishes)
        self.ioloop.on('reset', self._loop_resets)

    def __repr__(self) -> str:
        return f'<Reconnector {self._name}>'

    def finish(self, code: int | None = None, reason: str | None = None) -> Reconnector:
        """Close gracefully, as `WebSocket.finish` does, and do not connect again. Any thread may call it.

        Returns:
            The client.

        Raises:
            TypeError, ValueError: as `WebSocket.finish`.
        """
        check_close('finish()', code, reason)
        reactor = self.ioloop.reactor
        if reactor.is_running and reactor.thread.is_foreign():
            reactor.thread.hand_over(self.finish, code, reason)
            return self
        ws = self.ws
        if ws is not None:
            ws.finish(code, reason)
        self._ending = True
        if ws is None and not self.is_finished:
            self._cancel_attempt()
            self.ioloop.reactor.next_tick(self._emit_finish)
        return self

    def __aiter__(self) -> AsyncIterator[WebSocket]:
        """Iterate over the connections, each when it is open.

        Raises:
            RuntimeError: the loop runs no coroutines.
        """
        if not self._can_spawn():
            raise RuntimeError(
                f'async for needs a loop that runs coroutines, and {self.ioloop.reactor.name} runs none: use '
                "IOLoop(reactor='asyncio') or PYJOWS_REACTOR=asyncio, or reconnect inside asyncio.run()"
            )
        return _connections(self)

    # One attempt

    def _dial(self) -> None:
        """Begin an attempt: at once, or when the URL and the headers are known."""
        url = self._url() if callable(self._url) else self._url
        headers: Any = self._options.get('headers', ())
        try:
            headers = headers() if callable(headers) else headers
        except BaseException:
            if inspect.iscoroutine(url):
                url.close()
            raise
        if inspect.isawaitable(url) or inspect.isawaitable(headers):
            timer = self._task_timer = self.ioloop.reactor.timer(self._dial_overdue, self._timeout)
            task = self._spawn(self._dial_later(url, headers, timer))
            if not task.done():  # it may have run already (`asyncio.eager_task_factory`)
                self._task = task
        else:
            self._connect(url, headers)

    async def _dial_later(self, url: Any, headers: Any, timer: Any) -> None:
        """Await the URL and the headers, then connect; a failure counts as a failed attempt."""
        awaited = (url, headers)
        failure: Exception | None = None
        try:
            url = await url if inspect.isawaitable(url) else url
            headers = await headers if inspect.isawaitable(headers) else headers
        except Exception as exc:
            failure = exc
        finally:
            for each in awaited:
                if inspect.iscoroutine(each):
                    each.close()
            is_wanted = self._task_timer is timer  # else the time is over, or the client finished
            if is_wanted:
                self._stop_task_timer()
        if not is_wanted:
            return
        try:
            if failure is not None:
                raise failure
            if not self._ending:
                self._connect(url, headers)
                self._announce()
        except Exception as exc:
            self._attempt_failed(exc)

    def _dial_overdue(self, reactor: Any) -> None:
        """The URL or the headers did not come in time: that is a failed attempt."""
        task = self._task
        self._stop_task_timer()
        if task is not None:
            task.cancel()
        message = (
            f'the coroutine functions of url= and headers= gave no URL and headers within {self._timeout:g} seconds; '
            'timeout= sets the limit'
        )
        self._attempt_failed(TimeoutError(errno.ETIMEDOUT, message))

    def _stop_task_timer(self) -> None:
        if self._task_timer is not None:
            self.ioloop.reactor.remove(self._task_timer)
        self._task = self._task_timer = None

    def _attempt_failed(self, exc: BaseException) -> None:
        """An attempt failed before there was a connection."""
        self._exc = exc
        self._last_close = (int(CloseCode.ABNORMAL_CLOSURE), '')
        self._decide()

    def _connect(self, url: str, headers: Any) -> None:
        self._name = str(checked_url('reconnect()', url))
        options: Any = {**self._options, 'headers': headers}
        ws = connect(self.positions.into(url), ioloop=self.ioloop, **options)
        if self._resume:
            ws.on('text', lambda ws, message: self.positions.remember(message))
        self._recorded = Unsent(ws)
        # Before it is open, an error is the reason why it fails. Later ones come from its handlers.
        ws.on('error', self._failed)
        ws.on('open', self._opened)
        ws.on('finish', self._finished)
        self.ws = ws

    def _announce(self, reactor: Any = None) -> None:
        if self.ws is not None and self.ws is not self._announced:
            self._announced = self.ws
            self._emit_safely('websocket', self.ws)

    def _failed(self, ws: WebSocket, exc: BaseException) -> None:
        self._exc = exc

    def _opened(self, ws: WebSocket) -> None:
        ws.unsubscribe('error', self._failed)
        exc, self._exc = self._exc, None
        self._opened_at = time.monotonic()
        if exc is not None:
            self._handler_failed(exc)  # it did open: a handler raised this

    def _finished(self, ws: WebSocket, code: int, reason: str) -> None:
        self._last_close = (code, reason)
        ws.unsubscribe('error', self._failed)
        if self._is_reset:
            self._decide()
        else:
            self.ioloop.reactor.next_tick(self._decide)  # after all other handlers of `finish`

    # The next attempt

    def _report_unsent(self) -> None:
        """Report what was sent on the last connection, and never written."""
        recorded, self._recorded = self._recorded, None
        messages = [] if recorded is None else recorded.end()
        if self._opened_at < inf and self.unsent:
            _log.warning(
                '%s: %d messages in client.unsent were not sent again, and are dropped', self._name, len(self.unsent)
            )
            self.unsent.clear()
        if not messages:
            return
        if self.subscribers('unsent'):
            self._emit_safely('unsent', messages)
        else:
            self.unsent.extend(messages)
            _log.warning('%s: %d messages were never written; client.unsent has them', self._name, len(messages))

    def _decide(self, reactor: Any = None) -> None:
        """A connection or attempt has ended: schedule the next attempt, or finish."""
        self._report_unsent()
        self.ws = self._announced = None
        wants_next, self._wants_next = self._wants_next, False
        exc, self._exc = self._exc, None
        was_stable, self._opened_at = time.monotonic() - self._opened_at >= self._stable_after, inf
        if self._ending:
            self._emit_finish()
            return
        try:
            if was_stable:
                self._delays = self._new_delays()
            goes_on = wants_next or self._retry(self._last_close[0], exc)
            seconds = next(self._delays, None) if goes_on else None
            if seconds is not None and not (isinstance(seconds, (int, float)) and isfinite(seconds)):
                raise ValueError(f'reconnect(): delays gave {seconds!r}, but it has to give numbers of seconds')
        except Exception as another:
            exc, seconds = another, None
        if seconds is None:
            if exc is not None:
                self._failure = exc
                self._handler_failed(exc)
            self._emit_finish()
            return
        seconds = max(seconds, retry_after(exc))
        reason = self._closed_with() if exc is None else getattr(exc, 'strerror', None) or as_text(exc)
        _log.warning('%s: %s; connecting again in %.1f s', self._name, reason, seconds)
        self._timer = self.ioloop.reactor.timer(self._redial, seconds)
        self._emit_safely('waiting', seconds)

    def _closed_with(self) -> str:
        code, reason = self._last_close
        return f'closed with {code} {printable(reason)}'.rstrip()

    def _redial(self, reactor: Any) -> None:
        """The delay is over: begin the next attempt, unless an iteration holds it back."""
        self._timer = None
        if self._is_held:
            self._is_overdue = True
            return
        try:
            self._dial()
        except Exception as exc:  # the first call was valid: a function failed, or the proxy in the environment changed
            self._attempt_failed(exc)
        else:
            self._announce()

    def _cancel_attempt(self) -> None:
        """Do not make the next attempt."""
        self._is_overdue = False
        if self._timer is not None:
            self.ioloop.reactor.remove(self._timer)
            self._timer = None
        task = self._task
        self._stop_task_timer()
        if task is not None:
            task.cancel()

    # Iterating

    def _hold(self, is_held: bool) -> None:
        """While the program works with a connection, the next attempt waits."""
        self._is_held = is_held
        if not is_held and self._is_overdue:
            self._is_overdue = False
            self._redial(None)

    async def _close_for_next(self, ws: WebSocket) -> None:
        """The program is done with a connection, and wants the next."""
        if ws.protocol.state is State.OPEN:
            self._wants_next = True
        async with ws:
            pass

    # The end

    def _loop_finishes(self, ioloop: IOLoop) -> None:
        self._ending = True
        if self.ws is None:
            self._cancel_attempt()
            self.ioloop.reactor.next_tick(self._emit_finish)

    def _loop_resets(self, ioloop: IOLoop) -> None:
        self._ending = self._is_reset = True
        if self.ws is None or self.ws.is_finished:
            self._cancel_attempt()
            self._decide()

    def _emit_finish(self, reactor: Any = None) -> None:
        if not self.is_finished:
            self.is_finished = True
            self.ioloop.unsubscribe('finish', self._loop_finishes).unsubscribe('reset', self._loop_resets)
            self._emit_safely('finish', *self._last_close)


async def _connections(client: Reconnector) -> AsyncIterator[WebSocket]:
    """The connections of a client, each when it is open."""
    waiting: list[Any] = []

    def wake(*args: Any) -> None:
        for waiter in waiting:
            waiter.wake()

    def keep(client: Reconnector, ws: WebSocket) -> None:
        aiter(ws)  # from its first message on
        wake()

    def failed(client: Reconnector, exc: BaseException) -> None:
        if exc is not client._failure:
            raise exc  # to be logged: a handler raised it

    handlers = {'websocket': keep, 'finish': wake, 'error': failed}
    for event, handler in handlers.items():
        client.add_listener(event, handler)
    done: WebSocket | None = None
    try:
        if client.ws is not None:
            aiter(client.ws)
        while not client.is_finished:
            ws = client.ws
            if ws is not None and ws is not done:
                done = ws
                try:
                    await ws
                except Exception:
                    continue  # the client decides whether there is another attempt
                client._hold(True)
                yield ws
                await client._close_for_next(ws)
                client._hold(False)
            else:
                waiting.append(Waiter(client.ioloop.reactor.task_gate))
                await waiting[-1]
                waiting.clear()
        if client._failure is not None:
            raise client._failure
    finally:
        for event, handler in handlers.items():
            client.unsubscribe(event, handler)
        client.finish(CloseCode.NORMAL_CLOSURE)
        client._hold(False)
