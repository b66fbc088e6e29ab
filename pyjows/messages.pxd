from pyjows.frames cimport as_bytes

cdef int _TEXT, _BINARY

cpdef tuple encoded_message(str method, object text, object binary, object json)
cpdef object check_raw_frame(int head, bytes payload)
cpdef bytes encode_binary(str method, object binary)
cpdef bytes encode_text(str method, object text)
