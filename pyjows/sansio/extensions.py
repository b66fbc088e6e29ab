"""Extensions in websockets' shape: what adapts their factories, and permessage-deflate with websockets' arguments.

Owns those shapes only. Must not know how an extension is negotiated (`extensions.py` one floor below) nor how
permessage-deflate works (`deflate.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import deflate
from ..adapted_extension import translated_exceptions
from ..deflate import Parameter
from ..errors import NegotiationError
from ..extensions import ExtensionFactory, as_factories
from ..frames import Frame

__all__ = [
    'ClientExtensionFactory',
    'ClientPerMessageDeflateFactory',
    'Extension',
    'ServerExtensionFactory',
    'ServerPerMessageDeflateFactory',
    'adapted_factories',
    'enable_client_permessage_deflate',
    'enable_server_permessage_deflate',
]


def adapted_factories(extensions: Any) -> list[ExtensionFactory]:
    """The extensions that a program gives; those in websockets' shape, adapted."""
    given = list(extensions or ())
    return as_factories([_Adapted(one) if _is_of_websockets(one) else one for one in given])


def _is_of_websockets(factory: Any) -> bool:
    return not hasattr(factory, 'answer') and any(
        hasattr(factory, name) for name in ('get_request_params', 'process_request_params')
    )


class _Adapted:
    """An `ExtensionFactory` that negotiates through one in websockets' shape, of either side.

    It gets an empty list of those accepted before it: `extensions.py` checks that no two claim the same bits.
    """

    def __init__(self, factory: Any) -> None:
        self.name: str = factory.name
        self._factory = factory

    def offers(self) -> Sequence[Sequence[Parameter]]:
        return [self._factory.get_request_params()]

    def answer(self, offers: Sequence[Sequence[Parameter]]) -> tuple[Sequence[Parameter], Any] | None:
        for offer in offers:
            with contextlib.suppress(NegotiationError), translated_exceptions():
                accepted: tuple[Sequence[Parameter], Any] = self._factory.process_request_params(offer, [])
                return accepted
        return None

    def agree(self, answer: Sequence[Parameter]) -> Any:
        with translated_exceptions():
            return self._factory.process_response_params(answer, [])


# What extensions made for websockets inherit from


class Extension:
    """Base class of one connection's extension; control frames go through it, too.

    Attributes:
        name: its token in the header.
    """

    name: str

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """An incoming frame as the application sees it, of at most `max_size` bytes."""
        raise NotImplementedError

    def encode(self, frame: Frame) -> Frame:
        """An outgoing frame as it goes onto the wire."""
        raise NotImplementedError


class ClientExtensionFactory:
    """Base class of what offers an extension.

    Attributes:
        name: its token in the header.
    """

    name: str

    def get_request_params(self) -> Sequence[Parameter]:
        """The parameters to offer."""
        raise NotImplementedError

    def process_response_params(self, params: Sequence[Parameter], accepted_extensions: Sequence[Any]) -> Any:
        """The extension that the server's answer gives; raises NegotiationError where it may not answer so."""
        raise NotImplementedError


class ServerExtensionFactory:
    """Base class of what answers the offer of an extension.

    Attributes:
        name: its token in the header.
    """

    name: str

    def process_request_params(
        self, params: Sequence[Parameter], accepted_extensions: Sequence[Any]
    ) -> tuple[Sequence[Parameter], Any]:
        """The parameters of the answer, and the extension; raises NegotiationError to decline the offer."""
        raise NotImplementedError


# permessage-deflate as websockets configures it


class ServerPerMessageDeflateFactory(deflate.PerMessageDeflate, ServerExtensionFactory):
    """permessage-deflate for ``ServerProtocol(extensions=…)``, with the arguments that it has in websockets.

    Args:
        server_no_context_takeover, client_no_context_takeover: no context from message to message.
        server_max_window_bits, client_max_window_bits: 8 to 15; None for 15.
        compress_settings: ``level`` and ``memLevel`` for `zlib.compressobj`.
        require_client_max_window_bits: decline clients that cannot limit their window.

    Raises:
        ValueError: a number is out of range, or `require_client_max_window_bits` lacks the other of the two.
        TypeError: an argument is of another type.
    """

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | None = None,
        compress_settings: Mapping[str, int] | None = None,
        require_client_max_window_bits: bool = False,
    ) -> None:
        if require_client_max_window_bits and client_max_window_bits is None:
            raise ValueError('require_client_max_window_bits is enabled, but client_max_window_bits is not configured')
        super().__init__(
            server_no_context_takeover=server_no_context_takeover,
            client_no_context_takeover=client_no_context_takeover,
            server_max_window_bits=server_max_window_bits or 15,
            client_max_window_bits=client_max_window_bits or 15,
            **_settings(compress_settings),
        )
        self.require_client_max_window_bits = require_client_max_window_bits
        self.compress_settings = compress_settings

    def answer(self, offers: Iterable[Sequence[Parameter]]) -> Any:
        """A server's answer: the first offer that can be accepted."""
        if self.require_client_max_window_bits:
            offers = [offer for offer in offers if 'client_max_window_bits' in dict(offer)]
        return super().answer(offers)

    def process_request_params(
        self, params: Sequence[Parameter], accepted_extensions: Sequence[Any] = ()
    ) -> tuple[Sequence[Parameter], Any]:
        """A server's answer to one offer, and the extension; raises NegotiationError to decline it."""
        _check_duplicate(self.name, accepted_extensions)
        deflate.parse_parameters(params, is_offer=True)  # raises a more precise error
        answer: tuple[Sequence[Parameter], Any] | None = self.answer([params])
        if answer is None:
            raise NegotiationError(f'{self.name} is not acceptable as it is offered: {list(params)!r}')
        return answer


class ClientPerMessageDeflateFactory(deflate.PerMessageDeflate, ClientExtensionFactory):
    """permessage-deflate for ``ClientProtocol(extensions=…)``, with the arguments that it has in websockets.

    Args:
        server_no_context_takeover, client_no_context_takeover: no context from message to message.
        server_max_window_bits: 8 to 15, asked of the server; None leaves it to the server.
        client_max_window_bits: 8 to 15; True for what the server likes; None does not offer the parameter.
        compress_settings: ``level`` and ``memLevel`` for `zlib.compressobj`.
    """

    has_fallback = False

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | bool | None = True,
        compress_settings: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(
            server_no_context_takeover=server_no_context_takeover,
            client_no_context_takeover=client_no_context_takeover,
            server_max_window_bits=server_max_window_bits,
            client_max_window_bits=15 if client_max_window_bits in (None, True) else client_max_window_bits,
            **_settings(compress_settings),
        )
        # What is offered: the parameter with a value, without one (True), or not at all (None).
        self._client_window = client_max_window_bits
        self.compress_settings = compress_settings

    def offers(self) -> list[list[Parameter]]:
        """A client's offers, the best first: the parameters of each."""
        [offer] = super().offers()
        others = [param for param in offer if param[0] != 'client_max_window_bits']
        if self._client_window is None:
            return [others]
        value = None if self._client_window is True else str(self._client_window)
        return [[*others, ('client_max_window_bits', value)]]

    def agree(self, answer: Sequence[Parameter]) -> Any:
        """A client's extension, as the server's answer wants it; raises as `process_response_params`."""
        if self._client_window is None and 'client_max_window_bits' in dict(answer):
            raise NegotiationError('the answer has client_max_window_bits, which was not offered')
        return super().agree(answer)

    def get_request_params(self) -> Sequence[Parameter]:
        """The parameters to offer."""
        return self.offers()[0]

    def process_response_params(self, params: Sequence[Parameter], accepted_extensions: Sequence[Any] = ()) -> Any:
        """The extension that the server's answer gives; raises NegotiationError where it may not answer so."""
        _check_duplicate(self.name, accepted_extensions)
        return self.agree(params)


def enable_client_permessage_deflate(extensions: Sequence[Any] | None) -> Sequence[Any]:
    """A client's factories, with permessage-deflate if they have none."""
    return _enabled(extensions, ClientPerMessageDeflateFactory(compress_settings={'memLevel': 5}))


def enable_server_permessage_deflate(extensions: Sequence[Any] | None) -> Sequence[Any]:
    """A server's factories, with permessage-deflate if they have none: windows of 12 bits."""
    return _enabled(
        extensions,
        ServerPerMessageDeflateFactory(
            server_max_window_bits=12, client_max_window_bits=12, compress_settings={'memLevel': 5}
        ),
    )


def _enabled(extensions: Sequence[Any] | None, factory: deflate.PerMessageDeflate) -> Sequence[Any]:
    given = extensions or []
    return given if any(one.name == factory.name for one in given) else [*given, factory]


def _check_duplicate(name: str, accepted_extensions: Sequence[Any]) -> None:
    if any(one.name == name for one in accepted_extensions):
        raise NegotiationError(f'received duplicate {name}')


def _settings(given: Mapping[str, int] | None) -> dict[str, Any]:
    settings = dict(given or {})
    ours = {'level': settings.pop('level', None), 'mem_level': settings.pop('memLevel', 8), 'threshold': 0}
    if settings:
        raise ValueError(f'compress_settings has {", ".join(settings)}; it may have level and memLevel')
    return ours
