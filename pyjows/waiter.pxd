cimport cython

from pyjows cimport coroutine_step

cdef int _PENDING, _WOKEN, _CANCELLED


cdef class CurrentTask


@cython.final
cdef class TaskGate:
    cdef readonly object loop
    cdef readonly object cancelled_error
    cdef readonly object woken
    cdef readonly CurrentTask current
    cdef public bint is_open
    cdef object task


cdef class Waiter


@cython.final
cdef class CurrentTask:
    cdef object _loop
    cdef object _enter_task
    cdef object _leave_task
    cdef dict _running

    @cython.locals(running=dict)
    cdef object task(self)
    @cython.locals(running=dict)
    cdef object enter(self, object task)
    @cython.locals(running=dict)
    cdef object leave(self, object task)


@cython.final
cdef class DirectCoroutine:
    cdef public object task
    cdef object _coroutine
    cdef CurrentTask _current
    cdef bint _has_outcome
    cdef object _awaited
    cdef object _raised

    cdef bint run_on(self, Waiter waiter) except -1
    cdef object _outcome(self)
    @cython.locals(waiter=Waiter)
    cdef object _attached(self, object awaited)


@cython.final
cdef class Waiter:
    cdef TaskGate _gate
    cdef object _callback
    cdef object _context
    cdef object _cancel_message
    cdef DirectCoroutine _coroutine
    cdef object _future
    cdef object _task
    cdef object _wakeup
    cdef int _state
    cdef bint _waits_for_future
    cdef bint _is_cancel_refused
    cdef public bint _asyncio_future_blocking

    cpdef object wake(self)
    @cython.locals(gate=TaskGate, coroutine=DirectCoroutine)
    cpdef object wake_now(self)
    @cython.locals(gate=TaskGate)
    cdef object _run(self, object callback, object context)
    cdef bint _take_back(self) except -1
    cdef object _resolve(self)
    cdef object _awaited_future(self)
    @cython.locals(gate=TaskGate)
    cdef bint _run_on(self, DirectCoroutine coroutine, object context) except -1
    cdef object _call_soon(self)
    cdef object renew(self)
    cdef object awaited(self)
    @cython.locals(current=CurrentTask)
    cdef bint _is_current(self, object task) except -1
    cdef bint is_renewed(self) except -1
    cdef object attach(self, DirectCoroutine coroutine)
