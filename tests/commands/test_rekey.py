"""`adopt --rekey`: the history's key is lost. A new epoch begins; what is older is kept, sealed, and not believed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says, two_by_default
from tests.conftest import BASELINE, HostFolder
from tests.crash import dying
from vvmigrate.engine import recovery, vault

full = pytest.mark.full


@pytest.fixture
def lost(worked: HostFolder) -> HostFolder:
    """A host whose key is lost."""
    (worked.root / ".vvmigrate/key").unlink()
    return worked


def test_a_lost_key_is_a_new_epoch(lost: HostFolder) -> None:
    """The drill: refused and told what helps, a person decides, everything holds again, and the auditor can tell."""
    for verb in ("upgrade", "downgrade", "recover", "status"):
        report = lost.call(verb, *(["base"] if verb == "downgrade" else []))
        says(report, 4, "the key is missing", hint="adopt --rekey")
    doctor = lost.call("doctor")
    assert doctor.exit_code == 4
    assert any("adopt --rekey" in item["remedy"] for item in doctor.body["findings"])
    old = lost.sql("SELECT * FROM vv_step ORDER BY seq")
    last = lost.sql("SELECT hash, seq FROM vv_run ORDER BY seq DESC LIMIT 1")[0]
    before, images = lost.tree(), os.listdir(lost.root / ".vvmigrate/undo")
    report = lost.call("adopt", rekey=True, yes=True)
    assert (report.exit_code, report.error, report.body["left"], report.body["drift"]) == (0, None, [], [])
    assert (lost.tree(), lost.version()) == (before, "0006")
    assert lost.sql("SELECT * FROM vv_step ORDER BY seq")[: len(old)] == old
    assert set(images) <= set(os.listdir(lost.root / ".vvmigrate/undo"))
    row = dict(
        zip(
            ("direction", "user", "previous_hash", "notes", "version_before"),
            lost.sql(
                "SELECT direction, user, previous_hash, notes, version_before FROM vv_step WHERE seq = ?", last[1] + 1
            )[0],
            strict=True,
        )
    )
    assert (row["direction"], row["previous_hash"], row["version_before"]) == ("epoch", last[0], "0006")
    assert json.loads(row["notes"])["epoch"]["rows"] == last[1]
    assert [revision for revision, _, result in lost.history()[-6:] if result == "adopted"] == list(BASELINE)
    verified = lost.call("history", verify=True)
    assert (verified.exit_code, verified.body["not_verifiable"]) == (0, last[1])
    assert lost.up().body["steps"] == []
    assert lost.call("doctor").exit_code == 0
    assert (lost.root / ".vvmigrate/key").stat().st_mode & 0o777 == 0o600
    shown = lost.run("history", "--verify")
    assert "not verifiable" in shown.stdout


def test_nothing_is_taken_back_because_of_older_rows(lost: HostFolder) -> None:
    """Whoever owns the database may have written them: a downgrade leaves the files, as those of any adopted host."""
    lost.call("adopt", rekey=True, yes=True)
    before = lost.tree()
    lost.down("0002")
    after = lost.tree()
    assert {name for name in before if name not in after} == set()
    assert lost.sql("SELECT count(*) FROM vv_kept") != [(0,)]  # the orchestrator's rows are kept as always
    lost.up(release_hold=True)
    assert lost.sql("SELECT sha256 FROM processed_videos") == [("x",)]


def test_it_needs_a_person(lost: HostFolder) -> None:
    """Without a terminal and without --yes, and after a no, nothing at all is changed."""
    with nothing_changes(lost):
        says(lost.call("adopt", rekey=True), 4, "a person has to decide", "key is missing", hint="--yes")
        says(lost.call("adopt", rekey=True, confirm=lambda _: False), 4, "not confirmed")
    assert lost.call("adopt", rekey=True, confirm=lambda _: True).exit_code == 0


def test_a_key_that_is_there_is_not_replaced(whole: HostFolder) -> None:
    """Rows that somebody edited make no reason for a new key: who owns the database cannot bring one about."""
    row = whole.sql("SELECT user FROM vv_step WHERE seq = 1")
    whole.sql("UPDATE vv_step SET user = 'eve' WHERE seq = 1")
    with nothing_changes(whole):
        says(whole.call("adopt", rekey=True, yes=True), 6, "the key is there")
        says(whole.call("upgrade"), 7, "does not verify")
    whole.sql("UPDATE vv_step SET user = ? WHERE seq = 1", *row[0])
    assert whole.call("upgrade").exit_code == 0


FORGED = {
    "effects-of-an-old-step": "UPDATE vv_effect SET effect = replace(effect, 'placeholder.png', 'loop_silencioso.mp4')",
    "an-old-row": "UPDATE vv_step SET user = 'eve' WHERE seq = 1",
    "an-old-row-is-gone": "DELETE FROM vv_step WHERE seq = 1",
    "an-old-run": "UPDATE vv_run SET exit_code = 9 WHERE seq < 9",
    "a-step-slipped-in": "INSERT INTO vv_effect VALUES ((SELECT step_id FROM vv_step WHERE seq = 1), 99, '{}')",
}


@pytest.mark.parametrize("statement", two_by_default(FORGED))
def test_older_rows_that_change_after_it_are_found(lost: HostFolder, statement: str) -> None:
    """They could not be proved then; that they are as they were then can."""
    lost.call("adopt", rekey=True, yes=True)
    lost.sql(statement)
    says(lost.call("upgrade"), 7, "does not verify", "rows before it")


def test_an_epoch_cannot_be_forged(whole: HostFolder) -> None:
    """A row that says it began one, without the key, is an edited history like any other."""
    columns = [row[1] for row in whole.sql("PRAGMA table_info(vv_step)")]
    row = dict(zip(columns, whole.sql("SELECT * FROM vv_step ORDER BY seq DESC LIMIT 1")[0], strict=True))
    seq = whole.sql("SELECT max(seq) FROM vv_run")[0][0] + 1
    row |= {"seq": seq, "step_id": "f" * 32, "direction": "epoch", "version_after": ""}
    row["notes"] = json.dumps({"epoch": {"rows": seq - 1, "sha256": "0" * 64, "claimed": ""}})
    marks = ", ".join("?" * len(columns))
    whole.sql(f"INSERT INTO vv_step VALUES ({marks})", *(row[name] for name in columns))
    says(whole.call("upgrade"), 7, "does not verify")
    whole.sql("DELETE FROM vv_step WHERE seq = ?", seq)


def test_what_rows_before_it_say_leads_to_nothing(lost: HostFolder) -> None:
    """Effects that were forged while the key was lost would have a downgrade remove a revision: it does not."""
    victim = "migrations/versions/0001_storage_directories.py"
    effect = json.loads(lost.sql("SELECT effect FROM vv_effect WHERE effect LIKE '%placeholder.png%'")[0][0])
    effect["target"] = {"area": "home", "name": victim}
    effect["after"]["digest"] = ""
    lost.sql("UPDATE vv_effect SET effect = ?", json.dumps(effect))
    lost.call("adopt", rekey=True, yes=True)
    content = (lost.home / victim).read_bytes()
    lost.down("base")
    assert (lost.home / victim).read_bytes() == content


def test_a_hold_outlives_the_key(lost: HostFolder, whole: HostFolder) -> None:
    """What was taken back does not return because a key was lost."""
    shutil.copy2(whole.root / ".vvmigrate/key", lost.root / ".vvmigrate/key")
    lost.down("0005", reason="wrong signature")
    (lost.root / ".vvmigrate/key").unlink()
    assert lost.call("adopt", rekey=True, yes=True).body["held"][0]["reason"] == "wrong signature"
    says(lost.call("upgrade"), 3, "wrong signature")


def test_what_differs_stops_the_adoption_and_an_upgrade_goes_on(lost: HostFolder, whole: HostFolder) -> None:
    """An asset was edited, and a later revision has added a column: no SQL is run a second time, nothing is lost."""
    shutil.copy2(whole.root / ".vvmigrate/key", lost.root / ".vvmigrate/key")
    lost.revision("0007", 'op.add_column("processed_videos", sa.Column("camera", sa.Text))\nop.write_signature()')
    lost.revision("0008", 'op.execute("UPDATE processed_videos SET size_bytes = size_bytes + 1")')
    lost.up()
    (lost.root / ".vvmigrate/key").unlink()
    (lost.root / "fallback/placeholder.png").write_bytes(b"our own logo")
    rows = lost.sql("SELECT * FROM processed_videos")
    report = lost.call("adopt", rekey=True, yes=True)
    assert (report.exit_code, lost.version()) == (3, "0002")
    assert [item["revision"] for item in report.body["left"]] == ["0003", "0004", "0005", "0006", "0007", "0008"]
    assert [item["revision"] for item in report.body["left"] if item["differs"]] == ["0003"]
    assert lost.call("plan").body["to"] == "0008"
    lost.up()
    assert (lost.version(), lost.sql("SELECT * FROM processed_videos")) == ("0008", rows)
    effects = [effect for entry in lost.call("history", effects=True).body["entries"] for effect in entry["effects"]]
    images = [effect["before_image"] for effect in effects if effect["path"].endswith("placeholder.png")]
    assert b"our own logo" in [Path(image).read_bytes() for image in images if image]


MOMENTS = [
    pytest.param(dying.Moment(vault, "next_key"), id="key-made", marks=full),
    pytest.param(dying.Moment(recovery, "transaction", after=False), id="before-the-epoch", marks=full),
    pytest.param(dying.Moment(recovery, "transaction"), id="epoch-begun"),
    pytest.param(dying.Moment(vault, "settle_key"), id="key-in-place", marks=full),
    pytest.param(dying.COMMITTED, id="first-adopted", marks=full),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_the_old_epoch_or_the_new_one(lost: HostFolder, moment: dying.Moment) -> None:
    """The same command again, or any other one after the epoch began, comes to the same end."""
    dying.crash(lost, moment, "adopt", rekey=True, yes=True)
    began = lost.sql("SELECT count(*) FROM vv_step WHERE direction = 'epoch'")[0][0]
    if not began:
        says(lost.call("upgrade"), 4, hint="adopt --rekey")
        lost.call("adopt", rekey=True, yes=True)
    else:
        assert lost.call("recover").exit_code == 0
        lost.call("adopt")
    assert lost.sql("SELECT count(*) FROM vv_step WHERE direction = 'epoch'") == [(1,)]
    assert lost.version() == "0006"
    assert lost.call("history", verify=True).exit_code == 0
    assert lost.up().body["steps"] == []
    epoch = lost.sql("SELECT run_id FROM vv_step WHERE direction = 'epoch'")[0][0]
    assert lost.sql("SELECT count(*) FROM vv_run WHERE run_id = ?", epoch) == [(1,)]
