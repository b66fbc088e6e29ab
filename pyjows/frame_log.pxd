from pyjows.frame_decoder cimport FrameDecoder

cdef int _SHOWN, _LOGGED


cdef class FrameLog(FrameDecoder):
    cdef object _logger
    cdef object _id
    # Flags in one byte each: an idle connection keeps all of this.
    cdef unsigned char _side
    cdef unsigned char _shows_frames
    cdef unsigned char _logs_frames

    cdef object _begin_frames(self, int side, object max_size, object logger)
    cdef object _begin_log(self)
    cdef object _show_frames(self, bint is_wanted)
    cdef bint _look_at_frame(self, int head, bytes payload) except -1
    cdef bint _frame_seen(self, int head, bytes payload) except -1
    cdef object _log_frame(self, str mark, int head, bytes payload)
    cpdef str _log_id(self)
