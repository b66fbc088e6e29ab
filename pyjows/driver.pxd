from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.loop_thread cimport LoopThread
from pyjows.protocol cimport Protocol

cdef int _OPEN


cdef class DrivenProtocol(Protocol):
    # The flags first: they fill the gap behind those of `Protocol`.
    cdef public bint kept_alive
    cdef bint _pinged
    cdef bint resume_pending
    cdef readonly bint is_finished
    cdef public object owner
    cdef public object ioloop
    cdef readonly LoopThread thread
    cdef public object connection
    cdef public double close_timeout
    cdef object _close_timer
    cdef tuple _addresses

    cpdef object await_loop(self, object ioloop)
    cpdef object attach(self, Receiver receiver, object stream, object ioloop, object connection)
    cpdef object take_over(self, Receiver receiver)
    cpdef object end_driving(self)
    cpdef object keep_alive(self)
    cpdef object release_stream(self)
    cdef object _keep_addresses(self)
