# One step of a coroutine through CPython's C API; `coroutine_step.py` beside this file says the same in Python.
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

cdef extern from 'Python.h':
    enum: PYGEN_RETURN
    Py_ssize_t Py_REFCNT(object thing)
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


ctypedef object (*Function)(object)

cdef extern from *:
    """
    static PyObject *(*pyjows_awaited)(PyObject *);
    static PyObject *(*pyjows_result)(PyObject *);

    static PySendResult pyjows_send(PyObject *self, PyObject *value, PyObject **result) {
        PyObject *awaited = pyjows_awaited(self);
        if (awaited != Py_None) {
            *result = awaited;
            return awaited == NULL ? PYGEN_ERROR : PYGEN_NEXT;
        }
        Py_DECREF(awaited);
        *result = pyjows_result(self);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }

    /* CPython 3.12 and later call this where 3.11 calls the one above. */
    static PyObject *pyjows_next(PyObject *self) {
        PyObject *result;
        if (pyjows_send(self, Py_None, &result) != PYGEN_RETURN) return result;
        PyErr_SetObject(PyExc_StopIteration, result);
        Py_DECREF(result);
        return NULL;
    }

    static inline void pyjows_send_by(PyObject *kind, PyObject *(*awaited)(PyObject *), PyObject *(*result)(PyObject *)) {
        PyTypeObject *type = (PyTypeObject *)kind;
        pyjows_awaited = awaited;
        pyjows_result = result;
        type->tp_as_async->am_send = pyjows_send;
        type->tp_iternext = pyjows_next;
    }
    """
    void send_by 'pyjows_send_by' (object kind, Function awaited, Function result)


cdef inline bint is_unshared(object thing) noexcept:
    return Py_REFCNT(thing) == 2  # the caller's attribute and its local variable
