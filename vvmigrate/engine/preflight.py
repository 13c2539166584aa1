"""Refusing before the first write: room, permission, and a database that answers."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vvmigrate.engine.database import translate
from vvmigrate.engine.host import HOME, ROOT, Host, check_writable, is_anothers
from vvmigrate.engine.session import DATABASE, Session
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, Change, Proposal, Target
from vvmigrate.errors import RefusedError
from vvmigrate.files import Place, Tree

SPARE_BYTES = 4 << 20  # the database's growth and its rollback journal, sources, journal: measured 0.4 MB a release
SPARE_INODES = 16
INODES_PER_CHANGE = 3  # the file, its copy for the way back, a directory


@dataclass
class Need:
    """What a run needs on one file system.

    Attributes:
        path: a folder on it.
        free_bytes, free_inodes: what it has for the caller.
        staged_bytes: what is made out of sight, until a rename shows it. What it replaces stays where it is.
        received_bytes: downloads, kept until they are installed.
        spare_bytes: database, journal, history.
    """

    path: str
    free_bytes: int
    free_inodes: int
    staged_bytes: int = 0
    received_bytes: int = 0
    spare_bytes: int = 0
    inodes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.staged_bytes + self.received_bytes + self.spare_bytes

    def check(self) -> None:
        """See that there is room.

        Raises:
            RefusedError: there is not; with the sums.
        """
        parts = f"{self.received_bytes:,} to download, {self.staged_bytes:,} to install, {self.spare_bytes:,} to spare"
        message, hint = f"{self.path}: the disk has no room", "vvmigrate prune, or make room"
        if self.free_bytes < self.total_bytes:
            message += f": {self.total_bytes:,} bytes needed, {self.free_bytes:,} free ({parts})"
            raise RefusedError(message, hint=hint, path=self.path)
        if self.free_inodes < self.inodes:
            message += f": {self.inodes:,} inodes needed, {self.free_inodes:,} free"
            raise RefusedError(message, hint=hint, path=self.path)


def room_at(folder: Tree) -> tuple[int, Need]:
    """The device that a folder is on, and what it has."""
    return os.fstat(folder.descriptor).st_dev, Need(str(folder.path), *folder.free())


def needs(host: Host, proposal: Proposal) -> dict[int, Need]:
    """What a run needs, by device."""
    found: dict[int, Need] = {}

    def on(target: Target) -> Need:
        with _nearest(host, target) as folder:
            return found.setdefault(*room_at(folder))

    private = on(Target(ROOT, ""))
    private.spare_bytes += SPARE_BYTES
    private.inodes += SPARE_INODES + 2 * len(proposal.downloads)
    private.received_bytes += sum(item.room_bytes for item in proposal.downloads)
    for change in proposal.changes:
        need = on(change.target)
        need.staged_bytes += change.size_bytes
        need.inodes += INODES_PER_CHANGE + change.inodes
    return found


@contextmanager
def _nearest(host: Host, target: Target) -> Iterator[Tree]:
    """The folder that holds a target, or the nearest above it that exists; on a fresh host also above its tree."""
    tree = host.tree(target.area)
    if tree is None:
        above = Path(host.path(Target(target.area, "")))
        folder = Tree.open(next(path for path in (above, *above.parents) if path.is_dir()))
    else:
        place = (tree / target.name).parent
        while place.name and place.identity()[0] != "dir":
            place = place.parent
        folder = place.subtree()
    with folder:
        yield folder


def disk(host: Host, proposal: Proposal) -> dict[str, int]:
    """Bytes needed in all, and free where most of them are needed; on a fresh host, where its storage root will be."""
    by_device = needs(host, proposal)
    most = max(by_device.values(), key=lambda need: need.total_bytes)
    return {"needed_bytes": sum(need.total_bytes for need in by_device.values()), "free_bytes": most.free_bytes}


def check_room(host: Host, proposal: Proposal) -> None:
    """See that there is room for all of it.

    Raises:
        RefusedError: there is not; with the figures.
    """
    for need in needs(host, proposal).values():
        need.check()


def check(session: Session, proposal: Proposal) -> None:
    """See that all pending steps can be done. A host that is open for looking is asked all that needs no lock.

    Args:
        proposal: of all of them together.

    Raises:
        RefusedError: no room, no permission, or a database that stays locked; with the figures.
    """
    host = session.host
    check_room(host, proposal)
    if (home := host.tree(HOME)) is not None and is_anothers(home):
        return  # who works here may write elsewhere than who only looks
    for change in proposal.changes:
        if change.action != ADOPT and host.tree(change.target.area) is not None:
            _check_change(host, change)
    if session.connection is not None:
        check_database(session)


def _check_change(host: Host, change: Change) -> None:
    place = host.place(change.target)
    if change.action != ATTRIBUTES and place.parent.identity()[0] == "dir":  # where it is not, an earlier one makes it
        check_writable(place.parent)
    _check_changeable(place)


def _check_changeable(place: Place) -> None:
    """See that what stands here may be replaced, renamed or given another mode, by who may write around it.

    Its own mode does not forbid that, but an immutable file is nobody's to touch: asked is where the mode says yes.
    """
    info = place.stat()
    if info is None or stat.S_ISLNK(info.st_mode):
        return
    if os.geteuid() == 0 or (info.st_uid == os.geteuid() and info.st_mode & stat.S_IWUSR):
        check_writable(place, os.W_OK)


def check_database(session: Session) -> None:
    """See that the history can be written now.

    Raises:
        RefusedError: the orchestrator holds the database, or it may not be written.
        StateError: it is damaged.
    """
    place = session.host.place(DATABASE)
    check_writable(place.parent)  # SQLite makes its journal there
    check_writable(place, os.W_OK)  # BEGIN IMMEDIATE is content with a file that it may only read
    if not session.host.writing:
        return
    connection = session.ledger.connection
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise translate(error, session.database_path) from error
