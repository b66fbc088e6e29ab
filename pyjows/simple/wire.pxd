cimport cython

from pyjows.buffers cimport WriteBuffer
from pyjows.simple.session cimport Session
from pyjows.waiter cimport TaskGate, Waiter

cdef double _LINGER
cdef Py_ssize_t _MOST_CORKED
cdef int _TURN


@cython.final
cdef class Waiters:
    cdef TaskGate _gate
    cdef list _waiting

    @cython.locals(waiting=list, waiter=Waiter)
    cpdef object wake(self)
    @cython.locals(waiting=list, waiter=Waiter, gate=TaskGate)
    cdef object run(self)
    @cython.locals(waiter=Waiter)
    cdef Waiter add(self)
    cdef object forget(self, Waiter waiter)


cdef class WireCore:
    cdef Session _session
    cdef object _loop
    cdef object _host
    cdef object _transport
    cdef Waiters _received
    cdef Waiters _writable
    cdef Waiters _ended
    cdef object _buffer
    cdef object _tunnel
    cdef object _failure
    cdef object _timer
    cdef int _in_a_row
    cdef bint _opening
    cdef bint _reading_paused
    cdef bint _writing_paused
    cdef bint _lingering
    cdef bint _over
    cdef bint _gone
    cdef bint _corked
    cdef bint _delivering

    cdef object _opened(self)
    cdef object _open_with(self, bytes data)
    cdef object _at_end(self)
    cdef object _resume_reading(self)
    @cython.locals(out=WriteBuffer)
    cdef object _flush(self)
    cdef object _finish(self)
    cdef object _end_later(self)
    cdef object _forget_timer(self)
