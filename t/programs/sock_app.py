# Flask-Sock's two usual shapes, an echo and a chat; run by Flask, Gunicorn or gevent.
import sys

if sys.argv[2:] == ['gevent']:
    from gevent import monkey
    monkey.patch_all()

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
app.config['SOCK_SERVER_OPTIONS'] = {'ping_interval': 25, 'subprotocols': ['chat']}
sock = Sock(app)
clients = []


@sock.route('/echo')
def echo(ws):
    while True:
        data = ws.receive()
        if data == 'close':
            break
        ws.send(data)


@sock.route('/chat/<name>')
def chat(ws, name):
    clients.append(ws)
    try:
        while True:
            data = ws.receive()
            for client in list(clients):
                client.send(f'{name}: {data}')
    finally:
        clients.remove(ws)


@sock.route('/clock')
def clock(ws):
    number = 0
    while ws.connected:
        number += 1
        ws.send(str(number))
        if ws.receive(timeout=0.01) == 'stop':
            ws.close(reason=4000, message='stopped')


if __name__ == '__main__':
    if sys.argv[2:] == ['gevent']:
        from gevent.pywsgi import WSGIServer
        WSGIServer(('127.0.0.1', int(sys.argv[1])), app, log=None).serve_forever()
    else:
        app.run(port=int(sys.argv[1]))
