"""What may be pruned, as far as the ledger can tell: which steps are still applied, and what only they bring back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vvmigrate.engine.effects import TREE, Effect
from vvmigrate.engine.host import Host
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.state import ADOPT, SWITCH_LINK, Target
from vvmigrate.files import Place, Tree


def live_steps(ledger: Ledger) -> list[dict[str, Any]]:
    """The steps of revisions that the host has, oldest first: a downgrade may need what they recorded."""
    return sorted((step for steps in ledger.live().values() for step in steps), key=lambda step: int(step["seq"]))


def within(steps: list[dict[str, Any]], releases: int) -> list[dict[str, Any]]:
    """The steps that taking so many releases back goes through; a release is a run that moved the version up."""
    moved = [step for step in steps if step["direction"] == "up" and step["version_before"] != step["version_after"]]
    runs = list(dict.fromkeys(step["run_id"] for step in moved))[-releases:] if releases else []
    first = min((step["seq"] for step in moved if step["run_id"] in runs), default=None)
    return [] if first is None else [step for step in steps if step["seq"] >= first]


def linked(ledger: Ledger, steps: Iterable[dict[str, Any]]) -> set[str]:
    """Where the links that these steps switched point, before and after."""
    effects = _effects(ledger, steps)
    ends = (end for effect in effects if effect.action == SWITCH_LINK for end in (effect.before, effect.after))
    return {end.target for end in ends if end.target}


def _effects(ledger: Ledger, steps: Iterable[Mapping[str, Any]]) -> Iterator[Effect]:
    return (effect for step in steps for effect in ledger.effects(step["step_id"]))


def placed_trees(ledger: Ledger, noted: str = TREE) -> dict[Target, str]:
    """Every lasting directory that we ever placed, and what was noted of it then: see `effects.noted_of_tree`."""
    return {effect.target: str(effect.note[noted]) for effect in ledger.lasting() if noted in effect.note}


def dead_images(host: Host, ledger: Ledger) -> Iterator[tuple[Tree, Place]]:
    """Folders of before-images that no downgrade reads any more, and that hold no only copy of anything.

    Yields:
        The state directory and the folder.
    """
    live = {step["step_id"] for step in live_steps(ledger)}
    made = _made(ledger)
    for _, state in host.states():
        for name in (state / "undo").names():
            step = ledger.step(name)
            if name not in live and step is not None and step["seq"] > ledger.epoch_seq():
                effects = {effect.slot.rpartition("/")[2]: effect for effect in ledger.effects(name)}
                folder = state / f"undo/{name}"
                if all(_is_elsewhere(host, folder / slot, effects.get(slot), made) for slot in folder.names()):
                    yield state, folder


def _made(ledger: Ledger) -> set[tuple[Target, str]]:
    """What we put where, by digest: the release can make it again."""
    effects = _effects(ledger, ledger.committed())
    return {(e.target, e.after.digest) for e in effects if e.action != ADOPT and e.after.digest and not e.secret}


def _is_elsewhere(host: Host, image: Place, effect: Effect | None, made: set[tuple[Target, str]]) -> bool:
    """Whether a before-image is not the only copy: ours, a link, an empty directory, or what stands at its path."""
    if effect is None or effect.merge:
        return False
    seen = image.entry()
    if seen.kind == "dir":
        return not image.names()
    if seen.kind == "link":
        return True
    return seen.kind == "file" and ((effect.target, seen.digest) in made or host.entry(effect.target) == seen)


def size_of(place: Place) -> int:
    """Bytes of all files at and below a place."""
    seen = place.glance()
    if seen.kind != "dir":
        return seen.size_bytes
    return sum(size_of(place / name) for name in place.names())


def remove(state: Tree, place: Place) -> None:
    """Remove something on a state directory's file system: out of sight in one rename first, so that it is never half.

    A kill leaves it in `staging/`, which whoever comes next sweeps.
    """
    away = state / f"staging/pruned-{place.name.replace('/', '-')}"
    place.move(away)
    place.parent.fsync()
    away.parent.fsync()
    away.remove_tree()
    away.parent.fsync()
