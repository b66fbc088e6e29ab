# cython: auto_pickle=True
"""`Limits`: how much of memory and time one connection may take. And the check of numbers that users give.

Owns the defaults and ranges (docs/limits.md has them as tables). Must not know what happens when a limit is reached:
that is in `protocol.py` (sizes) and `transaction/driver.py` (time, backlog).

The connections of one server share one object, so that a limit costs an idle connection nothing.
"""

from __future__ import annotations

import math
import os
import sys
from typing import Any

from ._signature import ConstructorSignature

__all__ = ['LIMITS', 'Limits', 'checked_number']

_MEBIBYTE = 1048576

#: name: (default, smallest, unit, whether it is a whole number). A default of None is asked for at each call.
LIMITS: dict[str, tuple[float | None, float, str, bool]] = {
    'max_websocket_size': (None, 0, 'bytes', True),
    'max_fragments': (131072, 1, 'frames a message', True),
    'max_queue': (16, 1, 'messages', True),
    'high_water_mark': (_MEBIBYTE, 1, 'bytes', True),
    'max_backlog': (16 * _MEBIBYTE, 1, 'bytes', True),
    'backlog_timeout': (30.0, 0, 'seconds, 0 for no limit', False),
    'ping_interval': (20.0, 0, 'seconds, 0 for no pings', False),
    'ping_timeout': (20.0, 0, 'seconds, 0 for no limit', False),
    'idle_timeout': (0.0, 0, 'seconds, 0 for no limit', False),
    'close_timeout': (10.0, 0, 'seconds', False),
}


def checked_number(
    function: str,
    name: str,
    value: Any,
    smallest: float,
    unit: str,
    *,
    whole: bool = False,
    above: bool = False,
    largest: float = math.inf,
) -> Any:
    """`value`, if it is a number of `smallest` or more; with `above`, more than that; and of `largest` at most.

    Raises:
        TypeError: it is not a number, or not a whole one where it has to be.
        ValueError: it is out of range, or not finite.
    """
    kind = 'a whole number' if whole else 'a number'
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise TypeError(f'{function}: {name} takes {kind} ({unit}), not {value!r}')
    # Not `math.isfinite`: a number may be an int that is too large for a float.
    is_finite = whole or abs(value) <= sys.float_info.max
    if not is_finite or not smallest <= value <= largest or (above and value == smallest):
        limit = f'more than {smallest:g}' if above else f'{smallest:g} or more'
        if largest < math.inf:
            limit += f', at most {largest}'
        raise ValueError(f'{function}: {name}={value!r}, but it takes {kind} of {limit} ({unit})')
    return value


class Limits:
    """The limits of a connection.

    Args:
        function: the name of the caller, for messages.
        **options: each may be left out; names, units and defaults are in `LIMITS`. `max_websocket_size` is by default
            the environment variable PYJO_MAX_WEBSOCKET_SIZE, or 262144.

    Raises:
        TypeError: an unknown option, or one that is not a number.
        ValueError: a number out of its range.
    """

    __signature__ = ConstructorSignature()

    def __init__(self, function: str = 'WebSocket()', **options: Any) -> None:
        values: dict[str, Any] = {}
        for name, (default, smallest, unit, whole) in LIMITS.items():
            value = options.pop(name, None)
            if value is None:
                value = _default_size() if default is None else default
            value = checked_number(function, name, value, smallest, unit, whole=whole)
            values[name] = min(value, sys.maxsize) if whole else value  # compiled, a C integer
        if options:
            raise TypeError(f'{function} has no option {next(iter(options))!r}')
        if values['max_backlog'] < values['high_water_mark']:
            raise ValueError(
                f'{function}: max_backlog={values["max_backlog"]} is less than '
                f'high_water_mark={values["high_water_mark"]}; a backlog begins above the high water mark'
            )
        self.max_websocket_size = values['max_websocket_size']
        self.max_fragments = values['max_fragments']
        self.max_queue = values['max_queue']
        self.high_water_mark = values['high_water_mark']
        self.max_backlog = values['max_backlog']
        self.backlog_timeout = float(values['backlog_timeout'])
        self.ping_interval = float(values['ping_interval'])
        self.ping_timeout = float(values['ping_timeout'])
        self.idle_timeout = float(values['idle_timeout'])
        self.close_timeout = float(values['close_timeout'])

    def replaced(self, **changes: Any) -> Limits:
        """The same limits with some of them changed; raises as the class does."""
        return Limits('Limits.replaced()', **{**{name: getattr(self, name) for name in LIMITS}, **changes})

    def __repr__(self) -> str:
        return f'Limits({", ".join([f"{name}={getattr(self, name)!r}" for name in LIMITS])})'


def _default_size() -> int:
    """The largest message in bytes, where none is given."""
    return int(os.environ.get('PYJO_MAX_WEBSOCKET_SIZE') or 262144)
