"""JSON means the same with orjson and without it."""

import json
import os
import subprocess
import sys

import pytest

import pyjows

#: Python expressions of values to send, with what is read at the other end, or the exception at the call.
WRITTEN = [
    ('None', 'null'),
    ('[True, 1.5, "ä", {"a": None}]', '[true,1.5,"ä",{"a":null}]'),
    ('(1, 2)', '[1,2]'),
    ('2**53 + 1', '9007199254740993'),
    ('10**30', '1000000000000000000000000000000'),
    ('-2**70', '-1180591620717411303424'),
    ('{1: 2, None: 3, False: 4, 1.5: 5}', '{"1":2,"null":3,"false":4,"1.5":5}'),
    ('Point(1, Point(2, None))', '{"x":1,"y":{"x":2,"y":null}}'),
    ('datetime.datetime(2026, 1, 2, 3, 4, 5, 6)', '"2026-01-02T03:04:05.000006"'),
    ('datetime.date(2026, 1, 2)', '"2026-01-02"'),
    ('uuid.UUID(int=1)', '"00000000-0000-0000-0000-000000000001"'),
    ('Colour.RED', '"red"'),
    ('float("nan")', ValueError),
    ('[1, {"a": float("inf")}]', ValueError),
    ('[None, Point(1, -float("inf"))]', ValueError),
    ('"\\ud800"', ValueError),
    ('{"\\ud800": 1}', ValueError),
    ('deep(100_000)', ValueError),
    ('{1, 2}', TypeError),
    ('b"bytes"', TypeError),
    ('object()', TypeError),
    ('{(1, 2): 3}', TypeError),
]

#: Texts of messages, with the value that a `json` handler gets, or ValueError for an `error` event.
READ = [
    (b'{"a":[1,2.5,null,true,"\\u00e4"]}', {'a': [1, 2.5, None, True, 'ä']}),
    (b'{"a":1,"a":2}', {'a': 2}),
    (b'18446744073709551615', 2**64 - 1),
    (b'18446744073709551616', 2.0**64),
    (b'-9223372036854775808', -(2**63)),
    (b'-9223372036854775809', -(2.0**63)),
    (b'"\\ud83d\\ude00"', '😀'),
    (b'1' * 5000, ValueError),
    (b'1e400', ValueError),
    (b'NaN', ValueError),
    (b'[-Infinity]', ValueError),
    (b'"\\ud800"', ValueError),
    (b'"\xff"', ValueError),
    (b'\xef\xbb\xbf1', ValueError),
    ('1'.encode('utf-16'), ValueError),
    (b'[' * 100_000, ValueError),
    (b'[1,]', ValueError),
    (b'', ValueError),
]

SCRIPT = """
import asyncio, dataclasses, datetime, enum, json, sys, uuid
if sys.argv[1] == 'without':
    sys.modules['orjson'] = None
import pyjows

Point = dataclasses.make_dataclass('Point', ['x', 'y'])
Colour = enum.Enum('Colour', {'RED': 'red'})

def deep(n):
    value = []
    for _ in range(n):
        value = [value]
    return value

def written(expression):
    ws, peer = pyjows.WebSocket(established=True), pyjows.WebSocket(established=True, masked=True)
    got = []
    peer.on('text', lambda ws, text: got.append(text))
    try:
        ws.send(json=eval(expression))
    except (TypeError, ValueError) as exc:
        return [next(kind.__name__ for kind in (TypeError, ValueError) if isinstance(exc, kind))]
    peer.client_read(ws.server_write())
    return got

def read(data):
    ws, peer = pyjows.WebSocket(established=True), pyjows.WebSocket(established=True, masked=True)
    got = []
    peer.on('json', lambda ws, value: got.append(['value', repr(value)]))
    peer.on('error', lambda ws, exc: got.append(['error', 'ValueError' if isinstance(exc, ValueError) else repr(exc)]))
    ws.send(binary=data)
    peer.client_read(ws.server_write())
    return got

async def received(text):
    ws, peer = pyjows.WebSocket(established=True), pyjows.WebSocket(established=True, masked=True)
    values = []
    for message in ({'text': text}, {'binary': text.encode()}):
        receiving = asyncio.ensure_future(ws.receive(json=True))
        await asyncio.sleep(0)
        ws.server_read(peer.send(**message).client_write())
        values.append(await receiving)
    return values

questions = eval(sys.stdin.read())
answers = [written(each) for each in questions[0]], [read(each) for each in questions[1]]
json.dump([*answers, asyncio.run(received('{"a": [1, "\u00e9"]}'))], sys.stdout)
"""


@pytest.fixture(scope='module', params=['with', 'without'])
def answers(request):
    """What becomes of each value, in a process with or without orjson."""
    if request.param == 'with':
        pytest.importorskip('orjson')
    questions = [expression for expression, _ in WRITTEN], [data for data, _ in READ]
    ran = subprocess.run(
        [sys.executable, '-P', '-c', SCRIPT, request.param],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        input=repr(questions), capture_output=True, text=True, encoding='utf-8', timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_value_is_written_alike_or_refused_at_the_call(answers):
    expected = [[wanted if isinstance(wanted, str) else wanted.__name__] for _, wanted in WRITTEN]
    for (expression, _), answer, wanted in zip(WRITTEN, answers[0], expected, strict=True):
        assert answer == wanted, expression


def test_a_text_is_read_alike_or_is_an_error(answers):
    for (data, wanted), answer in zip(READ, answers[1], strict=True):
        assert answer == [['error', 'ValueError'] if wanted is ValueError else ['value', repr(wanted)]], data[:40]


def test_a_coroutine_receives_json_of_either_kind_of_message(answers):
    assert answers[2] == [{'a': [1, 'é']}] * 2


def test_what_cannot_be_written_leaves_the_connection_as_it_was():
    ws = pyjows.WebSocket(established=True)
    with pytest.raises(ValueError):
        ws.send(json=float('nan'))
    ws.send(json=1)
    assert ws.server_write() == b'\x81\x011'
