import cython


cdef class ServerHandshake:
    cdef readonly object request
    cdef readonly object agreed_extensions
    cdef object _http
    cdef bytes _raw_request
    cdef Py_ssize_t _max_header_size
    cdef Py_ssize_t _max_body_size
    cdef bytes _server_field
    cdef object _head
    cdef bytes _method
    cdef bytearray _body
    cdef Py_ssize_t _received
    cdef dict _values
    cdef tuple _offer
    cdef bytes _trailing
    cdef bint _answered
    cdef bint _failed

    cpdef object receive(self, bytes data)
    cpdef object check(self, object request=*)
    cpdef object verify(self, object request=*)
    cpdef bint asks_for_websocket(self) except -1
    cdef bytes _accept(self, object headers, object subprotocol, object extensions)
    @cython.locals(end=Py_ssize_t, block=bytes, values=dict)
    cdef bint _match_upgrade_request(self, bytes data) except -1
    cdef object _read(self, object http)
    cdef object _read_head(self, object event, object http)
    cdef object _fail_parsing(self, object exc)
    cdef object _fail(self, int status, str message)
    cdef object _parser(self)
    cdef dict _field_values(self, object request)
    cdef object _pending_request(self)


@cython.locals(handshake=ServerHandshake)
cpdef ServerHandshake accepted_handshake(object request, object extensions)
cdef bytes _switching_fields(str key, str subprotocol, str extensions)
@cython.locals(fields=str, folded=str, name=str, value=str, known=list, at=Py_ssize_t, end=Py_ssize_t, colon=Py_ssize_t, line_end=Py_ssize_t)
cdef dict _values_of(bytes block)
cdef tuple _verified(object request, dict values)
cdef object _joined(dict values, str name)
