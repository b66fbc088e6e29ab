"""`install`: programs that import simple_websocket get `pyjows.simple`.

Owns the modules under that name. Must not know what the classes do.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType

from . import aio, blocking, errors

__all__ = ['install']

_NAME = 'simple_websocket'

_MODULES: dict[str, list[type]] = {
    'ws': [blocking.Base, blocking.Server, blocking.Client],
    'aiows': [aio.AioBase, aio.AioServer, aio.AioClient],
    'errors': [errors.SimpleWebsocketError, errors.ConnectionError, errors.ConnectionClosed],
}

_PUBLIC = ('Server', 'Client', 'AioServer', 'AioClient', 'ConnectionError', 'ConnectionClosed')


def install() -> None:
    """Have ``import simple_websocket`` give the classes of `pyjows.simple`, in this process.

    It has to be called before anything imports simple_websocket. A second call does nothing.

    Raises:
        RuntimeError: simple_websocket itself is imported already, and others may hold its classes.
    """
    there = sys.modules.get(_NAME)
    if there is not None:
        if getattr(there, 'Server', None) is blocking.Server:
            return
        raise RuntimeError(
            'simple_websocket is imported already: call pyjows.simple.install() before whatever imports it, or run the '
            'program with python -m pyjows.simple'
        )
    package = _module(_NAME, [], is_package=True)
    for name, classes in _MODULES.items():
        module = _module(f'{_NAME}.{name}', classes)
        setattr(package, name, module)
        for one in classes:
            if one.__name__ in _PUBLIC:
                setattr(package, one.__name__, one)


def _module(name: str, classes: list[type], is_package: bool = False) -> ModuleType:
    module = ModuleType(name, f'{name}, served by pyjows.simple')
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=is_package)
    if is_package:
        module.__path__ = []
    for one in classes:
        setattr(module, one.__name__, one)
    sys.modules[name] = module
    return module
