"""A web application with WebSocket routes under each host that `pyjows.simple` knows, as a program of its own.

    python simple_hosts.py werkzeug         # prints: http://127.0.0.1:40123

Routes: ``/echo`` echoes (subprotocols ``chat`` and ``superchat``; pings and a size limit by ``?ping=0.2&limit=1000``),
``/close?code=4001&reason=bye`` closes, ``/left`` tells as JSON what the process has open. ``/wait`` receives for ever,
and ``/closed`` tells how the last connection ended. ``/returns`` and ``/raises`` do so without a close.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
import threading
from typing import Any
from urllib.parse import parse_qs

HOST = sys.argv[1] if len(sys.argv) > 1 else ''

if HOST in ('gevent', 'gunicorn-gevent'):
    from gevent import monkey

    monkey.patch_all()
elif HOST == 'eventlet':
    import eventlet

    eventlet.monkey_patch()

from pyjows.simple import AioServer, ConnectionClosed, ConnectionError, Server  # noqa: E402

# The threads of gunicorn's pool: it keeps each one, and makes another when two requests overlap.
POOL = 'ThreadPoolExecutor'

ends: list[tuple[int, str | None]] = []


class Fault(Exception):
    """What ``/raises`` raises."""


def options(query: str) -> dict[str, Any]:
    given = {name: values[0] for name, values in parse_qs(query).items()}
    found: dict[str, Any] = {'subprotocols': ['chat', 'superchat']}
    if 'ping' in given:
        found['ping_interval'] = float(given['ping'])
    if 'limit' in given:
        found['max_message_size'] = int(given['limit'])
    return found


def closing(query: str) -> tuple[int, str]:
    given = parse_qs(query)
    return int(given['code'][0]), given['reason'][0]


def left() -> str:
    gc.collect()
    tasks = 0
    try:
        tasks = len(asyncio.all_tasks())
    except RuntimeError:
        pass
    greenlets = 0
    if HOST in ('gevent', 'gunicorn-gevent', 'eventlet', 'gevent-unpatched'):
        import greenlet

        greenlets = sum(isinstance(one, greenlet.greenlet) and not one.dead for one in gc.get_objects())
    found = {
        'threads': sum(not one.name.startswith(POOL) for one in threading.enumerate()),
        'tasks': tasks,
        'files': len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0,
        'greenlets': greenlets,
        'connections': sum(isinstance(one, (Server, AioServer)) for one in gc.get_objects()),
    }
    return json.dumps(found)


# WSGI


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI application; Flask's, for Werkzeug, is `flask_app`."""
    path, query = environ['PATH_INFO'], environ.get('QUERY_STRING', '')
    if path in ('/left', '/closed'):
        body = (left() if path == '/left' else json.dumps(ends)).encode()
        start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(body)))])
        return [body]
    try:
        serve(environ, path, query)
    except ConnectionError as exc:
        start_response(f'{exc.status_code} Refused', [('Content-Length', '0')])
        return [b'']
    except RuntimeError as exc:
        body = str(exc).encode()
        start_response('500 No', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
        return [body]
    if HOST == 'eventlet':
        from eventlet.wsgi import WSGI_LOCAL

        WSGI_LOCAL.already_handled = True
        return []
    if HOST.startswith('gunicorn'):
        raise StopIteration
    start_response('200 OK', [('Content-Length', '0')])  # what Werkzeug and gevent write then is for nobody
    return [b'']


def serve(environ: dict[str, Any], path: str, query: str) -> None:
    if path == '/close':
        ws = Server.accept(environ)
        code, reason = closing(query)
        ws.close(code, reason)
    elif path == '/wait':
        ws = Server.accept(environ, **options(query))
        try:
            ws.receive()
        except ConnectionClosed as exc:
            ends.append((int(exc.reason), exc.message))
        return
    elif path in ('/returns', '/raises'):
        ws = Server.accept(environ, **options(query))
        ws.send(ws.receive())
        if path == '/raises':
            raise Fault
        return
    else:
        ws = Server.accept(environ, **options(query))
        for message in ws:
            ws.send(message)
    ends.append((int(ws.close_reason), ws.close_message))


def flask_app() -> Any:
    from flask import Flask, request

    app = Flask('hosts')

    @app.route('/<path>', websocket=True)
    def websocket(path: str) -> Any:
        try:
            serve(request.environ, f'/{path}', request.query_string.decode())
        except ConnectionError as exc:
            return '', exc.status_code
        return ''

    @app.route('/left')
    def tell() -> str:
        return left()

    @app.route('/closed')
    def closed() -> str:
        return json.dumps(ends)

    return app


# asyncio


async def aio_serve(ws: Any, path: str, query: str) -> None:
    if path == '/close':
        await ws.close(*closing(query))
    elif path == '/wait':
        try:
            await ws.receive()
        except ConnectionClosed as exc:
            ends.append((int(exc.reason), exc.message))
        return
    elif path in ('/returns', '/raises'):
        await ws.send(await ws.receive())
        if path == '/raises':
            raise Fault
        return
    else:
        async for message in ws:
            await ws.send(message)
    ends.append((int(ws.close_reason), ws.close_message))


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope['type'] == 'http':
        body = (left() if scope['path'] == '/left' else json.dumps(ends)).encode()
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
        await send({'type': 'http.response.body', 'body': body})
    elif scope['type'] == 'websocket':
        query = scope['query_string'].decode()
        ws = await AioServer.accept(asgi=(scope, receive, send), **options(query))
        await aio_serve(ws, scope['path'], query)


def aiohttp_app() -> Any:
    from aiohttp import web

    async def websocket(request: Any) -> Any:
        try:
            ws = await AioServer.accept(aiohttp=request, **options(request.query_string))
        except ConnectionError as exc:
            return web.Response(status=exc.status_code)
        await aio_serve(ws, request.path, request.query_string)
        return web.Response()

    async def tell(request: Any) -> Any:
        return web.Response(text=left() if request.path == '/left' else json.dumps(ends))

    app = web.Application()
    app.add_routes(
        [web.get(path, websocket) for path in ('/echo', '/close', '/wait', '/returns', '/raises')]
        + [web.get(path, tell) for path in ('/left', '/closed')]
    )
    return app


async def bare(sock: socket.socket) -> None:
    """A server that reads requests itself, and hands the socket over."""
    loop = asyncio.get_running_loop()
    tasks = set()

    async def serve_one(connection: socket.socket) -> None:
        head = b''
        while b'\r\n\r\n' not in head:
            data = await loop.sock_recv(connection, 4096)
            if not data:
                connection.close()
                return
            head += data
        line, *fields = head.decode('latin-1').split('\r\n\r\n')[0].split('\r\n')
        path, _, query = line.split()[1].partition('?')
        headers = {name.strip(): value.strip() for name, _, value in (field.partition(':') for field in fields)}
        if path in ('/left', '/closed'):
            body = left() if path == '/left' else json.dumps(ends)
            answer = f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}'
            await loop.sock_sendall(connection, answer.encode())
            connection.close()
            return
        try:
            ws = await AioServer.accept(sock=connection, headers=headers, **options(query))
        except ConnectionError as exc:
            await loop.sock_sendall(connection, f'HTTP/1.1 {exc.status_code} No\r\n\r\n'.encode())
            connection.close()
            return
        await aio_serve(ws, path, query)

    while True:
        connection, _ = await loop.sock_accept(sock)
        connection.setblocking(False)
        task = asyncio.ensure_future(serve_one(connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        del task  # with what it raised


# The hosts


def gunicorn(worker: str, sock: socket.socket) -> None:
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for name, value in {
                'bind': [f'fd://{os.dup(sock.fileno())}'],
                'worker_class': worker,
                'threads': 100 if worker == 'gthread' else 1,
                'control_socket_disable': True,
            }.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return application

    Application().run()


def main() -> None:
    sock = socket.create_server(('127.0.0.1', 0), backlog=256)
    print(f'http://127.0.0.1:{sock.getsockname()[1]}', flush=True)
    if HOST == 'werkzeug':
        from werkzeug.serving import make_server

        make_server('127.0.0.1', 0, flask_app(), threaded=True, fd=sock.fileno()).serve_forever()
    elif HOST.startswith('gunicorn'):
        gunicorn(HOST.partition('-')[2], sock)
    elif HOST in ('gevent', 'gevent-unpatched'):
        from gevent.pywsgi import WSGIServer
        from gevent.socket import socket as gevent_socket

        listener = gevent_socket(fileno=sock.detach())
        WSGIServer(listener, application, log=None).serve_forever()
    elif HOST == 'eventlet':
        import eventlet.wsgi

        eventlet.wsgi.server(sock, application, log_output=False)
    elif HOST == 'aiohttp':
        from aiohttp import web

        web.run_app(aiohttp_app(), sock=sock, print=None)
    elif HOST == 'uvicorn':
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(asgi, log_level='warning'))
        asyncio.run(server.serve(sockets=[sock]))
    elif HOST == 'hypercorn':
        from hypercorn.asyncio import serve as hypercorn
        from hypercorn.config import Config

        config = Config()
        config.bind = [f'fd://{sock.detach()}']
        asyncio.run(hypercorn(asgi, config))
    elif HOST == 'bare':
        sock.setblocking(False)
        asyncio.run(bare(sock))
    else:
        raise SystemExit(f'no such host: {HOST}')


if __name__ == '__main__':
    main()
