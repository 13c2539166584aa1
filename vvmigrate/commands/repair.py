"""`repair`: publish again what was recorded, by the same step as everything else; what was changed is set aside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vvmigrate.commands import remedy
from vvmigrate.commands.named import SIGNATURE, target_of
from vvmigrate.commands.verify import as_json, compare, how_deep
from vvmigrate.engine.drift import QUICK, WAY, Drift, find
from vvmigrate.engine.effects import MENDED
from vvmigrate.engine.host import Host
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.rehearsal import Rehearsed
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, Target
from vvmigrate.errors import IntegrityError
from vvmigrate.operations.mend import LACKING, Mend
from vvmigrate.operations.supply import BRINGS
from vvmigrate.report import Report
from vvmigrate.runs.audit import PUT_BACK
from vvmigrate.runs.forecast import REPAIR, Forecast, Workplace
from vvmigrate.runs.looking import FINDINGS
from vvmigrate.runs.opening import Call
from vvmigrate.runs.put_back import put_back
from vvmigrate.runs.work import Run, carry_out, nothing_done

AGAIN = "install the release again, then: vvmigrate repair; what else can be done: vvmigrate doctor"
OFFLINE = f"{BRINGS}; then: vvmigrate repair --offline"
BY_HAND = "put a copy of it there; where it came from: vvmigrate why PATH; then: vvmigrate repair"


def repair(call: Call, paths: Iterable[str] = ()) -> Report:
    """Mend what `verify` finds.

    Args:
        paths: only these, and what is below them; the signature, named, is made anew if it is as recorded.

    Returns:
        The report of `repair`: as upgrade's, with `named` (the paths), `drift` (what was found), `left` (what still
        differs, and why) and `set_aside` (path, and where what stood there lies now); exit code 3 if anything is left.
    """
    return carry_out(call.asking_nobody(), lambda run: _repair(run, list(paths)), nothing=_nothing)


def _nothing() -> dict[str, Any]:
    return nothing_done() | {"named": [], "drift": [], "left": [], "set_aside": []}


def _repair(run: Run, paths: list[str]) -> None:
    place = run.place
    found = compare(place, paths, how_deep(place.call)).drift
    found = [*_above(place, found), *found]
    run.report.body = {"named": paths, "drift": as_json(place, found), "left": [], "set_aside": [], "put_back": []}
    if place.ledger is None:
        return
    if not paths:
        _put_back(run)
    forecasts = foreseen(place, found, paths)
    reasons = {item.path: item.reason for forecast in forecasts for item in forecast.proposal.kept}
    forecasts = [forecast for forecast in forecasts if forecast.error is not None or forecast.proposal.changes]
    run.preflight(forecasts)
    for forecast in forecasts:
        run.perform(forecast)  # one that fails is undone, and does not hold up the others
    damaged = {item.target for item in found}
    named = sorted(map(place.session.host.path, damaged))
    again = compare(place, named, how_deep(place.call)).drift if named else []
    # what lies beside a path whose folder came with it is not meant; what a list that is back says of the release is
    left = [item for item in again if item.target in damaged or item.kind == "release"]
    run.report.body["left"] = [_explained(place, item, reasons.get(item["path"])) for item in as_json(place, left)]
    run.report.body["set_aside"] = [
        item
        for outcome in run.outcomes
        if outcome.happened
        for item in set_aside(place.session.host, place.session.ledger, outcome.step_id)
    ]
    if left:
        run.report.raise_to(FINDINGS)


def _explained(place: Workplace, item: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """What is left, with why, and what else may mend it: another repair does the same again."""
    if item["remedy"] != remedy.REPAIR:
        return item | {"reason": reason}
    if place.settings.offline and reason in place.memory.get("lacking", {}).values():
        return item | {"reason": reason, "remedy": OFFLINE}
    return item | {"reason": reason, "remedy": AGAIN if reason in (None, LACKING) else BY_HAND}


def _put_back(run: Run) -> None:
    """What was stored of the revisions that ran is whole again, as far as this release has it."""
    there, lost = put_back(run.place)
    folder = run.place.session.host.private / "sources"
    run.report.body["put_back"] = [(folder / f"{one.digest}{one.kind}").path for one in there]
    for path in run.report.body["put_back"]:
        run.log.write("put_back", path=path)
    for one in lost[:1]:
        run.report.fail(IntegrityError(one.problem, hint=PUT_BACK))


def _above(place: Workplace, found: list[Drift]) -> list[Drift]:
    """Recorded folders that hold what is damaged, and are gone themselves: else nothing can be put there."""
    host, recorded = place.session.host, place.ledger.recorded() if place.ledger is not None else {}
    damaged = {item.target for item in found}
    above: set[Target] = set()
    for target in damaged:
        while (target := target.above) not in above:
            above.add(target)
            if not target.name:
                break
    holding = sorted(above & recorded.keys() - damaged)
    return [item for item in find(host, recorded, {}, holding, QUICK) if item.kind == "kind"]


def _damage(
    place: Workplace, found: list[Drift], paths: list[str]
) -> list[tuple[str, tuple[tuple[Target, frozenset[str]], ...]]]:
    """What each revision has to mend, in the line's order: what holds other things comes before them.

    What a revision that is gone had recorded, or its way back, is that of the one whose it is now.
    """
    recorded = place.session.ledger.recorded()
    facts: dict[Target, set[str]] = {}
    for item in found:
        if item.target in recorded and item.kind != WAY:  # whose link it was is a person's
            facts.setdefault(item.target, set()).add(item.kind)
    named = SIGNATURE in recorded and any(target_of(place, path, recorded) == SIGNATURE for path in paths)
    if named and SIGNATURE not in facts:  # a list that is damaged comes back as it was: else it would call all right
        facts[SIGNATURE] = {"release"}
    by_revision: dict[str, list[tuple[Target, frozenset[str]]]] = {}
    for target in sorted(facts):
        revision = place.session.ledger.owner(target) or place.version
        by_revision.setdefault(revision, []).append((target, frozenset(facts[target])))
    line = [step["revision"] for step in place.session.ledger.applied()]
    return [(revision, tuple(by_revision[revision])) for revision in line if revision in by_revision]


def foreseen(place: Workplace, found: list[Drift], paths: list[str]) -> list[Forecast]:
    """What a repair would do about what was found, a step for each revision.

    Args:
        paths: see `repair`.
    """
    return [_forecast(place, revision, damage) for revision, damage in _damage(place, found, paths)]


def _forecast(place: Workplace, revision: str, damage: tuple[tuple[Target, frozenset[str]], ...]) -> Forecast:
    mend = Mend(damage, lambda: place.told(place.version).of(revision))
    forecast = place.without_code(revision, REPAIR, Rehearsed((mend,), (), reads_rows=False))
    place.predict(forecast)
    return forecast


def set_aside(host: Host, ledger: Ledger, step_id: str) -> list[dict[str, Any]]:
    """What a repair took out of its place, and where it lies."""
    return [
        {"path": host.path(effect.target), "aside": effect.slot_place(host).path}
        for effect in ledger.effects(step_id)
        if effect.note.get(MENDED)
        and effect.before.exists
        and effect.action not in (ADOPT, ATTRIBUTES)
        and not effect.merge
        and host.state(effect.store) is not None
    ]
