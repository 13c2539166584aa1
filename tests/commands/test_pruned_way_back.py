"""The way back to a model that was pruned: had again before the first step, or done without, or refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.commands.models import MODELS, NAME, current, received
from tests.commands.proof import says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status


def test_a_pruned_generation_is_delivered_again_on_the_way_back(old: HostFolder, server: FaultServer) -> None:
    """The plan says the bytes that it needs; the downgrade fetches, verifies and installs them, in its one step."""
    before = {path.name for path in (old.root / "models/.store").iterdir()}
    old.call("prune", keep=0)
    plan = old.json("downgrade", "0003", "--plan")
    [download] = [item for step in plan["steps"] for item in step["downloads"]]
    assert download["size_bytes"] == len(MODELS["3.0.0"])
    assert (plan["network_bytes"], plan["cannot"]) == (len(MODELS["3.0.0"]), [])
    shown = old.run("downgrade", "0003", "--plan").stdout
    assert "download 48.8 kB" in shown
    assert "needs 48.8 kB from the network" in shown
    old.down("0003")
    assert (current(old), received(old)) == (MODELS["3.0.0"], {})
    assert [request.target for request in server.requests] == ["/3.0.0"]
    assert {path.name for path in (old.root / "models/.store").iterdir()} <= before
    assert old.call("status").body["drift"] == []


def test_going_further_back_fetches_only_the_last(old: HostFolder, server: FaultServer) -> None:
    """A generation that the same run leaves again is not downloaded; to base needs none."""
    old.call("prune", keep=0)
    old.down("0002")
    assert (current(old), [request.target for request in server.requests]) == (MODELS["2.0.0"], ["/2.0.0"])
    server.requests.clear()
    old.down("base")
    assert (current(old), server.requests) == (None, [])


def test_a_generation_that_nobody_knows_any_more_is_refused(old: HostFolder) -> None:
    """Without the manifest's word a downgrade stops before its first write, exit 6; what needs none of it goes."""
    old.call("prune", keep=0)
    path = old.home / "model_manifest.json"
    path.write_text(path.read_text().replace(hashlib.sha256(MODELS["3.0.0"]).hexdigest(), "0" * 64))
    history = old.history()
    plan = old.call("plan down", "0003")
    says(plan, 6, "3.0.0", "was pruned")
    assert [(item["revision"], "was pruned" in item["reason"]) for item in plan.body["cannot"]] == [("0004", True)]
    says(old.call("downgrade", "0003"), 6, "3.0.0", "was pruned")
    assert (old.history(), current(old)) == (history, MODELS["4.0.0"])
    old.down("base")
    assert old.version() == ""


def test_a_way_back_whose_server_is_gone_fails_and_changes_nothing(old: HostFolder, server: FaultServer) -> None:
    """The step fails with the download's reason; the newer model stays current."""
    old.call("prune", keep=0)
    server.close()
    old.environ["VV_DELIVERY_TIMEOUT"] = "1"  # else it is patient
    report = old.call("downgrade", "0003")
    says(report, 1, "could not be had")
    assert (old.version(), current(old)) == ("0004", MODELS["4.0.0"])


def test_a_pruned_generation_offline_is_refused_before_the_first_step(old: HostFolder) -> None:
    """Of several steps back only the last needs it: none is done, and the plan says the same; it need not be lost."""
    old.revision("0005", 'op.make_directories(["more"])')
    old.up()
    old.call("prune", keep=0)
    plan, done = (old.call(verb, "0003", offline=True) for verb in ("plan down", "downgrade"))
    says(plan, 6, "3.0.0", "was pruned", "--offline", hint="--allow-degraded")
    assert [item["revision"] for item in plan.body["cannot"]] == ["0004"]
    assert (done.exit_code, done.as_json()["error"]) == (6, plan.as_json()["error"])
    assert (old.version(), current(old)) == ("0005", MODELS["4.0.0"])


def test_a_pruned_generation_that_is_gone_stops_the_way_back_before_its_first_step(
    old: HostFolder, server: FaultServer
) -> None:
    """What all steps need is received before the first of them; received, it waits for the next attempt."""
    old.revision("0005", 'op.make_directories(["more"])')
    old.up()
    old.call("prune", keep=0)
    server.acts["/3.0.0"] = [status("404 Not Found")]
    says(old.call("downgrade", "0003"), 1, "404")
    assert (old.version(), current(old), (old.root / "more").is_dir()) == ("0005", MODELS["4.0.0"], True)
    server.acts["/3.0.0"] = [good(MODELS["3.0.0"])]
    old.down("0003")
    assert (current(old), received(old)) == (MODELS["3.0.0"], {})


@pytest.mark.parametrize("why", ["offline", "gone", "optional"])
def test_a_way_back_may_go_without_a_pruned_generation(old: HostFolder, server: FaultServer, why: str) -> None:
    """The newer model stays current, and services are told so; report and history say why, and it goes on to base."""
    old.call("prune", keep=0)
    info = (old.root / "models/.current_model_info.json").read_bytes()
    options = {"offline": {"offline": True, "allow_degraded": True}, "gone": {"allow_degraded": True}, "optional": {}}
    if why == "optional":
        path = old.home / "model_manifest.json"
        path.write_text(path.read_text().replace('"required": true', '"required": false'))
    if why == "offline":
        plan = old.call("plan down", "0003", **options[why])
        assert (plan.exit_code, len(plan.body["cannot"]), plan.body["network_bytes"]) == (3, 1, 0)
    server.acts["/3.0.0"] = [status("404 Not Found")]
    report = old.down("0003", **options[why])
    [step] = report.body["steps"]
    assert "3.0.0" in step["degraded"]
    assert any("stays what is current" in item["reason"] for item in step["kept"])
    assert (old.version(), current(old)) == ("0003", MODELS["4.0.0"])
    assert (old.root / "models/.current_model_info.json").read_bytes() == info
    assert old.call("status").body["drift"] == []
    assert "3.0.0" in str(old.call("history").body["entries"][0]["error"])
    lacking = [item["revision"] for item in report.body["degraded"]]
    assert lacking == [item["revision"] for item in old.call("status").body["degraded"]] == ["0003"]
    assert any("revision 0003 is degraded" in finding["what"] for finding in old.call("doctor").body["findings"])
    if why == "gone":
        history = old.history()
        says(old.call("upgrade"), 3, "was taken back")
        assert (current(old), old.history()) == (MODELS["4.0.0"], history)
        server.acts["/3.0.0"] = [good(MODELS["3.0.0"])]
        says(old.call("upgrade"), 3, "was taken back")
        assert (current(old), old.version()) == (MODELS["3.0.0"], "0003")
        assert (old.call("status").body["degraded"], old.call("verify").body["drift"]) == ([], [])
    old.down("base")
    assert current(old) is None


def test_a_newer_release_settles_what_a_way_back_lacked(old: HostFolder, server: FaultServer) -> None:
    """Its model takes the place of the one that could not be had: nothing is fetched for the older one."""
    old.call("prune", keep=0)
    old.down("0003", offline=True, allow_degraded=True)
    old.up(release_hold=True)
    assert (current(old), server.requests, old.call("status").body["degraded"]) == (MODELS["4.0.0"], [], [])
    server.acts["/3.0.0"] = [good(MODELS["3.0.0"])]
    old.down("0003")
    assert (current(old), old.call("status").body["degraded"]) == (MODELS["3.0.0"], [])


def test_no_link_ever_leads_to_a_pruned_generation(old: HostFolder) -> None:
    """Two steps back, and neither model can be had: what is current stays so, it is never a link to nothing."""
    old.call("prune", keep=0)
    report = old.down("0002", offline=True, allow_degraded=True)
    assert [bool(step["degraded"]) for step in report.body["steps"]] == [False, True]
    assert (old.version(), current(old)) == ("0002", MODELS["4.0.0"])
    old.down("base")
    assert current(old) is None


def test_a_link_of_the_users_is_not_replaced_by_a_retry(old: HostFolder) -> None:
    """Who has another model in place has it still after the way back, and after the boots that follow."""
    link = next(path for path in (old.root / "models").iterdir() if path.is_symlink())
    theirs = old.root / "models/theirs"
    theirs.mkdir()
    link.unlink()
    link.symlink_to("theirs")
    old.down("0003")
    assert old.call("status").body["degraded"] == []
    says(old.call("upgrade"), 3, "was taken back")
    assert link.readlink() == Path("theirs")


def test_a_revision_that_found_its_model_there_leaves_nothing_to_lack(old: HostFolder) -> None:
    """It took over what an older one had made current: its way back changes nothing there."""
    old.revision("0005", f'op.install_model("{NAME}", "4.0.0")')
    old.up()
    old.down("0004")
    assert (current(old), old.call("status").body["degraded"]) == (MODELS["4.0.0"], [])
