"""The manager: starts workers, watches them, and replaces them.

Owns the processes and the manager's signals. Must not know sockets, nor what a worker does (`worker.py`).

Signals set a flag in the interpreter only; their numbers also arrive in a socket pair (`signal.set_wakeup_fd`), which
the manager waits for beside the links of its workers. Everything is done in one place, `_turn`: it reads what arrived,
then `_adjust` compares the workers that run with those that should, and starts or stops some. While a process is forked
the signals are blocked, so that none reaches a child that still has its parent's handlers.

A worker is starting, until it sends `READY`; then it serves, until it is told to stop. A reload marks all running
workers as old. One is replaced at a time: a new one is started, and when it is ready an old one is stopped. A new one
that ends before it was ready ends the reload, and the old ones stay.
"""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Any, NoReturn

from ..safe_logger import SafeLogger
from .delays import Restarts
from .worker import READY, Worker

__all__ = ['Manager']

_log = SafeLogger('pyjows.prefork')

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGHUP', 'SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGTTIN', 'SIGTTOU', 'SIGCHLD')
    if hasattr(signal, name)
)

# Seconds after which a worker that had to stop is killed, beyond what it was given.
_KILL_DELAY = 1.0

# Seconds of a turn at most.
_LONGEST_WAIT = 60.0


class _Process:
    """A worker as the manager sees it.

    Attributes:
        pid: its process.
        link: the manager's end of the link.
        began: when it was started.
        seen: when it gave its last sign of life.
        is_ready, is_stopping: its state; neither while it starts.
        is_old: a reload has to replace it.
        kill_at: when it is killed, if it still runs.
        replaces: the worker that stops when this one is ready.
    """

    def __init__(self, pid: int, link: socket.socket, replaces: _Process | None) -> None:
        self.pid = pid
        self.link = link
        self.began = self.seen = monotonic()
        self.is_ready = self.is_stopping = self.is_old = False
        self.kill_at: float | None = None
        self.replaces = replaces


class Manager:
    """The workers of one program.

    Args:
        app, sockets: what each worker calls, and with what.
        unlisten: closes the manager's copies of the sockets; called before the workers are told to stop.
        workers: how many.
        delays, stable_after: when a worker that has crashed is started again.
        timeout, graceful, heartbeat_timeout: as for `prefork`.
    """

    def __init__(
        self,
        app: str | Callable[[Any], object],
        sockets: Any,
        *,
        unlisten: Callable[[], object],
        workers: int,
        timeout: float,
        graceful: float,
        heartbeat_timeout: float,
        delays: Callable[[], Iterator[float]],
        stable_after: float,
    ) -> None:
        self._app = app
        self._sockets = sockets
        self._unlisten = unlisten
        self._wanted = workers
        self._timeout = timeout
        self._graceful = graceful
        self._heartbeat_timeout = heartbeat_timeout
        self._restarts = Restarts(delays, stable_after)
        self._due: list[float] = []  # when workers are started again
        self._processes: dict[int, _Process] = {}
        self._was_ready = False
        self._has_failed = False
        self._is_stopping = False
        self._ended_by: int | None = None  # the signal that did not let it stop gracefully
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()

    def run(self) -> None:
        """Start the workers, and manage them until they have stopped.

        Raises:
            RuntimeError: no worker could start.
            SystemExit: it was not allowed to stop gracefully.
        """
        with ExitStack() as stack:
            for one in (self._reader, self._writer):
                stack.callback(one.close)
                one.setblocking(False)
            stack.callback(self._selector.close)
            self._selector.register(self._reader, selectors.EVENT_READ)
            for number in _SIGNALS:
                stack.callback(signal.signal, number, signal.signal(number, _do_nothing) or signal.SIG_DFL)
            before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            stack.callback(signal.set_wakeup_fd, before)
            stack.callback(self._kill_all)
            _log.info('manager %d starts %d workers', os.getpid(), self._wanted)
            self._adjust()
            while self._processes or not self._is_stopping:
                self._turn()
        if self._ended_by is not None:
            raise SystemExit(128 + self._ended_by)
        if self._has_failed:
            raise RuntimeError('prefork(): no worker could start, the log says why')
        _log.info('manager %d: all workers have stopped', os.getpid())

    def _turn(self) -> None:
        """Wait for signals, links and times that are due, and handle them."""
        for key, _ in self._selector.select(self._wait()):
            if key.fileobj is self._reader:
                for number in self._read(self._reader) or b'':
                    self._signal_received(number)
            else:
                self._link_read(key.data, self._read(key.data.link))
        self._reap()
        self._kill_late()
        self._adjust()

    def _wait(self) -> float:
        """The seconds until something is due."""
        at = list(self._due)
        for process in self._processes.values():
            if process.kill_at is not None:
                at.append(process.kill_at)
            elif self._heartbeat_timeout:
                at.append(process.seen + self._heartbeat_timeout)
        return max(0.0, min([monotonic() + _LONGEST_WAIT, *at]) - monotonic())

    @staticmethod
    def _read(link: socket.socket) -> bytes | None:
        """The bytes that arrived; None for none at the moment, b'' for EOF."""
        try:
            return link.recv(4096)
        except BlockingIOError:
            return None
        except OSError:
            return b''

    # Signals

    def _signal_received(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._stop(number)
        elif number == signal.SIGTTIN:
            self._wanted += 1
            _log.info('%d workers are wanted', self._wanted)
        elif number == signal.SIGTTOU and self._wanted > 1:
            self._wanted -= 1
            _log.info('%d workers are wanted', self._wanted)

    def _reload(self) -> None:
        """Mark all workers as old, so that `_adjust` replaces them."""
        if self._is_stopping:
            return
        _log.info('the workers are replaced')
        module = self._app.partition(':')[0] if isinstance(self._app, str) else None
        if module is None:
            _log.warning("HUP loads no new code: the manager has loaded the function; prefork('module:function') does")
        elif module in sys.modules:
            _log.warning('HUP does not load %s again: the manager has imported it', module)
        self._due.clear()  # the new code may be the one that does not crash
        for process in self._processes.values():
            process.is_old = True
            if process.replaces is not None:  # it may have loaded the code before this one, or never become ready
                process.replaces = None
                self._stop_worker(process, signal.SIGTERM, self._graceful + self._timeout + _KILL_DELAY)

    def _stop(self, number: int) -> None:
        """Stop all workers: gracefully at the first signal, at once at a second one or SIGQUIT."""
        if self._is_stopping or number == signal.SIGQUIT:
            if self._ended_by is None:
                self._ended_by = number
            self._is_stopping = True
            self._unlisten()
            for process in self._processes.values():
                # One that is starting has no handler yet, and SIGQUIT would dump its core.
                self._stop_worker(process, signal.SIGQUIT if process.is_ready else signal.SIGKILL, _KILL_DELAY)
            return
        _log.info('manager %d stops', os.getpid())
        self._is_stopping = True
        self._unlisten()
        for process in self._processes.values():
            self._stop_worker(process, signal.SIGTERM, self._graceful + self._timeout + _KILL_DELAY)

    def _stop_worker(self, process: _Process, number: int, seconds: float) -> None:
        """Send a worker the signal to stop; it is killed after `seconds`."""
        if process.is_stopping and number == signal.SIGTERM:
            return  # a second one would not be graceful
        process.is_stopping = True
        process.kill_at = monotonic() + seconds
        self._send(process, number)

    def _send(self, process: _Process, number: int) -> None:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            pass

    def _kill_all(self) -> None:
        """Whatever happened to the manager, no worker is left behind."""
        for process in self._processes.values():
            self._send(process, signal.SIGKILL)
        for process in self._processes.values():
            process.link.close()
            os.waitpid(process.pid, 0)
        self._processes.clear()

    def _kill_late(self) -> None:
        """Kill the workers that did not stop in time, and those whose loop hangs."""
        now = monotonic()
        for process in self._processes.values():
            if process.kill_at is not None:
                if now >= process.kill_at:
                    _log.warning('worker %d did not stop in time and is killed', process.pid)
                    self._send(process, signal.SIGKILL)
                    process.kill_at = now + _LONGEST_WAIT
            elif self._heartbeat_timeout and now >= process.seen + self._heartbeat_timeout:
                why = 'its loop has not turned for' if process.is_ready else 'it was not ready within'
                _log.error('worker %d is killed: %s %g s', process.pid, why, self._heartbeat_timeout)
                self._send(process, signal.SIGKILL)
                process.kill_at = now + _LONGEST_WAIT

    # Workers

    def _link_read(self, process: _Process, data: bytes | None) -> None:
        """A worker has sent something, or closed its end of the link."""
        if not data:
            if data is not None:
                self._selector.unregister(process.link)
            return
        if process.is_ready:
            process.seen = monotonic()
        elif READY in data:
            process.seen = monotonic()
            process.is_ready = self._was_ready = True
            _log.info('worker %d is ready', process.pid)
            if process.replaces is not None and process.replaces.pid in self._processes:
                self._stop_worker(process.replaces, signal.SIGTERM, self._graceful + self._timeout + _KILL_DELAY)
            process.replaces = None

    def _reap(self) -> None:
        """Note which workers have ended."""
        for process in list(self._processes.values()):
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                del self._processes[pid]
                if process.link in self._selector.get_map():
                    self._selector.unregister(process.link)
                process.link.close()
                self._ended(process, os.waitstatus_to_exitcode(status))

    def _ended(self, process: _Process, status: int) -> None:
        """A worker has ended: log how, and decide whether and when another one is started."""
        lived = monotonic() - process.began
        how = f'with status {status}' if status >= 0 else f'by {_name(-status)}'
        replacement = next((one for one in self._processes.values() if one.replaces is process), None)
        if replacement is not None:
            replacement.replaces = None
        if process.is_stopping:
            is_normal = status == 0 or (status == -signal.SIGTERM and not process.is_ready)
            _log.log(logging.INFO if is_normal else logging.WARNING, 'worker %d has stopped %s', process.pid, how)
        elif replacement is not None:
            _log.warning('worker %d ended %s, while it was being replaced', process.pid, how)
        elif not process.is_ready and not self._was_ready:
            _log.error('worker %d ended %s before it was ready: the manager stops', process.pid, how)
            self._has_failed = True
            self._stop(signal.SIGTERM)
        elif not process.is_ready and process.replaces is not None:
            _log.error('worker %d ended %s before it was ready: the other ones are not replaced', process.pid, how)
            for other in self._processes.values():
                other.is_old = False
        else:
            delay = self._restarts.delay(lived)
            self._due.append(monotonic() + delay)
            when = f'in {delay:g} s' if delay else 'now'
            _log.warning('worker %d ended %s after %.1f s: another one is started %s', process.pid, how, lived, when)

    def _adjust(self) -> None:
        """Start the workers that are missing, stop those that are too many, and replace old ones, one at a time."""
        if self._is_stopping:
            return
        now = monotonic()
        self._due = [at for at in self._due if at > now]
        current = [process for process in self._processes.values() if not process.is_stopping]
        replacing = [process for process in current if process.replaces is not None]
        missing = self._wanted - (len(current) - len(replacing)) - len(self._due)
        while missing < 0 and self._due:
            self._due.pop()
            missing += 1
        for process in [one for one in current if one.replaces is None][: max(0, -missing)]:  # the oldest first
            self._stop_worker(process, signal.SIGTERM, self._graceful + self._timeout + _KILL_DELAY)
        for _ in range(missing):
            self._start(None)
        if not replacing:
            old = next((one for one in current if one.is_old and one.is_ready and not one.is_stopping), None)
            if old is not None:
                self._start(old)

    def _start(self, replaces: _Process | None) -> None:
        """Fork a worker."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            self._cannot_start(exc)
            return
        try:
            ours.setblocking(False)
            self._selector.register(ours, selectors.EVENT_READ)  # before there is a process: it may fail
        except OSError as exc:
            ours.close()
            theirs.close()
            self._cannot_start(exc)
            return
        _flush()  # otherwise the child would write buffered output a second time
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                self._work(ours, theirs)
        except OSError as exc:
            self._selector.unregister(ours)
            ours.close()
            self._cannot_start(exc)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            theirs.close()
        process = self._processes[pid] = _Process(pid, ours, replaces)
        self._selector.modify(ours, selectors.EVENT_READ, process)
        _log.info('worker %d is started', pid)

    def _cannot_start(self, exc: OSError) -> None:
        """The system has no process, descriptor or watch left: try again later."""
        delay = max(self._restarts.delay(0.0), _KILL_DELAY)
        self._due.append(monotonic() + delay)
        _log.error('a worker cannot be started: %s; the next attempt is in %g s', exc, delay)

    def _work(self, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """What the child does: become a worker, and end."""
        status = 1
        try:
            atexit._clear()  # what the manager's program registered is its own
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, _do_nothing if number in (signal.SIGINT, signal.SIGHUP) else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            # While a copy of the manager's end of a link is open anywhere, the worker there does not see its EOF.
            self._selector.close()
            for one in (ours, self._reader, self._writer, *(other.link for other in self._processes.values())):
                one.close()
            status = Worker(
                self._app,
                self._sockets,
                theirs,
                timeout=self._timeout,
                graceful=self._graceful,
                heartbeat_timeout=self._heartbeat_timeout,
            ).run()
        except SystemExit as exc:
            if isinstance(exc.code, str):
                _log.error('worker %d ends: %s', os.getpid(), exc.code)
            status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        except BaseException:
            _log.exception('worker %d failed', os.getpid())
        finally:
            # No `finally` of the manager's program may run here; what the worker's own modules registered does.
            atexit._run_exitfuncs()
            _flush()
            os._exit(status & 0xFF)


def _do_nothing(number: int, frame: object) -> None:
    """A signal handler: the number arrives in the wake-up socket."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # it is closed, or there is none


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'
