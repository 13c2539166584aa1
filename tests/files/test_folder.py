"""A folder that is held open: what is told of what stands in it, whatever that is, and while it is replaced."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vvmigrate.errors import RefusedError
from vvmigrate.files import ABSENT, Entry, Folder, Tree

SIZES = [0, 1, 4096, (256 << 10) - 1, 256 << 10, (1 << 20) + 7]
"""Bytes; around the size from which a file is no longer read at once."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Tree.open(tmp_path) as tree, (tree / "").folder() as folder:
        yield folder


@contextmanager
def another(work: object) -> Iterator[None]:
    """Somebody else, who does something again and again in a process of his own."""
    child = os.fork()
    if child == 0:
        while True:
            work()  # type: ignore[operator]
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_told_with_its_content(folder: Folder, tmp_path: Path, size: int) -> None:
    """However large it is: size, mode, owner and SHA-256; and its bytes, where they are asked for."""
    data = hashlib.shake_128(b"%d" % size).digest(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    path.chmod(0o640)
    mine = path.stat()
    expected = Entry("file", 0o640, mine.st_uid, mine.st_gid, size, hashlib.sha256(data).hexdigest())
    assert folder.entry("file") == expected
    assert folder.read("file") == data
    if size:
        with pytest.raises(OSError, match="larger than") as raised:
            folder.read("file", size - 1)
        assert raised.value.filename == str(path)


def test_what_is_no_file_is_told_and_not_read(folder: Folder, tmp_path: Path) -> None:
    """A link is not followed, a pipe without a writer does not hold anybody up, and nothing is nothing."""
    (tmp_path / "dir").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        kinds = {name: folder.entry(name).kind for name in folder.names()}
        assert kinds == {"dir": "dir", "link": "link", "pipe": "other", "socket": "other"}
        assert {name: folder.glance(name) for name in kinds} == {name: folder.entry(name) for name in kinds}
    assert folder.entry("link").target == "/etc/passwd"
    assert folder.entry("nothing") == folder.glance("nothing") == ABSENT
    for name in kinds:
        with pytest.raises(OSError, match=name):
            folder.read(name)


@pytest.mark.parametrize("name", ["..", "dir/file", "fi\0le"])
def test_nothing_leads_out_of_a_folder(folder: Folder, name: str) -> None:
    """A name with more than one part, or the way up, may come from a record that somebody wrote."""
    for look in (folder.entry, folder.glance, folder.read):
        with pytest.raises(RefusedError, match="not a name"):
            look(name)


def test_a_folder_that_is_held_stays_the_same(folder: Folder, tmp_path: Path) -> None:
    """Its name may come to mean a link to elsewhere meanwhile: what is looked at is still what it held."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"ours")
    with folder.below("below") as below:
        (tmp_path / "below").rename(tmp_path / "moved")
        (tmp_path / "below").symlink_to("/etc")
        assert below.read("file") == b"ours"
        assert below.glance("passwd") == ABSENT


def test_of_a_file_that_is_replaced_everything_is_told_of_the_same_one(folder: Folder, tmp_path: Path) -> None:
    """Mode, size and content never come from two files, whenever somebody swaps them."""
    datas = {0o600: b"old" * 5000, 0o644: b"new" * 6000}
    for mode, data in datas.items():
        (tmp_path / f"{mode:o}").write_bytes(data)
        (tmp_path / f"{mode:o}").chmod(mode)

    def swap() -> None:
        for mode in datas:
            os.link(tmp_path / f"{mode:o}", tmp_path / "fresh")
            (tmp_path / "fresh").rename(tmp_path / "file")
            (tmp_path / "fresh").unlink(missing_ok=True)  # two names of one file: a rename leaves both

    swap()
    whole = {(mode, len(data), hashlib.sha256(data).hexdigest()) for mode, data in datas.items()}
    seen = set()
    with another(swap):
        for look in range(20_000):
            entry = folder.entry("file")
            seen.add((entry.mode, entry.size_bytes, entry.digest))
            if len(seen) > 1 and look > 2000:
                break
    assert seen == whole
