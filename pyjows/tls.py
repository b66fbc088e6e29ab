"""`TLS`: which certificate to present and which to trust, as a value; and `ServerTLS`, a server's current context.

Owns the options, and making an `ssl.SSLContext` of them. Must not know connections: the handshake is in
`ioloop/tls.py`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

__all__ = ['TLS', 'ServerTLS']

_VERIFY = {'0': False, '1': True, 'optional': 'optional'}


class TLS:
    """Certificates and trust, for `serve` and `connect`.

    ::

        pyjows.serve('wss://0.0.0.0:443', tls=pyjows.TLS('chain.pem', 'key.pem'))
        pyjows.connect('wss://example.com', tls=pyjows.TLS(ca='ca.pem'))

    Its files are read when a server begins to listen, by `Server.reload_tls`, and with the first connection of a
    client. For what it has no option for, pass an `ssl.SSLContext` instead.

    Args:
        cert: a PEM file: the certificate, then those between it and the authority. A server needs one.
        key: the PEM file of its private key; by default it is in `cert` too.
        ca: a PEM file, or a folder as OpenSSL has them, with the authorities whose certificates are trusted. By
            default, a client trusts those of the system; a server asks for no certificate.
        verify: for a server, whether a client has to show a certificate of `ca`: True (the default where there is a
            `ca`), False, or ``'optional'``. For a client, False trusts everybody: for tests only.
        password: of the private key, or a function that returns it.
        sni: for a server, other certificates by the name that a client asks for:
            ``{'example.org': TLS(…), '*.example.net': TLS(…)}``.

    Raises:
        TypeError, ValueError: an option is not valid.
    """

    __slots__ = ('_client', 'ca', 'cert', 'key', 'password', 'sni', 'verify')

    def __init__(
        self,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        *,
        ca: str | os.PathLike[str] | None = None,
        verify: bool | str | None = None,
        password: str | bytes | Callable[[], str | bytes] | None = None,
        sni: Mapping[str, TLS] | None = None,
    ) -> None:
        for name, value in (('cert', cert), ('key', key), ('ca', ca)):
            if not isinstance(value, str | os.PathLike | None):
                raise TypeError(f'TLS(): {name} takes the path of a PEM file, not {value!r}')
        if key is not None and cert is None:
            raise ValueError(f'TLS(): key={key!r} without cert: give the certificate that the key belongs to')
        if not (verify is None or isinstance(verify, bool) or verify == 'optional'):
            raise ValueError(f"TLS(): verify takes True, False or 'optional', not {verify!r}")
        if not (password is None or isinstance(password, str | bytes) or callable(password)):
            raise TypeError(f'TLS(): password takes a str, bytes or a function that returns one, not {type(password)}')
        self.cert = cert
        self.key = key
        self.ca = ca
        self.verify = verify
        self.password = password
        self.sni = _checked_names(sni)
        self._client: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        given = ((name, getattr(self, name)) for name in ('cert', 'key', 'ca', 'verify', 'sni'))
        return f'TLS({", ".join(f"{name}={value!r}" for name, value in given if value not in (None, {}))})'

    @classmethod
    def of_query(cls, caller: str, url: str, query: str) -> TLS:
        """A `TLS` of the query of a server's URL: ``cert``, ``key``, ``ca`` and ``verify`` (0, 1 or optional).

        Raises:
            ValueError: the query has another name, one of them twice, or a value that is not valid.
        """
        options: dict[str, Any] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in ('cert', 'key', 'ca', 'verify') or name in options or not value:
                raise ValueError(
                    f'{caller}: {url!r} has {name}={value}: its query takes cert=, key=, ca= and verify=, each once'
                )
            if name == 'verify' and value not in _VERIFY:
                raise ValueError(f'{caller}: {url!r} has verify={value}: it takes 0, 1 or optional')
            options[name] = _VERIFY[value] if name == 'verify' else value
        return cls(**options)

    def server_context(self) -> ssl.SSLContext:
        """A new context for a server, from the files as they are now.

        Raises:
            ValueError: there is no certificate, or the options are a client's, or a file is not a valid PEM file.
            OSError: a file cannot be read.
        """
        if self.cert is None:
            raise ValueError('TLS(): a server needs a certificate: TLS(cert, key)')
        if self.verify and self.ca is None:
            raise ValueError(f'TLS(): verify={self.verify!r} without ca: give the authorities of client certificates')
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.ca is not None:
            self._load_authorities(context)
            modes = {None: ssl.CERT_REQUIRED, True: ssl.CERT_REQUIRED, False: ssl.CERT_NONE}
            context.verify_mode = modes.get(self.verify, ssl.CERT_OPTIONAL)  # type: ignore[arg-type]
        self._present(context)
        context.set_alpn_protocols(['http/1.1'])
        if self.sni:
            contexts = {name: tls.server_context() for name, tls in self.sni.items()}
            if self.ca is not None:
                # OpenSSL looks for the authorities in the chosen context, and `SSLSocket.getpeercert` for the mode.
                for each in contexts.values():
                    self._load_authorities(each)
                    each.verify_mode = context.verify_mode

            def choose(tls: Any, name: str | None, context: ssl.SSLContext) -> None:
                """Present the certificate for the name that the client asks for."""
                if name is not None:
                    name = name.lower()
                    chosen = contexts.get(name) or contexts.get(f'*.{name.partition(".")[2]}')
                    if chosen is not None:
                        tls.context = chosen

            context.sni_callback = choose
        return context

    def client_context(self) -> ssl.SSLContext:
        """The context for clients; made with the first connection.

        Raises:
            ValueError: the options are a server's, or a file is not a valid PEM file.
            OSError: a file cannot be read.
        """
        if self.sni:
            raise ValueError('TLS(): sni is for servers: a client shows one certificate')
        if self.verify == 'optional':
            raise ValueError("TLS(): verify='optional' is for servers: a client takes True or False")
        if self._client is None:
            context = ssl.create_default_context() if self.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if self.ca is not None:
                self._load_authorities(context)
            if self.verify is False:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.cert is not None:
                self._present(context)
            context.set_alpn_protocols(['http/1.1'])
            self._client = context
        return self._client

    def _load_authorities(self, context: ssl.SSLContext) -> None:
        assert self.ca is not None
        try:
            if os.path.isdir(self.ca):
                context.load_verify_locations(capath=self.ca)
            else:
                context.load_verify_locations(cafile=self.ca)
        except ssl.SSLError as exc:
            raise ValueError(f'TLS(): ca={self.ca!r} is not a PEM file with certificates: {exc}') from exc
        except OSError as exc:
            raise type(exc)(exc.errno, f'TLS(): ca={self.ca!r} cannot be read: {exc.strerror}') from exc

    def _present(self, context: ssl.SSLContext) -> None:
        """Load the certificate and its key into a context."""
        assert self.cert is not None
        try:
            context.load_cert_chain(self.cert, self.key, self.password)
        except ssl.SSLError as exc:
            raise ValueError(
                f'TLS(): cert={self.cert!r}, key={self.key!r}: not a certificate and its private key in PEM: {exc}'
            ) from exc
        except OSError as exc:
            raise type(exc)(
                exc.errno, f'TLS(): cert={self.cert!r} or key={self.key!r} cannot be read: {exc.strerror}'
            ) from exc


class ServerTLS:
    """The context with which a server answers new connections; it can be replaced, open connections keep theirs.

    Attributes:
        context: the `ssl.SSLContext`.
    """

    def __init__(self, given: TLS | ssl.SSLContext) -> None:
        self._given = given
        self.context = self._context_of(given)

    def prepare(self, given: TLS | ssl.SSLContext | None) -> tuple[TLS | ssl.SSLContext, ssl.SSLContext]:
        """What `adopt` takes: made of the files as they are now, or of something else.

        Raises:
            ValueError: there are no files to be read again, or one is not a valid PEM file.
            OSError: a file cannot be read.
        """
        given = self._given if given is None else given
        if given is self.context:
            raise ValueError(
                'reload_tls(): serve() was given an ssl.SSLContext, of which no files are known: pass the new one, '
                'or give serve() a TLS(cert, key)'
            )
        return given, self._context_of(given)

    def adopt(self, prepared: tuple[TLS | ssl.SSLContext, ssl.SSLContext]) -> None:
        """Use what `prepare` has made."""
        self._given, self.context = prepared

    @staticmethod
    def _context_of(given: TLS | ssl.SSLContext) -> ssl.SSLContext:
        return given.server_context() if isinstance(given, TLS) else given


def _checked_names(sni: Mapping[str, TLS] | None) -> dict[str, TLS]:
    """The certificates by name, with the names as they are compared."""
    if sni is None:
        return {}
    if not isinstance(sni, Mapping):
        raise TypeError(f"TLS(): sni takes a dict, such as {{'example.org': TLS(cert, key)}}, not {sni!r}")
    checked = {}
    for name, tls in sni.items():
        if not isinstance(name, str) or not isinstance(tls, TLS):
            raise TypeError(
                f"TLS(): sni takes a dict of TLS by name, {{'example.org': TLS(cert, key)}}, not {name!r}: {tls!r}"
            )
        if '*' in name.removeprefix('*.') or not name:
            raise ValueError(f"TLS(): sni has the name {name!r}: give a host name, or one such as '*.example.org'")
        if tls.ca is not None or tls.verify is not None or tls.sni:
            raise ValueError(
                f'TLS(): sni[{name!r}] takes cert, key and password; ca and verify are those of the outer TLS'
            )
        checked[name.lower()] = tls
    return checked
