"""SOCKS5 and SOCKS4 proxies, by python-socks' protocol without I/O (RFC 1928, RFC 1929; extra ``socks``).

Owns the order of the exchange, and how many bytes each answer has. Must not know sockets, nor what goes through the
tunnel. It is used as `Tunnel` in `proxy.py` is.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NoReturn

from ..errors import HandshakeError
from ..url import URL, format_authority

__all__ = ['SocksTunnel']

# Characters of a host name, of a user name and of a password: their lengths are sent as one byte.
_LONGEST = 255

# What is to be sent, and how many bytes of the answer are needed then.
_Step = tuple[bytes, int]


class SocksTunnel:
    """The tunnel through a SOCKS proxy to one host and port. The proxy resolves the host's name (SOCKS4a).

    Args:
        proxy: the proxy, with user name and password if it needs them.
        url: the destination.

    Raises:
        ImportError: python-socks is not installed.
        ValueError: SOCKS4 has no IPv6 addresses, and user names of ASCII only; SOCKS5 has user names and passwords of 1
            to 255 ASCII characters; a host name has 255 characters at most.
    """

    def __init__(self, proxy: URL, url: URL) -> None:
        try:
            from python_socks._protocols import errors, socks4, socks5
        except ImportError as exc:
            raise ImportError(
                'SOCKS proxies need python-socks: pip install pyjows[socks]; proxy=None connects directly'
            ) from exc
        self._socks4: Any = socks4
        self._socks5: Any = socks5
        self._error = errors.ReplyError
        self._proxy = format_authority(proxy.host, proxy.port)
        self._host, self._port = url.host.partition('%')[0], url.port
        self._target = format_authority(self._host, self._port)
        if len(self._host) > _LONGEST:
            raise ValueError(
                f'the SOCKS proxy {self._proxy} cannot lead to a host name of {len(self._host)} characters: '
                f'{_LONGEST} are allowed (RFC 1928 5)'
            )
        if proxy.scheme == 'socks4':
            self._check_socks4(proxy.username)
            self._steps = self._exchange_socks4(proxy.username)
        else:
            self._check_socks5(proxy.user_info)
            self._steps = self._exchange(proxy.user_info)
        self._received = b''
        self._to_send, self._wanted = next(self._steps)

    def send(self) -> bytes:
        """The next bytes for the proxy; b'' for none."""
        data, self._to_send = self._to_send, b''
        return data

    def receive(self, data: bytes) -> bool:
        """Take bytes from the proxy, b'' for EOF; returns whether the tunnel is open.

        Raises:
            HandshakeError: the proxy refuses, hangs up, or does not speak SOCKS.
        """
        if not data:
            self._fail('closed the connection before the tunnel was open')
        self._received += data
        while len(self._received) >= self._wanted:
            answer, self._received = self._received[: self._wanted], self._received[self._wanted :]
            try:
                self._to_send, self._wanted = self._steps.send(answer)
            except StopIteration:
                if self._received:
                    self._fail('sent data before the client sent anything')
                return True
            except self._error as exc:
                self._fail(f'refuses: {exc}')
            if self._to_send and self._received:
                self._fail('sent an answer before it was asked')
        return False

    def _check_socks4(self, name: str | None) -> None:
        if ':' in self._host:
            raise ValueError(
                f'the SOCKS proxy {self._proxy} cannot lead to {self._target}: SOCKS4 has no IPv6 addresses; '
                'use socks5://, or the name of the host'
            )
        if name and (not name.isascii() or '\0' in name):
            raise ValueError(
                f'the user name for the SOCKS proxy {self._proxy} is not ASCII: SOCKS4 takes no other; use socks5://'
            )

    def _check_socks5(self, user: tuple[str, str] | None) -> None:
        if user is not None and not all(text.isascii() and 0 < len(text) <= _LONGEST for text in user):
            raise ValueError(
                f'the user name and the password for the SOCKS proxy {self._proxy} have to be 1 to {_LONGEST} ASCII '
                f'characters each (RFC 1929 2): write socks5://user:password@{self._proxy}, or neither of them'
            )

    def _exchange_socks4(self, name: str | None) -> Generator[_Step, bytes, None]:
        """The exchange of SOCKS4: one request, one answer."""
        connection = self._socks4.Connection()
        request = self._socks4.ConnectRequest(host=self._host, port=self._port, user_id=name)
        connection.receive((yield connection.send(request), self._socks4.ConnectReply.SIZE))

    def _exchange(self, user: tuple[str, str] | None) -> Generator[_Step, bytes, None]:
        """The exchange, step by step."""
        socks5, connection = self._socks5, self._socks5.Connection()
        name, password = user or (None, None)
        request = socks5.AuthMethodsRequest(username=name, password=password)
        answer = yield connection.send(request), socks5.AuthMethodReply.SIZE
        if connection.receive(answer).method == socks5.AuthMethod.USERNAME_PASSWORD:
            request = socks5.AuthRequest(username=name, password=password)
            answer = yield connection.send(request), socks5.AuthReply.SIZE
            connection.receive(answer)
        answer = yield connection.send(socks5.ConnectRequest(host=self._host, port=self._port)), 4
        if answer[:3] == bytes((socks5.SOCKS_VER, socks5.ReplyCode.SUCCEEDED, socks5.RSV)):
            size = {socks5.AddressType.IPV4: 4, socks5.AddressType.IPV6: 16}.get(answer[3])
            if size is None:
                answer += yield b'', 1
                size = answer[4]
            answer += yield b'', size + 2
        connection.receive(answer)

    def _fail(self, what: str) -> NoReturn:
        raise HandshakeError(f'the SOCKS proxy {self._proxy} {what} (on the way to {self._target})')
