cimport cython


@cython.final
cdef class Traffic:
    cdef public long long messages_received
    cdef public long long bytes_received
    cdef public long long messages_sent
    cdef public long long bytes_sent
