cimport cython

from pyjows.broadcasting cimport send_to_all
from pyjows.emitter cimport EmitterCore
from pyjows.loop_thread cimport LoopThread
from pyjows.rooms.messages cimport Message, encode, unsent

cdef object _MISSING, _KIND_TEXT, _KIND_BINARY
cdef int _TEXT_FRAME, _BINARY_FRAME


cdef class RoomsCore(EmitterCore):
    cdef public object engine
    cdef public object ioloop
    cdef public Py_ssize_t max_payload
    cdef public LoopThread _thread
    cdef public dict _held
    cdef object _messages
    cdef bint _delivering

    cpdef bint is_loop_thread(self)
    cpdef object received(self, Message message)
    @cython.locals(room=RoomCore)
    cdef object _deliver(self, Message message)


cdef class RoomCore(EmitterCore):
    cdef readonly str name
    cdef readonly RoomsCore rooms
    cdef readonly object ioloop
    cdef public object _keep
    cdef public str _epoch
    cdef public long long _offset
    cdef public object _log
    cdef public bint _is_ready
    cdef public bint _is_followed
    cdef public bint _pinned
    cdef public double _idle_since
    cdef public dict _members
    cdef public dict _waiting
    cdef public dict _elsewhere
    cdef public dict _differs
    cdef public list _loaded
    cdef public list _bare
    cdef public list _numbered

    cpdef object _received(self, Message message)
    cdef object _sort_members(self)


cdef class Counter:
    cdef public RoomsCore receiver
    cdef public dict _counts
    cdef public bint _is_closed

    @cython.locals(receiver=RoomsCore)
    cpdef publish(self, Message message, object keep)
    @cython.locals(count=list)
    cpdef object _count(self, Message message)
    cpdef list _count_of(self, object room)


@cython.locals(head=int, sent=Py_ssize_t)
cpdef Py_ssize_t send_to_members(list receivers, object kind, bytes payload) except -1
