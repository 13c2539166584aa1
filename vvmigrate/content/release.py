"""`vv-release.json`: the author's own list of a release's files, which `vv-release.json.minisig` signs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from vvmigrate.content import signature, strict_json
from vvmigrate.errors import IntegrityError
from vvmigrate.files import Entry, Place

NAME, SIGNATURE = "vv-release.json", "vv-release.json.minisig"
SCHEMA = 1
CONFIGURATION = "alembic.ini"
RUNS = (CONFIGURATION, "migrations/env.py")
"""What decides or runs, and so must be listed."""

CLOSED = ("migrations", "vvmigrate")
"""Folders in which everything may run: nothing may lie there that is not listed."""

_CACHE = "__pycache__"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def listed_files(home: Place, storage: str) -> dict[str, Entry]:
    """The files that a release consists of, as they are now.

    Args:
        home: the release folder.
        storage: the storage root's absolute path, in case it lies below the home.
    """
    places = signature.installed_files(home, storage)
    return {place.name: place.entry() for place in places if place.name not in (NAME, SIGNATURE)}


def render(files: Mapping[str, Entry]) -> bytes:
    """The list; the same files make the same bytes, whenever, wherever and by whomever it is made."""
    body = {
        "schema": SCHEMA,
        "files": {
            name: {"sha256": entry.digest, "size_bytes": entry.size_bytes} for name, entry in sorted(files.items())
        },
    }
    return json.dumps(body, indent=1, ensure_ascii=True).encode() + b"\n"


def parse(data: bytes) -> dict[str, str]:
    """Read a list whose signature holds.

    Returns:
        SHA-256 in hex, by relative name.

    Raises:
        IntegrityError: it is not such a list.
    """
    try:
        document, problems = strict_json.load(data)
    except ValueError as error:
        raise IntegrityError(f"{NAME}: {error}") from None
    if problems:
        raise IntegrityError(f"{NAME}: {problems[0]}")
    files = document.get("files") if isinstance(document, dict) and document.get("schema") == SCHEMA else None
    if not isinstance(files, dict):
        raise IntegrityError(
            f'{NAME}: expected {{"schema": {SCHEMA}, "files": ...}}', hint="a newer vvmigrate may know this list"
        )
    found: dict[str, str] = {}
    for name, facts in files.items():
        sha256 = facts.get("sha256") if isinstance(facts, dict) else None
        parts = name.split("/")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or {"", ".", ".."} & set(parts):
            raise IntegrityError(f"{NAME}: {name!r}: expected the SHA-256 of a file below the release's folder")
        found[name] = sha256
    return found


def check(listed: Mapping[str, str], name: str, sha256: str, path: str) -> None:
    """Let the bytes of a file of the release through, if they are the ones that are listed.

    Args:
        sha256: of the bytes, in hex.
        path: for people.

    Raises:
        IntegrityError: they are not, or the file is not listed at all.
    """
    if name not in listed:
        raise IntegrityError(f"{path}: is not in {NAME}: it is not of this release", hint=_AGAIN, path=path)
    if listed[name] != sha256:
        raise IntegrityError(f"{path}: expected SHA-256 {listed[name]}, found {sha256}", hint=_AGAIN, path=path)


_AGAIN = "install the release again, as its author made it; a file that is yours belongs somewhere else"


def check_all(home: Place, listed: Mapping[str, str]) -> None:
    """Compare the whole release with its list.

    Raises:
        IntegrityError: a file is missing, is another, or is not listed although it may run.
    """
    for name in RUNS:
        if name not in listed:
            raise IntegrityError(f"{NAME}: does not list {name}", hint="sign the whole release: vvmigrate sign")
    for name in sorted(listed):
        place = home / name
        seen = place.entry()
        if seen.kind != "file":
            found = "nothing" if not seen.exists else f"a {seen.kind}"
            raise IntegrityError(f"{place.path}: expected a file, found {found}", hint=_AGAIN, path=place.path)
        check(listed, name, seen.digest, place.path)
    for folder in CLOSED:
        for place in _below(home / folder):
            if place.name not in listed:
                check(listed, place.name, "", place.path)


def digests(home: Place) -> dict[str, str]:
    """What stands now in place of everything that `check_all` looks at: SHA-256 by name, empty for what is no file.

    The list is taken as it is: whoever compares must know from elsewhere that its signature held.

    Raises:
        IntegrityError: the list is none.
    """
    names = set(parse((home / NAME).read()))
    names.update(place.name for folder in CLOSED for place in _below(home / folder))
    return {name: (home / name).entry().digest for name in names}


def _below(folder: Place) -> Iterator[Place]:
    """Everything below a folder but directories, and Python's caches, which revisions are never run from."""
    for name in folder.names():
        place = folder / name
        if place.identity()[0] != "dir":
            yield place
        elif name != _CACHE:
            yield from _below(place)
