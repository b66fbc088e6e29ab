"""`IOLoop`, `Stream`: servers, clients, connections and timers on a reactor."""

from __future__ import annotations

from .emitter import LoopEmitter
from .limit import ConnectionLimit
from .listener import Listener
from .loop import IOLoop
from .proxy_header import ProxyProtocol
from .stream import LoopData, Stream
from .tls import TLSStream

__all__ = ['ConnectionLimit', 'IOLoop', 'Listener', 'LoopData', 'LoopEmitter', 'ProxyProtocol', 'Stream', 'TLSStream']
