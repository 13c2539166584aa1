"""The information file, which tells services of the current models: one entry for each, whichever revision made it.

It goes back entry by entry where another revision has told of its own model since: a degraded step that was done again
behind a later revision's step, for one. Where nobody has, it goes back as a whole, like any file. One that is lost is
what was recorded of it: whoever writes the next entry forgets no model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from typing import Any

from vvmigrate.content.store import INFO, MODELS
from vvmigrate.engine import state as st
from vvmigrate.engine.effects import CONTENT, MENDED, Effect
from vvmigrate.engine.state import Change, Proposal, Target
from vvmigrate.files import ABSENT
from vvmigrate.operations.base import Situation, root

Models = dict[str, Any]


def as_json(value: Any) -> bytes:
    """How it is written, and each entry beside its generation."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def written(models: Models) -> bytes:
    """The file that tells of these models, by name."""
    return as_json({"schema": 1, "models": models})


def told(data: bytes | str) -> Models | None:
    """The entries of such a file by model; None of one that cannot be read."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    models = value.get("models") if isinstance(value, dict) else None
    return models if isinstance(models, dict) else None


def current(situation: Situation) -> Models | None:
    """What it tells now; None where it is not there, or cannot be read."""
    target = root(INFO)
    if situation.observer.entry(target).kind != "file":
        return None
    try:
        return told(situation.observer.read(target))
    except OSError:
        return None


def recorded(situation: Situation) -> Models:
    """What it told when we wrote it last; where that is too long to be noted, what lies beside the generations."""
    target, known = root(INFO), situation.recorded()
    if target not in known or situation.ledger is None:
        return {}
    digest = known[target][0].after.digest
    for _, effect in reversed(situation.ledger.life(target)):
        if effect.after.digest == digest and (models := told(str(effect.note.get(CONTENT, "")))) is not None:
            return models
    ends = {link.name: e.after.target for link, (e, _) in known.items() if e.after.kind == "link"}
    ends = {os.path.basename(name): end for name, end in ends.items() if os.path.dirname(name) == MODELS}
    entries = {name: beside(situation, root(f"{MODELS}/{end}")) for name, end in ends.items()}
    return {name: entry for name, entry in entries.items() if entry is not None}


def entry_of(generation: Target) -> Target:
    """Where it stands what services are told of a generation in the store, for as long as it is there."""
    return Target(generation.area, f"{generation.name}.json")


def beside(situation: Situation, generation: Target) -> dict[str, Any] | None:
    """The entry that came with a generation when it was first installed; None where there is none."""
    place = entry_of(generation)
    if situation.observer.entry(place).kind != "file":
        return None
    try:
        value = json.loads(situation.observer.read(place))
    except (ValueError, OSError):
        return None
    return value if isinstance(value, dict) else None


def taken_back(situation: Situation, effects: Iterable[Effect], stay: Collection[str] = ()) -> Proposal | None:
    """What effects of one revision, newest first, told of models is told no more; the entries of others stay.

    Args:
        stay: models that this revision leaves current: of them it is told as ever.

    Returns:
        None where the file is as the newest of them left it, or where it cannot be told what they did: then it goes
        back as a whole, or stays, as any file does.
    """
    target = root(INFO)
    ours = [e for e in effects if e.target == target and e.action == st.PLACE_FILE and MENDED not in e.note]
    seen = situation.observer.entry(target)
    models = current(situation) if seen.exists else recorded(situation)
    as_a_whole = None if not stay else Proposal()
    if not ours or models is None or (seen.same_content(ours[0].after) and not stay):
        return as_a_whole
    back: Models = {}
    for effect in ours:
        before, after = _before(situation, effect), told(str(effect.note.get(CONTENT, "")))
        if before is None or after is None:
            return as_a_whole
        changed = (name for name in (before.keys() | after.keys()) - {*stay} if before.get(name) != after.get(name))
        back |= {name: before.get(name) for name in changed}  # the oldest of them says what it was at first
    ours_still = {name: entry for name, entry in back.items() if _is_told_by_us(situation, name, models.get(name))}
    left = {name: entry for name, entry in {**models, **ours_still}.items() if entry is not None}
    if left == models or not (left or seen.exists):
        return Proposal()
    if not left:
        return Proposal((Change(st.REMOVE_FILE, target, seen, ABSENT, detail="names no model any more"),))
    data, detail = written(left), f"names {', '.join(sorted(left))}"
    entry = (seen if seen.exists else ours[0].after)._replace(digest="", size_bytes=len(data))
    return Proposal((Change(st.PLACE_FILE, target, seen, entry, content=data, size_bytes=len(data), detail=detail),))


def _is_told_by_us(situation: Situation, name: str, entry: Any) -> bool:
    """Whether a step of ours on the way up told this of a model: it goes with the last revision that speaks of it."""
    life = situation.ledger.life(root(INFO)) if situation.ledger is not None else []
    said = (told(str(effect.note.get(CONTENT, ""))) for step, effect in life if step["direction"] != "down")
    return any(models.get(name) == entry for models in said if models is not None)


def _before(situation: Situation, effect: Effect) -> Models | None:
    """What was told before an effect; None where that is not to be had any more."""
    if not effect.before.exists:
        return {}
    if situation.host.state(effect.store) is None:
        return None
    image = effect.slot_place(situation.host)
    return told(image.read()) if image.identity()[0] == "file" else None
