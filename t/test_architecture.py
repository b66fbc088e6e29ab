"""The house as `docs/architecture.md` draws it: floors, what they import, and the route of a message."""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import ROOT

import pyjows

PACKAGE = Path(pyjows.__file__).parent
PAGE = (ROOT / 'docs' / 'architecture.md').read_text()

#: No module up to the transaction does I/O or waits: these imports would.
IO_MODULES = {'asyncio', 'select', 'selectors', 'signal', 'socket', 'ssl', 'subprocess'}

MAX_LINES = 700


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts) or 'pyjows'


MODULES = {module_name(path): path for path in PACKAGE.rglob('*.py')}


@functools.cache
def imported(name: str) -> frozenset[str]:
    """What a module imports, anywhere in it and for types only, too; modules of pyjows without the package's name."""
    path = MODULES[name]
    package = ['pyjows', *name.split('.')] if name != 'pyjows' else ['pyjows']
    if path.stem != '__init__':
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = '.'.join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f'{module}.{alias.name}'.removeprefix('pyjows.')
                found.add(inner if inner in MODULES else module.removeprefix('pyjows.'))
    return frozenset(found - {name})


def imported_here(name: str) -> frozenset[str]:
    return imported(name) & MODULES.keys()


def below(name: str) -> set[str]:
    """All modules of pyjows that a module needs."""
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        new = {other for module in new for other in imported_here(module)} - found
    return found


def block_after(heading: str) -> list[str]:
    """The lines of the first code block after a heading."""
    after = PAGE[PAGE.index(f'## {heading}\n') :]
    return [line for line in after.split('```')[1].splitlines()[1:] if line.strip()]


# Floors


def floors() -> list[set[str]]:
    """The floors of the page, from the lowest."""
    lines = [re.fullmatch(r' *(\d+) +(.+)', line) for line in block_after('Floors')]
    assert all(lines)
    drawn = [(int(line[1]), set(re.split(r',\s*', line[2]))) for line in lines if line]
    assert [number for number, _ in drawn] == list(range(len(drawn)))[::-1], 'floors are numbered, the highest first'
    return [modules for _, modules in drawn][::-1]


def test_every_module_has_one_place_on_the_floors():
    drawn = list(itertools.chain(*floors()))
    assert sorted(drawn) == sorted(MODULES), 'docs/architecture.md: each module has one place there'


def test_a_module_imports_only_from_the_floors_below_its_own():
    floor_of = {module: number for number, modules in enumerate(floors()) for module in modules}
    wrong = [
        f'{module} (floor {floor_of[module]}) imports {other} (floor {floor_of[other]})'
        for module in MODULES
        for other in imported_here(module)
        if floor_of[other] >= floor_of[module]
    ]
    assert not wrong  # and so there is no circle


@pytest.mark.parametrize('top', ['protocol', 'transaction', 'connection'])
def test_nothing_up_to_the_transaction_does_io(top):
    for module in below(top):
        assert not imported(module) & IO_MODULES, f'{module}, which {top} needs, imports what does I/O'
        assert not re.search(r'\bsleep\b', MODULES[module].read_text()), f'{module} waits'


def test_no_file_is_too_long():
    long = {path.name: n for path in PACKAGE.rglob('*.py*') if (n := len(path.read_bytes().splitlines())) > MAX_LINES}
    sources = {name: n for name, n in long.items() if name.endswith(('.py', '.pyx', '.pxd'))}
    assert not sources


def test_what_only_some_programs_need_is_not_imported_with_pyjows():
    code = "import sys, pyjows; print(*{'email.utils', 'importlib.metadata', 'urllib.request'} & set(sys.modules))"
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, '-c', code], cwd=ROOT / 'examples', env=env).split() == []


# The state of a connection


def assigned_attributes(module: str) -> list[tuple[str, str, str]]:
    """The class (or ''), the object and the name of each attribute that a module assigns."""
    found = []

    def targets(node: ast.AST) -> Iterator[ast.Attribute]:
        given = getattr(node, 'targets', None) or [getattr(node, 'target', None)]
        for target in given:
            yield from (inner for inner in ast.walk(target) if isinstance(inner, ast.Attribute)) if target else ()

    def visit(node: ast.AST, name: str) -> None:
        name = node.name if isinstance(node, ast.ClassDef) else name
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete, ast.For, ast.NamedExpr)):
            found.extend((name, ast.unparse(target.value), target.attr) for target in targets(node))
        for inner in ast.iter_child_nodes(node):
            visit(inner, name)

    visit(ast.parse(MODULES[module].read_text()), '')
    return found


def test_only_protocol_assigns_the_state_of_a_connection():
    def is_protocols(module: str, name: str, owner: str) -> bool:
        """Whether an attribute may be the protocol's: it is not the class's own, or the class is a protocol."""
        made = getattr(importlib.import_module(f'pyjows.{module}'), name, object)
        return owner != 'self' or issubclass(made, pyjows.protocol.Protocol)

    found = {
        module: [f'{name or module}: {owner}.{attribute}' for name, owner, attribute in assigned]
        for module in sorted(MODULES)
        if (
            assigned := [
                (name, owner, attribute)
                for name, owner, attribute in assigned_attributes(module)
                if attribute in ('_state', 'state') and is_protocols(module, name, owner)
            ]
        )
    }
    assert set(found) == {'protocol'}, f'call open(), send_close(), fail() or receive_eof() instead: {found}'


# The route of a message

TRACE = """
import json, pathlib, sys
import pyjows
assert not pyjows.__compiled__
ROOT = pathlib.Path(pyjows.__file__).parent
routes = {}

def stack(frame):
    found = []
    while frame is not None:
        path = pathlib.Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            found.append([path.relative_to(ROOT).as_posix(), frame.f_code.co_qualname])
        frame = frame.f_back
    return found[::-1]

def profile(frame, event, arg):
    if event == 'call' and frame.f_code.co_name in ('write_frame', 'transmit'):
        routes.setdefault(frame.f_code.co_name, stack(frame))

loop = pyjows.IOLoop('poll')
server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop)

@server.on
def websocket(server, ws):
    @ws.on
    def text(ws, message):
        routes['handler'] = stack(sys._getframe())
        sys.setprofile(profile)
        ws.send(text=message)

client = pyjows.connect(f'ws://127.0.0.1:{server.ports[0]}', ioloop=loop)
client.on('open', lambda ws: ws.send(text='hi'))

@client.on
def text(ws, message):
    sys.setprofile(None)
    loop.stop()

loop.start()
loop.close()
print(json.dumps(routes))
"""


@pytest.fixture(scope='module')
def routes() -> dict[str, list[str]]:
    """The stack, from the reactor's call on, in which a handler is called, a frame is written, and bytes are sent."""
    ran = subprocess.run(
        [sys.executable, '-c', TRACE],
        cwd=ROOT / 'examples',
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'PYJOWS_PURE': '1'},
        capture_output=True,
        timeout=60,
        encoding='utf-8',
    )
    assert ran.returncode == 0, ran.stderr
    traced = {}
    for name, stack in json.loads(ran.stdout).items():
        calls = [f'{path} {function}' for path, function in stack]
        traced[name] = calls[calls.index('reactor/poll.py PollReactor._wait') :]
    return traced


def drawn_route(heading: str) -> list[str]:
    return [' '.join(line.split()[:2]) for line in block_after(heading)]


def classes(route: list[str]) -> list[str]:
    """The classes that a route enters, in order."""
    return [name for name, _ in itertools.groupby(call.split()[1].rpartition('.')[0] for call in route)]


def test_the_way_in_is_the_one_that_is_drawn(routes):
    assert drawn_route('The way in') == routes['handler']


def test_the_way_in_enters_each_class_once(routes):
    entered = classes(routes['handler'])
    assert len(set(entered)) == len(entered)


def test_the_way_out_is_the_one_that_is_drawn(routes):
    sent = routes['write_frame'][len(routes['handler']) :]
    read = routes['transmit'].index('ioloop/stream.py StreamCore._read')
    assert drawn_route('The way out') == sent + routes['transmit'][read + 1 :]


def test_the_way_out_enters_each_class_once(routes):
    sent = classes(routes['write_frame'][len(routes['handler']) :])
    assert len(set(sent)) == len(sent)


# Compiled

#: Private methods of compiled classes that are Python methods for a reason: uncompiled files call or override them, a
#: timer or another thread is given them to call, or they are generators and coroutines.
PYTHON_METHODS = {
    'EmitterCore': {
        '_call_for_coroutines',
        '_can_spawn',
        '_discard',
        '_emit_safely',
        '_await_handler',
        '_handler_failed',
        '_raise_later',
        '_spawn',
        '_spawner',
    },
    'HTTPConnection': {'_answer_later', '_resume', '_send_file'},
    'Inbox': {'_first_message', '_resume_unless_claimed'},
    'Listener': {'_accept_again', '_pause_and_retry'},
    'LoopThread': {'_run'},
    'MessageHandlers': {'_call_late'},
    'Opening': {'_answer_after', '_timed_out'},
    'ServerProtocol': {'_refusal', '_verified'},
    'StreamCore': {'_handler_failed', '_spawner', '_timed_out'},
    'TLSStreamCore': {'_read_again'},
    'TransactionCore': {
        '_callbacks_due',
        '_handler_failed',
        '_raise_later',
        '_send_handed_over',
        '_spawner',
    },
    'TransactionProtocol': {'_close_overdue', '_next_turn'},
    'WSConnection': {'_all_events'},
    'WireCore': {'_end_tcp', '_keep_alive', '_receivable', '_uncork', '_until', '_wait_until_writable'},
}


def declared(pxd: Path) -> dict[str, tuple[set[str], set[str]]]:
    """The C methods of each class in a .pxd, and the methods that are for Python, too."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    name = ''
    for line in pxd.read_text().splitlines():
        if head := re.match(r'cdef class (\w+)', line):
            name = head[1]
            found[name] = (set(), set())
        elif line and not line.startswith((' ', '@', '#')):
            name = ''
        elif name and (method := re.match(r' {4}(cdef|cpdef) [^=]*?(\w+)\(', line)):
            found[name][method[1] == 'cpdef'].add(method[2])
    return found


COMPILED = [
    pytest.param(pxd, id=module_name(pxd))
    for pxd in sorted(PACKAGE.rglob('*.pxd'))
    if pxd.with_suffix('.py').exists() and declared(pxd)
]


@pytest.mark.skipif(not pyjows.__compiled__, reason='there are C methods in the compiled form only')
@pytest.mark.parametrize('pxd', COMPILED)
def test_what_is_declared_as_a_c_method_is_one(pxd):
    module = importlib.import_module(f'pyjows.{module_name(pxd)}')
    for name, (methods, _) in declared(pxd).items():
        visible = {method for method in methods if hasattr(getattr(module, name), method)}
        assert not visible, f'{name} has these as Python methods'


@pytest.mark.skipif(not pyjows.__compiled__, reason='there are C methods in the compiled form only')
@pytest.mark.parametrize('pxd', COMPILED)
def test_no_private_method_of_a_compiled_class_was_forgotten_in_its_pxd(pxd):
    module = importlib.import_module(f'pyjows.{module_name(pxd)}')
    forgotten = {
        f'{name}.{method}'
        for name, (_, cpdef) in declared(pxd).items()
        for method, value in vars(getattr(module, name)).items()
        if re.fullmatch(r'_[a-z]\w*', method) and callable(value) and method not in cpdef
        if method not in PYTHON_METHODS.get(name, ())
    }
    assert not forgotten, 'declare them with cdef in the .pxd, or say in PYTHON_METHODS why Python calls them'
