cimport cython

from pyjows.ioloop cimport syscalls
from pyjows.buffers cimport BufferPool, Receiver, WriteBuffer
from pyjows.reactor.base cimport Handle

cdef Py_ssize_t _READ_SIZE


cdef class Shared:
    cdef readonly object reactor
    cdef readonly BufferPool pool
    cdef public bytearray read_buffer
    cdef list waiting
    cdef public object gone

    @cython.locals(stream=StreamCore, waiting=list)
    cpdef object flush(self, object reactor=*)
    cpdef object later(self, StreamCore stream)


cdef class StreamCore(Handle):
    cdef readonly object socket
    cdef readonly int fd
    cdef readonly Shared shared
    cdef public Receiver receiver
    cdef public Py_ssize_t high_water_mark
    cdef public bint paces_reading
    cdef WriteBuffer out
    cdef double _timeout
    cdef object _timer
    cdef list _callbacks
    cdef int _ending
    cdef bint _reading
    cdef bint _held
    cdef bint _corked
    cdef bint _blocked
    cdef bint _closed
    cdef bint _watched
    cdef bint _awaited

    cpdef object ready(self, bint readable, bint writable)
    cdef object dispatch(self, bint readable, bint writable)
    @cython.locals(shared=Shared, n=Py_ssize_t, buffer=bytearray, receiver=Receiver)
    cdef object _read(self)
    cdef Py_ssize_t _receive(self, bytearray buffer) except? -2
    @cython.locals(receiver=Receiver)
    cdef object _eof(self)
    @cython.locals(out=WriteBuffer)
    cpdef WriteBuffer acquire(self)
    @cython.locals(out=WriteBuffer, n=Py_ssize_t)
    cdef object _flush(self)
    cdef Py_ssize_t _transmit(self, WriteBuffer out) except? -2
    cdef object _block(self)
    cdef object _hold(self)
    @cython.locals(out=WriteBuffer)
    cdef object _release(self)
    @cython.locals(receiver=Receiver)
    cdef object _drained(self)
    cdef object _end(self, int how)
    cdef object _finish_ending(self)
    cdef object _shut(self)
    cdef object _fault(self, object exc)
    @cython.locals(receiver=Receiver)
    cdef object _lose(self, object exc)
    cdef object _close_socket(self)
    cdef object _leave(self)
    cdef object _watch(self)
