"""The reactor that runs everywhere: on the standard library's `selectors`.

Owns the selector, which is the best that the platform has (epoll, kqueue, /dev/poll, poll or select). Level
triggered: what a handle leaves unread is reported again in the next turn, so that a handle may bound the work it does
at a time.
"""

from __future__ import annotations

from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

from .base import Reactor, Watcher

__all__ = ['PollReactor']


class PollReactor(Reactor):
    """A `Reactor` on the standard library alone; it runs no coroutines."""

    name = 'poll'

    def _open(self) -> None:
        self._selector = DefaultSelector()

    def _shut(self) -> None:
        self._selector.close()

    def _fileno(self) -> int:
        fileno = getattr(self._selector, 'fileno', None)
        if fileno is None:
            raise OSError(f'{type(self._selector).__name__} has no file descriptor that a host loop could watch')
        return int(fileno())

    def _wait(self, timeout: float) -> int:
        handled = 0
        for key, mask in self._selector.select(timeout):
            watcher: Watcher = key.data
            # What it wants now: earlier callbacks of this turn may have changed that, or removed it.
            readable = watcher.read and mask & EVENT_READ != 0
            writable = watcher.write and mask & EVENT_WRITE != 0
            if readable or writable:
                handled += watcher.handle is not self._waker
                try:
                    watcher.handle.ready(readable, writable)
                except BaseException as exc:
                    self._failed(exc)
        return handled

    def _add(self, watcher: Watcher) -> None:
        self._selector.register(watcher.fd, EVENT_READ, watcher)

    def _modify(self, watcher: Watcher, was_read: bool, was_write: bool) -> None:
        mask = (EVENT_READ if watcher.read else 0) | (EVENT_WRITE if watcher.write else 0)
        if not mask:
            self._selector.unregister(watcher.fd)
        elif was_read or was_write:
            self._selector.modify(watcher.fd, mask, watcher)
        else:
            self._selector.register(watcher.fd, mask, watcher)

    def _drop(self, watcher: Watcher, was_read: bool, was_write: bool) -> None:
        if was_read or was_write:
            self._selector.unregister(watcher.fd)
