"""A private folder for what must not outlive its maker: `rehearsal/` in a state directory.

It is held by a lock on the directory itself, which the kernel frees however its holder ends. Whoever can take that lock
finds only what a holder that was killed has left, and removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vvmigrate.engine.host import STATE, state_tree
from vvmigrate.engine.signals import put_off
from vvmigrate.errors import LockedError
from vvmigrate.files import Tree

FOLDER = "rehearsal"


@contextmanager
def lodging(top: Tree) -> Iterator[Tree]:
    """A private, empty folder in the state directory of some folder; nothing of it is left when the block ends.

    Raises:
        LockedError: somebody else lodges there.
        StateError: the state directory is not the caller's own.
    """
    known = (top / STATE).stat() is not None
    state = state_tree(top, make=True)
    if state is None:
        raise AssertionError("a state directory was made, and is not there")
    try:
        with _taken(state) as folder:
            try:
                yield folder
            finally:
                with put_off():
                    _empty(folder)
                    (state / FOLDER).remove_directory()
    finally:
        state.close()
        if not known:
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


def sweep(state: Tree | None) -> None:
    """Remove what a holder that was killed has left; one that still works is left alone."""
    if state is None or (state / FOLDER).stat() is None:
        return
    with (state / FOLDER).subtree() as folder:
        if folder.hold():
            _empty(folder)
            (state / FOLDER).remove_directory()


def _empty(folder: Tree) -> None:
    for name in (folder / "").names():
        (folder / name).remove_tree()
