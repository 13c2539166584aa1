"""kill -9 at the protocol's own points, and hosts that are not what they were afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_up_and_down import live_a_little, timeless
from tests.conftest import BASELINE, HostFolder
from tests.crash.dying import COMMITTED, PROTOCOL, SEALED, WRITTEN, Moment, crash, settled
from vvmigrate.content.delivery import archive, download
from vvmigrate.engine import journal, recovery, vault
from vvmigrate.engine.session import Session
from vvmigrate.runs import work

BEFORE_IT_HAPPENED = (Moment(Session, "note_run"), Moment(journal.Journal, "seal", after=False), *PROTOCOL[:4])
AFTER_IT_HAPPENED = (*PROTOCOL[4:], Moment(journal, "remove"), Moment(recovery, "end_run"), Moment(work.Run, "end"))


def last(host: HostFolder) -> tuple[str, str, str]:
    return host.history()[-1]


def everything(host: HostFolder) -> dict[str, Any]:
    """Every byte below home and storage root, state directories and database included."""
    paths = [path for top in (host.home, host.root) for path in top.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths if path.name not in ("lock", "bootstrap.log")}


@pytest.mark.parametrize("revision", BASELINE)
def test_each_step_killed_on_its_way_up_is_before_or_after(host: HostFolder, revision: str) -> None:
    """Killed before COMMIT an upgrade's step has not happened and is told as interrupted; after it, it has happened."""
    if revision != "0001":
        host.up(f"{int(revision) - 1:04d}")
    else:
        host.up("0001")
        host.down("base")
    before = timeless(host.tree())
    for moment in BEFORE_IT_HAPPENED:
        crash(host, moment, "upgrade", revision)
        settled(host)
        assert timeless(host.tree()) == before, moment
        assert last(host) == (revision, "up", "interrupted"), moment
    for moment in AFTER_IT_HAPPENED:
        crash(host, moment, "upgrade", revision)
        settled(host)
        assert host.version() == revision, moment
        assert last(host)[1:] in (("up", "applied"), ("up", "adopted")), moment
        after = timeless(host.tree())
        host.up(revision)
        assert timeless(host.tree()) == after, moment
        host.down(str(int(revision) - 1).zfill(4) if revision != "0001" else "base", no_hold=True)
        store = {path for path in host.tree() if "/models" in path}
        assert {p: f for p, f in timeless(host.tree()).items() if p not in store} == {
            p: f for p, f in before.items() if "/models" not in p
        }


@pytest.mark.parametrize("revision", BASELINE)
def test_each_step_killed_on_its_way_down_is_before_or_after(host: HostFolder, revision: str) -> None:
    """Killed before COMMIT a downgrade leaves all as it was; after it, the revision is gone, the user's things not."""
    host.up()
    live_a_little(host)
    if revision != "0006":
        host.down(revision, no_hold=True)
    target = f"{int(revision) - 1:04d}" if revision != "0001" else "base"
    before = timeless(host.tree())
    rows = host.sql("SELECT count(*) FROM vv_kept")
    for moment in BEFORE_IT_HAPPENED:
        crash(host, moment, "downgrade", target)
        settled(host)
        assert timeless(host.tree()) == before, moment
        assert last(host) == (revision, "down", "interrupted"), moment
        assert host.sql("SELECT count(*) FROM vv_kept") == rows
    for moment in AFTER_IT_HAPPENED:
        crash(host, moment, "downgrade", target, no_hold=True)
        settled(host)
        assert last(host) == (revision, "down", "reverted"), moment
        host.up(revision)
        assert (host.root / "input/camera.mp4").read_bytes() == b"frames"
        assert "LOG_LEVEL=DEBUG" in (host.home / ".env").read_text()
    host.up()
    assert host.sql("SELECT status FROM processed_videos") == [("done",)]


@pytest.mark.parametrize(
    "moment", [Moment(download, "fetch", after=False), Moment(download, "fetch"), Moment(archive, "extract")], ids=str
)
def test_a_kill_during_the_download_is_told_as_interrupted(host: HostFolder, moment: Moment) -> None:
    """A download that was killed changed nothing, has its row in the history, and the next upgrade completes it."""
    host.up("0001")
    before = host.tree()
    crash(host, moment, "upgrade", "head")
    assert host.call("status").body["revision"] == "0001"
    settled(host)
    assert (host.tree(), last(host)) == (before, ("0002", "up", "interrupted"))
    assert host.call("history").body["entries"][0]["error"].startswith("interrupted")
    host.up()


def test_the_next_command_that_writes_recovers_by_itself(host: HostFolder) -> None:
    """After a power cut nobody has to call recover: upgrade does it first, says so, and goes on to head."""
    crash(host, SEALED, "upgrade", "head")
    told: list[tuple[str, dict[str, Any]]] = []
    host.up(told=told)
    assert host.history()[:2] == [("0001", "up", "interrupted"), ("0001", "up", "applied")]
    assert any(event == "recovered" for event, _ in told)


def test_a_reader_reports_the_journal_and_does_not_touch_it(host: HostFolder) -> None:
    """status after a crash is exit 3 and names the journal; it is still there afterwards, byte by byte."""
    host.up("0002")
    crash(host, WRITTEN, "upgrade", "head")
    journal_file = host.root / ".vvmigrate/journal"
    before = journal_file.read_bytes()
    report = host.call("status")
    assert (report.exit_code, report.body["journal"]) == (3, str(journal_file))
    assert journal_file.read_bytes() == before


def test_recover_twice_is_recover_once(host: HostFolder) -> None:
    """Recovery is idempotent: the second one finds nothing and changes nothing."""
    crash(host, WRITTEN, "upgrade", "head")
    assert settled(host).body["settled"]
    before = everything(host)
    assert host.call("recover").body["settled"] == []
    assert everything(host) == before


def test_killed_while_recovering_it_recovers_all_the_same(host: HostFolder) -> None:
    """A second power cut, during recovery, only means that the next recovery does it."""
    host.up("0003")
    before = timeless(host.tree())
    crash(host, WRITTEN, "upgrade", "0004")
    for moment in (Moment(recovery, "fsync_all"), Moment(recovery, "record"), Moment(journal, "remove")):
        crash(host, moment, "recover")
    settled(host)
    assert timeless(host.tree()) == before
    assert [row for row in host.history() if row[0] == "0004"] == [("0004", "up", "interrupted")]


# ---- a crash, and then a host that is not what it was --------------------------------------------------------------


def crashed_host(host: HostFolder, moment: Moment) -> Path:
    """A host at 0003 with a copy of its database from then, killed on the way to 0004."""
    host.up("0003")
    yesterday = host.home.parent / "yesterday.sqlite"
    shutil.copy(host.database, yesterday)
    if moment == COMMITTED:
        crash(host, moment, "upgrade", "0004")
    else:
        host.up("0004")
        crash(host, moment, "upgrade", "0005")
    return yesterday


def refused_untouched(host: HostFolder, *words: str) -> None:
    """Every command that writes must end with exit 4, say what is the matter, and leave every byte alone."""
    before = everything(host)
    for verb, arguments in (("recover", ()), ("upgrade", ("head",)), ("downgrade", ("-1",))):
        report = host.call(verb, *arguments)
        assert report.exit_code == 4, verb
        assert report.error is not None
        for word in words:
            assert word in report.error.message
        assert report.error.hint
    assert everything(host) == before


moments = pytest.mark.parametrize("moment", [SEALED, WRITTEN], ids=["sealed", "published"])


@moments
def test_a_crash_and_then_no_database(host: HostFolder, moment: Moment) -> None:
    """A database that is gone after a crash is exit 4, not a fresh start; put back, everything is settled."""
    crashed_host(host, moment)
    aside = host.database.rename(host.home.parent / "aside.sqlite")
    refused_untouched(host, "missing", str(host.database))
    aside.rename(host.database)
    settled(host)
    host.up()


@moments
def test_a_crash_and_then_yesterdays_database(host: HostFolder, moment: Moment) -> None:
    """A database restored from an older copy is exit 4, and neither undone nor finished by guesswork."""
    yesterday = crashed_host(host, moment)
    today = host.database.rename(host.home.parent / "today.sqlite")
    shutil.copy(yesterday, host.database)
    refused_untouched(host, "older copy")
    today.rename(host.database)
    settled(host)
    host.up()


def test_a_crash_after_commit_and_then_the_database_of_before_it(host: HostFolder) -> None:
    """Restored to the very moment before the step, the database says it did not happen: its files are taken back."""
    before = crashed_host(host, COMMITTED)
    assert (host.home / ".env").exists()
    shutil.copy(before, host.database)
    settled(host)
    assert host.version() == "0003"
    assert not (host.home / ".env").exists()


@moments
def test_a_crash_and_then_another_hosts_database(host: HostFolder, moment: Moment, tmp_path: Path) -> None:
    """A cloned disk's database belongs to another ledger: exit 4, both ledgers named, nothing touched."""
    crashed_host(host, moment)
    other = HostFolder(tmp_path / "other-home", tmp_path / "other-storage")
    shutil.copytree(host.home, other.home, ignore=shutil.ignore_patterns(".vvmigrate", ".env", "logs"))
    other.up("0004")
    shutil.copy(other.database, host.database)
    refused_untouched(host, "another host's database")


def test_a_damaged_journal_is_never_acted_on(host: HostFolder) -> None:
    """One changed byte in the journal: exit 4, and not one file is moved."""
    crashed_host(host, WRITTEN)
    journal_file = host.root / ".vvmigrate/journal"
    data = bytearray(journal_file.read_bytes())
    data[len(data) // 2] ^= 1
    journal_file.write_bytes(data)
    refused_untouched(host, "cannot be trusted")


def test_after_env_is_gone_the_next_command_still_finds_the_host(host: HostFolder) -> None:
    """Killed in downgrade base after .env went, without VIDEO_STORAGE_ROOT: the binding leads to the root."""
    host.up()
    crash(host, Moment(vault, "drop_anchor", nth=4, after=False), "downgrade", "base")
    assert not (host.home / ".env").exists()
    environ = {name: value for name, value in host.environment().items() if name != "VIDEO_STORAGE_ROOT"}
    forgetful = HostFolder(host.home, host.root)
    forgetful.environment = lambda **more: {**environ, **more}  # type: ignore[method-assign]
    settled(forgetful)
    forgetful.down("base")
    assert host.version() == ""
    assert not (host.root / "input").exists()
