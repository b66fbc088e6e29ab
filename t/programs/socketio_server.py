# A python-socketio server in threading mode.
import sys

import socketio
from flask import Flask

sio = socketio.Server(async_mode='threading')
app = Flask(__name__)
app.wsgi_app = socketio.WSGIApp(sio, app.wsgi_app)


@sio.event
def connect(sid, environ):
    sio.emit('welcome', {'transport': sio.transport(sid)}, to=sid)


@sio.on('add')
def add(sid, numbers):
    return sum(numbers)


@sio.on('tell')
def tell(sid, data):
    sio.emit('told', data)


@sio.event
def disconnect(sid, reason):
    print('gone:', reason, flush=True)


if __name__ == '__main__':
    app.run(port=int(sys.argv[1]), threaded=True)
