"""What lies in a state directory, by name and kind: nothing of ours is put where something else stands."""

from __future__ import annotations

import os
import stat
from itertools import count
from shlex import quote

from vvmigrate.errors import StateError
from vvmigrate.files import Place, Tree

FOLDERS = ("staging", "undo", "sources", "downloads")
LODGING, LOCK, RESERVE, RUN, DECISION = "rehearsal", "lock", "reserve", "run", "decision"
KINDS = {
    **dict.fromkeys((*FOLDERS, LODGING), "dir"),
    **dict.fromkeys((LOCK, RESERVE, RUN, DECISION), "file"),
}
"""What stands under these names, where anything does. Of our other files whoever reads them has a better word."""
_WORDS = {"dir": "a directory", "file": "a file"}


def check(state: Tree) -> None:
    """See that nothing else stands where we keep something of ours.

    Raises:
        StateError: something does.
    """
    if wrong := _wrong(state):
        found = [f"{place.path}: expected {_WORDS[kind]}, found {describe(place.stat())}" for place, kind in wrong]
        raise StateError(
            "; ".join(found),
            hint="put back what was there; if that is lost: "
            + " && ".join([*(move_away(place) for place, _ in wrong), "vvmigrate doctor"]),
            path=wrong[0][0].path,
        )


def is_in_order(state: Tree) -> bool:
    """Whether `check` has nothing to say."""
    return not _wrong(state)


def _wrong(state: Tree) -> list[tuple[Place, str]]:
    places = ((state / name, kind) for name, kind in KINDS.items())
    return [(place, kind) for place, kind in places if place.identity()[0] not in (kind, "absent")]


def beside(place: Place) -> Place:
    """A free name for what stands in the way of one of our files, beside it."""
    names = (place.tree / f"{place.name}.damaged.{n}" for n in count(1))
    return next(free for free in names if free.stat() is None)


def move_away(place: Place) -> str:
    """The command by which a person gives that name to it: nothing is lost."""
    return f"mv {quote(place.path)} {quote(beside(place).path)}"


def describe(info: os.stat_result | None) -> str:
    """Kind, owner and mode in a few words."""
    if info is None:
        return "nothing"
    return f"{stat.filemode(info.st_mode)} of user {info.st_uid}"
