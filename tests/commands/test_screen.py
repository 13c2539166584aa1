"""What a terminal of 80 columns shows: nothing in the middle of a bar, no command cut in two, no word too much."""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import HostFolder
from vvmigrate.errors import RefusedError
from vvmigrate.report import Report
from vvmigrate.runs.work import nothing_done
from vvmigrate.text import Screen, listener, show

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in _CONTROL.sub("", text).splitlines()]


def shown(capsys: pytest.CaptureFixture[str], report: Report, *, verbose: bool = False) -> list[str]:
    """What a person reads of a report, both streams."""
    show(Screen("always", verbose=verbose), report)
    done = capsys.readouterr()
    return lines(done.out + done.err)


def test_whoever_breaks_off_is_not_told_that_there_was_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C at a question comes before the first step: nothing was done, and everything is still to be."""
    report = Report("upgrade", body=nothing_done())
    assert shown(capsys, report) == ["nothing to do: at base"]
    report.exit_code = 130
    assert shown(capsys, report) == []


def test_a_bar_is_gone_before_anything_else_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A step or a warning begins on a line of its own, and a warning of a step among its lines."""
    screen = Screen("always", to_stderr=True)
    tell = listener(screen)
    tell("progress", phase="verify", done=500, total=1000)
    tell("step_started", revision="0001", title="Storage directories", direction="repair")
    tell("progress", phase="extract", done=10, total=1000)
    tell("warning", text="look at this")
    tell("progress", phase="extract", done=20, total=1000)
    drawn = capsys.readouterr().err
    for words in ("~ 0001 Storage", "warning:"):
        before = _CONTROL.sub("", drawn[: drawn.index(words.split()[0])].rpartition("\x1b[2K")[2])
        assert before.strip() == "", before
    assert "    warning: look at this" in lines(drawn)
    assert sum("extract" in line for line in re.split(r"[\r\n]+", drawn)) >= 2  # it is drawn again


def test_a_command_is_whole_and_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """What is copied from the screen is the command, however narrow the screen is."""
    command = "vvmigrate upgrade head --storage-root /srv/a/rather/long/name --set VIDEO_STORAGE_ROOT=/srv/a"
    report = Report("upgrade")
    report.fail(
        RefusedError("where: " + "expected and found, " * 8, hint=f"if it is right: {command}; or: vvmigrate why X")
    )
    told = shown(capsys, report)
    assert told[0].startswith("error: where")
    assert all(line.startswith("    ") for line in told[1 : told.index("  if it is right:")])
    assert told[-4:] == ["  if it is right:", f"      {command}", "  or:", "      vvmigrate why X"]


def test_a_command_that_makes_tables_again_is_whole(worked: HostFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Statements in one argument stay in one line: half a command would be half a quoted text."""
    worked.sql("DROP TABLE stage_runs")
    told = shown(capsys, worked.call("doctor"))
    (command,) = [line for line in told if line.strip().startswith("sqlite3 ")]
    words = shlex.split(command)
    assert words[:2] == ["sqlite3", str(worked.database)]
    with closing(sqlite3.connect(words[1])) as connection:
        connection.executescript(words[2])
    assert worked.call("verify").exit_code == 0


def test_a_failure_in_the_history_has_the_whole_line(bare: HostFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """The error stands below its row, not in a column of what is left of the line."""
    bare.up()
    bare.revision("0002", "raise ValueError('word ' * 20)")
    title = bare.home / "migrations/versions/0002_test.py"
    title.write_text(title.read_text().replace("Test revision 0002", "Test revision with another title"))
    bare.call("upgrade")
    told = shown(capsys, bare.call("history"))
    at = next(number for number, line in enumerate(told) if " failed " in line)
    column = told[at].index("Test")
    assert told[at + 1][:column].strip() == ""
    assert told[at + 1].endswith(" title")
    at += 1
    assert told[at + 1].startswith("    ")
    assert len(told[at + 1]) > 60


def test_the_history_says_each_thing_once(worked: HostFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """`repaired`, not `repair repaired`."""
    (worked.root / "fallback/placeholder.png").unlink()
    worked.call("repair")
    told = shown(capsys, worked.call("history", effects=True), verbose=True)
    assert any(line.startswith("    repaired in") for line in told)
    assert not any("repair repaired" in line for line in told)


def test_a_failure_matters_until_the_same_revision_succeeds(
    bare: HostFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """`status` says when it was, and forgets it when it was overcome; every finding has its command."""
    bare.up()
    path = bare.revision("0002", "raise ValueError('no')")
    bare.call("upgrade")
    report = bare.call("status")
    told = shown(capsys, report)
    assert any(re.match(r"last failure  0002, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d:", line) for line in told), told
    assert "  vvmigrate upgrade head" in told
    path.write_text(path.read_text().replace("raise ValueError('no')", "pass"))
    bare.up()
    assert bare.call("status").body["last_failure"] is None


def test_several_keys_have_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    """Grammar, and one command for all of them."""
    lists: dict[str, Any] = {"steps": [], "affects": [], "degraded": [], "required_missing": ["A", "B"]}
    told = shown(capsys, Report("upgrade", body={**lists, "from": "", "to": ""}))
    assert told[-2:] == [
        "A, B have no value in .env. The system needs them:",
        "  vvmigrate upgrade head --set A=VALUE --set B=VALUE",
    ]


def test_a_typing_error_in_set_is_told(worked: HostFolder) -> None:
    """A key that the release does not know is added, as it was said, and the one that may be meant is named."""
    [step] = worked.up(values={"DVR_PI": "10.0.0.9"}).body["steps"]
    assert "DVR_PI is added, but .env.example has no such key: is DVR_IP meant?" in step["warnings"]
    assert not any("DVR_PI was missing" in text for text in step["warnings"])


def test_what_several_steps_say_alike_is_said_once(worked: HostFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that was changed three times stays once, and its file is named once."""
    for number in (1, 2, 3):
        worked.up(values={"DVR_IP": f"10.0.0.{number}"})
    report = worked.call("plan down", "0003")
    report.command = "plan"
    assert len([item for item in report.body["steps"][-1]["kept"] if "DVR_IP" in item["path"]]) > 1
    told = shown(capsys, report)
    text = " ".join(" ".join(told).split())
    assert text.count("DVR_IP: a person supplied its value") == 1, text
    assert not any(".env, .env" in line for line in told)


def test_what_is_not_as_it_was_left_stands_among_its_lines(
    worked: HostFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """`why` tells one life, indented below its path; and the way out is a command that a shell takes as it is."""
    path = worked.root / "fallback/placeholder.png"
    path.unlink()
    first, *told = shown(capsys, worked.call("why", str(path)))
    assert first == str(path) or str(path).startswith(first)
    assert all(line.startswith("  ") for line in told if line)
    assert any(line.strip() == f"vvmigrate repair {path}" for line in told)


def test_a_recovery_that_was_refused_does_not_say_that_nothing_waited(host: HostFolder) -> None:
    """Whoever reads only standard output would go home."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    assert host.run("recover").stdout == "nothing to recover\n"
    (host.root / ".vvmigrate").chmod(0o755)
    done = host.run("recover")
    assert (done.returncode, done.stdout) == (4, "")


def test_what_is_only_taken_over_is_not_shown_where_it_changes(host: HostFolder) -> None:
    """A plan of the way back says once what becomes of `.env`; its document has every change still."""
    for last in (20, 21):
        host.up(values={"DVR_IP": f"192.168.1.{last}"})
    path, plan = str(host.home / ".env"), ("downgrade", "base", "--plan")
    told = [line.split()[0] for line in lines(host.run(*plan).stdout) if path in line]
    assert told == ["place", "kept:"]
    changes = [change for step in host.json(*plan)["steps"] for change in step["changes"]]
    assert [change["action"] for change in changes if change["path"] == path] == ["adopt", "place file"]
