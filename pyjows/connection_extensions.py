"""Extensions in wsproto's shape: objects that negotiate by ``offer``, ``accept`` and ``finalize``.

Owns that shape only. Must not know how extensions are negotiated (`extensions.py`), nor connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .errors import NegotiationError, RemoteProtocolError
from .events import RejectConnection
from .extensions import (
    ExtensionFactory,
    Parameter,
    format_extensions,
    negotiate_client,
    negotiate_server,
    parse_extensions,
)

__all__ = [
    'adapted_factories',
    'applied_extensions',
    'client_extensions_handshake',
    'server_extensions_handshake',
]


def server_extensions_handshake(requested: Iterable[str], supported: Sequence[Any]) -> bytes | None:
    """A server's answer to the offered extensions, for a handshake that the host does itself (HTTP/2).

    Args:
        requested: the offers, such as ``'permessage-deflate; client_max_window_bits'``.
        supported: `PerMessageDeflate` objects and the like. They keep what was agreed upon: give them to `Connection`.

    Returns:
        The ``Sec-WebSocket-Extensions`` of the answer, None if nothing was accepted.

    Raises:
        RemoteProtocolError: an offer does not follow the grammar.
    """
    try:
        accepted, _ = negotiate_server(adapted_factories(supported), _list_header(requested))
    except ValueError as exc:
        raise RemoteProtocolError(str(exc), RejectConnection()) from exc
    return None if accepted is None else accepted.encode('ascii')


def client_extensions_handshake(accepted: Iterable[str], supported: Sequence[Any]) -> list[Any]:
    """A client's extensions after the server's answer, for a handshake that the host does itself.

    Args:
        accepted: the answers, such as ``'permessage-deflate; server_max_window_bits=10'``.
        supported: those that were offered, `PerMessageDeflate` objects and the like.

    Returns:
        Those in use: give them to `Connection`.

    Raises:
        RemoteProtocolError: the server accepted what was not offered, or in a way that its rules do not allow.
    """
    try:
        return negotiate_client(adapted_factories(supported), _list_header(accepted))
    except ValueError as exc:
        raise RemoteProtocolError(str(exc), RejectConnection()) from exc


class _Adapted:
    """An `ExtensionFactory` that negotiates through an object in wsproto's shape, which is also the extension."""

    def __init__(self, extension: Any) -> None:
        self.name: str = extension.name
        self._extension = extension

    def offers(self) -> Sequence[Sequence[Parameter]]:
        params = self._extension.offer()
        return [self._parsed(params)] if params else []

    def answer(self, offers: Sequence[Sequence[Parameter]]) -> tuple[Sequence[Parameter], Any] | None:
        for offer in offers:
            params = self._extension.accept(format_extensions([(self.name, offer)]))
            if params or params == '':
                return self._parsed(params), self._extension
        return None

    def agree(self, answer: Sequence[Parameter]) -> Any:
        try:
            self._extension.finalize(format_extensions([(self.name, answer)]))
        except ValueError as exc:
            raise NegotiationError(str(exc)) from exc
        return self._extension

    def _parsed(self, params: Any) -> Sequence[Parameter]:
        """Parameters that are given as a string; True stands for none."""
        return [] if params is True or not params else parse_extensions(f'{self.name}; {params}')[0][1]


def adapted_factories(extensions: Iterable[Any]) -> list[ExtensionFactory]:
    """Extensions in wsproto's shape, as what `extensions.py` negotiates with."""
    return [_Adapted(extension) for extension in extensions]


def _list_header(elements: Iterable[str]) -> str | None:
    """The header that has these elements; None for none."""
    listed = list(elements)
    return ', '.join(listed) if listed else None


def applied_extensions(extensions: Iterable[Any]) -> list[Any]:
    """The extensions that frames go through: of each object that negotiates, the one that it has negotiated."""
    return [_applied(extension) for extension in extensions if _is_enabled(extension)]


def _is_enabled(extension: Any) -> bool:
    return not hasattr(extension, 'enabled') or bool(extension.enabled())


def _applied(extension: Any) -> Any:
    """What changes the frames: of an object that negotiates, the extension that it has negotiated."""
    if hasattr(extension, 'frame_outbound'):
        raise TypeError(
            f"{type(extension).__name__} has wsproto's hooks, frame_outbound and the others: give it encode and decode "
            f'in their place, see pyjows.extensions.Extension'
        )
    return getattr(extension, 'extension', None) or extension
