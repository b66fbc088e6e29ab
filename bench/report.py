"""What was measured, as tables on the terminal and as JSON. Measures nothing itself."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.contestants import Contestant
from bench.measure import PYTHON
from bench.scenarios import SCENARIOS, Scenario
from bench.targets import TARGETS, Target
from t.installed import ROOT

__all__ = ['Result', 'load', 'machine', 'print_result', 'print_targets', 'save']

PACKAGES = ('picows', 'websockets', 'aiohttp', 'wsproto', 'tornado', 'socketify', 'uvicorn', 'uvloop', 'orjson')
QUIET = 0.05  # the part of the cores' time that others may take before the table says so
RESULTS = Path(__file__).parent / 'results'


class Result:
    """What came of one scenario: for each contestant its figures of every run, or why there are none."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.labels: dict[str, str] = {}
        self.runs: dict[str, list[dict[str, float]]] = {}
        self.errors: dict[str, str] = {}

    def add(self, contestant: Contestant, figures: dict[str, float]) -> None:
        """Keep the figures of one run."""
        self.labels[contestant.name] = contestant.label
        self.runs.setdefault(contestant.name, []).append(figures)

    def fail(self, contestant: Contestant, reason: str) -> None:
        """Keep why a contestant could not be measured."""
        self.labels[contestant.name] = contestant.label
        self.errors[contestant.name] = reason

    def values(self, name: str, metric: str | None = None) -> list[float]:
        """A figure of every run, in the order of the runs."""
        metric = metric or self.scenario.metric
        return [figures[metric] for figures in self.runs.get(name, []) if metric in figures]

    def medians(self, metric: str | None = None) -> dict[str, float]:
        """Each contestant's median of a figure; by default the one that counts here."""
        return {name: statistics.median(values) for name in self.runs if (values := self.values(name, metric))}

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            'title': self.scenario.title,
            'metric': self.scenario.metric,
            'unit': self.scenario.unit,
            'medians': self.medians(),
            'labels': self.labels,
            'runs': self.runs,
            'errors': self.errors,
        }

    @classmethod
    def from_json(cls, scenario: Scenario, data: dict[str, Any]) -> 'Result':
        """What `as_json` gave."""
        result = cls(scenario)
        result.labels, result.runs, result.errors = data['labels'], data['runs'], data['errors']
        return result


def machine() -> dict[str, Any]:
    """What the figures depend on besides the contestants."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        'cpu': _cpu(),
        'cores': len(os.sched_getaffinity(0)),
        'kernel': platform.release(),
        'python': f'{platform.python_implementation()} {platform.python_version()}',
        'pyjows': _pyjows(),
        'packages': versions,
    }


def _cpu() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    return next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.machine())


def _pyjows() -> str:
    """Which pyjows is measured: asked of a process of its own, so that this one stays without it."""
    code = (
        'import sys; sys.path.append(sys.argv[1]); import pyjows; '
        'form = "compiled" if pyjows.__compiled__ else "interpreted"; '
        'place = "of this clone" if pyjows.__file__.startswith(sys.argv[1]) else "installed"; '
        'print(pyjows.__version__, f"({form}, {place})")'
    )
    done = subprocess.run([*PYTHON, '-c', code, str(ROOT)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or 'not importable: ' + (done.stderr.strip().splitlines() or ['?'])[-1]


def save(results: Iterable[Result], options: dict[str, Any]) -> Path:
    """Write results to a new file in `bench/results/` and return its path."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f'{now:%Y%m%d-%H%M%S}.json'
    document = {
        'when': now.isoformat(timespec='seconds'),
        'machine': machine(),
        'options': options,
        'scenarios': {result.scenario.name: result.as_json() for result in results},
    }
    path.write_text(json.dumps(document, indent=1) + '\n')
    return path


def load(paths: Iterable[Path]) -> list[Result]:
    """Read results again; where files share a scenario, the last one counts."""
    found: dict[str, Any] = {}
    for path in paths:
        found |= json.loads(path.read_text())['scenarios']
    return [Result.from_json(scenario, found[scenario.name]) for scenario in SCENARIOS if scenario.name in found]


def _figure(value: float) -> str:
    return f'{value:,.0f}' if value >= 1000 else f'{value:,.2f}'


def print_result(result: Result, console: Console) -> None:
    """One scenario as a table, the best first."""
    scenario, medians = result.scenario, result.medians()
    reference = medians.get(scenario.reference)
    table = Table(title=f'{scenario.title}  [dim]({scenario.name})[/]', title_justify='left', title_style='bold')
    table.add_column('contestant')
    for column in (scenario.unit, 'lowest … highest', f'× {result.labels.get(scenario.reference, scenario.reference)}'):
        table.add_column(column, justify='right', no_wrap=True)
    titles = {'cpu_us': 'CPU µs each', 'p50_us': 'p50 µs', 'p99_us': 'p99 µs'}
    more = {title: figures for metric, title in titles.items() if (figures := result.medians(metric))}
    for title in more:
        table.add_column(title, justify='right')
    for name in sorted(medians, key=lambda name: medians[name], reverse=not scenario.lower_is_better):
        values = result.values(name)
        table.add_row(
            result.labels[name],
            _figure(medians[name]),
            f'{_figure(min(values))} … {_figure(max(values))}',
            f'{medians[name] / reference:.2f}' if reference else '',
            *(_figure(figures[name]) if name in figures else '' for figures in more.values()),
            style='bold green' if name.startswith('pyjows') or name == 'uvicorn-pyjows' else None,
        )
    console.print(table)
    for reason in dict.fromkeys(result.errors.values()):
        labels = [result.labels[name] for name, why in result.errors.items() if why == reason]
        console.print(f'  [red]not measured[/] {"; ".join(labels)}: {escape(reason)}', highlight=False)
    disturbed = max((value for name in result.runs for value in result.values(name, 'disturbed')), default=0)
    if disturbed > QUIET:
        console.print(f'  [yellow]disturbed[/]: others took up to {disturbed:.0%} of the two cores during a run')
    console.print()


def _by_cpu(target: Target, result: Result) -> float | None:
    """How much less CPU time ours takes for the same work: hardly disturbed by what else the machine does."""
    cpu = result.medians('cpu_us')
    ours, theirs = cpu.get(target.contestant), cpu.get(target.reference or '')
    return theirs / ours if ours and theirs and result.scenario.metric == 'rate' else None


def print_targets(results: Iterable[Result], console: Console) -> bool:
    """The speed to reach beside the speed measured; returns whether every figure that was measured is good enough."""
    known = {result.scenario.name: result for result in results}
    table = Table(title='The speed to reach', title_justify='left', title_style='bold')
    for column in ('scenario', 'contestant'):
        table.add_column(column)
    for column in ('at least', 'measured', 'by CPU time'):
        table.add_column(column, justify='right')
    table.add_column('')
    all_met = True
    for target in TARGETS:
        result = known.get(target.scenario)
        if result is None:
            continue
        measured, by_cpu = target.measured(result.medians()), _by_cpu(target, result)
        if target.reference is None:
            goal, shown = f'≤ {target.factor:g} {result.scenario.unit}', f'{measured or 0:.2f}'
        else:
            goal = f'{target.factor:g} × {result.labels.get(target.reference, target.reference)}'
            goal += ' by CPU time' if target.by_cpu else ''
            shown = f'{measured or 0:.2f} ×'
        counts = by_cpu if target.by_cpu else measured
        met = counts is not None and target.is_met(counts)
        all_met &= met or counts is None
        verdict = 'not measured' if counts is None else '[green]met[/]' if met else '[bold red]not met[/]'
        ours = result.labels.get(target.contestant, target.contestant)
        cpu = '' if by_cpu is None else f'{by_cpu:.2f} ×'
        table.add_row(target.scenario, ours, goal, '–' if measured is None else shown, cpu, verdict)
    if table.row_count:
        console.print(table)
    return all_met
