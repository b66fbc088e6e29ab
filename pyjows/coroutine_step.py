"""One step of a coroutine, as plain Python: the few calls that the compiled build makes through CPython's C API.

Interpreted, ``coroutine_step.send(…)`` is a function of this file; compiled, it is the C function of the same name in
``coroutine_step.pxd``. Read the two files side by side: they mean the same, but that only C can enter a context without
a function to run in it. Must not know tasks.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from typing import Any

__all__ = ['enter', 'leave', 'send']


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
