"""Staging: every change becomes an effect whose AFTER lies durable in a slot, out of sight."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from vvmigrate.engine import vault
from vvmigrate.engine.effects import CONTENT, CONTENT_BYTES, Effect, noted_of_tree
from vvmigrate.engine.host import Host, make_folders
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, MAKE_DIRECTORY, PLACE_FILE, PLACE_TREE, Change, Target
from vvmigrate.files import Entry, Owner, Place, Tree


def _given(owner: Owner) -> Owner | None:
    """Only root gives things away."""
    return owner if os.geteuid() == 0 else None


def stage(host: Host, step_id: str, changes: Iterable[Change]) -> tuple[Effect, ...]:
    """Put the AFTER of every change into its slot.

    Args:
        step_id: names the staging folder.

    Returns:
        The effects, in the order of the changes, with AFTER as it really came out.

    Raises:
        OSError: the disk refused.
        VvmigrateError: whatever a change's `fill` raises.
    """
    effects: list[Effect] = []
    opened: dict[str, Tree] = {}
    left: dict[Target, Entry] = {}
    slots: dict[Target, Place] = {}
    for number, change in enumerate(changes):
        if change.text:
            vault.keep_source(host.private, change.text, vault.TEXT)
        first = change._replace(before=left.get(change.target, change.before))  # what this very step will have left
        effects.append(_stage_one(host, step_id, number, first, opened, slots.get(change.target)))
        left[change.target] = effects[-1].after
        if effects[-1].slot:
            slots[change.target] = effects[-1].slot_place(host)
    for state in opened.values():
        (state / f"staging/{step_id}").fsync()
        (state / "staging").fsync()
    return tuple(effects)


def _stage_one(
    host: Host, step_id: str, number: int, change: Change, opened: dict[str, Tree], earlier: Place | None
) -> Effect:
    """Stage one change.

    Args:
        earlier: where lies what this very step will have put there before.
    """
    effect = Effect(
        change.action,
        change.target,
        change.before,
        change.after,
        merge=change.merge,
        secret=change.secret,
        lasting=change.lasting,
        detail=change.detail,
        note=dict(change.note),
    )
    if change.action in (ADOPT, ATTRIBUTES):
        return effect
    store = host.state_key(change.target)
    slot = change.source or f"staging/{step_id}/{number}"
    effect = effect._replace(store=store, slot=slot)
    if store not in opened:
        opened[store] = _folder(host, store, step_id)
    place = opened[store] / slot
    if change.source:
        return effect
    if change.after.exists:
        digests = _fill(change, place)
    if change.merge:
        before, after = effect.merge_places(host)
        after.write(place.read() if change.after.exists else b"")
        if change.before.exists:
            before.write(earlier.read() if earlier is not None else host.read(change.target))
    if not change.after.exists:
        return effect
    note = effect.note
    if change.action == PLACE_TREE:
        note = {**note, **noted_of_tree(place, digests)}
    elif change.action == PLACE_FILE and not change.secret and (text := _text(place)) is not None:
        note = {**note, CONTENT: text}
    return effect._replace(after=place.entry(), note=note)


def _text(place: Place) -> str | None:
    """The text of a small file; None for a larger one, and for what is no text."""
    if place.glance().size_bytes > CONTENT_BYTES:
        return None
    with suppress(UnicodeDecodeError):
        return place.read().decode("utf-8")
    return None


def _folder(host: Host, store: str, step_id: str) -> Tree:
    state = host.state(store)
    if state is None:
        raise FileNotFoundError(f"no state directory for {store}")
    make_folders(state)
    (state / f"staging/{step_id}").make_directory(0o700)
    return state


def _fill(change: Change, place: Place) -> Mapping[str, str] | None:
    after = change.after
    if change.fill is not None:
        return change.fill(place)
    if change.action == MAKE_DIRECTORY:
        place.make_directory(after.mode, _given(after.owner))
    elif after.kind == "link":
        place.make_link(after.target, _given(after.owner))
    else:
        place.write(change.content or b"", after.mode, _given(after.owner))
    return None


def settle_images(host: Host, step_id: str) -> None:
    """The step is committed: its before-images move from staging to `undo/`, in one rename a state directory."""
    for _, state in host.states():
        staged = state / f"staging/{step_id}"
        if staged.names():
            staged.move(state / f"undo/{step_id}")
        elif staged.stat() is not None:
            staged.remove_directory()
        # Also where a run that was killed had moved them: else the journal's removal could outlive the move.
        for folder in ("undo", "staging"):
            if (state / folder).stat() is not None:
                (state / folder).fsync()


def sweep(host: Host) -> None:
    """Empty every staging folder: nothing there is anybody's. Only where no journal waits."""
    for _, state in host.states():
        staging = state / "staging"
        for name in staging.names():
            (staging / name).remove_tree()
        if staging.stat() is not None:
            staging.fsync()
