"""A visible change of the file system, with its exact inverse.

Every effect but a change of mode has a *slot*: a private place on the same mount. Before the effect the slot holds
AFTER and the path BEFORE; after it, the other way round. Applying and undoing are one rename each, so that neither
needs space, and whatever was replaced keeps its inode, mode, owner and attributes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any, Self

from vvmigrate.engine.host import Host
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, MAKE_DIRECTORY, Kept, Target
from vvmigrate.errors import ConflictError, StateError
from vvmigrate.files import Entry, Place

ATTEMPTS = 100
"""How often a merge is tried against somebody who saves all the time."""

TREE = "tree"
"""Key of an effect's note: digest of everything below a directory that we placed."""

Merger = Callable[[bytes, bytes | None, bytes, Mapping[str, Any]], tuple[bytes | None, tuple[tuple[str, str], ...]]]
"""Takes what we did out of a file that somebody changed since: (current, before, after, note) to the new content, or
None where nothing is left of it, and (key, reason) of what stays."""


@dataclass(frozen=True)
class Effect:
    """One change, staged. See `state.Change` for the attributes of the same name.

    Attributes:
        store: key of the state directory that holds the slot.
        slot: the slot's name there: below `staging/` until the step is committed, below `undo/` from then on.
    """

    action: str
    target: Target
    before: Entry
    after: Entry
    store: str = ""
    slot: str = ""
    merge: str = ""
    secret: bool = False
    lasting: bool = False
    detail: str = ""
    note: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote.

        Raises:
            TypeError, KeyError: it is something else.
        """
        values = dict(data)
        values["target"] = Target(**values["target"])
        values["before"], values["after"] = Entry(**values["before"]), Entry(**values["after"])
        return cls(**values)

    def settled(self) -> Self:
        """The effect as it is once its step is committed and its before-image has moved to `undo/`."""
        return replace(self, slot=self.slot.replace("staging/", "undo/", 1))

    def slot_place(self, host: Host) -> Place:
        """Where the slot is.

        Raises:
            StateError: its state directory is gone.
        """
        state = host.state(self.store)
        if state is None:
            raise StateError(f"the state directory of {self.store} is not there")
        return state / self.slot

    def merge_places(self, host: Host) -> tuple[Place, Place]:
        """Where copies of BEFORE and AFTER are kept for taking a merged file back by key."""
        slot = self.slot_place(host)
        return _aside(slot, ".before"), _aside(slot, ".after")

    def is_after(self, place: Place) -> bool:
        """Whether AFTER stands at a place, as we made it: also with nothing added to a directory, nothing changed."""
        if not _is(place.entry(), self.after):
            return False
        return TREE not in self.note or place.entry(tree=True).digest == self.note[TREE]


def _aside(slot: Place, suffix: str) -> Place:
    return Place(slot.tree, slot.name + suffix)


def _is(seen: Entry, wanted: Entry) -> bool:
    """Whether it is the same thing: kind and content, as far as both are known."""
    if seen.kind != wanted.kind:
        return False
    if seen.kind == "dir":
        return True
    return seen.same_content(wanted)


def apply(effect: Effect, host: Host) -> None:
    """Publish AFTER.

    Raises:
        ConflictError: what stands there is not BEFORE; it is untouched.
        OSError: the kernel refused.
    """
    if effect.action == ADOPT:
        return
    path = host.place(effect.target)
    if effect.action == ATTRIBUTES:
        _expect(path.entry(), effect.before, path)
        path.set_attributes(
            effect.after.mode, effect.after.owner if effect.after.owner != effect.before.owner else None
        )
        return
    slot = effect.slot_place(host)
    if not effect.before.exists:
        try:
            slot.move(path)
        except FileExistsError:
            raise _conflict(path, "nothing", path.entry()) from None
    elif effect.after.exists:
        try:
            slot.exchange(path)
        except FileNotFoundError:
            raise _conflict(path, effect.before.kind, path.entry()) from None
        _verify_out(slot, path, effect, back=lambda: _give_back(slot, path, effect.after))
    else:
        try:
            path.move(slot)
        except FileNotFoundError:
            raise _conflict(path, effect.before.kind, path.entry()) from None
        _verify_out(slot, path, effect, back=lambda: _put_back(slot, path))


def _verify_out(slot: Place, path: Place, effect: Effect, *, back: Callable[[], object]) -> None:
    """What came out must be BEFORE: somebody may have saved between the look and the rename (then give it back)."""
    out = slot.entry()
    emptied = effect.after.exists or out.kind != "dir" or not slot.names()
    if _is(out, effect.before) and emptied:
        return
    back()
    raise _conflict(path, "what was read before", out)


def _give_back(slot: Place, path: Place, ours: Entry) -> None:
    """Exchange until what comes out is what we had put in: a save in between is given back too, the newest last.

    Args:
        ours: what stands at the path, unless somebody saved again.
    """
    for _ in range(ATTEMPTS):
        theirs = slot.entry()
        try:
            slot.exchange(path)
        except FileNotFoundError:
            _put_back(slot, path)
            return
        if _is(slot.entry(), ours):
            return
        ours = theirs


def _put_back(slot: Place, path: Place) -> bool:
    """Give back what was taken away; False, and it stays in the slot, where somebody made something new meanwhile."""
    try:
        slot.move(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


def _expect(seen: Entry, wanted: Entry, path: Place) -> None:
    if (seen.kind, seen.mode, seen.owner) != (wanted.kind, wanted.mode, wanted.owner):
        raise _conflict(path, f"{wanted.kind} with mode {wanted.mode:04o}", seen)


def _conflict(path: Place, expected: str, found: Entry) -> ConflictError:
    return ConflictError(
        f"{path.path}: changed by somebody else meanwhile: expected {expected}, found {found.kind}",
        hint="run the command again",
        path=path.path,
    )


def undo(effect: Effect, host: Host, mergers: Mapping[str, Merger]) -> list[Kept]:
    """Make the path what it was before the effect; idempotent, by rename only, and never over something of the user's.

    Returns:
        What stays because somebody else changed it meanwhile, with the place where BEFORE lies.

    Raises:
        OSError: the kernel refused; it can be tried again.
    """
    if effect.action == ADOPT:
        return []
    path = host.place(effect.target)
    if effect.action == ATTRIBUTES:
        return _undo_attributes(effect, path)
    if not effect.before.exists:
        return _undo_creation(effect, host, path, mergers)
    return _undo_replacement(effect, host, path, mergers)


def _undo_attributes(effect: Effect, path: Place) -> list[Kept]:
    seen, wanted, before = path.entry(), effect.after, effect.before
    if (seen.kind, seen.mode, seen.owner) == (wanted.kind, wanted.mode, wanted.owner):
        path.set_attributes(before.mode, before.owner if wanted.owner != before.owner else None)
    elif seen.exists and (seen.kind, seen.mode, seen.owner) != (before.kind, before.mode, before.owner):
        return [Kept(path.path, "its mode or owner was changed by somebody else meanwhile, or it was replaced")]
    return []


def _undo_creation(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    slot = effect.slot_place(host)
    if slot.stat() is not None:
        if effect.is_after(slot):
            return []  # never published, or undone: what stands at the path is somebody else's
        if not _put_back(slot, path):  # a save that was taken out by an undo which was killed before it looked
            return [_beside(path, slot)]
    if effect.action == MAKE_DIRECTORY and path.identity()[0] == "dir":
        return _undo_directory(path)
    if effect.is_after(path):
        with suppress(FileNotFoundError):
            path.move(slot)
        if slot.stat() is not None and not effect.is_after(slot) and not _put_back(slot, path):
            return [_beside(path, slot)]
    left = path.stat() is not None
    if effect.merge and left:
        return _undo_merged(effect, host, path, mergers)
    return [Kept(path.path, "changed by somebody else after we had made it")] if left else []


def _undo_directory(path: Place) -> list[Kept]:
    try:
        path.remove_directory()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return [Kept(path.path, "holds what we did not make")]
    return []


def _undo_replacement(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    slot = effect.slot_place(host)
    if slot.stat() is None or (effect.after.exists and effect.is_after(slot)):
        return []  # not applied, or undone already
    if not path.entry().exists:
        return [] if _put_back(slot, path) else [_beside(path, slot)]
    if effect.after.exists and effect.is_after(path):
        _give_back(slot, path, effect.after)  # also where a save came out instead of BEFORE: its owner gets it back
        if effect.is_after(slot):
            return []
    if effect.merge and slot.identity()[0] == "file":
        return _undo_merged(effect, host, path, mergers)
    if effect.before.kind != "dir" and all(_is(place.entry(), effect.before) for place in (path, slot)):
        return []  # its owner has put it back already
    return [_beside(path, slot)]


def _undo_merged(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    """Take our keys out of the file as it is now; the edited file stays the one that services read."""
    slot = effect.slot_place(host)
    copies = effect.merge_places(host)
    before = copies[0].read() if effect.before.exists else None
    after = copies[1].read()
    fresh = _aside(slot, ".merged")
    kept = _after_a_killed_swap(path, fresh)
    for _ in range(ATTEMPTS):
        seen = path.entry()
        if not seen.exists and before is not None and _put_back(slot, path):
            return kept
        if seen.kind != "file":
            left = _beside(path, slot) if before is not None else Kept(path.path, f"is a {seen.kind} now")
            return [*kept, left] if seen.exists or before is not None else kept
        current = path.read()
        wanted, _ = mergers[effect.merge](current, before, after, effect.note)
        if wanted == current or _swap_in(wanted, path, fresh, seen, current):
            older_save = before is not None and not _is(slot.entry(), effect.before)
            if older_save or (_lines(after) <= _lines(before) and not _lines(before) <= _lines(wanted)):
                kept.append(_beside(path, slot))  # also where we had taken lines out that have not all come back
            return [*kept, Kept(path.path, "edited meanwhile: the edit stays, what we had added is gone")]
    raise _conflict(path, "a file that nobody saves all the time", path.entry())


def _lines(data: bytes | None) -> frozenset[bytes]:
    return frozenset((data or b"").splitlines())


def _swap_in(wanted: bytes | None, path: Place, fresh: Place, seen: Entry, current: bytes) -> bool:
    """Put new content (None: nothing) in the file's place; False, and nothing changed, if somebody saved meanwhile."""
    copy = _aside(fresh, ".wanted")  # tells what was ours if we are killed between the exchange and the look
    for place in (fresh, copy):
        place.remove_file(missing_ok=True)
    try:
        if wanted is None:
            path.move(fresh)
        else:
            copy.write(wanted)
            fresh.write(wanted, seen.mode, seen.owner if os.geteuid() == 0 else None)
            ours = fresh.entry()
            fresh.exchange(path)
    except FileNotFoundError:
        return False
    if fresh.identity()[0] == "file" and fresh.read() == current:
        return True
    if wanted is not None:
        _give_back(fresh, path, ours)
    elif not _put_back(fresh, path):
        _beside(path, fresh)
    return False


def _after_a_killed_swap(path: Place, fresh: Place) -> list[Kept]:
    """What an undo that was killed had taken out, and not looked at yet, may be a save: it goes back, or beside."""
    copy = _aside(fresh, ".wanted")
    if fresh.stat() is None:
        return []
    if copy.stat() is None:
        return [] if _put_back(fresh, path) else [_beside(path, fresh)]
    if _is(path.entry(), copy.entry()):
        _give_back(fresh, path, copy.entry())
        return []
    unpublished = fresh.identity()[0] == "file" and copy.read().startswith(fresh.read())
    return [] if unpublished else [_beside(path, fresh)]


def _beside(path: Place, slot: Place) -> Kept:
    """The user's stays where it is; BEFORE goes beside it under a free name, or above it where its folder is gone."""
    folder = path.parent
    while folder.name and folder.identity()[0] != "dir":
        folder = folder.parent
    for number in count():
        beside = folder / (f"{os.path.basename(path.name)}.vv-before" + (f".{number}" if number else ""))
        with suppress(FileExistsError):
            slot.move(beside)
            beside.parent.fsync()
            return Kept(path.path, f"changed by somebody else meanwhile; what was there before is {beside.path}")
    raise AssertionError("unreachable: some name is free")
