"""permessage-deflate (RFC 7692): what is offered and answered, and how one connection compresses and decompresses.

Two classes. `PerMessageDeflate` is the configuration, a value that any number of connections share: it writes the
offers of a client, answers them as a server, checks the answer as a client. What comes out of such a negotiation is a
`Deflate`: the extension of one connection, with its two LZ77 windows.

This file has the shapes of `Extension` and `ExtensionFactory` (`extensions.py`, which builds on it), and needs nothing
else of them. It must not know of HTTP headers, of the order of frames, of UTF-8, of what a message limit is called.

What keeps it small in memory: a context is made when the first message needs it, and given back after each message
where "no context takeover" was agreed, so an idle connection owns nothing of zlib. What bounds it: decompressing
stops one byte after the limit, however large the rest would be.

Three facts that the code below leans on:

* A message's compressed form ends with an empty stored block, whose last four bytes (00 00 ff ff) are not sent
  (7.2.1); they are put back before decompressing (7.2.2). An empty message is what is left of that block: one 00.
* zlib has no 256-byte window for raw DEFLATE: it refuses ``wbits=-8``. With ``wbits=-9``, though, it never refers
  further back than 512 - 262 = 250 bytes (deflate.h: MAX_DIST), and so writes what a window of 256 bytes can read.
  Other engines (isal) use all of their 512, so a window of 8 bits is always compressed by the standard library's
  zlib.
* A sender is free to forget. Nobody can tell a compressor with a smaller window, or one that begins anew, from one that
  found no matches: what was negotiated is what the receiver has to keep, never what the sender has to use.
"""

from __future__ import annotations

import importlib
import os
import sys
import zlib as stdlib_zlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Protocol

from .errors import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
)
from .frames import CloseCode, Frame

__all__ = ['Deflate', 'PerMessageDeflate', 'parse_parameters']

_TAIL = b'\x00\x00\xff\xff'

_WINDOW_BITS = 12  # the default
_MAX_WINDOW_BITS = 15

# How much is fed at a time once a message has shown a block with BFINAL set: zlib copies what follows such a block, and
# a message made of nothing else must not cost the square of its size.
_STEP = 1024

_ENGINES = {'zlib': 'zlib', 'zlib_ng': 'zlib_ng.zlib_ng', 'isal': 'isal.isal_zlib'}
_BITS = {str(bits): bits for bits in range(8, 16)}
_PARAMETERS = (
    'client_no_context_takeover',
    'server_no_context_takeover',
    'client_max_window_bits',
    'server_max_window_bits',
)

Parameter = tuple[str, str | None]
"""An extension parameter: its name, and its value or None where it has none."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class PerMessageDeflate:
    """The configuration of permessage-deflate, for either side; what is passed as ``compression=``.

    >>> compression = PerMessageDeflate(server_max_window_bits=15, level=9, threshold=1024)

    One object may serve any number of connections.

    Arguments, all by keyword:
        server_no_context_takeover (bool): the server begins each message with an empty window (RFC 7692 7.1.1.1).
            A client asks for it, a server announces it.
        client_no_context_takeover (bool): the client does (7.1.1.2). A server asks for it, a client announces it.
        server_max_window_bits (int | None): the server's window is at most 2 to the power of this, 8 to 15 (7.1.2.1). A
            client asks for it, and fails a server that answers without it; a server keeps to it, or to less if asked.
            None: 12 in a server; a client leaves it to the server.
        client_max_window_bits (int | None): the client's window, likewise (7.1.2.2). A server asks for it where the
            client says that it can; a client keeps to it, and says so in its first offer, while a second one leaves the
            limit to the server. None: 12.
        level (int | None): 0, no compression, or 1, fast, to 9, small; None: the default of the engine, 6 in zlib.
        mem_level (int): memory for the compressor's tables, 1 to 9.
        threshold (int): shorter messages (bytes) go out as they are. A fragmented message, whose length is not known
            when it begins, is always compressed.
        zlib (module | str | None): the DEFLATE engine, ``'zlib'``, ``'zlib_ng'``, ``'isal'``, or a module with the
            interface of the standard library's; None: the one named by the environment variable PYJOWS_ZLIB, else
            ``'zlib'``.

    The defaults are those of a server with many connections: a compressor of 12 bits and memory level 5 takes 32 KiB,
    one of 15 and 8 (zlib's own defaults) 256 KiB, for messages of JSON or text that come out a tenth smaller. Below
    64 bytes there is more header around a message (TCP and IP: 40 bytes and up) than there could be saved in it.

    Raises:
        ValueError, TypeError: an argument out of its range, or of the wrong type.
        ImportError: the engine is not installed.
    """

    name = 'permessage-deflate'

    #: Whether a client with `client_max_window_bits` makes a second offer without that limit.
    has_fallback = True

    def __init__(
        self,
        *,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | None = None,
        level: int | None = None,
        mem_level: int = 5,
        threshold: int = 64,
        zlib: ModuleType | str | None = None,
    ) -> None:
        self.server_no_context_takeover = bool(server_no_context_takeover)
        self.client_no_context_takeover = bool(client_no_context_takeover)
        self.server_max_window_bits = _checked_optional('server_max_window_bits', server_max_window_bits, 8, 15)
        self.client_max_window_bits = _checked_optional('client_max_window_bits', client_max_window_bits, 8, 15)
        self.level = _checked_optional('level', level, 0, 9)
        self.mem_level = _checked_range('mem_level', mem_level, 1, 9)
        self.threshold = _checked_range('threshold', threshold, 0, sys.maxsize)
        self.zlib = _engine(zlib)

    def __repr__(self) -> str:
        options = (
            'server_no_context_takeover',
            'client_no_context_takeover',
            'server_max_window_bits',
            'client_max_window_bits',
            'level',
            'mem_level',
            'threshold',
        )
        shown = [f'{option}={getattr(self, option)!r}' for option in options]
        return f'{type(self).__name__}({", ".join(shown)}, zlib={self.zlib.__name__!r})'

    def offers(self) -> list[list[Parameter]]:
        """A client's offers, the best first: the parameters of each."""
        windows: list[int | None] = [self.client_max_window_bits or True]
        if self._offers_fallback:
            windows.append(True)
        return [
            _parameters(
                self.client_no_context_takeover, self.server_no_context_takeover, window, self.server_max_window_bits
            )
            for window in windows
        ]

    @property
    def _offers_fallback(self) -> bool:
        """Whether a second offer names no limit of the client's window (RFC 7692 7.1.2.2).

        A server that wants to limit it itself, and to more than the first offer does, would refuse that one (Node's ws:
        with 400). The client keeps to its own limit, whatever the answer has.
        """
        return self.has_fallback and (self.client_max_window_bits or _MAX_WINDOW_BITS) < _MAX_WINDOW_BITS

    def answer(self, offers: Iterable[Sequence[Parameter]]) -> tuple[list[Parameter], Deflate] | None:
        """A server's answer: the first offer that can be accepted.

        An offer with a parameter that is unknown, repeated or wrong in its value is declined (RFC 7692 7).

        Returns:
            The parameters of the answer, and the extension that keeps to them; None if no offer will do.
        """
        for offer in offers:
            try:
                client_forgets, server_forgets, client_bits, server_bits = parse_parameters(offer, is_offer=True)
            except NegotiationError:
                continue
            client_forgets |= self.client_no_context_takeover
            server_forgets |= self.server_no_context_takeover
            local_bits = min(self.server_max_window_bits or _WINDOW_BITS, server_bits or _MAX_WINDOW_BITS)
            # A client that did not offer the parameter must not be sent it: its window is what it wants (7.1.2.2).
            remote_bits = _MAX_WINDOW_BITS
            if client_bits:
                remote_bits = min(self.client_max_window_bits or _WINDOW_BITS, client_bits)
            announced = local_bits if server_bits or local_bits < _MAX_WINDOW_BITS else None
            answer = _parameters(client_forgets, server_forgets, remote_bits if client_bits else None, announced)
            return answer, self._extension(server_forgets, client_forgets, local_bits, remote_bits)
        return None

    def agree(self, answer: Sequence[Parameter]) -> Deflate:
        """A client's extension, as the server's answer wants it.

        Raises:
            NegotiationError: the answer breaks RFC 7692 section 7.1, or is not one to our offer; the connection fails
                with 1010.
        """
        client_forgets, server_forgets, client_bits, server_bits = parse_parameters(answer, is_offer=False)
        if self.server_no_context_takeover and not server_forgets:
            raise NegotiationError('server_no_context_takeover was asked for, and is not in the answer')
        wanted = self.server_max_window_bits or _MAX_WINDOW_BITS
        if (server_bits or _MAX_WINDOW_BITS) > wanted:
            raise NegotiationError(
                f'server_max_window_bits={wanted} was asked for, and the answer has {server_bits or "none"}; it must '
                f'have {wanted} or less'
            )
        offered = _MAX_WINDOW_BITS if self._offers_fallback else self.client_max_window_bits or _MAX_WINDOW_BITS
        if client_bits is not None and client_bits > offered:
            raise NegotiationError(
                f'client_max_window_bits={offered} was offered, and the answer has {client_bits}; it may only have less'
            )
        local_bits = min(self.client_max_window_bits or _WINDOW_BITS, client_bits or _MAX_WINDOW_BITS)
        local_forgets = client_forgets or self.client_no_context_takeover
        return self._extension(local_forgets, server_forgets, local_bits, server_bits or _MAX_WINDOW_BITS)

    def _extension(self, local_forgets: bool, remote_forgets: bool, local_bits: int, remote_bits: int) -> Deflate:
        return Deflate(
            local_no_context_takeover=local_forgets,
            remote_no_context_takeover=remote_forgets,
            local_max_window_bits=local_bits,
            remote_max_window_bits=remote_bits,
            level=self.level,
            mem_level=self.mem_level,
            threshold=self.threshold,
            zlib=self.zlib,
        )


class Deflate:
    """permessage-deflate on one connection: the extension that `PerMessageDeflate` negotiates.

    Attributes:
        name, rsv: the token on the wire; the reserved bit that it claims, RSV1.
        local_no_context_takeover, local_max_window_bits: of what we send.
        remote_no_context_takeover, remote_max_window_bits: of what we receive.
        threshold: whole messages shorter than this (bytes) are not compressed.
        can_share: whether a compressed message is right for other connections too, those with the same `share_key`.
        share_key: everything that a compressed message depends on, apart from what was sent before it. It can be
            hashed.
    """

    __slots__ = (
        '_compressor',
        '_decompressor',
        '_deflating',
        '_deflator',
        '_has_inflated',
        '_inflating',
        '_inflator',
        '_settings',
        '_sync',
        '_zlib_error',
        'can_share',
        'local_max_window_bits',
        'local_no_context_takeover',
        'remote_max_window_bits',
        'remote_no_context_takeover',
        'share_key',
        'threshold',
    )

    name = PerMessageDeflate.name
    rsv = 0x40

    def __init__(
        self,
        *,
        local_no_context_takeover: bool,
        remote_no_context_takeover: bool,
        local_max_window_bits: int,
        remote_max_window_bits: int,
        level: int | None,
        mem_level: int,
        threshold: int,
        zlib: ModuleType,
    ) -> None:
        self.local_no_context_takeover = local_no_context_takeover
        self.remote_no_context_takeover = remote_no_context_takeover
        self.local_max_window_bits = local_max_window_bits
        self.remote_max_window_bits = remote_max_window_bits
        self.threshold = threshold
        engine: Any = zlib if local_max_window_bits > 8 else stdlib_zlib
        if level is None:
            level = getattr(engine, 'ISAL_DEFAULT_COMPRESSION', -1)
        level = min(level, getattr(engine, 'ISAL_BEST_COMPRESSION', level))
        self._deflator = engine.compressobj
        self._settings = (level, engine.DEFLATED, -max(local_max_window_bits, 9), mem_level)
        self._sync = engine.Z_SYNC_FLUSH
        self.can_share = local_no_context_takeover
        self.share_key = (engine.__name__, level, local_max_window_bits, mem_level, threshold)
        self._inflator = zlib.decompressobj
        self._zlib_error = zlib.error
        self._compressor: _Compressor | None = None
        self._decompressor: _Decompressor | None = None
        self._deflating = False  # a fragmented message is being sent
        self._inflating = False  # the message that is being received is compressed
        self._has_inflated = False  # a byte of it was received

    def __repr__(self) -> str:
        return (
            f'Deflate(local_no_context_takeover={self.local_no_context_takeover}, '
            f'remote_no_context_takeover={self.remote_no_context_takeover}, '
            f'local_max_window_bits={self.local_max_window_bits}, '
            f'remote_max_window_bits={self.remote_max_window_bits})'
        )

    def encode(self, frame: Frame) -> Frame:
        """An outgoing frame, compressed; control frames and short messages as they are.

        Each fragment can be read as soon as it arrives: it ends with a flush.
        """
        fin, _, rsv2, rsv3, opcode, data = frame
        if opcode >= 0x08:
            return frame
        if opcode and fin:
            compressed = self.compress_message(data)
            return frame if compressed is None else Frame(opcode, compressed, True, True, rsv2, rsv3)
        if opcode:
            self._deflating = True
        elif not self._deflating:
            return frame
        if self._compressor is None:
            self._compressor = self._new_compressor()
        data = self._compressor.compress(data) + self._compressor.flush(self._sync)
        if fin:
            data = data[:-4]
            self._deflating = False
            if self.local_no_context_takeover:
                self._compressor = None
        return Frame(opcode, data, fin, opcode != 0, rsv2, rsv3)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """An incoming frame, decompressed.

        It may be a part of a frame or message that is still arriving: the first part bears the message's opcode and
        RSV1, those after it bear Opcode.CONT and no RSV1, and only the very last part of the message has `fin`.

        Args:
            frame: what arrived, unmasked.
            max_size: how many bytes may come out of it, None for any number.

        Raises:
            PayloadTooBig: more would come out of it.
            ProtocolError: RSV1 on a control frame or a continuation (1002), or the data are not valid DEFLATE (1007).
        """
        fin, rsv1, rsv2, rsv3, opcode, data = frame
        if opcode >= 0x08:
            if rsv1:
                raise ProtocolError('RSV1 on a control frame; RFC 7692 6 has it on the first frame of a message only')
            return frame
        if opcode:
            self._inflating = bool(rsv1)
            self._has_inflated = False
        elif rsv1:
            raise ProtocolError('RSV1 on a continuation; RFC 7692 6 has it on the first frame of a message only')
        if not self._inflating:
            return frame
        return Frame(opcode, self._inflate(data, max_size, fin), fin, False, rsv2, rsv3)

    def compress_message(self, payload: bytes) -> bytes | None:
        """The payload of the one frame that carries this message, with RSV1 set; None if it should go out as it is.

        None means: shorter than `threshold`, or, where there is no context takeover, not smaller when compressed.
        (With context takeover the peer has to see all that the compressor saw.)
        """
        if len(payload) < self.threshold:
            return None
        if self.local_no_context_takeover:
            return self.compress_shared(payload)
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = self._new_compressor()
        return (compressor.compress(payload) + compressor.flush(self._sync))[:-4]

    def compress_shared(self, payload: bytes) -> bytes | None:
        """Like `compress_message`, but referring to nothing sent before, whatever was agreed.

        The result is right for every connection with this `share_key`, if each one that receives it calls `forget`
        then: that is how one message goes to many connections that have context takeover.
        """
        if len(payload) < self.threshold:
            return None
        compressor = self._new_compressor()
        data = (compressor.compress(payload) + compressor.flush(self._sync))[:-4]
        return data if len(data) < len(payload) else None

    def forget(self) -> None:
        """Drop the context of what we send: the next message will refer to nothing that was sent before it.

        Not while a fragmented message is being sent.
        """
        self._compressor = None

    def decompress_message(self, data: bytes, max_size: int | None = None) -> bytes:
        """A whole message, from the payloads of its frames, joined.

        Raises:
            PayloadTooBig: it has more than `max_size` bytes.
            ProtocolError: `data` are not valid DEFLATE (1007).
        """
        self._has_inflated = False
        return self._inflate(data, max_size, True)

    def _new_compressor(self) -> _Compressor:
        compressor: _Compressor = self._deflator(*self._settings)
        return compressor

    def _new_decompressor(self) -> _Decompressor:
        # Where 8 bits were agreed, some senders use 9 all the same; to be able to read them costs 256 bytes.
        decompressor: _Decompressor = self._inflator(-max(self.remote_max_window_bits, 9))
        return decompressor

    def _inflate(self, data: bytes, max_size: int | None, last: bool) -> bytes:
        """Decompress a part of a message, its last one if `last`; at most one byte more than the limit."""
        if data:
            self._has_inflated = True
        elif last and not self._has_inflated:
            return b''  # Mojolicious leaves out the 00 of an empty message; with the tail alone it would not be DEFLATE
        limit = 0 if max_size is None or max_size >= sys.maxsize else max(max_size, 0) + 1
        decompressor = self._decompressor
        if decompressor is None or decompressor.eof:
            if decompressor is not None and last and not data:
                self._decompressor = None
                return b''
            decompressor = self._decompressor = self._new_decompressor()
        try:
            out = decompressor.decompress(b''.join((data, _TAIL)) if last else data, limit)
            if decompressor.eof:
                out = self._inflate_rest(out, decompressor.unused_data, limit, last)
        except self._zlib_error as exc:
            self._decompressor = None
            raise ProtocolError(f'a compressed message is not valid DEFLATE: {exc}', CloseCode.INVALID_DATA) from exc
        if limit and len(out) >= limit:
            self._decompressor = None
            raise PayloadTooBig(f'a compressed message inflates to more than the {max_size} bytes that it may have')
        if last and self.remote_no_context_takeover:
            self._decompressor = None
        return out

    def _inflate_rest(self, head: bytes, rest: bytes, limit: int, last: bool) -> bytes:
        """Go on after a block with BFINAL set (RFC 7692 7.2.3.4), which is zlib's end: what follows is another stream.

        The window begins anew there, as it does in the compressors that end their blocks so.
        """
        out = bytearray(head)
        at = 0
        while at < len(rest) and not (limit and len(out) >= limit):
            decompressor = self._decompressor
            if decompressor is None or decompressor.eof:
                if last and len(rest) - at == len(_TAIL):
                    break  # the message ended with that block, without the 00 that should follow it
                decompressor = self._decompressor = self._new_decompressor()
            step = rest[at : at + _STEP]
            out += decompressor.decompress(step, limit - len(out) if limit else 0)
            at += len(step) - len(decompressor.unused_data)
        return bytes(out)


def _engine(choice: ModuleType | str | None) -> ModuleType:
    """The module to compress with."""
    if isinstance(choice, ModuleType):
        needed = ('compressobj', 'decompressobj', 'error', 'DEFLATED', 'Z_SYNC_FLUSH')
        missing = [name for name in needed if not hasattr(choice, name)]
        if missing:
            raise TypeError(f'{choice.__name__} has no {", ".join(missing)}; it needs the interface of the module zlib')
        return choice
    origin = 'zlib'
    if choice is None:
        choice, origin = os.environ.get('PYJOWS_ZLIB') or 'zlib', 'the environment variable PYJOWS_ZLIB'
    if choice not in _ENGINES:
        raise ValueError(f'{origin} is {choice!r}; known are {", ".join(_ENGINES)}, or pass a module as zlib=')
    try:
        return importlib.import_module(_ENGINES[choice])
    except ImportError as exc:
        extra = choice.replace('_', '-')
        raise ImportError(f'{origin} asks for {choice}, which is not installed: pip install pyjows[{extra}]') from exc


def _checked_optional(name: str, value: int | None, low: int, high: int) -> int | None:
    return None if value is None else _checked_range(name, value, low, high)


def _checked_range(name: str, value: int, low: int, high: int) -> int:
    """An option as given, if it is a number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'{name} is {value!r}; it must be a number from {low} to {high}')
    if not low <= value <= high:
        raise ValueError(f'{name} is {value}; it must be from {low} to {high}')
    return value


def _parameters(
    client_forgets: bool, server_forgets: bool, client_bits: int | None, server_bits: int | None
) -> list[Parameter]:
    """An offer or answer as parameters. `client_bits` True: without a value (in offers)."""
    values = zip(_PARAMETERS, (client_forgets, server_forgets, client_bits, server_bits), strict=True)
    return [(name, None if value is True else str(value)) for name, value in values if value]


def parse_parameters(params: Sequence[Parameter], is_offer: bool) -> tuple[bool, bool, int | None, int | None]:
    """The values of `_PARAMETERS` in an offer or answer; client_max_window_bits without a value reads as 15.

    Raises:
        NegotiationError: an unknown or repeated parameter, a wrong value, a missing one (RFC 7692 7.1).
    """
    found: dict[str, int] = {}
    for name, value in params:
        if name not in _PARAMETERS:
            raise InvalidParameterName(name, message=f'permessage-deflate has no parameter {name!r}')
        if name in found:
            raise DuplicateParameter(name, message=f'{name} is given twice')
        if name.endswith('takeover'):
            if value is not None:
                raise InvalidParameterValue(name, value, message=f'{name} takes no value, and has {value!r}')
            found[name] = True
        elif value is None and is_offer and name == 'client_max_window_bits':
            found[name] = _MAX_WINDOW_BITS
        elif value in _BITS:
            found[name] = _BITS[value]
        else:
            wrong = f'{name} is {value!r}; it must be a number from 8 to 15, without leading zeros'
            raise InvalidParameterValue(name, value, message=wrong)
    client_forgets, server_forgets, client_bits, server_bits = map(found.get, _PARAMETERS)
    return client_forgets is not None, server_forgets is not None, client_bits, server_bits
