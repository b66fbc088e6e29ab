"""Sans-I/O throughput: receive a masked message, take its event, send it back, take the bytes. One process, no socket.

Two shapes, and each is driven by one function: `websockets.protocol` and `pyjows.protocol` by `frames`, `wsproto` and
`pyjows.connection` by `events`. They differ in the modules they are given and in nothing else.

    python -m bench.sansio --engine pyjows.protocol --size 128
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ['ENGINES']

#: Takes the bytes of a message as they came in, returns the bytes of the reply.
Echo = Callable[[bytes], bytes]


def frames(protocol: str) -> Echo:
    """The shape of `websockets.protocol.Protocol`."""
    module = import_module(protocol)
    connection: Any = module.Protocol(module.Side.SERVER, max_size=None)

    def echo(data: bytes) -> bytes:
        connection.receive_data(data)
        for frame in connection.events_received():
            connection.send_binary(frame.data)
        return b''.join(connection.data_to_send())

    return echo


def events(connection: str, events: str) -> Echo:
    """The shape of `wsproto.connection.Connection`: a WSConnection after its handshake."""
    module, message = import_module(connection), import_module(events).BytesMessage
    ws: Any = module.Connection(module.ConnectionType.SERVER)

    def echo(data: bytes) -> bytes:
        ws.receive_data(data)
        return b''.join([ws.send(message(data=event.data)) for event in ws.events()])

    return echo


ENGINES: dict[str, Callable[[], Echo]] = {
    'pyjows.protocol': lambda: frames('pyjows.protocol'),
    'pyjows.connection': lambda: events('pyjows.connection', 'pyjows.events'),
    'websockets': lambda: frames('websockets.protocol'),
    'wsproto': lambda: events('wsproto.connection', 'wsproto.events'),
}


def head(size: int) -> bytes:
    """The first bytes of a binary frame without its mask bit (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes([0x82, size])
    return b'\x82\x7e' + size.to_bytes(2, 'big') if size < 2**16 else b'\x82\x7f' + size.to_bytes(8, 'big')


def masked(frame_head: bytes, payload: bytes) -> bytes:
    """The frame as a client sends it."""
    key = os.urandom(4)
    mask = int.from_bytes((key * (len(payload) // 4 + 1))[: len(payload)], 'big')
    body = (int.from_bytes(payload, 'big') ^ mask).to_bytes(len(payload), 'big')
    return bytes([frame_head[0], frame_head[1] | 0x80]) + frame_head[2:] + key + body


def measure(echo: Echo, size: int, seconds: float) -> dict[str, float]:
    """Echo messages of `size` bytes for so long; returns messages a second and microseconds a message."""
    payload = os.urandom(size)
    incoming, expected = masked(head(size), payload), head(size) + payload
    for _ in range(200):
        if echo(incoming) != expected:
            raise SystemExit('the reply is not the message')
    count, start = 0, time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        for _ in range(100):
            echo(incoming)
        count += 100
    return {'rate': count / (now - start), 'cpu_us': (now - start) / count * 1e6}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--engine', choices=ENGINES, required=True)
    parser.add_argument('--size', type=int, default=128, help='bytes of a message')
    parser.add_argument('--seconds', type=float, default=2)
    options = parser.parse_args()
    print(json.dumps(measure(ENGINES[options.engine](), options.size, options.seconds)))


if __name__ == '__main__':
    main()
