"""Every program under examples/ runs as its docstring says, as a process of its own, and does what it is there for."""

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from itertools import combinations
from secrets import token_hex

import pytest
from background import free_port, until
from brokers import RedisServer, needs_redis
from program import ROOT, Program
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / 'examples'
ANYWHERE = 'ws://127.0.0.1:0'


def example(name, *args):
    return Program(EXAMPLES / name, *args)


def url_of(program):
    return program.find(r'\b(?:ws|http)://\S+')


def test_echo_server_sends_every_message_back():
    with example('echo_server.py', ANYWHERE) as server:
        with connect(url_of(server), max_size=None) as ws:
            for message in ('Hello', '', 'Grüße 👋', b'\x00\xff', b'x' * 200_000):
                ws.send(message)
                assert ws.recv() == message
        assert server.stop() == 0
        assert not server.errors


def test_echo_server_tells_who_is_connected_that_it_goes_away():
    with example('echo_server.py', ANYWHERE) as server, connect(url_of(server)) as ws:
        ws.send('still here')
        assert ws.recv() == 'still here'
        server.process.terminate()
        assert list(ws) == []
        assert ws.close_code == 1001
        assert server.end() == 0


def test_echo_server_listens_on_a_unix_socket(socket_folder):
    with example('echo_server.py', f'ws+unix://{socket_folder}/echo.sock') as server:
        server.find('Echo: ')
        with example('echo_client.py', f'ws+unix://{socket_folder}/echo.sock', 'hello') as client:
            assert client.end() == 0
            assert 'hello' in client.lines


@pytest.mark.parametrize('kind', ['asyncio', 'events_server', 'frames_server', 'trio'])
def test_ctrl_c_ends_a_sans_io_server_without_a_traceback(kind):
    with example(f'sans_io_{kind}.py', '0') as server:
        server.find('Echo: ')
        server.process.send_signal(signal.SIGINT)
        assert server.end() == 0
        assert not server.errors


def test_ctrl_c_ends_a_client_without_a_traceback():
    with example('echo_server.py', ANYWHERE) as server, example('blocking_client.py', url_of(server)) as client:
        client.type('hello\n')
        client.find('hello')
        client.process.send_signal(signal.SIGINT)
        assert client.end() == 0
        assert client.lines[-1] == 'Closed: 1000'
        assert not client.errors
    with example('coroutine_client.py', f'ws://127.0.0.1:{free_port()}') as client:
        until(lambda: any('connecting again' in line for line in client.errors), 'the first attempt')
        client.process.send_signal(signal.SIGINT)
        assert client.end() == 0
        assert not any('Traceback' in line for line in client.errors)


def test_echo_client_sends_its_words_and_prints_the_answer():
    with example('echo_server.py', ANYWHERE) as server:
        with example('echo_client.py', url_of(server), 'good', 'morning') as client:
            assert client.end() == 0
            assert client.lines == ['good morning', 'Closed: 1000']
            assert not client.errors


def test_echo_client_sends_what_is_typed():
    with example('echo_server.py', ANYWHERE) as server, example('echo_client.py', url_of(server)) as client:
        client.find('What you type is sent')
        for line in ('one', 'two'):
            client.type(line + '\n')
            client.find(f'^{line}$')
        client.process.stdin.close()
        assert client.end() == 0
        assert client.lines[-1] == 'Closed: 1000'


def test_echo_client_says_that_nobody_is_there():
    with example('echo_client.py', 'ws://127.0.0.1:1', 'anybody?') as client:
        assert client.end() == 1
        assert 'refused' in ' '.join(client.errors).lower()
        assert client.lines == [line for line in client.lines if line.startswith('Closed: 1006')]


def test_reconnecting_client_comes_back_when_the_server_does():
    url = f'ws://127.0.0.1:{free_port()}'
    with example('reconnecting_client.py', url, '0.1') as client:
        client.find('Not connected')
        for times in (1, 2):
            with example('timer.py', url, '0.1') as timer:
                until(lambda: client.lines.count(f'Connected to {url}.') == times, f'the connection: {client}')  # noqa: B023
                assert timer.stop() == 0
            until(lambda: client.lines[-1].startswith('Not connected'), f'the loss: {client}')
        assert client.stop() == 0
        assert client.lines[-1].startswith('Closed: ')
        assert all('; connecting again in ' in line for line in client.errors), 'warnings of each loss'


def test_reconnecting_client_does_not_try_a_refusal_again():
    server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    with example('reconnecting_client.py', f'ws://127.0.0.1:{server.server_port}/no-such-file') as client:
        assert client.end() == 1
        assert client.lines == ['Closed: 1006']
        assert '404' in ' '.join(client.errors)
    server.server_close()


class Guest:
    """Somebody in the chat who has no browser."""

    def __init__(self, ws, name, **more):
        self.ws = ws
        self.say(type='join', name=name, **more)

    def say(self, **message):
        self.ws.send(json.dumps(message))

    def hears(self, kind):
        """The next message of this kind; what comes before it is passed over."""
        while True:
            message = json.loads(self.ws.recv(timeout=30))
            message = message.get('data', message)  # what is said comes numbered
            if message.get('type') == kind:
                return message


def test_chat_tells_everybody_what_happens():
    with example('chat.py', ANYWHERE) as chat, ExitStack() as leaving:

        def join(name):
            return Guest(leaving.enter_context(connect(url_of(chat).replace('http', 'ws'))), name)

        ann = join('Ann')
        welcome = ann.hears('welcome')
        me = welcome['me']
        (here,) = welcome['people']
        assert welcome == {'type': 'welcome', 'me': me, 'people': {here: me}, 'history': []}
        assert me['name'] == 'Ann'
        ann.say(type='say', text='  Anybody here?  ')
        first = ann.hears('said')
        assert (first['by'], first['text']) == (me, 'Anybody here?')

        bob = join('Bob')
        welcome = bob.hears('welcome')
        assert welcome['history'] == [first]
        joined = ann.hears('joined')
        assert joined == {'type': 'joined', 'member': joined['member'], 'who': welcome['me']}
        assert welcome['people'] == {here: me, joined['member']: welcome['me']}
        bob.say(type='typing', typing=True)
        assert ann.hears('typing') == {'type': 'typing', 'who': welcome['me'], 'typing': True}
        bob.say(type='say', text='Me')
        assert ann.hears('said') == bob.hears('said')

        bob.ws.close()
        assert ann.hears('left') == {**joined, 'type': 'left'}
        ann.ws.close()
        assert chat.stop() == 0
        assert not chat.errors


def test_chat_sends_the_list_of_people_only_to_who_joins():
    with example('chat.py', ANYWHERE) as chat, ExitStack() as leaving:
        people = {}
        for number in range(60):
            ws = leaving.enter_context(connect(url_of(chat).replace('http', 'ws'), max_queue=None))
            guest = Guest(ws, f'Guest {number:02}')
            if number == 0:
                first = guest
                people.update(first.hears('welcome')['people'])
            else:
                assert len(guest.hears('welcome')['people']) == number + 1
                message = first.ws.recv(timeout=30)
                assert len(message) < 150
                joined = json.loads(message)
                assert joined['type'] == 'joined'
                people[joined['member']] = joined['who']
        last = Guest(leaving.enter_context(connect(url_of(chat).replace('http', 'ws'))), 'Last').hears('welcome')
        joined = first.hears('joined')
        assert last['people'] == {**people, joined['member']: joined['who']}
        assert chat.stop() == 0
        assert not chat.errors


@needs_redis
def test_chat_with_workers_keeps_its_history_when_they_are_replaced(tmp_path):
    redis = RedisServer(tmp_path)
    with ExitStack() as ending:
        ending.callback(redis.kill)
        chat = ending.enter_context(example('chat.py', ANYWHERE, '--workers', '2', '--redis', redis.url))

        def workers():
            return [line for line in list(chat.lines) if '(worker' in line]

        def ask_for_history():
            with connect(url_of(chat).replace('http', 'ws')) as ws, suppress(ConnectionClosedOK):
                return [said['text'] for said in Guest(ws, 'Bob').hears('welcome')['history']]
            return None  # it was one of the workers that stop

        until(lambda: len(workers()) == 2, f'two workers: {chat}')
        with connect(url_of(chat).replace('http', 'ws')) as ws:
            ann = Guest(ws, 'Ann')
            assert ann.hears('welcome')['history'] == []
            ann.say(type='say', text='Anybody here?')
            ann.hears('said')
            chat.process.send_signal(signal.SIGHUP)
            with pytest.raises(ConnectionClosedOK) as closed:
                ann.hears('the end')
            assert closed.value.rcvd.code == 1001
        until(lambda: len(workers()) == 4, f'two other workers: {chat}')
        assert until(ask_for_history, 'a guest of one of them') == ['Anybody here?']
        assert chat.stop() == 0
        assert not chat.errors


def test_chat_says_what_is_wrong_with_its_arguments():
    with socket.create_server(('127.0.0.1', 0)) as busy:
        port = busy.getsockname()[1]
        for arguments, says in (
            ([f'ws://127.0.0.1:{port}'], f'port {port}: Address already in use; another address is given as ws://'),
            (['127.0.0.1:3000'], "'127.0.0.1:3000' is not a valid WebSocket URL: it has to begin with ws://"),
            (['--workers', '0'], '--workers takes 1 or more'),
            (['--workers', '2'], 'several workers need --redis redis://'),
            (['--workers', '2', '--redis', 'nonsense'], "'nonsense' names no engine of rooms"),
        ):
            with example('chat.py', *arguments) as chat:
                assert chat.end() == 2
                assert says in chat.errors[-1]
                assert not any('Traceback' in line for line in chat.errors)


PYJOWS_SERVERS = ['authenticated', 'coroutine_server', 'echo_server', 'http_and_ws', 'prefork', 'timer']
PORT_SERVERS = ['aiohttp_echo', 'sans_io_asyncio', 'sans_io_events_server', 'sans_io_frames_server', 'sans_io_trio']
CLIENTS = ['blocking_client', 'coroutine_client', 'echo_client', 'reconnecting_client', 'sans_io_events_client',
           'sans_io_frames_client']  # fmt: skip


def complaint(program, *args):
    """The one line in which an example says what is wrong; it ends with status 1."""
    with example(f'{program}.py', *args) as run:
        assert run.end() == 1, run
        assert len(run.errors) == 1, run
        assert not run.lines, run
        return run.errors[0]


@pytest.mark.wide
@pytest.mark.parametrize('name', [*PYJOWS_SERVERS, *PORT_SERVERS])
def test_a_server_says_in_one_line_that_it_cannot_listen(name):
    by_port = name in PORT_SERVERS
    with socket.create_server(('127.0.0.1', 0)) as busy:
        port = busy.getsockname()[1]
        assert 'address already in use' in complaint(name, port if by_port else f'ws://127.0.0.1:{port}').lower()
    assert "'nonsense'" in complaint(name, 'nonsense')


@pytest.mark.wide
@pytest.mark.parametrize('name', CLIENTS)
def test_a_client_says_in_one_line_that_its_url_is_none(name):
    assert 'nonsense' in complaint(name, 'nonsense')


@pytest.mark.parametrize('name', ['blocking_client', 'sans_io_events_client', 'sans_io_frames_client'])
def test_a_blocking_client_says_in_one_line_that_nobody_is_there(name):
    assert 'Connection refused' in complaint(name, 'ws://127.0.0.1:1', 'anybody?')


@pytest.mark.parametrize(
    ('name', 'args', 'says'),
    [
        ('behind_proxy', ['nonsense'], "forwarding='nonsense', but it takes one of"),
        ('coroutine_client', ['ws://127.0.0.1:1', 'many'], "'many'"),
        ('prefork', [ANYWHERE, '0'], 'workers=0'),
        ('reconnecting_client', ['ws://127.0.0.1:1', 'soon'], "'soon'"),
        ('timer', [ANYWHERE, '-1'], '-1.0 is not a valid time'),
    ],
)
def test_an_example_says_in_one_line_what_is_wrong_with_its_other_argument(name, args, says):
    assert says in complaint(name, *args)


@pytest.mark.parametrize(
    ('name', 'package'),
    [('aiohttp_echo', 'aiohttp'), ('asgi_echo', 'uvicorn'), ('flask_echo', 'flask'), ('sans_io_trio', 'trio')],
)
def test_an_example_names_the_package_that_it_needs(name, package, tmp_path, monkeypatch):
    (tmp_path / f'{package}.py').write_text(f'raise ImportError("No module named {package!r}")')
    monkeypatch.syspath_prepend(tmp_path)
    assert complaint(name) == f'No module named {package!r}: pip install {package}'
    if name == 'asgi_echo':  # another server imports it
        with Program('-c', 'import asgi_echo') as run:
            assert run.end() == 0, run


def test_a_coroutine_client_does_not_ask_again_for_a_number_that_is_refused():
    with example('coroutine_server.py', ANYWHERE) as server:
        with example('coroutine_client.py', url_of(server), '1000000') as client:
            assert client.end() == 1
            assert 'a number, please' in client.errors[-1]
            assert not any('Traceback' in line for line in client.errors)
        assert server.stop() == 0


@pytest.mark.parametrize('name', ['blocking_client', 'echo_client', 'reconnecting_client'])
def test_a_client_whose_output_is_read_no_more_ends_without_a_traceback(name):
    """As in `python examples/echo_client.py | head -1`."""
    server = (
        example('timer.py', ANYWHERE, '0.05') if name == 'reconnecting_client' else example('echo_server.py', ANYWHERE)
    )
    with (
        server,
        subprocess.Popen(
            [sys.executable, EXAMPLES / f'{name}.py', url_of(server)],
            cwd=EXAMPLES,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding='utf-8',
        ) as client,
    ):
        client.stdin.write('hello\n')
        client.stdin.flush()
        client.stdout.readline()
        client.stdout.close()
        with suppress(BrokenPipeError):  # it may have ended
            client.stdin.write('once more\n')
            client.stdin.flush()
        errors = client.stderr.read().splitlines()
        assert len(errors) == (1 if name == 'blocking_client' else 0), errors
        assert client.wait(30) == len(errors)
        assert server.stop() == 0


@pytest.fixture(scope='module')
def one_chat():
    """The URL of a chat that several tests visit."""
    with example('chat.py', ANYWHERE) as chat:
        yield url_of(chat).replace('http', 'ws')
        assert chat.stop() == 0
        assert not chat.errors


@pytest.mark.parametrize(
    'nonsense',
    [
        'null',
        '[]',
        '{"type": "say", "text": "before joining"}',
        '{"type": "join", "name": 5}',
        '{"type": "join", "name": " "}',
        '{"type": "join", "name": "\\u200d \\u202e\\n"}',
    ],
)
def test_chat_refuses_what_it_does_not_understand(one_chat, nonsense):
    name = token_hex(4)  # nobody's yet
    with connect(one_chat) as ws:
        ws.send(nonsense)
        assert json.loads(ws.recv(timeout=30))['type'] == 'refused'
        assert Guest(ws, name).hears('welcome')['me']['name'] == name


@pytest.mark.parametrize(
    ('given', 'shown'),
    [
        (' Ann\r\n O\u2028Hara ', 'Ann O Hara'),
        ('\u202eBob\u2066 \u200f\0\x1b[1m\u200b', 'Bob [1m'),
        ('👩\u200d🚀 می\u200cخواهم \u200d', '👩\u200d🚀 می\u200cخواهم'),
        ('x' * 10_000, 'x' * 24),
        ('<b>&amp;', '<b>&amp;'),
    ],
)
def test_chat_shows_a_name_on_one_line_without_characters_that_are_not_seen(one_chat, given, shown):
    with connect(one_chat) as ws:
        assert Guest(ws, given).hears('welcome')['me']['name'] == shown


@pytest.mark.wide
def test_chat_is_never_silent_for_long_so_that_a_page_notices_a_network_that_is_gone(one_chat):
    with connect(one_chat) as ws:
        assert json.loads(ws.recv(timeout=30)) == {'type': 'alive'}


def test_chat_knows_people_by_their_key_and_not_by_their_name():
    with example('chat.py', ANYWHERE) as chat, ExitStack() as leaving:

        def join(name, **more):
            guest = Guest(leaving.enter_context(connect(url_of(chat).replace('http', 'ws'))), name, **more)
            return guest.hears('welcome')['me']

        ann, bob, other = join('Ann', key='a' * 32), join('Bob'), join('Ann', key='b' * 32)
        again = join('Ann', key='a' * 32)
        assert again == ann
        assert [other['name'], join('Ann', key='short')['name']] == ['Ann 2', 'Ann 3']
        assert len({ann['id'], bob['id'], other['id']}) == 3
        assert 'a' * 16 not in ann['id']
        hues = [ann['hue'], bob['hue'], other['hue']]
        assert all(min(abs(a - b), 360 - abs(a - b)) >= 45 for a, b in combinations(hues, 2)), hues
        leaving.close()
        assert chat.stop() == 0


@pytest.mark.parametrize(
    ('origin', 'is_let_in'),
    [
        ('http://{host}', True),
        (None, True),
        ('http://a.example', False),
        ('null', False),
        ('http://{host}.example', False),
    ],
)
def test_chat_lets_in_its_own_page_only(one_chat, origin, is_let_in):
    host = one_chat.removeprefix('ws://').rstrip('/')
    try:
        with connect(one_chat, origin=origin and origin.format(host=host)) as ws:
            Guest(ws, 'Ann').hears('welcome')
            assert is_let_in
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
        assert not is_let_in


def test_chat_tells_a_slow_guest_that_messages_came_late():
    with example('chat.py', ANYWHERE) as chat, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = url_of(chat).replace('http', 'ws')
        sock.connect(('127.0.0.1', int(url.rstrip('/').rpartition(':')[2])))
        with connect(url, sock=sock, max_queue=1) as slow, connect(url) as fast:
            guest, ann = Guest(slow, 'Slow'), Guest(fast, 'Ann')
            ann.hears('welcome')
            for _ in range(4000):
                ann.say(type='say', text='x' * 2000)
                ann.hears('said')
            time.sleep(1)  # the server looks twice a second
            assert guest.hears('slow') == {'type': 'slow'}
        assert chat.stop() == 0


def test_chat_serves_its_page_on_the_same_port():
    with example('chat.py', ANYWHERE) as chat:
        with urllib.request.urlopen(url_of(chat) + 'rooms.js', timeout=30) as response:
            assert response.headers['Content-Type'] == 'text/javascript; charset=utf-8'
            assert response.read() == (EXAMPLES / 'rooms.js').read_bytes()
        with urllib.request.urlopen(url_of(chat), timeout=30) as response:
            assert response.headers['Content-Type'] == 'text/html; charset=utf-8'
            assert response.read() == (EXAMPLES / 'chat.html').read_bytes()
        with pytest.raises(urllib.error.HTTPError, match='404'):
            urllib.request.urlopen(url_of(chat) + 'elsewhere', timeout=30)


def test_by_hand_speaks_without_a_socket():
    with example('by_hand.py') as program:
        assert program.end() == 0
        assert program.lines == [
            'server: asked for /sums',
            'client: open',
            "server: got {'add': [19, 23]}",
            "client: got {'answer': 42}",
            'server: closed with 1000 thank you',
            'client: closed with 1000 thank you',
        ]
        assert not program.errors


def test_timer_pushes_the_time_to_everybody():
    with example('timer.py', ANYWHERE, '0.02') as server:
        with connect(url_of(server)) as one, connect(url_of(server)) as other:
            for ws in (one, other):
                assert ws.recv(timeout=30) == 'Here is the time, every 0.02 s.'
                for _ in range(3):
                    assert ws.recv(timeout=30).count(':') == 2
        assert server.stop() == 0
        assert not server.errors


def test_inside_asyncio_cooks_side_by_side():
    with example('inside_asyncio.py') as program:
        assert program.end() == 0
        assert program.lines == ['bread is ready', 'salad is ready', 'soup is ready']
        assert not program.errors


def test_coroutine_server_and_client_count():
    with example('coroutine_server.py', ANYWHERE) as server:
        with example('coroutine_client.py', url_of(server), '1000') as client:
            assert client.end() == 0
            assert client.lines == ['The numbers up to 1000 are 500500 together']
            assert not client.errors
        with connect(url_of(server)) as ws:
            ws.send('3')
            assert [ws.recv(timeout=30) for _ in range(3)] == ['1', '2', '3']
            ws.send('x')
            with pytest.raises(ConnectionClosedError, match='received 4000 .* a number, please'):
                ws.recv(timeout=30)
        assert server.stop() == 0
        assert not server.errors


def test_http_and_ws_answers_both_on_one_port():
    with example('http_and_ws.py', ANYWHERE) as server:
        url = url_of(server)
        ws_url = url.replace('http', 'ws')
        with connect(ws_url + 'count') as one, connect(ws_url + 'count') as other:
            assert one.recv(timeout=30) == other.recv(timeout=30) == '0'
            one.send('up')
            assert one.recv(timeout=30) == other.recv(timeout=30) == '1'
            with urllib.request.urlopen(url + 'health', timeout=30) as response:
                assert json.load(response) == {'ok': True, 'count': 1, 'connections': 2}
        with pytest.raises(Exception, match='404'):
            connect(ws_url + 'elsewhere')
        with urllib.request.urlopen(url, timeout=30) as response:
            assert b'<button>' in response.read()
        assert server.stop() == 0
        assert not server.errors


def test_prefork_serves_with_workers_and_replaces_them():
    with example('prefork.py', ANYWHERE, '2') as manager:
        url = manager.find(r'ws://[\d.]+:\d+')  # workers' lines may share a line

        def worker():
            with connect(url) as ws:
                try:
                    ws.send('hello')
                    pid, _, text = ws.recv().partition(': ')
                except ConnectionClosedOK as exc:
                    assert exc.rcvd.code == 1001
                    return None
                assert text == 'hello'
                return pid

        def pids():
            return re.findall(r'Worker (\d+): ws', '\n'.join(manager.lines))  # they may share a line

        until(lambda: len(pids()) == 2, f'two workers: {manager}')
        assert worker() in pids()
        manager.process.send_signal(signal.SIGHUP)
        until(lambda: len(pids()) == 4, f'two other workers: {manager}')
        until(lambda: worker() in pids()[2:], f'an answer of a new worker: {manager}')
        assert manager.stop() == 0
        assert not manager.errors


def test_every_example_is_tested():
    names = {path.name for path in EXAMPLES.glob('*.py')}
    text = '\n'.join(path.read_text('utf-8') for path in (ROOT / 't').glob('test_*.py'))
    assert {name for name in names if f"'{name}'" not in text} == set()


def test_every_example_says_what_it_shows_and_how_to_run_it():
    for path in EXAMPLES.glob('*.py'):
        text = path.read_text('utf-8')
        assert text.startswith('"""') and f'python examples/{path.name}' in text, path.name
