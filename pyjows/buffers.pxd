cimport cython

from pyjows cimport memory

cdef Py_ssize_t BY_REFERENCE
cdef Py_ssize_t _INITIAL, _LARGE, _FEW, _SMALL, _MANY


@cython.final
cdef class WriteBuffer:
    cdef bytearray data
    cdef Py_ssize_t used
    cdef readonly Py_ssize_t size
    cdef Py_ssize_t skipped
    cdef list parts

    cpdef object reserve(self, Py_ssize_t n)
    @cython.locals(n=Py_ssize_t)
    cpdef object put(self, bytes piece)
    cpdef object refer(self, bytes piece)
    cpdef list pieces(self)
    cpdef bytes take(self)
    @cython.locals(parts=list, gone=Py_ssize_t)
    cpdef object consume(self, Py_ssize_t n)
    cpdef object clear(self)


@cython.final
cdef class BufferPool:
    cdef list free
    cdef WriteBuffer _last

    @cython.locals(buffer=WriteBuffer)
    cpdef WriteBuffer acquire(self)
    @cython.locals(kept=Py_ssize_t, size=Py_ssize_t)
    cpdef object release(self, WriteBuffer buffer)


cdef class Receiver:
    cdef public WriteBuffer out
    cdef public object stream
    cdef public unsigned char awaits_drain

    cdef object _begin_receiver(self)
    cpdef object feed(self, object data, Py_ssize_t n)
    cpdef object eof(self)
    cpdef object drained(self)
    cpdef object lost(self, object exc)
    cpdef WriteBuffer outgoing(self)
