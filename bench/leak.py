"""Nothing may leak: ten million messages and a hundred thousand connections, and the server's memory stays flat.

    python -m bench.leak [--messages 10000000] [--connections 100000] [--reactor epoll] [--limit 1800]

Three stages on one server: binary bursts, text one by one, connections that come and go (half of them end with the
closing handshake, half are reset). Of each stage the first tenth is there to fill what is filled once (caches, pools,
the allocator's arenas); memory is read after it and at the end. A stage fails when it grew by more than `ALLOWED`: a
forgotten 24 bytes a connection, or a quarter of a byte a message, are more than that. Exits with 1 on growth, 2 when
the work could not be done in time.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from t.installed import require

if __name__ == '__main__':
    require('bench.leak', 'bench', 'rich')

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.contestants import Contestant
from bench.measure import BenchError, Process, Suite, build_tools, unwind_on_signals

__all__ = ['main']

ALLOWED = 2 * 2**20  # bytes
STEPS = 10  # parts that a stage is cut into; the first is not judged


@dataclass(frozen=True)
class Stage:
    """One kind of work, cut into steps; `work(n)` does n units of it."""

    name: str
    units: int
    work: Callable[[int], object]


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * os.sysconf('SC_PAGESIZE')


def stages(suite: Suite, server: Process, messages: int, connections: int, limit: int) -> list[Stage]:
    """What is done to the server, in this order."""
    base: dict[str, int | str] = {'port': server.port(), 'limit': limit}
    load = base | {'connections': 10, 'seconds': limit, 'warmup': 0}

    def bursts(count: int) -> object:
        return suite.tool('wsload', load | {'size': 32, 'depth': 64, 'messages': count}, limit)

    def one_by_one(count: int) -> object:
        return suite.tool('wsload', load | {'size': 100, 'opcode': 1, 'connections': 50, 'messages': count}, limit)

    def churn(count: int) -> object:
        return suite.tool('wschurn', base | {'connections': count}, limit)

    return [
        Stage('messages, binary, in bursts', messages - messages // 10, bursts),
        Stage('messages, text, one by one', messages // 10, one_by_one),
        Stage('connections that come and go', connections, churn),
    ]


def run(stage: Stage, pid: int, console: Console) -> bool:
    """Do a stage; returns whether the memory stayed flat."""
    sizes = [resident(pid)]
    columns = TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn()
    quiet = not console.is_terminal
    with Progress(*columns, console=console, auto_refresh=False, transient=True, disable=quiet) as progress:
        task = progress.add_task(stage.name, total=STEPS)
        for _ in range(STEPS):
            stage.work(stage.units // STEPS)
            sizes.append(resident(pid))
            progress.update(task, advance=1, refresh=True)
    begin, settled, end = (size / 2**20 for size in (sizes[0], sizes[1], sizes[-1]))
    flat = sizes[-1] - sizes[1] <= ALLOWED
    console.print(
        f'{stage.units:>12,} {stage.name}: start {begin:.2f} MiB, after a tenth {settled:.2f}, end {end:.2f}  '
        f'{end - settled:+.2f}  {"flat" if flat else "[bold red]GROWS[/]"}',
        highlight=False,
    )
    return flat


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog='python -m bench.leak', description=__doc__.splitlines()[0])
    parser.add_argument('--messages', type=int, default=10_000_000)
    parser.add_argument('--connections', type=int, default=100_000)
    parser.add_argument('--reactor', default='epoll', help='epoll, poll, asyncio or uvloop')
    parser.add_argument('--limit', type=int, default=1800, help='seconds that a step may take')
    options = parser.parse_args()
    unwind_on_signals()
    console = Console(width=None if sys.stdout.isatty() else 130)
    server = Contestant(
        name='pyjows',
        label='pyjows',
        modes=('any',),
        script='bench.servers.pyjows_server',
        env={'PYJOWS_REACTOR': options.reactor},
    )
    try:
        build_tools()
        suite = Suite()
        with suite.running(server, '--mode', 'any', '--limit', str(options.limit * STEPS)) as process:
            done = [
                run(stage, process.program.pid, console)
                for stage in stages(suite, process, options.messages, options.connections, options.limit)
            ]
    except BenchError as error:
        console.print(f'[red]{error}[/]', highlight=False)
        return 2
    return 0 if all(done) else 1


if __name__ == '__main__':
    sys.exit(main())
