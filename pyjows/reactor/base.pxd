from pyjows.emitter cimport EmitterCore
from pyjows.reactor.timers cimport Timer, Timers


cdef class Handle(EmitterCore):
    cpdef object ready(self, bint readable, bint writable)
    cdef object dispatch(self, bint readable, bint writable)


cdef class Callback(Handle):
    cdef object reactor
    cdef object f
    cdef public Watcher watcher


cdef class Watcher:
    cdef readonly int fd
    cdef readonly Handle handle
    cdef public bint read
    cdef public bint write
    cdef public object data


cdef class Waker(Handle):
    cdef readonly object reader
    cdef readonly object writer
