"""`python -m bench.prefork`: what a second worker of `pyjows.prefork` gives, on two cores.

    python -m bench.prefork [--seconds 3] [--runs 5] [--quick]

100 connections, each with one JSON text of 200 bytes in flight, which a handler reads and sends back. The handler does
so much work for each message (PBKDF2, which stands for what an application does). Everything runs on the first two
cores, the load tool, too: it takes from the second worker what it needs itself. With little work in the handler it is
the load that the second core goes to, and not much is left to gain.

One and two workers are measured in turn. A rate is the median of the runs, a factor is the ratio of two medians.
CPU µs is the time of all workers for a message, and of the load tool. `by CPU time` is the factor that follows from
these where nothing else runs: what two cores can do for two workers and the tool, and one core for one worker. On a
disturbed machine, it is the figure to believe. What two processes compute that serve nobody is the most that the
machine has to give: less than twice as much where its cores share something.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.measure import PYTHON, TOOLS, BenchError, Figures, Process, build_tools, unwind_on_signals
from bench.scenarios import OBJECT, TEXT
from t.installed import ROOT, require, require_compiled

CONNECTIONS = 100

#: Rounds of PBKDF2 for each message.
WORK = {'no work': 0, 'some work': 100, 'much work': 1000}

COMPUTE = """
import hashlib, sys, time
end, n = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    hashlib.pbkdf2_hmac('sha256', b'data', b'salt', 1000)
    n += 1
print(n)
"""

GOAL = 1.7
GOAL_IS_FOR = 'much work'


def cpu_of(pid: int) -> float:
    """Seconds for which a process ran, as the scheduler counts them."""
    return int(Path(f'/proc/{pid}/schedstat').read_text().split()[0]) / 1e9


def cpu_of_children() -> float:
    """Seconds of CPU that the ended children of this process took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def computed(processes: int, seconds: float) -> int:
    """How much so many processes compute that do nothing else."""
    program = [*PYTHON, '-c', COMPUTE, str(seconds)]
    with ExitStack() as stack:
        running = []
        for _ in range(processes):
            running.append(stack.enter_context(subprocess.Popen(program, stdout=subprocess.PIPE, text=True)))
            stack.callback(running[-1].kill)
        return sum(int(process.communicate()[0]) for process in running)


def measure(workers: int, work: int, seconds: float) -> Figures:
    """One run."""
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [os.environ.get('PYTHONPATH'), str(ROOT)]))}
    with ExitStack() as stack:
        server = Process([*PYTHON, '-m', 'bench.servers.pyjows_prefork', str(workers), str(work)], env)
        stack.callback(server.end)
        assert server.program.stdout
        lines = [server.program.stdout.readline() for _ in range(workers)]
        if not all(lines):
            raise BenchError(f'did not start: {server.last_words()}')
        port, _ = (word.partition('=')[2] for word in lines[0].split())
        pids = [int(line.rpartition('=')[2]) for line in lines]
        payload = stack.enter_context(tempfile.NamedTemporaryFile())
        payload.write(OBJECT)
        payload.flush()
        load = ['--connections', str(CONNECTIONS), '--payload', payload.name, '--opcode', str(TEXT), '--port', port]
        before = [cpu_of_children(), *map(cpu_of, pids)]
        tool = Process([str(TOOLS / 'wsload'), *load, '--seconds', str(seconds), '--warmup', '0'], env)
        stack.callback(tool.end)
        figures = tool.figures(seconds + 60)
        after = [cpu_of_children(), *map(cpu_of, pids)]
        load_cpu, *worker_cpu = (now - was for now, was in zip(after, before, strict=True))
        figures['load_us'] = load_cpu / figures['messages'] * 1e6
        figures['cpu_us'] = sum(worker_cpu) / figures['messages'] * 1e6
        return figures


def main() -> int:
    """Measure and print; returns 1 if the goal is not reached."""
    require('bench.prefork', 'bench')
    require_compiled('bench.prefork', 'bench')
    parser = argparse.ArgumentParser(prog='python -m bench.prefork', description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--quick', action='store_true', help='one run of half a second each')
    options = parser.parse_args()
    unwind_on_signals()
    if options.quick:
        options.seconds, options.runs = 0.5, 1
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit('two cores are needed')
    os.sched_setaffinity(0, cores)
    build_tools()
    factor = statistics.median(computed(2, options.seconds) / computed(1, options.seconds) for _ in range(options.runs))
    print(f'two processes that only compute: {factor:.2f} × one\n', flush=True)
    reached = 0.0
    for name, work in WORK.items():
        runs: dict[int, list[Figures]] = {1: [], 2: []}
        for _ in range(options.runs):
            for workers, found in runs.items():
                found.append(measure(workers, work, options.seconds))
        median = {
            workers: {key: statistics.median(run[key] for run in found) for key in found[0]}
            for workers, found in runs.items()
        }
        for workers, figures in median.items():
            rates = [run['rate'] for run in runs[workers]]
            print(
                f'{name:10} {workers} worker{"s" * (workers > 1):1}  {figures["rate"]:9,.0f} messages/s '
                f'({min(rates):,.0f} … {max(rates):,.0f})  {figures["cpu_us"]:7.1f} CPU µs each '
                f'(load tool {figures["load_us"]:.1f})   '
                f'p50 {figures["p50_us"] / 1e3:.1f} ms   p99 {figures["p99_us"] / 1e3:.1f} ms',
                flush=True,
            )
        factor = median[2]['rate'] / median[1]['rate']
        by_cpu = 2 * median[1]['cpu_us'] / (median[2]['cpu_us'] + median[2]['load_us'])
        print(f'{name:10} two workers: {factor:.2f} × one; by CPU time {by_cpu:.2f}\n', flush=True)
        if name == GOAL_IS_FOR:
            reached = factor
    print(f'{GOAL_IS_FOR}: {reached:.2f} × one worker, goal {GOAL}')
    return int(reached < GOAL)


if __name__ == '__main__':
    sys.exit(main())
