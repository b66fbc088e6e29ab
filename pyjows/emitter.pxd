cimport cython

cdef dict _NOTHING
cdef int _COROUTINE


@cython.final
cdef class _Once:
    cdef public str event
    cdef public object f


cdef class EmitterCore:
    cdef dict _events

    @cython.locals(own_events=frozenset)
    cpdef object _subscribe(self, object event, object f, bint once)
    cdef object _set(self, str event, tuple handlers)
    cdef object _subscribed(self, str event, object handler)
    cdef object _spawn_if_coroutine(self, object result)
    cdef object _call_each(self, object handlers, tuple args)
    cpdef bint _emit_error(self, object exc) except -1
    cdef object _log_error(self, object exc)
    cpdef bint _is_late_use(self, object exc) except -1
    cpdef object _log_late_use(self, object exc)


cdef bint _is_coroutine_function(object f) except -1
