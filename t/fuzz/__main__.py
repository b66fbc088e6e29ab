"""The command: run the fuzz targets, each for a set time, and say what they found.

    python -m t.fuzz --seconds 60
    python -m t.fuzz --seconds 1200 protocol handshake
    python -m t.fuzz --corpus /var/tmp/pyjows-corpus      # keep what was learnt, and go on from there

It needs Atheris (`pip install atheris`), which has wheels for some Pythons on Linux; without it, it ends with exit
status 2. The interpreted form is fuzzed, a copy of it, because Atheris sees where Python code goes.
Exits with 0 when nothing was found, with 1 when something was: the bytes that did it are kept, and the command that
repeats it is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from t.installed import ROOT, refuse, require

_NAMES = ('frames', 'protocol', 'handshake', 'deflate')


def main() -> int:
    """Run it; returns the exit status."""
    if len(sys.argv) > 2 and sys.argv[1] == '--target':
        _fuzz(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(prog='python -m t.fuzz', description='Fuzz pyjows with Atheris.')
    parser.add_argument('targets', nargs='*', metavar='target', help=f'of {", ".join(_NAMES)}; all by default')
    parser.add_argument('--seconds', type=int, default=60, help='for each target (60)')
    parser.add_argument('--corpus', type=Path, help='a folder to keep what was learnt in; forgotten by default')
    parser.add_argument('--repeat', type=Path, help='run one target on the bytes of this file, without Atheris')
    options = parser.parse_args()
    targets = options.targets or list(_NAMES)
    for name in targets:
        if name not in _NAMES:
            parser.error(f'there is no target {name!r}; choose from {", ".join(_NAMES)}')
    require('fuzz', 'test')
    if options.repeat:
        if len(targets) != 1:
            parser.error('--repeat needs exactly one target')
        _repeat(targets[0], options.repeat.read_bytes())
        return 0
    if importlib.util.find_spec('atheris') is None:
        refuse('fuzz', 'atheris is not installed', 'atheris')
    print(f'{"target":10} {"executions":>12} {"a second":>10} {"coverage":>9} {"seconds":>8}  found')
    found = False
    with tempfile.TemporaryDirectory() as folder:
        for package in ('pyjows', 't/fuzz'):
            # Without the extension modules, which would win. (PYJOWS_PURE would hide the sources from Atheris.)
            ignored = shutil.ignore_patterns('*.so', '*.pyd', '__pycache__')
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=ignored)
        shutil.copy(ROOT / 't' / 'installed.py', Path(folder) / 't')
        for name in targets:
            found |= _run(name, options.seconds, (options.corpus or Path(folder) / 'corpus') / name, folder)
    return int(found)


def _run(name: str, seconds: int, corpus: Path, folder: str) -> bool:
    """Run one target and print its row; tells whether it found something."""
    from t.fuzz.targets import SEEDS

    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(SEEDS[name]):
        (corpus / f'seed-{i}').write_bytes(seed)
    kept = Path(tempfile.mkdtemp(prefix=f'pyjows-fuzz-{name}-'))
    began = time.monotonic()
    ran = subprocess.run(
        [
            sys.executable, '-W', 'ignore::RuntimeWarning', '-m', 't.fuzz', '--target', name,
            f'-max_total_time={seconds}', '-print_final_stats=1', '-max_len=2000', '-timeout=60', '-rss_limit_mb=2048',
            f'-artifact_prefix={kept}/', str(corpus.absolute()),
        ],
        cwd=folder, env={**os.environ, 'PYTHONPATH': folder},
        capture_output=True, check=False, text=True, errors='replace',
    )  # fmt: skip
    took = time.monotonic() - began
    executions = int(_last(r'stat::number_of_executed_units:\s*(\d+)', ran.stderr) or 0)
    coverage = _last(r'cov: (\d+)', ran.stderr) or '?'
    artifacts = sorted(kept.iterdir())
    broken = bool(artifacts) or ran.returncode != 0 or not executions
    print(
        f'{name:10} {executions:>12,} {executions / took:>10,.0f} {coverage:>9} {took:>8.0f}  '
        f'{"something" if broken else "nothing"}',
        flush=True,
    )
    if broken:
        print('\n'.join(ran.stderr.splitlines()[-40:]))
        for artifact in artifacts:
            print(f'repeat it: python -m t.fuzz {name} --repeat {artifact}')
    else:
        kept.rmdir()
    return broken


def _last(pattern: str, text: str) -> str | None:
    matches = re.findall(pattern, text)
    return matches[-1] if matches else None


def _fuzz(name: str, arguments: list[str]) -> None:
    """Be the process that fuzzes one target; libFuzzer ends it."""
    import atheris

    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=['pyjows', 'h11']):
        from t.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def _repeat(name: str, data: bytes) -> None:
    from t.fuzz.targets import TARGETS

    TARGETS[name](data)
    print('all is well')


if __name__ == '__main__':
    sys.exit(main())
