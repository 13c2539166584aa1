"""`upgrade`: apply what is pending, try degraded steps again, and say what is still missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vvmigrate.content.env.template import FILE
from vvmigrate.engine import preflight
from vvmigrate.engine.sources import Revision
from vvmigrate.engine.state import Proposal
from vvmigrate.engine.step import tells_something
from vvmigrate.errors import HeldError, RefusedError, RevisionError, VvmigrateError
from vvmigrate.operations import InstallModel, MergeEnv, Operation
from vvmigrate.operations.env_file import find_file
from vvmigrate.report import Report
from vvmigrate.runs import unset
from vvmigrate.runs.admission import refuse_without_value
from vvmigrate.runs.forecast import UP, Forecast, Workplace, of_all
from vvmigrate.runs.opening import Call
from vvmigrate.runs.pending import check_not_ahead, degraded, other_variant, pending, split_at_hold, superseded_of
from vvmigrate.runs.settled import read_from, remember
from vvmigrate.runs.told import Later
from vvmigrate.runs.trial import Conditions, begin
from vvmigrate.runs.work import Run, carry_out, fill_report
from vvmigrate.settings import find_home

RETURNS = "vvmigrate repair"
"""Brings `.env` back as it was merged last, with the values that were given since the first day."""


def upgrade(call: Call, target: str = "head") -> Report:
    """Apply pending revisions up to a target.

    Args:
        target: a revision in Alembic's syntax.

    Returns:
        The report of `upgrade`, by docs/cli.md.
    """
    warned: set[str] = set()

    def listen(event: str, **facts: Any) -> None:
        if event == "warning":
            warned.add(facts["text"])
        call.listener(event, **facts)

    before = _read_before(call)
    return carry_out(
        replace(call, listener=listen), lambda run: _upgrade(run, target), fill=lambda run: _fill(run, warned, before)
    )


def _read_before(call: Call) -> str:
    """What `read_from` tells before anything is read; empty where there is no home, which is refused later."""
    with suppress(VvmigrateError):
        return read_from(find_home(call.options.get("home"), call.environ, call.folder))
    return ""


def _fill(run: Run, warned: set[str], before: str) -> None:
    """The report; and where nothing was done, nor is left to be done or said, a note for the next upgrade."""
    place, body = run.place, run.report.body
    if run.said.get("reverted"):  # what was missing may have gone with what needed it
        body |= _what_is_missing(place)
    fill_report(run)
    if run.report.exit_code == 0 and place.version == place.line.head() and not _open_ends(run, warned):
        with suppress(OSError, VvmigrateError):  # then the next one takes the long way
            remember(place.session, place.call.environ, place.settings, before)


def _open_ends(run: Run, warned: set[str]) -> bool:
    """Whether the next upgrade may have something to do or to say; what this one did it did by the settings before."""
    body, place = run.report.body, run.place
    told = warned - {*place.settings.warnings}  # which the next one says without being told
    return bool(told or any(map(body.get, ("steps", "held", "required_missing", "degraded"))) or other_variant(place))


def wanted(place: Workplace, target: str) -> list[Revision]:
    """The revisions that lie between the host and a target, in Alembic's syntax.

    Raises:
        StateError: the host is ahead of its package.
        UsageError: no such revision, or it lies behind.
    """
    check_not_ahead(place)
    if target == "head" or not place.line.head():
        return pending(place)
    steps = place.scripts.upgrades(target, place.version)
    return pending(place, steps[-1].revision.revision) if steps else []


def _upgrade(run: Run, target: str) -> None:
    place = run.place
    revisions, held, released = split_at_hold(place, wanted(place, target))
    forecasts = with_room(place, ahead(place, revisions))
    run.conditions = Conditions.of(place.settings)
    if forecasts:
        run.preflight(forecasts, building=True)
        begin(run)
    for forecast in forecasts:
        lifted = released.get(forecast.revision, ()) if forecast.code is not None else ()
        if not run.perform(forecast, tuple(lifted)):
            return
    _say_what_is_missing(run)
    if held:
        run.report.body["held"] = [held]
        raise HeldError(
            f"revision {held['revision']} was taken back by {held['user']} at {held['at']} ({held['reason']}) "
            "and does not return by itself",
            hint="vvmigrate upgrade head --release-hold",
        )


def ahead(place: Workplace, revisions: list[Revision]) -> list[Forecast]:
    """What an upgrade has to do: applied revisions that have something to do again, then the pending ones.

    A degraded step that cannot be tried again is among them, with its error; `with_room` leaves it out.
    """
    coming = place.rehearsed(revisions, UP, _beyond(place, revisions))
    unsaid: list[str] = []
    forecasts = _in_order(place, [item["revision"] for item in degraded(place)], coming, unsaid)
    for text in dict.fromkeys(unsaid):
        place.call.listener("warning", text=text)
    beyond = coming[0].line if coming else []
    if place.settings.values and not any(map(_merges, (*forecasts, *beyond))):
        _say_that_nothing_takes(place)
    return forecasts


def _merges(forecast: Forecast) -> bool:
    return any(isinstance(operation, MergeEnv) for operation in forecast.operations)


def _say_that_nothing_takes(place: Workplace) -> None:
    """Warn of values for `.env` that no step takes; and say which revision will, if one is pending."""
    if unset.settings_file(place) is not None:
        return  # they are in it already
    later = next(filter(_merges, place.rehearsed(pending(place), UP)), None)
    names = ", ".join(sorted(place.settings.values))
    text = f"{names}: not set, since nothing that is applied now makes .env; "
    text += f"give it with revision {later.revision}, which does" if later else "no revision of this release does"
    place.call.listener("warning", text=text)


def with_room(place: Workplace, forecasts: list[Forecast]) -> list[Forecast]:
    """Without degraded steps that fail, or that there is no room for: they stay so, and hold nothing else up."""
    while (found := _in_the_way(place, forecasts)) is not None:
        waits, error = found
        say_that_it_waits(place, waits, error)
        retries = [forecast.revision for forecast in forecasts if forecast.retry and forecast is not waits]
        forecasts = _in_order(place, retries, [forecast for forecast in forecasts if forecast.code is not None])
    return forecasts


def say_that_it_waits(place: Workplace, forecast: Forecast, error: VvmigrateError) -> None:
    """Warn that a degraded step is not tried again."""
    place.call.listener("warning", text=f"revision {forecast.revision} stays degraded: {error.message}")


def _in_the_way(place: Workplace, forecasts: list[Forecast]) -> tuple[Forecast, VvmigrateError] | None:
    """A degraded step that has to wait, and why: one that fails, or where not all has room the largest."""
    retries = [forecast for forecast in forecasts if forecast.retry]
    for forecast in retries:
        if forecast.error is not None:
            return forecast, forecast.error
    try:
        if retries:
            preflight.check_room(place.session.host, sum((forecast.proposal for forecast in forecasts), Proposal()))
    except RefusedError as error:
        return max(retries, key=_size_bytes), error
    return None


def _size_bytes(forecast: Forecast) -> int:
    changes, downloads = forecast.proposal.changes, forecast.proposal.downloads
    return sum(change.size_bytes for change in changes) + sum(item.room_bytes for item in downloads)


def _in_order(
    place: Workplace, retries: list[str], coming: list[Forecast], unsaid: list[str] | None = None
) -> list[Forecast]:
    """What is done again and what is pending, as they follow each other: each finds what those before it have done.

    Args:
        retries: degraded revisions that are tried again.
        coming: the pending revisions, rehearsed.
        unsaid: gets the warnings of what comes to nothing, a value that was not taken for one.
    """
    forecasts = place.predicted([*_again(place, retries, of_all(coming)), *coming])
    recorded = place.ledger.recorded() if place.ledger is not None else {}
    found = []
    for forecast in forecasts:
        if forecast.code is None:
            news = tuple(change for change in forecast.proposal.changes if tells_something(change, recorded))
            forecast.proposal = forecast.proposal._replace(changes=news)
        settles = forecast.retry and _settles(place, forecast)
        if forecast.code is not None or forecast.error is not None or forecast.proposal.changes or settles:
            found.append(forecast)
        elif unsaid is not None:
            unsaid += forecast.proposal.warnings
    return found


def _beyond(place: Workplace, revisions: list[Revision]) -> list[Revision]:
    """What is still to come after these revisions, where they are known to be a part of a longer way.

    Who tries a release step by step says with `toward` where it all ends (a full id, or `head`). Each step then does
    what it does within an upgrade that goes all the way: what a later revision replaces need not be in this release.
    """
    end = str(place.call.options.get("toward") or "")
    return pending(place, "" if end == "head" else end)[len(revisions) :] if end and revisions else []


# ---- applied revisions that have something to do again ---------------------------------------------------------------


def _again(place: Workplace, retries: list[str], coming: Later) -> list[Forecast]:
    """Steps that may have to be done again although their revision is applied.

    Args:
        coming: what the pending revisions ask for.

    Raises:
        RevisionError: values are given, and it cannot be told which revision merges them.
    """
    if place.ledger is None:
        return []
    forecasts = [_retry(place, revision, coming) for revision in retries]
    told = place.settings.update_env or place.settings.values
    merges = any(isinstance(operation, MergeEnv) for _, operation in coming)  # by itself, and is the way back
    if not merges and (told or _may_be_answered(place)):
        forecasts += _latest(place, MergeEnv, _env, retries, coming, must=bool(told))
    if other_variant(place):
        lacking = [item["revision"] for item in degraded(place)]  # also what waits: the model is what it waits for
        forecasts += _latest(place, InstallModel, _model, lacking, coming)
    return forecasts


def _settles(place: Workplace, forecast: Forecast) -> bool:
    """Whether a revision that lacks something lacks it no more, or for another reason."""
    if forecast.proposal.degraded or place.ledger is None:
        return False
    step = next(step for step in place.ledger.applied() if step["revision"] == forecast.revision)
    return step["result"] == "degraded" or superseded_of(step) != forecast.proposal.superseded


def _retry(place: Workplace, revision: str, coming: Later) -> Forecast:
    """A degraded step once more; it fails where what its revision asks for cannot be told here."""
    try:
        return place.redo(revision, retry=True, pending=coming)
    except RevisionError as error:
        forecast = place.described(place.line.revision(revision), UP)
        forecast.code, forecast.retry, forecast.error = None, True, error
        return forecast


def _env(_operation: Operation) -> str:
    """The one file that all merges are about."""
    return FILE


def _model(operation: Operation) -> str:
    """Which model an installation is about."""
    return operation.name if isinstance(operation, InstallModel) else ""


def _latest(
    place: Workplace,
    kind: type[Operation],
    about: Callable[[Operation], str],
    done: Sequence[str],
    coming: Later,
    *,
    must: bool = False,
) -> list[Forecast]:
    """For each thing that operations of this kind are about, the last applied revision that has one, as a step of them.

    Args:
        done: revisions of which this must not be done apart.
        must: somebody asked for it now; else it is only warned of where it cannot be told.

    Raises:
        RevisionError: it cannot be told, and must be.
    """
    applied = [step["revision"] for step in place.ledger.applied()] if place.ledger is not None else []
    try:
        asked = place.asked(place.version) if applied else {}
    except RevisionError as error:
        if must:
            raise
        place.call.listener("warning", text=f"what is applied is not brought up to date: {error.message}")
        return []
    last: dict[str, str] = {}
    for revision in applied:
        operations = (operation for operation in asked[revision].operations if isinstance(operation, kind))
        last |= {about(operation): revision for operation in operations}
    again = (revision for revision in applied if revision in last.values() and revision not in done)
    return [place.redo(revision, kind, pending=coming) for revision in again]


def _may_be_answered(place: Workplace) -> bool:
    """Whether a required key has no value, and it can be made, or somebody, or the environment, may have one.

    Raises:
        EnvFileError: what stands in the place of `.env` is none.
    """
    try:
        if unset.settings_file(place) is not None:
            find_file(place.situation(place.session.host))
    except PermissionError as error:  # it is the application's, and whoever plans may be another user
        text = f"{error.filename}: {error.strerror}: whether a required key has no value cannot be told"
        place.call.listener("warning", text=text)
        return False
    missing = unset.missing(place)
    may_have = place.call.ask is not None or any(map(place.settings.environment.get, missing))
    return bool(unset.unmade(place) or (missing and may_have))


def _what_is_missing(place: Workplace) -> dict[str, Any]:
    return {"degraded": degraded(place), "required_missing": list(unset.missing(place))}


def _say_what_is_missing(run: Run) -> None:
    """Degraded steps and required keys without a value: warnings at every run, until they are mended."""
    place = run.place
    run.report.body |= _what_is_missing(place)
    missing, lost = run.report.body["required_missing"], unset.is_lost(place)
    if place.settings.strict:
        refuse_without_value(missing)
    if lost and place.settings.strict:
        raise RefusedError(".env is missing (--strict)", hint=RETURNS)
    if lost:
        place.call.listener("warning", text=f".env is missing; as it was merged last it comes back with: {RETURNS}")
