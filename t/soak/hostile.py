"""Hostile load: a thousand clients chat, first alone, then beside those that do what no client should.

The offenders are processes on the same machine, and what they do costs them little: most of the processor time is
for the server and the clients that behave, as it would be with peers of a network. (Bombs are packed once; a flood is
bytes that are ready.) The server's own share of a processor is printed for both phases. It says on a busy machine, too,
what the offenders cost, where latencies say what else runs there.

What must hold: nothing is lost or doubled among those that behave, none of them is disconnected, their p99 stays below
twice its quiet value, and when the others have gone the server's memory is back where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pyjows.reactor import available

__all__ = ['add_arguments', 'run']

OFFENDERS = {'stopped': 50, 'loris': 500, 'resets': 200, 'pings': 50, 'bombs': 20}

# Limits short enough to be reached within the run; in bytes and seconds.
OPTIONS = {'handshake_timeout': 5, 'backlog_timeout': 10, 'max_backlog': 4 << 20, 'ping_interval': 10}

# What the server may keep more than before, in bytes: the allocator's, and what its statistics have counted.
GROWTH = 16 << 20

_ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).parent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument('--seconds', type=float, default=60, help='of each phase (60)')
    parser.add_argument('--clients', type=int, default=1000, help='that behave (1000)')
    parser.add_argument('--reactor', default=available()[0], help='of the server (the best there is)')


def run(options: argparse.Namespace) -> int:
    """Run it; returns the exit status."""
    with ExitStack() as stack:
        server = _start(stack, 'chat.py', options.reactor, json.dumps(OPTIONS))
        port = int(_line(server))
        crowd = _start(stack, 'crowd.py', f'ws://127.0.0.1:{port}', str(options.clients))
        assert _line(crowd) == 'open', 'the clients that behave did not all open'
        _tell(crowd, 'phase warm-up')
        time.sleep(min(10, options.seconds))
        before = _figures(port)
        _tell(crowd, 'phase quiet')
        time.sleep(options.seconds)
        _tell(crowd, 'phase arrival')
        quiet = _figures(port)
        with ExitStack() as offenders:
            for kind, how_many in OFFENDERS.items():
                process = _start(offenders, 'offenders.py', kind, str(port), str(how_many))
                assert _line(process) == 'ready', f'{kind}: not all of them came in'
                if kind == 'stopped':
                    process.send_signal(signal.SIGSTOP)
            begin = _figures(port)
            _tell(crowd, 'phase hostile')
            time.sleep(options.seconds)
            _tell(crowd, 'phase departure')
            during = _figures(port)
        _tell(crowd, 'phase afterwards')
        time.sleep(min(15, options.seconds))
        after = _figures(port)
        _tell(crowd, 'end')
        phases = json.loads(_line(crowd))
    for name, first, last in (('quiet', before, quiet), ('hostile', begin, during)):
        share = (last['processor'] - first['processor']) / options.seconds
        print(f'{name:11} the server takes {share:.1%} of a processor')
    return _judge(phases, before, during, after)


def _judge(phases: dict[str, Any], before: dict[str, Any], during: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what was seen; returns 1 if something that must hold did not."""
    for name, phase in phases.items():
        print(f'{name:11}', json.dumps(phase))
    for name, figures in (('before', before), ('during', during), ('after', after)):
        print(f'{name:11}', json.dumps(figures))
    quiet, hostile = phases['quiet'], phases['hostile']
    holds = {
        'nothing is lost or doubled': not any(phase['lost or doubled'] for phase in phases.values()),
        'none that behaves is disconnected': not any(phase['ended'] for phase in phases.values()),
        f'p99 {hostile["p99"] / quiet["p99"]:.2f} × the quiet one, below 2': hostile['p99'] < 2 * quiet['p99'],
        f'memory grew by {(after["resident"] - before["resident"]) / 2**20:.1f} MiB, at most {GROWTH >> 20}': (
            after['resident'] - before['resident'] < GROWTH
        ),
        'the connections are those that behave': after['connections'] == before['connections'],
    }
    for what, held in holds.items():
        print('ok    ' if held else 'FAILED', what)
    return int(not all(holds.values()))


def _start(stack: ExitStack, program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one of the programs beside this file; it is killed when the stack ends."""
    process = subprocess.Popen(
        [sys.executable, '-P', str(_HERE / program), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.sep,  # not the checkout: it would hide the installed, compiled package
    )

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f'{line}\n')
    process.stdin.flush()


def _figures(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/figures', timeout=30) as answer:
        figures: dict[str, Any] = json.load(answer)
        return figures
