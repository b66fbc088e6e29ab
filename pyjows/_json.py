"""JSON as bytes: orjson where it is installed, else the standard library, with the same meaning.

orjson is many times faster, but knows neither integers of more than 64 bits nor keys that are not strings, and writes
NaN as null. The standard library takes both, and writes NaN as ``NaN``, which is not JSON. Here both do the same:

* written are integers of any size, keys that are numbers, booleans or None (as strings), dataclasses, dates and times
  (ISO 8601), UUIDs and enumerations;
* NaN, infinity, lone surrogates and what is nested too deeply are a `ValueError`, other types a `TypeError`;
* read is UTF-8 only; an integer of more than 64 bits becomes a float.

Must not know messages.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import uuid
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ['dumps', 'dumps_to_keep', 'loads']

dumps: Callable[[Any], bytes]
dumps_to_keep: Callable[[Any], bytes]
loads: Callable[[bytes], Any]

_MIN, _MAX = -(2**63), 2**64 - 1  # the integers that orjson reads as such


def _as_json(value: Any) -> Any:
    """The value to write in place of one whose type JSON does not have."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f'{type(value).__name__} cannot be written as JSON')


def _standard_dumps(value: Any) -> bytes:
    """A value as JSON in UTF-8, by the standard library."""
    try:
        text = json.dumps(value, default=_as_json, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    except RecursionError:
        raise ValueError('the value is nested too deeply for JSON') from None
    return text.encode()


def _integer(digits: str) -> int | float:
    if len(digits) < 19:
        return int(digits)
    return number if len(digits) < 21 and _MIN <= (number := int(digits)) <= _MAX else _float(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f'{digits[:20]} is too large a number')
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f'{name} is not JSON')


def _standard_loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8, by the standard library."""
    try:
        value = json.loads(str(data, 'utf-8'), parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant)
        if b'\\u' in data:
            json.dumps(value, ensure_ascii=False).encode()  # raises UnicodeEncodeError for a lone surrogate
    except RecursionError:
        raise ValueError('the JSON is nested too deeply') from None
    return value


try:
    import orjson
except ImportError:
    dumps, dumps_to_keep, loads = _standard_dumps, _standard_dumps, _standard_loads
else:
    # Below this, messages are copied into a write buffer; above it, they may wait there for a slow peer as they are.
    _LARGE = 4096

    def dumps(value: Any) -> bytes:
        """A value as JSON in UTF-8; raises TypeError or ValueError for what JSON cannot say."""
        try:
            data = orjson.dumps(value)
        except TypeError:
            return _standard_dumps(value)
        if b'null' in data:  # None, or a NaN that orjson took
            _standard_dumps(value)
        return data if len(data) < _LARGE else b''.join((data, b''))

    def dumps_to_keep(value: Any) -> bytes:
        """The same in no more memory than its bytes: orjson leaves a buffer of 4 KiB, or ten times their size."""
        data = dumps(value)
        return b''.join((data, b'')) if len(data) < _LARGE else data

    loads = orjson.loads
