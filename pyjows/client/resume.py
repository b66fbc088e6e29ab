"""`Positions`: the last position of each room that a client has received, to be sent when it connects again.

Owns remembering the positions of numbered messages and writing them into a URL. Must not know how or when a connection
is made (`reconnect.py`), nor what the server does with the positions (`rooms/`).
"""

from __future__ import annotations

import re
from urllib.parse import quote

from .. import _json

__all__ = ['Positions']

# A name and a position as rooms write them: both come from the server, and go into the next request.
_NAME = re.compile(r'[A-Za-z0-9_.:/-]{1,128}', re.ASCII)
_POSITION = re.compile(r'[0-9a-f]{1,32}:[0-9]{1,16}', re.ASCII)

# Rooms that are remembered, the most recent ones: all of them have to fit into a request.
_MAX_ROOMS = 64


class Positions(dict[str, str]):
    """The last position of each room: room → ``epoch:offset``."""

    def remember(self, message: str) -> None:
        """Remember the position of a text message, if it is an envelope of a room."""
        if not message.startswith('{"room":'):
            return
        try:
            envelope = _json.loads(message.encode())
        except ValueError:
            return
        room, position = envelope.get('room'), envelope.get('position')
        if isinstance(room, str) and isinstance(position, str) and _NAME.fullmatch(room):
            if not _POSITION.fullmatch(position):
                return
            self.pop(room, None)
            self[room] = position
            if len(self) > _MAX_ROOMS:
                del self[next(iter(self))]

    def into(self, url: str) -> str:
        """The URL with ``since=room@epoch:offset,…`` in its query; as it was while there is no position."""
        if not self:
            return url
        since = ','.join(f'{room}@{position}' for room, position in self.items())
        return f'{url}{"&" if "?" in url else "?"}since={quote(since, safe="@:,")}'
