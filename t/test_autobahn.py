"""The machinery of `t/autobahn/`, without the suite itself: what counts as passed, and the programs that are tested."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import websockets.sync.client
import websockets.sync.server
from background import TIMEOUT, until
from installed import ROOT, RUN

import pyjows
from pyjows.reactor import available
from t.autobahn import FACES, SKIPPED
from t.autobahn import __main__ as command
from t.autobahn.suite import SuiteError, Verdict, chunks, find_wstest

pytestmark = pytest.mark.slow

BUILD = 'compiled' if pyjows.__compiled__ else 'interpreted'

#: What is tested: the transaction on every reactor that is here, and the faces without I/O.
TESTEES = [
    *(
        pytest.param(['--reactor', reactor], id=reactor, marks=[pytest.mark.wide] if number else [])
        for number, reactor in enumerate(available())
    ),
    *(pytest.param(['--face', face], id=face) for face in FACES if face != 'transaction'),
]


def program(module: str, *arguments: str) -> list[str]:
    return [sys.executable, '-P', '-c', RUN, str(ROOT), module, *arguments]


@pytest.fixture
def environment() -> dict[str, str]:
    """For a process that is to import the same pyjows as this one."""
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize(
    ('verdict', 'ok'),
    [
        (Verdict('1.1.1', 'OK', 'OK'), True),
        (Verdict('6.4.1', 'NON-STRICT', 'OK'), False),
        (Verdict('6.4.1', 'OK', 'FAILED'), False),
        (Verdict('5.1', 'OK', 'UNCLEAN'), False),
        (Verdict('7.1.6', 'INFORMATIONAL', 'INFORMATIONAL'), True),
        (Verdict('7.1.6', 'FAILED', 'INFORMATIONAL'), False),
        (Verdict('1.1.1', 'INFORMATIONAL', 'OK'), False),
        (Verdict('12.1.1', 'UNIMPLEMENTED', 'OK'), False),
        (Verdict('12.1.1', 'MISSING', 'MISSING'), False),
    ],
)
def test_only_ok_and_what_the_suite_does_not_judge_is_ok(verdict: Verdict, ok: bool) -> None:
    assert verdict.ok is ok


def test_chunks_have_every_case_once_and_the_long_ones_first() -> None:
    cases = ['1.1.1', '1.2.8', '9.1.1', '9.8.6', '12.1.1', '12.1.18', '12.2.1', '13.7.18']
    pieces = chunks(cases)
    assert sorted(case for piece in pieces for case in piece) == sorted(cases)
    assert pieces[0] == ['13.7.18']
    assert pieces[-1] == ['1.1.1', '1.2.8']


def test_a_wstest_that_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('WSTEST', '/bin/false')
    with pytest.raises(SuiteError, match='/bin/false'):
        find_wstest()


def test_a_row_of_the_table_counts_each_kind_of_verdict() -> None:
    row = command.Row('server', 'transaction', 'poll', BUILD)
    row.verdicts = [
        Verdict('1.1.1', 'OK', 'OK'),
        Verdict('6.4.1', 'NON-STRICT', 'OK'),
        Verdict('6.4.2', 'FAILED', 'OK'),
        Verdict('7.1.6', 'INFORMATIONAL', 'INFORMATIONAL'),
    ]
    assert row.cells()[:9] == ['server', 'transaction', 'poll', BUILD, '4', '1', '1', '1', '1']
    table = command.table([row])
    assert '6.4.1: behaviour NON-STRICT' in table
    assert '6.4.2: behaviour FAILED' in table
    assert '1.1.1' not in table


def test_a_row_without_a_reactor_is_named_without_one() -> None:
    assert command.Row('server', 'transaction', 'poll', BUILD).name == f'server-transaction-poll-{BUILD}'
    assert command.Row('client', 'frames', '-', BUILD).name == f'client-frames-{BUILD}'


@pytest.mark.parametrize('testee', TESTEES)
def test_the_server_echoes_and_ends_with_its_standard_input(testee: list[str], environment: dict[str, str]) -> None:
    server = subprocess.Popen(
        program('t.autobahn.server', *testee, '--build', BUILD),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin
    assert server.stdout
    try:
        assert server.stdout.readline().decode().strip() == pyjows.__file__
        url = server.stdout.readline().decode().split()[-1]
        with websockets.sync.client.connect(url, max_size=None) as ws:
            assert ws.protocol.extensions, 'it takes an offer of permessage-deflate'
            for message in ('text', b'bytes', 'x' * (16 << 20)):
                ws.send(message)
                assert ws.recv(TIMEOUT) == message
        server.stdin.close()
        assert server.wait(TIMEOUT) == 0
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()


def test_a_process_that_is_not_what_was_asked_for_says_so(environment: dict[str, str]) -> None:
    other = 'interpreted' if BUILD == 'compiled' else 'compiled'
    ended = subprocess.run(
        program('t.autobahn.server', '--reactor', 'poll', '--build', other),
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert ended.returncode == SKIPPED
    assert BUILD in ended.stderr


class FuzzingServer:
    """What `wstest --mode fuzzingserver` is to a client, with two cases that want their message back."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.echoed: list[str | bytes] = []
        self.server = websockets.sync.server.serve(self.handle, '127.0.0.1', 0)
        self.url = f'ws://127.0.0.1:{self.server.socket.getsockname()[1]}'
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def handle(self, ws: websockets.sync.server.ServerConnection) -> None:
        assert ws.request
        url = urlsplit(ws.request.path)
        self.calls.append(url.path)
        if url.path == '/getCaseCount':
            ws.send('2')
        elif url.path == '/runCase':
            message = {'1': 'text', '2': b'bytes'}[parse_qs(url.query)['case'][0]]
            ws.send(message)
            self.echoed.append(ws.recv(TIMEOUT))

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join(TIMEOUT)


@pytest.fixture
def fuzzing_server() -> Iterator[FuzzingServer]:
    server = FuzzingServer()
    yield server
    server.stop()


@pytest.mark.parametrize('testee', TESTEES)
def test_the_client_goes_through_all_cases_and_has_the_reports_written(
    testee: list[str], environment: dict[str, str], fuzzing_server: FuzzingServer
) -> None:
    ended = subprocess.run(
        program('t.autobahn.client', *testee, '--build', BUILD, fuzzing_server.url),
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, '')
    assert ended.stdout == '2 cases\n'
    until(lambda: len(fuzzing_server.calls) == 4, 'the four calls')
    assert fuzzing_server.calls == ['/getCaseCount', '/runCase', '/runCase', '/updateReports']
    assert fuzzing_server.echoed == ['text', b'bytes']
