cimport cython

from pyjows.emitter cimport EmitterCore
from pyjows.frame_decoder cimport decode_text
from pyjows.transaction.inbox cimport Inbox

cdef int _TEXT, _BINARY
cdef tuple _BUILT_IN
cdef dict _NEW
cdef frozenset _ENDED, _MESSAGES


cdef class MessageHandlers(EmitterCore):
    cdef tuple _on_frame
    cdef tuple _on_message
    cdef tuple _on_text
    cdef tuple _on_binary
    cdef tuple _on_json
    cdef list _callbacks
    cdef object _queue
    cdef public Inbox _inbox
    cdef object _interrupt
    cdef readonly tuple _finished_with

    cdef object _begin_handlers(self)
    cdef bint _handles_messages(self) except -1
    cdef bint _keep_message(self, Inbox inbox, int opcode, bytes payload) except -1
    cpdef object _deliver(self, object message)
    @cython.locals(decoded=str, inbox=Inbox, is_kept=bint)
    cdef object _message_received(self, int opcode, bytes payload)
    cdef object _control_received(self, str event, bytes payload, object answered)
    cdef object _call_handlers(self, tuple handlers, object arg, Py_ssize_t size)
    cdef object _queue_if_coroutine(self, object result, Py_ssize_t size)
    cpdef object _queue_ended(self, object queue)
    cdef object _emit_finish(self, object code, object reason)
    cdef object _emit_json(self, tuple handlers, bytes payload)
    cdef object _emit_frame(self, tuple handlers, object frame)
    cpdef object _emit_drain(self)
    cpdef object _emit_finish_now(self, object code, object reason)
    cdef object _release_handlers(self, tuple called)
    cdef object _call_callbacks(self)
    cdef object _add_callback(self, object cb)
    cdef object _raise_interrupt(self)
    cpdef object _finish_late(self)
    cdef object _fail_json(self, object exc)
