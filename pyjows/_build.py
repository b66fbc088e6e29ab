"""Compiled or interpreted: which form of the hot modules this process uses.

The hot modules are Python files that may have an extension module beside them, built from the very same text. The
import system prefers the extension module. This file owns the way to prefer the `.py` files instead (the environment
variable `PYJOWS_PURE=1`), the question of what was loaded, and the warning where sources hide a compiled install. It
must not know what those modules do.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from types import ModuleType

__all__ = ['SourceFinder', 'is_compiled', 'prefer_source', 'wants_source', 'warn_if_shadowing']

_PACKAGE = __name__.partition('.')[0] + '.'


class SourceFinder:
    """Finds the modules of this package as `.py` files, and hides its extension modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the `.py` file or package `fullname`; `None` for what is not of this package.

        Raises `ModuleNotFoundError` for a module that has only a compiled form: it shares C types with modules that are
        interpreted now, so loading it would raise a less helpful error.
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


def warn_if_shadowing(module: str) -> None:
    """Warn where `module` was imported from a `.py` file although a compiled one follows in `sys.path`.

    That is the current folder when it is a clone: `python -m` and `python -c` put it in front of what is installed.
    """
    if is_compiled(module) or wants_source():
        return
    *packages, name = module.split('.')
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for entry in sys.path:
        place = os.path.join(os.path.abspath(entry), *packages, name)
        if any(os.path.exists(place + suffix) for suffix in EXTENSION_SUFFIXES):
            warnings.warn(
                f'{packages[0]} is imported from the sources in {here}, interpreted and slow, although it is installed '
                f'compiled in {os.path.abspath(entry)}: start Python elsewhere or with -P, or set PYJOWS_PURE=1 if you '
                'want the sources',
                RuntimeWarning,
                stacklevel=3,
            )
            return
