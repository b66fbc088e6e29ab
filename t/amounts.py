"""How much is tested: all with `PYJOWS_TEST_ALL`, as in the gate; else what finds nearly all faults in little time."""

from __future__ import annotations

import os

__all__ = ['EVERYTHING', 'examples']

EVERYTHING = os.environ.get('PYJOWS_TEST_ALL', '0') not in ('', '0')


def examples(number: int) -> int:
    """How many examples Hypothesis makes up where `number` are wanted with all: a third of them otherwise."""
    return number if EVERYTHING else number // 3
