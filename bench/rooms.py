"""`python -m bench.rooms`: messages to the members of rooms, beside other libraries, in memory and over Redis.

    pip install '.[bench,redis]' channels channels_redis python-socketio litestar      # and redis-server
    python -m bench.rooms [--only pyjows,socketio] [--scenarios 1000] [--modes memory] [--seconds 2] [--runs 1]

It says first how long it takes at most: a run that is not done by its limit (`--limit`) is cut off. Servers run on
one core; two processes of them share it, so that the figures show what an additional process costs and not what an
additional core gives. Redis and the load tool (`load/wsrooms.c`) run on the other core. Each connection joins a room.
A member says 64 bytes, all members of its room get them; then it is the next room's turn. Contestants alternate, and
a figure is the median of the runs. CPU µs is the servers' time for a delivery, which other programs on the machine
change less than the rate. `p50` and `p99` are the time from saying to hearing. Where messages did not arrive, the
figures are of those that did, with the percentage that was lost. `floor` is a bare C server (`load/wsecho.c`) that
only receives and sends: what the kernel takes. At the end it prints the ratios beside the goal, then the tables of
docs/performance.md.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.measure import PYTHON, TOOLS, BenchError, Cores, Figures, Process, build_tools, unwind_on_signals
from t.installed import ROOT

WORDS = 'x' * 64

#: The servers' environment: they import `bench`, and pyjows from where it was built in place if it is not installed.
ENV = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [os.environ.get('PYTHONPATH'), str(ROOT)]))}


@dataclass(frozen=True)
class Contestant:
    """A server, and how its clients speak."""

    name: str
    script: str
    target: str = '/'
    hello: str = ''
    join: str = 'join %d'
    say: str = WORDS
    said: str = WORDS
    modes: tuple[str, ...] = ('memory', 'Redis', 'Redis, 2 processes')

    def command(self, url: str) -> list[str]:
        """What starts the server."""
        if self.name == 'floor':
            return [str(TOOLS / 'wsecho'), '--rooms', '1']
        return [*PYTHON, '-m', f'bench.rooms_servers.{self.script}', url]

    def words(self) -> list[str]:
        """The load tool's options."""
        found = ['--target', self.target, '--join', self.join, '--say', self.say, '--said', str(len(self.said))]
        return [*found, '--hello', self.hello] if self.hello else found


CONTESTANTS = (
    Contestant('pyjows', 'pyjows_server'),
    # Its layer in memory, which is not for production, takes seconds for one message to 5000.
    Contestant('channels', 'channels_server', modes=('Redis', 'Redis, 2 processes')),
    Contestant(
        'socketio',
        'socketio_server',
        target='/socket.io/?EIO=4&transport=websocket',
        hello='40',
        join='42["join","%d"]',
        say=f'42["say","{WORDS}"]',
        said=f'42["said","{WORDS}"]',
    ),
    Contestant('litestar', 'litestar_server'),
    Contestant('floor', 'wsecho', modes=('memory',)),
)

#: Rooms, members of each, messages on their way at a time. With `all speak` as many as members.
SCENARIOS = {
    '1 room of 5000': (1, 5000, 4),
    '1000 rooms of 5': (1000, 5, 32),
    '1000 rooms of 5, all speak': (1000, 5, 5000),
    '1 room of 5': (1, 5, 1),
}

#: How many times the deliveries of each other library: for fan-out, not for one message at a time.
GOAL = 5.0
GOAL_SCENARIOS = ('1 room of 5000', '1000 rooms of 5', '1000 rooms of 5, all speak')

#: Over Redis or not, and how many processes.
MODES = {'memory': (False, 1), 'Redis': (True, 1), 'Redis, 2 processes': (True, 2)}


@contextmanager
def redis_server(cores: Cores) -> Iterator[str]:
    """A Redis of our own; its URL."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
        probe.close()
        program = shutil.which('redis-server')
        if program is None:
            raise BenchError('redis-server is not installed')
        command = [program, '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder]
        with cores.pinned(cores.load):
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as link:
                    if link.connect_ex(('127.0.0.1', port)) == 0:
                        break
                time.sleep(0.02)
            yield f'redis://127.0.0.1:{port}'
        finally:
            server.kill()
            server.wait()


SHORT = dict(zip(('memory', 'redis', 'redis2'), MODES, strict=True))

#: Beside the limit of the load tool, what a run takes at most: the servers start and end, and so does Redis.
MARGIN = 10


def measure(contestant: Contestant, scenario: str, mode: str, seconds: float, limit: int, cores: Cores) -> Figures:
    """One run, of `limit` + MARGIN seconds at most."""
    rooms, members, flying = SCENARIOS[scenario]
    redis, processes = MODES[mode]
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(cores)) if redis else ''
        ports, pids = [], []
        for _ in range(processes):
            with cores.pinned(cores.server):
                server = Process(contestant.command(url), ENV)
            stack.callback(server.end)
            ports.append(str(server.port()))
            pids.append(str(server.program.pid))
        size = ['--rooms', str(rooms), '--members', str(members), '--flying', str(flying)]
        time_ = ['--seconds', str(seconds), '--limit', str(limit), '--ports', ','.join(ports), '--pids', ','.join(pids)]
        with cores.pinned(cores.load):
            tool = Process([str(TOOLS / 'wsrooms'), *size, *time_, *contestant.words()], ENV)
        stack.callback(tool.end)
        return tool.figures(limit + MARGIN / 2)


def rest() -> dict[str, float]:
    """What rooms cost that nobody speaks in: bytes, by the resident memory of a process of its own."""
    script = """
import sys, pyjows
from pathlib import Path
def resident(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096
what, n = sys.argv[1], 20000
rooms = pyjows.rooms(ioloop=pyjows.IOLoop())
loop = rooms.ioloop
sockets = [pyjows.WebSocket(established=True) for _ in range(n)] if what in ('member', 'third') else []
if what == 'third':
    for i, ws in enumerate(sockets): rooms['all'].join(ws); rooms['all2'].join(ws)
log = rooms.room('log', history_size=n)
log.follow()
before = resident()
for i in range(n):
    if what == 'message': log.publish(text='x' * 64)
    elif what == 'room': rooms[f'room{i}'].follow()
    elif what == 'member': rooms[f'room{i}'].join(sockets[i])
    else: rooms['all3'].join(sockets[i])
print((resident() - before) / n)
"""
    found = {}
    for what, text in (
        ('room', 'a room that is followed, without members'),
        ('member', "a room with one member, and the connection's first room"),
        ('third', 'a further member of a room, which is in other rooms already'),
        ('message', 'a message of 64 bytes in the history'),
    ):
        done = subprocess.run([*PYTHON, '-c', script, what], capture_output=True, text=True, check=True, env=ENV)
        found[text] = float(done.stdout)
    return found


def rest_in_redis(cores: Cores) -> dict[str, float]:
    """What the keys of rooms take in Redis, by the memory that it says it uses."""
    script = """
import sys, pyjows, redis
client = redis.Redis.from_url(sys.argv[1])
def used(): return client.info('memory')['used_memory']
def publish(first, last, times):
    for i in range(first, last):
        for _ in range(times): rooms[f'room{i}'].publish(text='x' * 64)
        if i % 50 == 49: rooms.flush(60)
    rooms.flush(60)
with pyjows.rooms(sys.argv[1], timeout=30) as rooms:
    publish(0, 50, 1)
    empty = used()
    publish(50, 1050, 1)
    one = used()
    publish(50, 1050, 99)
    print((one - empty) / 1000, (used() - one) / 99000)
"""
    with redis_server(cores) as url:
        done = subprocess.run([*PYTHON, '-c', script, url], capture_output=True, text=True, check=True, env=ENV)
    room, message = map(float, done.stdout.split())
    return {'in Redis, a room with one message of 64 bytes': room, 'in Redis, each of 99 further ones': message}


def ratios(found: dict[tuple[str, str, str], Figures], names: list[str]) -> Iterator[str]:
    """How many times better ours is than each other library, and whether that is the goal."""
    yield from (f'\nDeliveries a second, goal {GOAL:g} ×', '')
    for scenario, mode in dict.fromkeys((scenario, mode) for scenario, mode, _ in found):
        ours, floor = found.get((scenario, mode, 'pyjows')), found.get((scenario, mode, 'floor'))
        for name in names:
            theirs = found.get((scenario, mode, name))
            if name in ('pyjows', 'floor') or not ours or not theirs:
                continue
            ratio, cpu = ours['rate'] / theirs['rate'], theirs['cpu_us'] / ours['cpu_us']
            line = f'{scenario + ", " + mode:46} {name:10} {ratio:6.1f} × by rate {cpu:6.1f} × by CPU time'
            if scenario in GOAL_SCENARIOS:
                line += '   ' + ('met' if ratio >= GOAL else 'by CPU time' if cpu >= GOAL else 'NOT MET')
            if floor:
                by_rate, by_cpu = floor['rate'] / theirs['rate'], theirs['cpu_us'] / floor['cpu_us']
                line += f'   (the C server: {by_rate:.1f} ×, {by_cpu:.1f} ×)'
            yield line + (f'   {theirs["lost"]:.2g} % lost there' if theirs['lost'] else '')


def tables(found: dict[tuple[str, str, str], Figures], names: list[str], bytes_: dict[str, float]) -> Iterator[str]:
    """The lines of docs/performance.md; in parentheses how many times better ours is."""
    places = list(dict.fromkeys((scenario, mode) for scenario, mode, _ in found))
    for title, key, form, is_speed in (
        ('deliveries a second', 'rate', ',.0f', True),
        ('CPU µs of the servers for a delivery', 'cpu_us', ',.1f', False),
    ):
        yield from ('', f'| {title} | {" | ".join(names)} |', f'|---|{"---|" * len(names)}')
        for place in places:
            ours = found.get((*place, 'pyjows'))
            cells = []
            for name in names:
                each = found.get((*place, name))
                cells.append(format(each[key], form) if each else '-')
                if each and each['lost']:
                    cells[-1] += f', {each["lost"]:.2g} % lost'
                if each and ours and name != 'pyjows':
                    ratio = ours[key] / each[key] if is_speed else each[key] / ours[key]
                    cells[-1] += f' ({ratio:.1f} ×)'
            yield f'| {", ".join(place)} | {" | ".join(cells)} |'
    yield from ('', f'| p50 / p99 in ms | {" | ".join(names)} |', f'|---|{"---|" * len(names)}')
    for place in places:
        row = [found.get((*place, name)) for name in names]
        cells = [f'{each["p50"]:.2f} / {each["p99"]:.2f}' if each else '-' for each in row]
        yield f'| {", ".join(place)} | {" | ".join(cells)} |'
    yield from ('', '| at rest | bytes |', '|---|---|')
    for text, size in bytes_.items():
        yield f'| {text} | {size:,.0f} |'


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog='python -m bench.rooms', description=__doc__.splitlines()[0])
    parser.add_argument('--only', default='', help='contestants, separated by commas')
    parser.add_argument('--scenarios', default='', help='how the names of scenarios begin, separated by commas')
    parser.add_argument('--modes', default=','.join(SHORT), help='those wanted of ' + ', '.join(SHORT))
    parser.add_argument('--seconds', type=float, default=2)
    parser.add_argument('--runs', type=int, default=1)
    parser.add_argument('--limit', type=int, default=60, help='seconds after which a run is cut off (60)')
    parser.add_argument('--quick', action='store_true', help='half a second each')
    parser.add_argument('--json', help='a file for the figures')
    options = parser.parse_args()
    unwind_on_signals()
    if options.quick:
        options.seconds, options.runs = 0.5, 1
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    build_tools()
    cores = Cores.available()
    wanted = [each for each in CONTESTANTS if not options.only or each.name in options.only.split(',')]
    scenarios = [name for name in SCENARIOS if name.startswith(tuple(options.scenarios.split(',')))]
    modes = [mode for short, mode in SHORT.items() if short in options.modes.split(',')]
    places = [(scenario, mode) for scenario in scenarios for mode in modes]
    total = sum(mode in each.modes for _, mode in places for each in wanted) * options.runs
    print(f'{total} runs, together {total * (options.limit + MARGIN) / 60:.0f} minutes at most', flush=True)
    began = time.monotonic()
    found: dict[tuple[str, str, str], Figures] = {}
    for scenario, mode in places:
        print(f'\n{scenario}, {mode}', flush=True)
        for name, median in medians(wanted, scenario, mode, options, cores):
            found[scenario, mode, name] = median
    if options.json:
        kept = [
            {'scenario': place[0], 'mode': place[1], 'name': place[2], **figures} for place, figures in found.items()
        ]
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump(kept, file, indent=1)
    names = [each.name for each in wanted if any(each.name == name for _, _, name in found)]
    at_rest = rest()
    if any(MODES[mode][0] for mode in modes):
        at_rest |= rest_in_redis(cores)
    print(*ratios(found, names), *tables(found, names, at_rest), sep='\n')
    print(f'\n{(time.monotonic() - began) / 60:.1f} minutes')


def medians(
    wanted: list[Contestant], scenario: str, mode: str, options: argparse.Namespace, cores: Cores
) -> Iterator[tuple[str, Figures]]:
    """The contestants' medians in one place, printed; contestants alternate, A B C A B C."""
    runs: dict[str, list[Figures]] = {each.name: [] for each in wanted if mode in each.modes}
    failures: dict[str, str] = {}
    for _ in range(options.runs):
        for contestant in wanted:
            if contestant.name in runs and contestant.name not in failures:
                try:
                    done = measure(contestant, scenario, mode, options.seconds, options.limit, cores)
                    runs[contestant.name].append(done)
                except BenchError as exc:
                    failures[contestant.name] = str(exc)
    for name, figures in runs.items():
        if not figures:
            print(f'  {name:10} {failures[name]}', flush=True)
            continue
        median = {key: statistics.median(run[key] for run in figures) for key in figures[0]}
        print(
            f'  {name:10} {median["rate"]:10,.0f} deliveries/s   {median["cpu_us"]:8.1f} CPU µs   '
            f'p50 {median["p50"]:9.2f} ms   p99 {median["p99"]:9.2f} ms'
            + (f'   {median["lost"]:.2g} % lost' if median['lost'] else ''),
            flush=True,
        )
        yield name, median


if __name__ == '__main__':
    sys.exit(main())
