"""What must hold for all bytes holds for the fuzzers' seeds, mutations of them, and bytes of hypothesis' own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import ROOT

sys.path.append(str(ROOT))
from t.fuzz.targets import SEEDS, TARGETS

CASES = [pytest.param(name, seed, id=f'{name}-{i}') for name, seeds in SEEDS.items() for i, seed in enumerate(seeds)]


@pytest.mark.parametrize(('name', 'seed'), CASES)
def test_the_seeds_hold(name, seed):
    TARGETS[name](seed)
    for cut in range(0, len(seed), 7):
        TARGETS[name](seed[:cut])


@pytest.mark.parametrize('name', TARGETS)
@settings(deadline=None)
@given(data=st.data())
def test_mutated_seeds_hold(name, data):
    seed = bytearray(data.draw(st.sampled_from(SEEDS[name])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(seed)))
        end = data.draw(st.integers(at, min(len(seed), at + 8)))
        seed[at:end] = data.draw(st.binary(max_size=8))
    TARGETS[name](bytes(seed))


@pytest.mark.parametrize('name', TARGETS)
@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_hold(name, data):
    TARGETS[name](data)


def test_the_command_names_what_it_runs_or_skips():
    ran = subprocess.run(
        [sys.executable, '-m', 't.fuzz', '--seconds', '1', 'frames'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert 'frames' in ran.stdout
    assert 'skipped: atheris is not installed' in ran.stdout or 'nothing' in ran.stdout
    unknown = subprocess.run(
        [sys.executable, '-m', 't.fuzz', 'farmes'], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert unknown.returncode == 2
    assert 'farmes' in unknown.stderr
