# One step of a coroutine through CPython's C API; `coroutine_step.py` beside this file says the same in Python.
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

cdef extern from 'Python.h':
    enum: PYGEN_RETURN
    int PyIter_Send(object iterator, object value, PyObject** result) except -1


cdef inline bint enter(object context) except -1:
    PyContext_Enter(context)
    return True


cdef inline object leave(object context):
    PyContext_Exit(context)


cdef inline object send(object coroutine):
    cdef PyObject* result = NULL
    cdef int outcome = PyIter_Send(coroutine, None, &result)
    value = <object>result
    Py_DECREF(value)
    if outcome == PYGEN_RETURN:
        raise StopIteration(value)
    return value
