"""Compiles the hot modules, where that is possible.

The metadata is in pyproject.toml; this file owns one question: what becomes an extension module.

* Every `.py` that has a `.pxd` beside it: the same file, compiled by Cython in pure Python mode. Adding a `.pxd`
  is all it takes to have another module compiled.
* Every `.pyx`: what cannot be said in Python. These are Linux only (epoll).

It is all or nothing: compiled modules share C types, so half of them would not import. When anything stops the
build (no C compiler, one that fails, no Cython), nothing of it is kept, and the interpreted files, which are the same
code, do the work. `PYJOWS_PURE=1` in the environment asks for that on purpose.
"""

import os
import re
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Methods that pickle are a tenth of the C: only modules of values, which say so in their first line, have them.
DIRECTIVES = {'language_level': 3, 'annotation_typing': False, 'auto_pickle': False}
NOT_COMPILED = {
    '__init__',
    'coroutine_step',
    'memory',
    'syscalls',
}  # their .pxd mark the package for cimport, and hold inline C instead of Python

# Most of what an installation takes is the C compiler, and it takes nearly twice as long at -O2 as at -O1. -O2 is worth
# it where every message passes through loops of our own (messages without sockets take a twentieth less); all else
# mostly calls: Python, the kernel, OpenSSL. -O3 takes another third, and nothing gets faster that can be measured.
# A generator expression costs its module a third of a second: a list does the same without Cython's coroutines.
PER_MESSAGE = {
    *('buffers', 'driver', 'frame_decoder', 'frames', 'handlers', 'inbox', 'protocol', 'stream', 'transaction'),
    'waiter',
}

# An attribute of None is an AttributeError, as in Python, and no crash (``nonecheck``): a subclass may forget to call
# `__init__`. Not in these modules: each message would pay for it, and what calls them has been checked.
UNCHECKED = {'buffers', 'driver', 'frame_decoder', 'frames', 'handlers', 'inbox', 'protocol', 'waiter'}


def pure() -> bool:
    """Whether the environment asks for the interpreted form (the same rule as in `pyjows/_build.py`)."""
    return os.environ.get('PYJOWS_PURE', '0') not in ('', '0')


def hot_modules() -> list[Extension]:
    """One extension for each source that is to be compiled, empty when `PYJOWS_PURE` is set."""
    if pure():
        return []
    root = Path('pyjows')
    typed = [pxd.with_suffix('.py') for pxd in root.rglob('*.pxd') if pxd.stem not in NOT_COMPILED]
    sources = [path for path in typed if path.exists()]
    if sys.platform == 'linux':
        sources += root.rglob('*.pyx')
    return [Extension('.'.join(path.with_suffix('').parts), [path.as_posix()]) for path in sorted(sources)]


def flags(compiler: str, module: str) -> list[str]:
    """What a module costs the compiler: by what passes through it."""
    if compiler == 'msvc':
        return ['/O2']
    return ['-O2' if module in PER_MESSAGE else '-O1', '-g0'] if compiler == 'unix' else []


class BuildAllOrNothing(build_ext):
    """`build_ext` that keeps every extension or, when one of them fails, none."""

    def run(self) -> None:
        places = self.places()
        try:
            self.translate()
            super().run()
        except (Exception, SystemExit) as exc:  # whatever a compiler can do wrong, the interpreted form can do without
            for path in places:
                path.unlink(missing_ok=True)
            self.distribution.ext_modules = self.extensions = []
            reason = re.sub(r"\['([^']*)'.*\]", r'\1', ' '.join(str(exc).split())).rstrip('.') or type(exc).__name__
            print(f'pyjows: not compiled ({reason}): the interpreted form is installed, same code, slower', flush=True)

    def translate(self) -> None:
        """Have Cython write the C, below build/ and never beside the sources."""
        from Cython.Build import cythonize

        sources = {}
        for nonecheck in (True, False):
            translated = cythonize(
                [one for one in self.extensions if (one.name.rpartition('.')[2] not in UNCHECKED) == nonecheck],
                nthreads=os.cpu_count() or 1,
                build_dir='build/cython',
                compiler_directives={**DIRECTIVES, 'nonecheck': nonecheck},
                quiet=True,
            )
            sources.update({extension.name: extension.sources for extension in translated})
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        # The largest first, so that in the end no processor waits for another.
        self.extensions.sort(key=lambda extension: -Path(extension.sources[0]).stat().st_size)

    def places(self) -> list[Path]:
        """Where the extension modules are, or would be: in the build folder, or (`--inplace`) beside the sources."""
        names = [self.get_ext_fullname(extension.name) for extension in self.extensions]
        return [Path(self.get_ext_fullpath(name)) for name in names] + [
            Path(self.build_lib, self.get_ext_filename(name)) for name in names
        ]

    def build_extensions(self) -> None:
        self.parallel = self.parallel or os.cpu_count()
        for extension in self.extensions:
            extension.extra_compile_args = flags(self.compiler.compiler_type, extension.name.rpartition('.')[2])
        super().build_extensions()


setup(ext_modules=hot_modules(), cmdclass={'build_ext': BuildAllOrNothing})
