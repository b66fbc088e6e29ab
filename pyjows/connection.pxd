cimport cython

from pyjows.buffers cimport BufferPool, WriteBuffer
from pyjows.events cimport BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from pyjows.frames cimport as_bytes
from pyjows.protocol cimport Protocol

cdef int _TEXT, _BINARY, _CLOSE, _PING, _PONG
cdef object _CONNECTING, _OPEN, _REMOTE_CLOSING, _LOCAL_CLOSING, _CLOSED, _REJECTING
cdef BufferPool _POOL


@cython.final
cdef class EventProtocol(Protocol):
    cdef list waiting
    cdef object _close_event
    cdef int _sent_opcode

    @cython.locals(opcode=int, head=int, payload=bytes)
    cdef bytes encode_message_part(self, object data, bint fin)
    cdef bytes encode_control(self, int opcode, object payload)
    cdef bytes encode_close(self, object code, object reason)
    @cython.locals(out=WriteBuffer)
    cdef bytes encode_frame(self, int head, bytes payload)


cdef class Connection:
    cdef object __weakref__
    cdef readonly bint client
    cdef EventProtocol _protocol
    cdef object _state
    cdef list _unread
    cdef Py_ssize_t _taken

    @cython.locals(protocol=EventProtocol)
    cpdef object send(self, object event)
    @cython.locals(unread=list, data=bytes)
    cdef object _parse_received(self)
    cdef object _close_delivered(self)


cdef class WSConnection:
    cdef object __weakref__
    cdef readonly bint client
    cdef readonly object handshake
    cdef readonly Connection connection
    cdef list _unfetched
    cdef bint _uses_bytes_to_send

    cdef object _keep_unfetched(self, object data)
