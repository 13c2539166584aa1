"""A small journalled updater on which the harness tests itself; the variable BUG plants a bug in it.

Stage, seal, publish, commit, tidy: two roots (home and storage), one journal, one SQLite database; files are created
by RENAME_NOREPLACE and replaced by RENAME_EXCHANGE, then compared. It stands alone, as an application under test does.
"""

import ctypes
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

BUGS: Final = (
    "publish-before-seal", "journal-removed-before-commit", "compare-then-rename", "no-fsync-of-files",
    "no-fsync-of-directories", "synchronous-off", "synchronous-full", "rewrite-in-place", "short-write-ignored",
    "recovery-trusts-any-database", "recovery-without-comparing",
)  # fmt: skip
Content = bytes | str | Mapping[str, bytes]
NOREPLACE: Final = 1
EXCHANGE: Final = 2
LEDGER_ID: Final = "ledger-1"
#: Effects in the order of publishing: kind, place, what stands there afterwards ("@" starts a link's target).
PLAN: Final[Sequence[tuple[str, str, Content]]] = (
    ("replace", "storage/assets/model.json", b'{"v": 2}\n' * 300),
    ("create", "storage/assets/extra.bin", b"x" * 5000),
    ("replace", "storage/assets/current", "@pack/a"),
    ("create", "storage/assets/pack", {"a": b"A" * 100, "b": b"B"}),
    ("replace", "home/.env", b"NEW_KEY=1\n"),  # what stands there already stays
)


class ConflictError(Exception):
    """Somebody else changed what we were about to change."""


class Updater:
    """The updater at one root."""

    def __init__(self, root: Path, bug: str = "") -> None:
        """Look at nothing yet."""
        self.root, self.bug = root, bug
        self.journal = root / "storage/.vv/journal.json"
        # CDLL(None) searches the program's global scope, where a preloaded library comes first.
        self._libc = ctypes.CDLL(None, use_errno=True)

    # ---- files -----------------------------------------------------------------------------------------------------

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        if self.bug != "no-fsync-of-directories":
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Write a new file durably, but for its name."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            while data:
                done = os.write(fd, data)
                data = b"" if self.bug == "short-write-ignored" else data[done:]
            if self.bug != "no-fsync-of-files":
                os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path, flags: int) -> None:
        """Call renameat2."""
        if self._libc.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(source), None, str(target))

    def slot(self, n: int, place: str) -> Path:
        """Return where effect n stages, and keeps what it took out: a directory of the same root."""
        return self.root / place.partition("/")[0] / ".vv" / str(n)

    # ---- the step --------------------------------------------------------------------------------------------------

    def upgrade(self) -> None:
        """Apply the one step, or take it back and fail."""
        self.recover()
        if self.committed():
            return
        effects = [self.stage(n, kind, place, what) for n, (kind, place, what) in enumerate(PLAN)]
        for folder in ("home/.vv", "storage/.vv"):
            self.sync_dir(self.root / folder)
        if self.bug == "publish-before-seal":
            self.publish(4, effects[4])
        self.seal({"id": "step-1", "ledger": LEDGER_ID, "effects": effects})
        db = self.connect()
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE version SET n = 1")
            db.execute("INSERT INTO history(step) VALUES ('step-1')")
            for n, effect in enumerate(effects):
                if not (n == 4 and self.bug == "publish-before-seal"):
                    self.publish(n, effect)
            for folder in ("storage/assets", "storage/.vv", "home", "home/.vv"):
                self.sync_dir(self.root / folder)
            if self.bug == "journal-removed-before-commit":
                self.unseal()
            db.execute("COMMIT")
        except BaseException:
            db.close()  # ends the transaction; what the COMMIT did, if it failed, is seen by recover
            self.recover()
            if not self.committed():
                raise
            return
        db.close()
        self.recover()

    def stage(self, n: int, kind: str, place: str, what: Content) -> dict[str, Any]:
        """Build what will stand there, out of sight, and say what stands there now."""
        slot, before = self.slot(n, place), digest(self.root / place)
        if isinstance(what, bytes) and place.endswith(".env"):
            lines = (self.root / place).read_bytes()
            before = hashlib.sha256(lines).hexdigest()  # of what was read: a save since then has to be noticed
            self.write(slot, lines + what, 0o600)
        elif isinstance(what, Mapping):
            slot.mkdir()
            for name, data in what.items():
                self.write(slot / name, data, 0o644)
            self.sync_dir(slot)
        elif isinstance(what, str):
            slot.symlink_to(what[1:])
        else:
            self.write(slot, what, 0o644)
        return {"kind": kind, "place": place, "before": before, "after": digest(slot)}

    def seal(self, journal: Mapping[str, Any]) -> None:
        """Make the journal durable."""
        fresh = self.journal.with_name("journal.new")
        self.write(fresh, json.dumps(journal).encode(), 0o600)
        self.rename(fresh, self.journal, NOREPLACE)
        self.sync_dir(self.journal.parent)

    def unseal(self) -> None:
        """Remove the journal durably."""
        self.journal.unlink(missing_ok=True)
        self.sync_dir(self.journal.parent)

    def publish(self, n: int, effect: Mapping[str, Any]) -> None:
        """Make one effect visible."""
        slot, place = self.slot(n, effect["place"]), self.root / effect["place"]
        if effect["kind"] == "create":
            self.rename(slot, place, NOREPLACE)
        elif self.bug == "rewrite-in-place" and place.name == ".env":
            with place.open("r+b") as file:
                file.truncate()
                file.write(slot.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        elif self.bug == "compare-then-rename":
            # Who saves between the comparison and the rename loses it: nobody looks at what came out.
            if digest(place) != effect["before"]:
                raise ConflictError(effect["place"])
            self.rename(slot, place, EXCHANGE)
        else:
            self.rename(slot, place, EXCHANGE)
            if digest(slot) != effect["before"]:
                self.rename(slot, place, EXCHANGE)
                raise ConflictError(effect["place"])

    # ---- recovery --------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Finish a step that was committed, take back one that was not, and tidy."""
        if self.journal.exists():
            journal = json.loads(self.journal.read_bytes())
            committed = self.committed()
            for n, effect in reversed(list(enumerate(journal["effects"]))):
                if not committed:
                    self.undo(n, effect)
                self.rescue(n, effect)
            for folder in ("storage/assets", "storage/.vv", "home", "home/.vv"):
                self.sync_dir(self.root / folder)
            self.unseal()
        for folder in ("home/.vv", "storage/.vv"):
            for junk in sorted((self.root / folder).iterdir()):
                if junk.name != self.journal.name:
                    remove(junk)

    def undo(self, n: int, effect: Mapping[str, Any]) -> None:
        """Take one effect back by rename, if what stands there is still ours."""
        slot, place = self.slot(n, effect["place"]), self.root / effect["place"]
        ours = self.bug == "recovery-without-comparing" or digest(place) == effect["after"]
        if effect["kind"] == "create":
            if ours and os.path.lexists(place) and not os.path.lexists(slot):
                self.rename(place, slot, NOREPLACE)
        elif ours and digest(slot) == effect["before"]:
            self.rename(slot, place, EXCHANGE)
            if self.bug != "recovery-without-comparing" and digest(slot) != effect["after"]:
                self.rename(slot, place, EXCHANGE)

    def rescue(self, n: int, effect: Mapping[str, Any]) -> None:
        """Put beside its place what is neither as it was nor as we made it: it is the user's."""
        slot, place = self.slot(n, effect["place"]), self.root / effect["place"]
        ours = self.bug in ("recovery-without-comparing", "compare-then-rename")
        if os.path.lexists(slot) and digest(slot) not in (effect["before"], effect["after"]) and not ours:
            self.rename(slot, place.with_name(place.name + ".kept"), NOREPLACE)

    # ---- database --------------------------------------------------------------------------------------------------

    def connect(self) -> sqlite3.Connection:
        """Open the database, with the durability that the promise needs."""
        db = sqlite3.connect(self.root / "storage/data/state.db", timeout=5, isolation_level=None)
        level = {"synchronous-off": "OFF", "synchronous-full": "FULL"}.get(self.bug, "EXTRA")
        db.execute(f"PRAGMA synchronous = {level}")
        return db

    def committed(self) -> bool:
        """Return whether the database says that the step has happened.

        Raises:
            SystemExit: 4, when it is not the database that the journal speaks of.
        """
        db = self.connect()
        try:
            found = db.execute("SELECT id FROM ledger").fetchone()[0]
            if found != LEDGER_ID and self.bug != "recovery-trusts-any-database":
                raise SystemExit(4)
            return db.execute("SELECT 1 FROM history WHERE step = 'step-1'").fetchone() is not None
        finally:
            db.close()


def digest(path: Path) -> str:
    """Return a digest of a file, a link or a directory; empty when nothing is there."""
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    if path.is_dir():
        return f"dir {[(p.name, digest(p)) for p in sorted(path.iterdir())]}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def remove(path: Path) -> None:
    """Remove a file, a link, or a directory with what is in it."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            remove(child)
        path.rmdir()
    else:
        path.unlink()


def setup(root: Path) -> None:
    """Make the state before."""
    for folder in ("home/.vv", "storage/.vv", "storage/assets", "storage/data"):
        (root / folder).mkdir(parents=True)
    (root / "storage/assets/model.json").write_bytes(b'{"v": 1}\n')
    (root / "storage/assets/current").symlink_to("model.json")
    (root / "storage/assets/user.png").write_bytes(b"precious" * 100)
    (root / "home/.env").write_bytes(b"# mine\nPORT=8188\n")
    (root / "home/.env").chmod(0o600)
    run_sql(
        root / "storage/data/state.db",
        "CREATE TABLE version(n INTEGER)", "CREATE TABLE history(id INTEGER PRIMARY KEY, step TEXT)",
        "CREATE TABLE ledger(id TEXT)", "INSERT INTO version VALUES (0)", f"INSERT INTO ledger VALUES ('{LEDGER_ID}')",
    )  # fmt: skip


def run_sql(path: Path, *lines: str) -> None:
    """Run statements, each in a transaction of its own."""
    db = sqlite3.connect(path, isolation_level=None)
    for line in lines:
        db.execute(line)
    db.close()


def main() -> int:
    """Run ``setup ROOT``, ``upgrade ROOT`` or ``recover ROOT``."""
    root = Path(sys.argv[2])
    updater = Updater(root, os.environ.get("BUG", ""))
    try:
        {"setup": lambda: setup(root), "upgrade": updater.upgrade, "recover": updater.recover}[sys.argv[1]]()
    except (OSError, sqlite3.Error, ConflictError) as error:
        print(f"{sys.argv[1]}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
