"""Serves on the sockets that systemd hands over; without systemd, on port 3000.

python app.py                                      one process: echo.service
python -m pyjows.prefork app:app --workers 2       several: echo-prefork.service
"""

import os
import sys
from typing import Any

import pyjows


def app(sockets: Any) -> None:
    """Called once, or in each worker."""
    server = pyjows.serve(sockets=sockets) if sockets else pyjows.serve('ws://127.0.0.1:3000')

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        ws.on('text', lambda ws, message: ws.send(text=f'{os.getpid()}: {message}'))


if __name__ == '__main__':
    try:
        app(pyjows.systemd_sockets())
    except OSError as exc:
        sys.exit(str(exc))
    pyjows.run()
