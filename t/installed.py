"""Which pyjows the tools of this clone use: the installed one, where there is one.

`python -m` puts the current folder in front of everything installed, and in the clone that folder has a `pyjows` too,
usually not compiled. A tool calls `prefer_installed()` before it imports pyjows; its command calls `require()` to end
with one line that says what to install. A folder named in `PYTHONPATH` was chosen on purpose and keeps its place.
Must not import pyjows, nor anything outside the standard library.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

__all__ = ['ROOT', 'RUN', 'prefer_installed', 'refuse', 'require', 'require_compiled']

#: The clone.
ROOT = Path(__file__).resolve().parent.parent

#: `python -P -c RUN ROOT MODULE …` is `python -m MODULE …` with the clone after the installed packages.
RUN = 'import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), run_name="__main__")'


def prefer_installed() -> None:
    """Look for modules in the clone last, unless `PYTHONPATH` names it."""
    named = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    if ROOT not in {Path(entry).resolve() for entry in named if entry}:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT] + [str(ROOT)]


def require(tool: str, extra: str, *modules: str) -> None:
    """End with exit status 2 and the pip line, unless pyjows and `modules` can be imported."""
    for module in ('h11', 'pyee', *modules):
        if importlib.util.find_spec(module) is None:
            refuse(tool, f'{module} is not installed', f"'.[{extra}]'")


def require_compiled(tool: str, extra: str) -> None:
    """End with exit status 2 where pyjows is neither installed nor compiled, unless `PYJOWS_PURE` asks for that."""
    import pyjows

    chosen = os.environ.get('PYJOWS_PURE', '0') not in ('', '0')
    if not pyjows.__compiled__ and not chosen and Path(pyjows.__file__).resolve().parent.parent == ROOT:
        refuse(tool, 'pyjows is not installed, and the one in this clone is not compiled', f"'.[{extra}]'")


def refuse(tool: str, why: str, what: str) -> None:
    """End with exit status 2: one line that says why, one that says what to install."""
    sys.exit(_complain(f'{tool}: {why}; install what it needs:\n    {sys.executable} -m pip install {what}'))


def _complain(message: str) -> int:
    print(message, file=sys.stderr)
    return 2
