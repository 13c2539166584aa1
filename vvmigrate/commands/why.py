"""`why`: the life of one path: which steps made it what it is, from what, and whether it is still as they left it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vvmigrate.commands.forecast import Workplace
from vvmigrate.commands.looking import looking
from vvmigrate.commands.opening import Call
from vvmigrate.commands.verify import SIGNATURE, as_json, compare, target_of
from vvmigrate.engine.drift import Drift
from vvmigrate.engine.effects import MENDED, Effect
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, Target
from vvmigrate.errors import UsageError
from vvmigrate.files import Entry
from vvmigrate.operations.generation import MODELS, STORE
from vvmigrate.report import Report

STEP = ("run_id", "revision", "title", "direction", "result", "finished_at", "user", "sudo_user", "tool_version")


def why(call: Call, path: str) -> Report:
    """Tell the life of a path.

    Args:
        path: absolute, or relative to the working directory, the storage root or the home.

    Returns:
        `path`; `managed`; `part_of`: the path that is recorded, where this one lies below it; `recorded`: what should
        stand there; `life`: what each step did, oldest first; `artefact`: of a model, its version, hash and source;
        `drift`: what is not as it was left.
    """

    def look(place: Workplace, report: Report) -> None:
        target = target_of(place, path)
        host = place.session.host
        recorded = place.ledger.recorded() if place.ledger is not None else {}
        known = _known(target, _life(place))
        life = _life(place).get(known, []) if known is not None else []
        managed = known in recorded
        listed = _listed(place).get(target.name) if known is None and target.area == SIGNATURE.area else None
        if not life and listed is None and not host.glance(target).exists:
            raise UsageError(f"{path}: nothing stands there, and nothing is recorded of it", path=path)
        report.body = {
            "path": host.path(target),
            "managed": managed,
            "part_of": host.path(known) if known is not None and known != target else None,
            "recorded": _described(recorded[known][0].after, recorded[known][0].secret)
            if known is not None and managed
            else None,
            "life": life,
            "artefact": _artefact(place, known) if known is not None else None,
            "release": {"sha256": listed["sha256"]} if listed else None,
            "drift": as_json(place, _drift(place, target, known if managed else None)),
        }

    return looking(call, look)


def _drift(place: Workplace, target: Target, known: Target | None) -> list[Drift]:
    """What is not as it was left: of a recorded path, or of a file of the release."""
    host = place.session.host
    if known is not None:
        return [item for item in compare(place, [host.path(known)]).drift if item.target == known]
    recorded = place.ledger.recorded() if place.ledger is not None else {}
    found = compare(place, [host.path(SIGNATURE)]).drift if SIGNATURE in recorded else []
    return [item for item in found if item.target == target]


def _life(place: Workplace) -> dict[Target, list[dict[str, Any]]]:
    found: dict[Target, list[dict[str, Any]]] = {}
    for step in place.ledger.committed() if place.ledger is not None else []:
        for effect in place.session.ledger.effects(step["step_id"]):
            found.setdefault(effect.target, []).append(_event(place, step, effect))
    return found


def _known(target: Target, life: Mapping[Target, Any]) -> Target | None:
    """The path itself, or the nearest one above it of which anything is recorded."""
    while target not in life and target.name:
        target = Target(target.area, os.path.dirname(target.name))
    return target if target in life else None


def _event(place: Workplace, step: Mapping[str, Any], effect: Effect) -> dict[str, Any]:
    host = place.session.host
    replaced = effect.before.exists and effect.action not in (ADOPT, ATTRIBUTES) and bool(effect.slot)
    lies = ""
    if replaced and host.state(effect.store) is not None and effect.slot_place(host).stat() is not None:
        lies = effect.slot_place(host).path
    run = place.session.ledger.rows("vv_run", "run_id = ?", (step["run_id"],))
    who = run[0] if run else {}
    return {
        **{name: step.get(name, who.get(name)) for name in STEP},
        "action": effect.action,
        "detail": effect.detail,
        "source": effect.note.get("source"),
        "mended": bool(effect.note.get(MENDED)),
        "before": _described(effect.before, effect.secret),
        "after": _described(effect.after, effect.secret),
        "before_image": lies or None,
    }


def _described(entry: Entry, secret: bool) -> dict[str, Any]:  # noqa: FBT001 - of an effect
    """An entry for reports; of a secret file neither size nor digest."""
    shown: dict[str, Any] = {"kind": entry.kind, "mode": f"{entry.mode:04o}", "owner": f"{entry.uid}:{entry.gid}"}
    if entry.kind == "link":
        shown["target"] = entry.target
    if entry.kind == "file" and not secret:
        shown |= {"size_bytes": entry.size_bytes, "sha256": entry.digest}
    return shown if entry.exists else {"kind": "absent"}


def _artefact(place: Workplace, target: Target) -> dict[str, Any] | None:
    """What the information file says of the generation that a path belongs to."""
    name = target.name
    if os.path.dirname(name) == MODELS and place.session.host.glance(target).kind == "link":
        name = f"{STORE}/{os.path.basename(place.session.host.glance(target).target)}"
    if not name.startswith(f"{STORE}/"):
        return None
    generation = name.removeprefix(f"{STORE}/").split("/")[0].removesuffix(".json")
    with suppress(OSError, ValueError):
        value = json.loads(place.session.host.read(Target(target.area, f"{STORE}/{generation}.json")))
        return dict(value) if isinstance(value, dict) else None
    return None


def _listed(place: Workplace) -> Mapping[str, Any]:
    """The release's files, as the host's own list has them."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return dict(json.loads(place.session.host.read(SIGNATURE))["files"])
    return {}
