"""An echo server on blocking sockets, one thread for each connection: the protocol as frames.

python examples/sans_io_frames_server.py
python examples/sans_io_frames_server.py 4000
"""

import socket
import sys
import threading
from contextlib import suppress

from pyjows.frames import Frame, Opcode
from pyjows.protocol import SEND_EOF
from pyjows.sansio import Request, ServerPerMessageDeflateFactory, ServerProtocol


def write(sock: socket.socket, protocol: ServerProtocol) -> None:
    """Write all that waits, and end our half when it is time."""
    for data in protocol.data_to_send():
        if data == SEND_EOF:
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.sendall(data)


def react(protocol: ServerProtocol, event: Request | Frame) -> None:
    """What to do about what came. Pings and closes are answered already."""
    if isinstance(event, Request):
        if event.path == '/':
            protocol.send_response(protocol.accept(event))
        else:
            protocol.send_response(protocol.reject(404, 'There is nothing here.\n'))
    elif event.opcode is Opcode.TEXT:
        protocol.send_text(event.data, event.fin)
    elif event.opcode is Opcode.BINARY:
        protocol.send_binary(event.data, event.fin)
    elif event.opcode is Opcode.CONT:
        protocol.send_continuation(event.data, event.fin)


def serve(sock: socket.socket) -> None:
    """One connection, from its request to its end."""
    protocol = ServerProtocol(
        extensions=[ServerPerMessageDeflateFactory()],
        max_size=16 << 20,
        defer_close=True,  # what comes right before the end is answered too
    )
    with sock:
        try:
            while data := sock.recv(65536):
                protocol.receive_data(data)
                while events := protocol.events_received():  # more than once: frames may come with the request
                    for event in events:
                        react(protocol, event)
                write(sock, protocol)
                if protocol.close_expected():
                    sock.settimeout(10)  # the client has this long to end its half
            protocol.receive_eof()
            write(sock, protocol)
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
