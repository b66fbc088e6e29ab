"""`EventEmitter`: pyee's interface, with the calling conventions of Mojolicious.

Owns the subscribers of events, calling them, and what happens to the exceptions that they raise. Must not know what any
event means, nor which loop runs a coroutine: that is a `_spawner`.

Every object of pyjows that has events is an `EventEmitter`. Handlers get the emitter as their first argument, so that
one function can serve many emitters. The subscribers of an event are one immutable tuple, replaced as a whole when one
is added or removed: emitting iterates over the tuple that was current when it began, with no copy and no lock, whatever
the handlers change meanwhile.

`EmitterCore` has the behaviour and compiles to a C type; `EventEmitter` is the same with pyee's class as its base, so
that `isinstance(ws, pyee.EventEmitter)` holds and pyee's own names work.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from types import CoroutineType, FunctionType
from typing import Any, ClassVar, TypeVar, cast, overload

import pyee

from ._signature import ConstructorSignature
from .errors import ConnectionClosed, ungrouped
from .event_names import warn_of_unknown_event
from .safe_logger import SafeLogger

__all__ = ['EmitterCore', 'EventEmitter', 'set_default_spawner']

Handler = TypeVar('Handler', bound=Callable[..., Any])

_log = SafeLogger('pyjows')

# Subscribing is rare and short: one lock serves all emitters and costs an idle connection nothing.
_LOCK = threading.RLock()

_NO_LOOP = (
    'cannot subscribe the coroutine function {name!r} to {event!r}: there is no asyncio loop to run it; '
    "use a plain function, or a loop that runs coroutines: IOLoop(reactor='asyncio')"
)

# The events of emitters to which nothing was subscribed; it stays empty.
_NOTHING: dict[str, tuple[Callable[..., Any], ...]] = {}

_COROUTINE = inspect.CO_COROUTINE

_NO_HANDLER: Any = ...  # None is a mistake, and not a decorator that waits for its function


class _Once:
    """A subscriber that is removed before it is called."""

    __slots__ = ('event', 'f')

    def __init__(self, event: str, f: Callable[..., Any]) -> None:
        self.event = event
        self.f = f

    def __call__(self, emitter: EmitterCore, *args: Any, **kwargs: Any) -> Any:
        # With two threads or nested emits, only the one that removes it may call it.
        return self.f(emitter, *args, **kwargs) if emitter._discard(self.event, self) else None


class EmitterCore:
    """The behaviour of `EventEmitter`, without pyee's class as a base."""

    __signature__ = ConstructorSignature()

    # The events of the class; empty where all are the program's own.
    _own_events: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._events = _NOTHING

    def __reduce_ex__(self, protocol: Any) -> Any:
        """It is neither copied nor pickled: raises TypeError."""
        raise TypeError(f'{type(self).__name__} cannot be copied or pickled: its subscribers belong to one object')

    # Subscribing

    @overload
    def on(self, event: Handler) -> Handler: ...
    @overload
    def on(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def on(self, event: str, f: Handler) -> Handler: ...
    @overload
    def on(self, event: Handler, f: str) -> Handler: ...
    def on(self, event: Any, f: Any = ...) -> Any:
        """Subscribe a handler, and return it.

        ``@e.on`` (the function's name is the event), ``@e.on('name')``, ``e.on('name', f)`` and ``e.on(f, 'name')``
        are the same. The handler is called ``f(emitter, *args)``. A name that looks like a mistyped event of the class
        is a warning; any other name is an event of the program's own.

        Raises:
            TypeError: the handler is not callable, or the event is not a string.
            RuntimeError: the handler is an ``async def`` function and nothing here can run it.
        """
        return self._subscribe(event, f, False)

    @overload
    def once(self, event: Handler) -> Handler: ...
    @overload
    def once(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def once(self, event: str, f: Handler) -> Handler: ...
    @overload
    def once(self, event: Handler, f: str) -> Handler: ...
    def once(self, event: Any, f: Any = ...) -> Any:
        """Subscribe a handler that is called at most once; the same four ways as `on`."""
        return self._subscribe(event, f, True)

    def catch(self, f: Handler) -> Handler:
        """Subscribe to ``error``; raises as `on`."""
        return cast(Handler, self._subscribe('error', _checked_handler('catch()', f), False))

    def add_listener(self, event: str, f: Handler) -> Handler:
        """pyee's name for ``on(event, f)``; raises as `on`."""
        return cast(Handler, self._subscribe(event, _checked_handler('add_listener()', f), False))

    def listens_to(self, event: str) -> Callable[[Handler], Handler]:
        """pyee's name for ``on(event)``."""
        return cast('Callable[[Handler], Handler]', self._subscribe(event, _NO_HANDLER, False))

    def _subscribe(self, event: Any, f: Any, once: bool) -> Any:
        """Subscribe in one of the four ways of `on`; with only an event, return a decorator."""
        if f is _NO_HANDLER:
            name = 'once' if once else 'on'
            if not callable(event):
                return partial(self._subscribe, _checked_event(name, event), once=once)
            event, f = getattr(event, '__name__', None), event
            if event is None or event == '<lambda>':
                raise TypeError(f"{name}({f!r}): it has no name that could be the event's; use {name}('event', f)")
        elif callable(event):
            event, f = f, event
        if not isinstance(event, str) or not callable(f):
            name = 'once' if once else 'on'
            _checked_event(name, event)
            _checked_handler(f'{name}({event!r})', f)
        if _is_coroutine_function(f) and not self._can_spawn():
            raise RuntimeError(_NO_LOOP.format(name=getattr(f, '__name__', f), event=event))
        own_events = self._own_events
        if own_events and event not in own_events:
            warn_of_unknown_event(type(self).__name__, event, own_events)
        if 'new_listener' in self._events:
            self.emit('new_listener', event, f)
        handler = _Once(event, f) if once else f
        with _LOCK:
            self._set(event, (*self._events.get(event, ()), handler))
        self._subscribed(event, handler)
        return f

    def _subscribed(self, event: str, handler: Any) -> None:
        """A handler was subscribed."""

    # Unsubscribing

    def unsubscribe(self, event: Any, f: Any = None) -> Any:
        """Remove one handler of an event, or with no handler given all of them; returns the emitter.

        Removing what is not there does nothing.
        """
        if callable(event):
            event, f = f, event
        with _LOCK:
            if f is None:
                self._set(event, ())
            else:
                for handler in self._events.get(event, ()):
                    if handler == f or (isinstance(handler, _Once) and handler.f == f):
                        self._discard(event, handler)
                        break
        return self

    def _discard(self, event: str, handler: Any) -> bool:
        with _LOCK:
            handlers = self._events.get(event, ())
            for i, other in enumerate(handlers):
                if other is handler:
                    self._set(event, handlers[:i] + handlers[i + 1 :])
                    return True
            return False

    def _set(self, event: str, handlers: tuple[Callable[..., Any], ...]) -> None:
        """Replace the subscribers of an event; all changes go through here."""
        if handlers:
            if self._events is _NOTHING:
                self._events = {}
            self._events[event] = handlers
        else:
            self._events.pop(event, None)

    def remove_listener(self, event: str, f: Callable[..., Any]) -> None:
        """pyee's name for ``unsubscribe(event, f)``; raises KeyError when `f` is not subscribed."""
        if f not in self.subscribers(event):
            raise KeyError(f)
        self.unsubscribe(event, f)

    def remove_all_listeners(self, event: str | None = None) -> None:
        """Remove all handlers of an event, or of all events (pyee)."""
        if event is not None:
            self.unsubscribe(event)
        else:
            for name in self.event_names():
                self.unsubscribe(name)

    # Subscribers

    def subscribers(self, event: str) -> list[Callable[..., Any]]:
        """The handlers of an event, in the order they will be called."""
        handlers = self._events.get(event, ())
        return [handler.f if isinstance(handler, _Once) else handler for handler in handlers]

    def listeners(self, event: str) -> list[Callable[..., Any]]:
        """pyee's name for `subscribers`."""
        return self.subscribers(event)

    def has_subscribers(self, event: str) -> bool:
        """Whether an event has subscribers."""
        return event in self._events

    def event_names(self) -> set[str]:
        """The events that have subscribers (pyee)."""
        return set(self._events)

    # Emitting

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Call every handler of an event, in order; returns whether there was one.

        What a handler raises is raised at once. An ``error`` without a subscriber raises the exception given with it
        (`pyee.PyeeError` if that is not an exception).
        """
        handlers = self._events.get(event)
        if handlers is None:
            if event == 'error':
                exc = args[0] if args else None
                raise exc if isinstance(exc, BaseException) else pyee.PyeeError(f"'error' with no subscriber: {exc}")
            return False
        for handler in handlers:
            result = handler(self, *args, **kwargs)
            if result is not None:
                self._spawn_if_coroutine(result)
        return True

    def _emit_safely(self, event: str, *args: Any) -> None:
        """Emit an event; what a handler raises becomes ``error``, and does not keep the next one from being called."""
        self._call_each(self._events.get(event, ()), args)

    def _call_each(self, handlers: Iterable[Callable[..., Any]], args: tuple[Any, ...]) -> None:
        """Call each of some handlers, as `_emit_safely` does."""
        for handler in handlers:
            try:
                result = handler(self, *args)
                if result is not None:
                    self._spawn_if_coroutine(result)
            except BaseException as exc:
                self._handler_failed(exc)

    def _call_for_coroutines(self, event: str, coroutines: list[Any], *args: Any) -> None:
        """Call every handler of an event, and collect the coroutines that they return; what one raises leaves."""
        for handler in self._events.get(event, ()):
            result = handler(self, *args)
            if result is not None and isinstance(result, Coroutine):
                coroutines.append(result)

    def _emit_error(self, exc: BaseException) -> bool:
        """Emit ``error``, or log the exception; returns whether ``error`` had handlers and none of them raised."""
        handlers = self._events.get('error')
        if handlers is None:
            self._log_error(exc)
            return False
        handled = True
        for handler in handlers:
            try:
                result = handler(self, exc)
                if result is not None:
                    self._spawn_if_coroutine(result)
            except BaseException as another:
                if isinstance(ungrouped(another), ConnectionClosed):
                    self._log_late_use(another)
                else:
                    self._log_error(another)
                handled = False
                if not isinstance(another, Exception):
                    self._raise_later(another)
        return handled

    def _raise_later(self, exc: BaseException) -> None:
        """Raise KeyboardInterrupt or the like, which a handler has raised, once the state is consistent: here, now."""
        raise exc

    def _log_error(self, exc: BaseException) -> None:
        _log.error('%s on %r', type(exc).__name__, self, exc_info=exc)

    def _is_late_use(self, exc: BaseException) -> bool:
        """Whether a handler raised this because it used a connection whose close had begun; logs it then.

        That is not an error, because the handler could not know. It is emitted all the same if ``error`` has a handler.
        """
        if 'error' not in self._events and isinstance(ungrouped(exc), ConnectionClosed):
            self._log_late_use(exc)
            return True
        return False

    def _log_late_use(self, exc: BaseException) -> None:
        _log.debug('%r: a handler used a closed connection: %s', self, exc)

    # Coroutines

    def _spawn_if_coroutine(self, result: Any) -> None:
        """Run what a handler returned if it is a coroutine; ignore any other value."""
        if isinstance(result, CoroutineType):
            self._spawn(self._await_handler(result))

    async def _await_handler(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            await coroutine
        except Exception as exc:
            self._handler_failed(exc)

    def _spawner(self) -> Any:
        """What runs coroutine handlers, a reactor or its like: it has `can_spawn` and `spawn`."""
        return _default_spawner

    def _can_spawn(self) -> bool:
        """Whether coroutine functions may subscribe."""
        spawner = self._spawner()
        return spawner is not None and bool(spawner.can_spawn)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> Any:
        """Run a coroutine beside everything else; returns its task."""
        return self._spawner().spawn(coroutine)

    def _handler_failed(self, exc: BaseException) -> None:
        """A coroutine handler raised; there is no caller that could catch it."""
        self.emit('error', exc)


# Runs the coroutine handlers of emitters without a loop of their own.
_default_spawner: Any = None


def set_default_spawner(spawner: Any) -> None:
    """Have the coroutine handlers of emitters without a loop run by this object with `can_spawn` and `spawn`."""
    global _default_spawner  # noqa: PLW0603
    _default_spawner = spawner


def _checked_event(function: str, event: Any) -> str:
    if not isinstance(event, str):
        raise TypeError(f'{function}({event!r}): the name of an event is a str, or a function has it as its own name')
    return event


def _checked_handler(function: str, f: Any) -> Any:
    if not callable(f):
        raise TypeError(f'{function}: a handler must be callable, not {f!r}')
    return f


def _is_coroutine_function(f: Callable[..., Any]) -> bool:
    # The common case first: every connection subscribes a few plain functions.
    if type(f) is FunctionType:
        return bool(f.__code__.co_flags & _COROUTINE)
    return inspect.iscoroutinefunction(f)


class EventEmitter(EmitterCore, pyee.EventEmitter):  # type: ignore[misc]
    """An object with events.

    Synopsis::

        cat = EventEmitter()

        @cat.on
        def meow(cat, times):
            print('meow! ' * times)

        cat.emit('meow', 3)

    Events:
        ``new_listener`` ``(emitter, event, f)``: a handler is about to be subscribed.
        ``error`` ``(emitter, exc)``: raised by `emit` if it has no subscriber.

    Methods: `on`, `once`, `catch`, `emit`, `subscribers`, `has_subscribers`, `unsubscribe`, and pyee's `add_listener`,
    `listens_to`, `listeners`, `event_names`, `remove_listener`, `remove_all_listeners`.
    """

    def __init__(self) -> None:
        # pyee's own __init__ is not called: the tuples replace its dictionaries and its lock, one of each an emitter.
        EmitterCore.__init__(self)
