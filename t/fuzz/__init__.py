"""Fuzzing pyjows: bytes nobody thought of, and what must hold for all of them.

`targets` has one function for each thing that takes bytes from the network; each gets the fuzzer's bytes and raises
AssertionError when something that must hold does not. It needs nothing but pyjows. The command (`__main__`) runs them
under Atheris, which looks for bytes that reach new code.
"""

from t.installed import prefer_installed

prefer_installed()
