"""Undoing: what a step that did not happen had made visible goes back, and nothing of the user's is lost.

Every function looks before it acts, so that an undo which is killed anywhere is simply done again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count

from vvmigrate.engine.effects import Effect, Merger, aside, is_same
from vvmigrate.engine.host import Host
from vvmigrate.engine.publish import ATTEMPTS, conflict, give_back, put_back
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, MAKE_DIRECTORY, Kept
from vvmigrate.files import Entry, Place


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
        if not put_back(slot, path):  # a save that was taken out by an undo which was killed before it looked
            return [_beside(path, slot)]
    if effect.action == MAKE_DIRECTORY and path.identity()[0] == "dir":
        return _undo_directory(path)
    if effect.is_after(path):
        with suppress(FileNotFoundError):
            path.move(slot)
        if slot.stat() is not None and not effect.is_after(slot) and not put_back(slot, path):
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
        return [] if put_back(slot, path) else [_beside(path, slot)]
    if effect.after.exists and effect.is_after(path):
        give_back(slot, path, effect.after)  # also where a save came out instead of BEFORE: its owner gets it back
        if effect.is_after(slot):
            return []
    if effect.merge and slot.identity()[0] == "file":
        return _undo_merged(effect, host, path, mergers)
    if effect.before.kind != "dir" and all(is_same(place.entry(), effect.before) for place in (path, slot)):
        return []  # its owner has put it back already
    return [_beside(path, slot)]


def _undo_merged(effect: Effect, host: Host, path: Place, mergers: Mapping[str, Merger]) -> list[Kept]:
    """Take what we did out of the file as it is now; the edited file stays the one that services read."""
    slot = effect.slot_place(host)
    copies = effect.merge_places(host)
    before = copies[0].read() if effect.before.exists else None
    after = copies[1].read()
    fresh = aside(slot, ".merged")
    kept = _after_a_killed_swap(path, fresh)
    for _ in range(ATTEMPTS):
        seen = path.entry()
        if not seen.exists and before is not None and put_back(slot, path):
            return kept
        if seen.kind != "file":
            left = _beside(path, slot) if before is not None else Kept(path.path, f"is a {seen.kind} now")
            return [*kept, left] if seen.exists or before is not None else kept
        current = path.read()
        found = mergers[effect.merge](current, before, after, effect.note)
        if found.content == current or _swap_in(found.content, path, fresh, seen, current):
            older_save = before is not None and not is_same(slot.entry(), effect.before)
            if older_save or (before is not None and not found.told):
                kept.append(_beside(path, slot))
            undone = "what we had done to it is undone" if found.told else "what we had done to it cannot be told"
            return [*kept, Kept(path.path, f"edited meanwhile: the edit stays, {undone}")]
    raise conflict(path, "a file that nobody saves all the time", path.entry())


def _swap_in(wanted: bytes | None, path: Place, fresh: Place, seen: Entry, current: bytes) -> bool:
    """Put new content (None: nothing) in the file's place; False, and nothing changed, if somebody saved meanwhile."""
    copy = aside(fresh, ".wanted")  # tells what was ours if we are killed between the exchange and the look
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
        give_back(fresh, path, ours)
    elif not put_back(fresh, path):
        _beside(path, fresh)
    return False


def _after_a_killed_swap(path: Place, fresh: Place) -> list[Kept]:
    """What an undo that was killed had taken out, and not looked at yet, may be a save: it goes back, or beside."""
    copy = aside(fresh, ".wanted")
    if fresh.stat() is None:
        return []
    if copy.stat() is None:
        return [] if put_back(fresh, path) else [_beside(path, fresh)]
    if is_same(path.entry(), copy.entry()):
        give_back(fresh, path, copy.entry())
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
