"""The face of frames without I/O, in the shape of websockets' Sans-I/O API.

Owns the names: `ServerProtocol` and `ClientProtocol` (`protocols.py`), the HTTP values of their handshake (`http.py`),
their URLs (`uri.py`) and their extensions (`extensions.py`).
"""

from ..protocol import SEND_EOF
from .extensions import (
    ClientExtensionFactory,
    ClientPerMessageDeflateFactory,
    Extension,
    ServerExtensionFactory,
    ServerPerMessageDeflateFactory,
    enable_client_permessage_deflate,
    enable_server_permessage_deflate,
)
from .http import Headers, MultipleValuesError, Request, Response
from .protocols import ClientProtocol, ServerProtocol
from .uri import WebSocketURI, parse_uri

__all__ = [
    'SEND_EOF',
    'ClientExtensionFactory',
    'ClientPerMessageDeflateFactory',
    'ClientProtocol',
    'Extension',
    'Headers',
    'MultipleValuesError',
    'Request',
    'Response',
    'ServerExtensionFactory',
    'ServerPerMessageDeflateFactory',
    'ServerProtocol',
    'WebSocketURI',
    'enable_client_permessage_deflate',
    'enable_server_permessage_deflate',
    'parse_uri',
]
