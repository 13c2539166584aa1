"""Whatever is gone or in the way: doctor says what to do about it, and its command really mends it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder


@pytest.fixture
def up(bare: HostFolder) -> HostFolder:
    """A host with its first revision."""
    bare.up()
    return bare


def remedy(host: HostFolder) -> str:
    """What doctor names, of the one thing that it finds."""
    with nothing_changes(host):
        (found,) = host.call("doctor").body["findings"]
    assert found["remedy"]
    return str(found["remedy"])


def _linked(path: Path) -> None:
    moved = path.with_name(f"{path.name}.moved")
    path.rename(moved)
    path.symlink_to(moved.name)


def _lost(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_linked, _lost])
def test_a_database_that_is_no_file_is_moved_away(up: HostFolder, damage: Callable[[Path], None]) -> None:
    """Nothing is lost by it: what stood there has another name, and what holds is taken over."""
    damage(up.database)
    move, _, then = remedy(up).rpartition("lost: ")[2].partition(" && ")
    subprocess.run(shlex.split(move), check=True)
    assert up.run(*shlex.split(then)[1:], "--yes").returncode == 0
    assert (up.call("doctor").exit_code, up.version()) == (0, "0001")


def test_a_storage_root_that_became_a_link_is_adopted_where_it_is(up: HostFolder) -> None:
    """Somebody moved it to a larger disk and left a link, which is never followed: the binding is moved on purpose."""
    _linked(up.root)
    moved = str(up.root.with_name(f"{up.root.name}.moved"))
    assert "adopt --storage-root DIR" in remedy(up)
    up.environ["VIDEO_STORAGE_ROOT"] = moved
    says(up.call("upgrade"), 6, moved, hint=f"adopt --storage-root {moved}")
    assert up.run("adopt", "--storage-root", moved).returncode == 0
    assert up.call("doctor").exit_code == up.call("upgrade").exit_code == 0


def test_a_file_in_place_of_the_storage_root(up: HostFolder) -> None:
    """The same code and the same next step from every command."""
    up.root.rename(up.root.with_name("away"))
    up.root.write_text("")
    assert "put the folder back" in remedy(up)
    says(up.call("upgrade"), 6, str(up.root), hint="put the folder back")


def test_a_release_without_its_configuration(up: HostFolder) -> None:
    """It was not unpacked whole, or the wrong folder is named."""
    (up.home / "alembic.ini").unlink()
    assert "install the release there again" in remedy(up)


@pytest.mark.parametrize("text", ["pass(", "'no id'", "\0"])
def test_a_revision_that_is_none(up: HostFolder, text: str) -> None:
    """Who installs it and who writes it have each a next step."""
    (up.home / "migrations/versions/0002_none.py").write_text(text)
    assert remedy(up) == "install the release again; whoever writes it: vvmigrate check"


def test_no_remedy_is_empty(up: HostFolder) -> None:
    """What no error has a hint for is said to be mended, and looked at again."""
    (up.home / "alembic.ini").write_bytes(b"[vvmigrate\n")
    assert remedy(up) == "mend what it says, then: vvmigrate doctor"
