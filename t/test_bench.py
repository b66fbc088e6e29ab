"""The benchmarks leave no server behind."""

import os
import signal
import sys

import pytest
from program import Program

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='the benchmarks run on Linux')

STARTS_A_SERVER = """
import os, sys
from contextlib import ExitStack
from bench.measure import Process, unwind_on_signals

unwind_on_signals()
with ExitStack() as stack:
    server = Process([sys.executable, '-c', 'import time; time.sleep(60)'], os.environ)
    stack.callback(server.end)
    print(server.program.pid)
    server.program.wait()
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_that_is_told_to_end_ends_its_servers_first(number):
    with Program('-c', STARTS_A_SERVER) as running:
        server = int(running.find(r'\d+'))
        running.process.send_signal(number)
        running.process.send_signal(number)
        assert running.process.wait(20) == 128 + number, running
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
