cimport cython

from pyjows.buffers cimport WriteBuffer
from pyjows.emitter cimport EmitterCore
from pyjows.loop_thread cimport LoopThread
from pyjows.frames cimport head_byte, make_frame, as_bytes, write_frame
from pyjows.protocol cimport Protocol

cdef int _OPEN, _TEXT, _BINARY, _RAW
cdef tuple _BUILT_IN
cdef object _MISSING


cdef class TransactionProtocol(Protocol):
    cdef public TransactionCore ws
    cdef public bint heard
    cdef bint resume_pending

    cpdef process(self, object frame)


cdef class TransactionCore(EmitterCore):
    cdef TransactionProtocol _protocol
    cdef tuple _on_frame
    cdef tuple _on_message
    cdef tuple _on_text
    cdef tuple _on_binary
    cdef tuple _on_json
    cdef object _compression
    cdef object _subprotocols
    cdef object _headers
    cdef list _early
    cdef list _callbacks
    cdef public object owner
    cdef object _ioloop
    cdef LoopThread _thread
    cdef object _addresses
    cdef object _timer
    cdef object _interrupt
    cdef bint _handshaking
    cdef bint _answered
    cdef bint _finished
    cdef bint _pinged
    cdef public double close_timeout
    cdef public object connection
    cdef public bint kept_alive
    cdef public object handshake
    cdef public object req
    cdef public object res
    cdef public object subprotocol

    cdef object _send(self, int head, bytes payload)
    cdef object _send_from_thread(self, object message, object text, object binary, object json, object frame)
    cdef object _check_thread(self, str method)
    cdef object _closed_error(self)
    cdef object _send_raw(self, int head, bytes payload)
    cdef object _send_early(self, int head, object payload)
    cdef object _wait(self, int head, object payload)
    cdef object _notify(self, object cb)
    @cython.locals(decoded=str)
    cdef object _message_received(self, int opcode, bytes payload)
    cdef object _call_handlers(self, tuple handlers, object arg)
    cdef object _emit_json(self, tuple handlers, bytes payload)
    cdef object _emit_frame(self, tuple handlers, object frame)
    cdef object _drained(self)
    cdef object _emit_resume(self)
    cdef object _raise_interrupt(self)
    cdef object _receive_handshake(self, bytes data)
    cdef object _set(self, str event, tuple handlers)
    cpdef object _close_began(self)


cpdef bytes encoded(object text)
