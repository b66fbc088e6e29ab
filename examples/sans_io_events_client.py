"""Sends words, prints what comes back, and closes: a client on a blocking socket, the protocol as typed events.

python examples/sans_io_events_client.py ws://127.0.0.1:3000/ good morning
"""

import contextlib
import socket
import sys

from pyjows.connection import ConnectionState, ConnectionType, WSConnection
from pyjows.events import AcceptConnection, CloseConnection, Ping, RejectConnection, Request, TextMessage
from pyjows.extensions import PerMessageDeflate
from pyjows.url import parse_url


def main() -> None:
    url = parse_url(sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000/')
    words = sys.argv[2:]
    unanswered = len(words)
    got = ''

    ws = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection((url.host, url.port)) as sock:
        sock.sendall(ws.send(Request(url.host_header, url.target, [PerMessageDeflate()])))
        while ws.state is not ConnectionState.CLOSED:
            ws.receive_data(sock.recv(65536) or None)
            for event in ws.events():
                if isinstance(event, AcceptConnection):
                    for word in words:
                        sock.sendall(ws.send(TextMessage(word)))
                elif isinstance(event, RejectConnection):
                    print('Refused:', event.status_code)
                    sys.exit(1)
                elif isinstance(event, TextMessage):
                    got += event.data
                    if event.message_finished:
                        print(got)
                        got = ''
                        unanswered -= 1
                        if unanswered == 0:
                            sock.sendall(ws.send(CloseConnection(1000, 'done')))
                elif isinstance(event, Ping) and ws.state is ConnectionState.OPEN:
                    sock.sendall(ws.send(event.response()))
                elif isinstance(event, CloseConnection):
                    print('Closed:', event.code)
                    if ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                        sock.sendall(ws.send(event.response()))
        if ws.connection is not None:  # the server ends TCP first; it has this long
            sock.settimeout(10)
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass


try:
    main()
except KeyboardInterrupt:
    pass
except (OSError, ValueError) as exc:
    sys.exit(str(exc))
