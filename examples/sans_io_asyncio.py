"""An echo server on asyncio's transports: the protocol as frames, without pyjows' loop.

python examples/sans_io_asyncio.py
python examples/sans_io_asyncio.py 4000
"""

import asyncio
import sys

from pyjows.frames import Frame, Opcode
from pyjows.protocol import SEND_EOF
from pyjows.sansio import Request, ServerProtocol


class Echo(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.protocol = ServerProtocol(max_size=16 << 20, defer_close=True)
        self.timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        while events := self.protocol.events_received():  # more than once: frames may come with the request
            for event in events:
                self.react(event)
        self.write()

    def react(self, event: Request | Frame) -> None:
        if isinstance(event, Request):
            self.protocol.send_response(self.protocol.accept(event))
        elif event.opcode is Opcode.TEXT:
            self.protocol.send_text(event.data, event.fin)
        elif event.opcode is Opcode.BINARY:
            self.protocol.send_binary(event.data, event.fin)
        elif event.opcode is Opcode.CONT:
            self.protocol.send_continuation(event.data, event.fin)

    def eof_received(self) -> None:
        self.protocol.receive_eof()
        self.write()

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.receive_eof()
        if self.timer is not None:
            self.timer.cancel()

    def write(self) -> None:
        for data in self.protocol.data_to_send():
            if data == SEND_EOF:
                self.transport.write_eof()
            else:
                self.transport.write(data)
        if self.protocol.close_expected() and self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(10, self.transport.abort)


async def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = await asyncio.get_running_loop().create_server(Echo, '127.0.0.1', port)
    print(f'Echo: ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/', flush=True)
    await server.serve_forever()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
except (OSError, OverflowError, ValueError) as exc:
    sys.exit(str(exc))
