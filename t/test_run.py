"""`run()`: a program of one's own on every reactor, and how SIGINT and SIGTERM end it, with a real process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from background import TIMEOUT, until
from byhand import log
from program import Program

import pyjows
from pyjows import IOLoop

pytestmark = pytest.mark.wide(later=True)

PROGRAM = """
import os, sys, pyjows

loop = pyjows.IOLoop(sys.argv[1])
server = pyjows.serve('ws://127.0.0.1:0', ioloop=loop, close_timeout=float(sys.argv[2]))

@server.on
def websocket(server, ws):
    ws.on('finish', lambda ws, code, reason: print('finish', code, flush=True))

@loop.next_tick
def ready(loop):
    print('ready', server.ports[0], flush=True)

pyjows.run(loop, timeout=float(sys.argv[3]), graceful=float(os.environ.get('GRACEFUL', 0)))
print('returned', loop.is_running, len(server.connections), flush=True)
"""


STUCK = """
@server.on
def websocket(server, ws):

    @ws.on
    def text(ws, message):
        print('stuck', flush=True)
        while True:
            pass
"""


@pytest.fixture
def program(tmp_path, reactor_name):
    """``program(close_timeout, timeout)``: a server as a process of its own; ``(process, url)``."""
    script = tmp_path / 'served.py'
    running = []

    def start(close_timeout: float = 10, timeout: float = 10, more: str = '') -> tuple[Program, str]:
        script.write_text(PROGRAM.replace('@loop.next_tick', f'{more}\n@loop.next_tick'))
        process = Program(script, reactor_name, str(close_timeout), str(timeout)).__enter__()
        running.append(process)
        return process, f'ws://127.0.0.1:{process.find(r"ready ([0-9]+)")}'

    yield start
    for process in running:
        process.__exit__(None, None, None)


@pytest.fixture
def client_loop():
    """A loop for the client's side, in this process."""
    loop = IOLoop('poll')
    yield loop
    loop.close()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_gracefully(program, client_loop, run_until, number):
    process, url = program()
    clients = [pyjows.connect(url, ioloop=client_loop) for _ in range(3)]
    seen = [log(ws, 'finish') for ws in clients]
    run_until(client_loop, lambda: all(ws.established for ws in clients))
    process.process.send_signal(number)
    run_until(client_loop, lambda: all(ws.is_finished for ws in clients))
    assert process.end() == 0
    assert seen == [[('finish', 1001, '')]] * 3
    assert process.lines[1:] == ['finish 1001'] * 3 + ['returned False 0']
    assert process.errors == []


def test_the_closes_may_be_spread_over_some_time(program, client_loop, run_until, monkeypatch):
    monkeypatch.setenv('GRACEFUL', '0.6')
    process, url = program(timeout=20)
    clients = [pyjows.connect(url, ioloop=client_loop, simultaneous=True) for _ in range(20)]
    ends = []
    for ws in clients:
        ws.on('finish', lambda ws, code, reason: ends.append((time.monotonic(), code)))
    run_until(client_loop, lambda: all(ws.established for ws in clients))
    process.process.send_signal(signal.SIGTERM)
    run_until(client_loop, lambda: len(ends) == 20)
    assert {code for _, code in ends} == {1001}
    assert ends[-1][0] - ends[0][0] >= 0.4
    assert process.end() == 0


def test_a_signal_stops_an_idle_server_at_once(program):
    process, _ = program()
    assert process.stop() == 0
    assert process.lines[-1] == 'returned False 0'


def test_during_the_stop_no_new_connection_is_accepted(program, client_loop, run_until):
    process, url = program()
    ws = pyjows.connect(url, ioloop=client_loop)
    run_until(client_loop, lambda: ws.established)
    client_loop.stream(ws.connection).stop()
    process.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        late = pyjows.connect(url, ioloop=client_loop, timeout=1)
        failed = log(late, 'open', 'error')
        run_until(client_loop, lambda: failed)
        late.finish()
        return failed[0][0] == 'error'

    until(refused, 'connections to be refused')
    client_loop.stream(ws.connection).start()
    run_until(client_loop, lambda: ws.is_finished)
    assert process.end() == 0


def test_the_wait_for_those_that_do_not_close_is_bounded(program, client_loop, run_until):
    process, url = program(close_timeout=1000, timeout=0.2)
    ws = pyjows.connect(url, ioloop=client_loop)
    run_until(client_loop, lambda: ws.established)
    client_loop.stream(ws.connection).stop()
    assert process.stop() == 0
    assert process.lines[-1] == 'returned False 0'
    client_loop.stream(ws.connection).close()


@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_second_signal_ends_it_at_once(program, client_loop, run_until, number, status):
    process, url = program(close_timeout=1000, timeout=1000)
    ws = pyjows.connect(url, ioloop=client_loop)
    run_until(client_loop, lambda: ws.established)
    stream = client_loop.stream(ws.connection)
    closing = []
    ws.on('frame', lambda ws, frame: (closing.append(frame), stream.stop()))
    ws.unsubscribe('frame')  # nothing is answered
    ws.on('frame', lambda ws, frame: closing.append(frame))
    process.process.send_signal(number)
    run_until(client_loop, lambda: closing)
    assert process.process.poll() is None
    process.process.send_signal(number)
    assert process.end() == status
    assert not any('returned' in line for line in process.lines)
    stream.close()


def test_a_second_signal_ends_a_handler_that_does_not_return(program, client_loop, run_until):
    process, url = program(more=STUCK)
    ws = pyjows.connect(url, ioloop=client_loop).send(text='go')
    run_until(client_loop, lambda: 'stuck' in process.lines)
    process.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.process.wait(0.3)
    process.process.send_signal(signal.SIGINT)
    assert process.end() == -signal.SIGINT
    assert 'KeyboardInterrupt' in process.errors[-1]
    assert any(', in text' in line for line in process.errors), 'where the program was'
    run_until(client_loop, lambda: ws.is_finished)


@pytest.mark.slow
def test_a_stop_that_waits_says_for_what_and_how_long(program, client_loop, run_until):
    process, url = program(close_timeout=1000, timeout=1.5)
    clients = [pyjows.connect(url, ioloop=client_loop) for _ in range(2)]
    run_until(client_loop, lambda: all(ws.established for ws in clients))
    for ws in clients:
        client_loop.stream(ws.connection).stop()
    assert process.stop() == 0
    warned = [line for line in process.errors if 'stopping' in line]
    assert re.fullmatch(r'still stopping: waiting for 2 open connections, for 0\.[0-9] s at most', warned[0])
    assert warned[1:] == ['stopping: the time is over, 2 open connections are closed now']
    for ws in clients:
        client_loop.stream(ws.connection).close()


@pytest.mark.slow
def test_a_stop_whose_last_connection_ends_when_the_warning_is_due_does_not_warn(ioloop, caplog):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    with socket.create_connection(('127.0.0.1', server.ports[0])):  # and no request: it has a second for it
        ioloop.timer(0.1)(lambda ioloop: ioloop.stop_gracefully())
        ioloop.timer(1.05)(lambda ioloop: time.sleep(0.1))  # what is due meanwhile is called in one turn of the loop
        ioloop.start()
    assert [record.getMessage() for record in caplog.records if 'still stopping' in record.getMessage()] == []


def test_run_returns_when_nothing_is_left_to_do(ioloop):
    called = []
    ioloop.timer(0.01)(called.append)
    pyjows.run(ioloop)
    assert called == [ioloop]


def test_stop_has_run_return_and_leaves_everything_as_it_is(ioloop, run_until):
    server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop)
    ioloop.timer(0.01)(lambda loop: pyjows.stop(loop))
    pyjows.run(ioloop)
    assert not ioloop.is_running
    ws = pyjows.connect(server.urls[0], ioloop=ioloop)
    run_until(ioloop, lambda: ws.established)
    server.stop()
    run_until(ioloop, lambda: ws.is_finished and not server.connections)


def test_run_puts_the_signal_handlers_back(ioloop):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    inside: list[Any] = []
    ioloop.next_tick(lambda loop: inside.extend(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)))
    pyjows.run(ioloop)
    assert not set(inside) & set(before)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_run_works_in_another_thread_without_signals(ioloop):
    called = []
    ioloop.timer(0.01)(called.append)
    thread = threading.Thread(target=pyjows.run, args=(ioloop,))
    thread.start()
    thread.join(TIMEOUT)
    assert called == [ioloop]


def test_a_loop_that_runs_cannot_be_run_again(ioloop):
    raised = []

    def again(loop):
        with pytest.raises(RuntimeError) as caught:
            pyjows.run(loop)
        raised.append(caught.value)

    ioloop.next_tick(again)
    pyjows.run(ioloop)
    assert len(raised) == 1


def test_a_callback_that_raises_does_not_end_run(ioloop):
    called = []
    failed = log(ioloop.reactor, 'error')
    ioloop.next_tick(lambda loop: 1 / 0)
    ioloop.timer(0.01)(called.append)
    pyjows.run(ioloop)
    assert called == [ioloop]
    assert [type(exc) for _, exc in failed] == [ZeroDivisionError]


def test_the_environment_chooses_the_reactor_of_the_default_loop(reactor_name):
    code = 'import pyjows; print(pyjows.IOLoop.singleton().reactor.name)'
    environment = {**os.environ, 'PYJOWS_REACTOR': reactor_name, 'PYTHONPATH': os.pathsep.join(sys.path)}
    command = [sys.executable, '-P', '-c', code]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert ran.stdout.strip() == reactor_name, ran.stderr
