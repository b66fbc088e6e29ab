"""picows' client with websockets' interface, on uvloop."""

from picows.websockets.asyncio.client import connect

from bench.clients.websockets_client import run

if __name__ == '__main__':
    run(connect)
