import cython

from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.transaction.driver cimport TransactionProtocol
from pyjows.frames cimport write_frame
from pyjows.handshake.server cimport ServerHandshake
from pyjows.transaction.info cimport TransactionInfo

cdef int _RAW, _PAUSED_FOR_OTHERS, _CLOSE, _TEXT, _BINARY
cdef Py_ssize_t _MAX_HEADER


cdef class Opening(Receiver):
    cdef TransactionInfo ws
    cdef TransactionProtocol protocol
    cdef public object compression
    cdef object subprotocols
    cdef object headers
    cdef readonly list early
    cdef readonly Py_ssize_t early_size
    cdef object pending
    cdef readonly bint is_answered
    cdef object _task
    cdef object _timer
    cdef bint _reading_stopped

    cdef object _receive(self, bytes data)
    cpdef object queue(self, int head, object payload)
    cpdef object queue_close(self, object code, object reason)
    cdef object _forget_early(self)
    cdef object _send_early(self)
    cpdef object request_received(self, ServerHandshake handshake, object request, object announce, double timeout)
    cdef object _run(self, list coroutines, double timeout)
    cdef object _handler_failed(self, object ws, object exc)
    cdef object _accept_or_refuse(self, object ws)
    @cython.locals(handshake=ServerHandshake)
    cpdef object accept(self, bint is_early)
    cpdef object refuse(self, object response)
    cpdef object pending_response(self)
    cpdef object with_pending(self, object headers)
    cpdef bint awaits_answer(self) except -1
    cpdef object pending_request(self)
    cpdef object send_request(self, object url, dict options)
    cdef object _accepted(self, object handshake, object response)
    cpdef object failed(self, object exc)
    cpdef object restart(self)
    cdef object _open(self, object handshake)
    cdef object _stop_reading(self)
    cpdef object _resume_reading(self, object reactor)
    cdef object _cancel_timer(self)
    cdef object _hand_over(self, object extensions)
    cpdef object close(self)
