"""Two WebSockets talk with no loop, no socket and no thread: bytes out of one, into the other.

    python examples/by_hand.py

Server and client in pyjows work like this too; a program with its own I/O uses `WebSocket` in the same way.
"""

import pyjows

client = pyjows.WebSocket()
server = pyjows.WebSocket()


@server.on
def request(server: pyjows.WebSocket) -> None:
    assert server.req
    print('server: asked for', server.req.path)


@server.on
def json(server: pyjows.WebSocket, question: dict[str, list[int]]) -> None:
    print('server: got', question)
    server.send(json={'answer': sum(question['add'])})


@client.on
def open(client: pyjows.WebSocket) -> None:
    print('client: open')
    client.send(json={'add': [19, 23]})


@client.on('json')
def answered(client: pyjows.WebSocket, answer: dict[str, int]) -> None:
    print('client: got', answer)
    client.finish(1000, 'thank you')


@server.on
def finish(server: pyjows.WebSocket, code: int, reason: str) -> None:
    print('server: closed with', code, reason)


@client.on('finish')
def finished(client: pyjows.WebSocket, code: int, reason: str) -> None:
    print('client: closed with', code, reason)


client.client_handshake('ws://example.com/sums')

while True:
    there = client.client_write()
    server.server_read(there)
    back = server.server_write()
    client.client_read(back)
    if not there and not back:
        break

server.closed()
client.closed()
