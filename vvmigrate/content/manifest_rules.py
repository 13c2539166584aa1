"""What a schema cannot say about model_manifest.json: paths, URLs, and fields that must agree with each other.

Every rule takes a document of any shape and looks only at fields of the right type: the wrong ones are reported by
the schema, in the same run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from vvmigrate.content.strict_json import CONTROL, CONTROL_FAULT, Problem, shown

# Names that are ours in every folder that we write to.
PRIVATE = (".vvmigrate", ".store", ".current_model_info.json")
MAX_PART_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_PARTS = 32
MAX_FILES = 10_000

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DRIVE = re.compile(r"[A-Za-z]:")
_NOT_IN_URL = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")


def problems(document: object, limits: dict[str, int]) -> Iterator[Problem]:
    """Yield every fault of the manifest's artefacts that its schema lets through.

    Args:
        document: any JSON value.
        limits: the limits of an artefact that names none.
    """
    for model, versions in _fields(_member(document, "models")):
        for version, body in _fields(versions):
            for variant, artefact in _fields(_member(body, "variants")):
                where = ("models", model, version, "variants", variant)
                if isinstance(artefact, dict):
                    yield from _about_urls(where, artefact)
                    yield from _about_chunks(where, artefact)
                    yield from _about_files(where, artefact, limits)


def is_relative(url: str) -> bool:
    """Tell a file of the release from a URL."""
    return _SCHEME.match(url) is None


def default_filename(url: str) -> str:
    """Return the last part of a URL's path, decoded, or of a relative path as it is."""
    if is_relative(url):
        return url.rpartition("/")[2]
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


def path_faults(path: str) -> Iterator[str]:
    """Yield what keeps a path from being a plain, portable file name below a folder of ours."""
    if not path:
        yield "expected a relative path, found nothing"
        return
    if CONTROL.search(path):
        yield CONTROL_FAULT
    if "\\" in path:
        yield "expected '/' between the parts of a path, found a backslash"
    if path.startswith("/") or _DRIVE.match(path):
        yield "expected a relative path, found an absolute one"
    parts = path.removeprefix("/").split("/")
    yield from (f"the path has the part '{part}'" for part in ("", ".", "..") if part in parts)
    if any(part.casefold().startswith(PRIVATE) for part in parts):
        yield f"names that begin with {', '.join(PRIVATE)} belong to vvmigrate"
    if len(parts) > MAX_PARTS:
        yield f"more than {MAX_PARTS} parts between '/'"
    longest = max(_byte_count(part) for part in parts)
    if longest > MAX_PART_BYTES or _byte_count(path) > MAX_PATH_BYTES:
        yield f"longer than {MAX_PATH_BYTES} bytes of UTF-8, or than {MAX_PART_BYTES} between two '/'"


def url_faults(url: str) -> Iterator[str]:
    """Yield what is wrong with a place to download from; none of these sentences quotes it."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        yield from path_faults(url)
        return
    if _NOT_IN_URL.search(url):
        yield "holds a character that no URL may hold; write it percent-encoded"
    if scheme[1].lower() not in {"http", "https", "file"}:
        yield "expected a URL of https, http or file, or a relative path, found another scheme"
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield "the host or the port of this URL cannot be read"
        return
    if scheme[1].lower() == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.query or parts.fragment:
            yield "expected file:/// and the absolute path of a file on the host"
        return
    if not host:
        yield "this URL names no host"
    if "@" in parts.netloc:
        yield "this URL holds credentials; a manifest is public and must hold none"


@dataclass
class _Place:
    """A name in the tree that paths make; a name and its other spellings share one place."""

    path: str
    is_file: bool = False
    inside: dict[str, _Place] = field(default_factory=dict)


def clashes(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each path that cannot stand beside an earlier one, with the reason.

    Two spellings that some file system takes for one (letter case, composed or decomposed accents) clash, in a folder's
    name too; so do a file and a folder of the same name.
    """
    root = _Place("")
    for path in paths:
        fault, place = None, root
        parts = path.split("/")
        for number, part in enumerate(parts):
            if place.is_file:
                fault = fault or f"{shown(place.path)} is a file and cannot be a folder too"
            place = place.inside.setdefault(_folded(part), _Place("/".join(parts[: number + 1])))
            if place.path.rpartition("/")[2] != part:
                fault = fault or f"the same as {shown(place.path)} where letter case or the form of accents is ignored"
        if place.inside:
            fault = fault or f"{shown(next(iter(place.inside.values())).path)} makes this a folder; no file can be here"
        place.is_file = True
        if fault:
            yield path, fault


def _about_urls(where: tuple[str, ...], artefact: dict[str, Any]) -> Iterator[Problem]:
    """Check where an artefact comes from and what it will be called."""
    urls = artefact.get("urls")
    for index, url in enumerate(urls if isinstance(urls, list) else ()):
        if isinstance(url, str) and url:
            yield from (Problem((*where, "urls", index), fault) for fault in url_faults(url))
    given, name = artefact.get("filename"), _filename(artefact)
    if name is None:
        return
    if isinstance(given, str):
        yield from (Problem((*where, "filename"), fault) for fault in path_faults(name))
        if "/" in name:
            yield Problem((*where, "filename"), "expected a file name, found a path")
    elif "/" in name or any(path_faults(name)):
        yield Problem((*where, "filename"), "this field is missing, and the first URL ends in no usable file name")


def _about_chunks(where: tuple[str, ...], artefact: dict[str, Any]) -> Iterator[Problem]:
    """Check that the chunks add up to the whole."""
    digests, chunk, size = artefact.get("chunk_sha256"), artefact.get("chunk_bytes"), artefact.get("size_bytes")
    if isinstance(digests, list) and _positive(chunk) and _positive(size):
        expected = -(-size // chunk)
        if digests and len(digests) != expected:
            what = f"expected {expected} digests for {size} bytes in chunks of {chunk}, found {len(digests)}"
            yield Problem((*where, "chunk_sha256"), what)


def _about_files(where: tuple[str, ...], artefact: dict[str, Any], limits: dict[str, int]) -> Iterator[Problem]:
    """Check the names of the installed files, and that they can be what this artefact installs."""
    files = artefact.get("files")
    if not isinstance(files, dict) or not files:
        return
    where = (*where, "files")
    faults = {name: list(path_faults(name)) for name in files}
    yield from (Problem((*where, name), fault) for name in files for fault in faults[name])
    # Paths that are refused anyway may be endless, and the schema refuses more than so many.
    sound = (name for name in files if not faults[name])
    yield from (Problem((*where, name), fault) for name, fault in clashes(islice(sound, MAX_FILES)))
    if artefact.get("format") == "file":
        yield from _about_single_file(where, artefact, files)
    else:
        yield from _about_limits(where, files, {**limits, **dict(_fields(artefact.get("limits")))})


def _about_single_file(where: tuple[str, ...], artefact: dict[str, Any], files: dict[str, Any]) -> Iterator[Problem]:
    """Check that a raw file's list names that file and nothing else, with the same size and digest."""
    name = _filename(artefact)
    if name is None:
        return
    if set(files) != {name}:
        yield Problem(where, f"expected {shown(name)} alone, for the format is file")
        return
    for key in ("size_bytes", "sha256"):
        found, expected = _member(files.get(name), key), artefact.get(key)
        if found is not None and expected is not None and found != expected:
            yield Problem((*where, name, key), f"expected the download's {key}, for the format is file")


def _about_limits(where: tuple[str, ...], files: dict[str, Any], limits: dict[str, Any]) -> Iterator[Problem]:
    """Check that the files fit in the archive's own limits; else every download would be refused at its end."""
    sizes = (_member(file, "size_bytes") for file in files.values())
    figures = {
        "max_files": (len(files), "files"),
        "max_bytes": (sum(size for size in sizes if _positive(size)), "bytes"),
        "max_depth": (max(name.count("/") + 1 for name in files), "parts in a path"),
    }
    for limit, (figure, unit) in figures.items():
        if _positive(limits[limit]) and figure > limits[limit]:
            yield Problem(where, f"{figure} {unit} are more than {limit} allows ({limits[limit]})")


def _filename(artefact: dict[str, Any]) -> str | None:
    """Return what the download is called, or None where the schema already objects."""
    given, urls = artefact.get("filename"), artefact.get("urls")
    if given is not None:
        return given if isinstance(given, str) else None
    return default_filename(urls[0]) if isinstance(urls, list) and urls and isinstance(urls[0], str) else None


def _member(value: object, name: str) -> Any:
    """Return a field of an object, or None where there is no such object or field."""
    return value.get(name) if isinstance(value, dict) else None


def _fields(value: object) -> Iterable[tuple[str, Any]]:
    """Return the fields of an object; anything else has none."""
    return value.items() if isinstance(value, dict) else ()


def _positive(value: object) -> TypeGuard[int]:
    """Tell a usable number; `true` is none."""
    return type(value) is int and value > 0


def _folded(path: str) -> str:
    """Return what all spellings of a path have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _byte_count(text: str) -> int:
    """Return the length in UTF-8; half a surrogate pair, reported elsewhere, counts as three."""
    return len(text.encode("utf-8", "surrogatepass"))
