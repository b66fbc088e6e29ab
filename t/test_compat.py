"""`pyjows.compat`: the names of wsproto and of websockets' Sans-I/O layer."""

from __future__ import annotations

import importlib
import types

import pytest
import websockets.server
import wsproto.utilities
from websockets.protocol import State

import pyjows.compat.websockets
import pyjows.compat.wsproto
from pyjows.compat.wsproto import (
    CLIENT,
    SERVER,
    WEBSOCKET_VERSION,
    AcceptConnection,
    Extension,
    PerMessageDeflate,
    Request,
    WSConnection,
    generate_accept_token,
    generate_nonce,
    normed_header_dict,
    split_comma_header,
)

# How frames are laid out is asked of `pyjows.frames`: of `wsproto.frame_protocol`, the codes and opcodes are here.
OF_FRAME_PROTOCOL = {'CloseReason', 'Opcode'}
NOT_OF_WSPROTO = {'ACCEPT_GUID', 'T', 'TYPE_CHECKING', 'WEBSOCKET_UPGRADE'}

# Of what does I/O, goes through proxies or parses HTTP by hand; and the extension that comes of a negotiation, which is
# `pyjows.deflate.Deflate`.
NOT_OF_WEBSOCKETS = {
    'ConcurrencyError', 'HeaderLineTooLong', 'InvalidProxy', 'InvalidProxyMessage', 'InvalidProxyStatus', 'ProxyError',
    'RequestLineTooLong', 'SecurityError', 'StatusLineTooLong', 'TooManyFragments', 'TooManyHeaders',
    'ConnectionOption', 'ExtensionHeader', 'PathLike', 'UpgradeProtocol', 'PerMessageDeflate',
}  # fmt: skip

WSPROTO = ['', 'connection', 'events', 'extensions', 'frame_protocol', 'handshake', 'typing', 'utilities']
WEBSOCKETS = [
    'client', 'datastructures', 'exceptions', 'extensions', 'extensions.base', 'extensions.permessage_deflate',
    'frames', 'http11', 'protocol', 'server', 'typing', 'uri',
]  # fmt: skip


def names_of(module):
    """The public names that a module makes itself."""
    if module.__name__ == 'wsproto.frame_protocol':
        return OF_FRAME_PROTOCOL
    if hasattr(module, '__all__'):
        return set(module.__all__)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith('_')
        and not isinstance(value, types.ModuleType)
        and getattr(value, '__module__', module.__name__) == module.__name__
    }


@pytest.mark.parametrize(
    ('library', 'modules', 'ours', 'missing'),
    [
        ('wsproto', WSPROTO, pyjows.compat.wsproto, NOT_OF_WSPROTO),
        ('websockets', WEBSOCKETS, pyjows.compat.websockets, NOT_OF_WEBSOCKETS),
    ],
)
def test_the_names_are_theirs(library, modules, ours, missing):
    theirs = {}
    for name in modules:
        module = importlib.import_module(f'{library}.{name}'.rstrip('.'))
        theirs |= {name: getattr(module, name) for name in names_of(module)}
        theirs |= {name: value for name, value in vars(module).items() if name in ours.__all__}
    assert set(ours.__all__) - set(theirs) == set()
    assert set(theirs) - set(ours.__all__) - missing - {'annotations'} == set()
    assert [name for name in ours.__all__ if callable(getattr(ours, name)) != callable(theirs[name])] == []


@pytest.mark.parametrize('library', [websockets.server, pyjows.compat.websockets], ids=lambda library: library.__name__)
def test_a_host_may_set_the_state_when_tcp_is_gone(library):
    server = library.ServerProtocol(state=library.OPEN)
    server.fail(1006)
    assert server.state is library.OPEN
    server.state = State.CLOSED
    assert (server.state, server.close_code, server.close_reason) == (3, 1006, '')
    with pytest.raises(Exception, match='close'):
        server.send_text(b'hi')


def test_what_a_host_needs_for_a_handshake_of_its_own():
    assert WEBSOCKET_VERSION == b'13'
    for ours, theirs, given in (
        (generate_accept_token, wsproto.utilities.generate_accept_token, b'dGhlIHNhbXBsZSBub25jZQ=='),
        (split_comma_header, wsproto.utilities.split_comma_header, b'a,b , c'),
        (normed_header_dict, wsproto.utilities.normed_header_dict, [(b'a', b'1'), (b'b', b'2'), (b'a', b'3')]),
    ):
        assert ours(given) == theirs(given)
    assert len(generate_nonce()) == len(wsproto.utilities.generate_nonce())
    assert generate_nonce() != generate_nonce()


def handshake(client_extensions, server_extensions):
    """The extensions of both sides after a handshake."""
    client, server = WSConnection(CLIENT), WSConnection(SERVER)
    server.receive_data(client.send(Request('example.com', '/', extensions=client_extensions)))
    [request] = server.events()
    client.receive_data(server.send(AcceptConnection(extensions=server_extensions)))
    [accepted] = client.events()
    return request.extensions, accepted.extensions


class Marking(Extension):
    """Adds a mark to what is sent, once it was negotiated."""

    name = 'x-mark'

    def __init__(self, answer=True):
        self.answer = answer
        self.agreed = False

    def offer(self):
        return 'mark=1'

    def accept(self, offer):
        self.agreed = True
        return self.answer

    def enabled(self):
        return self.agreed

    def finalize(self, offer):
        self.agreed = True


def test_an_extension_inherits_what_it_does_not_need():
    class Lazy(Extension):
        name = 'x-lazy'

        def offer(self):
            return True

    lazy = Lazy()
    assert (lazy.enabled(), lazy.accept('x-lazy'), lazy.finalize('x-lazy'), lazy.rsv) == (False, None, None, 0)
    with pytest.raises(NotImplementedError):
        Extension().offer()
    offered, accepted = handshake([Lazy(), PerMessageDeflate()], [Lazy(), PerMessageDeflate()])
    assert offered[0] == 'x-lazy'
    assert [type(extension) for extension in accepted] == [PerMessageDeflate]


def test_an_extension_of_a_program_is_negotiated():
    mine = Marking()
    offered, accepted = handshake([mine], [Marking()])
    assert (offered, accepted) == (['x-mark; mark=1'], [mine])
    assert mine.enabled()
    assert handshake([Marking()], [Marking(answer=None)])[1] == []
