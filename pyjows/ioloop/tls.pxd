from pyjows.buffers cimport WriteBuffer
from pyjows.ioloop.stream cimport Shared, StreamCore


cdef class TLSStreamCore(StreamCore):
    cdef bint _read_waits_for_writing
    cdef bint _write_waits_for_reading
    cdef object _late
    cdef bint _over
