"""The tasks: `nox -l` lists them, `nox -s NAME` runs one, `nox` runs those that a change needs before it is proposed.

Most run in the environment that nox itself is in (`pip install -e '.[dev]'`), and so start at once. `test-compiled` and
`test-interpreted` make environments of their own. The gate (`.ci/run`) runs these same tasks.
"""

import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = '>=2025.5.1'
nox.options.sessions = ['lint', 'types', 'docs', 'test-fast']
nox.options.error_on_missing_interpreters = True

QUICK = 'not slow and not wide'
PYTHONS = ['3.11', '3.12', '3.13']


def here(session: nox.Session, module: str, *args: str, **env: str) -> None:
    """Run a module with the Python that runs nox."""
    session.run(sys.executable, '-m', module, *args, *session.posargs, env=env or None, external=True)


def task(name: str):
    """A session without an environment of its own."""
    return nox.session(name=name, venv_backend='none')


@task('test-fast')
def test_fast(session: nox.Session) -> None:
    """One reactor; no browser, no builds, no other programs: a minute."""
    here(session, 'pytest', '-q', '-n', 'auto', '--reactor=first', '--hypothesis-profile=quick', '-m', QUICK)


@task('test')
def test(session: nox.Session) -> None:
    """What the README says: every reactor; with PYJOWS_TEST_ALL=1 the widest cross products too."""
    here(session, 'pytest', '-q', '-n', 'auto')


@task('lint')
def lint(session: nox.Session) -> None:
    """The style, and one format for the whole tree."""
    here(session, 'ruff', 'check', '.')
    here(session, 'ruff', 'format', '--check', '.')


@task('types')
def types(session: nox.Session) -> None:
    """mypy --strict: the package and the examples, as pyproject.toml says; pyright: what a user's program is told."""
    here(session, 'mypy')
    here(session, 'pyright', '--pythonpath', sys.executable, 't/typed_program.py')


@task('docs')
def docs(session: nox.Session) -> None:
    """Snippets run, links lead somewhere, each requirement names a test that is there."""
    here(session, 'pytest', '-q', 't/test_readme.py', 't/test_docs.py', 't/test_conformance.py')


@task('site')
def site(session: nox.Session) -> None:
    """The documentation as a site, in site/ (needs the extra `docs`); a link that leads nowhere is an error."""
    here(session, 'mkdocs', 'build', NO_MKDOCS_2_WARNING='1')  # with -q, strict sees no warning


@task('bench-quick')
def bench_quick(session: nox.Session) -> None:
    """One short run of each scenario: does it work, not how fast is it (needs the extra `bench`)."""
    here(session, 'bench', '--quick')


@task('build')
def build(session: nox.Session) -> None:
    """Compile what has changed, beside the sources, for an editable install."""
    session.run(sys.executable, 'setup.py', '-q', 'build_ext', '--inplace', external=True)


@nox.session(name='test-compiled', python=PYTHONS)
def test_compiled(session: nox.Session) -> None:
    """All tests in a fresh environment, on the compiled build."""
    test_installed(session, compiled=True)


@nox.session(name='test-interpreted', python=PYTHONS)
def test_interpreted(session: nox.Session) -> None:
    """All tests in a fresh environment in which no C compiler works."""
    test_installed(session, compiled=False)


def test_installed(session: nox.Session, compiled: bool) -> None:
    """Install from a copy of the sources, so that no build sees the files of another, then run the tests."""
    source = Path(session.virtualenv.location, 'source')
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree('pyjows', source / 'pyjows', ignore=shutil.ignore_patterns('*.so', '*.pyd', '__pycache__'))
    for name in ('LICENSE', 'MANIFEST.in', 'README.md', 'pyproject.toml', 'setup.py'):
        shutil.copy(name, source)
    session.install(f'{source}[test]', env=None if compiled else {'CC': '/bin/false'})
    with session.chdir(source.parent):
        session.run('python', '-c', f'import pyjows; assert pyjows.__compiled__ is {compiled}, pyjows.__compiled__')
    session.run('pytest', '-n', 'auto', *session.posargs)


@task('autobahn')
def autobahn(session: nox.Session) -> None:
    """The Autobahn test suite, in both roles: every case on epoll, cases 1 to 7 and 10 elsewhere."""
    core = '1.*,2.*,3.*,4.*,5.*,6.*,7.*,10.*'
    for face, options in (
        ('transaction', ['--reactors', 'epoll', '--builds', 'compiled']),
        ('transaction', ['--reactors', 'poll,asyncio,uvloop', '--builds', 'compiled', '--cases', core]),
        ('transaction', ['--reactors', 'poll', '--builds', 'interpreted', '--cases', core]),
        ('frames,events', ['--builds', 'compiled', '--cases', f'{core},9.*']),
    ):
        here(session, 't.autobahn', '--faces', face, *options)
