cimport cython

from pyjows.buffers cimport WriteBuffer
from pyjows.frames cimport frame_bytes
from pyjows.transaction.driver cimport TransactionProtocol
from pyjows.transaction.transaction cimport TransactionCore

cdef int _OPEN


cpdef object broadcast(object transactions, object text=*, object binary=*, object json=*, object skip_slow=*)
@cython.locals(
    protocol=TransactionProtocol, out=WriteBuffer, plain=bytes, ws=TransactionCore, size=Py_ssize_t, sent=Py_ssize_t,
    compressed=dict, elsewhere=dict
)
cpdef Py_ssize_t send_to_all(
    object transactions, int head, bytes payload, bint skip_slow, list skipped
) except -1
cdef object _send_shared(TransactionProtocol protocol, int head, bytes payload, dict compressed)
