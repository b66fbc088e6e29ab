cimport cython

from pyjows.ioloop cimport syscalls
from pyjows.reactor.base cimport Handle


cdef class Listener(Handle):
    cdef readonly object socket
    cdef readonly object address
    cdef readonly object port
    cdef readonly object path
    cdef object _reactor
    cdef object _on_accepted
    cdef object _room
    cdef object _on_paused
    cdef object _retry_timer
    cdef object _file
    cdef int _fd
    cdef int _family
    cdef int _type
    cdef bint _is_tcp
    cdef bint _is_exhausted

    @cython.locals(fd=int)
    cpdef object ready(self, bint readable, bint writable)
