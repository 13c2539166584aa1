"""Whether an upgrade has nothing to do, told before anything heavy is imported.

The last upgrade that left nothing to be done wrote down a keyed digest of everything that could give the next one
something to do: revisions, env.py, configuration, manifest and template by content; `.env`; where releases are signed,
the keys and every file of the release, as it was when its signature was checked; the binding; all our rows,
and the schema; the settings in the environment; the tool's and Python's version. It lies in the state directory, which
only we may write, and whoever cannot read the chain's key cannot make it. Nothing is believed but that digest: where it
differs, where anything waits, is odd or raises, the long way is taken, which says what it is.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import sqlite3
import sys
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vvmigrate import __version__
from vvmigrate import settings as settle
from vvmigrate.engine import contents, database, roots, vault
from vvmigrate.engine import session as sessions
from vvmigrate.engine.actor import who_runs
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.rows import plain
from vvmigrate.engine.session import Opening, Session
from vvmigrate.errors import VvmigrateError
from vvmigrate.files import UNFINISHED, Place, Tree
from vvmigrate.report import Report
from vvmigrate.schema import TABLES
from vvmigrate.settings import Settings

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

NAME = "settled"
FIRST_RELEASE = "2025"
"""No host runs this tool at an earlier time."""

READ = ("alembic.ini", "model_manifest.json", ".env.example", "migrations/env.py")
SIGNED = ("vv-release.json", "vv-release.json.minisig")
TAKES_BLOBS = (3, 45)
"""Since this SQLite a blob may be JSON."""
ROWS_AT_ONCE = 1000
LOWEST_ROW = -(2**63)
AT_REST = frozenset(
    {*contents.FOLDERS, contents.LOCK, contents.RESERVE, vault.KEY, vault.LEDGER_ID, "anchor", "root", "secrets", NAME}
)
"""What lies in a state directory between two runs. Whatever else does waits for somebody, or is not known here."""


def opening_of(settings: Settings) -> Opening:
    """What a host is opened with."""
    return Opening(
        home=settings.home,
        requested_root=settings.requested_root,
        default_root=settings.default_root,
        named_by=settings.root_named_by,
        variant=settings.variant,
        owner=settings.owner,
        directory_mode=settings.directory_mode,
        lock_timeout_s=settings.lock_timeout_s,
        database_timeout_s=settings.database_timeout_s,
    )


def clock_warnings(session: Session) -> list[str]:
    """What is odd about this host's clock; the history's order does not depend on it."""
    last = _last_end(session, session.run["run_id"]) if session.connection is not None else ""
    return _odd_clock(session.run["started_at"], last)


def _last_end(session: Session, without: str = "") -> str:
    """When the last step ended, in this epoch; those of one run may be left out."""
    ledger = session.ledger
    others = "SELECT max(finished_at) FROM vv_step WHERE run_id <> ? AND seq >= ?"
    row = ledger.first(others, (without, ledger.epoch_seq()))
    return plain(row[0] or "") if row else ""


def _odd_clock(now: str, last: str) -> list[str]:
    if now < FIRST_RELEASE:
        return [f"the clock says {now}: it has no date yet; times in the history will be wrong, its order will not"]
    if now < last:
        return [f"the clock says {now}, but the last step ended at {last}: it went back; the history keeps its order"]
    return []


def nothing_to_do(
    options: Mapping[str, Any], environ: Mapping[str, str], folder: Path
) -> tuple[Report, tuple[str, ...]] | None:
    """The report of an upgrade to head that has nothing to do.

    Args:
        options: of the command line.
        environ: the process's environment.
        folder: the working directory.

    Returns:
        And what was assumed; None where there is any doubt.
    """
    with suppress(VvmigrateError, OSError, ValueError, KeyError, TypeError, AttributeError, sqlite3.Error):
        home = settle.find_home(options.get("home"), environ, folder)
        settings = settle.with_trusted_keys(settle.resolve(home, options, environ, {}))
        roots.check_trust(home, roots.what_runs_first(home))  # of the revisions see `_revisions`
        roots.check_keys(settings.trusted_file)
        with sessions.open_reader(opening_of(settings), who_runs("upgrade", [])) as session:
            database.check_tables(session.ledger.connection, session.database_path)
            if session.bound is not None:
                roots.check_root(Path(session.bound.storage_root), home)
            known = vault.read_json(session.host.private, NAME) or {}
            last = str(known.get("last_end"))
            if session.refusals or _odd_clock(session.run["started_at"], last) or not _is_calm(session):
                return None
            seen = fingerprint(session, environ, settings, last)
            if not seen or not hmac.compare_digest(seen, str(known.get("fingerprint"))):
                return None
            return _report(session), settings.warnings
    return None


def read_from(home: Path) -> str:
    """SHA-256 of the files of a home by which an upgrade knows what there is to do; empty where it cannot be told."""
    digest = hashlib.sha256()
    with suppress(OSError), Tree.open(home) as tree:
        _add(digest, _files(tree, READ))
        return digest.hexdigest()
    return ""


def remember(session: Session, environ: Mapping[str, str], settings: Settings, before: str) -> None:
    """After an upgrade that left nothing to be done: so that the next one can tell.

    Args:
        before: what `read_from` told before the upgrade had read any of it. What was put there since it has not seen.
    """
    state = session.host.private
    known, last = vault.read_json(state, NAME) or {}, _last_end(session)
    fresh = fingerprint(session, environ, settings, last)
    if not before or read_from(settings.home) != before:
        return
    if fresh and known.get("fingerprint") != fresh:
        (state / NAME).replace(json.dumps({"fingerprint": fresh, "last_end": last}).encode())


def fingerprint(session: Session, environ: Mapping[str, str], settings: Settings, last: str) -> str:
    """The keyed digest of all that could give an upgrade something to do; empty where it cannot be told.

    Args:
        settings: with `signed`, the release must still be what was signed.
        last: when the last step ended; as long as all rows are the same it is this, and need not be looked for.
    """
    if session.key is None or session.bound is None:
        return ""
    with suppress(OSError, sqlite3.Error):
        return _keyed(session.key, session, environ, settings, last)
    return ""


def _keyed(key: bytes, session: Session, environ: Mapping[str, str], settings: Settings, last: str) -> str:
    digest = hashlib.sha256()
    files = _release(session, settings)
    if settings.signed is not None and files != settings.signed:
        return ""
    signature = SIGNED if settings.trusted_keys else ()
    with _meanwhile(lambda: _rows(session)) as rows:
        read = list(_facts(session, environ, (*READ, *signature)))
    _add(digest, (last, settings.trusted_keys, sorted(files.items()), *read, *rows))
    return hmac.new(key, digest.digest(), "sha256").hexdigest() if rows else ""


def _add(digest: Digest, facts: Iterable[object]) -> None:
    for fact in facts:
        data = fact if isinstance(fact, bytes) else repr(fact).encode("utf-8", "surrogateescape")
        digest.update(b"%d:%b" % (len(data), data))


@contextmanager
def _meanwhile(work: Callable[[], list[object]]) -> Iterator[list[object]]:
    """What `work` gives, while something else is done: there when the block has ended, and empty where it failed.

    SQLite reads, and SHA-256 is made, without the interpreter's lock. To import `threading` would take longer than a
    thread saves where the rows are few.
    """
    given: list[object] = []
    ended = allocate_lock()

    def run() -> None:
        try:
            with suppress(OSError, ValueError, sqlite3.Error):
                given.extend(work())
        finally:
            ended.release()

    ended.acquire()
    try:
        start_new_thread(run, ())
    except RuntimeError:  # this process may have no more threads: one after the other, then
        run()
    try:
        yield given
    finally:
        ended.acquire()  # whatever came of the block: the connection is closed after it


def _facts(session: Session, environ: Mapping[str, str], read: tuple[str, ...]) -> Iterator[object]:
    yield __version__, sys.version, os.geteuid(), os.getegid(), session.bound
    yield session.opening.owner, session.opening.directory_mode
    stored = (session.host.private / "sources").stat()  # what is put there, or taken away, changes its time
    yield stored and (stored.st_ino, stored.st_mtime_ns)
    yield sorted(item for item in environ.items() if item[0].startswith(("VV_", "VIDEO_")))
    home = session.host.tree(HOME)
    if home is not None:
        yield from _files(home, read)


def _files(home: Tree, read: tuple[str, ...]) -> Iterator[object]:
    for name in read:
        yield name
        yield (home / name).read()
    yield from _revisions(home / roots.VERSIONS)
    yield from _env(home / ".env")


def _revisions(place: Place) -> Iterator[object]:
    """By name and content; of a file that root must not run nothing is told, so that the long way is taken."""
    is_root = os.geteuid() == 0
    with place.folder() as versions:
        names = [name for name in versions.names() if name.endswith(".py")]
        read = []
        for name in names:
            info, data = versions.told_and_read(name)
            if is_root and not roots.is_roots_alone(info):
                raise PermissionError(errno.EPERM, "others than root may have written it", name)
            read.append(data)
    yield "\0".join(names)
    yield b" ".join(b"%d" % len(data) for data in read)
    yield b"".join(read)


def _release(session: Session, settings: Settings) -> dict[str, str]:
    """SHA-256, by name, of every file of a signed release; nothing of another."""
    home = session.host.tree(HOME)
    if home is None or not settings.trusted_keys:
        return {}
    from vvmigrate.content import release  # not at the top: a host that trusts nobody need not pay for it

    return release.digests(home / "")


def _env(place: Place) -> Iterator[object]:
    seen = place.glance()
    yield seen.kind, seen.mode, seen.uid, seen.gid
    if seen.kind != "absent":
        yield place.read()  # a link, and what else is no file, raises: the long way


def _rows(session: Session) -> list[object]:
    connection = session.ledger.connection
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    return [schema, *(digest_of(connection, table) for table in TABLES)]


def digest_of(connection: sqlite3.Connection, table: str) -> bytes:
    """SHA-256 of every value, with its type, of every row of a table of ours.

    SQLite makes one text of many rows: that takes half as long as Python's 23 values of each, and a database that
    belongs to another user is asked in his name once for all of them. The table is as we made it, so its columns have
    our names. JSON has 15 digits only. A blob is an error; since SQLite 3.45 one may be taken for what it encodes
    (sqlite.org/json1.html): there it is looked for; it sorts behind all else.

    Raises:
        sqlite3.OperationalError: a row holds a blob, which none of ours does.
    """
    columns = connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
    exact = ", ".join(f"quote({name})" if kind == "REAL" else name for name, kind in columns)
    last = ", ".join(f"ifnull({name}, '')" for name, _ in columns)
    blobs = f"max(max('', {last})) >= x''" if sqlite3.sqlite_version_info >= TAKES_BLOBS else "0"
    rows = f"SELECT CAST(json_group_array(json_array({exact})) AS BLOB), {blobs} FROM {table}"  # noqa: S608 - our own names
    after = f"SELECT rowid FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1 OFFSET {ROWS_AT_ONCE}"  # noqa: S608
    digest = hashlib.sha256()
    here: int | None = LOWEST_ROW
    while here is not None:
        (end,) = connection.execute(after, (here,)).fetchone() or (None,)
        some = f"{rows} WHERE rowid >= ?" + (" AND rowid < ?" if end is not None else "")
        text, holds_blob = connection.execute(some, (here, end)[: some.count("?")]).fetchone()
        if holds_blob:
            raise sqlite3.OperationalError(f"{table} holds a blob")
        digest.update(text)
        here = end
    return digest.digest()


def _is_calm(session: Session) -> bool:
    """Whether nothing waits, nothing is lost, and the chain ends where the anchor says."""
    state = session.host.state(ROOT)
    if state is None or session.connection is None:
        return False
    for _, tree in session.host.states():
        names = (tree / "").names()
        if not AT_REST.issuperset(name.removesuffix(UNFINISHED) for name in names) or (tree / "staging").names():
            return False
        if not contents.is_in_order(tree):
            return False
    return (state / contents.RESERVE).stat() is not None and vault.anchor(state) == session.ledger.head()


def _report(session: Session) -> Report:
    version = session.ledger.version()
    return Report(
        "upgrade",
        body={
            "run_id": session.run["run_id"],
            "from": version,
            "to": version,
            "steps": [],
            "affects": [],
            "held": [],
            "required_missing": [],
            "degraded": [],
        },
    )
