"""`pyjows.simple`'s clients with everybody else's servers, plain and TLS with a private CA, and with proxies."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from program import Program
from test_peers import node_modules  # noqa: F401
from test_proxy import Proxy

from pyjows.simple import AioClient, Client, ConnectionClosed, ConnectionError

pytestmark = pytest.mark.slow

PEERS = Path(__file__).parent / 'peers'


class Blocking:
    """`AioClient`, called as if it were `Client`: one list of tests for both."""

    def __init__(self, runner: asyncio.Runner, ws: AioClient) -> None:
        self.runner = runner
        self.ws = ws

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.ws, name)
        if name not in ('send', 'receive', 'close'):
            return found
        return lambda *args, **options: self.run(found(*args, **options))

    def run(self, call: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            async with asyncio.timeout(40):
                return await call

        return self.runner.run(whole())


@pytest.fixture(params=['Client', 'AioClient'])
def connect(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == 'Client':
        yield lambda url, client=Client, **options: client.connect(url, **options)
        return
    with asyncio.Runner() as runner:

        def connect(url: str, client: Any = Client, **options: Any) -> Blocking:
            kind = type('AioClient', (AioClient,), {'proxy': client.proxy})
            return Blocking(runner, runner.run(kind.connect(url, **options)))

        yield connect


@pytest.fixture(scope='module', params=['websockets', 'aiohttp', 'pyjows', 'node'])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope='module', params=['ws', 'wss'])
def server(request: pytest.FixtureRequest, library: str, authority: trustme.CA, tmp_path_factory: Any) -> Iterator[Any]:
    """The URL of a server, and the context for it."""
    options: list[str] = []
    trusting = None
    if request.param == 'wss':
        folder = tmp_path_factory.mktemp('tls')
        issued = authority.issue_cert('127.0.0.1')
        issued.private_key_and_cert_chain_pem.write_to_path(folder / 'pem')
        options = [str(folder / 'pem')] * 2
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
    if library == 'node':
        modules = request.getfixturevalue('node_modules')
        node = subprocess.Popen(
            ['node', str(PEERS / 'echo_server.js'), *options],
            env={**os.environ, 'NODE_PATH': modules},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert node.stdout is not None
        yield node.stdout.readline().strip(), trusting
        node.kill()
        node.wait()
        node.stdout.close()
    else:
        with Program(PEERS / 'echo_server.py', library, *options) as program:
            yield program.find(r'wss?://\S+'), trusting


def test_messages_of_all_sizes_come_back(connect, server):
    url, context = server
    ws = connect(url, ssl_context=context)
    for message in ('Grüße 👋', b'\x00\xff', '', b'', 'x' * 70_000, os.urandom(1 << 20), 'ä' * (1 << 19)):
        ws.send(message)
        assert ws.receive(timeout=30) == message
    ws.close()


def test_many_messages_under_way_keep_their_order(connect, server):
    url, context = server
    ws = connect(url, ssl_context=context)
    for number in range(500):
        ws.send(f'{number} ' + 'x' * number)
    for number in range(500):
        assert ws.receive(timeout=30) == f'{number} ' + 'x' * number
    ws.close()


def test_a_subprotocol_is_agreed_on(connect, server):
    url, context = server
    ws = connect(url, ssl_context=context, subprotocols=['superchat', 'none'])
    assert ws.subprotocol == 'superchat'
    ws.close()


def test_the_servers_close_arrives(connect, server):
    url, context = server
    ws = connect(url, ssl_context=context)
    ws.send('close')
    with pytest.raises(ConnectionClosed) as closed:
        ws.receive(timeout=30)
    assert (closed.value.reason, closed.value.message, ws.connected) == (4005, 'as you wish', False)


def test_our_close_is_answered(connect, server, library):
    url, context = server
    ws = connect(url, ssl_context=context)
    ws.close(4002, 'enough')
    assert (ws.close_reason, ws.connected) == (1000 if library == 'aiohttp' else 4002, False)


@pytest.mark.parametrize('server', ['wss'], indirect=True)
def test_a_certificate_of_nobody_we_trust_is_refused(connect, server):
    url, _ = server
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(url)


def test_a_proxy_leads_to_the_server(connect, server, proxy):
    class Proxied(Client):
        pass

    Proxied.proxy = proxy
    url, context = server
    ws = connect(url, Proxied, ssl_context=context)
    ws.send('by the proxy')
    assert ws.receive(timeout=30) == 'by the proxy'
    ws.close()


@pytest.fixture(scope='module')
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Proxy(tmp_path_factory.mktemp('proxy')) as running:
        yield f'http://127.0.0.1:{running.port}'


def test_a_proxy_that_refuses_is_a_connection_error(connect, tmp_path):
    class Proxied(Client):
        pass

    with Proxy(tmp_path, '--basic-auth', 'ann:open sesame') as guarded:
        Proxied.proxy = f'http://127.0.0.1:{guarded.port}'
        with pytest.raises(ConnectionError) as refused:
            connect('ws://127.0.0.1:9/', Proxied)
    assert refused.value.status_code == 407
