"""tornado on its own loop (asyncio): a `WebSocketHandler`."""

import asyncio
from typing import Any

import orjson
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from bench.servers.common import HOST, MAX_SIZE, announce, options, run_asyncio

OPTIONS = options()
EVERYBODY: set['Handler'] = set()


class Handler(WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if OPTIONS.mode == 'deflate' else None

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)  # its documentation's advice for small messages; the others do it unasked
        EVERYBODY.add(self)

    def on_close(self) -> None:
        EVERYBODY.discard(self)

    def on_message(self, message: str | bytes) -> None:
        match OPTIONS.mode:
            case 'json':
                self.write_message(orjson.dumps(orjson.loads(message)).decode())
            case 'broadcast':
                for each in EVERYBODY:
                    each.write_message(message, binary=True)
            case _:
                self.write_message(message, binary=isinstance(message, bytes))


async def main() -> None:
    sockets = bind_sockets(0, HOST, backlog=4096)
    server = HTTPServer(Application([('/', Handler)], websocket_max_message_size=MAX_SIZE))
    server.add_sockets(sockets)
    announce(sockets[0].getsockname()[1])
    await asyncio.Event().wait()


if __name__ == '__main__':
    run_asyncio(main)
