"""`FrameLog`: what is logged of a connection, above all its frames, each in one short line.

Owns the logger and the id of a connection, and how a frame is written in the log. Must not know which frames are
allowed, nor what they do (`protocol.py`).

Whether frames are logged is looked up once, when the connection is open. Receiving a frame costs no branch for it:
`_shows_frames`, which is tested anyway for handlers that want to see frames, is set for the log too.
"""

from __future__ import annotations

import logging
import os
import uuid
from typing import Any

from .frame_decoder import FrameDecoder
from .frames import Opcode

__all__ = ['FrameLog', 'frame_line', 'log_to_stderr']

_LOGGERS = logging.getLogger('pyjows.server'), logging.getLogger('pyjows.client')

# Why every frame is looked at before it is processed, as bits.
_SHOWN, _LOGGED = 1, 2

# A payload is shown to this many characters of text, or bytes in hexadecimal.
_TEXT_LENGTH = 75
_HEX_LENGTH = 24

_NAMES = {opcode.value: opcode.name for opcode in Opcode}


class FrameLog(FrameDecoder):
    """A decoder whose frames may be logged, and shown to a face, before they are processed.

    Args:
        side: 0 for a server, 1 for a client.
        max_size: as for `Protocol`.
        logger: another one than ``pyjows.server`` or ``pyjows.client``.
    """

    def _begin_frames(self, side: int, max_size: Any, logger: Any) -> None:
        self._begin_decoder(side == 1, max_size)
        self._side = side
        self._logger = logger
        self._id: uuid.UUID | None = None
        self._shows_frames = 0
        self._logs_frames = False

    @property
    def id(self) -> uuid.UUID:
        """A unique id for log records."""
        if self._id is None:
            self._id = uuid.uuid4()
        return self._id

    @property
    def logger(self) -> Any:
        """Where the log records of the connection go."""
        return _LOGGERS[self._side] if self._logger is None else self._logger

    def _begin_log(self) -> None:
        """The connection is open: log each frame from now on, if the logger is enabled for DEBUG."""
        if self.logger.isEnabledFor(logging.DEBUG):
            self._logs_frames = True
            self._shows_frames |= _LOGGED

    def _show_frames(self, is_wanted: bool) -> None:
        """Show every frame to `_frame_seen` before it is processed, or no longer."""
        self._shows_frames = (self._shows_frames & _LOGGED) | (_SHOWN if is_wanted else 0)

    def _look_at_frame(self, head: int, payload: bytes) -> bool:
        """Log a frame that was received, and show it to the face; returns whether to process it."""
        if self._shows_frames & _LOGGED:
            # One that goes through extensions is logged as it comes out of them.
            is_extended = self._claimed_bits and (not head & 0x08 or self._extends_control)
            if self._raw or not is_extended:
                self._log_frame('<', head, payload)
        return not self._shows_frames & _SHOWN or self._frame_seen(head, payload)

    def _frame_seen(self, head: int, payload: bytes) -> bool:
        """A frame was received, and not processed yet; returns whether to process it."""
        return True

    def _log_frame(self, mark: str, head: int, payload: bytes) -> None:
        self.logger.debug('%s %s %s', self._log_id(), mark, frame_line(head, payload))

    def _log_id(self) -> str:
        """What the connection is called in the log."""
        return str(self.id)[:8]


def frame_line(head: int, payload: bytes) -> str:
    """A frame as one short line: ``TEXT 'hello' [5 bytes]``.

    ::

        frame_line(0x81, b'hello')              # TEXT 'hello' [5 bytes]
        frame_line(0x02, bytes(100))            # BINARY, not the last, 00 00 00 … [100 bytes]
        frame_line(0x88, b'\\x03\\xe8bye')        # CLOSE 1000 'bye' [5 bytes]
    """
    opcode = head & 0x0F
    name = _NAMES.get(opcode, f'opcode {opcode}')
    if not head & 0x80:
        name += ', not the last,'
    if head & 0x40:
        name += ', compressed,'
    size = len(payload)
    shown = _shown(opcode, head, payload)
    return f'{name} {shown} [{size} byte{"" if size == 1 else "s"}]' if size else f'{name} [0 bytes]'


def _shown(opcode: int, head: int, payload: bytes) -> str:
    """The first part of a payload."""
    if opcode == Opcode.CLOSE and len(payload) > 1:
        reason = payload[2:].decode('utf-8', 'replace')
        return f'{int.from_bytes(payload[:2], "big")} {reason!r}' if reason else str(int.from_bytes(payload[:2], 'big'))
    if opcode == Opcode.TEXT and not head & 0x40:
        # Four bytes are one character at least; a cut one at the end is not shown.
        text = payload[: 4 * _TEXT_LENGTH + 4].decode('utf-8', 'replace')
        is_whole = len(payload) <= 4 * _TEXT_LENGTH + 4 and len(text) <= _TEXT_LENGTH
        return repr(text) if is_whole else f'{text[:_TEXT_LENGTH]!r}...'
    dots = ' ...' if len(payload) > _HEX_LENGTH else ''
    return payload[:_HEX_LENGTH].hex(' ') + dots


def log_to_stderr() -> None:
    """Show all log records of pyjows on stderr, down to DEBUG, if the environment has ``PYJOWS_DEBUG=1``."""
    if os.environ.get('PYJOWS_DEBUG', '0') in ('', '0'):
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    logger = logging.getLogger('pyjows')
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
