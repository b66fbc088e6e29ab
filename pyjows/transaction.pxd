cimport cython

from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.driver cimport DrivenProtocol
from pyjows.emitter cimport EmitterCore
from pyjows.frames cimport as_bytes, head_byte, make_frame, write_frame
from pyjows.opening cimport Opening

cdef int _OPEN, _TEXT, _BINARY, _RAW
cdef tuple _BUILT_IN
cdef object _MISSING


cdef class TransactionProtocol(DrivenProtocol):
    cdef public TransactionCore ws

    cpdef process(self, object frame)


cdef class TransactionCore(EmitterCore):
    cdef TransactionProtocol _protocol
    cdef tuple _on_frame
    cdef tuple _on_message
    cdef tuple _on_text
    cdef tuple _on_binary
    cdef tuple _on_json
    cdef object _compression
    cdef Opening _opening
    cdef list _callbacks
    cdef object _interrupt
    cdef public object handshake
    cdef public object req
    cdef public object res
    cdef public object subprotocol

    cdef object _send(self, int head, bytes payload)
    cdef object _send_from_thread(self, object message, object text, object binary, object json, object frame)
    cdef object _check_thread(self, str method)
    cdef object _send_raw(self, int head, bytes payload)
    @cython.locals(opening=Opening)
    cdef object _send_early(self, int head, object payload)
    cdef object _notify(self, object cb)
    @cython.locals(decoded=str)
    cdef object _message_received(self, int opcode, bytes payload)
    cdef object _call_handlers(self, tuple handlers, object arg)
    cdef object _emit_json(self, tuple handlers, bytes payload)
    cdef object _emit_frame(self, tuple handlers, object frame)
    cpdef object _emit_drain(self)
    cpdef object _emit_resume(self)
    cdef object _raise_interrupt(self)
    cdef Opening _pending_opening(self)
    cdef Receiver _receiver(self)
    cdef object _set(self, str event, tuple handlers)


cpdef bytes encoded(object text)
