"""pyjows: handlers registered with `@ws.on`. `PYJOWS_REACTOR` names the loop: epoll, poll, asyncio or uvloop."""

import asyncio
import os
from collections.abc import Callable

from bench.servers.common import HOST, MAX_SIZE, announce, options, run_uvloop, tls_context

REACTOR = os.environ.get('PYJOWS_REACTOR')
if REACTOR == 'uvloop':
    os.environ['PYJOWS_REACTOR'] = 'asyncio'  # it rides on whatever asyncio loop is running

import pyjows  # noqa: E402

OPTIONS = options()


def echo(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    @ws.on
    def binary(ws: pyjows.WebSocket, data: bytes) -> None:
        ws.send(binary=data)


def text(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        ws.send(text=message)


def json(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    @ws.on
    def json(ws: pyjows.WebSocket, value: object) -> None:
        ws.send(json=value)


def broadcast(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    @ws.on
    def binary(ws: pyjows.WebSocket, data: bytes) -> None:
        server.broadcast(binary=data)


def any_kind(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    ws.on('text', on_text)
    ws.on('binary', on_binary)


def on_text(ws: pyjows.WebSocket, message: str) -> None:
    ws.send(text=message)


def on_binary(ws: pyjows.WebSocket, data: bytes) -> None:
    ws.send(binary=data)


def idle(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    any_kind(server, ws)
    ws.on('finish', on_finish)


def on_finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
    pass


async def coroutine(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    async for message in ws:
        ws.send(message)


MODES: dict[str, Callable[[pyjows.Server, pyjows.WebSocket], object]] = {
    'echo': echo,
    'text': text,
    'json': json,
    'deflate': text,
    'broadcast': broadcast,
    'coroutine': coroutine,
    'any': any_kind,
    'idle': idle,
}


def serve() -> None:
    tls = tls_context(OPTIONS)
    url = f'{"wss" if tls else "ws"}://{HOST}:0'
    server = pyjows.serve(url, max_websocket_size=MAX_SIZE, compression=OPTIONS.mode == 'deflate', tls=tls)
    server.on('websocket', MODES[OPTIONS.mode])
    announce(server.ports[0])


async def main() -> None:
    serve()
    await asyncio.Event().wait()


if __name__ == '__main__':
    if REACTOR == 'uvloop':
        run_uvloop(main)
    else:
        serve()
        pyjows.run()
