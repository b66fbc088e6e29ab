"""The face of frames without I/O, in the shape of websockets' Sans-I/O API.

Owns the names: `ServerProtocol` and `ClientProtocol` (`protocols.py`), the HTTP values of their handshake (`http.py`)
and their extensions (`extensions.py`).
"""

from ..protocol import SEND_EOF
from ..url import URL, parse_url
from .extensions import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from .http import Headers, MultipleValuesError, Request, Response
from .protocols import ClientProtocol, ServerProtocol

__all__ = [
    'SEND_EOF',
    'ClientPerMessageDeflateFactory',
    'ClientProtocol',
    'Headers',
    'MultipleValuesError',
    'Request',
    'Response',
    'ServerPerMessageDeflateFactory',
    'ServerProtocol',
    'WebSocketURI',
    'parse_uri',
]

#: What takes a URL apart, and what it gives, under the names that they have in websockets.
parse_uri, WebSocketURI = parse_url, URL
