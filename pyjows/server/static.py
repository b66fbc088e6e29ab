"""`StaticFiles`: files of a folder as answers to HTTP requests (RFC 9110).

Owns which file a path leads to, and the headers, conditions and ranges of its answer. Must not know connections: what
is large is a `FileResponse`, which is read piece by piece while it is sent.

No path leads out of the folder: its segments are checked before a file is looked for, and symbolic links are resolved
before it is opened.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import re
import stat
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from ..http11 import Headers, Request, Response
from ..safe_logger import SafeLogger

__all__ = ['FileResponse', 'StaticFiles']

_log = SafeLogger('pyjows')

# Errors of open(2) that say nothing about the file: caches may keep a 404.
_TEMPORARY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}

_RANGE = re.compile(r'bytes=(\d{0,18})-(\d{0,18})').fullmatch
_TAG = re.compile(r'(?:W/)?"[^"]*"')

# Beside those of Python.
_TYPES = {
    '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.webp': 'image/webp',
    '.woff2': 'font/woff2', '.avif': 'image/avif', '.webmanifest': 'application/manifest+json',
    '.map': 'application/json',
}  # fmt: skip


class FileResponse(Response):
    """A response whose body is a part of a file. It owns the file until it is closed."""

    __slots__ = ('_fd', '_left')

    _fd: int
    _left: int

    def __init__(self, status: int, headers: Headers, fd: int, size: int) -> None:
        super().__init__(status, headers)
        object.__setattr__(self, '_fd', fd)
        object.__setattr__(self, '_left', size)

    @property
    def left(self) -> int:
        """How many bytes are still to be read."""
        return self._left

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than `size` at the end, b'' where the file has become shorter.

        Raises:
            OSError: it cannot be read.
        """
        data = os.read(self._fd, min(size, self._left))
        object.__setattr__(self, '_left', self._left - len(data))
        return data

    def close(self) -> None:
        """Close the file; doing it again does nothing."""
        fd = self._fd
        if fd >= 0:
            object.__setattr__(self, '_fd', -1)
            os.close(fd)


@dataclass(frozen=True)
class StaticFiles:
    """The files of one folder under one path.

    Args:
        prefix: the path, ``'/'`` or ``'/assets/'``.
        folder: the folder.
        index: the file that stands for a folder; None for none.
        max_age: seconds that a file may be used without asking again (``Cache-Control``); None to leave it to caches.

    Raises:
        ValueError: the prefix does not begin and end with a slash, or there is no such folder.
    """

    prefix: str
    folder: str
    index: str | None = 'index.html'
    max_age: int | None = None

    def __post_init__(self) -> None:
        if not self.prefix.startswith('/') or not self.prefix.endswith('/'):
            raise ValueError(f"static(): {self.prefix!r} has to begin and end with a slash, such as '/' or '/assets/'")
        if not os.path.isdir(self.folder):
            raise ValueError(f'static(): there is no folder {self.folder!r}')
        object.__setattr__(self, 'folder', os.path.realpath(self.folder))

    def respond(self, request: Request) -> Response | None:
        """The answer to a request; None if there is no such file here."""
        path = request.path
        if not path.startswith(self.prefix):
            return None
        name = path[len(self.prefix) :]
        found = self._find(name)
        if found is None:
            return None
        if os.path.isdir(found):
            if name and not name.endswith('/'):
                query = f'?{request.query}' if request.query else ''
                return Response(308, {'Location': quote(path) + '/' + query})
            found = self._find(name + self.index) if self.index is not None else None
            if found is None:
                return None
        elif name.endswith('/'):
            return None
        if request.method not in ('GET', 'HEAD'):
            return Response.text('method not allowed\n', 405, {'Allow': 'GET, HEAD'})
        try:
            fd = os.open(found, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_NOFOLLOW', 0))
        except OSError as exc:
            if exc.errno not in _TEMPORARY:
                return None
            _log.warning('a file cannot be opened, its client gets 503: %s', exc)
            return Response.text('service unavailable\n', 503)
        try:
            response = self._answer(request, found, fd, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        if not isinstance(response, FileResponse):
            os.close(fd)
        return response

    def _find(self, name: str) -> str | None:
        """The real path of a file or folder in here; None if there is none."""
        segments = name.split('/')
        if not segments[-1]:
            segments.pop()
        for segment in segments:
            hidden = segment.startswith('.') and segment != '.well-known'
            if not segment or hidden or '\0' in segment or os.sep in segment or (os.altsep or '\0') in segment:
                return None
            if os.name == 'nt' and ':' in segment:
                return None
        try:
            found = os.path.realpath(os.path.join(self.folder, *segments), strict=True)
        except (OSError, ValueError):
            return None
        return found if os.path.commonpath([found, self.folder]) == self.folder else None

    def _answer(self, request: Request, path: str, fd: int, info: os.stat_result) -> Response | None:
        """The answer with an open file, whose name decides its type."""
        if not stat.S_ISREG(info.st_mode):
            return None
        from email.utils import formatdate  # not for each `import pyjows`: it takes 10 ms

        size = info.st_size
        tag = f'"{info.st_mtime_ns:x}-{size:x}"'
        headers = {'ETag': tag, 'Last-Modified': formatdate(info.st_mtime, usegmt=True), 'Accept-Ranges': 'bytes'}
        if self.max_age is not None:
            headers['Cache-Control'] = f'max-age={self.max_age}'
        if _is_unchanged(request, tag, info.st_mtime):
            return Response(304, headers)
        headers |= {'Content-Type': _type_of(path), 'X-Content-Type-Options': 'nosniff'}
        status, first, length = 200, 0, size
        wanted = request.headers.get('range')
        if wanted is not None and request.method == 'GET' and _range_applies(request, tag, headers['Last-Modified']):
            found = _range(wanted, size)
            if found is not None:
                first, length = found
                if not length:
                    return Response(416, {'Content-Range': f'bytes */{size}'})
                status = 206
                headers['Content-Range'] = f'bytes {first}-{first + length - 1}/{size}'
        headers['Content-Length'] = str(length)
        if request.method == 'HEAD' or not length:
            return Response(status, headers)
        if first:
            os.lseek(fd, first, os.SEEK_SET)
        return FileResponse(status, Headers(headers), fd, length)


@cache
def _types() -> mimetypes.MimeTypes:
    """Not the types that this machine is configured for, so that an answer is the same everywhere."""
    types = mimetypes.MimeTypes()
    for suffix, kind in _TYPES.items():
        types.add_type(kind, suffix)
    return types


def _type_of(path: str) -> str:
    kind, encoding = _types().guess_type(os.path.basename(path))
    if kind is None or encoding is not None:
        return 'application/octet-stream'
    return f'{kind}; charset=utf-8' if kind.startswith('text/') or kind == 'image/svg+xml' else kind


def _is_unchanged(request: Request, tag: str, modified: float) -> bool:
    """Whether the client has this very file (RFC 9110 13.1.2, 13.1.3)."""
    tags = request.headers.get('if-none-match')
    if tags is not None:
        return tags.strip() == '*' or tag in [found.removeprefix('W/') for found in _TAG.findall(tags)]
    since = _time(request.headers.get('if-modified-since'))
    return since is not None and int(modified) <= since


def _range_applies(request: Request, tag: str, modified: str) -> bool:
    """Whether the file is still the one that the client has a part of (RFC 9110 13.1.5)."""
    known = request.headers.get('if-range')
    return known is None or known in (tag, modified)


def _range(wanted: str, size: int) -> tuple[int, int] | None:
    """First byte and length of a range, length 0 if there is nothing of it; None for what may be ignored."""
    match = _RANGE(wanted.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return size - length, length
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    return first, max(0, last - first + 1)


def _time(date: str | None) -> float | None:
    if date is None:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
