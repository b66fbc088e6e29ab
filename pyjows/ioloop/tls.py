"""TLS: the handshake on a connected socket, and the stream that uses it afterwards.

Owns what differs from a plain socket: a read may have to wait until the socket is writable and a write until it is
readable, and the end of the stream is a record of its own (``close_notify``). Must not know certificates: the caller
configures the `ssl.SSLContext`.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
import socket as _socket
import ssl
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from ..buffers import WriteBuffer
from ..reactor import Handle, Reactor
from ..safe_logger import SafeLogger
from ..tls_in_tls import TLSInTLS
from .stream import LoopData, Stream, StreamCore

__all__ = ['TLSNegotiation', 'TLSStream', 'default_context', 'secured_stream']

_log = SafeLogger('pyjows')

# The most that one TLS record carries (RFC 8446 5.1): with room for that, no decrypted bytes stay in the TLS library.
_RECORD = 16384

# Bytes of one write to the TLS library, which reports a write as done only when the kernel has taken all of it.
_AT_ONCE = 65536

TLSSocket: TypeAlias = ssl.SSLSocket | TLSInTLS
"""What a stream reads and writes after the handshake."""


@functools.cache
def default_context() -> ssl.SSLContext:
    """The default context of clients; made once, because loading the authorities takes some 30 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(['http/1.1'])
    return context


class TLSNegotiation(Handle):
    """A TLS handshake under way.

    Args:
        reactor: what waits.
        socket: a connected non-blocking socket; the negotiation closes it if it fails. In an `ssl.SSLSocket` it makes a
            second layer of TLS.
        context: the TLS configuration.
        done: called once, ``done(exc, socket)``: with an OSError (as `ssl.SSLError` is) and None, or with None and the
            `ssl.SSLSocket` or `TLSInTLS`. Not after `cancel`.
        server_side: whether we are the server.
        server_hostname: the name in the certificate that a client expects.
        timeout: seconds for the whole handshake; 0 for no limit.
    """

    def __init__(
        self,
        reactor: Reactor,
        socket: _socket.socket,
        context: ssl.SSLContext,
        done: Callable[[OSError | None, TLSSocket | None], object],
        *,
        server_side: bool,
        server_hostname: str | None = None,
        timeout: float = 0,
    ) -> None:
        Handle.__init__(self)
        self._reactor = reactor
        self._done: Callable[[OSError | None, TLSSocket | None], object] | None = done
        self._timeout = timeout
        self._timer = reactor.timer(self._timed_out, timeout) if timeout else None
        self._socket: _socket.socket | TLSInTLS = socket
        self._fd = socket.fileno()
        self._context = context
        self._server_side = server_side
        self._server_hostname = server_hostname
        reactor.next_tick(self._start)

    def cancel(self) -> None:
        """Give up; `done` is not called."""
        self._done = None
        self._unregister()
        self._socket.close()

    def abort(self) -> None:
        """Give up; `done` is called with ECANCELED."""
        self._complete(OSError(errno.ECANCELED, 'the loop was stopped'))

    def ready(self, readable: bool, writable: bool) -> None:
        assert isinstance(self._socket, TLSSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._reactor.watch(self._fd, True, False)
        except ssl.SSLWantWriteError:
            self._reactor.watch(self._fd, False, True)
        except (OSError, ValueError) as exc:
            self._complete(exc)
        else:
            self._complete(None)

    def _start(self, reactor: Reactor) -> None:
        if self._done is None:
            return
        try:
            self._socket = self._wrapped()  # if this fails, it closes the socket
            reactor.io(self._fd, self)
        except (OSError, TypeError, ValueError) as exc:
            self._complete(exc)
        else:
            self.ready(False, False)

    def _wrapped(self) -> TLSSocket:
        socket, side, name = self._socket, self._server_side, self._server_hostname
        if isinstance(socket, ssl.SSLSocket):
            return TLSInTLS(socket, self._context, server_side=side, server_hostname=name)
        assert isinstance(socket, _socket.socket)
        return self._context.wrap_socket(socket, server_side=side, server_hostname=name, do_handshake_on_connect=False)

    def _timed_out(self, reactor: Reactor) -> None:
        self._complete(TimeoutError(f'the TLS handshake did not complete within {round(self._timeout, 3):g} s'))

    def _complete(self, exc: OSError | TypeError | ValueError | None) -> None:
        self._unregister()
        done, self._done = self._done, None
        if exc is not None:
            self._socket.close()
            if not isinstance(exc, OSError):
                exc = ssl.SSLError(ssl.SSL_ERROR_SSL, str(exc))  # with one argument, its text is a tuple
            if done is not None:
                done(exc, None)
        elif done is not None:
            assert isinstance(self._socket, TLSSocket)
            done(None, self._socket)

    def _unregister(self) -> None:
        self._reactor.remove(self._fd)
        if self._timer is not None:
            self._reactor.remove(self._timer)
            self._timer = None


class TLSStreamCore(StreamCore):
    """The behaviour of `TLSStream`."""

    def __init__(self, socket: Any, loop_data: LoopData) -> None:
        StreamCore.__init__(self, socket, loop_data)
        self._read_waits_for_writing = False
        self._write_waits_for_reading = False
        self._deferred_error: OSError | None = None
        self._eof_received = False
        self._owner = os.getpid()

    def dispatch(self, readable: bool, writable: bool) -> None:
        """The socket is ready; a read may have waited for it to be writable, or a write for it to be readable."""
        crossed = self._read_waits_for_writing or self._write_waits_for_reading
        if crossed:
            readable, writable = (
                writable if self._read_waits_for_writing else readable,
                readable if self._write_waits_for_reading else writable,
            )
            if readable:
                self._read_waits_for_writing = False
            if writable:
                self._write_waits_for_reading = False
        StreamCore.dispatch(self, readable, writable)
        if crossed or self._read_waits_for_writing or self._write_waits_for_reading:
            self._update_watch()

    def _receive(self, buffer: bytearray) -> int:
        """Receive whole records, as many as fit; the rest stays with the kernel, which reports it again."""
        if self._deferred_error is not None:
            raise self._deferred_error
        if self._eof_received:
            return 0
        n = 0
        room = memoryview(buffer)
        while len(buffer) - n >= _RECORD:
            try:
                got = self.socket.recv_into(room[n:])
            except ssl.SSLWantReadError:
                return n or -1
            except ssl.SSLWantWriteError:
                self._read_waits_for_writing = True
                return n or -1
            except OSError as exc:
                if not n:
                    raise
                # What came before the error is delivered first.
                self._deferred_error = exc
                self.loop_data.reactor.next_tick(self._read_again)
                return n
            if not got:
                if n:
                    self.loop_data.reactor.next_tick(self._read_again)
                self._eof_received = True
                return n
            n += got
        return n

    @property
    def is_encrypted(self) -> bool:
        return True

    def _read_again(self, reactor: Any) -> None:
        self.dispatch(True, False)

    def _transmit(self, out: WriteBuffer) -> int:
        try:
            return int(self.socket.send(memoryview(out.pieces()[0])[:_AT_ONCE]))
        except ssl.SSLWantWriteError:
            return -1
        except ssl.SSLWantReadError:
            self._write_waits_for_reading = True
            return -1

    def _shutdown_write(self) -> None:
        """Send close_notify, which ends our half of the connection and leaves the peer's open."""
        self._send_close_notify()
        if isinstance(self.socket, ssl.SSLSocket):
            # Not SSLSocket.shutdown: it drops the TLS state, and what still comes would be read unencrypted.
            _socket.socket.shutdown(self.socket, _socket.SHUT_WR)
        else:
            self.socket.shutdown(_socket.SHUT_WR)

    def _close_socket(self) -> None:
        self._send_close_notify()
        self.socket.close()

    def _send_close_notify(self) -> None:
        if self._owner != os.getpid():
            return  # a forked child closes its copy; the connection is the parent's
        try:
            self.socket.unwrap()
            self._eof_received = True  # both sent it: what may still come is not encrypted, and is discarded
        except (OSError, ValueError):
            pass  # close_notify sent, the peer's is pending; or the transport is gone

    def _watch(self, reads: bool, writes: bool) -> None:
        """Watch for the readiness that reading and writing need; TLS may need the other one for either."""
        self.loop_data.reactor.watch(
            self.fd,
            (reads and not self._read_waits_for_writing) or (writes and self._write_waits_for_reading),
            (writes and not self._write_waits_for_reading) or (reads and self._read_waits_for_writing),
        )


class TLSStream(TLSStreamCore, Stream):  # type: ignore[misc]
    """A `Stream` over TLS; `socket` is an `ssl.SSLSocket` or a `TLSInTLS` after its handshake."""

    def __init__(self, socket: Any, loop_data: LoopData) -> None:
        TLSStreamCore.__init__(self, socket, loop_data)


def secured_stream(socket: TLSSocket, loop_data: LoopData) -> TLSStream:
    """A stream on a TLS socket after its handshake: one that calls OpenSSL from C, where that is possible.

    ``PYJOWS_OPENSSL=0`` in the environment has it go through the `ssl` module all the same.
    """
    native = _native() if os.environ.get('PYJOWS_OPENSSL') != '0' else None
    if native is not None and native.is_supported(socket):
        return cast(TLSStream, native.OpenSSLStream(socket, loop_data))
    stream = TLSStream(socket, loop_data)
    if isinstance(socket, TLSInTLS):
        # What came with the last record of the handshake waits in memory.
        loop_data.reactor.next_tick(lambda reactor: stream.ready(True, False))
    return stream


@functools.cache
def _native() -> Any:
    """The module that calls OpenSSL from C; None where that is not possible here."""
    try:
        module = importlib.import_module('.openssl', __package__)
        module.find()
    except (ImportError, LookupError) as exc:
        _log.debug('TLS goes through the ssl module: %s', exc)
        return None
    return module
