"""HTTP and WebSocket on one port: a page, a health check, a WebSocket that counts, and 404 for everything else.

python examples/http_and_ws.py
curl -i http://127.0.0.1:3000/health
"""

import sys

import pyjows

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Counter</title>
<button>Count</button> <output>0</output>
<script>
  const ws = new WebSocket(location.href.replace('http', 'ws') + 'count');
  ws.onmessage = event => document.querySelector('output').value = event.data;
  document.querySelector('button').onclick = () => ws.send('up');
</script></html>"""

try:
    server = pyjows.serve(sys.argv[1] if len(sys.argv) > 1 else 'ws://127.0.0.1:3000')
    print(f'Counter: http://127.0.0.1:{server.ports[0]}/', flush=True)
except (OSError, ValueError) as exc:
    sys.exit(str(exc))
count = 0


@server.on
def request(server: pyjows.Server, req: pyjows.Request) -> pyjows.Response | None:
    """A plain HTTP request; returning None is a 404."""
    if req.path == '/':
        return pyjows.Response.html(PAGE)
    if req.path == '/health':
        return pyjows.Response.json({'ok': True, 'count': count, 'connections': len(server.connections)})
    return None


@server.on
def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    """A request for an upgrade: nothing is answered yet, so this is the place to refuse it."""
    path = ws.req.path if ws.req else ''
    if path != '/count':
        ws.reject(404, body=f'there is no WebSocket at {path}, try /count\n')
        return
    ws.send(text=str(count))

    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        global count
        count += 1
        server.broadcast(text=str(count))


pyjows.run()
