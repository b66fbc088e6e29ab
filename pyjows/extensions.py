"""Extensions to the protocol (RFC 6455 section 9): their interface and their negotiation.

An extension has two halves. An `ExtensionFactory` is what users configure: it makes a client's offers, answers them
as a server, checks the answer as a client. Each negotiation that succeeds gives an `Extension`, which belongs to one
connection and changes its frames: `encode` on the way out, `decode` on the way in. Both are protocols
(`typing.Protocol`): a class needs their members, not inheritance. permessage-deflate (`deflate.py`) is included.

A connection may have several, in the order in which the server's answer names them: what is sent goes through them from
the first to the last, what is received from the last to the first (RFC 6455 9.1).

This file also owns the grammar of ``Sec-WebSocket-Extensions``. It must not know the rest of HTTP, nor the state of a
connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Protocol

from . import deflate
from ._text import TOKEN, checked_token, is_token, shown
from .deflate import Deflate, Parameter
from .errors import NegotiationError
from .frames import Frame

__all__ = [
    'SUPPORTED_EXTENSIONS',
    'Extension',
    'ExtensionFactory',
    'ExtensionList',
    'Parameter',
    'PerMessageDeflate',
    'agree_client',
    'answer_server',
    'as_factories',
    'format_extensions',
    'negotiate_client',
    'negotiate_server',
    'offer_header',
    'parse_extensions',
]

ExtensionList = list[tuple[str, list[Parameter]]]
"""Extensions in order, a name and parameters each: ``[('permessage-deflate', [('client_max_window_bits', None)])]``."""


class Extension(Protocol):
    """One connection's negotiated extension.

    A subclass overrides what it needs; these methods return frames unchanged.

    Attributes:
        name: its token in the header.
        rsv: the reserved bits that it claims, a mask of 0x40 (RSV1), 0x20 (RSV2) and 0x10 (RSV3). A frame with a bit
            that no extension claims fails the connection before it gets here. A bit that it leaves set fails the
            connection after it. An extension that has no `rsv` is one in websockets' shape: it sees all bits, and
            control frames, too.
    """

    name: str
    rsv: int

    def encode(self, frame: Frame) -> Frame:
        """An outgoing frame as it goes onto the wire. It must keep its opcode and its `fin`."""
        return frame

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """An incoming frame as the application sees it, with the reserved bits of this extension cleared.

        It may be a part of a frame or message that is still arriving: the first part bears the message's opcode and
        reserved bits, those after it bear Opcode.CONT and none, and only the very last part of the message has `fin`.

        Args:
            frame: what arrived, unmasked.
            max_size: how many bytes may come out of it, None for any number.

        Raises:
            PayloadTooBig: more would come out of it.
            ProtocolError: the frame breaks the extension's rules.
        """
        return frame


class ExtensionFactory(Protocol):
    """An extension as users configure it: the part that negotiates. One may serve any number of connections.

    Attributes:
        name: its token in the header.
    """

    name: str

    def offers(self) -> Sequence[Sequence[Parameter]]:
        """A client's offers, the best first: the parameters of each."""
        ...

    def answer(self, offers: Sequence[Sequence[Parameter]]) -> tuple[Sequence[Parameter], Extension] | None:
        """A server's answer to all offers of this name, in the client's order: the first that can be accepted.

        Returns:
            The parameters of the answer, and the extension that keeps to them; None if no offer will do.
        """
        ...

    def agree(self, answer: Sequence[Parameter]) -> Extension:
        """A client's extension, as the server's answer wants it.

        Raises:
            NegotiationError: the answer is not one to our offers.
        """
        ...


def as_factories(compression: Any) -> list[ExtensionFactory]:
    """The extensions that the option ``compression=`` asks for.

    Args:
        compression: False or None, none; True, permessage-deflate with its defaults; a `PerMessageDeflate` or
            another factory; or a list of them, the preferred one first.

    Raises:
        TypeError: it is none of these.
    """
    if compression is None or compression is False:
        return []
    if compression is True:
        return [deflate.PerMessageDeflate()]
    factories = list(compression) if isinstance(compression, (list, tuple)) else [compression]
    for factory in factories:
        if isinstance(factory, type) or not all(hasattr(factory, m) for m in ('name', 'offers', 'answer', 'agree')):
            raise TypeError(
                f'compression is {compression!r}; it must be True, False, a PerMessageDeflate() or a list of them'
            )
    return factories


# Negotiation


def offer_header(factories: Iterable[ExtensionFactory]) -> str | None:
    """A client's ``Sec-WebSocket-Extensions``, every offer of every factory in order; None if there is none."""
    return format_extensions((factory.name, offer) for factory in factories for offer in factory.offers()) or None


def negotiate_server(factories: Sequence[ExtensionFactory], header: str | None) -> tuple[str | None, list[Extension]]:
    """A server's answer to a client's offers.

    The extensions come in the client's order of preference, each name once, and no two that claim the same reserved
    bit: the one that comes first has it.

    Args:
        factories: the extensions that the server is willing to use.
        header: the request's ``Sec-WebSocket-Extensions``, several of them joined by commas, or None.

    Returns:
        The header of the answer, None if nothing was accepted, and the extensions of this connection.

    Raises:
        NegotiationError: the header does not follow the grammar; the handshake fails with status 400 (RFC 6455 9.1).
    """
    if header is None:
        return None, []
    accepted, extensions = answer_server(factories, parse_extensions(header))
    return format_extensions(accepted) or None, extensions


def answer_server(
    factories: Sequence[ExtensionFactory], requested: ExtensionList
) -> tuple[ExtensionList, list[Extension]]:
    """`negotiate_server` for offers that are parsed already; the answer comes as a list, too."""
    accepted: ExtensionList = []
    extensions: list[Extension] = []
    claimed = 0
    offers_by_name: dict[str, list[list[Parameter]]] = {}
    for name, params in requested:
        offers_by_name.setdefault(name, []).append(params)
    for name, offers in offers_by_name.items():
        for factory in factories:
            answer = factory.answer(offers) if factory.name == name else None
            if answer is not None and not _claimed(answer[1]) & claimed:
                answered, extension = answer
                accepted.append((name, list(answered)))
                extensions.append(extension)
                claimed |= _claimed(extension)
                break
    return accepted, extensions


def negotiate_client(factories: Sequence[ExtensionFactory], header: str | None) -> list[Extension]:
    """The extensions of a client after the server's answer.

    Args:
        factories: those that the offers came from.
        header: the response's ``Sec-WebSocket-Extensions``, several of them joined by commas, or None.

    Raises:
        NegotiationError: the server accepted what was not offered, one extension twice, or two that claim the same
            reserved bit; or its parameters break the extension's rules, or the header the grammar. The connection fails
            with 1010.
    """
    return [] if header is None else agree_client(factories, parse_extensions(header))


def agree_client(factories: Sequence[ExtensionFactory], accepted: ExtensionList) -> list[Extension]:
    """`negotiate_client` for an answer that is parsed already; raises as it."""
    extensions: dict[str, Extension] = {}
    claimed = 0
    for name, params in accepted:
        if name in extensions:
            raise NegotiationError(f'the server accepted extension {shown(name)} twice')
        extension = _agree([factory for factory in factories if factory.name == name], name, params)
        if _claimed(extension) & claimed:
            raise NegotiationError(
                f'the server accepted extension {shown(name)} together with one that uses the same reserved bits'
            )
        claimed |= _claimed(extension)
        extensions[name] = extension
    return list(extensions.values())


def _claimed(extension: Extension) -> int:
    """The reserved bits that an extension says it claims."""
    return getattr(extension, 'rsv', 0)


def _agree(candidates: Sequence[ExtensionFactory], name: str, params: Sequence[Parameter]) -> Extension:
    """The extension of the first factory whose offer this is an answer to."""
    failure = NegotiationError(f'the server accepted extension {shown(name)}, which was not offered')
    for n, factory in enumerate(candidates):
        try:
            return factory.agree(params)
        except NegotiationError as exc:
            failure = failure if n else exc
    raise failure


# The grammar of Sec-WebSocket-Extensions (RFC 6455 9.1). White space is matched possessively, so that no input takes
# more than time in proportion to its length.

# Names and parameters in one header: ten times what the extensions that exist could use. Without the limit, parsing a
# header of 16 KiB would cost more than the rest of the connection.
_MAX_WORDS = 256

_empty = re.compile(r'[ \t,]*+').match
_name = re.compile(rf'({TOKEN})').match
_param = re.compile(rf'[ \t]*+;[ \t]*+({TOKEN})(?:[ \t]*+=[ \t]*+(?:({TOKEN})|"((?:[^"\\]|\\.)*+)"))?').match
_element_end = re.compile(r'[ \t]*+(?:,|\Z)').match
_escape = re.compile(r'\\(.)')


def parse_extensions(header: str) -> ExtensionList:
    """The extensions in a ``Sec-WebSocket-Extensions`` header, in order.

    >>> parse_extensions('permessage-deflate; client_max_window_bits; server_max_window_bits="10"')
    [('permessage-deflate', [('client_max_window_bits', None), ('server_max_window_bits', '10')])]

    Quoted values come without their quotes. Empty elements of the list are skipped (RFC 9110 5.6.1).

    Raises:
        NegotiationError: it does not follow the grammar, names no extension, or has more than 256 names and parameters.
    """
    found: ExtensionList = []
    words = 0
    at = _span(_empty(header, 0))
    while at < len(header):
        name = _name(header, at)
        params: list[Parameter] = []
        at = stop = name.end() if name else at
        words += 1
        while words <= _MAX_WORDS and name and (param := _param(header, stop)):
            words += 1
            token, value, quoted = param.groups()
            if quoted is not None:
                value = _escape.sub(r'\1', quoted)
                if not is_token(value):
                    break
            params.append((token, value))
            at = stop = param.end()
        if words > _MAX_WORDS:
            raise NegotiationError(f'Sec-WebSocket-Extensions has more than {_MAX_WORDS} names and parameters')
        end = _element_end(header, stop)
        if not name or not end:
            raise NegotiationError(
                f'Sec-WebSocket-Extensions is malformed at {shown(header[at:])}; it is a list of '
                f'"name; parameter; parameter=value" with commas in between (RFC 6455 9.1)'
            )
        found.append((name[1], params))
        at = _span(_empty(header, end.end()))
    if not found:
        raise NegotiationError('Sec-WebSocket-Extensions is empty; it names an extension or is left out (RFC 6455 9.1)')
    return found


def _span(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def format_extensions(extensions: Iterable[tuple[str, Iterable[Parameter]]]) -> str:
    """Extensions as a ``Sec-WebSocket-Extensions`` header, the reverse of `parse_extensions`.

    Raises:
        ValueError: a name or value is not a valid token.
    """
    elements = []
    for name, params in extensions:
        words = [checked_token(name, 'extension name')]
        for param, value in params:
            word = checked_token(param, 'parameter name')
            words.append(word if value is None else f'{word}={checked_token(value, "parameter value")}')
        elements.append('; '.join(words))
    return ', '.join(elements)


# wsproto's shape


class PerMessageDeflate(deflate.PerMessageDeflate):
    """permessage-deflate in wsproto's shape: an object for one connection, which negotiates in strings and remembers.

    It is the configuration of the same name in `deflate`, too, with wsproto's defaults: windows of 15 bits, zlib's own
    levels, every message compressed. Everything after the first four arguments is by keyword.

    Attributes:
        extension: what was negotiated, a `Deflate`; None before. From then on the four parameters are those agreed
            upon.
    """

    has_fallback = False
    DEFAULT_CLIENT_MAX_WINDOW_BITS = 15
    DEFAULT_SERVER_MAX_WINDOW_BITS = 15

    def __init__(
        self,
        client_no_context_takeover: bool = False,
        client_max_window_bits: int | None = None,
        server_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        *,
        level: int | None = None,
        mem_level: int = 8,
        threshold: int = 0,
        zlib: ModuleType | str | None = None,
    ) -> None:
        super().__init__(
            client_no_context_takeover=client_no_context_takeover,
            client_max_window_bits=client_max_window_bits or self.DEFAULT_CLIENT_MAX_WINDOW_BITS,
            server_no_context_takeover=server_no_context_takeover,
            server_max_window_bits=server_max_window_bits or self.DEFAULT_SERVER_MAX_WINDOW_BITS,
            level=level,
            mem_level=mem_level,
            threshold=threshold,
            zlib=zlib,
        )
        self.extension: Deflate | None = None

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self._describe("client")}; {self._describe("server")}>'

    def accept(self, offer: str) -> bool | str | None:
        """A server's answer to one offer, ``'permessage-deflate; client_max_window_bits'``.

        Returns:
            The parameters of the answer, True if it has none; None if this offer, or a second one, is not accepted.
        """
        try:
            [(_, params)] = parse_extensions(offer)
        except ValueError:
            return None
        answer = None if self.extension else self.answer([params])
        if answer is None:
            return None
        self._remember(answer[1], server=True)
        return '; '.join(name if value is None else f'{name}={value}' for name, value in answer[0]) or True

    def enabled(self) -> bool:
        """Whether it was negotiated."""
        return self.extension is not None

    def finalize(self, offer: str) -> None:
        """Take the server's answer, ``'permessage-deflate; server_max_window_bits=10'``.

        Raises:
            NegotiationError: it is not an answer to our offer.
        """
        elements = parse_extensions(offer)
        if len(elements) > 1:
            raise NegotiationError(f'the server accepted extension {self.name!r} twice')
        self._remember(self.agree(elements[0][1]), server=False)

    def offer(self) -> bool | str:
        """The parameters that a client offers."""
        words = [f'client_max_window_bits={self.client_max_window_bits}']
        words.append(f'server_max_window_bits={self.server_max_window_bits}')
        words += [f'{side}_no_context_takeover' for side in ('client', 'server') if self._no_context_takeover(side)]
        return '; '.join(words)

    def _describe(self, side: str) -> str:
        bits = f'{side}_max_window_bits={getattr(self, f"{side}_max_window_bits")}'
        return f'{bits}; {side}_no_context_takeover' if self._no_context_takeover(side) else bits

    def _no_context_takeover(self, side: str) -> bool:
        return bool(getattr(self, f'{side}_no_context_takeover'))

    def _remember(self, extension: Deflate, server: bool) -> None:
        self.extension = extension
        local = (extension.local_no_context_takeover, extension.local_max_window_bits)
        remote = (extension.remote_no_context_takeover, extension.remote_max_window_bits)
        ours, theirs = (local, remote) if server else (remote, local)
        self.server_no_context_takeover, self.server_max_window_bits = ours
        self.client_no_context_takeover, self.client_max_window_bits = theirs


#: The extensions that are included, by name.
SUPPORTED_EXTENSIONS = {PerMessageDeflate.name: PerMessageDeflate}
