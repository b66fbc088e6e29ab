# Raw memory, and the id of the current thread, in C; `memory.py` beside this file says the same in Python.
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

ctypedef unsigned char* octets


cdef inline octets pointer(object data) except NULL:
    if isinstance(data, bytes):
        return <octets>PyBytes_AS_STRING(data)
    if isinstance(data, bytearray):
        return <octets>PyByteArray_AS_STRING(data)
    raise TypeError(f'expected bytes or bytearray, not {type(data).__name__}')


cdef inline uint32_t load_key(octets p, Py_ssize_t at) noexcept nogil:
    return p[at] | <uint32_t>p[at + 1] << 8 | <uint32_t>p[at + 2] << 16 | <uint32_t>p[at + 3] << 24


cdef inline uint32_t rotated(uint32_t key, Py_ssize_t n) noexcept nogil:
    cdef int bits = (n & 3) * 8
    return key >> bits | key << (32 - bits) if bits else key


cdef inline void apply_key(octets q, const unsigned char* p, Py_ssize_t n, uint32_t key) noexcept nogil:
    # memcpy of a constant size is a plain load or store: no alignment is asked for, and the compiler vectorises the loop.
    cdef uint64_t wide = <uint64_t>key << 32 | key
    cdef uint64_t word
    cdef Py_ssize_t i = 0
    while i + 8 <= n:
        memcpy(&word, p + i, 8)
        word ^= wide
        memcpy(q + i, &word, 8)
        i += 8
    while i < n:
        q[i] = p[i] ^ <unsigned char>(wide >> (8 * (i & 7)))
        i += 1


cdef inline bytes copied(octets p, Py_ssize_t at, Py_ssize_t n):
    return PyBytes_FromStringAndSize(<char*>p + at, n)


cdef inline bytes unmasked(octets p, Py_ssize_t at, Py_ssize_t n, uint32_t key):
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, n)
    apply_key(<octets>PyBytes_AS_STRING(payload), p + at, n, key)
    return payload


cdef inline object copy(octets q, Py_ssize_t to, object data, Py_ssize_t n):
    memcpy(q + to, pointer(data), n)


cdef inline object copy_masked(octets q, Py_ssize_t to, object data, Py_ssize_t n, uint32_t key):
    apply_key(q + to, pointer(data), n, key)


cdef inline bytes blank(Py_ssize_t n):
    return PyBytes_FromStringAndSize(NULL, n)


cdef inline object fill(bytes memory, Py_ssize_t to, octets p, Py_ssize_t at, Py_ssize_t n, uint32_t key):
    apply_key(<octets>PyBytes_AS_STRING(memory) + to, p + at, n, key)


cdef inline bytes frozen(bytes memory):
    return memory


cdef inline unsigned long thread_id() noexcept:
    return PyThread_get_thread_ident()
