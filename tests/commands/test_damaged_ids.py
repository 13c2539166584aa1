"""What ties home, storage root and database together, damaged in one of them: the command that is named mends it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder, copy_release


def flip(path: Path) -> None:
    """One bit: what was a hex digit is another one, or none."""
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def other_id(path: Path) -> None:
    """A damaged digit that is still one: it looks like another home's."""
    bound = json.loads(path.read_text())
    digit = bound["ledger_id"][0]
    bound["ledger_id"] = ("0" if digit != "0" else "1") + bound["ledger_id"][1:]
    path.write_text(json.dumps(bound))


def typed(host: HostFolder, command: str, *more: str, **words: str) -> None:
    """Type a command of a hint, `vvmigrate` being the one that is tested."""
    for word, meant in words.items():
        command = command.replace(word, meant)
    for part in command.split(" && "):
        if part.startswith("vvmigrate "):
            done = host.run(*shlex.split(part)[1:], *more)
            assert done.returncode == 0, done.stderr
        else:
            subprocess.run(part, shell=True, check=True)


@pytest.mark.parametrize(
    "damage", [truncate, flip, lambda path: path.write_bytes(b"\xff\n"), lambda p: p.write_bytes(b"")]
)
def test_a_damaged_ledger_id_is_written_again(bare: HostFolder, damage: Callable[[Path], None]) -> None:
    """It is not another home's root: the database says whose it is, and no command leads in a circle."""
    bare.up()
    path = bare.root / ".vvmigrate/ledger_id"
    kept = path.read_bytes()
    damage(path)
    with nothing_changes(bare):
        for verb, options in (("upgrade", {}), ("status", {}), ("adopt", {"storage_root": str(bare.root)})):
            says(bare.call(verb, **options), 6, str(path), hint=kept.decode().strip())
        (found,) = bare.call("doctor").body["findings"]
    typed(bare, found["remedy"])
    assert path.read_bytes() == kept
    assert bare.call("doctor").exit_code == bare.call("upgrade").exit_code == 0


def test_a_ledger_id_that_cannot_be_read_is_moved_away(bare: HostFolder) -> None:
    """The hint is a command; then the next one says how to write the file again."""
    bare.up()
    link(bare.root / ".vvmigrate/ledger_id")
    for _ in range(2):
        (found,) = bare.call("doctor").body["findings"]
        typed(bare, found["remedy"].partition("; then")[0])
    assert bare.call("doctor").exit_code == 0


@pytest.mark.parametrize(
    "damage",
    [truncate, flip, link, other_id, lambda p: p.write_text('{"storage_root": 1, "ledger_id": []}')],
    ids=["truncated", "flipped", "link", "another id", "other kinds"],
)
def test_a_damaged_binding_is_made_again(bare: HostFolder, damage: Callable[[Path], None]) -> None:
    """Every command names the file and a command; a person takes the root over, and nothing is lost."""
    bare.up()
    path = bare.home / ".vvmigrate/root"
    damage(path)
    with nothing_changes(bare):
        for verb, options in (("upgrade", {}), ("status", {}), ("adopt", {"storage_root": str(bare.root)})):
            says(bare.call(verb, **options), 6, hint=f"mv {path} {path}.damaged.1 && vvmigrate adopt --storage-root")
        (found,) = bare.call("doctor").body["findings"]
    assert found["exit_code"] == 6
    command = f"mv {found['remedy'].rpartition('mv ')[2]}"
    typed(bare, command, "--yes", DIR=str(bare.root))
    assert os.path.lexists(f"{path}.damaged.1")
    assert bare.call("doctor").exit_code == bare.call("upgrade").exit_code == 0


def test_a_root_of_another_home_is_one_still(bare: HostFolder, tmp_path: Path) -> None:
    """Whose database has another id too is another home's, whatever this home's binding says."""
    bare.up()
    (tmp_path / "other").mkdir()
    other = copy_release(tmp_path / "other", "000[23456]*")
    other.up()
    bare.root.rename(tmp_path / "away")
    other.root.rename(bare.root)
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, "that of another home", hint="mount the disk")


def test_a_home_without_a_binding_takes_over_no_damaged_id(bare: HostFolder) -> None:
    """It would be bound to what no database has: the file comes back first, out of the database."""
    bare.up()
    path = bare.root / ".vvmigrate/ledger_id"
    kept = path.read_bytes()
    truncate(path)
    (bare.home / ".vvmigrate/root").unlink()
    done = bare.call("adopt", storage_root=str(bare.root), yes=True)
    says(done, 6, str(path), "32 hex digits", hint="sqlite3")
    assert done.error is not None
    path.write_bytes(kept)
    assert bare.call("adopt", storage_root=str(bare.root), yes=True).exit_code == 0


@pytest.mark.parametrize("verb", ["upgrade", "repair", "doctor"])
def test_a_home_without_its_binding_is_told_as_one(bare: HostFolder, verb: str) -> None:
    """No disk is to be mounted: every command says which file is missing, and how the root is this home's again."""
    bare.up()
    path = bare.home / ".vvmigrate/root"
    path.unlink()
    document = bare.json(verb)
    told = document["findings"][0] if verb == "doctor" else document["error"]
    assert f"{path} is missing" in (told["what"] if verb == "doctor" else told["message"])
    advice = told["remedy"] if verb == "doctor" else told["hint"]
    assert "mount" not in advice
    typed(bare, advice.rpartition("home's: ")[2], "--yes")
    assert bare.call("doctor").exit_code == 0
