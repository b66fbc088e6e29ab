cdef class Event:
    pass


cdef class Message(Event):
    cdef readonly object data
    cdef readonly object frame_finished
    cdef readonly object message_finished


cdef class TextMessage(Message):
    pass


cdef class BytesMessage(Message):
    pass


cdef class CloseConnection(Event):
    cdef readonly object code
    cdef readonly object reason


cdef class Ping(Event):
    cdef readonly object payload


cdef class Pong(Event):
    cdef readonly object payload
