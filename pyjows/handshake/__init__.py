"""The opening handshake: HTTP/1.1 Upgrade, both sides (RFC 6455 sections 4, 9.1 and 11.3).

Owns the opening sequence, from the first byte of a connection to its first frame: which request asks for a WebSocket,
which subprotocol and extensions are agreed on, which answer accepts it, and what the peer is sent where it fails. The
transaction, the typed events and the sans-I/O protocols all call it; none of them makes a 101 of its own. It knows no
frame and no socket: bytes go in, a `Request` or a `Response` comes out, and the answer is bytes again.

- `server.py`: reads requests, checks them, writes the 101 and all other answers.
- `client.py`: writes the request, checks the answer.
- `fields.py`: the header fields that both sides use.

The values are those of `http11.py`, the grammar and the negotiation of extensions are in `extensions.py`, and URLs in
`url.py`.

Two rules hold for both sides:

- **Memory is bounded.** Heads end at `max_header_size`, bodies at `max_body_size`, and the bytes after an unanswered
  request may not be more than both together.
- **A peer's mistake is an answer, not a crash.** The server's `receive()` raises `HandshakeError` with a `response` to
  send; the client's raises it with the status, headers and body that the server sent.
"""

from ..extensions import ExtensionList, format_extensions, parse_extensions
from ..http11 import USER_AGENT, Headers, HeadersLike, Request, Response, parse_subprotocols
from .client import ClientHandshake, negotiation_close
from .fields import accept_key, generate_key, select_subprotocol
from .server import ServerHandshake, refusal_for, switching_protocols

__all__ = [
    'USER_AGENT',
    'ClientHandshake',
    'ExtensionList',
    'Headers',
    'HeadersLike',
    'Request',
    'Response',
    'ServerHandshake',
    'accept_key',
    'format_extensions',
    'generate_key',
    'negotiation_close',
    'parse_extensions',
    'parse_subprotocols',
    'refusal_for',
    'select_subprotocol',
    'switching_protocols',
]
