"""A clone does not hide the installed build: the tools use what is installed, and `import pyjows` warns."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import ROOT

import pyjows

pytestmark = pytest.mark.slow

compiled = pytest.mark.skipif(not pyjows.__compiled__, reason='interpreted: there is no compiled install to hide')


def python(*args, cwd, path=True, **env):
    variables = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    if path:
        folders = [entry for entry in sys.path if entry and os.path.realpath(entry) != str(ROOT)]
        variables['PYTHONPATH'] = os.pathsep.join([*folders, *installed()])
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, env={**variables, **env}, timeout=60, capture_output=True, text=True
    )


def installed():
    """Where the pyjows that is tested lies, for a process that does not find it by itself."""
    return [os.path.dirname(os.path.dirname(pyjows.__file__))]


@pytest.fixture
def clone(tmp_path):
    """The files of a clone in which nothing was compiled."""
    ignored = shutil.ignore_patterns('*.so', '*.pyd', '__pycache__', 'results', '.build')
    for folder in ('pyjows', 'bench', 't'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


@compiled
def test_sources_in_front_of_a_compiled_install_are_named_in_one_warning(clone):
    ran = python('-c', 'import pyjows; print(pyjows.__compiled__, pyjows.__file__)', cwd=clone)
    assert ran.stdout.split() == ['False', str(clone / 'pyjows' / '__init__.py')]
    assert ran.stderr.count('RuntimeWarning') == 1
    assert str(clone) in ran.stderr and installed()[0] in ran.stderr and 'PYJOWS_PURE=1' in ran.stderr


@compiled
def test_whoever_asks_for_the_sources_is_not_warned(clone):
    ran = python('-c', 'import pyjows; print(pyjows.__compiled__)', cwd=clone, PYJOWS_PURE='1')
    assert (ran.stdout, ran.stderr) == ('False\n', '')


def test_sources_that_hide_nothing_are_imported_without_a_warning(clone):
    needed = clone / 'needed'
    needed.mkdir()
    for name in ('h11', 'pyee', 'typing_extensions'):
        file = Path(importlib.util.find_spec(name).origin)
        target = file.parent if file.stem == '__init__' else file
        (needed / target.name).symlink_to(target)
    code = 'import pyjows; print(pyjows.__compiled__)'
    ran = python('-S', '-c', code, cwd=clone, path=False, PYTHONPATH=str(needed), PYJOWS_PURE='0')
    assert (ran.stdout, ran.stderr) == ('False\n', '')


@compiled
@pytest.mark.parametrize('package', ['bench', 't.autobahn', 't.fuzz'])
def test_the_tools_of_a_clone_use_the_installed_build(clone, package):
    code = f'import {package}, pyjows; print(pyjows.__compiled__, {package}.__file__)'
    ran = python('-c', code, cwd=clone)
    assert ran.stdout.split() == ['True', str(clone.joinpath(*package.split('.'), '__init__.py'))], ran.stderr
    assert ran.stderr == ''


@compiled
def test_a_clone_that_is_named_in_pythonpath_was_chosen_on_purpose(clone):
    path = os.pathsep.join([str(clone), *sys.path[1:], *installed()])
    ran = python('-W', 'ignore', '-c', 'import bench, pyjows; print(pyjows.__compiled__)', cwd='/', PYTHONPATH=path)
    assert ran.stdout == 'False\n'


@compiled
def test_pytest_as_a_module_tests_the_installed_build(clone):
    (clone / 't' / 'test_which.py').write_text('import pyjows\ndef test_it(): assert pyjows.__compiled__\n')
    ran = python('-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-c', os.devnull, 't/test_which.py', cwd=clone)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ('command', 'line'),
    [
        ('bench', "pip install '.[bench]'"),
        ('bench.leak', "pip install '.[bench]'"),
        ('bench.picture', "pip install '.[bench]'"),
        ('t.autobahn', "pip install '.[test]'"),
        ('t.fuzz', "pip install '.[test]'"),
    ],
)
def test_a_tool_without_what_it_needs_ends_with_the_pip_line(clone, command, line):
    ran = python('-S', '-m', command, cwd=clone, path=False)
    assert ran.returncode == 2
    assert line in ran.stderr and 'Traceback' not in ran.stderr


def test_the_benchmarks_refuse_a_clone_that_is_neither_installed_nor_compiled(clone):
    code = 'from t.installed import require_compiled; require_compiled("bench", "bench"); print("goes on")'
    ran = python('-W', 'ignore', '-c', code, cwd=clone)
    assert (ran.returncode, ran.stdout) == (2, '')
    assert 'not compiled' in ran.stderr and "pip install '.[bench]'" in ran.stderr
    assert python('-c', code, cwd=clone, PYJOWS_PURE='1').stdout == 'goes on\n'
