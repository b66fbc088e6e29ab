from pyjows.buffers cimport WriteBuffer
from pyjows.transaction.driver cimport TransactionProtocol
from pyjows.transaction.handlers cimport MessageHandlers


cdef class TransactionInfo(MessageHandlers):
    cdef TransactionProtocol _protocol
    cdef object _compression
    cdef object _handshake
    cdef public object req
    cdef object _res
    cdef public object subprotocol
    cdef public object user

    cdef object _begin_info(self)
    cpdef object _emit_resume(self)
    cdef object _check_thread(self, str method)
