"""The hot modules in their two forms: compiled where there is a compiler, interpreted where not or on request."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from program import ROOT

pytestmark = pytest.mark.slow


def python(*args, cwd, **env):
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd, env={**os.environ, **env}, check=True, timeout=600,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8',
    ).stdout  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, tmp_path)
    ignored = shutil.ignore_patterns('*.so', '*.pyd', '*.c', '__pycache__')
    shutil.copytree(ROOT / 'pyjows', tmp_path / 'pyjows', ignore=ignored)
    return tmp_path


def extension_modules(folder):
    return [path for suffix in ('.so', '.pyd') for path in folder.rglob(f'*{suffix}')]


@pytest.mark.wide
def test_a_compiler_that_fails_leaves_the_interpreted_form_and_one_line_about_it(checkout):
    for path in [*(checkout / 'pyjows').rglob('*.pxd'), *(checkout / 'pyjows').rglob('*.pyx')]:
        if path.stem not in ('__init__', 'memory', 'buffers'):
            path.unlink()  # one module is enough to fail with
    output = python('setup.py', '-q', 'build_ext', '--inplace', cwd=checkout, CC='/bin/false', PYJOWS_PURE='0')
    lines = [line for line in output.splitlines() if line.startswith('pyjows: ')]
    assert len(lines) == 1
    assert '/bin/false' in lines[0] and 'the interpreted form is installed' in lines[0]
    assert extension_modules(checkout) == []


def test_asked_for_the_interpreted_form_the_build_compiles_nothing(checkout):
    output = python('setup.py', '-q', 'build_ext', '--inplace', cwd=checkout, PYJOWS_PURE='1')
    assert 'pyjows: ' not in output
    assert extension_modules(checkout) == []


def test_a_wheel_has_the_sources_the_types_and_no_generated_c(checkout):
    python('setup.py', '-q', 'bdist_wheel', cwd=checkout, PYJOWS_PURE='1')
    (wheel,) = (checkout / 'dist').glob('*.whl')
    assert wheel.name.endswith('-py3-none-any.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {path.relative_to(checkout).as_posix() for path in (checkout / 'pyjows').rglob('*') if path.is_file()}
    assert sources <= names
    assert 'pyjows/py.typed' in names and 'pyjows/frames.pxd' in names
    assert not [name for name in names if name.endswith('.c')]
    assert {name.split('/')[0].split('-')[0] for name in names} == {'pyjows'}


def test_at_run_time_the_interpreted_form_can_be_chosen(tmp_path):
    code = 'import pyjows, pyjows.frames as frames; print(pyjows.__compiled__, frames.__file__.endswith(".py"))'
    path = os.pathsep.join(sys.path)
    assert python('-c', code, cwd=tmp_path, PYTHONPATH=path, PYJOWS_PURE='1').split() == ['False', 'True']


def test_a_module_that_is_only_compiled_cannot_be_imported_among_interpreted_ones(tmp_path):
    package = tmp_path / 'pyjows'
    package.mkdir()
    shutil.copy(ROOT / 'pyjows' / '_build.py', package)
    (package / '__init__.py').write_text('from . import _build; _build.prefer_source()')
    with pytest.raises(subprocess.CalledProcessError) as error:
        python('-c', 'import pyjows.epoll', cwd=tmp_path)
    assert 'ModuleNotFoundError: pyjows.epoll has no interpreted form' in error.value.output
