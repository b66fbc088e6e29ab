cimport cython

ctypedef long long longlong


@cython.final
cdef class Timer:
    cdef readonly object callback
    cdef readonly double after
    cdef readonly bint recurring
    cdef readonly double deadline
    cdef double when
    cdef long long entry
    cdef readonly bint is_active


@cython.final
cdef class Timers:
    cdef readonly list heap
    cdef readonly Py_ssize_t active
    cdef readonly Py_ssize_t dead
    cdef readonly long long number

    cpdef Timer add(self, object callback, object after, bint recurring)
    cpdef object again(self, Timer timer, object after=*)
    cpdef bint cancel(self, Timer timer) except -1
    @cython.locals(when=double, number=longlong, timer=Timer)
    cpdef double next(self) except? -1
    @cython.locals(when=double, number=longlong, timer=Timer)
    cpdef Timer due(self, double now, long long limit)
    cdef object push(self, Timer timer)
    @cython.locals(when=double, number=longlong, other=Timer)
    cdef object abandon(self, Timer timer)
    @cython.locals(number=longlong, timer=Timer)
    cpdef object clear(self)


cdef double seconds(object after) except? -1
