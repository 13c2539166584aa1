"""`adopt --reconcile`: the database is not the one that this host had; a person decides, and the host goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import BASELINE, HostFolder, copy_release
from tests.crash import dying
from vvmigrate.engine import adoption, database, recovery

full = pytest.mark.full
ASSET = b"a newer picture"


@pytest.fixture
def later(worked: HostFolder, tmp_path: Path) -> HostFolder:
    """A host that went on by one revision, after its database was backed up to `yesterday`."""
    shutil.copy2(worked.database, tmp_path / "yesterday")
    (worked.home / "fallback/other.png").write_bytes(ASSET)
    up = 'op.install_assets("fallback", "fallback", ["other.png"])\n'
    worked.revision(
        "0007", up + 'op.add_column("processed_videos", sa.Column("camera", sa.Text))\nop.write_signature()'
    )
    (worked.root / "fallback/other.png").write_bytes(b"what stood there")
    worked.up()
    return worked


def yesterday(host: HostFolder) -> None:
    shutil.copy2(host.home.parent / "yesterday", host.database)


def missing(host: HostFolder) -> None:
    host.database.unlink()


def empty(host: HostFolder) -> None:
    os.truncate(host.database, 0)


def never_ours(host: HostFolder) -> None:
    """The orchestrator's own backup, of the time before vvmigrate."""
    host.database.unlink()
    host.sql("CREATE TABLE cameras (name TEXT)")
    host.sql("INSERT INTO cameras VALUES ('door')")


def of_another_host(host: HostFolder) -> None:
    (host.home.parent / "other").mkdir()
    other = copy_release(host.home.parent / "other")
    other.up()
    other.sql("INSERT INTO processed_videos VALUES ('y', 'b.mp4', 1, 'processed', 'then', NULL, NULL)")
    shutil.copy2(other.database, host.database)


def edited(host: HostFolder) -> None:
    host.sql("UPDATE vv_step SET user = 'eve' WHERE seq = 1")


def moved_by_hand(host: HostFolder) -> None:
    host.sql("UPDATE vv_version SET version_num = '0006'")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        pytest.param(yesterday, 4, "older copy", id="yesterday"),
        pytest.param(missing, 4, "is missing", id="missing"),
        pytest.param(empty, 4, "is empty", id="empty", marks=full),
        pytest.param(never_ours, 4, "holds no ledger", id="never-ours", marks=full),
        pytest.param(of_another_host, 4, "another host's database", id="another-host", marks=full),
        pytest.param(edited, 7, "does not verify", id="edited", marks=full),
    ],
)
def test_a_database_that_is_not_the_right_one_ends_in_a_host_at_head(
    later: HostFolder, spoil: Callable[[HostFolder], None], code: int, words: str
) -> None:
    """The drill: told what helps by every command, no without a person, and `upgrade head` works again."""
    inode = (later.root / "models/bitnet_summarizer").stat().st_ino
    spoil(later)
    for verb in ("upgrade", "doctor", "status"):
        report = later.call(verb)
        findings = report.body.get("findings", [])
        said = [report.error.message] if report.error else [item["what"] for item in findings]
        hints = [report.error.hint] if report.error else [item["remedy"] for item in findings]
        assert report.exit_code == code, (verb, said)
        assert any(words in text for text in said), (verb, said)
        assert code == 7 or any("adopt --reconcile" in str(text) for text in hints), (verb, hints)
    images = os.listdir(later.root / ".vvmigrate/undo")
    with nothing_changes(later):
        says(later.call("adopt", reconcile=True), 4, "a person has to decide", words, hint="--yes")
    report = later.call("adopt", reconcile=True, yes=True)
    assert (report.exit_code in (0, 3), report.error) == (True, None)
    assert any(words in text for text in report.body["settled"])
    assert set(images) <= set(os.listdir(later.root / ".vvmigrate/undo"))
    later.up()
    assert later.version() == "0007"
    assert (later.root / "fallback/other.png").read_bytes() == ASSET
    assert (later.root / "models/bitnet_summarizer").stat().st_ino == inode
    assert later.call("history", verify=True).exit_code == 0
    assert later.call("verify").exit_code == 0
    assert later.call("doctor").body["findings"] == []
    assert later.up().body["steps"] == []


def test_yesterdays_rows_are_still_believed(later: HostFolder) -> None:
    """They are this host's own and prove it: their steps can be taken back, and only the lost ones are done again."""
    yesterday(later)
    report = later.call("adopt", reconcile=True, yes=True)
    assert (report.exit_code, [item["revision"] for item in report.body["left"]]) == (3, ["0007"])
    assert later.version() == "0006"
    assert [title for title in titles(later) if title] == ["reconciled with the database that is there"]
    assert later.call("history", verify=True).body["not_verifiable"] == 0
    later.up()
    later.down("base")
    assert not (later.root / "fallback/placeholder.png").exists()
    assert not (later.root / "models/bitnet_summarizer").exists()


def titles(host: HostFolder) -> list[str]:
    """What the history says of the host as a whole, oldest first."""
    entries = host.call("history").body["entries"]
    return [entry["title"] for entry in reversed(entries) if entry["direction"] in ("adopt", "epoch")]


def test_a_lost_database_is_made_anew_and_files_are_taken_over(later: HostFolder) -> None:
    """What is there is verified and adopted; the tables are made by the upgrade, and secrets are not made again."""
    env = (later.home / ".env").read_bytes()
    missing(later)
    report = later.call("adopt", reconcile=True, yes=True)
    assert report.exit_code == 3
    assert [revision for revision, _, result in later.history() if result == "adopted"][1:] == list(BASELINE[:4])
    assert "processed_videos is missing" in json.dumps(report.body["left"][0])
    later.up()
    assert (later.home / ".env").read_bytes() == env


def test_another_hosts_rows_are_kept_and_its_history_is_not_believed(later: HostFolder) -> None:
    """Its videos stay known, its ledger becomes this host's with a new epoch, and none of its steps is taken back."""
    of_another_host(later)
    later.call("adopt", reconcile=True, yes=True)
    later.up()
    assert later.sql("SELECT sha256 FROM processed_videos") == [("y",)]
    bound = json.loads((later.home / ".vvmigrate/root").read_bytes())
    assert later.sql("SELECT ledger_id FROM vv_ledger") == [(bound["ledger_id"],)]
    assert later.call("history", verify=True).body["not_verifiable"] > 0


def test_a_version_that_was_moved_by_hand_is_settled(later: HostFolder) -> None:
    """The schema decides which revisions' SQL the database has had: the rest is done, or taken over."""
    moved_by_hand(later)
    says(later.call("upgrade"), 4, "moved the version")
    later.call("adopt", reconcile=True, yes=True)
    assert (later.version(), later.up().exit_code) == ("0007", 0)


def test_a_healthy_host_has_nothing_to_reconcile(whole: HostFolder) -> None:
    """Nobody is asked, nothing is written."""
    rows = whole.sql("SELECT count(*) FROM vv_step")
    report = whole.call("adopt", reconcile=True)
    assert (report.exit_code, report.body["settled"]) == (0, [])
    assert whole.sql("SELECT count(*) FROM vv_step") == rows


def test_a_lost_key_is_another_question(later: HostFolder) -> None:
    """The hint leads to the command that helps; of a database that is gone too, nothing needs the old key."""
    (later.root / ".vvmigrate/key").unlink()
    with nothing_changes(later):
        says(later.call("adopt", reconcile=True, yes=True), 4, "key is missing", hint="adopt --rekey")
    missing(later)
    assert later.call("adopt", reconcile=True, yes=True).error is None
    later.up()


def test_planted_triggers_are_not_for_adopt_to_settle(later: HostFolder) -> None:
    """Nothing is run on a table that somebody hung something on, whatever a person says."""
    yesterday(later)
    later.sql("CREATE TRIGGER planted AFTER INSERT ON vv_step BEGIN DELETE FROM vv_step; END")
    with nothing_changes(later):
        says(later.call("adopt", reconcile=True, yes=True), 4, "trigger planted")


def test_a_ledger_of_a_newer_tool_is_not_for_adopt_to_settle(later: HostFolder) -> None:
    """What this tool does not know it does not judge."""
    later.sql("UPDATE vv_ledger SET format = 99")
    with nothing_changes(later):
        says(later.call("adopt", reconcile=True, yes=True), 4, "format 99", "newer one")


def test_a_database_of_a_release_that_is_not_there_is_refused(later: HostFolder) -> None:
    """An epoch is begun from what the revisions say: without them nobody can tell."""
    edited(later)
    (later.home / "migrations/versions/0007_test.py").unlink()
    with nothing_changes(later):
        says(later.call("adopt", reconcile=True, yes=True), 4, "0007", hint="install the release")


# ---- a journal that waits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [yesterday, missing], ids=["yesterday", "missing"])
@pytest.mark.parametrize(
    "moment",
    [pytest.param(dying.PUBLISHED, id="published"), pytest.param(dying.COMMITTED, id="committed", marks=full)],
)
def test_a_journal_of_a_step_that_the_database_does_not_know_is_undone(
    later: HostFolder, moment: dying.Moment, spoil: Callable[[HostFolder], None]
) -> None:
    """Killed in mid-step, then another database: what the step had made visible goes back, the user's edit stays."""
    later.revision("0008", 'op.install_assets("fallback", "fallback", {"other.png": ""})\nop.make_directories(["new"])')
    (later.home / "fallback/other.png").write_bytes(b"the newest picture")
    dying.crash(later, moment, "upgrade", "0008")
    assert (later.root / "new").is_dir()
    spoil(later)
    with nothing_changes(later):
        says(later.call("recover"), 4, hint="adopt --reconcile")
    (later.root / "raw/recording.mp4").write_text("a user's")
    report = later.call("adopt", reconcile=True, yes=True)
    assert report.error is None
    assert not (later.root / "new").exists()
    assert (later.root / "fallback/other.png").read_bytes() == ASSET
    assert (later.root / "raw/recording.mp4").read_text() == "a user's"
    assert ("0008", "up", "interrupted") in later.history()
    assert not (later.root / ".vvmigrate/journal").exists()
    later.up()
    assert later.version() == "0008"
    assert (later.root / "fallback/other.png").read_bytes() == b"the newest picture"


def test_a_damaged_journal_is_not_for_adopt_to_settle(later: HostFolder) -> None:
    """What cannot be trusted cannot be undone: nothing is touched."""
    dying.crash(later, dying.PUBLISHED, "downgrade", "0006")
    yesterday(later)
    path = later.root / ".vvmigrate/journal"
    path.write_bytes(path.read_bytes()[:-70])
    with nothing_changes(later):
        says(later.call("adopt", reconcile=True, yes=True), 4, "cannot be trusted")


MOMENTS = [
    pytest.param(missing, dying.Moment(database, "create"), id="database-made", marks=full),
    pytest.param(yesterday, dying.Moment(adoption, "undo"), id="undone"),
    pytest.param(of_another_host, dying.Moment(recovery, "transaction", after=False), id="before-the-row", marks=full),
    pytest.param(of_another_host, dying.Moment(recovery, "transaction"), id="row-written", marks=full),
    pytest.param(missing, dying.Moment(recovery, "transaction"), id="row-written-in-a-new-database", marks=full),
    pytest.param(yesterday, dying.Moment(recovery, "recover"), id="settled", marks=full),
]


@pytest.mark.parametrize(("spoil", "moment"), MOMENTS)
def test_a_kill_while_it_is_reconciled_comes_to_the_same_end(
    later: HostFolder, spoil: Callable[[HostFolder], None], moment: dying.Moment
) -> None:
    """With a journal that waits: the same command again, or the next one, goes on where it ended."""
    dying.crash(later, dying.PUBLISHED, "downgrade", "0006", no_hold=True)
    spoil(later)
    dying.crash(later, moment, "adopt", reconcile=True, yes=True)
    report = later.call("adopt", reconcile=True, yes=True)
    assert report.error is None
    assert not (later.root / ".vvmigrate/journal").exists()
    later.up()
    assert later.version() == "0007"
    assert (later.root / "fallback/other.png").read_bytes() == ASSET
    assert later.call("history", verify=True).exit_code == 0
    assert later.call("verify").exit_code == 0
    runs = later.sql("SELECT run_id FROM vv_run")
    decided = later.sql("SELECT run_id FROM vv_step WHERE direction IN ('adopt', 'epoch')")
    assert set(decided) <= set(runs)
