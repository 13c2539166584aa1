"""The user acts between a crash and its recovery, and in the middle of publishing: nothing of theirs is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder

from . import dying
from .dying import applying, at
from .people import GENERATION, MANAGED, MINE, OLD, act, holders, live_before, place_of, release, remove, save
from .power import new_folder

ACTS = ("edit", "delete", "directory", "link")
TIMES = ("crash", "before", "after")
SITUATIONS = ("create", "replace", "take back")
NEW = b"MINE='new'\nORCHESTRATOR_INTERVAL=60\n"
STAYS = (GENERATION, GENERATION + ".json")  # a downgrade leaves the store alone: nothing is published there
Tree = dict[str, tuple[str, int, bytes]]


def combinations() -> list[Any]:
    """All of them with --full; else a Latin square, in which every pair of two values is met."""
    found = []
    grid = product(*map(enumerate, (SITUATIONS, MANAGED, ACTS, TIMES)))
    for (i, situation), (j, name), (k, how), (n, time) in grid:
        if situation == "take back" and name in STAYS:
            continue
        marks = () if (i + j + k + n) % 4 == 0 else (pytest.mark.full,)
        label = f"{situation}-{Path(name).name[:20]}-{how}-{time}".replace(" ", "-")
        found.append(pytest.param(situation, name, how, time, marks=marks, id=label))
    return found


def others(host: HostFolder, name: str) -> Tree:
    """What stands on the host, but for one managed name, and what is below it, beside it, or holds it."""
    mine = f"{'home' if place_of(host, name).is_relative_to(host.home) else 'storage'}/{name}"
    return {p: found for p, found in host.tree().items() if not p.startswith(mine) and not mine.startswith(p + "/")}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is tried here is no power loss."""
    folder = new_folder("user")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(("situation", "name", "how", "time"), combinations())
def test_whatever_the_user_does_stays(
    bare: HostFolder, tmp_path: Path, situation: str, name: str, how: str, time: str
) -> None:
    """Edited, deleted, replaced by a directory or a link: theirs stays, what we left is named, the rest is whole."""
    host, back = release(bare), situation == "take back"
    if situation != "create":
        live_before(host)
    if back:
        host.up()
    before, command = others(host, name), ("downgrade", "-1") if back else ("upgrade", "head")

    def user() -> None:
        act(place_of(host, name), how, tmp_path / "elsewhere.txt")

    inside = back and name == "models/bitnet_summarizer" and how in ("edit", "directory")
    if time == "crash":
        dying.crash(host, dying.WRITTEN, *command)
        user()
        happened, said = False, " ".join(dying.settled(host).body["settled"])
        kept = {item["path"] for item in host.call("history").body["entries"][0]["kept"]}
        assert all(path in said for path in kept)
        if how != "delete" and not (name == "extra" and how == "edit") and not inside:
            assert str(place_of(host, name)) in kept, said
    else:
        with at(applying(name, after=time == "after"), user):
            report = host.call(*command)
        dying.settled(host)
        happened, said = host.version() == ("0001" if back else "0002"), str(report.as_json())
        if not happened:
            assert report.exit_code == 1
            assert str(place_of(host, name)) in str(report.error)
    assert host.version() == ("0001" if back == happened else "0002")
    if not happened:
        assert others(host, name) == before
    theirs_again = (time == "before") != back and how != "edit"  # they removed what had been theirs
    nothing_is_lost(
        host, name, said, wrote=how != "delete", old=situation != "create" and not theirs_again, inside=inside
    )
    if name == ".env" and how == "edit" and time == "crash":
        the_edited_settings_are_those_of(host, back=back)
    if how != "delete":
        host.call("upgrade")
        dying.settled(host)
        assert holders(host, MINE, private=True), "lost by the next upgrade"


def nothing_is_lost(host: HostFolder, name: str, said: str, *, wrote: bool, old: bool, inside: bool) -> None:
    """What the user wrote, and what stood there before, is in its place, or in one that was named.

    A directory that gives way to a link is set aside as a whole, with whatever it held at that moment.
    """
    place = str(place_of(host, name))
    if wrote:
        aside = inside or f"{place}', 'reason': 'another model was there; it is set aside" in said
        found = holders(host, MINE, private=aside or f"{place}', 'reason': 'does not verify; set aside" in said)
        assert found, f"what the user wrote is lost: {said}"
        assert any(in_place(path, place) or named(path, place, said) or "/.vvmigrate/" in path for path in found), (
            found,
            said,
        )
    if old and name not in ("extra", GENERATION + ".json"):
        found = [path for path in holders(host, OLD) if path.startswith(place)]
        if host.version() == "0002":
            assert found or holders(host, OLD, private=True)
        else:
            assert found, f"what stood there before is lost: {said}"
            assert all(in_place(path, place) or named(path, place, said) for path in found), (found, said)


def in_place(path: str, place: str) -> bool:
    """Whether it is the managed path, or below it; a name that only begins with it is another one."""
    return path == place or path.startswith(f"{place}/")


def named(path: str, place: str, said: str) -> bool:
    """Whether output or history name it, or the folder beside the managed path in which it was set aside."""
    folder = str(Path(path).parent)
    return path in said or (folder.startswith(place) and folder in said)


def the_edited_settings_are_those_of(host: HostFolder, *, back: bool) -> None:
    """The edited file stays the one that services read: with the edit, and with our keys where they are in force."""
    text = (host.home / ".env").read_bytes()
    assert MINE in text
    assert (b"ORCHESTRATOR_INTERVAL=" in text) == back
    assert not (host.home / ".env.vv-before").exists()


def assignments(data: bytes) -> list[bytes]:
    """The lines of a file of settings that are no comments."""
    return [line for line in data.splitlines() if line and not line.startswith(b"#")]


@pytest.mark.parametrize("made", [False, True], ids=["theirs", "ours"])
def test_what_a_killed_downgrade_took_out_of_settings_comes_in_again(bare: HostFolder, made: bool) -> None:
    """By key and at its place, beside what was saved meanwhile, also where the downgrade had taken the whole file."""
    host, path = one_file(bare), bare.home / ".env"
    if made:
        path.unlink()
    host.up()
    before = path.read_bytes()
    dying.crash(host, dying.WRITTEN, "downgrade", "-1")
    save(path, NEW)
    said = " ".join(dying.settled(host).body["settled"])
    assert f"{path}: edited meanwhile" in said
    assert host.version() == "0002"
    after = path.read_bytes()
    ours = [line for line in assignments(before) if not line.startswith(b"ORCHESTRATOR_INTERVAL=")]
    assert sorted(assignments(after)) == sorted([*ours, *NEW.splitlines()])
    assert [line for line in assignments(after) if line in ours] == ours
    assert b"# Address of the video recorder" in after.partition(b"DVR_IP=")[0].splitlines()[-2]
    host.down("0001", no_hold=True)
    assert NEW in path.read_bytes()
    assert b"DVR_IP=" not in path.read_bytes()


@pytest.mark.parametrize("edit", ["none of ours", "the renamed", "the dropped"])
@pytest.mark.parametrize("supplied", [False, True], ids=["by us", "beside a person's"])
def test_a_killed_downgrade_of_names_and_dropped_keys_is_undone_by_key(
    bare: HostFolder, supplied: bool, edit: str
) -> None:
    """The newer release's names and comments are there again, with what was saved meanwhile; nothing lies beside."""
    host, path = bare, bare.home / ".env"
    host.up()
    (host.home / ".env.example").write_bytes(b"INTERVAL=300\nGONE=1\nOLD=1\n")
    host.revision("0002", "op.merge_env()")
    host.up()
    path.write_bytes(b"INTERVAL=300\nGONE=1\nOLD='theirs' # mine\nMINE=1\n")
    (host.home / ".env.example").write_bytes(b"INTERVAL=300\n# @was=OLD\nNEW=1\n# New.\nFRESH=1\n")
    host.revision("0003", "op.merge_env()")
    host.up(values={"NEW": "given"} if supplied else {})
    before = path.read_bytes()
    dying.crash(host, dying.WRITTEN, "downgrade", "-1")
    between = path.read_bytes()
    assert b"OLD='theirs' # mine\n" in between
    assert b"\nGONE=1" in between
    old, new = {"the renamed": (b"OLD='theirs'", b"OLD='edited'"), "the dropped": (b"\nGONE=1", b"\nGONE=9")}.get(
        edit, (b"", b"")
    )
    save(path, NEW)
    path.write_bytes(path.read_bytes().replace(old, new))
    said = " ".join(dying.settled(host).body["settled"])
    assert f"{path}: edited meanwhile" in said
    assert host.version() == "0003"
    if edit == "the renamed" and supplied:  # both names are a person's now, and both stay
        assert {b"OLD='edited' # mine", b"NEW='given' # mine"} <= set(assignments(path.read_bytes()))
    else:
        edited = (b"# GONE=1", b"# GONE=9") if edit == "the dropped" else (b"NEW='theirs'", b"NEW='edited'")
        assert path.read_bytes() == (before if edit == "none of ours" else before.replace(*edited)) + NEW
    assert not list(host.home.glob(".env.vv-before*"))


@pytest.mark.parametrize("how", ["deleted", "link", "file", "renamed"])
@pytest.mark.parametrize("name", ["fallback", "models"])
def test_a_managed_folder_that_went_takes_nothing_of_the_users_along(
    bare: HostFolder, tmp_path: Path, name: str, how: str
) -> None:
    """The folder of files that recovery has to put back is gone, or leads elsewhere: they are put where it was."""
    host, folder, elsewhere = release(bare), bare.root / name, tmp_path / "elsewhere"
    live_before(host)
    dying.crash(host, dying.WRITTEN, "upgrade")
    elsewhere.mkdir()
    folder.rename(elsewhere / "renamed") if how != "deleted" else remove(folder)
    before = sorted(elsewhere.rglob("*"))
    if how == "link":
        folder.symlink_to(elsewhere / "renamed")
    elif how == "file":
        folder.write_bytes(MINE)
    said = " ".join(dying.settled(host).body["settled"])
    assert sorted(elsewhere.rglob("*")) == before
    back = [path for path in holders(host, OLD) if Path(path).is_relative_to(host.root)]
    assert len(back) == 4
    assert all(path in said or str(Path(path).parent) in said or "extra" in path for path in back if name in path)


def one_file(host: HostFolder) -> HostFolder:
    """A host whose next revision changes `.env` alone, so that every access of it can be tried."""
    host.up()
    (host.home / ".env").write_bytes(b"OLD='theirs'\nLOG_LEVEL=DEBUG\n")
    host.revision("0002", "op.merge_env()")
    return host
