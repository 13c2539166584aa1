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

    def merge_place(self, host: Host) -> Place:
        """Where a copy of AFTER is kept for taking a merged file back by key."""
        slot = self.slot_place(host)
        return Place(slot.tree, slot.name + ".after")


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
        _verify_out(slot, path, effect, back=lambda: slot.exchange(path))
    else:
        try:
            path.move(slot)
        except FileNotFoundError:
            raise _conflict(path, effect.before.kind, path.entry()) from None
        _verify_out(slot, path, effect, back=lambda: slot.move(path))


def _verify_out(slot: Place, path: Place, effect: Effect, *, back: Callable[[], None]) -> None:
    """What came out must be BEFORE: somebody may have saved between the look and the rename (then give it back)."""
    out = slot.entry()
    emptied = effect.after.exists or out.kind != "dir" or not slot.names()
    if _is(out, effect.before) and emptied:
        return
    back()
    raise _conflict(path, "what was read before", out)


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
    seen, wanted = path.entry(), effect.after
    if (seen.kind, seen.mode, seen.owner) == (wanted.kind, wanted.mode, wanted.owner):
        path.set_attributes(effect.before.mode, effect.before.owner if wanted.owner != effect.before.owner else None)
    return []


def _undo_creation(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    slot, seen = effect.slot_place(host), path.entry()
    if not seen.exists or slot.stat() is not None:
        return []  # never published: AFTER is still in the slot, and what stands at the path is somebody else's
    if effect.action == MAKE_DIRECTORY and seen.kind == "dir":
        try:
            path.remove_directory()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return [Kept(path.path, "holds what we did not make")]
        return []
    if _is(seen, effect.after):
        path.move(slot)
        if _is(slot.entry(), effect.after):
            return []
        slot.move(path)
    if effect.merge:
        return _undo_merged(effect, host, path, mergers)
    return [Kept(path.path, "changed by somebody else after we had made it")]


def _undo_replacement(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    slot = effect.slot_place(host)
    out, seen = slot.entry(), path.entry()
    if not out.exists or (effect.after.exists and _is(out, effect.after)):
        return []  # not applied, or undone already
    if not seen.exists:
        slot.move(path)
        return []
    if effect.after.exists and _is(seen, effect.after):
        slot.exchange(path)  # also where a save came out instead of BEFORE: its owner gets it back
        if _is(slot.entry(), effect.after):
            return []
        slot.exchange(path)
    if effect.merge:
        return _undo_merged(effect, host, path, mergers)
    return [_beside(path, slot)]


def _undo_merged(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    """Take our keys out of the file as it is now; the edited file stays the one that services read."""
    slot = effect.slot_place(host)
    for _ in range(ATTEMPTS):
        seen = path.entry()
        if seen.kind != "file":
            occupied = effect.before.exists and slot.stat() is not None
            return [_beside(path, slot) if occupied else Kept(path.path, f"is a {seen.kind} now")]
        current = path.read()
        before = slot.read() if effect.before.exists else None
        wanted, _ = mergers[effect.merge](current, before, effect.merge_place(host).read(), effect.note)
        if wanted == current or _swap_in(wanted, path, Place(slot.tree, slot.name + ".merged"), seen, current):
            return [Kept(path.path, "edited meanwhile: the edit stays, what we had added is gone")]
    raise _conflict(path, "a file that nobody saves all the time", path.entry())


def _swap_in(wanted: bytes | None, path: Place, fresh: Place, seen: Entry, current: bytes) -> bool:
    """Put new content (None: nothing) in the file's place; False, and nothing changed, if somebody saved meanwhile."""
    fresh.remove_file(missing_ok=True)
    if wanted is None:
        path.move(fresh)
        if fresh.read() == current:
            return True
        fresh.move(path)
        return False
    fresh.write(wanted, seen.mode, seen.owner if os.geteuid() == 0 else None)
    fresh.exchange(path)
    if fresh.read() == current:
        return True
    fresh.exchange(path)
    return False


def _beside(path: Place, slot: Place) -> Kept:
    """The user's stays where it is; BEFORE goes beside it under a free name."""
    for number in count():
        beside = Place(path.tree, f"{path.name}.vv-before" + (f".{number}" if number else ""))
        with suppress(FileExistsError):
            slot.move(beside)
            beside.parent.fsync()
            return Kept(path.path, f"changed by somebody else meanwhile; what was there before is {beside.path}")
    raise AssertionError("unreachable: some name is free")
