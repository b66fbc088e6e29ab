"""What a program is told when it is used wrongly: function, value, rule, and the way out."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading

import pytest
from byhand import opened
from program import Program

import pyjows

pytestmark = pytest.mark.wide(later=True)


def run(tmp_path, source):
    """A program to its end: what it wrote to stderr."""
    path = tmp_path / 'program.py'
    path.write_text(source)
    with Program(path) as program:
        assert program.end() in (0, 1), program
        return '\n'.join(program.errors)


# A loop that never runs


def test_a_program_that_listens_and_never_runs_the_loop_is_told(tmp_path):
    told = run(tmp_path, "import pyjows\npyjows.serve('ws://127.0.0.1:0')\n")
    assert 'nothing was served (Listener 127.0.0.1 port' in told
    assert 'Call pyjows.run() after serve()' in told


def test_a_program_that_connects_and_never_runs_the_loop_is_told(tmp_path):
    told = run(tmp_path, "import pyjows\nws = pyjows.connect('ws://127.0.0.1:9')\n")
    assert 'nothing was connected' in told
    assert 'Call pyjows.run() after connect()' in told


def test_serve_before_asyncio_run_is_told_at_once(tmp_path):
    source = """
import asyncio, sys, pyjows
pyjows.serve('ws://127.0.0.1:0')
async def main():
    pyjows.serve('ws://127.0.0.1:0').stop()
    print('running', file=sys.stderr)
asyncio.run(main())
"""
    told = run(tmp_path, source)
    assert told.count('call serve() in the coroutine that asyncio.run() runs') == 1
    assert told.index('asyncio.run() runs') < told.index('running')


def test_serve_before_asyncio_run_is_told_at_the_end_where_nothing_else_is_called(tmp_path):
    source = 'import asyncio, pyjows\npyjows.serve("ws://127.0.0.1:0")\nasyncio.run(asyncio.sleep(0.01))\n'
    assert 'call serve() in the coroutine that asyncio.run() runs' in run(tmp_path, source)


@pytest.mark.parametrize(
    'source',
    [
        'server = pyjows.serve("ws://127.0.0.1:0")\nserver.ioloop.timer(0, lambda loop: pyjows.stop())\npyjows.run()\n',
        'pyjows.serve("ws://127.0.0.1:0").stop()\n',
        'pyjows.serve("ws://127.0.0.1:0").ioloop.close()\n',
        'async def main(): pyjows.serve("ws://127.0.0.1:0")\nimport asyncio\nasyncio.run(main())\n',
    ],
    ids=['it ran', 'it was stopped', 'it was closed', 'asyncio'],
)
def test_a_program_that_did_it_right_is_told_nothing(tmp_path, source):
    assert run(tmp_path, 'import pyjows\n' + source) == ''


def test_a_program_that_ends_with_a_traceback_is_told_no_more(tmp_path):
    told = run(tmp_path, 'import pyjows\npyjows.serve("ws://127.0.0.1:0")\n1 / 0\n')
    assert 'ZeroDivisionError' in told
    assert 'pyjows.run()' not in told


# Values of the wrong kind


@pytest.mark.parametrize(
    ('mistake', 'kind', 'says'),
    [
        (lambda ws: ws.send({'a': 1}), TypeError, r"send\(\): .*not \{'a': 1\}; send\(json=...\) sends such a value"),
        (lambda ws: ws.send([1]), TypeError, r'send\(\): .*not \[1\]; send\(json='),
        (lambda ws: ws.send(5), TypeError, r'send\(\): a message is a str or bytes-like, not 5'),
        (lambda ws: ws.send(binary='a'), TypeError, r"send\(\): binary is bytes-like, not the str 'a'; use text="),
        (lambda ws: ws.send(text=b'a'), TypeError, r'send\(\): text is a str, not bytes; use binary='),
        (lambda ws: ws.build_message(text=5), TypeError, r'build_message\(\): text is a str'),
        (lambda ws: pyjows.broadcast([ws], binary={}), TypeError, r'broadcast\(\): .*not \{\}; broadcast\(json='),
        (
            lambda ws: ws.finish('1000'),
            TypeError,
            r"finish\(\): a close code is a whole number, such as 1000, not '1000'",
        ),
        (lambda ws: ws.finish(True), TypeError, r'finish\(\): a close code is a whole number'),
        (lambda ws: ws.finish(1000, b'x'), TypeError, r'finish\(\): a close reason is a str, not bytes'),
        (lambda ws: ws.finish(None, 'x'), ValueError, r"finish\(\): the close reason 'x' needs a code"),
        (lambda ws: ws.finish(1006), ValueError, r'1006 may not be sent as a close code'),
    ],
)
def test_a_wrong_message_or_close_is_refused_with_function_value_and_rule(mistake, kind, says):
    ws = opened()
    with pytest.raises(kind, match=says):
        mistake(ws)
    assert not ws.is_writing


def test_a_server_and_a_reconnecting_client_check_their_close_too(ioloop, server, run_until):
    with pytest.raises(TypeError, match=r"stop\(\): a close code is a whole number, such as 1000, not '1001'"):
        server.stop('1001')
    client = pyjows.reconnect(server.urls[0], ioloop=ioloop)
    with pytest.raises(TypeError, match=r"finish\(\): a close code is a whole number, such as 1000, not '1000'"):
        client.finish('1000')
    client.finish()
    run_until(ioloop, lambda: client.is_finished)


@pytest.mark.parametrize('url', ['http://127.0.0.1:3000', 'https://example.com/', 'HTTP://127.0.0.1:1/'])
def test_a_url_of_http_is_refused_with_the_scheme_to_write(ioloop, assert_idle, url):
    scheme = 'wss' if url.startswith('https') else 'ws'
    for call, name in ((pyjows.serve, 'serve'), (pyjows.connect, 'connect'), (pyjows.reconnect, 'reconnect')):
        with pytest.raises(
            ValueError, match=rf"^{name}\(\): '{url}' is a URL of HTTP; for a WebSocket write {scheme}://"
        ):
            call(url, ioloop=ioloop)
    assert_idle(ioloop)


@pytest.mark.parametrize(
    'url', ['ws://127.0.0.1:0/chat', 'ws://user:secret@127.0.0.1:0/chat', 'ws+unix:///tmp/x.sock:/chat']
)
def test_a_path_in_serve_is_refused_with_the_place_where_it_is_found(ioloop, assert_idle, url):
    with pytest.raises(ValueError, match=r'^serve\(\): .*has a path, but a server listens .*ws\.req\.path') as caught:
        pyjows.serve(url, ioloop=ioloop)
    assert 'secret' not in str(caught.value)
    assert_idle(ioloop)


@pytest.mark.parametrize('name', ['websocket', 'route'])
def test_a_decorator_of_a_route_without_its_rule_is_refused(server, name):
    event = 'websocket' if name == 'websocket' else 'request'
    for wrong in (print, None, 3):
        with pytest.raises(TypeError, match=rf"^{name}\(\): a rule is a str, such as '/chat', .*@server.on.* {event}$"):
            getattr(server, name)(wrong)
    with pytest.raises(TypeError, match=rf'^{name}\(\): a handler must be callable, not None'):
        getattr(server, name)('/chat')(None)


def test_wss_without_a_certificate_is_refused_with_what_to_pass(ioloop):
    with pytest.raises(ValueError, match=r'^serve\(\): .*needs TLS: pass your certificate, as tls=TLS') as caught:
        pyjows.serve('wss://ann:secret@127.0.0.1:0', ioloop=ioloop)
    assert 'secret' not in str(caught.value)


# Servers that speak something else


@pytest.fixture
def answering():
    """``answering(data)`` is the port of a server that reads a little, sends these bytes, and hangs up if `ends`."""
    listeners, threads = [], []

    def start(data, ends=True):
        listener = socket.create_server(('127.0.0.1', 0))
        listeners.append(listener)

        def serve():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):  # the client hangs up as soon as it knows enough
                sock.recv(4096)
                sock.sendall(data)
                if ends:
                    sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return listener.getsockname()[1]

    yield start
    for listener, thread in zip(listeners, threads, strict=True):
        listener.close()
        thread.join(20)


def failure(ioloop, run_until, url, **options):
    errors = []
    ws = pyjows.connect(url, ioloop=ioloop, **options)
    ws.on('error', lambda ws, exc: errors.append(exc))
    run_until(ioloop, lambda: ws.is_finished)
    [exc] = errors
    return str(exc)


@pytest.mark.parametrize(
    ('data', 'says'),
    [
        (b'SSH-2.0-OpenSSH_9.2p1\r\n', "the server sent b'SSH-2.0-OpenSSH_9.2p1\\r\\n', not HTTP"),
        (b'220 mail.example.com ESMTP\r\n', "the server sent b'220 mail.example.com ESMTP\\r\\n', not HTTP"),
        (
            b'\x15\x03\x03\x00\x02\x02\x46',
            "the server sent b'\\x15\\x03\\x03\\x00\\x02\\x02F', which is TLS and not HTTP",
        ),
        (
            b'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n',
            'it speaks TLS there, connect with wss:// instead of ws://',
        ),
    ],
    ids=['SSH', 'SMTP', 'TLS', 'HTTPS'],
)
@pytest.mark.parametrize('ends', [True, False], ids=['and hangs up', 'and waits'])
def test_a_server_that_does_not_speak_http_is_named_as_what_it_is(ioloop, run_until, answering, data, says, ends):
    if data.startswith(b'HTTP') and not ends:
        data = data.replace(b'\r\n\r\n', b'\r\nContent-Length: 48\r\n\r\n')
    assert says in failure(ioloop, run_until, f'ws://127.0.0.1:{answering(data, ends)}')


def test_the_start_of_an_answer_may_come_byte_by_byte():
    ws = pyjows.WebSocket()
    errors = []
    ws.on('error', lambda ws, exc: errors.append(str(exc)))
    ws.client_handshake('ws://example.com/')
    for byte in b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n':
        ws.client_read(bytes([byte]))
    assert errors == ['the server answered 403 No instead of 101 Switching Protocols']


@pytest.mark.parametrize(
    ('url', 'answer', 'says'),
    [
        (
            'ws://a/',
            b'401 No\r\nWWW-Authenticate: Basic',
            'it wants credentials, user:password@ in the URL or headers=',
        ),
        ('ws://u:p@a/', b'401 No\r\nWWW-Authenticate: Basic', 'it wants others than those given'),
        ('ws://a/', b'426 No\r\nSec-WebSocket-Version: 8, 7', "versions '8, 7' of the protocol, and pyjows speaks 13"),
    ],
)
def test_a_refusal_that_the_client_can_do_something_about_says_what(url, answer, says):
    ws = pyjows.WebSocket()
    errors = []
    ws.on('error', lambda ws, exc: errors.append(str(exc)))
    ws.client_handshake(url)
    ws.client_read(b'HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n' % answer)
    [told] = errors
    assert says in told
    assert 'u:p' not in told


def test_an_address_that_does_not_exist_is_named_once(ioloop):
    with pytest.raises(OSError, match="cannot listen to 'nobody.invalid': no such address: ") as caught:
        pyjows.serve('ws://nobody.invalid:0', ioloop=ioloop)
    assert str(caught.value).count('[Errno') == 1


@pytest.mark.parametrize('proxy', [False, True])
def test_a_timeout_says_what_has_not_come_and_what_sets_it(ioloop, run_until, proxy):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        place = f'127.0.0.1:{listening.getsockname()[1]}'
        url, options = ('ws://a.test/', {'proxy': f'http://{place}'}) if proxy else (f'ws://{place}/', {})
        told = failure(ioloop, run_until, url, timeout=0.1, **options)
    waited = f'there was no connection through the proxy {place}' if proxy else 'its upgrade request not answered'
    assert f'{url} did not open within 0.1 seconds: ' in told
    assert f'{waited}; timeout= sets the limit' in told


@pytest.fixture
def certificate(tmp_path):
    command = ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost']
    command += [
        '-addext',
        'subjectAltName=DNS:localhost',
        '-keyout',
        tmp_path / 'key.pem',
        '-out',
        tmp_path / 'cert.pem',
    ]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path


def test_tls_that_fails_comes_with_the_way_out(ioloop, run_until, certificate, answering):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / 'cert.pem', certificate / 'key.pem')
    server = pyjows.serve('wss://127.0.0.1:0', ioloop=ioloop, tls=context)
    port = server.ports[0]

    told = failure(ioloop, run_until, f'wss://localhost:{port}')
    assert 'CERTIFICATE_VERIFY_FAILED' in told
    assert "pass tls=TLS(ca='ca.pem')" in told
    ws = pyjows.connect(f'wss://localhost:{port}', ioloop=ioloop, tls=pyjows.TLS(ca=str(certificate / 'cert.pem')))
    run_until(ioloop, lambda: ws.established)  # that is indeed the way out

    known = ssl.create_default_context(cafile=str(certificate / 'cert.pem'))
    told = failure(ioloop, run_until, f'wss://127.0.0.1:{port}', tls=known)
    assert 'CERTIFICATE_VERIFY_FAILED' in told
    assert 'Connect by a name that the certificate has' in told

    told = failure(ioloop, run_until, f'wss://127.0.0.1:{answering(b"HTTP/1.1 400 No" + b" " * 9)}')
    assert 'the server does not speak TLS there; use ws://' in told

    told = failure(ioloop, run_until, f'ws://127.0.0.1:{port}')
    assert 'a server that expects TLS does that, then wss:// is right' in told
    server.stop()
    run_until(ioloop, lambda: not ioloop.connections)
