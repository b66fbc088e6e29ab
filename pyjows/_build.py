"""Compiled or interpreted: which form of the hot modules this process uses.

The hot modules are Python files that may have an extension module beside them, built from the very same text. The
import system prefers the extension module. This file owns the way to prefer the `.py` files instead (the environment
variable `PYJOWS_PURE=1`), and the question of what was loaded. It knows nothing of what those modules do.
"""

from __future__ import annotations

import importlib.abc
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

__all__ = ['SourceFinder', 'is_compiled', 'prefer_source', 'wants_source']

_PACKAGE = __name__.partition('.')[0] + '.'


class SourceFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of this package as `.py` files, and hides its extension modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the `.py` file or package `fullname`; `None` for what is not of this package.

        Raises `ModuleNotFoundError` for a module that has only a compiled form: it shares C types with modules that are
        interpreted now, so letting the next finder load it would end in a stranger error.
        """
        if not fullname.startswith(_PACKAGE) or path is None:
            return None
        for folder in path:
            spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        raise ModuleNotFoundError(f'{fullname} has no interpreted form, and PYJOWS_PURE asks for it', name=fullname)


def is_compiled(module: str) -> bool:
    """Whether `module`, already imported, is an extension module: `is_compiled('pyjows.frames')`."""
    return isinstance(getattr(sys.modules[module], '__loader__', None), ExtensionFileLoader)


def prefer_source() -> None:
    """Import the `.py` files of this package from now on, whatever was compiled beside them."""
    if not any(isinstance(finder, SourceFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SourceFinder())


def wants_source() -> bool:
    """Whether the environment variable `PYJOWS_PURE` is set to anything but `0` or the empty string."""
    return os.environ.get('PYJOWS_PURE', '0') not in ('', '0')
