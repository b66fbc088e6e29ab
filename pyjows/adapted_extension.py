"""`AdaptedExtension`: an extension in websockets' shape, as one that `Protocol` can use.

Such an extension sees control frames, too, does not say which reserved bits it claims, and works on websockets' own
`Frame` where that library is imported: it may compare opcodes by identity, and raises that library's exceptions. Must
not know how an extension is negotiated (`extensions.py`), nor when frames are sent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .errors import NegotiationError, PayloadTooBig, ProtocolError
from .frames import Frame, as_bytes

__all__ = ['AdaptedExtension', 'translated_exceptions']


class AdaptedExtension:
    """The adapter of one extension.

    Args:
        inner: an object with ``encode(frame)`` and ``decode(frame, *, max_size)``.
    """

    rsv = 0x70
    control_frames = True

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.name: str = getattr(inner, 'name', type(inner).__name__)

    def encode(self, frame: Frame) -> Frame:
        """An outgoing frame as it goes onto the wire."""
        with translated_exceptions():
            return _from_websockets(self.inner.encode(_to_websockets(frame)))

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """An incoming frame as the application sees it."""
        with translated_exceptions():
            return _from_websockets(self.inner.decode(_to_websockets(frame), max_size=max_size))


@contextmanager
def translated_exceptions() -> Iterator[None]:
    """Raise websockets' exceptions about frames and negotiation as our own."""
    try:
        yield
    except Exception as exc:
        theirs = _loaded('websockets.exceptions', 'PayloadTooBig')
        for ours in (PayloadTooBig, NegotiationError, ProtocolError):
            kind = getattr(theirs, ours.__name__, ours)
            if kind is not ours and isinstance(exc, kind):
                raise ours(str(exc)) from exc
        raise


def _loaded(module: str, name: str) -> ModuleType | None:
    """websockets' module, if it is imported and has that name."""
    found = sys.modules.get(module)
    return found if hasattr(found, name) else None


def _to_websockets(frame: Frame) -> Any:
    """A frame of websockets, where that is imported."""
    module: Any = _loaded('websockets.frames', 'Frame')
    if module is None or module.Frame is Frame:
        return frame
    fin, rsv1, rsv2, rsv3, opcode, data = frame
    return module.Frame(module.Opcode(opcode), data, fin, rsv1, rsv2, rsv3)


def _from_websockets(frame: Any) -> Frame:
    """A frame of ours, from one with the same attributes."""
    if type(frame) is Frame:
        return frame
    fin, rsv1, rsv2, rsv3 = bool(frame.fin), bool(frame.rsv1), bool(frame.rsv2), bool(frame.rsv3)
    return Frame(int(frame.opcode), as_bytes(frame.data), fin, rsv1, rsv2, rsv3)
