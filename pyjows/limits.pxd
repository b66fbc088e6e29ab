cimport cython


@cython.final
cdef class Limits:
    cdef readonly Py_ssize_t max_websocket_size
    cdef readonly Py_ssize_t max_fragments
    cdef readonly Py_ssize_t max_queue
    cdef readonly Py_ssize_t high_water_mark
    cdef readonly Py_ssize_t max_backlog
    cdef readonly double backlog_timeout
    cdef readonly double ping_interval
    cdef readonly double ping_timeout
    cdef readonly double idle_timeout
    cdef readonly double close_timeout
