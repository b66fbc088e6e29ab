"""The soaks run, and hold, in their shortest form."""

from __future__ import annotations

import subprocess
import sys

import pytest
from program import ROOT

SOAK = [sys.executable, '-m', 't.soak']


pytestmark = pytest.mark.slow


def soak(*arguments: str) -> list[str]:
    """The lines that a soak prints."""
    done = subprocess.run([*SOAK, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout, done.stderr
    return done.stdout.splitlines()


def test_random_handlers_end_each_connection_once():
    lines = soak('handlers', '--seconds', '1', '--connections', '500')
    assert any('finish once for each' in line for line in lines), lines
    assert any('no connection is left' in line for line in lines), lines
    assert not [line for line in lines if line.startswith('FAILED') and 'memory' not in line], lines


@pytest.mark.parametrize('graceful', ['0', '0.2'])
def test_nothing_is_lost_in_a_graceful_restart(graceful):
    lines = soak('reload', '--connections', '300', '--messages', '20', '--seconds', '2', '--graceful', graceful)
    assert 'ok     what one side has sent, the other has received' in lines, lines
    assert 'ok     no connection was refused' in lines
    assert not [line for line in lines if line.startswith('FAILED')], lines
