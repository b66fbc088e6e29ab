"""websockets' names, of its Sans-I/O layer: ``from pyjows.compat.websockets import ServerProtocol, Frame, Opcode``.

Whatever module of websockets a name is in, it is in this one. docs/sans-io.md says which names are missing, and what
behaves differently.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NewType

from ..errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DuplicateParameter,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidParameterName,
    InvalidParameterValue,
    InvalidProtocol,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
    WebSocketException,
)
from ..frames import OK_CLOSE_CODES, Close, CloseCode, Frame, Opcode
from ..http11 import USER_AGENT
from ..protocol import SEND_EOF, Protocol, Side, State
from ..sansio import (
    ClientExtensionFactory,
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Extension,
    Headers,
    MultipleValuesError,
    Request,
    Response,
    ServerExtensionFactory,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    WebSocketURI,
    enable_client_permessage_deflate,
    enable_server_permessage_deflate,
    parse_uri,
)

__all__ = [
    'BINARY',
    'CLIENT',
    'CLOSE',
    'CLOSED',
    'CLOSING',
    'CONNECTING',
    'CONT',
    'CTRL_OPCODES',
    'DATA_OPCODES',
    'OK_CLOSE_CODES',
    'OPEN',
    'PING',
    'PONG',
    'SEND_EOF',
    'SERVER',
    'TEXT',
    'USER_AGENT',
    'BytesLike',
    'ClientExtensionFactory',
    'ClientPerMessageDeflateFactory',
    'ClientProtocol',
    'Close',
    'CloseCode',
    'ConnectionClosed',
    'ConnectionClosedError',
    'ConnectionClosedOK',
    'Data',
    'DataLike',
    'DuplicateParameter',
    'Extension',
    'ExtensionName',
    'ExtensionParameter',
    'Frame',
    'Headers',
    'HeadersLike',
    'InvalidHandshake',
    'InvalidHeader',
    'InvalidHeaderFormat',
    'InvalidHeaderValue',
    'InvalidMessage',
    'InvalidMethod',
    'InvalidOrigin',
    'InvalidParameterName',
    'InvalidParameterValue',
    'InvalidProtocol',
    'InvalidState',
    'InvalidStatus',
    'InvalidURI',
    'InvalidUpgrade',
    'LoggerLike',
    'MultipleValuesError',
    'NegotiationError',
    'Opcode',
    'Origin',
    'PayloadTooBig',
    'Protocol',
    'ProtocolError',
    'Request',
    'Response',
    'ServerExtensionFactory',
    'ServerPerMessageDeflateFactory',
    'ServerProtocol',
    'Side',
    'State',
    'StatusLike',
    'Subprotocol',
    'WebSocketException',
    'WebSocketURI',
    'enable_client_permessage_deflate',
    'enable_server_permessage_deflate',
    'parse_uri',
]

SERVER, CLIENT = Side
CONNECTING, OPEN, CLOSING, CLOSED = State
CONT, TEXT, BINARY, CLOSE, PING, PONG = Opcode
DATA_OPCODES = CONT, TEXT, BINARY
CTRL_OPCODES = CLOSE, PING, PONG

# For annotations.
BytesLike = bytes | bytearray | memoryview
Data = str | bytes
DataLike = str | bytes | bytearray | memoryview
HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]
LoggerLike = logging.Logger | logging.LoggerAdapter[Any]
StatusLike = http.HTTPStatus | int
Origin = NewType('Origin', str)
Subprotocol = NewType('Subprotocol', str)
ExtensionName = NewType('ExtensionName', str)
ExtensionParameter = tuple[str, str | None]
