"""Clients that misbehave, of one kind each process, on bare sockets: ``offenders.py KIND PORT HOW_MANY``.

Each prints ``ready`` when all are at it, and goes on until it is killed, beginning again where the server ends it.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable
from functools import cache

UPGRADE = (
    'GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n'
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def frame(head: int, payload: bytes) -> bytes:
    """A frame masked with zeros, which leaves the payload as it is."""
    n = len(payload)
    length = bytes([0x80 | n]) if n < 126 else struct.pack('!BH', 0xFE, n) if n < 65536 else struct.pack('!BQ', 0xFF, n)
    return bytes([head]) + length + bytes(4) + payload


async def upgraded_socket(port: int, target: str, more: str = '', buffer: int = 0) -> socket.socket:
    """A WebSocket connection as a bare socket."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await loop.sock_connect(sock, ('127.0.0.1', port))
    await loop.sock_sendall(sock, UPGRADE.format(target=target, more=more).encode())
    answer = b''
    while not answer.endswith(b'\r\n\r\n'):
        answer += await loop.sock_recv(sock, 1) or b'\r\n\r\n'
    return sock


async def upgraded(port: int, target: str, more: str = '', buffer: int = 0) -> Streams:
    """A WebSocket connection as streams."""
    sock = await upgraded_socket(port, target, more, buffer)
    return await asyncio.open_connection(sock=sock, limit=buffer or 65536)


async def reader_that_is_stopped(port: int, ready: Callable[[], None]) -> None:
    """Asks for the firehose; the process is stopped (SIGSTOP) when all are there."""
    reader, writer = await upgraded(port, '/firehose', buffer=32768)
    ready()
    while await reader.read(65536):
        pass
    writer.close()
    await asyncio.sleep(3600)


async def slow_loris(port: int, ready: Callable[[], None]) -> None:
    """Sends a request that never ends, a byte a second."""
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'GET /room/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-')
    ready()
    while not reader.at_eof():
        writer.write(b'a')
        await writer.drain()
        await asyncio.sleep(1)
    writer.close()


async def resetter(port: int, ready: Callable[[], None]) -> None:
    """Chats for a moment, then resets the connection."""
    _, writer = await upgraded(port, f'/room/reset-{random.randrange(50)}')
    ready()
    for _ in range(random.randrange(20)):
        writer.write(frame(0x81, b'0 0 0'))
        await asyncio.sleep(random.random() / 5)
    raw = writer.get_extra_info('socket')
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    writer.transport.abort()


async def ping_flooder(port: int, ready: Callable[[], None]) -> None:
    """Sends 2,000 pings a second and reads no pong."""
    with await upgraded_socket(port, '/room/pings', buffer=32768) as sock:
        ready()
        pings = frame(0x89, os.urandom(125)) * 100
        while True:
            await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(sock, pings), 60)
            await asyncio.sleep(0.05)


@cache
def bomb() -> bytes:
    """64 MiB of zeros in a frame of 64 KiB, packed once: the offenders may not take the processor from the others."""
    deflate = zlib.compressobj(9, wbits=-15)
    packed = deflate.compress(bytes(64 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return frame(0xC2, packed[:-4])


async def bomber(port: int, ready: Callable[[], None]) -> None:
    """Sends 64 MiB of zeros in 64 KiB of permessage-deflate, and a frame that claims to be a terabyte."""
    more = 'Sec-WebSocket-Extensions: permessage-deflate\r\n'
    claim = bytes([0x82, 0xFF]) + struct.pack('!Q', 1 << 40) + bytes(4)
    for wire in (bomb(), claim):
        reader, writer = await upgraded(port, '/room/bombs', more)
        ready()
        writer.write(wire)
        await reader.read()
        writer.close()
        await asyncio.sleep(1)


KINDS: dict[str, Callable[[int, Callable[[], None]], Awaitable[None]]] = {
    'stopped': reader_that_is_stopped,
    'loris': slow_loris,
    'resets': resetter,
    'pings': ping_flooder,
    'bombs': bomber,
}


async def main() -> None:
    """Have all of them at it."""
    kind, port, how_many = KINDS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    waiting = set(range(how_many))

    async def again_and_again(number: int) -> None:
        def ready() -> None:
            if number in waiting:
                waiting.discard(number)
                if not waiting:
                    print('ready', flush=True)

        await asyncio.sleep(number / how_many)
        while True:
            try:
                await kind(port, ready)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.5)

    await asyncio.gather(*map(again_and_again, range(how_many)))


if __name__ == '__main__':
    asyncio.run(main())
