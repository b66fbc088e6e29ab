"""Serves a program with several processes: `pyjows.prefork` as a command.

python -m pyjows.prefork chat:app ws://0.0.0.0:3000 --workers 4
python -m pyjows.prefork chat:app       (the sockets are those of a .socket unit of systemd)
"""

import argparse
import logging
import signal
import sys

from pyjows import systemd_sockets
from pyjows.prefork import prefork


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog='python -m pyjows.prefork', description='Serve with several processes.')
    parser.add_argument('app', help='module:function; it is called with sockets for pyjows.serve() in each worker')
    parser.add_argument('urls', nargs='*', metavar='url', help='where to listen; by default, the sockets of systemd')
    parser.add_argument('--workers', type=int, help='how many (one for each CPU)')
    parser.add_argument('--timeout', type=float, default=10.0, help='seconds that connections have to close (10)')
    parser.add_argument('--graceful', type=float, default=0.0, help='seconds over which they are closed (0)')
    given = parser.parse_args()
    if hasattr(signal, 'SIGHUP'):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # before there is a manager, and when it has stopped
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(name)s: %(message)s')
    try:
        prefork(
            given.app,
            *given.urls,
            workers=given.workers,
            sockets=() if given.urls else systemd_sockets(),
            timeout=given.timeout,
            graceful=given.graceful,
        )
    except (RuntimeError, OSError, TypeError, ValueError) as exc:
        sys.exit(str(exc))


if __name__ == '__main__':
    main()
