"""A private folder for what must not outlive its maker: `rehearsal/` in a state directory.

It is held by a lock on the directory itself, which the kernel frees however its holder ends. Whoever can take that lock
finds only what a holder that was killed has left, and removes it. Of one that is not in the home's own state directory
a note is there, `rehearsal.<n>`, from before anything is put into it until it is empty again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from vvmigrate.engine import vault
from vvmigrate.engine.contents import LODGING
from vvmigrate.engine.host import STATE, state_tree
from vvmigrate.errors import LockedError, RefusedError, VvmigrateError
from vvmigrate.files import Tree

FOLDER = LODGING
_NOTE = re.compile(FOLDER + r"\.[0-9a-f]{16}")


class Note(NamedTuple):
    """Where somebody lodges.

    Attributes:
        folder: the absolute path of what holds the state directory.
        inode: of this folder: where its disk is not mounted, or another one, stands something else.
    """

    folder: str
    inode: int

    @property
    def name(self) -> str:
        """The note's name in the home's state directory."""
        return f"{FOLDER}.{hashlib.sha256(self.folder.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


@contextmanager
def lodging(top: Tree, home: Tree | None = None) -> Iterator[Tree]:
    """A private, empty folder in the state directory of some folder; nothing of it is left when the block ends.

    Args:
        home: the home, where the folder is another one.

    Raises:
        LockedError: somebody else lodges there.
        StateError: a state directory is not the caller's own.
    """
    from vvmigrate.engine.signals import put_off  # not at the top: who only asks for the notes has no use for it

    note = Note(str(top.path), _inode(top))
    with _state(top) as state, _state(home) if home else nullcontext() as notes, _taken(state) as folder:
        try:
            if notes:
                (notes / note.name).replace(json.dumps(note._asdict()).encode())
            yield folder
        finally:
            with put_off():
                _leave(state, folder, notes, note.name)


@contextmanager
def _state(top: Tree) -> Iterator[Tree]:
    """The state directory of a folder; one that had to be made goes with the block."""
    known = (top / STATE).stat() is not None
    state = state_tree(top, make=True)
    if state is None:
        raise AssertionError("a state directory was made, and is not there")
    try:
        yield state
    finally:
        state.close()
        if not known:
            _remove_empty(top)


def _remove_empty(top: Tree) -> None:
    with suppress(OSError):  # somebody has put something there meanwhile
        (top / STATE).remove_directory()


@contextmanager
def _taken(state: Tree) -> Iterator[Tree]:
    with suppress(FileExistsError):
        (state / FOLDER).make_directory(0o700)
    with (state / FOLDER).subtree() as folder:
        if not folder.hold():
            raise LockedError(
                f"{folder.path}: another rehearsal works there",
                hint="wait for it, or: vvmigrate rehearse --in DIR",
                path=str(folder.path),
            )
        _empty(folder)
        yield folder


def _leave(state: Tree, folder: Tree, notes: Tree | None, name: str) -> None:
    """Nothing is there any more, durably where it is noted; only then the note goes."""
    _empty(folder)
    if notes is not None:
        folder.fsync()
        (notes / name).remove_file(missing_ok=True)
    (state / FOLDER).remove_directory()


def noted(state: Tree | None) -> list[str]:
    """The names of the notes in a home's state directory."""
    names = (state / "").names() if state is not None else ()
    return [name for name in names if _NOTE.fullmatch(name)]


def read(state: Tree, name: str) -> Note:
    """One note.

    Raises:
        RefusedError: it cannot be understood.
    """
    try:
        return Note(**(vault.read_json(state, name) or {}))
    except TypeError as error:
        path = (state / name).path
        raise RefusedError(f"{path}: does not say where a rehearsal was: {error}", path=path) from error


def sweep(state: Tree | None) -> list[str]:
    """Remove what a holder that was killed has left; one that still works is left alone.

    Returns:
        A sentence for each folder beyond the home in which something may have been left, and nothing is any more. Where
        that cannot be told, as of a disk that is not there, the note stays.
    """
    if state is None:
        return []
    if (state / FOLDER).stat() is not None:
        with (state / FOLDER).subtree() as folder:
            if folder.hold():
                _leave(state, folder, None, "")
    swept: list[str] = []
    for name in noted(state):
        with suppress(OSError, VvmigrateError):
            swept += _sweep_elsewhere(state, name)
    return [f"what a rehearsal that was killed had left in {folder} is removed" for folder in swept]


def _sweep_elsewhere(notes: Tree, name: str) -> list[str]:
    note = read(notes, name)
    with Tree.open(Path(note.folder)) as top:
        if _inode(top) != note.inode:
            return []
        with _state(top) as state, _taken(state) as folder:
            _leave(state, folder, notes, name)
        _remove_empty(top)
    return [note.folder]


def _inode(top: Tree) -> int:
    info = (top / "").stat()
    return info.st_ino if info is not None else 0


def _empty(folder: Tree) -> None:
    for name in (folder / "").names():
        (folder / name).remove_tree()
