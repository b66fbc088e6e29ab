"""socketify: Python over uWebSockets (C++) through cffi, on libuv."""

import socket

import orjson
from socketify import App, AppListenOptions, CompressOptions, OpCode, WebSocket  # type: ignore[import-untyped]

from bench.servers.common import HOST, MAX_SIZE, announce, options

OPTIONS = options()
APP = App()


def echo(ws: WebSocket, message: bytes, opcode: OpCode) -> None:
    ws.send(message, opcode)


def json(ws: WebSocket, message: str, opcode: OpCode) -> None:
    ws.send(orjson.dumps(orjson.loads(message)), OpCode.TEXT)


def deflate(ws: WebSocket, message: str, opcode: OpCode) -> None:
    ws.send(message, opcode, True)


def to_all(ws: WebSocket, message: bytes, opcode: OpCode) -> None:
    APP.publish('all', message, OpCode.BINARY)


def main() -> None:
    compress = OPTIONS.mode == 'deflate'
    behavior = {
        'compression': CompressOptions.DEDICATED_COMPRESSOR_32KB if compress else CompressOptions.DISABLED,
        'max_payload_length': MAX_SIZE,
        'max_backpressure': MAX_SIZE,
        'message': {'json': json, 'deflate': deflate, 'broadcast': to_all}.get(OPTIONS.mode, echo),
    }
    if OPTIONS.mode == 'broadcast':
        behavior['open'] = lambda ws: ws.subscribe('all')
    with socket.socket() as free:  # it cannot tell which port it got when asked for 0
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    APP.ws('/*', behavior)
    APP.listen(AppListenOptions(port=port, host=HOST), lambda config: announce(port))
    APP.run()


if __name__ == '__main__':
    main()
