"""TLS with Node's `ws` as the other side, both ways, with a private authority; on every reactor."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from byhand import log
from test_peers import WS_CLIENT, NodeClient, node_modules

import pyjows

__all__ = ['node_modules']

pytestmark = [pytest.mark.slow, pytest.mark.wide(later=True)]

MESSAGES = ['hi', '', 'Grüße 👋', b'\x00\xff', 'x' * 70_000, b'y' * 200_000]


@pytest.fixture(scope='module')
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The paths of a server's certificate, a client's, their keys, and the authority's."""
    folder: Path = tmp_path_factory.mktemp('pem')
    paths = {name: str(folder / f'{name}.pem') for name in ('ca', 'cert', 'key', 'client_cert', 'client_key')}
    authority.cert_pem.write_to_path(paths['ca'])
    for prefix, name in (('', 'localhost'), ('client_', 'ann@example.com')):
        issued = authority.issue_cert(name, *(['127.0.0.1'] if not prefix else []))
        issued.cert_chain_pems[0].write_to_path(paths[f'{prefix}cert'])
        issued.private_key_pem.write_to_path(paths[f'{prefix}key'])
    return paths


@pytest.fixture
def server(reactor_name: str) -> Iterator[Any]:
    """``server(tls)``: the URL of our echo server, on a loop in a thread; `seen` has the names of the certificates."""
    loop = pyjows.IOLoop(reactor_name)
    running: list[Any] = []

    def start(tls: pyjows.TLS) -> Any:
        server = pyjows.serve('wss://127.0.0.1:0', ioloop=loop, tls=tls, compression=True)
        server.seen = []

        @server.on
        def websocket(server, ws):
            server.seen.append(ws.peer_certificate and ws.peer_certificate['subjectAltName'])
            ws.on('message', lambda ws, message: ws.send(message))

        thread = threading.Thread(target=loop.start)
        thread.start()
        running.extend([server, thread])
        return server

    yield start
    if running:
        loop.call_threadsafe(lambda loop: running[0].stop())
        running[1].join(30)
        assert not running[1].is_alive()
    loop.close()


@pytest.fixture
def node(node_modules: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``node(server, **environment)``: Node's client, with the files that its environment names."""
    monkeypatch.setattr(NodeClient, 'modules', node_modules)
    clients: list[NodeClient] = []

    def connect(server: Any, *, compression: bool = False, **environment: str) -> NodeClient:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        clients.append(NodeClient(server.urls[0].replace('127.0.0.1', 'localhost'), [], {}, compression))
        return clients[-1]

    yield connect
    for client in clients:
        client.release()


@pytest.mark.parametrize('compression', [False, True])
def test_nodes_client_trusts_our_server_by_the_authority(server, node, files, compression):
    running = server(pyjows.TLS(files['cert'], files['key']))
    client = node(running, compression=compression, NODE_EXTRA_CA_CERTS=files['ca'])
    assert client.compressed is compression
    for message in MESSAGES:
        client.send(message)
        assert client.receive() == message
    client.ping(b'sign')
    client.close(4001, 'done')
    assert client.closed() == (4001, 'done')
    assert running.seen == [None]


def test_nodes_client_shows_its_certificate_to_our_server(server, node, files):
    running = server(pyjows.TLS(files['cert'], files['key'], ca=files['ca']))
    environment = {'NODE_EXTRA_CA_CERTS': files['ca'], 'CERT': files['client_cert'], 'KEY': files['client_key']}
    client = node(running, **environment)
    client.send('hi')
    assert client.receive() == 'hi'
    assert running.seen == [(('email', 'ann@example.com'),)]


def test_nodes_client_without_a_certificate_is_not_let_in(server, node, files):
    running = server(pyjows.TLS(files['cert'], files['key'], ca=files['ca']))
    with pytest.raises(AssertionError, match='certificate required|ECONNRESET|socket hang up|closed'):
        node(running, NODE_EXTRA_CA_CERTS=files['ca'])
    assert running.seen == []


def test_nodes_client_does_not_trust_our_server_without_the_authority(server, node, files, monkeypatch):
    monkeypatch.delenv('NODE_EXTRA_CA_CERTS', raising=False)
    running = server(pyjows.TLS(files['cert'], files['key']))
    with pytest.raises(AssertionError, match='unable to (verify|get)|self.signed'):
        node(running)
    assert running.seen == []


@pytest.fixture(scope='module')
def node_server(node_modules: str, files: dict[str, str]) -> Iterator[str]:
    """The URL of Node's echo server."""
    command = ['node', str(WS_CLIENT.with_name('echo_server.js')), files['cert'], files['key']]
    with subprocess.Popen(command, env={'NODE_PATH': node_modules}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip().replace('127.0.0.1', 'localhost')
        process.kill()


@pytest.mark.parametrize('compression', [False, True])
def test_our_client_trusts_nodes_server_by_the_authority(ioloop, run_until, node_server, files, compression):
    tls = pyjows.TLS(ca=files['ca'])
    ws = pyjows.connect(node_server, ioloop=ioloop, tls=tls, compression=compression)
    received: list[Any] = []
    ws.on('message', lambda ws, message: received.append(message))
    for message in MESSAGES:
        ws.send(message)
    run_until(ioloop, lambda: len(received) == len(MESSAGES))
    assert received == MESSAGES
    assert ws.compressed is compression
    seen = log(ws, 'finish')
    ws.send(text='close')
    run_until(ioloop, lambda: seen)
    assert seen == [('finish', 4005, 'as you wish')]


def test_our_client_does_not_trust_nodes_server_without_the_authority(ioloop, run_until, node_server):
    ws = pyjows.connect(node_server, ioloop=ioloop)
    seen = log(ws, 'error', 'finish')
    run_until(ioloop, lambda: len(seen) == 2)
    assert isinstance(seen[0][1], ssl.SSLCertVerificationError)
    assert "tls=TLS(ca='ca.pem')" in str(seen[0][1])
