"""A message as the first byte and the payload of a frame.

Owns which values can be sent, and the errors for those that cannot. Must not know connections.
"""

from __future__ import annotations

from typing import Any

from . import _json
from .frames import Opcode, as_bytes

__all__ = ['MISSING', 'check_raw_frame', 'encode_text', 'encoded_message']

MISSING = object()  # no value: None is one

# Compiled, these are C integers: the first bytes of frames with a whole message.
_TEXT, _BINARY = 0x80 | Opcode.TEXT.value, 0x80 | Opcode.BINARY.value


def encoded_message(method: str, text: Any, binary: Any, json: Any) -> tuple[int, bytes]:
    """The first byte and the payload of the frame that carries a message."""
    if binary is not None:
        return _BINARY, as_bytes(binary)
    if text is not None:
        return _TEXT, encode_text(text)
    if json is not MISSING:
        return _TEXT, _json.dumps(json)
    raise TypeError(f'{method}() takes one of text=, binary= and json=')


def check_raw_frame(head: int, payload: bytes) -> None:
    """Raise ValueError for a control frame that RFC 6455 5.5 does not allow."""
    if head & 0x08 and (len(payload) > 125 or not head & 0x80):
        raise ValueError(
            f'a control frame of {len(payload)} bytes{"" if head & 0x80 else " without fin"}; it has fin and at '
            'most 125 bytes (RFC 6455 5.5)'
        )


def encode_text(text: Any) -> bytes:
    """A text message's payload; raises TypeError for what is not a `str`, ValueError for what UTF-8 cannot encode."""
    if not isinstance(text, str):
        raise TypeError(f'text is a str, not {type(text).__name__}; use binary= for bytes and json= for values')
    return text.encode('utf-8')
