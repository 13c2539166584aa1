"""A shadow: what is managed on a host, copied into a private folder, so that the real engine can be tried on the copy.

    home/         the release, `.env`, and a binding to the storage beside it
    storage/      what is recorded, what the revisions look at, and the ledger with its key

The user's videos are not copied, and neither is anything else that nobody looks at.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vvmigrate.engine import binding as bindings
from vvmigrate.engine import database, preflight
from vvmigrate.engine.host import HOME, ROOT, STATE, Host, state_tree
from vvmigrate.engine.session import DATABASE, Session
from vvmigrate.engine.state import Observer, Target
from vvmigrate.files import Entry, Owner, Place, Tree

STAND_IN = ".vv-not-copied"
"""Stands in a directory of the shadow that on the host holds what was not copied, so that it is not empty either."""

PRIVATE = ("ledger_id", "key", "anchor", "secrets")


class Watched:
    """A host that notes what is looked at."""

    def __init__(self, below: Observer) -> None:
        """Nothing was looked at yet."""
        self._below = below
        self.seen: set[Target] = set()

    def entry(self, target: Target) -> Entry:
        """What stands there."""
        self.seen.add(target)
        return self._below.entry(target)

    def read(self, target: Target) -> bytes:
        """The content of the file there."""
        self.seen.add(target)
        return self._below.read(target)

    def names(self, target: Target) -> list[str]:
        """What the directory there holds."""
        self.seen.add(target)
        return self._below.names(target)


@dataclass(frozen=True)
class Wanted:
    """What a shadow needs of its host.

    Attributes:
        release: the release's files, by name.
        targets: paths that are recorded, or that the revisions look at.
        trees: directories that are wanted with all that they hold; nobody writes into them (model generations).
        steps: of which before-images are needed.
        received: SHA-256 of downloads that may be there already, or in part.
    """

    release: tuple[str, ...]
    targets: frozenset[Target]
    trees: frozenset[Target] = frozenset()
    steps: frozenset[str] = frozenset()
    received: frozenset[str] = field(default_factory=frozenset)

    def single(self, area: str) -> list[Target]:
        """The paths of an area that are wanted by themselves: not as a part of a tree, and not the database."""
        return sorted(
            target
            for target in self.targets
            if target.area == area
            and not target.name.startswith(database.NAME)
            and not any(target.name.startswith(f"{tree.name}/") for tree in self.trees if tree.area == area)
        )


@dataclass(frozen=True)
class Shadow:
    """Where a shadow's two trees are."""

    home: Path
    root: Path


def cast(session: Session, wanted: Wanted, folder: Tree) -> Shadow:
    """Copy what is wanted of a host into an empty private folder.

    Raises:
        OSError: the disk refused, or the caller may not read something.
        RefusedError: no room; the database stayed locked.
    """
    host = session.host
    _check_room(host, wanted, folder)
    for name in ("home", "storage"):
        _directory(host, Target(HOME if name == "home" else ROOT, ""), folder / name)
    shadow = Shadow(Path((folder / "home").path), Path((folder / "storage").path))
    with (folder / "home").subtree() as home:
        for target in [*(Target(HOME, name) for name in wanted.release), *wanted.single(HOME)]:
            _bring(host.place(target), home / target.name)
        _bring_state(host, HOME, home, wanted)
        if session.bound is not None:
            with (home / STATE).subtree() as state:
                bindings.write(state, session.bound._replace(storage_root=str(shadow.root)))
    if host.tree(ROOT) is not None:
        with (folder / "storage").subtree() as root:
            _bring_storage(session, wanted, root)
    else:
        (folder / "storage").remove_directory()  # the engine makes it, as it would on the host
    return shadow


def _bring_storage(session: Session, wanted: Wanted, root: Tree) -> None:
    host = session.host
    for target in wanted.single(ROOT):
        _bring(host.place(target), root / target.name)
    for target in sorted(wanted.trees):
        if (root / target.name).identity()[0] == "dir":
            _bring_tree(host.place(target), root / target.name)
    _bring_state(host, ROOT, root, wanted)
    place = host.place(DATABASE)
    if place.identity()[0] == "file" and place.glance().size_bytes:
        _above(place.parent, (root / DATABASE.name).parent)
        database.copy(place, root / DATABASE.name, timeout_s=session.opening.database_timeout_s)
    tree = host.tree(ROOT)
    if tree is not None:
        _stand_in(tree / "", root / "")


# ---- one thing -------------------------------------------------------------------------------------------------------


def _given(info: os.stat_result) -> Owner | None:
    return Owner(info.st_uid, info.st_gid) if os.geteuid() == 0 else None


def _directory(host: Host, target: Target, into: Place) -> None:
    """A directory like one of the host's; a private one where the host has none."""
    info = host.place(target).stat() if host.tree(target.area) is not None else None
    into.make_directory(stat.S_IMODE(info.st_mode) if info else 0o700, _given(info) if info else None)


def _bring(source: Place, into: Place) -> None:
    """Copy what stands at a path, of a directory only itself, with the directories above it."""
    kind = source.identity()[0]
    if into.stat() is not None or not _above(source.parent, into.parent):
        return
    if kind == "dir":
        _above(source, into)
    elif kind in ("file", "link"):
        source.copy_to(into, passing=True)


def _above(source: Place, into: Place) -> bool:
    """Make the directories of a path as they are on the host; False where they are not all directories there."""
    if not source.name or into.identity()[0] == "dir":
        return True
    info = source.stat()
    if info is None or not stat.S_ISDIR(info.st_mode) or not _above(source.parent, into.parent):
        return False
    into.make_directory(stat.S_IMODE(info.st_mode), _given(info))
    return True


def _bring_tree(source: Place, into: Place, *, linked: bool = True) -> None:
    """Copy all that a directory holds; files of a model's generation get a second name where that is possible."""
    for name in source.names():
        mine, theirs = source / name, into / name
        kind = mine.identity()[0]
        if kind == "dir":
            _above(mine, theirs)
            _bring_tree(mine, theirs, linked=linked)
        elif kind == "link" or (kind == "file" and not (linked and _linked(mine, theirs))):
            mine.copy_to(theirs, passing=True)


def _linked(source: Place, into: Place) -> bool:
    try:
        source.make_hard_link(into)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES):
            raise
        return False
    return True


def _bring_state(host: Host, area: str, top: Tree, wanted: Wanted) -> None:
    """The ledger's key and its like, and before-images: also those that lie on other mounts, at the same places."""
    for key, state in host.states():
        if key.partition(":")[0] != area or not _above(state_place(host, key), top / key.partition(":")[2]):
            continue
        made = state_tree(top, key.partition(":")[2], make=True)
        if made is None:
            continue
        with made:
            if key == ROOT:
                _bring_ledger(state, made, wanted)
            for step in sorted(wanted.steps):
                if (state / f"undo/{step}").identity()[0] == "dir" and _above(
                    state / f"undo/{step}", made / f"undo/{step}"
                ):
                    _bring_tree(state / f"undo/{step}", made / f"undo/{step}", linked=False)
    if (top / STATE).stat() is None:
        (top / STATE).make_directory(0o700)


def state_place(host: Host, key: str) -> Place:
    """The directory that holds the state directory with this key."""
    area, _, name = key.partition(":")
    return host.place(Target(area, name))


def _bring_ledger(state: Tree, into: Tree, wanted: Wanted) -> None:
    for name in PRIVATE:
        _bring(state / name, into / name)
    if _above(state / "sources", into / "sources"):
        _bring_tree(state / "sources", into / "sources", linked=False)
    received = (name for name in (state / "downloads").names() if name.partition(".")[0] in wanted.received)
    for name in received:
        _bring(state / f"downloads/{name}", into / f"downloads/{name}")


def _stand_in(real: Place, copy: Place) -> None:
    """Where something was left out, a stand-in keeps the directory from being empty, as on the host."""
    mine = copy.names()
    if copy.name and set(real.names()) - set(mine):
        (copy / STAND_IN).write(b"")
    for name in mine:
        if name != STATE and (copy / name).identity()[0] == "dir":
            _stand_in(real / name, copy / name)


def _check_room(host: Host, wanted: Wanted, folder: Tree) -> None:
    """See that the copies have room; what the engine needs beside them it checks itself.

    Raises:
        RefusedError: there is none; with the figures.
    """
    _, need = preflight.room_at(folder)
    mount = (folder / "").mount()
    copied: list[Place] = [host.place(Target(HOME, name)) for name in wanted.release]
    copied += [host.place(target) for area in (HOME, ROOT) if host.tree(area) for target in wanted.single(area)]
    trees = [host.place(tree) for tree in wanted.trees if host.tree(tree.area)]
    trees = [tree for tree in trees if tree.identity()[0] == "dir" and tree.mount() != mount]
    trees += [state / f"undo/{step}" for _, state in host.states() for step in wanted.steps]
    state = host.state(ROOT)
    if state is not None:
        trees += [state / "sources"]
        copied += [state / f"downloads/{name}" for name in (state / "downloads").names()]
    need.staged_bytes = sum(place.glance().size_bytes for place in [*copied, *_files(trees)])
    if host.tree(ROOT) is not None:
        need.staged_bytes += host.place(DATABASE).glance().size_bytes
    need.spare_bytes = preflight.SPARE_BYTES
    need.check()


def _files(trees: Iterable[Place]) -> Iterator[Place]:
    for tree in trees:
        for name in tree.names():
            place = tree / name
            if place.identity()[0] == "dir":
                yield from _files([place])
            else:
                yield place
