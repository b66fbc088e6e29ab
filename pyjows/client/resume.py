"""`Positions`: the last position of each room that a client has received, to be sent when it connects again.

Owns remembering the positions of numbered messages and writing them into a URL. Must not know how or when a connection
is made (`reconnect.py`), nor what the server does with the positions (`rooms/`).
"""

from __future__ import annotations

import re
from urllib.parse import quote

__all__ = ['Positions']

# How a message for a numbered member begins: a name and a position as rooms write them. Both come from the server, and
# go into the next request.
_ENVELOPE = re.compile(
    r'\{"room":\s*"([A-Za-z0-9_.:/-]{1,128})",\s*"position":\s*"([0-9a-f]{1,32}:[0-9]{1,16})"', re.ASCII
)

# Bytes of all positions in a URL: nginx takes request lines of 8 KiB, pyjows headers of 16 KiB.
_MAX_SIZE = 7000

# More rooms than ever fit into a URL.
_MAX_ROOMS = 1200


class Positions(dict[str, str]):
    """The last position of each room: room → ``epoch:offset``; the most recent ones, which are last."""

    def remember(self, message: str) -> None:
        """Remember the position of a text message, if it is an envelope of a room."""
        if envelope := _ENVELOPE.match(message):
            room, position = envelope.groups()
            self.pop(room, None)
            self[room] = position
            if len(self) > _MAX_ROOMS:
                del self[next(iter(self))]

    def into(self, url: str) -> str:
        """The URL with ``since=room@epoch:offset,…`` in its query; as it was while there is no position.

        They come before a ``since`` that the URL has: of two positions of a room, the first counts. Those that do not
        fit are left out, and ``more`` says so: it is no position, so that what was missed in other rooms is reported as
        not recovered.
        """
        if not self:
            return url
        parts: list[str] = []
        size = 0
        for room, position in reversed(self.items()):
            part = quote(f'{room}@{position}', safe='@:')
            size += len(part) + 1
            if size > _MAX_SIZE:
                parts.append('more')
                break
            parts.append(part)
        target, _, query = url.partition('?')
        return f'{target}?since={",".join(parts)}{"&" if query else ""}{query}'
