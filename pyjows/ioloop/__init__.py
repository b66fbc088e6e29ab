"""`IOLoop`, `Stream`: servers, clients, connections and timers on a reactor."""

from __future__ import annotations

from .emitter import LoopEmitter
from .listener import Listener
from .loop import IOLoop
from .stream import LoopData, Stream
from .tls import TLSStream

__all__ = ['IOLoop', 'Listener', 'LoopData', 'LoopEmitter', 'Stream', 'TLSStream']
