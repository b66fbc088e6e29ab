"""An opening handshake by hand: the requests and answers that the tests of both sides change.

Used by `test_http11.py`, `test_handshake.py`, `test_handshake_server.py` and `test_handshake_client.py`.
"""

from __future__ import annotations

from hypothesis import strategies as st

from pyjows.handshake import Request, ServerHandshake

KEY = 'dGhlIHNhbXBsZSBub25jZQ=='  # the RFC's own example, section 1.3
ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=12)


def upgrade(*extra: str, without: str = '', line: str = 'GET /chat?room=1 HTTP/1.1') -> bytes:
    """An opening handshake as a browser sends it, with headers added and left out."""
    fields = [
        'Host: example.com',
        'Upgrade: websocket',
        'Connection: Upgrade',
        f'Sec-WebSocket-Key: {KEY}',
        'Sec-WebSocket-Version: 13',
    ]
    kept = [field for field in fields if not without or not field.startswith(without + ':')]
    return '\r\n'.join([line, *kept, *extra, '', '']).encode('latin-1')


def switching(*extra: str, without: str = '', line: str = 'HTTP/1.1 101 Switching Protocols') -> bytes:
    """The answer to it."""
    fields = ['Upgrade: websocket', 'Connection: Upgrade', f'Sec-WebSocket-Accept: {ACCEPT}']
    kept = [field for field in fields if not without or not field.startswith(without + ':')]
    return '\r\n'.join([line, *kept, *extra, '', '']).encode('latin-1')


def read(request: bytes, **options: int) -> Request:
    found = ServerHandshake(**options).receive(request)
    assert found is not None
    return found
