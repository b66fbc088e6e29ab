"""An echo server on blocking sockets, one thread for each connection: the protocol as typed events.

python examples/sans_io_events_server.py
python examples/sans_io_events_server.py 4000
"""

import socket
import sys
import threading
from contextlib import suppress

from pyjows.connection import ConnectionState, ConnectionType, RemoteProtocolError, WSConnection
from pyjows.events import AcceptConnection, CloseConnection, Event, Message, Ping, RejectConnection, Request
from pyjows.extensions import PerMessageDeflate


def answer(ws: WSConnection, event: Event) -> bytes:
    """The bytes to write for what came."""
    match event:
        case Request(target='/'):
            return ws.send(AcceptConnection(extensions=[PerMessageDeflate()]))
        case Request():
            return ws.send(RejectConnection(404))
        case Message(data, _, finished):
            return ws.send(Message(data, message_finished=finished))  # every piece goes back as it comes
        case Ping():
            return ws.send(event.response())
        case CloseConnection() if ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            return ws.send(event.response())
    return b''


def serve(sock: socket.socket) -> None:
    """One connection, from its request to its end."""
    ws = WSConnection(ConnectionType.SERVER)
    with sock:
        try:
            while ws.state not in (ConnectionState.CLOSED, ConnectionState.LOCAL_CLOSING):
                ws.receive_data(sock.recv(65536) or None)
                for event in ws.events():
                    sock.sendall(answer(ws, event))
            sock.shutdown(socket.SHUT_WR)  # the server ends TCP first
            sock.settimeout(10)  # the client has this long to end its half
            while sock.recv(65536):
                pass
        except RemoteProtocolError as exc:  # no valid handshake
            sock.sendall(ws.send(exc.event_hint))
        except OSError:
            pass  # the client is gone


try:
    listener = socket.create_server(('127.0.0.1', int(sys.argv[1]) if len(sys.argv) > 1 else 3000))
    print(f'Echo: ws://127.0.0.1:{listener.getsockname()[1]}/', flush=True)
except (OSError, OverflowError, ValueError) as exc:
    sys.exit(str(exc))
with suppress(KeyboardInterrupt):
    while True:
        sock = listener.accept()[0]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()
