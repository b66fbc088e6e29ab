"""A chat room for the browser: names, history, presence, typing; in one process or in several.

Run it and open the printed address in two windows:

    python examples/chat.py
    python examples/chat.py ws://0.0.0.0:3000                             # for your whole network
    python examples/chat.py --workers 2 --redis redis://127.0.0.1         # two processes, one room; HUP replaces them

The page (chat.html), its client (rooms.js) and the WebSocket share one port. All messages are JSON objects with a
`type`:

    from the page    join (name, key), say (text, ref), typing (typing)
    to the page      welcome (me, people, history), joined and left (member, who), typing (who, typing), slow,
                     alive (every 20 seconds), refused (reason), served (by);  and numbered, by the room:
                     said (id, by, text, time)

A person is {id, name, hue}. The id is a hash of the key, a secret of the page: two people may have the same name, and
a page that reconnects with its key is the same person. A page gets the list of people once, as {member: person}, and
keeps it with joined and left; a person with two windows is two members. Only this server's page may connect (Origin),
and programs, which send no Origin.
"""

import argparse
import hashlib
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any
from unicodedata import category
from urllib.parse import urlsplit

import pyjows
from pyjows.rooms import Member, Room

HERE = Path(__file__).parent
PAGE = (HERE / 'chat.html').read_text('utf-8')
SCRIPT = (HERE / 'rooms.js').read_text('utf-8')
MAX_NAME, MAX_TEXT, MAX_HISTORY, MAX_WORD = 24, 2000, 200, 64
HIDDEN = {'Cc', 'Cf', 'Cs', 'Zl', 'Zp'}  # categories of Unicode: control, format, half a character, line, paragraph
HUES = range(0, 360, 15)

parser = argparse.ArgumentParser(description='A chat room for the browser.')
parser.add_argument('url', nargs='?', default='ws://127.0.0.1:3000', help='where to listen')
parser.add_argument('--workers', type=int, default=1, help='how many processes (with --redis)')
parser.add_argument('--redis', default='memory://', metavar='URL', help='what they share, redis://127.0.0.1')


def readable(name: str) -> str:
    """A name on one line, as it looks: without control characters and marks that turn the direction of the text.

    Of the invisible characters, those that join the parts of an emoji or of a word stay, but not alone.
    """
    line = ' '.join(name[: 4 * MAX_NAME].split())
    shown = ''.join(one for one in line if one in '\u200c\u200d' or category(one) not in HIDDEN)
    return shown.strip(' \u200c\u200d')[:MAX_NAME].rstrip(' \u200c\u200d')


def chat(server: pyjows.Server, engine: str, workers: int) -> None:
    """One process of the chat."""
    rooms = pyjows.rooms(engine, history_size=MAX_HISTORY)
    lobby = rooms['lobby'].follow()
    typing = rooms.room('typing', history_size=0, presence=False)

    def person(wanted: str, key: str) -> dict[str, Any]:
        """A person with this name, numbered if another has it, and with a colour far from those of the others."""
        id = hashlib.sha256(key.encode()).hexdigest()[:16]
        others = [other for other in lobby.members().values() if other['id'] != id] if lobby.is_ready else []
        names, hues = {other['name'] for other in others}, {other['hue'] for other in others}
        name, number = wanted, 2
        while name in names:
            name, number = f'{wanted} {number}', number + 1

        def distance(hue: int) -> int:
            return min((180 - abs(180 - abs(hue - other)) for other in hues), default=180)

        first = HUES[int(id, 16) % len(HUES)]  # the same at each visit, unless another has one like it
        hue = first if distance(first) >= 45 else max([first, *HUES], key=distance)
        return {'id': id, 'name': name, 'hue': hue}

    def tell_others(member: Member, what: str) -> None:
        """Each process learns of joins and leaves by itself, and tells its own connections."""
        others = [other.ws for other in lobby.local_members if other is not member]
        pyjows.broadcast(others, json={'type': what, 'member': member.id, 'who': member.info})

    @lobby.on
    def join(lobby: Room, member: Member) -> None:
        if member.ws is not None:
            # A recovered member has been sent what it missed; another one gets the whole history.
            history = [] if member.recovered else [message.data for message in lobby.history()]
            welcome = {'type': 'welcome', 'me': member.info, 'people': lobby.members(), 'history': history}
            member.ws.send(json=welcome)
        tell_others(member, 'joined')

    @lobby.on
    def leave(lobby: Room, member: Member) -> None:
        tell_others(member, 'left')

    late: set[pyjows.WebSocket] = set()  # slow readers, who get a notice when all is written

    def look_for_slow_ones(ioloop: pyjows.IOLoop) -> None:
        late.update(member.ws for member in lobby.local_members if not member.ws.can_write)

    timers = [
        server.ioloop.recurring(look_for_slow_ones, 0.5),
        server.ioloop.recurring(lambda ioloop: server.broadcast(json={'type': 'alive'}), 20),
    ]
    server.on('finish', lambda server: [server.ioloop.remove(timer) for timer in timers])

    @server.on
    def request(server: pyjows.Server, req: pyjows.Request) -> pyjows.Response | None:
        if req.path == '/':
            return pyjows.Response.html(PAGE)
        if req.path == '/rooms.js':
            return pyjows.Response(200, {'Content-Type': 'text/javascript; charset=utf-8'}, SCRIPT)
        return None

    @server.on
    def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
        me: Member | None = None
        origin = ws.req.headers.get('origin') if ws.req else None
        if origin is not None and urlsplit(origin).netloc != ws.host:
            ws.reject(403, body='This chat is for its own page.\n')
            return
        if workers > 1:
            ws.send(json={'type': 'served', 'by': os.getpid()})

        @ws.on
        def json(ws: pyjows.WebSocket, message: object) -> None:
            nonlocal me
            match message:
                case {'type': 'join', 'name': str(name), **more} if me is None and (name := readable(name)):
                    key = more.get('key')
                    key = key if isinstance(key, str) and 16 <= len(key) <= MAX_WORD else uuid.uuid4().hex
                    info = person(name, key)
                    since = ws.req.query_params.get('since') if ws.req else None
                    me = lobby.join(ws, info, since=since, numbered=True)
                    typing.join(ws)
                case {'type': 'say', 'text': str(text), **more} if me and me.joined and text.strip():
                    ref = more.get('ref')
                    ref = ref if isinstance(ref, str) and len(ref) <= MAX_WORD else uuid.uuid4().hex
                    id, text = f'{me.info["id"]}.{ref}', text.strip()[:MAX_TEXT]
                    said = {'type': 'said', 'id': id, 'by': me.info, 'text': text, 'time': time.time()}
                    if not lobby.publish(json=said):
                        ws.send(json={'type': 'refused', 'reason': 'Too much is waiting. Try again later.'})
                case {'type': 'typing', 'typing': bool(is_typing)} if me and me.joined:
                    typing.publish(json={'type': 'typing', 'who': me.info, 'typing': is_typing})
                case _:
                    ws.send(json={'type': 'refused', 'reason': 'Not understood. Join first, then say something.'})

        @ws.on
        def drain(ws: pyjows.WebSocket) -> None:
            if ws in late:
                late.discard(ws)
                ws.send(json={'type': 'slow'})

        @ws.on
        def finish(ws: pyjows.WebSocket, code: int, reason: str) -> None:
            late.discard(ws)


def app(sockets: Any) -> None:
    """Called in each worker."""
    options = parser.parse_args()
    server = pyjows.serve(sockets=sockets)
    chat(server, options.redis, options.workers)
    with suppress(BrokenPipeError):  # nobody reads the output any more
        print(f'Chat: http://127.0.0.1:{server.ports[0]}/ (worker {os.getpid()})', flush=True)


if __name__ == '__main__':
    options = parser.parse_args()
    if options.workers < 1:
        parser.error('--workers takes 1 or more')
    if options.workers > 1 and options.redis == 'memory://':
        parser.error('several workers need --redis redis://…: memory belongs to one process')
    try:
        pyjows.rooms(options.redis).close()  # a wrong URL is an error here, not in each worker
        if options.workers > 1:
            pyjows.prefork('chat:app', options.url, workers=options.workers)
            parser.exit()
        server = pyjows.serve(options.url)
        chat(server, options.redis, 1)
    except OSError as exc:
        parser.error(f'{exc}; another address is given as ws://127.0.0.1:4000')
    except (ImportError, RuntimeError, ValueError) as exc:  # RuntimeError: no worker could start
        parser.error(str(exc))
    with suppress(BrokenPipeError):
        print(f'Chat: http://127.0.0.1:{server.ports[0]}/', flush=True)
    pyjows.run()
