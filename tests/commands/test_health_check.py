"""An upgrade that leaves a host unwell takes itself back, holds what it took back, and says why."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.commands.trial import is_taken_back, promise, set_in_ini
from tests.conftest import HostFolder

FAILS = "echo it does not come up; exit 3"


def test_a_host_that_is_well_stays(two: HostFolder) -> None:
    """The check sees the new revision; its result is in the report, and nothing is left to be done."""
    line = 'test -d "$VIDEO_STORAGE_ROOT/third" && echo "$VV_REVISION $VV_AFFECTS"'
    report = two.up(verify_with=line)
    assert {name: report.body["health"][name] for name in ("command", "exit_code", "output")} == {
        "command": line,
        "exit_code": 0,
        "output": "0003 directories",
    }
    assert report.body["health"]["duration_s"] >= 0
    assert "reverted" not in report.body
    assert not promise(two).exists()


def test_a_host_that_is_not_well_is_taken_back(two: HostFolder) -> None:
    """Every step of the run goes back, newest first; exit 1, the output's tail, the reason in rows and holds."""
    before = two.tree()
    report = two.call("upgrade", "head", verify_with=FAILS)
    assert report.exit_code == 1
    assert report.error is not None
    assert report.error.message == "health check failed: it ended with 3"
    assert (report.body["from"], report.body["to"]) == ("0001", "0001")
    assert (report.body["health"]["exit_code"], report.body["health"]["output"]) == (3, "it does not come up")
    assert [step["revision"] for step in report.body["reverted"]] == ["0003", "0002"]
    is_taken_back(two, before, "health check failed: it ended with 3")
    assert two.sql("SELECT exit_code FROM vv_run ORDER BY seq DESC LIMIT 1") == [(1,)]
    next_day = two.call("upgrade", "head")
    assert (next_day.exit_code, next_day.body["held"][0]["revision"]) == (3, "0002")
    two.up(release_hold=True)
    assert two.version() == "0003"


def test_the_releases_own_check(two: HostFolder) -> None:
    """`health_check` of alembic.ini is asked at every upgrade that did something; --verify-with outranks it."""
    set_in_ini(two, f"health_check = {FAILS}")
    before = two.tree()
    assert two.call("upgrade", "head").exit_code == 1
    is_taken_back(two, before, "health check failed")
    assert "health" not in two.call("upgrade", "0001").body
    assert two.up(release_hold=True, verify_with="true").body["health"]["command"] == "true"
    assert two.call("upgrade", "head", verify_with="").exit_code == 2


def test_with_nothing_to_do_only_a_check_that_was_asked_for_runs(two: HostFolder) -> None:
    """A boot does not pay for the release's check; whoever names one gets its answer, and nothing is taken back."""
    two.up()
    set_in_ini(two, f"health_check = {FAILS}")
    assert "health" not in two.up().body
    before = two.history()
    report = two.call("upgrade", "head", verify_with=FAILS)
    assert (report.exit_code, report.body["health"]["exit_code"], report.body["steps"]) == (1, 3, [])
    assert (two.history(), two.version()) == (before, "0003")


def test_the_check_may_use_the_database(two: HostFolder) -> None:
    """No lock on the database is held while it runs; but another vvmigrate may not change the host."""
    ask = f"import sqlite3; sqlite3.connect({str(two.database)!r}, timeout=0).execute('BEGIN EXCLUSIVE')"
    locked = " ".join(map(shlex.quote, two.command("downgrade", "-1")))
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(ask)} && {{ {locked}; test $? = 5; }}"
    assert "another vvmigrate works here" in two.up(verify_with=line).body["health"]["output"]
    assert two.version() == "0003"


def test_a_check_that_takes_too_long_is_ended_with_all_that_it_began(two: HostFolder, tmp_path: Path) -> None:
    """The whole process group goes, also what ignores SIGTERM; then the run is taken back."""
    set_in_ini(two, "health_timeout = 1")
    before = two.tree()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    line = f"trap '' TERM; (exec 3<{fifo}; read nothing <&3; sleep 1000) & echo begun; exec 4>{fifo}; wait"
    report = two.call("upgrade", "head", verify_with=line)
    assert (report.exit_code, report.body["health"]["exit_code"]) == (1, None)
    assert report.body["health"]["output"] == "begun"
    is_taken_back(two, before, "health check failed: it took longer than 1 s")
    with pytest.raises(OSError, match="No such device"):  # nobody of the group has it open any more
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def test_a_check_that_leaves_something_running_is_not_waited_for(two: HostFolder, tmp_path: Path) -> None:
    """Its own end counts; what it printed without end is kept to the last of it."""
    number = tmp_path / "number"
    line = f"sleep 1000 & echo $! > {number}; head -c 300000 /dev/zero | tr '\\0' x; echo; echo well"
    report = two.up(verify_with=line)
    output = report.body["health"]["output"]
    assert output.endswith("x\nwell")
    assert len(output) <= 4096
    os.kill(int(number.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("line", ["exit 0; no such", "kill -9 $$", "no-such-command"])
def test_what_a_check_may_do(two: HostFolder, line: str) -> None:
    """Only exit code 0 is well; an end by a signal and a command that is not there are not."""
    report = two.call("upgrade", "head", verify_with=line)
    well = line.startswith("exit 0")
    assert (report.exit_code, two.version()) == ((0, "0003") if well else (1, "0001"))


# ---- a step that fails -----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(two: HostFolder) -> HostFolder:
    """The third of three pending revisions fails."""
    two.revision("0004", 'op.make_directories(["fourth"])\nraise ValueError("no")')
    return two


def test_on_failure_revert_run(broken: HostFolder) -> None:
    """The steps before the one that failed go back too; the error is the step's."""
    before = broken.tree()
    report = broken.call("upgrade", "head", on_failure="revert-run")
    assert report.exit_code == 1
    assert "no" in str(report.error)
    assert [step["revision"] for step in report.body["reverted"]] == ["0003", "0002"]
    is_taken_back(broken, before, "revision 0004 failed")
    assert broken.call("upgrade", "head").exit_code == 3


def test_on_failure_stop(broken: HostFolder) -> None:
    """Without the option, what happened before the failure stays."""
    assert broken.call("upgrade", "head", on_failure="stop").exit_code == 1
    assert (broken.version(), promise(broken).exists()) == ("0003", False)


def test_what_stopped_half_way_is_checked_all_the_same(broken: HostFolder) -> None:
    """A step failed, others had happened: the check decides whether these stay."""
    before = broken.tree()
    assert broken.call("upgrade", "head", verify_with="true").exit_code == 1
    assert broken.version() == "0003"
    broken.down("0001", no_hold=True)
    assert broken.call("upgrade", "head", verify_with=FAILS).exit_code == 1
    is_taken_back(broken, before, "health check failed")


def test_a_first_step_that_fails_leaves_nothing_to_be_done(two: HostFolder) -> None:
    """Nothing had happened: nothing is checked, nothing promised any more."""
    two.revision("0002", 'raise ValueError("no")')
    report = two.call("upgrade", "head", verify_with=FAILS, on_failure="revert-run", confirm_within="10m")
    assert (report.exit_code, "health" in report.body, promise(two).exists()) == (1, False, False)


def test_what_was_only_done_again_is_named(bare: HostFolder) -> None:
    """A revision that an earlier run applied is not this run's to take back: a warning, and exit 1 all the same."""
    bare.revision("0002", "op.merge_env()")
    bare.up()
    report = bare.call("upgrade", "head", values={"DVR_IP": "10.0.0.7"}, verify_with=FAILS, told=(events := []))
    assert (report.exit_code, bare.version(), "reverted" in report.body) == (1, "0002", False)
    assert any("only done again" in facts["text"] for event, facts in events if event == "warning")


def test_the_release_itself_goes_back_offline(host: HostFolder) -> None:
    """Directories, model, assets, .env, tables and signature: as before the upgrade, but for the store of models."""
    host.up("0001")
    host.sql("CREATE TABLE theirs (name TEXT)")
    before = host.tree()
    report = host.call("upgrade", "head", verify_with="test -s .env && exit 9", offline=True)
    assert (report.exit_code, report.body["health"]["exit_code"], host.version()) == (1, 9, "0001")
    assert (report.body["required_missing"], report.body["degraded"]) == ([], [])
    assert [step["revision"] for step in report.body["reverted"]] == ["0006", "0005", "0004", "0003", "0002"]
    kept = {path for path in host.tree() if path.startswith("storage/models")}
    assert {path: seen for path, seen in host.tree().items() if path not in kept} == {
        path: seen for path, seen in before.items() if path not in kept
    }
    assert not (host.root / "models/bitnet_summarizer").exists()
    again = host.up(release_hold=True, verify_with="true", offline=True)
    assert again.body["to"] == "0006"


@pytest.mark.parametrize("options", [{"verify_with": "true"}, {"confirm_within": "1m"}, {"on_failure": "revert-run"}])
def test_nothing_is_promised_that_cannot_be_kept(two: HostFolder, options: dict[str, str]) -> None:
    """A revision without a way back is refused before the first step; without conditions it is applied."""
    path = two.revision("0003", 'op.make_directories(["third"])')
    path.write_text(path.read_text().replace("def upgrade", 'irreversible = "rows are gone"\n\n\ndef upgrade'))
    report = two.call("upgrade", "head", **options)
    assert (report.exit_code, two.version(), promise(two).exists()) == (6, "0001", False)
    two.up()
