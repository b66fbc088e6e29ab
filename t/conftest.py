"""What the tests share: every reactor there is, loops on them, and a look at what was left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, settings
from installed import prefer_installed

prefer_installed()  # `python -m pytest` in the clone tests what is installed

from amounts import EVERYTHING
from brokers import NatsServer, RedisServer
from gathering import Gathering, gatherings
from rewriting import shared_rewriting

import pyjows
from pyjows import reactor as reactors
from pyjows.reactor import Reactor

REACTORS = reactors.available()

#: Those that run coroutines.
SPAWNING = [name for name in REACTORS if name in ('asyncio', 'uvloop')]

_tests_run = count(1)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell has started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else the programs that they run would ignore Ctrl-C too


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that a quick look needs."""
    parser.addoption(
        '--reactor',
        choices=['first', *REACTORS],
        help=f'run tests on this reactor only; first: {REACTORS[0]}, or {SPAWNING[0]} for those of coroutines',
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """What `-n auto` means: two processes more than there are processors, as many tests wait for something."""
    return None if 'PYTEST_XDIST_AUTO_NUM_WORKERS' in os.environ else (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests for other reactors than `--reactor`, and, without `PYJOWS_TEST_ALL`, those marked `wide`.

    A test with the fixture `coroutines` is for the reactors that run them.
    """
    only = config.getoption('--reactor')

    def is_wanted(item: pytest.Item) -> bool:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, 'callspec') else {}
        reactor = next((value for value in params.values() if value in REACTORS), None)
        suitable = SPAWNING if 'coroutines' in getattr(item, 'fixturenames', ()) else REACTORS
        is_first = reactor in (None, suitable[0])
        if reactor is not None and (
            reactor not in suitable or (only and not (is_first if only == 'first' else reactor == only))
        ):
            return False
        return EVERYTHING or not any(_is_wide(marker, params, is_first) for marker in item.iter_markers('wide'))

    wanted, unwanted = [], []
    for item in items:
        (wanted if is_wanted(item) else unwanted).append(item)
    config.hook.pytest_deselected(items=unwanted)
    items[:] = wanted


def _is_wide(marker: pytest.Mark, params: dict[str, Any], is_first: bool) -> bool:
    """Whether a test with these parameters is too much for every day; pyproject.toml says what markers mean."""
    if not marker.kwargs:
        return True
    if is_first:
        return False
    return 'later' in marker.kwargs or any(params.get(name) in values for name, values in marker.kwargs.items())


def pytest_report_header() -> str:
    """Which pyjows is tested."""
    form = 'compiled' if pyjows.__compiled__ else 'interpreted'
    return f'pyjows: {pyjows.__version__}, {form}, {pyjows.__path__[0]}; reactors: {", ".join(REACTORS)}'


# A busy machine is slow at making up examples, and that says nothing about what they are for.
settings.register_profile(
    'patient', deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100 if EVERYTHING else 25
)
settings.register_profile('quick', settings.get_profile('patient'), max_examples=10)
settings.load_profile('patient')

if 'uvloop' in REACTORS:
    # libuv opens a pair of pipes for the whole process with its first loop, and keeps them: no leak of a test.
    reactors.choose('uvloop').close()


@pytest.fixture(params=REACTORS)
def reactor_name(request: pytest.FixtureRequest) -> str:
    """The name of a reactor; a test that uses it runs once for each that this machine has."""
    return str(request.param)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder for Unix sockets: their paths have 107 bytes at most, and those of `tmp_path` may be longer."""
    with tempfile.TemporaryDirectory(prefix='pyjows-', dir=None if os.name == 'nt' else '/tmp') as folder:
        yield Path(folder)


@pytest.fixture(scope='session')
def ipv6() -> None:
    """For a test that needs IPv6: skips it where the loopback interface has none."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError as exc:
        pytest.skip(f'no IPv6 here: {exc}')


@pytest.fixture
def file_limit() -> Iterator[int]:
    """How many files this process may open, and the programs that it starts: as many as the system lets it."""
    resource = pytest.importorskip('resource')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield max(soft, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def open_files() -> Callable[[], dict[int, str]]:
    """What this process has open: descriptors and what they are (nothing where the system does not tell)."""
    return _open_files


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails a test that leaves file descriptors open. Garbage collection does not count as closing."""
    before = _open_files()
    yield
    left = {fd: what for fd, what in _open_files().items() if before.get(fd) != what}
    assert not left, f'left open: {left}'


@pytest.fixture
def reactor(reactor_name: str, no_leaks: None) -> Iterator[Reactor]:
    """A reactor of its own, closed after the test."""
    reactor = reactors.choose(reactor_name)
    yield reactor
    reactor.close()


@pytest.fixture
def ioloop(reactor_name: str, no_leaks: None) -> Iterator[Any]:
    """An `IOLoop` of its own, closed after the test."""
    from pyjows.ioloop import IOLoop

    loop = IOLoop(reactor_name)
    yield loop
    loop.close()


@pytest.fixture
def run_until() -> Callable[..., None]:
    """``run_until(loop, condition)`` turns a loop or reactor until the condition holds; fails when 20 s did not do."""
    return _run_until


@pytest.fixture
def assert_idle() -> Callable[[Any], None]:
    """``assert_idle(loop)`` fails when a loop or reactor has connections, servers, timers or descriptors left."""
    return _assert_idle


@pytest.fixture
def server(ioloop: Any, run_until: Any, assert_idle: Any) -> Iterator[Any]:
    """A server of one URL, stopped after the test, which may leave nothing on the loop."""
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    yield server
    stopped: list[Any] = []
    server.on('finish', stopped.append)
    server.stop()
    run_until(ioloop, lambda: stopped and not ioloop.connections)
    assert_idle(ioloop)


@pytest.fixture
def ask(ioloop: Any, run_until: Any) -> Callable[..., bytes]:
    """``ask(server, request)`` says something over plain TCP; everything that is answered until the server hangs up."""

    def ask(server: Any, data: bytes) -> bytes:
        answer = bytearray()
        closed: list[Any] = []

        @ioloop.client(port=server.ports[0])
        def client(loop: Any, err: Any, stream: Any) -> None:
            assert err is None
            stream.on('read', lambda stream, data: answer.extend(data))
            stream.on('close', closed.append)
            stream.write(data)

        run_until(ioloop, lambda: closed)
        return bytes(answer)

    return ask


def _open_files() -> dict[int, str]:
    folder = Path('/proc/self/fd')
    found = {}
    if sys.platform == 'linux' and folder.exists():
        for entry in list(folder.iterdir()):
            try:
                found[int(entry.name)] = os.readlink(entry)
            except OSError:
                pass  # the one that lists the folder
    return found


def _run_until(loop: Any, condition: Callable[[], object], seconds: float = 20) -> None:
    until = monotonic() + seconds
    pulse = loop.recurring(lambda _: None, 0.05)  # what a coroutine does is no event that would end a tick
    while not condition():
        assert monotonic() < until, f'{condition} did not become true within {seconds} s'
        loop.one_tick()
    loop.remove(pulse)


def _assert_idle(loop: Any) -> None:
    reactor = getattr(loop, 'reactor', loop)
    assert not reactor.statistics()['descriptors'], f'descriptors still watched: {reactor}'
    assert not reactor.statistics()['timers'], f'timers left: {reactor}'
    if reactor is not loop:
        assert not loop.connections, f'connections left: {loop.connections}'
        assert not loop.acceptors, f'servers left: {loop.acceptors}'


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collect the tests without collecting garbage: they make next to none.

    Then take the suite itself out of what each `gc.collect()` of a test looks through: that took half of the time.
    """
    gc.disable()
    with shared_rewriting(session.config):
        result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_runtest_logfinish() -> None:
    """Every 50 tests, take the reports and caches that have piled up out of the garbage collector's way too."""
    if next(_tests_run) % 50 == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture
def coroutines() -> None:
    """For a test that needs a reactor which runs coroutines: on others there is no such test."""


@pytest.fixture
def run(ioloop: Any, run_until: Any, coroutines: None) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """``run(coroutine)`` runs a coroutine on the loop, and returns what it returns."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(15):
                return await coroutine

        task = ioloop.reactor.loop.create_task(bounded())
        run_until(ioloop, task.done)
        return task.result()

    return run


@pytest.fixture
def servers(ioloop: Any, run_until: Any, assert_idle: Any) -> Iterator[list[Any]]:
    """A list for a test's servers on its loop: they are stopped afterwards, and may leave nothing on it."""
    servers: list[Any] = []
    yield servers
    finished: list[Any] = []
    for server in servers:
        server.on('finish', finished.append)
        server.stop()
    run_until(ioloop, lambda: len(finished) == len(servers) and not ioloop.connections)
    assert_idle(ioloop)


@pytest.fixture(scope='session')
def authority() -> trustme.CA:
    """Who signs the certificates of the tests."""
    return trustme.CA()


@pytest.fixture(scope='session')
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's context: a certificate for localhost and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost', '127.0.0.1').configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context: it trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope='module')
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests of a module."""
    server = RedisServer(tmp_path_factory.mktemp('redis'))
    yield server
    server.kill()


@pytest.fixture(scope='module')
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server for all tests of a module."""
    server = NatsServer(tmp_path_factory.mktemp('nats'))
    yield server
    server.kill()


@pytest.fixture(params=['memory', 'redis', 'nats'])
def url(request: pytest.FixtureRequest) -> str:
    """For each engine of rooms, the URL; Redis is empty at first."""
    if request.param == 'memory':
        return 'memory://'
    server: RedisServer | NatsServer = request.getfixturevalue(request.param)
    if isinstance(server, RedisServer):
        server.ask('FLUSHALL')
    return server.url


@pytest.fixture
def gather(
    request: pytest.FixtureRequest, ioloop: Any, run_until: Any, assert_idle: Any, redis: RedisServer
) -> Iterator[Callable[..., Gathering]]:
    """``gather()`` makes rooms over that Redis, with the options `QUICK` of the module; Redis is empty at first."""
    redis.ask('FLUSHALL')
    with gatherings(ioloop, run_until, assert_idle, redis.url, **request.module.QUICK) as gather:
        yield gather
