"""Who takes part: pyjows on each of its loops, its peers, and a bare C program as the floor.

Only data: a contestant is a script, its arguments and environment, and what it can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ['CONTESTANTS', 'Contestant', 'contestants']

SERVER = ('echo', 'text', 'json', 'deflate', 'broadcast', 'idle')


#: The libraries that are measured over TLS too.
SPEAK_TLS = {'pyjows', 'picows', 'aiohttp', 'websockets'}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One program that is measured."""

    name: str
    label: str
    modes: tuple[str, ...]  #: what it takes part in: the modes of its script
    script: str  #: a module that `python -m` runs, or the name of a tool in `load/`
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def speaks_tls(self) -> bool:
        """Whether its script takes `--tls`."""
        return self.is_tool or self.script.split('.')[-1].partition('_')[0] in SPEAK_TLS

    @property
    def is_tool(self) -> bool:
        """Whether it is one of our own C programs."""
        return '.' not in self.script

    @property
    def is_node(self) -> bool:
        """Whether Node runs it; `NODE_PATH` says where its `ws` is."""
        return self.script.endswith('.js')

    @property
    def is_ours(self) -> bool:
        """Whether it is pyjows."""
        return self.name.startswith('pyjows')


def _pyjows(reactor: str) -> list[Contestant]:
    env = {'PYJOWS_REACTOR': reactor}
    awaited = [
        Contestant(
            name=f'pyjows-{reactor}',
            label=f'pyjows, {reactor}',
            modes=(f'coroutine{side}',),
            script=f'bench.{script}',
            env=env,
        )
        for side, script in (('', 'servers.pyjows_server'), ('-client', 'clients.pyjows_coroutine_client'))
    ]
    return [
        *(awaited if reactor in ('asyncio', 'uvloop') else ()),
        Contestant(
            name=f'pyjows-{reactor}',
            label=f'pyjows, {reactor}',
            modes=SERVER,
            script='bench.servers.pyjows_server',
            env=env,
        ),
        Contestant(
            name=f'pyjows-{reactor}',
            label=f'pyjows, {reactor}',
            modes=('client',),
            script='bench.clients.pyjows_client',
            env=env,
        ),
    ]


def _peer(library: str, loop: str, modes: tuple[str, ...], *arguments: str) -> Contestant:
    script = f'bench.servers.{library}_server'
    return Contestant(
        name=f'{library}-{loop}', label=f'{library}, {loop}', modes=modes, script=script, arguments=arguments
    )


def _client(library: str, loop: str) -> Contestant:
    script = f'bench.clients.{library}_client'
    modes = ('client', 'coroutine-client') if library == 'websockets' else ('client',)
    return Contestant(name=f'{library}-{loop}', label=f'{library}, {loop}', modes=modes, script=script)


def _picows_websockets(mode: str, script: str) -> Contestant:
    return Contestant(
        name='picows-websockets', label="picows, websockets' interface", modes=(mode,), script=f'bench.{script}'
    )


def _engine(name: str, label: str, engine: str, **env: str) -> Contestant:
    return Contestant(
        name=name, label=label, modes=('sansio',), script='bench.sansio', arguments=('--engine', engine), env=env
    )


def _uvicorn(name: str, ws: str) -> Contestant:
    return Contestant(
        name=name,
        label=f'uvicorn, {name.removeprefix("uvicorn-")}',
        modes=('asgi',),
        script='bench.servers.uvicorn_server',
        arguments=('--ws', ws),
    )


#: In the order in which they take their turns. A name stands once for each mode.
CONTESTANTS: tuple[Contestant, ...] = (
    *_pyjows('epoll'),
    *_pyjows('poll'),
    *_pyjows('asyncio'),
    *_pyjows('uvloop'),
    Contestant(
        name='pyjows-pure',
        label='pyjows, interpreted, asyncio',
        modes=('echo', 'text'),
        script='bench.servers.pyjows_server',
        env={'PYJOWS_REACTOR': 'asyncio', 'PYJOWS_PURE': '1'},
    ),
    _peer('picows', 'uvloop', ('echo', 'text', 'json', 'broadcast', 'idle')),
    _client('picows', 'uvloop'),
    _picows_websockets('coroutine', 'servers.picows_websockets_server'),
    _picows_websockets('coroutine-client', 'clients.picows_websockets_client'),
    _peer('websockets', 'asyncio', (*SERVER, 'coroutine'), '--loop', 'asyncio'),
    _peer('websockets', 'uvloop', (*SERVER, 'coroutine'), '--loop', 'uvloop'),
    _client('websockets', 'uvloop'),
    _peer('aiohttp', 'uvloop', SERVER),
    _client('aiohttp', 'uvloop'),
    _peer('wsproto', 'uvloop', SERVER),
    _peer('tornado', 'asyncio', SERVER),
    _peer('socketify', 'libuv', SERVER),
    Contestant(name='ws-node', label='ws, Node', modes=('text', 'deflate', 'idle'), script='servers/ws_server.js'),
    Contestant(name='wsecho', label='bare C server', modes=('echo', 'text', 'idle'), script='wsecho'),
    Contestant(
        name='wsecho', label='bare C server', modes=('broadcast',), script='wsecho', arguments=('--broadcast', '1')
    ),
    Contestant(name='wsload', label='bare C client', modes=('client',), script='wsload'),
    _engine('pyjows-protocol', 'pyjows Protocol', 'pyjows.protocol'),
    _engine('pyjows-connection', 'pyjows WSConnection', 'pyjows.connection'),
    _engine('pyjows-protocol-pure', 'pyjows Protocol, interpreted', 'pyjows.protocol', PYJOWS_PURE='1'),
    _engine('pyjows-connection-pure', 'pyjows WSConnection, interpreted', 'pyjows.connection', PYJOWS_PURE='1'),
    _engine('websockets', 'websockets Protocol', 'websockets'),
    _engine('wsproto', 'wsproto', 'wsproto'),
    _uvicorn('uvicorn-pyjows', 'pyjows.asgi:WebSocketProtocol'),
    _uvicorn('uvicorn-websockets', 'websockets'),
    _uvicorn('uvicorn-websockets-sansio', 'websockets-sansio'),
    _uvicorn('uvicorn-wsproto', 'wsproto'),
)


def contestants(mode: str, *, tls: bool = False) -> list[Contestant]:
    """Those that take part in a mode, and speak TLS if that is asked for."""
    return [each for each in CONTESTANTS if mode in each.modes and (each.speaks_tls or not tls)]
