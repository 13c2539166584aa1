"""Whoever must restart services is told what was changed, at least once; the end of the chain goes elsewhere too."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from tests.crash import dying

TELL = (
    'echo "$VV_AFFECTS|$VV_REVISION|$VV_HOME|$VIDEO_STORAGE_ROOT" >> {told}; '
    "exit $(cat {told}.code 2>/dev/null || echo 0)"
)


@pytest.fixture
def told(bare: HostFolder, tmp_path: Path) -> Path:
    """Where the release's command writes what it is told."""
    path, ini = tmp_path / "told", bare.home / "alembic.ini"
    ini.write_text(f"{ini.read_text()}after_change = {TELL.format(told=path)}\n")
    return path


def lines(told: Path) -> list[str]:
    """What it was told, a line a call."""
    return [line.split("|")[0] for line in told.read_text().splitlines()] if told.exists() else []


def test_it_is_told_what_to_restart(bare: HostFolder, told: Path) -> None:
    """After an upgrade, a repair and a downgrade; with the revision and the folders; not when nothing was changed."""
    bare.revision("0002", "op.install_assets('fallback', 'fallback', ['placeholder.png'])")
    assert bare.up().body["after_change"]["exit_code"] == 0
    assert told.read_text().strip() == f"assets directories|0002|{bare.home}|{bare.root}"
    assert "after_change" not in bare.up().body
    (bare.root / "fallback/placeholder.png").unlink()
    bare.call("repair")
    bare.down("0001")
    assert lines(told) == ["assets directories", "assets", "assets"]
    assert not (bare.root / ".vvmigrate/changed").exists()


def test_it_may_call_vvmigrate_itself(bare: HostFolder, told: Path) -> None:
    """No lock is held any more, and the history has the run."""
    ini = bare.home / "alembic.ini"
    call = " ".join(bare.command("history", "--json"))
    ini.write_text("\n".join(x for x in ini.read_text().splitlines() if not x.startswith("after_change")))
    ini.write_text(f"{ini.read_text()}\nafter_change = {call} > {told}\n")
    assert bare.run("upgrade").returncode == 0
    assert [entry["revision"] for entry in json.loads(told.read_text())["entries"]] == ["0001"]


def test_below_itself_it_is_not_called(bare: HostFolder, told: Path) -> None:
    """It may confirm, or repair: whoever called it tells it, once, and what it changed itself is told to it later."""
    bare.revision("0002", "op.install_assets('fallback', 'fallback', ['placeholder.png'])")
    bare.up()
    told.unlink()
    ini = bare.home / "alembic.ini"
    again = f"test $(wc -l < {told}) -gt 2 || {{ rmdir {bare.root}/input; {' '.join(bare.command('repair'))}; }}"
    ini.write_text(ini.read_text().replace("exit $(", f"{again}; exit $("))
    (bare.root / "fallback/placeholder.png").unlink()
    assert bare.run("repair").returncode == 0
    assert lines(told) == ["assets"]
    assert bare.call("status").body["untold"] == ["assets", "directories"]
    assert (bare.root / "input").is_dir()


def test_what_it_could_not_be_told_is_told_again(bare: HostFolder, told: Path) -> None:
    """A failure is a warning with its last words, not the upgrade's; the next command that writes tries again."""
    Path(f"{told}.code").write_text("3")
    report = bare.call("upgrade", told=(events := []))
    assert (report.exit_code, report.body["after_change"]["exit_code"]) == (0, 3)
    assert any("after_change ended with 3" in facts["text"] for event, facts in events if event == "warning")
    Path(f"{told}.code").unlink()
    bare.up()
    bare.up()
    assert lines(told) == ["directories", "directories"]


def test_what_it_was_not_told_is_no_healthy_host(bare: HostFolder, told: Path) -> None:
    """Services were not restarted: status and doctor say so until the command that they name has told it."""
    Path(f"{told}.code").write_text("3")
    bare.up()
    Path(f"{told}.code").unlink()
    with nothing_changes(bare):
        report = bare.call("status")
        findings = [item for item in bare.call("doctor").body["findings"] if "after_change" in item["what"]]
    assert (report.exit_code, report.body["untold"]) == (3, ["directories"])
    assert "after_change was not told of: directories" in bare.run("status").stdout
    assert [item["remedy"].partition(",")[0] for item in findings] == ["vvmigrate upgrade head"]
    bare.up()
    assert (bare.call("status").body["untold"], lines(told)) == ([], ["directories", "directories"])


def test_a_health_check_may_ask_status_before_it_is_told(bare: HostFolder, told: Path) -> None:
    """What is restarted after the check must not fail the check."""
    bare.run("upgrade", "base")
    command = " ".join(bare.command("status"))
    report = bare.call("upgrade", verify_with=command)
    assert (report.exit_code, report.body["health"]["exit_code"]) == (0, 0)
    assert lines(told) == ["directories"]


@pytest.mark.parametrize("moment", dying.PROTOCOL, ids=lambda moment: moment.function)
def test_a_kill_does_not_hide_what_was_changed(bare: HostFolder, told: Path, moment: dying.Moment) -> None:
    """Whoever comes next settles the step, and tells what may have been changed."""
    bare.up()
    told.unlink()
    bare.revision("0002", "op.install_assets('fallback', 'fallback', ['placeholder.png'])")
    dying.crash(bare, moment, "upgrade")
    assert lines(told) == []
    bare.up()
    assert lines(told) == ["assets"]


def test_a_run_that_fails_tells_nothing(bare: HostFolder, told: Path) -> None:
    """What was undone needs no restart, and leaves no note."""
    bare.up()
    told.unlink()
    bare.revision("0002", "op.make_directories(['made'])\nraise ValueError('no')")
    assert bare.call("upgrade").exit_code == 1
    assert lines(told) == []
    assert not (bare.root / ".vvmigrate/changed").exists()


# ---- the end of the chain --------------------------------------------------------------------------------------------


def chain_end(host: HostFolder) -> tuple[int, str]:
    """Number and hash of the chain's last row."""
    anchor = json.loads((host.root / ".vvmigrate/anchor").read_text())
    return anchor["seq"], anchor["hash"]


def test_the_end_of_the_chain_is_in_the_log(bare: HostFolder) -> None:
    """Every run that is in the history; a copy of the log tells whether rows are missing."""
    bare.up()
    ends = [
        line
        for line in map(json.loads, (bare.home / "logs/bootstrap.log").read_text().splitlines())
        if line["event"] == "chain"
    ]
    assert [(line["seq"], line["hash"]) for line in ends] == [chain_end(bare)]


def test_the_end_of_the_chain_is_in_the_system_log(bare: HostFolder, syslog: socket.socket) -> None:
    """One line a run: who, what, how it ended, and the hash."""
    bare.up()
    seq, digest = chain_end(bare)
    while digest not in (line := syslog.recv(4096).decode()):
        pass  # another test's run: a system has one log
    assert "vvmigrate" in line
    assert f"history row {seq}, chain {digest}" in line


def test_a_silent_failure_is_told_without_a_gap(bare: HostFolder) -> None:
    """A command that prints nothing leaves no empty place in the sentence."""
    ini = bare.home / "alembic.ini"
    ini.write_text(f"{ini.read_text()}after_change = exit 3\n")
    told: list[tuple[str, dict[str, Any]]] = []
    bare.up(told=told)
    said = [facts["text"] for event, facts in told if event == "warning"]
    assert "after_change ended with 3; the next command that writes tells it again" in said
