"""A database that is missing, damaged, locked, or not ours: the contract's code, and nothing touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes, nothing_of_the_users_changes, says
from tests.conftest import HostFolder

Spoil = Callable[[HostFolder], object]


def _text(host: HostFolder) -> None:
    host.database.write_text("dear diary, this is no database\n" * 100)


def _directory(host: HostFolder) -> None:
    host.database.unlink(missing_ok=True)
    host.database.mkdir()


def _fifo(host: HostFolder) -> None:
    host.database.unlink(missing_ok=True)
    os.mkfifo(host.database)


def _link(host: HostFolder) -> None:
    """A link, even to the right file: SQLite would follow it wherever it leads."""
    away = host.root / "elsewhere.sqlite"
    host.database.rename(away) if host.database.exists() else away.touch()
    host.database.symlink_to(away)


def _missing(host: HostFolder) -> None:
    host.database.unlink()


def _truncated(host: HostFolder) -> None:
    os.truncate(host.database, host.database.stat().st_size // 2)


def _empty(host: HostFolder) -> None:
    os.truncate(host.database, 0)


def _without_ledger(host: HostFolder) -> None:
    for (name,) in host.sql("SELECT name FROM sqlite_master WHERE type = 'table'"):
        host.sql(f"DROP TABLE {name}")


def _sql(*statements: str) -> Spoil:
    return lambda host: [host.sql(statement) for statement in statements]


def _forget_key(host: HostFolder) -> None:
    (host.root / ".vvmigrate/key").unlink()


def _lose_anchor(host: HostFolder) -> None:
    (host.root / ".vvmigrate/anchor").unlink()


def _spoil_anchor(host: HostFolder) -> None:
    (host.root / ".vvmigrate/anchor").write_bytes(b"\xff\x00garbage")


TRIGGER = "CREATE TRIGGER planted AFTER INSERT ON vv_step BEGIN DELETE FROM vv_step; END"
VIEW = "CREATE VIEW planted AS SELECT * FROM vv_step"

KNOWN: list[Any] = [
    pytest.param(_missing, 4, ["missing"], "adopt --reconcile", id="missing"),
    pytest.param(_empty, 4, ["empty", "had one"], "adopt --reconcile", id="zero-bytes"),
    pytest.param(_directory, 4, ["expected a SQLite database", "found dir"], "", id="directory"),
    pytest.param(_fifo, 4, ["expected a SQLite database", "found other"], "", id="fifo"),
    pytest.param(_link, 4, ["expected a SQLite database", "found link"], "", id="link"),
    pytest.param(_text, 4, ["not a database"], "", id="text"),
    pytest.param(_truncated, 4, ["malformed"], "", id="truncated"),
    pytest.param(_without_ledger, 4, ["no ledger", "has one"], "adopt", id="ledger-dropped"),
    pytest.param(_sql("INSERT INTO vv_version VALUES ('0000')"), 4, ["2 version rows", "0001"], "", id="two-rows"),
    pytest.param(_sql("UPDATE vv_version SET version_num = '0777'"), 4, ["0777", "0001"], "", id="newer-revision"),
    pytest.param(_sql("DELETE FROM vv_version"), 4, ["says base", "says 0001"], "", id="contradicts-history"),
    pytest.param(_sql("UPDATE vv_ledger SET format = 99"), 4, ["format 99", "knows 1"], "", id="newer-format"),
    pytest.param(_sql("DELETE FROM vv_ledger"), 4, ["0 ledger ids"], "", id="no-ledger-id"),
    pytest.param(_sql("UPDATE vv_ledger SET ledger_id = 'f00'"), 4, ["another host's", "f00"], "adopt", id="other-id"),
    pytest.param(_forget_key, 4, ["key", "missing"], "adopt --rekey", id="key-missing"),
    pytest.param(_lose_anchor, 4, ["anchor", "missing"], "adopt --reconcile", id="anchor-missing"),
    pytest.param(_spoil_anchor, 4, ["anchor", "something else"], "adopt --reconcile", id="anchor-garbage"),
    pytest.param(_sql("DELETE FROM vv_run"), 4, ["older copy"], "adopt --reconcile", id="behind-its-anchor"),
    pytest.param(_sql("DELETE FROM vv_run", "DELETE FROM vv_step"), 4, ["older copy"], "adopt", id="history-emptied"),
    pytest.param(_sql(TRIGGER), 4, ["trigger planted", "nothing was run"], "DROP TRIGGER", id="trigger"),
    pytest.param(_sql(VIEW), 4, ["view planted", "nothing was run"], "DROP VIEW", id="view"),
    pytest.param(_sql("CREATE INDEX planted ON vv_step (user)"), 4, ["index planted"], "DROP INDEX", id="index"),
    pytest.param(_sql("ALTER TABLE vv_hold ADD COLUMN x"), 4, ["vv_hold", "not as"], "", id="table-altered"),
    pytest.param(_sql("UPDATE vv_step SET user = 'eve'"), 7, ["does not verify"], "history --verify", id="row-edited"),
    pytest.param(_sql("UPDATE vv_run SET exit_code = 9"), 7, ["does not verify"], "history --verify", id="run-edited"),
    pytest.param(_sql("DELETE FROM vv_step"), 7, ["does not verify"], "history --verify", id="row-removed"),
    pytest.param(_sql("UPDATE vv_effect SET n = -n"), 7, ["effects"], "history --verify", id="effect-renumbered"),
    pytest.param(
        _sql("UPDATE vv_effect SET effect = replace(effect, 'input', 'other')"),
        *(7, ["effects", "changed"], "history --verify"),
        id="effect-edited",
    ),
]


@pytest.mark.parametrize("verb", ["upgrade", "downgrade", "recover"])
@pytest.mark.parametrize(("spoil", "code", "words", "hint"), KNOWN)
def test_a_database_that_is_not_the_one_we_left_is_not_touched(
    bare: HostFolder, spoil: Spoil, code: int, words: list[str], hint: str, verb: str
) -> None:
    """Whatever befell the database, no command writes to it, to the files, or to our own notes."""
    bare.up()
    bare.revision("0002", "op.make_directories(['made_by_mistake'])")
    spoil(bare)
    with nothing_changes(bare):
        says(bare.call(verb, *(["base"] if verb == "downgrade" else [])), code, *words, hint=hint)


@pytest.mark.parametrize("verb", ["status", "plan", "history", "current"])
@pytest.mark.parametrize("spoil", [_missing, _empty, _directory, _text, _truncated, _link, _fifo])
def test_looking_at_a_damaged_database_says_so_and_changes_nothing(bare: HostFolder, spoil: Spoil, verb: str) -> None:
    """Read-only commands judge a damaged database as the others do: exit 4."""
    bare.up()
    spoil(bare)
    with nothing_changes(bare):
        says(bare.call(verb), 4, "orchestrator_db.sqlite")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(_directory, ["expected a SQLite database", "found dir"], id="directory"),
        pytest.param(_text, ["not a database"], id="text"),
        pytest.param(_link, ["expected a SQLite database", "found link"], id="link"),
        pytest.param(_fifo, ["expected a SQLite database"], id="fifo"),
    ],
)
def test_on_the_first_day_something_else_in_its_place_is_left_alone(
    bare: HostFolder, spoil: Spoil, words: list[str]
) -> None:
    """What stands where the database belongs, and is none, is nobody's to remove but its owner's."""
    bare.database.parent.mkdir(parents=True)
    spoil(bare)
    with nothing_of_the_users_changes(bare):
        says(bare.call("upgrade"), 4, *words)


@pytest.mark.parametrize("zero_bytes", [False, True], ids=["missing", "zero-bytes"])
def test_on_the_first_day_a_missing_database_is_made(bare: HostFolder, zero_bytes: bool) -> None:
    """A host that never had a database gets one; a zero-byte file counts as none."""
    if zero_bytes:
        bare.database.parent.mkdir(parents=True)
        bare.database.touch()
    bare.up()
    assert bare.history() == [("0001", "up", "applied")]
    assert bare.sql("PRAGMA integrity_check") == [("ok",)]
    assert sorted(path.name for path in bare.database.parent.iterdir()) == ["orchestrator_db.sqlite"]


def test_the_orchestrators_own_database_is_adopted_with_its_rows(bare: HostFolder) -> None:
    """A database that the orchestrator made before we came keeps its rows, also after we are gone again."""
    bare.database.parent.mkdir(parents=True)
    bare.sql("CREATE TABLE theirs (id INTEGER PRIMARY KEY, word TEXT)")
    bare.sql("INSERT INTO theirs VALUES (1, 'one'), (2, 'two')")
    inode = bare.database.stat().st_ino
    bare.up()
    assert bare.sql("SELECT * FROM theirs") == [(1, "one"), (2, "two")]
    bare.down("base")
    assert bare.sql("SELECT * FROM theirs") == [(1, "one"), (2, "two")]
    assert bare.database.stat().st_ino == inode


@pytest.mark.parametrize("timeout", ["0", "0.2"])
@pytest.mark.parametrize("pending", [True, False], ids=["pending", "nothing-to-do"])
def test_a_database_that_stays_locked_is_refused_before_the_first_write(
    bare: HostFolder, locked: Any, timeout: str, pending: bool
) -> None:
    """While the orchestrator holds the database longer than we may wait, nothing is begun: exit 6."""
    bare.up()
    bare.environ["VV_DATABASE_TIMEOUT"] = timeout
    if pending:
        bare.revision("0002", "op.make_directories(['made_by_mistake'])")
    with locked(bare.database), nothing_changes(bare):
        says(bare.call("upgrade"), 6, str(bare.database), "locked", hint="fuser")
    bare.up()


@pytest.mark.parametrize("verb", ["upgrade", "downgrade"])
@pytest.mark.parametrize("what", ["orchestrator_data/orchestrator_db.sqlite", "orchestrator_data"])
def test_a_database_that_may_not_be_written_is_refused_before_the_first_write(
    bare: HostFolder, immutable: Callable[[Path], None], what: str, verb: str
) -> None:
    """A read-only database, or a folder in which SQLite may not make its journal, is seen before anything moves."""
    bare.up()
    bare.revision("0002", "op.make_directories(['made_by_mistake'])")
    immutable(bare.root / what)
    with nothing_changes(bare):
        says(bare.call(verb, *(["base"] if verb == "downgrade" else [])), 6, "orchestrator_data", "may not be written")


def test_a_storage_root_on_a_read_only_disk_is_refused(bare: HostFolder, mount: Callable[..., None]) -> None:
    """A disk that the kernel remounted read-only after an error is exit 6, not a failure half-way."""
    bare.up()
    bare.revision("0002", "op.make_directories(['made_by_mistake'])")
    mount(bare.root, bind=bare.root, options="ro")
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, str(bare.root), "Read-only file system")
        assert bare.call("status").exit_code == 3


def test_another_hosts_database_is_not_taken_for_ours(bare: HostFolder, tmp_path: Path) -> None:
    """A database copied over from another device is named as such and left alone."""
    bare.up()
    other = HostFolder(bare.home, tmp_path / "other_storage")
    shutil.rmtree(bare.home / ".vvmigrate")
    other.up()
    shutil.copytree(other.root / "orchestrator_data", bare.root / "orchestrator_data", dirs_exist_ok=True)
    shutil.rmtree(bare.home / ".vvmigrate")
    with nothing_of_the_users_changes(bare):
        report = bare.call("upgrade")
    assert report.exit_code in (4, 6), report
    assert report.error is not None


def test_yesterdays_copy_of_the_database_is_not_continued(bare: HostFolder, tmp_path: Path) -> None:
    """A database restored from a backup lacks steps that the files have had: a person decides."""
    bare.up()
    shutil.copy2(bare.database, tmp_path / "yesterday")
    bare.revision("0002", "op.make_directories(['later'])")
    bare.up()
    shutil.copy2(tmp_path / "yesterday", bare.database)
    with nothing_changes(bare):
        says(bare.call("upgrade"), 4, str(bare.database), "older copy", hint="adopt --reconcile")


def test_the_databases_journal_mode_is_its_owners_choice(bare: HostFolder) -> None:
    """A database in WAL mode stays in WAL mode, there and back."""
    bare.database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(bare.database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    bare.up()
    assert bare.sql("PRAGMA journal_mode") == [("wal",)]
    bare.down("base")
    assert bare.sql("PRAGMA journal_mode") == [("wal",)]


# ---- what a person can do --------------------------------------------------------------------------------------------


def _spoil_the_effects(host: HostFolder) -> None:
    """The root page of the effects' table is overwritten, as by a bad sector; every other table can be read."""
    ((page,), (size,)) = (
        host.sql("SELECT rootpage FROM sqlite_master WHERE name = 'vv_effect'")[0],
        host.sql("PRAGMA page_size")[0],
    )
    with host.database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xaa" * size)


@pytest.mark.parametrize("verb", ["status", "history", "doctor", "upgrade", "adopt"])
def test_a_damaged_page_is_no_traceback_and_the_way_out_works(bare: HostFolder, tmp_path: Path, verb: str) -> None:
    """What would help ends with 4 too, and names what helps: a copy, or to begin anew without the damaged one."""
    bare.up()
    shutil.copy2(bare.database, tmp_path / "copy")
    _spoil_the_effects(bare)
    options = {"history": {"verify": True}, "adopt": {"reconcile": True, "yes": True}}.get(verb, {})
    with nothing_of_the_users_changes(bare):
        report = bare.call(verb, **options)
    if verb == "doctor":
        assert (report.exit_code, report.error) == (4, None)
        assert "put a copy of the database back" in str(report.body["findings"])
    else:
        says(report, 4, "cannot be read", hint="put a copy of the database back")
    bare.database.unlink()
    if verb == "status":
        shutil.copy2(tmp_path / "copy", bare.database)
        assert bare.call("status").exit_code == 0
    else:
        assert bare.call("adopt", reconcile=True, yes=True).exit_code == 0
    bare.up()
    assert bare.call("history", verify=True).exit_code == bare.call("doctor").exit_code == 0


@pytest.mark.parametrize("spoil", [_lose_anchor, _spoil_anchor])
def test_a_lost_anchor_is_for_a_person_and_ends_with_their_word(bare: HostFolder, spoil: Spoil) -> None:
    """Nobody writes a new one unasked; once a person has looked, the host goes on."""
    bare.up()
    spoil(bare)
    with nothing_changes(bare):
        for verb in ("status", "doctor", "upgrade", "adopt"):
            assert bare.call(verb).exit_code == 4
        says(bare.call("adopt", reconcile=True), 4, "anchor")
    report = bare.call("adopt", reconcile=True, yes=True)
    assert (report.exit_code, report.error) == (0, None)
    assert "anchor" in str(report.body["settled"])
    bare.revision("0002", "op.make_directories(['second'])")
    bare.up()
    assert bare.call("history", verify=True).exit_code == 0
