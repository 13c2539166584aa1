"""`why`: the life of one path: which steps made it what it is, from what, and whether it is still as they left it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vvmigrate.commands.named import Listed, listed, target_of
from vvmigrate.commands.remedy import remedy
from vvmigrate.commands.verify import as_json, compare, trees_of
from vvmigrate.content.store import MODELS, STORE
from vvmigrate.engine.drift import Drift, Recorded
from vvmigrate.engine.effects import MENDED, Effect
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, Target
from vvmigrate.errors import UsageError
from vvmigrate.files import Entry
from vvmigrate.report import Report
from vvmigrate.runs.looking import looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.site import Site, open_site

STEP = ("run_id", "revision", "title", "direction", "result", "finished_at", "user", "sudo_user", "tool_version")


def why(call: Call, path: str) -> Report:
    """Tell the life of a path.

    Args:
        path: absolute, or relative to the working directory, the storage root or the home.

    Returns:
        `path`; `managed`; `part_of`: the path that is recorded, where this one lies below it; `recorded`: what should
        stand there; `life`: what each step did, oldest first; `artefact`: of a model, its version, hash and source;
        `drift`: what is not as it was left; `remedy`: what mends that. Of what lies in a folder that was made, and not
        filled, all but `managed` is the folder's.
    """

    def look(site: Site, report: Report) -> None:
        host = site.session.host
        recorded = site.ledger.recorded() if site.ledger is not None else {}
        files = listed(site, recorded)
        target, lives = target_of(site, path, recorded, files), _life(site)
        known = _known(target, lives)
        life = lives[known] if known is not None else []
        managed = known in recorded
        file = files.get(target) if known is None else None
        if not life and file is None and not host.glance(target).exists:
            raise UsageError(f"{path}: nothing stands there, and nothing is recorded of it", path=path)
        drift = _drift(site, target, recorded, files, known if managed else None)
        report.body = {
            "path": host.path(target),
            "managed": managed and (known == target or _holds_whole(site, recorded, known)),
            "part_of": host.path(known) if known is not None and known != target else None,
            "recorded": _described(recorded[known][0].after, recorded[known][0].secret)
            if known is not None and managed
            else None,
            "life": life,
            "artefact": _artefact(site, known) if known is not None else None,
            "release": {"sha256": file["sha256"]} if file else None,
            "drift": as_json(site, drift),
            "remedy": remedy(host.path(drift[0].target), drift) if drift else None,
        }

    return looking(call, open_site, look)


def _drift(site: Site, target: Target, recorded: Recorded, files: Listed, known: Target | None) -> list[Drift]:
    """What is not as it was left: of a recorded path, or of a file of the release."""
    host = site.session.host
    if known is not None:
        found = compare(site, [host.path(target)]).drift
        through = recorded[known][0].after.kind == "link"  # then what it leads to belongs to it
        return [item for item in found if through or item.target == known]
    found = compare(site, [host.path(target)]).drift if target in files else []
    return [item for item in found if item.target == target]


def _holds_whole(site: Site, recorded: Recorded, target: Target | None) -> bool:
    """Whether all that lies in a recorded path was placed with it, or behind it."""
    if target is None or site.ledger is None:
        return False
    return recorded[target][0].after.kind == "link" or target in trees_of(site.ledger, recorded)


def _life(site: Site) -> dict[Target, list[dict[str, Any]]]:
    found: dict[Target, list[dict[str, Any]]] = {}
    for step in site.ledger.committed() if site.ledger is not None else []:
        for effect in site.session.ledger.effects(step["step_id"]):
            found.setdefault(effect.target, []).append(_event(site, step, effect))
    return found


def _known(target: Target, life: Mapping[Target, Any]) -> Target | None:
    """The path itself, or the nearest one above it of which anything is recorded."""
    while target not in life and target.name:
        target = target.above
    return target if target in life else None


def _event(site: Site, step: Mapping[str, Any], effect: Effect) -> dict[str, Any]:
    host = site.session.host
    replaced = effect.before.exists and effect.action not in (ADOPT, ATTRIBUTES) and bool(effect.slot)
    lies = ""
    if replaced and host.state(effect.store) is not None and effect.slot_place(host).stat() is not None:
        lies = effect.slot_place(host).path
    run = site.session.ledger.rows("vv_run", "run_id = ?", (step["run_id"],))
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


def _artefact(site: Site, target: Target) -> dict[str, Any] | None:
    """What the information file says of the generation that a path belongs to."""
    name = target.name
    if os.path.dirname(name) == MODELS and site.session.host.glance(target).kind == "link":
        name = f"{STORE}/{os.path.basename(site.session.host.glance(target).target)}"
    if not name.startswith(f"{STORE}/"):
        return None
    generation = name.removeprefix(f"{STORE}/").split("/")[0].removesuffix(".json")
    with suppress(OSError, ValueError):
        value = json.loads(site.session.host.read(Target(target.area, f"{STORE}/{generation}.json")))
        return dict(value) if isinstance(value, dict) else None
    return None
