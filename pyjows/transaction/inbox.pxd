cimport cython

from pyjows cimport coroutine_step
from pyjows.waiter cimport TaskGate, Waiter

cdef object _append, _popleft


cdef class NextMessage


@cython.final
cdef class Inbox:
    cdef object _protocol
    cdef object _before_waiting
    cdef public bint is_claimed
    cdef readonly bint is_ended
    cdef object _first
    cdef object _others
    cdef Py_ssize_t _count
    cdef Py_ssize_t _size
    cdef Py_ssize_t _max_messages
    cdef Py_ssize_t _max_size
    cdef bint _is_paused
    cdef bint _is_discarding
    cdef Py_ssize_t _unhandled
    cdef int _receivers
    cdef bint _is_open
    cdef Waiter _waiter
    cdef Waiter _spare
    cdef list _waiting
    cdef list _watching
    cdef NextMessage _next
    cdef TaskGate _gate

    cdef object put(self, object message, bint is_handled)
    cdef object pause_if_full(self)
    cdef bint _is_full(self) except -1
    @cython.locals(first=Waiter, waiter=Waiter, waiting=list)
    cpdef object hand_out(self)
    cdef object _run(self, Waiter waiter)
    cpdef object claim(self)
    cpdef object wake(self)
    cpdef object end(self)
    cpdef object handlers_added(self)
    cpdef object resume_reading(self)
    cpdef object discard(self)
    @cython.locals(waiter=Waiter)
    cdef Waiter _wait(self)
    cdef Waiter _new_waiter(self)
    cdef object _waited(self, Waiter waiter)
    cdef object _forget(self, Waiter waiter)
    cdef object _take(self)
    cdef object _closed_error(self)


@cython.final
cdef class NextMessage:
    cdef Inbox _inbox
    cdef Waiter _waiter
    cdef bint _is_done

    cdef bint begin_again(self) except -1
    @cython.locals(waiter=Waiter)
    cpdef object close(self)


@cython.locals(this=NextMessage, inbox=Inbox, waiter=Waiter)
cdef object _awaited(object next_message)
@cython.locals(this=NextMessage)
cdef object _message(object next_message)
