from pyjows.buffers cimport Receiver
from pyjows.handshake.server cimport ServerHandshake


cdef class HTTPConnection(Receiver):
    cdef object server
    cdef readonly object connection
    cdef readonly bint kept_alive
    cdef readonly ServerHandshake handshake
    cdef bint _ending
    cdef bint _is_idle
    cdef bint _is_handled
    cdef object _task
    cdef object _file
    cdef long long _written
    cdef long long _taken
    cdef object _reactor
    cdef object _timer

    cdef object _serve(self, object request)
    cdef object _next_request(self)
    cdef object _pause(self)
    cdef bint _handle(self, object request) except -1
    cdef bint _failed(self, object exc) except -1
    cdef object _refuse(self, object exc)
    cdef bint _answer(self, object response) except -1
    cdef object _close_file(self)
    cdef bint _answered(self) except -1
    cdef object _write(self, bytes data)
    cpdef object stop(self, double seconds)
    cdef object _half_close(self)
    cdef object _set_timer(self, object seconds=*)
    cdef object _cancel_timer(self)
    cpdef object _timed_out(self, object reactor)
    cdef object _answer_overdue(self)
