"""What recovery reads may be damaged, forged or another host's: refused with nothing touched, and right once mended."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import NOBODY, nothing_changes, says
from tests.conftest import HostFolder
from vvmigrate.engine import session
from vvmigrate.engine.journal import Journal
from vvmigrate.errors import StateError

from . import dying

SEED = 20250101
NEW_ASSET = b"another picture"
Spoil = Callable[[HostFolder], object]


@pytest.fixture
def crashed(host: HostFolder) -> HostFolder:
    """A host whose upgrade to 0003 was killed with everything published, before COMMIT."""
    host.up("0002")
    (host.root / "fallback/placeholder.png").write_bytes(b"an older one")
    before = host.tree()
    dying.crash(host, dying.WRITTEN, "upgrade", "0003")
    assert host.tree() != before
    host.sql("SELECT 1 FROM sqlite_master")  # the orchestrator looked, and SQLite has rolled back
    return host


def journal(host: HostFolder) -> Path:
    """Where its journal lies."""
    return host.root / ".vvmigrate/journal"


def comes_right(host: HostFolder) -> None:
    """Once what was wrong is mended, the recovery undoes the step and says so."""
    dying.settled(host)
    assert (host.version(), host.history()[-1]) == ("0002", ("0003", "up", "interrupted"))
    assert (host.root / "fallback/placeholder.png").read_bytes() == b"an older one"
    assert not (host.root / "fallback/loop_silencioso.mp4").exists()
    host.up("0003")


def refused(host: HostFolder, code: int, *words: str) -> None:
    """Every command that writes refuses, with nothing touched."""
    for verb, target in (("recover", ()), ("upgrade", ("head",)), ("downgrade", ("base",))):
        with nothing_changes(host):
            report = host.call(verb, *target)
        says(report, code, *words)


# ---- the journal -----------------------------------------------------------------------------------------------------


def test_a_journal_cut_short_anywhere_is_refused(crashed: HostFolder) -> None:
    """At each byte: the checksum does not match, or is not there."""
    data = journal(crashed).read_bytes()
    assert Journal.from_bytes(data, "it").to_bytes() == data
    for length in range(len(data) - 1):  # without the last byte, a newline, all that it says is there
        with pytest.raises(StateError, match="cannot be trusted"):
            Journal.from_bytes(data[:length], "it")


def test_a_journal_with_a_flipped_bit_is_refused(crashed: HostFolder) -> None:
    """In each byte, one bit drawn with a seed; white space after the checksum alone means nothing."""
    data, dice = journal(crashed).read_bytes(), random.Random(SEED)
    for at in range(len(data) - 1):
        flipped = bytearray(data)
        flipped[at] ^= 1 << dice.randrange(8)
        with pytest.raises(StateError, match="cannot be trusted"):
            Journal.from_bytes(bytes(flipped), "it")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_damaged_journal_stops_every_command(crashed: HostFolder, part: float) -> None:
    """Exit 4, nothing touched; with the whole journal back the step is undone."""
    data = journal(crashed).read_bytes()
    journal(crashed).write_bytes(data[: int(part * len(data))])
    refused(crashed, 4, "cannot be trusted")
    journal(crashed).write_bytes(data)
    comes_right(crashed)


def forged(host: HostFolder, change: Callable[[dict[str, Any]], object]) -> None:
    """Let the journal say something else, with the right checksum."""
    body = json.loads(journal(host).read_bytes().partition(b"\n")[0])
    change(body)
    line = json.dumps(body, sort_keys=True).encode()
    journal(host).write_bytes(line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")


def effects(**values: Any) -> Callable[[dict[str, Any]], object]:
    """Let every effect say this."""
    return lambda body: [effect.update(values) for effect in body["effects"]]


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "name-above": effects(target={"area": "root", "name": "../elsewhere"}),
    "name-above-inside": effects(target={"area": "root", "name": "fallback/../../elsewhere"}),
    "absolute-name": effects(target={"area": "root", "name": "/etc/passwd"}),
    "empty-name": effects(target={"area": "root", "name": ""}),
    "zero-byte": effects(target={"area": "root", "name": "a\0b"}),
    "other-area": effects(target={"area": "etc", "name": "passwd"}),
    "slot-above": effects(slot="staging/../../../elsewhere"),
    "absolute-slot": effects(slot="/etc/passwd"),
    "other-store": effects(store="etc"),
    "store-above": effects(store="root:../elsewhere"),
    "absolute-store": effects(store="root:/etc"),
    "store-missing": effects(store=""),
    "unknown-action": effects(action="run a program"),
    "unknown-merger": effects(merge="nobody"),
    "unknown-field": effects(command="rm"),
    "effect-is-no-object": lambda body: body.update(effects=["x"]),
    "effects-are-no-list": lambda body: body.update(effects=7),
    "target-is-no-object": effects(target="fallback"),
    "name-is-no-text": effects(target={"area": "root", "name": 7}),
    "entry-is-no-object": effects(before=None),
    "step-is-no-object": lambda body: body.update(step="x"),
    "field-missing": lambda body: body.pop("head"),
    "newer-format": lambda body: body.update(format=2),
    "other-ledger": lambda body: body.update(ledger_id="f" * 32),
    "other-head": lambda body: body.update(head="f" * 64),
    "other-version": lambda body: body.update(version_before="0001"),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_journal_that_says_something_impossible_is_refused(
    crashed: HostFolder, change: Callable[[dict[str, Any]], object]
) -> None:
    """Names that lead out of their trees, another ledger, another moment, another shape: exit 4, nothing touched."""
    data = journal(crashed).read_bytes()
    forged(crashed, change)
    refused(crashed, 4)
    journal(crashed).write_bytes(data)
    comes_right(crashed)


def _to_nobody(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def _to_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def _to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_to_nobody, marks=pytest.mark.skipif(os.geteuid() != 0, reason="giving away needs root")),
        lambda path: path.chmod(0o666),
        _to_link,
        _to_directory,
        _to_fifo,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[" * 100_000 + b"\n" + hashlib.sha256(b"[" * 100_000).hexdigest().encode()),
    ],
    ids=["others", "writable", "link", "directory", "fifo", "empty", "deep"],
)
def test_a_journal_that_is_not_our_own_file_is_refused(crashed: HostFolder, spoil: Callable[[Path], object]) -> None:
    """Another owner, writable by others, no regular file: not what we sealed."""
    spoil(journal(crashed))
    refused(crashed, 4)


# ---- the database ----------------------------------------------------------------------------------------------------


def _swap(host: HostFolder, other: Path) -> None:
    shutil.copy2(other, host.database)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda host: host.database.unlink(), 4),
        (lambda host: os.truncate(host.database, 0), 4),
        (lambda host: os.truncate(host.database, 5000), 4),
        (lambda host: host.database.write_bytes(os.urandom(9000)), 4),
        (lambda host: host.sql("CREATE TRIGGER t AFTER INSERT ON vv_step BEGIN DELETE FROM vv_effect; END"), 4),
        (lambda host: host.sql("DROP TABLE vv_effect"), 4),
        (lambda host: host.sql("UPDATE vv_version SET version_num = '0003'"), 4),
        (lambda host: host.sql("DELETE FROM vv_version"), 4),
        (lambda host: host.sql("UPDATE vv_step SET error = 'x' WHERE seq = 1"), 7),
        (lambda host: host.sql("DELETE FROM vv_run"), 4),
        (lambda host: host.sql("UPDATE vv_ledger SET ledger_id = 'f'"), 4),
    ],
    ids=[
        "missing", "empty", "cut", "noise", "trigger", "table-gone", "version-moved", "version-gone", "row-changed",
        "rows-gone", "other-ledger",
    ],
)  # fmt: skip
def test_a_journal_is_judged_by_its_own_database_or_not_at_all(
    crashed: HostFolder, tmp_path: Path, spoil: Spoil, code: int
) -> None:
    """Whatever befell the database while the journal waited: exit 4 or 7, nothing touched, right with it back."""
    shutil.copy2(crashed.database, tmp_path / "right")
    spoil(crashed)
    refused(crashed, code)
    _swap(crashed, tmp_path / "right")
    comes_right(crashed)


def test_yesterdays_database_does_not_settle_todays_journal(host: HostFolder, tmp_path: Path) -> None:
    """A copy from before the last step is named as such; with the right one the recovery goes on."""
    host.up("0001")
    shutil.copy2(host.database, tmp_path / "yesterday")
    host.up("0002")
    (host.root / "fallback/placeholder.png").write_bytes(b"an older one")
    dying.crash(host, dying.WRITTEN, "upgrade", "0003")
    host.sql("SELECT 1 FROM sqlite_master")
    shutil.copy2(host.database, tmp_path / "right")
    _swap(host, tmp_path / "yesterday")
    refused(host, 4, "older copy")
    _swap(host, tmp_path / "right")
    comes_right(host)


@pytest.mark.parametrize("verb", ["recover", "upgrade", "downgrade"])
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_database_makes_the_recovery_wait_or_refuse(
    crashed: HostFolder, lock: str, mode: str, verb: str
) -> None:
    """While the orchestrator holds it the journal waits: exit 6, nothing touched, whatever it does and however."""
    crashed.environ["VV_DATABASE_TIMEOUT"] = "0.1"
    with closing(sqlite3.connect(crashed.database, isolation_level=None)) as orchestrator:
        orchestrator.execute(f"PRAGMA journal_mode={mode}").fetchone()
        orchestrator.execute(f"BEGIN {lock}")
        with nothing_changes(crashed):
            report = crashed.call(verb, *(["base"] if verb == "downgrade" else []))
        says(report, 6, "locked")
        orchestrator.execute("ROLLBACK")
        orchestrator.execute("PRAGMA journal_mode=delete").fetchone()
    comes_right(crashed)


# ---- the storage root ------------------------------------------------------------------------------------------------


def test_a_root_that_is_not_mounted_is_not_recovered(crashed: HostFolder) -> None:
    """An empty mount point has no journal, and no ledger id either: exit 6, nothing made in it."""
    away = crashed.root.with_name("away")
    crashed.root.rename(away)
    crashed.root.mkdir(0o775)
    refused(crashed, 6, "mounted")
    crashed.root.rmdir()
    refused_without_root(crashed)
    away.rename(crashed.root)
    comes_right(crashed)


def refused_without_root(host: HostFolder) -> None:
    """A root that is gone altogether is not made anew."""
    with nothing_changes(host):
        report = host.call("recover")
    says(report, 6)


@pytest.mark.parametrize("name", ["key", "ledger_id"])
def test_a_state_directory_without_its_key_or_id_is_refused(crashed: HostFolder, name: str) -> None:
    """The key is missing although the chain has rows, or the root does not know whose it is."""
    path = crashed.root / ".vvmigrate" / name
    kept = path.read_bytes()
    path.unlink()
    refused(crashed, 4 if name == "key" else 6)
    path.write_bytes(kept)
    path.chmod(0o600)
    comes_right(crashed)


def test_a_first_day_that_ended_early_is_judged_by_its_own_folders(bare: HostFolder) -> None:
    """Whether anything was begun is seen in the bound root; no other mount of the machine is looked at."""
    dying.crash(bare, dying.Moment(session, "_open_host", after=False), "upgrade")
    with dying.at_calls({}) as seen:
        assert bare.call("recover").exit_code == 0
    assert seen
    assert not [name for name in seen if name.startswith("proc/")]
