"""wsproto over asyncio's streams on uvloop: sans-I/O, so this file brings the reading and the writing."""

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import Any

import orjson
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Request, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

from bench.servers.common import HOST, announce, options, run_uvloop

OPTIONS = options()
EVERYBODY: set[tuple[WSConnection, StreamWriter]] = set()


class Peer:
    """One connection: events in, bytes out, messages put together from their parts."""

    def __init__(self, writer: StreamWriter) -> None:
        self.writer = writer
        self.ws = WSConnection(ConnectionType.SERVER)
        self.parts: list[Any] = []

    def on(self, event: Event) -> None:
        match event:
            case TextMessage() | BytesMessage():
                self.parts.append(event.data)
                if event.message_finished:
                    parts, self.parts = self.parts, []
                    self.on_message(parts[0] if len(parts) == 1 else type(parts[0])().join(parts))
            case Request():
                extensions: list[Extension] = [PerMessageDeflate()] if OPTIONS.mode == 'deflate' else []
                self.send(AcceptConnection(extensions=extensions))
                EVERYBODY.add((self.ws, self.writer))
            case Ping() | CloseConnection():
                self.send(event.response())

    def on_message(self, data: Any) -> None:
        match OPTIONS.mode:
            case 'echo':
                self.send(BytesMessage(data=data))
            case 'json':
                self.send(TextMessage(data=orjson.dumps(orjson.loads(data)).decode()))
            case 'broadcast':
                for ws, writer in EVERYBODY:
                    writer.write(ws.send(BytesMessage(data=data)))
            case _:
                self.send(TextMessage(data=data))

    def send(self, event: Event) -> None:
        self.writer.write(self.ws.send(event))


async def serve(reader: StreamReader, writer: StreamWriter) -> None:
    peer = Peer(writer)
    while data := await reader.read(2**16):
        peer.ws.receive_data(data)
        for event in peer.ws.events():
            peer.on(event)
        await writer.drain()
    EVERYBODY.discard((peer.ws, writer))
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, HOST, 0, backlog=4096)
    announce(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


if __name__ == '__main__':
    run_uvloop(main)
