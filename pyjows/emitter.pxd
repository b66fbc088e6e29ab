cimport cython


@cython.final
cdef class _Once:
    cdef public str event
    cdef public object f


cdef class EmitterCore:
    cdef dict _events

    @cython.locals(handlers=tuple)

    cdef object _returned(self, object result)
