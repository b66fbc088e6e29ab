"""Sends what you type, prints what comes back, without a loop: calls that block.

    python examples/blocking_client.py                                      # to one of the echo servers
    python examples/blocking_client.py ws://127.0.0.1:4000/echo hello       # sends hello, prints the answer, leaves

Leave with Ctrl-D (or Ctrl-C).
"""

import sys
from contextlib import suppress

from pyjows.simple import Client, ConnectionClosed, ConnectionError

url = sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000/echo'
words = ' '.join(sys.argv[2:])

try:
    with Client.connect(url) as ws, suppress(KeyboardInterrupt):
        for line in [words] if words else sys.stdin:
            try:
                ws.send(line.rstrip('\n'))
                print(ws.receive(timeout=10), flush=True)  # None if nothing came
            except ConnectionClosed:
                break
    print(f'Closed: {int(ws.close_reason)} {ws.close_message or ""}'.rstrip(), flush=True)
except (ConnectionError, OSError, ValueError) as exc:  # ConnectionError: the server refuses, such as with a 404
    sys.exit(str(exc))
