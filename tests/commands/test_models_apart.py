"""Two models, each in two versions: what becomes of one on the way back says nothing of the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.commands.models import install, release
from tests.commands.plans import agree
from tests.commands.proof import says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer
from tests.crash.dying import Moment, crash
from vvmigrate.engine import recovery

ONE, OTHER = "one", "other"


@pytest.fixture
def two(bare: HostFolder) -> HostFolder:
    """A host below four revisions: the models' first versions, then their second ones; files of the release."""
    (bare.home / "given").mkdir()
    revisions = iter(("0002", "0003", "0004", "0005"))
    for version in ("1.0.0", "2.0.0"):
        for name in (ONE, OTHER):
            data = f"{name} {version}".encode() * 100
            source(bare, name, version).write_bytes(data)
            release(bare, version, data, f"given/{name}-{version}", name=name)
            install(bare, next(revisions), version, name)
    return bare


def source(host: HostFolder, name: str, version: str) -> Path:
    return host.home / f"given/{name}-{version}"


def current(host: HostFolder, name: str) -> str:
    """The version that is current: what its link leads to, and the name of a user's folder as it is."""
    end = (host.root / "models" / name).readlink().name
    return end.split("-")[1] if end.startswith(f"{name}-") else end


def put_mine(host: HostFolder, name: str) -> None:
    """Let a user put another model in place."""
    (host.root / "models/mine").mkdir(exist_ok=True)
    link = host.root / "models" / name
    link.unlink()
    link.symlink_to("mine")


def lacking(host: HostFolder) -> dict[str, str]:
    """The degraded revisions, and why."""
    return {item["revision"]: item["reason"] for item in host.call("status").body["degraded"]}


def back_without(host: HostFolder, *gone: str) -> None:
    """Go back to the first versions, of which some cannot be had any more."""
    host.up("0003")
    host.up()
    host.call("prune", keep=0)
    for name in gone:
        source(host, name, "1.0.0").unlink()
    host.down("0003", allow_degraded=True)


def test_a_users_model_stays_while_the_other_could_not_be_had(two: HostFolder) -> None:
    """The way back left it alone; no boot after it takes it for something that is missing."""
    two.up("0003")
    two.up()
    put_mine(two, OTHER)
    two.call("prune", keep=0)
    source(two, ONE, "1.0.0").unlink()
    two.down("0003", allow_degraded=True)
    assert (list(lacking(two)), current(two, OTHER)) == (["0002"], "mine")
    says(two.call("upgrade"), 3, "was taken back")
    assert (current(two, ONE), current(two, OTHER)) == ("2.0.0", "mine")


def test_each_model_that_could_not_be_had_has_its_own_reason(two: HostFolder) -> None:
    """Who reads `status` looks for the right file; what was brought again is not told any more."""
    back_without(two, ONE, OTHER)
    reasons = lacking(two)
    assert [reasons["0002"].split(":")[0], reasons["0003"].split(":")[0]] == ["one 1.0.0", "other 1.0.0"]
    source(two, OTHER, "1.0.0").write_bytes(b"other 1.0.0" * 100)
    says(two.call("upgrade"), 3, "was taken back")
    assert (list(lacking(two)), current(two, ONE), current(two, OTHER)) == (["0002"], "2.0.0", "1.0.0")


def test_a_model_that_a_user_brought_meanwhile_is_nothing_that_is_lacking(two: HostFolder) -> None:
    """They have mended it in their own way, and no retry undoes that."""
    back_without(two, ONE)
    put_mine(two, ONE)
    assert lacking(two) == {}
    source(two, ONE, "1.0.0").write_bytes(b"one 1.0.0" * 100)
    says(two.call("upgrade"), 3, "was taken back")
    assert current(two, ONE) == "mine"


def test_a_users_model_stays_beside_what_the_way_up_had_left_out(two: HostFolder) -> None:
    """The host came up in one run: the way back installs what is missing, and nothing over what somebody put there."""
    two.up()
    put_mine(two, OTHER)
    plan = two.call("plan down", "0003")
    assert [download["url"].rpartition("/")[2] for step in plan.body["steps"] for download in step["downloads"]] == [
        "one-1.0.0"
    ]
    two.down("0003")
    assert (current(two, ONE), current(two, OTHER), lacking(two)) == ("1.0.0", "mine", {})
    says(two.call("upgrade"), 3, "was taken back")
    assert current(two, OTHER) == "mine"


def test_a_retry_leaves_what_a_user_put_in_place_of_another_model(bare: HostFolder) -> None:
    """One revision brings two models, and only one could be had: its retry is about the other one alone."""
    (bare.home / "given").mkdir()
    for name in (ONE, OTHER):
        data = f"{name} 1.0.0".encode() * 100
        source(bare, name, "1.0.0").write_bytes(data)
        release(bare, "1.0.0", data, f"given/{name}-1.0.0", name=name, required=False)
    bare.revision("0002", f'op.install_model("{ONE}", "1.0.0")\nop.install_model("{OTHER}", "1.0.0")')
    source(bare, ONE, "1.0.0").rename(bare.home / "away")
    bare.up()
    put_mine(bare, OTHER)
    (bare.home / "away").rename(source(bare, ONE, "1.0.0"))
    [step] = bare.up().body["steps"]
    assert [Path(item["path"]).name for item in step["kept"]] == [OTHER]
    assert (current(bare, ONE), current(bare, OTHER), lacking(bare)) == ("1.0.0", "mine", {})


def test_a_way_back_that_ends_half_way_tells_what_it_did_not_fetch(old: HostFolder, server: FaultServer) -> None:
    """The model that only its next step would have left was skipped; the host that stays there gets it."""
    old.call("prune", keep=0)
    crash(old, Moment(recovery, "finish"), "downgrade", "0002")
    old.call("recover")
    assert (old.version(), list(lacking(old))) == ("0003", ["0003"])
    says(old.call("upgrade"), 3, "was taken back")
    assert (lacking(old), [request.target for request in server.requests]) == ({}, ["/2.0.0", "/3.0.0"])


@pytest.mark.parametrize("options", [{"offline": True}, {}, {"allow_degraded": True}], ids=["offline", "", "degraded"])
def test_a_model_that_was_brought_again_goes_wholly(two: HostFolder, options: dict[str, bool]) -> None:
    """What its link led to in between is not asked for: it is gone, and nothing of the model stays behind."""
    two.up("0003")
    two.up("0004")
    two.call("prune", keep=0)
    data = source(two, ONE, "1.0.0").read_bytes()
    source(two, ONE, "1.0.0").unlink()
    two.down("0003", allow_degraded=True)
    source(two, ONE, "1.0.0").write_bytes(data)
    says(two.call("upgrade"), 3, "was taken back")
    assert current(two, ONE) == "1.0.0"
    two.call("prune", keep=0)
    source(two, ONE, "2.0.0").unlink()
    two.down("0002")
    plan = two.call("plan down", "0001", **options)
    assert (plan.error, [step["downloads"] for step in plan.body["steps"]]) == (None, [[]])
    assert two.down("0001", **options).body["degraded"] == []
    assert not (two.root / "models" / ONE).is_symlink()
    assert not (two.root / "models/.current_model_info.json").exists()
    assert two.call("verify").body["drift"] == []


def test_what_a_way_back_left_is_watched_and_mended(two: HostFolder) -> None:
    """The newer models are the current ones: damage to them, and to what leads to them, is found, told and mended."""
    back_without(two, ONE, OTHER)
    before, link, info = two.tree(), two.root / "models" / ONE, two.root / "models/.current_model_info.json"
    generation = link.resolve()

    def damaged() -> None:
        (generation / "model.bin").write_bytes(b"other")

    for damage in (damaged, link.unlink, info.unlink, lambda: shutil.rmtree(generation)):
        damage()
        found = two.call("verify")
        assert (found.exit_code, len(found.body["drift"])) == (3, 1)
        path = found.body["drift"][0]["path"]
        assert two.call("why", path).body["drift"] == found.body["drift"]
        assert two.call("repair").exit_code == 0
        assert (two.tree(), two.call("verify").body["drift"], list(lacking(two))) == (before, [], ["0002", "0003"])
    two.down("0001")
    assert (link.is_symlink(), info.exists()) == (False, False)
    assert two.call("verify").body["drift"] == []


def test_what_a_way_back_brought_is_mended(two: HostFolder) -> None:
    """After any downgrade: the links and the file that tells of them were put there by steps that are gone."""
    two.up("0003")
    two.up()
    two.down("0003")
    before = two.tree()
    (two.root / "models" / ONE).unlink()
    (two.root / "models/.current_model_info.json").unlink()
    assert two.call("repair").exit_code == 0
    assert two.tree() == before


def ask_for_full(host: HostFolder, version: str) -> None:
    """Let another variant be asked for, which the release has of these versions."""
    for name in (ONE, OTHER):
        data = f"{name} {version} full".encode() * 100
        source(host, name, f"{version}-full").write_bytes(data)
        release(host, version, data, f"given/{name}-{version}-full", name=name, variant="full")
    host.environ["VV_MODEL_VARIANT"] = "full"


def variants(host: HostFolder) -> dict[str, str]:
    """Which variant of each model services are told of; and that this is what lies there."""
    found = json.loads((host.root / "models/.current_model_info.json").read_text())["models"]
    for name, entry in found.items():
        data = (host.root / "models" / entry["path"]).read_bytes()
        assert data.endswith(b"full") == (entry["variant"] == "full"), name
    return {name: entry["variant"] for name, entry in found.items()}


def test_another_variant_is_installed_of_every_model(two: HostFolder) -> None:
    """Each by the last revision that installs it; when one could not be had at first, only that one is done then."""
    two.up()
    ask_for_full(two, "2.0.0")
    away = source(two, OTHER, "2.0.0-full").rename(two.home / "away")
    plan = two.call("plan")
    assert [step["revision"] for step in plan.body["steps"]] == ["0004", "0005"]
    says(two.call("upgrade"), 1, "could not be had")
    assert variants(two) == {ONE: "full", OTHER: "demo"}
    away.rename(source(two, OTHER, "2.0.0-full"))
    plan = two.call("plan")
    assert [step["revision"] for step in plan.body["steps"]] == ["0005"]
    agree(plan, two.up())
    assert variants(two) == {ONE: "full", OTHER: "full"}
    assert (two.call("plan").exit_code, two.call("status").exit_code, two.up().body["steps"]) == (0, 0, [])


@pytest.mark.parametrize("asked", ["before", "after"])
def test_what_comes_back_in_another_variant_than_is_asked_for_is_seen(two: HostFolder, asked: str) -> None:
    """The link went back to what was installed then; the next upgrade installs that version as it is wanted now."""
    two.up("0003")
    two.up()
    if asked == "before":
        ask_for_full(two, "2.0.0")
        two.up()
    two.down("0003")
    ask_for_full(two, "1.0.0")
    assert variants(two) == {ONE: "demo", OTHER: "demo"}
    assert two.call("status").body["other_variant"] == {"installed": ["demo"], "asked": "full"}
    says(two.call("upgrade"), 3, "was taken back")
    assert variants(two) == {ONE: "full", OTHER: "full"}
    assert (current(two, ONE), two.call("status").body["other_variant"]) == ("1.0.0", None)


def test_services_are_told_of_the_one_that_came_back_and_of_the_one_that_stayed(bare: HostFolder) -> None:
    """One revision had brought both, and only one of them is to be had again: each entry is what its link leads to."""
    (bare.home / "given").mkdir()
    for revision, version in (("0002", "1.0.0"), ("0003", "2.0.0")):
        for name in (ONE, OTHER):
            data = f"{name} {version}".encode() * 100
            source(bare, name, version).write_bytes(data)
            release(bare, version, data, f"given/{name}-{version}", name=name)
        bare.revision(revision, f'op.install_model("{ONE}", "{version}")\nop.install_model("{OTHER}", "{version}")')
        bare.up()
    bare.call("prune", keep=0)
    source(bare, ONE, "1.0.0").unlink()
    bare.down("0002", allow_degraded=True)
    info = bare.root / "models/.current_model_info.json"
    told = {name: entry["model_version"] for name, entry in json.loads(info.read_text())["models"].items()}
    assert told == {name: current(bare, name) for name in told} == {ONE: "2.0.0", OTHER: "1.0.0"}
    assert (bare.call("verify").body["drift"], list(lacking(bare))) == ([], ["0002"])
    bare.down("0001")
    assert (info.exists(), [path.name for path in (bare.root / "models").iterdir()]) == (False, [".store"])
