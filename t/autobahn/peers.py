"""What the server and the client under test share: what they were asked to be, and the options that the suite needs.

A process that cannot be what it was asked to be (a reactor that is not here, a build that was not made) says why in one
line and exits with `SKIPPED`. The table then names it, and nothing is ever tested under another's name.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import pyjows
from pyjows.reactor import available
from t.autobahn import BUILDS, FACES, REACTORS, SKIPPED

__all__ = ['MAX_SIZE', 'PATIENCE', 'compression', 'echo', 'options', 'require']

#: Bytes. The largest messages of the suite have 16 MiB; they are to be answered, not refused.
MAX_SIZE = 64 * 1024 * 1024

#: Seconds. wstest may make all frames of a case before it sends the 101: on a busy machine that takes time.
PATIENCE = 120.0


def options(description: str) -> argparse.ArgumentParser:
    """A parser of the options that both processes have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--face', choices=FACES, default='transaction')
    parser.add_argument('--reactor', choices=REACTORS, default='poll', help='of the transaction; the others have none')
    parser.add_argument('--build', choices=BUILDS, help='refuse to run if this is another')
    return parser


def require(reactor: str, build: str | None) -> None:
    """Exit, with the reason, unless this process has that reactor and is that build."""
    here = 'compiled' if pyjows.__compiled__ else 'interpreted'
    if build not in (None, here):
        _skip(f'this is the {here} form of pyjows ({pyjows.__file__})')
    if reactor not in available():
        _skip(f'the reactor {reactor} is not here, only {", ".join(available())}')


def compression() -> pyjows.PerMessageDeflate:
    """permessage-deflate that takes every parameter, at the fast level: the suite judges the bits, not how many.

    As a client it says that it can do without context takeover and with a smaller window: the suite may ask for both.
    """
    return pyjows.PerMessageDeflate(client_no_context_takeover=True, level=1)


def echo(ws: Any) -> None:
    """Make `ws` answer text with text and bytes with bytes."""

    @ws.on
    def text(ws: Any, message: str) -> None:
        ws.send(text=message)

    @ws.on
    def binary(ws: Any, message: bytes) -> None:
        ws.send(binary=message)


def _skip(reason: str) -> None:
    print(reason, file=sys.stderr)
    sys.exit(SKIPPED)
