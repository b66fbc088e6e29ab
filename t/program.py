"""A Python program as a process of its own, for tests that run examples and snippets the way a user does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from background import until

__all__ = ['ROOT', 'Program']

ROOT = Path(__file__).parent.parent


class Program:
    """`python *args`, from the moment it is made until its `with` block ends; what it prints is in `lines`.

    It has the descriptors `inherits` of this process.
    """

    def __init__(self, *args: str | Path, inherits: Sequence[int] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, '-u', *map(str, args)],
            cwd=ROOT / 'examples',  # not the checkout: it would hide the installed, compiled package
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding='utf-8',
            pass_fds=inherits,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines: list[str]) -> None:
        lines.extend(line.rstrip('\n') for line in iter(stream.readline, ''))

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def find(self, pattern: str) -> str:
        """Wait for a printed line with `pattern` in it; the pattern's first group, or all that it matched."""

        def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in list(self.lines))
            match = next((match for match in matches if match), None)
            assert match or self.process.poll() is None or self._reading(), f'it ended without {pattern!r}: {self}'
            return match

        match = until(found, f'{pattern!r} from {self}')
        return match[1] if match.re.groups else match[0]

    def type(self, text: str) -> None:
        """Write to its standard input."""
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end; the exit status."""
        until(lambda: self.process.poll() is not None and not self._reading(), f'the end of {self}')
        return self.process.returncode

    def stop(self) -> int:
        """Ask it to stop, as `kill` does (SIGTERM); the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def _reading(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def __str__(self) -> str:
        return f'{self.process.args[2:]}, which printed {self.lines} and {self.errors}'
