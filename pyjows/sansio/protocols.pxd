from pyjows.protocol cimport Protocol

cdef int _CONNECTING


cdef class OpeningProtocol(Protocol):
    cdef object __weakref__
    cdef public object handshake_exc
    cdef public object origin
    cdef public object subprotocol
    cdef public object available_extensions
    cdef public object available_subprotocols

    cdef object _receive_handshake(self, bytes data)
    cdef object _receive_handshake_eof(self)
    cdef object _fail_handshake(self, object exc)
    cdef object _opened(self, bytes trailing)


cdef class ServerProtocol(OpeningProtocol):
    cdef public object origins
    cdef object _select
    cdef bint _accepted
    cdef object _handshake


cdef class ClientProtocol(OpeningProtocol):
    cdef readonly object uri
    cdef readonly object key
    cdef bint _asked
    cdef object _handshake

    cdef object _refused(self, object exc)
