cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pyjows cimport memory
from pyjows.buffers cimport Receiver, WriteBuffer
from pyjows.frames cimport FrameHeader, head_byte, make_frame, octets, write_frame

cdef int _SERVER, _CLIENT
cdef int _CONNECTING, _OPEN, _CLOSING, _CLOSED
cdef int _CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG
cdef Py_ssize_t _STEP


cdef class Protocol(Receiver):
    cdef FrameHeader _header
    cdef object _logger
    cdef object _id
    cdef object _extensions
    cdef object _check
    cdef object _due
    cdef bytearray _stash
    cdef bytes _chunk
    cdef list _chunks
    cdef list _events
    cdef Py_ssize_t _max_message
    cdef Py_ssize_t _max_fragment
    cdef Py_ssize_t _filled
    cdef Py_ssize_t _remaining
    cdef Py_ssize_t _size
    cdef int _opcode
    cdef int _claimed
    cdef int _side
    cdef int _state
    cdef bint _masks
    cdef bint _checked
    cdef bint _sending
    cdef bint _defers
    cdef bint _discarding
    cdef bint _raw
    cdef bint _streams
    cdef bint _eof_told
    cdef readonly bint eof_sent
    cdef readonly bint eof_received
    cdef public object close_rcvd
    cdef public object close_sent
    cdef public object close_rcvd_then_sent
    cdef public object parser_exc

    @cython.locals(p=memory.octets, header=FrameHeader, at=Py_ssize_t, size=Py_ssize_t, length=Py_ssize_t, head=int, payload=bytes)
    cpdef object feed(self, object data, Py_ssize_t n)
    @cython.locals(at=Py_ssize_t, size=Py_ssize_t, have=Py_ssize_t, header=FrameHeader, stash=bytearray)
    cdef Py_ssize_t _resume(self, memory.octets p, Py_ssize_t n) except -1
    cdef object _begin(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    @cython.locals(header=FrameHeader, take=Py_ssize_t)
    cdef object _fill(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    @cython.locals(header=FrameHeader, head=int, piece=bytes)
    cdef object _pass_on(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    cdef object _arrived(self, Py_ssize_t at, Py_ssize_t n)
    cdef object _step(self)
    cdef object _check_header(self, int head, bint masked, Py_ssize_t length)
    cdef object _check_size(self, Py_ssize_t length, Py_ssize_t before)
    cdef object _frame(self, int head, bytes payload)
    cdef bytes _inflated(self, int head, bytes payload)
    cdef object _dispatch(self, int head, bytes payload)
    cdef object _continue(self, int opcode, bint fin, bytes payload)
    cdef object _answer(self, int opcode, bytes payload)
    cdef object _closing(self, bytes payload)
    cdef object _answer_close(self, bytes payload)
    cdef object _read_close(self, bytes payload)
    cdef object _violated(self, object exc)
    cdef object _conclude(self)
    cdef object _message(self, int opcode, bytes payload)
    cdef object _fragment(self, int opcode, bint fin, bytes payload)
    cdef object _control(self, int opcode, bytes payload)
    cdef object _part(self, int head, bytes piece, bint whole)
    cdef object _collect(self, object event)
    cpdef str decoded(self, bytes payload)
    cdef object _send_message(self, int opcode, object data, bint fin)
    cdef object _send_data(self, int opcode, object data, bint fin)
    cdef object _send_control(self, int opcode, object data)
    cdef object _send(self, int head, bytes payload)
    cdef object _end(self)
    cdef object _discard(self)
    cdef object _validate(self, bytes piece, bint final)
