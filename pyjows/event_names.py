"""Names of events that were probably mistyped, and the ones that were meant.

Owns the rule of what resembles what. Must not know which class has which events: each names its own.

Every emitter also carries events of the program's own, so an unknown name is not an error. It is a warning where it
differs by one letter, by ``on_`` or by a grammatical ending from an event of the class, or is another library's name
for one of them.
"""

from __future__ import annotations

import re
import sys
import warnings
from functools import lru_cache
from pathlib import Path

__all__ = ['similar_event', 'warn_of_unknown_event']

# What other libraries call them; of several, the first that the class has.
_ELSEWHERE = {
    'close': ('finish',),
    'closed': ('finish',),
    'connect': ('open', 'websocket'),
    'connected': ('open', 'websocket'),
    'connection': ('websocket',),
    'disconnect': ('finish',),
    'disconnected': ('finish',),
    'exception': ('error',),
    'upgrade': ('websocket',),
}

_PACKAGE = str(Path(__file__).parent)


@lru_cache(maxsize=1024)
def similar_event(event: str, known: frozenset[str]) -> str | None:
    """The event of a class that was probably meant, or None; ``similar_event('mesage', …)`` is ``'message'``."""
    lower = event.lower()
    forms = dict.fromkeys((lower, re.sub('^on_?', '', lower)))
    for form in [*forms]:
        forms[re.sub('(s|ed)$', '', form)] = None
    for form in forms:
        if form in known:
            return form
        for name in _ELSEWHERE.get(form, ()):
            if name in known:
                return name
    return next((name for name in sorted(known) for form in forms if _differ_by_one_letter(form, name)), None)


def _differ_by_one_letter(typed: str, name: str) -> bool:
    """Whether one letter is missing, doubled or added, two are swapped, or one is another.

    The first letter has to be the same: it is rarely mistyped, and ``gopen`` may be an event of the program's own. In a
    name of four letters a different letter does not count, because too many words differ by one: ``test``, ``text``.
    """
    at = next((i for i, (a, b) in enumerate(zip(typed, name, strict=False)) if a != b), min(len(typed), len(name)))
    rest, wanted = typed[at:], name[at:]
    if at > 0 and (rest[1:] == wanted or rest == wanted[1:]):
        return True
    if len(rest) != len(wanted):
        return False
    if rest[:2] == wanted[:2][::-1] and rest[2:] == wanted[2:]:
        return True
    return at > 0 and len(name) > 4 and rest[1:] == wanted[1:]


def warn_of_unknown_event(owner: str, event: str, known: frozenset[str]) -> None:
    """Warn, where the program subscribes, that a class has no such event but one with a similar name."""
    similar = similar_event(event, known)
    if similar is not None:
        warnings.warn(
            f'on({event!r}): a {owner} has no such event; did you mean {similar!r}?', stacklevel=_caller_level()
        )


def _caller_level() -> int:
    """The `stacklevel` of the first caller outside of the package; compiled functions are not on the stack."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
