"""`ClientAddress`: the address of a client behind a reverse proxy, and how the proxy sends it.

Owns the grammar of the PROXY protocol, of ``Forwarded`` (RFC 7239) and of ``X-Forwarded-For``, and which proxies are
trusted. Must not know sockets, servers, nor what is done with an address.

Each proxy appends the address that it sees itself. So the lists are read from their end, as long as the addresses there
are those of trusted proxies; a malformed entry ends the reading. What a client has put in front has no effect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ._text import HOST, TOKEN, printable, shown

__all__ = ['ClientAddress', 'ProxyHeaderError', 'TrustedProxies', 'forwarded', 'proxy_header', 'x_forwarded']

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

V1 = b'PROXY '
V2 = b'\r\n\r\n\0\r\nQUIT\n'

#: Bytes of the longest line of version 1, and of a header of version 2 that is accepted, its parameters included.
MAX_V1, MAX_V2 = 107, 16 + 4096

_V1_LINE = re.compile(rb'PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5}))\r\n').fullmatch
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"'
_PAIR = re.compile(rf'\s*({TOKEN})=({TOKEN}|{_QUOTED})\s*').fullmatch
_HOST = re.compile(rf'{HOST}(?::[0-9]{{1,5}})?').fullmatch

_SCHEMES = {'http': 'ws', 'ws': 'ws', 'https': 'wss', 'wss': 'wss'}


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """A client behind a proxy.

    Attributes:
        address: its IP address (or the path of its Unix socket, control characters escaped).
        port: its port, None where the proxy does not tell it.
        scheme: ``'ws'`` or ``'wss'``: how it speaks to the proxy; None where the proxy does not tell it.
        host: the host that it asked the proxy for; None where the proxy does not tell it.
    """

    address: str
    port: int | None = None
    scheme: str | None = None
    host: str | None = None


class ProxyHeaderError(ValueError):
    """A connection does not begin with a valid header of the PROXY protocol."""


class TrustedProxies:
    """The addresses of trusted proxies.

    Args:
        networks: IP addresses and networks (``'10.0.0.0/8'``), and ``'unix'`` for all peers of Unix sockets.

    Raises:
        ValueError: one of them is not valid.
    """

    def __init__(self, networks: Iterable[str | _Network]) -> None:
        self.trusts_unix = False
        self._networks: list[_Network] = []
        for network in networks:
            if network == 'unix':
                self.trusts_unix = True
            elif isinstance(network, int):
                raise TypeError(f'{network!r} is not an IP address or a network')
            else:
                self._networks.append(_unmapped_network(ipaddress.ip_network(network)))

    def __contains__(self, address: str | None) -> bool:
        """Whether an address is that of a proxy; None and ``''`` are peers of Unix sockets."""
        if not address:
            return self.trusts_unix
        found = _ip_address(address)
        return found is not None and any(found in network for network in self._networks)


def x_forwarded(proxies: TrustedProxies, peer: str | None, headers: Any) -> ClientAddress | None:
    """The client in ``X-Forwarded-For`` and ``X-Forwarded-Proto``.

    Args:
        proxies: the trusted ones.
        peer: the address that the connection comes from; None for a Unix socket.
        headers: a request's `Headers`.

    Returns:
        None if the peer is not a trusted proxy, or sends neither.
    """
    if peer not in proxies:
        return None
    hops = [_node(hop.strip()) for hop in ','.join(headers.get_all('x-forwarded-for')).split(',')]
    at = _client_of(proxies, [hop and hop[0] for hop in hops])
    protos = ','.join(headers.get_all('x-forwarded-proto')).split(',')
    # One for each hop, or that of the nearest proxy.
    proto = protos[at] if at is not None and len(protos) == len(hops) else protos[-1]
    return _client_address(peer, None if at is None else hops[at], proto, None)


def forwarded(proxies: TrustedProxies, peer: str | None, headers: Any) -> ClientAddress | None:
    """The client in ``Forwarded`` (RFC 7239); as `x_forwarded`."""
    if peer not in proxies:
        return None
    elements = [_parameters(element) for element in _split(','.join(headers.get_all('forwarded')), ',')]
    hops = [None if element is None else _node(element.get('for', '')) for element in elements]
    at = _client_of(proxies, [hop and hop[0] for hop in hops])
    # Without a known address, protocol and host are those of the nearest proxy's element.
    element = elements[-1 if at is None else at] if elements else None
    if element is None:
        return None
    return _client_address(peer, None if at is None else hops[at], element.get('proto', ''), element.get('host'))


def _client_of(proxies: TrustedProxies, hops: Sequence[str | None]) -> int | None:
    """Which hop is the client: the last that is not a proxy, or the one after a malformed entry; None for none."""
    found = None
    for at in reversed(range(len(hops))):
        hop = hops[at]
        if hop is None:
            break
        found = at
        if hop not in proxies:
            break
    return found


def _client_address(
    peer: str | None, hop: tuple[str, int | None] | None, proto: str, host: str | None
) -> ClientAddress | None:
    scheme = _SCHEMES.get(proto.strip().lower())
    host = host if host is not None and _HOST(host) else None
    if hop is None and scheme is None and host is None:
        return None
    address, port = hop or (peer or '', None)
    return ClientAddress(address, port, scheme, host)


def _node(text: str) -> tuple[str, int | None] | None:
    """Address and port of ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``, else None."""
    host, port = text, ''
    if text.startswith('['):
        host, bracket, port = text[1:].partition(']')
        if not bracket or ':' not in host or (port and not port.startswith(':')):
            return None
        port = port[1:]
    elif text.count(':') == 1:
        host, _, port = text.partition(':')
    found = _ip_address(host)
    if found is None or '%' in host:
        return None
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else None
    return str(found), number if number is not None and number < 65536 else None


def _parameters(element: str) -> dict[str, str] | None:
    """The parameters of an element of ``Forwarded``, names in lower case; None if it is malformed."""
    found: dict[str, str] = {}
    for pair in _split(element, ';'):
        if not pair.strip():
            continue
        match = _PAIR(pair)
        if match is None or match[1].lower() in found:
            return None
        value = match[2]
        found[match[1].lower()] = re.sub(r'\\(.)', r'\1', value[1:-1]) if value.startswith('"') else value
    return found


def _split(text: str, separator: str) -> list[str]:
    """Split outside of quotes. It begins at the end: a quote that a client leaves open must not hide what follows."""
    parts: list[str] = []
    end = len(text)
    in_quotes = False
    for at in range(len(text) - 1, -1, -1):
        char = text[at]
        if char == '"':
            first = at
            while first and text[first - 1] == '\\':
                first -= 1
            if (at - first) % 2 == 0:  # else it is escaped
                in_quotes = not in_quotes
        elif char == separator and not in_quotes:
            parts.append(text[at + 1 : end])
            end = at
    return [*parts, text[:end]][::-1]


def _ip_address(text: str) -> _Address | None:
    try:
        return _unmapped(ipaddress.ip_address(text.partition('%')[0]))
    except ValueError:
        return None


def _unmapped(address: _Address) -> _Address:
    """The IPv4 address that stands in an IPv6 one (``::ffff:192.0.2.1``), or the address itself."""
    return getattr(address, 'ipv4_mapped', None) or address


def _unmapped_network(network: _Network) -> _Network:
    """The network of IPv4 addresses that stands in one of IPv6 (``::ffff:10.0.0.0/104``), or the network itself."""
    first = getattr(network.network_address, 'ipv4_mapped', None)
    if first is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((first, network.prefixlen - 96))


# The PROXY protocol


def proxy_header(data: bytes) -> tuple[int, ClientAddress | None]:
    """Read the header of the PROXY protocol, version 1 or 2, that a connection begins with.

    Args:
        data: what has come so far.

    Returns:
        The size of the header in bytes, and the client; None for the proxy's own connection (a health check), or a
        client that it does not know. ``(0, None)`` if more bytes are needed.

    Raises:
        ProxyHeaderError: it is not a valid header, or too long.
    """
    if data.startswith(V1) or (len(data) < len(V1) and V1.startswith(data)):
        end = data.find(b'\n', 0, MAX_V1) + 1
        if end:
            return end, _version_1(data[:end])
        if len(data) >= MAX_V1:
            raise ProxyHeaderError(f'a PROXY header of version 1 has at most {MAX_V1} bytes')
        return 0, None
    if data[: len(V2)] != V2[: len(data)]:
        raise ProxyHeaderError(f'it begins with {shown(data[:16])} instead of a PROXY header')
    if len(data) < 16:
        return 0, None
    size = 16 + int.from_bytes(data[14:16], 'big')
    if size > MAX_V2:
        raise ProxyHeaderError(f'a PROXY header of {size} bytes is too long')
    return (size, _version_2(data[:size])) if len(data) >= size else (0, None)


def _version_1(line: bytes) -> ClientAddress | None:
    """The client in a header of version 1; None for UNKNOWN."""
    match = _V1_LINE(line)
    if match is None:
        raise ProxyHeaderError(f'malformed PROXY header: {shown(line)}')
    if match[1] is None:
        return None
    kind = ipaddress.IPv4Address if match[1] == b'TCP4' else ipaddress.IPv6Address
    try:
        address = kind(match[2].decode('ascii'))
        kind(match[3].decode('ascii'))
    except ValueError as exc:
        raise ProxyHeaderError(f'malformed PROXY header: {exc}') from None
    ports = int(match[4]), int(match[5])
    if max(ports) > 65535:
        raise ProxyHeaderError(f'malformed PROXY header: {shown(line)} has a port above 65535')
    return ClientAddress(str(_unmapped(address)), ports[0])


def _version_2(data: bytes) -> ClientAddress | None:
    """The client in a header of version 2; None for the proxy's own connection, or an unspecified address."""
    version, command = data[12] >> 4, data[12] & 15
    if version != 2 or command > 1:
        raise ProxyHeaderError(f'a PROXY header with version and command {data[12]:#04x}')
    if command == 0:
        return None
    kind, body = data[13] >> 4, data[16:]
    sizes = {0: 0, 1: 12, 2: 36, 3: 216}
    if kind not in sizes:
        raise ProxyHeaderError(f'a PROXY header with address family {kind}')
    if len(body) < sizes[kind]:
        raise ProxyHeaderError(f'a PROXY header of address family {kind} with {len(body)} bytes')
    scheme = _scheme_of_parameters(body[sizes[kind] :])
    if kind == 0:
        return None
    if kind == 3:
        path = body[:108].partition(b'\0')[0].decode('utf-8', 'replace')
        return ClientAddress(printable(path), None, scheme)
    width = 4 if kind == 1 else 16
    address = ipaddress.ip_address(body[:width])
    return ClientAddress(str(_unmapped(address)), int.from_bytes(body[2 * width : 2 * width + 2], 'big'), scheme)


def _scheme_of_parameters(body: bytes) -> str | None:
    """Whether the client used TLS, as the parameter PP2_TYPE_SSL says; raises ProxyHeaderError for malformed ones."""
    scheme = None
    while body:
        size = int.from_bytes(body[1:3], 'big')
        if len(body) < 3 + size:
            raise ProxyHeaderError('a PROXY header whose parameters are cut')
        if body[0] == 0x20 and size:
            scheme = 'wss' if body[3] & 1 else 'ws'
        body = body[3 + size :]
    return scheme
