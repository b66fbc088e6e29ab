"""What `serve` and `connect` take for TLS: files, names, client certificates, reloading; and other peers."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import websockets.asyncio.client
import websockets.asyncio.server

import pyjows
from pyjows import TLS
from pyjows.ioloop import IOLoop

pytestmark = pytest.mark.wide(later=True)

Until = Callable[..., None]


class Files:
    """PEM files of a private authority."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / 'ca.pem'
        self.authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *names: str) -> tuple[Path, Path]:
        """A certificate and its key, in files called `name`."""
        issued = self.authority.issue_cert(*names, common_name=name)
        cert, key = self.folder / f'{name}.pem', self.folder / f'{name}.key'
        cert.write_bytes(b''.join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return cert, key


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of all tests here; `server` and `client` are issued."""
    files = Files(tmp_path_factory.mktemp('tls'))
    files.issue('server', 'localhost', '127.0.0.1')
    files.issue('client', 'ann@example.org')
    return files


@pytest.fixture
def server_tls(files: Files) -> TLS:
    return TLS(files.folder / 'server.pem', files.folder / 'server.key')


@pytest.fixture
def serve(ioloop: IOLoop, run_until: Until, assert_idle: Any) -> Any:
    """``serve(*urls, **options)``: a server that echoes, stopped after the test."""
    servers: list[pyjows.Server] = []

    def start(*urls: str, **options: Any) -> pyjows.Server:
        server = pyjows.serve(*(urls or ('wss://127.0.0.1:0',)), ioloop=ioloop, **options)

        @server.on
        def websocket(server: pyjows.Server, ws: pyjows.WebSocket) -> None:
            ws.on('text', lambda ws, text: ws.send(text=f'echo {text}'))

        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
    run_until(
        ioloop,
        lambda: not ioloop.connections and not any(ioloop.statistics()[k] for k in ('tls_handshakes', 'dialers')),
    )
    assert_idle(ioloop)


@pytest.fixture
def outcome(ioloop: IOLoop, run_until: Until) -> Callable[..., Any]:
    """``outcome(url, **options)``: the open WebSocket, or the error that came instead, or the close code."""

    def connect(url: str, **options: Any) -> Any:
        ws = pyjows.connect(url, ioloop=ioloop, **options)
        got: list[Any] = []
        ws.on('text', lambda ws, text: got.append(ws))
        ws.on('error', lambda ws, exc: got.append(exc))
        ws.on('finish', lambda ws, code, reason: got.append(code))
        ws.send(text='hello')
        run_until(ioloop, lambda: got)
        return got[0]

    return connect


def subject(certificate: Any) -> str:
    """The common name in a certificate."""
    return dict(pair for part in certificate['subject'] for pair in part)['commonName']


def test_certificates_come_from_files(serve: Any, outcome: Any, files: Files, server_tls: TLS) -> None:
    server = serve(tls=server_tls)
    ws = outcome(server.urls[0], tls=TLS(ca=files.ca))
    assert ws.peer_certificate['subjectAltName'] == (('DNS', 'localhost'), ('IP Address', '127.0.0.1'))
    assert [each.peer_certificate for each in server.connections] == [None]
    assert isinstance(outcome(server.urls[0]), ssl.SSLCertVerificationError)  # nobody is trusted without being named
    assert outcome(server.urls[0], tls=TLS(verify=False)).peer_certificate is None  # nothing was verified


def test_a_url_names_the_certificate(serve: Any, outcome: Any, files: Files, server_tls: TLS) -> None:
    cert, key = server_tls.cert, server_tls.key
    server = serve(f'wss://127.0.0.1:0?cert={cert}&key={key}', 'ws://127.0.0.1:0')
    assert [url.partition(':')[0] for url in server.urls] == ['wss', 'ws']
    assert not any('?' in url for url in server.urls)
    assert isinstance(outcome(server.urls[0], tls=TLS(ca=files.ca)), pyjows.WebSocket)
    strict = serve(f'wss://127.0.0.1:0/?cert={cert}&key={key}&ca={files.ca}&verify=1')
    assert not isinstance(outcome(strict.urls[0], tls=TLS(ca=files.ca)), pyjows.WebSocket)
    with_certificate = TLS(files.folder / 'client.pem', files.folder / 'client.key', ca=files.ca)
    assert isinstance(outcome(strict.urls[0], tls=with_certificate), pyjows.WebSocket)


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_show_certificates(serve: Any, outcome: Any, files: Files, server_tls: TLS, version: Any) -> None:
    ours = ssl.create_default_context(cafile=files.ca)
    ours.maximum_version = version
    server = serve(tls=TLS(server_tls.cert, server_tls.key, ca=files.ca))
    refused = outcome(server.urls[0], tls=ours)
    if version == ssl.TLSVersion.TLSv1_2:
        assert isinstance(refused, ssl.SSLError)
    else:  # a client is done before the server has looked at its certificate
        assert isinstance(refused, pyjows.HandshakeError)
        assert isinstance(refused.__cause__, ssl.SSLError)
        assert 'certificate required' in str(refused)
    ours.load_cert_chain(files.folder / 'client.pem', files.folder / 'client.key')
    ws = outcome(server.urls[0], tls=ours)
    (theirs,) = server.connections
    assert subject(theirs.peer_certificate) == 'client'
    assert theirs.peer_certificate['subjectAltName'] == (('email', 'ann@example.org'),)
    ws.terminate()
    assert ws.peer_certificate is None

    either = serve(tls=TLS(server_tls.cert, server_tls.key, ca=files.ca, verify='optional'))
    assert isinstance(outcome(either.urls[0], tls=TLS(ca=files.ca)), pyjows.WebSocket)
    assert isinstance(outcome(either.urls[0], tls=ours), pyjows.WebSocket)
    assert {each.peer_certificate is None for each in either.connections} == {True, False}


def test_the_name_that_a_client_asks_for_chooses_the_certificate(
    serve: Any, outcome: Any, files: Files, server_tls: TLS
) -> None:
    sni = {
        'example.org': TLS(*files.issue('one', 'example.org')),
        '*.example.net': TLS(*files.issue('two', '*.example.net')),
    }
    server = serve(tls=TLS(server_tls.cert, server_tls.key, sni=sni))
    shown = {}
    for name in ('localhost', 'Example.org', 'a.example.net'):
        ws = outcome(server.urls[0], tls=TLS(ca=files.ca), server_hostname=name)
        shown[name] = subject(ws.peer_certificate)
    assert shown == {'localhost': 'server', 'Example.org': 'one', 'a.example.net': 'two'}
    for name in ('other.org', 'b.a.example.net'):
        assert isinstance(
            outcome(server.urls[0], tls=TLS(ca=files.ca), server_hostname=name), ssl.SSLCertVerificationError
        )


@pytest.mark.parametrize('verify', [True, 'optional'])
def test_clients_show_certificates_whichever_name_they_ask_for(
    serve: Any, outcome: Any, files: Files, server_tls: TLS, verify: Any, tmp_path: Path
) -> None:
    sni = {'example.org': TLS(*files.issue('one', 'example.org'))}
    server = serve(tls=TLS(server_tls.cert, server_tls.key, ca=files.ca, verify=verify, sni=sni))
    known = TLS(files.folder / 'client.pem', files.folder / 'client.key', ca=files.ca)
    unknown = TLS(*Files(tmp_path).issue('eve', 'eve@example.org'), ca=files.ca)
    for name in ('localhost', 'example.org'):
        ws = outcome(server.urls[0], tls=known, server_hostname=name)
        assert isinstance(ws, pyjows.WebSocket), ws
        (theirs,) = server.connections
        assert subject(theirs.peer_certificate) == 'client'
        ws.terminate()
        assert isinstance(outcome(server.urls[0], tls=unknown, server_hostname=name), OSError | pyjows.HandshakeError)
        anonymous = outcome(server.urls[0], tls=TLS(ca=files.ca), server_hostname=name)
        assert isinstance(anonymous, pyjows.WebSocket) is (verify == 'optional')
        if verify == 'optional':
            anonymous.terminate()


def test_certificates_are_replaced_without_a_restart(
    ioloop: IOLoop, run_until: Until, serve: Any, outcome: Any, files: Files, tmp_path: Path
) -> None:
    cert, key = tmp_path / 'cert.pem', tmp_path / 'key.pem'

    def install(name: str) -> None:
        for source, target in zip(files.issue(name, '127.0.0.1'), (cert, key), strict=True):
            shutil.copy(source, target)

    install('old')
    server = serve(tls=TLS(cert, key))
    url, trusting = server.urls[0], TLS(ca=files.ca)
    before = outcome(url, tls=trusting)
    install('new')
    assert subject(outcome(url, tls=trusting).peer_certificate) == 'old'
    assert server.reload_tls() is server
    assert subject(outcome(url, tls=trusting).peer_certificate) == 'new'

    key.write_text('no key')
    with pytest.raises(ValueError, match=r'cert=.*key=.*: not a certificate and its private key in PEM'):
        server.reload_tls()
    cert.unlink()
    with pytest.raises(FileNotFoundError, match='cannot be read: No such file'):
        server.reload_tls()
    assert subject(outcome(url, tls=trusting).peer_certificate) == 'new'
    server.reload_tls(TLS(*files.issue('third', '127.0.0.1')))
    assert subject(outcome(url, tls=trusting).peer_certificate) == 'third'

    got: list[str] = []
    before.on('text', lambda ws, text: got.append(text))
    before.send(text='still here')
    run_until(ioloop, lambda: got == ['echo still here'])
    assert subject(before.peer_certificate) == 'old'


def test_a_context_is_replaced_by_another_one(serve: Any, outcome: Any, files: Files, server_tls: TLS) -> None:
    def context(name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*files.issue(name, '127.0.0.1'))
        return made

    server = serve(tls=context('first'))
    with pytest.raises(ValueError, match=r'serve\(\) was given an ssl.SSLContext, of which no files are known'):
        server.reload_tls()
    server.reload_tls(context('second'))
    assert subject(outcome(server.urls[0], tls=TLS(ca=files.ca)).peer_certificate) == 'second'
    with pytest.raises(TypeError, match=r"reload_tls\(\): tls takes an ssl.SSLContext .* not 'cert.pem'"):
        server.reload_tls('cert.pem')
    plain = serve('ws://127.0.0.1:0')
    with pytest.raises(ValueError, match=r'reload_tls\(\): the server has no tls='):
        plain.reload_tls()


def test_a_context_of_the_other_side_is_refused_at_the_call(serve: Any, ioloop: IOLoop, server_tls: TLS) -> None:
    of_clients = ssl.create_default_context()
    with pytest.raises(ValueError, match=r"serve\(\): .*is a client's: .*PROTOCOL_TLS_SERVER"):
        serve(tls=of_clients)
    server = serve(tls=server_tls)
    with pytest.raises(ValueError, match=r"reload_tls\(\): .*is a client's: .*PROTOCOL_TLS_SERVER"):
        server.reload_tls(of_clients)
    with pytest.raises(ValueError, match=r"connect\(\): .*is a server's: .*PROTOCOL_TLS_CLIENT"):
        pyjows.connect(server.urls[0], ioloop=ioloop, tls=server_tls.server_context())


def test_http_1_1_is_negotiated(serve: Any, outcome: Any, files: Files, server_tls: TLS) -> None:
    server = serve(tls=server_tls)
    chosen = []
    server.on('websocket', lambda server, ws: chosen.append(ws.protocol.stream.socket.selected_alpn_protocol()))
    outcome(server.urls[0], tls=TLS(ca=files.ca))
    assert chosen == ['http/1.1']


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'cert': 5}, TypeError, r'TLS\(\): cert takes the path of a PEM file, not 5'),
        ({'cert': 'a', 'key': b'k'}, TypeError, r"TLS\(\): key takes the path of a PEM file, not b'k'"),
        ({'key': 'key.pem'}, ValueError, r"TLS\(\): key='key.pem' without cert"),
        ({'verify': 'yes'}, ValueError, r"TLS\(\): verify takes True, False or 'optional', not 'yes'"),
        ({'cert': 'a', 'password': 5}, TypeError, r'TLS\(\): password takes a str, bytes or a function'),
        ({'cert': 'a', 'sni': 'example.org'}, TypeError, r'TLS\(\): sni takes a dict'),
        ({'cert': 'a', 'sni': {'example.org': 'cert.pem'}}, TypeError, r'TLS\(\): sni takes a dict of TLS by name'),
        ({'cert': 'a', 'sni': {'a.*': TLS('b')}}, ValueError, r"TLS\(\): sni has the name 'a\.\*'"),
        ({'cert': 'a', 'sni': {'a.org': TLS('b', ca='c')}}, ValueError, r"sni\['a.org'\] takes cert, key and password"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TLS(**options)


@pytest.mark.parametrize(
    ('query', 'options', 'message'),
    [
        ('', {'tls': TLS(ca='ca.pem')}, 'a server needs a certificate'),
        ('', {'tls': TLS('a', verify=True)}, 'verify=True without ca'),
        ('?certificate=a', {}, 'has certificate=a: its query takes cert=, key=, ca= and verify='),
        ('?cert=a&cert=b', {}, 'its query takes cert=, key=, ca= and verify=, each once'),
        ('?cert=a&verify=yes', {}, 'has verify=yes: it takes 0, 1 or optional'),
        ('?cert=a', {'tls': TLS('a')}, 'has a query: tls= has the certificate already'),
        ('?key=a', {}, "key='a' without cert"),
    ],
)
def test_a_server_refuses_what_is_no_certificate(
    ioloop: IOLoop, query: str, options: dict[str, Any], message: str, assert_idle: Any
) -> None:
    with pytest.raises(ValueError) as refusal:
        pyjows.serve(f'wss://127.0.0.1:0{query}', ioloop=ioloop, **options)
    assert message in str(refusal.value)
    assert_idle(ioloop)


def test_files_are_named_when_they_cannot_be_used(ioloop: IOLoop, files: Files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"TLS\(\): cert='.*nowhere.pem' or key=None cannot be read: No"):
        pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=TLS(str(tmp_path / 'nowhere.pem')))
    with pytest.raises(FileNotFoundError, match=r"TLS\(\): ca='.*nowhere.pem' cannot be read: No such file"):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls=TLS(ca=str(tmp_path / 'nowhere.pem')))
    (tmp_path / 'empty.pem').touch()
    with pytest.raises(ValueError, match=r"TLS\(\): ca='.*empty.pem' is not a PEM file with certificates"):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls=TLS(ca=str(tmp_path / 'empty.pem')))
    with pytest.raises(ValueError, match="verify='optional' is for servers"):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls=TLS(ca=files.ca, verify='optional'))
    with pytest.raises(ValueError, match='sni is for servers'):
        pyjows.connect('wss://127.0.0.1', ioloop=ioloop, tls=TLS(sni={'a.org': TLS('cert.pem')}))
    with pytest.raises(ValueError, match='only the certificate of wss:// goes there'):
        pyjows.serve('ws://127.0.0.1:0?cert=a', ioloop=ioloop)
    assert repr(TLS('a', password='secret')) == "TLS(cert='a')"


def test_a_password_opens_the_key(serve: Any, outcome: Any, files: Files, server_tls: TLS, tmp_path: Path) -> None:
    locked = tmp_path / 'locked.key'
    subprocess.run(
        ['openssl', 'pkey', '-in', server_tls.key, '-aes256', '-passout', 'pass:sesame', '-out', locked], check=True
    )
    server = serve(tls=TLS(server_tls.cert, locked, password=lambda: 'sesame'))
    assert isinstance(outcome(server.urls[0], tls=TLS(ca=files.ca)), pyjows.WebSocket)
    with pytest.raises(ValueError, match='not a certificate and its private key'):
        serve(tls=TLS(server_tls.cert, locked, password='wrong'))


# Other programs


def beside(ioloop: IOLoop, run_until: Until, work: Callable[[], Any]) -> Any:
    """What `work` returns, which runs in a thread while the loop serves it."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(work())
        except BaseException as exc:
            got.append(exc)
        ioloop.call_threadsafe(lambda loop: None)

    thread = threading.Thread(target=run)
    thread.start()
    run_until(ioloop, lambda: got)
    thread.join()
    if isinstance(got[0], BaseException):
        raise got[0]
    return got[0]


SIZES = [1, 100, 16_384, 70_000, 200_000]


@pytest.mark.wide(who=['aiohttp'])
@pytest.mark.parametrize('who', ['websockets', 'aiohttp'])
def test_clients_of_other_libraries_are_served(
    ioloop: IOLoop, run_until: Until, serve: Any, files: Files, server_tls: TLS, who: str
) -> None:
    server = serve(tls=server_tls)
    url = server.urls[0]
    trusting = ssl.create_default_context(cafile=files.ca)

    async def by_websockets() -> list[str]:
        async with websockets.asyncio.client.connect(url, ssl=trusting, proxy=None, max_size=None) as ws:
            answers = []
            for size in SIZES:
                await ws.send('x' * size)
                answers.append(str(await ws.recv()))
            return answers

    async def by_aiohttp() -> list[str]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, ssl=trusting, max_msg_size=0) as ws:
            answers = []
            for size in SIZES:
                await ws.send_str('x' * size)
                answers.append(await ws.receive_str())
            sock = ws.get_extra_info('socket')
        async with asyncio.timeout(15):
            while sock.fileno() != -1:  # with TLS, aiohttp's session does not wait for its connections to be closed
                await asyncio.sleep(0.005)
        return answers

    talk = by_websockets if who == 'websockets' else by_aiohttp
    answers = beside(ioloop, run_until, lambda: asyncio.run(talk()))
    assert [len(answer) for answer in answers] == [size + 5 for size in SIZES]


def test_a_server_of_another_library_is_talked_to(ioloop: IOLoop, run_until: Until, files: Files) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(files.folder / 'server.pem', files.folder / 'server.key')
    got: list[int] = []

    def talk(port: int) -> None:
        ws = pyjows.connect(f'wss://localhost:{port}', ioloop=ioloop, tls=TLS(ca=files.ca))

        @ws.on
        def open(ws: pyjows.WebSocket) -> None:
            for size in SIZES:
                ws.send(binary=bytes(size))

        @ws.on
        def binary(ws: pyjows.WebSocket, data: bytes) -> None:
            got.append(len(data))
            if len(got) == len(SIZES):
                ws.finish()

    async def echo(ws: Any) -> None:
        async for message in ws:
            await ws.send(message)

    async def serve() -> None:
        async with websockets.asyncio.server.serve(echo, '127.0.0.1', 0, ssl=theirs, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            ioloop.call_threadsafe(lambda loop: talk(port))
            while len(got) < len(SIZES) or ioloop.connections:
                await asyncio.sleep(0.01)

    beside(ioloop, run_until, lambda: asyncio.run(serve()))
    assert got == SIZES


def test_without_openssl_the_ssl_module_is_called(files: Files, server_tls: TLS) -> None:
    program = """
import sys, pyjows
server = pyjows.serve('wss://127.0.0.1:0', tls=pyjows.TLS(sys.argv[1], sys.argv[2]))
server.on('websocket', lambda server, ws: ws.on('text', lambda ws, text: ws.send(text=text)))
ws = pyjows.connect(server.urls[0], tls=pyjows.TLS(ca=sys.argv[3]))
ws.on('open', lambda ws: ws.send(text='hi'))
ws.on('text', lambda ws, text: (print(type(ws.protocol.stream).__name__, text, flush=True), pyjows.stop()))
pyjows.run()
"""
    arguments = [sys.executable, '-c', program, server_tls.cert, server_tls.key, files.ca]
    for chosen in ('1', '0'):
        env = os.environ | {'PYJOWS_OPENSSL': chosen}
        done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=60)
        name, _, said = done.stdout.strip().partition(' ')
        assert said == 'hi', done.stderr
        if chosen == '0' or not pyjows.__compiled__:
            assert name == 'TLSStream'
