"""The reactors, and choosing one.

Owns the names. A reactor is chosen by name, by class, by instance or by the environment variable `PYJOWS_REACTOR`;
without any of these, it is the fastest that works here.

=========  =================================================================================================
name       waits with
=========  =================================================================================================
epoll      epoll itself, in C (Linux, where the library was compiled)
poll       the standard library's `selectors`; runs everywhere
asyncio    an asyncio loop: the running one, else a new one; runs coroutines
uvloop     the same, but a new one is uvloop's
*other*    whatever a package registered in the entry point group ``pyjows.reactors``: a subclass of `Reactor`
=========  =================================================================================================
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from typing import Any, cast

from .base import Handle, Reactor
from .timers import Timer

__all__ = ['GROUP', 'Handle', 'Reactor', 'Timer', 'available', 'choose']

#: The entry point group in which other packages register reactors.
GROUP = 'pyjows.reactors'

# The best first: name to module, class, and the package that it needs.
_BUILT_IN = {
    'epoll': ('.epoll', 'EpollReactor', None),
    'poll': ('.poll', 'PollReactor', None),
    'asyncio': ('.aio', 'AsyncioReactor', None),
    'uvloop': ('.aio', 'UvloopReactor', 'uvloop'),
}


def available() -> list[str]:
    """The names that `choose` takes on this machine, the best first."""
    names = [
        name
        for name, (module, _, needed) in _BUILT_IN.items()
        if _is_importable(module) and (needed is None or importlib.util.find_spec(needed) is not None)
    ]
    return names + sorted({point.name for point in _registered()} - set(_BUILT_IN))


def choose(which: str | type[Reactor] | Reactor | None = None) -> Reactor:
    """A reactor.

    Args:
        which: a name (see `available`), a class, or an instance, which is returned as it is. By default the name is the
            environment variable ``PYJOWS_REACTOR``; without that too it is ``asyncio`` inside a running asyncio loop,
            else ``epoll`` where it was compiled, else ``poll``.

    Raises:
        ValueError: there is no reactor of that name here.
        TypeError: `which` is none of these.
        ImportError: the reactor needs a package that is not installed.
    """
    if isinstance(which, Reactor):
        return which
    if which is None:
        which = os.environ.get('PYJOWS_REACTOR') or _best()
    if isinstance(which, str):
        which = _by_name(which)
    if not (isinstance(which, type) and issubclass(which, Reactor)):
        raise TypeError(f'a reactor is a name, a subclass of Reactor or an instance of one, not {which!r}')
    return which()


def _best() -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return 'epoll' if _is_importable('.epoll') else 'poll'
    return 'asyncio'


def _by_name(name: str) -> type[Reactor]:
    if name in _BUILT_IN:
        module, attribute, _ = _BUILT_IN[name]
        if _is_importable(module):
            return cast('type[Reactor]', getattr(importlib.import_module(module, __name__), attribute))
    else:
        for point in _registered():
            if point.name == name:
                return cast('type[Reactor]', point.load())
    raise ValueError(f'there is no reactor {name!r} here: choose one of {", ".join(available())}')


def _registered() -> list[Any]:
    """What other packages have registered: entry points."""
    from importlib.metadata import entry_points  # not for each `import pyjows`: it takes 15 ms

    return list(entry_points(group=GROUP))


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module, __name__) is not None
    except ModuleNotFoundError:
        return False  # not compiled, or PYJOWS_PURE is set
