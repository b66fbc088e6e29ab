from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.frames cimport as_bytes, head_byte, make_frame
from pyjows.handlers cimport MessageHandlers
from pyjows.loop_thread cimport LoopThread
from pyjows.protocol cimport Protocol

cdef int _OPEN


cdef class TransactionProtocol(Protocol):
    cdef readonly bint is_finished
    cdef public bint kept_alive
    cdef unsigned char _pinged
    cdef unsigned char resume_pending
    cdef public MessageHandlers ws
    cdef public object opening
    cdef public object owner
    cdef public object ioloop
    cdef readonly LoopThread thread
    cdef public object connection
    cdef public double close_timeout
    cdef object _close_timer
    cdef tuple _addresses

    cpdef object await_loop(self, object ioloop)
    cpdef Receiver receiver(self)
    cpdef object take_over(self, Receiver receiver)
    cpdef object release_stream(self)
    cpdef object process(self, object frame)
    cpdef object end_driving(self)
    cpdef object keep_alive(self)
    cdef object _keep_addresses(self)
