cimport cython

from pyjows.ioloop cimport syscalls
from pyjows.buffers cimport BufferPool, Receiver, WriteBuffer
from pyjows.loop_thread cimport LoopThread
from pyjows.reactor.base cimport Handle

cdef Py_ssize_t _READ_SIZE
cdef int _NOT_ENDING, _SHUTDOWN_PENDING, _CLOSE_PENDING, _WRITE_SHUT_DOWN


cdef class LoopData:
    cdef readonly object reactor
    cdef readonly LoopThread thread
    cdef readonly BufferPool pool
    cdef public bytearray read_buffer
    cdef list unflushed
    cdef public object on_closed
    cdef public object tls

    @cython.locals(stream=StreamCore, unflushed=list)
    cpdef object flush(self, object reactor=*)
    cpdef object flush_later(self, StreamCore stream)


cdef class StreamCore(Handle):
    cdef readonly object socket
    cdef readonly LoopData loop_data
    cdef public Receiver receiver
    cdef public Py_ssize_t high_water_mark
    cdef public object client
    cdef WriteBuffer out
    cdef double _timeout
    cdef long long _transmitted
    cdef readonly long long written
    cdef object _timer
    cdef list _callbacks
    # Flags in one byte each: an idle connection keeps all of this.
    cdef readonly int fd
    cdef public unsigned char paces_reading
    cdef public unsigned char has_received
    cdef unsigned char _ending
    cdef unsigned char _reading
    cdef unsigned char _read_paused
    cdef unsigned char _corked
    cdef unsigned char _write_blocked
    cdef unsigned char _closed
    cdef unsigned char _is_registered
    cdef unsigned char _write_watched

    cpdef object ready(self, bint readable, bint writable)
    cdef object dispatch(self, bint readable, bint writable)
    @cython.locals(loop_data=LoopData, n=Py_ssize_t, buffer=bytearray, receiver=Receiver)
    cdef object _read(self)
    cdef Py_ssize_t _receive(self, bytearray buffer) except? -2
    @cython.locals(receiver=Receiver)
    cdef object _eof(self)
    @cython.locals(out=WriteBuffer)
    cpdef WriteBuffer acquire(self)
    @cython.locals(out=WriteBuffer, n=Py_ssize_t)
    cdef object _flush(self)
    cdef Py_ssize_t _transmit(self, WriteBuffer out) except? -2
    cdef object _await_writable(self)
    @cython.locals(out=WriteBuffer)
    cdef object _pause_above_mark(self)
    @cython.locals(out=WriteBuffer)
    cdef object _release(self)
    @cython.locals(receiver=Receiver)
    cdef object _drained(self)
    cdef object _end_after_flush(self, int how)
    cdef object _end_now(self)
    cdef object _shutdown_write(self)
    cdef object _connection_broke(self, object exc)
    @cython.locals(receiver=Receiver)
    cdef object _close(self, object exc)
    cdef object _close_socket(self)
    cdef object _notify_loop(self)
    cdef object _update_watch(self)
    cdef object _set(self, str event, tuple handlers)
    @cython.locals(loop_data=LoopData)
    cdef object _check_thread(self, str method)
    cdef object _watch(self, bint reads, bint writes)
