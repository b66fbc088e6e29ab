"""`SafeLogger`: logs what happens inside a loop; a handler of `logging` that raises does not get into the loop.

Owns what happens to such an exception. Must not know what is logged, nor where.

The handlers of the standard library catch what happens when they write a record. Those of a program may not, and
`logging` lets their exceptions through to the call that logs. Here that may be in the middle of a loop, or of the end
of a connection.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

__all__ = ['SafeLogger']


class SafeLogger:
    """The logger of a name, with the methods of `logging.Logger` that pyjows calls.

    What a handler or filter raises, KeyboardInterrupt and the like excepted, is printed on stderr, as
    `logging.Handler.handleError` does.
    """

    __slots__ = ('_logger', 'isEnabledFor')

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self.isEnabledFor = self._logger.isEnabledFor

    def debug(self, message: str, *args: Any) -> None:
        """Log as DEBUG."""
        self._log(logging.DEBUG, message, args)

    def info(self, message: str, *args: Any) -> None:
        """Log as INFO."""
        self._log(logging.INFO, message, args)

    def warning(self, message: str, *args: Any) -> None:
        """Log as WARNING."""
        self._log(logging.WARNING, message, args)

    def error(self, message: str, *args: Any, exc_info: Any = None) -> None:
        """Log as ERROR."""
        self._log(logging.ERROR, message, args, exc_info)

    def exception(self, message: str, *args: Any) -> None:
        """Log as ERROR, with the exception that is being handled."""
        self._log(logging.ERROR, message, args, True)

    def log(self, level: int, message: str, *args: Any) -> None:
        """Log as a level of `logging`."""
        self._log(level, message, args)

    def _log(self, level: int, message: str, args: tuple[Any, ...], exc_info: Any = None) -> None:
        if self.isEnabledFor(level):
            try:
                # The record names the function that logs: not this one, and not its caller here.
                self._logger.log(level, message, *args, exc_info=exc_info, stacklevel=3)
            except Exception:
                if logging.raiseExceptions and sys.stderr is not None:
                    with suppress(Exception):  # stderr is closed
                        sys.stderr.write('--- Logging error ---\n')
                        traceback.print_exc()
