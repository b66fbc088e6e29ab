"""The command: each face in both roles, on every reactor and build, against `wstest`; a table; what is not OK.

    python -m t.autobahn
    python -m t.autobahn --cases '1.*,2.*' --roles server --reactors epoll,poll --builds compiled,interpreted --jobs 2
    python -m t.autobahn --faces frames,events --builds compiled

A face is the shape in which a program uses the protocol: the transaction (`pyjows.serve`, `pyjows.connect`), frames
(`pyjows.sansio`) or events (`pyjows.connection`). The latter two do no I/O: they have no reactor.

Exits with 0 when every case of every row is OK or INFORMATIONAL, with 1 when one is not (NON-STRICT is not), with 2
when the options are wrong, or when pyjows or `wstest` is not installed. A reactor or a build that is not here is named
as skipped. A row that was skipped is a failure too with `PYJOWS_TEST_ALL=1`, or where no other row ran. There is no row
for the native reactor in the interpreted build, which has none.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from t.autobahn import BUILDS, FACES, REACTORS, SKIPPED
from t.autobahn.suite import MISSING, Suite, SuiteError, Verdict, chunks, find_wstest
from t.installed import ROOT, RUN, require

_ROLES = ('server', 'client')
_COLUMNS = ('role', 'face', 'reactor', 'build', 'cases', 'OK', 'info', 'non-strict', 'failed', 'again', 'seconds')


#: Tests the cases for a row and writes the reports to the folder of that name.
Test = Callable[[Suite, Sequence[str], str], list[Verdict]]


class Skipped(Exception):
    """A row that cannot run here; the message says what is missing."""


@dataclass
class Row:
    """One line of the table: a role of a face, on a reactor ('-' where the face has none), in a build."""

    role: str
    face: str
    reactor: str
    build: str
    verdicts: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0
    skipped: str = ''
    broken: str = ''
    package: str = ''
    again: int = 0

    @property
    def name(self) -> str:
        return '-'.join(word for word in (self.role, self.face, self.reactor, self.build) if word != '-')

    @property
    def not_ok(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.ok]

    def cells(self) -> list[str]:
        """The row as text, in the order of the columns."""
        info = sum(verdict.informational for verdict in self.verdicts)
        loose = sum({v.behaviour, v.closing} == {'OK', 'NON-STRICT'} for v in self.not_ok)
        counts = [
            len(self.verdicts),
            len(self.verdicts) - len(self.not_ok) - info,
            info,
            loose,
            len(self.not_ok) - loose,
        ]
        what = [self.role, self.face, self.reactor, self.build]
        return [*what, *map(str, counts), str(self.again), f'{self.seconds:.0f}']


def main() -> int:
    """Run the command; returns its exit code."""
    options = _options()
    require('autobahn', 'test')
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that everything started is ended
    strict = os.environ.get('PYJOWS_TEST_ALL') == '1'
    try:
        wstest = find_wstest()
    except SuiteError as exc:
        print(f'autobahn: {exc}', file=sys.stderr)
        return 2
    if wstest is None:
        print(
            'autobahn: there is no wstest here; install it, or name one (WSTEST=/path/to/wstest):\n'
            f'    {ROOT}/t/autobahn/install.sh',
            file=sys.stderr,
        )
        return 2

    folder = Path(options.reports or tempfile.mkdtemp(prefix='pyjows-autobahn-')).resolve()
    suite = Suite(wstest, folder)
    try:
        cases = suite.cases(options.cases)
    except SuiteError as exc:
        print(f'autobahn: {exc}', file=sys.stderr)
        return 2

    rows = [
        Row(role, face, reactor, build)
        for face in options.faces
        for role, reactor, build in product(
            options.roles, options.reactors if face == 'transaction' else ('-',), options.builds
        )
        if (reactor, build) != ('epoll', 'interpreted')
    ]
    for row in rows:
        _run(row, suite, cases, options.jobs)
    print(table(rows))
    skipped = sum(bool(row.skipped) for row in rows)
    good = not any(row.not_ok for row in rows) and skipped < (1 if strict else len(rows))
    if options.reports or any(row.not_ok for row in rows):
        print(f'\nreports: {folder}')
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


def _options() -> argparse.Namespace:
    def listed(known: Sequence[str] = ()) -> Callable[[str], list[str]]:
        def split(text: str) -> list[str]:
            values = [value.strip() for value in text.split(',') if value.strip()]
            wrong = [value for value in values if known and value not in known]
            if wrong or not values:
                raise argparse.ArgumentTypeError(f'{text!r}: a comma-separated list of {", ".join(known) or "cases"}')
            return values

        return split

    parser = argparse.ArgumentParser(prog='python -m t.autobahn', description='pyjows against the Autobahn test suite')
    parser.add_argument(
        '--cases', type=listed(), default=['*'], metavar='LIST', help="such as '1.*,12.1.*,7.9.3' (all)"
    )
    for name, known in (('faces', FACES), ('roles', _ROLES), ('reactors', REACTORS), ('builds', BUILDS)):
        parser.add_argument(f'--{name}', type=listed(known), default=list(known), metavar='LIST', help=', '.join(known))
    jobs = (os.cpu_count() or 1) + 1  # one and what it tests wait for each other
    parser.add_argument(
        '--jobs', type=int, default=jobs, help=f'so many wstest beside each other ({jobs}, one more than processors)'
    )
    parser.add_argument(
        '--reports', metavar='FOLDER', help='keep the reports there (else kept only when something is not OK)'
    )
    return parser.parse_args()


def _run(row: Row, suite: Suite, cases: Sequence[str], jobs: int) -> None:
    """Fill in `row`: every case, in chunks, `jobs` of them at a time."""
    started = time.monotonic()
    pieces = chunks(cases)
    verdicts: dict[str, Verdict] = {}
    try:
        with _testee(row, suite.folder) as test, ThreadPoolExecutor(max(1, jobs)) as pool:
            running = {pool.submit(test, suite, piece, f'{row.name}/{piece[0]}'): piece for piece in pieces}
            try:
                for future in as_completed(running):
                    verdicts.update((verdict.case, verdict) for verdict in future.result())
                    _progress(f'{row.name}: {len(verdicts)} of {len(cases)}')
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                suite.kill()
                raise
            # The suite gives an answer half a second, which a busy machine may not. What a case says when nothing else
            # runs is what counts; the table tells how many were asked again.
            again = [verdict.case for verdict in verdicts.values() if not verdict.ok]
            row.again = len(again)
            if again:
                verdicts.update((verdict.case, verdict) for verdict in test(suite, again, f'{row.name}/again'))
    except Skipped as exc:
        row.skipped = str(exc)
    except SuiteError as exc:
        row.broken = str(exc)
    if not row.skipped:
        row.verdicts = [verdicts.get(case) or Verdict(case, MISSING, MISSING) for case in cases]
    row.seconds = time.monotonic() - started
    _progress('')
    print(_summary(row), file=sys.stderr, flush=True)


@contextmanager
def _testee(row: Row, folder: Path) -> Iterator[Test]:
    """What runs one chunk for `row`. A server runs as long as the row; a client is started anew for each chunk."""
    env = {**os.environ, 'PYJOWS_PURE': '1' if row.build == 'interpreted' else '0'}
    arguments = ['--face', row.face, '--build', row.build]
    if row.reactor != '-':
        arguments += ['--reactor', row.reactor]
    server = [sys.executable, '-P', '-c', RUN, str(ROOT), 't.autobahn.server', *arguments]
    client = [sys.executable, '-P', '-c', RUN, str(ROOT), 't.autobahn.client', *arguments]

    # The server says first what it is, then where it listens. A row of the client asks it the former only.
    log = folder / f'{row.name}.log'
    with log.open('wb') as errors:
        process = subprocess.Popen(server, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        row.package = process.stdout.readline().decode().strip()
        url = re.search(r'ws://\S+', process.stdout.readline().decode())
        if url is None:
            code, said = process.wait(), log.read_text().strip()
            if code == SKIPPED:
                raise Skipped(said)
            raise SuiteError(f'the server ended with {code}:\n{said}')

        def test_server(suite: Suite, cases: Sequence[str], name: str) -> list[Verdict]:
            return suite.test_server(url[0], cases, name)

        def test_client(suite: Suite, cases: Sequence[str], name: str) -> list[Verdict]:
            return suite.test_client(client, env, cases, name)

        yield test_server if row.role == 'server' else test_client
        if process.poll() is not None:
            raise SuiteError(
                f'the server ended with {process.returncode} in the middle of it:\n{log.read_text().strip()}'
            )
    finally:
        process.terminate()
        process.wait()


def _summary(row: Row) -> str:
    if row.skipped:
        return f'{row.name}: skipped'
    return f'{row.name}: {len(row.verdicts) - len(row.not_ok)} of {len(row.verdicts)} in {row.seconds:.0f} s'


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f'\r\x1b[K{line}')
        sys.stderr.flush()


def table(rows: Sequence[Row]) -> str:
    """All rows, with what is not OK and what was skipped below them."""
    ran = [row for row in rows if not row.skipped]
    lines = []
    if ran:
        cells = [list(_COLUMNS), *(row.cells() for row in ran)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
        for line in cells:
            words = [
                cell.ljust(width) if i < 4 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            lines.append('  '.join(words).rstrip())
    for row in ran:
        if row.broken:
            lines.append(f'BROKEN: {row.name}: {row.broken}')
        missing = [verdict.case for verdict in row.not_ok if verdict.behaviour == MISSING]
        if missing:
            lines.append(f'not OK: {row.name}: {len(missing)} cases without a verdict: {" ".join(missing)}')
        for verdict in row.not_ok:
            if verdict.behaviour == MISSING:
                continue
            what = f'behaviour {verdict.behaviour}, closing {verdict.closing}'
            lines.append(f'not OK: {row.name} {verdict.case}: {what}: {verdict.report}')
    lines += [f'tested: {package}' for package in sorted({row.package for row in ran if row.package})]
    lines += [f'SKIPPED: {row.name}: {row.skipped}' for row in rows if row.skipped]
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
