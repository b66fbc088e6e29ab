"""The plug for extensions: the header's grammar, the negotiation of several, one's own extension in the path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjows import deflate
from pyjows.errors import NegotiationError
from pyjows.extensions import (
    Extension,
    PerMessageDeflate,
    answer_server,
    as_factories,
    format_extensions,
    negotiate_client,
    negotiate_server,
    offer_header,
    parse_extensions,
)
from pyjows.frames import Frame, Opcode

# An extension of one's own: it adds the byte `salt` to every byte, and says so with a reserved bit.


class Salted(Extension):
    name = 'x-salt'

    def __init__(self, salt, rsv=0x20):
        self.salt = salt
        self.rsv = rsv

    def encode(self, frame):
        data = bytes((byte + self.salt) % 256 for byte in frame.data)
        return frame._replace(data=data, rsv2=bool(self.rsv & 0x20), rsv3=bool(self.rsv & 0x10))

    def decode(self, frame, *, max_size=None):
        data = bytes((byte - self.salt) % 256 for byte in frame.data)
        rsv2, rsv3 = frame.rsv2 and not self.rsv & 0x20, frame.rsv3 and not self.rsv & 0x10
        return frame._replace(data=data, rsv2=rsv2, rsv3=rsv3)


class Salt:
    def __init__(self, salt=1, name='x-salt', rsv=0x20):
        self.salt, self.name, self.rsv = salt, name, rsv

    def offers(self):
        return [[('salt', str(self.salt))], []]

    def answer(self, offers):
        for offer in offers:
            if dict(offer).get('salt', '').isdecimal():
                return offer, Salted(int(dict(offer)['salt']), self.rsv)
        return None

    def agree(self, answer):
        if answer != [('salt', str(self.salt))]:
            raise NegotiationError(f'the salt is {answer}')
        return Salted(self.salt, self.rsv)


# The grammar of Sec-WebSocket-Extensions


@pytest.mark.parametrize(
    ('header', 'extensions'),
    [
        ('foo', [('foo', [])]),
        ('foo, bar', [('foo', []), ('bar', [])]),
        ('foo;a;b=1', [('foo', [('a', None), ('b', '1')])]),
        ('foo; a="1"; b="x\\y"', [('foo', [('a', '1'), ('b', 'xy')])]),
        (' foo\t;\ta = 1 , bar ', [('foo', [('a', '1')]), ('bar', [])]),
        (',, foo, ,bar,', [('foo', []), ('bar', [])]),
        ("!#$%&'*+-.^_`|~09AZaz", [("!#$%&'*+-.^_`|~09AZaz", [])]),
        ('foo; a=1, foo; a=2', [('foo', [('a', '1')]), ('foo', [('a', '2')])]),
    ],
)
def test_a_header_is_a_list_of_extensions(header, extensions):
    assert parse_extensions(header) == extensions


@pytest.mark.parametrize(
    'header',
    [
        *('', ' ', ',', 'foo bar', 'foo;', 'foo;;a', ';a', '=', 'foo;=1', 'foo;a=', 'foo;a=,', 'foo;a=b c'),
        *('foo;a="', 'foo;a=""', 'foo;a="b', 'foo;a="b"c', 'foo;a="b\\"', 'foo;a="b c"', 'foo;a="b,c"', '"foo"'),
        *('foo/bar', 'föö', 'foo;a=ö', 'foo\x00', 'foo;a="\x7f"'),
    ],
)
def test_a_malformed_header_is_refused(header):
    with pytest.raises(NegotiationError, match='Sec-WebSocket-Extensions is (malformed|empty)'):
        parse_extensions(header)


@pytest.mark.parametrize(
    'header',
    [' ' * 16000 + '"', 'a;b=' + ' ' * 16000, 'a;b="' + '\\' * 16000, ', ' * 8000, 'a' * 16000 + '"', 'a;' * 8000],
    ids=['blanks', 'blanks after =', 'escapes', 'commas', 'a name', 'semicolons'],
)
def test_a_long_malformed_header_is_refused_with_a_short_message(header):
    with pytest.raises(NegotiationError) as caught:
        parse_extensions(header)
    assert len(str(caught.value)) < 600


tokens = st.text("!#$%&'*+-.^_`|~019AZaz", min_size=1, max_size=9)
lists = st.lists(st.tuples(tokens, st.lists(st.tuples(tokens, st.none() | tokens), max_size=4)), min_size=1, max_size=4)


@given(lists)
def test_what_is_formatted_parses_to_the_same(extensions):
    assert parse_extensions(format_extensions(extensions)) == extensions


@given(lists)
def test_websockets_reads_what_we_write(extensions):
    headers = pytest.importorskip('websockets.headers')
    assert headers.parse_extension(format_extensions(extensions)) == extensions
    assert parse_extensions(headers.build_extension(extensions)) == extensions


@given(st.text(' \t,;="\\ab1', max_size=14))
def test_what_websockets_reads_we_read_the_same(header):
    headers = pytest.importorskip('websockets.headers')
    try:
        theirs = headers.parse_extension(header)
    except Exception:
        return  # it refuses more: blanks around a value (RFC 2616 2.1), for one
    assert parse_extensions(header) == theirs


@pytest.mark.parametrize(
    'extension', [('no token', []), ('foo', [('', None)]), ('foo', [('a', 'b c')]), ('foo', [('a', '')]), ('ö', [])]
)
def test_what_is_no_token_is_not_written(extension):
    with pytest.raises(ValueError, match='is not a valid'):
        format_extensions([extension])


# What `compression=` may be


@pytest.mark.parametrize('nothing', [False, None, [], ()])
def test_no_compression_offers_nothing(nothing):
    assert as_factories(nothing) == []
    assert offer_header(as_factories(nothing)) is None


def test_true_is_permessage_deflate_as_it_comes():
    [factory] = as_factories(True)
    assert offer_header([factory]) == offer_header([deflate.PerMessageDeflate()])


def test_one_factory_or_a_list_of_them_is_taken_as_it_is():
    one, two = deflate.PerMessageDeflate(), Salt()
    assert as_factories(one) == [one]
    assert as_factories([one, two]) == [one, two]


@pytest.mark.parametrize('wrong', [1, 'permessage-deflate', deflate.PerMessageDeflate, [True], {'level': 1}])
def test_anything_else_is_refused(wrong):
    with pytest.raises(TypeError, match='it must be True, False, a PerMessageDeflate'):
        as_factories(wrong)


# The negotiation


def negotiate(client, server):
    answer, accepted = negotiate_server(server, offer_header(client))
    return answer, accepted, negotiate_client(client, answer)


def test_a_server_without_extensions_accepts_none():
    assert negotiate_server([], 'foo, permessage-deflate') == (None, [])
    assert negotiate_server([Salt()], None) == (None, [])


def test_a_client_without_an_answer_has_no_extension():
    assert negotiate_client([Salt()], None) == []


def test_offers_go_out_in_the_order_of_preference():
    header = offer_header([deflate.PerMessageDeflate(server_max_window_bits=9), deflate.PerMessageDeflate(), Salt(2)])
    assert parse_extensions(header) == [
        ('permessage-deflate', [('client_max_window_bits', None), ('server_max_window_bits', '9')]),
        ('permessage-deflate', [('client_max_window_bits', None)]),
        ('x-salt', [('salt', '2')]),
        ('x-salt', []),
    ]


def test_the_answer_is_matched_to_the_offer_that_it_accepts():
    configured = [deflate.PerMessageDeflate(server_max_window_bits=bits) for bits in (9, 12)]
    [extension] = negotiate_client(configured, 'permessage-deflate; server_max_window_bits=11')
    assert extension.remote_max_window_bits == 11
    with pytest.raises(NegotiationError, match='server_max_window_bits=9 was asked for, and the answer has 13'):
        negotiate_client(configured, 'permessage-deflate; server_max_window_bits=13')


def test_a_server_may_have_several_configurations_of_one_extension():
    answer, [extension] = negotiate_server([Salt(name='x-other'), Salt(5)], 'x-salt; salt=7')
    assert answer == 'x-salt; salt=7'
    assert extension.salt == 7


def test_several_extensions_are_negotiated_in_the_order_of_the_client():
    answer, accepted, agreed = negotiate([Salt(3), deflate.PerMessageDeflate()], [deflate.PerMessageDeflate(), Salt()])
    assert [name for name, _ in parse_extensions(answer)] == ['x-salt', 'permessage-deflate']
    assert [extension.name for extension in accepted] == ['x-salt', 'permessage-deflate']
    assert [extension.name for extension in agreed] == ['x-salt', 'permessage-deflate']


def test_an_extension_is_accepted_once_however_often_it_is_offered():
    offers = 'permessage-deflate, x-salt; salt=1, permessage-deflate'
    answer, accepted = negotiate_server([deflate.PerMessageDeflate(), Salt()], offers)
    assert [name for name, _ in parse_extensions(answer)] == ['permessage-deflate', 'x-salt']
    assert len(accepted) == 2


def test_of_two_extensions_with_the_same_reserved_bit_the_client_s_first_wins():
    factories = [Salt(1), Salt(2, 'x-pepper')]
    answer, [extension] = negotiate_server(factories, 'x-pepper; salt=9, x-salt; salt=8')
    assert answer == 'x-pepper; salt=9'
    assert extension.salt == 9


class CountedName(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        CountedName.compared += 1
        return str.__eq__(self, other)


def test_the_work_of_a_negotiation_grows_with_the_number_of_offers_and_not_with_its_square():
    offers = [(CountedName(f'x-{n}'), []) for n in range(200)]
    CountedName.compared = 0
    assert answer_server([deflate.PerMessageDeflate(), Salt()], [*offers, ('x-salt', [('salt', '1')])])[0] == [
        ('x-salt', [('salt', '1')])
    ]
    assert CountedName.compared <= 4 * len(offers)


@pytest.mark.parametrize('header', [', '.join(f'x{n}' for n in range(257)), 'x' + '; a' * 256, 'x; a=1, ' * 129])
def test_a_header_with_more_than_256_names_and_parameters_is_refused(header):
    with pytest.raises(NegotiationError, match='more than 256 names and parameters'):
        negotiate_server([deflate.PerMessageDeflate()], header)


def test_a_header_with_256_names_and_parameters_is_read():
    assert len(parse_extensions('x; a, ' * 128)) == 128


def test_a_malformed_header_fails_the_negotiation_of_both_sides():
    with pytest.raises(NegotiationError):
        negotiate_server([], 'permessage-deflate; ')
    with pytest.raises(NegotiationError):
        negotiate_client([deflate.PerMessageDeflate()], '')


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        ('foo', 'extension .foo., which was not offered'),
        ('x-salt; salt=1, x-salt; salt=1', 'x-salt. twice'),
        ('x-salt; salt=1, x-pepper; salt=2', 'the same reserved bits'),
        ('x-salt; salt=2', 'the salt is'),
        ('Permessage-Deflate', 'not offered'),
    ],
)
def test_a_client_fails_an_answer_that_it_cannot_have_asked_for(answer, reason):
    with pytest.raises(NegotiationError, match=reason) as caught:
        negotiate_client([deflate.PerMessageDeflate(), Salt(1), Salt(2, 'x-pepper')], answer)
    assert caught.value.code == 1010


# The path of frames


def test_an_extension_that_overrides_nothing_changes_nothing():
    class Idle(Extension):
        name, rsv = 'x-idle', 0

    frame = Frame(Opcode.TEXT, b'text')
    assert Idle().encode(frame) is frame
    assert Idle().decode(frame, max_size=1) is frame


@pytest.mark.parametrize('salt_first', [True, False])
def test_what_several_extensions_did_is_undone_in_reverse(salt_first):
    offered = [Salt(3), deflate.PerMessageDeflate(threshold=0)]
    _, accepted, agreed = negotiate(offered if salt_first else offered[::-1], offered)
    for n in range(5):
        for frame in (Frame(Opcode.TEXT, b'text ' * n, False), Frame(Opcode.CONT, b'more ' * n)):
            sent = frame
            for extension in agreed:
                sent = extension.encode(sent)
            assert sent.rsv2 and sent.rsv1 == (frame.opcode == Opcode.TEXT)
            for extension in reversed(accepted):
                sent = extension.decode(sent, max_size=1000)
            assert sent == frame


# wsproto's shape


def test_wsproto_s_shape_negotiates_in_strings():
    client, server = PerMessageDeflate(), PerMessageDeflate()
    assert not client.enabled() and not server.enabled()
    answer = server.accept(f'permessage-deflate; {client.offer()}')
    client.finalize(f'permessage-deflate; {answer}')
    assert client.enabled() and server.enabled()
    frame = Frame(Opcode.TEXT, b'text')
    assert server.extension.decode(client.extension.encode(frame)) == frame
    assert client.extension.decode(server.extension.encode(frame)) == frame


def test_wsproto_s_shape_knows_afterwards_what_was_agreed():
    client, server = PerMessageDeflate(), PerMessageDeflate(True, 10, False, 11)
    client.finalize(f'permessage-deflate; {server.accept(f"permessage-deflate; {client.offer()}")}')
    for side in (client, server):
        assert (side.client_no_context_takeover, side.client_max_window_bits) == (True, 10)
        assert (side.server_no_context_takeover, side.server_max_window_bits) == (False, 11)


@pytest.mark.parametrize('arguments', [(), (True,), (True, 12), (False, None, True), (True, 10, True, 9)])
def test_wsproto_s_shape_takes_and_offers_and_shows_what_wsproto_does(arguments):
    wsproto = pytest.importorskip('wsproto.extensions')
    ours, theirs = PerMessageDeflate(*arguments), wsproto.PerMessageDeflate(*arguments)
    assert ours.offer() == theirs.offer()
    for option in ('no_context_takeover', 'max_window_bits'):
        for name in (f'client_{option}', f'server_{option}'):
            assert getattr(ours, name) == getattr(theirs, name)
    assert sorted(repr(ours)[:-1].split('; ')) == sorted(repr(theirs)[:-1].split('; '))


@pytest.mark.parametrize(
    'offer',
    [
        'client_max_window_bits',
        'client_max_window_bits=10',
        'server_max_window_bits=10',
        'client_no_context_takeover; server_no_context_takeover; client_max_window_bits=15; server_max_window_bits=15',
    ],
)
def test_wsproto_s_shape_accepts_as_wsproto_does(offer):
    wsproto = pytest.importorskip('wsproto.extensions')
    ours, theirs = PerMessageDeflate(), wsproto.PerMessageDeflate()
    assert ours.accept(f'permessage-deflate; {offer}') == theirs.accept(f'permessage-deflate; {offer}')
    assert repr(ours) == repr(theirs)


def test_wsproto_s_shape_accepts_one_offer_and_declines_wrong_ones():
    extension = PerMessageDeflate()
    assert extension.accept('permessage-deflate; server_max_window_bits=99') is None
    assert extension.accept('permessage-deflate; =') is None
    assert extension.accept('permessage-deflate') is True
    assert extension.accept('permessage-deflate') is None


@pytest.mark.parametrize('answer', ['permessage-deflate; nonsense', 'permessage-deflate, permessage-deflate', ''])
def test_wsproto_s_shape_refuses_a_wrong_answer(answer):
    with pytest.raises(NegotiationError):
        PerMessageDeflate().finalize(answer)


def test_wsproto_s_shape_is_a_configuration_too():
    assert as_factories(PerMessageDeflate())
    answer, _ = negotiate_server([PerMessageDeflate()], 'permessage-deflate; client_max_window_bits=9')
    assert answer == 'permessage-deflate; client_max_window_bits=9'
