"""An upgrade on trial: it stays if somebody confirms it in time, and goes back by itself if not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.commands.trial import BOOT_ID, another_time, is_taken_back, promise, set_in_ini
from tests.conftest import HostFolder
from vvmigrate import text
from vvmigrate.__main__ import plain_upgrade
from vvmigrate.engine.intention import CHECKING, REVERTING, STEPPING, WAITING, Intention, Moment, Verdict
from vvmigrate.report import Report
from vvmigrate.runs.settled import nothing_to_do


@pytest.fixture
def on_trial(two: HostFolder) -> HostFolder:
    """A host whose upgrade from 0001 to 0003 waits to be confirmed, ten minutes at most."""
    two.up(confirm_within="10m")
    return two


# ---- in time ---------------------------------------------------------------------------------------------------------


def test_a_confirmed_upgrade_stays(on_trial: HostFolder) -> None:
    """The report says what is waited for; `confirm` ends it, names the run, and is in the history of runs."""
    waiting = on_trial.call("status").body["confirm"]
    assert (waiting["state"], waiting["within_s"]) == ("waiting", 600)
    report = on_trial.call("confirm")
    assert (report.exit_code, report.body["confirmed"]["run_id"]) == (0, waiting["run_id"])
    assert not promise(on_trial).exists()
    assert (on_trial.version(), on_trial.call("status").body["confirm"]) == ("0003", None)
    assert on_trial.sql("SELECT command, exit_code FROM vv_run ORDER BY seq DESC LIMIT 1") == [("confirm", 0)]
    again = on_trial.call("confirm")
    assert (again.exit_code, again.body["confirmed"]) == (0, None)


def test_the_upgrade_says_how_long_it_waits(two: HostFolder) -> None:
    """Its report counts from the run's end."""
    confirm = two.up(confirm_within="2h").body["confirm"]
    assert (confirm["within_s"], confirm["state"]) == (7200, "waiting")
    assert 0 < confirm["left_s"] <= 7200
    assert promise(two).stat().st_mode & 0o777 == 0o600


def test_those_who_look_are_told(on_trial: HostFolder) -> None:
    """status and doctor: exit 3, the time left, and the command."""
    status = on_trial.call("status")
    assert status.exit_code == 3
    assert 0 < status.body["confirm"]["left_s"] <= 600
    found = [item for item in on_trial.call("doctor").body["findings"] if item["remedy"] == "vvmigrate confirm"]
    assert "waits to be confirmed" in found[0]["what"]


def shown(report: Report, capsys: pytest.CaptureFixture[str]) -> str:
    """What a person reads."""
    capsys.readouterr()
    text.show(text.Screen("never"), report)
    return " ".join(capsys.readouterr().out.split())


def test_people_are_told_what_to_do(two: HostFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """The time left as people say it, the command, what was taken back, and what the check printed."""
    failed = shown(two.call("upgrade", "head", verify_with="echo no picture; false"), capsys)
    assert "no picture" in failed
    assert "0003 was taken back, and held: health check failed: it ended with 1" in failed
    upgraded = shown(two.up(release_hold=True, confirm_within="1d"), capsys)
    assert "taken back in 24 h 0 min unless you say: vvmigrate confirm" in upgraded
    assert "waits to be confirmed" in shown(two.call("status"), capsys)
    assert "stays" in shown(two.call("confirm"), capsys)
    assert shown(two.call("confirm"), capsys) == "nothing to confirm"


def test_a_boot_that_has_nothing_to_do_takes_the_long_way(on_trial: HostFolder) -> None:
    """An upgrade with nothing to do is no doubt about the trial, and does not end it."""
    assert on_trial.up().body["steps"] == []
    assert promise(on_trial).exists()
    assert nothing_to_do({"home": str(on_trial.home)}, on_trial.environment(), on_trial.home) is None
    on_trial.call("confirm")
    on_trial.up()
    assert nothing_to_do({"home": str(on_trial.home)}, on_trial.environment(), on_trial.home) is not None
    for option in ("--verify-with=true", "--confirm-within=1m", "--on-failure=stop"):
        assert plain_upgrade(["upgrade", option]) is None
        assert plain_upgrade(["upgrade", *option.split("=")]) is None


def test_nothing_is_built_upon_a_trial(on_trial: HostFolder) -> None:
    """An upgrade that has something to do, and prune, are refused; a way back by hand ends the trial."""
    on_trial.revision("0004", 'op.make_directories(["fourth"])')
    for verb in ("upgrade", "prune"):
        report = on_trial.call(verb)
        assert report.exit_code == 6
        assert "waits to be confirmed" in str(report.error)
    on_trial.down("0002", no_hold=True)
    assert promise(on_trial).exists()
    on_trial.down("0001", no_hold=True)
    assert not promise(on_trial).exists()
    on_trial.up()


def test_with_nothing_to_do_there_is_no_trial(two: HostFolder) -> None:
    """An upgrade that changes nothing waits for nobody."""
    two.up()
    assert "confirm" not in two.up(confirm_within="10m").body
    assert not promise(two).exists()


@pytest.mark.parametrize("span", ["", "0s", "10", "m", "-5m", "8d", "1.5h", "ten minutes"])
def test_a_time_that_is_none_is_refused(two: HostFolder, span: str) -> None:
    """Usage, exit 2, before anything is done."""
    report = two.call("upgrade", "head", confirm_within=span)
    assert (report.exit_code, two.version()) == (2, "0001")


def test_a_check_that_fails_ends_the_trial_at_once(two: HostFolder) -> None:
    """Who does not pass the check need not be confirmed."""
    before = two.tree()
    assert two.call("upgrade", "head", confirm_within="10m", verify_with="false").exit_code == 1
    is_taken_back(two, before, "health check failed")


# ---- too late --------------------------------------------------------------------------------------------------------


def test_when_the_time_is_over_it_goes_back(two: HostFolder) -> None:
    """Not a second before; then `recover`, which the shipped timer calls, takes it back, holds it, and says why."""
    before = two.tree()
    two.up(confirm_within="10m")
    assert another_time(two, "recover", later_s=500)["settled"] == []
    assert two.version() == "0003"
    done = another_time(two, "recover", later_s=700)
    assert (done["exit_code"], done["settled"]) == (
        0,
        [f"revision {number} was taken back: not confirmed within 600 s" for number in ("0003", "0002")],
    )
    is_taken_back(two, before, "not confirmed within 600 s")
    assert two.call("recover").body["settled"] == []
    assert two.call("upgrade", "head").exit_code == 3


def test_a_confirm_that_comes_too_late(on_trial: HostFolder) -> None:
    """It does not turn what is overdue into what was confirmed: exit 1, and the run is taken back."""
    done = another_time(on_trial, "confirm", later_s=700)
    assert (done["exit_code"], done["confirmed"]) == (1, None)
    assert "too late: 0003, 0002 was taken back" in done["error"]["message"]
    assert on_trial.version() == "0001"


def test_a_reboot_without_a_confirm_takes_it_back(two: HostFolder) -> None:
    """The boot's own upgrade does it, before anything starts, and stops below what is held: exit 3."""
    before = two.tree()
    two.up(confirm_within="2h")
    assert another_time(two, "upgrade", "head", rebooted=True)["exit_code"] == 3
    is_taken_back(two, before, "not confirmed before the machine was started again")


def test_a_real_process_after_a_reboot(two: HostFolder, root_only: None, tmp_path: Path) -> None:
    """The same with the command line, and with no network at all."""
    before = two.tree()
    two.up(confirm_within="2h")
    (tmp_path / "boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
    mount = f'mount --bind {tmp_path}/boot_id {BOOT_ID} && exec "$@"'
    done = two.run("upgrade", "head", within=["unshare", "--mount", "--net", "sh", "-c", mount, "sh"])
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 3
    assert "not confirmed before the machine was started again" in done.stdout
    is_taken_back(two, before, "not confirmed before the machine was started again")


def test_the_package_that_was_rolled_back_takes_it_back(two: HostFolder, tmp_path: Path) -> None:
    """The revisions are gone from the release; the recorded sources do."""
    before_release = shutil.copytree(two.home / "migrations/versions", tmp_path / "versions")
    before = two.tree()
    two.up(confirm_within="2h")
    for name in ("0002_test.py", "0003_test.py"):
        (two.home / f"migrations/versions/{name}").unlink()
    assert another_time(two, "recover", rebooted=True)["exit_code"] == 0
    shutil.copytree(before_release, two.home / "migrations/versions", dirs_exist_ok=True)
    is_taken_back(two, before, "not confirmed before")


def test_whoever_counts_steps_back_counts_from_where_the_host_was(on_trial: HostFolder) -> None:
    """downgrade -1, after the host went back by itself, does not take back what nobody meant."""
    done = another_time(on_trial, "downgrade", "-1", rebooted=True)
    assert (done["exit_code"], done["to"], on_trial.version()) == (0, "0001", "0001")


def test_what_is_finally_changed_is_told(two: HostFolder, tmp_path: Path) -> None:
    """after_change is called once, after the way back, with the revision that the host is at then."""
    told = tmp_path / "told"
    set_in_ini(two, f'after_change = echo "$VV_AFFECTS $VV_REVISION" >> {told}')
    assert two.call("upgrade", "head", verify_with="false").exit_code == 1
    assert told.read_text() == "directories 0001\n"


# ---- the rule --------------------------------------------------------------------------------------------------------

WAITS = Intention("run", "root", "then", WAITING, within_s=60, boot_id="a", since_s=100)


@pytest.mark.parametrize(
    ("found", "now", "verdict"),
    [
        (WAITS, Moment("a", 100), None),
        (WAITS, Moment("a", 159.9), None),
        (WAITS, Moment("a", 160), Verdict("not confirmed within 60 s", hold=True)),
        (WAITS, Moment("b", 130), Verdict("not confirmed before the machine was started again", hold=True)),
        (WAITS, Moment("a", 10), Verdict("not confirmed before the machine was started again", hold=True)),
        (Intention("run", "root", "then", STEPPING), Moment("a", 0), Verdict("the run was interrupted", hold=False)),
        (
            Intention("run", "root", "then", CHECKING),
            Moment("a", 0),
            Verdict("health check failed: it never came to its end", hold=True),
        ),
        (
            Intention("run", "root", "then", REVERTING, reason="because", hold=True),
            Moment("b", 0),
            Verdict("because", hold=True),
        ),
    ],
)
def test_what_becomes_of_an_intention(found: Intention, now: Moment, verdict: Verdict | None) -> None:
    """A pure rule of what was promised, the boot and the seconds since: no clock with a date is asked."""
    assert found.due(now) == verdict
