"""The units that install.sh puts into place: systemd accepts them, and they do at boot what they are for."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from vvmigrate.engine.host import STATE
from vvmigrate.engine.intention import NAME

UNITS = sorted((REPOSITORY / "deploy").iterdir())


def filled(unit: Path, folder: Path, program: Path) -> Path:
    """The unit as install.sh writes it."""
    text = unit.read_text().replace("@BIN@", str(program.parent)).replace("@HOME@", "/opt/a folder")
    text = text.replace("@MOUNTS@", r"opt-a\x20folder.mount opt.mount")
    assert "@" not in text
    (folder / unit.name).write_text(text)
    return folder / unit.name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_them(tmp_path: Path) -> None:
    """Not a word of complaint about any of them, also for a release on a path with blanks."""
    program = tmp_path / "vvmigrate"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    paths = [filled(unit, tmp_path, program) for unit in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "vvmigrate" in line]
    assert complaints == []


def test_the_upgrade_comes_before_the_services_and_a_hold_is_no_failure() -> None:
    """Ordered before the orchestrator and the containers; exit 3 counts as success; it never asks."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(REPOSITORY / "deploy/vvmigrate-upgrade.service")
    assert {"docker.service", "vv-orchestrator.service"} <= set(unit["Unit"]["Before"].split())
    assert unit["Service"]["SuccessExitStatus"] == "3"
    assert unit["Service"]["Type"] == "oneshot"
    assert "upgrade head --skip-existing --non-interactive" in unit["Service"]["ExecStart"]


def test_each_timer_has_its_service() -> None:
    """A timer without a service of its name would never do anything."""
    names = {unit.name for unit in UNITS}
    assert {name.replace(".timer", ".service") for name in names if name.endswith(".timer")} <= names


def test_the_watch_over_a_confirm_costs_nothing_where_none_is_waited_for() -> None:
    """Its service is started only where an intention lies in the home's state directory; a lock is no failure."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(REPOSITORY / "deploy/vvmigrate-confirm.service")
    assert unit["Unit"]["ConditionPathExists"] == f"@HOME@/{STATE}/{NAME}"
    assert unit["Service"]["SuccessExitStatus"] == "5"
    assert " recover " in unit["Service"]["ExecStart"]
