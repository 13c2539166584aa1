"""What an upgrade does again for revisions that are applied, its plan says too: the same steps, the same changes."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.commands.models import DATA, NEWER, current, install, release
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


def test_a_degraded_step_without_room_stays_so_and_holds_nothing_up(
    bare: HostFolder, server: FaultServer, mount: Any
) -> None:
    """A disk that others have filled meanwhile: the model waits, the rest is done, and a plan says so."""
    large = b"m" * (3 << 20)
    release(bare, "2.0.0", large, server.url("/model", status("404 Not Found")), required=False)
    install(bare, "0002", "2.0.0")
    bare.root.mkdir()
    mount(bare.root, size="9m")
    bare.up()
    (bare.root / "others.mp4").write_bytes(bytes(3 << 20))
    server.acts["/model"] = [good(large)]
    server.requests.clear()
    bare.revision("0003", "op.make_directories(['more'])")
    for verb in ("plan", "upgrade"):
        told: list[tuple[str, dict[str, Any]]] = []
        report = bare.call(verb, told=told)
        assert [step["revision"] for step in report.body["steps"]] == ["0003"]
        warned = [facts["text"] for event, facts in told if event == "warning"]
        assert any("revision 0002 stays degraded" in text and "bytes needed" in text for text in warned)
    assert (report.exit_code, bare.version(), server.requests) == (0, "0003", [])
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
    (bare.root / "others.mp4").unlink()
    assert bare.up().body["degraded"] == []
    assert current(bare) == large
