"""Two models that two revisions install: what services are told of one does not depend on the way of the other."""

from __future__ import annotations

import json

import pytest

from tests.commands.models import DATA, NAME, NEWER, install, release
from tests.commands.plans import agree
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status
from vvmigrate.engine.effects import CONTENT_BYTES

OTHER = "detector"


@pytest.fixture
def late(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host whose older revision could get its model only when the newer one had installed its own."""
    release(bare, "2.0.0", DATA, server.url("/late", status("404 Not Found")))
    release(bare, "1.0.0", NEWER, server.url("/other", good(NEWER)), name=OTHER)
    install(bare, "0002", "2.0.0")
    install(bare, "0003", "1.0.0", OTHER)
    bare.up(allow_degraded=True)
    assert told(bare) == [OTHER]
    server.acts["/late"] = [good(DATA)]
    assert [step["revision"] for step in bare.up().body["steps"]] == ["0002"]
    assert told(bare) == linked(bare) == [NAME, OTHER]
    return bare


def told(host: HostFolder) -> list[str]:
    """The models of which services are told."""
    path = host.root / "models/.current_model_info.json"
    return sorted(json.loads(path.read_text())["models"]) if path.exists() else []


def linked(host: HostFolder) -> list[str]:
    """The models that stand at their place."""
    return sorted(path.name for path in (host.root / "models").iterdir() if not path.name.startswith("."))


def test_the_way_back_of_one_keeps_the_other(late: HostFolder) -> None:
    """Each step back takes its own entry along, and none of the other's: the summariser finds its model."""
    fresh = late.root / "models/.current_model_info.json"
    entry = json.loads(fresh.read_text())["models"][NAME]
    for target, models in (("0002", [NAME]), ("0001", [])):
        plan = late.call("plan down", target)
        agree(plan, late.down(target))
        assert told(late) == linked(late) == models
        assert late.call("verify").body["drift"] == []
        assert not models or json.loads(fresh.read_text())["models"] == {NAME: entry}
    late.up(release_hold=True)
    assert told(late) == linked(late) == [NAME, OTHER]
    late.down("base")
    assert not (late.root / "models/.current_model_info.json").exists()


def test_an_entry_of_somebody_elses_stays(late: HostFolder) -> None:
    """What another program has added to the file is not ours to take."""
    path = late.root / "models/.current_model_info.json"
    found = json.loads(path.read_text())
    found["models"]["theirs"] = {"model_name": "theirs"}
    path.write_text(json.dumps(found))
    late.down("0001")
    assert json.loads(path.read_text())["models"] == {"theirs": {"model_name": "theirs"}}


def test_a_file_that_cannot_be_read_is_kept_and_said(late: HostFolder) -> None:
    """As any file that somebody changed since."""
    path = late.root / "models/.current_model_info.json"
    path.write_text("their own words")
    report = late.down("0001")
    assert path.read_text() == "their own words"
    assert {item["path"] for step in report.body["steps"] for item in step["kept"]} == {str(path)}


@pytest.mark.parametrize("damage", ["lost", "cut off"])
def test_a_file_that_is_lost_comes_with_all_models_when_the_next_is_installed(late: HostFolder, damage: str) -> None:
    """Nobody had called `repair` in between; services find each of them, as they were told of it before."""
    path = late.root / "models/.current_model_info.json"
    entries = json.loads(path.read_text())["models"]
    path.unlink() if damage == "lost" else path.write_text(path.read_text()[:40])
    release(late, "1.0.0", b"third", "third", name="third")
    (late.home / "third").write_bytes(b"third")
    install(late, "0004", "1.0.0", "third")
    late.up()
    assert told(late) == linked(late) == [NAME, OTHER, "third"]
    assert {name: json.loads(path.read_text())["models"][name] for name in entries} == entries
    assert late.call("verify").body["drift"] == []


def test_a_file_that_is_lost_comes_back_with_the_step_that_changes_it(late: HostFolder) -> None:
    """It tells of the models that stay, and of none that went; what was lost with its last model is not missed."""
    path = late.root / "models/.current_model_info.json"
    path.unlink()
    plan = late.call("plan down", "0002")
    agree(plan, late.down("0002"))
    assert (told(late), late.call("verify").body["drift"]) == ([NAME], [])
    path.unlink()
    late.down("0001")
    assert (path.exists(), late.call("verify").body["drift"]) == (False, [])


def test_a_file_that_was_right_already_is_mended_as_a_whole(late: HostFolder) -> None:
    """The last revision had found its model there, and the file telling of it: a repair forgets none of the others."""
    install(late, "0004", "2.0.0")
    late.up()
    path = late.root / "models/.current_model_info.json"
    before = path.read_bytes()
    path.unlink()
    assert late.call("repair").exit_code == 0
    assert path.read_bytes() == before


def test_a_file_too_long_to_be_noted_is_told_of_what_lies_beside_the_models(late: HostFolder) -> None:
    """Other programs may have written much into it: that is gone, and no model of ours is forgotten."""
    path = late.root / "models/.current_model_info.json"
    found = json.loads(path.read_text())
    found["models"]["theirs"] = {"notes": "long " * 5000}
    path.write_text(json.dumps(found))
    release(late, "3.0.0", b"newer", "newer")
    (late.home / "newer").write_bytes(b"newer")
    install(late, "0004", "3.0.0")
    late.up()
    assert len(path.read_bytes()) > CONTENT_BYTES
    path.unlink()
    release(late, "4.0.0", b"newest", "newest")
    (late.home / "newest").write_bytes(b"newest")
    install(late, "0005", "4.0.0")
    late.up()
    assert told(late) == linked(late) == [NAME, OTHER]
