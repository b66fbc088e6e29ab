"""JSON as bytes: orjson where it is installed, else the standard library. Knows nothing of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ['dumps', 'loads']

dumps: Callable[[Any], bytes]
loads: Callable[[bytes], Any]

try:
    import orjson
except ImportError:
    import json

    def dumps(value: Any) -> bytes:
        """A value as JSON in UTF-8; raises TypeError or ValueError for what JSON cannot say."""
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode()

    def loads(data: bytes) -> Any:
        """The value of a JSON text in UTF-8; raises ValueError if it is none."""
        return json.loads(data)
else:
    dumps = orjson.dumps
    loads = orjson.loads
