"""What `python -m bench` does: options, the runs in turn, tables, the file of results."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.contestants import CONTESTANTS, Contestant, contestants
from bench.measure import BenchError, Suite, build_tools, unwind_on_signals
from bench.report import Result, load, machine, print_result, print_targets, save
from bench.scenarios import SCENARIOS, Scenario


def names(text: str) -> tuple[str, ...]:
    """A list separated by commas; each stands for all names that begin with it."""
    return tuple(filter(None, text.split(',')))


def parse() -> argparse.Namespace:
    """The options, with what they may name."""
    parser = argparse.ArgumentParser(
        prog='python -m bench',
        description='Measure pyjows beside its peers: server on one core, load on the other, in turn, medians.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='scenarios: '
        + ', '.join(each.name for each in SCENARIOS)
        + '\n\ncontestants: '
        + ', '.join(dict.fromkeys(each.name for each in CONTESTANTS)),
    )
    parser.add_argument(
        '--only', type=names, metavar='NAMES', help='scenarios, separated by commas, or how their names begin'
    )
    parser.add_argument(
        '--peers', type=names, metavar='NAMES', help='which others take part (default: all; "none": none)'
    )
    parser.add_argument(
        '--ours', type=names, metavar='NAMES', help='which of pyjows takes part, as pyjows-epoll (default: all)'
    )
    parser.add_argument('--runs', type=int, default=5, help='how often each contestant has its turn (default: 5)')
    parser.add_argument('--seconds', type=float, default=2, help='how long the load of one run lasts (default: 2)')
    parser.add_argument('--quick', action='store_true', help='one short run each: does it work, not how fast is it')
    parser.add_argument(
        '--report', nargs='+', type=Path, metavar='JSON', help='measure nothing, show these results again'
    )
    options = parser.parse_args()
    if options.quick:
        options.runs, options.seconds = 1, 0.5
    return options


def wanted(name: str, prefixes: tuple[str, ...] | None) -> bool:
    """Whether an option names this one; without the option everything is wanted."""
    return prefixes is None or name.startswith(prefixes)


def plan(options: argparse.Namespace) -> list[tuple[Scenario, list[Contestant]]]:
    """Which scenarios, and who takes part in each."""
    found = []
    for scenario in SCENARIOS:
        if wanted(scenario.name, options.only):
            field = [
                each
                for each in contestants(scenario.mode, tls=scenario.tls)
                if wanted(each.name, options.ours if 'pyjows' in each.name else options.peers)
            ]
            found.append((scenario, field))
    return found


def run(scenario: Scenario, field: list[Contestant], suite: Suite, runs: int, progress: Progress) -> Result:
    """All runs of one scenario: A B C A B C, so that a slow minute of the machine hits everybody."""
    result = Result(scenario)
    task = progress.tasks[0].id
    for number in range(runs):
        for contestant in field:
            progress.update(task, description=f'{scenario.name}  {contestant.name}  {number + 1}/{runs}')
            progress.refresh()
            if contestant.name not in result.errors:
                try:
                    result.add(contestant, suite.measure(scenario, contestant))
                except BenchError as error:
                    result.fail(contestant, str(error))
            progress.advance(task)
    return result


def show(results: Iterable[Result], console: Console) -> None:
    """Every table, then what should have been reached."""
    for result in results:
        print_result(result, console)
    print_targets(results, console)


def main() -> int:
    """Measure, print, save, draw."""
    options = parse()
    unwind_on_signals()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if options.report:
        show(load(options.report), console)
        return 0
    planned = plan(options)
    if not planned:
        console.print(f'no scenario is named {", ".join(options.only)}; see --help')
        return 2
    try:
        build_tools()
        suite = Suite(seconds=options.seconds, scale=0.2 if options.quick else 1)
    except BenchError as error:
        console.print(f'[red]{error}[/]')
        return 1

    about = machine()
    packages = ', '.join(f'{name} {version}' for name, version in about['packages'].items())
    console.print(f'{about["cpu"]}, Linux {about["kernel"]}, {about["python"]}, pyjows {about["pyjows"]}\n{packages}\n')
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    results = []
    # No refreshing in the background: while the load runs, this process must sleep.
    quiet = not console.is_terminal
    with Progress(*columns, console=console, auto_refresh=False, transient=True, disable=quiet) as progress:
        progress.add_task('', total=options.runs * sum(len(field) for _, field in planned))
        for scenario, field in planned:
            result = run(scenario, field, suite, options.runs, progress)
            results.append(result)
            print_result(result, progress.console)
    print_targets(results, console)
    path = save(results, {'runs': options.runs, 'seconds': options.seconds, 'quick': options.quick})
    console.print(f'\nfigures: {path}')
    try:
        from bench.picture import draw
    except ImportError:
        console.print('no picture: matplotlib is not installed')
    else:
        if any(result.runs for result in results):
            console.print(f'picture: {draw(results, path.with_suffix(".png"))}')
    return 0
