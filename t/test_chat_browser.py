"""The chat as people use it: examples/chat.py as a process, its page twice in headless Chromium."""

import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress

import pytest
from background import until
from brokers import FaultyLink, RedisServer, needs_redis
from program import ROOT, Program
from websockets.sync.client import connect

webdriver = pytest.importorskip('selenium.webdriver')
By = pytest.importorskip('selenium.webdriver.common.by').By
Keys = pytest.importorskip('selenium.webdriver.common.keys').Keys

CHROMIUM = next(filter(None, map(shutil.which, ['chromium', 'chromium-browser', 'google-chrome'])), None)
CHROMEDRIVER = shutil.which('chromedriver')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM or not CHROMEDRIVER,
        reason='no chromium and chromedriver here (Debian: apt install chromium-driver)',
    ),
]

QUIET = [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-first-run', '--window-size=900,700',
]  # fmt: skip


def run_chat(port=0, *options):
    chat = Program(ROOT / 'examples' / 'chat.py', f'ws://127.0.0.1:{port}', *options)
    chat.url = chat.find(r'http://\S+')
    chat.port = chat.url.rstrip('/').rpartition(':')[2]
    return chat


@pytest.fixture
def chat():
    with run_chat() as chat:
        yield chat


@pytest.fixture(scope='module')
def browser():
    with tempfile.TemporaryDirectory(prefix='pyjows-', dir='/tmp', ignore_cleanup_errors=True) as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in [*QUIET, f'--user-data-dir={folder}/profile']:
            options.add_argument(argument)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        os.environ['SE_OFFLINE'] = 'true'  # the driver is here: nothing is to be looked up or downloaded
        environment = {**os.environ, 'TMPDIR': folder}  # Chromium has a Unix socket there: its path must be short
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER, env=environment))
        yield driver
        driver.quit()


@pytest.fixture
def open_page(browser, chat):
    """Opens the chat in a window of its own, and joins."""
    first = browser.current_window_handle
    pages = []

    def open_page(name):
        browser.switch_to.window(first)
        browser.switch_to.new_window('window')
        browser.get(chat.url)
        page = Page(browser, browser.current_window_handle)
        pages.append(page)
        page.join(name)
        return page

    yield open_page
    messages = []
    for page in pages:
        page.focus()
        messages += [entry['message'] for entry in browser.get_log('browser')]
        browser.close()
    browser.switch_to.window(first)
    # That a connection failed is in the console too; nothing else of the page may be (Chromium's own pages are there).
    ours = [message for message in messages if message.startswith(('http://127.0.0.1:', 'http://localhost:'))]
    assert not [message for message in ours if 'WebSocket connection to' not in message]


class Page:
    """What one person sees and does."""

    def __init__(self, browser, window):
        self.browser = browser
        self.window = window

    def focus(self):
        self.browser.switch_to.window(self.window)

    def all(self, selector):
        """The texts of the elements that match, read in one go: the page may change at any time."""
        self.focus()
        script = 'return [...document.querySelectorAll(arguments[0])].map(element => element.innerText)'
        return self.browser.execute_script(script, selector)

    def sees(self, selector, *texts):
        """Wait until the elements that match have these texts, in this order."""
        with suppress(AssertionError):
            until(lambda: self.all(selector) == list(texts), f'{selector} to be {texts}')
        assert self.all(selector) == list(texts), selector

    def sees_state(self, state):
        until(lambda: self.all(f'#status[data-state="{state}"]'), f'the connection to be {state}')

    def join(self, name):
        box = self.browser.find_element(By.ID, 'name')
        box.clear()
        box.send_keys(name + '\n')
        self.sees_state('online')

    def write(self, text):
        self.focus()
        self.browser.find_element(By.ID, 'text').send_keys(text)

    def say(self, text):
        self.write(text)
        self.browser.find_element(By.CSS_SELECTOR, '#say button').click()

    def height(self, selector):
        self.focus()
        return self.browser.execute_script('return document.querySelector(arguments[0]).offsetHeight', selector)

    def worker(self):
        """Which process its connection is with."""
        self.focus()
        return until(
            lambda: self.browser.execute_script('return document.documentElement.dataset.by'), 'the name of the worker'
        )

    def reload(self):
        self.focus()
        self.browser.refresh()
        self.sees_state('online')


def test_two_people_see_each_other_and_exchange_messages(open_page):
    ann = open_page('Ann')
    bob = open_page('Bob')
    for page in (ann, bob):
        page.sees('#people span:last-child', 'Ann', 'Bob')
    ann.sees('.note', 'Bob joined')

    ann.say('Hello Bob')
    bob.sees('.said p', 'Hello Bob')
    bob.say('Hello Ann, <b>nice</b> to see you 👋')
    for page in (ann, bob):
        page.sees('.said p', 'Hello Bob', 'Hello Ann, <b>nice</b> to see you 👋')
    bob.sees('.said:not(.mine) .by b', 'Ann')


@pytest.mark.wide
def test_one_sees_the_other_typing_until_the_message_is_sent(open_page):
    ann = open_page('Ann')
    bob = open_page('Bob')
    ann.write('Let me th')
    bob.sees('#typing', 'Ann is typing…')
    ann.say('ink')
    bob.sees('#typing', '')
    bob.sees('.said p', 'Let me think')


@pytest.mark.wide
def test_who_reloads_keeps_the_name_and_gets_the_history(open_page):
    ann = open_page('Ann')
    for text in ('one', 'two', 'three'):
        ann.say(text)
    ann.sees('.said p', 'one', 'two', 'three')
    ann.reload()
    ann.sees('.said p', 'one', 'two', 'three')
    ann.sees('#people .me span:last-child', 'Ann')
    bob = open_page('Bob')
    bob.sees('.said p', 'one', 'two', 'three')


@pytest.mark.wide
def test_who_leaves_is_gone_from_the_list(open_page, browser):
    ann = open_page('Ann')
    bob = open_page('Bob')
    ann.sees('#people span:last-child', 'Ann', 'Bob')
    bob.focus()
    browser.get('about:blank')
    ann.sees('#people span:last-child', 'Ann')
    ann.sees('.note', 'Bob came and left')


@pytest.mark.wide
def test_somebody_with_two_windows_is_in_the_list_once_until_both_are_closed(open_page, browser):
    ann = open_page('Ann')
    bob = open_page('Bob')
    other = open_page('Bob')
    ann.sees('#people span:last-child', 'Ann', 'Bob', 'Bob 2')
    bob.focus()
    key = browser.execute_script("return sessionStorage.getItem('key')")
    other.focus()
    browser.execute_script("sessionStorage.setItem('key', arguments[0])", key)
    other.reload()  # a tab that was duplicated has the key of the first
    ann.sees('#people span:last-child', 'Ann', 'Bob')
    ann.sees('.note', 'Bob joined · Bob 2 came and left')
    for page, here in ((bob, ['Ann', 'Bob']), (other, ['Ann'])):
        page.focus()
        browser.get('about:blank')
        ann.sees('#people span:last-child', *here)
    ann.sees('.note', 'Bob and Bob 2 came and left')


@pytest.mark.wide
def test_who_goes_back_to_the_page_is_back_in_the_room(open_page, browser):
    ann = open_page('Ann')
    bob = open_page('Bob')
    ann.say('before')
    bob.sees('.said p', 'before')
    bob.focus()
    browser.get('about:blank')
    ann.sees('#people span:last-child', 'Ann')
    bob.focus()
    browser.back()
    ann.sees('#people span:last-child', 'Ann', 'Bob')
    bob.sees_state('online')
    bob.sees('.said p', 'before')


@pytest.mark.wide
def test_a_name_that_is_taken_gets_a_number(open_page):
    open_page('Ann')
    other = open_page('Ann')
    other.sees('#people span:last-child', 'Ann', 'Ann 2')
    other.sees('#people .me span:last-child', 'Ann 2')


def test_the_box_grows_with_its_text_and_shrinks_when_it_is_sent(open_page):
    ann = open_page('Ann')
    height = ann.height('#text')
    ann.write('one' + Keys.SHIFT + Keys.ENTER * 3 + Keys.NULL + 'four')
    assert ann.height('#text') >= height + 60
    ann.browser.find_element(By.CSS_SELECTOR, '#say button').click()
    ann.sees('.said p', 'one\n\n\nfour')
    assert ann.height('#text') == height


def test_who_has_the_same_name_is_somebody_else(open_page, browser):
    ann = open_page('Ann')
    ann.say('I am Ann')
    ann.sees('.said.mine p', 'I am Ann')
    ann.focus()
    browser.execute_script('client.close()')
    other = open_page('Ann')
    other.sees('#people span:last-child', 'Ann')
    other.sees('.said:not(.mine) p', 'I am Ann')
    other.say('So am I')
    other.sees('.said.mine p', 'So am I')


@pytest.mark.wide
def test_each_has_a_colour_of_its_own(open_page, browser):
    pages = [open_page(name) for name in ('Ann', 'Bob', 'Cid', 'Dan')]
    colours = "[...document.querySelectorAll('#people .avatar')].map(one => getComputedStyle(one).backgroundColor)"
    for page in pages:
        page.sees('#people span:last-child', 'Ann', 'Bob', 'Cid', 'Dan')
        assert len(set(browser.execute_script(f'return {colours}'))) == 4
    pages[0].say('Hello')
    for page in pages:
        page.sees('.said p', 'Hello')
    assert browser.execute_script(f'return {colours}[0]') == browser.execute_script(
        "return getComputedStyle(document.querySelector('.said .avatar')).backgroundColor"
    )


@pytest.mark.wide
def test_who_comes_and_goes_is_one_note_until_somebody_says_something(open_page, browser):
    ann = open_page('Ann')
    bob, _, dan = [open_page(name) for name in ('Bob', 'Cid', 'Dan')]
    ann.sees('.note', 'Bob, Cid and Dan joined')
    dan.focus()
    browser.get('about:blank')
    ann.sees('.note', 'Bob and Cid joined · Dan came and left')
    bob.say('Hello')
    ann.sees('.said p', 'Hello')
    bob.reload()
    ann.sees('#people span:last-child', 'Ann', 'Bob', 'Cid')
    bob.focus()
    browser.get('about:blank')
    ann.sees('.note', 'Bob and Cid joined · Dan came and left', 'Bob left')


def test_who_is_offline_sees_it_and_nothing_is_lost_nor_said_twice(open_page, chat):
    ann = open_page('Ann')
    ann.say('before')
    ann.sees('.said:not(.pending) p', 'before')
    chat.process.send_signal(signal.SIGSTOP)
    ann.say('on its way')
    ann.sees('.said.pending .by', 'sending…')
    chat.process.kill()
    ann.sees_state('offline')
    until(lambda: 'next try in' in ann.all('#status')[0], 'the time of the next try')
    ann.sees('#count', 'Here before the connection was lost')
    ann.sees('.said.pending .by', 'not sent yet')
    ann.write('later')
    assert ann.browser.find_element(By.CSS_SELECTOR, '#say button').get_property('disabled')
    with run_chat(chat.port):
        ann.sees_state('online')
        ann.sees('.said:not(.pending) p', 'before', 'on its way')
        ann.sees('.said.pending p')
        ann.sees('#count', 'Here now: 1')
        ann.say('')
        ann.sees('.said:not(.pending) p', 'before', 'on its way', 'later')
        bob = open_page('Bob')
        bob.sees('.said p', 'on its way', 'later')


@pytest.mark.wide
def test_a_network_that_is_gone_silently_is_noticed_and_nothing_is_lost(open_page, chat, browser):
    link = FaultyLink(int(chat.port))
    try:
        bob = open_page('Bob')
        chat.url = f'http://127.0.0.1:{link.port}/'
        ann = open_page('Ann')
        ann.say('before')
        bob.sees('.said:not(.pending) p', 'before')
        ann.focus()
        browser.execute_script('client.silence = 500; client.expect()')
        link.drop = True
        ann.sees_state('offline')
        bob.say('meanwhile')
        link.cut()
        link.drop = False
        browser.switch_to.window(ann.window)
        browser.execute_script('client.silence = 0')
        ann.sees('.said:not(.pending) p', 'before', 'meanwhile')
        ann.sees_state('online')
        for page in (ann, bob):
            page.sees('#people span:last-child', 'Ann', 'Bob')
        assert 'Some messages may be missing here.' not in ann.all('.note')
    finally:
        link.close()


def test_the_page_keeps_the_last_five_hundred_messages_and_forgets_older_ones(open_page, chat, browser):
    ann = open_page('Ann')
    with connect(chat.url.replace('http', 'ws'), max_queue=None) as bob:
        bob.send(json.dumps({'type': 'join', 'name': 'Bob'}))
        for number in range(700):
            bob.send(json.dumps({'type': 'say', 'text': str(number)}))
        until(lambda: ann.all('#talk li:last-child p') == ['699'], 'the last message')
    until(lambda: ann.all('#talk li:last-child') == ['Bob left'], 'the note')
    assert len(ann.all('#talk li')) == 500
    assert [text.startswith('Bob') for text in ann.all('#talk li:first-child .by')] == [True], 'it says who said it'
    assert browser.execute_script('return shown.size') == 499
    ann.reload()
    assert len(ann.all('#talk li')) == 200


@pytest.mark.wide
def test_a_page_of_another_site_is_not_let_in(open_page, chat, browser):
    page = open_page('Ann')
    page.focus()
    browser.get(f'http://localhost:{chat.port}/')  # the same server under another name is its own page
    script = """const done = arguments[1], ws = new WebSocket(arguments[0]);
                ws.onopen = () => done('open'); ws.onerror = () => done('refused');"""
    assert browser.execute_async_script(script, f'ws://localhost:{chat.port}/') == 'open'
    assert browser.execute_async_script(script, f'ws://127.0.0.1:{chat.port}/') == 'refused'


@pytest.mark.wide
def test_the_pages_reconnect_when_the_server_comes_back_on_its_port(open_page, chat):
    ann = open_page('Ann')
    bob = open_page('Bob')
    ann.say('before')
    bob.sees('.said p', 'before')

    assert chat.stop() == 0, chat
    for page in (ann, bob):
        page.sees_state('offline')
    ann.write('written meanwhile')

    with run_chat(chat.port):
        for page in (ann, bob):
            page.sees_state('online')
            page.sees('#people span:last-child', 'Ann', 'Bob')
        ann.say('')
        for page in (ann, bob):
            page.sees('.said p', 'before', 'written meanwhile')
            assert 'Some messages may be missing here.' in page.all('.note'), 'another process knows no older ones'


@pytest.fixture
def redis(tmp_path):
    pytest.importorskip('redis')
    server = RedisServer(tmp_path, data=True)
    yield server
    server.kill()


@pytest.fixture
def two_workers(redis, chat):
    """The chat of `open_page`, in two processes that share a Redis."""
    chat.stop()
    with run_chat(0, '--workers', 2, '--redis', redis.url) as workers:
        chat.url = workers.url
        yield workers
        assert workers.stop() == 0, workers


def on_two_workers(chat, open_page):
    """Two people whose connections are with different processes."""
    ann = open_page('Ann')
    bob = open_page('Bob')
    for _ in range(50):
        if bob.worker() != ann.worker():
            break
        bob.reload()
    assert bob.worker() != ann.worker(), chat
    return ann, bob


@pytest.mark.wide
@needs_redis
def test_a_page_whose_worker_is_killed_goes_on_without_gap_or_double(two_workers, open_page):
    ann, bob = on_two_workers(two_workers, open_page)
    bob.say('before')
    ann.sees('.said p', 'before')
    os.kill(int(ann.worker()), signal.SIGKILL)
    bob.say('meanwhile')
    ann.sees('.said p', 'before', 'meanwhile')
    ann.sees_state('online')
    ann.say('back')
    for page in (ann, bob):
        page.sees('.said:not(.pending) p', 'before', 'meanwhile', 'back')
        page.sees('#people span:last-child', 'Ann', 'Bob')


@pytest.mark.wide
@needs_redis
def test_two_windows_on_two_workers_see_each_other_through_a_restart_of_redis(two_workers, redis, open_page):
    ann, bob = on_two_workers(two_workers, open_page)
    for page in (ann, bob):
        page.sees('#people span:last-child', 'Ann', 'Bob')
    ann.say('before')
    for page in (ann, bob):
        page.sees('.said p', 'before')

    redis.kill()
    bob.say('meanwhile')
    ann.say('me too')
    redis.start()
    until(lambda: len(ann.all('.said:not(.pending) p')) == 3, 'the messages that waited')
    bob.sees('.said:not(.pending) p', *ann.all('.said:not(.pending) p'))
    assert ann.all('.said:not(.pending) p')[0] == 'before'
    assert sorted(ann.all('.said:not(.pending) p')[1:]) == ['me too', 'meanwhile']
    bob.say('after')
    ann.sees('.said:not(.pending) p', *bob.all('.said:not(.pending) p')[:3], 'after')
    for page in (ann, bob):
        page.sees('#people span:last-child', 'Ann', 'Bob')
    cid = open_page('Cid')
    for page in (ann, bob, cid):
        page.sees('#people span:last-child', 'Ann', 'Bob', 'Cid')
    cid.sees('.said:not(.pending) p', *ann.all('.said:not(.pending) p'))


@pytest.mark.wide
def test_the_page_can_be_read_in_light_and_in_dark(open_page, browser):
    page = open_page('Ann')
    page.say('Can you read this?')
    page.sees('.said p', 'Can you read this?')
    for scheme in ('light', 'dark'):
        feature = {'name': 'prefers-color-scheme', 'value': scheme}
        browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [feature]})
        for selector in ('#people span:last-child', '.said p', '.said time', '#status', '#count', '#say button'):
            ratio = browser.execute_script(CONTRAST, selector)
            assert ratio >= 4.5, f'{selector} in {scheme}: contrast {ratio:.1f}'  # WCAG 2, level AA


CONTRAST = """
    const element = document.querySelector(arguments[0]);
    const rgba = color => {
        const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        context.fillStyle = color;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = color => {
        const [r, g, b] = rgba(color).map(x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let behind = element;
    while (rgba(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const [low, high] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]
        .map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
"""
