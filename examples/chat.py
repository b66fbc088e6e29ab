"""A chat room for the browser: names, history, who is here, who is typing.

Run it and open the printed address in two windows:

    python examples/chat.py
    python examples/chat.py ws://0.0.0.0:3000       # for your whole network

The page (chat.html, beside this file) and the WebSocket share one port. All messages are JSON objects with a `type`:

    from the page    join (name), say (text), typing (typing)
    to the page      welcome (name, people, history), joined and left (name, people), said (id, name, text, time),
                     typing (name, typing), refused (reason)
"""

import sys
import time
import uuid
from collections import deque
from pathlib import Path

import pyjows

PAGE = Path(__file__).with_name('chat.html').read_text('utf-8')
MAX_NAME, MAX_TEXT, MAX_HISTORY = 24, 2000, 200


class Room:
    """The members and the history. Every message goes to all members."""

    def __init__(self) -> None:
        self.people: dict[pyjows.WebSocket, str] = {}
        self.history: deque[dict[str, object]] = deque(maxlen=MAX_HISTORY)

    def join(self, ws: pyjows.WebSocket, wanted: str) -> None:
        name = self.free_name(wanted)
        self.people[ws] = name
        ws.send(json={'type': 'welcome', 'name': name, 'people': self.names(), 'history': list(self.history)})
        self.tell({'type': 'joined', 'name': name, 'people': self.names()}, but=ws)

    def leave(self, ws: pyjows.WebSocket) -> None:
        if name := self.people.pop(ws, None):
            self.tell({'type': 'left', 'name': name, 'people': self.names()})

    def say(self, ws: pyjows.WebSocket, text: str) -> None:
        message = {'type': 'said', 'id': uuid.uuid4().hex, 'name': self.people[ws], 'text': text, 'time': time.time()}
        self.history.append(message)
        self.tell(message)

    def typing(self, ws: pyjows.WebSocket, typing: bool) -> None:
        self.tell({'type': 'typing', 'name': self.people[ws], 'typing': typing}, but=ws)

    def tell(self, message: dict[str, object], but: pyjows.WebSocket | None = None) -> None:
        server.broadcast(json=message, to=[ws for ws in self.people if ws is not but])

    def names(self) -> list[str]:
        return sorted(self.people.values(), key=str.casefold)

    def free_name(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.people.values():
            name, number = f'{wanted} {number}', number + 1
        return name


server = pyjows.serve(sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000')
room = Room()


@server.on
def request(server, req):
    if req.path == '/':
        return pyjows.Response.html(PAGE)


@server.on
def websocket(server, ws):

    @ws.on
    def json(ws, message):
        match message:
            case {'type': 'join', 'name': str(name)} if ws not in room.people and name.strip():
                room.join(ws, name.strip()[:MAX_NAME])
            case {'type': 'say', 'text': str(text)} if ws in room.people and text.strip():
                room.say(ws, text.strip()[:MAX_TEXT])
            case {'type': 'typing', 'typing': bool(typing)} if ws in room.people:
                room.typing(ws, typing)
            case _:
                ws.send(json={'type': 'refused', 'reason': 'Not understood. Join first, then say something.'})

    @ws.on
    def finish(ws, code, reason):
        room.leave(ws)


print(f'Chat: http://127.0.0.1:{server.ports[0]}/', flush=True)
pyjows.run()
