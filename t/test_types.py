"""What type checkers and `help` know: handlers' arguments, options, and the signature of every public class."""

import importlib
import inspect
import pydoc
import re
import subprocess
import sys

import pytest
from program import ROOT

import pyjows

#: The modules that programs import from.
PUBLIC = [
    *('pyjows', 'pyjows.connection', 'pyjows.deflate', 'pyjows.errors', 'pyjows.events', 'pyjows.extensions'),
    *('pyjows.ioloop', 'pyjows.limits', 'pyjows.protocol', 'pyjows.reactor', 'pyjows.sansio', 'pyjows.simple'),
]

#: Each line that ends with `# wrong` must be refused, and no other.
SNIPPET = """
import pyjows

ws = pyjows.WebSocket(masked=True, ping_interval=5)

@ws.on
def open(ws: pyjows.WebSocket) -> None: ...

@ws.on('text')
async def text(ws: pyjows.WebSocket, message: str) -> None: ...

@ws.on('binary')  # wrong
def binary(ws: pyjows.WebSocket, message: str) -> None: ...

@ws.once('custom')
def custom(ws: pyjows.WebSocket, number: int) -> None: ...

def takes_bytes(ws: pyjows.WebSocket, message: bytes) -> None: ...

ws.on('binary', takes_bytes)
ws.on(takes_bytes, 'binary')
ws.on('text', takes_bytes)  # wrong
ws.on('text', lambda ws, message: ws.send(text=message.upper()))
ws.on('text', lambda ws, message: message.decode())  # wrong
ws.on('finish', lambda ws, code, reason: print(code + 1, reason.upper()))
ws.on('finish', lambda ws, code: None)  # wrong
ws.add_listener('custom', custom)

server = pyjows.serve('ws://127.0.0.1:0', handshake_timeout=3, compression=True, max_queue=4)
server.on('websocket', lambda server, ws: ws.on('json', lambda ws, value: server.broadcast(json=value)))
server.on('websocket', lambda server, ws: ws.on('text', lambda ws, message: message.decode()))  # wrong
pyjows.serve('ws://127.0.0.1:0', max_conections=3)  # wrong
pyjows.serve('ws://127.0.0.1:0', handshake_timeout='3')  # wrong
pyjows.connect('ws://127.0.0.1', timeout=3, ping_timeout=None, headers={'a': 'b'})
pyjows.connect('ws://127.0.0.1', timout=3)  # wrong
pyjows.connect('ws://127.0.0.1', max_backlog='3')  # wrong
pyjows.reconnect('ws://127.0.0.1', stable_after=3, timeout=3, tls=True)
pyjows.reconnect('ws://127.0.0.1', timout=3)  # wrong
pyjows.WebSocket(establishd=True)  # wrong
"""


@pytest.mark.slow
@pytest.mark.parametrize('checker', ['mypy', 'pyright'])
def test_type_checkers_know_handlers_and_options(checker, tmp_path):
    pytest.importorskip(checker)
    file = tmp_path / 'snippet.py'
    file.write_text(SNIPPET)
    command = ['mypy', '--strict', '--cache-dir', str(tmp_path / 'cache')] if checker == 'mypy' else ['pyright']
    where = ROOT if pyjows.__path__[0].startswith(str(ROOT)) else tmp_path
    ran = subprocess.run(
        [sys.executable, '-m', *command, str(file)], cwd=where, capture_output=True, text=True, timeout=300
    )
    refused = {int(line) for line in re.findall(r'snippet\.py:(\d+).*?error', ran.stdout)}
    wrong = {number for number, line in enumerate(SNIPPET.splitlines(), 1) if line.endswith('# wrong')}
    assert refused == wrong, ran.stdout + ran.stderr


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
