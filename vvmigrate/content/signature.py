"""`vv-signature.json`: the host's own list of the installation's files, with which they can be compared later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vvmigrate.files import Entry, Place

NAME = "vv-signature.json"
SCHEMA = 1
_OUTPUTS = frozenset({NAME, ".env", "logs", "storage"})
_CACHES = frozenset({"__pycache__", "node_modules", "build", "dist"})


def installed_files(home: Place, storage: str) -> Iterator[Place]:
    """The installation's files, sorted by name: what the release brought, not what runs produce.

    Left out are outputs (`.env`, logs, the storage root), hidden folders, caches and virtual environments.

    Args:
        home: the release folder.
        storage: the storage root's absolute path, in case it lies below the home.
    """
    for name in home.names():
        place = home / name
        kind = place.identity()[0]
        if kind == "file" and not (not home.name and name in _OUTPUTS) and not name.endswith((".pyc", ".vv-before")):
            yield place
        elif kind == "dir" and not _is_left_out(place, name, top=not home.name, storage=storage):
            yield from installed_files(place, storage)


def _is_left_out(place: Place, name: str, *, top: bool, storage: str) -> bool:
    if name.startswith(".") or name in _CACHES or name.endswith(".egg-info") or (top and name in _OUTPUTS):
        return True
    return place.path == storage or (place / "pyvenv.cfg").identity()[0] == "file"


def render(files: Mapping[str, Entry], created_at: str, tool_version: str) -> bytes:
    """The signature of these files.

    Args:
        files: relative name to what stands there, with its digest.
        created_at: UTC, ISO 8601.
    """
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "created_at": created_at,
        "created_by": f"vvmigrate {tool_version}",
        "files": {
            name: {"sha256": entry.digest, "size_bytes": entry.size_bytes, "mode": f"{entry.mode:04o}"}
            for name, entry in sorted(files.items())
        },
    }
    return json.dumps(body, indent=1, ensure_ascii=True).encode() + b"\n"


def same_files(one: bytes, other: bytes) -> bool:
    """Whether two signatures list the same files alike, whenever they were made."""
    try:
        return bool(json.loads(one)["files"] == json.loads(other)["files"])
    except (ValueError, TypeError, KeyError):
        return False
