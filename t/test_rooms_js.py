"""examples/rooms.js, the client of rooms for the browser, run by Node with a WebSocket that the test plays."""

import shutil
import subprocess

import pytest
from program import ROOT

NODE = shutil.which('node')
pytestmark = pytest.mark.skipif(NODE is None, reason='no node here (Debian: apt install nodejs)')

PLAY = """
const window = new EventTarget(), document = {hidden: false};
Object.assign(global, {window, document});
const assert = require('node:assert');
class FakeSocket {
  static OPEN = 1;
  static made = [];
  constructor(url) { this.url = url; this.readyState = 0; this.sent = []; FakeSocket.made.push(this); }
  send(data) { this.sent.push(data); }
  close() { if (this.readyState < 3) { this.readyState = 3; this.onclose?.({code: 1006, reason: ''}); } }
  open() { this.readyState = 1; this.onopen?.(); }
  hears(value) { this.onmessage?.({data: typeof value === 'string' ? value : JSON.stringify(value)}); }
}
global.WebSocket = FakeSocket;
const {RoomsClient} = require(process.argv[1]);
const heard = [];
const log = kind => value => heard.push([kind, value]);
const client = new RoomsClient('ws://example.com/chat?a=b', {
  message: log('message'), recovered: log('recovered'), other: log('other'), state: log('state'),
  open: client => client.send({type: 'join'}),
}, {first: 1, longest: 5, ...OPTIONS});
const socket = () => FakeSocket.made.at(-1);
const wait = n => new Promise(done => {
  const look = () => FakeSocket.made.length >= n ? done() : setTimeout(look, 1);
  look();
});
"""


def play(script, options='{}'):
    program = (
        f'const OPTIONS = {options};'
        + PLAY
        + '(async () => {'
        + script
        + '})().catch(error => { console.error(error); process.exit(1); });'
    )
    done = subprocess.run(
        [NODE, '-e', program, str(ROOT / 'examples' / 'rooms.js')],
        capture_output=True,
        encoding='utf-8',
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_it_tells_messages_from_notices_and_from_everything_else():
    play("""
        assert.equal(client.send('early'), false);
        socket().open();
        socket().hears({room: 'lobby', position: 'e:1', recovered: null});
        socket().hears({room: 'lobby', position: 'e:2', data: {a: 1}});
        socket().hears({room: 'lobby', position: 'e:3', binary: '/wA='});
        socket().hears({type: 'welcome'});
        socket().hears(null);
        socket().hears('no JSON');
        socket().hears({room: 'a b', position: 'e:1'});
        socket().hears({room: '\\ud800', position: 'e:1'});
        assert.deepEqual(socket().sent, ['{"type":"join"}']);
        assert.deepEqual(heard.slice(0, 4).map(([kind]) => kind), ['state', 'state', 'recovered', 'message']);
        assert.deepEqual(heard[3][1].data, {a: 1});
        assert.deepEqual([...heard[4][1].data], [255, 0]);
        assert.deepEqual(heard.slice(5, 9), [
          ['other', {type: 'welcome'}], ['other', null], ['other', 'no JSON'],
          ['other', {room: 'a b', position: 'e:1'}],
        ]);
        assert.equal(heard[9][0], 'other');
        client.close();
    """)


def test_it_connects_again_and_sends_the_last_position_of_each_room():
    play("""
        assert.equal(socket().url, 'ws://example.com/chat?a=b');
        socket().open();
        socket().hears({room: 'lobby', position: 'e:1', data: 1});
        socket().hears({room: 'news/x', position: 'f:7', data: 1});
        socket().hears({room: 'lobby', position: 'e:2', data: 2});
        socket().close();
        await wait(2);
        const url = new URL(socket().url);
        assert.equal(url.searchParams.get('since'), 'lobby@e:2,news/x@f:7');
        assert.equal(url.searchParams.get('a'), 'b');
        socket().open();
        assert.deepEqual(socket().sent, ['{"type":"join"}']);
        client.close();
        await new Promise(done => setTimeout(done, 30));
        assert.equal(FakeSocket.made.length, 2);
        assert.deepEqual(heard.at(-1), ['state', 'closed']);
    """)


def test_of_two_connections_it_hears_the_new_one_only():
    """As after `online`, while the first try waits for an answer that comes late."""
    play("""
        const first = socket();
        window.dispatchEvent(new Event('online'));
        assert.equal(FakeSocket.made.length, 2);
        assert.equal(first.readyState, 3);
        first.open();
        first.hears({room: 'lobby', position: 'e:1', data: 1});
        assert.deepEqual(first.sent, []);
        assert.equal(client.positions.size, 0);
        socket().open();
        assert.deepEqual(socket().sent, ['{"type":"join"}']);
        await new Promise(done => setTimeout(done, 30));
        assert.equal(FakeSocket.made.length, 2);
        client.close();
    """)


def test_a_server_that_speaks_and_closes_at_once_is_asked_less_and_less_often():
    play(
        """
        const delays = [];
        Math.random = () => 1;
        client.handlers.state = (state, why) => why && delays.push(why.delay);
        for (let n = 1; n < 8; n++) {
          await wait(n);
          socket().open();
          socket().hears({type: 'served'});
          socket().close();
        }
        assert.deepEqual(delays, [1, 2, 4, 8, 16, 20, 20]);
        client.close();
    """,
        '{longest: 20}',
    )


def test_after_a_stable_connection_the_delays_start_anew_each_at_random():
    play(
        """
        const delays = [];
        client.handlers.state = (state, why) => why && delays.push(why.delay);
        for (let n = 1; n < 40; n++) {
          await wait(n);
          socket().open();
          socket().close();
        }
        assert(Math.max(...delays) <= 4);
        assert(Math.min(...delays) < 2);
        assert.equal(new Set(delays).size, delays.length);
        client.close();
    """,
        '{first: 4, stable: 0}',
    )


def test_silence_is_a_loss():
    play(
        """
        socket().open();
        const started = Date.now();
        while (Date.now() - started < 200) {
          await new Promise(done => setTimeout(done, 5));
          socket().hears({type: 'alive'});
        }
        assert.equal(FakeSocket.made.length, 1);
        await wait(2);      // nothing is heard
        await wait(3);      // and it does not open either
        assert.deepEqual(FakeSocket.made.slice(0, 2).map(one => one.readyState), [3, 3]);
        client.close();
    """,
        '{silence: 100}',
    )


def test_a_page_that_is_shown_again_connects_at_once():
    play(
        """
        socket().open();
        window.dispatchEvent(new Event('pagehide'));
        assert.equal(socket().readyState, 3);
        window.dispatchEvent(Object.assign(new Event('pageshow'), {persisted: true}));
        assert.equal(FakeSocket.made.length, 2);
        window.dispatchEvent(new Event('visibilitychange'));
        assert.equal(FakeSocket.made.length, 2);
        socket().close();
        window.dispatchEvent(new Event('visibilitychange'));
        assert.equal(FakeSocket.made.length, 3);
        client.close();
        for (const event of ['online', 'visibilitychange']) window.dispatchEvent(new Event(event));
        client.connect();
        assert.equal(FakeSocket.made.length, 3);
    """,
        '{first: 1e6, longest: 1e6}',
    )


def test_closed_while_it_waits_it_says_so_once():
    play("""
        socket().close();
        assert.equal(heard.at(-1)[1], 'waiting');
        client.close();
        client.close();
        assert.deepEqual(heard.slice(-2), [['state', 'waiting'], ['state', 'closed']]);
    """)


def test_positions_that_make_the_url_too_long_are_left_out_and_it_says_so():
    play("""
        socket().open();
        for (let n = 0; n < 5000; n++) socket().hears({room: 'x'.repeat(100) + n, position: `e:${n}`, data: 1});
        assert(client.positions.size < 2000);
        socket().close();
        await wait(2);
        const since = new URL(socket().url).searchParams.get('since').split(',');
        assert(socket().url.length < 7500);
        assert.equal(since[0], 'x'.repeat(100) + '4999@e:4999');
        assert.equal(since.at(-1), 'more');
        client.close();
    """)


def test_a_position_that_was_received_counts_before_one_in_the_url():
    play("""
        client.url += '&since=lobby@e:1,news@f:1';
        socket().open();
        socket().hears({room: 'lobby', position: 'e:2', data: 1});
        socket().close();
        await wait(2);
        const url = new URL(socket().url);
        assert.deepEqual(url.searchParams.getAll('since'), ['lobby@e:2', 'lobby@e:1,news@f:1']);
        assert.equal(url.searchParams.get('a'), 'b');
        client.close();
    """)


def test_it_is_short():
    assert len((ROOT / 'examples' / 'rooms.js').read_text('utf-8').splitlines()) < 150
