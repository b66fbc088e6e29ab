"""Extensions in websockets' shape: what adapts their factories, and permessage-deflate with websockets' arguments.

Owns those shapes only. Must not know how an extension is negotiated (`extensions.py` one floor below) nor how
permessage-deflate works (`deflate.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import deflate
from ..deflate import Parameter
from ..errors import NegotiationError
from ..extensions import ExtensionFactory, as_factories

__all__ = ['ClientPerMessageDeflateFactory', 'ServerPerMessageDeflateFactory', 'adapted_factories']


def adapted_factories(extensions: Any) -> list[ExtensionFactory]:
    """The extensions that a program gives; those in websockets' shape, adapted."""
    given = list(extensions or ())
    return as_factories([_Adapted(one) if _is_of_websockets(one) else one for one in given])


def _is_of_websockets(factory: Any) -> bool:
    return hasattr(factory, 'get_request_params') or hasattr(factory, 'process_request_params')


class _Adapted:
    """An `ExtensionFactory` that negotiates through one in websockets' shape, of either side.

    Such a one gets no list of those accepted before it: that no two are in conflict is seen to in `extensions`.
    """

    def __init__(self, factory: Any) -> None:
        self.name: str = factory.name
        self._factory = factory

    def offers(self) -> Sequence[Sequence[Parameter]]:
        return [self._factory.get_request_params()]

    def answer(self, offers: Sequence[Sequence[Parameter]]) -> tuple[Sequence[Parameter], Any] | None:
        for offer in offers:
            try:
                accepted: tuple[Sequence[Parameter], Any] = self._factory.process_request_params(offer, [])
                return accepted
            except NegotiationError:
                pass
        return None

    def agree(self, answer: Sequence[Parameter]) -> Any:
        return self._factory.process_response_params(answer, [])


# permessage-deflate as websockets configures it


class ServerPerMessageDeflateFactory(deflate.PerMessageDeflate):
    """permessage-deflate for ``ServerProtocol(extensions=…)``, with the arguments that it has in websockets.

    Args:
        server_no_context_takeover, client_no_context_takeover: no context from message to message.
        server_max_window_bits, client_max_window_bits: 8 to 15; None for 15.
        compress_settings: ``level`` and ``memLevel`` for `zlib.compressobj`.
        require_client_max_window_bits: decline clients that cannot limit their window.
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
        super().__init__(
            server_no_context_takeover=server_no_context_takeover,
            client_no_context_takeover=client_no_context_takeover,
            server_max_window_bits=server_max_window_bits or 15,
            client_max_window_bits=client_max_window_bits or 15,
            **_settings(compress_settings),
        )
        self.require_client_max_window_bits = require_client_max_window_bits

    def answer(self, offers: Iterable[Sequence[Parameter]]) -> Any:
        """A server's answer: the first offer that can be accepted."""
        if self.require_client_max_window_bits:
            offers = [offer for offer in offers if 'client_max_window_bits' in dict(offer)]
        return super().answer(offers)


class ClientPerMessageDeflateFactory(deflate.PerMessageDeflate):
    """permessage-deflate for ``ClientProtocol(extensions=…)``, with the arguments that it has in websockets.

    Args:
        server_no_context_takeover, client_no_context_takeover: no context from message to message.
        server_max_window_bits: 8 to 15, asked of the server; None leaves it to the server.
        client_max_window_bits: 8 to 15; True for what the server likes.
        compress_settings: ``level`` and ``memLevel`` for `zlib.compressobj`.
    """

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
            client_max_window_bits=None if client_max_window_bits is True else client_max_window_bits,
            **_settings(compress_settings),
        )


def _settings(given: Mapping[str, int] | None) -> dict[str, Any]:
    settings = dict(given or {})
    ours = {'level': settings.pop('level', None), 'mem_level': settings.pop('memLevel', 8), 'threshold': 0}
    if settings:
        raise ValueError(f'compress_settings has {", ".join(settings)}; it may have level and memLevel')
    return ours
