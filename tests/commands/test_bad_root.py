"""Storage roots of every kind: what works is printed quoted, what cannot work is exit 6 before anything is made."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import NOBODY, everything, nothing_changes, nothing_of_the_users_changes, says
from tests.conftest import HostFolder
from vvmigrate.engine import roots
from vvmigrate.files import Tree

Mount = Callable[..., None]


def bound_root(host: HostFolder) -> str:
    """What the home's state directory says."""
    return str(json.loads((host.home / ".vvmigrate/root").read_bytes())["storage_root"])


# ---- what works ------------------------------------------------------------------------------------------------------


def test_a_missing_root_is_made_with_its_parents(bare: HostFolder, tmp_path: Path) -> None:
    """A writing command makes the root and all above it; the root with the configured mode, whatever the umask."""
    bare.root = tmp_path / "srv/video/storage"
    bare.up()
    assert bare.root.stat().st_mode & 0o777 == 0o775
    assert bare.root.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("verb", ["status", "plan", "history", "current", "heads"])
def test_looking_makes_no_root(bare: HostFolder, verb: str) -> None:
    """Read-only commands on a host that has nothing yet leave it with nothing."""
    with nothing_changes(bare):
        assert bare.call(verb).exit_code in (0, 3)
    assert not bare.root.exists()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_relative_root_is_resolved_once_and_stored_absolute(bare: HostFolder, tmp_path: Path, how: str) -> None:
    """`--storage-root ../storage` means the same folder for ever, wherever the next command is run."""
    bare.environ["VIDEO_STORAGE_ROOT"] = "../storage" if how == "environment" else ""
    option = ("--storage-root", "../storage") if how == "option" else ()
    assert bare.json("upgrade", "head", *option)["exit_code"] == 0
    assert bound_root(bare) == str(tmp_path / "storage")
    del bare.environ["VIDEO_STORAGE_ROOT"]
    assert bare.call("status").body["storage_root"] == str(tmp_path / "storage")


ODD = [
    pytest.param("with blanks", id="blanks"),
    pytest.param('it\'s "quoted" `so` $HOME', id="quotes"),
    pytest.param("two\nlines", id="newline"),
    pytest.param("ação-録画", id="unicode"),
    pytest.param(os.fsdecode(b"latin-\xe9\xff"), id="not-utf-8"),
    pytest.param("[red]markup[/red] %s {x}", id="markup"),
    pytest.param("#hash ?query&x=1 %41", id="url-signs"),
    pytest.param("-v", id="like-an-option"),
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_work_and_are_printed_quoted(host: HostFolder, tmp_path: Path, name: str) -> None:
    """Whatever the root is called, it goes to head, is shown on one line, and goes back."""
    host.root = tmp_path / name
    assert host.json("upgrade")["exit_code"] == 0
    assert bound_root(host) == str(host.root)
    host.environ["VIDEO_STORAGE_ROOT"] = ""
    shown = host.run("status")
    assert shown.returncode == 3, shown.stderr  # DVR_IP has no value
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("storage root")]
    assert line.isprintable()
    assert host.json("status")["storage_root"] == str(host.root)
    assert host.json("downgrade", "base")["exit_code"] == 0
    assert not (host.root / "models").exists() or host.call("status").body["generations"]


def test_a_link_is_resolved_once_and_a_later_change_of_it_is_refused(bare: HostFolder, tmp_path: Path) -> None:
    """A root given through a link is the folder that it led to; when the link leads elsewhere, nothing is built."""
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "link"
    first.mkdir()
    second.mkdir()
    link.symlink_to(first)
    bare.root = link
    bare.up()
    assert bound_root(bare) == str(first)
    link.unlink()
    link.symlink_to(second)
    with nothing_changes(bare, first, second):
        says(bare.call("upgrade"), 6, repr(str(first)), repr(str(second)), hint="adopt --storage-root")


def test_a_root_that_becomes_a_link_is_refused(bare: HostFolder, tmp_path: Path) -> None:
    """Where the bound folder was, a link to somewhere else is not followed."""
    bare.up()
    bare.root.rename(tmp_path / "moved")
    bare.root.symlink_to(tmp_path / "moved")
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    with nothing_changes(bare, tmp_path / "moved"):
        says(bare.call("upgrade"), 6, repr(str(bare.root)))


def test_a_root_on_another_device_than_the_home_works(host: HostFolder, mount: Mount) -> None:
    """Each file system has a state directory of its own, so that everything is still published by rename."""
    host.root.mkdir()
    mount(host.root)
    host.up()
    host.down("base")
    host.up()
    assert (host.root / "models/bitnet_summarizer").is_symlink()


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_mount_inside_the_root_works(host: HostFolder, mount: Mount, tmp_path: Path, kind: str) -> None:
    """`models/` on a disk of its own, or bound from elsewhere in the same one, is brought up and taken back."""
    models = host.root / "models"
    models.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    mount(models) if kind == "tmpfs" else mount(models, bind=tmp_path / "elsewhere")
    host.up()
    assert (models / "bitnet_summarizer").resolve().is_dir()
    host.down("base")
    assert not (models / "bitnet_summarizer").exists()
    host.up()


# ---- what cannot work ------------------------------------------------------------------------------------------------

UNSAFE = [
    pytest.param(lambda host, _: Path("/"), ["'/'", "root of the file system"], id="slash"),
    pytest.param(lambda host, _: host.home, ["is the home"], id="the-home"),
    pytest.param(lambda host, _: host.home / "fallback/..", ["is the home"], id="the-home-with-dots"),
    pytest.param(lambda host, _: host.home / "migrations", ["a folder of the release"], id="of-the-release"),
    pytest.param(lambda host, _: host.home / "fallback/more", ["a folder of the release"], id="below-the-releases"),
    pytest.param(lambda host, tmp: tmp / "me", ["is $HOME"], id="home-of-the-user"),
    pytest.param(lambda host, tmp: tmp / "link-to-me", ["is $HOME"], id="link-to-home-of-the-user"),
    pytest.param(lambda host, tmp: tmp / "file", ["is no directory"], id="file"),
    pytest.param(lambda host, tmp: tmp / "file/below", ["is no directory"], id="below-a-file"),
    pytest.param(lambda host, tmp: tmp / "fifo", ["is no directory"], id="fifo"),
    pytest.param(lambda host, tmp: tmp / "open/storage", ["rearranged by others"], id="below-what-others-write"),
    pytest.param(lambda host, tmp: Path("/dev/null"), ["is no directory"], id="device"),
    pytest.param(lambda host, tmp: Path("/proc/self"), [], id="proc"),
    pytest.param(lambda host, tmp: tmp / ("x" * 300), ["File name too long"], id="name-too-long"),
]


@pytest.mark.parametrize("how", ["option", "environment"])
@pytest.mark.parametrize(("where", "words"), UNSAFE)
def test_an_unsafe_root_is_refused_and_not_remembered(
    bare: HostFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Callable[[HostFolder, Path], Path],
    words: list[str],
    how: str,
) -> None:
    """A root that cannot be one is exit 6; the same command with the right root then simply works."""
    (tmp_path / "me").mkdir()
    (tmp_path / "link-to-me").symlink_to(tmp_path / "me")
    (tmp_path / "file").write_text("theirs")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    good, bare.root = bare.root, where(bare, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    tops = (tmp_path / "me", tmp_path / "file", tmp_path / "open", bare.home / "migrations")
    before = everything(*tops)
    options = {"storage_root": str(bare.root)} if how == "option" else {}
    bare.environ["VIDEO_STORAGE_ROOT"] = "" if how == "option" else str(bare.root)
    for verb in ("plan", "upgrade"):
        says(bare.call(verb, **options), 6, *words)
        assert everything(*tops) == before
    bare.root, bare.environ = good, {}
    bare.up()


@pytest.mark.parametrize("who", ["other-user", "everyone"])
def test_an_ancestor_that_strangers_may_rearrange_is_refused(bare: HostFolder, tmp_path: Path, who: str) -> None:
    """Whoever may rename a folder above the root could put another one in its place."""
    above = tmp_path / "srv"
    above.mkdir()
    above.chmod(0o777)
    if who == "other-user":
        if os.geteuid():
            pytest.skip("needs root")
        os.chown(above, NOBODY, NOBODY)
        above.chmod(0o1777)
    bare.root = above / "deep/storage"
    with nothing_of_the_users_changes(bare):
        says(bare.call("upgrade"), 6, str(above), "rearranged by others", hint=f"chmod o-w {above}")
    assert list(above.iterdir()) == []


def test_a_root_that_may_not_be_made_is_refused(nobodys: HostFolder, unprivileged: Callable[[], Any]) -> None:
    """Without permission to make the root nothing is begun, and the hint says who can."""
    good, nobodys.root = nobodys.root, Path("/opt/vvmigrate-may-not-make-this")
    with unprivileged(), nothing_of_the_users_changes(nobodys):
        says(nobodys.call("upgrade"), 6, repr(str(nobodys.root)), "Permission denied", hint="make it by hand")
    nobodys.root = good
    with unprivileged():
        nobodys.up("0001")


@pytest.mark.parametrize("what", ["", "input"])
def test_a_root_that_may_not_be_written_is_refused(
    bare: HostFolder, immutable: Callable[[Path], None], what: str
) -> None:
    """A folder in which a pending step could not make its change is named before the first one writes."""
    bare.up()
    bare.revision("0002", "op.make_directories(['fine'])")
    bare.revision("0003", f"op.make_directories(['{what or '.'}/new'.removeprefix('./')])")
    immutable(bare.root / what)
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, str(bare.root / what), "may not be written")


def test_a_full_disk_is_refused_with_the_figures(host: HostFolder, mount: Mount) -> None:
    """When what all pending steps need is not free, the first one is not begun, and both numbers are said."""
    host.root.mkdir()
    mount(host.root, size="3m")
    with nothing_of_the_users_changes(host):
        report = host.call("upgrade")
    says(report, 6, str(host.root), "no room", hint="make room")
    assert report.error is not None
    assert re.search(r"[\d,]{7,} bytes needed, [\d,]{7,} free", report.error.message)
    assert host.call("history").body["entries"] == []


def test_a_disk_without_inodes_is_refused_with_the_figures(host: HostFolder, mount: Mount) -> None:
    """Inodes are counted as bytes are."""
    host.root.mkdir()
    mount(host.root, size="64m,nr_inodes=24")
    with nothing_of_the_users_changes(host):
        report = host.call("upgrade")
    says(report, 6, str(host.root), "inodes needed")


# ---- the mount that is gone, the root that moved ---------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["upgrade", "downgrade", "recover", "status", "plan", "history"])
def test_nothing_is_built_on_an_empty_mount_point(bare: HostFolder, mount: Mount, verb: str) -> None:
    """The disk is not mounted: the folder below it is not mistaken for a storage root."""
    bare.up()
    bare.revision("0002", "op.make_directories(['new'])")
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    mount(bare.root)  # an empty file system over the storage root: what is left when the disk is somewhere else
    with nothing_changes(bare):
        says(bare.call(verb, *(["base"] if verb == "downgrade" else [])), 6, str(bare.root), "mounted", hint="mount")
    assert list(bare.root.iterdir()) == []


def test_a_root_that_vanished_is_not_made_again(bare: HostFolder, tmp_path: Path) -> None:
    """Once bound, a missing root is a missing disk, not a fresh host."""
    bare.up()
    bare.root.rename(tmp_path / "away")
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, str(bare.root))
    assert not bare.root.exists()


def test_another_homes_root_is_not_taken_over(bare: HostFolder) -> None:
    """A clone of the home on another disk does not write to the storage root of the first one."""
    bare.up()
    shutil.rmtree(bare.home / ".vvmigrate")
    bare.revision("0002", "op.make_directories(['new'])")
    with nothing_of_the_users_changes(bare):
        says(bare.call("upgrade"), 6, repr(str(bare.root)), "another home", hint="adopt --storage-root")


NAMED = ["option", "environment", ".env"]


@pytest.mark.parametrize("how", NAMED)
def test_naming_another_root_than_the_bound_one_is_refused_and_readers_warn(
    bare: HostFolder, tmp_path: Path, how: str
) -> None:
    """A changed setting moves no data: commands that write name both roots, commands that look warn."""
    bare.up()
    bare.revision("0002", "op.make_directories(['new'])")
    other, options = tmp_path / "other", {}
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    if how == "option":
        options = {"storage_root": str(other)}
    elif how == "environment":
        bare.environ["VIDEO_STORAGE_ROOT"] = str(other)
    else:
        (bare.home / ".env").write_text(f"VIDEO_STORAGE_ROOT={other}\n")
    with nothing_changes(bare):
        says(bare.call("upgrade", **options), 6, repr(str(bare.root)), repr(str(other)), hint="adopt --storage-root")
        told: list[tuple[str, dict[str, Any]]] = []
        report = bare.call("status", told=told, **options)
    assert report.exit_code == 3
    assert report.body["storage_root"] == str(bare.root)
    assert any(str(other) in facts["text"] for event, facts in told if event == "warning")
    assert not other.exists()


@pytest.mark.parametrize("how", ["other-user", "writable"])
def test_root_takes_no_folder_from_the_applications_env_file(
    bare: HostFolder, root_only: None, tmp_path: Path, how: str
) -> None:
    """The application's user cannot lead root into a folder of its choice through `.env`."""
    env, other = bare.home / ".env", tmp_path / "other"
    env.write_text(f"VIDEO_STORAGE_ROOT={other}\n")
    os.chown(env, *((NOBODY, NOBODY) if how == "other-user" else (0, 0)))
    env.chmod(0o600 if how == "other-user" else 0o666)
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, repr(str(other)), hint=f"--storage-root {other}")
    assert not other.exists()


# ---- network file systems --------------------------------------------------------------------------------------------


def test_the_file_systems_type_is_read_from_the_kernel(tmp_path: Path, mount: Mount) -> None:
    """The type is that of the very mount that the folder is on."""
    mount(tmp_path)
    with Tree.open(tmp_path) as tree:
        assert roots.file_system(tree / "") == "tmpfs"


@pytest.mark.parametrize("kind", sorted(roots.NETWORK))
def test_a_network_file_system_is_warned_of(bare: HostFolder, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """On a network file system it works, with the warning that nothing is promised about power loss."""
    monkeypatch.setattr(roots, "file_system", lambda _place: kind)
    told: list[tuple[str, dict[str, Any]]] = []
    bare.up(told=told)
    assert any(kind in facts["text"] and "power loss" in facts["text"] for event, facts in told if event == "warning")


def test_a_database_in_wal_mode_on_a_network_file_system_is_refused(
    bare: HostFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAL needs shared memory between all readers, which no network file system has."""
    bare.up()
    bare.revision("0002", "op.make_directories(['new'])")
    bare.sql("PRAGMA journal_mode=WAL")
    monkeypatch.setattr(roots, "file_system", lambda _place: "nfs4")
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, "WAL", "nfs4")
