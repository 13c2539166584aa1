"""`adopt`: what is there already, and is what a revision wants, becomes recorded; and what a person has to decide.

A revision holds where its operations would change nothing, and where the database has the schema that all revisions up
to it make together. Its code is rehearsed in memory, and never run on the host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from shlex import quote
from typing import Any

from vvmigrate.commands.upgrade import wanted
from vvmigrate.commands.verify import as_json, compare
from vvmigrate.content.env.document import Document
from vvmigrate.engine import runtime
from vvmigrate.engine.adoption import Confirm, Settling
from vvmigrate.engine.binding import set_again
from vvmigrate.engine.drift import QUICK
from vvmigrate.engine.effects import TAKEN_OVER
from vvmigrate.engine.rehearsal import Rehearsed
from vvmigrate.engine.sources import Revision
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, Change, Proposal
from vvmigrate.errors import ConflictError, EnvFileError, StateError, UsageError
from vvmigrate.operations.env_file import find_file
from vvmigrate.report import Report
from vvmigrate.runs.asked import Asked, ask, claimed, first_that_hold
from vvmigrate.runs.forecast import UP, Forecast, Workplace
from vvmigrate.runs.looking import FINDINGS
from vvmigrate.runs.opening import Call, root_of
from vvmigrate.runs.pending import split_at_hold
from vvmigrate.runs.work import Run, carry_out

Difference = dict[str, str]
"""`path` (empty for what is no path) and `detail`."""


def adopt(call: Call, target: str = "head") -> Report:
    """Take over what is there, revision after revision, up to the first that does not hold.

    Args:
        target: a revision in Alembic's syntax.

    Returns:
        The report of `adopt`: as upgrade's, with `left`: the revisions that do not hold, each with what differs; exit
        code 3 if there are any. With `--rekey` or `--reconcile` also `settled`, what a person has decided about, and
        `drift`.

    Raises:
        UsageError: (in the report) two kinds of it at once.
    """
    report = Report(call.command)
    rekey, reconcile = call.options.get("rekey"), call.options.get("reconcile")
    if rekey and reconcile:
        report.fail(UsageError("--rekey and --reconcile are two decisions", hint="vvmigrate doctor"))
        return report
    confirm = _confirming(call)
    settling = Settling(rekey=bool(rekey), confirm=confirm) if rekey or reconcile else None
    opens: dict[str, Any] = {"open_database": settling} if settling else {}
    if call.options.get("storage_root"):
        opens["take_over"] = confirm
    return carry_out(replace(call.asking_nobody(), opens=opens), lambda run: _adopt(run, target, settling))


def _confirming(call: Call) -> Confirm:
    """Asks whoever is there; without anybody, only `--yes` is an answer."""

    def confirm(what: str) -> None:
        if call.options.get("yes"):
            return
        ask = call.options.get("confirm")
        if ask is None:
            text = f"a person has to decide: {what}"
            raise StateError(text, hint="look at vvmigrate doctor; then the same command on a terminal, or with --yes")
        if not ask(f"{what}.\nGo on with what is there?"):
            raise StateError("not confirmed: nothing was changed")

    return confirm


def _adopt(run: Run, target: str, settling: Settling | None) -> None:
    place = run.place
    run.report.body = {"left": [], "settled": settling.found if settling else [], "warnings": _named_elsewhere(place)}
    revisions, held, released = split_at_hold(place, wanted(place, target))
    forecasts, left = _split(place, revisions)
    run.preflight(forecasts, building=True)
    for forecast in forecasts:
        if not run.perform(forecast, tuple(released.get(forecast.revision, ()))):
            return
    run.report.body["left"] = left
    run.report.body["held"] = [held] if held else []
    if settling is not None:
        run.report.body["drift"] = as_json(place, compare(place, [], QUICK).drift)
    if any(run.report.body.get(name) for name in ("left", "held", "drift")):
        run.report.raise_to(FINDINGS)


def _named_elsewhere(place: Workplace) -> list[str]:
    """Where another storage root than this one is named still: commands that write would refuse to go on."""
    root, said = root_of(place.session), []
    name = "VIDEO_STORAGE_ROOT"
    named = place.call.environ.get(name)
    if named and os.path.realpath(named) != root:
        said.append(f"the environment still says {name}={named}: change it where it is set")
    with suppress(EnvFileError, OSError):
        target = find_file(place.situation(place.session.host))
        named = Document.parse(place.session.host.read(target), name=target.name).get(name)
        if named and os.path.realpath(named) != root:
            said.append(f"{target.name} still says {name}={named}: {set_again(quote(root))}")
    return said


# ---- what holds ------------------------------------------------------------------------------------------------------


def _split(place: Workplace, revisions: list[Revision]) -> tuple[list[Forecast], list[dict[str, Any]]]:
    """The revisions that hold, up to the first that does not; and the others, each with what differs."""
    if not revisions:
        return [], []
    titles = {revision.revision: revision.title for revision in revisions}
    names = list(titles)
    asked, error = ask(place.scripts, names[-1], ways_back=True)
    count, reason = first_that_hold(place.session.ledger, names, asked)
    line = names[:count]
    reasons = _differences(place, [name for name in names if name in asked], asked)
    if reason:
        reasons[names[count]].insert(0, {"path": place.session.database_path, "detail": reason})
    if error is not None and (failed := next((name for name in names if name not in asked), "")):
        reasons[failed] = [{"path": error.path or "", "detail": error.message}]
    while line:
        found = _differences(place, line, asked)  # without what was cut off, a superseded model counts again
        wrong = next((name for name in line if found[name]), None)
        if wrong is None:
            break
        reasons[wrong] = found[wrong]
        line = line[: line.index(wrong)]
    left = [{"revision": name, "title": titles[name], "differs": reasons.get(name, [])} for name in names[len(line) :]]
    return _forecasts(place, line, asked), left


def _forecasts(place: Workplace, names: list[str], asked: dict[str, Asked]) -> list[Forecast]:
    forecasts: list[Forecast] = []
    for name in names:
        forecast = place.described(place.line.revision(name), UP)
        forecast.rehearsed = replace(asked[name].rehearsed, statements=())
        forecast.learn(asked[name].way_back)
        if forecast.code is not None:
            forecast.code = runtime.without_sql(forecast.code, forecast.operations)
        forecast.accepts = partial(_accept, place, name)
        forecast.line, forecast.number = forecasts, len(forecasts)
        forecasts.append(forecast)
    for forecast in forecasts:
        place.predict(forecast)
    return forecasts


def _accept(place: Workplace, revision: str, proposal: Proposal) -> None:
    """In the step itself: what held a moment ago must hold still.

    Raises:
        ConflictError: it does not.
    """
    for found in _of(place, proposal):
        text = f"revision {revision} does not hold any more: {found['path']}: {found['detail']}"
        raise ConflictError(text, hint="run the command again", path=found["path"])


def _differences(place: Workplace, names: list[str], asked: dict[str, Asked]) -> dict[str, list[Difference]]:
    """What differs on the host from what each of these revisions wants, if they are what there is."""
    had, found = claimed(place.scripts, place.ledger), {}
    for forecast in _forecasts(place, names, asked):
        error = forecast.error
        differs = [{"path": error.path or "", "detail": error.message}] if error is not None else []
        differs += _of(place, forecast.proposal)
        if forecast.revision not in had:
            differs += _of_rows(place, asked[forecast.revision].rehearsed)
        found[forecast.revision] = differs
    return found


def _of(place: Workplace, proposal: Proposal) -> Iterator[Difference]:
    for change in proposal.changes:
        if change.action != ADOPT and not change.note.get(TAKEN_OVER):
            yield {"path": place.session.host.path(change.target), "detail": _of_change(change)}
    yield from ({"path": item.path, "detail": item.reason} for item in proposal.kept)
    if proposal.degraded:
        yield {"path": "", "detail": proposal.degraded}


def _of_change(change: Change) -> str:
    said = f": {change.detail}" if change.detail else ""
    if not change.before.exists:
        return f"missing{said}"
    return change.detail if change.action == ATTRIBUTES else f"not what the revision makes{said}"


def _of_rows(place: Workplace, rehearsed: Rehearsed) -> Iterator[Difference]:
    """What a revision does to rows leaves no trace by which it could be told whether it was done."""
    path = place.session.database_path
    for statement in rehearsed.statements:
        if statement.of_rows and "_alembic_tmp_" not in statement.of_rows:
            yield {"path": path, "detail": f"whether this was done cannot be told: {statement.text}"}
    if rehearsed.reads_rows:
        yield {"path": path, "detail": "it reads rows: what it would do cannot be told"}
