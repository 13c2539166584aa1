"""A model that a newer one of the same run had superseded: one release back it is needed, and nobody has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands.models import DATA, NAME, NEWER, current, generations, install, received, release
from tests.commands.proof import nothing_of_the_users_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status
from tests.crash.dying import Moment, crash
from vvmigrate.engine import recovery


@pytest.fixture
def fresh(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host that came up in one run, whose second model left the first out."""
    release(bare, "3.0.0", DATA, server.url("/old", good(DATA)))
    release(bare, "4.0.0", NEWER, server.url("/new", good(NEWER)))
    install(bare, "0002", "3.0.0")
    install(bare, "0003", "4.0.0")
    bare.up()
    assert ([request.target for request in server.requests], bare.call("status").exit_code) == (["/new"], 0)
    server.requests.clear()
    return bare


def lacking(host: HostFolder) -> list[str]:
    """The revisions that `status` and `doctor` say are degraded, and that make them findings."""
    found, doctor = host.call("status"), host.call("doctor")
    names = [item["revision"] for item in found.body["degraded"]]
    assert all(any(f"revision {name} is degraded" in f["what"] for f in doctor.body["findings"]) for name in names)
    assert not names or {found.exit_code, doctor.exit_code} == {3}
    return names


def forget(host: HostFolder, version: str) -> None:
    """Let the manifest know a version no more."""
    path = host.home / "model_manifest.json"
    found = json.loads(path.read_text())
    del found["models"][NAME][version]
    path.write_text(json.dumps(found))


def test_the_way_back_brings_it(fresh: HostFolder, server: FaultServer) -> None:
    """The plan says the bytes; the downgrade receives them first, and installs them behind the step back."""
    plan = fresh.call("plan down", "0002")
    assert (plan.body["network_bytes"], plan.body["cannot"], server.requests) == (len(DATA), [], [])
    assert [(step["revision"], step["direction"]) for step in plan.body["steps"]] == [("0003", "down"), ("0002", "up")]
    report = fresh.down("0002")
    assert (report.body["to"], report.body["degraded"], [hold["revision"] for hold in report.body["held"]]) == (
        "0002",
        [],
        ["0003"],
    )
    assert (current(fresh), lacking(fresh), received(fresh)) == (DATA, [], {})
    assert [request.target for request in server.requests] == ["/old"]
    assert fresh.call("verify").body["drift"] == []
    fresh.up(release_hold=True)
    assert current(fresh) == NEWER
    fresh.down("0002")
    assert (current(fresh), len(server.requests)) == (DATA, 1)
    fresh.down("0001")
    assert (current(fresh), generations(fresh)) == (None, ["3.0.0", "4.0.0"])


def test_what_goes_too_is_not_brought(fresh: HostFolder, server: FaultServer) -> None:
    """Further back nobody needs it."""
    fresh.down("0001")
    assert (current(fresh), generations(fresh), server.requests) == (None, ["4.0.0"], [])


@pytest.mark.parametrize("how", ["offline", "gone from the server"])
def test_where_it_cannot_be_had_nothing_is_taken_back_unless_that_is_wanted(
    fresh: HostFolder, server: FaultServer, how: str
) -> None:
    """Refused, or failed, with the newer model in place; `--allow-degraded` goes, and every upgrade tries again."""
    options: dict[str, Any] = {"offline": True} if how == "offline" else {}
    if how == "gone from the server":
        server.acts["/old"] = [status("404 Not Found")]
    with nothing_of_the_users_changes(fresh):
        report = fresh.call("downgrade", "0002", **options)
    if how == "gone from the server":
        says(report, 1, "404")
    else:
        says(report, 6, "0002 had left out", "3.0.0", hint="--allow-degraded")
        plan = fresh.call("plan down", "0002", **options)
        assert (plan.exit_code, [item["revision"] for item in plan.body["cannot"]]) == (6, ["0002"])
    assert (report.body["steps"], fresh.version(), current(fresh)) == ([], "0003", NEWER)
    report = fresh.down("0002", allow_degraded=True, **options)
    assert ([item["revision"] for item in report.body["degraded"]], lacking(fresh)) == (["0002"], ["0002"])
    assert (fresh.version(), current(fresh)) == ("0002", None)
    history = fresh.history()
    says(fresh.call("upgrade", **options), 3, "was taken back")
    assert fresh.history() == history
    server.acts["/old"] = [good(DATA)]
    says(fresh.call("upgrade"), 3, "was taken back")
    assert (lacking(fresh), current(fresh)) == ([], DATA)


def test_a_version_that_the_release_does_not_name_any_more_is_told_of(fresh: HostFolder, server: FaultServer) -> None:
    """The plan says that it will be missing; the way back is not refused, and the release that has it brings it."""
    forget(fresh, "3.0.0")
    plan = fresh.call("plan down", "0002")
    assert (plan.exit_code, [item["revision"] for item in plan.body["cannot"]]) == (3, ["0002"])
    assert "3.0.0" in plan.body["cannot"][0]["reason"]
    assert [item["revision"] for item in fresh.down("0002").body["degraded"]] == ["0002"]
    says(fresh.call("upgrade"), 3, "was taken back")
    assert (current(fresh), lacking(fresh)) == (None, ["0002"])
    release(fresh, "3.0.0", DATA, server.url("/old", good(DATA)))
    says(fresh.call("upgrade"), 3, "was taken back")
    assert (current(fresh), lacking(fresh)) == (DATA, [])


def test_a_kill_between_leaves_a_finding_and_the_next_upgrade_brings_it(fresh: HostFolder) -> None:
    """After the step back is committed and before the model is there the host says what it lacks."""
    crash(fresh, Moment(recovery, "finish"), "downgrade", "0002")
    fresh.call("recover")
    assert (fresh.version(), current(fresh), lacking(fresh)) == ("0002", None, ["0002"])
    says(fresh.call("upgrade"), 3, "was taken back")
    assert (current(fresh), lacking(fresh)) == (DATA, [])


def test_a_successor_that_fails_is_tried_again_and_settles_it(bare: HostFolder, server: FaultServer) -> None:
    """Until then the host lacks both, and says so; the older one is not fetched for that."""
    release(bare, "3.0.0", DATA, server.url("/old", good(DATA)))
    release(bare, "4.0.0", NEWER, server.url("/new", status("404 Not Found")))
    install(bare, "0002", "3.0.0")
    install(bare, "0003", "4.0.0")
    says(bare.call("upgrade"), 1, "404")
    assert lacking(bare) == ["0002"]
    server.acts["/new"] = [good(NEWER)]
    assert [step["revision"] for step in bare.up().body["steps"]] == ["0003"]
    assert (lacking(bare), current(bare), generations(bare)) == ([], NEWER, ["4.0.0"])


def test_another_step_of_the_revision_forgets_nothing(bare: HostFolder, server: FaultServer) -> None:
    """`--update-env` does a part of it again; what it had left out is still known."""
    release(bare, "3.0.0", DATA, server.url("/old", good(DATA)))
    release(bare, "4.0.0", NEWER, server.url("/new", good(NEWER)))
    bare.revision("0002", f'op.install_model("{NAME}", "3.0.0")\nop.merge_env()')
    install(bare, "0003", "4.0.0")
    bare.up()
    template = bare.home / ".env.example"
    template.write_text(template.read_text() + "\n# New.\nFRESH=yes\n")
    assert [step["revision"] for step in bare.up(update_env=True).body["steps"]] == ["0002"]
    template.write_text(template.read_text() + "\n# Newer.\nFRESHER=yes\n")
    bare.down("0002")
    assert (current(bare), lacking(bare)) == (DATA, [])
    assert "FRESHER" not in (bare.home / ".env").read_text()
