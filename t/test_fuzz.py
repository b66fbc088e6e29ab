"""What must hold for all bytes holds for the fuzzers' seeds, mutations of them, and bytes of hypothesis' own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import ROOT

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


@pytest.mark.wide
def test_the_command_runs_a_target_or_says_what_to_install():
    ran = subprocess.run(
        [sys.executable, '-m', 't.fuzz', '--seconds', '1', 'frames'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if importlib.util.find_spec('atheris'):
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert re.search(r'^frames .* nothing$', ran.stdout, re.M)
    else:
        assert ran.returncode == 2
        assert 'pip install atheris' in ran.stderr
    unknown = subprocess.run(
        [sys.executable, '-m', 't.fuzz', 'farmes'], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert unknown.returncode == 2
    assert 'farmes' in unknown.stderr
