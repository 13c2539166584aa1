"""A rehearsal with `--in DIR` leaves nothing there that anybody would have to remember."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.test_rehearse import rehearsed, said
from tests.conftest import HostFolder
from tests.crash.dying import Moment, crash
from vvmigrate.commands import rehearse
from vvmigrate.engine import lodging, shadow

NOTED = Moment(shadow, "cast", after=False)
AT_WORK = Moment(rehearse, "_look")
EMPTIED = Moment(lodging, "_empty", nth=2)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder beside the host."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def notes(host: HostFolder) -> list[Path]:
    """What the home knows of rehearsals elsewhere."""
    return list((host.home / ".vvmigrate").glob("rehearsal*"))


def found(host: HostFolder, disk: Path) -> list[str]:
    """What doctor says of a folder: what to do."""
    return [item["remedy"] for item in host.call("doctor").body["findings"] if item["path"] == str(disk)]


@pytest.mark.parametrize("moment", [NOTED, AT_WORK, EMPTIED], ids=["noted", "at work", "emptied"])
def test_a_killed_rehearsal_elsewhere_is_swept(bare: HostFolder, disk: Path, moment: Moment) -> None:
    """Copies of key, secrets and `.env` go with the next command that writes, which says so; doctor knows of them."""
    bare.up()
    bare.revision("0002", "pass")
    crash(bare, moment, "rehearse", within=str(disk))
    assert len(found(bare, disk)) == 1
    settled = bare.call("recover").body["settled"]
    assert [str(disk) in sentence for sentence in settled] == [True]
    assert list(disk.iterdir()) == notes(bare) == found(bare, disk) == []


def test_a_killed_rehearsal_before_the_first_upgrade_is_swept(bare: HostFolder, disk: Path) -> None:
    """Also where no host was made yet: `recover`, which doctor names, takes the copies away."""
    crash(bare, AT_WORK, "rehearse", within=str(disk))
    assert found(bare, disk) != []
    settled = bare.call("recover").body["settled"]
    assert [str(disk) in sentence for sentence in settled] == [True]
    assert list(disk.iterdir()) == notes(bare) == found(bare, disk) == []


def test_a_disk_that_is_away(bare: HostFolder, disk: Path) -> None:
    """Nobody is held up, and nothing is forgotten: what lies on it goes when it is there again."""
    bare.up()
    bare.revision("0002", "pass")
    crash(bare, AT_WORK, "rehearse", within=str(disk))
    away = disk.rename(disk.with_name("away"))
    bare.up()
    assert "rm " in found(bare, disk)[0]
    disk.mkdir()  # as a mount point that is empty
    assert bare.call("recover").body["settled"] == []
    assert list(disk.iterdir()) == []
    assert (away / ".vvmigrate/rehearsal/storage/.vvmigrate/key").exists()
    disk.rmdir()
    away.rename(disk)
    bare.up()  # with nothing else to do
    assert list(disk.iterdir()) == notes(bare) == []


def test_one_at_work_is_left_alone(bare: HostFolder, disk: Path) -> None:
    """A command that writes meanwhile takes nothing away from it; at its end no note is left."""
    bare.up()
    bare.revision("0002", "pass")

    class Meanwhile(list[object]):
        def append(self, _: object) -> None:
            assert bare.call("recover").body["settled"] == []
            assert len(notes(bare)) == 1

    report = bare.call("rehearse", within=str(disk), told=Meanwhile())
    assert (report.error, said(report)) == (None, [("0002", True)])
    assert list(disk.iterdir()) == notes(bare) == []


def test_on_a_fresh_host(host: HostFolder, disk: Path) -> None:
    """The note needs a state directory, and it goes with it."""
    rehearsed(host, "0001", within=str(disk))
    assert not (host.home / ".vvmigrate").exists()
    assert list(disk.iterdir()) == []
