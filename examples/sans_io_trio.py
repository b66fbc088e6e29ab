"""An echo server on trio (pip install trio), one task for each connection: the protocol as typed events.

python examples/sans_io_trio.py
python examples/sans_io_trio.py 4000
"""

import sys

from pyjows.connection import ConnectionState, ConnectionType, RemoteProtocolError, WSConnection
from pyjows.events import AcceptConnection, CloseConnection, Message, Ping, Request

try:
    import trio
except ImportError as exc:
    sys.exit(f'{exc}: pip install trio')


async def echo(stream: trio.SocketStream) -> None:
    """One connection, from its request to its end."""
    ws = WSConnection(ConnectionType.SERVER)
    try:
        while ws.state not in (ConnectionState.CLOSED, ConnectionState.LOCAL_CLOSING):
            ws.receive_data(await stream.receive_some() or None)
            for event in ws.events():
                match event:
                    case Request():
                        await stream.send_all(ws.send(AcceptConnection()))
                    case Message(data, _, finished):
                        await stream.send_all(ws.send(Message(data, message_finished=finished)))
                    case Ping():
                        await stream.send_all(ws.send(event.response()))
                    case CloseConnection() if ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                        await stream.send_all(ws.send(event.response()))
        await stream.send_eof()  # the server ends TCP first
        with trio.move_on_after(10):
            async for _ in stream:
                pass
    except RemoteProtocolError as exc:  # no valid handshake
        await stream.send_all(ws.send(exc.event_hint))
    except trio.BrokenResourceError:
        pass  # the client is gone


async def main() -> None:
    try:
        port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
        listeners = await trio.open_tcp_listeners(port, host='127.0.0.1')
        print(f'Echo: ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/', flush=True)
    except (OSError, ValueError) as exc:
        sys.exit(str(exc))
    await trio.serve_listeners(echo, listeners)


try:
    trio.run(main)
except* KeyboardInterrupt:  # trio puts it into a group
    pass
