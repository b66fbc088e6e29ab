"""TLS at the speed of C: a stream that calls OpenSSL itself, in the very library that the `ssl` module uses.

Owns the path of the bytes after the handshake: one recv(2), decryption, the receiver; encryption of all that leaves
together, one send(2). It raises no exception and makes no Python object. The handshake, certificates and everything else are
the `ssl` module's. `tls.TLSStream` is the Python stand-in: it does the same through the `ssl.SSLSocket`.

The library is not linked: `find` looks its functions up in what the module `_ssl` has loaded. From the `ssl.SSLSocket` the
stream needs one pointer, ``SSL*``, out of a structure of CPython. Nothing is taken on trust: the versions must be the same, the
neighbouring fields must be what they should, and a `MemoryBIO` must be found again behind the pointer. Where anything
differs (a library linked statically, another Python), `tls.py` does the work.

OpenSSL reads and writes through a BIO of ours, one for each loop. It holds nothing: reading takes from what was just received,
writing appends to what will be sent now. So an idle connection has no buffers here, and the `ssl` module has OpenSSL free its
own (``SSL_MODE_RELEASE_BUFFERS``).
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import os
import socket as _socket
import ssl
import _ssl

from .stream import Stream
from .tls import TLSStream

from pyjows.buffers cimport WriteBuffer
from pyjows.ioloop.stream cimport LoopData
from pyjows.ioloop.tls cimport TLSStreamCore

__all__ = ['OpenSSLStream', 'find', 'is_supported']

cdef extern from '<sys/socket.h>' nogil:
    ssize_t recv(int fd, void* data, size_t n, int flags)
    ssize_t send(int fd, const void* data, size_t n, int flags)
    enum: MSG_NOSIGNAL

cdef extern from '<dlfcn.h>' nogil:
    void* dlopen(const char* path, int flags)
    void* dlsym(void* library, const char* name)
    enum: RTLD_NOW, RTLD_NOLOAD

# As much as is received at once. Decrypted it is less, and with half a record that waited it still fits the loop's buffer.
cdef enum:
    RECEIVED = 229376
    # The most that one record carries (RFC 8446 5.1); about how much is encrypted for one send(2), and the room for that.
    RECORD = 16384
    AT_ONCE = 131072
    ENCRYPTED = 2 * (AT_ONCE + RECORD)

# OpenSSL's numbers.
cdef enum:
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_WANT_WRITE = 3
    SSL_ERROR_ZERO_RETURN = 6
    BIO_FLAGS_READ = 1
    BIO_FLAGS_WRITE = 2
    BIO_FLAGS_SHOULD_RETRY = 8
    BIO_FLAGS_ALL = 15
    BIO_CTRL_PENDING = 10
    BIO_CTRL_FLUSH = 11
    BIO_CTRL_GET_KTLS_SEND = 73
    BIO_CTRL_GET_KTLS_RECV = 76
    BIO_TYPE_SOURCE_SINK = 0x400

ctypedef void SSL
ctypedef void BIO

# What is called, by its name in the library.
cdef int (*SSL_read)(SSL*, void*, int) noexcept
cdef int (*SSL_write)(SSL*, const void*, int) noexcept
cdef int (*SSL_pending)(const SSL*) noexcept
cdef int (*SSL_shutdown)(SSL*) noexcept
cdef int (*SSL_get_error)(const SSL*, int) noexcept
cdef void* (*SSL_get_SSL_CTX)(const SSL*) noexcept
cdef void (*SSL_set_bio)(SSL*, BIO*, BIO*) noexcept
cdef int (*SSL_set_fd)(SSL*, int) noexcept
cdef BIO* (*SSL_get_rbio)(const SSL*) noexcept
cdef BIO* (*SSL_get_wbio)(const SSL*) noexcept
cdef BIO* (*BIO_new)(const void*) noexcept
cdef int (*BIO_free)(BIO*) noexcept
cdef int (*BIO_up_ref)(BIO*) noexcept
cdef long (*BIO_ctrl)(BIO*, int, long, void*) noexcept
cdef void (*BIO_set_flags)(BIO*, int) noexcept
cdef void (*BIO_clear_flags)(BIO*, int) noexcept
cdef void (*BIO_set_data)(BIO*, void*) noexcept
cdef void* (*BIO_get_data)(BIO*) noexcept
cdef void (*BIO_set_init)(BIO*, int) noexcept
cdef void* (*BIO_meth_new)(int, const char*) noexcept
cdef int (*BIO_meth_set_read)(void*, int (*)(BIO*, char*, int) noexcept) noexcept
cdef int (*BIO_meth_set_write)(void*, int (*)(BIO*, const char*, int) noexcept) noexcept
cdef int (*BIO_meth_set_ctrl)(void*, long (*)(BIO*, int, long, void*) noexcept) noexcept
cdef unsigned long (*ERR_peek_error)() noexcept
cdef unsigned long (*ERR_peek_last_error)() noexcept
cdef void (*ERR_clear_error)() noexcept
cdef void (*ERR_error_string_n)(unsigned long, char*, size_t) noexcept
cdef const char* (*ERR_reason_error_string)(unsigned long) noexcept
cdef const char* (*OpenSSL_version)(int) noexcept

cdef void* library = NULL
cdef void* method = NULL
cdef type raw_type = type(None)  # of the object in C behind an SSLSocket


# CPython's structures, as far as they are read (Modules/_ssl.c).
cdef struct RawContext:
    PyObject head
    void* ctx

cdef struct RawSocket:
    PyObject head
    PyObject* socket
    SSL* ssl
    RawContext* context


# What OpenSSL reads from and writes to, while a stream of the loop is at work.
cdef struct Exchange:
    const char* received
    Py_ssize_t left
    char* encrypted
    Py_ssize_t used


cdef int bio_read(BIO* bio, char* to, int n) noexcept:
    cdef Exchange* exchange = <Exchange*>BIO_get_data(bio)
    BIO_clear_flags(bio, BIO_FLAGS_ALL)
    if exchange is NULL or exchange.left == 0:
        BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
        return -1
    if n > exchange.left:
        n = <int>exchange.left
    memcpy(to, exchange.received, n)
    exchange.received += n
    exchange.left -= n
    return n


cdef int bio_write(BIO* bio, const char* data, int n) noexcept:
    cdef Exchange* exchange = <Exchange*>BIO_get_data(bio)
    BIO_clear_flags(bio, BIO_FLAGS_ALL)
    if exchange is NULL or exchange.encrypted is NULL or exchange.used + n > ENCRYPTED:
        BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
        return -1
    memcpy(exchange.encrypted + exchange.used, data, n)
    exchange.used += n
    return n


cdef long bio_ctrl(BIO* bio, int command, long number, void* pointer) noexcept:
    return command == BIO_CTRL_FLUSH


cdef class Channel:
    """What the TLS streams of one loop share: the BIO, and memory for what is received and for what is sent."""

    cdef BIO* bio
    cdef Exchange exchange
    cdef char* received
    cdef char* encrypted
    cdef char* record

    def __cinit__(self):
        self.received = <char*>malloc(RECEIVED)
        self.encrypted = <char*>malloc(ENCRYPTED)
        self.record = <char*>malloc(RECORD)
        self.bio = BIO_new(method)
        if self.received is NULL or self.encrypted is NULL or self.record is NULL or self.bio is NULL:
            raise MemoryError
        BIO_set_data(self.bio, &self.exchange)
        BIO_set_init(self.bio, 1)

    def __dealloc__(self):
        if self.bio is not NULL:
            BIO_set_data(self.bio, NULL)  # a socket may outlive its loop
            BIO_free(self.bio)
        free(self.received)
        free(self.encrypted)
        free(self.record)


cdef object failure():
    """The last error that OpenSSL has noted, as the `ssl` module would raise it."""
    cdef char text[256]
    cdef unsigned long code = ERR_peek_last_error()
    cdef const char* reason
    if code == 0:
        return ConnectionResetError('the TLS connection broke')
    ERR_error_string_n(code, text, sizeof(text))
    reason = ERR_reason_error_string(code)
    ERR_clear_error()
    words = reason.decode('ascii', 'replace') if reason is not NULL else text.decode('ascii', 'replace')
    exc = ssl.SSLError(1, f'[SSL: {words.upper().replace(" ", "_")}] {words}')
    exc.library, exc.reason = 'SSL', words.upper().replace(' ', '_')
    return exc


cdef class OpenSSLStreamCore(TLSStreamCore):
    """The behaviour of `OpenSSLStream`."""

    cdef SSL* ssl
    cdef object raw        # keeps what `ssl` points to
    cdef Channel channel
    cdef bytes unsent      # encrypted, and not taken by the kernel
    cdef Py_ssize_t unsent_skipped
    cdef Py_ssize_t unsent_for  # how many bytes of the write buffer that is

    def __init__(self, socket, LoopData loop_data):
        TLSStreamCore.__init__(self, socket, loop_data)
        self.raw = socket._sslobj
        self.ssl = (<RawSocket*><PyObject*>self.raw).ssl
        if loop_data.tls is None:
            loop_data.tls = Channel()
        self.channel = loop_data.tls
        BIO_up_ref(self.channel.bio)
        SSL_set_bio(self.ssl, self.channel.bio, self.channel.bio)

    cdef Py_ssize_t _receive(self, bytearray buffer) except? -2:
        cdef Channel channel = self.channel
        cdef Py_ssize_t n, total = 0, size = len(buffer)
        cdef char* to = PyByteArray_AS_STRING(buffer)
        cdef int got, error
        if self._deferred_error is not None:
            raise self._deferred_error
        if self._eof_received:
            return 0
        n = recv(self.fd, channel.received, RECEIVED, 0)
        if n <= 0:
            if n < 0 and errno != EAGAIN and errno != EINTR:
                raise OSError(errno, os.strerror(errno))
            return n
        channel.exchange.received = channel.received
        channel.exchange.left = n
        channel.exchange.encrypted = channel.encrypted
        channel.exchange.used = 0
        # `SSL_get_error` goes by what is noted, also by other code. To look costs a quarter of clearing an empty queue.
        if ERR_peek_error() != 0:
            ERR_clear_error()
        while True:
            got = SSL_read(self.ssl, to + total, <int>(size - total))
            if got > 0:
                total += got
                if channel.exchange.left == 0 and SSL_pending(self.ssl) == 0:
                    break
                continue
            error = SSL_get_error(self.ssl, got)
            if error == SSL_ERROR_ZERO_RETURN:
                self._eof_received = True
            elif error != SSL_ERROR_WANT_READ:
                self._deferred_error = failure()
            break
        channel.exchange.left = 0
        channel.exchange.encrypted = NULL
        if channel.exchange.used != 0:
            self._answer()
        if self._deferred_error is not None:
            if total == 0:
                raise self._deferred_error
            self.loop_data.reactor.next_tick(self._read_again)  # what came before the error is delivered first
        elif self._eof_received:
            if total == 0:
                return 0
            self.loop_data.reactor.next_tick(self._read_again)
        return total if total != 0 else -1

    cdef object dispatch(self, bint readable, bint writable):
        """The socket is ready; beside the write buffer, an answer of OpenSSL itself may have waited for that."""
        if writable and self.out is None and self.unsent is not None and not self._closed:
            writable = False
            try:
                self._send_rest()
            except OSError as exc:
                self._connection_broke(exc)
                return
            if self.unsent is None:
                self._write_blocked = False
                self._update_watch()
        TLSStreamCore.dispatch(self, readable, writable)

    cdef object _answer(self):
        """Send what OpenSSL has written by itself: an alert, the answer to a change of keys."""
        cdef Channel channel = self.channel
        cdef bytes before = b'' if self.unsent is None else self.unsent[self.unsent_skipped:]
        self.unsent = before + PyBytes_FromStringAndSize(channel.encrypted, channel.exchange.used)
        self.unsent_skipped = 0
        if self._send_rest() < 0 and self.unsent is not None:
            self._await_writable()

    cdef Py_ssize_t _send_rest(self) except? -2:
        """Send what waits encrypted; returns how many bytes of the write buffer that was, -1 if some of it still waits."""
        cdef Py_ssize_t n = len(self.unsent) - self.unsent_skipped
        n = send(self.fd, PyBytes_AS_STRING(self.unsent) + self.unsent_skipped, n, MSG_NOSIGNAL)
        if n < 0:
            if errno != EAGAIN and errno != EINTR:
                raise OSError(errno, os.strerror(errno))
            return -1
        self._transmitted += n
        self.unsent_skipped += n
        if self.unsent_skipped < len(self.unsent):
            return -1
        n = self.unsent_for
        self.unsent = None
        self.unsent_for = 0
        return n

    cdef Py_ssize_t _transmit(self, WriteBuffer out) except? -2:
        cdef Channel channel = self.channel
        cdef Py_ssize_t n, sent, used
        if self.unsent is not None:
            n = self._send_rest()
            if n < 0:
                return -1
            if n > 0:
                self._transmitted -= n  # counted as it was sent; the caller adds it
                return n
        channel.exchange.left = 0
        channel.exchange.encrypted = channel.encrypted
        channel.exchange.used = 0
        try:
            if out.parts is None:
                n = self._encrypt(PyByteArray_AS_STRING(out.data), min(out.used, AT_ONCE))
            else:
                n = self._encrypt_pieces(out.pieces())
        finally:
            channel.exchange.encrypted = NULL
        used = channel.exchange.used
        sent = send(self.fd, channel.encrypted, used, MSG_NOSIGNAL)
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                raise OSError(errno, os.strerror(errno))
            sent = 0
        self._transmitted += sent
        if sent == used:
            self._transmitted -= n
            return n
        self.unsent = PyBytes_FromStringAndSize(channel.encrypted + sent, used - sent)
        self.unsent_skipped = 0
        self.unsent_for = n
        return -1

    cdef Py_ssize_t _encrypt(self, const char* data, Py_ssize_t n) except -1:
        """Encrypt bytes, as few records as possible; returns their number."""
        cdef Py_ssize_t at = 0
        cdef int done
        while at < n:
            done = SSL_write(self.ssl, data + at, <int>(n - at))
            if done <= 0:
                raise failure()
            at += done
        return n

    cdef Py_ssize_t _encrypt_pieces(self, list pieces) except -1:
        """Encrypt several pieces, as if they were one, until it is enough for one send(2)."""
        cdef char* record = self.channel.record
        cdef const unsigned char[:] view
        cdef Py_ssize_t total = 0, used = 0, at, n
        for piece in pieces:
            view = piece
            at = 0
            while at < len(view) and total + used < AT_ONCE:
                if used == 0 and len(view) - at >= RECORD:
                    n = min((len(view) - at) // RECORD * RECORD, AT_ONCE - total)
                    total += self._encrypt(<const char*>&view[at], n)
                else:
                    n = min(len(view) - at, RECORD - used)
                    memcpy(record + used, <const char*>&view[at], n)
                    used += n
                    if used == RECORD:
                        total += self._encrypt(record, used)
                        used = 0
                at += n
        if used != 0:
            total += self._encrypt(record, used)
        return total

    cdef object _send_close_notify(self):
        """Send close_notify, unless the kernel has taken only a part of the record before it."""
        cdef Channel channel = self.channel
        if self.ssl is NULL or self.unsent is not None or self._owner != os.getpid():
            return
        channel.exchange.left = 0
        channel.exchange.encrypted = channel.encrypted
        channel.exchange.used = 0
        ERR_clear_error()
        if SSL_shutdown(self.ssl) == 1:
            self._eof_received = True  # both sent it: what may still come is not encrypted, and is discarded
        ERR_clear_error()
        channel.exchange.encrypted = NULL
        if channel.exchange.used != 0:
            send(self.fd, channel.encrypted, channel.exchange.used, MSG_NOSIGNAL)

    cdef object _close_socket(self):
        self._send_close_notify()
        self.ssl = NULL
        self.unsent = None
        self.socket.close()
        self.raw = None

    def detach(self):
        """Give up the `ssl.SSLSocket` without closing it, and return it; it reads and writes by itself again."""
        socket = TLSStreamCore.detach(self)
        if self.ssl is not NULL:
            SSL_set_fd(self.ssl, self.fd)
            self.ssl = NULL
        return socket


class OpenSSLStream(OpenSSLStreamCore, TLSStream):
    """A `TLSStream` that calls OpenSSL itself."""

    def __init__(self, socket, loop_data):
        OpenSSLStreamCore.__init__(self, socket, loop_data)


cdef void* symbol(const char* name) except NULL:
    cdef void* found = dlsym(library, name)
    if found is NULL:
        raise LookupError(f'{name.decode()} is not in the library that the ssl module has loaded')
    return found


def find():
    """Find OpenSSL's functions, and check that everything is where it should be.

    Raises:
        LookupError: it is not; the message says what.
    """
    global library, method, raw_type
    global SSL_read, SSL_write, SSL_pending, SSL_shutdown, SSL_get_error, SSL_get_SSL_CTX, SSL_set_bio, SSL_set_fd
    global SSL_get_rbio, SSL_get_wbio, BIO_new, BIO_free, BIO_up_ref, BIO_ctrl, BIO_set_flags, BIO_clear_flags
    global BIO_set_data, BIO_get_data, BIO_set_init, BIO_meth_new, BIO_meth_set_read, BIO_meth_set_write
    global BIO_meth_set_ctrl, ERR_peek_error, ERR_peek_last_error, ERR_clear_error, ERR_error_string_n, ERR_reason_error_string
    global OpenSSL_version
    path = getattr(_ssl, '__file__', None)
    if path is None:
        raise LookupError('the ssl module is a part of the interpreter')
    library = dlopen(os.fsencode(path), RTLD_NOW | RTLD_NOLOAD)
    if library is NULL:
        raise LookupError(f'{path} cannot be opened again')
    SSL_read = <int (*)(SSL*, void*, int) noexcept>symbol(b'SSL_read')
    SSL_write = <int (*)(SSL*, const void*, int) noexcept>symbol(b'SSL_write')
    SSL_pending = <int (*)(const SSL*) noexcept>symbol(b'SSL_pending')
    SSL_shutdown = <int (*)(SSL*) noexcept>symbol(b'SSL_shutdown')
    SSL_get_error = <int (*)(const SSL*, int) noexcept>symbol(b'SSL_get_error')
    SSL_get_SSL_CTX = <void* (*)(const SSL*) noexcept>symbol(b'SSL_get_SSL_CTX')
    SSL_set_bio = <void (*)(SSL*, BIO*, BIO*) noexcept>symbol(b'SSL_set_bio')
    SSL_set_fd = <int (*)(SSL*, int) noexcept>symbol(b'SSL_set_fd')
    SSL_get_rbio = <BIO* (*)(const SSL*) noexcept>symbol(b'SSL_get_rbio')
    SSL_get_wbio = <BIO* (*)(const SSL*) noexcept>symbol(b'SSL_get_wbio')
    BIO_new = <BIO* (*)(const void*) noexcept>symbol(b'BIO_new')
    BIO_free = <int (*)(BIO*) noexcept>symbol(b'BIO_free')
    BIO_up_ref = <int (*)(BIO*) noexcept>symbol(b'BIO_up_ref')
    BIO_ctrl = <long (*)(BIO*, int, long, void*) noexcept>symbol(b'BIO_ctrl')
    BIO_set_flags = <void (*)(BIO*, int) noexcept>symbol(b'BIO_set_flags')
    BIO_clear_flags = <void (*)(BIO*, int) noexcept>symbol(b'BIO_clear_flags')
    BIO_set_data = <void (*)(BIO*, void*) noexcept>symbol(b'BIO_set_data')
    BIO_get_data = <void* (*)(BIO*) noexcept>symbol(b'BIO_get_data')
    BIO_set_init = <void (*)(BIO*, int) noexcept>symbol(b'BIO_set_init')
    BIO_meth_new = <void* (*)(int, const char*) noexcept>symbol(b'BIO_meth_new')
    BIO_meth_set_read = <int (*)(void*, int (*)(BIO*, char*, int) noexcept) noexcept>symbol(b'BIO_meth_set_read')
    BIO_meth_set_write = <int (*)(void*, int (*)(BIO*, const char*, int) noexcept) noexcept>symbol(b'BIO_meth_set_write')
    BIO_meth_set_ctrl = <int (*)(void*, long (*)(BIO*, int, long, void*) noexcept) noexcept>symbol(b'BIO_meth_set_ctrl')
    ERR_peek_error = <unsigned long (*)() noexcept>symbol(b'ERR_peek_error')
    ERR_peek_last_error = <unsigned long (*)() noexcept>symbol(b'ERR_peek_last_error')
    ERR_clear_error = <void (*)() noexcept>symbol(b'ERR_clear_error')
    ERR_error_string_n = <void (*)(unsigned long, char*, size_t) noexcept>symbol(b'ERR_error_string_n')
    ERR_reason_error_string = <const char* (*)(unsigned long) noexcept>symbol(b'ERR_reason_error_string')
    OpenSSL_version = <const char* (*)(int) noexcept>symbol(b'OpenSSL_version')
    if OpenSSL_version(0).decode('ascii', 'replace') != ssl.OPENSSL_VERSION:
        raise LookupError(f'the library found is {OpenSSL_version(0)!r}, the ssl module uses {ssl.OPENSSL_VERSION!r}')
    check_layout()
    method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 127, b'pyjows')
    if method is NULL:
        raise LookupError('OpenSSL made no BIO_METHOD')
    BIO_meth_set_read(method, bio_read)
    BIO_meth_set_write(method, bio_write)
    BIO_meth_set_ctrl(method, bio_ctrl)


cdef object check_layout():
    """Check that CPython's structures are as they are declared above, with an object whose parts are known."""
    global raw_type
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(b'pyjows' * 7)
    outgoing.write(b'pyjows' * 6)
    raw = getattr(context.wrap_bio(incoming, outgoing), '_sslobj', None)
    if type(raw).__name__ != '_SSLSocket' or type(raw).__basicsize__ < sizeof(RawSocket):
        raise LookupError(f'{raw!r} is not the structure that is known')
    cdef RawSocket* socket = <RawSocket*><PyObject*>raw
    # In this order: each line makes sure of what the next one follows.
    if <PyObject*>socket.context is not <PyObject*>context or socket.socket is not NULL or socket.ssl is NULL:
        raise LookupError('the fields of _ssl._SSLSocket are not those that are known')
    if type(context).__basicsize__ < sizeof(RawContext) or SSL_get_SSL_CTX(socket.ssl) is not socket.context.ctx:
        raise LookupError('the fields of _ssl._SSLContext are not those that are known')
    if (
        BIO_ctrl(SSL_get_rbio(socket.ssl), BIO_CTRL_PENDING, 0, NULL) != 42
        or BIO_ctrl(SSL_get_wbio(socket.ssl), BIO_CTRL_PENDING, 0, NULL) != 36
    ):
        raise LookupError('the SSL of an _ssl._SSLSocket is not where it is known to be')
    raw_type = type(raw)


def is_supported(socket):
    """Whether an `ssl.SSLSocket` after its handshake can be driven: the kernel does not encrypt for it."""
    raw = getattr(socket, '_sslobj', None)
    if type(raw) is not raw_type:
        return False
    cdef RawSocket* fields = <RawSocket*><PyObject*>raw
    if <PyObject*>fields.context is not <PyObject*>(raw.context) or fields.ssl is NULL:
        return False
    return (
        BIO_ctrl(SSL_get_wbio(fields.ssl), BIO_CTRL_GET_KTLS_SEND, 0, NULL) != 1
        and BIO_ctrl(SSL_get_rbio(fields.ssl), BIO_CTRL_GET_KTLS_RECV, 0, NULL) != 1
    )
