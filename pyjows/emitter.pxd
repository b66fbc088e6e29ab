cimport cython


@cython.final
cdef class _Once:
    cdef public str event
    cdef public object f


cdef class EmitterCore:
    cdef dict _events

    cdef object _set(self, str event, tuple handlers)
    cdef object _subscribed(self, str event, object handler)
    cdef object _spawn_if_coroutine(self, object result)
    cdef object _call_each(self, object handlers, tuple args)
    cpdef bint _emit_error(self, object exc) except -1
    cdef object _log_error(self, object exc)
    cpdef bint _is_late_use(self, object exc) except -1
    cpdef object _log_late_use(self, object exc)
