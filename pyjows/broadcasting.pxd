cimport cython

from pyjows.buffers cimport WriteBuffer
from pyjows.frames cimport write_frame
from pyjows.driver cimport TransactionProtocol
from pyjows.transaction cimport TransactionCore

cdef int _OPEN


cpdef object broadcast(object transactions, object text=*, object binary=*, object json=*)
@cython.locals(protocol=TransactionProtocol, out=WriteBuffer, plain=bytes, ws=TransactionCore)
cpdef object _broadcast(object transactions, int head, bytes payload)
