cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pyjows cimport buffers, memory
from pyjows.buffers cimport WriteBuffer


@cython.final
cdef class FrameHeader:
    cdef readonly int head
    cdef readonly bint masked
    cdef readonly uint32_t key
    cdef readonly Py_ssize_t length

    @cython.locals(second=int, length=uint64_t, size=Py_ssize_t, i=int)
    cdef Py_ssize_t parse(self, memory.octets p, Py_ssize_t at, Py_ssize_t end) except -1


@cython.final
cdef class _Keys:
    cdef bytes pool
    cdef Py_ssize_t at

    @cython.locals(at=Py_ssize_t)
    cdef uint32_t next(self) except? 0
    cpdef object forget(self)


cdef _Keys _KEYS
cdef tuple _OPCODES

@cython.locals(n=Py_ssize_t, at=Py_ssize_t, q=memory.octets, bit=int, i=int, key=uint32_t)
cpdef object write_frame(WriteBuffer out, int head, bytes payload, bint masked)
cpdef object make_frame(int head, bytes payload)
cpdef int head_byte(object fin, object rsv1, object rsv2, object rsv3, object opcode) except -1
cpdef bytes as_bytes(object payload)
@cython.locals(n=Py_ssize_t, at=Py_ssize_t, q=memory.octets)
cpdef bytes frame_bytes(int head, bytes payload, bint masked)
