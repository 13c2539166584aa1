"""A model that cannot be had: the step fails, or happens without it and is tried again, as release and caller say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.commands.models import DATA, NAME, NEWER, archive, current, generations, install, received, release
from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import Act, FaultServer, body, good, silent, stalled, status, truncated
from vvmigrate.operations import supply
from vvmigrate.runs.forecast import open_workplace
from vvmigrate.runs.opening import Call

GONE = status("404 Not Found")
BROKEN = archive(DATA)[:-20]

TROUBLES: dict[str, tuple[bytes, str, list[Act], int, str]] = {
    "no such file": (DATA, "file", [GONE], 1, "404"),
    "other bytes": (DATA, "file", [good(NEWER)], 7, "SHA-256 is"),
    "a broken archive": (BROKEN, "tar.gz", [good(BROKEN)], 7, "cut off"),
}


@pytest.fixture(params=TROUBLES)
def trouble(request: pytest.FixtureRequest, bare: HostFolder, server: FaultServer) -> tuple[HostFolder, int, str]:
    """A host whose second revision installs a model that cannot be had; the code and a word of the error."""
    data, kind, acts, code, word = TROUBLES[request.param]
    release(bare, "2.0.0", data, server.url("/model", *acts), format=kind)
    install(bare, "0002", "2.0.0")
    bare.up("0001")
    return bare, code, word


def optional(host: HostFolder) -> None:
    """Let the manifest say that the host is up without version 2.0.0."""
    path = host.home / "model_manifest.json"
    found = json.loads(path.read_text())
    found["models"][NAME]["2.0.0"]["required"] = False
    path.write_text(json.dumps(found))


def test_a_required_model_that_cannot_be_had_fails_its_step(trouble: tuple[HostFolder, int, str]) -> None:
    """The default: the step fails with the code of its reason, and the host is as before that step."""
    host, code, word = trouble
    before = host.tree()
    report = host.call("upgrade")
    says(report, code, word)
    assert (host.tree(), host.version()) == (before, "0001")
    assert [step["result"] for step in report.body["steps"]] == ["failed"]


@pytest.mark.parametrize("said_by", ["manifest", "option", "alembic.ini"])
def test_a_model_that_may_be_missing_degrades_its_step(trouble: tuple[HostFolder, int, str], said_by: str) -> None:
    """The rest goes on: the version moves, history, report and status say degraded and why, exit 0 and 3."""
    host, _, word = trouble
    options = {"allow_degraded": True} if said_by == "option" else {}
    if said_by == "manifest":
        optional(host)
    if said_by == "alembic.ini":
        ini = host.home / "alembic.ini"
        ini.write_text(ini.read_text().replace("[vvmigrate]\n", "[vvmigrate]\nallow_degraded = yes\n"))
    host.revision("0003", 'op.make_directories(["beyond"])')
    report = host.up(**options)
    assert host.history()[-2:] == [("0002", "up", "degraded"), ("0003", "up", "applied")]
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
    assert word in report.body["degraded"][0]["reason"]
    assert (host.version(), current(host), (host.root / "beyond").is_dir()) == ("0003", None, True)
    shown = host.call("status")
    assert (shown.exit_code, shown.body["degraded"]) == (3, report.body["degraded"])
    assert not list((host.root / ".vvmigrate/staging").iterdir())


def test_every_later_upgrade_tries_again_until_it_succeeds(bare: HostFolder, server: FaultServer) -> None:
    """A retry that fails leaves no trace; one that succeeds is recorded, going on where the first one stopped."""
    digest = release(bare, "2.0.0", DATA, server.url("/model", truncated(DATA, 300_000), GONE))
    install(bare, "0002", "2.0.0")
    bare.up(allow_degraded=True)
    before, runs, half = bare.history(), bare.sql("SELECT count(*) FROM vv_run"), received(bare)[digest]
    assert len(half) >= 262_144
    for _ in range(2):
        server.requests.clear()
        report = bare.up()
        assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
        assert server.requests[0].start == len(half)
    assert (bare.history(), bare.sql("SELECT count(*) FROM vv_run")) == (before, runs)
    server.acts["/model"] = [good(DATA)]
    report = bare.up()
    assert (report.body["degraded"], bare.history()[-1], current(bare)) == ([], ("0002", "up", "applied"), DATA)
    assert (bare.call("status").exit_code, received(bare)) == (0, {})
    assert bare.up().body["steps"] == []
    bare.down("base")
    assert current(bare) is None


def test_a_failed_update_leaves_the_earlier_version_current(bare: HostFolder, server: FaultServer) -> None:
    """Degraded or failed: the summariser keeps the model that it has."""
    release(bare, "2.0.0", DATA, server.url("/old", good(DATA)))
    release(bare, "3.0.0", NEWER, server.url("/new", GONE))
    install(bare, "0002", "2.0.0")
    bare.up()
    install(bare, "0003", "3.0.0")
    assert bare.call("upgrade").exit_code == 1
    assert current(bare) == DATA
    bare.up(allow_degraded=True)
    assert (current(bare), generations(bare)) == (DATA, ["2.0.0"])
    bare.down("0002")
    assert current(bare) == DATA


def test_a_retry_does_not_put_an_older_model_in_the_place_of_a_newer(bare: HostFolder, server: FaultServer) -> None:
    """A degraded step whose model a later revision has replaced is settled without fetching anything."""
    release(bare, "2.0.0", DATA, server.url("/old", GONE))
    release(bare, "3.0.0", NEWER, server.url("/new", good(NEWER)))
    install(bare, "0002", "2.0.0")
    bare.up(allow_degraded=True)
    install(bare, "0003", "3.0.0")
    server.acts["/old"] = [good(DATA)]
    server.requests.clear()
    report = bare.up()
    assert (report.body["degraded"], current(bare), generations(bare)) == ([], NEWER, ["3.0.0"])
    assert {request.target for request in server.requests} == {"/new"}
    assert bare.up().body["steps"] == []


def test_a_run_asks_once_for_a_model_that_several_steps_want(bare: HostFolder, server: FaultServer) -> None:
    """What could not be had a moment ago is not asked for again in the same run."""
    release(bare, "2.0.0", DATA, server.url("/model", GONE))
    install(bare, "0002", "2.0.0")
    bare.up(allow_degraded=True)
    first = len(server.requests)
    bare.revision("0003", f'op.install_model("{NAME}", "2.0.0")\nop.make_directories(["beyond"])')
    server.requests.clear()
    bare.up(allow_degraded=True)
    assert len(server.requests) == first
    assert (bare.root / "beyond").is_dir()


def test_a_bad_manifest_is_refused_whatever_may_be_missing(trouble: tuple[HostFolder, int, str]) -> None:
    """A manifest that is wrong is the release's fault, not the network's: exit 6 before the first write."""
    host, _, _ = trouble
    (host.home / "model_manifest.json").write_text("{}")
    before = host.history()
    says(host.call("upgrade", "head", allow_degraded=True), 6, "model_manifest.json")
    assert host.history() == before


def test_offline_an_optional_model_is_degraded_without_asking(bare: HostFolder, server: FaultServer) -> None:
    """A host without network comes up without the model that it may lack."""
    release(bare, "2.0.0", DATA, server.url("/model", good(DATA)), required=False)
    install(bare, "0002", "2.0.0")
    report = bare.up(offline=True)
    assert "not on this host" in report.body["degraded"][0]["reason"]
    assert (bare.history()[-1], server.requests) == (("0002", "up", "degraded"), [])
    with nothing_changes(bare):
        bare.up(offline=True)
    bare.up()
    assert (current(bare), bare.call("status").exit_code) == (DATA, 0)


# ---- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [silent, stalled(DATA, 300_000)], ids=["never answers", "stops"])
def test_a_retry_ends_when_its_time_is_over(bare: HostFolder, server: FaultServer, act: Act) -> None:
    """A server that accepts and falls silent does not hold a boot up: after the time that was set the run goes on."""
    release(bare, "2.0.0", DATA, server.url("/model", GONE))
    install(bare, "0002", "2.0.0")
    bare.up(allow_degraded=True)
    server.acts["/model"] = [act]
    bare.environ["VV_DELIVERY_TIMEOUT"] = "0.2"
    bare.revision("0003", 'op.make_directories(["beyond"])')
    report = bare.up()
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
    assert (bare.root / "beyond").is_dir()


def test_the_time_counts_for_a_first_installation_too_where_it_is_set(bare: HostFolder, server: FaultServer) -> None:
    """With VV_DELIVERY_TIMEOUT a required model that does not come in time fails its step."""
    release(bare, "2.0.0", DATA, server.url("/model", silent))
    install(bare, "0002", "2.0.0")
    bare.environ["VV_DELIVERY_TIMEOUT"] = "0.2"
    says(bare.call("upgrade"), 1, "time allowed for the download is over")


@pytest.mark.parametrize("value", ["-1", "soon", "1e9"])
def test_a_time_that_is_none_is_a_usage_error(bare: HostFolder, value: str) -> None:
    """A setting that cannot be understood is never taken for another one."""
    bare.environ["VV_DELIVERY_TIMEOUT"] = value
    says(bare.call("upgrade"), 2, "VV_DELIVERY_TIMEOUT", repr(value))


def test_people_are_told(bare: HostFolder, server: FaultServer) -> None:
    """The command line: exit 0, a warning on standard error that names the reason, and nothing of the URL's query."""
    url = server.url("/model", body(b"Not here", line="403 Forbidden"))
    release(bare, "2.0.0", DATA, f"{url}?token=secret")
    install(bare, "0002", "2.0.0")
    done = bare.run("upgrade", "--allow-degraded")
    assert done.returncode == 0, done.stderr
    assert "degraded" in done.stderr
    assert "403" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_only_a_retry_has_an_end_of_its_own(bare: HostFolder) -> None:
    """Without a setting a first installation takes its time; retries share 300 seconds, so that a boot goes on."""
    bare.up()
    call = Call("status", {"home": str(bare.home)}, environ=bare.environment(), folder=bare.home)
    settings, session = call.read()
    with session:
        first = open_workplace(call, settings, session).situation(session.host)
        retry = replace(first, retry=True)
        assert supply.pace(first).deadline is None
        pace = supply.pace(retry)
        assert 0 < pace.left_s() <= 300
        assert supply.pace(retry).deadline == pace.deadline
        forever = replace(retry, settings=settings._replace(delivery_timeout_s=0.0), memory={})
        assert supply.pace(forever).deadline is None


def test_a_kill_while_a_model_is_had_in_vain_is_recovered(bare: HostFolder, server: FaultServer) -> None:
    """Killed between staging and the second look: nothing was sealed, so nothing has to be undone."""
    code = (
        "import os, signal\n"
        "from vvmigrate.engine import stage\n"
        "real = stage.sweep\n"
        "def dying(host):\n"
        "    if os.listdir(f'{host.private.path}/staging'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(host)\n"
        "stage.sweep = dying\n"
        "from vvmigrate.cli import main\n"
        "main()\n"
    )
    release(bare, "2.0.0", DATA, server.url("/model", GONE))
    bare.revision("0002", f'op.make_directories(["made"])\nop.install_model("{NAME}", "2.0.0")')
    bare.up("0001")
    before = bare.tree()
    command = [sys.executable, "-c", code, "--home", str(bare.home), "upgrade", "--allow-degraded"]
    done = subprocess.run(command, env=bare.environment(), cwd=bare.home, capture_output=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (bare.tree(), bare.version()) == (before, "0001")
    assert bare.call("recover").exit_code == 0
    assert bare.history()[-1] == ("0002", "up", "interrupted")
    bare.up(allow_degraded=True)
    assert bare.history()[-1] == ("0002", "up", "degraded")
    assert (bare.root / "made").is_dir()


def test_a_degraded_step_that_cannot_be_tried_again_holds_nothing_up(
    bare: HostFolder, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recorded source does not import with a later package: a warning, and what is pending is applied."""
    monkeypatch.syspath_prepend(str(bare.home))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    release(bare, "2.0.0", DATA, server.url("/model", GONE), required=False)
    module = bare.home / "words_of_1_1.py"
    module.write_text("")
    bare.revision("0002", f'op.install_model("{NAME}", "2.0.0")', imports=f"import {module.stem}")
    bare.up()
    assert bare.history()[-1] == ("0002", "up", "degraded")
    module.unlink()
    del sys.modules[module.stem]
    install(bare, "0002", "2.0.0")
    bare.revision("0003", 'op.make_directories(["beyond"])')
    told: list[tuple[str, dict[str, object]]] = []
    report = bare.up(told=told)
    assert (bare.version(), (bare.root / "beyond").is_dir()) == ("0003", True)
    assert any(module.stem in str(facts["text"]) for event, facts in told if event == "warning")
    assert [item["revision"] for item in report.body["degraded"]] == ["0002"]
