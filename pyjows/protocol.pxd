from pyjows.buffers cimport WriteBuffer
from pyjows.frame_decoder cimport decode_text
from pyjows.frame_log cimport FrameLog
from pyjows.frames cimport as_bytes, head_byte, make_frame, write_frame

cdef int _SERVER, _CLIENT
cdef int _UNKNOWN, _RECEIVED_FIRST, _SENT_FIRST
cdef int _CONNECTING, _OPEN, _CLOSING, _CLOSED
cdef Py_ssize_t _MAX_BEFORE_PONG
cdef int _MAX_UNANSWERED, _AT_REST
cdef int _CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG


cdef class Protocol(FrameLog):
    cdef object _extensions
    cdef bytearray _fragments
    cdef bytes _unanswered_ping
    cdef list _events
    cdef public object close_rcvd
    cdef public object close_sent
    cdef public object parser_exc
    cdef object _deferred_close
    # Small numbers together, and flags in one byte each: an idle connection keeps all of this.
    cdef int _fragment_count
    cdef int _max_fragments
    cdef int _unanswered_pings
    cdef unsigned char _state
    cdef unsigned char _joins
    cdef unsigned char _answers_nothing
    cdef unsigned char _sending
    cdef unsigned char _defers_close
    cdef unsigned char _eof_returned
    cdef unsigned char _eof_sent
    cdef unsigned char _eof_received
    cdef unsigned char _close_order

    cdef object _set_state(self, object state)
    cdef object _begin_protocol(self, object side, object state, object max_size, object max_fragments, object logger)
    cpdef object open(self, object extensions=*)
    cdef object _process_frame(self, int head, bytes payload)
    cdef bytes _through_extensions(self, int head, bytes payload)
    cdef object _receive_fragment(self, int opcode, bint fin, bytes payload)
    cdef object _count_fragment(self)
    cdef object _end_message(self)
    cdef object _answer_ping(self, bytes payload)
    cdef object _send_late_pong(self)
    cdef object _receive_control(self, int opcode, bytes payload)
    cdef object _receive_close(self, bytes payload)
    cdef object _answer_close(self, bytes payload)
    cdef object _send_deferred_close(self)
    cdef object _message_received(self, int opcode, bytes payload)
    cdef object _piece_received(self, int opcode, object piece, bint frame_finished, bint message_finished)
    cdef object _control_received(self, int opcode, bytes payload)
    cdef object _close_began(self)
    cdef object _collect(self, object event)
    cdef object _send_message(self, int opcode, object data, bint fin)
    cdef object _send_data(self, int opcode, object data, bint fin)
    cdef object _send_control(self, int opcode, object data)
    cdef object _send(self, int head, bytes payload)
    cdef object _send_eof(self)


cdef bint _extends_control_frames(object extension) except -1
cdef object _check_control(bytes payload)
