cimport cython

from pyjows.buffers cimport WriteBuffer
from pyjows.frames cimport write_frame
from pyjows.transaction cimport TransactionCore, TransactionProtocol

cdef int _OPEN


@cython.locals(protocol=TransactionProtocol, out=WriteBuffer, plain=bytes, ws=TransactionCore, payload=bytes, head=int)
cpdef object broadcast(object transactions, object text=*, object binary=*, object json=*)
