from pyjows.sansio.protocols cimport OpeningProtocol

cdef Py_ssize_t _HIGH_WATER, _MAX_BACKLOG, _OVERHEAD
cdef int _TEXT, _BINARY


cdef class Session:
    cdef readonly OpeningProtocol protocol
    cdef readonly object messages
    cdef readonly bint ended
    cdef readonly object close_reason
    cdef readonly object close_message
    cdef public object ping_interval
    cdef readonly double ping_due
    cdef public int sending
    cdef bint _has_received
    cdef Py_ssize_t _waiting

    cpdef object feed(self, object data)
    cpdef object take_frames(self, object frames)
    cpdef object pop(self)
    cpdef object put(self, object data)
    cpdef object end(self)
    cdef object _note_close(self)
