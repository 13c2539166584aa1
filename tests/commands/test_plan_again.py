"""What an upgrade does again for revisions that are applied, its plan says too: the same steps, the same changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands.models import DATA, NEWER, current, install, received, release, sha256
from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status
from vvmigrate.report import Report


def changed(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each step's revision, and what it changes: action and path."""
    return [
        (step["revision"], sorted((change["action"], change["path"]) for change in step["changes"]))
        for step in report.body["steps"]
    ]


def nothing_more(host: HostFolder) -> dict[str, Any]:
    """The template is as it was: to merge it again changes nothing."""
    return {"update_env": True}


def a_value(host: HostFolder) -> dict[str, Any]:
    return {"values": {"LOG_LEVEL": "DEBUG"}}


def a_template_that_gained_a_key(host: HostFolder) -> dict[str, Any]:
    path = host.home / ".env.example"
    path.write_text(path.read_text() + "\n# @sensitive=false\nGAINED=1\n")
    return {"update_env": True}


def an_asset_that_came(host: HostFolder) -> dict[str, Any]:
    shutil.move(host.home.parent / "aside.mp4", host.home / "fallback/loop_silencioso.mp4")
    return {}


AGAIN = {
    "nothing": nothing_more,
    "a value": a_value,
    "a template": a_template_that_gained_a_key,
    "an asset": an_asset_that_came,
}


@pytest.mark.parametrize("what", AGAIN)
def test_a_plan_says_what_is_done_again(host: HostFolder, what: str) -> None:
    """`upgrade --plan` with the same options, on the same host, a moment before."""
    if what == "an asset":
        shutil.move(host.home / "fallback/loop_silencioso.mp4", host.home.parent / "aside.mp4")
    host.up(values={"DVR_IP": "192.168.1.20"})
    options = AGAIN[what](host)
    with nothing_changes(host):
        plan = host.call("plan", **options)
    done = host.up(**options)
    assert changed(plan) == changed(done)
    assert plan.exit_code == (3 if done.body["steps"] else 0)
    assert bool(done.body["steps"]) == (what != "nothing")


def test_a_plan_shows_what_changes_in_a_text_file(host: HostFolder) -> None:
    """The list of the installation's files as a unified diff: which file has another hash now."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    host.revision("0007", "op.write_signature()")
    listed = host.home / "vv-signature.json"
    before = listed.read_text().splitlines()
    plan = host.call("plan")
    (diff,) = [change["diff"] for change in plan.body["steps"][0]["changes"] if change["diff"]]
    host.up()
    after, lines = listed.read_text().splitlines(), diff.splitlines()[2:]
    assert any("0007" in line for line in lines if line.startswith("+"))
    assert {line[1:] for line in lines if line[0] == "-"} <= set(before)
    assert {line[1:] for line in lines if line[0] == "+" and "created_at" not in line} <= set(after)


def test_a_plan_says_that_a_degraded_step_is_tried_again(bare: HostFolder, server: FaultServer) -> None:
    """With what it downloads; and what is pending beside it comes after it."""
    release(bare, "2.0.0", DATA, server.url("/model", status("404 Not Found")))
    install(bare, "0002", "2.0.0")
    bare.up(allow_degraded=True)
    server.acts["/model"] = [good(DATA)]
    bare.revision("0003", "op.make_directories(['more'])")
    plan = bare.call("plan")
    assert [step["revision"] for step in plan.body["steps"]] == ["0002", "0003"]
    assert plan.body["steps"][0]["downloads"][0]["size_bytes"] == len(DATA)
    assert changed(plan) == changed(bare.up())
    assert current(bare) == DATA


def test_a_plan_says_that_another_variant_is_installed(bare: HostFolder, server: FaultServer) -> None:
    """The variant is chosen by the environment: the revision's model comes again, as the other one."""
    release(bare, "2.0.0", DATA, server.url("/full", good(DATA)))
    release(bare, "2.0.0", NEWER, server.url("/small", good(NEWER)), variant="small")
    install(bare, "0002", "2.0.0")
    bare.up()
    assert bare.call("plan").body["steps"] == []
    bare.environ["VV_MODEL_VARIANT"] = "small"
    plan = bare.call("plan")
    assert changed(plan) == changed(bare.up())
    assert current(bare) == NEWER


LARGE = b"m" * (3 << 20)


@pytest.fixture
def crowded(bare: HostFolder, server: FaultServer, mount: Any) -> HostFolder:
    """A host on a small disk that lacks an optional model; it could be had now, but for the room that others took."""
    release(bare, "2.0.0", LARGE, server.url("/model", status("404 Not Found")), required=False)
    install(bare, "0002", "2.0.0")
    bare.root.mkdir()
    mount(bare.root, size="10m")
    bare.up()
    server.acts["/model"] = [good(LARGE)]
    return bare


def crowd(host: HostFolder, size_bytes: int) -> None:
    """Let somebody else's video fill the disk."""
    (host.root / "others.mp4").write_bytes(bytes(size_bytes))


def test_a_degraded_step_without_room_stays_so_and_holds_nothing_up(crowded: HostFolder, server: FaultServer) -> None:
    """The model waits, the rest is done, and a plan says so; with room again it comes."""
    crowd(crowded, 4 << 20)
    server.requests.clear()
    crowded.revision("0003", "op.make_directories(['more'])")
    for verb in ("plan", "upgrade"):
        told: list[tuple[str, dict[str, Any]]] = []
        report = crowded.call(verb, told=told)
        assert [step["revision"] for step in report.body["steps"]] == ["0003"]
        warned = [facts["text"] for event, facts in told if event == "warning"]
        assert any("revision 0002 stays degraded" in text and "bytes needed" in text for text in warned)
    assert (report.exit_code, crowded.version(), server.requests) == (0, "0003", [])
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
    (crowded.root / "others.mp4").unlink()
    assert crowded.up().body["degraded"] == []
    assert current(crowded) == LARGE


def test_a_disk_without_any_room_fails_no_boot_that_has_nothing_to_do(crowded: HostFolder) -> None:
    """Not even what a run spares for its history is free: nothing is written, so nothing is refused."""
    crowd(crowded, 8 << 20)
    with nothing_changes(crowded):
        report = crowded.up()
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]


def test_what_was_received_waits_for_room_and_is_not_pruned(crowded: HostFolder, tmp_path: Path) -> None:
    """Whoever is told to prune for want of room must not lose the download; and it can be fetched to another disk."""
    crowded.call("fetch")
    before = received(crowded)
    assert list(before.values()) == [LARGE]
    crowd(crowded, 4 << 20)
    assert crowded.call("prune").exit_code == 0
    assert received(crowded) == before
    (tmp_path / "stick").mkdir()
    fetched = crowded.call("fetch", to=str(tmp_path / "stick"))
    assert [item["state"] for item in fetched.body["artefacts"]] == ["fetched"]


def test_a_retry_gives_way_to_what_is_asked_for(bare: HostFolder, server: FaultServer, mount: Any) -> None:
    """Another variant is asked for, and fits; with the retry beside it it would not: the retry waits."""
    for variant in ("demo", "small"):
        url = server.url(f"/gone-{variant}", status("404 Not Found"))
        release(bare, "2.0.0", LARGE[: 2 << 20], url, required=False, variant=variant)
    install(bare, "0002", "2.0.0")
    path = bare.home / "model_manifest.json"
    found = json.loads(path.read_text())
    other = {"license": "MIT", "required": True, "variants": {}}
    for variant, data in (("demo", DATA), ("small", LARGE[: 3 << 19])):
        url = server.url(f"/{variant}", good(data))
        more = {"size_bytes": len(data), "sha256": sha256(data)}
        other["variants"][variant] = {"urls": [url], "format": "file", "filename": "model.bin", **more}
    found["models"]["other"] = {"1.0.0": other}
    path.write_text(json.dumps(found))
    bare.revision("0003", 'op.install_model("other", "1.0.0")')
    bare.root.mkdir()
    mount(bare.root, size="9m")
    bare.up(allow_degraded=True)
    crowd(bare, 1 << 20)
    bare.environ["VV_MODEL_VARIANT"] = "small"
    report = bare.up()
    assert [step["revision"] for step in report.body["steps"]] == ["0003"]
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
