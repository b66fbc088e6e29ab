# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What mypy and pyright know of a program: `nox -s types` checks this file with both, and nothing runs it.

A line that ends with `# type: ignore` is wrong: a checker that does not refuse it reports the comment.
"""

import pyjows

ws = pyjows.WebSocket(masked=True, ping_interval=5)


@ws.on
def open(ws: pyjows.WebSocket) -> None: ...


@ws.on('text')
async def text(ws: pyjows.WebSocket, message: str) -> None: ...


@ws.on('binary')  # type: ignore
def binary(ws: pyjows.WebSocket, message: str) -> None: ...


@ws.once('custom')
def custom(ws: pyjows.WebSocket, number: int) -> None: ...


def takes_bytes(ws: pyjows.WebSocket, message: bytes) -> None: ...


ws.on('binary', takes_bytes)
ws.on(takes_bytes, 'binary')
ws.on('text', takes_bytes)  # type: ignore
ws.on('text', lambda ws, message: ws.send(text=message.upper()))
ws.on('text', lambda ws, message: message.decode())  # type: ignore
ws.on('finish', lambda ws, code, reason: print(code + 1, reason.upper()))
ws.on('finish', lambda ws, code: None)  # type: ignore
ws.add_listener('custom', custom)

server = pyjows.serve('ws://127.0.0.1:0', handshake_timeout=3, compression=True, max_queue=4)
server.on('websocket', lambda server, ws: ws.on('json', lambda ws, value: server.broadcast(json=value)))
server.on('websocket', lambda server, ws: ws.on('text', lambda ws, message: message.decode()))  # type: ignore
pyjows.serve('ws://127.0.0.1:0', max_conections=3)  # type: ignore
pyjows.serve('ws://127.0.0.1:0', handshake_timeout='3')  # type: ignore
pyjows.connect('ws://127.0.0.1', timeout=3, ping_timeout=None, headers={'a': 'b'})
pyjows.connect('ws://127.0.0.1', timout=3)  # type: ignore
pyjows.connect('ws://127.0.0.1', max_backlog='3')  # type: ignore
pyjows.reconnect('ws://127.0.0.1', stable_after=3, timeout=3, tls=True)
pyjows.reconnect('ws://127.0.0.1', timout=3)  # type: ignore
pyjows.WebSocket(establishd=True)  # type: ignore


async def coroutine() -> None:
    async with pyjows.connect('ws://127.0.0.1') as ws:
        async for message in ws:
            print(message.swapcase())
            message.encode()  # type: ignore
        print((await ws.receive(text=True)).upper(), (await ws.receive(binary=True)).hex())
        (await ws.receive(text=True)).decode()  # type: ignore
        await ws.receive(text='yes')  # type: ignore
        await ws.drain()
        print((await ws.wait_closed()).code + 1)
    (await pyjows.connect('ws://127.0.0.1')).finish()
    async for ws in pyjows.reconnect(url_later, headers=lambda: {'a': 'b'}):
        ws.send(text='hello')
    pyjows.reconnect(lambda: 3)  # type: ignore


async def url_later() -> str:
    return 'ws://127.0.0.1'
