"""A server with rooms and its guests, on a loop of the test; two of them share a broker as two processes would."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pyjows

__all__ = ['Gathering', 'Guest', 'gatherings', 'join_and_leave', 'lost']


class Guest:
    """A client, and all that it was told."""

    def __init__(self, url: str, ioloop: Any, **options: Any) -> None:
        self.heard: list[Any] = []
        self.code: int | None = None
        self.ws = pyjows.connect(url, ioloop=ioloop, **options)
        self.ws.on('message', lambda ws, message: self.heard.append(message))
        self.ws.on('error', lambda ws, exc: None)
        self.ws.on('finish', lambda ws, code, reason: setattr(self, 'code', code))

    @property
    def envelopes(self) -> list[dict[str, Any]]:
        """What a numbered member was told."""
        return [json.loads(message) for message in self.heard]

    @property
    def data(self) -> list[Any]:
        """What was published, without the notices."""
        return [envelope['data'] for envelope in self.envelopes if 'data' in envelope]

    @property
    def positions(self) -> list[str]:
        return [envelope['position'] for envelope in self.envelopes if 'data' in envelope]

    @property
    def recovered(self) -> list[bool | None]:
        """What the notices said."""
        return [envelope['recovered'] for envelope in self.envelopes if 'recovered' in envelope]

    @property
    def position(self) -> str:
        """The last position that it knows; an empty string before the first envelope."""
        return str(self.envelopes[-1]['position']) if self.envelopes else ''

    def has_no_gap(self) -> bool:
        """Whether each position follows the one before, except where it was told that something is lost."""
        at: tuple[str, int] | None = None
        for envelope in self.envelopes:
            epoch, _, offset = envelope['position'].partition(':')
            if 'data' in envelope and at != (epoch, int(offset) - 1):
                return False
            at = epoch, int(offset)
        return True


class Gathering:
    """Rooms, and a server that has its clients join them as their URLs say."""

    def __init__(
        self,
        ioloop: Any,
        run_until: Callable[..., None],
        url: str = 'memory://',
        *,
        compression: bool | None = None,
        **options: Any,
    ) -> None:
        self.ioloop = ioloop
        self.compression = compression
        self.run_until = run_until
        self.events: list[tuple[Any, ...]] = []
        self.errors: list[BaseException] = []
        self.members: list[Any] = []
        self.rooms = pyjows.rooms(url, ioloop=ioloop, **options)
        self.rooms.on('lost', lambda rooms, exc: self.events.append(('lost',)))
        self.rooms.on('back', lambda rooms: self.events.append(('back',)))
        self.rooms.on('error', lambda rooms, exc: self.errors.append(exc))
        self.server = pyjows.serve('ws://127.0.0.1:0', ioloop=ioloop, compression=compression)
        self.server.on('websocket', self._websocket)

    def _websocket(self, server: Any, ws: Any) -> None:
        asked = {name: values[0] for name, values in ws.req.query_params.items()}
        since = ws.req.query_params.get('since')
        for name in asked.get('room', 'lobby').split(','):
            member = self.rooms[name].join(
                ws,
                info={'name': asked.get('name')},
                since=since,
                history=int(asked.get('history', '0')),
                numbered='numbered' in asked,
            )
            self.members.append(member)

    def guest(self, **query: Any) -> Guest:
        """A client on its way."""
        return Guest(f'{self.server.urls[0]}/?{urlencode(query)}', self.ioloop, compression=self.compression)

    def join(self, **query: Any) -> Guest:
        """A client whose joins are complete."""
        before = len(self.members)
        guest = self.guest(**query)
        rooms = len(query.get('room', 'lobby').split(','))
        self.until(lambda: len(self.members) == before + rooms and all(m.joined for m in self.members[before:]))
        self.until(lambda: guest.ws.established)
        return guest

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        self.run_until(self.ioloop, condition, seconds)

    def names(self, room: str = 'lobby') -> list[str]:
        """Who is present, as known here."""
        return sorted(str(info['name']) for info in self.rooms[room].members().values())

    def close(self) -> None:
        """End everything; nothing may be left."""
        self.server.stop()
        self.until(lambda: not self.server.connections)
        self.rooms.close()
        self.until(lambda: self.rooms.is_closed)


@contextmanager
def gatherings(
    ioloop: Any, run_until: Any, assert_idle: Any, default_url: str = 'memory://', **defaults: Any
) -> Iterator[Callable[..., Gathering]]:
    """Makes gatherings on one loop, each as a process of its own; nothing may be left of them, no thread either."""
    made: list[Gathering] = []
    threads = set(threading.enumerate())

    def gather(url: str = default_url, **options: Any) -> Gathering:
        made.append(Gathering(ioloop, run_until, url, **{**defaults, **options}))
        return made[-1]

    yield gather
    for gathering in made:
        gathering.close()
    run_until(ioloop, lambda: not ioloop.connections)
    assert_idle(ioloop)
    assert not set(threading.enumerate()) - threads


def join_and_leave(gathering: Gathering, count: int, subscriptions: Callable[[], int]) -> list[int]:
    """Join so many rooms and leave them, three times; returns how many objects there were after each."""
    gathering.join(room='stays')
    objects = []
    for _ in range(3):
        guest = gathering.join(room='first')
        ws = gathering.members.pop().ws
        for i in range(count):
            gathering.rooms[f'room-{i}'].join(ws)
        gathering.until(lambda: all(room.is_ready for room in gathering.rooms), 60)
        assert len(gathering.rooms) == count + 2
        gathering.until(lambda: subscriptions() == count + 2, 60)
        guest.ws.finish()
        gathering.until(lambda: len(gathering.rooms) == 1, 60)
        gathering.until(lambda: subscriptions() == 1, 60)
        assert gathering.rooms.flush(30)  # the leaves
        del ws, guest
        gc.collect()
        objects.append(len(gc.get_objects()))
    return objects


def lost(gathering: Gathering) -> str:
    """Follow a room whose broker cannot be reached; returns the text of the loss."""
    told: list[str] = []
    gathering.rooms.once('lost', lambda rooms, exc: told.append(str(exc)))
    gathering.rooms['lobby'].follow()
    gathering.until(lambda: told)
    return told[0]
