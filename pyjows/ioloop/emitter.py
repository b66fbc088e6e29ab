"""`LoopEmitter`: an emitter with a loop.

Owns running its coroutine handlers on that loop, and handling what a handler raises. Must not know what its events
mean.
"""

from __future__ import annotations

import logging
from typing import Any

from ..emitter import EventEmitter

__all__ = ['LoopEmitter']

_log = logging.getLogger('pyjows')


class LoopEmitter(EventEmitter):
    """An emitter with an `IOLoop`.

    Attributes:
        ioloop: the loop.
    """

    ioloop: Any

    def _emit_safely(self, event: str, *args: Any) -> None:
        """Emit an event; what its handlers raise becomes ``error``."""
        try:
            self.emit(event, *args)
        except Exception as exc:
            self._handler_failed(exc)

    def _spawner(self) -> Any:
        return self.ioloop.reactor

    def _handler_failed(self, exc: BaseException) -> None:
        """Emit ``error``, or log the exception if ``error`` has no subscriber."""
        if self.has_subscribers('error'):
            try:
                self.emit('error', exc)
                return
            except Exception as another:
                exc = another
        _log.error('%s on %r', type(exc).__name__, self, exc_info=exc)
