"""One step of a coroutine, as plain Python: the few calls that the compiled build makes through CPython's C API.

Interpreted, ``coroutine_step.send(…)`` is a function of this file; compiled, it is the C function of the same name in
``coroutine_step.pxd``. Read the two files side by side: they mean the same, but that only C can enter a context without
a function to run in it. Must not know tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ['enter', 'is_unshared', 'leave', 'send', 'send_by']


def enter(context: Context) -> bool:
    """Enter a context, until `leave`; returns False where only `Context.run` can.

    Raises:
        RuntimeError: it has been entered already.
    """
    return False


def leave(context: Context) -> None:
    """Leave the context that was entered."""


def send(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to what it awaits next, and return that."""
    return coroutine.send(None)


def send_by(kind: type, awaited: Callable[[Any], Any], result: Callable[[Any], Any]) -> None:
    """Have the coroutines of a type run by two functions, in place of their methods ``send`` and ``__next__``.

    They do what ``send(None)`` does: ``awaited(coroutine)`` returns what is awaited, or None at the end; then
    ``result(coroutine)`` is what the coroutine returns, an object that is neither a tuple nor an exception.
    """


def is_unshared(thing: object) -> bool:
    """Whether the caller has the only reference to an object; False where that is not known."""
    return False
