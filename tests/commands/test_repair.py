"""Every managed thing, damaged in every way: `verify` finds it, `why` and `doctor` explain it, `repair` mends it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder, copy_release

MANAGED = (
    *("storage/input", "storage/fallback", "storage/models", "storage/models/.store"),
    *("storage/fallback/placeholder.png", "storage/models/.current_model_info.json"),
    *("GENERATION", "GENERATION/MODEL", "GENERATION.json", "storage/models/bitnet_summarizer"),
    *("home/.env", "home/vv-signature.json"),
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host at its last revision; every test mends what it damages, and sees that it did."""
    host = copy_release(tmp_path_factory.mktemp("healthy"))
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


@pytest.fixture
def host(healthy: HostFolder) -> Iterator[HostFolder]:
    """The same host; a test that fails must not spoil the next."""
    yield healthy
    healthy.call("repair")


def place(host: HostFolder, name: str) -> Path:
    """Where a name of `MANAGED` is."""
    generation = os.readlink(host.root / "models/bitnet_summarizer") if "GENERATION" in name else ""
    name = name.replace("GENERATION", f"storage/models/{generation}")
    if name.endswith("/MODEL"):
        return next((host.root / "models" / generation).glob("*.gguf"))
    area, _, rest = name.partition("/")
    return (host.home if area == "home" else host.root) / rest


# ---- the damages -----------------------------------------------------------------------------------------------------


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_a_bit_unseen(path: Path) -> None:
    before = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_mode(path: Path) -> None:
    path.chmod(path.stat().st_mode ^ 0o022)


def change_owner(path: Path) -> None:
    os.chown(path, 65534, 65534, follow_symlinks=False)


def put_a_link_there(path: Path) -> None:
    delete(path)
    path.symlink_to("/etc/hostname")


def put_a_directory_there(path: Path) -> None:
    delete(path)
    path.mkdir()
    (path / "theirs.txt").write_text("a user's")


def put_a_file_there(path: Path) -> None:
    delete(path)
    path.write_text("a user's")


OF_FILES = (delete, truncate, flip_a_bit, flip_a_bit_unseen, change_mode, change_owner, put_a_link_there)
DAMAGES: dict[str, tuple[Callable[[Path], None], ...]] = {
    "file": (*OF_FILES, put_a_directory_there),
    "dir": (delete, change_mode, change_owner, put_a_link_there, put_a_file_there),
    "link": (delete, change_owner, put_a_link_there, put_a_directory_there, put_a_file_there),
}
KINDS = {
    **dict.fromkeys(MANAGED, "file"),
    **dict.fromkeys(("storage/input", "storage/fallback", "storage/models", "storage/models/.store"), "dir"),
    "GENERATION": "dir",
    "storage/models/bitnet_summarizer": "link",
}
RIGHTS = (truncate, flip_a_bit, flip_a_bit_unseen)
"""What is the user's right in `.env`."""


def cases() -> Iterator[Any]:
    """All of them with --full; else a third, in which each thing and each damage is met."""
    for (i, name), (j, damage) in product(enumerate(MANAGED), enumerate(dict.fromkeys(sum(DAMAGES.values(), ())))):
        right = name == "home/.env" and damage in RIGHTS
        inner = name.endswith("/MODEL") and damage is change_owner  # of what a model holds, modes and bytes count
        if damage in DAMAGES[KINDS[name]] and not right and not inner:
            marks = () if (i + j) % 3 == 0 else (pytest.mark.full,)
            yield pytest.param(name, damage, marks=marks, id=f"{name}-{damage.__name__}")


@pytest.mark.parametrize("damage", [delete, flip_a_bit])
def test_what_was_stored_of_the_revisions_is_put_back(host: HostFolder, damage: Callable[[Path], None]) -> None:
    """Sources, ways back and templates that this release has too: repair, which doctor names, makes them whole."""
    listed = hashlib.sha256((host.home / "vv-signature.json").read_bytes()).hexdigest()  # kept for the list itself
    paths = sorted((host.root / ".vvmigrate/sources").iterdir())
    stored = {path: path.read_bytes() for path in paths if not path.name.startswith(listed)}
    assert {"".join(path.suffixes) for path in stored} == {".py", ".back.json", ".txt"}
    for path in stored:
        damage(path)
    advised = host.call("doctor")
    assert advised.exit_code == host.call("history", verify=True).exit_code == 7
    assert all("vvmigrate repair" in item["remedy"] for item in advised.body["findings"])
    mended = host.call("repair")
    assert (mended.exit_code, mended.error, sorted(mended.body["put_back"])) == (
        0,
        None,
        [str(path) for path in stored],
    )
    assert {path: path.read_bytes() for path in stored} == stored
    assert host.call("history", verify=True).exit_code == host.call("doctor").exit_code == 0


def test_a_source_that_this_release_has_not_needs_the_one_that_has(host: HostFolder) -> None:
    """It is said, and the release that the revision belongs to, installed again, is what mends it."""
    revision = next((host.home / "migrations/versions").glob("0001*.py"))
    shipped = revision.read_bytes()
    digest = hashlib.sha256(shipped).hexdigest()
    (host.root / f".vvmigrate/sources/{digest}.py").unlink()
    revision.write_bytes(shipped + b"# of another release\n")
    try:
        says(host.call("repair"), 7, digest, hint="install the release again")
        assert any("install the release again" in item["remedy"] for item in host.call("doctor").body["findings"])
    finally:
        revision.write_bytes(shipped)
    assert host.call("repair").exit_code == 0
    assert host.call("history", verify=True).exit_code == host.call("doctor").exit_code == 0


@pytest.mark.parametrize(("name", "damage"), list(cases()))
def test_what_was_damaged_is_found_explained_and_mended(
    host: HostFolder, name: str, damage: Callable[[Path], None]
) -> None:
    """The tree is as before, the history says that it was repaired; what was the user's lies where it says."""
    if damage is change_owner and os.geteuid() != 0:
        pytest.skip("only root can give things away")
    before, path = host.tree(), place(host, name)
    damage(path)
    with nothing_changes(host):
        found = host.call("verify")
        told = host.call("why", str(path))
        advised = host.call("doctor")
    assert found.exit_code == told.exit_code + 3 == advised.exit_code == 3, (found.error, told.error)
    about = [item for item in found.body["drift"] if str(path).startswith(item["path"])]
    assert about, found.body["drift"]
    assert told.body["life"]
    assert told.body["drift"]
    assert [item for item in advised.body["findings"] if item["path"] and "repair" in item["remedy"]]
    mended = host.call("repair")
    assert (mended.exit_code, mended.error, mended.body["left"]) == (0, None, [])
    assert host.tree() == before
    assert host.call("verify").exit_code == host.call("doctor").exit_code == 0
    last = host.call("history").body["entries"][0]
    assert (last["direction"], last["result"]) == ("repair", "repaired")
    if damage in (put_a_directory_there, put_a_file_there):
        asides = [Path(item["aside"]) for item in mended.body["set_aside"]]
        files = [path for aside in asides for path in (aside, *aside.rglob("*")) if path.is_file()]
        assert "a user's" in [path.read_text() for path in files if path.stat().st_size < 99]
    assert host.call("history", verify=True).exit_code == 0
