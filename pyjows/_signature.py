"""The signatures of compiled classes, for `inspect.signature` and `help`.

A compiled class does not know the parameters of its ``__init__``. Its source does, and is installed beside it: it is
read when the signature is asked for. Nothing else may depend on this module.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path
from typing import Any

__all__ = ['ConstructorSignature']


class ConstructorSignature:
    """The value of ``__signature__`` in a class that may be compiled: the parameters of its ``__init__``."""

    def __get__(self, instance: object, owner: type) -> Any:
        """An `inspect.Signature`; raises AttributeError on an instance, and where there is no source."""
        if instance is None:
            for cls in owner.__mro__:
                if '__init__' in vars(cls):
                    return _signature(cls)
        raise AttributeError('__signature__')


def _signature(cls: type) -> Any:
    import inspect

    if cls is object:
        return inspect.Signature()
    function: Any = vars(cls)['__init__']
    if not hasattr(function, '__code__'):
        function = _from_source(cls)
        if function is None:
            return inspect.Signature([_parameter(field) for field in dataclasses.fields(cls)])
    signature = inspect.signature(function)
    _, *parameters = signature.parameters.values()
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


def _parameter(field: dataclasses.Field[Any]) -> Any:
    """What a field of a dataclass is in its signature."""
    import inspect

    default = field.default
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty if field.default_factory is dataclasses.MISSING else ...
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(field.name, kind, default=default, annotation=field.type)


def _from_source(cls: type) -> Any:
    """A function with the parameters of a class's ``__init__`` and an empty body; None if it is a dataclass's."""
    path = Path(__file__).parent.parent.joinpath(*cls.__module__.split('.')).with_suffix('.py')
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as exc:
        raise AttributeError('__signature__') from exc
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    init = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == '__init__'), None)
    if init is None:
        return None
    init.body = [ast.Pass()]
    future = ast.ImportFrom('__future__', [ast.alias('annotations')], 0)
    found: dict[str, Any] = {}
    module = ast.fix_missing_locations(ast.Module([future, init], []))
    exec(compile(module, str(path), 'exec'), vars(sys.modules[cls.__module__]), found)
    return found['__init__']
