"""picows' client on uvloop."""

import asyncio

from picows import WSListener, WSMsgType, WSTransport, ws_connect
from picows.picows import WSFrame

from bench.clients.common import MAX_SIZE, Tally, options, tls_context, url
from bench.servers.common import run_uvloop

OPTIONS = options()
TALLY = Tally(OPTIONS)


class Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        TALLY.opened(lambda: transport.send(WSMsgType.BINARY, bytes(OPTIONS.size)))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            TALLY.count += 1
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())


async def main() -> None:
    tls = tls_context(OPTIONS)
    for _ in range(OPTIONS.connections):
        await ws_connect(Client, url(OPTIONS), ssl_context=tls, max_frame_size=MAX_SIZE)
    await asyncio.Event().wait()


if __name__ == '__main__':
    run_uvloop(main)
