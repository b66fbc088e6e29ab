"""Sends words, prints what comes back, and closes: a client on a blocking socket, the protocol as frames.

python examples/sans_io_frames_client.py ws://127.0.0.1:3000/ good morning
"""

import socket
import sys

from pyjows.frames import Opcode
from pyjows.protocol import SEND_EOF, State
from pyjows.sansio import ClientPerMessageDeflateFactory, ClientProtocol, Response, parse_uri


def main() -> None:
    uri = parse_uri(sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000/')
    words = sys.argv[2:]
    unanswered = len(words)
    message = b''

    protocol = ClientProtocol(uri, extensions=[ClientPerMessageDeflateFactory()], defer_close=True)
    protocol.send_request(protocol.connect())
    with socket.create_connection((uri.host, uri.port)) as sock:
        while True:
            for data in protocol.data_to_send():
                if data == SEND_EOF:
                    sock.shutdown(socket.SHUT_WR)
                else:
                    sock.sendall(data)
            if protocol.state is State.CLOSED:
                break
            if data := sock.recv(65536):
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            for event in protocol.events_received():
                if isinstance(event, Response):
                    if protocol.handshake_exc is None:
                        for word in words:
                            protocol.send_text(word.encode())
                    else:
                        print('Refused:', event.status_code)
                        sys.exit(1)
                elif event.opcode in (Opcode.TEXT, Opcode.CONT):
                    message += event.data
                    if event.fin:
                        print(message.decode())
                        message = b''
                        unanswered -= 1
                        if unanswered == 0:
                            protocol.send_close(1000, 'done')

    if protocol.handshake_exc is None:
        print('Closed:', protocol.close_code)


try:
    main()
except KeyboardInterrupt:
    pass
except (OSError, ValueError) as exc:
    sys.exit(str(exc))
