"""Copy and compare what is on disk: kinds, modes, owners, contents, extended attributes, hard links."""

import fnmatch
import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Final, NamedTuple

SQLITE_MAGIC: Final = b"SQLite format 3\0"
#: What SQLite keeps beside a database; its content is seen through the database itself.
SIDE_FILES: Final = ("*-journal", "*-wal", "*-shm")


class Entry(NamedTuple):
    """One path as the comparison sees it. ``content`` is a dump for databases, the target for links."""

    mode: int
    uid: int
    gid: int
    content: bytes
    attributes: tuple[tuple[str, bytes], ...]


Snapshot = Mapping[str, Entry]


def attributes(path: str) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes that users and the system set; none where they are not supported."""
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:
        return ()
    return tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in names if n.startswith("user."))


def dump_database(path: str, data: bytes) -> bytes:
    """Return the statements that make the database, and its journal mode.

    Raises:
        sqlite3.DatabaseError: The integrity check finds something.
    """
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            msg = f"{path}: {found}"
            raise sqlite3.DatabaseError(msg)
        journal_mode = b"wal" if data[18:19] == b"\2" else b"delete"
        return journal_mode + b"\n" + "\n".join(db.iterdump()).encode("utf-8", "surrogateescape")


class Snapshots:
    """Takes snapshots; remembers the dump of a database file whose bytes it has seen before."""

    def __init__(self, ignore: Sequence[str] = (), *, raw: bool = False) -> None:
        """Leave out what matches one of the globs, by name or by relative path.

        Args:
            ignore: The globs; SQLite's side files are left out always.
            raw: Compare databases and their side files byte for byte; only mapped -shm files are left out.
        """
        self._raw = raw
        self._ignore = (*(("*-shm",) if raw else SIDE_FILES), *ignore)
        self._dumps: dict[bytes, bytes] = {}

    def take(self, root: str | os.PathLike[str]) -> Snapshot:
        """Return everything below root (and root itself), by relative path."""
        seen: dict[str, Entry] = {}
        self._walk(os.fspath(root), "", seen)
        return seen

    def _walk(self, path: str, name: str, seen: dict[str, Entry]) -> None:
        st = os.lstat(path)
        content = b""
        if stat.S_ISLNK(st.st_mode):
            content = os.fsencode(os.readlink(path))
        elif stat.S_ISREG(st.st_mode):
            content = self._content(path)
        seen[name] = Entry(st.st_mode, st.st_uid, st.st_gid, content, attributes(path))
        if stat.S_ISDIR(st.st_mode):
            for child in sorted(os.listdir(path)):
                below = f"{name}/{child}" if name else child
                if not any(fnmatch.fnmatch(below, g) or fnmatch.fnmatch(child, g) for g in self._ignore):
                    self._walk(f"{path}/{child}", below, seen)

    def _content(self, path: str) -> bytes:
        data = _read(path)
        if self._raw or not data.startswith(SQLITE_MAGIC):
            return data
        # With a journal or a log beside it the same bytes can mean something else.
        alone = not any(os.path.exists(path + suffix) for suffix in ("-journal", "-wal"))
        key = hashlib.sha256(data).digest()
        if alone and key in self._dumps:
            return self._dumps[key]
        dump = dump_database(path, data)
        if alone:
            self._dumps[key] = dump
        return dump


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def differences(a: Snapshot, b: Snapshot) -> list[str]:
    """Return the paths that are not the same in both."""
    return sorted(path or "." for path in a.keys() | b.keys() if a.get(path) != b.get(path))


def clear(root: str | os.PathLike[str]) -> None:
    """Remove everything below root, but not root itself (it may be a mount point)."""
    for entry in os.scandir(root):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Make target the same as source: modes, owners, links, hard links, FIFOs, extended attributes; not times."""
    os.makedirs(target, exist_ok=True)
    clear(target)
    inodes: dict[int, str] = {}
    _copy(os.fspath(source), os.fspath(target), os.lstat(source), inodes)


def _copy(source: str, target: str, st: os.stat_result, inodes: dict[int, str]) -> None:
    if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
        if first := inodes.get(st.st_ino):
            os.link(first, target, follow_symlinks=False)
            return
        inodes[st.st_ino] = target
    _makers()[stat.S_IFMT(st.st_mode)](source, target)
    mine = os.lstat(target)
    if (mine.st_uid, mine.st_gid) != (st.st_uid, st.st_gid):
        os.lchown(target, st.st_uid, st.st_gid)
    for name, value in attributes(source):
        os.setxattr(target, name, value, follow_symlinks=False)
    if stat.S_ISDIR(st.st_mode):
        for entry in os.scandir(source):
            below = entry.stat(follow_symlinks=False)
            _copy(entry.path, f"{target}/{entry.name}", below, inodes)
    if not stat.S_ISLNK(st.st_mode) and stat.S_IMODE(os.lstat(target).st_mode) != stat.S_IMODE(st.st_mode):
        os.chmod(target, stat.S_IMODE(st.st_mode))  # last: a directory may take away its own write permission


def _makers() -> Mapping[int, Callable[[str, str], object]]:
    return {
        stat.S_IFDIR: lambda _, target: os.makedirs(target, exist_ok=True),
        stat.S_IFLNK: lambda source, target: os.symlink(os.readlink(source), target),
        stat.S_IFREG: shutil.copyfile,
        stat.S_IFIFO: lambda _, target: os.mkfifo(target),
    }
