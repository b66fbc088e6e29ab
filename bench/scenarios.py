"""What is measured: each scenario says what goes over the wire, which tool measures it and which figure counts.

Only data. `measure.py` knows how a tool is run, `targets.py` what the figures should be.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ['SCENARIOS', 'Scenario']

KIB, MIB = 2**10, 2**20
TEXT = 1  # RFC 6455, section 5.2

#: 200 bytes as orjson writes it.
OBJECT = (
    b'{"id":4711,"user":"ada.lovelace","room":"analytical-engine","at":1842.75,"edited":false,"tags":["notes","G.7"],'
    b'"text":"The engine weaves algebraic patterns just as the loom weaves flowers and leaves"}'
)

#: 1 KiB as a market or a sensor sends it: the names come again, the numbers do not.
ROWS = (f'{{"id":{i},"bid":{i * 7919 % 10007 / 100},"ask":{i * 7927 % 10009 / 100}}}' for i in range(40))
TABLE = ''.join(ROWS)[:KIB].encode()


def deflated(data: bytes) -> bytes:
    """A message's payload under permessage-deflate (RFC 7692, section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b'\0\0\xff\xff')


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing that is measured."""

    name: str
    title: str
    mode: str  #: what the contestants are asked to do; who has it in its `modes` takes part
    tool: str  #: 'wsload', 'wscast' and 'wsopen' measure a server; 'client' and 'sansio' scripts measure themselves
    arguments: Mapping[str, int | str] = field(default_factory=dict)
    payload: bytes | None = None
    tls: bool = False
    metric: str = 'rate'
    unit: str = 'messages/s'
    lower_is_better: bool = False
    reference: str = 'picows-uvloop'  #: the contestant that the others are compared with in the table


def _size(size: int) -> str:
    if size < KIB:
        return f'{size} B'
    return f'{size // KIB} KiB' if size < MIB else f'{size // MIB} MiB'


def _echo(connections: int, size: int, name: str) -> Scenario:
    return Scenario(
        name=f'echo-{name}',
        title=f'Echo, {connections} connection{"s"[: connections > 1]} × {_size(size)}',
        mode='echo',
        tool='wsload',
        arguments={'connections': connections, 'size': size},
    )


def _burst(size: int, depth: int) -> Scenario:
    return Scenario(
        name=f'burst-10x{size}',
        title=f'Burst, 10 × {size} B, {depth} in flight',
        mode='echo',
        tool='wsload',
        arguments={'connections': 10, 'size': size, 'depth': depth},
    )


def _sansio(size: int, name: str) -> Scenario:
    return Scenario(
        name=f'sansio-{name}',
        title=f'Sans-I/O echo, {_size(size)}',
        mode='sansio',
        tool='sansio',
        arguments={'size': size},
        reference='websockets',
    )


def _client(connections: int) -> Scenario:
    return Scenario(
        name=f'client-{connections}x256',
        title=f'Client, {connections} connection{"s"[: connections > 1]} × 256 B',
        mode='client',
        tool='client',
        arguments={'connections': connections, 'size': 256},
        unit='round trips/s',
    )


def _tls(name: str, title: str, mode: str, tool: str, **more: Any) -> Scenario:
    return Scenario(name=f'tls-{name}', title=f'TLS: {title}', mode=mode, tool=tool, tls=True, **more)


def _tls_echo(size: int, name: str) -> Scenario:
    arguments = {'connections': 100, 'size': size}
    return _tls(f'echo-100x{name}', f'echo, 100 connections × {_size(size)}', 'echo', 'wsload', arguments=arguments)


def _tls_client(size: int, name: str) -> Scenario:
    arguments = {'connections': 100, 'size': size}
    title = f'client, 100 connections × {_size(size)}'
    return _tls(f'client-100x{name}', title, 'client', 'client', arguments=arguments, unit='round trips/s')


def _coroutine(connections: int, depth: int) -> Scenario:
    return Scenario(
        name=f'coroutine-{connections}x256' + (f'-{depth}' if depth > 1 else ''),
        title=f'`async for` echo, {connections} connections × 256 B, {depth} in flight',
        mode='coroutine',
        tool='wsload',
        arguments={'connections': connections, 'size': 256, 'depth': depth},
        reference='picows-websockets',
    )


SCENARIOS: tuple[Scenario, ...] = (
    _echo(1, 32, '1x32'),
    _echo(100, 16, '100x16'),
    _echo(100, 32, '100x32'),
    _echo(1000, 32, '1000x32'),
    _echo(100, KIB, '100x1k'),
    _echo(10, 64 * KIB, '10x64k'),
    _echo(10, MIB, '10x1m'),
    _burst(32, 32),
    _burst(256, 256),
    Scenario(
        name='text-100x32',
        title='Text echo, 100 connections × 32 B',
        mode='text',
        tool='wsload',
        arguments={'connections': 100, 'size': 32, 'opcode': TEXT},
    ),
    Scenario(
        name='json-100x200',
        title='JSON echo, 100 connections × 200 B',
        mode='json',
        tool='wsload',
        arguments={'connections': 100, 'opcode': TEXT},
        payload=OBJECT,
    ),
    Scenario(
        name='deflate-100x1k',
        title='permessage-deflate, 100 connections × 1 KiB',
        mode='deflate',
        tool='wsload',
        arguments={'connections': 100, 'opcode': TEXT, 'extensions': 'permessage-deflate'},
        payload=deflated(TABLE),
        reference='websockets-uvloop',
    ),
    Scenario(
        name='broadcast-1000x64',
        title='Broadcast of 64 B to 1,000 connections',
        mode='broadcast',
        tool='wscast',
        arguments={'connections': 1000, 'size': 64},
        unit='deliveries/s',
    ),
    _client(1),
    _client(100),
    _coroutine(100, 1),
    _coroutine(10, 256),
    Scenario(
        name='coroutine-client-100x256',
        title='`async for` client, 100 connections × 256 B',
        mode='coroutine-client',
        tool='client',
        arguments={'connections': 100, 'size': 256},
        unit='round trips/s',
        reference='picows-websockets',
    ),
    Scenario(
        name='handshakes',
        title='Handshakes, 16 under way',
        mode='idle',
        tool='wsopen',
        arguments={'connections': 5000, 'in-flight': 16},
        unit='handshakes/s',
    ),
    Scenario(
        name='idle',
        title='Memory of an idle connection',
        mode='idle',
        tool='wsopen',
        arguments={'connections': 5000, 'in-flight': 16},
        metric='memory_kib',
        unit='KiB',
        lower_is_better=True,
    ),
    Scenario(
        name='idle-used',
        title='Memory of a used, idle connection',
        mode='idle',
        tool='wsopen',
        arguments={'connections': 5000, 'in-flight': 16, 'touch': 1},
        metric='memory_kib',
        unit='KiB',
        lower_is_better=True,
    ),
    Scenario(
        name='compressed-idle',
        title='Memory of a used, idle connection with permessage-deflate',
        mode='deflate',
        tool='wsopen',
        arguments={
            'connections': 1000,
            'in-flight': 16,
            'touch': 1,
            'extensions': 'permessage-deflate; client_max_window_bits',
        },
        payload=deflated(TABLE),
        metric='memory_kib',
        unit='KiB',
        lower_is_better=True,
        reference='websockets-uvloop',
    ),
    _tls_echo(32, '32'),
    _tls_echo(KIB, '1k'),
    _tls_echo(64 * KIB, '64k'),
    _tls_client(32, '32'),
    _tls_client(KIB, '1k'),
    _tls_client(64 * KIB, '64k'),
    _tls(
        'handshakes',
        'handshakes, 16 under way',
        'idle',
        'wsopen',
        arguments={'connections': 1000, 'in-flight': 16},
        unit='handshakes/s',
    ),
    _tls(
        'idle',
        'memory of a used, idle connection',
        'idle',
        'wsopen',
        arguments={'connections': 1000, 'in-flight': 16, 'touch': 1},
        metric='memory_kib',
        unit='KiB',
        lower_is_better=True,
    ),
    _sansio(128, '128'),
    _sansio(64 * KIB, '64k'),
    Scenario(
        name='asgi-100x32',
        title='uvicorn text echo, 100 connections × 32 B',
        mode='asgi',
        tool='wsload',
        arguments={'connections': 100, 'size': 32, 'opcode': TEXT},
        reference='uvicorn-websockets',
    ),
)
