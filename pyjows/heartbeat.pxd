import cython

from pyjows.transaction.driver cimport TransactionProtocol


cdef class Heartbeat:
    cdef object _reactor
    cdef double _tick_after
    cdef list _slots
    cdef Py_ssize_t _next_slot
    cdef Py_ssize_t _size
    cdef object _timer
    cdef double _zero

    cpdef object add(self, TransactionProtocol protocol)
    @cython.locals(slot=dict)
    cpdef object remove(self, TransactionProtocol protocol)
    @cython.locals(protocol=TransactionProtocol)
    cpdef object _tick(self, object reactor)
