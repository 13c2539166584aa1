"""Refusing before the first write: room, permission, and a database that answers."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from vvmigrate.engine.database import translate
from vvmigrate.engine.host import ROOT, Host
from vvmigrate.engine.session import DATABASE, Session
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, Change, Target
from vvmigrate.errors import RefusedError
from vvmigrate.files import Place, Tree

SPARE_BYTES = 4 << 20  # the database's growth and its rollback journal, sources, journal: measured 0.4 MB a release
INODES_PER_CHANGE = 3  # the file, its copy for the way back, a directory


def needs(changes: Iterable[Change]) -> dict[str, int]:
    """Bytes that staging will take, by area."""
    total: dict[str, int] = defaultdict(int)
    for change in changes:
        total[change.target.area] += change.size_bytes
    total[ROOT] += SPARE_BYTES
    return dict(total)


def disk(host: Host, changes: Iterable[Change]) -> dict[str, int]:
    """Bytes needed, and free where most of them are needed; on a fresh host, where its storage root will be."""
    by_area = needs(list(changes))
    area = max(by_area, key=lambda area: by_area[area])
    tree = host.tree(area)
    if tree is not None:
        return {"needed_bytes": sum(by_area.values()), "free_bytes": tree.free()[0]}
    above = Path(host.path(Target(area, "")))
    with Tree.open(next(path for path in (above, *above.parents) if path.is_dir())) as tree:
        return {"needed_bytes": sum(by_area.values()), "free_bytes": tree.free()[0]}


def check(session: Session, changes: Iterable[Change]) -> None:
    """See that all pending steps can be done.

    Raises:
        RefusedError: no room, no permission, or a database that stays locked; with the figures.
    """
    changes = list(changes)
    host = session.host
    for area, needed in needs(changes).items():
        tree = host.tree(area)
        if tree is None:
            continue
        free, inodes = tree.free()
        if free < needed:
            raise RefusedError(
                f"{tree.path}: the disk has no room: {needed:,} bytes needed, {free:,} free",
                hint="vvmigrate prune, or make room",
                path=str(tree.path),
            )
        if inodes < (wanted := INODES_PER_CHANGE * len(changes) + 16):
            raise RefusedError(f"{tree.path}: {wanted} inodes needed, {inodes} free", path=str(tree.path))
    for change in changes:
        if change.action not in (ADOPT, ATTRIBUTES):
            _check_writable(host, change)
    _check_database(session)


def _check_writable(host: Host, change: Change) -> None:
    parent = host.place(change.target).parent
    if parent.identity()[0] == "dir":  # where it is not, an earlier change makes it
        _check_access(parent, os.W_OK | os.X_OK)


def _check_access(place: Place, mode: int) -> None:
    """Ask the kernel, without opening: read-only disks and immutable files count, root is not exempt."""
    with place.at() as (parent, name):
        allowed = os.access(name, mode, dir_fd=parent, effective_ids=True)
    if not allowed:
        raise RefusedError(f"{place.path}: may not be written by user {os.geteuid()}", path=place.path)


def _check_database(session: Session) -> None:
    place = session.host.place(DATABASE)
    _check_access(place.parent, os.W_OK | os.X_OK)  # SQLite makes its journal there
    _check_access(place, os.W_OK)  # BEGIN IMMEDIATE is content with a file that it may only read
    connection = session.ledger.connection
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise translate(error, session.database_path) from error
