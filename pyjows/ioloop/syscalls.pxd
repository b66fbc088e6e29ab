# System calls on sockets in C; `syscalls.py` beside this file says the same in Python.
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport strerror

cdef extern from '<sys/socket.h>' nogil:
    ssize_t recv(int fd, void* data, size_t n, int flags)
    ssize_t send(int fd, const void* data, size_t n, int flags)
    int accept4(int fd, void* address, void* size, int flags)
    enum: MSG_NOSIGNAL, SOCK_NONBLOCK, SOCK_CLOEXEC


cdef inline Py_ssize_t moved(Py_ssize_t n) except? -2:
    # What recv(2) or send(2) returned: -1 means that nothing can be moved at the moment, or that the connection broke.
    if n < 0 and errno != EAGAIN and errno != EINTR:
        raise OSError(errno, strerror(errno).decode('utf-8', 'replace'))
    return n


cdef inline int accept(object sock, int fd) except? -2:
    return moved(accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC))


cdef inline Py_ssize_t receive(object sock, int fd, bytearray buffer) except? -2:
    return moved(recv(fd, PyByteArray_AS_STRING(buffer), len(buffer), 0))


cdef inline Py_ssize_t transmit(object sock, int fd, bytearray data, Py_ssize_t n) except? -2:
    return moved(send(fd, PyByteArray_AS_STRING(data), n, MSG_NOSIGNAL))


cdef inline Py_ssize_t transmit_pieces(object sock, int fd, list pieces) except? -2:
    # The standard library's sendmsg gathers them: beside what it takes to move them, its overhead does not count.
    try:
        return sock.sendmsg(pieces[:512])
    except (BlockingIOError, InterruptedError):
        return -1
