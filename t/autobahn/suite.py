"""Finds `wstest`, runs it as a client or as a server, and reads the verdicts out of its reports.

This file knows the Autobahn test suite and nothing of pyjows: what is tested is a URL, or whoever calls one. `wstest`
gives two verdicts a case: on what the peer did (`behaviour`) and on how the connection ended (`closing`).
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ['INFORMATIONAL', 'MISSING', 'Suite', 'SuiteError', 'Verdict', 'chunks', 'find_wstest']

#: The cases without a right answer: 7.1.6 (256 KiB, then at once a close), 7.13.1 and 7.13.2 (close codes above 4999).
INFORMATIONAL = frozenset({'7.1.6', '7.13.1', '7.13.2'})

#: The verdict on a case that was asked for and is not in the report: `wstest` or the peer ended before it.
MISSING = 'MISSING'

# A case may take 480 s by the suite's own rules before it is failed. A chunk that takes longer than this hangs.
_CHUNK_TIMEOUT = 1800.0
_START_TIMEOUT = 30.0


class SuiteError(Exception):
    """`wstest` did not do what it was asked; the message has the end of its output."""


@dataclass(frozen=True)
class Verdict:
    """What `wstest` says about one case."""

    case: str
    behaviour: str
    closing: str
    report: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether both verdicts are OK, or INFORMATIONAL where the suite judges nobody. NON-STRICT is not OK."""
        good = {'OK', 'INFORMATIONAL'} if self.case in INFORMATIONAL else {'OK'}
        return self.behaviour in good and self.closing in good

    @property
    def informational(self) -> bool:
        """Whether this is one of the cases that have no right answer."""
        return self.ok and 'INFORMATIONAL' in (self.behaviour, self.closing)


def find_wstest() -> str | None:
    """The path of a `wstest` that works, or `None`.

    Looked for in the environment variable `WSTEST` (where it must be, then), on the `PATH`, where `install.sh` puts it,
    and in pyenv's Python 2.7. Raises `SuiteError` when `WSTEST` names something that does not work.
    """
    named = os.environ.get('WSTEST')
    if named:
        if not _works(named):
            raise SuiteError(
                f'WSTEST={named} is no wstest that works; unset it, or run t/autobahn/install.sh and name that one'
            )
        return named
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    pyenv = Path(os.environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    candidates = [
        shutil.which('wstest'),
        cache / 'pyjows/autobahn/bin/wstest',
        *sorted(pyenv.glob('versions/2.7.*/bin/wstest'), reverse=True),
    ]
    return next((str(path) for path in candidates if path and _works(path)), None)


def _works(path: str | os.PathLike[str]) -> bool:
    # A pyenv shim is there and executable even when no Python has a wstest behind it: only running it tells.
    try:
        return subprocess.run([path, '--autobahnversion'], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def chunks(cases: Sequence[str]) -> list[list[str]]:
    """`cases` in pieces that can run beside each other, those that take longest first.

    The compression cases take minutes where the others take seconds, so they are cut by their second number as well.
    """
    pieces: dict[tuple[int, ...], list[str]] = {}
    for case in cases:
        numbers = [int(part) for part in case.split('.')]
        pieces.setdefault(tuple(numbers[: 2 if numbers[0] in (12, 13) else 1]), []).append(case)
    return [pieces[key] for key in sorted(pieces, reverse=True)]


class Suite:
    """One installation of `wstest`, writing its reports below `folder`."""

    def __init__(self, wstest: str, folder: Path) -> None:
        self.wstest = wstest
        self.folder = folder
        self._running: set[subprocess.Popen[bytes]] = set()

    def kill(self) -> None:
        """End every process that was started here; the calls that wait for one return, or raise `SuiteError`."""
        for process in list(self._running):
            process.kill()

    def cases(self, patterns: Sequence[str]) -> list[str]:
        """The numbers of the cases that `patterns` (`'1.*'`, `'7.9.3'`, `'*'`) name, in the suite's order.

        Raises `SuiteError` for a pattern that names none.
        """
        everything = self._resolve(['*'])
        wrong = [pattern for pattern in patterns if '*' not in pattern and pattern not in everything]
        if wrong:
            raise SuiteError(f'no case {", ".join(wrong)} in the suite; patterns look like 1.* or 12.1.* or 7.9.3')
        chosen = self._resolve(patterns)
        if not chosen:
            raise SuiteError(f'no case matches {", ".join(patterns)}; patterns look like 1.* or 12.1.* or 7.9.3')
        return chosen

    def test_server(self, url: str, cases: Sequence[str], name: str) -> list[Verdict]:
        """The verdicts on the echo server at `url`, for `cases`. The reports go to the folder `name`."""
        spec = {'servers': [{'agent': 'pyjows', 'url': url}], 'cases': list(cases)}
        with self._start('fuzzingclient', spec, name) as wstest:
            try:
                wstest.wait(_CHUNK_TIMEOUT)
            except subprocess.TimeoutExpired:
                wstest.terminate()
        return self._verdicts(cases, name)

    def test_client(
        self, command: Sequence[str], env: dict[str, str], cases: Sequence[str], name: str
    ) -> list[Verdict]:
        """The verdicts on the client started by `command` and the URL of a fuzzing server, for `cases`."""
        port = _free_port()
        url = f'ws://127.0.0.1:{port}'
        with self._start('fuzzingserver', {'url': url, 'cases': list(cases)}, name) as wstest:
            self._wait_for(port, wstest, name)
            log = self.folder / name / 'client.log'
            with log.open('wb') as output:
                client = subprocess.Popen([*command, url], env=env, stdout=output, stderr=output)
                self._running.add(client)
                try:
                    client.wait(_CHUNK_TIMEOUT)
                except subprocess.TimeoutExpired:
                    client.kill()
                    client.wait()
                finally:
                    self._running.discard(client)
            if client.returncode != 0:
                raise SuiteError(f'the client ended with {client.returncode}:\n{_tail(log)}')
        return self._verdicts(cases, name)

    def _resolve(self, patterns: Sequence[str]) -> list[str]:
        # wstest has no way to list its cases, but says what it would run before it finds that nobody listens on port 1.
        nobody = [{'agent': 'nobody', 'url': 'ws://127.0.0.1:1'}]
        with self._start('fuzzingclient', {'servers': nobody, 'cases': list(patterns)}, 'cases') as wstest:
            wstest.wait(_START_TIMEOUT)
        log = self.folder / 'cases' / 'wstest.log'
        for line in log.read_text().splitlines():
            if line.startswith('Cases = '):
                return list(ast.literal_eval(line.removeprefix('Cases = ')))
        raise SuiteError(f'{self.wstest} does not say which cases it has:\n{_tail(log)}')

    @contextmanager
    def _start(self, mode: str, spec: dict[str, object], name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A running `wstest` in `mode`; it is gone when the block is left."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / 'spec.json'
        path.write_text(json.dumps({'outdir': str(folder), 'options': {'failByDrop': False}, **spec}))
        command = [self.wstest, '--mode', mode, '--spec', str(path), '--webport', '0']
        with (folder / 'wstest.log').open('wb') as log:
            wstest = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env={**os.environ, 'PYTHONUNBUFFERED': '1'}
            )
            self._running.add(wstest)
            try:
                yield wstest
            finally:
                self._running.discard(wstest)
                if wstest.poll() is None:
                    wstest.kill()
                wstest.wait()

    def _wait_for(self, port: int, wstest: subprocess.Popen[bytes], name: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and wstest.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SuiteError(f'wstest does not listen on port {port}:\n{_tail(self.folder / name / "wstest.log")}')

    def _verdicts(self, cases: Sequence[str], name: str) -> list[Verdict]:
        folder = self.folder / name
        index = folder / 'index.json'
        agents = json.loads(index.read_text()) if index.exists() else {}
        reports: dict[str, dict[str, str]] = next(iter(agents.values()), {})
        verdicts = []
        for case in cases:
            report = reports.get(case)
            if report is None:
                verdicts.append(Verdict(case, MISSING, MISSING, folder / 'wstest.log'))
            else:
                page = folder / report['reportfile']
                verdicts.append(Verdict(case, report['behavior'], report['behaviorClose'], page))
        return verdicts


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def _tail(path: Path, lines: int = 15) -> str:
    return '\n'.join(path.read_text(errors='replace').splitlines()[-lines:])
