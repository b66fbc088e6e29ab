"""The chat as people use it: examples/chat.py as a process, its page twice in headless Chromium."""

import os
import shutil
from contextlib import suppress

import pytest
from background import until
from brokers import RedisServer, needs_redis
from program import ROOT, Program

webdriver = pytest.importorskip('selenium.webdriver')
By = pytest.importorskip('selenium.webdriver.common.by').By

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
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [*QUIET, f'--user-data-dir={tmp_path_factory.mktemp("chromium")}']:
        options.add_argument(argument)
    os.environ['SE_OFFLINE'] = 'true'  # the driver is here: nothing is to be looked up or downloaded
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
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
    for page in pages:
        page.focus()
        browser.close()
    browser.switch_to.window(first)


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
    ann.sees('.note', 'Bob joined', 'Bob left')


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


@pytest.mark.wide
@needs_redis
def test_two_windows_on_two_workers_see_each_other_through_a_restart_of_redis(two_workers, redis, open_page):
    ann = open_page('Ann')
    bob = open_page('Bob')
    for _ in range(50):
        if bob.worker() != ann.worker():
            break
        bob.reload()
    assert bob.worker() != ann.worker(), two_workers
    for page in (ann, bob):
        page.sees('#people span:last-child', 'Ann', 'Bob')
    ann.say('before')
    for page in (ann, bob):
        page.sees('.said p', 'before')

    redis.kill()
    bob.say('meanwhile')
    ann.say('me too')
    redis.start()
    until(lambda: len(ann.all('.said p')) == 3, 'the messages that waited')
    bob.sees('.said p', *ann.all('.said p'))
    assert ann.all('.said p')[0] == 'before'
    assert sorted(ann.all('.said p')[1:]) == ['me too', 'meanwhile']
    bob.say('after')
    ann.sees('.said p', *bob.all('.said p')[:3], 'after')
    for page in (ann, bob):
        page.sees('#people span:last-child', 'Ann', 'Bob')
    cid = open_page('Cid')
    for page in (ann, bob, cid):
        page.sees('#people span:last-child', 'Ann', 'Bob', 'Cid')
    cid.sees('.said p', *ann.all('.said p'))


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
