cimport cython

cdef object _TEXT, _BINARY, _JSON, _MISSING


cdef class Message:
    # Words, bytes and numbers alone: so the collector of cycles has no whole histories to look at.
    cdef public str room
    cdef public str epoch
    cdef public long long offset
    cdef public double time
    cdef public bytes kind
    cdef public bytes payload

    cpdef dict bare(self)
    cpdef str envelope(self)


@cython.locals(string=str)
cpdef tuple encode(str method, object text, object binary, object json)
cpdef check_payload(bytes kind, bytes payload)
@cython.locals(message=Message)
cpdef Message unsent(str room, bytes kind, bytes payload)
