"""What was measured, as pictures: one for the README, one with every scenario.

python -m bench.picture [RESULTS.json …] [--to docs]
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from t.installed import require

if __name__ == '__main__':
    require('bench.picture', 'bench', 'rich', 'matplotlib')

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bench.report import RESULTS, Result, load

__all__ = ['draw', 'draw_readme']

OURS, PEER, FLOOR = '#0b7a75', '#b8c0c8', '#5d6770'
README = ('echo-100x32', 'burst-10x32', 'echo-10x64k', 'json-100x200', 'handshakes', 'idle')
LEFT_OUT_OF_README = ('pyjows-poll', 'pyjows-asyncio', 'pyjows-pure', 'websockets-asyncio')

mpl.rcParams |= {
    'font.family': 'DejaVu Sans',
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'figure.facecolor': 'white',
    'savefig.facecolor': 'white',
}


def _color(name: str) -> str:
    if 'pyjows' in name:
        return OURS
    return FLOOR if name in ('wsecho', 'wsload') else PEER


def _short(value: float) -> str:
    for size, letter in ((1e6, ' M'), (1e3, ' k')):
        if value >= 10 * size or (size == 1e6 and value >= size):
            return f'{value / size:.3g}{letter}'
    return f'{value:,.0f}' if value >= 100 else f'{value:.2g}' if value < 10 else f'{value:.3g}'


def _panel(axes: Axes, result: Result, places: int, left_out: Sequence[str] = ()) -> None:
    """Bars of one scenario, the best on top, each with its figure and how far its runs lie apart."""
    scenario = result.scenario
    medians = {name: value for name, value in result.medians().items() if name not in left_out}
    names = sorted(medians, key=lambda name: medians[name], reverse=scenario.lower_is_better)
    values = [medians[name] for name in names]
    spread = [
        [median - min(result.values(name)) for name, median in zip(names, values, strict=True)],
        [max(result.values(name)) - median for name, median in zip(names, values, strict=True)],
    ]
    axes.barh(
        [result.labels[name] for name in names],
        values,
        color=[_color(name) for name in names],
        height=0.72,
        xerr=spread,
        error_kw={'ecolor': '#30363c', 'elinewidth': 0.8, 'alpha': 0.5},
    )
    highest = max((max(result.values(name)) for name in names), default=1)
    room = highest * 0.015
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        axes.text(max(result.values(name)) + room, place, _short(value), va='center', fontsize=8, color='#30363c')
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        if 'pyjows' in name:
            label.set_fontweight('bold')
    axes.set_title(scenario.title + '\n', pad=-2)
    better = 'less is better' if scenario.lower_is_better else 'more is better'
    axes.text(0, 1.03, f'{scenario.unit}, {better}', transform=axes.transAxes, fontsize=8, color='#5d6770')
    axes.set_ylim(len(names) - 0.5 - places, len(names) - 0.5)
    axes.set_xlim(0, highest * 1.2)
    axes.xaxis.set_visible(False)
    axes.tick_params(axis='y', length=0)
    for side in ('top', 'right', 'bottom'):
        axes.spines[side].set_visible(False)
    axes.spines['left'].set_color('#d5dadf')


def _figure(results: Sequence[Result], path: Path, columns: int, left_out: Sequence[str] = ()) -> Path:
    rows = math.ceil(len(results) / columns)
    tallest = max(len(set(result.medians()) - set(left_out)) for result in results)
    layout = ConstrainedLayoutEngine(h_pad=0.14, w_pad=0.12)
    figure = Figure(figsize=(5.2 * columns, rows * (0.9 + 0.21 * tallest)), layout=layout, dpi=120)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, result in zip(grid, results, strict=False):
        _panel(axes, result, tallest, left_out)
    for axes in grid[len(results) :]:
        axes.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def draw(results: Sequence[Result], path: Path) -> Path:
    """Every scenario on one picture. Returns the path."""
    return _figure([result for result in results if result.runs], path, columns=3)


def draw_readme(results: Sequence[Result], path: Path) -> Path:
    """The few that tell the story, for the README. Returns the path."""
    known = {result.scenario.name: result for result in results if result.runs}
    return _figure([known[name] for name in README if name in known], path, columns=3, left_out=LEFT_OUT_OF_README)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description='draw results as pictures')
    parser.add_argument('results', nargs='*', type=Path, help='JSON files (default: the latest in bench/results)')
    parser.add_argument('--to', type=Path, default=Path('docs'), help='folder for echo.png and benchmarks.png')
    options = parser.parse_args()
    paths = options.results or sorted(RESULTS.glob('*.json'))[-1:]
    if not paths:
        parser.error(f'no results in {RESULTS}: run `python -m bench` first')
    results = load(paths)
    print(draw_readme(results, options.to / 'echo.png'))
    print(draw(results, options.to / 'benchmarks.png'))


if __name__ == '__main__':
    main()
