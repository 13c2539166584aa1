"""Which folders may be a home or a storage root, and making the root where it is missing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from vvmigrate.engine.host import NO_FOLDER, check_writable
from vvmigrate.errors import RefusedError
from vvmigrate.files import Owner, Place, Tree

VERSIONS = "migrations/versions"
RELEASE = ("migrations", "fallback")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "fuse.sshfs", "afs", "glusterfs"})
"""File systems on which SQLite's WAL cannot work, and on which our promise about power loss does not hold."""


def _upwards(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents


def is_roots_alone(info: os.stat_result) -> bool:
    """Whether nobody but root can have written what a stat tells of."""
    mode = info.st_mode
    if info.st_uid or not mode & _OTHERS:
        return not info.st_uid
    return stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX))


def check_trust(home: Path, inside: Iterable[str | Path]) -> None:
    """Root runs only what nobody else could have written (as git's safe.directory).

    Args:
        home: the release folder; its parents are checked too.
        inside: what is read and run from it.

    Raises:
        RefusedError: something belongs to another user or may be written by others, and the caller is root.
    """
    if os.geteuid() != 0:
        return
    for path in [*_upwards(home), *inside]:
        info = os.lstat(path)
        if not is_roots_alone(info):
            raise RefusedError(
                f"{path}: root runs nothing from here: it is {stat.filemode(info.st_mode)} of user {info.st_uid}, "
                "so others than root may have written it",
                hint=f"chown root {quote(str(path))} && chmod go-w {quote(str(path))}",
                path=str(path),
            )


def check_keys(path: Path | None) -> None:
    """Root believes only a file of trusted keys that nobody else could have written; a link, and what it leads to.

    Raises:
        RefusedError: see `check_trust`.
    """
    if path is not None:
        check_trust(Path(os.path.realpath(path)), _upwards(path))


def what_runs(home: Path) -> list[str]:
    """Paths of what is read and run from a release, so that root must be able to trust it."""
    found = what_runs_first(home)
    versions = os.path.join(home, VERSIONS)
    with suppress(OSError):  # none there, or none that this user may see
        found += sorted(f"{versions}/{name}" for name in os.listdir(versions) if name.endswith(".py"))
    return found


def what_runs_first(home: Path) -> list[str]:
    """Those paths without the revisions."""
    found = [os.path.join(home, name) for name in ("alembic.ini", "migrations", "migrations/env.py", VERSIONS)]
    return [path for path in found if os.path.lexists(path)]


def check_root(root: Path, home: Path) -> None:
    """Refuse folders that cannot be a storage root.

    Raises:
        RefusedError: `/`, `$HOME`, the home, a folder of the release, no directory, or below a folder that strangers
            may rearrange.
    """
    if what := _what_else_it_is(root, home):
        raise RefusedError(
            f"storage root {str(root)!r} is {what}: expected a folder of its own",
            hint="name one with --storage-root DIR or VIDEO_STORAGE_ROOT",
            path=str(root),
        )
    for path in _upwards(root):
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(info.st_mode):
            text = f"storage root {str(root)!r}: {str(path)!r} is no directory"
            raise RefusedError(text, hint=NO_FOLDER, path=str(root))
        strangers = info.st_uid not in (0, os.geteuid()) and info.st_mode & stat.S_IWOTH
        open_to_all = info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX
        if path != root and (strangers or open_to_all):
            raise RefusedError(
                f"storage root {str(root)!r}: {str(path)!r} above it may be rearranged by others "
                f"({stat.filemode(info.st_mode)} of user {info.st_uid})",
                hint=f"chmod o-w {quote(str(path))}",
                path=str(root),
            )


def _what_else_it_is(root: Path, home: Path) -> str:
    """What a folder is that something else needs for itself; empty if it is none of these."""
    if root != home and root.is_relative_to(home) and root.relative_to(home).parts[0] in RELEASE:
        return "a folder of the release"
    user_home = os.environ.get("HOME") or "~"
    known = ((Path("/"), "the root of the file system"), (home, "the home"), (Path(user_home), "$HOME"))
    return next((what for path, what in known if root == path or os.path.realpath(path) == str(root)), "")


def check_can_be_made(root: Path) -> None:
    """See that a storage root that does not exist can be made.

    Raises:
        RefusedError: it cannot.
    """
    above = _nearest(root)
    if above != root:
        with _making(root), Tree.open(above) as tree:
            check_writable(tree / "")


def make_root(root: Path, mode: int, owner: Owner | None) -> None:
    """Make the storage root, with its parents, durably; leave it alone where it exists.

    Raises:
        RefusedError: it cannot be made.
    """
    check_can_be_made(root)
    above = _nearest(root)
    with _making(root), Tree.open(above) as tree:
        names = root.relative_to(above).parts
        place = Place(tree, "")
        for number, name in enumerate(names, 1):
            place = place / name
            last = number == len(names)
            place.make_directory(mode if last else 0o755, owner if last else None)
            place.parent.fsync()


def _nearest(root: Path) -> Path:
    return next(path for path in _upwards(root) if path.exists())


@contextmanager
def _making(root: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RefusedError) as error:
        why = error.message if isinstance(error, RefusedError) else error.strerror
        raise RefusedError(
            f"storage root {str(root)!r} cannot be made: {why}",
            hint="make it by hand, or name another one with --storage-root DIR",
            path=str(root),
        ) from error


def file_system(place: Place) -> str:
    """The type of the file system that a directory is on, as mountinfo names it (proc(5))."""
    _, mount = place.mount()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if int(line.split(" ", 1)[0]) == mount:
                return line.partition(" - ")[2].split(" ", 1)[0]
    return "unknown"
