cimport cython

from pyjows cimport memory
from pyjows.buffers cimport Receiver
from pyjows.frames cimport FrameHeader

cdef int _TEXT, _BINARY, _CLOSE, _PONG
cdef Py_ssize_t _STEP
cdef int _TURN, _AT_REST


cdef class FrameDecoder(Receiver):
    # Flags in one byte each: an idle connection keeps all of this.
    cdef unsigned char _opcode
    cdef unsigned char _claimed_bits
    cdef unsigned char _extends_control
    cdef unsigned char _masks
    cdef unsigned char _raw
    cdef unsigned char _in_parts
    cdef unsigned char _discarding
    cdef unsigned char _paused
    cdef unsigned char _text_checked
    cdef int _turn
    cdef Py_ssize_t _max_message
    cdef Py_ssize_t _max_frame
    cdef FrameHeader _header
    cdef bytes _unread
    cdef bytearray _cut_header
    cdef list _chunks
    cdef bytes _chunk
    cdef Py_ssize_t _filled
    cdef Py_ssize_t _remaining
    cdef Py_ssize_t _size
    cdef object _text_decoder

    cdef object _begin_decoder(self, bint masks, object max_size)
    cdef object _frame_received(self, int head, bytes payload)
    cdef object _part_received(self, int head, bytes part, bint whole)
    cdef object _check_sequence(self, int opcode, int reserved)
    cdef object _turn_is_over(self)
    cdef object _fail_violation(self, object exc)
    cdef object _fail_internally(self, object exc)
    @cython.locals(p=memory.octets, header=FrameHeader, at=Py_ssize_t, size=Py_ssize_t, length=Py_ssize_t, head=int, payload=bytes)
    cpdef object feed(self, object data, Py_ssize_t n)
    cdef object _input_processed(self)
    cdef object _keep_unread(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    cdef object _keep_rest(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    cdef object _pause_input(self, int reasons)
    cdef object _resume_input(self, int reasons)
    @cython.locals(at=Py_ssize_t, size=Py_ssize_t, have=Py_ssize_t, header=FrameHeader, cut=bytearray)
    cdef Py_ssize_t _continue_frame(self, memory.octets p, Py_ssize_t n) except -1
    cdef object _begin_frame(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    @cython.locals(header=FrameHeader, take=Py_ssize_t)
    cdef object _collect_payload(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    @cython.locals(header=FrameHeader, head=int, part=bytes)
    cdef object _deliver_part(self, memory.octets p, Py_ssize_t at, Py_ssize_t n)
    cdef object _finish_chunk(self)
    cdef object _discard_input(self)
    cdef object _check_header(self, int head, bint masked, Py_ssize_t length)
    cdef object _check_frame(self, int head, Py_ssize_t length)
    cdef object _check_size(self, Py_ssize_t length, Py_ssize_t before)
    cdef object _check_arriving_text(self, Py_ssize_t at, Py_ssize_t n)
    cdef str _decode_part(self, bytes part, bint final)


cpdef str decode_text(bytes payload)
