cimport cython

from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.frames cimport as_bytes, head_byte, make_frame
from pyjows.transaction.handlers cimport MessageHandlers
from pyjows.transaction.inbox cimport Inbox
from pyjows.limits cimport Limits
from pyjows.loop_thread cimport LoopThread
from pyjows.protocol cimport Protocol
from pyjows.statistics cimport Traffic

cdef int _CONNECTING, _OPEN, _PING, _PONG, _CLOSE
cdef int _PAUSED_FOR_OTHERS, _AT_REST
cdef Traffic _TRAFFIC
cdef object _BEGINNING


cdef class TransactionProtocol(Protocol):
    cdef readonly unsigned char is_finished
    cdef public unsigned char kept_alive
    cdef unsigned char _had_message
    cdef unsigned char resume_pending
    cdef public unsigned char is_encrypted
    cdef public unsigned char slot
    cdef public unsigned char is_emitting
    cdef public unsigned char finish_pending
    cdef public MessageHandlers ws
    cdef public object opening
    cdef public object owner
    cdef public object client
    cdef public object ioloop
    cdef readonly LoopThread thread
    cdef public object connection
    cdef readonly Limits limits
    cdef public Traffic traffic
    cdef public object cause
    cdef public tuple end
    cdef public int finish_code
    cdef int _ping_number
    cdef float _alive_at
    cdef float _pinged_at
    cdef float _stuck_since
    cdef float _message_at
    cdef long long _acknowledged
    cdef readonly double latency
    cdef list _pings
    cdef object _close_timer
    cdef tuple _addresses

    cpdef str _log_id(self)
    cpdef object await_loop(self, object ioloop)
    cpdef Receiver receiver(self)
    cpdef object take_over(self, Receiver receiver)
    cpdef object release_stream(self)
    cpdef object process(self, object frame)
    cpdef object end_driving(self)
    @cython.locals(out=WriteBuffer, traffic=Traffic)
    cdef object _message_sent(self, Py_ssize_t size)
    @cython.locals(out=WriteBuffer)
    cdef object _frame_sent(self, Py_ssize_t size)
    cpdef bint calls_handlers(self) except -1
    cpdef object drop(self, object cause, object code, object reason)
    @cython.locals(out=WriteBuffer)
    cdef object _check_backlog(self, Py_ssize_t size)
    cdef object _slow_consumer_close(self, Py_ssize_t waiting)
    @cython.locals(limits=Limits, waiting=Py_ssize_t, took=bint, acknowledged='long long')
    cpdef object check(self, double now)
    @cython.locals(limits=Limits)
    cdef bint _is_stuck(self, double now, Py_ssize_t waiting, bint took) except -1
    @cython.locals(limits=Limits)
    cdef object _ping_or_drop(self, double now, Py_ssize_t waiting)
    cpdef object pause(self, int reasons)
    cpdef object resume(self, int reasons)
    cpdef object ping(self, object data, object cb)
    cdef list _pong_received(self, bytes payload)
    cdef object _keep_addresses(self)
