"""`adopt`: a host that bootstrap.py set up is taken over as far as it is what the revisions want, and no further."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import pytest

from tests.commands.proof import says
from tests.conftest import BASELINE, HostFolder

full = pytest.mark.full
MODEL = "models/bitnet_summarizer"
OLD_INFO = {"version": "1.0.0", "checksum": "sha256:0000"}
DIRECTORIES = (
    *("input", "raw", "processed", "tv_curado", "analytic", "summaries", "loglines", "playlists", "fallback"),
    *("corrupted", "orchestrator_data", "models"),
)


@pytest.fixture
def old(host: HostFolder, whole: HostFolder) -> HostFolder:
    """A host as bootstrap.py leaves it: a real model folder, an older information file, a log of videos, no ledger."""
    for name in DIRECTORIES:
        (host.root / name).mkdir(parents=True)
        (host.root / name).chmod(0o775)
    host.root.chmod(0o775)
    shutil.copytree((whole.root / MODEL).resolve(), host.root / MODEL)
    (host.root / "models/.current_model_info.json").write_text(json.dumps(OLD_INFO))
    for name in ("loop_silencioso.mp4", "placeholder.png"):
        shutil.copyfile(host.home / "fallback" / name, host.root / "fallback" / name)
    env = (whole.home / ".env").read_text().replace(str(whole.root), str(host.root))
    (host.home / ".env").write_text(env)
    (host.home / ".env").chmod(0o600)
    for (sql,) in whole.sql(
        "SELECT sql FROM sqlite_master WHERE name NOT LIKE 'vv_%' AND sql IS NOT NULL ORDER BY rowid"
    ):
        host.sql(sql)
    host.sql("INSERT INTO processed_videos VALUES ('x', 'a.mp4', 1, 'processed', 'then', NULL, NULL)")
    (host.root / "orchestrator_data/processed_videos.log").write_text(f"{'a' * 64}\n{'b' * 64}\n")
    return host


def left(report: Any) -> dict[str, str]:
    """What differs, by revision, in one text each."""
    return {
        item["revision"]: "; ".join(f"{found['path']} {found['detail']}" for found in item["differs"])
        for item in report.body["left"]
    }


def test_a_host_of_bootstrap_is_taken_over_as_far_as_it_holds(old: HostFolder) -> None:
    """All but the signature, which no older tool could have written; the rest is an upgrade's, and then nothing is."""
    before, env = old.tree(), (old.home / ".env").read_bytes()
    report = old.call("adopt")
    assert (report.exit_code, report.error) == (3, None)
    assert old.history() == [(revision, "up", "adopted") for revision in BASELINE[:5]]
    assert old.version() == "0005"
    assert list(left(report)) == ["0006"]
    assert "vv-signature.json missing" in left(report)["0006"]
    assert (old.home / ".env").read_bytes() == env
    same = {name: facts for name, facts in old.tree().items() if not name.startswith("storage/models")}
    assert same == {name: facts for name, facts in before.items() if not name.startswith("storage/models")}
    old.up()
    assert old.history()[-1] == ("0006", "up", "applied")
    assert old.call("verify").exit_code == 0
    assert old.call("history", verify=True).exit_code == 0
    done = old.call("adopt")
    assert (done.exit_code, done.body["steps"], done.body["left"]) == (0, [], [])


def test_the_models_folder_becomes_a_generation_without_a_copy(old: HostFolder) -> None:
    """The same inodes stand in the store, a link takes the folder's place, and a downgrade gives the folder back."""
    (old.home / "fallback/models/bitnet_demo.tar.gz").unlink()  # nothing to download it from
    model = next((old.root / MODEL).glob("*.gguf"))
    inode, before = model.stat().st_ino, old.tree()
    old.call("adopt", "0002")
    assert (old.root / MODEL).is_symlink()
    assert model.stat().st_ino == inode
    info = json.loads((old.root / "models/.current_model_info.json").read_bytes())["models"]["bitnet_summarizer"]
    assert (info["model_version"], info["path"]) == ("1.0.0", f"bitnet_summarizer/{model.name}")
    assert old.call("verify").exit_code == 0
    old.down("base")
    after = {name: facts for name, facts in old.tree().items() if "/.store" not in name}
    assert after == before
    assert model.stat().st_ino == inode


def test_processed_videos_are_imported_once(old: HostFolder) -> None:
    """The log's lines become rows beside those that were there; doing it again changes nothing."""
    old.call("adopt")
    rows = old.sql("SELECT sha256 FROM processed_videos ORDER BY 1")
    assert rows == [("a" * 64,), ("b" * 64,), ("x",)]
    (old.root / "orchestrator_data/processed_videos.log").write_text(f"{'c' * 64}\n")
    old.call("adopt")
    assert old.sql("SELECT sha256 FROM processed_videos ORDER BY 1") == rows


def wrong_mode(host: HostFolder) -> None:
    (host.root / "input").chmod(0o755)


def wrong_model(host: HostFolder) -> None:
    with next((host.root / MODEL).glob("*.gguf")).open("ab") as file:
        file.write(b"x")


def wrong_asset(host: HostFolder) -> None:
    (host.root / "fallback/placeholder.png").write_bytes(b"our own logo")


def missing_key(host: HostFolder) -> None:
    env = host.home / ".env"
    lines = [line for line in env.read_text().splitlines() if not line.startswith("LOG_LEVEL")]
    env.write_text("\n".join(lines) + "\n")


def another_table(host: HostFolder) -> None:
    host.sql("ALTER TABLE processed_videos ADD COLUMN theirs TEXT")


def missing_index(host: HostFolder) -> None:
    host.sql("DROP INDEX ix_stage_runs_video")


DIFFERENCES = [
    pytest.param(wrong_mode, "0001", "input was mode 0755", id="mode"),
    pytest.param(wrong_model, "0002", "missing: bitnet_summarizer 1.0.0", id="model", marks=full),
    pytest.param(wrong_asset, "0003", "placeholder.png not what the revision makes", id="asset", marks=full),
    pytest.param(missing_key, "0004", "adds LOG_LEVEL", id="env", marks=full),
    pytest.param(another_table, "0005", "theirs TEXT", id="table"),
    pytest.param(missing_index, "0005", "index ix_stage_runs_video is missing", id="index", marks=full),
]


@pytest.mark.parametrize(("spoil", "revision", "words"), DIFFERENCES)
def test_the_first_that_does_not_hold_stops_it_and_nothing_is_changed(
    old: HostFolder, spoil: Any, revision: str, words: str
) -> None:
    """What differs is named; what it concerns stays as it is, and so does everything after it."""
    spoil(old)
    before = old.tree()
    report = old.call("adopt")
    number = BASELINE.index(revision)
    assert (report.exit_code, old.version()) == (3, BASELINE[number - 1] if number else "")
    assert list(left(report)) == list(BASELINE[number:])
    assert words in left(report)[revision]
    unchanged = {name: facts for name, facts in old.tree().items() if not name.startswith("storage/models")}
    assert unchanged == {name: facts for name, facts in before.items() if not name.startswith("storage/models")}
    if number <= 1:
        assert old.tree() == before


def test_skip_existing_takes_another_mode_over_with_a_warning(old: HostFolder) -> None:
    """A host whose folders were made 0755 is taken over as it is, if that is what is wanted."""
    wrong_mode(old)
    report = old.call("adopt", "0001", skip_existing=True)
    assert (report.exit_code, old.version()) == (0, "0001")
    assert "0755" in " ".join(report.body["steps"][0]["warnings"])
    assert (old.root / "input").stat().st_mode & 0o777 == 0o755


def test_a_host_that_has_a_later_column_is_taken_over_as_a_whole(old: HostFolder) -> None:
    """Whole schemas are compared: the table of 0005 has got the column of 0007 already, and both hold."""
    (old.home / "migrations/versions/0006_installation_signature.py").unlink()
    old.sql("ALTER TABLE stage_runs ADD COLUMN camera TEXT")
    old.revision("0006", 'op.add_column("stage_runs", sa.Column("camera", sa.Text))')
    old.revision("0007", "op.execute(\"UPDATE stage_runs SET camera = 'door'\")")
    report = old.call("adopt")
    assert old.version() == "0006", report.body["left"]
    assert "cannot be told: UPDATE stage_runs" in left(report)["0007"]
    old.up()


def test_a_revision_that_was_taken_back_is_not_taken_over(old: HostFolder) -> None:
    """A hold is a hold: what is there by chance does not lift it."""
    old.call("adopt", "0003")
    old.down("0002", reason="bad pictures")
    report = old.call("adopt")
    assert (report.exit_code, old.version()) == (3, "0002")
    assert [item["reason"] for item in report.body["held"]] == ["bad pictures"]


def test_people_are_told_in_words(old: HostFolder) -> None:
    """What was done, and what is left, in words."""
    done = old.run("adopt")
    assert done.returncode == 3
    assert "taken over from base to 0005" in done.stdout
    assert "left: 0006" in done.stdout
    assert "vvmigrate upgrade head" in done.stdout


def test_only_one_decision_at_a_time(host: HostFolder) -> None:
    """A lost key and another database are two questions."""
    says(host.call("adopt", rekey=True, reconcile=True), 2, "two decisions")


def test_a_host_without_anything_has_nothing_to_take_over(host: HostFolder) -> None:
    """On an empty host every revision is left; no folder of the user's is made."""
    report = host.call("adopt")
    assert (report.exit_code, host.version(), list(left(report))) == (3, "", list(BASELINE))
    assert sorted(os.listdir(host.root)) == [".vvmigrate", "orchestrator_data"]
