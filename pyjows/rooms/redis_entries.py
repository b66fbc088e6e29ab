"""Reading what Redis has of rooms: any program may have written there, so anything may be in it.

Owns the format of what is published, kept in the stream, and kept of members. What is malformed is a ValueError. Must
not know the connection (`redis.py`), nor the scripts that write (`redis_scripts.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .. import _json
from .messages import Message, check_payload

__all__ = ['read_channel', 'read_members', 'read_stream', 'read_word']

_POSITION = re.compile(rb'm([0-9a-f]{1,32}):([1-9][0-9]{0,14}) ')
_ENTRY = re.compile(rb'([0-9]{1,15}) ([tbj])')
_ID = re.compile(rb'([1-9][0-9]{0,14})-0')
_WORD = re.compile(rb'[!-~]{1,256}')


def read_channel(room: str, data: bytes) -> Message | tuple[bytes, str, str, bytes]:
    """What was published on a room's channel.

    Returns:
        A message; or ``(kind, process, member, info)``: ``j`` joined, ``l`` left (info is empty), ``h`` the process has
        replaced its entry of members (member is empty too).
    """
    kind = data[:1]
    if kind == b'm':
        found = _POSITION.match(data)
        if found is None:
            raise ValueError(f'a message without a position: {data[:60]!r}')
        return _message(room, found[1].decode(), int(found[2]), data, found.end())
    words = data[1:].split(b' ', 2)
    if len(words) != {b'j': 3, b'l': 2, b'h': 1}.get(kind):
        raise ValueError(f'neither a message nor a join nor a leave: {data[:60]!r}')
    return kind, read_word(words[0]), read_word(words[1]) if kind != b'h' else '', words[2] if kind == b'j' else b''


def read_stream(room: str, epoch: str, id: Any, fields: Any) -> Message:
    """A message from an entry of a room's stream."""
    found = _ID.fullmatch(id)
    if found is None or len(fields) != 2 or fields[0] != b'm':
        raise ValueError(f'an entry {id!r} of the stream that is not a message: {fields!r:.60}')
    return _message(room, epoch, int(found[1]), fields[1], 0)


def _message(room: str, epoch: str, offset: int, data: bytes, start: int) -> Message:
    """A message from the time in milliseconds, a space, the kind and the payload."""
    found = _ENTRY.match(data, start)
    if found is None:
        raise ValueError(f'a message without a time or a kind: {data[:60]!r}')
    kind, payload = found[2], data[found.end() :]
    check_payload(kind, payload)
    return Message(room, epoch, offset, int(found[1]) / 1000, kind, payload)


def read_members(flat: Sequence[bytes], malformed: Callable[[ValueError], object]) -> dict[str, Any]:
    """id → info of a reply ``[id, info, …]``; `malformed` is called for each that is skipped."""
    members: dict[str, Any] = {}
    for id, info in zip(flat[::2], flat[1::2], strict=True):
        try:
            members[read_word(id)] = _json.loads(info)
        except ValueError as exc:
            malformed(exc)
    return members


def read_word(data: bytes) -> str:
    """The id of a process or of a member."""
    if not _WORD.fullmatch(data):
        raise ValueError(f'not the id of a process or of a member: {data[:60]!r}')
    return data.decode()
