"""permessage-deflate: what is negotiated, what goes over the wire, and what a hostile peer gets out of it."""

import importlib.util
import json
import random
import sys
import tracemalloc
import weakref
import zlib
from types import ModuleType

import pytest
from amounts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import pyjows.extensions
import pyjows.sansio
from pyjows.deflate import Deflate, PerMessageDeflate
from pyjows.errors import NegotiationError, PayloadTooBig, ProtocolError
from pyjows.extensions import format_extensions, negotiate_client, negotiate_server, offer_header, parse_extensions
from pyjows.frames import Frame, Opcode, build_frame, parse_frame

CONT, TEXT, BINARY, CLOSE, PING = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING
TAIL = b'\x00\x00\xff\xff'
MESSAGES = [json.dumps({'user': f'u{n}', 'text': 'the quick brown fox ' * (n % 7), 'n': n}).encode() for n in range(40)]


def _engine(name, package):
    missing = importlib.util.find_spec(package) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f'{package} is not installed'))


ENGINES = ['zlib', _engine('zlib_ng', 'zlib_ng'), _engine('isal', 'isal')]
every_engine = pytest.mark.parametrize('engine', ENGINES)


def params(text):
    """The parameters in ``'client_max_window_bits; server_max_window_bits=10'``."""
    return parse_extensions(f'permessage-deflate; {text}' if text else 'permessage-deflate')[0][1]


def words(parameters):
    return format_extensions([('permessage-deflate', parameters)]).removeprefix('permessage-deflate').lstrip('; ')


def pair(client=None, server=None, **options):
    """Both ends of a connection that has negotiated: the client's extension and the server's."""
    client, server = client or PerMessageDeflate(**options), server or PerMessageDeflate(**options)
    answer, [accepted] = negotiate_server([server], offer_header([client]))
    [agreed] = negotiate_client([client], answer)
    return agreed, accepted


def inflate(extension, *payloads, fin=True, **limit):
    """What comes out of one compressed message whose frames have these payloads."""
    frames = [Frame(CONT if n else BINARY, data, False, not n) for n, data in enumerate(payloads)]
    frames[-1] = frames[-1]._replace(fin=fin)
    return b''.join(extension.decode(frame, **limit).data for frame in frames)


def raw(data, wbits=15, level=6):
    """A whole DEFLATE stream, its last block with BFINAL set."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -wbits)
    return compressor.compress(data) + compressor.flush()


def strictly(stream, wbits):
    """Decompress with a window of just that size: byte by byte, so that nothing else is within reach."""
    decompressor, out = zlib.decompressobj(-wbits), []
    while piece := decompressor.decompress(stream, 1):
        out.append(piece)
        stream = decompressor.unconsumed_tail
    return b''.join(out)


# The configuration


def test_by_default_a_client_offers_that_its_window_may_be_limited():
    assert [words(offer) for offer in PerMessageDeflate().offers()] == ['client_max_window_bits']


def test_an_offer_has_every_parameter_that_was_configured():
    configured = PerMessageDeflate(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=10,
        client_max_window_bits=11,
    )
    assert set(words(configured.offers()[0]).split('; ')) == {
        'server_no_context_takeover',
        'client_no_context_takeover',
        'server_max_window_bits=10',
        'client_max_window_bits=11',
    }


@pytest.mark.parametrize(
    'option',
    [
        {'server_max_window_bits': 7},
        {'server_max_window_bits': 16},
        {'client_max_window_bits': 0},
        {'level': 10},
        {'level': -1},
        {'mem_level': 0},
        {'mem_level': 10},
        {'threshold': -1},
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option):
    [name] = option
    with pytest.raises(ValueError, match=rf'{name} is -?\d+; it must be from \d+ to \d+'):
        PerMessageDeflate(**option)


@pytest.mark.parametrize('option', [{'level': '6'}, {'client_max_window_bits': True}, {'mem_level': None}])
def test_an_option_that_is_no_number_is_refused_by_name(option):
    [name] = option
    with pytest.raises(TypeError, match=name):
        PerMessageDeflate(**option)


def test_the_configuration_shows_itself():
    assert 'server_max_window_bits=10' in repr(PerMessageDeflate(server_max_window_bits=10))


# What a server answers (RFC 7692 7.1)


@pytest.mark.parametrize(
    ('configured', 'offer', 'answer'),
    [
        ({}, '', 'server_max_window_bits=12'),
        ({}, 'client_max_window_bits', 'client_max_window_bits=12; server_max_window_bits=12'),
        ({}, 'client_max_window_bits=10', 'client_max_window_bits=10; server_max_window_bits=12'),
        ({}, 'client_max_window_bits="10"', 'client_max_window_bits=10; server_max_window_bits=12'),
        ({}, 'client_max_window_bits=15', 'client_max_window_bits=12; server_max_window_bits=12'),
        ({}, 'server_max_window_bits=10', 'server_max_window_bits=10'),
        ({}, 'server_max_window_bits=15', 'server_max_window_bits=12'),
        ({}, 'server_max_window_bits=8', 'server_max_window_bits=8'),
        ({}, 'server_no_context_takeover', 'server_no_context_takeover; server_max_window_bits=12'),
        ({}, 'client_no_context_takeover', 'client_no_context_takeover; server_max_window_bits=12'),
        ({'server_max_window_bits': 15}, '', ''),
        ({'server_max_window_bits': 15}, 'server_max_window_bits=15', 'server_max_window_bits=15'),
        ({'server_max_window_bits': 9}, 'server_max_window_bits=12', 'server_max_window_bits=9'),
        ({'server_max_window_bits': 15}, 'server_max_window_bits=9', 'server_max_window_bits=9'),
        (
            {'client_max_window_bits': 15, 'server_max_window_bits': 15},
            'client_max_window_bits',
            'client_max_window_bits=15',
        ),
        ({'client_max_window_bits': 9, 'server_max_window_bits': 15}, '', ''),
        (
            {'server_no_context_takeover': True, 'client_no_context_takeover': True},
            '',
            'client_no_context_takeover; server_no_context_takeover; server_max_window_bits=12',
        ),
    ],
)
def test_a_server_answers_with_what_both_sides_can_keep(configured, offer, answer):
    given, _ = PerMessageDeflate(**configured).answer([params(offer)])
    assert words(given) == answer


WRONG_IN_BOTH = [
    'unknown',
    'server_max_window_bits',
    'server_max_window_bits=7',
    'server_max_window_bits=16',
    'server_max_window_bits=010',
    'server_max_window_bits=10; server_max_window_bits=10',
    'server_max_window_bits=ten',
    'client_max_window_bits=08',
    'client_max_window_bits=+9',
    'client_max_window_bits=9; client_max_window_bits=9',
    'client_max_window_bits=100000000000',
    'server_no_context_takeover=1',
    'client_no_context_takeover=true',
    'server_no_context_takeover; server_no_context_takeover',
    'client_no_context_takeover; client_no_context_takeover',
    'Server_No_Context_Takeover',
]


@pytest.mark.parametrize('offer', WRONG_IN_BOTH)
def test_a_server_declines_a_wrong_offer(offer):
    assert PerMessageDeflate().answer([params(offer)]) is None


def test_a_server_accepts_the_first_offer_that_is_right():
    offers = [params('server_max_window_bits=99'), params('server_max_window_bits=10'), params('')]
    answer, extension = PerMessageDeflate().answer(offers)
    assert words(answer) == 'server_max_window_bits=10'
    assert extension.local_max_window_bits == 10


def test_a_server_without_any_right_offer_goes_on_uncompressed():
    header = 'permessage-deflate; server_max_window_bits=99, permessage-deflate; nonsense'
    assert negotiate_server([PerMessageDeflate()], header) == (None, [])


def test_a_client_that_cannot_limit_its_window_is_read_with_the_whole_one():
    _, extension = PerMessageDeflate(client_max_window_bits=9).answer([params('')])
    assert extension.remote_max_window_bits == 15


# What a client makes of the answer


@pytest.mark.parametrize(
    ('configured', 'answer', 'local', 'remote'),
    [
        ({}, '', (False, 12), (False, 15)),
        ({}, 'server_no_context_takeover', (False, 12), (True, 15)),
        ({}, 'client_no_context_takeover', (True, 12), (False, 15)),
        ({}, 'server_max_window_bits=8', (False, 12), (False, 8)),
        ({}, 'client_max_window_bits=15', (False, 12), (False, 15)),
        ({}, 'client_max_window_bits=8', (False, 8), (False, 15)),
        ({'client_max_window_bits': 15}, '', (False, 15), (False, 15)),
        ({'client_max_window_bits': 14}, 'client_max_window_bits=13', (False, 13), (False, 15)),
        ({'client_max_window_bits': 10}, 'client_max_window_bits=11', (False, 10), (False, 15)),
        ({'client_no_context_takeover': True}, '', (True, 12), (False, 15)),
        ({'server_max_window_bits': 10}, 'server_max_window_bits=10', (False, 12), (False, 10)),
        ({'server_max_window_bits': 10}, 'server_max_window_bits="9"', (False, 12), (False, 9)),
        ({'server_max_window_bits': 15}, '', (False, 12), (False, 15)),
        ({'server_no_context_takeover': True}, 'server_no_context_takeover', (False, 12), (True, 15)),
    ],
)
def test_a_client_keeps_to_the_answer(configured, answer, local, remote):
    extension = PerMessageDeflate(**configured).agree(params(answer))
    assert (extension.local_no_context_takeover, extension.local_max_window_bits) == local
    assert (extension.remote_no_context_takeover, extension.remote_max_window_bits) == remote


@pytest.mark.parametrize('answer', [*WRONG_IN_BOTH, 'client_max_window_bits'])
def test_a_client_fails_a_wrong_answer_with_1010(answer):
    with pytest.raises(NegotiationError) as caught:
        PerMessageDeflate().agree(params(answer))
    assert caught.value.code == 1010


@pytest.mark.parametrize(
    ('configured', 'answer'),
    [
        ({'server_no_context_takeover': True}, ''),
        ({'server_max_window_bits': 10}, ''),
        ({'server_max_window_bits': 10}, 'server_max_window_bits=11'),
    ],
)
def test_a_client_fails_an_answer_that_is_not_one_to_its_offer(configured, answer):
    with pytest.raises(NegotiationError, match='was (asked for|offered), and'):
        PerMessageDeflate(**configured).agree(params(answer))


def test_a_client_that_limits_its_window_offers_a_second_time_without_the_limit():
    compression = PerMessageDeflate(client_max_window_bits=10, server_max_window_bits=11)
    assert [words(offer) for offer in compression.offers()] == [
        'client_max_window_bits=10; server_max_window_bits=11',
        'client_max_window_bits; server_max_window_bits=11',
    ]
    [offer] = PerMessageDeflate(client_max_window_bits=15).offers()
    assert words(offer) == 'client_max_window_bits=15'


def test_a_server_that_insists_on_a_larger_window_takes_the_second_offer():
    compression = PerMessageDeflate(client_max_window_bits=10, threshold=0)
    # As Node's ws does with clientMaxWindowBits: 12.
    bits = [dict(offer)['client_max_window_bits'] for offer in compression.offers()]
    accepted = next(n for n, value in enumerate(bits) if value is None or int(value) >= 12)
    assert accepted == 1
    client = compression.agree(params('client_max_window_bits=12'))
    assert client.local_max_window_bits == 10
    server = PerMessageDeflate(client_max_window_bits=12).answer([compression.offers()[1]])[1]
    assert server.remote_max_window_bits == 12
    message = Frame(Opcode.TEXT, bytes(range(256)) * 40)
    assert server.decode(client.encode(message)) == message


@pytest.mark.parametrize(
    'compression', [pyjows.extensions.PerMessageDeflate, pyjows.sansio.ClientPerMessageDeflateFactory]
)
def test_a_client_that_makes_one_offer_fails_an_answer_with_a_larger_window(compression):
    one = compression(client_max_window_bits=10)
    assert len(one.offers()) == 1
    with pytest.raises(NegotiationError, match='was offered, and'):
        one.agree(params('client_max_window_bits=11'))


@pytest.mark.parametrize('forgets', [False, True])
def test_an_empty_compressed_payload_is_an_empty_message(forgets):
    peer, ours = pair(client_no_context_takeover=forgets, threshold=0)
    empty = Frame(Opcode.TEXT, b'', rsv1=True)
    hello = Frame(Opcode.TEXT, b'hello hello hello')
    assert ours.decode(empty) == Frame(Opcode.TEXT, b'')
    for _ in range(2):
        assert ours.decode(peer.encode(hello)) == hello
        assert ours.decode(empty, max_size=0) == Frame(Opcode.TEXT, b'')
        assert ours.decompress_message(b'') == b''
    first = peer.encode(Frame(Opcode.TEXT, b'hello', False))
    last = peer.encode(Frame(Opcode.CONT, b'hello'))
    assert ours.decode(first).data == b'hello'
    assert ours.decode(Frame(Opcode.CONT, b'', False)).data == b''
    assert ours.decode(last).data == b'hello'
    assert ours.decode(Frame(Opcode.TEXT, b'', False, True)).data == b''
    assert ours.decode(Frame(Opcode.CONT, b'')).data == b''
    assert ours.decode(peer.encode(hello)) == hello


parameters = st.fixed_dictionaries(
    {},
    optional={
        'server_no_context_takeover': st.booleans(),
        'client_no_context_takeover': st.booleans(),
        'server_max_window_bits': st.none() | st.integers(8, 15),
        'client_max_window_bits': st.none() | st.integers(8, 15),
    },
)


@given(parameters, parameters)
def test_two_of_us_always_agree_and_each_reads_what_the_other_writes(of_client, of_server):
    client, server = pair(PerMessageDeflate(**of_client), PerMessageDeflate(**of_server))
    for sender, receiver in ((client, server), (server, client)):
        assert receiver.remote_no_context_takeover == sender.local_no_context_takeover
        assert receiver.remote_max_window_bits >= sender.local_max_window_bits
        for message in MESSAGES[:4]:
            assert receiver.decode(sender.encode(Frame(TEXT, message))) == Frame(TEXT, message)


# The engine


@every_engine
def test_the_environment_chooses_the_engine(engine, monkeypatch):
    monkeypatch.setenv('PYJOWS_ZLIB', engine)
    assert PerMessageDeflate().zlib.__name__.split('.')[0] == engine


def test_an_engine_is_taken_as_a_module(monkeypatch):
    monkeypatch.setenv('PYJOWS_ZLIB', 'nonsense')
    assert PerMessageDeflate(zlib=zlib).zlib is zlib


def test_an_unknown_engine_is_refused_with_those_that_are_known(monkeypatch):
    with pytest.raises(ValueError, match='zlib, zlib_ng, isal'):
        PerMessageDeflate(zlib='lzma')
    monkeypatch.setenv('PYJOWS_ZLIB', 'lzma')
    with pytest.raises(ValueError, match='PYJOWS_ZLIB'):
        PerMessageDeflate()


def test_an_engine_that_is_not_installed_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'zlib_ng', None)
    monkeypatch.delitem(sys.modules, 'zlib_ng.zlib_ng', raising=False)
    with pytest.raises(ImportError, match=r'pip install pyjows\[zlib-ng\]'):
        PerMessageDeflate(zlib='zlib_ng')


def test_a_module_that_is_no_engine_is_refused():
    with pytest.raises(TypeError, match='json has no compressobj'):
        PerMessageDeflate(zlib=json)


@every_engine
@pytest.mark.parametrize('level', [None, 0, 1, 6, 9])
@pytest.mark.parametrize('bits', [8, 9, 12, 15])
def test_every_engine_works_at_every_level_and_window(engine, level, bits):
    options = {'level': level, 'server_max_window_bits': bits, 'client_max_window_bits': bits, 'zlib': engine}
    client, server = pair(**options)
    for message in MESSAGES:
        assert server.decode(client.encode(Frame(TEXT, message))).data == message


@every_engine
@pytest.mark.parametrize('bits', [8, 9, 10, 13])
def test_no_engine_refers_further_back_than_the_window(engine, bits):
    client, _ = pair(server_max_window_bits=bits, client_max_window_bits=bits, zlib=engine)
    for period in (1 << bits, (1 << bits) - 1, (1 << bits) + 1, 250, 251, 256, 300, 511, 512):
        client.forget()
        message = (random.Random(period).randbytes(period) * 30)[: 3 * period + 300]
        assert strictly(client.compress_message(message) + TAIL, bits) == message


# Messages, as RFC 7692 7.2.3 shows them


def hex_(text):
    return bytes.fromhex(text)


def test_hello_in_one_block():
    client, server = pair(threshold=0, zlib='zlib')
    frame = client.encode(Frame(TEXT, b'Hello'))
    assert frame == Frame(TEXT, hex_('f2 48 cd c9 c9 07 00'), rsv1=True)
    assert server.decode(frame) == Frame(TEXT, b'Hello')


def test_hello_in_two_fragments():
    _, server = pair()
    assert inflate(server, hex_('f2 48 cd'), hex_('c9 c9 07 00')) == b'Hello'


def test_hello_twice_shares_the_window():
    client, server = pair(threshold=0, zlib='zlib')
    assert client.compress_message(b'Hello') == hex_('f2 48 cd c9 c9 07 00')
    assert client.compress_message(b'Hello') == hex_('f2 00 11 00 00')
    assert inflate(server, hex_('f2 48 cd c9 c9 07 00')) == b'Hello'
    assert inflate(server, hex_('f2 00 11 00 00')) == b'Hello'


def test_hello_in_a_stored_block():
    assert inflate(pair()[1], hex_('00 05 00 fa ff 48 65 6c 6c 6f 00')) == b'Hello'


def test_hello_in_a_final_block():
    _, server = pair()
    for _ in range(3):
        assert inflate(server, hex_('f3 48 cd c9 c9 07 00 00')) == b'Hello'


def test_hello_in_two_blocks():
    assert inflate(pair()[1], hex_('f2 48 05 00 00 00 ff ff ca c9 c9 07 00')) == b'Hello'


@every_engine
def test_an_empty_message_is_next_to_nothing(engine):
    client, server = pair(threshold=0, zlib=engine)
    for message in (b'', b'text', b'', b''):
        frame = client.encode(Frame(TEXT, message))
        assert frame.rsv1 and (message or frame.data == (b'\x02\x00' if engine == 'isal' else b'\x00'))
        assert server.decode(frame) == Frame(TEXT, message)


@every_engine
@pytest.mark.parametrize('forgets', [False, True])
@pytest.mark.parametrize('fragments', [[b'a', b''], [b'', b''], [b'', b'a'], [b'', b'a' * 300, b'', b'', b'b', b'']])
def test_fragments_may_be_empty(engine, forgets, fragments):
    client, server = pair(client_no_context_takeover=forgets, zlib=engine)
    for _ in range(2):
        for n, fragment in enumerate(fragments):
            sent = client.encode(Frame(CONT if n else TEXT, fragment, n == len(fragments) - 1))
            assert sent.rsv1 == (n == 0)
            assert server.decode(sent) == Frame(CONT if n else TEXT, fragment, n == len(fragments) - 1)


@every_engine
def test_a_fragment_can_be_read_before_the_next_one_is_sent(engine):
    client, server = pair(zlib=engine)
    for n, fragment in enumerate((b'one', b'two', b'three')):
        assert server.decode(client.encode(Frame(CONT if n else TEXT, fragment, n == 2))).data == fragment


def test_a_message_may_end_with_the_final_block_itself():
    _, server = pair()
    for _ in range(2):
        assert inflate(server, raw(b'Hello')) == b'Hello'
        assert inflate(server, raw(b'Hello'), b'') == b'Hello'
        assert inflate(server, *[bytes([byte]) for byte in raw(b'Hello')]) == b'Hello'


def test_a_message_may_have_many_final_blocks():
    _, server = pair()
    stream = b''.join(raw(message) for message in MESSAGES) + b'\x00'
    assert inflate(server, stream) == b''.join(MESSAGES)
    assert inflate(server, stream[:100], stream[100:101], b'', stream[101:]) == b''.join(MESSAGES)
    assert inflate(server, hex_('f2 48 cd c9 c9 07 00')) == b'Hello'


def test_a_message_of_nothing_but_empty_final_blocks_is_empty():
    assert inflate(pair()[1], raw(b'') * 20_000 + b'\x00', max_size=0) == b''


# Which frames are compressed


@pytest.mark.parametrize('opcode', [CLOSE, PING, Opcode.PONG])
def test_control_frames_are_left_alone(opcode):
    client, server = pair(threshold=0)
    frame = Frame(opcode, b'x' * 100)
    assert client.encode(frame) is frame
    assert server.decode(frame) is frame


def test_control_frames_may_stand_between_fragments():
    client, server = pair()
    first = client.encode(Frame(TEXT, b'a' * 500, False))
    last = client.encode(Frame(CONT, b'b' * 500, True))
    assert server.decode(first).data == b'a' * 500
    assert server.decode(Frame(PING, b'ping')) == Frame(PING, b'ping')
    assert server.decode(last).data == b'b' * 500


@pytest.mark.parametrize('opcode', [CLOSE, PING, Opcode.PONG, CONT])
def test_rsv1_is_refused_where_no_message_begins(opcode):
    _, server = pair()
    with pytest.raises(ProtocolError, match='RSV1 on a') as caught:
        server.decode(Frame(opcode, b'', True, True))
    assert caught.value.code == 1002


@pytest.mark.parametrize('compressed', [False, True])
def test_rsv1_is_refused_within_a_message(compressed):
    client, server = pair()
    server.decode(client.encode(Frame(TEXT, b'text', False)) if compressed else Frame(TEXT, b'text', False))
    with pytest.raises(ProtocolError, match='RSV1 on a continuation'):
        server.decode(Frame(CONT, b'', True, True))


def test_messages_below_the_threshold_go_out_as_they_are():
    client, _ = pair(threshold=100)
    assert client.encode(Frame(TEXT, b'x' * 99)) == Frame(TEXT, b'x' * 99)
    assert client.compress_message(b'x' * 99) is None
    assert client.encode(Frame(TEXT, b'x' * 100)).rsv1


def test_fragmented_messages_are_compressed_from_the_first_byte():
    client, _ = pair(threshold=100)
    assert client.encode(Frame(TEXT, b'', False)).rsv1


def test_the_continuation_of_a_message_that_was_not_compressed_is_not_either():
    client, _ = pair()
    assert client.encode(Frame(CONT, b'x' * 500)) == Frame(CONT, b'x' * 500)


def test_uncompressed_messages_may_stand_between_compressed_ones():
    client, server = pair()
    for message in MESSAGES:
        assert server.decode(client.encode(Frame(TEXT, message))) == Frame(TEXT, message)
        assert server.decode(Frame(BINARY, b'\x00\xff raw')) == Frame(BINARY, b'\x00\xff raw')
        assert server.decode(Frame(TEXT, b'raw', False)) == Frame(TEXT, b'raw', False)
        assert server.decode(Frame(CONT, b'raw', True)) == Frame(CONT, b'raw', True)


def test_the_other_reserved_bits_are_kept():
    client, server = pair(threshold=0)
    frame = Frame(TEXT, b'text', rsv2=True, rsv3=True)
    assert client.encode(frame).rsv2 and client.encode(frame).rsv3
    assert server.decode(frame) == frame


@pytest.mark.parametrize('kind', [bytearray, memoryview])
def test_any_kind_of_bytes_will_do(kind):
    client, server = pair(threshold=0)
    for fin in (True, False):
        frame = client.encode(Frame(BINARY, kind(b'payload'), fin))
        assert server.decode(frame._replace(data=kind(frame.data))).data == b'payload'


# Contexts


def test_with_context_takeover_a_message_refers_to_those_before_it():
    client, _ = pair()
    first, second = (len(client.compress_message(MESSAGES[5])) for _ in range(2))
    assert second < first / 3


def test_without_context_takeover_every_message_stands_alone():
    client, _ = pair(client_no_context_takeover=True)
    for message in MESSAGES[1:5] * 2:
        sent = client.compress_message(message)
        assert zlib.decompressobj(-15).decompress((sent or b'') + TAIL) == (message if sent else b'')


def test_without_context_takeover_what_does_not_shrink_goes_out_as_it_is():
    client, _ = pair(client_no_context_takeover=True)
    noise = random.Random(1).randbytes(1000)
    assert client.encode(Frame(BINARY, noise)) == Frame(BINARY, noise)


def test_with_context_takeover_what_does_not_shrink_is_compressed_all_the_same():
    client, server = pair()
    noise = random.Random(1).randbytes(1000)
    assert server.decode(client.encode(Frame(BINARY, noise))) == Frame(BINARY, noise)
    assert len(client.compress_message(noise)) < 100


def test_a_sender_that_keeps_its_window_is_refused_where_it_should_not():
    _, server = pair(client_no_context_takeover=True)
    assert inflate(server, hex_('f2 48 cd c9 c9 07 00')) == b'Hello'
    with pytest.raises(ProtocolError) as caught:
        inflate(server, hex_('f2 00 11 00 00'))
    assert caught.value.code == 1007


def test_a_sender_that_uses_a_larger_window_than_agreed_is_refused():
    client, _ = pair(client_max_window_bits=15)
    _, server = pair(client_max_window_bits=9, zlib='zlib')
    noise = random.Random(1).randbytes(2000)
    assert inflate(server, client.compress_message(noise)) == noise
    with pytest.raises(ProtocolError, match='too far back'):
        inflate(server, client.compress_message(noise))


@every_engine
def test_a_sender_that_uses_9_bits_where_8_were_agreed_is_understood(engine):
    _, server = pair(client_max_window_bits=8, zlib=engine)
    noise = random.Random(1).randbytes(500)
    sender = isal_of_9_bits()
    for _ in range(3):
        assert inflate(server, (sender.compress(noise) + sender.flush(zlib.Z_SYNC_FLUSH))[:-4]) == noise


def isal_of_9_bits():
    """A compressor that does use all of its 512 bytes."""
    return pytest.importorskip('isal.isal_zlib').compressobj(3, zlib.DEFLATED, -9)


@pytest.fixture
def census():
    """An engine that knows which of its objects are alive."""
    alive = weakref.WeakSet()

    class Counted:
        def __init__(self, real):
            self.real = real
            alive.add(self)

        def __getattr__(self, name):
            return getattr(self.real, name)

    engine = ModuleType('census')
    vars(engine).update(vars(zlib), __name__='census')
    engine.compressobj = lambda *args: Counted(zlib.compressobj(*args))
    engine.decompressobj = lambda *args: Counted(zlib.decompressobj(*args))
    engine.alive = alive
    return engine


def test_an_idle_connection_owns_no_context(census):
    client, server = pair(zlib=census)
    server.decode(client.encode(Frame(TEXT, b'short')))
    assert len(census.alive) == 0


def test_with_context_takeover_a_connection_owns_what_it_needs(census):
    client, server = pair(zlib=census)
    server.decode(client.encode(Frame(TEXT, b'x' * 100)))
    assert len(census.alive) == 2


def test_without_context_takeover_contexts_are_given_back_after_each_message(census):
    client, server = pair(zlib=census, client_no_context_takeover=True)
    server.decode(client.encode(Frame(TEXT, b'x' * 100)))
    assert len(census.alive) == 0
    server.decode(client.encode(Frame(TEXT, b'x' * 100, False)))
    assert len(census.alive) == 2
    server.decode(client.encode(Frame(CONT, b'', True)))
    assert len(census.alive) == 0


# Sharing


def test_one_compressed_message_can_be_shared_without_context_takeover():
    servers, clients = [], []
    for _ in range(5):
        client, server = pair(server_no_context_takeover=True)
        clients.append(client)
        servers.append(server)
    assert all(server.can_share for server in servers)
    assert len({server.share_key for server in servers}) == 1
    data = servers[0].compress_message(MESSAGES[6])
    assert all(client.decompress_message(data) == MESSAGES[6] for client in clients)


def test_one_compressed_message_can_be_shared_with_context_takeover_by_those_who_forget():
    pairs = [pair() for _ in range(5)]
    assert not any(server.can_share for _, server in pairs)
    for n in range(3):
        for i, (client, server) in enumerate(pairs):
            own = MESSAGES[10 * n + i]
            assert client.decode(server.encode(Frame(TEXT, own))).data == own
        shared = pairs[0][1].compress_shared(MESSAGES[6])
        for client, server in pairs:
            server.forget()
            assert client.decompress_message(shared) == MESSAGES[6]


def test_what_is_not_worth_compressing_is_not_shared_compressed():
    _, server = pair()
    assert server.compress_shared(b'short') is None
    assert server.compress_shared(random.Random(1).randbytes(1000)) is None


@pytest.mark.parametrize('option', [{'level': 1}, {'mem_level': 9}, {'threshold': 9}, {'server_max_window_bits': 9}])
def test_connections_that_compress_differently_have_different_keys(option):
    assert pair()[1].share_key != pair(**option)[1].share_key


# Bad input


@pytest.mark.parametrize(
    'data', [b'\xff', b'\x06', hex_('f2 00 11 00 00'), b'\x00\x05\x00\x00\x00Hello', b'not deflate']
)
@every_engine
def test_invalid_deflate_data_fails_with_1007(engine, data):
    _, server = pair(zlib=engine)
    with pytest.raises(ProtocolError, match='not valid DEFLATE') as caught:
        inflate(server, data)
    assert caught.value.code == 1007


@every_engine
@pytest.mark.parametrize('size', [0, 1, 5, 32768, 100_000])
def test_a_message_may_have_all_of_the_limit_and_no_byte_more(engine, size):
    data = pair(threshold=0)[0].compress_message(b'x' * size)
    assert len(inflate(pair(zlib=engine)[1], data, max_size=size)) == size
    if size:
        with pytest.raises(PayloadTooBig, match=f'more than the {size - 1} bytes') as caught:
            inflate(pair(zlib=engine)[1], data, max_size=size - 1)
        assert caught.value.code == 1009


def test_a_limit_that_is_used_up_lets_nothing_through():
    data = pair(threshold=0)[0].compress_message(b'x')
    with pytest.raises(PayloadTooBig):
        inflate(pair()[1], data, max_size=-1)


def test_a_limit_larger_than_memory_is_no_limit():
    data = pair(threshold=0)[0].compress_message(b'x' * 1000)
    for limit in (None, sys.maxsize - 1, sys.maxsize, 1 << 80):
        assert len(inflate(pair()[1], data, max_size=limit)) == 1000


BOMB = raw(bytes(64 << 20), level=9)


@every_engine
@pytest.mark.parametrize(
    'payloads',
    [[BOMB], [BOMB[:9], BOMB[9:]], [raw(b'x') * 10 + BOMB], [raw(b'x' * 40) * 6000]],
    ids=['whole', 'fragments', 'after final blocks', 'of final blocks'],
)
def test_a_bomb_ends_at_the_limit(engine, payloads):
    _, server = pair(zlib=engine)
    inflate(server, raw(b'warm up'))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(PayloadTooBig):
            inflate(server, *payloads, max_size=100_000)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_after_a_failure_the_next_message_begins_anew():
    _, server = pair()
    with pytest.raises(ProtocolError):
        inflate(server, b'\xff')
    with pytest.raises(PayloadTooBig):
        inflate(server, BOMB, max_size=10)
    assert inflate(server, hex_('f2 48 cd c9 c9 07 00')) == b'Hello'


@every_engine
@settings(deadline=None)
@given(data=st.data())
def test_random_bytes_raise_only_what_is_documented(engine, data):
    _, server = pair(zlib=engine)
    frames = st.builds(
        Frame,
        st.sampled_from([TEXT, BINARY, CONT, PING]),
        st.binary(max_size=200) | st.sampled_from([raw(b'Hello'), raw(bytes(5000)), b'\x00', TAIL]),
        st.booleans(),
        st.booleans(),
    )
    for frame in data.draw(st.lists(frames, max_size=20)):
        limit = data.draw(st.none() | st.integers(0, 1000))
        try:
            decoded = server.decode(frame, max_size=limit)
        except PayloadTooBig as exc:
            assert limit is not None and exc.code == 1009
        except ProtocolError as exc:
            assert exc.code in (1002, 1007)
        else:
            assert decoded is frame or limit is None or len(decoded.data) <= limit


@every_engine
@settings(deadline=None)
@given(data=st.data())
def test_damaged_messages_raise_only_what_is_documented(engine, data):
    client, server = pair(zlib=engine)
    for message in MESSAGES[:3]:
        damaged = bytearray(client.compress_message(message) or b'?')
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] ^= data.draw(st.integers(0, 255))
        try:
            assert len(inflate(server, bytes(damaged), max_size=1000)) <= 1000
        except ProtocolError as exc:
            assert exc.code in (1007, 1009)
            return


# Round trips


def cut(data, payload):
    """The payload in pieces, at places of hypothesis' choice."""
    places = data.draw(st.lists(st.integers(0, len(payload)), max_size=4).map(sorted))
    return [payload[a:b] for a, b in zip([0, *places], [*places, len(payload)], strict=True)]


texts = st.binary(max_size=300) | st.sampled_from(MESSAGES) | st.integers(0, 70_000).map(lambda n: (b'abcdefg' * n)[:n])


@every_engine
@settings(deadline=None, max_examples=examples(60))
@given(data=st.data())
def test_any_fragments_arriving_in_any_pieces_give_the_message(engine, data):
    options = data.draw(parameters)
    client, server = pair(**options, threshold=data.draw(st.sampled_from([0, 64])), zlib=engine)
    for message in data.draw(st.lists(texts, max_size=5)):
        fragments = cut(data, message)
        received = b''
        for n, fragment in enumerate(fragments):
            last = n == len(fragments) - 1
            sent = client.encode(Frame(CONT if n else BINARY, fragment, last))
            pieces = cut(data, sent.data)
            for i, piece in enumerate(pieces):
                fin = last and i == len(pieces) - 1
                part = Frame(CONT if n or i else BINARY, piece, fin, sent.rsv1 and not i)
                decoded = server.decode(part, max_size=len(message) - len(received))
                assert not decoded.rsv1
                received += decoded.data
        assert received == message


# Other implementations


with_each_configuration = pytest.mark.parametrize(
    ('forgets', 'bits'),
    [
        pytest.param(forgets, bits, id=f'{"no context" if forgets else "context"}-{bits}')
        for forgets in (False, True)
        for bits in (9, 12, 15)
    ],
)


def fragments_of(message):
    third = len(message) // 3
    return [message[:third], message[third : 2 * third], message[2 * third :]]


@every_engine
@with_each_configuration
@pytest.mark.parametrize('role', ['client', 'server'])
def test_with_websockets(role, forgets, bits, engine):
    pytest.importorskip('websockets')
    from websockets.extensions import permessage_deflate as theirs
    from websockets.frames import Frame as TheirFrame
    from websockets.frames import Opcode as TheirOpcode
    from websockets.headers import build_extension, parse_extension

    options = {f'{side}_no_context_takeover': forgets for side in ('client', 'server')}
    options |= {f'{side}_max_window_bits': bits for side in ('client', 'server')}
    if role == 'client':
        us = PerMessageDeflate(**options, zlib=engine)
        (_, offer), *_ = parse_extension(offer_header([us]))
        answer, them = theirs.ServerPerMessageDeflateFactory(**options).process_request_params(offer, [])
        [ours] = negotiate_client([us], build_extension([(theirs.PerMessageDeflate.name, answer)]))
    else:
        factory = theirs.ClientPerMessageDeflateFactory(**options)
        header = build_extension([(factory.name, factory.get_request_params())])
        answer, [ours] = negotiate_server([PerMessageDeflate(zlib=engine)], header)
        them = factory.process_response_params(parse_extension(answer)[0][1], [])
    assert (ours.local_no_context_takeover, ours.remote_no_context_takeover) == (forgets, forgets)
    assert them.remote_max_window_bits >= ours.local_max_window_bits
    assert ours.remote_max_window_bits >= them.local_max_window_bits
    for message in [*MESSAGES, b'']:
        for pieces in ([message], fragments_of(message), [message, b'']):
            for n, piece in enumerate(pieces):
                fin = n == len(pieces) - 1
                opcode = CONT if n else TEXT
                sent = ours.encode(Frame(opcode, piece, fin))
                got = them.decode(TheirFrame(TheirOpcode(opcode), sent.data, fin, sent.rsv1), max_size=10_000)
                assert bytes(got.data) == piece
        for pieces in ([message], fragments_of(message) if message else [message]):
            for n, piece in enumerate(pieces):
                fin = n == len(pieces) - 1
                opcode = CONT if n else TEXT
                sent = them.encode(TheirFrame(TheirOpcode(opcode), piece, fin))
                got = ours.decode(Frame(opcode, bytes(sent.data), fin, sent.rsv1), max_size=10_000)
                assert got.data == piece


@every_engine
@with_each_configuration
@pytest.mark.parametrize('role', ['client', 'server'])
def test_with_wsproto(role, forgets, bits, engine):
    pytest.importorskip('wsproto')
    from wsproto import Connection, ConnectionType
    from wsproto.events import TextMessage
    from wsproto.extensions import PerMessageDeflate as Theirs

    options = {f'{side}_no_context_takeover': forgets for side in ('client', 'server')}
    options |= {f'{side}_max_window_bits': bits for side in ('client', 'server')}
    theirs = Theirs(**options)
    if role == 'client':
        us = PerMessageDeflate(**options, zlib=engine)
        accepted = theirs.accept(format_extensions([(us.name, us.offers()[0])]))
        [ours] = negotiate_client([us], f'permessage-deflate; {accepted}')
        them = Connection(ConnectionType.SERVER, extensions=[theirs])
    else:
        answer, [ours] = negotiate_server([PerMessageDeflate(zlib=engine)], f'permessage-deflate; {theirs.offer()}')
        theirs.finalize(answer)
        them = Connection(ConnectionType.CLIENT, extensions=[theirs])
    assert theirs.enabled()
    assert (ours.local_no_context_takeover, ours.remote_no_context_takeover) == (forgets, forgets)
    for message in [*MESSAGES, b'']:
        sent = ours.encode(Frame(TEXT, message))
        them.receive_data(build_frame(True, sent.rsv1, False, False, TEXT, sent.data, masked=role == 'client'))
        assert ''.join(event.data for event in them.events()) == message.decode()
        got = parse_frame(bytearray(them.send(TextMessage(message.decode()))))
        assert got.rsv1
        assert ours.decode(got) == Frame(TEXT, message)


def test_the_extension_shows_itself():
    assert repr(pair()[0]).startswith('Deflate(local_no_context_takeover=False')
    assert isinstance(pair()[0], Deflate)
