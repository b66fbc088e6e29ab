"""picows on uvloop: a listener's `on_ws_frame`, the shape of its own documentation."""

import asyncio
from typing import ClassVar

import orjson
from picows import WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server
from picows.picows import WSFrame

from bench.servers.common import HOST, MAX_SIZE, announce, options, run_uvloop, tls_context


class Closing(WSListener):
    """Answers a close frame, as a picows application does by itself."""

    def closed(self, transport: WSTransport, frame: WSFrame) -> bool:
        if frame.msg_type != WSMsgType.CLOSE:
            return False
        transport.send_close(frame.get_close_code(), frame.get_close_message())
        transport.disconnect()
        return True


class Echo(Closing):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        else:
            self.closed(transport, frame)


class Text(Closing):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_utf8_text().encode())
        else:
            self.closed(transport, frame)


class Json(Closing):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, orjson.dumps(orjson.loads(frame.get_payload_as_memoryview())))
        else:
            self.closed(transport, frame)


class Broadcast(Closing):
    everybody: ClassVar[set[WSTransport]] = set()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.everybody.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.everybody.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            data = frame.get_payload_as_bytes()
            for each in self.everybody:
                each.send(WSMsgType.BINARY, data)
        else:
            self.closed(transport, frame)


LISTENERS = {'echo': Echo, 'text': Text, 'json': Json, 'broadcast': Broadcast, 'idle': Text}


async def main() -> None:
    parsed = options()
    listener = LISTENERS[parsed.mode]

    def accept(request: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(accept, HOST, 0, ssl=tls_context(parsed), max_frame_size=MAX_SIZE)
    announce(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


if __name__ == '__main__':
    run_uvloop(main)
