"""One form of the library as a process of its own, which plays a script and tells everything that came of it.

    python differential.py      # scripts come pickled on standard input, transcripts go pickled to standard output

`test_differential` runs two of these, one compiled and one interpreted, and compares.
"""

from __future__ import annotations

import logging
import pickle
import re
import struct
import sys
from typing import Any

from byhand import frames

__all__ = ['main', 'play']

#: A step is a tuple: its name, and what it needs.
Step = tuple[Any, ...]


def play(script: tuple[dict[str, Any], list[Step]]) -> list[Any]:
    """Play a script on a fresh transaction; the events, bytes and exceptions in the order in which they came."""
    from pyjows import WebSocket, broadcast

    settings, steps = script
    told: list[Any] = []
    ws = WebSocket(**settings['options'])

    def listen(event: str, reaction: str | None) -> None:
        def handler(ws: Any, *args: Any) -> None:
            told.append((event, *(repr(arg) for arg in args)))
            if reaction == 'raise':
                raise LookupError(event)
            if reaction == 'echo':
                ws.send(*(args if isinstance(args[0], (str, bytes)) else (str(args[0]),)))
            if reaction == 'finish':
                ws.finish(4000, event)
            if reaction == 'leave':
                ws.unsubscribe(event)
            if reaction == 'write':
                told.append(_readable(ws.server_write()))

        ws.on(event, handler)

    for event, reaction in settings['handlers']:
        listen(event, reaction)
    others = [WebSocket(established=True), ws, WebSocket(established=True, masked=True)]
    calls: dict[str, Any] = {
        'read': lambda data: ws.server_read(data),
        'write': lambda: _readable(ws.server_write()),
        'send': lambda named: ws.send(**named),
        'finish': lambda *why: ws.finish(*why),
        'limit': lambda n: setattr(ws, 'max_websocket_size', n),
        'compressed': lambda on: setattr(ws, 'compressed', on),
        'raw': lambda: ws.unsubscribe('frame'),
        'broadcast': lambda named: broadcast(others, **named).sent,
        'build': lambda named: _readable(ws.build_message(**named)),
        'parse': lambda data: ws.parse_frame(data),
        'closed': lambda: ws.closed(),
        'connect': lambda: ws.client_handshake('ws://example.com/'),
    }
    for name, *arguments in steps:
        try:
            result = calls[name](*arguments)
        except Exception as exc:
            # Where the interpreter itself says that arguments do not fit, C has other words for it.
            told.append((name, type(exc).__name__, None if type(exc) is TypeError else str(exc)))
        else:
            told.append((name, repr(result) if not isinstance(result, WebSocket) else None))
        told.append(
            (ws.protocol.state, ws.established, ws.is_finished, ws.is_writing, ws.buffered_amount, ws.compressed)
        )
    ws.closed()
    told += [_readable(other.server_write()) for other in others]
    told.append((ws.protocol.close_rcvd, ws.protocol.close_sent, ws.protocol.eof_sent, ws.protocol.close_code))
    return [pickle.loads(pickle.dumps(repr(entry))) for entry in told]


def _readable(data: bytes) -> Any:
    """Bytes to send, without what is random (keys) or the time."""
    head = b''
    if data.startswith((b'GET ', b'HTTP/')):
        head, _, data = data.partition(b'\r\n\r\n')
        head = re.sub(rb'(Date|Sec-WebSocket-Key): [^\r]*', rb'\1: x', head)
    return head, [(data[1:2] > b'\x7f', *frame) for frame in frames(data)]


def main() -> None:
    """Play what comes until there is no more."""
    logging.disable(logging.CRITICAL)
    import pyjows

    channel = sys.stdout.buffer
    _answer(channel, pyjows.__compiled__)
    while head := sys.stdin.buffer.read(4):
        script = pickle.loads(sys.stdin.buffer.read(struct.unpack('!I', head)[0]))
        _answer(channel, play(script))


def _answer(channel: Any, answer: Any) -> None:
    data = pickle.dumps(answer)
    channel.write(struct.pack('!I', len(data)) + data)
    channel.flush()


if __name__ == '__main__':
    main()
