"""Behind a reverse proxy: sends each client its address, scheme and host, as the proxy forwards them.

python examples/behind_proxy.py                     # then: nginx -p . -c nginx.conf in examples/nginx
python examples/behind_proxy.py proxy-protocol      # then: haproxy -f haproxy.cfg in examples/haproxy
python examples/echo_client.py ws://127.0.0.1:8080 hello
"""

import sys

import pyjows

forwarding = sys.argv[1] if len(sys.argv) > 1 else 'x-forwarded'
url = sys.argv[2] if len(sys.argv) > 2 else 'ws://127.0.0.1:3000'
try:
    server = pyjows.serve(
        url,
        trusted_proxies=['127.0.0.1', 'unix'],
        forwarding=forwarding,
        max_connections_per_address=100,  # of the clients: the proxies' addresses do not count
    )
    print(f'Behind a proxy: {server.urls[0]}', flush=True)
except (OSError, ValueError) as exc:
    sys.exit(str(exc))


@server.on
def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
    ws.send(json={'address': ws.remote_address, 'scheme': ws.scheme, 'host': ws.host})

    @ws.on
    def text(ws: pyjows.WebSocket, message: str) -> None:
        ws.send(text=message)


pyjows.run()
