"""A host goes to head and back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.conftest import BASELINE, HostFolder

VIDEO = "a" * 64
Tree = dict[str, tuple[str, int, bytes]]


def timeless(tree: Tree) -> dict[str, Any]:
    """A host's tree, the signature without its time."""
    found: dict[str, Any] = dict(tree)
    if "home/vv-signature.json" in found:
        kind, mode, content = found["home/vv-signature.json"]
        signature = {name: value for name, value in json.loads(content).items() if not name.endswith("_at")}
        found["home/vv-signature.json"] = (kind, mode, signature)
    return found


def without_store(tree: Tree) -> Tree:
    """A host's tree but for the generations in the store, which stay until they are pruned."""
    return {path: found for path, found in tree.items() if "/models/.store" not in path and path != "storage/models"}


def live_a_little(host: HostFolder) -> None:
    """What users and the orchestrator do on a host: a video, rows, an edited setting."""
    (host.root / "input/camera.mp4").write_bytes(b"frames")
    host.sql("INSERT INTO processed_videos VALUES (?, 'camera.mp4', 6, 'done', '2026-01-01', NULL, NULL)", VIDEO)
    host.sql("INSERT INTO stage_runs VALUES (7, ?, 'scan', '2026-01-01', NULL, NULL, NULL)", VIDEO)
    env = host.home / ".env"
    env.write_text(env.read_text().replace("LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG"))


def env_of(host: HostFolder) -> dict[str, str | None]:
    return dotenv_values(host.home / ".env")


def test_a_fresh_host_goes_to_head_and_its_history_says_so(host: HostFolder) -> None:
    """upgrade head applies the six baseline revisions, each recorded once as applied."""
    report = host.up()
    assert [step["revision"] for step in report.body["steps"]] == list(BASELINE)
    assert host.history() == [(revision, "up", "applied") for revision in BASELINE]
    assert host.version() == "0006"


def test_up_down_up_leaves_what_the_first_up_left(host: HostFolder) -> None:
    """Root, home and signature after up, downgrade base, up equal those after the first up, but for times."""
    host.up()
    first = timeless(host.tree())
    host.down("base")
    host.up()
    assert timeless(host.tree()) == first


def test_a_generated_secret_is_never_generated_twice(host: HostFolder) -> None:
    """HMAC_SECRET_KEY comes back as it was, so that log lines signed before the downgrade still verify."""
    host.up()
    secret = env_of(host)["HMAC_SECRET_KEY"]
    host.down("base")
    assert not (host.home / ".env").exists()
    host.up()
    assert secret
    assert env_of(host)["HMAC_SECRET_KEY"] == secret


def test_after_downgrade_to_base_nothing_of_ours_is_left(host: HostFolder) -> None:
    """Only logs, state directories, the database and the model's store remain of an installation taken back."""
    before = host.tree()
    host.up()
    host.down("base")
    left = {path: found for path, found in host.tree().items() if path not in before}
    store = {path for path in left if path.startswith("storage/models")}
    assert set(left) - store == {"storage/orchestrator_data"}
    assert {path.split("/")[2] for path in store if path.count("/") > 1} == {".store"}
    assert {path: found for path, found in host.tree().items() if path in before} == before
    tables = {name for (name,) in host.sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in tables if not name.startswith("vv_")} == set()


def test_the_users_things_survive_every_direction(host: HostFolder) -> None:
    """A video in input/, the orchestrator's rows and an edited setting are there after up, down, and up again."""
    host.up()
    live_a_little(host)
    host.down("base")
    assert (host.root / "input/camera.mp4").read_bytes() == b"frames"
    assert env_of(host) == {"LOG_LEVEL": "DEBUG"}
    host.up()
    assert (host.root / "input/camera.mp4").read_bytes() == b"frames"
    assert env_of(host)["LOG_LEVEL"] == "DEBUG"
    assert host.sql("SELECT sha256, status FROM processed_videos") == [(VIDEO, "done")]
    assert host.sql("SELECT id, video_sha256 FROM stage_runs") == [(7, VIDEO)]
    assert not [name for (name,) in host.sql("SELECT name FROM sqlite_master") if name.startswith("vv_kept_")]


def test_what_a_downgrade_keeps_is_named(host: HostFolder) -> None:
    """Whoever takes a host down is told which directory and which setting stay, and why."""
    host.up()
    live_a_little(host)
    steps = {step["revision"]: step for step in host.down("base").body["steps"]}
    reasons = {item["path"]: item["reason"] for item in steps["0001"]["kept"]}
    assert "did not make: 'camera.mp4'" in reasons[str(host.root / "input")]
    assert [item["path"].endswith(".env: LOG_LEVEL") for item in steps["0004"]["kept"]] == [True]


@pytest.mark.parametrize("revision", BASELINE)
def test_each_single_step_goes_down_and_up(host: HostFolder, revision: str) -> None:
    """Taking one step back restores the host as it was before that step, and applying it again restores it after."""
    if revision != "0001":
        host.up(f"{int(revision) - 1:04d}")
    before = timeless(host.tree())
    host.up(revision)
    after = timeless(host.tree())
    host.down("-1", no_hold=True)
    assert without_store(timeless(host.tree())) == without_store(before) | (
        {"storage/orchestrator_data": after["storage/orchestrator_data"]} if revision == "0001" else {}
    )
    host.up("+1")
    assert timeless(host.tree()) == after
    results = host.history()[-3:]
    assert results == [(revision, "up", "applied"), (revision, "down", "reverted"), (revision, "up", results[2][2])]
    assert results[2][2] in ("applied", "adopted")


def test_going_up_again_downloads_nothing(host: HostFolder) -> None:
    """After downgrade base the model comes from the store: an appliance with a bad line comes up again offline."""
    host.up()
    host.down("base")
    (host.home / "fallback/models/bitnet_demo.tar.gz").unlink()
    assert [step["downloads"] for step in host.call("plan").body["steps"] if step["downloads"]] == []
    host.up()
    assert (host.root / "models/bitnet_summarizer/ggml-model-i2_s.gguf").is_file()


def test_a_second_upgrade_has_nothing_to_do(host: HostFolder) -> None:
    """A boot that runs upgrade again changes nothing, writes no history and exits 0."""
    host.up()
    tree, history = host.tree(), host.history()
    report = host.up()
    assert report.body["steps"] == []
    assert (host.tree(), host.history()) == (tree, history)


def test_the_history_says_who_when_and_how_long(host: HostFolder) -> None:
    """Each attempt names the user, host, tool version, times and the script's SHA-256, newest first."""
    host.up("0002")
    entries = host.call("history").body["entries"]
    assert [entry["revision"] for entry in entries] == ["0002", "0001"]
    for entry in entries:
        assert entry["started_at"] <= entry["finished_at"]
        assert entry["started_at"].endswith("Z")
        assert entry["duration_s"] >= 0
        assert all(entry[name] for name in ("user", "host", "tool_version", "run_id", "hash"))
        assert len(entry["script_sha256"]) == 64


def test_the_history_tells_what_became_of_the_tables(host: HostFolder) -> None:
    """An auditor reads which tables a release made and dropped; values of rows are not in it, nor endless lists."""
    many = "\n".join(f"op.execute('CREATE VIEW v{n} AS SELECT {n}')" for n in range(150))
    host.revision("0007", f"op.execute(\"UPDATE stage_runs SET error = 'a secret' WHERE id = 1\")\n{many}")
    host.up()
    host.down("0004")

    def told(revision: str, direction: str) -> list[str]:
        entries = host.call("history", effects=True).body["entries"]
        entry = next(entry for entry in entries if (entry["revision"], entry["direction"]) == (revision, direction))
        return [effect["detail"] for effect in entry["effects"] if effect["action"] == "sql"]

    made = [re.match(r"CREATE (\w+ \w+)", line) for line in told("0005", "up")]
    names = [
        "TABLE processed_videos",
        "INDEX ix_processed_videos_status",
        "TABLE stage_runs",
        "INDEX ix_stage_runs_video",
    ]
    assert [found and found[1] for found in made] == names
    dropped = {line for line in told("0005", "down") if line.startswith("DROP TABLE")}
    assert dropped == {"DROP TABLE processed_videos", "DROP TABLE stage_runs"}
    lines = told("0007", "up")
    assert (lines[0], len(lines), lines[-1]) == ("UPDATE stage_runs ...", 101, "and 51 more")
    assert "a secret" not in str(host.call("history", effects=True).body)


def test_the_command_line_and_its_json_tell_the_same_story(host: HostFolder) -> None:
    """The process exits 0 and prints one JSON document with from, to, steps and what to restart."""
    document = host.json("upgrade", "head")
    assert (document["from"], document["to"], document["error"]) == ("", "0006", None)
    assert set(document["affects"]) == {"assets", "directories", "env", "model", "schema"}
    assert document["required_missing"] == ["DVR_IP"]
    down = host.json("downgrade", "base")
    assert (down["from"], down["to"]) == ("0006", "")
    assert [step["result"] for step in down["steps"]] == ["reverted"] * 6
