cimport cython


@cython.final
cdef class Inbox:
    cdef object _protocol
    cdef object _before_waiting
    cdef public bint is_claimed
    cdef readonly bint is_ended
    cdef object _messages
    cdef Py_ssize_t _size
    cdef Py_ssize_t _max_messages
    cdef Py_ssize_t _max_size
    cdef bint _is_paused
    cdef bint _is_discarding
    cdef Py_ssize_t _unheard
    cdef int _receivers
    cdef list _waiting
    cdef object _make_future

    cdef object put(self, object message, bint is_heard)
    cpdef object claim(self)
    cpdef object wake(self)
    cpdef object end(self)
    cpdef object has_handlers(self)
    cpdef object read_on(self)
    cpdef object discard(self)
    cdef object take(self)
    cdef object new_future(self)
    cdef object forget(self, object future)
    cdef object _end_of(self, bint iterates)


@cython.final
@cython.freelist(8)
cdef class NextMessage:
    cdef Inbox _inbox
    cdef bint _iterates
    cdef bint _is_waiting
    cdef object _future
    cdef object _waits
    cdef bint _is_last

    cdef object _stop_waiting(self)
