"""The native reactor: epoll itself, with no Python call between the kernel and a handle that is compiled.

Owns the epoll descriptor and the array of events. Its Python stand-in is `poll.py`, which does the same through the
standard library; both override the same few methods of `base.py`, and pass the same tests.

Level triggered, for three reasons. A stream receives once a turn and leaves the rest to the next one, which is what keeps a
flooding connection from starving the others; edge triggered, it would have to queue itself for that. A read that is resumed
after a pause needs no extra recv(2) for what arrived meanwhile. And the cost that edge triggering saves, rearming, does not
arise: what is wanted of a connection hardly ever changes, since most writes are taken by the kernel at once.

An event carries a pointer to its `Watcher`. A watcher that is removed during a turn is kept until no event of that turn can
refer to it any more; one whose descriptor was closed too early is kept for good.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EBADF, EINTR, ENOENT, EPERM, errno
from libc.math cimport ceil
from posix.unistd cimport close

import os

from .base import Reactor

from pyjows.reactor.base cimport Handle, Watcher

__all__ = ['EpollReactor']

cdef extern from '<sys/epoll.h>' nogil:
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    enum:
        EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP
        EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
        EPOLL_CLOEXEC


# Events taken from the kernel at once. What is left over waits for the next turn; the kernel serves all in rotation.
cdef enum:
    MAX_EVENTS = 256


cdef class Epoll:
    """The epoll descriptor of one reactor."""

    cdef int fd
    cdef int depth
    cdef list removed
    cdef list orphans

    def __cinit__(self):
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, f'epoll_create1: {os.strerror(errno)}')
        self.removed = []
        self.orphans = []

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    cpdef object close(self):
        if self.depth == 0:
            self.removed = []
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    cdef object control(self, int op, Watcher watcher):
        cdef epoll_event event
        event.events = (EPOLLIN if watcher.read else 0) | (EPOLLOUT if watcher.write else 0)
        event.data.ptr = <void*>watcher
        if epoll_ctl(self.fd, op, watcher.fd, &event) < 0:
            raise OSError(errno, f'epoll cannot watch file descriptor {watcher.fd}: {os.strerror(errno)}')

    cdef object unregister(self, Watcher watcher):
        if epoll_ctl(self.fd, EPOLL_CTL_DEL, watcher.fd, NULL) < 0:
            if errno not in (EBADF, ENOENT, EPERM):
                raise OSError(errno, f'epoll cannot unregister file descriptor {watcher.fd}: {os.strerror(errno)}')
            # The descriptor was closed before, and its number may be reused. The kernel has dropped the registration,
            # unless there is a copy of the descriptor, as in a forked child: its events still refer to the watcher.
            self.orphans.append(watcher)

    cdef int wait(self, object reactor, double timeout, object waker) except -1:
        cdef epoll_event events[MAX_EVENTS]
        cdef int n, i, handled = 0
        cdef int milliseconds = <int>ceil(timeout * 1000)
        cdef unsigned int flags
        cdef bint readable, writable
        cdef Watcher watcher
        cdef Handle handle
        if milliseconds:
            with nogil:
                n = epoll_wait(self.fd, events, MAX_EVENTS, milliseconds)
        else:
            n = epoll_wait(self.fd, events, MAX_EVENTS, 0)
        if n < 0:
            if errno != EINTR:
                raise OSError(errno, f'epoll_wait: {os.strerror(errno)}')
            n = 0
        # The interpreter looks for signals between two of its instructions; in a compiled loop there may be none.
        PyErr_CheckSignals()
        if self.depth == 0 and self.removed:
            self.removed = []
        self.depth += 1
        try:
            for i in range(n):
                watcher = <Watcher>events[i].data.ptr
                flags = events[i].events
                # What it wants now: callbacks that came before may have changed that, or removed it.
                readable = watcher.read and flags & (EPOLLIN | EPOLLHUP | EPOLLERR)
                writable = watcher.write and flags & (EPOLLOUT | EPOLLHUP | EPOLLERR)
                if readable or writable:
                    handle = watcher.handle
                    handled += handle is not waker
                    try:
                        handle.dispatch(readable, writable)
                    except BaseException as exc:
                        reactor._failed(exc)
        finally:
            self.depth -= 1
        return handled


class EpollReactor(Reactor):
    """A `Reactor` on epoll (Linux); it runs no coroutines."""

    name = 'epoll'

    def _open(self):
        self._epoll = Epoll()

    def _shut(self):
        cdef Epoll epoll = self._epoll
        if epoll.depth:
            # A wait under way may still refer to these.
            epoll.removed.extend(self._watchers.values())
            epoll.removed.append(self._waker_watcher)
        epoll.close()

    def _fileno(self):
        return (<Epoll>self._epoll).fd

    def _wait(self, double timeout):
        cdef Epoll epoll = self._epoll  # a name that lasts as long as the call, whatever the callbacks do
        return epoll.wait(self, timeout, self._waker)

    def _add(self, Watcher watcher):
        (<Epoll>self._epoll).control(EPOLL_CTL_ADD, watcher)

    def _modify(self, Watcher watcher, was_read, was_write):
        # One that wants nothing is unregistered: epoll reports EPOLLERR and EPOLLHUP even for an empty mask.
        if not (watcher.read or watcher.write):
            (<Epoll>self._epoll).unregister(watcher)
        else:
            (<Epoll>self._epoll).control(EPOLL_CTL_MOD if was_read or was_write else EPOLL_CTL_ADD, watcher)

    def _drop(self, Watcher watcher, was_read, was_write):
        cdef Epoll epoll = self._epoll
        epoll.removed.append(watcher)
        if was_read or was_write:
            epoll.unregister(watcher)
        watcher.handle = None
