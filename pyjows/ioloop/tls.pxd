from pyjows.buffers cimport WriteBuffer
from pyjows.ioloop.stream cimport LoopData, StreamCore


cdef class TLSStreamCore(StreamCore):
    cdef bint _read_waits_for_writing
    cdef bint _write_waits_for_reading
    cdef object _deferred_error
    cdef bint _eof_received
    cdef int _owner

    cdef object _send_close_notify(self)
