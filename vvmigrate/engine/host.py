"""The two trees of a host, opened once, and the private state directories beside what we change in them.

Every file system that is written to has a state directory of its own, so that whatever was staged is published by a
rename. It belongs to the caller and nobody else may enter it: what lies there is trusted.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Self

from vvmigrate.engine import contents
from vvmigrate.engine.contents import describe
from vvmigrate.engine.state import Target
from vvmigrate.errors import RefusedError, StateError, VvmigrateError
from vvmigrate.files import Entry, Place, Tree

STATE = ".vvmigrate"
HOME, ROOT = "home", "root"
NO_FOLDER = "put the folder back, or mount its disk; if the storage root moved: vvmigrate adopt --storage-root DIR"
_DIRECTORY = os.W_OK | os.X_OK


def state_tree(tree: Tree, name: str = "", *, make: bool) -> Tree | None:
    """Open the state directory below a directory.

    Args:
        tree: the tree that holds it.
        name: the directory below the tree, empty for its top.
        make: make it where it is missing.

    Returns:
        The directory, or None where it is missing, or where a reader may not enter it.

    Raises:
        VvmigrateError: see `closed`; where `make` says that it will be used.
    """
    place = tree / (f"{name}/{STATE}" if name else STATE)
    if place.stat() is None:
        if not make:
            return None
        with suppress(FileExistsError):
            place.make_directory(0o700)
        place.parent.fsync()
    if (why := closed(tree, name)) is None:
        return place.subtree()
    if make:
        raise why
    return None


def closed(tree: Tree, name: str = "") -> VvmigrateError | None:
    """Why the state directory below a directory is none that this user may use.

    Returns:
        None where it is, or where there is none; RefusedError: it is another user's, who is the one to ask; StateError:
        it is not 0700, or not a directory, or, for root, not root's.
    """
    place = tree / (f"{name}/{STATE}" if name else STATE)
    info, caller = place.stat(), os.geteuid()
    if info is None:
        return None
    private = stat.S_ISDIR(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o700
    if private and info.st_uid == caller:
        return None
    wanted = f"expected a directory of user {caller} with mode 0700"
    found = f"state directory {place.path}: {wanted}, found {describe(info)}"
    if private and caller:
        who = "" if info.st_uid == 0 else f"-u '#{info.st_uid}' "
        text = f"{found}: this host is looked after by that user, and nobody else sees what was done here"
        return RefusedError(text, hint=f"the same as that user: sudo {who}vvmigrate ...", path=place.path)
    path = quote(place.path)
    if not stat.S_ISDIR(info.st_mode):  # chmod would follow a link
        return StateError(found, hint="look who made it, then move it away, and what was there back", path=place.path)
    own = f"chown {caller} {path} && " if info.st_uid and info.st_uid != caller else ""
    return StateError(found, hint=f"look who made it, then: {own}chmod 700 {path}", path=place.path)


def check_writable(place: Place, mode: int = _DIRECTORY) -> None:
    """Ask the kernel, without opening, whether this user may write here: read-only disks and immutable files count.

    Args:
        mode: what is asked for (access(2)); without it that names may come and go in a directory.

    Raises:
        RefusedError: the kernel says no.
    """
    with place.at() as (parent, name):
        if os.access(name, mode, dir_fd=parent, effective_ids=True):
            return
        read_only = os.fstatvfs(parent).f_flag & os.ST_RDONLY
    why = os.strerror(errno.EROFS if read_only else errno.EACCES if os.geteuid() else errno.EPERM)
    path = place.path.rstrip("/") or "/"
    raise RefusedError(f"{path}: may not be written by user {os.geteuid()}: {why}", path=path)


def check_usable(tree: Tree) -> None:
    """See that a tree has a state directory that may be used, or may be given one.

    Raises:
        StateError: it is not the caller's own, not 0700, or not a directory; or something else stands in it where we
            keep something of ours.
        RefusedError: this user may not write there.
    """
    place = tree / STATE
    if place.stat() is None:
        check_writable(tree / "")
        return
    if (state := state_tree(tree, make=True)) is not None:  # it exists: this only says what is wrong with it
        with state:
            contents.check(state)
    check_writable(place)


def is_anothers(tree: Tree) -> bool:
    """Whether another user works here, so that this one, unless it is root, can only look."""
    info = (tree / STATE).stat()
    return info is not None and os.geteuid() not in (0, info.st_uid)


def make_folders(state: Tree) -> None:
    """Make what every state directory holds, durably, where it is missing.

    Raises:
        StateError: something else stands there.
        RefusedError: see `_probe_exchange`.
    """
    contents.check(state)
    if (state / "staging").stat() is None:  # new, or a crash came before the probe had passed
        _probe_exchange(state)
        state.fsync()  # else a power loss could bring its folders back behind the one that says that it passed
    for name in ("staging", "undo"):
        if (state / name).stat() is None:
            (state / name).make_directory(0o700)
            state.fsync()


def _probe_exchange(state: Tree) -> None:
    """Two names must be able to swap in one step: without it a save could be lost while its file is replaced.

    Raises:
        RefusedError: the file system cannot (exFAT, NFS).
    """
    one, other = state / "probe.1", state / "probe.2"
    for place in (one, other):
        place.remove_tree()
        place.make_directory(0o700)
    try:
        one.exchange(other)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise RefusedError(
            f"{os.path.dirname(state.path)}: its file system cannot swap two names in one step "
            "(renameat2, RENAME_EXCHANGE)",
            hint="use ext4, xfs, btrfs, f2fs or tmpfs",
            path=os.path.dirname(state.path),
        ) from error
    finally:
        for place in (one, other):
            place.remove_directory()


def mounts_below(folder: Path) -> list[str]:
    """Relative names of the mount points below a folder (proc(5), mountinfo)."""
    above = os.path.join(folder, "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        paths = [_unescaped(line.split(" ")[4]) for line in lines]
    return [path.removeprefix(above) for path in paths if path.startswith(above) and path != above]


def _unescaped(path: str) -> str:
    if "\\" not in path:  # as nearly always: then the expression need not be compiled
        return path
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


class Host:
    """Home, storage root, and their state directories.

    `home_state` and `root_state` are None for a reader that may not enter them, and on a host that has none yet.
    """

    def __init__(self, home: Tree, root: Tree | None, root_path: Path, *, writing: bool) -> None:
        """Open the state directories; a writer makes those that are missing."""
        self.writing = writing
        self._paths = {HOME: home.path, ROOT: root_path}
        self._trees: dict[str, Tree | None] = {HOME: home, ROOT: root}
        self._states: dict[str, Tree] = {}
        for key in (HOME, ROOT):
            tree = self._trees[key]
            state = state_tree(tree, make=writing) if tree is not None else None
            if state is not None:
                self._states[key] = state
            for name in mounts_below(self._paths[key]) if tree is not None else ():
                below = state_tree(tree, name, make=False) if tree is not None else None
                if below is not None:
                    self._states[f"{key}:{name}"] = below

    @classmethod
    def open(cls, home: Path, root: Path, *, writing: bool) -> Self:
        """Open both trees; a missing root is nothing to a reader.

        Raises:
            RefusedError: one of them cannot be opened.
        """
        trees: list[Tree | None] = []
        for path in (home, root):
            try:
                trees.append(Tree.open(path))
            except FileNotFoundError:
                if writing or path == home:
                    raise RefusedError(f"{path}: does not exist", path=str(path)) from None
                trees.append(None)
            except OSError as error:
                raise RefusedError(
                    f"{path}: cannot be opened: {error.strerror}", hint=NO_FOLDER, path=str(path)
                ) from error
        if trees[0] is None:
            raise RefusedError(f"{home}: does not exist", path=str(home))
        return cls(trees[0], trees[1], root, writing=writing)

    def __enter__(self) -> Self:
        """Close with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every descriptor."""
        for tree in (*self._states.values(), *self._trees.values()):
            if tree is not None:
                tree.close()

    # ---- trees and states ----------------------------------------------------------------------------------------

    def tree(self, area: str) -> Tree | None:
        """The tree of an area; None where the host has no storage root yet."""
        return self._trees[area]

    def place(self, target: Target) -> Place:
        """Where a target is.

        Raises:
            StateError: the host has no storage root.
        """
        tree = self._trees[target.area]
        if tree is None:
            raise StateError("the storage root does not exist")
        return tree / target.name

    def path(self, target: Target) -> str:
        """The absolute path of a target, for people; also where nothing stands yet."""
        return os.path.join(self._paths[target.area], target.name)

    def state(self, key: str) -> Tree | None:
        """The state directory with this key, or None."""
        if key not in self._states and ":" in key and self.writing:
            area, _, name = key.partition(":")
            tree = self._trees[area]
            opened = state_tree(tree, name, make=True) if tree is not None else None
            if opened is not None:
                self._states[key] = opened
        return self._states.get(key)

    @property
    def private(self) -> Tree:
        """The storage root's state directory, which holds the journal, the key, the anchor.

        Raises:
            StateError: there is none.
        """
        state = self.state(ROOT)
        if state is None:
            raise StateError("the storage root has no state directory that this user may use")
        return state

    def states(self) -> list[tuple[str, Tree]]:
        """Every state directory that is open."""
        return sorted(self._states.items())

    def state_key(self, target: Target) -> str:
        """The key of the state directory on the same mount as the target, made where it is missing."""
        above = self.place(target).parent
        while above.name and above.identity()[0] != "dir":
            above = above.parent
        mount = above.mount()
        state = self.state(target.area)
        if state is not None and (state / "").mount() == mount:
            return target.area
        while above.name and above.parent.mount() == mount:
            above = above.parent
        return f"{target.area}:{above.name}"

    # ---- observing -----------------------------------------------------------------------------------------------

    def entry(self, target: Target) -> Entry:
        """What stands at a target; absent where there is no storage root."""
        return self.place(target).entry() if self._trees[target.area] is not None else Entry()

    def glance(self, target: Target) -> Entry:
        """What stands at a target, without reading its content."""
        return self.place(target).glance() if self._trees[target.area] is not None else Entry()

    def read(self, target: Target) -> bytes:
        """The content of the file at a target."""
        return self.place(target).read()

    def names(self, target: Target) -> list[str]:
        """What the directory at a target holds."""
        return self.place(target).names() if self._trees[target.area] is not None else []
