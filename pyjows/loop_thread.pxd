from pyjows cimport memory


cdef class LoopThread:
    cdef readonly unsigned long id
    cdef readonly bint has_run
    cdef object _wake
    cdef object _lock
    cdef object _calls
    cdef object __weakref__

    cpdef object enter(self)
    cpdef bint is_foreign(self)
