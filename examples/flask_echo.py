"""A WebSocket route in a Flask application, with blocking calls.

    pip install flask
    python examples/flask_echo.py                   # then: python examples/blocking_client.py
    gunicorn --threads 100 --chdir examples flask_echo:app

Werkzeug's development server, Gunicorn with threads or gevent, gevent's and Eventlet's servers can do it.
"""

import sys

from pyjows.simple import ConnectionError, Server

try:
    from flask import Flask, request
except ImportError as exc:
    sys.exit(f'{exc}: pip install flask')

app = Flask(__name__)


@app.route('/echo', websocket=True)
def echo() -> str | tuple[str, int]:
    try:
        ws = Server.accept(request.environ, ping_interval=25)
    except ConnectionError as exc:
        return 'this is for WebSockets\n', exc.status_code or 400
    with ws:
        for message in ws:  # str or bytes, until the connection is closed
            ws.send(message)
    print('Closed:', int(ws.close_reason), ws.close_message or '', flush=True)
    return ''


if __name__ == '__main__':
    try:
        app.run(port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000, threaded=True)
    except (OSError, OverflowError, ValueError) as exc:
        sys.exit(str(exc))
