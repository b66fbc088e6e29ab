"""TLS inside TLS: for ``wss://`` through an ``https://`` proxy.

Owns the inner layer: what the `ssl` module encrypts in memory, and an `ssl.SSLSocket` carries. `TLSInTLS` is used in
place of an `ssl.SSLSocket`, and blocks if the socket below does. Must not know proxies nor loops.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

__all__ = ['TLSInTLS']

# The most that one TLS record carries (RFC 8446 5.1); one is received at a time. What is encrypted at once is a bit
# less: with header and tag it fits in one record of the outer connection.
_RECORD = 16384
_AT_ONCE = _RECORD - 512

# With less room than this in the buffer, `recv_into` receives no more. What one received record can complete fits in
# it: otherwise decrypted bytes would stay in memory, and no file descriptor would be readable for them.
_ROOM = 4 * _RECORD


class TLSInTLS:
    """A TLS connection that another one carries, with the methods of `ssl.SSLSocket` that streams use.

    Args:
        outer: the `ssl.SSLSocket` after its handshake; it is closed with this one.
        context: the TLS configuration of the inner connection.
        server_side: whether we are its server.
        server_hostname: the name that the inner certificate is checked for.
    """

    def __init__(
        self,
        outer: ssl.SSLSocket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._outer = outer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._inner = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._unsent = b''  # encrypted, and not taken by the outer connection
        self._unsent_for = 0  # how many bytes of what was to be sent that is

    def do_handshake(self) -> None:
        """Make the inner handshake, as `ssl.SSLSocket.do_handshake`."""
        while True:
            try:
                self._inner.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                self._try_flush()  # an alert tells the peer why
                raise
            else:
                self._flush()
                return

    def recv_into(self, buffer: Any) -> int:
        """Decrypt into a buffer; returns how many bytes, 0 at the end; with room for less than 64 KiB, what is here."""
        return self._receive(buffer, len(buffer) >= _ROOM)

    def recv(self, n: int) -> bytes:
        """Up to so many bytes, b'' at the end; as of `ssl.SSLSocket`, more may wait in memory."""
        buffer = bytearray(n)
        with memoryview(buffer) as view:
            got = self._receive(view, True)
        return bytes(buffer[:got])

    def _receive(self, buffer: Any, has_room: bool) -> int:
        while True:
            try:
                return int(self._inner.read(len(buffer), buffer))
            except ssl.SSLWantReadError:
                self._try_flush()  # the answer to a change of keys
                if not has_room:
                    raise
                self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0

    def send(self, data: Any) -> int:
        """Encrypt and send; returns how many bytes. After `ssl.SSLWantWriteError`, give the same bytes again."""
        if not self._unsent_for:
            self._flush()
            piece = memoryview(data)[:_AT_ONCE]
            self._unsent_for = self._inner.write(piece)
        self._flush()
        n, self._unsent_for = self._unsent_for, 0
        return n

    def unwrap(self) -> None:
        """Send close_notify in both layers; raises `ssl.SSLError` where the peer's did not come yet."""
        if self._unsent_for:
            raise ssl.SSLWantWriteError('amid a record')
        try:
            self._inner.unwrap()
        finally:
            self._try_flush()
            if not self._unsent:
                self._outer.unwrap()

    def _fill(self) -> None:
        """Receive one record from the outer connection."""
        data = self._outer.recv(_RECORD)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Have the outer connection take all that is encrypted."""
        self._unsent += self._outgoing.read()
        while self._unsent:
            n = self._outer.send(self._unsent)  # after an SSLWantWriteError the same bytes, and maybe more
            self._unsent = self._unsent[n:]

    def _try_flush(self) -> None:
        try:
            self._flush()
        except OSError:
            pass  # the next send flushes it; if the connection broke, the next read raises

    # Of the inner connection

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The certificate at the other end of the inner connection."""
        return self._inner.getpeercert(binary_form)

    def selected_alpn_protocol(self) -> str | None:
        """What was negotiated inside."""
        return self._inner.selected_alpn_protocol()

    def version(self) -> str | None:
        """The version of TLS inside."""
        return self._inner.version()

    # Of the socket

    def fileno(self) -> int:
        """The file descriptor."""
        return self._outer.fileno()

    def getsockname(self) -> Any:
        """Our address."""
        return self._outer.getsockname()

    def getpeername(self) -> Any:
        """The proxy's address."""
        return self._outer.getpeername()

    def getsockopt(self, *args: Any) -> Any:
        """An option of the socket."""
        return self._outer.getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the socket."""
        self._outer.setsockopt(*args)

    def gettimeout(self) -> float | None:
        """Seconds that a call may block; None for no limit."""
        return self._outer.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        """Set how long a call may block."""
        self._outer.settimeout(seconds)

    @property
    def family(self) -> int:
        """The socket's family."""
        return int(self._outer.family)

    def shutdown(self, how: int) -> None:
        """Shut down the socket's writing, or reading too; both layers of TLS stay for what still comes."""
        socket.socket.shutdown(self._outer, how)  # SSLSocket.shutdown drops the outer layer

    def close(self) -> None:
        """Close the socket."""
        self._outer.close()
