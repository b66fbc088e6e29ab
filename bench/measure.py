"""How a scenario is measured: contestants in turn, the server on one core and the load on the other.

Owns the processes: it starts them, pins them, reads what they print and ends them. Knows nothing of tables or pictures.
"""

import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from bench.contestants import Contestant
from bench.scenarios import Scenario
from t.installed import ROOT, RUN

__all__ = ['PYTHON', 'BenchError', 'Cores', 'Process', 'Suite', 'build_tools', 'unwind_on_signals']

SOURCES = Path(__file__).parent / 'load'
TOOLS = Path(__file__).parent / '.build'
PYTHON = (sys.executable, '-P')
START_LIMIT = 30  # seconds for a server to say where it listens
FLAGS = ('-O3', '-Wall')
LIBRARIES = ('-ldl',)
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Figures = dict[str, float]


class BenchError(Exception):
    """A contestant could not be measured; the message says why, with the last of what it wrote."""


def unwind_on_signals() -> None:
    """Have the signals that end a program raise SystemExit, so that its servers and load tools are ended too.

    The first one does; later ones are ignored, or they would interrupt that.
    """

    def unwind(number: int, frame: object) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in ENDING:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup and a shell's `&` have it
            signal.signal(each, unwind)


def build_tools() -> None:
    """Compile the load tools where a source is newer than its program.

    Raises BenchError when there is no C compiler (`CC`, cc, gcc or clang), or when it fails.
    """
    names = (os.environ.get('CC', ''), 'cc', 'gcc', 'clang')
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    TOOLS.mkdir(exist_ok=True)
    for source in SOURCES.glob('*.c'):
        tool = TOOLS / source.stem
        if tool.exists() and tool.stat().st_mtime > newest:
            continue
        if compiler is None:
            raise BenchError('the load tools are C programs and no compiler was found: install one, or name it in CC')
        done = subprocess.run(
            [compiler, *FLAGS, '-o', tool, source, *LIBRARIES], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f'{compiler} could not compile {source}:\n{done.stderr}')


@cache
def certificates() -> Path:
    """A folder with what TLS needs, made once: cert.pem and key.pem for 127.0.0.1 (an EC key), ca.pem which signed."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert('localhost', '127.0.0.1')
    authority.cert_pem.write_to_path(str(TOOLS / 'ca.pem'))
    issued.private_key_pem.write_to_path(str(TOOLS / 'key.pem'))
    (TOOLS / 'cert.pem').write_bytes(b''.join(blob.bytes() for blob in issued.cert_chain_pems))
    return TOOLS


@dataclass(frozen=True)
class Cores:
    """Which core runs what is measured, and which one the load."""

    server: int
    load: int

    @classmethod
    def available(cls) -> 'Cores':
        """The first two cores that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError('two cores are needed, one for the server and one for the load; this process may use one')
        return cls(cores[0], cores[1])

    @contextmanager
    def pinned(self, core: int) -> Iterator[None]:
        """What is started in this block stays on that core."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


class Process:
    """A program started for a measurement, with its complaints kept for a message."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self.program = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
        )

    def port(self) -> int:
        """The port that a server prints when it listens."""
        assert self.program.stdout
        readable, _, _ = select.select([self.program.stdout], [], [], START_LIMIT)
        line = self.program.stdout.readline() if readable else ''
        if not line.startswith('port='):
            raise BenchError(f'did not start: {self.last_words()}')
        return int(line.removeprefix('port='))

    def figures(self, limit: float) -> Figures:
        """The JSON that a tool prints at its end."""
        try:
            output, _ = self.program.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise BenchError(f'not done after {limit:.0f} s: {self.last_words()}') from None
        if self.program.returncode:
            raise BenchError(self.last_words() or f'ended with status {self.program.returncode}')
        figures: Figures = json.loads(output)
        return figures

    def last_words(self) -> str:
        """The last line of standard error."""
        self.complaints.seek(0)
        lines = [line for line in self.complaints.read().decode(errors='replace').splitlines() if line.strip()]
        return lines[-1].strip() if lines else ''

    def ended(self) -> int | None:
        """Its status, if it has ended; one that dies gets a moment to do so."""
        try:
            return self.program.wait(0.5)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Stop it, kindly first."""
        if self.program.poll() is None:
            self.program.terminate()
            try:
                self.program.wait(2)
            except subprocess.TimeoutExpired:
                self.program.kill()
                self.program.wait()
        if self.program.stdout:
            self.program.stdout.close()
        self.complaints.close()


class Suite:
    """Measures one contestant in one scenario at a time.

    `seconds` is how long the load lasts, `scale` shrinks numbers of idle connections (for a quick look).
    """

    def __init__(self, *, seconds: float = 2, scale: float = 1, cores: Cores | None = None) -> None:
        self.seconds = seconds
        self.scale = scale
        self.cores = cores or Cores.available()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # thousands of connections

    def measure(self, scenario: Scenario, contestant: Contestant) -> Figures:
        """Run it once. Raises BenchError when it does not run here or gives a wrong answer.

        Beside what the tool found, the figures hold `disturbed`: the part of the two cores' time that others took.
        """
        start, busy, own = time.monotonic(), self._busy(), _own()
        figures = self._measure(scenario, contestant)
        foreign = (self._busy() - busy) - (_own() - own)
        return figures | {'disturbed': max(0.0, foreign / 2 / (time.monotonic() - start))}

    def _busy(self) -> float:
        """Seconds for which the two cores were at work for anybody, or stolen by the host."""
        wanted = {f'cpu{self.cores.server}', f'cpu{self.cores.load}'}
        lines = (line.split() for line in Path('/proc/stat').read_text().splitlines())
        user_to_system, irq_to_steal = slice(1, 4), slice(6, 9)  # not idle, not iowait; guests are counted as users
        ticks = [map(int, line[user_to_system] + line[irq_to_steal]) for line in lines if line[0] in wanted]
        return sum(map(sum, ticks)) / os.sysconf('SC_CLK_TCK')

    def _measure(self, scenario: Scenario, contestant: Contestant) -> Figures:
        match scenario.tool:
            case 'client':
                return self._measure_client(scenario, contestant)
            case 'sansio':
                return self._measure_alone(scenario, contestant)
            case _:
                return self._measure_server(scenario, contestant)

    def running(self, contestant: Contestant, *arguments: str) -> AbstractContextManager[Process]:
        """Run a contestant on the server's core for as long as the block lasts."""
        return self._running(self.cores.server, contestant, *arguments)

    def tool(self, name: str, arguments: Mapping[str, int | str], limit: float) -> Figures:
        """Run a load tool on the other core to its end, at most `limit` seconds; returns what it measured."""
        with self._running(self.cores.load, TOOLS / name, *_words(arguments)) as tool:
            return tool.figures(limit)

    def _measure_server(self, scenario: Scenario, contestant: Contestant) -> Figures:
        mode = () if contestant.is_tool else ('--mode', scenario.mode)
        tls = _tls(scenario)
        with self.running(contestant, *mode, *_words(tls)) as server, tempfile.NamedTemporaryFile() as payload:
            arguments = dict(scenario.arguments) | tls
            if scenario.payload is not None:
                payload.write(scenario.payload)
                payload.flush()
                arguments['payload'] = payload.name
            if scenario.tool == 'wsopen':
                arguments['connections'] = int(int(arguments['connections']) * self.scale)
            else:
                arguments['seconds'] = str(self.seconds)
            arguments |= {'port': server.port(), 'server-pid': server.program.pid}
            return self.tool(scenario.tool, arguments, self.seconds + 60)

    def _measure_client(self, scenario: Scenario, contestant: Contestant) -> Figures:
        tls = _tls(scenario)
        with self._running(self.cores.load, TOOLS / 'wsecho', *_words(tls)) as server:
            arguments = dict(scenario.arguments) | tls | {'port': server.port(), 'seconds': str(self.seconds)}
            with self._running(self.cores.server, contestant, *_words(arguments)) as client:
                return client.figures(self.seconds + 60)

    def _measure_alone(self, scenario: Scenario, contestant: Contestant) -> Figures:
        arguments = dict(scenario.arguments) | {'seconds': str(self.seconds)}
        with self._running(self.cores.server, contestant, *_words(arguments)) as program:
            return program.figures(self.seconds + 60)

    @contextmanager
    def _running(self, core: int, what: Contestant | Path, *arguments: str) -> Iterator[Process]:
        env = dict(os.environ)
        if isinstance(what, Path):
            command = [str(what), *arguments]
        elif what.is_node:
            command = ['node', str(Path(__file__).parent / what.script), *what.arguments, *arguments]
        elif what.is_tool:
            command = [str(TOOLS / what.script), *what.arguments, *arguments]
        else:
            command = [*PYTHON, '-c', RUN, str(ROOT), what.script, *what.arguments, *arguments]
            env |= what.env
        with self.cores.pinned(core):
            process = Process(command, env)
        try:
            yield process
        except BenchError as error:
            status = process.ended()
            if status is None or str(error) == process.last_words():
                raise
            raise BenchError(f'{error} ({command[0]} ended with status {status}: {process.last_words()})') from None
        finally:
            process.end()


def _own() -> float:
    """Seconds of CPU that this process and those that it has ended took."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in usage)


def _tls(scenario: Scenario) -> dict[str, int | str]:
    """The option that tells a tool, a server or a client to speak TLS, where the scenario asks for it."""
    return {'tls': str(certificates())} if scenario.tls else {}


def _words(arguments: Mapping[str, int | str]) -> list[str]:
    """Options as a command line has them."""
    return [word for name, value in arguments.items() for word in (f'--{name}', str(value))]
