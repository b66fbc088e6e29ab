cimport cython


@cython.final
cdef class _Once:
    cdef public str event
    cdef public object f


cdef class EmitterCore:
    cdef dict _events

    @cython.locals(handlers=tuple)
    cpdef bint emit_none(self, str event)
    @cython.locals(handlers=tuple)
    cpdef bint emit_one(self, str event, object arg)
    cpdef object _returned(self, object result)
