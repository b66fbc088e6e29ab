cimport cython

from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.transaction.driver cimport TransactionProtocol
from pyjows.emitter cimport EmitterCore
from pyjows.frames cimport as_bytes, frame_bytes, head_byte, write_frame
from pyjows.limits cimport Limits
from pyjows.messages cimport check_raw_frame, encode_text, encoded_message
from pyjows.transaction.upgrade cimport TransactionUpgrade

cdef int _OPEN, _TEXT, _BINARY, _RAW
cdef object _MISSING


cdef class TransactionCore(TransactionUpgrade):
    cdef bytes _written

    cdef object _begin(self, object side, Limits limits, object compression, object subprotocols, object headers)
    @cython.locals(protocol=TransactionProtocol)
    cdef object _send(self, int head, bytes payload)
    cdef object _send_from_thread(self, object message, object text, object binary, object json, object frame)
    cdef object _send_raw(self, int head, bytes payload)
    cdef object _send_early(self, int head, object payload)
    cdef object _callback_alone(self)
    cpdef object _deliver(self, object message)
    cpdef bint _emit_error(self, object exc) except -1
    cpdef object _finish_late(self)
    cpdef object _end_emitting(self, bint was_emitting)


@cython.locals(ws=TransactionCore)
cpdef new_websocket(dict options)
