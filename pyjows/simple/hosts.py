"""Where each WSGI server keeps the socket of a request, and the request as the server has it.

Owns the differences between the servers. Must not know what is done with the socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ['find_socket', 'request_headers', 'request_target', 'request_version']

_HOSTS = (
    "Werkzeug's development server, Gunicorn with --threads (gthread) or -k gevent, gevent.pywsgi, Eventlet, and any "
    "threaded server that puts its socket into environ['pyjows.socket']"
)


def find_socket(environ: Mapping[str, Any]) -> tuple[Any, str]:
    """The socket of a WSGI request, and the mode: the name of the server's kind.

    Raises:
        TypeError: that is not the environment, or not a socket in it.
        RuntimeError: the server does not hand it out, or cannot serve a connection that stays open.
    """
    if not isinstance(environ, Mapping):
        raise TypeError(
            f'Server.accept() takes the environ of a WSGI request, in Flask request.environ, not {environ!r}'
        )
    if 'pyjows.socket' in environ:
        if not hasattr(environ['pyjows.socket'], 'fileno'):
            raise TypeError(f"environ['pyjows.socket'] has to be a connected socket, not {environ['pyjows.socket']!r}")
        return environ['pyjows.socket'], 'custom'
    if 'werkzeug.socket' in environ:
        return environ['werkzeug.socket'], 'werkzeug'
    if 'gunicorn.socket' in environ:
        if environ.get('wsgi.multithread') is False:
            raise RuntimeError(
                'a sync worker of Gunicorn serves one connection at a time and is killed by its timeout: run Gunicorn '
                'with --threads 100, or with -k gevent'
            )
        return environ['gunicorn.socket'], 'gunicorn'
    if 'eventlet.input' in environ:
        return environ['eventlet.input'].get_socket(), 'eventlet'
    if 'gunicorn.sock' in environ:  # its gevent_pywsgi worker
        return environ['gunicorn.sock'], 'gevent'
    if str(environ.get('SERVER_SOFTWARE', '')).startswith('gevent'):
        body = environ['wsgi.input']
        if not hasattr(body, 'raw') and hasattr(body, 'rfile'):
            body = body.rfile
        if hasattr(body, 'raw'):
            return body.raw._sock, 'gevent'
    software = environ.get('SERVER_SOFTWARE') or 'this server'
    raise RuntimeError(
        f'Cannot obtain socket from WSGI environment: {software} does not hand it out. Those that do: {_HOSTS}.'
    )


def request_headers(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The header fields of a WSGI request."""
    return [
        (key[5:].replace('_', '-').title(), value.strip())
        for key, value in environ.items()
        if key.startswith('HTTP_') and isinstance(value, str)
    ]


def request_target(environ: Mapping[str, Any]) -> str:
    """The target of a WSGI request, as it was sent where the server says so."""
    target = environ.get('RAW_URI') or environ.get('REQUEST_URI')
    if not target:
        path = str(environ.get('SCRIPT_NAME', '')) + str(environ.get('PATH_INFO', ''))
        target = quote(path.encode('latin-1'), safe="/;=,:@!$&'()*+~") or '/'
        if environ.get('QUERY_STRING'):
            target += f'?{environ["QUERY_STRING"]}'
    return str(target)


def request_version(environ: Mapping[str, Any]) -> str:
    """The HTTP version of a WSGI request."""
    if 'eventlet.input' in environ:
        return 'HTTP/1.1'  # Eventlet has HTTP/1.0 there, whatever was sent
    return str(environ.get('SERVER_PROTOCOL', 'HTTP/1.1'))
