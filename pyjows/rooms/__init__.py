"""Rooms: publishing to the members of a room, in one process or in many; with history and presence.

`messages.py` has the values, `room.py` one room, `hub.py` all rooms of a process, `engine.py` the interface to what
carries messages between processes. `memory.py`, `redis.py` and `nats.py` are the engines; the last
two share `broker.py`, and are imported only when they are used.
"""

from .engine import Engine, Keep
from .hub import Rooms, rooms
from .messages import MalformedEntry, Message, PayloadTooLarge, Position, QueueFull, RoomLimit, RoomRefused
from .room import Member, Room

__all__ = [
    'Engine',
    'Keep',
    'MalformedEntry',
    'Member',
    'Message',
    'PayloadTooLarge',
    'Position',
    'QueueFull',
    'Room',
    'RoomLimit',
    'RoomRefused',
    'Rooms',
    'rooms',
]
