"""The information file, which tells services of the current models: one entry for each, whichever revision made it.

It goes back entry by entry where another revision has told of its own model since: a degraded step that was done again
behind a later revision's step, for one. Where nobody has, it goes back as a whole, like any file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from vvmigrate.content.store import INFO
from vvmigrate.engine import state as st
from vvmigrate.engine.effects import CONTENT, MENDED, Effect
from vvmigrate.engine.state import Change, Proposal
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


def taken_back(situation: Situation, effects: Iterable[Effect]) -> Proposal | None:
    """What effects of one revision, newest first, told of models is told no more; the entries of others stay.

    Returns:
        None where the file is as the newest of them left it, or where it cannot be told what they did: then it goes
        back as a whole, or stays, as any file does.
    """
    target = root(INFO)
    ours = [e for e in effects if e.target == target and e.action == st.PLACE_FILE and MENDED not in e.note]
    seen, models = situation.observer.entry(target), current(situation)
    if not ours or models is None or seen.same_content(ours[0].after):
        return None
    back: Models = {}
    for effect in ours:
        before, after = _before(situation, effect), told(str(effect.note.get(CONTENT, "")))
        if before is None or after is None:
            return None
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name) and (name in back or after.get(name) == models.get(name)):
                back = {**back, name: before.get(name)}  # an older one of ours says what it was before that
    left = {name: entry for name, entry in {**models, **back}.items() if entry is not None}
    if left == models:
        return Proposal()
    if not left:
        return Proposal((Change(st.REMOVE_FILE, target, seen, ABSENT, detail="names no model any more"),))
    data, detail = written(left), f"names {', '.join(sorted(left))}"
    entry = seen._replace(digest="", size_bytes=len(data))
    return Proposal((Change(st.PLACE_FILE, target, seen, entry, content=data, size_bytes=len(data), detail=detail),))


def _before(situation: Situation, effect: Effect) -> Models | None:
    """What was told before an effect; None where that is not to be had any more."""
    if not effect.before.exists:
        return {}
    if situation.host.state(effect.store) is None:
        return None
    image = effect.slot_place(situation.host)
    return told(image.read()) if image.identity()[0] == "file" else None
