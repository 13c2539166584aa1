"""Connections to the orchestrator's SQLite database, with the settings that a durable COMMIT needs.

The file is only ever opened by SQLite itself: opening, copying or hashing it in this process would drop SQLite's own
locks when the descriptor is closed (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import quote

from vvmigrate import schema
from vvmigrate.engine import lowered, roots
from vvmigrate.engine.contents import move_away
from vvmigrate.engine.rows import RECONCILE
from vvmigrate.errors import RefusedError, StateError, StepError, VvmigrateError
from vvmigrate.files import Owner, Place, Tree

DIRECTORY = "orchestrator_data"
NAME = f"{DIRECTORY}/orchestrator_db.sqlite"
MODE = 0o664
CACHE_KIB = 8 << 10  # a look reads the history several times: that of 10,000 steps comes from the disk once
SYNCHRONOUS_EXTRA = 3  # sqlite.org/pragma.html#pragma_synchronous: FULL leaves the journal's removal unsynced


def connect(place: Place, *, timeout_s: float, writing: bool) -> sqlite3.Connection:
    """Open the database; statements outside a transaction commit by themselves, BEGIN and COMMIT are ours.

    Args:
        timeout_s: how long to wait for the orchestrator's lock.
        writing: False for a connection that cannot change rows. It is opened read-write all the same: read-only mode
            fails after a kill and cannot clear up WAL's side files.

    Raises:
        StateError: not a database, not a regular file, or replaced while it was being opened.
        RefusedError: locked, or not writable.
    """
    before = place.identity()
    if before[0] != "file":
        raise StateError(
            f"{place.path}: expected a SQLite database, found {before[0]}",
            hint=f"put the database back, as a file of its own; or, if it is lost: {move_away(place)} && {RECONCILE}",
            path=place.path,
        )
    uri = "file:" + quote(os.fsencode(place.path)) + "?mode=rw"
    info = place.stat()
    if info is None:
        raise StateError(f"{place.path}: vanished while it was being opened", path=place.path)
    with translated(place):
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=lowered.connection_class(info, place.tree.path),
        )
    try:
        # By path SQLite may have been led to another file; before its first statement nothing was read or written.
        if not _is_open(place) or before != place.identity():
            raise StateError(f"{place.path}: replaced while it was being opened", path=place.path)  # noqa: TRY301 - closed below
        with translated(place):
            _configure(connection, place, writing=writing)
        if before != place.identity():
            raise StateError(f"{place.path}: replaced while it was being opened", path=place.path)  # noqa: TRY301 - closed below
    except BaseException:
        connection.close()
        raise
    return connection


def _is_open(place: Place) -> bool:
    """Whether this process has the very file at a place open (proc(5), fd): SQLite resolves paths by itself."""
    wanted = place.stat()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own descriptor
            seen = os.stat(f"/proc/self/fd/{name}")
            if wanted is not None and (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


def _configure(connection: sqlite3.Connection, place: Place, *, writing: bool) -> None:
    # An extension of the host's cannot be loaded and a trigger cannot call functions with side effects.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA foreign_keys=OFF")  # batch mode with ON deletes child rows; checked before COMMIT
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("PRAGMA fullfsync=ON")
    if not writing:
        connection.execute("PRAGMA query_only=ON")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if level != SYNCHRONOUS_EXTRA:
        raise StateError(f"{place.path}: synchronous=EXTRA not accepted, got {level}", path=place.path)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Give SQLite's errors the words and the exit code of the contract.

    Raises:
        RefusedError: locked or read-only.
        StateError: damaged or no database at all.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, place.path) from error


def translate(error: sqlite3.Error, path: str) -> VvmigrateError:
    """The error of ours that an error of SQLite's stands for."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RefusedError(
            f"{path}: the database stayed locked by another program",
            hint=f"see who has it open: fuser -v {path}",
            path=path,
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return RefusedError(f"{path}: the database cannot be written: {error}", path=path)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return StepError(f"{path}: rows that were kept do not fit any more: {error}", path=path)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return RefusedError(f"{path}: the disk refuses: {error}", hint=f"df -h {path}; dmesg", path=path)
    return StateError(
        f"{path}: the database cannot be read: {error}",
        hint="put a copy of the database back; without one, move it away with what lies beside it (-journal, -wal, "
        f"-shm). Then: {RECONCILE}",
        path=path,
    )


def create(state: Tree, place: Place, ledger_id: str, owner: Owner | None) -> None:
    """Build a database with our tables out of sight, and publish it whole.

    A zero-byte file that stands in the way is one that a crash or a careless `touch` left: it is set aside.

    Raises:
        OSError: the disk refused.
    """
    staged = state / "staging/database"
    staged.remove_tree()
    staged.make_directory(0o700)
    fresh = staged / "db"
    connection = sqlite3.connect("file:" + quote(os.fsencode(fresh.path)) + "?mode=rwc", uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=EXTRA")
        install_tables(connection, ledger_id)
    finally:
        connection.close()
    fresh.set_attributes(MODE, owner)
    staged.fsync()
    if place.stat() is None:
        fresh.move(place)
    else:
        fresh.exchange(place)
    place.parent.fsync()
    staged.remove_tree()
    (state / "staging").fsync()


def copy(place: Place, into: Place, *, timeout_s: float) -> None:
    """Copy a database as it is between two transactions, with its mode and owner, to where nothing stands.

    The copy is written through the one descriptor that is open when it begins, and is not forced to the disk.

    Args:
        timeout_s: how long to wait for the orchestrator's lock.

    Raises:
        RefusedError: it stayed locked; or the disk refuses.
        StateError: it is damaged.
    """
    info = place.stat()
    if info is None:
        raise StateError(f"{place.path}: vanished while it was being copied", path=place.path)
    deadline = time.monotonic() + timeout_s

    def waited(status: int, _remaining: int, _total: int) -> None:
        busy = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if busy and time.monotonic() >= deadline:  # by itself the copy would wait for ever
            raise RefusedError(
                f"{place.path}: the database stayed locked by another program",
                hint=f"see who has it open: fuser -v {place.path}",
                path=place.path,
            )

    into.write(b"")
    with translated(place), closing(connect(place, timeout_s=timeout_s, writing=False)) as source:
        uri = "file:" + quote(os.fsencode(into.path)) + "?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode=OFF")
            target.execute("PRAGMA synchronous=OFF")
            owner = getattr(source, "owner", (os.geteuid(), os.getegid()))
            with lowered.lowered(*owner):  # what SQLite may still open by path is the owner's
                source.backup(target, progress=waited)
    into.set_attributes(stat.S_IMODE(info.st_mode), Owner(info.st_uid, info.st_gid) if os.geteuid() == 0 else None)


def is_missing(place: Place, *, known: bool) -> bool:
    """Whether there is no database: nothing there, or a file of zero bytes.

    Args:
        known: this host has had one.

    Raises:
        StateError: there is none, although the host has had one.
    """
    info = place.stat()
    if info is not None and (info.st_size or place.identity()[0] != "file"):
        return False
    if known:
        raise StateError(
            f"{place.path}: the database is {'missing' if info is None else 'empty'}, although this host had one",
            hint="put it back; or, if it is lost: vvmigrate adopt --reconcile",
            path=place.path,
        )
    return True


def network_warning(connection: sqlite3.Connection, place: Place) -> str:
    """What is to be said of a database on a network file system; empty where it is on none.

    Raises:
        RefusedError: it is in WAL mode, which needs memory that all who have it open share.
    """
    kind = roots.file_system(place.parent)
    if kind not in roots.NETWORK:
        return ""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        raise RefusedError(
            f"{place.path}: a database in WAL mode does not work on a network file system ({kind})",
            hint=f"when no program has it open: sqlite3 {place.path} 'PRAGMA journal_mode=DELETE'",
            path=place.path,
        )
    return f"{place.parent.path} is on a network file system ({kind}): no promise about power loss there"


def install_tables(connection: sqlite3.Connection, ledger_id: str) -> None:
    """Make the ledger's tables in a transaction of their own, so that no step can fail between them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in schema.TABLES.values():
            connection.execute(statement)
        connection.execute("INSERT INTO vv_ledger VALUES (?, ?)", (ledger_id, schema.FORMAT))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_tables(connection: sqlite3.Connection, path: str) -> None:
    """Our tables must be as we made them, with nothing hung on them.

    Raises:
        StateError: changed, or a trigger, view or temporary object stands on one of them.
    """
    seen = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master "
        "UNION ALL SELECT type, name, tbl_name, sql FROM temp.sqlite_master"
    ).fetchall()
    ours = {name: sql for kind, name, _, sql in seen if kind == "table" and name in schema.TABLES}
    for name, sql in schema.TABLES.items():
        if ours.get(name) != sql:
            raise StateError(f"{path}: table {name} is not as vvmigrate made it", path=path)
    mention = re.compile(r"\b(" + "|".join(schema.TABLES) + r")\b", re.IGNORECASE)
    for kind, name, table, sql in seen:
        hangs = table in schema.TABLES or mention.search(sql or "") is not None
        own_index = kind == "index" and sql is None
        if hangs and name not in schema.TABLES and not own_index:
            raise StateError(
                f"{path}: {kind} {name} hangs on a table of vvmigrate's; nothing was run",
                hint=f"look at it, then: sqlite3 {path} 'DROP {kind.upper()} \"{name}\"'",
                path=path,
            )
