"""Where an artefact can be had: a server, a file of the release, a file of the host. All of them open alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import quote, unquote, urlsplit

from vvmigrate.content.delivery.answers import AttemptError, judge, judge_part
from vvmigrate.content.delivery.http import Web, reason, shown
from vvmigrate.content.manifest_rules import default_filename, is_relative
from vvmigrate.errors import RefusedError
from vvmigrate.files import Tree

if TYPE_CHECKING:
    import requests

    from vvmigrate.content.manifest import Artefact
    from vvmigrate.files import Place

# Both must name the encoding: requests would offer gzip (and zstd, where backports.zstd is installed) by itself.
_HEADERS = {"User-Agent": "vvmigrate", "Accept": "*/*", "Accept-Encoding": "identity"}
_SOURCES = "use https:, http:, file:, a folder of this host, or a relative name below the release"


@dataclass(frozen=True)
class Stream:
    """An open body.

    Attributes:
        start: the offset in the artefact at which it begins.
        etag: strong validator of what it belongs to, or empty.
        media_type: what the server calls it.
        delimited: whether its end is known to be its end, not a broken line.
        read: gives between 1 and so many bytes, none at the end; raises AttemptError.
    """

    start: int
    etag: str
    media_type: str
    delimited: bool
    read: Callable[[int], bytes]


class Origin(Protocol):
    """One source of an artefact."""

    @property
    def label(self) -> str:
        """Its name as it may be printed and stored."""
        ...

    def open(self, offset: int, etag: str, size_bytes: int) -> AbstractContextManager[Stream]:
        """Open it at `offset`, or at 0 if what is there is no longer what gave `etag`."""
        ...

    def part(self, first: int, last: int, size_bytes: int) -> AbstractContextManager[Stream]:
        """Open the bytes from `first` to `last`, both included, and nothing else."""
        ...


@dataclass(frozen=True)
class WebOrigin:
    """An http or https URL; asked anew for each attempt, since what it redirects to may be signed for minutes."""

    url: str
    web: Web

    @property
    def label(self) -> str:
        """The URL without user part and query."""
        return shown(self.url)

    @contextmanager
    def open(self, offset: int, etag: str, size_bytes: int) -> Iterator[Stream]:
        """Ask for everything from `offset` on.

        Raises:
            AttemptError: no answer, or one that is of no use.
        """
        ranged = {"Range": f"bytes={offset}-"} if offset else {}
        condition = {"If-Range": etag} if offset and etag else {}
        with self.web.get(self.url, {**_HEADERS, **ranged, **condition}) as (answer, response):
            start = judge(answer, offset=offset, size_bytes=size_bytes)
            yield Stream(start, answer.etag, answer.media_type, answer.delimited, _reader(response))

    @contextmanager
    def part(self, first: int, last: int, size_bytes: int) -> Iterator[Stream]:
        """Ask for a part.

        Raises:
            AttemptError: no answer, or one that is of no use.
        """
        with self.web.get(self.url, {**_HEADERS, "Range": f"bytes={first}-{last}"}) as (answer, response):
            judge_part(answer, first=first, last=last, size_bytes=size_bytes)
            yield Stream(first, answer.etag, answer.media_type, answer.delimited, _reader(response))


def _reader(response: requests.Response) -> Callable[[int], bytes]:
    from urllib3.exceptions import HTTPError  # loaded by now

    def read(limit: int) -> bytes:
        try:
            # One recv at most: `stream()` would wait for the whole amount, and a trickle would never be seen.
            return response.raw.read1(limit, decode_content=False) or b""
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            failure = reason(error)
        raise failure

    return read


@dataclass(frozen=True)
class FileOrigin:
    """A file: of the release, of the host, of a stick."""

    label: str
    find: Callable[[], AbstractContextManager[Place]]

    @contextmanager
    def open(self, offset: int, etag: str, size_bytes: int) -> Iterator[Stream]:
        """Open the file at `offset`.

        Raises:
            AttemptError: it is missing, unreadable, no regular file, or of another size.
        """
        del etag
        with ExitStack() as stack:
            try:
                file = stack.enter_context(stack.enter_context(self.find()).reader())
                found = file.seek(0, io.SEEK_END)
                file.seek(offset)
            except OSError as error:
                raise _unreadable(error) from error
            if found != size_bytes:
                raise AttemptError(f"has {found} bytes instead of {size_bytes}", final=True, wrong_bytes=True)
            # Outside the `try`: an error of the disk that we write to is not this file's.
            yield Stream(offset, "", "", delimited=True, read=lambda limit: _read(file, limit))

    def part(self, first: int, last: int, size_bytes: int) -> AbstractContextManager[Stream]:
        """Open the file at `first`; whoever reads stops at `last`."""
        del last
        return self.open(first, "", size_bytes)


def _read(file: BinaryIO, limit: int) -> bytes:
    try:
        return file.read(limit)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> AttemptError:
    return AttemptError(error.strerror or type(error).__name__, final=True)


def find_origins(artefact: Artefact, release: Tree, mirror: str | None, web: Web) -> list[Origin]:
    """Return every source of an artefact in the order in which they are asked.

    Args:
        artefact: its `urls`, in the manifest's order.
        release: what relative ones belong to.
        mirror: a URL's beginning or a folder of this host, asked first; the last part of the first URL's path is
            appended to it.
        web: asks servers.

    Raises:
        RefusedError: a URL of a kind that is not known.
    """
    origins = [_mirrored(mirror, default_filename(artefact.urls[0]), web)] if mirror else []
    for url in dict.fromkeys(artefact.urls):
        if is_relative(url):
            origins.append(FileOrigin(url, partial(_in_release, release, url)))
        else:
            origins.append(_absolute(url, web))
    return origins


def _mirrored(mirror: str, filename: str, web: Web) -> Origin:
    prefix = mirror.rstrip("/") + "/"
    if prefix.startswith("/"):
        return FileOrigin(prefix + filename, partial(_on_host, Path(prefix + filename)))
    return _absolute(prefix + quote(filename), web)


def _absolute(url: str, web: Web) -> Origin:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise RefusedError("a source is not a URL", hint=_SOURCES) from None
    if known:
        return WebOrigin(url, web)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return FileOrigin(shown(url), partial(_on_host, Path(unquote(parts.path))))
    raise RefusedError(f"not a source that can be used: {shown(url)}", hint=_SOURCES)


@contextmanager
def _in_release(release: Tree, name: str) -> Iterator[Place]:
    yield release / name


@contextmanager
def _on_host(path: Path) -> Iterator[Place]:
    with Tree.open(path.parent.resolve()) as tree:
        yield tree / path.name
