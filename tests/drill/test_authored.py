"""The drill's releases as an author has them proved: pytest-alembic's own tests, and `check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from pytest_alembic import tests as theirs
from pytest_alembic.config import Config as TheirConfig
from pytest_alembic.runner import runner
from sqlalchemy import create_engine

from tests.conftest import HostFolder
from tests.drill.releases import Release

NAMES = ("1.0", "1.1", "1.2")


@pytest.fixture
def host(tmp_path: Path) -> HostFolder:
    """A host without any release yet."""
    (tmp_path / "home").mkdir(mode=0o755)
    return HostFolder(tmp_path / "home", tmp_path / "storage")


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_pytest_alembics_own_tests_pass(
    host: HostFolder, releases: dict[str, Release], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One head; base to head; each revision up, down and up again, as a part of the way to the head."""
    releases[name].install(host)
    for key, value in host.environment().items():
        monkeypatch.setenv(key, value)
    told = {"release_hold": True, "toward": "head"}
    config = TheirConfig.from_raw_config(Config(host.home / "alembic.ini", attributes={"vvmigrate": told}))
    for test in (theirs.test_single_head_revision, theirs.test_upgrade, theirs.test_up_down_consistency):
        with runner(config, create_engine("sqlite://")) as context:
            test(context)
        if test is theirs.test_upgrade:
            assert host.version() == releases[name].revision
            host.down("base")
    tried = [(revision, direction) for revision, direction, _ in host.history()]
    assert tried.count((releases[name].revision, "up")) == 3
    assert host.call("history", verify=True).exit_code == 0


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_nothing(host: HostFolder, releases: dict[str, Release], name: str) -> None:
    """Pinned, with a way back, the back-fill too; that 1.2 is bad is nothing that a check could know."""
    releases[name].install(host)
    report = host.call("check")
    assert (report.exit_code, report.body["findings"], report.body["allowed"]) == (0, [], [])
