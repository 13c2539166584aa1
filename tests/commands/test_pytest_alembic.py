"""pytest-alembic's own tests, on the release's revisions and a whole host: files, model and ledger included.

They go through Alembic's functions and `env.py`, so each of their steps is one of the engine's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from pytest_alembic import tests as theirs
from pytest_alembic.config import Config as TheirConfig
from pytest_alembic.runner import MigrationContext, runner
from sqlalchemy import create_engine

from tests.commands.proof import nothing_changes
from tests.conftest import BASELINE, HostFolder


@pytest.fixture
def alembic_config(host: HostFolder, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The release's configuration; a revision that was taken back may return, since the tests go up again."""
    for name, value in host.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Alembic imports env.py by its path: not what is tried here
    return Config(host.home / "alembic.ini", attributes={"vvmigrate": {"release_hold": True}})


@pytest.fixture
def alembic_runner(alembic_config: Config, host: HostFolder) -> Iterator[MigrationContext]:
    """What pytest-alembic's tests work with, at base; it opens the orchestrator's database before its first step."""
    host.up("0001")
    host.down("base")
    engine = create_engine(f"sqlite:///{host.database}")
    with runner(TheirConfig.from_raw_config(alembic_config), engine) as context:
        yield context
    engine.dispose()


def test_there_is_one_head(alembic_runner: MigrationContext) -> None:
    """pytest-alembic: a single head."""
    theirs.test_single_head_revision(alembic_runner)


def test_every_revision_can_be_applied(alembic_runner: MigrationContext, host: HostFolder) -> None:
    """pytest-alembic: base to head; each of its steps is a step of ours, files included."""
    theirs.test_upgrade(alembic_runner)
    assert host.history()[2:] == [(revision, "up", "applied") for revision in BASELINE]
    assert (host.home / "vv-signature.json").is_file()


def test_every_revision_can_be_taken_back_and_applied_again(alembic_runner: MigrationContext, host: HostFolder) -> None:
    """pytest-alembic: one by one up, down, and up again; the host's files follow."""
    theirs.test_up_down_consistency(alembic_runner)
    tried = host.history()[2:]
    assert [number for number, direction, _ in tried if direction == "down"] == list(reversed(BASELINE))
    assert tried[-1][1:] == ("up", "applied")
    assert host.call("history", verify=True).exit_code == 0


def test_rows_live_through_the_steps_between(alembic_runner: MigrationContext, host: HostFolder) -> None:
    """pytest-alembic's runner stands where the host stands, and reaches the orchestrator's rows."""
    assert alembic_runner.current == "base"
    alembic_runner.migrate_up_to("0005")
    row = {"sha256": "0" * 64, "file_name": "a.mp4", "status": "processed", "first_seen": "2026-01-01T00:00:00Z"}
    alembic_runner.insert_into("processed_videos", row)
    alembic_runner.migrate_down_to("0004")
    alembic_runner.migrate_up_to("0005")
    assert alembic_runner.current == host.version() == "0005"
    assert host.sql("SELECT file_name FROM processed_videos") == [("a.mp4",)]


# ---- Alembic's functions, without pytest-alembic ---------------------------------------------------------------------


def test_alembics_functions_are_our_upgrade_and_downgrade(alembic_config: Config, host: HostFolder) -> None:
    """A program that calls `alembic.command` gets whole steps, and a hold stands unless it says otherwise."""
    command.upgrade(alembic_config, "+2")
    assert host.version() == "0002"
    command.downgrade(alembic_config, "-1")
    assert host.history()[-1] == ("0002", "down", "reverted")
    alembic_config.attributes.clear()
    with pytest.raises(CommandError, match="0002"):
        command.upgrade(alembic_config, "head")
    command.upgrade(alembic_config, "0001")
    assert host.version() == "0001"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("stamp", {"revision": "head"}), ("check", {}), ("revision", {"autogenerate": True, "message": "x"})],
    ids=["stamp", "check", "revision"],
)
def test_functions_that_would_go_round_the_engine_are_refused(
    alembic_config: Config, host: HostFolder, name: str, arguments: dict[str, Any]
) -> None:
    """They move versions without effects, or ask for the database itself: refused, nothing changed."""
    host.up("0001")
    with nothing_changes(host), pytest.raises(CommandError):
        getattr(command, name)(alembic_config, **arguments)


def test_a_step_that_fails_is_an_error_of_alembics(bare: HostFolder, alembic_config: Config) -> None:
    """The error says what happened, and the process of the caller goes on."""
    bare.revision("0002", "raise RuntimeError('the camera is on fire')")
    with pytest.raises(CommandError, match="the camera is on fire"):
        command.upgrade(alembic_config, "head")
    assert bare.version() == "0001"
