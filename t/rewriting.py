"""The rewriting of assertions, shared by the processes of pytest-xdist.

pytest rewrites the assertions of each test module before it is imported, and caches the result. Processes that begin
together find no cache, and each rewrites all modules: that was a tenth of the CPU time of the suite. Here each imports
a part of the modules first, so that it finds most of the others in the cache when it collects the tests.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

__all__ = ['shared_rewriting']


@contextmanager
def shared_rewriting(config: pytest.Config) -> Iterator[None]:
    """Begin with this process's part of the modules, if it collects all of them beside other processes.

    Within the block bytecode is written, also where PYTHONDONTWRITEBYTECODE is set: it is what they share.
    """
    worker: dict[str, Any] | None = getattr(config, 'workerinput', None)
    if worker is None or config.getoption('file_or_dir'):
        yield
        return
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    modules = sorted(Path(__file__).parent.glob('test_*.py'), key=lambda path: path.stat().st_size)
    number = int(worker['workerid'].removeprefix('gw'))
    for module in modules[number :: worker['workercount']]:
        with suppress(Exception, pytest.skip.Exception):  # the collection tells
            importlib.import_module(module.stem)
    yield
    sys.dont_write_bytecode = dont_write
