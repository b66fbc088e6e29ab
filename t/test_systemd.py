"""The units of `examples/systemd/`: what systemd says to them, and their commands with sockets that it hands over."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from background import accepts, free_port, until
from program import ROOT
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

UNITS = ROOT / 'examples' / 'systemd'
SERVICES = [path.stem for path in sorted(UNITS.glob('*.service'))]

# `systemd-socket-activate` passes on the environment only where it is told to.
PASSED_ON = [name for name in os.environ if name.startswith('PY')]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which('systemd-socket-activate'), reason='no systemd here (Debian: apt install systemd)'
    ),
]


def setting(unit: str, name: str) -> str:
    found = re.search(rf'^{name}=(.*)$', (UNITS / unit).read_text(), re.M)
    assert found, f'{unit} has no {name}'
    return found[1].replace('/srv/echo/.venv/bin/python', sys.executable).replace('--graceful 10', '--graceful 0.1')


@contextmanager
def activated(service: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The command of a service, started by the first connection to its socket; and the URL of that."""
    url = setting(f'{service}.socket', 'ListenStream').replace('3000', str(free_port()))
    passed_on = [word for name in PASSED_ON for word in ('-E', name)]
    command = ['systemd-socket-activate', '-l', url, *passed_on, *setting(f'{service}.service', 'ExecStart').split()]
    with subprocess.Popen(command, cwd=UNITS, stderr=subprocess.DEVNULL) as process:
        host, _, port = url.partition(':')

        def listens() -> bool:
            assert process.poll() is None
            return f'{int(port):04X} 00000000:0000 0A' in Path('/proc/net/tcp').read_text()  # a probe would start it

        try:
            until(listens, 'systemd-socket-activate')
            yield process, f'ws://{host}:{port}'
        finally:
            process.kill()


def worker(url: str) -> str | None:
    """The process that answers; None where it is about to stop."""
    with connect(url) as ws:
        try:
            ws.send('hi')
            return str(ws.recv(timeout=30)).removesuffix(': hi')
        except ConnectionClosedOK as exc:
            assert exc.rcvd is not None and exc.rcvd.code == 1001
            return None


@pytest.mark.parametrize('kind', ['service', 'socket'])
@pytest.mark.parametrize('service', SERVICES)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, service: str, kind: str) -> None:
    for path in UNITS.glob(f'{service}.*'):
        text = path.read_text().replace('/srv/echo/.venv/bin/python', sys.executable).replace('/srv/echo', str(UNITS))
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', tmp_path / f'{service}.{kind}'],
        env={**os.environ, 'SYSTEMD_UNIT_PATH': f'{tmp_path}:'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize('service', SERVICES)
def test_the_program_of_a_unit_serves_on_its_socket_until_it_is_stopped(service: str) -> None:
    with activated(service) as (process, url), connect(url) as ws:
        ws.send('hello')
        assert str(ws.recv(timeout=30)).endswith(': hello')
        process.terminate()
        with pytest.raises(ConnectionClosedOK) as closed:
            ws.recv(timeout=30)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert process.wait(30) == 0
        assert not accepts(int(url.rpartition(':')[2]))


def test_a_reload_of_the_unit_replaces_the_workers() -> None:
    with activated('echo-prefork') as (process, url):
        seen: set[str | None] = set()
        until(lambda: seen.add(worker(url)) or len(seen) == 2, 'both workers')
        reload = setting('echo-prefork.service', 'ExecReload').replace('$MAINPID', str(process.pid))
        subprocess.run(reload.split(), check=True)
        until(lambda: not {worker(url) for _ in range(20)} & {*seen, None}, 'new workers only')
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
