"""Socket activation: the listening sockets that systemd hands over (sd_listen_fds(3)).

Owns the environment variables of that protocol. Must not know servers.
"""

from __future__ import annotations

import os
import socket

__all__ = ['systemd_sockets']

_FIRST = 3


def systemd_sockets() -> list[socket.socket]:
    """The sockets that this process was started with, in the order of the unit; empty if there are none.

    ::

        server = pyjows.serve(sockets=pyjows.systemd_sockets())

    They are taken once: the variables are removed, so that child processes do not take them too.

    Raises:
        ValueError: the variables are malformed.
        OSError: a descriptor is not a socket.
    """
    pid, number = os.environ.get('LISTEN_PID'), os.environ.get('LISTEN_FDS')
    if pid is None or number is None:
        return []
    if not pid.isdecimal() or not number.isdecimal():
        raise ValueError(f'LISTEN_PID={pid!r} and LISTEN_FDS={number!r} have to be numbers')
    if int(pid) != os.getpid():
        return []
    for name in ('LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'):
        os.environ.pop(name, None)
    sockets: list[socket.socket] = []
    for fd in range(_FIRST, _FIRST + int(number)):
        try:
            os.set_inheritable(fd, False)
            sockets.append(socket.socket(fileno=fd))
        except OSError as exc:
            for opened in sockets:
                opened.close()
            raise OSError(
                exc.errno, f'LISTEN_FDS={number}, but descriptor {fd} is not a socket: {exc.strerror}'
            ) from exc
    return sockets
