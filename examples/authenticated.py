"""Authentication: origins, and a token in a header, a cookie, the query or the list of subprotocols.

    python examples/authenticated.py

Then open http://127.0.0.1:3000/ (user ann, password wonder), or connect with the token of a program:

    python examples/echo_client.py 'ws://127.0.0.1:3000/?token=robot-token' hello
"""

import secrets
import sys

import pyjows

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Members</title>
<p id="log">connecting …</p>
<script>
  const ws = new WebSocket(location.href.replace('http', 'ws'));
  ws.onmessage = event => document.getElementById('log').textContent = event.data;
</script></html>"""

PASSWORDS = {'ann': 'wonder'}
TOKENS = {'robot-token': 'robot'}  # of programs; keep yours out of the source
SESSIONS: dict[str, str] = {}  # the sessions of browsers: token → name


def token_of(request: pyjows.Request) -> str:
    """The token of a request. A browser cannot set headers of a WebSocket: it has the first three places."""
    # The query ends up in logs: only for tokens that are short-lived.
    places = [request.cookies.get('session'), *request.query_params.get('token', [])]
    # new WebSocket(url, ['chat', 'token.' + token]): the server must not choose the token as the subprotocol.
    places += [name.removeprefix('token.') for name in request.subprotocols if name.startswith('token.')]
    places.append(pyjows.auth.bearer_token(request))  # what programs send
    return next((token for token in places if token), '')


def authenticate(request: pyjows.Request) -> str | None:
    """The identity, kept as ws.user. None refuses, and so does an exception."""
    token = token_of(request)
    return pyjows.auth.find_secret(token, SESSIONS) or pyjows.auth.find_secret(token, TOKENS)


log_in = pyjows.auth.basic(PASSWORDS, realm='members')

try:
    server = pyjows.serve(
        sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000',
        origins=['http://127.0.0.1:3000', 'http://localhost:3000', None],  # None: programs, which have no Origin
        authenticate=authenticate,
        subprotocols=['chat'],
    )
    print(f'Members: http://127.0.0.1:{server.ports[0]}/', flush=True)
except (OSError, ValueError) as exc:
    sys.exit(str(exc))


@server.on
def request(server: pyjows.Server, req: pyjows.Request) -> pyjows.Response | None:
    """The page asks for name and password, and leaves a cookie."""
    if req.path != '/':
        return None
    user = log_in(req)
    if isinstance(user, pyjows.Response):
        return user
    session = secrets.token_urlsafe()
    SESSIONS[session] = user
    cookie = f'session={session}; HttpOnly; SameSite=Strict; Path=/'  # behind TLS: ; Secure
    return pyjows.Response(200, {'Content-Type': 'text/html; charset=utf-8', 'Set-Cookie': cookie}, PAGE)


@server.on
def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    """Only those get here who may."""
    ws.send(text=f'Hello, {ws.user}')

    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        ws.send(text=message)


pyjows.run()
