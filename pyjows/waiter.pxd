cimport cython

cdef int _PENDING, _WOKEN, _CANCELLED


@cython.final
cdef class TaskGate:
    cdef readonly object loop
    cdef readonly object cancelled_error
    cdef public bint is_open


@cython.final
@cython.freelist(16)
cdef class Waiter:
    cdef TaskGate _gate
    cdef object _callback
    cdef object _context
    cdef object _cancel_message
    cdef int _state
    cdef public bint _asyncio_future_blocking

    cpdef object wake(self)
    @cython.locals(gate=TaskGate)
    cpdef object wake_now(self)
    cdef object _call_soon(self)
