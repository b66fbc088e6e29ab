cimport cython

from pyjows.loop_thread cimport LoopThread
from pyjows.waiter cimport TaskGate


@cython.final
cdef class HostTurn:
    cdef object _reactor
    cdef LoopThread _thread
    cdef TaskGate _gate
