"""`LoopEmitter`: an emitter that lives on a loop.

Owns where its coroutine handlers run, and where what a handler raises ends. Must not know what its events mean.
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

    def _tell(self, event: str, *args: Any) -> None:
        """Emit an event; what its handlers raise ends here."""
        try:
            self.emit(event, *args)
        except Exception as exc:
            self._handler_failed(exc)

    def _spawner(self) -> Any:
        return self.ioloop.reactor

    def _handler_failed(self, exc: BaseException) -> None:
        """Emit ``error``, or log where nobody listens."""
        if self.has_subscribers('error'):
            try:
                self.emit('error', exc)
                return
            except Exception as another:
                exc = another
        _log.error('%s on %r', type(exc).__name__, self, exc_info=exc)
