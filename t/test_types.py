"""What `help` knows: the options and the signature of every public class (type checkers: `typed_program.py`)."""

import importlib
import inspect
import pydoc

import pytest

import pyjows

#: The modules that programs import from.
PUBLIC = [
    *('pyjows', 'pyjows.connection', 'pyjows.deflate', 'pyjows.errors', 'pyjows.events', 'pyjows.extensions'),
    *('pyjows.ioloop', 'pyjows.limits', 'pyjows.protocol', 'pyjows.reactor', 'pyjows.sansio', 'pyjows.simple'),
]


@pytest.mark.parametrize('types', [pyjows.server.ServeOptions, pyjows.client.ConnectOptions])
def test_a_function_has_a_type_for_each_limit(types):
    assert pyjows.limits.LIMITS.keys() <= types.__annotations__.keys()


@pytest.mark.parametrize(
    ('function', 'types'),
    [
        (pyjows.serve, pyjows.server.ServeOptions),
        (pyjows.connect, pyjows.client.ConnectOptions),
    ],
)
def test_a_function_has_a_type_for_each_of_its_options(function, types):
    documented = inspect.signature(pyjows.Server if function is pyjows.serve else function).parameters
    options = {name for name, one in documented.items() if one.kind is inspect.Parameter.KEYWORD_ONLY} - {'ioloop'}
    assert options <= types.__annotations__.keys()


def public_classes():
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) and (module is pyjows.errors or not issubclass(found, BaseException)):
                yield pytest.param(found, id=f'{module.__name__}.{name}')


@pytest.mark.parametrize('cls', list(public_classes()))
def test_a_public_class_has_a_signature_and_a_page_of_help(cls):
    inspect.signature(cls)
    for name, member in inspect.getmembers(cls, callable):
        if not name.startswith('_') and not inspect.isclass(member) and getattr(member, '__objclass__', cls) is cls:
            inspect.signature(member)
    assert cls.__name__ in pydoc.plain(pydoc.render_doc(cls))


def test_the_signature_of_a_compiled_class_is_the_one_of_its_source():
    signature = inspect.signature(pyjows.Protocol)
    assert [*signature.parameters][:3] == ['side', 'state', 'max_size']
    assert signature.parameters['state'].default is pyjows.State.OPEN
    assert signature.parameters['side'].annotation == 'Side'


def test_an_object_has_no_signature():
    with pytest.raises(TypeError):
        inspect.signature(pyjows.Protocol(pyjows.Side.SERVER))
