"""examples/rooms.js, the client of rooms for the browser, run by Node with a WebSocket that the test plays."""

import shutil
import subprocess

import pytest
from program import ROOT

NODE = shutil.which('node')
pytestmark = pytest.mark.skipif(NODE is None, reason='no node here (Debian: apt install nodejs)')

PLAY = """
const assert = require('node:assert');
class FakeSocket {
  static OPEN = 1;
  static made = [];
  constructor(url) { this.url = url; this.readyState = 0; this.sent = []; FakeSocket.made.push(this); }
  send(data) { this.sent.push(data); }
  close() { this.readyState = 3; this.onclose(); }
  open() { this.readyState = 1; this.onopen(); }
  hears(value) { this.onmessage({data: JSON.stringify(value)}); }
}
global.WebSocket = FakeSocket;
const {RoomsClient} = require(process.argv[1]);
const heard = [];
const log = kind => value => heard.push([kind, value]);
const client = new RoomsClient('ws://example.com/chat?a=b', {
  message: log('message'), recovered: log('recovered'), other: log('other'), state: log('state'),
  open: client => client.send({type: 'join'}),
}, {first: 1, longest: 5});
const socket = () => FakeSocket.made.at(-1);
const wait = n => new Promise(done => {
  const look = () => FakeSocket.made.length >= n ? done() : setTimeout(look, 1);
  look();
});
"""


def play(script):
    program = PLAY + '(async () => {' + script + '})().catch(error => { console.error(error); process.exit(1); });'
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
        assert.deepEqual(socket().sent, ['{"type":"join"}']);
        assert.deepEqual(heard.slice(0, 4).map(([kind]) => kind), ['state', 'state', 'recovered', 'message']);
        assert.deepEqual(heard[3][1].data, {a: 1});
        assert.deepEqual([...heard[4][1].data], [255, 0]);
        assert.deepEqual(heard.slice(5), [['other', {type: 'welcome'}], ['other', null]]);
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


def test_it_is_short():
    assert len((ROOT / 'examples' / 'rooms.js').read_text('utf-8').splitlines()) < 150
