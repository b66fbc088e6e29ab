"""pyjows: WebSockets for Python, one event-emitting object per connection.

``serve`` and ``connect`` are where most programs begin; ``WebSocket`` is the connection itself, with or without a loop.
"""

from . import _build

if _build.wants_source():
    _build.prefer_source()

from . import auth, metrics
from .broadcasting import Broadcast, broadcast
from .client import Reconnector, backoff, connect, reconnect
from .connection import ConnectionState, ConnectionType, WSConnection
from .deflate import PerMessageDeflate
from .emitter import EventEmitter
from .errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    InvalidState,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
    UnexpectedMessage,
    WebSocketError,
)
from .frame_log import log_to_stderr as _log_to_stderr
from .frames import Close, CloseCode, Frame, Opcode
from .http11 import Headers, Request, Response
from .ioloop import IOLoop, Stream
from .prefork import prefork
from .protocol import Protocol, Side, State
from .reactor import Reactor
from .rooms import Room, Rooms, rooms
from .run import run, stop
from .sansio import ClientProtocol, ServerProtocol
from .server import Server, serve, systemd_sockets
from .tls import TLS
from .transaction import WebSocket

__all__ = [
    'TLS',
    'Broadcast',
    'ClientProtocol',
    'Close',
    'CloseCode',
    'ConnectionClosed',
    'ConnectionClosedError',
    'ConnectionClosedOK',
    'ConnectionState',
    'ConnectionType',
    'EventEmitter',
    'Frame',
    'HandshakeError',
    'Headers',
    'IOLoop',
    'InvalidState',
    'NegotiationError',
    'Opcode',
    'PayloadTooBig',
    'PerMessageDeflate',
    'Protocol',
    'ProtocolError',
    'Reactor',
    'Reconnector',
    'Request',
    'Response',
    'Room',
    'Rooms',
    'Server',
    'ServerProtocol',
    'Side',
    'State',
    'Stream',
    'UnexpectedMessage',
    'WSConnection',
    'WebSocket',
    'WebSocketError',
    'auth',
    'backoff',
    'broadcast',
    'connect',
    'metrics',
    'prefork',
    'reconnect',
    'rooms',
    'run',
    'serve',
    'stop',
    'systemd_sockets',
]

__version__ = '0.1.0'

#: Whether the hot modules are the compiled ones.
__compiled__ = _build.is_compiled('pyjows.frames')

_build.warn_if_shadowing('pyjows.frames')

_log_to_stderr()
