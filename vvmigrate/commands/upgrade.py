"""`upgrade`: apply what is pending, try degraded steps again, and say what is still missing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vvmigrate.engine import preflight
from vvmigrate.engine.sources import Revision
from vvmigrate.engine.state import Proposal
from vvmigrate.engine.step import tells_something
from vvmigrate.errors import HeldError, RefusedError, RevisionError, VvmigrateError
from vvmigrate.operations import InstallModel, MergeEnv, Operation
from vvmigrate.operations.env_file import missing_required
from vvmigrate.report import Report
from vvmigrate.runs.admission import refuse_without_value
from vvmigrate.runs.forecast import UP, Forecast, Later, Workplace, of_all
from vvmigrate.runs.opening import Call, variant_of
from vvmigrate.runs.pending import check_not_ahead, degraded, pending, split_at_hold, superseded_of
from vvmigrate.runs.settled import remember
from vvmigrate.runs.trial import Conditions, begin
from vvmigrate.runs.work import Run, carry_out, fill_report


def upgrade(call: Call, target: str = "head") -> Report:
    """Apply pending revisions up to a target.

    Args:
        target: a revision in Alembic's syntax.

    Returns:
        The report of `upgrade`, by docs/cli.md.
    """
    return carry_out(call, lambda run: _upgrade(run, target), fill=_fill)


def _fill(run: Run) -> None:
    """The report; and where nothing is left to be done, a note, so that the next upgrade can tell at once."""
    place, body = run.place, run.report.body
    if run.said.get("reverted"):  # what was missing may have gone with what needed it
        body |= _what_is_missing(place)
    fill_report(run)
    body = run.report.body
    open_ends = ("held", "required_missing", "degraded")
    if run.report.exit_code == 0 and place.version == place.line.head() and not any(map(body.get, open_ends)):
        with suppress(OSError, VvmigrateError):  # then the next one takes the long way
            remember(place.session, place.call.environ, place.settings)


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
    """What an upgrade has to do: applied revisions that have something to do again, then the pending ones."""
    forecasts = place.forecast(revisions, UP, _beyond(place, revisions))
    return [*_again(place, of_all(forecasts)), *forecasts]


def with_room(place: Workplace, forecasts: list[Forecast]) -> list[Forecast]:
    """Without degraded steps that there is no room for beside the others: they stay so, and hold nothing else up."""
    total = sum((forecast.proposal for forecast in forecasts if not forecast.retry), Proposal())
    found = []
    for forecast in forecasts:
        if forecast.retry:
            try:
                preflight.check_room(place.session.host, total + forecast.proposal)
            except RefusedError as error:
                text = f"revision {forecast.revision} stays degraded: {error.message}"
                place.call.listener("warning", text=text)
                continue
            total += forecast.proposal
        found.append(forecast)
    return found


def _beyond(place: Workplace, revisions: list[Revision]) -> list[Revision]:
    """What is still to come after these revisions, where they are known to be a part of a longer way.

    Who tries a release step by step says with `toward` where it all ends (a full id, or `head`). Each step then does
    what it does within an upgrade that goes all the way: what a later revision replaces need not be in this release.
    """
    end = str(place.call.options.get("toward") or "")
    return pending(place, "" if end == "head" else end)[len(revisions) :] if end and revisions else []


# ---- applied revisions that have something to do again ---------------------------------------------------------------


def _again(place: Workplace, coming: Later) -> list[Forecast]:
    """Steps that are done again although their revision is applied.

    Args:
        coming: what the pending revisions ask for.
    """
    if place.ledger is None:
        return []
    retries = [item["revision"] for item in degraded(place)]
    forecasts = [forecast for revision in retries for forecast in _retry(place, revision, coming)]
    told = place.settings.update_env or place.settings.values
    merges = any(isinstance(operation, MergeEnv) for _, operation in coming)  # by itself, and is the way back
    if not merges and (told or _may_be_answered(place)):
        forecasts += _latest(place, MergeEnv, retries, coming)
    if _variant_changed(place):
        forecasts += _latest(place, InstallModel, retries, coming)
    recorded = place.ledger.recorded()
    for forecast in forecasts:
        news = tuple(change for change in forecast.proposal.changes if tells_something(change, recorded))
        forecast.proposal = forecast.proposal._replace(changes=news)
    return [
        forecast
        for forecast in forecasts
        if forecast.error is not None or forecast.proposal.changes or (forecast.retry and _settles(place, forecast))
    ]


def _settles(place: Workplace, forecast: Forecast) -> bool:
    """Whether a revision that lacks something lacks it no more, or for another reason."""
    if forecast.proposal.degraded or place.ledger is None:
        return False
    step = next(step for step in place.ledger.applied() if step["revision"] == forecast.revision)
    return step["result"] == "degraded" or superseded_of(step) != forecast.proposal.superseded


def _retry(place: Workplace, revision: str, coming: Later) -> list[Forecast]:
    """A degraded step once more; one whose source does not import is told of, and holds nothing else up."""
    try:
        return [place.redo(revision, retry=True, pending=coming)]
    except RevisionError as error:
        text = f"revision {revision} is degraded and cannot be tried again: {error.message}"
        place.call.listener("warning", text=text)
        return []


def _latest(place: Workplace, kind: type[Operation], done: Sequence[str], coming: Later) -> list[Forecast]:
    """The last applied revision that has an operation of this kind, as a step of that kind alone."""
    applied = [step["revision"] for step in place.ledger.applied()] if place.ledger is not None else []
    asked = place.asked(place.version) if applied else {}
    for revision in reversed(applied):
        if any(isinstance(operation, kind) for operation in asked[revision].operations):
            return [] if revision in done else [place.redo(revision, kind, pending=coming)]
    return []


def _env_is_applied(place: Workplace) -> bool:
    return place.ledger is not None and any(target.name == ".env" for target in place.ledger.recorded())


def _variant_changed(place: Workplace) -> bool:
    """Whether another model variant is asked for than the one that is installed."""
    if place.ledger is None:
        return False
    installed = {effect.note["variant"] for effect, _ in place.ledger.recorded().values() if effect.note.get("variant")}
    return bool(installed) and installed != {variant_of(place.settings, place.session)}


def _missing(place: Workplace) -> tuple[str, ...]:
    host = place.session.host
    try:
        return missing_required(place.situation(host))
    except PermissionError:
        if host.writing:
            raise
        return ()  # another user's .env: who only looks cannot tell


def _may_be_answered(place: Workplace) -> bool:
    """Whether a required key has no value, and somebody, or the environment, may have one."""
    missing = _missing(place) if _env_is_applied(place) else ()
    return bool(missing) and (place.call.ask is not None or any(map(place.settings.environment.get, missing)))


def _what_is_missing(place: Workplace) -> dict[str, Any]:
    missing = _missing(place) if _env_is_applied(place) else ()
    return {"degraded": degraded(place), "required_missing": list(missing)}


def _say_what_is_missing(run: Run) -> None:
    """Degraded steps and required keys without a value: warnings at every run, until they are mended."""
    place = run.place
    run.report.body |= _what_is_missing(place)
    if place.settings.strict:
        refuse_without_value(run.report.body["required_missing"])
