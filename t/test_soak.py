"""The soaks run, and hold, in their shortest form."""

from __future__ import annotations

import subprocess
import sys

import pytest
from program import ROOT

SOAK = [sys.executable, '-m', 't.soak']


@pytest.mark.slow
@pytest.mark.slow
def test_random_handlers_end_each_connection_once():
    done = subprocess.run(
        [*SOAK, 'handlers', '--seconds', '1', '--connections', '500'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert 'finish once for each' in done.stdout, done.stderr
    assert 'no connection is left' in done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith('FAILED') and 'memory' not in line]
    assert not failed, done.stdout
