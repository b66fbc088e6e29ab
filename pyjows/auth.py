"""HTTP authentication: what an ``Authorization`` header says, and whether it is right (RFC 7617, RFC 6750).

Owns the schemes Basic and Bearer, and comparing secrets in a time that does not depend on them. Must not know servers:
each function takes a request; `basic` and `bearer` make what ``serve(authenticate=…)`` takes.
"""

from __future__ import annotations

import inspect
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, TypeVar

from .http11 import Request, Response

__all__ = ['basic', 'basic_credentials', 'bearer', 'bearer_token', 'find_secret', 'same_secret', 'unauthorized']

_T = TypeVar('_T')

_is_token68 = re.compile(r'[A-Za-z0-9\-._~+/]+=*').fullmatch
_has_control = re.compile(r'[\x00-\x1f\x7f]').search
_is_realm = re.compile(r'[\x20-\x7e]*').fullmatch


def basic(
    users: Mapping[str, str] | Callable[[str, str], Any], *, realm: str = 'WebSocket'
) -> Callable[[Request], Any]:
    """Authenticate by user name and password (RFC 7617). Only for TLS: the password is sent as it is.

    ::

        server = pyjows.serve('ws://127.0.0.1:3000', authenticate=pyjows.auth.basic({'ann': 'secret'}))

    Args:
        users: passwords by name; the name is the identity. Or ``check(name, password)``, plain or ``async``: it
            returns the identity, True for the name, a `Response`, or None, False or something empty for a wrong
            password.
        realm: what the browser shows to the user.

    Returns:
        What ``serve(authenticate=…)`` takes; 401 without credentials or with wrong ones.

    Raises:
        TypeError: `users` is neither.
        ValueError: the realm has other characters than visible ASCII and spaces.
    """
    challenge = _challenge('Basic', realm) + ', charset="UTF-8"'
    if not callable(users) and not isinstance(users, Mapping):
        raise TypeError(f'basic() takes a mapping of names to passwords, or a function, not {users!r}')

    def authenticate(request: Request) -> Any:
        credentials = basic_credentials(request)
        if credentials is None:
            return unauthorized(challenge)
        name, password = credentials
        if callable(users):
            return _verdict(users(name, password), name, challenge)
        expected = users.get(name)
        # A name that is not known takes as long as a wrong password.
        is_right = same_secret(password, '' if expected is None else expected)
        return name if is_right and expected is not None else unauthorized(challenge)

    return authenticate


def bearer(tokens: Mapping[str, Any] | Callable[[str], Any], *, realm: str = 'WebSocket') -> Callable[[Request], Any]:
    """Authenticate by a token in ``Authorization: Bearer …`` (RFC 6750). Browsers cannot send it with a WebSocket.

    Args:
        tokens: identities by token. Or ``check(token)``, plain or ``async``: it returns the identity, a `Response`, or
            None, False or something empty for a wrong token.
        realm: named in the challenge.

    Returns:
        What ``serve(authenticate=…)`` takes; 401 without a token or with a wrong one.

    Raises:
        TypeError: `tokens` is neither.
        ValueError: the realm has other characters than visible ASCII and spaces.
    """
    challenge = _challenge('Bearer', realm)
    wrong = challenge + ', error="invalid_token"'
    if not callable(tokens) and not isinstance(tokens, Mapping):
        raise TypeError(f'bearer() takes a mapping of tokens to identities, or a function, not {tokens!r}')

    def authenticate(request: Request) -> Any:
        token = bearer_token(request)
        if token is None:
            return unauthorized(challenge)
        return _verdict(tokens(token) if callable(tokens) else find_secret(token, tokens), None, wrong)

    return authenticate


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """Name and password of a request; None if it has none, or something else in their place."""
    given = _credentials(request, 'basic')
    if given is None:
        return None
    try:
        name, colon, password = b64decode(given, validate=True).decode('utf-8').partition(':')
    except ValueError:
        return None
    return (name, password) if colon and not _has_control(name + password) else None


def bearer_token(request: Request) -> str | None:
    """The bearer token of a request; None if it has none."""
    return _credentials(request, 'bearer')


def find_secret(secret: str, known: Mapping[str, _T]) -> _T | None:
    """The value of a secret, such as a session's token; None if it is not known.

    It is compared with each known one, so that the time reveals nothing. With very many, look up a hash of it instead.
    """
    found = None
    for one, value in known.items():
        if same_secret(secret, one):
            found = value
    return found


def same_secret(a: str, b: str) -> bool:
    """Whether two secrets are the same. The time that it takes does not depend on where they differ."""
    # A str may have lone surrogates: what Python makes of bytes that are not valid UTF-8.
    digests = (sha256(one.encode('utf-8', 'surrogatepass')).digest() for one in (a, b))
    return compare_digest(*digests)


def unauthorized(challenge: str) -> Response:
    """A 401 with a ``WWW-Authenticate`` header."""
    return Response.text('who are you?\n', 401, {'WWW-Authenticate': challenge})


def _challenge(scheme: str, realm: str) -> str:
    if not _is_realm(realm):
        raise ValueError(f'{realm!r} is not a valid realm: it has visible ASCII characters and spaces only')
    quoted = re.sub(r'(["\\])', r'\\\1', realm)
    return f'{scheme} realm="{quoted}"'


def _credentials(request: Request, wanted: str) -> str | None:
    """What follows the scheme in the one ``Authorization`` header."""
    values = request.headers.get_all('authorization')
    if len(values) != 1:
        return None
    scheme, _, given = values[0].partition(' ')
    given = given.strip(' ')
    return given if scheme.lower() == wanted and _is_token68(given) else None


def is_rejection(found: Any) -> bool:
    """Whether what a user's function returned refuses the request: None, False, an empty string or collection.

    A look-up that finds nothing returns one of those. The number 0 may be an identity.
    """
    return found is None or found is False or (not isinstance(found, int | float) and not found)


def _verdict(found: Any, name: Any, challenge: str) -> Any:
    """What `authenticate` returns for what a user's check returned."""
    if inspect.isawaitable(found):
        return _later(found, name, challenge)
    if is_rejection(found):
        return unauthorized(challenge)
    return name if found is True and name is not None else found


async def _later(found: Awaitable[Any], name: Any, challenge: str) -> Any:
    return _verdict(await found, name, challenge)
