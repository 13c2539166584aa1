"""Odd surroundings: environment, terminal, signals, clock, crowded folders. The same words and codes everywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import Meeting, nothing_changes, nothing_of_the_users_changes, says
from tests.conftest import HostFolder
from vvmigrate.engine import actor

EMPTY = ("VV_APP_USER", "VV_APP_GROUP", "VV_DIR_MODE", "VV_DATABASE_TIMEOUT", "VV_HOME", "VV_MODEL_MIRROR", "HOME")
MAKES = "op.make_directories(['made_by_mistake'])"


# ---- environment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="LANG=C"),
        pytest.param({"LC_ALL": "xx_YY.nonsense"}, id="unknown-locale"),
        pytest.param({"TERM": "dumb", "COLUMNS": "5"}, id="narrow"),
        pytest.param({"TZ": "Pacific/Apia"}, id="far-time-zone"),
        pytest.param({"PATH": ""}, id="no-PATH"),
        pytest.param({"TMPDIR": "/nonexistent"}, id="no-TMPDIR"),
        pytest.param({"PYTHONWARNINGS": "error"}, id="warnings-are-errors"),
        pytest.param(
            dict.fromkeys(EMPTY, ""),
            id="empty-is-unset",
        ),
    ],
)
def test_a_host_comes_up_and_goes_back_in_odd_surroundings(host: HostFolder, environ: dict[str, str]) -> None:
    """Locale, time zone, terminal and empty settings change nothing of what is done."""
    up = host.run("upgrade", environ=environ)
    assert up.returncode == 0, up.stderr
    assert host.run("status", environ=environ).returncode == 3  # DVR_IP has no value
    assert (host.root / "input").stat().st_mode & 0o7777 == 0o775
    assert host.run("downgrade", "base", environ=environ).returncode == 0
    assert "Traceback" not in up.stderr


def test_a_host_comes_up_without_HOME(bare: HostFolder) -> None:  # noqa: N802 - it is called so
    """A systemd unit has no HOME: nothing needs it."""
    environ = {name: value for name, value in bare.environment().items() if name not in ("HOME", "USER", "LOGNAME")}
    done = subprocess.run(bare.command("upgrade"), cwd="/", env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_are_the_configured_ones_whatever_the_umask(host: HostFolder, umask: int) -> None:
    """Directories, assets, database and secrets get their modes from us, not from whoever calls."""
    assert host.run("upgrade", umask=umask).returncode == 0
    modes = {
        host.root: 0o775,
        host.root / "input": 0o775,
        host.database: 0o664,
        host.home / ".env": 0o600,
        host.home / ".vvmigrate": 0o700,
        host.root / ".vvmigrate": 0o700,
        host.root / ".vvmigrate/key": 0o600,
        host.root / "fallback/placeholder.png": 0o644,
    }
    assert {path: path.stat().st_mode & 0o7777 for path in modes} == modes


SETTINGS = [
    ({"VV_APP_USER": "no-such-user"}, 6, ["VV_APP_USER", "no-such-user"], "useradd"),
    ({"VV_APP_GROUP": "no-such-group"}, 6, ["VV_APP_GROUP", "no-such-group"], "groupadd"),
    ({"VV_DIR_MODE": "rwxr-xr-x"}, 2, ["VV_DIR_MODE", "octal", "rwxr-xr-x"], ""),
    ({"VV_DIR_MODE": "0999"}, 2, ["VV_DIR_MODE", "0999"], ""),
    ({"VV_DIR_MODE": "-1"}, 2, ["VV_DIR_MODE", "-1"], ""),
    ({"VV_DIR_MODE": "0"}, 2, ["VV_DIR_MODE"], ""),
    ({"VV_DIR_MODE": "17777"}, 2, ["VV_DIR_MODE", "17777"], ""),
    ({"VV_DATABASE_TIMEOUT": "soon"}, 2, ["VV_DATABASE_TIMEOUT", "soon"], ""),
    ({"VV_DATABASE_TIMEOUT": "nan"}, 2, ["VV_DATABASE_TIMEOUT", "nan"], ""),
    ({"VV_DATABASE_TIMEOUT": "inf"}, 2, ["VV_DATABASE_TIMEOUT", "inf"], ""),
    ({"VV_DATABASE_TIMEOUT": "-3"}, 2, ["VV_DATABASE_TIMEOUT", "-3"], ""),
    ({"VV_MODEL_VARIANT": "huge"}, 6, ["huge"], ""),
]


@pytest.mark.parametrize(("environ", "code", "words", "hint"), SETTINGS, ids=lambda value: str(value)[:40])
def test_a_setting_that_cannot_be_is_refused_by_name(
    host: HostFolder, environ: dict[str, str], code: int, words: list[str], hint: str
) -> None:
    """A setting with an impossible value is named with that value, and nothing is begun."""
    host.environ.update(environ)
    with nothing_of_the_users_changes(host):
        says(host.call("upgrade"), code, *words, hint=hint)


def test_an_alembic_ini_that_cannot_be_parsed_is_refused(bare: HostFolder) -> None:
    """A broken configuration file is named; nothing is begun."""
    (bare.home / "alembic.ini").write_text("[alembic\nx")
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, str(bare.home / "alembic.ini"))


@pytest.mark.parametrize("home", ["missing", "file", "no-ini"])
def test_a_home_that_is_none_is_refused(bare: HostFolder, tmp_path: Path, home: str) -> None:
    """`--home` must be a release folder."""
    (tmp_path / "file").touch()
    (tmp_path / "no-ini").mkdir()
    says(bare.call("upgrade", home=str(tmp_path / home)), 6, "alembic.ini", str(tmp_path / home))


# ---- streams ---------------------------------------------------------------------------------------------------------


REDIRECTS = (">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-", "> /dev/full", "| :", "--json | :")
SHORT = (">&-", "> /dev/full", "| :")
"""What a reader is tried with at every change; the rest is the same code as an upgrade's."""


@pytest.mark.parametrize(
    ("verb", "redirect"),
    [
        *(("upgrade", how) for how in REDIRECTS),
        *(pytest.param("status", how, marks=() if how in SHORT else pytest.mark.full) for how in REDIRECTS),
    ],
)
def test_nobody_has_to_listen(bare: HostFolder, verb: str, redirect: str) -> None:
    """Closed, full or broken output does not make a command fail that has done its work."""
    bare.up() if verb == "status" else None
    command = f'set -o pipefail; "$@" {verb} {redirect}'
    done = subprocess.run(
        ["bash", "-c", command, "bash", *bare.command()],
        cwd=bare.home,
        env=bare.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert bare.history() == [("0001", "up", "applied")]


def test_an_unwritable_log_is_a_warning(bare: HostFolder) -> None:
    """The log must not stop what it would tell of."""
    (bare.home / "logs").write_text("in the way")
    done = bare.run("upgrade")
    assert done.returncode == 0
    assert "no log is written" in done.stderr
    assert bare.run("upgrade", "--log-file", str(bare.home / "sub/x.log")).returncode == 0
    assert json.loads((bare.home / "sub/x.log").read_text().splitlines()[-1])["event"] == "run_ended"


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_interrupt_the_undoing(bare: HostFolder, tmp_path: Path, number: int) -> None:
    """Ctrl-C twice, by somebody impatient, leaves the host as it was, with the attempt recorded."""
    bare.up()
    meeting = Meeting(tmp_path)
    real = "op.get_bind().exec_driver_sql('PRAGMA database_list').fetchone()[2]"
    bare.revision("0002", f"{MAKES}\nif {real}:\n    {meeting.line}\n    while True: pass")
    before = bare.tree()
    with subprocess.Popen(
        bare.command("upgrade"), cwd=bare.home, env=bare.environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        meeting.wait()
        process.send_signal(number)
        process.send_signal(number)
        _, shown = process.communicate(timeout=60)
    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in shown
    assert bare.call("recover").exit_code == 0
    assert bare.tree() == before
    assert bare.history()[1:] == [("0002", "up", "interrupted")]


# ---- clock, crowds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [1970, 2200])
def test_a_clock_that_is_wrong_confuses_nothing(bare: HostFolder, monkeypatch: pytest.MonkeyPatch, year: int) -> None:
    """Order comes from the chain: a clock without a date, or one that jumps back, changes neither order nor codes."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(year, 1, 1, tzinfo=UTC)

    bare.up()
    with monkeypatch.context() as patch:
        patch.setattr(actor, "datetime", Clock)
        bare.revision("0002", "op.make_directories(['later'])")
        bare.up()
    bare.down("0001", no_hold=True)
    bare.up()
    assert [result for _, _, result in bare.history()] == ["applied", "applied", "reverted", "applied"]
    assert bare.call("history", verify=True).exit_code == 0


@pytest.mark.parametrize(("year", "what"), [(1970, "it has no date yet"), (2025, "it went back")])
def test_a_clock_that_jumped_back_is_a_warning(
    bare: HostFolder, monkeypatch: pytest.MonkeyPatch, year: int, what: str
) -> None:
    """Somebody should look at a clock that is behind the last row of the history."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(year, 1, 1, tzinfo=UTC)

    bare.up()
    monkeypatch.setattr(actor, "datetime", Clock)
    told: list[tuple[str, dict[str, Any]]] = []
    bare.revision("0002", "op.make_directories(['later'])")
    bare.up(told=told)
    assert any("clock" in facts["text"] and what in facts["text"] for event, facts in told if event == "warning")
    told.clear()
    bare.up(told=told)  # the newest row has the wrong time too by now; those before it have not
    assert any("clock" in facts["text"] and what in facts["text"] for event, facts in told if event == "warning")


def test_a_crowded_folder_is_neither_read_nor_touched(bare: HostFolder) -> None:
    """65,000 videos in input/ stay where they are, on the way up and on the way back."""
    crowd = bare.root / "input"
    crowd.mkdir(parents=True)
    for number in range(65_000):
        os.close(os.open(crowd / f"{number}.mp4", os.O_CREAT))
    bare.up()
    assert bare.call("status").exit_code == 0
    bare.down("base")
    assert len(os.listdir(crowd)) == 65_000
