"""`repair --offline`: what is not on this host is left, the rest is mended, and what it says to do next works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.models import DATA, NAME, archive, current, install, received, release, sha256
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good

PACKED = archive(DATA)


@pytest.fixture(params=["raw", "packed"])
def far(host: HostFolder, server: FaultServer, request: pytest.FixtureRequest) -> HostFolder:
    """A host at its head, whose model is on a server."""
    if request.param == "raw":
        release(host, "9.0.0", DATA, server.url("/model", good(DATA)))
    else:
        release(host, "9.0.0", PACKED, server.url("/model", good(PACKED)), format="tar.gz")
    install(host, "0007", "9.0.0")
    host.up(values={"DVR_IP": "10.0.0.9"})
    server.requests.clear()
    return host


def generation(host: HostFolder) -> Path:
    return host.root / "models" / os.readlink(host.root / f"models/{NAME}")


def lose(host: HostFolder) -> None:
    shutil.rmtree(generation(host))


def flip(host: HostFolder) -> None:
    path = generation(host) / "model.bin"
    path.write_bytes(DATA[:-1] + b"?")


def lose_all(host: HostFolder) -> None:
    shutil.rmtree(host.root / "models")


@pytest.mark.parametrize("damage", [lose, flip, lose_all])
def test_a_model_that_is_not_here_holds_up_nothing_else(
    far: HostFolder, server: FaultServer, damage: Callable[[HostFolder], None]
) -> None:
    """It is left with the reason; its hint, typed as it stands, brings it, and then the same repair mends it."""
    place, picture = str(generation(far)), far.root / "fallback/placeholder.png"
    whole = picture.read_bytes()
    damage(far)
    picture.write_bytes(whole[:100])
    (far.root / "input").rmdir()
    report = far.call("repair", offline=True)
    assert (report.exit_code, report.error, server.requests) == (3, None, [])
    assert ((far.root / "input").is_dir(), picture.read_bytes()) == (True, whole)
    (left,) = [item for item in report.body["left"] if item["path"] == place]
    assert {item["path"] for item in report.body["left"]} == {place}
    assert "9.0.0 (demo)" in left["reason"]
    assert "--offline asks nobody" in left["reason"]
    assert "with a network: vvmigrate fetch; then: vvmigrate repair --offline" in left["remedy"]

    assert [item["state"] for item in far.json("fetch")["artefacts"]] == ["fetched"]
    server.requests.clear()
    assert far.run("repair", "--offline").returncode == 0
    assert (current(far), server.requests, received(far)) == (DATA, [], {})
    assert (far.call("verify").body["drift"], far.call("history", verify=True).exit_code) == ([], 0)


def test_nothing_that_could_be_mended_leaves_no_row(far: HostFolder) -> None:
    """As where nothing on this host has what was lost: exit 3, and the history says nothing of it."""
    lose(far)
    before = far.history()
    assert far.call("repair", offline=True).exit_code == 3
    assert far.history() == before


def test_a_bundle_brings_it_too(far: HostFolder, tmp_path: Path) -> None:
    """The other half of the hint, for a host that never has a network."""
    assert far.run("bundle", "create", str(tmp_path / "models.tar")).returncode == 0
    lose(far)
    assert far.run("bundle", "apply", str(tmp_path / "models.tar")).returncode == 0
    assert far.call("repair", offline=True).exit_code == 0
    assert current(far) == DATA


def test_what_a_repair_waits_for_is_not_pruned(far: HostFolder) -> None:
    """What was fetched for it stays until it was used, and goes where nothing needs it."""
    lose(far)
    far.call("fetch")
    assert far.call("prune").body["pruned"] == []
    assert len(received(far)) == 1
    far.call("repair", offline=True)
    assert received(far) == {}


def test_a_host_that_lost_nothing_fetches_nothing(far: HostFolder, server: FaultServer) -> None:
    """And says of both commands that they would download nothing."""
    shown = far.run("fetch")
    assert (shown.returncode, server.requests) == (0, [])
    assert "neither an upgrade nor a repair would download anything" in shown.stdout


def test_an_upgrade_without_network_is_refused_as_before(bare: HostFolder, server: FaultServer) -> None:
    """Only a repair goes on without a model: a step that was asked for is not done by half."""
    release(bare, "9.0.0", DATA, server.url("/model", good(DATA)))
    install(bare, "0002", "9.0.0")
    report = bare.call("upgrade", "head", offline=True)
    assert (report.exit_code, bare.version(), sha256(DATA) in str(report.error)) == (6, "", True)


# ---- a model that was there before us --------------------------------------------------------------------------------


@pytest.fixture
def adopted(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host on which the model stood already, as a plain folder: it was adopted, and no store was made."""
    release(bare, "9.0.0", DATA, server.url("/model", good(DATA)))
    install(bare, "0002", "9.0.0")
    (bare.root / "models" / NAME).mkdir(parents=True)
    (bare.root / f"models/{NAME}/model.bin").write_bytes(DATA)
    bare.up()
    return bare


@pytest.mark.parametrize("damaged", [False, True], ids=["lost", "damaged"])
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_model_that_was_adopted_comes_back_as_a_folder(adopted: HostFolder, damaged: bool, offline: bool) -> None:
    """It is the model that comes back, not a link that leads nowhere and is called mended."""
    folder = adopted.root / "models" / NAME
    if damaged:
        (folder / "model.bin").write_bytes(b"other")
    else:
        shutil.rmtree(folder)
    if offline:
        report = adopted.call("repair", offline=True)
        (left,) = report.body["left"]
        assert (report.exit_code, left["path"]) == (3, str(folder))
        assert "with a network: vvmigrate fetch; then: vvmigrate repair --offline" in left["remedy"]
        assert [item["state"] for item in adopted.call("fetch").body["artefacts"]] == ["fetched"]
    assert adopted.call("repair", offline=offline or None).exit_code == 0
    assert (folder.is_symlink(), current(adopted)) == (False, DATA)
    assert adopted.call("verify").body["drift"] == []
    adopted.down("0001", no_hold=True)
    adopted.up(offline=True)
    assert (current(adopted), adopted.call("verify").body["drift"]) == (DATA, [])
