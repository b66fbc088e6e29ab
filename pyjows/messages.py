"""A message as the first byte and the payload of a frame.

Owns which values can be sent, a close code and reason among them, and the errors for those that cannot. Must not know
connections.
"""

from __future__ import annotations

from typing import Any

from . import _json
from ._text import shown
from .errors import Close
from .frames import Frame, Opcode, as_bytes, make_frame

__all__ = [
    'MISSING',
    'check_close',
    'check_raw_frame',
    'encode_binary',
    'encode_text',
    'encoded_message',
    'plain_frame',
]

MISSING = object()  # no value: None is one

# Compiled, these are C integers: the first bytes of frames with a whole message.
_TEXT, _BINARY = 0x80 | Opcode.TEXT.value, 0x80 | Opcode.BINARY.value


def encoded_message(method: str, text: Any, binary: Any, json: Any) -> tuple[int, bytes]:
    """The first byte and the payload of the frame that carries a message."""
    if binary is not None:
        return _BINARY, encode_binary(method, binary)
    if text is not None:
        return _TEXT, encode_text(method, text)
    if json is not MISSING:
        return _TEXT, _json.dumps(json)
    raise TypeError(f'{method}() takes one of text=, binary= and json=')


def plain_frame(message: Any, text: Any, binary: Any, json: Any) -> Frame | None:
    """The frame that carries a message past the extensions; None where there is only a callback."""
    is_message = message is not None and not callable(message)
    given = sum((is_message, text is not None, binary is not None, json is not MISSING))
    if not given and callable(message):
        return None
    if given != 1:
        raise TypeError('send() takes exactly one of text=, binary= and json= with compress=False')
    if isinstance(message, str):
        text = message
    elif is_message:
        binary = message
    head, payload = encoded_message('send', text, binary, json)
    return make_frame(head, payload)


def check_raw_frame(head: int, payload: bytes) -> None:
    """Raise ValueError for a control frame that RFC 6455 5.5 does not allow."""
    if head & 0x08 and (len(payload) > 125 or not head & 0x80):
        raise ValueError(
            f'a control frame of {len(payload)} bytes{"" if head & 0x80 else " without fin"}; it has fin and at '
            'most 125 bytes (RFC 6455 5.5)'
        )


def check_close(function: str, code: Any, reason: Any) -> None:
    """Raise TypeError or ValueError for what cannot be the code and the reason of a close frame; both may be None."""
    if code is not None and (not isinstance(code, int) or isinstance(code, bool)):
        raise TypeError(f'{function}: a close code is a whole number, such as 1000, not {code!r}')
    if reason is not None and not isinstance(reason, str):
        raise TypeError(f'{function}: a close reason is a str, not {type(reason).__name__}')
    if code is not None:
        Close(code, reason or '').serialize()
    elif reason:
        raise ValueError(
            f'{function}: the close reason {reason!r} needs a code before it (RFC 6455 5.5.1): finish(1000, {reason!r})'
        )


def encode_binary(method: str, binary: Any) -> bytes:
    """A binary message's payload; raises TypeError for what is not bytes-like."""
    if isinstance(binary, (bytes, bytearray, memoryview)):
        return as_bytes(binary)
    if isinstance(binary, str):
        raise TypeError(f'{method}(): binary is bytes-like, not the str {shown(binary)}; use text= for a str')
    raise TypeError(
        f'{method}(): a message is a str or bytes-like, not {shown(binary)}; '
        f'{method}(json=...) sends such a value as JSON'
    )


def encode_text(method: str, text: Any) -> bytes:
    """A text message's payload; raises TypeError for what is not a `str`, ValueError for what UTF-8 cannot encode."""
    if not isinstance(text, str):
        raise TypeError(
            f'{method}(): text is a str, not {type(text).__name__}; use binary= for bytes and json= for values'
        )
    return text.encode('utf-8')
