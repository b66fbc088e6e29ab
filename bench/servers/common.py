"""What every server script shares: its options, and how it says where it listens. Knows no WebSocket library."""

import argparse
import asyncio
import signal
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ['HOST', 'MAX_SIZE', 'announce', 'options', 'run_asyncio', 'run_uvloop', 'tls_context']

HOST = '127.0.0.1'
MAX_SIZE = 16 * 2**20  # bytes: every server accepts messages of this size

#: What a server does with a message.
MODES = {
    'echo': 'send a binary message back',
    'text': 'send a text message back: str in, str out',
    'json': 'decode a JSON text, encode it again and send it back',
    'deflate': 'as text, with permessage-deflate',
    'broadcast': 'send a binary message to every connection',
    'asgi': 'as text, in an ASGI application',
    'coroutine': 'send a binary message back, from a coroutine that has the connection: `async for`',
    'any': 'send text and binary messages back',
    'idle': 'as text, with the three handlers that an ordinary application registers',
}


def announce(port: int) -> None:
    """Tell the suite that the server listens."""
    print(f'port={port}', flush=True)


def options(*more: str) -> argparse.Namespace:
    """Parse the command line; `more` are further options that this server needs."""
    parser = argparse.ArgumentParser(formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        '--mode', choices=MODES, default='echo', help='\n'.join(f'{name}: {what}' for name, what in MODES.items())
    )
    parser.add_argument('--limit', type=int, default=3600, metavar='SECONDS', help='stop after so long')
    parser.add_argument('--tls', metavar='FOLDER', help='speak TLS, with cert.pem and key.pem of this folder')
    for name in more:
        parser.add_argument(name)
    parsed = parser.parse_args()
    signal.alarm(parsed.limit)  # nobody is left to hang when the suite is killed
    return parsed


def tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """The context that `--tls` asks for, the same for every server."""
    if options.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f'{options.tls}/cert.pem', f'{options.tls}/key.pem')
    return context


def run_asyncio(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a server on asyncio's own loop."""
    asyncio.run(main())


def run_uvloop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a server on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
