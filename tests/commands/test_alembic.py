"""Plain `alembic` in the release's folder goes through the same engine."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import BASELINE, HostFolder


def alembic(host: HostFolder, *arguments: str) -> subprocess.CompletedProcess[str]:
    return host.module("alembic", *arguments)


def test_alembic_upgrade_head_is_the_whole_upgrade(host: HostFolder) -> None:
    """`alembic upgrade head` makes directories, model and .env too, and every step is in the history."""
    done = alembic(host, "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert host.history() == [(revision, "up", "applied") for revision in BASELINE]
    assert (host.root / "models/bitnet_summarizer").is_symlink()
    assert (host.home / ".env").is_file()
    assert host.call("upgrade", "head").body["steps"] == []


def test_alembic_downgrade_takes_files_back_and_holds(host: HostFolder) -> None:
    """`alembic downgrade -1` undoes the files of the last revision, is recorded, and puts a hold like our own."""
    host.up()
    done = alembic(host, "downgrade", "-1")
    assert done.returncode == 0, done.stderr
    assert not (host.home / "vv-signature.json").exists()
    assert host.history()[-1] == ("0006", "down", "reverted")
    assert alembic(host, "upgrade", "head").returncode == 3


def test_alembic_downgrade_base_takes_everything_back(host: HostFolder) -> None:
    """`alembic downgrade base` is our downgrade base."""
    host.up()
    assert alembic(host, "downgrade", "base").returncode == 0
    assert host.version() == ""
    assert not (host.root / "input").exists()


@pytest.mark.parametrize("target", ["+1", "0001"])
def test_alembic_relative_and_named_targets_work(host: HostFolder, target: str) -> None:
    """Alembic's own revision syntax means the same."""
    assert alembic(host, "upgrade", target).returncode == 0
    assert host.version() == "0001"


def test_alembic_current_says_where_the_host_is_and_writes_nothing(host: HostFolder) -> None:
    """`alembic current` prints our revision, and makes nothing on a host that has nothing yet."""
    assert alembic(host, "current").returncode == 0
    assert not host.root.exists()
    host.up("0003")
    done = alembic(host, "current")
    assert (done.returncode, "0003" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    "arguments", [("upgrade", "head", "--sql"), ("downgrade", "0006:base", "--sql")], ids=["up", "down"]
)
def test_sql_scripts_are_refused_with_a_reason(host: HostFolder, arguments: tuple[str, ...]) -> None:
    """--sql would leave the files out: refused, saying so, no SQL printed, nothing changed."""
    done = alembic(host, *arguments)
    assert done.returncode != 0
    assert "--sql is refused" in done.stderr + done.stdout
    assert "CREATE TABLE" not in done.stdout
    assert not host.root.exists()


@pytest.mark.parametrize("revision", ["head", "0003", "base"])
def test_stamp_is_refused_with_a_reason(host: HostFolder, revision: str) -> None:
    """stamp would move the version without its effects: refused by alembic and by us, nothing changed."""
    host.up("0004")
    before = host.tree(), host.history()
    done = alembic(host, "stamp", revision)
    assert done.returncode != 0
    assert "without their effects" in done.stderr + done.stdout
    ours = host.run("stamp", revision)
    assert ours.returncode == 2
    assert "adopt" in ours.stdout + ours.stderr
    assert ((host.tree(), host.history()), host.version()) == (before, "0004")


def test_a_failing_revision_fails_alembic_too(bare: HostFolder) -> None:
    """A step that failed and was undone is exit 1 and a failed row, also under Alembic's own command."""
    bare.revision("0002", 'op.make_directories(["second"])\nraise RuntimeError("the camera is on fire")')
    done = alembic(bare, "upgrade", "head")
    assert done.returncode == 1
    assert "the camera is on fire" in done.stderr + done.stdout
    assert bare.history()[-1] == ("0002", "up", "failed")
    assert not (bare.root / "second").exists()


@pytest.mark.parametrize("arguments", [("check",), ("ensure_version",)], ids=lambda a: a[0])
def test_what_would_go_round_the_engine_changes_nothing(host: HostFolder, arguments: tuple[str, ...]) -> None:
    """Other verbs of Alembic's that touch a database neither work behind our back nor leave anything."""
    host.up("0002")
    before = host.tree(), host.history()
    alembic(host, *arguments)
    assert (host.tree(), host.history()) == before
