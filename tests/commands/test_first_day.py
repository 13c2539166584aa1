"""Before anything was done: what only looks or takes back makes nothing, and a wrong root binds nobody for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder


@pytest.mark.parametrize("verb", ["repair", "confirm", "prune", "downgrade base", "downgrade -1"])
def test_a_command_without_anything_to_do_makes_no_host(bare: HostFolder, tmp_path: Path, verb: str) -> None:
    """Tried before the right root is named, it neither makes the wrong one nor binds to it."""
    bare.environ["VIDEO_STORAGE_ROOT"] = str(tmp_path / "wrong")
    with nothing_changes(bare):
        done = bare.run(*verb.split())
    assert done.returncode == (2 if verb == "downgrade -1" else 0), done.stderr
    assert not (tmp_path / "wrong").exists()
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    bare.up(storage_root=str(bare.root))


@pytest.mark.parametrize("verb", ["repair", "recover", "confirm", "prune", "downgrade"])
def test_a_root_of_another_home_is_refused_all_the_same(bare: HostFolder, verb: str) -> None:
    """A clone of the release folder does not say that all is well with somebody else's storage root."""
    bare.up()
    (bare.home / ".vvmigrate").rename(bare.home.parent / "away")
    says(bare.call(verb, *(["base"] if verb == "downgrade" else [])), 6, "another home", hint="adopt --storage-root")


@pytest.mark.parametrize("verb", ["fetch", "recover"])
def test_a_wrong_root_that_was_never_used_is_left(bare: HostFolder, tmp_path: Path, verb: str) -> None:
    """`fetch`, `recover` or a refused upgrade bound the wrong root: adopting the right one frees the host."""
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    assert bare.call(verb, storage_root=str(tmp_path / "wrong")).exit_code == 0
    says(bare.call("upgrade", storage_root=str(bare.root)), 6, "wrong", hint=f"adopt --storage-root {bare.root}")
    report = bare.call("adopt", storage_root=str(bare.root))
    assert (report.exit_code, report.body["left"][0]["revision"]) == (3, "0001")
    bare.up()
    assert (bare.root / "raw").is_dir()
    assert bare.call("doctor").exit_code == 0


def test_a_root_with_a_history_is_not_left(bare: HostFolder, tmp_path: Path) -> None:
    """Once anything was recorded there, only a root with the same ledger is the host's."""
    bare.up()
    (tmp_path / "empty").mkdir()
    says(bare.call("adopt", storage_root=str(tmp_path / "empty")), 6, "none: is its disk not mounted?")
